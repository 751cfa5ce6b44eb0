"""How the calls about processes read: starting, ending and waiting for them, their numbers, and their namespaces."""

from __future__ import annotations

import struct

from abi.decoding.constants import processes as names
from abi.decoding.scheduling import rusage
from abi.decoding.shapes import bytes_in_hex
from abi.decoding.signals import siginfo, signal_name
from abi.decoding.values import (
    U64,
    Signature,
    View,
    array,
    at_end,
    call,
    decimal,
    described,
    descriptor,
    dirfd,
    fields,
    flags,
    flags_of,
    hex32,
    hexadecimal,
    new_descriptor,
    one_of,
    out,
    path,
    plain,
    pointer,
    size,
    text,
    to,
)

__all__ = ["CALLS", "siginfo", "signal_name"]

_PAGE = 4096
_FEW = 64  # bytes of an argv that are read at once
_ZERO = bytes(8)
_MANY = 1 << 20  # more pointers than an execve(2) can have

# -- clone ------------------------------------------------------------------------------------------

_CLONE_PIDFD, _CLONE_SETTLS, _CLONE_PARENT_SETTID, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID, _CLONE_INTO_CGROUP = (
    0x1000, 0x80000, 0x100000, 0x200000, 0x1000000, 0x200000000,
)  # fmt: skip
_CLONE_ARGS = struct.Struct("<8Q")
_CLONE_ARGS_MORE = struct.Struct("<3Q")
_MOST_LEVELS = 32  # of nested pid namespaces


def _clone_flags(view: View, value: int) -> str:
    """The lowest byte is the signal that tells the parent of the end."""
    bits, number = view.args[0] & U64 & ~0xFF, view.args[0] & 0xFF
    words = [flags_of(names.CLONE, bits, "CLONE_???")] if bits else []
    if number or not words:
        words.append(signal_name(number))
    return "flags=" + "|".join(words)


def _plain_number(view: View, number: int) -> str:
    return str(number)


def _number_at(view: View, address: int, show=_plain_number) -> str:
    number = view.integer(address, 4, is_signed=True)
    return pointer(view, address) if number is None else f"[{show(view, number)}]"


def _parent_tid(view: View, value: int) -> str | None:
    bits, address = view.args[0], view.args[2]
    if not bits & (_CLONE_PARENT_SETTID | _CLONE_PIDFD):
        return None
    if view.error:
        return f"parent_tid={pointer(view, address)}"
    return "parent_tid=" + _number_at(view, address, *(() if bits & _CLONE_PARENT_SETTID else (described,)))


def _tls(view: View, value: int) -> str | None:
    return f"tls={pointer(view, view.args[4])}" if view.args[0] & _CLONE_SETTLS else None


def _child_tid(view: View, value: int) -> str | None:
    if view.args[0] & (_CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID):
        return f"child_tidptr={pointer(view, view.args[3])}"
    return None


def _clone_args(view: View, value: int) -> str:
    """struct clone_args, as long as the caller knows it to be."""
    length = view.args[1]
    view.kept = ()
    if length < _CLONE_ARGS.size:
        return pointer(view, value)
    known = min(length, _CLONE_ARGS.size + _CLONE_ARGS_MORE.size)
    data = view.bytes(value, known)
    if data is None:
        return pointer(view, value)
    bits, pidfd, child, parent, number, stack, stack_size, tls = _CLONE_ARGS.unpack_from(data)
    shown: list[tuple[str, object]] = [("flags", flags_of(names.CLONE3, bits, "CLONE_???"))]
    if bits & _CLONE_PIDFD:
        shown.append(("pidfd", pointer(view, pidfd)))
    if bits & (_CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID):
        shown.append(("child_tid", pointer(view, child)))
    if bits & _CLONE_PARENT_SETTID:
        shown.append(("parent_tid", pointer(view, parent)))
    shown += [
        ("exit_signal", signal_name(number)),
        ("stack", pointer(view, stack)),
        ("stack_size", hexadecimal(view, stack_size)),
    ]
    if bits & _CLONE_SETTLS:
        shown.append(("tls", pointer(view, tls)))
    tids, count, cgroup = _CLONE_ARGS_MORE.unpack(data[_CLONE_ARGS.size :].ljust(_CLONE_ARGS_MORE.size, b"\0"))
    if tids or count:
        shown += [("set_tid", _wished_tids(view, tids, count)), ("set_tid_size", count)]
    if bits & _CLONE_INTO_CGROUP or cgroup:
        shown.append(("cgroup", cgroup))
    view.kept = [("pidfd", pidfd, described)] if bits & _CLONE_PIDFD else []
    if bits & _CLONE_PARENT_SETTID:
        view.kept.append(("parent_tid", parent, _plain_number))
    return fields(*shown)[:-1] + _unknown_rest(view, value, known, length) + "}"


