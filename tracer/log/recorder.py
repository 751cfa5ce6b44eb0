"""From what a tracer sees (registers, memory, wait statuses) to events for the sinks.

Both tracers use it: `tracer.log.host` for programs on the host, the supervisor for a sandbox.  A task is known to it as
a `Subject`.
"""

from __future__ import annotations

import os
import signal as signals
import time

from abi.decoding.calls import SIGNATURES, UNKNOWN
from abi.decoding.signals import siginfo, signal_name
from abi.decoding.values import ERRNO_NAMES, Signature, Style, View, hex_result, hexadecimal, result_of, signed64
from abi.decoding.values import call as call_signature
from abi.messages import say
from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Sink, Stopped

_now = time.time
_TICK = 0.1  # seconds


class Subject:
    """A task as the log names it: `tid` and `pid` as whoever reads the log knows them.

    `memory` has `read_some`; `descriptor(fd)` tells what a descriptor is of.  `open` is the call under way; `view` and
    `signature` are how it reads, or how the last one read.
    """

    __slots__ = ("descriptor", "former", "memory", "open", "pid", "signature", "tid", "view")

    def __init__(self, tid: int, pid: int, memory, descriptor) -> None:
        self.tid = tid
        self.pid = pid
        self.memory = memory
        self.descriptor = descriptor
        self.open: Call | None = None
        self.former = ""  # the call before it, by name
        self.view: View | None = None
        self.signature = None

    def take_over(self, former: Subject) -> None:
        """`former`, which made the call under way, goes on as this task: a thread has executed a program."""
        self.open, former.open = former.open, None
        self.signature, self.former = former.signature, former.former
        self.view, former.view = former.view, None
        if self.view is not None:
            self.view.memory, self.view.descriptor = self.memory, self.descriptor


def _others(abi: str, name: str) -> Signature:
    """The signature of a call of another ABI than linux; its structures would have another layout."""
    if abi == "host":
        from abi.decoding import host

        return host.CALLS.get(name, UNKNOWN)
    return UNKNOWN


def _raw(name: str, signature: Signature) -> Signature:
    """A call as the registers have it, with as many arguments as the kernel takes."""
    from ptrace.syscall.prototypes import SYSCALL_PROTOTYPES

    known = SYSCALL_PROTOTYPES.get(name)
    count = len(known[1]) if known is not None else len(signature.arguments)
    return call_signature(*[hexadecimal] * count, result=hex_result)


