"""What the forms for a person share: how rich is run, the colour of each class of calls, durations in words."""

from __future__ import annotations

import os

STYLES = {
    "file": "color(33)", "desc": "color(37)", "process": "color(170)", "memory": "color(103)", "network": "color(34)",
    "signal": "color(166)", "ipc": "color(99)", "time": "color(136)", "other": "default",
}  # fmt: skip
"""The colour of each class of calls, as rich names it; to be read on dark backgrounds and on light ones."""


def duration(seconds: float) -> str:
    """A duration as a person says it: ``12 µs``, ``3.4 ms``, ``1.25 s``, ``2 min 05 s``."""
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def drawn(renderable, fd: int, pretty: bool) -> bytes:
    """What rich makes of it: for the terminal `fd`, or plain, without blanks at the ends and as wide as it needs to be."""
    from io import StringIO

    from rich.console import Console

    width = 10_000
    if os.isatty(fd):
        width = os.get_terminal_size(fd).columns or 80
    file = StringIO()
    console = Console(
        file=file, width=width, force_terminal=pretty, no_color=not pretty, highlight=False, emoji=False, markup=False,
        color_system="auto" if pretty else None,
    )  # fmt: skip
    console.print(renderable)
    text = file.getvalue()
    if not pretty:
        text = "".join(line.rstrip() + "\n" for line in text.splitlines())
    return text.encode("utf-8", "backslashreplace")
