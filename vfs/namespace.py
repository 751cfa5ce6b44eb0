"""The mounts of one sandbox and the path walk through them.

The walk is the guest's: symlinks and ``..`` are taken here, against the guest's root, and only runs of
plain names go down to a file system, as one step.  Mounts are fixed when the sandbox starts, and no
directory above a mount point can be renamed or removed, so whether a run of names crosses a mount is a
question about names alone.
"""

from __future__ import annotations

import errno
import functools
import os
import stat

from vfs.filesystem import FileSystem, Node
from vfs.kernel import error, host_path
from vfs.near import Near
from vfs.rights import Rights

PATH_MAX = 4096
NAME_MAX = 255
_LINKS_MAX = 40
_DIRECTORIES = 128  # locations of directories that are remembered

Path = tuple  # of bytes: the names from the guest's root down


@functools.lru_cache(4096)
def _steps(path: bytes) -> tuple[tuple[bytes, ...], bool, tuple[bytes, ...] | None]:
    """The names of a path, last one first; whether it must be a directory; its run, if it is nothing but one.

    A run is plain names in their order: no ``..``, and nothing said of the last one.
    """
    names = tuple(name for name in reversed(path.split(b"/")) if name and name != b".")
    directory = path.endswith((b"/", b"/.")) or path == b"."
    plain = names and not directory and b".." not in names and len(path) < PATH_MAX
    return names, directory, names[::-1] if plain else None


class Flags:
    """How a file system is mounted; mount(8).  `shown` are the options as /proc tells them, None for those of `int80 run`.

    `shown` is of the mount, `super_shown` of the file system; `listed` says whether /proc tells of the mount at all.
    """

    __slots__ = ("listed", "nodev", "noexec", "nosuid", "read_only", "shown", "super_shown")

    def __init__(
        self, read_only: bool = False, nosuid: bool = False, nodev: bool = False, noexec: bool = False,
        shown: bytes | None = None, super_shown: bytes | None = None, listed: bool = True,
    ) -> None:  # fmt: skip
        self.read_only = read_only
        self.nosuid = nosuid
        self.nodev = nodev
        self.noexec = noexec
        self.shown = shown
        self.super_shown = super_shown
        self.listed = listed


class Mount:
    """A file system at a place: `path` is the mount point's names from the sandbox's root."""

    __slots__ = ("flags", "fs", "id", "parent_id", "path", "read_only")

    def __init__(self, fs: FileSystem, path: Path, flags: Flags) -> None:
        self.fs = fs
        self.path = path
        self.flags = flags
        self.read_only = flags.read_only
        self.id = 0
        self.parent_id = 0


class Location:
    """An object together with where it was reached: what the kernel calls a ``struct path``."""

    __slots__ = ("mount", "node", "path")

    def __init__(self, mount: Mount, node: Node, path: Path) -> None:
        self.mount = mount
        self.node = node
        self.path = path

    @property
    def fs(self) -> FileSystem:
        return self.mount.fs

    def name(self) -> bytes:
        """The path as the guest would write it."""
        return b"/" + b"/".join(self.path)

    def current_path(self) -> Path:
        """Where a directory is now, after renames.  ENOENT once it was removed."""
        return self.mount.path + self.mount.fs.path_of(self.node)


class Parent:
    """The directory a name is to be made or removed in, and that name."""

    __slots__ = ("location", "name", "slash")

    def __init__(self, location: Location, name: bytes, slash: bool) -> None:
        self.location = location
        self.name = name
        self.slash = slash


