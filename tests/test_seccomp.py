"""The seccomp program says what the tables say, in few steps, and in a form the kernel can remember."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abi.dispatch import Abi, Entry, Plane, When
from abi.errors import Kind, LinuxErrno, linux_number
from abi.tables import linux as LINUX
from tracer import seccomp
from tracer.bpf import TRACE_READ, X32_BIT, build_reads, build_stops
from tracer.seccomp import (
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    RET_ALLOW,
    RET_ERRNO,
    RET_TRACE,
    RET_USER_NOTIF,
    TRACE_STEER,
    simulate,
)

PROGRAM = seccomp.build(LINUX)
ENTRIES = [entry for entry in LINUX.table if entry is not None]
RULED = [entry for entry in ENTRIES if entry.when]
ENOSYS = RET_ERRNO | LinuxErrno.ENOSYS
NOTHING = 0x5EED0BAD  # a value that no rule asks for
_MAXINSNS = 4096


def expected(plane: Plane, error: Kind) -> int:
    return {
        Plane.NATIVE: RET_ALLOW,
        Plane.ANSWER: RET_USER_NOTIF,
        Plane.STEER: RET_TRACE | seccomp.TRACE_STEER,
        Plane.REFUSE: RET_ERRNO | linux_number(error),
    }[plane]


def judge(entry: Entry, args: tuple[int, ...]) -> int:
    """What the table says of a call: the first rule that fits, else the entry's own plane."""
    for rule in entry.when:
        if args[rule.arg] & 0xFFFFFFFF & rule.mask in rule.values and not (rule.whole and args[rule.arg] >> 32):
            return expected(rule.plane, rule.error)
    return expected(entry.plane, entry.error)


def test_a_rule_on_a_whole_register_sees_its_upper_half():
    abi = Abi("small", linux_number, 4)
    abi.native(1, "looked-at", when=[When(2, (0, 7), Plane.STEER, whole=True)])
    program = seccomp.build(abi)
    verdicts = {
        value: simulate(program, 1, AUDIT_ARCH_X86_64, with_argument(2, value)) for value in (0, 7, 1 << 32, 7 | 1 << 63, 8)
    }
    steered = RET_TRACE | seccomp.TRACE_STEER
    assert verdicts == {0: steered, 7: steered, 1 << 32: RET_ALLOW, 7 | 1 << 63: RET_ALLOW, 8: RET_ALLOW}
    assert all(verdicts[value] == expected(*abi.entry(1).plane_for(with_argument(2, value))) for value in verdicts)


def with_argument(index: int, value: int) -> tuple[int, ...]:
    return tuple(value if position == index else NOTHING for position in range(6))


def walked(program: bytes, number: int, args: tuple[int, ...] = (0,) * 6) -> list[tuple[int, int]]:
    """The (code, k) of each instruction the kernel runs for a call."""
    data = struct.pack("<IIQ6Q", number, AUDIT_ARCH_X86_64, 0, *args)
    steps, position, accumulator = [], 0, 0
    while True:
        code, true, false, k = struct.unpack_from("<HBBI", program, 8 * position)
        steps.append((code, k))
        position += 1
        match code:
            case 0x20:
                accumulator = int.from_bytes(data[k : k + 4], "little")
            case 0x54:
                accumulator &= k
            case 0x05:
                position += k
            case 0x15:
                position += true if accumulator == k else false
            case 0x35:
                position += true if accumulator >= k else false
            case 0x06:
                return steps
            case _:
                raise AssertionError(f"instruction {code:#x}")


# -- verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_call_goes_to_its_entrys_plane(entry):
    args = (NOTHING,) * 6
    assert simulate(PROGRAM, entry.number, AUDIT_ARCH_X86_64, args) == judge(entry, args)


@pytest.mark.parametrize("entry", RULED, ids=lambda entry: entry.name)
def test_an_argument_moves_a_call_to_its_rules_plane(entry):
    for rule in entry.when:
        for value in rule.values:
            args = with_argument(rule.arg, value)
            assert simulate(PROGRAM, entry.number, AUDIT_ARCH_X86_64, args) == judge(entry, args)


@pytest.mark.parametrize("entry", RULED, ids=lambda entry: entry.name)
def test_the_upper_half_of_a_register_changes_nothing(entry):
    for rule in entry.when:
        for value in rule.values:
            args = with_argument(rule.arg, value | 0xDEADBEEF << 32)
            assert simulate(PROGRAM, entry.number, AUDIT_ARCH_X86_64, args) == judge(entry, args)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RULED),
    st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 0x6000), st.integers(0, 64)), min_size=6, max_size=6),
)
def test_any_arguments_get_the_verdict_of_the_table(entry, args):
    assert simulate(PROGRAM, entry.number, AUDIT_ARCH_X86_64, tuple(args)) == judge(entry, tuple(args))


