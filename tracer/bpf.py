"""Seccomp programs: an assembler for them, and the program of a log of programs on the host.

seccomp(2), Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import struct

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
X32_BIT = 0x40000000

RET_KILL_PROCESS = 0x80000000
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_ALLOW = 0x7FFF0000

#: SECCOMP_RET_DATA of the kinds of stop.
TRACE_STEER, TRACE_GATE, TRACE_READ = 0x4931, 0x4932, 0x4933
ABSENT = -1  # no call's number
_READ = 0

LD_ABS = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JA, JEQ, JGT, JGE = 0x05, 0x15, 0x25, 0x35  # BPF_JMP | ... | BPF_K
RET = 0x06
NR, ARCH, ARGS = 0, 4, 16  # offsets in struct seccomp_data
INSTRUCTION = struct.Struct("<HBBI")


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
        if code in (JEQ, JGT, JGE):
            jumps = [len(self._code) - target for target in (true, false)]
            if max(jumps) > 255:  # a jump that far needs a step of its own
                true, false = (
                    self.put(JA, len(self._code) - target) if len(self._code) - target > 250 else target
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
            known = self._returns[action] = self.put(RET, action)
        return known

    def bytes(self) -> bytes:
        return b"".join(INSTRUCTION.pack(*instruction) for instruction in reversed(self._code))


def tree(code: Assembler, runs: list[tuple[int, object]], put) -> int:
    """The code that tells the runs apart by a number at hand, each ending in what `put(verdict)` makes; its address."""
    if len(runs) == 1:
        return put(runs[0][1])
    middle = len(runs) // 2
    upper = tree(code, runs[middle:], put)
    lower = tree(code, runs[:middle], put)
    return code.put(JGE, runs[middle][0], upper, lower)


def build_reads(fd: int) -> bytes:
    """The program that stops read(2) of one descriptor, for a process that has one whose words are the supervisor's to judge."""
    code = Assembler()
    go = code.ret(RET_ALLOW)
    code.put(JEQ, fd, code.ret(RET_TRACE | TRACE_READ), go)
    load = code.put(LD_ABS, ARGS)
    code.put(JEQ, _READ, load, go)
    load = code.put(LD_ABS, NR)
    code.put(JEQ, AUDIT_ARCH_X86_64, load, go)
    code.put(LD_ABS, ARCH)
    return code.bytes()


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
        code.put(JEQ, 0, code.ret(go), code.ret(stop))
        code.put(AND, bits)
        return code.put(LD_ABS, ARGS)

    select = tree(code, runs, put)
    other = code.ret(stop)
    code.put(JA, code.here() - select)
    load = code.put(LD_ABS, NR)
    code.put(JEQ, AUDIT_ARCH_X86_64, load, other)
    code.put(LD_ABS, ARCH)
    return code.bytes()
