"""What the kernel is told of a command before it runs: its limits, its place among others, its personality.

All of it is set from outside, with the supervisor's rights and after the command has given up its own, so that what the host
allows its user is had and no more.  prlimit(2), sched_setattr(2), ioprio_set(2), personality(2), proc_pid_oom_score_adj(5)
"""

from __future__ import annotations

import os
import resource
import struct

from abi.messages import say
from tracer.launch import LaunchError
from vfs import kernel
from vfs.kernel import libc

_SCHED_SETATTR, _IOPRIO_SET = 314, 251
_ATTRIBUTES = struct.Struct("<IIQiIQQQ")  # struct sched_attr
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13
_INFINITY = 0xFFFFFFFFFFFFFFFF


class Refused(LaunchError):
    """The host does not let a command have an attribute; the message says which."""


class Scheduling:
    """``struct sched_attr``: times in nanoseconds."""

    __slots__ = ("deadline", "flags", "nice", "period", "policy", "priority", "runtime")

    def __init__(self, policy: int, flags: int = 0, nice: int = 0, priority: int = 0) -> None:
        self.policy = policy
        self.flags = flags
        self.nice = nice
        self.priority = priority
        self.runtime = self.deadline = self.period = 0


class Attributes:
    """Nothing of it is set where it says nothing.

    `rlimits` is number -> (soft, hard), all ones for no limit; `io` the class and the priority in it; `nice` steps to go down.
    """

    __slots__ = ("io", "names", "nice", "oom_score_adj", "personality", "processors", "rlimits", "scheduling")

    def __init__(self) -> None:
        self.rlimits: dict[int, tuple[int, int]] = {}
        self.names: dict[int, str] = {}  # of the limits, for messages
        self.oom_score_adj: int | None = None
        self.scheduling: Scheduling | None = None
        self.io: tuple[int, int] | None = None
        self.processors: set[int] | None = None
        self.nice: int | None = None
        self.personality: int | None = None

    def take(self) -> None:
        """The command's own part, before its filter is there.  ``OSError``."""
        if self.personality is not None and libc.personality(self.personality) < 0:
            raise OSError(22, "invalid argument")

    def give(self, pid: int) -> None:
        """The rest, by the supervisor.  `Refused`."""
        for number, (soft, hard) in self.rlimits.items():
            most = resource.getrlimit(number)[1]
            try:
                self._try(f"{self.names.get(number, number)}", resource.prlimit, pid, number, (_limit(soft), _limit(hard)))
            except Refused as problem:
                above = most != resource.RLIM_INFINITY and hard > most
                raise Refused(f"{problem}; this user may have {most} at most" if above else str(problem)) from None
        if self.oom_score_adj is not None:
            try:
                self._oom(pid)
            except OSError as problem:  # nobody counts on it
                say(f"oom_score_adj {self.oom_score_adj}: {problem.strerror.lower()}; it stays as it is")
        if self.processors is not None:
            self._try("processors", os.sched_setaffinity, pid, self.processors)
        if self.nice is not None:
            self._try(f"nice {self.nice}", os.setpriority, os.PRIO_PROCESS, pid, self.nice)
        if self.scheduling is not None:
            self._try("scheduler", self._schedule, pid)
        if self.io is not None:
            priority = self.io[0] << _IOPRIO_CLASS_SHIFT | self.io[1]
            self._try("I/O priority", kernel.raw, _IOPRIO_SET, _IOPRIO_WHO_PROCESS, pid, priority)

    @staticmethod
    def _try(what: str, function, *arguments) -> None:
        try:
            function(*arguments)
        except OSError as problem:
            raise Refused(f"{what}: {problem.strerror.lower()}") from None
        except ValueError as problem:  # as the resource module has EINVAL, and EPERM for a limit above the host's
            raise Refused(f"{what}: {problem}") from None

    def _oom(self, pid: int) -> None:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % self.oom_score_adj)
        finally:
            os.close(fd)

    def _schedule(self, pid: int) -> None:
        wanted = self.scheduling
        data = _ATTRIBUTES.pack(
            _ATTRIBUTES.size, wanted.policy, wanted.flags, wanted.nice, wanted.priority, wanted.runtime, wanted.deadline,
            wanted.period,
        )  # fmt: skip
        kernel.raw(_SCHED_SETATTR, pid, data, 0)


def _limit(value: int) -> int:
    return resource.RLIM_INFINITY if value == _INFINITY else value
