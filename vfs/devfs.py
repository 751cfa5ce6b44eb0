"""/dev: the few safe devices of the host, the sandbox's own terminals, and the usual links."""

from __future__ import annotations

import errno
import fcntl
import os

from vfs.filesystem import TMPFS_MAGIC
from vfs.kernel import error, self_path
from vfs.madeup import S_IFCHR, S_IFDIR, S_IFLNK, MadeUpFs, MadeUpNode, MadeUpStat, inode

_DEVICES = {
    b"null": (1, 3),
    b"zero": (1, 5),
    b"full": (1, 7),
    b"random": (1, 8),
    b"urandom": (1, 9),
    b"tty": (5, 0),
}
_LINKS = {
    b"fd": b"/proc/self/fd",
    b"stdin": b"/proc/self/fd/0",
    b"stdout": b"/proc/self/fd/1",
    b"stderr": b"/proc/self/fd/2",
    b"ptmx": b"pts/ptmx",
}
_TIOCGPTN = 0x80045430


class _Changed:
    """Mode, owner and group that a guest gave a terminal; None where they are as they were."""

    __slots__ = ("gid", "mode", "uid")

    def __init__(self) -> None:
        self.mode = self.uid = self.gid = None

    def status(self, st, view) -> MadeUpStat:
        """The kernel's status with these in it."""
        mode = st.st_mode if self.mode is None else S_IFCHR | self.mode & 0o7777
        uid = view.uid(st.st_uid) if self.uid is None else self.uid
        gid = view.gid(st.st_gid) if self.gid is None else self.gid
        return MadeUpStat(st.st_dev, st.st_ino, mode, uid, gid, st.st_mtime_ns, st.st_rdev)


