"""What a try would change: its upper layer held against the host's root as it is now.

The layer is stored as OCI layers are: new and changed files at their path, ``.wh.NAME`` for a removed NAME, and
directories that hide the host's, by ``.wh..wh..opq`` inside or ``.wh.NAME`` beside.  Times alone are no change, nor is
a directory that is there only to hold something; so what has been applied to the host is a change no longer.

Both trees are read by path beneath a descriptor of their root, one openat2(2) per directory with symlinks refused.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from vfs import kernel
from vfs.hostfs import KeptStat, kept_status
from vfs.kernel import self_path
from vfs.owners import KEPT, Beside, Kept

_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_LONGEST = 4000  # bytes of path the kernel takes at once, with some to spare
_CHUNK = 1 << 20

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_MARK = b".wh..wh."  # before marks that are no whiteouts
_FOREIGN = b"user.int80."  # before attributes that are the guest's kernel's, not the user's


class Kind(Enum):
    """What became of a path."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(slots=True, frozen=True)
class Look:
    """An object as the guest sees it: owners are the guest's, 0 is the user who runs int80."""

    mode: int  # st_mode with the type
    uid: int
    gid: int
    size: int  # bytes; of a removed directory, those of all files below
    device: int  # the number of a device, which in a layer is a regular file
    status: os.stat_result

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(slots=True, frozen=True)
class Change:
    """One path that differs.  `what` says how, for CHANGED: type, content, target, device, mode, owner, attributes,
    links.  `names` are all paths of the layer that are hard links of this file, this one included."""

    path: bytes  # beneath the root, without a slash at the front
    kind: Kind
    what: tuple[str, ...]
    before: Look | None
    after: Look | None
    files: int = 0  # how many files go with a directory that goes
    names: tuple[bytes, ...] | list[bytes] = ()

    @property
    def growth(self) -> int:
        """Bytes the host would gain."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


def order(path: bytes) -> bytes:
    """A sort key that puts a directory right before what is below it."""
    return path.replace(b"/", b"\0")


def open_beneath(root: int, path: bytes, flags: int) -> int:
    """Open a path beneath directory `root`, through no symlink.  ELOOP or ENOTDIR where one is in the way."""
    fd = root
    while len(path) > _LONGEST:
        cut = path.rindex(b"/", 0, _LONGEST)
        fd = _step(fd, root, path[:cut], os.O_PATH | os.O_DIRECTORY)
        path = path[cut + 1 :]
    return _step(fd, root, path or b".", flags)


def _step(fd: int, root: int, path: bytes, flags: int) -> int:
    try:
        return kernel.openat2(fd, path, kernel.how(flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _BENEATH))
    finally:
        if fd != root:
            os.close(fd)


class Tree:
    """A directory tree of the host; OSError is the kernel's."""

    def __init__(self, directory: str | bytes) -> None:
        self.fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self):
        return self

    def __exit__(self, *_problem: object) -> None:
        os.close(self.fd)

    def open(self, path: bytes, flags: int) -> int:
        return open_beneath(self.fd, path, flags)

    def open_file(self, path: bytes) -> int:
        """A regular file to read; a FIFO that has come in its place does not hold us up."""
        return self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def names(self, path: bytes) -> list[bytes]:
        """What a directory holds, sorted."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(map(os.fsencode, os.listdir(fd)))
        finally:
            os.close(fd)

    def look(self, path: bytes) -> Look | None:
        """The object at `path`, or None where there is none, or none that could be reached."""
        directory, _, name = path.rpartition(b"/")
        try:
            fd = self.open(directory, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            return look_at(fd, name)
        finally:
            os.close(fd)

    def walk(self, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Everything below a directory, each directory before what it holds."""
        pending = [path]
        while pending:
            directory = pending.pop()
            fd = self.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                for name in sorted(map(os.fsencode, os.listdir(fd)), reverse=True):
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    inner = join(directory, name)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(inner)
                    yield inner, status
            finally:
                os.close(fd)

    def readlink(self, path: bytes) -> bytes:
        fd = self.open(path, os.O_PATH)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def attributes(self, path: bytes) -> dict[bytes, bytes]:
        """The user's extended attributes of a file or directory; none where there can be none."""
        try:
            fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return {}
        try:
            names = [os.fsencode(name) for name in os.listxattr(fd)]
            return {name: os.getxattr(fd, name) for name in names if _is_users(name)}
        except OSError:
            return {}
        finally:
            os.close(fd)


