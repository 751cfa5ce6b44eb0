"""Copy-on-write layers: any number of read-only directories under one that takes all changes.

All layers are ordinary directories of an ordinary user, and the upper one holds changes as OCI layers store
them: a new or changed file at its path, an empty `.wh.NAME` for a name that is gone, and `.wh..wh..opq` in a
directory through which nothing below is seen.  A whiteout speaks of the layers below its own, so NAME and
`.wh.NAME` side by side mean that the lower NAME is gone and another stands in its place.
(OCI image specification, "Image Layer Filesystem Changeset".)

The upper layer is nobody's but ours while it is in use, and the layers between never change: their
directories are remembered as they are read, so that a path is followed in memory until only the bottom layer
is left, and costs one call of the kernel's like any other path.  The bottom layer, the host's own root
perhaps, changes as it likes and is always asked.

Every change is one rename or one file's making at the end, after all that prepares it has been done where
nobody looks: a supervisor that is killed leaves each file old or new.
"""

from __future__ import annotations

import _thread
import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence

from vfs import kernel
from vfs.copying import attributes, copy_data, share_blocks
from vfs.filesystem import CAPABILITY, TakesTime
from vfs.hostfs import FOREIGN, HostFs, HostNode, kept_status, names_beneath
from vfs.journal import Inode, Journal
from vfs.kernel import error, self_path
from vfs.layerdirs import DT_DIR, DT_LNK, FIND, OPAQUE, PLAIN, WHITEOUT, Dir, Layer, Listing, Names
from vfs.layerview import LayerNode, LayerView

_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_ONCE = 16 << 20  # bytes that are copied while everybody waits
_NOREPLACE, _EXCHANGE = 1, 2
_NAME_MAX = 255
_MAKE = kernel.how(os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, PLAIN)


