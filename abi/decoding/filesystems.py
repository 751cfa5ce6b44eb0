"""Calls about file systems as a whole: their figures, mounting in its two generations, swap, accounting, quotas."""

from __future__ import annotations

import struct

from abi.decoding.constants.files import (
    FILE_SYSTEMS,
    FSCONFIG_COMMANDS,
    FSMOUNT_FLAGS,
    FSOPEN_FLAGS,
    FSPICK_FLAGS,
    LISTMOUNT_FLAGS,
    MOUNT_AT_FLAGS,
    MOUNT_ATTRIBUTES,
    MOUNT_FLAGS,
    MOVE_MOUNT_FLAGS,
    MS_MGC_MASK,
    MS_MGC_VAL,
    OPEN_TREE_FLAGS,
    PROPAGATION,
    QUOTA_COMMANDS,
    QUOTA_FORMATS,
    QUOTA_INFO_FLAGS,
    QUOTA_INFO_VALID,
    QUOTA_TYPES,
    QUOTA_VALID,
    STATFS_FLAGS,
    STATMOUNT_MASK,
    SWAP_FLAGS,
    UMOUNT_FLAGS,
    XFS_QUOTA_FLAGS,
    XFS_QUOTA_TYPES,
)
from abi.decoding.shapes import bytes_in_hex, device, growing, short_hex
from abi.decoding.values import (
    Printer,
    Signature,
    View,
    array,
    at_end,
    call,
    decimal,
    descriptor,
    dirfd,
    fields,
    flags,
    flags_of,
    from_kernel,
    hexadecimal,
    identity,
    name_of,
    new_descriptor,
    one_of,
    out,
    path,
    pointer,
    signed32,
    size,
    text,
    to,
    unsigned,
)

_BLOB_MAX = 1 << 20  # what fsconfig takes

# -- figures ----------------------------------------------------------------------------------------


def _statfs(view: View, data: bytes) -> str:
    """struct statfs (statfs(2)) of x86-64; f_flags is there if it says so itself."""
    kind, *numbers, first, second, name_length, fragment, mount = struct.unpack_from("<7Q2I3Q", data)
    names = ("f_bsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree")
    pairs = [
        ("f_type", FILE_SYSTEMS.get(kind) or short_hex(kind)),
        *zip(names, numbers, strict=True),
        ("f_fsid", f"{{val=[{short_hex(first)}, {short_hex(second)}]}}"),
        ("f_namelen", name_length),
        ("f_frsize", fragment),
    ]
    if mount & 0x20:
        pairs.append(("f_flags", flags_of(STATFS_FLAGS, mount, "ST_???")))
    return fields(*pairs)


_figures = from_kernel(120, _statfs)


def _device_number(view: View, value: int) -> str:
    return device(value & 0xFFFFFFFF)


# -- mount(2) ---------------------------------------------------------------------------------------

_MS_REMOUNT = 1 << 5
_MS_SET = 1 << 12 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20  # bind, move, the four kinds of propagation


def _has_magic(value: int) -> bool:
    """Whether the upper half is the magic number that flags had to have before Linux 2.4."""
    return value & MS_MGC_MASK == MS_MGC_VAL


def _mount_flags(view: View, value: int) -> str:
    if not _has_magic(value):
        return flags_of(MOUNT_FLAGS, value, "MS_???")
    rest = value & ~MS_MGC_MASK
    return f"MS_MGC_VAL|{flags_of(MOUNT_FLAGS, rest, 'MS_???')}" if rest else "MS_MGC_VAL"


def _mounting(view: View) -> int:
    """mount's flags without the magic number."""
    value = view.args[3]
    return value & ~MS_MGC_MASK if _has_magic(value) else value


def _mount_type(view: View, value: int) -> str:
    """The file system's type, where the kernel looks at it."""
    return pointer(view, value) if _mounting(view) & (_MS_SET | _MS_REMOUNT) else text(view, value)


def _mount_data(view: View, value: int) -> str:
    """Options for the file system; remounting takes them too."""
    how = _mounting(view)
    return pointer(view, value) if how & _MS_SET and not how & _MS_REMOUNT else text(view, value)


# -- mounting in steps ------------------------------------------------------------------------------


def _fsconfig_key(view: View, value: int) -> str:
    return text(view, value) if view.args[1] & 0xFFFFFFFF <= 5 else pointer(view, value)


