"""What the runtime commands have to say: a line for a person, and the same where `--log` wants it, as runc writes it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

from abi.messages import show


class Log:
    """Messages of one command and its monitor.

    Errors go to the standard error in any case, the rest only where no file is given; as JSON where that is asked for and no
    file is given.  `ValueError` for a file that cannot be written.
    """

    def __init__(self, path: str | None = None, as_json: bool = False, debug: bool = False) -> None:
        self._json = as_json
        self.debugs = debug
        self._file: int | None = None
        self.quiet = False  # whether the standard error is somebody else's by now
        if path:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as problem:
                raise ValueError(f"--log {path}: {problem.strerror.lower()}") from None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What is open for it."""
        return () if self._file is None else (self._file,)

    def error(self, message: str) -> None:
        self._write("error", message)
        if not self.quiet and (self._file is not None or not self._json):
            show(message)

    def warning(self, message: str) -> None:
        self._write("warning", message)
        if self._file is None and not self.quiet and not self._json:
            show(f"warning: {message}")

    def debug(self, message: str) -> None:
        if self.debugs:
            self._write("debug", message)
            if self._file is None and not self.quiet and not self._json:
                show(message)

    def _write(self, level: str, message: str) -> None:
        if self._file is None and (self.quiet or not self._json):
            return
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._json:
            line = json.dumps({"level": level, "msg": message, "time": time})
        else:
            line = f"time={json.dumps(time)} level={level} msg={json.dumps(message)}"
        try:
            os.write(2 if self._file is None else self._file, f"{line}\n".encode())
        except OSError:
            pass  # as with the standard error: nothing ends because nobody can be told
