"""The seccomp program of a profile that somebody gives a sandbox: by names, actions and conditions on arguments.

It is a filter of its own, installed behind the sandbox's: the kernel asks both and takes the stricter word, so what the profile
forbids never reaches the supervisor, and what it allows is the sandbox's to judge as ever.  A call through ``int 0x80`` is let
through to the sandbox's filter, and judged here when it comes again as what it stands for.

A call that the supervisor makes in the place of a guest's (a pause to wait in, an openat for an open) carries a mark in its
sixth argument that the guest cannot know; it has been judged as what the guest made of it.
"""

from __future__ import annotations

from tracer.bpf import AUDIT_ARCH_X86_64, RET_ALLOW, X32_BIT, Assembler, tree

RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO, RET_LOG = 0x80000000, 0, 0x00030000, 0x00050000, 0x7FFC0000
_LD_ABS, _AND, _JA, _JEQ, _JGT, _JGE = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35
_NR, _ARCH, _ARGS = 0, 4, 16
_LOW = 0xFFFFFFFF
_MARKED = 5  # the argument that carries the mark


class Condition:
    """Argument number `index`, as 64 bits, compared with `value`: by EQ, NE, LT, LE, GT, GE, or, masked by it, with `other`."""

    __slots__ = ("index", "op", "other", "value")

    def __init__(self, index: int, op: str, value: int, other: int = 0) -> None:
        self.index = index
        self.op = op
        self.value = value
        self.other = other


class Profile:
    """`default` and the results of `rules` (number -> (conditions, result), the first that holds counts) are return values.

    A number above `highest` is ENOSYS: whoever wrote the profile knew no such call.
    """

    __slots__ = ("default", "highest", "rules")

    def __init__(self, default: int) -> None:
        self.default = default
        self.rules: dict[int, list[tuple[list[Condition], int]]] = {}
        self.highest: int | None = None

    def add(self, number: int, conditions: list[Condition], result: int) -> None:
        """One more rule; one without conditions stands alone, as libseccomp has it."""
        rules = self.rules.setdefault(number, [])
        if not conditions and any(not kept for kept, _ in rules):
            return
        if not conditions:
            rules.clear()
        elif rules and not rules[0][0]:
            return
        rules.append((conditions, result))

    def program(self, mark: int) -> bytes:
        """The program, an array of ``struct sock_filter``, for a sandbox with this mark of 64 bits.

        What is always allowed hangs on the number alone: so the kernel does not run the program for it (`tracer.seccomp`).
        """
        code = Assembler()
        runs: list[tuple[int, object]] = [(0, self._verdict(0))]
        for number in range(1, max(self.rules, default=0) + 2):
            verdict = self._verdict(number)
            if verdict != runs[-1][1]:
                runs.append((number, verdict))
        beyond = self.default
        if self.highest is not None:
            beyond = RET_ERRNO | 38
            if runs[-1][0] <= self.highest:
                runs.append((self.highest + 1, beyond))
            else:
                runs[-1] = (self.highest + 1, beyond)
        runs.append((X32_BIT, RET_ALLOW))  # none of the sandbox's calls: it says so itself

        def put(verdict) -> int:
            if verdict == RET_ALLOW:
                return code.ret(RET_ALLOW)
            judged = code.ret(verdict) if isinstance(verdict, int) else self._rules(code, verdict)
            own = Condition(_MARKED, "EQ", mark)
            return _compare(code, own, code.ret(RET_ALLOW), judged)

        numbers = tree(code, runs, put)
        allowed = code.ret(RET_ALLOW)
        code.put(_JA, code.here() - numbers)
        load = code.put(_LD_ABS, _NR)
        code.put(_JEQ, AUDIT_ARCH_X86_64, load, allowed)
        code.put(_LD_ABS, _ARCH)
        return code.bytes()

    def _verdict(self, number: int):
        rules = self.rules.get(number)
        if rules is None:
            return self.default
        return rules[0][1] if not rules[0][0] else tuple((tuple(conditions), result) for conditions, result in rules)

    def _rules(self, code: Assembler, rules) -> int:
        target = code.ret(self.default)
        for conditions, result in reversed(rules):
            holds, otherwise = code.ret(result), target
            for condition in reversed(conditions):
                holds = _compare(code, condition, holds, otherwise)
            target = holds
        return target


def _compare(code: Assembler, condition: Condition, yes: int, no: int) -> int:
    """The code of one condition, which goes on at `yes` or `no`; its address."""
    value, op = condition.value, condition.op
    at = _ARGS + 8 * condition.index
    if op in ("NE", "LT", "LE"):
        yes, no = no, yes
        op = {"NE": "EQ", "LT": "GE", "LE": "GT"}[op]
    if op == "MASKED_EQ":
        wanted = condition.other & value
        low = code.put(_JEQ, wanted & _LOW, yes, no)
        low = code.put(_AND, value & _LOW)
        low = code.put(_LD_ABS, at)
        code.put(_JEQ, wanted >> 32, low, no)
        code.put(_AND, value >> 32)
        return code.put(_LD_ABS, at + 4)
    jump = {"EQ": _JEQ, "GE": _JGE, "GT": _JGT}[op]
    low = code.put(jump, value & _LOW, yes, no)
    low = code.put(_LD_ABS, at)
    high = code.put(_JEQ, value >> 32, low, no)
    if op != "EQ":
        high = code.put(_JGT, value >> 32, yes, high)
    return code.put(_LD_ABS, at + 4)
