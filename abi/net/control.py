"""Control messages: what goes beside the data of a message.  cmsg(3), unix(7).

What a guest sends is taken apart and put together anew, with the supervisor's numbers of descriptors; what it receives was
written by the kernel, and only ids are put right.
"""

from __future__ import annotations

import os
import struct

from abi.dispatch import Call
from abi.errors import Kind, SysError
from abi.net import host
from abi.net.addresses import LOOPBACK4, LOOPBACK6, Inet
from abi.net.host import SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET
from abi.net.names import InetName, Name
from abi.net.options import Options
from abi.net.sockets import Socket
from vfs.namespace import OpenFile

_HEADER = struct.Struct("<Qii")
_UCRED = struct.Struct("<iII")
_MAX = 1 << 16
_FDS_MAX = 253
_NOBODY = 0xFFFFFFFF  # an id that nobody can have
_CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN = 6, 7, 21
_SOL_IP, _SOL_IPV6, _SOL_UDP = 0, 41, 17
_IP_TOS, _IP_TTL, _IP_PKTINFO, _IPV6_PKTINFO, _IPV6_HOPLIMIT, _IPV6_TCLASS = 1, 2, 8, 50, 52, 67
_MARKS = {
    (_SOL_IP, _IP_TTL): "hops", (_SOL_IPV6, _IPV6_HOPLIMIT): "hops",
    (_SOL_IP, _IP_TOS): "tclass", (_SOL_IPV6, _IPV6_TCLASS): "tclass",
}  # fmt: skip
# What may go with an internet message: TOS, TTL, PKTINFO; their like in IPv6; UDP_SEGMENT.
_INET = {
    (_SOL_IP, 1), (_SOL_IP, 2), (_SOL_IP, 8), (_SOL_IPV6, 50), (_SOL_IPV6, 52), (_SOL_IPV6, 67), (_SOL_UDP, 103),
    (SOL_SOCKET, 37), (SOL_SOCKET, 61),
}  # fmt: skip


class Control:
    """The control messages of one message that is to be sent; `files` are copies of the descriptors that it passes on."""

    __slots__ = ("_other", "creds", "files", "hops", "tclass")

    def __init__(self) -> None:
        self._other = b""
        self.files: list[OpenFile] = []
        self.creds: tuple[int, int, int] | None = None
        self.hops = self.tclass = -1  # of a datagram of the loopback inside; -1 leaves them to its socket

    def add(self, level: int, kind: int, contents: bytes) -> None:
        """One more, for the kernel as it is."""
        self._other += _packed(level, kind, contents)

    def packed(self) -> bytes:
        """What the supervisor sends."""
        if not self.files:
            return self._other
        numbers = struct.pack(f"<{len(self.files)}i", *[file.fd for file in self.files])
        return self._other + _packed(SOL_SOCKET, SCM_RIGHTS, numbers)


def _messages(data: bytes):
    """(offset of the contents, level, type, contents) of each.  EINVAL."""
    position = 0
    while len(data) - position >= _HEADER.size:
        length, level, kind = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            raise SysError(Kind.EINVAL)
        yield position + _HEADER.size, level, kind, data[position + _HEADER.size : position + length]
        position += length + 7 & -8


def _packed(level: int, kind: int, contents: bytes) -> bytes:
    return (_HEADER.pack(_HEADER.size + len(contents), level, kind) + contents).ljust(
        _HEADER.size + (len(contents) + 7 & -8), b"\0"
    )


def taken(call: Call, sock: Socket, pointer: int, length: int) -> Control:
    """What a guest wants to send.  EINVAL, EBADF, EPERM, ESRCH, ENOBUFS."""
    control = Control()
    if not pointer or not length:
        return control
    if length > _MAX:
        raise SysError(Kind.ENOBUFS)
    for _, level, kind, contents in _messages(call.memory.read(pointer, length)):
        if sock.is_unix:
            _take_unix(call, control, level, kind, contents)
        elif sock.is_made_up_udp:
            _take_marks(control, level, kind, contents)
        elif sock.made_up or (level == SOL_SOCKET and kind in (SCM_RIGHTS, SCM_CREDENTIALS)):
            continue  # without a meaning there
        elif (level, kind) in _INET:
            control.add(level, kind, contents)
        else:
            raise SysError(Kind.EINVAL)
    return control


