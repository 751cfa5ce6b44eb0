"""How clocks and timers read, and the structures of time that other calls take: timespec, timeval, sigevent."""

from __future__ import annotations

import struct

from abi.decoding.constants import clocks as names
from abi.decoding.shapes import moment
from abi.decoding.signals import signal_name, timespec
from abi.decoding.values import (
    Signature,
    View,
    at_end,
    call,
    decimal,
    descriptor,
    fields,
    flags,
    flags_of,
    from_kernel,
    name_of,
    new_descriptor,
    one_of,
    pointer,
    signed32,
    to,
)

__all__ = ["CALLS", "clock", "itimerspec", "sigevent", "timeout", "timespec", "timeval"]

_RESTARTED = range(512, 517)  # errnos of calls that a signal has interrupted; user space never sees them
_ABSOLUTE = 1

# -- structures -------------------------------------------------------------------------------------


def timeval(view: View, data: bytes) -> str:
    """A struct timeval of 64-bit fields."""
    seconds, microseconds = struct.unpack("<qQ", data)
    return fields(("tv_sec", seconds), ("tv_usec", microseconds))


def itimerspec(view: View, data: bytes) -> str:
    """A struct itimerspec of 64-bit fields.  timer_settime(2)"""
    return fields(("it_interval", timespec(view, data[:16])), ("it_value", timespec(view, data[16:])))


def _itimerval(view: View, data: bytes) -> str:
    return fields(("it_interval", timeval(view, data[:16])), ("it_value", timeval(view, data[16:])))


def _zone(view: View, data: bytes) -> str:
    west, summer = struct.unpack("<ii", data)
    return fields(("tz_minuteswest", west), ("tz_dsttime", summer))


def sigevent(view: View, data: bytes) -> str:
    """A struct sigevent of 64 bytes: how an end is announced.  sigevent(3type)"""
    value, signal, notify, first, second = struct.unpack_from("<QiiQQ", data)
    kind = names.NOTIFY.get(notify)
    shown: list[tuple[str, object]] = []
    if value:
        shown.append(("sigev_value", fields(("sival_int", signed32(value)), ("sival_ptr", pointer(view, value)))))
    has_signal = kind is not None and kind != "SIGEV_NONE"
    shown.append(("sigev_signo", signal_name(signal) if has_signal else signal))
    shown.append(("sigev_notify", name_of(names.NOTIFY, notify & 0xFFFFFFFF, "SIGEV_???")))
    match kind:
        case "SIGEV_THREAD_ID":
            shown.append(("sigev_notify_thread_id", signed32(first)))
        case "SIGEV_THREAD":
            shown += [
                ("sigev_notify_function", pointer(view, first)),
                ("sigev_notify_attributes", pointer(view, second)),
            ]
    return fields(*shown)


_TIMEX = struct.Struct("<I4xqqqqi4xqqqqqqqqi4xqqqqqi")


def _timex(view: View, data: bytes) -> str:
    """struct timex; adjtimex(2)."""
    (
        modes, offset, frequency, most, estimated, status, constant, precision, tolerance, seconds, microseconds, tick,
        pps_frequency, jitter, shift, stability, jitters, calibrations, errors, exceeded, tai,
    ) = _TIMEX.unpack_from(data)  # fmt: skip
    return fields(
        ("modes", flags_of(names.ADJUST, modes, "ADJ_???")), ("offset", offset), ("freq", frequency), ("maxerror", most),
        ("esterror", estimated), ("status", flags_of(names.CLOCK_STATUS, status & 0xFFFFFFFF, "STA_???")),
        ("constant", constant), ("precision", precision), ("tolerance", tolerance),
        ("time", fields(("tv_sec", seconds), ("tv_usec", microseconds))), ("tick", tick), ("ppsfreq", pps_frequency),
        ("jitter", jitter), ("shift", shift), ("stabil", stability), ("jitcnt", jitters), ("calcnt", calibrations),
        ("errcnt", errors), ("stbcnt", exceeded), ("tai", tai),
    )  # fmt: skip


# -- arguments and results --------------------------------------------------------------------------


def _left(flags_at: int | None = None):
    """The time that was left when a signal came; where a sleep was not relative, or ended, the address."""

    def printer(view: View, value: int) -> str:
        is_absolute = flags_at is not None and view.args[flags_at] & _ABSOLUTE
        return timeout(view, value) if view.error in _RESTARTED and not is_absolute else pointer(view, value)

    return at_end(printer)


def _clock_state(view: View, value: int):
    name = names.CLOCK_STATES.get(value)
    return str(value) if name is None else (str(value), name)


def _seconds(view: View, data: bytes) -> str:
    seconds = int.from_bytes(data, "little", signed=True)
    return f"[{seconds}{moment(seconds, 0, 0)}]"


def _now(view: View, value: int):
    words = moment(value, 0, 0)
    return (str(value), words.strip("/* ")) if words else str(value)


timeout = to(16, timespec)
clock = one_of(names.CLOCKS, "CLOCK_???")
_which = one_of(names.INTERVAL_TIMERS, "ITIMER_???")
_timer_flags = flags(names.TIMER_FLAGS, "TIMER_???")
_timerfd_flags = flags(names.TIMERFD, "TFD_???")
_adjusted = from_kernel(208, _timex)
_timer = decimal

CALLS: dict[str, Signature] = {
    "nanosleep": call(timeout, _left()),
    "clock_nanosleep": call(clock, _timer_flags, timeout, _left(1)),
    "clock_gettime": call(clock, from_kernel(16, timespec)),
    "clock_getres": call(clock, from_kernel(16, timespec)),
    "clock_settime": call(clock, timeout),
    "clock_adjtime": call(clock, _adjusted, result=_clock_state),
    "adjtimex": call(_adjusted, result=_clock_state),
    "gettimeofday": call(from_kernel(16, timeval), from_kernel(8, _zone)),
    "settimeofday": call(to(16, timeval), to(8, _zone)),
    "time": call(from_kernel(8, _seconds), result=_now),
    "getitimer": call(_which, from_kernel(32, _itimerval)),
    "setitimer": call(_which, to(32, _itimerval), from_kernel(32, _itimerval)),
    "timer_create": call(
        clock, to(64, sigevent), from_kernel(4, lambda view, data: f"[{int.from_bytes(data, 'little', signed=True)}]")
    ),
    "timer_settime": call(_timer, _timer_flags, to(32, itimerspec), from_kernel(32, itimerspec)),
    "timer_gettime": call(_timer, from_kernel(32, itimerspec)),
    "timer_getoverrun": call(_timer),
    "timer_delete": call(_timer),
    "timerfd_create": call(clock, _timerfd_flags, result=new_descriptor),
    "timerfd_settime": call(descriptor, _timerfd_flags, to(32, itimerspec), from_kernel(32, itimerspec)),
    "timerfd_gettime": call(descriptor, from_kernel(32, itimerspec)),
}
