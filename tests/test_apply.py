"""Applying a layer to a host: what is written, what is refused, and that a crash at any point can be run again."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from test_changes import ODD, Trial, keep, put

from containers import apply as module
from containers.apply import Application, Outcome, read_journal

ROOT = os.geteuid() == 0
_CHANGING = {
    "chmod", "copy_file_range", "fchownat", "fsync", "ftruncate", "ioctl", "link", "linkat", "mkdir", "mknod", "open",
    "pwrite", "removexattr", "rename", "renameat2", "rmdir", "setxattr", "symlink", "unlink", "utime",
}  # fmt: skip


def apply(trial: Trial, *paths: bytes) -> Outcome:
    bases = read_journal(os.fsencode(trial.journal))
    with Application(os.fsencode(trial.upper), os.fsencode(trial.host), bases, "test") as application:
        return application.run(application.plan(paths))


def refused(outcome: Outcome) -> list[tuple[bytes, str]]:
    return [(refusal.path, refusal.reason) for refusal in outcome.refused]


def snapshot(place: Path) -> dict[str, tuple]:
    """Everything of a tree but inodes and the times of directories; hard links as the names that share a file."""
    found, names = {}, {}
    for directory, inner, files in os.walk(place):
        for name in inner + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            shown = os.path.relpath(path, place)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = (Path(path).read_bytes(), status.st_mtime_ns)
                names.setdefault(status.st_ino, []).append(shown)
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[shown] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found | {"links": sorted(sorted(group) for group in names.values() if len(group) > 1)}


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


# -- what is written --------------------------------------------------------------------------------


def everything(trial: Trial) -> Trial:
    """A trial with a change of every kind."""
    trial.give("etc/conf", "old")
    trial.give("etc/mode", "same")
    trial.give("etc/gone", "x")
    trial.give("tree/a/one", "1")
    trial.give("tree/two", "2")
    trial.give("was-dir/in", "x")
    trial.give("was-dir/deep/in", "x")
    trial.give("was-file", "x")
    trial.give("opaque/gone", "x")
    trial.give("opaque/kept", "x")
    trial.give("untouched", "x")
    (trial.host / "link").symlink_to("untouched")
    os.utime(trial.write("etc/conf", "new", 0o600), ns=(5, 1_234_567_891))
    trial.copy_up("etc/mode").chmod(0o755)
    trial.remove("etc/gone")
    trial.remove("tree")
    trial.remove("was-dir")
    trial.write("was-dir", "a file now")
    trial.place("was-file").mkdir()
    trial.write("was-file/in", "y")
    trial.remove("opaque/gone")
    trial.copy_up("opaque/kept")
    (trial.upper / "opaque/.wh.gone").unlink()
    put(trial.upper / "opaque/.wh..wh..opq", "")
    trial.place("link").symlink_to("elsewhere")
    trial.write("new/sub/file", "n")
    os.link(trial.upper / "new/sub/file", trial.place("new/linked"))
    os.link(trial.upper / "new/sub/file", trial.place("etc/linked"))
    os.mkfifo(trial.place("new/pipe"))
    trial.mkdir("new/shut", 0o500)
    return trial


def test_a_host_becomes_what_the_guest_saw_and_a_second_run_has_nothing_to_do(trial):
    everything(trial)
    outcome = apply(trial)
    assert refused(outcome) == []
    host = trial.host
    assert (host / "etc/conf").read_text() == "new"
    assert (host / "etc/conf").stat().st_mtime_ns == 1_234_567_891
    assert stat.S_IMODE((host / "etc/conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((host / "etc/mode").stat().st_mode) == 0o755
    assert (host / "was-dir").read_text() == "a file now" and (host / "was-file/in").read_text() == "y"
    assert os.readlink(host / "link") == "elsewhere"
    assert (host / "new/linked").samefile(host / "etc/linked") and (host / "etc/linked").stat().st_nlink == 3
    assert stat.S_ISFIFO((host / "new/pipe").stat().st_mode)
    assert stat.S_IMODE((host / "new/shut").stat().st_mode) == 0o500
    assert not any(os.path.lexists(host / name) for name in ("etc/gone", "tree", "opaque/gone"))
    assert (host / "opaque/kept").exists() and (host / "untouched").exists()
    assert trial.listed() == []
    assert apply(trial) == Outcome()


def test_a_change_of_mode_alone_keeps_the_file(trial):
    inode = trial.give("f", "x").stat().st_ino
    trial.copy_up("f").chmod(0o700)
    apply(trial)
    assert ((trial.host / "f").stat().st_ino, stat.S_IMODE((trial.host / "f").stat().st_mode)) == (inode, 0o700)


def test_the_times_of_a_new_directory_are_the_guests(trial):
    trial.write("new/f", "x")
    os.utime(trial.upper / "new", ns=(7, 7_000_000_000))
    apply(trial)
    assert (trial.host / "new").stat().st_mtime_ns == 7_000_000_000


def test_holes_stay_holes(trial):
    with open(trial.place("sparse"), "wb") as file:
        file.seek(32 << 20)
        file.write(b"end")
        file.truncate(64 << 20)
    apply(trial)
    status = (trial.host / "sparse").stat()
    assert status.st_size == 64 << 20 and status.st_blocks * 512 < 1 << 20
    with open(trial.host / "sparse", "rb") as file:
        file.seek(32 << 20)
        assert file.read(4) == b"end\0"


def test_a_file_in_pieces_is_copied_where_the_kernel_copies_no_ranges(trial, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    data = os.urandom(3 << 20)
    trial.write("f", data)
    apply(trial)
    assert (trial.host / "f").read_bytes() == data


def test_attributes_go_along_and_our_own_does_not(trial):
    target = trial.write("f", "x")
    (trial.host / "d").mkdir()
    keep(target, b"0:0:0640")
    os.setxattr(target, b"user.note", b"kept")
    os.setxattr(trial.mkdir("d"), b"user.note", b"dir")
    apply(trial)
    assert os.listxattr(trial.host / "f") == ["user.note"]
    assert os.getxattr(trial.host / "d", b"user.note") == b"dir"
    assert stat.S_IMODE((trial.host / "f").stat().st_mode) == 0o640


def test_an_attribute_the_guest_removed_goes_from_a_directory(trial):
    (trial.host / "d").mkdir()
    try:
        os.setxattr(trial.host / "d", b"user.note", b"x")
    except OSError:
        pytest.skip("no user attributes here")
    trial.mkdir("d")
    apply(trial)
    assert os.listxattr(trial.host / "d") == []


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_root_gives_owners_and_set_id_bits(trial):
    keep(trial.write("f", "x", 0o755), b"33:44:04755")
    trial.give("g", "x")
    os.chown(trial.copy_up("g"), 33, 44)
    apply(trial)
    status = (trial.host / "f").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (33, 44, 0o4755)
    assert ((trial.host / "g").stat().st_uid, (trial.host / "g").stat().st_gid) == (33, 44)


@pytest.mark.skipif(ROOT, reason="root may give everything")
def test_an_ordinary_user_is_told_what_was_not_given_and_has_nothing_to_do_twice(trial):
    keep(trial.write("owned", "x"), b"33:33:0644")
    keep(trial.write("program", "x", 0o755), b"0:0:04755")
    for count in (2, 0):
        with Application(os.fsencode(trial.upper), os.fsencode(trial.host), {}, "test") as application:
            changes = application.plan()
            assert len(changes) == count
            assert len(application.notes) == 2
            assert refused(application.run(changes)) == []
    assert stat.S_IMODE((trial.host / "program").stat().st_mode) == 0o755


@pytest.mark.skipif(not ROOT, reason="only root makes devices")
def test_root_gets_a_device(trial):
    keep(trial.write("null"), b"0:0:0640:char-1-3")
    assert refused(apply(trial)) == []
    status = (trial.host / "null").stat()
    assert (status.st_mode, status.st_rdev) == (stat.S_IFCHR | 0o640, os.makedev(1, 3))
    assert apply(trial) == Outcome()


def test_hard_links_of_the_hosts_that_the_try_has_not_are_told_of(trial):
    os.link(trial.give("a", "x"), trial.host / "b")
    trial.write("a", "guest")
    bases = read_journal(os.fsencode(trial.journal))
    with Application(os.fsencode(trial.upper), os.fsencode(trial.host), bases, "test") as application:
        application.run(application.plan())
        (note,) = application.notes
    assert note.startswith("a file has hard links on the host that the try has not touched")
    assert ((trial.host / "a").read_text(), (trial.host / "b").read_text()) == ("guest", "x")


def test_names_of_any_bytes_are_written_and_found_in_the_journal(trial):
    name = ODD + b"%\t"
    path = os.fsencode(trial.host) + b"/" + name
    with open(path, "w") as file:
        file.write("old")
    trial.base(name)
    with open(os.fsencode(trial.upper) + b"/" + name, "w") as file:
        file.write("newer")
    assert refused(apply(trial)) == []
    with open(path) as file:
        assert file.read() == "newer"


# -- a part of it -----------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_applied_with_the_directories_it_needs(trial):
    for name in ("new/a/one", "new/a/two", "new/b/three", "other", "news"):
        trial.write(name, "x")
    outcome = apply(trial, b"new/a/one", b"new/b")
    assert [change.path for change in outcome.applied] == [b"new", b"new/a", b"new/a/one", b"new/b", b"new/b/three"]
    assert trial.listed() == ["added new/a/two", "added news", "added other"]


def test_a_path_nothing_is_at_applies_nothing(trial):
    trial.write("new/a", "x")
    assert apply(trial, b"new/b", b"elsewhere") == Outcome()
    assert not (trial.host / "new").exists()


def test_one_file_of_a_removed_directory_can_be_removed(trial):
    trial.give("d/one", "1")
    trial.give("d/two", "2")
    trial.remove("d")
    apply(trial, b"d/one", b"d/never")
    assert os.listdir(trial.host / "d") == ["two"]


def test_paths_below_one_another_are_one(trial):
    trial.give("d/e/one", "1")
    trial.give("d/two", "2")
    trial.remove("d")
    outcome = apply(trial, b"d/e/one", b"d/e", b"d/e")
    assert ([change.path for change in outcome.applied], refused(outcome)) == ([b"d/e"], [])
    assert os.listdir(trial.host / "d") == ["two"]


def test_a_hard_link_to_a_file_that_was_not_asked_for_is_a_file(trial):
    os.link(trial.write("a", "x"), trial.place("b"))
    apply(trial, b"b")
    assert sorted(os.listdir(trial.host)) == ["b"]
    apply(trial)
    assert (trial.host / "a").samefile(trial.host / "b")


# -- what is refused --------------------------------------------------------------------------------


def later(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replaced(path: Path) -> None:
    status = path.stat()
    put(path.with_name("other"), path.read_bytes())
    os.utime(path.with_name("other"), ns=(status.st_atime_ns, status.st_mtime_ns))
    path.with_name("other").rename(path)


def retyped(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(("meanwhile", "reason"), [
    (lambda path: put(path, "on the host", 0o644), "changed on the host since: size, time"),
    (lambda path: path.chmod(0o600), "changed on the host since: mode"),
    (later, "changed on the host since: time"),
    (replaced, "changed on the host since: replaced"),
    (retyped, "changed on the host since: it is of another type"),
    (Path.unlink, "removed on the host since"),
])  # fmt: skip
def test_a_file_that_changed_on_the_host_is_refused_and_the_others_go_on(trial, meanwhile, reason):
    trial.give("f", "first")
    trial.write("f", "by the guest")
    trial.write("g", "x")
    meanwhile(trial.host / "f")
    before = snapshot(trial.host)
    outcome = apply(trial)
    assert refused(outcome) == [(b"f", reason)]
    assert [change.path for change in outcome.applied] == [b"g"]
    after = snapshot(trial.host)
    del after["g"]
    assert after == before


def test_a_file_that_came_on_the_host_is_refused_and_its_twin_is_done(trial):
    trial.write("f", "guest")
    trial.write("same", "x")
    trial.give("f", "host")
    trial.give("same", "x")
    outcome = apply(trial)
    assert (refused(outcome), outcome.applied) == ([(b"f", "made on the host since")], [])
    assert (trial.host / "f").read_text() == "host"


def test_what_changed_on_the_host_is_not_removed(trial):
    later(trial.give("f", "x"))
    trial.remove("f")
    later(trial.host / "f")
    assert refused(apply(trial)) == [(b"f", "changed on the host since: time")]
    assert (trial.host / "f").exists()


@pytest.mark.parametrize("as_file", [False, True], ids=["removed", "replaced by a file"])
def test_a_directory_with_something_unknown_in_it_is_left_whole(trial, as_file):
    trial.give("d/known", "x")
    trial.give("d/e/known", "x")
    trial.remove("d")
    if as_file:
        trial.write("d", "x")
    trial.give("d/e/unknown", "x")
    assert refused(apply(trial)) == [(b"d", "it holds 'e/unknown', made on the host since")]
    (trial.host / "d/e/unknown").unlink()
    later(trial.host / "d/e/known")
    assert refused(apply(trial)) == [(b"d", "it holds 'e/known', changed on the host since: time")]
    assert sorted(os.listdir(trial.host / "d")) == ["e", "known"]


def test_a_directory_whose_mode_changed_on_both_sides_is_refused(trial):
    (trial.host / "d").mkdir(mode=0o755)
    trial.mkdir("d", 0o700)
    (trial.host / "d").chmod(0o711)
    assert refused(apply(trial)) == [(b"d", "changed on the host since: mode")]


def test_nothing_is_written_through_a_symlink_that_came_on_the_host(trial, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    trial.give("d/old", "x")
    trial.write("d/old", "guest")
    trial.write("d/new", "guest")
    trial.write("e/new", "guest")
    trial.give("gone/f", "x")
    trial.remove("gone/f")
    for name in ("d", "gone"):
        (trial.host / name).rename(outside / name)
        (trial.host / name).symlink_to(outside / name)
    (trial.host / "e").symlink_to(outside)
    before = snapshot(outside)
    outcome = apply(trial)
    assert outcome.applied == [] and len(outcome.refused) == 6
    assert snapshot(outside) == before


def test_a_symlink_that_comes_between_the_plan_and_the_step_is_not_followed(trial, tmp_path):
    (tmp_path / "outside").mkdir()
    trial.give("d/old", "x")
    trial.write("d/new", "guest")
    with Application(os.fsencode(trial.upper), os.fsencode(trial.host), {}, "test") as application:
        changes = application.plan()
        (trial.host / "d").rename(trial.host / "moved")
        (trial.host / "d").symlink_to(tmp_path / "outside")
        outcome = application.run(changes)
    assert refused(outcome) == [(b"d/new", "something that is no directory is above it on the host")]
    assert os.listdir(tmp_path / "outside") == []


def test_a_file_that_is_written_to_while_the_new_one_is_made_is_kept(trial, monkeypatch):
    trial.give("f", "x")
    trial.write("f", "guest")
    real = module._copy

    def copy(source: int, target: int) -> None:
        real(source, target)
        later(trial.host / "f")

    monkeypatch.setattr(module, "_copy", copy)
    assert refused(apply(trial)) == [(b"f", "changed on the host just now")]
    assert os.listdir(trial.host) == ["f"] and (trial.host / "f").read_text() == "x"


def test_a_file_that_comes_while_the_new_one_is_made_is_kept(trial, monkeypatch):
    trial.write("f", "guest")
    real = module._copy

    def copy(source: int, target: int) -> None:
        real(source, target)
        trial.give("f", "host")

    monkeypatch.setattr(module, "_copy", copy)
    assert refused(apply(trial)) == [(b"f", "made on the host just now")]
    assert os.listdir(trial.host) == ["f"] and (trial.host / "f").read_text() == "host"


def test_a_hard_link_is_not_made_to_a_name_whose_content_changed_meanwhile(trial):
    os.link(trial.write("a", "x"), trial.place("b"))
    apply(trial, b"a")
    with Application(os.fsencode(trial.upper), os.fsencode(trial.host), {}, "test") as application:
        changes = application.plan()
        put(trial.host / "a", "y")
        application.run(changes)
    assert ((trial.host / "a").read_text(), (trial.host / "b").read_text()) == ("y", "x")


# -- the journal ------------------------------------------------------------------------------------


def test_the_first_base_counts_and_foreign_damaged_and_torn_records_do_not(trial):
    trial.journal.write_bytes(
        b"base\t100644\t5\t77\t1:2\ta%09b%0A%25\nbase\t100600\t6\t78\t1:3\ta%09b%0A%25\nfuture\tx\ty\n\n"
        b"base\tzzz\t5\t77\t1:2\tbad\nbase\t100644\t5\nbase\t100644\t5\t77\t1:2\tto"
    )
    bases = read_journal(os.fsencode(trial.journal))
    assert list(bases) == [b"a\tb\n%"]
    base = bases[b"a\tb\n%"]
    assert (base.mode, base.size, base.mtime_ns, base.inode) == (0o100644, 5, 77, 2)


# -- crashes ----------------------------------------------------------------------------------------


class Crash(BaseException):
    """The machine stops here."""


class Mortal:
    """A module whose changing calls stop working, all of them, after so many; as a crash has it."""

    left: int

    def __init__(self, real) -> None:
        self._real = real

    def __getattr__(self, name: str):
        value = getattr(self._real, name)
        if name not in _CHANGING:
            return value

        def call(*arguments, **more):
            if Mortal.left <= 0:
                raise Crash
            Mortal.left -= 1
            return value(*arguments, **more)

        return call


def crash_after(trial: Trial, steps: int, monkeypatch) -> bool:
    """Apply until so many steps are done; whether that was the end of it."""
    Mortal.left = steps
    with monkeypatch.context() as patches:
        for name in ("os", "kernel", "fcntl"):
            patches.setattr(module, name, Mortal(getattr(module, name)))
        try:
            apply(trial)
        except Crash:
            return False
    return True


@pytest.fixture
def crash_trial(tmp_path: Path):
    """The same trial with every kind of change, as often as asked for."""
    def make(number: int) -> Trial:
        place = tmp_path / str(number)
        place.mkdir()
        made = everything(Trial(place))
        for directory, names, files in os.walk(made.upper):
            for name in names + files:
                os.utime(os.path.join(directory, name), ns=(1, 1_000_000_000), follow_symlinks=False)
        return made

    return make


@pytest.mark.slow
def test_an_apply_that_crashes_at_any_point_is_run_again(crash_trial, monkeypatch):
    whole = crash_trial(0)
    assert refused(apply(whole)) == []
    wanted = snapshot(whole.host)
    steps, finished = 0, False
    while not finished:
        trial = crash_trial(steps + 1)
        finished = crash_after(trial, steps, monkeypatch)
        assert refused(apply(trial)) == [], f"after {steps} steps"
        assert snapshot(trial.host) == wanted, f"after {steps} steps"
        assert apply(trial) == Outcome()
        steps += 1
    assert steps > 80


def test_temporary_names_of_other_tries_and_of_people_stay(trial):
    trial.write("d/f", "x")
    ours = f".int80-apply-{os.geteuid()}~test~1"
    others = [f".int80-apply-{os.geteuid()}~test-2~1", ".int80-apply-", "f~"]
    for name in [ours, *others]:
        trial.give(f"d/{name}", "x")
    apply(trial)
    assert sorted(os.listdir(trial.host / "d")) == sorted([*others, "f"])


@pytest.mark.slow
def test_five_thousand_files_are_applied(trial, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # the disk's own speed is not ours
    for number in range(5000):
        put(trial.upper / f"d{number % 50}/f{number}", "x")
    assert len(apply(trial).applied) == 5050
    assert trial.changes() == []
