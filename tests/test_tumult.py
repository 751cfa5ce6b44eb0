"""Processes and threads that begin, end, execute and signal each other at random, and are killed from outside meanwhile.

The supervisor never hangs, says nothing, and leaves nothing; no guest is stuck.  A seed decides what is done, if not when.
INT80_CAMPAIGN=1 in the environment makes five minutes of it, of seeds never tried before.
"""

from __future__ import annotations

import itertools
import os
import random
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_ends import eventually

CAMPAIGN = 300 if "INT80_CAMPAIGN" in os.environ else 0  # seconds
MODES = {
    "plain": ("syscall", ()), "traced": ("syscall", ("--trace=/dev/null",)), "int80": ("int80", ()),
    "no-patch": ("int80", ("--no-patch",)), "no-ia32": ("int80", ("--no-ia32",)),
    "traced-no-patch": ("int80", ("--no-patch", "--trace=/dev/null")),
}  # fmt: skip
WELL = 17  # what the guest exits with
PATIENCE = 90  # seconds


def below(supervisor: int) -> dict[int, int]:
    """The processes that descend from one, and their parents."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, more = {}, {supervisor}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more and pid not in found}
        found |= {pid: parents[pid] for pid in more}
    return found


class Tumult:
    """Runs the guest with what happens to it from outside."""

    def __init__(self, run, guest, int80: list[str]) -> None:
        self._run = run
        self._guest = guest
        self._int80 = int80

    def __call__(self, seed: int, mode: str, how: str, rounds: int = 100) -> None:
        gate, options = MODES[mode]
        self._run.put(self._guest("tumult", gate=gate), "tumult")
        chance = random.Random(seed)
        command = [*self._int80, "run", "--pids-limit", "300", *options, "--rootfs", str(self._run.root), "--"]
        command += ["/bin/tumult", str(seed), str(rounds), *["amid it all"] * (how == "amid")]
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        try:
            assert child.stdout.readline() == "begun\n"
            if how == "kills":
                self._kill_some(child, chance)
            elif how in ("SIGTERM", "SIGKILL"):
                select.select([], [], [], chance.uniform(0, 1))  # the moment
                child.send_signal(signal.Signals[how])
            out, err = child.communicate(timeout=PATIENCE)
            ends = {"SIGTERM": (WELL, 128 + signal.SIGTERM), "SIGKILL": (WELL, -signal.SIGKILL)}.get(how, (WELL,))
            assert child.returncode in ends, (seed, mode, how, out, err)
            assert err == "", (seed, mode, how)
            assert eventually(lambda: not self._left()), (seed, mode, how, self._left())
        finally:
            for pid in (*below(child.pid), *self._left()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            child.kill()
            child.communicate()

    @staticmethod
    def _kill_some(child: subprocess.Popen, chance: random.Random) -> None:
        """Kill, stop and signal threads of guests, but not init, until the sandbox ends."""
        deadline = time.monotonic() + PATIENCE
        while child.poll() is None and time.monotonic() < deadline:
            guests = [pid for pid, parent in below(child.pid).items() if parent != child.pid]
            for pid in chance.sample(guests, min(2, len(guests))):
                number = chance.choice((signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1))
                try:
                    os.kill(int(chance.choice(os.listdir(f"/proc/{pid}/task"))), number)
                except OSError:
                    continue  # it was quicker
            select.select([], [], [], 0.01)

    def _left(self) -> list[int]:
        """The processes that run this root's program."""
        program = str(self._run.root / "bin/tumult")
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    if os.readlink(f"/proc/{name}/exe").startswith(program):
                        found.append(int(name))
                except OSError:
                    continue
        return found


@pytest.fixture
def tumult(run, guest, int80) -> Tumult:
    return Tumult(run, guest, int80)


HOWS = ("alone", "kills", "amid", "SIGTERM", "SIGKILL")


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("mode", MODES)
def test_nobody_hangs_and_nothing_is_left(tumult, mode, how):
    tumult(80, mode, how)


@pytest.mark.slow
@pytest.mark.skipif(not CAMPAIGN, reason="takes five minutes: set INT80_CAMPAIGN=1")
def test_nobody_hangs_whatever_the_seed(tumult):
    deadline = time.monotonic() + CAMPAIGN
    seeds = random.Random()
    for mode, how in itertools.cycle(itertools.product(MODES, HOWS)):
        if time.monotonic() > deadline:
            break
        tumult(seeds.randrange(1 << 30), mode, how, rounds=300)
