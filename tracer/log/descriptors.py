"""What descriptors of a traced task are of, for -y and -yy.  proc_pid_fd(5)."""

from __future__ import annotations

import os
import stat

from abi.decoding.values import AT_FDCWD, quoted


def describe(tid: int, fd: int) -> str | None:
    """The path behind a descriptor (AT_FDCWD: of the working directory), escaped; None where it is not open."""
    name = _link(tid, fd)
    return None if name is None else quoted(name)[1:-1]


def describe_more(tid: int, fd: int) -> str | None:
    """As `describe`, with the protocol and the addresses of a socket, the process of a pidfd, and the numbers of a device."""
    name = _link(tid, fd)
    if name is None:
        return None
    more = None
    if name.startswith(b"socket:["):
        from abi.decoding.endpoints import endpoint

        more = endpoint(int(name[8:-1]), b"/proc/%d/fd/%d" % (tid, fd))
    elif name == b"anon_inode:[pidfd]" or name.startswith(b"pidfd:["):
        more = _process_of(tid, fd)
    elif name.startswith(b"/dev/"):
        more = _device(tid, fd, quoted(name)[1:-1])
    return more or quoted(name)[1:-1]


def _link(tid: int, fd: int) -> bytes | None:
    try:
        return os.readlink(b"/proc/%d/cwd" % tid if fd == AT_FDCWD else b"/proc/%d/fd/%d" % (tid, fd))
    except OSError:
        return None


def _device(tid: int, fd: int, name: str) -> str | None:
    try:
        status = os.stat(b"/proc/%d/fd/%d" % (tid, fd))
    except OSError:
        return None
    kind = "char" if stat.S_ISCHR(status.st_mode) else "block" if stat.S_ISBLK(status.st_mode) else None
    return f"{name}<{kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}>" if kind is not None else None


def _process_of(tid: int, fd: int) -> str | None:
    """``pid:4711``, the process that a pidfd stands for (pidfd_open(2)); None where it has ended."""
    try:
        with open(f"/proc/{tid}/fdinfo/{fd}") as file:
            found = next((line.split()[1] for line in file if line.startswith("Pid:")), "-1")
    except OSError:
        return None
    return f"pid:{found}" if int(found) > 0 else None