def _wished_tids(view: View, address: int, count: int) -> str:
    if not 0 < count < _MOST_LEVELS:
        return pointer(view, address)
    return array(view, address, count, 4, lambda view, data: str(int.from_bytes(data, "little", signed=True)))


def _unknown_rest(view: View, address: int, known: int, length: int) -> str:
    """What lies behind the fields we know, when any of it is not 0."""
    end = min(length, _PAGE)
    if end <= known:
        return ""
    data = view.bytes(address + known, end - known)
    if data is None:
        return ", ???"
    if not any(data):
        return ""
    cut = data[: view.style.strings]
    return f", /* bytes {known}..{end - 1} */ {bytes_in_hex(cut)}{'...' if len(data) > len(cut) else ''}"


def _stored(view: View, value: int) -> str | None:
    """What the kernel stored at the pointers in the structure."""
    if view.error or not view.kept:
        return None
    return " => " + fields(*((name, _number_at(view, address, show)) for name, address, show in view.kept))


# -- exec -------------------------------------------------------------------------------------------


def _strings(view: View, value: int) -> str:
    """A null-terminated array of strings."""
    if not value:
        return "NULL"
    words: list[str] = []
    most = _MANY if view.style.verbose else view.style.strings
    pointers = b""
    while True:
        here = value + 8 * len(words)
        if not pointers:  # as many as one look gives, which is mostly all of them
            pointers = view.part(here, min(_PAGE - here % _PAGE, _FEW)) if here % 8 == 0 else b""
            if len(pointers) < 8:
                pointers = view.bytes(here, 8) or b""
        word, pointers = int.from_bytes(pointers[:8], "little") if pointers else None, pointers[8:]
        if word is None:
            if not words:
                return hex(value)
            words.append(f"... /* {here:#x} */")
            break
        if not word:
            break
        if len(words) >= most:
            words.append("...")
            break
        words.append(text(view, word))
    return f"[{', '.join(words)}]"


def _environment(view: View, value: int) -> str:
    """Whole only with -v: else where it is and how long."""
    if view.style.verbose or not value:
        return _strings(view, value)
    count = 0
    while count < _MANY:
        data = view.part(value + 8 * count, _PAGE - (value + 8 * count) % _PAGE)
        data = data[: len(data) & ~7]
        end = _zero_word(data)
        if end is not None:
            count += end
            return f"{value:#x} /* {count} var{'' if count == 1 else 's'} */"
        if not data:
            break
        count += len(data) // 8
    if not count:
        return hex(value)
    return f"{value:#x} /* {count} var{'' if count == 1 else 's'}, unterminated */"


def _zero_word(data: bytes) -> int | None:
    """Which of the words of eight bytes is the first that is 0."""
    at = data.find(_ZERO)
    while at >= 0:
        word = (at + 7) & ~7
        if data[word : word + 8] == _ZERO:
            return word // 8
        at = data.find(_ZERO, at + 1)
    return None


# -- waiting ----------------------------------------------------------------------------------------


def wait_status(status: int) -> str:
    """A wait status by the macros that take it apart.  wait(2)"""
    low, high = status & 0x7F, status >> 8 & 0xFF
    if status & 0xFFFF == 0xFFFF:
        words = "WIFCONTINUED(s)"
        rest = status & ~0xFFFF
    elif low == 0x7F:
        number = high & 0x7F if high & 0x80 and high & 0x7F == 5 else high
        words = f"WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(number)}{' | 0x80' if number != high else ''}"
        rest = status & ~0xFFFF
    elif low:
        words = f"WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(low)}{' && WCOREDUMP(s)' if status & 0x80 else ''}"
        rest = status & ~0xFF
    else:
        words = f"WIFEXITED(s) && WEXITSTATUS(s) == {high}"
        rest = status & ~0xFFFF
    text = f"{{{words}}}"
    if rest and low == 0x7F:
        event = names.PTRACE_EVENTS.get(rest >> 16)
        text += f" | {event or hex(rest >> 16)}<<16"
    elif rest:
        text += f" | {rest:#x}"
    return text


def _status_at(view: View, value: int) -> str:
    status = view.integer(value, 4) if view.value else None
    return pointer(view, value) if status is None else f"[{wait_status(status)}]"


def _rusage_at(view: View, value: int) -> str:
    return to(144, rusage)(view, value) if view.value else pointer(view, value)