class OpenFile:
    """What a magic link (``/proc/PID/fd/N``) leads to: an open descriptor of the host's, owned."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


_DELETED = b" (deleted)"


def is_removed_directory(fd: int) -> bool:
    """Whether a host descriptor is of a directory that has been removed."""
    return stat.S_ISDIR(os.fstat(fd).st_mode) and host_path(fd).endswith(_DELETED)


class Rules:
    """How openat2(2) restricts one walk; `beneath` is the directory that must not be left."""

    __slots__ = ("beneath", "no_magic", "no_symlinks", "no_xdev", "scoped")

    def __init__(
        self, beneath: Path | None = None, scoped: bool = False, no_xdev: bool = False, no_magic: bool = False,
        no_symlinks: bool = False,
    ) -> None:  # fmt: skip
        self.beneath = beneath
        self.scoped = scoped  # beneath or in a root of its own: no magic link may lead out
        self.no_xdev = no_xdev
        self.no_magic = no_magic
        self.no_symlinks = no_symlinks

    def check_step(self, here: Location, there: Location) -> None:
        """EXDEV where a step goes to another mount and must not."""
        if self.no_xdev and here.mount is not there.mount:
            raise error(errno.EXDEV)

    def check_link(self, magic: bool, target: bytes | None) -> None:
        """ELOOP or EXDEV where a symlink must not be followed."""
        if self.no_symlinks or (magic and self.no_magic):
            raise error(errno.ELOOP)
        if (magic and self.scoped) or (self.beneath is not None and target is not None and target[:1] == b"/"):
            raise error(errno.EXDEV)


class FsContext:
    """What CLONE_FS shares: root, working directory and umask of one or more processes."""

    __slots__ = ("cwd", "root", "umask")
    rights: Rights | None = None  # of whoever follows a path; None may do everything

    def __init__(self, root: Location, cwd: Location, umask: int) -> None:
        self.root = root
        self.cwd = cwd
        self.umask = umask

    def copy(self) -> FsContext:
        return FsContext(self.root, self.cwd, self.umask)


class Judged(FsContext):
    """A context for one call of a guest that may not do everything: its search of directories is judged."""

    __slots__ = ("rights",)

    def __init__(self, context: FsContext, rights: Rights) -> None:
        super().__init__(context.root, context.cwd, context.umask)
        self.rights = rights


class Namespace:
    """The mount table of one sandbox."""

    def __init__(self, root: FileSystem, flags: bool | Flags = False) -> None:
        self.mounts: dict[Path, Mount] = {}
        self._showing: list[Mount] = []
        self._count = 0
        self._directories: dict[tuple[int, int], Location] = {}  # by inode, the oldest first
        self._above: set[Path] = set()  # directories that have a mount point somewhere below
        self.mount(root, (), flags)
        self.root = Location(self.mounts[()], root.root, ())

    def mount(self, fs: FileSystem, path: Path, flags: bool | Flags = False) -> Mount:
        """Put a file system at `path`, with `flags` or read-only; mounts already there and below are covered for good."""
        mount = Mount(fs, path, flags if isinstance(flags, Flags) else Flags(flags))
        mount.id = 20 + self._count
        self._count += 1
        mount.parent_id = self.mount_of(path[:-1]).id if path else mount.id
        if path in self._above or path in self.mounts:
            self.mounts = {other: kept for other, kept in self.mounts.items() if other[: len(path)] != path}
            self._showing = [kept for kept in self._showing if kept.path in self.mounts]
            self._above = {other[:length] for other in self.mounts for length in range(len(other))}
        self.mounts[path] = mount
        if type(fs).shown is not FileSystem.shown:
            self._showing.append(mount)
        for length in range(len(path)):
            self._above.add(path[:length])
        return mount

    def near(self) -> list[Near]:
        """What file systems remember for a caller who asks these for changes before each call."""
        return [near for mount in self.mounts.values() if (near := mount.fs.remember()) is not None]

    def context(self) -> FsContext:
        """Root, working directory and umask of a process that starts at the root."""
        return FsContext(self.root, self.root, 0o022)

    def mount_of(self, path: Path) -> Mount:
        """The mount that the object at `path` lies on."""
        for length in range(len(path), 0, -1):
            mount = self.mounts.get(path[:length])
            if mount is not None:
                return mount
        return self.mounts[()]

    def busy(self, path: Path) -> bool:
        """Whether a name must stay because a mount stands on it or below it."""
        return path in self.mounts or path in self._above

    # -- the walk -----------------------------------------------------------------------------

    def at(self, path: Path) -> Location:
        """The directory at a path that holds no symlink (as `Location.current_path` gives)."""
        mount = self.mount_of(path)
        names = list(path[len(mount.path) :])
        node = mount.fs.walk(mount.fs.root, names) if names else mount.fs.root
        if node is None or node.is_symlink:
            raise error(errno.ENOENT)  # renamed away between two steps
        return Location(mount, node, path)

    def walk(self, context: FsContext, start: Location, path: bytes, follow: bool = True, rules: Rules | None = None):
        """Resolve `path` from `start`; a `Location`, or an `OpenFile` behind a magic link.

        `follow` is about a symlink in the last place.  ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES; EXDEV by `rules`.
        path_resolution(7).
        """
        if not path:
            raise error(errno.ENOENT)
        if len(path) >= PATH_MAX:
            raise error(errno.ENAMETOOLONG)
        here = context.root if path[0] == 47 else start
        names, directory, run = _steps(path)
        if rules is not None:
            rules.check_step(start, here)
            if rules.beneath is not None and path[0] == 47:
                raise error(errno.EXDEV)
        elif run is not None:
            # Nearly every path is plain names on one mount, with no symlink: one step, then.
            first = here.path + run[:1]
            whole = here.path not in self._above or (first not in self.mounts and first not in self._above)
            if whole and (context.rights is None or self._lets_through(here, run, context.rights)):
                node = here.mount.fs.walk(here.node, run)
                if node is not None and not (follow and node.is_symlink):
                    return Location(here.mount, node, here.path + run)
        found = self._walk(context, here, list(names), follow or directory, directory, rules)
        if isinstance(found, Location) and (found is here or not names or found.path == found.mount.path):
            found.node.refresh()  # it is kept from call to call
        if context.rights is not None and directory and path.rstrip(b"/")[-1:] == b"." and isinstance(found, Location):
            context.rights.search(found)  # the last dot is a name too
        return found

    def _walk(
        self, context: FsContext, here: Location, names: list[bytes], follow: bool, directory: bool, rules: Rules | None = None
    ):  # fmt: skip
        links = 0
        rights = context.rights
        while names:
            if rights is not None:
                rights.search(here)
            name = names.pop()
            if name == b"..":
                above = self._up(context, here)
                if rules is not None:
                    if rules.beneath is not None and here.current_path() == rules.beneath:
                        raise error(errno.EXDEV)
                    rules.check_step(here, above)
                here = above
                continue
            base = here
            run = [name]
            path = here.path + (name,)
            whole = True
            if here.path in self._above:
                mount = self.mounts.get(path)
                if mount is not None:
                    self._check_directory(here.node)
                    if rules is not None and rules.no_xdev:
                        raise error(errno.EXDEV)
                    here = Location(mount, mount.fs.root, path)
                    continue
                whole = path not in self._above
            if whole and (rights is None or here.mount.fs.lets_through(here.node, self._plain(name, names), rights)):
                while names and names[-1] != b"..":
                    run.append(names.pop())
                path = here.path + tuple(run)
            node = base.mount.fs.walk(base.node, run)
            if node is None:  # a symlink on the way: find it, and take the rest of the run again
                node, length = self._to_symlink(base, run)
                names.extend(reversed(run[length:]))
                run = run[:length]
                path = base.path + tuple(run)
            here = Location(base.mount, node, path)
            if (names or follow) and node.is_symlink:
                links += 1
                if links > _LINKS_MAX:
                    raise error(errno.ELOOP)
                if rules is not None and rules.no_symlinks:
                    raise error(errno.ELOOP)
                jump = base.mount.fs.follow(node)
                if jump is not None:
                    if rules is not None:
                        rules.check_link(True, None)
                    if isinstance(jump, OpenFile):
                        jump = self.reach(jump)
                    if isinstance(jump, OpenFile):
                        if names or directory:
                            raise error(errno.ENOTDIR)
                        return jump
                    here = jump
                    continue
                target = base.mount.fs.readlink(node)
                if not target:
                    raise error(errno.ENOENT)
                if rules is not None:
                    rules.check_link(False, target)
                steps = [step for step in target.split(b"/") if step and step != b"."]
                if not names:
                    directory = directory or target.endswith((b"/", b"/.")) or target == b"."
                if target[0] == 47:
                    if rules is not None:
                        rules.check_step(base, context.root)
                    here = context.root
                else:
                    steps = run[:-1] + steps
                    here = base
                names.extend(reversed(steps))
        if directory:
            self._check_directory(here.node)
        return here

    @staticmethod
    def _lets_through(here: Location, run: tuple[bytes, ...], rights: Rights) -> bool:
        """Whether all directories on the way to the end of a run may be searched."""
        rights.search(here)
        return here.mount.fs.lets_through(here.node, run, rights)

    @staticmethod
    def _plain(name: bytes, names: list[bytes]) -> list[bytes]:
        """`name` and those of `names`, the next one last, before a ``..``."""
        run = [name]
        for step in reversed(names):
            if step == b"..":
                break
            run.append(step)
        return run

    def _to_symlink(self, base: Location, run: list[bytes]) -> tuple[Node, int]:
        node = base.node
        for position, name in enumerate(run):
            node = base.mount.fs.lookup(node, name)
            if node.is_symlink:
                return node, position + 1
        return node, len(run)  # it was replaced meanwhile: all names are plain now

    def _up(self, context: FsContext, here: Location) -> Location:
        self._check_directory(here.node)
        path = here.current_path()
        if not path or (context.root.path and path == context.root.current_path()):
            return here
        return self.at(path[:-1])

    @staticmethod
    def _check_directory(node: Node) -> None:
        if not node.is_dir:
            raise error(errno.ENOTDIR)

    def reach(self, target: OpenFile):
        """The location of an open descriptor that lies in the sandbox's tree, else itself."""
        location = self.locate(target.fd, host_path(target.fd))
        return target if location is None else location

    def directory(self, target: OpenFile):
        """As `reach`, quicker for directories that have been asked for before.

        One that is remembered is held open, so its inode number is its own.
        """
        status = os.fstat(target.fd)
        if status.st_mode & 0o170000 != stat.S_IFDIR:
            return self.reach(target)
        inode = (status.st_dev, status.st_ino)
        found = self._directories.get(inode)
        if found is None:
            found = self.reach(target)
            if isinstance(found, Location):
                found.node.keep()
                if len(self._directories) >= _DIRECTORIES:
                    del self._directories[next(iter(self._directories))]
                self._directories[inode] = found
        return found

    def forget_directories(self) -> None:
        """A directory has been removed or moved: what is remembered may be wrong, or keep it from ending."""
        self._directories.clear()

    def locate(self, fd: int, host_path: bytes) -> Location | None:
        """Which object of the tree a host descriptor is, by the mount it lies on.

        Where several mounts show the same host directory, a read-only one is taken first: the guest
        may have reached the descriptor through that one.  The location keeps a copy of `fd`.
        """
        best: tuple[int, bool, Mount, Path] | None = None
        for mount in self.mounts.values():
            try:
                names = mount.fs.components(host_path)
            except OSError:
                continue
            rank = (-len(names), mount.read_only)
            if (best is None or rank > best[:2]) and self.mount_of(mount.path + names) is mount:
                best = (*rank, mount, names)
        if best is None:
            return self._locate_unlinked(fd, host_path)
        mount, names = best[2:]
        placed = mount.fs.place(fd, names)
        return None if placed is None else Location(mount, placed[0], mount.path + placed[1])

    def _locate_unlinked(self, fd: int, host_path: bytes) -> Location | None:
        """A file of a tree that no name leads to any more: it can still be changed."""
        if host_path[:1] != b"/" or host_path.startswith(b"/memfd:") or not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        for mount in self.mounts.values():
            found = mount.fs.place_unlinked(fd, host_path.removesuffix(_DELETED))
            if found is not None:
                return Location(mount, found[0], mount.path + found[1])
        return None

    def shows(self, inode: bytes) -> bool:
        """Whether `shown` would say something of a file, by the st_dev and st_ino of its ``struct stat``."""
        for mount in self._showing:
            if mount.fs.shows(int.from_bytes(inode[:8], "little"), int.from_bytes(inode[8:], "little")):
                return True
        return False

    def shown(self, status: os.stat_result, fd: int):
        """The status a guest sees of an open host file, where a file system of ours changes it; else None."""
        for mount in self._showing:
            found = mount.fs.shown(status, fd)
            if found is not None:
                return found
        return None

    def parent(self, context: FsContext, start: Location, path: bytes, rules: Rules | None = None) -> Parent:
        """The directory of the last name of `path`, for the calls that make, remove or rename it.

        The name is empty for the root, and may be ``.`` or ``..``; each call has an errno of its own
        for those.
        """
        if not path:
            raise error(errno.ENOENT)
        if len(path) >= PATH_MAX:
            raise error(errno.ENAMETOOLONG)
        stripped = path.rstrip(b"/")
        head, _, name = stripped.rpartition(b"/")
        here = context.root if path[0] == 47 else start
        if rules is not None:
            rules.check_step(start, here)
            if rules.beneath is not None and path[0] == 47:
                raise error(errno.EXDEV)
        directory = self._walk(context, here, list(_steps(head)[0]), True, True, rules)
        if context.rights is not None and isinstance(directory, Location) and stripped:
            context.rights.search(directory)
        return Parent(directory, name, len(stripped) < len(path))

    def plain_run(self, context: FsContext, start: Location, path: bytes, judged: bool = False):
        """(start, names) where `path` is one run of plain names on one mount, else None.

        For one whose rights are limited only with `judged`: who asks judges what the path leads to; the way is judged here.
        """
        run = _steps(path)[2]
        if run is None or (context.rights is not None and not judged):
            return None
        here = context.root if path[0] == 47 else start
        if here.path in self._above:
            first = here.path + run[:1]
            if first in self.mounts or first in self._above:
                return None
        if context.rights is not None and not self._lets_through(here, run, context.rights):
            return None
        return here, run
