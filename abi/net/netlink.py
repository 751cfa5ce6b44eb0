"""NETLINK_ROUTE of a sandbox without a network: what getifaddrs(3), getaddrinfo(3) and ``ip addr`` ask.

The guest's socket is one end of a pair of unix sockets, so whatever it sends arrives here, by whichever call, and what it
is told waits where it can be polled for.  There is one interface, the loopback; there are no routes; and nothing can be
changed, which takes a capability that an unprivileged guest of a network namespace has not.

NETLINK_SOCK_DIAG knows no family of sockets, with a network too, as in a kernel whose modules for that are not loaded: then
ss(8) reads /proc/net, which has the sandbox's own.  rtnetlink(7), netlink(7), sock_diag(7).
"""

from __future__ import annotations

import errno
import os
import struct

from abi.net import host
from abi.net.addresses import LOOPBACK4, LOOPBACK6
from abi.net.sockets import netlink_note, write_note

_HEADER = struct.Struct("<IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("<BxHiII")
_ADDRESS = struct.Struct("<BBBBi")
_ATTRIBUTE = struct.Struct("<HH")
_ERROR, _DONE = 2, 3
_F_REQUEST, _F_MULTI, _F_ACK, _F_DUMP = 1, 2, 4, 0x300
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_LISTS = {26, 30, 34, 38, 42, 46, 62, 66, 74, 90}  # RTM_GET* of routes, neighbours, rules, qdiscs and so on: all empty
_IFF_UP_LOOPBACK_RUNNING_LOWER_UP = 0x10049
_ARPHRD_LOOPBACK, _RT_SCOPE_HOST, _IFA_F_PERMANENT = 772, 254, 0x80
_IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME, _IFLA_MTU, _IFLA_QDISC, _IFLA_TXQLEN, _IFLA_OPERSTATE = 1, 2, 3, 4, 6, 13, 16
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_FLAGS = 1, 2, 3, 8
MTU, INDEX, NAME = 65536, 1, b"lo\0"
_QUEUE_MAX = 1 << 16


def socket(network, flags: int, protocol: int) -> int:
    """A new netlink socket, the guest's end of it."""
    theirs, ours = host.socketpair(host.SOCK_SEQPACKET | host.SOCK_CLOEXEC)
    network.portids = network.portids % 0x7FFFFF + 1
    write_note(theirs, netlink_note(network.portids))
    if flags:
        os.set_blocking(theirs, False)
    os.set_blocking(ours, False)
    port = network.portids
    network.serve(ours, lambda: _answer(ours, port, protocol))
    return theirs


def _answer(fd: int, port: int, protocol: int) -> bool:
    """Read what the guest's end has sent, and reply; False when that end is closed."""
    while True:
        try:
            request = os.read(fd, _QUEUE_MAX)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not request:
            return False
        for message in replies(request, port, protocol):
            try:
                host.sendmsg(fd, message, flags=host.MSG_DONTWAIT | host.MSG_NOSIGNAL)
            except OSError as problem:
                if problem.errno != errno.EAGAIN:
                    return False
                break  # it does not read: what is lost is its own


def replies(data: bytes, port: int, protocol: int = host.NETLINK_ROUTE) -> list[bytes]:
    """The datagrams that answer one."""
    result = []
    position = 0
    while len(data) - position >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            break
        request = data[position : position + length]
        if flags & _F_REQUEST and kind >= 16 and protocol == host.NETLINK_SOCK_DIAG:
            result.append(_failure(errno.ENOENT, sequence, port, request))
        elif flags & _F_REQUEST and kind >= 16:
            result += _reply(kind, flags, sequence, port, request)
        elif flags & _F_ACK:
            result.append(_message(_ERROR, 0, sequence, port, struct.pack("<i", 0) + request[: _HEADER.size]))
        position += length + 3 & -4
    return result


def _message(kind: int, flags: int, sequence: int, port: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, port) + body


def _failure(number: int, sequence: int, port: int, request: bytes) -> bytes:
    return _message(_ERROR, 0, sequence, port, struct.pack("<i", -number) + request[: _HEADER.size])


def _reply(kind: int, flags: int, sequence: int, port: int, request: bytes) -> list[bytes]:
    wanted = request[_HEADER.size] if len(request) > _HEADER.size else 0
    dump = flags & _F_DUMP == _F_DUMP
    match kind:
        case c if c == _GETLINK:
            found = [(_NEWLINK, _loopback())]
            if not dump and not _is_meant(request):
                return [_failure(errno.ENODEV, sequence, port, request)]
        case c if c == _GETADDR:
            found = [(_NEWADDR, body) for family, body in _addresses() if wanted in (0, family)]
            if not dump:
                return [_failure(errno.EOPNOTSUPP, sequence, port, request)]
        case c if c in _LISTS:
            found = []
            if not dump:
                return [_failure(errno.ENETUNREACH if c == 26 else errno.ENOENT, sequence, port, request)]
        case c if c & 3 == 2:  # another RTM_GET*
            return [_failure(errno.EOPNOTSUPP, sequence, port, request)]
        case _:
            return [_failure(errno.EPERM, sequence, port, request)]
    if not dump:
        return [_message(kind, 0, sequence, port, body) for kind, body in found]
    messages = [_message(kind, _F_MULTI, sequence, port, body) for kind, body in found]
    done = _message(_DONE, _F_MULTI, sequence, port, struct.pack("<i", 0))
    return [b"".join(messages), done] if messages else [done]


def _is_meant(request: bytes) -> bool:
    """Whether a request for one interface is for the loopback."""
    if len(request) < _HEADER.size + _LINK.size:
        return False
    index = _LINK.unpack_from(request, _HEADER.size)[2]
    return index == INDEX or (not index and b"\0" + NAME in request[_HEADER.size + _LINK.size :])


def _attribute(kind: int, value: bytes) -> bytes:
    return (_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value).ljust(_ATTRIBUTE.size + (len(value) + 3 & -4), b"\0")


def _loopback() -> bytes:
    """``struct ifinfomsg`` and its attributes."""
    return (
        _LINK.pack(0, _ARPHRD_LOOPBACK, INDEX, _IFF_UP_LOOPBACK_RUNNING_LOWER_UP, 0)
        + _attribute(_IFLA_IFNAME, NAME)
        + _attribute(_IFLA_TXQLEN, struct.pack("<I", 1000))
        + _attribute(_IFLA_OPERSTATE, b"\0")
        + _attribute(_IFLA_MTU, struct.pack("<I", MTU))
        + _attribute(_IFLA_QDISC, b"noqueue\0")
        + _attribute(_IFLA_ADDRESS, bytes(6))
        + _attribute(_IFLA_BROADCAST, bytes(6))
    )


def _addresses():
    """(family, ``struct ifaddrmsg`` and its attributes) of each address."""
    flags = _attribute(_IFA_FLAGS, struct.pack("<I", _IFA_F_PERMANENT))
    head = _ADDRESS.pack(host.AF_INET, 8, _IFA_F_PERMANENT, _RT_SCOPE_HOST, INDEX)
    address = _attribute(_IFA_ADDRESS, LOOPBACK4) + _attribute(_IFA_LOCAL, LOOPBACK4) + _attribute(_IFA_LABEL, NAME)
    yield host.AF_INET, head + address + flags
    head = _ADDRESS.pack(host.AF_INET6, 128, _IFA_F_PERMANENT, _RT_SCOPE_HOST, INDEX)
    yield host.AF_INET6, head + _attribute(_IFA_ADDRESS, LOOPBACK6) + flags
