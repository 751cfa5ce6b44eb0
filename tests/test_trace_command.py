"""`int80 trace` as a person meets it: what it prints, how it ends, and that whoever is traced does not notice."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from runtimes import eventually


@pytest.fixture
def trace(int80):
    """`int80 trace WORDS`; a CompletedProcess with text."""

    def run(*words, **more):
        return subprocess.run([*int80, "trace", *words], capture_output=True, text=True, timeout=60, **more)

    return run


@contextmanager
def started(words, **more):
    """A Popen that is gone at the end, whatever becomes of the test."""
    with subprocess.Popen(words, **more) as process:
        try:
            yield process
        finally:
            process.kill()


def names(lines: str) -> set[str]:
    """The calls that a log has."""
    return set(re.findall(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\(", lines, re.MULTILINE))


def until(stream, text: str) -> str:
    """What comes from a pipe up to and with a text."""
    seen = ""
    while text not in seen:
        ready, _, _ = select.select([stream], [], [], 20)
        assert ready, f"waited for {text!r} in vain; there was {seen!r}"
        chunk = os.read(stream.fileno(), 65536).decode()
        assert chunk, f"the end came before {text!r}; there was {seen!r}"
        seen += chunk
    return seen


def status(pid: int, field: str) -> str:
    return re.search(rf"^{field}:\s*(\S+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]


# -- a command --------------------------------------------------------------------------------------


def test_output_input_and_status_are_the_commands(trace, tmp_path):
    done = trace("-o", str(tmp_path / "log"), "sh", "-c", "cat; echo done >&2; exit 7", input="through\n")
    assert (done.stdout, done.stderr, done.returncode) == ("through\n", "done\n", 7)
    assert re.search(r"\+\+\+ exited with 7 \+\+\+$", (tmp_path / "log").read_text())


def test_a_command_ended_by_a_signal_gives_128_and_the_signal(trace):
    done = trace("-e", "trace=none", "sh", "-c", "kill -9 $$")
    assert (done.returncode, done.stderr) == (137, "+++ killed by SIGKILL +++\n")


@pytest.mark.parametrize("filtered", [(), ("-e", "trace=!close")])
def test_the_lines_of_true_are_straces(trace, tmp_path, filtered):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    trace(*filtered, "-ff", "-o", str(ours), "true")
    subprocess.run(["strace", *filtered, "-ff", "-o", str(theirs), "true"], check=True)

    def lines(start: Path) -> list[str]:
        (file,) = start.parent.glob(f"{start.name}.*")
        return re.findall(r"^(\w+)\(", file.read_text(), re.MULTILINE)

    assert lines(ours) == lines(theirs)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 125, "no command given, and no -p"),
        (["--"], 125, "no command given, and no -p"),
        (["nosuch"], 127, "nosuch: not found"),
        (["/nowhere/nosuch"], 127, "/nowhere/nosuch: not found"),
        (["/etc/passwd"], 126, "/etc/passwd: cannot be run: permission denied"),
        (["/etc"], 126, "/etc: cannot be run: is a directory"),
        (["--nonsense", "true"], 125, "unrecognized arguments: --nonsense"),
        (["-e", "opne", "true"], 125, "there is no call 'opne'; did you mean open"),
        (["-e", "signal=SIGX", "true"], 125, "there is no signal 'SIGX'"),
        (["-o", "/nowhere/log", "true"], 125, "/nowhere/log: no such file or directory"),
        (["-E", "=x", "true"], 125, "-E =x: give NAME=VALUE"),
        (["-p", "x"], 125, "-p x: give the number of a process"),
        (["-p", "4194303"], 125, "-p 4194303: there is no such process"),
        (["-p", "1", "true"], 125, "-p and a command exclude each other"),
    ],
)
def test_bad_input_gets_one_clear_line_and_its_status(trace, words, code, said):
    done = trace(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_cannot_be_run_after_all_is_said_and_logged(trace, tmp_path):
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "junk").chmod(0o755)
    done = trace("-o", str(tmp_path / "log"), str(tmp_path / "junk"))
    assert (done.returncode, done.stderr) == (126, f"int80: {tmp_path}/junk: cannot be run: exec format error\n")
    log = (tmp_path / "log").read_text()
    assert "= -1 ENOEXEC" in log
    assert names(log) == {"execve"}


def test_a_bad_option_leaves_the_file_alone(trace, tmp_path):
    (tmp_path / "log").write_text("kept")
    assert trace("-o", str(tmp_path / "log"), "-e", "opne", "true").returncode == 125
    assert trace("-o", str(tmp_path / "log"), "nosuch").returncode == 127
    assert (tmp_path / "log").read_text() == "kept"


def test_the_environment_is_ours_with_what_was_changed(trace, monkeypatch):
    monkeypatch.setenv("GONE", "1")
    done = trace("-E", "A=b c", "-E", "GONE", "-e", "trace=none", "sh", "-c", "echo $A, ${GONE-unset}")
    assert done.stdout == "b c, unset\n"


def test_a_signal_that_was_ignored_is_ignored_by_the_command(trace):
    words = ("-e", "trace=none", "-qq", "sh", "-c", "kill -INT $$; echo alive")
    done = trace(*words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert "alive\n" in done.stdout


def test_no_descriptor_of_the_tracer_is_left_to_the_command(trace, tmp_path):
    done = trace("-o", str(tmp_path / "log"), "--timeline", str(tmp_path / "t"), "ls", "/proc/self/fd")
    assert done.stdout.split() == ["0", "1", "2", "3"]


# -- choosing ---------------------------------------------------------------------------------------


def test_only_chosen_calls_are_stopped(trace):
    done = trace("-e", "trace=openat", "grep", "-E", "TracerPid|Seccomp:", "/proc/self/status")
    assert "Seccomp:\t2" in done.stdout
    assert names(done.stderr) == {"openat"}


def test_where_everything_is_chosen_there_is_no_filter(trace):
    assert "Seccomp:\t0" in trace("-qq", "grep", "Seccomp:", "/proc/self/status").stdout


def test_children_are_chosen_from_as_well(trace):
    done = trace("-e", "trace=chdir", "sh", "-c", "(cd /) & wait; cd /tmp")
    assert re.search(r'^\[pid +\d+\] chdir\("/"\) += 0$', done.stderr, re.MULTILINE)
    assert re.search(r'^chdir\("/tmp"\) += 0$', done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("option", "errors", "others"), [("-Z", True, False), ("-z", False, True), ("-e status=!failed", False, True)]
)
def test_calls_are_chosen_by_their_outcome(trace, option, errors, others):
    lines = [line for line in trace(*option.split(), "cat", "/nowhere").stderr.splitlines() if re.match(r"\w+\(.*=", line)]
    assert any("= -1 E" in line for line in lines) is errors
    assert any("= -1 E" not in line for line in lines) is others
    assert all(line.count("openat(") < 2 and line.count("{st_mode") < 2 for line in lines)


def test_calls_are_chosen_by_path(trace, tmp_path):
    (tmp_path / "seen").write_text("x")
    (tmp_path / "link").symlink_to("seen")
    script = f"read line <{tmp_path}/link; read line <{tmp_path}/seen; read line </etc/passwd"
    lines = trace("-P", str(tmp_path / "link"), "-e", "signal=none", "-qq", "sh", "-c", script).stderr
    assert f'"{tmp_path}/link"' in lines
    assert f'"{tmp_path}/seen"' in lines
    assert "/etc/passwd" not in re.sub("^execve.*", "", lines)


def test_signals_are_chosen(trace):
    script = "trap : USR1 USR2; kill -USR1 $$; kill -USR2 $$"
    lines = trace("-e", "trace=none", "-e", "signal=USR2", "sh", "-c", script).stderr
    assert "SIGUSR2" in lines
    assert "SIGUSR1" not in lines


_DATA = """
import os, socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
os.writev(a.fileno(), [b"hello \\0\\xff world, a bit longer", b"b"])
os.readv(b.fileno(), [bytearray(8), bytearray(100)])
a.send(b"0123456789abcdef"); b.recv(99)
a.sendmsg([b"one", b"two"]); b.recvmsg_into([bytearray(2), bytearray(9)])
a.send(b"unseen" * 9)
"""


def test_data_that_are_read_and_written_are_dumped_as_strace_dumps_them(trace, tmp_path):
    words = ("-e", "trace=!mmap", "-e", "read=4", "-e", "write=!0,1,2", sys.executable, "-S", "-c", _DATA)
    trace("-ff", "-o", str(tmp_path / "ours"), *words)
    subprocess.run(["strace", "-ff", "-o", str(tmp_path / "theirs"), *words], check=True)
    ours, theirs = (next(tmp_path.glob(f"{name}.*")).read_text() for name in ("ours", "theirs"))
    dumps = re.findall(r"^ [|*].*", theirs, re.MULTILINE)
    assert len(dumps) > 12
    assert re.findall(r"^ [|*].*", ours, re.MULTILINE) == dumps


# -- where it goes ----------------------------------------------------------------------------------


def test_each_task_has_a_file_of_its_own(trace, tmp_path):
    trace("-ff", "-o", str(tmp_path / "log"), "sh", "-c", "true & wait")
    logs = sorted(tmp_path.glob("log.*"))
    assert len(logs) == 2
    assert all(log.read_text().count("+++ exited with 0 +++") == 1 for log in logs)
    assert not re.search(r"^\d+ ", logs[0].read_text())


def test_a_command_reads_the_log_to_its_end(trace, tmp_path):
    done = trace("-o", f"|cat >{tmp_path}/log; echo read >>{tmp_path}/log", "true")
    assert done.returncode == 0
    assert (tmp_path / "log").read_text().endswith("+++ exited with 0 +++\nread\n")


def test_a_reader_that_goes_early_does_not_harm_the_command(trace):
    done = trace("-o", "|exit", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do true & done; wait; echo done")
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_a_full_disk_is_said_once_and_the_command_goes_on(trace):
    done = trace("-o", "/dev/full", "sh", "-c", "sleep 0; echo done")
    assert (done.stdout, done.stderr) == ("done\n", "int80: the log ends here: no space left on device\n")


def test_a_summary_takes_the_place_of_the_lines_or_follows_them(trace):
    only = trace("-c", "-S", "name", "true").stderr
    assert "openat(" not in only
    assert re.search(r"openat$", only, re.MULTILINE)
    both = trace("-C", "true").stderr
    assert both.index("openat(") < both.index("usecs/call")


def test_json_goes_where_the_lines_would(trace, tmp_path):
    trace("--json", "-o", str(tmp_path / "log"), "true")
    assert all(isinstance(json.loads(line), dict) for line in (tmp_path / "log").read_text().splitlines())


def test_lines_are_plain_in_a_pipe_and_coloured_when_asked_for(trace, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b[" not in trace("true").stderr
    assert "\x1b[" in trace("--color", "always", "true").stderr


def test_the_help_has_a_legend(trace):
    shown = trace("--help")
    assert shown.returncode == 0
    assert "[supervisor]" in shown.stdout
    assert "-1 ENOENT" in shown.stdout


# -- signals ----------------------------------------------------------------------------------------

_CATCH = """
import os, signal, sys
signal.signal(signal.{name}, lambda *_: (os.write(1, b"caught\\n"), os._exit(5)))
os.write(1, b"ready\\n")
while True: signal.pause()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_the_tracer_is_passed_on_to_the_command(int80, name):
    words = [*int80, "trace", "-o", os.devnull, sys.executable, "-c", _CATCH.format(name=name)]
    with started(words, stdout=subprocess.PIPE) as tracer:
        until(tracer.stdout, "ready\n")
        tracer.send_signal(signal.Signals[name])
        until(tracer.stdout, "caught\n")
        assert tracer.wait(20) == 5


