"""The view of one call, and the printers that every area shares: numbers, names, strings, descriptors, pointers.

A printer is a function ``(view, value) -> str | None``; None leaves the argument out (openat's mode without O_CREAT).
One marked with `out` reads what the kernel wrote, so it waits for the call's end; after a failure it prints the address.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import errorcode
from functools import cache

U64 = 0xFFFFFFFFFFFFFFFF
_PAGE = 4096
_FIRST = 128  # bytes of a string that are looked at first
ERRNO_NAMES = errorcode | {35: "EDEADLK", 95: "EOPNOTSUPP"}  # EDEADLOCK and ENOTSUP to Python

Printer = Callable[["View", int], "str | None"]


class Style:
    """How much is printed: `strings` bytes of a string (-s), `paths` 0, 1 (-y) or 2 (-yy), `verbose` structures whole (-v);
    without `follow` structures are addresses only."""

    __slots__ = ("follow", "paths", "strings", "verbose")

    def __init__(self, strings: int = 32, paths: int = 0, verbose: bool = False, follow: bool = True) -> None:
        self.strings = strings
        self.paths = paths
        self.verbose = verbose
        self.follow = follow


class View:
    """One call of a task as printers see it.

    `args`: six unsigned 64-bit values.  `value`: None at entry, at the end the signed result, `error` then the
    positive errno or 0.  `memory.read_some(address, size)` gives up to 64 KiB, fewer bytes where memory ends.  `former` is
    the name of the call that the task made before this one.
    `descriptor(fd)` is what an open descriptor is of (``/etc/passwd``, ``socket:[7]``) or None.  `kept` carries what
    a printer at entry wants to find again at the end.  `partial`: printers are left for the end (`Signature.early` says so).
    """

    __slots__ = ("args", "descriptor", "error", "former", "kept", "memory", "number", "partial", "style", "value")

    def __init__(self, number: int, args: tuple[int, ...], memory, style: Style, descriptor) -> None:
        self.number = number
        self.args = args
        self.memory = memory
        self.style = style
        self.descriptor = descriptor
        self.value: int | None = None
        self.error = 0
        self.kept = None
        self.former = ""
        self.partial = False

    # -- memory -------------------------------------------------------------------------------

    def bytes(self, address: int, size: int) -> bytes | None:
        """Exactly `size` bytes of a structure, or None where they cannot be read, or are not to be."""
        return self.data(address, size) if self.style.follow else None

    def part(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of a structure, ending where the memory does."""
        return self.memory.read_some(address, size) if self.style.follow else b""

    def data(self, address: int, size: int) -> bytes | None:
        """As `bytes`, of a buffer, which is shown in any case."""
        if not address or size < 0:
            return None
        data = self.memory.read_some(address, size)
        if len(data) == size:
            return data
        while len(data) < size:
            more = self.memory.read_some(address + len(data), size - len(data))
            if not more:
                return None
            data += more
        return data

    def integer(self, address: int, size: int, is_signed: bool = False) -> int | None:
        """The little-endian number at an address, None where it cannot be read."""
        data = self.bytes(address, size)
        return None if data is None else int.from_bytes(data, "little", signed=is_signed)

    def string(self, address: int, limit: int = _PAGE) -> bytes | None:
        """The bytes up to NUL, at most `limit` of them (then without end); None where they cannot be read."""
        data = b""
        chunk = _FIRST  # most strings are short
        while len(data) < limit:
            here = address + len(data)
            more = self.memory.read_some(here, min(limit - len(data), _PAGE - (here & _PAGE - 1), chunk))
            if not more:
                return None
            end = more.find(b"\0")
            if end >= 0:
                return data + more[:end] if data else more[:end]
            data += more
            chunk = _PAGE
        return data


def out(printer: Printer) -> Printer:
    """A printer of what the kernel writes: called at the end of a call that succeeded, else the address is printed."""

    def at_end(view: View, value: int) -> str | None:
        return pointer(view, value) if view.error else printer(view, value)

    at_end.at_end = True
    return at_end


