"""Holding a sandbox to a policy: ``int80 run --policy FILE``; docs/trace.md has the format.

The table of the sandbox is a copy.  A call the policy does not name fails; one that names files has each of them looked
up and judged first, by what it is without symlinks, and the handler then gets the very path that was judged, however often
the guest changes its memory meanwhile.  Network addresses need no judge here: a sandbox has none.
"""

from __future__ import annotations

import errno
import os
import sys

from abi.dispatch import AT_FDCWD, Abi, Call, DispatchResult, Entry, Execute, Fail, Plane
from abi.errors import Kind, SysError
from abi.hooks import HookedCall, go_on, stopping
from abi.procview import ProcView
from tracer.log.policy import Policy
from tracer.log.touched import DESCRIPTORS, EXECUTE, NAMES, OPENS, READ, WRITE
from vfs.namespace import Location

_NOFOLLOW, _FOLLOW = 0x100, 0x400  # AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW
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
            sys.stderr.write("int80: the program asked for nothing beyond its policy\n")
            return
        for (use, what), count in sorted(self.counts.items()):
            times = "" if count == 1 else f" ({count} times)"
            sys.stderr.write(f"int80: beyond the policy: {use} {what}{times}\n")


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
            return stopping(entry, lambda call: self._refuse("call", name, self._errno))
        if name == "openat2":  # its flags lie in memory, where they may change behind the judge's back
            return stopping(entry, lambda call: self._refuse("call", name, Kind.ENOSYS))
        judge = None
        if name in OPENS:
            judge = self._judge_open
        elif name in NAMES:
            judge = self._judge_names
        elif name in DESCRIPTORS:
            judge = self._judge_descriptor
        if judge is None or entry.plane is Plane.REFUSE:
            return entry

        def handler(call: Call) -> DispatchResult:
            seen = HookedCall(call, name)
            if judge(seen):
                return Fail(SysError(_DENIED))
            result = go_on(entry, call, seen)
            if type(result) is Execute and self._judge_plan(seen, result.plan):
                return Fail(SysError(_DENIED))
            return result

        return stopping(entry, handler)

    def _refuse(self, use: str, what: str, kind: Kind) -> Fail:
        self.beyond.add(use, what)
        return Fail(SysError(kind))

    # -- judging: whether something is denied -------------------------------------------------

    def _judge_open(self, call: HookedCall) -> bool:
        directory, where, at = OPENS[call.name]
        flags = call.args[at]
        follow = not flags & os.O_NOFOLLOW
        access = flags & os.O_ACCMODE
        looks = flags & os.O_PATH
        denied = False
        if looks or access != os.O_WRONLY:
            denied = self._denied(call, READ, directory, where, follow)
        if not looks and (access != os.O_RDONLY or flags & (os.O_CREAT | os.O_TRUNC)):
            denied |= self._denied(call, WRITE, directory, where, follow)
        return denied

    def _judge_names(self, call: HookedCall) -> bool:
        denied = False
        for directory, where, use, follow in NAMES[call.name]:
            if follow is not True and follow is not False:
                flags = call.args[follow]
                follow = bool(flags & _FOLLOW) if call.name == "linkat" else not flags & _NOFOLLOW
            denied |= self._denied(call, use, directory, where, follow)
        return denied

    def _judge_descriptor(self, call: HookedCall) -> bool:
        try:
            path = ProcView(call.sandbox).fd_name(call.sandbox.tree.guest(call.process.pid), call.int(0))
        except (OSError, SysError):
            return False  # the handler knows what is wrong
        return path.startswith(b"/") and self._judge(call, WRITE, path)

    def _judge_plan(self, call: HookedCall, plan) -> bool:
        """The program behind a script, and a program's loader, by their names: what it will run with."""
        names = [plan.location.name()] if plan.location is not None else []
        if plan.interpreter is not None:
            found = self._find(call, AT_FDCWD, plan.interpreter, True)
            names += [found] if found is not None else []
        return any([self._judge(call, EXECUTE, name) for name in names])

    def _denied(self, call: HookedCall, use: str, directory: int | None, where: int, follow: bool) -> bool:
        if not call.args[where]:
            return False
        path = call.path(where)
        dirfd = AT_FDCWD if directory is None else call.int(directory)
        if not path:  # of a descriptor, which was judged when it was opened, unless it is to be changed
            return use == WRITE and dirfd != AT_FDCWD and self._judge_descriptor(call)
        found = self._find(call, dirfd, path, follow, use == WRITE)
        return found is not None and self._judge(call, use, found)

    @staticmethod
    def _find(call: HookedCall, dirfd: int, path: bytes, follow: bool, new: bool = False) -> bytes | None:
        """What a name stands for, without symlinks; None where that is nothing, or no file with a name.

        `new`: a name that is not there yet counts too.
        """
        for _ in range(40):
            try:
                found = call.find(dirfd, path, follow)
                return found.name() if isinstance(found, Location) else None
            except OSError as problem:
                if problem.errno != errno.ENOENT or not new:
                    return None
            except SysError:
                return None
            try:
                parent = call.parent(dirfd, path)
            except (OSError, SysError):
                return None
            place = parent.location
            name = place.name().rstrip(b"/") + b"/" + parent.name
            if not follow:
                return name
            try:  # a symlink to what is not there yet: that is what would be made
                link = place.fs.lookup(place.node, parent.name)
                target = place.fs.readlink(link)
            except OSError:
                return name
            dirfd, path = AT_FDCWD, target if target.startswith(b"/") else place.name() + b"/" + target
        return None

    def _judge(self, call: HookedCall, use: str, path: bytes) -> bool:
        allows = {READ: self.policy.allows_read, WRITE: self.policy.allows_write, EXECUTE: self.policy.allows_execute}[use]
        text = os.fsdecode(path)
        if allows(text, call.sandbox.tree.guest(call.process.pid)):
            return False
        self.beyond.add(use, text)
        return True
