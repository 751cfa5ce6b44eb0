"""How the calls that look into the kernel read: perf events and BPF."""

from __future__ import annotations

import struct
from collections.abc import Callable

from abi.decoding.constants import probes as names
from abi.decoding.constants.clocks import CLOCKS
from abi.decoding.shapes import bytes_in_hex
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
    hex32,
    hexadecimal,
    name_of,
    new_descriptor,
    one_of,
    path,
    plain,
    pointer,
    quoted,
    text,
    unsigned,
)

# -- perf events ------------------------------------------------------------------------------------

_EVENT = struct.Struct("<II5Q")  # up to the bits
_EVENT_MORE = struct.Struct("<IIQQQQIiQIHHIIQ")
_FIRST_SIZE = 64  # of the first struct perf_event_attr
_PRECISE = 15  # the lowest bit of precise_ip
_FREQUENCY, _WATERMARK, _CLOCK = 1 << 10, 1 << 14, 1 << 25
_NEVER = 1 << 32


def _event(view: View, value: int) -> str:
    """struct perf_event_attr, as long as it says."""
    length = view.integer(value + 4, 4) if value else None
    if length is None or 0 < length < _FIRST_SIZE:
        return pointer(view, value)
    known = min(length or _FIRST_SIZE, _EVENT.size + _EVENT_MORE.size)
    data = view.bytes(value, known)
    if data is None:
        return pointer(view, value)
    kind, length, config, period, samples, formats, bits = _EVENT.unpack_from(data)
    shown = [
        ("type", name_of(names.PERF_TYPES, kind, "PERF_TYPE_???")),
        ("size", _plainly(names.PERF_SIZES, length, "PERF_ATTR_SIZE_???")),
        ("config", _event_config(kind, config)),
        ("sample_freq" if bits & _FREQUENCY else "sample_period", period),
        ("sample_type", flags_of(names.PERF_SAMPLES, samples, "PERF_SAMPLE_???")),
        ("read_format", flags_of(names.PERF_FORMATS, formats, "PERF_FORMAT_???")),
        *_event_bits(bits, view.style.verbose),
    ]
    if not view.style.verbose:
        return fields(*shown, more=True)
    return fields(*shown, *_event_rest(view, kind, bits, data[_EVENT.size :]), more=length > known)


def _plainly(table: dict[int, str], value: int, unknown: str) -> str:
    return table.get(value) or f"{hex(value) if value else 0} /* {unknown} */"


def _event_config(kind: int, config: int) -> str:
    match names.PERF_TYPES.get(kind):
        case "PERF_TYPE_HARDWARE":
            return _plainly(names.PERF_HARDWARE, config, "PERF_COUNT_HW_???")
        case "PERF_TYPE_SOFTWARE":
            return _plainly(names.PERF_SOFTWARE, config, "PERF_COUNT_SW_???")
        case "PERF_TYPE_TRACEPOINT":
            return str(config)  # the number in the file `id` of tracefs
        case "PERF_TYPE_HW_CACHE" if not config >> 24:
            return "|".join(
                (
                    _plainly(names.PERF_CACHE_RESULTS, config >> 16, "PERF_COUNT_HW_CACHE_RESULT_???") + "<<16",
                    _plainly(names.PERF_CACHE_OPERATIONS, config >> 8 & 0xFF, "PERF_COUNT_HW_CACHE_OP_???") + "<<8",
                    _plainly(names.PERF_CACHES, config & 0xFF, "PERF_COUNT_HW_CACHE_???"),
                )
            )
    return hex(config) if config else "0"


def _event_bits(bits: int, is_whole: bool) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = []
    for index, name in enumerate(names.PERF_BITS):
        if name == "precise_ip":
            skid = bits >> _PRECISE & 3
            shown.append((name, f"{skid} /* {names.SKIDS[skid]} */"))
        elif name and (is_whole or bits >> index & 1):
            shown.append((name, bits >> index & 1))
    rest = bits >> len(names.PERF_BITS)
    if rest:
        shown.append(("__reserved_1", f"{rest:#x} /* Bits 63..{len(names.PERF_BITS)} */"))
    return shown


