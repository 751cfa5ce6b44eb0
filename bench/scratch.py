"""What is measured: two C programs, and a small root directory that every runner is given.

The programs are built once and kept in the user's cache, under a name that changes with their source. The root is
new for each run and goes away with it. It holds busybox because that is one static file which is a whole user land.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_BARE = ["-static", "-no-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fcf-protection=none"]
_PROGRAMS = {
    "calls": ("calls.c", _BARE),
    "calls-int80": ("calls.c", [*_BARE, '-DGATE="int $0x80"']),
    "notify": ("notify.c", []),
}
_APPLETS = ("sh", "true")
_PT_INTERP = 3

TREE_FILES = 2000


class ScratchError(Exception):
    """Something the benchmarks cannot do without is missing; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """`root` is the guest's root directory; `notify` runs on the host."""

    root: Path
    notify: Path


def build(cache: Path | None = None) -> dict[str, Path]:
    """The C programs by name, built if their source has changed. Raises ScratchError."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ScratchError("no C compiler: install gcc and the kernel's headers (Debian: gcc linux-libc-dev libc6-dev)")
    cache = cache or _cache_directory()
    return {name: _build_one(compiler, cache, name, source, flags) for name, (source, flags) in _PROGRAMS.items()}


@contextmanager
def scratch() -> Iterator[Scratch]:
    """Programs and root for one run. Raises ScratchError."""
    busybox = static_busybox()
    programs = build()
    with tempfile.TemporaryDirectory(prefix="int80-bench-") as directory:
        root = Path(directory) / "root"
        for name in ("bin", "bench", "dev", "etc", "proc", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy(busybox, root / "bin/busybox")
        for applet in _APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        for name in ("calls", "calls-int80"):
            shutil.copy(programs[name], root / "bench" / name)
        (root / "bench/file").write_text("a file to stat and to open\n")
        _make_tree(root / "tree")
        yield Scratch(root, programs["notify"])


def _make_tree(top: Path) -> None:
    for number in range(TREE_FILES):
        directory = top / f"{number // 100:02}" / f"{number // 10 % 10}"
        if number % 10 == 0:
            directory.mkdir(parents=True)
        (directory / f"{number:04}.txt").write_bytes(b"%04d\n" % number * (number % 400))


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "int80" / "bench"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScratchError(f"no place to build in: {error}; set XDG_CACHE_HOME to a directory you can write") from None
    return directory


def _build_one(compiler: str, cache: Path, name: str, source: str, flags: list[str]) -> Path:
    command = [compiler, "-O2", *flags]
    text = (_HERE / source).read_bytes()
    mark = hashlib.sha256("\0".join(command).encode() + text).hexdigest()[:12]
    program = cache / f"{name}-{mark}"
    if not program.exists():
        # Built beside its place and renamed, so that two runs at once cannot meet half a program.
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            new = Path(directory) / name
            done = subprocess.run([*command, str(_HERE / source), "-o", str(new)], capture_output=True, text=True)
            if done.returncode:
                raise ScratchError(f"cannot build bench/{source}:\n{done.stderr.strip()}")
            new.rename(program)
    return program


def static_busybox() -> Path:
    found = [path for path in map(Path, ("/bin/busybox", shutil.which("busybox") or "/")) if path.is_file()]
    for path in found:
        if not _is_dynamic(path):
            return path
    state = "is linked dynamically" if found else "is not installed"
    raise ScratchError(f"busybox {state}: the guests' root needs a static one (Debian: apt install busybox-static)")


def _is_dynamic(path: Path) -> bool:
    """Whether an ELF64 file asks for an interpreter."""
    data = path.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return True
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return any(struct.unpack_from("<I", data, table + size * i)[0] == _PT_INTERP for i in range(count))
