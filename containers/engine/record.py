"""The containers that a person keeps, each a directory (`containers.oci.state`) below $XDG_DATA_HOME/int80/containers.

    ID/state.json       what it was made of and what became of it; only who has the container's lock writes it
    ID/name             what it is called, which may change while it runs; written under the lock of the whole store
    ID/log              what it has written, a line of JSON for each line
    ID/upper, work, journal     its changes
    ID/control, attach  its monitor's sockets
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from containers.oci import control
from containers.oci.state import Container, ContainerError, NotThere, Registry
from containers.status import CannotRun

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{1,64}")
_LIVE = ("running", "paused", "restarting")
_KILLED = 137  # of a container whose monitor was killed: the kernel has sent SIGKILL to all of it
_LOST = "its monitor was killed, and so was all of it"
SHORT = 12  # characters of an id that people are shown


def now() -> str:
    """The time as RFC 3339 has it, in UTC with nanoseconds."""
    stamp = time.time_ns()
    return f"{datetime.fromtimestamp(stamp // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{stamp % 10**9:09d}Z"


class Record:
    """One container; `data` is what its record said when it was last read."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.id = container.id

    @property
    def data(self) -> dict:
        return self.container.record

    @property
    def short(self) -> str:
        return self.id[:SHORT]

    @property
    def name(self) -> str:
        try:
            with open(self.container.path("name"), encoding="utf-8") as file:
                return file.read() or self.short
        except OSError:
            return self.short  # whoever made it was killed before it had one

    @property
    def log(self) -> str:
        return self.container.path("log")

    def status(self) -> str:
        """created, running, paused, restarting or exited."""
        if not self.container.lives():
            try:
                self.container.read()
            except ContainerError:
                pass  # it is being removed
            if self.data["status"] in _LIVE:
                self.data.update(status="exited", exit_code=_KILLED, error=_LOST, finished=self.data["finished"] or now())
        return self.data["status"]

    def is_live(self) -> bool:
        return self.status() in _LIVE

    def lock(self) -> None:
        """Take the container for this process, until `close`.  `CannotRun` where its monitor, or another command, has it."""
        while True:
            try:
                fcntl.flock(self.container.directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            try:
                # Who only asks whether it lives holds a shared lock for a moment, and is not in our way.
                fcntl.flock(self.container.directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.flock(self.container.directory, fcntl.LOCK_UN)
            except BlockingIOError:
                raise CannotRun(f"{self.name}: in use; another command or its monitor has it") from None
        if self.container.has_monitor():
            fcntl.flock(self.container.directory, fcntl.LOCK_UN)
            raise CannotRun(f"{self.name}: in use; its monitor has it")
        try:
            self.container.read()
        except NotThere:
            raise CannotRun(f"{self.id[:SHORT]}: it has just been removed") from None
        self.container.locked = True

    def unlock(self) -> None:
        self.container.locked = False
        fcntl.flock(self.container.directory, fcntl.LOCK_UN)

    def settle(self) -> None:
        """Have the record say what is true where its monitor was killed."""
        if self.container.record["status"] in _LIVE and not self.container.lives():
            try:
                self.lock()
            except CannotRun:
                return
            try:
                if self.container.record["status"] in _LIVE:
                    self.container.write(status="exited", pid=0, exit_code=_KILLED, error=_LOST, finished=now())
            finally:
                self.unlock()

    def close(self) -> None:
        self.container.close()


def check_name(name: str) -> None:
    """`CannotRun` where a container cannot be called that."""
    if not _NAME.fullmatch(name) or _ID.fullmatch(name):
        shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
        raise CannotRun(f"{shown}: no name; give letters, digits, `_`, `.` and `-`, a letter or digit first, 128 at most")


def default_place() -> str:
    base = os.environ.get("XDG_DATA_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.local/share"), "int80/containers")


class Store:
    """The containers of this user."""

    def __init__(self) -> None:
        self.registry = Registry(default_place())

    @contextmanager
    def _names(self) -> Iterator[None]:
        """Have names stay as they are for a while."""
        directory = os.open(self.registry.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def create(self, name: str | None, data: dict) -> Record:
        """A new container, locked, of a name of its own choice where none is given.  `CannotRun`."""
        if name is not None:
            check_name(name)
        try:
            os.makedirs(self.registry.root, 0o700, exist_ok=True)
            with self._names():
                taken = {record.name: record.short for record in self._every()}
                if name in taken:
                    raise CannotRun(
                        f"--name {name}: container {taken[name]} has that name; `int80 rm {name}` removes it, or choose another"
                    )
                record = Record(self.registry.claim(os.urandom(32).hex(), data))
                _write(record.container.path("name"), name or _new_name(taken))
                return record
        except ContainerError as problem:
            raise CannotRun(str(problem)) from None
        except OSError as problem:
            raise CannotRun(
                f"{self.registry.root}: {problem.strerror.lower()}; set XDG_DATA_HOME to keep containers elsewhere"
            ) from None

    def rename(self, record: Record, name: str) -> None:
        """Call a container something else.  `CannotRun`."""
        check_name(name)
        with self._names():
            if any(other.name == name and other.id != record.id for other in self._every()):
                raise CannotRun(f"{name}: another container has that name")
            _write(record.container.path("name"), name)

    def _every(self) -> Iterator[Record]:
        """All containers, each open until the next one is asked for."""
        try:
            names = os.listdir(self.registry.root)
        except FileNotFoundError:
            return
        for name in names:
            if not _ID.fullmatch(name):
                continue
            try:
                record = Record(self.registry.find(name))
            except ContainerError:
                continue
            try:
                yield record
            finally:
                record.close()

    def all(self) -> list[Record]:
        """Every container, the newest first, after those are gone that nobody is to find any more."""
        found = []
        for opened in self._every():
            try:
                record = Record(self.registry.find(opened.id))
            except ContainerError:
                continue
            if self._is_forgotten(record):
                self.remove(record)
            else:
                record.settle()
                found.append(record)
        return sorted(found, key=lambda record: record.data["created"], reverse=True)

    @staticmethod
    def _is_forgotten(record: Record) -> bool:
        """Whether it was to be removed at its end, which has come, and its monitor was killed before it could."""
        return record.data["auto_remove"] and not record.container.lives()

    def find(self, word: str) -> Record:
        """The container with an id, a name, or the beginning of an id that no other has.  `CannotRun`."""
        found = self.lookup(word)
        if found is None:
            shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in word)
            raise CannotRun(f"{shown}: container does not exist; `int80 ps -a` lists those there are")
        found.settle()
        return found

    def lookup(self, word: str) -> Record | None:
        """As `find`; None where there is none."""
        names = []
        if _ID.fullmatch(word):
            names = [word]
        else:
            begun = []
            for record in self._every():
                if record.name == word:
                    names = [record.id]
                    break
                if _PREFIX.fullmatch(word) and record.id.startswith(word):
                    begun.append(record.id)
            names = names or begun
        if len(names) > 1:
            raise CannotRun(f"{word}: {len(names)} containers have an id that begins so; give more of it")
        try:
            return Record(self.registry.find(names[0])) if names else None
        except NotThere:
            return None
        except ContainerError as problem:
            raise CannotRun(str(problem)) from None

    def remove(self, record: Record, force: bool = False) -> None:
        """Forget a container and its files.  `CannotRun` where it runs, unless `force`."""
        if record.is_live():
            if not force:
                raise CannotRun(f"{record.name}: it is {record.status()}; stop it first, or remove it with --force")
            control.end(record.container)
        control.wait(record.container)
        try:
            record.lock()
        except CannotRun:
            if os.path.lexists(os.path.join(self.registry.root, record.id)):
                raise
            return  # another command, or its monitor, was quicker
        self.registry.withdraw(record.container)
        let_image_go(record)


def _write(path: str, text: str) -> None:
    draft = f"{path}~"
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(draft, path)


def _new_name(taken) -> str:
    from containers.tries import ideas

    return next(name for name in ideas("container") if name not in taken)


def let_image_go(record: Record) -> None:
    """A container is gone: its image may be removed."""
    if record.data["digest"] is not None:
        from containers.images.store import Store as Images

        Images().let_go(record.id)
