"""`cp`: files between this machine and a container, with the meaning that `docker cp` gives to names.

What is copied is a stream of entries, a directory before what is in it. Inside, every name goes through the container's own
name space (`containers.engine.files`); outside, through descriptors of directories that were opened as such, so that what a
container has made there, symlinks above all, leads nowhere.
"""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from containers.engine.client import Link
from containers.engine.files import Files
from containers.engine.record import Record
from containers.sandbox import Running, Settings
from containers.status import CannotRun

_PACKET = 1 << 16
_CHUNK = 1 << 20
_NOT_SO = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)  # how copy_file_range(2) says that it cannot
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Entry:
    """One object: `names` lead to it from what is copied, which has none; `open()` gives a descriptor of a file's data."""

    names: tuple[bytes, ...]
    mode: int
    uid: int
    gid: int
    mtime: int  # nanoseconds
    size: int = 0
    device: int = 0
    target: bytes = b""
    link: tuple[bytes, ...] | None = None  # the names of the entry that this is another name of
    open: Callable[[], int] | None = None


class _Links:
    """Which files have been met under another name."""

    def __init__(self) -> None:
        self._met: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def first(self, inode: tuple[int, int], names: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        """The first name of a file, None where this is it."""
        found = self._met.setdefault(inode, names)
        return None if found == names else found


# -- a container's side -----------------------------------------------------------------------------


class Inside:
    """A container's files; `OSError` is the container's."""

    def __init__(self, ask: Callable[[dict], tuple[dict, int | None]]) -> None:
        self._ask = ask

    def __call__(self, what: str, **arguments) -> tuple[dict, int | None]:
        given = {name: os.fsdecode(value) if isinstance(value, bytes) else value for name, value in arguments.items()}
        answer, fd = self._ask({"do": "files", "what": what, "with": given})
        if "errno" in answer:
            path = arguments["path"]
            raise OSError(answer["errno"], os.strerror(answer["errno"]), os.fsdecode(path))
        return answer, fd

    def look(self, path: bytes, follow: bool = False) -> dict | None:
        """What is at a path, None where nothing is."""
        try:
            return self("look", path=path, follow=follow)[0]
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: bytes) -> list[bytes]:
        with open(self("list", path=path)[1], "rb") as file:
            return file.read().split(b"\0")[:-1]

    def entries(self, path: bytes, about: dict, one_mount: bool = False) -> Iterator[Entry]:
        """What is at a path and below it, but not what only shows the sandbox itself, or any other mount if not wanted."""
        links = _Links()
        mount = about["mount"]
        waiting: list[tuple[tuple[bytes, ...], dict]] = [((), about)]
        while waiting:
            names, about = waiting.pop()
            here = b"/".join((path.rstrip(b"/"), *names)) or b"/"
            entry = Entry(names, about["mode"], about["uid"], about["gid"], about["mtime"], about["size"], about["device"])
            entry.target = os.fsencode(about.get("target", ""))
            if stat.S_ISREG(entry.mode):
                entry.open = lambda here=here: self("read", path=here)[1]
                if about["links"] > 1:
                    entry.link = links.first(tuple(about["inode"]), names)
            yield entry
            if stat.S_ISDIR(entry.mode):
                if one_mount and about["mount"] != mount:
                    continue
                inner = []
                for name in self.names(here):
                    found = self.look(here.rstrip(b"/") + b"/" + name)
                    if found is not None and (not found["made_up"] or about["made_up"] or one_mount):
                        inner.append(((*names, name), found))
                waiting += reversed(inner)

    def write(self, path: bytes, entries: Iterator[Entry], keep_owners: bool) -> None:
        """Make entries at a path; they are root's, unless they are to keep their owners."""
        settled: list[tuple[bytes, int | None, int]] = []
        for entry in entries:
            here = b"/".join((path.rstrip(b"/"), *entry.names)) or b"/"
            owner = {"uid": entry.uid, "gid": entry.gid} if keep_owners else {"uid": 0, "gid": 0}
            if entry.link is not None:
                self("link", path=here, to=b"/".join((path.rstrip(b"/"), *entry.link)))
            elif stat.S_ISDIR(entry.mode):
                new = self("directory", path=here, mode=entry.mode, **owner)[0]["new"]
                if new or entry.names:
                    settled.append((here, entry.mode, entry.mtime))
            elif stat.S_ISLNK(entry.mode):
                self("symlink", path=here, target=entry.target, **owner)
                self("settle", path=here, mode=None, mtime=entry.mtime)
            elif entry.open is not None:
                fd = self("make", path=here, mode=entry.mode, **owner)[1]
                _pour(entry, fd)
                self("settle", path=here, mode=None, mtime=entry.mtime)
            elif not stat.S_ISSOCK(entry.mode):
                self("special", path=here, mode=entry.mode, device=entry.device, **owner)
                self("settle", path=here, mode=None, mtime=entry.mtime)
        for here, mode, mtime in reversed(settled):
            self("settle", path=here, mode=mode, mtime=mtime)


