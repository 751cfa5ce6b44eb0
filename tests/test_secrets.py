"""What of this machine a guest on its root does not see, unless somebody says that it may."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from containers import secrets


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home directory with secrets, with all that int80 keeps somewhere below the test's own directory."""
    place = tmp_path / "home"
    for name in (".ssh/id_rsa", ".ssh/known_hosts", ".aws/credentials", ".netrc", ".bash_history", ".docker/config.json", "file"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"of {name}\n")
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    secrets._real_directory.cache_clear()
    return place


@pytest.fixture
def shell(int80, home):
    """Runs a script by the shell of this machine, on its root, in the home directory; its output."""

    def run(script: str, *options: str) -> str:
        command = [*int80, "run", "-w", str(home), *options, "--", "/bin/sh", "-c", script]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, start_new_session=True, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


def hidden(path: Path, *, hide=(), expose=()) -> bool:
    """Whether the list has a path, or a directory that it lies in."""
    paths = [Path(os.fsdecode(one)) for one in secrets.hidden(hide, expose)]
    return any(one in (path, *path.parents) for one in paths)


# -- the list ---------------------------------------------------------------------------------------


def test_the_usual_secrets_of_every_home_are_on_the_list(home):
    for name in (".ssh/id_rsa", ".gnupg", ".aws/credentials", ".netrc", ".docker/config.json", ".mozilla", ".bash_history"):
        assert hidden(home / name)
        assert hidden(Path("/root") / name)
    for name in ("file", ".bashrc", ".config", ".docker", ".local/share"):
        assert not hidden(home / name)


def test_the_systems_secrets_and_int80s_own_stores_are_on_the_list(home, tmp_path):
    for name in ("/etc/shadow", "/etc/sudoers", "/etc/ssl/private/key", f"/run/user/{os.getuid()}/bus"):
        assert hidden(Path(name).parent.resolve() / Path(name).name)
    assert hidden(tmp_path / "cache/int80/scratch")
    assert hidden(tmp_path / "data/int80/tries/one")
    assert not hidden(Path("/etc/passwd"))


def test_what_is_exposed_is_seen_with_all_in_it(home):
    assert not hidden(home / ".ssh/id_rsa", expose=[str(home / ".ssh")])
    assert not hidden(home / ".ssh/id_rsa", expose=["~/.ssh"])
    assert not hidden(home / ".ssh/id_rsa", expose=["/"])
    assert hidden(home / ".aws/credentials", expose=[str(home / ".ssh")])
    assert hidden(home / ".ssh/id_rsa", expose=[str(home / ".ss")])


def test_a_part_of_a_secret_can_be_exposed_alone(home):
    expose = [str(home / ".ssh/known_hosts")]
    assert not hidden(home / ".ssh/known_hosts", expose=expose)
    assert not hidden(home / ".ssh", expose=expose)
    assert hidden(home / ".ssh/id_rsa", expose=expose)


def test_more_can_be_hidden_and_what_is_exposed_wins(home):
    assert hidden(home / "file", hide=["~/file"])
    assert hidden(home / "file", hide=[str(home)])
    assert not hidden(home / "file", hide=["~/file"], expose=[str(home)])


def test_relative_paths_are_of_where_int80_runs(home, monkeypatch):
    monkeypatch.chdir(home)
    assert hidden(home / "file", hide=["./file"])
    assert not hidden(home / ".netrc", expose=[".netrc"])


