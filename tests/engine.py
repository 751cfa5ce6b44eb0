"""What the tests of containers share: the command with a store of its own, and what is left of it at the end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest import pids_with
from runtimes import eventually

PATIENCE = 60  # seconds until a test gives up


class Engine:
    """`int80 ...` with a store of its own; `root` is a busybox root that containers lie over."""

    def __init__(self, command: list[str], place: Path, root: Path) -> None:
        self.command = command
        self.place = place
        self.root = root
        self.env = {**os.environ, "XDG_DATA_HOME": str(place), "XDG_CACHE_HOME": str(place / "cache")}

    def __call__(self, *words: str, stdin: bytes = b"", check: bool = True):
        """Run a command; a CompletedProcess with text, whose status is 0 unless `check` is False."""
        done = subprocess.run([*self.command, *words], input=stdin, capture_output=True, env=self.env, timeout=PATIENCE)
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        if check:
            assert done.returncode == 0, (words, done.stderr)
        return done

    def start(self, *words: str, **more) -> subprocess.Popen:
        return subprocess.Popen([*self.command, *words], env=self.env, **more)

    def run(self, *words: str, options: tuple[str, ...] = ("-d",), **more):
        """`int80 run OPTIONS --lower ROOT -- WORDS`."""
        return self("run", *options, "--lower", str(self.root), "--", *words, **more)

    def state(self, name: str) -> dict:
        return json.loads(self("inspect", name).stdout)[0]["State"]

    def inspect(self, name: str) -> dict:
        return json.loads(self("inspect", name).stdout)[0]

    def names(self, *options: str) -> list[str]:
        return self("ps", *options, "--format", "{{.Names}}").stdout.split()

    def logs(self, name: str) -> str:
        return self("logs", name).stdout

    def until(self, condition: Callable[[], object]):
        """Wait for what becomes true sooner or later."""
        return eventually(condition)

    def until_logs(self, name: str, text: str) -> None:
        self.until(lambda: text in self.logs(name))

    @property
    def directories(self) -> list[str]:
        place = self.place / "int80/containers"
        return os.listdir(place) if place.is_dir() else []

    def processes(self) -> list[int]:
        """Those that have this store in their environment or command line."""
        return [pid for pid in pids_with(str(self.root)) if pid != os.getpid()]

    def close(self) -> None:
        """Remove every container, and see that nothing of them is left."""
        names = self("ps", "-aq", "--no-trunc", check=False).stdout.split()
        if names:
            self("rm", "-f", *names, check=False)
        self.until(lambda: not self.processes())
        assert self.directories == []
