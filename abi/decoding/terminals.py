"""Terminals: struct termios and its older and newer shapes, window sizes, modem lines.  ioctl_tty(2), termios(3)."""

from __future__ import annotations

from struct import unpack_from

from abi.decoding.addresses import number
from abi.decoding.constants import control as names
from abi.decoding.values import View, fields, name_of

_SPEED = 0x100F  # CBAUD
_INPUT_SHIFT = 16  # IBSHIFT: the speed of input, where it is another
_WIDTH = 0x30  # CSIZE
_DELAYS = (("NL", 0x100, 8), ("CR", 0x600, 9), ("TAB", 0x1800, 11), ("BS", 0x2000, 13), ("VT", 0x4000, 14), ("FF", 0x8000, 15))


def _modes(table: dict[int, str], bits: int) -> str:
    """Names of bits; nothing at all for none of them."""
    words = [name for bit, name in table.items() if bits & bit]
    rest = bits & ~sum(table)
    if rest:
        words.append(hex(rest))
    return "|".join(words)


def _output(bits: int) -> str:
    words = [f"{name}{(bits & mask) >> shift}" for name, mask, shift in _DELAYS]
    if words[2] == "TAB3":
        words[2] = "XTABS"
    return "|".join(words) + "|" + _modes(names.OUTPUT_MODES, bits & ~0xFF00)


def _speed(bits: int) -> str:
    return names.SPEEDS.get(bits, number(bits))


def _control(bits: int) -> str:
    words = [_speed(bits & _SPEED)]
    of_input = bits >> _INPUT_SHIFT & _SPEED
    if of_input:
        words.append(f"{_speed(of_input)}<<IBSHIFT")
    words.append(f"CS{5 + ((bits & _WIDTH) >> 4)}")
    return "|".join(words) + "|" + _modes(names.CONTROL_MODES, bits & ~(_SPEED | _SPEED << _INPUT_SHIFT | _WIDTH))


def _settings(view: View, modes: tuple[int, int, int, int], line: int, characters: bytes, speeds: bytes = b"") -> str:
    words = [("c_iflag", _modes(names.INPUT_MODES, modes[0])), ("c_oflag", _output(modes[1])), ("c_cflag", _control(modes[2])),
             ("c_lflag", _modes(names.LOCAL_MODES, modes[3]))]  # fmt: skip
    if not view.style.verbose:
        return fields(*words, more=True)
    keys = ", ".join(f"[{names.CHARACTERS.get(at, at)}]={number(byte)}" for at, byte in enumerate(characters))
    words += [("c_line", name_of(names.LINE_DISCIPLINES, line, "N_???")), ("c_cc", f"[{keys}]")]
    if speeds:
        words += zip(("c_ispeed", "c_ospeed"), unpack_from("<II", speeds), strict=True)
    return fields(*words)


def termios(view: View, data: bytes) -> str:
    """A struct termios, 36 bytes, or termios2, 44 bytes, as the kernel has them."""
    return _settings(view, unpack_from("<IIII", data), data[16], data[17:36], data[36:44])


def termio(view: View, data: bytes) -> str:
    """A struct termio, 18 bytes."""
    return _settings(view, unpack_from("<HHHH", data), data[8], data[9:17])


def window(view: View, data: bytes) -> str:
    """A struct winsize, 8 bytes."""
    return fields(*zip(("ws_row", "ws_col", "ws_xpixel", "ws_ypixel"), unpack_from("<HHHH", data), strict=True))
