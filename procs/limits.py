"""What a sandbox as a whole is held to, as control groups would hold it."""

from __future__ import annotations

#: Microseconds of a period that has no other length; cpu.max of cgroups(7).
PERIOD = 100_000
_PAGE = 4096
_WEIGHT = 100  # of a group nobody has said anything of


class Limits:
    """`memory` in bytes, `quota` of processor time in each `period`, both in microseconds, `pids` tasks; None for no limit.

    `shares` is the group's part of the processors where others want them too, 1024 being a usual one.
    """

    __slots__ = ("by_kernel", "memory", "period", "pids", "quota", "shares")

    def __init__(self) -> None:
        self.memory: int | None = None
        self.quota: int | None = None
        self.period = PERIOD
        self.pids: int | None = None
        self.shares: int | None = None
        self.by_kernel: set[str] = set()  # the files of a control group that keep some of them

    @property
    def supervised(self) -> bool:
        """Whether somebody has to look after them while the sandbox runs; that there are not too many tasks, fork tells."""
        return self.kept_memory is not None or self.kept_quota is not None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return any(limit is not None for limit in (self.memory, self.quota, self.pids, self.shares))

    @property
    def kept_memory(self) -> int | None:
        """The limit of memory that no control group keeps."""
        return None if "memory.max" in self.by_kernel else self.memory

    @property
    def kept_quota(self) -> int | None:
        """The quota that no control group keeps."""
        return None if "cpu.max" in self.by_kernel else self.quota

    @property
    def weight(self) -> int:
        """`shares` in the words of cgroup 2, 1 to 10000."""
        return _WEIGHT if not self.shares else 1 + (max(2, min(self.shares, 262144)) - 2) * 9999 // 262142

    def told(self, name: str) -> bytes:
        """What the file of that name of a control group holds."""
        match name:
            case "memory.max":
                return _number(self.memory)
            case "pids.max":
                return _number(self.pids)
            case "cpu.weight":
                return b"%d" % self.weight
        return b"%s %d" % (_number(self.quota), self.period)


def _number(value: int | None) -> bytes:
    return b"max" if value is None else b"%d" % value


def resident(pid: int) -> int:
    """The bytes of memory that a process of the host has, what it shares with others counted too; 0 when it has ended."""
    try:
        with open(b"/proc/%d/statm" % pid, "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