def _event_rest(view: View, kind: int, bits: int, data: bytes) -> list[tuple[str, object]]:
    """The fields behind the bits, as many as the caller's structure has."""
    there = len(data)
    (wakeup, watched, config1, config2, _, user, _, clock, interrupted, aux, depth, beside, sample, behind, signal) = (
        _EVENT_MORE.unpack(data.ljust(_EVENT_MORE.size, b"\0"))
    )
    is_breakpoint = names.PERF_TYPES.get(kind) == "PERF_TYPE_BREAKPOINT"
    shown: list[tuple[str, object]] = [("wakeup_watermark" if bits & _WATERMARK else "wakeup_events", wakeup)]
    if is_breakpoint:
        shown.append(("bp_type", _plainly(names.BREAKPOINTS, watched, "HW_BREAKPOINT_???")))
    shown.append(("bp_addr" if is_breakpoint else "config1", hexadecimal(view, config1)))
    last = (
        (24, ("bp_len", config2) if is_breakpoint else ("config2", hexadecimal(view, config2))),
        (40, ("sample_regs_user", hexadecimal(view, user))),
        (48 if bits & _CLOCK else _NEVER, ("clockid", name_of(CLOCKS, clock, "CLOCK_???"))),
        (56, ("sample_regs_intr", hexadecimal(view, interrupted))),
        (60, ("aux_watermark", aux)),
        (64, ("sample_max_stack", f"{depth} /* bytes 110..111: {beside:#x} */" if beside else depth)),
        (72, ("aux_sample_size", f"{sample} /* bytes 116..119: {behind:#x} */" if behind else sample)),
        (80, ("sig_data", hexadecimal(view, signal))),
    )
    return shown + [field for start, field in last if there >= start]


# -- BPF --------------------------------------------------------------------------------------------

_MOST_INSTRUCTIONS = 4096
_MOST_BYTES = 4096  # of the union bpf_attr: a page
_NAME_LENGTH = 16  # BPF_OBJ_NAME_LEN
#: Fields that mean something only when another has a flag: BPF_F_NUMA_NODE, BPF_F_REPLACE.
_ONLY_WITH = {"numa_node": ("map_flags", 4), "old_prog_fd": ("flags", 4)}


def _named(table: dict[int, str], unknown: str) -> Callable[[View, int], str]:
    return lambda view, value: _plainly(table, value, unknown)


def _kernel_version(view: View, value: int) -> str:
    return f"KERNEL_VERSION({value >> 16}, {value >> 8 & 0xFF}, {value & 0xFF})"


def _fd(view: View, value: int) -> str:
    return described(view, value - (1 << 32) if value >> 31 else value)


def _object_name(view: View, data: bytes) -> str:
    word, end, _ = data.partition(b"\0")
    return quoted(word) if end else quoted(data[: _NAME_LENGTH - 1]) + "..."


_attach_type = _named(names.BPF_ATTACH_TYPES, "BPF_???")
_attach_flags = flags(names.BPF_ATTACH_FLAGS, "BPF_F_???")
_file_flags = flags(names.BPF_FILE_FLAGS, "BPF_F_???")
_element_flags = _named(names.BPF_ELEMENT_FLAGS, "BPF_???")

_MAP_FD = ("map_fd", "I", _fd)
_KEY = ("key", "Q", pointer)
_VALUE = ("value", "Q", pointer)
_ELEMENT = (_MAP_FD, ("", "I", None), _KEY, _VALUE, ("flags", "Q", _element_flags))
_OBJECT = (("pathname", "Q", path), ("bpf_fd", "I", _fd), ("file_flags", "I", _file_flags))
_BATCH_END = (("count", "I", unsigned), _MAP_FD, ("elem_flags", "Q", _element_flags), ("flags", "Q", hexadecimal))
_VALUES = ("values", "Q", pointer)
_KEYS = ("keys", "Q", pointer)
_CURSORS = (("in_batch", "Q", pointer), ("out_batch", "Q", pointer))
_HOLE = ("", "Q", None)

