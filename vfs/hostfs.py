"""A host directory as a tree of the guest's: the root, a bind, and what tmpfs stands on.

Every name is resolved by the kernel beneath a descriptor that is already inside, one openat2(2) for a
whole run of names, with symlinks and magic links refused: the walk above follows those itself, within
the guest's root.  So no string of a guest's ever meets the host's own root, and a rename that races a
lookup can only end in the tree.

Set-id bits are never put on a host file: a file the guest marks set-uid would else be a set-uid
program of the host user, there for everybody who can reach the directory.  They are kept beside the file, as
are owners the host user may not give (`kept_status`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from vfs import kernel
from vfs.filesystem import CAPABILITY, DIRENT64, PROC_SUPER_MAGIC, FileSystem, Node
from vfs.kernel import error, host_path, self_path
from vfs.near import Near
from vfs.owners import FILE as OWNERS_FILE
from vfs.owners import KEPT, Beside, Kept, kept
from vfs.rights import EXECUTE, Rights

_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_WALK = kernel.how(_O_PATH, 0, _BENEATH)

# What a guest's open flags may carry to the kernel; the rest open(2) ignores.
_OPEN_FLAGS = (
    os.O_ACCMODE | os.O_APPEND | os.O_DIRECTORY | os.O_TRUNC | os.O_NONBLOCK | os.O_SYNC | os.O_DSYNC
    | os.O_NOATIME | os.O_DIRECT | os.O_ASYNC | os.O_PATH | os.O_NOFOLLOW | os.O_TMPFILE
)  # fmt: skip


# The devices whose nodes open wherever they are, by number: what anybody may have.
_DEVICES = {
    os.makedev(1, 3): b"/dev/null", os.makedev(1, 5): b"/dev/zero", os.makedev(1, 7): b"/dev/full",
    os.makedev(1, 8): b"/dev/random", os.makedev(1, 9): b"/dev/urandom",
}  # fmt: skip
SAFE_DEVICES = frozenset(_DEVICES.values())

_IN_DONT_FOLLOW, _IN_EXCL_UNLINK = 0x02000000, 0x04000000  # the latter says nothing, but a mask must say something
_RENAME_EXCHANGE = 2
_KEPT_GROUP = stat.S_ISVTX | stat.S_ISGID  # of a directory that may keep another group than the host's
_AT_ONCE = 15  # names, of 255 bytes at most, that surely fit into one path

FOREIGN = b"user.int80."  # before the name of an attribute that only the guest's kernel speaks of


_PROC_ROOT_INO = 1
_is_proc: dict[int, bool] = {}  # by device: whether it is a procfs of the host's


def check_not_proc(fd: int, status: os.stat_result) -> None:
    """EACCES for what is in the host's /proc, wherever that is mounted: it shows the supervisor's own, its memory too."""
    found = _is_proc.get(status.st_dev)
    if found is None:
        found = _is_proc[status.st_dev] = int.from_bytes(kernel.statfs(fd)[:8], "little") == PROC_SUPER_MAGIC
    if found and status.st_ino != _PROC_ROOT_INO:
        raise error(errno.EACCES)


def _rights(kind: int, mode: int) -> int:
    """Mode bits that a file keeps on the host whatever the guest says, so that its root can do what root can."""
    if os.geteuid() == 0:
        return 0
    if kind == stat.S_IFREG and mode & 0o111:
        return 0o700  # root runs what anybody may run
    return {stat.S_IFREG: 0o600, stat.S_IFDIR: 0o700, stat.S_IFIFO: 0o600}.get(kind, 0)


def _host_id(number: int, own: int) -> int:
    """The host's number of a guest's id.  EPERM for the number that the host's user has, who is root to the guest."""
    if number == own != 0:
        raise error(errno.EPERM)
    return own if number == 0 else number


def _has_attributes(node: Node) -> bool:
    return node.is_file or node.is_dir


