"""`int80 try` as people use it: install, edit, remove; look at what came of it, then apply or discard it.

Every command runs on this machine's own root.  What is applied is below the test's own directory, never elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def print_of(place: Path) -> dict[str, tuple]:
    """All of a directory tree but the times at which it was read."""
    found = {}
    for path in [place, *place.rglob("*")]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(place))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_nlink, status.st_size, status.st_mtime_ns,
            content,
        )  # fmt: skip
    return found


class Machine:
    """A home directory, and the command in it."""

    def __init__(self, command: list[str], place: Path) -> None:
        self.home = place / "home"
        self.home.mkdir()
        (self.home / "keep").write_text("kept\n")
        self._command = command
        self._env = os.environ | {
            "HOME": str(self.home), "XDG_DATA_HOME": str(place / "data"), "XDG_CACHE_HOME": str(place / "cache"),
            "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def __call__(self, *words: str | Path, status: int = 0) -> str:
        """`int80 WORDS` in the home directory, which must end with `status`; what it says."""
        done = subprocess.run(
            [*self._command, *map(str, words)], cwd=self.home, env=self._env, start_new_session=True, timeout=120, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout

    def attempt(self, script: str, status: int = 0, name: str = "t") -> str:
        """Try a shell script, after which the home directory must be as it was; what is said."""
        before = print_of(self.home)
        said = self("try", "-n", name, "--", "/bin/sh", "-c", script, status=status)
        assert print_of(self.home) == before
        return said


@pytest.fixture
def machine(int80, tmp_path) -> Machine:
    return Machine(int80, tmp_path)


# -- the demonstrations -----------------------------------------------------------------------------


def wheel(place: Path) -> Path:
    """A package of two files, as pip takes it without building or asking anybody."""
    path = place / "hello80-1.0-py3-none-any.whl"
    info = "hello80-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello80/__init__.py", "def greet():\n    return 'hello from 80'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hello80\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"hello80/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def python_with_pip() -> str | None:
    for python in (sys.executable, "/usr/bin/python3", "python3"):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.slow
def test_pip_installs_into_the_home_directory(machine, tmp_path):
    python = python_with_pip()
    if python is None:
        pytest.skip("there is no pip here")
    options = "--no-index --no-deps --disable-pip-version-check --root-user-action=ignore --no-cache-dir"
    script = f"{python} -m pip install {options} -q --target ~/lib {wheel(tmp_path)} && "
    script += f"PYTHONPATH=~/lib {python} -c 'import hello80; print(hello80.greet())'"
    said = machine.attempt(script)
    assert "hello from 80\n" in said
    assert "hello80" in machine("diff", "t")
    assert "applied:" in machine("apply", "-y", "t", machine.home)
    greeting = subprocess.run(
        [python, "-c", "import hello80; print(hello80.greet())"], env=os.environ | {"PYTHONPATH": str(machine.home / "lib")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert greeting.stdout == "hello from 80\n"
    assert (machine.home / "keep").read_text() == "kept\n"
    machine("discard", "t")


@pytest.mark.slow
def test_make_install_fills_a_prefix(machine):
    project, prefix = machine.home / "project", machine.home / "prefix"
    project.mkdir()
    prefix.mkdir()
    (project / "tool.c").write_text('#include <stdio.h>\nint main(void) { puts("made"); return 0; }\n')
    (project / "Makefile").write_text(
        "tool: tool.c\n\tcc -o $@ $<\n"
        "install: tool\n\tinstall -d $(PREFIX)/bin $(PREFIX)/share\n\tinstall -m 755 tool $(PREFIX)/bin/\n"
        "\tln -sf tool $(PREFIX)/bin/alias\n\techo text >$(PREFIX)/share/text\n"
    )
    machine.attempt(f"make -s -C {project} install PREFIX={prefix} && {prefix}/bin/alias")
    assert {"tool", "alias", "text"} <= set(re.findall(r"[a-z]+", machine("diff", "t")))
    machine("apply", "-y", "t", prefix)
    assert subprocess.run([prefix / "bin/alias"], capture_output=True).stdout == b"made\n"
    assert stat.S_IMODE((prefix / "bin/tool").stat().st_mode) == 0o755
    assert (prefix / "share/text").read_text() == "text\n"
    assert not (project / "tool").exists()  # not below what was applied
    machine("discard", "t")


def test_a_tree_is_removed_and_then_really(machine):
    for name in ("tree/a/b/file", "tree/a/other", "tree/c"):
        (machine.home / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.home / name).write_text(name)
    (machine.home / "tree/link").symlink_to("../keep")
    said = machine.attempt("rm -rf tree && ls")
    assert said.splitlines()[0] == "keep"
    assert "tree" in machine("diff", "t")
    assert "applied:" in machine("apply", "-y", "t")
    assert sorted(path.name for path in machine.home.iterdir()) == ["keep"]
    assert (machine.home / "keep").read_text() == "kept\n"


def test_rm_in_all_of_the_home_directory_is_as_if_it_had_not_been(machine):
    (machine.home / "documents").mkdir()
    (machine.home / "documents/thesis").write_text("years of work\n")
    before = print_of(machine.home)
    said = machine.attempt(f"rm -rf {machine.home}/* && ls -A {machine.home}")
    assert re.search(r"^- +documents/ +1 file, 14 B$", said, re.MULTILINE)
    assert "2 removed" in said
    machine("discard", "t")
    assert print_of(machine.home) == before
    assert machine("try", "--list") == "no tries\n"


def test_an_edit_of_etc_is_seen_inside_and_in_the_diff_only(machine):
    hostname = Path("/etc/hostname")
    before = (hostname.read_bytes(), os.lstat(hostname), os.lstat("/etc"))
    said = machine.attempt("echo changed >/etc/hostname && echo more >>/etc/issue.int80-test && cat /etc/hostname")
    assert said.startswith("changed\n")
    patch = machine("diff", "--patch", "t")
    assert "+changed" in patch and "/hostname" in patch
    assert "issue.int80-test" in machine("diff", "--json", "t")
    machine("discard", "t")
    after = (hostname.read_bytes(), os.lstat(hostname), os.lstat("/etc"))
    assert (after[0], after[1].st_mtime_ns, after[2].st_mtime_ns) == (before[0], before[1].st_mtime_ns, before[2].st_mtime_ns)
    assert not Path("/etc/issue.int80-test").exists()


# -- applying ---------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_applied_and_the_rest_stays_to_be(machine):
    (machine.home / "a").write_text("a\n")
    machine.attempt("echo more >>a; mkdir d; echo x >d/x; echo y >y; rm keep; echo no >/etc/int80-test-never")
    machine("apply", "-y", "t", machine.home / "d", machine.home / "a")
    assert (machine.home / "a").read_text() == "a\nmore\n"
    assert (machine.home / "d/x").read_text() == "x\n"
    assert (machine.home / "keep").exists() and not (machine.home / "y").exists()
    left = machine("diff", "t")
    assert "keep" in left and "int80-test-never" in left
    machine("apply", "-y", "t", machine.home)
    assert not (machine.home / "keep").exists() and (machine.home / "y").exists()
    assert "nothing to apply there" in machine("apply", "-y", "t", machine.home)
    machine("discard", "t")
    assert not Path("/etc/int80-test-never").exists()


def test_what_has_changed_here_since_is_refused_and_said(machine):
    (machine.home / "mine").write_text("one\n")
    (machine.home / "other").write_text("one\n")
    machine.attempt("echo guest >mine; echo guest >other; echo guest >new; rm keep")
    (machine.home / "mine").write_text("changed here meanwhile\n")
    (machine.home / "new").write_text("made here meanwhile\n")
    (machine.home / "keep").write_text("wanted after all\n")
    said = machine("apply", "-y", "t", machine.home, status=1)
    assert said.count("refused") >= 3
    for name in ("mine", "new", "keep"):
        assert re.search(rf"/{name}: refused", said)
        assert "guest" not in (machine.home / name).read_text()
    assert (machine.home / "other").read_text() == "guest\n"


def test_without_a_terminal_nothing_is_applied_unasked(machine):
    machine.attempt("echo x >new")
    assert "-y applies without asking" in machine("apply", "t", status=125)
    assert not (machine.home / "new").exists()


def test_a_hard_link_made_inside_is_one_file_when_it_is_applied(machine):
    machine.attempt("echo x >one; ln one two; ln keep kept")
    machine("apply", "-y", "t", machine.home)
    assert (machine.home / "one").samefile(machine.home / "two")
    assert (machine.home / "kept").read_text() == "kept\n"


def test_modes_times_links_and_odd_names_arrive(machine):
    script = r"""umask 0; echo x >'new
