"""How the calls about what a process may do read: who it is, capabilities, seccomp, Landlock, keys, security modules."""

from __future__ import annotations

import struct

from abi.decoding.constants import security as names
from abi.decoding.shapes import bytes_in_hex
from abi.decoding.values import (
    ERRNO_NAMES,
    Signature,
    View,
    array,
    at_end,
    buffer,
    call,
    decimal,
    described,
    descriptor,
    fields,
    flags,
    flags_of,
    from_kernel,
    hex32,
    hexadecimal,
    identity,
    memory,
    name_of,
    new_descriptor,
    one_of,
    out,
    plain,
    pointer,
    signed32,
    size,
    text,
    to,
    unsigned,
)

_MOST_GROUPS = 65536  # NGROUPS_MAX

# -- who --------------------------------------------------------------------------------------------


def _id(view: View, data: bytes) -> str:
    return identity(view, int.from_bytes(data, "little"))


def _groups(view: View, address: int, count: int) -> str:
    if count > _MOST_GROUPS:
        return pointer(view, address)
    return array(view, address, count, 4, _id)


def _given_groups(view: View, value: int) -> str:
    count = signed32(view.args[0])
    return pointer(view, value) if count < 0 else _groups(view, value, count)


def _found_groups(view: View, value: int) -> str:
    return _groups(view, value, view.value)


_id_cell = from_kernel(4, lambda view, data: f"[{_id(view, data)}]")
_nothing = call()

# -- capabilities -----------------------------------------------------------------------------------

_LOW = {1 << bit: f"1<<{name}" for bit, name in names.CAPABILITIES.items() if bit < 32}
_HIGH = {1 << bit - 32: f"1<<{name}" for bit, name in names.CAPABILITIES.items() if bit >= 32}


def _cap_header(view: View, data: bytes) -> str:
    version, pid = struct.unpack("<Ii", data)
    return fields(
        ("version", name_of(names.CAPABILITY_VERSIONS, version, "_LINUX_CAPABILITY_VERSION_???")), ("pid", pid)
    )


def _cap_set(low: int, high: int) -> str:
    words = [flags_of(table, half, "CAP_???") for table, half in ((_LOW, low), (_HIGH, high)) if half]
    return "|".join(words) or "0"


def _cap_data(view: View, value: int) -> str:
    """One or two halves, as the version in the header says."""
    version = names.CAPABILITY_VERSIONS.get(view.integer(view.args[0], 4))
    has_two = version is not None and not version.endswith("_1")
    data = view.bytes(value, 24 if has_two else 12)
    if data is None:
        return pointer(view, value)
    halves = struct.unpack("<6I", data.ljust(24, b"\0"))
    kinds = ("effective", "permitted", "inheritable")
    return fields(*((kind, _cap_set(halves[index], halves[index + 3])) for index, kind in enumerate(kinds)))


# -- seccomp ----------------------------------------------------------------------------------------


def _seccomp_operation(view: View) -> str | None:
    return names.SECCOMP.get(view.args[0] & 0xFFFFFFFF)


def _seccomp_flags(view: View, value: int) -> str:
    if _seccomp_operation(view) == "SECCOMP_SET_MODE_FILTER":
        return flags_of(names.SECCOMP_FILTER_FLAGS, value & 0xFFFFFFFF, "SECCOMP_FILTER_FLAG_???")
    return hex32(view, value)


def seccomp_filter(view: View, data: bytes) -> str:
    """A struct sock_fprog, 16 bytes, for seccomp(2) and prctl(2): its instructions with -v."""
    return _program(view, data, _seccomp_instruction)


def socket_filter(view: View, data: bytes) -> str:
    """As `seccomp_filter`, for setsockopt(2): what it returns is a number of bytes."""
    return _program(view, data, _instruction)


def _program(view: View, data: bytes, show) -> str:
    length, address = struct.unpack("<H6xQ", data)
    shown = array(view, address, length, 8, show) if view.style.verbose else pointer(view, address)
    return fields(("len", length), ("filter", shown))


def _seccomp_argument(view: View, value: int) -> str:
    match _seccomp_operation(view):
        case "SECCOMP_SET_MODE_FILTER":
            return to(16, seccomp_filter)(view, value)
        case "SECCOMP_GET_ACTION_AVAIL":
            return to(4, lambda view, data: f"[{_action(int.from_bytes(data, 'little'))}]")(view, value)
        case "SECCOMP_GET_NOTIF_SIZES":
            return from_kernel(6, _notification_sizes)(view, value)
    return pointer(view, value)


def _notification_sizes(view: View, data: bytes) -> str:
    return fields(*zip(("seccomp_notif", "seccomp_notif_resp", "seccomp_data"), struct.unpack("<3H", data), strict=True))


def _action(value: int) -> str:
    return name_of(names.SECCOMP_RETURNS, value, "SECCOMP_RET_???")


