"""podman, containerd and docker with int80 as their runtime, as docs/engines.md says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import pids_with
from image_made_up import Layout
from runtimes import INT80, eventually, read_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="engines as root are what this is about"),
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


def program_in(place: Path) -> Path:
    """The command as one file, which is what engines want."""
    program = place / "int80"
    program.write_text(f'#!/bin/sh\nexec {" ".join(INT80)} "$@"\n')
    program.chmod(0o755)
    return program


class Engine:
    """An engine's command, with all that it has in a directory."""

    def __init__(self, command: list[str], **env: str) -> None:
        self._command = command
        self._env = os.environ | env

    def command(self, words: list[str]) -> list[str]:
        return [*self._command, *words]

    def __call__(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command([*words]), env=self._env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def status(self, name: str) -> str | None:
        """As podman and docker tell it."""
        return self.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name).strip()


class Served(Engine):
    """An engine with a daemon, which is started for it."""

    def start(self, place: Path, *daemon: str) -> None:
        with open(place / "log", "wb") as log:
            self._daemon = subprocess.Popen([*daemon], stdout=log, stderr=log)
        try:
            eventually(lambda: self("version").returncode == 0 or self._daemon.poll() is not None, 60)
            if self._daemon.returncode is not None:
                pytest.skip(f"{daemon[0]} does not work here: {(place / 'log').read_text()[-300:]}")
            self.fill(place)
        except BaseException:
            self.close()
            raise

    def fill(self, place: Path) -> None:
        """Make the image."""
        raise NotImplementedError

    def close(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(60)


@contextmanager
def place_for(root: Path, *programs: str):
    """A directory for what an engine has, with the root as a tar in it; skips where one of its programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    place = Path(tempfile.mkdtemp(prefix="engine-"))  # podman takes no long name for what is in it
    try:
        with tarfile.open(place / "root.tar", "w") as archive:
            archive.add(root, ".")
        yield place
    finally:
        eventually(lambda: not pids_with(str(place)))  # podman cleans up after a container by a command of its own
        shutil.rmtree(place)


class Podman(Engine):
    """podman with its storage in a directory, and an image `localhost/bb` made of a root."""

    def __init__(self, place: Path) -> None:
        (place / "containers.conf").write_text(_CONFIGURATION.format(program=program_in(place)))
        super().__init__(
            ["podman", "--root", str(place / "root"), "--runroot", str(place / "run"), "--tmpdir", str(place / "tmp"),
             "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"],
            CONTAINERS_CONF=str(place / "containers.conf"),
        )  # fmt: skip
        made = self("import", str(place / "root.tar"), "localhost/bb")
        if made.returncode:
            pytest.skip(f"podman does not work here: {made.stderr}")


@pytest.fixture
def podman(root):
    with place_for(root, "podman") as place:
        made = Podman(place)
        yield made
        made.ok("rm", "--all", "--force")


def test_podman_runs_a_command_and_has_its_output_and_status(podman):
    done = podman("run", "--rm", "--network", "none", "localhost/bb", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/etc", 126)])
def test_podman_knows_what_cannot_be_run(podman, command, status):
    assert podman("run", "--rm", "--network", "none", "localhost/bb", command).returncode == status


def test_podman_execs_into_copies_into_logs_pauses_stops_and_removes_a_container(podman, tmp_path):
    script = "trap 'echo told; exit 9' TERM; echo started; while :; do sleep 0.1; done"
    podman.ok("run", "-d", "--name", "one", "--network", "none", "localhost/bb", "sh", "-c", script)
    eventually(lambda: podman.ok("logs", "one") == "started\n")
    done = podman("exec", "one", "sh", "-c", "echo inside; exit 4")
    assert (done.stdout, done.returncode) == ("inside\n", 4)
    assert podman.ok("exec", "-t", "one", "tty").startswith("/dev/pts/")
    (tmp_path / "file").write_text("copied")
    podman.ok("cp", str(tmp_path / "file"), f"one:{tmp_path.name}")
    assert podman.ok("exec", "one", "cat", f"/{tmp_path.name}") == "copied" and not Path("/", tmp_path.name).exists()
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


_CONTAINERD = """
version = 2
root = "{place}/root"
state = "{place}/state"
[grpc]
  address = "{place}/socket"
[ttrpc]
  address = "{place}/socket.ttrpc"
"""


class Containerd(Served):
    """containerd with all it has in a directory, and an image `localhost/bb:latest` made of a root."""

    def __init__(self, place: Path) -> None:
        super().__init__(["ctr", "--address", str(place / "socket")])
        self._run = ["--runtime", "io.containerd.runc.v2", "--runc-binary", str(program_in(place)),
                     "--runc-root", str(place / "runc"), "--snapshotter", "native"]  # fmt: skip
        (place / "config.toml").write_text(_CONTAINERD.format(place=place))
        self.start(place, "containerd", "--config", str(place / "config.toml"))

    def fill(self, place: Path) -> None:
        layout = Layout(place / "layout")
        image = layout.manifest([(place / "root.tar").read_bytes()], {"Cmd": ["sh"], "Env": ["PATH=/bin"]})
        layout.add(image | {"annotations": {"io.containerd.image.name": "localhost/bb:latest"}})
        with tarfile.open(place / "image.tar", "w") as archive:
            archive.add(layout.path, ".")
        self.ok("images", "import", "--snapshotter", "native", str(place / "image.tar"))

    def run(self, options: list[str], name: str, *command: str) -> list[str]:
        """The words that run a container with int80."""
        return ["run", *self._run, *options, "localhost/bb:latest", name, *command]

    def status(self, name: str) -> str | None:
        return next((line.split()[2] for line in self.ok("tasks", "list").splitlines() if line.startswith(f"{name} ")), None)


@pytest.fixture
def containerd(root):
    with place_for(root, "ctr", "containerd") as place:
        made = Containerd(place)
        try:
            yield made
            assert made.ok("containers", "list", "--quiet") == ""
            assert [path for path in (place / "runc").glob("*/*")] == []
        finally:
            made.close()


def test_containerd_runs_a_command_and_has_its_output_and_status(containerd):
    done = containerd(*containerd.run(["--rm"], "one", "sh", "-c", "echo out; echo err >&2; exit 3"))
    assert (done.stdout, done.returncode) == ("out\n", 3)
    assert "err\n" in done.stderr
    assert 'exec: "nosuch": executable file not found in $PATH' in containerd(*containerd.run(["--rm"], "two", "nosuch")).stderr


def test_containerd_execs_into_pauses_signals_and_deletes_a_task(containerd):
    containerd.ok(*containerd.run(["-d"], "one", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done"))
    assert containerd.status("one") == "RUNNING"
    done = containerd("tasks", "exec", "--exec-id", "beside", "one", "sh", "-c", "echo inside; exit 4")
    assert (done.stdout, done.returncode) == ("inside\n", 4)
    containerd.ok("tasks", "pause", "one")
    assert containerd.status("one") == "PAUSED"
    containerd.ok("tasks", "resume", "one")
    assert len(containerd.ok("tasks", "ps", "one").splitlines()) > 1
    containerd.ok("tasks", "kill", "--signal", "TERM", "one")
    eventually(lambda: containerd.status("one") == "STOPPED")
    assert "non-zero exit code 9" in containerd("tasks", "delete", "one").stderr
    containerd.ok("containers", "delete", "one")


def test_containerd_gives_a_terminal(containerd):
    master, slave = os.openpty()
    words = containerd.run(["--rm", "-t"], "one", "sh", "-c", "tty; read line; echo got $line; exit 5")
    client = subprocess.Popen(containerd.command(words), stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    read_until(master, b"/dev/pts/")
    os.write(master, b"this\n")
    read_until(master, b"got this")
    assert client.wait(60) == 5
    os.close(master)


_IPV6 = sorted(Path("/proc/sys/net/ipv6/conf").glob("*/disable_ipv6"))


class Docker(Served):
    """dockerd with all it has in a directory, int80 as its runtime, and an image `bb` made of a root."""

    def __init__(self, place: Path) -> None:
        socket = f"unix://{place}/docker.sock"
        (place / "daemon.json").write_text(json.dumps({
            "runtimes": {"int80": {"path": str(program_in(place))}}, "default-runtime": "int80", "storage-driver": "vfs",
            "data-root": str(place / "root"), "exec-root": str(place / "exec"), "pidfile": str(place / "pid"), "hosts": [socket],
            "bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False,
        }))  # fmt: skip
        super().__init__(["docker"], DOCKER_HOST=socket, DOCKER_CONFIG=str(place))
        self.start(place, "dockerd", "--config-file", str(place / "daemon.json"))

    def fill(self, place: Path) -> None:
        self.ok("import", "--change", "ENV PATH=/bin", str(place / "root.tar"), "bb")


@pytest.fixture
def docker(root):
    with place_for(root, "docker", "dockerd") as place:
        made = Docker(place)
        try:
            yield made
            assert made.ok("ps", "--all", "--quiet") == ""
        finally:
            made.close()


def test_docker_runs_execs_into_logs_pauses_stops_and_removes(docker):
    before = {path: path.read_text() for path in _IPV6}
    done = docker("run", "--rm", "--network", "none", "bb", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert {path: path.read_text() for path in _IPV6} == before, "docker sets up the container's network"
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
    script = "trap 'echo told; exit 9' TERM; echo started; while :; do sleep 0.1; done"
    docker.ok("run", "-d", "-t", "--name", "one", "--network", "none", "bb", "sh", "-c", script)
    eventually(lambda: docker.ok("logs", "one") == "started\n")
    done = docker("exec", "one", "sh", "-c", "echo inside; exit 4")
    assert (done.stdout, done.returncode) == ("inside\n", 4)
    docker.ok("pause", "one")
    assert docker.status("one") == "paused 0"
    docker.ok("unpause", "one")
    docker.ok("stop", "--time", "60", "one")
    assert docker.status("one") == "exited 9"
    assert docker.ok("logs", "one") == "started\ntold\n"
    docker.ok("rm", "one")
