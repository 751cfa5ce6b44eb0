"""Requests of ioctl(2): what they are called, and how their arguments read.

A request is a number of 32 bits that says by itself what kind of device it is for, its number there, and how many bytes
go which way; the older ones say only the first two.  One that no table has is shown as those parts, and its argument,
as strace shows what it does not know, as an address.
"""

from __future__ import annotations

from struct import unpack_from

from abi.decoding.addresses import hardware, hardware_type, interface, number, sockaddr_of
from abi.decoding.constants import control as names
from abi.decoding.constants.ioctls import REQUESTS
from abi.decoding.constants.netlink import INTERFACE_FLAGS
from abi.decoding.terminals import termio, termios, window
from abi.decoding.values import (
    Printer,
    View,
    array,
    at_end,
    cut,
    described,
    fields,
    flags,
    flags_of,
    from_kernel,
    hexadecimal,
    name_of,
    one_of,
    out,
    pointer,
    quoted,
    signed32,
    to,
)

_READ, _WRITE = 2, 1
_LIST_MOST = 4096  # elements of a list that a guest says how long it is

# -- names ----------------------------------------------------------------------------------------------


_EVENT_STRINGS = {6: "NAME", 7: "PHYS", 8: "UNIQ", 9: "PROP", 10: "MTSLOTS", 0x18: "KEY", 0x19: "LED", 0x1A: "SND", 0x1B: "SW"}


def _sized(kind: int, which: int, direction: int, size: int) -> str | None:
    """Requests that have a length in their number, or an index."""
    match chr(kind), direction:
        case "E", 2:
            if which in _EVENT_STRINGS:
                return f"EVIOCG{_EVENT_STRINGS[which]}({size})"
            if 0x20 <= which < 0x40:
                event = which - 0x20
                name = "0" if not event else name_of(names.EVENT_KINDS, event, "EV_???")
                return f"EVIOCGBIT({name}, {size})"
            if 0x40 <= which < 0x80:
                return f"EVIOCGABS({name_of(names.AXES, which - 0x40, 'ABS_???')})"
        case "E", 1:
            if which >= 0xC0:
                return f"EVIOCSABS({name_of(names.AXES, which - 0xC0, 'ABS_???')})"
        case "H", 2:
            return {4: f"HIDIOCGRAWNAME({size})", 5: f"HIDIOCGRAWPHYS({size})"}.get(which)
        case "H", 3:
            return {6: f"HIDIOCSFEATURE({size})", 7: f"HIDIOCGFEATURE({size})"}.get(which)
        case "U", 2:
            return f"UI_GET_SYSNAME({size})" if which == 0x2C else None
        case "j", 2:
            return f"JSIOCGNAME({size})" if which == 0x13 else None
        case "M", 1 | 2:
            return f"MIXER_{'READ' if direction == _READ else 'WRITE'}({which})"
    return None


def request_name(value: int) -> str:
    """A request by its number; of those that are shared by two devices, both names."""
    value &= 0xFFFFFFFF
    name = REQUESTS.get(value)
    kind, which, size, direction = value >> 8 & 0xFF, value & 0xFF, value >> 16 & 0x3FFF, value >> 30
    sized = _sized(kind, which, direction, size)
    if sized is not None:
        return sized if name is None else f"{sized} or {name}"
    if name is not None:
        return name
    ways = "|".join(word for bit, word in ((_READ, "_IOC_READ"), (_WRITE, "_IOC_WRITE")) if direction & bit) or "_IOC_NONE"
    return f"_IOC({ways}, {number(kind)}, {number(which)}, {number(size)})"


# -- plain arguments --------------------------------------------------------------------------------------


def _number_in(size: int = 4, is_signed: bool = True) -> Printer:
    def printer(view: View, value: int) -> str:
        what = view.integer(value, size, is_signed)
        return pointer(view, value) if what is None else f"[{what}]"

    return printer


def _number_out(size: int = 4, is_signed: bool = True) -> Printer:
    return out(_number_in(size, is_signed))


def _words_in(size: int, show) -> Printer:
    def printer(view: View, value: int) -> str:
        what = view.integer(value, size)
        return pointer(view, value) if what is None else f"[{show(what)}]"

    return printer


