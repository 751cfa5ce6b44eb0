"""Calls whose arguments mean what a command among them says: ioctl(2), fcntl(2), prctl(2)."""

from __future__ import annotations

from struct import Struct, unpack_from

from abi.decoding.addresses import number
from abi.decoding.chosen import Chosen
from abi.decoding.constants import control as names
from abi.decoding.constants.files import ACCESS_MODES, OPEN_FLAGS, WHENCE
from abi.decoding.constants.security import CAPABILITIES
from abi.decoding.requests import BEFORE, argument_of, request
from abi.decoding.security import seccomp_filter
from abi.decoding.signals import signal_name
from abi.decoding.values import (
    Printer,
    Signature,
    View,
    decimal,
    described,
    descriptor,
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
    size,
    to,
    unsigned,
)

# -- ioctl ----------------------------------------------------------------------------------------------------


def _request(view: View, value: int) -> str:
    before = BEFORE.get(value & 0xFFFFFFFF)
    if before is not None:
        view.kept = before(view, view.args[2])
    return request(view, value)


# -- fcntl ----------------------------------------------------------------------------------------------------


def open_flags(view: View, value: int) -> str:
    """The access mode of an open file, and its flags."""
    value &= 0xFFFFFFFF
    mode, rest = ACCESS_MODES[value & 3], value & ~3
    return f"{mode}|{flags_of(OPEN_FLAGS, rest, '').removesuffix(' /*  */')}" if rest else mode


def _signal(view: View, value: int) -> str:
    return signal_name(signed32(value))


_FLOCK = Struct("<HH4xqqi4x")


def _lock(is_answer: bool) -> Printer:
    """A struct flock: whose lock it is, only the kernel says."""

    def show(view: View, data: bytes) -> str:
        kind, whence, start, length, pid = _FLOCK.unpack(data)
        words = [("l_type", name_of(names.LOCK_KINDS, kind, "F_???")), ("l_whence", name_of(WHENCE, whence, "SEEK_???")),
                 ("l_start", start), ("l_len", length)]  # fmt: skip
        return fields(*words, ("l_pid", pid)) if is_answer else fields(*words)

    return from_kernel(_FLOCK.size, show) if is_answer else to(_FLOCK.size, show)


def _owner(view: View, data: bytes) -> str:
    kind, pid = unpack_from("<Ii", data)
    return fields(("type", name_of(names.OWNERS, kind, "F_OWNER_???")), ("pid", pid))


_descriptor_flags = flags(names.DESCRIPTOR_FLAGS, "FD_???")
_seals = flags(names.SEALS, "F_SEAL_???")
_lock_kind = one_of(names.LOCK_KINDS, "F_???")

_COMMANDS: dict[int, tuple[Printer, ...]] = {
    0: (decimal,), 1: (), 2: (_descriptor_flags,), 3: (), 4: (open_flags,), 5: (_lock(True),), 6: (_lock(False),),
    7: (_lock(False),), 8: (decimal,), 9: (), 10: (_signal,), 11: (), 15: (to(8, _owner),), 16: (from_kernel(8, _owner),),
    36: (_lock(True),),
    37: (_lock(False),), 38: (_lock(False),), 1024: (_lock_kind,), 1025: (), 1026: (flags(names.NOTIFICATIONS, "DN_???"),),
    1030: (decimal,), 1031: (decimal,), 1032: (), 1033: (_seals,), 1034: (),
}  # fmt: skip


def _command_arguments(view: View) -> tuple[Printer, ...]:
    return _COMMANDS.get(view.args[1] & 0xFFFFFFFF, (hexadecimal,))


def _command_result(view: View, value: int):
    match view.args[1] & 0xFFFFFFFF:
        case 0 | 1030:
            return described(view, value)
        case 1:
            return (hex(value), f"flags {_descriptor_flags(view, value)}") if value else "0"
        case 3:
            return hex(value) if value else "0", f"flags {open_flags(view, value)}"
        case 11:
            return (str(value), signal_name(value)) if value else "0"
        case 1025:
            return hex(value) if value else "0", _lock_kind(view, value)
        case 1034:
            return (hex(value), f"seals {_seals(view, value)}") if value else "0"
    return str(value)


# -- prctl ----------------------------------------------------------------------------------------------------

_four = (hexadecimal,) * 4
_capability = one_of(CAPABILITIES, "CAP_???", 64)
_secure_bits = flags(names.SECURE_BITS, "SECBIT_???")
_dumpable = one_of(names.DUMPABLE, "SUID_DUMP_???", 64)
_int_out = from_kernel(4, lambda view, data: f"[{int.from_bytes(data, 'little', signed=True)}]")
_unaligned = flags({1: "PR_UNALIGN_NOPRINT", 2: "PR_UNALIGN_SIGBUS"}, "PR_UNALIGN_???")
_speculation = one_of(names.SPECULATIONS, "PR_SPEC_???", 64)


def _name_set(view: View, value: int) -> str:
    """A task's name: fifteen bytes and NUL count, whatever follows."""
    data = view.string(value, 16)
    if data is None:
        return pointer(view, value)
    return quoted(data) if len(data) < 16 else quoted(data[:15]) + "..."


