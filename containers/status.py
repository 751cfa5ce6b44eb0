"""How a command ended, and why one cannot run."""

from __future__ import annotations

import os
import select


def exit_status(status: int) -> int:
    """A wait status as a shell gives it: 128+N after signal N."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def silence_unread() -> bool:
    """Whether standard output or error is a pipe that nobody reads any more; what is buffered for it then goes nowhere."""
    poll = select.poll()
    for fd in (1, 2):
        poll.register(fd, 0)
    gone = [fd for fd, events in poll.poll(0) if events & select.POLLERR]
    for fd in gone:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, fd)
        os.close(null)
    return bool(gone)


class CannotRun(Exception):
    """A sandbox that cannot start; the message is one line for a person, `status` the exit status."""

    def __init__(self, message: str, status: int = 125) -> None:
        super().__init__(message)
        self.status = status


class CannotExecute(CannotRun):
    """A command that cannot be run, by the error of finding it: `command` as it was given, `number` an errno."""

    def __init__(self, message: str, status: int, command: bytes, number: int) -> None:
        super().__init__(message, status)
        self.command = command
        self.number = number


class CannotEnter(CannotRun):
    """A working `directory` that cannot be one; `reason` is the error's text."""

    def __init__(self, directory: bytes, reason: str) -> None:
        super().__init__(f"--workdir {os.fsdecode(directory)}: {reason} in the root")
        self.directory = directory
        self.reason = reason