@pytest.mark.parametrize("flag", [1 << bit for bit in range(32)], ids=hex)
def test_clone_with_any_flag_gets_the_verdict_of_the_table(flag):
    args = with_argument(0, flag | 17)
    assert simulate(PROGRAM, 56, AUDIT_ARCH_X86_64, args) == judge(LINUX.entry(56), args)


def test_no_new_namespace_and_no_untraced_child_is_cloned():
    for flag in (0x00800000, 0x00002000, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert simulate(PROGRAM, 56, AUDIT_ARCH_X86_64, with_argument(0, flag | 17)) == RET_ERRNO | LinuxErrno.EPERM


# -- what does not exist ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [n for n, entry in enumerate(LINUX.table) if entry is None])
def test_a_number_without_an_entry_is_enosys(number):
    assert simulate(PROGRAM, number, AUDIT_ARCH_X86_64) == ENOSYS


@pytest.mark.parametrize("number", [512, 513, 547, 1024, 1 << 30, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], ids=hex)
def test_a_number_beyond_the_table_is_enosys(number):
    assert simulate(PROGRAM, number, AUDIT_ARCH_X86_64) == ENOSYS


@pytest.mark.parametrize("number", [0, 1, 59, 231, 512, 520])
def test_an_x32_call_is_enosys(number):
    assert simulate(PROGRAM, number | X32_BIT, AUDIT_ARCH_X86_64) == ENOSYS


@pytest.mark.parametrize("number", [0, 1, 11, 59, 400, 0xFFFFFFFF])
def test_a_32_bit_call_always_stops_at_the_gate(number):
    assert simulate(PROGRAM, number, AUDIT_ARCH_I386) == RET_TRACE | seccomp.TRACE_GATE


@pytest.mark.parametrize("arch", [0, 0xC00000B7, 0x40000028, 0xFFFFFFFF], ids=hex)
def test_a_call_of_any_other_machine_is_enosys(arch):
    assert simulate(PROGRAM, 0, arch) == ENOSYS


# -- planes of one sandbox --------------------------------------------------------------------------


def test_a_sandbox_can_move_a_call_to_another_plane():
    program = seccomp.build(LINUX, {0: Plane.STEER, 63: Plane.NATIVE})
    assert simulate(program, 0, AUDIT_ARCH_X86_64) == expected(Plane.STEER, Kind.ENOSYS)
    assert simulate(program, 63, AUDIT_ARCH_X86_64) == RET_ALLOW
    assert simulate(program, 1, AUDIT_ARCH_X86_64) == RET_ALLOW


def test_moving_a_call_moves_what_its_rules_leave_native():
    program = seccomp.build(LINUX, {157: Plane.STEER})
    assert simulate(program, 157, AUDIT_ARCH_X86_64, with_argument(0, 1)) == expected(Plane.STEER, Kind.ENOSYS)


@pytest.mark.parametrize("number", [53, 56])
def test_moving_a_call_never_lets_through_what_it_refuses(number):
    entry = LINUX.entry(number)
    program = seccomp.build(LINUX, {number: Plane.STEER})
    assert simulate(program, number, AUDIT_ARCH_X86_64, (NOTHING | 0x10000002,) * 6) == expected(Plane.REFUSE, entry.error)


def test_moving_one_call_changes_no_other():
    program = seccomp.build(LINUX, {56: Plane.STEER, 57: Plane.STEER, 58: Plane.STEER})
    for entry in ENTRIES:
        if entry.number not in (56, 57, 58):
            assert simulate(program, entry.number, AUDIT_ARCH_X86_64, (NOTHING,) * 6) == judge(entry, (NOTHING,) * 6)


# -- cost -------------------------------------------------------------------------------------------


def test_the_program_fits_into_what_the_kernel_takes():
    assert len(PROGRAM) % 8 == 0
    assert len(PROGRAM) // 8 < _MAXINSNS


def test_every_jump_goes_forward_and_lands_inside():
    count = len(PROGRAM) // 8
    for position in range(count):
        code, true, false, k = struct.unpack_from("<HBBI", PROGRAM, 8 * position)
        jumps = (k,) if code == 0x05 else (true, false) if code in (0x15, 0x35) else ()
        assert all(position + 1 + jump < count for jump in jumps)


def test_no_number_takes_more_than_16_instructions_to_find():
    for number in range(600):
        entry = LINUX.entry(number)
        steps = walked(PROGRAM, number, (NOTHING,) * 6)
        if entry is not None and entry.when:
            steps = steps[: next(i for i, (code, k) in enumerate(steps) if code == 0x20 and k >= 16)]
        assert len(steps) <= 16, number


@pytest.mark.parametrize("entry", RULED, ids=lambda entry: entry.name)
def test_rules_cost_one_compare_for_each_value_at_most(entry):
    # A load, a mask and a return beside them.
    values = sum(len(rule.values) + 2 for rule in entry.when) + 1
    assert len(walked(PROGRAM, entry.number, (NOTHING,) * 6)) <= 16 + values


def test_a_verdict_without_rules_hangs_on_nothing_but_the_number():
    """So the kernel's bitmap of allowed numbers holds it and does not run the program (5.11 and later)."""
    for number in range(600):
        entry = LINUX.entry(number)
        if entry is None or not entry.when:
            loads = [k for code, k in walked(PROGRAM, number) if code == 0x20]
            assert loads == [4, 0], number


# -- programs of any table --------------------------------------------------------------------------


_RULE = st.builds(
    When,
    st.integers(0, 5),
    st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from(list(Plane)),
    st.sampled_from([Kind.EPERM, Kind.EINVAL]),
    st.sampled_from([0xFFFFFFFF, 0x7, 0xF0000007]),
)
_ROW = st.tuples(st.sampled_from(list(Plane)), st.sampled_from([Kind.EPERM, Kind.ENOSYS]), st.lists(_RULE, max_size=3))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 63), _ROW, max_size=64), st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_the_program_of_any_table_says_what_the_table_says(rows, args):
    abi = Abi("test", linux_number, 64)
    for number, (plane, error, rules) in rows.items():
        abi.table[number] = Entry(number, str(number), plane, None, None, "", tuple(rules), error)
    program = seccomp.build(abi)
    for number in range(70):
        entry = abi.entry(number)
        verdict = ENOSYS if entry is None else judge(entry, tuple(args))
        assert simulate(program, number, AUDIT_ARCH_X86_64, tuple(args)) == verdict


