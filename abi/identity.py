"""Users, groups and capabilities: what the guest believes, kept per process in `procs.credentials`."""

from __future__ import annotations

import struct

from abi.dispatch import OK, Call, Return, Support
from abi.errors import Kind, SysError
from abi.linux import linux
from procs.credentials import KEEP

_NGROUPS_MAX = 65536


@linux.answer(102, "getuid")
def getuid(call: Call):
    return Return(call.credentials.uid)


@linux.answer(107, "geteuid")
def geteuid(call: Call):
    return Return(call.credentials.euid)


@linux.answer(104, "getgid")
def getgid(call: Call):
    return Return(call.credentials.gid)


@linux.answer(108, "getegid")
def getegid(call: Call):
    return Return(call.credentials.egid)


def _store(call: Call, *numbers: int):
    for index, number in enumerate(numbers):
        call.memory.write(call.args[index], number.to_bytes(4, "little"))
    return OK


@linux.answer(118, "getresuid")
def getresuid(call: Call):
    credentials = call.credentials
    return _store(call, credentials.uid, credentials.euid, credentials.suid)


@linux.answer(120, "getresgid")
def getresgid(call: Call):
    credentials = call.credentials
    return _store(call, credentials.gid, credentials.egid, credentials.sgid)


def _id(call: Call, index: int) -> int:
    return call.args[index] & 0xFFFFFFFF


def _changing(handler):
    """A process whose effective ids change is not dumpable any more: what it knows may be another's.  prctl(2)."""

    def change(call: Call):
        ids = call.credentials
        before = ids.euid, ids.egid, ids.fsuid, ids.fsgid
        result = handler(call)
        if before != (ids.euid, ids.egid, ids.fsuid, ids.fsgid):
            call.process.dumpable = 0
        return result

    return change


@linux.answer(105, "setuid")
@_changing
def setuid(call: Call):
    call.credentials.setuid(_real(call, 0))
    return OK


@linux.answer(106, "setgid")
@_changing
def setgid(call: Call):
    call.credentials.setgid(_real(call, 0))
    return OK


def _real(call: Call, index: int) -> int:
    number = _id(call, index)
    if number == KEEP:
        raise SysError(Kind.EINVAL)
    return number


@linux.answer(113, "setreuid")
@_changing
def setreuid(call: Call):
    call.credentials.setreuid(_id(call, 0), _id(call, 1))
    return OK


@linux.answer(114, "setregid")
@_changing
def setregid(call: Call):
    call.credentials.setregid(_id(call, 0), _id(call, 1))
    return OK


@linux.answer(117, "setresuid")
@_changing
def setresuid(call: Call):
    call.credentials.set_uids(_id(call, 0), _id(call, 1), _id(call, 2))
    return OK


@linux.answer(119, "setresgid")
@_changing
def setresgid(call: Call):
    call.credentials.set_gids(_id(call, 0), _id(call, 1), _id(call, 2))
    return OK


@linux.answer(122, "setfsuid")
@_changing
def setfsuid(call: Call):
    return Return(call.credentials.setfsuid(_id(call, 0)))


@linux.answer(123, "setfsgid")
@_changing
def setfsgid(call: Call):
    return Return(call.credentials.setfsgid(_id(call, 0)))


@linux.answer(115, "getgroups")
def getgroups(call: Call):
    groups, size = call.credentials.groups, call.int(0)
    if size < 0 or 0 < size < len(groups):
        raise SysError(Kind.EINVAL)
    if size:
        call.memory.write(call.args[1], struct.pack(f"<{len(groups)}I", *groups))
    return Return(len(groups))


@linux.answer(116, "setgroups")
def setgroups(call: Call):
    size = call.int(0)
    if not call.credentials.capable(6):
        raise SysError(Kind.EPERM)
    if not 0 <= size <= _NGROUPS_MAX:
        raise SysError(Kind.EINVAL)
    raw = call.memory.read(call.args[1], size * 4) if size else b""
    call.credentials.setgroups(struct.unpack(f"<{size}I", raw))
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
    tree = call.sandbox.tree
    sets = tree.task(pid).credentials if pid else call.credentials
    data = b""
    for word in range(words):
        for value in (sets.effective, sets.permitted, sets.inheritable):
            data += (value >> 32 * word & 0xFFFFFFFF).to_bytes(4, "little")
    if call.args[1]:
        call.memory.write(call.args[1], data)
    return OK


@linux.answer(126, "capset", "what the sandbox judges follows them; the kernel itself gives a guest none", Support.PARTIAL)
def capset(call: Call):
    words, pid = _header(call)
    if pid and pid != call.sandbox.tree.guest(call.task.tid):
        raise SysError(Kind.EPERM)
    raw = struct.unpack(f"<{3 * words}I", call.memory.read(call.args[1], 12 * words))
    effective, permitted, inheritable = (
        sum(raw[3 * word + index] << 32 * word for word in range(words)) for index in range(3)
    )
    call.credentials.capset(effective, permitted, inheritable)
    return OK
