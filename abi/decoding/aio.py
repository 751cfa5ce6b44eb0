"""How the kernel's older asynchronous input and output reads: requests handed in by io_submit, events that come back."""

from __future__ import annotations

import struct

from abi.decoding.clocks import timeout
from abi.decoding.constants import aio as names
from abi.decoding.constants.files import RWF_FLAGS
from abi.decoding.constants.waiting import POLL
from abi.decoding.scheduling import CALLS as SCHEDULING_CALLS
from abi.decoding.shapes import vector
from abi.decoding.values import (
    Signature,
    View,
    array,
    call,
    described,
    fields,
    flags_of,
    from_kernel,
    hexadecimal,
    long,
    memory,
    out,
    pointer,
    signed32,
    signed64,
    to,
    unsigned,
)
from abi.decoding.waiting import mask_and_size

_MOST = 1 << 16  # elements of an array that are looked at, whatever count the caller gives
_RESFD, _IOPRIO = 1, 2

_REQUEST = struct.Struct("<QIIHhiQQqQII")
_io_priority = SCHEDULING_CALLS["ioprio_set"].arguments[2]


def _head(view: View, request: tuple) -> list[tuple[str, object]]:
    """What a struct iocb says whatever it asks for."""
    data, key, how, command, priority, fd, *_, bits, _ = request
    shown: list[tuple[str, object]] = [("aio_data", hexadecimal(view, data))]
    if key:
        shown.append(("aio_key", key))
    if how:
        shown.append(("aio_rw_flags", flags_of(RWF_FLAGS, how, "RWF_???")))
    shown.append(("aio_lio_opcode", names.COMMANDS.get(command) or f"{command} /* IOCB_CMD_??? */"))
    if bits & _IOPRIO:
        shown.append(("aio_reqprio", _io_priority(view, priority & 0xFFFF)))
    elif priority:
        shown.append(("aio_reqprio", priority))
    shown.append(("aio_fildes", described(view, fd)))
    return shown


def _body(view: View, request: tuple) -> list[tuple[str, object]]:
    """What it asks for: where the data is, how long and at which offset; nothing for a command that takes none."""
    *_, command, _, _, buffer, length, offset, _, bits, signal_fd = request
    is_sane = signed64(length) >= 0
    place: tuple[tuple[str, object], ...] = (("aio_nbytes", length), ("aio_offset", offset))
    match command:
        case 0:  # IOCB_CMD_PREAD
            shown = [("aio_buf", hexadecimal(view, buffer)), *place]
        case 1:  # IOCB_CMD_PWRITE
            shown = [("aio_buf", memory(view, buffer, length) if is_sane else hexadecimal(view, buffer)), *place]
        case 5:  # IOCB_CMD_POLL
            shown = [("aio_buf", flags_of(POLL, buffer, "POLL???"))]
        case 7 | 8 if is_sane:  # IOCB_CMD_PREADV, IOCB_CMD_PWRITEV
            show = memory if command == 8 else lambda view, base, _: pointer(view, base)
            shown = [
                ("aio_buf", vector(view, buffer, length, lambda base, size: show(view, base, size))),
                ("aio_offset", offset),
            ]
        case 7 | 8:
            shown = [("aio_buf", hexadecimal(view, buffer)), *place]
        case _:
            return []
    if bits:
        shown.append(("aio_flags", flags_of(names.REQUEST_FLAGS, bits, "IOCB_FLAG_???")))
    if bits & _RESFD:
        shown.append(("aio_resfd", described(view, signed32(signal_fd))))
    elif signal_fd:
        shown.append(("aio_resfd", hex(signal_fd)))
    return shown


def _request(view: View, data: bytes) -> str:
    """One of io_submit's pointers."""
    address = int.from_bytes(data, "little")
    found = view.bytes(address, _REQUEST.size)
    if found is None:
        return pointer(view, address)
    request = _REQUEST.unpack(found)
    return fields(*_head(view, request), *_body(view, request))


def _requests(view: View, value: int) -> str:
    count = signed64(view.args[1])
    return pointer(view, value) if count < 0 else array(view, value, min(count, _MOST), 8, _request)


def _event(view: View, data: bytes) -> str:
    """struct io_event."""
    asked, request, result, second = struct.unpack("<QQqq", data)
    return fields(("data", hexadecimal(view, asked)), ("obj", pointer(view, request)), ("res", result), ("res2", second))


_events = out(lambda view, value: array(view, value, min(view.value, _MOST), 32, _event))
_context = pointer

CALLS: dict[str, Signature] = {
    "io_setup": call(unsigned, from_kernel(8, lambda view, data: f"[{pointer(view, int.from_bytes(data, 'little'))}]")),
    "io_destroy": call(_context),
    "io_submit": call(_context, long, _requests),
    "io_cancel": call(
        _context,
        to(_REQUEST.size, lambda view, data: fields(*_head(view, _REQUEST.unpack(data)))),
        from_kernel(32, _event),
    ),
    "io_getevents": call(_context, long, long, _events, timeout),
    "io_pgetevents": call(_context, long, long, _events, timeout, to(16, mask_and_size)),
}