def test_an_interrupt_is_the_commands_and_the_tracer_goes_on_to_its_end(int80, tmp_path):
    words = [*int80, "trace", "-o", str(tmp_path / "log"), sys.executable, "-c", _CATCH.format(name="SIGINT")]
    with started(words, stdout=subprocess.PIPE, process_group=0) as tracer:
        until(tracer.stdout, "ready\n")
        os.killpg(tracer.pid, signal.SIGINT)
        until(tracer.stdout, "caught\n")
        assert tracer.wait(20) == 5
    assert "+++ exited with 5 +++" in (tmp_path / "log").read_text()


def test_the_tracer_stops_and_goes_on_with_its_command(int80):
    words = [*int80, "trace", "-o", os.devnull, sys.executable, "-c", _CATCH.format(name="SIGUSR1")]
    with started(words, stdout=subprocess.PIPE, process_group=0) as tracer:
        until(tracer.stdout, "ready\n")
        os.killpg(tracer.pid, signal.SIGTSTP)
        assert os.WIFSTOPPED(os.waitpid(tracer.pid, os.WUNTRACED)[1])
        os.killpg(tracer.pid, signal.SIGCONT)
        (child,) = Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGUSR1)
        until(tracer.stdout, "caught\n")
        assert tracer.wait(20) == 5


