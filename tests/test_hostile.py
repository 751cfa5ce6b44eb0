"""Guests that want out, or want the supervisor down.

Whatever they do, the supervisor ends with the guest's status, says nothing of bugs, changes nothing outside the root
and leaves nothing behind.  Every sandbox here runs in a session of its own, so that a guest that does get
out meets nothing but its own supervisor.
"""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import TRIES


class Hostile:
    """Runs a guest in a session of its own."""

    def __init__(self, run, command: list[str]) -> None:
        self.run = run
        self._command = command

    def __call__(self, *words: str, options: tuple[str, ...] = (), timeout: float = 30, **more):
        command = [*self._command, "run", "--rootfs", str(self.run.root), *options, "--", *words]
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        done = subprocess.run(command, stderr=subprocess.PIPE, timeout=timeout, start_new_session=True, **more)
        done.stdout = (done.stdout or b"").decode(errors="replace")
        done.stderr = done.stderr.decode(errors="replace")
        assert "Traceback" not in done.stderr, done.stderr
        assert "bug" not in done.stderr, done.stderr
        return done

    def lines(self, *words: str, **more) -> list[str]:
        """What the guest said, after checking that it ended well and nobody complained."""
        done = self(*words, **more)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


@pytest.fixture
def hostile(run, int80, guest) -> Hostile:
    """The runner, with the guest `/bin/hostile` in place."""
    run.put(guest("hostile"), "hostile")
    return Hostile(run, int80)


# -- every call, every pointer, every number --------------------------------------------------------


@pytest.mark.parametrize("gate", ["syscall", pytest.param("int80", marks=pytest.mark.slow)])
def test_no_bad_pointer_in_any_call_hurts_anybody_but_the_caller(hostile, guest, gate):
    done = hostile(hostile.run.put(guest("pointers", gate=gate)), "all", options=("-w", "/tmp"))
    assert done.returncode == 0
    survivors = done.stdout.splitlines()[-1]
    assert int(survivors.split()[0]) > 480
    assert int(survivors.split()[2]) < 5, done.stdout  # munmap of its own text, kill of itself


@pytest.mark.parametrize("gate", ["syscall", pytest.param("int80", marks=pytest.mark.slow)])
def test_a_bad_pointer_fails_with_the_errno_it_has_natively(hostile, guest, gate):
    with tempfile.TemporaryDirectory() as place:  # whose name is short enough for getcwd
        native = subprocess.run([guest("pointers"), "compare"], cwd=place, capture_output=True, text=True, check=True)
    inside = hostile.lines(hostile.run.put(guest("pointers", gate=gate)), "compare", options=("-w", "/tmp"))
    assert inside == native.stdout.splitlines()


def fuzz(hostile, guest, gate: str, seed: int, count: int) -> None:
    program = hostile.run.put(guest("fuzz", gate=gate), "fuzz")
    done = hostile(program, str(seed), str(count), timeout=300)
    assert done.returncode == 23, done.stderr
    assert done.stderr == ""
    assert int(done.stdout.split()[0]) >= count


