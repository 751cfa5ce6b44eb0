"""getsockopt and setsockopt: the kernel's, but for options that name processes, or that a made-up socket does not have."""

from __future__ import annotations

from abi.dispatch import OK, Call, Native, Plane, Support, When
from abi.errors import Kind, SysError
from abi.linux import linux
from abi.net import control, host
from abi.net.host import SO_ACCEPTCONN, SO_INCOMING_CPU, SO_PASSCRED, SO_PEERCRED, SO_REUSEPORT, SO_TYPE, SOCK_RAW, SOL_SOCKET
from abi.net.netlink import NAME
from abi.net.options import CONGESTION, IP, IPV6, TCP, UDP
from abi.net.sockets import ON_LOOPBACK, REUSEPORT, V6ONLY, Socket, socket_of

_SO_BINDTODEVICE, _SO_ATTACH_FILTER, _SO_PEERSEC, _SO_MARK, _SO_PROTOCOL, _SO_DOMAIN = 25, 26, 31, 36, 38, 39
_SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_CBPF, _SO_ATTACH_REUSEPORT_EBPF, _SO_PEERGROUPS = 50, 51, 52, 59
_SO_NETNS_COOKIE, _SO_PASSPIDFD, _SO_PEERPIDFD = 71, 76, 77
_PIDFD_OPEN = 434
_IFNAMSIZ = 16
_SOL_NETLINK = 270
_TCP_INFO, _TCP_CONGESTION = 11, 13
_IPV6_V6ONLY = 26
_OPTION_MAX = 1 << 16
_TCP_INFO_SIZE = 248
_ESTABLISHED, _CLOSE, _LISTEN = 1, 7, 10  # of tcp_states.h

#: Options by which a datagram would go another way than to its address, as the list of --allow sees it.
_ROUTING = {(IP, 4), *((IPV6, option) for option in (6, 9, 54, 55, 57, 59))}

#: Of SOL_SOCKET: what the supervisor answers, as it is of processes, or of a made-up socket, or is not to be had.
_ANSWERED = (
    SO_TYPE, SO_REUSEPORT, SO_PASSCRED, SO_PEERCRED, _SO_BINDTODEVICE, _SO_PEERSEC, _SO_MARK, _SO_PROTOCOL, _SO_DOMAIN,
    SO_INCOMING_CPU, _SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_CBPF, _SO_ATTACH_REUSEPORT_EBPF, _SO_PEERGROUPS, _SO_NETNS_COOKIE,
    _SO_PASSPIDFD,
)  # fmt: skip
_ABSENT = (_SO_PEERSEC, _SO_NETNS_COOKIE, _SO_PASSPIDFD)
_NOT_ALLOWED = (_SO_MARK, _SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_CBPF, _SO_ATTACH_REUSEPORT_EBPF)

_NOTE = (
    "SO_PASSPIDFD and SO_PEERSEC are ENOPROTOOPT; with --net none what is said of TCP, IP and UDP is remembered at most"
)
_COMMON = When(1, (SOL_SOCKET,), Plane.NATIVE)


@linux.answer(
    55,
    "getsockopt",
    _NOTE,
    Support.PARTIAL,
    # The caller itself makes the pidfd.
    when=[When(2, (_SO_PEERPIDFD,), Plane.STEER), When(2, _ANSWERED, Plane.ANSWER), _COMMON],
)
def getsockopt(call: Call):
    level, option = call.int(1), call.int(2)
    room = int.from_bytes(call.memory.read(call.args[4], 4), "little", signed=True)
    if room < 0:
        raise SysError(Kind.EINVAL)
    with socket_of(call, call.int(0)) as sock:
        if (level, option) == (SOL_SOCKET, _SO_PEERPIDFD):
            return _peer_pidfd(call, sock, room)
        value = _value(call, sock, level, option, min(room, _OPTION_MAX))[:room]
    call.memory.write(call.args[3], value)
    call.memory.write(call.args[4], len(value).to_bytes(4, "little"))
    return OK


