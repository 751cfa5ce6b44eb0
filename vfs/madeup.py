"""What made-up trees (procfs, sysfs, devfs) have in common: nodes without a host inode, and their files.

The guest's descriptor of a made-up file is a sealed memfd with the text in it, of a made-up directory an
empty one; the memfd's name says which object it stands for, so that a descriptor coming back from the
guest, duplicated or passed along as it may be, finds its node again and nothing has to be remembered.

A tree that is the same for every process is a table, nested dicts from name to entry, and `TableFs` serves it.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import fnmatch
import os
import time
from collections.abc import Callable

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
        self.started_ns = time.time_ns()

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

    def owner(self, node: MadeUpNode) -> tuple[int, int]:
        """The guest's uid and gid that own the object."""
        return 0, 0

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

    def memfd(self, node: MadeUpNode, text: bytes, access: int = os.O_RDONLY) -> int:
        """A descriptor of a sealed file that holds `text` and is known as `node`; writing to it is EPERM."""
        writable = os.memfd_create(self.tag + b"/".join(node.names), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            view = memoryview(text)
            while view:
                view = view[os.write(writable, view) :]
            fcntl.fcntl(writable, fcntl.F_ADD_SEALS, _SEALS)
            return os.open(self_path(writable), access | os.O_CLOEXEC)
        finally:
            os.close(writable)

    def access(self, node: MadeUpNode, mode: int) -> bool:
        """Whether the guest's root may: it needs an x to run a file, as on Linux."""
        return not mode & os.X_OK or bool(node.mode & 0o111)

    def chmod(self, node: Node, mode: int) -> None:
        raise error(errno.EPERM)


def inode(names: tuple[bytes, ...]) -> int:
    """A made-up object's inode number: the same as long as the sandbox lives."""
    return (hash(names) & 0x7FFFFFFF) | 0x100 if names else 1


# -- tables -----------------------------------------------------------------------------------------


class Host(enum.Enum):
    """An entry that is the host's file of that name: there if the host has it, and with its mode."""

    COPY = enum.auto()  # the guest gets what it held when it was opened
    LIVE = enum.auto()  # the guest gets the file, which tells anew at each rewind


class Link(bytes):
    """An entry that is a symbolic link to these bytes."""


class Told:
    """An entry whose text is made here, of the tree's view where it needs one."""

    __slots__ = ("mode", "text")

    def __init__(self, text: bytes | Callable[..., bytes], mode: int = 0o444) -> None:
        self.text = text
        self.mode = mode

    def read(self, view) -> bytes:
        return self.text(view) if callable(self.text) else self.text


Entry = dict | Host | Link | Told


def each(names: bytes, entry: Entry) -> dict[bytes, Entry]:
    """The same entry under several names, given as words."""
    return dict.fromkeys(names.split(), entry)


class TableFs(MadeUpFs):
    """A tree out of nested dicts.  A name in it may be a pattern, which stands for what the host has of the kind.

    A directory with files of the host's below is there only if the host has it too.
    """

    host = b""  # the directory of the host that the table copies
    table: dict[bytes, Entry]
    view = None

    def lookup(self, parent: MadeUpNode, name: bytes) -> MadeUpNode:
        names = parent.names + (name,)
        mode = self.mode_of(names)
        if mode is None:
            raise error(errno.ENOENT)
        return MadeUpNode(names, mode)

    def mode_of(self, names: tuple[bytes, ...]) -> int | None:
        """The st_mode of an object, None where there is none."""
        entry = find(self.table, names)
        match entry:
            case dict():
                if not _mirrors(entry):
                    return S_IFDIR | 0o555
            case Told(mode=mode):
                return S_IFREG | mode
            case Link():
                return S_IFLNK | 0o777
            case None:
                return None
        try:
            mode = os.lstat(self.host_path(names)).st_mode
        except OSError:
            return None
        return mode if mode & 0o170000 == (S_IFDIR if isinstance(entry, dict) else S_IFREG) else None

    def host_path(self, names: tuple[bytes, ...]) -> bytes:
        return self.host + b"/" + b"/".join(names)

    def names_in(self, names: tuple[bytes, ...]) -> list[bytes]:
        """What a directory may hold; `mode_of` says whether it does."""
        inside = find(self.table, names)
        if not isinstance(inside, dict):
            return []
        listing = [name for name in inside if not _is_pattern(name)]
        if len(listing) < len(inside):
            try:
                there = sorted(os.listdir(self.host_path(names)))
            except OSError:
                there = []
            listing += [name for name in there if name not in inside and _matching(inside, name) is not None]
        return listing

    def entries(self, node: MadeUpNode) -> list[tuple[bytes, int, int]]:
        result = []
        for name in self.names_in(node.names):
            names = node.names + (name,)
            mode = self.mode_of(names)
            if mode is not None:
                result.append((name, inode(names), mode >> 12))
        return result

    def readlink(self, node: MadeUpNode) -> bytes:
        entry = find(self.table, node.names)
        if not isinstance(entry, Link):
            raise error(errno.EINVAL)
        return bytes(entry)

    def access(self, node: MadeUpNode, mode: int) -> bool:
        return not (mode & os.W_OK and node.is_file) and super().access(node, mode)

    def open_file(self, node: MadeUpNode, flags: int) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise error(errno.EACCES)
        entry = find(self.table, node.names)
        if isinstance(entry, Told):
            return self.memfd(node, entry.read(self.view))
        fd = os.open(self.host_path(node.names), os.O_RDONLY | os.O_CLOEXEC)
        if entry is Host.LIVE:
            return fd
        with open(fd, "rb") as file:
            return self.memfd(node, file.read())


def find(table: dict[bytes, Entry], names: tuple[bytes, ...]) -> Entry | None:
    """The entry that names lead to."""
    entry: Entry | None = table
    for name in names:
        if not isinstance(entry, dict):
            return None
        entry = _matching(entry, name)
    return entry


def _matching(table: dict[bytes, Entry], name: bytes) -> Entry | None:
    found = table.get(name)
    if found is None:
        for pattern, entry in table.items():
            if _is_pattern(pattern) and fnmatch.fnmatchcase(name, pattern):
                return entry
    return None if _is_pattern(name) else found


def _is_pattern(name: bytes) -> bool:
    return b"*" in name


def _mirrors(table: dict[bytes, Entry]) -> bool:
    """Whether a directory holds files of the host's."""
    return any(_mirrors(entry) if isinstance(entry, dict) else isinstance(entry, Host) for entry in table.values())
