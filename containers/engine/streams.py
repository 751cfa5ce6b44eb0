"""A container's standard streams, and the small process beside its monitor that looks after them.

What a container writes goes through pipes, or a terminal, to the *attendant*, which writes it to the log and to whoever is
attached, and takes from them what is to be read. So no data passes through the monitor, which has its guests to serve, and
output that is there when the monitor is killed still comes into the log. Packets between the attendant and somebody attached
begin with a byte that says what follows.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import termios
from fcntl import ioctl

from containers.engine.record import now

OUT, ERR = b"1", b"2"  # what the container has written
IN, IN_ENDED, SIZE = b"0", b"e", b"w"  # what it is to read, that there is no more, and a struct winsize for its terminal
ATTACH = "attach"
PACKET = 1 << 16
_RECORD = 1 << 14  # bytes of one line of the log, as docker has it; longer ones are several
_BEHIND = 1 << 18  # bytes somebody attached may be behind before the container waits
_MOST = 32  # attendants for one container: who kills so many wants none
_NAMES = {OUT: "stdout", ERR: "stderr"}


class Streams:
    """The far ends and the near ends: `inner` are the guest's three streams, or None where `tty` is its terminal.

    `open_input` says whether there is anything to read; else it is /dev/null. `once` has the input end with that of the first
    who is attached.
    """

    def __init__(self, terminal: bool, open_input: bool, once: bool) -> None:
        self.tty: int | None = None
        self.inner: tuple[int, int, int] | None = None
        self.once = once
        self.input: int | None = None
        if terminal:
            master, self.tty = os.openpty()
            os.set_blocking(master, False)
            self.sources = {master: OUT}
            self.input = master if open_input else None
            self.modes = termios.tcgetattr(self.tty)
            return
        if open_input:
            stdin, self.input = os.pipe()
            os.set_blocking(self.input, False)
        else:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        out, out_inner = os.pipe()
        err, err_inner = os.pipe()
        self.inner = (stdin, out_inner, err_inner)
        self.sources = {out: OUT, err: ERR}

    def renew(self) -> None:
        """Have a terminal as it was in the beginning, for another run."""
        if self.tty is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.tty, termios.TCSANOW, self.modes)


class Keeper:
    """The monitor's side of the attendant: `drained()` is called when all that a run has written is in the log."""

    def __init__(self, loop, container, streams: Streams, drained) -> None:
        self._loop = loop
        self._streams = streams
        self._drained = drained
        self._log = container.path("log")
        path = container.path(ATTACH)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._listener.bind(path)
        self._listener.listen(16)
        self._waits = False
        self._left = _MOST
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        pid = os.fork()
        if pid == 0:
            _attend(self._streams, self._listener, theirs, log)
        theirs.close()
        os.close(log)
        ours.setblocking(False)
        self._channel = ours
        self._loop.watch(ours.fileno(), self._heard)
        if self._streams.tty is None and self._streams.input is not None:
            os.close(self._streams.input)  # the attendant's alone, so that it can end
            self._streams.input = None

    def _heard(self, events: int) -> None:
        try:
            told = self._channel.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            told = b""
        if not told:  # somebody has killed it: another takes its place
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            self._left -= 1
            if self._left:
                self._start()
            if self._waits:
                self.over()
        elif self._waits:
            self._waits = False
            self._drained()

    def _tell(self, message: dict) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(json.dumps(message).encode())

    def say(self, message: str) -> None:
        """Have a message of int80's own among what the container writes."""
        self._tell({"say": f"int80: {message}\n"[:4096]})

    def over(self) -> None:
        """A run has ended."""
        self._waits = bool(self._left)
        if self._waits:
            self._tell({"over": True})
        else:
            self._drained()

    def close(self) -> None:
        """The container has ended: so does the attendant, once those attached have got everything."""
        if self._left:
            self._loop.unwatch(self._channel.fileno())
            self._tell({"last": True})
            self._channel.close()
        self._listener.close()


def _attend(streams: Streams, listener: socket.socket, channel: socket.socket, log: int):
    """The attendant, a fork of the monitor; never returns."""
    try:
        gc.freeze()  # what the monitor has made is not to be closed here, where its numbers are another's
        gc.disable()
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        keep = {*streams.sources, listener.fileno(), channel.fileno(), log}
        if streams.input is not None:
            keep.add(streams.input)
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        _Attendant(streams, listener, channel, log).run()
    finally:
        os._exit(0)


