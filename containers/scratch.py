"""Directories in memory for one sandbox, gone when it is, whatever ends it.

A small process of its own waits for the supervisor's death, even by SIGKILL, and removes them; and should
that process be killed as well, the next sandbox to need a directory sweeps what nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import signal

_PREFIX = "int80-"


class Scratch:
    """Makes directories on demand; costs nothing until the first one."""

    def __init__(self) -> None:
        self._base: str | None = None
        self._lock: int | None = None
        self._janitor: tuple[int, int] | None = None  # pid, our end of its pipe
        self._count = 0

    def directory(self) -> bytes:
        """A new empty directory of mode 0700."""
        if self._base is None:
            self._begin()
        self._count += 1
        path = os.path.join(self._base, str(self._count))
        os.mkdir(path, 0o700)
        return os.fsencode(path)

    def _begin(self) -> None:
        import tempfile

        place = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else tempfile.gettempdir()
        _sweep(place)
        self._base = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place)
        self._lock = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._janitor = _janitor(self._base)

    def close(self) -> None:
        """Remove everything and wait for the janitor to end."""
        if self._janitor is not None:
            pid, pipe = self._janitor
            os.close(pipe)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass  # the supervisor's loop, which waits for all, has had it
            os.close(self._lock)
            self._base = self._janitor = None


def _janitor(base: str) -> tuple[int, int]:
    import shutil  # noqa: F401 - before the fork: the janitor must not read files any more

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
        os.read(read, 1)  # returns when the last copy of the other end is gone
        for _ in range(2):  # a guest that was still dying may have added to it
            _remove(base)
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
                _remove(path)
        except OSError:
            pass  # somebody lives there
        finally:
            os.close(fd)


def _remove(path: str) -> None:
    """Remove a tree, also one whose directories the guest has made unreadable."""
    import shutil

    for directory, names, _ in os.walk(path):
        for name in names:
            inner = os.path.join(directory, name)
            if not os.path.islink(inner):
                try:
                    os.chmod(inner, 0o700)
                except OSError:
                    continue
    shutil.rmtree(path, ignore_errors=True)
