"""Descriptors: everything done with an open file.  Native, but for what names a process or a device."""

from __future__ import annotations

import errno
import os
import signal
import struct
from fcntl import fcntl as fcntl_of
from functools import partial

from abi.dispatch import OK, Call, Native, Plane, Support, When, signed
from abi.errors import Kind, SysError
from abi.linux import linux
from abi.net import interfaces
from abi.net.sockets import check_is_socket
from abi.signals import may_send
from vfs.namespace import OpenFile

for _number, _name in (
    (0, "read"), (1, "write"), (3, "close"), (7, "poll"), (8, "lseek"), (17, "pread64"), (18, "pwrite64"),
    (19, "readv"), (20, "writev"), (22, "pipe"), (23, "select"), (32, "dup"), (33, "dup2"), (40, "sendfile"),
    (73, "flock"), (74, "fsync"), (75, "fdatasync"), (77, "ftruncate"), (162, "sync"),
    (187, "readahead"), (213, "epoll_create"), (221, "fadvise64"), (232, "epoll_wait"), (233, "epoll_ctl"),
    (270, "pselect6"), (271, "ppoll"), (275, "splice"), (276, "tee"), (277, "sync_file_range"),
    (278, "vmsplice"), (281, "epoll_pwait"), (284, "eventfd"), (285, "fallocate"), (290, "eventfd2"),
    (291, "epoll_create1"), (292, "dup3"), (293, "pipe2"), (295, "preadv"), (296, "pwritev"),
    (306, "syncfs"), (326, "copy_file_range"), (327, "preadv2"), (328, "pwritev2"), (436, "close_range"),
    (441, "epoll_pwait2"), (451, "cachestat"),
):  # fmt: skip
    linux.native(_number, _name)

for _number, _name in (
    (206, "io_setup"), (207, "io_destroy"), (208, "io_getevents"), (209, "io_submit"), (210, "io_cancel"),
    (333, "io_pgetevents"),
):  # fmt: skip
    linux.native(_number, _name)
for _number, _name in ((425, "io_uring_setup"), (426, "io_uring_enter"), (427, "io_uring_register")):
    linux.refuse(_number, _name, Kind.ENOSYS, "absent: its calls would pass by the tables")


# -- fcntl ------------------------------------------------------------------------------------------

_F_GETLK, _F_OFD_GETLK = 5, 36
_F_SETOWN, _F_GETOWN, _F_SETOWN_EX, _F_GETOWN_EX = 8, 9, 15, 16
_F_UNLCK, _FLOCK_PID = 2, 24  # l_type of no lock; where l_pid is in a struct flock
_OWNER_EX = struct.Struct("<ii")
_F_OWNER_TID, _F_OWNER_PID, _F_OWNER_PGRP = 0, 1, 2
_F_NATIVE = (
    0, 1, 2, 3, 4, 6, 7,  # DUPFD, GETFD, SETFD, GETFL, SETFL, SETLK, SETLKW
    10, 11,  # SETSIG, GETSIG
    37, 38,  # OFD locks
    1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032, 1033, 1034, 1035, 1036, 1037, 1038,
)  # fmt: skip


