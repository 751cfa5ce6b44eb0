"""An image made of what a sandbox has changed: the upper directory of `int80 run --upper`, as one layer more."""

from __future__ import annotations

import gzip
import os
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from containers.images import documents, layers, pack, pull
from containers.images.documents import Descriptor
from containers.images.errors import ImageError, NotFound, of_system, shown
from containers.images.progress import Quiet
from containers.images.run import BASE, signal_number
from containers.images.store import Image, Store
from containers.images.unpack import Limits
from containers.roots import STORE, lock_upper
from vfs.hostfs import HostFs
from vfs.owners import Beside

_LEVEL = 6  # of gzip


class Upper:
    """A directory of changes, locked for ourselves unless nobody can change it anyway (`still`).  `ImageError`."""

    def __init__(self, path: str, still: bool = False) -> None:
        self.path = Path(path)
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise of_system(path, problem) from None
        self.place = self.path / STORE
        if not self.place.is_dir():
            raise ImageError(f"{path}: no directory that `int80 run --upper` has kept changes in")
        if not still:
            lock_upper(path)
        self.work = self.place / "work"

    def fs(self) -> HostFs:
        """The tree as its guest left it."""
        self.work.mkdir(0o700, exist_ok=True)
        work = os.open(self.work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return HostFs(os.dup(self.fd), beside=Beside(work))
        finally:
            os.close(work)

    def base(self, store: Store) -> Image | None:
        """The image below; None where there is none.  `ImageError` where it is in the store no more."""
        try:
            digest, _, name = (self.place / BASE).read_text().partition(" ")
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise of_system(self.place / BASE, problem) from None
        try:
            return store.by_digest(digest)
        except NotFound:
            raise ImageError(
                f"{self.path}: the image below it, {shown(name.strip())} ({digest}), is not in the store; pull it"
            ) from None


def commit(
    store: Store, upper: Upper, lowers: Sequence[str], name: str | None, changes: dict, message: str | None, author: str | None,
    progress: Quiet,
) -> Image:  # fmt: skip
    """An image of the one below (or of the directories `lowers`) and what lies in `upper`.  `ImageError`."""
    base = upper.base(store)
    if base is not None and lowers:
        raise ImageError(f"{upper.path}: lies over the image {base.shown()}; --lower is for changes to directories")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with store.shared():
        if base is not None:
            config = msgspec.json.decode(store.read(base.manifest.config, base.shown()))
            parts, diff_ids = list(base.manifest.layers), list(base.config.diff_ids)
        else:
            config = {"architecture": pull.OURS.architecture, "os": pull.OURS.os}
            parts, diff_ids = [], []
        history = list(config.get("history") or [])
        for tree, said in [*((HostFs(_open(lower)), lower) for lower in lowers), (upper.fs(), None)]:
            layer, diff_id = _layer(store, tree, said or str(upper.path), progress)
            parts.append(layer)
            diff_ids.append(diff_id)
            entry = {"created": now, "created_by": f"int80 commit {shlex.quote(said or str(upper.path))}"}
            history.append(
                entry | ({"comment": message} if message and said is None else {}) | ({"author": author} if author else {})
            )
        config |= {"created": now, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history}
        config["config"] = merged(config.get("config") or {}, changes)
        if author:
            config["author"] = author
        return pull.keep(store, config, parts, name)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise of_system(path, problem) from None


def _layer(store: Store, tree: HostFs, where: str, progress: Quiet) -> tuple[Descriptor, str]:
    """A tree as a layer of the store, packed and, so that it can be run at once, unpacked there."""
    part = progress.part("pack", shown(where), None)
    try:
        with tempfile.TemporaryFile(dir=store.path / "partial") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0, filename="") as packed:
                pack.pack_layer(packed, tree)
            file.seek(0)
            layer = store.add_unknown(file, documents.LAYER_GZIP, where, part)
    except OSError as problem:
        raise of_system(where, problem) from None
    diff_id = layers.unpacked_unknown(store, layer, Limits(), where)
    part.done()
    return layer, diff_id


# -- changes to a config ------------------------------------------------------------------------


def changes_of(texts: Sequence[str]) -> dict:
    """What `--change 'INSTRUCTION arguments'` says, in the words of a Dockerfile.  `ImageError`."""
    result: dict = {}
    for text in texts:
        word, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        match word.upper():
            case "CMD" | "ENTRYPOINT":
                result["Cmd" if word.upper() == "CMD" else "Entrypoint"] = _words(rest)
            case "ENV" | "LABEL":
                pairs = dict(_pair(item, text) for item in _split(rest, text))
                if word.upper() == "ENV":
                    result.setdefault("Env", []).extend(f"{name}={value}" for name, value in pairs.items())
                else:
                    result.setdefault("Labels", {}).update(pairs)
            case "USER" | "WORKDIR" if rest:
                result["User" if word.upper() == "USER" else "WorkingDir"] = rest
            case "STOPSIGNAL" if rest:
                signal_number(rest)
                result["StopSignal"] = rest
            case "EXPOSE":
                result.setdefault("ExposedPorts", {}).update(
                    {port if "/" in port else f"{port}/tcp": {} for port in rest.split()}
                )
            case "VOLUME":
                result.setdefault("Volumes", {}).update({path: {} for path in _words(rest, shell=False)})
            case _:
                raise ImageError(
                    f"--change {shown(text)}: use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR and "
                    "what it is to be"
                )
    return result


def merged(config: dict, changes: dict) -> dict:
    """A config's `config` with changes made: what is a list of variables or a table is added to."""
    result = dict(config)
    for key, value in changes.items():
        if key == "Env":
            new = dict(item.partition("=")[::2] for item in value)
            old = dict(item.partition("=")[::2] for item in result.get("Env") or [])
            result["Env"] = [f"{name}={text}" for name, text in (old | new).items()]
        elif isinstance(value, dict):
            result[key] = (result.get(key) or {}) | value
        else:
            result[key] = value
    if "Entrypoint" in changes and "Cmd" not in changes:
        result.pop("Cmd", None)
    return result


def _words(text: str, shell: bool = True) -> list[str]:
    """The two forms of a Dockerfile's instruction: a JSON list, or a line for the shell (a list of paths)."""
    if text.startswith("["):
        try:
            return msgspec.json.decode(text, type=list[str])
        except msgspec.MsgspecError as problem:
            raise ImageError(f"--change {shown(text)}: {shown(str(problem))}") from None
    return ["/bin/sh", "-c", text] if shell else text.split()


def _split(text: str, whole: str) -> list[str]:
    name, space, value = text.partition(" ")
    if space and "=" not in name:
        return [f"{name}={value.strip()}"]  # the old form: ENV NAME VALUE
    try:
        return shlex.split(text)
    except ValueError as problem:
        raise ImageError(f"--change {shown(whole)}: {problem}") from None


def _pair(item: str, whole: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not name or not equals:
        raise ImageError(f"--change {shown(whole)}: give NAME=VALUE")
    return name, value
