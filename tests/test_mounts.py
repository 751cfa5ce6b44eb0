"""Volumes, tmpfs and read-only roots: what is mounted where, and the errors that Linux has at the seams."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from fakes import AT_FDCWD, Guest, Out

from vfs.hostfs import HostFs
from vfs.tmpfs import TmpFs

RENAME_EXCHANGE, SYMLINK_FOLLOW = 2, 0x400


@pytest.fixture
def source(tmp_path) -> Path:
    """A directory of the host's that can be mounted."""
    place = tmp_path / "source"
    (place / "inner").mkdir(parents=True)
    (place / "file").write_text("text\n")
    (place / "inner/deep").write_text("deep\n")
    return place


# -- in process: a guest with one writable mount, one read-only and a tmpfs -------------------------


@pytest.fixture
def guest(tmp_path, source):
    with Guest(tmp_path / "root") as guest:
        for name in ("rw", "ro", "mem", "d"):
            (guest.root / name).mkdir()
        (guest.root / "file").write_text("root\n")
        (guest.root / "single").touch()
        (tmp_path / "memory").mkdir()
        (tmp_path / "alone").write_text("alone\n")
        guest.mount(HostFs(os.fsencode(source)), "/rw")
        guest.mount(HostFs(os.fsencode(source)), "/ro", read_only=True)
        guest.mount(TmpFs(lambda: os.fsencode(tmp_path / "memory"), size=1 << 20), "/mem")
        guest.mount(HostFs(os.open(tmp_path / "alone", os.O_PATH)), "/single")
        yield guest


def fails(guest: Guest, name: str, *args) -> str:
    value = guest(name, *args)
    assert value < 0, f"{name}{args}: {value}"
    return errno.errorcode[-value]


def status(guest: Guest, path: bytes) -> tuple:
    out = Out(144)
    assert guest("lstat", path, out) == 0
    return struct.unpack_from("<QQQI", out.guest)


def test_nothing_is_linked_or_renamed_across_mounts(guest):
    for one, other in ((b"/file", b"/rw/new"), (b"/rw/file", b"/new"), (b"/rw/file", b"/mem/new"), (b"/rw/file", b"/ro/new")):
        assert fails(guest, "rename", one, other) == "EXDEV"
    for one, other in ((b"/file", b"/rw/new"), (b"/rw/file", b"/mem/new")):
        assert fails(guest, "link", one, other) == "EXDEV"
    assert fails(guest, "renameat2", AT_FDCWD, b"/d", AT_FDCWD, b"/rw/inner", RENAME_EXCHANGE) == "EXDEV"
    assert guest("rename", b"/rw/file", b"/rw/inner/moved") == 0
    assert guest("link", b"/rw/inner/moved", b"/rw/file") == 0


def test_a_mount_point_stays(guest):
    assert fails(guest, "rmdir", b"/rw") == fails(guest, "rmdir", b"/mem") == "EBUSY"
    assert fails(guest, "rename", b"/rw", b"/moved") == fails(guest, "rename", b"/d", b"/mem") == "EBUSY"
    assert fails(guest, "unlink", b"/single") == fails(guest, "rename", b"/file", b"/single") == "EBUSY"
    assert fails(guest, "mkdir", b"/rw", 0o755) == "EEXIST"


READ_ONLY = [
    ("open", b"/ro/new", os.O_CREAT | os.O_WRONLY, 0o644), ("open", b"/ro/file", os.O_RDWR), ("open", b"/ro/file", os.O_TRUNC),
    ("truncate", b"/ro/file", 0), ("unlink", b"/ro/file"), ("rmdir", b"/ro/inner"), ("mkdir", b"/ro/new", 0o755),
    ("symlink", b"x", b"/ro/new"), ("mknod", b"/ro/new", stat.S_IFIFO | 0o644, 0), ("link", b"/ro/file", b"/ro/new"),
    ("rename", b"/ro/file", b"/ro/new"), ("chmod", b"/ro/file", 0o600), ("chown", b"/ro/file", 1, 1),
    ("utimensat", AT_FDCWD, b"/ro/file", None, 0), ("setxattr", b"/ro/file", b"user.x", bytearray(b"v"), 1, 0),
    ("removexattr", b"/ro/file", b"user.x"), ("access", b"/ro/file", os.W_OK), ("access", b"/ro", os.W_OK),
    ("open", b"/ro", 0o20000000 | os.O_DIRECTORY | os.O_RDWR, 0o600),
]  # fmt: skip


