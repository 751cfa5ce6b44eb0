"""Opening files, and what is asked about a file by name or by descriptor.

A file the guest opens is a real descriptor of its own; what it then does with it is native.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from collections.abc import Sequence
from stat import S_ISSOCK

from abi.dispatch import AT_FDCWD, OK, Call, InstallFile, Later, Plane, Support, When
from abi.errors import Kind, SysError
from abi.linux import linux
from abi.making import check_add, confine, give, give_node, mode_for
from abi.status import give_owner, pack_stat, pack_statx
from procs.credentials import KEEP
from procs.tree import controlling_terminal
from vfs import kernel, landlock
from vfs.filesystem import CAPABILITY
from vfs.hostfs import kept_status
from vfs.kernel import self_path
from vfs.namespace import FsContext, Judged, Location, OpenFile, Rules
from vfs.rights import READ, WRITE, Rights
from vfs.setid import writes

AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
_AT_STATX_SYNC = 0x6000
_O_TMPFILE = 0o20000000
_WRITES = os.O_WRONLY | os.O_RDWR
_S_IFMT, _S_IFREG, _S_IFIFO, _S_IFCHR, _S_IFBLK = 0o170000, 0o100000, 0o010000, 0o020000, 0o060000
_PTMX = os.makedev(5, 2)
_EPERM_FIFO = "a named pipe that waits for its other end can be interrupted, as natively"


# -- open -------------------------------------------------------------------------------------------


def check_flags(flags: int) -> int:
    """open(2)'s flags without those that mean nothing beside the others.  EINVAL."""
    if flags & os.O_PATH:
        return flags & (os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if flags & _O_TMPFILE:
        if flags & os.O_CREAT or not flags & os.O_DIRECTORY or not flags & _WRITES:
            raise SysError(Kind.EINVAL)
    elif flags & os.O_CREAT and flags & os.O_DIRECTORY:
        raise SysError(Kind.EINVAL)
    return flags


def open_file(call: Call, dirfd: int, path: bytes, flags: int, mode: int, rules: Rules | None = None, rooted: bool = False):
    """open(2) in all its forms; the new descriptor as an `InstallFile`, or `Later` for a named pipe.

    `rooted`: the directory is the root of the walk, too.
    """
    if not path:
        raise SysError(Kind.ENOENT)
    cloexec = bool(flags & os.O_CLOEXEC)
    fs = call.fs
    start = fs.cwd if path[:1] == b"/" and not rooted and rules is None else call.start(dirfd)
    if rooted:
        rooted_fs = FsContext(start, start, fs.umask)
        fs = rooted_fs if fs.rights is None else Judged(rooted_fs, fs.rights)
    if rules is not None and rules.beneath is not None:
        rules.beneath = start.current_path()
    if flags & _O_TMPFILE and not flags & os.O_PATH:
        return InstallFile(_open_tmpfile(call, fs, start, path, flags, mode, rules), cloexec)
    if flags & os.O_CREAT:
        return _open_creating(call, fs, start, path, flags, mode, cloexec, rules)
    namespace = call.sandbox.namespace
    run = namespace.plain_run(fs, start, path, not flags & _MORE_THAN_READ) if rules is None else None
    if run is not None and (fs.rights is None or (not fs.rights.confined and _may_read(fs.rights, *run))):
        where, names = run
        if not (where.mount.read_only and flags & (_WRITES | os.O_TRUNC)):
            fd = where.mount.fs.open_at(where.node, names, flags)
            if fd is not None:
                return InstallFile(fd, cloexec)
    follow = not flags & os.O_NOFOLLOW
    return open_found(call, namespace.walk(fs, start, path, follow, rules), flags, cloexec)


_MORE_THAN_READ = _WRITES | os.O_TRUNC | os.O_NOATIME


def _may_read(rights: Rights, where: Location, names: Sequence[bytes]) -> bool:
    """Whether plain names lead to a regular file that may be read, by its own owner and mode."""
    data = where.mount.fs.stat_at(where.node, names, False)
    return data is not None and (data[24] | data[25] << 8) & _S_IFMT == _S_IFREG and rights.allow_host(data, READ)


def open_found(call: Call, found: Location | OpenFile, flags: int, cloexec: bool):
    """Open what a walk found."""
    path = bool(flags & os.O_PATH)
    if isinstance(found, OpenFile):
        return InstallFile(_reopen(found, flags), cloexec, path)
    mode = found.node.mode & _S_IFMT
    rights = call.rights
    if mode in (_S_IFCHR, _S_IFBLK) and not path and found.mount.flags.nodev:
        raise SysError(Kind.EACCES)
    if flags & os.O_DIRECTORY and mode != 0o040000:
        raise SysError(Kind.ENOTDIR)
    changes = flags & (_WRITES | os.O_TRUNC)
    if changes and found.mount.read_only and mode in (_S_IFREG, 0o040000):
        raise SysError(Kind.EISDIR if mode == 0o040000 else Kind.EROFS)
    if rights is not None:
        if changes and mode == 0o040000 and not path:
            raise SysError(Kind.EISDIR)
        rights.check_open(found, flags)
    if changes and not path:
        _check_idle(call, found)
    try:
        fd = found.fs.open(found.node, flags)
        if changes and mode == _S_IFREG and not path:
            _lose_rights(call, found, None if flags & os.O_TRUNC else fd)
        claims = mode == _S_IFCHR and not flags & (os.O_NOCTTY | os.O_PATH) and _claims(call, fd)
        return InstallFile(fd, cloexec, path, claims)
    except BlockingIOError:
        if mode != _S_IFIFO:
            raise
        node = found.node  # kept alive, with its descriptor, until the other end comes

        def work(cancelled=None):
            wanted = flags & (os.O_ACCMODE | os.O_APPEND) | os.O_CLOEXEC
            return InstallFile(kernel.open_interruptible(self_path(node.fd), wanted), cloexec)

        return Later(work)


def _check_idle(call: Call, found: Location) -> None:
    """ETXTBSY for a program that runs: the kernel does not know where it runs a copy, or another layer has it."""
    if found.node.is_file and found.node.mode & 0o111 and (fd := getattr(found.node, "fd", None)) is not None:
        status = os.fstat(fd)
        if call.sandbox.tree.runs((status.st_dev, status.st_ino)):
            raise SysError(Kind.ETXTBSY)


def _claims(call: Call, fd: int) -> bool:
    """Whether a device just opened becomes the terminal of its opener's session, which has none and is led by it; tty(4)."""
    pid = call.process.pid
    return os.isatty(fd) and os.fstat(fd).st_rdev != _PTMX and os.getsid(pid) == pid and not controlling_terminal(pid)


def _lose_rights(call: Call, found: Location, fd: int | None = None) -> None:
    """A program that somebody writes loses its capabilities, and the set-id bits he may not keep.

    At once, or when `fd` has been written to.
    """
    rights, fs, node = call.rights, found.fs, found.node

    def drop() -> None:
        node.refresh()
        if rights is not None:
            status = fs.stat(node)
            left = rights.mode_written(status)
            if left != status.st_mode:
                fs.chmod(node, left & 0o7777)
                node.refresh()
        if fs.has_capabilities(node):
            fs.removexattr(node, CAPABILITY)

    status = fs.stat(node) if rights is not None else None
    loses = status is not None and rights.mode_written(status) != status.st_mode
    if (loses or fs.has_capabilities(node)) and (fd is None or not _await_write(call, fd, drop)):
        drop()


def _await_write(call: Call, fd: int, drop) -> bool:
    known = writes.fd
    if not writes.wait(OpenFile(os.dup(fd)), drop):
        return False
    if known < 0 and call.sandbox.network.serve is not None:
        call.sandbox.network.serve(writes.fd, writes.look)
    return True


def check_opened(target: OpenFile) -> None:
    """EACCES for what lies outside the tree and was not opened, only looked at (``O_PATH``).

    Such a descriptor does not say what access it came with; and where a thread changes the name under `Supervisor._steer_open`
    another can have one of any file for a moment, before the sandbox ends for it.
    """
    if fcntl.fcntl(target.fd, fcntl.F_GETFL) & os.O_PATH:
        raise SysError(Kind.EACCES)


def _reopen(target: OpenFile, flags: int) -> int:
    """Open anew what a magic link stands for, a pipe or a file without a name, with other flags."""
    if flags & os.O_PATH:
        return os.dup(target.fd)
    check_opened(target)
    status = os.fstat(target.fd)
    mode = status.st_mode & _S_IFMT
    if mode == 0o140000:
        raise SysError(Kind.ENXIO)
    have = fcntl.fcntl(target.fd, fcntl.F_GETFL) & os.O_ACCMODE
    if status.st_nlink and have not in (os.O_RDWR, flags & os.O_ACCMODE):
        raise SysError(Kind.EACCES)  # what was handed in from outside keeps the access it came with
    if mode not in (_S_IFREG, _S_IFIFO):
        return os.dup(target.fd)
    if status.st_nlink and flags & os.O_TRUNC and have == os.O_RDONLY:
        raise SysError(Kind.EACCES)
    keep = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_TRUNC
    wanted = flags & keep | os.O_CLOEXEC | os.O_NOCTTY
    if mode == _S_IFIFO and not wanted & os.O_NONBLOCK:
        # Opening a pipe the guest holds an end of: the other end may be gone, and must not hold us.
        fd = os.open(self_path(target.fd), wanted | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        return fd
    return os.open(self_path(target.fd), wanted)


def _open_tmpfile(call: Call, fs: FsContext, start: Location, path: bytes, flags: int, mode: int, rules: Rules | None) -> int:
    found = call.sandbox.namespace.walk(fs, start, path, not flags & os.O_NOFOLLOW, rules)
    if isinstance(found, Location) and found.node.is_symlink:
        raise SysError(Kind.ELOOP)
    if not isinstance(found, Location) or not found.node.is_dir:
        raise SysError(Kind.ENOTDIR)
    check_writable(found)
    check_add(call, found)
    confine(call, found.path, landlock.opening(flags, False))
    make = getattr(found.fs, "tmpfile", None)
    if make is None:
        raise SysError(Kind.EOPNOTSUPP)
    fd = make(found.node, flags, mode_for(call, found, mode & 0o7777 & ~fs.umask))
    made = call.sandbox.namespace.reach(OpenFile(os.dup(fd)))
    if isinstance(made, Location):
        give_node(call, found, made)
    return fd


def _open_creating(
    call: Call, fs: FsContext, start: Location, path: bytes, flags: int, mode: int, cloexec: bool, rules: Rules | None
):  # fmt: skip
    namespace = call.sandbox.namespace
    follow = not flags & os.O_NOFOLLOW
    mode = mode & 0o7777 & ~fs.umask
    run = namespace.plain_run(fs, start, path) if rules is None else None
    if run is not None:
        where, names = run
        if not where.mount.read_only:
            fd = where.mount.fs.create_at(where.node, names, flags, mode)
            if fd is not None:
                return InstallFile(fd, cloexec)
    for _ in range(40):
        parent = namespace.parent(fs, start, path, rules)
        where = parent.location
        if parent.name in (b"", b".", b".."):
            raise SysError(Kind.EEXIST if flags & os.O_EXCL else Kind.EISDIR)
        if parent.slash:
            raise SysError(Kind.EISDIR)
        try:
            found = namespace.walk(fs, where, parent.name, False, rules)
        except FileNotFoundError:
            check_writable(where)
            check_add(call, where)
            confine(call, where.path, landlock.MAKE_REG | landlock.opening(flags, False))
            try:
                fd = where.fs.create(where.node, parent.name, flags, mode_for(call, where, mode))
                give(call, where, parent.name)
                return InstallFile(fd, cloexec)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
                continue  # somebody else made it meanwhile: open theirs
        if flags & os.O_EXCL:
            raise SysError(Kind.EEXIST)
        if follow and isinstance(found, Location) and found.node.is_symlink:
            link = found
            try:
                found = namespace.walk(fs, where, parent.name, True, rules)
            except FileNotFoundError:  # a symlink to nothing: O_CREAT makes what it names
                start, path = where, link.fs.readlink(link.node)
                continue
        if isinstance(found, Location) and found.node.is_dir:
            raise SysError(Kind.EISDIR)
        return open_found(call, found, flags & ~os.O_CREAT, cloexec)
    raise SysError(Kind.ELOOP)


def check_writable(location: Location) -> None:
    """EROFS on a read-only mount."""
    if location.mount.read_only:
        raise SysError(Kind.EROFS)


def _by_path(arg: int) -> When:
    """ADDFD hands over no ``O_PATH`` descriptor: the kernel has to open those, from a name that we give it."""
    return When(arg, (os.O_PATH,), Plane.STEER, mask=os.O_PATH)


@linux.answer(2, "open", _EPERM_FIFO, when=[_by_path(1)])
def open_(call: Call):
    flags = check_flags(call.int(1))
    return open_file(call, AT_FDCWD, call.path(0), flags, call.args[2])


@linux.answer(257, "openat", _EPERM_FIFO, when=[_by_path(2)])
def openat(call: Call):
    flags = check_flags(call.int(2))
    return open_file(call, call.int(0), call.path(1), flags, call.args[3])


@linux.answer(85, "creat")
def creat(call: Call):
    return open_file(call, AT_FDCWD, call.path(0), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, call.args[1])


_OPENAT2_FLAGS = 0o37777703 | 0o20000000
_RESOLVE_KNOWN = 0x3F


_PATH_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@linux.answer(437, "openat2", "RESOLVE_CACHED is EAGAIN; O_PATH of what is there is ENOSYS", Support.PARTIAL)
def openat2(call: Call):
    size = call.args[3]
    if size < 24:
        raise SysError(Kind.EINVAL)
    if size > 4096:
        raise SysError(Kind.E2BIG)
    how = call.memory.read(call.args[2], size)
    if any(how[24:]):
        raise SysError(Kind.E2BIG)
    flags, mode, resolve = (int.from_bytes(how[i : i + 8], "little") for i in (0, 8, 16))
    if resolve & ~_RESOLVE_KNOWN or flags & ~_OPENAT2_FLAGS or mode & ~0o7777:
        raise SysError(Kind.EINVAL)
    if (mode and not flags & (os.O_CREAT | _O_TMPFILE)) or (flags & os.O_PATH and flags & ~_PATH_FLAGS):
        raise SysError(Kind.EINVAL)
    beneath, in_root = resolve & kernel.RESOLVE_BENEATH, resolve & kernel.RESOLVE_IN_ROOT
    if beneath and in_root:
        raise SysError(Kind.EINVAL)
    flags = check_flags(flags)
    if resolve & kernel.RESOLVE_CACHED:
        raise SysError(Kind.EAGAIN)
    path = call.path(1)
    rules = Rules(
        beneath=() if beneath else None,
        scoped=bool(beneath or in_root),
        no_xdev=bool(resolve & kernel.RESOLVE_NO_XDEV),
        no_magic=bool(resolve & kernel.RESOLVE_NO_MAGICLINKS),
        no_symlinks=bool(resolve & kernel.RESOLVE_NO_SYMLINKS),
    )
    result = open_file(call, call.int(0), path, flags, mode, rules if resolve else None, bool(in_root))
    if flags & os.O_PATH:
        os.close(result.fd)
        raise SysError(Kind.ENOSYS)  # callers know openat(2)
    return result


# -- status -----------------------------------------------------------------------------------------


def status(call: Call, found: Location | OpenFile):
    """The status of what a walk found."""
    return os.fstat(found.fd) if isinstance(found, OpenFile) else found.mount.fs.stat(found.node)


def descriptor_status(call: Call, fd: int):
    """The status of the caller's descriptor, and the location if it lies in a made-up tree."""
    copy = OpenFile(call.files.get(fd))
    st = os.fstat(copy.fd)
    if not st.st_nlink and st.st_mode & _S_IFMT == _S_IFREG:  # an unlinked file, or a memfd of ours
        found = call.sandbox.namespace.reach(copy)
        if isinstance(found, Location):
            return found.fs.stat(found.node)
    return call.sandbox.namespace.shown(st, copy.fd) or kept_status(copy.fd, st)


def path_status(call: Call, dirfd: int, path: bytes, follow: bool) -> bytes:
    """The ``struct stat`` of what a path names."""
    fs = call.fs
    sandbox = call.sandbox
    start = fs.cwd if dirfd == AT_FDCWD or path[:1] == b"/" else call.start(dirfd)
    run = sandbox.namespace.plain_run(fs, start, path, True)
    if run is not None:
        here, names = run
        data = here.mount.fs.stat_at(here.node, names, follow)
        if data is not None:
            return give_owner(sandbox, data)
    return pack_stat(sandbox, status(call, sandbox.namespace.walk(fs, start, path, follow)))


@linux.answer(4, "stat")
def stat(call: Call):
    call.memory.write(call.args[1], path_status(call, AT_FDCWD, call.path(0), True))
    return OK


@linux.answer(6, "lstat")
def lstat(call: Call):
    call.memory.write(call.args[1], path_status(call, AT_FDCWD, call.path(0), False))
    return OK


def descriptor_data(call: Call, fd: int) -> bytes:
    """The ``struct stat`` of the caller's descriptor."""
    copy = OpenFile(call.files.get(fd))
    data = kernel.fstatat(copy.fd, b"", AT_EMPTY_PATH)
    mode = data[24] | data[25] << 8
    if mode & 0o1000 or not int.from_bytes(data[16:24], "little") or call.sandbox.namespace.shows(data[:16]):
        return pack_stat(call.sandbox, descriptor_status(call, fd))
    return give_owner(call.sandbox, data)


@linux.answer(5, "fstat")
def fstat(call: Call):
    call.memory.write(call.args[1], descriptor_data(call, call.int(0)))
    return OK


@linux.answer(262, "newfstatat")
def newfstatat(call: Call):
    flags = call.int(3)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | _AT_STATX_SYNC):
        raise SysError(Kind.EINVAL)
    path = call.path(1)
    if path:
        data = path_status(call, call.int(0), path, not flags & AT_SYMLINK_NOFOLLOW)
    elif flags & AT_EMPTY_PATH:
        fd = call.int(0)
        data = pack_stat(call.sandbox, _empty_path_status(call, fd)) if fd == AT_FDCWD else descriptor_data(call, fd)
    else:
        raise SysError(Kind.ENOENT)
    call.memory.write(call.args[2], data)
    return OK


def _empty_path_status(call: Call, dirfd: int):
    if dirfd == AT_FDCWD:
        cwd = call.process.fs.cwd
        cwd.node.refresh()
        return cwd.fs.stat(cwd.node)
    return descriptor_status(call, dirfd)


@linux.answer(332, "statx", "no birth time, no attributes; the basic fields always", Support.PARTIAL)
def statx(call: Call):
    flags, mask = call.int(2), call.args[3]
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | _AT_STATX_SYNC) or mask & 0x80000000:
        raise SysError(Kind.EINVAL)
    if flags & _AT_STATX_SYNC == _AT_STATX_SYNC:
        raise SysError(Kind.EINVAL)
    mount_id = 0
    path = call.path(1) if call.args[1] or not flags & AT_EMPTY_PATH else b""
    if not path and flags & AT_EMPTY_PATH:
        st = _empty_path_status(call, call.int(0))
    else:
        found = call.find(call.int(0), path, not flags & AT_SYMLINK_NOFOLLOW)
        st = status(call, found)
        mount_id = found.mount.id if isinstance(found, Location) else 0
    call.memory.write(call.args[4], pack_statx(call.sandbox, st, mount_id))
    return OK


