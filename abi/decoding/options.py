"""Socket options: names by level, and values where they are more than an int or bytes.  getsockopt(2), socket(7), ip(7)."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from

from abi.decoding.addresses import hardware, hexed, inet4, inet6, interface, number, sockaddr_of
from abi.decoding.constants import network as names
from abi.decoding.security import socket_filter
from abi.decoding.values import ERRNO_NAMES, View, cut, fields, identity, memory, name_of, pointer, signed32

_GROUP = 136  # sizeof(struct group_req)

#: The options of each level, and how one of no name is called.
LEVELS: dict[int, tuple[dict[int, str], str]] = {
    0: (names.IP_OPTIONS, "IP_???"), 1: (names.SOCKET_OPTIONS, "SO_???"), 6: (names.TCP_OPTIONS, "TCP_???"),
    17: (names.UDP_OPTIONS, "UDP_???"), 40: (names.VSOCK_OPTIONS, "SO_VM_SOCKETS_???"), 41: (names.IPV6_OPTIONS, "IPV6_???"),
    132: (names.SCTP_OPTIONS, "SCTP_???"), 255: ({1: "ICMP_FILTER"}, "RAW_???"), 256: ({1: "IPX_TYPE"}, "IPX_???"),
    263: (names.PACKET_OPTIONS, "PACKET_???"), 268: (names.LLC_OPTIONS, "LLC_OPT_???"),
    269: (names.DCCP_OPTIONS, "DCCP_SOCKOPT_???"), 270: (names.NETLINK_OPTIONS, "NETLINK_???"),
    271: (names.TIPC_OPTIONS, "TIPC_???"), 272: (names.RXRPC_OPTIONS, "RXRPC_???"),
    273: (names.PPPOL2TP_OPTIONS, "PPPOL2TP_SO_???"), 274: (names.BLUETOOTH_OPTIONS, "BT_???"),
    275: (names.PNPIPE_OPTIONS, "PNPIPE_???"), 276: (names.RDS_OPTIONS, "RDS_???"), 277: ({}, "SO_???"),
    278: (names.CAIF_OPTIONS, "CAIFSO_???"), 279: (names.ALG_OPTIONS, "ALG_???"), 280: (names.NFC_OPTIONS, "NFC_LLCP_???"),
    281: (names.KCM_OPTIONS, "KCM_???"), 282: (names.TLS_OPTIONS, "TLS_???"), 283: (names.XDP_SOCKET_OPTIONS, "XDP_???"),
}  # fmt: skip

# those of SOL_SOCKET that are an int whatever length the caller gives
_INTEGERS = frozenset({1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 18, 19, 27, 29, 30, 32, 33, 34, 35, 36, 37, 40, 41, 42, 43,
                       44, 45, 46, 49, 53, 56, 60, 63, 64, 65, 68, 69, 70, 73, 75})  # fmt: skip
_REHASH = {0: "SOCK_TXREHASH_DISABLED", 1: "SOCK_TXREHASH_ENABLED", 255: "SOCK_TXREHASH_DEFAULT"}


def level(view: View, value: int) -> str:
    value = value & 0xFFFFFFFF
    return name_of(names.LEVELS, value, "SOL_??")


def _name(view: View, value: int, is_set: bool) -> str:
    value &= 0xFFFFFFFF
    where = view.args[1] & 0xFFFFFFFF
    special = names.NETFILTER_OPTIONS[is_set].get(where, {}).get(value)
    if special is not None:
        return special
    if where not in LEVELS:
        return str(value)
    table, unknown = LEVELS[where]
    name = table.get(value)
    return name if name is not None else f"{number(value)} /* {unknown} */"


def name_to_set(view: View, value: int) -> str:
    return _name(view, value, True)


def name_to_get(view: View, value: int) -> str:
    return _name(view, value, False)


# -- values: the bytes there are, as many as the kernel or the caller says ------------------------------

Value = Callable[[View, bytes], "str | None"]


def _parts(data: bytes, *parts: tuple[str, int, Callable[[int], object]]) -> str:
    """The fields of a structure that may end early; one that is cut is shown as bytes."""
    words = []
    at = 0
    for name, size, show in parts:
        piece = data[at : at + size]
        if not piece:
            break
        words.append((name, hexed(piece) if len(piece) < size else show(int.from_bytes(piece, "little"))))
        at += size
    return fields(*words)


def _integer(view: View, data: bytes) -> str | None:
    return f"[{unpack_from('<i', data)[0]}]" if len(data) >= 4 else hexed(data)


def _error(view: View, data: bytes) -> str:
    if len(data) < 4:
        return hexed(data)
    code = unpack_from("<i", data)[0]
    return f"[{ERRNO_NAMES.get(code, code)}]"


def _linger(view: View, data: bytes) -> str:
    return _parts(data, ("l_onoff", 4, signed32), ("l_linger", 4, signed32))


def _credentials(view: View, data: bytes) -> str:
    return _parts(data, ("pid", 4, signed32), ("uid", 4, lambda value: identity(view, value)),
                  ("gid", 4, lambda value: identity(view, value)))  # fmt: skip


def _rehash(view: View, data: bytes) -> str | None:
    if len(data) < 4:
        return hexed(data)
    value = unpack_from("<i", data)[0]
    return f"[{_REHASH[value]}]" if value in _REHASH else f"[{value} /* SOCK_TXREHASH_??? */]"


def _icmp_filter(view: View, data: bytes) -> str:
    """A set of types: as bits of up to 32, and those left out where most are in."""
    bits = int.from_bytes(data[:4], "little")
    wide = len(data[:4]) * 8
    is_inverse = bits.bit_count() > wide * 2 // 3
    if is_inverse:
        bits = ~bits & (1 << wide) - 1
    words = " ".join(name_of(names.ICMP_TYPES, which, "ICMP_???") for which in range(32) if bits >> which & 1)
    return f"{'~' if is_inverse else ''}[{words}]"


def _statistics(view: View, data: bytes) -> str:
    return _parts(data, ("tp_packets", 4, int), ("tp_drops", 4, int), ("tp_freeze_q_cnt", 4, int))


# those that are shown as the structures they are, of at least (or exactly) so many bytes


def _membership(view: View, data: bytes) -> str:
    return fields(("imr_multiaddr", inet4(data[:4])), ("imr_interface", inet4(data[4:8])))


def _membership6(view: View, data: bytes) -> str:
    return (f"{{inet_pton(AF_INET6, {inet6(data[:16])}, &ipv6mr_multiaddr), "
            f"ipv6mr_interface={interface(unpack_from('<I', data, 16)[0])}}}")  # fmt: skip


def _group(view: View, data: bytes) -> str:
    return fields(("gr_interface", interface(unpack_from("<I", data)[0])), ("gr_group", sockaddr_of(data[8:_GROUP])))


def _packet_membership(view: View, data: bytes) -> str:
    index, kind, length = unpack_from("<IHH", data)
    return fields(("mr_ifindex", interface(index)), ("mr_type", name_of(names.PACKET_MEMBERSHIPS, kind, "PACKET_MR_???")),
                  ("mr_alen", length), ("mr_address", hardware(data[8 : 8 + min(length, 8)])))  # fmt: skip


def _ring(view: View, data: bytes) -> str:
    words = ("tp_block_size", "tp_block_nr", "tp_frame_size", "tp_frame_nr")
    return fields(*zip(words, unpack_from("<IIII", data), strict=True))


#: What is set, by level and option: its least size, whether it may be longer, and how it reads.
_TO_SET: dict[tuple[int, int], tuple[int, bool, Value]] = {
    (1, 13): (8, True, _linger), (1, 26): (16, False, socket_filter), (1, 51): (16, False, socket_filter),
    (0, 35): (8, True, _membership), (0, 36): (8, True, _membership), (0, 42): (_GROUP, True, _group),
    (0, 45): (_GROUP, True, _group), (41, 42): (_GROUP, True, _group), (41, 45): (_GROUP, True, _group),
    (41, 20): (20, True, _membership6), (41, 21): (20, True, _membership6), (41, 27): (20, True, _membership6),
    (41, 28): (20, True, _membership6), (263, 1): (16, False, _packet_membership), (263, 2): (16, False, _packet_membership),
    (263, 5): (16, False, _ring), (263, 13): (16, False, _ring),
}  # fmt: skip

_TO_GET: dict[tuple[int, int], Value] = {
    (1, 4): _error, (1, 13): _linger, (1, 17): _credentials, (1, 74): _rehash, (255, 1): _icmp_filter,
    (263, 6): _statistics,
}  # fmt: skip


def _is_integer(where: int, option: int) -> bool:
    return (where == 1 and option in _INTEGERS) or where == 270


def value_to_set(view: View, value: int) -> str:
    """The value of setsockopt."""
    where, option, length = view.args[1] & 0xFFFFFFFF, view.args[2] & 0xFFFFFFFF, signed32(view.args[4])
    if not value:
        return "NULL"
    if length < 0:
        if (where, option) == (1, 25):  # SO_BINDTODEVICE is a string first of all
            return memory(view, value, 1 << 32)
        return pointer(view, value)
    structure = _TO_SET.get((where, option))
    if structure is not None:
        least, may_be_longer, show = structure
        data = view.bytes(value, least) if length == least or (may_be_longer and length > least) else None
        return pointer(view, value) if data is None else show(view, data)
    if (where, option) == (255, 1) or (where, option) == (1, 74):
        data = view.bytes(value, min(length, 4))
        return pointer(view, value) if not data else (_icmp_filter if where == 255 else _rehash)(view, data)
    if _is_integer(where, option) or length == 4:
        number = view.integer(value, 4, is_signed=True) if length >= 4 else None
        return pointer(view, value) if number is None else f"[{number}]"
    return memory(view, value, length)


def value_gotten(view: View, value: int) -> str:
    """The value that getsockopt filled."""
    length = view.integer(view.args[4], 4, is_signed=True)
    if view.error or not value or length is None or length <= 0 or view.kept is None:
        return pointer(view, value)
    where, option = view.args[1] & 0xFFFFFFFF, view.args[2] & 0xFFFFFFFF
    if (where, option) == (1, 26):  # SO_GET_FILTER: the length counts instructions
        return pointer(view, value)
    show = _TO_GET.get((where, option)) or (_integer if _is_integer(where, option) else None)
    if show is not None:
        data = view.bytes(value, min(length, 64))
        return pointer(view, value) if data is None else show(view, data)
    if length == 4:
        number = view.integer(value, 4, is_signed=True)
        return pointer(view, value) if number is None else f"[{number}]"
    data = view.bytes(value, min(length, view.style.strings + 1))
    return pointer(view, value) if data is None else cut(view, data, length)
