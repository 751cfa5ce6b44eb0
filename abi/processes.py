"""Processes: making, running, waiting, and everything that takes the number of another task."""

from __future__ import annotations

import contextlib
import os
import struct
from functools import partial

from abi.dispatch import AT_FDCWD, OK, Call, Execute, Native, Plane, Return, Support, When
from abi.errors import Kind, SysError
from abi.files import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, check_opened, find_or_self
from abi.linux import linux
from abi.signals import pidfd_task, telling
from abi.status import owner
from procs import execution
from procs.credentials import SECURE_KEEP_CAPS, SECURE_NO_CAP_AMBIENT_RAISE
from procs.tree import seccomp_filters
from vfs.namespace import Location, OpenFile

# -- making -----------------------------------------------------------------------------------------

_CLONE_UNTRACED = 0x00800000
_CLONE_PTRACE = 0x00002000
_CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_CLONE_NEVER = _CLONE_UNTRACED | _CLONE_PTRACE | _CLONE_NEW
_CLONE_PIDFD = 0x00001000
_CLONE_PARENT, _CLONE_THREAD, _CLONE_DETACHED = 0x00008000, 0x00010000, 0x00400000
_CLONE_PARENT_SETTID = 0x00100000


def fork(call: Call):
    """With a limit on tasks: let the kernel fork only below it.  EAGAIN."""
    if call.number == 56 and call.args[0] & _CLONE_NEVER:
        raise SysError(Kind.EPERM)
    if call.sandbox.pids_limit is not None:
        if call.sandbox.is_full():
            raise SysError(Kind.EAGAIN)
        call.sandbox.tree.forking.add(call.task.tid)
        return Native(after=lambda value: value)  # seen to its end, for one that the kernel refuses
    return Native()


linux.native(57, "fork", handler=fork)
linux.native(58, "vfork", handler=fork)
linux.refuse(
    56,
    "clone",
    Kind.EPERM,
    "CLONE_NEW*, CLONE_UNTRACED and CLONE_PTRACE are EPERM",
    Support.PARTIAL,
    when=[When(0, (0,), Plane.NATIVE, mask=_CLONE_NEVER)],
)
linux.table[56].handler = fork

_CLONE_ARGS = struct.Struct("<8Q")


@linux.steer(
    435,
    "clone3",
    "turned into clone, whose flags are a register no thread can change; set_tid, cgroup and CLONE_CLEAR_SIGHAND are ENOSYS",
    Support.PARTIAL,
)
def clone3(call: Call):
    size = call.args[1]
    if size < 64:
        raise SysError(Kind.EINVAL)
    if size > 4096:
        raise SysError(Kind.E2BIG)
    raw = call.memory.read(call.args[0], size)
    flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls = _CLONE_ARGS.unpack_from(raw)
    if flags >> 34:
        raise SysError(Kind.EINVAL)
    if any(raw[64:]) or flags >> 32:  # set_tid, cgroup, CLONE_CLEAR_SIGHAND
        raise SysError(Kind.ENOSYS)
    if flags & (0xFF | _CLONE_DETACHED) or exit_signal > 64 or bool(stack) != bool(stack_size):
        raise SysError(Kind.EINVAL)
    if exit_signal and flags & (_CLONE_THREAD | _CLONE_PARENT):
        raise SysError(Kind.EINVAL)
    if flags & _CLONE_NEVER:
        raise SysError(Kind.EPERM)
    after = fork(call).after
    if flags & _CLONE_PIDFD:
        if flags & _CLONE_PARENT_SETTID:  # clone has one argument for both
            flags, after = flags & ~_CLONE_PARENT_SETTID, _settid(call, parent_tid)
        parent_tid = pidfd
    top = stack + stack_size if stack else 0
    return Native({0: flags | exit_signal, 1: top, 2: parent_tid, 3: child_tid, 4: tls}, number=56, after=after)


def _settid(call: Call, address: int):
    def after(value: int) -> int:
        if value > 0:
            with contextlib.suppress(SysError):  # as the kernel, which has made the child
                call.memory.write(address, value.to_bytes(4, "little"))
        return value

    return after