def test_a_table_with_many_rules_needs_far_jumps_and_has_them():
    abi = Abi("test", linux_number, 64)
    rules = [When(0, tuple(range(200)), Plane.NATIVE), When(1, tuple(range(200, 400)), Plane.STEER)]
    for number in range(0, 64, 3):
        abi.steer(number, str(number), when=rules)(lambda call: None)
        abi.native(number + 1 if number < 63 else 62, f"n{number}")
    program = seccomp.build(abi)
    for number in (0, 30, 63):
        entry = abi.entry(number)
        for args in ((0,) * 6, (199,) * 6, (500, 399, 0, 0, 0, 0), (500,) * 6):
            assert simulate(program, number, AUDIT_ARCH_X86_64, args) == judge(entry, args)


def test_a_log_stops_a_few_calls_and_one_more_by_its_flags():
    stop = RET_TRACE | TRACE_STEER
    program = build_stops({2, 257}, (56, 0x00800000))
    verdicts = {(number, first): simulate(program, number, AUDIT_ARCH_X86_64, (first, 0, 0, 0, 0, 0))
                for number in (0, 2, 55, 56, 57, 257, 258) for first in (17, 0x00800011)}  # fmt: skip
    assert {call for call, verdict in verdicts.items() if verdict == stop} == {
        (2, 17), (2, 0x00800011), (257, 17), (257, 0x00800011), (56, 0x00800011),
    }  # fmt: skip
    assert set(verdicts.values()) == {stop, RET_ALLOW}
    assert simulate(build_stops({56}, (56, 1)), 56, AUDIT_ARCH_X86_64) == stop
    assert simulate(program, 0, AUDIT_ARCH_I386) == stop


def test_reads_of_one_descriptor_stop_and_nothing_else():
    program = build_reads(7)
    assert simulate(program, 0, AUDIT_ARCH_X86_64, (7, 0, 128, 0, 0, 0)) == RET_TRACE | TRACE_READ
    x86 = AUDIT_ARCH_X86_64
    for number, arch, fd in ((0, x86, 8), (1, x86, 7), (0, AUDIT_ARCH_I386, 7), (X32_BIT, x86, 7)):
        assert simulate(program, number, arch, (fd, 0, 128, 0, 0, 0)) == RET_ALLOW
