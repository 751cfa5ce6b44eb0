"""The removal of whole trees, whatever a guest has done to them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence


def remove_below(fd: int, keep: Sequence[str] = ()) -> None:
    """Remove everything in an open directory but some names, however deep it is and however it was locked up."""
    count = 0
    while names := [name for name in os.listdir(fd) if name not in keep]:
        for name in names:
            if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=fd)
                continue
            os.chmod(name, 0o700, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                for entry in os.listdir(inner):
                    if stat.S_ISDIR(os.stat(entry, dir_fd=inner, follow_symlinks=False).st_mode):
                        count += 1  # moved up, so that no depth matters
                        os.chmod(entry, 0o700, dir_fd=inner)
                        os.rename(entry, f"removed-{os.getpid()}-{count}", src_dir_fd=inner, dst_dir_fd=fd)
                    else:
                        os.unlink(entry, dir_fd=inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=fd)
