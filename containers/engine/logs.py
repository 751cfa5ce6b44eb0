"""What a container has written: its log, a line of JSON for each line of output, as docker's json-file driver writes it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from containers.engine.attachment import write_all
from containers.engine.record import Record
from containers.status import CannotRun
from vfs import kernel

_IN_MODIFY = 2
_BLOCK = 1 << 16
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+[smhd])+")


def when(option: str, text: str) -> str:
    """A time as the log has it: from RFC 3339, a date, seconds since 1970, or how long ago (``1h30m``).  `CannotRun`."""
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            moment = datetime.fromtimestamp(float(text), UTC)
        elif _DURATION.fullmatch(text):
            seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
            moment = datetime.now(UTC) - timedelta(seconds=seconds)
        else:
            moment = datetime.fromisoformat(text)  # of this machine's zone, where it names none
            fraction = re.search(r"\.(\d+)", text)
            if fraction is not None:  # to the nanosecond
                return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{fraction[1]:0<9.9}Z"
        return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
    except (ValueError, OverflowError, OSError):
        raise CannotRun(f"--{option} {text}: give a time as in 2026-01-31T12:00:00Z, or how long ago as in 1h30m") from None


def show(record: Record, tail: int | None, since: str | None, until: str | None, times: bool, follow: bool) -> None:
    """Print a container's output, standard error to the standard error, and go on with what it writes if wanted."""
    try:
        fd = os.open(record.log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not follow or not record.is_live():
            return
        fd = os.open(record.log, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if tail is not None:
            _seek_last(fd, tail)
        for chunk in _chunks(record, fd, follow):
            _print(chunk, since, until, times)
    finally:
        os.close(fd)


def _seek_last(fd: int, count: int) -> None:
    """Go to the beginning of the last so many lines."""
    position = os.lseek(fd, 0, os.SEEK_END)
    left = count + 1  # the end of the line before them is looked for
    while position > 0 and left > 0:
        size = min(_BLOCK, position)
        position -= size
        block = os.pread(fd, size, position)
        found = block.count(b"\n")
        if found < left:
            left -= found
            continue
        at = len(block)
        for _ in range(left):
            at = block.rindex(b"\n", 0, at)
        os.lseek(fd, position + at + 1, os.SEEK_SET)
        return
    os.lseek(fd, 0, os.SEEK_SET)


def _chunks(record: Record, fd: int, follow: bool) -> Iterator[bytes]:
    """Whole lines of the log, and of what is added to it until the container ends."""
    held = b""
    waits = _Changes(record) if follow and record.is_live() else None
    try:
        while True:
            over = waits is None or waits.over
            while data := os.read(fd, _BLOCK):
                held += data
                whole = held.rfind(b"\n") + 1
                if whole:
                    yield held[:whole]
                    held = held[whole:]
            if over:
                return
            waits.wait()
    finally:
        if waits is not None:
            waits.close()


class _Changes:
    """Tells when a container has written more, or has ended."""

    def __init__(self, record: Record) -> None:
        self.over = False
        self._inotify = kernel.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._inotify < 0:
            raise CannotRun(f"logs --follow: {os.strerror(ctypes.get_errno()).lower()}")
        kernel.inotify_add_watch(self._inotify, os.fsencode(record.log), _IN_MODIFY)
        self._poll = select.poll()
        self._poll.register(self._inotify, select.POLLIN)
        try:
            self._monitor = kernel.pidfd_open(record.data["pid"])
            self._poll.register(self._monitor, select.POLLIN)
        except (OSError, TypeError):
            self._monitor = -1
            self.over = True
        if not record.container.lives():  # the number may be another's by now
            self.over = True

    def wait(self) -> None:
        events = dict(self._poll.poll())
        if self._inotify in events:
            os.read(self._inotify, 4096)
        self.over = self._monitor in events

    def close(self) -> None:
        os.close(self._inotify)
        if self._monitor >= 0:
            os.close(self._monitor)


def _print(lines: bytes, since: str | None, until: str | None, times: bool) -> None:
    runs: list[tuple[int, list[bytes]]] = []  # what goes to one stream after another
    for line in lines.splitlines():
        try:
            entry = json.loads(line)
            text, stream, time = entry["log"], entry["stream"], entry["time"]
        except (ValueError, KeyError, TypeError):
            continue  # a full disk cut it short
        if (since is not None and time < since) or (until is not None and time > until):
            continue
        fd = 2 if stream == "stderr" else 1
        if not runs or runs[-1][0] != fd:
            runs.append((fd, []))
        runs[-1][1].append((f"{time} {text}" if times else text).encode("utf-8", "replace"))
    for fd, parts in runs:
        if not write_all(fd, b"".join(parts)):
            raise BrokenPipeError
