"""Writing a try's changes to the host, each only where the host is still as the guest found it.

Every step leaves the host in a state that a second run recognises: a file is made whole under a temporary name and
renamed into place, a directory that goes is emptied from below, and what is as wanted already is no change any more
(`changes.compare`).  So an apply that was cut short, at whatever point, is simply run again; `Application.plan` first
removes the temporary names of the one before.  Only the times of new directories are not set by the second run.

No path is followed through a symlink: a step works beside an open descriptor of the directory it changes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from containers.changes import Change, Kind, Look, Tree, Upper, compare, join, order, same_content
from vfs import kernel
from vfs.journal import forget, unescape
from vfs.kernel import self_path

_FICLONE = 0x40049409
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(slots=True, frozen=True)
class Base:
    """What the host had at a path when the guest first changed it."""

    mode: int  # st_mode with the type
    size: int
    mtime_ns: int
    inode: int  # device numbers do not survive a reboot, so they are not compared


@dataclass(slots=True, frozen=True)
class Refusal:
    """A change that was not applied, and why."""

    path: bytes
    reason: str


@dataclass(slots=True)
class Outcome:
    """What `Application.run` did."""

    applied: list[Change] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class _Refused(Exception):
    """The reason, for a person; the path is the step's."""


def read_journal(path: str | bytes) -> dict[bytes, Base]:
    """The base of every path that has one.  Records of other kinds, damaged ones and a torn last one are passed over:
    a path without a base is refused, not overwritten.  OSError."""
    bases: dict[bytes, Base] = {}
    with open(path, "rb") as file:
        for line in file:
            fields = line.split(b"\t")
            if fields[0] == b"applied" and line.endswith(b"\n"):
                forget(bases, unescape(fields[1][:-1]))
            if fields[0] != b"base" or len(fields) != 6 or not line.endswith(b"\n"):
                continue
            _, mode, size, mtime, inode, name = fields
            try:
                base = Base(int(mode, 8), int(size), int(mtime), int(inode.rpartition(b":")[2]))
            except ValueError:
                continue
            bases.setdefault(unescape(name[:-1]), base)
    return bases