_UNSHARE_KNOWN = _CLONE_NEW | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000
_CLONE_FS, _CLONE_FILES, _CLONE_SYSVSEM = 0x200, 0x400, 0x40000
_CLONE_MEMORY = 0x100 | 0x800 | _CLONE_THREAD  # with CLONE_VM, CLONE_SIGHAND: what a process without threads shares with nobody


@linux.answer(272, "unshare", "namespaces are EPERM, CLONE_FS and CLONE_FILES where there are threads", Support.PARTIAL)
def unshare(call: Call):
    flags = call.args[0]
    if flags & ~_UNSHARE_KNOWN:
        raise SysError(Kind.EINVAL)
    threads = len(call.process.tasks) > 1
    if threads and flags & _CLONE_MEMORY:
        raise SysError(Kind.EINVAL)
    flags &= ~_CLONE_MEMORY
    if flags & ~(_CLONE_FS | _CLONE_FILES | _CLONE_SYSVSEM) or (threads and flags & (_CLONE_FS | _CLONE_FILES)):
        raise SysError(Kind.EPERM)
    if flags & _CLONE_FS:
        call.process.fs = call.process.fs.copy()
    return OK


linux.refuse(308, "setns", Kind.EPERM, "as without the capability: namespaces are the sandbox's", Support.PARTIAL)


# -- running ----------------------------------------------------------------------------------------




def _execute(call: Call, found, name: bytes, **how):
    """Set-id bits and file capabilities change what the guest believes; to the host they say nothing."""
    if isinstance(found, OpenFile):
        check_opened(found)
    plan = execution.plan(call.sandbox.namespace, call.fs, found, name, **how)
    where = plan.location
    if where is not None and not where.mount.flags.nosuid:
        set_id = not call.process.no_new_privs  # where it is not heeded
        plan.take_rights(call.credentials, (lambda status: owner(call.sandbox, status)) if set_id else None)
    return Execute(plan)


@linux.steer(59, "execve")
def execve(call: Call):
    path = call.path(0)
    return _execute(call, call.find(AT_FDCWD, path), path)


@linux.steer(322, "execveat", "AT_EXECVE_CHECK is EINVAL", Support.PARTIAL)
def execveat(call: Call):
    dirfd, flags = call.int(0), call.int(4)
    path = call.path(1)
    if not path and not flags & AT_EMPTY_PATH:
        raise SysError(Kind.ENOENT)
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise SysError(Kind.EINVAL)
    named = dirfd == AT_FDCWD or path.startswith(b"/")
    if path:
        found = call.find(dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)
        if isinstance(found, Location) and found.node.is_symlink:
            raise SysError(Kind.ELOOP)
        name = path if named else b"/dev/fd/%d/%s" % (dirfd, path)
    else:
        found, name = find_or_self(call, dirfd, path, flags), b"/dev/fd/%d" % dirfd
    closing = None if named else partial(call.files.closes_on_exec, dirfd)
    return _execute(call, found, name, unnamed=not path, closing=closing)


linux.native(60, "exit")
linux.native(231, "exit_group")

# -- waiting ----------------------------------------------------------------------------------------

linux.native(61, "wait4")
_P_PGID = 2
_NOBODY = 0x7FFFFFFF  # no process is ever numbered so


@linux.steer(247, "waitid", when=[When(2, (0,), Plane.NATIVE)])
def waitid(call: Call):
    kind, who, changed = call.int(0), call.int(1), {}
    if kind == _P_PGID and who:
        try:
            changed = {1: call.sandbox.tree.host_group(who)}
        except OSError:
            changed = {1: _NOBODY}  # ECHILD, unless the arguments are wrong too
    return Native(changed, after=telling(call, call.args[2]) if call.args[2] else None)


# -- numbers ----------------------------------------------------------------------------------------


@linux.answer(39, "getpid")
def getpid(call: Call):
    return Return(call.sandbox.tree.guest(call.process.pid))


@linux.answer(186, "gettid")
def gettid(call: Call):
    return Return(call.sandbox.tree.guest(call.task.tid))


