"""The host ABI: calls of a program that manages containers rather than being one.

An ELF note (owner ``int80``, type 1, one u32 of value 1) makes a program a host program.  Its calls enter
by the same gates and registers; success is the raw value in rax with the carry flag clear, failure a
`HostErrno` in rax with the carry flag set.  Numbers are int80's own, and none of them means what it means
to Linux.
"""

from __future__ import annotations

from abi.dispatch import Abi, Call, Native, Terminate
from abi.errors import host_number

host = Abi("host", host_number, 64)
_LINUX_WRITE = 1


@host.steer(0, "exit")
def exit_(call: Call):
    """exit(status): ends the process, all threads; only the low eight bits are kept."""
    return Terminate(call.args[0] & 0xFF)


@host.steer(1, "write")
def write(call: Call):
    """write(fd, address, size) -> bytes written; the kernel moves them, as write(2)."""
    return Native(number=_LINUX_WRITE)
