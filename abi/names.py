"""Names made, moved and removed: mkdir, link, rename, unlink and their kin."""

from __future__ import annotations

import os

from abi.dispatch import AT_FDCWD, OK, Call, Return, Support
from abi.errors import Kind, SysError
from abi.files import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, check_opened, check_writable, descriptor_location, find_or_self
from abi.linux import linux
from abi.making import confine, give, mode_for
from vfs import landlock
from vfs.namespace import Location, OpenFile, Parent
from vfs.rights import WRITE, Rights

AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
_RENAME_NOREPLACE, _RENAME_EXCHANGE, _RENAME_WHITEOUT = 1, 2, 4
_CAP_MKNOD = 27
_S_IFMT, _S_IFREG, _S_IFDIR = 0o170000, 0o100000, 0o040000
_S_IFIFO, _S_IFSOCK, _S_IFCHR, _S_IFBLK = 0o010000, 0o140000, 0o020000, 0o060000


def new_name(call: Call, dirfd: int, path: bytes, directory: bool = False, judge: bool = True) -> Parent:
    """The place for a name that must not exist yet.  EEXIST, ENOENT, EROFS, EACCES."""
    parent = call.parent(dirfd, path)
    if parent.name in (b"", b".", b".."):
        raise SysError(Kind.EEXIST)
    if call.sandbox.namespace.busy(parent.location.path + (parent.name,)):
        raise SysError(Kind.EEXIST)
    if parent.slash and not directory:
        parent.location.fs.lookup(parent.location.node, parent.name)  # ENOENT unless it is there
        raise SysError(Kind.EEXIST)
    if parent.location.mount.read_only:
        try:
            parent.location.fs.lookup(parent.location.node, parent.name)
        except FileNotFoundError:
            raise SysError(Kind.EROFS) from None
        raise SysError(Kind.EEXIST)
    rights = call.rights
    if judge and rights is not None:
        _check_absent(parent)
        rights.check_add(parent.location)
    return parent


def _check_absent(parent: Parent) -> None:
    """EEXIST comes before what the caller may do."""
    try:
        parent.location.fs.lookup(parent.location.node, parent.name)
    except FileNotFoundError:
        return
    raise SysError(Kind.EEXIST)


def _check_remove(call: Call, parent: Location, node) -> None:
    """EACCES, EPERM unless the caller may take an object's name away."""
    rights = call.rights
    if rights is not None:
        rights.check_remove(parent, parent.fs.stat(node))


def _existing(call: Call, parent: Parent) -> None:
    """EBUSY where a mount stands on or below the name, EROFS on a read-only mount."""
    if call.sandbox.namespace.busy(parent.location.path + (parent.name,)):
        raise SysError(Kind.EBUSY)
    check_writable(parent.location)


# -- making -----------------------------------------------------------------------------------------


def _mkdir(call: Call, dirfd: int, path: bytes, mode: int):
    parent = new_name(call, dirfd, path, directory=True)
    where = parent.location
    confine(call, where.path, landlock.MAKE_DIR)
    where.fs.mkdir(where.node, parent.name, mode & 0o1777 & ~call.process.fs.umask)
    give(call, where, parent.name)
    return OK


@linux.answer(83, "mkdir")
def mkdir(call: Call):
    return _mkdir(call, AT_FDCWD, call.path(0), call.args[1])


@linux.answer(258, "mkdirat")
def mkdirat(call: Call):
    return _mkdir(call, call.int(0), call.path(1), call.args[2])


def _mknod(call: Call, dirfd: int, path: bytes, mode: int, device: int):
    kind = mode & _S_IFMT
    if kind == _S_IFDIR:
        raise SysError(Kind.EPERM)
    if kind not in (0, _S_IFREG, _S_IFIFO, _S_IFSOCK, _S_IFCHR, _S_IFBLK):
        raise SysError(Kind.EINVAL)
    parent = new_name(call, dirfd, path)
    if kind in (_S_IFCHR, _S_IFBLK) and not call.credentials.capable(_CAP_MKNOD):
        raise SysError(Kind.EPERM)
    where = parent.location
    confine(call, where.path, landlock.making(kind))
    mode = (kind or _S_IFREG) | mode_for(call, where, mode & 0o7777 & ~call.process.fs.umask)
    where.fs.mknod(where.node, parent.name, mode, device & 0xFFFFFFFF)
    give(call, where, parent.name)
    return OK


