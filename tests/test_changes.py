"""What a try changed: layers built by hand, held against hosts built by hand, and how that is shown."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from containers import show
from containers.changes import Change, Kind, Tree, Upper, compare, open_beneath
from vfs.journal import escape
from vfs.owners import KEPT

ODD = b"caf\xe9 \x1b[31m\n\"x\""


class Trial:
    """A host, a layer and a journal; its methods do to the layer what a guest's calls would do."""

    def __init__(self, place: Path) -> None:
        self.host, self.upper, self.journal = place / "host", place / "upper", place / "journal"
        self.host.mkdir()
        self.upper.mkdir()
        self.journal.touch()

    def give(self, path: str, data: str | bytes = "", mode: int = 0o644) -> Path:
        """A file of the host's, of a time long ago."""
        target = put(self.host / path, data, mode)
        os.utime(target, ns=(1, 1_000_000_000))
        return target

    def base(self, path: str | bytes) -> None:
        """Note what the host has, once, as the copy-on-write file system does."""
        name = os.fsencode(path)
        try:
            status = os.lstat(os.fsencode(self.host) + b"/" + name)
        except (FileNotFoundError, NotADirectoryError):
            return
        name = escape(name)
        line = b"base\t%o\t%d\t%d\t%d:%d\t%s\n" % (
            status.st_mode, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino, name,
        )  # fmt: skip
        if b"\t" + name + b"\n" not in self.journal.read_bytes():
            with open(self.journal, "ab") as file:
                file.write(line)

    def place(self, path: str) -> Path:
        """The layer's path, under directories like the host's."""
        inner = self.upper
        for name in Path(path).parts[:-1]:
            inner = inner / name
            if not inner.is_dir():
                inner.mkdir()
                like = self.host / inner.relative_to(self.upper)
                inner.chmod(stat.S_IMODE(like.lstat().st_mode) if like.is_dir() else 0o755)
        self.base(path)
        return self.upper / path

    def write(self, path: str, data: str | bytes = "", mode: int = 0o644) -> Path:
        return put(self.place(path), data, mode)

    def copy_up(self, path: str) -> Path:
        target = self.place(path)
        shutil.copy2(self.host / path, target, follow_symlinks=False)
        return target

    def mkdir(self, path: str, mode: int = 0o755) -> Path:
        target = self.place(path)
        target.mkdir()
        target.chmod(mode)
        return target

    def remove(self, path: str) -> None:
        target = self.place(path)
        for directory, names, files in os.walk(self.host / path):
            for name in names + files:
                self.base(os.path.relpath(os.path.join(directory, name), self.host))
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif os.path.lexists(target):
            target.unlink()
        put(target.with_name(".wh." + target.name), "")

    def changes(self) -> list[Change]:
        with Upper(self.upper) as upper, Tree(self.host) as host:
            return compare(upper, host)

    def listed(self) -> list[str]:
        return [" ".join([change.kind.value, os.fsdecode(change.path), *change.what]) for change in self.changes()]

    def patch(self) -> bytes:
        with Upper(self.upper) as upper, Tree(self.host) as host:
            return b"".join(show.patch_lines(compare(upper, host), upper, host))


def put(path: Path, data: str | bytes, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def keep(path: Path, text: bytes) -> None:
    """Mark a file as the guest's file system does where the host cannot have its owner or mode."""
    try:
        os.setxattr(path, KEPT, text)
    except OSError:
        pytest.skip("no user attributes here")
    path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_ISVTX)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


# -- what is a change -------------------------------------------------------------------------------


def test_an_empty_layer_changes_nothing(trial):
    trial.give("etc/passwd", "root")
    assert trial.listed() == []


def test_a_file_the_host_has_not_is_added_and_its_directory_is_no_change(trial):
    (trial.host / "etc").mkdir()
    trial.write("etc/new", "12345")
    (change,) = trial.changes()
    assert (change.path, change.kind, change.before) == (b"etc/new", Kind.ADDED, None)
    assert (change.after.size, change.growth) == (5, 5)


def test_new_directories_come_before_what_is_in_them(trial):
    trial.write("a/b/c")
    trial.write("a-b")
    assert trial.listed() == ["added a", "added a/b", "added a/b/c", "added a-b"]


@pytest.mark.parametrize("data", ["other", "longer than before"])
def test_other_content_is_a_change_of_content(trial, data):
    trial.give("f", "first")
    trial.write("f", data)
    assert trial.listed() == ["changed f content"]


def test_a_copy_that_is_the_same_is_no_change_even_with_other_times(trial):
    trial.give("d/f", "same", 0o640)
    os.utime(trial.copy_up("d/f"), ns=(1, 1))
    assert trial.listed() == []


