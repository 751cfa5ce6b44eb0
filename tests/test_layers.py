"""Copy-on-write layers in process: handlers over a `LayerFs`, its upper layer as it lies on disk, and reopening it."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import struct
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import TRIES
from fakes import AT_FDCWD, Guest, Out, Pair, Twin

from abi.dispatch import Again, DispatchResult, Later
from vfs.filesystem import DIRENT64
from vfs.journal import Journal
from vfs.layers import LayerFs
from vfs.namespace import FsContext, Namespace

RW, WO, RO = os.O_RDWR, os.O_WRONLY, os.O_RDONLY
CREAT, TRUNC, DIRECTORY, PATH, APPEND, EXCL = os.O_CREAT, os.O_TRUNC, os.O_DIRECTORY, os.O_PATH, os.O_APPEND, os.O_EXCL
TMPFILE = 0o20000000 | DIRECTORY
NOREPLACE, EXCHANGE = 1, 2
NOFOLLOW, REMOVEDIR, SYMLINK_FOLLOW = 0x100, 0x200, 0x400
OLD = 1_000_000_000_123_456_789  # the time of everything in the lower layers
RECENT = 1_600_000_000_000_000_000  # times after this one are the test's own
_STAT = struct.Struct("<QQQIIIxxxxQqqqqqqqqq24x")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


# -- layers, and a guest that has them as its root --------------------------------------------------


class Status(NamedTuple):
    """What a guest reads from ``struct stat``."""

    dev: int
    ino: int
    nlink: int
    mode: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime: int
    atime_ns: int
    mtime: int
    mtime_ns: int
    ctime: int
    ctime_ns: int

    @property
    def modified(self) -> int:
        return self.mtime * 10**9 + self.mtime_ns

    @property
    def inode(self) -> tuple[int, int]:
        return self.dev, self.ino


class Entry(NamedTuple):
    """One line of a tree: all that a copy must keep, and times as far as they tell old from new."""

    mode: int
    owner: tuple[int, int]
    size: int
    links: int
    first: bytes  # the first name of the same file
    modified: int | None  # None: while the test ran
    content: bytes
    attributes: dict[str, bytes]


class Layers:
    """Lower directories (the first one at the bottom), an upper one, and what is kept beside it."""

    def __init__(self, place: Path, lowers: int = 1, kept: bool = True) -> None:
        self.place = place
        self.lowers = [place / f"lower{number}" for number in range(lowers)]
        self.upper, self.work = place / "store/upper", place / "store/work"
        self.kept = kept
        self._fds: list[int] = []
        for path in (*self.lowers, self.upper, self.work):
            path.mkdir(parents=True)

    def give(self, path: str | bytes, data: str | bytes = "", layer: int = 0, mode: int = 0o644) -> Path:
        """A file of a lower layer, in directories that are made with it."""
        target = self._below(path, layer)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        target.chmod(mode)
        return target

    def give_directory(self, path: str | bytes, layer: int = 0, mode: int = 0o755) -> Path:
        target = self._below(path, layer)
        target.mkdir(exist_ok=True)
        target.chmod(mode)
        return target

    def _below(self, path: str | bytes, layer: int) -> Path:
        target = self.lowers[layer] / os.fsdecode(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def age(self) -> None:
        """Make all that is in the lower layers old."""
        for lower in self.lowers:
            for directory, names, files in os.walk(os.fsencode(lower), topdown=False):
                for name in names + files:
                    os.utime(os.path.join(directory, name), ns=(OLD, OLD), follow_symlinks=False)
            os.utime(lower, ns=(OLD, OLD))

    def fs(self, hidden=()) -> LayerFs:
        """The layers, opened anew; what was open of them before is closed."""
        self.close()
        journal = Journal(os.fsencode(self.place / "store/journal")) if self.kept else None
        self._fds = [os.open(path, _DIRECTORY) for path in (*self.lowers, self.upper, self.work)]
        *lowers, upper, work = self._fds
        if journal is not None:
            self._fds.append(journal.fd)
        return LayerFs(lowers, upper, work, journal, hidden)

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def stored(self) -> set[str]:
        """The names in the upper layer."""
        return {str(path.relative_to(self.upper)) for path in self.upper.rglob("*")}


class LayeredGuest(Guest):
    """A process whose root is layered; the methods do what a program does, and must succeed."""

    def __init__(self, layers: Layers, hidden=()) -> None:
        super().__init__(layers.place / "unused")
        self.layers = layers
        self._hidden = hidden
        self.reopen()

    def reopen(self) -> None:
        """Open the layers anew: what is not on disk is forgotten."""
        self.files.close()
        self.fs = self.layers.fs(self._hidden)
        self.namespace = Namespace(self.fs)
        self.sandbox.namespace = self.namespace
        self.process.fs = FsContext(self.namespace.root, self.namespace.root, 0o022)

    def result(self, name, *args) -> DispatchResult:
        """What the handler comes to, once work aside has been done."""
        while True:
            self.memory.pages.clear()
            result = super().result(name, *args)
            if isinstance(result, Later):
                result = result.work(lambda: False)
            if not isinstance(result, Again):
                return result

    def do(self, name: str, *args) -> int:
        value = self(name, *args)
        assert value >= 0, f"{name}{args}: {os.strerror(-value)}"
        return value

    def fails(self, name: str, *args) -> str:
        """The name of the error that a call comes to."""
        value = self(name, *args)
        assert value < 0, f"{name}{args}: {value}"
        return errno.errorcode[-value]

    def write(self, path: bytes, data: bytes, flags: int = CREAT | TRUNC, at: int = 0) -> None:
        fd = self.open(path, WO | flags, 0o644)
        os.pwrite(fd, data, at)
        self.close(fd)

    def read(self, path: bytes) -> bytes:
        fd = self.open(path)
        data = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
        self.close(fd)
        return data

    def close(self, fd: int) -> None:
        os.close(self.files.table.pop(fd))

    def lstat(self, path: bytes) -> Status:
        out = Out(144)
        self.do("lstat", path, out)
        return Status(*_STAT.unpack(out.guest))

    def fstat(self, fd: int) -> Status:
        out = Out(144)
        self.do("fstat", fd, out)
        return Status(*_STAT.unpack(out.guest))

    def readlink(self, path: bytes) -> bytes:
        out = Out(4096)
        count = self.do("readlink", path, out, 4096)
        return out.guest[:count]

    def names(self, path: bytes) -> list[bytes]:
        """The names in a directory, sorted; each must be there once."""
        fd = self.open(path, DIRECTORY)
        names = [name for name, *_ in self.listing(fd)]
        self.close(fd)
        assert len(set(names)) == len(names)
        assert names[:2] == [b".", b".."] or set(names) >= {b".", b".."}
        return sorted(set(names) - {b".", b".."})

    def listing(self, fd: int, size: int = 1 << 15) -> list[tuple[bytes, int, int, int]]:
        """(name, inode, offset, d_type) of all that is still to come."""
        found = []
        while records := self.some(fd, size):
            found += records
        return found

    def some(self, fd: int, size: int) -> list[tuple[bytes, int, int, int]]:
        """What one getdents64 gives."""
        out = Out(size)
        count = self.do("getdents64", fd, out, size)
        found, position = [], 0
        while position < count:
            inode, offset, length, kind = DIRENT64.unpack_from(out.guest, position)
            name = out.guest[position + DIRENT64.size : position + length].split(b"\0", 1)[0]
            found.append((name, inode, offset, kind))
            position += length
        return found

    def attributes(self, path: bytes) -> dict[str, bytes]:
        out = Out(4096)
        count = self.do("llistxattr", path, out, 4096)
        found = {}
        for name in out.guest[:count].split(b"\0")[:-1]:
            value = Out(4096)
            size = self.do("lgetxattr", path, name, value, 4096)
            found[os.fsdecode(name)] = value.guest[:size]
        return found

    def __exit__(self, *exception) -> None:
        super().__exit__(*exception)
        self.layers.close()

    def everything(self) -> dict[bytes, Entry]:
        """All that is there, found by listing and looking."""
        found: dict[bytes, tuple] = {}
        pending = [b""]
        while pending:
            directory = pending.pop()
            fd = self.open(b"/" + directory, DIRECTORY)
            records = self.listing(fd)
            self.close(fd)
            assert len({name for name, *_ in records}) == len(records), "a name twice"
            for name, inode, _, kind in records:
                if name in (b".", b".."):
                    continue
                path = os.path.join(directory, name)
                status = self.lstat(b"/" + path)
                assert (status.ino, stat.S_IFMT(status.mode) >> 12) == (inode, kind), path
                content = b""
                if stat.S_ISDIR(status.mode):
                    pending.append(path)
                elif stat.S_ISLNK(status.mode):
                    content = self.readlink(b"/" + path)
                elif stat.S_ISREG(status.mode):
                    content = self.read(b"/" + path)
                attributes = {} if stat.S_ISLNK(status.mode) else self.attributes(b"/" + path)
                found[path] = status, content, attributes
        return _entries(found)

    def inodes(self) -> dict[bytes, tuple[int, int]]:
        return {path: self.lstat(b"/" + path).inode for path in self.everything()}


def host_tree(root: Path) -> dict[bytes, Entry]:
    """The same of a host directory; what is the user's is root's."""
    found: dict[bytes, tuple] = {}
    top = os.fsencode(root)
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            status = Status(
                st.st_dev, st.st_ino, st.st_nlink, st.st_mode, 0 if st.st_uid == os.geteuid() else st.st_uid,
                0 if st.st_gid == os.getegid() else st.st_gid, st.st_rdev, st.st_size, 0, 0, 0, 0,
                *divmod(st.st_mtime_ns, 10**9), 0, 0,
            )  # fmt: skip
            content = b""
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            attributes = {} if stat.S_ISLNK(st.st_mode) else {key: os.getxattr(path, key) for key in os.listxattr(path)}
            found[os.path.relpath(path, top)] = status, content, attributes
    return _entries(found)


def _entries(found: dict[bytes, tuple[Status, bytes, dict[str, bytes]]]) -> dict[bytes, Entry]:
    """Statuses without what differs between a directory and layers: inode numbers, and sizes and links of directories."""
    firsts: dict[tuple[int, int], bytes] = {}
    result = {}
    for path, (status, content, attributes) in sorted(found.items()):
        directory = stat.S_ISDIR(status.mode)
        result[path] = Entry(
            status.mode, (status.uid, status.gid), 0 if directory else status.size, 0 if directory else status.nlink,
            firsts.setdefault(status.inode, path), None if status.modified > RECENT else status.modified, content, attributes,
        )  # fmt: skip
    return result


def differences(one: dict, other: dict) -> list[str]:
    return [
        f"{path}: {one.get(path)} and {other.get(path)}" for path in sorted({*one, *other}) if one.get(path) != other.get(path)
    ]


# -- an image as OCI tools unpack it, which is what ours must mean the same by ----------------------


def flatten(layers: list[Path], target: Path) -> None:
    """Apply OCI layers one after the other to an empty directory."""
    target.mkdir()
    for layer in layers:
        _apply(os.fsencode(layer), os.fsencode(target), {})


def _apply(layer: bytes, target: bytes, copied: dict[tuple[int, int], bytes]) -> None:
    names = os.listdir(layer)
    if b".wh..wh..opq" in names:
        for name in os.listdir(target):
            _remove(os.path.join(target, name))
    for name in names:
        if name.startswith(b".wh.") and not name.startswith(b".wh..wh."):
            _remove(os.path.join(target, name[4:]))
    for name in names:
        if not name.startswith(b".wh."):
            _put(os.path.join(layer, name), os.path.join(target, name), copied)
    _like(layer, target)


def _like(source: bytes, place: bytes) -> None:
    status = os.lstat(source)
    os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.copystat(source, place, follow_symlinks=False)


def _put(source: bytes, place: bytes, copied: dict[tuple[int, int], bytes]) -> None:
    status = os.lstat(source)
    inode = status.st_dev, status.st_ino
    if stat.S_ISDIR(status.st_mode):
        if not os.path.isdir(place) or os.path.islink(place):
            _remove(place)
            os.mkdir(place)
        _apply(source, place, copied)
        return
    _remove(place)
    if inode in copied:
        os.link(copied[inode], place, follow_symlinks=False)
        return
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), place)
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, place)
    else:
        os.mknod(place, status.st_mode)
    _like(source, place)
    copied[inode] = place


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


# -- a random model: every call made here and by the kernel, in a directory that started alike ------


class LayeredTwin(Twin):
    """`Twin`, whose guest has layers and whose native side is one plain directory."""

    def __init__(self, guest: LayeredGuest, native: Path) -> None:
        self.guest = guest
        self.native = native
        self._fds: list[int] = []

    def __enter__(self) -> LayeredTwin:
        self._here = os.getcwd()
        self.guest.__enter__()
        os.chdir(self.native)
        return self

    def __exit__(self, *exception) -> None:
        os.chdir(self._here)
        for fd in self._fds:
            os.close(fd)
        self.guest.__exit__()

    def reopen(self) -> None:
        self.guest.reopen()
        while self._fds:
            os.close(self._fds.pop())

    def check(self) -> None:
        here, native = self.guest.everything(), host_tree(self.native)
        if len(self.guest.layers.lowers) > 1:  # a link count is the layer's own, which may have names that nobody sees
            here, native = ({path: entry._replace(links=0) for path, entry in tree.items()} for tree in (here, native))
        found = differences(here, native)
        assert not found, "\n".join(found[:5])


class RandomLayers:
    """Random small trees in all layers, with whiteouts and opaque directories above the bottom."""

    def __init__(self, dice: random.Random, layers: Layers, links: bool) -> None:
        self.dice = dice
        self.layers = layers
        self.links = links
        for number, lower in enumerate(layers.lowers):
            self._files: list[Path] = []
            self._fill(lower, 0, number)
        layers.age()

    def _fill(self, directory: Path, depth: int, layer: int) -> None:
        dice = self.dice
        if layer and depth and dice.random() < 0.15:
            (directory / ".wh..wh..opq").touch()
        for name in "abcd":
            place = directory / name
            if layer and dice.random() < 0.2:
                (directory / f".wh.{name}").touch()
            match dice.random():
                case chance if chance < 0.3 and depth < 3:
                    place.mkdir(mode=dice.choice((0o755, 0o700)))
                    self._fill(place, depth + 1, layer)
                case chance if chance < 0.5:
                    place.write_bytes(b"%d %d" % (layer, dice.randrange(1000)) * dice.choice((0, 1, 1000)))
                    if dice.random() < 0.3:
                        os.setxattr(place, "user.colour", dice.randbytes(4))
                    self._files.append(place)
                case chance if chance < 0.58:
                    place.symlink_to(dice.choice(("a", "b/c", "nowhere")))
                case chance if chance < 0.62:
                    os.mkfifo(place)
                case chance if chance < 0.75 and self.links and self._files:
                    os.link(dice.choice(self._files), place)


class Script:
    """Random calls on few names, so that they meet."""

    def __init__(self, dice: random.Random, twin: LayeredTwin) -> None:
        self.dice = dice
        self.twin = twin
        self.directories: list[Pair] = []
        self.files: list[Pair] = []
        self.log: list[str] = []

    def path(self) -> bytes:
        return b"/".join(self.dice.choice((b"a", b"b", b"c", b"d")) for _ in range(self.dice.choice((1, 1, 2, 2, 3, 4))))

    def place(self) -> tuple[int | Pair, bytes]:
        """A directory that has not been removed, and a path."""
        held = self.held()
        at = self.dice.choice(held) if held and self.dice.random() < 0.3 else AT_FDCWD
        return at, self.path()

    def held(self) -> list[Pair]:
        return [fd for fd in self.directories if os.fstat(fd.native).st_nlink]

    def call(self, name: str, *args):
        shown = [f"fd{arg.guest}" if isinstance(arg, Pair) else "cwd" if arg == AT_FDCWD else arg for arg in args]
        self.log.append(f"{name}({', '.join(map(str, shown))})")
        result = self.twin(name, *args)
        self.log[-1] += f" = fd{result.guest}" if isinstance(result, Pair) else f" = {result}"
        return result

    def step(self) -> None:
        if not os.stat(".").st_nlink:
            self.home()  # of two errors, for the directory and for a path, either may be told
        do = self.dice.choices(list(self.WEIGHTS), self.WEIGHTS.values())[0]
        do(self)

    def write(self) -> None:
        flags = self.dice.choice((CREAT, CREAT, CREAT | TRUNC, CREAT | EXCL, APPEND, TRUNC, 0)) | self.dice.choice((WO, RW))
        fd = self.call("openat", *self.place(), flags | os.O_NONBLOCK, self.dice.choice((0o644, 0o600, 0o755)))
        if isinstance(fd, Pair):
            self._put(fd)
            self._keep(fd, self.files)

    def write_on(self) -> None:
        if self.files:
            self._put(self.dice.choice(self.files))

    def _put(self, fd: Pair) -> None:
        data, at = self.dice.randbytes(5), self.dice.choice((0, 3, 20000))
        for each in (self.twin.guest.files.table[fd.guest], fd.native):
            if stat.S_ISREG(os.fstat(each).st_mode):
                os.pwrite(each, data, at)

    def _keep(self, fd: Pair, those: list[Pair]) -> None:
        those.append(fd)
        if len(those) > 4:
            those.pop(0)

    def hold(self) -> None:
        fd = self.call("openat", *self.place(), DIRECTORY | self.dice.choice((RO, PATH)), 0)
        if isinstance(fd, Pair):
            self._keep(fd, self.directories)

    def without_name(self) -> None:
        fd = self.call("openat", *self.place(), TMPFILE | RW, 0o640)
        if isinstance(fd, Pair):
            self._put(fd)
            self.call("linkat", fd, b"", *self.place(), 0x1000)

    def descriptor(self) -> None:
        # What a descriptor is of cannot be told where its own name has gone and another is left.
        files = [
            fd
            for fd in self.files
            if not os.fstat(fd.native).st_nlink or os.path.exists(os.readlink(f"/proc/self/fd/{fd.native}"))
        ]
        if those := files + self.held():
            fd = self.dice.choice(those)
            if fd in self.files or self.dice.random() < 0.5:
                self.call("fchmod", fd, self.dice.choice((0o700, 0o755)))
            else:
                self.call("fchdir", fd)

    def truncate(self) -> None:
        self.call("truncate", self.path(), self.dice.choice((0, 2, 30000)))

    def mkdir(self) -> None:
        self.call("mkdirat", *self.place(), self.dice.choice((0o755, 0o700, 0o1777)))

    def mkfifo(self) -> None:
        self.call("mknodat", *self.place(), stat.S_IFIFO | 0o644, 0)

    def symlink(self) -> None:
        self.call("symlinkat", self.path(), *self.place())

    def link(self) -> None:
        self.call("linkat", *self.place(), *self.place(), self.dice.choice((0, 0, SYMLINK_FOLLOW)))

    def unlink(self) -> None:
        self.call("unlinkat", *self.place(), 0)

    def rmdir(self) -> None:
        self.call("unlinkat", *self.place(), REMOVEDIR)

    def remove_all(self) -> None:
        self._remove_all(self.path())

    def _remove_all(self, path: bytes) -> None:
        fd = self.call("openat", AT_FDCWD, path, DIRECTORY | os.O_NOFOLLOW, 0)
        if not isinstance(fd, Pair):
            return
        for name in sorted(name for name, *_ in self.twin.guest.listing(fd.guest) if name not in (b".", b"..")):
            if self.call("unlinkat", fd, name, 0) == -errno.EISDIR:
                self._remove_all(path + b"/" + name)
        self.call("unlinkat", AT_FDCWD, path, REMOVEDIR)

    def rename(self) -> None:
        self.call("renameat2", *self.place(), *self.place(), self.dice.choice((0, 0, 0, NOREPLACE, EXCHANGE)))

    def chmod(self) -> None:
        self.call("fchmodat", *self.place(), self.dice.choice((0o744, 0o700, 0o755)))

    def chown(self) -> None:
        if os.geteuid() == 0:
            self.call("fchownat", *self.place(), self.dice.choice((0, 7)), self.dice.choice((-1, 8)), NOFOLLOW)

    def times(self) -> None:
        second = self.dice.randrange(10**9)
        self.call("utimensat", *self.place(), bytearray(struct.pack("<4q", second, 5, second, 6)), NOFOLLOW)

    def set_attribute(self) -> None:
        value = self.dice.randbytes(3)
        self.call(
            "lsetxattr",
            self.path(),
            self.dice.choice((b"user.x", b"user.colour")),
            bytearray(value),
            3,
            self.dice.choice((0, 1, 2)),
        )

    def remove_attribute(self) -> None:
        self.call("lremovexattr", self.path(), self.dice.choice((b"user.x", b"user.colour")))

    def look(self) -> None:
        self.call("access", self.path(), 0)

    def home(self) -> None:
        self.twin.guest.do("chdir", b"/")
        os.chdir(self.twin.native)
        self.log.append("home")

    def chdir(self) -> None:
        self.call("chdir", self.path())

    WEIGHTS = {
        write: 14, write_on: 3, hold: 4, without_name: 2, descriptor: 3, truncate: 3, mkdir: 8, mkfifo: 2, symlink: 3, link: 6,
        unlink: 8, rmdir: 6, remove_all: 2, rename: 14, chmod: 3, chown: 2, times: 3, set_attribute: 3, remove_attribute: 2,
        look: 2, chdir: 2, home: 3,
    }  # fmt: skip


def play(place: Path, seed: int, steps: int, lowers: int, links: bool) -> None:
    """A random script; the tree compared often, the layers opened anew a few times, the upper layer unpacked at the end."""
    dice = random.Random(seed)
    layers = Layers(place, lowers)
    RandomLayers(dice, layers, links)
    native = place / "native"
    flatten(layers.lowers, native)
    before = [host_tree(lower) for lower in layers.lowers]
    guest = LayeredGuest(layers)
    with LayeredTwin(guest, native) as twin:
        script = Script(dice, twin)
        try:
            twin.check()
            for number in range(1, steps + 1):
                script.step()
                if number % 10 == 0:
                    twin.check()
                if number % 60 == 0:
                    inodes = guest.inodes()
                    script.home()
                    twin.reopen()
                    script.files, script.directories = [], []
                    script.log.append("reopened")
                    twin.check()
                    assert guest.inodes() == inodes
        except BaseException:
            print("\n".join(script.log))
            raise
        assert [host_tree(lower) for lower in layers.lowers] == before
        if not links:
            flatten([*layers.lowers, layers.upper], place / "flat")
            found = differences(host_tree(place / "flat"), host_tree(native))
            assert not found, "\n".join(found[:5])


@pytest.mark.parametrize("links", [False, True], ids=["single", "links"])
@pytest.mark.parametrize("lowers", [1, 2, 3])
def test_random_calls_come_to_what_they_come_to_in_a_plain_directory(tmp_path, lowers, links):
    play(tmp_path, 1, 120, lowers, links)


@pytest.mark.slow
@pytest.mark.parametrize("lowers", [1, 2, 3])
def test_many_random_calls_come_to_what_they_come_to_in_a_plain_directory(tmp_path, lowers):
    for seed in range(100, 100 + 8 * TRIES):
        play(tmp_path / str(seed), seed, 300, lowers, seed % 2 == 0)
        shutil.rmtree(tmp_path / str(seed))


# -- the tests below say one thing each -------------------------------------------------------------


@pytest.fixture
def layers(tmp_path) -> Layers:
    return Layers(tmp_path)


@pytest.fixture
def start():
    """Opens layers for a test: a guest, which reads the same when opened anew at the end."""
    guests: list[LayeredGuest] = []

    def begin(layers: Layers, hidden=()) -> LayeredGuest:
        layers.age()
        guest = LayeredGuest(layers, hidden)
        guest.__enter__()
        guests.append(guest)
        return guest

    yield begin
    for guest in guests:
        before, inodes = guest.everything(), guest.inodes()
        guest.reopen()
        assert not differences(guest.everything(), before)
        if guest.layers.kept:
            assert guest.inodes() == inodes
        assert set(os.listdir(guest.layers.work)) <= {"index", ".int80-owners"}
        guest.__exit__()


# -- what is seen of the layers ---------------------------------------------------------------------


def test_the_topmost_layer_with_a_name_has_it(tmp_path, start):
    layers = Layers(tmp_path, 3)
    for layer, names in enumerate((("a", "b", "c"), ("b", "c"), ("c",))):
        for name in names:
            layers.give(f"d/{name}", str(layer), layer)
    guest = start(layers)
    assert [guest.read(b"/d/" + name) for name in (b"a", b"b", b"c")] == [b"0", b"1", b"2"]
    assert guest.names(b"/d") == [b"a", b"b", b"c"]


def test_whiteouts_hide_names_of_the_layers_below_their_own_only(tmp_path, start):
    layers = Layers(tmp_path, 3)
    layers.give("d/gone", "0")
    layers.give("d/back", "0")
    layers.give("tree/inner", "0")
    layers.give("d/.wh.gone", layer=1)
    layers.give("d/.wh.back", layer=1)
    layers.give("d/back", "1", layer=1)  # beside its whiteout: another file of the same name
    layers.give(".wh.tree", layer=1)
    layers.give("d/gone", "2", layer=2)
    guest = start(layers)
    assert guest.read(b"/d/back") == b"1"
    assert guest.read(b"/d/gone") == b"2"
    assert guest.fails("lstat", b"/tree", Out(144)) == guest.fails("open", b"/tree/inner", RO) == "ENOENT"
    assert guest.names(b"/") == [b"d"]


def test_nothing_below_an_opaque_directory_is_seen(tmp_path, start):
    layers = Layers(tmp_path, 3)
    layers.give("d/low", "0")
    layers.give("d/sub/low", "0")
    layers.give("d/sub/middle", "1", layer=1)
    layers.give("d/.wh..wh..opq", layer=1)
    layers.give("d/sub/high", "2", layer=2)
    guest = start(layers)
    assert guest.names(b"/d") == [b"sub"]
    assert guest.names(b"/d/sub") == [b"high", b"middle"]
    assert guest.fails("stat", b"/d/sub/low", Out(144)) == "ENOENT"


@pytest.mark.parametrize("above", ["file", "directory", "symlink"])
@pytest.mark.parametrize("below", ["file", "directory", "symlink"])
def test_what_is_laid_over_something_else_replaces_it(tmp_path, start, below, above):
    layers = Layers(tmp_path, 2)
    for layer, kind in enumerate((below, above)):
        match kind:
            case "file":
                layers.give("x", str(layer), layer)
            case "directory":
                layers.give(f"x/inner{layer}", str(layer), layer)
            case "symlink":
                layers.give(f"to{layer}/linked{layer}", str(layer), layer)
                (layers.lowers[layer] / "x").symlink_to(f"to{layer}")
    guest = start(layers)
    merged = above == "directory" == below
    seen = {"file": None, "directory": [b"inner0"] * merged + [b"inner1"], "symlink": [b"linked1"]}[above]
    if seen is None:
        assert guest.read(b"/x") == b"1"
        assert guest.fails("stat", b"/x/inner0", Out(144)) == "ENOTDIR"
    else:
        assert guest.names(b"/x") == seen
        assert guest("stat", b"/x/inner0", Out(144)) == (0 if merged else -errno.ENOENT)
    assert flat(layers, tmp_path) == guest.everything()


def test_a_directory_laid_over_a_symlink_has_none_of_what_that_leads_to(tmp_path, start):
    layers = Layers(tmp_path, 2)
    layers.give("target/name", "0")
    (layers.lowers[0] / "x").symlink_to("target")
    (layers.lowers[0] / "loop").symlink_to("loop")
    layers.give_directory("x", layer=1)
    layers.give_directory("loop", layer=1)
    guest = start(layers)
    for directory in (b"/x", b"/loop"):
        assert guest.names(directory) == []
        assert guest.fails("open", directory + b"/name/more", RO) == guest.fails("unlink", directory + b"/name") == "ENOENT"
        guest.do("mkdir", directory + b"/name", 0o755)
        guest.write(directory + b"/name/more", b"1")
    assert guest.names(b"/target") == [b"name"]
    assert guest.everything() == flat(layers, tmp_path)


def flat(layers: Layers, place: Path) -> dict[bytes, Entry]:
    """What an OCI tool makes of all layers."""
    target = place / "flat"
    _remove(os.fsencode(target))
    flatten([*layers.lowers, layers.upper], target)
    return host_tree(target)


def test_a_file_below_is_no_directory_and_what_is_missing_is_missing(layers, start):
    layers.give("file")
    layers.give("d/file")
    guest = start(layers)
    for path, name in ((b"/file/x", "ENOTDIR"), (b"/d/file/x/y", "ENOTDIR"), (b"/d/none/x", "ENOENT"), (b"/none", "ENOENT")):
        assert guest.fails("stat", path, Out(144)) == guest.fails("open", path, RO) == guest.fails("chdir", path) == name


def test_hidden_paths_are_not_there_and_can_be_made(layers, start):
    layers.give("home/.ssh/id", "secret")
    layers.give("home/file")
    guest = start(layers, [b"/home/.ssh"])
    assert guest.names(b"/home") == [b"file"]
    assert guest.fails("open", b"/home/.ssh/id", RO) == "ENOENT"
    guest.do("mkdir", b"/home/.ssh", 0o700)
    assert guest.names(b"/home/.ssh") == []
    guest.write(b"/home/.ssh/id", b"mine")
    assert guest.read(b"/home/.ssh/id") == b"mine"
    assert (layers.lowers[0] / "home/.ssh/id").read_text() == "secret"
    guest.do("unlink", b"/home/.ssh/id")
    guest.do("rmdir", b"/home/.ssh")
    assert guest.names(b"/home") == [b"file"]


def test_a_hidden_path_goes_and_comes_with_its_directory(layers, start):
    """A directory with something hidden in it is renamed, and removed: the secret neither shows up nor is in the way."""
    layers.give("home/.ssh/id", "secret")
    layers.give("home/file")
    layers.give("bare/.ssh/id", "secret")
    guest = start(layers, [b"/home/.ssh", b"/bare/.ssh"])
    guest.do("rename", b"/home", b"/moved")
    assert guest.names(b"/moved") == [b"file"]
    guest.do("rmdir", b"/bare")
    guest.do("mkdir", b"/bare", 0o755)
    assert guest.names(b"/bare") == []
    assert "secret" not in {path.read_text() for path in layers.upper.rglob("*") if path.is_file()}


# -- copying up -------------------------------------------------------------------------------------


def hole_of(path: Path) -> int:
    return os.stat(path).st_blocks * 512


CHANGES = {
    "write": lambda guest: guest.write(b"/d/file", b"X", flags=0, at=2),
    "append": lambda guest: guest.write(b"/d/file", b"X", flags=APPEND),
    "truncate": lambda guest: guest.do("truncate", b"/d/file", 3),
    "chmod": lambda guest: guest.do("chmod", b"/d/file", 0o600),
    "chown": lambda guest: guest.do("chown", b"/d/file", 5, 6),
    "times": lambda guest: guest.do("utimensat", AT_FDCWD, b"/d/file", bytearray(struct.pack("<4q", 1, 2, 3, 4)), 0),
    "attribute": lambda guest: guest.do("setxattr", b"/d/file", b"user.new", bytearray(b"v"), 1, 0),
    "no attribute": lambda guest: guest.do("removexattr", b"/d/file", b"user.old"),
    "link": lambda guest: guest.do("link", b"/d/file", b"/other"),
    "rename": lambda guest: guest.do("rename", b"/d/file", b"/d/moved"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_first_change_copies_the_file_and_nothing_else(layers, start, change):
    file = layers.give("d/file", "0123456789", mode=0o640)
    os.setxattr(file, "user.old", b"value")
    os.chown(file, 7, 8) if os.geteuid() == 0 else None
    layers.give("d/beside", "x")
    guest = start(layers)
    before = host_tree(layers.lowers[0])
    seen = guest.everything()
    change(guest)
    assert host_tree(layers.lowers[0]) == before
    now = guest.everything()
    name = b"d/file" if b"d/file" in now else b"d/moved"
    same = {field for field in Entry._fields if getattr(now[name], field) == getattr(seen[b"d/file"], field)}
    changed = {
        "write": {"content", "modified"}, "append": {"content", "modified", "size"}, "truncate": {"content", "modified", "size"},
        "chmod": {"mode"}, "chown": {"owner"}, "times": {"modified"}, "attribute": {"attributes"}, "no attribute": {"attributes"},
        "link": {"links"}, "rename": {"first"},
    }[next(key for key, value in CHANGES.items() if value is change)]  # fmt: skip
    assert set(Entry._fields) - same == changed
    assert now[b"d/beside"] == seen[b"d/beside"]
    assert now[b"d"].modified == (None if "first" in changed else seen[b"d"].modified)
    assert "d/beside" not in layers.stored()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_empty_file_needs_no_reading_to_be_changed(layers, start):
    """/etc/.pwd.lock, without which nobody can be added to the users of a machine."""
    layers.give("lock", "", mode=0)
    layers.give("secret", "x", mode=0)
    with LayeredGuest(layers) as guest:
        assert guest.do("open", b"/lock", os.O_WRONLY) >= 0
        assert guest.fails("open", b"/secret", os.O_WRONLY) == "EACCES"
        assert guest.do("open", b"/secret", os.O_WRONLY | os.O_TRUNC) >= 0


def test_reading_and_looking_copy_nothing(layers, start):
    layers.give("d/file", "text")
    guest = start(layers)
    guest.everything()
    guest.do("access", b"/d/file", os.W_OK)
    guest.close(guest.open(b"/d/file", PATH))
    guest.close(guest.open(b"/d", DIRECTORY))
    for call in (("open", b"/d/file", CREAT | EXCL | WO, 0o644), ("removexattr", b"/d/file", b"user.none"), ("rmdir", b"/d"),
                 ("rename", b"/d", b"/d/x"), ("mkdir", b"/d", 0o755), ("link", b"/d", b"/e")):  # fmt: skip
        guest.fails(*call)
    assert layers.stored() == set()


def test_inode_numbers_stay_the_same_across_a_copy(layers, start):
    layers.give("d/file", "text")
    layers.give("d/sub/file")
    guest = start(layers)
    before = guest.inodes()
    reader = guest.open(b"/d/file")
    guest.write(b"/d/file", b"new")
    guest.do("chmod", b"/d/sub", 0o700)
    assert guest.inodes() == before
    assert guest.fstat(reader).inode == before[b"d/file"]
    writer = guest.open(b"/d/file", RW)
    assert guest.fstat(writer).inode == before[b"d/file"]
    guest.do("rename", b"/d/file", b"/d/moved")
    assert guest.lstat(b"/d/moved").inode == guest.fstat(writer).inode == before[b"d/file"]
    fd = guest.open(b"/d", DIRECTORY)
    numbers = {name: inode for name, inode, *_ in guest.listing(fd)}
    assert (numbers[b"."], numbers[b".."]) == (before[b"d"][1], guest.lstat(b"/").ino)
    assert numbers[b"moved"] == before[b"d/file"][1]


def test_a_new_file_in_the_place_of_an_old_one_is_another_file(layers, start):
    layers.give("file")
    guest = start(layers)
    before = guest.lstat(b"/file")
    guest.do("unlink", b"/file")
    guest.write(b"/file", b"new")
    assert guest.lstat(b"/file").inode != before.inode
    guest.do("unlink", b"/file")
    assert guest.names(b"/") == []
    assert layers.stored() == {".wh.file"}


def test_holes_are_kept(layers, start):
    file = layers.give("sparse")
    with open(file, "r+b") as handle:
        handle.write(b"begin")
        handle.seek(40 << 20)
        handle.write(b"middle")
        handle.truncate(100 << 20)
    guest = start(layers)
    guest.write(b"/sparse", b"B", flags=0)
    copy = layers.upper / "sparse"
    assert copy.stat().st_size == 100 << 20
    assert hole_of(copy) <= hole_of(file) + 8192
    with open(copy, "rb") as handle:
        assert handle.read(5) == b"Begin"
        handle.seek(40 << 20)
        assert handle.read(7) == b"middle\0"


def test_a_file_that_is_emptied_is_not_copied_first(layers, start, monkeypatch):
    layers.give("big", "x" * 100_000)
    guest = start(layers)
    monkeypatch.setattr("vfs.layers.copy_data", lambda *_: pytest.fail("copied"))
    guest.write(b"/big", b"new")
    assert guest.read(b"/big") == b"new"


def test_symlinks_and_pipes_are_copied_as_what_they_are(layers, start):
    layers.give("file")
    (layers.lowers[0] / "link").symlink_to("nowhere/at/all")
    os.mkfifo(layers.lowers[0] / "pipe")
    (layers.lowers[0] / "pipe").chmod(0o622)
    guest = start(layers)
    inodes = guest.inodes()
    for name in (b"/link", b"/pipe"):
        guest.do("lchown", name, 3, 4)
        guest.do("rename", name, name + b"2")
    seen = guest.everything()
    assert (seen[b"link2"].content, seen[b"link2"].owner) == (b"nowhere/at/all", (3, 4))
    assert stat.S_ISFIFO(seen[b"pipe2"].mode) and stat.S_IMODE(seen[b"pipe2"].mode) == 0o622
    assert seen[b"link2"].modified == seen[b"pipe2"].modified == OLD
    assert {path.rstrip(b"2"): inode for path, inode in guest.inodes().items()} == inodes


def test_set_id_bits_are_kept_for_the_guest_and_never_on_the_host(layers, start):
    layers.give("tool", mode=0o755)
    guest = start(layers)
    guest.do("chmod", b"/tool", 0o4755)
    assert stat.S_IMODE(guest.lstat(b"/tool").mode) == 0o4755
    assert not (layers.upper / "tool").stat().st_mode & 0o6000
    guest.do("rename", b"/tool", b"/moved")
    assert stat.S_IMODE(guest.lstat(b"/moved").mode) == 0o4755


def test_a_lower_set_id_program_is_copied_without_its_right_on_the_host(layers, start):
    layers.give("tool", mode=0o755).chmod(0o4755)
    guest = start(layers)
    guest.do("utimensat", AT_FDCWD, b"/tool", None, 0)
    assert stat.S_IMODE(guest.lstat(b"/tool").mode) == 0o4755
    assert not (layers.upper / "tool").stat().st_mode & 0o6000


# -- files with several names -----------------------------------------------------------------------


@pytest.fixture
def linked(layers) -> Layers:
    one = layers.give("d/one", "text")
    layers.give_directory("e")
    os.link(one, layers.lowers[0] / "d/two")
    os.link(one, layers.lowers[0] / "e/three")
    return layers


def test_a_write_through_one_name_is_read_by_the_others(linked, start):
    guest = start(linked)
    reader = guest.lstat(b"/d/two")
    guest.write(b"/d/one", b"new!")
    for name in (b"/d/two", b"/e/three"):
        assert guest.read(name) == b"new!"
        assert (guest.lstat(name).inode, guest.lstat(name).nlink) == (reader.inode, 3)
    guest.write(b"/e/three", b"", flags=TRUNC)
    assert guest.read(b"/d/one") == guest.read(b"/d/two") == b""


def test_the_other_names_are_right_in_a_layer_opened_anew(linked, start):
    guest = start(linked)
    guest.do("chmod", b"/d/one", 0o600)
    guest.reopen()
    guest.write(b"/d/two", b"later")
    guest.reopen()
    assert guest.read(b"/e/three") == b"later"
    assert stat.S_IMODE(guest.lstat(b"/e/three").mode) == 0o600


def test_names_are_counted_as_they_come_and_go(linked, start):
    guest = start(linked)
    guest.do("unlink", b"/d/two")
    assert guest.lstat(b"/d/one").nlink == guest.lstat(b"/e/three").nlink == 2
    guest.do("link", b"/e/three", b"/four")
    assert {guest.lstat(name).nlink for name in (b"/d/one", b"/e/three", b"/four")} == {3}
    guest.do("rename", b"/four", b"/d/four")
    assert guest.lstat(b"/d/one").nlink == 3
    assert guest.lstat(b"/d/four").inode == guest.lstat(b"/d/one").inode
    fd = guest.open(b"/d/one")
    guest.do("unlink", b"/d/one")
    guest.do("unlink", b"/d/four")
    assert guest.fstat(fd).nlink == guest.lstat(b"/e/three").nlink == 1
    guest.do("unlink", b"/e/three")
    assert os.listdir(linked.work / "index") == []


def test_renaming_one_of_two_names_onto_the_other_does_nothing(linked, start):
    guest = start(linked)
    guest.write(b"/d/two", b"changed")
    guest.do("rename", b"/d/one", b"/e/three")
    assert guest.read(b"/d/one") == guest.read(b"/e/three") == b"changed"


def test_names_in_a_middle_layer_stay_together(tmp_path, start):
    layers = Layers(tmp_path, 2)
    layers.give("other")
    one = layers.give("d/one", "text", layer=1)
    os.link(one, layers.lowers[1] / "d/two")
    guest = start(layers)
    guest.write(b"/d/one", b"new!")
    assert guest.read(b"/d/two") == b"new!"


def test_a_descriptor_of_a_name_that_was_not_written_through_is_the_file(linked, start):
    guest = start(linked)
    guest.write(b"/d/one", b"new!")
    fd = guest.open(b"/d/two")
    guest.do("fchmod", fd, 0o600)
    assert stat.S_IMODE(guest.lstat(b"/e/three").mode) == 0o600
    assert guest.fs.components(os.readlink(b"/proc/self/fd/%d" % guest.files.table[fd])) == (b"d", b"two")


# -- making and removing, and what is stored of it --------------------------------------------------


def test_a_removed_name_is_a_whiteout(layers, start):
    layers.give("d/file")
    layers.give("tree/a/b")
    guest = start(layers)
    guest.do("unlink", b"/d/file")
    for path in (b"/tree/a/b", b"/tree/a", b"/tree"):
        guest.do("unlink" if path.endswith(b"b") else "rmdir", path)
    assert layers.stored() == {"d", "d/.wh.file", ".wh.tree"}
    assert (layers.upper / ".wh.tree").stat().st_size == 0
    assert guest.everything() == flat(layers, layers.place)


def test_a_removed_new_name_leaves_nothing(layers, start):
    layers.give("d/file")
    guest = start(layers)
    guest.write(b"/new", b"x")
    guest.do("mkdir", b"/dir", 0o755)
    guest.do("unlink", b"/new")
    guest.do("rmdir", b"/dir")
    assert layers.stored() == set()


def test_a_directory_made_where_one_was_removed_is_opaque(layers, start):
    layers.give("d/file")
    guest = start(layers)
    guest.do("unlink", b"/d/file")
    guest.do("rmdir", b"/d")
    guest.do("mkdir", b"/d", 0o711)
    assert guest.names(b"/d") == []
    assert layers.stored() == {"d", "d/.wh..wh..opq"}
    assert stat.S_IMODE(guest.lstat(b"/d").mode) == 0o711
    guest.do("rmdir", b"/d")
    assert layers.stored() == {".wh.d"}


def test_a_directory_that_is_empty_to_the_guest_can_be_removed_and_renamed_over(layers, start):
    for name in ("one", "two"):
        layers.give(f"{name}/file")
    layers.give("full/file")
    guest = start(layers)
    for name in (b"one", b"two"):
        guest.do("unlink", b"/%b/file" % name)
    guest.do("rmdir", b"/one")
    assert guest.fails("rmdir", b"/full") == guest.fails("rename", b"/two", b"/full") == "ENOTEMPTY"
    guest.do("rename", b"/full", b"/two")
    assert guest.names(b"/") == [b"two"]
    assert guest.names(b"/two") == [b"file"]
    assert guest.everything() == flat(layers, layers.place)


def test_names_of_whiteouts_are_neither_seen_nor_made(layers, start):
    layers.give("d/file")
    guest = start(layers)
    guest.do("unlink", b"/d/file")
    assert guest.fails("open", b"/d/.wh.file", RO) == "ENOENT"
    for call in (("mkdir", b"/.wh.x", 0o755), ("open", b"/d/.wh..wh..opq", CREAT | WO, 0o644), ("symlink", b"x", b"/.wh.y"),
                 ("mknod", b"/.wh.p", stat.S_IFIFO | 0o644, 0), ("link", b"/d", b"/.wh.z"),
                 ("rename", b"/d", b"/.wh.z")):  # fmt: skip
        assert guest.fails(*call) in ("EINVAL", "EPERM")
    assert guest.fails("unlink", b"/d/.wh.file") == "ENOENT"
    assert guest.fails("rename", b"/d/.wh.file", b"/x") == "ENOENT"
    assert guest.names(b"/d") == []


ODD = [b"\xff\xfe", b"new\nline", b"tab\t", b"%0A", b"x" * 255, b"\xe4" * 255, b" ", b"-", b"a (deleted)"]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_any_name_works(layers, start, name):
    layers.give(b"d/" + name, "text")
    layers.give(name + b"/inner", "text")
    guest = start(layers)
    guest.write(b"/d/" + name, b"more", flags=APPEND)
    guest.do("chmod", b"/" + name, 0o700)
    guest.do("rename", b"/" + name + b"/inner", b"/" + name + b"/" + name)
    guest.do("chdir", b"/" + name)
    out = Out(300)
    length = guest.do("getcwd", out, 300)
    assert out.guest[:length] == b"/" + name + b"\0"
    guest.do("chdir", b"/")
    guest.do("unlink", b"/d/" + name)
    assert guest.names(b"/d") == []
    guest.reopen()
    assert guest.names(b"/d") == []
    assert guest.names(b"/" + name) == [name]
    guest.write(b"/d/" + name, b"again")
    assert guest.read(b"/d/" + name) == b"again"


def test_names_that_are_too_long_say_so(layers, start):
    guest = start(layers)
    for call in (("open", b"/" + b"x" * 256, RO), ("mkdir", b"/" + b"x" * 256, 0o755), ("unlink", b"/" + b"x" * 256)):
        assert guest.fails(*call) == "ENAMETOOLONG"


def test_a_deep_tree_is_copied_moved_and_removed(layers, start):
    deep = layers.lowers[0]
    for _ in range(60):
        deep = deep / "a rather long name to make the path long"
    os.makedirs(deep)
    (deep / "file").write_text("text")
    guest = start(layers)
    path = b"/" + os.fsencode(deep.relative_to(layers.lowers[0]))
    guest.write(path + b"/file", b"more", flags=APPEND)
    top = path[: path.index(b"/", 1)]
    guest.do("rename", top, b"/moved")
    moved = b"/moved" + path[len(top) :]
    assert guest.read(moved + b"/file") == b"textmore"
    guest.do("unlink", moved + b"/file")
    while moved:
        guest.do("rmdir", moved)
        moved = moved[: moved.rindex(b"/")]
    assert layers.stored() == {".wh.a rather long name to make the path long"}


# -- renaming ---------------------------------------------------------------------------------------


@pytest.fixture
def merged(tmp_path) -> Layers:
    layers = Layers(tmp_path, 2)
    layers.give("d/low", "0")
    layers.give("d/sub/low", "0")
    layers.give("d/both", "0")
    layers.give("d/both", "1", layer=1)
    layers.give("d/high", "1", layer=1)
    layers.give("e/other", "0")
    layers.give("empty/gone", "0")
    layers.give("empty/.wh.gone", layer=1)
    return layers


def test_a_merged_directory_is_renamed_with_all_in_it(merged, start):
    guest = start(merged)
    guest.write(b"/d/new", b"2")
    before = {path[1:]: entry for path, entry in guest.everything().items() if path.startswith(b"d/")}
    guest.do("rename", b"/d", b"/moved")
    after = {path[5:]: entry for path, entry in guest.everything().items() if path.startswith(b"moved/")}
    assert {path: entry._replace(first=b"") for path, entry in after.items()} == {
        path: entry._replace(first=b"") for path, entry in before.items()
    }
    assert guest.names(b"/") == [b"e", b"empty", b"moved"]
    assert guest.everything() == flat(merged, merged.place)


def test_a_renamed_directory_lets_nothing_through_of_what_it_covers(merged, start):
    guest = start(merged)
    guest.do("rename", b"/e", b"/empty")
    assert guest.names(b"/empty") == [b"other"]
    guest.do("rename", b"/d", b"/e")
    assert guest.names(b"/e") == [b"both", b"high", b"low", b"sub"]
    assert guest.names(b"/") == [b"e", b"empty"]
    assert guest.everything() == flat(merged, merged.place)


@pytest.mark.parametrize(
    "one, other", [(b"/d", b"/e"), (b"/d", b"/d/../e/other"), (b"/e/other", b"/d/low"), (b"/d/sub", b"/empty")]
)
def test_two_names_are_exchanged_whatever_they_are(merged, start, one, other):
    guest = start(merged)
    inodes = [guest.lstat(path).inode for path in (one, other)]
    guest.do("renameat2", AT_FDCWD, one, AT_FDCWD, other, EXCHANGE)
    other = other.replace(b"/d/..", b"")
    assert [guest.lstat(path).inode for path in (other, one)] == inodes
    assert guest.everything() == flat(merged, merged.place)
    guest.do("renameat2", AT_FDCWD, one, AT_FDCWD, other, EXCHANGE)
    assert [guest.lstat(path).inode for path in (one, other)] == inodes


def test_renames_fail_as_the_kernels_do(merged, start):
    guest = start(merged)

    def fails(one: bytes, other: bytes, flags: int = 0) -> str:
        return guest.fails("renameat2", AT_FDCWD, one, AT_FDCWD, other, flags)

    assert fails(b"/d", b"/e", NOREPLACE) == "EEXIST"
    assert fails(b"/d", b"/none", EXCHANGE) == "ENOENT"
    assert fails(b"/d", b"/d/sub/x") == fails(b"/d", b"/d/sub", EXCHANGE) == "EINVAL"
    assert fails(b"/d", b"/e") == fails(b"/d/sub", b"/d") == "ENOTEMPTY"
    assert fails(b"/d/low", b"/e") == "EISDIR"
    assert fails(b"/e", b"/d/low") == fails(b"/d/low/", b"/x") == fails(b"/d/low", b"/x/") == "ENOTDIR"
    assert merged.stored() == set()
    guest.do("rename", b"/d", b"/d")
    assert merged.stored() == set()


def test_a_name_comes_back_when_its_file_is_moved_away_and_back(layers, start):
    layers.give("d/file", "text")
    guest = start(layers)
    before = guest.everything()
    guest.do("rename", b"/d/file", b"/x")
    assert guest.names(b"/d") == []
    guest.do("rename", b"/x", b"/d/file")
    assert guest.everything()[b"d/file"] == before[b"d/file"]
    assert guest.lstat(b"/d/file").nlink == 1


# -- listing ----------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path) -> Layers:
    """A directory of 300 names, half of them in each of two layers."""
    layers = Layers(tmp_path, 2)
    for number in range(300):
        layers.give(f"d/{number:03}", layer=number % 2)
    return layers


NAMES = [b"%03d" % number for number in range(300)]


def test_a_buffer_for_one_name_is_enough_and_for_less_is_an_error(many, start):
    guest = start(many)
    fd = guest.open(b"/d", DIRECTORY)
    assert guest.fails("getdents64", fd, Out(16), 16) == "EINVAL"
    found = guest.listing(fd, 24)
    assert sorted(name for name, *_ in found) == [b".", b"..", *NAMES]
    assert guest.do("getdents64", fd, Out(16), 16) == 0


def test_a_listing_shows_each_name_once_while_all_are_removed(many, start):
    guest = start(many)
    fd = guest.open(b"/d", DIRECTORY)
    found = []
    while records := guest.some(fd, 400):
        for name, *_ in records:
            found.append(name)
            if name not in (b".", b".."):
                guest.do("unlink", b"/d/" + name)
    assert sorted(found) == [b".", b"..", *NAMES]
    guest.do("rmdir", b"/d")


def test_a_listing_of_one_layer_shows_each_name_once_while_all_are_removed(layers, start):
    for name in NAMES:
        layers.give(b"d/" + name)
    guest = start(layers)
    fd = guest.open(b"/d", DIRECTORY)
    found = []
    while records := guest.some(fd, 400):
        for name, *_ in records:
            found.append(name)
            if name not in (b".", b".."):
                guest.do("unlink", b"/d/" + name)
    assert sorted(found) == [b".", b"..", *NAMES]
    guest.do("rmdir", b"/d")


def test_an_offset_leads_back_to_where_it_was_taken(many, start):
    guest = start(many)
    fd = guest.open(b"/d", DIRECTORY)
    host = guest.files.table[fd]
    found = guest.listing(fd)
    for index in (0, 1, 17, 299, 300):
        os.lseek(host, found[index][2], os.SEEK_SET)
        assert guest.listing(fd, 64) == found[index + 1 :]
    guest.write(b"/d/new", b"")
    guest.do("unlink", b"/d/000")
    os.lseek(host, found[99][2], os.SEEK_SET)
    assert guest.listing(fd) == found[100:]
    os.lseek(host, 0, os.SEEK_SET)
    assert sorted(name for name, *_ in guest.listing(fd)) == sorted([b".", b"..", b"new", *NAMES[1:]])


def test_two_descriptors_of_a_directory_are_read_apart(many, start):
    guest = start(many)
    one, other = (guest.open(b"/d", DIRECTORY) for _ in range(2))
    first, second = [], []
    for _ in range(400):
        first += guest.some(one, 24 + 8)
        second += guest.some(other, 24 + 8)
    assert [name for name, *_ in first] == [name for name, *_ in second]
    assert len(first) == 302


def test_a_descriptor_held_while_many_other_listings_are_begun_reads_on(many, start):
    guest = start(many)
    fd = guest.open(b"/d", DIRECTORY)
    found = guest.some(fd, 400)
    for _ in range(400):
        guest.names(b"/d")
    found += guest.listing(fd)
    assert sorted(name for name, *_ in found) == [b".", b"..", *NAMES]


@pytest.mark.slow
def test_a_hundred_thousand_entries_are_listed(layers, start):
    place = layers.give_directory("d")
    for number in range(100_000):
        os.mknod(place / f"{number}")
    guest = LayeredGuest(layers)
    with guest:
        guest.write(b"/d/new", b"")
        guest.do("unlink", b"/d/7")
        fd = guest.open(b"/d", DIRECTORY)
        names = [name for name, *_ in guest.listing(fd, 1 << 20)]
    assert len(names) == len(set(names)) == 100_002
    assert b"7" not in names and b"new" in names


# -- directories that are held ----------------------------------------------------------------------


def cwd_of(guest: LayeredGuest) -> bytes:
    out = Out(300)
    length = guest.do("getcwd", out, 300)
    return out.guest[: length - 1]


def test_a_working_directory_is_copied_up_under_its_process(layers, start):
    layers.give("d/sub/file", "text")
    guest = start(layers)
    guest.do("chdir", b"/d/sub")
    guest.write(b"file", b"new")
    guest.write(b"beside", b"x")
    assert cwd_of(guest) == b"/d/sub"
    assert guest.read(b"file") == b"new"
    assert guest.names(b".") == [b"beside", b"file"]
    assert layers.stored() == {"d", "d/sub", "d/sub/file", "d/sub/beside"}


@pytest.mark.parametrize("copied", [False, True], ids=["from below", "copied"])
def test_a_held_directory_follows_its_rename(layers, start, copied):
    layers.give("d/sub/file", "text")
    guest = start(layers)
    if copied:
        guest.do("chmod", b"/d/sub", 0o700)
    guest.do("chdir", b"/d/sub")
    fd = guest.open(b"/d/sub", DIRECTORY)
    guest.do("rename", b"/d", b"/moved")
    assert cwd_of(guest) == b"/moved/sub"
    assert guest.read(b"file") == guest.read(b"../sub/file") == b"text"
    assert guest.do("openat", fd, b"file", RO, 0) >= 0
    guest.do("mkdirat", fd, b"new", 0o755)
    guest.write(b"file", b"more", flags=APPEND)
    assert guest.names(b"/moved/sub") == [b"file", b"new"]
    guest.do("mkdir", b"/d", 0o755)
    guest.do("mkdir", b"/d/sub", 0o755)
    assert cwd_of(guest) == b"/moved/sub"
    guest.do("fchdir", fd)
    assert cwd_of(guest) == b"/moved/sub"


@pytest.mark.parametrize("copied", [False, True], ids=["from below", "copied"])
def test_a_held_directory_that_is_removed_is_gone(layers, start, copied):
    layers.give_directory("d")
    layers.give_directory("d/sub")
    guest = start(layers)
    if copied:
        guest.do("chmod", b"/d/sub", 0o700)
    guest.do("chdir", b"/d/sub")
    guest.do("rmdir", b"/d/sub")
    for call in (("open", b"x", CREAT | WO, 0o644), ("getcwd", Out(100), 100), ("mkdir", b"x", 0o755), ("stat", b"x", Out(144))):
        assert guest.fails(*call) == "ENOENT"
    guest.do("mkdir", b"/d/sub", 0o755)
    assert guest.fails("open", b"x", CREAT | WO, 0o644) == guest.fails("getcwd", Out(100), 100) == "ENOENT"
    assert guest.names(b"/d/sub") == []
    guest.do("chdir", b"/")


@pytest.mark.parametrize("copied", [False, True], ids=["from below", "copied"])
def test_a_descriptor_of_a_removed_directory_makes_nothing(layers, start, copied):
    layers.give_directory("d")
    guest = start(layers)
    if copied:
        guest.do("chmod", b"/d", 0o700)
    fd = guest.open(b"/d", DIRECTORY)
    guest.do("rmdir", b"/d")
    assert guest.fails("openat", fd, b"x", CREAT | WO, 0o644) == "ENOENT"
    assert guest.fails("mkdirat", fd, b"x", 0o755) == "ENOENT"
    assert guest.fails("getdents64", fd, Out(1000), 1000) == "ENOENT"
    guest.do("mkdir", b"/d", 0o755)
    assert guest.fails("mkdirat", fd, b"x", 0o755) == "ENOENT"
    assert guest.names(b"/d") == []


def test_a_file_without_a_name_gets_one_in_a_directory_from_below(layers, start):
    layers.give("d/file")
    guest = start(layers)
    fd = guest.do("open", b"/d", TMPFILE | RW, 0o600)
    os.write(guest.files.table[fd], b"text")
    guest.do("linkat", fd, b"", AT_FDCWD, b"/d/named", 0x1000)
    assert guest.read(b"/d/named") == b"text"
    assert guest.lstat(b"/d/named").inode == guest.fstat(fd).inode


def test_a_descriptor_from_before_the_copy_keeps_what_it_had_and_changes_the_copy(layers, start):
    layers.give("file", "old")
    guest = start(layers)
    fd = guest.open(b"/file")
    guest.write(b"/file", b"new")
    assert os.read(guest.files.table[fd], 10) == b"old"
    guest.do("fchmod", fd, 0o600)
    assert stat.S_IMODE(guest.lstat(b"/file").mode) == 0o600
    assert stat.S_IMODE((layers.lowers[0] / "file").stat().st_mode) == 0o644


# -- the layer that is kept -------------------------------------------------------------------------


def test_what_a_killed_supervisor_left_half_made_is_swept(layers, start):
    layers.give("file", "text")
    (layers.work / "new-3").mkdir()
    (layers.work / "new-3/inner").mkdir(mode=0)
    (layers.work / "new-4").write_text("half")
    guest = start(layers)
    assert os.listdir(layers.work) == ["index"]
    guest.write(b"/file", b"new")


def test_a_journal_with_a_torn_last_line_is_read(layers, start):
    layers.give("file", "text")
    guest = start(layers)
    inode = guest.lstat(b"/file").inode
    guest.write(b"/file", b"new")
    with open(layers.place / "store/journal", "ab") as journal:
        journal.write(b"origin\t12")
    guest.reopen()
    assert guest.lstat(b"/file").inode == inode
    guest.do("mkdir", b"/d", 0o755)
    guest.reopen()
    assert guest.names(b"/") == [b"d", b"file"]


def test_the_bottom_layer_may_change_under_the_guest(layers, start):
    layers.give("d/file", "one")
    guest = start(layers)
    assert guest.read(b"/d/file") == b"one"
    layers.give("d/file", "two")
    layers.give("d/new", "x")
    assert guest.read(b"/d/file") == b"two"
    assert guest.names(b"/d") == [b"file", b"new"]
    guest.do("unlink", b"/d/new")
    layers.give("d/later", "x")
    assert guest.names(b"/d") == [b"file", b"later"]
