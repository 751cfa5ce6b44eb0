"""What is shown: one table a part, the targets, and everything again as JSON."""

from __future__ import annotations

import math
import os
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.measure import CALLS, JOBS, NOTIFICATION, PYTHON, START, TREES, Figures
from bench.runners import FILTER, GATE, INT80, LAYERED, NATIVE, RUN_TRACE, TRACE, TRACE_FILE, TRACERS, Runner
from bench.scratch import TREE_FILES

LEVEL = 1.05  # two figures this close are level: the same program against itself differs by as much
NATIVE_PLANE = ("read", "write", "mmap+munmap", "pipe")
RIVALS = ("proot", "runsc")
_OURS = (FILTER, INT80, GATE, LAYERED, TRACE, TRACE_FILE, RUN_TRACE)

_PARTS = (  # title, rows, microseconds in its unit
    ("One call, µs (times native)", (*CALLS, NOTIFICATION), 1),
    ("Whole jobs, ms (times native)", (*JOBS, PYTHON), 1000),
    (f"Trees of {TREE_FILES:,} files, ms (times native)", (START, *TREES), 1000),
)


@dataclass(frozen=True, slots=True)
class Target:
    """`ratios` by row, infinite where int80 failed; met when none is above `limit`, None when there are none."""

    text: str
    limit: float
    ratios: dict[str, float]

    @property
    def met(self) -> bool | None:
        return all(ratio <= self.limit for ratio in self.ratios.values()) if self.ratios else None


def targets(figures: Figures, pinned: int | None = None) -> list[Target]:
    """What int80 has set itself, against what was measured, on one CPU or not."""

    def ratios(rows: Sequence[str], runner: str, to: str, to_row: str | None = None) -> dict[str, float]:
        found = {}
        for row in rows:
            ratio = figures.ratio(row, runner, to, to_row)
            if ratio is None and (row, runner) in figures.failed:
                ratio = math.inf
            if ratio is not None:
                found[row] = ratio
        return found

    return [
        Target("native-plane rows within 1.1 times native", 1.1, ratios(NATIVE_PLANE, INT80, NATIVE)),
        Target("native-plane rows within 1.1 times a bare filter", 1.1, ratios(NATIVE_PLANE, INT80, FILTER)),
        Target("stat within 3.5 times a bare notification", 3.5, ratios(["stat"], INT80, NATIVE, NOTIFICATION)),
        Target("int 0x80 rows within 1.1 times the syscall rows", 1.1, ratios(CALLS, GATE, INT80)),
        *(Target(f"every row level with {peer}", LEVEL, ratios((*CALLS, *JOBS, *TREES), INT80, peer)) for peer in RIVALS),
        Target("trees level with proot on one CPU (--pin)", LEVEL, ratios(TREES, INT80, "proot") if pinned is not None else {}),
        Target("trees on layers within 1.3 times the plain root", 1.3, ratios(TREES, LAYERED, INT80)),
        Target("tracing every call costs no more than strace -f", LEVEL, ratios((*CALLS, *JOBS), TRACE, "strace")),
        Target(
            "tracing a chosen few costs no more than strace -f --seccomp-bpf", LEVEL,
            ratios((*CALLS, *JOBS), TRACE_FILE, "strace-file"),
        ),
        Target("start-up within 5 times python3 -c pass", 5.0, ratios(["true"], INT80, NATIVE, PYTHON)),
    ]


