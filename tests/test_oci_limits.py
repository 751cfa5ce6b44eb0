"""Memory, processor time and tasks of a bundle, kept without a control group."""

from __future__ import annotations

import os
import subprocess
import sys

import bundles
import pytest
from bundles import Bundle
from conftest import make_root


@pytest.fixture
def bundle(tmp_path, busybox) -> Bundle:
    make_root(tmp_path / "rootfs", busybox)
    return Bundle(tmp_path)


def limited(bundle: Bundle, **resources) -> Bundle:
    bundle.config["linux"]["resources"] = resources
    return bundle


def test_the_guest_that_takes_too_much_memory_is_killed_and_the_others_live(bundle):
    """dd(1) holds a block in memory, and would copy it for ever."""
    script = limited(bundle, memory={"limit": 48 << 20}).script("dd if=/dev/zero of=/dev/null bs=64M; echo $?; echo alive")
    done = script.int80()
    assert done.stdout.split()[-2:] == ["137", "alive"]
    assert "int80: out of memory: the guests hold more than 50331648 bytes; process " in done.stderr


def test_below_the_limit_nobody_is_killed(bundle):
    script = limited(bundle, memory={"limit": 48 << 20}).script("dd if=/dev/zero of=/dev/null bs=8M count=9 2>/dev/null; echo $?")
    done = script.int80()
    assert (done.stdout, done.stderr) == ("0\n", "")


BURN = """
read from rest < /proc/uptime; i=0; while [ $i -lt 250000 ]; do i=$((i+1)); done; read to rest < /proc/uptime
set -- $(cat /proc/$$/stat); shift 13; echo $from $to $1 $2
"""


def test_processor_time_is_kept_to_its_quota(bundle):
    done = limited(bundle, cpu={"quota": 20000, "period": 100000}).script(BURN).int80()
    begun, ended, user, system = map(float, done.stdout.split())
    used = (user + system) / 100
    assert used > 0.2  # else there was nothing to keep
    assert used / (ended - begun) < 0.35, done.stdout


def test_where_it_may_run_and_how_nice_it_is_come_from_cpus_and_shares(bundle):
    script = "grep Cpus_allowed_list /proc/self/status; cut -d ' ' -f 19 /proc/self/stat"
    done = limited(bundle, cpu={"cpus": "0", "shares": 256}).script(script).int80()
    assert done.stdout == "Cpus_allowed_list:\t0\n6\n"


def test_no_more_tasks_than_the_limit_says(bundle):
    done = limited(bundle, pids={"limit": 3}).script("sleep 9 & sleep 9 & sleep 9 & kill $(jobs -p)").int80()
    assert "can't fork: Resource temporarily unavailable" in done.stderr


GROUP_TREE = """
umount -R /sys/fs/cgroup
mount -t cgroup2 none "$1" || exit 77
shift
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the right to mount a tree of control groups")
def test_in_a_control_group_that_may_be_made_the_kernel_keeps_what_it_can(bundle, tmp_path):
    """Of the controllers there may be none: the group and who is in it are always there, and what is not is said."""
    tree, name = tmp_path / "groups", f"int80-test-{os.getpid()}"
    tree.mkdir()
    limited(bundle, unified={"cgroup.max.depth": "7", "no.such": "1"})
    bundle.config["linux"]["cgroupsPath"] = f"/{name}/inner"
    bundle.config["mounts"].append({"destination": "/groups", "source": str(tree), "options": ["rbind"]})
    place = bundle.script(f"cd /groups/{name}/inner; cat cgroup.max.depth; cat cgroup.procs | wc -l; ls -d .").write()
    command = ["unshare", "--mount", "sh", "-c", GROUP_TREE, "sh", str(tree), sys.executable, bundles.__file__, str(place)]
    done = subprocess.run([*command], capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("no tree of control groups can be mounted here")
    depth, tasks, _ = done.stdout.split()
    assert depth == "7" and int(tasks) >= 2
    assert done.stderr == f"int80: control group {tree}/{name}/inner: no.such is not there, or does not take 1\n"
    again = ["unshare", "--mount", "sh", "-c", GROUP_TREE, "sh", str(tree), "ls", str(tree)]
    assert name not in subprocess.run(again, capture_output=True, text=True, timeout=60).stdout


def test_scheduling_is_what_the_configuration_says(bundle):
    bundle.config["process"] |= {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 7}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }  # fmt: skip
    done = bundle.script("cut -d ' ' -f 19,41 /proc/self/stat; ionice -p $$").int80()
    assert done.stdout == "7 3\nbest-effort: prio 6\n"
