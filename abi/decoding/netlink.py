"""Messages of netlink(7) sockets: headers for all of its protocols, bodies for those of routing and of socket lists.

A message is bytes of a guest that says itself how long its parts are, so every length is cut to what is there, and what
is too short for its kind is shown as bytes.  Which protocol a socket speaks is asked of the kernel once for each socket.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, unpack_from
from typing import NamedTuple

from abi.decoding.addresses import family, hardware, hardware_type, hexed, inet4, inet6, interface, number, port
from abi.decoding.constants import netlink as names
from abi.decoding.constants import network
from abi.decoding.endpoints import is_netlink, netlink_protocol
from abi.decoding.values import ERRNO_NAMES, View, fields, flags_of, memory, name_of, quoted

_HEADER = 16  # sizeof(struct nlmsghdr)
_ATTRIBUTE = 4  # sizeof(struct nlattr)
_ATTRIBUTE_FLAGS = ((0x8000, "NLA_F_NESTED"), (0x4000, "NLA_F_NET_BYTEORDER"))
_MOST = 1 << 16  # bytes of a datagram that are looked at
_DEPTH = 4  # errors carry messages that carry errors
_INET, _INET6 = 2, 10
_ROUTE, _DIAG, _XFRM, _AUDIT, _UEVENT, _GENERIC = 0, 4, 6, 9, 15, 16
_UNLISTED = -1  # a protocol that the kernel does not tell
_ERROR, _DONE = 2, 3


class Limit(NamedTuple):
    """How much is shown: so many messages or attributes of one list, so many bytes of what cannot be read."""

    parts: int
    size: int


Show = Callable[[bytes, int], "str | None"]  # an attribute's bytes and the family that its message is of


# -- values of attributes -----------------------------------------------------------------------------


def _integer(size: int) -> Show:
    return lambda data, kind: str(int.from_bytes(data[:size], "little")) if len(data) >= size else None


_u8, _u16, _u32, _u64 = (_integer(size) for size in (1, 2, 4, 8))


def _s32(data: bytes, kind: int) -> str | None:
    return str(unpack_from("<i", data)[0]) if len(data) >= 4 else None


def _text(data: bytes, kind: int) -> str:
    return quoted(data.partition(b"\0")[0]) if data.endswith(b"\0") else quoted(data) + "..."


def _hardware(data: bytes, kind: int) -> str:
    return hardware(data)


def _interface(data: bytes, kind: int) -> str | None:
    return interface(int.from_bytes(data[:4], "little")) if len(data) >= 4 else None


def _address(data: bytes, kind: int) -> str | None:
    if kind == _INET and len(data) >= 4:
        return inet4(data[:4])
    if kind == _INET6 and len(data) >= 16:
        return f"inet_pton(AF_INET6, {inet6(data[:16])})"
    return None


def _link_address(data: bytes, kind: int) -> str:
    return hardware(data)


def _names(table: dict[int, str], unknown: str, size: int = 4) -> Show:
    def show(data: bytes, kind: int) -> str | None:
        return name_of(table, int.from_bytes(data[:size], "little"), unknown) if len(data) >= size else None

    return show


def _tunnel(data: bytes, kind: int) -> str | None:
    return f"htobe64({int.from_bytes(data[:8], 'big')})" if len(data) >= 8 else None


def _table(data: bytes, kind: int) -> str | None:
    """A routing table, which may have any number."""
    value = int.from_bytes(data[:4], "little")
    return names.TABLES.get(value, number(value)) if len(data) >= 4 else None


def _flags(table: dict[int, str], unknown: str, size: int = 4) -> Show:
    def show(data: bytes, kind: int) -> str | None:
        return flags_of(table, int.from_bytes(data[:size], "little"), unknown) if len(data) >= size else None

    return show


def _structure(layout: str, *words: str) -> Show:
    packed = Struct(layout)

    def show(data: bytes, kind: int) -> str | None:
        if len(data) < packed.size:
            return None
        return fields(*zip(words, packed.unpack_from(data), strict=True))

    return show


_COUNTERS = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
             "multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors",
             "rx_fifo_errors",
             "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors",
             "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler", "rx_otherhost_dropped")  # fmt: skip


def _counters(size: int, least: int) -> Show:
    """The counters of a link: later kernels have more of them, so as many as came, but the `least` there ever were."""

    def show(data: bytes, kind: int) -> str | None:
        if len(data) < size * least:
            return None
        count = min(len(data) // size, len(_COUNTERS))
        values = (int.from_bytes(data[at * size : (at + 1) * size], "little") for at in range(count))
        return fields(*zip(_COUNTERS, values, strict=False))

    return show


def _link_info(data: bytes, kind: int, limit: Limit) -> str:
    """What kind of device a link is."""
    return _attributes(data, kind, limit, names.LINK_INFO_ATTRIBUTES, "IFLA_INFO_???", {1: _text, 4: _text})


def _metrics(data: bytes, kind: int, limit: Limit) -> str:
    table = dict.fromkeys(names.METRICS, _u32) | {16: _text}
    return _attributes(data, kind, limit, names.METRICS, "RTAX_???", table)


def _socket_options(data: bytes, kind: int) -> str | None:
    words = ("recverr", "is_icsk", "freebind", "hdrincl", "mc_loop", "transparent", "mc_all", "nodefrag", "bind_address_no_port",
             "recverr_rfc4884", "defer_connect")  # fmt: skip
    if len(data) < 2:
        return None
    bits = int.from_bytes(data[:2], "little")
    return fields(*((word, 1) for at, word in enumerate(words) if bits >> at & 1))


def _file_of_socket(data: bytes, kind: int) -> str | None:
    if len(data) < 8:
        return None
    inode, device = unpack_from("<II", data)
    return fields(("udiag_vfs_dev", f"makedev({number(device >> 20)}, {number(device & 0xFFFFF)})"), ("udiag_vfs_ino", inode))


Nested = Callable[[bytes, int, Limit], str]
_NESTED: set[Show | Nested] = {_link_info, _metrics}

_LINK: dict[int, Show | Nested] = {
    1: _hardware, 2: _hardware, 3: _text, 4: _u32, 5: _interface, 6: _text, 7: _counters(4, 23), 10: _interface,
    13: _u32, 14: _structure("<QQQHBB4x", "mem_start", "mem_end", "base_addr", "irq", "dma", "port"), 15: _u32, 16: _u8, 17: _u8,
    18: _link_info, 19: _u32, 20: _text, 21: _u32, 23: _counters(8, 23), 27: _u32, 28: _u32,
    29: _flags(names.LINK_FILTERS, "RTEXT_FILTER_???"), 30: _u32, 31: _u32, 32: _u32, 33: _u8, 35: _u32, 37: _s32, 38: _text,
    39: _u8, 40: _u32, 41: _u32, 44: _u32, 45: _s32, 46: _s32, 47: _u32, 48: _u32, 49: _interface, 50: _u32, 51: _u32, 53: _text,
    54: _hardware, 56: _text, 57: _text, 58: _u32, 59: _u32, 60: _u32, 61: _u32,
}  # fmt: skip
_ADDRESS: dict[int, Show | Nested] = {
    1: _address, 2: _address, 3: _text, 4: _address, 5: _address,
    6: _structure("<IIII", "ifa_prefered", "ifa_valid", "cstamp", "tstamp"), 7: _address,
    8: _flags(names.ADDRESS_FLAGS, "IFA_F_???"), 9: _u32, 10: _s32,
}  # fmt: skip
_ROUTES: dict[int, Show | Nested] = {
    1: _address, 2: _address, 3: _interface, 4: _interface, 5: _address, 6: _u32, 7: _address, 8: _metrics, 11: _u32,
    12: _structure("<IIiIIIII", "rta_clntref", "rta_lastuse", "rta_expires", "rta_error", "rta_used", "rta_id", "rta_ts",
                   "rta_tsage"),
    15: _table, 16: _u32, 17: _structure("<QQQ", "mfcs_packets", "mfcs_bytes", "mfcs_wrong_if"),
    19: _address, 20: _u8, 23: _structure("<Q", "rta_expires"), 25: _u32, 26: _u8,
    27: _names(network.IP_PROTOCOLS, "IPPROTO_???", 1), 28: lambda data, kind: port(data, 0), 29: lambda data,
    kind: port(data, 0), 30: _u32,
}  # fmt: skip
_CONFIGURATION: dict[int, Show | Nested] = {1: _interface} | dict.fromkeys(range(2, 10), _s32)
_TRAFFIC: dict[int, Show | Nested] = {
    1: _text, 3: _structure("<QIIIIIII4x", "bytes", "packets", "drops", "overlimits", "bps", "pps", "qlen", "backlog"),
    11: _text, 12: _u8,
    13: _u32, 14: _u32,
}  # fmt: skip
_NEIGHBOURS: dict[int, Show | Nested] = {
    1: _address, 2: _hardware, 3: _structure("<IIII", "ndm_confirmed", "ndm_used", "ndm_updated", "ndm_refcnt"), 4: _u32,
    5: _u16,
    6: lambda data, kind: port(data, 0), 7: _u32, 8: _interface, 9: _interface, 10: _u32, 11: _u32, 13: _u32,
}  # fmt: skip
_RULES: dict[int, Show | Nested] = {
    1: _address, 2: _address, 3: _text, 4: _u32, 6: _u32, 10: _u32, 11: _u32, 12: _tunnel, 13: _u32, 14: _u32,
    15: _table, 16: _u32, 17: _text, 19: _u8, 20: _structure("<II", "start", "end"),
    21: _names(names.ROUTE_PROTOCOLS, "RTPROT_???", 1),
    22: _names(network.IP_PROTOCOLS, "IPPROTO_???", 1), 23: _structure("<HH", "start", "end"),
    24: _structure("<HH", "start", "end"),
}  # fmt: skip
_INET_DIAG: dict[int, Show | Nested] = {
    1: _structure("<IIII", "idiag_rmem", "idiag_wmem", "idiag_fmem", "idiag_tmem"), 4: _text, 5: _u8, 6: _u8, 8: _u8, 10: _u8,
    11: _u8, 15: _u32, 17: _u32, 21: _u64, 22: _socket_options,
}  # fmt: skip
_UNIX_DIAG: dict[int, Show | Nested] = {
    0: lambda data, kind: f"@{quoted(data[1:])}" if data[:1] == b"\0" else quoted(data.rstrip(b"\0")),
    1: _file_of_socket, 2: _u32, 4: _structure("<II", "udiag_rqueue", "udiag_wqueue"),
    6: _u8, 7: _u32,
}  # fmt: skip


def _some(data: bytes, limit: Limit) -> str:
    return hexed(data[: limit.size]) + ("..." if len(data) > limit.size else "")


def _attributes(
    data: bytes, kind: int, limit: Limit, table: dict[int, str], unknown: str, shows: dict[int, Show | Nested]
) -> str:  # fmt: skip
    """The attributes behind a message's head: one in brackets, or a list of them."""
    words: list[str] = []
    while len(data) >= _ATTRIBUTE:
        if len(words) >= limit.parts:
            words.append("...")
            break
        length, which = unpack_from("<HH", data)
        bits = which & 0xC000
        which &= 0x3FFF
        name = name_of(table, which, unknown)
        if bits:
            name = "".join(f"{word}|" for bit, word in _ATTRIBUTE_FLAGS if bits & bit) + name
        head = fields(("nla_len", length), ("nla_type", name))
        body = data[_ATTRIBUTE : max(length, _ATTRIBUTE)]
        if length < _ATTRIBUTE or not body:
            words.append(head)
        else:
            show = shows.get(which)
            text = None
            if show is not None:
                text = (show(body, kind, limit) if len(body) >= _ATTRIBUTE else None) if show in _NESTED else show(body, kind)
            words.append(f"[{head}, {_some(body, limit) if text is None else text}]")
        if length < _ATTRIBUTE:
            break
        data = data[length + 3 & ~3 :]
    else:
        if data:
            words.append(_some(data, limit))
    if len(words) == 1:
        return words[0]
    return "[" + ", ".join(words) + "]"


