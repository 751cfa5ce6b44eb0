"""Extended attributes of files, and watches on them."""

from __future__ import annotations

import os

from abi.dispatch import AT_FDCWD, OK, Call, Return, Support
from abi.errors import Kind, SysError
from abi.files import check_writable, descriptor_location
from abi.linux import linux
from procs.credentials import FileCapabilities
from vfs.filesystem import CAPABILITY
from vfs.kernel import self_path
from vfs.namespace import Location, OpenFile
from vfs.rights import READ, WRITE

# -- extended attributes ----------------------------------------------------------------------------

_XATTR_NAME_MAX, _XATTR_SIZE_MAX = 255, 65536
_XATTR = "trusted.* and security.* are kept under a name of the user's; no ACLs and other system.*, which are EOPNOTSUPP"
_CAP_SYS_ADMIN, _CAP_SETFCAP = 21, 31


def _attribute_name(call: Call, index: int) -> bytes:
    name = call.memory.cstring(call.args[index], _XATTR_NAME_MAX + 1, Kind.ERANGE)
    if not name:
        raise SysError(Kind.ERANGE)
    return name


def _open_file(call: Call) -> Location | OpenFile:
    """What the caller's descriptor is of.  EBADF, also where it only names a file."""
    call.files.check_not_path(call.int(0))
    return descriptor_location(call, call.int(0))


def _fill(call: Call, data: bytes, address: int, size: int):
    """The getxattr convention: size 0 only asks how much there is."""
    if size:
        if len(data) > size:
            raise SysError(Kind.ERANGE)
        call.memory.write(address, data)
    return Return(len(data))


def _xattr_location(found: Location | OpenFile) -> Location:
    if isinstance(found, OpenFile):
        raise SysError(Kind.EOPNOTSUPP)
    return found


def _setting(call: Call) -> tuple[bytes, bytes]:
    """The name and the value that are to be set, judged before any file is looked for.  EINVAL, ERANGE, E2BIG."""
    if call.int(4) & ~3:
        raise SysError(Kind.EINVAL)
    name = _attribute_name(call, 1)
    size = call.args[3]
    if size > _XATTR_SIZE_MAX:
        raise SysError(Kind.E2BIG)
    return name, call.memory.read(call.args[2], size) if size else b""


def _setxattr(call: Call, found, name: bytes, value: bytes):
    _check_right(call, name)
    where = _xattr_location(found)
    check_writable(where)
    _judge(call, where, name, WRITE)
    if name == CAPABILITY and not FileCapabilities.is_whole(value):
        raise SysError(Kind.EINVAL)
    where.fs.setxattr(where.node, name, value, call.int(4))
    return OK


def _getxattr(call: Call, found, name: bytes):
    where = _xattr_location(found)
    if name.startswith(b"trusted.") and not call.credentials.capable(_CAP_SYS_ADMIN):
        raise SysError(Kind.ENODATA)
    _judge(call, where, name, READ)
    return _fill(call, where.fs.getxattr(where.node, name), call.args[2], call.args[3])


def _listxattr(call: Call, found):
    if isinstance(found, OpenFile):
        return OK
    admin = call.credentials.capable(_CAP_SYS_ADMIN)
    listed = found.fs.listxattr(found.node)
    names = b"".join(name + b"\0" for name in listed if admin or not name.startswith(b"trusted."))
    return _fill(call, names, call.args[1], call.args[2])


def _check_right(call: Call, name: bytes) -> None:
    """EPERM where only an administrator may change an attribute.  xattr(7)."""
    needed = _CAP_SETFCAP if name == CAPABILITY else _CAP_SYS_ADMIN
    if name.startswith((b"trusted.", b"security.")) and not call.credentials.capable(needed):
        raise SysError(Kind.EPERM)


def _judge(call: Call, where: Location, name: bytes, want: int) -> None:
    """EACCES, EPERM: the attributes of users follow a file's mode, and its owner's in a sticky directory."""
    rights = call.rights
    if rights is None or not name.startswith(b"user."):
        return
    status = where.fs.stat(where.node)
    kind = status.st_mode & 0o170000
    if kind not in (0o100000, 0o040000):
        return  # which have none: the file system says how
    if kind == 0o040000 and status.st_mode & 0o1000 and want == WRITE:
        rights.check_owner(status)
    rights.check(where, want)


