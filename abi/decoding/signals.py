"""How signals read: their names, why one was sent, and the calls that send them, catch them and wait for them."""

from __future__ import annotations

import struct
from importlib import import_module

from abi.decoding.constants import signals as names
from abi.decoding.values import (
    ERRNO_NAMES,
    Signature,
    View,
    call,
    decimal,
    described,
    descriptor,
    fields,
    flags,
    flags_of,
    from_kernel,
    hex32,
    identity,
    name_of,
    new_descriptor,
    one_of,
    out,
    pointer,
    signed32,
    size,
    to,
    unsigned,
)

_SIGRTMIN = 32
_SIGRTMAX = 64
_SIGSET = 8  # bytes of the kernel's sigset_t
_UC_SIGMASK = 296  # of struct ucontext on x86-64
_CLOCK_TICKS = 100  # a second, to user space, whatever the kernel's own HZ (times(2))
_MACHINES = {"AUDIT_ARCH_X86_64": "x86_64", "AUDIT_ARCH_I386": "i386"}


def signal_name(number: int) -> str:
    """``SIGCHLD``, ``SIGRTMIN``, ``SIGRT_1`` (the one after it, signal 33), or the number of what is no signal."""
    name = names.SIGNALS.get(number)
    if name is not None:
        return name
    if _SIGRTMIN < number <= _SIGRTMAX:
        return f"SIGRT_{number - _SIGRTMIN}"
    return "SIGRTMIN" if number == _SIGRTMIN else str(number)


# -- siginfo_t --------------------------------------------------------------------------------------


def clock_ticks(value: int) -> str:
    """A clock_t as user space has it, with the seconds where there are any."""
    return f"{value} /* {value / _CLOCK_TICKS:.2f} s */" if value else "0"


_CHILD = struct.Struct("<16xiIi4xqq").unpack_from


def _sender(view: View, data: bytes) -> list[tuple[str, object]]:
    return [("si_pid", int.from_bytes(data[16:20], "little", signed=True)), ("si_uid", identity(view, _u32(data, 20)))]


def _sigval(view: View, data: bytes) -> list[tuple[str, object]]:
    return [("si_int", int.from_bytes(data[24:28], "little", signed=True)), ("si_ptr", pointer(view, _u64(data, 24)))]


def _fault(view: View, signal: int, code: int, data: bytes) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = [("si_addr", pointer(view, _u64(data, 16)))]
    match names.CODES_OF[signal].get(code):
        case "BUS_MCEERR_AR" | "BUS_MCEERR_AO":
            shown.append(("si_addr_lsb", f"{int.from_bytes(data[24:26], 'little'):#x}"))
        case "SEGV_BNDERR":
            shown += [("si_lower", pointer(view, _u64(data, 32))), ("si_upper", pointer(view, _u64(data, 40)))]
        case "SEGV_PKUERR":
            shown.append(("si_pkey", _u32(data, 32)))
    return shown


def _child(view: View, code: int, data: bytes) -> list[tuple[str, object]]:
    pid, uid, status, utime, stime = _CHILD(data)
    return [
        ("si_pid", pid),
        ("si_uid", identity(view, uid)),
        ("si_status", status if names.CODES_OF[17].get(code) == "CLD_EXITED" else signal_name(status)),
        ("si_utime", clock_ticks(utime)),
        ("si_stime", clock_ticks(stime)),
    ]


def _call_name(number: int, arch: str | None) -> str:
    machine = _MACHINES.get(arch)
    name = import_module(f"ptrace.syscall.linux.{machine}").SYSCALL_NAMES.get(number) if machine else None
    if name is None:
        return str(number)
    return f"__NR_{name}" if machine == "x86_64" else f"{number} /* {name} */"


def _bad_call(view: View, data: bytes) -> list[tuple[str, object]]:
    number, arch = struct.unpack_from("<iI", data, 24)
    return [
        ("si_call_addr", pointer(view, _u64(data, 16))),
        ("si_syscall", _call_name(number, names.ARCHITECTURES.get(arch))),
        ("si_arch", name_of(names.ARCHITECTURES, arch, "AUDIT_ARCH_???")),
    ]


def _reason(view: View, signal: int, code: int, data: bytes) -> list[tuple[str, object]]:
    """The fields that go with the signal and its code: the kernel's union _sifields."""
    match names.CODES.get(code) if code <= 0 else "":
        case "SI_USER" | "SI_TKILL":
            return _sender(view, data)
        case "SI_TIMER":
            timer, overrun = struct.unpack_from("<Ii", data, 16)
            return [("si_timerid", hex(timer) if timer else "0"), ("si_overrun", overrun), *_sigval(view, data)]
        case "SI_SIGIO":
            return _band(view, data)
        case "":
            match names.SIGNALS.get(signal):
                case "SIGILL" | "SIGTRAP" | "SIGBUS" | "SIGFPE" | "SIGSEGV":
                    return _fault(view, signal, code, data)
                case "SIGCHLD":
                    return _child(view, code, data)
                case "SIGIO":
                    return _band(view, data) if code in names.CODES_OF[signal] else []
                case "SIGSYS":
                    return _bad_call(view, data)
    sender = _sender(view, data) if code <= 0 or _u64(data, 16) else []  # nobody, where it is the kernel's
    return sender + (_sigval(view, data) if _u64(data, 24) else [])