# -- bodies -------------------------------------------------------------------------------------------


def _with(head: str, data: bytes, size: int, kind: int, limit: Limit, table: dict[int, str], unknown: str, shows) -> str:
    rest = data[size + 3 & ~3 :]
    if not rest:
        return head
    return f"{head}, {_attributes(rest, kind, limit, table, unknown, shows)}"


def _link(data: bytes, limit: Limit) -> str | None:
    if len(data) < 16:
        return None
    kind, hardware, index, bits, change = unpack_from("<BxHiII", data)
    head = fields(("ifi_family", family(kind)), ("ifi_type", hardware_type(hardware)), ("ifi_index", interface(index)),
                  ("ifi_flags", flags_of(names.INTERFACE_FLAGS, bits, "IFF_???")),
                  ("ifi_change", number(change)))  # fmt: skip
    return _with(head, data, 16, kind, limit, names.LINK_ATTRIBUTES, "IFLA_???", _LINK)


def _interface_address(data: bytes, limit: Limit) -> str | None:
    if len(data) < 8:
        return None
    kind, prefix, bits, scope, index = unpack_from("<BBBBI", data)
    head = fields(("ifa_family", family(kind)), ("ifa_prefixlen", prefix),
                  ("ifa_flags", flags_of(names.ADDRESS_FLAGS, bits, "IFA_F_???")),
                  ("ifa_scope", names.SCOPES.get(scope, number(scope))), ("ifa_index", interface(index)))  # fmt: skip
    return _with(head, data, 8, kind, limit, names.ADDRESS_ATTRIBUTES, "IFA_???", _ADDRESS)


