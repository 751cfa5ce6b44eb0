"""Holding a sandbox to a policy: ``int80 run --policy FILE``; docs/trace.md has the format.

The table of the sandbox is a copy.  A call the policy does not name fails; one that names files has each of them looked
up and judged first, by what it is without symlinks, and the handler then gets the very path that was judged, however often
the guest changes its memory meanwhile.  Names cannot change in between: only the supervisor changes them, one call after
another.  Addresses are judged where a socket of the host's network is to use them (`abi.net.network`); what guests say to
each other inside is not asked about.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from abi.dispatch import AT_FDCWD, Abi, Call, DispatchResult, Entry, Execute, Fail, Plane
from abi.errors import Kind, SysError
from abi.hooks import HookedCall, go_on, stopping
from abi.messages import say
from tracer.log.policy import Policy
from tracer.log.touched import DESCRIPTORS, EXECUTE, NAMES, OPENS, READ, WRITE, address_text
from vfs.filesystem import DIRENT64
from vfs.namespace import Location, OpenFile

_NOFOLLOW, _FOLLOW = 0x100, 0x400  # AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW
_RENAMES = {"rename", "renameat", "renameat2"}
_RENAME_EXCHANGE = 2
_LINKS = 40  # symlinks to names that are not there, as `abi.files` follows them to make a file
_MOVED_MAX = 10_000  # names below a directory that are judged one by one when it is renamed
_ANYTHING_BELOW = b"/\0" * 2049  # longer than any name: only a ``/**`` allows it
_DENIED = Kind.EACCES


class Beyond:
    """What a program asked for beyond its policy: calls by name, files by what for, and how often."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}

    def add(self, use: str, what: str) -> None:
        self.counts[use, what] = self.counts.get((use, what), 0) + 1

    def report(self) -> None:
        """Lines for a person, on standard error."""
        if not self.counts:
            say("the program asked for nothing beyond its policy")
            return
        for (use, what), count in sorted(self.counts.items()):
            times = "" if count == 1 else f" ({count} times)"
            say(f"beyond the policy: {use} {what}{times}")


