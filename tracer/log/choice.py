"""What is to be logged: which calls, by what outcome, on which paths, and which signals (strace's -e, -P, -z, -Z).

A call that is not chosen is not trapped: `filter_for` is the seccomp program that stops the chosen ones only.
"""

from __future__ import annotations

from abi.decoding.values import U64, Signature, View, descriptor, dirfd, path, signed32
from tracer.log.events import Call


class Choice:
    """`calls`: the names wanted, None for all.  `outcomes`: of ``successful``, ``failed``, ``unfinished``,
    ``unavailable`` and ``detached``, None for all.  `paths`: only calls that name one of them, or a descriptor of it.
    `signals`: names, None for all.
    """

    __slots__ = ("_known", "calls", "outcomes", "paths", "signals")

    def __init__(
        self, calls: frozenset[str] | None = None, outcomes: frozenset[str] | None = None,
        paths: frozenset[bytes] = frozenset(), signals: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        self.calls = calls
        self.outcomes = outcomes
        self.paths = paths
        self.signals = signals

    def __contains__(self, name: str) -> bool:
        return self.calls is None or name in self.calls

    @property
    def by_outcome(self) -> bool:
        """Whether a call can only be judged at its end."""
        return self.outcomes is not None

    def wants_outcome(self, call: Call) -> bool:
        if call.value is None:
            outcome = "unavailable" if not call.unfinished else "unfinished"
        else:
            outcome = "failed" if call.error is not None else "successful"
        return outcome in self.outcomes

    def wants_signal(self, name: str) -> bool:
        return self.signals is None or name in self.signals

    def touches(self, signature: Signature, view: View) -> bool:
        """Whether a call names one of the paths, or a descriptor that is open on one."""
        for index, printer in enumerate(signature.arguments):
            value = view.args[index]
            if printer is path:
                if view.string(value) in self.paths:
                    return True
            elif printer is descriptor or printer is dirfd:
                name = view.descriptor(signed32(value & U64))
                if name is not None and name.encode("utf-8", "surrogateescape") in self.paths:
                    return True
        return False


EVERYTHING = Choice()