def _fsconfig_value(view: View, value: int) -> str:
    match view.args[1] & 0xFFFFFFFF:
        case 1:
            return text(view, value)
        case 2:
            return _blob(view, value, signed32(view.args[4]))
        case 3 | 4:
            return path(view, value)
    return pointer(view, value)


def _blob(view: View, address: int, length: int) -> str:
    if not address or not 0 <= length <= _BLOB_MAX:
        return pointer(view, address)
    limit = view.style.strings
    data = view.bytes(address, min(length, limit)) if length else b""
    if data is None:
        return hex(address)
    return bytes_in_hex(data) + ("..." if length > limit else "")


def _fsconfig_number(view: View, value: int) -> str:
    match view.args[1] & 0xFFFFFFFF:
        case 3 | 4:
            return dirfd(view, value)
        case 5:
            return descriptor(view, value)
    return decimal(view, value)


def _mount_attributes(pointer_at: int) -> Printer:
    """struct mount_attr (mount_setattr(2)); its size is the argument behind it."""

    def printer(view: View, value: int) -> str:
        def show(data: bytes) -> str:
            added, cleared, propagation, userns = struct.unpack("<4Q", data)
            spread = PROPAGATION.get(propagation) or f"{short_hex(propagation)} /* MS_??? */"
            return ", ".join(
                [
                    f"attr_set={flags_of(MOUNT_ATTRIBUTES, added, 'MOUNT_ATTR_???')}",
                    f"attr_clr={flags_of(MOUNT_ATTRIBUTES, cleared, 'MOUNT_ATTR_???')}",
                    f"propagation={spread}",
                    f"userns_fd={descriptor(view, userns) if userns < 1 << 31 else userns}",
                ]
            )

        return growing(view, value, view.args[pointer_at + 1], 32, show)

    return printer


def _mount_request(show_param) -> Printer:
    """struct mnt_id_req of statmount and listmount (Linux 6.8)."""

    def printer(view: View, value: int) -> str:
        length = view.integer(value, 4)
        if length is None:
            return pointer(view, value)

        def show(data: bytes) -> str:
            number, mount, param = struct.unpack("<I4xQQ", data)
            return f"size={number}, mnt_id={short_hex(mount)}, param={show_param(param)}"

        return growing(view, value, length, 24, show)

    return printer


def _mount_ids(view: View, value: int) -> str:
    count = min(view.value, view.args[2])
    return array(view, value, min(count, 4096), 8, lambda view, data: hex(int.from_bytes(data, "little")))


# -- swap -------------------------------------------------------------------------------------------


def _swap_flags(view: View, value: int) -> str:
    """Flags, and the priority in the low 15 bits."""
    value &= 0xFFFFFFFF
    high, priority = value & ~0x7FFF, value & 0x7FFF
    return f"{flags_of(SWAP_FLAGS, high, 'SWAP_FLAG_???')}|{priority}" if high else str(priority)


# -- quotas -----------------------------------------------------------------------------------------


def _limits(view: View, data: bytes, has_id: bool) -> str:
    """struct if_dqblk, or if_nextdqblk (quotactl(2))."""
    names = ("bhardlimit", "bsoftlimit", "curspace", "ihardlimit", "isoftlimit", "curinodes", "btime", "itime")
    *numbers, valid = struct.unpack_from("<8QI", data)
    pairs = [(f"dqb_{name}", number) for name, number in zip(names, numbers, strict=True)]
    owner = [("dqb_id", int.from_bytes(data[68:72], "little"))] if has_id else []
    if not view.style.verbose:
        return fields(*pairs[:6], *owner, more=True)
    return fields(*pairs, ("dqb_valid", flags_of(QUOTA_VALID, valid, "QIF_???")), *owner)


def _quota_info(view: View, data: bytes) -> str:
    """struct if_dqinfo."""
    blocks, inodes, how, valid = struct.unpack("<2Q2I", data)
    return fields(
        ("dqi_bgrace", blocks),
        ("dqi_igrace", inodes),
        ("dqi_flags", flags_of(QUOTA_INFO_FLAGS, how, "DQF_???")),
        ("dqi_valid", flags_of(QUOTA_INFO_VALID, valid, "IIF_???")),
    )


