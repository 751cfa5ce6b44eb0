"""How scheduling and limits read: who runs where, how soon and how much; and what was used."""

from __future__ import annotations

import struct
from errno import E2BIG

from abi.decoding.constants import scheduling as names
from abi.decoding.signals import clock_ticks, timespec
from abi.decoding.values import (
    Signature,
    View,
    at_end,
    call,
    decimal,
    fields,
    flags_of,
    from_kernel,
    name_of,
    one_of,
    out,
    plain,
    pointer,
    to,
    unsigned,
)

_INFINITY = 0xFFFFFFFFFFFFFFFF
_MOST_CPUS = 1 << 16  # bits of a mask that are looked at

# -- limits and usage -------------------------------------------------------------------------------


def _limit(value: int) -> str:
    if value == _INFINITY:
        return "RLIM64_INFINITY"
    return f"{value // 1024}*1024" if value > 1024 and not value % 1024 else str(value)


def _rlimit(view: View, data: bytes) -> str:
    now, most = struct.unpack("<QQ", data)
    return fields(("rlim_cur", _limit(now)), ("rlim_max", _limit(most)))


def _timeval(seconds: int, microseconds: int) -> str:
    return fields(("tv_sec", seconds), ("tv_usec", microseconds))


_COUNTERS = (
    "ru_maxrss", "ru_ixrss", "ru_idrss", "ru_isrss", "ru_minflt", "ru_majflt", "ru_nswap", "ru_inblock", "ru_oublock",
    "ru_msgsnd", "ru_msgrcv", "ru_nsignals", "ru_nvcsw", "ru_nivcsw",
)  # fmt: skip


def rusage(view: View, data: bytes) -> str:
    """A struct rusage, 144 bytes; all counters with -v.  getrusage(2)"""
    numbers = struct.unpack("<qQqQ14Q", data)
    times = (("ru_utime", _timeval(*numbers[:2])), ("ru_stime", _timeval(*numbers[2:4])))
    if not view.style.verbose:
        return fields(*times, more=True)
    return fields(*times, *zip(_COUNTERS, numbers[4:], strict=True))


def _tms(view: View, data: bytes) -> str:
    names = ("tms_utime", "tms_stime", "tms_cutime", "tms_cstime")
    return fields(*zip(names, map(clock_ticks, struct.unpack("<4q", data)), strict=True))


# -- processors -------------------------------------------------------------------------------------