line'; chmod 751 'new
line'; echo x >keep; touch -d @1000000000.5 keep; mkdir -m 2770 d
ln -s nowhere d/link; mkfifo d/pipe; printf x >"$(printf 'caf\351')"; cp -a keep copy"""
    machine.attempt(script)
    machine("apply", "-y", "t", machine.home)
    home = machine.home
    assert stat.S_IMODE((home / "new\nline").stat().st_mode) == 0o751
    assert (home / "keep").stat().st_mtime_ns == (home / "copy").stat().st_mtime_ns == 1_000_000_000_500_000_000
    assert os.readlink(home / "d/link") == "nowhere"
    assert stat.S_ISFIFO((home / "d/pipe").lstat().st_mode)
    assert stat.S_IMODE((home / "d").stat().st_mode) & 0o777 == 0o770
    assert os.path.exists(os.fsencode(home) + b"/caf\xe9")


# -- what is said -----------------------------------------------------------------------------------


def test_a_try_ends_with_what_it_changed_and_what_can_be_done(machine):
    said = machine.attempt("echo x >new; rm keep")
    assert said.splitlines()[-1] == "int80 diff t, int80 apply t, int80 discard t"
    assert "new" in said and "keep" in said


def test_a_try_that_changes_nothing_says_so(machine):
    said = machine.attempt("cat keep; ls -lR >/dev/null; test -w keep")
    assert said.startswith("kept\n")
    assert "int80 apply" not in said
    assert "nothing to apply" in machine("apply", "-y", "t")


def test_the_commands_status_is_the_trys(machine):
    machine.attempt("echo x >new; exit 3", status=3)
    assert "new" in machine("diff", "t")


def test_a_try_is_run_on_and_what_was_applied_is_its_start(machine):
    machine.attempt("echo one >>keep")
    assert machine.attempt("cat keep; echo two >>keep").startswith("kept\none\n")
    machine("apply", "-y", "t", machine.home)
    assert (machine.home / "keep").read_text() == "kept\none\ntwo\n"
    assert machine.attempt("echo three >>keep; cat keep").startswith("kept\none\ntwo\nthree\n")
    machine("apply", "-y", "t", machine.home)
    assert (machine.home / "keep").read_text() == "kept\none\ntwo\nthree\n"


def test_a_file_changed_here_after_it_was_applied_is_seen_inside_as_the_try_left_it(machine):
    machine.attempt("echo one >new")
    machine("apply", "-y", "t", machine.home)
    (machine.home / "new").write_text("changed here\n")
    assert machine.attempt("cat new; echo two >>new").startswith("one\n")
    assert "refused" in machine("apply", "-y", "t", machine.home, status=1)
    assert (machine.home / "new").read_text() == "changed here\n"


def test_tries_are_listed_with_what_they_are(machine):
    machine.attempt("echo x >new", name="first")
    machine.attempt("true", name="second")
    lines = machine("try", "--list").splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "first", "second"]
    assert "'echo x >new' 1 " in re.sub(" +", " ", lines[1])
    machine("discard", "first", "second")
    assert machine("try", "--list") == "no tries\n"


def test_secrets_are_not_in_a_try(machine):
    (machine.home / ".ssh").mkdir()
    (machine.home / ".ssh/id").write_text("secret\n")
    assert machine.attempt("ls -A; cat .ssh/id 2>/dev/null; true").split()[0] == "keep"
    machine.attempt("mkdir .ssh; echo mine >.ssh/config", name="u")
    machine("apply", "-y", "u", machine.home)
    assert (machine.home / ".ssh/id").read_text() == "secret\n"
