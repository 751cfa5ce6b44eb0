"""What a socket is connected to, by its inode number: for -yy, and for netlink's messages.

The kernel lists the sockets of a network namespace in /proc/net (proc(5)), and says over sock_diag(7) which unix sockets
are each other's peers; both are of the supervisor's own namespace, so a socket of another has only its number.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from abi.decoding.constants.network import NETLINK_PROTOCOLS
from abi.decoding.values import quoted

_INET = (("tcp", "TCP"), ("udp", "UDP"), ("udplite", "UDPLITE"), ("raw", "RAW"), ("icmp", "PING"))
_WITHOUT_PORTS = ("RAW", "PING")
_STREAM = 1
_SOCK_DIAG, _BY_FAMILY, _NLM_F_MULTI, _ANY = 4, 20, 2, 0xFFFFFFFF
_peers: dict[int, int] = {}
_netlink_known: dict[int, int | None] = {}  # inode numbers of sockets are not used again


def _lines(name: str, columns: int = -1) -> list[list[str]]:
    """The lines behind the head of a list; the last of so many `columns` may have spaces in it."""
    try:
        with open(f"/proc/net/{name}", errors="surrogateescape") as file:
            return [line.split(maxsplit=columns - 1 if columns > 0 else -1) for line in file.read().split("\n")[1:]]
    except OSError:
        return []


def _side(text: str) -> tuple[str, int]:
    """``0100007F:0050``: an address in words of the machine's order, and a port."""
    address, _, port = text.partition(":")
    data = b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))
    if len(data) == 4:
        return socket.inet_ntoa(data), int(port, 16)
    return f"[{socket.inet_ntop(socket.AF_INET6, data)}]", int(port, 16)


def _inet(inode: str) -> str | None:
    for name, label in _INET:
        for suffix, version in (("", ""), ("6", "v6")):
            for words in _lines(name + suffix):
                if len(words) > 9 and words[9] == inode:
                    if label in _WITHOUT_PORTS:
                        return f"{label}{version}:[{inode}]"
                    (here, port), (there, other) = _side(words[1]), _side(words[2])
                    peer = f"->{there}:{other}" if other or there not in ("0.0.0.0", "[::]") else ""
                    return f"{label}{version}:[{here}:{port}{peer}]"
    return None


def _netlink(inode: str) -> str | None:
    for words in _lines("netlink"):
        if len(words) > 9 and words[9] == inode:
            protocol = NETLINK_PROTOCOLS.get(int(words[1]), words[1])
            return f"NETLINK:[{protocol.removeprefix('NETLINK_')}:{words[2]}]"
    return None


def _answers(request: bytes) -> bytes:
    """What sock_diag(7) says, all of it; nothing where it may not be asked."""
    found = b""
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as diag:
        diag.settimeout(1)
        diag.send(request)
        while answer := diag.recv(1 << 16):
            found += answer
            kind, flags = struct.unpack_from("=HH", answer, 4)
            if kind != _BY_FAMILY or not flags & _NLM_F_MULTI:
                break
    return found


def _unix_peer(inode: int) -> int | None:
    """The inode of a unix socket's peer, also of one that has closed its end since."""
    peer = _peers.get(inode)
    if peer is None:
        any_cookie = _ANY, _ANY
        request = struct.pack("=IHHIIBBHIII2I", 40, _BY_FAMILY, 1, 1, 0, socket.AF_UNIX, 0, 0, _ANY, inode, 4, *any_cookie)
        answer = _answers(request)
        if len(answer) < 32 or struct.unpack_from("=H", answer, 4)[0] != _BY_FAMILY:
            return None
        at = 32
        while at + 8 <= len(answer):
            length, kind = struct.unpack_from("=HH", answer, at)
            if kind == 2:  # UNIX_DIAG_PEER
                peer = struct.unpack_from("=I", answer, at + 4)[0] or None  # 0: not accepted yet
                break
            at += max(length + 3 & ~3, 4)
        if peer is not None:
            if len(_peers) > 4096:
                _peers.clear()
            _peers[inode] = peer
    return peer


def _bound(inode: int, family: int) -> str | None:
    """The address of a TCP socket that is bound and no more: /proc/net/tcp leaves it out."""
    request = struct.pack("=IHHII4BI48x", 72, _BY_FAMILY, 0x301, 1, 0, family, socket.IPPROTO_TCP, 0, 0, _ANY)
    answer = _answers(request)
    at = 0
    while at + 88 <= len(answer):
        length = struct.unpack_from("=I", answer, at)[0]
        if struct.unpack_from("=I", answer, at + 84)[0] == inode:
            (port,) = struct.unpack_from("!H", answer, at + 20)
            if family == socket.AF_INET:
                return f"TCP:[{socket.inet_ntoa(answer[at + 24 : at + 28])}:{port}]" if port else None
            return f"TCPv6:[[{socket.inet_ntop(family, answer[at + 24 : at + 40])}]:{port}]" if port else None
        at += max(length + 3 & ~3, 16)
    return None


def _unix(inode: str) -> str | None:
    for words in _lines("unix", 8):
        if len(words) > 6 and words[6] == inode:
            kind = "UNIX-STREAM" if int(words[4], 16) == _STREAM else "UNIX"
            peer = _unix_peer(int(inode))
            text = inode + (f"->{peer}" if peer is not None else "")
            if len(words) > 7:
                path = words[7].encode(errors="surrogateescape")
                text += f",@{quoted(path[1:])}" if path[:1] == b"@" else f",{quoted(path)}"
            return f"{kind}:[{text}]"
    return None


def endpoint(inode: int, link: str | bytes | None = None) -> str | None:
    """What a socket's inode number stands for, ``TCP:[127.0.0.1:80->127.0.0.1:4321]``; None where nothing lists it.

    Of one that is neither bound nor connected the kernel tells the protocol only, ``TCP:[1234]``, and that through a
    `link` to it (/proc/PID/fd/N); through that it is known, too, of which protocol one is that is bound and no more.
    """
    number = str(inode)
    found = _unix(number) or _inet(number) or _netlink(number)
    if found is None and link is not None:
        with contextlib.suppress(OSError):
            protocol = os.getxattr(link, "system.sockprotoname").rstrip(b"\0").decode()
            family = {"TCP": socket.AF_INET, "TCPv6": socket.AF_INET6}.get(protocol)
            return (family and _bound(inode, family)) or f"{protocol}:[{number}]"
    return found


def netlink_protocol(inode: int, is_likely: bool) -> int | None:
    """The protocol (NETLINK_ROUTE is 0) of a netlink socket, None for other sockets.

    The kernel lists such a socket from its first message on, so that a no is asked again where one `is_likely`.
    """
    protocol = _netlink_known.get(inode)
    if protocol is None and (is_likely or inode not in _netlink_known):
        if len(_netlink_known) > 4096:
            _netlink_known.clear()
        number = str(inode)
        protocol = next((int(words[1]) for words in _lines("netlink") if len(words) > 9 and words[9] == number), None)
        _netlink_known[inode] = protocol
    return protocol


def is_netlink(tid: int, fd: int) -> bool:
    """Whether a task's descriptor is a netlink socket, also one that is not listed: not used yet, or of other namespaces."""
    with contextlib.suppress(OSError):
        return os.getxattr(f"/proc/{tid}/fd/{fd}", "system.sockprotoname").rstrip(b"\0") == b"NETLINK"
    return False