def parent_of(pid: int) -> int:
    """The kernel's number of a process's parent; proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


@linux.answer(110, "getppid")
def getppid(call: Call):
    pid = call.process.pid
    return Return(call.sandbox.tree.parent(pid, parent_of(pid)))


@linux.answer(111, "getpgrp")
def getpgrp(call: Call):
    return Return(call.sandbox.tree.guest_group(os.getpgid(call.process.pid)))


@linux.answer(121, "getpgid")
def getpgid(call: Call):
    tree = call.sandbox.tree
    number = tree.host(call.int(0)) if call.int(0) else call.process.pid
    return Return(tree.guest_group(os.getpgid(number)))


@linux.answer(124, "getsid")
def getsid(call: Call):
    tree = call.sandbox.tree
    number = tree.host(call.int(0)) if call.int(0) else call.process.pid
    return Return(tree.guest_session(os.getsid(number)))


linux.native(112, "setsid")
linux.native(218, "set_tid_address", "init's main thread gets the kernel's number, which its futexes need")


@linux.steer(109, "setpgid")
def setpgid(call: Call):
    tree = call.sandbox.tree
    pid, group = call.int(0), call.int(1)
    if group < 0:
        raise SysError(Kind.EINVAL)
    host = tree.host(pid) if pid else 0
    if not group or group == (pid or tree.guest(call.process.pid)):
        return Native({0: host, 1: 0})
    try:
        return Native({0: host, 1: tree.host_group(group)})
    except OSError:
        raise SysError(Kind.EPERM) from None


def _other(index: int):
    """A handler for a call whose argument `index` names a task; 0 is the caller.  ESRCH."""

    def handler(call: Call):
        number = call.int(index)
        if number <= 0:
            return Native()
        host = call.sandbox.tree.host(number)
        return Native({index: host} if host != number else {})

    return handler


def _schedule(call: Call, task) -> bool:
    return call.credentials.may_schedule(task.credentials)


def _limit(call: Call, task) -> bool:
    return call.task.process is task.process or call.credentials.may_limit(task.credentials)


def may_trace(call: Call, task) -> bool:
    """Whether the caller may look into a task: ptrace(2) on PTRACE_MODE_READ_REALCREDS."""
    process = task.process
    return call.process is process or call.credentials.may_trace(task.credentials, bool(process.dumpable), real=True)


def _permitted(index: int, may):
    """As `_other`, where the caller may do so with that task.  EPERM."""
    translate = _other(index)

    def handler(call: Call):
        result = translate(call)
        number = call.int(index)
        if number > 0:
            tree = call.sandbox.tree
            if not may(call, tree.task(number)):
                raise SysError(Kind.EPERM)
        return result

    return handler


_SELF = When(0, (0,), Plane.NATIVE)
for _number, _name in (
    (143, "sched_getparam"), (145, "sched_getscheduler"), (148, "sched_rr_get_interval"), (204, "sched_getaffinity"),
    (315, "sched_getattr"),
):  # fmt: skip
    linux.steer(_number, _name, when=[_SELF])(_other(0))
for _number, _name, _may in (
    (142, "sched_setparam", _schedule), (144, "sched_setscheduler", _schedule), (203, "sched_setaffinity", _schedule),
    (314, "sched_setattr", _schedule), (256, "migrate_pages", may_trace), (274, "get_robust_list", may_trace),
    (279, "move_pages", may_trace), (302, "prlimit64", _limit),
):  # fmt: skip
    linux.steer(_number, _name, when=[_SELF])(_permitted(0, _may))
for _number, _name in ((310, "process_vm_readv"), (311, "process_vm_writev")):
    linux.steer(_number, _name)(_permitted(0, may_trace))
linux.steer(434, "pidfd_open")(_other(0))


@linux.steer(312, "kcmp")
def kcmp(call: Call):
    tree = call.sandbox.tree
    hosts = [tree.host(call.int(index)) for index in (0, 1)]
    if not all(may_trace(call, tree.known(host)) for host in hosts):
        raise SysError(Kind.EPERM)
    return Native(dict(enumerate(hosts)))


def _by_pidfd(call: Call):
    """The kernel compares nothing but its own users, who are all one: the guest's are compared here."""
    task = pidfd_task(call, 0)
    if task is not None and not may_trace(call, task):
        raise SysError(Kind.EPERM)
    return Native()