def _pair(view: View, value: int) -> str:
    data = view.bytes(value, 16)
    return pointer(view, value) if data is None else "[{}, {}]".format(*unpack_from("<QQ", data))


def _text(size: int) -> Printer:
    """A string in a field of `size` bytes."""

    def printer(view: View, value: int) -> str:
        data = view.string(value, size)
        return pointer(view, value) if data is None else quoted(data)

    return printer


def _descriptor(view: View, value: int) -> str:
    return described(view, signed32(value))


def _int(view: View, value: int) -> str:
    return str(signed32(value))


def _long(view: View, value: int) -> str:
    return str(value)


def _modem_lines(bits: int) -> str:
    return flags_of(names.MODEM_LINES, bits, "TIOCM_???")


def _file_flags(bits: int) -> str:
    return flags_of(names.FILE_FLAGS, bits, "FS_???_FL")


def _character(view: View, value: int) -> str:
    data = view.bytes(value, 1)
    return pointer(view, value) if data is None else quoted(data)


def _chosen(table: dict[int, str], unknown: str) -> Printer:
    return one_of(table, unknown, 64)


# -- interfaces: struct ifreq, struct ifconf (netdevice(7)) -------------------------------------------------

_IFREQ = 40
_ETHERNET_LIKE = (1, 772, 801)  # ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_IEEE80211: addresses of six bytes
_IFNAME = 16


def _name(view: View, data: bytes) -> str:
    text, end, _ = data[:_IFNAME].partition(b"\0")
    return quoted(text) if end else quoted(text[: _IFNAME - 1]) + "..."


def _address(name: str):
    return lambda view, data: f"{name}={sockaddr_of(data[16:32])}"


def _hardware(view: View, data: bytes) -> str:
    kind = unpack_from("<H", data, 16)[0]
    length = 6 if kind in _ETHERNET_LIKE else 14
    return f"ifr_hwaddr={{sa_family={hardware_type(kind)}, sa_data={hardware(data[18 : 18 + length])}}}"


def _counted(name: str):
    return lambda view, data: f"{name}={unpack_from('<i', data, 16)[0]}"


def _interface_flags(view: View, data: bytes) -> str:
    return f"ifr_flags={flags_of(INTERFACE_FLAGS, unpack_from('<H', data, 16)[0], 'IFF_???')}"


def _mapping(view: View, data: bytes) -> str:
    words = ("mem_start", "mem_end", "base_addr", "irq", "dma", "port")
    values = (number(value) for value in unpack_from("<QQHBBB", data, 16))
    return f"ifr_map={fields(*zip(words, values, strict=True))}"


def _other_name(field: str):
    return lambda view, data: f"{field}={_name(view, data[16:32])}"


def _interface_set(show) -> Printer:
    return to(_IFREQ, lambda view, data: f"{{ifr_name={_name(view, data)}, {show(view, data)}}}")


def _interface_get(show) -> Printer:
    @at_end
    def printer(view: View, value: int) -> str:
        data = view.bytes(value, _IFREQ)
        if data is None:
            return pointer(view, value)
        return f"{{ifr_name={_name(view, data)}" + ("}" if view.error else f", {show(view, data)}}}")

    return printer


@at_end
def _interface_named(view: View, value: int) -> str:
    data = view.bytes(value, _IFREQ)
    if data is None:
        return pointer(view, value)
    index = f"{{ifr_ifindex={unpack_from('<i', data, 16)[0]}"
    return index + ("}" if view.error else f", ifr_name={_name(view, data)}}}")


def _bridge_port(view: View, data: bytes) -> str:
    return f"{{ifr_ifindex={interface(unpack_from('<I', data, 16)[0])}}}"


def _room(length: int) -> str:
    return str(length) + (f" /* {length // _IFREQ} * sizeof(struct ifreq) */" if length and not length % _IFREQ else "")


