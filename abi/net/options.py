"""What a guest says of TCP, UDP and IP on a socket of the loopback inside: remembered and told, and of no other effect.

The unix socket behind it has no such options.  They are kept by the socket's inode number, which the kernel does not give
again before it has given four thousand million others.  tcp(7), udp(7), ip(7), ipv6(7).
"""

from __future__ import annotations

import os

from abi.errors import Kind, SysError
from abi.net.host import AF_INET6
from abi.net.sockets import Socket

IP, TCP, UDP, IPV6, UDPLITE = 0, 6, 17, 41, 136
CONGESTION = (b"cubic", b"reno")
_MAX = 0x7FFFFFFF
_MOST = 4096  # sockets of which something is remembered; the one that was spoken of longest ago is forgotten


class _Option:
    """One option: what it is at first, and the least and most that it can be set to."""

    __slots__ = ("first", "least", "meaning_first", "most")

    def __init__(self, first: int, least: int, most: int, meaning_first: int | None = None) -> None:
        self.first = first
        self.least = least
        self.most = most
        self.meaning_first = meaning_first  # a value that stands for the first one

    def taken(self, value: int) -> int:
        """What is remembered of a value.  EINVAL."""
        if value == self.meaning_first:
            return self.first
        if not self.least <= value <= self.most:
            raise SysError(Kind.EINVAL)
        return value


class _Flag(_Option):
    """An option that is on or off, whatever it is set to."""

    __slots__ = ()

    def __init__(self, first: int) -> None:
        super().__init__(first, 0, 1)

    def taken(self, value: int) -> int:
        return int(value != 0)


_ON, _OFF = _Flag(1), _Flag(0)

_OPTIONS: dict[int, dict[int, _Option]] = {
    TCP: {
        1: _OFF,  # TCP_NODELAY
        2: _Option(536, 88, 32767),  # TCP_MAXSEG
        3: _OFF,  # TCP_CORK
        4: _Option(7200, 1, 32767),  # TCP_KEEPIDLE
        5: _Option(75, 1, 32767),  # TCP_KEEPINTVL
        6: _Option(9, 1, 127),  # TCP_KEEPCNT
        7: _Option(6, 1, 127),  # TCP_SYNCNT
        8: _Option(60, -1, 120, 0),  # TCP_LINGER2
        9: _Option(0, -_MAX, _MAX),  # TCP_DEFER_ACCEPT
        10: _Option(65536, 0, _MAX),  # TCP_WINDOW_CLAMP
        12: _ON,  # TCP_QUICKACK
        13: _Option(0, 0, 1),  # TCP_CONGESTION, by its place in CONGESTION
        17: _OFF,  # TCP_THIN_DUPACK
        18: _Option(0, 0, _MAX),  # TCP_USER_TIMEOUT
        23: _Option(0, 0, _MAX),  # TCP_FASTOPEN
        25: _Option(0, -_MAX, _MAX),  # TCP_NOTSENT_LOWAT
        30: _Option(0, 0, 1),  # TCP_FASTOPEN_CONNECT
    },
    UDP: {1: _OFF},  # UDP_CORK; without UDP_SEGMENT and UDP_GRO, which change what is sent and received
    UDPLITE: {10: _Option(0, 0, 65535), 11: _Option(0, 0, 65535)},  # UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV
    IP: {
        1: _Option(0, -_MAX, _MAX),  # IP_TOS
        2: _Option(64, 1, 255, -1),  # IP_TTL
        8: _OFF,  # IP_PKTINFO
        10: _Option(1, 0, 5),  # IP_MTU_DISCOVER
        11: _OFF,  # IP_RECVERR
        12: _OFF,  # IP_RECVTTL
        13: _OFF,  # IP_RECVTOS
        15: _OFF,  # IP_FREEBIND
        24: _OFF,  # IP_BIND_ADDRESS_NO_PORT
        33: _Option(1, 0, 255, -1),  # IP_MULTICAST_TTL
        34: _ON,  # IP_MULTICAST_LOOP
        49: _Option(1, 0, 1),  # IP_MULTICAST_ALL
        51: _Option(0, -_MAX, _MAX),  # IP_LOCAL_PORT_RANGE
    },
    IPV6: {
        16: _Option(64, 0, 255, -1),  # IPV6_UNICAST_HOPS
        17: _Option(0, 0, 1),  # IPV6_MULTICAST_IF
        18: _Option(1, 0, 255, -1),  # IPV6_MULTICAST_HOPS
        19: _Option(1, 0, 1),  # IPV6_MULTICAST_LOOP
        23: _Option(1, 0, 5),  # IPV6_MTU_DISCOVER
        24: _Option(65536, 1280, _MAX),  # IPV6_MTU
        25: _OFF,  # IPV6_RECVERR
        29: _ON,  # IPV6_MULTICAST_ALL
        49: _OFF,  # IPV6_RECVPKTINFO
        51: _OFF,  # IPV6_RECVHOPLIMIT
        66: _OFF,  # IPV6_RECVTCLASS
        67: _Option(0, 0, 255, -1),  # IPV6_TCLASS
        70: _ON,  # IPV6_AUTOFLOWLABEL
    },
}


def _option(sock: Socket, level: int, number: int) -> _Option:
    """The option of a socket.  ENOPROTOOPT where sockets of its kind have none such."""
    fits = level in (IP, IPV6, sock.protocol) or (level == UDP and sock.protocol == UDPLITE)
    if level == IPV6 and sock.family != AF_INET6:
        fits = False
    found = _OPTIONS.get(level, {}).get(number) if fits else None
    if found is None:
        raise SysError(Kind.ENOPROTOOPT)
    return found


class Options:
    """The options of a sandbox's sockets that are not what they are at first."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[int, dict[tuple[int, int], int]] = {}  # by inode, the one last spoken of at the end

    def get(self, sock: Socket, level: int, number: int) -> int:
        """getsockopt(2).  A connection has its options from the socket it was accepted at.  ENOPROTOOPT."""
        option = _option(sock, level, number)
        if not self._said:
            return option.first
        name = sock.name()
        for inode in (os.fstat(sock.fd).st_ino, name.socket if name is not None else 0):
            value = self._said.get(inode, {}).get((level, number))
            if value is not None:
                return value
        return option.first

    def set(self, sock: Socket, level: int, number: int, value: int) -> None:
        """setsockopt(2).  ENOPROTOOPT, EINVAL."""
        taken = _option(sock, level, number).taken(value)
        if (level, number) == (IP, 1):
            taken &= 0xFC if sock.is_stream else 0xFF
        inode = os.fstat(sock.fd).st_ino
        said = self._said.pop(inode, {})
        said[level, number] = taken
        self._said[inode] = said
        if len(self._said) > _MOST:
            del self._said[next(iter(self._said))]
