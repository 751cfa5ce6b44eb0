"""Names of calls by number, for every ABI that a log meets."""

from __future__ import annotations

from importlib import import_module

from abi.decoding.constants.calls import HOST, LINUX


class _Names(dict):
    """A table that fills itself from python-ptrace's when it is asked for what it lacks: importing that takes a while."""

    def __init__(self, machine: str) -> None:
        super().__init__()
        self._machine: str | None = machine

    def __missing__(self, number: int) -> str | None:
        if self._machine is not None:
            self.update(import_module(f"ptrace.syscall.linux.{self._machine}").SYSCALL_NAMES)
            self._machine = None
            return self[number]
        return None

    def get(self, number: int, default: str | None = None) -> str | None:
        return self[number] or default


def tables() -> dict[str, dict[int, str]]:
    """``linux``, ``host`` (int80's own), and ``i386``."""
    return {"linux": LINUX, "host": HOST, "i386": _Names("i386"), "unknown": {}}


def linux_numbers() -> dict[str, int]:
    """Every call of x86-64 that has a name, by that name."""
    return {name: number for number, name in LINUX.items()}