def _statfs(call: Call, found: Location | OpenFile) -> bytes:
    return kernel.statfs(found.fd) if isinstance(found, OpenFile) else found.fs.statfs(found.node)


@linux.answer(137, "statfs")
def statfs(call: Call):
    data = _statfs(call, call.find(AT_FDCWD, call.path(0)))
    call.memory.write(call.args[1], data)
    return OK


@linux.answer(138, "fstatfs")
def fstatfs(call: Call):
    found = call.sandbox.namespace.reach(OpenFile(call.files.get(call.int(0))))
    call.memory.write(call.args[1], _statfs(call, found))
    return OK


@linux.answer(136, "ustat", "the device must be one the sandbox knows: always EINVAL", Support.PARTIAL)
def ustat(call: Call):
    raise SysError(Kind.EINVAL)


# -- access -----------------------------------------------------------------------------------------


def _access(call: Call, dirfd: int, path: bytes, mode: int, flags: int):
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysError(Kind.EINVAL)
    if not flags & AT_EACCESS:
        call.credentials = call.credentials.as_real()
    found = find_or_self(call, dirfd, path, flags)
    if isinstance(found, OpenFile):
        allowed = os.access(self_path(found.fd), mode)
    else:
        if mode & os.W_OK and found.node.mode & _S_IFMT in (_S_IFREG, 0o040000):
            check_writable(found)
        if mode & os.X_OK and found.node.is_file and found.mount.flags.noexec:
            raise SysError(Kind.EACCES)
        rights = call.rights
        if rights is not None and mode:
            rights.check(found, mode)
            mode &= ~os.X_OK  # which the host's bits, those of its user, say nothing of
        allowed = found.fs.access(found.node, mode)
    if not allowed:
        raise SysError(Kind.EACCES)
    return OK


