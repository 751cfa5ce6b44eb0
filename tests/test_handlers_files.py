"""Handlers of `abi.files` and `abi.directories`: opening, asking, changing, listing, as the kernel does it."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
from pathlib import Path

import pytest
from fakes import AT_FDCWD, BAD, Guest, Out, Twin

from abi.dispatch import InstallFile, Later
from vfs.hostfs import HostFs
from vfs.madeup import MadeUpFs, MadeUpNode

NOFOLLOW, EACCESS, EMPTY = 0x100, 0x200, 0x1000
TMPFILE = 0o20000000
RW, WO, RO = os.O_RDWR, os.O_WRONLY, os.O_RDONLY
CREAT, EXCL, TRUNC, DIRECTORY, PATH, NOFOLLOW_OPEN = (
    os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_DIRECTORY, os.O_PATH, os.O_NOFOLLOW,
)  # fmt: skip


def fill(place: Path) -> None:
    """What every test here starts from."""
    (place / "dir/sub").mkdir(parents=True)
    (place / "file").write_text("text")
    (place / "none_may").write_text("x")
    (place / "none_may").chmod(0)
    for name, target in (
        ("tofile", "file"), ("todir", "dir"), ("dangling", "nowhere"), ("farther", "dir/none"), ("loop", "loop"),
        ("chain", "tofile"), ("up", "dir/../file"),
    ):  # fmt: skip
        (place / name).symlink_to(target)
    for path in (place / "file", place / "dir", place / "dir/sub"):
        os.utime(path, ns=(1_000_000_001, 2_000_000_002))


PATHS = [b"", b".", b"..", b"file", b"file/", b"file/.", b"file/x", b"dir", b"dir/", b"dir/.", b"dir/sub/..", b"tofile",
         b"tofile/", b"todir", b"todir/", b"chain", b"up", b"dangling", b"dangling/", b"farther", b"loop", b"loop/",
         b"new",
         b"new/", b"none/x", b"none_may", b"dir/new", b"todir/new", b"a" * 255, b"a" * 256, b"d/" * 2048]  # fmt: skip
SHORT = PATHS[:-1]  # where other arguments are bad too: which of two errors is told first is nobody's business


@pytest.fixture
def twin(tmp_path):
    with Twin(tmp_path, fill) as pair:
        yield pair


@pytest.fixture
def call(tmp_path):
    with Guest(tmp_path / "root") as guest:
        fill(guest.root)
        yield guest


@pytest.fixture
def compare(tmp_path):
    """Makes each of a list of calls both ways and lists where the two differ; `fresh` ones each from a new start."""

    def differences(calls, fresh: bool = False) -> list[str]:
        found = []
        groups = ([one] for one in calls) if fresh else [list(calls)]
        for number, group in enumerate(groups):
            with Twin(tmp_path / str(number), fill) as twin:
                for name, *args in group:
                    try:
                        twin(name, *args)
                        if fresh:
                            twin.same_tree()
                    except AssertionError as difference:
                        found.append(str(difference).splitlines()[0])
        return found

    return differences


# -- open -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [RO, RW, WO | os.O_APPEND, DIRECTORY, RW | DIRECTORY, NOFOLLOW_OPEN, WO | NOFOLLOW_OPEN, PATH, PATH | NOFOLLOW_OPEN,
     PATH | DIRECTORY, PATH | RW, DIRECTORY | NOFOLLOW_OPEN],
    ids=oct,
)  # fmt: skip
def test_opening_what_is_there_ends_as_it_does_natively(compare, flags):
    assert compare(("open", path, flags, 0o644) for path in PATHS) == []


@pytest.mark.parametrize(
    "flags",
    [CREAT, CREAT | RW, CREAT | WO | TRUNC, CREAT | EXCL | RW, CREAT | NOFOLLOW_OPEN | RW, CREAT | EXCL | NOFOLLOW_OPEN,
     CREAT | DIRECTORY | RW, CREAT | PATH, WO | TRUNC, TRUNC],
    ids=oct,
)  # fmt: skip
def test_an_opening_that_may_change_something_ends_as_it_does_natively(compare, flags):
    assert compare((("open", path, flags, 0o666) for path in SHORT), fresh=True) == []


def test_openat_starts_at_the_dirfd(call):
    dirfd = call.open(b"/dir", PATH)
    fd = call("openat", dirfd, b"made", CREAT | RW, 0o600)
    os.write(fd, b"here")
    assert (call.root / "dir/made").read_text() == "here"


def test_openat_with_a_dirfd_that_is_closed_is_ebadf(twin):
    assert twin("openat", 999, b"file", 0) == -errno.EBADF


def test_openat_with_a_dirfd_that_is_a_file_is_enotdir(twin):
    assert twin("openat", twin("open", b"file", 0, 0), b"x", 0) == -errno.ENOTDIR


def test_openat_with_an_absolute_path_needs_no_dirfd(call):
    assert call("openat", 999, b"/file", 0) >= 0


def test_creat_empties_what_is_there(call):
    assert call("creat", b"/file", 0o600) >= 0
    assert (call.root / "file").read_text() == ""


def test_creating_through_a_dangling_symlink_makes_its_target(call):
    assert call("open", b"/dangling", CREAT | WO, 0o644) >= 0
    assert (call.root / "nowhere").exists()


def test_a_created_file_has_the_mode_that_the_umask_leaves(call):
    call.process.fs.umask = 0o027
    call("open", b"/new", CREAT | WO, 0o666)
    assert (call.root / "new").stat().st_mode & 0o7777 == 0o640


def test_a_created_file_never_has_set_id_bits(call):
    call("open", b"/new", CREAT | WO, 0o6755)
    assert (call.root / "new").stat().st_mode & 0o6000 == 0


@pytest.mark.parametrize("flags, cloexec", [(0, False), (os.O_CLOEXEC, True)], ids=["stays", "closes"])
def test_close_on_exec_is_what_the_caller_asked_for(call, flags, cloexec):
    result = call.result("open", b"/file", flags, 0)
    assert isinstance(result, InstallFile)
    assert result.cloexec is cloexec
    assert not os.get_inheritable(result.fd)
    call.value(result)


def test_an_opened_file_blocks_unless_asked_not_to(call):
    assert os.get_blocking(call.open(b"/file"))
    assert not os.get_blocking(call.open(b"/file", os.O_NONBLOCK))


def test_an_unnamed_file_is_made_in_its_directory(call):
    fd = call.open(b"/dir", TMPFILE | DIRECTORY | RW, 0o640)
    assert os.fstat(fd).st_nlink == 0
    assert os.fstat(fd).st_mode & 0o777 == 0o640


@pytest.mark.parametrize("path, flags", [(b"dir", RO), (b"file", RW), (b"none", RW), (b"dir/", RW)])
def test_an_unnamed_file_is_refused_as_natively(compare, path, flags):
    assert compare([("open", path, TMPFILE | DIRECTORY | flags, 0o600)]) == []


def test_a_named_pipe_is_opened_aside_so_that_nobody_is_held(call):
    os.mkfifo(call.root / "pipe")
    result = call.result("open", b"/pipe", RO, 0)
    assert isinstance(result, Later)
    with os.fdopen(os.open(call.root / "pipe", RW)):
        fd = call.value(result.work())
    assert os.get_blocking(fd)


@pytest.mark.parametrize("path", [b"/pipe", b"/dir/pipe"])
@pytest.mark.parametrize("flags", [RO, WO, RO | CREAT])
def test_a_named_pipe_is_not_touched_before_its_opening_is_worked_on(call, path, flags):
    """An end open for a moment would let the other side's opening through, only to find itself alone."""
    pipe = call.root / os.fsdecode(path).lstrip("/")
    os.mkfifo(pipe)
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        assert libc.inotify_add_watch(watch, os.fsencode(pipe), 0xFFF) >= 0
        assert isinstance(call.result("open", path, flags, 0), Later)
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
    finally:
        os.close(watch)


