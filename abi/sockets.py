"""Sockets.  For now pairs, and what can be done with a socket that was handed in: no address is reachable."""

from __future__ import annotations

from abi.dispatch import Plane, Support, When
from abi.errors import Kind
from abi.linux import linux

_NO_NET = "no network, and no socket by name, yet"

linux.refuse(41, "socket", Kind.EAFNOSUPPORT, _NO_NET)
linux.refuse(42, "connect", Kind.EOPNOTSUPP, _NO_NET)
linux.refuse(49, "bind", Kind.EOPNOTSUPP, _NO_NET)
linux.refuse(50, "listen", Kind.EOPNOTSUPP, _NO_NET)
linux.refuse(43, "accept", Kind.EOPNOTSUPP, _NO_NET)
linux.refuse(288, "accept4", Kind.EOPNOTSUPP, _NO_NET)

# A pair of datagram sockets could still send to an address, one of the host's: so streams only.
linux.refuse(
    53,
    "socketpair",
    Kind.EPROTONOSUPPORT,
    "SOCK_STREAM and SOCK_SEQPACKET only",
    Support.PARTIAL,
    when=[When(1, (1, 5), Plane.NATIVE, mask=0xF)],
)
for _number, _name in (
    (44, "sendto"), (45, "recvfrom"), (46, "sendmsg"), (47, "recvmsg"), (48, "shutdown"), (51, "getsockname"),
    (52, "getpeername"), (54, "setsockopt"), (55, "getsockopt"), (299, "recvmmsg"), (307, "sendmmsg"),
):  # fmt: skip
    linux.native(_number, _name, "on socket pairs and on sockets handed in", Support.PARTIAL)
