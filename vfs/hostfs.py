"""A host directory as a tree of the guest's: the root, a bind, and what tmpfs stands on.

Every name is resolved by the kernel beneath a descriptor that is already inside, one openat2(2) for a
whole run of names, with symlinks and magic links refused: the walk above follows those itself, within
the guest's root.  So no string of a guest's ever meets the host's own root, and a rename that races a
lookup can only end in the tree.

Set-id bits are never put on a host file: a file the guest marks set-uid would else be a set-uid
program of the host user, there for everybody who can reach the directory.
"""

from __future__ import annotations

import errno
import os
import stat

from vfs import kernel
from vfs.filesystem import FileSystem, Node
from vfs.kernel import error, self_path

_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_WALK = kernel.how(_O_PATH, 0, _BENEATH)

# What a guest's open flags may carry to the kernel; the rest open(2) ignores.
_OPEN_FLAGS = (
    os.O_ACCMODE | os.O_APPEND | os.O_DIRECTORY | os.O_TRUNC | os.O_NONBLOCK | os.O_SYNC | os.O_DSYNC
    | os.O_NOATIME | os.O_DIRECT | os.O_ASYNC | os.O_PATH | os.O_NOFOLLOW | os.O_TMPFILE
)  # fmt: skip


class HostNode(Node):
    """An object held by a descriptor (usually ``O_PATH``) that is closed with the node."""

    __slots__ = ("fd", "mode", "status")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.status = os.fstat(fd)  # once: a node lives no longer than a call
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

    def walk(self, start: HostNode, names: list[bytes]) -> HostNode | None:
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
        if not host_path.startswith(prefix) or host_path.endswith(b" (deleted)"):
            raise error(errno.ENOENT)
        return tuple(host_path[len(prefix) :].split(b"/"))

    def adopt(self, fd: int, names: tuple[bytes, ...]) -> HostNode:
        return HostNode(os.dup(fd))

    def stat(self, node: HostNode) -> os.stat_result:
        return os.fstat(node.fd) if node is self.root else node.status

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
        # O_NONBLOCK lest a FIFO hold the supervisor; a regular file or a directory opens the same.
        extra = flags & _OPEN_FLAGS | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = kernel.openat2(start.fd, b"/".join(names), kernel.how(extra, 0, _BENEATH))
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
        # A directory's set-gid bit only says who owns new files in it; on a program it is a right.
        os.chmod(self_path(node.fd), mode & (0o3777 if node.is_dir else 0o1777))

    def chown(self, node: HostNode, uid: int, gid: int) -> None:
        kernel.fchownat(node.fd, b"", uid, gid, kernel.AT_EMPTY_PATH)

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
        self._check_xattr(node, name, errno.ENODATA)
        return os.getxattr(self_path(node.fd), name)

    def setxattr(self, node: HostNode, name: bytes, value: bytes, flags: int) -> None:
        self._check_xattr(node, name, errno.EOPNOTSUPP)
        os.setxattr(self_path(node.fd), name, value, flags)

    def listxattr(self, node: HostNode) -> list[bytes]:
        if node.is_symlink:
            return []
        return [os.fsencode(name) for name in os.listxattr(self_path(node.fd)) if name.startswith("user.")]

    def removexattr(self, node: HostNode, name: bytes) -> None:
        self._check_xattr(node, name, errno.ENODATA)
        os.removexattr(self_path(node.fd), name)

    @staticmethod
    def _check_xattr(node: HostNode, name: bytes, absent: int) -> None:
        if not name.startswith(b"user."):
            raise error(absent)
        if not (node.is_file or node.is_dir):
            raise error(errno.EPERM)

    def watch(self, node: HostNode, inotify: int, mask: int) -> int:
        return kernel.inotify_add_watch(inotify, self_path(node.fd), mask & ~0x02000000)