def test_content_that_differs_in_the_last_byte_of_the_second_chunk_is_seen(trial):
    trial.give("big", bytes(3 << 19))
    trial.write("big", bytes((3 << 19) - 1) + b"x")
    assert trial.listed() == ["changed big content"]


def test_another_mode_is_a_change_of_mode(trial):
    trial.give("f")
    trial.copy_up("f").chmod(0o755)
    (trial.host / "d").mkdir(mode=0o755)
    trial.mkdir("d", 0o700)
    assert trial.listed() == ["changed d mode", "changed f mode"]


def test_a_kept_owner_is_a_change_and_a_kept_mode_is_read_from_the_attribute(trial):
    trial.give("f", mode=0o755)
    keep(trial.copy_up("f"), b"33:0:04755")
    (change,) = trial.changes()
    assert (change.what, change.after.uid, stat.S_IMODE(change.after.mode)) == (("mode", "owner"), 33, 0o4755)


def test_an_owner_kept_beside_the_layer_is_a_change(trial, tmp_path):
    for place in (trial.host, trial.upper):
        (place / "link").symlink_to("x")
    status = (trial.upper / "link").lstat()
    put(tmp_path / "work/.int80-owners", f"{status.st_dev}:{status.st_ino} {0o120000:o} 33:44:0777\n")
    with Upper(trial.upper, tmp_path / "work") as upper, Tree(trial.host) as host:
        (change,) = compare(upper, host)
    assert (change.what, change.after.uid, change.after.gid) == (("owner",), 33, 44)


def test_a_device_of_the_layer_is_a_device_and_not_the_file_that_stands_for_it(trial):
    keep(trial.write("null"), b"0:0:0666:char-1-3")
    (change,) = trial.changes()
    assert stat.S_ISCHR(change.after.mode) and change.after.device == os.makedev(1, 3)
    assert drawn(trial).splitlines()[0] == "+ /null  character device"


def test_attributes_that_are_the_guests_kernels_are_no_change(trial):
    trial.give("f")
    try:
        os.setxattr(trial.copy_up("f"), b"user.int80.security.capability", b"x")
    except OSError:
        pytest.skip("no user attributes here")
    assert trial.listed() == []


def test_the_sticky_bit_without_the_attribute_is_the_guests_own(trial):
    (trial.host / "tmp").mkdir()
    (trial.host / "tmp").chmod(0o1777)
    trial.mkdir("tmp", 0o1777)
    assert trial.listed() == []


def test_an_attribute_of_the_users_is_a_change(trial):
    trial.give("f")
    target = trial.copy_up("f")
    try:
        os.setxattr(target, b"user.note", b"x")
    except OSError:
        pytest.skip("no user attributes here")
    assert trial.listed() == ["changed f attributes"]


def test_a_symlink_is_compared_by_its_target_and_never_followed(trial):
    trial.give("target", "1")
    for name, new in (("same", "target"), ("other", "/etc/passwd")):
        (trial.host / name).symlink_to("target")
        trial.place(name).symlink_to(new)
    assert trial.listed() == ["changed other target"]


def test_a_file_that_became_a_directory_is_one_change_of_type_and_additions(trial):
    trial.give("x", "old")
    trial.place("x").mkdir()
    put(trial.upper / "x/in", "new")
    assert trial.listed() == ["changed x type", "added x/in"]


def test_a_directory_that_became_a_file_counts_what_went_with_it(trial):
    trial.give("d/one", "11")
    trial.give("d/e/two", "222")
    trial.remove("d")
    trial.write("d", "x")
    (change,) = trial.changes()
    assert (change.what, change.files, change.before.size, change.growth) == (("type",), 2, 5, -4)


def test_files_made_one_by_hard_links_are_a_change_of_links(trial):
    trial.give("a", "x")
    trial.give("b", "x")
    os.link(trial.copy_up("a"), trial.place("b"))
    assert trial.listed() == ["changed b links"]


# -- what is removed --------------------------------------------------------------------------------


def test_a_whiteout_removes(trial):
    trial.give("f", "123")
    trial.remove("f")
    (change,) = trial.changes()
    assert (change.path, change.kind, change.after, change.growth) == (b"f", Kind.REMOVED, None, -3)


def test_a_removed_directory_is_one_entry_with_its_files_and_bytes(trial):
    trial.give("d/one", "1")
    trial.give("d/e/two", "22")
    trial.remove("d")
    (change,) = trial.changes()
    assert (change.path, change.files, change.before.size) == (b"d", 2, 3)


def test_a_whiteout_of_what_the_host_has_not_is_no_change(trial):
    put(trial.upper / ".wh.never", "")
    put(trial.upper / "no/.wh.never", "")
    assert trial.listed() == ["added no"]


