"""Sending and receiving.  With a name in it a message is sent by the supervisor, and received by the kernel.

send(2), write(2) and recv(2) carry no address and are native.  sendmsg(2) has its address in memory, where it can change
after it was judged, and whether its socket would heed one is not for the filter to see; so it is answered always: the
supervisor copies the message and sends the copy.  What is received is the kernel's to deliver, descriptors and all,
into the guest's own buffers; only the names and ids beside it are put right.
"""

from __future__ import annotations

import errno
import os
import signal
import struct

from abi.dispatch import Call, Later, Native, Plane, Return, Support, When
from abi.errors import Kind, SysError
from abi.linux import linux
from abi.net import control, host, loopback
from abi.net.addresses import UNNAMED, family
from abi.net.names import Marks, Name
from abi.net.sockets import Socket, read_address, sender, socket_of
from abi.sockets import find_unix, room_for_address, shown_unix, tell_address, told_address
from vfs import kernel
from vfs.namespace import OpenFile

_MSG_OOB, _MSG_FASTOPEN, _MSG_ZEROCOPY, _MSG_CMSG_CLOEXEC = 1, 0x20000000, 0x4000000, 0x40000000
_MSGHDR = struct.Struct("<QI4xQQQQi4x")  # name, namelen, iov, iovlen, control, controllen, flags
_MMSGHDR_SIZE = _MSGHDR.size + 8
_IOV_MAX = 1024
_MSG_CTRUNC, _MSG_ERRQUEUE = 8, 0x2000
_DATAGRAM_MAX = 1 << 23
_STREAM_MAX = 1 << 24  # bytes of a stream that one call sends at most; more is a short write, as after a signal
_TGKILL = 234
_U32 = 0xFFFFFFFF
_AT_ONCE = 32  # messages of one call that wait, or whose senders' names are put below the caller's stack


class Message:
    """One message to be sent, copied out of the guest."""

    __slots__ = ("address", "control", "data", "flags", "marks", "name", "sock", "target")

    def __init__(self, sock: Socket, data: bytes, address: bytes, flags: int) -> None:
        self.sock = sock
        self.data = data
        self.address = address
        self.flags = flags
        self.control = control.Control()
        self.marks: Marks | None = None  # of a datagram of the loopback inside, if not the usual ones
        self.target = b""  # where it really goes,
        self.name: Name | None = None  # or to whom

    @property
    def is_dropped(self) -> bool:
        """Whether it is dropped where nobody takes it at once, as a datagram of UDP's is."""
        return bool(self.sock.is_made_up_udp and (self.address or self.marks is not None))


# -- sending ----------------------------------------------------------------------------------------


def _gather(call: Call, sock: Socket, vector: int, count: int) -> bytes:
    """The bytes of an iovec array.  EMSGSIZE, EFAULT, EINVAL."""
    if count > _IOV_MAX:
        raise SysError(Kind.EMSGSIZE)
    fields = struct.unpack(f"<{2 * count}Q", call.memory.read(vector, 16 * count)) if count else ()
    most = _STREAM_MAX if sock.is_stream else _DATAGRAM_MAX
    parts = []
    size = 0
    for base, length in zip(fields[::2], fields[1::2], strict=True):
        if length >> 63:
            raise SysError(Kind.EINVAL)
        if size + length > most:
            if not sock.is_stream:
                raise SysError(Kind.EMSGSIZE)
            length = most - size
        if length:
            parts.append(call.memory.read(base, length))
        size += length
        if size == most:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _direct(call: Call, message: Message) -> None:
    """Find out where a message goes, and note who sent it."""
    sock, address = message.sock, message.address
    if message.flags & _MSG_FASTOPEN:
        raise SysError(Kind.EOPNOTSUPP)
    if message.flags & _MSG_ZEROCOPY:
        if sock.is_inet and host.getint(sock.fd, host.SOL_SOCKET, host.SO_ZEROCOPY):
            raise SysError(Kind.EOPNOTSUPP)
        message.flags &= ~_MSG_ZEROCOPY  # as the kernel has it where the socket was not told of it before
    if sock.is_unix:
        if address and sock.kind == host.SOCK_STREAM:
            raise SysError(Kind.EISCONN if host.is_connected(sock.fd) else Kind.EOPNOTSUPP)
        if address and sock.kind == host.SOCK_DGRAM:
            message.name = find_unix(call, address)
        name = sock.name()
        if name is None and len(host.getsockname(sock.fd)) <= 2:  # by its name the other end is told who sent it
            name = call.sandbox.network.names.give(sock.fd, sock.kind)
        if name is not None:
            name.sent = message.control.creds or sender(call)
    elif sock.is_inet and not sock.made_up and address:
        if family(address) == host.AF_UNSPEC and sock.family == host.AF_INET and len(address) >= 16:
            address = host.AF_INET.to_bytes(2, "little") + address[2:]
        if not sock.is_stream:
            message.target = call.sandbox.network.target(address, sock.family)
    elif address and not sock.made_up and sock.family != host.AF_NETLINK:
        raise SysError(Kind.EOPNOTSUPP)


