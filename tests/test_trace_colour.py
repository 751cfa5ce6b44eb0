"""The painted log: the same words as the plain one, within the width, and what is important in its own colour."""

from __future__ import annotations

import re
import subprocess

import pytest

from tracer.log.colour import Colour, legend
from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Stopped
from tracer.log.text import Text, Times

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TEXT = '"a string, with (blanks) | and \\" = escapes"...'


def events():
    """A small log, with something of everything."""
    yield Born(1.0, 10, 10, 0, "command")
    whole = Call(1.1, 10, 10, "execve", 59, args=['"/bin/x"', "0x7ffd0 /* 3 vars */"], split=2)
    yield "begun", whole
    whole.value, whole.result, whole.duration = 0, "0", 0.001
    yield Executed(1.2, 10, 10, "/bin/x")
    yield "ended", whole
    late = Call(1.3, 10, 10, "read", 0, args=["3<TCP:[127.0.0.1:80->10.0.0.1:9]>"], split=1, partial=True)
    yield "begun", late
    late.args += [_TEXT, "4096"]
    late.value, late.result, late.duration = 4096, "4096", 0.2
    yield "ended", late
    yield Born(1.4, 11, 11, 10, "fork")
    failed = Call(1.5, 11, 11, "openat", 257, args=["AT_FDCWD", f'"/{"x" * 60}"', "O_RDONLY|O_CLOEXEC|O_NOFOLLOW"], split=3)
    yield "begun", failed
    waiting = Call(1.6, 10, 10, "wait4", 61, args=["-1"], split=1, partial=True)
    yield "begun", waiting
    failed.value, failed.error, failed.duration = -2, "ENOENT", 0.00001
    failed.result, failed.plane = "-1 ENOENT (No such file or directory)", "supervisor"
    yield "ended", failed
    refused = Call(1.7, 11, 11, "mount", 165, args=["NULL"], split=1, value=-1, error="EPERM", plane="refused", duration=0.0)
    refused.result = "-1 EPERM (Operation not permitted)"
    yield "begun", refused
    yield "ended", refused
    injected = Call(1.8, 11, 11, "fsync", 74, args=["3"], split=1, value=-5, error="EIO", duration=0.3)
    injected.injected = "INJECTED DELAYED"
    injected.result = "-1 EIO (Input/output error)"
    yield "begun", injected
    yield "ended", injected
    final = Call(1.9, 11, 11, "exit_group", 231, args=["1"], split=1)
    yield "begun", final
    yield "ended", final
    yield Ended(2.0, 11, 11, 1, None)
    waiting.args += ["[{WIFEXITED(s) && WEXITSTATUS(s) == 1}]", "0", "NULL"]
    waiting.value, waiting.result, waiting.duration = 11, "11", 0.4
    yield "ended", waiting
    yield Signal(2.1, 10, "SIGCHLD", "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=11, si_uid=0, si_status=1}")
    yield Stopped(2.2, 10, "SIGTSTP")
    cut = Call(2.3, 10, 10, "poll", 7, args=["[{fd=3, events=POLLIN}]"], split=1, partial=True)
    yield "begun", cut
    cut.unfinished = True
    yield "ended", cut
    left = Call(2.4, 10, 10, "read", 0, args=["3"], split=1, partial=True)
    yield "begun", left
    left.unfinished = left.detached = True
    yield "ended", left
    yield Detached(2.5, 10)
    yield Ended(2.6, 10, 10, None, "SIGSEGV", True)


def write(sink) -> None:
    for event in events():
        if isinstance(event, tuple):
            getattr(sink, event[0])(event[1])
        else:
            sink.happened(event)
    sink.close()


def log(tmp_path, kind, **more) -> str:
    with open(tmp_path / "log", "wb") as file:
        write(kind(file.fileno(), **more))
    return (tmp_path / "log").read_text()


def painted(tmp_path, width=0, system="256", **more) -> str:
    return log(tmp_path, Colour, times=more.pop("times", Times()), width=width, system=system, **more)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("who", ["always", "many", "never"])
