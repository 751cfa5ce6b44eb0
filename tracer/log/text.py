"""The log as lines, in the words of strace(1): ``name(arguments) = result``, unfinished calls and their resumption.

Plain here; `tracer.log.colour` paints the same lines.  A line under way is not even made until its end, or until somebody
else has something to say, so most calls are one line put together and one write into the buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container

from abi.decoding.values import View
from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Sink, Stopped
from tracer.log.output import write_all

COLUMN = 40  # where ``= `` stands (strace -a)
FINAL = ("exit", "exit_group")  # never return, so their lines are whole at once
_LARGE = 1 << 16


def resumer(call: Call) -> int:
    """The task that a call which was interrupted goes on in: a thread that executes a program becomes the process's first."""
    return call.pid if call.value == 0 and call.name in ("execve", "execveat") else call.tid


class Times:
    """How lines are dated: `clock` None, ``t``, ``tt`` or ``ttt``, `relative` the time since the line before (-r),
    `spent` what the call took (-T)."""

    __slots__ = ("_last", "clock", "relative", "spent")

    def __init__(self, clock: str | None = None, spent: bool = False, relative: bool = False) -> None:
        self.clock = clock
        self.spent = spent
        self.relative = relative
        self._last: float | None = None

    def prefix(self, moment: float) -> str:
        if not self.relative:
            return f"{self._dated(moment)} " if self.clock else ""
        last, self._last = self._last, moment
        since = f"{max(0.0, moment - last) if last is not None else 0.0:>13.6f}"
        return f"{self._dated(moment)} (+{since}) " if self.clock else f"{since} "

    def _dated(self, moment: float) -> str:
        match self.clock:
            case "t":
                return time.strftime("%H:%M:%S", time.localtime(moment))
            case "tt":
                return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1e6):06d}"
        return f"{moment:.6f}"


