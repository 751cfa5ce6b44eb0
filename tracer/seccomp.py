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

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
X32_BIT = 0x40000000

RET_KILL_PROCESS = 0x80000000
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_ALLOW = 0x7FFF0000

#: SECCOMP_RET_DATA of the two kinds of stop.
TRACE_STEER, TRACE_GATE = 1, 2
ABSENT = -1  # no call's number

_LD_ABS = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JA, _JEQ, _JGT, _JGE = 0x05, 0x15, 0x25, 0x35  # BPF_JMP | ... | BPF_K
_RET = 0x06
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_INSTRUCTION = struct.Struct("<HBBI")
_ENOSYS = RET_ERRNO | LinuxErrno.ENOSYS


class Assembler:
    """Classic BPF written backwards: whoever is jumped to is already there."""

    def __init__(self) -> None:
        self._code: list[tuple[int, object, object, int]] = []  # last instruction first
        self._returns: dict[int, int] = {}

    def here(self) -> int:
        """The address (counted from the end) of the instruction put last."""
        return len(self._code)

    def put(self, code: int, k: int, true: int = 0, false: int = 0) -> int:
        """Put an instruction in front; `true` and `false` are addresses `here` gave.  Its own address."""
        if code in (_JEQ, _JGT, _JGE):
            jumps = [len(self._code) - target for target in (true, false)]
            if max(jumps) > 255:  # a jump that far needs a step of its own
                true, false = (
                    self.put(_JA, len(self._code) - target) if len(self._code) - target > 250 else target
                    for target in (true, false)
                )
                jumps = [len(self._code) - target for target in (true, false)]
            self._code.append((code, jumps[0], jumps[1], k))
        else:
            self._code.append((code, 0, 0, k))
        return len(self._code)

    def ret(self, action: int) -> int:
        """A return of `action`, shared where one is near."""
        known = self._returns.get(action)
        if known is None or len(self._code) - known > 200:
            known = self._returns[action] = self.put(_RET, action)
        return known

    def bytes(self) -> bytes:
        return b"".join(_INSTRUCTION.pack(*instruction) for instruction in reversed(self._code))


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
            target = code.put(_JEQ, value, match_action, target)
        if rule.mask != 0xFFFFFFFF:
            target = code.put(_AND, rule.mask)
        target = code.put(_LD_ABS, _ARGS + 8 * rule.arg)
        if rule.whole:
            target = code.put(_JEQ, 0, target, otherwise)
            target = code.put(_LD_ABS, _ARGS + 8 * rule.arg + 4)
    return target


def tree(code: Assembler, runs: list[tuple[int, object]], put) -> int:
    """The code that tells the runs apart by a number at hand, each ending in what `put(verdict)` makes; its address."""
    if len(runs) == 1:
        return put(runs[0][1])
    middle = len(runs) // 2
    upper = tree(code, runs[middle:], put)
    lower = tree(code, runs[:middle], put)
    return code.put(_JGE, runs[middle][0], upper, lower)


def build_stops(numbers: set[int], flagged: tuple[int, int] | None = None) -> bytes:
    """The program that stops the calls of these numbers, and all that are not of the x86-64 table, for a log.

    `flagged` is one more, and the bits of which its first argument must have one.
    """
    code = Assembler()
    stop, go = RET_TRACE | TRACE_STEER, RET_ALLOW
    some, bits = flagged if flagged is not None and flagged[0] not in numbers else (ABSENT, 0)
    runs: list[tuple[int, object]] = [(0, stop if 0 in numbers else go)]
    for number in range(1, max(*numbers, some, 0) + 2):
        verdict = stop if number in numbers else some if number == some else go
        if runs[-1][1] != verdict:
            runs.append((number, verdict))
    runs.append((X32_BIT, stop))

    def put(verdict: int) -> int:
        if verdict != some:
            return code.ret(verdict)
        code.put(_JEQ, 0, code.ret(go), code.ret(stop))
        code.put(_AND, bits)
        return code.put(_LD_ABS, _ARGS)

    select = tree(code, runs, put)
    other = code.ret(stop)
    code.put(_JA, code.here() - select)
    load = code.put(_LD_ABS, _NR)
    code.put(_JEQ, AUDIT_ARCH_X86_64, load, other)
    code.put(_LD_ABS, _ARCH)
    return code.bytes()


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
    other = code.put(_JEQ, AUDIT_ARCH_I386, gate, code.ret(_ENOSYS))
    code.put(_JA, code.here() - numbers)
    load = code.put(_LD_ABS, _NR)
    code.put(_JEQ, AUDIT_ARCH_X86_64, load, other)
    code.put(_LD_ABS, _ARCH)
    return code.bytes()


def simulate(program: bytes, number: int, arch: int, args: tuple[int, ...] = (0,) * 6) -> int:
    """What the kernel would return for a call: the tests' check on `build`."""
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *args)
    position = accumulator = 0
    while True:
        code, true, false, k = _INSTRUCTION.unpack_from(program, position * 8)
        position += 1
        match code:
            case c if c == _LD_ABS:
                accumulator = int.from_bytes(data[k : k + 4], "little")
            case c if c == _AND:
                accumulator &= k
            case c if c == _JA:
                position += k
            case c if c == _JEQ:
                position += true if accumulator == k else false
            case c if c == _JGT:
                position += true if accumulator > k else false
            case c if c == _JGE:
                position += true if accumulator >= k else false
            case c if c == _RET:
                return k
