"""Where a sink writes: a file it opens itself or a descriptor it was handed, as bytes or as lines of JSON.

A log is full of bytes that came from files, names above all, and these need not be UTF-8; what is written always is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache

from abi.messages import say
from vfs import kernel

_LARGE = 1 << 16
_LONE = re.compile("[\ud800-\udfff]")


def write_all(fd: int, data: bytes) -> bool:
    """Whether the kernel took everything.  What it does not take is lost, and said once: the tasks are to go on."""
    try:
        kernel.write_all(fd, data)
    except OSError as problem:
        if not isinstance(problem, BrokenPipeError):
            say(f"the log ends here: {problem.strerror.lower()}")
        return False
    return True


class Output:
    """Bytes to a path, which is created or emptied at once, or to an open descriptor, which stays open.  ``OSError``.

    Where no more can be written, that is said once on the standard error, and the program goes on without its log; a
    reader that has gone away knows it itself.
    """

    __slots__ = ("_buffer", "_lost", "_owned", "_size", "fd")

    def __init__(self, where: int | str | os.PathLike) -> None:
        self._owned = not isinstance(where, int)
        self.fd = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666) if self._owned else where
        self._buffer: list[bytes] = []
        self._size = 0
        self._lost = False

    def write(self, data: bytes) -> None:
        """Some bytes, at the latest with the kernel at `flush`."""
        self._buffer.append(data)
        self._size += len(data)
        if self._size > _LARGE:
            self.flush()

    def flush(self) -> None:
        """Everything so far is with the kernel."""
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        self._lost = self._lost or not write_all(self.fd, data)

    def close(self) -> None:
        """The end of the log; a second time it does nothing."""
        self.flush()
        if self._owned:
            self._owned = False
            os.close(self.fd)


def _escaped(match: re.Match) -> str:
    code = ord(match[0])
    return f"\\x{code & 0xFF:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def clean(text: str) -> str:
    """The text with bytes that were not UTF-8 written as ``\\xNN``."""
    return text if text.isascii() else _LONE.sub(_escaped, text)


@cache
def _encoder() -> Callable[[object], str]:
    import json  # not at the top: most logs are lines, and it takes a while

    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def as_json(value) -> str:
    """One line of JSON that UTF-8 can hold, with bytes that were not UTF-8 as ``\\xNN``."""
    text = _encoder()(value)
    return text if text.isascii() else _LONE.sub(lambda match: "\\" + _escaped(match), text)
