"""A process for a running container: what `exec` asks for, as the sandbox is asked to launch it."""

from __future__ import annotations

from collections.abc import Callable

from containers.oci.config import Process
from containers.oci.settings import process_of
from containers.sandbox import Running, home


def launch(
    running: Running, process: Process, streams: tuple[int, int, int] | None, tty: int | None, more: tuple[int, ...],
    ended: Callable[[int], None],
) -> int:  # fmt: skip
    """Launch a process with these streams, or this terminal, and further descriptors; its pid.  `CannotRun`, `ConfigError`."""
    command = process_of(process)
    if b"HOME" not in command.env:
        command.env[b"HOME"] = home(running.sandbox.namespace, command.credentials.uid)
    return running.execute(
        command.argv, command.env, command.workdir, command.credentials, streams, tty, ended, command.attributes, command.umask,
        command.no_new_privs, more,
    )  # fmt: skip
