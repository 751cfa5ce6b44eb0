"""Copies of files, made in the kernel."""

from __future__ import annotations

import errno
import fcntl
import os

from vfs.kernel import self_path
from vfs.owners import KEPT

_FICLONE = 0x40049409
_CHUNK = 64 << 20  # bytes copied between two looks at whether anybody still wants them


def attributes(fd: int) -> list[str]:
    """The extended attributes a copy takes along: the user's own, but not what is kept for a guest."""
    try:
        return [name for name in os.listxattr(self_path(fd)) if name.startswith("user.") and os.fsencode(name) != KEPT]
    except OSError:
        return []


def share_blocks(source: int, target: int) -> bool:
    """Make a file a copy of another that shares its blocks, where the file system can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def copy_data(source: int, target: int, cancelled=lambda: False) -> bool:
    """Copy a file's contents in the kernel, leaving holes where they are; False when it was cancelled."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    position = 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
            end = os.lseek(source, position, os.SEEK_HOLE)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return True  # a hole up to the end
            end = size
        while position < end:
            if cancelled():
                return False
            count = _copy_range(source, target, position, min(end - position, _CHUNK))
            if not count:
                return True  # the source has shrunk
            position += count
    return True


def _copy_range(source: int, target: int, position: int, count: int) -> int:
    """Copy up to `count` bytes; how many."""
    try:
        return os.copy_file_range(source, target, count, position, position)
    except OSError:  # EXDEV, EINVAL, EOPNOTSUPP: not between these two file systems
        os.lseek(target, position, os.SEEK_SET)
        return os.sendfile(target, source, position, count)
