"""OCI runtimes as the tests use them: bundles, and the commands of one runtime on one directory of containers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

REPO = Path(__file__).resolve().parent.parent
_INSTALLED = Path(sys.executable).with_name("int80")
#: The command: where it is installed it starts quicker than a script that is compiled each time.
INT80 = [str(_INSTALLED)] if _INSTALLED.exists() else [sys.executable, str(REPO / "runner.py")]

#: Become the subreaper, give commands to a runtime as an engine's monitor does, and tell how the container's process ends.
ENGINE = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
runtime, pid_file, name = sys.argv[1].split("\\x1f"), sys.argv[2], sys.argv[3]
for words in (part.split("\\x1f") for part in sys.argv[4:]):
    subprocess.run([*runtime, *words], check=True, stdin=-3, stdout=-3, stderr=-3)  # DEVNULL: the container may stay
print(os.waitpid(int(open(pid_file).read()), 0)[1])
"""


class Bundle:
    """A directory with a rootfs and a config.json, which is `config` and is written by `write`."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.root = root
        self.config: dict = {
            "ociVersion": "1.2.0",
            "process": {
                "args": ["sleep", "1000"], "cwd": "/", "user": {"uid": 0, "gid": 0},
                "env": ["PATH=/bin", "HOME=/", "INSIDE=yes"],
            },
            "root": {"path": str(root)},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            ],
            "linux": {"namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts", "network")]},
        }  # fmt: skip
        self.write()

    def write(self) -> Bundle:
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self

    def runs(self, *args: str) -> Bundle:
        """Have the container's process be this command."""
        self.config["process"]["args"] = list(args)
        return self.write()

    def hook(self, phase: str, script: str, **more) -> Bundle:
        """One more hook, a shell script of the host's (of the container's, for startContainer)."""
        hooks = self.config.setdefault("hooks", {}).setdefault(phase, [])
        hooks.append({"path": "/bin/sh", "args": ["sh", "-c", script], **more})
        return self.write()


class Runtime:
    """The commands of one runtime, whose containers are in one directory."""

    def __init__(self, place: Path, command: list[str] = INT80) -> None:
        self.containers = place / "containers"
        self.command = [*command, "--root", str(self.containers)]

    def __call__(self, *words: str, options: tuple[str, ...] = (), stdin: bytes = b"", **more) -> subprocess.CompletedProcess:
        """Run one command to its end. Its output goes to files: a container it leaves may have them, too."""
        with TemporaryFile() as out, TemporaryFile() as err:
            done = subprocess.run([*self.command, *options, *words], input=stdin, stdout=out, stderr=err, timeout=60, **more)
            out.seek(0)
            err.seek(0)
            done.stdout, done.stderr = out.read().decode(), err.read().decode()
        return done

    def ok(self, *words: str, **more) -> str:
        """Run a command that is to succeed, in silence but for its output."""
        done = self(*words, **more)
        assert (done.returncode, done.stderr) == (0, ""), (words, done)
        return done.stdout

    def fails(self, *words: str, **more) -> str:
        """Run a command that is to fail with one line; that."""
        done = self(*words, **more)
        assert done.returncode in (1, 255) and done.stderr.count("\n") == 1, (words, done)
        return done.stderr.removeprefix("int80: ").rstrip("\n")

    def state(self, name: str) -> dict:
        return json.loads(self.ok("state", name))

    def status(self, name: str) -> str:
        return self.state(name)["status"]

    def pids(self, name: str) -> list[int]:
        return json.loads(self.ok("ps", "--format", "json", name))

    def up(self, name: str, bundle: Bundle) -> dict:
        """Create and start a container; its state."""
        self.ok("create", "--bundle", str(bundle.path), name)
        self.ok("start", name)
        return self.state(name)

    def engine(self, name: str, *commands: tuple[str, ...], pid_file: Path, **more) -> subprocess.CompletedProcess:
        """Run commands as the reaper of what they leave; its output ends with the wait status of the process in `pid_file`."""
        words = ["\x1f".join(part) for part in (self.command, *commands)]
        command = [sys.executable, "-c", ENGINE, words[0], str(pid_file), name, *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)

    def clear(self) -> None:
        """Delete what a test has left."""
        for name in os.listdir(self.containers) if self.containers.exists() else []:
            self("delete", "--force", name)


def gone(pids: list[int], patience: float = 20) -> bool:
    """Whether processes come to their end; zombies have."""
    until = time.monotonic() + patience
    while any(alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(check, patience: float = 60):
    """Wait for what becomes true sooner or later; what `check` gives once it is."""
    until = time.monotonic() + patience
    while not (found := check()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)
    return found


def read_until(fd: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        part = os.read(fd, 4096)
        assert part, seen
        seen += part
    return seen


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