def _take_marks(control: Control, level: int, kind: int, contents: bytes) -> None:
    """What a datagram's header is to say.  EINVAL."""
    if level == _SOL_UDP:
        raise SysError(Kind.EINVAL)
    if (level, kind) not in _MARKS:
        return
    if len(contents) not in (1, 4) or (len(contents) == 1 and (level, kind) != (_SOL_IP, _IP_TOS)):
        raise SysError(Kind.EINVAL)
    value = int.from_bytes(contents, "little", signed=len(contents) == 4)
    if not -1 <= value <= 255:
        raise SysError(Kind.EINVAL)
    setattr(control, _MARKS[level, kind], value)


def marked(view: int, wanted: Wanted, sender: InetName) -> list[tuple[int, int, bytes]]:
    """(level, type, contents) of the control messages that tell of a datagram's header, in the kernel's order."""
    four = len(sender.address.ip) == 4
    to = sender.to.ip if sender.to is not None else LOOPBACK4 if four else LOOPBACK6
    hops, tclass = struct.pack("<i", sender.marks.hops), struct.pack("<i", sender.marks.tclass)
    if view == host.AF_INET:
        told = [
            (wanted.info, _SOL_IP, _IP_PKTINFO, struct.pack("<i", 1) + to + to),
            (wanted.hops, _SOL_IP, _IP_TTL, hops),
            (wanted.tclass, _SOL_IP, _IP_TOS, tclass[:1]),
        ]
    else:
        info = Inet(to, 0).pack(host.AF_INET6)[8:24] + struct.pack("<i", 1)
        told = [
            (wanted.info, _SOL_IPV6, _IPV6_PKTINFO, info),
            (wanted.hops and not four, _SOL_IPV6, _IPV6_HOPLIMIT, hops),
            (wanted.tclass and not four, _SOL_IPV6, _IPV6_TCLASS, tclass),
        ]
    return [message for asked, *message in told if asked]


class Wanted:
    """Which control messages a datagram socket of the loopback inside has been told to deliver."""

    __slots__ = ("hops", "info", "tclass")

    def __init__(self, options: Options, sock: Socket) -> None:
        level, info, hops, tclass = (_SOL_IP, 8, 12, 13) if sock.family == host.AF_INET else (_SOL_IPV6, 49, 51, 66)
        self.info, self.hops, self.tclass = (bool(options.get(sock, level, number)) for number in (info, hops, tclass))

    def __bool__(self) -> bool:
        return self.info or self.hops or self.tclass


def put(room: int, messages: list) -> tuple[bytes, bool]:
    """Control messages as the kernel puts them where there are `room` bytes, and whether some were cut; put_cmsg()."""
    result = b""
    cut = False
    for level, kind, contents in messages:
        left = room - len(result)
        if left < _HEADER.size:
            return result, True
        length = _HEADER.size + len(contents)
        if left < length:
            cut = True
            length = left
        padded = min(left, _HEADER.size + (len(contents) + 7 & -8))
        result += (_HEADER.pack(length, level, kind) + contents)[:length].ljust(padded, b"\0")
    return result, cut


def _take_unix(call: Call, control: Control, level: int, kind: int, contents: bytes) -> None:
    if level != SOL_SOCKET:
        return  # as the kernel does
    match kind:
        case c if c == SCM_RIGHTS:
            count = len(contents) // 4
            if len(control.files) + count > _FDS_MAX:
                raise SysError(Kind.EINVAL)
            for fd in struct.unpack(f"<{count}i", contents[: 4 * count]):
                control.files.append(OpenFile(call.files.get(fd)))
        case c if c == SCM_CREDENTIALS:
            if len(contents) != _UCRED.size:
                raise SysError(Kind.EINVAL)
            control.creds = _claimed(call, *_UCRED.unpack(contents))
        case _:
            raise SysError(Kind.EINVAL)


def _claimed(call: Call, pid: int, uid: int, gid: int) -> tuple[int, int, int]:
    """Ids that a guest says are its own.  EINVAL, EPERM, ESRCH."""
    ids, tree = call.credentials, call.sandbox.tree
    if _NOBODY in (uid, gid):
        raise SysError(Kind.EINVAL)
    if pid != tree.guest(call.process.pid) and not ids.capable(_CAP_SYS_ADMIN):
        raise SysError(Kind.EPERM)
    if uid not in (ids.uid, ids.euid, ids.suid) and not ids.capable(_CAP_SETUID):
        raise SysError(Kind.EPERM)
    if gid not in (ids.gid, ids.egid, ids.sgid) and not ids.capable(_CAP_SETGID):
        raise SysError(Kind.EPERM)
    return tree.host(pid), uid, gid


