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
from vfs.filesystem import FileSystem, Node
from vfs.kernel import error, self_path

_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_WALK = kernel.how(_O_PATH, 0, _BENEATH)

_KEPT = b"user.containers.override_stat"

# What a guest's open flags may carry to the kernel; the rest open(2) ignores.
_OPEN_FLAGS = (
    os.O_ACCMODE | os.O_APPEND | os.O_DIRECTORY | os.O_TRUNC | os.O_NONBLOCK | os.O_SYNC | os.O_DSYNC
    | os.O_NOATIME | os.O_DIRECT | os.O_ASYNC | os.O_PATH | os.O_NOFOLLOW | os.O_TMPFILE
)  # fmt: skip


class KeptStat:
    """An ``os.stat_result`` with the owner and mode a guest gave the file, in the guest's own ids."""

    __slots__ = ("_status", "st_gid", "st_mode", "st_uid")

    def __init__(self, status: os.stat_result, uid: int, gid: int, mode: int) -> None:
        self._status = status
        self.st_uid = uid
        self.st_gid = gid
        self.st_mode = mode

    def __getattr__(self, name: str):
        return getattr(self._status, name)


def kept_status(fd: int, status: os.stat_result) -> os.stat_result | KeptStat:
    """The status of a host file as its guest left it.

    What the host must not or cannot have (set-id bits, owners that are not the user's to give) is kept in an
    extended attribute, written as fuse-overlayfs and podman write it.  The sticky bit, which says nothing on a
    file, marks files that have one, so the others are not asked.
    """
    if not status.st_mode & stat.S_ISVTX:
        return status
    try:
        uid, gid, mode = os.getxattr(self_path(fd), _KEPT).split(b":")[:3]
        return KeptStat(status, int(uid), int(gid), stat.S_IFMT(status.st_mode) | int(mode, 8) & 0o7777)
    except (OSError, ValueError):
        return status


class HostNode(Node):
    """An object held by a descriptor (usually ``O_PATH``) that is closed with the node."""

    __slots__ = ("fd", "mode", "status")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.status = status = os.fstat(fd)  # once a call
        self.mode = status.st_mode

    def refresh(self) -> None:
        self.status = os.fstat(self.fd)
        self.mode = self.status.st_mode

    def __del__(self) -> None:
        os.close(self.fd)


