"""The host ABI: programs that create, start, wait for and delete containers, and what they must not be able to do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from conftest import GUESTS, REPO, make_root
from runtimes import eventually

EXAMPLES = REPO / "examples/host"
NO_CALL, BAD_ARGUMENT, BAD_ADDRESS, NOT_FOUND, NOT_ALLOWED, WRONG_STATE, TOO_MANY, AGAIN = -1, -2, -3, -4, -5, -8, -11, -13


#: What a root must be able to do with all files of its sandbox to make containers there.
SETS = ("bounding", "effective", "permitted")
FILES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID"]


def build(source: Path, target: Path) -> Path:
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-nostdlib", "-static", "-ffreestanding", f"-I{EXAMPLES}"]
    subprocess.run([*command, "-o", str(target), str(source)], check=True, capture_output=True, text=True)
    return target


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("host")
    build(EXAMPLES / "containers.c", place / "containers")
    build(GUESTS / "host_calls.c", place / "calls")
    build(GUESTS / "host_many.c", place / "many")
    return place


def config(script: str, **more) -> dict:
    process = {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]}
    kinds = ("pid", "mount", "ipc", "uts", "network")
    linux = {"namespaces": [{"type": kind} for kind in kinds]}
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    whole = {"ociVersion": "1.2.0", "process": process, "root": {"path": "rootfs"}, "mounts": mounts, "linux": linux}
    for name, value in more.items():
        if name == "process":
            process.update(value)
        else:
            whole[name] = value
    return whole


@pytest.fixture
def bundle(root: Path, busybox: Path):
    """Make a bundle in the host program's root; its guest path."""

    def make(name: str, script: str = "exit 0", **more) -> str:
        place = root / name
        place.mkdir()
        make_root(place / "rootfs", busybox)
        (place / "config.json").write_text(json.dumps(config(script, **more)))
        return f"/{name}"

    return make


@pytest.fixture
def calls(run, programs):
    """Make host calls; the results, without the words that asked for them, and what was said on the standard error."""
    program = run.put(programs / "calls")

    def make(*words: str, options: tuple[str, ...] = ()) -> tuple[list[str], str]:
        done = run(program, *words, options=options)
        assert done.returncode == 7, done.stderr.decode()
        lines = done.stdout.decode().splitlines()
        results = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines if line.split(" ")[0] in words}
        rest = [line for line in lines if line.split(" ")[0] not in words]
        make.output = rest
        return [results[word].removeprefix("= ") for word in words], done.stderr.decode()

    return make


def test_the_example_runs_containers_beside_each_other(run, programs, bundle):
    one = bundle("one", "echo one is $$ in $(hostname); ls /; read x; exit 3", hostname="first")
    two = bundle("two", "echo two; kill -9 $$")
    done = run(run.put(programs / "containers"), one, two)
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (137, b"")
    assert "one is 1 in first" in lines and "two" in lines
    told = [line for line in lines if line.startswith(("container", "0"))]
    assert told == ["container 1 from /one ended with 3", "container 2 from /two ended with 137", "0 containers left"]
    assert "rootfs" not in lines and "bin" in lines, "its root is its own"


