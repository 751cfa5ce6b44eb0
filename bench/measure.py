"""How it is measured: every runner in turn, row by row, round after round.

A machine that others use drifts by more than the differences looked for, within one run and between two. So nothing is
compared across runs, and no runner has its rounds in one piece: each round measures a row under all runners, one after
another, from a different one each time, and a ratio is taken inside its round before the median over rounds.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from bench.runners import FILTER, GATE, LAYERED, NATIVE, RUN_TRACE, Runner
from bench.scratch import Scratch

CALLS = (
    "getpid", "read", "write", "fstat", "stat", "open+close", "mmap+munmap", "pipe", "fork+wait", "fork+exec+wait",
)  # fmt: skip
NOTIFICATION = "notification"
PYTHON = "python3"
START = "true"
JOBS = (START, "shell", "dd")
TREES = ("find", "ls -lR", "tar", "untar")
ROWS = (*CALLS, NOTIFICATION, *JOBS, PYTHON, *TREES)

SPAN = 0.2  # seconds that one measurement of a call should last
_LEAST = 10  # rounds of a call, however slow
_MOST_LAUNCHES = 10  # of a short job in one round
_PATIENCE = 120.0  # seconds before a command counts as hung
_FRESH = "fresh"  # the directory of the root that is empty before each untar

# What a job must have printed: one that gives up half way is quick.
_PRINTED: dict[str, Callable[[str, Scratch], bool]] = {
    "find": lambda output, scratch: output.count("\n") == scratch.files,
    "ls -lR": lambda output, scratch: output.count("\n-") == scratch.files,
    "dd": lambda output, scratch: "1024+0 records out" in output,
}


class MeasureError(Exception):
    """A command failed under a runner; the text is its last line of complaint."""


@dataclass(frozen=True, slots=True)
class Launch:
    seconds: float
    output: str


@dataclass(slots=True)
class Figures:
    """`rows[row][runner]`: microseconds, one figure a round. `failed`: why a row has none for a runner."""

    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    sync_wake_up: bool | None = None

    def get(self, row: str, runner: str) -> list[float] | None:
        return self.rows.get(row, {}).get(runner)

    def median(self, row: str, runner: str) -> float | None:
        figures = self.get(row, runner)
        return statistics.median(figures) if figures else None

    def ratio(self, row: str, runner: str, to: str, to_row: str | None = None) -> float | None:
        """Median over rounds of runner's figure divided by that of `to`, in the same round."""
        upper, lower = self.get(row, runner), self.get(to_row or row, to)
        if not upper or not lower:
            return None
        return statistics.median(a / b for a, b in zip(upper, lower, strict=True))