def _route(data: bytes, limit: Limit) -> str | None:
    if len(data) < 12:
        return None
    kind, to, source, tos, table, protocol, scope, which, bits = unpack_from("<BBBBBBBBI", data)
    head = fields(("rtm_family", family(kind)), ("rtm_dst_len", to), ("rtm_src_len", source), ("rtm_tos", tos_of(tos)),
                  ("rtm_table", names.TABLES.get(table, number(table))),
                  ("rtm_protocol", name_of(names.ROUTE_PROTOCOLS, protocol, "RTPROT_???")),
                  ("rtm_scope", names.SCOPES.get(scope, number(scope))),
                  ("rtm_type", name_of(names.ROUTE_KINDS, which, "RTN_???")),
                  ("rtm_flags", flags_of(names.ROUTE_FLAGS, bits, "RTM_F_???")))  # fmt: skip
    return _with(head, data, 12, kind, limit, names.ROUTE_ATTRIBUTES, "RTA_???", _ROUTES)


_SERVICES = {16: "IPTOS_LOWDELAY", 8: "IPTOS_THROUGHPUT", 4: "IPTOS_RELIABILITY", 2: "IPTOS_MINCOST"}


def tos_of(value: int) -> str:
    """A type of service, as in ip(7)."""
    return flags_of(_SERVICES, value, "IPTOS_TOS_???")


