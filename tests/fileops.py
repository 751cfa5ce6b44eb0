"""Random scripts of file operations, run by the kernel and in a sandbox, and what differed.

The program is ``tests/guests/c/fileops.c``; its head says what a script is.  Scripts run in batches, since starting a sandbox
costs more than a hundred of them; a script that differs is made small by leaving lines out, again in batches.

More by hand::

    python tests/fileops.py KIND SEED COUNT

prints one small script for each way in which something differed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import randoms

REPO = Path(__file__).resolve().parent.parent
SOURCE = REPO / "tests/guests/c/fileops.c"

Script = tuple[str, ...]


# -- where a script can run -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of mount: the options that make it, and where it is inside.

    `needs` is the option that must exist.  `filled` says who makes the tree: the host before the start, in a
    directory the options name as SOURCE or else in ROOT; or the program itself, inside.
    """

    name: str
    place: str
    options: tuple[str, ...] = ()
    needs: str = "--rootfs"
    filled: str = "root"
    directory_links: bool = True  # whether a directory's link count says how many directories are in it
    native: str | None = None  # where the kernel's side is to work: a directory of the same file system


KINDS = {
    kind.name: kind
    for kind in (
        Kind("plain", "/", ("--rootfs", "ROOT")),
        Kind("devshm", "/dev/shm", ("--rootfs", "ROOT"), filled="inside", native="/dev/shm"),
        Kind("tmpfs", "/mnt", ("--rootfs", "ROOT", "--tmpfs", "/mnt"), "--tmpfs", filled="inside", native="/dev/shm"),
        Kind("bind", "/mnt", ("--rootfs", "ROOT", "-v", "SOURCE:/mnt"), "--volume", filled="source"),
        Kind("layered", "/", ("--lower", "ROOT", "--upper", "UPPER"), "--lower", directory_links=False),
    )
}


def available(command: list[str], kind: Kind) -> bool:
    """Whether `int80 run` has the option that makes such a mount."""
    return kind.needs in subprocess.run([*command, "run", "--help"], capture_output=True, text=True, check=True).stdout


def build(target: Path) -> Path:
    """The program, for both sides."""
    subprocess.run(["gcc", "-O2", "-static", "-w", "-o", str(target), str(SOURCE)], check=True)
    return target


@contextmanager
def scratch(parent: Path | str) -> Iterator[Path]:
    """A directory that goes whatever was made in it, unreadable directories too."""
    place = Path(tempfile.mkdtemp(prefix="fileops-", dir=parent))
    try:
        yield place
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", str(place)], stderr=subprocess.DEVNULL)
        shutil.rmtree(place)


