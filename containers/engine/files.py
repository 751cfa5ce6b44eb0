"""Files of a container for a command outside: found, read and made through its own name space, so that no symlink leads out.

A running container's monitor serves these requests, one small step each; what a file holds moves between the command and
the descriptor it is given. For a container that does not run, the command makes the name space itself.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from vfs.filesystem import DIRENT64, TakesTime
from vfs.hostfs import HostFs
from vfs.kernel import error
from vfs.namespace import Location, Namespace, OpenFile

_LISTING = 1 << 15  # bytes of getdents64(2)
_REQUESTS = frozenset(("look", "list", "read", "make", "directory", "symlink", "special", "link", "settle"))


class Files:
    """The requests, by `serve`; errors are errno numbers.  Paths are absolute, as the container sees them."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._over = False

    def end(self) -> None:
        """The container has ended: its name space is not to be asked any more."""
        self._over = True

    def serve(self, request: dict) -> tuple[dict, int | None]:
        """The answer to a request, and a descriptor with it or None."""
        if self._over or request["what"] not in _REQUESTS:
            return {"errno": errno.ESHUTDOWN if self._over else errno.EINVAL}, None
        try:
            given = request["with"].items()
            arguments = {name: os.fsencode(value) if isinstance(value, str) else value for name, value in given}
            found = getattr(self, request["what"])(**arguments)
        except OSError as problem:
            return {"errno": problem.errno}, None
        except TakesTime as long:
            long.work(lambda: False)
            return self.serve(request)
        if isinstance(found, int):
            return {}, found
        return found or {}, None

    # -- looking ------------------------------------------------------------------------------

    def _find(self, path: bytes, follow: bool = False) -> Location | OpenFile:
        namespace = self._namespace
        return namespace.walk(namespace.context(), namespace.root, path, follow)

    def look(self, path: bytes, follow: bool) -> dict:
        """What is at a path: mode, owner, size, times, device, inode, where a symlink leads; where it was found."""
        found = self._find(path, follow)
        if isinstance(found, OpenFile):
            raise error(errno.EINVAL)
        status = found.fs.stat(found.node)
        result: dict[str, Any] = {
            "mode": status.st_mode, "uid": self._guest(status, "uid"), "gid": self._guest(status, "gid"),
            "size": status.st_size, "mtime": status.st_mtime_ns, "device": status.st_rdev, "links": status.st_nlink,
            "inode": [status.st_dev, status.st_ino], "path": os.fsdecode(found.name()),
            "mount": found.mount.id, "made_up": not isinstance(found.fs, HostFs),
        }  # fmt: skip
        if found.node.is_symlink:
            result["target"] = os.fsdecode(found.fs.readlink(found.node))
        return result

    @staticmethod
    def _guest(status, which: str) -> int:
        """An id as the container sees it: what is the host user's is root's."""
        number = getattr(status, f"st_{which}")
        if isinstance(status, os.stat_result) and number == getattr(os, f"gete{which}")():
            return 0
        return number

    def list(self, path: bytes) -> int:
        """What a directory holds: a file in memory, the names with a NUL after each."""
        found = self._find(path)
        if isinstance(found, OpenFile) or not found.node.is_dir:
            raise error(errno.ENOTDIR)
        names = self._names(found)
        result = os.memfd_create("names")
        with open(result, "wb", closefd=False) as file:
            file.write(b"".join(name + b"\0" for name in sorted(names)))
        os.lseek(result, 0, os.SEEK_SET)
        return result

    def _names(self, found: Location) -> set[bytes]:
        names = set()
        directory = found.fs.open(found.node, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while data := found.fs.getdents(found.node, directory, _LISTING):
                position = 0
                while position < len(data):
                    length = DIRENT64.unpack_from(data, position)[2]
                    names.add(data[position + DIRENT64.size : position + length].split(b"\0", 1)[0])
                    position += length
        finally:
            os.close(directory)
        return names - {b".", b".."}

    def read(self, path: bytes) -> int:
        """A descriptor to read a regular file with."""
        found = self._find(path)
        if isinstance(found, OpenFile) or not found.node.is_file:
            raise error(errno.EINVAL)
        return found.fs.open(found.node, os.O_RDONLY | os.O_NONBLOCK)

    # -- making -------------------------------------------------------------------------------

    def _parent(self, path: bytes) -> tuple[Location, bytes]:
        namespace = self._namespace
        place = namespace.parent(namespace.context(), namespace.root, path)
        if not place.name or place.name in (b".", b".."):
            raise error(errno.EEXIST)
        self._check_writable(place.location)
        if namespace.busy(place.location.path + (place.name,)):
            raise error(errno.EBUSY)
        return place.location, place.name

    @staticmethod
    def _check_writable(place: Location) -> None:
        if place.mount.read_only:
            raise error(errno.EROFS)

    def _clear(self, parent: Location, name: bytes, path: bytes) -> None:
        """Remove what has a name, unless it is a directory: EISDIR."""
        try:
            found = self._find(path)
        except FileNotFoundError:
            return
        if isinstance(found, OpenFile) or found.node.is_dir:
            raise error(errno.EISDIR)
        parent.fs.unlink(parent.node, name)

    def make(self, path: bytes, mode: int, uid: int, gid: int) -> int:
        """A new regular file, in the place of another: a descriptor to write it with."""
        parent, name = self._parent(path)
        self._clear(parent, name, path)
        fd = parent.fs.create(parent.node, name, os.O_WRONLY, stat.S_IMODE(mode))
        self._give(path, uid, gid, mode)
        return fd

    def directory(self, path: bytes, mode: int, uid: int, gid: int) -> dict | None:
        """A directory that may be there already; whether it is new."""
        try:
            found = self._find(path)
        except FileNotFoundError:
            found = None
        if found is not None:
            if isinstance(found, OpenFile) or not found.node.is_dir:
                raise error(errno.ENOTDIR)
            return {"new": False}
        parent, name = self._parent(path)
        parent.fs.mkdir(parent.node, name, stat.S_IMODE(mode) | 0o700)
        self._give(path, uid, gid, mode | 0o700)
        return {"new": True}

    def symlink(self, path: bytes, target: bytes, uid: int, gid: int) -> None:
        parent, name = self._parent(path)
        self._clear(parent, name, path)
        parent.fs.symlink(parent.node, name, target)
        self._give(path, uid, gid, 0)

    def special(self, path: bytes, mode: int, device: int, uid: int, gid: int) -> None:
        """A FIFO or a device's node."""
        parent, name = self._parent(path)
        self._clear(parent, name, path)
        parent.fs.mknod(parent.node, name, mode, device)
        self._give(path, uid, gid, mode)

    def link(self, path: bytes, to: bytes) -> None:
        """One more name for what has been made."""
        parent, name = self._parent(path)
        self._clear(parent, name, path)
        found = self._find(to)
        if isinstance(found, OpenFile) or found.mount is not parent.mount:
            raise error(errno.EXDEV)
        parent.fs.link(found.node, parent.node, name)

    def _give(self, path: bytes, uid: int, gid: int, mode: int) -> None:
        """The owner of something new, and once more its mode, which that may have changed; root's is what it has."""
        if (uid, gid) == (0, 0):
            return
        made = self._find(path)
        if isinstance(made, Location):
            made.fs.chown(made.node, uid, gid)
            made.node.refresh()
            if not made.node.is_symlink and mode & 0o6000:
                made.fs.chmod(made.node, stat.S_IMODE(mode))

    def settle(self, path: bytes, mode: int | None, mtime: int) -> None:
        """The mode and the time of what is complete; None leaves the mode alone.  `mtime` in nanoseconds."""
        found = self._find(path)
        if isinstance(found, OpenFile):
            return
        self._check_writable(found)
        if mode is not None and not found.node.is_symlink:
            found.fs.chmod(found.node, stat.S_IMODE(mode))
            found.node.refresh()
        when = (mtime // 10**9).to_bytes(8, "little", signed=True) + (mtime % 10**9).to_bytes(8, "little")
        found.fs.utimens(found.node, when + when)
