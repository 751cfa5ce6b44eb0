"""Containers at a terminal: run -it, exec -it, attach and leaving, sizes, and what is logged meanwhile."""

from __future__ import annotations

import os
import signal

import pytest
from test_terminals import Screen


@pytest.fixture
def screen(engine):
    """Terminals on which int80 is given commands."""
    made = []

    def make(*words: str) -> Screen:
        made.append(Screen([*engine.command, *words], env=engine.env))
        return made[-1]

    yield make
    for one in made:
        one.close()


def shell(engine, *options: str) -> tuple[str, ...]:
    return ("run", "-it", *options, "-e", "PS1=IN> ", "--lower", str(engine.root), "--", "sh")


def test_a_shell_in_a_named_container(engine, screen):
    terminal = screen(*shell(engine, "--name", "one"))
    terminal.until("IN> ")
    terminal.run("tty; stty size", "/dev/")
    terminal.run("echo he''re; exit 3", "here")
    assert terminal.end() == 3
    assert engine.state("one")["ExitCode"] == 3
    assert "here\r\n" in engine.logs("one")


def test_ctrl_c_is_for_what_runs_inside(engine, screen):
    terminal = screen(*shell(engine, "--name", "one", "--rm"))
    terminal.until("IN> ")
    terminal.run("sh -c 'echo start''ed; exec sleep 1000'", "started")
    terminal.type("\x03")
    terminal.until("IN> ")
    terminal.run("exit", "exit")
    assert terminal.end() == 130  # what the shell's last command came to
    assert engine.names("-a") == []


def test_it_is_left_by_keys_and_attached_again(engine, screen):
    first = screen(*shell(engine, "--name", "one"))
    first.until("IN> ")
    first.run("x=remem''bered; echo o''k", "ok")
    first.type("\x10\x11")
    assert first.end() == 0
    assert engine.names() == ["one"]
    second = screen("attach", "one")
    second.run("echo it is $x", "it is remembered")
    second.run("echo rea''dy; cat -v", "ready\r\n")  # the shell has done with the terminal, and reads no more of it
    second.type("\x10x\n")  # not the keys: they are typed
    second.until("\\^Px\r\n\\^Px\r\n")  # the terminal's echo, and what cat makes of it
    second.type("\x04exit 4\n")
    assert second.end() == 4


def test_other_keys_can_be_chosen(engine, screen):
    terminal = screen(*shell(engine, "-d", "--name", "one"))
    assert terminal.end() == 0
    attached = screen("attach", "--detach-keys", "ctrl-x,q", "one")
    attached.run("echo $((40 + 2))", "42")
    attached.type("\x18q")
    assert attached.end() == 0
    assert engine.names() == ["one"]


def test_several_see_the_same(engine, screen):
    screen(*shell(engine, "-d", "--name", "one")).end()
    one, other = screen("attach", "one"), screen("attach", "one")
    one.run("echo $((40 + 2))", "42")
    other.run("echo $((50 + 2))", "52")
    one.until("52")


def test_the_terminal_has_the_size_of_the_one_outside(engine, screen):
    terminal = screen(*shell(engine, "--name", "one", "--rm"))
    terminal.until("IN> ")
    terminal.resize(33, 111)
    terminal.run("until [ \"$(stty size)\" = '33 111' ]; do :; done; echo siz''ed", "sized")


def test_exec_has_a_terminal_of_its_own(engine, screen):
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    terminal = screen("exec", "-it", "-e", "PS1=IN> ", "one", "sh")
    terminal.until("IN> ")
    terminal.resize(22, 99)
    terminal.run("until [ \"$(stty size)\" = '22 99' ]; do :; done; echo siz''ed", "sized")
    terminal.run("tty", "/dev/pts/|/dev/tty|/dev/console")
    terminal.run("sh -c 'echo start''ed; exec sleep 1000'", "started")
    terminal.type("\x03")
    terminal.until("IN> ")
    terminal.run("exit 5", "exit 5")
    assert terminal.end() == 5
    assert engine.names() == ["one"]


def test_a_terminal_that_goes_leaves_the_container(engine, screen):
    terminal = screen(*shell(engine, "--name", "one"))
    terminal.until("IN> ")
    os.kill(terminal.pid, signal.SIGHUP)
    terminal.end()
    assert engine.names() == ["one"]
    attached = screen("attach", "one")
    attached.run("echo $((40 + 2))", "42")


def test_start_attached_and_interactive(engine, screen):
    screen(*shell(engine, "-d", "--name", "one")).end()
    engine("stop", "-t", "0", "one")
    terminal = screen("start", "-ai", "one")
    terminal.until("IN> ")
    terminal.run("exit 6", "exit 6")
    assert terminal.end() == 6


def test_the_modes_of_the_terminal_outside_come_back(engine, screen):
    words = " ".join(f"'{word}'" for word in [*engine.command, *shell(engine, "--name", "one", "--rm")])
    outer = Screen(["bash", "--norc", "--noprofile", "--noediting", "-i"], env=engine.env)
    try:
        outer.run("PS1='OUT''> '; stty -a > /dev/null; before=$(stty -g)", "OUT> ")
        outer.run(words, "\nIN> ")
        outer.run("exit", "OUT> ")
        outer.run('[ "$before" = "$(stty -g)" ] && echo the sa""me', "the same")
    finally:
        outer.close()
