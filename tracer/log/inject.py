"""Tampering with calls: ``-e inject=`` and ``-e fault=``, in the words and with the meaning of strace(1).

Three steps, so that both tracers share the first two: `parse` reads an expression, `Injector.decide` says what is to be
done to the call at hand, and `HostInjector` does it with ptrace.  A call that is not logged is not tampered with, and
the execve that starts the command never is, as in strace.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from abi.errors import LinuxErrno
from tracer import ptrace
from vfs.kernel import quick

_FOR_EVER = 1e9  # seconds, of which timers do not take any number
_MOST = 0xFFFF  # of an invocation's number, a step
_DELAY = re.compile(r"(\d+(?:\.\d+)?)(s|ms|us|ns)?")
_SIGINFO = struct.Struct("<iii4xi")  # siginfo_t: si_signo, si_errno, si_code, si_pid
_SI_TKILL, _SI_KERNEL = -6, 0x80
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, None: 1e-6, "ns": 1e-9}
_WHEN = re.compile(r"(\d+)(?:\.\.(\d+))?(?:(\+)(\d+)?)?")

#: Calls without effects, which may be made in place of another: their numbers on x86-64 and on i386.
PURE = {
    "getegid": (108, 202),
    "geteuid": (107, 201),
    "getgid": (104, 200),
    "getpgrp": (111, 65),
    "getpid": (39, 20),
    "getppid": (110, 64),
    "gettid": (186, 224),
    "getuid": (102, 199),
}


class InjectionError(ValueError):
    """An expression that cannot be understood; the text is one line for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Injected:
    """What is done to one call.

    `value`: the result, signed, a negative errno for a failure; the call itself is then not made, or `syscall`, one of
    `PURE`, in its place.  None leaves it alone.  `signal`: a number, delivered as the call is entered, 0 for none.
    `delay_enter`, `delay_exit`: seconds.
    """

    value: int | None = None
    signal: int = 0
    syscall: str | None = None
    delay_enter: float | None = None
    delay_exit: float | None = None

    @property
    def marks(self) -> str | None:
        """What the log says of it, for `tracer.log.events.Call.injected`."""
        words = []
        if self.value is not None:
            words.append("INJECTED")
        if self.delay_enter is not None or self.delay_exit is not None:
            words.append("DELAYED")
        return " ".join(words) or None


@dataclass(frozen=True, slots=True)
class Injection:
    """An expression: what is done to the `calls` (names), at which of a task's invocations, counted from 1.

    `last` None is without end; `step` 0 is `first` only.
    """

    calls: frozenset[str]
    what: Injected
    first: int = 1
    last: int | None = None
    step: int = 1

    def applies(self, count: int) -> bool:
        """Whether the invocation with this number is meant."""
        if count < self.first or (self.last is not None and count > self.last):
            return False
        return (count - self.first) % self.step == 0 if self.step else count == self.first


def parse(text: str, calls: Callable[[str], frozenset[str]], fault: bool = False) -> Injection:
    """Read what stands behind ``inject=``, or behind ``fault=``: ``SET[:error=ENOENT][:when=3+]``...

    `calls` gives the names of a set, as for ``-e trace=``, and raises ``ValueError``.  `InjectionError` (a ValueError).
    """
    option = "fault" if fault else "inject"
    names, *rest = text.split(":")
    found: dict[str, str] = {}
    for word in filter(None, rest):
        key, equals, value = word.partition("=")
        if key not in _READ or (fault and key not in ("error", "when")):
            known = ("error", "when") if fault else _READ
            raise InjectionError(f"-e {option}={text}: {key} is not known, only {', '.join(known)}")
        if not equals or not value:
            raise InjectionError(f"-e {option}={text}: {key} needs a value")
        if key in found and key != "when":
            raise InjectionError(f"-e {option}={text}: {key} is given twice")
        found[key] = value
    if fault:
        found.setdefault("error", "ENOSYS")
    read = {}
    for key, value in found.items():
        try:
            read[key] = _READ[key](value)
        except ValueError as problem:
            raise InjectionError(f"-e {option}={text}: {key}={value}: {problem}") from None
    if "error" in read and "retval" in read:
        raise InjectionError(f"-e {option}={text}: error and retval exclude each other")
    if not read.keys() - {"when", "syscall"}:
        raise InjectionError(f"-e {option}={text}: say what to do: error, retval, signal, delay_enter or delay_exit")
    first, last, step = read.pop("when", (1, None, 1))
    value = -read.pop("error") if "error" in read else read.pop("retval", None)
    if "syscall" in read and value is None:
        raise InjectionError(f"-e {option}={text}: syscall goes with error or retval")
    return Injection(calls(names), Injected(value, **read), first, last, step)


# -- values -----------------------------------------------------------------------------------------


def _error(text: str) -> int:
    if text.isdecimal():
        if 1 <= int(text) <= 4095:
            return int(text)
        raise ValueError("errors are 1 to 4095")
    try:
        return int(LinuxErrno[text.upper()])
    except KeyError:
        raise ValueError("not an error's name, such as ENOENT") from None