def test_a_command_that_stops_itself_can_be_woken_by_its_child(trace):
    script = "(while kill -CONT $$; do :; done) & kill -STOP $$; kill $!; echo done"
    assert trace("-e", "trace=none", "-e", "signal=none", "-qq", "sh", "-c", script).stdout == "done\n"


def test_tasks_that_outlive_the_command_are_let_go(int80, tmp_path):
    script = f"(echo $$ >{tmp_path}/pid; exec sleep 60) & exit 3"
    with started([*int80, "trace", "sh", "-c", script], stderr=subprocess.PIPE) as tracer:
        until(tracer.stderr, "+++ exited with 3 +++")
        eventually(lambda: b"sleep" in _children_of(tracer))
        (left,) = _traced_by(tracer.pid)
        tracer.send_signal(signal.SIGTERM)
        assert tracer.wait(20) == 3
    try:
        assert status(left, "TracerPid") == "0"
        eventually(lambda: status(left, "State") == "S")
    finally:
        os.kill(left, signal.SIGKILL)


def _traced_by(tracer: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and status(int(name), "TracerPid") == str(tracer):
                found.append(int(name))
        except OSError:
            continue
    return found


def _children_of(tracer) -> bytes:
    return b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _traced_by(tracer.pid))


# -- tasks that run already -------------------------------------------------------------------------

