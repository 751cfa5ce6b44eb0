"""How the calls that look into other programs read: ptrace, and memory across processes."""

from __future__ import annotations

import struct

from abi.decoding.constants import tracing as names
from abi.decoding.constants.memory import ADVICE
from abi.decoding.shapes import given, received, vector
from abi.decoding.signals import siginfo, signal, sigset
from abi.decoding.values import (
    Signature,
    View,
    at_end,
    call,
    decimal,
    descriptor,
    fields,
    flags_of,
    hex32,
    hexadecimal,
    one_of,
    pointer,
    size,
    to,
)

# -- ptrace -----------------------------------------------------------------------------------------

_USER_SIZE = max(names.USER_OFFSETS)


def _request(view: View) -> str | None:
    name = names.PTRACE.get(view.args[0])
    return None if name is None else name.removeprefix("PTRACE_")


def _where(view: View, value: int) -> str:
    """An offset into struct user: from the last thing that begins before it."""
    if value > _USER_SIZE:
        return hex(value)
    start = max(offset for offset in names.USER_OFFSETS if offset <= value)
    return names.USER_OFFSETS[start] + (f"+{value - start}" if value > start else "")


def _registers(view: View, data: bytes) -> str:
    numbers = struct.unpack(f"<{len(names.REGISTERS)}Q", data)
    return fields(*((name, hexadecimal(view, number)) for name, number in zip(names.REGISTERS, numbers, strict=True)))


def _options(view: View, value: int) -> str:
    return flags_of(names.PTRACE_OPTIONS, value, "PTRACE_O_???")


def _register_set(view: View, data: bytes) -> str:
    base, length = struct.unpack("<QQ", data)
    return fields(("iov_base", pointer(view, base)), ("iov_len", length))


def _signal_queue(view: View, data: bytes) -> str:
    start, bits, count = struct.unpack("<QIi", data)
    shown = flags_of(names.PEEKSIGINFO, bits, "PTRACE_PEEKSIGINFO_???")
    return fields(("off", start), ("flags", shown), ("nr", count))


def _mask(view: View, value: int) -> str:
    data = view.bytes(value, 8) if view.args[2] == 8 else None
    return pointer(view, value) if data is None else sigset(data)


def _after(show):
    """A printer of what the kernel writes."""
    return lambda view, value: pointer(view, value) if view.error else show(view, value)


_cell = _after(to(8, lambda view, data: f"[{hex(int.from_bytes(data, 'little'))}]"))
_number_cell = _after(to(8, lambda view, data: f"[{int.from_bytes(data, 'little')}]"))
_info = to(128, siginfo)
_note = one_of(names.NOTES, "NT_???", 64)
_regs = to(216, _registers)
_area = (pointer, pointer)
_restart = (pointer, signal)
#: Printers of addr and data, None for one that the request has no use for.
_PTRACE = {
    "TRACEME": (None, None),
    "PEEKTEXT": (pointer, _cell),
    "PEEKDATA": (pointer, _cell),
    "PEEKUSER": (_where, _cell),
    "POKETEXT": (pointer, hexadecimal),
    "POKEDATA": (pointer, hexadecimal),
    "POKEUSER": (_where, hexadecimal),
    "CONT": _restart,
    "KILL": (None, None),
    "SINGLESTEP": _restart,
    "GETREGS": (None, _after(_regs)),
    "SETREGS": (None, _regs),
    "GETFPREGS": (None, pointer),
    "SETFPREGS": (None, pointer),
    "ATTACH": (None, None),
    "DETACH": _restart,
    "GETFPXREGS": _area,
    "SETFPXREGS": _area,
    "OLDSETOPTIONS": (pointer, _options),
    "SYSCALL": _restart,
    "GET_THREAD_AREA": _area,
    "SET_THREAD_AREA": _area,
    "ARCH_PRCTL": _area,
    "SYSEMU": _restart,
    "SYSEMU_SINGLESTEP": _restart,
    "SINGLEBLOCK": _restart,
    "SETOPTIONS": (pointer, _options),
    "GETEVENTMSG": (pointer, _number_cell),
    "GETSIGINFO": (pointer, _after(_info)),
    "SETSIGINFO": (pointer, _info),
    "GETREGSET": (_note, to(16, _register_set)),
    "SETREGSET": (_note, to(16, _register_set)),
    "SEIZE": (pointer, _options),
    "INTERRUPT": (None, None),
    "LISTEN": (None, None),
    "PEEKSIGINFO": (to(16, _signal_queue), pointer),
    "GETSIGMASK": (size, _after(_mask)),
    "SETSIGMASK": (size, _mask),
    "SECCOMP_GET_FILTER": (size, pointer),
    "SECCOMP_GET_METADATA": (size, pointer),
    "GET_SYSCALL_INFO": (size, pointer),
}


def _ptrace_argument(index: int):
    def printer(view: View, value: int) -> str | None:
        show = _PTRACE.get(_request(view), (hexadecimal, hexadecimal))[index]
        return None if show is None else show(view, value)

    return at_end(printer)


def _ptrace_pid(view: View, value: int) -> str | None:
    return None if _request(view) == "TRACEME" else decimal(view, value)


# -- memory across processes ------------------------------------------------------------------------


def _remote(view: View, value: int) -> str:
    """The other process's vector: its memory is not ours to show."""
    return vector(view, value, view.args[4], lambda base, length: pointer(view, base))


def _advised(view: View, value: int) -> str:
    return vector(view, value, view.args[2], lambda base, length: pointer(view, base))


CALLS: dict[str, Signature] = {
    "process_madvise": call(descriptor, _advised, size, one_of(ADVICE, "MADV_???"), hex32),
    "process_mrelease": call(descriptor, hex32),
    "process_vm_readv": call(decimal, received(2), size, _remote, size, size),
    "process_vm_writev": call(decimal, given(2), size, _remote, size, size),
    "ptrace": call(one_of(names.PTRACE, "PTRACE_???", 64), _ptrace_pid, _ptrace_argument(0), _ptrace_argument(1)),
}
