"""The seccomp program of a sandbox, built from its table.

A call is found by a balanced tree of compares over runs of numbers with the same verdict, so the longest
way is about seven jumps; and since a wholly native number depends on nothing but itself, the kernel
(5.11 and later) notes it in a bitmap when the program is installed and does not run the program for it at
all.  seccomp(2), Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import struct

from abi.dispatch import Abi, Entry, Plane
from abi.errors import LinuxErrno
from tracer.bpf import (
    ABSENT,
    AND,
    ARCH,
    ARGS,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    INSTRUCTION,
    JA,
    JEQ,
    JGE,
    JGT,
    LD_ABS,
    NR,
    RET,
    RET_ALLOW,
    RET_ERRNO,
    RET_TRACE,
    RET_USER_NOTIF,
    TRACE_GATE,
    TRACE_STEER,
    Assembler,
    tree,
)

_ENOSYS = RET_ERRNO | LinuxErrno.ENOSYS


def action(plane: Plane, error) -> int:
    """The seccomp return value of a plane."""
    match plane:
        case Plane.NATIVE:
            return RET_ALLOW
        case Plane.ANSWER:
            return RET_USER_NOTIF
        case Plane.STEER:
            return RET_TRACE | TRACE_STEER
    return RET_ERRNO | LinuxErrno[error.name]


def _verdict(entry: Entry, planes: dict[int, Plane], watch: frozenset[int]):
    """What tells two numbers' verdicts apart: a return value, or the entry itself where arguments count."""
    if entry.when:
        return entry
    return _watched(action(planes.get(entry.number, entry.plane), entry.error), entry, watch)


def _watched(verdict: int, entry: Entry, watch: frozenset[int]) -> int:
    """A log wants to see what the kernel would do, or refuse, without a word."""
    return verdict if verdict == RET_USER_NOTIF or entry.number not in watch else RET_TRACE | TRACE_STEER


def _rules(code: Assembler, entry: Entry, planes: dict[int, Plane], watch: frozenset[int]) -> int:
    """The code of an entry whose plane hangs on arguments; its address."""
    override = planes.get(entry.number)
    default = override if override and entry.plane is not Plane.REFUSE else entry.plane
    target = code.ret(_watched(action(default, entry.error), entry, watch))
    for rule in reversed(entry.when):
        plane = override if override and rule.plane is Plane.NATIVE else rule.plane
        match_action = code.ret(_watched(action(plane, rule.error), entry, watch))
        otherwise = target
        for value in rule.values:
            target = code.put(JEQ, value, match_action, target)
        if rule.mask != 0xFFFFFFFF:
            target = code.put(AND, rule.mask)
        target = code.put(LD_ABS, ARGS + 8 * rule.arg)
        if rule.whole:
            target = code.put(JEQ, 0, target, otherwise)
            target = code.put(LD_ABS, ARGS + 8 * rule.arg + 4)
    return target


def build(
    abi: Abi, planes: dict[int, Plane] | None = None, report: bool = False, watch: frozenset[int] = frozenset()
) -> bytes:
    """The program (an array of ``struct sock_filter``) for a table.

    `planes` moves single numbers to another plane, for options of one sandbox; only what an entry leaves
    native by argument follows it, never what it refuses.  With `report`, calls that do not exist or are refused
    whole stop the caller, so that they can be spoken of.  Calls in `watch` stop it too, unless the supervisor answers them
    anyhow: they are to be logged.  `ABSENT` among them stands for every number that is no call's.
    """
    planes = dict(planes or {})
    absent = RET_TRACE | TRACE_STEER if report or ABSENT in watch else _ENOSYS
    if report:
        planes |= {entry.number: Plane.STEER for entry in abi.table if entry and not entry.when and entry.plane is Plane.REFUSE}
    code = Assembler()
    runs: list[tuple[int, object]] = []  # (first number, verdict), up to the next one
    for number, entry in enumerate(abi.table):
        missing = RET_TRACE | TRACE_STEER if number in watch else absent
        verdict = missing if entry is None else _verdict(entry, planes, watch)
        if not runs or runs[-1][1] != verdict:
            runs.append((number, verdict))
    runs.append((len(abi.table), absent))


    def put(verdict) -> int:
        return _rules(code, verdict, planes, watch) if isinstance(verdict, Entry) else code.ret(verdict)

    numbers = tree(code, runs, put)
    gate = code.ret(RET_TRACE | TRACE_GATE)
    other = code.put(JEQ, AUDIT_ARCH_I386, gate, code.ret(_ENOSYS))
    code.put(JA, code.here() - numbers)
    load = code.put(LD_ABS, NR)
    code.put(JEQ, AUDIT_ARCH_X86_64, load, other)
    code.put(LD_ABS, ARCH)
    return code.bytes()


def simulate(program: bytes, number: int, arch: int, args: tuple[int, ...] = (0,) * 6) -> int:
    """What the kernel would return for a call: the tests' check on `build`."""
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *args)
    position = accumulator = 0
    while True:
        code, true, false, k = INSTRUCTION.unpack_from(program, position * 8)
        position += 1
        match code:
            case c if c == LD_ABS:
                accumulator = int.from_bytes(data[k : k + 4], "little")
            case c if c == AND:
                accumulator &= k
            case c if c == JA:
                position += k
            case c if c == JEQ:
                position += true if accumulator == k else false
            case c if c == JGT:
                position += true if accumulator > k else false
            case c if c == JGE:
                position += true if accumulator >= k else false
            case c if c == RET:
                return k