def test_a_named_pipe_opened_without_blocking_is_opened_at_once(call):
    os.mkfifo(call.root / "pipe")
    assert call("open", b"/pipe", RO | os.O_NONBLOCK, 0) >= 0
    os.mkfifo(call.root / "second")
    assert call("open", b"/second", WO | os.O_NONBLOCK, 0) == -errno.ENXIO


def test_a_socket_cannot_be_opened(twin):
    for side in (twin.guest.root, twin.native):
        os.mknod(side / "work/socket", 0o140600)
    assert twin("open", b"socket", RW, 0) == -errno.ENXIO


def test_opening_in_one_step_goes_the_long_way_where_it_must(tmp_path):
    with Guest(tmp_path / "root") as call:
        fill(call.root)
        os.mkfifo(call.root / "pipe")
        assert call.read(b"/file") == b"text"
        assert call.read(b"/chain") == b"text"
        assert call("open", b"/loop", 0) == -errno.ELOOP
        assert call("open", b"/file/x", 0) == -errno.ENOTDIR
        assert isinstance(call.result("open", b"/pipe", RO, 0), Later)


@pytest.mark.parametrize("name, args", [("open", (BAD, 0, 0)), ("openat", (AT_FDCWD, BAD, 0, 0)), ("creat", (BAD, 0))])
def test_opening_a_bad_pointer_is_efault(twin, name, args):
    assert twin(name, *args) == -errno.EFAULT


# -- openat2 ----------------------------------------------------------------------------------------


def how(flags: int = 0, mode: int = 0, resolve: int = 0, more: bytes = b"") -> bytearray:
    return bytearray(struct.pack("<3Q", flags, mode, resolve) + more)


@pytest.mark.parametrize(
    "path", [b"file", b"dir", b"tofile", b"todir/sub", b"todir/", b"todir/.", b"none", b"loop", b"dir/../file", b""]
)
@pytest.mark.parametrize("resolve", [0, 2, 4], ids=["any", "no-magic-links", "no-symlinks"])
def test_openat2_opens_what_the_kernel_opens(compare, path, resolve):
    assert compare([("openat2", AT_FDCWD, path, how(resolve=resolve), 24)]) == []


@pytest.mark.parametrize(
    "args",
    [
        (how(), 23), (how(), 0), (how(more=bytes(8)), 32), (how(more=b"\1" + bytes(7)), 32), (how(resolve=64), 24),
        (how(flags=1 << 40), 24), (how(mode=0o644), 24), (how(flags=CREAT | RW, mode=0o200000), 24), (BAD, 24),
        (how(), 5000),
    ],
)  # fmt: skip
def test_openat2_judges_its_arguments_as_the_kernel_does(compare, args):
    assert compare([("openat2", AT_FDCWD, b"file", *args)]) == []


