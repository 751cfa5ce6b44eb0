"""What int80 has to say while a program runs.  The standard error may be full or closed, which must not end the program."""

from __future__ import annotations

import contextlib
import os


def say(message: str) -> None:
    """One line for a person, on the standard error if that can be written to."""
    with contextlib.suppress(OSError):
        os.write(2, f"int80: {message}\n".encode(errors="surrogateescape"))
