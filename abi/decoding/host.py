"""How the calls of int80's own host ABI read."""

from __future__ import annotations

from abi.decoding.values import Signature, buffer, call, decimal, descriptor, size

CALLS: dict[str, Signature] = {
    "exit": call(decimal),
    "write": call(descriptor, buffer(2), size),
}
