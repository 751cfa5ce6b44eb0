"""The store of tries and the commands about them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest
from test_changes import Trial, put

from containers import tries, trying
from containers.sandbox import CannotRun


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch) -> Path:
    """A store of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data/int80/tries"


@pytest.fixture
def kept(tmp_path: Path) -> Trial:
    """A try called `one`, of a host in a temporary directory, with something added, changed and removed."""
    place = tmp_path / "place"
    place.mkdir()
    trial = Trial(place)
    attempt = tries.create("one", ["sh", "-c", "x y"], root=str(trial.host))
    trial.upper, trial.journal = attempt.upper, attempt.journal
    trial.give("etc/conf", "old\n")
    trial.give("etc/gone", "x\n")
    trial.write("etc/conf", "new\n")
    trial.remove("etc/gone")
    trial.write("new", "x\n")
    return trial


def says(action, capsys) -> tuple[int, str, str]:
    status = action()
    out, err = capsys.readouterr()
    return status, out, err


# -- the store --------------------------------------------------------------------------------------


def test_a_new_try_is_empty_and_says_what_it_is_for(store):
    attempt = tries.create("one", ["ls", "-l"])
    assert attempt.path == store / "one"
    assert (os.listdir(attempt.upper), os.listdir(attempt.work), attempt.journal.read_bytes()) == ([], [], b"")
    meta = json.loads((store / "one/meta.json").read_text())
    assert set(meta) == {"name", "created", "argv", "root", "version", "status"}
    assert (meta["name"], meta["argv"], meta["root"], meta["status"]) == ("one", ["ls", "-l"], "/", None)


def test_a_try_without_a_name_gets_one_that_is_free(monkeypatch):
    monkeypatch.setattr(tries, "ideas", lambda: iter(["first", "second"]))
    assert [tries.create(None, []).name for _ in range(2)] == ["first", "second"]
    monkeypatch.undo()
    assert re.fullmatch("[a-z]+-[a-z]+", next(tries.ideas()))