for _number, _name in ((438, "pidfd_getfd"), (440, "process_madvise")):
    linux.steer(_number, _name)(_by_pidfd)


def _check_priority(call: Call, kinds: tuple[int, int]) -> None:
    """EPERM where the priority of another user's process is to be set; `kinds` are those of a process and of a group."""
    which, who = call.int(0), call.int(1)
    tree = call.sandbox.tree
    if call.number not in (141, 251) or not who or which not in kinds:
        return
    if which == kinds[0]:
        tasks = [tree.task(who)]
    else:
        tasks = [next(iter(process.tasks.values())) for process in tree.group(tree.host_group(who))]
    if not all(call.credentials.may_schedule(task.credentials) for task in tasks):
        raise SysError(Kind.EPERM)


def _priority(call: Call):
    which, who = call.int(0), call.int(1)
    tree = call.sandbox.tree
    _check_priority(call, (0, 1))
    match which:
        case 0:
            return Native({1: tree.host(who)} if who else {})
        case 1:
            return Native({1: tree.host_group(who)} if who else {})
        case 2:  # every process of the user would be the host's too
            return Native({0: 0, 1: 0})
    raise SysError(Kind.EINVAL)


_PRIO_USER = "PRIO_USER means the caller alone"
linux.steer(140, "getpriority", _PRIO_USER, Support.PARTIAL)(_priority)
linux.steer(141, "setpriority", _PRIO_USER, Support.PARTIAL)(_priority)


def _io_priority(call: Call):
    which, who = call.int(0), call.int(1)
    tree = call.sandbox.tree
    _check_priority(call, (1, 2))
    match which:
        case 1:
            return Native({1: tree.host(who)} if who else {})
        case 2:
            return Native({1: tree.host_group(who)} if who else {})
        case 3:
            return Native({0: 1, 1: 0})
    raise SysError(Kind.EINVAL)


_IOPRIO_USER = "IOPRIO_WHO_USER means the caller alone"
linux.steer(251, "ioprio_set", _IOPRIO_USER, Support.PARTIAL)(_io_priority)
linux.steer(252, "ioprio_get", _IOPRIO_USER, Support.PARTIAL)(_io_priority)

for _number, _name in (
    (24, "sched_yield"), (34, "pause"), (98, "getrusage"), (97, "getrlimit"), (160, "setrlimit"),
    (146, "sched_get_priority_max"), (147, "sched_get_priority_min"), (158, "arch_prctl"), (135, "personality"),
    (202, "futex"), (273, "set_robust_list"), (309, "getcpu"), (324, "membarrier"), (334, "rseq"),
    (448, "process_mrelease"), (449, "futex_waitv"),
    (454, "futex_wake"), (455, "futex_wait"), (456, "futex_requeue"), (154, "modify_ldt"),
):  # fmt: skip
    linux.native(_number, _name)

linux.refuse(101, "ptrace", Kind.EPERM, "the tasks have a tracer already")
linux.native(
    317,
    "seccomp",
    "a guest's filter acts on top of the sandbox's; its RET_TRACE is ENOSYS, a listener EBUSY, and the strict mode EINVAL; "
    "where it refuses pause(2), a call that would wait for the supervisor fails so, and where TIOCSTI, no terminal becomes a "
    "session's by being opened",
    Support.PARTIAL,
)
for _number, _name in ((172, "iopl"), (173, "ioperm")):
    linux.refuse(_number, _name, Kind.EPERM, "as without the capability: no input and output ports", Support.PARTIAL)


# -- prctl ------------------------------------------------------------------------------------------

_PRCTL_NATIVE = (
    1, 2,  # PDEATHSIG
    9, 10, 11, 12, 19, 20,  # FPEMU, FPEXC, ENDIAN: EINVAL on x86
    13, 14, 22, 25, 26, 29, 30, 33, 34, 36, 37, 40,  # TIMING, SECCOMP, TSC, TIMERSLACK, MCE_KILL, CHILD_SUBREAPER, TID_ADDRESS
    41, 42, 52, 53, 65, 66, 0x53564D41,  # THP_DISABLE, SPECULATION_CTRL, MDWE, VMA names
)  # fmt: skip
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_GET_KEEPCAPS, _PR_SET_KEEPCAPS = 3, 4, 7, 8
_PR_SET_NAME, _PR_GET_NAME, _PR_GET_SECCOMP, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 15, 16, 21, 23, 24
_PR_GET_SECUREBITS, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 27, 28, 38, 39
_PR_CAP_AMBIENT = 47


