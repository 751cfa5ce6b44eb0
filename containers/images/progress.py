"""How far pulls and unpacks are: bars for a terminal, a plain line for each part that is done elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Quiet:
    """Says nothing."""

    def part(self, what: str, name: str, total: int | None):
        return Part()

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Part:
    """One thing that is fetched or unpacked; called with the number of bytes that are done more."""

    def __call__(self, count: int) -> None:
        pass

    def restart(self) -> None:
        """Nothing of it is done."""

    def done(self) -> None:
        pass


class _LinePart(Part):
    def __init__(self, lines: Lines, text: str) -> None:
        self._lines = lines
        self._text = text

    def done(self) -> None:
        self._lines.note(self._text)


class Lines(Quiet):
    """A line on the standard error for each part, when it is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def part(self, what: str, name: str, total: int | None):
        return _LinePart(self, f"{what} {name}" + (f" ({size_text(total)})" if total is not None else ""))

    def note(self, text: str) -> None:
        with self._lock:
            sys.stderr.write(f"int80: {text}\n")


class _BarPart(Part):
    def __init__(self, bars, task) -> None:
        self._bars = bars
        self._task = task

    def __call__(self, count: int) -> None:
        self._bars.advance(self._task, count)

    def restart(self) -> None:
        self._bars.update(self._task, completed=0)

    def done(self) -> None:
        total = next((task.total for task in self._bars.tasks if task.id == self._task), None)
        if total is not None:
            self._bars.update(self._task, completed=total)


class Bars(Quiet):
    """rich's bars on the standard error, from the first part on: what is here already leaves the terminal alone."""

    def __init__(self) -> None:
        self._bars = None
        self._lock = threading.Lock()

    def _begun(self):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        with self._lock:
            if self._bars is None:
                columns = (
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    DownloadColumn(binary_units=True),
                    TimeRemainingColumn(compact=True),
                )
                self._bars = Progress(*columns, console=Console(stderr=True))
                self._bars.start()
        return self._bars

    def part(self, what: str, name: str, total: int | None):
        bars = self._begun()
        return _BarPart(bars, bars.add_task(f"{what:<7} {name}", total=total))

    def note(self, text: str) -> None:
        self._begun().console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()


@contextmanager
def shown(quiet: bool = False) -> Iterator[Quiet]:
    """What suits the standard error."""
    progress = Quiet() if quiet else Bars() if sys.stderr.isatty() else Lines()
    try:
        yield progress
    finally:
        progress.close()


def size_text(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