def _retval(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise ValueError("not a number") from None
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError("more than 64 bits")
    return value - (1 << 64) if value >> 63 == 1 else value


def _signal(text: str) -> int:
    from abi.decoding.processes import signal_name

    if text.isdecimal():
        if 1 <= int(text) <= 64:
            return int(text)
        raise ValueError("signals are 1 to 64")
    name = text.upper().removeprefix("SIG")
    for number in range(1, 65):
        if signal_name(number) == f"SIG{name}":
            return number
    try:  # SIGRTMIN, SIGIOT and the like
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise ValueError("not a signal's name, such as SIGUSR1") from None


def _syscall(text: str) -> str:
    if text not in PURE:
        raise ValueError(f"only a call without effects can be put in its place: {', '.join(PURE)}")
    return text


def _delay(text: str) -> float:
    match = _DELAY.fullmatch(text)
    if match is None:
        raise ValueError("a delay is a number of microseconds, or one with s, ms, us or ns behind it")
    return min(float(match[1]) * _UNITS[match[2]], _FOR_EVER)


def _poke(text: str) -> None:
    raise ValueError("changing memory is not supported")


def _when(text: str) -> tuple[int, int | None, int]:
    match = _WHEN.fullmatch(text)
    if match is None:
        raise ValueError("it is FIRST, FIRST+, FIRST+STEP, FIRST..LAST or FIRST..LAST+STEP")
    first = int(match[1])
    last = int(match[2]) if match[2] else None
    step = int(match[4]) if match[4] else 1 if match[3] or last is not None else 0
    if not all(1 <= number <= _MOST for number in (first, last or 1, step if match[4] else 1)) or last == 0:
        raise ValueError(f"numbers are 1 to {_MOST}")
    if last is not None and last < first:
        raise ValueError("the last is before the first")
    return first, last, step


_READ = {
    "error": _error,
    "retval": _retval,
    "signal": _signal,
    "syscall": _syscall,
    "delay_enter": _delay,
    "delay_exit": _delay,
    "poke_enter": _poke,
    "poke_exit": _poke,
    "when": _when,
}


# -- deciding ---------------------------------------------------------------------------------------


class Injector:
    """Decides, call by call.  Of several injections that name a call the last counts."""

    def __init__(self, injections: list[Injection]) -> None:
        self._of = {name: injection for injection in injections for name in injection.calls}
        self._counts: dict[int, dict[str, int]] = {}

    def decide(self, tid: int, name: str) -> Injected | None:
        """What is done to the call that task `tid` is about to make; it is counted by this, for each task and call."""
        injection = self._of.get(name)
        if injection is None:
            return None
        counts = self._counts.setdefault(tid, {})
        counts[name] = count = counts.get(name, 0) + 1
        return injection.what if injection.applies(count) else None

    def gone(self, tid: int) -> None:
        """The task is gone; its number may be another's."""
        self._counts.pop(tid, None)


# -- doing ------------------------------------------------------------------------------------------


class HostInjector(Injector):
    """Does it with ptrace, for `tracer.log.host`."""

    def __init__(self, injections: list[Injection]) -> None:
        super().__init__(injections)
        self._under_way: dict[object, Injected] = {}
        self._held: dict[object, float] = {}  # task -> when it goes on, by time.monotonic

    def at_begin(self, task, recorder, number: int, abi: str) -> None:
        """`task` stands at the begin of a call that is logged."""
        what = self.decide(task.tid, recorder.name(abi, number))
        if what is None:
            return
        self._under_way[task] = what
        task.open.injected = what.marks
        if what.value is not None:
            registers = ptrace.getregs(task.tid)
            if what.syscall is not None:
                registers[ptrace.ORIG_RAX] = PURE[what.syscall][abi == "i386"]
            else:
                registers[ptrace.ORIG_RAX] = ptrace.U64  # no call; what is in rax now is its result
                registers[ptrace.RAX] = what.value & ptrace.U64
            ptrace.setregs(task.tid, registers)
        if what.delay_enter is not None:
            self._held[task] = time.monotonic() + what.delay_enter
        if what.signal:  # not with the request to go on: from the stop that a filter makes the kernel takes none
            quick.tgkill(task.pid, task.tid, what.signal)

    def at_signal(self, task, info: bytes) -> bytes:
        """A signal is about to be delivered: one of ours comes from the kernel, for all the task can tell."""
        number, _, code, sender = _SIGINFO.unpack_from(info)
        if code != _SI_TKILL or sender != os.getpid():
            return info
        info = _SIGINFO.pack(number, 0, _SI_KERNEL, 0).ljust(len(info), b"\0")
        ptrace.set_siginfo(task.tid, info)
        return info

    def at_end(self, task, value: int) -> int:
        """The call is over with `value`; the result that the task gets."""
        what = self._under_way.pop(task, None)
        if what is None:
            return value
        if what.delay_exit is not None:
            self._held[task] = time.monotonic() + what.delay_exit
        if what.value is None or what.value == value:
            return value
        registers = ptrace.getregs(task.tid)
        registers[ptrace.RAX] = what.value & ptrace.U64
        ptrace.setregs(task.tid, registers)
        return what.value

    def holds(self, task) -> bool:
        """Whether the task is to stay at its stop for now."""
        return task in self._held

    def forget(self, task) -> None:
        """The task is gone, or let go."""
        self.gone(task.tid)
        self._under_way.pop(task, None)
        self._held.pop(task, None)

    def patience(self) -> float | None:
        """Seconds until a task that is held is to go on, at least 0; None where none is held."""
        return max(0.0, min(self._held.values()) - time.monotonic()) if self._held else None

    def release(self, everything: bool = False) -> list:
        """The tasks that are to go on now."""
        now = time.monotonic()
        due = [task for task, moment in self._held.items() if everything or moment <= now]
        for task in due:
            del self._held[task]
        return due
