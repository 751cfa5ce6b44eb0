"""Hooks: when each runs, what it is given, and what its failure does; runtime-spec, "Lifecycle" and "POSIX-platform Hooks"."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from runtimes import Bundle, alive, eventually, gone

_CREATE_PHASES = ("prestart", "createRuntime", "createContainer")
_PHASES = (*_CREATE_PHASES, "startContainer", "poststart", "poststop")


@pytest.fixture
def note(bundle):
    """The start of a hook's script that appends to a file which the host and the container have."""
    return lambda phase: "/tmp/order" if phase == "startContainer" else f"{bundle.root}/tmp/order"


def order(bundle: Bundle) -> list[str]:
    path = bundle.root / "tmp/order"
    return path.read_text().split() if path.exists() else []


def test_the_phases_come_in_their_order_and_the_hooks_of_each_in_theirs(runtime, bundle, note):
    for phase in reversed(_PHASES):
        for number in (1, 2):
            bundle.hook(phase, f"echo {phase}{number} >>{note(phase)}")
    bundle.runs("sh", "-c", "echo command >>/tmp/order; exec sleep 1000")
    expected = [f"{phase}{number}" for phase in _PHASES for number in (1, 2)]
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    assert order(bundle) == expected[:6]
    runtime.ok("start", "one")
    eventually(lambda: "command" in order(bundle))
    seen = order(bundle)
    assert seen.index("command") > seen.index("startContainer2")
    assert [word for word in seen if word != "command"] == expected[:10]
    runtime.ok("delete", "--force", "one")
    assert [word for word in order(bundle) if word != "command"] == expected


def test_each_hook_reads_the_state_of_that_moment(runtime, bundle, note):
    for phase in _PHASES:
        place = f"/tmp/{phase}" if phase == "startContainer" else f"{bundle.root}/tmp/{phase}"
        bundle.hook(phase, f"cat >{place}")
    bundle.config["annotations"] = {"com.example": "yes"}
    bundle.write()
    pid = runtime.up("one", bundle)["pid"]
    runtime.ok("delete", "--force", "one")
    states = {phase: json.loads((bundle.root / f"tmp/{phase}").read_text()) for phase in _PHASES}
    for state in states.values():
        assert (state["ociVersion"], state["id"], state["bundle"]) == ("1.2.0", "one", str(bundle.path))
        assert state["annotations"] == {"com.example": "yes"}
    assert {phase: (state["status"], state["pid"]) for phase, state in states.items()} == {
        **{phase: ("creating", pid) for phase in _CREATE_PHASES},
        "startContainer": ("created", pid), "poststart": ("running", pid), "poststop": ("stopped", 0),
    }  # fmt: skip


def test_a_hook_has_its_own_environment_and_arguments_and_no_more(runtime, bundle, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "seen")
    for phase, place in (("createRuntime", f"{bundle.root}/tmp"), ("startContainer", "/tmp")):
        bundle.config.setdefault("hooks", {})[phase] = [
            {
                "path": "/bin/sh", "env": ["A=b=c"],
                "args": ["sh", "-c", f'echo "$0 $1 $A $OUTSIDE" >{place}/{phase}', "given", "first"],
            }
        ]  # fmt: skip
    bundle.write()
    runtime.up("one", bundle)
    for phase in ("createRuntime", "startContainer"):
        assert (bundle.root / f"tmp/{phase}").read_text() == "given first b=c \n"


def test_a_hook_of_the_start_runs_inside_and_the_others_outside(runtime, bundle):
    bundle.hook("createContainer", f"ls -d {bundle.root} >{bundle.root}/tmp/outside")
    bundle.hook("startContainer", f"echo $$; ls -d {bundle.root} >/tmp/inside 2>&1; true")
    runtime.up("one", bundle)
    assert (bundle.root / "tmp/outside").read_text().startswith("/")
    assert "No such file" in (bundle.root / "tmp/inside").read_text()


@pytest.mark.parametrize("phase", _CREATE_PHASES)
def test_a_hook_that_fails_during_create_is_told_and_leaves_no_container(runtime, bundle, phase):
    bundle.hook(phase, "echo this is why; exit 3")
    bundle.hook(phase, f"echo ran >{bundle.root}/tmp/second")
    bundle.hook("poststop", f"cat >{bundle.root}/tmp/poststop")
    assert runtime.fails("create", "--bundle", str(bundle.path), "one") == (
        f"create failed: error running {phase} hook #0: /bin/sh: exit status 3, output: this is why"
    )
    assert os.listdir(runtime.containers) == [] and not (bundle.root / "tmp/second").exists()
    assert json.loads((bundle.root / "tmp/poststop").read_text())["status"] == "stopped"


def test_a_hook_that_fails_during_start_is_told_and_leaves_no_container(runtime, bundle):
    bundle.hook("startContainer", "echo this is why; exit 3").hook("poststop", f"echo ran >{bundle.root}/tmp/poststop")
    bundle.runs("sh", "-c", "echo ran >/tmp/command")
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    monitor = runtime.state("one")["pid"]
    assert runtime.fails("start", "one") == "error running startContainer hook #0: /bin/sh: exit status 3, output: this is why"
    assert gone([monitor]) and os.listdir(runtime.containers) == []
    assert not (bundle.root / "tmp/command").exists() and (bundle.root / "tmp/poststop").exists()