#: The fields of union bpf_attr by command: name (none for a hole), format (struct's), printer; behind None those that a
#: shorter union may lack.
_LAYOUTS: dict[str, tuple] = {
    "MAP_CREATE": (
        ("map_type", "I", _named(names.BPF_MAP_TYPES, "BPF_MAP_TYPE_???")),
        ("key_size", "I", unsigned),
        ("value_size", "I", unsigned),
        ("max_entries", "I", unsigned),
        None,
        ("map_flags", "I", flags(names.BPF_MAP_FLAGS, "BPF_F_???")),
        ("inner_map_fd", "I", _fd),
        ("numa_node", "I", unsigned),
        ("map_name", "16s", _object_name),
        ("map_ifindex", "I", unsigned),
        ("btf_fd", "I", _fd),
        ("btf_key_type_id", "I", unsigned),
        ("btf_value_type_id", "I", unsigned),
        ("btf_vmlinux_value_type_id", "I", unsigned),
        ("map_extra", "Q", hexadecimal),
    ),
    "MAP_LOOKUP_ELEM": _ELEMENT,
    "MAP_UPDATE_ELEM": _ELEMENT,
    "MAP_LOOKUP_AND_DELETE_ELEM": _ELEMENT,
    "MAP_DELETE_ELEM": (_MAP_FD, ("", "I", None), _KEY),
    "MAP_GET_NEXT_KEY": (_MAP_FD, ("", "I", None), _KEY, ("next_key", "Q", pointer)),
    "MAP_FREEZE": (_MAP_FD,),
    "PROG_LOAD": (
        ("prog_type", "I", _named(names.BPF_PROG_TYPES, "BPF_PROG_TYPE_???")),
        ("insn_cnt", "I", unsigned),
        ("insns", "Q", pointer),
        ("license", "Q", text),
        ("log_level", "I", unsigned),
        ("log_size", "I", unsigned),
        ("log_buf", "Q", pointer),
        ("kern_version", "I", _kernel_version),
        ("prog_flags", "I", flags(names.BPF_PROG_FLAGS, "BPF_F_???")),
        None,
        ("prog_name", "16s", _object_name),
        ("prog_ifindex", "I", unsigned),
        ("expected_attach_type", "I", _attach_type),
        ("prog_btf_fd", "I", _fd),
        ("func_info_rec_size", "I", unsigned),
        ("func_info", "Q", pointer),
        ("func_info_cnt", "I", unsigned),
        ("line_info_rec_size", "I", unsigned),
        ("line_info", "Q", pointer),
        ("line_info_cnt", "I", unsigned),
        ("attach_btf_id", "I", unsigned),
        ("attach_prog_fd", "I", _fd),
        ("", "I", None),
        ("fd_array", "Q", pointer),
    ),
    "OBJ_PIN": _OBJECT,
    "OBJ_GET": _OBJECT,
    "PROG_ATTACH": (
        ("target_fd", "I", _fd),
        ("attach_bpf_fd", "I", _fd),
        ("attach_type", "I", _attach_type),
        ("attach_flags", "I", _attach_flags),
        None,
        ("replace_bpf_fd", "I", _fd),
    ),
    "PROG_DETACH": (("target_fd", "I", _fd), ("", "I", None), ("attach_type", "I", _attach_type)),
    "PROG_GET_NEXT_ID": (("start_id", "I", unsigned), ("next_id", "I", unsigned)),
    "MAP_GET_NEXT_ID": (("start_id", "I", unsigned), ("next_id", "I", unsigned)),
    "BTF_GET_NEXT_ID": (("start_id", "I", unsigned), ("next_id", "I", unsigned)),
    "LINK_GET_NEXT_ID": (("start_id", "I", unsigned), ("next_id", "I", unsigned)),
    "PROG_GET_FD_BY_ID": (("prog_id", "I", unsigned), ("next_id", "I", unsigned), ("open_flags", "I", _file_flags)),
    "MAP_GET_FD_BY_ID": (("map_id", "I", unsigned), ("next_id", "I", unsigned), ("open_flags", "I", _file_flags)),
    "BTF_GET_FD_BY_ID": (("btf_id", "I", unsigned),),
    "LINK_GET_FD_BY_ID": (("link_id", "I", unsigned),),
    "OBJ_GET_INFO_BY_FD": (("bpf_fd", "I", _fd), ("info_len", "I", unsigned), ("info", "Q", pointer)),
    "PROG_QUERY": (
        ("target_fd", "I", _fd),
        ("attach_type", "I", _attach_type),
        ("query_flags", "I", flags(names.BPF_QUERY_FLAGS, "BPF_F_QUERY_???")),
        ("attach_flags", "I", _attach_flags),
        ("prog_ids", "Q", pointer),
        ("prog_cnt", "I", unsigned),
    ),
    "PROG_TEST_RUN": (
        ("prog_fd", "I", _fd),
        ("retval", "I", unsigned),
        ("data_size_in", "I", unsigned),
        ("data_size_out", "I", unsigned),
        ("data_in", "Q", pointer),
        ("data_out", "Q", pointer),
        ("repeat", "I", unsigned),
        ("duration", "I", unsigned),
        ("ctx_size_in", "I", unsigned),
        ("ctx_size_out", "I", unsigned),
        ("ctx_in", "Q", pointer),
        ("ctx_out", "Q", pointer),
        None,
        ("flags", "I", flags(names.BPF_RUN_FLAGS, "BPF_F_???")),
        ("cpu", "I", unsigned),
        ("batch_size", "I", unsigned),
    ),
    "RAW_TRACEPOINT_OPEN": (("name", "Q", text), ("prog_fd", "I", _fd)),
    "BTF_LOAD": (
        ("btf", "Q", pointer),
        ("btf_log_buf", "Q", pointer),
        ("btf_size", "I", unsigned),
        ("btf_log_size", "I", unsigned),
        ("btf_log_level", "I", unsigned),
    ),
    "TASK_FD_QUERY": (
        ("pid", "I", decimal),
        ("fd", "I", _fd),
        ("flags", "I", unsigned),
        ("buf_len", "I", unsigned),
        ("buf", "Q", pointer),
        ("prog_id", "I", unsigned),
        ("fd_type", "I", _named(names.BPF_FD_TYPES, "BPF_FD_TYPE_???")),
        ("probe_offset", "Q", hexadecimal),
        ("probe_addr", "Q", hexadecimal),
    ),
    "MAP_LOOKUP_BATCH": (*_CURSORS, _KEYS, _VALUES, *_BATCH_END),
    "MAP_LOOKUP_AND_DELETE_BATCH": (*_CURSORS, _KEYS, _VALUES, *_BATCH_END),
    "MAP_UPDATE_BATCH": (_HOLE, _HOLE, _KEYS, _VALUES, *_BATCH_END),
    "MAP_DELETE_BATCH": (_HOLE, _HOLE, _KEYS, _HOLE, *_BATCH_END),
    "LINK_CREATE": (
        ("prog_fd", "I", _fd),
        ("target_fd", "I", _fd),
        ("attach_type", "I", _attach_type),
        ("flags", "I", hex32),
    ),
    "LINK_UPDATE": (
        ("link_fd", "I", _fd),
        ("new_prog_fd", "I", _fd),
        ("flags", "I", _attach_flags),
        ("old_prog_fd", "I", _fd),
    ),
}
#: Commands whose fields are those of a structure inside the union, by its name.
_INSIDE = {
    "PROG_TEST_RUN": "test",
    "OBJ_GET_INFO_BY_FD": "info",
    "PROG_QUERY": "query",
    "RAW_TRACEPOINT_OPEN": "raw_tracepoint",
    "TASK_FD_QUERY": "task_fd_query",
    "MAP_LOOKUP_BATCH": "batch",
    "MAP_LOOKUP_AND_DELETE_BATCH": "batch",
    "MAP_UPDATE_BATCH": "batch",
    "MAP_DELETE_BATCH": "batch",
    "LINK_CREATE": "link_create",
    "LINK_UPDATE": "link_update",
}
_NEW_FD = frozenset((
    "MAP_CREATE", "PROG_LOAD", "OBJ_GET", "PROG_GET_FD_BY_ID", "MAP_GET_FD_BY_ID", "RAW_TRACEPOINT_OPEN", "BTF_LOAD",
    "BTF_GET_FD_BY_ID", "LINK_CREATE", "LINK_GET_FD_BY_ID", "ITER_CREATE",
))  # fmt: skip


