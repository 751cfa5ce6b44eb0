"""Signals.  Dispositions, masks and delivery are the kernel's; who may be signalled is asked here."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from functools import partial

from abi.dispatch import OK, Call, Native, Plane, Support, When
from abi.errors import Kind, SysError
from abi.linux import linux
from vfs.namespace import OpenFile

_KILL, _RT_SIGQUEUEINFO = 62, 129

for _number, _name in (
    (13, "rt_sigaction"), (14, "rt_sigprocmask"), (15, "rt_sigreturn"), (127, "rt_sigpending"),
    (130, "rt_sigsuspend"), (131, "sigaltstack"), (219, "restart_syscall"),
):  # fmt: skip
    linux.native(_number, _name)
# -- who sent it ------------------------------------------------------------------------------------

_SIGINFO_SIZE = 28  # of it what is looked at here; waitid(2) stores no more
_PID, _UID = slice(16, 20), slice(20, 24)  # of siginfo_t
_BY_PROCESS = (0, -3, -6)  # SI_USER, SI_MESGQ, SI_TKILL: filled in by the kernel; SI_QUEUE's ids are the guest's own word


def siginfo(sandbox, info: bytes) -> bytes:
    """A siginfo_t of the kernel's with the ids that the guest knows: init is 1, what is outside is 0."""
    number, code = (int.from_bytes(info[at : at + 4], "little", signed=True) for at in (0, 8))
    child = number == signal.SIGCHLD and code > 0
    if not child and code not in _BY_PROCESS:
        return info
    pid = int.from_bytes(info[_PID], "little", signed=True)
    told, uid = _sender(sandbox, pid, int.from_bytes(info[_UID], "little"), child)
    return info[:16] + told.to_bytes(4, "little", signed=True) + uid.to_bytes(4, "little") + info[24:]


def _sender(sandbox, pid: int, uid: int, child: bool) -> tuple[int, int]:
    """The number and the user that the kernel gives of a sender, as the guest knows them."""
    told = sandbox.tree.guest(pid)
    if not told and (child or pid in sandbox.tree.departed):
        told = pid  # of one that has ended since
    known = sandbox.tree.uid(pid)
    return told, sandbox.guest_uid(uid) if known is None else known


def telling(call: Call, address: int):
    """The `after` of a call that stores a siginfo_t at `address`."""

    def after(value: int) -> int:
        if value >= 0:
            info = call.memory.read(address, _SIGINFO_SIZE)
            told = siginfo(call.sandbox, info)
            if told != info:
                call.memory.write(address, told)
        return value

    return after


_SIGNALFD = struct.Struct("<IiiII")  # struct signalfd_siginfo: ssi_signo, ssi_errno, ssi_code, ssi_pid, ssi_uid
_SIGNALFD_SIZE = 128


def _signalfd(call: Call):
    """Seen to its end: what is read of the new descriptor is to name who the guest knows."""
    return Native(after=lambda value: value)


_SIGNALFD_NOTE = "what is read by readv, or of a duplicate, names init by the kernel's number and users by the host's"
for _number, _name in ((282, "signalfd"), (289, "signalfd4")):
    linux.steer(_number, _name, _SIGNALFD_NOTE, Support.PARTIAL)(_signalfd)


def read_signals(call: Call):
    """read(2) of a descriptor that is a signalfd, or was one once."""
    with contextlib.suppress(OSError):
        if os.readlink(f"/proc/{call.task.tid}/fd/{call.int(0)}") == "anon_inode:[signalfd]":
            return Native(after=partial(_told_signals, call))
    return Native()


def _told_signals(call: Call, value: int) -> int:
    for at in range(0, value - _SIGNALFD_SIZE + 1, _SIGNALFD_SIZE):
        address = call.args[1] + at
        number, error, code, pid, uid = _SIGNALFD.unpack(call.memory.read(address, _SIGNALFD.size))
        child = number == signal.SIGCHLD and code > 0
        if child or code in _BY_PROCESS:
            told = _sender(call.sandbox, pid, uid, child)
            call.memory.write(address, _SIGNALFD.pack(number, error, code, *told))
    return value


@linux.steer(128, "rt_sigtimedwait", when=[When(1, (0,), Plane.NATIVE)])
def rt_sigtimedwait(call: Call):
    return Native(after=telling(call, call.args[1]))