@linux.steer(
    72,
    "fcntl",
    "F_SETLEASE, which could hold the supervisor, is EINVAL",
    Support.PARTIAL,
    when=[When(1, _F_NATIVE, Plane.NATIVE)],
)
def fcntl(call: Call):
    tree = call.sandbox.tree
    match call.int(1):
        case c if c == _F_SETOWN:
            who = call.int(2)
            return Native({2: _host_owner(call, who)} if who else {})
        case c if c == _F_GETOWN:
            return Native(after=lambda value: _owner(tree, value))
        case c if c == _F_SETOWN_EX:
            # The kernel would read the structure again after this check, so it gets F_SETOWN's register; or, as that can
            # name no thread, we make the call, on the file that both of us have open.
            kind, who = _OWNER_EX.unpack(call.memory.read(call.args[2], 8))
            if kind not in (_F_OWNER_TID, _F_OWNER_PID, _F_OWNER_PGRP):
                raise SysError(Kind.EINVAL)
            if who < 0:
                raise SysError(Kind.ESRCH)
            if not who:
                return Native({1: _F_SETOWN, 2: 0})
            if kind == _F_OWNER_TID:
                thread = _host_owner(call, who)
                file = OpenFile(call.files.get(call.int(0)))
                fcntl_of(file.fd, _F_SETOWN_EX, _OWNER_EX.pack(kind, thread))
                return OK
            return Native({1: _F_SETOWN, 2: _host_owner(call, who if kind == _F_OWNER_PID else -who)})
        case c if c == _F_GETOWN_EX:
            address, memory = call.args[2], call.memory

            def after(value: int) -> int:
                if value == 0:
                    kind, who = _OWNER_EX.unpack(memory.read(address, 8))
                    translate = tree.guest_group if kind == _F_OWNER_PGRP else tree.guest
                    memory.write(address, _OWNER_EX.pack(kind, translate(who) if who else 0))
                return value

            return Native(after=after)
        case c if c in (_F_GETLK, _F_OFD_GETLK):
            return Native(after=partial(_holder, call))
    raise SysError(Kind.EINVAL)


def _host_owner(call: Call, who: int) -> int:
    """The kernel's number of a process, or minus that of a group, which the guest names so.  ESRCH.

    0, which is nobody, where the caller may not send signals: the kernel, for which all are one user, would do it for him.
    """
    tree = call.sandbox.tree
    if who < 0:
        group = tree.host_group(-who)
        return -group if all(may_send(call, process, signal.SIGIO) for process in tree.group(group)) else 0
    return tree.host(who) if who and may_send(call, tree.task(who).process, signal.SIGIO) else 0


def _guest_owner(tree, number: int) -> int:
    """The reverse."""
    return -tree.guest_group(-number) if number < 0 else tree.guest(number) if number else 0


def _holder(call: Call, value: int) -> int:
    """F_GETLK has been answered: the process that holds a lock in the way is named as the guest knows it."""
    if value == 0 and int.from_bytes(call.memory.read(call.args[2], 2), "little") != _F_UNLCK:
        where = call.args[2] + _FLOCK_PID
        pid = int.from_bytes(call.memory.read(where, 4), "little", signed=True)
        if pid > 0:  # not an open file description's
            call.memory.write(where, call.sandbox.tree.guest(pid).to_bytes(4, "little"))
    return value


def _owner(tree, value: int) -> int:
    """F_GETOWN's result, which is a group where it is negative and not an errno."""
    return value if -4095 <= value < 0 else _guest_owner(tree, value)


# -- ioctl ------------------------------------------------------------------------------------------

_TIOCGPGRP, _TIOCSPGRP, _TIOCGSID, _TIOCSTI = 0x540F, 0x5410, 0x5429, 0x5412
_TCXONC, _NO_ACTION = 0x540A, 99
_FIOSETOWN, _SIOCSPGRP, _FIOGETOWN, _SIOCGPGRP = 0x8901, 0x8902, 0x8903, 0x8904
_FCNTL = 72
_IOCTL_NATIVE = (
    0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5406, 0x5407, 0x5408,  # TCGETS .. TCSETAF
    0x5409, 0x540A, 0x540B, 0x540E,  # TCSBRK, TCXONC, TCFLSH, TIOCSCTTY
    0x5411, 0x5413, 0x5414, 0x5415, 0x5416, 0x5417, 0x5418,  # TIOCOUTQ, winsize, modem lines
    0x5419, 0x541A, 0x541B,  # TIOCGSOFTCAR, TIOCSSOFTCAR, FIONREAD
    0x5420, 0x5421, 0x5422, 0x5424, 0x5425,  # TIOCPKT, FIONBIO, TIOCNOTTY, TIOCGETD, TCSBRKP
    0x5427, 0x5428,  # TIOCSBRK, TIOCCBRK
    0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D,  # TCGETS2 .. TCSETSF2
    0x80045430, 0x40045431, 0x80045438, 0x80045439, 0x80045440, 0x5441,  # ptmx: number, lock, packet, peer
    0x40045436,  # TIOCSIG, which says no more than a character typed
    0x5450, 0x5451, 0x5452, 0x5460,  # FIONCLEX, FIOCLEX, FIOASYNC, FIOQSIZE
    0x5456, 0x5457,  # TIOCGLCKTRMIOS, TIOCSLCKTRMIOS
    0x8905, 0x8906, 0x8907,  # SIOCATMARK, SIOCGSTAMP, SIOCGSTAMPNS
    0x40049409, 0x4020940D,  # FICLONE, FICLONERANGE
    0x80086601, 0xC020660B,  # FS_IOC_GETFLAGS, FS_IOC_FIEMAP
    0xB701, 0xB702, 0xB703, 0xB704,  # NS_GET_USERNS, NS_GET_PARENT, NS_GET_NSTYPE, NS_GET_OWNER_UID
)  # fmt: skip