class Application:
    """The changes of one try on their way to one host.  `name` marks the temporary files; two applications at once
    must not share it, which the try's lock sees to."""

    def __init__(
        self, upper: bytes, root: bytes, bases: dict[bytes, Base], name: str, work: bytes | None = None
    ) -> None:
        self.upper = Upper(upper, work)
        self.host = Tree(root)
        self.notes: list[str] = []  # what cannot be had for any change, for a person to know
        self._bases = bases
        self._prefix = b".int80-apply-%d~%s~" % (os.geteuid(), name.encode())
        self._count = 0
        self._waiting: set[bytes] = set()  # paths that differ from the layer still
        self._made: set[bytes] = set()  # what this run put there as a new object
        self._touched: set[bytes] = set()  # directories whose entries changed

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_problem: object) -> None:
        os.close(self.upper.fd)
        os.close(self.host.fd)

    # -- what is to be done -------------------------------------------------------------------

    def plan(self, paths: Iterable[bytes] = ()) -> list[Change]:
        """The changes there are, or those at and below `paths` with the new directories they need.  OSError."""
        self._sweep()
        found = [change for change in compare(self.upper, self.host) if not self._is_done(change)]
        self._waiting = {change.path for change in found}
        wanted = set(paths)
        outermost = [path for path in wanted if not any(_covers(other, path) for other in wanted - {path})]
        return self._restrict(found, sorted(outermost)) if wanted else found

    def _is_done(self, change: Change) -> bool:
        """Whether all that differs is what the user may not give; notes that."""
        if change.after is None:
            return False
        wanted = _allowed(change.after)
        self._note(wanted.note)
        if "content" in change.what and change.before.status.st_nlink > max(1, len(change.names)):
            self._note("a file has hard links on the host that the try has not touched: they keep what they hold")
        if change.kind is not Kind.CHANGED or not set(change.what) <= {"mode", "owner"}:
            return False
        now = change.before.status
        if stat.S_IMODE(now.st_mode) != wanted.mode:
            return False
        return "owner" not in change.what or (wanted.uid in (-1, now.st_uid) and wanted.gid in (-1, now.st_gid))

    def _note(self, note: str) -> None:
        if note and note not in self.notes:
            self.notes.append(note)

    def _restrict(self, changes: list[Change], paths: list[bytes]) -> list[Change]:
        """Those at or below one of the paths, and the directories above that must be made first.

        A path below a removed directory is a removal of its own.
        """
        chosen = []
        for change in changes:
            inside = [path for path in paths if _covers(change.path, path)]
            if any(_covers(path, change.path) for path in paths):
                chosen.append(change)
            elif change.kind is Kind.REMOVED:
                removals = [Change(path, Kind.REMOVED, (), self.host.look(path), None) for path in inside]
                chosen += [removal for removal in removals if removal.before is not None]
            elif _makes_directory(change) and any(_covers(path, other.path) for path in inside for other in changes):
                chosen.append(change)
        return chosen

    def _sweep(self) -> None:
        """Remove what an earlier run left under its temporary names: files, and directories that are empty."""
        pending = [b""]
        while pending:
            path = pending.pop()
            try:
                names = self.host.names(path)
            except OSError:
                continue  # new, or not to be read: nothing was left there
            for name in names:
                if name.startswith(self._prefix):
                    self._drop(path, name)
            for name in self.upper.names(path):
                look = self.upper.look(join(path, name))
                if look is not None and look.is_dir:
                    pending.append(join(path, name))

    def _drop(self, directory: bytes, name: bytes) -> None:
        fd = self.host.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            _unlink(fd, name)
        except OSError:
            pass  # it is in nobody's way
        finally:
            os.close(fd)

    # -- doing it -----------------------------------------------------------------------------

    def run(self, changes: list[Change]) -> Outcome:
        """Apply what `plan` gave, each change for itself.  Nothing is raised for what cannot be applied."""
        outcome = Outcome()
        placed: list[Change] = []
        for change in changes:
            if change.kind is not Kind.REMOVED and self._attempt(self._put, change, outcome):
                placed.append(change)
        for change in changes:
            if change.kind is Kind.REMOVED and self._attempt(self._take, change, outcome):
                outcome.applied.append(change)
        for change in reversed(placed):
            if not change.after.is_dir or self._attempt(self._finish, change, outcome):
                outcome.applied.append(change)
        self._flush()
        outcome.applied.sort(key=lambda change: order(change.path))
        outcome.refused.sort(key=lambda refusal: order(refusal.path))
        return outcome

    @staticmethod
    def _attempt(step: Callable[[Change], None], change: Change, outcome: Outcome) -> bool:
        try:
            step(change)
        except _Refused as problem:
            outcome.refused.append(Refusal(change.path, str(problem)))
        except OSError as problem:
            outcome.refused.append(Refusal(change.path, problem.strerror.lower()))
        else:
            return True
        return False

    def _put(self, change: Change) -> None:
        """Add or change one object; a directory stays writable for us until `_finish`."""
        directory, _, name = change.path.rpartition(b"/")
        parent = self._parent(directory)
        try:
            now = _status(parent, name)
            self._check(change, now)
            if now is None or not _stays(change, now):
                if now is not None and stat.S_ISDIR(now.st_mode):
                    self._empty(change.path)
                self._replace(parent, name, change, now)
                self._made.add(change.path)
                self._touched.add(directory)
            else:
                self._put_on(parent, name, change, now)
            self._waiting.discard(change.path)
        finally:
            os.close(parent)

    def _parent(self, directory: bytes) -> int:
        try:
            return self.host.open(directory, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            raise _Refused("its directory is not on the host") from None
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _Refused("something that is no directory is above it on the host") from None
            raise

    def _check(self, change: Change, now: os.stat_result | None) -> None:
        """The host is as the guest found it, or as an earlier run left it half way."""
        base = self._bases.get(change.path)
        if now is None:
            if base is not None:
                raise _Refused("removed on the host since")
            return
        if stat.S_ISDIR(now.st_mode) and change.after is not None and change.after.is_dir:
            half_way = stat.S_IMODE(now.st_mode) == _allowed(change.after).mode | 0o700
            if half_way and (base is None or base.inode == now.st_ino):
                return
        if base is None:
            raise _Refused("made on the host since")
        different = _difference(base, now)
        if different:
            raise _Refused(f"changed on the host since: {different}")

    def _put_on(self, parent: int, name: bytes, change: Change, now: os.stat_result) -> None:
        """Change mode, owner and a directory's attributes where they are."""
        wanted = _allowed(change.after)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _unmoved(os.fstat(fd), now)
            if "owner" in change.what:
                kernel.fchownat(fd, b"", wanted.uid, wanted.gid, kernel.AT_EMPTY_PATH)
            if change.after.is_dir:
                self._give_attributes(fd, change.path)
                os.chmod(self_path(fd), wanted.mode | 0o700)
            elif "mode" in change.what:
                os.chmod(self_path(fd), wanted.mode)
        finally:
            os.close(fd)

    def _give_attributes(self, fd: int, path: bytes) -> None:
        """Make the user's attributes of an object those of the layer's."""
        wanted, there = self.upper.attributes(path), self.host.attributes(path)
        for name in there.keys() - wanted.keys():
            os.removexattr(self_path(fd), name)
        for name, value in wanted.items():
            if there.get(name) != value:
                os.setxattr(self_path(fd), name, value)

    def _replace(self, parent: int, name: bytes, change: Change, now: os.stat_result | None) -> None:
        """Build the object under a temporary name and put it in the place of what is there."""
        self._count += 1
        temporary = self._prefix + b"%d" % self._count
        self._build(parent, temporary, change)
        try:
            _swap(parent, temporary, name, now, change.after)
        except BaseException:
            _unlink_quietly(parent, temporary)
            raise

    def _build(self, parent: int, temporary: bytes, change: Change) -> None:
        try:
            match stat.S_IFMT(change.after.mode):
                case stat.S_IFREG if self._link(parent, temporary, change):
                    return
                case stat.S_IFREG:
                    self._write(parent, temporary, change)
                case stat.S_IFDIR:
                    os.mkdir(temporary, 0o700, dir_fd=parent)
                    self._dress(parent, temporary, change, 0o700)
                case stat.S_IFLNK:
                    os.symlink(self.upper.readlink(change.path), temporary, dir_fd=parent)
                    self._dress(parent, temporary, change, 0)
                case kind:
                    os.mknod(temporary, kind | 0o600, change.after.device, dir_fd=parent)
                    self._dress(parent, temporary, change, 0)
        except BaseException:
            _unlink_quietly(parent, temporary)
            raise

    def _link(self, parent: int, temporary: bytes, change: Change) -> bool:
        """Make the file a hard link of another name of it that the host has already; False where there is none."""
        for other in change.names:
            if other in self._waiting or not (other in self._made or same_content(self.upper, self.host, other)):
                continue
            directory, _, name = other.rpartition(b"/")
            fd = self.host.open(directory, os.O_PATH | os.O_DIRECTORY)
            try:
                kernel.linkat(fd, name, parent, temporary, 0)
                return True
            except OSError as problem:
                if problem.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                    raise
            finally:
                os.close(fd)
        return False

    def _write(self, parent: int, temporary: bytes, change: Change) -> None:
        source = self.upper.open_file(change.path)
        try:
            target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
            try:
                _copy(source, target)
                for name, value in self.upper.attributes(change.path).items():
                    os.setxattr(target, name, value)
                self._dress(parent, temporary, change, 0)
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _dress(self, parent: int, name: bytes, change: Change, extra: int) -> None:
        """Owner, attributes of a directory, mode with the `extra` bits, and times, in the order that keeps them all."""
        look, wanted = change.after, _allowed(change.after)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            kernel.fchownat(fd, b"", wanted.uid, wanted.gid, kernel.AT_EMPTY_PATH)
            if look.is_dir:
                for attribute, value in self.upper.attributes(change.path).items():
                    os.setxattr(self_path(fd), attribute, value)
            if not look.is_symlink:
                os.chmod(self_path(fd), wanted.mode | extra)
        finally:
            os.close(fd)
        times = (look.status.st_atime_ns, look.status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _finish(self, change: Change) -> None:
        """The mode a directory is to have in the end, and the times of a new one."""
        mode = _allowed(change.after).mode
        fd = self.host.open(change.path, os.O_PATH | os.O_DIRECTORY)
        try:
            if change.path in self._made:
                status = change.after.status
                os.utime(self_path(fd), ns=(status.st_atime_ns, status.st_mtime_ns))
            if mode != mode | 0o700:
                os.chmod(self_path(fd), mode)
        finally:
            os.close(fd)

    # -- removing -----------------------------------------------------------------------------

    def _take(self, change: Change) -> None:
        directory, _, name = change.path.rpartition(b"/")
        parent = self._parent(directory)
        try:
            now = _status(parent, name)
            if now is None:
                return
            self._check(change, now)
            if stat.S_ISDIR(now.st_mode):
                self._empty(change.path)
                os.rmdir(name, dir_fd=parent)
            else:
                _unmoved(_status(parent, name), now)
                os.unlink(name, dir_fd=parent)
            self._touched.add(directory)
        finally:
            os.close(parent)

    def _empty(self, path: bytes) -> None:
        """Remove what is in a directory of the host, all of it known from the journal, or nothing."""
        below = list(self.host.walk(path))
        for inner, status in below:
            base = self._bases.get(inner)
            shown = os.fsdecode(inner[len(path) + 1 :])
            if base is None:
                raise _Refused(f"it holds {shown!r}, made on the host since")
            different = _difference(base, status)
            if different:
                raise _Refused(f"it holds {shown!r}, changed on the host since: {different}")
        for inner, status in sorted(below, key=lambda pair: order(pair[0]), reverse=True):
            directory, _, name = inner.rpartition(b"/")
            fd = self.host.open(directory, os.O_PATH | os.O_DIRECTORY)
            try:
                os.rmdir(name, dir_fd=fd) if stat.S_ISDIR(status.st_mode) else os.unlink(name, dir_fd=fd)
            finally:
                os.close(fd)

    def _flush(self) -> None:
        """Put on disk the names that changed."""
        for directory in self._touched:
            try:
                fd = self.host.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue  # it went as well, or is not to be read
            try:
                os.fsync(fd)
            except OSError:
                pass  # a file system that cannot
            finally:
                os.close(fd)


@dataclass(slots=True, frozen=True)
class _Allowed:
    """The mode and owner the host's user may give an object; -1 leaves an owner alone.  `note` says what is lost."""

    mode: int
    uid: int
    gid: int
    note: str


def _allowed(look: Look) -> _Allowed:
    """Root may give everything.  Others keep what they make, and make no set-id program: it would run as them."""
    me, group = os.geteuid(), os.getegid()
    mode = stat.S_IMODE(look.mode)
    uid = me if look.uid == 0 else look.uid
    gid = group if look.gid == 0 else look.gid
    if me == 0:
        return _Allowed(mode, uid, gid, "")
    note = ""
    if uid != me or gid not in (group, *os.getgroups()):
        note = "owners were not applied: only root can give files away"
    if look.is_file and mode & _SET_ID:
        mode &= ~_SET_ID
        note = "set-id bits of programs were not applied: only root gives them to the host"
    return _Allowed(mode, uid if uid == me else -1, gid if gid in (group, *os.getgroups()) else -1, note)


def _stays(change: Change, now: os.stat_result) -> bool:
    """Whether one step on the object itself will do: a directory stays; a file where only one thing differs."""
    if stat.S_ISDIR(now.st_mode):
        return change.after.is_dir
    if change.what == ("owner",):
        return not now.st_mode & _SET_ID  # chown(2) would clear those: not one step
    return change.what == ("mode",)


def _makes_directory(change: Change) -> bool:
    return change.after is not None and change.after.is_dir and (change.kind is Kind.ADDED or "type" in change.what)


def _covers(above: bytes, path: bytes) -> bool:
    return not above or path == above or path.startswith(above + b"/")


def _status(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _difference(base: Base, now: os.stat_result) -> str:
    """What of the host's object is not as it was, or nothing.  What a directory holds is looked at for itself."""
    if stat.S_IFMT(base.mode) != stat.S_IFMT(now.st_mode):
        return "it is of another type"
    same_dir = stat.S_ISDIR(now.st_mode)
    differences = [
        ("replaced", base.inode != now.st_ino),
        ("mode", base.mode != now.st_mode),
        ("size", base.size != now.st_size and not same_dir),
        ("time", base.mtime_ns != now.st_mtime_ns and not same_dir),
    ]
    return ", ".join(word for word, different in differences if different)


def _unmoved(seen: os.stat_result | None, checked: os.stat_result) -> None:
    """The object is the one that was checked, and nobody has written to it meanwhile."""
    names = ("st_ino", "st_dev", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns")
    if seen is None or any(getattr(seen, name) != getattr(checked, name) for name in names):
        raise _Refused("changed on the host just now")


def _swap(parent: int, temporary: bytes, name: bytes, now: os.stat_result | None, after: Look) -> None:
    """Give `temporary` its name: over nothing, over a file, or in exchange for what is of the other kind."""
    if now is not None and not stat.S_ISDIR(now.st_mode):
        _unmoved(_status(parent, name), now)
    if now is None:
        _rename_new(parent, temporary, name)
    elif after.is_dir or stat.S_ISDIR(now.st_mode):
        kernel.renameat2(parent, temporary, parent, name, _RENAME_EXCHANGE)
        try:
            _unlink(parent, temporary)  # a directory that is not empty after all stays
        except OSError:
            kernel.renameat2(parent, temporary, parent, name, _RENAME_EXCHANGE)
            raise
    else:
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _rename_new(parent: int, temporary: bytes, name: bytes) -> None:
    try:
        kernel.renameat2(parent, temporary, parent, name, _RENAME_NOREPLACE)
    except FileExistsError:
        raise _Refused("made on the host just now") from None
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # NFS, for one, has no such flag
            raise
        if _status(parent, name) is not None:
            raise _Refused("made on the host just now") from None
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _unlink(parent: int, name: bytes) -> None:
    """Remove a file or an empty directory."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=parent)


def _unlink_quietly(parent: int, name: bytes) -> None:
    try:
        _unlink(parent, name)
    except OSError:
        pass  # the next run's sweep will have it


def _copy(source: int, target: int) -> None:
    """All bytes, by sharing them where the file system can, and holes as holes."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return
    except OSError:
        pass  # not that kind of file system, or two of them
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno != errno.ENXIO:
                raise
            return  # a hole to the end
        offset = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, offset)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, end - start, start, start)
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            done = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
        if not done:
            return  # the file has become shorter
        start += done