def _waitid_id(view: View, value: int) -> str:
    kind = names.WAITID.get(view.args[0] & 0xFFFFFFFF)
    return descriptor(view, value) if kind == "P_PIDFD" else decimal(view, value)


# -- comparing, barriers, robust lists --------------------------------------------------------------


def _kcmp_kind(view: View) -> str | None:
    return names.KCMP.get(view.args[2] & 0xFFFFFFFF)


def _kcmp_first(view: View, value: int) -> str | None:
    match _kcmp_kind(view):
        case "KCMP_FILE" | "KCMP_EPOLL_TFD":
            return decimal(view, value)  # the other process's, so we cannot tell what it is of
        case None:
            return hexadecimal(view, value)
    return None


def _kcmp_second(view: View, value: int) -> str | None:
    match _kcmp_kind(view):
        case "KCMP_FILE":
            return decimal(view, value)
        case "KCMP_EPOLL_TFD":
            return _epoll_slot(view, value)
        case None:
            return hexadecimal(view, value)
    return None


def _epoll_slot(view: View, value: int) -> str:
    data = view.bytes(value, 12)
    if data is None:
        return pointer(view, value)
    efd, tfd, offset = struct.unpack("<iiI", data)
    return fields(("efd", efd), ("tfd", tfd), ("toff", offset))


def _barrier_cpu(view: View, value: int) -> str | None:
    return decimal(view, value) if view.args[1] & 0xFFFFFFFF else None


def _barriers(view: View, value: int):
    if view.args[0] & 0xFFFFFFFF or not value:
        return plain(view, value)
    return hex(value), flags_of(names.MEMBARRIER, value, "MEMBARRIER_CMD_???")


_address_cell = out(lambda view, value: _cell(view, value, pointer))
_size_cell = out(lambda view, value: _cell(view, value, size))


def _cell(view: View, value: int, show) -> str:
    number = view.integer(value, 8)
    return pointer(view, value) if number is None else f"[{show(view, number)}]"


_nothing = call()
_atflags = flags(names.AT, "AT_???")
_options = flags(names.WAIT4, "W???")

CALLS: dict[str, Signature] = {
    "clone": call(
        lambda view, value: f"child_stack={pointer(view, view.args[1])}",
        _clone_flags,
        at_end(_parent_tid),
        _tls,
        _child_tid,
        joins=True,
    ),
    "clone3": call(
        _clone_args,
        lambda view, value: None if view.kept else size(view, value),  # behind what the kernel stores, where it does
        at_end(_stored),
        lambda view, value: size(view, view.args[1]) if view.kept else None,
        joins=True,
    ),
    "execve": call(path, _strings, _environment),
    "execveat": call(dirfd, path, _strings, _environment, _atflags),
    "exit": call(decimal, never_returns=True),
    "exit_group": call(decimal, never_returns=True),
    "fork": _nothing,
    "get_robust_list": call(decimal, _address_cell, _size_cell),
    "getpgid": call(decimal),
    "getpgrp": _nothing,
    "getpid": _nothing,
    "getppid": _nothing,
    "getsid": call(decimal),
    "gettid": _nothing,
    "kcmp": call(decimal, decimal, one_of(names.KCMP, "KCMP_???"), _kcmp_first, _kcmp_second),
    "membarrier": call(
        one_of(names.MEMBARRIER, "MEMBARRIER_CMD_???"),
        flags(names.MEMBARRIER_FLAGS, "MEMBARRIER_CMD_FLAG_???"),
        _barrier_cpu,
        result=_barriers,
    ),
    "pidfd_getfd": call(descriptor, decimal, hex32, result=new_descriptor),
    "pidfd_open": call(decimal, flags(names.PIDFD, "PIDFD_???"), result=new_descriptor),
    "restart_syscall": call(lambda view, value: f"<... resuming interrupted {view.former} ...>" if view.former else None),
    "rseq": call(hexadecimal, hexadecimal, hexadecimal, hexadecimal),
    "set_robust_list": call(pointer, size),
    "set_tid_address": call(hexadecimal),
    "setns": call(descriptor, flags(names.NAMESPACES, "CLONE_NEW???")),
    "setpgid": call(decimal, decimal),
    "setsid": _nothing,
    "unshare": call(flags(names.UNSHARE, "CLONE_???", 64)),
    "vfork": _nothing,
    "wait4": call(decimal, out(_status_at), _options, out(_rusage_at)),
    "waitid": call(one_of(names.WAITID, "P_???"), _waitid_id, out(to(128, siginfo)), _options, out(to(144, rusage))),
}