@pytest.mark.parametrize("call", READ_ONLY, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(READ_ONLY)])
def test_nothing_is_changed_on_a_read_only_mount(guest, source, call):
    def facts() -> dict:  # but for the times of last access, which this very look changes
        return {path: (path.lstat()[:7], path.lstat()[8:], path.is_file() and path.read_bytes()) for path in source.rglob("*")}

    before = facts()
    assert fails(guest, *call) == "EROFS"
    assert facts() == before


def test_errors_that_come_before_a_read_only_mount_is_looked_at(guest):
    assert fails(guest, "mkdir", b"/ro/inner", 0o755) == "EEXIST"
    assert fails(guest, "open", b"/ro/file", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644) == "EEXIST"
    assert fails(guest, "open", b"/ro/none", os.O_RDWR) == "ENOENT"
    assert guest("open", b"/ro/file", os.O_RDONLY | os.O_CREAT, 0o644) >= 0


def test_a_descriptor_through_a_read_only_mount_changes_nothing(guest):
    fd = guest.open(b"/ro/file")
    assert fails(guest, "fchmod", fd, 0o600) == "EROFS"
    assert fails(guest, "open", b"/proc/self/fd/%d" % fd, os.O_RDWR) in ("EROFS", "ENOENT")
    directory = guest.open(b"/ro/inner", os.O_DIRECTORY)
    assert fails(guest, "openat", directory, b"new", os.O_CREAT | os.O_WRONLY, 0o644) == "EROFS"
    assert fails(guest, "unlinkat", directory, b"deep", 0) == "EROFS"


def test_dot_dot_leads_out_of_a_mount_to_where_it_is(guest):
    assert guest("chdir", b"/rw/inner") == 0
    assert guest.read(b"../file") == b"text\n"
    assert guest.read(b"../../file") == b"root\n"
    assert guest.read(b"/mem/../ro/../file") == b"root\n"
    out = Out(100)
    length = guest("getcwd", out, 100)
    assert out.guest[:length] == b"/rw/inner\0"


def test_a_file_mounted_over_a_file_is_that_file(guest, tmp_path):
    assert guest.read(b"/single") == b"alone\n"
    fd = guest.open(b"/single", os.O_WRONLY | os.O_APPEND)
    os.write(guest.files.table[fd], b"more\n")
    assert (tmp_path / "alone").read_text() == "alone\nmore\n"
    assert fails(guest, "open", b"/single/x", os.O_RDONLY) == fails(guest, "chdir", b"/single") == "ENOTDIR"


def test_each_mount_says_its_own_of_space_and_kind(guest):
    found = {}
    for path in (b"/", b"/rw", b"/mem", b"/mem/none/.."):
        out = Out(120)
        if guest("statfs", path, out) == 0:
            found[path] = struct.unpack_from("<qqQQQ", out.guest)
    assert found[b"/mem"][:3] == (0x01021994, 4096, 256)
    assert found[b"/rw"][0] == found[b"/"][0] != 0x01021994


