"""Trees made into tars: an upper directory as a layer, or what layers show together as a root tarball."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from containers.images.errors import ImageError, shown
from vfs import kernel
from vfs.hostfs import HostFs, HostNode
from vfs.kernel import self_path
from vfs.layerdirs import read_directory
from vfs.owners import FILE as OWNERS_FILE

_STORE = b".wh..wh.int80"  # what is ours in an upper directory (containers.roots)
_XATTR = "SCHILY.xattr."
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
}  # fmt: skip
_LIST = kernel.how(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS)


@contextmanager
def tar_to(file) -> Iterator[tarfile.TarFile]:
    """A tar that is written from its beginning to its end, in the pax format, as image-spec asks."""
    tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")
    try:
        yield tar
    except BaseException:
        tar.fileobj.closed = True  # what has failed is not to be ended as if it were whole, when Python tidies up
        raise
    tar.close()


class Writer:
    """A tar that is written entry by entry."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._links: dict[tuple[int, int], str] = {}

    def add(self, fs: HostFs, node: HostNode, names: tuple[bytes, ...]) -> None:
        """Write an object of a tree; a file with several names once, and links to it then."""
        status = fs.stat(node)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket, which is nothing without who listens
        member = tarfile.TarInfo(os.fsdecode(b"/".join(names)) or ".")
        member.type = kind
        member.mode = stat.S_IMODE(status.st_mode)
        member.uid, member.gid = fs.guest_owner(status)
        member.mtime = status.st_mtime_ns // 10**9
        if status.st_mtime_ns % 10**9:
            member.pax_headers["mtime"] = f"{member.mtime}.{status.st_mtime_ns % 10**9:09d}"
        if not node.is_dir and status.st_nlink > 1:
            inode = (node.status.st_dev, node.status.st_ino)
            first = self._links.setdefault(inode, member.name)
            if first != member.name:
                member.type, member.linkname = tarfile.LNKTYPE, first
                self._tar.addfile(member)
                return
        if kind == tarfile.SYMTYPE:
            member.linkname = os.fsdecode(fs.readlink(node))
        elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if node.is_file or node.is_dir:
            for name in fs.listxattr(node):
                value = fs.getxattr(node, name)
                member.pax_headers[_XATTR + os.fsdecode(name)] = value.decode("utf-8", "surrogateescape")
        if kind != tarfile.REGTYPE:
            self._tar.addfile(member)
            return
        with open(os.open(self_path(node.fd), os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            member.size = os.fstat(file.fileno()).st_size
            try:
                self._tar.addfile(member, file)
            except OSError as problem:
                if problem.errno is None:  # tarfile's "unexpected end of data"
                    raise ImageError(f"/{shown(member.name)}: has shrunk while it was read") from None
                raise


def pack_layer(file, fs: HostFs) -> None:
    """Write a layer as it lies in a directory, whiteouts and all, but for what is int80's own there."""
    with tar_to(file) as tar:
        writer = Writer(tar)
        writer.add(fs, fs.root, ())
        for names in walk(fs.root.fd):
            if names[0] not in (_STORE, OWNERS_FILE):
                writer.add(fs, HostNode(kernel.openat2(fs.root.fd, b"/".join(names), _OBJECT)), names)


_OBJECT = kernel.how(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS)


def walk(top: int) -> Iterator[tuple[bytes, ...]]:
    """The names of everything below a directory, in order, a directory before what is in it."""
    waiting: list[tuple[bytes, ...]] = [()]
    while waiting:
        names = waiting.pop()
        if names:
            yield names
            if not stat.S_ISDIR(os.stat(b"/".join(names), dir_fd=top, follow_symlinks=False).st_mode):
                continue
        fd = kernel.openat2(top, b"/".join(names) or b".", _LIST)
        try:
            inner = sorted((name for name, _, _ in read_directory(fd)), reverse=True)
        finally:
            os.close(fd)
        waiting += [(*names, name) for name in inner]


def pack_root(file, fs) -> None:
    """Write what a `vfs.layers.LayerFs` shows."""
    with tar_to(file) as tar:
        writer = Writer(tar)
        waiting: list[tuple[bytes, ...]] = [()]
        while waiting:
            names = waiting.pop()
            node = fs.walk(fs.root, names) if names else fs.root
            writer.add(fs, node, names)
            if node.is_dir:
                waiting += [(*names, name) for name in sorted((entry[0] for entry in fs.entries(node)), reverse=True)]