def at_end(printer: Printer) -> Printer:
    """A printer that must wait for the call's end, and sees failures too (both in and out)."""

    def late(view: View, value: int) -> str | None:
        return printer(view, value)

    late.at_end = True
    return late


def waits(printer: Printer) -> bool:
    """Whether a printer waits for the end of the call."""
    return getattr(printer, "at_end", False)


# -- numbers ----------------------------------------------------------------------------------------


def signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


def signed64(value: int) -> int:
    value &= U64
    return value - (1 << 64) if value >> 63 else value


def decimal(view: View, value: int) -> str:
    """A C int."""
    return str(signed32(value))


def unsigned(view: View, value: int) -> str:
    """A C unsigned int."""
    return str(value & 0xFFFFFFFF)


def long(view: View, value: int) -> str:
    """A C long."""
    return str(signed64(value))


def size(view: View, value: int) -> str:
    """A size_t."""
    return str(value)


def hexadecimal(view: View, value: int) -> str:
    """An unsigned long as strace's %#lx: 0 stays 0."""
    return hex(value) if value else "0"


def hex32(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    return hex(value) if value else "0"


def pointer(view: View, value: int) -> str:
    """An address that is not followed."""
    return hex(value) if value else "NULL"


def mode(view: View, value: int) -> str:
    """A mode_t without a file type, in octal."""
    return octal(value & 0xFFFFFFFF)


def octal(value: int) -> str:
    """As strace prints modes: 000, 001, 0644, 01777."""
    return f"0{value:02o}"


def identity(view: View, value: int) -> str:
    """A uid or gid, where -1 means none."""
    value &= 0xFFFFFFFF
    return "-1" if value == 0xFFFFFFFF else str(value)


# -- names ------------------------------------------------------------------------------------------


def name_of(table: dict[int, str], value: int, unknown: str) -> str:
    """The name of an enumerated value; else the number in hex and, as a comment, of which kind (``FUTEX_???``)."""
    name = table.get(value)
    return name if name is not None else f"{value:#x} /* {unknown} */" if value else f"0 /* {unknown} */"


def flags_of(table: dict[int, str], value: int, unknown: str) -> str:
    """Names joined by ``|``, the rest in hex; 0 is the table's name for it, or 0.

    Tried in the table's order, so a flag of several bits stands before those it is made of.
    """
    if not value:
        return table.get(0, "0")
    words = []
    rest = value
    for bits, name in table.items():
        if bits and rest & bits == bits:
            words.append(name)
            rest &= ~bits
            if not rest:
                return "|".join(words)
    if not words:
        return f"{value:#x} /* {unknown} */"
    return "|".join(words) + f"|{rest:#x}"


def one_of(table: dict[int, str], unknown: str, bits: int = 32) -> Printer:
    """A printer of an enumerated value."""
    mask = (1 << bits) - 1

    def printer(view: View, value: int) -> str:
        value &= mask
        name = table.get(value)
        return name if name is not None else name_of(table, value, unknown)

    return printer


def flags(table: dict[int, str], unknown: str, bits: int = 32) -> Printer:
    """A printer of a set of flags."""
    mask = (1 << bits) - 1
    known: dict[int, str] = {}  # calls use few combinations

    def printer(view: View, value: int) -> str:
        value &= mask
        text = known.get(value)
        if text is None:
            text = flags_of(table, value, unknown)
            if len(known) < 256:
                known[value] = text
        return text

    return printer


# -- strings ----------------------------------------------------------------------------------------

_ESCAPES = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_PLAIN = bytes(byte for byte in range(32, 127) if byte not in (34, 92))


_in_hex = 0


def strings_in_hex(degree: int) -> None:
    """How this process's logs write strings: 1 (-x) those in hex that hold more than ASCII text, 2 (-xx) all, 0 none."""
    global _in_hex
    _in_hex = degree


def quoted(data: bytes) -> str:
    """A C string literal; octal escapes are as short as what follows allows."""
    rest = data.translate(None, _PLAIN)
    if _in_hex and (_in_hex == 2 or any(byte not in _ESCAPES for byte in rest)):
        return '"' + "".join([f"\\x{byte:02x}" for byte in data]) + '"'
    if not rest:
        return '"' + data.decode("ascii") + '"'
    words = ['"']
    for position, byte in enumerate(data):
        if byte in _ESCAPES:
            words.append(_ESCAPES[byte])
        elif 32 <= byte < 127:
            words.append(chr(byte))
        else:
            following = data[position + 1] if position + 1 < len(data) else 0
            words.append(f"\\{byte:03o}" if 48 <= following <= 55 else f"\\{byte:o}")
    words.append('"')
    return "".join(words)


def path(view: View, value: int) -> str:
    """A path: always whole, whatever -s says."""
    if not value:
        return "NULL"
    data = view.string(value)
    if data is None:
        return hex(value)
    return quoted(data) if len(data) < _PAGE else quoted(data[: _PAGE - 1]) + "..."


def text(view: View, value: int) -> str:
    """A NUL-terminated string, cut at -s bytes."""
    if not value:
        return "NULL"
    limit = view.style.strings
    data = view.string(value, limit + 1)
    if data is None:
        return hex(value)
    return quoted(data) if len(data) <= limit else quoted(data[:limit]) + "..."


def cut(view: View, data: bytes, whole: int) -> str:
    """Bytes of a buffer of `whole` bytes, of which `data` were read: cut at -s bytes."""
    limit = view.style.strings
    if len(data) > limit or whole > len(data):
        return quoted(data[:limit]) + "..."
    return quoted(data)


def memory(view: View, address: int, count: int) -> str:
    """`count` bytes at an address, cut at -s bytes."""
    if not address:
        return "NULL"
    if count <= 0:
        return '""'
    limit = view.style.strings
    data = view.data(address, count if count <= limit else limit + 1)
    if data is None:
        return hex(address)
    return quoted(data) if count <= limit else quoted(data[:limit]) + "..."


def buffer(size_at: int) -> Printer:
    """What the caller hands in: as many bytes as argument `size_at` says."""

    def printer(view: View, value: int) -> str:
        return memory(view, value, view.args[size_at])

    return printer


def filled() -> Printer:
    """What the kernel filled: as many bytes as the call returned."""

    def printer(view: View, value: int) -> str:  # `out` written out, as it stands in every read
        return pointer(view, value) if view.error else memory(view, value, view.value)

    printer.at_end = True
    return printer


# -- descriptors ------------------------------------------------------------------------------------

AT_FDCWD = -100
_DELETED = (" (deleted)", "".join(f"\\x{byte:02x}" for byte in b" (deleted)"))  # proc_pid_fd(5); with -xx


def described(view: View, fd: int) -> str:
    """A descriptor, with what it is of if the style asks for it."""
    if view.style.paths and fd >= 0:
        what = view.descriptor(fd)
        if what:
            for deleted in _DELETED:
                if what.endswith(deleted):
                    return f"{fd}<{what.removesuffix(deleted)}>(deleted)"
            return f"{fd}<{what}>"
    return str(fd)


def descriptor(view: View, value: int) -> str:
    return described(view, signed32(value)) if view.style.paths else str(signed32(value))


def dirfd(view: View, value: int) -> str:
    """A directory's descriptor, or the working directory."""
    fd = signed32(value)
    if fd == AT_FDCWD:
        if view.style.paths:
            what = view.descriptor(AT_FDCWD)
            return f"AT_FDCWD<{what}>" if what else "AT_FDCWD"
        return "AT_FDCWD"
    return described(view, fd)


# -- structures and arrays --------------------------------------------------------------------------


def to(length: int, show: Callable[[View, bytes], str]) -> Printer:
    """A printer of a pointer to a structure of `length` bytes that the caller hands in."""

    def printer(view: View, value: int) -> str:
        if not value:
            return "NULL"
        data = view.bytes(value, length)
        return hex(value) if data is None else show(view, data)

    return printer


def from_kernel(length: int, show: Callable[[View, bytes], str]) -> Printer:
    """As `to`, for one that the kernel fills."""
    return out(to(length, show))


def array(view: View, address: int, count: int, length: int, show: Callable[[View, bytes], str], limit: int | None = None) -> str:
    """``[a, b, ...]``: `count` elements of `length` bytes each, abbreviated as strace does."""
    if not address:
        return "NULL"
    if count <= 0:
        return "[]"
    most = (view.style.strings if limit is None else limit) if not view.style.verbose else count
    words = []
    for index in range(count):
        if index >= most:
            words.append("...")
            break
        data = view.bytes(address + index * length, length)
        if data is None:
            if not words:
                return hex(address)
            words.append(f"... /* {address + index * length:#x} */")
            break
        words.append(show(view, data))
    return "[" + ", ".join(words) + "]"


def fields(*pairs: tuple[str, object], more: bool = False) -> str:
    """``{name=value, ...}``; `more` says that fields are left out."""
    words = [f"{name}={value}" for name, value in pairs]
    if more:
        words.append("...")
    return "{" + ", ".join(words) + "}"


# -- signatures -------------------------------------------------------------------------------------


class Signature:
    """How a call reads: a printer for each argument, one for the result, and the classes -e trace=%CLASS knows.

    The first argument that waits for the end, and all behind it, are printed then.  `joins`: what is printed then goes on
    where the entry stopped (``, tls=0x10`` or `` => {...}``), so no comma announces it.
    """

    __slots__ = ("_early", "_late", "_partial", "arguments", "joins", "never_returns", "result")

    def __init__(self, arguments: tuple[Printer, ...], result, never_returns: bool = False, joins: bool = False) -> None:
        self.arguments = arguments
        self.result = result
        self.never_returns = never_returns
        self.joins = joins
        first = first_late(arguments)
        self._early = tuple(enumerate(arguments[:first]))
        self._late = tuple(enumerate(arguments))[first:]
        self._partial = bool(self._late)

    def early(self, view: View) -> list[str]:
        """The arguments that can be read before the call is made; `view.partial` then says whether others are to come."""
        view.partial = self._partial
        args = view.args
        words = []
        for index, printer in self._early:
            word = printer(view, args[index])
            if word is not None:
                words.append(word)
        return words

    def late(self, view: View) -> list[str]:
        """The rest of them, once `view.value` is known."""
        args = view.args
        words = []
        for index, printer in self._late:
            word = printer(view, args[index])
            if word is not None:
                words.append(word)
        return words


def first_late(printers: tuple[Printer, ...]) -> int:
    """The place of the first printer that waits for the end of the call; how many there are, if none does."""
    return next((index for index, printer in enumerate(printers) if waits(printer)), len(printers))


# A result printer is ``(view, value) -> str``, for success only; a pair ``(text, note)`` adds ``(note)`` behind it.


def plain(view: View, value: int) -> str:
    return str(value)


def address(view: View, value: int) -> str:
    return hex(value & U64) if value else "NULL"


def hex_result(view: View, value: int) -> str:
    return hex(value & U64) if value else "0"


def octal_result(view: View, value: int) -> str:
    return octal(value)


def new_descriptor(view: View, value: int) -> str:
    return described(view, value)


def call(*arguments: Printer, result=plain, never_returns: bool = False, joins: bool = False) -> Signature:
    """A signature, as the area modules write it."""
    return Signature(arguments, result, never_returns, joins)


_RESTARTS = {512: "ERESTARTSYS (To be restarted if SA_RESTART is set)", 513: "ERESTARTNOINTR (To be restarted)",
             514: "ERESTARTNOHAND (To be restarted if no handler)",
             516: "ERESTART_RESTARTBLOCK (Interrupted by signal)"}  # fmt: skip


def result_of(signature: Signature, view: View) -> str:
    """What stands behind `` = ``: the value, or -1 and the errno with its text; ``?`` for a call to be restarted."""
    number = view.error
    if not number:
        shown = signature.result(view, view.value)
        if isinstance(shown, tuple):
            return f"{shown[0]} ({shown[1]})"
        return shown
    restart = _RESTARTS.get(number)
    if restart is not None:
        return f"? {restart}"
    return _failed(number)


@cache
def _failed(number: int) -> str:
    name = ERRNO_NAMES.get(number)
    return f"-1 (errno {number})" if name is None else f"-1 {name} ({os.strerror(number)})"
