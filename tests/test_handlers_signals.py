"""Who sent a signal, as the guest knows it, and the calls that store it or name a thread in memory."""

from __future__ import annotations

import errno
import os
import signal
import struct

import pytest
from fakes import BAD, Guest

from abi.dispatch import Native
from abi.signals import siginfo
from abi.time import timer_create
from vfs.filesystem import live_entries

INIT, MEMBER, OUTSIDE = 500000001, 500000002, 500000003  # numbers that no process has
SI_USER, SI_QUEUE, SI_TIMER, CLD_EXITED = 0, -1, -2, 1
P_PGID, WEXITED = 2, 4


@pytest.fixture
def guest(tmp_path):
    with Guest(tmp_path / "root", pid=INIT) as guest:
        guest.join(MEMBER).credentials.uid = 1234
        yield guest


def info(number: int, code: int, pid: int, uid: int) -> bytes:
    return struct.pack("<iiiiiIi", number, 0, code, 0, pid, uid, 0)


def told(guest: Guest, number: int, code: int, pid: int, uid: int | None = None) -> tuple[int, int]:
    """The pid and uid that the guest sees; the kernel says the host user's uid."""
    host = guest.sandbox.host_uid if uid is None else uid
    return struct.unpack("<iI", siginfo(guest.sandbox, info(number, code, pid, host))[16:24])


def test_the_sender_is_known_by_the_guests_number_and_real_uid(guest):
    assert told(guest, signal.SIGUSR1, SI_USER, INIT) == (1, 0)
    assert told(guest, signal.SIGUSR1, SI_USER, MEMBER) == (MEMBER, 1234)


def test_a_sender_outside_is_nobody(guest):
    assert told(guest, signal.SIGUSR1, SI_USER, OUTSIDE) == (0, 0)


def test_what_a_sender_says_of_itself_is_left(guest):
    assert told(guest, signal.SIGUSR1, SI_QUEUE, 1, 77) == (1, 77)
    assert told(guest, signal.SIGUSR1, SI_TIMER, INIT, 5) == (INIT, 5)


def test_a_child_that_has_ended_keeps_its_number_and_uid(guest):
    guest.tree.remove(MEMBER)
    assert told(guest, signal.SIGCHLD, CLD_EXITED, MEMBER) == (MEMBER, 1234)


def test_the_uids_of_the_ended_are_forgotten_some_day(guest):
    guest.tree.remove(MEMBER)
    for pid in range(MEMBER + 1, MEMBER + 5001):
        guest.join(pid).credentials.uid = 1
        guest.tree.remove(pid)
    assert MEMBER not in guest.tree.departed
    assert len(guest.tree.departed) < 5000


@pytest.mark.parametrize("name, place", [("rt_sigtimedwait", 1), ("waitid", 2)])
def test_a_siginfo_that_a_call_stores_is_told_the_guests_way(guest, name, place):
    address = guest.memory.put(info(signal.SIGCHLD, CLD_EXITED, MEMBER, 0))
    args = [0, 0, 0, WEXITED]
    args[place] = address
    after = guest.result(name, *args).after
    assert after(-errno.EINTR) == -errno.EINTR
    assert after(0) == 0
    assert struct.unpack("<iI", guest.memory.read(address + 16, 8)) == (MEMBER, 1234)


def test_waiting_for_a_group_outside_is_for_nobody(guest):
    """ECHILD, which is for the kernel to say: other arguments may be wrong too."""
    result = guest.result("waitid", P_PGID, os.getpgrp(), 0, WEXITED)
    assert isinstance(result, Native)
    assert result.changed[1] != os.getpgrp()


def sigevent(notify: int, thread: int) -> bytearray:
    return bytearray(struct.pack("<Qiii", 0, signal.SIGUSR1, notify, thread))


def test_a_timer_for_inits_first_thread_is_for_the_kernels_number(guest):
    call = guest.make("timer_create", 1, sigevent(4, 1))
    after = timer_create(call).after
    assert int.from_bytes(guest.memory.read(call.args[1] + 16, 4), "little") == INIT
    assert after(0) == 0
    assert int.from_bytes(guest.memory.read(call.args[1] + 16, 4), "little") == 1


@pytest.mark.parametrize("name", ["clock_gettime", "clock_getres", "clock_nanosleep", "timer_create"])
def test_the_clock_of_init_is_asked_for_by_the_kernels_number(guest, name):
    for kind in (2, 6):  # CPUCLOCK_SCHED of a process, of a thread
        assert guest.result(name, ~1 << 3 | kind).changed == {0: ~INIT << 3 | kind}
        assert guest.result(name, ~MEMBER << 3 | kind).changed == {}
    assert guest(name, ~os.getppid() << 3 | 2) == -errno.EINVAL


def test_other_timers_are_the_kernels(guest):
    for event in (sigevent(4, MEMBER), sigevent(0, 1)):
        result = guest.result("timer_create", 1, event)
        assert isinstance(result, Native) and result.after is None
    assert guest("timer_create", 1, BAD) == -errno.EFAULT


def test_a_pidfd_that_is_none_is_judged_by_the_kernel(guest):
    fd = guest.files.add(os.open("/dev/null", os.O_RDONLY))
    result = guest.result("pidfd_send_signal", fd, 0, 0, 0)
    assert isinstance(result, Native) and result.number is None
    assert guest("pidfd_send_signal", 99, 0, 0, 0) == -errno.EBADF


# -- listings that change while they are read -------------------------------------------------------


@pytest.fixture
def directory(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def names(data: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position + 16 : position + 18], "little")
        found.append(data[position + 19 : position + length].split(b"\0", 1)[0])
        position += length
    return found


def test_a_number_that_goes_hides_no_other(directory):
    entries = [(b"%d" % number, 1, 10) for number in (3, 4, 5, 10)]
    assert names(live_entries(entries, directory, 4 * 24)) == [b".", b"..", b"3", b"4"]
    assert names(live_entries(entries[2:], directory, 1000)) == [b"5", b"10"]
    assert live_entries(entries[2:], directory, 1000) == b""


def test_numbers_come_after_names_and_in_their_order(directory):
    entries = [(name, 1, 4) for name in (b"10", b"self", b"9", b"sys")]
    assert names(live_entries(entries, directory, 1000)) == [b".", b"..", b"self", b"sys", b"9", b"10"]


def test_a_place_too_small_for_one_entry_is_einval(directory):
    with pytest.raises(OSError) as caught:
        live_entries([], directory, 8)
    assert caught.value.errno == errno.EINVAL
