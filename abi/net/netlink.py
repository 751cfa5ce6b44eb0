"""NETLINK_ROUTE of a sandbox without a network: what getifaddrs(3), getaddrinfo(3) and ``ip addr`` ask.

The guest's socket is one end of a pair of unix sockets, so whatever it sends arrives here, by whichever call, and what it
is told waits where it can be polled for.  There is one interface, the loopback; only to it there is a way; and nothing can be
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
_ROUTE = struct.Struct("<8BI")  # struct rtmsg, and as long struct fib_rule_hdr
_ATTRIBUTE = struct.Struct("<HH")
_ERROR, _DONE = 2, 3
_F_REQUEST, _F_MULTI, _F_ACK, _F_DUMP = 1, 2, 4, 0x300
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE, _NEWRULE, _GETRULE = 16, 18, 20, 22, 24, 26, 32, 34
_LISTS = {30, 38, 42, 46, 62, 66, 74, 90}  # RTM_GET* of neighbours, qdiscs and so on: all empty
_AF_BRIDGE = 7
_IFF_UP_LOOPBACK_RUNNING_LOWER_UP = 0x10049
_ARPHRD_LOOPBACK, _RT_SCOPE_HOST, _IFA_F_PERMANENT = 772, 254, 0x80
_IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME, _IFLA_MTU, _IFLA_QDISC, _IFLA_TXQLEN, _IFLA_OPERSTATE = 1, 2, 3, 4, 6, 13, 16
_IFLA_LINKMODE, _IFLA_STATS64, _IFLA_GROUP = 17, 23, 27
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 6, 8
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC = 1, 2, 4, 6, 7
_RTA_CACHEINFO, _RTA_TABLE, _RTA_PREF, _RTA_UID = 12, 15, 20, 25
_FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_PROTOCOL = 6, 14, 15, 21
_TABLE_LOCAL, _TABLE_MAIN, _TABLE_DEFAULT = 255, 254, 253
_RTN_LOCAL, _RTN_BROADCAST, _RTPROT_KERNEL, _RT_SCOPE_LINK, _FR_ACT_TO_TBL = 2, 3, 2, 253, 1
_RTM_F_CLONED, _RTCF_LOCAL = 0x200, 0x80000000
_FOREVER = 0xFFFFFFFF
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
            found = [(_NEWLINK, _loopback())] if wanted != _AF_BRIDGE else []
            if not dump and not _is_meant(request):
                return [_failure(errno.ENODEV, sequence, port, request)]
        case c if c == _GETADDR:
            found = [(_NEWADDR, body) for family, body in _addresses() if wanted in (0, family)]
            if not dump:
                return [_failure(errno.EOPNOTSUPP, sequence, port, request)]
        case c if c == _GETRULE and dump:
            found = [(_NEWRULE, body) for family, body in _rules() if wanted in (0, family)]
        case c if c == _GETROUTE and dump:
            found = [(_NEWROUTE, body) for family, body in _routes() if wanted in (0, family)]
        case c if c == _GETROUTE:
            way = _way(request)
            if way is None:
                return [_failure(errno.ENETUNREACH, sequence, port, request)]
            found = [(_NEWROUTE, way)]
        case c if c in _LISTS:
            found = []
            if not dump:
                return [_failure(errno.ENOENT, sequence, port, request)]
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
        + _attribute(_IFLA_LINKMODE, b"\0")
        + _attribute(_IFLA_GROUP, bytes(4))
        + _attribute(_IFLA_STATS64, bytes(192))
        + _attribute(_IFLA_MTU, struct.pack("<I", MTU))
        + _attribute(_IFLA_QDISC, b"noqueue\0")
        + _attribute(_IFLA_ADDRESS, bytes(6))
        + _attribute(_IFLA_BROADCAST, bytes(6))
    )


def _addresses():
    """(family, ``struct ifaddrmsg`` and its attributes) of each address."""
    flags = _attribute(_IFA_FLAGS, struct.pack("<I", _IFA_F_PERMANENT))
    flags += _attribute(_IFA_CACHEINFO, struct.pack("<IIII", _FOREVER, _FOREVER, 0, 0))
    head = _ADDRESS.pack(host.AF_INET, 8, _IFA_F_PERMANENT, _RT_SCOPE_HOST, INDEX)
    address = _attribute(_IFA_ADDRESS, LOOPBACK4) + _attribute(_IFA_LOCAL, LOOPBACK4) + _attribute(_IFA_LABEL, NAME)
    yield host.AF_INET, head + address + flags
    head = _ADDRESS.pack(host.AF_INET6, 128, _IFA_F_PERMANENT, _RT_SCOPE_HOST, INDEX)
    yield host.AF_INET6, head + _attribute(_IFA_ADDRESS, LOOPBACK6) + flags


def _rules():
    """(family, ``struct fib_rule_hdr`` and its attributes) of the rules that every network namespace begins with."""
    usual = ((_TABLE_LOCAL, 0), (_TABLE_MAIN, 32766), (_TABLE_DEFAULT, 32767))
    for family, rules in ((host.AF_INET, usual), (host.AF_INET6, usual[:2])):
        for table, priority in rules:
            body = _ROUTE.pack(family, 0, 0, 0, table, 0, 0, _FR_ACT_TO_TBL, 0)
            body += _attribute(_FRA_TABLE, struct.pack("<I", table))
            body += _attribute(_FRA_SUPPRESS_PREFIXLEN, struct.pack("<i", -1))
            body += _attribute(_FRA_PROTOCOL, bytes([_RTPROT_KERNEL]))
            if priority:
                body += _attribute(_FRA_PRIORITY, struct.pack("<I", priority))
            yield family, body


def _routes():
    """(family, ``struct rtmsg`` and its attributes) of the ways to the loopback's addresses."""
    common = _attribute(_RTA_TABLE, struct.pack("<I", _TABLE_LOCAL)) + _attribute(_RTA_OIF, struct.pack("<I", INDEX))
    for to, length, scope, kind in (
        (b"\x7f\0\0\0", 8, _RT_SCOPE_HOST, _RTN_LOCAL),
        (LOOPBACK4, 32, _RT_SCOPE_HOST, _RTN_LOCAL),
        (b"\x7f\xff\xff\xff", 32, _RT_SCOPE_LINK, _RTN_BROADCAST),
    ):
        body = _ROUTE.pack(host.AF_INET, length, 0, 0, _TABLE_LOCAL, _RTPROT_KERNEL, scope, kind, 0)
        yield host.AF_INET, body + common + _attribute(_RTA_DST, to) + _attribute(_RTA_PREFSRC, LOOPBACK4)
    yield host.AF_INET6, _to_loopback6() + common


