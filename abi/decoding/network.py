"""The socket calls: socket(2) to sendmmsg(2)."""

from __future__ import annotations

from struct import unpack_from

from abi.decoding.addresses import ether_protocol, sockaddr
from abi.decoding.constants import network as names
from abi.decoding.messages import MANY_MESSAGE, MESSAGE, keep_name_length, message, received, sent
from abi.decoding.netlink import payload
from abi.decoding.options import level, name_to_get, name_to_set, value_gotten, value_to_set
from abi.decoding.values import (
    Signature,
    View,
    array,
    at_end,
    call,
    decimal,
    described,
    descriptor,
    fields,
    flags,
    flags_of,
    name_of,
    new_descriptor,
    one_of,
    out,
    pointer,
    signed32,
    size,
    unsigned,
)

_TYPE_MASK = 0xF
_VECTORS_MOST = 1024  # UIO_MAXIOV: sendmmsg and recvmmsg take no more

_family = one_of(names.FAMILIES, "AF_???")
_message_flags = flags(names.MESSAGE_FLAGS, "MSG_???")

# -- socket ---------------------------------------------------------------------------------------------


def _type(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    kind = names.SOCKET_TYPES.get(value & _TYPE_MASK)
    if kind is None:
        return flags_of(names.SOCKET_FLAGS, value, "SOCK_???")
    rest = value & ~_TYPE_MASK
    return f"{kind}|{flags_of(names.SOCKET_FLAGS, rest, 'SOCK_???')}" if rest else kind


_PROTOCOLS: dict[int, tuple[dict[int, str], str]] = {
    2: (names.IP_PROTOCOLS, "IPPROTO_???"), 3: (names.AX25_PROTOCOLS, "AX25_P_???"), 10: (names.IP_PROTOCOLS, "IPPROTO_???"),
    16: (names.NETLINK_PROTOCOLS, "NETLINK_???"), 23: (names.IRDA_PROTOCOLS, "IRDAPROTO_???"),
    29: (names.CAN_PROTOCOLS, "CAN_???"), 31: (names.BLUETOOTH_PROTOCOLS, "BTPROTO_???"), 33: (names.FAMILIES, "AF_???"),
    34: (names.ISDN_PROTOCOLS, "ISDN_P_???"),
    35: (names.PHONET_PROTOCOLS, "PN_PROTO_???"), 37: (names.CAIF_PROTOCOLS, "CAIFPROTO_???"),
    39: (names.NFC_PROTOCOLS, "NFC_SOCKPROTO_???"), 41: (names.KCM_PROTOCOLS, "KCMPROTO_???"),
    43: (names.SMC_PROTOCOLS, "SMCPROTO_???"),
}  # fmt: skip


def _protocol(view: View, value: int) -> str:
    family, whole = view.args[0] & 0xFFFFFFFF, value
    value &= 0xFFFFFFFF
    if family == 17:
        return ether_protocol(value & 0xFFFF)  # the kernel takes no more of it
    if family == 3 and value in names.AX25_PROTOCOLS:
        return f"{value:#x} /* {names.AX25_PROTOCOLS[value]} */"
    if family not in _PROTOCOLS:
        return str(whole)
    table, unknown = _PROTOCOLS[family]
    return f"0 /* {unknown} */" if not value and value not in table else name_of(table, value, unknown)


def _pair(view: View, value: int) -> str:
    data = view.bytes(value, 8)
    if data is None:
        return pointer(view, value)
    return "[" + ", ".join(described(view, fd) for fd in unpack_from("<ii", data)) + "]"


# -- addresses that the kernel fills: how long they may be is seen before the call -----------------------


def _address(length_at: int):
    """A socket address that the caller hands in."""
    return lambda view, value: sockaddr(view, value, signed32(view.args[length_at]))


def _socket_keeping_length(length_at: int):
    """The descriptor; the length that the kernel will overwrite is kept aside."""

    def printer(view: View, value: int) -> str:
        view.kept = view.integer(view.args[length_at], 4, is_signed=True)
        return descriptor(view, value)

    return printer


def _filled_address(length_at: int):
    @at_end
    def printer(view: View, value: int) -> str:
        length = view.integer(view.args[length_at], 4, is_signed=True)
        if view.error or view.kept is None or length is None:
            return pointer(view, value)
        return sockaddr(view, value, min(length, view.kept))

    return printer


def _filled_length(address_at: int):
    @at_end
    def printer(view: View, value: int) -> str:
        length = view.integer(value, 4, is_signed=True)
        if not view.args[address_at] or view.kept is None or length is None:
            return pointer(view, value)
        return f"[{view.kept}]" if view.error or length == view.kept else f"[{view.kept} => {length}]"

    return printer


@at_end
def _option_length(view: View, value: int) -> str:
    length = view.integer(value, 4, is_signed=True)
    if view.kept is None or length is None:
        return pointer(view, value)
    return f"[{view.kept}]" if view.error or length == view.kept else f"[{view.kept} => {length}]"


# -- data -------------------------------------------------------------------------------------------------


def _sent(view: View, value: int) -> str:
    return payload(view, signed32(view.args[0]), value, view.args[2])


@out
def _received(view: View, value: int) -> str:
    return payload(view, signed32(view.args[0]), value, min(view.value, view.args[2]))


def _socket_keeping_message(view: View, value: int) -> str:
    view.kept = keep_name_length(view, view.args[1])
    return descriptor(view, value)


@at_end
def _message_received(view: View, value: int) -> str:
    return received(view, value)


@at_end
def _messages_sent(view: View, value: int) -> str:
    fd = signed32(view.args[0])
    count = min(view.args[2] & 0xFFFFFFFF, _VECTORS_MOST)
    done = 0

    def show(view: View, data: bytes) -> str:
        nonlocal done
        words = [("msg_hdr", message(view, data[:MESSAGE], fd))]
        if not view.error and done < view.value:
            words.append(("msg_len", unpack_from("<I", data, MESSAGE)[0]))
        done += 1
        return fields(*words)

    return array(view, value, count, MANY_MESSAGE, show)


def _socket_keeping_messages(view: View, value: int) -> str:
    """recvmmsg's descriptor; kept are how long each name may be, and the time limit before the kernel lowers it."""
    count = min(view.args[2] & 0xFFFFFFFF, _VECTORS_MOST)
    lengths = []
    for index in range(count):
        length = keep_name_length(view, view.args[1] + index * MANY_MESSAGE)
        if length is None:
            break
        lengths.append(length)
    view.kept = (lengths, _timespec(view, view.args[4]))
    return descriptor(view, value)


@at_end
def _messages_received(view: View, value: int) -> str:
    if view.error or view.kept is None:
        return pointer(view, value)
    fd = signed32(view.args[0])
    lengths = iter(view.kept[0])

    def show(view: View, data: bytes) -> str:
        length = unpack_from("<I", data, MESSAGE)[0]
        return fields(("msg_hdr", message(view, data[:MESSAGE], fd, length, next(lengths, None))), ("msg_len", length))

    return array(view, value, view.value, MANY_MESSAGE, show)


def _timespec(view: View, value: int) -> str:
    data = view.bytes(value, 16)
    if data is None:
        return pointer(view, value)
    return fields(*zip(("tv_sec", "tv_nsec"), unpack_from("<qq", data), strict=True))


@at_end
def _limit_before(view: View, value: int) -> str:
    return _timespec(view, value) if view.kept is None else view.kept[1]


def _messages_result(view: View, value: int):
    if not value:
        return "0", "Timeout"
    left = _timespec(view, view.args[4])
    return (str(value), f"left {left}") if left.startswith("{") else str(value)


CALLS: dict[str, Signature] = {
    "socket": call(_family, _type, _protocol, result=new_descriptor),
    "socketpair": call(_family, _type, size, out(_pair)),
    "bind": call(descriptor, _address(2), decimal),
    "connect": call(descriptor, _address(2), decimal),
    "listen": call(descriptor, decimal),
    "accept": call(_socket_keeping_length(2), _filled_address(2), _filled_length(1), result=new_descriptor),
    "accept4": call(_socket_keeping_length(2), _filled_address(2), _filled_length(1), flags(names.SOCKET_FLAGS, "SOCK_???"),
                    result=new_descriptor),
    "getsockname": call(_socket_keeping_length(2), _filled_address(2), _filled_length(1)),
    "getpeername": call(_socket_keeping_length(2), _filled_address(2), _filled_length(1)),
    "shutdown": call(descriptor, one_of(names.SHUTDOWNS, "SHUT_???")),
    "sendto": call(descriptor, _sent, size, _message_flags, _address(5), decimal),
    "recvfrom": call(_socket_keeping_length(5), _received, size, _message_flags, _filled_address(5), _filled_length(4)),
    "sendmsg": call(descriptor, sent, _message_flags),
    "recvmsg": call(_socket_keeping_message, _message_received, _message_flags),
    "sendmmsg": call(descriptor, _messages_sent, unsigned, _message_flags),
    "recvmmsg": call(_socket_keeping_messages, _messages_received, unsigned, _message_flags, _limit_before,
                     result=_messages_result),
    "setsockopt": call(descriptor, level, name_to_set, value_to_set, decimal),
    "getsockopt": call(_socket_keeping_length(4), level, name_to_get, at_end(value_gotten), _option_length),
}  # fmt: skip