_NO_DEVICES = "a device node is a file that says so; only the harmless devices open"


@linux.answer(133, "mknod", _NO_DEVICES, Support.PARTIAL)
def mknod(call: Call):
    return _mknod(call, AT_FDCWD, call.path(0), call.args[1] & 0xFFFF, call.args[2])


@linux.answer(259, "mknodat", _NO_DEVICES, Support.PARTIAL)
def mknodat(call: Call):
    return _mknod(call, call.int(0), call.path(1), call.args[2] & 0xFFFF, call.args[3])


def _symlink(call: Call, target: bytes, dirfd: int, path: bytes):
    if not target:
        raise SysError(Kind.ENOENT)
    parent = new_name(call, dirfd, path)
    confine(call, parent.location.path, landlock.MAKE_SYM)
    parent.location.fs.symlink(parent.location.node, parent.name, target)
    give(call, parent.location, parent.name)
    return OK


@linux.answer(88, "symlink")
def symlink(call: Call):
    return _symlink(call, call.path(0), AT_FDCWD, call.path(1))


@linux.answer(266, "symlinkat")
def symlinkat(call: Call):
    return _symlink(call, call.path(0), call.int(1), call.path(2))


def _link(call: Call, olddir: int, old: bytes, newdir: int, new: bytes, flags: int):
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise SysError(Kind.EINVAL)
    follow = bool(flags & AT_SYMLINK_FOLLOW) or old.endswith(b"/")
    found = find_or_self(call, olddir, old, flags & AT_EMPTY_PATH | (0 if follow else AT_SYMLINK_NOFOLLOW))
    target = _new_link(call, newdir, new, found)
    where = target.location
    if isinstance(found, OpenFile):
        if os.fstat(found.fd).st_nlink:
            raise SysError(Kind.EXDEV)  # a host file that was handed in
        check_opened(found)
        where.fs.link_open(found.fd, where.node, target.name)
        return OK
    if found.mount is not where.mount:
        raise SysError(Kind.EXDEV)
    if found.node.is_dir:
        try:
            where.fs.lookup(where.node, target.name)
        except FileNotFoundError:
            raise SysError(Kind.EPERM) from None
        raise SysError(Kind.EEXIST)
    where.fs.link(found.node, where.node, target.name)
    return OK


def _new_link(call: Call, newdir: int, new: bytes, found: Location | OpenFile) -> Parent:
    """`new_name`, with what the caller may do to the file asked in between, as the kernel does.  EXDEV, EPERM."""
    rights = call.rights
    if rights is None or isinstance(found, OpenFile):
        target = new_name(call, newdir, new)
        confine(call, target.location.path, landlock.MAKE_REG)
        return target
    target = new_name(call, newdir, new, judge=False)
    _check_absent(target)
    if found.mount is not target.location.mount:
        raise SysError(Kind.EXDEV)
    rights.check_link(found.fs.stat(found.node))
    rights.check_add(target.location)
    if call.credentials.domain is not None and not found.node.is_dir:
        new_path = target.location.path + (target.name,)
        making = landlock.making(found.node.mode)
        call.credentials.domain.check_move(call.sandbox.namespace, found.path, new_path, 0, making, False)
    return target


@linux.answer(86, "link")
def link(call: Call):
    return _link(call, AT_FDCWD, call.path(0), AT_FDCWD, call.path(1), 0)


@linux.answer(265, "linkat")
def linkat(call: Call):
    return _link(call, call.int(0), call.path(1), call.int(2), call.path(3), call.int(4))


