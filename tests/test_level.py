"""The supervisor's memory, descriptors and threads are level, however often guests begin and end whatever there is.

INT80_CAMPAIGN=1 in the environment makes it ten times as often.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from test_ends import eventually

OFTEN = 1 if "INT80_CAMPAIGN" in os.environ else 10
COUNTS = {
    "forks": 20000, "execs": 20000, "threads": 20000, "orphans": 5000, "killed-threads": 2000, "killed-execs": 10000,
    "files": 5000, "directories": 5000, "fifos": 10000, "fifos-given-up": 10000, "unix-sockets": 10000,
    "inet-sockets": 10000, "terminals": 10000, "processes": 3000, "objects": 10000, "users": 10000,
    "sites": 40000,
}  # fmt: skip
# Times before the first look: what is remembered on purpose (some thousand paths) is bounded, and mostly there by then.
WARM = {kind: 1000 // OFTEN for kind in COUNTS} | {"processes": 600, "sites": 1000}
GROWTH = 1536  # kilobytes
LAST = 3  # descriptors that hang on which process was the last to call
NAMES = 80  # descriptors of names of sockets that may be gone, until somebody looks

pytestmark = pytest.mark.slow


def look(pid: int) -> tuple[int, int, int]:
    """Kilobytes, descriptors and threads of a process."""
    said = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return int(said["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(said["Threads"])


@pytest.mark.parametrize("layers", [False, True], ids=["root", "layers"])
@pytest.mark.parametrize("kind", COUNTS)
def test_the_supervisor_is_level(run, int80, guest, tmp_path, kind, layers):
    program = run.put(guest("level"))
    where = ["--rootfs", str(run.root)]
    if layers:
        (tmp_path / "upper").mkdir()
        where = ["--lower", str(run.root), "--upper", str(tmp_path / "upper")]
    counts = [str(WARM[kind]), str(COUNTS[kind] // OFTEN)]
    pipe = subprocess.PIPE
    command = [*int80, "run", *where, "--", program, kind, *counts]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as supervisor:
        try:
            assert supervisor.stdout.readline() == "done\n"
            memory, descriptors, threads = look(supervisor.pid)
            supervisor.stdin.write("\n")
            supervisor.stdin.flush()
            assert supervisor.stdout.readline() == "done\n"
            assert look(supervisor.pid)[0] <= memory + GROWTH
            # The last worker, and the last guest's descriptors, may go a moment later.
            assert eventually(lambda: look(supervisor.pid)[1] <= descriptors + LAST + NAMES * ("sockets" in kind))
            assert eventually(lambda: look(supervisor.pid)[2] <= threads)
            supervisor.stdin.write("end\n")
            supervisor.stdin.close()
            assert supervisor.wait(60) == 0
        finally:
            supervisor.kill()