def _send(call: Call, message: Message, now: bool = True):
    """Send, now if that is possible; else, or if others come before, the caller waits for it aside."""
    sock = message.sock
    if message.is_dropped:
        marks = message.marks or loopback.marks_of(call, sock)
        return Return(loopback.send(call, sock, message.data, message.address, message.flags & ~_MSG_OOB, marks))
    _direct(call, message)
    task, process = call.task.tid, call.process.pid
    quiet = bool(message.flags & host.MSG_NOSIGNAL) or not sock.is_stream
    flags = message.flags & ~_MSG_CMSG_CLOEXEC | host.MSG_NOSIGNAL
    data, extra = message.data, message.control.packed()
    target = message.target if message.name is None else message.name.address
    done = 0
    try:
        if now:
            with host.without_rights():
                done = host.sendmsg(sock.fd, data, target, extra, flags | host.MSG_DONTWAIT)
        if now and (done == len(data) or not sock.is_stream or not _may_wait(sock, flags)):
            return Return(done)
    except OSError as problem:
        _complain(problem, quiet, process, task)
        if not host.would_block(problem) or not _may_wait(sock, flags):
            raise
    held = OpenFile(os.dup(sock.fd))
    passed = message.control  # whose descriptors stay open as long as `work` does
    to = None
    rest = data
    if done:
        rest, target, extra = data[done:], b"", b""
    elif message.name is not None:
        to = message.name.hold()
        target = to.address

    def work(cancelled):
        nonlocal done, rest, target, extra, passed, to
        while True:
            try:
                with host.without_rights():
                    sent = host.sendmsg(held.fd, rest, target, extra, flags)
            except OSError as problem:
                if done and (problem.errno != errno.EINTR or cancelled()):
                    return Return(done)
                _complain(problem, quiet, process, task)
                raise
            done += sent
            rest, target, extra, passed, to = rest[sent:], b"", b"", None, None
            if not rest or not sent:
                return Return(done)

    return Later(work)


def _may_wait(sock: Socket, flags: int) -> bool:
    return not flags & host.MSG_DONTWAIT and host.is_blocking(sock.fd)


def _complain(problem: OSError, quiet: bool, process: int, task: int) -> None:
    """SIGPIPE for whoever writes to a stream that nobody reads; send(2)."""
    if problem.errno == errno.EPIPE and not quiet:
        try:
            kernel.raw(_TGKILL, process, task, signal.SIGPIPE)
        except ProcessLookupError:
            pass  # killed meanwhile


_NOT_HEEDED = "MSG_FASTOPEN is EOPNOTSUPP, and MSG_ZEROCOPY where it would be heeded"
_COPIED = "the supervisor copies what is sent; " + _NOT_HEEDED


@linux.answer(44, "sendto", _NOT_HEEDED, Support.PARTIAL, when=[When(5, (0,), Plane.NATIVE)])
def sendto(call: Call):
    """sendto(2); without an address, whatever the pointer is, the kernel does it."""
    with socket_of(call, call.int(0)) as sock:
        address = read_address(call, call.args[4], call.int(5)) if call.args[4] else b""
        size = call.args[2]
        if not sock.is_stream and size > _DATAGRAM_MAX:
            raise SysError(Kind.EMSGSIZE)
        data = call.memory.read(call.args[1], min(size, _STREAM_MAX)) if size else b""
        return _send(call, Message(sock, data, address, call.int(3)))


def _message(call: Call, sock: Socket, pointer: int, flags: int) -> Message:
    """What a guest's ``struct msghdr`` says is to be sent.  EFAULT, EINVAL, EMSGSIZE, and those of `control.taken`."""
    name, length, vector, count, extra, extra_length, _ = _MSGHDR.unpack(call.memory.read(pointer, _MSGHDR.size))
    length = length - (1 << 32) if length >> 31 else length
    if length < 0:
        raise SysError(Kind.EINVAL)
    address = read_address(call, name, min(length, 128)) if name else b""
    message = Message(sock, _gather(call, sock, vector, count), address, flags)
    message.control = control.taken(call, sock, extra, extra_length)
    if sock.is_made_up_udp and (address or host.is_connected(sock.fd)):
        marks = loopback.marks_of(call, sock, message.control.hops, message.control.tclass)
        message.marks = None if marks.usual else marks
    return message