# -- removing ---------------------------------------------------------------------------------------


def _unlink(call: Call, dirfd: int, path: bytes):
    parent = call.parent(dirfd, path)
    where = parent.location
    if parent.name in (b"", b".", b".."):
        raise SysError(Kind.EISDIR)
    check_writable(where)
    node = where.fs.lookup(where.node, parent.name)
    if parent.slash:
        raise SysError(Kind.EISDIR if node.is_dir else Kind.ENOTDIR)
    _check_remove(call, where, node)
    if node.is_dir:
        raise SysError(Kind.EISDIR)
    _existing(call, parent)
    confine(call, where.path, landlock.REMOVE_FILE)
    where.fs.unlink(where.node, parent.name)
    return OK


@linux.answer(87, "unlink")
def unlink(call: Call):
    return _unlink(call, AT_FDCWD, call.path(0))


def _rmdir(call: Call, dirfd: int, path: bytes):
    parent = call.parent(dirfd, path)
    match parent.name:
        case b"":
            raise SysError(Kind.EBUSY)
        case b".":
            raise SysError(Kind.EINVAL)
        case b"..":
            raise SysError(Kind.ENOTEMPTY)
    _existing(call, parent)
    if call.rights is not None:
        _check_remove(call, parent.location, parent.location.fs.lookup(parent.location.node, parent.name))
    confine(call, parent.location.path, landlock.REMOVE_DIR)
    parent.location.fs.rmdir(parent.location.node, parent.name)
    call.sandbox.namespace.forget_directories()
    return OK


@linux.answer(84, "rmdir")
def rmdir(call: Call):
    return _rmdir(call, AT_FDCWD, call.path(0))


@linux.answer(263, "unlinkat")
def unlinkat(call: Call):
    flags = call.int(2)
    if flags & ~AT_REMOVEDIR:
        raise SysError(Kind.EINVAL)
    remove = _rmdir if flags & AT_REMOVEDIR else _unlink
    return remove(call, call.int(0), call.path(1))


# -- renaming ---------------------------------------------------------------------------------------


def _rename(call: Call, olddir: int, old: bytes, newdir: int, new: bytes, flags: int):
    if flags & ~(_RENAME_NOREPLACE | _RENAME_EXCHANGE | _RENAME_WHITEOUT):
        raise SysError(Kind.EINVAL)
    if flags & _RENAME_EXCHANGE and flags & (_RENAME_NOREPLACE | _RENAME_WHITEOUT):
        raise SysError(Kind.EINVAL)
    if flags & _RENAME_WHITEOUT:
        raise SysError(Kind.EPERM)
    source, target = call.parent(olddir, old), call.parent(newdir, new)
    if source.location.mount is not target.location.mount:
        raise SysError(Kind.EXDEV)
    for parent in (source, target):
        if parent.name in (b"", b".", b".."):
            is_target = parent is target
            raise SysError(Kind.EEXIST if is_target and flags & _RENAME_NOREPLACE else Kind.EBUSY)
    where, to = source.location, target.location
    node = where.fs.lookup(where.node, source.name)
    for parent in (source, target):
        _existing(call, parent)
    if call.rights is not None and not _judge_rename(call, call.rights, source, node, target, flags):
        return OK
    # A slash behind a name asks for a directory, which of the two depends on the flags: the kernel knows.
    names = [parent.name + b"/" * parent.slash for parent in (source, target)]
    where.fs.rename(where.node, names[0], to.node, names[1], flags)
    call.sandbox.namespace.forget_directories()
    return OK


