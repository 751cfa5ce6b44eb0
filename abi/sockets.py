"""Sockets: made, named, connected.  No address that a guest writes reaches the kernel (`abi.net`).

Sending and receiving are in `abi.socketmessages`, options in `abi.socketoptions`.
"""

from __future__ import annotations

import os
import stat

from abi.dispatch import AT_FDCWD, OK, Call, InstallFile, Later, Native, Plane, Return, Support, When
from abi.errors import Kind, SysError
from abi.linux import linux
from abi.making import confine, give
from abi.net import host, loopback
from abi.net.addresses import SOCKADDR_MAX, UNNAMED, family, unix_name
from abi.net.host import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
from abi.net.names import Held, Name
from abi.net.sockets import Socket, creds, read_address, socket_of
from vfs.landlock import MAKE_SOCK
from vfs.namespace import Location, OpenFile
from vfs.rights import WRITE

_TYPE = 0xF
_FLAGS = host.SOCK_NONBLOCK | host.SOCK_CLOEXEC
_TCP, _UDP, _ICMP, _ICMPV6, _UDPLITE = 6, 17, 1, 58, 136
_W_OK = 2

_INSIDE = "internet sockets reach the sandbox's own loopback, or with --net host what is allowed (docs/security.md)"


# -- making -----------------------------------------------------------------------------------------


@linux.answer(
    41,
    "socket",
    "unix, internet (TCP and UDP) and NETLINK_ROUTE sockets; raw ones are EPERM, other families EAFNOSUPPORT",
    Support.PARTIAL,
    # With --net host the call is steered, and what is made up here can be handed over by an answer only.
    when=[When(0, (AF_UNIX,), Plane.NATIVE), When(2, (host.NETLINK_SOCK_DIAG, host.NETLINK_KOBJECT_UEVENT), Plane.ANSWER)],
)
def socket(call: Call):
    """socket(2).  A real internet socket is made by the guest itself, so that it has the guest's rights, which are none."""
    domain, flags, protocol = call.int(0), call.int(1), call.int(2)
    kind = flags & _TYPE
    if flags & ~(_TYPE | _FLAGS):
        raise SysError(Kind.EINVAL)
    network = call.sandbox.network
    match domain:
        case c if c in (AF_INET, AF_INET6):
            _check_protocol(kind, protocol, network)
            if network.on_host:
                return Native()
            fd = loopback.socket(domain, flags & ~host.SOCK_CLOEXEC, protocol)
        case c if c == AF_NETLINK:
            if kind not in (SOCK_RAW, SOCK_DGRAM):
                raise SysError(Kind.ESOCKTNOSUPPORT)
            if protocol not in (host.NETLINK_ROUTE, host.NETLINK_SOCK_DIAG, host.NETLINK_KOBJECT_UEVENT):
                raise SysError(Kind.EPROTONOSUPPORT)
            if network.on_host and protocol == host.NETLINK_ROUTE:
                return Native()
            from abi.net import netlink

            fd = netlink.socket(network, flags & host.SOCK_NONBLOCK, protocol)
        case c if c == AF_PACKET:
            raise SysError(Kind.EPERM)
        case c if c == AF_UNIX:
            return Native()
        case _:
            raise SysError(Kind.EAFNOSUPPORT)
    return InstallFile(fd, bool(flags & host.SOCK_CLOEXEC))


def _check_protocol(kind: int, protocol: int, network) -> None:
    """TCP and UDP; and ping's sockets, on the host's network if nothing says where they may go."""
    if kind == SOCK_STREAM and protocol in (0, _TCP):
        return
    if kind == SOCK_DGRAM and (protocol in (0, _UDP) or (protocol == _UDPLITE and network.allowed is None)):
        return
    if kind == SOCK_RAW:
        raise SysError(Kind.EPERM)
    if kind == SOCK_DGRAM and protocol in (_ICMP, _ICMPV6):
        if network.on_host and network.allowed is None:
            return
        raise SysError(Kind.EACCES)
    raise SysError(Kind.EPROTONOSUPPORT if kind in (SOCK_STREAM, SOCK_DGRAM) else Kind.ESOCKTNOSUPPORT)


