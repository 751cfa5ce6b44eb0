"""What calls that wait, tell the time and do asynchronous work look like in the trace, as strace 6.1 has it."""

from __future__ import annotations

import struct

import pytest
from decoded import Decoded, random_calls
from fakes import BAD

from abi.decoding import aio, clocks, rings, waiting

CALLS = waiting.CALLS | clocks.CALLS | aio.CALLS | rings.CALLS
EAGAIN, EFAULT, EINVAL, RESTART, RESTART_NOHAND = 11, 14, 22, 516, 514
SECOND = struct.pack("<qq", 1, 0)


@pytest.fixture
def task():
    return Decoded(CALLS)


@pytest.fixture
def show(task):
    return task.show


# -- poll -------------------------------------------------------------------------------------------


def polls(*entries: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<iHH", *entry) for entry in entries)


def test_poll_tells_behind_its_result_which_descriptors_have_something(task):
    address = task.memory.put(polls((3, 1, 0), (4, 0x2005, 0), (-1, 1, 0)))

    def meanwhile(view):
        task.memory.write(address, polls((3, 1, 0), (4, 0x2005, 0x14), (-1, 1, 0)))

    assert task.show("poll", address, 3, -1, value=1, meanwhile=meanwhile) == (
        "poll([{fd=3, events=POLLIN}, {fd=4, events=POLLIN|POLLOUT|POLLRDHUP}, {fd=-1}], 3, -1) = "
        "1 ([{fd=4, revents=POLLOUT|POLLHUP}])"
    )


def test_a_poll_that_finds_nothing_has_timed_out(show):
    assert show("poll", polls((3, 1, 0)), 1, 5) == "poll([{fd=3, events=POLLIN}], 1, 5) = 0 (Timeout)"


def test_more_descriptors_than_fit_are_cut_in_the_arguments_and_in_the_result(show):
    text = show("poll", polls(*[(3, 1, 1)] * 40), 40, 0, value=40)
    assert text.count(" events=POLLIN}") == text.count("revents=POLLIN}") == 32
    assert text.endswith(", ...])")


def test_ppoll_tells_what_is_left_of_the_time(show):
    assert show("ppoll", polls((3, 1, 1)), 1, SECOND, struct.pack("<Q", 1 << 9), 8, value=1) == (
        "ppoll([{fd=3, events=POLLIN}], 1, {tv_sec=1, tv_nsec=0}, [USR1], 8) = "
        "1 ([{fd=3, revents=POLLIN}], left {tv_sec=1, tv_nsec=0})"
    )


def test_select_has_sets_of_descriptors_before_and_after(task):
    reading, writing = (task.memory.put(struct.pack("<Q", bits)) for bits in (0b101000, 0b10000))

    def meanwhile(view):
        task.memory.write(reading, struct.pack("<Q", 0b100000))
        task.memory.write(writing, bytes(8))

    assert task.show("select", 6, reading, writing, 0, SECOND, value=1, meanwhile=meanwhile) == (
        "select(6, [3 5], [4], NULL, {tv_sec=1, tv_usec=0}) = 1 (in [5], left {tv_sec=1, tv_usec=0})"
    )


def test_a_set_is_read_in_whole_words_and_counts_to_the_first_argument_only(task):
    address = task.memory.put(b"\xff" * 8)
    assert task.show("select", 2, address, 0, 0, 0, error=EINVAL).startswith("select(2, [0 1], NULL,")
    assert task.show("select", 65, address, 0, 0, 0, error=EINVAL).startswith(f"select(65, {address:#x}, NULL,")
    assert task.show("select", -1, address, 0, 0, 0, error=EINVAL).startswith(f"select(-1, {address:#x}, NULL,")


def test_pselect6_has_a_mask_with_its_size(task):
    mask = task.memory.put(struct.pack("<Q", 1 << 9))
    pair = struct.pack("<QQ", mask, 8)
    assert task.show("pselect6", 0, 0, 0, 0, 0, pair).startswith(
        "pselect6(0, NULL, NULL, NULL, NULL, {sigmask=[USR1], sigsetsize=8}) = 0"
    )
    assert f"{{sigmask={mask:#x}, sigsetsize=4}}" in task.show("pselect6", 0, 0, 0, 0, 0, struct.pack("<QQ", mask, 4))


# -- epoll ------------------------------------------------------------------------------------------

EVENT = struct.pack("<IQ", 0x80000001, 0x100000003)


def test_an_event_s_data_is_told_in_both_sizes(show):
    assert show("epoll_ctl", 4, 1, 3, EVENT) == (
        "epoll_ctl(4, EPOLL_CTL_ADD, 3, {events=EPOLLIN|EPOLLET, data={u32=3, u64=4294967299}}) = 0"
    )


def test_removing_from_an_epoll_does_not_look_at_the_event(task):
    address = task.memory.put(EVENT)
    assert task.show("epoll_ctl", 4, 2, 3, address) == f"epoll_ctl(4, EPOLL_CTL_DEL, 3, {address:#x}) = 0"


def test_as_many_events_are_shown_as_came(task):
    address = task.memory.put(EVENT * 2)
    one = "{events=EPOLLIN|EPOLLET, data={u32=3, u64=4294967299}}"
    assert task.show("epoll_wait", 4, address, 2, -1, value=1) == f"epoll_wait(4, [{one}], 2, -1) = 1"
    assert task.show("epoll_wait", 4, address, 2, 5) == "epoll_wait(4, [], 2, 5) = 0"


def test_a_failed_epoll_pwait2_shows_addresses_only(show):
    text = show("epoll_pwait2", 4, EVENT, 1, SECOND, bytes(8), 8, error=EINVAL)
    assert "{" not in text and "[" not in text


# -- futex ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (0x80, "FUTEX_WAIT_PRIVATE, 1, NULL"),
        (0x81, "FUTEX_WAKE_PRIVATE, 1"),
        (3, "FUTEX_REQUEUE, 1, 0, 0x10"),
        (4, "FUTEX_CMP_REQUEUE, 1, 0, 0x10, 4294967295"),
        (6, "FUTEX_LOCK_PI, NULL"),
        (7, "FUTEX_UNLOCK_PI"),
        (0x189, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 1, NULL, FUTEX_BITSET_MATCH_ANY"),
        (10, "FUTEX_WAKE_BITSET, 1, FUTEX_BITSET_MATCH_ANY"),
        (11, "FUTEX_WAIT_REQUEUE_PI, 1, NULL, 0x10"),
        (0x18D, "0x18d /* FUTEX_??? */, NULL"),
        (14, "0xe /* FUTEX_??? */, 1, NULL, 0x10, 0xffffffff"),
    ],
)
def test_futex_has_the_arguments_that_its_operation_takes(show, operation, text):
    assert show("futex", BAD, operation, 1, 0, BAD, 0xFFFFFFFF) == f"futex(0x10, {text}) = 0"