def _interfaces(view: View, value: int) -> str:
    data = view.bytes(value, 16)
    if data is None:
        return pointer(view, value)
    length, buffer = unpack_from("<i4xQ", data)
    before = view.kept
    if view.error or before is None or not buffer:
        return fields(("ifc_len", _room(length)), ("ifc_buf", pointer(view, buffer)))
    shown = _room(length) if before == length else f"{_room(before)} => {_room(length)}"
    found = array(view, buffer, min(length // _IFREQ, _LIST_MOST), _IFREQ,
                  lambda view, data: f"{{ifr_name={_name(view, data)}, {_address('ifr_addr')(view, data)}}}")  # fmt: skip
    return fields(("ifc_len", shown), ("ifc_buf", found))


# -- files (ioctl_fideduperange(2), ioctl_ficlonerange(2), fiemap) ------------------------------------------

_FIEMAP_FLAGS = {1: "FIEMAP_FLAG_SYNC", 2: "FIEMAP_FLAG_XATTR", 4: "FIEMAP_FLAG_CACHE"}


def _clone_range(view: View, data: bytes) -> str:
    fd, start, length, to_start = unpack_from("<qQQQ", data)
    return fields(("src_fd", described(view, signed32(fd))), ("src_offset", start), ("src_length", length),
                  ("dest_offset", to_start))  # fmt: skip


@at_end
def _same_range(view: View, value: int) -> str:
    data = view.bytes(value, 24)
    if data is None:
        return pointer(view, value)
    start, length, count = unpack_from("<QQH", data)

    def show(view: View, data: bytes) -> str:
        fd, offset, done, status = unpack_from("<qQQi", data)
        words = [("dest_fd", described(view, signed32(fd))), ("dest_offset", offset)]
        if not view.error:
            words += [("bytes_deduped", done), ("status", status)]
        return fields(*words)

    info = array(view, value + 24, count, 32, show)
    return fields(("src_offset", start), ("src_length", length), ("dest_count", count), ("info", info))


def _extended_attributes(is_set: bool):
    def show(view: View, data: bytes) -> str:
        bits, extent, extents, project, cow = unpack_from("<IIIII", data)
        words = [("fsx_xflags", flags_of(names.FILE_EXTENDED_FLAGS, bits, "FS_XFLAG_???")), ("fsx_extsize", extent)]
        words += [] if is_set else [("fsx_nextents", extents)]
        shown = number(project) if is_set else project
        return fields(*words, ("fsx_projid", shown), ("fsx_cowextsize", cow))

    return show


def _trimmed(view: View, data: bytes) -> str:
    start, length, least = unpack_from("<QQQ", data)
    return fields(("start", number(start)), ("len", length), ("minlen", least))


def _extent(view: View, data: bytes) -> str:
    logical, physical, length = unpack_from("<QQQ", data)
    bits = unpack_from("<I", data, 40)[0]
    return fields(("fe_logical", logical), ("fe_physical", physical), ("fe_length", length),
                  ("fe_flags", flags_of(names.EXTENT_FLAGS, bits, "FIEMAP_EXTENT_???")))  # fmt: skip


def _extents_asked(view: View, value: int) -> str | None:
    data = view.bytes(value, 32)
    if data is None:
        return None
    start, length, bits, _, count = unpack_from("<QQIII", data)
    return fields(("fm_start", start), ("fm_length", length), ("fm_flags", flags_of(_FIEMAP_FLAGS, bits, "FIEMAP_FLAG_???")),
                  ("fm_extent_count", count))  # fmt: skip


@at_end
def _extents(view: View, value: int) -> str:
    data = view.bytes(value, 32)
    if view.error or data is None:
        return view.kept or pointer(view, value)
    bits, mapped, count = unpack_from("<III", data, 16)
    words = [("fm_flags", flags_of(_FIEMAP_FLAGS, bits, "FIEMAP_FLAG_???")), ("fm_mapped_extents", mapped)]
    if not view.style.verbose:
        return f"{view.kept} => {fields(*words, more=True)}"
    found = array(view, value + 32, min(mapped, count, _LIST_MOST), 56, _extent) if count else pointer(view, value + 32)
    return f"{view.kept} => {fields(*words, ('fm_extents', found))}"


# -- loop devices (loop(4)) ---------------------------------------------------------------------------------


def _device(value: int) -> str:
    major = (value >> 8 & 0xFFF) | (value >> 32 & ~0xFFF)
    minor = (value & 0xFF) | (value >> 12 & 0xFFFFFF00)
    return f"makedev({number(major & 0xFFFFFFFF)}, {number(minor & 0xFFFFFFFF)})"


def _field_text(data: bytes) -> str:
    text, end, _ = data.partition(b"\0")
    return quoted(text) if end else quoted(text[:-1]) + "..."


def _loop64(view: View, data: bytes) -> str:
    device, inode, source, offset, limit, which, cipher, key_size, bits = unpack_from("<QQQQQIIII", data)
    words: list[tuple[str, object]] = []
    if view.style.verbose:
        words += [("lo_device", _device(device)), ("lo_inode", inode), ("lo_rdevice", _device(source))]
    words.append(("lo_offset", number(offset)))
    if view.style.verbose:
        words.append(("lo_sizelimit", limit))
    words += [("lo_number", which), ("lo_encrypt_type", name_of(names.LOOP_CIPHERS, cipher, "LO_CRYPT_???")),
              ("lo_encrypt_key_size", key_size), ("lo_flags", flags_of(names.LOOP_FLAGS, bits, "LO_FLAGS_???")),
              ("lo_file_name", _field_text(data[56:120])), ("lo_crypt_name", _field_text(data[120:184])),
              ("lo_encrypt_key", quoted(data[184 : 184 + min(key_size, 32)]))]  # fmt: skip
    if view.style.verbose:
        words.append(("lo_init", "[{}, {}]".format(*(number(value) for value in unpack_from("<QQ", data, 216)))))
    return fields(*words, more=not view.style.verbose)


def _loop_configuration(view: View, data: bytes) -> str:
    fd, block = unpack_from("<II", data)
    words = [("fd", described(view, signed32(fd))), ("block_size", block), ("info", _loop64(view, data[8:240]))]
    rest = unpack_from("<8Q", data, 240)
    if any(rest):
        words.append(("__reserved", "[" + ", ".join(number(value) for value in rest) + "]"))
    return fields(*words)


# -- others ---------------------------------------------------------------------------------------------------


def _entropy(view: View, value: int) -> str:
    data = view.bytes(value, 8)
    if data is None:
        return pointer(view, value)
    count, size = unpack_from("<ii", data)
    held = view.bytes(value + 8, min(max(size, 0), view.style.strings + 1))
    shown = hex(value + 8) if held is None else cut(view, held, max(size, 0))
    return fields(("entropy_count", count), ("buf_size", size), ("buf", shown))


def _clock(view: View, data: bytes) -> str:
    names_ = ("tm_sec", "tm_min", "tm_hour", "tm_mday", "tm_mon", "tm_year", "tm_wday", "tm_yday", "tm_isdst")
    shown = 9 if view.style.verbose else 6
    return fields(*zip(names_[:shown], unpack_from("<9i", data)[:shown], strict=True), more=not view.style.verbose)


def _wake(view: View, data: bytes) -> str:
    return fields(("enabled", data[0]), ("pending", data[1]), ("time", _clock(view, data[4:])))


def _range(view: View, data: bytes) -> str:
    start, length = unpack_from("<QQ", data)
    return fields(("start", number(start)), ("len", number(length)))


def _memory_region(view: View, data: bytes) -> str:
    slot, bits, where, size, user = unpack_from("<IIQQQ", data)
    kinds = {1: "KVM_MEM_LOG_DIRTY_PAGES", 2: "KVM_MEM_READONLY"}
    return fields(("slot", slot), ("flags", flags_of(kinds, bits, "KVM_MEM_???")), ("guest_phys_addr", number(where)),
                  ("memory_size", size), ("userspace_addr", number(user)))  # fmt: skip


def _no_argument(view: View, value: int) -> None:
    return None


_TERMIOS_IN, _TERMIOS_OUT = to(36, termios), from_kernel(36, termios)
_TERMIOS2_IN = to(44, termios)
_IN, _OUT = _number_in(), _number_out()
_COUNTER_FLAGS = flags({1: "PERF_IOC_FLAG_GROUP"}, "PERF_IOC_FLAG_???")

#: Those that take nothing.
_BARE = (
    0x125F, 0x1261, 0x1274, 0x1275, 0x1276, 0x2202, 0x3E01, 0x3E02, 0x4B36, 0x4B37, 0x4B3C, 0x4B3D, 0x4B6D, 0x4C01, 0x4C07,
    0x4C82, 0x4F08, 0x5204, 0x5206, 0x5207, 0x540C, 0x540D, 0x541D, 0x5422, 0x5427, 0x5428, 0x5437, 0x5450, 0x5451, 0x7001,
    0x7002, 0x7003, 0x7004, 0x7005, 0x7006, 0x700F, 0x7010, 0x7014, 0x9406, 0x9407, 0x9408, 0x941C, 0x942E, 0xAB03, 0xAB04,
    0xAB05, 0xAB06, 0xAB08, 0xB701, 0xB702, 0xB703, 0x50009402, 0x5000940C, 0x80045705, 0xC0045877, 0xC0045878,
)  # fmt: skip

#: How the argument of a request reads.
ARGUMENTS: dict[int, Printer] = dict.fromkeys(_BARE, _no_argument) | {
    # terminals
    0x5401: _TERMIOS_OUT, 0x5402: _TERMIOS_IN, 0x5403: _TERMIOS_IN, 0x5404: _TERMIOS_IN, 0x5405: from_kernel(18, termio),
    0x5406: to(18, termio), 0x5407: to(18, termio), 0x5408: to(18, termio), 0x5456: _TERMIOS_OUT, 0x5457: _TERMIOS_IN,
    0x802C542A: from_kernel(44, termios), 0x402C542B: _TERMIOS2_IN, 0x402C542C: _TERMIOS2_IN, 0x402C542D: _TERMIOS2_IN,
    0x5409: _int, 0x540A: _chosen({0: "TCOOFF", 1: "TCOON", 2: "TCIOFF", 3: "TCION"}, "TC???"),
    0x540B: _chosen({0: "TCIFLUSH", 1: "TCOFLUSH", 2: "TCIOFLUSH"}, "TC???"), 0x5425: _int, 0x540E: _int,
    0x540F: _OUT, 0x5410: _IN, 0x5411: _OUT, 0x5412: _character, 0x5413: from_kernel(8, window), 0x5414: to(8, window),
    0x5415: out(_words_in(4, _modem_lines)), 0x5416: _words_in(4, _modem_lines), 0x5417: _words_in(4, _modem_lines),
    0x5418: _words_in(4, _modem_lines), 0x5419: _OUT, 0x541A: _IN, 0x541B: _OUT, 0x5420: _IN, 0x5421: _IN, 0x5423: _IN,
    0x5424: _OUT, 0x5429: _OUT, 0x5452: _IN, 0x80045430: _OUT, 0x40045431: _IN, 0x80045438: hexadecimal, 0x80045439: hexadecimal,
    0x80045440: _OUT, 0x80045432: pointer, 0x5441: hexadecimal,
    0x4B3A: _chosen({0: "KD_TEXT", 1: "KD_GRAPHICS", 2: "KD_TEXT0", 3: "KD_TEXT1"}, "KD_???"), 0x40044590: _int,
    # sockets and interfaces
    0x8901: _IN, 0x8902: _IN, 0x8903: _OUT, 0x8904: _OUT, 0x8905: pointer, 0x8906: pointer, 0x8907: pointer,
    0x8910: _interface_named, 0x8912: at_end(_interfaces), 0x8913: _interface_get(_interface_flags),
    0x8914: _interface_set(_interface_flags), 0x8915: _interface_get(_address("ifr_addr")),
    0x8916: _interface_set(_address("ifr_addr")), 0x8917: _interface_get(_address("ifr_dstaddr")),
    0x8918: _interface_set(_address("ifr_dstaddr")), 0x8919: _interface_get(_address("ifr_broadaddr")),
    0x891A: _interface_set(_address("ifr_broadaddr")), 0x891B: _interface_get(_address("ifr_netmask")),
    0x891C: _interface_set(_address("ifr_netmask")), 0x891D: _interface_get(_counted("ifr_metric")),
    0x891E: _interface_set(_counted("ifr_metric")), 0x8921: _interface_get(_counted("ifr_mtu")),
    0x8922: _interface_set(_counted("ifr_mtu")), 0x8923: _interface_set(_other_name("ifr_newname")),
    0x8924: _interface_set(_hardware), 0x8925: _IN, 0x8927: _interface_get(_hardware),
    0x8929: _interface_get(_other_name("ifr_slave")), 0x8930: _interface_set(_other_name("ifr_slave")),
    0x8931: _interface_set(_hardware), 0x8932: _interface_set(_hardware), 0x8933: _interface_get(_counted("ifr_ifindex")),
    0x8937: _interface_set(_hardware), 0x8942: _interface_get(_counted("ifr_qlen")),
    0x8943: _interface_set(_counted("ifr_qlen")), 0x8970: _interface_get(_mapping), 0x8971: _interface_set(_mapping),
    0x89A0: _text(_IFNAME), 0x89A1: _text(_IFNAME), 0x89A2: to(_IFREQ, _bridge_port), 0x89A3: to(_IFREQ, _bridge_port),
    # files
    0x80086601: out(_words_in(4, _file_flags)), 0x40086602: _words_in(4, _file_flags),
    0x80046601: out(_words_in(4, _file_flags)),
    0x40046602: _words_in(4, _file_flags), 0x801C581F: from_kernel(28, _extended_attributes(False)),
    0x401C5820: to(28, _extended_attributes(True)), 0x40049409: _descriptor, 0x4020940D: to(32, _clone_range),
    0xC0189436: _same_range, 0xC020660B: _extents, 0xC0185879: to(24, _trimmed),
    0x81009431: out(_text(256)), 0x41009432: _text(256),
    # block devices
    0x125D: _IN, 0x125E: _OUT, 0x1260: _number_out(8, False), 0x1262: _long, 0x1263: _number_out(8, True), 0x1264: _long,
    0x1265: _number_out(8, True), 0x1267: _number_out(2, False), 0x1268: _OUT, 0x1277: _pair, 0x1278: _number_out(4, False),
    0x1279: _number_out(4, False), 0x127A: _OUT, 0x127B: _number_out(4, False), 0x127C: _number_out(4, False), 0x127D: _pair,
    0x127E: _number_out(2, False), 0x127F: _pair, 0x80081270: _OUT, 0x40081271: _IN, 0x80081272: _number_out(8, False),
    0x4C00: _descriptor, 0x4C04: to(232, _loop64), 0x4C05: from_kernel(232, _loop64), 0x4C06: _descriptor, 0x4C08: _long,
    0x4C09: _long, 0x4C0A: to(304, _loop_configuration), 0x4C80: _int, 0x4C81: _int,
    # clocks, entropy, counters, faults, machines
    0x80247009: from_kernel(36, _clock), 0x4024700A: to(36, _clock), 0x80247008: from_kernel(36, _clock),
    0x40247007: to(36, _clock), 0x80287010: from_kernel(40, _wake), 0x4028700F: to(40, _wake),
    0x8008700B: _number_out(8, False), 0x4008700C: _long,
    0x8008700D: _number_out(8, False), 0x4008700E: _long, 0x80045200: _OUT, 0x40045201: _IN, 0x40085203: _entropy,
    0x2400: _COUNTER_FLAGS, 0x2401: _COUNTER_FLAGS, 0x2402: _int, 0x2403: _COUNTER_FLAGS, 0x40082404: _number_in(8, False),
    0x2405: _descriptor, 0x40082406: _text(4096), 0x80082407: _number_out(8, False), 0x40042408: _descriptor, 0x40042409: _long,
    0x8010AA01: to(16, _range), 0x8010AA02: to(16, _range),
    0xAE03: _chosen(names.KVM_CAPABILITIES, "KVM_CAP_???"), 0xAE41: _int, 0x4020AE46: to(32, _memory_region),
}  # fmt: skip

# devices whose requests take an address where nothing better is known: NULL and not 0
_OF_POINTERS = frozenset({0x21, 0x22, 0x24, 0x3D, 0x45, 0x89, 0x94, 0xB4})
_OF_DRIVERS = range(0x89E0, 0x8A00)  # SIOCPROTOPRIVATE, SIOCDEVPRIVATE

#: What must be seen before the call is made, for those whose argument goes both ways.
BEFORE = {
    0x8912: lambda view, value: view.integer(value, 4, is_signed=True),
    0xC020660B: _extents_asked,
}  # fmt: skip


def request(view: View, value: int) -> str:
    return request_name(value)


def argument_of(value: int) -> Printer:
    """The printer for a request's argument."""
    value &= 0xFFFFFFFF
    printer = ARGUMENTS.get(value)
    if printer is None:
        printer = pointer if value >> 8 & 0xFF in _OF_POINTERS and value not in _OF_DRIVERS else hexadecimal
    return printer

