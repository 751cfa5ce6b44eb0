"""A tmpfs of the guest's: a private host directory that appears at first use.

The directory lies in memory where the host has /dev/shm, so its files are ordinary kernel files in
everything; whoever made the sandbox sees to its removal.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from vfs.filesystem import TMPFS_MAGIC
from vfs.hostfs import HostFs, HostNode
from vfs.kernel import error
from vfs.owners import Beside

_LOOK_AGAIN = 0.1  # seconds between two countings of what a tmpfs holds
_BLOCK = 4096


class TmpFs(HostFs):
    """`make` creates the directory and gives its path; it is called once, or never.

    `size` bounds the bytes it holds.  Writing is the kernel's and is not seen, so a full tmpfs says so when a file is
    made or opened for writing, not in the middle of a write.
    """

    type = b"tmpfs"

    def __init__(self, make: Callable[[], bytes], mode: int = 0o1777, size: int | None = None) -> None:
        self.source = b"tmpfs"
        self.size = size
        self._make = make
        self._mode = mode
        self._root: HostNode | None = None
        self._used = 0
        self._looked = 0.0

    def is_directory(self) -> bool:
        return True

    def remember(self) -> None:
        return None  # its root appears at first use

    @property
    def root(self) -> HostNode:
        if self._root is None:
            path = self._make()
            os.chmod(path, self._mode)
            self._root = HostNode(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            self.beside = Beside(self._root.fd)
        return self._root

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        if self._root is None:
            raise FileNotFoundError
        return super().components(host_path)

    def statfs(self, node: HostNode) -> bytes:
        data = TMPFS_MAGIC.to_bytes(8, "little") + super().statfs(node)[8:]
        if self.size is None:
            return data
        self._looked = 0.0  # who asks wants to know, and seldom asks
        blocks = self.size // _BLOCK
        free = max(0, blocks - self._count() // _BLOCK)
        return data[:8] + b"".join(number.to_bytes(8, "little") for number in (_BLOCK, blocks, free, free)) + data[40:]

    def _count(self) -> int:
        """The bytes that the files hold, as of a moment ago."""
        now = time.monotonic()
        if now - self._looked > _LOOK_AGAIN:
            self._used = sum(_held(fd) for *_, fd in os.fwalk(".", dir_fd=self.root.fd))
            self._looked = now
        return self._used

    def _check_room(self) -> None:
        if self.size is not None and self._count() >= self.size:
            self._looked = 0.0  # what is removed counts at once
            if self._count() >= self.size:
                raise error(errno.ENOSPC)

    def create(self, parent: HostNode, name: bytes, flags: int, mode: int) -> int:
        self._check_room()
        return super().create(parent, name, flags, mode)

    def create_at(self, start: HostNode, names, flags: int, mode: int) -> int | None:
        self._check_room()
        return super().create_at(start, names, flags, mode)

    def open(self, node: HostNode, flags: int) -> int:
        if flags & os.O_ACCMODE and not flags & (os.O_PATH | os.O_TRUNC):
            self._check_room()
        return super().open(node, flags)

    def open_at(self, start: HostNode, names, flags: int) -> int | None:
        if self.size is not None and flags & os.O_ACCMODE:
            return None
        return super().open_at(start, names, flags)


def _held(fd: int) -> int:
    with os.scandir(fd) as entries:
        files = (entry for entry in entries if not entry.is_dir(follow_symlinks=False))
        return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in files)