def show(
    console: Console, figures: Figures, runners: Sequence[Runner], left_out: dict[str, str], pinned: int | None = None
) -> None:
    shown = set()
    for title, rows, unit in _PARTS:
        if any(row in figures.rows and row not in shown for row in rows):
            console.print(_table(title, figures, runners, rows, unit))
        shown.update(rows)
    measured = any(figures.get(row, INT80) for row in figures.rows)
    if measured:
        console.print(
            Text.assemble(
                "A peer's figure is ", ("green", "green"), " where int80 is at least level with it (within 5 %), ",
                ("red", "red"), " where int80 is slower; strace is held against int80 trace.",
            )
        )  # fmt: skip
    for runner in runners:
        if runner.note:
            console.print(Text(f"{' '.join((runner.name, runner.version)).strip()}: {runner.note}"))
    if pinned is not None:
        console.print(f"Everything ran on CPU {pinned}.")
    if figures.sync_wake_up is not None:
        with_or_without = "with" if figures.sync_wake_up else "without"
        console.print(f"The bare notification ran {with_or_without} SYNC_WAKE_UP.")
    for name, reason in left_out.items():
        console.print(Text(f"Left out: {name}: {reason}", style="yellow"))
    for (row, runner), reason in figures.failed.items():
        console.print(Text(f"Failed: {row} under {runner}: {reason}", style="yellow"))
    console.print()
    for target in targets(figures, pinned):
        console.print(_verdict(target))


def as_json(figures: Figures, runners: Sequence[Runner], left_out: dict[str, str], pinned: int | None) -> dict:
    """Raw figures in microseconds, and what one needs to know to read them."""
    return {
        "format": 2,  # since 2, find and tar are over the large tree
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {
            "kernel": platform.release(),
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "pinned_to": pinned,
            "python": platform.python_version(),
            "sync_wake_up": figures.sync_wake_up,
        },
        "runners": {
            runner.name: {"version": runner.version, "note": runner.note, "command": shlex.join(runner.prefix)}
            for runner in runners
        },
        "left_out": left_out,
        "rows": {
            row: {
                runner: {
                    "us": [round(figure, 4) for figure in series],
                    "median_us": round(figures.median(row, runner), 4),
                    "times_native": _rounded(figures.ratio(row, runner, NATIVE)),
                }
                for runner, series in by_runner.items()
            }
            for row, by_runner in figures.rows.items()
        },
        "failed": [{"row": row, "runner": runner, "why": why} for (row, runner), why in figures.failed.items()],
        "targets": [
            {
                "target": target.text,
                "limit": target.limit,
                "met": target.met,
                "ratios": {row: _rounded(ratio) for row, ratio in target.ratios.items()},
            }
            for target in targets(figures, pinned)
        ],
    }


def _table(title: str, figures: Figures, runners: Sequence[Runner], rows: Sequence[str], unit: int) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("row", no_wrap=True)
    shown = [runner for runner in runners if any(figures.get(row, runner.name) for row in rows)]
    for runner in shown:
        table.add_column(runner.title, justify="right", no_wrap=True)
    for row in rows:
        if row in figures.rows:
            table.add_row(row, *(_cell(figures, row, runner.name, unit) for runner in shown))
    return table


def _cell(figures: Figures, row: str, runner: str, unit: int) -> Text:
    median = figures.median(row, runner)
    if median is None:
        return Text("failed" if (row, runner) in figures.failed else "", style="yellow")
    text = _three_digits(median / unit)
    if runner == NATIVE:
        return Text(text)
    ratio = figures.ratio(row, runner, NATIVE)
    if ratio is not None:
        text += f" {'(' + _three_digits(ratio) + ')':>7}"
    against = next((ours for ours, peer in TRACERS.items() if peer == runner), INT80)
    ours = None if runner in _OURS else figures.ratio(row, against, runner)
    return Text(text, style="" if ours is None else "green" if ours <= LEVEL else "red")


def _verdict(target: Target) -> Text:
    met = target.met
    if met is None:
        return Text.assemble(("not measured  ", "yellow"), target.text)
    ratios = target.ratios if met else {row: ratio for row, ratio in target.ratios.items() if ratio > target.limit}
    listed = ", ".join(f"{row} failed" if ratio == math.inf else f"{row} {ratio:.2f}" for row, ratio in ratios.items())
    word = ("met           ", "green") if met else ("not met       ", "red")
    return Text.assemble(word, f"{target.text}: {listed}")


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


def _rounded(value: float | None) -> float | None:
    """None also for the infinite, which JSON cannot say."""
    return None if value is None or value == math.inf else round(value, 4)