def without(data: bytes, unwanted) -> bytes:
    """The records of getdents64(2) but those whose name is unwanted."""
    result = bytearray()
    position = 0
    while position < len(data):
        length = DIRENT64.unpack_from(data, position)[2]
        record = data[position : position + length]
        if not unwanted(record[DIRENT64.size :].split(b"\0", 1)[0]):
            result += record
        position += length
    return bytes(result)


def names_beneath(prefix: bytes, host_path: bytes) -> tuple[bytes, ...]:
    """The names from `prefix` to a host path.  ENOENT where it does not lie below, or is of something removed."""
    if host_path == prefix:
        return ()
    if prefix != b"/":
        prefix += b"/"
    if not host_path.startswith(prefix) or (host_path.endswith(b" (deleted)") and not os.path.lexists(host_path)):
        raise error(errno.ENOENT)
    return tuple(host_path[len(prefix) :].split(b"/"))


class KeptStat:
    """An ``os.stat_result`` with the owner and mode a guest gave the file, in the guest's own ids.

    What else a guest is to see otherwise can be set: ``st_dev``, ``st_ino``, ``st_nlink``, ``st_rdev``.
    """

    __slots__ = ("_status", "st_dev", "st_gid", "st_ino", "st_mode", "st_nlink", "st_rdev", "st_uid")

    def __init__(self, status: os.stat_result | KeptStat, uid: int, gid: int, mode: int) -> None:
        self._status = status
        self.st_uid = uid
        self.st_gid = gid
        self.st_mode = mode
        self.st_dev, self.st_ino = status.st_dev, status.st_ino
        self.st_nlink, self.st_rdev = status.st_nlink, status.st_rdev

    def __getattr__(self, name: str):
        return getattr(self._status, name)


def kept_status(fd: int, status: os.stat_result) -> os.stat_result | KeptStat:
    """The status of a host file as its guest left it (`vfs.owners`)."""
    what = kept(fd, status)
    if what is None:
        return status
    result = KeptStat(status, what.uid, what.gid, what.mode)
    if what.device:
        result.st_rdev = what.device
    return result


class HostNode(Node):
    """An object held by a descriptor (usually ``O_PATH``) that is closed with the node."""

    __slots__ = ("fd", "mode", "status")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.status = status = os.fstat(fd)  # once a call
        check_not_proc(fd, status)
        self.mode = mode = status.st_mode
        if mode & 0o171000 == 0o101000:  # a regular file that may stand for a device
            self.mode = kept_status(fd, status).st_mode

    def keep(self) -> None:
        held = self.fd
        self.fd = os.open(self_path(held), os.O_PATH | os.O_CLOEXEC)
        os.close(held)

    def refresh(self) -> None:
        self.status = os.fstat(self.fd)
        if not self.status.st_mode & stat.S_ISVTX:
            self.mode = self.status.st_mode

    def __del__(self) -> None:
        os.close(self.fd)


