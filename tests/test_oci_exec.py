"""Further processes in a running container: `exec`, as runc has it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest
from runtimes import alive, eventually, gone, kill, read_until
from test_oci_lifecycle import console, received  # noqa: F401


@pytest.fixture
def one(runtime, bundle):
    """A running container."""
    runtime.up("one", bundle)
    return "one"


def process(**more) -> dict:
    return {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, **more}


def test_exec_gives_output_input_and_status_of_the_command(runtime, one):
    done = runtime("exec", one, "sh", "-c", "cat; echo told >&2; exit 7", stdin=b"through\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "through\n", "told\n")


def test_a_command_ended_by_a_signal_gives_128_and_the_signal(runtime, one):
    assert runtime("exec", one, "sh", "-c", "kill -KILL $$").returncode == 137


def test_it_is_among_the_containers_processes_and_sees_them(runtime, one):
    assert runtime.ok("exec", one, "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '") == "sleep 1000 "
    assert runtime.ok("exec", one, "sh", "-c", "test $$ != 1 && echo $PPID") == "0\n"


def test_it_starts_with_what_the_containers_process_has(runtime, one):
    assert runtime.ok("exec", one, "sh", "-c", "echo $INSIDE $PATH; pwd; id -u") == "yes /bin\n/\n0\n"


def test_options_change_what_it_starts_with(runtime, one):
    options = ("--env", "A=b", "-e", "INSIDE=no", "--cwd", "/tmp", "--user", "12:34", "--additional-gids", "56")
    assert runtime.ok("exec", *options, one, "sh", "-c", "echo $A $INSIDE; pwd; id -u; id -G") == "b no\n/tmp\n12\n34 56\n"


def test_words_after_the_id_are_the_commands(runtime, one):
    assert runtime.ok("exec", one, "echo", "-e", "--tty", "-d") == "--tty -d\n"


def test_the_process_may_come_from_a_file(runtime, one, tmp_path):
    wanted = process(args=["sh", "-c", "echo $A; pwd; id -u"], env=["PATH=/bin", "A=b"], cwd="/tmp", user={"uid": 5, "gid": 6})
    (tmp_path / "process.json").write_text(json.dumps(wanted))
    assert runtime.ok("exec", "--process", str(tmp_path / "process.json"), one) == "b\n/tmp\n5\n"


def test_capabilities_that_the_file_says_nothing_of_are_the_containers(runtime, bundle, tmp_path):
    sets = ("bounding", "effective", "permitted")
    bundle.config["process"]["capabilities"] = {name: ["CAP_CHOWN", "CAP_KILL"] for name in sets}
    runtime.up("one", bundle.write())
    for more, told in (({}, "0000000000000021"), ({"capabilities": {}}, "0000000000000000")):
        (tmp_path / "process.json").write_text(json.dumps(process(args=["grep", "CapEff", "/proc/self/status"], **more)))
        assert runtime.ok("exec", "--process", str(tmp_path / "process.json"), "one").split() == ["CapEff:", told]


def test_a_file_that_is_no_process_is_an_error_that_names_it(runtime, one, tmp_path):
    (tmp_path / "process.json").write_text(json.dumps(process(cwd="tmp")))
    said = runtime.fails("exec", "--process", str(tmp_path / "process.json"), one)
    assert f"{tmp_path}/process.json: cwd" in said


def test_a_long_command_line_arrives(runtime, one):
    words = [str(number) * 100 for number in range(1000, 1500)]
    assert runtime.ok("exec", one, "echo", *words).split() == words


def test_detached_it_is_stood_for_by_the_process_in_the_pid_file(runtime, bundle, tmp_path):
    create = ("create", "--bundle", str(bundle.path), "one")
    words = ("exec", "--detach", "--pid-file", str(tmp_path / "pid"), "one", "sh", "-c", "exit 9")
    done = runtime.engine("one", create, ("start", "one"), words, pid_file=tmp_path / "pid")
    assert (done.stdout, done.stderr) == (f"{9 << 8}\n", "")


def test_signals_to_that_process_reach_the_command_and_its_end_ends_it(runtime, one, bundle, tmp_path):
    script = "trap 'echo told >/tmp/told' USR1; echo $$ >/tmp/pid; while :; do sleep 0.05; done"
    runtime.ok("exec", "--detach", "--pid-file", str(tmp_path / "pid"), one, "sh", "-c", script)
    waiter = int((tmp_path / "pid").read_text())
    eventually((bundle.root / "tmp/pid").exists)
    os.kill(waiter, signal.SIGUSR1)
    eventually((bundle.root / "tmp/told").exists)
    kill(waiter)
    eventually(lambda: len(runtime.pids(one)) == 1)


def test_detached_it_leaves_the_streams_to_the_command(runtime, one):
    command = [*runtime.command, "exec", "--detach", one, "sh", "-c", "echo out; exec sleep 1000 >/dev/null 2>&1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"")


def test_signals_are_passed_on(runtime, one):
    script = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([*runtime.command, "exec", one, "sh", "-c", script], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.stdout.readline() == "told\n"
        assert running.wait(60) == 5


def test_a_terminal_is_relayed(runtime, one):
    done = runtime("exec", "--tty", one, "sh", "-c", "test -t 0 && tty; exit 4")
    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout.startswith("/dev/pts/")


def test_the_master_of_a_terminal_goes_to_the_console_socket(runtime, one, console: socket.socket, tmp_path):  # noqa: F811
    wanted = process(args=["sh", "-c", "stty size; read line; echo got $line"], terminal=True)
    (tmp_path / "process.json").write_text(json.dumps(wanted | {"consoleSize": {"height": 11, "width": 77}}))
    runtime.ok(
        "exec", "--detach", "--console-socket", str(tmp_path / "console"), "--process", str(tmp_path / "process.json"), one
    )  # fmt: skip
    master = received(console)
    read_until(master, b"11 77\r\n")
    os.write(master, b"this\n")
    read_until(master, b"got this\r\n")
    os.close(master)


def test_further_descriptors_are_passed(runtime, one, tmp_path):
    with (tmp_path / "third").open("wb") as third:
        command = [*runtime.command, "exec", "--preserve-fds", "1", one, "sh", "-c", "echo third >&3"]
        subprocess.run(["bash", "-c", f'exec "$@" 3>&{third.fileno()}', "bash", *command], pass_fds=[third.fileno()], check=True)
    assert (tmp_path / "third").read_text() == "third\n"


def test_when_init_ends_so_does_it(runtime, one):
    with subprocess.Popen([*runtime.command, "exec", one, "sleep", "1000"]) as running:
        pids = eventually(lambda: len(found := runtime.pids(one)) == 2 and found)
        runtime.ok("kill", one, "KILL")
        assert running.wait(60) == 137
    assert gone(pids)


def test_when_the_monitor_is_killed_so_is_it(runtime, one):
    with subprocess.Popen([*runtime.command, "exec", one, "sleep", "1000"]) as running:
        pids = eventually(lambda: len(found := runtime.pids(one)) == 2 and found)
        kill(runtime.state(one)["pid"])
        assert running.wait(60) == 137
    assert gone(pids)


def test_in_a_paused_container_it_waits_if_asked_to(runtime, one, bundle):
    runtime.ok("pause", one)
    with subprocess.Popen([*runtime.command, "exec", "--ignore-paused", one, "sh", "-c", "echo ran >/tmp/ran"]) as running:
        eventually(lambda: len(runtime.pids(one)) == 2)
        assert not (bundle.root / "tmp/ran").exists()
        runtime.ok("resume", one)
        assert running.wait(60) == 0
    assert (bundle.root / "tmp/ran").exists()


def test_many_at_once_have_each_their_own_output(runtime, one):
    echo = [*runtime.command, "exec", one, "echo"]
    started = [subprocess.Popen([*echo, str(number)], stdout=subprocess.PIPE, text=True) for number in range(12)]
    assert [process.communicate(timeout=120)[0] for process in started] == [f"{number}\n" for number in range(12)]
    assert len(runtime.pids(one)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no command given"),
        (("--user", "me", "one", "true"), "--user me: give numbers, as in 1000 or 1000:1000"),
        (("--detach", "--tty", "one", "true"), "cannot allocate tty if runc will detach without setting console socket"),
        (("--cwd", "/nowhere", "one", "true"), 'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory'),
        (("--cwd", "tmp", "one", "true"), 'process: cwd: "tmp" is not an absolute path'),
        (("--env", "NAME", "one", "true"), 'process: env[3]: "NAME" is not NAME=VALUE'),
        (("--user", str(1 << 32), "one", "true"), "process: user.uid: 4294967296 is too large"),
        (("--user", str((1 << 32) - 1), "one", "true"), "process: user.uid: 4294967295 is nobody's: calls take it for no change"),
        (("--additional-gids", "-1", "one", "true"), "process: user.additionalGids[0]: -1 is too small"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_255(runtime, one, words, said):
    done = runtime("exec", *(words or (one,)))
    assert done.returncode == 255 and said in done.stderr and done.stderr.count("\n") == 1, done


def test_a_create_only_container_takes_none(runtime, bundle):
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    assert "exec" in runtime.fails("exec", "one", "true")
    assert alive(runtime.state("one")["pid"])