@contextmanager
def opened(record: Record, make: Callable[[], Settings]) -> Iterator[Inside]:
    """A container's files, by its monitor or, where it does not run, by this process.  `CannotRun`."""
    if record.is_live():
        link = Link(record)
        try:
            yield Inside(lambda request: _ask(link, request))
        finally:
            link.close()
        return
    record.lock()
    running = Running(make())
    mask = os.umask(0)
    os.umask(mask)
    try:
        running.prepare_root()
        os.umask(0)
        files = Files(running.sandbox.namespace)
        yield Inside(files.serve)
    finally:
        os.umask(mask)
        running.close()


def _ask(link: Link, request: dict) -> tuple[dict, int | None]:
    link.send(request)
    data, fds, _, _ = socket.recv_fds(link.socket, _PACKET, 1)
    if not data:
        raise CannotRun("the container has ended")
    answer = json.loads(data)
    if "error" in answer:
        raise CannotRun(answer["error"])
    return answer, fds[0] if fds else None


def _pour(entry: Entry, fd: int) -> None:
    """Write a file's data to a descriptor, which is closed."""
    try:
        source = entry.open()
        try:
            while True:
                try:
                    moved = os.copy_file_range(source, fd, _CHUNK)
                except OSError as problem:
                    if problem.errno not in _NOT_SO:
                        raise
                    break
                if not moved:
                    break
            while data := os.read(source, _CHUNK):  # made-up files say that they are empty, and pipes cannot be copied so
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        finally:
            os.close(source)
    finally:
        os.close(fd)


# -- this machine's side ----------------------------------------------------------------------------


def host_entries(path: bytes, follow: bool) -> Iterator[Entry]:
    """What is at a path of this machine and below it; `follow` is about a symlink at the path itself."""
    links = _Links()
    status = os.stat(path, follow_symlinks=follow)
    if not stat.S_ISDIR(status.st_mode):
        yield _host_entry((), status, path, None, links, follow)
        return
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    waiting: list[tuple[tuple[bytes, ...], os.stat_result]] = [((), status)]
    try:
        while waiting:
            names, status = waiting.pop()
            where = b"/".join(names)
            yield _host_entry(names, status, where, top, links, False)
            if stat.S_ISDIR(status.st_mode):
                directory = os.open(where or b".", _DIRECTORY, dir_fd=top)
                try:
                    inner = sorted(map(os.fsencode, os.listdir(directory)), reverse=True)
                    waiting += [((*names, name), os.stat(name, dir_fd=directory, follow_symlinks=False)) for name in inner]
                finally:
                    os.close(directory)
    finally:
        os.close(top)


def _host_entry(names, status: os.stat_result, path: bytes, top: int | None, links: _Links, follow: bool) -> Entry:
    entry = Entry(names, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size, status.st_rdev)
    if stat.S_ISLNK(entry.mode):
        entry.target = os.readlink(path, dir_fd=top)
    elif stat.S_ISREG(entry.mode):
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        entry.open = lambda: os.open(path, flags, dir_fd=top)
        if status.st_nlink > 1:
            entry.link = links.first((status.st_dev, status.st_ino), names)
    return entry


