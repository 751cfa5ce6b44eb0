"""The path walk: symlinks, ``..``, mounts and limits, all within the guest's root."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from fakes import Guest, Out, Twin
from hypothesis import given, settings
from hypothesis import strategies as st

from vfs.hostfs import HostFs
from vfs.namespace import Location, OpenFile
from vfs.tmpfs import TmpFs


@pytest.fixture
def call(tmp_path):
    """A guest in a directory beside which the host has something to hide."""
    (tmp_path / "secret").write_text("host")
    with Guest(tmp_path / "root") as guest:
        (guest.root / "a/b/c").mkdir(parents=True)
        (guest.root / "a/file").write_text("inside")
        yield guest


def link(call: Guest, name: str, target: str | bytes) -> None:
    os.symlink(target, os.fsencode(call.root / name) if isinstance(target, bytes) else call.root / name)


def walk(call: Guest, path: bytes, follow: bool = True):
    context = call.process.fs
    return call.namespace.walk(context, context.cwd, path, follow)


def where(call: Guest, path: bytes) -> bytes:
    return walk(call, path).name()


def fails(call: Guest, path: bytes, follow: bool = True) -> int:
    with pytest.raises(OSError) as caught:
        walk(call, path, follow)
    return caught.value.errno


# -- staying inside ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [b"/../secret", b"../secret", b"/a/../../secret", b"/a/b/c/../../../../../../secret",
     b"/../../../../../../etc/passwd"],
)  # fmt: skip
def test_dotdot_goes_no_higher_than_the_root(call, path):
    assert fails(call, path) == errno.ENOENT


@pytest.mark.parametrize("path", [b"/..", b"/../..", b"/a/../..", b"..", b"/."])
def test_the_roots_parent_is_the_root(call, path):
    assert walk(call, path).path == ()


@pytest.mark.parametrize(
    "target", ["/../secret", "../secret", "../../secret", "a/../../secret", "/a/b/../../../secret", "{host}/secret"]
)
def test_a_symlink_leads_to_nothing_of_the_hosts(call, target):
    link(call, "out", target.format(host=call.root.parent))
    assert fails(call, b"/out") == errno.ENOENT


def test_an_absolute_symlink_starts_at_the_guests_root(call):
    link(call, "a/b/absolute", "/a/file")
    assert where(call, b"/a/b/absolute") == b"/a/file"


def test_a_relative_symlink_starts_where_it_stands(call):
    link(call, "a/b/relative", "../file")
    assert where(call, b"/a/b/relative") == b"/a/file"


def test_dotdot_behind_a_symlink_is_the_targets_parent(call):
    link(call, "deep", "a/b/c")
    assert where(call, b"/deep/..") == b"/a/b"


def test_a_symlink_to_the_root_stays_inside(call):
    link(call, "top", "/")
    assert walk(call, b"/top/../..").path == ()
    assert where(call, b"/top/a") == b"/a"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["l1", "a/l2", "a/b/l3"]), st.text("/.ab1l23", min_size=1, max_size=12)), max_size=3),
    st.lists(st.sampled_from(["a", "b", "..", "l1", "l2", "l3", "secret", ""]), min_size=1, max_size=8),
)
def test_no_path_whatever_reaches_what_lies_beside_the_root(tmp_path_factory, links, names):
    place = tmp_path_factory.mktemp("any")
    (place / "secret").write_text("host")
    with Guest(place / "root") as call:
        (call.root / "a/b").mkdir(parents=True)
        for name, target in links:
            if not os.path.lexists(call.root / name):
                link(call, name, target)
        try:
            found = walk(call, "/".join(names).encode())
        except OSError:
            return
        host = Path(os.readlink(f"/proc/self/fd/{found.node.fd}"))
        assert host == call.root or call.root in host.parents


# -- symlinks ---------------------------------------------------------------------------------------


def test_the_last_symlink_is_followed_only_on_request(call):
    link(call, "soft", "a/file")
    assert where(call, b"/soft") == b"/a/file"
    assert walk(call, b"/soft", follow=False).node.is_symlink


def test_a_trailing_slash_follows_the_last_symlink_all_the_same(call):
    link(call, "soft", "a/b")
    assert walk(call, b"/soft/", follow=False).name() == b"/a/b"


def test_a_symlink_to_itself_is_eloop(call):
    link(call, "loop", "loop")
    assert fails(call, b"/loop") == errno.ELOOP
    assert fails(call, b"/loop/x") == errno.ELOOP
    assert walk(call, b"/loop", follow=False).node.is_symlink


def test_two_symlinks_to_each_other_are_eloop(call):
    link(call, "one", "two")
    link(call, "two", "/one")
    assert fails(call, b"/one") == errno.ELOOP


@pytest.mark.parametrize("count", [1, 39, 40, 41, 60])
def test_as_many_symlinks_are_followed_as_the_kernel_follows(tmp_path, count):
    def fill(place):
        (place / "l0").write_text("end")
        for number in range(count):
            (place / f"l{number + 1}").symlink_to(f"l{number}")

    with Twin(tmp_path, fill) as twin:
        assert twin("access", b"l%d" % count, 0) == (0 if count <= 40 else -errno.ELOOP)


def test_a_symlink_to_nothing_is_enoent(call):
    link(call, "dangling", "nowhere")
    assert fails(call, b"/dangling") == errno.ENOENT


def test_a_symlinks_target_may_end_in_slashes(call):
    link(call, "slashes", "a//b///")
    assert where(call, b"/slashes") == b"/a/b"


def test_a_symlink_whose_target_ends_in_a_slash_wants_a_directory(tmp_path):
    def fill(place):
        (place / "file").write_text("")
        (place / "soft").symlink_to("file/")
        (place / "dot").symlink_to("file/.")

    with Twin(tmp_path, fill) as twin:
        assert twin("access", b"soft", 0) == -errno.ENOTDIR
        assert twin("access", b"dot", 0) == -errno.ENOTDIR


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"/a//b", b"//a/b", b"/a/./b", b"/a/b/", b"/a/b//", b"/a/b/.", b"./a/b", b"/a/b/c/.."])
def test_superfluous_slashes_and_dots_change_nothing(call, path):
    assert where(call, path) == b"/a/b"


@pytest.mark.parametrize("path", [b"/a/file/", b"/a/file/.", b"/a/file/..", b"/a/file/x", b"/a/file/../file"])
def test_a_file_is_no_directory(call, path):
    assert fails(call, path) == errno.ENOTDIR


def test_an_empty_path_is_enoent(call):
    assert fails(call, b"") == errno.ENOENT


def test_a_name_may_be_any_bytes(call):
    name = b"\xff\x80\n \x01"
    with open(os.fsencode(call.root) + b"/" + name, "wb"):
        pass
    assert where(call, b"/a/../" + name) == b"/" + name


def test_a_symlinks_target_may_be_any_bytes(call):
    os.mkdir(os.fsencode(call.root) + b"/\xff")
    os.symlink(b"\xff/\xfe", os.fsencode(call.root) + b"/soft")
    assert fails(call, b"/soft") == errno.ENOENT
    os.mkdir(os.fsencode(call.root) + b"/\xff/\xfe")
    assert where(call, b"/soft") == b"/\xff/\xfe"


@pytest.mark.parametrize("size, number", [(255, errno.ENOENT), (256, errno.ENAMETOOLONG)])
@pytest.mark.parametrize("form", [b"/%s", b"/a/%s", b"/%s/..", b"/%s/x", b"/a/../%s"])
def test_a_name_has_at_most_255_bytes(call, form, size, number):
    assert fails(call, form % (b"n" * size)) == number


@pytest.mark.parametrize("size, number", [(4095, None), (4096, errno.ENAMETOOLONG), (9000, errno.ENAMETOOLONG)])
def test_a_path_has_at_most_4095_bytes(call, size, number):
    path = (b"/a/../" * 2000)[: size - 2].rstrip(b"a.") + b"/"
    path = path.ljust(size, b"/")
    if number is None:
        assert isinstance(walk(call, path), Location)
    else:
        assert fails(call, path) == number


# -- the working directory --------------------------------------------------------------------------


def test_a_relative_path_starts_at_the_working_directory(call):
    call("chdir", b"/a/b")
    assert where(call, b"c") == b"/a/b/c"
    assert where(call, b"../file") == b"/a/file"


def test_a_renamed_working_directory_is_where_it_is_now(call):
    call("chdir", b"/a/b")
    os.rename(call.root / "a", call.root / "moved")
    assert where(call, b"..") == b"/moved"
    assert where(call, b"../file") == b"/moved/file"
    assert isinstance(walk(call, b"c"), Location)


def test_a_working_directory_moved_elsewhere_has_a_new_parent(call):
    call("chdir", b"/a/b/c")
    (call.root / "other").mkdir()
    os.rename(call.root / "a/b/c", call.root / "other/c")
    assert where(call, b"..") == b"/other"


def test_a_removed_working_directory_leads_nowhere(tmp_path):
    def fill(place):
        (place / "gone").mkdir()

    with Twin(tmp_path, fill) as twin:
        twin("chdir", b"gone")
        twin("rmdir", b"../gone")
        assert twin("access", b"x", 0) == -errno.ENOENT
        assert twin("access", b".", 0) == 0


def test_a_directory_moved_out_of_the_root_by_the_host_leads_nowhere(call):
    call("chdir", b"/a/b")
    os.rename(call.root / "a/b", call.root.parent / "taken")
    assert fails(call, b"..") == errno.ENOENT
    assert fails(call, b"../secret") == errno.ENOENT


def test_the_root_itself_may_be_moved_by_the_host(call):
    os.rename(call.root, call.root.parent / "elsewhere")
    call("chdir", b"/a/b")
    assert where(call, b"../file") == b"/a/file"


# -- mounts -----------------------------------------------------------------------------------------


@pytest.fixture
def mounted(call, tmp_path):
    """/mnt is another tree, /mnt/in/deep one inside that."""
    for name in ("second/in/deep", "third/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "second/file").write_text("second")
    (call.root / "mnt/hidden").mkdir(parents=True)
    call.mount(HostFs(os.fsencode(tmp_path / "second")), "mnt")
    call.mount(HostFs(os.fsencode(tmp_path / "third")), "mnt/in/deep")
    return call


def test_a_mount_covers_what_was_there(mounted):
    assert fails(mounted, b"/mnt/hidden") == errno.ENOENT
    assert where(mounted, b"/mnt/file") == b"/mnt/file"


def test_a_walk_goes_down_through_mounts(mounted):
    found = walk(mounted, b"/mnt/in/deep/x")
    assert found.mount is mounted.namespace.mounts[(b"mnt", b"in", b"deep")]


def test_dotdot_comes_up_through_mounts(mounted):
    assert walk(mounted, b"/mnt/in/deep/..").mount is mounted.namespace.mounts[(b"mnt",)]
    assert where(mounted, b"/mnt/in/deep/x/../../../..") == b"/"
    assert where(mounted, b"/mnt/../a/file") == b"/a/file"


def test_a_symlink_leads_from_one_mount_to_another(mounted, tmp_path):
    os.symlink("../../../../a/file", tmp_path / "third/relative")
    os.symlink("/a/file", tmp_path / "third/absolute")
    assert where(mounted, b"/mnt/in/deep/absolute") == b"/a/file"
    assert where(mounted, b"/mnt/in/deep/relative") == b"/a/file"


def test_a_symlink_leads_into_a_mount(mounted):
    link(mounted, "soft", "mnt/in")
    assert where(mounted, b"/soft/deep/x") == b"/mnt/in/deep/x"


def test_a_mount_point_can_be_the_working_directory(mounted):
    mounted("chdir", b"/mnt/in/deep")
    assert where(mounted, b"x") == b"/mnt/in/deep/x"
    assert where(mounted, b"..") == b"/mnt/in"


def test_a_tmpfs_is_made_at_its_first_use(call, tmp_path):
    made = []

    def make() -> bytes:
        made.append(1)
        (tmp_path / "memory").mkdir()
        return os.fsencode(tmp_path / "memory")

    call.mount(TmpFs(make), "tmp")
    assert fails(call, b"/other") == errno.ENOENT
    assert made == []
    assert walk(call, b"/tmp").node.mode & 0o7777 == 0o1777
    assert where(call, b"/tmp/..") == b"/"
    assert made == [1]


def test_a_mount_tells_its_number_and_its_parents(mounted):
    numbers = {path: mount.id for path, mount in mounted.namespace.mounts.items()}
    assert len(set(numbers.values())) == 3
    assert mounted.namespace.mounts[(b"mnt", b"in", b"deep")].parent_id == numbers[(b"mnt",)]
    assert mounted.namespace.mounts[()].parent_id == numbers[()]


# -- descriptors back to names ----------------------------------------------------------------------


def test_a_descriptor_finds_its_place_again(mounted, tmp_path):
    for host, guest in (("root/a/file", b"/a/file"), ("second/file", b"/mnt/file"), ("third/x", b"/mnt/in/deep/x")):
        found = mounted.namespace.reach(OpenFile(os.open(tmp_path / host, os.O_PATH)))
        assert found.name() == guest


def test_a_descriptor_from_outside_has_no_place(call, tmp_path):
    found = call.namespace.reach(OpenFile(os.open(tmp_path / "secret", os.O_PATH)))
    assert isinstance(found, OpenFile)


def test_a_removed_file_can_still_be_changed(call):
    fd = call.open(b"/a/file")
    os.unlink(call.root / "a/file")
    assert call("fchmod", fd, 0o600) == 0
    assert call("fsetxattr", fd, b"user.x", bytearray(b"1"), 1, 0) == 0
    assert os.fstat(call.files.get(fd)).st_mode & 0o777 == 0o600


def test_a_removed_file_from_outside_has_no_place(call, tmp_path):
    target = OpenFile(os.open(tmp_path / "secret", os.O_RDONLY))
    os.unlink(tmp_path / "secret")
    assert call.namespace.reach(target) is target


def test_a_pipe_has_no_place(call):
    reader, writer = os.pipe()
    os.close(writer)
    assert isinstance(call.namespace.reach(OpenFile(reader)), OpenFile)


def test_a_neighbour_whose_name_starts_alike_is_outside(call, tmp_path):
    (tmp_path / "root2").mkdir()
    assert isinstance(call.namespace.reach(OpenFile(os.open(tmp_path / "root2", os.O_PATH))), OpenFile)


def test_a_name_that_ends_like_a_removed_file_is_a_name_as_any_other(tmp_path):
    def fill(place):
        (place / "odd (deleted)").mkdir()
        (place / "odd (deleted)/file (deleted)").write_text("")

    with Twin(tmp_path, fill) as twin:
        fd = twin("open", b"odd (deleted)/file (deleted)", os.O_RDONLY, 0)
        twin("fchmod", fd, 0o640)
        directory = twin("open", b"odd (deleted)", os.O_RDONLY, 0)
        assert twin("mkdirat", directory, b"new", 0o755) == 0
        assert twin("chdir", b"odd (deleted)") == 0
        assert twin("access", b"../odd (deleted)/new", 0) == 0
        twin.same_tree()
        assert twin.guest("getcwd", Out(64), 64) > 0


# -- the parent of a name ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, directory, name, slash",
    [
        (b"/a/new", b"/a", b"new", False), (b"/a/b/", b"/a", b"b", True), (b"new", b"/", b"new", False),
        (b"/", b"/", b"", True), (b"/a/..", b"/a", b"..", False), (b"/a/./x//", b"/a", b"x", True),
        (b"//x", b"/", b"x", False),
    ],
)  # fmt: skip
def test_a_path_parts_into_directory_and_name(call, path, directory, name, slash):
    context = call.process.fs
    parent = call.namespace.parent(context, context.cwd, path)
    assert (parent.location.name(), parent.name, parent.slash) == (directory, name, slash)


@pytest.mark.parametrize(
    "path, number", [(b"", errno.ENOENT), (b"/none/x", errno.ENOENT), (b"/a/file/x", errno.ENOTDIR),
                     (b"x" * 4096, errno.ENAMETOOLONG)],
)  # fmt: skip
def test_a_path_without_a_directory_has_no_parent(call, path, number):
    context = call.process.fs
    with pytest.raises(OSError) as caught:
        call.namespace.parent(context, context.cwd, path)
    assert caught.value.errno == number