def _removexattr(call: Call, found, name: bytes):
    _check_right(call, name)
    where = _xattr_location(found)
    check_writable(where)
    _judge(call, where, name, WRITE)
    where.fs.removexattr(where.node, name)
    return OK


@linux.answer(188, "setxattr", _XATTR, Support.PARTIAL)
def setxattr(call: Call):
    name, value = _setting(call)
    return _setxattr(call, call.find(AT_FDCWD, call.path(0)), name, value)


@linux.answer(189, "lsetxattr", _XATTR, Support.PARTIAL)
def lsetxattr(call: Call):
    name, value = _setting(call)
    return _setxattr(call, call.find(AT_FDCWD, call.path(0), False), name, value)


@linux.answer(190, "fsetxattr", _XATTR, Support.PARTIAL)
def fsetxattr(call: Call):
    name, value = _setting(call)
    return _setxattr(call, _open_file(call), name, value)


@linux.answer(191, "getxattr", _XATTR, Support.PARTIAL)
def getxattr(call: Call):
    name = _attribute_name(call, 1)
    return _getxattr(call, call.find(AT_FDCWD, call.path(0)), name)


@linux.answer(192, "lgetxattr", _XATTR, Support.PARTIAL)
def lgetxattr(call: Call):
    name = _attribute_name(call, 1)
    return _getxattr(call, call.find(AT_FDCWD, call.path(0), False), name)


@linux.answer(193, "fgetxattr", _XATTR, Support.PARTIAL)
def fgetxattr(call: Call):
    name = _attribute_name(call, 1)
    return _getxattr(call, _open_file(call), name)


@linux.answer(194, "listxattr", _XATTR, Support.PARTIAL)
def listxattr(call: Call):
    return _listxattr(call, call.find(AT_FDCWD, call.path(0)))


@linux.answer(195, "llistxattr", _XATTR, Support.PARTIAL)
def llistxattr(call: Call):
    return _listxattr(call, call.find(AT_FDCWD, call.path(0), False))


@linux.answer(196, "flistxattr", _XATTR, Support.PARTIAL)
def flistxattr(call: Call):
    return _listxattr(call, _open_file(call))


@linux.answer(197, "removexattr", _XATTR, Support.PARTIAL)
def removexattr(call: Call):
    name = _attribute_name(call, 1)
    return _removexattr(call, call.find(AT_FDCWD, call.path(0)), name)


@linux.answer(198, "lremovexattr", _XATTR, Support.PARTIAL)
def lremovexattr(call: Call):
    name = _attribute_name(call, 1)
    return _removexattr(call, call.find(AT_FDCWD, call.path(0), False), name)


@linux.answer(199, "fremovexattr", _XATTR, Support.PARTIAL)
def fremovexattr(call: Call):
    name = _attribute_name(call, 1)
    return _removexattr(call, _open_file(call), name)


# -- watching ---------------------------------------------------------------------------------------


@linux.answer(254, "inotify_add_watch")
def inotify_add_watch(call: Call):
    mask = call.args[2] & 0xFFFFFFFF
    inotify = OpenFile(call.files.get(call.int(0)))
    if os.readlink(self_path(inotify.fd)) != b"anon_inode:inotify":
        raise SysError(Kind.EINVAL)
    found = call.find(AT_FDCWD, call.path(1), not mask & 0x02000000)
    if isinstance(found, OpenFile):
        raise SysError(Kind.EACCES)
    if mask & 0x01000000 and not found.node.is_dir:  # IN_ONLYDIR
        raise SysError(Kind.ENOTDIR)
    rights = call.rights
    if rights is not None:
        rights.check(found, READ)
    return Return(found.fs.watch(found.node, inotify.fd, mask))


linux.native(253, "inotify_init")
linux.native(294, "inotify_init1")
linux.native(255, "inotify_rm_watch")
linux.refuse(300, "fanotify_init", Kind.ENOSYS, "absent")
linux.refuse(301, "fanotify_mark", Kind.ENOSYS, "absent")