@linux.answer(21, "access")
def access(call: Call):
    return _access(call, AT_FDCWD, call.path(0), call.int(1), 0)


@linux.answer(269, "faccessat")
def faccessat(call: Call):
    return _access(call, call.int(0), call.path(1), call.int(2), 0)


@linux.answer(439, "faccessat2")
def faccessat2(call: Call):
    return _access(call, call.int(0), call.path(1), call.int(2), call.int(3))


# -- mode, owner, times, size -----------------------------------------------------------------------


def descriptor_location(call: Call, fd: int) -> Location | OpenFile:
    """What the caller's descriptor is: a location of the tree, or a file outside it."""
    return call.sandbox.namespace.reach(OpenFile(call.files.get(fd)))


def _chmod(call: Call, found: Location | OpenFile, mode: int):
    if isinstance(found, OpenFile):
        status = os.fstat(found.fd)
        if status.st_nlink and not S_ISSOCK(status.st_mode):
            raise SysError(Kind.EPERM)  # a file of the host's that was handed in
        os.fchmod(found.fd, mode & 0o1777)
        return OK
    check_writable(found)
    mode &= 0o7777
    rights = call.rights
    if rights is not None:
        mode = rights.mode_kept(found.fs.stat(found.node), mode)
    found.fs.chmod(found.node, mode)
    return OK