def _quota_format(view: View, data: bytes) -> str:
    return f"[{name_of(QUOTA_FORMATS, int.from_bytes(data, 'little'), 'QFMT_VFS_???')}]"


def _xfs_limits(view: View, data: bytes) -> str:
    """struct fs_disk_quota (linux/dqblk_xfs.h)."""
    version, kind, mask, owner, *numbers = struct.unpack_from("<bbHI6Q2i2H4x3QiH", data)
    names = (
        *("d_blk_hardlimit", "d_blk_softlimit", "d_ino_hardlimit", "d_ino_softlimit", "d_bcount", "d_icount"),
        *("d_itimer", "d_btimer", "d_iwarns", "d_bwarns"),
        *("d_rtb_hardlimit", "d_rtb_softlimit", "d_rtbcount", "d_rtbtimer", "d_rtbwarns"),
    )
    shown = len(names) if view.style.verbose else 6
    return fields(
        ("d_version", version),
        ("d_flags", flags_of(XFS_QUOTA_TYPES, kind & 0xFF, "FS_???_QUOTA")),
        ("d_fieldmask", short_hex(mask)),
        ("d_id", owner),
        *zip(names[:shown], numbers[:shown], strict=True),
        more=not view.style.verbose,
    )


_XFS_TIMES = ("qs_btimelimit", "qs_itimelimit", "qs_rtbtimelimit", "qs_bwarnlimit", "qs_iwarnlimit")


def _xfs_file(name: str, data: bytes, at: int) -> tuple[str, str]:
    inode, blocks, extents = struct.unpack_from("<2QI", data, at)
    return name, fields(("qfs_ino", inode), ("qfs_nblks", blocks), ("qfs_nextents", extents))


def _xfs_state(view: View, data: bytes) -> str:
    """struct fs_quota_stat."""
    version, how = struct.unpack_from("<bxH", data)
    if not view.style.verbose:
        return fields(("qs_version", version), more=True)
    incore, *limits = struct.unpack_from("<I3i2H", data, 56)
    return fields(
        ("qs_version", version),
        ("qs_flags", flags_of(XFS_QUOTA_FLAGS, how, "FS_QUOTA_???")),
        _xfs_file("qs_uquota", data, 8),
        _xfs_file("qs_gquota", data, 32),
        ("qs_incoredqs", incore),
        *zip(_XFS_TIMES, limits, strict=True),
    )


def _xfs_state_v(view: View, data: bytes) -> str:
    """struct fs_quota_statv."""
    version, how, incore = struct.unpack_from("<bxHI", data)
    if not view.style.verbose:
        return fields(("qs_version", version), more=True)
    return fields(
        ("qs_version", version),
        ("qs_flags", flags_of(XFS_QUOTA_FLAGS, how, "FS_QUOTA_???")),
        ("qs_incoredqs", incore),
        *[_xfs_file(f"qs_{kind}quota", data, at) for kind, at in (("u", 8), ("g", 32), ("p", 56))],
        *zip(_XFS_TIMES, struct.unpack_from("<3i2H", data, 80), strict=True),
    )


def _xfs_kinds(table: dict[int, str], unknown: str) -> Printer:
    return to(4, lambda view, data: f"[{flags_of(table, int.from_bytes(data, 'little'), unknown)}]")


_format = one_of(QUOTA_FORMATS, "QFMT_VFS_???")
_get_limits = from_kernel(72, lambda view, data: _limits(view, data, has_id=False))
_get_xfs_limits = from_kernel(112, _xfs_limits)

