"""What int80 has to say while a program runs.  The standard error may be full or closed, which must not end the program."""

from __future__ import annotations

import os


def say(message: str) -> None:
    """One line for a person, on the standard error if that can be written to."""
    try:
        os.write(2, f"int80: {message}\n".encode(errors="surrogateescape"))
    except OSError:
        pass
