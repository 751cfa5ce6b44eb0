"""Scripts of calls by several users, made by chance: what each may do, and whose things are, must be as natively.

Natively root turns into those users.  Inside there are only beliefs, over a root that an ordinary user owns, or root,
as it is or under a layer.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="the comparison needs root")
_HOST_USER = 12345
_USERS = (0, 3, 1000, 1001, 1010, _HOST_USER)
_GROUPS = (0, 50, 60, 1000, 1001)
_CAPS = (0, 0, 0, 0, 0, 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 1 | 1 << 3)
_MODES = (
    0o777, 0o777, 0o775, 0o755, 0o000, 0o111, 0o200, 0o400, 0o555, 0o600, 0o640, 0o644, 0o666, 0o700, 0o750, 0o755, 0o770,
    0o777, 0o070, 0o007,
)  # fmt: skip
_SPECIAL = (0o1777, 0o2775, 0o2755, 0o4755, 0o6711, 0o2644, 0o1755, 0o2770)


class _Script:
    """Lines for one run of the program."""

    def __init__(self, seed: int, length: int) -> None:
        self._random = random.Random(seed)
        self.lines = [f"0 0 mkdir d{index} - 777" for index in range(3)]
        self.lines += ["0 0 chmod d0 - 1777", "0 0 chmod d2 - 2777", "0 0 chown d2 - 0 62"]
        for _ in range(length // 25):
            self.lines += [f"0 0 chmod d{self._random.choice('012')} - {self._random.choice((0o777, 0o1777, 0o2775, 0o755)):o}"]
            self.lines += [self._line() for _ in range(25)]

    def _path(self) -> str:
        pick = self._random.choice
        names = [pick(("d0", "d1", "d2"))] + [pick("abc") for _ in range(pick((0, 1, 1, 1, 1, 1, 2, 2, 3)))]
        path = "/".join(names)
        return pick((path,) * 8 + (path + "/", path + "/.", path + "/..", "./" + path))

    def _mode(self) -> int:
        return self._random.choice(_MODES + _MODES + _SPECIAL)

    def _line(self) -> str:
        pick, path = self._random.choice, self._path
        user = pick(_USERS)
        operation = pick(_OPERATIONS)
        match operation:
            case "open":
                flags = pick((0o0, 0o1, 0o2, 0o1000, 0o101, 0o301, 0o102, 0o101, 0o302, 0o1101, 0o1000000, 0o200000, 0o10000000))
                rest = f"{path()} {flags:o} {self._mode():o}"
            case "mkdir" | "mkfifo" | "chmod":
                rest = f"{path()} - {self._mode():o}"
            case "symlink":
                rest = f"{path()} {pick(('a', 'b', '../d1/a', '../d0'))}"
            case "link":
                rest = f"{path()} {path()}"
            case "rename":
                rest = f"{path()} {path()} {pick((0, 0, 0, 1, 2))}"
            case "chown" | "lchown":
                ids = [0o37777777777, pick(_USERS)], [0o37777777777, pick(_GROUPS)]
                rest = f"{path()} - {pick(ids[0]):o} {pick(ids[1]):o}"
            case "access" | "eaccess":
                rest = f"{path()} - {pick(range(8)):o}"
            case "truncate":
                rest = f"{path()} - 10"
            case _:
                rest = path()
        return f"{user} {pick(_CAPS):x} {operation} {rest}"


_OPERATIONS = (
    *["open"] * 8, *["mkdir"] * 3, *["chmod"] * 4, *["rename"] * 3, "chown", "chown", "unlink", "unlink", "rmdir", "mkfifo",
    "symlink", "link", "link", "lchown", "access", "access", "eaccess", "chdir", "readlink", "truncate", "touch", "settime",
    "setxattr", "getxattr", "rmxattr", "exec", "stat", "stat",
)  # fmt: skip


def _run(command: list, script: _Script, **options) -> list[str]:
    text = "\n".join([*script.lines, "--", ""])
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def _compare(script: _Script, native: list[str], inside: list[str]) -> None:
    for number, (theirs, ours) in enumerate(zip(native, inside, strict=False)):
        if theirs != ours:
            asked = script.lines[number] if number < len(script.lines) else "the tree at the end"
            before = "\n".join(f"  {line} = {got}" for line, got in zip(script.lines[:number], native, strict=False))
            pytest.fail(f"{before}\n{asked}: {ours} inside, {theirs} natively")
    assert len(native) == len(inside)


@pytest.fixture
def place():
    """A directory that anybody may reach."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def _sides(int80, program: Path, place: Path, kind: str, script: _Script) -> None:
    (place / "native").mkdir()
    native = _run([program], script, cwd=place / "native")
    root = place / "root"
    for name in ("bin", "work"):
        (root / name).mkdir(parents=True)
    shutil.copy(program, root / "bin/users")
    prefix = []
    options = ["--rootfs", str(root)]
    if "layer" in kind:
        (place / "upper").mkdir()
        options = ["--lower", str(root), "--upper", str(place / "upper")]
    if "user" in kind:
        prefix = ["setpriv", f"--reuid={_HOST_USER}", f"--regid={_HOST_USER}", "--clear-groups"]
        for path in (place, *place.glob("*"), *root.rglob("*")):
            os.chown(path, _HOST_USER, _HOST_USER)
    environment = os.environ | {"HOME": str(place), "XDG_CACHE_HOME": str(place / "cache"), "TMPDIR": str(place)}
    inside = _run([*prefix, *int80, "run", *options, "-w", "/work", "--", "/bin/users"], script, env=environment)
    _compare(script, native, inside)


@pytest.mark.parametrize("kind", ["root", "user", "root layer", "user layer"])
@pytest.mark.parametrize("seed", range(2))
def test_users_may_do_what_they_may_natively(int80, guest, place, kind, seed):
    _sides(int80, guest("users"), place, kind, _Script(seed, 400))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["root", "user", "root layer", "user layer"])
@pytest.mark.parametrize("seed", (*range(100, 125, 3), 113))
def test_users_may_do_what_they_may_natively_at_length(int80, guest, place, kind, seed):
    _sides(int80, guest("users"), place, kind, _Script(seed, 1500))