def _neighbour(data: bytes, limit: Limit) -> str | None:
    if len(data) < 12:
        return None
    kind, index, state, bits, which = unpack_from("<BxxxiHBB", data)
    head = fields(("ndm_family", family(kind)), ("ndm_ifindex", interface(index)),
                  ("ndm_state", flags_of(names.NEIGHBOUR_STATES, state, "NUD_???")),
                  ("ndm_flags", flags_of(names.NEIGHBOUR_FLAGS, bits, "NTF_???")),
                  ("ndm_type", name_of(names.ROUTE_KINDS, which, "RTN_???")))  # fmt: skip
    return _with(head, data, 12, kind, limit, names.NEIGHBOUR_ATTRIBUTES, "NDA_???", _NEIGHBOURS)


def _rule(data: bytes, limit: Limit) -> str | None:
    if len(data) < 12:
        return None
    kind, to, source, tos, table, action, bits = unpack_from("<BBBBBxxBI", data)
    head = fields(("family", family(kind)), ("dst_len", to), ("src_len", source), ("tos", tos_of(tos)),
                  ("table", names.TABLES.get(table, number(table))),
                  ("action", name_of(names.RULE_ACTIONS, action, "FR_ACT_???")),
                  ("flags", flags_of(names.RULE_FLAGS, bits, "FIB_RULE_???")))  # fmt: skip
    return _with(head, data, 12, kind, limit, names.RULE_ATTRIBUTES, "FRA_???", _RULES)


