"""The data that calls read and write, whole, in hexadecimal and ASCII below the call (strace's -e read= and -e write=)."""

from __future__ import annotations

from collections.abc import Iterator

from abi.decoding.values import View, signed32
from tracer.log.choice import Choice

_READ = frozenset(("read", "pread64", "recvfrom", "readv", "preadv", "preadv2", "recvmsg"))
_WRITTEN = frozenset(("write", "pwrite64", "sendto", "writev", "pwritev", "pwritev2", "sendmsg"))
_VECTORS = frozenset(("readv", "preadv", "preadv2", "writev", "pwritev", "pwritev2"))
_MESSAGES = frozenset(("recvmsg", "sendmsg"))
_CHUNK = 1 << 16
_MANY = 1024  # buffers in one call, UIO_MAXIOV
_SHOWN = bytes(byte if 32 <= byte < 127 else 46 for byte in range(256))


def dump(choice: Choice, name: str, view: View) -> str:
    """The lines below a call that has returned; none where its descriptor was not chosen, or it failed."""
    fd = signed32(view.args[0])
    if view.error or not ((name in _READ and fd in choice.read) or (name in _WRITTEN and fd in choice.written)):
        return ""
    if name not in _VECTORS and name not in _MESSAGES:
        return "".join(_lines(view, view.args[1], view.value if name in _READ else view.args[2]))
    address, count = view.args[1:3]
    if name in _MESSAGES:
        address, count = view.integer(view.args[1] + 16, 8), view.integer(view.args[1] + 24, 8)
    return "".join(_buffers(view, address or 0, min(count or 0, _MANY), view.value if name in _READ else None))


def _buffers(view: View, address: int, count: int, filled: int | None) -> Iterator[str]:
    """An array of ``struct iovec``; `filled`: how many bytes of it count, None for all."""
    for index in range(count):
        base, size = (view.integer(address + 16 * index + offset, 8) for offset in (0, 8))
        if base is None or size is None or filled == 0:
            return
        if filled is not None:
            size = min(size, filled)
            filled -= size
        yield f" * {size} bytes in buffer {index}\n"
        yield from _lines(view, base, size)


def _lines(view: View, address: int, size: int) -> Iterator[str]:
    for start in range(0, size, _CHUNK):
        data = view.memory.read_some(address + start, min(_CHUNK, size - start))
        for offset in range(0, len(data), 16):
            row = data[offset : offset + 16]
            shown = row.translate(_SHOWN).decode()
            yield f" | {start + offset:05x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {shown:<16} |\n"
