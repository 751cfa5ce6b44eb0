"""System V objects and POSIX message queues of one sandbox: the guest's keys, names and ids over private objects of the host.

Each guest object is an object of the host made with IPC_PRIVATE, which no key leads to.  So blocking, undoing and waking
are the kernel's; keys, ids, owners and modes are ours, and an id that is not in the table does not exist.  Shared memory is
marked for removal at once, and lives as long as the supervisor and its guests have it attached.  Semaphores and queues have
no such thing: a small process that outlives the supervisor removes them when that is gone, by whatever cause.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from vfs import kernel
from vfs.kernel import error

MSG, SEM, SHM = range(3)
_GET = (68, 64, 29)  # msgget, semget, shmget
_CONTROL = (71, 66, 31)  # msgctl, semctl, shmctl
_SHMAT, _SHMDT = 30, 67
IPC_PRIVATE = 0
IPC_CREAT, IPC_EXCL = 0o1000, 0o2000
IPC_RMID, IPC_SET, IPC_STAT = 0, 1, 2
_IPC_INFO = 3
_CAP_IPC_OWNER, _CAP_SYS_ADMIN = 15, 21


class Object:
    """A queue, a set of semaphores or a segment; `size` is a set's count, or a segment's bytes.

    What the kernel ascribes to the supervisor is a guest's: it was made by `creator`, and by `setters` (semaphore to process,
    by the guest's numbers; None is all others) semaphores were set.
    """

    __slots__ = (
        "address", "cgid", "creator", "cuid", "doomed", "gid", "host", "id", "key", "kind", "locked", "mode", "setters",
        "size", "uid",
    )  # fmt: skip

    def __init__(self, kind: int, key: int, number: int, host: int, size: int, mode: int, credentials, creator: int) -> None:
        self.kind = kind
        self.key = key
        self.id = number
        self.host = host
        self.size = size
        self.mode = mode & 0o777
        self.uid = self.cuid = credentials.euid
        self.gid = self.cgid = credentials.egid
        self.address = 0
        self.doomed = False
        self.locked = False
        self.creator = creator
        self.setters: dict[int | None, int] = {}

    def check(self, credentials, want: int) -> None:
        """EACCES; `want` has the bits of a mode, wherever they stand."""
        want = (want >> 6 | want >> 3 | want) & 7
        groups = (credentials.egid, *credentials.groups)
        if credentials.euid in (self.uid, self.cuid):
            granted = self.mode >> 6
        elif self.gid in groups or self.cgid in groups:
            granted = self.mode >> 3
        else:
            granted = self.mode
        if want & ~granted & 7 and not credentials.capable(_CAP_IPC_OWNER):
            raise error(errno.EACCES)

    def check_owner(self, credentials) -> None:
        """EPERM unless the object may be changed and removed."""
        if credentials.euid not in (self.uid, self.cuid) and not credentials.capable(_CAP_SYS_ADMIN):
            raise error(errno.EPERM)


class Objects:
    """All System V objects of a sandbox."""

    def __init__(self) -> None:
        self._tables: tuple[dict[int, Object], ...] = ({}, {}, {})
        self._next = 1  # there are programs that remove 0, meaning an object they have not made
        self._tell: int | None = None

    def get(self, kind: int, key: int, size: int, flags: int, credentials, caller: int) -> Object:
        """msgget(2), semget(2), shmget(2) of process `caller`.  EEXIST, ENOENT, EINVAL, EACCES, ENOSPC."""
        self._sweep()
        table = self._tables[kind]
        found = None if key == IPC_PRIVATE else next((o for o in table.values() if o.key == key and not o.doomed), None)
        if found is not None:
            if flags & IPC_CREAT and flags & IPC_EXCL:
                raise error(errno.EEXIST)
            if size > found.size and kind != MSG:
                raise error(errno.EINVAL)
            found.check(credentials, flags & 0o777)
            return found
        if key != IPC_PRIVATE and not flags & IPC_CREAT:
            raise error(errno.ENOENT)
        host = self._make(kind, size, flags)
        new = Object(kind, key, self._next, host, size, flags, credentials, caller)
        if kind == SHM:
            new.address = _attach(host, size)
            kernel.raw(_CONTROL[SHM], host, IPC_RMID, 0)  # there as long as it is attached
        else:
            self._watch(kind, host)
        self._next += 1
        table[new.id] = new
        return new

    @staticmethod
    def _make(kind: int, size: int, flags: int) -> int:
        mode = IPC_CREAT | 0o600
        if kind == MSG:
            return kernel.raw(_GET[MSG], IPC_PRIVATE, mode)
        if kind == SEM:
            return kernel.raw(_GET[SEM], IPC_PRIVATE, size, mode)
        return kernel.raw(_GET[SHM], IPC_PRIVATE, ctypes.c_size_t(size), mode | flags & 0o10000)  # SHM_NORESERVE

    def find(self, kind: int, number: int) -> Object:
        """The object of a guest's id.  EINVAL."""
        found = self._tables[kind].get(number)
        if found is None:
            raise error(errno.EINVAL)
        return found

    def all(self, kind: int) -> list[Object]:
        self._sweep()
        return list(self._tables[kind].values())

    def remove(self, found: Object) -> None:
        """IPC_RMID."""
        if found.kind == SHM:
            found.doomed = True
            self._sweep()
            return
        del self._tables[found.kind][found.id]
        _remove(found.kind, found.host)
        os.write(self._tell, b"-%d %d\n" % (found.kind, found.host))  # the host may give the id to somebody else

    def _sweep(self) -> None:
        """Let go of removed segments that no guest has attached any more."""
        for found in [o for o in self._tables[SHM].values() if o.doomed]:
            status = self.status(found)
            if int.from_bytes(status[88:96], "little") <= 1:
                _detach(found.address)
                del self._tables[SHM][found.id]

    @staticmethod
    def status(found: Object) -> bytes:
        """The host's ``struct msqid_ds``, ``semid_ds`` or ``shmid_ds``."""
        buffer = ctypes.create_string_buffer(128)
        arguments = (found.host, 0, IPC_STAT, buffer) if found.kind == SEM else (found.host, IPC_STAT, buffer)
        kernel.raw(_CONTROL[found.kind], *arguments)
        return buffer.raw

    def set_queue_size(self, found: Object, size: int) -> None:
        """IPC_SET of a queue's msg_qbytes.  EPERM for more than it has at first, which the host's administrator may give."""
        limits = ctypes.create_string_buffer(32)
        kernel.raw(_CONTROL[MSG], 0, _IPC_INFO, limits)
        if size > int.from_bytes(limits[12:16], "little"):  # msgmnb
            raise error(errno.EPERM)
        status = bytearray(self.status(found))
        status[88:96] = size.to_bytes(8, "little")
        kernel.raw(_CONTROL[MSG], found.host, IPC_SET, bytes(status))

    # -- the end ------------------------------------------------------------------------------

    def _watch(self, kind: int, host: int) -> None:
        """Have an object removed when this process is gone."""
        if self._tell is None:
            self._tell = _start_remover()
        os.write(self._tell, b"+%d %d\n" % (kind, host))

    def close(self) -> None:
        """Remove everything."""
        for kind in (MSG, SEM):
            for found in list(self._tables[kind].values()):
                try:
                    self.remove(found)
                except OSError:
                    continue  # somebody on the host has removed it
        if self._tell is not None:
            os.close(self._tell)
            self._tell = None