class Outside:
    """A place of this machine where entries are made: `name` in an open directory, and what comes below it."""

    def __init__(self, directory: bytes, name: bytes, keep_owners: bool) -> None:
        self._top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = name
        self._keep_owners = keep_owners

    def close(self) -> None:
        os.close(self._top)

    def _directory(self, names: tuple[bytes, ...]) -> int:
        """The directory that an entry's last name is in, through no symlink."""
        fd = os.dup(self._top)
        for name in (self._name, *names)[:-1]:
            inner = os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        return fd

    def write(self, entries: Iterator[Entry]) -> None:
        settled: list[Entry] = []
        for entry in entries:
            at = self._directory(entry.names)
            try:
                if self._make(at, entry):
                    settled.append(entry)
            finally:
                os.close(at)
        for entry in reversed(settled):
            at = self._directory(entry.names)
            try:
                self._settle(at, self._last(entry), entry)
            finally:
                os.close(at)

    def _last(self, entry: Entry) -> bytes:
        return entry.names[-1] if entry.names else self._name

    def _make(self, at: int, entry: Entry) -> bool:
        """Make one entry; whether it is a directory whose mode and times are to be set when it is complete."""
        name = self._last(entry)
        if stat.S_ISDIR(entry.mode):
            try:
                os.mkdir(name, 0o700, dir_fd=at)
                return True
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode) and name != b".":
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(name)) from None
                return bool(entry.names)
        try:
            os.unlink(name, dir_fd=at)
        except FileNotFoundError:
            pass
        if entry.link is not None:
            other = self._directory(entry.link)
            try:
                os.link(entry.link[-1], name, src_dir_fd=other, dst_dir_fd=at, follow_symlinks=False)
            finally:
                os.close(other)
            return False
        if stat.S_ISLNK(entry.mode):
            os.symlink(entry.target, name, dir_fd=at)
        elif entry.open is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            _pour(entry, os.open(name, flags, 0o600, dir_fd=at))
        elif stat.S_ISFIFO(entry.mode):
            os.mkfifo(name, 0o600, dir_fd=at)
        else:
            where = os.fsdecode(b"/".join(entry.names) or name)
            sys.stderr.write(f"int80: {ascii(where)[1:-1]}: left out: neither a file, a directory, a symlink nor a FIFO\n")
            return False
        self._settle(at, name, entry)
        return False

    def _settle(self, at: int, name: bytes, entry: Entry) -> None:
        if self._keep_owners:
            os.chown(name, entry.uid, entry.gid, dir_fd=at, follow_symlinks=False)
        if not stat.S_ISLNK(entry.mode):
            mode = stat.S_IMODE(entry.mode)  # a container's set-id program is none of this machine's user
            os.chmod(name, mode if self._keep_owners else mode & 0o1777, dir_fd=at)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=at, follow_symlinks=False)


# -- tars -------------------------------------------------------------------------------------------


def write_tar(file, entries: Iterator[Entry], name: bytes) -> None:
    """Write entries as a tar, below a name."""
    from containers.images.pack import tar_to

    with tar_to(file) as tar:
        for entry in entries:
            _write_entry(tar, entry, name)


def _write_entry(tar: tarfile.TarFile, entry: Entry, name: bytes) -> None:
    kind = _KINDS.get(stat.S_IFMT(entry.mode))
    if kind is None:
        return
    member = tarfile.TarInfo(os.fsdecode(b"/".join((name, *entry.names) if name else entry.names)) or ".")
    member.type, member.mode, member.uid, member.gid = kind, stat.S_IMODE(entry.mode), entry.uid, entry.gid
    member.mtime = entry.mtime // 10**9
    member.linkname = os.fsdecode(entry.target)
    member.devmajor, member.devminor = os.major(entry.device), os.minor(entry.device)
    if entry.link is not None:
        member.type, member.linkname = tarfile.LNKTYPE, os.fsdecode(b"/".join((name, *entry.link) if name else entry.link))
    if member.type != tarfile.REGTYPE:
        tar.addfile(member)
        return
    with open(entry.open(), "rb") as data:
        member.size = os.fstat(data.fileno()).st_size
        if not member.size:  # perhaps a made-up file, whose size is known when it is read
            text = data.read()
            member.size, data = len(text), io.BytesIO(text)
        tar.addfile(member, data)


_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
}  # fmt: skip


def tar_entries(file) -> Iterator[Entry]:
    """The entries of a tar that is read as it comes.  `CannotRun` for a damaged one, and for names that lead out of it."""
    from containers.images.unpack import nanoseconds

    kinds = {
        tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO,
        tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK,
    }  # fmt: skip
    try:
        with tarfile.open(fileobj=file, mode="r|*", errors="surrogateescape") as tar:
            for member in tar:
                kind = kinds.get(member.type, stat.S_IFREG)
                device = os.makedev(member.devmajor, member.devminor) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
                entry = Entry(
                    _names(member.name), kind | member.mode & 0o7777, member.uid, member.gid, nanoseconds(member.mtime),
                    member.size, device, os.fsencode(member.linkname),
                )  # fmt: skip
                if member.islnk():
                    entry.link = _names(member.linkname)
                elif kind == stat.S_IFREG:
                    entry.open = lambda member=member: _spilled(tar.extractfile(member))
                if entry.names or kind == stat.S_IFDIR:
                    yield entry
    except tarfile.TarError as problem:
        raise CannotRun(f"cp: the tar on the standard input is damaged: {str(problem) or 'it ends too soon'}") from None


def _names(path: str) -> tuple[bytes, ...]:
    names = tuple(name for name in os.fsencode(path).split(b"/") if name not in (b"", b"."))
    if b".." in names:
        raise CannotRun(f"cp: the tar has a name with `..` in it: {ascii(path)[1:-1]}")
    return names


def _spilled(data) -> int:
    """A descriptor of what comes from a stream: a pipe that a thread fills."""
    import threading

    read, write = os.pipe()

    def fill() -> None:
        with open(write, "wb", buffering=0) as pipe:
            try:
                while part := data.read(_CHUNK):
                    pipe.write(part)
            except BrokenPipeError:
                pass

    threading.Thread(target=fill, daemon=True).start()
    return read