_SET_ID = "set-id bits are kept in an extended attribute; where the file system has none they are lost"


@linux.answer(90, "chmod", _SET_ID, Support.PARTIAL)
def chmod(call: Call):
    return _chmod(call, call.find(AT_FDCWD, call.path(0)), call.args[1])


@linux.answer(91, "fchmod", _SET_ID, Support.PARTIAL)
def fchmod(call: Call):
    call.files.check_not_path(call.int(0))
    return _chmod(call, descriptor_location(call, call.int(0)), call.args[1])


@linux.answer(268, "fchmodat", _SET_ID, Support.PARTIAL)
def fchmodat(call: Call):
    return _chmod(call, call.find(call.int(0), call.path(1)), call.args[2])


@linux.answer(452, "fchmodat2", _SET_ID, Support.PARTIAL)
def fchmodat2(call: Call):
    flags = call.int(3)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysError(Kind.EINVAL)
    return _chmod(call, find_or_self(call, call.int(0), call.path(1), flags), call.args[2])


def find_or_self(call: Call, dirfd: int, path: bytes, flags: int) -> Location | OpenFile:
    """`Call.find` for the calls that take AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW."""
    if not path and flags & AT_EMPTY_PATH:
        return call.process.fs.cwd if dirfd == AT_FDCWD else descriptor_location(call, dirfd)
    return call.find(dirfd, path, not flags & AT_SYMLINK_NOFOLLOW)


