"""The options of `run` that say what a container may use, have and do, in docker's and podman's words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": None, "includes": {}, "excludes": {}},
        {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "link", "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "99.1"}},
        {"name": "linkat", "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["arm64"]}},
    ],
}


def status(text: str, name: str) -> str:
    """A field of proc_pid_status(5)."""
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:"))


# -- limits -----------------------------------------------------------------------------------------


def test_limits_are_shown_as_a_control_group_and_kept(run):
    text = run.sh("cd /sys/fs/cgroup; cat memory.max cpu.max pids.max; nproc",
                  options=("-m", "64m", "--cpus", "0.5", "--pids-limit", "9", "--cpuset-cpus", "0"))  # fmt: skip
    assert text == f"{64 << 20}\n50000 100000\n9\n1\n"
    text = run.sh("cat /sys/fs/cgroup/cpu.max", options=("--cpu-quota", "20000", "--cpu-period=50000"))
    assert text == "20000 50000\n"


def test_who_holds_too_much_memory_is_killed_and_inspect_says_why(engine):
    script = 'x=$(head -c 90000000 /dev/zero | tr "\\0" x); echo ${#x}'
    done = engine.run("sh", "-c", script, options=("--name", "greedy", "--memory", "30MiB"), check=False)
    assert (done.returncode, done.stdout) == (137, "")
    state = engine.state("greedy")
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    host = engine.inspect("greedy")["HostConfig"]
    assert host["Memory"] == 30 << 20


def test_resource_limits_are_set_for_the_command_and_for_those_beside_it(engine):
    options = ("-d", "--name", "one", "--ulimit", "nofile=70:80", "--umask", "027", "--shm-size", "1m")
    engine.run("sleep", "1000", options=options)
    done = engine("exec", "one", "sh", "-c", "ulimit -n; ulimit -Hn; umask; df -k /dev/shm | tail -1")
    *limits, shm = done.stdout.splitlines()
    assert limits == ["70", "80", "0027"] and shm.split()[1] == "1024"
    assert engine.inspect("one")["HostConfig"]["Ulimits"] == [{"Name": "nofile", "Soft": 70, "Hard": 80}]


# -- rights -----------------------------------------------------------------------------------------


def test_capabilities_that_are_dropped_are_gone_for_every_command(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one", "--cap-drop", "ALL", "--cap-add", "chown,CAP_KILL"))
    for who in ((), ("-u", "0")):
        text = engine("exec", *who, "one", "cat", "/proc/self/status").stdout
        assert {status(text, name) for name in ("CapBnd", "CapPrm", "CapEff")} == {f"{1 << 0 | 1 << 5:016x}"}
    done = engine("exec", "one", "sh", "-c", "touch /f; chown 5 /f && mknod /n c 1 3", check=False)
    assert done.returncode == 1 and "mknod" in done.stderr


def test_a_user_other_than_root_has_the_capabilities_that_are_added_by_name(run):
    text = run.sh("cat /proc/self/status", options=("-u", "33", "--cap-add", "NET_BIND_SERVICE"))
    assert {status(text, name) for name in ("CapPrm", "CapEff", "CapAmb")} == {f"{1 << 10:016x}"}
    text = run.sh("cat /proc/self/status", options=("-u", "33", "--cap-add", "ALL"))
    assert status(text, "CapEff") == "0" * 16


def test_groups_are_added_by_number_and_by_the_roots_names(run):
    (run.root / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
    assert run.sh("id -G", options=("--group-add", "staff", "--group-add", "77", "-u", "9:8")) == "8 50 77\n"
    done = run("true", options=("--group-add", "nobodys"))
    assert (done.returncode, done.stderr.count(b"\n")) == (125, 1) and b"nobodys" in done.stderr


def test_a_seccomp_profile_of_dockers_counts(run, tmp_path: Path):
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    profile = ("--security-opt", f"seccomp={tmp_path / 'profile.json'}")
    script = "mkdir /d 2>&1; ln -s a /s 2>&1; touch /f; ln -f /f /g && echo linked"
    assert run.sh(script, options=profile) == "mkdir: can't create directory '/d': No space left on device\nlinked\n"
    assert "/s: Operation not permitted" in run.sh(script, options=(*profile, "--cap-drop", "SYS_ADMIN"))
    text = run.sh("mkdir /d; cat /proc/self/status", options=("--security-opt", "seccomp=unconfined"))
    assert status(text, "NoNewPrivs") == "0"


def test_no_new_privileges(run):
    text = run.sh("cat /proc/self/status", options=("--security-opt", "no-new-privileges:true"))
    assert status(text, "NoNewPrivs") == "1"


# -- what it has ------------------------------------------------------------------------------------


def test_mounts_in_the_long_form(run, tmp_path: Path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given/file").write_text("here\n")
    text = run.sh(
        "cat /in/file; touch /in/new 2>&1; ls -ld /mem; echo '#!/bin/sh' > /x/p; chmod +x /x/p; /x/p 2>&1; stat -f -c %b /mem",
        options=(
            "--mount", f"type=bind,src={tmp_path / 'given'},dst=/in,readonly",
            "--mount", "type=tmpfs,target=/mem,tmpfs-size=1m,tmpfs-mode=750", "--tmpfs", "/x:rw,noexec,nosuid,size=64k",
        ),
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[:2] == ["here", "touch: /in/new: Read-only file system"]
    assert lines[2].startswith("drwxr-x---") and lines[3] == "sh: /x/p: Permission denied" and lines[4] == "256"


def test_names_of_machines_lie_over_the_roots_own(run):
    (run.root / "etc/hosts").write_text("the root's own\n")
    text = run.sh("cat /etc/hosts; cat /etc/resolv.conf", options=("--add-host", "db:10.0.0.5", "--dns", "fd00::1", "-h", "me"))
    assert "127.0.1.1\tme\n" in text and "10.0.0.5\tdb\n" in text and text.endswith("nameserver fd00::1\n")
    assert (run.root / "etc/hosts").read_text() == "the root's own\n"
    assert not (run.root / "etc/resolv.conf").exists()


def test_sysctls_of_a_containers_own(run):
    assert run.sh("cat /proc/sys/net/core/somaxconn", options=("--sysctl", "net.core.somaxconn=77")) == "77\n"


@pytest.mark.skipif(not os.path.exists("/usr/bin/catatonit"), reason="needs catatonit")
def test_an_init_waits_for_orphans_and_passes_the_status_on(run):
    done = run("sh", "-c", "[ $$ != 1 ] && read -r name < /proc/1/comm && echo $name; exit 7", options=("--init",))
    assert (done.returncode, done.stdout) == (7, b"init\n")
    assert run("no-such-command", options=("--init",)).returncode == 127


# -- beginning and end ------------------------------------------------------------------------------


def test_the_id_goes_to_a_file_that_was_not_there(engine, tmp_path: Path):
    engine.run("true", options=("--cidfile", str(tmp_path / "id"), "--name", "one"))
    assert engine.inspect("one")["Id"] == (tmp_path / "id").read_text()
    done = engine.run("true", options=("--cidfile", str(tmp_path / "id")), check=False)
    assert done.returncode == 125 and "--cidfile" in done.stderr
    assert engine.names("-a") == ["one"]


def test_a_container_is_replaced_by_another_of_its_name(engine):
    first = engine.run("sleep", "1000", options=("-d", "--name", "one")).stdout
    second = engine.run("sleep", "1000", options=("-d", "--name", "one", "--replace")).stdout
    assert engine("ps", "-aq", "--no-trunc").stdout == second != first


def test_labels_from_a_file(engine, tmp_path: Path):
    (tmp_path / "labels").write_text("# none\na=1\nb\n")
    engine.run("true", options=("--name", "one", "--label-file", str(tmp_path / "labels"), "-l", "a=2"))
    assert engine.inspect("one")["Config"]["Labels"] == {"a": "2", "b": ""}


def test_who_asks_int80_to_end_gives_the_command_its_stop_signal(int80, root: Path):
    script = "trap 'echo asked; exit 3' USR1; trap 'exit 4' TERM; echo ready; sleep 1000 & wait $!"
    words = [*int80, "run", "--stop-signal", "SIGUSR1", "--rootfs", str(root), "--", "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"asked\n"
    assert process.returncode == 3


# -- words ------------------------------------------------------------------------------------------


def test_words_of_the_command_are_left_alone(run):
    options = ("--rm=true", "--tty=false", "-w/tmp", "-e", "-A=1", "--rootfs", str(run.root))
    done = subprocess.run([*run._command, "run", *options, "echo", "--trace", "-m"], capture_output=True)
    assert done.stdout == b"--trace -m\n", done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--privileged",), "no container has this machine's devices or rights"),
        (("--device", "/dev/sda"), "devices"),
        (("--userns=host",), "user namespace"),
        (("--memory", "lots"), "--memory lots: give a size"),
        (("--memory", "0"), "--memory 0"),
        (("--cpus", "0"), "--cpus 0"),
        (("--cpus", "1", "--cpu-quota", "5000"), "leave one of them out"),
        (("--ulimit", "nofile=5:4"), "above the hard one"),
        (("--ulimit", "files=5"), "no such limit"),
        (("--ulimit", "core=5"), "core files"),
        (("--cap-add", "EVERYTHING"), "no such capability"),
        (("--security-opt", "seccomp=/nowhere"), "no such file"),
        (("--security-opt", "apparmor=strict"), "AppArmor"),
        (("--security-opt", "magic"), "there are no-new-privileges"),
        (("--mount", "type=volume,src=v,dst=/v"), "no volumes by name"),
        (("--mount", "type=bind,dst=/v"), "give src=PATH"),
        (("--mount", "type=bind,src=/nowhere,dst=/v"), "int80: --mount /nowhere: no such file"),
        (("--cpuset-cpus", "9999"), "--cpuset-cpus 9999: names no processor of this machine; there are 0 to "),
        (("--mount", "type=tmpfs,dst=/v,src=/x"), "nothing that a tmpfs mount has"),
        (("--add-host", "db"), "NAME:ADDRESS"),
        (("--add-host", "db:name"), "no address"),
        (("--sysctl", "vm.swappiness=1"), "this machine's"),
        (("--umask", "9"), "octal"),
        (("--oom-score-adj", "2000"), "-1000 to 1000"),
        (("--tmpfs", "/x:colour=red"), "colour=red"),
        (("--volume", "/x:/y:wild"), "SRC:DST"),
        (("--replace",), "--name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(run, words, said):
    more = ("-d",) if words == ("--replace",) else ()
    done = run("true", options=(*words, *more))
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (125, b"", 1)
    assert said in done.stderr.decode()