def test_a_name_is_taken_once():
    tries.create("one", [])
    with pytest.raises(CannotRun, match="one: there is a try of that name"):
        tries.create("one", [])
    assert [attempt.name for attempt in tries.every()] == ["one"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../x", "a b", "a\n", "é", "x" * 65, "\x1b[31m"])
def test_names_that_could_mean_something_else_are_refused(name):
    with pytest.raises(CannotRun, match="no name for a try") as problem:
        tries.create(name, [])
    assert str(problem.value).isprintable()
    with pytest.raises(CannotRun, match="no name for a try"):
        tries.find(name)


def test_a_try_that_is_not_there_is_not_found():
    with pytest.raises(CannotRun, match="none: there is no such try"):
        tries.find("none")
    assert tries.every() == []


def test_tries_are_listed_oldest_first():
    for name, created in (("b", "2026-01-02"), ("a", "2026-01-03"), ("c", "2026-01-01")):
        tries.create(name, []).update(created=created)
    assert [attempt.name for attempt in tries.every()] == ["c", "b", "a"]


def test_the_lock_is_one_users_at_a_time_and_ends_with_it():
    attempt = tries.create("one", [])
    assert not attempt.in_use()
    with attempt.locked():
        assert attempt.in_use()
        with pytest.raises(CannotRun, match="one: in use by another int80"):
            tries.find("one").lock()
        with pytest.raises(CannotRun, match="in use"):
            tries.find("one").discard()
    assert not attempt.in_use()
    tries.find("one").lock()


def test_a_try_that_is_discarded_while_it_is_waited_for_is_gone(monkeypatch):
    attempt = tries.create("one", [])
    real = tries._flock

    def slow(fd: int) -> None:
        monkeypatch.setattr(tries, "_flock", real)
        tries.find("one").discard()
        tries.create("one", [])
        real(fd)

    monkeypatch.setattr(tries, "_flock", slow)
    with pytest.raises(CannotRun, match="there is no such try"):
        attempt.lock()


def test_a_try_begins_anew_or_once_more():
    first = tries.begin("one", ["a"])
    assert first.in_use()
    first.update(status=3)
    with pytest.raises(CannotRun, match="in use"):
        tries.begin("one", ["b"])
    first.unlock()
    again = tries.begin("one", ["b"])
    assert (again.meta()["argv"], again.meta()["status"]) == (["b"], None)
    again.unlock()


def test_a_try_whose_meta_is_damaged_says_so_and_lets_go():
    attempt = tries.create("one", [])
    (attempt.path / "meta.json").write_text("{")
    with pytest.raises(CannotRun, match="damaged; `int80 discard one`"):
        tries.begin("one", [])
    assert not attempt.in_use()
    attempt.discard()


def test_meta_is_written_whole_or_not_at_all(monkeypatch):
    attempt = tries.create("one", [])
    before = (attempt.path / "meta.json").read_text()
    with monkeypatch.context() as patches, pytest.raises(TypeError):
        patches.setattr(json, "dump", lambda _meta, file, **_more: [file.write("{"), file.flush(), {}["x":]])
        attempt.update(status=1)
    assert (attempt.path / "meta.json").read_text() == before


def test_discarding_removes_what_is_unreadable_linked_or_deep(store, tmp_path):
    attempt = tries.create("one", [])
    put(tmp_path / "outside/f", "kept")
    (attempt.upper / "link").symlink_to(tmp_path / "outside")
    put(attempt.upper / "shut/inner/f", "x", 0)
    (attempt.upper / "shut/inner").chmod(0)
    (attempt.upper / "shut").chmod(0)
    fd = os.open(attempt.upper, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=fd)
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    attempt.discard()
    assert os.listdir(store) == []
    assert (tmp_path / "outside/f").read_text() == "kept"


def test_what_a_killed_int80_left_is_swept_and_what_a_living_one_makes_is_not(store):
    for name in (".gone-0-one", ".new-0", f".new-{os.getppid()}"):
        put(store / name / "upper/f", "x")
    tries.create("one", [])
    assert sorted(os.listdir(store)) == [f".new-{os.getppid()}", "one"]


def test_a_store_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    put(tmp_path / "file", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(CannotRun, match="not a directory; set XDG_DATA_HOME"):
        tries.create("one", [])


# -- the commands -----------------------------------------------------------------------------------


def test_diff_shows_the_tree(kept, capsys):
    status, out, err = says(lambda: trying.diff("one"), capsys)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "1 added, 1 changed, 1 removed, +0 B"


def test_diff_as_json_lines_and_patch(kept, capsys):
    status, out, _ = says(lambda: trying.diff("one", json=True), capsys)
    paths = [change["path"] for change in json.loads(out)["changes"]]
    assert (status, paths) == (0, ["/etc/conf", "/etc/gone", "/new"])
    status, out, _ = says(lambda: trying.diff("one", stat=True), capsys)
    assert (status, out.splitlines()[-1]) == (0, " 3 files, 2 lines added, 2 removed")


def test_the_patch_is_raw_in_a_pipe(kept, capfdbinary):
    kept.write("new", b"\x1b[31m\xff\n")
    assert trying.diff("one", patch=True) == 0
    assert b"+\x1b[31m\xff\n" in capfdbinary.readouterr().out


def test_the_patch_is_escaped_on_a_terminal(kept, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    kept.write("new", b"\x1b[31m\xff\tx\n")
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert trying.diff("one", patch=True) == 0
    assert r"+\x1b[31m\xff" in sys.stdout.getvalue()


@pytest.mark.parametrize("command", [trying.diff, trying.summary, lambda name: trying.apply(name, [], True),
                                     lambda name: trying.discard([name])])  # fmt: skip
def test_a_try_that_is_not_there_is_our_failure_in_one_line(command, capsys):
    status, out, err = says(lambda: command("none"), capsys)
    assert (status, out) == (125, "")
    more = ", and `int80 ps -a` containers" if command is trying.diff else ""
    assert err == f"int80: none: there is no such try; `int80 try --list` shows those there are{more}\n"


def test_apply_writes_to_the_host_and_then_has_nothing_to_do(kept, capsys):
    status, out, err = says(lambda: trying.apply("one", [], True), capsys)
    assert (status, out, err) == (0, "applied: 1 added, 1 changed, 1 removed, +0 B\n", "")
    assert sorted(os.listdir(kept.host / "etc")) == ["conf"] and (kept.host / "etc/conf").read_text() == "new\n"
    assert says(lambda: trying.apply("one", [], True), capsys)[:2] == (0, "one: nothing to apply\n")


def test_apply_says_what_it_refused_and_why(kept, capsys):
    (kept.host / "etc/conf").write_text("by somebody else\n")
    status, out, err = says(lambda: trying.apply("one", [], True), capsys)
    assert (status, out) == (1, "applied: 1 added, 1 removed, +0 B; 1 refused\n")
    assert err == "int80: /etc/conf: refused: changed on the host since: size, time\n"


def test_apply_takes_paths_as_the_shell_has_them(kept, capsys, monkeypatch):
    (kept.host / "conf.d").symlink_to("etc")
    monkeypatch.chdir(kept.host)
    assert says(lambda: trying.apply("one", ["conf.d/conf", str(kept.host / "new")], True), capsys)[0] == 0
    assert kept.listed() == ["removed etc/gone"]
    assert says(lambda: trying.apply("one", ["nothing"], True), capsys)[1] == "one: nothing to apply there\n"
    status, _, err = says(lambda: trying.apply("one", [".."], True), capsys)
    assert (status, "not below" in err) == (125, True)


def test_apply_asks_nobody_where_there_is_no_terminal(kept, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    status, _, err = says(lambda: trying.apply("one", [], False), capsys)
    assert (status, err.count("\n")) == (125, 1)
    assert not (kept.host / "new").exists()


@pytest.mark.parametrize(("answer", "done"), [(b"y\n", True), (b"yes\n", True), (b"\n", False), (b"n\n", False)])
def test_apply_asks_at_a_terminal(kept, capsys, monkeypatch, answer, done):
    master, slave = pty.openpty()
    with open(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(master, answer)
        status, out, _ = says(lambda: trying.apply("one", [], False), capsys)
    os.close(master)
    assert "Apply 3 changes to this machine? [y/N]" in out
    assert (status, (kept.host / "new").exists()) == (0, done)


def test_apply_waits_for_nobody(kept, capsys):
    with tries.find("one").locked():
        status, _, err = says(lambda: trying.apply("one", [], True), capsys)
    assert (status, "in use" in err) == (125, True)


def test_discard_takes_several_and_goes_on_after_a_failure(kept, store, capsys):
    tries.create("two", [])
    status, _, err = says(lambda: trying.discard(["one", "none", "two"]), capsys)
    assert (status, err.count("\n"), os.listdir(store)) == (125, 1, [])


def test_the_list_has_a_line_for_each_try(kept, capsys):
    tries.create("two", ["[bold]x\x1b"])
    (tries.create("three", []).path / "meta.json").write_text("{")
    with tries.find("one").locked():
        status, out, err = says(trying.list_tries, capsys)
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert re.search(r"^one +\d{4}-\d\d-\d\d \d\d:\d\d +sh -c 'x y' +3 .* in use *$", out, re.MULTILINE)
    assert any("[bold]x\\x1b" in line for line in lines) and "\x1b" not in out
    assert any(line.startswith("three") and "damaged" in line for line in lines)


def test_an_empty_store_is_said_to_be_empty(capsys):
    assert says(trying.list_tries, capsys) == (0, "no tries\n", "")


def test_the_summary_says_what_can_be_done_next(kept, capsys):
    status, out, _ = says(lambda: trying.summary("one"), capsys)
    assert (status, out.splitlines()[-1]) == (0, "int80 diff one, int80 apply one, int80 discard one")
