"""arch_prctl(2), which every program of the C library calls first of all: what the other calls with commands need is not
imported for it."""

from __future__ import annotations

from abi.decoding.chosen import Chosen
from abi.decoding.constants import control as names
from abi.decoding.shapes import short_hex
from abi.decoding.values import Printer, Signature, View, flags_of, from_kernel, hexadecimal, one_of, pointer


def _pointer_got(view: View, data: bytes) -> str:
    return f"[{pointer(view, int.from_bytes(data, 'little'))}]"


def _components(view: View, data: bytes) -> str:
    bits = int.from_bytes(data, "little")
    return f"[{short_hex(bits)} /* {flags_of(names.COMPONENT_SETS, bits, 'XFEATURE_MASK_???')} */]" if bits else "[0]"


def _component(view: View, value: int) -> str:
    return f"{short_hex(value)} /* {names.COMPONENTS.get(value, 'XFEATURE_???')} */"


_ARCH: dict[int, tuple[Printer, ...]] = {
    0x1003: (from_kernel(8, _pointer_got),), 0x1004: (from_kernel(8, _pointer_got),), 0x1011: (),
    0x1021: (from_kernel(8, _components),), 0x1022: (from_kernel(8, _components),), 0x1023: (_component,),
    0x1024: (from_kernel(8, _components),), 0x1025: (_component,),
}  # fmt: skip

CALLS: dict[str, Signature] = {
    "arch_prctl": Chosen(one_of(names.ARCH_COMMANDS, "ARCH_???"),
                         choose=lambda view: _ARCH.get(view.args[0] & 0xFFFFFFFF, (hexadecimal,))),
}  # fmt: skip
