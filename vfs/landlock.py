"""What landlock(7) domains leave of a task's use of files.

A domain is a stack of rulesets.  Each says which uses it handles, and grants them beneath some objects, told by device and
inode; what a ruleset handles and grants neither to an object nor to any directory above it is denied, whoever asks.
Version 2 of the interface: with REFER, without truncation, ports, devices and scopes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from vfs.kernel import error
from vfs.rights import EXECUTE as MAY_EXECUTE
from vfs.rights import Rights

VERSION = 2
(EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO,
 MAKE_BLOCK, MAKE_SYM, REFER) = (1 << bit for bit in range(14))  # fmt: skip
KNOWN = (1 << 14) - 1
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE
LAYERS_MAX = 16

_IFMT, _IFDIR = 0o170000, 0o040000
_MAKING = {
    0o020000: MAKE_CHAR, 0o040000: MAKE_DIR, 0o140000: MAKE_SOCK, 0o010000: MAKE_FIFO, 0o060000: MAKE_BLOCK, 0o120000: MAKE_SYM,
}  # fmt: skip

Path = tuple[bytes, ...]


def making(mode: int) -> int:
    """What it takes to make an object of a mode."""
    return _MAKING.get(mode & _IFMT, MAKE_REG)


def removing(mode: int) -> int:
    """What it takes to remove an object of a mode."""
    return REMOVE_DIR if mode & _IFMT == _IFDIR else REMOVE_FILE


class Layer:
    """One ruleset that is in force: the uses it handles, and those granted by (st_dev, st_ino)."""

    __slots__ = ("granted", "handled")

    def __init__(self, handled: int, granted: Mapping[tuple[int, int], int]) -> None:
        self.handled = handled
        self.granted = granted


class Domain:
    """The rulesets that a task put itself under, the first one first."""

    __slots__ = ("layers",)

    def __init__(self, layers: tuple[Layer, ...] = ()) -> None:
        self.layers = layers

    def covers(self, other: Domain | None) -> bool:
        """Whether a task of another domain may do no more than one of this, which so may look into it."""
        return other is not None and other.layers[: len(self.layers)] == self.layers

    def granted(self, namespace, path: Path) -> list[int]:
        """For each layer what is granted to an object, by the path of plain names that leads to it from the sandbox's root."""
        found = [0] * len(self.layers)
        for length in range(len(path) + 1):
            try:
                where = namespace.at(path[:length])
                status = where.fs.stat(where.node)
            except OSError:
                continue  # gone meanwhile, or a symlink
            inode = status.st_dev, status.st_ino
            for index, layer in enumerate(self.layers):
                found[index] |= layer.granted.get(inode, 0)
        return found

    def check(self, namespace, path: Path, uses: int) -> None:
        """EACCES unless an object may be used so, or a directory's names."""
        for layer, granted in zip(self.layers, self.granted(namespace, path), strict=True):
            if uses & (layer.handled | REFER) & ~granted:
                raise error(errno.EACCES)

    def check_move(self, namespace, old: Path, new: Path, leaving: int, coming: int, is_dir: bool) -> None:
        """What `check` says of the parents of two names; EXDEV where an object may not come under another parent.

        `leaving` and `coming` are what is done to the names of the old parent and the new one.  Another parent is denied where a
        ruleset does not grant REFER to both, also by not knowing it, or if the object could be used in more ways afterwards.
        """
        if old[:-1] == new[:-1]:
            self.check(namespace, old[:-1], leaving | coming)
            return
        if leaving:
            self.check(namespace, old[:-1], leaving)
        self.check(namespace, new[:-1], coming)
        parents = [self.granted(namespace, path) for path in (old[:-1], new[:-1])]
        own = self.granted(namespace, old)
        for layer, before, after, mine in zip(self.layers, *parents, own, strict=True):
            gained = after & ~(before | mine) & layer.handled & (KNOWN if is_dir else OF_FILES)
            if not before & after & REFER or gained:
                raise error(errno.EXDEV)


class Confined(Rights):
    """The rights of a task under a domain."""

    __slots__ = ("_domain", "_namespace")
    confined = True

    def __init__(self, credentials, host_uid: int, host_gid: int, namespace) -> None:
        super().__init__(credentials, host_uid, host_gid)
        self._domain: Domain = credentials.domain
        self._namespace = namespace

    def check_open(self, where, flags: int) -> None:
        super().check_open(where, flags)
        if not flags & os.O_PATH and not where.node.is_symlink:
            self._domain.check(self._namespace, where.path, opening(flags, where.node.is_dir))

    def check_run(self, where) -> None:
        self.check(where, MAY_EXECUTE)
        self._domain.check(self._namespace, where.path, EXECUTE | READ_FILE)


def opening(flags: int, is_dir: bool) -> int:
    """What it takes to open an object with the flags of open(2)."""
    mode = flags & os.O_ACCMODE
    if mode == os.O_ACCMODE:
        return 0  # for ioctl(2) alone
    reads = READ_DIR if is_dir else READ_FILE
    return (reads if mode != os.O_WRONLY else 0) | (WRITE_FILE if mode != os.O_RDONLY else 0)
