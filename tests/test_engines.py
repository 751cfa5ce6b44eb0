"""podman with int80 as its runtime, as docs/engines.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from runtimes import INT80, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("podman") is None or os.geteuid() != 0, reason="podman, as root, is what this is about"),
]

_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "int80"
runtime_supports_json = ["int80"]
runtime_supports_nocgroup = ["int80"]
[engine.runtimes]
int80 = ["{program}"]
"""


class Podman:
    """podman with its storage in a directory, and an image `localhost/bb` made of a root."""

    def __init__(self, place, root) -> None:
        program = place / "int80"
        program.write_text(f'#!/bin/sh\nexec {" ".join(INT80)} "$@"\n')
        program.chmod(0o755)
        (place / "containers.conf").write_text(_CONFIGURATION.format(program=program))
        self._env = os.environ | {"CONTAINERS_CONF": str(place / "containers.conf")}
        self._command = ["podman", "--root", str(place / "root"), "--runroot", str(place / "run"), "--tmpdir", str(place / "tmp"),
                         "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]  # fmt: skip
        with tarfile.open(place / "root.tar", "w") as archive:
            archive.add(root, ".")
        made = self("import", str(place / "root.tar"), "localhost/bb")
        if made.returncode:
            pytest.skip(f"podman does not work here: {made.stderr}")

    def __call__(self, *words: str, **more) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*self._command, *words], env=self._env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **more
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def status(self, name: str) -> str:
        return self.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name).strip()


@pytest.fixture
def podman(root):
    place = Path(tempfile.mkdtemp(prefix="engine-"))  # podman takes no long name for what is in it
    try:
        made = Podman(place, root)
        yield made
        made.ok("rm", "--all", "--force")
    finally:
        shutil.rmtree(place)


def test_podman_runs_a_command_and_has_its_output_and_status(podman):
    done = podman("run", "--rm", "--network", "none", "localhost/bb", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/etc", 126)])
def test_podman_knows_what_cannot_be_run(podman, command, status):
    assert podman("run", "--rm", "--network", "none", "localhost/bb", command).returncode == status


def test_podman_execs_into_logs_pauses_stops_and_removes_a_container(podman):
    script = "trap 'echo told; exit 9' TERM; echo started; while :; do sleep 0.1; done"
    podman.ok("run", "-d", "--name", "one", "--network", "none", "localhost/bb", "sh", "-c", script)
    eventually(lambda: podman.ok("logs", "one") == "started\n")
    done = podman("exec", "one", "sh", "-c", "echo inside; exit 4")
    assert (done.stdout, done.returncode) == ("inside\n", 4)
    assert podman.ok("exec", "-t", "one", "tty").startswith("/dev/pts/")
    podman.ok("pause", "one")
    assert podman.status("one") == "paused 0"
    podman.ok("unpause", "one")
    podman.ok("stop", "-t", "60", "one")
    assert podman.status("one") == "exited 9"
    assert podman.ok("logs", "one") == "started\ntold\n"
    podman.ok("start", "one")
    podman.ok("kill", "one")
    eventually(lambda: podman.status("one") == "exited 137")
    podman.ok("rm", "one")
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_podman_does_without_control_groups(podman):
    assert podman.ok("run", "--rm", "--network", "none", "--cgroups", "disabled", "localhost/bb", "echo", "here") == "here\n"