def _command(view: View) -> str:
    return names.BPF.get(view.args[0] & 0xFFFFFFFF, "").removeprefix("BPF_")


def _attributes(view: View, value: int) -> str:
    """union bpf_attr as the command sees it."""
    command = _command(view)
    layout = _LAYOUTS.get(command)
    length = view.args[2] & 0xFFFFFFFF
    data = view.bytes(value, length) if layout and 0 < length <= _MOST_BYTES else None
    if data is None:
        return pointer(view, value)
    shown: list[tuple[str, object]] = []
    numbers: dict[str, int] = {}
    offset = 0
    is_optional = False
    for field in layout:
        if field is None:
            is_optional = True
            continue
        if is_optional and offset >= length:
            break
        name, form, show = field
        width = struct.calcsize(form)
        part = data[offset : offset + width].ljust(width, b"\0")
        offset += width
        number = numbers[name] = int.from_bytes(part, "little")
        if name == "insns" and view.style.verbose:
            shown.append((name, array(view, number, min(numbers["insn_cnt"], _MOST_INSTRUCTIONS), 8, _instruction)))
        elif name and _is_meant(name, numbers):
            shown.append((name, show(view, part if form == "16s" else number)))
    rest = data[offset:]
    inside = _INSIDE.get(command)
    if inside:
        shown = [(inside, fields(*shown))]
    if not any(rest):
        return fields(*shown)
    if not view.style.verbose:
        return fields(*shown, more=True)
    return fields(*shown, ("extra_data", f"{bytes_in_hex(rest)} /* bytes {offset}..{length - 1} */"))


