"""How a call fails: the kinds of failure, and the number each ABI gives a kind.

A handler raises `SysError` with a `Kind`.  What the number is depends on who called: a Linux process gets
a negative errno, a host process a small positive code beside the carry flag.
"""

from __future__ import annotations

import errno
from enum import Enum, IntEnum

_NAMES = errno.errorcode | {errno.EOPNOTSUPP: "EOPNOTSUPP"}  # which Python knows as ENOTSUP

#: The kinds of failure, by the kernel's own names for them (errno(3)).
Kind = Enum("Kind", [(name, name) for name in _NAMES.values()])

#: The numbers of the linux ABI, as the kernel's asm-generic/errno.h has them.
LinuxErrno = IntEnum("LinuxErrno", [(name, number) for number, name in _NAMES.items()])

_KIND_OF = {number: Kind[name] for number, name in _NAMES.items()}


class HostErrno(IntEnum):
    """The codes of the host ABI; small and few, so that a program can handle every one of them."""

    NO_CALL = 1
    BAD_ARGUMENT = 2
    BAD_ADDRESS = 3
    NOT_FOUND = 4
    NOT_ALLOWED = 5
    EXISTS = 6
    BUSY = 7
    WRONG_STATE = 8
    BAD_DESCRIPTOR = 9
    NO_MEMORY = 10
    TOO_MANY = 11
    INTERRUPTED = 12
    AGAIN = 13
    IO = 14
    BROKEN_PIPE = 15
    NO_SPACE = 16
    FAILED = 99


_HOST_CODES = {
    Kind.ENOSYS: HostErrno.NO_CALL,
    Kind.EINVAL: HostErrno.BAD_ARGUMENT,
    Kind.ENAMETOOLONG: HostErrno.BAD_ARGUMENT,
    Kind.EFAULT: HostErrno.BAD_ADDRESS,
    Kind.ENOENT: HostErrno.NOT_FOUND,
    Kind.ESRCH: HostErrno.NOT_FOUND,
    Kind.ENOTDIR: HostErrno.NOT_FOUND,
    Kind.EPERM: HostErrno.NOT_ALLOWED,
    Kind.EACCES: HostErrno.NOT_ALLOWED,
    Kind.EROFS: HostErrno.NOT_ALLOWED,
    Kind.EEXIST: HostErrno.EXISTS,
    Kind.EBUSY: HostErrno.BUSY,
    Kind.ENOTEMPTY: HostErrno.BUSY,
    Kind.ECHILD: HostErrno.WRONG_STATE,
    Kind.EBADF: HostErrno.BAD_DESCRIPTOR,
    Kind.ENOMEM: HostErrno.NO_MEMORY,
    Kind.EMFILE: HostErrno.TOO_MANY,
    Kind.ENFILE: HostErrno.TOO_MANY,
    Kind.EINTR: HostErrno.INTERRUPTED,
    Kind.EAGAIN: HostErrno.AGAIN,
    Kind.EIO: HostErrno.IO,
    Kind.EPIPE: HostErrno.BROKEN_PIPE,
    Kind.ENOSPC: HostErrno.NO_SPACE,
    Kind.EDQUOT: HostErrno.NO_SPACE,
}


class SysError(Exception):
    """A call that fails.  `kind` says how; the ABI of the caller says with which number."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.name)
        self.kind = kind

    @classmethod
    def of_errno(cls, number: int | None) -> SysError:
        """The failure that a host errno reports; one the kernel does not define is EIO."""
        return cls(_KIND_OF.get(number, Kind.EIO))


def linux_number(kind: Kind) -> int:
    """The positive errno of a kind."""
    return LinuxErrno[kind.name]


def host_number(kind: Kind) -> int:
    """The host code of a kind; FAILED for what the host ABI does not tell apart."""
    return _HOST_CODES.get(kind, HostErrno.FAILED)