# -- what names mean --------------------------------------------------------------------------------


def out_of(inside: Inside, source: bytes, target: str, follow: bool, archive: bool) -> None:
    """Copy from a container.  `CannotRun`, `OSError`."""
    path = _absolute(source)
    whole, only_content = _form(path)
    about = inside.look(whole, follow or path.endswith(b"/"))
    if about is None:
        raise CannotRun(f"cp: {os.fsdecode(source)}: there is no such file in the container")
    if follow:
        whole = os.fsencode(about["path"])
    is_directory = stat.S_ISDIR(about["mode"])
    if path.endswith(b"/") and not is_directory:
        raise CannotRun(f"cp: {os.fsdecode(source)}: not a directory in the container")
    name = whole.rstrip(b"/").rpartition(b"/")[2]
    if target == "-":
        if sys.stdout.isatty():
            raise CannotRun("cp: a tar is not for a terminal; give a file with > or a pipe")
        write_tar(sys.stdout.buffer, inside.entries(whole, about), b"." if only_content or not name else name)
        return
    place = os.fsencode(target)
    try:
        there = os.stat(place).st_mode
        place = os.path.realpath(place) + (b"/" if place.endswith(b"/") else b"")
    except FileNotFoundError:
        there = None
    directory, last = _destination(place, there, is_directory, only_content, name)
    try:
        outside = Outside(directory, last, archive)
    except OSError as problem:
        raise CannotRun(f"cp: {os.fsdecode(directory)}: {problem.strerror.lower()}") from None
    try:
        outside.write(inside.entries(whole, about))
    finally:
        outside.close()


def into(inside: Inside, source: str, target: bytes, follow: bool, archive: bool) -> None:
    """Copy to a container.  `CannotRun`, `OSError`."""
    place = _absolute(target)
    there = inside.look(place.rstrip(b"/") or b"/", True)
    mode = None
    if there is not None:
        mode = there["mode"]
        place = os.fsencode(there["path"]) + (b"/" if place.endswith(b"/") else b"")
    if source == "-":
        if mode is None or not stat.S_ISDIR(mode):
            raise CannotRun(f"cp: {os.fsdecode(target)}: a tar needs a directory of the container to be unpacked in")
        inside.write(place, tar_entries(sys.stdin.buffer), archive)
        return
    path = os.fsencode(source)
    whole, only_content = _form(path)
    try:
        status = os.stat(whole, follow_symlinks=follow or path.endswith(b"/"))
    except OSError as problem:
        raise CannotRun(f"cp: {source}: {problem.strerror.lower()}") from None
    is_directory = stat.S_ISDIR(status.st_mode)
    if path.endswith(b"/") and not is_directory:
        raise CannotRun(f"cp: {source}: not a directory")
    name = os.path.basename(os.path.abspath(whole))
    directory, last = _destination(place, mode, is_directory, only_content, name)
    if directory != place.rstrip(b"/") and inside.look(directory, True) is None:
        raise CannotRun(f"cp: {os.fsdecode(directory)}: there is no such directory in the container")
    made = directory.rstrip(b"/") + (b"/" + last if last != b"." else b"")
    inside.write(made or b"/", host_entries(whole, follow or is_directory), archive)


def _absolute(path: bytes) -> bytes:
    return path if path.startswith(b"/") else b"/" + path


def _form(path: bytes) -> tuple[bytes, bool]:
    """A source without what says how it is meant, and whether only what is in it is."""
    if path in (b".", b"/."):
        return path[:-1] or b".", True
    if path.endswith(b"/."):
        return path[:-2] or b"/", True
    return path.rstrip(b"/") or b"/", False


def _destination(place: bytes, there: int | None, is_directory: bool, only_content: bool, name: bytes) -> tuple[bytes, bytes]:
    """(directory, name) where what is copied goes; ``.`` for the directory itself.  `CannotRun`.

    `there` is the mode of what is at `place`, None where nothing is.
    """
    shown = os.fsdecode(place)
    if there is None:
        if place.endswith(b"/") and not is_directory:
            raise CannotRun(f"cp: {shown}: there is no such directory")
        above, _, last = place.rstrip(b"/").rpartition(b"/")
        return above or (b"/" if place.startswith(b"/") else b"."), last
    if not stat.S_ISDIR(there):
        if is_directory:
            raise CannotRun(f"cp: {shown}: a directory cannot be copied over what is none")
        if place.endswith(b"/"):
            raise CannotRun(f"cp: {shown}: not a directory")
        above, _, last = place.rpartition(b"/")
        return above or (b"/" if place.startswith(b"/") else b"."), last
    if (is_directory and only_content) or not name:
        return place.rstrip(b"/") or b"/", b"."
    return place.rstrip(b"/") or b"/", name
