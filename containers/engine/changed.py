"""`diff` of a container: what has been added (A), changed (C) and deleted (D), as docker says it."""

from __future__ import annotations

import os
import stat

from containers.changes import OPAQUE, WHITEOUT, Tree, Upper, compare, join
from containers.engine import commands
from containers.engine.record import Record
from containers.roots import STORE
from containers.status import CannotRun

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    from containers.sandbox import Settings

_MARK = b".wh..wh."  # before names of a layer that are no whiteouts
_MADE = (b"proc", b"sys", b"dev")  # where a sandbox's own trees are mounted


def show(record: Record, statistics: bool, patch: bool, json: bool, build: commands.Build) -> None:
    """Print what a container has changed.  `CannotRun`, `OSError`."""
    from containers.show import printable

    place = record.data["upper"]
    if place is None:
        raise CannotRun(f"{record.name}: its root {record.data['root']} takes the changes itself; nobody knows what was before")
    if not os.path.isdir(place):
        return  # it never ran
    settings = commands.settings_of(record, build)
    work = os.path.join(place, STORE, "work")
    with commands.failures(f"diff {record.name}"), Upper(os.fsencode(place), os.fsencode(work)) as upper:
        if statistics or patch or json:
            _as_a_try(record, settings, upper, statistics, patch)
            return
        below = _Below(settings)
        try:
            for mark, path in sorted(_changes(upper, below, settings), key=lambda change: change[1].replace(b"/", b"\0")):
                print(f"{mark} /{printable(path)}")
        finally:
            below.close()


def _as_a_try(record: Record, settings: Settings, upper: Upper, statistics: bool, patch: bool) -> None:
    """In the ways that tries are shown, against the one directory below."""
    from containers import show

    if settings.image is not None or len(settings.lowers) != 1:
        raise CannotRun(f"{record.name}: --stat, --patch and --json compare with one directory below, and it has several")
    with Tree(os.fsencode(settings.lowers[0])) as host:
        changes = compare(upper, host)
        if patch:
            show.patch(changes, upper, host)
        elif statistics:
            show.statistics(changes, upper, host)
        else:
            print(show.document(record.name, changes))


class _Below:
    """What a container's root shows without its changes."""

    def __init__(self, settings: Settings) -> None:
        from containers import roots
        from containers.scratch import Scratch

        settings.upper = settings.store = None
        self._scratch = Scratch()
        self._fs = roots.root(settings, self._scratch)

    def mode(self, path: bytes) -> int | None:
        """The mode of what is there; None where nothing is."""
        try:
            node = self._fs.walk(self._fs.root, tuple(path.split(b"/"))) if path else self._fs.root
            return None if node is None else node.mode
        except OSError:
            return None

    def names(self, path: bytes) -> list[bytes]:
        try:
            node = self._fs.walk(self._fs.root, tuple(path.split(b"/"))) if path else self._fs.root
            if node is None or not node.is_dir:
                return []
            return [name for name, *_ in self._fs.entries(node) if name not in (b".", b"..")]
        except OSError:
            return []

    def close(self) -> None:
        del self._fs
        self._scratch.close()


def _changes(upper: Upper, below: _Below, settings: Settings):
    """(letter, path) for each."""
    asked = [volume.target for volume in settings.volumes] + [memory.target for memory in settings.tmpfs]
    made = {*_MADE, *(path.strip(b"/") for path in asked)}
    pending = [(b"", True)]  # a directory of the layer, and whether there is one below
    while pending:
        path, lower = pending.pop()
        names = upper.names(path)
        gone = {name[len(WHITEOUT) :] for name in names if name.startswith(WHITEOUT) and not name.startswith(_MARK)}
        kept = [name for name in names if not name.startswith(WHITEOUT)]
        if lower and OPAQUE in names:
            gone |= set(below.names(path))
        for name in sorted(gone.difference(kept)):
            if lower and below.mode(join(path, name)) is not None:
                yield "D", join(path, name)
        for name in kept:
            inner = join(path, name)
            look = upper.look(inner)
            if look is None:
                continue
            mode = below.mode(inner) if lower else None
            if look.is_dir:
                pending.append((inner, mode is not None and stat.S_ISDIR(mode) and name not in gone))
                if mode is None and inner in made and not upper.names(inner):
                    continue  # a place for a mount
            yield ("A" if mode is None else "C"), inner