linux.refuse(
    53,
    "socketpair",
    Kind.EAFNOSUPPORT,
    "of unix sockets, as natively",
    Support.FULL,
    when=[
        When(0, (AF_UNIX,), Plane.NATIVE),
        When(0, (AF_INET, AF_INET6, AF_NETLINK, AF_PACKET), Plane.REFUSE, Kind.EOPNOTSUPP),
    ],
)


@linux.answer(48, "shutdown")
def shutdown(call: Call):
    """shutdown(2).  A unix socket may be shut down before it has a peer, one of the internet may not."""
    with socket_of(call, call.int(0)) as sock:
        how = call.int(1)
        meant = sock.made_up and sock.is_inet and 0 <= how <= 2
        if meant and not host.is_connected(sock.fd) and not host.getint(sock.fd, host.SOL_SOCKET, host.SO_ACCEPTCONN):
            raise SysError(Kind.ENOTCONN)
        host.shutdown(sock.fd, how)
    return OK


# -- bind -------------------------------------------------------------------------------------------


@linux.answer(49, "bind", _INSIDE, Support.PARTIAL)
def bind(call: Call):
    with socket_of(call, call.int(0)) as sock:
        address = read_address(call, call.args[1], call.int(2))
        if sock.is_unix:
            _bind_unix(call, sock, address)
        elif sock.is_inet and sock.made_up:
            loopback.bind(call, sock, address)
        elif sock.is_inet:
            place, published = call.sandbox.network.place(address, sock.family)
            if published:
                host.bind(sock.fd, place)
            else:
                with host.without_rights():
                    host.bind(sock.fd, place)
        elif sock.family == AF_NETLINK:
            _bind_netlink(call, sock, address)
        else:
            raise SysError(Kind.EOPNOTSUPP)
    return OK


def _bind_netlink(call: Call, sock: Socket, address: bytes) -> None:
    if len(address) < 12 or family(address) != AF_NETLINK:
        raise SysError(Kind.EINVAL)
    if not sock.made_up:
        if not call.sandbox.network.on_host:
            raise SysError(Kind.EOPNOTSUPP)
        with host.without_rights():
            host.bind(sock.fd, address)


def _bind_unix(call: Call, sock: Socket, address: bytes) -> None:
    names = call.sandbox.network.names
    wanted = unix_name(address)
    name = sock.name()
    if name is not None and name.shown != UNNAMED:
        if wanted:
            raise SysError(Kind.EINVAL)
        return
    if wanted[:1] not in (b"", b"\0"):
        _bind_file(call, sock, name, wanted)
        return
    if not wanted:
        wanted = next(
            abstract for number in range(1 << 20) if names.living(names.abstract.get(abstract := b"\0%05x" % number)) is None
        )
    elif names.living(names.abstract.get(wanted)) is not None:
        raise SysError(Kind.EADDRINUSE)
    names.at_abstract(name or _give(call, sock), wanted)


def _give(call: Call, sock: Socket) -> Name:
    name = call.sandbox.network.names.give(sock.fd, sock.kind)
    name.creds = creds(call)
    return name


def _bind_file(call: Call, sock: Socket, name: Name | None, path: bytes) -> None:
    from abi.names import new_name

    try:
        parent = new_name(call, AT_FDCWD, path)
        mode = stat.S_IFSOCK | os.fstat(sock.fd).st_mode & 0o777 & ~call.process.fs.umask
        where = parent.location
        confine(call, where.path, MAKE_SOCK)
        where.fs.mknod(where.node, parent.name, mode, 0)
        give(call, where, parent.name)
    except FileExistsError:
        raise SysError(Kind.EADDRINUSE) from None
    except SysError as failure:
        raise SysError(Kind.EADDRINUSE) if failure.kind is Kind.EEXIST else failure from None
    made = where.fs.lookup(where.node, parent.name)
    names = call.sandbox.network.names
    names.at_file(name or _give(call, sock), os.dup(made.fd), UNNAMED + path + b"\0")


# -- connect ----------------------------------------------------------------------------------------


