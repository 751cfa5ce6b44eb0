"""What the network of one sandbox is: none, or the host's; what may be reached on it, and which ports are published."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from abi.errors import Kind, SysError
from abi.net.addresses import Inet
from abi.net.names import Names
from abi.net.options import Options


class Allowed:
    """One place that may be reached: an address, or None for every one, and a port, or None for every one."""

    __slots__ = ("ip", "port")

    def __init__(self, ip: bytes | None, port: int | None) -> None:
        self.ip = ip
        self.port = port

    def covers(self, where: Inet) -> bool:
        return self.ip in (None, where.ip) and self.port in (None, where.port)


class Network:
    """`allowed` is None where everything is; `published` maps a guest's port to the host's.

    `make_directory` gives the private directory that sockets are named in (`abi.net.names`).  `serve(fd, answer)` has
    the supervisor's loop call ``answer()`` whenever `fd` can be read, until that gives False.
    """

    def __init__(
        self, on_host: bool = False, allowed: Sequence[Allowed] | None = None, published: dict[int, int] | None = None,
        make_directory: Callable[[], bytes] | None = None,
    ) -> None:  # fmt: skip
        self.on_host = on_host
        self.allowed = allowed
        self.published = published or {}
        self._shown = {theirs: ours for ours, theirs in self.published.items()}
        self.names = Names(make_directory or _temporary)
        self.options = Options()
        self.serve: Callable | None = None
        #: ``judge(use, address)`` of a policy raises EACCES; use is ``connect`` or ``listen``, the address the guest's own.
        self.judge: Callable[[str, bytes], None] | None = None
        self.portids = 0
        self.next_port = 0

    # -- the host's network -------------------------------------------------------------------

    def target(self, address: bytes, family: int) -> bytes:
        """Where a real internet socket may go instead of `address`, which a guest named.  ENETUNREACH, EACCES.

        ENETUNREACH where there is no network, EACCES where the list does not have the place.
        """
        where = Inet.parse(address, family)
        if not self.on_host:
            raise SysError(Kind.ENETUNREACH)
        judged = Inet(host_loopback(where.ip), where.port)
        port = self.published.get(where.port, where.port) if judged.is_loopback else where.port
        if self.allowed is not None and not any(place.covers(judged) for place in self.allowed):
            own = judged.is_loopback and port in self._shown
            if not own:
                raise SysError(Kind.EACCES)
        if self.judge is not None:
            self.judge("connect", address)
        return with_port(address, port)

    def place(self, address: bytes, family: int) -> tuple[bytes, bool]:
        """Where a real internet socket is bound instead of `address`, and whether a person published that port."""
        port = Inet.parse(address, family).port
        if not self.on_host:
            raise SysError(Kind.EADDRNOTAVAIL)
        if self.judge is not None:
            self.judge("listen", address)
        if port in self.published:
            return with_port(address, self.published[port]), True
        if port in self._shown:  # which another port of the guest's goes to
            raise SysError(Kind.EADDRINUSE)
        return address, False

    def shown(self, address: bytes, own: bool = True) -> bytes:
        """A real socket's own address, or its peer's, as the guest knows it."""
        if len(address) < 16 or not self._shown:
            return address
        where = Inet.read(address)
        if not own and not where.is_loopback:
            return address
        return with_port(address, self._shown.get(where.port, where.port))


def _temporary() -> bytes:
    from tempfile import mkdtemp

    return mkdtemp(prefix="int80-").encode()


def with_port(address: bytes, port: int) -> bytes:
    """A ``sockaddr_in`` or ``sockaddr_in6`` with another port."""
    return address[:2] + port.to_bytes(2, "big") + address[4:]


def host_loopback(ip: bytes) -> bytes:
    """The address that a destination of all zeros stands for."""
    if any(ip):
        return ip
    return b"\x7f\0\0\1" if len(ip) == 4 else bytes(15) + b"\1"

