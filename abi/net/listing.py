"""/proc/net/tcp and its like of a sandbox without a network: the sockets of the loopback inside, as their holders have them.

proc_net(5); the columns that say nothing here are those of a socket at rest.
"""

from __future__ import annotations

import os
import select

from abi.errors import SysError
from abi.net import host, loopback
from abi.net.addresses import Inet
from abi.net.names import Names
from abi.net.sockets import Socket

_ESTABLISHED, _CLOSE, _CLOSE_WAIT, _LISTEN = 1, 7, 8, 10  # as tcp_states.h has them
_WIDTHS = {  # of lines, by family and whether they are of streams
    (host.AF_INET, True): 149, (host.AF_INET, False): 127, (host.AF_INET6, True): 179, (host.AF_INET6, False): 169,
}  # fmt: skip
_PROTOCOLS = {b"tcp": 6, b"udp": 17, b"udplite": 136}


def rows(sandbox, name: bytes) -> bytes:
    """What follows the heading of /proc/net/NAME."""
    family = host.AF_INET6 if name.endswith(b"6") else host.AF_INET
    protocol = _PROTOCOLS[name.removesuffix(b"6")]
    result = []
    for inode, fd, process in _sockets(sandbox):
        try:
            with Socket(process.files.get(fd), sandbox.network.names) as sock:
                if sock.made_up and sock.is_inet and (sock.family, sock.protocol) == (family, protocol):
                    state = _state(sock)
                    if state:
                        result.append(_row(len(result), sandbox.network.names, sock, state, inode, process.credentials.euid))
        except (OSError, SysError):
            continue  # it is gone
    return b"".join(result)


def _sockets(sandbox):
    """(inode, descriptor, process) of each socket that a process has open, once."""
    seen = set()
    for process in sandbox.tree.inside():
        pid = process.pid
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for number in numbers:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{number}")
            except OSError:
                continue
            if target.startswith("socket:[") and target not in seen:
                seen.add(target)
                yield int(target[8:-1]), int(number), process


def _state(sock: Socket) -> int:
    """The state of a socket, 0 for one that the kernel does not list."""
    if not sock.is_stream:
        if sock.name() is None:
            return 0
        return _ESTABLISHED if host.is_connected(sock.fd) else _CLOSE
    if host.getint(sock.fd, host.SOL_SOCKET, host.SO_ACCEPTCONN):
        return _LISTEN
    if not host.is_connected(sock.fd):
        return 0
    poll = select.poll()
    poll.register(sock.fd, select.POLLRDHUP)
    return _CLOSE_WAIT if poll.poll(0) else _ESTABLISHED


def _row(number: int, names: Names, sock: Socket, state: int, inode: int, uid: int) -> bytes:
    own = loopback.own_address(names, sock)
    other = Inet(bytes(4 if sock.family == host.AF_INET else 16), 0).pack(sock.family)
    if state in (_ESTABLISHED, _CLOSE_WAIT):
        other = loopback.peer_address(names, sock)
    line = b"%*d: %b %b %02X " % (4 if sock.is_stream else 5, number, _hex(own), _hex(other), state)
    line += b"00000000:00000000 00:00000000 00000000 %5d        0 %d 1" % (uid, inode)
    return line.ljust(_WIDTHS[sock.family, sock.is_stream]) + b"\n"


def _hex(address: bytes) -> bytes:
    """ADDRESS:PORT, the address in words of this machine's order."""
    start, end = (4, 8) if len(address) == 16 else (8, 24)
    words = [int.from_bytes(address[at : at + 4], "little") for at in range(start, end, 4)]
    return b"%b:%04X" % (b"".join(b"%08X" % word for word in words), int.from_bytes(address[2:4], "big"))
