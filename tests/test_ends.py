"""How sandboxes end: what their status says, and that nothing of them is left, whoever ends them and when."""

from __future__ import annotations

import glob
import os
import random
import select
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
from conftest import pids_with
from runtimes import eventually


def in_memory() -> set[str]:
    """The directories in the host's memory that sandboxes had which have ended; others may run on this machine."""
    places = glob.glob("/dev/shm/int80-*")
    return {place for place in places if not os.path.exists(f"/proc/{place.split('-')[1]}")}


def in_session(leader: int) -> list[int]:
    """The processes of a session that are not dead."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(name))
    return found


class Ends:
    """Starts sandboxes in sessions of their own, with a marker in every argv that guests inherit."""

    def __init__(self, run, command: list[str]) -> None:
        self.run = run
        self._command = command
        self.marker = f"marker-{uuid.uuid4().hex}"
        self._started: list[subprocess.Popen] = []

    def start(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [*self._command, "run", "--rootfs", str(self.run.root), *options, "--", *words]
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self._started.append(child)
        return child

    def __call__(self, *words: str, **more) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a sandbox that ends by itself."""
        child = self.start(*words, **more)
        out, err = child.communicate(timeout=30)
        return child.returncode, out, err

    def nothing_left(self, child: subprocess.Popen | None = None) -> bool:
        """Whether all processes come to an end, by marker and, for the whole of a run, by session."""
        started = [child] if child else self._started
        return eventually(lambda: not pids_with(self.marker) and not any(in_session(one.pid) for one in started))

    def clean_up(self) -> None:
        """Leave nothing on the machine, whatever a test found."""
        for child in self._started:
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdout.close()
            child.stderr.close()
        for pid in pids_with(self.marker):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def ends(run, int80, guest):
    run.put(guest("storm"), "storm")
    made = Ends(run, int80)
    yield made
    made.clean_up()


# -- many processes ---------------------------------------------------------------------------------


def test_forks_above_the_limit_fail_with_eagain_and_nothing_is_left(ends):
    status, out, err = ends("/bin/storm", "attempts", "200", ends.marker, options=("--pids-limit", "20"))
    assert (status, out, err) == (0, "19 started, 181 refused, 0 other\n", "")
    assert ends.nothing_left()


def test_a_fork_bomb_is_held_and_leaves_nothing(ends):
    status, out, err = ends("/bin/storm", "bomb", "200", ends.marker, options=("--pids-limit", "20"))
    assert (status, out, err) == (0, "bombed\n", "")
    assert ends.nothing_left()


@pytest.mark.parametrize("how", ["child-kills-init", "init-kills-itself"])
def test_init_killed_from_inside_takes_all_with_it(ends, how):
    assert ends("/bin/storm", how, "50", ends.marker) == (128 + signal.SIGKILL, "", "")
    assert ends.nothing_left()


def test_init_killed_by_a_fault_takes_all_with_it(ends):
    assert ends("/bin/storm", "init-faults", "50", ends.marker) == (128 + signal.SIGSEGV, "", "")
    assert ends.nothing_left()


@pytest.mark.parametrize(("how", "number"), [("reboot", signal.SIGHUP), ("halt", signal.SIGINT), ("poweroff", signal.SIGINT)])
def test_a_reboot_ends_the_sandbox_as_it_does_a_pid_namespace(ends, how, number):
    script = f"/bin/storm children 5 {ends.marker} >/dev/null & {how} -f; /bin/storm children 5 {ends.marker}"
    assert ends("sh", "-c", script) == (128 + number, "", "")
    assert ends.nothing_left()


def test_init_killed_from_outside_takes_all_with_it(ends):
    child = ends.start("/bin/storm", "children", "50", ends.marker)
    assert child.stdout.readline() == "50 started\n"
    guests = set(pids_with(ends.marker)) - {child.pid}
    init = [pid for pid in guests if _parent(pid) not in guests]
    assert len(guests) == 51 and len(init) == 1
    os.kill(init[0], signal.SIGKILL)
    assert child.wait(10) == 128 + signal.SIGKILL
    assert child.stderr.read() == ""
    assert ends.nothing_left()


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def test_orphans_become_inits_and_are_reaped_by_it(ends):
    assert ends("/bin/storm", "orphans") == (0, "10 of init, 10 reaped, then ECHILD\n", "")


# -- the supervisor killed --------------------------------------------------------------------------