# -- ids --------------------------------------------------------------------------------------------


_Ids = tuple[int, int, int]


def peer_ids(call: Call, ids: _Ids, noted: _Ids | None, real: bool = False) -> _Ids:
    """Guest pid, uid and gid for what the kernel knows of the other end.

    What the supervisor did for a guest the kernel ascribes to the supervisor; who it was is `noted` with the other's name.
    Ids of the host user's are those that the process believes in: the effective ones, or the `real` ones.
    """
    pid, uid, gid = ids
    tree, sandbox = call.sandbox.tree, call.sandbox
    if pid == os.getpid():
        if noted is None:
            return 0, sandbox.guest_uid(uid), sandbox.guest_gid(gid)
        pid, uid, gid = noted
        return 1 if pid == tree.init_pid else pid, uid, gid  # it may have ended
    process = tree.processes.get(pid)
    number = tree.guest(pid) if process is not None else _guest_pid(tree, pid)
    believed = process.credentials if process is not None else tree.departed.get(pid)
    if not number or believed is None:
        return number, sandbox.guest_uid(uid), sandbox.guest_gid(gid)
    own_uid, own_gid = (believed.uid, believed.gid) if real else (believed.euid, believed.egid)
    return number, own_uid if uid == sandbox.host_uid else uid, own_gid if gid == sandbox.host_gid else gid


def _guest_pid(tree, pid: int) -> int:
    """The number of a process that may have ended; 0 for one that is alive outside."""
    known = tree.guest(pid)
    if known:
        return known
    try:
        with open(b"/proc/%d/stat" % pid, "rb") as file:
            alive = file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        alive = False
    return 0 if alive else pid


def put_right(call: Call, data: bytes, sender: Name | None) -> list[tuple[int, bytes]]:
    """What to write over received control messages: (offset, bytes)."""
    changes = []
    noted = None if sender is None else sender.sent or sender.creds
    try:
        for at, level, kind, contents in _messages(data):
            if (level, kind) == (SOL_SOCKET, SCM_CREDENTIALS) and len(contents) == _UCRED.size:
                changes.append((at, _UCRED.pack(*peer_ids(call, _UCRED.unpack(contents), noted, real=True))))
    except SysError:
        pass  # cut short
    return changes


def _peer(call: Call, sock: Socket) -> tuple[_Ids, Name | None]:
    """What the kernel knows of the other end of a unix socket, pid 0 where there is none, and that one's name."""
    ids = _UCRED.unpack(host.getsockopt(sock.fd, SOL_SOCKET, host.SO_PEERCRED, _UCRED.size))
    try:
        return ids, call.sandbox.network.names.find(host.getpeername(sock.fd))
    except OSError:
        return ids, sock.name()  # of a socket that listens


def peercred(call: Call, sock: Socket) -> bytes:
    """getsockopt(2) of SO_PEERCRED: ``struct ucred``."""
    if not sock.is_unix:
        return _UCRED.pack(0, _NOBODY, _NOBODY)
    ids, other = _peer(call, sock)
    return _UCRED.pack(*(peer_ids(call, ids, None if other is None else other.creds) if ids[0] else ids))


def peer_process(call: Call, sock: Socket):
    """The process at the other end of a unix socket.  ENODATA, ESRCH where it has ended."""
    (pid, _, _), other = _peer(call, sock) if sock.is_unix else ((0, 0, 0), None)
    if not pid:
        raise SysError(Kind.ENODATA)
    if pid == os.getpid():
        pid = 0 if other is None or other.creds is None else other.creds[0]
    process = call.sandbox.tree.processes.get(pid)
    if process is None:
        raise SysError(Kind.ESRCH)
    return process


def peergroups(call: Call, sock: Socket) -> bytes:
    """getsockopt(2) of SO_PEERGROUPS: an array of ``gid_t``, which the process is asked for now.  ENODATA."""
    try:
        groups = peer_process(call, sock).credentials.groups
    except SysError as failure:
        if failure.kind is not Kind.ESRCH:
            raise
        groups = ()
    return struct.pack(f"<{len(groups)}I", *groups)
