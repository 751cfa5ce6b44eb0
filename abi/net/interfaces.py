"""The interface requests of ioctl(2): of the host's network the kernel answers, inside there is the loopback.  netdevice(7)."""

from __future__ import annotations

import struct

from abi.dispatch import OK, Call, Native
from abi.errors import Kind, SysError
from abi.net import host
from abi.net.addresses import LOOPBACK4, Inet
from abi.net.netlink import INDEX, MTU, NAME
from abi.net.sockets import check_is_socket

_GIFNAME, _GIFCONF = 0x8910, 0x8912
_GIFINDEX = 0x8933
_IFREQ = 40
_FLAGS = 0x49  # UP, LOOPBACK, RUNNING
_ARPHRD_LOOPBACK = 772


def _inet(ip: bytes) -> bytes:
    return Inet(ip, 0).pack(host.AF_INET)


# What stands behind the name in a ``struct ifreq``.
_ANSWERS = {
    0x8913: struct.pack("<h", _FLAGS),  # SIOCGIFFLAGS
    0x8915: _inet(LOOPBACK4),  # SIOCGIFADDR
    0x8917: _inet(bytes(4)),  # SIOCGIFDSTADDR
    0x8919: _inet(bytes(4)),  # SIOCGIFBRDADDR
    0x891B: _inet(b"\xff\0\0\0"),  # SIOCGIFNETMASK
    0x891D: struct.pack("<i", 0),  # SIOCGIFMETRIC
    0x8921: struct.pack("<i", MTU),  # SIOCGIFMTU
    0x8927: struct.pack("<H14x", _ARPHRD_LOOPBACK),  # SIOCGIFHWADDR
    _GIFINDEX: struct.pack("<i", INDEX),
    0x8942: struct.pack("<i", 1000),  # SIOCGIFTXQLEN
    0x8970: bytes(24),  # SIOCGIFMAP
}
_CHANGES = frozenset(range(0x8914, 0x8944, 2)) | {0x890B, 0x890C, 0x8911, 0x8923, 0x8931, 0x8946}

#: All requests of this kind.
REQUESTS = frozenset(_ANSWERS) | _CHANGES | {_GIFNAME, _GIFCONF}


def ioctl(call: Call, request: int):
    """ENODEV for another interface than there is, EPERM for what changes one, ENOTTY on what is no socket."""
    check_is_socket(call, call.int(0))
    if call.sandbox.network.on_host:
        return Native()
    memory, address = call.memory, call.args[2]
    if request in _CHANGES and request not in _ANSWERS:
        raise SysError(Kind.EPERM)
    if request == _GIFCONF:
        length, where = struct.unpack("<i4xQ", memory.read(address, 16))
        entry = NAME.ljust(16, b"\0") + _inet(LOOPBACK4).ljust(_IFREQ - 16, b"\0")
        if where:
            entry = entry if length >= _IFREQ else b""
            memory.write(where, entry)
        memory.write(address, len(entry).to_bytes(4, "little"))
        return OK
    ifreq = memory.read(address, _IFREQ)
    if request == _GIFNAME:
        if int.from_bytes(ifreq[16:20], "little", signed=True) != INDEX:
            raise SysError(Kind.ENODEV)
        memory.write(address, NAME.ljust(16, b"\0"))
        return OK
    if ifreq[:16].split(b"\0", 1)[0] != NAME[:-1]:
        raise SysError(Kind.ENODEV)
    memory.write(address + 16, _ANSWERS[request])
    return OK
