"""How a command talks to a container's monitor: requests and answers in JSON over a SOCK_SEQPACKET socket.

Descriptors come with a request (SCM_RIGHTS). What may be longer than a packet is in a file in memory among them, the last.
An answer with `error` is a refusal; its text is for a person, and for the engines that look for runc's words.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time

from containers.oci.state import Container, ContainerError, Over
from vfs import kernel

_NAME = "control"
_PACKET = 1 << 16
_DESCRIPTORS = 250  # fewer than SCM_MAX_FD
_BACKLOG = 128
_PATIENCE = 10  # seconds that a monitor has to answer before a SIGKILL is sent to itself


class Gone(Exception):
    """There is no monitor to talk to."""


class Connection:
    """A command's side."""

    def __init__(self, container: Container) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self.socket.connect(container.path(_NAME))
        except OSError:
            self.socket.close()
            raise Gone from None

    def ask(self, request: dict, descriptors: tuple[int, ...] = (), document: bytes | None = None) -> dict:
        """Make a request; the answer.  `ContainerError` for a refusal, `Gone`."""
        held: tuple[int, ...] = ()
        try:
            if document is not None:
                held = (_in_memory(document),)
            socket.send_fds(self.socket, [json.dumps(request).encode()], descriptors + held)
        except OSError:
            raise Gone from None
        finally:
            for fd in held:
                os.close(fd)
        answer = self.receive()
        if answer is None:
            raise Gone
        if "error" in answer:
            raise (Over if answer.get("over") else ContainerError)(answer["error"])
        return answer

    def tell(self, request: dict) -> None:
        """Make a request that has no answer."""
        with contextlib.suppress(OSError):
            self.socket.send(json.dumps(request).encode())

    def receive(self) -> dict | None:
        """The next message; None at the monitor's end."""
        try:
            data = self.socket.recv(_PACKET)
        except ConnectionError:
            return None
        return json.loads(data) if data else None

    def close(self) -> None:
        self.socket.close()


def ask(container: Container, request: dict) -> dict:
    """Make one request of a container's monitor.  `ContainerError`, `Gone`."""
    connection = Connection(container)
    try:
        return connection.ask(request)
    finally:
        connection.close()


def end(container: Container) -> None:
    """SIGKILL for a container, in whatever state, also where its monitor does not answer; back once it is dead."""
    try:
        connection = Connection(container)
        try:
            connection.socket.settimeout(_PATIENCE)
            connection.ask({"do": "kill", "signal": int(signal.SIGKILL)})
        finally:
            connection.close()
    except (Gone, ContainerError, TimeoutError):
        _kill_monitor(container)
    wait(container)


def _kill_monitor(container: Container) -> None:
    """The kernel ends the guests of a tracer that is gone (PTRACE_O_EXITKILL)."""
    if not container.pid:
        return
    try:
        handle = kernel.pidfd_open(container.pid)
    except OSError:
        return  # it is dead
    try:
        if container.lives():  # so the number is still the monitor's, and was when it was looked up
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def wait(container: Container, seconds: float = _PATIENCE) -> bool:
    """Wait until a container's monitor is dead; whether it is."""
    until = time.monotonic() + seconds
    pause = 0.001
    while container.lives():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


class Control:
    """The monitor's side: `handle(peer, request, descriptors)` is called with each request, and owns the descriptors.

    `gone(peer)` is called when one hangs up.
    """

    def __init__(self, loop, container: Container, handle, gone) -> None:
        self._loop = loop
        self._handle = handle
        self._gone = gone
        self._peers: dict[int, Peer] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.bind(container.path(_NAME))
        self._socket.listen(_BACKLOG)
        loop.watch(self._socket.fileno(), self._accept)

    def _accept(self, events: int) -> None:
        try:
            connected, _ = self._socket.accept()
        except OSError:
            return  # it has hung up already, or there is no descriptor for it: it is told by the end
        connected.setblocking(False)
        peer = Peer(connected)
        self._peers[connected.fileno()] = peer
        self._loop.watch(connected.fileno(), lambda events: self._receive(peer))

    def _receive(self, peer: Peer) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(peer.socket, _PACKET, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if data:
            self._handle(peer, json.loads(data), descriptors)
        else:
            self.drop(peer)
            self._gone(peer)

    def drop(self, peer: Peer) -> None:
        """Hang up on a command."""
        fd = peer.socket.fileno()
        if self._peers.pop(fd, None) is not None:
            self._loop.unwatch(fd)
            peer.socket.close()

    def close(self) -> None:
        for peer in list(self._peers.values()):
            self.drop(peer)
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()


class Peer:
    """A command that is connected."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def send(self, answer: dict) -> None:
        """Answer; who does not read is not waited for."""
        with contextlib.suppress(OSError):
            self.socket.send(json.dumps(answer).encode())


def document(descriptor: int) -> dict:
    """What the file in memory holds that came with a request."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return json.load(file)


def _in_memory(data: bytes) -> int:
    fd = os.memfd_create("request")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd
