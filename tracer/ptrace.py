"""ptrace(2): the requests int80 makes, and the registers of x86-64.

python-ptrace has the same bindings, and a test holds these numbers against it; but importing it takes
longer than starting a small guest, and these calls are made on every stop.
"""

from __future__ import annotations

import ctypes
import errno
import os

from vfs.kernel import error

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong)
_ptrace.restype = ctypes.c_long

CONT, GETREGS, SETREGS, SYSCALL, SYSEMU = 7, 12, 13, 24, 31
PEEKDATA, POKEDATA = 2, 5
GETEVENTMSG, GETSIGINFO, SETSIGINFO = 0x4201, 0x4202, 0x4203
SEIZE, INTERRUPT, LISTEN = 0x4206, 0x4207, 0x4208

O_TRACESYSGOOD, O_TRACEFORK, O_TRACEVFORK, O_TRACECLONE, O_TRACEEXEC = 1, 2, 4, 8, 16
O_TRACESECCOMP, O_EXITKILL = 1 << 7, 1 << 20
OPTIONS = (
    O_TRACESYSGOOD | O_TRACEFORK | O_TRACEVFORK | O_TRACECLONE | O_TRACEEXEC | O_TRACESECCOMP | O_EXITKILL
)  # fmt: skip

EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 7, 128
WALL = 0x40000000  # waitpid(2): children of every kind

# struct user_regs_struct (sys/user.h), as indexes into 27 unsigned longs.
(R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, ORIG_RAX, RIP, CS, EFLAGS, RSP, SS,
 FS_BASE, GS_BASE, DS, ES, FS, GS) = range(27)  # fmt: skip
REGISTERS = ctypes.c_ulong * 27
ARGUMENTS = (RDI, RSI, RDX, R10, R8, R9)
U64 = 0xFFFFFFFFFFFFFFFF

_message = ctypes.c_ulong()
_siginfo = (ctypes.c_char * 128)()


def request(kind: int, tid: int, address: int = 0, data: int = 0) -> int:
    """One request; ``OSError`` (ESRCH above all: the task was killed meanwhile)."""
    result = _ptrace(kind, tid, address, data)
    if result == -1:
        number = ctypes.get_errno()
        if number:
            raise error(number)
    return result


def getregs(tid: int) -> ctypes.Array:
    """The registers of a stopped task, in an array of its own."""
    registers = REGISTERS()
    request(GETREGS, tid, 0, ctypes.addressof(registers))
    return registers


def setregs(tid: int, registers: ctypes.Array) -> None:
    """Set the registers up to SS; those behind it, which nobody changes here, as far as the kernel takes them back.

    A program can give itself bases of segments, and selectors of none, that PTRACE_SETREGS refuses (EIO): it writes one
    register after the other, and these come last.
    """
    try:
        request(SETREGS, tid, 0, ctypes.addressof(registers))
    except OSError as problem:
        if problem.errno != errno.EIO:
            raise


def event_message(tid: int) -> int:
    """What PTRACE_GETEVENTMSG says of the event at hand: a new task's number, an old one's."""
    request(GETEVENTMSG, tid, 0, ctypes.addressof(_message))
    return _message.value


def siginfo(tid: int) -> bytes:
    """The 128 bytes of ``siginfo_t`` of a signal-delivery stop."""
    request(GETSIGINFO, tid, 0, ctypes.addressof(_siginfo))
    return _siginfo.raw


def set_siginfo(tid: int, info: bytes) -> None:
    buffer = (ctypes.c_char * 128).from_buffer_copy(info)
    request(SETSIGINFO, tid, 0, ctypes.addressof(buffer))


def wait_any() -> tuple[int, int] | None:
    """(tid, wait status) of the next stopped or dead task, None when there is none now."""
    try:
        tid, status = os.waitpid(-1, os.WNOHANG | WALL)
    except ChildProcessError:
        return None
    return (tid, status) if tid else None