@linux.answer(42, "connect", _INSIDE, Support.PARTIAL)
def connect(call: Call):
    with socket_of(call, call.int(0)) as sock:
        address = read_address(call, call.args[1], call.int(2))
        if family(address) == host.AF_UNSPEC:
            return _disconnect(call, sock)
        if sock.is_unix:
            target = _connect_unix(call, sock, address)
        elif sock.is_inet and sock.made_up:
            target = loopback.connect(call, sock, address)
        elif sock.is_inet:
            return _connect_real(sock, call.sandbox.network.target(address, sock.family))
        elif sock.family == AF_NETLINK:
            return OK if sock.made_up else _connect_netlink(call, sock, address)
        else:
            raise SysError(Kind.EOPNOTSUPP)
        if target is None:
            return OK
        try:
            host.connect_now(sock.fd, target.address)
        except OSError as problem:
            if not host.would_block(problem) or not host.is_blocking(sock.fd):
                raise
            return _connect_later(sock, held=target.hold())
        if sock.made_up and sock.is_stream and not host.is_blocking(sock.fd):
            raise SysError(Kind.EINPROGRESS)  # as TCP always has it; by the time anybody polls it is done
    return OK


def _disconnect(call: Call, sock: Socket):
    """connect(2) to AF_UNSPEC: a datagram socket has no peer any more, a stream is reset."""
    if sock.made_up and sock.is_stream:
        raise SysError(Kind.EOPNOTSUPP)
    if not sock.is_unix and not sock.made_up and not call.sandbox.network.on_host:
        raise SysError(Kind.ENETUNREACH)
    with host.without_rights():
        host.connect_now(sock.fd, bytes(16))
    return OK


def _connect_real(sock: Socket, target: bytes):
    """On the host's network: TCP takes its time."""
    if sock.is_stream and host.is_blocking(sock.fd):
        return _connect_later(sock, target)
    with host.without_rights():
        host.connect_now(sock.fd, target)
    return OK


def _connect_netlink(call: Call, sock: Socket, address: bytes):
    if not call.sandbox.network.on_host:
        raise SysError(Kind.EOPNOTSUPP)
    with host.without_rights():
        host.connect_now(sock.fd, address)
    return OK


def _connect_later(sock: Socket, target: bytes = b"", held: Held | None = None) -> Later:
    own = OpenFile(os.dup(sock.fd))

    def work(cancelled):
        with host.without_rights():
            host.connect(own.fd, target if held is None else held.address)
        return Return(0)

    return Later(work)


def _connect_unix(call: Call, sock: Socket, address: bytes) -> Name:
    target = find_unix(call, address)
    name = sock.name()
    passes = sock.kind != SOCK_DGRAM or host.getint(sock.fd, host.SOL_SOCKET, host.SO_PASSCRED)
    if name is None and passes:  # for SO_PEERCRED at the other end; and the kernel would choose a name that others can reach
        name = _give(call, sock)
    if name is not None:
        name.creds = creds(call)
    return target


def find_unix(call: Call, address: bytes) -> Name:
    """Who is bound to what a guest's ``sockaddr_un`` says.  ECONNREFUSED, and all that a path can fail with."""
    names = call.sandbox.network.names
    wanted = unix_name(address)
    if not wanted:
        raise SysError(Kind.EINVAL if len(address) == 2 else Kind.ENOENT)
    if wanted[:1] == b"\0":
        found = names.living(names.abstract.get(wanted))
    else:
        place = call.find(AT_FDCWD, wanted)
        if isinstance(place, Location):
            if not stat.S_ISSOCK(place.node.mode):
                raise SysError(Kind.ECONNREFUSED)
            if call.rights is not None:
                call.rights.check(place, WRITE)
            found = names.at_inode(place.node.fd)
            if found is None and not place.fs.access(place.node, _W_OK):  # one of the host's
                raise SysError(Kind.EACCES)
        else:
            found = names.at_inode(place.fd)
    if found is None:
        raise SysError(Kind.ECONNREFUSED)
    return found


# -- listen and accept ------------------------------------------------------------------------------


@linux.answer(50, "listen")
def listen(call: Call):
    with socket_of(call, call.int(0)) as sock:
        if sock.is_inet and sock.made_up:
            if not sock.is_stream:
                raise SysError(Kind.EOPNOTSUPP)
            loopback.listen(call, sock, call.int(1))
            return OK
        if sock.made_up:
            raise SysError(Kind.EOPNOTSUPP)
        name = sock.name()
        if name is not None:
            name.creds = creds(call)
        with host.without_rights():
            host.listen(sock.fd, call.int(1))
    return OK