# -- sending ----------------------------------------------------------------------------------------


def may_send(call: Call, process, number: int) -> bool:
    """Whether the caller may send a signal to a process of the sandbox; kill(2)."""
    if call.process is process or call.credentials.may_signal(process.credentials):
        return True
    return number == signal.SIGCONT and os.getsid(call.process.pid) == os.getsid(process.pid)


def _check(call: Call, task_number: int, signal_number: int) -> int:
    """The kernel's number of a task the caller may signal.  ESRCH, EPERM."""
    tree = call.sandbox.tree
    host = tree.host(task_number)
    if not may_send(call, tree.known(host).process, signal_number):
        raise SysError(Kind.EPERM)
    return host


@linux.steer(62, "kill")
def kill(call: Call):
    tree, who, number = call.sandbox.tree, call.int(0), call.int(1)
    if who > 0:
        return Native({0: _check(call, who, number)})
    if not 0 <= number <= 64:
        raise SysError(Kind.EINVAL)
    if who == -1:
        return _send(call, [process for process in tree.inside() if process.pid not in (tree.init_pid, call.process.pid)], number)
    group = tree.host_group(-who) if who else os.getpgid(call.process.pid)
    members = tree.group(group)
    if all(may_send(call, process, number) for process in members):
        return Native({0: -group} if who else {})
    return _send(call, members, number)


def _send(call: Call, processes: list, number: int):
    """Send a signal to those of the processes that the caller may send it to.  ESRCH, EPERM."""
    if not processes:
        raise SysError(Kind.ESRCH)
    allowed = [process.pid for process in processes if may_send(call, process, number)]
    if not allowed:
        raise SysError(Kind.EPERM)
    for pid in allowed:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it has just ended
    return OK


@linux.steer(200, "tkill")
def tkill(call: Call):
    return Native({0: _check(call, _positive(call.int(0)), call.int(1))})


@linux.steer(234, "tgkill")
def tgkill(call: Call):
    group = call.sandbox.tree.host(_positive(call.int(0)))
    return Native({0: group, 1: _check(call, _positive(call.int(1)), call.int(2))})


@linux.steer(129, "rt_sigqueueinfo")
def rt_sigqueueinfo(call: Call):
    return Native({0: _check(call, call.int(0), call.int(1))})


@linux.steer(297, "rt_tgsigqueueinfo")
def rt_tgsigqueueinfo(call: Call):
    group = call.sandbox.tree.host(_positive(call.int(0)))
    return Native({0: group, 1: _check(call, _positive(call.int(1)), call.int(2))})


@linux.steer(424, "pidfd_send_signal")
def pidfd_send_signal(call: Call):
    """A directory of a process in /proc serves as a pidfd too; pidfd_send_signal(2)."""
    pid = _directory_of(call, call.int(0))
    if pid is None:
        task = pidfd_task(call, 0)
        if task is not None and not may_send(call, task.process, call.int(1)):
            raise SysError(Kind.EPERM)
        return Native()
    if call.args[3] & 0xFFFFFFFF:
        raise SysError(Kind.EINVAL)
    host = _check(call, pid, call.int(1))
    return Native({0: host}, number=_RT_SIGQUEUEINFO if call.args[2] else _KILL)


def pidfd_task(call: Call, index: int):
    """The task that a pidfd of the caller's is of; None for what is no pidfd.  EBADF; ESRCH where it has ended."""
    fd = call.files.get(call.int(index))
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            found = [line.split()[1] for line in file if line.startswith(b"Pid:")]
    finally:
        os.close(fd)
    if not found:
        return None
    task = call.sandbox.tree.tasks.get(int(found[0]))
    if task is None:
        raise SysError(Kind.ESRCH)
    return task


def _directory_of(call: Call, fd: int) -> int | None:
    """The process, by the guest's number, whose directory in /proc descriptor `fd` is."""
    try:
        found = call.sandbox.namespace.directory(OpenFile(call.files.get(fd)))
    except FileNotFoundError:  # of one that is gone
        raise SysError(Kind.ESRCH) from None
    if isinstance(found, OpenFile) or found.fs.type != b"proc":
        return None
    names = found.node.names
    return int(names[0]) if len(names) == 1 and names[0].isdigit() else None


def _positive(number: int) -> int:
    if number <= 0:
        raise SysError(Kind.EINVAL)
    return number