class LayerFs(LayerView):
    """The layered tree, with what the guest changes in it."""

    def __init__(
        self, lowers: Sequence[int], upper: int, work: int, journal: Journal | None = None, hidden: Iterable[bytes] = (),
        source: bytes = b"int80",
    ) -> None:  # fmt: skip
        super().__init__(lowers, upper, work, journal, hidden, source)
        self._prepared: dict[tuple[int, ...], str] = {}  # large files copied aside, by version
        self._preparing: dict[tuple[int, ...], object] = {}  # and a lock for each that is being copied
        self._shared: list[Names] = []  # what a volume shows too
        self._sync_root()
        self._root = self._open_node((), self._tops, True)

    def _sync_root(self) -> None:
        """A new upper layer's root is like the root below it."""
        upper = self._upper
        inode = os.fstat(upper.fd).st_ino
        if inode not in self._origins and not upper.top.list() and not upper.top.hidden:
            below = LayerNode(self, os.dup(self._bottom), None, (), (), True)
            self._carry(below, upper.open(()))
            self._note_origin(inode, below.status)

    def settle_implied(self, implied: Mapping[int, set[Names]]) -> None:
        """Let directories look like those below them where a lower layer, by its descriptor, has them as a part of other
        names only: an archive need not say what the directories that it puts something into are like.
        """
        for names in sorted(set().union(*implied.values())):
            node = self.walk(self._root, names)
            if node is None or not node.is_dir or node.layer is self._upper:
                continue
            fds = [directory.layer.fd for directory in node.dirs if directory.layer is not None]
            if node.bottom and self._has_bottom(node):
                fds.append(self._bottom)
            told = next((fd for fd in fds if names not in implied.get(fd, ())), None)
            if told is None or told == fds[0]:
                continue
            below = HostNode(kernel.openat2(told, b"/".join(names), FIND))
            self._copy_up(node)
            self._carry(below, os.dup(node.fd))

    # -- opening ------------------------------------------------------------------------------

    def open(self, node: LayerNode, flags: int) -> int:
        if node.layer is self._index or self._is_ambiguous(node.layer, node.names):
            self._copy_up(node)  # else nobody could tell a name from the descriptor
        if flags & os.O_PATH:
            return super().open(node, flags)
        writes = flags & (os.O_ACCMODE | os.O_TRUNC)
        if (node.is_file and writes) or stat.S_ISFIFO(node.mode):
            self._copy_up(node, data=not flags & os.O_TRUNC)
        return super().open(node, flags)

    def open_at(self, start: LayerNode, names: Sequence[bytes], flags: int) -> int | None:
        if flags & (os.O_PATH | os.O_TMPFILE):
            return None
        found = self._find(start, names)
        if found is None:
            return None
        layer, path, _, _ = found
        changes = flags & (os.O_ACCMODE | os.O_TRUNC)
        if layer is not self._upper and (changes or self._indexed or self._is_ambiguous(layer, path)):
            return None
        if layer is not None:
            return self._open_beneath(layer.fd, b"/".join(path) or b".", flags)
        at, rest = self._bottom_at(start, names)
        try:
            return self._open_beneath(at, rest, flags)
        except OSError as problem:
            self._check_laid_over(problem, start, names)
            raise

    def share(self, host_path: bytes) -> None:
        """A part of a lower layer is mounted elsewhere in the sandbox too, as itself.

        A descriptor of something in it would be told for that mount's, and what is done with it for a change there:
        what is opened through the layers is copied first.
        """
        for prefix in self._prefixes[1:]:
            try:
                self._shared.append(names_beneath(prefix, host_path))
            except FileNotFoundError:
                continue

    def _is_ambiguous(self, layer: Layer | None, names: Names) -> bool:
        return bool(self._shared) and layer is not self._upper and any(names[: len(top)] == top for top in self._shared)

    def create(self, parent: LayerNode, name: bytes, flags: int, mode: int) -> int:
        directory = self._place_for(parent, name)
        fd = self._create_beneath(self._upper.fd, self._path(directory, name), flags, mode)
        self._made(directory, name, stat.S_IFREG >> 12, os.fstat(fd).st_ino)
        return fd

    def create_at(self, start: LayerNode, names: Sequence[bytes], flags: int, mode: int) -> int | None:
        """Where only the upper layer has the directory; a whiteout or another layer is more than one step."""
        if start.stamp != self.stamp:
            self.renew(start)
        dirs, bottom = start.dirs, start.bottom
        name = names[-1]
        for step in names[:-1]:
            dirs, bottom, _ = self._step(dirs, bottom, step)
        directory = dirs[0] if dirs else None
        if directory is None or not directory.alone or name in directory.list() or name.startswith(WHITEOUT) or directory.hidden:
            return None
        fd = self._create_beneath(self._upper.fd, self._path(directory, name), flags, mode)
        self._made(directory, name, stat.S_IFREG >> 12, os.fstat(fd).st_ino)
        return fd

    def tmpfile(self, node: LayerNode, flags: int, mode: int) -> int:
        return super().tmpfile(HostNode(os.dup(self._upper.fd)), flags, mode)

    # -- making -------------------------------------------------------------------------------

    @staticmethod
    def _path(directory: Dir, name: bytes) -> bytes:
        return b"/".join((*directory.path(), name))

    def _place_for(self, parent: LayerNode, name: bytes) -> Dir:
        """The upper layer's directory for a new name, which must not be there in any layer.  EEXIST, EINVAL."""
        if name.startswith(WHITEOUT):
            raise error(errno.EINVAL)
        if self._is_there(parent, name):
            raise error(errno.EEXIST)
        return self._ensure(self.path_of(parent))

    def _is_there(self, parent: LayerNode, name: bytes) -> bool:
        """Whether a directory has the name, whatever it is of."""
        try:
            found = self._find(parent, (name,))
            if found is None or found[0] is not None:
                return True
            at, path = self._bottom_at(parent, (name,))
            kernel.fstatat(at, path, kernel.AT_SYMLINK_NOFOLLOW)
            return self._status_beneath(at, path) is not None  # not so by way of a symlink that a directory lies over
        except FileNotFoundError:
            return False
        except OSError as problem:
            if problem.errno in (errno.ENOTDIR, errno.ELOOP) and parent.is_dir:  # laid over a file or a symlink
                return False
            raise

    def _made(self, directory: Dir, name: bytes, child: Dir | int, inode: int = 0) -> None:
        """Remember a new name of the upper layer; its whiteout, if it had one, is not needed any more."""
        directory.list()[name] = child
        if self._origins:
            inode = inode or os.stat(self._path(directory, name), dir_fd=self._upper.fd, follow_symlinks=False).st_ino
            if self._origins.pop(inode, None) is not None and self._journal is not None:
                self._journal.origin(inode, None)
        self._uncover(directory, name)

    def _uncover(self, directory: Dir, name: bytes) -> None:
        if name in directory.hidden:
            os.unlink(self._path(directory, WHITEOUT + name), dir_fd=self._upper.fd)
            directory.hidden.discard(name)

    def mkdir(self, parent: LayerNode, name: bytes, mode: int) -> None:
        directory = self._place_for(parent, name)
        path = self._path(directory, name)
        child = Dir(self._upper, directory, name)
        child.empty()
        if name in directory.hidden:  # what lies below must not show through
            if os.fstat(parent.fd).st_mode & stat.S_ISGID:
                mode |= stat.S_ISGID
            temporary = self._temporary()
            os.mkdir(temporary, 0o700, dir_fd=self._work)
            self._make_opaque(self._work, temporary)
            os.chmod(temporary, mode | 0o700, dir_fd=self._work)
            os.rename(temporary, path, src_dir_fd=self._work, dst_dir_fd=self._upper.fd)
            child.opaque = True
        else:
            os.mkdir(path, mode | 0o700, dir_fd=self._upper.fd)
            child.alone = True
        self._made(directory, name, child)
        self.stamp += 1
        if mode & 0o700 != 0o700:
            made = self.lookup(parent, name)
            self.chmod(made, mode | made.mode & stat.S_ISGID)

    def mknod(self, parent: LayerNode, name: bytes, mode: int, device: int) -> None:
        directory = self._place_for(parent, name)
        self._mknod_beneath(self._upper.fd, self._path(directory, name), mode, device)
        self._made(directory, name, stat.S_IFMT(mode) >> 12)

    def symlink(self, parent: LayerNode, name: bytes, target: bytes) -> None:
        directory = self._place_for(parent, name)
        os.symlink(target, self._path(directory, name), dir_fd=self._upper.fd)
        self._made(directory, name, DT_LNK)

    def link(self, node: LayerNode, new: LayerNode, name: bytes) -> None:
        directory = self._place_for(new, name)
        self._copy_up(node)
        origin = self._origins.get(node.status.st_ino)
        counted = origin is not None and origin in self._links
        if counted:
            self._count(origin, 1)  # first: a count that is too low would let the lower file be seen again
        try:
            self._link_upper(node.fd, directory, name)
        except OSError:
            if counted:
                self._count(origin, -1)
            raise
        self._made_link(directory, name, node)
        if origin is not None:
            self._origins[node.status.st_ino] = origin

    def _link_upper(self, fd: int, directory: Dir, name: bytes) -> None:
        path = self._path(directory, name)
        kernel.linkat(kernel.AT_FDCWD, self_path(fd), self._upper.fd, path, kernel.AT_SYMLINK_FOLLOW)

    def _made_link(self, directory: Dir, name: bytes, node: HostNode) -> None:
        directory.list()[name] = stat.S_IFMT(node.mode) >> 12
        self._uncover(directory, name)

    def link_open(self, fd: int, new: LayerNode, name: bytes) -> None:
        directory = self._place_for(new, name)
        self._link_upper(fd, directory, name)
        self._made_link(directory, name, HostNode(os.dup(fd)))

    # -- removing -----------------------------------------------------------------------------

    def unlink(self, parent: LayerNode, name: bytes) -> None:
        node = self.lookup(parent, name)
        if node.is_dir:
            raise error(errno.EISDIR)
        names = node.names
        below = self._below(names)
        if below is not None:
            self._hide(names, below)
        if node.layer is self._upper:
            directory = self._state(names[:-1])[0][0]
            os.unlink(self._path(directory, name), dir_fd=self._upper.fd)
            del directory.list()[name]
        self._lost_name(node)

    def rmdir(self, parent: LayerNode, name: bytes) -> None:
        node = self.lookup(parent, name)
        if not node.is_dir:
            raise error(errno.ENOTDIR)
        if self.entries(node):
            raise error(errno.ENOTEMPTY)
        below = self._below(node.names)
        if below is not None:
            self._hide(node.names, below)
        if node.layer is self._upper:
            self._remove_directory(node.dirs[0])
        self.stamp += 1

    def _remove_directory(self, directory: Dir) -> None:
        """Remove a directory of the upper layer that holds nothing but marks."""
        path = b"/".join(directory.path())
        try:
            os.rmdir(path, dir_fd=self._upper.fd)
        except OSError:
            temporary = self._temporary()
            os.rename(path, temporary, src_dir_fd=self._upper.fd, dst_dir_fd=self._work)
            self._discard(temporary)
        del directory.parent.list()[directory.name]
        directory.remove()

    def _discard(self, temporary: str) -> None:
        """Remove a directory of `work` that holds marks only."""
        fd = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._work)
        try:
            for name in os.listdir(fd):
                os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)
        os.rmdir(temporary, dir_fd=self._work)

    def _below(self, names: Names) -> os.stat_result | None:
        """What would show at a name if the upper layer's object were gone."""
        dirs, bottom = self._state(names[:-1])
        if dirs and dirs[0].layer is self._upper:
            dirs[0].list()
            if dirs[0].opaque or dirs[0].alone or names[-1] in dirs[0].hidden:
                return None
            dirs = dirs[1:]
        found, bottom, leaf = self._step(dirs, bottom, names[-1])
        path = b"/".join(names)
        if leaf is not None:
            return os.stat(path, dir_fd=leaf.layer.fd, follow_symlinks=False)
        for directory in found:
            if directory.layer is not None:
                return os.stat(path, dir_fd=directory.layer.fd, follow_symlinks=False)
        if bottom:
            try:
                with Listing(kernel.openat2(self._bottom, path, FIND), read=False) as fd:
                    return os.fstat(fd)
            except OSError:
                return None
        return None

    def _hide(self, names: Names, below: os.stat_result) -> None:
        """Put a whiteout over a name of the layers below."""
        directory = self._ensure(names[:-1])
        self._note_base(names, below)
        if len(WHITEOUT + names[-1]) > _NAME_MAX:
            self._seal(names, directory)
            return
        os.close(kernel.openat2(self._upper.fd, self._path(directory, WHITEOUT + names[-1]), _MAKE))
        directory.hidden.add(names[-1])

    def _seal(self, names: Names, directory: Dir) -> None:
        """Hide a name too long for a whiteout: everything beside it is copied, and the directory made opaque."""
        here = self._open_node(names[:-1], *self._state(names[:-1]))
        for name, _, _ in self.entries(here):
            if name != names[-1]:
                self._copy_up_whole(self.lookup(here, name))
        self._make_opaque(self._upper.fd, b"/".join(names[:-1]))
        os.utime(b"/".join(names[:-1]) or b".", dir_fd=self._upper.fd)  # as for any name that goes
        directory.opaque = True
        self.stamp += 1

    def _lost_name(self, node: LayerNode) -> None:
        """A file has one name less: keep count of those that lower layers see otherwise."""
        status = node.status
        ours = node.layer is self._upper or node.layer is self._index
        if ours and self.beside.known and status.st_nlink == 1:
            self._forget_kept(status)
        if not node.is_file:
            return
        number = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        origin = self._origins.get(status.st_ino) if ours else number
        if origin is None or (origin not in self._links and node.layer is self._upper):
            return
        self._links.setdefault(origin, status.st_nlink)
        self._count(origin, -1)
        if self._links[origin] <= 0 and origin in self._indexed:
            os.unlink(f"{origin[0]}-{origin[1]}", dir_fd=self._index.fd)
            self._indexed.discard(origin)

    def _count(self, origin: Inode, change: int) -> None:
        self._links[origin] += change
        if self._journal is not None:
            self._journal.count(origin, self._links[origin])

    # -- renaming -----------------------------------------------------------------------------

    def rename(self, old: LayerNode, oldname: bytes, new: LayerNode, name: bytes, flags: int) -> None:
        slashes = oldname.endswith(b"/"), name.endswith(b"/")
        oldname, name = oldname.rstrip(b"/"), name.rstrip(b"/")
        if name.startswith(WHITEOUT):
            raise error(errno.EINVAL)
        source = self.lookup(old, oldname)
        target = self._maybe(new, name)
        self._check_rename(source, target, slashes, flags)
        to = self.path_of(new) + (name,)
        if source.is_dir and to[:-1][: len(source.names)] == source.names:
            raise error(errno.EINVAL)
        if target is not None and target.is_dir and source.names[:-1][: len(target.names)] == target.names:
            raise error(errno.EINVAL if flags & _EXCHANGE else errno.ENOTEMPTY)
        if target is not None and self._same(source, target):
            return
        if target is not None and not flags & _EXCHANGE:
            if source.is_dir != target.is_dir:
                raise error(errno.ENOTDIR if source.is_dir else errno.EISDIR)
            if target.is_dir and self.entries(target):
                raise error(errno.ENOTEMPTY)
        self._copy_up_whole(source)
        if flags & _EXCHANGE:
            self._exchange(source, target)
        else:
            self._move(source, target, to)
        self.stamp += 1

    def _maybe(self, parent: LayerNode, name: bytes) -> LayerNode | None:
        try:
            return self.lookup(parent, name)
        except FileNotFoundError:
            return None

    @staticmethod
    def _check_rename(source: LayerNode, target: LayerNode | None, slashes: tuple[bool, bool], flags: int) -> None:
        """What may not be renamed to what; `slashes` say which of the names ask for a directory."""
        if target is not None and flags & _NOREPLACE:
            raise error(errno.EEXIST)
        if flags & _EXCHANGE:
            if target is None:
                raise error(errno.ENOENT)
            if (slashes[0] and not source.is_dir) or (slashes[1] and not target.is_dir):
                raise error(errno.ENOTDIR)
            return
        if any(slashes) and not source.is_dir:
            raise error(errno.ENOTDIR)

    def _same(self, one: LayerNode, other: LayerNode) -> bool:
        """Whether two names are of one file, in which case a rename does nothing.  rename(2)."""
        first, second = self.stat(one), self.stat(other)
        return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)

    def _move(self, source: LayerNode, target: LayerNode | None, to: Names) -> None:
        directory = self._ensure(to[:-1])
        if target is not None and target.is_dir:
            self._bare(to)  # only an empty directory can be replaced at once
        names = source.names
        origin = self._state(names[:-1])[0][0]  # the upper layer's directory it is moved from
        below = self._below(names)
        if below is not None:
            self._hide(names, below)
        below = self._below(to)
        if below is not None:
            self._note_base(to, below)
        child = origin.list()[names[-1]]
        if type(child) is Dir and (below is not None or to[-1] in directory.hidden) and not child.opaque:
            self._make_opaque(self._upper.fd, b"/".join(names))
            child.opaque = True
        os.rename(b"/".join(names), b"/".join(to), src_dir_fd=self._upper.fd, dst_dir_fd=self._upper.fd)
        del origin.list()[names[-1]]
        replaced = directory.list().get(to[-1])
        if type(replaced) is Dir:
            replaced.remove()
        directory.list()[to[-1]] = child
        if type(child) is Dir:
            child.parent, child.name = directory, to[-1]
        self._uncover(directory, to[-1])
        if target is not None:
            self._lost_name(target)

    def _bare(self, names: Names) -> None:
        """Take the marks out of a directory that holds nothing else: a whiteout over its own name says the same."""
        parent = self._upper_directory(names[:-1])
        here = parent.list().get(names[-1]) if parent is not None else None
        if type(here) is not Dir:
            return
        here.list()
        marks = [WHITEOUT + name for name in here.hidden] + [OPAQUE] * here.opaque
        below = self._below(names)
        if marks and below is not None:
            self._hide(names, below)
        for mark in marks:
            os.unlink(self._path(here, mark), dir_fd=self._upper.fd)
        here.hidden.clear()
        here.opaque = False

    def _upper_directory(self, names: Names) -> Dir | None:
        """The upper layer's directory at `names`, if it has one."""
        here = self._upper.top
        for name in names:
            here = here.list().get(name)
            if type(here) is not Dir:
                return None
        return here

    def _exchange(self, source: LayerNode, target: LayerNode) -> None:
        self._copy_up_whole(target)
        places = []
        for node in (source, target):
            directory = self._state(node.names[:-1])[0][0]
            child = directory.list()[node.names[-1]]
            places.append((directory, node.names[-1], child))
            if type(child) is Dir and not child.opaque:
                self._make_opaque(self._upper.fd, b"/".join(node.names))
                child.opaque = True
        fd = self._upper.fd
        kernel.renameat2(fd, b"/".join(source.names), fd, b"/".join(target.names), _EXCHANGE)
        for (directory, name, _), (_, _, child) in zip(places, reversed(places), strict=True):
            directory.list()[name] = child
            if type(child) is Dir:
                child.parent, child.name = directory, name

    # -- copying up ---------------------------------------------------------------------------

    def _temporary(self) -> str:
        self._counter += 1
        return f"new-{self._counter}"

    def _ensure(self, names: Names) -> Dir:
        """The upper layer's directory at `names`, copied from below if need be, as those above it."""
        here = self._upper.top
        for position, name in enumerate(names):
            child = here.list().get(name)
            if child is None:
                child = self._copy_up_directory(names[: position + 1], here)
            elif type(child) is not Dir:
                raise error(errno.ENOTDIR)
            here = child
        here.list()
        return here

    def _copy_up_directory(self, names: Names, parent: Dir) -> Dir:
        node = self.walk(self._root, names)
        if node is None or not node.is_dir:
            raise error(errno.ENOENT)
        temporary = self._temporary()
        os.mkdir(temporary, 0o700, dir_fd=self._work)
        fd = os.open(temporary, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._work)
        copied = os.fstat(fd).st_ino
        self._carry(node, fd)
        self._note_base(names, node.status)
        self._note_origin(copied, node.status)
        self._publish(temporary, parent, names[-1])
        child = parent.list()[names[-1]] = Dir(self._upper, parent, names[-1])
        child.empty()
        self._copies[(node.status.st_dev, node.status.st_ino)] = child
        self.stamp += 1
        return child

    def _copy_up(self, node: LayerNode, data: bool = True) -> None:
        """Give the upper layer a copy of an object; the node stands for that from now on."""
        if node.layer is self._upper or (node.layer is self._index and not node.names):
            return
        if node.is_dir:
            self._ensure(node.names)
            self.renew(node)
            return
        parent = self._ensure(node.names[:-1])
        self._take_shared(node)
        if node.layer is self._index:
            self._copy_up_shared(node, parent)
            return
        status = node.status
        temporary = self._temporary()
        fd = self._copy(node, temporary, data)
        copied = os.fstat(fd).st_ino
        self._note_base(node.names, status)
        self._note_origin(copied, status)
        inode = (status.st_dev, status.st_ino)
        if node.is_file and status.st_nlink > 1:
            self._links.setdefault(inode, status.st_nlink)
            self._count(inode, 0)
            os.link(temporary, f"{inode[0]}-{inode[1]}", src_dir_fd=self._work, dst_dir_fd=self._index.fd)
            self._indexed.add(inode)
        self._publish(temporary, parent, node.names[-1])
        parent.list()[node.names[-1]] = stat.S_IFMT(node.mode) >> 12
        self._copies[inode] = None
        node.become(fd, self._upper)

    def _copy_up_shared(self, node: LayerNode, parent: Dir) -> None:
        temporary = self._temporary()
        inode = self._origins[node.status.st_ino]
        os.link(f"{inode[0]}-{inode[1]}", temporary, src_dir_fd=self._index.fd, dst_dir_fd=self._work)
        below = self._below(node.names)
        if below is not None:
            self._note_base(node.names, below)
        self._publish(temporary, parent, node.names[-1])
        parent.list()[node.names[-1]] = stat.S_IFMT(node.mode) >> 12
        node.become(self._upper.open(node.names), self._upper)

    def _copy_up_whole(self, node: LayerNode) -> None:
        """Copy an object and, if it is a directory, everything in it: nothing below is needed any more."""
        self._copy_up(node)
        if not node.is_dir:
            return
        directories = [node.names]
        while directories:
            names = directories.pop()
            here = self._open_node(names, *self._state(names))
            for name, _, kind in self.entries(here):
                child = self.lookup(here, name)
                if kind == DT_DIR or child.is_dir:
                    self._ensure(child.names)
                    directories.append(child.names)
                else:
                    self._copy_up(child)

    def _copy(self, node: LayerNode, temporary: str, data: bool) -> int:
        """Make a copy called `temporary` in the work directory; an ``O_PATH`` descriptor of it."""
        kind = stat.S_IFMT(node.mode)
        if kind == stat.S_IFREG:
            self._copy_file(node, temporary, data)
        elif kind == stat.S_IFLNK:
            os.symlink(self.readlink(node), temporary, dir_fd=self._work)
        else:
            device = kept_status(node.fd, node.status).st_rdev
            self._mknod_beneath(self._work, os.fsencode(temporary), kind | 0o600, device)
        fd = os.open(temporary, _O_PATH, dir_fd=self._work)
        self._carry(node, os.dup(fd))
        return fd

    def _copy_file(self, node: LayerNode, temporary: str, data: bool) -> None:
        """Copy a file's contents.  `TakesTime` for much of it, the first time it is asked."""
        status = node.status
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        ready = self._prepared.pop(version, None)
        if ready is not None and data:
            os.rename(ready, temporary, src_dir_fd=self._work, dst_dir_fd=self._work)
            return
        target = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._work)
        try:
            if not data:
                return
            try:
                source = os.open(self_path(node.fd), os.O_RDONLY | os.O_CLOEXEC)
            except PermissionError:
                if status.st_size or status.st_blocks:
                    raise
                return  # a lock of root's, say: there is nothing that could not be read
            try:
                if share_blocks(source, target):
                    return
                if status.st_size <= _AT_ONCE:
                    copy_data(source, target)
                    return
            finally:
                os.close(source)
        finally:
            os.close(target)
        os.unlink(temporary, dir_fd=self._work)
        raise TakesTime(self._prepare(node, version))

    def _prepare(self, node: LayerNode, version: tuple[int, ...]):
        """The work of copying a large file aside, once for all who wait for it."""
        lock = self._preparing.setdefault(version, _thread.allocate_lock())
        temporary = self._temporary()
        source = os.open(self_path(node.fd), os.O_RDONLY | os.O_CLOEXEC)

        def work(cancelled) -> None:
            try:
                with lock:
                    if version in self._prepared or cancelled():
                        return
                    target = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._work)
                    try:
                        if copy_data(source, target, cancelled):
                            self._prepared[version] = temporary
                        else:
                            os.unlink(temporary, dir_fd=self._work)
                    finally:
                        os.close(target)
            finally:
                os.close(source)

        return work

    def _carry(self, node: LayerNode, fd: int) -> None:
        """Give a copy its original's owner, mode, attributes and times; `fd` is taken over."""
        target = HostNode(fd)
        status = kept_status(node.fd, node.status)
        names = attributes(node.fd) if node.is_file or node.is_dir else []
        for name in names:
            os.setxattr(self_path(fd), name, os.getxattr(self_path(node.fd), name))
        uid, gid = self.guest_owner(status)
        if uid or gid:
            HostFs.chown(self, target, uid, gid)
            target.refresh()
        if not node.is_symlink:
            HostFs.chmod(self, target, stat.S_IMODE(status.st_mode))
        if os.fsdecode(FOREIGN + CAPABILITY) in names:
            target.refresh()
            self._mark(target)
        times = [*divmod(status.st_atime_ns, 10**9), *divmod(status.st_mtime_ns, 10**9)]
        kernel.utimensat(fd, b"", b"".join(part.to_bytes(8, "little", signed=True) for part in times), kernel.AT_EMPTY_PATH)

    def _publish(self, temporary: str, parent: Dir, name: bytes) -> None:
        """Move a copy to its place; the directory there keeps its times, since nothing in it has changed."""
        upper = self._upper.fd
        where = b"/".join(parent.path()) or b"."
        before = os.stat(where, dir_fd=upper, follow_symlinks=False)
        os.rename(temporary, self._path(parent, name), src_dir_fd=self._work, dst_dir_fd=upper)
        os.utime(where, ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=upper, follow_symlinks=False)

    def _make_opaque(self, at: int, path: bytes | str) -> None:
        """Mark a directory; it keeps its times, since the guest has changed nothing in it."""
        before = os.stat(path, dir_fd=at, follow_symlinks=False)
        mark = os.path.join(os.fsencode(path), OPAQUE)
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=at))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=at, follow_symlinks=False)

    def _note_base(self, names: Names, status: os.stat_result) -> None:
        if self._journal is not None:
            self._journal.base(b"/".join(names), status)

    def _note_origin(self, copied: int, status: os.stat_result) -> None:
        self._origins[copied] = (status.st_dev, status.st_ino)
        if self._journal is not None:
            self._journal.origin(copied, (status.st_dev, status.st_ino))

    # -- changing -----------------------------------------------------------------------------

    def chmod(self, node: LayerNode, mode: int) -> None:
        if not node.is_symlink:
            self._copy_up(node)
        super().chmod(node, mode)

    def chown(self, node: LayerNode, uid: int, gid: int) -> None:
        self._copy_up(node)
        super().chown(node, uid, gid)

    def utimens(self, node: LayerNode, times: bytes | None) -> None:
        self._copy_up(node)
        super().utimens(node, times)

    def truncate(self, node: LayerNode, length: int) -> None:
        if node.is_file:
            self._copy_up(node, data=length > 0)
        super().truncate(node, length)

    def setxattr(self, node: LayerNode, name: bytes, value: bytes, flags: int) -> None:
        self._copy_up(node)
        super().setxattr(node, name, value, flags)

    def removexattr(self, node: LayerNode, name: bytes) -> None:
        if node.is_file or node.is_dir:
            super().getxattr(node, name)  # ENODATA before anything is copied
        self._copy_up(node)
        super().removexattr(node, name)

    def watch(self, node: LayerNode, inotify: int, mask: int) -> int:
        self._copy_up(node)  # changes are made there, and are to be seen
        return super().watch(node, inotify, mask)
