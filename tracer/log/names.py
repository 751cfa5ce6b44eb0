"""Names of calls by number, for every ABI that a log meets: int80's tables first, python-ptrace's for what they lack."""

from __future__ import annotations

from importlib import import_module

_NEWER = {
    463: "setxattrat", 464: "getxattrat", 465: "listxattrat", 466: "removexattrat", 467: "open_tree_attr",
    468: "file_getattr", 469: "file_setattr",
}  # fmt: skip


class _Names(dict):
    """A table that looks a number up in python-ptrace's when it is missing: importing that takes a while."""

    def __init__(self, known: dict[int, str], machine: str) -> None:
        super().__init__(known)
        self._machine = machine

    def __missing__(self, number: int) -> str | None:
        for other, name in _of_python_ptrace(self._machine).items():
            self.setdefault(other, name)
        return self.setdefault(number, None)

    def get(self, number: int, default: str | None = None) -> str | None:
        return self[number] or default


def _of_python_ptrace(machine: str) -> dict[int, str]:
    names = dict(import_module(f"ptrace.syscall.linux.{machine}").SYSCALL_NAMES)
    return {number: name for number, name in names.items() if machine != "x86_64" or number < 512}  # x32 has those above


def tables() -> dict[str, dict[int, str]]:
    """``linux``, ``host`` (int80's own), and ``i386``."""
    from abi.tables import host, linux

    return {
        "linux": _Names(_NEWER | {entry.number: entry.name for entry in linux.table if entry is not None}, "x86_64"),
        "host": {entry.number: f"{entry.name}" for entry in host.table if entry is not None},
        "i386": _Names({}, "i386"),
        "unknown": {},
    }


def linux_numbers() -> dict[str, int]:
    """Every call of x86-64 that has a name, by that name."""
    table = tables()["linux"]
    table[-1]  # the whole of it
    return {name: number for number, name in table.items() if name is not None}
