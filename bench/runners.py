"""Who runs the programs: nothing at all, int80, and the tools that people would otherwise take.

A runner is a prefix put before a command, and a place: inside the scratch root, or beside it on the host. A new peer
is one entry in `_PEERS`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NATIVE, FILTER, INT80, GATE, LAYERED = "native", "filter", "int80", "int0x80", "layered"
TRACE, TRACE_FILE, RUN_TRACE = "trace", "trace-file", "run-trace"
TRACERS = {TRACE: "strace", TRACE_FILE: "strace-file"}  # ours, and whom each is held against
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Runner:
    """`inside`: the command's paths are the guest's. `calls`: which build of bench/calls.c it runs."""

    name: str
    title: str
    prefix: tuple[str, ...] = ()
    inside: bool = False
    calls: str = "calls"
    version: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Peer:
    command: str  # ROOT stands for the root directory (without it the guest is on the host), LOG for a file to write
    note: str
    build: str = "(?!)"  # what else of its --version matters to speed


_PEERS = {
    # Debian builds PRoot without its seccomp filter, and then it stops every call, not only those it changes.
    "proot": _Peer("proot -0 -r ROOT -b /dev -b /proc -w /", "uid 0 inside, as under int80", r"seccomp_filter = \w+"),
    "proot-plain": _Peer("proot -r ROOT -b /dev -b /proc -w /", "the user's own uid inside", r"seccomp_filter = \w+"),
    "bwrap": _Peer(
        "bwrap --bind ROOT / --dev /dev --proc /proc --unshare-all --chdir / --", "needs user namespaces or root"
    ),
    "strace": _Peer("strace -f -o LOG", "logs every call; no sandbox"),
    "strace-file": _Peer("strace -f --seccomp-bpf -e trace=%file -o LOG", "logs calls with file names only"),
    "runsc": _Peer(
        "runsc --platform=ptrace --network=none --rootless --ignore-cgroups"
        " do --quiet --force-overlay=false --root ROOT --cwd /",
        "gVisor; ptrace platform",
    ),
}
PEERS = tuple(_PEERS)
DEFAULT_PEERS = ("proot", "bwrap", "runsc", "strace", "strace-file")


def default_int80() -> list[str]:
    """The command installed beside this interpreter, else the repository's own."""
    installed = Path(sys.executable).parent / "int80"
    return [str(installed)] if installed.exists() else [sys.executable, str(REPOSITORY / "runner.py")]


def native() -> Runner:
    return Runner(NATIVE, "native")


def bare_filter(program: Path) -> Runner:
    """Native, but for a seccomp filter of one instruction."""
    return Runner(FILTER, "native,\nfilter", (str(program),), note="a seccomp filter that allows everything; no sandbox")


def int80_runners(command: list[str], root: Path) -> list[Runner]:
    """int80 with programs that enter the kernel by `syscall`, by `int 0x80`, and with the root as a lower layer."""
    prefix = (*command, "run", "--rootfs", str(root), "--")
    layers = (*command, "run", "--lower", str(root), "--workdir", "/", "--")
    version = _version(_version_text([*command, "--version"]))
    return [
        Runner(INT80, "int80\nsyscall", prefix, inside=True, version=version),
        Runner(GATE, "int80\nint 0x80", prefix, inside=True, calls="calls-int80", version=version),
        Runner(LAYERED, "int80\nlayered", layers, True, version=version, note="changes go to a layer that is thrown away"),
    ]


def int80_tracers(command: list[str], root: Path, log: Path) -> list[Runner]:
    """int80 as a tracer: of everything, of calls with file names, and of everything in a sandbox."""
    return [
        Runner(TRACE, "int80\ntrace", (*command, "trace", "-o", str(log), "--"), note="int80 trace: logs every call; no sandbox"),
        Runner(TRACE_FILE, "int80 trace\n%file", (*command, "trace", "-e", "trace=%file", "-o", str(log), "--")),
        Runner(
            RUN_TRACE, "int80 run\n--trace", (*command, "run", f"--trace={log}", "--rootfs", str(root), "--"), True,
            note="the sandbox, and a log of every call",
        ),
    ]  # fmt: skip


def peer(name: str, root: Path, log: Path) -> Runner | None:
    """None if the tool is not installed."""
    entry = _PEERS[name]
    words = entry.command.split()
    if shutil.which(words[0]) is None:
        return None
    prefix = tuple({"ROOT": str(root), "LOG": str(log)}.get(word, word) for word in words)
    text = _version_text([words[0], "--version"])
    build = re.search(entry.build, text)
    note = f"{entry.note}; {build[0]}" if build else entry.note
    return Runner(name, name, prefix, inside="ROOT" in words, version=_version(text), note=note)


def interpreter(int80: list[str]) -> str:
    """The Python that an int80 command runs with, read from the command; this one if it does not say."""
    first = shutil.which(int80[0]) or int80[0]
    if Path(first).name.startswith("python"):
        return first
    try:
        with open(first, "rb") as file:
            line = file.readline(256).decode(errors="replace")
    except OSError:
        return sys.executable
    words = line[2:].split() if line.startswith("#!") else []
    if words and Path(words[0]).name == "env":
        words = words[1:]
    if words and Path(words[0]).name.startswith("python"):
        return shutil.which(words[0]) or sys.executable
    return sys.executable


def _version_text(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout + done.stderr


def _version(text: str) -> str:
    found = re.search(r"\d+\.\d[\w.~+-]*", text)
    return found[0] if found else ""