def _is_meant(name: str, numbers: dict[str, int]) -> bool:
    other, flag = _ONLY_WITH.get(name, (name, 0))
    return not flag or bool(numbers[other] & flag)


def _instruction(view: View, data: bytes) -> str:
    code, registers, offset, immediate = struct.unpack("<BBhI", data)
    return fields(
        ("code", _code(code)),
        ("dst_reg", _plainly(names.BPF_REGISTERS, registers & 15, "BPF_REG_???")),
        ("src_reg", _plainly(names.BPF_REGISTERS, registers >> 4, "BPF_REG_???")),
        ("off", offset),
        ("imm", hex32(view, immediate)),
    )


def _code(code: int) -> str:
    words = [names.BPF_CLASSES[code & 7]]
    rest = code & 0xF8
    for mask, table in names.BPF_PARTS[words[0]]:
        words.append(_plainly(table, rest & mask, "BPF_???"))
        rest &= ~mask
    return "|".join(words)


def _result(view: View, value: int) -> str:
    return new_descriptor(view, value) if _command(view) in _NEW_FD else plain(view, value)


CALLS: dict[str, Signature] = {
    "bpf": call(one_of(names.BPF, "BPF_???"), at_end(_attributes), unsigned, result=_result),
    "perf_event_open": call(
        _event, decimal, decimal, descriptor, flags(names.PERF_FLAGS, "PERF_FLAG_???", 64), result=new_descriptor
    ),
}