def test_a_tmpfs_that_is_full_says_so_and_has_room_again(guest, monkeypatch):
    monkeypatch.setattr("vfs.tmpfs._LOOK_AGAIN", 0)
    fd = guest.open(b"/mem/big", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(guest.files.table[fd], b"x" * (1 << 20))
    assert fails(guest, "open", b"/mem/more", os.O_CREAT | os.O_WRONLY, 0o644) == "ENOSPC"
    assert fails(guest, "open", b"/mem/big", os.O_WRONLY) == "ENOSPC"
    out = Out(120)
    assert guest("statfs", b"/mem", out) == 0
    assert struct.unpack_from("<qqQQQ", out.guest)[3] == 0
    assert guest("unlink", b"/mem/big") == 0
    assert guest("open", b"/mem/more", os.O_CREAT | os.O_WRONLY, 0o644) >= 0


def test_numbers_of_devices_tell_mounts_apart(guest, source):
    assert status(guest, b"/rw/file")[1] == (source / "file").stat().st_ino


# -- with real sandboxes ----------------------------------------------------------------------------


@pytest.fixture
def sh(run):
    """Runs a busybox script with options; its output, nothing having been said on stderr."""

    def shell(script: str, *options: str) -> str:
        return run.sh(script, options=options)

    return shell


def test_a_volume_shows_the_hosts_directory_and_writes_to_it(sh, source):
    script = "cat /mnt/x/file /mnt/x/inner/deep; echo new >/mnt/x/new; mv /mnt/x/file /mnt/x/moved; ls /mnt/x"
    assert sh(script, "-v", f"{source}:/mnt/x").split() == ["text", "deep", "inner", "moved", "new"]
    assert (source / "new").read_text() == "new\n"


def test_a_read_only_volume_is_only_read(sh, source):
    script = "cat /x/file; echo a 2>&1 >/x/file; touch /x/new 2>&1; rm -rf /x/inner 2>&1; ls /x"
    out = sh(f"({script}) 2>&1 | sed 's/.*: //'", "-v", f"{source}:/x:ro").splitlines()
    assert out == ["text", *["Read-only file system"] * 3, "file", "inner"]
    assert (source / "inner/deep").read_text() == "deep\n"


def test_a_volume_in_a_read_only_root_can_be_written(sh, run, source):
    (run.root / "x").mkdir()
    out = sh(
        "echo a >/x/new; (echo a >/new) 2>&1 | sed 's/.*: //'; echo a >/tmp/new && cat /tmp/new",
        "--read-only",
        "-v",
        f"{source}:/x",
    )
    assert out.splitlines() == ["Read-only file system", "a"]
    assert (source / "new").read_text() == "a\n"
    assert list((run.root / "tmp").iterdir()) == []


def test_a_single_file_is_mounted_over_one_and_where_there_is_none(sh, run, source, tmp_path):
    (tmp_path / "passwd").write_text("other:x:7:7::/:/bin/sh\n")
    options = ("-v", f"{tmp_path}/passwd:/etc/passwd:ro", "-v", f"{source}/file:/made/here/file")
    assert sh("cat /etc/passwd /made/here/file", *options) == "other:x:7:7::/:/bin/sh\ntext\n"
    assert (run.root / "etc/passwd").read_text().startswith("root:")


def test_mounts_lie_in_mounts_and_the_last_one_counts(sh, source, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/there").write_text("other\n")
    options = ("-v", f"{source}:/x", "-v", f"{tmp_path}/other:/x/inner", "--tmpfs", "/mem", "-v", f"{source}/file:/mem/file")
    assert sh("cat /x/inner/there /mem/file; ls /x/inner; ls /mem; touch /x/inner/new", *options).split() == [
        "other", "text", "there", "file",
    ]  # fmt: skip
    assert (tmp_path / "other/new").exists()
    assert (source / "inner/deep").read_text() == "deep\n"


def test_a_mount_point_that_is_a_symlink_is_followed_inside_the_root(sh, run, source):
    (run.root / "real").mkdir()
    (run.root / "link").symlink_to("/real")
    (run.root / "out").symlink_to("../../../../../../real")
    assert sh("cat /real/x/file; cat /real/y/file", "-v", f"{source}:/link/x", "-v", f"{source}:/out/y") == "text\ntext\n"


def test_proc_tells_what_is_mounted(sh, source):
    options = ("-v", f"{source}:/v:ro", "--tmpfs", "/mem:size=1m", "--tmpfs", "/with space")
    mounts = {line.split()[1]: line.split() for line in sh("cat /proc/mounts", *options).splitlines()}
    assert mounts["/v"][2:4][1].split(",")[0] == "ro"
    assert (mounts["/mem"][2], mounts["/mem"][3].split(",")[0]) == ("tmpfs", "rw")
    assert mounts["/with\\040space"][2] == "tmpfs"
    assert {"/", "/proc", "/sys", "/dev"} <= set(mounts)
    lines = [line.split() for line in sh("cat /proc/self/mountinfo", *options).splitlines()]
    ids = {fields[4]: fields[0] for fields in lines}
    assert set(ids) == set(mounts)
    parents = {fields[4]: fields[1] for fields in lines}
    assert parents["/v"] == parents["/mem"] == ids["/"]
    assert parents["/dev/shm"] == ids["/dev"]


def test_df_tells_the_size_of_a_tmpfs(sh):
    line = sh("dd if=/dev/zero of=/mem/x bs=1024 count=512 2>/dev/null; df -k | grep /mem", "--tmpfs", "/mem:size=1m").split()
    assert line[1:4] == ["1024", "512", "512"]


def test_tmpfs_is_private_and_gone_afterwards(sh, run):
    (run.root / "mem").mkdir()
    (run.root / "mem/below").touch()
    assert sh("ls /mem; echo a >/mem/a; stat -c %a /mem", "--tmpfs", "/mem") == "1777\n"
    assert os.listdir(run.root / "mem") == ["below"]


@pytest.mark.parametrize(
    "option, said",
    [
        (("-v", "/none/at/all:/x"), "--volume /none/at/all: no such file or directory"),
        (("-v", "/tmp"), "give SRC:DST"),
        (("-v", "/tmp:relative"), "DST beginning with /"),
        (("-v", "/tmp:/x:rx"), "give SRC:DST or SRC:DST:ro"),
        (("-v", "/tmp:/"), "not a place to mount at"),
        (("-v", "/tmp:/../x"), "not a place to mount at"),
        (("-v", "/tmp:/etc/passwd"), "a directory onto a file cannot be mounted"),
        (("-v", "/etc/passwd:/etc"), "a file onto a directory cannot be mounted"),
        (("-v", "/tmp:/etc/passwd/x"), "not a directory"),
        (("--tmpfs", "/x:size=many"), "give DST or DST:size=N"),
        (("--tmpfs", "x"), "give DST or DST:size=N"),
    ],
)
def test_what_cannot_be_mounted_is_said_in_one_line(run, option, said):
    done = run("true", options=option)
    assert done.returncode == 125
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_the_hosts_proc_shows_nothing_in_a_volume(run):
    """/proc/self there would be the supervisor, whose memory is more than a guest is to have."""
    script = "ls -d /x/proc; cat /x/proc/self/environ; cat /x/proc/1/comm; : > /x/proc/self/mem"
    done = run("sh", "-c", script, options=("-v", "/:/x"))
    assert done.stdout == b"/x/proc\n"
    assert done.stderr.count(b"Permission denied") == 3


def test_changes_to_this_machines_root_are_private_and_those_to_a_volume_are_not(int80, tmp_path, source, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = f"rm -r {source}/inner && ls {source} /vol && echo a >/vol/new"
    command = [*int80, "run", "-v", f"{source}:/vol", "--", "/bin/sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [f"{source}:", "file", "/vol:", "file", "inner"]
    assert sorted(path.name for path in source.iterdir()) == ["file", "inner", "new"]
    assert (source / "inner/deep").exists()


def test_this_machines_root_is_only_read_with_read_only(int80, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)  # which the guest does not have: its /tmp is its own
    script = f"(: >{tmp_path}/new) 2>&- || echo refused; echo b >/tmp/b && cat /tmp/b; (: >/etc/new) 2>&- || echo refused"
    command = [*int80, "run", "--read-only", "--", "/bin/sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout.split()) == (0, ["refused", "b", "refused"])
    assert not Path("/etc/new").exists() and not Path("/tmp/b").exists()


def test_an_upper_layer_in_a_lower_one_is_not_seen_from_inside(int80, run):
    upper = run.root / "sub/upper"
    upper.mkdir(parents=True)
    options = ["--lower", str(run.root), "--upper", str(upper)]
    script = "echo a >/file; ls -A /sub; mkdir /sub/upper && echo b >/sub/upper/file; cat /file; ls / | grep -c upper"
    command = [*int80, "run", *options, "--", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, stdin=subprocess.DEVNULL)
    assert (done.stderr, done.stdout.split()) == ("", ["a", "0"])
    assert (upper / "file").read_text() == "a\n"
    assert (upper / "sub/upper/file").read_text() == "b\n"


def test_a_lower_layer_in_the_upper_one_is_refused(int80, run):
    (run.root / "lower").mkdir()
    for lower in (run.root, run.root / "lower"):
        command = [*int80, "run", "--lower", str(lower), "--upper", str(run.root), "--", "true"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 125
        assert "lies in it; choose another directory" in done.stderr
