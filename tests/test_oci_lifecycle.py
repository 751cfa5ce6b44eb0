"""The life of a container by the runtime commands, as the runtime-spec's runtime.md and runc's command line have it."""

from __future__ import annotations

import array
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from runtimes import INT80, Bundle, Runtime, alive, eventually, gone, kill, read_until

from abi import __version__

RUNC = shutil.which("runc")


# -- the states -------------------------------------------------------------------------------------


def test_a_container_is_created_then_runs_then_has_stopped_then_is_gone(runtime, bundle):
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    created = runtime.state("one")
    assert created["status"] == "created" and alive(created["pid"])
    runtime.ok("start", "one")
    running = runtime.state("one")
    assert (running["status"], running["pid"]) == ("running", created["pid"])
    runtime.ok("kill", "one", "KILL")
    eventually(lambda: runtime.status("one") == "stopped")
    assert runtime.state("one")["pid"] == 0
    runtime.ok("delete", "one")
    assert runtime.fails("state", "one") == "container does not exist"


def test_the_state_says_what_the_specification_asks_for(runtime, bundle):
    bundle.config["annotations"] = {"com.example": "yes"}
    bundle.write()
    state = runtime.up("one", bundle)
    assert state["ociVersion"] == "1.2.0" and state["id"] == "one"
    assert state["bundle"] == str(bundle.path) and state["rootfs"] == str(bundle.root)
    assert state["annotations"] == {"com.example": "yes"}
    assert datetime.fromisoformat(state["created"]).tzinfo is not None


def test_nothing_runs_before_start(runtime, bundle):
    bundle.runs("sh", "-c", "echo ran >/tmp/ran; sleep 1000")
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    assert runtime.pids("one") == [runtime.state("one")["pid"]] and not (bundle.root / "tmp/ran").exists()
    runtime.ok("start", "one")
    eventually((bundle.root / "tmp/ran").exists)


def test_changes_of_config_json_after_create_do_not_reach_the_container(runtime, bundle):
    bundle.runs("sh", "-c", "echo first >/tmp/which")
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    bundle.runs("sh", "-c", "echo second >/tmp/which")
    runtime.ok("start", "one")
    eventually(lambda: runtime.status("one") == "stopped")
    assert (bundle.root / "tmp/which").read_text() == "first\n"


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7 << 8), ("kill -TERM $$", 15), ("kill -SEGV $$", 11)]
)
def test_the_process_that_stands_for_it_ends_as_init_does(runtime, bundle, tmp_path, script, status):
    bundle.runs("sh", "-c", script)
    create = ("create", "--bundle", str(bundle.path), "--pid-file", str(tmp_path / "pid"), "one")
    done = runtime.engine("one", create, ("start", "one"), pid_file=tmp_path / "pid")
    assert (done.stdout, done.stderr) == (f"{status}\n", "")


