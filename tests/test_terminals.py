"""Terminals: job control on the one that int80 was started on, one of the sandbox's own (-t), and those that guests make.

Each test reads until what it waits for is there; nothing depends on how long that takes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from tracer.terminal import Terminal

_PATIENCE = 60  # seconds until a test gives up


class Screen:
    """A program on a terminal of its own: what is typed into it, and what appears."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**os.environ, "PS1": "OUT> ", "TERM": "dumb", **(env or {})})
        self.seen = b""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, pattern: str) -> re.Match[bytes]:
        """Read until a pattern appears in what was not looked at yet; the match.  What lies before it is done with."""
        deadline = time.monotonic() + _PATIENCE
        while not (found := re.search(pattern.encode(), self.seen)):
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:  # nobody has it open any more
                    raise AssertionError(self.seen) from None
        self.seen = self.seen[found.end() :]
        return found

    def run(self, line: str, pattern: str) -> re.Match[bytes]:
        """Type a command, whose echo does not match, and read on to its output."""
        self.type(line + "\n")
        return self.until(pattern)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("<HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Read to the end; the exit status, or minus the signal."""
        deadline = time.monotonic() + _PATIENCE
        rest = b""
        while True:
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], rest
            try:
                part = os.read(self.fd, 4096)
            except OSError:
                break
            if not part:
                break
            rest += part
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def screen():
    """Make screens, and close them at the end."""
    made = []

    def make(command, **more) -> Screen:
        made.append(Screen(command, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def sandbox(int80, root):
    """The words before a command in a busybox root."""
    return [*int80, "run", "-e", "PS1=IN> ", "--rootfs", str(root)]


def quoted(words: list[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


OUTER = ["bash", "--norc", "--noprofile", "--noediting", "-i"]  # a shell of the host with job control


@pytest.fixture
def outer(screen) -> Screen:
    """A shell of the host's, which tells at once what becomes of its jobs."""
    shell = screen(OUTER, env={"PS1": "FIRST> "})
    shell.run("set -b; PS1='OUT''> '", "OUT> ")
    return shell


# -- job control on the terminal that was handed in ------------------------------------------------


def test_job_control_works_inside(screen, sandbox):
    shell = screen([*sandbox, "--", "sh"])
    shell.until("IN> ")
    shell.run("sh -c 'echo start''ed; exec sleep 1000'", "started")
    shell.type("\x1a")
    shell.until("Stopped")
    shell.run("bg", "sleep 1000")
    shell.run("jobs", "Running")
    shell.run("sh -c 'cat' & echo back''ground", "background")
    shell.run("wait %2; jobs", "Stopped.*\n.*|tty input")
    shell.run("kill %1; wait %1; echo st''atus $?", "status 143")
    shell.run("fg %2; echo st''atus $?", "cat")
    shell.run("to and fro", "to and fro\r\nto and fro")
    shell.type("\x03")
    shell.run("", "IN> ")
    shell.type("exit 5\n")
    assert shell.end() == 5


def test_the_command_is_stopped_and_continued_with_int80(outer, sandbox):
    outer.run(f"{quoted(sandbox)} -- cat", "-- cat")
    outer.run("first", "first\r\nfirst\r\n")
    outer.type("\x1a")
    outer.until("Stopped")
    outer.until("OUT> ")
    outer.run("bg; echo in the back''ground", "in the background")
    outer.until("Stopped")  # it reads
    outer.run("fg", "cat\r\n")
    outer.run("second", "second\r\nsecond\r\n")
    outer.type("\x04")
    outer.until("OUT> ")
    outer.run("echo st''atus $?", "status 0")
    outer.type("exit\n")
    assert outer.end() == 0


def test_a_job_started_in_the_background_gets_the_terminal_when_it_is_brought_to_the_foreground(outer, sandbox):
    outer.run(f"{quoted(sandbox)} -- cat &", "OUT> ")
    outer.until("Stopped")
    outer.run("fg", "-- cat\r\n")
    outer.run("line", "line\r\nline\r\n")
    outer.type("\x04")
    outer.until("OUT> ")


def test_a_pipeline_keeps_the_terminal_until_the_guest_asks_for_it(outer, sandbox):
    outer.run(f"{quoted(sandbox)} -- cat | tr a-z A-Z", "A-Z\r\n")
    outer.type("line\n")
    outer.type("\x04")
    outer.until("LINE")
    outer.until("OUT> ")
    outer.run(f"echo from a pipe | {quoted(sandbox)} -- sh -c 'cat; read line </dev/tty; echo got $line'", "from a pipe")
    outer.run("typed", "got typed")


def test_ctrl_c_reaches_all_of_a_pipelines_guest(outer, sandbox):
    """The terminal's signal goes to int80's group, which hands it to all of init's, not to init alone."""
    line = 'trap : INT; sh -c "echo start\\ed; exec sleep 1000"; echo status $?'
    outer.run(f"{quoted([*sandbox, '--', 'sh', '-c'])} '{line}' | (trap \"\" INT; cat)", "started")
    outer.type("\x03")
    outer.until("status 130")


def test_a_stop_of_the_whole_job_stops_the_script_around_int80(outer, sandbox):
    outer.run(f"sh -c \"{quoted(sandbox)} -- cat; echo af\\ter\"", "ter\"\r\n")
    outer.run("line", "line\r\nline\r\n")
    outer.type("\x1a")
    outer.until("Stopped")
    outer.run("fg", "ter\"\r\n")
    outer.run("again", "again\r\nagain\r\n")
    outer.type("\x04")
    outer.until("after")


def test_orphans_do_not_stop_at_ctrl_z(screen, sandbox):
    """int80 leads the session of this terminal: nobody could continue it."""
    cat = screen([*sandbox, "--", "cat"])
    cat.run("first", "first\r\nfirst\r\n")
    cat.type("\x1a")
    cat.run("second", "second\r\nsecond\r\n")


def test_the_window_is_resized(screen, sandbox):
    shell = screen([*sandbox, "--", "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do read line; done"])
    shell.until("ready")
    shell.resize(33, 101)
    shell.until("33 101")


HUNG_UP = "trap 'echo hup >/tmp/hup; exit' HUP; echo ready; while :; do sleep 1000 & wait; done"


def test_when_the_terminal_closes_everything_ends(sandbox, root):
    shell = Screen([*sandbox, "--", "sh", "-c", HUNG_UP])
    shell.until("ready")
    shell.close()
    os.waitpid(shell.pid, 0)
    assert (root / "tmp/hup").read_text() == "hup\n"


def test_the_terminal_is_given_back_only_by_who_has_it(outer, sandbox):
    """A command that ends in the background leaves the terminal to who has it."""
    outer.run(f"{quoted(sandbox)} -- sh -c 'echo start\\ed; read line'", "started")
    outer.type("\x1a")
    outer.until("Stopped")
    outer.run("cat | kill -9 %1; wait %1 2>&1 | cat; echo on''ly", ".")
    outer.type("\x04")
    outer.until("only")
    outer.run("read line; echo re''ad $line", "\r\n")
    outer.run("here", "read here")


def test_a_shell_that_must_wait_for_the_terminal_is_stopped(outer, sandbox):
    outer.run(f"{quoted(sandbox)} -- sh -i &", "OUT> ")
    outer.until("Stopped")
    outer.run("fg", "IN> ")
    outer.run("echo in''side", "inside")


# -- a terminal of its own --------------------------------------------------------------------------


def own(sandbox, *words: str, stdin: bytes = b"", **more) -> subprocess.CompletedProcess:
    return subprocess.run([*sandbox, "-t", "--", *words], input=stdin, capture_output=True, timeout=_PATIENCE, **more)


def test_a_terminal_of_its_own_where_there_is_none(sandbox):
    done = own(sandbox, "sh", "-c", "tty; stty size; test -t 0 -a -t 1 -a -t 2 && ps -o pid,pgid,sid,tty; exit 7")
    lines = done.stdout.decode().split("\r\n")
    assert re.fullmatch(r"/dev/pts/\d+", lines[0])
    assert lines[1] == "24 80"
    assert lines[3].split()[:3] == ["1", "1", "1"]
    assert (done.returncode, done.stderr) == (7, b"")


def test_all_output_arrives(sandbox):
    assert own(sandbox, "seq", "1", "100000").stdout == b"".join(b"%d\r\n" % i for i in range(1, 100001))


def test_all_input_arrives_and_its_end_after_it(sandbox):
    lines = b"".join(b"line %d\n" % i for i in range(20000))
    done = own(sandbox, "sh", "-c", "stty -echo; md5sum; wc -l", stdin=lines)
    assert hashlib.md5(lines).hexdigest().encode() in done.stdout
    assert done.stdout.endswith(b"0\r\n")  # the next reader finds the end too


def test_an_input_that_ends_amid_a_line_ends(sandbox):
    assert own(sandbox, "cat", stdin=b"half").stdout == b"halfhalf"


def test_a_shell_reads_commands_from_a_pipe_through_its_terminal(sandbox):
    done = own(sandbox, "sh", stdin=b"echo $((40 + 2))\nexit 3\n")
    assert b"\r\n42\r\n" in done.stdout
    assert done.returncode == 3


def test_when_nobody_takes_the_output_the_terminal_hangs_up(sandbox):
    running = subprocess.Popen([*sandbox, "-t", "--", "yes"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    running.stdout.read(100)
    running.stdout.close()
    assert running.wait(_PATIENCE) == 128 + signal.SIGHUP


@pytest.mark.parametrize("options", [["-t"], ["-it"], ["--tty", "--interactive"]], ids=" ".join)
def test_a_terminal_of_its_own_on_a_terminal(outer, sandbox, options):
    outer.resize(40, 100)
    outer.run(f"{quoted(sandbox)} {' '.join(options)} -- sh", "IN> ")
    outer.run("stty size", "40 100")
    outer.resize(50, 120)
    outer.run("while test \"$(stty size)\" != '50 120'; do :; done; echo resi''zed", "resized")
    outer.run("sh -c 'echo start\\ed; exec cat'", "started")
    outer.run("first", "first\r\nfirst\r\n")
    outer.type("\x1a")
    outer.until("Stopped")
    outer.run("kill -9 %1; echo go''ne", "gone")
    outer.run("exec sh -c 'exit 3'", "OUT> ")
    outer.run("echo st''atus $?; stty -a | tr ' ' '\\n' | grep icanon", "status 3\r\nicanon")


def test_when_the_terminal_outside_closes_the_one_inside_hangs_up(sandbox, root):
    shell = Screen([*sandbox, "-t", "--", "sh", "-c", HUNG_UP])
    shell.until("ready")
    shell.close()
    os.waitpid(shell.pid, 0)
    assert (root / "tmp/hup").read_text() == "hup\n"


# -- terminals that guests make ---------------------------------------------------------------------


def without_terminal(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE)


@pytest.mark.parametrize("gate", ["syscall", "int80"])
def test_sessions_groups_and_stops_are_as_natively(run, guest, gate):
    program = guest("terminal", gate=gate)
    shutil.copy(program, run.root / "bin/terminal")
    natively = subprocess.run([program], capture_output=True, timeout=_PATIENCE).stdout.decode()
    assert "leader: exit 0" in natively
    assert run("terminal").stdout.decode() == natively
    assert run("terminal", options=("-t",)).stdout.decode().replace("\r\n", "\n") == natively


PYTHON = """
import os, pty, re
pid, fd = pty.fork()
if not pid:
    os.write(1, b"%d %d %s\\n" % (os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpgrp(), os.ttyname(0).encode()))
    os.execvp("sh", ["sh", "-c", "tty </dev/tty; test -t 0 && read line; echo got $line"])
os.write(fd, b"a line\\n")
out = b""
try:
    while part := os.read(fd, 1000): out += part
except OSError: pass
own = re.search(rb"/dev/pts/([0-9]+)", out)[1].decode()
print(out.replace(b"/dev/pts/" + own.encode(), b"NAME"), os.waitpid(pid, 0)[1], os.path.exists("/dev/pts/" + own))
status = pty.spawn(["sh", "-c", "tty >/dev/null && echo spawned; exit 4"])
print(os.waitstatus_to_exitcode(status))
os.close(fd)
print(os.path.exists("/dev/pts/" + own))
"""


def test_pythons_pty_module_works_inside(int80):
    command = ["/usr/bin/python3", "-c", PYTHON]
    outputs = [
        without_terminal([*before, *command]).stdout
        for before in ([], [*int80, "run", "--"])
    ]
    # How the child's lines and the echo of what is typed meet differs from run to run.
    natively, inside = (re.sub(rb"b'.*?'", b"", output) for output in outputs)
    assert b"spawned" in inside
    assert inside == natively


@pytest.mark.skipif(shutil.which("script") is None, reason="needs script, of util-linux (bsdutils)")
def test_script_records_a_session_inside(int80):
    command = ["script", "-qec", "tty; ps -o tty= -p $$; exit 6", "/dev/null"]
    done = without_terminal([*int80, "run", "--", *command])
    name, column = done.stdout.decode().split()
    assert name == "/dev/" + column
    assert done.returncode == 6


@pytest.mark.skipif(shutil.which("expect") is None, reason="needs expect")
def test_expect_talks_to_a_shell_inside(int80):
    script = 'spawn sh; expect -re {[#$] $}; send "echo \\$((6 * 7)) ok\\r"; expect "42 ok"; '
    script += 'send "exit 3\\r"; expect eof; exit [lindex [wait] 3]'
    done = without_terminal([*int80, "run", "--", "expect", "-c", script])
    assert done.returncode == 3, done


FULL = {"TERM": "xterm"}  # for programs that fill the screen


@pytest.fixture
def inside(screen, int80) -> Screen:
    """A shell with job control in a sandbox on this machine's root."""
    shell = screen([*int80, "run", "--", *OUTER], env=FULL)
    shell.run("set -b; PS1='IN''> '", "IN> ")
    return shell


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_tmux_and_its_server_run_inside(inside):
    inside.run("export TMUX_TMPDIR=$(mktemp -d); echo ma''de", "made")  # /tmp may have one of this machine's
    inside.run("tmux -L inner -f /dev/null new-session 'PS1=WINDOW\\>\\  exec sh'", "WINDOW> ")
    inside.run("echo $((40 + 2)) pane $TMUX_PANE", "42 pane %0")
    inside.run("sh -c 'echo start''ed; exec sleep 1000'", "started")
    inside.type("\x03")
    inside.run("tmux -L inner split-window 'echo bel\"\"ow; exec tr a-z A-Z'", "below")
    inside.run("shouted", "SHOUTED")
    inside.resize(30, 66)
    inside.type("\x02o")  # the other pane
    inside.run("until stty size | grep ' 66$'; do :; done; echo resi''zed", "resized")
    inside.type("\x02d")
    inside.until("detached")
    inside.run("echo pa''nes: $(tmux -L inner list-panes | wc -l)", "panes: 2")
    inside.run("tmux -L inner kill-server; jobs; echo go''ne", "gone")


@pytest.mark.skipif(shutil.which("screen") is None, reason="needs screen")
def test_screen_is_left_and_found_again_inside(inside):
    inside.run("export SCREENDIR=/tmp/screens; mkdir -m 700 $SCREENDIR; echo ma''de", "made")
    inside.run("screen -c /dev/null sh -c 'echo be\"\"gun; exec tr a-z A-Z'", "begun")
    inside.run("shouted", "SHOUTED")
    inside.type("\x01d")
    inside.until("detached")
    inside.run("screen -r", "SHOUTED")
    inside.type("\x03")
    inside.until("terminating")


SSHD = """
cd $(mktemp -d); mkdir -p -m 755 /run/sshd
for key in host me; do ssh-keygen -q -t ed25519 -N "" -f $key; done
/usr/sbin/sshd -f /dev/null -o Port=2222 -o ListenAddress=127.0.0.1 -o HostKey=$PWD/host -o PidFile=none \
    -o AuthorizedKeysFile=$PWD/me.pub -o StrictModes=no -o UsePAM=yes
ssh="ssh -q -F none -i me -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
ssh="$ssh -o ConnectionAttempts=60 127.0.0.1"
echo rea''dy
"""


@pytest.mark.skipif(not os.path.exists("/usr/sbin/sshd"), reason="needs sshd (openssh-server)")
def test_ssh_logs_in_over_the_loopback_inside(inside):
    for line in SSHD.replace("\\\n", "").strip().splitlines():
        inside.type(line + "\n")
    inside.until("ready")
    inside.run("$ssh 'echo no terminal: $(tty); exit 7'; echo st''atus $?", "no terminal: not a tty\r\nstatus 7")
    inside.resize(33, 101)
    waits = 'until [ \"$(stty size)\" = \"34 102\" ]; do :; done; echo res\"\"ized; exec sleep 1000'
    inside.run(f"$ssh -t 'stty size; {waits}'", "33 101")
    inside.resize(34, 102)
    inside.until("resized")
    inside.type("\x03")
    inside.until("IN> ")
    inside.run("$ssh -t 'echo fi''rst; exec cat'", "first")
    inside.type("\r~\x1a")
    inside.until("Stopped")
    inside.until("IN> ")
    inside.run("fg", "ssh ")
    inside.run("line", "line\r\nline")
    inside.type("\x04")
    inside.until("IN> ")


@pytest.mark.skipif(shutil.which("less") is None, reason="needs less")
def test_a_pager_shows_searches_and_ends(inside):
    inside.run("seq 500 | less", "\n2\r")
    inside.run("/^277", "277")
    inside.type("q")
    inside.until("IN> ")


def test_pythons_prompt_is_interrupted_and_stopped(inside):
    inside.run("/usr/bin/python3 -q", ">>> ")
    # It does not sleep: of an interrupt that comes just before it does, Python hears nothing, natively too.
    inside.run("exec('print(\\'beg\\' + \\'un\\', flush=True)\\nwhile True: pass')", "begun")
    inside.type("\x03")
    inside.until("KeyboardInterrupt")
    inside.until(">>> ")
    inside.type("\x1a")
    inside.until("Stopped")
    inside.until("IN> ")
    inside.run("fg", "python3")
    inside.run("print(6 * 7)", "42")
    inside.until(">>> ")
    inside.type("\x04")
    inside.until("IN> ")


def test_a_shell_suspends_itself_and_goes_on(inside):
    inside.run("PS1='DEEP''> ' bash --norc --noprofile --noediting -i", "DEEP> ")
    inside.run("suspend", "Stopped")
    inside.until("IN> ")
    inside.run("fg", "bash ")
    inside.run("echo ba''ck; exit", "back")
    inside.until("IN> ")


def test_only_terminals_of_the_sandbox_are_listed(sandbox):
    other, slave = os.openpty()
    try:
        done = without_terminal([*sandbox, "--", "ls", "/dev/pts"])
        assert done.stdout.split() == [b"ptmx"]
    finally:
        os.close(other)
        os.close(slave)


# -- without a guest --------------------------------------------------------------------------------


def test_no_terminal_is_found_where_there_is_none(tmp_path):
    with open(tmp_path / "file", "w") as file:
        assert Terminal.of((file.fileno(),)) is None


class Holder:
    """Who has a terminal that is none, as the calls of `os` see it."""

    def __init__(self, monkeypatch, group: int) -> None:
        self.group = group
        monkeypatch.setattr(os, "tcgetpgrp", lambda fd: self.group)
        monkeypatch.setattr(os, "tcsetpgrp", lambda fd, group: setattr(self, "group", group))


GUESTS, JOB, SOMEBODY = 1000001, 1000002, 1000003  # groups


def test_what_was_lent_is_taken_back(monkeypatch):
    holder, terminal = Holder(monkeypatch, os.getpgrp()), Terminal(0)
    terminal.lend(GUESTS)
    assert terminal.set_foreground(0, JOB) == 0
    assert holder.group == JOB
    terminal.take_back()
    assert holder.group == os.getpgrp()


def test_what_somebody_else_has_by_now_is_left_to_them(monkeypatch):
    """As the shell has, that put int80 into the background."""
    holder, terminal = Holder(monkeypatch, os.getpgrp()), Terminal(0)
    terminal.lend(GUESTS)
    holder.group = SOMEBODY
    terminal.take_back()
    assert holder.group == SOMEBODY


def test_a_guest_cannot_take_a_terminal_that_is_somebody_elses(monkeypatch):
    holder, terminal = Holder(monkeypatch, SOMEBODY), Terminal(0)
    assert terminal.set_foreground(0, GUESTS) == -errno.EPERM
    assert holder.group == SOMEBODY


def test_the_job_that_had_the_terminal_gets_it_again(monkeypatch):
    holder, terminal = Holder(monkeypatch, os.getpgrp()), Terminal(0)
    terminal.lend(GUESTS)
    terminal.set_foreground(0, JOB)
    holder.group = SOMEBODY
    terminal.continued(GUESTS)  # bg
    assert holder.group == SOMEBODY
    holder.group = os.getpgrp()
    terminal.continued(GUESTS)  # fg
    assert holder.group == JOB