def _chown(call: Call, found: Location | OpenFile, uid: int, gid: int):
    uid, gid = uid & 0xFFFFFFFF, gid & 0xFFFFFFFF
    if isinstance(found, OpenFile):
        return OK
    check_writable(found)
    rights, status = call.rights, None
    if rights is not None:
        status = found.fs.stat(found.node)
        left = rights.mode_given_away(status, *(None if number == KEEP else number for number in (uid, gid)))
    found.fs.chown(found.node, _minus(uid), _minus(gid))
    if found.fs.has_capabilities(found.node):
        found.fs.removexattr(found.node, CAPABILITY)
    if status is not None and left != status.st_mode:
        found.node.refresh()
        if found.fs.stat(found.node).st_mode != left:
            found.fs.chmod(found.node, left & 0o7777)
    return OK


def _minus(number: int) -> int:
    return -1 if number == KEEP else number


_OWNER = "an owner the host user may not give is kept in an extended attribute; symlinks and pipes have none"


@linux.answer(92, "chown", _OWNER, Support.PARTIAL)
def chown(call: Call):
    return _chown(call, call.find(AT_FDCWD, call.path(0)), call.args[1], call.args[2])


@linux.answer(94, "lchown", _OWNER, Support.PARTIAL)
def lchown(call: Call):
    return _chown(call, call.find(AT_FDCWD, call.path(0), False), call.args[1], call.args[2])


