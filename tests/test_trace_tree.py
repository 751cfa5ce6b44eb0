"""The tree of processes at the end of a trace (--tree)."""

from __future__ import annotations

import subprocess

import pytest
from made_up import BEGIN, LOOSE, SHELL, call, tell
from test_trace_summary import on_terminal, strip, traced_on_terminal

from tracer.log.events import Born, Ended, Executed
from tracer.log.treeview import Tree


def tree(tmp_path, *events) -> list[str]:
    tell(Tree(tmp_path / "out"), *events)
    return (tmp_path / "out").read_text().splitlines()


def test_a_process_stands_below_the_one_that_made_it(tmp_path):
    heading, shell, cat = tree(tmp_path, *SHELL)
    assert heading.split() == ["process", "pid", "end", "time", "calls", "errors", "in", "calls", "threads"]
    assert shell.split() == ["/bin/sh", "10", "exit", "3", "101", "ms", "7", "46", "ms", "2"] or shell.startswith("/bin/sh")
    assert cat.startswith("└─ /bin/cat")


def test_a_row_says_how_it_ended_how_long_it_took_and_what_it_asked_for(tmp_path):
    _, shell, cat = tree(tmp_path, *SHELL)
    assert cat.split()[1:] == ["/bin/cat", "11", "exit", "1", "30", "ms", "3", "1", "2.5", "ms"]
    assert shell.split() == ["/bin/sh", "10", "exit", "3", "101", "ms", "7", "46", "ms", "2"]


def test_a_process_that_executes_nothing_is_named_after_its_parent(tmp_path):
    rows = tree(tmp_path, *SHELL[:2], Born(BEGIN, 11, 11, 10, "fork"), Ended(BEGIN + 1, 11, 11, None, "SIGKILL", True))
    assert rows[2].split()[1:5] == ["(/bin/sh)", "11", "SIGKILL,", "core"]


def test_programs_that_followed_each_other_are_all_named(tmp_path):
    rows = tree(tmp_path, *SHELL[:2], Executed(BEGIN + 1, 10, 10, "/bin/env"), Executed(BEGIN + 2, 10, 10, "/bin/id"))
    assert rows[1].startswith("/bin/sh → /bin/env → /bin/id ")


def test_one_that_is_let_go_says_so(tmp_path):
    assert "detached" in tree(tmp_path, *LOOSE)[1]


def test_one_whose_end_was_not_seen_is_still_running_until_the_last_event(tmp_path):
    row = tree(tmp_path, *SHELL[:2], call("pause", at=1, took=1.0))[1]
    assert row.split()[:6] == ["/bin/sh", "10", "still", "running", "2.00", "s"]


def test_a_number_used_again_is_another_process(tmp_path):
    again = (Born(BEGIN + 2, 11, 11, 10, "fork"), Executed(BEGIN + 3, 11, 11, "/bin/ls"), Ended(BEGIN + 4, 11, 11, 0, None))
    rows = tree(tmp_path, *SHELL[:-1], *again)
    assert [row.split()[1] for row in rows[2:]] == ["/bin/cat", "/bin/ls"]


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path):
    assert tree(tmp_path, *LOOSE)[1].startswith("/srv/n\\xffme ")


def test_a_thread_that_executes_becomes_its_process(tmp_path):
    rows = tree(tmp_path, *SHELL[:2], Born(BEGIN, 12, 10, 10, "thread"), Executed(BEGIN + 1, 10, 12, "/bin/id"),
                Ended(BEGIN + 2, 10, 10, 0, None))  # fmt: skip
    assert len(rows) == 2 and rows[1].split()[:5] == ["/bin/sh", "→", "/bin/id", "10", "exit"]


@pytest.mark.slow
def test_a_long_chain_of_processes_is_no_trouble(tmp_path):
    events = [event for pid in range(1, 1500) for event in (Born(BEGIN, pid, pid, pid - 1, "fork"),)]
    assert len(tree(tmp_path, *events)) == 1500


def test_drawn_for_a_person_it_has_colours_and_fits(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = on_terminal(lambda fd: Tree(fd, pretty=True), *SHELL)
    assert "\x1b[" in shown
    assert all(len(strip(line)) <= 80 for line in shown.splitlines())


def test_a_terminal_gets_colours_unless_no_color_is_set(int80):
    assert "\x1b[" in traced_on_terminal(int80, "--tree")
    assert "\x1b" not in traced_on_terminal(int80, "--tree", NO_COLOR="1")


def test_the_command_shows_the_tree(int80, tmp_path):
    script = "/bin/true; (exit 4); kill -9 $$"
    subprocess.run([*int80, "trace", "--tree", "-o", str(tmp_path / "out"), "sh", "-c", script], timeout=60)
    rows = (tmp_path / "out").read_text().splitlines()
    assert len(rows) == 4
    assert "SIGKILL" in rows[1] and "exit 0" in rows[2] and "exit 4" in rows[3]