@linux.steer(
    16,
    "ioctl",
    "an allow-list of requests: terminals, sockets, FIONREAD and its like, clone ranges; TIOCSTI is EIO, the rest ENOTTY",
    Support.PARTIAL,
    when=[When(1, _IOCTL_NATIVE, Plane.NATIVE)],
)
def ioctl(call: Call):
    tree, memory, address = call.sandbox.tree, call.memory, call.args[2]
    match call.args[1] & 0xFFFFFFFF:
        case c if c in (_TIOCGPGRP, _TIOCGSID):
            translate = tree.guest_group if c == _TIOCGPGRP else tree.guest_session

            def after(value: int) -> int:
                if value == 0:
                    number = int.from_bytes(memory.read(address, 4), "little", signed=True)
                    memory.write(address, translate(number).to_bytes(4, "little", signed=True))
                return value

            return Native(after=after)
        case c if c == _TIOCSPGRP:
            call.files.check_not_path(call.int(0))
            group = signed(int.from_bytes(memory.read(address, 4), "little"))
            if group < 0:
                raise SysError(Kind.EINVAL)
            return _set_foreground(call, group, tree.host_group(group))
        case c if c == _TIOCSTI:
            raise SysError(Kind.EIO)  # as where dev.tty.legacy_tiocsti is 0
        case c if c in (_FIOSETOWN, _SIOCSPGRP):
            check_is_socket(call, call.int(0))
            who = signed(int.from_bytes(memory.read(address, 4), "little"))
            return Native({1: _F_SETOWN, 2: _host_owner(call, who)}, number=_FCNTL)
        case c if c in (_FIOGETOWN, _SIOCGPGRP):

            def told(value: int) -> int:
                if value == 0:
                    number = int.from_bytes(memory.read(address, 4), "little", signed=True)
                    memory.write(address, struct.pack("<i", _guest_owner(tree, number)))
                return value

            return Native(after=told)
        case c if c in interfaces.REQUESTS:
            return interfaces.ioctl(call, c)
    raise SysError(Kind.ENOTTY)


def _set_foreground(call: Call, group: int, host: int):
    """tcsetpgrp(3).  ENOTTY, EPERM.

    In a session of the guest's own the kernel may do it: whatever number it reads, only groups of that session can be
    named.  In the session that int80 was started in there are groups of the host's, so there the supervisor does it,
    once the kernel has settled by a request that changes nothing whether the caller may, or gets SIGTTOU.
    """
    if os.getsid(call.process.pid) != os.getsid(0):
        return Native() if host == group else Native(placed={2: host.to_bytes(4, "little")})
    file, terminal = OpenFile(call.files.get(call.int(0))), call.sandbox.terminal
    if terminal is None:
        raise SysError(Kind.ENOTTY)

    def after(value: int) -> int:
        if value == -errno.EINVAL:
            return terminal.set_foreground(file.fd, host)
        return -errno.ENOTTY if value == -errno.EIO else value

    return Native({1: _TCXONC, 2: _NO_ACTION}, after=after)