def _cpu_mask(view: View, address: int, length: int) -> str:
    """The processors in a mask of `length` bytes."""
    if not address:
        return "NULL"
    length = min(length, _MOST_CPUS // 8)
    data = view.bytes(address, length) if length else b""
    if data is None:
        return hex(address)
    mask = int.from_bytes(data, "little")
    words = []
    while mask:
        lowest = mask & -mask
        words.append(str(lowest.bit_length() - 1))
        mask ^= lowest
    return f"[{' '.join(words)}]"


def _given_mask(view: View, value: int) -> str:
    return _cpu_mask(view, value, view.args[1] & 0xFFFFFFFF)


def _found_mask(view: View, value: int) -> str:
    return _cpu_mask(view, value, view.value)


# -- policies ---------------------------------------------------------------------------------------

_ATTRIBUTES = struct.Struct("<IIQiIQQQ")
_CLAMPS = struct.Struct("<II")
_KEEP_POLICY, _KEEP_PARAMS, _CLAMP = 0x08, 0x10, 0x60
_policy = one_of(names.POLICIES, "SCHED_???")


def _attributes(view: View, address: int, length: int) -> str:
    """struct sched_attr of which `length` bytes are there; what the flags say is kept, is not shown."""
    data = view.bytes(address, min(length, _ATTRIBUTES.size + _CLAMPS.size))
    if data is None:
        return pointer(view, address)
    count, policy, bits, nice, priority, runtime, deadline, period = _ATTRIBUTES.unpack_from(data)
    shown: list[tuple[str, object]] = [("size", count)]
    if not bits & _KEEP_POLICY:
        shown.append(("sched_policy", _policy(view, policy)))
    shown.append(("sched_flags", flags_of(names.SCHED_FLAGS, bits, "SCHED_FLAG_???")))
    if not bits & _KEEP_PARAMS:
        shown += [
            ("sched_nice", nice), ("sched_priority", priority), ("sched_runtime", runtime), ("sched_deadline", deadline),
            ("sched_period", period),
        ]  # fmt: skip
    if len(data) == _ATTRIBUTES.size + _CLAMPS.size:
        shown += zip(("sched_util_min", "sched_util_max"), _CLAMPS.unpack_from(data, _ATTRIBUTES.size), strict=True)
    return fields(*shown, more=count > _ATTRIBUTES.size + _CLAMPS.size)


def _given_attributes(view: View, value: int) -> str:
    count = view.integer(value, 4)
    if count is None:
        return pointer(view, value)
    if 0 < count < _ATTRIBUTES.size:
        return fields(("size", count))
    return _attributes(view, value, count if count >= _ATTRIBUTES.size + _CLAMPS.size else _ATTRIBUTES.size)


def _known_size(view: View, value: int) -> str | None:
    """A kernel that does not know the caller's structure says how long the one is that it knows."""
    known = view.integer(view.args[1], 4) if view.error == E2BIG else None
    return None if known is None else f" => {fields(('size', known))}"


def _attribute_flags(view: View, value: int) -> str:
    return unsigned(view, view.args[2])


def _found_attributes(view: View, value: int) -> str:
    count = view.integer(value, 4)
    return pointer(view, value) if count is None else _attributes(view, value, max(count, _ATTRIBUTES.size))


def _scheduler(view: View, value: int):
    name = names.POLICIES.get(value)
    return plain(view, value) if name is None else (value, name)


def _number(view: View, data: bytes) -> str:
    return f"[{int.from_bytes(data, 'little', signed=True)}]"


def _io_priority(value: int) -> str:
    return f"IOPRIO_PRIO_VALUE({name_of(names.IOPRIO_CLASSES, value >> 13, 'IOPRIO_CLASS_???')}, {value & 0x1FFF})"


def _io_priority_result(view: View, value: int):
    return value, _io_priority(value)


_pid = decimal
_resource = one_of(names.RLIMIT, "RLIMIT_???")
_which = one_of(names.PRIORITIES, "PRIO_???")
_who = one_of(names.IOPRIO_WHO, "IOPRIO_WHO_???")
_cpu = from_kernel(4, lambda view, data: f"[{int.from_bytes(data, 'little')}]")
_usage = {value & 0xFFFFFFFF: name for value, name in names.RUSAGE.items()}

CALLS: dict[str, Signature] = {
    "getcpu": call(_cpu, _cpu, pointer),
    "getpriority": call(_which, decimal),
    "getrlimit": call(_resource, from_kernel(16, _rlimit)),
    "getrusage": call(one_of(_usage, "RUSAGE_???"), from_kernel(144, rusage)),
    "ioprio_get": call(_who, decimal, result=_io_priority_result),
    "ioprio_set": call(_who, decimal, lambda view, value: _io_priority(value & 0xFFFFFFFF)),
    "prlimit64": call(_pid, _resource, to(16, _rlimit), from_kernel(16, _rlimit)),
    "sched_get_priority_max": call(_policy),
    "sched_get_priority_min": call(_policy),
    "sched_getaffinity": call(_pid, unsigned, out(_found_mask)),
    "sched_getattr": call(_pid, out(_found_attributes), unsigned, unsigned),
    "sched_getparam": call(_pid, from_kernel(4, _number)),
    "sched_getscheduler": call(_pid, result=_scheduler),
    "sched_rr_get_interval": call(_pid, from_kernel(16, timespec)),
    "sched_setaffinity": call(_pid, unsigned, _given_mask),
    "sched_setattr": call(_pid, _given_attributes, at_end(_known_size), _attribute_flags, joins=True),
    "sched_setparam": call(_pid, to(4, _number)),
    "sched_setscheduler": call(_pid, _policy, to(4, _number)),
    "sched_yield": call(),
    "setpriority": call(_which, decimal, decimal),
    "setrlimit": call(_resource, to(16, _rlimit)),
    "times": call(from_kernel(32, _tms)),
}