def _instruction(view: View, data: bytes) -> str:
    """A struct sock_filter of classic BPF, as the macros that would make it."""
    code, on_true, on_false, value = struct.unpack("<HBBI", data)
    if on_true or on_false:
        return f"BPF_JUMP({_code(code)}, {hex32(view, value)}, {hex32(view, on_true)}, {hex32(view, on_false)})"
    return f"BPF_STMT({_code(code)}, {hex32(view, value)})"


def _seccomp_instruction(view: View, data: bytes) -> str:
    code, on_true, on_false, value = struct.unpack("<HBBI", data)
    if on_true or on_false or names.BPF_CLASSES[code & 7] != "BPF_RET":
        return _instruction(view, data)
    low = value & 0xFFFF
    return f"BPF_STMT({_code(code)}, {_action(value & 0xFFFF0000)}{f'|{low:#x}' if low else ''})"


def _code(code: int) -> str:
    words = [names.BPF_CLASSES[code & 7]]
    rest = code & 0xF8
    for mask, table in names.BPF_PARTS[words[0]]:
        words.append(name_of(table, rest & mask, "BPF_???"))
        rest &= ~mask
    words += [f"{bits:#x} /* BPF_??? */" for bits in (rest, code & 0xFF00) if bits]
    return "|".join(words)


def _seccomp_result(view: View, value: int) -> str:
    if _seccomp_operation(view) == "SECCOMP_SET_MODE_FILTER" and view.args[1] & 8:  # NEW_LISTENER
        return new_descriptor(view, value)
    return plain(view, value)


# -- Landlock ---------------------------------------------------------------------------------------


def _ruleset(view: View, value: int) -> str:
    """struct landlock_ruleset_attr: what later kernels added to it is left out."""
    length = view.args[1]
    data = view.bytes(value, 8) if length >= 8 else None
    if data is None:
        return pointer(view, value)
    handled = flags_of(names.LANDLOCK_FS, int.from_bytes(data, "little"), "LANDLOCK_ACCESS_FS_???")
    return fields(("handled_access_fs", handled), more=length > 8)


def _ruleset_result(view: View, value: int) -> str:
    return plain(view, value) if view.args[2] & 0xFFFFFFFF else new_descriptor(view, value)


def _path_beneath(view: View, data: bytes) -> str:
    allowed, parent = struct.unpack("<Qi", data)
    access = flags_of(names.LANDLOCK_FS, allowed, "LANDLOCK_ACCESS_FS_???")
    return fields(("allowed_access", access), ("parent_fd", described(view, parent)))


def _rule(view: View, value: int) -> str:
    kind = names.LANDLOCK_RULES.get(view.args[1] & 0xFFFFFFFF)
    return to(12, _path_beneath)(view, value) if kind == "LANDLOCK_RULE_PATH_BENEATH" else pointer(view, value)


# -- keys -------------------------------------------------------------------------------------------


def key(view: View, value: int) -> str:
    """A key's serial number, or the name of one of the caller's keyrings."""
    number = signed32(value)
    return names.KEY_SPECIALS.get(number) or str(number)


def _default_keyring(view: View, value: int) -> str:
    number = signed32(value)
    return names.KEY_DEFAULTS.get(number) or f"{number} /* KEY_REQKEY_DEFL_??? */"


def _why(view: View, value: int) -> str:
    return ERRNO_NAMES.get(value & 0xFFFFFFFF) or unsigned(view, value)


def _dh_params(view: View, data: bytes) -> str:
    private, prime, base = struct.unpack("<iii", data)
    return fields(("private", key(view, private)), ("prime", key(view, prime)), ("base", key(view, base)))


def _key_abilities(view: View, value: int) -> str:
    """One byte of flags after the other, those that are there."""
    data = view.bytes(value, min(view.value, view.args[2], 64))
    if data is None:
        return pointer(view, value)
    tables = (names.KEYCTL_CAPS0, names.KEYCTL_CAPS1)
    words = [flags_of(table, byte, "KEYCTL_CAPS_???") for byte, table in zip(data, tables, strict=False)]
    return f"[{', '.join(words + [hex32(view, byte) for byte in data[2:]])}]"


def _key_text(view: View, value: int) -> str:
    """What the kernel wrote, without its NUL; the call returns how much there is, which may be more."""
    return memory(view, value, min(view.value, view.args[3]))