def _judge_rename(call: Call, rights: Rights, source: Parent, node, target: Parent, flags: int) -> bool:
    """Whether there is anything to rename.  EACCES, EPERM, after what the kernel asks for before them."""
    where, to = source.location, target.location
    exchange = flags & _RENAME_EXCHANGE
    try:
        there = to.fs.lookup(to.node, target.name)
    except FileNotFoundError:
        if exchange:
            raise
        there = None
    if there is not None and flags & _RENAME_NOREPLACE:
        raise SysError(Kind.EEXIST)
    if not node.is_dir and (source.slash or (not exchange and target.slash)):
        raise SysError(Kind.ENOTDIR)
    if exchange and target.slash and not there.is_dir:
        raise SysError(Kind.ENOTDIR)
    old, new = where.current_path() + (source.name,), to.current_path() + (target.name,)
    if new[: len(old)] == old and new != old:
        raise SysError(Kind.EINVAL)
    if old[: len(new)] == new and new != old:
        raise SysError(Kind.EINVAL if exchange else Kind.ENOTEMPTY)
    if call.credentials.domain is not None:
        _confine_rename(call, source, node, target, there, flags)
    moved, replaced = where.fs.stat(node), None if there is None else to.fs.stat(there)
    if replaced is not None and (moved.st_dev, moved.st_ino) == (replaced.st_dev, replaced.st_ino):
        return False
    rights.check_remove(where, moved)
    if replaced is None:
        rights.check_add(to)
    else:
        rights.check_remove(to, replaced)
        if not exchange and node.is_dir != there.is_dir:
            raise SysError(Kind.ENOTDIR if node.is_dir else Kind.EISDIR)
    if old[:-1] != new[:-1]:  # what moves is told of its new parent
        if node.is_dir:
            rights.check(Location(where.mount, node, old), WRITE)
        if exchange and there.is_dir:
            rights.check(Location(to.mount, there, new), WRITE)
    return True


def _confine_rename(call: Call, source: Parent, node, target: Parent, replaced, flags: int) -> None:
    """EACCES, EXDEV by the caller's landlock(7) domain; `replaced` is what has the new name, if anything."""
    domain, namespace = call.credentials.domain, call.sandbox.namespace
    old, new = (parent.location.path + (parent.name,) for parent in (source, target))
    leaving, coming = landlock.removing(node.mode), landlock.making(node.mode)
    if replaced is not None:
        coming |= landlock.removing(replaced.mode)
        if flags & _RENAME_EXCHANGE:
            leaving |= landlock.making(replaced.mode)
            domain.check_move(namespace, new, old, coming, leaving, replaced.is_dir)
    domain.check_move(namespace, old, new, leaving, coming, node.is_dir)


@linux.answer(82, "rename")
def rename(call: Call):
    return _rename(call, AT_FDCWD, call.path(0), AT_FDCWD, call.path(1), 0)


@linux.answer(264, "renameat")
def renameat(call: Call):
    return _rename(call, call.int(0), call.path(1), call.int(2), call.path(3), 0)


@linux.answer(316, "renameat2", "RENAME_WHITEOUT is EPERM", Support.PARTIAL)
def renameat2(call: Call):
    return _rename(call, call.int(0), call.path(1), call.int(2), call.path(3), call.int(4))


# -- reading links ----------------------------------------------------------------------------------


def _readlink(call: Call, dirfd: int, path: bytes, address: int, size: int):
    if path:
        found = call.find(dirfd, path, False)
    else:
        if dirfd == AT_FDCWD:
            raise SysError(Kind.ENOENT)
        found = descriptor_location(call, dirfd)
    if isinstance(found, OpenFile) or not found.node.is_symlink:
        raise SysError(Kind.EINVAL if path else Kind.ENOENT)
    target = found.fs.readlink(found.node)[:size]
    call.memory.write(address, target)
    return Return(len(target))


@linux.answer(89, "readlink")
def readlink(call: Call):
    if call.int(2) <= 0:
        raise SysError(Kind.EINVAL)
    path = call.path(0)
    if not path:
        raise SysError(Kind.ENOENT)
    return _readlink(call, AT_FDCWD, path, call.args[1], call.int(2))


@linux.answer(267, "readlinkat")
def readlinkat(call: Call):
    if call.int(3) <= 0:
        raise SysError(Kind.EINVAL)
    return _readlink(call, call.int(0), call.path(1), call.args[2], call.int(3))