def test_a_home_behind_a_symlink_is_hidden_where_it_is(home, monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to("home")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert hidden(home / ".ssh/id_rsa")
    assert not hidden(home / ".ssh/id_rsa", expose=["~/.ssh"])


def test_a_secret_that_is_a_symlink_is_hidden_where_it_leads(home, tmp_path):
    (home / ".ssh").rename(tmp_path / "keys")
    (home / ".ssh").symlink_to("../keys")
    assert hidden(tmp_path / "keys/id_rsa")
    assert hidden(home / ".ssh")
    assert not hidden(tmp_path / "keys/id_rsa", expose=["~/.ssh"])


def test_a_symlink_to_a_whole_home_hides_only_itself(home):
    (home / ".gnupg").symlink_to(".")
    assert hidden(home / ".gnupg")
    assert not hidden(home / "file")


# -- the environment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "PGPASSWORD", "MYSQL_PWD", "db_passwd", "OPENAI_API_KEY",
     "STRIPE_KEY", "GITHUB_PAT", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS",
     "XDG_RUNTIME_DIR", "XAUTHORITY", "GOOGLE_APPLICATION_CREDENTIALS", "KRB5CCNAME", "NPM_CONFIG__AUTH"],
)  # fmt: skip
def test_variables_that_hold_or_lead_to_secrets_are_not_passed_on(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert name.encode() not in secrets.harmless_environment()


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "PWD", "OLDPWD", "EDITOR", "KEYBOARD", "TERM"])
def test_other_variables_are_passed_on(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert secrets.harmless_environment()[name.encode()] == b"x"


def test_a_password_in_a_url_is_a_secret_whatever_the_variable_is_called(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://me:hunter2@host/db")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128/")
    environment = secrets.harmless_environment()
    assert b"DATABASE_URL" not in environment
    assert b"HTTP_PROXY" in environment


def test_a_variable_asked_for_is_passed_on(shell, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert shell('echo "[$MY_TOKEN]"') == "[]\n"
    assert shell('echo "[$MY_TOKEN]"', "-e", "MY_TOKEN") == "[secret]\n"


# -- inside -----------------------------------------------------------------------------------------


def test_inside_secrets_are_neither_listed_nor_opened(shell):
    assert shell("ls -A; ls -A .docker").split() == [".docker", "file"]
    tries = "cat .ssh/id_rsa; cat .netrc; ls .aws; cd .ssh; test -e .ssh && echo there; stat .netrc"
    assert shell(f"({tries}) 2>&1 | grep -v 'No such file\\|t cd to' ; true") == ""
    assert shell("find . | sort") == ".\n./.docker\n./file\n"


def test_inside_no_other_name_leads_to_a_secret(shell, home, tmp_path):
    (tmp_path / "link").symlink_to("home")
    (tmp_path / "direct").symlink_to("home/.ssh")
    names = [tmp_path / "link/.ssh/id_rsa", tmp_path / "direct/id_rsa", f"/proc/self/root{home}/.ssh/id_rsa",
             "/proc/self/cwd/.ssh/id_rsa", f"{home}/.docker/../.ssh/id_rsa", f"{home}//.ssh/./id_rsa"]  # fmt: skip
    assert shell("; ".join(f"cat {name} 2>/dev/null" for name in names) + "; true") == ""


def test_inside_what_is_exposed_is_there_and_only_that(shell, home):
    assert shell("cat .ssh/id_rsa; ls -A", "--expose", "~/.ssh").split() == ["of", ".ssh/id_rsa", ".docker", ".ssh", "file"]
    assert (
        shell("ls -A .ssh; cat .ssh/known_hosts", "--expose", str(home / ".ssh/known_hosts"))
        == "known_hosts\nof .ssh/known_hosts\n"
    )
    assert shell("ls", "--hide", str(home / "file")) == ""


def test_a_file_of_that_name_made_inside_is_the_guests_own(shell, home):
    before = {path: path.read_text() for path in home.rglob("*") if path.is_file()}
    script = "mkdir .ssh && echo mine >.ssh/id_rsa && cat .ssh/*; echo x >.netrc; mv .ssh .aws; ls -A . .aws"
    script += "; rm -r .aws; mkdir .aws; ls -A .aws"
    assert shell(script).split() == ["mine", ".:", ".aws", ".docker", ".netrc", "file", ".aws:", "id_rsa"]
    assert {path: path.read_text() for path in home.rglob("*") if path.is_file()} == before


def test_a_home_that_is_moved_or_removed_inside_shows_no_secret(shell, home, tmp_path):
    script = f"cd {tmp_path} && mv home moved && find moved | sort && cp -r moved copy && ls -A copy && rm -r moved && ls"
    assert shell(script).split() == ["moved", "moved/.docker", "moved/file", ".docker", "file", "cache", "copy"]
    assert (home / ".ssh/id_rsa").exists()
