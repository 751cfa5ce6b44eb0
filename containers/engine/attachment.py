"""A person at a container: their streams to and from its own, until it ends or they type the keys to leave it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import tty
from collections.abc import Callable
from enum import Enum

from containers.engine.record import Record
from containers.engine.streams import ATTACH, ERR, IN, IN_ENDED, OUT, PACKET, SIZE
from containers.status import CannotRun
from tracer.loop import FORWARDED, signalfd
from tracer.terminal import stop

DETACH_KEYS = "ctrl-p,ctrl-q"
_READ = 1 << 14
_OWN = frozenset((signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH))
_LEAVING = frozenset((signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT))


class Left(Enum):
    """How it came to its end."""

    ENDED = "the container has written all it will"
    KEYS = "the keys were typed"
    DEAF = "nobody reads what it writes"


def detach_keys(text: str) -> bytes:
    """The bytes of keys as docker names them: characters and ``ctrl-X``, with commas between.  `CannotRun`."""
    keys = bytearray()
    for part in text.split(",") if text else ():
        name = part.lower().removeprefix("ctrl-")
        if len(part) == 1 and part.isascii():
            keys += part.encode()
        elif name != part.lower() and len(name) == 1 and (name.isascii() and (name.isalpha() or name in "@[\\]^_")):
            keys.append(ord(name.upper()) & 0x1F)
        else:
            raise CannotRun(f"--detach-keys {text}: give characters and ctrl-LETTER, with commas between, as in {DETACH_KEYS}")
    return bytes(keys)


class Attachment:
    """Connected from the beginning; `run` copies.

    `wants_input` hands the standard input on; `proxy(signal)` is given the signals sent to this command where the container
    has no terminal.
    """

    def __init__(self, record: Record, wants_input: bool, keys: bytes, proxy: Callable[[int], None] | None) -> None:
        self._terminal = record.data["tty"]
        self._keys = keys
        self._proxy = proxy if not self._terminal else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(record.container.path(ATTACH))
        except OSError:
            self._socket.close()
            raise CannotRun(f"{record.name}: it is {record.status()}, not running") from None
        self._socket.setblocking(False)
        self._input = wants_input
        self._raw = wants_input and self._terminal and os.isatty(0)
        self._saved = None  # the modes of the terminal, while it is in raw mode
        self._waiting: list[bytes] = []
        self._matched = 0  # how many of the keys have been typed

    def run(self) -> Left:
        signals = signalfd(set(FORWARDED))
        self._enter_raw()
        self._resize()
        try:
            while True:
                left = self._step(signals)
                if left is not None:
                    return left
        finally:
            self._leave_raw()
            self._socket.close()
            os.close(signals)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED | {signal.SIGTTOU})

    def _step(self, signals: int) -> Left | None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._waiting else 0))
        poll.register(signals, select.POLLIN)
        if self._input and not self._waiting:
            poll.register(0, select.POLLIN)
        events = dict(poll.poll())
        if signals in events:
            left = self._signalled(int.from_bytes(os.read(signals, 128)[:4], "little"))
            if left is not None:
                return left
        if events.get(self._socket.fileno(), 0) & ~select.POLLOUT:
            left = self._receive()
            if left is not None:
                return left
        if 0 in events and self._read():
            return Left.KEYS
        self._send()
        return None

    # -- from the container -------------------------------------------------------------------

    def _receive(self) -> Left | None:
        try:
            packet = self._socket.recv(PACKET)
        except BlockingIOError:
            return None
        except OSError:
            packet = b""
        if not packet:
            return Left.ENDED
        stream = {OUT: 1, ERR: 2}.get(packet[:1])
        if stream is not None and not write_all(stream, packet[1:]):
            return Left.DEAF
        return None

    # -- to the container ---------------------------------------------------------------------

    def _read(self) -> bool:
        """Take what is typed; whether the keys are complete."""
        try:
            data = os.read(0, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._input = False
            self._waiting.append(IN_ENDED)
            return False
        if self._raw and self._keys:
            data, left = self._without_keys(data)
            if left:
                return True
        if data:
            self._waiting.append(IN + data)
        return False

    def _without_keys(self, data: bytes) -> tuple[bytes, bool]:
        """What is typed but the keys, whose beginning is kept back; whether they are complete."""
        given = bytearray()
        for byte in data:
            if byte != self._keys[self._matched] and self._matched:
                given += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(given), True
            else:
                given.append(byte)
        return bytes(given), False

    def _send(self) -> None:
        while self._waiting:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()  # its end is read next
                return
            del self._waiting[0]

    # -- signals and the terminal -------------------------------------------------------------

    def _signalled(self, number: int) -> Left | None:
        match number:
            case signal.SIGWINCH:
                self._resize()
            case signal.SIGCONT:
                self._enter_raw()
                self._resize()
            case signal.SIGTSTP:
                self._leave_raw()
                stop(signal.SIGTSTP)
                self._enter_raw()
            case _ if self._proxy is not None:
                self._proxy(number)
            case _ if number in _LEAVING:
                return Left.KEYS
        return None

    def _enter_raw(self) -> None:
        if self._raw and self._saved is None:
            with contextlib.suppress(OSError, termios.error):
                if os.tcgetpgrp(0) == os.getpgrp():
                    self._saved = termios.tcgetattr(0)
                    tty.setraw(0, termios.TCSADRAIN)

    def _leave_raw(self) -> None:
        saved, self._saved = self._saved, None
        if saved is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, saved)

    def _resize(self) -> None:
        """Give the container's terminal the size of this one."""
        if not self._terminal:
            return
        for fd in (0, 1, 2):
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
                if struct.unpack("<HHHH", size)[:2] != (0, 0):
                    self._waiting.append(SIZE + size)
                    self._send()
                return


def write_all(fd: int, data: bytes) -> bool:
    """Write to a stream that may be blocking or not; whether anybody takes it."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select((), (fd,), ())
        except OSError:
            return False
    return True