def test_a_wake_operation_is_taken_apart(show):
    packed = 1 << 31 | 3 << 28 | 4 << 24 | 0x1F << 12
    assert show("futex", BAD, 5, 1, 2, BAD, packed) == (
        "futex(0x10, FUTEX_WAKE_OP, 1, 2, 0x10, FUTEX_OP_OPARG_SHIFT<<28|FUTEX_OP_ANDN<<28|0x1f<<12|FUTEX_OP_CMP_GT<<24|0) = 0"
    )
    assert "0x5<<28 /* FUTEX_OP_??? */|0<<12|0x6<<24 /* FUTEX_OP_CMP_??? */|0x1" in show(
        "futex", BAD, 5, 1, 2, BAD, 5 << 28 | 6 << 24 | 1
    )


def test_waiters_are_an_array_that_ends_where_the_kernel_s_does():
    task = Decoded(CALLS, verbose=True)
    waiters = struct.pack("<QQII", 7, BAD, 0x82, 0) * 130
    text = task.show("futex_waitv", waiters, 130, 0, SECOND, 1)
    assert text.startswith("futex_waitv([{val=0x7, uaddr=0x10, flags=FUTEX_32|FUTEX_PRIVATE_FLAG}, ")
    assert text.endswith("}, ...], 130, 0, {tv_sec=1, tv_nsec=0}, CLOCK_MONOTONIC) = 0")
    assert text.count("{val=") == 128


