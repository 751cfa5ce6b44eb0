"""The host's socket calls on raw addresses, which Python's ``socket`` would take apart and put together.

Everything takes and gives descriptors and bytes; a failure is an ``OSError``.  socket(7), unix(7), cmsg(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os

from vfs.kernel import error, libc, quick, raw

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 0, 1, 2, 10, 16, 17
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET = 1, 2, 3, 5
NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_KOBJECT_UEVENT = 0, 4, 15
SOCK_NONBLOCK, SOCK_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
SOL_SOCKET = 1
SO_TYPE, SO_ERROR, SO_REUSEADDR, SO_REUSEPORT, SO_PASSCRED, SO_PEERCRED, SO_ACCEPTCONN = 3, 4, 2, 15, 16, 17, 30
SO_PROTOCOL, SO_DOMAIN, SO_INCOMING_CPU, SO_ZEROCOPY = 38, 39, 49, 60
SCM_RIGHTS, SCM_CREDENTIALS = 1, 2
MSG_DONTWAIT, MSG_NOSIGNAL = 0x40, 0x4000

_SOCKADDR_MAX = 128
_ADDRESS = ctypes.c_char * _SOCKADDR_MAX
_LENGTH = ctypes.c_uint32
_IOVEC = ctypes.c_uint64 * 2
_MSGHDR = ctypes.c_uint64 * 7
_CAPGET, _CAPSET, _SENDMSG = 125, 126, 46
_HEADER = ctypes.c_uint32 * 2
_SETS = ctypes.c_uint32 * 6
_VERSION_3 = 0x20080522


def _check(result: int) -> int:
    if result < 0:
        raise error(ctypes.get_errno())
    return result


def socket(domain: int, kind: int, protocol: int = 0) -> int:
    """socket(2)."""
    return _check(quick.socket(domain, kind, protocol))


def socketpair(kind: int) -> tuple[int, int]:
    """socketpair(2) of unix sockets."""
    pair = (ctypes.c_int * 2)()
    _check(quick.socketpair(AF_UNIX, kind, 0, pair))
    return pair[0], pair[1]


def bind(fd: int, address: bytes) -> None:
    """bind(2)."""
    _check(quick.bind(fd, address, len(address)))


def listen(fd: int, backlog: int) -> None:
    """listen(2)."""
    _check(quick.listen(fd, backlog))


def shutdown(fd: int, how: int) -> None:
    """shutdown(2)."""
    _check(quick.shutdown(fd, how))


def connect(fd: int, address: bytes) -> None:
    """connect(2), which may wait and which a signal to the calling thread ends."""
    _check(libc.connect(fd, address, len(address)))


def connect_now(fd: int, address: bytes) -> None:
    """connect(2) that does not wait: EAGAIN where it would have to.

    The flag for that belongs to the open file, which is the guest's too; it is back before anybody can have used for
    anything a socket that is being connected.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if not flags & os.O_NONBLOCK:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        _check(quick.connect(fd, address, len(address)))
    finally:
        if not flags & os.O_NONBLOCK:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def _name(call, fd: int) -> bytes:
    buffer, length = _ADDRESS(), _LENGTH(_SOCKADDR_MAX)
    _check(call(fd, buffer, ctypes.byref(length)))
    return buffer.raw[: length.value]


def getsockname(fd: int) -> bytes:
    """getsockname(2): the raw address."""
    return _name(quick.getsockname, fd)


def getpeername(fd: int) -> bytes:
    """getpeername(2): the raw address.  ENOTCONN."""
    return _name(quick.getpeername, fd)


def is_connected(fd: int) -> bool:
    """Whether a socket has a peer."""
    try:
        getpeername(fd)
    except OSError:
        return False
    return True


def getsockopt(fd: int, level: int, option: int, size: int = 4) -> bytes:
    """getsockopt(2): what it wrote."""
    buffer, length = ctypes.create_string_buffer(size), _LENGTH(size)
    _check(quick.getsockopt(fd, level, option, buffer, ctypes.byref(length)))
    return buffer.raw[: length.value]


def getint(fd: int, level: int, option: int) -> int:
    """getsockopt(2) of an int."""
    return int.from_bytes(getsockopt(fd, level, option), "little", signed=True)


def setsockopt(fd: int, level: int, option: int, value: bytes) -> None:
    """setsockopt(2)."""
    _check(quick.setsockopt(fd, level, option, value, len(value)))


def setint(fd: int, level: int, option: int, value: int) -> None:
    """setsockopt(2) of an int."""
    setsockopt(fd, level, option, (value & 0xFFFFFFFF).to_bytes(4, "little"))


def sendmsg(fd: int, data: bytes, address: bytes = b"", control: bytes = b"", flags: int = 0) -> int:
    """sendmsg(2) of one buffer; a signal to the calling thread ends its waiting."""
    buffer = ctypes.create_string_buffer(data, max(1, len(data)))
    name = ctypes.create_string_buffer(address, len(address)) if address else None
    extra = ctypes.create_string_buffer(control, len(control)) if control else None
    vector = _IOVEC(ctypes.addressof(buffer), len(data))
    header = _MSGHDR(
        ctypes.addressof(name) if name else 0, len(address), ctypes.addressof(vector), 1,
        ctypes.addressof(extra) if extra else 0, len(control), 0,
    )  # fmt: skip
    call = quick.syscall if flags & MSG_DONTWAIT else libc.syscall
    return _check(call(_SENDMSG, fd, header, flags))


def is_blocking(fd: int) -> bool:
    """Whether an open file waits."""
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


# -- rights -----------------------------------------------------------------------------------------


def _capabilities() -> ctypes.Array:
    sets = _SETS()
    raw(_CAPGET, _HEADER(_VERSION_3, 0), sets)
    return sets


_privileged: bool | None = None


@contextlib.contextmanager
def without_rights():
    """Act with a guest's rights, which are none, where the supervisor has some: it may have been started by root."""
    global _privileged
    if _privileged is None:
        sets = _capabilities()
        _privileged = bool(sets[1] or sets[4])
    if not _privileged:
        yield
        return
    before = _capabilities()
    after = _SETS(0, before[1], before[2], 0, before[4], before[5])
    raw(_CAPSET, _HEADER(_VERSION_3, 0), after)
    try:
        yield
    finally:
        raw(_CAPSET, _HEADER(_VERSION_3, 0), before)


def would_block(problem: OSError) -> bool:
    """EAGAIN."""
    return problem.errno == errno.EAGAIN
