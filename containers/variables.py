"""The variables that a person gives a command: `--env` and `--env-file`, in docker's habit."""

from __future__ import annotations

import os
from collections.abc import Sequence

from containers.status import CannotRun


def variables(files: Sequence[str], items: Sequence[str]) -> dict[str, str]:
    """Those of the files' lines, then of `items`: NAME=VALUE, or NAME to pass one's own on; ``#`` begins a comment of a file's.

    `CannotRun` names the option and what is wrong.
    """
    env: dict[str, str] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError as problem:
            raise CannotRun(f"--env-file {path}: {problem.strerror.lower()}") from None
        for number, line in enumerate(lines, 1):
            text = line.lstrip()
            if text and not text.startswith("#"):
                name = text.partition("=")[0]
                if not _set(env, text) or any(char.isspace() for char in name):
                    raise CannotRun(f"--env-file {path}: line {number} is no variable; write NAME=VALUE")
    for item in items:
        if not _set(env, item):
            raise CannotRun(f"--env {item}: give NAME=VALUE, or NAME to pass yours on")
    return env


def _set(env: dict[str, str], item: str) -> bool:
    """Whether an item is a variable; it is set then, unless it is to be passed on and is not there."""
    name, equals, value = item.partition("=")
    if not name or "\0" in item:
        return False
    if equals or name in os.environ:
        env[name] = value if equals else os.environ[name]
    return True
