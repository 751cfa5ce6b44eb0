"""The mounts and devices of a sandbox that says itself what is mounted, as containers do; others are left to `containers.roots`.

They are made in their order, each at a place that is looked up in what is there by then, symlinks followed inside the root,
and made where it is missing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat

from containers.roots import mount_point
from containers.sandbox import Settings
from containers.scratch import Scratch
from containers.status import CannotRun
from vfs.filesystem import PROC_SUPER_MAGIC, FileSystem
from vfs.hostfs import HostFs, HostNode
from vfs.kernel import self_path, statfs
from vfs.namespace import Flags, Location, Namespace
from vfs.subtree import Subtree, subtree
from vfs.sysfs import SYSFS_MAGIC
from vfs.tmpfs import TmpFs

_TTY = os.makedev(5, 0)
_LINKS = {
    b"/dev/fd": b"/proc/self/fd", b"/dev/stdin": b"/proc/self/fd/0", b"/dev/stdout": b"/proc/self/fd/1",
    b"/dev/stderr": b"/proc/self/fd/2", b"/dev/ptmx": b"pts/ptmx",
}  # fmt: skip


class Mounting:
    """One mount to be made.

    `kind` is bind, tmpfs, proc, sysfs, devpts, mqueue or cgroup; `source` what mount(8) shows, of a bind the host's file or
    directory; `size` (bytes), `mode`, `uid` and `gid` are a tmpfs's; `copy`: it begins with what the directory below holds.
    """

    __slots__ = ("copy", "flags", "gid", "kind", "mode", "size", "source", "target", "uid")

    def __init__(self, kind: str, target: bytes, source: bytes, flags: Flags) -> None:
        self.kind = kind
        self.target = target
        self.source = source
        self.flags = flags
        self.size: int | None = None
        self.mode = 0o1777
        self.uid = self.gid = 0
        self.copy = False


class Node:
    """A device node to be made, one that the guest may have: null, zero, full, random, urandom or tty, or a FIFO.

    `mode` tells type and rights; `asked`: anything else at its path is an error, otherwise it is let be.
    """

    __slots__ = ("asked", "device", "gid", "mode", "path", "uid")

    def __init__(
        self, path: bytes, device: int, mode: int = stat.S_IFCHR | 0o666, uid: int = 0, gid: int = 0, asked: bool = False
    ) -> None:
        self.path = path
        self.device = device
        self.mode = mode
        self.asked = asked
        self.uid = uid
        self.gid = gid


class Table:
    """What a sandbox is to have mounted: `mounts` in their order, then `nodes`, then paths covered.

    `read_only` are paths that are mounted upon themselves, `masked` paths that are covered by something empty; both only
    where they are.
    """

    __slots__ = ("masked", "mounts", "nodes", "read_only")

    def __init__(self) -> None:
        self.mounts: list[Mounting] = []
        self.nodes: list[Node] = []
        self.masked: list[bytes] = []
        self.read_only: list[bytes] = []


class Mounter:
    """Mounts what `settings.table` says; `made_up` are the trees of `containers.sandbox`."""

    def __init__(self, namespace: Namespace, scratch: Scratch, sandbox, made_up, settings: Settings) -> None:
        self._namespace = namespace
        self._scratch = scratch
        self._sandbox = sandbox
        self._proc, self._sys, self._devices = (fs for fs, _ in made_up)
        self._table = settings.table
        self._view = settings.view

    def mount(self, terminal: str | None) -> None:
        """Mount everything but what is covered of process 1, which is not there yet; `terminal` is the sandbox's own.

        `CannotRun`.
        """
        for mounting in self._table.mounts:
            try:
                self._mount(mounting)
            except OSError as problem:
                raise CannotRun(f"mount {_shown(mounting.target)}: {(problem.strerror or str(problem)).lower()}") from None
        if not any(mounting.kind == "bind" and mounting.target == b"/dev" for mounting in self._table.mounts):
            for node in self._table.nodes:
                self._node(node)
            for path, target in _LINKS.items():
                self._link(path, target)
            if terminal is not None:
                self._console(os.fsencode(terminal))
        self._cover(self._table.read_only, self._table.masked)

    def cover_init(self) -> None:
        """Cover what the table says of process 1 (``/proc/self``, for who starts it), now that it is there.  `CannotRun`."""
        of_init = [(*_names(mounting.target), name) for mounting in self._table.mounts if mounting.kind == "proc"
                   for name in (b"1", b"self")]  # fmt: skip
        self._cover(*(
            [path for path in paths if any(_names(path)[: len(names)] == names for names in of_init)]
            for paths in (self._table.read_only, self._table.masked)
        ))  # fmt: skip

    def _cover(self, read_only: list[bytes], masked: list[bytes]) -> None:
        for path in read_only:
            self._read_only(path)
        for path in masked:
            self._mask(path)

    # -- mounts -------------------------------------------------------------------------------

    def _mount(self, mounting: Mounting) -> None:
        target = mounting.target
        names = _names(target)
        if not names:
            raise CannotRun(f"{os.fsdecode(target)}: not a place to mount at; the root is what linux and root say")
        below = self._copied(target) if mounting.copy else None
        fs = self._file_system(mounting)
        place = mount_point(self._namespace, names, fs.is_directory(), False)
        if isinstance(fs, HostFs) and not isinstance(fs, TmpFs):
            self._namespace.root.fs.share(os.path.realpath(mounting.source))
        self._namespace.mount(fs, place, mounting.flags)
        if isinstance(fs, TmpFs):
            if mounting.uid or mounting.gid:
                fs.chown(fs.root, mounting.uid, mounting.gid)
            if below is not None:
                shutil.copytree(self_path(below.fd), self_path(fs.root.fd), symlinks=True, ignore=_special, dirs_exist_ok=True)

    def _file_system(self, mounting: Mounting) -> FileSystem:
        from vfs.cgroupfs import CgroupFs
        from vfs.mqueuefs import MqueueFs

        match mounting.kind:
            case "bind":
                return self._bind(mounting)
            case "tmpfs":
                fs: FileSystem = TmpFs(self._scratch.directory, mounting.mode, mounting.size)
            case "proc":
                fs = Subtree(self._proc, self._proc.root)
            case "sysfs":
                fs = Subtree(self._sys, self._sys.root)
            case "devpts":
                fs = self._device_tree(b"pts", type=b"devpts")
            case "mqueue":
                fs = MqueueFs(self._sandbox.queues)
            case _:
                fs = CgroupFs(self._proc.view)
        fs.source = mounting.source or fs.source
        return fs

    def _bind(self, mounting: Mounting) -> FileSystem:
        """A host file or directory; the kernel's own trees are the sandbox's, wherever they come from."""
        source = mounting.source
        if self._view is not None:
            return self._bind_in_view(mounting)
        try:
            fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
        except OSError as problem:
            raise CannotRun(f"mount {_shown(mounting.target)}: {_shown(source)}: {problem.strerror.lower()}") from None
        status = os.fstat(fd)
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            os.close(fd)
            return self._device(status, mounting)
        kind = int.from_bytes(statfs(fd)[:8], "little")
        own = {PROC_SUPER_MAGIC: (self._proc, b"/proc"), SYSFS_MAGIC: (self._sys, b"/sys")}.get(kind)
        if own is None:
            return HostFs(fd, b"int80")
        place = os.readlink(self_path(fd))
        os.close(fd)
        if place != own[1]:
            raise CannotRun(f"mount {_shown(mounting.target)}: {_shown(source)}: a part of {_shown(own[1])} cannot be mounted")
        return Subtree(own[0], own[0].root)

    def _bind_in_view(self, mounting: Mounting) -> FileSystem:
        """The same of a place that a host program sees."""
        source = mounting.source
        try:
            found = self._view.find(source)
        except OSError as problem:
            raise CannotRun(f"mount {_shown(mounting.target)}: {_shown(source)}: {problem.strerror.lower()}") from None
        if stat.S_ISCHR(found.node.mode) or stat.S_ISBLK(found.node.mode):
            return self._device(found.fs.stat(found.node), mounting)
        own = {self._proc.type: self._proc, self._sys.type: self._sys}.get(found.fs.type)
        if own is not None:
            if found.path != found.mount.path:
                raise CannotRun(f"mount {_shown(mounting.target)}: {_shown(source)}: a part of it cannot be mounted")
            return Subtree(own, own.root)
        if found.mount.read_only:
            mounting.flags.read_only = True
        return self._view.tree(found)

    def _device(self, status: os.stat_result, mounting: Mounting) -> FileSystem:
        for name, _, _ in self._devices.entries(self._devices.root):
            node = self._devices.lookup(self._devices.root, name)
            if stat.S_ISCHR(node.mode) and stat.S_ISCHR(status.st_mode) and self._devices.stat(node).st_rdev == status.st_rdev:
                return self._device_tree(name, source=b"tmpfs")
        raise CannotRun(f"mount {_shown(mounting.target)}: {_shown(mounting.source)}: a device of the host cannot be had")

    def _copied(self, target: bytes) -> HostNode | None:
        """The directory below a tmpfs that is to begin with its content; None where there is none, or it is no host directory."""
        found = self._found(target)
        node = found.node if found is not None else None
        return node if isinstance(node, HostNode) and node.is_dir and os.listdir(self_path(node.fd)) else None

    def _device_tree(self, *names: bytes, type: bytes | None = None, source: bytes | None = None) -> Subtree:
        """A part of the sandbox's devices, with the type and the source that mount(8) is to show."""
        node = self._devices.root
        for name in names:
            node = self._devices.lookup(node, name)
        fs = Subtree(self._devices, node)
        fs.type = fs.type if type is None else type
        fs.source = type or source or fs.source
        return fs

    # -- devices ------------------------------------------------------------------------------

    def _node(self, node: Node) -> None:
        try:
            parent = self._parent(node.path)
            if parent is None:
                if node.asked:
                    self._check_same(node)
                return
            fs, directory, name = parent.fs, parent.node, _names(node.path)[-1]
            fs.mknod(directory, name, node.mode, node.device)
            if node.uid or node.gid:
                fs.chown(fs.lookup(directory, name), node.uid, node.gid)
        except OSError as problem:
            raise CannotRun(f"device {_shown(node.path)}: {problem.strerror.lower()}") from None
        if node.device == _TTY:
            self._namespace.mount(self._device_tree(b"tty"), (*parent.path, name), Flags(listed=False))

    def _check_same(self, node: Node) -> None:
        """See that what is at a node's path is what it is to be.  `CannotRun`."""
        found = self._found(node.path, follow=False)
        status = found.fs.stat(found.node)
        if (stat.S_IFMT(status.st_mode), status.st_rdev) != (stat.S_IFMT(node.mode), node.device):
            raise CannotRun(f"device {_shown(node.path)}: something else has that name in the root")

    def _link(self, path: bytes, target: bytes) -> None:
        try:
            parent = self._parent(path)
            if parent is not None:
                parent.fs.symlink(parent.node, _names(path)[-1], target)
        except OSError as problem:
            raise CannotRun(f"{_shown(path)}: {problem.strerror.lower()}") from None

    def _parent(self, path: bytes) -> Location | None:
        """The directory a name is to be made in, made itself where missing; None where the name is there."""
        if self._found(path, follow=False) is not None:
            return None
        *above, _ = _names(path)
        if not above:
            return self._namespace.root
        place = mount_point(self._namespace, tuple(above), True, False)
        return self._namespace.walk(self._namespace.context(), self._namespace.root, b"/" + b"/".join(place))

    def _console(self, terminal: bytes) -> None:
        """/dev/console is the sandbox's own terminal."""
        fs = self._device_tree(b"pts", terminal.rpartition(b"/")[2], type=b"devpts")
        place = mount_point(self._namespace, (b"dev", b"console"), False, False)
        shown = Flags(shown=b"rw,nosuid,noexec,relatime", super_shown=b"rw,gid=5,mode=620,ptmxmode=666", nosuid=True, noexec=True)
        self._namespace.mount(fs, place, shown)

    # -- what is covered ----------------------------------------------------------------------

    def _found(self, path: bytes, follow: bool = True) -> Location | None:
        """What a path leads to, None where nothing is.  `CannotRun`."""
        try:
            found = self._namespace.walk(self._namespace.context(), self._namespace.root, path, follow)
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise CannotRun(f"{_shown(path)}: {problem.strerror.lower()}") from None
        return found if isinstance(found, Location) else None

    def _read_only(self, path: bytes) -> None:
        found = self._found(path)
        if found is None or not found.path:
            return
        mount = found.mount
        flags = Flags(True, mount.flags.nosuid, mount.flags.nodev, mount.flags.noexec)
        if mount.flags.shown is not None:
            flags.shown = b"ro" + mount.flags.shown[2:]
        flags.super_shown = mount.flags.super_shown
        self._namespace.mount(subtree(mount.fs, found.node), found.path, flags)

    def _mask(self, path: bytes) -> None:
        found = self._found(path)
        if found is None or not found.path:
            return
        if found.node.is_dir:
            fs: FileSystem = TmpFs(self._scratch.directory, 0o755)
            flags = Flags(True, shown=b"ro,relatime", super_shown=b"ro")
        else:
            fs = self._device_tree(b"null", source=b"tmpfs")
            flags = Flags(shown=b"rw,nosuid", super_shown=b"rw,size=65536k,mode=755")
        self._namespace.mount(fs, found.path, flags)


def _special(directory: bytes, names: list[bytes]) -> list[bytes]:
    """Of the names in a directory those that are no file, directory or symlink, which a copy would wait at or fail for."""
    kinds = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    return [name for name in names if stat.S_IFMT(os.lstat(os.path.join(directory, name)).st_mode) not in kinds]


def _names(path: bytes) -> tuple[bytes, ...]:
    return tuple(name for name in path.split(b"/") if name)


def _shown(path: bytes) -> str:
    return os.fsdecode(path)
