"""``struct stat`` and ``struct statx`` as the kernel writes them (asm/stat.h, linux/stat.h)."""

from __future__ import annotations

import os
import struct

_STAT = struct.Struct("<QQQIIIxxxxQqqqqqqqqq24x")
_STATX = struct.Struct("<IIQIIIHxxQQQQ" + "qIxxxx" * 4 + "IIIIQII96x")
_NS = 1_000_000_000

STATX_BASIC_STATS = 0x7FF


def owner(sandbox, st) -> tuple[int, int]:
    """Uid and gid of a status as the guest sees them: the sandbox's user is root, unless it said otherwise."""
    uid, gid = st.st_uid, st.st_gid
    if type(st) is not os.stat_result:
        return uid, gid
    return 0 if uid == sandbox.host_uid else uid, 0 if gid == sandbox.host_gid else gid


def pack_stat(sandbox, st) -> bytes:
    """144 bytes from an ``os.stat_result`` or its like; owners as the guest sees them."""
    uid, gid = owner(sandbox, st)
    atime, mtime, ctime = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns
    return _STAT.pack(
        st.st_dev, st.st_ino, st.st_nlink, st.st_mode,
        uid, gid,
        st.st_rdev, st.st_size, st.st_blksize, st.st_blocks,
        atime // _NS, atime % _NS, mtime // _NS, mtime % _NS, ctime // _NS, ctime % _NS,
    )  # fmt: skip


_IDS = struct.Struct("<II")


def give_owner(sandbox, data: bytes) -> bytes:
    """A host file's ``struct stat`` with the owner the guest sees."""
    host_uid, host_gid = sandbox.host_uid, sandbox.host_gid
    if not host_uid and not host_gid:
        return data
    uid, gid = _IDS.unpack_from(data, 28)
    return data[:28] + _IDS.pack(0 if uid == host_uid else uid, 0 if gid == host_gid else gid) + data[36:]


def pack_statx(sandbox, st, mount_id: int) -> bytes:
    """256 bytes; the basic fields and the mount id, whatever was asked for (statx(2) allows more)."""
    dev, rdev = st.st_dev, st.st_rdev
    times = []
    for ns in (st.st_atime_ns, 0, st.st_ctime_ns, st.st_mtime_ns):
        times += [ns // _NS, ns % _NS]
    return _STATX.pack(
        STATX_BASIC_STATS | 0x1000, st.st_blksize, 0,
        st.st_nlink, *owner(sandbox, st), st.st_mode,
        st.st_ino, st.st_size, st.st_blocks, 0,
        *times,
        rdev_major(rdev), rdev_minor(rdev), rdev_major(dev), rdev_minor(dev),
        mount_id, 0, 0,
    )  # fmt: skip


def rdev_major(dev: int) -> int:
    """The major number of a kernel dev_t (gnu_dev_major)."""
    return dev >> 8 & 0xFFF | dev >> 32 & ~0xFFF


def rdev_minor(dev: int) -> int:
    """The minor number of a kernel dev_t."""
    return dev & 0xFF | dev >> 12 & ~0xFF & 0xFFFFFFFF