_local = kernel.libc
_local.shmat.restype = ctypes.c_void_p
_local.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_local.shmdt.argtypes = (ctypes.c_void_p,)
_local.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MADV_DONTFORK = 10


def _attach(host: int, size: int) -> int:
    address = _local.shmat(host, None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        kernel.raw(_CONTROL[SHM], host, IPC_RMID, 0)
        raise error(number)
    # A child of ours would attach it once more, and be who did so last.
    _local.madvise(address, size, _MADV_DONTFORK)
    return address


def _detach(address: int) -> None:
    _local.shmdt(address)


def _remove(kind: int, host: int) -> None:
    """IPC_RMID for a queue or a set of semaphores."""
    kernel.raw(_CONTROL[kind], host, *((0, IPC_RMID) if kind == SEM else (IPC_RMID,)), 0)


def _start_remover() -> int:
    """Fork the process that removes what it is told of once nobody can tell it any more; where to write."""
    read, write = os.pipe2(os.O_CLOEXEC)
    ready, begun = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(read)
        os.close(begun)
        os.read(ready, 1)
        os.close(ready)
        return write
    try:
        os.close(begun)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.dup2(read, 3)
        os.closerange(4, 1 << 20)
        kept: set[bytes] = set()
        with open(3, "rb") as told:
            for line in told:
                (kept.add if line[:1] == b"+" else kept.discard)(line[1:])
        for line in kept:
            kind, host = map(int, line.split())
            try:
                _remove(kind, host)
            except OSError:
                continue  # removed already
    finally:
        os._exit(0)
