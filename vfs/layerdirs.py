"""The directories of layers, remembered as they are read, and the marks that OCI layers store in them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from vfs import kernel
from vfs.filesystem import DIRENT64
from vfs.kernel import error

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
DT_DIR, DT_LNK = 4, 10

PLAIN = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
FIND = kernel.how(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, PLAIN)
LIST = kernel.how(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, PLAIN)
_READ = 1 << 18  # bytes of a listing fetched at once

Names = tuple[bytes, ...]


class Dir:
    """One layer's directory as it is remembered: its entries by name, and what it hides of the layers below.

    `children` is None until it is read; an entry is a `Dir` or the d_type of anything else.
    """

    __slots__ = ("alone", "children", "hidden", "layer", "name", "opaque", "parent")

    def __init__(self, layer: Layer | None, parent: Dir | None, name: bytes) -> None:
        self.layer = layer  # None: nothing but a mask
        self.parent = parent
        self.name = name
        self.children: dict[bytes, Dir | int] | None = None
        self.hidden: set[bytes] = set()
        self.opaque = False
        self.alone = False  # made when no layer below had the name: nobody needs to look there

    def path(self) -> Names:
        """The names that lead here from the layer's root.  ENOENT once it was removed."""
        names = []
        here = self
        while here.parent is not None:
            names.append(here.name)
            here = here.parent
        if here.name:
            raise error(errno.ENOENT)
        return tuple(reversed(names))

    def remove(self) -> None:
        self.parent = None

    def list(self) -> dict[bytes, Dir | int]:
        """The entries, read at the first time."""
        if self.children is None:
            self._read()
        return self.children

    def _read(self) -> None:
        self.children = {}
        path = self.path()
        fd = self.layer.open(path, LIST)
        try:
            for name, _, kind in read_directory(fd):
                if name == OPAQUE:
                    self.opaque = True
                elif name.startswith(WHITEOUT):
                    if not name.startswith(b".wh..wh."):
                        self.hidden.add(name[len(WHITEOUT) :])
                else:
                    self.children[name] = Dir(self.layer, self, name) if kind == DT_DIR else kind
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Say of a directory just made that it holds nothing."""
        self.children = {}


class Layer:
    """A directory whose tree only we change, or nobody."""

    __slots__ = ("fd", "top")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.top = Dir(self, None, b"")

    def open(self, names: Names, how=FIND) -> int:
        return kernel.openat2(self.fd, b"/".join(names) or b".", how)


def mask(paths: Iterable[bytes]) -> Dir:
    """The top of a layer without files that hides some absolute paths of those below it."""
    top = Dir(None, None, b"")
    top.empty()
    for path in paths:
        *above, last = [name for name in path.split(b"/") if name]
        here = top
        for name in above:
            inner = here.children.get(name)
            if inner is None:
                inner = here.children[name] = Dir(None, here, name)
                inner.empty()
            here = inner
        here.hidden.add(last)
    return top


def read_directory(fd: int) -> Iterable[tuple[bytes, int, int]]:
    """(name, inode, d_type) of everything in an open directory but itself and its parent, from its offset on."""
    while data := kernel.getdents64(fd, _READ):
        for name, inode, kind in records(data):
            if name not in (b".", b".."):
                if kind == 0:  # DT_UNKNOWN: some file systems do not say
                    kind = stat.S_IFMT(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode) >> 12
                yield name, inode, kind


def records(data: bytes) -> Iterable[tuple[bytes, int, int]]:
    """(name, inode, d_type) of the records of getdents64(2)."""
    position = 0
    while position < len(data):
        inode, _, length, kind = DIRENT64.unpack_from(data, position)
        yield data[position + DIRENT64.size : position + length].split(b"\0", 1)[0], inode, kind
        position += length


class Listing:
    """A directory's entries (or just its descriptor), closed afterwards."""

    def __init__(self, fd: int, read: bool = True) -> None:
        self._fd = fd
        self._read = read

    def __enter__(self):
        return read_directory(self._fd) if self._read else self._fd

    def __exit__(self, *_) -> None:
        os.close(self._fd)