#: What a command's id and its address are of; None is not shown.
_QUOTA_ARGUMENTS: dict[str, tuple[Printer | None, Printer | None]] = {
    "Q_SYNC": (None, None),
    "Q_QUOTAON": (_format, path),
    "Q_QUOTAOFF": (None, None),
    "Q_GETFMT": (None, from_kernel(4, _quota_format)),
    "Q_GETINFO": (None, from_kernel(24, _quota_info)),
    "Q_SETINFO": (None, to(24, _quota_info)),
    "Q_GETQUOTA": (identity, _get_limits),
    "Q_SETQUOTA": (identity, to(72, lambda view, data: _limits(view, data, has_id=False))),
    "Q_GETNEXTQUOTA": (identity, from_kernel(72, lambda view, data: _limits(view, data, has_id=True))),
    "Q_XQUOTAON": (None, _xfs_kinds(XFS_QUOTA_FLAGS, "FS_QUOTA_???")),
    "Q_XQUOTAOFF": (None, _xfs_kinds(XFS_QUOTA_FLAGS, "FS_QUOTA_???")),
    "Q_XGETQUOTA": (identity, _get_xfs_limits),
    "Q_XSETQLIM": (identity, to(112, _xfs_limits)),
    "Q_XGETQSTAT": (None, from_kernel(80, _xfs_state)),
    "Q_XQUOTARM": (None, _xfs_kinds(XFS_QUOTA_TYPES, "FS_???_QUOTA")),
    "Q_XQUOTASYNC": (None, None),
    "Q_XGETQSTATV": (None, from_kernel(160, _xfs_state_v)),
    "Q_XGETNEXTQUOTA": (identity, _get_xfs_limits),
}


def _quota_printers(command: int) -> tuple[Printer | None, Printer | None]:
    return _QUOTA_ARGUMENTS.get(QUOTA_COMMANDS.get((command & 0xFFFFFFFF) >> 8, ""), (identity, pointer))


def _quota_command(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    return f"QCMD({name_of(QUOTA_COMMANDS, value >> 8, 'Q_???')}, {name_of(QUOTA_TYPES, value & 0xFF, '???QUOTA')})"


def _quota_id(command_at: int) -> Printer:
    def printer(view: View, value: int) -> str | None:
        show = _quota_printers(view.args[command_at])[0]
        return show and show(view, value)

    return printer


def _quota_address(command_at: int) -> Printer:
    def printer(view: View, value: int) -> str | None:
        show = _quota_printers(view.args[command_at])[1]
        return show and show(view, value)

    return printer


CALLS: dict[str, Signature] = {
    # Figures.
    "statfs": call(path, _figures),
    "fstatfs": call(descriptor, _figures),
    "ustat": call(_device_number, pointer),
    "sysfs": call(hexadecimal, hexadecimal, hexadecimal),
    # Mounting.
    "mount": call(path, path, _mount_type, _mount_flags, _mount_data),
    "umount2": call(path, flags(UMOUNT_FLAGS, "MNT_???")),
    "pivot_root": call(path, path),
    "open_tree": call(dirfd, path, flags(OPEN_TREE_FLAGS, "OPEN_TREE_???"), result=new_descriptor),
    "open_tree_attr": call(
        dirfd, path, flags(OPEN_TREE_FLAGS, "OPEN_TREE_???"), _mount_attributes(3), size, result=new_descriptor
    ),
    "move_mount": call(dirfd, path, dirfd, path, flags(MOVE_MOUNT_FLAGS, "MOVE_MOUNT_???")),
    "fsopen": call(text, flags(FSOPEN_FLAGS, "FSOPEN_???"), result=new_descriptor),
    "fsconfig": call(descriptor, one_of(FSCONFIG_COMMANDS, "FSCONFIG_???"), _fsconfig_key, _fsconfig_value, _fsconfig_number),
    "fsmount": call(
        descriptor, flags(FSMOUNT_FLAGS, "FSMOUNT_???"), flags(MOUNT_ATTRIBUTES, "MOUNT_ATTR_???"), result=new_descriptor
    ),
    "fspick": call(dirfd, path, flags(FSPICK_FLAGS, "FSPICK_???"), result=new_descriptor),
    "mount_setattr": call(dirfd, path, flags(MOUNT_AT_FLAGS, "AT_???"), _mount_attributes(3), size),
    "statmount": call(_mount_request(lambda mask: flags_of(STATMOUNT_MASK, mask, "STATMOUNT_???")), pointer, size, unsigned),
    "listmount": call(_mount_request(short_hex), out(_mount_ids), size, flags(LISTMOUNT_FLAGS, "LISTMOUNT_???")),
    # The machine's.
    "swapon": call(path, _swap_flags),
    "swapoff": call(path),
    "acct": call(path),
    # Late from the last argument on that is always there, so that the line's second part is never empty.
    "quotactl": call(_quota_command, at_end(path), _quota_id(0), _quota_address(0)),
    "quotactl_fd": call(descriptor, at_end(_quota_command), _quota_id(1), _quota_address(1)),
}
