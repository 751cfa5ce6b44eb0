"""How the calls about a task's own memory read: mappings, locks, advice, NUMA policies, protection keys."""

from __future__ import annotations

from abi.decoding.constants import memory as names
from abi.decoding.values import (
    ERRNO_NAMES,
    U64,
    Signature,
    View,
    address,
    array,
    call,
    decimal,
    descriptor,
    flags,
    flags_of,
    hexadecimal,
    new_descriptor,
    one_of,
    out,
    pointer,
    size,
    to,
)

_PAGE = 4096
_MOST = 1 << 16  # elements of an array that are looked at, whatever count the caller gives
_HUGE_SHIFT = 26
_WORD = 64  # bits

# -- mappings ---------------------------------------------------------------------------------------


def _map_flags(view: View, value: int) -> str:
    """A type in the low four bits, flags, and in the high six the size of huge pages, as its logarithm."""
    value &= 0xFFFFFFFF
    words = _known_map_flags.get(value)
    if words is None:
        words = "|".join(_map_words(value))
        if len(_known_map_flags) < 256:
            _known_map_flags[value] = words
    return words


_known_map_flags: dict[int, str] = {}


def _map_words(value: int) -> list[str]:
    kind, rest, huge = value & 0xF, value & ~0xF & (1 << _HUGE_SHIFT) - 1, value >> _HUGE_SHIFT
    words = [names.MAP_TYPES.get(kind) or f"{kind:#x} /* MAP_??? */"]
    for bit, name in names.MAP_FLAGS.items():
        if rest & bit:
            words.append(name)
            rest &= ~bit
    if rest:
        words.append(hex(rest))
    if huge:
        words.append(f"{huge}<<MAP_HUGE_SHIFT")
    return words


def _new_address(view: View, value: int) -> str | None:
    """mremap's fifth argument, which counts only with MREMAP_MAYMOVE and MREMAP_FIXED."""
    return pointer(view, value) if view.args[3] & 3 == 3 else None


def _residence(view: View, value: int) -> str:
    """A byte for each page, of which the lowest bit alone means something; mincore(2)."""
    pages = -(-view.args[1] // _PAGE)
    return array(view, value, min(pages, _MOST), 1, lambda view, data: str(data[0] & 1))


# -- NUMA -------------------------------------------------------------------------------------------


def _policy(bits: int):
    """A memory policy: a mode and flags in one number of `bits` bits."""
    mask = (1 << bits) - 1

    def printer(view: View, value: int) -> str:
        value &= mask
        added = value & 0xE000
        mode = names.POLICIES.get(value ^ added)
        if mode is None:
            return flags_of(names.POLICY_FLAGS, value, "MPOL_???")
        return f"{mode}|{flags_of(names.POLICY_FLAGS, added, '')}" if added else mode

    return printer


def _nodes(count_at: int):
    """A set of nodes; argument `count_at` is one more than the number of its bits, as the kernel takes it."""

    def printer(view: View, value: int) -> str:
        count = view.args[count_at]
        words = (count + _WORD - 2 & U64) // _WORD
        if count and not words:
            return pointer(view, value)
        return array(view, value, min(words, _MOST), 8, _nodes_word)

    return printer


def _nodes_word(view: View, data: bytes) -> str:
    word = int.from_bytes(data, "little")
    return f"{word:#016x}" if word else "0" * 16


def _elements(length: int, show):
    """An array of as many elements as argument 1 of move_pages says."""
    return lambda view, value: array(view, value, min(view.args[1], _MOST), length, show)


def _page_status(view: View, data: bytes) -> str:
    """The node a page is on, or a negative errno."""
    number = int.from_bytes(data, "little", signed=True)
    return f"-{ERRNO_NAMES[-number]}" if -number in ERRNO_NAMES else str(number)


# ---------------------------------------------------------------------------------------------------

_protection = flags(names.PROTECTIONS, "PROT_???", 64)
_policy_mode = to(4, lambda view, data: f"[{_policy(32)(view, int.from_bytes(data, 'little'))}]")

CALLS: dict[str, Signature] = {
    "mmap": call(pointer, size, _protection, _map_flags, descriptor, hexadecimal, result=address),
    "munmap": call(pointer, size),
    "mprotect": call(pointer, size, _protection),
    "mremap": call(pointer, size, size, flags(names.MREMAP, "MREMAP_???", 64), _new_address, result=address),
    "brk": call(pointer, result=address),
    "msync": call(pointer, size, flags(names.MSYNC, "MS_???")),
    "madvise": call(pointer, size, one_of(names.ADVICE, "MADV_???")),
    "mincore": call(pointer, size, out(_residence)),
    "mlock": call(pointer, size),
    "mlock2": call(pointer, size, flags(names.MLOCK, "MLOCK_???")),
    "munlock": call(pointer, size),
    "mlockall": call(flags(names.MLOCKALL, "MCL_???")),
    "munlockall": call(),
    "remap_file_pages": call(pointer, size, _protection, size, _map_flags),
    "mseal": call(pointer, size, hexadecimal),
    "map_shadow_stack": call(pointer, size, flags(names.SHADOW_STACK, "SHADOW_STACK_???"), result=address),
    "userfaultfd": call(flags(names.USERFAULTFD, "UFFD_???"), result=new_descriptor),
    "pkey_alloc": call(hexadecimal, flags(names.KEY_RIGHTS, "PKEY_???", 64)),
    "pkey_free": call(decimal),
    "pkey_mprotect": call(pointer, size, _protection, decimal),
    # NUMA.
    "mbind": call(pointer, size, _policy(64), _nodes(4), size, flags(names.MBIND, "MPOL_???")),
    "set_mempolicy": call(_policy(32), _nodes(2), size),
    "get_mempolicy": call(out(_policy_mode), out(_nodes(2)), size, pointer, flags(names.POLICY_QUESTIONS, "MPOL_???", 64)),
    "set_mempolicy_home_node": call(pointer, size, size, hexadecimal),
    "migrate_pages": call(decimal, size, _nodes(1), _nodes(1)),
    "move_pages": call(
        decimal,
        size,
        _elements(8, lambda view, data: pointer(view, int.from_bytes(data, "little"))),
        _elements(4, lambda view, data: str(int.from_bytes(data, "little", signed=True))),
        out(_elements(4, _page_status)),
        flags(names.MOVE_PAGES, "MPOL_???"),
    ),
}
