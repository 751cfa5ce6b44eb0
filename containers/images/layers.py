"""Layers as they lie unpacked in the store, each once, by the digest of its tar."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from containers.images import documents, unpack
from containers.images.documents import Descriptor
from containers.images.errors import ImageError, of_system, shown
from vfs.removal import remove_below

_NEW, _GONE = ".new-", ".gone-"
ROOT = "root"  # the tree, in a layer's directory
IMPLIED = "implied"  # directories that the tar has only as part of other names, a line each (vfs.journal.escape)


def unpacked(store, layer: Descriptor, diff_id: str, limits: unpack.Limits, where: str, progress=None) -> Path:
    """The directory of a layer, unpacked if it is not there yet; for who holds the store shared.  `ImageError`."""
    target = place(store, diff_id)
    if target.is_dir():
        return target
    building = target.with_name(_NEW + target.name)
    with _built(building, target) as needed:
        if needed:
            _fill(building, store.blob(layer.digest), diff_id, limits, where, progress)
            try:
                os.rename(building, target)
            except OSError as problem:
                raise of_system(target, problem) from None
    return target


def place(store, diff_id: str) -> Path:
    """Where a layer is, if it is there.  `ImageError`."""
    return store.path / place_of(diff_id)


def place_of(diff_id: str) -> str:
    """Where a layer is in a store.  `ImageError`."""
    algorithm, _, digits = diff_id.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise ImageError(f"{shown(diff_id)}: no digest of a layer that int80 can keep; it must be a sha256 one")
    return f"layers/sha256/{digits}"


@contextmanager
def _built(building: Path, target: Path) -> Iterator[bool]:
    """Have the directory in which a layer is made for ourselves; whether there is anything left to do."""
    while True:
        try:
            building.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(building, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # renamed away by who was first
        except OSError as problem:
            raise of_system(building, problem) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if target.is_dir():
                if building.exists() and os.path.samestat(os.stat(building), os.fstat(fd)):
                    building.rmdir()
                yield False
                return
            if not building.exists() or not os.path.samestat(os.stat(building), os.fstat(fd)):
                continue
            remove_below(fd)  # what somebody who was killed has left
            try:
                yield True
            except BaseException:
                remove_below(fd)
                building.rmdir()
                raise
            return
        finally:
            os.close(fd)


def _fill(building: Path, blob: Path, diff_id: str | None, limits: unpack.Limits, where: str, progress) -> str:
    (building / ROOT).mkdir(mode=0o755)
    try:
        with open(blob, "rb") as file:
            return unpack.unpack(file, building, diff_id, limits, where, progress)
    except OSError as problem:
        raise of_system(where, problem) from None


def unpacked_unknown(store, layer: Descriptor, limits: unpack.Limits, where: str) -> str:
    """Unpack a layer whose digest nobody has said; the digest of its tar.  `ImageError`."""
    building = store.path / "layers/sha256" / f"{_NEW}{os.getpid()}-{os.urandom(4).hex()}"
    building.mkdir(mode=0o700)
    fd = use(building)
    try:
        diff_id = _fill(building, store.blob(layer.digest), None, limits, where, None)
        try:
            os.rename(building, place(store, diff_id))
        except OSError:
            if not place(store, diff_id).is_dir():
                raise
        return diff_id
    except OSError as problem:
        raise of_system(building, problem) from None
    finally:
        if os.path.lexists(building):
            remove_below(fd)
            building.rmdir()
        os.close(fd)


def as_layer(store, layer: Descriptor, where: str) -> Descriptor:
    """A tar in the store as an image may have it: plain, or compressed with gzip or zstd, as its media type says."""
    with open(store.blob(layer.digest), "rb") as file:
        head = file.read(6)
        file.seek(0)
        kind = unpack.compression(head)
        if kind in ("xz", "bzip2"):
            return store.add_unknown(unpack.Tar(file, unpack.Limits(), where, None), documents.LAYER, where)
    types = {"gzip": documents.LAYER_GZIP, "zstd": documents.LAYER_ZSTD}
    return Descriptor(types.get(kind, documents.LAYER), layer.digest, layer.size)


def use(layer: Path) -> int:
    """Keep a layer from being removed as long as this descriptor of its directory is open."""
    try:
        fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError as problem:
        raise of_system(layer, problem) from None
    return fd


def remove_unused(directory: Path, wanted: set[str]) -> None:
    """Remove the layers that are not wanted and that nobody uses, and what was left half made or half removed."""
    for path in directory.iterdir():
        if path.name in wanted:
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = path
            if not path.name.startswith((_NEW, _GONE)):
                gone = path.with_name(_GONE + path.name)
                os.rename(path, gone)
            remove_below(fd)
            gone.rmdir()
        except OSError:
            continue  # in use
        finally:
            os.close(fd)