RESOLVES = {"NO_XDEV": 1, "NO_MAGICLINKS": 2, "NO_SYMLINKS": 4, "BENEATH": 8, "IN_ROOT": 16}


@pytest.mark.parametrize("resolve", RESOLVES.values(), ids=RESOLVES)
def test_openat2_restricts_the_walk_as_the_kernel_does(compare, resolve):
    ways = ["/nowhere-int80", "/dir/..", "../work/file", "dir/../..", "dir/../file", "todir/../file", "/", "/.."]
    ways += ["absolute", "outward", "inner/x"]
    calls = [("symlink", b"/nowhere-int80", b"absolute"), ("symlink", b"../../x", b"outward"), ("symlink", b"..", b"inner")]
    calls += [("openat2", AT_FDCWD, path, how(resolve=resolve), 24) for path in (*SHORT, *map(str.encode, ways))]
    calls += [("openat2", AT_FDCWD, path, how(CREAT | WO, 0o600, resolve), 24) for path in (b"made", b"../made", b"dangling")]
    if resolve == RESOLVES["NO_XDEV"]:  # where the kernel's root is mounted from is the host's affair
        calls = [one for one in calls if one[2] != b"absolute"]
    if resolve != RESOLVES["IN_ROOT"]:
        calls = [one for one in calls if one[0] != "openat2" or not one[2].startswith(b"/") or resolve == RESOLVES["BENEATH"]]
    assert compare(calls) == []


def test_openat2_does_not_jump_where_it_must_not(call):
    for resolve, number in ((2, errno.ELOOP), (4, errno.ELOOP), (8, errno.EXDEV), (16, errno.EXDEV)):
        call.namespace.mount(Jump(call.namespace), (b"jump",))
        assert call("openat2", AT_FDCWD, b"jump/link", how(resolve=resolve), 24) == -number
    assert call("openat2", AT_FDCWD, b"jump/link", how(resolve=1), 24) == -errno.EXDEV


def test_openat2_promises_nothing_of_its_cache(call):
    assert call("openat2", AT_FDCWD, b"file", how(resolve=32), 24) == -errno.EAGAIN


class Jump(MadeUpFs):
    """A file system with one magic link, to the root."""

    tag = b"int80-jump:"

    def __init__(self, namespace) -> None:
        super().__init__()
        self._namespace = namespace

    def lookup(self, parent, name):
        return MadeUpNode((name,), 0o120777)

    def follow(self, node):
        return self._namespace.root


# -- stat -------------------------------------------------------------------------------------------

_STAT = struct.Struct("<QQQIIIxxxxQqqqqqqqqq24x")


def told(raw: bytes) -> tuple:
    """The fields of ``struct stat`` that are alike in both directories; the times are those that `fill` has set."""
    _, _, links, mode, _, _, rdev, size, block, _, *times = _STAT.unpack(raw)
    return links, mode, rdev, size if mode & 0o170000 != 0o040000 else 0, block, times[2:4] if times[2] < 1000 else None


@pytest.mark.parametrize("name", ["stat", "lstat"])
def test_the_status_of_a_path_is_the_kernels(twin, name):
    for path in PATHS:
        out = Out(144)
        twin(name, path, out)
        assert told(out.guest) == told(out.native)


@pytest.mark.parametrize("flags", [0, NOFOLLOW, EMPTY, EMPTY | NOFOLLOW, 0x800, 0x2000, 0x10000, EACCESS], ids=hex)
def test_newfstatat_takes_the_flags_the_kernel_takes(compare, flags):
    assert compare(("newfstatat", AT_FDCWD, path, Out(144), flags) for path in PATHS) == []


@pytest.mark.parametrize("name", ["stat", "newfstatat"])
def test_the_status_of_the_working_directory_is_that_of_now(twin, name):
    def status() -> None:
        out = Out(144)
        twin(name, *((b".", out) if name == "stat" else (AT_FDCWD, b"", out, EMPTY)))
        assert _STAT.unpack(out.guest)[2:4] == _STAT.unpack(out.native)[2:4]  # links, mode

    status()
    twin("mkdir", b"more", 0o755)
    twin("chmod", b".", 0o711)
    status()


@pytest.mark.parametrize("flags", [0, PATH, PATH | NOFOLLOW_OPEN], ids=oct)
def test_the_status_of_a_descriptor_is_that_of_its_file(call, flags):
    fd = call.open(b"/file", flags)
    for name, args in (("fstat", (fd, Out(144))), ("newfstatat", (fd, b"", Out(144), EMPTY))):
        assert call(name, *args) == 0
        out = next(arg for arg in args if isinstance(arg, Out))
        assert _STAT.unpack(out.guest)[1] == os.stat(call.root / "file").st_ino


def test_the_status_of_a_pipe_is_given_too(call):
    reader, writer = os.pipe()
    call.files.add(reader), call.files.add(writer)
    out = Out(144)
    assert call("fstat", reader, out) == 0
    assert _STAT.unpack(out.guest)[3] & 0o170000 == 0o010000


