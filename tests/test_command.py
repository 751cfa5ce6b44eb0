"""The command as a person meets it: what it prints, how it exits, what it refuses."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abi import __version__


def command(int80, *words, env=None, **more):
    return subprocess.run([*int80, *words], capture_output=True, text=True, timeout=60, env=env, **more)


def test_output_input_and_status_are_the_commands(run):
    done = run("sh", "-c", "cat; echo done >&2; exit 7", stdin=b"through\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"through\n", b"done\n", 7)


def test_a_command_ended_by_a_signal_gives_128_and_the_signal(run):
    assert run("sh", "-c", "kill -9 $$").returncode == 137


def test_init_is_process_1_and_root(run):
    assert run.sh("echo $$ $PPID; id -u; sh -c 'echo $PPID'; true") == "1 0\n0\n1\n"


def test_the_user_option_says_who_the_command_is(run):
    assert run.sh("id -u; id -g", options=("-u", "1000:2000")) == "1000\n2000\n"


def test_the_environment_is_what_was_asked_for_and_no_more(run, monkeypatch):
    monkeypatch.setenv("PASSED", "on")
    monkeypatch.setenv("SECRET", "kept")
    monkeypatch.delenv("TERM", raising=False)
    shown = run.sh("env | grep -v ^PWD= | grep -v ^SHLVL= | sort", options=("-e", "A=b c", "-e", "PASSED"))
    assert shown == "A=b c\nHOME=/root\nPASSED=on\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"


def test_workdir_and_hostname_are_set(run):
    assert run.sh("pwd; hostname; uname -n", options=("-w", "/tmp", "--hostname", "here")) == "/tmp\nhere\nhere\n"


def test_a_read_only_root_cannot_be_changed_but_tmp_can(run):
    before = sorted(run.root.rglob("*"))
    done = run("sh", "-c", "echo x >/tmp/x && cat /tmp/x; echo y >/etc/y", options=("--read-only",))
    assert done.stdout == b"x\n"
    assert b"Read-only file system" in done.stderr
    assert sorted(run.root.rglob("*")) == before


def test_what_is_written_lands_in_the_root(run):
    run.sh("echo here >/etc/new; mkdir /made; ln -s /etc/new /made/link")
    assert (run.root / "etc/new").read_text() == "here\n"
    assert os.readlink(run.root / "made/link") == "/etc/new"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["run"], 125, "no command given"),
        (["run", "--nonsense", "true"], 125, "unrecognized arguments: --nonsense"),
        (["run", "--rootfs", "/nowhere", "true"], 125, "--rootfs /nowhere: there is no such directory"),
        (["run", "--rootfs", "/etc/passwd", "true"], 125, "--rootfs /etc/passwd: it is not a directory"),
        (["run", "--rootfs", "{root}", "-u", "me", "true"], 125, "--user me: give numbers"),
        (["run", "--rootfs", "{root}", "-w", "/none", "true"], 125, "--workdir /none: no such file or directory"),
        (["run", "--rootfs", "{root}", "--pids-limit", "0", "true"], 125, "--pids-limit 0: at least 1"),
        (["run", "--pids-limit", "x", "true"], 125, "int80: --pids-limit x: give a number; see"),
        (["run", "--pull", "now", "true"], 125, "int80: --pull now: give one of never, missing, newer, always; see"),
        (["run", "--name"], 125, "int80: --name: a value is needed; see"),
        (["exists", "thing", "x"], 125, "thing: give one of container, image"),
        (["kill", "-s", "NOPE", "x"], 125, 'unknown signal "NOPE"; give a name or a number, as in INT or 2'),
        (["run", "--rootfs", "{root}", "nosuch"], 127, "nosuch: not found in the root"),
        (["run", "--rootfs", "{root}", "/etc/passwd"], 126, "/etc/passwd: cannot be run: permission denied"),
        (["run", "--rootfs", "{root}", "--busybox", "x", "true"], 125, "exclude each other"),
        (["run", "--busybox", "/etc/passwd", "true"], 125, "/etc/passwd: not an ELF program"),
        (["retarget", "/nowhere", "x"], 125, "/nowhere: no such file or directory"),
        (["nonsense"], 125, "unknown command 'nonsense'; `int80 --help` lists"),
        (["rmm"], 125, "unknown command 'rmm'; is rm meant?"),
        (["container", "rmm"], 125, "unknown command 'container rmm'; `int80 container --help` lists"),
        ([], 125, "int80 COMMAND [options]"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_line_and_its_status(int80, root, words, status, said):
    done = command(int80, *(word.replace("{root}", str(root)) for word in words))
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 or not words


def test_an_elf_for_another_machine_is_named(run):
    header = bytearray((run.root / "bin/busybox").read_bytes()[:4096])
    header[18:20] = (183).to_bytes(2, "little")
    (run.root / "bin/arm").write_bytes(header)
    (run.root / "bin/arm").chmod(0o755)
    done = run("/bin/arm")
    assert (done.returncode, done.stderr) == (126, b"int80: /bin/arm: ELF for AArch64; this machine runs x86-64\n")


def test_a_script_without_its_interpreter_says_so(run):
    (run.root / "bin/script").write_text("#!/bin/none\n")
    (run.root / "bin/script").chmod(0o755)
    done = run("/bin/script")
    assert (done.returncode, done.stderr) == (127, b"int80: /bin/script: its interpreter is not in the root\n")


def test_a_guest_crash_is_reported_when_asked_for(run, guest):
    crash = run.put(guest("crash"))
    quiet, loud = run(crash), run(crash, options=("--verbose",))
    assert quiet.returncode == loud.returncode == 139
    assert quiet.stderr == b""
    assert loud.stderr.startswith(b"int80: process 1: SIGSEGV at 0x")


def test_a_fault_that_its_program_handles_is_no_crash(run, guest):
    handled = run.put(guest("handled"))
    done = run(handled, options=("--verbose",))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"handled\n", b"")


def test_a_call_that_is_not_there_is_spoken_of_once_when_asked_for(run, guest):
    absent = run.put(guest("absent"))
    assert run(absent).stderr == b""
    lines = run(absent, options=("--verbose",)).stderr.decode().splitlines()
    assert lines[0].startswith("int80: process 1 made call 425 (io_uring_setup): ENOSYS")
    assert lines[1] == "int80: process 1 made call 500: ENOSYS, not supported"
    assert len(lines) == 2


def test_the_default_root_is_made_from_a_busybox_and_kept(int80, busybox, tmp_path):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    words = ("run", "--busybox", str(busybox), "--", "sh", "-c", "ls -d /bin /etc /tmp; echo kept >/root/note")
    assert command(int80, *words, env=env).stdout == "/bin\n/etc\n/tmp\n"
    again = command(int80, "run", "--busybox", str(busybox), "--", "cat", "/root/note", env=env)
    assert again.stdout == "kept\n"


def test_version_comes_from_one_place(int80):
    assert command(int80, "--version").stdout == f"int80 {__version__}\n"


def test_check_says_that_int80_works_here(int80):
    done = command(int80, "check")
    assert done.returncode == 0
    assert "int80 works here." in done.stdout
    for subject in ("kernel", "Yama", "ptrace", "user notification", "IA32 emulation", "user namespaces", "not needed"):
        assert subject in done.stdout


def test_retarget_says_how_many_and_the_result_runs(int80, run, busybox):
    target = run.root / "bin/busybox80"
    done = command(int80, "retarget", str(busybox), str(target))
    assert done.stdout.startswith(f"{target}: ")
    assert done.stdout.endswith(" syscall instructions turned into int 0x80\n")
    assert run("/bin/busybox80", "echo", "hello").stdout == b"hello\n"


def test_a_program_of_the_host_abi_runs_and_a_linux_one_cannot_make_its_calls(run, guest):
    hello = run.put(guest("host_hello", flags=("-nostdlib",)))
    done = run(hello)
    assert (done.stdout, done.returncode) == (b"hello from the host ABI\n", 3)


def test_scripts_run_by_their_interpreter_with_the_kernels_arguments(run):
    (run.root / "bin/show").write_text('#!/bin/sh -e\necho "$0" "$@"\n')
    (run.root / "bin/show").chmod(0o755)
    assert run("show", "a", "b c").stdout == b"/bin/show a b c\n"


def test_a_terminal_passes_straight_through(int80, root):
    """A shell on a pseudo-terminal: it sees a terminal, runs a job in the foreground, and Ctrl-C ends the job."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(int80[0], [*int80, "run", "--rootfs", str(root), "--", "sh"])
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 4096)

    try:
        until(b"# ")
        os.write(terminal, b"tty; echo $((40+2))\n")
        until(b"/dev/pts/")
        until(b"42")
        # What says that it is there is in the foreground already: a shell about to start it would take the signal.
        os.write(terminal, b"""sh -c "echo start''ed; exec sleep 1000"\n""")
        until(b"started")
        os.write(terminal, b"\x03")
        os.write(terminal, b"echo al''ive\n")
        until(b"alive")
        os.write(terminal, b"exit 5\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        os.close(terminal)


@pytest.mark.slow
def test_a_dynamic_program_runs_with_the_interpreter_of_its_root(run):
    """The host's own shell and libraries, copied into the root."""
    shell = Path(shutil.which("dash") or shutil.which("sh")).resolve()
    listed = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    files = [word for word in listed.split() if word.startswith("/")]
    for file in [str(shell), *files]:
        target = run.root / file.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    done = run(str(shell), "-c", "echo dynamic; readlink /proc/self/exe; cat /proc/$$/comm")
    assert done.stdout.decode().splitlines() == ["dynamic", "/bin/busybox", shell.name]


def test_closed_standard_streams_are_the_null_device(int80, root):
    words = [*int80, "run", "--rootfs", str(root), "--", "sh", "-c", "echo lost; echo lost >&2; cat; exit 4"]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words], timeout=60)
    assert done.returncode == 4