class Upper(Tree):
    """The layer; `work` is where the owners are that its files could not keep themselves.

    What its guest made unreadable is read all the same.  Such a file is given what the user needs to read
    it, and what the guest sees goes into the attribute that `kept_status` reads.
    """

    def __init__(self, directory: str | bytes, work: str | bytes | None = None) -> None:
        super().__init__(directory)
        if work is not None:
            fd = os.open(work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            Beside(fd)  # what it reads is for `kept_status`, which is asked of every object
            os.close(fd)

    def open(self, path: bytes, flags: int) -> int:
        try:
            return super().open(path, flags)
        except PermissionError:
            parts = path.split(b"/")
            for end in range(1, len(parts) + 1):
                self._make_readable(b"/".join(parts[:end]))
            return super().open(path, flags)

    def _make_readable(self, path: bytes) -> None:
        fd = super().open(path, os.O_PATH)
        try:
            status = os.fstat(fd)
            needed = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
            if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)) or status.st_mode & needed == needed:
                return
            seen = look_from(fd, status)
            os.chmod(self_path(fd), stat.S_IMODE(status.st_mode) | needed | stat.S_ISVTX)
            try:
                os.setxattr(self_path(fd), KEPT, Kept(seen.uid, seen.gid, seen.mode, seen.device).text())
            except OSError:
                os.chmod(self_path(fd), stat.S_IMODE(status.st_mode))
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        finally:
            os.close(fd)


def join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def look_at(fd: int, name: bytes) -> Look | None:
    """The object `name` in an open directory; None where there is none, or the directory may not be searched."""
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not status.st_mode & stat.S_ISVTX or stat.S_ISLNK(status.st_mode):
            return look_from(-1, status)
        inner = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        return look_from(inner, os.fstat(inner))
    finally:
        os.close(inner)


def look_from(fd: int, status: os.stat_result) -> Look:
    """What the guest sees; `fd` is asked only where the sticky bit says that something is kept."""
    seen = kept_status(fd, status)
    size = status.st_size if not stat.S_ISDIR(status.st_mode) else 0
    if type(seen) is KeptStat:
        return Look(seen.st_mode, seen.st_uid, seen.st_gid, size, seen.st_rdev, status)
    uid = 0 if status.st_uid == os.geteuid() else status.st_uid
    gid = 0 if status.st_gid == os.getegid() else status.st_gid
    return Look(status.st_mode, uid, gid, size, status.st_rdev, status)


def compare(upper: Upper, host: Tree) -> list[Change]:
    """Every change of the layer against the host, a directory before what is below it.  OSError where the layer
    cannot be read."""
    comparison = _Comparison(upper, host)
    comparison.run()
    return sorted(comparison.changes, key=lambda change: order(change.path))