class DevFs(MadeUpFs):
    """The tree at /dev.

    A terminal is reachable by name only if the sandbox was given it or made it.  It is held by an
    ``O_PATH`` descriptor, not by number: once a pseudo-terminal is closed its number may become some
    other program's terminal, and the descriptor does not follow.  `view` (`abi.procview.ProcView`) tells which terminal
    is /dev/tty to the caller.
    """

    type = b"tmpfs"
    source = b"dev"
    tag = b"int80-dev:"
    dev = 0x18
    magic = TMPFS_MAGIC

    def __init__(self, stdio: tuple[int, ...] = (), view=None) -> None:
        super().__init__()
        self._view = view
        self.root.mode = S_IFDIR | 0o755
        self._terminals: dict[bytes, int] = {}  # path below /dev -> O_PATH descriptor
        self._changed: dict[bytes, _Changed] = {}  # what the guest made of them: the host's are left alone
        for fd in stdio:
            self.add(fd)

    def add(self, fd: int) -> None:
        """Have a terminal that the sandbox is given be there by its name; what is none is left alone."""
        try:
            self._keep(os.fsencode(os.ttyname(fd)), fd)
        except OSError:
            return

    def _keep(self, path: bytes, fd: int) -> None:
        if path.startswith(b"/dev/"):
            self._forget(path[5:])
            self._terminals[path[5:]] = os.open(self_path(fd), os.O_PATH | os.O_CLOEXEC)

    @property
    def terminals(self) -> int:
        """How many there are, closed ones included."""
        return len(self._terminals)

    def _forget(self, path: bytes) -> None:
        self._changed.pop(path, None)
        held = self._terminals.pop(path, None)
        if held is not None:
            os.close(held)

    def _held(self, path: bytes) -> int | None:
        """The descriptor of a terminal below /dev; None when there is none, or none any more."""
        held = self._terminals.get(path)
        if held is not None and path.startswith(b"pts/") and not os.fstat(held).st_nlink:
            self._forget(path)
            return None
        return held

    def terminal(self, number: int) -> int | None:
        """The ``O_PATH`` descriptor of the terminal with a device number, None where the sandbox has none such."""
        for path in list(self._terminals):
            held = self._held(path)
            if held is not None and os.fstat(held).st_rdev == number:
                return held
        return None

    def lookup(self, parent: MadeUpNode, name: bytes) -> MadeUpNode:
        names = parent.names + (name,)
        if not parent.names:
            if name in _DEVICES:
                return MadeUpNode(names, S_IFCHR | 0o666)
            if name in _LINKS:
                return MadeUpNode(names, S_IFLNK | 0o777)
            if name in (b"pts", b"shm"):
                return MadeUpNode(names, S_IFDIR | 0o755)
        if names == (b"pts", b"ptmx"):
            return MadeUpNode(names, S_IFCHR | 0o666)
        if self._held(b"/".join(names)) is not None:
            return MadeUpNode(names, S_IFCHR | 0o620)
        raise error(errno.ENOENT)

    def entries(self, node: MadeUpNode) -> list[tuple[bytes, int, int]]:
        listing = []
        if not node.names:
            listing += [(name, 2) for name in _DEVICES] + [(name, 10) for name in _LINKS]
            listing += [(b"pts", 4), (b"shm", 4)]
        elif node.names == (b"pts",):
            listing.append((b"ptmx", 2))
        for path in list(self._terminals):
            head, _, name = path.rpartition(b"/")
            if head == b"/".join(node.names) and self._held(path) is not None:
                listing.append((name, 2))
        return [(name, inode(node.names + (name,)), kind) for name, kind in listing]

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        if host_path.startswith(b"/dev/"):
            names = tuple(host_path[5:].split(b"/"))
            if host_path[5:] in self._terminals or (len(names) == 1 and names[0] in _DEVICES):
                return names
            raise error(errno.ENOENT)
        return super().components(host_path)

    def _host(self, node: MadeUpNode) -> bytes:
        """The host path that opens a device."""
        if node.names == (b"pts", b"ptmx"):
            return b"/dev/ptmx"
        held = self._terminals.get(b"/".join(node.names))
        return b"/dev/" + node.names[-1] if held is None else self_path(held)

    def stat(self, node: MadeUpNode):
        """A terminal's status is the kernel's own, which ttyname(3) compares; a device's is the host's but for its rights."""
        if node.mode & 0o170000 != S_IFCHR:
            return super().stat(node)
        st = os.stat(self._host(node))
        if node.names[-1] not in _DEVICES:
            changed = self._changed.get(b"/".join(node.names))
            return st if changed is None else changed.status(st, self._view)
        return MadeUpStat(st.st_dev, st.st_ino, node.mode, *self.owner(node), st.st_mtime_ns, st.st_rdev)

    def readlink(self, node: MadeUpNode) -> bytes:
        if node.mode & 0o170000 != S_IFLNK:
            raise error(errno.EINVAL)
        return _LINKS[node.names[0]]

    def open_file(self, node: MadeUpNode, flags: int) -> int:
        keep = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC
        if flags & os.O_DIRECTORY:
            raise error(errno.ENOTDIR)
        path = self._own_terminal() if node.names == (b"tty",) else self._host(node)
        fd = os.open(path, flags & keep | os.O_NOCTTY | os.O_CLOEXEC)
        if node.names == (b"pts", b"ptmx"):
            self.prune()
            number = int.from_bytes(fcntl.ioctl(fd, _TIOCGPTN, bytes(4)), "little")
            try:
                slave = os.open(b"/dev/pts/%d" % number, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                os.close(fd)
                raise
            self._forget(b"pts/%d" % number)
            self._terminals[b"pts/%d" % number] = slave
        return fd

    def _own_terminal(self) -> bytes:
        """The host path of the caller's controlling terminal; /dev/tty would be the supervisor's.  ENXIO."""
        number = self._view.callers_terminal() if self._view is not None else 0
        held = self.terminal(number) if number else None
        if held is None:
            raise error(errno.ENXIO)
        return self_path(held)

    def prune(self) -> None:
        """Let go of the terminals that are closed."""
        for path in list(self._terminals):
            self._held(path)

    def chmod(self, node: MadeUpNode, mode: int) -> None:
        """Kept of a terminal, accepted of other devices."""
        if (changed := self._changes(node)) is not None:
            changed.mode = mode

    def chown(self, node: MadeUpNode, uid: int, gid: int) -> None:
        """As `chmod`."""
        if (changed := self._changes(node)) is not None:
            changed.uid = changed.uid if uid == -1 else uid
            changed.gid = changed.gid if gid == -1 else gid

    def _changes(self, node: MadeUpNode) -> _Changed | None:
        path = b"/".join(node.names)
        return self._changed.setdefault(path, _Changed()) if path in self._terminals else None