@linux.answer(46, "sendmsg", _COPIED, Support.PARTIAL)
def sendmsg(call: Call):
    with socket_of(call, call.int(0)) as sock:
        return _send(call, _message(call, sock, call.args[1], call.int(2)))


@linux.answer(307, "sendmmsg", _COPIED, Support.PARTIAL)
def sendmmsg(call: Call):
    """sendmmsg(2).  Once a message has to wait, those behind it wait too; of very many the rest is for the next call."""
    flags = call.int(3)
    sent = size = 0
    waiting: list = []
    with socket_of(call, call.int(0)) as sock:
        while sent + len(waiting) < min(call.args[2] & _U32, _IOV_MAX) and size < _STREAM_MAX and len(waiting) < _AT_ONCE:
            pointer = call.args[1] + (sent + len(waiting)) * _MMSGHDR_SIZE
            try:
                message = _message(call, sock, pointer, flags)
                if waiting and message.is_dropped:
                    break  # it would be sent now
                result = _send(call, message, now=not waiting)
            except (SysError, OSError):
                if sent or waiting:
                    break
                raise
            length = len(message.data)
            if isinstance(result, Later):
                waiting.append(result.work)
            else:
                sent, length = sent + 1, result.value
            size += length
            call.memory.write(pointer + _MSGHDR.size, length.to_bytes(4, "little"))  # now: workers touch no memory
    return Later(_one_after_another(sent, waiting)) if waiting else Return(sent)


def _one_after_another(sent: int, waiting: list):
    def run(cancelled) -> Return:
        count = sent
        for work in waiting:
            try:
                work(cancelled)
            except OSError:
                if count:
                    break
                raise
            count += 1
        return Return(count)

    return run


# -- receiving --------------------------------------------------------------------------------------

_Header = tuple[int, int, int, int, int, int, int]  # as _MSGHDR has it


def _shown(call: Call, view: int, made_up: bool, raw: bytes) -> bytes:
    """The sender's address as the receiver is told it."""
    if view == host.AF_NETLINK and made_up:
        return host.AF_NETLINK.to_bytes(12, "little")
    if not raw:
        return raw
    if view == host.AF_UNIX:
        shown = shown_unix(call, raw)
        return b"" if shown == UNNAMED else shown
    return loopback.shown(call.sandbox.network.names, view, raw) if made_up else raw


def _check_queue(sock: Socket, flags: int) -> None:
    """EAGAIN, as the queue of errors is empty always where the kernel would take the flag for nothing."""
    if flags & _MSG_ERRQUEUE and sock.made_up and sock.is_inet:
        raise SysError(Kind.EAGAIN)


@linux.steer(45, "recvfrom", when=[When(4, (0,), Plane.NATIVE, whole=True)])
def recvfrom(call: Call):
    if not call.args[4]:
        return Native()
    with socket_of(call, call.int(0)) as sock:
        view, made_up, stream = sock.family, sock.made_up, sock.is_stream
        _check_queue(sock, call.int(3))
    place = room_for_address(call, call.args[4], call.args[5])

    def after(value: int) -> int:
        if value >= 0:
            raw = b"" if made_up and stream else told_address(call, place)
            tell_address(call, call.args[4], call.args[5], place[2], _shown(call, view, made_up, raw))
        return value

    return Native({4: place[0], 5: place[1]}, after=after)


_NAME_ROOM = 112
_CONTROLS_MAX = 1 << 16  # bytes, which the kernel's never come near


