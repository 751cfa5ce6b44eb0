"""Handlers of `abi.names`: made, moved and removed as the kernel does it, and refused with its errnos."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import pytest
from fakes import AT_FDCWD, BAD, Guest, Out, Twin
from hypothesis import given, settings
from hypothesis import strategies as st

from vfs.hostfs import HostFs

AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x200, 0x400, 0x1000
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


def fill(place: Path) -> None:
    """What every test here starts from."""
    (place / "dir/sub").mkdir(parents=True)
    (place / "dir/sub/deep").write_text("deep")
    (place / "empty").mkdir()
    (place / "file").write_text("text")
    (place / "other").write_text("other")
    (place / "tofile").symlink_to("file")
    (place / "todir").symlink_to("dir")
    (place / "dangling").symlink_to("nowhere")
    (place / "loop").symlink_to("loop")


@pytest.fixture
def twin(tmp_path):
    with Twin(tmp_path, fill) as pair:
        yield pair
        pair.same_tree()


@pytest.fixture
def compare(tmp_path):
    """Makes each of a list of calls both ways, from the same start, and lists where the two differ."""

    def differences(calls) -> list[str]:
        found = []
        waiting = list(calls)
        for start in itertools.count():
            if not waiting:
                return found
            with Twin(tmp_path / str(start), fill) as twin:
                while waiting:
                    name, *args = waiting.pop(0)
                    try:
                        if twin(name, *args) == 0:
                            twin.same_tree()
                            break  # something changed: start anew
                    except AssertionError as difference:
                        found.append(str(difference).splitlines()[0])
                        break

    return differences


@pytest.fixture
def call(tmp_path):
    with Guest(tmp_path / "root") as guest:
        fill(guest.root)
        yield guest


PATHS = [
    b"", b".", b"..", b"new", b"new/", b"new/.", b"new//", b"empty", b"empty/", b"empty/.", b"empty/..", b"dir",
    b"dir/",
    b"dir/sub", b"dir/sub/../sub", b"file", b"file/", b"file/.", b"file/x", b"tofile", b"tofile/", b"todir", b"todir/",
    b"todir/sub", b"todir/..", b"dangling", b"dangling/", b"loop", b"loop/", b"loop/x", b"none/x", b"./file",
    b"dir/./new",
    b"a" * 255, b"a" * 256, b"a" * 256 + b"/x", b"d/" * 2048, b"\xff\xfe",
]  # fmt: skip
TARGETS = [b"new", b"file", b"dir", b"empty", b"tofile", b"todir", b"dangling", b".", b"..", b"dir/sub/in", b"new/",
           b"empty/", b"todir/new", b"file/x", b"none/x", b"file/", b"dangling/", b"dir/", b""]  # fmt: skip


def shown(path: bytes) -> str:
    return repr(path)[1:40]


# -- every kind of path -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, rest",
    [("mkdir", (0o777,)), ("rmdir", ()), ("unlink", ()), ("mknod", (0o100644, 0)), ("mknod", (0o010600, 0))],
    ids=["mkdir", "rmdir", "unlink", "mknod-file", "mknod-fifo"],
)
def test_a_call_with_one_path_ends_as_it_does_natively(compare, name, rest):
    assert compare((name, path, *rest) for path in PATHS) == []


def test_symlink_makes_what_the_kernel_makes(compare):
    assert compare(("symlink", b"anything/at all", path) for path in PATHS) == []


def test_readlink_reads_what_the_kernel_reads(twin):
    for path in PATHS:
        out = Out(64)
        twin("readlink", path, out, 64)
        assert out.guest == out.native


@pytest.mark.parametrize("old", [path for path in PATHS if len(path) < 60], ids=shown)
@pytest.mark.parametrize("name", ["link", "rename"])
def test_a_call_with_two_paths_ends_as_it_does_natively(compare, name, old):
    assert compare((name, old, new) for new in TARGETS) == []


@pytest.mark.parametrize("flags", [NOREPLACE, EXCHANGE], ids=["noreplace", "exchange"])
def test_renameat2_ends_as_it_does_natively(compare, flags):
    olds = (b"file", b"dir", b"dir/", b"empty", b"tofile", b"new", b".", b"..", b"file/")
    assert compare(("renameat2", AT_FDCWD, o, AT_FDCWD, n, flags) for o in olds for n in TARGETS) == []


_NAME = st.sampled_from([b"a", b"b", b"c", b"d"])
# `..` only after a name, and in no symlink: so no path leads above the start, where the two roots differ.
_STEP = st.one_of(_NAME, st.sampled_from([b".", b"a/..", b"b/.."]))
_PATH = st.lists(_STEP, min_size=1, max_size=3).map(b"/".join)
_TARGET = st.lists(_NAME, min_size=1, max_size=3).map(b"/".join)
_CALLS = st.one_of(
    st.tuples(st.just("mkdir"), _PATH, st.sampled_from([0o777, 0o700, 0o1777])),
    st.tuples(st.sampled_from(["rmdir", "unlink"]), _PATH),
    st.tuples(st.just("mknod"), _PATH, st.just(0o100666), st.just(0)),
    st.tuples(st.just("symlink"), _TARGET, _PATH),
    st.tuples(st.just("rename"), _PATH, _PATH),
    st.tuples(st.just("renameat2"), st.just(AT_FDCWD), _PATH, st.just(AT_FDCWD), _PATH, st.sampled_from([0, 1, 2])),
    st.tuples(st.just("chdir"), _TARGET),
    st.tuples(st.just("chmod"), _PATH, st.sampled_from([0o755, 0o700, 0o777])),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_CALLS, min_size=5, max_size=25))
def test_any_sequence_of_calls_leaves_what_it_leaves_natively(tmp_path_factory, calls):
    with Twin(tmp_path_factory.mktemp("any")) as twin:
        for call in calls:
            twin(*call)
        twin.same_tree()


# -- relative to a descriptor -----------------------------------------------------------------------


def test_a_dirfd_is_where_a_relative_path_starts(twin):
    dirfd = twin("open", b"dir", os.O_RDONLY | os.O_DIRECTORY, 0)
    twin("mkdirat", dirfd, b"made", 0o750)
    twin("mknodat", dirfd, b"node", 0o100600, 0)
    twin("symlinkat", b"node", dirfd, b"soft")
    twin("linkat", dirfd, b"node", AT_FDCWD, b"hard", 0)
    twin("renameat", dirfd, b"sub", AT_FDCWD, b"moved")
    twin("unlinkat", dirfd, b"node", 0)
    twin("unlinkat", dirfd, b"made", AT_REMOVEDIR)


def test_a_dirfd_is_not_looked_at_when_the_path_is_absolute(call):
    assert call("mkdirat", 999, b"/made", 0o755) == 0
    assert (call.root / "made").is_dir()


def test_a_dirfd_that_is_not_open_is_ebadf(twin):
    assert twin("mkdirat", 999, b"x", 0o755) == -errno.EBADF


def test_a_dirfd_that_is_a_file_is_enotdir(twin):
    fd = twin("open", b"file", os.O_RDONLY, 0)
    assert twin("mkdirat", fd, b"x", 0o755) == -errno.ENOTDIR


def test_a_removed_directory_takes_no_new_names(twin):
    dirfd = twin("open", b"empty", os.O_RDONLY, 0)
    twin("rmdir", b"empty")
    assert twin("mkdirat", dirfd, b"x", 0o755) == -errno.ENOENT


def test_readlinkat_of_an_empty_path_reads_the_descriptor(twin):
    fd = twin("open", b"tofile", os.O_PATH | os.O_NOFOLLOW, 0)
    out = Out(16)
    assert twin("readlinkat", fd, b"", out, 16) == 4
    assert out.guest[:4] == b"file"


def test_readlink_cuts_a_target_that_is_too_long(twin):
    out = Out(8)
    assert twin("readlink", b"dangling", out, 3) == 3
    assert out.guest == out.native


@pytest.mark.parametrize("size", [0, -1])
def test_readlink_into_no_room_is_einval(twin, size):
    assert twin("readlink", b"tofile", Out(8), size) == -errno.EINVAL


# -- flags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call_",
    [
        ("unlinkat", AT_FDCWD, b"file", 0x400),
        ("linkat", AT_FDCWD, b"file", AT_FDCWD, b"new", 0x100),
        ("renameat2", AT_FDCWD, b"file", AT_FDCWD, b"new", 8),
        ("renameat2", AT_FDCWD, b"file", AT_FDCWD, b"dir", NOREPLACE | EXCHANGE),
        ("renameat2", AT_FDCWD, b"file", AT_FDCWD, b"new", WHITEOUT | EXCHANGE),
        ("mknod", b"new", 0o040755, 0),
        ("mknod", b"new", 0o170000, 0),
    ],
    ids=lambda call_: f"{call_[0]}-{call_[-1]:#x}",
)
def test_what_the_kernel_refuses_is_refused(twin, call_):
    assert twin(*call_) in (-errno.EINVAL, -errno.EPERM)


def test_linkat_follows_a_symlink_only_when_told(twin):
    assert twin("linkat", AT_FDCWD, b"tofile", AT_FDCWD, b"samelink", 0) == 0
    assert twin("linkat", AT_FDCWD, b"tofile", AT_FDCWD, b"samefile", AT_SYMLINK_FOLLOW) == 0


def test_an_unnamed_file_gets_a_name_through_linkat(call):
    fd = call("open", b"/dir", 0o20000000 | os.O_DIRECTORY | os.O_RDWR, 0o600)
    os.write(fd, b"made")
    assert call("linkat", fd, b"", AT_FDCWD, b"/named", AT_EMPTY_PATH) == 0
    assert (call.root / "named").read_text() == "made"


def test_rename_whiteout_is_eperm(call):
    assert call("renameat2", AT_FDCWD, b"/file", AT_FDCWD, b"/x", WHITEOUT) == -errno.EPERM


# -- modes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_umask_of_the_process_cuts_the_mode(twin, umask):
    twin("umask", umask)
    twin.guest.process.fs.umask = umask
    twin("mkdir", b"made", 0o777)
    twin("mknod", b"node", 0o100666, 0)


def test_set_id_bits_never_reach_the_host(call):
    call("mkdir", b"/made", 0o6777)
    call("mknod", b"/node", 0o106777, 0)
    assert (call.root / "made").stat().st_mode & 0o6000 == 0
    assert (call.root / "node").stat().st_mode & 0o6000 == 0


@pytest.mark.parametrize("kind", [0o020000, 0o060000])
def test_a_device_node_is_a_file_that_says_so(call, kind):
    assert call("mknod", b"/device", kind | 0o640, 0x103) == 0
    assert (call.root / "device").stat().st_mode & 0o170000 == 0o100000
    out = Out(144)
    assert call("stat", b"/device", out) == 0
    mode, rdev = (int.from_bytes(out.guest[i : i + 8][:4 if i == 24 else 8], "little") for i in (24, 40))
    assert (mode, rdev) == (kind | 0o640, 0x103)
    opened = call("open", b"/device", os.O_WRONLY, 0)
    assert opened >= 0 if kind == 0o020000 else opened == -errno.EACCES


@pytest.mark.parametrize("device", [0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFF])
def test_a_device_number_is_32_bits(call, device):
    assert call("mknod", b"/device", 0o020600, device) == 0
    out = Out(144)
    assert call("stat", b"/device", out) == 0
    assert int.from_bytes(out.guest[40:48], "little") == device & 0xFFFFFFFF


def test_what_is_kept_of_a_file_may_be_nonsense(call):
    (call.root / "file").write_text("")
    (call.root / "file").chmod(0o1644)
    for text in (b"", b"1", b"x:y:z", b"0:0:0644:char-9999999999999999999-1", b"99999999999999999999999:0:0644", b"-5:0:0644"):
        os.setxattr(call.root / "file", "user.containers.override_stat", text)
        assert call("stat", b"/file", Out(144)) == 0


def test_only_harmless_devices_open(call):
    assert call("mknod", b"/memory", 0o020666, 0x101) == 0
    assert call("open", b"/memory", os.O_RDONLY, 0) == -errno.EACCES


def test_a_device_node_needs_the_right_to_make_one(call):
    call.process.credentials.effective = 0
    assert call("mknod", b"/null", 0o020666, 0x103) == -errno.EPERM


def test_a_name_that_is_no_utf8_is_kept_as_bytes(twin):
    twin("mkdir", b"\xff\xfe", 0o755)
    twin("symlink", b"\x80", b"\xff\xfe/\xe4")
    out = Out(4)
    assert twin("readlink", b"\xff\xfe/\xe4", out, 4) == 1
    assert out.guest[:1] == b"\x80"


# -- memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, args",
    [
        ("mkdir", (BAD, 0)), ("mkdirat", (AT_FDCWD, BAD, 0)), ("mknod", (BAD, 0, 0)), ("rmdir", (BAD,)),
        ("unlink", (BAD,)), ("unlinkat", (AT_FDCWD, BAD, 0)), ("symlink", (BAD, b"x")), ("symlink", (b"x", BAD)),
        ("link", (BAD, b"x")), ("link", (b"file", BAD)), ("rename", (BAD, b"x")), ("rename", (b"file", BAD)),
        ("readlink", (BAD, Out(8), 8)), ("readlink", (b"tofile", BAD, 8)),
    ],
)  # fmt: skip
def test_a_bad_pointer_is_efault(twin, name, args):
    assert twin(name, *args) == -errno.EFAULT


def test_a_path_without_an_end_is_enametoolong(call):
    assert call("mkdir", bytearray(b"a" * 4096), 0) == -errno.ENAMETOOLONG


def test_a_path_that_runs_into_a_hole_is_efault(call):
    assert call("mkdir", bytearray(b"a" * 4095), 0) == -errno.EFAULT


# -- mounts -----------------------------------------------------------------------------------------


@pytest.fixture
def mounted(call, tmp_path):
    """A second tree at /mnt/in, a read-only one at /ro."""
    for name in ("mnt/in", "ro"):
        (call.root / name).mkdir(parents=True)
    for name in ("second", "third"):
        fill(tmp_path / name)
    call.mount(HostFs(os.fsencode(tmp_path / "second")), "mnt/in")
    call.mount(HostFs(os.fsencode(tmp_path / "third")), "ro", read_only=True)
    return call


@pytest.mark.parametrize("name", ["rename", "link"])
def test_a_name_cannot_go_to_another_mount(mounted, name):
    assert mounted(name, b"/file", b"/mnt/in/new") == -errno.EXDEV


@pytest.mark.parametrize("path", [b"/mnt/in", b"/mnt", b"/ro"])
def test_a_mount_point_and_what_is_above_it_stay(mounted, path):
    assert mounted("rmdir", path) == -errno.EBUSY
    assert mounted("rename", path, b"/away") == -errno.EBUSY
    assert mounted("mkdir", path, 0o755) == -errno.EEXIST


def test_nothing_takes_the_place_of_a_mount_point(mounted):
    assert mounted("rename", b"/empty", b"/mnt") == -errno.EBUSY


@pytest.mark.parametrize(
    "name, args",
    [
        ("mkdir", (b"/ro/new", 0o755)), ("mknod", (b"/ro/new", 0o100644, 0)), ("symlink", (b"x", b"/ro/new")),
        ("link", (b"/ro/file", b"/ro/new")), ("rename", (b"/ro/file", b"/ro/new")), ("unlink", (b"/ro/file",)),
        ("rmdir", (b"/ro/empty",)), ("open", (b"/ro/new", os.O_CREAT | os.O_WRONLY, 0o644)),
    ],
)  # fmt: skip
def test_a_read_only_mount_is_erofs(mounted, name, args):
    assert mounted(name, *args) == -errno.EROFS


def test_what_is_there_on_a_read_only_mount_is_eexist(mounted):
    assert mounted("mkdir", b"/ro/dir", 0o755) == -errno.EEXIST


def test_what_is_not_there_on_a_read_only_mount_cannot_be_removed_either(mounted):
    assert mounted("unlink", b"/ro/none") == -errno.EROFS
    assert mounted("rmdir", b"/ro/none") == -errno.EROFS