class _Comparison:
    def __init__(self, upper: Upper, host: Tree) -> None:
        self.upper = upper
        self.host = host
        self.changes: list[Change] = []
        self._pending: list[tuple[bytes, bool, bool]] = [(b"", True, False)]  # path, on the host too, opaque
        self._groups: dict[tuple[int, int], list[bytes]] = {}  # hard links of the layer
        self._settled: dict[tuple[int, int], int] = {}  # and the host's inode of one that does not differ

    def run(self) -> None:
        while self._pending:
            path, lower, opaque = self._pending.pop()
            names = self.upper.names(path)
            fd = self.upper.open(path, os.O_RDONLY | os.O_DIRECTORY)
            host_fd = self._host_directory(path) if lower else -1
            try:
                self._directory(path, names, fd, host_fd, opaque)
            finally:
                os.close(fd)
                if host_fd >= 0:
                    os.close(host_fd)

    def _host_directory(self, path: bytes) -> int:
        try:
            return self.host.open(path, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return -1

    def _directory(self, path: bytes, names: list[bytes], fd: int, host_fd: int, opaque: bool) -> None:
        gone = {name[len(WHITEOUT) :] for name in names if name.startswith(WHITEOUT) and not name.startswith(_MARK)}
        gone -= {b"", b".", b".."}
        kept = [name for name in names if not name.startswith(WHITEOUT)]
        hidden = gone.copy()
        if host_fd >= 0 and (opaque or OPAQUE in names):
            hidden |= set(self.host.names(path))
        for name in sorted(hidden.difference(kept)) if host_fd >= 0 else ():
            before = look_at(host_fd, name)
            if before is not None:
                self._removed(join(path, name), before)
        for name in kept:
            after = look_at(fd, name)
            if after is not None:
                before = look_at(host_fd, name) if host_fd >= 0 else None
                self._kept(join(path, name), before, after, name in gone)

    def _removed(self, path: bytes, before: Look) -> None:
        files, size = self._below(path, before)
        self.changes.append(Change(path, Kind.REMOVED, (), replace(before, size=size), None, files))

    def _below(self, path: bytes, look: Look) -> tuple[int, int]:
        """How many files a directory of the host holds, and their bytes; of anything else, none and its own."""
        if not look.is_dir:
            return 0, look.size
        files = size = 0
        try:
            for _, status in self.host.walk(path):
                if not stat.S_ISDIR(status.st_mode):
                    files += 1
                    size += status.st_size
        except OSError:
            pass  # not readable, so not countable: applying it will say so
        return files, size

    def _kept(self, path: bytes, before: Look | None, after: Look, hides: bool) -> None:
        if after.is_dir:
            self._pending.append((path, before is not None and before.is_dir, hides))
        names = self._group(path, after)
        if before is None:
            self.changes.append(Change(path, Kind.ADDED, (), None, after, 0, names))
            return
        what = self._differences(path, before, after) or self._links(before, after)
        if "type" in what:
            files, size = self._below(path, before)
            self.changes.append(Change(path, Kind.CHANGED, what, replace(before, size=size), after, files, names))
        elif what:
            self.changes.append(Change(path, Kind.CHANGED, what, before, after, 0, names))

    def _group(self, path: bytes, after: Look) -> tuple[bytes, ...] | list[bytes]:
        if after.is_dir or after.status.st_nlink < 2:
            return ()
        names = self._groups.setdefault(_inode(after), [])
        names.append(path)
        return names

    def _links(self, before: Look, after: Look) -> tuple[str, ...]:
        """A file that is as it should be, but that another name of the layer's file should share."""
        if not after.is_file or after.status.st_nlink < 2:
            return ()
        shared = self._settled.setdefault(_inode(after), before.status.st_ino)
        return () if shared == before.status.st_ino else ("links",)

    def _differences(self, path: bytes, before: Look, after: Look) -> tuple[str, ...]:
        if stat.S_IFMT(before.mode) != stat.S_IFMT(after.mode):
            return ("type",)
        what = []
        if after.is_file and (before.size != after.size or not same_content(self.upper, self.host, path)):
            what.append("content")
        if after.is_symlink and self.upper.readlink(path) != self.host.readlink(path):
            what.append("target")
        if _is_device(after) and before.device != after.device:
            what.append("device")
        if before.mode != after.mode and not after.is_symlink:
            what.append("mode")
        if (before.uid, before.gid) != (after.uid, after.gid):
            what.append("owner")
        if (after.is_file or after.is_dir) and self.upper.attributes(path) != self.host.attributes(path):
            what.append("attributes")
        return tuple(what)


def same_content(upper: Upper, host: Tree, path: bytes) -> bool:
    """Whether a regular file of the layer and the host's hold the same; not, where the host's cannot be read."""
    ours = upper.open_file(path)
    try:
        theirs = host.open_file(path)
    except OSError:
        os.close(ours)
        return False
    try:
        return os.fstat(ours).st_size == os.fstat(theirs).st_size and _same_bytes(ours, theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def _same_bytes(one: int, other: int) -> bool:
    while True:
        chunk = os.read(one, _CHUNK)
        if chunk != os.read(other, _CHUNK):
            return False
        if not chunk:
            return True


def _is_users(attribute: bytes) -> bool:
    return attribute.startswith(b"user.") and attribute != KEPT and not attribute.startswith(_FOREIGN)


def _is_device(look: Look) -> bool:
    return stat.S_ISCHR(look.mode) or stat.S_ISBLK(look.mode)


def _inode(look: Look) -> tuple[int, int]:
    return look.status.st_dev, look.status.st_ino