@linux.answer(93, "fchown", _OWNER, Support.PARTIAL)
def fchown(call: Call):
    call.files.check_not_path(call.int(0))
    return _chown(call, descriptor_location(call, call.int(0)), call.args[1], call.args[2])


@linux.answer(260, "fchownat", _OWNER, Support.PARTIAL)
def fchownat(call: Call):
    flags = call.int(4)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysError(Kind.EINVAL)
    return _chown(call, find_or_self(call, call.int(0), call.path(1), flags), call.args[2], call.args[3])


_UTIME_NOW = (0x3FFFFFFF).to_bytes(8, "little")
_UTIME_OMIT = (0x3FFFFFFE).to_bytes(8, "little")


def _utimens(call: Call, found: Location | OpenFile, times: bytes | None):
    if times is not None:
        for nanoseconds in (times[8:16], times[24:32]):
            value = int.from_bytes(nanoseconds, "little", signed=True)
            if not 0 <= value < 1_000_000_000 and value not in (0x3FFFFFFF, 0x3FFFFFFE):
                raise SysError(Kind.EINVAL)
    if isinstance(found, OpenFile):
        status = os.fstat(found.fd)
        if status.st_nlink and not S_ISSOCK(status.st_mode):
            raise SysError(Kind.EPERM)  # a file of the host's that was handed in
        kernel.utimensat(found.fd, b"", times, AT_EMPTY_PATH)
        return OK
    check_writable(found)
    rights = call.rights
    if rights is not None:
        now = times is None or times[8:16] == times[24:32] == _UTIME_NOW
        rights.check_times(found, now)
    found.fs.utimens(found.node, times)
    return OK


