"""A sandbox that is traced: what its log says, and that nothing else is different."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
from pathlib import Path

import pytest

FIFO = """
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static void handler(int number) { getppid(), access("/tmp", 0); }
int main(void) {
    struct sigaction action = {.sa_handler = handler};
    int opened = 0, f;
    mkfifo("/tmp/fifo", 0600);
    for (int i = 0; i < 20; i++) {
        action.sa_flags = i & 1 ? SA_RESTART : 0;
        sigaction(SIGUSR1, &action, 0);
        pid_t parent = getpid(), child = fork();
        if (child == 0) {
            kill(parent, SIGUSR1), kill(parent, SIGUSR1);
            _exit(open("/tmp/fifo", O_WRONLY) < 0);
        }
        while ((f = open("/tmp/fifo", O_RDONLY)) < 0 && errno == EINTR);
        opened += f >= 0;
        close(f);
        while (waitpid(child, 0, 0) < 0);
    }
    printf("%d opened\\n", opened);
}
"""


SIMPLE = """
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    char data[8];
    struct stat st;
    int ends[2], file = open("/tmp/file", O_RDWR | O_CREAT, 0600);
    write(file, "text", 4), lseek(file, 0, SEEK_SET), read(file, data, 8), fstat(file, &st), stat("/none", &st);
    pipe(ends), dup2(file, 9), mkdir("/tmp/d", 0700), rename("/tmp/file", "/tmp/d/file"), unlink("/tmp/d/file");
    rmdir("/tmp/d"), symlink("x", "/tmp/l"), unlink("/tmp/l"), chroot("/none"), kill(getpid(), 0);
    syscall(165, 0, 0, 0, 0, 0), syscall(999), syscall(308, 3, 0);
    return 0;
}
"""


class Traced:
    """Runs a command in a traced sandbox: (exit status, lines of the log)."""

    def __init__(self, run, log: Path) -> None:
        self.run = run
        self._log = log

    def __call__(self, *words: str, trace: str = "", options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
        done = self.run(*words, options=(f"--trace={self._log}", "--trace-options", trace, *options))
        self.complaints = done.stderr.decode()
        assert "bug" not in self.complaints and "Traceback" not in self.complaints
        self.output = done.stdout.decode(errors="replace")
        return done.returncode, self._log.read_text().splitlines()


@pytest.fixture
def traced(run, tmp_path) -> Traced:
    return Traced(run, tmp_path / "log")


def without_numbers(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: addresses and the numbers of tasks."""
    return [re.sub(r"0x[0-9a-f]+", "ADDRESS", re.sub(r"^\d+ +", "", line)) for line in lines]


# -- what the log says ------------------------------------------------------------------------------


def test_the_log_begins_with_the_commands_own_execve_and_ends_with_its_end(traced):
    status, lines = traced("sh", "-c", "exit 3")
    assert status == 3
    assert re.match(r'1 +execve\("/bin/sh", \["sh", "-c", "exit 3"\], .*\) = 0 \[steered\]$', lines[0])
    assert lines[-1].split(None, 1) == ["1", "+++ exited with 3 +++"]


def test_who_carried_a_call_out_is_marked_unless_it_was_the_kernel(traced):
    script = "cd /tmp; kill -0 $$; echo text; ls /etc >/dev/null"
    _, lines = traced("sh", "-c", script, trace="-e trace=chdir,kill,write,openat")
    marks = {line.split("(")[0].split()[-1]: re.search(r"\[(\w+)\]$", line) for line in lines if "(" in line}
    assert marks["chdir"][1] == marks["openat"][1] == "supervisor"
    assert marks["kill"][1] == "steered"
    assert marks["write"] is None


def test_a_refused_call_is_logged_with_the_errno_it_has_untraced(traced, run):
    assert run("mount", "-t", "tmpfs", "x", "/tmp").returncode == 1
    status, lines = traced("mount", "-t", "tmpfs", "x", "/tmp", trace="-e trace=mount")
    assert status == 1
    assert any("EPERM" in line and line.endswith("[refused]") for line in lines)


def test_numbers_and_names_are_the_guests(traced):
    _, lines = traced("sh", "-c", "cat </etc/passwd >/dev/null; echo $$", trace="-y -e trace=%desc")
    text = "\n".join(lines)
    assert str(traced.run.root) not in text
    assert "</etc/passwd>" in text
    assert any(line.startswith("1 ") for line in lines)


def test_a_choice_leaves_the_rest_out(traced):
    _, lines = traced("ls", "/etc", trace="-e trace=chdir,getdents64 -qq")
    assert {line.split("(")[0].split()[-1] for line in lines} == {"getdents64"}


