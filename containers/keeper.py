"""Keeps the limits of a sandbox that is in no control group of its own: its memory, and its time on the processors.

Memory is looked at ten times a second.  Where all that the guests hold, shared pages counted once, is above the limit, the
largest guest is killed, as the kernel's out-of-memory killer does; what is taken and given back in between is not seen, nor
is what lies in files of a tmpfs, which has a limit of its own.

Time is kept as cgroups(7) has it: in each period the guests run until they have used their quota, and then stand still until
the next one.  What they have used the kernel tells in clock ticks only, so a short period is kept over several.
"""

from __future__ import annotations

import os
import struct
import time

from abi.messages import say
from procs.limits import Limits, resident
from tracer.loop import kill
from vfs import kernel

_TIMERFD_CREATE, _TIMERFD_SETTIME = 283, 286
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_MONOTONIC = 1
_LOOK = 100_000  # microseconds between two looks at memory
_SLICE = 10_000  # ... and at time, where that is kept
_WHO = "quota"  # whom the sandbox stands still for


class Keeper:
    """Looks after one running sandbox by a timer in its loop."""

    def __init__(self, supervisor, limits: Limits) -> None:
        self._supervisor = supervisor
        self._limits = limits
        self._killed: set[int] = set()
        self.has_killed = False  # for want of memory
        self._spent_before: dict[int, float] = {}  # seconds of processor time, by process
        self._allowance = 0.0  # seconds that may be spent yet; negative where too many were
        self._last = time.monotonic()
        self._ticks = 1 / os.sysconf("SC_CLK_TCK")
        self._looked = 0.0
        self._fd = kernel.raw(_TIMERFD_CREATE, _MONOTONIC, _NONBLOCK_CLOEXEC)
        supervisor.loop.watch(self._fd, self._tick)
        self.arm()

    def arm(self) -> None:
        """Look as often as the limits, which may have changed, make it needed."""
        every = _SLICE if self._limits.kept_quota is not None else _LOOK if self._limits.kept_memory is not None else 0
        if self._limits.kept_quota is None:
            self._supervisor.thaw(_WHO)
        interval = struct.pack("<qqqq", 0, every * 1000, 0, every * 1000)
        kernel.raw(_TIMERFD_SETTIME, self._fd, 0, interval, None)

    def close(self) -> None:
        self._supervisor.loop.unwatch(self._fd)
        os.close(self._fd)

    def _tick(self, events: int) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        now = time.monotonic()
        if self._limits.kept_quota is not None:
            self._keep_time(now)
        if self._limits.kept_memory is not None and now - self._looked >= _LOOK / 1e6 * 0.9:
            self._looked = now
            self._keep_memory()

    # -- memory -------------------------------------------------------------------------------

    def _keep_memory(self) -> None:
        limit = self._limits.memory
        sizes = {pid: resident(pid) for pid in self._supervisor.tree.processes}
        if sum(sizes.values()) <= limit:
            return
        for pid, size in sizes.items():
            sizes[pid] = _share(pid, size)
        self._killed &= sizes.keys()
        if sum(sizes.values()) <= limit or self._killed:  # who is killed gives back what it has, in a moment
            return
        largest = max(sizes, key=sizes.__getitem__)
        self._killed.add(largest)
        self.has_killed = True
        guest = self._supervisor.tree.guest(largest)
        say(f"out of memory: the guests hold more than {limit} bytes; process {guest} is killed")
        kill(largest)

    # -- time ---------------------------------------------------------------------------------

    def _keep_time(self, now: float) -> None:
        limits = self._limits
        part = limits.quota / limits.period
        quota = limits.quota / 1e6
        self._allowance = min(self._allowance + (now - self._last) * part, max(quota, 2 * self._ticks))
        self._last = now
        spent = {pid: self._spent(pid) for pid in self._supervisor.tree.processes}
        before, self._spent_before = self._spent_before, spent
        self._allowance -= sum(max(0.0, used - before.get(pid, used if not before else 0.0)) for pid, used in spent.items())
        if self._allowance < 0:
            self._supervisor.freeze(_WHO)
        else:
            self._supervisor.thaw(_WHO)

    def _spent(self, pid: int) -> float:
        """Seconds that all threads of a process have run, those that have ended too; proc_pid_stat(5)."""
        try:
            with open(b"/proc/%d/stat" % pid, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) * self._ticks


def _share(pid: int, size: int) -> int:
    """The bytes a process holds with what it shares counted in parts; `size` where that cannot be told."""
    try:
        with open(b"/proc/%d/smaps_rollup" % pid, "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return size
