"""A layer's tar made into files, whoever wrote it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_made_up import digest, directory, entry, hardlink, symlink, tar

from containers.images.errors import ImageError
from containers.images.unpack import Limits, unpack
from vfs.hostfs import HostFs
from vfs.owners import Beside


class Unpacked:
    """Unpacks tars beside a directory that nothing may touch."""

    def __init__(self, place: Path) -> None:
        self.outside = place / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("untouched")
        self.layer = place / "layer"
        (self.layer / "root").mkdir(parents=True)
        self.root = self.layer / "root"

    def __call__(self, data: bytes, limits: Limits | None = None, diff_id: str | None = None) -> Path:
        unpack(io.BytesIO(data), self.layer, diff_id, limits or Limits(), "layer")
        return self.root

    def stat(self, name: str):
        """A status as a guest is to see it."""
        fd = os.open(self.layer, os.O_PATH)
        Beside(fd, moves=True)
        os.close(fd)
        fs = HostFs(os.fsencode(self.root))
        return fs.stat(fs.walk(fs.root, tuple(os.fsencode(name).split(b"/"))))

    def owner(self, name: str) -> tuple[int, int]:
        fs = HostFs(os.fsencode(self.root))
        return fs.guest_owner(self.stat(name))

    def check_outside(self) -> None:
        assert os.listdir(self.outside) == ["secret"]
        assert (self.outside / "secret").read_text() == "untouched"
        assert sorted(os.listdir(self.outside.parent)) == ["layer", "outside"]


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpacked:
    return Unpacked(tmp_path)


def test_files_directories_and_links_are_as_the_layer_has_them(unpacked: Unpacked):
    root = unpacked(
        tar(
            directory("./", mode=0o711),
            directory("a/", mode=0o700, mtime=1000),
            entry("a/f", data=b"text", mode=0o640, mtime=1234.5),
            hardlink("a/g", "a/f"),
            symlink("a/l", "/anywhere/at/all"),
            entry("a/.wh.gone"),
            entry("a/.wh..wh..opq"),
            entry("a/pipe", tarfile.FIFOTYPE, mode=0o600),
        )
    )
    assert stat.S_IMODE(root.stat().st_mode) == 0o711
    assert (root / "a/f").read_bytes() == b"text"
    assert (root / "a/f").stat().st_mtime == 1234.5
    assert stat.S_IMODE((root / "a/f").stat().st_mode) == 0o640
    assert (root / "a/f").samefile(root / "a/g")
    assert os.readlink(root / "a/l") == "/anywhere/at/all"
    assert stat.S_ISFIFO((root / "a/pipe").stat().st_mode)
    assert (root / "a/.wh.gone").stat().st_size == 0
    assert (root / "a").stat().st_mtime == 1000  # although files have come into it since
    assert sorted(os.listdir(root / "a")) == [".wh..wh..opq", ".wh.gone", "f", "g", "l", "pipe"]


def test_owners_set_id_bits_and_devices_are_kept_as_a_guests_own_are(unpacked: Unpacked):
    unpacked(
        tar(
            entry("su", mode=0o4755),
            entry("theirs", uid=1000, gid=50, mode=0o2711),
            symlink("link", "x", uid=7, gid=8),
            entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666, uid=3),
            directory("shared", mode=0o3777, gid=9),
            entry("loop", tarfile.BLKTYPE, devmajor=7, devminor=0),
            entry("sticky", mode=0o1644),
        )
    )
    assert not any((unpacked.root / name).lstat().st_mode & 0o6000 for name in ("su", "theirs"))  # on the host it is a right
    assert stat.S_ISREG((unpacked.root / "null").lstat().st_mode)
    assert unpacked.stat("su").st_mode == stat.S_IFREG | 0o4755
    theirs = unpacked.stat("theirs")
    assert (theirs.st_uid, theirs.st_gid, theirs.st_mode) == (1000, 50, stat.S_IFREG | 0o2711)
    assert (unpacked.stat("link").st_uid, unpacked.stat("link").st_gid) == (7, 8)
    null = unpacked.stat("null")
    assert (null.st_mode, null.st_rdev, null.st_uid) == (stat.S_IFCHR | 0o666, os.makedev(1, 3), 3)
    assert (unpacked.stat("shared").st_mode, unpacked.stat("shared").st_gid) == (stat.S_IFDIR | 0o3777, 9)
    assert (unpacked.stat("loop").st_mode, unpacked.stat("loop").st_rdev) == (stat.S_IFBLK | 0o644, os.makedev(7, 0))
    assert unpacked.stat("sticky").st_mode == stat.S_IFREG | 0o1644


def test_attributes_are_kept_but_not_those_that_are_int80s_own(unpacked: Unpacked):
    headers = {
        "SCHILY.xattr.user.note": "a\udcffb",
        "SCHILY.xattr.security.capability": "\x01\0\0\x02",
        "SCHILY.xattr.trusted.x": "t",
        "SCHILY.xattr.user.containers.override_stat": "7:7:04777",
        "SCHILY.xattr.system.posix_acl_access": "?",
    }
    root = unpacked(tar(entry("f", pax_headers=headers, mode=0o444)))
    assert os.getxattr(root / "f", "user.note") == b"a\xffb"
    assert os.getxattr(root / "f", "user.int80.security.capability") == b"\x01\0\0\x02"
    assert os.getxattr(root / "f", "user.int80.trusted.x") == b"t"
    assert unpacked.owner("f") == (0, 0)
    assert unpacked.stat("f").st_mode == stat.S_IFREG | 0o444


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstandard.compress, lzma.compress, bz2.compress, bytes], ids=lambda f: f.__module__
)
def test_every_compression_is_known_by_its_first_bytes(unpacked: Unpacked, pack):
    data = tar(entry("f", data=b"x" * 100_000))
    assert (unpacked(pack(data), diff_id=digest(data)) / "f").stat().st_size == 100_000


def test_a_gzip_of_several_members_is_read_whole(unpacked: Unpacked):
    data = tar(entry("f", data=b"x" * 5000), entry("g", data=b"y"))
    root = unpacked(gzip.compress(data[:3000]) + gzip.compress(data[3000:]), diff_id=digest(data))
    assert (root / "g").read_bytes() == b"y"


def test_the_digest_of_the_tar_is_checked(unpacked: Unpacked):
    with pytest.raises(ImageError, match=r"layer: digest mismatch: unpacked it is sha256:.*config says sha256:0000"):
        unpacked(tar(entry("f")), diff_id="sha256:" + "0" * 64)


def test_of_a_name_that_is_there_twice_the_last_counts(unpacked: Unpacked):
    root = unpacked(
        tar(
            entry("f", data=b"first"),
            entry("f", data=b"second"),
            directory("d", mode=0o700),
            entry("d/inner"),
            directory("d", mode=0o711),
            directory("e"),
            entry("e/inner"),
            entry("e", data=b"a file"),
            symlink("s", "f"),
            directory("s"),
            entry("s/in", data=b"in"),
            entry("x", data=b"1"),
            hardlink("y", "x"),
            entry("x", data=b"2"),
        )
    )
    assert (root / "f").read_bytes() == b"second"
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o711
    assert (root / "d/inner").exists()
    assert (root / "e").read_bytes() == b"a file"
    assert (root / "s/in").read_bytes() == b"in"
    assert not (root / "s").is_symlink()
    assert ((root / "x").read_bytes(), (root / "y").read_bytes()) == (b"2", b"1")


def test_directories_that_are_only_part_of_names_are_made_and_noted(unpacked: Unpacked):
    root = unpacked(tar(entry("a/b/c"), directory("a/d"), directory("a")))
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    assert (unpacked.layer / "implied").read_text() == "a/b\n"


HOSTILE = {
    "up": [entry("../outside/new")],
    "up in the middle": [entry("a/../../outside/new")],
    "up alone": [directory("..")],
    "up behind a dot": [entry("./../../outside/new")],
    "through a symlink": [symlink("s", "../../outside"), entry("s/new")],
    "through an absolute symlink": [symlink("s", "/"), entry("s/tmp/int80-was-here")],
    "through a symlink to a directory of its own": [directory("d"), symlink("s", "d"), entry("s/new")],
    "a directory below a symlink": [symlink("s", "../../outside"), directory("s/new")],
    "a whiteout through a symlink": [symlink("s", "../../outside"), entry("s/.wh.secret")],
    "a hard link out": [hardlink("h", "../outside/secret")],
    "a hard link by way of a symlink": [symlink("s", "../../outside"), hardlink("h", "s/secret")],
    "a hard link to a directory": [directory("d"), hardlink("h", "d")],
    "a hard link to itself": [entry("f"), hardlink("f", "f")],
    "a hard link to nothing": [hardlink("h", "etc/passwd")],
    "a file as a directory": [entry("f"), entry("f/g")],
    "a root that is a file": [entry(".")],
    "a root that is a symlink": [symlink("./", "../outside")],
    "a long name": [entry("n" * 256)],
    "a long path": [entry("d/" * 2100 + "f")],
    "a zero byte": [entry("f", pax_headers={"path": "a\0b"})],
    "an empty link": [symlink("s", "")],
    "an owner who cannot be": [entry("f", uid=2**32 - 1)],
    "a device that cannot be": [entry("d", tarfile.CHRTYPE, devmajor=2**20, devminor=0)],
    "an unknown kind": [entry("f", b"Z")],
    "a sparse file": [entry("f", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, data=b"9" * 512)],
    "a huge header": [entry("f", pax_headers={"comment": "x" * (2 << 20)})],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_what_would_lead_out_or_can_be_nothing_is_refused_in_one_line(unpacked: Unpacked, entries):
    with pytest.raises(ImageError) as problem:
        unpacked(tar(*entries))
    assert str(problem.value).startswith("layer: ")
    assert "\n" not in str(problem.value)
    unpacked.check_outside()


def test_absolute_names_are_of_the_layers_own_root(unpacked: Unpacked):
    root = unpacked(tar(entry("/etc/f", data=b"1"), hardlink("/etc/g", "/etc/f"), entry("//h")))
    assert (root / "etc/g").read_bytes() == b"1"
    assert (root / "h").exists()


def test_a_file_over_a_symlink_replaces_it_and_is_not_written_through(unpacked: Unpacked):
    root = unpacked(tar(symlink("s", "../../outside/secret"), entry("s", data=b"mine")))
    assert (root / "s").read_bytes() == b"mine"
    unpacked.check_outside()


def test_modes_and_times_of_a_symlink_are_not_given_to_what_it_points_at(unpacked: Unpacked):
    before = (unpacked.outside / "secret").stat()
    unpacked(tar(symlink("s", "../../outside/secret", uid=5, mode=0o777, mtime=5), hardlink("h", "s")))
    after = (unpacked.outside / "secret").stat()
    assert (before.st_mode, before.st_mtime_ns, before.st_uid) == (after.st_mode, after.st_mtime_ns, after.st_uid)
    assert os.readlink(unpacked.root / "h") == "../../outside/secret"


def test_a_file_of_owners_in_a_layer_is_a_file(unpacked: Unpacked):
    spoof = f"{unpacked.outside.stat().st_dev}:{(unpacked.outside / 'secret').stat().st_ino} 100000 7:7:04777\n".encode()
    root = unpacked(tar(entry(".int80-owners", data=spoof)))
    assert (root / ".int80-owners").read_bytes() == spoof
    assert unpacked.owner(".int80-owners") == (0, 0)


def test_a_bomb_is_stopped_by_its_size_and_by_its_ratio(unpacked: Unpacked):
    zeros = gzip.compress(tar(entry("f", data=bytes(3 << 20))))
    with pytest.raises(ImageError, match=r"unpacks to more than 1000000 bytes; --max-size"):
        unpacked(zeros, Limits(size=1_000_000))


def test_a_bomb_is_stopped_by_how_well_it_is_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("containers.images.unpack._FREE", 1 << 20)
    zeros = gzip.compress(tar(entry("f", data=bytes(8 << 20))))
    with pytest.raises(ImageError, match=r"more than 100 times its \d+ bytes, as if to fill the disk; --max-ratio"):
        Unpacked(tmp_path)(zeros, Limits(ratio=100))


@pytest.mark.parametrize("cut", [1, 100, 513, 700, 1500])
def test_an_archive_that_ends_too_early_is_refused(unpacked: Unpacked, cut: int):
    with pytest.raises(ImageError, match=r"^layer: "):
        unpacked(tar(entry("f", data=b"x" * 1000))[:cut])


def test_an_archive_cut_while_compressed_is_refused(unpacked: Unpacked):
    with pytest.raises(ImageError, match="cannot be decompressed"):
        unpacked(gzip.compress(tar(entry("f", data=os.urandom(5000))))[:-2000])


def test_what_is_no_archive_is_refused(unpacked: Unpacked):
    with pytest.raises(ImageError, match=r"^layer: "):
        unpacked(b"no tar at all" * 100)


def test_times_that_no_file_system_has_become_the_epoch(unpacked: Unpacked):
    root = unpacked(tar(entry("f", pax_headers={"mtime": "1e30"}), entry("g", pax_headers={"mtime": "nan"})))
    assert (root / "f").stat().st_mtime == 0
    assert (root / "g").stat().st_mtime == 0


_NAMES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "s", ".wh.a", ".wh..wh..opq", "x" * 255, "é", "\udcff"]), min_size=1, max_size=5
)
_ENTRIES = st.tuples(
    _NAMES.map("/".join),
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]),
    st.one_of(_NAMES.map("/".join), st.sampled_from(["/", "../../outside", "../../outside/secret", "a", "s"])),
    st.integers(0, 0o7777),
)


@given(st.lists(_ENTRIES, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_entries_reaches_anything_outside(tmp_path_factory, entries):
    unpacked = Unpacked(tmp_path_factory.mktemp("hostile"))
    data = tar(
        *(
            entry(name, kind, b"data" if kind == tarfile.REGTYPE else b"", linkname=target, mode=mode)
            for name, kind, target, mode in entries
        )
    )
    try:
        unpacked(data)
    except ImageError as problem:
        assert "\n" not in str(problem)
    finally:
        unpacked.check_outside()


@given(st.binary(max_size=2000), st.integers(0, 1500))
@settings(max_examples=60, deadline=None)
def test_damage_anywhere_in_an_archive_never_ends_in_a_traceback(tmp_path_factory, noise, position):
    unpacked = Unpacked(tmp_path_factory.mktemp("damaged"))
    data = bytearray(tar(directory("d"), entry("d/f", data=b"x" * 600, pax_headers={"comment": "c" * 50}), symlink("l", "d")))
    data[position : position + len(noise)] = noise
    try:
        unpacked(bytes(data))
    except ImageError as problem:
        assert "\n" not in str(problem)
    unpacked.check_outside()


@pytest.mark.parametrize("name", [".wh.etc/passwd", "a/.wh.b/c"])
def test_nothing_is_below_a_whiteout(unpacked: Unpacked, name: str):
    with pytest.raises(ImageError, match="through a whiteout"):
        unpacked(tar(entry(name)))


def test_what_aufs_kept_for_itself_is_passed_over(unpacked: Unpacked):
    root = unpacked(tar(entry("a/b"), entry(".wh..wh.aufs"), entry(".wh..wh.plnk/1.2", data=b"x"), directory("a/.wh..wh.int80")))
    assert [sorted(names) for _, *names in ((path, *inner) for path, _, inner in os.walk(root))] == [[], ["b"]]