def test_the_status_of_no_descriptor_is_ebadf(twin):
    for name, args in (("fstat", (999, Out(144))), ("newfstatat", (999, b"", Out(144), EMPTY))):
        assert twin(name, *args) == -errno.EBADF


def test_the_user_of_the_host_is_root_to_the_guest(call):
    out = Out(144)
    call("stat", b"/file", out)
    assert _STAT.unpack(out.guest)[4:6] == (0, 0)


@pytest.mark.parametrize("name, args", [("stat", (b"file", BAD)), ("lstat", (BAD, Out(144))), ("fstat", (0, BAD))])
def test_a_status_to_nowhere_is_efault(call, name, args):
    call.files.add(os.open("/dev/null", 0), 0)
    assert call(name, *args) == -errno.EFAULT


def test_a_status_needs_room_for_all_of_it(call):
    assert call("stat", b"/file", Out(100)) == -errno.EFAULT


@pytest.mark.parametrize("path", [b"file", b"dir", b"tofile"])
@pytest.mark.parametrize("flags", [0, NOFOLLOW, 0x2000, 0x4000], ids=hex)
def test_statx_tells_the_basic_fields_as_the_kernel_does(twin, path, flags):
    out = Out(256)
    twin("statx", AT_FDCWD, path, flags, 0x7FF, out)
    for where, what in ((16, "links"), (28, "mode")):
        assert out.guest[where : where + 2] == out.native[where : where + 2], what
    if not path.startswith(b"to"):
        assert out.guest[112:124] == out.native[112:124], "time of the last change"
    assert int.from_bytes(out.guest[:4], "little") & 0x7FF == 0x7FF
    if path == b"file":
        assert out.guest[40:48] == out.native[40:48], "size"


@pytest.mark.parametrize("flags, mask", [(0x6000, 0x7FF), (0x10000, 0x7FF), (0, 0x80000000)], ids=hex)
def test_statx_refuses_what_the_kernel_refuses(twin, flags, mask):
    assert twin("statx", AT_FDCWD, b"file", flags, mask, Out(256)) == -errno.EINVAL


def test_statx_of_an_empty_path_is_that_of_the_descriptor(call):
    fd, out = call.open(b"/file"), Out(256)
    assert call("statx", fd, b"", EMPTY, 0x7FF, out) == 0
    assert int.from_bytes(out.guest[32:40], "little") == os.stat(call.root / "file").st_ino
    assert call("statx", fd, b"", 0, 0x7FF, out) == -errno.ENOENT


def test_statx_splits_device_numbers_as_the_kernel_does(call):
    out = Out(256)
    call("statx", AT_FDCWD, b"/file", 0, 0x7FF, out)
    device = os.stat(call.root / "file").st_dev
    assert struct.unpack_from("<II", out.guest, 136) == (os.major(device), os.minor(device))


def test_statfs_is_that_of_the_host_file_system(call):
    out = Out(120)
    assert call("statfs", b"/file", out) == 0
    fields = struct.unpack_from("<qq", out.guest)
    assert fields[1] == os.statvfs(call.root).f_bsize
    second = Out(120)
    assert call("fstatfs", call.open(b"/file"), second) == 0
    assert second.guest[:16] == out.guest[:16]


def test_statfs_fails_as_natively(compare):
    calls = [("statfs", b"none", Out(120)), ("statfs", BAD, Out(120)), ("statfs", b"file", BAD), ("fstatfs", 999, Out(120))]
    assert compare(calls) == []


def test_ustat_knows_no_device(call):
    assert call("ustat", 1, Out(32)) == -errno.EINVAL


# -- access -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0, 1, 2, 4, 7, 8], ids=str)
def test_access_answers_as_the_kernel_does(compare, mode):
    assert compare(("access", path, mode) for path in SHORT) == []


@pytest.mark.parametrize("flags", [0, NOFOLLOW, EACCESS, EMPTY, 0x400], ids=hex)
def test_faccessat2_takes_the_flags_the_kernel_takes(compare, flags):
    assert compare(("faccessat2", AT_FDCWD, path, 4, flags) for path in SHORT) == []


def test_faccessat2_of_a_descriptor_asks_about_its_file(call):
    fd = call.open(b"/file", PATH)
    (call.root / "file").chmod(0o644)
    assert call("faccessat2", fd, b"", os.R_OK, EMPTY) == 0
    assert call("faccessat2", fd, b"", os.X_OK, EMPTY) == -errno.EACCES
    assert call("faccessat2", 999, b"", os.R_OK, EMPTY) == -errno.EBADF


def test_faccessat_has_no_flags(call):
    assert call("faccessat", AT_FDCWD, b"/loop", os.F_OK, NOFOLLOW) == -errno.ELOOP


# -- mode, owner, times, size -----------------------------------------------------------------------


def test_chmod_changes_what_the_kernel_changes(compare):
    assert compare((("chmod", path, 0o750) for path in PATHS), fresh=True) == []


@pytest.mark.parametrize("flags", [0, NOFOLLOW, EMPTY, 0x400], ids=hex)
def test_fchmodat2_takes_the_flags_the_kernel_takes(compare, flags):
    paths = (b"file", b"tofile", b"dangling", b"none", b"dir")
    assert compare((("fchmodat2", AT_FDCWD, path, 0o700, flags) for path in paths), fresh=True) == []