def _traffic(data: bytes, limit: Limit) -> str | None:
    if len(data) < 20:
        return None
    kind, index, handle, parent, info = unpack_from("<BxxxiIII", data)
    head = fields(("tcm_family", family(kind)), ("tcm_ifindex", interface(index)), ("tcm_handle", handle), ("tcm_parent", parent),
                  ("tcm_info", info))  # fmt: skip
    return _with(head, data, 20, kind, limit, names.TRAFFIC_ATTRIBUTES, "TCA_???", _TRAFFIC)


def _configuration(data: bytes, limit: Limit) -> str | None:
    head = fields(("ncm_family", family(data[0])))
    return _with(head, data, 1, data[0], limit, names.NETCONF_ATTRIBUTES, "NETCONFA_???", _CONFIGURATION)


def _other_route(data: bytes, prefix: str | None, limit: Limit) -> str:
    """What has a family to begin with, as all have, but is unknown or ends before its structure does."""
    kind = family(data[0])
    if prefix is not None:
        return fields((f"{prefix}family", kind), more=True)
    return fields(("family", kind), ("data", _some(data[1:], limit))) if len(data) > 1 else fields(("family", kind))


def _states(bits: int) -> str:
    return flags_of({1 << state: f"1<<{name}" for state, name in names.TCP_STATES.items()}, bits, "1<<TCP_???")


def _identity(data: bytes, kind: int) -> str:
    """A struct inet_diag_sockid."""
    words = [("idiag_sport", port(data, 0)), ("idiag_dport", port(data, 2))]
    if kind == _INET:
        words += [("idiag_src", inet4(data[4:8])), ("idiag_dst", inet4(data[20:24]))]
    text = "{" + ", ".join(f"{name}={value}" for name, value in words)
    if kind == _INET6:
        for name, address in (("idiag_src", data[4:20]), ("idiag_dst", data[20:36])):
            text += f", inet_pton(AF_INET6, {inet6(address)}, &{name})"
    index, low, high = unpack_from("<III", data, 36)
    return text + f", idiag_if={interface(index)}, idiag_cookie=[{low}, {high}]}}"


def _diag_request(data: bytes, limit: Limit) -> str | None:
    if not data:
        return None
    kind = data[0]
    protocol = data[1] if len(data) > 1 else 0
    if kind in (_INET, _INET6) and len(data) >= 56:
        head = fields(("sdiag_family", family(kind)), ("sdiag_protocol", name_of(network.IP_PROTOCOLS, protocol, "IPPROTO_???")),
                      ("idiag_ext", _extensions(data[2])), ("idiag_states", _states(unpack_from("<I", data, 4)[0])),
                      ("id", _identity(data[8:56], kind)))  # fmt: skip
        return _with(head, data, 56, kind, limit, {1: "INET_DIAG_REQ_BYTECODE"}, "INET_DIAG_REQ_???", {})
    if kind == 1 and len(data) >= 24:
        states, inode, shows, low, high = unpack_from("<IIIII", data, 4)
        return fields(("sdiag_family", family(kind)), ("sdiag_protocol", protocol), ("udiag_states", _states(states)),
                      ("udiag_ino", inode), ("udiag_show", flags_of(names.UNIX_DIAG_SHOWS, shows, "UDIAG_SHOW_???")),
                      ("udiag_cookie", f"[{low}, {high}]"))  # fmt: skip
    return None


def _short_diag(data: bytes, bits: int, limit: Limit) -> str:
    kind = data[0]
    if len(data) == 1 or kind not in (1, _INET, _INET6):
        return _other_route(data, None, limit)
    return _other_route(data, "sdiag_" if bits & 1 else "udiag_" if kind == 1 else "idiag_", limit)


def _extensions(bits: int) -> str:
    table = {1 << which - 1: f"1<<({name}-1)" for which, name in names.INET_DIAG_ATTRIBUTES.items() if 0 < which < 9}
    return flags_of(table, bits, "1<<INET_DIAG_???")