class Policing:
    """A policy on its way into a table; `beyond` is what it refused."""

    def __init__(self, policy: Policy, reports: bool = False) -> None:
        self.policy = policy
        self.reports = reports
        self.beyond = Beyond()
        self._errno = SysError.of_errno(policy.errno).kind

    def applied_to(self, abi: Abi) -> Abi:
        """A copy of a table that keeps to the policy."""
        held = Abi(abi.name, abi.error_number, len(abi.table))
        held.table = [entry and self._entry(entry) for entry in abi.table]
        return held

    def _entry(self, entry: Entry) -> Entry:
        name = entry.name
        if not self.policy.allows_call(name):
            return stopping(entry, lambda call: self._refuse_call(name))
        if name == "openat2":  # its flags lie in memory, where they may change behind the judge's back: callers know openat
            return stopping(entry, lambda call: Fail(SysError(Kind.ENOSYS)))
        judge = None
        if name in OPENS:
            judge = self._judge_open
        elif name in _RENAMES:
            judge = self._judge_rename
        elif name in NAMES:
            judge = self._judge_names
        elif name in DESCRIPTORS:
            judge = self._judge_descriptor
        elif name == "chdir":
            judge = self._judge_chdir
        if judge is None or (entry.plane is Plane.REFUSE and not entry.when):
            return entry

        def handler(call: Call) -> DispatchResult:
            seen = call if isinstance(call, HookedCall) else HookedCall(call, name)
            if judge(seen):
                return Fail(SysError(_DENIED))
            result = go_on(entry, call, seen)
            if type(result) is Execute and self._judge_plan(seen, result.plan):
                return Fail(SysError(_DENIED))
            if name in _RENAMES:
                _renew_places(call.sandbox.tree)
            return result

        return stopping(entry, handler)

    def judge_address(self, use: str, address: bytes) -> None:
        """EACCES unless a ``sockaddr`` may be reached (``connect``) or taken (``listen``)."""
        text = address_text(address)
        allows = self.policy.allows_connect if use == "connect" else self.policy.allows_listen
        if text is None or not allows(text):
            self.beyond.add(use, text or "an address of another family")
            raise SysError(_DENIED)

    def _refuse_call(self, name: str) -> Fail:
        self.beyond.add("call", name)
        return Fail(SysError(self._errno))

    # -- judging: whether something is denied -------------------------------------------------

    def _judge_open(self, call: HookedCall) -> bool:
        directory, where, at = OPENS[call.name]
        flags = call.args[at]
        follow = not flags & os.O_NOFOLLOW
        access = flags & os.O_ACCMODE
        looks = flags & os.O_PATH
        makes = bool(flags & os.O_CREAT)
        denied = False
        if looks or access != os.O_WRONLY:
            denied = self._denied(call, READ, directory, where, follow, makes)
        if not looks and (access != os.O_RDONLY or flags & (os.O_CREAT | os.O_TRUNC)):
            denied |= self._denied(call, WRITE, directory, where, follow, True)
        return denied

    def _judge_names(self, call: HookedCall) -> bool:
        denied = False
        for directory, where, use, follow in NAMES[call.name]:
            if follow is not True and follow is not False:
                flags = call.args[follow]
                follow = bool(flags & _FOLLOW) if call.name == "linkat" else not flags & _NOFOLLOW
            denied |= self._denied(call, use, directory, where, follow, use == WRITE)
        return denied

    def _judge_chdir(self, call: HookedCall) -> bool:
        return self._denied(call, READ, None, 0, True)

    def _judge_descriptor(self, call: HookedCall) -> bool:
        try:
            file = OpenFile(call.files.get(call.int(0)))
        except (OSError, SysError):
            return False  # the handler knows what is wrong
        if not os.fstat(file.fd).st_nlink:
            return False  # a file without a name is nobody else's
        found = call.sandbox.namespace.reach(file)
        return isinstance(found, Location) and self._judge(call, WRITE, found.name())

    def _judge_plan(self, call: HookedCall, plan) -> bool:
        """The program behind a script, and a program's loader, by their names: what it will run with."""
        name = plan.location.name() if plan.location is not None else os.readlink(b"/proc/self/fd/%d" % plan.fd)
        denied = self._judge(call, EXECUTE, name)
        if plan.interpreter is not None:
            fs = call.process.fs
            found = self._find(call, fs.root, plan.interpreter, True, False)
            denied |= found is not None and self._judge(call, EXECUTE, found.name())
        return denied

    def _judge_rename(self, call: HookedCall) -> bool:
        """As any name, and then what is below a directory: under its new name it may be allowed what it was not."""
        if self._judge_names(call):
            return True
        (olddir, old, _, _), (newdir, new, _, _) = NAMES[call.name]
        places = [self._found(call, olddir, old, False, False), self._found(call, newdir, new, False, True)]
        if None in places:
            return False
        denied = self._judge_move(call, *places)
        if call.name == "renameat2" and call.args[4] & _RENAME_EXCHANGE:
            denied |= self._judge_move(call, *places[::-1])
        return denied

    def _judge_move(self, call: HookedCall, source: Found, target: Found) -> bool:
        old, new = source.name(), target.name()
        if not isinstance(source, Location) or not source.node.is_dir or self._allows(call, WRITE, old + _ANYTHING_BELOW):
            return False
        denied = False
        for count, below in enumerate(_names_below(source.fs, source.node)):
            if count >= _MOVED_MAX:
                self.beyond.add(WRITE, os.fsdecode(old) + "/**")
                return True
            before, after = old + below, new + below
            gains = any(self._allows(call, use, after) and not self._allows(call, use, before) for use in (READ, WRITE, EXECUTE))
            denied |= gains and self._judge(call, WRITE, before)
        return denied

    def _denied(self, call: HookedCall, use: str, directory: int | None, where: int, follow: bool, new: bool = False) -> bool:
        if not call.args[where] or not call.path(where):  # of a descriptor, judged when it was opened, unless it is to be changed
            if directory is None:
                return False
            if call.int(directory) == AT_FDCWD:
                return self._judge(call, use, call.process.fs.cwd.name())
            return use == WRITE and self._judge_descriptor(call)
        found = self._found(call, directory, where, follow, new)
        return found is not None and self._judge(call, use, found.name())

    def _found(self, call: HookedCall, directory: int | None, where: int, follow: bool, new: bool) -> Found | None:
        """What an argument stands for; None where that is nothing, or no file with a name."""
        path = call.path(where)
        try:
            start = call.start(AT_FDCWD if directory is None or path[:1] == b"/" else call.int(directory))
        except (OSError, SysError):
            return None
        return self._find(call, start, path, follow, new)

    @staticmethod
    def _find(call: HookedCall, start: Location, path: bytes, follow: bool, new: bool) -> Found | None:
        """What a name stands for, without symlinks, as the handlers look it up.  `new`: one not there yet counts too."""
        fs, namespace = call.process.fs, call.sandbox.namespace
        for _ in range(_LINKS):
            try:
                found = namespace.walk(fs, start, path, follow)
                return found if isinstance(found, Location) else None
            except OSError as problem:
                if problem.errno != errno.ENOENT or not new:
                    return None
            try:
                parent = namespace.parent(fs, start, path)
            except OSError:
                return None
            place = parent.location
            if follow:
                try:  # a symlink to what is not there yet: that is what would be made
                    start, path = place, place.fs.readlink(place.fs.lookup(place.node, parent.name))
                    continue
                except OSError:
                    pass
            return _New(place, parent.name)
        return None  # where the handlers give up, too

    def _allows(self, call: HookedCall, use: str, path: bytes) -> bool:
        allows = {READ: self.policy.allows_read, WRITE: self.policy.allows_write, EXECUTE: self.policy.allows_execute}[use]
        return allows(os.fsdecode(path), call.sandbox.tree.guest(call.process.pid))

    def _judge(self, call: HookedCall, use: str, path: bytes) -> bool:
        """Whether a file is denied; it is noted then."""
        if self._allows(call, use, path):
            return False
        self.beyond.add(use, os.fsdecode(path))
        return True


class _New:
    """A name that is not there yet."""

    __slots__ = ("_name", "_place")

    def __init__(self, place: Location, name: bytes) -> None:
        self._place = place
        self._name = name

    def name(self) -> bytes:
        return self._place.name().rstrip(b"/") + b"/" + self._name


Found = Location | _New


def _names_below(fs, directory) -> Iterator[bytes]:
    """The names of everything below a directory, from it on: ``/name``, ``/name/name``."""
    ahead = [(directory, b"")]
    while ahead:
        node, above = ahead.pop()
        file = OpenFile(fs.open(node, os.O_RDONLY | os.O_DIRECTORY))
        while data := fs.getdents(node, file.fd, 1 << 16):
            position = 0
            while position < len(data):
                _, _, length, _ = DIRENT64.unpack_from(data, position)
                name = data[position + DIRENT64.size : position + length].split(b"\0", 1)[0]
                position += length
                if name not in (b".", b".."):
                    yield above + b"/" + name
                    child = fs.lookup(node, name)
                    if child.is_dir:
                        ahead.append((child, above + b"/" + name))


def _renew_places(tree) -> None:
    """A directory may have moved: what it was called must not stand for what lies in it now."""
    for process in tree.processes.values():
        for place in (process.fs.cwd, process.fs.root):
            with contextlib.suppress(OSError):
                place.path = place.current_path()
