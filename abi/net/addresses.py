"""``struct sockaddr`` of the families that a guest may speak; packet by packet, as the kernel checks them."""

from __future__ import annotations

import struct

from abi.errors import Kind, SysError
from abi.net.host import AF_INET, AF_INET6, AF_UNIX

SOCKADDR_MAX = 128
UNIX_MAX = 110
_IN = struct.Struct(">H4s8x")
_IN6 = struct.Struct(">HI16sI")
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
ANY4, ANY6 = bytes(4), bytes(16)
LOOPBACK4, LOOPBACK6 = b"\x7f\0\0\1", bytes(15) + b"\1"


def family(address: bytes) -> int:
    """sa_family.  EINVAL where there is none."""
    if len(address) < 2:
        raise SysError(Kind.EINVAL)
    return int.from_bytes(address[:2], "little")


class Inet:
    """An address and a port; an IPv4 address that an IPv6 socket named is the IPv4 address."""

    __slots__ = ("ip", "port")

    def __init__(self, ip: bytes, port: int) -> None:
        self.ip = ip
        self.port = port

    @property
    def is_any(self) -> bool:
        return not any(self.ip)

    @property
    def is_loopback(self) -> bool:
        return self.ip[0] == 127 if len(self.ip) == 4 else self.ip == LOOPBACK6

    @classmethod
    def parse(cls, address: bytes, wanted: int) -> Inet:
        """The address that a socket of family `wanted` was given.  EINVAL, EAFNOSUPPORT."""
        if len(address) < (16 if wanted == AF_INET else 24):
            raise SysError(Kind.EINVAL)
        if family(address) != wanted:
            raise SysError(Kind.EAFNOSUPPORT)
        return cls.read(address)

    @classmethod
    def read(cls, address: bytes) -> Inet:
        """The address in a whole ``sockaddr_in`` or ``sockaddr_in6``."""
        if family(address) == AF_INET:
            port, ip = _IN.unpack(address[2:16])
            return cls(ip, port)
        port, _, ip, _ = _IN6.unpack(address[2:28].ljust(26, b"\0"))
        return cls(ip[12:] if ip[:12] == _MAPPED else ip, port)

    def pack(self, view: int) -> bytes:
        """The ``sockaddr`` as a socket of family `view` reports it."""
        if view == AF_INET:
            ip = self.ip if len(self.ip) == 4 else ANY4
            return AF_INET.to_bytes(2, "little") + _IN.pack(self.port, ip)
        ip = self.ip if len(self.ip) == 16 else _MAPPED + self.ip
        return AF_INET6.to_bytes(2, "little") + _IN6.pack(self.port, 0, ip, 0)


def unix(path: bytes) -> bytes:
    """The ``sockaddr_un`` of a path."""
    return AF_UNIX.to_bytes(2, "little") + path + b"\0"


UNNAMED = AF_UNIX.to_bytes(2, "little")


def unix_name(address: bytes) -> bytes:
    """What a guest's ``sockaddr_un`` names: a path, or a NUL and an abstract name; empty for autobind.  EINVAL.

    unix(7): a path ends at its NUL or with the address, an abstract name only with the address.
    """
    if family(address) != AF_UNIX or len(address) > UNIX_MAX:
        raise SysError(Kind.EINVAL)
    name = address[2:]
    return name if name[:1] == b"\0" else name.split(b"\0", 1)[0]
