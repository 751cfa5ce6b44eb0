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
from abi.net.addresses import family
from abi.net.names import Name
from abi.net.sockets import Socket, creds, read_address, socket_of
from abi.sockets import find_unix, room_for_address, shown_unix, tell_address, told_address
from vfs import kernel
from vfs.namespace import OpenFile

_MSG_OOB, _MSG_FASTOPEN, _MSG_ZEROCOPY, _MSG_CMSG_CLOEXEC, _MSG_WAITFORONE = 1, 0x20000000, 0x4000000, 0x40000000, 0x10000
_MSGHDR = struct.Struct("<QI4xQQQQi4x")  # name, namelen, iov, iovlen, control, controllen, flags
_MMSGHDR_SIZE = _MSGHDR.size + 8
_IOV_MAX = 1024
_DATAGRAM_MAX = 1 << 23
_STREAM_MAX = 1 << 24  # bytes of a stream that one call sends at most; more is a short write, as after a signal
_TGKILL, _RECVMSG = 234, 47


class Message:
    """One message to be sent, copied out of the guest."""

    __slots__ = ("address", "control", "data", "flags", "name", "sock", "target")

    def __init__(self, sock: Socket, data: bytes, address: bytes, flags: int) -> None:
        self.sock = sock
        self.data = data
        self.address = address
        self.flags = flags
        self.control = control.Control()
        self.target = b""  # where it really goes,
        self.name: Name | None = None  # or to whom


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
    if message.flags & (_MSG_FASTOPEN | _MSG_ZEROCOPY):
        raise SysError(Kind.EOPNOTSUPP)
    if sock.is_unix:
        if address and sock.kind == host.SOCK_STREAM:
            raise SysError(Kind.EISCONN if host.is_connected(sock.fd) else Kind.EOPNOTSUPP)
        if address and sock.kind == host.SOCK_DGRAM:
            message.name = find_unix(call, address)
        name = sock.name()
        if name is None and len(host.getsockname(sock.fd)) <= 2:  # by its name the other end is told who sent it
            name = call.sandbox.network.names.give(sock.fd, sock.kind)
        if name is not None:
            name.creds = message.control.creds or creds(call)
    elif sock.is_inet and not sock.made_up and address:
        if family(address) == host.AF_UNSPEC and sock.family == host.AF_INET and len(address) >= 16:
            address = host.AF_INET.to_bytes(2, "little") + address[2:]
        if not sock.is_stream:
            message.target = call.sandbox.network.target(address, sock.family)
    elif address and not sock.made_up and sock.family != host.AF_NETLINK:
        raise SysError(Kind.EOPNOTSUPP)


def _send(call: Call, message: Message):
    """Send, now if that is possible; else the caller waits for it aside."""
    sock = message.sock
    if sock.made_up and sock.is_inet and not sock.is_stream and message.address:
        return Return(loopback.send(call, sock, message.data, message.address, message.flags & ~_MSG_OOB))
    _direct(call, message)
    task, process = call.task.tid, call.process.pid
    quiet = bool(message.flags & host.MSG_NOSIGNAL) or not sock.is_stream
    flags = message.flags & ~_MSG_CMSG_CLOEXEC | host.MSG_NOSIGNAL
    data, extra = message.data, message.control.packed()
    target = message.target if message.name is None else message.name.address
    done = 0
    try:
        with host.without_rights():
            done = host.sendmsg(sock.fd, data, target, extra, flags | host.MSG_DONTWAIT)
        if done == len(data) or not sock.is_stream or not _may_wait(sock, flags):
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


@linux.answer(44, "sendto", "MSG_FASTOPEN and MSG_ZEROCOPY are EOPNOTSUPP", Support.PARTIAL, when=[When(5, (0,), Plane.NATIVE)])
def sendto(call: Call):
    """sendto(2); without an address, whatever the pointer is, the kernel does it."""
    with socket_of(call, call.int(0)) as sock:
        address = read_address(call, call.args[4], call.int(5)) if call.args[4] else b""
        size = call.args[2]
        if not sock.is_stream and size > _DATAGRAM_MAX:
            raise SysError(Kind.EMSGSIZE)
        data = call.memory.read(call.args[1], min(size, _STREAM_MAX)) if size else b""
        return _send(call, Message(sock, data, address, call.int(3)))


def _send_message(call: Call, sock: Socket, pointer: int, flags: int):
    name, length, vector, count, extra, extra_length, _ = _MSGHDR.unpack(call.memory.read(pointer, _MSGHDR.size))
    length = length - (1 << 32) if length >> 31 else length
    if length < 0:
        raise SysError(Kind.EINVAL)
    address = read_address(call, name, min(length, 128)) if name else b""
    message = Message(sock, _gather(call, sock, vector, count), address, flags)
    message.control = control.taken(call, sock, extra, extra_length)
    return _send(call, message)


_COPIED = "the supervisor copies what is sent; "


@linux.answer(46, "sendmsg", _COPIED + "MSG_FASTOPEN and MSG_ZEROCOPY are EOPNOTSUPP", Support.PARTIAL)
def sendmsg(call: Call):
    with socket_of(call, call.int(0)) as sock:
        return _send_message(call, sock, call.args[1], call.int(2))


