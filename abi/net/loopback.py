"""The internet inside a sandbox without a network: 127.0.0.0/8 and ::1, on unix sockets that nobody outside can reach.

A stream socket is a unix stream socket, a datagram socket a unix datagram socket; addresses and ports are kept in
`abi.net.names`, data never leaves the kernel.  What is different from TCP and UDP is told in docs/security.md: a
datagram's sender waits where UDP would drop, and options of the protocols are remembered at most.
"""

from __future__ import annotations

import errno
import itertools
import os

from abi.dispatch import Call
from abi.errors import Kind, SysError
from abi.net import host, queues
from abi.net.addresses import ANY4, ANY6, LOOPBACK4, LOOPBACK6, Inet, family
from abi.net.names import Marks, Name, Names
from abi.net.network import host_loopback
from abi.net.options import IP, IPV6
from abi.net.sockets import REUSEPORT, UDPLITE, UDPLITE_PROTOCOL, V6ONLY, Socket, creds, write_note

_CAP_NET_BIND_SERVICE = 10
_UNPRIVILEGED = 1024
_EPHEMERAL = range(32768, 61000)  # as ip_local_port_range has them
_BACKLOG = 4096  # a client that finds no room waits for TCP, which then sends its SYN again; here nothing would
_NOT_TAKEN = (errno.EAGAIN, errno.ECONNREFUSED, errno.EPERM, errno.ENOBUFS)


def socket(domain: int, flags: int, protocol: int) -> int:
    """A new socket of type `flags`."""
    fd = host.socket(host.AF_UNIX, flags | host.SOCK_CLOEXEC)
    write_note(fd, domain | UDPLITE if protocol == UDPLITE_PROTOCOL else domain)
    return fd


# -- names ------------------------------------------------------------------------------------------


def _any(sock: Socket) -> bytes:
    return ANY4 if sock.family == host.AF_INET else ANY6


def _loopback(ip: bytes) -> bytes:
    return LOOPBACK4 if len(ip) == 4 else LOOPBACK6


def bind(call: Call, sock: Socket, address: bytes) -> None:
    """bind(2).  EADDRNOTAVAIL for an address that is not of the loopback, EACCES, EADDRINUSE, EINVAL."""
    if sock.family == host.AF_INET and len(address) >= 16 and family(address) == 0 and not any(address[4:8]):
        address = host.AF_INET.to_bytes(2, "little") + address[2:]  # as Linux has it for old programs
    where = Inet.parse(address, sock.family)
    if sock.name() is not None:
        raise SysError(Kind.EINVAL)
    if not where.is_any and not where.is_loopback:
        raise SysError(Kind.EADDRNOTAVAIL)
    if 0 < where.port < _UNPRIVILEGED and not call.credentials.capable(_CAP_NET_BIND_SERVICE):
        raise SysError(Kind.EACCES)
    _give(call, sock, where)


def _give(call: Call, sock: Socket, where: Inet, to: Inet | None = None) -> Name:
    network = call.sandbox.network
    names = network.names
    v6only = sock.has(V6ONLY)
    reuse = _reuses(sock)
    if where.port == 0:
        where = Inet(where.ip, _free_port(network, sock.protocol))
    elif any(_conflict(sock, where, v6only, reuse, other) for other in names.at(sock.protocol, where.port)):
        raise SysError(Kind.EADDRINUSE)
    name = names.give(sock.fd, sock.kind, where, sock.family, to)
    name.creds = creds(call)
    names.at_port(name, sock.protocol, reuse, v6only)
    return name


def _reuses(sock: Socket) -> bool:
    """Whether a socket may share its port with another that says the same.

    SO_REUSEADDR alone lets two datagram sockets share a port, while of two streams one would only have to end first.
    """
    if sock.has(REUSEPORT):
        return True
    return not sock.is_stream and bool(host.getint(sock.fd, host.SOL_SOCKET, host.SO_REUSEADDR))


def _conflict(sock: Socket, where: Inet, v6only: bool, reuse: bool, other: Name) -> bool:
    if reuse and other.reuse:
        return False
    if len(where.ip) != len(other.inet.ip):  # only a wildcard of IPv6 that speaks IPv4 too meets an IPv4 address
        six, only = (where.ip, v6only) if len(where.ip) == 16 else (other.inet.ip, other.v6only)
        return not any(six) and not only
    return where.is_any or other.inet.is_any or where.ip == other.inet.ip


def _free_port(network, protocol: int) -> int:
    if not network.next_port:
        network.next_port = _EPHEMERAL.start + int.from_bytes(os.urandom(2), "little") % len(_EPHEMERAL)
    for _ in _EPHEMERAL:
        port = network.next_port
        network.next_port = port + 1 if port + 1 in _EPHEMERAL else _EPHEMERAL.start
        if not network.names.at(protocol, port):
            return port
    raise SysError(Kind.EADDRINUSE)


def named(call: Call, sock: Socket, to: Inet | None = None) -> Name:
    """The socket's name; one without gets a port of its own."""
    name = sock.name()
    if name is None:
        ip = _any(sock) if to is None else _loopback(to.ip)
        name = _give(call, sock, Inet(ip, 0), to)
    return name


_turns = itertools.count()


def find(call: Call, protocol: int, where: Inet) -> Name | None:
    """Who is to be had at an address: an exact one before a wildcard, and in turns where several share it."""
    found: dict[int, list[Name]] = {}
    for name in call.sandbox.network.names.at(protocol, where.port):
        if name.inet.ip == where.ip:
            found.setdefault(0, []).append(name)
        elif name.inet.is_any and (len(name.inet.ip) == len(where.ip) or (len(where.ip) == 4 and not name.v6only)):
            found.setdefault(1 if len(name.inet.ip) == len(where.ip) else 2, []).append(name)
    if not found:
        return None
    best = found[min(found)]
    return best[next(_turns) % len(best)]