@pytest.mark.parametrize("beside", [True, False], ids=["a whiteout beside it", "the mark inside it"])
def test_an_opaque_directory_removes_what_it_has_not(trial, beside):
    trial.give("d/gone", "1")
    trial.give("d/same", "2")
    trial.give("d/e/deep", "3")
    trial.copy_up("d/same")
    trial.write("d/new", "4")
    put(trial.upper / (".wh.d" if beside else "d/.wh..wh..opq"), "")
    assert trial.listed() == ["removed d/e", "removed d/gone", "added d/new"]


def test_what_is_below_a_directory_in_an_opaque_one_is_compared_with_the_hosts(trial):
    trial.give("d/e/same", "2")
    trial.copy_up("d/e/same")
    put(trial.upper / "d/.wh..wh..opq", "")
    assert trial.listed() == []


def test_marks_without_a_proper_name_are_nothing(trial):
    trial.give("f")
    for name in (".wh.", ".wh..", ".wh...", ".wh..wh.plnk"):
        put(trial.upper / name, "")
    assert trial.listed() == []


# -- odd and hostile layers -------------------------------------------------------------------------


def test_a_parent_that_is_a_symlink_on_the_host_is_not_looked_through(trial, tmp_path):
    put(tmp_path / "outside/f", "secret")
    (trial.host / "d").symlink_to(tmp_path / "outside")
    put(trial.upper / "d/f", "secret")
    put(trial.upper / "d/.wh.g", "")
    assert trial.listed() == ["changed d type", "added d/f"]


def test_a_symlink_in_the_layer_is_not_entered(trial, tmp_path):
    put(tmp_path / "outside/f", "secret")
    (trial.upper / "d").symlink_to(tmp_path / "outside")
    assert trial.listed() == ["added d"]


def test_open_beneath_refuses_to_leave(trial, tmp_path):
    (trial.host / "up").symlink_to("..")
    with Tree(trial.host) as tree:
        for path in (b"../upper", b"up", b"/etc"):
            with pytest.raises(OSError):
                open_beneath(tree.fd, path, os.O_RDONLY)


def test_a_fifo_holds_nobody_up(trial):
    os.mkfifo(trial.upper / "pipe")
    trial.give("f")
    os.mkfifo(trial.place("f"))
    assert trial.listed() == ["changed f type", "added pipe"]


def test_names_of_any_bytes_are_kept_exactly(trial):
    put(trial.upper / os.fsdecode(ODD), "x")
    assert [change.path for change in trial.changes()] == [ODD]


def test_a_tree_deeper_than_the_kernel_takes_paths_is_compared(trial):
    fd = os.open(trial.upper, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=fd)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    changes = trial.changes()
    assert len(changes) == 60 and len(changes[-1].path) == 60 * 101 - 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_the_guest_made_unreadable_is_read_and_its_mode_is_still_the_guests(trial):
    put(trial.upper / "d/f", "x", 0)
    (trial.upper / "d").chmod(0)
    changes = trial.changes()
    assert [(change.path, stat.S_IMODE(change.after.mode)) for change in changes] == [(b"d", 0), (b"d/f", 0)]
    trial.give("d/f", "x", 0)
    assert trial.listed() == ["changed d mode", "changed d/f content"]  # the host's is not to be read


def test_five_thousand_files_are_compared_quickly(trial):
    for number in range(5000):
        put(trial.upper / f"d{number % 50}/f{number}", "x")
        if number % 2:
            put(trial.host / f"d{number % 50}/f{number}", "x")
    started = time.process_time()
    changes = trial.changes()
    took = time.process_time() - started
    assert sum(change.after.is_file for change in changes) == 2500
    assert took < 10


# -- the tree ---------------------------------------------------------------------------------------


def drawn(trial: Trial, limited: bool = True, **more) -> str:
    from rich.console import Console

    out = io.StringIO()
    show.tree(trial.changes(), limited, Console(file=out, highlight=False, soft_wrap=True, **more))
    return out.getvalue()


def test_the_tree_shows_marks_sizes_and_a_sum(trial):
    trial.give("etc/a", "x" * 10)
    trial.give("etc/gone", "x" * 20)
    trial.write("etc/a", "x" * 2500, 0o755)
    trial.write("etc/new/f", "12")
    trial.remove("etc/gone")
    assert drawn(trial).splitlines() == [
        "  /etc/",
        "~   a  10 B → 2.5 kB, mode 0644 → 0755",
        "-   gone  20 B",
        "+   new/",
        "+     f  2 B",
        "2 added, 1 changed, 1 removed, +2.5 kB",
    ]


