"""The log as one page for a browser: a lane per task, every call to be found, and nothing loaded from anywhere.

The page itself is page.html; here its data is gathered, in columns and with every text once, for there may be hundreds of
thousands of calls.  It is written when the trace ends.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from abi.decoding.classes import class_of
from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Sink, Stopped
from tracer.log.output import Output, as_json, clean

CLASSES = ("file", "desc", "process", "memory", "network", "signal", "ipc", "time", "other", "event")
"""In the order of the legend; ``event`` are signals that arrive, stops and ends."""

_MARK = "@DATA@"


@dataclass(slots=True, eq=False)
class _Lane:
    """A task; times are seconds since the epoch."""

    tid: int
    pid: int
    kind: str
    begin: float
    end: float | None = None
    how: str = ""
    failed: bool = False
    programs: list[tuple[float, str]] = field(default_factory=list)
    program: str = ""  # of its parent
    parent: _Lane | None = None
    children: list[_Lane] = field(default_factory=list)
    index: int = 0  # in the order of appearance


class Page(Sink):
    """A page to a path or an open descriptor; `command` is what was traced, for its title (else the first program)."""

    def __init__(self, where: int | str | os.PathLike, command: list[str] | None = None) -> None:
        self._output = Output(where)
        self._command = clean(" ".join(command or []))
        self._lanes: list[_Lane] = []
        self._now: dict[int, _Lane] = {}
        self._texts: dict[str, int] = {"": 0}
        self._names: dict[str, int] = {}
        self._classes: list[int] = []
        self._begins, self._ends = array("d"), array("d")  # seconds since the epoch; an end of -1 never came
        self._columns = {name: array("i") for name in ("lane", "name", "args", "result", "error")}

    # -- gathering ----------------------------------------------------------------------------

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _name(self, name: str, group: str) -> int:
        index = self._names.get(name)
        if index is None:
            index = self._names[name] = len(self._names)
            self._classes.append(CLASSES.index(group))
        return index

    def _row(self, lane: _Lane, begin: float, end: float, name: int, args: str, result: str = "", error: str = "") -> None:
        self._begins.append(begin)
        self._ends.append(end)
        columns = self._columns
        columns["lane"].append(lane.index)
        columns["name"].append(name)
        columns["args"].append(self._text(args))
        columns["result"].append(self._text(result))
        columns["error"].append(self._text(error))

    def _lane(self, tid: int, pid: int, moment: float, kind: str = "attach", parent: _Lane | None = None) -> _Lane:
        lane = self._now[tid] = _Lane(tid, pid, kind, moment, parent=parent, index=len(self._lanes))
        if parent is not None:
            lane.program = parent.programs[-1][1] if parent.programs else parent.program
            parent.children.append(lane)
        self._lanes.append(lane)
        return lane

    def ended(self, call: Call) -> None:
        lane = self._now.get(call.tid) or self._lane(call.tid, call.pid, call.time)
        result = call.result
        if call.injected:
            result += f" ({call.injected})"
        if call.plane not in (None, "kernel"):
            result += f" [{call.plane}]"
        end = -1.0 if call.duration is None else call.time + call.duration
        name = self._names.get(call.name)
        if name is None:
            name = self._name(call.name, class_of(call.name))
        self._row(lane, call.time, end, name, ", ".join(call.args), result, call.error or "")

    def happened(self, event) -> None:
        match event:
            case Born():
                self._lane(event.tid, event.pid, event.time, event.kind, self._now.get(event.parent))
            case Executed():
                if event.former != event.tid and (caller := self._now.pop(event.former, None)) is not None:
                    caller.end, caller.how = event.time, "became the first thread by execve"
                lane = self._now.get(event.tid) or self._lane(event.tid, event.tid, event.time)
                lane.programs.append((event.time, clean(event.path)))
            case Signal():
                self._event(event, event.name, f"--- {event.name} {event.info} ---")
            case Stopped():
                self._event(event, event.name, f"--- stopped by {event.name} ---")
            case Ended():
                core = " (core dumped)" if event.core else ""
                how = f"killed by {event.signal}{core}" if event.status is None else f"exited with {event.status}"
                self._over(event, how, event.status != 0)
            case Detached():
                self._over(event, "detached", False)

    def _event(self, event, name: str, text: str) -> _Lane:
        lane = self._now.get(event.tid) or self._lane(event.tid, getattr(event, "pid", event.tid), event.time)
        self._row(lane, event.time, event.time, self._name(f"event {name}", "event"), text)
        return lane

    def _over(self, event, how: str, failed: bool) -> None:
        lane = self._event(event, "end", f"+++ {how} +++")
        lane.end, lane.how, lane.failed = event.time, how, failed
        del self._now[event.tid]

    # -- writing ------------------------------------------------------------------------------

    def close(self) -> None:
        template = (Path(__file__).parent / "page.html").read_text("utf-8")
        before, _, after = template.partition(_MARK)
        data = as_json(self._data()).replace("<", "\\u003c")  # nothing in it may end the element it stands in
        self._output.write((before + data + after).encode())
        self._output.close()

    def _data(self) -> dict:
        """What page.html reads.  Times are whole microseconds since the first one; begins are differences."""
        order = sorted(range(len(self._begins)), key=self._begins.__getitem__)
        moments = [lane.begin for lane in self._lanes]
        first = min(moments + ([self._begins[order[0]]] if order else []), default=0.0)
        last = max([*self._begins, *self._ends, *(lane.end or lane.begin for lane in self._lanes)], default=first)

        def since(moment: float) -> int:
            return max(0, round((moment - first) * 1e6))

        begins = [since(self._begins[row]) for row in order]
        ends = [since(self._ends[row]) if self._ends[row] >= 0 else -1 for row in order]
        lanes = self._in_order()
        place = {lane.index: position for position, (lane, depth) in enumerate(lanes)}
        columns = {name: [values[row] for row in order] for name, values in self._columns.items()}
        columns["lane"] = [place[index] for index in columns["lane"]]
        return {
            "command": self._command or next((lane.programs[0][1] for lane in self._lanes if lane.programs), ""),
            "epoch": round(first, 6),
            "length": since(last),
            "classes": CLASSES,
            "names": list(self._names),
            "classOf": self._classes,
            "texts": [clean(text) for text in self._texts],
            "lanes": [
                {
                    "tid": lane.tid, "pid": lane.pid, "kind": lane.kind, "depth": depth, "begin": since(lane.begin),
                    "end": since(last if lane.end is None else lane.end), "how": lane.how, "failed": lane.failed,
                    "programs": [[since(moment), path] for moment, path in lane.programs], "program": lane.program,
                    "parent": -1 if lane.parent is None else place[lane.parent.index],
                }
                for lane, depth in lanes
            ],
            "begin": [begin - before for before, begin in zip([0, *begins], begins, strict=False)],
            "spent": [end - begin if end >= 0 else -1 for begin, end in zip(begins, ends, strict=True)],
            **columns,
        }  # fmt: skip

    def _in_order(self) -> list[tuple[_Lane, int]]:
        """The lanes as a tree is drawn, parents first, each with its depth."""
        pending = [(lane, 0) for lane in reversed(self._lanes) if lane.parent is None]
        found = []
        while pending:
            lane, depth = pending.pop()
            found.append((lane, depth))
            pending += [(child, depth + 1) for child in reversed(lane.children)]
        return found
