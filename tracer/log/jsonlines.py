"""The log for programs: one JSON object a line, the same names for ever.  docs/trace.md lists them.

A call is told when it has returned, so lines are in the order of ends; `time` is when it began.
"""

from __future__ import annotations

import os

from abi.decoding.classes import class_of
from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Sink, Stopped
from tracer.log.output import Output, as_json


class JsonLines(Sink):
    """Objects to a path or an open descriptor; `live` writes each at once, for a reader at the other end of a pipe."""

    def __init__(self, where: int | str | os.PathLike, live: bool = False) -> None:
        self._output = Output(where)
        self._live = live
        self._pids: dict[int, int] = {}

    def _tell(self, **fields) -> None:
        self._output.write(as_json(fields).encode() + b"\n")
        if self._live:
            self._output.flush()

    def ended(self, call: Call) -> None:
        more = {}
        if call.plane is not None:
            more["plane"] = call.plane
        if call.injected is not None:
            more["injected"] = call.injected
        if call.unfinished:
            more["unfinished"] = True
        self._tell(
            type="call", time=round(call.time, 6), pid=call.pid, tid=call.tid, call=call.name, number=call.number, abi=call.abi,
            **{"class": class_of(call.name)}, args=call.args, result=call.result, value=call.value, error=call.error,
            duration=None if call.duration is None else round(call.duration, 6), **more,
        )  # fmt: skip

    def happened(self, event) -> None:
        tid = event.tid
        if isinstance(event, Born):
            self._pids[tid] = event.pid
        elif isinstance(event, Executed):
            self._pids.pop(event.former, None)
            self._pids[tid] = tid  # whoever calls execve becomes the first thread
        where = {"time": round(event.time, 6), "pid": self._pids.get(tid, tid), "tid": tid}
        match event:
            case Born():
                self._tell(type="start", **where, parent=event.parent or None, kind=event.kind)
            case Executed():
                self._tell(type="exec", **where, former=event.former, path=event.path)
            case Ended():
                self._tell(type="exit", **where, status=event.status, signal=event.signal, core=event.core)
            case Signal():
                self._tell(type="signal", **where, signal=event.name, info=event.info)
            case Stopped():
                self._tell(type="stop", **where, signal=event.name)
            case Detached():
                self._tell(type="detach", **where)
        if isinstance(event, Ended | Detached):
            self._pids.pop(tid, None)

    def tick(self) -> None:
        self._output.flush()

    def close(self) -> None:
        self._output.close()