class HostFs(FileSystem):
    """The tree under one host directory."""

    type = b"hostfs"
    near: Near | None = None

    def __init__(self, directory: bytes | int, source: bytes = b"none", beside: Beside | None = None) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.root = HostNode(directory if isinstance(directory, int) else os.open(directory, flags))
        self.source = source
        self.beside = Beside(self.root.fd) if beside is None else beside

    def remember(self) -> Near | None:
        if self.near is None:
            try:
                self.near = Near(self.root.fd)
            except OSError:
                return None  # no more inotify instances for this user: it goes without
        return self.near

    def is_directory(self) -> bool:
        return self.root.is_dir

    # -- finding ------------------------------------------------------------------------------

    def _way(self, start: HostNode, names: tuple[bytes, ...]) -> tuple[int, bytes]:
        """A directory's descriptor and what is left of the way from there."""
        if self.near is not None and len(names) > 1 and start is self.root:
            way = self.near.way(names)
            if way is not None:
                return way
        return start.fd, b"/".join(names)

    def lookup(self, parent: HostNode, name: bytes) -> HostNode:
        return HostNode(kernel.openat2(parent.fd, name, _WALK))

    def walk(self, start: HostNode, names: Sequence[bytes]) -> HostNode | None:
        try:
            if len(names) > _AT_ONCE:
                return self._walk_far(start, names)
            return HostNode(kernel.openat2(start.fd, b"/".join(names), _WALK))
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                return None
            raise

    @staticmethod
    def _walk_far(start: HostNode, names: Sequence[bytes]) -> HostNode:
        """A walk that may be longer than one path can be."""
        node = start
        for position in range(0, len(names), _AT_ONCE):
            node = HostNode(kernel.openat2(node.fd, b"/".join(names[position : position + _AT_ONCE]), _WALK))
        return node

    def path_of(self, node: HostNode) -> tuple[bytes, ...]:
        return self.components(host_path(node.fd))

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        root = os.readlink(self_path(self.root.fd))  # asked each time: the tree itself may be moved
        return names_beneath(root, host_path)

    def place_unlinked(self, fd: int, host_path: bytes) -> tuple[HostNode, tuple[bytes, ...]] | None:
        try:
            names = names_beneath(os.readlink(self_path(self.root.fd)), host_path)
        except OSError:
            return None
        return HostNode(os.dup(fd)), names

    def adopt(self, fd: int, names: tuple[bytes, ...]) -> HostNode:
        return HostNode(os.dup(fd))

    def stat(self, node: HostNode) -> os.stat_result:
        return kept_status(node.fd, node.status)

    def lets_through(self, start: HostNode, names: Sequence[bytes], rights: Rights) -> bool:
        if self.beside.known:
            return False
        try:
            for length in range(1, len(names)):
                # No part of the path is a symlink: those before the last one have just been seen to be directories.
                place = self._place_at(start, names[:length])
                if place is None:
                    return False
                data = kernel.fstatat(*place, kernel.AT_SYMLINK_NOFOLLOW)
                mode = data[24] | data[25] << 8
                if mode & 0o170000 != stat.S_IFDIR:
                    return False
                if mode & stat.S_ISVTX:  # which may say that there is more to be known
                    node = self.walk(start, names[:length])
                    if node is None or not rights.allow(self.stat(node), EXECUTE):
                        return False
                elif not rights.allow_host(data, EXECUTE):
                    return False
        except OSError:
            return False
        return True

    def _place_at(self, start: HostNode, names: Sequence[bytes]) -> tuple[int, bytes] | None:
        """A descriptor and a path from it that name an object."""
        return start.fd, b"/".join(names)

    def stat_at(self, start: HostNode, names: Sequence[bytes], follow: bool) -> bytes | None:
        way = self.near.ways.get(names) if self.near is not None and start is self.root else None
        if way is not None:  # the short way
            data = kernel.fstatat(way[0], way[1], kernel.AT_SYMLINK_NOFOLLOW)
        else:
            data = self._status_beneath(*self._way(start, names))
        if data is None:
            return None
        mode = data[24] | data[25] << 8
        if mode & stat.S_ISVTX or (mode & 0o170000 == stat.S_IFLNK and follow):
            return None
        if self.beside.known and mode & 0o170000 not in (stat.S_IFREG, stat.S_IFDIR):
            return None
        return data

    @staticmethod
    def _status_beneath(at: int, path: bytes) -> bytes | None:
        """The ``struct stat`` of what plain names lead to; None where a symlink stands in the way."""
        if b"/" not in path:
            return kernel.fstatat(at, path, kernel.AT_SYMLINK_NOFOLLOW)
        try:
            fd = kernel.openat2(at, path, _WALK)
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                return None
            raise
        data = kernel.fstatat(fd, b"", kernel.AT_EMPTY_PATH)
        os.close(fd)
        return data

    def statfs(self, node: HostNode) -> bytes:
        return kernel.statfs(node.fd)

    def readlink(self, node: HostNode) -> bytes:
        return os.readlink(b"", dir_fd=node.fd)

    def getdents(self, node: HostNode, fd: int, size: int) -> bytes:
        while data := kernel.getdents64(fd, size):
            if not self.beside.known or OWNERS_FILE not in data:
                return data
            if result := without(data, lambda name: name == OWNERS_FILE):
                return result
        return b""

    # -- opening ------------------------------------------------------------------------------

    def open(self, node: HostNode, flags: int) -> int:
        kind = stat.S_IFMT(node.mode)
        if flags & os.O_PATH:
            return os.dup(node.fd)
        if kind == stat.S_IFLNK:
            raise error(errno.ELOOP)
        if kind == stat.S_IFSOCK:
            raise error(errno.ENXIO)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return self._open_device(node, flags)
        flags = flags & _OPEN_FLAGS & ~os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        if kind == stat.S_IFIFO and not flags & os.O_NONBLOCK:
            raise BlockingIOError(errno.EAGAIN, "the other end may be missing")
        return os.open(self_path(node.fd), flags)

    def _open_device(self, node: HostNode, flags: int) -> int:
        """Devices are /dev's, and ours to hand out: a node elsewhere opens what is harmless.  EACCES."""
        path = _DEVICES.get(self.stat(node).st_rdev) if stat.S_ISCHR(node.mode) else None
        if path is None:
            raise error(errno.EACCES)
        return os.open(path, flags & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK) | os.O_CLOEXEC | os.O_NOCTTY)

    def open_at(self, start: HostNode, names: Sequence[bytes], flags: int) -> int | None:
        if flags & (os.O_PATH | os.O_TMPFILE):
            return None
        return self._open_beneath(*self._way(start, names), flags)

    @staticmethod
    def _open_beneath(at: int, path: bytes, flags: int) -> int | None:
        """Open what plain names lead to, if it is a file or a directory; None where it is anything else."""
        try:
            # To open a FIFO or a device, if only to look at it, is felt by others.
            mode = os.stat(path, dir_fd=at, follow_symlinks=False).st_mode
            if mode & 0o170000 not in (stat.S_IFREG, stat.S_IFDIR) or mode & 0o171000 == 0o101000:
                return None
            if mode & 0o111 and flags & (os.O_ACCMODE | os.O_TRUNC) and mode & 0o170000 == stat.S_IFREG:
                return None  # a program, which may be running
        except OSError:
            pass  # openat2 knows why, and sees no symlinks
        # O_NONBLOCK lest a FIFO that has come meanwhile hold the supervisor; other files open the same.
        extra = flags & _OPEN_FLAGS | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            fd = kernel.openat2(at, path, kernel.how(extra, 0, _BENEATH))
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.ENXIO):
                return None
            raise
        status = os.fstat(fd)
        if status.st_mode & 0o170000 not in (stat.S_IFREG, stat.S_IFDIR) or _is_proc.get(status.st_dev, True):
            os.close(fd)
            return None  # to be looked at again, by `open`
        if not flags & os.O_NONBLOCK:
            os.set_blocking(fd, True)
        return fd

    def create(self, parent: HostNode, name: bytes, flags: int, mode: int) -> int:
        return self._create_beneath(parent.fd, name, flags, mode)

    def create_at(self, start: HostNode, names: Sequence[bytes], flags: int, mode: int) -> int | None:
        path = b"/".join(names)
        try:
            return self._create_beneath(start.fd, path, flags, mode)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                return None
            raise
        fd = self.open_at(start, names, flags & ~os.O_CREAT)
        if fd is not None and stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise error(errno.EISDIR)
        return fd

    def _create_beneath(self, at: int, path: bytes, flags: int, mode: int) -> int:
        flags = flags & _OPEN_FLAGS & ~os.O_PATH | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOCTTY
        real = mode & 0o0777 | _rights(stat.S_IFREG, mode)
        fd = kernel.openat2(at, path, kernel.how(flags, real, _BENEATH))
        if real != mode & 0o7777:
            HostFs.chmod(self, HostNode(os.open(self_path(fd), os.O_PATH | os.O_CLOEXEC)), mode)
        directory = path.rpartition(b"/")[0] or b"."
        if os.stat(directory, dir_fd=at, follow_symlinks=False).st_mode & _KEPT_GROUP == _KEPT_GROUP:
            self._inherit(at, directory, fd, mode)
        return fd

    def _inherit(self, at: int, directory: bytes, fd: int, mode: int) -> None:
        """Give a new file the group of a set-gid directory whose own is kept beside it."""
        around = HostNode(os.open(directory, os.O_PATH | os.O_CLOEXEC, dir_fd=at))
        what = kept(around.fd, around.status)
        if what is None:
            return
        node = HostNode(os.open(self_path(fd), os.O_PATH | os.O_CLOEXEC))
        HostFs.chown(self, node, -1, what.gid)
        if mode & 0o6000:
            node.refresh()
            HostFs.chmod(self, node, mode)

    def tmpfile(self, node: HostNode, flags: int, mode: int) -> int:
        """open(2) with O_TMPFILE in directory `node`."""
        keep = flags & (_OPEN_FLAGS | os.O_EXCL) & ~os.O_NOFOLLOW
        real = mode & 0o0777 | _rights(stat.S_IFREG, mode)
        fd = os.open(self_path(node.fd), keep | os.O_CLOEXEC, real)
        if real != mode & 0o7777:
            HostFs.chmod(self, HostNode(os.open(self_path(fd), os.O_PATH | os.O_CLOEXEC)), mode)
        return fd

    # -- changing -----------------------------------------------------------------------------

    def mkdir(self, parent: HostNode, name: bytes, mode: int) -> None:
        real = mode & 0o1777 | _rights(stat.S_IFDIR, mode)
        os.mkdir(name, real, dir_fd=parent.fd)
        if real != mode:
            made = self.lookup(parent, name)
            self.chmod(made, mode | made.mode & stat.S_ISGID)  # which its directory may have given it

    def mknod(self, parent: HostNode, name: bytes, mode: int, device: int) -> None:
        self._mknod_beneath(parent.fd, name, mode, device)

    def _mknod_beneath(self, at: int, path: bytes, mode: int, device: int) -> None:
        """A device is a regular file that says of itself which one it stands for."""
        is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        real = stat.S_IFREG | 0o600 if is_device else mode & ~0o7000 | _rights(stat.S_IFMT(mode), mode)
        os.mknod(path, real, dir_fd=at)
        if is_device or real != mode:
            node = HostNode(os.open(path, _O_PATH, dir_fd=at))
            self._keep(node, Kept(0, 0, mode, device))

    def symlink(self, parent: HostNode, name: bytes, target: bytes) -> None:
        os.symlink(target, name, dir_fd=parent.fd)

    def link(self, node: HostNode, new: HostNode, name: bytes) -> None:
        self.link_open(node.fd, new, name)

    def link_open(self, fd: int, new: HostNode, name: bytes) -> None:
        """Give an open file (an O_TMPFILE, say) a name; linkat(2) with AT_EMPTY_PATH."""
        kernel.linkat(kernel.AT_FDCWD, self_path(fd), new.fd, name, kernel.AT_SYMLINK_FOLLOW)

    def _last_name(self, parent: HostNode, name: bytes) -> os.stat_result | None:
        """The status of a file with something kept beside it, if this is its last name."""
        if not self.beside.known:
            return None
        try:
            status = os.stat(name.rstrip(b"/"), dir_fd=parent.fd, follow_symlinks=False)
        except OSError:
            return None
        return status if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode) else None

    def _forget_kept(self, status: os.stat_result | None) -> None:
        """Let go of what is kept beside a file that is gone: its inode number goes to another."""
        if status is not None and (status.st_dev, status.st_ino) in self.beside.known:
            self.beside.put(status, None)

    def unlink(self, parent: HostNode, name: bytes) -> None:
        last = self._last_name(parent, name)
        os.unlink(name, dir_fd=parent.fd)
        self._forget_kept(last)

    def rmdir(self, parent: HostNode, name: bytes) -> None:
        os.rmdir(name, dir_fd=parent.fd)

    def rename(self, old: HostNode, oldname: bytes, new: HostNode, name: bytes, flags: int) -> None:
        replaced = None if flags & _RENAME_EXCHANGE else self._last_name(new, name)
        same = replaced is not None and self._is_file(old, oldname, replaced)
        kernel.renameat2(old.fd, oldname, new.fd, name, flags)
        if not same:
            self._forget_kept(replaced)

    @staticmethod
    def _is_file(parent: HostNode, name: bytes, status: os.stat_result) -> bool:
        return os.path.samestat(os.stat(name.rstrip(b"/"), dir_fd=parent.fd, follow_symlinks=False), status)

    def chmod(self, node: HostNode, mode: int) -> None:
        if node.is_symlink:
            raise error(errno.EOPNOTSUPP)
        status = node.status
        what = kept(node.fd, status)
        # A directory's set-gid bit only says who owns new files in it; on a program it is a right.
        plain = mode & (0o3777 if node.is_dir else 0o0777) | _rights(stat.S_IFMT(status.st_mode), mode)
        if what is not None:
            what.mode = stat.S_IFMT(what.mode) | mode
            self._keep(node, what)
        elif plain != mode:
            self._keep(node, Kept(*self._guest_ids(status), stat.S_IFMT(status.st_mode) | mode))
        else:
            kernel.fchmod(node.fd, plain)

    @staticmethod
    def _guest_ids(status: os.stat_result) -> tuple[int, int]:
        """Owner and group as the guest sees them: what is the user's is root's."""
        uid, gid = status.st_uid, status.st_gid
        return 0 if uid == os.geteuid() else uid, 0 if gid == os.getegid() else gid

    def guest_owner(self, status: os.stat_result | KeptStat) -> tuple[int, int]:
        """Owner and group of what `stat` has given, in the guest's ids."""
        return (status.st_uid, status.st_gid) if type(status) is KeptStat else self._guest_ids(status)

    def chown(self, node: HostNode, uid: int, gid: int) -> None:
        """`uid` and `gid` are the guest's; -1 leaves one alone.  What the host refuses is kept beside."""
        status = node.status
        what = kept(node.fd, status)
        if what is None:
            try:
                kernel.fchownat(node.fd, b"", _host_id(uid, os.geteuid()), _host_id(gid, os.getegid()), kernel.AT_EMPTY_PATH)
                return
            except PermissionError:
                what = Kept(*self._guest_ids(status), status.st_mode)
        if not node.is_dir:  # chown(2): a new owner gets no set-id program
            what.mode &= ~0o6000 if what.mode & 0o010 else ~0o4000
        what.uid = what.uid if uid == -1 else uid
        what.gid = what.gid if gid == -1 else gid
        self._keep(node, what)

    def _keep(self, node: HostNode, what: Kept) -> None:
        """Keep what the guest is to see in the file's attribute, or beside it where it can have none."""
        status = os.fstat(node.fd)
        kind = stat.S_IFMT(status.st_mode)
        path = self_path(node.fd)
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            mode = what.mode & (0o2777 if kind == stat.S_IFDIR else 0o0777)
            marked = mode | stat.S_ISVTX | _rights(kind, mode) | stat.S_IRUSR | stat.S_IWUSR
            try:
                if not os.access(path, os.W_OK):
                    os.chmod(path, stat.S_IMODE(status.st_mode) | stat.S_IRUSR | stat.S_IWUSR)  # else no attribute can be set
                os.setxattr(path, KEPT, what.text())
                os.chmod(path, marked)  # last: the mark must not be there without what it marks
                return
            except OSError as problem:
                if problem.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC):
                    raise
                os.chmod(path, mode | _rights(kind, mode))
        elif kind != stat.S_IFLNK:
            os.chmod(path, what.mode & 0o0777 | _rights(kind, what.mode))
        self.beside.put(status, what)

    def utimens(self, node: HostNode, times: bytes | None) -> None:
        kernel.utimensat(node.fd, b"", times, kernel.AT_EMPTY_PATH)

    def truncate(self, node: HostNode, length: int) -> None:
        if node.is_dir:
            raise error(errno.EISDIR)
        if not node.is_file:
            raise error(errno.EINVAL)
        os.truncate(self_path(node.fd), length)

    def access(self, node: HostNode, mode: int) -> bool:
        if mode & os.X_OK and not (node.is_file or node.is_dir):  # a pipe, say: the guest's bits alone speak of that
            if not self.stat(node).st_mode & 0o111:
                return False
            mode &= ~os.X_OK
        return node.is_symlink or os.access(self_path(node.fd), mode, effective_ids=False)

    # Only user.* is the user's own; what speaks to a kernel, trusted.* and security.*, speaks to the guest's, which is
    # us: it is kept under a name of the user's.

    def getxattr(self, node: HostNode, name: bytes) -> bytes:
        name = self._attribute(node, name, errno.ENODATA)
        if not _has_attributes(node):
            raise error(errno.ENODATA)
        return os.getxattr(self_path(node.fd), name)

    def setxattr(self, node: HostNode, name: bytes, value: bytes, flags: int) -> None:
        name = self._attribute(node, name, errno.EOPNOTSUPP)
        if not _has_attributes(node):
            raise error(errno.EPERM)
        os.setxattr(self_path(node.fd), name, value, flags)
        if name == FOREIGN + CAPABILITY:
            self._mark(node)

    def _mark(self, node: HostNode) -> None:
        """See to it that a file of capabilities is one that is not opened without a look: whoever writes to it takes them."""
        if node.is_file and kept(node.fd, node.status) is None:
            self._keep(node, Kept(*self._guest_ids(node.status), node.status.st_mode))
            node.refresh()

    def has_capabilities(self, node: HostNode) -> bool:
        if not node.is_file or not os.fstat(node.fd).st_mode & stat.S_ISVTX:
            return False
        try:
            return bool(os.getxattr(self_path(node.fd), FOREIGN + CAPABILITY))
        except OSError:
            return False

    def listxattr(self, node: HostNode) -> list[bytes]:
        if not _has_attributes(node):
            return []
        names = []
        for name in map(os.fsencode, os.listxattr(self_path(node.fd))):
            if name.startswith(FOREIGN):
                names.append(name[len(FOREIGN) :])
            elif name.startswith(b"user.") and name != KEPT:
                names.append(name)
        return names

    def removexattr(self, node: HostNode, name: bytes) -> None:
        name = self._attribute(node, name, errno.EOPNOTSUPP)
        if not _has_attributes(node):
            raise error(errno.EPERM)
        os.removexattr(self_path(node.fd), name)

    @staticmethod
    def _attribute(node: HostNode, name: bytes, absent: int) -> bytes:
        """The name under which the host keeps a guest's attribute."""
        if name.startswith((b"trusted.", b"security.")):
            return FOREIGN + name
        if name == KEPT or name.startswith(FOREIGN):
            raise error(absent)
        if not name.startswith(b"user."):  # POSIX ACLs (system.*) among them: as on a file system mounted without them
            raise error(errno.EOPNOTSUPP)
        return name

    def watch(self, node: HostNode, inotify: int, mask: int) -> int:
        return kernel.inotify_add_watch(inotify, self_path(node.fd), mask & ~_IN_DONT_FOLLOW or _IN_EXCL_UNLINK)
