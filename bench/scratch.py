"""What is measured: a few C programs, and a root directory that every runner is given.

The programs are built once and kept in the user's cache, under a name that changes with their source. The root is
new for each run and goes away with it. It holds busybox because that is one static file which is a whole user land.
"""

from __future__ import annotations

import hashlib
import os
import random
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
    "filter": ("filter.c", []),
}
_APPLETS = ("sh", "true")
_PT_INTERP = 3

TREE_FILES = 10_000
_ROOM = 1 << 29  # bytes that a run may need: the tree, its tar file, and what untar makes of it twice
_TREE_DEPTH = 4  # directories below the top: a file lies as deep as in /usr/include
_TREE_SIZES = 8.0, 1.2  # of the sizes' logarithm, mean and deviation: half are below 3 KB, one in a hundred above 48 KB


class ScratchError(Exception):
    """Something the benchmarks cannot do without is missing; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """`root` is the guest's root directory, whose tree holds `files`; `notify` and `filter` run on the host.

    `cache` lies beside the root: a runner that keeps changes elsewhere keeps them on the same file system.
    """

    root: Path
    notify: Path
    filter: Path
    cache: Path
    files: int = TREE_FILES


def build(cache: Path | None = None) -> dict[str, Path]:
    """The C programs by name, built if their source has changed. Raises ScratchError."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ScratchError("no C compiler: install gcc and the kernel's headers (Debian: gcc linux-libc-dev libc6-dev)")
    cache = cache or _cache_directory()
    return {name: _build_one(compiler, cache, name, source, flags) for name, (source, flags) in _PROGRAMS.items()}


@contextmanager
def scratch(tree: bool = True) -> Iterator[Scratch]:
    """Programs and root for one run, with or without the tree. Raises ScratchError."""
    busybox = static_busybox()
    programs = build()
    with tempfile.TemporaryDirectory(prefix="int80-bench-", dir=_memory()) as directory:
        root, cache = Path(directory) / "root", Path(directory) / "cache"
        cache.mkdir()
        for name in ("bin", "bench", "dev", "etc", "proc", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy(busybox, root / "bin/busybox")
        for applet in _APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        for name in ("calls", "calls-int80"):
            shutil.copy(programs[name], root / "bench" / name)
        (root / "bench/file").write_text("a file to stat and to open\n")
        _make_etc(root)
        place = Scratch(root, programs["notify"], programs["filter"], cache)
        if tree:
            make_tree(place)
        yield place


def _memory() -> Path | None:
    """A place in memory: on a disk, ten thousand new files cost what the disk costs, and little else is to be seen.

    None, for the usual place, where TMPDIR chooses one or there is no memory to have.
    """
    place = Path("/dev/shm")
    if "TMPDIR" in os.environ or not os.access(place, os.W_OK | os.X_OK):
        return None
    status = os.statvfs(place)
    return place if not status.f_flag & os.ST_NOEXEC and status.f_bavail * status.f_frsize >= _ROOM else None


def _make_etc(root: Path) -> None:
    """What ls and tar look up again and again: the names of owners, and the time zone, by way of a link as in Debian."""
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    zones = root / "usr/share/zoneinfo/Etc"
    zones.mkdir(parents=True)
    (zones / "UTC").write_bytes(struct.pack(">4s16x6I6s4s", b"TZif", 0, 0, 0, 0, 1, 4, bytes(6), b"UTC\0"))
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")


def make_tree(place: Scratch) -> None:
    """A tree as source trees are, `tree` in the root, and `tree.tar` of it: the same one each time, on any machine."""
    chance = random.Random(80)
    top = place.root / "tree"
    top.mkdir()
    directories = [(top, 0)]
    while len(directories) < place.files // 14:
        above, depth = chance.choice(directories)
        if depth < _TREE_DEPTH:
            directory = above / f"{_word(chance)}{len(directories)}"
            directory.mkdir()
            directories.append((directory, depth + 1))
    contents = chance.randbytes(1 << 20)
    files = []
    for number in range(place.files):
        directory, _ = chance.choice(directories)
        file = directory / f"{_word(chance)}-{number}.{chance.choice(('c', 'h', 'py', 'txt'))}"
        file.write_bytes(contents[: int(chance.lognormvariate(*_TREE_SIZES))])
        file.chmod(0o755 if number % 30 == 0 else 0o644)
        time = 1_600_000_000 + chance.randrange(100_000_000)
        os.utime(file, (time, time))
        files.append(file)
        if number % 50 == 0:
            (directory / f"{_word(chance)}-{number}").symlink_to(os.path.relpath(chance.choice(files), directory))
    tar = [place.root / "bin/busybox", "tar", "-c", "-f", place.root / "tree.tar", "-C", place.root, "tree"]
    done = subprocess.run(tar, capture_output=True, text=True)
    if done.returncode:
        raise ScratchError(f"cannot pack the tree: {done.stderr.strip()}")


def _word(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghiklmnoprstuw", k=chance.randint(3, 12)))


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
