"""Which containers a word is about that is both an OCI runtime's and an everyday one."""

from __future__ import annotations

import pytest

from containers import words
from containers.engine.record import Store
from containers.oci.state import Registry


@pytest.fixture
def stores(tmp_path, monkeypatch) -> tuple[Registry, Store]:
    """A runtime's container `bundled`, and one that is kept, `kept`."""
    monkeypatch.setattr("containers.oci.state.default_root", lambda: str(tmp_path / "run"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    registry, store = Registry(str(tmp_path / "run")), Store()
    registry.claim("bundled", {"status": "created", "pid": 0}).close()
    store.create("kept", {"status": "created", "pid": 0, "auto_remove": False, "created": ""}).close()
    return registry, store


@pytest.mark.parametrize("given", [
    ("start", "bundled"), ("kill", "bundled", "KILL"), ("kill", "-s", "9", "bundled"), ("ps", "bundled"),
    ("ps", "-f", "json", "bundled"), ("exec", "-it", "bundled", "sh"), ("exec", "-e", "A=kept", "bundled", "sh"),
    ("exec", "-ite", "A=b", "bundled"),
    ("exec", "--process", "file", "bundled"), ("exec", "--env=kept", "--", "bundled", "sh"), ("pause", "bundled"),
])  # fmt: skip
def test_a_runtimes_container_makes_it_a_runtimes_command(stores, given):
    assert words.name_bundle_container(given[0], list(given[1:]))


@pytest.mark.parametrize("given", [
    ("start", "kept"), ("start", "nosuch"), ("kill", "kept", "bundled"), ("ps",), ("ps", "-a"), ("ps", "--filter", "bundled"),
    ("exec", "kept", "bundled"), ("exec", "-e", "bundled", "kept"), ("exec", "-u", "bundled", "nosuch"), ("start", "no/name"),
    ("pause",),
])  # fmt: skip
def test_anything_else_is_everyday(stores, given):
    assert not words.name_bundle_container(given[0], list(given[1:]))


def test_some_words_are_about_containers_only_where_there_is_one(stores):
    assert words.name_kept_container("diff", ["--stat", "kept"])
    assert words.name_kept_container("commit", ["-m", "nosuch", "kept", "image"])
    assert words.name_kept_container("export", ["-o", "nosuch", "kept"])
    assert not words.name_kept_container("diff", ["nosuch"])
    assert not words.name_kept_container("commit", ["/some/dir", "kept"])


def test_what_follows_the_id_of_a_runtimes_kill_is_no_container(engine):
    """Though an id may begin with 9; the runtime's own container is gone."""
    identity = engine.run("sleep", "1000", options=("-d",)).stdout.strip()
    done = engine("kill", "f" * 64, identity[0], check=False)
    assert done.returncode == 125 and "does not exist" in done.stderr
    assert engine("ps", "-q", "--no-trunc").stdout.strip() == identity


def test_a_runtimes_options_make_it_a_runtimes_command(engine, tmp_path):
    engine.run("sleep", "1000", options=("-d", "--name", "kept"))
    done = engine("--root", str(tmp_path / "run"), "kill", "kept", check=False)
    assert done.returncode == 1 and "container does not exist" in done.stderr
    assert engine.names() == ["kept"]
