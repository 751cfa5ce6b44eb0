"""A tmpfs of the guest's: a private host directory that appears at first use.

The directory lies in memory where the host has /dev/shm, so its files are ordinary kernel files in
everything; whoever made the sandbox sees to its removal.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from vfs.filesystem import TMPFS_MAGIC
from vfs.hostfs import HostFs, HostNode


class TmpFs(HostFs):
    """`make` creates the directory and gives its path; it is called once, or never."""

    type = b"tmpfs"

    def __init__(self, make: Callable[[], bytes], mode: int = 0o1777) -> None:
        self.source = b"tmpfs"
        self.careful = False
        self._make = make
        self._mode = mode
        self._root: HostNode | None = None

    @property
    def root(self) -> HostNode:
        if self._root is None:
            path = self._make()
            os.chmod(path, self._mode)
            self._root = HostNode(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return self._root

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        if self._root is None:
            raise FileNotFoundError
        return super().components(host_path)

    def statfs(self, node: HostNode) -> bytes:
        return TMPFS_MAGIC.to_bytes(8, "little") + super().statfs(node)[8:]
