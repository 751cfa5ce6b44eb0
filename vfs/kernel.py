"""The host kernel's calls that Python's ``os`` lacks, and one way to raise their errors.

Everything takes and gives plain integers and bytes.  A failure is an ``OSError`` with the errno.
ctypes is used directly, and sparingly: each call here is on the path of some guest's call.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import select

libc = ctypes.CDLL(None, use_errno=True)
_syscall = libc.syscall
_syscall.restype = ctypes.c_long

#: As `libc`, for calls that never wait for anybody: other threads of Python stay where they are meanwhile, which is a
#: fifth of such a call's time.
quick = ctypes.PyDLL(None, use_errno=True)
_quick_syscall = quick.syscall
_quick_syscall.restype = ctypes.c_long

# openat2(2): how a path may be resolved.
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000

_OPEN_HOW = ctypes.c_uint64 * 3


def error(number: int) -> OSError:
    """The ``OSError`` of an errno, of the subclass Python uses for it."""
    return OSError(number, os.strerror(number))


def raw(number: int, *arguments: int | bytes | ctypes.Array | None) -> int:
    """Make one system call; integers wider than 32 bits must be wrapped by the caller."""
    result = _syscall(number, *arguments)
    if result < 0:
        raise error(ctypes.get_errno())
    return result


def how(flags: int, mode: int, resolve: int) -> ctypes.Array:
    """A ``struct open_how`` for `openat2`; worth keeping where the same one is used again."""
    return _OPEN_HOW(flags, mode, resolve)


def openat2(dirfd: int, path: bytes, open_how: ctypes.Array) -> int:
    """openat2(2); the new descriptor.  The path must hold no NUL."""
    while True:
        fd = _quick_syscall(437, dirfd, path, open_how, 24)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # EAGAIN: a rename raced with the walk and the kernel could not prove it stayed inside.
        if number not in (errno.EINTR, errno.EAGAIN):
            raise error(number)


def open_interruptible(path: bytes, flags: int) -> int:
    """open(2) that a signal to the calling thread ends: EINTR is raised, not retried as ``os.open`` does."""
    fd = libc.open(path, flags)
    if fd < 0:
        raise error(ctypes.get_errno())
    return fd


def utimensat(dirfd: int, path: bytes, times: bytes | None, flags: int) -> None:
    """utimensat(2) with the two ``struct timespec`` as 32 raw bytes, or None for now."""
    raw(280, dirfd, path, times, flags)


def renameat2(olddir: int, old: bytes, newdir: int, new: bytes, flags: int) -> None:
    """renameat2(2)."""
    raw(316, olddir, old, newdir, new, flags)


def linkat(olddir: int, old: bytes, newdir: int, new: bytes, flags: int) -> None:
    """linkat(2)."""
    raw(265, olddir, old, newdir, new, flags)


def fchownat(dirfd: int, path: bytes, uid: int, gid: int, flags: int) -> None:
    """fchownat(2)."""
    raw(260, dirfd, path, uid, gid, flags)


_has_fchmodat2 = True


def fchmod(fd: int, mode: int) -> None:
    """Change the mode of what an ``O_PATH`` descriptor is of; fchmodat2(2), Linux 6.6."""
    global _has_fchmodat2
    if _has_fchmodat2:
        if _syscall(452, fd, b"", mode, AT_EMPTY_PATH) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EPERM):  # a container's filter may say EPERM for what it does not know
            raise error(number)
        _has_fchmodat2 = number != errno.ENOSYS
    os.chmod(self_path(fd), mode)


def statfs(fd: int) -> bytes:
    """fstatfs(2): the 120 raw bytes of ``struct statfs``."""
    buffer = ctypes.create_string_buffer(120)
    raw(138, fd, buffer)
    return buffer.raw


_status = ctypes.create_string_buffer(144)


def fstatat(dirfd: int, name: bytes, flags: int) -> bytes:
    """newfstatat(2): the 144 raw bytes of ``struct stat``; cheaper than ``os.stat`` for who passes them on."""
    if _quick_syscall(262, dirfd, name, _status, flags) < 0:
        raise error(ctypes.get_errno())
    return _status.raw


def getdents64(fd: int, size: int) -> bytes:
    """getdents64(2) with room for `size` bytes; moves the descriptor's offset."""
    buffer = ctypes.create_string_buffer(size)
    count = raw(217, fd, buffer, size)
    return buffer.raw[:count]


def statx(fd: int, flags: int, mask: int) -> bytes:
    """statx(2) of an open descriptor: the 256 raw bytes of ``struct statx``."""
    buffer = ctypes.create_string_buffer(256)
    raw(332, fd, b"", AT_EMPTY_PATH | flags, mask, buffer)
    return buffer.raw


def inotify_add_watch(fd: int, path: bytes, mask: int) -> int:
    """inotify_add_watch(2); the watch descriptor."""
    return raw(254, fd, path, mask)


def pidfd_open(pid: int, flags: int = 0) -> int:
    """pidfd_open(2)."""
    return raw(434, pid, flags)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a copy, in this process, of another process's descriptor."""
    return raw(438, pidfd, fd, 0)


def kcmp(pid1: int, pid2: int, kind: int) -> int:
    """kcmp(2): 0 where the two tasks share the resource."""
    return raw(312, pid1, pid2, kind, 0, 0)


def host_path(fd: int) -> bytes:
    """Where a descriptor's file is, as /proc tells it; longer than PATH_MAX if need be."""
    try:
        return os.readlink(self_path(fd))
    except OSError as problem:
        if problem.errno != errno.ENAMETOOLONG:
            raise
    names = []
    here = os.dup(fd)
    try:
        while True:
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            names.append(_name_in(above, os.fstat(here)))
            os.close(here)
            here = above
            try:
                return b"/".join((os.readlink(self_path(here)), *reversed(names)))
            except OSError as problem:
                if problem.errno != errno.ENAMETOOLONG:
                    raise
    finally:
        os.close(here)


def _name_in(directory: int, status: os.stat_result) -> bytes:
    """The name of a subdirectory.  ENOENT when it has none any more."""
    fd = os.open(self_path(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.inode() == status.st_ino:
                    return os.fsencode(entry.name)
    finally:
        os.close(fd)
    raise error(errno.ENOENT)


def self_path(fd: int) -> bytes:
    """A name through which this process can open `fd`'s file anew, with other flags."""
    return b"/proc/self/fd/%d" % fd


_EXECVEAT, _AT_EMPTY_PATH, _AT_EXECVE_CHECK = 322, 0x1000, 0x10000
_ARGUMENTS = (ctypes.c_char_p * 2)(b"", None)


@functools.cache
def names_programs_by_file() -> bool:
    """Whether execveat(2) with an empty path names the task after the file, and can only check: Linux 6.14."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (6, 14)


def check_not_written(fd: int) -> None:
    """ETXTBSY when somebody has the file open for writing, where the kernel can be asked."""
    if names_programs_by_file():
        try:
            raw(_EXECVEAT, fd, b"", _ARGUMENTS, None, _AT_EMPTY_PATH | _AT_EXECVE_CHECK)
        except OSError as problem:
            if problem.errno == errno.ETXTBSY:
                raise


def write_all(fd: int, data: bytes) -> None:
    """write(2) until everything is written, to a descriptor that may be blocking or not.  ``OSError``."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()  # not select(2), which knows no descriptor past 1023
            poll.register(fd, select.POLLOUT)
            poll.poll()
