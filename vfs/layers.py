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
import fcntl
import os
import stat
from collections.abc import Iterable, Sequence

from vfs import kernel
from vfs.filesystem import DIRENT64, TakesTime, made_up_entries
from vfs.hostfs import HostFs, HostNode, KeptStat, kept_status, names_beneath
from vfs.journal import Inode, Journal
from vfs.kernel import error, host_path, self_path
from vfs.owners import KEPT, Beside
from vfs.removal import remove_below

OVERLAYFS_SUPER_MAGIC = 0x794C7630
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_FIND = kernel.how(_O_PATH, 0, _PLAIN)
_LIST = kernel.how(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, _PLAIN)
_DT_DIR, _DT_LNK = 4, 10
_FICLONE = 0x40049409
_AT_ONCE = 16 << 20  # bytes that are copied while everybody waits
_CHUNK = 64 << 20  # bytes copied between two looks at whether anybody still wants them
_NOREPLACE, _EXCHANGE = 1, 2
_NAME_MAX = 255
_READ = 1 << 18  # bytes of a listing fetched at once
_SNAPSHOTS = 256  # listings of merged directories kept for whoever is in the middle of one
_SNAPSHOT_SHIFT = 24  # the bits of an offset that count the entries of a listing

Names = tuple[bytes, ...]


