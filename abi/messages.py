"""What int80 has to say while a program runs.  The standard error may be full or closed, which must not end the program."""

from __future__ import annotations

import os
from collections.abc import Callable

_listener: Callable[[str], None] | None = None


def tell(listener: Callable[[str], None]) -> None:
    """Have what is to be said told to `listener`, where the standard error is not int80's."""
    global _listener
    _listener = listener


def say(message: str) -> None:
    """One line for a person, on the standard error if that can be written to."""
    if _listener is not None:
        _listener(message)
    else:
        show(message)


def show(message: str) -> None:
    """The same, whoever listens: for a listener itself."""
    try:
        os.write(2, f"int80: {message}\n".encode(errors="surrogateescape"))
    except OSError:
        pass