def test_an_injected_error_is_what_the_program_sees_whoever_would_carry_the_call_out(traced):
    for call, script in (("mkdir", "mkdir /tmp/d"), ("write", "echo text"), ("kill", "kill -0 $$")):
        status, lines = traced("sh", "-c", script, trace=f"-e inject={call}:error=EIO -e trace={call}")
        assert status != 0, call
        assert any("EIO" in line and "(INJECTED)" in line for line in lines), lines
    assert not (traced.run.root / "tmp/d").exists()


@pytest.mark.parametrize("call", ["mkdir", "write", "kill", "openat"])
@pytest.mark.parametrize("when", ["enter", "exit"])
def test_a_delay_holds_the_task_whoever_carries_the_call_out(traced, call, when):
    """Answered, native, steered, and a descriptor that comes with the answer."""
    trace = f"-ttt -T -e trace={call},getppid,exit_group -e inject={call}:delay_{when}=50ms:when=1"
    status, lines = traced("sh", "-c", "mkdir /tmp/d; echo text >/tmp/d/file; kill -0 $$; exit 4", trace=trace)
    assert status == 4
    assert (traced.run.root / "tmp/d/file").read_text() == "text\n"
    held = next(index for index, line in enumerate(lines) if "(DELAYED)" in line)
    task, begun = lines[held].split()[:2]
    following = next(line.split()[1] for line in lines[held + 1 :] if line.split()[0] == task and "+++" not in line)
    assert float(following) - float(begun) >= 0.05
    assert (float(re.search(r"<([0-9.]+)>$", lines[held])[1]) >= 0.05) is (when == "enter")


@pytest.mark.parametrize("call", ["mkdir", "/nanosleep"])
@pytest.mark.parametrize("when", ["enter", "exit"])
def test_others_go_on_while_a_task_is_delayed_and_it_can_be_killed(traced, call, when):
    command = {"mkdir": "mkdir /tmp/d", "/nanosleep": "sleep 0.01"}[call]
    trace = f"-e trace={call} -e inject={call}:delay_{when}=3600s"
    assert traced("sh", "-c", f"({command}) & kill -9 $!; wait $!", trace=trace)[0] == 128 + 9


@pytest.fixture(scope="session")
def simple(int80, tmp_path_factory) -> tuple[Path, Path]:
    """One program by both gates."""
    return both_gates(int80, tmp_path_factory.mktemp("simple"), SIMPLE)


def both_gates(int80, place: Path, source: str) -> tuple[Path, Path]:
    (place / "program.c").write_text(source)
    subprocess.run(["gcc", "-static", "-w", "-o", place / "program", place / "program.c"], check=True)
    subprocess.run([*int80, "retarget", place / "program", place / "program80"], check=True, capture_output=True)
    return place / "program", place / "program80"


@pytest.mark.parametrize("options", [(), ("--no-patch",), ("--no-ia32",)], ids=["patch", "no-patch", "no-ia32"])
def test_both_gates_give_the_same_log(traced, simple, options):
    logs = []
    for program in simple:
        traced.run.put(program, "program")
        status, lines = traced("program", options=options)
        assert status == 0
        lines = [re.sub(r" +", " ", re.sub(r"= \d{3,}|_pid=\d+", "= N", line)) for line in without_numbers(lines)]
        logs.append([line for line in lines if not re.search("brk|getrandom", line)])
    assert logs[0] == logs[1]
    assert sum("[refused]" in line for line in logs[0]) == 3


def test_a_host_program_is_logged_by_its_own_calls(traced, guest):
    status, lines = traced(traced.run.put(guest("host_hello", flags=("-nostdlib",))))
    assert status == 3
    names = [line.split("(")[0].split()[-1] for line in lines if "(" in line]
    assert names[-4:] == ["write", "write", "syscall_0x27", "exit"]


def test_json_is_one_object_a_line(traced):
    _, lines = traced("sh", "-c", "ls / >/dev/null; exit 2", trace="--json")
    events = [json.loads(line) for line in lines]
    assert {event["plane"] for event in events if event["type"] == "call"} >= {"supervisor", "kernel", "steered"}


def test_a_policy_can_be_written_in_a_sandbox_and_holds_the_same_program(traced, tmp_path):
    words = ("sh", "-c", "mkdir /tmp/d; echo x >/tmp/d/f; cd /tmp/d; cat f; mv f g; ls -l /etc >/dev/null; rm -r /tmp/d")
    traced(*words, trace=f"--policy-out {tmp_path / 'policy.json'}")
    done = traced.run(*words, options=("--policy", str(tmp_path / "policy.json"), "--policy-report"))
    assert (done.stdout, done.stderr) == (b"x\n", b"int80: the program asked for nothing beyond its policy\n")