def test_a_hook_of_the_start_that_is_not_in_the_container_is_told(runtime, bundle):
    bundle.config["hooks"] = {"startContainer": [{"path": "/nowhere"}]}
    bundle.write()
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    assert runtime.fails("start", "one").startswith("error running startContainer hook #0: /nowhere: ")


def test_a_hook_that_is_not_on_the_host_is_told(runtime, bundle):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/nowhere"}]}
    bundle.write()
    said = runtime.fails("create", "--bundle", str(bundle.path), "one")
    assert said == "create failed: error running createRuntime hook #0: /nowhere: no such file or directory"


def test_a_hook_that_fails_after_the_start_is_told_and_all_goes_on(runtime, bundle, tmp_path):
    bundle.hook("poststart", "exit 1").hook("poststart", f"echo ran >{bundle.root}/tmp/second")
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    options = ("--log", str(tmp_path / "log"), "--log-format", "json")
    runtime.ok("start", "one", options=options)
    entry = json.loads((tmp_path / "log").read_text())
    assert (entry["level"], entry["msg"]) == ("warning", "error running poststart hook #0: /bin/sh: exit status 1")
    assert runtime.status("one") == "running" and (bundle.root / "tmp/second").exists()


def test_a_hook_that_fails_after_the_end_is_told_and_all_goes_on(runtime, bundle):
    bundle.hook("poststop", "exit 1").hook("poststop", f"echo ran >{bundle.root}/tmp/second")
    runtime.up("one", bundle)
    done = runtime("delete", "--force", "one")
    assert (done.returncode, done.stderr) == (0, "int80: warning: error running poststop hook #0: /bin/sh: exit status 1\n")
    assert os.listdir(runtime.containers) == [] and (bundle.root / "tmp/second").exists()


@pytest.mark.parametrize(("phase", "place"), [("createRuntime", "{root}/tmp/pid"), ("startContainer", "/tmp/pid")])
def test_a_hook_whose_time_is_over_is_killed_with_what_it_started_and_has_failed(runtime, bundle, phase, place):
    bundle.hook(phase, f"echo $$ >{place.replace('{root}', str(bundle.root))}; sleep 1000; true", timeout=1)
    commands = [("create", "--bundle", str(bundle.path), "one"), ("start", "one")]
    if phase == "startContainer":
        runtime.ok(*commands.pop(0))
    assert runtime.fails(*commands[0]).endswith(f"error running {phase} hook #0: /bin/sh ran past timeout of 1 s")
    assert not alive(int((bundle.root / "tmp/pid").read_text()))
    assert os.listdir(runtime.containers) == []


def test_a_container_can_be_killed_while_a_hook_of_its_start_runs(runtime, bundle):
    bundle.hook("startContainer", "echo ready >/tmp/ready; sleep 1000")
    runtime.ok("create", "--bundle", str(bundle.path), "one")
    with subprocess.Popen([*runtime.command, "start", "one"], stderr=subprocess.PIPE, text=True) as starting:
        eventually((bundle.root / "tmp/ready").exists)
        runtime.ok("kill", "one", "KILL")
        assert starting.wait(60) == 1
        assert starting.stderr.read() == "int80: the container was killed before it had started\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make a network namespace")
def test_a_hook_that_sets_up_the_network_of_the_pid_does_not_reach_the_machines(runtime, bundle):
    """As docker's does, which is given nothing but the container's pid."""
    own = os.readlink("/proc/self/ns/net")
    script = "read state; pid=${state#*\\\"pid\\\": }; pid=${pid%%[,\\}]*}; readlink /proc/$pid/ns/net"
    bundle.hook("prestart", f"{script} >{bundle.root}/tmp/namespace")
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    bundle.runs("httpd", "-f", "-p", "80", "-h", "/etc")
    runtime.up("one", bundle)
    made = (bundle.root / "tmp/namespace").read_text().strip()
    assert made.startswith("net:[") and made != own
    assert "127.0.0.1" in runtime.ok("exec", "one", "ip", "addr", "show", "dev", "lo")
    assert [line.split(":")[1].strip() for line in runtime.ok("exec", "one", "ip", "-o", "link").splitlines()] == ["lo"]
    assert eventually(lambda: runtime("exec", "one", "wget", "-q", "-O-", "http://127.0.0.1/passwd").stdout).startswith("root:")
    assert runtime.ok("exec", "one", "cat", "/proc/sys/net/ipv4/ip_default_ttl") == "77\n"
    pid = runtime.state("one")["pid"]
    with open("/proc/sys/net/ipv4/ip_default_ttl") as outside:
        assert outside.read() != "77\n"
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]
    assert subprocess.run(inside, capture_output=True).stdout == b"77\n"