@pytest.mark.parametrize("gate", ["syscall", "int80"])
def test_three_thousand_random_calls(hostile, guest, gate):
    fuzz(hostile, guest, gate, 1, 3000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("gate", ["syscall", "int80"])
def test_many_random_calls(hostile, guest, gate, seed):
    fuzz(hostile, guest, gate, seed, 60_000 * TRIES)


# -- processes of the host --------------------------------------------------------------------------


def test_the_process_group_that_leads_the_hosts_session_is_out_of_reach(hostile):
    """Here it is the supervisor's own group; on a terminal it would be the shell's."""
    leader = "import os, subprocess, sys; os.environ['SESSION'] = str(os.getpid()); sys.exit(subprocess.call(sys.argv[1:]))"
    command = ["python3", "-c", leader, *hostile._command, "run", "--rootfs", str(hostile.run.root), "-e", "SESSION"]
    done = subprocess.run(
        [*command, "--", "/bin/hostile", "session"], capture_output=True, text=True, timeout=30, start_new_session=True
    )
    assert done.stdout.splitlines() == [
        "getsid 0",
        "kill ESRCH",
        "setpriority ESRCH",
        "setown ESRCH",
        "setpgid EPERM",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_killed_before_its_birth_is_announced_leaves_no_ghost(hostile):
    assert hostile.lines("/bin/hostile", "stillborn") == ["2 processes"]


def test_dead_children_count_against_the_limit(hostile):
    assert int(hostile.lines("/bin/hostile", "zombies", options=("--pids-limit", "20"))[0].split()[0]) < 20


def test_forks_the_kernel_refused_do_not_count_against_the_limit(hostile):
    assert hostile.lines("/bin/hostile", "failed-forks", options=("--pids-limit", "12")) == ["fork done"]


def test_no_clock_tells_of_processes_outside(hostile):
    assert hostile.lines("/bin/hostile", "clocks", str(os.getpid())) == [
        *(f"{whose}: done, done, done, done" for whose in ("own", "init", "child")),
        "outside: EINVAL, EINVAL, EINVAL, EINVAL", "init is the caller: 1",
    ]  # fmt: skip


# -- files of the host ------------------------------------------------------------------------------


def test_a_file_handed_in_for_reading_stays_as_it_is(hostile, tmp_path):
    handed = tmp_path / "handed"
    handed.write_text("the host's")
    before = os.stat(handed)
    with open(handed) as stdin:
        said = hostile.lines("/bin/hostile", "handed-in", stdin=stdin)
    after = os.stat(handed)
    assert handed.read_text() == "the host's"
    assert (after.st_nlink, after.st_mode, after.st_mtime_ns) == (1, before.st_mode, before.st_mtime_ns), said
    assert not [line for line in said if line.endswith(" done")]


def test_a_file_handed_in_for_writing_cannot_be_read(hostile, tmp_path):
    with open(tmp_path / "log", "ab") as log:
        done = hostile("/bin/hostile", "read-back", stdout=log)
    assert done.stderr.splitlines() == [
        "reopen for reading EACCES", "look at it done", "reopen that for reading EACCES", "execute that EACCES",
    ]  # fmt: skip


def test_a_directory_handed_in_leads_nowhere(hostile, tmp_path):
    (tmp_path / "canary").write_text("secret")
    script = "cat /proc/self/fd/0/canary; cd /proc/self/fd/0 && cat canary; ls /proc/self/fd/0/; :"
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        done = hostile("/bin/sh", "-c", script, stdin=descriptor)
    finally:
        os.close(descriptor)
    assert done.stdout == ""


def test_the_hosts_terminal_is_not_dev_tty_unless_it_was_handed_in(hostile):
    pid, terminal = pty.fork()
    if pid == 0:
        command = [*hostile._command, "run", "--rootfs", str(hostile.run.root), "--", "sh", "-c", "echo leak >/dev/tty"]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        os._exit(subprocess.run(command, timeout=20, **silent).returncode)
    _, status = os.waitpid(pid, 0)
    os.set_blocking(terminal, False)
    try:
        written = os.read(terminal, 100)
    except OSError:
        written = b""  # the other end is closed
    finally:
        os.close(terminal)
    assert (written, os.waitstatus_to_exitcode(status)) == (b"", 1)


@pytest.mark.slow
def test_a_program_changed_under_exec_cannot_name_an_interpreter_of_the_hosts(hostile, guest, tmp_path):
    canary = tmp_path / "canary.c"
    canary.write_text("int main(void) { return 42; }\n")
    subprocess.run(["gcc", "-static", "-o", tmp_path / "canary", canary], check=True)
    done = hostile("/bin/hostile", "interpreter", str(tmp_path / "canary"))
    assert "the host's program ran" not in done.stdout


# -- the supervisor's health ------------------------------------------------------------------------


def test_a_lease_holds_nobody_up(hostile):
    assert hostile.lines("/bin/hostile", "lease", timeout=15)[-1] == "served"


def test_a_script_executed_without_a_stack_runs_or_is_refused(hostile):
    assert hostile.lines("/bin/hostile", "no-stack") in ([], ["execve -14"])


def test_what_is_put_below_the_stack_where_nothing_is_below_is_efault(hostile):
    assert hostile.lines("/bin/hostile", "calls-without-stack") == ["open -14", "recvmsg -14", "recvmmsg -14"]


def test_a_signal_to_itself_says_what_it_likes(hostile):
    assert hostile.lines("/bin/hostile", "own-word") == ["CHLD of -5"]


def test_threads_whose_leader_has_ended_keep_their_descriptors(hostile):
    assert hostile.lines("/bin/hostile", "leader-gone") == ["fstat done", "openat done"]


def test_processes_that_share_memory_share_the_gates_rewriting(hostile):
    assert hostile.lines("/bin/hostile", "shared-memory") == ["0 failed"]


def test_registers_that_ptrace_does_not_take_back_hurt_nobody(hostile, guest):
    native = subprocess.run([guest("hostile"), "segments"], capture_output=True, text=True, check=True).stdout
    assert hostile.lines("/bin/hostile", "segments") == native.splitlines()
    assert set(native.splitlines()) == {"2a00"}


@pytest.mark.skipif("[vsyscall]" not in Path("/proc/self/maps").read_text(), reason="this kernel has no vsyscall page")
def test_a_call_that_the_kernel_emulates_does_not_disturb_the_log(hostile, tmp_path):
    log = tmp_path / "log"
    hostile("/bin/hostile", "vsyscall", options=(f"--trace={log}",))
    written = log.read_text()
    assert written.count("kill(1, 0)") == 2
    assert "getcpu" not in written


def test_a_length_written_after_the_kernel_wrote_it_holds_nobody_up(hostile):
    assert hostile.lines("/bin/hostile", "control-length", timeout=20) == ["received"]


def test_a_breakpoint_where_an_int80_was_is_the_guests(hostile):
    assert hostile.lines("/bin/hostile", "own-breakpoint", timeout=10) == ["1 traps"]


@pytest.mark.slow
def test_being_killed_in_exec_is_no_bug(hostile):
    assert hostile.lines("/bin/hostile", "killed-in-exec") == ["done"]


def test_running_out_of_descriptors_fails_calls_and_nothing_else(hostile):
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    assert hostile.lines("/bin/hostile", "many", preexec_fn=few) == ["60 ended"]


@pytest.mark.skipif(os.geteuid() == 0, reason="what root may run by its capabilities a guest runs from a copy")
def test_a_first_program_the_kernel_will_not_run_is_reported(hostile):
    """Executable for others only: its owner may not."""
    program = Path(hostile.run.root, "bin/mine")
    program.write_bytes(Path(hostile.run.root, "bin/busybox").read_bytes())
    program.chmod(0o605)
    done = hostile("/bin/mine")
    assert done.returncode == 126
    assert done.stderr.startswith("int80: /bin/mine: cannot be run")
