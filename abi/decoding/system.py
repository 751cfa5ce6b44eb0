"""How the calls about the machine read: its name and state, its log, modules, restart, and the processor's own tables."""

from __future__ import annotations

import os
import struct

from abi.decoding.constants import system as names
from abi.decoding.values import (
    ERRNO_NAMES,
    Signature,
    View,
    array,
    at_end,
    buffer,
    call,
    decimal,
    descriptor,
    fields,
    flags,
    flags_of,
    from_kernel,
    hexadecimal,
    memory,
    name_of,
    one_of,
    plain,
    pointer,
    quoted,
    signed32,
    size,
    text,
    to,
    unsigned,
)

# -- name and state ---------------------------------------------------------------------------------

_UTS_FIELDS = ("sysname", "nodename", "release", "version", "machine", "domainname")
_UTS_LENGTH = 65
_HOST_NAME_MAX = 64


def _utsname(view: View, data: bytes) -> str:
    """struct utsname: system and node, the rest with -v."""
    words = [data[index * _UTS_LENGTH : (index + 1) * _UTS_LENGTH].partition(b"\0")[0] for index in range(6)]
    shown = [(name, quoted(word)) for name, word in zip(_UTS_FIELDS, words, strict=True)]
    return fields(*shown) if view.style.verbose else fields(*shown[:2], more=True)


def _host_name(view: View, value: int) -> str:
    length = view.args[1] & 0xFFFFFFFF
    data = view.bytes(value, length) if length <= _HOST_NAME_MAX else None
    return pointer(view, value) if data is None else quoted(data)


_SYSINFO_FIELDS = (
    "totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap", "procs", "totalhigh", "freehigh", "mem_unit",
)  # fmt: skip


def _sysinfo(view: View, data: bytes) -> str:
    uptime, *numbers = struct.unpack_from("<q9QHxxxxxx2QI", data)
    loads = ", ".join(map(str, numbers[:3]))
    return fields(("uptime", uptime), ("loads", f"[{loads}]"), *zip(_SYSINFO_FIELDS, numbers[3:], strict=True))


# -- personality ------------------------------------------------------------------------------------


def _personality(value: int) -> str:
    value &= 0xFFFFFFFF
    domain = name_of(names.PERSONALITIES, value & 0xFF, "PER_???")
    bits = value & ~0xFF
    if not bits:
        return domain
    return f"{domain}|{flags_of(names.PERSONALITY_FLAGS, bits, '').removesuffix(' /*  */')}"


