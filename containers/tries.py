"""The store of tries: what ``int80 try`` keeps under ``$XDG_DATA_HOME/int80/tries``, one directory for each.

A try's directory holds ``upper`` (the layer), ``work`` (temporary files, anybody's who holds the lock), ``journal``
(what the host had when the guest first changed it) and ``meta.json``.  The lock is flock(2) on the directory itself:
it ends with its holder, whatever ends that, and needs no file that could be left behind.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from contextlib import contextmanager
from pathlib import Path

from containers.status import CannotRun

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_NEW, _GONE = ".new-", ".gone-"
_FIRST = "amber brave calm dusty early fresh gentle happy idle jolly keen lucky mild noble plain quick rare sunny tidy"
_SECOND = "acorn birch cedar daisy elm fern grove heath iris jade kelp lime maple nettle oak pine quince rose sage"


class Try:
    """One try, by name; it may be gone by the next moment unless its lock is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._lock: int | None = None

    @property
    def upper(self) -> Path:
        return self.path / "upper"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    def meta(self) -> dict:
        """What meta.json says: name, created, argv, root, version, status.  `CannotRun` where it cannot be read."""
        try:
            with open(self.path / "meta.json", encoding="utf-8") as file:
                meta = json.load(file)
            if not isinstance(meta, dict) or not isinstance(meta.get("root"), str):
                raise ValueError
            return meta
        except FileNotFoundError:
            raise _no_try(self.name) from None
        except OSError as problem:
            raise CannotRun(f"{self.path}/meta.json: {problem.strerror.lower()}") from None
        except ValueError:
            raise CannotRun(f"{self.path}/meta.json: damaged; `int80 discard {self.name}` removes the try") from None

    def update(self, **values: object) -> None:
        """Change fields of meta.json, all at once or not at all; for who holds the lock."""
        _write_meta(self.path, self.meta() | values)

    def lock(self) -> None:
        """Take the try for this process alone, until `unlock`.  `CannotRun` where another has it, or it is gone."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            raise _no_try(self.name) from None
        try:
            _flock(fd)
            if not os.path.samestat(os.fstat(fd), os.lstat(self.path)):
                raise FileNotFoundError
        except BlockingIOError:
            os.close(fd)
            raise CannotRun(f"{self.name}: in use by another int80; wait for it to end") from None
        except FileNotFoundError:
            os.close(fd)
            raise _no_try(self.name) from None  # discarded between the open and the lock
        self._lock = fd

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def locked(self):
        """`lock` for a while."""
        self.lock()
        try:
            yield self
        finally:
            self.unlock()

    def in_use(self) -> bool:
        """Whether somebody holds the lock just now."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def discard(self) -> None:
        """Remove it and everything in it.  `CannotRun` where it is in use, or something cannot be removed."""
        with self.locked():
            gone = self.path.with_name(f"{_GONE}{os.getpid()}-{self.name}")
            os.rename(self.path, gone)
            _remove_or_say(gone)


