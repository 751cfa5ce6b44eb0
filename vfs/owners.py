"""Owner, mode and kind that a guest gave a file and the host's file cannot have.

They are kept in an extended attribute, written as fuse-overlayfs and podman write it ("uid:gid:mode", and for a
device its kind and number); for objects that can have none (symlinks, pipes, a file system without attributes) in a
text file beside them.
"""

from __future__ import annotations

import os
import stat

from vfs.kernel import self_path
from vfs.setid import writes

KEPT = b"user.containers.override_stat"
FILE = b".int80-owners"

Inode = tuple[int, int]  # st_dev, st_ino


class Kept:
    """What is kept of one file, in the guest's own ids; `mode` has the file type, `device` is a device's number."""

    __slots__ = ("device", "gid", "mode", "uid")

    def __init__(self, uid: int, gid: int, mode: int, device: int = 0) -> None:
        self.uid = uid
        self.gid = gid
        self.mode = mode
        self.device = device

    def text(self) -> bytes:
        """As the attribute holds it."""
        text = b"%d:%d:0%o" % (self.uid, self.gid, stat.S_IMODE(self.mode))
        if stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode):
            kind = b"char" if stat.S_ISCHR(self.mode) else b"block"
            text += b":%b-%d-%d" % (kind, os.major(self.device), os.minor(self.device))
        return text

    @classmethod
    def parse(cls, text: bytes, real_mode: int) -> Kept:
        """From the attribute of a file of mode `real_mode`.  ``ValueError``."""
        uid, gid, mode, *more = text.split(b":")
        kind, device = stat.S_IFMT(real_mode), 0
        if more and more[0].startswith((b"char-", b"block-")):
            name, major, minor = more[0].split(b"-")
            kind = stat.S_IFCHR if name == b"char" else stat.S_IFBLK
            device = os.makedev(int(major), int(minor))
        if not (0 <= int(uid) < 1 << 32 and 0 <= int(gid) < 1 << 32):
            raise ValueError(f"no owner: {uid}:{gid}")
        return cls(int(uid), int(gid), kind | int(mode, 8) & 0o7777, device)


_beside: dict[Inode, Kept] = {}  # of all trees: few are ever in it


def kept(fd: int, status: os.stat_result) -> Kept | None:
    """What is kept of an open file; the sticky bit, which says nothing on a file, marks those with an attribute."""
    if writes.fd >= 0:
        writes.look()
    if status.st_mode & stat.S_ISVTX and not stat.S_ISLNK(status.st_mode):
        try:
            return Kept.parse(os.getxattr(self_path(fd), KEPT), status.st_mode)
        except (OSError, ValueError, OverflowError):
            pass  # written by somebody else
    found = _beside.get((status.st_dev, status.st_ino)) if _beside else None
    if found is not None and stat.S_IFMT(found.mode) != stat.S_IFMT(status.st_mode) and not stat.S_ISREG(status.st_mode):
        return None  # the number has gone to another object
    return found


class Beside:
    """The text file of one tree: a line for each object, "DEV:INO KEPT"; the last one counts.

    A tree that lies on one device and is kept for long `moves`: its lines say 0 for the device, whose number may be
    another after the next start of the machine.
    """

    def __init__(self, directory: int, moves: bool = False) -> None:
        self._directory = directory
        self._moves = moves
        self._dev = os.fstat(directory).st_dev
        self.known: set[Inode] = set()
        try:
            fd = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            return
        with open(fd, "rb") as file:
            for line in file:
                self._take(line)

    def _take(self, line: bytes) -> None:
        inode, _, text = line.rstrip(b"\n").partition(b" ")
        try:
            dev, _, ino = inode.partition(b":")
            kind, _, rest = text.partition(b" ")
            key = (int(dev) or self._dev, int(ino))
            if rest:
                _beside[key] = Kept.parse(rest, int(kind, 8))
                self.known.add(key)
            else:
                _beside.pop(key, None)
                self.known.discard(key)
        except (ValueError, OverflowError):
            pass  # a line cut short

    def put(self, status: os.stat_result, kept: Kept | None) -> None:
        """Keep something of an object, or (None) nothing any more."""
        line = b"%d:%d" % (0 if self._moves else status.st_dev, status.st_ino)
        if kept is not None:
            line += b" %o %b" % (stat.S_IFMT(status.st_mode), kept.text())
        fd = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._directory)
        try:
            os.write(fd, line + b"\n")
        finally:
            os.close(fd)
        self._take(line)