def _wanted_personality(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    return hex(value) if value == 0xFFFFFFFF else _personality(value)  # the way to ask for it


def _former_personality(view: View, value: int):
    return hex(value) if value else "0", _personality(value)


# -- the kernel's log and restart -------------------------------------------------------------------

_LOG_WITHOUT_BUFFER = {"CLOSE", "OPEN", "CLEAR", "CONSOLE_OFF", "CONSOLE_ON", "SIZE_UNREAD", "SIZE_BUFFER"}


def _log_action(view: View) -> str | None:
    name = names.SYSLOG.get(view.args[0] & 0xFFFFFFFF)
    return None if name is None else name.removeprefix("SYSLOG_ACTION_")


def _numbered(table: dict[int, str], unknown: str):
    """A printer of a number that callers know by heart, with its name as a comment."""
    return lambda view, value: f"{signed32(value)} /* {table.get(value & 0xFFFFFFFF, unknown)} */"


def _log_buffer(view: View, value: int) -> str | None:
    action = _log_action(view)
    if action in _LOG_WITHOUT_BUFFER:
        return None
    if action in ("READ", "READ_ALL", "READ_CLEAR") and not view.error:
        return memory(view, value, view.value)
    return pointer(view, value)


def _log_length(view: View, value: int) -> str | None:
    action = _log_action(view)
    if action in _LOG_WITHOUT_BUFFER:
        return None
    return _log_level(view, value) if action == "CONSOLE_LEVEL" else decimal(view, value)


_log_level = _numbered(names.LOG_LEVELS, "LOGLEVEL_???")


def _restart_command(view: View, value: int) -> str | None:
    is_used = names.REBOOT_COMMANDS.get(view.args[2] & 0xFFFFFFFF) == "LINUX_REBOOT_CMD_RESTART2"
    return text(view, value) if is_used else None


# -- kexec ------------------------------------------------------------------------------------------

_MOST_SEGMENTS = 16


def _segments(view: View, value: int) -> str:
    count = view.args[1]
    if count > _MOST_SEGMENTS:
        return pointer(view, value)
    return array(view, value, count, 32, _segment)


def _segment(view: View, data: bytes) -> str:
    source, source_size, target, target_size = struct.unpack("<4Q", data)
    return fields(
        ("buf", pointer(view, source)), ("bufsz", source_size), ("mem", pointer(view, target)), ("memsz", target_size)
    )


def _kexec_flags(view: View, value: int) -> str:
    kind = name_of(names.KEXEC_ARCHITECTURES, value & 0xFFFF0000, "KEXEC_ARCH_???")
    bits = value & ~0xFFFF0000
    return f"{kind}|{flags_of(names.KEXEC_FLAGS, bits, 'KEXEC_???')}" if bits else kind


# -- the processor's tables -------------------------------------------------------------------------

_DESCRIPTOR_BITS = (
    ("seg_32bit", 0, 1), ("contents", 1, 3), ("read_exec_only", 3, 1), ("limit_in_pages", 4, 1), ("seg_not_present", 5, 1),
    ("useable", 6, 1), ("lm", 7, 1),
)  # fmt: skip


def _user_desc(view: View, data: bytes) -> str:
    """A struct user_desc.  set_thread_area(2)"""
    entry, base, limit, bits = struct.unpack("<iIII", data)
    return fields(
        ("entry_number", entry),
        ("base_addr", f"{base:#08x}" if base else "00000000"),
        ("limit", f"{limit:#08x}" if limit else "00000000"),
        *((name, bits >> shift & mask) for name, shift, mask in _DESCRIPTOR_BITS),
    )


def _wanted_desc(view: View, data: bytes) -> str:
    return fields(("entry_number", int.from_bytes(data[:4], "little", signed=True)), more=True)


def _ldt_entry(view: View, value: int) -> str:
    return to(16, _user_desc)(view, value) if view.args[2] == 16 else pointer(view, value)


def _ldt_result(view: View, value: int) -> str:
    """modify_ldt(2) gives back an int, so that a failure of it is a large number to a 64-bit caller."""
    name = ERRNO_NAMES.get(0x100000000 - value)
    return plain(view, value) if name is None else f"{value} {name} ({os.strerror(0x100000000 - value)})"


def _found_desc(view: View, value: int) -> str:
    return to(16, _wanted_desc if view.error else _user_desc)(view, value)


CALLS: dict[str, Signature] = {
    "delete_module": call(text, flags(names.MODULE_DELETE, "O_???")),
    "finit_module": call(descriptor, text, flags(names.MODULE_INIT, "MODULE_INIT_???")),
    "get_thread_area": call(at_end(_found_desc)),
    "init_module": call(pointer, size, text),
    "ioperm": call(hexadecimal, hexadecimal, decimal),
    "iopl": call(decimal),
    "kexec_file_load": call(descriptor, descriptor, size, buffer(2), flags(names.KEXEC_FILE, "KEXEC_FILE_???", 64)),
    "kexec_load": call(pointer, size, _segments, _kexec_flags),
    "modify_ldt": call(decimal, _ldt_entry, size, result=_ldt_result),
    "personality": call(_wanted_personality, result=_former_personality),
    "reboot": call(
        one_of(names.REBOOT_MAGIC1, "LINUX_REBOOT_MAGIC_???"),
        one_of(names.REBOOT_MAGIC2, "LINUX_REBOOT_MAGIC_???"),
        one_of(names.REBOOT_COMMANDS, "LINUX_REBOOT_CMD_???"),
        _restart_command,
    ),
    "set_thread_area": call(to(16, _user_desc)),
    "setdomainname": call(_host_name, unsigned),
    "sethostname": call(_host_name, unsigned),
    "sysinfo": call(from_kernel(112, _sysinfo)),
    "syslog": call(_numbered(names.SYSLOG, "SYSLOG_ACTION_???"), at_end(_log_buffer), _log_length),
    "uname": call(from_kernel(390, _utsname)),
    "vhangup": call(),
}