def test_python_runner_py_is_the_same_command(root):
    runner = Path(__file__).resolve().parent.parent / "runner.py"
    done = subprocess.run(
        [sys.executable, runner, "run", "--rootfs", root, "echo", "same"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "same\n"


@pytest.mark.parametrize("words", [["--help"], ["image", "--help"], ["run", "--help"], ["trace", "--help"], ["ps", "--help"]])
def test_help_that_no_terminal_takes_is_80_columns_wide_or_as_columns_says(int80, words):
    widths = {}
    for told in ("", "120"):
        helped = command(int80, *words, env=os.environ | {"COLUMNS": told}, stdin=subprocess.DEVNULL)
        assert helped.returncode == 0 and helped.stdout.startswith(("usage: ", "int80 "))
        widths[told] = max(map(len, helped.stdout.splitlines()))
    assert widths[""] <= 80 < widths["120"] <= 120


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["image", "--help"], ["features"], ["list"], ["images"], ["ps", "-a"], ["check"]]
)
@pytest.mark.parametrize("buffered", [True, False])
def test_output_that_nobody_reads_ends_a_command_without_a_word(int80, tmp_path, words, buffered):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    if not buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    environment |= {"XDG_DATA_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*int80, *words], stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    finally:
        os.close(writer)
    assert done.stderr == "" and done.returncode in (1, 125)


@pytest.mark.parametrize("command", ["run", "try"])
def test_h_alone_asks_for_help_and_with_a_name_is_a_hosts(int80, run, command):
    helped = [subprocess.run([*int80, command, word], capture_output=True, text=True, timeout=60) for word in ("-h", "--help")]
    assert helped[0].stdout == helped[1].stdout and helped[0].stdout.startswith(f"usage: int80 {command}")
    assert run.sh("hostname", options=("-h", "me")) == "me\n"