def launch(command: Sequence[str], patience: float = _PATIENCE) -> Launch:
    """Run a command to its end with nothing on stdin. Raises MeasureError if it fails, hangs or cannot start.

    Output goes through a pipe, stderr to a file: a guest kernel may hold its own idea of a file's offset.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise MeasureError(f"{command[0]}: {error.strerror}") from None
        try:
            output, seconds = _drain(process, start, patience)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdout.close()
        if process.returncode:
            errors.seek(0)
            lines = (output + errors.read()).decode(errors="replace").strip().splitlines()
            raise MeasureError(lines[-1].strip() if lines else _ending(process.returncode))
    return Launch(seconds, output.decode(errors="replace"))


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep what is launched meanwhile on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _drain(process: subprocess.Popen, start: float, patience: float) -> tuple[bytes, float]:
    """Not communicate(): its timeout makes it look for the end at intervals, which are longer than a start-up."""
    pieces = []
    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(process.stdout, select.POLLIN)
        while True:
            ready = dict(poll.poll(max(0.0, start + patience - time.perf_counter()) * 1000))
            seconds = time.perf_counter() - start
            if not ready:
                raise MeasureError(f"no end after {patience:.0f} s")
            if process.stdout.fileno() in ready:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                pieces.append(piece)
                if not piece:
                    poll.unregister(process.stdout)
            elif pidfd in ready:
                process.wait()
                return b"".join(pieces), seconds
    finally:
        os.close(pidfd)


def probe(runner: Runner, scratch: Scratch) -> str | None:
    """Try a runner once; None if it works, else why not."""
    try:
        launch(_job(START, runner, scratch), patience=30)
        if runner.name == GATE:
            time_call("getpid", runner, scratch, 1)
    except MeasureError as error:
        return str(error)
    return None


def measure(
    scratch: Scratch,
    runners: Sequence[Runner],
    rows: Iterable[str],
    rounds: int,
    python: str,
    tell: Callable[[str], None] = lambda text: None,
) -> Figures:
    """All rows under all runners. `tell` is called with what is being done now."""
    figures = Figures()
    cells: dict[tuple[str, str], Callable[[], float]] = {}
    rows = [row for row in ROWS if row in set(rows)]
    for row in rows:
        figures.rows[row] = {}
        for runner in runners_of(row, runners):
            tell(f"trying {row} under {runner.name}")
            try:
                cells[row, runner.name] = _calibrate(row, runner, scratch, python, figures)
            except MeasureError as error:
                figures.failed[row, runner.name] = str(error)
    for number in range(rounds):
        for row in rows:
            here = [name for of, name in cells if of == row]
            turn = number % len(here) if here else 0
            for name in here[turn:] + here[:turn]:
                tell(f"round {number + 1} of {rounds}: {row} under {name}")
                try:
                    figure = cells[row, name]()
                except MeasureError as error:
                    figures.failed[row, name] = str(error)
                    figures.rows[row].pop(name, None)
                    del cells[row, name]
                else:
                    figures.rows[row].setdefault(name, []).append(figure)
    return figures


def runners_of(row: str, runners: Sequence[Runner]) -> list[Runner]:
    """Those that a row says something about."""
    if row in (NOTIFICATION, PYTHON):
        return [runner for runner in runners if runner.name == NATIVE]
    if row in CALLS:
        return [runner for runner in runners if runner.name != LAYERED]
    # A busybox with the other gate is not to be had on most machines; strace would take a minute for a tree.
    sandboxes_only = row in TREES
    return [
        runner
        for runner in runners
        if runner.name not in (FILTER, GATE)
        and (not sandboxes_only or runner.name == NATIVE or (runner.inside and runner.name != RUN_TRACE))
    ]


def _calibrate(row: str, runner: Runner, scratch: Scratch, python: str, figures: Figures) -> Callable[[], float]:
    """A function that measures one cell once, in microseconds, for about SPAN seconds. Raises MeasureError."""
    if row == NOTIFICATION:
        return _enough(lambda count: time_notification(scratch, count, figures))
    if row in CALLS:
        return _enough(lambda count: time_call(row, runner, scratch, count))
    command = [python, "-c", "pass"] if row == PYTHON else _job(row, runner, scratch)

    def once() -> Launch:
        if row == "untar":
            _clear(scratch)
        return launch(command)

    first = once()
    if not _PRINTED.get(row, lambda output, scratch: True)(first.output, scratch):
        raise MeasureError(f"did not do its work: it printed {first.output[-60:]!r}")
    launches = min(max(round(SPAN / first.seconds), 1), _MOST_LAUNCHES)
    return lambda: statistics.median(once().seconds for _ in range(launches)) * 1e6


def _enough(once: Callable[[int], float]) -> Callable[[], float]:
    """Settle a count of rounds for a function from a count to microseconds a round."""
    count = _LEAST
    while (spent := once(count) * count / 1e6) < SPAN / 10:
        count *= 8
    count = max(_LEAST, int(count * SPAN / spent))
    return lambda: once(count)


def time_call(row: str, runner: Runner, scratch: Scratch, count: int) -> float:
    """Microseconds for one round of a row of bench/calls.c. Raises MeasureError."""
    top = "" if runner.inside else str(scratch.root)
    # Left to itself the scheduler puts the two ends of a pipe on one CPU or on two, and that alone is a factor of ten.
    with one_cpu() if row == "pipe" else nullcontext():
        done = launch([*runner.prefix, f"{top}/bench/{runner.calls}", row, str(count), f"{top}/bench/file"])
    try:
        return float(done.output) / 1000
    except ValueError:
        raise MeasureError(f"printed {done.output[:60]!r} where a number was due") from None


def time_notification(scratch: Scratch, count: int, figures: Figures) -> float:
    """Microseconds for one answer by bench/notify.c. Raises MeasureError."""
    nanoseconds, synchronous = launch([str(scratch.notify), str(count)]).output.split()
    figures.sync_wake_up = synchronous == "1"
    return float(nanoseconds) / 1000


def _clear(scratch: Scratch) -> None:
    fresh = scratch.root / _FRESH
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir()


def _job(row: str, runner: Runner, scratch: Scratch) -> list[str]:
    """A job's whole command. Programs are named by path, so that no shell takes a built-in of its own for them."""
    top = "" if runner.inside else str(scratch.root)
    busybox = f"{top}/bin/busybox"
    match row:
        case "true":
            command = [f"{top}/bin/true"]
        case "shell":
            loop = 'i=0; while [ $i -lt 200 ]; do "$1" || exit; i=$((i+1)); done'
            command = [busybox, "sh", "-c", loop, "sh", f"{top}/bin/true"]
        case "find":
            command = [busybox, "find", f"{top}/tree", "-type", "f"]
        case "ls -lR":
            command = [busybox, "ls", "-lR", f"{top}/tree"]
        case "tar":
            command = [busybox, "tar", "-c", "-f", "/dev/null", "-C", f"{top}/", "tree"]
        case "untar":
            command = [busybox, "tar", "-x", "-f", f"{top}/tree.tar", "-C", f"{top}/{_FRESH}"]
        case "dd":
            # The first dd's summary goes to stdout by way of 3: it wrote everything, and someone read it.
            pipe = '"$1" dd if=/dev/zero bs=64k count=1024 2>&3 | "$1" dd of=/dev/null bs=64k 2>/dev/null'
            command = [busybox, "sh", "-c", f"exec 3>&1; {pipe}", "sh", busybox]
        case _:
            raise ValueError(f"no such job: {row}")
    return [*runner.prefix, *command]