class Dir:
    """One layer's directory as it is remembered: its entries by name, and what it hides of the layers below.

    `children` is None until it is read; an entry is a `Dir` or the d_type of anything else.
    """

    __slots__ = ("alone", "children", "hidden", "layer", "name", "opaque", "parent")

    def __init__(self, layer: Layer | None, parent: Dir | None, name: bytes) -> None:
        self.layer = layer  # None: nothing but a mask
        self.parent = parent
        self.name = name
        self.children: dict[bytes, Dir | int] | None = None
        self.hidden: set[bytes] = set()
        self.opaque = False
        self.alone = False  # made when no layer below had the name: nobody needs to look there

    def path(self) -> Names:
        """The names that lead here from the layer's root.  ENOENT once it was removed."""
        names = []
        here = self
        while here.parent is not None:
            names.append(here.name)
            here = here.parent
        if here.name:
            raise error(errno.ENOENT)
        return tuple(reversed(names))

    def remove(self) -> None:
        self.parent = None

    def list(self) -> dict[bytes, Dir | int]:
        """The entries, read at the first time."""
        if self.children is None:
            self._read()
        return self.children

    def _read(self) -> None:
        self.children = {}
        path = self.path()
        fd = self.layer.open(path, _LIST)
        try:
            for name, _, kind in read_directory(fd):
                if name == OPAQUE:
                    self.opaque = True
                elif name.startswith(WHITEOUT):
                    if not name.startswith(b".wh..wh."):
                        self.hidden.add(name[len(WHITEOUT) :])
                else:
                    self.children[name] = Dir(self.layer, self, name) if kind == _DT_DIR else kind
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Say of a directory just made that it holds nothing."""
        self.children = {}


class Layer:
    """A directory whose tree only we change, or nobody."""

    __slots__ = ("fd", "top")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.top = Dir(self, None, b"")

    def open(self, names: Names, how=_FIND) -> int:
        return kernel.openat2(self.fd, b"/".join(names) or b".", how)


def mask(paths: Iterable[bytes]) -> Dir:
    """The top of a layer without files that hides some absolute paths of those below it."""
    top = Dir(None, None, b"")
    top.empty()
    for path in paths:
        *above, last = [name for name in path.split(b"/") if name]
        here = top
        for name in above:
            inner = here.children.get(name)
            if inner is None:
                inner = here.children[name] = Dir(None, here, name)
                inner.empty()
            here = inner
        here.hidden.add(last)
    return top


def read_directory(fd: int) -> Iterable[tuple[bytes, int, int]]:
    """(name, inode, d_type) of everything in an open directory but itself and its parent, from its offset on."""
    while data := kernel.getdents64(fd, _READ):
        for name, inode, kind in records(data):
            if name not in (b".", b".."):
                if kind == 0:  # DT_UNKNOWN: some file systems do not say
                    kind = stat.S_IFMT(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode) >> 12
                yield name, inode, kind


def records(data: bytes) -> Iterable[tuple[bytes, int, int]]:
    """(name, inode, d_type) of the records of getdents64(2)."""
    position = 0
    while position < len(data):
        inode, _, length, kind = DIRENT64.unpack_from(data, position)
        yield data[position + DIRENT64.size : position + length].split(b"\0", 1)[0], inode, kind
        position += length


class LayerNode(HostNode):
    """An object of the layered tree, held by the topmost layer's file.

    `names` lead to it, as of `stamp`; `dirs` and `bottom` say where its entries are to be found, if it is a
    directory.  `layer` is None in the bottom layer.
    """

    __slots__ = ("bottom", "dirs", "fs", "layer", "names", "stamp")

    def __init__(self, fs: LayerFs, fd: int, layer: Layer | None, names: Names, dirs: tuple[Dir, ...], bottom: bool) -> None:
        super().__init__(fd)
        self.fs = fs
        self.layer = layer
        self.names = names
        self.dirs = dirs
        self.bottom = bottom
        self.stamp = fs.stamp

    def refresh(self) -> None:
        if self.stamp != self.fs.stamp:
            self.fs.renew(self)
        super().refresh()

    def become(self, fd: int, layer: Layer) -> None:
        """Stand for another file from now on: the copy."""
        os.close(self.fd)
        self.fd = fd
        self.layer = layer
        super().refresh()


class LayerFs(HostFs):
    """The layered tree.

    `lowers` are descriptors of the lower directories, the bottom one first; `upper` is that of the directory
    that takes the changes and `work` of one on the same file system for what is not ready.  `journal` is for
    layers that outlive the sandbox; `hidden` are absolute paths of the lower layers that are not there for the guest.
    """

    type = b"overlay"

    def __init__(
        self, lowers: Sequence[int], upper: int, work: int, journal: Journal | None = None, hidden: Iterable[bytes] = (),
        source: bytes = b"int80",
    ) -> None:  # fmt: skip
        self.source = source
        self.stamp = 0  # changes whenever a directory of the upper layer comes, goes or moves
        self._bottom = lowers[0]
        self._upper = Layer(upper)
        self._tops = (self._upper.top, mask(hidden), *(Layer(fd).top for fd in reversed(lowers[1:])))
        self._work = work
        self._journal = journal
        self._counter = 0
        self._prefixes = [os.readlink(self_path(fd)) for fd in (upper, *reversed(lowers))]
        self._store = os.path.commonpath([self._prefixes[0], os.readlink(self_path(work))])
        self._dev = os.fstat(upper).st_dev
        self._copies: dict[Inode, Dir | None] = {}  # lower objects that have a copy; of a directory, where
        self._origins: dict[int, Inode] = journal.origins if journal is not None else {}
        self._links: dict[Inode, int] = journal.links if journal is not None else {}
        self._prepared: dict[tuple[int, ...], str] = {}  # large files copied aside, by version
        self._preparing: dict[tuple[int, ...], object] = {}  # and a lock for each that is being copied
        self._snapshots: dict[int, tuple[Inode, list]] = {}
        self._index = self._open_work()
        self.beside = Beside(work)
        self._indexed = {self._index_key(name) for name in os.listdir(self._index.fd)}
        self._sync_root()
        self._root = self._open_node((), self._tops, True)

    def _open_work(self) -> Layer:
        """Clear what a killed supervisor left half made; the directory of shared copies."""
        remove_below(self._work, keep=("index", ".int80-owners"))
        try:
            os.mkdir("index", 0o700, dir_fd=self._work)
        except FileExistsError:
            pass
        return Layer(os.open("index", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._work))

    @staticmethod
    def _index_key(name: str) -> Inode:
        dev, _, ino = name.partition("-")
        return int(dev), int(ino)

    def _sync_root(self) -> None:
        """A new upper layer's root is like the root below it."""
        upper = self._upper
        inode = os.fstat(upper.fd).st_ino
        if inode not in self._origins and not upper.top.list() and not upper.top.hidden:
            below = LayerNode(self, os.dup(self._bottom), None, (), (), True)
            self._carry(below, upper.open(()))
            self._note_origin(inode, below.status)

    @property
    def root(self) -> LayerNode:
        return self._root

    # -- where things are ---------------------------------------------------------------------

    @staticmethod
    def _step(dirs: tuple[Dir, ...], bottom: bool, name: bytes) -> tuple[tuple[Dir, ...], bool, Dir | None]:
        """Where a name's own entries are, if it is a directory: (dirs, bottom, None); else (.., .., its directory)."""
        found = []
        for directory in dirs:
            children = directory.children
            if children is None:
                children = directory.list()
            child = children.get(name)
            if child is not None:
                if type(child) is Dir:
                    found.append(child)
                elif found:
                    return tuple(found), False, None
                else:
                    return (), False, directory
            if directory.opaque or directory.alone or name in directory.hidden:
                return tuple(found), False, None
        return tuple(found), bottom, None

    def _state(self, names: Names) -> tuple[tuple[Dir, ...], bool]:
        """Where the entries of the directory at `names` are."""
        dirs, bottom = self._tops, True
        for name in names:
            dirs, bottom, leaf = self._step(dirs, bottom, name)
            if leaf is not None:
                return (), False
        return dirs, bottom

    def _find(self, start: LayerNode, names: Sequence[bytes]):
        """(layer, names in it from its root, dirs, bottom), or None where a symlink stands in the way.

        The layer is None for the bottom, where nobody has looked yet.  ENOENT, ENOTDIR.
        """
        if start.stamp != self.stamp:
            self.renew(start)
        dirs, bottom = start.dirs, start.bottom
        base = start.names
        last = len(names) - 1
        for position, name in enumerate(names):
            if not dirs:
                break
            dirs, bottom, leaf = self._step(dirs, bottom, name)
            if leaf is not None:
                if position == last:
                    return leaf.layer, base + tuple(names), (), False
                if leaf.children[name] == _DT_LNK:
                    return None
                raise error(errno.ENOTDIR)
        for directory in dirs:
            if directory.layer is not None:
                return directory.layer, base + tuple(names), dirs, bottom
        if not bottom:
            if not start.is_dir:
                raise error(errno.ENOTDIR)
            for name in names:
                if len(name) > 255:
                    raise error(errno.ENAMETOOLONG)
            raise error(errno.ENOENT)
        return None if dirs is None else (None, base + tuple(names), dirs, True)

    def _bottom_at(self, start: LayerNode, names: Sequence[bytes]) -> tuple[int, bytes]:
        """A descriptor and a path from it that name an object of the bottom layer."""
        if start.layer is None:
            return start.fd, b"/".join(names)
        return self._bottom, b"/".join(start.names + tuple(names))

    def walk(self, start: LayerNode, names: Sequence[bytes]) -> LayerNode | None:
        found = self._find(start, names)
        if found is None:
            return None
        layer, path, dirs, bottom = found
        if layer is not None:
            node = LayerNode(self, layer.open(path), layer, path, dirs, bottom)
            if layer is self._upper:
                return node
        else:
            at, rest = self._bottom_at(start, names)
            try:
                fd = kernel.openat2(at, rest, _FIND)
            except OSError as problem:
                self._check_laid_over(problem, start, names)
                if problem.errno == errno.ELOOP:
                    return None
                raise
            node = LayerNode(self, fd, None, path, dirs, bottom)
        if self._indexed:
            self._take_shared(node)
        return node

    def _check_laid_over(self, problem: OSError, start: LayerNode, names: Sequence[bytes]) -> None:
        """ENOENT where a directory lies over a file or a symlink of the bottom layer: it has no entries there."""
        if problem.errno not in (errno.ENOTDIR, errno.ELOOP) or not start.is_dir:
            return
        dirs, covered = start.dirs, start.names
        for length in range(1, len(names)):
            dirs = self._step(dirs, True, names[length - 1])[0]
            if any(directory.layer is not None for directory in dirs):
                covered = start.names + tuple(names[:length])
        if not self._is_directory_below(covered):
            raise error(errno.ENOENT) from None

    def lookup(self, parent: LayerNode, name: bytes) -> LayerNode:
        return self.walk(parent, (name,))

    def _open_node(self, names: Names, dirs: tuple[Dir, ...], bottom: bool) -> LayerNode:
        """The node of a directory whose state is known."""
        for directory in dirs:
            if directory.layer is not None:
                return LayerNode(self, directory.layer.open(names), directory.layer, names, dirs, bottom)
        return LayerNode(self, kernel.openat2(self._bottom, b"/".join(names) or b".", _FIND), None, names, dirs, bottom)

    def renew(self, node: LayerNode) -> None:
        """Bring a directory that was kept from call to call up to date.  ENOENT when it was removed."""
        if not node.is_dir:
            return
        names = self._names_now(node)
        node.dirs, node.bottom = self._state(names)
        node.names, node.stamp = names, self.stamp
        first = next((directory.layer for directory in node.dirs if directory.layer is not None), None)
        if first is not None and first is not node.layer:
            node.become(first.open(names), first)

    def _names_now(self, node: LayerNode) -> Names:
        if node.layer is self._upper:
            return names_beneath(self._prefixes[0], host_path(node.fd))
        copy = self._copies.get((node.status.st_dev, node.status.st_ino))
        if copy is not None:
            return copy.path()
        names = self.components(host_path(node.fd))
        dirs, bottom = self._state(names)
        for directory in dirs:
            if node.layer is not None and directory.layer is node.layer:
                return names
            directory.list()
            if directory.opaque:
                raise error(errno.ENOENT)  # it was removed, and another made in its place
        if node.layer is None and bottom:
            return names
        raise error(errno.ENOENT)

    def path_of(self, node: LayerNode) -> Names:
        if node.stamp != self.stamp:
            self.renew(node)
        if node.layer is None and not node.dirs:
            return self._names_now(node)  # the host may have moved it
        return node.names

    def components(self, host_path: bytes) -> Names:
        for prefix in self._prefixes:
            try:
                names = names_beneath(prefix, host_path)
            except FileNotFoundError:
                continue
            if prefix is not self._prefixes[0] and host_path.startswith(self._store + b"/"):
                break  # a piece of the layer's own store
            return names
        raise error(errno.ENOENT)

    def place(self, fd: int, names: Names) -> tuple[LayerNode, Names] | None:
        status = os.fstat(fd)
        inode = (status.st_dev, status.st_ino)
        copy = self._copies.get(inode)
        node = None
        try:
            if copy is not None:
                names = copy.path()
            node = self.walk(self._root, names) if names else self._open_node((), self._tops, True)
        except OSError:
            pass
        if node is not None:
            same = inode in ((node.status.st_dev, node.status.st_ino), self._origins.get(node.status.st_ino))
            if same or copy is not None:
                return node, names
        if stat.S_ISDIR(status.st_mode):
            raise error(errno.ENOENT)  # the guest has removed it, whatever the layer below still has
        return None

    def place_unlinked(self, fd: int, host_path: bytes) -> tuple[LayerNode, Names] | None:
        layer = self._upper
        try:
            names = names_beneath(self._prefixes[0], host_path)
        except OSError:
            try:
                names_beneath(os.readlink(self_path(self._index.fd)), host_path)
            except OSError:
                return None
            layer, names = self._index, ()  # any of the names of a shared copy
        return LayerNode(self, os.dup(fd), layer, names, (), False), names

    # -- asking -------------------------------------------------------------------------------

    def stat(self, node: LayerNode):
        status = kept_status(node.fd, node.status)
        return self._shown(status, node.layer is self._upper or node.layer is self._index)

    def _shown(self, status, copied: bool):
        """A status as the guest is to see it: the inode number of before a copy, the names of a linked file."""
        inode = (status.st_dev, status.st_ino)
        origin = self._origins.get(status.st_ino) if copied else inode
        links = self._links.get(origin) if origin is not None else None
        if (origin is None or not copied) and links is None:
            return status
        if type(status) is not KeptStat:
            uid, gid = self._guest_owner(status)
            status = KeptStat(status, uid, gid, status.st_mode)
        status.st_dev, status.st_ino = origin
        if links is not None:
            status.st_nlink = links
        elif stat.S_ISDIR(status.st_mode):
            status.st_nlink = 1  # nobody has counted the directories of all layers
        return status

    def _guest_owner(self, status) -> tuple[int, int]:
        return (status.st_uid, status.st_gid) if type(status) is KeptStat else self._guest_ids(status)

    def shows(self, dev: int, ino: int) -> bool:
        inode = (dev, ino)
        return (dev == self._dev and ino in self._origins) or inode in self._copies or inode in self._links

    def shown(self, status: os.stat_result, fd: int):
        if status.st_dev == self._dev and status.st_ino in self._origins:
            if self._is_ours(fd):
                return self._shown(kept_status(fd, status), True)
        elif (status.st_dev, status.st_ino) in self._copies:
            try:
                placed = self.place(fd, self.components(host_path(fd)))
            except OSError:
                return None
            return None if placed is None else self.stat(placed[0])
        return None

    def _is_ours(self, fd: int) -> bool:
        """Whether a file lies in the layer's own store, not elsewhere on the same device."""
        return os.readlink(self_path(fd)).startswith(self._store + b"/")

    def stat_at(self, start: LayerNode, names: Sequence[bytes], follow: bool) -> bytes | None:
        found = self._find(start, names)
        if found is None:
            return None
        layer, path, _, _ = found
        if layer is None:
            at, rest = self._bottom_at(start, names)
            try:
                data = self._status_beneath(at, rest)
            except OSError as problem:
                self._check_laid_over(problem, start, names)
                raise
            if data is None:
                return None
        else:
            data = kernel.fstatat(layer.fd, b"/".join(path) or b".", kernel.AT_SYMLINK_NOFOLLOW)
            if layer is self._upper and int.from_bytes(data[8:16], "little") in self._origins:
                return None
        mode = data[24] | data[25] << 8
        if mode & stat.S_ISVTX or (follow and mode & 0o170000 == stat.S_IFLNK):
            return None
        if self._links and mode & 0o170000 == stat.S_IFREG and int.from_bytes(data[16:24], "little") > 1:
            return None
        return data

    def statfs(self, node: LayerNode) -> bytes:
        return OVERLAYFS_SUPER_MAGIC.to_bytes(8, "little") + kernel.statfs(self._upper.fd)[8:]

    def access(self, node: LayerNode, mode: int) -> bool:
        if mode & os.W_OK and node.layer is not self._upper:
            mode = mode & ~os.W_OK | os.R_OK  # what can be read can be copied
        return super().access(node, mode)

    # -- listing ------------------------------------------------------------------------------

    def getdents(self, node: LayerNode, fd: int, size: int) -> bytes:
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        status = os.fstat(fd)
        inode = (status.st_dev, status.st_ino)
        number = offset >> _SNAPSHOT_SHIFT
        snapshot = self._snapshots.get(number)
        if snapshot is not None and snapshot[0] == inode:
            return made_up_entries(snapshot[1], fd, size, number << _SNAPSHOT_SHIFT)
        if node.stamp != self.stamp:
            self.renew(node)
        real = sum(directory.layer is not None for directory in node.dirs) + (node.bottom and self._has_bottom(node))
        dropped = 0 < number <= self._counter  # a listing of ours that others have pushed out: on at the same place
        if real == 1 or (offset and not dropped):
            return self._filtered(node, fd, size)
        position = offset & ((1 << _SNAPSHOT_SHIFT) - 1)
        number = self._take_snapshot(node, inode)
        os.lseek(fd, number << _SNAPSHOT_SHIFT | position, os.SEEK_SET)
        return made_up_entries(self._snapshots[number][1], fd, size, number << _SNAPSHOT_SHIFT)

    def _has_bottom(self, node: LayerNode) -> bool:
        """Whether a directory is there in the bottom layer too."""
        if node.layer is None:
            return True
        return not any(directory.alone for directory in node.dirs) and self._is_directory_below(node.names)

    def _is_directory_below(self, names: Names) -> bool:
        try:
            data = self._status_beneath(self._bottom, b"/".join(names) or b".")
        except OSError:
            return False
        return data is not None and (data[24] | data[25] << 8) & 0o170000 == stat.S_IFDIR

    def _filtered(self, node: LayerNode, fd: int, size: int) -> bytes:
        """The kernel's own records of a directory that only one layer has, without what is hidden."""
        hides = [directory.hidden for directory in node.dirs if directory.layer is None and directory.hidden]
        ours = bool(self._origins) and node.layer is self._upper
        while data := kernel.getdents64(fd, size):
            if not hides and not ours and WHITEOUT not in data:
                return data
            result = bytearray()
            position = 0
            while position < len(data):
                length = DIRENT64.unpack_from(data, position)[2]
                record = data[position : position + length]
                name = record[DIRENT64.size :].split(b"\0", 1)[0]
                if not name.startswith(WHITEOUT) and not any(name in hidden for hidden in hides):
                    if ours:
                        origin = self._origins.get(int.from_bytes(record[:8], "little"))
                        if origin is not None:
                            record = origin[1].to_bytes(8, "little") + record[8:]
                    result += record
                position += length
            if result:
                return bytes(result)
        return b""

    def _take_snapshot(self, node: LayerNode, inode: Inode) -> int:
        """List a merged directory once for all: it stays as it was for whoever is reading it."""
        self._counter += 1
        here = self.stat(node).st_ino
        above = self.stat(self.walk(self._root, node.names[:-1])).st_ino if len(node.names) > 1 else self.stat(self._root).st_ino
        listing = [(b".", here, _DT_DIR), (b"..", above, _DT_DIR), *self._entries(node)]
        self._snapshots[self._counter] = (inode, listing)
        if len(self._snapshots) > _SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return self._counter

    def _entries(self, node: LayerNode) -> list[tuple[bytes, int, int]]:
        """Everything a directory holds, from all layers."""
        if node.stamp != self.stamp:
            self.renew(node)
        seen: dict[bytes, tuple[bytes, int, int]] = {}
        gone: set[bytes] = set()
        for directory in node.dirs:
            if directory.layer is not None:
                children = directory.list()
                upper = directory.layer is self._upper
                with _listing(directory.layer.open(node.names, _LIST)) as entries:
                    for name, inode, kind in entries:
                        if name in children and name not in seen and name not in gone:
                            if upper and inode in self._origins:
                                inode = self._origins[inode][1]
                            seen[name] = (name, inode, kind)
            gone |= directory.hidden
            if directory.opaque or directory.alone:
                return list(seen.values())
        if node.bottom and self._has_bottom(node):
            with _listing(kernel.openat2(self._bottom, b"/".join(node.names) or b".", _LIST)) as entries:
                for entry in entries:
                    if entry[0] not in seen and entry[0] not in gone and not entry[0].startswith(WHITEOUT):
                        seen[entry[0]] = entry
        return list(seen.values())

    # -- opening ------------------------------------------------------------------------------

    def open(self, node: LayerNode, flags: int) -> int:
        if node.layer is self._index:
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
        if layer is not self._upper:
            if flags & (os.O_ACCMODE | os.O_TRUNC) or self._indexed:
                return None
        if layer is not None:
            return self._open_beneath(layer.fd, b"/".join(path) or b".", flags)
        at, rest = self._bottom_at(start, names)
        try:
            return self._open_beneath(at, rest, flags)
        except OSError as problem:
            self._check_laid_over(problem, start, names)
            raise

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
        self._made(directory, name, _DT_LNK)

    def link(self, node: LayerNode, new: LayerNode, name: bytes) -> None:
        directory = self._place_for(new, name)
        self._copy_up(node)
        origin = self._origins.get(node.status.st_ino)
        counted = origin is not None and origin in self._links
        if counted:
            self._count(origin, 1)  # first: a count that is too low would let the lower file be seen again
        try:
            kernel.linkat(kernel.AT_FDCWD, self_path(node.fd), self._upper.fd, self._path(directory, name), kernel.AT_SYMLINK_FOLLOW)
        except OSError:
            if counted:
                self._count(origin, -1)
            raise
        self._made_link(directory, name, node)
        if origin is not None:
            self._origins[node.status.st_ino] = origin

    def _made_link(self, directory: Dir, name: bytes, node: HostNode) -> None:
        directory.list()[name] = stat.S_IFMT(node.mode) >> 12
        self._uncover(directory, name)

    def link_open(self, fd: int, new: LayerNode, name: bytes) -> None:
        directory = self._place_for(new, name)
        kernel.linkat(kernel.AT_FDCWD, self_path(fd), self._upper.fd, self._path(directory, name), kernel.AT_SYMLINK_FOLLOW)
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
        if self._entries(node):
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
                with _listing(kernel.openat2(self._bottom, path, _FIND), read=False) as fd:
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
        os.close(
            kernel.openat2(
                self._upper.fd, self._path(directory, WHITEOUT + names[-1]), kernel.how(os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, _PLAIN)
            )
        )
        directory.hidden.add(names[-1])

    def _seal(self, names: Names, directory: Dir) -> None:
        """Hide a name too long for a whiteout: everything beside it is copied, and the directory made opaque."""
        here = self._open_node(names[:-1], *self._state(names[:-1]))
        for name, _, _ in self._entries(here):
            if name != names[-1]:
                self._copy_up_whole(self.lookup(here, name))
        self._make_opaque(self._upper.fd, b"/".join(names[:-1]))
        os.utime(b"/".join(names[:-1]) or b".", dir_fd=self._upper.fd)  # as for any name that goes
        directory.opaque = True
        self.stamp += 1

    def _lost_name(self, node: LayerNode) -> None:
        """A file has one name less: keep count of those that lower layers see otherwise."""
        status = node.status
        if self.beside.known and status.st_nlink == 1:
            self._forget_kept(status)
        if not node.is_file:
            return
        if node.layer is self._upper or node.layer is self._index:
            origin = self._origins.get(status.st_ino)
        else:
            origin = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        if origin is None or (origin not in self._links and node.layer is self._upper):
            return
        self._links.setdefault(origin, status.st_nlink)
        self._count(origin, -1)
        if self._links[origin] <= 0 and origin in self._indexed:
            os.unlink("%d-%d" % origin, dir_fd=self._index.fd)
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
            if target.is_dir and self._entries(target):
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
            os.link(temporary, "%d-%d" % inode, src_dir_fd=self._work, dst_dir_fd=self._index.fd)
            self._indexed.add(inode)
        self._publish(temporary, parent, node.names[-1])
        parent.list()[node.names[-1]] = stat.S_IFMT(node.mode) >> 12
        self._copies[inode] = None
        node.become(fd, self._upper)

    def _take_shared(self, node: LayerNode) -> None:
        """A lower file with several names that was changed by another of them: its copy stands for all."""
        inode = (node.status.st_dev, node.status.st_ino)
        if inode in self._indexed and node.layer is not self._index:
            node.become(self._index.open((b"%d-%d" % inode,)), self._index)

    def _copy_up_shared(self, node: LayerNode, parent: Dir) -> None:
        temporary = self._temporary()
        inode = self._origins[node.status.st_ino]
        os.link("%d-%d" % inode, temporary, src_dir_fd=self._index.fd, dst_dir_fd=self._work)
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
            for name, _, kind in self._entries(here):
                child = self.lookup(here, name)
                if kind == _DT_DIR or child.is_dir:
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
            self._mknod_beneath(self._work, os.fsencode(temporary), kind | 0o600, node.status.st_rdev)
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
            source = os.open(self_path(node.fd), os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _share_blocks(source, target):
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
        if node.is_file or node.is_dir:
            for name in _attributes(node.fd):
                os.setxattr(self_path(fd), name, os.getxattr(self_path(node.fd), name))
        uid, gid = self._guest_owner(status)
        if uid or gid:
            HostFs.chown(self, target, uid, gid)
            target.refresh()
        if not node.is_symlink:
            HostFs.chmod(self, target, stat.S_IMODE(status.st_mode))
        times = b"".join(ns.to_bytes(8, "little", signed=True) for at in (status.st_atime_ns, status.st_mtime_ns) for ns in divmod(at, 10**9))
        kernel.utimensat(fd, b"", times, kernel.AT_EMPTY_PATH)

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


class _listing:
    """A directory's entries (or just its descriptor), closed afterwards."""

    def __init__(self, fd: int, read: bool = True) -> None:
        self._fd = fd
        self._read = read

    def __enter__(self):
        return read_directory(self._fd) if self._read else self._fd

    def __exit__(self, *_) -> None:
        os.close(self._fd)


def _attributes(fd: int) -> list[str]:
    """The extended attributes a copy takes along: the user's own, but not what is kept for a guest."""
    try:
        return [name for name in os.listxattr(self_path(fd)) if name.startswith("user.") and os.fsencode(name) != KEPT]
    except OSError:
        return []


def _share_blocks(source: int, target: int) -> bool:
    """Make a file a copy of another that shares its blocks, where the file system can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def copy_data(source: int, target: int, cancelled=lambda: False) -> bool:
    """Copy a file's contents in the kernel, leaving holes where they are; False when it was cancelled."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    position = 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
            end = os.lseek(source, position, os.SEEK_HOLE)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return True  # a hole up to the end
            end = size
        while position < end:
            if cancelled():
                return False
            count = _copy_range(source, target, position, min(end - position, _CHUNK))
            if not count:
                return True  # the source has shrunk
            position += count
    return True


def _copy_range(source: int, target: int, position: int, count: int) -> int:
    """Copy up to `count` bytes; how many."""
    try:
        return os.copy_file_range(source, target, count, position, position)
    except OSError:  # EXDEV, EINVAL, EOPNOTSUPP: not between these two file systems
        os.lseek(target, position, os.SEEK_SET)
        return os.sendfile(target, source, position, count)
