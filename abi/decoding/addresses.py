"""Socket addresses in words: a family, then what that family calls its fields.

Shared by the socket calls, the requests for interfaces (ioctl's ifreq) and what netlink carries.  Interfaces are shown by
name where the supervisor sees one of that index: a guest on the host's network has the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import unpack_from

from abi.decoding.constants import network as names
from abi.decoding.values import View, flags_of, name_of, quoted

_MOST = 128  # sizeof(struct sockaddr_storage)
_UNIX_PATH = 108

_CIDS = {0: "VMADDR_CID_HYPERVISOR", 1: "VMADDR_CID_LOCAL", 2: "VMADDR_CID_HOST", 0xFFFFFFFF: "VMADDR_CID_ANY"}
_VSOCK_FLAGS = {1: "VMADDR_FLAG_TO_HOST"}
_XDP_FLAGS = {1: "XDP_SHARED_UMEM", 2: "XDP_COPY", 4: "XDP_ZEROCOPY", 8: "XDP_USE_NEED_WAKEUP"}
_HCI_CHANNELS = {0: "HCI_CHANNEL_RAW", 1: "HCI_CHANNEL_USER", 2: "HCI_CHANNEL_MONITOR", 3: "HCI_CHANNEL_CONTROL",
                 4: "HCI_CHANNEL_LOGGING"}  # fmt: skip
_PSMS = {1: "L2CAP_PSM_SDP", 3: "L2CAP_PSM_RFCOMM", 0x21: "L2CAP_PSM_3DSP", 0x23: "L2CAP_PSM_IPSP"}
_PSM_RANGES = ((0x1001, 0xFFFF, "L2CAP_PSM_DYN_START"), (0x80, 0xFF, "L2CAP_PSM_LE_DYN_START"))
_CHANNELS = {1: "L2CAP_CID_SIGNALING", 2: "L2CAP_CID_CONN_LESS", 3: "L2CAP_CID_A2MP", 4: "L2CAP_CID_ATT",
             5: "L2CAP_CID_LE_SIGNALING", 6: "L2CAP_CID_SMP", 7: "L2CAP_CID_SMP_BREDR"}  # fmt: skip
_CHANNEL_RANGES = ((0x40, 0xFFFF, "L2CAP_CID_DYN_START"),)
_DEVICE_KINDS = {0: "BDADDR_BREDR", 1: "BDADDR_LE_PUBLIC", 2: "BDADDR_LE_RANDOM"}


def number(value: int) -> str:
    """In hex, as %#x: 0 stays 0."""
    return hex(value) if value else "0"


