"""`commit` and `export` of a container: what it has made of its root, as an image or as a tar."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from containers.engine import commands, copying
from containers.engine.client import ask
from containers.engine.record import Record
from containers.status import CannotRun


def commit(record: Record, name: str | None, changes: dict, message: str | None, author: str | None, pause: bool) -> str:
    """Make an image of a container's root; its id.  `CannotRun`."""
    from containers.images.commit import Upper
    from containers.images.commit import commit as make
    from containers.images.progress import shown
    from containers.images.store import Store

    data = record.data
    if data["upper"] is None or not os.path.isdir(data["upper"]):
        raise CannotRun(f"{record.name}: it has made no changes that could be committed; its root is {data['root']}")
    lowers = [] if data["digest"] is not None else data["root"]
    if "/" in lowers:
        raise CannotRun(f"{record.name}: it lies over this machine's root, which is no image; `int80 export` writes it as a tar")
    with _held(record, pause) as still, shown() as progress:
        image = make(Store(), Upper(data["upper"], still), lowers, name, _config(record) | changes, message, author, progress)
    return image.id


def _config(record: Record) -> dict:
    """What a container was told beside its image, as an image config has it."""
    data = record.data
    config: dict = {"Labels": data["labels"]} if data["labels"] else {}
    if data["digest"] is None:
        config |= {
            "Cmd": data["command"], "WorkingDir": data["workdir"],
            "Env": [f"{name}={value}" for name, value in data["env"].items() if name in ("PATH", *data["given"])],
        }  # fmt: skip
    elif data["given"]:
        config["Env"] = [f"{name}={data['env'][name]}" for name in data["given"]]
    return config


@contextlib.contextmanager
def _held(record: Record, pause: bool) -> Iterator[bool]:
    """Have a container's files stay as they are; whether that is because it was paused, or may be trusted to change little."""
    if not record.is_live():
        record.lock()
        yield False
        return
    paused = pause and record.status() == "running"
    if paused:
        ask(record, {"do": "pause"})
    try:
        yield True
    finally:
        if paused:
            ask(record, {"do": "resume"})


def export(record: Record, target: str, build: commands.Build) -> None:
    """Write a container's root as a tar, to a file or, for ``-``, to the standard output.  `CannotRun`."""
    if target == "-" and sys.stdout.isatty():
        raise CannotRun("export: a tar is not for a terminal; give -o FILE, > or a pipe")

    def make():
        settings = commands.settings_of(record, build)
        settings.tty = False
        return settings

    with commands.failures("export"), copying.opened(record, make) as inside:
        draft = f"{target}.int80-{os.getpid()}"
        file = sys.stdout.buffer if target == "-" else open(draft, "xb")
        try:
            copying.write_tar(file, inside.entries(b"/", inside.look(b"/"), True), b"")
            file.flush()
            if target != "-":
                os.rename(draft, target)
        finally:
            if target != "-":
                file.close()
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
