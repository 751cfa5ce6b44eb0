"""The log as a Chrome trace, for ui.perfetto.dev, chrome://tracing and whatever else reads trace events.

It is written while tracing, in the form of an array: readers take one whose end is missing, so a log cut short is of use.
Every task has a track; on it lie the programs it ran, one behind the other, and on these the calls.
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event Format)
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from abi.decoding.classes import class_of
from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Sink, Stopped
from tracer.log.output import Output, as_json

_EXECS = frozenset(("execve", "execveat"))


@dataclass(slots=True)
class _Track:
    """One task: the program that its calls lie on, the one that takes over, and whether a call stands open."""

    pid: int
    program: str
    next: Executed | None = None
    open: bool = False


class Timeline(Sink):
    """Trace events to a path or an open descriptor; their times are microseconds since the first event."""

    def __init__(self, where: int | str | os.PathLike) -> None:
        self._output = Output(where)
        self._begin: float | None = None
        self._last = 0.0
        self._tracks: dict[int, _Track] = {}
        self._processes = 0
        self._flows = 0
        self._separator = b"[\n"

    # -- writing ------------------------------------------------------------------------------

    def _event(self, kind: str, name: str, moment: float | None, tid: int, **more) -> None:
        track = self._tracks.get(tid)
        fields = {"ph": kind, "name": name, "pid": track.pid if track is not None else tid, "tid": tid}
        if moment is not None:
            fields["ts"] = self._since(moment)
        self._write({**fields, **more})

    def _write(self, event: dict) -> None:
        self._output.write(self._separator + as_json(event).encode())
        self._separator = b",\n"

    def _since(self, moment: float) -> float:
        """Microseconds since the begin, which the first event sets and tells."""
        if self._begin is None:
            self._begin = moment
            self._write({"ph": "M", "name": "trace_begin", "pid": 0, "args": {"epoch": round(moment, 6)}})
        self._last = max(self._last, moment)
        return round((moment - self._begin) * 1e6, 1)

    # -- tracks -------------------------------------------------------------------------------

    def _track(self, tid: int, pid: int, moment: float, program: str) -> _Track:
        track = self._tracks[tid] = _Track(pid, program)
        if tid == pid:
            self._processes += 1
            self._event("M", "process_sort_index", None, tid, args={"sort_index": self._processes})
        self._begin_program(tid, track, moment)
        return track

    def _begin_program(self, tid: int, track: _Track, moment: float) -> None:
        name = os.path.basename(track.program)
        if tid == track.pid:
            self._event("M", "process_name", None, tid, args={"name": name})
        self._event("M", "thread_name", None, tid, args={"name": name if tid == track.pid else f"{name} thread"})
        self._event("B", name, moment, tid, cat="program", args={"path": track.program})

    def _take_over(self, tid: int, track: _Track, moment: float) -> None:
        """The program that was executed begins: only now, as its execve must lie on the program that made it."""
        self._event("E", os.path.basename(track.program), moment, tid)
        track.program = track.next.path
        track.next = None
        self._begin_program(tid, track, moment)

    def _known(self, tid: int, pid: int, moment: float) -> _Track:
        track = self._tracks.get(tid)
        if track is None:
            track = self._track(tid, pid, moment, "attached")
        if track.next is not None:
            self._take_over(tid, track, track.next.time)
        return track

    def _end(self, tid: int, moment: float) -> None:
        track = self._tracks.get(tid)
        if track is None:
            return
        if track.next is not None:
            self._take_over(tid, track, track.next.time)
        if track.open:
            self._event("E", "", moment, tid)
        self._event("E", os.path.basename(track.program), moment, tid)
        del self._tracks[tid]

    # -- events -------------------------------------------------------------------------------

    def ended(self, call: Call) -> None:
        track = self._tracks.get(call.tid)
        replaced = track is not None and track.next is not None and call.name in _EXECS
        if not replaced:
            track = self._known(call.tid, call.pid, call.time)
        args = {"args": ", ".join(call.args), "result": call.result}
        for name in ("error", "plane", "injected"):
            if getattr(call, name) is not None:
                args[name] = getattr(call, name)
        more = {"cat": class_of(call.name), "args": args}
        if call.error is not None:
            more["cname"] = "terrible"
        if call.duration is None:  # its end is the end of the task
            if not track.open:
                track.open = True
                self._event("B", call.name, call.time, call.tid, **more)
            return
        end = call.time + call.duration
        begin = self._since(call.time)
        self._event("X", call.name, call.time, call.tid, dur=round(max(0.0, self._since(end) - begin), 1), **more)
        if replaced:
            self._take_over(call.tid, track, end)

    def happened(self, event) -> None:
        tid, moment = event.tid, event.time
        match event:
            case Born():
                self._born(event)
            case Executed():
                self._executed(event)
            case Signal():
                self._instant(event, event.name, {"info": event.info})
            case Stopped():
                self._instant(event, f"stopped by {event.name}", {})
            case Ended():
                how = f"killed by {event.signal}" if event.status is None else f"exited with {event.status}"
                self._instant(event, how, {"core": True} if event.core else {}, "p" if tid == event.pid else "t")
                self._end(tid, moment)
            case Detached():
                self._instant(event, "detached", {})
                self._end(tid, moment)

    def _instant(self, event, name: str, args: dict, scope: str = "t") -> None:
        if event.tid not in self._tracks:
            self._track(event.tid, getattr(event, "pid", event.tid), event.time, "attached")
        self._event("i", name, event.time, event.tid, cat="signal", s=scope, args=args)

    def _born(self, event: Born) -> None:
        self._end(event.tid, event.time)
        parent = self._tracks.get(event.parent)
        program = parent.program if parent is not None else "attached" if event.kind == "attach" else "start"
        self._track(event.tid, event.pid, event.time, program)
        if parent is not None:
            self._flows += 1
            self._event("s", event.kind, event.time, event.parent, cat="birth", id=self._flows)
            self._event("f", event.kind, event.time, event.tid, cat="birth", id=self._flows, bp="e")

    def _executed(self, event: Executed) -> None:
        for tid, track in list(self._tracks.items()):  # the other threads are gone, the one that called too
            if track.pid == event.tid and tid != event.tid:
                self._end(tid, event.time)
        track = self._tracks.get(event.tid)
        if track is None:
            self._track(event.tid, event.tid, event.time, event.path)
            return
        if track.open:
            track.open = False
            self._event("E", "", event.time, event.tid)
        if track.next is not None:
            self._take_over(event.tid, track, track.next.time)
        track.next = event

    # -- ending -------------------------------------------------------------------------------

    def tick(self) -> None:
        self._output.flush()

    def close(self) -> None:
        for tid in list(self._tracks):
            self._end(tid, self._last)
        self._output.write(b"[\n]\n" if self._separator == b"[\n" else b"\n]\n")
        self._output.close()
