"""What somebody sees who joins the mount namespace of a container's process, as podman does to copy files into a container.

The monitor is that process, and needs the machine's files: it keeps its root. But it has a mount namespace of its own, in which
the container's root is mounted on top of ``/``, and what is bound or in memory on top of that. Who is there already does not
notice; who comes by setns(2) begins at what is on top. It takes the right to mount: who has it not is left in the machine's
namespace, and who would join that one may not either, having no more rights.
"""

from __future__ import annotations

import contextlib
import os

from vfs import kernel
from vfs.hostfs import HostFs
from vfs.kernel import self_path
from vfs.namespace import Namespace
from vfs.tmpfs import TmpFs

_MOUNT, _UNSHARE, _OPEN_TREE, _MOVE_MOUNT = 165, 272, 428, 429
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 32, 4096, 16384, 1 << 19
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC, _AT_RECURSIVE = 1, os.O_CLOEXEC, 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 4


def leave() -> bool:
    """Have the calling process in a mount namespace of its own, which follows the machine's; whether it may be."""
    try:
        kernel.raw(_UNSHARE, _CLONE_NEWNS)
        _mount(None, b"/", _MS_REC | _MS_SLAVE)
    except OSError:
        return False
    return True


def show(namespace: Namespace) -> None:
    """Put a container's root, and the files that are mounted in it, where those who join find them.  OSError.

    From then on ``..`` does not lead to the machine's root any more.
    """
    root = _clone(namespace.root.node.fd)
    try:
        kernel.raw(_MOVE_MOUNT, root, b"", kernel.AT_FDCWD, b"/", _MOVE_MOUNT_F_EMPTY_PATH)
        if namespace.root.mount.read_only:
            _make_read_only(root)
        for path, mount in namespace.mounts.items():
            if path and path[0] != b"dev" and type(mount.fs) in (HostFs, TmpFs):
                with contextlib.suppress(FileNotFoundError):  # it lies in what is made up, /proc
                    _bind(root, b"/".join(path), mount)
    finally:
        os.close(root)


def _bind(root: int, path: bytes, mount) -> None:
    """Mount at a path below the root what the container has there."""
    found = kernel.openat2(root, path, kernel.how(os.O_PATH | os.O_CLOEXEC, 0, kernel.RESOLVE_IN_ROOT))
    try:
        _mount(self_path(mount.fs.root.fd), self_path(found), _MS_BIND | _MS_REC)
    finally:
        os.close(found)
    if mount.read_only:
        found = kernel.openat2(root, path, kernel.how(os.O_PATH | os.O_CLOEXEC, 0, kernel.RESOLVE_IN_ROOT))
        try:
            _make_read_only(found)
        finally:
            os.close(found)


def _make_read_only(fd: int) -> None:
    with contextlib.suppress(OSError):  # flags that somebody else has locked: it is the guest that must not write, and does not
        _mount(None, self_path(fd), _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def _clone(fd: int) -> int:
    return kernel.raw(_OPEN_TREE, fd, b"", _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE | kernel.AT_EMPTY_PATH)


def _mount(source: bytes | None, target: bytes, flags: int) -> None:
    kernel.raw(_MOUNT, source, target, None, flags, None)