def _peer_pidfd(call: Call, sock: Socket, room: int):
    """SO_PEERPIDFD: a pidfd of the process at the other end.  ENODATA, ESRCH where it has ended."""
    memory, pointer, length = call.memory, call.args[3], call.args[4]

    def told(value: int) -> int:
        if value < 0:
            return value
        memory.write(pointer, value.to_bytes(4, "little")[:room])
        memory.write(length, min(room, 4).to_bytes(4, "little"))
        return 0

    return Native({0: control.peer_process(call, sock).pid, 1: 0}, number=_PIDFD_OPEN, after=told)


def _int(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def _value(call: Call, sock: Socket, level: int, option: int, room: int) -> bytes:
    if level == SOL_SOCKET:
        if option == SO_PEERCRED:
            return control.peercred(call, sock)
        if option == _SO_PEERGROUPS:
            return _groups(call, sock, room)
        if option in _ABSENT:
            raise SysError(Kind.ENOPROTOOPT)
        if option == SO_INCOMING_CPU and not sock.is_unix and not sock.made_up:
            return _int(host.getint(sock.fd, level, option))
        if option == SO_INCOMING_CPU:
            return _int(-1)
        if sock.made_up:
            return _made_up(sock, option, room)
    elif sock.made_up:
        return _told(call, sock, level, option)
    with host.without_rights():
        return host.getsockopt(sock.fd, level, option, room)


def _groups(call: Call, sock: Socket, room: int) -> bytes:
    """SO_PEERGROUPS.  ENODATA; ERANGE with the room that is needed."""
    groups = control.peergroups(call, sock)
    if room < len(groups):
        call.memory.write(call.args[4], len(groups).to_bytes(4, "little"))
        raise SysError(Kind.ERANGE)
    return groups


def _told(call: Call, sock: Socket, level: int, option: int) -> bytes:
    """An option of a made-up socket that only the internet has.  ENOPROTOOPT."""
    if not sock.is_inet:
        raise SysError(Kind.ENOPROTOOPT)
    if (level, option) == (IPV6, _IPV6_V6ONLY) and sock.family == host.AF_INET6:
        return _int(sock.has(V6ONLY))
    if level == TCP and sock.is_stream and option == _TCP_INFO:
        return _tcp_info(sock)
    if level == TCP and sock.is_stream and option == _TCP_CONGESTION:
        return CONGESTION[call.sandbox.network.options.get(sock, level, option)].ljust(16, b"\0")
    if level not in (IP, UDP, sock.protocol) and sock.family == host.AF_INET:
        raise SysError(Kind.EOPNOTSUPP)
    return _int(call.sandbox.network.options.get(sock, level, option))


def _tcp_info(sock: Socket) -> bytes:
    """``struct tcp_info``, of which there is only the state."""
    state = _ESTABLISHED if host.is_connected(sock.fd) else _CLOSE
    if host.getint(sock.fd, SOL_SOCKET, SO_ACCEPTCONN):
        state = _LISTEN
    return bytes([state]).ljust(_TCP_INFO_SIZE, b"\0")


def _made_up(sock: Socket, option: int, room: int) -> bytes:
    match option:
        case c if c == _SO_DOMAIN:
            return _int(sock.family)
        case c if c == _SO_PROTOCOL:
            return _int(sock.protocol if sock.is_inet else 0)
        case c if c == SO_TYPE:
            return _int(sock.kind if sock.is_inet else SOCK_RAW)
        case c if c == SO_REUSEPORT:
            return _int(sock.has(REUSEPORT))
        case c if c == _SO_BINDTODEVICE:
            return NAME if sock.has(ON_LOOPBACK) else b""
        case c if c in (SO_PASSCRED, _SO_MARK):
            return _int(0)
    return host.getsockopt(sock.fd, SOL_SOCKET, option, room)


@linux.answer(
    54,
    "setsockopt",
    _NOTE + "; SO_MARK and programs for the kernel are EPERM, source routes and SO_BINDTODEVICE too where there is a list",
    Support.PARTIAL,
    when=[When(2, tuple({*_ANSWERED, *(option for _, option in _ROUTING)}), Plane.ANSWER), _COMMON],
)
def setsockopt(call: Call):
    level, option, size = call.int(1), call.int(2), call.int(4)
    if size < 0:
        raise SysError(Kind.EINVAL)
    with socket_of(call, call.int(0)) as sock:
        value = call.memory.read(call.args[3], min(size, _OPTION_MAX)) if size else b""
        if level == SOL_SOCKET:
            _set_common(call, sock, option, value)
        elif sock.made_up:
            _set_made_up(call, sock, level, option, value)
        else:
            if (level, option) in _ROUTING and call.sandbox.network.allowed is not None:
                raise SysError(Kind.EPERM)
            with host.without_rights():
                host.setsockopt(sock.fd, level, option, value)
    return OK


def _set_common(call: Call, sock: Socket, option: int, value: bytes) -> None:
    if option in (*_ABSENT, _SO_PEERGROUPS):
        raise SysError(Kind.ENOPROTOOPT)
    if option in _NOT_ALLOWED:
        raise SysError(Kind.EPERM)
    if option == _SO_BINDTODEVICE:
        _bind_to_device(call, sock, value)
        return
    if len(value) < 4:
        raise SysError(Kind.EINVAL)
    on = any(value[:4])
    if option == SO_INCOMING_CPU and (sock.made_up or sock.is_unix):
        return
    if sock.made_up and option == SO_REUSEPORT:
        sock.set(REUSEPORT, on)
        return
    if sock.made_up and option == SO_PASSCRED:
        return
    if option == SO_PASSCRED and on and sock.is_unix and host.is_connected(sock.fd) and len(host.getsockname(sock.fd)) <= 2:
        # The kernel would choose a name with the next message, one that the whole host can send to.
        call.sandbox.network.names.give(sock.fd, sock.kind)
    with host.without_rights():
        host.setsockopt(sock.fd, SOL_SOCKET, option, value)


def _bind_to_device(call: Call, sock: Socket, value: bytes) -> None:
    """SO_BINDTODEVICE; the loopback inside has one device.  ENODEV; EPERM where a list says where one may go."""
    network = call.sandbox.network
    if sock.made_up and sock.is_inet:
        name = value[: _IFNAMSIZ - 1].split(b"\0", 1)[0]
        if name not in (b"", NAME[:-1]):
            raise SysError(Kind.ENODEV)
        sock.set(ON_LOOPBACK, bool(name))
        return
    if not network.on_host or network.allowed is not None:
        raise SysError(Kind.EPERM)
    with host.without_rights():
        host.setsockopt(sock.fd, SOL_SOCKET, _SO_BINDTODEVICE, value)


def _set_made_up(call: Call, sock: Socket, level: int, option: int, value: bytes) -> None:
    if not sock.is_inet:
        if level == _SOL_NETLINK:
            return
        raise SysError(Kind.ENOPROTOOPT)
    if (level, option) == (TCP, _TCP_CONGESTION) and sock.is_stream:
        wanted = value.split(b"\0", 1)[0]
        if wanted not in CONGESTION:
            raise SysError(Kind.ENOENT)
        call.sandbox.network.options.set(sock, level, option, CONGESTION.index(wanted))
        return
    if len(value) < 4 and not (level == IP and value):
        raise SysError(Kind.EINVAL)
    if (level, option) == (IPV6, _IPV6_V6ONLY) and sock.family == host.AF_INET6:
        if sock.name() is not None:
            raise SysError(Kind.EINVAL)
        sock.set(V6ONLY, any(value[:4]))
        return
    number = int.from_bytes(value[:4], "little", signed=True) if len(value) >= 4 else value[0]
    call.sandbox.network.options.set(sock, level, option, number)