@linux.answer(
    157,
    "prctl",
    "dumpable, names and capabilities are the sandbox's own; PR_SET_MM, PR_GET_AUXV and syscall user dispatch are EINVAL",
    Support.PARTIAL,
    when=[When(0, _PRCTL_NATIVE, Plane.NATIVE)],
)
def prctl(call: Call):
    process, credentials, value = call.process, call.credentials, call.args[1]
    match call.int(0):
        case c if c == _PR_SET_NAME:
            call.task.comm = call.memory.cstring_cut(value, 15)
        case c if c == _PR_GET_NAME:
            call.memory.write(value, comm(call.task).ljust(16, b"\0"))
        case c if c == _PR_GET_DUMPABLE:
            return Return(process.dumpable)
        case c if c == _PR_SET_DUMPABLE:
            if value not in (0, 1):
                raise SysError(Kind.EINVAL)
            process.dumpable = value
        case c if c == _PR_GET_KEEPCAPS:
            return Return(int(credentials.keep_caps))
        case c if c == _PR_SET_KEEPCAPS:
            if value not in (0, 1):
                raise SysError(Kind.EINVAL)
            if credentials.securebits & 32:  # SECURE_KEEP_CAPS_LOCKED
                raise SysError(Kind.EPERM)
            credentials.securebits = credentials.securebits & ~SECURE_KEEP_CAPS | SECURE_KEEP_CAPS * value
        case c if c == _PR_GET_NO_NEW_PRIVS:
            return Return(process.no_new_privs)
        case c if c == _PR_SET_NO_NEW_PRIVS:
            if value != 1 or any(call.args[2:5]):
                raise SysError(Kind.EINVAL)
            process.no_new_privs = 1
        case c if c == _PR_CAPBSET_READ:
            if value > 40:
                raise SysError(Kind.EINVAL)
            return Return(credentials.bounding >> value & 1)
        case c if c == _PR_CAPBSET_DROP:
            if not credentials.capable(8):
                raise SysError(Kind.EPERM)
            if value > 40:
                raise SysError(Kind.EINVAL)
            credentials.bounding &= ~(1 << value)
        case c if c == _PR_GET_SECCOMP:
            filtered = call.sandbox.filtered or seccomp_filters(call.task)
            return Return(2 if filtered else 0)
        case c if c == _PR_GET_SECUREBITS:
            return Return(credentials.securebits)
        case c if c == _PR_SET_SECUREBITS:
            credentials.set_securebits(value)
        case c if c == _PR_CAP_AMBIENT:
            if any(call.args[3:5]):
                raise SysError(Kind.EINVAL)
            return _ambient(credentials, value, call.args[2])
        case _:
            raise SysError(Kind.EINVAL)
    return OK


def _ambient(credentials, operation: int, capability: int):
    bit = 1 << (capability & 63)
    match operation:
        case 1 if capability <= 40:
            return Return(int(bool(credentials.ambient & bit)))
        case 2 if capability <= 40:
            barred = credentials.securebits & SECURE_NO_CAP_AMBIENT_RAISE
            if barred or not credentials.permitted & credentials.inheritable & bit:
                raise SysError(Kind.EPERM)
            credentials.ambient |= bit
        case 3 if capability <= 40:
            credentials.ambient &= ~bit
        case 4 if not capability:
            credentials.ambient = 0
        case _:
            raise SysError(Kind.EINVAL)
    return OK


def comm(task) -> bytes:
    """A task's name, at most 15 bytes: what it set or was executed as, else what the kernel has."""
    if task.comm is not None:
        return task.comm
    with open(f"/proc/{task.process.pid}/task/{task.tid}/comm", "rb") as file:
        return file.read().rstrip(b"\n")