class Sides:
    """Runs scripts by the kernel and inside one kind of mount."""

    def __init__(self, command: list[str], kind: Kind, program: Path, place: Path) -> None:
        self.command = command
        self.kind = kind
        self.program = program
        self.place = place

    def native(self, scripts: list[Script]) -> list[list[str]]:
        with scratch(self.kind.native or self.place) as work:
            self._width = len(str(work))
            return self._run([self.program, "both", str(len(scripts)), work], scripts)

    def inside(self, scripts: list[Script]) -> list[list[str]]:
        """In a directory whose name is as long as the kernel's was: PATH_MAX counts it, and a symlink's size."""
        parent = self.kind.place.rstrip("/")
        name = "w" * (self._width - len(parent) - 1)
        with scratch(self.place) as work:
            root, source, upper = work / "root", work / "source", work / "upper"
            for directory in (root / "bin", root / "mnt", source, upper):
                directory.mkdir(parents=True)
                directory.chmod(0o755)
            shutil.copy(self.program, root / "bin/fileops")
            fill = {"root": root, "source": source}.get(self.kind.filled)
            if fill is not None:
                subprocess.run([self.program, "fill", str(len(scripts)), fill / name, f"{parent}/{name}"], check=True)
            options = [
                word.replace("ROOT", str(root)).replace("SOURCE", str(source)).replace("UPPER", str(upper))
                for word in self.kind.options
            ]
            verb = "run" if fill is not None else "both"
            guest = ["/bin/fileops", verb, str(len(scripts)), f"{parent}/{name}"]
            return self._run([*self.command, "run", *options, "--", *guest], scripts)

    def _run(self, command: list, scripts: list[Script]) -> list[list[str]]:
        text = "".join("".join(line + "\n" for line in script) + "--\n" for script in scripts)
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=600)
        if done.returncode or done.stderr:
            raise AssertionError(f"status {done.returncode}: {done.stderr.decode(errors='replace')[:2000]}")
        parts = done.stdout.decode().split("script\n")[1:]
        assert len(parts) == len(scripts), f"{len(parts)} of {len(scripts)} scripts were answered"
        if not self.kind.directory_links:
            parts = [re.sub(r"( 4\d{4} link )\d+", r"\1any", part) for part in parts]
        return [part.splitlines() for part in parts]

    def differences(self, scripts: list[Script]) -> list[Difference]:
        """The scripts that came to something else inside, each with the first line that differs."""
        found = []
        for index, (native, inside) in enumerate(zip(self.native(scripts), self.inside(scripts), strict=True)):
            difference = _compare(self.kind.name, scripts[index], native, inside)
            if difference is not None:
                found.append(difference)
        return found

    def smallest(self, difference: Difference) -> Difference:
        """Leave out lines as long as the same operation goes on differing in the same way."""
        step = max(1, len(difference.script) // 2)
        while True:
            script = difference.script
            shorter = [script[:at] + script[at + step :] for at in range(len(script) - step, -1, -step)]
            if len(script) > difference.line + 1:
                shorter.insert(0, script[: difference.line + 1])
            same = [other for other in self.differences(shorter) if other.key == difference.key] if shorter else []
            if same:
                difference = min(same, key=lambda other: len(other.script))
            elif step == 1:
                return difference
            else:
                step //= 2
            step = max(1, min(step, len(difference.script) // 2))


# -- comparing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference of one script; `line` counts its operations, or is their number for the tree at the end."""

    script: Script
    line: int
    native: str
    inside: str

    @property
    def operation(self) -> str:
        return self.script[self.line] if self.line < len(self.script) else "the tree at the end"

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two differences the same one, as far as one can see from outside."""
        if self.line < len(self.script):
            return self.operation.split()[0], _class(self.native), _class(self.inside)
        theirs, ours = self.native.split(), self.inside.split()
        changed = [_class(a) + "/" + _class(b) for a, b in zip(theirs[1:], ours[1:], strict=False) if a != b]
        return "tree", changed[0] if changed else "", ""

    def __str__(self) -> str:
        lines = [*self.script, "--"]
        return "\n".join(lines) + f"\n  {self.operation}\n    natively: {self.native}\n    inside:   {self.inside}\n"


def _class(result: str) -> str:
    return re.sub(r"\d+", "N", re.sub(r'"[^"]*"', "S", result))[:60]


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is expected; what follows it in a script is not compared.

    `pattern` is for the whole of the operation, the native and the inside result, each on a line of its own.
    """

    pattern: str
    reason: str
    kinds: tuple[str, ...] = ()  # of mounts; all of them, if none is named


_ANY = r"[^\n]*"

# What is meant to differ.
MEANT = (
    Known(
        rf"{_ANY} &\d (?:{_ANY})NOFOLLOW{_ANY}\n{_ANY}\n{_ANY}", "a link of /proc/self/fd has no size, time or owner to change"
    ),
    Known(rf"\w+ l &\d {_ANY}\n{_ANY}\n{_ANY}", "a link of /proc/self/fd has no attributes"),
    Known(rf"watch \d &\d \S*IN_DONT_FOLLOW{_ANY}\n{_ANY}\n{_ANY}", "nothing in /proc can be watched"),
    Known(rf"\w+ [^\n]*trusted\.{_ANY}\n{_ANY}\n{_ANY}", "trusted.* attributes need a capability of the host's"),
    Known(rf"{_ANY}\n({_ANY} (?:1|14))[1-7](\d{{3}} {_ANY})\n\1[01]\2", "set-id bits of what has no attributes are lost"),
    Known(rf"{_ANY}\n({_ANY} 10)[0-5](\d{{3}} {_ANY})\n\1[2-7]\2", "set-id bits kept beside a file outlive a write to it"),
    Known(rf"openat2 {_ANY}CACHED{_ANY}\n{_ANY}\n\S+ EAGAIN", "nothing can be told of the host's cache"),
    Known(rf"openat2 {_ANY}PATH{_ANY}\n{_ANY}\n\S+ ENOSYS", "the kernel opens for O_PATH, with openat"),
    Known(rf"getfl \d\n{_ANY}\n{_ANY}", "F_GETFL may lack O_NOFOLLOW, since the supervisor opened by another name"),
    Known(rf"rename {_ANY}\n\w+ (EBUSY|EEXIST)\n\w+ EXDEV", "/ is another mount inside", ("bind", "tmpfs", "devshm")),
    Known(rf"openat2 {_ANY}NO_XDEV{_ANY}\n{_ANY}\n\w+ EXDEV", "/ is another mount inside", ("bind", "tmpfs", "devshm")),
    Known(
        rf"(p?read|mmap|fstat) {_ANY}\n{_ANY}\n{_ANY}", "what was opened for reading stays the lower layer's file", ("layered",)
    ),
    Known(rf"events {_ANY}\n{_ANY}\n{_ANY}", "a watch is on one layer's directory, and sees a file copied up", ("layered",)),
)

# What is meant to differ for an ordinary user: the guest is root, whom no mode stops.
FOR_ROOT = (
    Known(rf"{_ANY}\n{_ANY}EACCES{_ANY}\n{_ANY}", "the host user may not, the guest's root may"),
    Known(rf"{_ANY}\n{_ANY}\n\w+ EACCES", "what the host user may not read cannot be copied up", ("layered",)),
    Known(rf"the tree at the end\n \S*/r/{_ANY}\n{_ANY}", "what the host user may not read is not in the tree", ("layered",)),
)

# What ought not to differ, and does today: a line goes when its cause does.
UNMENDED = (
    Known(rf"link \d % {_ANY}\n\w+ EBADF\n\w+ EFAULT", "abi/names.py:_link reads the second path first"),
    Known(rf"(access|watch) {_ANY}\n\w+ EINVAL\n\w+ E\w+", "flags and sizes are checked after the path"),
    Known(rf"watch {_ANY}\n\w+ EINVAL\n\w+ \d+", "abi/attributes.py: a mask of nothing is EINVAL"),
    Known(
        rf"openat2 {_ANY}NO_XDEV{_ANY}\n\w+ EXDEV\n{_ANY}", "abi/files.py: a link to / is EXDEV for the kernel, wherever it leads"
    ),
    Known(rf"getcwd {_ANY}\n\w+ ENAMETOOLONG\n{_ANY}", "abi/directories.py:getcwd: too long comes before too small"),
    Known(rf"fch\w+ {_ANY}\n\w+ 0\n\w+ ENOTDIR", "vfs/namespace.py: a file below PATH_MAX is taken for a directory"),
    Known(
        rf"(rename|link) {_ANY}\n\w+ E\w+\n\w+ E\w+", "abi/names.py reads both paths before it looks for the first, or at flags"
    ),
    Known(
        rf"the tree at the end\n({_ANY} a )[\d.]+( {_ANY})\n\1now\2",
        "a link was followed that was not natively, by the checks' order",
    ),
    Known(rf"deep \d+\n{_ANY}\n{_ANY}ENAMETOOLONG{_ANY}", "vfs/layers.py: nothing is made below PATH_MAX", ("layered",)),
    Known(r"(?s:.*)N\{25[45]\}(?s:.*)", "vfs/layers.py: an ordinary user cannot white out a name of 255 bytes", ("layered",)),
    Known(
        rf"open2?\w* {_ANY}TMPFILE{_ANY}\n\w+ ENOTDIR\n\w+ ELOOP",
        "abi/files.py:_open_tmpfile: O_NOFOLLOW of a symlink is ENOTDIR",
    ),
)


def _is_known(kind: str, text: str) -> bool:
    table = MEANT + UNMENDED + (FOR_ROOT if os.geteuid() else ())
    return any((not known.kinds or kind in known.kinds) and re.fullmatch(known.pattern, text) for known in table)


def _compare(kind: str, script: Script, native: list[str], inside: list[str]) -> Difference | None:
    for index in range(max(len(native), len(inside))):
        theirs = native[index] if index < len(native) else "(nothing)"
        ours = inside[index] if index < len(inside) else "(nothing)"
        if theirs != ours:
            difference = Difference(script, min(index, len(script)), theirs, ours)
            return None if _is_known(kind, f"{difference.operation}\n{theirs}\n{ours}") else difference
    return None


# -- scripts ----------------------------------------------------------------------------------------

_MADE = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"]
_NAMES = _MADE + ["x", "y", "z", "d/a", "d/b", "d/d", "d/d/c", "l/a", "r/a", "d/x", "e/a", "o/d", "p/b", "n/x"]
_ODD = [
    "N" * 255,
    "N" * 256,
    "%ff%fe",
    "%80",
    "%20",
    "M" * 255,
    "a%0ab",
    "...",
    "%c3%a9",
    "a%5c",
    "%25",
    "x%20(deleted)",
]
_DIRS = ["d", "d/d", "e", "l", "n", "o", "p", "r", "x", "y", "a", "h", "i", ".", "..", "d/..", "../u", "n", "d", "x/y"]
_TEXTS = ["hello", "x", "0123456789", "%01", "y" * 5000]
_OFFSETS = ["0", "1", "3", "6", "100", "4095", "4096", "70000", "1048576"]
_TIMES = ["now", "omit", "1000000000.1", "1100000000.999999999", "0.0", "-1.5", "1.1000000000", "2000000000.123456789"]
_MODES = [
    "0644",
    "0600",
    "0",
    "0755",
    "0777",
    "0444",
    "0111",
    "0222",
    "02755",
    "02777",
    "01777",
    "0700",
    "04755",
    "06755",
    "0200",
]
_TARGETS = [
    "a",
    "b",
    "x",
    "y",
    "d",
    "d/",
    "d/a",
    "../a",
    "./x",
    "x/",
    "..",
    ".",
    "nowhere",
    "@/a",
    "@/d",
    "@/x",
    "n/x",
    "l/a",
    "@",
    "c",
    "z",
    "N" * 255,
    "N" * 256,
    "./" * 2047 + "a",
    "./" * 2048,
    "%ff",
    "d//a",
    "d/../a",
    "e/d",
]


class _Writer:
    """Writes one script: remembers which slots were filled, and keeps to a few names so that operations meet."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.favourites = [rng.choice(_NAMES) for _ in range(4)]
        self.files: list[str] = []
        self.directories: list[str] = []
        self.watches: list[str] = []

    def any(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def flags(self, *choices: str, percent: int = 15) -> str:
        return "|".join(choice for choice in choices if self.chance(percent)) or "0"

    def name(self) -> str:
        if self.chance(55):
            return self.rng.choice(self.favourites)
        return self.rng.choice(_ODD) if self.chance(8) else self.rng.choice(_NAMES)

    def path(self, magic: bool = False, top: bool = False) -> str:
        """`magic`: also a descriptor's link itself; `top`: also the root directory."""
        dice = self.rng.randrange(100)
        if dice < 58:
            return self.name()
        if dice < 72:
            return self.rng.choice(_DIRS) + "/" + self.rng.choice(_MADE + ["x", "y", "z"])
        if dice < 80:
            return self.name() + self.any("/", "/", "/", "//", "/.", "/..", "/./", "/../")
        if dice < 84:
            return self.any(".", "..", "./", "../", "./.", "../.", "../..")
        if dice < 88:
            return self.any("./", ".//", "../u/", "d/../", "d/./", "e/../", "nowhere/../", "a/../", "o/../d/") + self.name()
        if dice < 92:
            return "@/" + self.name() if self.chance(80) else "@"
        if dice < 96:
            slot = self.slot(self.directories)
            if magic and self.chance(60):
                return "&" + self.any(slot, self.slot(self.files)) + self.any("", "", "", "/", "/.")
            return f"&{slot}/" + self.any(self.name(), "..", ".", "a", "../x")
        if dice < 98:
            return self.any("%", "%", "!")
        if dice < 99 and top:
            return self.any("/", "//", "/..", "/.", "/./")
        return self.any(
            "./" * 2047 + "a", "./" * 2047 + "d/", "./" * 2048, "//nowhere-int80/a", "d/../" * 600 + "x", "d/" + "N" * 256,
            "N" * 256 + "/a", "N" * 255 + "/" + "N" * 256, "nowhere/" + "N" * 256,
        )  # fmt: skip

    def at(self, **more) -> str:
        """A directory argument and a path."""
        return f"{self.dir()} {self.path(**more)}"

    def dir(self) -> str:
        if self.chance(75):
            return "."
        return self.slot(self.directories if self.chance(85) else self.files)

    def slot(self, filled: list[str]) -> str:
        return self.rng.choice(filled[-3:]) if filled and self.chance(97) else str(self.rng.randrange(7))

    def file(self) -> str:
        return self.slot(self.files if self.chance(90) else self.directories)

    def directory(self) -> str:
        return self.slot(self.directories if self.chance(90) else self.files)

    def mode(self) -> str:
        return self.rng.choice(_MODES)

    def text(self) -> str:
        return self.rng.choice(_TEXTS)

    def offset(self) -> str:
        return self.rng.choice(_OFFSETS)

    # -- one method for each operation --------------------------------------------------------

    def open(self) -> str:
        slot = str(self.rng.randrange(4))
        access = self.any("RDONLY", "RDONLY", "WRONLY", "RDWR", "RDWR", "RDWR", "PATH", "ACC3" if self.chance(10) else "RDWR")
        flags = [access]
        if self.chance(35):
            flags.append("CREAT")
        flags += [f for f in ("EXCL", "TRUNC", "APPEND", "NOFOLLOW", "DIRECTORY", "NONBLOCK") if self.chance(13)]
        if self.chance(6):
            flags.append("TMPFILE")
        if self.chance(3):
            flags.append("NOATIME")
        self.files.append(slot)
        path = self.path(magic=True, top="CREAT" in flags and "TMPFILE" not in flags)
        if "TMPFILE" in flags and self.chance(70):
            path = self.rng.choice(_DIRS)
        return f"open {slot} {self.dir()} {path} {'|'.join(flags)} {self.mode()}"

    def opendir(self) -> str:
        slot = str(4 + self.rng.randrange(3))
        self.directories.append(slot)
        path = self.rng.choice(_DIRS) if self.chance(75) else self.path(magic=True)
        flags = self.any(
            "RDONLY|DIRECTORY", "RDONLY|DIRECTORY", "PATH", "PATH|DIRECTORY", "RDONLY", "PATH|NOFOLLOW", "RDONLY|NOFOLLOW"
        )
        return f"open {slot} {self.dir()} {path} {flags} 0"

    def openat2(self) -> str:
        line = self.open().split(" ")
        flags = line[4].split("|")
        mode = line[5] if "CREAT" in flags or "TMPFILE" in flags or self.chance(5) else "0"
        resolve = self.flags("NO_SYMLINKS", "NO_MAGICLINKS", "BENEATH", "IN_ROOT", "NO_XDEV", percent=25)
        if self.chance(3):
            resolve = self.any("BAD_RESOLVE", "CACHED")
        return " ".join(["openat2", *line[1:5], mode, resolve])

    def close(self) -> str:
        return f"close {self.any(self.file(), self.directory())}"

    def dup(self) -> str:
        slot = str(self.rng.randrange(4))
        self.files.append(slot)
        return f"dup {slot} {self.file()}"

    def getfl(self) -> str:
        return f"getfl {self.file()}"

    def stat(self) -> str:
        flags = self.flags("AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH", percent=35) if self.chance(97) else "AT_BAD"
        line = f"{self.any('stat', 'stat', 'statx')} {self.at(magic=True)} {flags}"
        return line.replace(" ! ", " % ") if "EMPTY" in flags else line  # a null path depends on the kernel

    def fstat(self) -> str:
        return f"fstat {self.any(self.file(), self.directory())}"

    def statfs(self) -> str:
        return f"statfs {self.path(magic=True)}"

    def read(self) -> str:
        return self.any(f"read {self.file()} 20", f"pread {self.file()} 20 {self.offset()}", f"read {self.file()} 100000")

    def write(self) -> str:
        return self.any(f"write {self.file()} {self.text()}", f"pwrite {self.file()} {self.text()} {self.offset()}")

    def lseek(self) -> str:
        whence = self.any("SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE")
        return f"lseek {self.file()} {self.any(self.offset(), '-1')} {whence}"

    def truncate(self) -> str:
        if self.chance(50):
            return f"ftruncate {self.file()} {self.any(self.offset(), '-1')}"
        return f"truncate {self.path(magic=True)} {self.any(self.offset(), self.offset(), '-1')}"

    def fallocate(self) -> str:
        mode = self.any("0", "KEEP_SIZE", "PUNCH_HOLE|KEEP_SIZE", "PUNCH_HOLE", "ZERO")
        return f"fallocate {self.file()} {mode} {self.offset()} {self.any('4096', '100', '0', '65536')}"

    def content(self) -> str:
        return self.any(
            f"copy {self.file()} {self.offset()} {self.file()} {self.offset()} {self.offset()}",
            f"mmap {self.file()} {self.any('hello', 'xyz')}",
            f"fsync {self.any(self.file(), self.directory())}",
        )

    def mkdir(self) -> str:
        return f"mkdir {self.at(top=True)} {self.mode()}"

    def mknod(self) -> str:
        kind = self.any(
            "S_IFREG",
            "S_IFIFO",
            "S_IFSOCK",
            "0",
            "S_IFDIR" if self.chance(20) else "S_IFIFO",
            "S_IFLNK" if self.chance(20) else "0",
        )
        return f"mknod {self.at(top=True)} {kind} {self.mode()}"

    def symlink(self) -> str:
        target = self.rng.choice(_TARGETS) if self.chance(97) else self.any("%", "!")
        return f"symlink {target} {self.at(top=True)}"

    def link(self) -> str:
        flags = self.flags("AT_SYMLINK_FOLLOW", "AT_EMPTY_PATH", percent=30) if self.chance(97) else "AT_BAD"
        if "AT_EMPTY_PATH" in flags and self.chance(60):
            return f"link {self.file()} % {self.at()} {flags}"
        return f"link {self.at(magic='AT_SYMLINK_FOLLOW' in flags)} {self.at(top=True)} {flags}"

    def unlink(self) -> str:
        return self.any(
            f"unlink {self.at(top=True)} 0",
            f"unlink {self.at(top=True)} 0",
            f"unlink {self.at(top=True)} {self.any('AT_REMOVEDIR', 'AT_REMOVEDIR', 'AT_BAD')}",
            f"rmdir {self.path(top=True)}",
        )

    def rename(self) -> str:
        flags = self.any(
            "0",
            "0",
            "0",
            "NOREPLACE",
            "EXCHANGE",
            "NOREPLACE|EXCHANGE" if self.chance(20) else "EXCHANGE",
            "RENAME_BAD" if self.chance(20) else "0",
        )
        return f"rename {self.at(top=True)} {self.at(top=True)} {flags}"

    def chmod(self) -> str:
        if self.chance(30):
            return f"fchmod {self.any(self.file(), self.directory())} {self.mode()}"
        flags = self.any("0", "0", "0", "AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH", "AT_EMPTY_PATH|AT_SYMLINK_NOFOLLOW")
        return f"chmod {self.at(magic=True)} {self.mode()} {flags}"

    def chown(self) -> str:
        if self.chance(30):
            return f"fchown {self.file()} {self.any('0', '1', '2', '3')}"
        flags = self.flags("AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH", percent=35)
        return f"chown {self.at(magic=True)} {self.any('0', '1', '2', '3')} {flags}"

    def utimens(self) -> str:
        times = f"{self.any(*_TIMES, 'null')} {self.any(*_TIMES)}"
        if self.chance(30):
            return f"futimens {self.any(self.file(), self.directory())} {times}"
        return f"utimens {self.at(magic=True)} {times} {self.flags('AT_SYMLINK_NOFOLLOW', 'AT_EMPTY_PATH', percent=35)}"

    def access(self) -> str:
        flags = self.flags("AT_SYMLINK_NOFOLLOW", "AT_EMPTY_PATH", "AT_EACCESS", percent=25) if self.chance(97) else "AT_BAD"
        return f"access {self.at(magic=True)} {self.any('0', '1', '2', '4', '6', '7', '8')} {flags}"

    def readlink(self) -> str:
        return f"readlink {self.at(magic=True)} {self.any('4096', '4096', '4096', '3', '1', '0', '-1')}"

    def list(self) -> str:
        slot = self.directory()
        return self.any(
            f"list {slot} 4096",
            f"list {slot} 600",
            f"lseek {slot} 0 SEEK_SET",
            f"listold {slot} 600",
            f"listrm {slot} 300",
            f"list {slot} 24",
        )

    def cwd(self) -> str:
        path = self.rng.choice(_DIRS) if self.chance(60) else self.path(magic=True)
        return self.any(
            f"chdir {path}",
            f"fchdir {self.directory()}",
            "getcwd 0",
            "getcwd 0",
            f"getcwd {self.any('1', '8', '4096')}",
            *["deep 18"] * self.chance(10),
        )

    def umask(self) -> str:
        return f"umask {self.any('0', '022', '077', '0777', '027')}"

    def xattr(self) -> str:
        kind = self.any("p", "p", "l", "f")
        place = self.any(self.file(), self.directory()) if kind == "f" else self.path(magic=True)
        name = self.any(
            "user.a",
            "user.b",
            "user.a",
            "user.",
            "trusted.a" if self.chance(10) else "user.a",
            "odd",
            "%" if self.chance(20) else "user.b",
            "user." + "n" * 250,
            "user." + "n" * 251,
        )
        return self.any(
            f"setx {kind} {place} {name} {self.any('one', 'twelve', '%')} {self.any('0', '0', 'X_CREATE', 'X_REPLACE', '8')}",
            f"setx {kind} {place} {name} {self.any('one', 'twelve', '%')} 0",
            f"getx {kind} {place} {name} {self.any('100', '0', '2')}",
            f"listx {kind} {place} {self.any('1000', '0')}",
            f"rmx {kind} {place} {name}",
        )

    def lock(self) -> str:
        what = f"{self.any('F_RDLCK', 'F_WRLCK', 'F_UNLCK')} {self.any('0', '1', '10')} {self.any('0', '1', '5')}"
        return self.any(
            f"flock {self.file()} {self.any('LOCK_SH', 'LOCK_EX', 'LOCK_UN')}",
            f"lock {self.file()} {what}", f"olock {self.file()} {what}",
            f"locktest {self.file()} {what}", f"olocktest {self.file()} {what}",
        )  # fmt: skip

    def notify(self) -> str:
        slot = "7"
        if not self.watches or self.chance(5):
            self.watches.append(slot)
            return f"inotify {slot}"
        mask = self.any(
            "IN_ALL_EVENTS",
            "IN_ALL_EVENTS",
            "IN_ALL_EVENTS",
            "IN_MODIFY|IN_CREATE",
            "IN_MOVE|IN_MASK_ADD",
            "IN_ALL_EVENTS|IN_ONESHOT",
            "0",
            "IN_ALL_EVENTS|IN_MASK_CREATE",
            "IN_DELETE_SELF|IN_ATTRIB|IN_EXCL_UNLINK",
        )
        if self.chance(15):
            mask += self.any("|IN_ONLYDIR", "|IN_DONT_FOLLOW")
        path = self.any(".", "d", "n", self.path(magic=True), self.path(magic=True))
        return self.any(
            f"watch {slot} {path} {mask}",
            f"watch {slot} {path} {mask}",
            f"events {slot}",
            f"events {slot}",
            f"unwatch {slot} {self.any('1', '2', '9')}",
        )

    def script(self) -> Script:
        kinds: list[tuple[Callable[[], str], int]] = [
            (self.open, 16), (self.opendir, 8), (self.openat2, 5), (self.close, 2), (self.dup, 1), (self.getfl, 1),
            (self.stat, 6), (self.fstat, 3), (self.statfs, 1), (self.read, 4), (self.write, 5), (self.lseek, 2),
            (self.truncate, 3), (self.fallocate, 2), (self.content, 2), (self.mkdir, 6), (self.mknod, 3),
            (self.symlink, 6), (self.link, 6), (self.unlink, 8), (self.rename, 9), (self.chmod, 4), (self.chown, 2),
            (self.utimens, 4), (self.access, 3), (self.readlink, 3), (self.list, 4), (self.cwd, 6), (self.umask, 1),
            (self.xattr, 4), (self.lock, 3), (self.notify, 4),
        ]  # fmt: skip
        methods, weights = zip(*kinds, strict=True)
        if self.chance(25):  # scripts of one subject find what needs many of the same
            weights = tuple(weight * self.rng.choice((0, 0, 1, 5)) + 0.1 for weight in weights)
        length = self.rng.randrange(3, 25)
        lines = []
        if self.chance(80):
            self.files.append("0")
            lines.append(f"open 0 . {self.any('a', 'x', 'd/a', 'g')} RDWR|CREAT 0644")
        if self.chance(80):
            self.directories.append("4")
            lines.append(f"open 4 . {self.any('d', '.', 'n', 'l', 'd/d')} RDONLY|DIRECTORY 0")
        lines += [self.rng.choices(methods, weights)[0]() for _ in range(length)]
        if self.watches:
            lines += ["events 7"] * 2
        if self.directories:
            lines += [f"lseek {self.directories[-1]} 0 SEEK_SET", f"list {self.directories[-1]} 4096"]
        return tuple(lines)


def write_script(rng: random.Random) -> Script:
    """One script, from whatever gives random choices."""
    return _Writer(rng).script()


def draw_scripts(seed: int, count: int) -> list[Script]:
    """Scripts that hypothesis chose, the same for the same seed."""
    scripts: list[Script] = []

    @hypothesis.seed(seed)
    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(randoms(use_true_random=False))
    def collect(rng: random.Random) -> None:
        scripts.append(write_script(rng))

    collect()
    return scripts


def main(kind: str, seed: int, count: int) -> None:
    found: dict[tuple[str, str, str], list[Difference]] = {}
    with scratch("/tmp") as place:
        sides = Sides([sys.executable, str(REPO / "runner.py")], KINDS[kind], build(place / "fileops"), place)
        scripts = draw_scripts(seed, count)
        for at in range(0, len(scripts), 500):
            for difference in sides.differences(scripts[at : at + 500]):
                found.setdefault(difference.key, []).append(difference)
        for key, same in sorted(found.items(), key=lambda item: -len(item[1])):
            print(f"{len(same)} times {key}")
            print(sides.smallest(min(same, key=lambda other: len(other.script))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
