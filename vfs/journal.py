"""What a layer remembers beside its files: an append-only text, a record to a line, its fields apart by tabs.

A record is one write(2), so a kill leaves whole lines and at most a torn last one, which is ignored.

    base    MODE SIZE MTIME_NS DEV:INO PATH    a lower object when the guest first changed or removed it
    applied PATH                               the host has the layer's object at PATH, or nothing, from now on:
                                               what was noted of PATH and below it before is past
    origin  INO DEV:INO                        an object of the upper layer, and whose inode number it shows
    origin  INO -                              that number has gone to a new object
    links   DEV:INO COUNT                      the names that a lower file with several still has
"""

from __future__ import annotations

import os

Inode = tuple[int, int]  # st_dev, st_ino


def escape(path: bytes) -> bytes:
    """A path without the bytes that part fields and lines."""
    return path.replace(b"%", b"%25").replace(b"\t", b"%09").replace(b"\n", b"%0A")


def unescape(field: bytes) -> bytes:
    return field.replace(b"%0A", b"\n").replace(b"%09", b"\t").replace(b"%25", b"%")


class Journal:
    """The journal of one layer, open for more; `path` is made if it is not there."""

    def __init__(self, path: bytes) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.origins: dict[int, Inode] = {}
        self.links: dict[Inode, int] = {}
        self._bases: set[bytes] = set()
        self._load()

    def _load(self) -> None:
        with open(self.fd, "rb", closefd=False) as file:
            data = file.read()
        whole, newline, torn = data.rpartition(b"\n")
        if torn:
            os.ftruncate(self.fd, len(whole) + len(newline))
        for line in whole.split(b"\n"):
            match line.split(b"\t"):
                case [b"base", *_, path]:
                    self._bases.add(unescape(path))
                case [b"applied", path]:
                    forget(self._bases, unescape(path))
                case [b"origin", inode, b"-"]:
                    self.origins.pop(int(inode), None)
                case [b"origin", inode, origin]:
                    self.origins[int(inode)] = _inode(origin)
                case [b"links", inode, count]:
                    self.links[_inode(inode)] = int(count)

    def _write(self, *fields: bytes) -> None:
        os.write(self.fd, b"\t".join(fields) + b"\n")

    def base(self, path: bytes, status: os.stat_result) -> None:
        """Remember a lower object, the first time only."""
        if path not in self._bases:
            self._bases.add(path)
            inode = b"%d:%d" % (status.st_dev, status.st_ino)
            self._write(b"base", b"%o" % status.st_mode, b"%d" % status.st_size, b"%d" % status.st_mtime_ns, inode, escape(path))

    def applied(self, path: bytes, status: os.stat_result | None) -> None:
        """The host's object at a path, or None, is what the layer has: the next change starts from there."""
        self._write(b"applied", escape(path))
        forget(self._bases, path)
        if status is not None:
            self.base(path, status)

    def origin(self, inode: int, origin: Inode | None) -> None:
        """An object of the upper layer shows another's inode number; None: no more."""
        self._write(b"origin", b"%d" % inode, b"-" if origin is None else b"%d:%d" % origin)

    def count(self, inode: Inode, names: int) -> None:
        """A lower file has `names` names left."""
        self._write(b"links", b"%d:%d" % inode, b"%d" % names)


def forget(bases: set[bytes] | dict[bytes, object], path: bytes) -> None:
    """Drop a path and all below it."""
    for known in [known for known in bases if known == path or known.startswith(path + b"/")]:
        bases.remove(known) if isinstance(bases, set) else bases.pop(known)


def _inode(field: bytes) -> Inode:
    dev, _, ino = field.partition(b":")
    return int(dev), int(ino)
