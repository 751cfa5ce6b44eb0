"""The containers of a user: a directory each, which says what they are and whether they live.

    ROOT/ID/state.json    what the container is; only its monitor writes it once there is one
    ROOT/ID/control       the unix socket at which the monitor takes requests
    ROOT/ID/alive         a file with a lock that the monitor has for as long as it lives

A record may be old, and a pid may be another process's by now, but where that lock is free the monitor is dead, and the
container stopped. It is one of fcntl(2)'s: those belong to one process, not to what it forks, so they end when it does.
Until the monitor has it `create` has an flock(2) on the directory, taken before anybody else can see that.

A directory appears, and goes, by one rename(2); under way it has a name that no container can have (``~...``), and what a
killed command has left there goes with the next command.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import struct
import time
from datetime import UTC, datetime

from vfs.removal import remove_below

VERSION = "1.2.0"  # of the runtime-spec that records are written by

_ID = re.compile(r"[\w+,.-]+", re.ASCII)
_UNDER_WAY = "~"
_TRIES, _A_MOMENT = 100, 0.01  # seconds
_RECORD = "state.json"
_ALIVE = "alive"
_LOCK = struct.Struct("hhqqi4x")  # struct flock
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ContainerError(Exception):
    """A command that a container's state does not allow, in the words that engines look for; one line."""


class Over(ContainerError):
    """A failure with which the container has come to its end, too."""


class NotThere(ContainerError):
    """No such container."""

    def __init__(self) -> None:
        super().__init__("container does not exist")


def default_root() -> str:
    """Where the containers of this user are: /run/int80, $XDG_RUNTIME_DIR/int80, or a private directory in /tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0 and not (runtime and _in_user_namespace()):
        return "/run/int80"
    if os.path.isabs(runtime) and os.access(runtime, os.W_OK | os.X_OK):
        return os.path.join(runtime, "int80")
    return f"/tmp/int80-user-{os.geteuid()}"


def _in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.read().split() != [b"0", b"0", b"4294967295"]
    except OSError:
        return False


def check_id(name: str) -> None:
    """`ContainerError` for what runc does not take as a container's id either."""
    if not name:
        raise ContainerError("container id cannot be empty")
    if not _ID.fullmatch(name) or name in (".", ".."):
        raise ContainerError("invalid container ID format")