def _diag_answer(data: bytes, limit: Limit) -> str | None:
    if len(data) < 3:
        return None
    kind = data[0]
    state = name_of(names.TCP_STATES, data[2 if kind == 1 else 1], "TCP_???")
    if kind in (_INET, _INET6) and len(data) >= 72:
        expires, receive, send, user, inode = unpack_from("<IIIII", data, 52)
        head = fields(("idiag_family", family(kind)), ("idiag_state", state), ("idiag_timer", data[2]),
                      ("idiag_retrans", data[3]), ("id", _identity(data[4:52], kind)), ("idiag_expires", expires),
                      ("idiag_rqueue", receive),
                      ("idiag_wqueue", send), ("idiag_uid", user), ("idiag_inode", inode))  # fmt: skip
        return _with(head, data, 72, kind, limit, names.INET_DIAG_ATTRIBUTES, "INET_DIAG_???", _INET_DIAG)
    if kind == 1 and len(data) >= 16:
        inode, low, high = unpack_from("<III", data, 4)
        head = fields(("udiag_family", family(kind)), ("udiag_type", name_of(network.SOCKET_TYPES, data[1], "SOCK_???")),
                      ("udiag_state", state), ("udiag_ino", inode), ("udiag_cookie", f"[{low}, {high}]"))  # fmt: skip
        return _with(head, data, 16, kind, limit, names.UNIX_DIAG_ATTRIBUTES, "UNIX_DIAG_???", _UNIX_DIAG)
    return None


#: By the first of a group of types: what its structure's fields begin with, and how it reads.
_ROUTE_BODIES: dict[int, tuple[str, Callable[[bytes, Limit], str | None]]] = {
    16: ("ifi_", _link), 20: ("ifa_", _interface_address), 24: ("rtm_", _route), 28: ("ndm_", _neighbour), 32: ("", _rule),
    36: ("tcm_", _traffic), 40: ("tcm_", _traffic), 44: ("tcm_", _traffic), 56: ("ifa_", _interface_address),
    60: ("ifa_", _interface_address), 80: ("ncm_", _configuration), 100: ("tcm_", _traffic),
}  # fmt: skip


# -- messages -----------------------------------------------------------------------------------------


_TYPES = {_ROUTE: (names.ROUTE_TYPES, "RTM_???"), _DIAG: (names.DIAG_TYPES, "SOCK_DIAG_???"),
          _XFRM: (names.XFRM_TYPES, "XFRM_MSG_???"), _AUDIT: (names.AUDIT_TYPES, "AUDIT_???")}  # fmt: skip


def _type_of(protocol: int, kind: int) -> str:
    if kind in names.CONTROL_TYPES:
        return names.CONTROL_TYPES[kind]
    table, unknown = _TYPES.get(protocol, ({}, "NLMSG_???"))
    if kind < 16:
        return f"{number(kind)} /* NLMSG_??? */"
    if protocol == _GENERIC:
        return "nlctrl" if kind == 16 else f"{kind:#x} /* GENERIC_FAMILY_??? */"
    return name_of(table, kind, unknown)


def _flags_for(protocol: int, kind: int, bits: int) -> str:
    """The upper half of the flags means another thing for a question, a new object, an end of one, an answer."""
    extra: dict[int, str] = {}
    if kind in (_ERROR, _DONE):
        extra = names.ACK_FLAGS if kind == _ERROR else {}
    elif protocol in (_ROUTE, _XFRM) and kind >= 16:
        extra = (names.NEW_FLAGS, names.DELETE_FLAGS, names.GET_FLAGS, {})[kind & 3]
    elif protocol == _DIAG and kind >= 16:
        extra = names.GET_FLAGS if kind != 21 else {}
    return flags_of(names.MESSAGE_FLAGS | extra, bits, "NLM_F_???")


def _header(protocol: int, data: bytes) -> str:
    length, kind, bits, sequence, pid = unpack_from("<IHHIi", data)
    return fields(("nlmsg_len", length), ("nlmsg_type", _type_of(protocol, kind)),
                  ("nlmsg_flags", _flags_for(protocol, kind, bits)), ("nlmsg_seq", sequence), ("nlmsg_pid", pid))  # fmt: skip


def _errno(value: int) -> str:
    return f"-{ERRNO_NAMES[-value]}" if -value in ERRNO_NAMES else str(value)


