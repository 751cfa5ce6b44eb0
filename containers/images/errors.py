"""What goes wrong with images, as one line for a person."""

from __future__ import annotations

import errno
import os
import sys

from containers.status import CannotRun


class ImageError(CannotRun):
    """An image that cannot be had, read or kept; the message says what is wrong and what to do."""


class NotFound(ImageError):
    """There is no such image, or no such part of one."""


def of_system(where: object, problem: OSError) -> ImageError:
    """The line for a failure of the file system."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImageError(f"{where}: the disk is full; free some space, or set XDG_DATA_HOME to keep images elsewhere")
    return ImageError(f"{where}: {(problem.strerror or str(problem)).lower()}")


def interrupted(fetching: bool = True):
    """End at once and never return, without waiting for threads that fetch: what has come so far is kept for the next time."""
    sys.stderr.write(f"int80: interrupted{'; what has come so far is kept for the next time' if fetching else ''}\n")
    sys.stderr.flush()
    os._exit(130)


def shown(text: str | bytes) -> str:
    """Something from outside as it may be printed: no control characters, and not too much."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 200 else text[:197] + "..."