@linux.answer(280, "utimensat")
def utimensat(call: Call):
    flags = call.int(3)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysError(Kind.EINVAL)
    times = call.memory.read(call.args[2], 32) if call.args[2] else None
    if times is not None and times[8:16] == times[24:32] == _UTIME_OMIT:
        return OK
    if not call.args[1]:
        if call.int(0) == AT_FDCWD:
            raise SysError(Kind.EFAULT)
        if flags:
            raise SysError(Kind.EINVAL)
        call.files.check_not_path(call.int(0))
        return _utimens(call, descriptor_location(call, call.int(0)), times)
    return _utimens(call, find_or_self(call, call.int(0), call.path(1), flags), times)


def _timevals(call: Call, address: int) -> bytes | None:
    """Two ``struct timeval`` as the 32 bytes of two ``struct timespec``."""
    if not address:
        return None
    fields = call.memory.read(address, 32)
    seconds = [fields[0:8], fields[16:24]]
    result = b""
    for second, raw in zip(seconds, (fields[8:16], fields[24:32]), strict=True):
        micro = int.from_bytes(raw, "little", signed=True)
        if not 0 <= micro < 1_000_000:
            raise SysError(Kind.EINVAL)
        result += second + (micro * 1000).to_bytes(8, "little")
    return result


@linux.answer(235, "utimes")
def utimes(call: Call):
    return _utimens(call, call.find(AT_FDCWD, call.path(0)), _timevals(call, call.args[1]))


@linux.answer(261, "futimesat")
def futimesat(call: Call):
    times = _timevals(call, call.args[2])
    if not call.args[1]:
        return _utimens(call, descriptor_location(call, call.int(0)), times)
    return _utimens(call, call.find(call.int(0), call.path(1)), times)


@linux.answer(132, "utime")
def utime(call: Call):
    times = None
    if call.args[1]:
        fields = call.memory.read(call.args[1], 16)
        times = fields[:8] + bytes(8) + fields[8:] + bytes(8)
    return _utimens(call, call.find(AT_FDCWD, call.path(0)), times)


def _check_size(call: Call, found: Location, length: int) -> None:
    """EFBIG, with SIGXFSZ, where a file grows beyond what the caller may write; setrlimit(2)."""
    limit = resource.prlimit(call.process.pid, resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and length > limit and length > found.fs.stat(found.node).st_size:
        os.kill(call.process.pid, signal.SIGXFSZ)
        raise SysError(Kind.EFBIG)


@linux.answer(76, "truncate")
def truncate(call: Call):
    length = call.args[1]
    if length >= 1 << 63:
        raise SysError(Kind.EINVAL)
    found = call.find(AT_FDCWD, call.path(0))
    if isinstance(found, OpenFile):
        os.ftruncate(found.fd, length)
        return OK
    if found.node.is_file:
        check_writable(found)
        rights = call.rights
        if rights is not None:
            rights.check(found, WRITE)
        _check_size(call, found, length)
        _check_idle(call, found)
        _lose_rights(call, found)
    found.fs.truncate(found.node, length)
    return OK