def test_fchmod_and_fchmodat_change_the_mode(call):
    assert call("fchmod", call.open(b"/file"), 0o611) == 0
    assert call("fchmodat", AT_FDCWD, b"/dir", 0o711) == 0
    assert (call.root / "file").stat().st_mode & 0o677 == 0o611  # u+x may stay there, for a guest that is root
    assert (call.root / "dir").stat().st_mode & 0o7777 == 0o711


def test_fchmod_of_a_path_descriptor_is_ebadf(twin):
    assert twin("fchmod", twin("open", b"file", PATH, 0), 0o600) == -errno.EBADF
    assert twin("fchmod", 999, 0o600) == -errno.EBADF


def test_chmod_accepts_set_id_bits_and_keeps_none_on_the_host(call):
    assert call("chmod", b"/file", 0o6755) == 0
    assert (call.root / "file").stat().st_mode & 0o6777 == 0o755


def test_chmod_leaves_what_was_handed_in_from_outside_alone(call, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("")
    outside.chmod(0o644)
    fd = call.files.add(os.open(outside, RO))
    assert call("fchmod", fd, 0o777) == -errno.EPERM
    assert outside.stat().st_mode & 0o777 == 0o644


def test_an_owner_that_cannot_be_given_is_accepted(call):
    assert call("chown", b"/file", -1, -1) == 0
    assert call("lchown", b"/loop", 0, 0) == 0
    assert call("fchown", call.open(b"/file"), 0, 0) == 0
    assert call("fchownat", AT_FDCWD, b"/loop", 0, 0, NOFOLLOW) == 0


def test_chown_to_root_keeps_the_files_the_users(call):
    assert call("chown", b"/file", 0, 0) == 0
    assert os.stat(call.root / "file").st_uid == os.geteuid()


def test_chown_of_another_needs_the_capability(tmp_path):
    with Guest(tmp_path / "root", uid=1000, gid=1000) as call:
        fill(call.root)
        assert call("chown", b"/file", 1000, -1) == -errno.EPERM


def test_chown_fails_as_natively(compare):
    calls = [
        ("chown", b"none", -1, -1), ("chown", b"loop", -1, -1), ("chown", BAD, -1, -1), ("fchown", 999, -1, -1),
        ("fchownat", AT_FDCWD, b"file", -1, -1, 0x400), ("fchownat", AT_FDCWD, b"", -1, -1, 0),
        ("fchownat", AT_FDCWD, b"", -1, -1, EMPTY), ("lchown", b"dangling", -1, -1), ("chown", b"dangling", -1, -1),
    ]  # fmt: skip
    assert compare(calls) == []


def test_fchown_of_a_path_descriptor_is_ebadf(twin):
    assert twin("fchown", twin("open", b"file", PATH, 0), -1, -1) == -errno.EBADF


def times(*values: int) -> bytearray:
    return bytearray(struct.pack(f"<{len(values)}q", *values))


@pytest.mark.parametrize(
    "name, args, expected",
    [
        ("utimensat", (AT_FDCWD, b"/file", times(5, 6, 7, 8), 0), (5_000_000_006, 7_000_000_008)),
        ("utimensat", (AT_FDCWD, b"/file", times(5, 6, 0, 0x3FFFFFFE), 0), (5_000_000_006, 2_000_000_002)),
        ("utimes", (b"/file", times(5, 6, 7, 8)), (5_000_006_000, 7_000_008_000)),
        ("futimesat", (AT_FDCWD, b"/file", times(5, 6, 7, 8)), (5_000_006_000, 7_000_008_000)),
        ("utime", (b"/file", times(5, 7)), (5_000_000_000, 7_000_000_000)),
        ("utimensat", (AT_FDCWD, b"/file", times(-5, 6, -7, 8), 0), (-4_999_999_994, -6_999_999_992)),
    ],
)
def test_times_are_set_to_the_nanosecond(call, name, args, expected):
    assert call(name, *args) == 0
    st = os.stat(call.root / "file")
    assert (st.st_atime_ns, st.st_mtime_ns) == expected


def test_times_of_a_symlink_are_its_own(call):
    assert call("utimensat", AT_FDCWD, b"/dangling", times(5, 0, 7, 0), NOFOLLOW) == 0
    assert os.lstat(call.root / "dangling").st_mtime == 7


@pytest.mark.parametrize("which", ["null path", "empty path"])
def test_times_can_be_set_through_a_descriptor(call, which):
    fd = call.open(b"/file")
    path, flags = (None, 0) if which == "null path" else (b"", EMPTY)
    assert call("utimensat", fd, path, times(5, 0, 7, 0), flags) == 0
    assert os.stat(call.root / "file").st_mtime == 7


def test_setting_times_fails_as_natively(compare):
    good = times(1, 2, 3, 4)
    calls = [
        ("utimensat", AT_FDCWD, b"none", good, 0), ("utimensat", AT_FDCWD, b"file", BAD, 0),
        ("utimensat", AT_FDCWD, b"file", times(1, 1_000_000_000, 1, 0), 0), ("utimensat", AT_FDCWD, b"file", good,
        0x400),
        ("utimensat", AT_FDCWD, b"file", times(1, -1, 1, 0), 0), ("utimensat", 999, None, good, 0),
        ("utimensat", AT_FDCWD, None, good, 0), ("utimensat", AT_FDCWD, b"", good, 0), ("utimes", b"none", good),
        ("utimes", b"file", times(1, 1_000_000, 1, 0)), ("utimes", b"file", BAD), ("utime", b"none", times(1, 2)),
        ("utime", b"file", BAD), ("futimesat", AT_FDCWD, b"none", good), ("futimesat", 999, None, good),
        ("utimensat", AT_FDCWD, b"none", times(1, 0x3FFFFFFE, 1, 0x3FFFFFFE), 0),
        ("utimensat", AT_FDCWD, b"loop", good, 0), ("utimes", b"file", None), ("utime", b"file", None),
    ]  # fmt: skip
    assert compare(calls) == []


@pytest.mark.parametrize("length", [0, 2, 4096, -1], ids=str)
def test_truncate_ends_as_natively(compare, length):
    paths = (b"file", b"tofile", b"dir", b"none", b"loop", b"", b"file/", b"dir/", b"dangling")
    assert compare((("truncate", path, length) for path in paths), fresh=True) == []


def test_truncate_of_a_named_pipe_is_einval(twin):
    for side in (twin.guest.root, twin.native):
        os.mkfifo(side / "work/pipe")
    assert twin("truncate", b"pipe", 0) == -errno.EINVAL


# -- read-only mounts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, args",
    [
        ("open", (b"/file", WO, 0)), ("open", (b"/file", RW, 0)), ("open", (b"/file", TRUNC, 0)),
        ("open", (b"/new", CREAT | RO, 0o600)), ("open", (b"/dir", TMPFILE | DIRECTORY | RW, 0o600)),
        ("open", (b"/tofile", WO, 0)), ("open", (b"/dangling", CREAT | RO, 0)), ("chmod", (b"/file", 0o600)),
        ("chown", (b"/file", 0, 0)), ("utimes", (b"/file", None)), ("truncate", (b"/file", 0)), ("access", (b"/file",
        2)),
        ("setxattr", (b"/file", b"user.a", bytearray(b"b"), 1, 0)), ("removexattr", (b"/file", b"user.a")),
    ],
)  # fmt: skip
def test_changing_a_read_only_mount_is_erofs(tmp_path, name, args):
    with Guest(tmp_path / "root", read_only=True) as call:
        fill(call.root)
        assert call(name, *args) == -errno.EROFS
        assert (call.root / "file").read_text() == "text"