# -- clocks and timers ------------------------------------------------------------------------------


def test_a_sleep_that_a_signal_ends_tells_what_is_left(task):
    left = task.memory.put(SECOND)
    assert task.show("nanosleep", SECOND, left) == f"nanosleep({{tv_sec=1, tv_nsec=0}}, {left:#x}) = 0"
    assert task.show("nanosleep", SECOND, left, error=RESTART) == (
        "nanosleep({tv_sec=1, tv_nsec=0}, {tv_sec=1, tv_nsec=0}) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)"
    )


def test_nothing_is_left_of_a_sleep_until_a_moment(task):
    left = task.memory.put(SECOND)
    assert f"TIMER_ABSTIME, {{tv_sec=1, tv_nsec=0}}, {left:#x}) = ?" in task.show(
        "clock_nanosleep", 1, 1, SECOND, left, error=RESTART_NOHAND
    )


def test_a_wrong_fraction_of_a_second_is_told_unsigned(show):
    assert show("clock_settime", 99, struct.pack("<qq", -1, -1), error=EINVAL).startswith(
        "clock_settime(0x63 /* CLOCK_??? */, {tv_sec=-1, tv_nsec=18446744073709551615}) = -1"
    )


def test_time_is_told_in_words_too(show):
    assert show("time", 0, value=86400).startswith("time(NULL) = 86400 (1970-01-0")
    assert show("time", struct.pack("<q", 86400), value=86400).startswith("time([86400 /* 1970-01-0")


def test_the_state_of_the_clock_is_named(show):
    assert show("adjtimex", bytes(208), value=5).endswith(", tai=0}) = 5 (TIME_ERROR)")
    assert show("clock_adjtime", 0, struct.pack("<I204x", 0xA001)).startswith(
        "clock_adjtime(CLOCK_REALTIME, {modes=ADJ_OFFSET_SS_READ, offset=0,"
    )


def test_a_timer_tells_how_its_end_is_announced(show):
    event = struct.pack("<QiiQQ32x", 0xFFFFFFFB, 34, 4, 99, 0)
    assert show("timer_create", 1, event, b"\3\0\0\0") == (
        "timer_create(CLOCK_MONOTONIC, {sigev_value={sival_int=-5, sival_ptr=0xfffffffb}, sigev_signo=SIGRT_2, "
        "sigev_notify=SIGEV_THREAD_ID, sigev_notify_thread_id=99}, [3]) = 0"
    )
    silent = struct.pack("<QiiQQ32x", 0, 34, 1, 0, 0)
    assert "{sigev_signo=34, sigev_notify=SIGEV_NONE}" in show("timer_create", 1, silent, 0, error=EFAULT)


def test_an_interval_timer_has_an_interval_and_a_value(show):
    assert show("setitimer", 0, struct.pack("<4q", 1, 2, 3, 4), 0) == (
        "setitimer(ITIMER_REAL, {it_interval={tv_sec=1, tv_usec=2}, it_value={tv_sec=3, tv_usec=4}}, NULL) = 0"
    )


# -- asynchronous input and output ------------------------------------------------------------------


def request(command: int, buffer: int, length: int, *, bits: int = 0, signal_fd: int = 0, priority: int = 0) -> bytes:
    return struct.pack("<QIIHhiQQqQII", 5, 0, 0, command, priority, 7, buffer, length, 1, 0, bits, signal_fd)


def submit(task, *requests: bytes) -> str:
    pointers = struct.pack(f"<{len(requests)}Q", *(task.memory.put(one) for one in requests))
    return task.show("io_submit", BAD, len(requests), pointers, value=len(requests))


def test_a_request_to_write_shows_its_data(task):
    text = submit(task, request(1, task.memory.put(b"hello"), 5))
    assert text == (
        'io_submit(0x10, 1, [{aio_data=0x5, aio_lio_opcode=IOCB_CMD_PWRITE, aio_fildes=7, aio_buf="hello", '
        "aio_nbytes=5, aio_offset=1}]) = 1"
    )