def test_run_gives_the_output_and_the_status_of_the_command_and_forgets_the_container(runtime, bundle):
    bundle.runs("sh", "-c", "cat; echo $INSIDE; exit 3")
    done = runtime("run", "--bundle", str(bundle.path), "one", stdin=b"through\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "through\nyes\n", "")
    assert runtime.fails("state", "one") == "container does not exist"


def test_run_with_keep_leaves_a_stopped_container(runtime, bundle):
    bundle.runs("true")
    runtime.ok("run", "--keep", "--bundle", str(bundle.path), "one")
    assert runtime.status("one") == "stopped"


def test_run_detached_leaves_it_running(runtime, bundle, tmp_path):
    runtime.ok("run", "--detach", "--pid-file", str(tmp_path / "pid"), "--bundle", str(bundle.path), "one")
    state = runtime.state("one")
    assert state["status"] == "running" and (tmp_path / "pid").read_text() == str(state["pid"])


def test_run_needs_no_bundle_option_where_global_options_tell_whose_command_it_is(runtime, bundle):
    bundle.runs("echo", "here")
    assert runtime.ok("run", "one", cwd=bundle.path) == "here\n"


def test_run_passes_signals_on(runtime, bundle):
    bundle.runs("sh", "-c", "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    command = [*runtime.command, "run", "--bundle", str(bundle.path), "one"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "told\n"
        assert process.wait(60) == 5


def test_the_streams_of_create_are_the_containers_and_nobody_elses(runtime, bundle):
    bundle.runs("sh", "-c", "echo out; exec >/dev/null 2>&1; read line; echo $line >/tmp/read; sleep 1000")
    command = [*runtime.command, "create", "--bundle", str(bundle.path), "one"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.wait(60) == 0
        runtime.ok("start", "one")
        assert process.stdout.read() == b"out\n"  # to the end: nobody else holds it open
        process.stdin.write(b"in\n")
    eventually(lambda: (bundle.root / "tmp/read").exists() and (bundle.root / "tmp/read").read_text() == "in\n")


# -- signals ----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may join a mount namespace")
def test_who_joins_its_mount_namespace_is_in_the_container(runtime, bundle, tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("bound\n")
    for destination, options in (("/volume", ["bind"]), ("/fixed", ["bind", "ro"])):
        bundle.config["mounts"].append({"destination": destination, "source": str(tmp_path / "volume"), "options": options})
    bundle.config["mounts"].append({"destination": "/memory", "type": "tmpfs", "source": "tmpfs"})
    pid = runtime.up("one", bundle.write())["pid"]
    marker = tmp_path / "machine"
    marker.touch()
    script = f"cat /volume/file; echo x 2>/dev/null >/fixed/new || echo kept; echo there >/memory/file; ls {marker} 2>&1"
    done = subprocess.run(["nsenter", "-t", str(pid), "-m", "/bin/sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[:2] == ["bound", "kept"] and "No such file" in done.stdout, done
    assert runtime.ok("exec", "one", "cat", "/memory/file") == "there\n"


def test_what_the_monitor_has_to_say_is_said_once(runtime, bundle):
    bundle.config["process"]["oomScoreAdj"] = -1000
    done = runtime("run", "--bundle", str(bundle.runs("true").path), "one")
    warning = "int80: warning: oom_score_adj -1000: permission denied; it stays as it is\n"
    assert (done.returncode, done.stderr) in ((0, warning), (0, ""))  # nothing for whoever may set it


@pytest.mark.parametrize("name", ["USR1", "SIGUSR1", "usr1", str(int(signal.SIGUSR1))])
def test_kill_takes_names_and_numbers(runtime, bundle, name):
    bundle.runs("sh", "-c", "trap 'echo told >/tmp/told' USR1; echo ready >/tmp/ready; while :; do sleep 0.05; done")
    runtime.up("one", bundle)
    eventually((bundle.root / "tmp/ready").exists)
    runtime.ok("kill", "one", name)
    eventually((bundle.root / "tmp/told").exists)


def test_signal_0_asks_and_does_nothing(runtime, bundle):
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    runtime.ok("kill", "one", "0")
    runtime.ok("start", "one")
    runtime.ok("kill", "one", "0")
    assert runtime.status("one") == "running"
    runtime.ok("kill", "one", "KILL")
    eventually(lambda: runtime.status("one") == "stopped")
    assert runtime.fails("kill", "one", "0") == "container not running"


def test_kill_sends_sigterm_unless_told(runtime, bundle, tmp_path):
    create = ("create", "--bundle", str(bundle.path), "--pid-file", str(tmp_path / "pid"), "one")
    assert runtime.engine("one", create, ("start", "one"), ("kill", "one"), pid_file=tmp_path / "pid").stdout == "15\n"


def test_kill_all_reaches_every_process(runtime, bundle):
    loop = "while :; do sleep 0.05; done"
    child = f"trap 'echo told >/tmp/child' TERM; echo >/tmp/ready; {loop}"
    bundle.runs("sh", "-c", f'trap : TERM; sh -c "{child}" & {loop}')
    runtime.up("one", bundle)
    eventually((bundle.root / "tmp/ready").exists)
    runtime.ok("kill", "--all", "one", "TERM")
    eventually((bundle.root / "tmp/child").exists)
    assert runtime.status("one") == "running"


@pytest.mark.parametrize("state", ["created", "running", "paused"])
def test_sigkill_ends_it_in_every_state(runtime, bundle, state):
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    for command in {"created": (), "running": ("start",), "paused": ("start", "pause")}[state]:
        runtime.ok(command, "one")
    pids = [runtime.state("one")["pid"], *runtime.pids("one")]
    runtime.ok("kill", "one", "KILL")
    assert gone(pids)
    assert runtime.status("one") == "stopped"


def test_what_ends_nobody_does_not_end_a_created_container(runtime, bundle):
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    runtime.ok("kill", "one", "CHLD")
    assert runtime.status("one") == "created"
    runtime.ok("kill", "one", "TERM")
    eventually(lambda: runtime.status("one") == "stopped")


def test_when_init_ends_everything_does(runtime, bundle):
    bundle.runs("sh", "-c", "sleep 1000 & echo ready >/tmp/ready; read line")
    runtime.ok("create", "--bundle", str(bundle.path), "one", stdin=b"")
    pids = [runtime.state("one")["pid"]]
    runtime.ok("start", "one")
    assert gone(pids)
    assert runtime.pids("one") == []


# -- pausing ----------------------------------------------------------------------------------------


def test_a_paused_container_does_nothing_until_it_is_resumed(runtime, bundle):
    bundle.runs("sh", "-c", "trap 'echo told >/tmp/told' USR1; echo ready >/tmp/ready; while :; do sleep 0.05; done")
    runtime.up("one", bundle)
    eventually((bundle.root / "tmp/ready").exists)
    runtime.ok("pause", "one")
    assert runtime.status("one") == "paused"
    runtime.ok("kill", "one", "USR1")
    assert runtime.fails("exec", "one", "true") == (
        "exec failed: cannot exec in a paused container (use --ignore-paused to override)"
    )
    assert not (bundle.root / "tmp/told").exists()
    runtime.ok("resume", "one")
    assert runtime.status("one") == "running"
    eventually((bundle.root / "tmp/told").exists)


# -- errors -----------------------------------------------------------------------------------------

_CREATE = ("create", "--bundle", "{bundle}", "one")
_STEPS = [
    ("state", "one"), ("start", "one"), ("kill", "one"), ("kill", "one", "NONSENSE"), ("delete", "one"), ("pause", "one"),
    ("resume", "one"), ("exec", "one", "true"), ("delete", "--force", "one"), ("ps", "one"), ("list", "--format", "yaml"),
    ("create", "--bundle", "/nowhere", "one"), ("create", "--bundle", "{bundle}", "a/b"),
    ("create", "--bundle", "{bundle}", ".."), ("create", "--bundle", "{bundle}", ""),
    ("create", "--bundle", "{bundle}", "a b"), ("run", "--bundle", "/nowhere", "one"),
    _CREATE, _CREATE, ("pause", "one"), ("resume", "one"), ("delete", "one"), _CREATE,
    ("start", "one"), ("start", "one"), _CREATE, ("delete", "one"), ("resume", "one"), ("kill", "one", "NONSENSE"),
    ("exec", "one", "nosuch"), ("exec", "one", "/nosuch"), ("exec", "one", "/etc/passwd"),
    ("pause", "one"), ("pause", "one"), ("exec", "one", "true"), ("start", "one"), ("delete", "one"), ("resume", "one"),
    ("kill", "one", "KILL"), ("{wait}",), ("kill", "one", "KILL"), ("kill", "--all", "one", "KILL"), ("start", "one"),
    ("pause", "one"), ("resume", "one"), ("exec", "one", "true"), ("events", "--stats", "one"), _CREATE,
    ("delete", "one"), ("delete", "one"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(RUNC is None or os.geteuid() != 0, reason="runc, as root, is what this is compared with")
def test_every_command_in_every_state_succeeds_and_fails_as_with_runc(tmp_path, bundle):
    bundle.config["process"]["capabilities"] = {}
    bundle.write()
    (tmp_path / "runc").mkdir()
    theirs, ours = Runtime(tmp_path / "runc", [RUNC]), Runtime(tmp_path)
    try:
        if (tried := theirs("run", "--bundle", str(bundle.runs("true").path), "try")).returncode:
            pytest.skip(f"runc does not run here: {tried.stderr}")
        bundle.runs("sleep", "1000")
        for number, step in enumerate(_STEPS):
            if step == ("{wait}",):
                for runtime in (theirs, ours):
                    eventually(lambda runtime=runtime: runtime.status("one") == "stopped")
                continue
            words = [word.replace("{bundle}", str(bundle.path)) for word in step]
            their, our = theirs(*words), ours(*words)
            said = re.search(r'msg="(.*)"', their.stderr)
            expected = json.loads(f'"{said[1]}"').removeprefix("runc ") if said else ""
            assert (number, step, our.returncode) == (number, step, their.returncode), (their, our)
            got = our.stderr.removeprefix("int80: ").rstrip("\n")
            assert got.startswith(expected) and bool(got) == bool(expected), (number, step, their.stderr)
    finally:
        theirs.clear()
        ours.clear()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("state",), "the following arguments are required: ID; see `int80 state --help`"),
        (("start", "one", "two"), "unrecognized arguments: two; see `int80 start --help`"),
        (("nonsense",), "'nonsense' is no command of a runtime's"),
        (("create", "--preserve-fds", "-1", "one"), "create failed: --preserve-fds -1: not a number of descriptors"),
        (("events", "--interval", "soon", "one"), "--interval soon: a time above zero, as 500ms, 5s or 1m"),
    ],
)
def test_a_command_that_cannot_be_read_is_one_line_and_status_1(runtime, words, said):
    done = runtime(*words)
    assert (done.returncode, done.stderr) == (1, f"int80: {said}\n")


def test_a_command_that_is_not_in_the_root_is_an_error_of_create(runtime, bundle):
    bundle.runs("nosuch")
    assert runtime.fails("create", "--bundle", str(bundle.path), "one") == (
        'create failed: unable to start container process: exec: "nosuch": executable file not found in $PATH'
    )
    assert json.loads(runtime.ok("list", "--format", "json")) is None


def test_a_bundle_without_a_configuration_is_an_error_that_names_it(runtime, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path}/empty/config.json" in runtime.fails("create", "--bundle", str(tmp_path / "empty"), "one")


def test_a_directory_of_containers_that_others_can_change_is_refused(runtime, bundle):
    runtime.containers.mkdir()
    runtime.containers.chmod(0o777)
    assert "others can change it" in runtime.fails("create", "--bundle", str(bundle.path), "one")


@pytest.mark.parametrize("how", ["json", "text"])
def test_errors_are_in_the_log_too(runtime, tmp_path, how):
    options = ("--log", str(tmp_path / "log"), "--log-format", how)
    assert runtime.fails("state", "one", options=options) == "container does not exist"
    line = (tmp_path / "log").read_text()
    if how == "json":
        entry = json.loads(line)
        assert (entry["level"], entry["msg"]) == ("error", "container does not exist")
        assert datetime.fromisoformat(entry["time"])
    else:
        assert re.fullmatch(r'time="\S+" level=error msg="container does not exist"\n', line)


def test_without_a_log_json_goes_to_the_standard_error(runtime):
    done = runtime("state", "one", options=("--log-format", "json"))
    entry = json.loads(done.stderr)
    assert (done.returncode, entry["level"], entry["msg"]) == (1, "error", "container does not exist")


@pytest.mark.parametrize(
    ("word", "said"), [("--version", f"int80 {__version__}\n"), ("-v", f"int80 {__version__}\n"), ("--help", "create")]
)
def test_behind_global_options_int80_tells_of_itself(runtime, word, said):
    assert said in runtime.ok(word)


def test_an_id_may_look_like_an_option_behind_two_dashes(runtime, bundle):
    runtime.ok("create", "--bundle", str(bundle.path), "--", "-one")
    assert json.loads(runtime.ok("state", "--", "-one"))["id"] == "-one"
    runtime.ok("delete", "--", "-one")


def test_the_options_that_engines_give_are_taken(runtime, bundle):
    options = ("--systemd-cgroup", "--rootless", "auto", "--criu", "/bin/criu", "--debug", "--log-format=json", "--log=/dev/null")
    runtime.ok("create", "--no-pivot", "--no-new-keyring", "--bundle", str(bundle.path), "one", options=options)
    runtime.ok("delete", "one", options=options)


# -- lists ------------------------------------------------------------------------------------------


def test_list_shows_each_container_in_a_table_as_json_and_by_id(runtime, bundle):
    runtime.ok("create", "--bundle", str(bundle.path), "b")
    state = runtime.up("a", bundle)
    lines = runtime.ok("list").splitlines()
    assert lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert [line.split()[::2] for line in lines[1:]] == [
        ["a", "running", state["created"]],
        ["b", "created", runtime.state("b")["created"]],
    ]
    assert [entry["id"] for entry in json.loads(runtime.ok("list", "--format", "json"))] == ["a", "b"]
    assert runtime.ok("list", "-q") == "a\nb\n"


def test_ps_shows_the_processes_by_the_hosts_numbers(runtime, bundle):
    bundle.runs("sh", "-c", "sleep 1000 & echo ready >/tmp/ready; wait")
    runtime.up("one", bundle)
    eventually((bundle.root / "tmp/ready").exists)
    pids = runtime.pids("one")
    assert sorted(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] for pid in pids) == [b"sh", b"sleep"]
    lines = runtime.ok("ps", "one", "-e", "-o", "pid,args").splitlines()
    assert lines[0].split() == ["PID", "COMMAND"]
    assert sorted(int(line.split()[0]) for line in lines[1:]) == pids


def test_ps_needs_numbers_to_choose_by(runtime, bundle):
    runtime.up("one", bundle)
    assert runtime.fails("ps", "one", "-e", "-o", "args") == "couldn't find PID field in ps output"


def test_events_tell_what_it_uses(runtime, bundle):
    runtime.up("one", bundle)
    event = json.loads(runtime.ok("events", "--stats", "one"))
    assert (event["type"], event["id"], event["data"]["pids"]["current"]) == ("stats", "one", 1)
    assert event["data"]["memory"]["usage"]["usage"] > 0


# -- what it is given beside its streams ------------------------------------------------------------


def received(console: socket.socket) -> int:
    """The descriptor that somebody sends to a console socket."""
    connection, _ = console.accept()
    with connection:
        _, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    return array.array("i", control[0][2])[0]


@pytest.fixture
def console(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.settimeout(60)
        listening.bind(str(tmp_path / "console"))
        listening.listen()
        yield listening


def test_the_master_of_its_terminal_goes_to_the_console_socket(runtime, bundle, console, tmp_path):
    bundle.config["process"] |= {"terminal": True, "consoleSize": {"height": 11, "width": 77}}
    bundle.runs("sh", "-c", "tty; stty size; read line; echo got $line")
    runtime.ok("create", "--console-socket", str(tmp_path / "console"), "--bundle", str(bundle.path), "one")
    master = received(console)
    runtime.ok("start", "one")
    assert b"/dev/pts/" in read_until(master, b"11 77\r\n")
    os.write(master, b"this\n")
    read_until(master, b"got this\r\n")
    eventually(lambda: runtime.status("one") == "stopped")
    with pytest.raises(OSError):  # EIO: nobody has the other side any more
        while os.read(master, 4096):
            pass
    os.close(master)


def test_the_streams_of_create_are_nobodys_where_the_container_has_a_terminal(runtime, bundle, console, tmp_path):
    """containerd's shim reads what `create` prints to its end, and only then takes the terminal."""
    bundle.config["process"]["terminal"] = True
    bundle.write()
    words = ["create", "--console-socket", str(tmp_path / "console"), "--bundle", str(bundle.path), "one"]
    done = subprocess.run([*runtime.command, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    runtime.ok("start", "one")
    assert runtime.status("one") == "running"


def test_a_terminal_needs_a_console_socket_and_the_socket_a_terminal(runtime, bundle, tmp_path):
    create = ("create", "--bundle", str(bundle.path))
    assert runtime.fails(*create, "--console-socket", "/nowhere", "one") == (
        "create failed: cannot use console socket if runc will not detach or allocate tty"
    )
    bundle.config["process"]["terminal"] = True
    bundle.write()
    said = runtime.fails(*create, "one")
    assert said == "create failed: cannot allocate tty if runc will detach without setting console socket"
    assert "/nowhere: no such file or directory" in runtime.fails(*create, "--console-socket", "/nowhere", "one")
    assert json.loads(runtime.ok("list", "--format", "json")) is None


def test_run_relays_a_terminal(runtime, bundle):
    bundle.config["process"]["terminal"] = True
    bundle.runs("sh", "-c", "test -t 0 && tty; exit 4")
    done = runtime("run", "--bundle", str(bundle.path), "one")
    assert (done.returncode, done.stderr) == (4, "")
    assert re.fullmatch(r"/dev/(pts/\d+|console)\r\n", done.stdout)


def test_further_descriptors_are_passed_and_no_others(runtime, bundle, tmp_path):
    bundle.runs("sh", "-c", "echo third >&3; echo fourth >&4; ls /proc/self/fd; sleep 1000")
    files = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("third", "fourth", "fifth")]
    command = " ".join(f"{number}>&{fd}" for number, fd in zip((3, 4, 5), files, strict=True))
    create = [*runtime.command, "create", "--preserve-fds", "2", "--bundle", str(bundle.path), "one"]
    with (tmp_path / "listed").open("wb") as out:
        words = ["bash", "-c", f'exec "$@" {command}', "bash", *create]
        subprocess.run(words, pass_fds=files, stdout=out, check=True, timeout=60)
    for fd in files:
        os.close(fd)
    runtime.ok("start", "one")
    listed = eventually(lambda: (text := (tmp_path / "listed").read_text()).endswith("5\n") and text)
    assert (tmp_path / "third").read_text() == "third\n" and (tmp_path / "fourth").read_text() == "fourth\n"
    assert listed.split() == ["0", "1", "2", "3", "4", "5"]  # the last is the directory that ls reads


def test_what_else_was_open_for_create_is_not_open_in_what_it_leaves(runtime, bundle):
    read, write = os.pipe()
    runtime.ok("create", "--bundle", str(bundle.path), "one", pass_fds=(write,))
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() == b""  # to the end: nobody has the other side
    assert runtime.status("one") == "created"


def test_descriptors_of_socket_activation_are_passed_with_their_number(runtime, bundle, tmp_path):
    bundle.runs("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID >&3")
    with (tmp_path / "third").open("wb") as third:
        run = [*runtime.command, "run", "--bundle", str(bundle.path), "one"]
        subprocess.run(
            ["bash", "-c", f'exec "$@" 3>&{third.fileno()}', "bash", *run],
            pass_fds=[third.fileno()], env=os.environ | {"LISTEN_FDS": "1"}, check=True, timeout=60,
        )  # fmt: skip
    assert (tmp_path / "third").read_text() == "1 1\n"


def test_descriptors_that_are_not_there_are_an_error(runtime, bundle):
    said = runtime.fails("create", "--preserve-fds", "2", "--bundle", str(bundle.path), "one")
    assert said.startswith("create failed: unable to stat preserved-fd 1 (of 2)")


# -- several at once, and deaths --------------------------------------------------------------------


def at_once(runtime: Runtime, words: list[tuple[str, ...]]) -> list[int]:
    """Run commands at the same time; their exit statuses."""
    null = subprocess.DEVNULL
    started = [subprocess.Popen([*runtime.command, *each], stdin=null, stdout=null, stderr=null) for each in words]
    return [process.wait(120) for process in started]


def test_of_several_commands_at_once_one_succeeds(runtime, bundle):
    assert sorted(at_once(runtime, [("create", "--bundle", str(bundle.path), "one")] * 6)) == [0, 1, 1, 1, 1, 1]
    assert sorted(at_once(runtime, [("start", "one")] * 6)) == [0, 1, 1, 1, 1, 1]
    assert runtime.status("one") == "running" and len(runtime.pids("one")) == 1
    assert at_once(runtime, [("kill", "one", "KILL")] * 6).count(0) >= 1
    eventually(lambda: runtime.status("one") == "stopped")
    assert sorted(at_once(runtime, [("delete", "one")] * 6)) == [0, 1, 1, 1, 1, 1]
    assert os.listdir(runtime.containers) == []


@pytest.mark.parametrize("state", ["created", "running", "paused"])
def test_a_killed_monitor_leaves_no_process_a_true_list_and_the_files(runtime, bundle, state):
    bundle.runs("sh", "-c", "sleep 1000 & echo kept >/tmp/kept; wait")
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    if state != "created":
        runtime.ok("start", "one")
        eventually(lambda: len(runtime.pids("one")) == 2)
    if state == "paused":
        runtime.ok("pause", "one")
    pids = [*runtime.pids("one"), runtime.state("one")["pid"]]
    kill(pids[-1])
    assert gone(pids)
    eventually(lambda: runtime.status("one") == "stopped")  # a thread of the monitor's may be the last to go
    assert runtime.ok("list").splitlines()[1].split()[:3] == ["one", "0", "stopped"]
    assert (state == "created") != (bundle.root / "tmp/kept").exists()
    assert runtime.fails("start", "one") == "cannot start a container that has stopped"
    runtime.ok("delete", "one")
    assert os.listdir(runtime.containers) == []


def test_a_create_that_is_killed_leaves_nothing_that_lives(runtime, bundle):
    bundle.hook("createRuntime", f"echo $$ >{bundle.path}/hook; exec sleep 1000")
    with subprocess.Popen([*runtime.command, "create", "--bundle", str(bundle.path), "one"]) as process:
        hook = int(eventually(lambda: (bundle.path / "hook").exists() and (bundle.path / "hook").read_text()))
        monitor = json.loads((runtime.containers / "one/state.json").read_text())["pid"]
        kill(process.pid)
    kill(hook)
    assert gone([monitor])
    assert os.listdir(runtime.containers) == []


def test_what_a_killed_command_left_half_done_goes_with_the_next(runtime, bundle):
    (runtime.containers / "~half").mkdir(parents=True)
    (runtime.containers / "~half/state.json").write_text("{")
    runtime.up("one", bundle)
    assert os.listdir(runtime.containers) == ["one"]


def test_a_container_whose_record_is_damaged_can_be_deleted(runtime, bundle):
    runtime.up("one", bundle)
    kill(runtime.state("one")["pid"])
    (runtime.containers / "one/state.json").write_text("{")
    assert "its state cannot be read" in runtime.fails("state", "one")
    runtime.ok("delete", "--force", "one")
    assert os.listdir(runtime.containers) == []


@pytest.mark.slow
def test_a_hundred_containers_at_once_leave_nothing_behind(runtime, bundle):
    scratch = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]
    before = {path for place in scratch for path in place.glob("int80-*")}
    names = [f"c{number}" for number in range(100)]

    def live(name: str) -> list[int]:
        create = ("create", "--bundle", str(bundle.path), name)
        null = subprocess.DEVNULL
        return [
            subprocess.run([*runtime.command, *words], stdin=null, stdout=null, timeout=300).returncode
            for words in (create, ("start", name), ("kill", name, "KILL"), ("delete", "--force", name))
        ]

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(live, names)) == [[0, 0, 0, 0]] * 100
    assert os.listdir(runtime.containers) == []
    from conftest import pids_with

    eventually(lambda: not pids_with(str(runtime.containers)))
    eventually(lambda: {path for place in scratch for path in place.glob("int80-*")} <= before)


# -- update, spec, features -------------------------------------------------------------------------


def test_update_changes_the_limit_of_tasks_of_a_running_container(runtime, bundle):
    bundle.config["linux"]["resources"] = {"pids": {"limit": 2}}
    bundle.write()
    runtime.up("one", bundle)
    script = "sleep 0 & wait $! && echo forked"
    assert "forked" not in runtime("exec", "one", "sh", "-c", script).stdout
    runtime.ok("update", "--pids-limit", "20", "one")
    assert "forked" in runtime("exec", "one", "sh", "-c", script).stdout


def test_update_limits_the_tasks_of_a_container_that_had_no_limit(runtime, bundle):
    runtime.up("one", bundle)
    script = "sleep 0 & wait $! && echo forked"
    runtime.ok("update", "--pids-limit", "2", "one")
    assert "forked" not in runtime("exec", "one", "sh", "-c", script).stdout
    runtime.ok("update", "--pids-limit", "-1", "one")
    assert "forked" in runtime("exec", "one", "sh", "-c", script).stdout


def test_update_takes_sizes_with_units(runtime, bundle):
    bundle.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    runtime.up("one", bundle.write())
    for size, told in (("64M", 64 << 20), ("1.5g", 3 << 29), ("524288KiB", 512 << 20), ("-1", "max"), ("83886080", 80 << 20)):
        runtime.ok("update", "--memory", size, "one")
        assert runtime.ok("exec", "one", "cat", "/sys/fs/cgroup/memory.max") == f"{told}\n"
    assert "'much' is no number of bytes" in runtime.fails("update", "--memory", "much", "one")


def test_update_takes_resources_from_a_file_or_the_input_and_places_every_task(runtime, bundle):
    runtime.up("one", bundle)
    pids = runtime.pids("one")
    first = min(os.sched_getaffinity(0))
    runtime.ok("update", "--resources", "-", "one", stdin=json.dumps({"cpu": {"cpus": str(first)}}).encode())
    assert os.sched_getaffinity(pids[0]) == {first}


def test_update_of_what_is_no_resource_is_an_error(runtime, bundle):
    runtime.up("one", bundle)
    assert "all" in runtime.fails("update", "--cpuset-cpus", "all", "one")
    assert runtime.fails("update", "--cpuset-cpus", "9999", "one").endswith('"9999" names no processor of this machine')
    assert runtime.status("one") == "running"


@pytest.mark.parametrize("options", [(), ("--rootless",)])
def test_the_configuration_that_spec_writes_works(runtime, root, tmp_path, options):
    place = tmp_path / "made"
    place.mkdir()
    (place / "rootfs").symlink_to(root)
    runtime.ok("spec", "--bundle", str(place), *options)
    assert runtime.fails("spec", "--bundle", str(place)) == f"File {place}/config.json exists. Remove it first"
    config = json.loads((place / "config.json").read_text())
    config["process"] |= {"args": ["sh", "-c", "tty && touch /x; hostname"]}
    (place / "config.json").write_text(json.dumps(config))
    done = runtime("run", "--bundle", str(place), "one")
    assert done.returncode == 0 and "Read-only file system" in done.stdout and "int80" in done.stdout, done


@pytest.mark.skipif(RUNC is None, reason="runc is what this is compared with")
def test_the_configuration_that_spec_writes_is_runcs(runtime, tmp_path):
    """But for the version, the name, and what runc gives to all who ask for ambient capabilities."""
    for name, command in (("ours", runtime.command), ("theirs", [RUNC])):
        (tmp_path / name).mkdir()
        subprocess.run([*command, "spec", "--bundle", str(tmp_path / name)], check=True)
    ours, theirs = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))
    for config in (ours, theirs):
        del config["ociVersion"], config["hostname"]
        config["process"]["capabilities"].pop("ambient", None)
        config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "cgroup"]
    assert ours == theirs


def test_features_names_hooks_options_and_actions(runtime):
    features = json.loads(runtime.ok("features"))
    assert features["ociVersionMin"] <= "1.0.2" and features["ociVersionMax"] == "1.2.0"
    assert features["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    assert {"bind", "ro", "nosuid", "rshared"} <= set(features["mountOptions"])
    assert "newinstance" not in features["mountOptions"]  # a file system's own
    assert "SECCOMP_FILTER_FLAG_LOG" in features["linux"]["seccomp"]["knownFlags"]
    assert "SCMP_ACT_ERRNO" in features["linux"]["seccomp"]["actions"] and "CAP_CHOWN" in features["linux"]["capabilities"]


# -- as anybody -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_containers_too(bundle, tmp_path):
    """With no root, no capability and no user namespace; their files are their own."""
    user = 24680
    os.chmod(tmp_path, 0o755)
    place = Path("/var/tmp") / f"int80-test-{os.getpid()}"
    place.mkdir()
    try:
        shutil.copytree(bundle.root, place / "root", symlinks=True)
        os.chown(place, user, user)
        for path in place.rglob("*"):
            os.lchown(path, user, user)
        theirs = Bundle(place / "bundle", place / "root").runs("sh", "-c", "id -u; echo mine >/tmp/mine")
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        try:
            runtime = Runtime(place, [*become, "--no-new-privs", *INT80])
            if runtime("list").returncode:
                pytest.skip("another user cannot read int80's own files here")
            assert runtime.ok("run", "--bundle", str(theirs.path), "one") == "0\n"
            assert (place / "root/tmp/mine").stat().st_uid == user
            runtime.up("two", theirs.runs("sleep", "1000"))
            assert runtime.ok("exec", "two", "cat", "/tmp/mine") == "mine\n"
            runtime.ok("pause", "two")
            runtime.ok("delete", "--force", "two")
            assert os.listdir(place / "containers") == []
        finally:
            runtime.clear()
    finally:
        shutil.rmtree(place)
