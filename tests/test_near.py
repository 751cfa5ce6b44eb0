"""Directories remembered by name: no name reaches one that was moved, removed, replaced or closed to us since."""

from __future__ import annotations

import os
import select
import subprocess

import pytest

from vfs.hostfs import HostFs
from vfs.near import _OFTEN, Near


def readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class Tree:
    """A host tree that remembers, asked as the supervisor asks it: changes first."""

    def __init__(self, top) -> None:
        self.fs = HostFs(os.fsencode(top))
        self.near = self.fs.remember()

    def stat(self, path: str, follow: bool = False) -> int:
        """The inode behind plain names.  ``OSError``."""
        if readable(self.near.fd):
            self.near.changed()
        data = self.fs.stat_at(self.fs.root, tuple(path.encode().split(b"/")), follow)
        return int.from_bytes(data[8:16], "little")

    def often(self, path: str) -> int:
        """Ask until the directory is remembered."""
        for _ in range(_OFTEN + 1):
            found = self.stat(path)
        assert tuple(path.encode().split(b"/")) in self.near.ways
        return found


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "top/a/b/file").write_text("one")
    return tmp_path / "top"


@pytest.fixture
def tree(top):
    return Tree(top)


def test_what_is_remembered_is_the_same_file(tree, top):
    assert tree.often("a/b/file") == (top / "a/b/file").stat().st_ino


def test_a_directory_asked_for_once_is_not_watched(tree):
    tree.stat("a/b/file")
    assert not tree.near.ways and not tree.near._watches


@pytest.mark.parametrize("moved", ["a", "a/b"])
def test_a_directory_that_was_moved_away_is_not_reached_by_its_old_name(tree, top, moved):
    tree.often("a/b/file")
    (top / moved).rename(top.parent / "outside")
    with pytest.raises(FileNotFoundError):
        tree.stat("a/b/file")


def test_another_directory_under_the_old_name_is_the_one_that_is_reached(tree, top):
    before = tree.often("a/b/file")
    (top / "a").rename(top / "old")
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").write_text("two")
    assert tree.stat("a/b/file") == (top / "a/b/file").stat().st_ino != before
    assert tree.stat("old/b/file") == before


def test_a_symlink_in_the_place_of_a_directory_is_not_followed(tree, top):
    tree.often("a/b/file")
    (top / "a/b").rename(top.parent / "b")
    (top / "a/b").symlink_to(top.parent / "b")
    assert tree.fs.stat_at(tree.fs.root, (b"a", b"b", b"file"), False) is not None  # the change was not asked for yet
    tree.near.changed()
    assert tree.fs.stat_at(tree.fs.root, (b"a", b"b", b"file"), False) is None


def test_a_removed_directory_is_gone(tree, top):
    tree.often("a/b/file")
    (top / "a/b/file").unlink()
    (top / "a/b").rmdir()
    with pytest.raises(FileNotFoundError):
        tree.stat("a/b/file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search everything")
def test_a_directory_above_that_may_not_be_searched_any_more_closes_what_is_below(tree, top):
    tree.often("a/b/file")
    (top / "a").chmod(0)
    try:
        with pytest.raises(PermissionError):
            tree.stat("a/b/file")
    finally:
        (top / "a").chmod(0o755)


def test_a_new_file_and_a_removed_one_are_seen_at_once(tree, top):
    tree.often("a/b/file")
    (top / "a/b/new").write_text("")
    assert tree.stat("a/b/new") == (top / "a/b/new").stat().st_ino
    (top / "a/b/file").unlink()
    with pytest.raises(FileNotFoundError):
        tree.stat("a/b/file")


def test_changes_make_it_slower_to_remember(tree, top):
    tree.often("a/b/file")
    (top / "a").chmod(0o700)
    tree.stat("a/b/file")
    assert tree.near._often == 2 * _OFTEN


def test_nothing_is_left_open_after_a_change(tree, top):
    before = len(os.listdir("/proc/self/fd"))
    tree.often("a/b/file")
    (top / "a").chmod(0o700)
    tree.near.changed()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not readable(tree.near.fd)


def test_without_inotify_a_tree_does_without(top, monkeypatch):
    monkeypatch.setattr("vfs.near._inotify_init1", lambda flags: -1)
    fs = HostFs(os.fsencode(top))
    assert fs.remember() is None
    with pytest.raises(OSError):
        Near(fs.root.fd)


def test_a_guest_that_moves_a_directory_finds_it_under_its_new_name_only(run):
    script = """
        mkdir -p /d/e; echo one > /d/e/f
        i=0; while [ $i -lt 20 ]; do [ -f /d/e/f ] || echo lost; i=$((i+1)); done
        mv /d/e /d/g; [ -e /d/e/f ] && echo stale
        cat /d/g/f; mkdir /d/e; echo two > /d/e/f; cat /d/e/f
    """
    assert run.sh(script) == "one\ntwo\n"


def test_the_host_moves_a_directory_out_of_a_guests_root_and_the_guest_loses_it(int80, root):
    (root / "d/e").mkdir(parents=True)
    (root / "d/e/f").write_text("")
    script = "i=0; while [ $i -lt 50 ]; do [ -f /d/e/f ] || echo lost; i=$((i+1)); done; echo ready; "
    script += "read go; [ -f /d/e/f ] || echo gone"
    with subprocess.Popen(
        [*int80, "run", "--rootfs", str(root), "--", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as guest:
        assert guest.stdout.readline() == "ready\n"
        (root / "d/e").rename(root.parent / "e")
        assert guest.communicate("go\n")[0] == "gone\n"