def destination(sock: Socket, address: bytes) -> Inet:
    """Where a guest wants to go.  ENETUNREACH for what is outside."""
    where = Inet.parse(address, sock.family)
    where = Inet(host_loopback(where.ip), where.port)
    if not where.is_loopback or (len(where.ip) == 4 and sock.has(V6ONLY)):
        raise SysError(Kind.ENETUNREACH)
    return where


# -- use --------------------------------------------------------------------------------------------


def listen(call: Call, sock: Socket, backlog: int) -> None:
    """listen(2); without bind(2) before, on a port of the kernel's choice."""
    named(call, sock)
    host.listen(sock.fd, max(backlog, _BACKLOG))


def connect(call: Call, sock: Socket, address: bytes) -> Name | None:
    """Whom to connect a socket to; None where that is done already.

    ECONNREFUSED, EISCONN, ENETUNREACH.
    """
    where = destination(sock, address)
    if sock.is_stream and host.is_connected(sock.fd):
        raise SysError(Kind.EISCONN)
    name = find(call, sock.protocol, where)
    if name is None and sock.is_stream:
        raise SysError(Kind.ECONNREFUSED)
    named(call, sock, where)
    if name is None:
        _connect_to_nobody(call, sock, where)
    return name


def _connect_to_nobody(call: Call, sock: Socket, where: Inet) -> None:
    """A datagram socket connects also where nobody is; that it is refused is said when it sends."""
    fd = host.socket(host.AF_UNIX, host.SOCK_DGRAM | host.SOCK_CLOEXEC)
    try:
        family_of = host.AF_INET if len(where.ip) == 4 else host.AF_INET6
        nobody = call.sandbox.network.names.give(fd, host.SOCK_DGRAM, where, family_of)
        host.connect_now(sock.fd, nobody.address)
    finally:
        os.close(fd)


def marks_of(call: Call, sock: Socket, hops: int = -1, tclass: int = -1) -> Marks:
    """What a datagram is marked with, by its control messages (-1: nothing) or by its socket's options."""
    options = call.sandbox.network.options
    level, of_hops, of_tclass = (IP, 2, 1) if sock.family == host.AF_INET else (IPV6, 16, 67)
    return Marks(
        options.get(sock, level, of_hops) if hops == -1 else hops, options.get(sock, level, of_tclass) if tclass == -1 else tclass
    )  # fmt: skip


def send(call: Call, sock: Socket, data: bytes, address: bytes, flags: int, marks: Marks) -> int:
    """sendto(2) of a datagram, to the peer if there is no address; like UDP's it is lost where nobody takes it."""
    if not address:
        address = peer_address(call.sandbox.network.names, sock)
    where = destination(sock, address)
    if where.port == 0:
        raise SysError(Kind.EINVAL)
    own = named(call, sock)
    if len(data) > 65507:
        raise SysError(Kind.EMSGSIZE)
    name = find(call, sock.protocol, where)
    if name is None:
        return len(data)
    if name.queue is not None:  # others came before
        name.queue.put(data, own, sock.family, where, marks)
        return len(data)
    flags |= host.MSG_DONTWAIT | host.MSG_NOSIGNAL
    names = call.sandbox.network.names
    try:
        if not marks.usual or where.ip not in (LOOPBACK4, LOOPBACK6):
            try:
                return names.send_marked(data, name.address, own, sock.family, where, marks, flags)
            except OSError as problem:
                if host.would_block(problem):
                    raise
                # It takes no datagram but from the socket itself, or none at all.
        return host.sendmsg(sock.fd, data, name.address, b"", flags)
    except OSError as problem:
        if problem.errno not in _NOT_TAKEN:
            raise
        if host.would_block(problem):
            queues.wait(call.sandbox.network, name, data, own, sock.family, where, marks)
        return len(data)


# -- what the guest is told -------------------------------------------------------------------------


def own_address(names: Names, sock: Socket) -> bytes:
    """getsockname(2)."""
    told = names.inet(host.getsockname(sock.fd))
    if told is None:
        return Inet(_any(sock), 0).pack(sock.family)
    ip = told.address.ip
    if not any(ip):
        ip = _met_at(names, sock, ip)
    return Inet(ip, told.address.port).pack(sock.family)


def _met_at(names: Names, sock: Socket, ip: bytes) -> bytes:
    """The address at which a connected socket that is bound to a wildcard was met."""
    try:
        theirs = names.inet(host.getpeername(sock.fd))
    except OSError:
        return ip
    if theirs is None:
        return ip
    return theirs.to.ip if theirs.to is not None else _loopback(theirs.address.ip)


def peer_address(names: Names, sock: Socket) -> bytes:
    """getpeername(2).  ENOTCONN."""
    theirs, ours = names.inet(host.getpeername(sock.fd)), names.inet(host.getsockname(sock.fd))
    if theirs is None or ours is None or any(theirs.address.ip):
        return shown(names, sock.family, host.getpeername(sock.fd))
    met = ours.to.ip if ours.to is not None else _loopback(ours.address.ip)
    return Inet(met, theirs.address.port).pack(sock.family)


def shown(names: Names, view: int, raw: bytes) -> bytes:
    """The internet address that a kernel's name of another socket stands for, as a socket of family `view` reports it."""
    told = names.inet(raw)
    if told is None:
        return Inet(ANY4 if view == host.AF_INET else ANY6, 0).pack(view)
    ip = told.address.ip
    return Inet(ip if any(ip) else _loopback(ip), told.address.port).pack(view)