class Recorder:
    """Makes events; `names[abi]` maps numbers to names, `choice` says what is wanted."""

    def __init__(self, choice, style: Style, sinks: list[Sink], names: dict[str, dict[int, str]]) -> None:
        self.choice = choice
        self.style = style
        self.sinks = sinks
        self.names = names
        self.idle = False  # set by the tracer while it waits: only then may a tick disturb the sinks
        self.bare = not choice.paths and all(getattr(sink, "bare", False) for sink in sinks)  # nobody reads arguments
        self.programs = any(getattr(sink, "programs", True) for sink in sinks)  # somebody reads `Executed.path`
        self._raw = [sink for sink in sinks if getattr(sink, "raw", False)]
        self._begun = [sink.begun for sink in sinks]
        self._ended = [sink.ended for sink in sinks]
        self._paths = bool(choice.paths)
        self._held = choice.by_outcome  # whether a call is shown only once its end is known
        self._plans: dict[str, dict[int, tuple[str, Signature | None, Style]]] = {abi: {} for abi in names}
        self._unreadable: set[str] = set()  # calls whose reader has failed

    # -- calls --------------------------------------------------------------------------------

    def name(self, abi: str, number: int) -> str:
        """The call's name; ``syscall_0x1ff`` where it has none."""
        return self.names[abi].get(number) or f"syscall_{number & 0xFFFFFFFF:#x}"

    def begin(self, subject: Subject, number: int, args: tuple[int, ...], abi: str = "linux", plane: str | None = None) -> bool:
        """A call is about to be made; whether its end is wanted."""
        plan = self._plans[abi].get(number)
        if plan is None:
            plan = self._plan(abi, number)
        name, signature, style = plan
        if signature is None:
            return False
        subject.open = call = Call(_now(), subject.tid, subject.pid, name, number, abi, plane=plane)
        if self.bare:
            return True
        view = subject.view
        if view is None:
            subject.view = view = View(number, args, subject.memory, style, subject.descriptor)
        else:  # what was there for its last call
            view.number = number
            view.args = args
            view.style = style
            view.value = view.kept = None
            view.error = 0
        view.former, subject.former = subject.former, name
        try:
            if self._paths and not self.choice.touches(signature, view):
                subject.open = None
                return False
            call.args = words = signature.early(view)
            for sink in self._raw:
                sink.entered(subject, call, view)
        except Exception as problem:
            signature = UNKNOWN
            call.args = words = signature.early(view)
            self._unread(name, problem)
        subject.signature = signature
        call.split = len(words)
        call.partial = view.partial
        call.joins = signature.joins
        if not self._held:
            for begun in self._begun:
                begun(call)
        return True

    def _plan(self, abi: str, number: int) -> tuple[str, Signature | None, Style]:
        """A call's name, how it reads, None for one that is not wanted, and how much of it."""
        name = self.name(abi, number)
        signature = None
        if name in self.choice:
            try:
                signature = SIGNATURES[name] if abi == "linux" else _others(abi, name)
                if name in self.choice.raw:
                    signature = _raw(name, signature)
            except Exception as problem:
                signature = UNKNOWN
                self._unread(name, problem)
        plan = name, signature, self._style(name)
        if number in self.names[abi]:  # else a program could fill the memory with numbers
            self._plans[abi][number] = plan
        return plan

    def _style(self, name: str) -> Style:
        style, brief, followed = self.style, self.choice.brief, self.choice.followed
        if brief is None and followed is None:
            return style
        whole = style.verbose if brief is None else name not in brief
        return Style(style.strings, style.paths, whole, followed is None or name in followed)

    def end(self, subject: Subject, value: int, plane: str | None = None) -> None:
        """The call under way has returned `value` (unsigned or signed; a negative errno for failure)."""
        call = subject.open
        if call is None:
            return
        subject.open = None
        call.duration = _now() - call.time
        if value >> 63:
            value = signed64(value)
        call.value = value
        if plane is not None:
            call.plane = plane
        number = -value if -4096 < value < 0 else 0
        if number:
            call.error = ERRNO_NAMES.get(number)
        if not self.bare:
            view, signature = subject.view, subject.signature
            view.value, view.error = value, number
            try:
                if call.partial:
                    call.args += signature.late(view)
                call.result = result_of(signature, view)
                for sink in self._raw:
                    sink.returned(subject, call, view)
            except Exception as problem:
                call.result = result_of(UNKNOWN, view)
                self._unread(call.name, problem)
        if self._held:
            self._show_end(call)
        else:
            for ended in self._ended:
                ended(call)

    def fail(self, subject: Subject, code: int, name: str) -> None:
        """The call under way failed in the way of the host ABI, with a positive code."""
        call = subject.open
        if call is None:
            return
        subject.open = None
        call.duration = _now() - call.time
        call.value, call.error = code, name
        call.result = f"{code} {name} (failed)"
        self._show_end(call)

    def abandon(self, subject: Subject) -> None:
        """The task ended, or was let go, in the middle of its call; or the call is one that never returns."""
        call = subject.open
        if call is None:
            return
        subject.open = None
        call.unfinished = call.name not in ("exit", "exit_group")
        call.duration = None
        self._show_end(call)

    def _unread(self, name: str, problem: Exception) -> None:
        """A reader failed, which must not hurt the program: the call is shown in numbers.

        Said once for each call; not at all for want of descriptors or the like, which is nobody's bug.
        """
        if isinstance(problem, OSError) or name in self._unreadable:
            return
        self._unreadable.add(name)
        say(f"bug in reading {name} for the log: {problem!r}")

    def _show_end(self, call: Call) -> None:
        if self._held:
            if not self.choice.wants_outcome(call):
                return
            call.split = len(call.args)
            call.partial &= call.unfinished
            for begun in self._begun:
                begun(call)
        for ended in self._ended:
            ended(call)

    # -- everything else ----------------------------------------------------------------------

    def _tell(self, event) -> None:
        for sink in self.sinks:
            sink.happened(event)

    def signal(self, subject: Subject, number: int, info: bytes) -> None:
        """A signal is about to be delivered."""
        name = signal_name(number)
        if self.choice.wants_signal(name):
            view = View(0, (0,) * 6, subject.memory, self.style, subject.descriptor)
            self._tell(Signal(_now(), subject.tid, name, siginfo(view, info)))

    def stopped(self, subject: Subject, number: int) -> None:
        name = signal_name(number)
        if self.choice.wants_signal(name):
            self._tell(Stopped(_now(), subject.tid, name))

    def born(self, subject: Subject, parent: int, kind: str) -> None:
        self._tell(Born(_now(), subject.tid, subject.pid, parent, kind))

    def executed(self, subject: Subject, former: int, path: str) -> None:
        """`former` made the call; its place, and the process's number, are now `subject`'s."""
        self._tell(Executed(_now(), subject.tid, former, path))

    def ended(self, subject: Subject, status: int) -> None:
        """A wait status says that the task is gone."""
        self.abandon(subject)
        if os.WIFEXITED(status):
            event = Ended(_now(), subject.tid, subject.pid, os.WEXITSTATUS(status), None)
        else:
            event = Ended(_now(), subject.tid, subject.pid, None, signal_name(os.WTERMSIG(status)), os.WCOREDUMP(status))
        self._tell(event)

    def detached(self, subject: Subject) -> None:
        if subject.open is not None:
            subject.open.detached = True
        self.abandon(subject)
        self._tell(Detached(_now(), subject.tid))

    # -- time ---------------------------------------------------------------------------------

    def start_ticking(self, also) -> None:
        """Have the sinks show what they hold, ten times a second while the tracer waits, and call `also`."""

        def tick(number, frame) -> None:
            if self.idle:
                also()
                self.tick()

        signals.signal(signals.SIGALRM, tick)
        signals.setitimer(signals.ITIMER_REAL, _TICK, _TICK)

    def tick(self) -> None:
        """What the sinks hold is to be seen."""
        for sink in self.sinks:
            sink.tick()

    def close(self) -> None:
        signals.setitimer(signals.ITIMER_REAL, 0)
        for sink in self.sinks:
            sink.close()
