"""The table at the end: for every call how often, how long, how often in vain.  strace(1), -c, -C and -S.

Times are those of the clock on the wall, from begin to end of a call, as ``strace -c -w`` counts them.  On a terminal it is
drawn with bars; else the columns are strace's own, so what reads the one reads the other.
"""

from __future__ import annotations

import os

from tracer.log.events import Call, Sink
from tracer.log.looks import STYLES, drawn, duration
from tracer.log.output import Output

SORTS = {
    "time": lambda row: (-row.seconds, -row.calls), "calls": lambda row: -row.calls, "errors": lambda row: -row.errors,
    "name": lambda row: row.name, "max": lambda row: -row.longest, "min": lambda row: -row.shortest,
    "avg": lambda row: -row.average, "nothing": lambda row: 0,
}  # fmt: skip
"""How -S can sort: the largest first, names from a to z, ``nothing`` in the order of first use."""

SYNONYMS = {
    "time-percent": "time", "time-total": "time", "total-time": "time", "count": "calls", "error": "errors", "syscall": "name",
    "syscall-name": "name", "longest": "max", "max-time": "max", "time-max": "max", "shortest": "min", "min-time": "min",
    "time-min": "min", "avg-time": "avg", "time-avg": "avg", "none": "nothing",
}  # fmt: skip
"""strace's other words for the same."""


class Row:
    """What is known of one call; times are seconds."""

    __slots__ = ("calls", "errors", "longest", "name", "seconds", "shortest")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.errors = 0
        self.seconds = 0.0
        self.shortest = float("inf")
        self.longest = 0.0

    @property
    def average(self) -> float:
        return self.seconds / self.calls


class Summary(Sink):
    """A table to a path or an open descriptor when the trace ends; nothing if there were no calls.

    `sort` is one of `SORTS` or `SYNONYMS` (``KeyError``).  `pretty`: drawn with bars and colours.
    """

    bare = True  # the recorder need not read arguments

    def __init__(self, where: int | str | os.PathLike, sort: str = "time", pretty: bool = False) -> None:
        self._key = SORTS[SYNONYMS.get(sort, sort)]
        self._output = Output(where)
        self._pretty = pretty
        self._rows: dict[str, Row] = {}

    def ended(self, call: Call) -> None:
        value = call.value
        if value is None:
            return
        row = self._rows.get(call.name)
        if row is None:
            row = self._rows[call.name] = Row(call.name)
        row.calls += 1
        if -4096 < value < 0 or call.error is not None:
            row.errors += 1
        spent = call.duration or 0.0
        row.seconds += spent
        if spent < row.shortest:
            row.shortest = spent
        if spent > row.longest:
            row.longest = spent

    def close(self) -> None:
        rows = sorted(self._rows.values(), key=self._key)
        if rows:
            total = Row("total")
            for row in rows:
                total.calls += row.calls
                total.errors += row.errors
                total.seconds += row.seconds
            if self._pretty:
                self._output.write(drawn(_table(rows, total), self._output.fd, True))
            else:
                self._output.write(_plain(rows, total).encode("utf-8", "backslashreplace"))
            self._rows.clear()
        self._output.close()


def _plain(rows: list[Row], total: Row) -> str:
    """The lines of ``strace -c``, column by column."""
    names = max(16, 1 + max(len(row.name) for row in rows))
    rule = f"------ ----------- ----------- --------- --------- {'-' * names}"

    def line(row: Row, share: float) -> str:
        return f"{share:6.2f} {row.seconds:11.6f} {int(row.average * 1e6):11} {row.calls:9} {row.errors or '':9} {row.name}"

    lines = ["% time     seconds  usecs/call     calls    errors syscall", rule]
    lines += [line(row, 100 * row.seconds / total.seconds if total.seconds else 0.0) for row in rows]
    return "\n".join([*lines, rule, line(total, 100.0), ""])


def _table(rows: list[Row], total: Row):
    """The same for a person: how the time is shared out as bars, in the colours of the calls' classes."""
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    from abi.decoding.classes import class_of

    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False, padding=(0, 1), footer_style="bold", header_style="dim")
    table.add_column("call", "total", no_wrap=True)
    table.add_column("calls", f"{total.calls:,}", justify="right", no_wrap=True)
    table.add_column("errors", f"{total.errors:,}" if total.errors else "", justify="right", no_wrap=True)
    table.add_column("seconds", f"{total.seconds:.6f}", justify="right", no_wrap=True)
    table.add_column("µs/call", f"{total.average * 1e6:,.0f}", justify="right", no_wrap=True)
    table.add_column("longest", duration(max(row.longest for row in rows)), justify="right", no_wrap=True)
    table.add_column("% time", "", justify="right", no_wrap=True)
    table.add_column("", "", min_width=8, max_width=40, ratio=1)
    most = max(row.seconds for row in rows) or 1.0
    for row in rows:
        style = STYLES[class_of(row.name)]
        share = 100 * row.seconds / total.seconds if total.seconds else 0.0
        table.add_row(
            Text(row.name, style), f"{row.calls:,}", Text(f"{row.errors:,}" if row.errors else "", "bold red"),
            f"{row.seconds:.6f}", f"{row.average * 1e6:,.0f}", duration(row.longest), f"{share:.2f}",
            Bar(most, 0, row.seconds, color=style.split()[-1]),
        )  # fmt: skip
    return table
