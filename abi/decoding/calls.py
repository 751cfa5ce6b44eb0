"""All signatures by the call's name, gathered from the area modules; what is in none of them prints its registers."""

from __future__ import annotations

from importlib import import_module

from abi.decoding.values import Signature, call, hexadecimal

_AREAS = (
    "files", "processes", "signals", "scheduling", "security", "system", "tracing", "probes", "memory", "ipc", "clocks",
    "waiting", "aio", "rings", "network", "control",
)  # fmt: skip

#: A call that nobody has described: six numbers in hex.
UNKNOWN = call(hexadecimal, hexadecimal, hexadecimal, hexadecimal, hexadecimal, hexadecimal)


def _gather() -> dict[str, Signature]:
    found: dict[str, Signature] = {}
    for area in _AREAS:
        try:
            found |= import_module(f"abi.decoding.{area}").CALLS
        except ModuleNotFoundError:
            continue
    return found


SIGNATURES: dict[str, Signature] = _gather()
