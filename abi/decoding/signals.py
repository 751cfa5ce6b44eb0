"""How signals read: their names, why one was sent, and the calls that send them, catch them and wait for them."""

from __future__ import annotations

import struct

from abi.decoding.constants import signals as names
from abi.decoding.values import ERRNO_NAMES, Signature, View, call, decimal, fields, identity, name_of, pointer, signed32, to

_SIGRTMIN = 32
_SIGRTMAX = 64
_CLOCK_TICKS = 100  # a second, to user space, whatever the kernel's own HZ (times(2))


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
    status = int.from_bytes(data[24:28], "little", signed=True)
    utime, stime = struct.unpack_from("<qq", data, 32)
    return [
        *_sender(view, data),
        ("si_status", status if names.CODES_OF[17].get(code) == "CLD_EXITED" else signal_name(status)),
        ("si_utime", clock_ticks(utime)),
        ("si_stime", clock_ticks(stime)),
    ]


def _bad_call(view: View, data: bytes) -> list[tuple[str, object]]:
    number, arch = struct.unpack_from("<iI", data, 24)
    return [
        ("si_call_addr", pointer(view, _u64(data, 16))),
        ("si_syscall", number),
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
            return _band(data)
        case "":
            match names.SIGNALS.get(signal):
                case "SIGILL" | "SIGTRAP" | "SIGBUS" | "SIGFPE" | "SIGSEGV":
                    return _fault(view, signal, code, data)
                case "SIGCHLD":
                    return _child(view, code, data)
                case "SIGIO":
                    return _band(data) if code in names.CODES_OF[signal] else []
                case "SIGSYS":
                    return _bad_call(view, data)
    return _sender(view, data) + (_sigval(view, data) if _u64(data, 24) else [])


def _band(data: bytes) -> list[tuple[str, object]]:
    band, fd = struct.unpack_from("<qi", data, 16)
    return [("si_band", band), ("si_fd", fd)]


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


def signal(view: View, value: int) -> str:
    """A signal's number."""
    return signal_name(signed32(value))


_info = to(128, siginfo)

CALLS: dict[str, Signature] = {
    "rt_sigqueueinfo": call(decimal, signal, _info),
}
