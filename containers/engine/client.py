"""What a command says to a container's monitor, and starting one."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable

from containers.engine.record import Record
from containers.oci import control
from containers.status import CannotRun

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    from containers.sandbox import Settings

_PACKET = 1 << 16


class Link:
    """A connection to the monitor of a container.  `CannotRun` where there is none, as the container is not running."""

    def __init__(self, record: Record) -> None:
        self._record = record
        try:
            self._connection = control.Connection(record.container)
        except control.Gone:
            raise self._gone() from None
        self.socket = self._connection.socket

    def _gone(self) -> CannotRun:
        return CannotRun(f"{self._record.name}: it is {self._record.status()}, not running")

    def send(self, request: dict, descriptors: tuple[int, ...] = (), document: dict | None = None) -> None:
        """Make a request; a document of any length comes in a file in memory, the last of the descriptors."""
        held: tuple[int, ...] = ()
        try:
            if document is not None:
                held = (os.memfd_create("request"),)
                with open(held[0], "wb", closefd=False) as file:
                    file.write(json.dumps(document).encode())
            socket.send_fds(self.socket, [json.dumps(request).encode()], descriptors + held)
        except OSError:
            raise self._gone() from None
        finally:
            for fd in held:
                os.close(fd)

    def receive(self) -> dict:
        """The next answer.  `CannotRun` for a refusal, and where the monitor ends without one."""
        answer = self._connection.receive()
        if answer is None:
            raise self._gone()
        if "error" in answer:
            raise CannotRun(answer["error"], answer.get("status", 125))
        return answer

    def ask(self, request: dict, descriptors: tuple[int, ...] = (), document: dict | None = None) -> dict:
        self.send(request, descriptors, document)
        return self.receive()

    def exit_code(self) -> int:
        """The answer to `wait` or `stop`: how the container has ended, which its record says if the monitor was killed."""
        answer = self._connection.receive()
        if answer is not None and "error" in answer:
            raise CannotRun(answer["error"], answer.get("status", 125))
        if answer is not None:
            return answer["exit_code"]
        control.wait(self._record.container)
        self._record.settle()
        return self._record.data["exit_code"]

    def ended(self) -> int:
        """The wait status of a process that the monitor has launched."""
        answer = self._connection.receive()
        return answer["ended"] if answer is not None else signal.SIGKILL

    def close(self) -> None:
        self._connection.close()


def ask(record: Record, request: dict) -> dict:
    """Make one request.  `CannotRun`."""
    link = Link(record)
    try:
        return link.ask(request)
    finally:
        link.close()


class Start:
    """A monitor that has prepared a container, which is to run when `go` is called.  `CannotRun`.

    `record` is locked; the lock is the monitor's from now on.
    """

    def __init__(self, record: Record, settings: Settings, make: Callable[[], Settings]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            from containers.engine.monitor import become

            ours.close()
            become(record, settings, make, theirs)
        theirs.close()
        record.container.locked = False
        directory = os.open(record.container.path("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        record.close()
        record.container.directory = directory  # without the lock
        self._channel = ours
        self._hear("prepared")

    def _hear(self, wanted: str) -> None:
        try:
            data = self._channel.recv(_PACKET)
        except ConnectionError:
            data = b""
        answer = json.loads(data) if data else {"error": "the container's monitor was killed", "status": 125}
        if wanted not in answer:
            raise CannotRun(answer["error"], answer["status"])

    def go(self) -> None:
        """Let the container run.  `CannotRun`."""
        try:
            self._channel.send(b"go")
        except OSError:
            pass  # why, it has said
        self._hear("started")
        self._channel.close()
