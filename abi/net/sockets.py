"""What a socket is to the guest, told from the socket itself.

An internet or netlink socket of a sandbox without a network is really a unix socket.  That it is one is noted where it
lives as long as the socket does, and is copied, passed on and closed with it: in SO_INCOMING_CPU, a number that the kernel
keeps for every socket and that means nothing for a unix socket.  A guest cannot set it (the option is answered), and nothing
but what the guest is told hangs on it.  An accepted socket has no note yet, but its listener's name.
"""

from __future__ import annotations

import errno
import os

from abi.dispatch import Call
from abi.errors import Kind, SysError
from abi.net import host
from abi.net.addresses import SOCKADDR_MAX

_FAMILY = 0xFF
V6ONLY, REUSEPORT, UDPLITE, ON_LOOPBACK = 0x100, 0x200, 0x400, 0x800
TCP_PROTOCOL, UDP_PROTOCOL, UDPLITE_PROTOCOL = 6, 17, 136
_PORTID_SHIFT = 8


class Socket:
    """A copy of a guest's socket.  `family` is what the guest asked for; `made_up`: it is not what it really is.

    ENOTSOCK, EBADF.  A context manager, which closes the copy.
    """

    __slots__ = ("_names", "family", "fd", "kind", "made_up", "note")

    def __init__(self, fd: int, names) -> None:
        self.fd = fd
        self._names = names
        try:
            self.family = host.getint(fd, host.SOL_SOCKET, host.SO_DOMAIN)
            self.kind = host.getint(fd, host.SOL_SOCKET, host.SO_TYPE)
            self.made_up = False
            self.note = -1
            if self.family == host.AF_UNIX:
                self.note = host.getint(fd, host.SOL_SOCKET, host.SO_INCOMING_CPU)
                if self.note == -1 and names.given and (found := names.inet(host.getsockname(fd))):
                    self.note = found.family
                if self.note != -1:
                    self.family = self.note & _FAMILY
                    self.made_up = True
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def take(self) -> int:
        """The descriptor, which is the caller's to close from now on."""
        fd, self.fd = self.fd, -1
        return fd

    @property
    def is_unix(self) -> bool:
        return self.family == host.AF_UNIX

    @property
    def is_inet(self) -> bool:
        return self.family in (host.AF_INET, host.AF_INET6)

    @property
    def is_stream(self) -> bool:
        return self.kind == host.SOCK_STREAM

    @property
    def is_made_up_udp(self) -> bool:
        """Whether it is a datagram socket of the loopback inside."""
        return self.made_up and self.is_inet and not self.is_stream

    @property
    def protocol(self) -> int:
        """An internet socket's protocol, which has ports of its own."""
        if self.is_stream:
            return TCP_PROTOCOL
        return UDPLITE_PROTOCOL if self.has(UDPLITE) else UDP_PROTOCOL

    @property
    def portid(self) -> int:
        """A netlink socket's own number."""
        return self.note >> _PORTID_SHIFT

    def name(self):
        """The `Name` it was given, or None."""
        return self._names.find(host.getsockname(self.fd)) if self._names.given else None

    def has(self, flag: int) -> bool:
        return self.note != -1 and bool(self.note & flag)

    def set(self, flag: int, on: bool) -> None:
        """Note one of the flags of a made-up internet socket."""
        write_note(self.fd, self.note | flag if on else self.note & ~flag)


def write_note(fd: int, note: int) -> None:
    host.setint(fd, host.SOL_SOCKET, host.SO_INCOMING_CPU, note)


def netlink_note(portid: int) -> int:
    return host.AF_NETLINK | portid << _PORTID_SHIFT


def socket_of(call: Call, fd: int) -> Socket:
    """The socket that a guest's descriptor is.  EBADF, ENOTSOCK."""
    return Socket(call.files.get(fd), call.sandbox.network.names)


def check_is_socket(call: Call, fd: int) -> None:
    """ENOTTY, which is what a request for sockets comes to on anything else; EBADF."""
    try:
        socket_of(call, fd).close()
    except OSError as problem:
        if problem.errno == errno.ENOTSOCK:
            raise SysError(Kind.ENOTTY) from None
        raise


def read_address(call: Call, pointer: int, length: int) -> bytes:
    """The ``sockaddr`` a guest points to, copied once.  EINVAL, EFAULT."""
    if not 0 <= length <= SOCKADDR_MAX:
        raise SysError(Kind.EINVAL)
    return call.memory.read(pointer, length) if length else b""


def creds(call: Call) -> tuple[int, int, int]:
    """Host pid, uid and gid of the caller, the ids being those it believes in, as SO_PEERCRED tells them."""
    ids = call.credentials
    return call.process.pid, ids.euid, ids.egid


def sender(call: Call) -> tuple[int, int, int]:
    """The same as SCM_CREDENTIALS tells them, which has the real ids."""
    ids = call.credentials
    return call.process.pid, ids.uid, ids.gid
