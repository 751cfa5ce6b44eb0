"""A traced program behaves as untraced: what it can see of signals, stops, children, threads and itself is the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runtimes import eventually

WAYS = {
    "everything": ("-o", "/dev/null"),
    "a few calls": ("-o", "/dev/null", "-e", "trace=chdir"),
    "counted": ("-o", "/dev/null", "-c"),
    "held up": ("-o", "/dev/null", "-e", "inject=getpid,rt_sigprocmask:delay_exit=1"),
}
PARTS = (
    "handlers", "stops", "threads-stop", "vforks", "threads", "thread-execs", "leader-ends", "groups", "interrupted",
    "given", "own-filter",
)  # fmt: skip


@pytest.fixture(scope="module")
def program(guest):
    return str(guest("untraced"))


@pytest.fixture(scope="module")
def alone(program):
    """What a part of the program does without a tracer."""
    known = {}

    def run(part: str) -> tuple[str, int]:
        if part not in known:
            done = subprocess.run([program, part], capture_output=True, text=True, timeout=60)
            known[part] = done.stdout, done.returncode
        return known[part]

    return run


def traced(int80, *words: str, options: tuple[str, ...] = WAYS["everything"], **more):
    return subprocess.run([*int80, "trace", *options, *words], capture_output=True, text=True, timeout=60, **more)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", PARTS)
def test_a_program_sees_the_same_with_a_tracer_as_without(int80, program, alone, part, way):
    done = traced(int80, program, part, options=WAYS[way])
    assert (done.stdout, done.returncode) == alone(part)
    assert done.stderr == ""


@pytest.mark.parametrize("status", [0, 1, 124, 125, 255])
def test_the_exit_status_is_the_commands(int80, program, status):
    assert traced(int80, program, "exit", str(status)).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGTRAP])
def test_a_command_ended_by_a_signal_gives_128_and_the_signal(int80, program, number):
    assert traced(int80, program, "signal", str(int(number))).returncode == 128 + number


def test_ignored_and_blocked_signals_are_inherited(int80, program):
    def prepare() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))

    untraced = subprocess.run([program, "given"], capture_output=True, text=True, preexec_fn=prepare)
    assert traced(int80, program, "given", preexec_fn=prepare).stdout == untraced.stdout
    assert f"signal {int(signal.SIGUSR1)} blocked 0 ignored 1\n" in untraced.stdout
    assert f"signal {int(signal.SIGUSR2)} blocked 1 ignored 0\n" in untraced.stdout


def test_a_task_never_sees_the_processors_it_is_held_on(int80, guest):
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one processor")
    done = traced(int80, str(guest("processors")))
    assert (done.stdout, done.stderr) == ("0 of 1000, 0 of 100 children\n", "")


def test_nor_does_a_child_that_is_kept_from_the_tracer(int80, guest):
    program = str(guest("processors"))
    done = traced(int80, program, "untraced")
    assert (done.stdout, done.stderr) == ("0 of 1000, 0 of 100 children\n", "")


@pytest.mark.parametrize("calls", ["getppid", "wait4", "none"])
def test_nor_where_a_filter_chooses_the_calls(int80, guest, calls):
    done = traced(int80, str(guest("processors")), options=("-o", "/dev/null", "-e", f"trace={calls}"))
    assert (done.stdout, done.stderr) == ("0 of 1000, 0 of 100 children\n", "")


def test_nor_where_its_status_says_them(int80):
    with open("/proc/self/status") as file:
        mine = next(line for line in file if line.startswith("Cpus_allowed_list"))
    script = f"print(sum({mine!r} not in open('/proc/self/status').read() for _ in range(300)))"
    done = traced(int80, sys.executable, "-c", script)
    assert (done.stdout, done.stderr) == ("0\n", "")


# -- attaching --------------------------------------------------------------------------------------


def tracer_of(pid: int) -> int:
    return int(re.search(r"^TracerPid:\s+(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


@pytest.fixture
def worker(int80, program):
    """A process with threads that counts on its standard output when it is asked to, by a byte on its standard input."""
    process = subprocess.Popen([program, "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def asked(worker) -> bytes:
    worker.stdin.write(b"x")
    worker.stdin.flush()
    return worker.stdout.readline()


def test_a_process_goes_on_while_it_is_traced_and_after(int80, worker, tmp_path):
    log = tmp_path / "log"
    tracer = subprocess.Popen([*int80, "trace", "-o", str(log), "-p", str(worker.pid)], stderr=subprocess.PIPE)
    eventually(lambda: all(tracer_of(int(tid)) == tracer.pid for tid in os.listdir(f"/proc/{worker.pid}/task")))
    assert asked(worker) == b"answer 1 of 4\n"
    assert asked(worker) == b"answer 2 of 4\n"  # it read this since it was stopped for the first time
    tracer.send_signal(signal.SIGINT)
    tracer.communicate(timeout=30)
    assert tracer_of(worker.pid) == 0
    assert asked(worker) == b"answer 3 of 4\n"
    worker.stdin.close()
    assert worker.wait(timeout=30) == 9
    assert "read(0, " in log.read_text()


def test_a_stopped_process_stays_stopped_when_it_is_let_go(int80, worker):
    worker.send_signal(signal.SIGSTOP)
    os.waitpid(worker.pid, os.WUNTRACED)
    tracer = subprocess.Popen([*int80, "trace", "-o", "/dev/null", "-p", str(worker.pid)], stderr=subprocess.PIPE)
    eventually(lambda: tracer_of(worker.pid) == tracer.pid)
    tracer.send_signal(signal.SIGINT)
    tracer.communicate(timeout=30)
    eventually(lambda: "T (stopped)" in Path(f"/proc/{worker.pid}/status").read_text())
    worker.send_signal(signal.SIGCONT)
    assert asked(worker) == b"answer 1 of 4\n"