class HostFs(FileSystem):
    """The tree under one host directory.

    `careful`: look before opening, since the tree may hold device nodes whose mere opening acts.  An
    ordinary user can make none and open few, so only root pays the extra steps.
    """

    type = b"hostfs"

    def __init__(self, directory: bytes | int, source: bytes = b"none", careful: bool = False) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.root = HostNode(directory if isinstance(directory, int) else os.open(directory, flags))
        self.source = source
        self.careful = careful

    # -- finding ------------------------------------------------------------------------------

    def lookup(self, parent: HostNode, name: bytes) -> HostNode:
        return HostNode(kernel.openat2(parent.fd, name, _WALK))

    def walk(self, start: HostNode, names: Sequence[bytes]) -> HostNode | None:
        try:
            return HostNode(kernel.openat2(start.fd, b"/".join(names), _WALK))
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                return None
            raise

    def path_of(self, node: HostNode) -> tuple[bytes, ...]:
        return self.components(os.readlink(self_path(node.fd)))

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        root = os.readlink(self_path(self.root.fd))  # asked each time: the tree itself may be moved
        prefix = root if root == b"/" else root + b"/"
        if host_path == root:
            return ()
        if not host_path.startswith(prefix):
            raise error(errno.ENOENT)
        if host_path.endswith(b" (deleted)") and not os.path.lexists(host_path):
            raise error(errno.ENOENT)
        return tuple(host_path[len(prefix) :].split(b"/"))

    def adopt(self, fd: int, names: tuple[bytes, ...]) -> HostNode:
        return HostNode(os.dup(fd))

    def stat(self, node: HostNode) -> os.stat_result:
        return kept_status(node.fd, node.status)

    def stat_at(self, start: HostNode, names: Sequence[bytes], follow: bool) -> bytes | None:
        if len(names) == 1:
            data = kernel.fstatat(start.fd, names[0], kernel.AT_SYMLINK_NOFOLLOW)
        else:
            try:
                fd = kernel.openat2(start.fd, b"/".join(names), _WALK)
            except OSError as problem:
                if problem.errno == errno.ELOOP:
                    return None
                raise
            data = kernel.fstatat(fd, b"", kernel.AT_EMPTY_PATH)
            os.close(fd)
        mode = data[24] | data[25] << 8
        if mode & stat.S_ISVTX or (follow and mode & 0o170000 == stat.S_IFLNK):
            return None
        return data

    def statfs(self, node: HostNode) -> bytes:
        return kernel.statfs(node.fd)

    def readlink(self, node: HostNode) -> bytes:
        return os.readlink(b"", dir_fd=node.fd)

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
            raise error(errno.EACCES)  # devices are /dev's, and ours to hand out
        flags = flags & _OPEN_FLAGS & ~os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        if kind == stat.S_IFIFO and not flags & os.O_NONBLOCK:
            raise BlockingIOError(errno.EAGAIN, "the other end may be missing")
        return os.open(self_path(node.fd), flags)

    def open_at(self, start: HostNode, names: list[bytes], flags: int) -> int | None:
        if self.careful or flags & (os.O_PATH | os.O_TMPFILE):
            return None
        path = b"/".join(names)
        try:
            # To open a FIFO or a device, if only to look at it, is felt by others.
            kind = os.stat(path, dir_fd=start.fd, follow_symlinks=False).st_mode & 0o170000
            if kind != stat.S_IFREG and kind != stat.S_IFDIR:
                return None
        except OSError:
            pass  # openat2 knows why, and sees no symlinks
        # O_NONBLOCK lest a FIFO that has come meanwhile hold the supervisor; other files open the same.
        extra = flags & _OPEN_FLAGS | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = kernel.openat2(start.fd, path, kernel.how(extra, 0, _BENEATH))
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.ENXIO):
                return None
            raise
        kind = os.fstat(fd).st_mode & 0o170000
        if kind != stat.S_IFREG and kind != stat.S_IFDIR:
            os.close(fd)
            return None
        if not flags & os.O_NONBLOCK:
            os.set_blocking(fd, True)
        return fd

    def create(self, parent: HostNode, name: bytes, flags: int, mode: int) -> int:
        flags = flags & _OPEN_FLAGS & ~os.O_PATH | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOCTTY
        return kernel.openat2(parent.fd, name, kernel.how(flags, mode & 0o1777, _BENEATH))

    def tmpfile(self, node: HostNode, flags: int, mode: int) -> int:
        """open(2) with O_TMPFILE in directory `node`."""
        return os.open(self_path(node.fd), flags & _OPEN_FLAGS | os.O_CLOEXEC, mode & 0o1777)

    # -- changing -----------------------------------------------------------------------------

    def mkdir(self, parent: HostNode, name: bytes, mode: int) -> None:
        os.mkdir(name, mode & 0o1777, dir_fd=parent.fd)

    def mknod(self, parent: HostNode, name: bytes, mode: int, device: int) -> None:
        os.mknod(name, mode & ~0o6000, device, dir_fd=parent.fd)

    def symlink(self, parent: HostNode, name: bytes, target: bytes) -> None:
        os.symlink(target, name, dir_fd=parent.fd)

    def link(self, old: HostNode, oldname: bytes, new: HostNode, name: bytes) -> None:
        kernel.linkat(old.fd, oldname, new.fd, name, 0)

    def link_open(self, fd: int, new: HostNode, name: bytes) -> None:
        """Give an open file (an O_TMPFILE, say) a name; linkat(2) with AT_EMPTY_PATH."""
        kernel.linkat(kernel.AT_FDCWD, self_path(fd), new.fd, name, kernel.AT_SYMLINK_FOLLOW)

    def unlink(self, parent: HostNode, name: bytes) -> None:
        os.unlink(name, dir_fd=parent.fd)

    def rmdir(self, parent: HostNode, name: bytes) -> None:
        os.rmdir(name, dir_fd=parent.fd)

    def rename(self, old: HostNode, oldname: bytes, new: HostNode, name: bytes, flags: int) -> None:
        kernel.renameat2(old.fd, oldname, new.fd, name, flags)

    def chmod(self, node: HostNode, mode: int) -> None:
        if node.is_symlink:
            raise error(errno.EOPNOTSUPP)
        status = kept_status(node.fd, os.fstat(node.fd))
        # A directory's set-gid bit only says who owns new files in it; on a program it is a right.
        plain = mode & (0o3777 if node.is_dir else 0o0777)
        if type(status) is KeptStat:
            self._keep(node, status.st_uid, status.st_gid, mode)
        elif plain != mode:
            self._keep(node, 0, 0, mode)
        else:
            os.chmod(self_path(node.fd), plain)

    def chown(self, node: HostNode, uid: int, gid: int) -> None:
        """`uid` and `gid` are the guest's; -1 leaves one alone.  What the host refuses is kept beside."""
        status = kept_status(node.fd, os.fstat(node.fd))
        kept = type(status) is KeptStat
        mode = stat.S_IMODE(status.st_mode)
        if not node.is_dir:
            mode &= ~0o6000  # chown(2): a new owner gets no set-id program
        if not kept:
            try:
                host_uid = os.geteuid() if uid == 0 else uid
                host_gid = os.getegid() if gid == 0 else gid
                kernel.fchownat(node.fd, b"", host_uid, host_gid, kernel.AT_EMPTY_PATH)
                return
            except PermissionError:
                pass
        old_uid, old_gid = (status.st_uid, status.st_gid) if kept else (0, 0)
        self._keep(node, old_uid if uid == -1 else uid, old_gid if gid == -1 else gid, mode)

    def _keep(self, node: HostNode, uid: int, gid: int, mode: int) -> None:
        """Write what the guest is to see into the file's attribute; where it can have none, do what can be done."""
        if not (node.is_file or node.is_dir):
            if not node.is_symlink:
                os.chmod(self_path(node.fd), mode & 0o0777)
            return
        path = self_path(node.fd)
        try:
            os.chmod(path, mode & (0o2777 if node.is_dir else 0o0777) | stat.S_ISVTX | stat.S_IRUSR | stat.S_IWUSR)
            os.setxattr(path, _KEPT, b"%d:%d:0%o" % (uid, gid, mode))
        except OSError:
            os.chmod(path, mode & 0o1777)

    def utimens(self, node: HostNode, times: bytes | None) -> None:
        kernel.utimensat(node.fd, b"", times, kernel.AT_EMPTY_PATH)

    def truncate(self, node: HostNode, length: int) -> None:
        if node.is_dir:
            raise error(errno.EISDIR)
        if not node.is_file:
            raise error(errno.EINVAL)
        os.truncate(self_path(node.fd), length)

    def access(self, node: HostNode, mode: int) -> bool:
        return node.is_symlink or os.access(self_path(node.fd), mode, effective_ids=False)

    # Only user.* is the user's own; the other kinds speak to the host's kernel, not to the guest's.

    def getxattr(self, node: HostNode, name: bytes) -> bytes:
        if not (node.is_file or node.is_dir):
            raise error(errno.ENODATA)
        self._check_xattr(node, name, errno.ENODATA)
        return os.getxattr(self_path(node.fd), name)

    def setxattr(self, node: HostNode, name: bytes, value: bytes, flags: int) -> None:
        self._check_xattr(node, name, errno.EOPNOTSUPP)
        os.setxattr(self_path(node.fd), name, value, flags)

    def listxattr(self, node: HostNode) -> list[bytes]:
        if node.is_symlink:
            return []
        names = [os.fsencode(name) for name in os.listxattr(self_path(node.fd))]
        return [name for name in names if name.startswith(b"user.") and name != _KEPT]

    def removexattr(self, node: HostNode, name: bytes) -> None:
        self._check_xattr(node, name, errno.ENODATA)
        os.removexattr(self_path(node.fd), name)

    @staticmethod
    def _check_xattr(node: HostNode, name: bytes, absent: int) -> None:
        if not name.startswith(b"user.") or name == _KEPT:
            raise error(absent)
        if not (node.is_file or node.is_dir):
            raise error(errno.EPERM)

    def watch(self, node: HostNode, inotify: int, mask: int) -> int:
        return kernel.inotify_add_watch(inotify, self_path(node.fd), mask & ~0x02000000)
