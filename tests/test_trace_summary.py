"""The table of calls at the end of a trace (-c, -C)."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from contextlib import contextmanager

import pytest
from made_up import SHELL, call, tell

from tracer.log.summary import SORTS, Summary


def table(tmp_path, *events, **options) -> list[str]:
    tell(Summary(tmp_path / "out", **options), *events)
    return (tmp_path / "out").read_text().splitlines()


def on_terminal(sink_of, *events, columns: int = 80) -> str:
    """What a sink writes to a terminal."""
    with terminal(columns) as (ours, theirs):
        tell(sink_of(theirs), *events)
        return os.read(ours, 1 << 16).decode()


@contextmanager
def terminal(columns: int = 80):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def traced_on_terminal(int80, *options: str, **env: str) -> str:
    """What `int80 trace OPTIONS true` writes to a terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with terminal() as (ours, theirs):
        subprocess.run([*int80, "trace", *options, "true"], stderr=theirs, env={**kept, "TERM": "xterm", **env}, timeout=60)
        return os.read(ours, 1 << 16).decode()


def strip(line: str) -> str:
    """A line without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def names(lines: list[str]) -> list[str]:
    return [line.split()[-1] for line in lines[2:-2]]


def test_the_columns_are_those_of_strace(tmp_path):
    lines = table(tmp_path, call("read", took=0.003, value=5), call("openat", took=0.001, value=-2, error="ENOENT"))
    assert lines == [
        "% time     seconds  usecs/call     calls    errors syscall",
        "------ ----------- ----------- --------- --------- ----------------",
        " 75.00    0.003000        3000         1           read",
        " 25.00    0.001000        1000         1         1 openat",
        "------ ----------- ----------- --------- --------- ----------------",
        "100.00    0.004000        2000         2         1 total",
    ]


def test_a_long_name_makes_the_rule_longer(tmp_path):
    lines = table(tmp_path, call("sched_get_priority_max"))
    assert lines[1] == lines[3] == "------ ----------- ----------- --------- --------- -----------------------"


def test_no_calls_make_no_table(tmp_path):
    assert table(tmp_path) == []


def test_a_call_that_never_returns_is_not_counted(tmp_path):
    assert names(table(tmp_path, call("getpid"), call("exit_group", "0", value=None, took=None))) == ["getpid"]


def test_a_call_to_be_restarted_counts_as_failed(tmp_path):
    assert table(tmp_path, call("read", value=-512))[2].split()[3:] == ["1", "1", "read"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("time", "read close open"), ("calls", "close open read"), ("errors", "open close read"), ("name", "close open read"),
     ("max", "read close open"), ("min", "read open close"), ("avg", "read open close"), ("nothing", "open close read"),
     ("total-time", "read close open"), ("syscall", "close open read")],
)  # fmt: skip
def test_it_is_sorted_as_asked(tmp_path, sort, expected):
    events = [call("open", value=-2, error="ENOENT", took=0.002), call("close", took=0.001), call("close", took=0.0025),
              call("read", took=0.5)]  # fmt: skip
    assert names(table(tmp_path, *events, sort=sort)) == expected.split()


def test_an_unknown_key_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        Summary(tmp_path / "out", sort="colour")
    assert not (tmp_path / "out").exists()
    assert "time" in SORTS


def test_drawn_for_a_person_it_has_bars_and_colours_and_fits(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = on_terminal(lambda fd: Summary(fd, pretty=True), *SHELL)
    assert "\x1b[" in shown and "█" in shown
    assert all(len(strip(line)) <= 80 for line in shown.splitlines())


def test_a_terminal_gets_the_drawn_table_and_no_color_the_plain_one(int80):
    assert "\x1b[" in traced_on_terminal(int80, "-c")
    assert traced_on_terminal(int80, "-c", NO_COLOR="1").startswith("% time     seconds")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_calls_and_errors_are_counted_as_strace_counts(int80, tmp_path):
    def counted(*command) -> dict[str, tuple[int, int]]:
        subprocess.run([*command, "cat", "/", "/none"], capture_output=True, timeout=60)
        rows = {}
        for line in (tmp_path / "out").read_text().splitlines()[2:-2]:
            _, _, _, calls, *errors, name = line.split()
            rows[name] = (int(calls), int(errors[0]) if errors else 0)
        return rows

    ours = counted(*int80, "trace", "-c", "-o", str(tmp_path / "out"))
    assert ours == counted("strace", "-f", "-c", "-o", str(tmp_path / "out"))


def test_capital_c_shows_the_calls_and_then_the_table(int80, tmp_path):
    subprocess.run([*int80, "trace", "-C", "-o", str(tmp_path / "out"), "true"], check=True, timeout=60)
    lines = (tmp_path / "out").read_text().splitlines()
    assert "execve(" in lines[0]
    assert lines[-1].endswith("total")
