"""Handlers of `abi.processes`, `abi.signals` and the steered half of `abi.descriptors`: numbers in, numbers out.

The processes are real: init and a member, each a cat in a session of its own, and this test itself is outside.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess

import pytest
from fakes import BAD, LINUX, NUMBERS, Guest

from abi import host as host_abi
from abi.dispatch import Call, Fail, Native, Plane, Terminate, dispatch
from abi.errors import Kind
from procs.tree import Task

OUTSIDE = os.getpid()
CLONE_PIDFD, CLONE_PARENT_SETTID, CLONE_NEWUSER, CLONE_UNTRACED = 0x1000, 0x00100000, 0x10000000, 0x00800000


class Family:
    """A sandbox of two processes; calls are made by init."""

    def __init__(self, guest: Guest, init: subprocess.Popen, member: subprocess.Popen) -> None:
        self.guest = guest
        self.init = init
        self.member = member
        self.process = guest.join(member.pid)

    def by_member(self) -> None:
        """Let the member make the calls from here on."""
        self.guest.process = self.process
        self.guest.task = self.process.tasks[self.member.pid]


@pytest.fixture
def family(tmp_path):
    started = [subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) for _ in range(2)]
    with Guest(tmp_path / "root", pid=started[0].pid) as guest:
        yield Family(guest, *started)
    for process in started:
        process.kill()
        process.communicate()


def native(family: Family, name: str, *args) -> Native:
    result = family.guest.result(name, *args)
    assert isinstance(result, Native), result.error if isinstance(result, Fail) else result
    return result


# -- own numbers ------------------------------------------------------------------------------------


def test_init_is_1(family):
    assert family.guest("getpid") == 1
    assert family.guest("gettid") == 1


def test_a_member_has_the_kernels_number(family):
    family.by_member()
    assert family.guest("getpid") == family.member.pid
    assert family.guest("gettid") == family.member.pid


def test_a_thread_has_a_number_of_its_own(family):
    family.by_member()
    family.guest.task = Task(424242, family.process)
    family.guest.tree.add(family.guest.task)
    assert family.guest("getpid") == family.member.pid
    assert family.guest("gettid") == 424242


def test_a_parent_outside_is_0(family):
    assert family.guest("getppid") == 0


def test_a_group_and_a_session_led_by_init_are_1(family):
    assert family.guest("getpgrp") == 1
    assert family.guest("getpgid", 0) == 1
    assert family.guest("getsid", 0) == 1
    assert family.guest("getpgid", 1) == 1


def test_another_members_group_and_session_are_told(family):
    assert family.guest("getpgid", family.member.pid) == family.member.pid
    assert family.guest("getsid", family.member.pid) == family.member.pid


@pytest.mark.parametrize("name", ["getpgid", "getsid"])
@pytest.mark.parametrize("who", [pytest.param(OUTSIDE, id="outside"), 2, -1, 1 << 30])
def test_who_is_outside_does_not_exist(family, name, who):
    assert family.guest(name, who) == -errno.ESRCH


def test_inits_real_number_means_init_too(family):
    assert family.guest("getpgid", family.init.pid) == 1


# -- calls that name a task -------------------------------------------------------------------------

NAMING = [
    ("sched_setparam", 0), ("sched_getparam", 0), ("sched_setscheduler", 0), ("sched_getscheduler", 0),
    ("sched_rr_get_interval", 0), ("sched_setaffinity", 0), ("sched_getaffinity", 0), ("migrate_pages", 0),
    ("get_robust_list", 0), ("move_pages", 0), ("prlimit64", 0), ("sched_setattr", 0), ("sched_getattr", 0),
    ("process_vm_readv", 0), ("process_vm_writev", 0), ("pidfd_open", 0), ("tkill", 0), ("rt_sigqueueinfo", 0),
    ("kill", 0),
]  # fmt: skip


@pytest.mark.parametrize("name, index", NAMING)
def test_the_number_1_becomes_inits(family, name, index):
    assert native(family, name, 1, 0).changed == {index: family.init.pid}


@pytest.mark.parametrize("name, index", NAMING)
def test_a_members_number_stays(family, name, index):
    assert native(family, name, family.member.pid, 0).changed.get(index, family.member.pid) == family.member.pid


@pytest.mark.parametrize("name, index", NAMING)
def test_no_call_reaches_who_is_outside(family, name, index):
    assert family.guest(name, OUTSIDE, 0) == -errno.ESRCH


def test_both_numbers_of_a_thread_are_judged(family):
    for name in ("tgkill", "rt_tgsigqueueinfo"):
        assert native(family, name, 1, 1, 0).changed == {0: family.init.pid, 1: family.init.pid}
        assert family.guest(name, 1, OUTSIDE, 0) == -errno.ESRCH
        assert family.guest(name, OUTSIDE, 1, 0) == -errno.ESRCH


def test_kcmp_compares_members_only(family):
    assert native(family, "kcmp", 1, family.member.pid, 0, 0, 0).changed == {0: family.init.pid, 1: family.member.pid}
    assert family.guest("kcmp", 1, OUTSIDE, 0, 0, 0) == -errno.ESRCH
    assert family.guest("kcmp", OUTSIDE, 1, 0, 0, 0) == -errno.ESRCH


@pytest.mark.parametrize("name", ["tkill", "tgkill", "rt_tgsigqueueinfo"])
@pytest.mark.parametrize("who", [0, -1])
def test_a_thread_number_that_cannot_be_is_einval(family, name, who):
    assert family.guest(name, who, who, 9) == -errno.EINVAL


# -- kill -------------------------------------------------------------------------------------------


def test_a_group_is_signalled_by_its_number(family):
    assert native(family, "kill", -family.member.pid, 15).changed == {0: -family.member.pid}


def test_a_group_outside_is_esrch(family):
    assert family.guest("kill", -os.getpgrp(), 0) == -errno.ESRCH


def test_inits_group_is_out_of_reach_of_minus_1_which_means_all(family):
    """kill(-1) reaches every member but init and the caller, and nobody else."""
    assert family.guest("kill", -1, signal.SIGTERM) == 0
    assert family.member.wait(10) == -signal.SIGTERM
    assert family.init.poll() is None


def test_signalling_all_without_anybody_there_is_esrch(family):
    family.by_member()
    assert family.guest("kill", -1, 0) == -errno.ESRCH


@pytest.mark.parametrize("number", [-1, 65])
def test_signalling_all_with_no_signal_is_einval(family, number):
    assert family.guest("kill", -1, number) == -errno.EINVAL


# -- groups -----------------------------------------------------------------------------------------


def test_setpgid_of_the_caller_is_native_with_zeros(family):
    assert native(family, "setpgid", 0, 0).changed == {0: 0, 1: 0}
    assert native(family, "setpgid", 1, 1).changed == {0: family.init.pid, 1: 0}
    assert native(family, "setpgid", 0, 1).changed == {0: 0, 1: 0}


def test_setpgid_joins_a_group_of_a_member(family):
    changed = native(family, "setpgid", family.member.pid, 1).changed
    assert changed == {0: family.member.pid, 1: family.init.pid}


def test_setpgid_fails_as_in_the_manual(family):
    assert family.guest("setpgid", OUTSIDE, 0) == -errno.ESRCH
    assert family.guest("setpgid", 0, -1) == -errno.EINVAL
    assert family.guest("setpgid", 0, os.getpgrp()) == -errno.EPERM


def test_waitid_for_a_group_takes_the_kernels_number(family):
    assert native(family, "waitid", 2, 1).changed == {1: family.init.pid}
    assert native(family, "waitid", 2, 0).changed == {}
    assert native(family, "waitid", 4, 0).changed == {}  # for the kernel to refuse


# -- priorities -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, first", [("getpriority", 0), ("setpriority", 0), ("ioprio_get", 1), ("ioprio_set", 1)])
def test_priorities_are_of_members_and_their_groups(family, name, first):
    assert native(family, name, first, 1).changed == {1: family.init.pid}
    assert native(family, name, first, 0).changed == {}
    assert native(family, name, first + 1, family.member.pid).changed == {1: family.member.pid}
    assert family.guest(name, first, OUTSIDE) == -errno.ESRCH
    assert family.guest(name, first + 1, os.getpgrp()) == -errno.ESRCH
    assert family.guest(name, 9, 0) == -errno.EINVAL


@pytest.mark.parametrize("name, user, me", [("setpriority", 2, 0), ("ioprio_set", 3, 1)])
def test_a_users_priority_is_the_callers_alone(family, name, user, me):
    assert native(family, name, user, 0).changed == {0: me, 1: 0}


# -- making -----------------------------------------------------------------------------------------


def clone_args(flags=0, pidfd=0, child_tid=0, parent_tid=0, exit_signal=17, stack=0, stack_size=0, tls=0, more=b""):
    return bytearray(struct.pack("<8Q", flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls) + more)


def test_clone3_becomes_clone(family):
    result = native(family, "clone3", clone_args(0x100, child_tid=1, parent_tid=2, stack=0x1000, stack_size=0x100, tls=3), 64)
    assert result.number == NUMBERS["clone"]
    assert result.changed == {0: 0x100 | 17, 1: 0x1100, 2: 2, 3: 1, 4: 3}


def test_clone3_without_a_stack_keeps_the_parents(family):
    assert native(family, "clone3", clone_args(), 64).changed[1] == 0


def test_clone3_gives_the_pidfd_where_clone_gives_it(family):
    assert native(family, "clone3", clone_args(CLONE_PIDFD, pidfd=0x5000), 64).changed[2] == 0x5000


def test_clone3_stores_the_number_itself_where_clone_has_no_place_for_both(family):
    address = family.guest.memory.room(4)
    args = clone_args(CLONE_PIDFD | CLONE_PARENT_SETTID, pidfd=0x5000, parent_tid=address)
    result = native(family, "clone3", args, 64)
    assert result.changed[0] == CLONE_PIDFD | 17
    assert result.after(-errno.EAGAIN) == -errno.EAGAIN
    assert family.guest.memory.read(address, 4) == bytes(4)
    assert result.after(77) == 77
    assert family.guest.memory.read(address, 4) == (77).to_bytes(4, "little")


@pytest.mark.parametrize(
    "args, size, number",
    [
        (clone_args(), 63, errno.EINVAL), (clone_args(more=bytes(5000)), 5000, errno.E2BIG),
        (clone_args(CLONE_NEWUSER), 64, errno.EPERM), (clone_args(CLONE_UNTRACED), 64, errno.EPERM),
        (clone_args(0x2000), 64, errno.EPERM), (clone_args(exit_signal=0x100), 64, errno.EINVAL),
        (clone_args(stack=4096), 64, errno.EINVAL), (clone_args(stack_size=4096), 64, errno.EINVAL),
        (clone_args(1 << 32), 64, errno.ENOSYS), (clone_args(more=struct.pack("<Q", 1)), 72, errno.ENOSYS),
        (BAD, 64, errno.EFAULT), (clone_args(1), 64, errno.EINVAL), (clone_args(exit_signal=65), 64, errno.EINVAL),
        (clone_args(0x8000), 64, errno.EINVAL), (clone_args(0x400000), 64, errno.EINVAL),
    ],
)  # fmt: skip
def test_clone3_refuses_what_it_must(family, args, size, number):
    assert family.guest("clone3", args, size) == -number


def test_clone3_takes_a_larger_structure_of_zeros(family):
    assert native(family, "clone3", clone_args(more=bytes(24)), 88).number == 56


@pytest.mark.parametrize("name, args", [("fork", ()), ("vfork", ()), ("clone", (17,)), ("clone3", (clone_args(), 64))])
def test_a_limit_on_tasks_is_eagain_once_it_is_reached(family, name, args):
    family.guest.sandbox.pids_limit = 2
    assert family.guest(name, *args) == -errno.EAGAIN
    family.guest.sandbox.pids_limit = 3
    assert isinstance(family.guest.result(name, *args), Native)


def test_a_fork_on_its_way_counts_against_the_limit(family):
    family.guest.sandbox.pids_limit = 3
    native(family, "fork")
    family.by_member()
    assert family.guest("fork") == -errno.EAGAIN


@pytest.mark.parametrize("flag", [0x00800000, 0x00002000, 0x00020000, 0x02000000, 0x10000000, 0x20000000, 0x40000000])
def test_no_handler_of_clone_lets_a_namespace_or_an_untraced_child_through(family, flag):
    """With a limit on tasks the supervisor sees clone; what the table refuses must not become native there."""
    from tracer import seccomp

    program = seccomp.build(LINUX, {56: Plane.STEER})
    verdict = seccomp.simulate(program, 56, seccomp.AUDIT_ARCH_X86_64, (flag | 17, 0, 0, 0, 0, 0))
    if verdict != seccomp.RET_ERRNO | errno.EPERM:
        assert isinstance(family.guest.result("clone", flag | 17), Fail)


# -- fcntl and ioctl --------------------------------------------------------------------------------

GETLK, SETOWN, GETOWN, SETOWN_EX, GETOWN_EX = 5, 8, 9, 15, 16
TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSTI, TIOCLINUX = 0x540F, 0x5410, 0x5429, 0x5412, 0x541C


def owner(kind: int, who: int) -> bytearray:
    return bytearray(struct.pack("<ii", kind, who))


def test_an_owner_is_a_member_or_a_group_of_one(family):
    assert native(family, "fcntl", 0, SETOWN, 1).changed == {2: family.init.pid}
    assert native(family, "fcntl", 0, SETOWN, -family.member.pid).changed == {2: -family.member.pid}
    assert native(family, "fcntl", 0, SETOWN, 0).changed == {}
    assert family.guest("fcntl", 0, SETOWN, OUTSIDE) == -errno.ESRCH
    assert family.guest("fcntl", 0, SETOWN, -os.getpgrp()) == -errno.ESRCH


def test_an_owner_is_told_by_the_guests_number(family):
    after = native(family, "fcntl", 0, GETOWN).after
    assert after(family.init.pid) == 1
    assert after(family.member.pid) == family.member.pid
    assert after(-errno.EBADF) == -errno.EBADF


def test_an_owner_in_a_structure_is_judged_once_and_passed_in_a_register(family):
    assert native(family, "fcntl", 0, SETOWN_EX, owner(1, 1)).changed == {1: SETOWN, 2: family.init.pid}
    assert native(family, "fcntl", 0, SETOWN_EX, owner(2, family.member.pid)).changed == {1: SETOWN, 2: -family.member.pid}
    assert native(family, "fcntl", 0, SETOWN_EX, owner(1, 0)).changed == {1: SETOWN, 2: 0}


@pytest.mark.parametrize(
    "argument, number",
    [(owner(7, 1), errno.EINVAL), (owner(0, OUTSIDE), errno.ESRCH), (owner(1, OUTSIDE), errno.ESRCH), (BAD, errno.EFAULT)],
)
def test_an_owner_that_cannot_be_is_refused(family, argument, number):
    assert family.guest("fcntl", 0, SETOWN_EX, argument) == -number


def test_who_holds_a_lock_is_told_by_the_guests_number(family):
    for pid, told in ((family.init.pid, 1), (family.member.pid, family.member.pid), (OUTSIDE, 0), (-1, -1)):
        address = family.guest.memory.put(struct.pack("<hh4xqqi4x", 1, 0, 0, 0, pid))
        assert native(family, "fcntl", 0, GETLK, address).after(0) == 0
        assert struct.unpack("<i", family.guest.memory.read(address + 24, 4)) == (told,)
    address = family.guest.memory.put(struct.pack("<hh4xqqi4x", 2, 0, 0, 0, OUTSIDE))
    assert native(family, "fcntl", 0, GETLK, address).after(0) == 0
    assert struct.unpack("<i", family.guest.memory.read(address + 24, 4)) == (OUTSIDE,)  # no lock: as the caller left it


def test_unsharing_what_is_shared_with_nobody_is_nothing(family):
    for flags in (0x100, 0x800, 0x10000, 0x10900):
        assert family.guest("unshare", flags) == 0
    assert family.guest("clone3", bytearray(struct.pack("<8Q", 1 << 40, *[0] * 7)), 64) == -errno.EINVAL


def test_an_owner_in_a_structure_is_told_by_the_guests_number(family):
    address = family.guest.memory.put(struct.pack("<ii", 1, family.init.pid))
    assert native(family, "fcntl", 0, GETOWN_EX, address).after(0) == 0
    assert struct.unpack("<ii", family.guest.memory.read(address, 8)) == (1, 1)


def test_who_may_send_no_signals_to_somebody_does_not_have_them_sent(family):
    family.guest.process.credentials.uid = family.guest.process.credentials.euid = 5
    family.guest.process.credentials.suid = 5
    for capabilities in ("effective", "permitted"):
        setattr(family.guest.process.credentials, capabilities, 0)
    assert native(family, "fcntl", 0, SETOWN, family.member.pid).changed == {2: 0}
    assert native(family, "fcntl", 0, SETOWN, -family.member.pid).changed == {2: 0}
    assert native(family, "fcntl", 0, SETOWN, 1).changed == {2: family.init.pid}
    assert native(family, "fcntl", 0, SETOWN_EX, owner(1, family.member.pid)).changed == {1: SETOWN, 2: 0}
    assert family.guest("fcntl", 0, SETOWN_EX, owner(1, -family.member.pid)) == -errno.ESRCH


FIOSETOWN, SIOCSPGRP, FIOGETOWN, SIOCGPGRP = 0x8901, 0x8902, 0x8903, 0x8904


@pytest.mark.parametrize("request_", [FIOSETOWN, SIOCSPGRP], ids=hex)
def test_a_sockets_owner_is_set_as_by_fcntl(family, request_):
    fd = family.guest.files.add(socket.socket().detach())
    for who, host in ((1, family.init.pid), (-family.member.pid, -family.member.pid), (0, 0)):
        result = native(family, "ioctl", fd, request_, bytearray(struct.pack("<i", who)))
        assert (result.number, result.changed) == (72, {1: SETOWN, 2: host})
    assert family.guest("ioctl", fd, request_, bytearray(struct.pack("<i", OUTSIDE))) == -errno.ESRCH
    assert family.guest("ioctl", fd, request_, BAD) == -errno.EFAULT
    assert family.guest("ioctl", 999, request_, bytearray(4)) == -errno.EBADF
    null = family.guest.files.add(os.open("/dev/null", os.O_RDWR))
    assert family.guest("ioctl", null, request_, bytearray(struct.pack("<i", 1))) == -errno.ENOTTY


@pytest.mark.parametrize("request_", [FIOGETOWN, SIOCGPGRP], ids=hex)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sockets_owner_is_told_by_the_guests_number(family, request_, sign):
    address = family.guest.memory.put(struct.pack("<i", sign * family.init.pid))
    after = native(family, "ioctl", 0, request_, address).after
    assert after(-errno.ENOTTY) == -errno.ENOTTY
    assert after(0) == 0
    assert struct.unpack("<i", family.guest.memory.read(address, 4)) == (sign,)


def test_an_unknown_fcntl_is_einval(family):
    assert family.guest("fcntl", 0, 9999) == -errno.EINVAL


def test_nothing_is_typed_for_others(family):
    assert family.guest("ioctl", 0, TIOCSTI, b"x") == -errno.EIO


@pytest.mark.parametrize("request_", [TIOCLINUX, 0x5408 + 0x1000, 0x4B3A, 0xC0DE], ids=hex)
def test_an_ioctl_that_is_not_allowed_is_enotty(family, request_):
    assert family.guest("ioctl", 0, request_, 0) == -errno.ENOTTY


@pytest.mark.parametrize("request_", [TIOCGPGRP, TIOCGSID], ids=hex)
def test_a_terminals_group_is_told_by_the_guests_number(family, request_):
    address = family.guest.memory.put(struct.pack("<i", family.init.pid))
    after = native(family, "ioctl", 0, request_, address).after
    assert after(-errno.ENOTTY) == -errno.ENOTTY
    assert after(0) == 0
    assert struct.unpack("<i", family.guest.memory.read(address, 4)) == (1,)


def test_a_terminals_group_must_be_a_members(family):
    fd = family.guest.files.add(os.open("/dev/null", os.O_RDWR))
    assert family.guest("ioctl", fd, TIOCSPGRP, bytearray(struct.pack("<i", os.getpgrp()))) == -errno.ESRCH
    assert family.guest("ioctl", fd, TIOCSPGRP, bytearray(struct.pack("<i", -5))) == -errno.EINVAL
    assert family.guest("ioctl", fd, TIOCSPGRP, BAD) == -errno.EFAULT


def test_in_a_session_of_the_guests_the_kernel_sets_a_terminals_group(family, monkeypatch):
    monkeypatch.setattr(os, "getsid", lambda pid: pid)
    fd = family.guest.files.add(os.open("/dev/null", os.O_RDWR))
    init = bytearray(struct.pack("<i", 1))
    assert native(family, "ioctl", fd, TIOCSPGRP, init).placed == {2: struct.pack("<i", family.init.pid)}
    other = native(family, "ioctl", fd, TIOCSPGRP, bytearray(struct.pack("<i", family.member.pid)))
    assert (other.changed, other.placed) == ({}, {})


class Lent:
    """A terminal that notes who is to have it."""

    group = None

    def set_foreground(self, fd, group):
        os.fstat(fd)
        self.group = group
        return 0


def test_in_int80s_session_the_supervisor_does_once_the_kernel_has_nothing_against_it(family, monkeypatch):
    monkeypatch.setattr(os, "getsid", lambda pid: 5)
    fd = family.guest.files.add(os.open("/dev/null", os.O_RDWR))
    argument = bytearray(struct.pack("<i", 1))
    assert family.guest("ioctl", fd, TIOCSPGRP, argument) == -errno.ENOTTY
    assert family.guest("ioctl", 999, TIOCSPGRP, argument) == -errno.EBADF
    terminal = family.guest.sandbox.terminal = Lent()
    result = native(family, "ioctl", fd, TIOCSPGRP, argument)
    assert result.changed == {1: 0x540A, 2: 99}  # TCXONC with an argument that it does not know
    assert result.after(-errno.EIO) == result.after(-errno.ENOTTY) == -errno.ENOTTY
    assert terminal.group is None
    assert result.after(-errno.EINVAL) == 0
    assert terminal.group == family.init.pid


# -- dispatch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [134, 500, 511, 512, 100000])
def test_a_number_without_an_entry_is_enosys(family, number):
    assert family.guest(number) == -errno.ENOSYS


@pytest.mark.parametrize("domain, expected", [(2, errno.EOPNOTSUPP), (10, errno.EOPNOTSUPP), (99, errno.EAFNOSUPPORT)])
def test_a_refused_call_that_is_stopped_for_a_log_has_the_errno_of_its_arguments(family, domain, expected):
    assert family.guest("socketpair", domain, 1, 0, 0) == -expected


def test_an_unhandled_entry_is_enosys(family):
    assert family.guest("read", 0, 0, 0) == -errno.ENOSYS


def test_a_handler_that_breaks_is_eio_and_is_reported_with_its_call(family, capfd):
    told = []

    class Sandbox:
        report_bug = staticmethod(told.append)

    class Broken:
        name, handler = "broken", staticmethod(lambda call: 1 // 0)

    call = family.guest.make("getpid", 1, 2)
    call.sandbox = Sandbox
    result = dispatch(Broken, call)
    assert result.error.kind is Kind.EIO
    assert "bug in broken(0x1, 0x2, 0x0, 0x0, 0x0, 0x0): ZeroDivisionError" in capfd.readouterr().err
    assert isinstance(told[0], ZeroDivisionError)


def test_an_int_argument_is_a_c_int(family):
    call = family.guest.make("getpid", -1, 1 << 32 | 5, 0x80000000)
    assert [call.int(index) for index in range(3)] == [-1, 5, -(1 << 31)]


# -- the host ABI -----------------------------------------------------------------------------------


def host_call(family: Family, number: int, *args: int):
    guest = family.guest
    call = Call(guest.sandbox, guest.task, number, (args + (0,) * 6)[:6], guest.memory, guest.files)
    return dispatch(host_abi.host.entry(number), call)


def test_a_host_program_ends_with_the_low_byte(family):
    result = host_call(family, 0, 0x1FF)
    assert isinstance(result, Terminate)
    assert result.status == 0xFF


def test_a_host_program_writes_through_the_kernel(family):
    result = host_call(family, 1, 1, 2, 3)
    assert isinstance(result, Native)
    assert result.number == NUMBERS["write"]


def test_a_host_number_without_an_entry_does_not_exist(family):
    assert host_call(family, 63).error.kind is Kind.ENOSYS


# -- whole table ------------------------------------------------------------------------------------

ANSWERED = [entry for entry in LINUX.table if entry is not None and entry.plane in (Plane.ANSWER, Plane.STEER)]


@pytest.mark.parametrize("args", [(0,) * 6, (BAD,) * 6, ((1 << 64) - 1,) * 6, (1 << 63,) * 6], ids=["0", "bad", "-1", "min"])
@pytest.mark.parametrize("entry", ANSWERED, ids=lambda entry: entry.name)
def test_no_handler_breaks_on_senseless_arguments(family_of_none, entry, args):
    """Whatever the registers hold, a call ends in a result; a bug would fail the test through `StrictSandbox`."""
    result = family_of_none.result(entry.number, *args)
    assert result is not None
    if hasattr(result, "fd"):
        family_of_none.value(result)


@pytest.fixture(scope="module")
def family_of_none(tmp_path_factory):
    """One process that is this one, for calls that do nothing to anybody."""
    with Guest(tmp_path_factory.mktemp("none") / "root") as guest:
        yield guest