def test_the_tree_is_coloured_on_a_terminal_and_plain_elsewhere(trial, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    trial.write("f")
    assert "\x1b[32m" in drawn(trial, force_terminal=True, color_system="standard")
    assert "\x1b" not in drawn(trial)


def test_no_control_character_of_a_name_reaches_the_terminal(trial):
    put(trial.upper / os.fsdecode(ODD), "x")
    (line, _) = drawn(trial, force_terminal=True, color_system=None).splitlines()
    assert line == '+ /caf\\xe9 \\x1b[31m\\n"x"  1 B'


def test_a_large_new_directory_is_one_line_unless_everything_is_wanted(trial):
    for number in range(30):
        trial.write(f"new/f{number}", "x")
    assert drawn(trial).splitlines()[0] == "+ /new/  30 inside, 30 B"
    assert len(drawn(trial, limited=False).splitlines()) == 32


def test_many_changes_side_by_side_are_cut_with_their_number(trial):
    for number in range(70):
        trial.write(f"f{number}")
    lines = drawn(trial).splitlines()
    assert len(lines) == 52 and lines[50] == "… and 20 more"


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12345, "12.3 kB"),
                                            (999_999, "1.0 MB"), (10**19, "10.0 EB")])  # fmt: skip
def test_sizes_are_for_people(size, text):
    assert show.human(size) == text


# -- JSON, lines and patches ------------------------------------------------------------------------


def test_the_document_says_everything_and_keeps_odd_names(trial):
    trial.give("f", "12", 0o600)
    trial.write("f", "123", 0o644)
    put(trial.upper / os.fsdecode(ODD), "x")
    document = json.loads(show.document("name", trial.changes()))
    odd, plain = document["changes"]
    assert base64.b64decode(odd["path_bytes"]) == b"/" + ODD
    assert plain == {
        "path": "/f", "kind": "changed", "what": ["content", "mode"], "files": 0,
        "before": {"type": "file", "mode": "0600", "uid": 0, "gid": 0, "size": 2},
        "after": {"type": "file", "mode": "0644", "uid": 0, "gid": 0, "size": 3},
    }  # fmt: skip
    assert (document["try"], document["summary"]) == ("name", {"added": 1, "changed": 1, "removed": 0, "growth": 2})


def text(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


@pytest.fixture
def texts(trial) -> Trial:
    """A host and a layer with every kind of change that a patch can carry."""
    many = [str(number) for number in range(40)]
    trial.give("many", text(*many))
    trial.write("many", text("first", *many[:5], "changed", *many[6:30], *many[32:]))
    trial.give("end", "a\nb")
    trial.write("end", "a\nc", 0o755)
    trial.give("with blank", "1\r\n2\n")
    trial.write("with blank", "1\r\n3\n")
    trial.give("gone/one", "1\n")
    trial.give("gone/e/two", "2\n")
    trial.remove("gone")
    trial.write("new/f", text("x", "y"), 0o755)
    trial.write("new/empty")
    trial.give("emptied", "1\n2\n")
    trial.write("emptied")
    return trial


def regular_files(place: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        str(path.relative_to(place)): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in place.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("command", [["patch", "-p1", "--quiet"], ["git", "apply", "-p1", "-"]], ids=["patch", "git"])
def test_the_patch_makes_the_host_what_the_guest_saw(texts, command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    os.utime(texts.host / "many")
    wanted = regular_files(texts.host) | regular_files(texts.upper)
    wanted = {name: what for name, what in wanted.items() if ".wh." not in name and not name.startswith("gone")}
    patch = texts.patch()
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(texts.host.parent)}
    done = subprocess.run(command, input=patch, cwd=texts.host, capture_output=True, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert regular_files(texts.host) == wanted


def test_lines_are_counted_as_git_counts_them(texts, capsys):
    with Upper(texts.upper) as upper, Tree(texts.host) as host:
        show.statistics(compare(upper, host), upper, host)
    lines = capsys.readouterr().out.splitlines()
    assert " many       |     5 ++---" in lines
    assert lines[-1] == " 8 files, 6 lines added, 9 removed"


def test_binary_files_are_named_and_not_shown(trial):
    trial.give("b", b"\0\1")
    trial.write("b", b"\0\2")
    assert trial.patch() == b"diff --git a/b b/b\nBinary files a/b and b/b differ\n"


def test_a_file_that_became_a_symlink_is_removed_and_added(trial):
    trial.give("f", "x\n")
    trial.place("f").symlink_to("t")
    assert trial.patch() == (
        b"diff --git a/f b/f\ndeleted file mode 100644\n--- a/f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-x\n"
        b"diff --git a/f b/f\nnew file mode 120000\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,1 @@\n+t\n"
        b"\\ No newline at end of file\n"
    )


def test_odd_names_are_quoted_in_patches(trial):
    put(trial.upper / os.fsdecode(ODD), "x\n")
    assert b'+++ "b/caf\\351 \\033[31m\\012\\"x\\""\n' in trial.patch()


def test_two_large_texts_without_a_common_line_are_quickly_replaced(trial):
    trial.give("f", text(*(f"a{number}" for number in range(20_000))))
    trial.write("f", text(*(f"b{number}" for number in range(20_000))))
    assert trial.patch().count(b"\n@@ ") == 1
