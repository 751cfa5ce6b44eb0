"""Directories for one sandbox, in memory or on disk, gone when it is, whatever ends it.

A small process of its own waits for the supervisor's death, even by SIGKILL, and removes them; and should
that process be killed as well, the next sandbox to need a directory sweeps what nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import signal

from vfs.removal import remove_below

_PREFIX = "int80-"


class Scratch:
    """Makes directories on demand; costs nothing until the first one."""

    def __init__(self) -> None:
        self._bases: dict[str, str] = {}  # place -> our directory there
        self._locks: list[int] = []
        self._held: list[int] = []
        self._janitor: tuple[int, int] | None = None  # pid, our end of its pipe
        self._count = 0

    def directory(self) -> bytes:
        """A new empty directory of mode 0700, in memory if the host has /dev/shm."""
        return self._new("/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else _temporary())

    def disk(self) -> bytes:
        """The same where much may be put: in the user's cache, else where temporary files are kept."""
        return self._new(cache_place() or _temporary())

    def hold(self, fd: int) -> None:
        """Keep a descriptor, a lock say, open until `close`."""
        self._held.append(fd)

    def _new(self, place: str) -> bytes:
        if place not in self._bases:
            self._begin(place)
        self._count += 1
        path = os.path.join(self._bases[place], str(self._count))
        os.mkdir(path, 0o700)
        return os.fsencode(path)

    def _begin(self, place: str) -> None:
        _sweep(place)
        base = os.path.join(place, f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}")
        os.mkdir(base, 0o700)
        lock = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if self._janitor is None:
            self._janitor = _start_janitor()
        os.write(self._janitor[1], os.fsencode(base) + b"\0")
        self._locks.append(lock)
        self._bases[place] = base

    def close(self) -> None:
        """Remove everything and wait for the janitor to end; let go of what is held."""
        while self._held:
            os.close(self._held.pop())
        if self._janitor is not None:
            pid, pipe = self._janitor
            os.close(pipe)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass  # the supervisor's loop, which waits for all, has had it
            for lock in self._locks:
                os.close(lock)
            self._janitor = None
            self._bases.clear()


def cache_place() -> str | None:
    """The directory for what a sandbox changes, made if need be; None where the user has no cache of their own."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    place = os.path.join(cache, "int80", "scratch")
    try:
        os.makedirs(place, 0o700, exist_ok=True)
    except OSError:
        return None
    return place if os.access(place, os.W_OK | os.X_OK) else None


def _temporary() -> str:
    return os.environ.get("TMPDIR") or "/tmp"


def _start_janitor() -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(read)
        return pid, write
    try:
        os.setsid()  # a Ctrl-C is not for it
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.closerange(0, read)
        os.closerange(read + 1, 1 << 16)
        told = b""
        while part := os.read(read, 1 << 16):  # ends when the last copy of the other end is gone
            told += part
        for _ in range(2):  # a guest that was still dying may have added to it
            for base in told.split(b"\0"):
                if base:
                    remove(base)
    finally:
        os._exit(0)


def _sweep(place: str) -> None:
    """Remove what a killed supervisor and a killed janitor left: a directory of ours without its lock."""
    for name in os.listdir(place):
        path = os.path.join(place, name)
        owner = name.removeprefix(_PREFIX).partition("-")[0]
        if not name.startswith(_PREFIX) or not owner.isdigit() or os.path.exists(f"/proc/{owner}"):
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
        except OSError:
            pass  # somebody lives there
        finally:
            os.close(fd)


def remove(path: str | bytes) -> None:
    """Remove a tree, also one whose directories the guest has made unreadable; what is not there is no error."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        remove_below(fd)
        os.rmdir(path)
    except OSError:
        pass  # changed meanwhile: the next round, or the next sandbox, sees to it
    finally:
        os.close(fd)
