"""Values inside structures that several areas print alike: modes, device numbers, moments, iovecs, structures that grow."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from abi.decoding.constants.files import FILE_TYPES
from abi.decoding.values import View, memory, octal, pointer

_VECTOR_MAX = 4096  # iovecs that one read of guest memory gives; the kernel takes 1024
_PAGE = 4096


def permissions(view: View, value: int) -> str:
    """A mode argument; the kernel takes 16 bits of it (umode_t)."""
    return octal(value & 0xFFFF)


@lru_cache(maxsize=256)  # a tree's files have few modes
def file_mode(mode: int) -> str:
    """A st_mode by its type, set-id bits and permissions; in octal as a whole where there is no such type."""
    kind = FILE_TYPES.get(mode & 0o170000)
    if kind is None and mode & 0o170000:
        return octal(mode)
    words = [] if kind is None else [kind]
    if mode & 0o7000:
        words += [name for bit, name in ((0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")) if mode & bit]
    words.append(octal(mode & ~0o177000))
    return "|".join(words)


def has_device(mode: int) -> bool:
    """Whether a file of this mode is a device, with a number of its own."""
    return mode & 0o170000 in (0o020000, 0o060000)


def short_hex(value: int) -> str:
    """As C's %#x: 0 has no prefix."""
    return hex(value) if value else "0"


def device(number: int) -> str:
    """A dev_t as the kernel hands it to programs: 12 bits of the major number and 20 of the minor are folded (makedev(3))."""
    major = number >> 8 & 0xFFF | number >> 32 & 0xFFFFF000
    minor = number & 0xFF | number >> 12 & 0xFFFFFF00
    return f"makedev({short_hex(major)}, {short_hex(minor)})"


def moment(seconds: int, fraction: int, digits: int) -> str:
    """The comment behind a time that says it in words, in the local time zone.

    `fraction` counts units of 10**-digits seconds.  Empty for the epoch itself, for a fraction of a second or more, and
    for years that no calendar reaches.
    """
    if not (seconds or fraction) or not 0 <= fraction < 10**digits:
        return ""
    try:
        date = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return ""
    rest = f".{fraction:0{digits}d}" if fraction else ""
    east = date.tm_gmtoff // 60
    zone = f"{'-' if east < 0 else '+'}{abs(east) // 60:02d}{abs(east) % 60:02d}"
    day = f"{date.tm_year}-{date.tm_mon:02d}-{date.tm_mday:02d}"
    return f" /* {day}T{date.tm_hour:02d}:{date.tm_min:02d}:{date.tm_sec:02d}{rest}{zone} */"


def bytes_in_hex(data: bytes) -> str:
    """A string literal of which every byte is an escape."""
    return '"' + "".join([f"\\x{byte:02x}" for byte in data]) + '"'


def vector(view: View, address: int, count: int, show: Callable[[int, int], str]) -> str:
    """An array of `count` struct iovec (readv(2)); `show(base, length)` prints what iov_base is of."""
    if not address:
        return "NULL"
    if not count:
        return "[]"
    if count >= 1 << 60:  # more than memory has bytes for
        return hex(address)
    most = min(count, _VECTOR_MAX)
    if not view.style.verbose:
        most = min(most, view.style.strings)
    data = view.part(address, max(most, 1) * 16)
    whole = len(data) // 16
    if not whole:
        return hex(address)
    words = []
    for at in range(0, min(whole, most) * 16, 16):
        base = int.from_bytes(data[at : at + 8], "little")
        length = int.from_bytes(data[at + 8 : at + 16], "little")
        words.append(f"{{iov_base={show(base, length)}, iov_len={length}}}")
    if whole < most:
        words.append(f"... /* {address + whole * 16:#x} */")
    elif whole < count:
        words.append("...")
    return "[" + ", ".join(words) + "]"


def given(count_at: int) -> Callable[[View, int], str]:
    """A printer of iovecs that a call reads from; argument `count_at` counts them."""

    def printer(view: View, value: int) -> str:
        return vector(view, value, view.args[count_at], lambda base, length: memory(view, base, length))

    return printer


def received(count_at: int) -> Callable[[View, int], str]:
    """A printer of iovecs that a call fills, for its end: the data is as long as the result, a failure shows addresses."""

    def printer(view: View, value: int) -> str:
        if view.error:
            return vector(view, value, view.args[count_at], lambda base, length: pointer(view, base))
        left = view.value

        def show(base: int, length: int) -> str:
            nonlocal left
            here = max(0, min(length, left))
            left -= here
            return memory(view, base, here)

        return vector(view, value, view.args[count_at], show)

    printer.at_end = True
    return printer


def growing(view: View, address: int, size: int, known: int, show: Callable[[bytes], str]) -> str:
    """A structure whose size the caller says, for kernels that know more of it (openat2(2), clone3(2)).

    `show` prints the fields in its first `known` bytes, with no braces; what stands behind them is printed if not zero.
    """
    if size < known:
        return pointer(None, address)
    data = view.bytes(address, known)
    if data is None:
        return pointer(None, address)
    words = [show(data)]
    end = min(size, _PAGE)
    if end > known:
        rest = view.bytes(address + known, end - known)
        if rest is None:
            words.append("???")
        elif rest.count(0) < len(rest):
            limit = view.style.strings
            dots = "..." if len(rest) > limit else ""
            words.append(f"/* bytes {known}..{end - 1} */ {bytes_in_hex(rest[:limit])}{dots}")
    return "{" + ", ".join(words) + "}"