def test_a_directory_of_a_read_only_mount_opened_for_writing_is_eisdir(tmp_path):
    with Guest(tmp_path / "root", read_only=True) as call:
        fill(call.root)
        assert call("open", b"/dir", RW, 0) == -errno.EISDIR


def test_a_read_only_mount_can_be_read(tmp_path):
    with Guest(tmp_path / "root", read_only=True) as call:
        fill(call.root)
        assert call.read(b"/chain") == b"text"
        assert call("open", b"/file", CREAT | RO, 0o600) >= 0


def test_a_descriptor_from_a_read_only_mount_changes_nothing_either(tmp_path):
    with Guest(tmp_path / "root", read_only=True) as call:
        fill(call.root)
        fd = call.open(b"/file")
        assert call("fchmod", fd, 0o777) == -errno.EROFS
        assert call("utimensat", fd, None, None, 0) == -errno.EROFS
        assert call("fsetxattr", fd, b"user.a", bytearray(b"b"), 1, 0) == -errno.EROFS


# -- extended attributes ----------------------------------------------------------------------------


@pytest.fixture
def attributes(call):
    """A guest whose root keeps user.* attributes."""
    try:
        os.setxattr(call.root / "file", "user.first", b"one")
    except OSError:
        pytest.skip("no user.* attributes in the temporary directory")
    return call


def test_an_attribute_is_set_read_listed_and_removed(attributes):
    call = attributes
    out = Out(16)
    assert call("setxattr", b"/file", b"user.second", bytearray(b"two!"), 4, 0) == 0
    assert call("getxattr", b"/file", b"user.second", out, 16) == 4
    assert out.guest[:4] == b"two!"
    names = Out(64)
    size = call("listxattr", b"/file", names, 64)
    assert set(names.guest[:size].split(b"\0")[:-1]) == {b"user.first", b"user.second"}
    assert call("removexattr", b"/file", b"user.second") == 0
    assert call("getxattr", b"/file", b"user.second", out, 16) == -errno.ENODATA


@pytest.mark.parametrize("prefix", ["", "l", "f"])
def test_attributes_of_a_descriptor_or_an_unfollowed_path_are_the_same(attributes, prefix):
    call = attributes
    what = call.open(b"/file") if prefix == "f" else b"/file"
    out = Out(8)
    assert call(f"{prefix}getxattr", what, b"user.first", out, 8) == 3
    assert call(f"{prefix}listxattr", what, None, 0) == len(b"user.first\0")
    assert call(f"{prefix}setxattr", what, b"user.first", bytearray(b"1"), 1, 0) == 0
    assert call(f"{prefix}removexattr", what, b"user.first") == 0
    assert os.listxattr(call.root / "file") == []


def test_a_size_of_0_asks_how_much_there_is(attributes):
    assert attributes("getxattr", b"/file", b"user.first", None, 0) == 3


def test_too_little_room_is_erange(attributes):
    assert attributes("getxattr", b"/file", b"user.first", Out(2), 2) == -errno.ERANGE
    assert attributes("listxattr", b"/file", Out(2), 2) == -errno.ERANGE