_ROOM = 112  # the longest address the kernel may have to tell


def room_for_address(call: Call, pointer: int, length_pointer: int):
    """Where the kernel may write an address it tells: (pointer, length pointer, the guest's length).

    The kernel's name of a socket may be longer than the guest's, and must not be cut before it is looked up.
    """
    length = int.from_bytes(call.memory.read(length_pointer, 4), "little", signed=True)
    if length < 0:
        raise SysError(Kind.EINVAL)
    if length >= _ROOM:
        return pointer, length_pointer, length
    place = call.below(_ROOM + 8)
    call.memory.write(place, _ROOM.to_bytes(4, "little"))
    return place + 8, place, length


def tell_address(call: Call, pointer: int, length_pointer: int, room: int, address: bytes) -> None:
    """Write an address as the kernel does: cut to the room there is, with its whole length."""
    call.memory.write(pointer, address[:room])
    call.memory.write(length_pointer, len(address).to_bytes(4, "little"))


def told_address(call: Call, place: tuple[int, int, int]) -> bytes:
    """What the kernel wrote to the room that `room_for_address` gave."""
    length = int.from_bytes(call.memory.read(place[1], 4), "little")
    return call.memory.read(place[0], min(length, SOCKADDR_MAX)) if length else b""


def _accept(call: Call):
    if not call.args[1]:
        return Native()
    with socket_of(call, call.int(0)) as sock:
        view = sock.family if sock.made_up else 0
        is_unix = sock.is_unix
    place = room_for_address(call, call.args[1], call.args[2])

    def after(value: int) -> int:
        if value >= 0:
            raw = told_address(call, place)
            shown = loopback.shown(call.sandbox.network.names, view, raw) if view else shown_unix(call, raw) if is_unix else raw
            tell_address(call, call.args[1], call.args[2], place[2], shown)
        return value

    return Native({1: place[0], 2: place[1]}, after=after)


_NO_ADDRESS = [When(1, (0,), Plane.NATIVE, whole=True)]


@linux.steer(43, "accept", when=_NO_ADDRESS)
def accept(call: Call):
    return _accept(call)


@linux.steer(288, "accept4", when=_NO_ADDRESS)
def accept4(call: Call):
    return _accept(call)


# -- what a socket's names are ----------------------------------------------------------------------


def shown_unix(call: Call, raw: bytes) -> bytes:
    """A unix socket's name as the guest gave it; one from outside has none."""
    if len(raw) <= 2:
        return raw
    name = call.sandbox.network.names.find(raw)
    return UNNAMED if name is None else name.shown


def _tell_name(call: Call, address: bytes):
    room = int.from_bytes(call.memory.read(call.args[2], 4), "little", signed=True)
    if room < 0:
        raise SysError(Kind.EINVAL)
    tell_address(call, call.args[1], call.args[2], room, address)
    return OK


@linux.answer(51, "getsockname")
def getsockname(call: Call):
    with socket_of(call, call.int(0)) as sock:
        if sock.made_up:
            address = loopback.own_address(call.sandbox.network.names, sock) if sock.is_inet else _netlink_address(sock.portid)
        elif sock.is_unix:
            address = shown_unix(call, host.getsockname(sock.fd))
        else:
            address = host.getsockname(sock.fd)
            if sock.is_inet:
                address = call.sandbox.network.shown(address)
    return _tell_name(call, address)


@linux.answer(52, "getpeername")
def getpeername(call: Call):
    with socket_of(call, call.int(0)) as sock:
        if sock.made_up:
            address = loopback.peer_address(call.sandbox.network.names, sock) if sock.is_inet else _netlink_address(0)
        elif sock.is_unix:
            address = shown_unix(call, host.getpeername(sock.fd))
        else:
            address = host.getpeername(sock.fd)
            if sock.is_inet:
                address = call.sandbox.network.shown(address, own=False)
    return _tell_name(call, address)


def _netlink_address(portid: int) -> bytes:
    return AF_NETLINK.to_bytes(4, "little") + portid.to_bytes(4, "little") + bytes(4)