_FORKING = "echo ready; while :; do (echo $1 | cat | cat >/dev/null) & /bin/true; wait; done"
_IN_MEMORY = (
    "echo ready; i=0; while :; do i=$((i + 1)); echo $1 >/dev/shm/f$i; mkdir /dev/shm/d$i; cat /dev/shm/f$i >/tmp/g; "
    "rm /dev/shm/f$i; done"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [(_FORKING, ()), (_IN_MEMORY, ()), (_IN_MEMORY, ("--read-only",))],
    ids=["forking", "in-memory", "read-only"],
)
def test_a_supervisor_killed_at_any_moment_leaves_nothing(ends, script, options):
    before = in_memory()
    chance = random.Random(80)
    for number in range(20):
        child = ends.start("sh", "-c", script, "sh", ends.marker, options=options)
        if number % 4:
            assert child.stdout.readline() == "ready\n"
        select.select([], [], [], chance.uniform(0, 0.12))  # the moment
        child.kill()
        child.wait(10)
        assert ends.nothing_left(child), f"round {number}: {pids_with(ends.marker)}"
    eventually(lambda: not in_memory() - before)


def test_a_stopped_guest_does_not_outlive_its_supervisor(ends):
    script = "sleep 1000 & kill -STOP $!; echo ready; sleep 1000"
    child = ends.start("sh", "-c", script, "sh", ends.marker)
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.wait(10)
    assert ends.nothing_left()


def test_a_guest_of_its_own_session_ends_with_the_sandbox(ends):
    script = "setsid sh -c 'trap \"\" TERM HUP INT; echo ready; while :; do sleep 1; done' $1 & sleep 1000"
    for how in (signal.SIGTERM, signal.SIGKILL):
        child = ends.start("sh", "-c", script, "sh", ends.marker)
        assert child.stdout.readline() == "ready\n"
        child.send_signal(how)
        child.wait(10)
        assert ends.nothing_left(), how


# -- statuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 7, 125, 126, 127, 128, 255])
def test_the_status_is_the_commands(ends, status):
    assert ends("sh", "-c", f"exit {status}") == (status, "", "")


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "KILL", "USR1", "PIPE", "TERM"])
def test_after_signal_n_the_status_is_128_and_n(ends, name):
    """The signal comes to int80 itself, which passes it on; what cannot be passed on, to its guest."""
    number = signal.Signals[f"SIG{name}"]
    child = ends.start("sh", "-c", "echo ready; exec sleep 1000 ", ends.marker)
    assert child.stdout.readline() == "ready\n"
    # The shell itself ignores SIGQUIT until it has become sleep.
    eventually(lambda: any(command_of(pid).startswith(b"sleep") for pid in in_session(child.pid)))
    if name in ("KILL", "PIPE"):
        os.kill(next(pid for pid in in_session(child.pid) if pid != child.pid), number)
    else:
        child.send_signal(number)
    assert child.wait(10) == 128 + number
    assert child.stderr.read() == ""
    assert ends.nothing_left()


def test_a_guest_may_handle_the_signal_sent_to_int80(ends):
    child = ends.start("sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    assert child.stdout.readline() == "ready\n"
    child.terminate()
    assert child.communicate(timeout=10) == ("caught\n", "")
    assert child.returncode == 9


def test_a_command_that_is_not_there_is_127(ends):
    for command in ("none-such", "/none", "/etc/none", "/etc/passwd/x"):
        status, out, err = ends(command)
        assert (status in (126, 127) if command == "/etc/passwd/x" else status == 127, out) == (True, "")
        assert err.startswith("int80: ") and err.count("\n") == 1


def test_a_command_that_cannot_be_run_is_126(ends):
    (ends.run.root / "tmp/text").write_text("no program\n")
    (ends.run.root / "tmp/text").chmod(0o755)
    (ends.run.root / "tmp/plain").write_text("#!/bin/sh\n")
    (ends.run.root / "tmp/plain").chmod(0o644)
    for command in ("/tmp/text", "/tmp/plain", "/tmp"):
        status, out, err = ends(command)
        assert (status, out) == (126, "")
        assert err.startswith("int80: ") and err.count("\n") == 1


def test_a_failure_of_int80s_own_is_125(ends, int80):
    wrong = (
        ("run", "--no-such-option"),
        ("run",),
        ("run", "--rootfs", "/none/such", "--", "true"),
        ("run", "--rootfs", str(ends.run.root), "--pids-limit", "0", "--", "true"),
        ("no-such-command",),
    )
    for words in wrong:
        done = subprocess.run(
            [*int80, *words], capture_output=True, text=True, timeout=10, start_new_session=True, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, done.stdout) == (125, ""), words
        assert done.stderr.startswith("int80: ") and done.stderr.count("\n") == 1, words


def test_openings_that_nobody_will_answer_end_with_the_sandbox(run):
    """Their workers are woken by a signal, which must not meet an interpreter that has let go of it."""
    for _ in range(10):
        script = "rm -f /tmp/p; mkfifo /tmp/p; for i in 1 2 3 4; do cat /tmp/p & done; cat /proc/self/stat >/tmp/x; exit 3"
        done = run("sh", "-c", script)
        assert (done.returncode, done.stderr) == (3, b"")
