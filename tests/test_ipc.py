"""System V and POSIX message queues, semaphores and shared memory are the sandbox's own."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess

import pytest
from runtimes import eventually

_KEY = 0x1580  # the guest's


def _objects() -> set[str]:
    """The ids of all System V objects that the host has."""
    found = set()
    for kind in ("msg", "sem", "shm"):
        with open(f"/proc/sysvipc/{kind}") as file:
            found |= {f"{kind} {line.split()[1]}" for line in list(file)[1:]}
    return found


def test_objects_are_as_natively(run, guest):
    program = guest("ipc")
    native = subprocess.run([program], capture_output=True, timeout=60)
    shutil.copy(program, run.root / "bin/ipc")
    inside = run("ipc")
    assert (inside.stdout, inside.stderr) == (native.stdout, native.stderr)


def test_how_much_there_is_is_said_of_the_sandbox(int80):
    if shutil.which("ipcs") is None:
        pytest.skip("needs util-linux")
    script = "ipcmk -M 10000; ipcmk -S 3; ipcmk -Q; ipcs -u"
    inside = subprocess.run([*int80, "run", "--", "sh", "-c", script], capture_output=True, timeout=60)
    told = b" ".join(inside.stdout.split())
    assert b"segments allocated 1 pages allocated 3" in told
    assert b"used arrays = 1 allocated semaphores = 3" in told
    assert b"allocated queues = 1" in told


def test_the_hosts_objects_are_not_there(guest, run):
    libc = ctypes.CDLL(None)
    queue = libc.msgget(_KEY, 0o1600)
    assert queue >= 0
    try:
        shutil.copy(guest("ipc"), run.root / "bin/ipc")
        before = _objects()
        inside = run("ipc")
        assert inside.stdout.startswith(b"absent No such file or directory\n")
        assert f"msg {queue}" in _objects()
        eventually(lambda: not _objects() - before)  # the machine's other programs, tests among them, have theirs
    finally:
        libc.msgctl(queue, 0, None)


def test_nothing_is_left_when_int80_is_killed(int80, guest, root):
    before = _objects()
    shutil.copy(guest("ipc"), root / "bin/ipc")
    process = subprocess.Popen([*int80, "run", "--rootfs", str(root), "--", "ipc", "wait"], stdout=subprocess.PIPE)
    while process.stdout.readline() != b"waits\n":
        pass
    assert _objects() - before
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    eventually(lambda: not _objects() - before)  # the remover is a process of its own
