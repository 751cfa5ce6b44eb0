"""Installs seccomp(2) filters of its own and says what they do: run natively and inside, the same must be said."""

import ctypes
import errno
import os
import signal

_SECCOMP, _SET_FILTER, _TSYNC = 317, 1, 1
_PRCTL, _GET_SECCOMP, _SET_NO_NEW_PRIVS = 157, 21, 38
_MKDIR, _CHDIR, _EXECVE, _KILL, _GETTIMEOFDAY, _TIME, _GETUID, _GETPID = 83, 80, 59, 62, 96, 201, 102, 39
_SETPGID, _PIDFD_OPEN, _IOCTL = 109, 434, 16
_ALLOW, _LOG, _TRACE, _ERRNO, _TRAP, _KILL_PROCESS = 0x7FFF0000, 0x7FFC0000, 0x7FF00000, 0x50000, 0x30000, 0x80000000
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]


def call(number, *arguments):
    """The result of a call, or the name of its error."""
    result = _syscall(ctypes.c_long(number), *[ctypes.c_long(word) if isinstance(word, int) else word for word in arguments])
    return result if result != -1 else errno.errorcode[ctypes.get_errno()]


def install(number, action, flags=0):
    """A filter by which one call has `action`, and every other is allowed."""
    lines = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, action), (6, 0, 0, _ALLOW))
    filters = (Instruction * len(lines))(*[Instruction(*line) for line in lines])
    return call(_SECCOMP, _SET_FILTER, flags, ctypes.byref(Program(len(lines), filters)))


def told():
    with open("/proc/self/status") as status:
        shown = [line.split() for line in status if line.startswith("Seccomp")]
    return shown, call(_PRCTL, _GET_SECCOMP)


print("at first", told())
call(_PRCTL, _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
print("the kernel's own call", install(_GETTIMEOFDAY, _ERRNO | errno.EBADMSG), call(_GETTIMEOFDAY, 0, 0), told())
print("an answered one", install(_MKDIR, _ERRNO | errno.EBADMSG), call(_MKDIR, b"/tmp/never", 0o700))
print("a steered one", install(_EXECVE, _ERRNO | errno.EXDEV), call(_EXECVE, b"/bin/true", 0, 0))
print("one of signals", install(_KILL, _ERRNO | errno.EXDEV), call(_KILL, 0, 0))
signal.signal(signal.SIGSYS, lambda number, frame: print("SIGSYS"))
print("a trap", install(_CHDIR, _TRAP), call(_CHDIR, b"/") is not None)
print("no tracer", install(_TIME, _TRACE), call(_TIME, 0))
print("no tracer for a steered one", install(_SETPGID, _TRACE | 1), call(_SETPGID, 0, 0))
print("nor for another", install(_PIDFD_OPEN, _TRACE | 2), call(_PIDFD_OPEN, os.getpid(), 0))
print("a log", install(_GETUID, _LOG), call(_GETUID) == os.getuid())
print("for all threads", install(_TIME, _ALLOW, _TSYNC), told())
child = os.fork()
if not child:
    install(_GETPID, _KILL_PROCESS)
    call(_GETPID)
    os._exit(1)
print("killed", os.WTERMSIG(os.waitpid(child, 0)[1]))
master, slave = os.openpty()
name = os.ttyname(slave)
child = os.fork()
if not child:
    os.setsid()
    install(_IOCTL, _ERRNO | errno.EBADMSG)
    os._exit(os.fstat(os.open(name, os.O_RDWR)).st_rdev != os.fstat(slave).st_rdev)
print("a leader without ioctl opens a terminal", os.waitpid(child, 0)[1])
