"""Reading directories, and the working directory and root of a process."""

from __future__ import annotations

import fcntl
import os
import struct

from abi.dispatch import AT_FDCWD, OK, Call, Return, Support
from abi.errors import Kind, SysError
from abi.files import descriptor_location
from abi.linux import linux
from vfs.filesystem import DIRENT64
from vfs.namespace import Location, OpenFile, is_removed_directory

_DIRENT = struct.Struct("<QqH")
_READ_MAX = 1 << 20  # bytes fetched at once: a guest may name any size


# -- reading ----------------------------------------------------------------------------------------


def _read(call: Call, fd: int, size: int, store) -> Return:
    """getdents64(2) of the caller's directory `fd`; `store(data)` writes it to the caller and gives its size.

    The offset moves with what was read, and back if the caller cannot take it.
    """
    directory = OpenFile(call.files.get(fd))
    if fcntl.fcntl(directory.fd, fcntl.F_GETFL) & os.O_PATH:
        raise SysError(Kind.EBADF)
    location = call.sandbox.namespace.directory(directory)
    if isinstance(location, OpenFile) or not location.node.is_dir:
        raise SysError(Kind.ENOENT if is_removed_directory(directory.fd) else Kind.ENOTDIR)
    before = os.lseek(directory.fd, 0, os.SEEK_CUR)
    data = location.fs.getdents(location.node, directory.fd, min(size & 0xFFFFFFFF, _READ_MAX))
    try:
        return Return(store(data))
    except SysError:
        os.lseek(directory.fd, before, os.SEEK_SET)
        raise


@linux.answer(217, "getdents64")
def getdents64(call: Call):
    def store(data: bytes) -> int:
        call.memory.write(call.args[1], data)
        return len(data)

    return _read(call, call.int(0), call.args[2], store)


@linux.answer(78, "getdents")
def getdents(call: Call):
    def store(data: bytes) -> int:
        # The old record is at most as long as the new one: the type moves to the last byte of the padding.
        result = bytearray()
        position = 0
        while position < len(data):
            ino, offset, length, kind = DIRENT64.unpack_from(data, position)
            name = data[position + 19 : position + length].split(b"\0", 1)[0]
            size = (18 + len(name) + 2 + 7) & ~7
            record = _DIRENT.pack(ino, offset, size) + name
            result += record.ljust(size - 1, b"\0") + bytes([kind])
            position += length
        call.memory.write(call.args[1], bytes(result))
        return len(result)

    return _read(call, call.int(0), call.args[2], store)


# -- working directory and root ---------------------------------------------------------------------


def _enter(call: Call, found) -> Location:
    if not isinstance(found, Location) or not found.node.is_dir:
        raise SysError(Kind.ENOTDIR)
    rights = call.rights
    if rights is not None:
        rights.search(found)
    if not found.fs.access(found.node, os.X_OK):
        raise SysError(Kind.EACCES)
    return found


@linux.answer(80, "chdir")
def chdir(call: Call):
    call.process.fs.cwd = _enter(call, call.find(AT_FDCWD, call.path(0)))
    return OK


@linux.answer(81, "fchdir")
def fchdir(call: Call):
    found = _enter(call, descriptor_location(call, call.int(0)))
    found.node.keep()
    call.process.fs.cwd = found
    return OK


@linux.answer(79, "getcwd")
def getcwd(call: Call):
    fs = call.process.fs
    path = fs.cwd.current_path()
    root = fs.root.path and fs.root.current_path()
    inside = path[: len(root)] == root
    name = b"/" + b"/".join(path[len(root) :]) if inside else b"(unreachable)/" + b"/".join(path)
    if len(name) + 1 > call.args[1]:
        raise SysError(Kind.ERANGE)
    call.memory.write(call.args[0], name + b"\0")
    return Return(len(name) + 1)


@linux.answer(161, "chroot", "needs the guest's CAP_SYS_CHROOT")
def chroot(call: Call):
    found = _enter(call, call.find(AT_FDCWD, call.path(0)))
    if not call.credentials.capable(18):
        raise SysError(Kind.EPERM)
    fs = call.process.fs
    fs.root = Location(found.mount, found.node, found.current_path())
    return OK


@linux.answer(95, "umask")
def umask(call: Call):
    fs = call.process.fs
    former = fs.umask
    fs.umask = call.args[0] & 0o777
    return Return(former)


_MOUNTS = "as without the capability: mounts are fixed when the sandbox starts"
linux.refuse(155, "pivot_root", Kind.EPERM, _MOUNTS, Support.PARTIAL)
linux.refuse(165, "mount", Kind.EPERM, _MOUNTS, Support.PARTIAL)
linux.refuse(166, "umount2", Kind.EPERM, _MOUNTS, Support.PARTIAL)
for _number, _name in (
    (428, "open_tree"), (429, "move_mount"), (430, "fsopen"), (431, "fsconfig"), (432, "fsmount"),
    (433, "fspick"), (442, "mount_setattr"), (457, "statmount"), (458, "listmount"),
):  # fmt: skip
    linux.refuse(_number, _name, Kind.ENOSYS, "absent: mounts are fixed when the sandbox starts")
linux.refuse(303, "name_to_handle_at", Kind.EOPNOTSUPP, "file handles would name files past the walk")
linux.refuse(304, "open_by_handle_at", Kind.EPERM, "file handles would name files past the walk")
linux.refuse(212, "lookup_dcookie", Kind.ENOSYS, "absent")