def _band(view: View, data: bytes) -> list[tuple[str, object]]:
    band, fd = struct.unpack_from("<qi", data, 16)
    return [("si_band", band), ("si_fd", described(view, fd))]


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def _u64(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")


def siginfo(view: View, data: bytes) -> str:
    """Why a signal was sent: the 128 bytes of a siginfo_t (sigaction(2)), those fields that mean something."""
    signal, errno, code = struct.unpack_from("<iii", data)
    if not signal:
        return "{}"
    name = names.CODES.get(code) or names.CODES_OF.get(signal, {}).get(code)
    shown: list[tuple[str, object]] = [("si_signo", signal_name(signal)), ("si_code", name or hex(code & 0xFFFFFFFF))]
    if errno:
        shown.append(("si_errno", ERRNO_NAMES.get(errno, errno)))
    return fields(*shown, *_reason(view, signal, code, data))


# -- sets of signals --------------------------------------------------------------------------------


def sigset(data: bytes) -> str:
    """``[CHLD RT_1]``, or ``~[KILL STOP]`` where most signals are in the set; `data` is a sigset_t or its beginning."""
    mask = int.from_bytes(data, "little")
    bits = len(data) * 8
    sign = ""
    if mask.bit_count() >= bits * 2 // 3:
        mask ^= (1 << bits) - 1
        sign = "~"
    return f"{sign}[{' '.join(signal_name(bit + 1)[3:] for bit in range(bits) if mask >> bit & 1)}]"


def _set_at(view: View, address: int, length: int) -> str:
    if not address:
        return "NULL"
    data = view.bytes(address, length) if length == _SIGSET else None
    return hex(address) if data is None else sigset(data)


def signals(size_at: int):
    """A printer of a sigset_t whose size is argument `size_at`."""
    return lambda view, value: _set_at(view, value, view.args[size_at])


def _pending(view: View, value: int) -> str:
    data = view.bytes(value, min(view.args[1], _SIGSET))
    return pointer(view, value) if not data else sigset(data)


# -- structures -------------------------------------------------------------------------------------


def _sigaction(view: View, data: bytes) -> str:
    handler, bits, restorer = struct.unpack_from("<QQQ", data)
    shown = [
        ("sa_handler", names.HANDLERS.get(handler) or names.HANDLERS.get(handler - (1 << 64)) or hex(handler)),
        ("sa_mask", sigset(data[24:])),
        ("sa_flags", flags_of(names.ACTION_FLAGS, bits, "SA_???")),
    ]
    if bits & names.SA_RESTORER:
        shown.append(("sa_restorer", pointer(view, restorer)))
    return fields(*shown)


def _stack(view: View, data: bytes) -> str:
    base, bits, length = struct.unpack("<QI4xQ", data)
    return fields(
        ("ss_sp", pointer(view, base)), ("ss_flags", flags_of(names.STACK_FLAGS, bits, "SS_???")), ("ss_size", length)
    )


def timespec(view: View, data: bytes) -> str:
    """A struct timespec of 64-bit fields."""
    seconds, nanoseconds = struct.unpack("<qQ", data)
    return fields(("tv_sec", seconds), ("tv_nsec", nanoseconds))


def signal(view: View, value: int) -> str:
    """A signal's number."""
    return signal_name(signed32(value))


def _taken(view: View, value: int):
    return value, signal_name(value)


def _frame(view: View, value: int) -> str:
    """What rt_sigreturn(2) goes back to: `value` is the stack pointer, at a struct ucontext."""
    data = view.bytes(value + _UC_SIGMASK, 8)
    return hex(value) if data is None else "{mask=" + sigset(data) + "}"


_info = to(128, siginfo)

CALLS: dict[str, Signature] = {
    "alarm": call(unsigned),
    "kill": call(decimal, signal),
    "pause": call(),
    "pidfd_send_signal": call(descriptor, signal, _info, hex32),
    "rt_sigaction": call(signal, to(32, _sigaction), from_kernel(32, _sigaction), size),
    "rt_sigpending": call(out(_pending), size),
    "rt_sigprocmask": call(one_of(names.HOW, "SIG_???"), signals(3), out(signals(3)), size),
    "rt_sigqueueinfo": call(decimal, signal, _info),
    "rt_sigreturn": call(_frame),
    "rt_sigsuspend": call(signals(1), size),
    "rt_sigtimedwait": call(signals(3), out(_info), to(16, timespec), size, result=_taken),
    "rt_tgsigqueueinfo": call(decimal, decimal, signal, _info),
    "sigaltstack": call(to(24, _stack), from_kernel(24, _stack)),
    "signalfd": call(descriptor, signals(2), size, result=new_descriptor),
    "signalfd4": call(descriptor, signals(2), size, flags(names.SIGNALFD, "SFD_???"), result=new_descriptor),
    "tgkill": call(decimal, decimal, signal),
    "tkill": call(decimal, signal),
}
