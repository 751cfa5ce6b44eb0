"""System V and POSIX message queues, semaphores, shared memory: the sandbox's own; keys (keyrings) are absent.

Objects and what they stand on are `procs.sysv`'s.  Calls that may block are steered: the kernel makes them, with the
host's id in the register.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from abi.dispatch import OK, Call, InstallFile, Native, Return, Support
from abi.errors import Kind, SysError
from abi.linux import linux
from procs.credentials import KEEP
from procs.sysv import IPC_RMID, IPC_SET, IPC_STAT, MSG, SEM, SHM, Object
from vfs import kernel
from vfs.kernel import self_path

_PERM = struct.Struct("<iIIIIII")  # key, uid, gid, cuid, cgid, mode, sequence; 48 bytes with what follows
_READ, _WRITE = 0o444, 0o222


def _get(call: Call, kind: int, size: int, flags: int):
    caller = call.sandbox.tree.guest(call.process.pid)
    return Return(call.sandbox.objects.get(kind, call.int(0), size, flags, call.credentials, caller).id)


@linux.answer(68, "msgget")
def msgget(call: Call):
    return _get(call, MSG, 0, call.int(1))


@linux.answer(64, "semget")
def semget(call: Call):
    count = call.int(1)
    if not 0 <= count <= 32000:
        raise SysError(Kind.EINVAL)
    return _get(call, SEM, count, call.int(2))


@linux.answer(29, "shmget", "SHM_HUGETLB is EPERM", Support.PARTIAL)
def shmget(call: Call):
    if call.int(2) & 0o4000:
        raise SysError(Kind.EPERM)
    return _get(call, SHM, call.args[1], call.int(2))


def _find(call: Call, kind: int, want: int) -> Object:
    """The object of the caller's first argument.  EINVAL, EACCES."""
    found = call.sandbox.objects.find(kind, call.int(0))
    found.check(call.credentials, want)
    return found


@linux.steer(69, "msgsnd")
def msgsnd(call: Call):
    return Native({0: _find(call, MSG, _WRITE).host})


@linux.steer(70, "msgrcv")
def msgrcv(call: Call):
    return Native({0: _find(call, MSG, _READ).host})


def _operate(call: Call):
    return Native({0: _find(call, SEM, _WRITE).host})


linux.steer(65, "semop", "takes the right to alter, also where it only waits for zero", Support.PARTIAL)(_operate)
linux.steer(220, "semtimedop", "takes the right to alter, also where it only waits for zero", Support.PARTIAL)(_operate)


@linux.steer(30, "shmat")
def shmat(call: Call):
    found = _find(call, SHM, _READ if call.int(2) & 0o10000 else _READ | _WRITE)
    return Native({0: found.host})


linux.native(67, "shmdt")

# -- control ----------------------------------------------------------------------------------------

_IPC_INFO = 3
_STAT, _INFO, _STAT_ANY = {MSG: 11, SEM: 18, SHM: 13}, {MSG: 12, SEM: 19, SHM: 14}, {MSG: 13, SEM: 20, SHM: 15}
_CONTROL = {MSG: 71, SEM: 66, SHM: 31}
_INFO_SIZE = {MSG: 32, SEM: 40, SHM: 72}
_LOCK, _UNLOCK = 11, 12  # of shared memory
_PIDS = {MSG: (96, 100), SEM: (), SHM: (84,)}  # where a status names processes
_ATTACHED_AT = slice(56, 72)  # when a segment was attached and detached


def status(sandbox, found: Object) -> bytes:
    """The ``struct msqid_ds``, ``semid_ds`` or ``shmid_ds`` that a guest is to see of an object."""
    data = bytearray(sandbox.objects.status(found))
    mode = found.mode | (0o1000 if found.doomed else 0) | (0o2000 if found.locked else 0)
    _PERM.pack_into(data, 0, 0 if found.doomed else found.key, found.uid, found.gid, found.cuid, found.cgid, mode, 0)
    for at in _PIDS[found.kind]:
        pid = int.from_bytes(data[at : at + 4], "little")
        data[at : at + 4] = _pid(sandbox, pid).to_bytes(4, "little")
    if found.kind == SHM:
        data[80:84] = found.creator.to_bytes(4, "little")
        if not any(data[84:88]):
            data[_ATTACHED_AT] = bytes(16)  # we alone have attached it
        attached = int.from_bytes(data[88:96], "little")  # by us, too
        data[88:96] = max(0, attached - 1).to_bytes(8, "little")
    return bytes(data)


def _pid(sandbox, pid: int) -> int:
    """A process that used an object, ended or not: only the sandbox's did, and we."""
    if pid == os.getpid():
        return 0
    return 1 if pid == sandbox.tree.init_pid else pid


_ROWS = {
    MSG: (struct.Struct("<48x3Q2Q8x2I"), (3, 4, 5, 6), b"  %10d %5d %5d %5d", (0, 1, 2)),
    SEM: (struct.Struct("<48xQ8xQ8xQ"), (2,), b" %10d", (0, 1)),
    SHM: (struct.Struct("<48x4Q2IQ"), (0, 4, 5, 6), b" %21d %5d %5d  %5d", (1, 2, 3)),
}  # of a status: the fields, which of them come before the owners in a row and how, and which behind