# -- where it goes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["", "--json", "-c", "--tree", "--html=/dev/full", "--timeline=/dev/full", "--policy-out=/dev/full"]
)
def test_a_full_disk_ends_the_log_and_not_the_program(run, form):
    trace = ("--trace-options", form) if "full" in form else ("--trace=/dev/full", "--trace-options", form)
    done = run("sh", "-c", "ls / >/dev/null; exit 4", options=trace)
    assert done.returncode == 4
    assert done.stderr == b"int80: the log ends here: no space left on device\n"


@pytest.mark.parametrize("options", [("--trace",), ("--trace", "--trace-options", "-c"), ("--verbose", "--trace")])
def test_a_standard_error_that_is_full_or_closed_ends_nothing(run, int80, options):
    command = [*int80, "run", "--rootfs", str(run.root), *options, "--", "sh", "-c", "ls / >/dev/null; exit 4"]
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full, timeout=30).returncode == 4
    reader, writer = os.pipe()
    os.close(reader)
    assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=writer, timeout=30).returncode == 4
    os.close(writer)


def test_a_log_in_the_guests_own_root_may_be_changed_by_the_guest(run):
    done = run("sh", "-c", "cat /log >/dev/null; : >/log; rm /log; exit 5", options=(f"--trace={run.root / 'log'}",))
    assert (done.returncode, done.stderr) == (5, b"")


def test_a_log_that_cannot_be_opened_is_one_line_and_125(run):
    done = run("true", options=("--trace=/nowhere/log",))
    assert done.returncode == 125
    assert b"int80: --trace=/nowhere/log: no such file or directory" in done.stderr and done.stderr.count(b"\n") == 1


# -- nothing is different ---------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["", "-yy", "--json", "-c", "-e trace=%file"])
@pytest.mark.parametrize("gate", ["syscall", "int80"])
def test_random_calls_come_to_the_same_end(traced, guest, gate, trace):
    program = traced.run.put(guest("fuzz", gate=gate), "fuzz")
    status, _ = traced(program, "1", "500", trace=trace)
    assert status == 23
    assert int(traced.output.split()[0]) >= 500


@pytest.mark.slow
def test_no_bad_pointer_in_any_call_hurts_the_log(traced, guest):
    """The same errors as natively, in the same places."""
    program = traced.run.put(guest("pointers"), "pointers")
    untraced = traced.run(program, "compare", options=("-w", "/tmp")).stdout.decode()
    status, _ = traced(program, "compare", trace="-yy", options=("-w", "/tmp"))
    assert (status, traced.output) == (0, untraced)


def test_a_thread_that_is_not_the_leader_executes_and_its_log_goes_on(traced, guest):
    status, lines = traced(traced.run.put(guest("races"), "races"), "chain", "5", trace="-e trace=execve")
    assert (status, traced.output) == (0, "done\n")
    assert sum('execve("/bin/races"' in line for line in lines) == 6
    assert lines[-1].endswith("+++ exited with 0 +++")


@pytest.mark.parametrize("options", [(), ("--no-ia32",)], ids=["ia32", "no-ia32"])
def test_opens_that_wait_are_interrupted_as_they_are_untraced(traced, tmp_path, int80, options):
    for program in both_gates(int80, tmp_path, FIFO):
        status, lines = traced(traced.run.put(program), options=options)
        assert (status, traced.output) == (0, "20 opened\n")
        assert not any("access" in line and "fifo" in line for line in lines)
        assert not any("openat" in line and "ENOENT" in line for line in lines)


def test_running_out_of_descriptors_hurts_no_guest(run, int80, guest):
    command = [*int80, "run", "--rootfs", str(run.root), "--trace=/dev/null", "--", run.put(guest("hostile"), "hostile"), "many"]
    few = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, **few)
    assert (done.returncode, done.stdout, done.stderr) == (0, "60 ended\n", "")


def test_a_limit_on_tasks_holds(traced):
    script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; exit 6"
    status, lines = traced("sh", "-c", script, trace="-e trace=%process", options=("--pids-limit", "10"))
    assert status == 2
    assert "can't fork" in traced.complaints
    assert sum("clone(" in line and "EAGAIN" in line for line in lines) == 1


# -- processors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["", "-e trace=getppid", "-c"])
def test_a_task_never_sees_the_processors_it_is_held_on(traced, guest, trace):
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one processor")
    status, _ = traced(traced.run.put(guest("processors"), "processors"), trace=trace)
    assert (status, traced.output) == (0, "0 of 1000, 0 of 100 children\n")


def test_nor_where_its_status_says_them(traced):
    with open("/proc/self/status") as file:
        mine = next(line for line in file if line.startswith("Cpus_allowed_list"))
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do grep Cpus_allowed_list /proc/self/status; done"
    status, _ = traced("sh", "-c", script)
    assert (status, traced.output) == (0, mine * 10)
