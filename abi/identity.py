"""Users, groups and capabilities: what the guest believes, kept per process in `procs.credentials`."""

from __future__ import annotations

import struct

from abi.dispatch import OK, Call, Return, Support
from abi.errors import Kind, SysError
from abi.linux import linux
from procs.credentials import KEEP

_NGROUPS_MAX = 65536
_NO_CHECKS = "what the guest may do with files stays what the host user may"


@linux.answer(102, "getuid")
def getuid(call: Call):
    return Return(call.process.credentials.uid)


@linux.answer(107, "geteuid")
def geteuid(call: Call):
    return Return(call.process.credentials.euid)


@linux.answer(104, "getgid")
def getgid(call: Call):
    return Return(call.process.credentials.gid)


@linux.answer(108, "getegid")
def getegid(call: Call):
    return Return(call.process.credentials.egid)


def _store(call: Call, *numbers: int):
    for index, number in enumerate(numbers):
        call.memory.write(call.args[index], number.to_bytes(4, "little"))
    return OK


@linux.answer(118, "getresuid")
def getresuid(call: Call):
    credentials = call.process.credentials
    return _store(call, credentials.uid, credentials.euid, credentials.suid)


@linux.answer(120, "getresgid")
def getresgid(call: Call):
    credentials = call.process.credentials
    return _store(call, credentials.gid, credentials.egid, credentials.sgid)


def _id(call: Call, index: int) -> int:
    return call.args[index] & 0xFFFFFFFF


@linux.answer(105, "setuid", _NO_CHECKS, Support.PARTIAL)
def setuid(call: Call):
    call.process.credentials.setuid(_real(call, 0))
    return OK


@linux.answer(106, "setgid", _NO_CHECKS, Support.PARTIAL)
def setgid(call: Call):
    call.process.credentials.setgid(_real(call, 0))
    return OK


def _real(call: Call, index: int) -> int:
    number = _id(call, index)
    if number == KEEP:
        raise SysError(Kind.EINVAL)
    return number


@linux.answer(113, "setreuid", _NO_CHECKS, Support.PARTIAL)
def setreuid(call: Call):
    call.process.credentials.setreuid(_id(call, 0), _id(call, 1))
    return OK


@linux.answer(114, "setregid", _NO_CHECKS, Support.PARTIAL)
def setregid(call: Call):
    call.process.credentials.setregid(_id(call, 0), _id(call, 1))
    return OK


@linux.answer(117, "setresuid", _NO_CHECKS, Support.PARTIAL)
def setresuid(call: Call):
    call.process.credentials.set_uids(_id(call, 0), _id(call, 1), _id(call, 2))
    return OK


@linux.answer(119, "setresgid", _NO_CHECKS, Support.PARTIAL)
def setresgid(call: Call):
    call.process.credentials.set_gids(_id(call, 0), _id(call, 1), _id(call, 2))
    return OK


@linux.answer(122, "setfsuid", _NO_CHECKS, Support.PARTIAL)
def setfsuid(call: Call):
    return Return(call.process.credentials.setfsuid(_id(call, 0)))


@linux.answer(123, "setfsgid", _NO_CHECKS, Support.PARTIAL)
def setfsgid(call: Call):
    return Return(call.process.credentials.setfsgid(_id(call, 0)))


@linux.answer(115, "getgroups")
def getgroups(call: Call):
    groups, size = call.process.credentials.groups, call.int(0)
    if size < 0 or 0 < size < len(groups):
        raise SysError(Kind.EINVAL)
    if size:
        call.memory.write(call.args[1], struct.pack(f"<{len(groups)}I", *groups))
    return Return(len(groups))


@linux.answer(116, "setgroups", _NO_CHECKS, Support.PARTIAL)
def setgroups(call: Call):
    size = call.int(0)
    if not call.process.credentials.capable(6):
        raise SysError(Kind.EPERM)
    if not 0 <= size <= _NGROUPS_MAX:
        raise SysError(Kind.EINVAL)
    raw = call.memory.read(call.args[1], size * 4) if size else b""
    call.process.credentials.setgroups(struct.unpack(f"<{size}I", raw))
    return OK


# -- capabilities (capget(2)) -----------------------------------------------------------------------

_HEADER = struct.Struct("<Ii")
_VERSION_1, _VERSION_2, _VERSION_3 = 0x19980330, 0x20071026, 0x20080522


def _header(call: Call) -> tuple[int, int]:
    """(words of a set, pid).  An unknown version is corrected in place and is EINVAL, as a probe expects."""
    version, pid = _HEADER.unpack(call.memory.read(call.args[0], 8))
    if version not in (_VERSION_1, _VERSION_2, _VERSION_3):
        call.memory.write(call.args[0], _VERSION_3.to_bytes(4, "little"))
        raise SysError(Kind.EINVAL)
    return (1 if version == _VERSION_1 else 2), pid


@linux.answer(125, "capget")
def capget(call: Call):
    try:
        words, pid = _header(call)
    except SysError:
        if call.args[1]:
            raise
        return OK
    if pid < 0:
        raise SysError(Kind.EINVAL)
    process = call.sandbox.tree.process(pid) if pid else call.process
    sets = process.credentials
    data = b""
    for word in range(words):
        for value in (sets.effective, sets.permitted, sets.inheritable):
            data += (value >> 32 * word & 0xFFFFFFFF).to_bytes(4, "little")
    if call.args[1]:
        call.memory.write(call.args[1], data)
    return OK


@linux.answer(126, "capset", "the capabilities are the guest's belief; the kernel gives it none", Support.PARTIAL)
def capset(call: Call):
    words, pid = _header(call)
    if pid and pid != call.sandbox.tree.guest(call.process.pid):
        raise SysError(Kind.EPERM)
    raw = struct.unpack(f"<{3 * words}I", call.memory.read(call.args[1], 12 * words))
    effective, permitted, inheritable = (
        sum(raw[3 * word + index] << 32 * word for word in range(words)) for index in range(3)
    )
    call.process.credentials.capset(effective, permitted, inheritable)
    return OK