def _error(protocol: int, data: bytes, bits: int, limit: Limit, depth: int) -> str | None:
    if len(data) < 4:
        return None
    code = ("error", _errno(unpack_from("<i", data)[0]))
    inner = data[4:]
    if len(inner) < _HEADER:
        return None
    length = _HEADER if bits & 0x100 else int.from_bytes(inner[:4], "little")
    text = fields(code, ("msg", _message(protocol, inner[:length], limit, depth - 1)))
    rest = inner[length:]
    if not rest:
        return text
    table = {0: "NLMSGERR_ATTR_UNUSED", 1: "NLMSGERR_ATTR_MSG", 2: "NLMSGERR_ATTR_OFFS", 3: "NLMSGERR_ATTR_COOKIE"}
    return f"[{text}, {_attributes(rest, 0, limit, table, 'NLMSGERR_ATTR_???', {1: _text, 2: _u32})}]"


def _body(protocol: int, kind: int, bits: int, data: bytes, limit: Limit, depth: int) -> str | None:
    if kind == _ERROR:
        return _error(protocol, data, bits, limit, depth) if depth else None
    if kind == _DONE:
        return str(unpack_from("<i", data)[0]) if len(data) == 4 else None
    if protocol == _ROUTE and kind >= 16:
        prefix, show = _ROUTE_BODIES.get(kind & ~3 if kind in names.ROUTE_TYPES else 0, (None, None))
        return (show(data, limit) if show is not None else None) or _other_route(data, prefix, limit)
    if protocol == _DIAG and kind >= 16:
        if kind != 20:
            return _other_route(data, "sdiag_" if len(data) > 1 else None, limit)
        return (_diag_request if bits & 1 else _diag_answer)(data, limit) or _short_diag(data, bits, limit)
    return None


def _message(protocol: int, data: bytes, limit: Limit, depth: int = _DEPTH) -> str:
    """One message, which begins `data` and may go beyond it."""
    head = _header(protocol, data)
    length, kind, bits = unpack_from("<IHH", data)
    body = data[_HEADER : max(length, _HEADER)]
    if not body:
        return head
    text = _body(protocol, kind, bits, body, limit, depth)
    if text is None:
        text = _some(body, limit)
    return f"[{head}, {text}]"


def messages(protocol: int, data: bytes, limit: Limit) -> str:
    """All messages of a datagram, at most `limit` of them."""
    words: list[str] = []
    while len(data) >= _HEADER:
        if len(words) >= limit.parts:
            words.append("...")
            break
        words.append(_message(protocol, data, limit))
        length = int.from_bytes(data[:4], "little")
        if length < _HEADER:
            break
        data = data[length + 3 & ~3 :]
    else:
        if data:
            words.append(_some(data, limit))
    return words[0] if len(words) == 1 else "[" + ", ".join(words) + "]"


def protocol_of(view: View, fd: int, is_likely: bool = False) -> int | None:
    """The protocol of a netlink socket, `_UNLISTED` where only that is known, None for every other descriptor."""
    what = view.descriptor(fd) if fd >= 0 else None
    if what is None:
        return None
    if what.startswith("\\x"):  # -xx
        what = bytes.fromhex(what.replace("\\x", "")).decode(errors="replace")
    if what.startswith("socket:[") and what[8:-1].isdecimal():
        protocol = netlink_protocol(int(what[8:-1]), is_likely)
        if protocol is None and is_likely and is_netlink(getattr(view.memory, "tid", 0), fd):
            return _UNLISTED
        return protocol
    if what.startswith("NETLINK:["):
        if what[9:-1].isdecimal():
            return _UNLISTED
        name = "NETLINK_" + what[9:].partition(":")[0]
        return next((number for number, known in network.NETLINK_PROTOCOLS.items() if known == name), None)
    return None


def payload(view: View, fd: int, address: int, size: int) -> str:
    """What is sent or was received through a socket: netlink messages, or bytes."""
    if size > 0 and address:
        length = view.integer(address, 4)
        protocol = protocol_of(view, fd, length is not None and _HEADER <= length <= size)
        if protocol is not None and protocol != _UEVENT:
            limit = Limit(_MOST if view.style.verbose else view.style.strings, view.style.strings)
            data = view.bytes(address, min(size, _MOST))
            if data is not None:
                return messages(protocol, data, limit) if len(data) >= _HEADER else _some(data, limit)
    return memory(view, address, size)
