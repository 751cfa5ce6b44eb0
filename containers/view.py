"""Files as a process of a sandbox sees them: what the paths of a bundle mean where a host program names them."""

from __future__ import annotations

import errno
import os

from vfs.filesystem import FileSystem
from vfs.namespace import FsContext, Location, Namespace
from vfs.subtree import subtree

_MADE_UP = (b"proc", b"sysfs", b"devtmpfs")


class View:
    """The tree of `namespace` as whoever has `context` follows paths in it."""

    def __init__(self, namespace: Namespace, context: FsContext) -> None:
        self._namespace = namespace
        self._context = context

    def find(self, path: bytes) -> Location:
        """What a path leads to.  ``OSError``, also for what is no name of the tree."""
        found = self._namespace.walk(self._context, self._context.cwd, path)
        if not isinstance(found, Location):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found

    def is_directory(self, path: str) -> bool:
        try:
            return self.find(os.fsencode(path)).node.is_dir
        except OSError:
            return False

    def exists(self, path: str) -> bool:
        try:
            self.find(os.fsencode(path))
        except OSError:
            return False
        return True

    def read(self, path: bytes, most: int) -> bytes:
        """The content of a file, of which no more than `most` bytes are there to be read.  ``OSError``, EFBIG."""
        found = self.find(path)
        if not found.node.is_file:
            raise OSError(errno.EACCES, "not a file")
        with open(found.fs.open(found.node, os.O_RDONLY), "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return data

    @staticmethod
    def tree(found: Location) -> FileSystem:
        """What lies at and below a place, to be mounted elsewhere."""
        return subtree(found.fs, found.node)
