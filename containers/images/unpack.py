"""The tar of a layer made into files, whoever wrote it.

A layer may hold anything: names with `..`, links to anywhere, devices, the same name over and over, a terabyte of zeros.
Every name is taken apart and resolved by the kernel beneath the layer's own directory with all symlinks refused
(openat2(2)); files are made anew, never opened; what a link says is not looked at, since a guest follows it in its own
root.  Owners, set-id bits, devices and attributes are kept as a guest's own are (`vfs.hostfs`).

image-spec 1.1, layer.md: an entry's name of `.wh.NAME` and `.wh..wh..opq` are stored as they are, which is what
`vfs.layers` reads.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from containers.images.errors import ImageError, shown
from vfs import kernel
from vfs.hostfs import HostFs, HostNode
from vfs.journal import escape
from vfs.kernel import self_path
from vfs.layerdirs import OPAQUE, WHITEOUT
from vfs.owners import Beside

_CHUNK = 1 << 18
_HEADER_MAX = 1 << 20  # bytes of an extended header: a long name, attributes
_PATH_MAX = 4096
_ENTRIES_MAX = 4_000_000
_FREE = 512 << 20  # bytes up to which a layer may be as well compressed as it likes
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2"}
_META = b".wh..wh."
_XATTR = "SCHILY.xattr."
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_DIRECTORY = kernel.how(os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _BENEATH)
_OBJECT = kernel.how(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _BENEATH)
_NEW_FILE = kernel.how(os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, _BENEATH)

Progress = Callable[[int], None]


class Limits:
    """How far a layer may grow: bytes of its tar, and how many times what it is compressed to."""

    __slots__ = ("ratio", "size")

    def __init__(self, size: int = 64 << 30, ratio: int = 300) -> None:
        self.size = size
        self.ratio = ratio


class _Counted:
    """A file that is read from the beginning, with progress told of."""

    def __init__(self, file, progress: Progress | None) -> None:
        self._file = file
        self._progress = progress
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        if self._progress is not None:
            self._progress(len(data))
        return data


class Tar:
    """The bytes of a tar, decompressed, counted, hashed and held to limits."""

    def __init__(self, file, limits: Limits, where: str, progress: Progress | None) -> None:
        self._packed = _Counted(file, progress)
        self._file = decompressed(self._packed, file, where)
        self.compressed = self._file is not self._packed
        self._limits = limits
        self._where = where
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except (EOFError, zlib.error, ValueError) as problem:
            raise ImageError(f"{self._where}: cannot be decompressed: {shown(str(problem)).lower()}") from None
        except OSError as problem:
            if problem.errno is not None:
                raise
            raise ImageError(f"{self._where}: cannot be decompressed: {shown(str(problem)).lower()}") from None
        except Exception as problem:  # lzma.LZMAError, zstandard.ZstdError: modules that need not be there
            if type(problem).__name__ not in ("LZMAError", "ZstdError"):
                raise
            raise ImageError(f"{self._where}: cannot be decompressed: {shown(str(problem)).lower()}") from None
        self._hash.update(data)
        self._size += len(data)
        if self._size > self._limits.size:
            raise ImageError(f"{self._where}: unpacks to more than {self._limits.size} bytes; --max-size allows more")
        if self._size > _FREE and self._size > self._limits.ratio * self._packed.count:
            raise ImageError(
                f"{self._where}: unpacks to more than {self._limits.ratio} times its {self._packed.count} bytes, as if to fill "
                "the disk; --max-ratio allows more"
            )
        return data

    def finish(self) -> str:
        """Read what follows the archive; the digest of all of it."""
        while self.read(_CHUNK):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def compression(head: bytes) -> str | None:
    """How a file is compressed, by its first six bytes."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def decompressed(packed, file, where: str):
    """A reader of what is in a file, by its first bytes: gzip, zstd, xz, bzip2, or itself."""
    kind = compression(file.read(6))
    file.seek(0)
    if kind == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=packed, mode="rb")
    if kind == "zstd":
        try:
            import zstandard
        except ImportError:
            raise ImageError(f"{where}: is compressed with zstd; `pip install zstandard` lets int80 read it") from None
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed, read_across_frames=True)
    if kind == "xz":
        import lzma

        return lzma.LZMAFile(packed)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2File(packed)
    return packed