@pytest.mark.parametrize("clock", [None, "tt"])
def test_without_colours_and_wrapping_the_lines_are_the_plain_ones(tmp_path, live, who, clock):
    plain = log(tmp_path, Text, times=Times(clock, spent=True, relative=True), who=who, live=live)
    colour = painted(tmp_path, times=Times(clock, spent=True, relative=True), who=who, live=live, column=40)
    assert "\x1b[" in colour
    assert _ANSI.sub("", colour) == plain


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
@pytest.mark.parametrize("who", ["always", "many"])
def test_no_line_is_longer_than_the_terminal_is_wide(tmp_path, width, who):
    lines = _ANSI.sub("", painted(tmp_path, width, who=who)).splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [40, 80, 120])
def test_wrapping_changes_nothing_but_blanks(tmp_path, width):
    wrapped = _ANSI.sub("", painted(tmp_path, width))
    assert re.sub(r"\s", "", wrapped) == re.sub(r"\s", "", log(tmp_path, Text, times=Times()))


def test_what_does_not_fit_goes_on_below_with_an_indent(tmp_path):
    lines = _ANSI.sub("", painted(tmp_path, 60, who="many")).splitlines()
    start = next(index for index, line in enumerate(lines) if "openat(" in line)
    path = f'"/{"x" * 60}"'
    assert lines[start : start + 5] == [
        "[pid    11] openat(AT_FDCWD, " + path[:31],
        " " * 14 + path[31:] + ", O_RDONLY|",
        " " * 14 + "O_CLOEXEC|O_NOFOLLOW <unfinished ...>",
        "[pid    10] wait4(-1,  <unfinished ...>",
        "[pid    11] <... openat resumed>)",
    ]


def test_results_stand_in_a_column_of_their_own(tmp_path):
    lines = _ANSI.sub("", painted(tmp_path, 80, who="never")).splitlines()
    assert {line.index("= ") for line in lines if line.startswith(("mount", "fsync", "exit_group"))} == {40}


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("read", "1;38;5;37"),
        ("openat", "1;38;5;33"),
        ("execve", "1;38;5;170"),
        ("-1 ENOENT", "1;38;5;196"),
        ("(No such file or directory)", "38;5;196"),
        (_TEXT, "38;5;64"),
        ("O_CLOEXEC", "38;5;133"),
        ("<TCP:[127.0.0.1:80->10.0.0.1:9]>", "38;5;64"),
        ("0x7ffd0", "38;5;244"),
        ("/* 3 vars */", "3;38;5;244"),
        ("[supervisor]", "38;5;31"),
        ("[refused]", "1;38;5;196"),
        ("(INJECTED)", "1;38;5;170"),
        ("--- SIGCHLD", "1;38;5;166"),
        ("+++ killed by SIGSEGV (core dumped) +++", "1;38;5;196"),
        ("<0.000010>", "38;5;244"),
        ("<0.300000>", "1;38;5;166"),
        ("<unfinished ...>", "3;38;5;244"),
    ],
)
def test_each_kind_of_thing_has_its_look(tmp_path, text, colour):
    assert f"\x1b[{colour}m{text}\x1b[0m" in painted(tmp_path, times=Times(spent=True))


def test_each_task_has_a_colour_of_its_own(tmp_path):
    colours = dict(re.findall(r"\x1b\[([\d;]+)m(\d+) \x1b\[0m", painted(tmp_path)))
    assert sorted(colours.values()) == ["10", "11"]


def test_a_terminal_of_few_colours_gets_those_that_it_has(tmp_path):
    text = painted(tmp_path, system="standard")
    assert "38;5;" not in text
    assert re.search(r"\x1b\[1;[39]\dm-1 ENOENT", text)


def test_a_live_line_is_seen_before_the_call_returns(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        sink = Colour(file.fileno(), Times(), "never", live=True, width=80, system="256")
        sink.begun(Call(1.0, 1, 1, "read", 0, args=["3"], split=1, partial=True))
        assert _ANSI.sub("", (tmp_path / "log").read_text()) == "read(3"


def test_the_legend_names_every_class(capsys):
    from tracer.log.looks import STYLES

    legend()
    shown = capsys.readouterr().out
    assert [kind for kind in STYLES if kind not in shown] == []


def test_a_pipe_gets_what_a_file_gets(int80, tmp_path, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    words = [*int80, "trace", "-e", "trace=exit_group", "sh", "-c", "exit 3"]
    piped = subprocess.run(words, capture_output=True, text=True).stderr
    assert piped == "exit_group(3)                           = ?\n+++ exited with 3 +++\n"
