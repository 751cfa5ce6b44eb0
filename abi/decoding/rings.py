"""How io_uring's three calls read; what goes through the rings themselves is no call, and no trace shows it."""

from __future__ import annotations

import struct

from abi.decoding.constants import aio as names
from abi.decoding.shapes import vector
from abi.decoding.signals import signals
from abi.decoding.values import (
    Printer,
    Signature,
    View,
    array,
    at_end,
    call,
    described,
    descriptor,
    fields,
    flags,
    flags_of,
    hexadecimal,
    name_of,
    new_descriptor,
    one_of,
    pointer,
    signed32,
    size,
    to,
    unsigned,
)

_MOST = 1 << 16  # elements of an array that are looked at, whatever count the caller gives
_ATTACH_WQ = 1 << 5
_FILES_SKIP = -2
_MAX_WORKERS = 19

# -- io_uring_setup ---------------------------------------------------------------------------------

_RING_FIELDS = ("head", "tail", "ring_mask", "ring_entries")


def _reserved(name: str, data: bytes, word: int) -> list[tuple[str, object]]:
    """A field that must be zero, as an array of words of `word` bytes, where it is not."""
    if not any(data):
        return []
    words = [int.from_bytes(data[at : at + word], "little") for at in range(0, len(data), word)]
    shown = [hex(value) if value else "0" for value in words]
    return [(name, shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]")]


def _parameters(view: View, data: bytes) -> str:
    """struct io_uring_params: what was asked for, and after success how the rings are laid out."""
    submissions, completions, bits, cpu, idle, features, shared = struct.unpack_from("<7I", data)
    shown: list[tuple[str, object]] = [
        ("flags", flags_of(names.SETUP, bits, "IORING_SETUP_???")),
        ("sq_thread_cpu", cpu),
        ("sq_thread_idle", idle),
    ]
    if bits & _ATTACH_WQ:
        shown.append(("wq_fd", described(view, signed32(shared))))
    shown += _reserved("resv", data[28:40], 4)
    if not view.error:
        first = zip((*_RING_FIELDS, "flags", "dropped", "array"), struct.unpack_from("<7I", data, 40), strict=True)
        second = zip((*_RING_FIELDS, "overflow", "cqes", "flags"), struct.unpack_from("<7I", data, 80), strict=True)
        shown += [
            ("sq_entries", submissions),
            ("cq_entries", completions),
            ("features", flags_of(names.FEATURES, features, "IORING_FEAT_???")),
            ("sq_off", fields(*first)),
            ("cq_off", fields(*second)),
        ]
    return fields(*shown)


# -- io_uring_register ------------------------------------------------------------------------------


def _count(view: View) -> int:
    return min(view.args[3] & 0xFFFFFFFF, _MOST)


def _iovecs(view: View, address: int, count: int) -> str:
    return vector(view, address, count, lambda base, _: pointer(view, base))


def _file(view: View, data: bytes) -> str:
    return described(view, int.from_bytes(data, "little", signed=True))


def _changed_file(view: View, data: bytes) -> str:
    fd = int.from_bytes(data, "little", signed=True)
    return "IORING_REGISTER_FILES_SKIP" if fd == _FILES_SKIP else described(view, fd)


def _files(view: View, address: int, count: int) -> str:
    return array(view, address, count, 4, _file)


def _changed_files(view: View, address: int, count: int) -> str:
    return array(view, address, count, 4, _changed_file)


def _tags(view: View, address: int, count: int) -> str:
    return array(view, address, count, 8, lambda view, data: hexadecimal(view, int.from_bytes(data, "little")))


def _change(view: View, data: bytes) -> str:
    """struct io_uring_files_update, the first form of struct io_uring_rsrc_update."""
    offset, address = struct.unpack("<I4xQ", data)
    return fields(("offset", offset), *_reserved("resv", data[4:8], 4), ("fds", _changed_files(view, address, _count(view))))


def _of_size(length: int, show) -> Printer:
    """A structure whose size is what argument 3 must say."""
    printer = to(length, show)
    return lambda view, value: printer(view, value) if view.args[3] & 0xFFFFFFFF == length else pointer(view, value)


def _resources(show_data):
    """struct io_uring_rsrc_register."""

    def show(view: View, data: bytes) -> str:
        count, bits, address, tags = struct.unpack("<II8xQQ", data)
        most = min(count, _MOST)
        return fields(
            ("nr", count), ("flags", flags_of(names.RESOURCES, bits, "IORING_RSRC_???")),
            *_reserved("resv2", data[8:16], 8), ("data", show_data(view, address, most)), ("tags", _tags(view, tags, most)),
        )  # fmt: skip

    return _of_size(32, show)


def _changed_resources(show_data):
    """struct io_uring_rsrc_update2."""

    def show(view: View, data: bytes) -> str:
        offset, address, tags, count = struct.unpack("<I4xQQI4x", data)
        most = min(count, _MOST)
        return fields(
            ("offset", offset), *_reserved("resv", data[4:8], 4), ("data", show_data(view, address, most)),
            ("tags", _tags(view, tags, most)), ("nr", count), *_reserved("resv2", data[28:32], 4),
        )  # fmt: skip

    return _of_size(32, show)


def _operation(number: int) -> str:
    return names.OPERATIONS.get(number) or f"{number} /* IORING_OP_??? */"


def _probed(view: View, data: bytes) -> str:
    """struct io_uring_probe_op."""
    number, bits = struct.unpack_from("<BxH", data)
    return fields(
        ("op", _operation(number)), *_reserved("resv", data[1:2], 1),
        ("flags", flags_of(names.OPERATION_FLAGS, bits, "IO_URING_OP_???")), *_reserved("resv2", data[4:8], 4),
    )  # fmt: skip


def _probe(view: View, value: int) -> str:
    """struct io_uring_probe: which operations the kernel has."""
    data = view.bytes(value, 16)
    if data is None:
        return pointer(view, value)
    return fields(
        ("last_op", _operation(data[0])), ("ops_len", data[1]), *_reserved("resv", data[2:4], 2),
        *_reserved("resv2", data[4:16], 4), ("ops", array(view, value + 16, _count(view), 8, _probed)),
    )  # fmt: skip


def _restriction(view: View, data: bytes) -> str:
    """struct io_uring_restriction."""
    kind = int.from_bytes(data[:2], "little")
    operation = data[2]
    shown: list[tuple[str, object]] = []
    opcode = name_of(names.RESTRICTIONS, kind, "IORING_RESTRICTION_???")
    match kind:
        case 0:
            shown.append(("register_op", name_of(names.REGISTER, operation, "IORING_REGISTER_???")))
        case 1:
            shown.append(("sqe_op", _operation(operation)))
        case 2 | 3:
            shown.append(("sqe_flags", flags_of(names.SUBMISSION_FLAGS, operation, "IOSQE_???")))
        case _:
            opcode += f" /* op: {hexadecimal(view, operation)} */"
    return fields(("opcode", opcode), *shown, *_reserved("resv", data[3:4], 1), *_reserved("resv2", data[4:16], 4))


def _cpus(view: View, value: int) -> str:
    """A mask of as many bytes as argument 3 says."""
    data = view.bytes(value, min(_count(view), 1 << 13))
    if data is None:
        return pointer(view, value)
    found = [str(at * 8 + bit) for at, byte in enumerate(data) if byte for bit in range(8) if byte >> bit & 1]
    return f"[{' '.join(found)}]"


def _workers(view: View, data: bytes) -> str:
    """How many workers there may be of each kind: as told, and behind ``=>`` as it was before."""
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    kinds = [names.WORKERS.get(kind) or f"{kind} /* IO_WQ_??? */" for kind in range(len(words))]
    return "[" + ", ".join([f"[{kind}]={word}" for kind, word in zip(kinds, words, strict=True)]) + "]"


def _told_workers(view: View, value: int) -> str:
    if view.kept is None:
        return pointer(view, value)
    before = None if view.error else view.bytes(value, len(view.kept))
    return f"{_workers(view, view.kept)} => {pointer(view, value) if before is None else _workers(view, before)}"


def _ring_files(show_data):
    """Structures io_uring_rsrc_update whose data is the ring's own descriptor."""

    def show(view: View, data: bytes) -> str:
        offset, value = struct.unpack("<i4xQ", data)
        return fields(("offset", offset), *_reserved("resv", data[4:8], 4), ("data", show_data(view, value)))

    return lambda view, value: array(view, value, _count(view), 16, show)


def _provided_ring(view: View, data: bytes) -> str:
    """struct io_uring_buf_reg."""
    address, entries, group = struct.unpack_from("<QIH", data)
    return fields(
        ("ring_addr", hexadecimal(view, address)), ("ring_entries", entries), ("bgid", group),
        *_reserved("pad", data[14:16], 2), *_reserved("resv", data[16:40], 8),
    )  # fmt: skip


#: What argument 2 is for each operation; for the others it should be nothing.
_REGISTERED: dict[int, Printer] = {
    0: lambda view, value: _iovecs(view, value, _count(view)),
    2: lambda view, value: _files(view, value, _count(view)),
    4: lambda view, value: _files(view, value, _count(view)),
    6: to(16, _change),
    7: lambda view, value: _files(view, value, _count(view)),
    8: _probe,
    11: lambda view, value: array(view, value, _count(view), 16, _restriction),
    13: _resources(_files),
    14: _changed_resources(_changed_files),
    15: _resources(_iovecs),
    16: _changed_resources(_iovecs),
    17: _cpus,
    _MAX_WORKERS: _told_workers,
    20: _ring_files(descriptor),
    21: _ring_files(hexadecimal),
    22: to(40, _provided_ring),
    23: to(40, _provided_ring),
}
_LATE = (8, _MAX_WORKERS)


def _what(view: View, value: int) -> str:
    """The operation.  What the kernel will change is kept as it is now."""
    if view.value is None:
        number = value & 0xFFFFFFFF
        if number == _MAX_WORKERS:
            view.kept = view.bytes(view.args[2], min(_count(view), 64) * 4)
        elif number not in _LATE:
            view.kept = _REGISTERED.get(number, pointer)(view, view.args[2])
    return one_of(names.REGISTER, "IORING_REGISTER_???")(view, value)


def _registered(view: View, value: int) -> str:
    number = view.args[1] & 0xFFFFFFFF
    return view.kept if number not in _LATE and view.kept else _REGISTERED.get(number, pointer)(view, value)


# ---------------------------------------------------------------------------------------------------

CALLS: dict[str, Signature] = {
    "io_uring_setup": call(unsigned, at_end(to(120, _parameters)), result=new_descriptor),
    "io_uring_enter": call(descriptor, unsigned, unsigned, flags(names.ENTER, "IORING_ENTER_???"), signals(5), size),
    "io_uring_register": call(descriptor, _what, at_end(_registered), unsigned),
}
