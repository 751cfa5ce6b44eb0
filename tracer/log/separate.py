"""A file of its own for each task, FILE.TID (strace -ff)."""

from __future__ import annotations

import os
from collections.abc import Callable

from tracer.log.events import Born, Call, Ended, Sink


class Separate(Sink):
    """Lines to files beside each other; `text(fd)` makes the sink that writes one of them.  ``OSError``.

    `raw`: these see calls as the registers have them.
    """

    def __init__(self, path: str, text: Callable[[int], Sink], raw: bool = False) -> None:
        self.raw = raw
        self._path = path
        self._text = text
        self._files: dict[int, Sink] = {}

    def _of(self, tid: int) -> Sink:
        sink = self._files.get(tid)
        if sink is None:
            fd = os.open(f"{self._path}.{tid}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            sink = self._files[tid] = self._text(fd)
        return sink

    def entered(self, subject, call: Call, view) -> None:
        self._of(call.tid).entered(subject, call, view)

    def returned(self, subject, call: Call, view) -> None:
        self._of(call.tid).returned(subject, call, view)

    def begun(self, call: Call) -> None:
        self._of(call.tid).begun(call)

    def ended(self, call: Call) -> None:
        self._of(call.tid).ended(call)

    def happened(self, event) -> None:
        if isinstance(event, Born):
            return
        self._of(event.tid).happened(event)
        if isinstance(event, Ended):
            self._finish(event.tid)

    def _finish(self, tid: int) -> None:
        sink = self._files.pop(tid, None)
        if sink is not None:
            sink.close()
            os.close(sink.fd)

    def tick(self) -> None:
        for sink in self._files.values():
            sink.tick()

    def close(self) -> None:
        for tid in list(self._files):
            self._finish(tid)