def rows(sandbox, kind: int) -> bytes:
    """The lines of ``/proc/sysvipc/msg``, ``sem`` or ``shm`` below the heading; proc_sysvipc(5)."""
    fields, before, text, behind = _ROWS[kind]
    lines = []
    for found in sandbox.objects.all(kind):
        data = status(sandbox, found)
        key, uid, gid, cuid, cgid, mode, _ = _PERM.unpack_from(data)
        values = fields.unpack_from(data)
        line = b"%10d %10d  %4o" % (key, found.id, mode) + text % tuple(values[index] for index in before)
        line += b" %5d %5d %5d %5d" % (uid, gid, cuid, cgid) + b"".join(b" %10d" % values[index] for index in behind)
        lines.append(line + (b" %21d %21d\n" % (0, 0) if kind == SHM else b"\n"))
    return b"".join(lines)


def _used(objects, kind: int, limits: bytes) -> bytes:
    """What MSG_INFO, SEM_INFO and SHM_INFO tell beside some of the `limits`: how much there is, of the sandbox's own."""
    there = objects.all(kind)
    if kind == SHM:
        host = {found.host for found in there}
        present, swapped = _resident(host)
        return _SHM_INFO.pack(len(there), sum(-(-found.size // mmap.PAGESIZE) for found in there), present, swapped, 0, 0)
    told = bytearray(limits)
    if kind == SEM:
        told[28:32] = len(there).to_bytes(4, "little")  # semusz
        told[36:40] = sum(found.size for found in there).to_bytes(4, "little")  # semaem
        return bytes(told)
    statuses = [objects.status(found) for found in there]
    held, count = (sum(int.from_bytes(each[at : at + 8], "little") for each in statuses) for at in (72, 80))
    told[:8] = struct.pack("<2i", len(there), count)  # msgpool, msgmap
    told[24:28] = held.to_bytes(4, "little")  # msgtql
    return bytes(told)


_SHM_INFO = struct.Struct("<i4x5Q")


def _resident(host: set[int]) -> tuple[int, int]:
    """Pages of segments, by the host's ids, that are in memory and that are swapped out.  proc_sysvipc(5)."""
    present = swapped = 0
    with open("/proc/sysvipc/shm", "rb") as file:
        for line in list(file)[1:]:
            fields = line.split()
            if int(fields[1]) in host:
                present, swapped = present + int(fields[-2]), swapped + int(fields[-1])
    return present // mmap.PAGESIZE, swapped // mmap.PAGESIZE


_SIZES = {MSG: 120, SEM: 104, SHM: 112}


def _control(call: Call, kind: int, command: int, address: int):
    """msgctl(2), shmctl(2), and what semctl(2) has in common with them."""
    objects, ids = call.sandbox.objects, call.credentials
    if command in (_IPC_INFO, _INFO[kind]):
        buffer = ctypes.create_string_buffer(128)
        arguments = (0, 0, _IPC_INFO, buffer) if kind == SEM else (0, _IPC_INFO, buffer)
        kernel.raw(_CONTROL[kind], *arguments)  # the limits, which are the host's
        limits = buffer.raw[: _INFO_SIZE[kind]]
        call.memory.write(address, limits if command == _IPC_INFO else _used(objects, kind, limits))
        return Return(max(0, len(objects.all(kind)) - 1))
    if command in (_STAT[kind], _STAT_ANY[kind]):
        there = objects.all(kind)
        if not 0 <= call.int(0) < len(there):
            raise SysError(Kind.EINVAL)
        found = there[call.int(0)]
        if command == _STAT[kind]:
            found.check(ids, _READ)
        call.memory.write(address, status(call.sandbox, found)[: _SIZES[kind]])
        return Return(found.id)
    found = objects.find(kind, call.int(0))
    match command:
        case c if c == IPC_STAT:
            found.check(ids, _READ)
            call.memory.write(address, status(call.sandbox, found)[: _SIZES[kind]])
        case c if c == IPC_RMID:
            found.check_owner(ids)
            objects.remove(found)
        case c if c == IPC_SET:
            wanted = call.memory.read(address, _SIZES[kind])
            _, uid, gid, _, _, mode, _ = _PERM.unpack_from(wanted)
            found.check_owner(ids)
            if KEEP in (uid, gid):
                raise SysError(Kind.EINVAL)
            if kind == MSG:
                objects.set_queue_size(found, int.from_bytes(wanted[88:96], "little"))
            found.uid, found.gid, found.mode = uid, gid, mode & 0o777
        case _:
            raise SysError(Kind.EINVAL)
    return OK


@linux.answer(71, "msgctl", "IPC_SET raises msg_qbytes to the host's msgmnb at most", Support.PARTIAL)
def msgctl(call: Call):
    return _control(call, MSG, call.int(1) & ~0x100, call.args[2])


@linux.answer(31, "shmctl", "SHM_LOCK and SHM_UNLOCK are noted, and nothing else", Support.PARTIAL)
def shmctl(call: Call):
    command = call.int(1) & ~0x100
    if command in (_LOCK, _UNLOCK):
        found = call.sandbox.objects.find(SHM, call.int(0))
        found.check_owner(call.credentials)
        found.locked = command == _LOCK
        return OK
    return _control(call, SHM, command, call.args[2])


_GETPID, _GETVAL, _GETALL, _GETNCNT, _GETZCNT, _SETVAL, _SETALL = range(11, 18)


@linux.answer(66, "semctl")
def semctl(call: Call):
    command, value = call.int(2) & ~0x100, call.args[3]
    if not _GETPID <= command <= _SETALL:
        return _control(call, SEM, command, value)
    found = _find(call, SEM, _WRITE if command in (_SETVAL, _SETALL) else _READ)
    match command:
        case c if c == _GETALL:
            buffer = ctypes.create_string_buffer(2 * found.size)
            kernel.raw(66, found.host, 0, command, buffer)
            call.memory.write(value, buffer.raw)
            return OK
        case c if c == _SETALL:
            values = call.memory.read(value, 2 * found.size)
            kernel.raw(66, found.host, 0, command, values)
            found.setters = {None: call.sandbox.tree.guest(call.process.pid)}
            return OK
    number = call.int(1)
    result = kernel.raw(66, found.host, number, command, value & 0xFFFFFFFF)
    match command:
        case c if c == _GETPID:
            result = _pid(call.sandbox, result) or found.setters.get(number, found.setters.get(None, 0))
        case c if c == _SETVAL:
            found.setters[number] = call.sandbox.tree.guest(call.process.pid)
    return Return(result)


# -- POSIX message queues ---------------------------------------------------------------------------


class Queue:
    """A POSIX queue by the guest's name; `fd` is of a queue that has no name on the host any more."""

    __slots__ = ("fd", "st_gid", "st_mode", "st_uid")

    def __init__(self, fd: int, mode: int, credentials) -> None:
        self.fd = fd
        self.st_mode = 0o100000 | mode
        self.st_uid = credentials.fsuid
        self.st_gid = credentials.fsgid

    def __del__(self) -> None:
        os.close(self.fd)


def _queue_name(call: Call) -> bytes:
    """EINVAL, ENOENT, EACCES, ENAMETOOLONG as mq_overview(7) has them; the C library has taken the first slash."""
    name = call.memory.cstring(call.args[0])
    if not name:
        raise SysError(Kind.ENOENT)
    if len(name) > 255:
        raise SysError(Kind.ENAMETOOLONG)
    if b"/" in name or name in (b".", b".."):
        raise SysError(Kind.EACCES)
    return name


@linux.answer(240, "mq_open", "names are the sandbox's own; limits and quota the host user's", Support.PARTIAL)
def mq_open(call: Call):
    flags, name, queues = call.int(1), _queue_name(call), call.sandbox.queues
    found = queues.get(name)
    if found is None:
        if not flags & os.O_CREAT:
            raise SysError(Kind.ENOENT)
        attributes = call.memory.read(call.args[3], 64) if call.args[3] else None
        mode = call.args[2] & 0o777 & ~call.process.fs.umask
        hidden = b"int80-%d-%s" % (os.getpid(), os.urandom(8).hex().encode())
        fd = kernel.raw(240, hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, attributes)
        kernel.raw(241, hidden)
        os.fchmod(fd, mode | 0o600)  # which is what fstat(2) tells of it; we are to open it again
        found = queues[name] = Queue(fd, mode, call.credentials)
    else:
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise SysError(Kind.EEXIST)
        rights = call.rights
        want = (4, 2, 6, 6)[flags & os.O_ACCMODE]
        if rights is not None and not rights.allow(found, want):
            raise SysError(Kind.EACCES)
    keep = flags & (os.O_ACCMODE | os.O_NONBLOCK) | os.O_CLOEXEC
    return InstallFile(os.open(self_path(found.fd), keep), bool(flags & os.O_CLOEXEC))


@linux.answer(241, "mq_unlink")
def mq_unlink(call: Call):
    name, queues = _queue_name(call), call.sandbox.queues
    found = queues.get(name)
    if found is None:
        raise OSError(errno.ENOENT, "no such queue")
    rights = call.rights
    if rights is not None:
        rights.check_owner(found)
    del queues[name]
    return OK


for _number, _name in ((242, "mq_timedsend"), (243, "mq_timedreceive"), (245, "mq_getsetattr")):
    linux.native(_number, _name)
linux.native(244, "mq_notify", "SIGEV_THREAD takes a netlink socket, which there is not", Support.PARTIAL)

for _number, _name in ((248, "add_key"), (249, "request_key"), (250, "keyctl")):
    linux.refuse(_number, _name, Kind.ENOSYS, "absent: the keys are the host user's")