def test_on_the_machines_own_root_too(int80, programs, tmp_path, busybox):
    place = tmp_path / "bundle"
    place.mkdir()
    make_root(place / "rootfs", busybox)
    (place / "config.json").write_text(json.dumps(config("echo changed > /etc/group; cat /etc/group; exit 4")))
    command = [*int80, "run", str(programs / "containers"), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout.splitlines()[0] == "changed"
    assert (place / "rootfs/etc/group").read_text() == "root:x:0:\n", "what a sandbox changes is its own"


def test_the_life_of_a_container(calls, bundle):
    path = bundle("b", "exit 9")
    results, said = calls(f"create:{path}", "state:1", "list", "wait:1", "kill:1:15")
    assert said == ""
    assert results == ["1", "status 1 exit 0 has no pid /b = 256", "1 = 1", str(WRONG_STATE), str(WRONG_STATE)]
    results, said = calls(f"create:{path}", "start:1", "wait:1", "state:1", "kill:1:9", "delete:1", "list", "wait:7")
    assert said == ""
    assert results == [
        "1", "0", "9", "status 3 exit 9 has no pid /b = 256", str(WRONG_STATE), "0", "0", str(NOT_FOUND),
    ]  # fmt: skip


def test_a_running_container_is_killed_and_not_deleted(calls, bundle):
    path = bundle("b", "while :; do :; done")
    results, _ = calls(f"create:{path}", "start:1", "state:1", "delete:1", "kill:1:65", "kill:1:0", "kill:1:9", "wait:1")
    assert results == [
        "1", "0", "status 2 exit 0 has a pid /b = 256", str(WRONG_STATE), str(BAD_ARGUMENT), str(BAD_ARGUMENT), "0", "137",
    ]  # fmt: skip


def test_a_container_is_started_once(run, programs, bundle):
    path = bundle("b", "exit 2")
    done = run(run.put(programs / "calls"), f"create:{path}", "start:1", "start:1", "wait:1", "wait:1", "start:1")
    assert [int(line.split()[-1]) for line in done.stdout.splitlines()] == [1, 0, WRONG_STATE, 2, 2, WRONG_STATE]


def test_many_come_and_go(int80, run, programs, bundle):
    """No end of one is missed, whenever it comes, and no descriptor stays behind."""
    path = bundle("b", "exit 9")
    command = [*int80, "run", "--rootfs", str(run.root), "--", run.put(programs / "many"), path, "150"]
    done = subprocess.run(["prlimit", "--nofile=128", "--", *command], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("150 ended\n", "")


def test_numbers_are_not_used_twice(run, programs, bundle):
    path = bundle("b")
    done = run(run.put(programs / "calls"), f"create:{path}", "delete:1", f"create:{path}", "list")
    assert [line.split(" ", 1)[1] for line in done.stdout.decode().splitlines()] == ["= 1", "= 0", "= 2", "2 = 1"]


def test_its_files_are_those_that_the_host_program_has(run, programs, bundle, tmp_path):
    """A root that is changed in place, a mount of the host program's, and one that it may only read."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("of the volume\n")
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/v", "type": "bind", "source": "/volume", "options": ["bind"]},
    ]
    path = bundle("b", "cat /v/file; echo mine > /new; echo no > /v/file; exit 5", mounts=mounts)
    options = ("-v", f"{tmp_path}/volume:/volume:ro")
    done = run(run.put(programs / "containers"), path, options=options)
    assert done.stdout.decode().splitlines()[0] == "of the volume"
    assert b"/v/file: Read-only file system" in done.stderr
    assert (run.root / "b/rootfs/new").read_text() == "mine\n"
    assert (tmp_path / "volume/file").read_text() == "of the volume\n"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"process": {"args": ["nothing"]}}, NOT_FOUND, "nothing"),
        ({"process": {"args": ["/etc/passwd"]}}, NOT_ALLOWED, "/etc/passwd"),
        ({"process": {"cwd": "relative"}}, BAD_ARGUMENT, "process.cwd"),
        ({"root": {"path": "elsewhere"}}, BAD_ARGUMENT, "root.path"),
        ({"hooks": {"prestart": [{"path": "/bin/true"}]}}, NOT_ALLOWED, "hooks"),
        ({"hooks": {"poststop": [{"path": "/bin/true"}]}}, NOT_ALLOWED, "hooks"),
        ({"linux": {"namespaces": [{"type": "network", "path": "/proc/self/ns/net"}]}}, NOT_ALLOWED, "network"),
        ({"mounts": [{"destination": "/x", "source": "/nowhere", "options": ["bind"]}]}, BAD_ARGUMENT, "mounts[0]"),
    ],
    ids=["command", "program", "property", "root", "prestart", "poststop", "network", "source"],
)
def test_what_cannot_be_is_said_and_has_a_code(calls, bundle, change, code, words):
    path = bundle("b", **change)
    (result, left), said = calls(f"create:{path}", "list")
    assert (result, left) == (str(code), "0")
    assert words in said and len(said.splitlines()) == 1


def test_bad_paths_and_pointers(calls, bundle, run):
    (run.root / "empty").mkdir()
    (run.root / "file").touch()
    path = bundle("b")
    results, _ = calls(
        "create:/none", "create:/empty", "create:/file", "bad-create", f"create:{path}", "bad-state:1", "bad-list",
        "call:9", "call:59", "state:0", "start:99",
    )  # fmt: skip
    assert [int(result) for result in results] == [
        NOT_FOUND, NOT_FOUND, NOT_FOUND, BAD_ADDRESS, 1, BAD_ADDRESS, BAD_ADDRESS, NO_CALL, NO_CALL, NOT_FOUND, NOT_FOUND,
    ]  # fmt: skip


def test_a_path_means_what_the_guest_sees(calls, run, tmp_path, busybox):
    """The machine has a bundle there, the guest has not."""
    outside = tmp_path / "outside"
    outside.mkdir()
    make_root(outside / "rootfs", busybox)
    (outside / "config.json").write_text(json.dumps(config("exit 0")))
    (run.root / "link").symlink_to(outside)
    (run.root / "b").mkdir()
    (run.root / "b/config.json").write_text(json.dumps(config("exit 0", root={"path": str(outside / "rootfs")})))
    results, _ = calls(f"create:{outside}", "create:/link", "create:/b")
    assert [int(result) for result in results] == [NOT_FOUND, NOT_FOUND, BAD_ARGUMENT]


def test_who_is_not_root_inside_makes_no_containers(calls, bundle):
    path = bundle("b")
    (result,), _ = calls(f"create:{path}", options=("-u", "1000"))
    assert int(result) == NOT_ALLOWED


def test_the_network_is_no_more_than_the_host_programs(calls, bundle):
    """A configuration without a network namespace asks for the machine's own."""
    linux = {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
    path = bundle("b", "grep : /proc/net/dev | cut -d: -f1", linux=linux)
    results, _ = calls(f"create:{path}", "start:1", "wait:1")
    assert results == ["1", "0", "0"] and [line.strip() for line in calls.output] == ["lo"]


def test_the_limit_on_tasks_holds_for_all_together(calls, bundle):
    path = bundle("b", "(sleep 100 & sleep 100 & sleep 100 & sleep 100 &) 2>/dev/null; ls /proc | grep -c '^[0-9]'")
    results, said = calls(f"create:{path}", "start:1", "wait:1", options=("--pids-limit", "3"))
    assert results[:2] == ["1", "0"]
    assert "4" not in calls.output and "5" not in calls.output
    assert "can't fork" in said


def test_a_container_cannot_be_started_past_the_limit(calls, bundle):
    path = bundle("b")
    results, _ = calls(f"create:{path}", "start:1", options=("--pids-limit", "1"))
    assert int(results[1]) == AGAIN


def test_there_may_be_a_thousand_and_no_more(calls, bundle):
    path = bundle("b")
    results, _ = calls(f"times:1025:{path}")
    assert int(results[0]) == TOO_MANY


def test_a_container_is_a_linux_process_and_makes_no_host_calls(run, programs, guest, bundle):
    """The same number is another call to it: 8 is lseek, and says so."""
    path = bundle("b", "cd /; head -c1 /proc/self/status")
    done = run(run.put(programs / "containers"), path)
    assert done.stdout.startswith(b"N")


def test_a_container_may_hold_a_host_program_of_its_own(run, programs, bundle, busybox):
    inner = bundle("outer", process={"args": ["/bin/containers", "/inner"], "capabilities": dict.fromkeys(SETS, FILES)})
    place = run.root / "outer/rootfs/inner"
    place.mkdir()
    make_root(place / "rootfs", busybox)
    (place / "config.json").write_text(json.dumps(config("echo innermost; exit 6")))
    program = run.put(programs / "containers")
    os.link(run.root / program[1:], run.root / "outer/rootfs/bin/containers")
    done = run(program, inner)
    assert done.stdout.decode().splitlines() == [
        "innermost", "container 1 from /inner ended with 6", "0 containers left", "container 1 from /outer ended with 6",
        "0 containers left",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_the_host_program_ends_so_do_its_containers(int80, run, programs, bundle, number):
    path = bundle("b", "echo ready; sleep 1000; true")
    command = [*int80, "run", "--rootfs", str(run.root), "--", run.put(programs / "containers"), path]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout.readline() == b"ready\n"
    tasks = psutil.Process(child.pid).children(recursive=True)
    assert len(tasks) >= 2, "the host program and its container"
    child.send_signal(number)
    assert child.wait(30) == (128 + number if number != signal.SIGKILL else -number)
    eventually(lambda: not any(task.is_running() for task in tasks), 30)
    child.stdout.close()


def test_the_log_shows_them_in_words(calls, bundle, tmp_path):
    words = ("create:" + bundle("one"), "create:/nowhere", "start:1", "wait:1", "state:1", "kill:1:9", "list", "delete:1")
    calls(*words, options=(f"--trace={tmp_path / 'log'}", "--trace-options", "-e trace=/^container -s 6"))
    lines = [line.split(None, 1)[1].removesuffix(" [supervisor]") for line in (tmp_path / "log").read_text().splitlines()]
    assert [re.sub(" +", " ", line) for line in lines if "wait" not in line and "state" not in line] == [
        'container_create("/one") = 1',
        'container_create("/nowhere") = 4 NOT_FOUND (failed)',
        "container_start(1) = 0",
        "container_kill(1, SIGKILL) = 8 WRONG_STATE (failed)",
        "container_list([1], 16) = 1",
        "container_delete(1) = 0",
        "+++ exited with 7 +++",
    ]
    assert any(re.match(r"container_wait\(1\) += 0$", line) for line in lines)
    assert any(re.match(r'container_state\(1, "\\1\\0\\0\\0\\3\\0"\.\.\., \d+\) += \d+$', line) for line in lines)