_key_buffer = buffer(3)
_permissions = flags(names.KEY_PERMISSIONS, "KEY_???")
_keyctl_operation = one_of(names.KEYCTL, "KEYCTL_???")
#: Printers of the arguments behind the operation.
_KEYCTL = {
    "KEYCTL_GET_KEYRING_ID": (key, decimal),
    "KEYCTL_JOIN_SESSION_KEYRING": (text,),
    "KEYCTL_UPDATE": (key, _key_buffer, size),
    "KEYCTL_REVOKE": (key,),
    "KEYCTL_CHOWN": (key, identity, identity),
    "KEYCTL_SETPERM": (key, _permissions),
    "KEYCTL_DESCRIBE": (key, out(_key_text), size),
    "KEYCTL_CLEAR": (key,),
    "KEYCTL_LINK": (key, key),
    "KEYCTL_UNLINK": (key, key),
    "KEYCTL_SEARCH": (key, text, text, key),
    "KEYCTL_READ": (key, out(_key_text), size),
    "KEYCTL_INSTANTIATE": (key, _key_buffer, size, key),
    "KEYCTL_NEGATE": (key, unsigned, key),
    "KEYCTL_SET_REQKEY_KEYRING": (_default_keyring,),
    "KEYCTL_SET_TIMEOUT": (key, unsigned),
    "KEYCTL_ASSUME_AUTHORITY": (key,),
    "KEYCTL_GET_SECURITY": (key, out(_key_text), size),
    "KEYCTL_SESSION_TO_PARENT": (),
    "KEYCTL_REJECT": (key, unsigned, _why, key),
    "KEYCTL_INSTANTIATE_IOV": (key, pointer, size, key),
    "KEYCTL_INVALIDATE": (key,),
    "KEYCTL_GET_PERSISTENT": (unsigned, key),
    "KEYCTL_DH_COMPUTE": (to(12, _dh_params), pointer, size, pointer),
    "KEYCTL_PKEY_QUERY": (key, hexadecimal, text, pointer),
    "KEYCTL_RESTRICT_KEYRING": (key, text, text),
    "KEYCTL_MOVE": (key, key, key, flags(names.KEYCTL_MOVE, "KEYCTL_MOVE_???")),
    "KEYCTL_CAPABILITIES": (out(_key_abilities), size),
}
_KEYCTL_UNKNOWN = (hexadecimal,) * 4


def _keyctl_argument(index: int):
    def printer(view: View, value: int) -> str | None:
        printers = _KEYCTL.get(names.KEYCTL.get(view.args[0] & 0xFFFFFFFF), _KEYCTL_UNKNOWN)
        return printers[index](view, value) if index < len(printers) else None

    return at_end(printer)


def _random(view: View, value: int) -> str:
    """What is certainly no text."""
    limit = view.style.strings
    data = view.bytes(value, min(view.value, limit))
    return pointer(view, value) if data is None else bytes_in_hex(data) + ("..." if view.value > limit else "")


# -- security modules -------------------------------------------------------------------------------

_lsm_attribute = one_of(names.LSM_ATTRIBUTES, "LSM_ATTR_???")
_length_cell = from_kernel(4, lambda view, data: f"[{int.from_bytes(data, 'little')}]")

CALLS: dict[str, Signature] = {
    "add_key": call(text, text, buffer(3), size, key),
    "capget": call(to(8, _cap_header), out(_cap_data)),
    "capset": call(to(8, _cap_header), _cap_data),
    "getegid": _nothing,
    "geteuid": _nothing,
    "getgid": _nothing,
    "getgroups": call(decimal, out(_found_groups)),
    "getrandom": call(out(_random), size, flags(names.RANDOM, "GRND_???")),
    "getresgid": call(_id_cell, _id_cell, _id_cell),
    "getresuid": call(_id_cell, _id_cell, _id_cell),
    "getuid": _nothing,
    "keyctl": call(_keyctl_operation, *map(_keyctl_argument, range(4))),
    "landlock_add_rule": call(descriptor, one_of(names.LANDLOCK_RULES, "LANDLOCK_RULE_???"), _rule, hex32),
    "landlock_create_ruleset": call(
        _ruleset, size, flags(names.LANDLOCK_CREATE, "LANDLOCK_CREATE_RULESET_???"), result=_ruleset_result
    ),
    "landlock_restrict_self": call(descriptor, hex32),
    "lsm_get_self_attr": call(_lsm_attribute, pointer, _length_cell, hex32),
    "lsm_list_modules": call(pointer, _length_cell, hex32),
    "lsm_set_self_attr": call(_lsm_attribute, pointer, size, hex32),
    "request_key": call(text, text, text, key),
    "seccomp": call(
        one_of(names.SECCOMP, "SECCOMP_SET_MODE_???"), _seccomp_flags, at_end(_seccomp_argument), result=_seccomp_result
    ),
    "setfsgid": call(identity),
    "setfsuid": call(identity),
    "setgid": call(identity),
    "setgroups": call(decimal, _given_groups),
    "setregid": call(identity, identity),
    "setresgid": call(identity, identity, identity),
    "setresuid": call(identity, identity, identity),
    "setreuid": call(identity, identity),
    "setuid": call(identity),
}
