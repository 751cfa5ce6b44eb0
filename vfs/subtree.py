"""A directory of a file system as a file system of its own: what is mounted where a container's root lies in another's tree.

Objects and changes are those of the whole tree, which others may be using; names begin at the directory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from vfs.filesystem import FileSystem, Node
from vfs.hostfs import HostFs
from vfs.kernel import error


def subtree(fs: FileSystem, node: Node) -> FileSystem:
    """The tree below `node`, a directory of `fs`, or the single file that `node` is."""
    if type(fs) is HostFs:
        return HostFs(os.dup(node.fd), fs.source)
    node.keep()
    return Subtree(fs, node)


class Subtree(FileSystem):
    """Everything but names is asked of the whole tree."""

    def __init__(self, whole: FileSystem, root: Node) -> None:
        self._whole = whole
        self.root = root
        self.type = whole.type
        self.source = whole.source

    def is_directory(self) -> bool:
        return self.root.is_dir

    def remember(self) -> None:
        """The whole tree does, for whoever has it mounted."""

    def _beneath(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        top = self._whole.path_of(self.root) if self.root.is_dir else None
        if top is None or names[: len(top)] != top:
            raise error(errno.ENOENT)
        return names[len(top) :]

    def path_of(self, node: Node) -> tuple[bytes, ...]:
        return self._beneath(self._whole.path_of(node))

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        return self._beneath(self._whole.components(host_path))

    def adopt(self, fd: int, names: tuple[bytes, ...]) -> Node:
        return self._whole.adopt(fd, self._whole.path_of(self.root) + names)

    def place(self, fd: int, names: tuple[bytes, ...]) -> tuple[Node, tuple[bytes, ...]] | None:
        found = self._whole.place(fd, self._whole.path_of(self.root) + names)
        return None if found is None else (found[0], self._beneath(found[1]))

    def place_unlinked(self, fd: int, host_path: bytes) -> tuple[Node, tuple[bytes, ...]] | None:
        found = self._whole.place_unlinked(fd, host_path)
        try:
            return None if found is None else (found[0], self._beneath(found[1]))
        except OSError:
            return None


def _of_the_whole(name: str) -> Callable:
    def method(self, *arguments):
        return getattr(self._whole, name)(*arguments)

    method.__name__ = name
    method.__doc__ = getattr(FileSystem, name).__doc__
    return method


for _name, _value in vars(FileSystem).items():
    if callable(_value) and not _name.startswith("_") and _name not in vars(Subtree):
        setattr(Subtree, _name, _of_the_whole(_name))