class Registry:
    """The containers below one directory."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def _prepare(self) -> None:
        """Have the directory, of this user and nobody else's to write.  `ContainerError`."""
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            status = os.stat(self.root)
        except OSError as problem:
            raise ContainerError(f"{self.root}: {problem.strerror.lower()}; give another with --root DIR") from None
        if status.st_uid not in (os.geteuid(), 0) or (status.st_mode & 0o002 and not status.st_mode & stat.S_ISVTX):
            raise ContainerError(f"{self.root}: others can change it; give another with --root DIR")
        self._sweep()

    def claim(self, name: str, record: dict) -> Container:
        """A new container with its lock taken.  `ContainerError` where the id is in use, or none."""
        check_id(name)
        self._prepare()
        place = os.path.join(self.root, name)
        if os.path.lexists(place):
            raise _in_use()
        while True:
            under_way = os.path.join(self.root, f"{_UNDER_WAY}{os.urandom(8).hex()}")
            try:
                os.mkdir(under_way, 0o700)
                lock = os.open(under_way, _DIRECTORY)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except FileNotFoundError:
                continue  # a sweep was quicker than the lock
            except OSError as problem:
                raise ContainerError(f"{self.root}: {problem.strerror.lower()}") from None
            container = Container(name, lock, dict(record, id=name))
            container.locked = True
            try:
                os.close(os.open(container.path(_ALIVE), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                container.write()
                os.rename(under_way, place)
                return container
            except FileNotFoundError:
                container.close()
            except OSError as problem:
                remove_below(lock)
                os.rmdir(under_way)
                container.close()
                if problem.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise _in_use() from None
                raise ContainerError(f"container {name}: {problem.strerror.lower()}") from None

    def find(self, name: str, damaged: bool = False) -> Container:
        """The container with an id, with what its record says now; `damaged`: also where that cannot be read.

        `NotThere`, `ContainerError`.
        """
        check_id(name)
        try:
            directory = os.open(os.path.join(self.root, name), _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise NotThere from None
        except OSError as problem:
            raise ContainerError(f"container {name}: {problem.strerror.lower()}") from None
        container = Container(name, directory, {})
        try:
            container.read()
        except ContainerError as problem:
            if not damaged or isinstance(problem, NotThere):
                container.close()
                raise
            container.record = new_record("", "", {}, {}, "")
        return container

    def all(self) -> list[Container]:
        """Every container, by id; those that go meanwhile are left out.  `ContainerError`."""
        try:
            names = sorted(os.listdir(self.root))
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise ContainerError(f"{self.root}: {problem.strerror.lower()}") from None
        found = []
        for name in names:
            if not name.startswith(_UNDER_WAY):
                try:
                    found.append(self.find(name))
                except ContainerError:
                    continue
        return found

    def remove(self, container: Container) -> None:
        """Forget a container that is stopped; of several who try one does.  `NotThere`, `ContainerError`."""
        place = os.path.join(self.root, container.id)
        gone = os.path.join(self.root, f"{_UNDER_WAY}{os.urandom(8).hex()}")
        try:
            registry = os.open(self.root, _DIRECTORY)
            try:
                fcntl.flock(registry, fcntl.LOCK_EX)  # so that what is looked at is what is renamed
                if not os.path.samestat(os.fstat(container.directory), os.stat(place)):
                    raise NotThere
                if container.lives():
                    raise ContainerError(f"cannot delete container {container.id} that is not stopped: {container.status()}")
                os.rename(place, gone)
            finally:
                os.close(registry)
        except FileNotFoundError:
            raise NotThere from None
        except OSError as problem:
            raise ContainerError(f"container {container.id}: {problem.strerror.lower()}") from None
        _remove(gone, container.directory)

    def withdraw(self, container: Container) -> None:
        """Forget a container that this process has the lock of."""
        gone = os.path.join(self.root, f"{_UNDER_WAY}{os.urandom(8).hex()}")
        try:
            os.rename(os.path.join(self.root, container.id), gone)
        except OSError:
            return
        _remove(gone, container.directory)

    def _sweep(self) -> None:
        """Remove what commands that were killed have left under way."""
        for name in os.listdir(self.root):
            if not name.startswith(_UNDER_WAY):
                continue
            path = os.path.join(self.root, name)
            try:
                directory = os.open(path, _DIRECTORY)
            except OSError:
                continue
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path, directory)
            except BlockingIOError:
                pass  # somebody is at it
            finally:
                os.close(directory)


def _remove(path: str, directory: int) -> None:
    """Remove a directory that nobody looks for any more, though a sweep may be at it too, or a monitor about to end."""
    for _ in range(_TRIES):
        try:
            remove_below(directory)
            os.rmdir(path)
        except FileNotFoundError:
            if os.path.lexists(path):
                continue
        except OSError as problem:
            if problem.errno == errno.ENOTEMPTY:
                time.sleep(_A_MOMENT)
                continue
        return  # where it cannot be removed, the next sweep may be luckier


class Container:
    """One container as its directory tells; `directory` is a descriptor of that, `record` what state.json holds.

    Paths in the directory go through the descriptor: they stay short, as a socket's must be, and lead to this container
    also when another has its id by now.
    """

    def __init__(self, name: str, directory: int, record: dict) -> None:
        self.id = name
        self.directory = directory
        self.record = record
        self.locked = False  # whether this process has one of the locks
        self._alive = -1

    def path(self, name: str) -> str:
        return f"/proc/self/fd/{self.directory}/{name}"

    def close(self) -> None:
        """Let go of the directory, and of the lock if this process has it and gave it to nobody."""
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1

    # -- whether it lives ---------------------------------------------------------------------

    def lives(self) -> bool:
        """Whether its monitor does, or the command that is about to make it."""
        if self.locked or self.has_monitor():
            return True
        try:
            fcntl.flock(self.directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.directory, fcntl.LOCK_UN)
        return False

    def has_monitor(self) -> bool:
        """Whether another process is its monitor."""
        try:
            alive = os.open(self.path(_ALIVE), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return _LOCK.unpack(fcntl.fcntl(alive, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK
        finally:
            os.close(alive)

    def live(self) -> None:
        """Take the lock as the container's monitor, a fork of the command that has claimed the container."""
        directory = os.open(self.path("."), _DIRECTORY)
        self._alive = os.open(self.path(_ALIVE), os.O_WRONLY | os.O_CLOEXEC)  # never to be closed: the lock would go
        fcntl.lockf(self._alive, fcntl.LOCK_EX)
        os.close(self.directory)  # only now: there is no moment without a lock
        self.directory = directory

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        return self.record["status"] if self.lives() else "stopped"

    @property
    def pid(self) -> int:
        """The monitor, which stands for the container outside; 0 before there is one."""
        return self.record["pid"]

    # -- the record ---------------------------------------------------------------------------

    def read(self) -> None:
        """Take up what the record says now.  `NotThere`, `ContainerError`."""
        try:
            with open(self.path(_RECORD), "rb") as file:
                self.record = json.load(file)
        except FileNotFoundError:
            raise NotThere from None  # it is being deleted
        except (OSError, ValueError) as problem:
            raise ContainerError(f"container {self.id}: its state cannot be read: {problem}; delete it with --force") from None

    def write(self, **changes) -> None:
        """Change the record, in one step for whoever reads it.  Only who has the lock may."""
        self.record.update(changes)
        draft = self.path(f".{_RECORD}")
        with open(draft, "w") as file:
            json.dump(self.record, file)
        os.rename(draft, self.path(_RECORD))

    def state(self, status: str | None = None) -> dict:
        """The state as the runtime-spec has it, which hooks are given; `status` instead of what is found."""
        status = self.status() if status is None else status
        state = {
            "ociVersion": VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.record["bundle"],
        }
        if self.record["annotations"]:
            state["annotations"] = self.record["annotations"]
        return state


def new_record(bundle: str, rootfs: str, annotations: dict[str, str], hooks: dict[str, list], owner: str) -> dict:
    """What a container's record begins with; `hooks` are those that other commands run, by phase."""
    return {
        "status": "creating",
        "pid": 0,
        "bundle": bundle,
        "rootfs": rootfs,
        "annotations": annotations,
        "hooks": hooks,
        "groups": [],  # control groups that were made for it
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "owner": owner,
    }


def _in_use() -> ContainerError:
    return ContainerError("container with given ID already exists")