def _name_got(view: View, value: int) -> str:
    data = view.string(value, 16)
    return pointer(view, value) if data is None else quoted(data[:15])


def _tracer(view: View, value: int) -> str:
    return "PR_SET_PTRACER_ANY" if value == 0xFFFFFFFFFFFFFFFF else decimal(view, value)


def _signal_got(view: View, data: bytes) -> str:
    return f"[{signal_name(int.from_bytes(data, 'little', signed=True))}]"


def _counter_got(view: View, data: bytes) -> str:
    return f"[{name_of(names.TIME_STAMP_COUNTER, int.from_bytes(data, 'little'), 'PR_TSC_???')}]"


def _pointer_got(view: View, data: bytes) -> str:
    return f"[{pointer(view, int.from_bytes(data, 'little'))}]"


def _mapping_name(view: View, value: int) -> str:
    data = view.string(value, 80)
    return pointer(view, value) if data is None else quoted(data)


def _pid_kind(view: View, value: int) -> str:
    return f"{number(value)} /* {names.PID_KINDS.get(value, 'PIDTYPE_???')} */"


_OPTIONS: dict[int, tuple[Printer, ...]] = {
    1: (_signal,), 2: (from_kernel(4, _signal_got),), 3: (), 4: (_dumpable,), 5: (_int_out,), 6: (_unaligned,), 7: (),
    8: (size,), 9: (_int_out,), 10: (unsigned,), 11: (_int_out,), 12: (unsigned,), 13: (), 14: (size,), 15: (_name_set,),
    16: (out(_name_got),), 19: (_int_out,), 20: (size,), 21: (), 23: (_capability,), 24: (_capability,),
    25: (from_kernel(4, _counter_got),), 26: (one_of(names.TIME_STAMP_COUNTER, "PR_TSC_???"),), 27: (),
    28: (flags(names.SECURE_BITS, "SECBIT_???", 64),), 29: (size,),
    30: (), 31: (), 32: (), 36: (size,), 37: (_int_out,), 38: (size, *_four[:3]), 40: (from_kernel(8, _pointer_got),),
    41: (size, *_four[:3]), 45: (flags(names.FLOATING_POINT_MODES, "PR_FP_MODE_???", 64),), 46: (), 50: (hexadecimal,), 51: (),
    52: (_speculation,), 57: (size, *_four[:3]), 63: (hexadecimal,), 64: (),
    62: (one_of(names.SCHED_CORE, "PR_SCHED_CORE_???", 64), decimal, _pid_kind, pointer),
    59: (one_of(names.DISPATCHES, "PR_SYS_DISPATCH_???", 64), *_four[:3]), 0x59616D61: (_tracer,),
    35: (one_of(names.MEMORY_FIELDS, "PR_SET_MM_???", 64), *_four[:3]),
}  # fmt: skip


def _option_arguments(view: View) -> tuple[Printer, ...]:
    option, first = view.args[0] & 0xFFFFFFFF, view.args[1]
    match option:
        case 22:
            mode = one_of(names.SECCOMP_MODES, "SECCOMP_MODE_???", 64)
            return (mode,) if first == 1 else (mode, to(16, seccomp_filter)) if first == 2 else (mode, *_four[:3])
        case 33:
            policy = one_of(names.MACHINE_CHECK_POLICIES, "PR_MCE_KILL_???", 64) if first == 1 else hexadecimal
            return one_of(names.MACHINE_CHECKS, "PR_MCE_KILL_???", 64), policy, hexadecimal, hexadecimal
        case 47:
            action = one_of(names.AMBIENT, "PR_CAP_AMBIENT_???", 64)
            return action, _capability if first in (1, 2, 3) else hexadecimal, hexadecimal, hexadecimal
        case 53:
            return _speculation, one_of(names.SPECULATION_CONTROLS, "PR_SPEC_???", 64) if first < 3 else hexadecimal
        case 0x53564D41:
            kind = one_of({0: "PR_SET_VMA_ANON_NAME"}, "PR_SET_VMA_???", 64)
            return (kind, pointer, size, _mapping_name) if first == 0 else (kind, *_four[:3])
    return _OPTIONS.get(option, _four)


def _option_result(view: View, value: int):
    match view.args[0] & 0xFFFFFFFF:
        case 3:
            return str(value), names.DUMPABLE.get(value, "SUID_DUMP_???")
        case 27:
            return (hex(value), _secure_bits(view, value)) if value else "0"
        case 52:
            return (hex(value), flags_of(names.SPECULATION_STATES, value, "PR_SPEC_???")) if value else "0"
    return str(value)


CALLS: dict[str, Signature] = {
    "ioctl": Chosen(descriptor, _request, choose=lambda view: (argument_of(view.args[1]),)),
    "fcntl": Chosen(descriptor, one_of(names.COMMANDS, "F_???"), choose=_command_arguments, result=_command_result),
    "prctl": Chosen(one_of(names.OPTIONS, "PR_???"), choose=_option_arguments, result=_option_result),
}