class _Incoming:
    """What has to be put right beside the messages that come in at a socket: who sent them."""

    __slots__ = ("_call", "_made_up", "_named", "_nameless", "_told_ids", "_view", "_wanted")

    def __init__(self, call: Call, fd: int, flags: int) -> None:
        self._call = call
        with socket_of(call, fd) as sock:
            _check_queue(sock, flags)
            self._view = sock.family
            self._made_up = sock.made_up
            self._named = sock.made_up or sock.is_unix  # otherwise than the guest knows
            self._nameless = sock.made_up and sock.is_stream
            self._wanted = control.Wanted(call.sandbox.network.options, sock) if sock.is_made_up_udp else None
            self._told_ids = sock.is_unix and bool(host.getint(sock.fd, host.SOL_SOCKET, host.SO_PASSCRED))

    def concerns(self, header: _Header) -> bool:
        """Whether a message has something to be put right."""
        return bool((self._named and header[0]) or (self._told_ids and header[4]) or self._wanted)

    def put_right(self, pointer: int, header: _Header, given: bytes) -> None:
        """Finish a message that came in by the kernel's header `given`, for the guest whose own is at `pointer`."""
        memory = self._call.memory
        place, length, _, _, extra, controls, told = _MSGHDR.unpack_from(given)
        name, room = header[0], header[1]
        controls = min(controls, header[5], _CONTROLS_MAX)  # another thread may have written into the header since
        raw = memory.read(place, min(length, _NAME_ROOM)) if place else b""
        if self._told_ids and controls:
            sender = self._call.sandbox.network.names.find(raw) if len(raw) > 2 else None
            for at, data in control.put_right(self._call, memory.read(extra, controls), sender):
                memory.write(extra + at, data)
        if self._wanted:
            controls, told = self._tell(header, raw, controls, told)
        if name:
            shown = b"" if self._nameless else _shown(self._call, self._view, self._made_up, raw)
            memory.write(name, shown[:room])
            memory.write(pointer + 8, len(shown).to_bytes(4, "little"))
        memory.write(pointer + 40, controls.to_bytes(8, "little") + told.to_bytes(4, "little", signed=True))


    def _tell(self, header: _Header, raw: bytes, controls: int, told: int) -> tuple[int, int]:
        """Put what is to be told of a datagram behind the kernel's control messages; the new length and flags."""
        sender = self._call.sandbox.network.names.inet(raw)
        if sender is None:
            return controls, told
        room = header[5] - controls if header[4] else 0
        data, cut = control.put(room, control.marked(self._view, self._wanted, sender))
        self._call.memory.write(header[4] + controls, data)
        return controls + len(data), told | _MSG_CTRUNC if cut else told


def _header(data: bytes, at: int = 0) -> _Header:
    """The fields of a guest's ``struct msghdr``.  EINVAL."""
    header = _MSGHDR.unpack_from(data, at)
    if header[0] and header[1] >> 31:
        raise SysError(Kind.EINVAL)
    return header


def _is_short(header: _Header) -> bool:
    """Whether the guest has no room for one of the kernel's own names, by which the sender is looked up."""
    return not header[0] or header[1] < _NAME_ROOM


@linux.steer(47, "recvmsg")
def recvmsg(call: Call):
    """recvmsg(2).  Where a name is wanted, and the guest has no room for one of the kernel's, it is given a header of our own."""
    pointer = call.args[1]
    incoming = _Incoming(call, call.int(0), call.int(2))
    header = _header(call.memory.read(pointer, _MSGHDR.size))
    if not incoming.concerns(header):
        return Native()
    place = pointer
    if _is_short(header):
        place = call.below(_MSGHDR.size + _NAME_ROOM)
        call.memory.write(place, _MSGHDR.pack(place + _MSGHDR.size, _NAME_ROOM, *header[2:]))

    def after(value: int) -> int:
        if value >= 0:
            incoming.put_right(pointer, header, call.memory.read(place, _MSGHDR.size))
        return value

    return Native({1: place}, after=after)


@linux.steer(299, "recvmmsg", "of messages whose senders are to be told, 32 a call at most", Support.PARTIAL)
def recvmmsg(call: Call):
    """recvmmsg(2), as `recvmsg`: the kernel fills an array of our own, or the guest's where it has room for names."""
    pointer = place = call.args[1]
    incoming = _Incoming(call, call.int(0), call.int(3))
    data = call.memory.read_some(pointer, min(call.args[2] & _U32, _IOV_MAX) * _MMSGHDR_SIZE)
    headers = [_header(data, at) for at in range(0, len(data) - _MMSGHDR_SIZE + 1, _MMSGHDR_SIZE)]
    concerned = [header for header in headers if incoming.concerns(header)]
    if not concerned:
        return Native()
    count = len(headers)
    if any(map(_is_short, concerned)):
        count = min(count, _AT_ONCE)
        place = call.below(count * (_MMSGHDR_SIZE + _NAME_ROOM))
        names = range(place + count * _MMSGHDR_SIZE, 1 << 64, _NAME_ROOM)
        packed = [_MSGHDR.pack(name, _NAME_ROOM, *rest) for name, (_, _, *rest) in zip(names, headers[:count], strict=False)]
        call.memory.write(place, b"".join(header + bytes(8) for header in packed))

    def after(value: int) -> int:
        if value > 0:
            given = call.memory.read(place, value * _MMSGHDR_SIZE)
            for index in range(value):
                at = index * _MMSGHDR_SIZE
                incoming.put_right(pointer + at, headers[index], given[at : at + _MSGHDR.size])
                call.memory.write(pointer + at + _MSGHDR.size, given[at + _MSGHDR.size : at + _MSGHDR.size + 4])
        return value

    return Native({1: place, 2: count}, after=after)
