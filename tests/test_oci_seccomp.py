"""Seccomp profiles of config.json: as programs, and enforced on guests as runc and crun enforce them."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from bundles import REPO, Bundle, works
from conftest import make_root

from abi.tables import linux as LINUX
from containers.oci.config import ConfigError, Problems, Seccomp
from containers.oci.filters import compiled, numbers
from tracer.bpf import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, RET_ALLOW, X32_BIT
from tracer.profile import RET_ERRNO, RET_KILL_PROCESS, RET_KILL_THREAD, RET_LOG, RET_TRAP, Condition, Profile
from tracer.seccomp import simulate

MARK = 0x1122334455667788
NUMBERS = numbers()
DOCKER = Path("/usr/share/containers/seccomp.json")


def profile(default: str, *rules: dict, **more) -> Profile:
    made = {"defaultAction": default, "syscalls": list(rules), **more}
    return compiled(msgspec.convert(made, Seccomp), Problems("config.json", {"linux": {"seccomp": made}}))


def verdict(made: Profile, name: str, *args: int) -> int:
    return simulate(made.program(MARK), NUMBERS[name], AUDIT_ARCH_X86_64, (*args, *[0] * (6 - len(args))))


# -- programs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ({"action": "SCMP_ACT_ERRNO"}, RET_ERRNO | errno.EPERM),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 38}, RET_ERRNO | 38),
        ({"action": "SCMP_ACT_KILL"}, RET_KILL_THREAD),
        ({"action": "SCMP_ACT_KILL_THREAD"}, RET_KILL_THREAD),
        ({"action": "SCMP_ACT_KILL_PROCESS"}, RET_KILL_PROCESS),
        ({"action": "SCMP_ACT_TRAP"}, RET_TRAP),
        ({"action": "SCMP_ACT_TRACE"}, RET_ERRNO | errno.ENOSYS),
        ({"action": "SCMP_ACT_LOG"}, RET_LOG),
    ],
)
def test_an_action_is_what_the_kernel_returns_and_the_rest_is_the_default(action, result):
    made = profile("SCMP_ACT_ALLOW", {"names": ["getppid", "not_a_call"], **action})
    assert verdict(made, "getppid") == result
    assert verdict(made, "getpid") == RET_ALLOW


def holds(condition: Condition, argument: int) -> bool:
    value = condition.value
    return {
        "EQ": argument == value, "NE": argument != value, "LT": argument < value, "LE": argument <= value,
        "GT": argument > value, "GE": argument >= value,
        "MASKED_EQ": argument & value == condition.other & value,
    }[condition.op]  # fmt: skip


@pytest.mark.parametrize("op", ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"])
def test_an_operator_compares_all_64_bits(op):
    choice = random.Random(op)
    edges = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1]
    for _ in range(60):
        value, other = choice.choice(edges), choice.choice(edges)
        index = choice.randrange(6)
        condition = Condition(index, op, value, other)
        made = Profile(RET_ALLOW)
        made.add(NUMBERS["read"], [condition], RET_TRAP)
        program = made.program(MARK)
        for argument in (*edges, value, value ^ 1, choice.getrandbits(64)):
            args = [choice.getrandbits(64) for _ in range(6)]
            args[5] = 0
            args[index] = argument
            expected = RET_TRAP if holds(condition, argument) else RET_ALLOW
            assert simulate(program, NUMBERS["read"], AUDIT_ARCH_X86_64, tuple(args)) == expected, (op, value, other, argument)


def test_conditions_on_several_arguments_must_all_hold_and_on_one_any():
    def argument(index: int, value: int) -> dict:
        return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}

    both = profile("SCMP_ACT_ALLOW", {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [argument(0, 1), argument(1, 2)]})
    assert [verdict(both, "read", *args) for args in ((1, 2), (1, 3), (0, 2))] == [RET_TRAP, RET_ALLOW, RET_ALLOW]
    either = profile("SCMP_ACT_ALLOW", {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [argument(0, 1), argument(0, 2)]})
    assert [verdict(either, "read", first) for first in (0, 1, 2)] == [RET_ALLOW, RET_TRAP, RET_TRAP]


def test_a_rule_without_conditions_stands_before_those_with_some():
    condition = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [condition]},
        {"names": ["read"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [condition]},
    ]
    made = profile("SCMP_ACT_ALLOW", *rules)
    assert verdict(made, "read", 1) == verdict(made, "read", 2) == RET_KILL_PROCESS


def test_a_call_newer_than_the_profile_does_not_exist():
    made = profile("SCMP_ACT_ERRNO", {"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"})
    assert verdict(made, "getpid") == RET_ERRNO | errno.EPERM
    assert verdict(made, "faccessat2") == RET_ERRNO | errno.ENOSYS  # 439, two above
    assert verdict(profile("SCMP_ACT_ALLOW", {"names": ["read"], "action": "SCMP_ACT_TRAP"}), "faccessat2") == RET_ALLOW


def test_other_gates_and_the_supervisors_own_calls_are_left_to_the_sandboxs_filter():
    program = profile("SCMP_ACT_KILL_PROCESS", {"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}).program(MARK)
    assert simulate(program, 0, AUDIT_ARCH_I386) == RET_ALLOW
    assert simulate(program, X32_BIT, AUDIT_ARCH_X86_64) == RET_ALLOW
    assert simulate(program, 34, AUDIT_ARCH_X86_64, (0, 0, 0, 0, 0, MARK)) == RET_ALLOW
    assert simulate(program, 34, AUDIT_ARCH_X86_64, (0, 0, 0, 0, 0, MARK ^ 1 << 40)) == RET_KILL_PROCESS


def test_what_is_always_allowed_hangs_on_nothing_but_its_number():
    """Such a call the kernel lets through without running the program."""
    program = profile("SCMP_ACT_ERRNO", {"names": ["read"], "action": "SCMP_ACT_ALLOW"}).program(MARK)
    assert {simulate(program, 0, AUDIT_ARCH_X86_64, (value,) * 6) for value in (0, MARK)} == {RET_ALLOW}


def test_a_notification_is_refused():
    with pytest.raises(ConfigError, match=r'^config.json: linux.seccomp.syscalls\[0\].action: "SCMP_ACT_NOTIFY" cannot be kept'):
        profile("SCMP_ACT_ALLOW", {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}, listenerPath="/run/x")


def test_every_call_of_the_table_has_its_number():
    assert all(NUMBERS[entry.name] == entry.number for entry in LINUX.table if entry is not None)


@pytest.mark.skipif(not DOCKER.exists(), reason="no profile of an engine's is here")
def test_an_engines_profile_of_hundreds_of_names_fits_into_a_filter():
    raw = json.loads(DOCKER.read_text())
    rules = [rule for rule in raw["syscalls"] if not rule.get("includes", {}).get("caps")]
    for rule in rules:
        rule.pop("args", None) if rule.get("args") is None else None
        rule.pop("errnoRet", None) if rule.get("errnoRet") is None or rule["action"] != "SCMP_ACT_ERRNO" else None
    made = profile(raw["defaultAction"], *rules)
    assert len(made.program(MARK)) // 8 <= 4096
    assert verdict(made, "read") == RET_ALLOW
    assert verdict(made, "kexec_load") != RET_ALLOW


# -- guests -----------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path, busybox) -> Bundle:
    make_root(tmp_path / "rootfs", busybox)
    return Bundle(tmp_path)


@pytest.fixture(scope="session", params=["runc", "crun"])
def runtime(request, tmp_path_factory, busybox) -> str:
    place = tmp_path_factory.mktemp(request.param)
    make_root(place / "rootfs", busybox)
    if not works(request.param, Bundle(place)):
        pytest.skip(f"{request.param} does not run bundles here")
    return request.param


def rule(names: str, action: str = "SCMP_ACT_ERRNO", **more) -> dict:
    return {"names": names.split(), "action": action, **more}


SCRIPTS = {
    "a name": ([rule("mkdir mkdirat", errnoRet=errno.ENOSPC)], "mkdir /tmp/d; echo $?; touch /tmp/f; echo $?"),
    "a call the kernel makes": ([rule("getppid sched_yield", errnoRet=errno.ENOMEM)], "sh -c 'echo $PPID' | grep -c .; echo $?"),
    "a kill": ([rule("mkdir mkdirat", "SCMP_ACT_KILL_PROCESS")], "mkdir /tmp/d; echo $?"),
    "a trap": ([rule("rename renameat renameat2", "SCMP_ACT_TRAP")], "touch /tmp/a; mv /tmp/a /tmp/b; echo $?"),
    "a condition": (
        [rule("kill", args=[{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}])],
        "sleep 9 & kill -USR1 $!; echo $?; kill -TERM $!; echo $?; wait",
    ),
    "a mask": (
        [rule("open openat", errnoRet=errno.EROFS, args=[{"index": 2, "value": 64, "valueTwo": 64, "op": "SCMP_CMP_MASKED_EQ"}])],
        "echo x > /tmp/new; echo $?; cat /etc/group; echo $?",
    ),
    "status": ([rule("mkdir mkdirat")], "grep -c '^Seccomp:.2' /proc/self/status"),
}  # fmt: skip


@pytest.mark.parametrize("case", SCRIPTS)
def test_a_profile_does_to_a_guest_what_it_does_by(runtime, bundle, case):
    rules, script = SCRIPTS[case]
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    bundle.script(script)
    theirs = bundle.of(runtime)
    for name in ("d", "f", "a", "b", "new"):
        path = bundle.root / "tmp" / name
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    ours = bundle.int80()
    without_pids = re.compile(r"pid \d+")
    assert without_pids.sub("pid", ours.stderr) == without_pids.sub("pid", theirs.stderr)
    assert (ours.stdout, ours.returncode) == (theirs.stdout, theirs.returncode)


def test_a_call_through_either_gate_is_judged_alike(bundle, guest):
    for gate in ("syscall", "int80"):
        (bundle.root / f"bin/{gate}").write_bytes(guest("denied", gate).read_bytes())
        (bundle.root / f"bin/{gate}").chmod(0o755)
    rules = [rule("getppid", errnoRet=errno.EXDEV), rule("mkdir", errnoRet=errno.ELOOP)]
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    done = bundle.script("syscall; int80; mkdir /tmp/d").int80()
    assert done.stdout.splitlines() == [f"{-errno.EXDEV} {-errno.ELOOP}"] * 2


def test_what_the_supervisor_has_a_guest_do_is_not_the_profiles_to_forbid(bundle):
    """A guest that waits for the other end of a named pipe is put into a pause."""
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("pause", "SCMP_ACT_TRAP")]}
    done = bundle.script("mkfifo /tmp/p; echo through > /tmp/p & cat /tmp/p; echo $?").int80()
    assert (done.stdout, done.stderr) == ("through\n0\n", "")


def test_a_profile_that_allows_little_runs_what_needs_no_more(bundle, guest):
    (bundle.root / "bin/denied").write_bytes(guest("denied").read_bytes())
    (bundle.root / "bin/denied").chmod(0o755)
    bundle.config["process"]["args"] = ["denied"]
    allowed = "execve write exit_group brk arch_prctl set_tid_address set_robust_list rseq mprotect prlimit64 readlink "
    allowed += "readlinkat getrandom newfstatat fstat uname"
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EXDEV, "syscalls": [rule(allowed, "SCMP_ACT_ALLOW")],
    }  # fmt: skip
    done = bundle.int80()
    assert (done.stdout, done.returncode) == (f"{-errno.EXDEV} {-errno.EXDEV}\n", 0)


@pytest.mark.skipif(not DOCKER.exists(), reason="no profile of an engine's is here")
def test_a_shell_lives_under_an_engines_profile(bundle):
    raw = json.loads(DOCKER.read_text())
    rules = []
    for found in raw["syscalls"]:
        wanted = found.get("includes") or {}
        if wanted.get("caps") or wanted.get("minKernel") or "amd64" not in wanted.get("arches", ["amd64"]):
            continue  # for other machines, or for who has capabilities
        kept = {name: found[name] for name in ("names", "action", "args") if found.get(name)}
        if found["action"] == "SCMP_ACT_ERRNO" and found.get("errnoRet"):
            kept["errnoRet"] = found["errnoRet"]
        rules.append(kept)
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": raw["defaultAction"], "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": rules,
    }  # fmt: skip
    script = "echo a | sed s/a/b/; (sleep 0; echo sub); mkfifo /tmp/p; echo c > /tmp/p & cat /tmp/p; unshare -n true; echo $?"
    done = bundle.script(script).int80()
    assert (done.stdout, done.stderr) == ("b\nsub\nc\n1\n", "unshare: unshare(0x40000000): Operation not permitted\n")


EXECUTE = """
import sys
sys.path.insert(0, sys.argv[1])
from containers.oci.config import Process, load
from containers.oci.settings import outcome, process_of
from containers.sandbox import Running
from containers.status import exit_status
running = Running(outcome(load(sys.argv[2]), sys.argv[2]).settings)
try:
    running.prepare()
    running.launch()
    told = []
    script = "umask; ulimit -n; mkdir /tmp/d; echo $?; read end < /tmp/end"
    command = process_of(Process(cwd="/", args=["sh", "-c", script], env=["PATH=/bin"]))
    command.attributes.rlimits[7] = (50, 60)
    running.execute(command.argv, command.env, command.workdir, command.credentials, attributes=command.attributes, umask=0o7,
                    ended=lambda status: told.append(exit_status(status)))
    running.serve()
finally:
    running.close()
"""


def test_a_command_beside_the_first_one_is_under_the_profile_too(bundle):
    os.mkfifo(bundle.root / "tmp/end")
    rules = [rule("mkdir mkdirat", errnoRet=errno.ELOOP)]
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    place = bundle.script("echo go > /tmp/end").write()
    done = subprocess.run([sys.executable, "-c", EXECUTE, str(REPO), str(place)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0007\n50\n1\n", done.stderr
    assert done.stderr == "mkdir: can't create directory '/tmp/d': Too many levels of symbolic links\n"
