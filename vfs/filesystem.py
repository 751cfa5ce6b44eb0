"""What every kind of file system offers to the path walk and to the handlers.

A `Node` is one object of a file system, as a lookup found it; it stays that object however its name
changes.  The methods below are the whole interface: a host directory, a made-up tree such as procfs,
and later the copy-on-write layers, differ only in how they fill it.  What a file system does not
override fails as the kernel fails on a file system without that feature.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import os
import stat
import struct
from collections.abc import Sequence

from vfs.kernel import error
from vfs.near import Near
from vfs.rights import Rights

# struct statfs: f_type of the made-up file systems (linux/magic.h).
PROC_SUPER_MAGIC = 0x9FA0
TMPFS_MAGIC = 0x01021994
#: The attribute with a program's capabilities; capabilities(7).
CAPABILITY = b"security.capability"


class TakesTime(Exception):
    """What was asked for has to wait for something long, such as the copy of a large file.

    `work(cancelled)` does it, on any thread, and gives up when ``cancelled()`` is true; afterwards the same is to be
    asked again.
    """

    def __init__(self, work) -> None:
        super().__init__()
        self.work = work


class Node:
    """One object of a file system; `mode` is its st_mode."""

    __slots__ = ()
    mode: int

    def keep(self) -> None:
        """Be ready to be kept from call to call: hold nothing open that its opener thinks closed."""

    def refresh(self) -> None:
        """Forget what was remembered of the object: it is asked about again, a call later."""

    @property
    def is_dir(self) -> bool:
        return self.mode & 0o170000 == 0o040000

    @property
    def is_symlink(self) -> bool:
        return self.mode & 0o170000 == 0o120000

    @property
    def is_file(self) -> bool:
        return self.mode & 0o170000 == 0o100000


class FileSystem:
    """One mounted tree.  Names are bytes without ``/``; every error is an ``OSError``."""

    type = b"none"
    source = b"none"
    root: Node
    not_made = errno.EPERM  #: why no name comes to be where none can be made

    def is_directory(self) -> bool:
        """Whether the root is one: a single file can be mounted too."""
        return True

    def remember(self) -> Near | None:
        """Remember directories from now on: the caller promises to have changes told before each call (`Near.changed`)."""
        return None

    # -- finding ------------------------------------------------------------------------------

    def lookup(self, parent: Node, name: bytes) -> Node:
        """The object called `name` in a directory, a symlink itself.  ENOENT, ENOTDIR, EACCES."""
        raise NotImplementedError

    def walk(self, start: Node, names: Sequence[bytes]) -> Node | None:
        """As `lookup`, several names deep at once; None when a symlink stands in the way."""
        node = start
        last = len(names) - 1
        for position, name in enumerate(names):
            if not node.is_dir:
                raise error(errno.ENOTDIR)
            node = self.lookup(node, name)
            if position != last and node.is_symlink:
                return None
        return node

    def path_of(self, node: Node) -> tuple[bytes, ...]:
        """The names that lead from the root to a directory now.  ENOENT when it was removed."""
        raise NotImplementedError

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        """The names that lead to a host descriptor's path (its /proc link) here.  ENOENT when none do."""
        raise error(errno.ENOENT)

    def adopt(self, fd: int, names: tuple[bytes, ...]) -> Node:
        """The node of a host descriptor that `components` recognised; keeps a copy, not `fd`."""
        raise error(errno.ENOENT)

    def place(self, fd: int, names: tuple[bytes, ...]) -> tuple[Node, tuple[bytes, ...]] | None:
        """As `adopt`, with the names that lead there now, which may be others; None when none do.

        ENOENT for a directory that is gone for the guest.
        """
        return self.adopt(fd, names), names

    def place_unlinked(self, fd: int, host_path: bytes) -> tuple[Node, tuple[bytes, ...]] | None:
        """As `place`, for a file without a name, by the host path it had; None when it is not of this tree."""
        return None

    def share(self, host_path: bytes) -> None:
        """Another mount shows a part of the host that this tree may show too."""

    def shows(self, dev: int, ino: int) -> bool:
        """Whether `shown` may have something to say of a host file."""
        return True

    def shown(self, status: os.stat_result, fd: int):
        """The status the guest sees of an open host file, where it is not the host's; else None."""
        return None

    def stat(self, node: Node):
        """An ``os.stat_result``, or an object with the same attributes (host ids, nanoseconds)."""
        raise NotImplementedError

    def statfs(self, node: Node) -> bytes:
        """The 120 bytes of ``struct statfs``."""
        raise error(errno.ENOSYS)

    def readlink(self, node: Node) -> bytes:
        """Where a symlink leads.  EINVAL for any other object."""
        raise error(errno.EINVAL)

    def follow(self, node: Node) -> object | None:
        """Where a magic link jumps to, past all names: an `OpenFile` or a location; else None."""
        return None

    # -- opening ------------------------------------------------------------------------------

    def open(self, node: Node, flags: int) -> int:
        """A new host descriptor of the object, close-on-exec, never blocking, never a terminal's claim."""
        raise error(errno.EACCES)

    def open_at(self, start: Node, names: Sequence[bytes], flags: int) -> int | None:
        """`walk` and `open` in one step where that is safe and cheap; None where it is not."""
        return None

    def create_at(self, start: Node, names: Sequence[bytes], flags: int, mode: int) -> int | None:
        """open(2) with O_CREAT in one step, as `open_at`; None where that cannot be told so simply."""
        return None

    def lets_through(self, start: Node, names: Sequence[bytes], rights: Rights) -> bool:
        """Whether all directories below `start` on the way to the last of plain names may be searched.

        False also where that is not told at once, as where a symlink stands in the way.
        """
        return False

    def stat_at(self, start: Node, names: Sequence[bytes], follow: bool) -> bytes | None:
        """`walk` and `stat` in one step: a host file's ``struct stat`` with the host's owner; None where it is more.

        It is more where a symlink is to be followed, or where the status is not the host's own.
        """
        return None

    def create(self, parent: Node, name: bytes, flags: int, mode: int) -> int:
        """Make and open a regular file that must not exist yet.  EEXIST."""
        raise error(errno.EACCES)

    def getdents(self, node: Node, fd: int, size: int) -> bytes:
        """getdents64(2) on descriptor `fd` of the directory `node`, which holds the offset."""
        return live_entries(self.entries(node), fd, size)

    def entries(self, node: Node) -> list[tuple[bytes, int, int]]:
        """A made-up directory's (name, inode, d_type), without ``.`` and ``..``."""
        raise error(errno.ENOTDIR)

    # -- changing -----------------------------------------------------------------------------

    def mkdir(self, parent: Node, name: bytes, mode: int) -> None:
        self._not_made(parent, name)

    def mknod(self, parent: Node, name: bytes, mode: int, device: int) -> None:
        self._not_made(parent, name)

    def symlink(self, parent: Node, name: bytes, target: bytes) -> None:
        self._not_made(parent, name)

    def _not_made(self, parent: Node, name: bytes) -> None:
        """EEXIST for a name that is there, `not_made` for another."""
        with contextlib.suppress(FileNotFoundError):
            self.lookup(parent, name)
            raise error(errno.EEXIST)
        raise error(self.not_made)

    def link(self, node: Node, new: Node, name: bytes) -> None:
        """Give an object, a symlink itself, one more name: `name` in directory `new`."""
        raise error(errno.EPERM)

    def unlink(self, parent: Node, name: bytes) -> None:
        raise error(errno.EPERM)

    def rmdir(self, parent: Node, name: bytes) -> None:
        raise error(errno.EPERM)

    def link_open(self, fd: int, new: Node, name: bytes) -> None:
        """Give an open file of this file system, one without a name perhaps, the name `name`."""
        raise error(errno.EPERM)

    def rename(self, old: Node, oldname: bytes, new: Node, name: bytes, flags: int) -> None:
        """renameat2(2); a name may end in a slash, which asks for a directory."""
        raise error(errno.EPERM)

    def chmod(self, node: Node, mode: int) -> None:
        raise error(errno.EPERM)

    def chown(self, node: Node, uid: int, gid: int) -> None:
        raise error(errno.EPERM)

    def utimens(self, node: Node, times: bytes | None) -> None:
        raise error(errno.EPERM)

    def truncate(self, node: Node, length: int) -> None:
        raise error(errno.EINVAL if not stat.S_ISDIR(node.mode) else errno.EISDIR)

    def access(self, node: Node, mode: int) -> bool:
        return True

    def getxattr(self, node: Node, name: bytes) -> bytes:
        raise error(errno.EOPNOTSUPP)

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int) -> None:
        raise error(errno.EOPNOTSUPP)

    def listxattr(self, node: Node) -> list[bytes]:
        return []

    def has_capabilities(self, node: Node) -> bool:
        """Whether a program has file capabilities (`CAPABILITY`), which a change of the file takes; capabilities(7)."""
        return False

    def removexattr(self, node: Node, name: bytes) -> None:
        raise error(errno.EOPNOTSUPP)

    def watch(self, node: Node, inotify: int, mask: int) -> int:
        """inotify_add_watch(2) on the object; the watch descriptor."""
        raise error(errno.EACCES)