def directory() -> Path:
    """Where tries are kept; it need not be there."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".local/share") / "int80/tries"


def create(name: str | None, argv: list[str], root: str = "/") -> Try:
    """A new empty try, under a name of its own choice where none is given.  `CannotRun`."""
    from abi import __version__

    if name is not None:
        check_name(name)
    try:
        place = directory()
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(place)
        building = place / f"{_NEW}{os.getpid()}"
        building.mkdir(mode=0o700)
        for part in ("upper", "work"):
            (building / part).mkdir(mode=0o700)
        (building / "journal").touch(mode=0o600)
        created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        meta = {"created": created, "argv": argv, "root": root, "version": __version__, "status": None}
        return _settle(building, name, meta)
    except OSError as problem:
        reason = problem.strerror.lower()
        raise CannotRun(f"{directory()}: {reason}; set XDG_DATA_HOME to keep tries elsewhere") from None


def _settle(building: Path, name: str | None, meta: dict) -> Try:
    """Move a try that is complete to its name.  `CannotRun` where the name is taken."""
    for candidate in [name] if name is not None else ideas():
        _write_meta(building, {"name": candidate} | meta)
        path = building.with_name(candidate)
        try:
            os.rename(building, path)
            return Try(path)
        except OSError as problem:
            if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    remove(building)
    raise CannotRun(f"{name}: there is a try of that name; choose another, or `int80 discard {name}` first")


def begin(name: str | None, argv: list[str], root: str = "/") -> Try:
    """The try to run in, locked: the one of that name, run on once more, or a new one.  `CannotRun`."""
    if name is not None:
        check_name(name)
        if (directory() / name).exists():
            attempt = Try(directory() / name)
            attempt.lock()
            try:
                attempt.update(argv=argv, status=None)
            except BaseException:
                attempt.unlock()
                raise
            return attempt
    attempt = create(name, argv, root)
    attempt.lock()
    return attempt


def find(name: str, more: str = "") -> Try:
    """The try of that name.  `CannotRun` where there is none, with `more` at the end of what it says."""
    check_name(name)
    path = directory() / name
    if not path.is_dir():
        raise CannotRun(f"{_no_try(name)}{more}")
    return Try(path)


def every() -> list[Try]:
    """All tries, the oldest first."""
    try:
        names = [name for name in os.listdir(directory()) if _NAME.fullmatch(name)]
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise CannotRun(f"{directory()}: {problem.strerror.lower()}") from None
    tries = [Try(directory() / name) for name in names if (directory() / name / "meta.json").is_file()]
    return sorted(tries, key=lambda one: (_created(one), one.name))


def _created(one: Try) -> str:
    try:
        return str(one.meta().get("created", ""))
    except CannotRun:
        return ""


def check_name(name: str) -> None:
    """`CannotRun` where a try cannot be called that."""
    if not _NAME.fullmatch(name):
        rule = "up to 64 letters, digits, `.`, `_`, `-`, no dot first"
        raise CannotRun(f"{_printable(name)}: no name for a try; use {rule}")


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name) or "''"


def _no_try(name: str) -> CannotRun:
    return CannotRun(f"{name}: there is no such try; `int80 try --list` shows those there are")


def ideas(kind: str = "try"):
    """Names that are easy to say, in an order that differs from run to run; then numbers of the kind."""
    import random

    pairs = [f"{one}-{other}" for one in _FIRST.split() for other in _SECOND.split()]
    random.shuffle(pairs)
    yield from pairs
    yield from (f"{kind}-{number}" for number in range(1, 1 << 30))


def _flock(fd: int) -> None:
    """LOCK_EX without waiting, tried twice: `Try.in_use` holds a lock for a moment."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.02)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_meta(path: Path, meta: dict) -> None:
    temporary = path / f"work/meta-{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(meta, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path / "meta.json")
    except OSError as problem:
        raise CannotRun(f"{path}/meta.json: {problem.strerror.lower()}") from None


def _sweep(place: Path) -> None:
    """Remove what a killed int80 left half made or half discarded."""
    for name in os.listdir(place):
        owner = name.removeprefix(_NEW).removeprefix(_GONE).partition("-")[0]
        if name.startswith((_NEW, _GONE)) and not (owner.isdigit() and _lives(int(owner))):
            remove(place / name)


def _lives(pid: int) -> bool:
    return pid != os.getpid() and os.path.exists(f"/proc/{pid}")


def _remove_or_say(path: Path) -> None:
    try:
        remove(path)
    except OSError as problem:
        raise CannotRun(f"{path}: cannot be removed whole: {problem.strerror.lower()}") from None


def remove(path: Path) -> None:
    """Remove a tree of any depth, also one whose directories the guest has made unreadable.  OSError.

    Directories are moved up next to the first one before they are emptied, so no path and no recursion grows
    with a tree that was made deep to be in the way.
    """
    top = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pending = [path.name]
        count = 0
        while pending:
            name = pending.pop()
            os.chmod(name, 0o700, dir_fd=top)
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            try:
                for inner in os.listdir(fd):
                    if not stat.S_ISDIR(os.stat(inner, dir_fd=fd, follow_symlinks=False).st_mode):
                        os.unlink(inner, dir_fd=fd)
                        continue
                    os.chmod(inner, 0o700, dir_fd=fd)  # a directory that moves must be writable itself
                    count += 1
                    moved = f"{_GONE}{os.getpid()}-{path.name}-{count}"
                    os.rename(inner, moved, src_dir_fd=fd, dst_dir_fd=top)
                    pending.append(moved)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