def test_attributes_fail_as_natively(compare):
    value = bytearray(b"v")
    calls = [
        ("getxattr", b"file", b"user.none", Out(8), 8), ("setxattr", b"file", b"user.a", value, 1, 2),
        ("setxattr", b"file", b"user.a", value, 1, 4), ("setxattr", b"file", b"", value, 1, 0),
        ("setxattr", b"file", b"user." + b"n" * 251, value, 1, 0), ("setxattr", b"file", b"user.a", value, 65537, 0),
        ("setxattr", b"none", b"user.a", value, 1, 0), ("setxattr", b"file", BAD, value, 1, 0),
        ("setxattr", b"file", b"user.a", BAD, 1, 0), ("removexattr", b"file", b"user.none"),
        ("listxattr", b"none", Out(8), 8), ("fgetxattr", 999, b"user.a", Out(8), 8), ("getxattr", b"file", BAD,
        Out(8), 8),
        ("lsetxattr", b"tofile", b"user.a", value, 1, 0), ("lgetxattr", b"tofile", b"user.a", Out(8), 8),
        ("llistxattr", b"dangling", Out(8), 8),
    ]  # fmt: skip
    assert compare(calls) == []


@pytest.mark.parametrize("name", [b"security.selinux", b"security.ima", b"trusted.overlay.opaque"])
def test_attributes_that_speak_to_a_kernel_are_kept_and_never_reach_the_hosts(call, name):
    assert call("setxattr", b"/file", name, bytearray(b"v"), 1, 0) == 0
    out = Out(8)
    assert call("getxattr", b"/file", name, out, 8) == 1
    assert os.listxattr(call.root / "file") == ["user.int80." + name.decode()]
    assert call("listxattr", b"/file", Out(64), 64) == len(name) + 1
    assert call("getxattr", b"/file", b"user.int80." + name, Out(8), 8) == -errno.ENODATA
    assert call("removexattr", b"/file", name) == 0
    assert os.listxattr(call.root / "file") == []


def test_system_attributes_are_not_there(call):
    assert call("setxattr", b"/file", b"system.posix_acl_access", bytearray(b"v"), 1, 0) == -errno.EOPNOTSUPP
    assert call("getxattr", b"/file", b"system.posix_acl_access", Out(8), 8) == -errno.EOPNOTSUPP


# -- inotify ----------------------------------------------------------------------------------------

IN_MODIFY, IN_CREATE, IN_ONLYDIR, IN_DONT_FOLLOW = 2, 0x100, 0x01000000, 0x02000000


