"""How the calls that wait read: poll, select and epoll, events counted in descriptors, futexes."""

from __future__ import annotations

import struct

from abi.decoding.clocks import clock, timeout, timeval
from abi.decoding.constants import waiting as names
from abi.decoding.signals import signals, sigset, timespec
from abi.decoding.values import (
    Printer,
    Signature,
    View,
    array,
    call,
    decimal,
    described,
    descriptor,
    fields,
    flags,
    flags_of,
    hex32,
    hexadecimal,
    new_descriptor,
    one_of,
    out,
    pointer,
    signed32,
    size,
    to,
    unsigned,
)

_MOST = 1 << 16  # elements of an array that are looked at, whatever count the caller gives
_PART = 512  # of them at a time
_MOST_DESCRIPTORS = 1 << 16  # in a set: FD_SETSIZE is the C library's limit, not the kernel's
_WAITERS_MAX = 128  # FUTEX_WAITV_MAX
_TIMED_OUT = ("0", "Timeout")

# -- poll -------------------------------------------------------------------------------------------


def _polled(view: View, data: bytes) -> str:
    fd, events = struct.unpack_from("<ih", data)
    if fd < 0:
        return f"{{fd={fd}}}"
    return f"{{fd={described(view, fd)}, events={_poll_events(view, events)}}}"


_poll_events = flags(names.POLL, "POLL???", 16)


def _polls(view: View, value: int) -> str:
    return array(view, value, min(view.args[1] & 0xFFFFFFFF, _MOST), 8, _polled)


def _polled_descriptors(view: View, value: int) -> set[int]:
    data = view.part(value, min(view.args[1] & 0xFFFFFFFF, _PART) * 8)
    return {fd for fd, _ in struct.iter_unpack("<ii", data[: len(data) & ~7]) if fd >= 0}


_polls.holds = _polled_descriptors


def _poll_result(view: View, value: int, timeout_at: int | None = None):
    """Which descriptors have something, and for ppoll what is left of the time."""
    if not value:
        return _TIMED_OUT
    words = _polled_found(view)
    if timeout_at is not None and (left := _remaining(view, timeout_at, timespec)):
        words += f", {left}"
    return str(value), words


def _polled_found(view: View) -> str:
    count = min(view.args[1] & 0xFFFFFFFF, _MOST)
    most = _MOST if view.style.verbose else view.style.strings
    words = []
    for start in range(0, count, _PART):
        wanted = min(_PART, count - start) * 8
        data = view.part(view.args[0] + start * 8, wanted)
        for at in range(0, len(data) - 7, 8):
            fd, _, found = struct.unpack_from("<ihh", data, at)
            if found:
                if len(words) == most:
                    return "[" + ", ".join(words) + ", ...]"
                words.append(f"{{fd={fd}, revents={_poll_events(view, found)}}}")
        if len(data) < wanted:
            break
    return "[" + ", ".join(words) + "]"


def _remaining(view: View, timeout_at: int, show) -> str:
    """What Linux leaves of a timeout that it was given, unlike other systems."""
    data = view.bytes(view.args[timeout_at], 16)
    return "" if data is None else f"left {show(view, data)}"


# -- select -----------------------------------------------------------------------------------------


