"""Calls as the trace shows them, with no tracer: signatures read a made-up memory.

`Decoded.show` makes one line of a call; `random_calls` throws random registers and memory at signatures, which must
print something whatever they meet.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from fakes import BAD, Memory

from abi.decoding.values import U64, Signature, Style, View, result_of


class Decoded:
    """A task whose memory holds what tests put into it; `files` says what its descriptors are of (-y)."""

    def __init__(self, signatures: dict[str, Signature], **style) -> None:
        self.signatures = signatures
        self.memory = Memory()
        self.style = Style(**style)
        self.files: dict[int, str] = {}

    def show(
        self,
        name: str,
        *args: int | bytes,
        value: int = 0,
        error: int = 0,
        meanwhile: Callable[[View], object] | None = None,
    ) -> str:
        """A line of the trace.  Bytes are put into memory; `meanwhile` is what the kernel does."""
        numbers = [self.memory.put(arg) if isinstance(arg, bytes) else arg & U64 for arg in args]
        view = View(0, (*numbers, *[0] * (6 - len(numbers))), self.memory, self.style, self.files.get)
        signature = self.signatures[name]
        words = signature.early(view)
        if meanwhile is not None:
            meanwhile(view)
        view.value, view.error = (-error, error) if error else (value, 0)
        words += signature.late(view)
        return f"{name}({', '.join(words)}) = {result_of(signature, view)}"


def random_calls(signatures: dict[str, Signature], seed: int, times: int) -> None:
    """Every signature `times` times over, in both styles; what a printer raises fails the test."""
    chance = random.Random(seed)
    memory = Memory()
    places = [memory.put(chance.randbytes(4096 * pages)) for pages in (1, 2)]
    places += [memory.put(bytes(4096)), memory.put(b"\xff" * 4096)]
    pointers = [memory.put(b"".join(chance.choice(places).to_bytes(8, "little") for _ in range(64)))]

    def number() -> int:
        match chance.randrange(6):
            case 0:
                return chance.randrange(70)
            case 1:
                return chance.choice((0, U64, 1 << 63, (1 << 63) - 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, BAD, 1 << 47))
            case 2:
                return chance.getrandbits(chance.choice((8, 16, 32, 64)))
            case 3:
                return chance.choice(pointers) + chance.choice((0, 0, 8, 496, 505))
            case _:
                return chance.choice(places) + chance.choice((0, 0, 16, 4000, 4090, 4095))

    for name, signature in signatures.items():
        for _ in range(times):
            style = Style(chance.choice((0, 5, 32)), chance.randrange(3), chance.random() < 0.3)
            view = View(0, tuple(number() for _ in range(6)), memory, style, {3: "/etc/passwd"}.get)
            words = signature.early(view)
            view.error = chance.choice((0, 0, 4, 14, 22, 512, 516))
            view.value = -view.error if view.error else chance.choice((0, 1, 3, 40, number() & (1 << 63) - 1))
            words += signature.late(view)
            assert all(isinstance(word, str) for word in words), name
            assert isinstance(result_of(signature, view), str), name