class Text(Sink):
    """Lines to a descriptor.

    `who`: ``always`` puts the task's number before each line, ``many`` once there is more than one task, ``never`` not
    at all.  `live` shows a call before it has returned, as a person at a terminal wants it.  `unsaid`: of strace's
    ``-e quiet=``, what is left out.  `dump(name, view)` gives the lines that are to stand below a call.
    """

    programs = False

    def __init__(
        self, fd: int, times: Times, who: str = "always", live: bool = False, column: int = COLUMN, unsaid: Container[str] = (),
        dump: Callable[[str, View], str] | None = None,
    ) -> None:  # fmt: skip
        self.fd = fd
        self.times = times
        self.who = who
        self.live = live
        self.column = column
        self.unsaid = unsaid
        self.raw = dump is not None  # the recorder shows its views
        self._dump = dump
        self._below: tuple[Call | None, str] = (None, "")
        self._numbered = who == "always" and times.clock is None and not times.relative  # nothing but the task's number
        self._marked = times.spent or dump is not None
        self._tasks = 0
        self._line: Call | None = None  # the call whose line stands unfinished
        self._begun = ""  # what of it is in the buffer already
        self._buffer: list[str] = []
        self._size = 0
        self._lost = False

    # -- lines --------------------------------------------------------------------------------

    def prefix(self, tid: int, moment: float) -> str:
        dated = self.times.prefix(moment)
        if self.who == "always":
            return f"{tid:<5} {dated}"
        if self.who == "many" and self._tasks > 1:
            return f"[pid {tid:>5}] {dated}"
        return dated

    def begun(self, call: Call) -> None:
        if self._line is not None:
            self._break_off()
        if call.name in FINAL:
            self._write((self._beginning(call) + ")").ljust(self.column - 1) + " = ?\n")
            return
        self._line = call
        if self.live:
            self._show()
            self.flush()

    def _beginning(self, call: Call) -> str:
        """A call's line as far as it is known at entry."""
        prefix = f"{call.tid:<5} " if self._numbered else self.prefix(call.tid, call.time)
        return f"{prefix}{call.name}({', '.join(call.args)}"

    def _show(self) -> None:
        """The line under way is to be seen, as far as it is known."""
        if not self._begun:
            self._begun = self._beginning(self._line)
            self._write(self._begun)

    def ended(self, call: Call) -> None:
        if self._line is not call:
            if call.name in FINAL and call.value is None:
                return
            self._break_off()
            tid = resumer(call)
            prefix = f"{tid:<5} " if self._numbered else self.prefix(tid, call.time + (call.duration or 0))
            text = f"{prefix}<... {call.name} resumed>"
            if len(call.args) > call.split:
                text += self._rest(call, call.joins)
            shown = 0
        else:
            self._line = None
            shown = 0
            if self._begun:
                text = self._begun + self._rest(call, call.split > 0)
                shown, self._begun = len(self._begun), ""
            elif call.joins:
                words, call.args = call.args, call.args[: call.split]
                text, call.args = self._beginning(call), words
                text += self._rest(call, call.split > 0)
            else:
                text = self._beginning(call)
            if call.unfinished:
                text += self._comma(call)
        if call.unfinished or self._marked or call.injected is not None or call.plane is not None:
            text = self._finished(text, call)
        else:
            text = f"{text})".ljust(self.column - 1) + f" = {call.result}\n"
        if shown:
            text = text[shown:]
        self._buffer.append(text)
        self._size += len(text)
        if self.live or self._size > _LARGE:
            self.flush()

    def _finished(self, text: str, call: Call) -> str:
        if call.detached:
            return f"{text} <detached ...>\n"
        text += " <unfinished ...>)" if call.unfinished and call.partial else ")"
        return f"{text.ljust(self.column - 1)} = {call.result}{self.marks(call)}\n{self._dumped(call)}"

    def entered(self, subject, call: Call, view: View) -> None:
        """Nothing is to be seen yet."""

    def returned(self, subject, call: Call, view: View) -> None:
        self._below = call, self._dump(call.name, view)

    def _dumped(self, call: Call) -> str:
        return self._below[1] if self._below[0] is call else ""

    @staticmethod
    def _rest(call: Call, follows: bool) -> str:
        """The arguments that the end added; `follows`: others stand before them."""
        words = call.args[call.split :]
        if call.joins:
            rest = "".join([word if word.startswith(" => ") else f", {word}" for word in words])
            return rest if follows else rest.removeprefix(", ")
        rest = ", ".join(words)
        return f", {rest}" if rest and follows else rest

    @staticmethod
    def _comma(call: Call) -> str:
        """What stands before ``<unfinished ...>`` where arguments were to come."""
        return ", " if call.partial and call.args and not call.joins else ""

    def marks(self, call: Call) -> str:
        """What stands behind the result."""
        marks = ""
        if call.injected and call.value is not None:
            for word in call.injected.split():
                marks += f" ({word})"
        if call.plane not in (None, "kernel"):
            marks += f" [{call.plane}]"
        if self.times.spent and call.duration is not None:
            marks += f" <{call.duration:.6f}>"
        return marks

    def happened(self, event) -> None:
        kind = type(event)
        if kind is Ended:
            if "exit" not in self.unsaid:
                core = " (core dumped)" if event.core else ""
                end = f"killed by {event.signal}{core}" if event.status is None else f"exited with {event.status}"
                self._say(event, f"+++ {end} +++")
            self._tasks -= 1
        elif kind is Signal:
            self._say(event, f"--- {event.name} {event.info} ---")
        elif kind is Born:
            self._tasks += 1
        elif kind is Executed:
            if event.former != event.tid and "thread-execve" not in self.unsaid:
                self._say(event, f"+++ superseded by execve in pid {event.former} +++")
        elif kind is Stopped:
            self._say(event, f"--- stopped by {event.name} ---")
        elif kind is Detached:
            self._break_off()
            self._tasks -= 1

    def _say(self, event, text: str) -> None:
        self._break_off()
        self._write(f"{self.prefix(event.tid, event.time)}{text}\n")
        if self.live:
            self.flush()

    def _break_off(self) -> None:
        """Somebody else has something to say: the line under way is to go on later."""
        call = self._line
        if call is not None:
            text = "" if self._begun else self._beginning(call)
            self._write(f"{text}{self._comma(call)} <unfinished ...>\n")
            self._line, self._begun = None, ""

    # -- writing ------------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        self._buffer.append(text)
        self._size += len(text)
        if self._size > _LARGE:
            self.flush()

    def flush(self) -> None:
        """Everything so far is with the kernel.  What it does not take is lost, and said once: the tasks are to go on."""
        if not self._buffer:
            return
        data = "".join(self._buffer).encode("utf-8", "surrogateescape")
        self._buffer.clear()
        self._size = 0
        self._lost = self._lost or not write_all(self.fd, data)

    def tick(self) -> None:
        if self._line is not None:
            self._show()
        self.flush()

    def close(self) -> None:
        self._break_off()
        self.flush()