class _Client:
    """Somebody attached: the packets that wait for it."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.waiting: list[bytes] = []
        self.behind = 0

    def give(self, packet: bytes) -> None:
        self.waiting.append(packet)
        self.behind += len(packet)

    def send(self) -> bool:
        """Send what can be sent; whether it is still there."""
        while self.waiting:
            try:
                self.socket.send(self.waiting[0])
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.behind -= len(self.waiting.pop(0))
        return True


class _Attendant:
    def __init__(self, streams: Streams, listener: socket.socket, channel: socket.socket, log: int) -> None:
        self._sources = dict(streams.sources)
        self._is_terminal = streams.tty is not None
        self._master = next(iter(streams.sources)) if self._is_terminal else -1
        self._input = streams.input
        self._once = streams.once
        self._listener: socket.socket | None = listener
        self._channel: socket.socket | None = channel
        self._log = log
        self._partial = {stream: bytearray() for stream in self._sources.values()}
        self._clients: dict[int, _Client] = {}
        self._unread = bytearray()  # input that the container has not taken
        self._input_ends = False
        for fd in self._sources:
            os.set_blocking(fd, False)

    def run(self) -> None:
        while self._sources or any(client.waiting for client in self._clients.values()):
            for fd, events in self._poll():
                if fd in self._sources:
                    self._read(fd)
                elif self._listener is not None and fd == self._listener.fileno():
                    self._accept()
                elif self._channel is not None and fd == self._channel.fileno():
                    self._hear()
                elif fd in self._clients:
                    self._serve(fd, events)
            self._feed()

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        late = any(client.behind > _BEHIND for client in self._clients.values())
        for fd in () if late else self._sources:
            poll.register(fd, select.POLLIN)
        for client in self._clients.values():
            wanted = select.POLLIN if len(self._unread) < PACKET else 0
            poll.register(client.socket, wanted | (select.POLLOUT if client.waiting else 0))
        if self._unread and self._input is not None:
            poll.register(self._input, select.POLLOUT | (select.POLLIN if self._input in self._sources and not late else 0))
        for one in (self._listener, self._channel):
            if one is not None:
                poll.register(one, select.POLLIN)
        return poll.poll()

    # -- what the container writes ------------------------------------------------------------

    def _read(self, fd: int) -> bool:
        """Take up to a packet of what was written; whether there may be more."""
        try:
            data = os.read(fd, PACKET - 1)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # of a terminal that nobody has any more
        stream = self._sources[fd]
        if not data:
            del self._sources[fd]
            self._end_line(stream)
            return False
        self._take(stream, data)
        return True

    def _take(self, stream: bytes, data: bytes) -> None:
        for client in list(self._clients.values()):
            client.give(stream + data)
            if not client.send():
                self._drop(client)
        held = self._partial[stream]
        held += data
        whole = held.rfind(b"\n") + 1
        lines = [line + b"\n" for line in bytes(held[:whole]).split(b"\n")[:-1]]
        rest = bytes(held[whole:])
        while len(rest) >= _RECORD:
            lines.append(rest[:_RECORD])
            rest = rest[_RECORD:]
        self._partial[stream] = bytearray(rest)
        self._write(stream, lines)

    def _end_line(self, stream: bytes) -> None:
        """Nothing follows what was written last, though it is no whole line."""
        held, self._partial[stream] = self._partial[stream], bytearray()
        self._write(stream, [bytes(held)] if held else [])

    def _write(self, stream: bytes, lines: list[bytes]) -> None:
        if not lines:
            return
        end = f'","stream":"{_NAMES[stream]}","time":"{now()}"}}\n'
        text = "".join([f'{{"log":{json.dumps(line.decode("utf-8", "replace"))[:-1]}{end}' for line in lines]).encode()
        view = memoryview(text)
        with contextlib.suppress(OSError):  # a full disk: the container goes on
            while view:
                view = view[os.write(self._log, view) :]

    # -- the monitor --------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            data = self._channel.recv(PACKET)
        except OSError:
            data = b""
        message = json.loads(data) if data else {"last": True}
        if "say" in message:
            self._take(ERR if ERR in self._partial else OUT, message["say"].encode(errors="replace"))
        if "over" in message or "last" in message:
            for fd in list(self._sources):
                while self._read(fd):  # all who could write are gone
                    pass
        if "over" in message:
            for stream in self._partial:
                self._end_line(stream)
            self._channel.send(b"drained")
        if "last" in message:
            self._channel.close()
            self._listener.close()
            self._channel = self._listener = None
            if self._is_terminal:
                self._sources.clear()  # its end is seen only when everything is read, which it is

    # -- those attached -----------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connected, _ = self._listener.accept()
            connected.setblocking(False)
            self._clients[connected.fileno()] = _Client(connected)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.socket.fileno(), None) is not None:
            client.socket.close()

    def _serve(self, fd: int, events: int) -> None:
        client = self._clients[fd]
        if not client.send():
            self._drop(client)
            return
        if not events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            return
        try:
            packet = client.socket.recv(PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        match packet[:1]:
            case b"":
                self._drop(client)
            case b"0":
                self._unread += packet[1:] if self._input is not None else b""
            case b"e":
                if self._is_terminal and self._input is not None:
                    self._unread += b"\x04"
                self._input_ends = self._once and not self._is_terminal
            case b"w" if self._is_terminal:
                with contextlib.suppress(OSError):
                    ioctl(self._master, termios.TIOCSWINSZ, packet[1:9].ljust(8, b"\0"))

    def _feed(self) -> None:
        """Have the container get what it is to read."""
        if self._input is None:
            return
        try:
            if self._unread:
                del self._unread[: os.write(self._input, self._unread)]
        except BlockingIOError:
            return
        except OSError:
            self._unread.clear()  # nobody is there to read it
        if self._input_ends and not self._unread and not self._is_terminal:
            os.close(self._input)
            self._input = None