_THREADS = """
import threading, time
def work():
    while True: time.sleep(0.02)
threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
work()
"""


@pytest.fixture
def running():
    """A program with two threads."""
    with started([sys.executable, "-c", _THREADS], stdout=subprocess.PIPE) as program:
        until(program.stdout, "ready\n")
        yield program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_attaching_follows_all_threads_and_leaves_them_running(int80, running, number):
    with started([*int80, "trace", "-p", str(running.pid)], stderr=subprocess.PIPE) as tracer:
        seen = until(tracer.stderr, "attached with 2 threads\n")
        for thread in os.listdir(f"/proc/{running.pid}/task"):
            if f"[pid {thread:>5}]" not in seen:
                seen += until(tracer.stderr, f"[pid {thread:>5}]")
        tracer.send_signal(number)
        rest = tracer.stderr.read().decode()
        assert tracer.wait(20) == 0
    assert f"int80: process {running.pid} detached\n" in rest
    for thread in os.listdir(f"/proc/{running.pid}/task"):
        assert status(int(thread), "TracerPid") == "0"
        assert status(int(thread), "State") in "SR"


def test_a_stopped_process_stays_stopped_while_it_is_traced_and_after(int80, running):
    running.send_signal(signal.SIGSTOP)
    eventually(lambda: status(running.pid, "State") == "T")
    with started([*int80, "trace", "-p", str(running.pid)], stderr=subprocess.PIPE) as tracer:
        until(tracer.stderr, "--- stopped by SIGSTOP ---")
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait(20) == 0
    eventually(lambda: status(running.pid, "State") == "T")  # it has to run for a moment to stop again


def test_a_call_that_goes_on_when_the_tracer_has_left_has_no_result(int80):
    with started(["sleep", "100"]) as sleeper:
        eventually(lambda: (status(sleeper.pid, "Name"), status(sleeper.pid, "State")) == ("sleep", "S"))
        with started([*int80, "trace", "-p", str(sleeper.pid)], stderr=subprocess.PIPE) as tracer:
            until(tracer.stderr, "(")
            tracer.send_signal(signal.SIGINT)
            assert " <detached ...>\n" in tracer.stderr.read().decode()


def test_who_is_traced_already_is_not_traced_twice(int80, running, trace):
    with started([*int80, "trace", "-q", "-p", str(running.pid)], stderr=subprocess.PIPE) as tracer:
        until(tracer.stderr, "= 0\n")
        second = trace("-p", str(running.pid))
        tracer.send_signal(signal.SIGINT)
        tracer.stderr.read()
    assert (second.returncode, second.stderr) == (125, f"int80: -p {running.pid}: process {tracer.pid} traces it already\n")


def test_an_attached_process_that_ends_ends_the_trace(int80, running):
    with started([*int80, "trace", "-p", str(running.pid)], stderr=subprocess.PIPE) as tracer:
        until(tracer.stderr, "attached")
        running.kill()
        assert "+++ killed by SIGKILL +++" in tracer.stderr.read().decode()
        assert tracer.wait(20) == 0


# -- at a terminal ----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_job_control_in_a_shell_is_as_without_a_tracer(int80):
    """Ctrl-Z, bg, fg, Ctrl-C: typed at bash, which waits for the tracer as for any command."""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.environ.update(PS1="$ ", TERM="dumb")
        os.execvp("bash", ["bash", "--norc", "--noediting", "-i"])
    typed = os.fdopen(terminal, "r+b", buffering=0)
    try:
        until(typed, "$ ")
        typed.write(f"{' '.join(int80)} trace -o /dev/null sh -c 'echo up $PPID .; exec sleep 60'\n".encode())
        group = int(re.search(r"up (\d+) ", until(typed, " .\r\n"))[1])
        typed.write(b"\x1a")
        until(typed, "Stopped")
        typed.write(b"bg\n")
        until(typed, "&")
        typed.write(b"jobs\n")
        until(typed, "Running")
        typed.write(b"fg\n")
        eventually(lambda: os.tcgetpgrp(terminal) == group)
        typed.write(b"\x03")
        eventually(lambda: os.tcgetpgrp(terminal) == pid)
        typed.write(b"echo status=$?\n")
        until(typed, "status=130")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        typed.close()