@pytest.fixture
def inotify(call):
    import ctypes

    return call.files.add(ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def test_a_watch_reports_what_happens_in_the_tree(call, inotify):
    assert call("inotify_add_watch", inotify, b"/todir", IN_CREATE) == 1
    (call.root / "dir/fresh").touch()
    assert b"fresh" in os.read(inotify, 4096)


def test_a_watch_on_a_symlink_itself_does_not_follow_it(call, inotify):
    assert call("inotify_add_watch", inotify, b"/dangling", IN_MODIFY | IN_DONT_FOLLOW) == 1
    assert call("inotify_add_watch", inotify, b"/dangling", IN_MODIFY) == -errno.ENOENT


def test_a_watch_that_must_be_a_directory_is_enotdir_on_a_file(call, inotify):
    assert call("inotify_add_watch", inotify, b"/file", IN_MODIFY | IN_ONLYDIR) == -errno.ENOTDIR


def test_a_watch_fails_without_an_inotify_descriptor(call):
    assert call("inotify_add_watch", 999, b"/file", IN_MODIFY) == -errno.EBADF
    assert call("inotify_add_watch", call.open(b"/file"), b"/file", IN_MODIFY) == -errno.EINVAL


# -- listing directories ----------------------------------------------------------------------------


def names(raw: bytes, old: bool = False) -> list[tuple[bytes, int]]:
    """(name, type) of each record of getdents64(2), or getdents(2)."""
    found, position = [], 0
    while position < len(raw):
        length = struct.unpack_from("<H", raw, position + 16)[0]
        start = position + (18 if old else 19)
        name = raw[start : position + length].split(b"\0", 1)[0]
        found.append((name, raw[position + length - 1] if old else raw[position + 18]))
        position += length
    return found


@pytest.mark.parametrize("name", ["getdents", "getdents64"])
def test_a_listing_is_the_kernels(twin, name):
    fd, out = twin("open", b".", DIRECTORY, 0), Out(4096)
    size = twin(name, fd, out, 4096)
    old = name == "getdents"
    assert sorted(names(out.guest[:size], old)) == sorted(names(out.native[:size], old))


def test_a_listing_goes_on_where_it_stopped(call):
    for number in range(50):
        (call.root / f"dir/entry{number}").touch()
    fd, seen = call.open(b"/dir"), []
    while size := call("getdents64", fd, out := Out(200), 200):
        assert size > 0
        seen += names(out.guest[:size])
    assert len(seen) == len(set(seen)) == 53


def test_a_listing_fails_as_natively(twin):
    directory, file = twin("open", b"dir", 0, 0), twin("open", b"file", 0, 0)
    path = twin("open", b"dir", PATH, 0)
    assert twin("getdents64", file, Out(512), 512) == -errno.ENOTDIR
    assert twin("getdents64", 999, Out(512), 512) == -errno.EBADF
    assert twin("getdents64", directory, Out(8), 8) == -errno.EINVAL
    assert twin("getdents64", path, Out(512), 512) == -errno.EBADF
    assert twin("getdents64", directory, BAD, 512) == -errno.EFAULT


def test_a_listing_that_could_not_be_delivered_is_not_lost(twin):
    fd = twin("open", b"dir", 0, 0)
    twin("getdents64", fd, BAD, 512)
    assert twin("getdents64", fd, Out(512), 512) > 0


def test_a_removed_directory_lists_nothing_more(twin):
    fd = twin("open", b"dir/sub", 0, 0)
    twin("rmdir", b"dir/sub")
    assert twin("getdents64", fd, Out(512), 512) == -errno.ENOENT


# -- working directory and root ---------------------------------------------------------------------


def test_chdir_goes_where_the_kernel_goes(compare):
    assert compare((("chdir", path) for path in PATHS), fresh=True) == []


def test_getcwd_names_the_directory_from_the_guests_root(call):
    assert call("chdir", b"/todir/sub") == 0
    out = Out(64)
    assert call("getcwd", out, 64) == len(b"/dir/sub\0")
    assert out.guest.startswith(b"/dir/sub\0")


def test_getcwd_follows_a_rename(call):
    call("chdir", b"/dir/sub")
    call("rename", b"/dir", b"/moved")
    out = Out(64)
    call("getcwd", out, 64)
    assert out.guest.startswith(b"/moved/sub\0")


def test_getcwd_fails_as_natively(twin):
    assert twin("getcwd", Out(4), 4) == -errno.ERANGE
    assert twin("getcwd", BAD, 4096) == -errno.EFAULT
    twin("chdir", b"dir/sub")
    twin("rmdir", b"../sub")
    assert twin("getcwd", Out(64), 64) == -errno.ENOENT


def test_fchdir_enters_a_descriptor(call):
    assert call("fchdir", call.open(b"/dir", PATH)) == 0
    assert call.process.fs.cwd.name() == b"/dir"


def test_fchdir_fails_as_natively(twin):
    assert twin("fchdir", 999) == -errno.EBADF
    assert twin("fchdir", twin("open", b"file", 0, 0)) == -errno.ENOTDIR


def test_umask_gives_the_former_one_and_keeps_nine_bits(call):
    assert call("umask", 0o7077) == 0o022
    assert call("umask", 0) == 0o077


def test_chroot_makes_a_directory_the_root(call):
    assert call("chroot", b"/dir") == 0
    assert call("access", b"/sub", os.F_OK) == 0
    assert call("access", b"/file", os.F_OK) == -errno.ENOENT


def test_chroot_keeps_dotdot_below_the_new_root(call):
    call("chroot", b"/dir")
    call("chdir", b"/sub")
    assert call("access", b"../../../file", os.F_OK) == -errno.ENOENT


def test_chroot_keeps_absolute_symlinks_below_the_new_root(call):
    (call.root / "dir/absolute").symlink_to("/file")
    call("chroot", b"/dir")
    assert call("access", b"/absolute", os.F_OK) == -errno.ENOENT


def test_a_chroot_that_was_renamed_still_holds(call):
    call("chdir", b"/")
    call("chroot", b"/dir")
    call("renameat", AT_FDCWD, b"dir", AT_FDCWD, b"moved")
    call("chdir", b"/sub")
    assert call("access", b"../../file", os.F_OK) == -errno.ENOENT
    assert call("access", b"/../file", os.F_OK) == -errno.ENOENT


def test_a_working_directory_outside_the_root_is_unreachable(call):
    call("chdir", b"/dir")
    call("chroot", b"/dir/sub")
    out = Out(64)
    call("getcwd", out, 64)
    assert out.guest.startswith(b"(unreachable)/")


def test_chroot_fails_as_natively(compare):
    assert compare(("chroot", path) for path in (b"none", b"file", b"loop", b"", BAD)) == []


def test_chroot_needs_its_capability(call):
    call("setuid", 1000)
    assert call("chroot", b"/dir") == -errno.EPERM


# -- several mounts ---------------------------------------------------------------------------------


def test_a_bind_of_a_file_tree_shows_both_ways(call, tmp_path):
    (tmp_path / "other").mkdir()
    (call.root / "mnt").mkdir()
    call.mount(HostFs(os.fsencode(tmp_path / "other")), "mnt")
    os.write(call.open(b"/mnt/new", CREAT | WO, 0o644), b"x")
    assert (tmp_path / "other/new").read_text() == "x"
    out = Out(64)
    call("chdir", b"/mnt")
    assert call("getcwd", out, 64) == len(b"/mnt\0")


def test_statx_tells_mounts_apart_by_number(call, tmp_path):
    (call.root / "mnt").mkdir()
    (tmp_path / "other").mkdir()
    call.mount(HostFs(os.fsencode(tmp_path / "other")), "mnt")
    ids = []
    for path in (b"/", b"/mnt"):
        out = Out(256)
        call("statx", AT_FDCWD, path, 0, 0x1000, out)
        ids.append(out.guest[144:152])
    assert len(set(itertools.chain(ids))) == 2
