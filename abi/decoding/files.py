"""Calls about files, directories and descriptors: opening, reading and writing, names, attributes, watching.

Those about file systems as a whole (mounting, statfs, swap, quotas) are in `filesystems`, and are gathered here with
the rest.  The words are strace's, except for flags and calls that are newer than its version 6.1.
"""

from __future__ import annotations

import struct

from abi.decoding import filesystems
from abi.decoding.constants.files import (
    ACCESS_AT_FLAGS,
    ACCESS_MODES,
    ACCESS_RIGHTS,
    ADVICE,
    AT_FLAGS,
    CLOSE_RANGE_FLAGS,
    ENTRY_TYPES,
    FALLOCATE_FLAGS,
    FANOTIFY_CLASSES,
    FANOTIFY_EVENTS,
    FANOTIFY_INIT_FLAGS,
    FANOTIFY_MARK_FLAGS,
    HANDLE_FLAGS,
    INOTIFY_EVENTS,
    INOTIFY_INIT_FLAGS,
    LOCKS,
    MEMFD_FLAGS,
    OPEN_FLAGS,
    RENAME_FLAGS,
    RESOLVE_FLAGS,
    RWF_FLAGS,
    SPLICE_FLAGS,
    STATX_ATTRIBUTES,
    STATX_MASK,
    STATX_SYNC,
    SYNC_RANGE_FLAGS,
    WHENCE,
    XATTR_FLAGS,
    XFLAGS,
)
from abi.decoding.shapes import (
    bytes_in_hex,
    device,
    file_mode,
    given,
    growing,
    has_device,
    moment,
    octal,
    permissions,
    received,
)
from abi.decoding.values import (
    Printer,
    Signature,
    View,
    at_end,
    buffer,
    call,
    cut,
    decimal,
    descriptor,
    dirfd,
    fields,
    filled,
    flags,
    flags_of,
    from_kernel,
    identity,
    long,
    memory,
    new_descriptor,
    one_of,
    out,
    path,
    pointer,
    quoted,
    signed32,
    size,
    text,
    to,
    unsigned,
)

_O_CREAT = 0o100
_O_TMPFILE = 0o20000000
_O_CLOEXEC = 0o2000000
_UTIME_NOW = 0x3FFFFFFF
_UTIME_OMIT = 0x3FFFFFFE
_EOVERFLOW = 75
_MAX_HANDLE = 128
_XATTR_SIZE_MAX = 65536
_HUGE_SHIFT = 26
_LISTING_MAX = 1 << 22  # bytes of a directory's entries that are looked at
_LISTING_PART = 1 << 16

# -- opening ----------------------------------------------------------------------------------------


def _opening(value: int) -> str:
    """The access mode and what is or-ed to it."""
    mode = ACCESS_MODES[value & 3]
    return f"{mode}|{rest}" if (rest := _added(value & ~3)) else mode


def _added(value: int) -> str:
    words = flags_of(OPEN_FLAGS, value, "") if value else ""
    return words.removesuffix(" /*  */")


_known_openings: dict[int, str] = {}  # programs open files in few ways


