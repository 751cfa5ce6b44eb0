"""A supervisor that dies at any moment leaves layers that open again, with each file old or new.

Fast: the process "dies" at its N-th change of a file system, for every N, in the middle of one guest call after the other.
Slow: the real supervisor is killed by SIGKILL, hundreds of times, while a guest changes what it can.
"""

from __future__ import annotations

import glob
import os
import random
import shutil
import signal
import stat
import subprocess
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TRIES, pids_with
from fakes import AT_FDCWD
from runtimes import eventually
from test_layers import CREAT, EXCHANGE, TRUNC, Entry, LayeredGuest, Layers, host_tree

from vfs import kernel
from vfs.journal import Journal
from vfs.layers import LayerFs

# -- dying at the N-th change -----------------------------------------------------------------------

CHANGING = (
    "mkdir", "rename", "unlink", "rmdir", "link", "symlink", "mknod", "utime", "chmod", "setxattr", "removexattr", "ftruncate",
    "truncate", "copy_file_range", "sendfile", "write",
)  # fmt: skip
CHANGING_KERNEL = ["fchmod", "renameat2", "linkat", "utimensat", "fchownat"]


class Killed(BaseException):
    """The process is gone."""


class Deadline:
    """Counts the changes that this process makes; at the last one it is dead, and makes no more."""

    def __init__(self, monkeypatch) -> None:
        self.left: int | None = None  # None: nobody counts
        for module, names in ((os, CHANGING), (kernel, CHANGING_KERNEL)):
            for name in names:
                monkeypatch.setattr(module, name, self._counted(getattr(module, name)))
        monkeypatch.setattr(os, "open", self._opening(os.open, lambda _path, flags, *_: flags))
        monkeypatch.setattr(kernel, "openat2", self._opening(kernel.openat2, lambda _fd, _path, how: how[0]))

    def _counted(self, real: Callable) -> Callable:
        def call(*args, **more):
            self._count(lambda: real is write and real(args[0], args[1][: len(args[1]) // 2]))
            return real(*args, **more)

        write = os.write
        return call

    def _opening(self, real: Callable, flags: Callable) -> Callable:
        def call(*args, **more):
            if flags(*args) & (os.O_CREAT | os.O_TRUNC):
                self._count(lambda: None)
            return real(*args, **more)

        return call

    def _count(self, last_breath: Callable) -> None:
        if self.left is None:
            return
        if self.left == 0:
            self.left = -1
            last_breath()  # a write may be half done
        if self.left < 0:
            raise Killed
        self.left -= 1


@pytest.fixture
def deadline(monkeypatch) -> Deadline:
    return Deadline(monkeypatch)


def filled(place: Path) -> Layers:
    """A bottom and a middle layer with something of everything."""
    layers = Layers(place, 2)
    os.setxattr(layers.give("d/file", "old" * 1000), "user.x", b"1")
    layers.give("d/gone/inner", "x")
    layers.give("d/both", "0")
    layers.give("d/both", "1", layer=1)
    layers.give("e/other", "e")
    layers.give("e/linked", "l")
    os.link(layers.lowers[0] / "e/linked", layers.lowers[0] / "d/linked")
    layers.give("empty/hidden")
    layers.give("empty/.wh.hidden", layer=1)
    (layers.lowers[0] / "d/symlink").symlink_to("file")
    os.mkfifo(layers.lowers[0] / "d/pipe")
    layers.age()
    return layers


def chmod_all(guest: LayeredGuest) -> None:
    for path in (b"/d/both", b"/e/other", b"/empty"):
        guest.do("chmod", path, 0o700)


def whiteouts(guest: LayeredGuest) -> None:
    guest.do("unlink", b"/d/gone/inner")
    guest.do("rmdir", b"/d/gone")
    guest.do("unlink", b"/d/both")


def opaque(guest: LayeredGuest) -> None:
    guest.do("rmdir", b"/empty")
    guest.do("mkdir", b"/empty", 0o755)


def shared(guest: LayeredGuest) -> None:
    guest.write(b"/e/linked", b"L", flags=0)


# One change of a guest's, after what came before it.
STEPS: dict[str, tuple[Callable | None, Callable]] = {
    "copy": (None, lambda guest: guest.open(b"/d/file", os.O_RDWR)),
    "empty": (None, lambda guest: guest.open(b"/d/file", os.O_WRONLY | TRUNC)),
    "chmod": (None, lambda guest: guest.do("chmod", b"/d/file", 0o600)),
    "set-id": (None, lambda guest: guest.do("chmod", b"/d/file", 0o4755)),
    "chown": (None, lambda guest: guest.do("lchown", b"/d/symlink", 3, 4)),
    "chmod pipe": (None, lambda guest: guest.do("chmod", b"/d/pipe", 0o600)),
    "chmod directory": (None, lambda guest: guest.do("chmod", b"/d/gone", 0o700)),
    "xattr": (None, lambda guest: guest.do("setxattr", b"/d/file", b"user.y", bytearray(b"2"), 1, 0)),
    "create": (None, lambda guest: guest.open(b"/d/new", CREAT | os.O_WRONLY, 0o644)),
    "create again": (whiteouts, lambda guest: guest.open(b"/d/both", CREAT | os.O_WRONLY, 0o644)),
    "mkdir": (None, lambda guest: guest.do("mkdir", b"/d/new", 0o755)),
    "mkdir again": (whiteouts, lambda guest: guest.do("mkdir", b"/d/gone", 0o755)),
    "symlink": (whiteouts, lambda guest: guest.do("symlink", b"x", b"/d/gone")),
    "mknod": (None, lambda guest: guest.do("mknod", b"/d/new", stat.S_IFIFO | 0o644, 0)),
    "link": (None, lambda guest: guest.do("link", b"/d/file", b"/e/new")),
    "link shared": (shared, lambda guest: guest.do("link", b"/d/linked", b"/e/new")),
    "copy shared": (shared, lambda guest: guest.open(b"/d/linked", os.O_RDWR)),
    "copy linked": (None, lambda guest: guest.do("chmod", b"/d/linked", 0o600)),
    "unlink": (None, lambda guest: guest.do("unlink", b"/d/file")),
    "unlink copied": (chmod_all, lambda guest: guest.do("unlink", b"/d/both")),
    "unlink linked": (None, lambda guest: guest.do("unlink", b"/d/linked")),
    "unlink shared": (shared, lambda guest: guest.do("unlink", b"/e/linked")),
    "rmdir": (None, lambda guest: guest.do("rmdir", b"/empty")),
    "rmdir copied": (chmod_all, lambda guest: guest.do("rmdir", b"/empty")),
    "rmdir marked": (
        lambda guest: [whiteouts(guest), guest.do("mkdir", b"/d/gone", 0o755)],
        lambda guest: guest.do("rmdir", b"/d/gone"),
    ),
    "rename": (None, lambda guest: guest.do("rename", b"/d/file", b"/e/new")),
    "rename over": (None, lambda guest: guest.do("rename", b"/d/file", b"/e/other")),
    "rename over new": (chmod_all, lambda guest: guest.do("rename", b"/d/both", b"/e/other")),
    "rename to whiteout": (whiteouts, lambda guest: guest.do("rename", b"/d/file", b"/d/both")),
    "rename linked": (None, lambda guest: guest.do("rename", b"/d/linked", b"/e/new")),
    "rename directory": (None, lambda guest: guest.do("rename", b"/d", b"/moved")),
    "rename directory over": (None, lambda guest: guest.do("rename", b"/d", b"/empty")),
    "rename over marked": (opaque, lambda guest: guest.do("rename", b"/d/gone", b"/empty")),
    "exchange": (None, lambda guest: guest.do("renameat2", AT_FDCWD, b"/d/file", AT_FDCWD, b"/e/other", EXCHANGE)),
    "exchange directories": (None, lambda guest: guest.do("renameat2", AT_FDCWD, b"/d", AT_FDCWD, b"/empty", EXCHANGE)),
    "exchange kinds": (chmod_all, lambda guest: guest.do("renameat2", AT_FDCWD, b"/d/gone", AT_FDCWD, b"/e/other", EXCHANGE)),
}  # fmt: skip


# What comes last, or first, on its own: times of what is written next, and how many names a file has.
LOOSE = {"empty": "modified", "unlink linked": "links", "unlink shared": "links", "link shared": "links"}


def seen(guest: LayeredGuest, name: str) -> dict[bytes, Entry]:
    """All that is there but the times of directories, which may tell of a change that did not come about."""
    loose = {LOOSE[name]: 0} if name in LOOSE else {}
    return {
        path: entry._replace(modified=0) if stat.S_ISDIR(entry.mode) else entry._replace(**loose)
        for path, entry in guest.everything().items()
    }


def dies(step: Callable, guest: LayeredGuest, deadline: Deadline, number: int | None) -> bool:
    """Whether a process that takes a step is killed at its change `number`; all that it held goes with it."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            deadline.left = number
            step(guest)
            status = 0
        except Killed:
            status = 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1), f"the step ends with {status}"
    return status == 1


def state(place: Path, name: str, deadline: Deadline, number: int | None, run: bool = True) -> tuple[dict, bool]:
    """What is there, in layers opened anew, after a step that dies at its change `number`; and whether it died."""
    layers = filled(place)
    lowers = [host_tree(lower) for lower in layers.lowers]
    prepare, step = STEPS[name]
    with LayeredGuest(layers) as guest:
        if prepare is not None:
            prepare(guest)
        died = run and dies(step, guest, deadline, number)
        guest.reopen()
        found = seen(guest, name)
        assert set(os.listdir(layers.work)) <= {"index", ".int80-owners"}
    assert [host_tree(lower) for lower in layers.lowers] == lowers
    shutil.rmtree(place)
    return found, died


LONG = ("directory", "directories", "over", "marked", "exchange", "linked", "kinds")
def parameters() -> list:
    marks = {name: [pytest.mark.slow] for name in STEPS if name.endswith(LONG)}
    return [pytest.param(name, marks=marks.get(name, ())) for name in STEPS]


@pytest.mark.parametrize("name", parameters())
def test_dying_at_any_point_of_a_call_leaves_all_as_before_or_after(tmp_path, deadline, name):
    before, _ = state(tmp_path / "before", name, deadline, None, run=False)
    after, _ = state(tmp_path / "after", name, deadline, None)
    died = True
    number = 0
    while died:
        now, died = state(tmp_path / str(number), name, deadline, number)
        assert now in (before, after), differences(number, now, before, after)
        number += 1
    assert now == after
    assert number > 1


def differences(number: int, now: dict, before: dict, after: dict) -> str:
    """What is neither old nor new."""
    paths = sorted({*now, *before, *after})
    odd = [path for path in paths if now.get(path) not in (before.get(path), after.get(path))]
    lines = [f"{path}: {now.get(path)}, neither {before.get(path)} nor {after.get(path)}" for path in odd]
    return "\n".join([f"at change {number}", *lines]) if odd else f"at change {number}: partly old and partly new"


# -- the real supervisor killed ---------------------------------------------------------------------

LARGE = 300_000
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "int80/scratch"


def left_behind() -> set[str]:
    """The temporary directories of sandboxes."""
    return {*glob.glob("/dev/shm/int80-*"), *glob.glob(f"{CACHE}/int80-*")}


class Churned(Layers):
    """Layers laid out as `int80 run --lower LOWER --upper UPPER` has them, for the churn program to change."""

    def __init__(self, place: Path, churn: Path) -> None:
        super().__init__(place)
        self.upper = place / "kept"
        self.work = self.upper / ".wh..wh.int80/work"
        self.journal = self.upper / ".wh..wh.int80/journal"
        self.upper.mkdir()
        for index, name in enumerate(f"{directory}{letter}" for directory in ("", "d/", "d/e/") for letter in "abcfgh"):
            letter = chr(ord("a") + index)
            self.give(name, letter * (LARGE if index % 2 else 4096))
        os.link(self.lowers[0] / "a", self.lowers[0] / "d/d")
        os.link(self.lowers[0] / "b", self.lowers[0] / "d/e/e")
        self.give_directory("tmp", mode=0o1777)
        shutil.copy(churn, self._below("bin/churn", 0))
        self.age()

    def fs(self, hidden=()) -> LayerFs:
        self.close()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._fds = [os.open(path, flags) for path in (*self.lowers, self.upper, self.work)]
        lower, upper, work = self._fds
        journal = Journal(os.fsencode(self.journal))
        self._fds.append(journal.fd)
        return LayerFs([lower], upper, work, journal)

    def command(self, int80: list[str], seed: int) -> list[str]:
        options = ["--lower", str(self.lowers[0]), "--upper", str(self.upper)]
        return [*int80, "run", *options, "--", "/bin/churn", str(seed)]


def half_done(tree: dict[bytes, Entry]) -> list[bytes]:
    """Files that no version of the program's ever was: not of one letter, or of another length."""
    return [
        path
        for path, entry in tree.items()
        if stat.S_ISREG(entry.mode) and path not in (b"bin/churn", b"tmp/new")
        and (entry.size not in (4096, LARGE) or entry.content.strip(entry.content[:1]))
    ]  # fmt: skip


@pytest.mark.slow
def test_a_supervisor_killed_hundreds_of_times_leaves_layers_that_open_and_whole_files(int80, guest, tmp_path):
    dice = random.Random(80)
    before = left_behind()
    changed = 0
    for round_ in range(5 * TRIES):
        layers = Churned(tmp_path / str(round_), guest("churn"))
        lower = host_tree(layers.lowers[0])
        marker = uuid.uuid4().hex
        for _ in range(20):
            command = [*layers.command(int80, dice.randrange(1 << 30)), marker]
            child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(dice.uniform(0.1, 0.4))
            assert child.poll() is None, child.stderr.read().decode()
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stderr.close()
            eventually(lambda marker=marker: not pids_with(marker))
            if not os.path.exists(layers.work):
                continue  # it had not begun
            with LayeredGuest(layers) as opened:
                tree = opened.everything()
                inodes = opened.inodes()
                assert half_done(tree) == []
                opened.reopen()
                assert (opened.everything(), opened.inodes()) == (tree, inodes)
            changed += len(layers.stored()) > 5
        assert host_tree(layers.lowers[0]) == lower
    assert changed > 10 * TRIES  # else it was killed too early to say anything
    eventually(lambda: left_behind() <= before)


# -- apply killed -----------------------------------------------------------------------------------

NAMES = [f"{directory}{number}" for directory in ("", "d/", "e/f/") for number in range(8)]


def contents(home: Path) -> dict[str, str]:
    return {str(path.relative_to(home)): path.read_text() for path in home.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_an_apply_killed_at_any_moment_leaves_files_old_or_new_and_can_be_made_again(int80, tmp_path, monkeypatch):
    dice = random.Random(80)
    killed = 0
    for round_ in range(8 * TRIES):
        place = tmp_path / str(round_)
        home = place / "home"
        for name in NAMES:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("old" * 20_000)
        old = contents(home)
        monkeypatch.setenv("XDG_DATA_HOME", str(place / "data"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        script = (
            f"cd {home} && for name in 0 1 d/2 d/3 e/f/4; do yes new | head -c 100000 >$name; done; rm 5 d/6; "
            "mv e/f/7 moved; mkdir new; for name in $(seq 400); do echo new >new/$name; done; rm -r e/f/0 e/f/1; chmod 700 d/0"
        )
        made = subprocess.run(
            [*int80, "try", "-n", "t", "--", "/bin/sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout
        upper = place / "data/int80/tries/t/upper" / home.relative_to("/")
        new = contents(upper)
        command = [*int80, "apply", "-y", "t", str(home)]
        for _ in range(8):
            child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            try:
                child.wait(dice.uniform(0.04, 0.15))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                killed += 1
            for name, text in contents(home).items():
                if not Path(name).name.startswith("."):
                    assert text in (old.get(name), new.get(name)), name
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        gone = {"5", "d/6", "e/f/7", "e/f/0", "e/f/1"}
        assert contents(home) == {name: text for name, text in old.items() if name not in gone} | {
            name: text for name, text in new.items() if not Path(name).name.startswith(".wh.")
        }
        assert stat.S_IMODE((home / "d/0").stat().st_mode) == 0o700
        shutil.rmtree(place)
    assert killed > 6 * TRIES
