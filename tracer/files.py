"""Copies of a guest's descriptors, for the handlers that ask what one is."""

from __future__ import annotations

import fcntl
import os

from abi.errors import Kind, SysError
from vfs import kernel

_PIDFD_THREAD = os.O_EXCL  # pidfd_open(2), Linux 6.9


class GuestFiles:
    """The descriptor table of one task, seen through a pidfd.

    Before 6.9 a pidfd is of a whole process, so what is seen is its first thread's table.
    """

    __slots__ = ("_pidfd", "_process", "_tid")

    def __init__(self, tid: int, process) -> None:
        self._tid = tid
        self._process = process
        self._pidfd: int | None = None

    def __del__(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    def get(self, fd: int) -> int:
        """A copy of descriptor `fd`, the caller's to close.  EBADF."""
        if not 0 <= fd <= 0x7FFFFFFF:
            raise SysError(Kind.EBADF)
        if self._pidfd is None:
            try:
                self._pidfd = kernel.pidfd_open(self._tid, _PIDFD_THREAD)
            except OSError:
                self._pidfd = kernel.pidfd_open(self._process.pid)
        return kernel.pidfd_getfd(self._pidfd, fd)

    def check(self, fd: int) -> None:
        """EBADF unless the descriptor is open."""
        os.close(self.get(fd))

    def check_not_path(self, fd: int) -> None:
        """EBADF also for an ``O_PATH`` descriptor, with which most calls do nothing."""
        copy = self.get(fd)
        try:
            if fcntl.fcntl(copy, fcntl.F_GETFL) & os.O_PATH:
                raise SysError(Kind.EBADF)
        finally:
            os.close(copy)

    def closes_on_exec(self, fd: int) -> bool:
        """Whether a descriptor has FD_CLOEXEC; not, where nobody can tell."""
        try:
            with open(b"/proc/%d/task/%d/fdinfo/%d" % (self._process.pid, self._tid, fd), "rb") as file:
                flags = next(line for line in file if line.startswith(b"flags:"))
        except (OSError, StopIteration):
            return False
        return bool(int(flags.split()[1], 8) & os.O_CLOEXEC)
