"""The tree of processes at the end: what ran, who started it, how it ended, how long it took and what it asked for.

Threads are folded into their process.  It reads no arguments, so a trace for the tree alone is a quick one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tracer.log.events import Born, Call, Detached, Ended, Executed, Sink
from tracer.log.looks import drawn, duration
from tracer.log.output import Output, clean


@dataclass(slots=True, eq=False)
class Process:
    """A process that was seen; `begin` and `end` are seconds since the epoch, `spent` seconds in calls of all threads."""

    pid: int
    begin: float
    end: float
    program: str = ""  # of the process that forked it, until it executes its own
    programs: list[str] = field(default_factory=list)
    how: str = "still running"
    failed: bool = False
    threads: int = 1
    calls: int = 0
    errors: int = 0
    spent: float = 0.0
    children: list[Process] = field(default_factory=list)

    @property
    def command(self) -> str:
        """The programs it executed, one behind the other; in parentheses what it went on with after fork."""
        if not self.programs:
            return f"({self.program})" if self.program else "(attached)"
        shown = self.programs if len(self.programs) < 4 else ["…", *self.programs[-3:]]
        return " → ".join(shown)


class Tree(Sink):
    """A tree to a path or an open descriptor when the trace ends.  `pretty`: with colours."""

    bare = True  # the recorder need not read arguments

    def __init__(self, where: int | str | os.PathLike, pretty: bool = False) -> None:
        self._output = Output(where)
        self._pretty = pretty
        self._roots: list[Process] = []
        self._tasks: dict[int, Process] = {}
        self._last = 0.0

    def _process(self, tid: int, pid: int, moment: float) -> Process:
        """The process of a task; one that nobody announced is a root."""
        process = self._tasks.get(tid) or self._tasks.get(pid)
        if process is None:
            process = Process(pid, moment, moment)
            self._roots.append(process)
        self._tasks[tid] = process
        return process

    def ended(self, call: Call) -> None:
        process = self._process(call.tid, call.pid, call.time)
        process.calls += 1
        if call.duration is not None:
            process.spent += call.duration
            self._last = max(self._last, call.time + call.duration)
            if call.error is not None or -4096 < call.value < 0:
                process.errors += 1

    def happened(self, event) -> None:
        self._last = max(self._last, event.time)
        match event:
            case Born() if event.tid == event.pid:
                self._born(event)
            case Born():
                self._tasks.pop(event.tid, None)
                self._process(event.tid, event.pid, event.time).threads += 1
            case Executed():
                process = self._process(event.tid, event.tid, event.time)
                process.programs.append(clean(event.path))
                if event.former != event.tid:
                    self._tasks.pop(event.former, None)
            case Ended():
                process = self._process(event.tid, event.pid, event.time)
                if event.tid == event.pid:
                    core = ", core dumped" if event.core else ""
                    process.how = f"exit {event.status}" if event.status is not None else f"{event.signal}{core}"
                    process.failed = event.status != 0
                self._gone(process, event)
            case Detached():
                process = self._process(event.tid, event.tid, event.time)
                if event.tid == process.pid:
                    process.how = "detached"
                self._gone(process, event)

    def _born(self, event: Born) -> None:
        self._tasks.pop(event.tid, None)  # the number may have been another's
        parent = self._tasks.get(event.parent)
        process = Process(event.pid, event.time, event.time)
        if parent is not None:
            process.program = parent.programs[-1] if parent.programs else parent.program
        (parent.children if parent is not None else self._roots).append(process)
        self._tasks[event.tid] = process

    def _gone(self, process: Process, event) -> None:
        process.end = max(process.end, event.time)
        self._tasks.pop(event.tid, None)

    def close(self) -> None:
        for process in self._tasks.values():
            if process.how == "still running":
                process.end = self._last
        if self._roots:
            self._output.write(drawn(_table(self._roots), self._output.fd, self._pretty))
            self._roots.clear()
        self._output.close()


def _table(roots: list[Process]):
    """A row for each process, the first column with the branches of the tree."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("process", overflow="ellipsis", no_wrap=True)
    for heading, justify in (("pid", "right"), ("end", "left"), ("time", "right"), ("calls", "right"), ("errors", "right"),
                             ("in calls", "right"), ("threads", "right")):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=True)
    pending = [(process, "", "") for process in reversed(roots)]
    while pending:  # not recursive: a chain of processes may be longer than Python's stack
        process, own, below = pending.pop()
        end = "red" if process.failed else "green" if process.how == "exit 0" else "yellow"
        name = Text(own, "dim").append(process.command, "bold" if process.programs else "not bold")
        table.add_row(
            name, str(process.pid), Text(process.how, end), duration(process.end - process.begin), f"{process.calls:,}",
            Text(f"{process.errors:,}" if process.errors else "", "red"), duration(process.spent),
            str(process.threads) if process.threads > 1 else "",
        )  # fmt: skip
        for child in reversed(process.children):
            last = child is process.children[-1]
            pending.append((child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))
    return table
