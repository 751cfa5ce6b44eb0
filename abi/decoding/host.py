"""How the calls of int80's own host ABI read."""

from __future__ import annotations

from abi.decoding.signals import signal_name
from abi.decoding.values import Signature, View, array, buffer, call, decimal, descriptor, memory, out, path, size


def _state(view: View, value: int) -> str:
    """As much as was written of the state, whose whole length is the result."""
    return memory(view, value, min(view.value, view.args[2]))


def _numbers(view: View, value: int) -> str:
    return array(view, value, min(view.value, view.args[1]), 4, lambda view, data: str(int.from_bytes(data, "little")))


CALLS: dict[str, Signature] = {
    "container_create": call(path),
    "container_delete": call(decimal),
    "container_kill": call(decimal, lambda view, value: signal_name(value)),
    "container_list": call(out(_numbers), size),
    "container_start": call(decimal),
    "container_state": call(decimal, out(_state), size),
    "container_wait": call(decimal),
    "exit": call(decimal),
    "write": call(descriptor, buffer(2), size),
}