def test_a_request_to_read_into_parts_shows_where_they_are(task):
    parts = task.memory.put(struct.pack("<QQ", BAD, 4))
    assert "aio_buf=[{iov_base=0x10, iov_len=4}], aio_offset=1}" in submit(task, request(7, parts, 1))


def test_a_request_to_wait_for_events_names_them(task):
    assert "IOCB_CMD_POLL, aio_fildes=7, aio_buf=POLLIN}" in submit(task, request(5, 1, 0))


def test_a_request_s_priority_and_descriptor_count_where_its_flags_say_so(task):
    with_both = submit(task, request(0, 0, 0, bits=3, signal_fd=9, priority=2 << 13 | 3))
    assert "aio_reqprio=IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 3)" in with_both
    assert "aio_flags=IOCB_FLAG_RESFD|IOCB_FLAG_IOPRIO, aio_resfd=9}" in with_both
    assert "aio_reqprio=-9, aio_fildes=7, aio_buf=0, aio_nbytes=0, aio_offset=1, aio_resfd=0x9}" in submit(
        task, request(0, 0, 0, signal_fd=9, priority=-9)
    )


def test_a_request_that_cannot_be_read_is_its_address(task):
    assert task.show("io_submit", BAD, 2, struct.pack("<QQ", BAD, 0), error=EFAULT).startswith("io_submit(0x10, 2, [0x10, NULL])")


# -- io_uring ---------------------------------------------------------------------------------------


def test_rings_are_laid_out_only_after_success(task):
    parameters = task.memory.put(struct.pack("<10I80x", 4, 8, 8, 0, 0, 1, 0, 0, 7, 0))
    assert task.show("io_uring_setup", 4, parameters, error=EINVAL).startswith(
        "io_uring_setup(4, {flags=IORING_SETUP_CQSIZE, sq_thread_cpu=0, sq_thread_idle=0, resv=[0, 0x7, 0]}) = -1"
    )
    assert "sq_entries=4, cq_entries=8, features=IORING_FEAT_SINGLE_MMAP, sq_off={head=0," in task.show(
        "io_uring_setup", 4, parameters, value=3
    )


def test_what_is_registered_is_read_before_the_kernel_changes_it(task):
    ring = task.memory.put(struct.pack("<iIQ", -1, 0, 3))
    text = task.show("io_uring_register", 3, 20, ring, 1, value=1, meanwhile=lambda view: task.memory.write(ring, bytes(4)))
    assert text == "io_uring_register(3, IORING_REGISTER_RING_FDS, [{offset=-1, data=3}], 1) = 1"


def test_the_number_of_workers_is_told_as_wished_and_as_it_was(task):
    workers = task.memory.put(struct.pack("<II", 1, 2))
    text = task.show(
        "io_uring_register", 3, 19, workers, 2, meanwhile=lambda view: task.memory.write(workers, struct.pack("<II", 4, 5))
    )
    assert text == (
        "io_uring_register(3, IORING_REGISTER_IOWQ_MAX_WORKERS, "
        "[[IO_WQ_BOUND]=1, [IO_WQ_UNBOUND]=2] => [[IO_WQ_BOUND]=4, [IO_WQ_UNBOUND]=5], 2) = 0"
    )


def test_restrictions_are_told_by_what_they_restrict(show):
    limits = struct.pack("<HBB12xHBB12xHBB12x", 1, 5, 0, 2, 5, 0, 4, 5, 0)
    assert show("io_uring_register", 3, 11, limits, 3) == (
        "io_uring_register(3, IORING_REGISTER_RESTRICTIONS, [{opcode=IORING_RESTRICTION_SQE_OP, sqe_op=IORING_OP_WRITE_FIXED}, "
        "{opcode=IORING_RESTRICTION_SQE_FLAGS_ALLOWED, sqe_flags=IOSQE_FIXED_FILE|IOSQE_IO_LINK}, "
        "{opcode=0x4 /* IORING_RESTRICTION_??? */ /* op: 0x5 */}], 3) = 0"
    )


def test_no_value_of_any_register_and_no_memory_makes_a_printer_fail():
    random_calls(CALLS, seed=2, times=60)
