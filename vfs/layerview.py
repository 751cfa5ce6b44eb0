"""What layers show when they are laid over each other: where an object is, what is known of it, what a directory holds.

`vfs.layers` changes them.  A path is followed through the remembered directories (`vfs.layerdirs`) until only the bottom
layer is left; the rest of it is one call of the kernel's.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterable, Sequence

from vfs import kernel
from vfs.filesystem import DIRENT64, made_up_entries
from vfs.hostfs import HostFs, HostNode, KeptStat, kept_status, names_beneath
from vfs.journal import Inode, Journal
from vfs.kernel import error, host_path, self_path
from vfs.layerdirs import DT_DIR, DT_LNK, FIND, LIST, WHITEOUT, Dir, Layer, Listing, Names, mask
from vfs.owners import Beside
from vfs.removal import remove_below

OVERLAYFS_SUPER_MAGIC = 0x794C7630
_SNAPSHOTS = 256  # listings of merged directories kept for whoever is in the middle of one
_SNAPSHOT_SHIFT = 24  # the bits of an offset that count the entries of a listing


class LayerNode(HostNode):
    """An object of the layered tree, held by the topmost layer's file.

    `names` lead to it, as of `stamp`; `dirs` and `bottom` say where its entries are to be found, if it is a
    directory.  `layer` is None in the bottom layer.
    """

    __slots__ = ("bottom", "dirs", "fs", "layer", "names", "stamp")

    def __init__(self, fs: LayerView, fd: int, layer: Layer | None, names: Names, dirs: tuple[Dir, ...], bottom: bool) -> None:
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


class LayerView(HostFs):
    """The layered tree, as far as it is only looked at.

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
        self._snapshots: dict[int, tuple[Inode, list]] = {}
        self._index = self._open_work()
        weakref.finalize(self, os.close, self._index.fd)
        self.beside = Beside(work)
        self._indexed = {self._index_key(name) for name in os.listdir(self._index.fd)}

    def _open_work(self) -> Layer:
        """Clear what a killed supervisor left half made; the directory of shared copies."""
        remove_below(self._work, keep=("index", ".int80-owners"))
        try:
            os.mkdir("index", 0o700, dir_fd=self._work)
        except FileExistsError:
            pass
        return Layer(os.open("index", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._work))

    def take_owners(self, beside: Beside) -> None:
        """A lower layer's owners of what can have no attributes are kept beside it."""
        self.beside.known |= beside.known

    @staticmethod
    def _index_key(name: str) -> Inode:
        dev, _, ino = name.partition("-")
        return int(dev), int(ino)

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
                if leaf.children[name] == DT_LNK:
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

    def _place_at(self, start: LayerNode, names: Sequence[bytes]) -> tuple[int, bytes] | None:
        found = self._find(start, names)
        if found is None:
            return None
        layer, path, _, _ = found
        return self._bottom_at(start, names) if layer is None else (layer.fd, b"/".join(path))

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
                fd = kernel.openat2(at, rest, FIND)
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
        return LayerNode(self, kernel.openat2(self._bottom, b"/".join(names) or b".", FIND), None, names, dirs, bottom)

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
            uid, gid = self.guest_owner(status)
            status = KeptStat(status, uid, gid, status.st_mode)
        status.st_dev, status.st_ino = origin
        if links is not None:
            status.st_nlink = links
        elif stat.S_ISDIR(status.st_mode):
            status.st_nlink = 1  # nobody has counted the directories of all layers
        return status

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
        if self.beside.known and mode & 0o170000 not in (stat.S_IFREG, stat.S_IFDIR):
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
        listing = [(b".", here, DT_DIR), (b"..", above, DT_DIR), *self.entries(node)]
        self._snapshots[self._counter] = (inode, listing)
        if len(self._snapshots) > _SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return self._counter

    def entries(self, node: LayerNode) -> list[tuple[bytes, int, int]]:
        """Everything a directory holds, from all layers."""
        if node.stamp != self.stamp:
            self.renew(node)
        seen: dict[bytes, tuple[bytes, int, int]] = {}
        gone: set[bytes] = set()
        for directory in node.dirs:
            if directory.layer is not None:
                children = directory.list()
                upper = directory.layer is self._upper
                with Listing(directory.layer.open(node.names, LIST)) as entries:
                    for name, inode, kind in entries:
                        if name in children and name not in seen and name not in gone:
                            if upper and inode in self._origins:
                                inode = self._origins[inode][1]
                            seen[name] = (name, inode, kind)
            gone |= directory.hidden
            if directory.opaque or directory.alone:
                return list(seen.values())
        if node.bottom and self._has_bottom(node):
            with Listing(kernel.openat2(self._bottom, b"/".join(node.names) or b".", LIST)) as entries:
                for entry in entries:
                    if entry[0] not in seen and entry[0] not in gone and not entry[0].startswith(WHITEOUT):
                        seen[entry[0]] = entry
        return list(seen.values())

    def _take_shared(self, node: LayerNode) -> None:
        """A lower file with several names that was changed by another of them: its copy stands for all."""
        inode = (node.status.st_dev, node.status.st_ino)
        if inode in self._indexed and node.layer is not self._index:
            node.become(self._index.open((b"%d-%d" % inode,)), self._index)