def _to_loopback6(source_length: int = 0) -> bytes:
    """``struct rtmsg`` and all but the table and the interface."""
    head = _ROUTE.pack(host.AF_INET6, 128, source_length, 0, _TABLE_LOCAL, _RTPROT_KERNEL, 0, _RTN_LOCAL, 0)
    pref = _attribute(_RTA_PREF, b"\0") + _attribute(_RTA_CACHEINFO, bytes(32))
    return head + _attribute(_RTA_DST, LOOPBACK6) + _attribute(_RTA_PRIORITY, bytes(4)) + pref


def _way(request: bytes) -> bytes | None:
    """``struct rtmsg`` and its attributes: the way to the address that is asked for, if there is one."""
    to = _asked(request, _RTA_DST)
    out = _attribute(_RTA_OIF, struct.pack("<I", INDEX))
    if len(to) == 4 and (to[0] == LOOPBACK4[0] or not any(to)):
        head = _ROUTE.pack(host.AF_INET, 32, 0, 0, _TABLE_MAIN, 0, 0, _RTN_LOCAL, _RTM_F_CLONED | _RTCF_LOCAL)
        told = _attribute(_RTA_TABLE, struct.pack("<I", _TABLE_MAIN)) + _attribute(_RTA_UID, bytes(4))
        told += _attribute(_RTA_PREFSRC, LOOPBACK4) + _attribute(_RTA_CACHEINFO, bytes(32))
        return head + _attribute(_RTA_DST, to) + out + told
    if to == LOOPBACK6:
        told = _attribute(_RTA_TABLE, struct.pack("<I", _TABLE_LOCAL)) + _attribute(_RTA_SRC, bytes(16))
        return _to_loopback6(128) + out + told + _attribute(_RTA_PREFSRC, to)
    return None


def _asked(request: bytes, wanted: int) -> bytes:
    """The attribute `wanted` of a request about routes; empty where it is not there."""
    position = _HEADER.size + _ROUTE.size
    while len(request) - position >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(request, position)
        if length < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return request[position + _ATTRIBUTE.size : position + length]
        position += length + 3 & -4
    return b""