class Member(tarfile.TarInfo):
    """An entry whose headers are held to a size, and whose damage is said."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as problem:
            raise ImageError(f"damaged: {problem}") from None

    def _proc_member(self, tar):
        headers = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if self.type in headers and not 0 <= self.size <= _HEADER_MAX:
            raise ImageError(f"an extended header of {self.size} bytes; {_HEADER_MAX} at most")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise ImageError(f"{shown(self.name)}: a sparse file; make the archive without --sparse")
        if self.size < 0:
            raise ImageError(f"{shown(self.name)}: {self.size} bytes long")
        return super()._proc_member(tar)

    def _is_sparse(self, *_):
        raise ImageError("a sparse file; make the archive without --sparse")  # before a map of it is read, of any length

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _is_sparse

    def _apply_pax_info(self, *arguments):
        super()._apply_pax_info(*arguments)
        if self.size < 0:
            raise ImageError(f"{shown(self.name)}: {self.size} bytes long")


def open_tar(stream, where: str) -> tarfile.TarFile:
    """A tar to be read from its beginning to its end.  `ImageError`."""
    try:
        return tarfile.open(fileobj=stream, mode="r|", tarinfo=Member, encoding="utf-8", errors="surrogateescape", bufsize=_CHUNK)
    except tarfile.ReadError as problem:
        if str(problem) == "empty file":
            raise ImageError(f"{where}: empty; a tar archive ends with blocks of zeros") from None
        raise ImageError(f"{where}: not a tar archive") from None
    except ImageError as problem:
        raise ImageError(f"{where}: {problem}") from None


def unpack(file, layer: Path, diff_id: str | None, limits: Limits, where: str, progress: Progress | None = None) -> str:
    """Unpack an archive, seekable and perhaps compressed, into `layer`/root, which is empty.  `ImageError`, ``OSError``.

    `diff_id` is what the digest of the uncompressed tar must be, where that is known; it is returned.
    """
    stream = Tar(file, limits, where, progress)
    tree = _Tree(layer)
    try:
        tar = open_tar(stream, where)
        count = 0
        while (member := tar.next()) is not None:
            tar.members.clear()  # it would remember them all
            count += 1
            if count > _ENTRIES_MAX:
                raise ImageError(f"more than {_ENTRIES_MAX} entries")
            tree.add(member, tar)
        tree.finish()
        found = stream.finish()
    except ImageError as problem:
        text = str(problem)
        raise ImageError(text if text.startswith(where) else f"{where}: {text}") from None
    except tarfile.TarError as problem:
        raise ImageError(f"{where}: damaged: {shown(str(problem))}") from None
    finally:
        tree.close()
    if diff_id is not None and found != diff_id:
        raise ImageError(f"{where}: digest mismatch: unpacked it is {found}, and the image's config says {diff_id}")
    return found


def names_of(path: str) -> tuple[bytes, ...]:
    """The names of a path in an archive, which never leads up.  `ImageError`."""
    raw = os.fsencode(path)
    names = tuple(name for name in raw.split(b"/") if name not in (b"", b"."))
    if b".." in names:
        raise ImageError(f"{shown(path)}: leads out of the layer")
    if b"\0" in raw:
        raise ImageError(f"{shown(path)}: a zero byte in a name")
    if len(raw) >= _PATH_MAX or any(len(name) > 255 for name in names):
        raise ImageError(f"{shown(path)}: a name too long for Linux")
    return names


class _Tree:
    """The directory in which a layer is made."""

    def __init__(self, layer: Path) -> None:
        self._root = os.open(layer / "root", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._layer = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._fs = HostFs(os.dup(self._root), beside=Beside(self._layer, moves=True))
        self._implied: set[tuple[bytes, ...]] = set()
        self._times: dict[tuple[bytes, ...], int] = {}  # of directories, in ns: set when nothing comes into them any more

    def close(self) -> None:
        os.close(self._root)
        os.close(self._layer)

    def _beneath(self, names: tuple[bytes, ...], how=_OBJECT) -> int:
        return kernel.openat2(self._root, b"/".join(names) or b".", how)

    def _node(self, names: tuple[bytes, ...]) -> HostNode:
        return HostNode(self._beneath(names))

    # -- one entry ----------------------------------------------------------------------------

    def add(self, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        """Make what an entry says.  `ImageError`."""
        names = names_of(member.name)
        if any(name.startswith(_META) for name in names) and names[-1] != OPAQUE:
            return  # what aufs kept of its own, and is passed over by everybody
        if any(name.startswith(WHITEOUT) for name in names[:-1]):
            raise ImageError(f"{shown(member.name)}: its path leads through a whiteout, below which nothing can be")
        try:
            if not names:
                if not member.isdir():
                    raise ImageError(f"{shown(member.name) or 'an entry without a name'}: the root of a layer is a directory")
                self._finish_directory(member, names)
                return
            parent = self._parent(names, member.name)
            try:
                self._make(member, tar, parent, names)
            finally:
                os.close(parent)
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE):
                raise
            raise ImageError(f"{shown(member.name)}: cannot be made: {problem.strerror.lower()}") from None

    def _parent(self, names: tuple[bytes, ...], name: str) -> int:
        """The directory of an entry; what is missing on the way is made.  `ImageError`."""
        try:
            return self._beneath(names[:-1], _DIRECTORY)
        except FileNotFoundError:
            pass
        except OSError as problem:
            raise self._in_the_way(problem, name) from None
        for length in range(1, len(names)):
            try:
                os.close(self._beneath(names[:length], _DIRECTORY))
            except FileNotFoundError:
                above = self._beneath(names[: length - 1], _DIRECTORY)
                try:
                    os.mkdir(names[length - 1], 0o755, dir_fd=above)
                finally:
                    os.close(above)
                self._fs.chmod(self._node(names[:length]), 0o755)
                self._implied.add(names[:length])
            except OSError as problem:
                raise self._in_the_way(problem, name) from None
        return self._beneath(names[:-1], _DIRECTORY)

    @staticmethod
    def _in_the_way(problem: OSError, name: str) -> ImageError:
        if problem.errno in (errno.ELOOP, errno.ENOTDIR):
            return ImageError(f"{shown(name)}: its path leads through a symlink or a file that the layer itself has made")
        return ImageError(f"{shown(name)}: {problem.strerror.lower()}")

    def _make(self, member: tarfile.TarInfo, tar: tarfile.TarFile, parent: int, names: tuple[bytes, ...]) -> None:
        name = names[-1]
        if name.startswith(WHITEOUT):
            self._clear(parent, names, False)
            os.close(kernel.openat2(parent, name, _NEW_FILE))
            return
        if member.isdir():
            self._clear(parent, names, True)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                pass  # once more
            self._finish_directory(member, names)
            return
        source = self._link_source(member, names) if member.islnk() else None
        self._clear(parent, names, False)
        if source is not None:
            try:
                kernel.linkat(kernel.AT_FDCWD, self_path(source), parent, name, kernel.AT_SYMLINK_FOLLOW)
            finally:
                os.close(source)
            return
        if member.issym():
            os.symlink(os.fsencode(member.linkname), name, dir_fd=parent)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            if not (0 <= member.devmajor < 1 << 12 and 0 <= member.devminor < 1 << 20):
                raise ImageError(f"{shown(member.name)}: {member.devmajor}:{member.devminor} is no device")
            self._fs.mknod(
                HostNode(os.dup(parent)), name, kind | member.mode & 0o7777, os.makedev(member.devmajor, member.devminor)
            )
        elif member.isreg():
            self._write(member, tar, parent, name)
        else:
            raise ImageError(f"{shown(member.name)}: an entry of type {member.type!r}, which no layer has")
        self._finish(member, HostNode(kernel.openat2(parent, name, _OBJECT)))

    def _link_source(self, member: tarfile.TarInfo, names: tuple[bytes, ...]) -> int:
        """The file that a hard link is to be another name of.  `ImageError`."""
        target = names_of(member.linkname)
        try:
            if not target or target == names:
                raise IsADirectoryError
            fd = self._beneath(target)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.close(fd)
                raise IsADirectoryError
            return fd
        except IsADirectoryError:
            raise ImageError(f"{shown(member.name)}: a hard link to {shown(member.linkname)}, which is no other file") from None
        except OSError:
            raise ImageError(
                f"{shown(member.name)}: a hard link to {shown(member.linkname)}, which the layer has not made"
            ) from None

    def _clear(self, parent: int, names: tuple[bytes, ...], for_directory: bool) -> None:
        """Make room for an entry whose name is there already: the last one counts."""
        name = names[-1]
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            self._fs.unlink(HostNode(os.dup(parent)), name)
        elif not for_directory:
            self._remove_tree(parent, name)
            for known in [known for known in self._times if known[: len(names)] == names]:
                del self._times[known]
            self._implied = {known for known in self._implied if known[: len(names)] != names}

    def _remove_tree(self, parent: int, name: bytes) -> None:
        from vfs.removal import remove_below

        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            remove_below(fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)

    @staticmethod
    def _write(member: tarfile.TarInfo, tar: tarfile.TarFile, parent: int, name: bytes) -> None:
        fd = kernel.openat2(parent, name, _NEW_FILE)
        try:
            source = tar.extractfile(member)
            left = member.size
            while left:
                data = source.read(min(left, _CHUNK))
                if not data:
                    raise ImageError(f"{shown(member.name)}: the archive ends in the middle of it")
                left -= len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    # -- what is said of an entry -------------------------------------------------------------

    def _finish_directory(self, member: tarfile.TarInfo, names: tuple[bytes, ...]) -> None:
        node = self._node(names)
        self._implied.discard(names)
        self._finish(member, node)
        self._times[names] = nanoseconds(member.mtime)

    def _finish(self, member: tarfile.TarInfo, node: HostNode) -> None:
        """Owner, attributes, mode and time."""
        uid, gid = member.uid, member.gid
        if not (0 <= uid < (1 << 32) - 1 and 0 <= gid < (1 << 32) - 1):
            raise ImageError(f"{shown(member.name)}: {uid}:{gid} are no ids")
        for key, value in member.pax_headers.items():
            if key.startswith(_XATTR) and (node.is_file or node.is_dir):
                self._set_attribute(member, node, os.fsencode(key[len(_XATTR) :]), value.encode("utf-8", "surrogateescape"))
        if uid or gid:
            self._fs.chown(node, uid, gid)
            node.refresh()
        if not node.is_symlink:
            self._fs.chmod(node, member.mode & 0o7777)
        kernel.utimensat(node.fd, b"", _times(nanoseconds(member.mtime)), kernel.AT_EMPTY_PATH)

    def _set_attribute(self, member: tarfile.TarInfo, node: HostNode, name: bytes, value: bytes) -> None:
        try:
            self._fs.setxattr(node, name, value, 0)
        except OSError as problem:
            # system.* (an ACL), and what is int80's own: a guest has none either.  Not every file system has room.
            if problem.errno not in (errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM, errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                raise

    def finish(self) -> None:
        """The times of directories, and a note of those that no entry was for."""
        for names, time in reversed(self._times.items()):
            try:
                fd = self._beneath(names)
            except FileNotFoundError:
                continue
            kernel.utimensat(fd, b"", _times(time), kernel.AT_EMPTY_PATH)
            os.close(fd)
        if self._implied:
            fd = os.open("implied", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._layer)
            with open(fd, "wb") as file:
                file.writelines(escape(b"/".join(names)) + b"\n" for names in sorted(self._implied))


def nanoseconds(seconds: float) -> int:
    """A time that the kernel takes: what is no number, or beyond any file system's range, is the epoch."""
    if isinstance(seconds, float) and not math.isfinite(seconds):
        return 0
    return int(seconds * 10**9) if abs(seconds) < 1 << 34 else 0


def _times(nanoseconds: int) -> bytes:
    second, rest = divmod(nanoseconds, 10**9)
    one = second.to_bytes(8, "little", signed=True) + rest.to_bytes(8, "little")
    return one + one