def _open_flags(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    words = _known_openings.get(value)
    if words is None:
        words = _opening(value)
        if len(_known_openings) < 256:
            _known_openings[value] = words
    return words


def _creates(flags: int) -> bool:
    """Whether open with these flags takes a mode."""
    return bool(flags & (_O_CREAT | _O_TMPFILE))


def _mode_of(flags_at: int) -> Printer:
    """The mode of a file that open makes; open's other calls have none."""

    def printer(view: View, value: int) -> str | None:
        return permissions(view, value) if _creates(view.args[flags_at]) else None

    return printer


def _how(view: View, value: int) -> str:
    """struct open_how (openat2(2))."""

    def show(data: bytes) -> str:
        opening, mode, resolve = struct.unpack("3Q", data)
        words = [f"flags={_opening(opening)}"]
        if mode or _creates(opening):
            words.append(f"mode={octal(mode)}")
        words.append(f"resolve={flags_of(RESOLVE_FLAGS, resolve, 'RESOLVE_???')}")
        return ", ".join(words)

    return growing(view, value, view.args[3], 24, show)


def _memfd_flags(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    low = value & (1 << _HUGE_SHIFT) - 1
    words = [flags_of(MEMFD_FLAGS, low, "MFD_???")] if low or not value else []
    if value >> _HUGE_SHIFT:
        words.append(f"{value >> _HUGE_SHIFT}<<MFD_HUGE_SHIFT")
    return "|".join(words)


def _close_on_exec(view: View, value: int) -> str:
    """memfd_secret's flags: O_CLOEXEC is all that there is."""
    value &= 0xFFFFFFFF
    words = ["O_CLOEXEC"] if value & _O_CLOEXEC else []
    if value & ~_O_CLOEXEC or not value:
        words.append(hex(value & ~_O_CLOEXEC) if value else "0")
    return "|".join(words)


def _pair(view: View, data: bytes) -> str:
    first, second = struct.unpack("2I", data)
    return f"[{descriptor(view, first)}, {descriptor(view, second)}]"


# -- reading and writing ----------------------------------------------------------------------------


def _skipped(view: View, value: int) -> None:
    """An argument that is not shown: preadv's upper half of an offset that has one half only."""


def _number(format: str) -> Printer:
    """A pointer to an offset, as the caller hands it in."""
    return to(8, lambda view, data: f"[{struct.unpack(format, data)[0]}]")


def _keeping(printer: Printer, pointer_at: int, length: int) -> Printer:
    """As `printer`; the number that argument `pointer_at` points to is kept until the end, when the kernel has changed it."""

    def early(view: View, value: int) -> str | None:
        view.kept = view.integer(view.args[pointer_at], length)
        return printer(view, value)

    early.shows = printer
    return early


def _moved(view: View, value: int) -> str:
    """sendfile's offset: before, and after if something was sent."""
    if not value or view.kept is None:
        return pointer(view, value)
    after = view.integer(value, 8) if view.value and not view.error else None
    return f"[{view.kept}]" if after is None else f"[{view.kept}] => [{after}]"


# -- what a file is ---------------------------------------------------------------------------------


def _stat(view: View, data: bytes) -> str:
    """struct stat (stat(2)) of x86-64."""
    if not view.style.verbose:
        mode, rdev, length = struct.unpack_from("<I12xQQ", data, 24)
        what = f"st_rdev={device(rdev)}" if has_device(mode) else f"st_size={length}"
        return f"{{st_mode={file_mode(mode)}, {what}, ...}}"
    dev, inode, links, mode, uid, gid, rdev, length, block, blocks, *times = struct.unpack_from("<QQQIII4xQQQQqQqQqQ", data)
    pairs = [
        ("st_dev", device(dev)),
        ("st_ino", inode),
        ("st_mode", file_mode(mode)),
        ("st_nlink", links),
        ("st_uid", uid),
        ("st_gid", gid),
        ("st_blksize", block),
        ("st_blocks", blocks),
        ("st_rdev", device(rdev)) if has_device(mode) else ("st_size", length),
    ]
    for index, name in enumerate(("st_atime", "st_mtime", "st_ctime")):
        seconds, fraction = times[index * 2 : index * 2 + 2]
        pairs += [(name, f"{seconds}{moment(seconds, fraction, 9)}"), (f"{name}_nsec", fraction)]
    return fields(*pairs)


_status = from_kernel(144, _stat)


def _statx_flags(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    sync = STATX_SYNC.get(value & 0x6000, "AT_STATX_FORCE_SYNC|AT_STATX_DONT_SYNC")
    rest = value & ~0x6000
    return f"{sync}|{flags_of(AT_FLAGS, rest, '').removesuffix(' /*  */')}" if rest else sync


_STATX = struct.Struct("<IIQIIIH2xQQQQ")
_STATX_TIMES = (("atime", 0x20, 64), ("btime", 0x800, 80), ("ctime", 0x80, 96), ("mtime", 0x40, 112))
_STATX_DEVICES = ("rdev_major", "rdev_minor", "dev_major", "dev_minor")


def _statx(view: View, data: bytes) -> str:
    """struct statx (statx(2)); a field is shown if the mask has it, or if it has no bit there."""
    mask, block, attributes, links, uid, gid, mode, inode, length, blocks, supported = _STATX.unpack_from(data)
    verbose = view.style.verbose
    words = [f"stx_mask={flags_of(STATX_MASK, mask, 'STATX_???')}"]
    if verbose:
        words.append(f"stx_blksize={block}")
    words.append(f"stx_attributes={flags_of(STATX_ATTRIBUTES, attributes, 'STATX_ATTR_???')}")
    if verbose:
        words += [
            f"stx_{name}={value}" for name, bit, value in (("nlink", 4, links), ("uid", 8, uid), ("gid", 16, gid)) if mask & bit
        ]
    if mask & 3:
        words.append(f"stx_mode={file_mode(mode)}")
    if verbose and mask & 0x100:
        words.append(f"stx_ino={inode}")
    if mask & 0x200:
        words.append(f"stx_size={length}")
    if not verbose:
        return "{" + ", ".join(words) + ", ...}"
    if mask & 0x400:
        words.append(f"stx_blocks={blocks}")
    words.append(f"stx_attributes_mask={flags_of(STATX_ATTRIBUTES, supported, 'STATX_ATTR_???')}")
    for name, bit, at in _STATX_TIMES:
        if mask & bit:
            seconds, fraction = struct.unpack_from("<qI", data, at)
            words.append(f"stx_{name}={{tv_sec={seconds}, tv_nsec={fraction}}}{moment(seconds, fraction, 9)}")
    numbers = struct.unpack_from("<4IQ2I", data, 128)
    words += [f"stx_{name}={number}" for name, number in zip(_STATX_DEVICES, numbers[:4], strict=True)]
    if mask & 0x5000:
        words.append(f"stx_mnt_id={numbers[4]:#x}")
    if mask & 0x2000:
        words += [f"stx_dio_mem_align={numbers[5]}", f"stx_dio_offset_align={numbers[6]}"]
    return "{" + ", ".join(words) + "}"


def _node_mode(view: View, value: int) -> str:
    return file_mode(value & 0xFFFF)


def _node_device(mode_at: int) -> Printer:
    """mknod's device, for a device."""

    def printer(view: View, value: int) -> str | None:
        return device(value & 0xFFFFFFFF) if has_device(view.args[mode_at]) else None

    return printer


def _file_attributes(view: View, value: int) -> str:
    """struct file_attr (file_getattr(2), Linux 6.17)."""

    def show(data: bytes) -> str:
        xflags, *numbers = struct.unpack("<Q4I", data)
        names = ("fa_extsize", "fa_nextents", "fa_projid", "fa_cowextsize")
        words = [f"fa_xflags={flags_of(XFLAGS, xflags, 'FS_XFLAG_???')}"]
        return ", ".join(words + [f"{name}={number}" for name, number in zip(names, numbers, strict=True)])

    return growing(view, value, view.args[3], 24, show)


# -- times ------------------------------------------------------------------------------------------


def _utime(view: View, data: bytes) -> str:
    access, modify = struct.unpack("<2q", data)
    return f"{{actime={access}{moment(access, 0, 9)}, modtime={modify}{moment(modify, 0, 9)}}}"


def _instant(seconds: int, fraction: int, unit: str, digits: int) -> str:
    if unit == "nsec" and fraction in (_UTIME_NOW, _UTIME_OMIT):
        return "UTIME_NOW" if fraction == _UTIME_NOW else "UTIME_OMIT"
    return f"{{tv_sec={seconds}, tv_{unit}={fraction}}}{moment(seconds, fraction, digits)}"


def _instants(unit: str, digits: int) -> Printer:
    """Two times, of access and of change, with fractions in `unit`."""

    def show(view: View, data: bytes) -> str:
        access, first, change, second = struct.unpack("<qQqQ", data)
        return f"[{_instant(access, first, unit, digits)}, {_instant(change, second, unit, digits)}]"

    return to(32, show)


# -- directories ------------------------------------------------------------------------------------


def _entries(view: View, address: int, has_type: bool) -> list[bytes] | None:
    """The records that getdents gave, as far as their lengths make sense; the length is at offset 16 in both its forms."""
    left = min(view.value, _LISTING_MAX)
    data = b""
    while left > 0:
        part = view.bytes(address + len(data), min(left, _LISTING_PART))
        if part is None:
            return None
        data += part
        left -= len(part)
    least = 20 if has_type else 19
    records = []
    at = 0
    while at + least <= len(data):
        length = data[at + 16] | data[at + 17] << 8
        if length < least or at + length > len(data):
            break
        records.append(data[at : at + length])
        at += length
    return records


def _name_in(record: bytes, start: int) -> str:
    return quoted(record[start:].partition(b"\0")[0])


def _entry(record: bytes) -> str:
    """struct linux_dirent: the type stands in the last byte."""
    inode, offset, length = struct.unpack_from("<QQH", record)
    kind = ENTRY_TYPES.get(record[-1], f"{record[-1]:#x} /* DT_??? */")
    return f"{{d_ino={inode}, d_off={offset}, d_reclen={length}, d_name={_name_in(record[:-1], 18)}, d_type={kind}}}"


def _entry64(record: bytes) -> str:
    """struct linux_dirent64."""
    inode, offset, length, kind = struct.unpack_from("<QqHB", record)
    name = ENTRY_TYPES.get(kind, f"{kind:#x} /* DT_??? */")
    return f"{{d_ino={inode}, d_off={offset}, d_reclen={length}, d_type={name}, d_name={_name_in(record, 19)}}}"


def _listing(has_type: bool) -> Printer:
    """What getdents filled: how many entries, or with -v all of them."""
    show = _entry if has_type else _entry64

    def printer(view: View, value: int) -> str:
        records = _entries(view, value, has_type)
        if records is None:
            return pointer(view, value)
        if view.style.verbose:
            return "[" + ", ".join([show(record) for record in records]) + "]"
        return f"{pointer(view, value)} /* {len(records)} entries */"

    return out(printer)


# -- extended attributes ----------------------------------------------------------------------------


def _attribute_value(size_at: int) -> Printer:
    """The value that setxattr sets; one that is too large is not shown, the kernel does not take it."""

    def printer(view: View, value: int) -> str:
        length = view.args[size_at]
        return pointer(view, value) if length > _XATTR_SIZE_MAX else memory(view, value, length)

    return printer


def _attribute_names(size_at: int) -> Printer:
    """The list that listxattr gives; a caller with no room asked for its length."""

    def printer(view: View, value: int) -> str:
        return memory(view, value, view.value) if view.args[size_at] else pointer(view, value)

    return out(printer)


def _attribute_arguments(is_result: bool) -> Printer:
    """struct xattr_args of setxattrat and getxattrat (Linux 6.13)."""

    def printer(view: View, value: int) -> str:
        def show(data: bytes) -> str:
            address, length, how = struct.unpack("<QII", data)
            shown = memory(view, address, view.value if is_result else length)
            return f"value={shown}, size={length}, flags={flags_of(XATTR_FLAGS, how, 'XATTR_???')}"

        return growing(view, value, view.args[5], 16, show)

    return out(printer) if is_result else printer


# -- handles ----------------------------------------------------------------------------------------


def _handle_rest(view: View, address: int, length: int) -> str:
    """What follows handle_bytes in a struct file_handle of `length` bytes."""
    kind = view.integer(address + 4, 4, is_signed=True)
    data = view.bytes(address + 8, min(length, _MAX_HANDLE)) if length else b""
    dots = "..." if length > _MAX_HANDLE else ""
    return f"handle_type={kind}, f_handle={'???' if data is None else bytes_in_hex(data) + dots}"


def _handle(view: View, value: int) -> str:
    """The struct file_handle that open_by_handle_at is given."""
    data = view.bytes(value, 8)
    if data is None:
        return pointer(view, value)
    length = int.from_bytes(data[:4], "little")
    return f"{{handle_bytes={length}, {_handle_rest(view, value, length)}}}"


def _handle_made(view: View, value: int) -> str:
    """The one that name_to_handle_at fills; its first field says how much room there is, then how much is needed."""
    if view.kept is None:
        return pointer(view, value)
    shown = f"handle_bytes={view.kept}"
    data = view.bytes(value, 8) if view.error in (0, _EOVERFLOW) else None
    if data is None:
        return f"{{{shown}}}"
    length = int.from_bytes(data[:4], "little")
    if length != view.kept:
        shown += f" => {length}"
    return f"{{{shown}}}" if view.error else f"{{{shown}, {_handle_rest(view, value, length)}}}"


def _mount_id(view: View, value: int) -> str:
    """An int, or 64 bits with AT_HANDLE_MNT_ID_UNIQUE."""
    is_long = view.args[4] & 1
    number = view.integer(value, 8 if is_long else 4, is_signed=not is_long)
    return pointer(view, value) if number is None else f"[{number}]"


# -- watching ---------------------------------------------------------------------------------------


def _fanotify_flags(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    kind = value & 12
    words = FANOTIFY_CLASSES.get(kind, f"{kind:#x} /* FAN_CLASS_??? */")
    return f"{words}|{flags_of(FANOTIFY_INIT_FLAGS, value & ~12, 'FAN_???')}" if value & ~12 else words


def _fanotify_dirfd(view: View, value: int) -> str:
    return "FAN_NOFD" if signed32(value) == -1 else dirfd(view, value)


# -- the rest ---------------------------------------------------------------------------------------


def _umask_result(view: View, value: int) -> str:
    return octal(value)


def _cache_range(view: View, data: bytes) -> str:
    offset, length = struct.unpack("<2Q", data)
    return fields(("off", offset), ("len", length))


_CACHE_NUMBERS = ("nr_cache", "nr_dirty", "nr_writeback", "nr_evicted", "nr_recently_evicted")


def _cache_state(view: View, data: bytes) -> str:
    return fields(*zip(_CACHE_NUMBERS, struct.unpack("<5Q", data), strict=True))


def _sysctl(view: View, data: bytes) -> str:
    """struct __sysctl_args (sysctl(2))."""
    name, length, old, old_length, new, new_length = struct.unpack_from("<Qi4xQQQQ", data)
    return fields(
        ("name", pointer(view, name)),
        ("nlen", length),
        ("oldval", pointer(view, old)),
        ("oldlenp", pointer(view, old_length)),
        ("newval", pointer(view, new)),
        ("newlen", new_length),
    )


def _written(view: View, value: int) -> str:
    """A string of as many bytes as the call returned."""
    data = view.memory.read_some(value, min(view.value, view.style.strings + 1))
    return cut(view, data, view.value) if data else pointer(view, value)


_at_flags = flags(AT_FLAGS, "AT_???")
_rights = flags(ACCESS_RIGHTS, "?_OK")
_xattr_flags = flags(XATTR_FLAGS, "XATTR_???")
_rwf_flags = flags(RWF_FLAGS, "RWF_???")
_splice_flags = flags(SPLICE_FLAGS, "SPLICE_F_???")
_added_flags = flags(OPEN_FLAGS, "O_???")
_statx_mask = flags(STATX_MASK, "STATX_???")

CALLS: dict[str, Signature] = {
    # Opening and closing.
    "open": call(path, _open_flags, _mode_of(1), result=new_descriptor),
    "openat": call(dirfd, path, _open_flags, _mode_of(2), result=new_descriptor),
    "openat2": call(dirfd, path, _how, size, result=new_descriptor),
    "creat": call(path, permissions, result=new_descriptor),
    "close": call(descriptor),
    "close_range": call(unsigned, unsigned, flags(CLOSE_RANGE_FLAGS, "CLOSE_RANGE_???")),
    "dup": call(descriptor, result=new_descriptor),
    "dup2": call(descriptor, descriptor, result=new_descriptor),
    "dup3": call(descriptor, descriptor, _added_flags, result=new_descriptor),
    "pipe": call(from_kernel(8, _pair)),
    "pipe2": call(from_kernel(8, _pair), _added_flags),
    "memfd_create": call(text, _memfd_flags, result=new_descriptor),
    "memfd_secret": call(_close_on_exec, result=new_descriptor),
    "name_to_handle_at": call(dirfd, _keeping(path, 2, 4), at_end(_handle_made), out(_mount_id), flags(HANDLE_FLAGS, "AT_???")),
    "open_by_handle_at": call(descriptor, _handle, _open_flags, result=new_descriptor),
    # Contents.
    "read": call(descriptor, filled(), size),
    "write": call(descriptor, buffer(2), size),
    "pread64": call(descriptor, filled(), size, long),
    "pwrite64": call(descriptor, buffer(2), size, long),
    "readv": call(descriptor, received(2), size),
    "writev": call(descriptor, given(2), size),
    "preadv": call(descriptor, received(2), size, long),
    "pwritev": call(descriptor, given(2), size, long),
    "preadv2": call(descriptor, received(2), size, long, _skipped, _rwf_flags),
    "pwritev2": call(descriptor, given(2), size, long, _skipped, _rwf_flags),
    "lseek": call(descriptor, long, one_of(WHENCE, "SEEK_???")),
    "sendfile": call(descriptor, _keeping(descriptor, 2, 8), at_end(_moved), size),
    "copy_file_range": call(descriptor, _number("<q"), descriptor, _number("<q"), size, unsigned),
    "splice": call(descriptor, _number("<q"), descriptor, _number("<q"), size, _splice_flags),
    "tee": call(descriptor, descriptor, size, _splice_flags),
    "vmsplice": call(descriptor, given(2), size, _splice_flags),
    "truncate": call(path, size),
    "ftruncate": call(descriptor, size),
    "fallocate": call(descriptor, flags(FALLOCATE_FLAGS, "FALLOC_FL_???"), long, long),
    "fadvise64": call(descriptor, long, size, one_of(ADVICE, "POSIX_FADV_???")),
    "readahead": call(descriptor, long, size),
    "cachestat": call(descriptor, to(16, _cache_range), from_kernel(40, _cache_state), unsigned),
    "fsync": call(descriptor),
    "fdatasync": call(descriptor),
    "sync": call(),
    "syncfs": call(descriptor),
    "sync_file_range": call(descriptor, long, long, flags(SYNC_RANGE_FLAGS, "SYNC_FILE_RANGE_???")),
    "flock": call(descriptor, flags(LOCKS, "LOCK_???")),
    # What a file is.
    "stat": call(path, _status),
    "lstat": call(path, _status),
    "fstat": call(descriptor, _status),
    "newfstatat": call(dirfd, path, _status, _at_flags),
    "statx": call(dirfd, path, _statx_flags, _statx_mask, from_kernel(256, _statx)),
    "access": call(path, _rights),
    "faccessat": call(dirfd, path, _rights),
    "faccessat2": call(dirfd, path, _rights, flags(ACCESS_AT_FLAGS, "AT_???")),
    "chmod": call(path, permissions),
    "fchmod": call(descriptor, permissions),
    "fchmodat": call(dirfd, path, permissions),
    "fchmodat2": call(dirfd, path, permissions, _at_flags),
    "chown": call(path, identity, identity),
    "lchown": call(path, identity, identity),
    "fchown": call(descriptor, identity, identity),
    "fchownat": call(dirfd, path, identity, identity, _at_flags),
    "umask": call(permissions, result=_umask_result),
    "utime": call(path, to(16, _utime)),
    "utimes": call(path, _instants("usec", 6)),
    "futimesat": call(dirfd, path, _instants("usec", 6)),
    "utimensat": call(dirfd, path, _instants("nsec", 9), _at_flags),
    "file_getattr": call(dirfd, path, out(_file_attributes), size, _at_flags),
    "file_setattr": call(dirfd, path, _file_attributes, size, _at_flags),
    # Names.
    "readlink": call(path, filled(), size),
    "readlinkat": call(dirfd, path, filled(), size),
    "link": call(path, path),
    "linkat": call(dirfd, path, dirfd, path, _at_flags),
    "symlink": call(path, path),
    "symlinkat": call(path, dirfd, path),
    "rename": call(path, path),
    "renameat": call(dirfd, path, dirfd, path),
    "renameat2": call(dirfd, path, dirfd, path, flags(RENAME_FLAGS, "RENAME_??")),
    "unlink": call(path),
    "unlinkat": call(dirfd, path, _at_flags),
    "mkdir": call(path, permissions),
    "mkdirat": call(dirfd, path, permissions),
    "rmdir": call(path),
    "mknod": call(path, _node_mode, _node_device(1)),
    "mknodat": call(dirfd, path, _node_mode, _node_device(2)),
    "chdir": call(path),
    "fchdir": call(descriptor),
    "chroot": call(path),
    "getcwd": call(out(path), size),
    "getdents": call(descriptor, _listing(has_type=True), unsigned),
    "getdents64": call(descriptor, _listing(has_type=False), unsigned),
    "lookup_dcookie": call(size, out(_written), size),
    # Extended attributes.
    "setxattr": call(path, text, _attribute_value(3), size, _xattr_flags),
    "lsetxattr": call(path, text, _attribute_value(3), size, _xattr_flags),
    "fsetxattr": call(descriptor, text, _attribute_value(3), size, _xattr_flags),
    "setxattrat": call(dirfd, path, _at_flags, text, _attribute_arguments(is_result=False), size),
    "getxattr": call(path, text, filled(), size),
    "lgetxattr": call(path, text, filled(), size),
    "fgetxattr": call(descriptor, text, filled(), size),
    "getxattrat": call(dirfd, path, _at_flags, text, _attribute_arguments(is_result=True), size),
    "listxattr": call(path, _attribute_names(2), size),
    "llistxattr": call(path, _attribute_names(2), size),
    "flistxattr": call(descriptor, _attribute_names(2), size),
    "listxattrat": call(dirfd, path, _at_flags, _attribute_names(4), size),
    "removexattr": call(path, text),
    "lremovexattr": call(path, text),
    "fremovexattr": call(descriptor, text),
    "removexattrat": call(dirfd, path, _at_flags, text),
    # Watching.
    "inotify_init": call(result=new_descriptor),
    "inotify_init1": call(flags(INOTIFY_INIT_FLAGS, "IN_???"), result=new_descriptor),
    "inotify_add_watch": call(descriptor, path, flags(INOTIFY_EVENTS, "IN_???")),
    "inotify_rm_watch": call(descriptor, decimal),
    "fanotify_init": call(_fanotify_flags, _open_flags, result=new_descriptor),
    "fanotify_mark": call(
        descriptor, flags(FANOTIFY_MARK_FLAGS, "FAN_MARK_???"), flags(FANOTIFY_EVENTS, "FAN_???", 64), _fanotify_dirfd, path
    ),
    # Of old.
    "uselib": call(path),
    "_sysctl": call(to(48, _sysctl)),
} | filesystems.CALLS
