"""What made-up trees (procfs, devfs) have in common: nodes without a host inode, and their files.

The guest's descriptor of a made-up file is a sealed memfd with the text in it, of a made-up directory an
empty one; the memfd's name says which object it stands for, so that a descriptor coming back from the
guest, duplicated or passed along as it may be, finds its node again and nothing has to be remembered.
"""

from __future__ import annotations

import errno
import fcntl
import os

from vfs.filesystem import FileSystem, Node
from vfs.kernel import error, self_path

S_IFDIR, S_IFREG, S_IFLNK, S_IFCHR = 0o040000, 0o100000, 0o120000, 0o020000
_MEMFD = b"/memfd:"
_DELETED = b" (deleted)"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class MadeUpStat:
    """The attributes of ``os.stat_result`` for an object that no host file system holds."""

    __slots__ = ("st_dev", "st_gid", "st_ino", "st_mode", "st_nlink", "st_ns", "st_rdev", "st_uid")

    st_size = 0
    st_blksize = 1024
    st_blocks = 0

    def __init__(self, dev: int, ino: int, mode: int, uid: int, gid: int, ns: int, rdev: int = 0) -> None:
        self.st_dev = dev
        self.st_ino = ino
        self.st_mode = mode
        self.st_nlink = 2 if mode & 0o170000 == S_IFDIR else 1
        self.st_rdev = rdev
        self.st_uid = uid
        self.st_gid = gid
        self.st_ns = ns

    st_atime_ns = property(lambda self: self.st_ns)
    st_mtime_ns = property(lambda self: self.st_ns)
    st_ctime_ns = property(lambda self: self.st_ns)


class MadeUpNode(Node):
    """An object of a made-up tree, known by its names from the tree's root."""

    __slots__ = ("mode", "names")

    def __init__(self, names: tuple[bytes, ...], mode: int) -> None:
        self.names = names
        self.mode = mode


class MadeUpFs(FileSystem):
    """A tree whose objects are computed when they are looked up.  `tag` marks its memfds."""

    tag = b""
    dev = 0
    magic = 0

    def __init__(self) -> None:
        self.root = MadeUpNode((), S_IFDIR | 0o555)

    def path_of(self, node: MadeUpNode) -> tuple[bytes, ...]:
        return node.names

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        prefix = _MEMFD + self.tag
        if not host_path.startswith(prefix):
            raise error(errno.ENOENT)
        names = host_path.removesuffix(_DELETED)[len(prefix) :]
        return tuple(names.split(b"/")) if names else ()

    def adopt(self, fd: int, names: tuple[bytes, ...]) -> MadeUpNode:
        node: Node = self.root
        for name in names:
            node = self.lookup(node, name)
        return node

    def stat(self, node: MadeUpNode) -> MadeUpStat:
        return MadeUpStat(self.dev, inode(node.names), node.mode, *self.owner(node), self.started_ns)

    started_ns = 0

    def owner(self, node: MadeUpNode) -> tuple[int, int]:
        """Host uid and gid that own the object; the sandbox's user, whom the guest sees as root."""
        return os.geteuid(), os.getegid()

    def statfs(self, node: MadeUpNode) -> bytes:
        fields = (self.magic, 4096, 0, 0, 0, 0, 0, 0, 255, 4096, 0x1020)
        return b"".join(field.to_bytes(8, "little") for field in fields) + bytes(32)

    def open(self, node: MadeUpNode, flags: int) -> int:
        if node.mode & 0o170000 == S_IFLNK and not flags & os.O_PATH:
            raise error(errno.ELOOP)
        if node.is_dir:
            if flags & os.O_ACCMODE != os.O_RDONLY:
                raise error(errno.EISDIR)
            return self.memfd(node, b"")
        if flags & os.O_PATH:
            return self.memfd(node, b"")
        return self.open_file(node, flags)

    def open_file(self, node: MadeUpNode, flags: int) -> int:
        raise NotImplementedError

    def memfd(self, node: MadeUpNode, text: bytes) -> int:
        """A read-only descriptor of a sealed file that holds `text` and is known as `node`."""
        writable = os.memfd_create(self.tag + b"/".join(node.names), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            view = memoryview(text)
            while view:
                view = view[os.write(writable, view) :]
            fcntl.fcntl(writable, fcntl.F_ADD_SEALS, _SEALS)
            return os.open(self_path(writable), os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(writable)

    def access(self, node: MadeUpNode, mode: int) -> bool:
        return not mode & os.X_OK or bool(node.mode & 0o111)

    def chmod(self, node: Node, mode: int) -> None:
        raise error(errno.EPERM)


def inode(names: tuple[bytes, ...]) -> int:
    """A made-up object's inode number: the same as long as the sandbox lives."""
    return (hash(names) & 0x7FFFFFFF) | 0x100 if names else 1