def _members(view: View, address: int) -> list[int] | None:
    """The descriptors in a fd_set, of which argument 0 says how many count; the kernel takes whole words."""
    count = min(signed32(view.args[0]), _MOST_DESCRIPTORS)
    data = view.bytes(address, -(-count // 64) * 8) if count > 0 else None
    if data is None:
        return None
    found = [at * 8 + bit for at, byte in enumerate(data) if byte for bit in range(8) if byte >> bit & 1]
    while found and found[-1] >= count:
        found.pop()
    return found


def _descriptors(view: View, value: int) -> str:
    """A fd_set."""
    members = _members(view, value)
    return pointer(view, value) if members is None else "[" + " ".join([described(view, fd) for fd in members]) + "]"


_descriptors.holds = lambda view, value: _members(view, value) or ()


def _selected(show):
    """A result printer for select and its kin: the sets as the kernel left them, and the time that was left."""

    def printer(view: View, value: int):
        if not value:
            return _TIMED_OUT
        words = []
        for at, name in ((1, "in"), (2, "out"), (3, "except")):
            if found := _members(view, view.args[at]):
                words.append(f"{name} [{' '.join([str(fd) for fd in found])}]")
        if left := _remaining(view, 4, show):
            words.append(left)
        return str(value), ", ".join(words)

    return printer


def mask_and_size(view: View, data: bytes) -> str:
    """The pair that pselect6 and io_pgetevents take as one argument: a pointer to a sigset_t, and its size."""
    address, length = struct.unpack("<QQ", data)
    mask = view.bytes(address, length) if length == 8 else None
    return fields(("sigmask", pointer(view, address) if mask is None else sigset(mask)), ("sigsetsize", length))


# -- epoll ------------------------------------------------------------------------------------------


def _event(view: View, data: bytes) -> str:
    events, value = struct.unpack("<IQ", data)
    return f"{{events={_epoll_events(view, events)}, data={{u32={value & 0xFFFFFFFF}, u64={value}}}}}"


_epoll_events = flags(names.EPOLL, "EPOLL???")


def _wanted_event(view: View, value: int) -> str:
    """epoll_ctl's event, which EPOLL_CTL_DEL does not look at."""
    return pointer(view, value) if view.args[1] & 0xFFFFFFFF == 2 else to(12, _event)(view, value)


_found_events = out(lambda view, value: array(view, value, min(view.value, _MOST), 12, _event))

# -- futex ------------------------------------------------------------------------------------------

_VALUE, _TIMEOUT, _VALUE2, _ADDRESS2, _VALUE3, _WAKE_OP, _BITSET = range(7)

#: What each operation takes, behind the address and the operation; futex(2).
_FUTEX_TAKES = {
    0: (_VALUE, _TIMEOUT),
    1: (_VALUE,),
    2: (_VALUE,),
    3: (_VALUE, _VALUE2, _ADDRESS2),
    4: (_VALUE, _VALUE2, _ADDRESS2, _VALUE3),
    5: (_VALUE, _VALUE2, _ADDRESS2, _WAKE_OP),
    6: (_TIMEOUT,),
    7: (),
    8: (),
    9: (_VALUE, _TIMEOUT, _BITSET),
    10: (_VALUE, _BITSET),
    11: (_VALUE, _TIMEOUT, _ADDRESS2),
    12: (_VALUE, _VALUE2, _ADDRESS2, _VALUE3),
    13: (_TIMEOUT,),
}


def _futex_argument(*choices: int) -> Printer:
    """One of futex's last four arguments, in whichever of its meanings the operation takes it."""

    def printer(view: View, value: int) -> str | None:
        takes = _FUTEX_TAKES.get(view.args[1] & 0x7F)
        if takes is None:
            return _FUTEX_RAW[choices[0]](view, value)
        for choice in choices:
            if choice in takes:
                return _FUTEX_SHOWS[choice](view, value)
        return None

    return printer


def _wake_op(view: View, value: int) -> str:
    """What FUTEX_WAKE_OP does to the second word and compares with, packed into 32 bits."""
    value &= 0xFFFFFFFF
    operation, comparison = value >> 28 & 7, value >> 24 & 0xF
    shift = "FUTEX_OP_OPARG_SHIFT<<28|" if value >> 31 else ""
    name = names.FUTEX_WAKE_OPERATIONS.get(operation)
    done = f"{name}<<28" if name else f"{operation:#x}<<28 /* FUTEX_OP_??? */"
    name = names.FUTEX_COMPARISONS.get(comparison)
    compared = f"{name}<<24" if name else f"{comparison:#x}<<24 /* FUTEX_OP_CMP_??? */"
    return f"{shift}{done}|{hexadecimal(view, value >> 12 & 0xFFF)}<<12|{compared}|{hexadecimal(view, value & 0xFFF)}"


def _bitset(view: View, value: int) -> str:
    return "FUTEX_BITSET_MATCH_ANY" if value & 0xFFFFFFFF == 0xFFFFFFFF else hex32(view, value)


_FUTEX_SHOWS = {
    _VALUE: unsigned,
    _TIMEOUT: timeout,
    _VALUE2: unsigned,
    _ADDRESS2: pointer,
    _VALUE3: unsigned,
    _WAKE_OP: _wake_op,
    _BITSET: _bitset,
}
_FUTEX_RAW = {_VALUE: unsigned, _TIMEOUT: pointer, _ADDRESS2: pointer, _VALUE3: hex32}


def _waiter(view: View, data: bytes) -> str:
    """struct futex_waitv."""
    value, address, bits, reserved = struct.unpack("<QQII", data)
    shown: list[tuple[str, object]] = [
        ("val", hexadecimal(view, value)),
        ("uaddr", pointer(view, address)),
        ("flags", flags_of(names.FUTEX_WAITER, bits, "FUTEX_???")),
    ]
    if reserved:
        shown.append(("__reserved", hex(reserved)))
    return fields(*shown)


def _waiters(view: View, value: int) -> str:
    """An array of struct futex_waitv; more than the kernel takes are not shown even with -v."""
    count = view.args[1] & 0xFFFFFFFF
    words = array(view, value, min(count, _WAITERS_MAX), 24, _waiter)
    return words.removesuffix("]") + ", ...]" if count > _WAITERS_MAX and words.endswith("}]") else words


def _futex2_flags(view: View, value: int) -> str:
    """The size of the word in the low two bits, and flags."""
    value &= 0xFFFFFFFF
    word = names.FUTEX2_SIZES[value & 3]
    return f"{word}|{flags_of(names.FUTEX2_FLAGS, value & ~3, 'FUTEX2_???')}" if value & ~3 else word


# ---------------------------------------------------------------------------------------------------

CALLS: dict[str, Signature] = {
    "poll": call(_polls, unsigned, decimal, result=_poll_result),
    "ppoll": call(_polls, unsigned, timeout, signals(4), size, result=lambda view, value: _poll_result(view, value, 2)),
    "select": call(decimal, _descriptors, _descriptors, _descriptors, to(16, timeval), result=_selected(timeval)),
    "pselect6": call(
        decimal, _descriptors, _descriptors, _descriptors, timeout, to(16, mask_and_size), result=_selected(timespec)
    ),
    "epoll_create": call(decimal, result=new_descriptor),
    "epoll_create1": call(flags(names.EPOLL_CREATE, "EPOLL_???"), result=new_descriptor),
    "epoll_ctl": call(descriptor, one_of(names.EPOLL_CONTROL, "EPOLL_CTL_???"), descriptor, _wanted_event),
    "epoll_wait": call(descriptor, _found_events, decimal, decimal),
    "epoll_pwait": call(descriptor, _found_events, decimal, decimal, out(signals(5)), size),
    "epoll_pwait2": call(descriptor, _found_events, decimal, out(timeout), out(signals(5)), size),
    "eventfd": call(unsigned, result=new_descriptor),
    "eventfd2": call(unsigned, flags(names.EVENTFD, "EFD_???"), result=new_descriptor),
    "futex": call(
        pointer,
        one_of(names.FUTEX, "FUTEX_???"),
        _futex_argument(_VALUE),
        _futex_argument(_TIMEOUT, _VALUE2),
        _futex_argument(_ADDRESS2),
        _futex_argument(_VALUE3, _WAKE_OP, _BITSET),
    ),
    "futex_waitv": call(_waiters, unsigned, hex32, timeout, clock),
    "futex_wake": call(pointer, hexadecimal, decimal, _futex2_flags),
    "futex_wait": call(pointer, hexadecimal, hexadecimal, _futex2_flags, timeout, clock),
    "futex_requeue": call(lambda view, value: array(view, value, 2, 24, _waiter), hex32, decimal, decimal),
}