DIRENT64 = struct.Struct("<QqHB")  # struct linux_dirent64: inode, offset, record length, type; then the name


def dirent64(name: bytes, inode: int, offset: int, kind: int) -> bytes:
    """One record of getdents64(2)."""
    length = (DIRENT64.size + len(name) + 8) & ~7
    return (DIRENT64.pack(inode, offset, length, kind) + name).ljust(length, b"\0")


_NUMBERED = 1 << 16  # more names than a directory has beside numbers


def live_entries(entries: list[tuple[bytes, int, int]], fd: int, size: int) -> bytes:
    """Records of a listing that is made anew for each call, from the descriptor's offset on.

    Names that are numbers, of processes or descriptors, come and go while they are read: their offsets say which they are.
    """
    others = [(b".", 1, 4), (b"..", 1, 4), *(entry for entry in entries if not entry[0].isdigit())]
    listing = list(enumerate(others, 1))
    numbers = sorted((int(entry[0]), entry) for entry in entries if entry[0].isdigit())
    listing += [(_NUMBERED + number, entry) for number, entry in numbers]
    return _records(listing, fd, size)


def made_up_entries(entries: list[tuple[bytes, int, int]], fd: int, size: int, base: int) -> bytes:
    """Records of a listing that is kept, from the descriptor's offset on, which counts them from `base`."""
    return _records(list(enumerate(entries, base + 1)), fd, size)


def _records(listing: list[tuple[int, tuple[bytes, int, int]]], fd: int, size: int) -> bytes:
    """Of entries with the offset behind each, those that follow the descriptor's.  EINVAL when not even one fits."""
    start = position = os.lseek(fd, 0, os.SEEK_CUR)
    result = bytearray()
    for offset, (name, inode, kind) in listing[bisect.bisect_right(listing, start, key=lambda entry: entry[0]) :]:
        record = dirent64(name, inode, offset, kind)
        if len(result) + len(record) > size:
            if not result:
                raise error(errno.EINVAL)
            break
        result += record
        position = offset
    if position != start:
        os.lseek(fd, position, os.SEEK_SET)
    return bytes(result)