@linux.answer(307, "sendmmsg", _COPIED + "MSG_FASTOPEN and MSG_ZEROCOPY are EOPNOTSUPP", Support.PARTIAL)
def sendmmsg(call: Call):
    """sendmmsg(2): only for the first message will it wait."""
    flags = call.int(3)
    with socket_of(call, call.int(0)) as sock:
        for index in range(min(call.args[2] & 0xFFFFFFFF, _IOV_MAX)):
            pointer = call.args[1] + index * _MMSGHDR_SIZE
            try:
                result = _send_message(call, sock, pointer, flags if not index else flags | host.MSG_DONTWAIT)
            except (SysError, OSError):
                if index:
                    return Return(index)
                raise
            if isinstance(result, Later):
                size = len(_gather(call, sock, *struct.unpack("<QQ", call.memory.read(pointer + 16, 16))))
                call.memory.write(pointer + _MSGHDR.size, size.to_bytes(4, "little"))  # workers touch no memory
                return Later(_counted_as_one(result.work))
            call.memory.write(pointer + _MSGHDR.size, result.value.to_bytes(4, "little"))
        return Return(min(call.args[2] & 0xFFFFFFFF, _IOV_MAX))


def _counted_as_one(work):
    def run(cancelled) -> Return:
        work(cancelled)
        return Return(1)

    return run


# -- receiving --------------------------------------------------------------------------------------


def _shown(call: Call, view: int, made_up: bool, raw: bytes) -> bytes:
    """The sender's address as the receiver is told it."""
    if view == host.AF_NETLINK and made_up:
        return host.AF_NETLINK.to_bytes(12, "little")
    if not raw:
        return raw
    if view == host.AF_UNIX:
        return shown_unix(call, raw)
    return loopback.shown(call, view, raw) if made_up else raw


@linux.steer(45, "recvfrom", when=[When(4, (0,), Plane.NATIVE, whole=True)])
def recvfrom(call: Call):
    if not call.args[4]:
        return Native()
    with socket_of(call, call.int(0)) as sock:
        view, made_up, stream = sock.family, sock.made_up, sock.is_stream
    place = room_for_address(call, call.args[4], call.args[5])

    def after(value: int) -> int:
        if value >= 0:
            raw = b"" if made_up and stream else told_address(call, place)
            tell_address(call, call.args[4], call.args[5], place[2], _shown(call, view, made_up, raw))
        return value

    return Native({4: place[0], 5: place[1]}, after=after)


_NAME_ROOM = 112


def _receive(call: Call, pointer: int, flags: int, finish=None):
    """recvmsg(2); `finish(value)` ends it.

    Where the sender's name is wanted, by the guest or to tell whose its credentials are, and the guest has no room for
    one of the kernel's, the kernel is given a header of our own.
    """
    header = list(_MSGHDR.unpack(call.memory.read(pointer, _MSGHDR.size)))
    name, room, extra = header[0], header[1], header[4]
    if name and room >> 31:
        raise SysError(Kind.EINVAL)
    with socket_of(call, call.int(0)) as sock:
        view, made_up, stream = sock.family, sock.made_up, sock.is_stream
        told_ids = sock.is_unix and extra and bool(host.getint(sock.fd, host.SOL_SOCKET, host.SO_PASSCRED))
    if not told_ids and (not name or not (made_up or view == host.AF_UNIX)):
        return Native() if finish is None else Native({1: pointer, 2: flags}, number=_RECVMSG, after=finish)
    place, names = pointer, name
    if not name or room < _NAME_ROOM:
        place = call.below(_MSGHDR.size + _NAME_ROOM)
        header[0], header[1] = names, _ = place + _MSGHDR.size, _NAME_ROOM
        call.memory.write(place, _MSGHDR.pack(*header))

    def after(value: int) -> int:
        if value >= 0:
            _, length, _, _, _, controls, told = _MSGHDR.unpack(call.memory.read(place, _MSGHDR.size))
            raw = call.memory.read(names, min(length, _NAME_ROOM))
            if told_ids and controls:
                sender = call.sandbox.network.names.find(raw) if len(raw) > 2 else None
                for at, data in control.put_right(call, call.memory.read(extra, controls), sender):
                    call.memory.write(extra + at, data)
            if name:
                shown = b"" if made_up and stream else _shown(call, view, made_up, raw)
                call.memory.write(name, shown[:room])
                call.memory.write(pointer + 8, len(shown).to_bytes(4, "little"))
            call.memory.write(pointer + 40, controls.to_bytes(8, "little") + told.to_bytes(4, "little", signed=True))
        return value if finish is None else finish(value)

    return Native({1: place, 2: flags}, number=_RECVMSG, after=after)


@linux.steer(47, "recvmsg")
def recvmsg(call: Call):
    return _receive(call, call.args[1], call.int(2))


@linux.steer(299, "recvmmsg", "one message a call; the timeout is not looked at", Support.PARTIAL)
def recvmmsg(call: Call):
    if not call.args[2] & 0xFFFFFFFF:
        raise SysError(Kind.EINVAL)
    pointer = call.args[1]

    def finish(value: int) -> int:
        if value < 0:
            return value
        call.memory.write(pointer + _MSGHDR.size, value.to_bytes(4, "little"))
        return 1

    return _receive(call, pointer, call.int(3) & ~_MSG_WAITFORONE, finish)

