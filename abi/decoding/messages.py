"""What sendmsg(2) and recvmsg(2) carry: the header, its parts in memory, and the control messages behind it (cmsg(3))."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from

from abi.decoding.addresses import inet4, interface, number, sockaddr, sockaddr_of
from abi.decoding.constants import network as names
from abi.decoding.netlink import payload
from abi.decoding.values import View, array, described, fields, flags_of, identity, name_of, pointer, quoted, signed32

MESSAGE = 56  # sizeof(struct msghdr)
MANY_MESSAGE = 64  # sizeof(struct mmsghdr)
_IOVEC = 16
_VECTORS_MOST = 1024  # UIO_MAXIOV: a call with more of them fails
_HEADER = 16  # sizeof(struct cmsghdr)

_SOCKET_CONTROLS = {1: "SCM_RIGHTS", 2: "SCM_CREDENTIALS", 3: "SCM_SECURITY", 29: "SO_TIMESTAMP_OLD",
                    35: "SO_TIMESTAMPNS_OLD", 37: "SO_TIMESTAMPING_OLD", 41: "SO_WIFI_STATUS",
                    54: "SCM_TIMESTAMPING_OPT_STATS", 58: "SCM_TIMESTAMPING_PKTINFO", 61: "SO_TXTIME",
                    63: "SO_TIMESTAMP_NEW", 64: "SO_TIMESTAMPNS_NEW", 65: "SO_TIMESTAMPING_NEW"}  # fmt: skip
_IP_CONTROLS = {1: "IP_TOS", 2: "IP_TTL", 6: "IP_RECVOPTS", 7: "IP_RETOPTS", 8: "IP_PKTINFO", 11: "IP_RECVERR",
                20: "IP_ORIGDSTADDR", 23: "IP_CHECKSUM"}  # fmt: skip


# -- control messages ---------------------------------------------------------------------------------

Control = Callable[[View, bytes], "str | None"]


def _listed(view: View, words: list[str]) -> str:
    limit = len(words) if view.style.verbose else view.style.strings
    return "[" + ", ".join(words[:limit] + (["..."] if len(words) > limit else [])) + "]"


def _rights(view: View, data: bytes) -> str | None:
    count = len(data) // 4
    if not count:
        return None
    return _listed(view, [described(view, fd) for fd in unpack_from(f"<{count}i", data)])


def _credentials(view: View, data: bytes) -> str | None:
    if len(data) < 12:
        return None
    pid, uid, gid = unpack_from("<iII", data)
    return fields(("pid", pid), ("uid", identity(view, uid)), ("gid", identity(view, gid)))


def _security(view: View, data: bytes) -> str | None:
    return quoted(data)


def _timeval(view: View, data: bytes) -> str:
    return fields(*zip(("tv_sec", "tv_usec"), unpack_from("<qq", data), strict=True)) if len(data) >= 16 else "???"


def _timespec(view: View, data: bytes) -> str:
    return fields(*zip(("tv_sec", "tv_nsec"), unpack_from("<qq", data), strict=True)) if len(data) >= 16 else "???"


def _timestamps(view: View, data: bytes) -> str:
    if len(data) < 48:
        return "???"
    return "[" + ", ".join(_timespec(view, data[at : at + 16]) for at in (0, 16, 32)) + "]"


def _bytes(view: View, data: bytes) -> str | None:
    return _listed(view, [number(byte) for byte in data]) if data else None


def _integer(view: View, data: bytes) -> str | None:
    return f"[{unpack_from('<i', data)[0]}]" if len(data) >= 4 else None


def _unsigned(view: View, data: bytes) -> str | None:
    return f"[{unpack_from('<I', data)[0]}]" if len(data) >= 4 else None


def _packet_info(view: View, data: bytes) -> str | None:
    if len(data) < 12:
        return None
    return fields(("ipi_ifindex", interface(unpack_from("<I", data)[0])), ("ipi_spec_dst", inet4(data[4:8])),
                  ("ipi_addr", inet4(data[8:12])))  # fmt: skip


def _error(view: View, data: bytes) -> str | None:
    if len(data) < 32:
        return None
    kind = unpack_from("<IBBBxII", data)
    words = ("ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data")
    return fields(*zip(words, kind, strict=True), ("offender", sockaddr_of(data[16:32])))


def _destination(view: View, data: bytes) -> str | None:
    return sockaddr_of(data[:16]) if len(data) >= 16 else None


_CONTROLS: dict[int, dict[int, Control]] = {
    1: {1: _rights, 2: _credentials, 3: _security, 29: _timeval, 35: _timespec, 37: _timestamps, 63: _timeval, 64: _timespec,
        65: _timestamps},
    0: {1: _bytes, 2: _integer, 6: _bytes, 7: _bytes, 8: _packet_info, 11: _error, 20: _destination, 23: _unsigned},
}  # fmt: skip


def _control(view: View, data: bytes) -> str:
    length, level, kind = unpack_from("<QII", data)
    if level == 1:
        name = name_of(_SOCKET_CONTROLS, kind, "SCM_???")
    elif level == 0:
        name = f"{number(kind)} /* IP_??? */" if kind not in _IP_CONTROLS else _IP_CONTROLS[kind]
    else:
        name = number(kind)
    words = [("cmsg_len", length), ("cmsg_level", name_of(names.LEVELS, level, "SOL_???")), ("cmsg_type", name)]
    show = _CONTROLS.get(level, {}).get(kind)
    body = data[_HEADER : max(length, _HEADER)]
    text = show(view, body) if show is not None and body else None
    return fields(*words, ("cmsg_data", text)) if text is not None else fields(*words)


def controls(view: View, address: int, length: int) -> str:
    """The control messages of `length` bytes at an address."""
    data = view.bytes(address, length) if length >= _HEADER else None
    if data is None:
        return pointer(view, address)
    words = []
    at = 0
    while True:
        words.append(_control(view, data[at:]))
        at += max(int.from_bytes(data[at : at + 8], "little"), _HEADER) + 7 & ~7
        if at >= length:
            break
        if length - at < _HEADER:
            words.append(f"... /* {address + at:#x} */")
            break
    return "[" + ", ".join(words) + "]"


# -- the header ---------------------------------------------------------------------------------------


def _vectors(view: View, fd: int, address: int, count: int, most: int | None) -> str:
    """The parts in memory, of which the kernel filled `most` bytes (None: all are the caller's)."""
    left = most

    def show(view: View, data: bytes) -> str:
        nonlocal left
        base, length = unpack_from("<QQ", data)
        size = length
        if left is not None:
            size = min(length, left)
            left -= size
        return fields(("iov_base", payload(view, fd, base, size)), ("iov_len", length))

    return array(view, address, min(count, _VECTORS_MOST), _IOVEC, show)


def message(view: View, data: bytes, fd: int, most: int | None = None, name_length: int | None = None) -> str:
    """A struct msghdr; of a received one, how many bytes came and how long its name could have been."""
    name, now, vectors, count, control, control_length, bits = unpack_from("<Qi4xQQQQI", data)
    length = now if name_length is None else min(name_length, now)
    shown = str(now) if name_length is None or name_length == now else f"{name_length} => {now}"
    words = [("msg_name", sockaddr(view, name, length)), ("msg_namelen", shown),
             ("msg_iov", _vectors(view, fd, vectors, count, most)), ("msg_iovlen", count)]  # fmt: skip
    if control_length:
        words.append(("msg_control", controls(view, control, control_length)))
    words += [("msg_controllen", control_length), ("msg_flags", flags_of(names.MESSAGE_FLAGS, bits, "MSG_???"))]
    return fields(*words)


def keep_name_length(view: View, address: int) -> int | None:
    """How long a name the caller has room for, before the kernel overwrites that."""
    data = view.bytes(address, MESSAGE)
    return None if data is None else unpack_from("<i", data, 8)[0]


def sent(view: View, value: int) -> str:
    """The msghdr of sendmsg(2)."""
    data = view.bytes(value, MESSAGE)
    return pointer(view, value) if data is None else message(view, data, signed32(view.args[0]))


def received(view: View, value: int) -> str:
    """The msghdr of recvmsg(2); `view.kept` is the length from before."""
    data = view.bytes(value, MESSAGE)
    if view.error or data is None:
        return pointer(view, value) if view.kept is None else fields(("msg_namelen", view.kept))
    return message(view, data, signed32(view.args[0]), view.value, view.kept)