def hexed(data: bytes) -> str:
    """A string literal of nothing but hex escapes."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def hardware(data: bytes) -> str:
    """A hardware address: ``02:fc:00:00:00:01``."""
    return data.hex(":")


def interface(index: int) -> str:
    """An interface by its index, ``if_nametoindex("lo")`` or the number where there is none (netdevice(7))."""
    from socket import if_indextoname  # here and below: it takes a while, and ioctl(2) alone needs none of it

    try:
        return f"if_nametoindex({quoted(os.fsencode(if_indextoname(index)))})"
    except (OSError, OverflowError):
        return str(index)


def port(data: bytes, offset: int) -> str:
    return f"htons({int.from_bytes(data[offset : offset + 2], 'big')})"


def inet4(data: bytes) -> str:
    from socket import inet_ntoa

    return f"inet_addr({quoted(inet_ntoa(data).encode())})"


def inet6(data: bytes) -> str:
    """The text of an IPv6 address, quoted."""
    from socket import AF_INET6, inet_ntop

    return quoted(inet_ntop(AF_INET6, data).encode())


def family(value: int) -> str:
    return name_of(names.FAMILIES, value, "AF_???")


def _unix(data: bytes) -> str | None:
    path = data[2 : 2 + _UNIX_PATH]
    if not path:
        return ""
    if path[0]:
        return f"sun_path={quoted(path.partition(bytes(1))[0])}"
    return f"sun_path=@{quoted(path[1:])}"


def _inet(data: bytes) -> str | None:
    if len(data) < 16:
        return None
    return f"sin_port={port(data, 2)}, sin_addr={inet4(data[4:8])}"


def _inet6(data: bytes) -> str | None:
    if len(data) < 24:
        return None
    text = (f"sin6_port={port(data, 2)}, sin6_flowinfo=htonl({int.from_bytes(data[4:8], 'big')}), "
            f"inet_pton(AF_INET6, {inet6(data[8:24])}, &sin6_addr)")  # fmt: skip
    if len(data) == 24:
        return text
    scope = int.from_bytes(data[24:28], "little")
    # a scope is an interface for addresses of a link only: fe80::/10 and ff02::/16
    is_link = (data[8] == 0xFE and data[9] & 0xC0 == 0x80) or (data[8] == 0xFF and data[9] & 0x0F == 2)
    return f"{text}, sin6_scope_id={interface(scope) if is_link else scope}"


def _ipx(data: bytes) -> str | None:
    if len(data) < 16:
        return None
    node = ", ".join(number(byte) for byte in data[8:14])
    return (f"sipx_port={port(data, 2)}, sipx_network=htonl({number(int.from_bytes(data[4:8], 'big'))}), "
            f"sipx_node=[{node}], sipx_type={number(data[14])}")  # fmt: skip


def netlink_groups(groups: int) -> str:
    return f"{groups:#08x}" if groups else "00000000"


def _netlink(data: bytes) -> str | None:
    if len(data) < 12:
        return None
    pad, pid, groups = unpack_from("<HiI", data, 2)
    return (f"nl_pad={pad:#x}, " if pad else "") + f"nl_pid={pid}, nl_groups={netlink_groups(groups)}"


def ether_protocol(value: int) -> str:
    """A protocol of a packet socket, `value` in network order."""
    value = (value & 0xFF) << 8 | value >> 8 & 0xFF
    return f"htons({name_of(names.ETHER_PROTOCOLS, value, 'ETH_P_???')})"


def hardware_type(value: int) -> str:
    return name_of(names.HARDWARE_TYPES, value, "ARPHRD_???")


def _packet(data: bytes) -> str | None:
    if len(data) < 20:
        return None
    protocol, index, kind, packet, length = unpack_from("<HiHBB", data, 2)
    address = ", ".join([number(byte) for byte in data[12 : 12 + min(length, 8)]] + (["..."] if length > 8 else []))
    return (f"sll_protocol={ether_protocol(protocol)}, sll_ifindex={interface(index & 0xFFFFFFFF)}, "
            f"sll_hatype={hardware_type(kind)}, sll_pkttype={name_of(names.PACKET_TYPES, packet, 'PACKET_???')}, "
            f"sll_halen={length}" + (f", sll_addr=[{address}]" if length else ""))  # fmt: skip


def _vsock(data: bytes) -> str | None:
    if len(data) < 16:
        return None
    reserved, where, cid, flags = unpack_from("<HIIB", data, 2)
    text = f"svm_reserved1={reserved:#x}, " if reserved else ""
    text += f"svm_cid={_CIDS.get(cid, number(cid))}, svm_port={'VMADDR_PORT_ANY' if where == 0xFFFFFFFF else number(where)}"
    text += f", svm_flags={flags_of(_VSOCK_FLAGS, flags, 'VMADDR_FLAG_???')}"
    return text + (f", svm_zero={hexed(data[13:16])}" if any(data[13:16]) else "")


def _in_ranges(value: int, table: dict[int, str], ranges: tuple[tuple[int, int, str], ...], unknown: str) -> str:
    for first, last, name in ranges:
        if first <= value <= last:
            return f"htobs({name}+{value - first})" if value > first else f"htobs({name})"
    return f"htobs({name_of(table, value, unknown)})"


def _bluetooth(data: bytes) -> str | None:
    """The protocols share a family, and tell their addresses apart by length."""
    match len(data):
        case 4 | 6:
            text = f"hci_dev=htobs({int.from_bytes(data[2:4], 'little')})"
            if len(data) == 6:
                text += f", hci_channel={name_of(_HCI_CHANNELS, int.from_bytes(data[4:6], 'little'), 'HCI_CHANNEL_???')}"
            return text
        case 10:
            return f"rc_bdaddr={hardware(data[2:8])}, rc_channel={data[8]}"
        case 12 | 14:
            psm, channel = (int.from_bytes(data[at : at + 2], "little") for at in (2, 10))
            text = (f"l2_psm={_in_ranges(psm, _PSMS, _PSM_RANGES, 'L2CAP_PSM_???')}, l2_bdaddr={hardware(data[4:10])}, "
                    f"l2_cid={_in_ranges(channel, _CHANNELS, _CHANNEL_RANGES, 'L2CAP_CID_???')}")  # fmt: skip
            return text + (f", l2_bdaddr_type={name_of(_DEVICE_KINDS, data[12], 'BDADDR_???')}" if len(data) == 14 else "")
    return None


def _x25(data: bytes) -> str | None:
    if len(data) < 18:
        return None
    return f"sx25_addr={{x25_addr={quoted(data[2:18].partition(bytes(1))[0])}}}"


def _algorithm(data: bytes) -> str | None:
    if len(data) < 88:
        return None
    feature, mask = unpack_from("<II", data, 16)
    kind, name = (quoted(data[at : at + size].partition(bytes(1))[0]) for at, size in ((2, 14), (24, 64)))
    return (f"salg_type={kind}, salg_feat={flags_of({}, feature, 'CRYPTO_ALG_???')}, "
            f"salg_mask={flags_of({}, mask, 'CRYPTO_ALG_???')}, salg_name={name}")  # fmt: skip


def _xdp(data: bytes) -> str | None:
    if len(data) < 16:
        return None
    bits, index, queue, fd = unpack_from("<HIIi", data, 2)
    text = f"sxdp_flags={flags_of(_XDP_FLAGS, bits, 'XDP_???')}, sxdp_ifindex={interface(index)}, sxdp_queue_id={queue}"
    return text + (f", sxdp_shared_umem_fd={fd}" if bits & 1 else "")


_FAMILIES: dict[int, Callable[[bytes], str | None]] = {
    1: _unix, 2: _inet, 4: _ipx, 9: _x25, 10: _inet6, 16: _netlink, 17: _packet, 31: _bluetooth, 38: _algorithm, 40: _vsock,
    44: _xdp,
}  # fmt: skip


def sockaddr_of(data: bytes) -> str:
    """A struct sockaddr of two bytes at least; bytes in quotes where the family is unknown or wants more of them."""
    number = int.from_bytes(data[:2], "little")
    show = _FAMILIES.get(number)
    text = show(data) if show is not None else None
    if text is None:
        text = f"sa_data={quoted(data[2:])}" if len(data) > 2 else ""
    return f"{{sa_family={family(number)}" + (f", {text}}}" if text else "}")


def sockaddr(view: View, address: int, length: int) -> str:
    """The socket address of `length` bytes at an address (bind(2))."""
    if not address:
        return "NULL"
    if length < 2:
        return hex(address)
    data = view.bytes(address, min(length, _MOST))
    return hex(address) if data is None else sockaddr_of(data)
