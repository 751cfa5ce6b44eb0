"""Images into the store: pulled, loaded from layouts and archives, or made from a root tarball."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from containers.images import documents, layers, sources
from containers.images.documents import Descriptor, ImageConfig, Platform
from containers.images.errors import ImageError, NotFound, shown
from containers.images.progress import Quiet
from containers.images.reference import Reference, transport
from containers.images.store import Image, Store
from containers.images.unpack import Limits

OURS = Platform("amd64", "linux")
_AT_ONCE = 3  # layers


def get(store: Store, text: str, when: str, platform: Platform | None, limits: Limits, progress: Quiet) -> Image:
    """The image that a person named, pulled if need be: `when` is never, missing, newer or always.  `ImageError`.

    With newer what is here will do where nothing else can be had.
    """
    if when == "newer":
        try:
            return pull(store, text, platform, limits, progress)
        except ImageError:
            if not store.knows(transport(text)[1] if transport(text) else text):
                raise
    if when != "always" and (transport(text) is None or transport(text)[0] == "docker"):
        plain = transport(text)[1] if transport(text) else text
        try:
            image = store.find(plain)
            if platform is None or documents.matches(image.config.platform, platform):
                return image
        except NotFound:
            if when == "never":
                raise
        if when == "never":
            raise NotFound(f"{shown(text)}: the image here is for {image.config.platform}, not {platform}")
    return pull(store, text, platform, limits, progress)


def pull(store: Store, text: str, platform: Platform | None, limits: Limits, progress: Quiet, name: str | None = None) -> Image:
    """Fetch an image, unpack its layers, and give it its name (`name`, or its own).  `ImageError`."""
    way, rest = transport(text) or ("docker", text)
    name = name or sources.name_for(way, rest)
    with store.shared():
        source = sources.of(way, rest, store)
        try:
            return take(store, source, name, platform, limits, progress)
        finally:
            source.close()


def take(store: Store, source, name: str | None, platform: Platform | None, limits: Limits, progress: Quiet) -> Image:
    """Take up the image of a source, for who holds the store shared.  `ImageError`."""
    descriptor, data = source.manifest(platform or OURS)
    manifest = documents.manifest(data, source.name)
    source.bring(manifest.config, store, progress.part("config", _short(manifest.config.digest), None))
    config = documents.decode(store.read(manifest.config, source.name), ImageConfig, f"{source.name}: config")
    check(manifest, config, platform or OURS, source.name)
    _bring_layers(store, source, manifest.layers, progress)
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        unpack_layer(store, layer, diff_id, limits, source.name, progress)
    store.add(data, descriptor.media_type)
    entry = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, None, config.platform)
    names = [name] if name is not None else [Reference.parse(text).name for text in getattr(source, "names", [])]
    now = time.time()
    for one in names or [None]:
        store.tag(entry, one, now)
    return Image(entry, manifest, config, names, int(now))


def check(manifest, config: ImageConfig, platform: Platform, where: str) -> None:
    """Whether a config fits its manifest and the platform.  `ImageError`."""
    if len(config.diff_ids) != len(manifest.layers):
        raise ImageError(f"{where}: {len(manifest.layers)} layers, and a config that speaks of {len(config.diff_ids)}")
    if config.rootfs is None or config.rootfs.type != "layers":
        raise ImageError(f"{where}: not a container image: its config has no rootfs of layers")
    if not documents.matches(config.platform, platform):
        raise NotFound(f"{where}: no such platform as {platform}; the image is for {shown(str(config.platform))}")
    for diff_id in config.diff_ids:
        layers.place_of(diff_id)


def _bring_layers(store: Store, source, wanted: list[Descriptor], progress: Quiet) -> None:
    """All layers that are not here, a few at once from a registry."""
    missing = {layer.digest: layer for layer in wanted if not store.has(layer)}

    ended = threading.Event()

    def bring(layer: Descriptor) -> None:
        part = progress.part("fetch", _short(layer.digest), layer.size)
        source.bring(layer, store, _Ending(part, ended))
        part.done()

    if not isinstance(source, sources.FromRegistry) or len(missing) < 2:
        for layer in missing.values():
            bring(layer)
        return
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for future in as_completed([pool.submit(bring, layer) for layer in missing.values()]):
            future.result()
    finally:
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)


class _Ending:
    """Tells a part of its progress until another part has failed: then it ends too, and the next pull goes on from there."""

    def __init__(self, part, ended: threading.Event) -> None:
        self._part = part
        self._ended = ended
        self.restart = part.restart

    def __call__(self, count: int) -> None:
        if self._ended.is_set():
            raise ImageError("another layer cannot be had")
        self._part(count)


def unpack_layer(store: Store, layer: Descriptor, diff_id: str, limits: Limits, where: str, progress: Quiet):
    """The directory of a layer, for who holds the store shared.  `ImageError`."""
    if layers.place(store, diff_id).is_dir():
        return layers.place(store, diff_id)
    part = progress.part("unpack", _short(diff_id), layer.size)
    result = layers.unpacked(store, layer, diff_id, limits, f"{where}: layer {_short(layer.digest)}", part)
    part.done()
    return result


def import_tarball(
    store: Store, file, name: str | None, changes: dict, message: str | None, limits: Limits, progress: Quiet
) -> Image:
    """An image of one layer, from a root tarball, compressed or not.  `ImageError`."""
    where = getattr(file, "name", "-")
    where = "standard input" if where in ("-", "<stdin>", 0) else shown(str(where))
    with store.shared():
        part = progress.part("import", where, None)
        layer = store.add_unknown(file, documents.LAYER, where, part)
        diff_id = layers.unpacked_unknown(store, layer, limits, where)
        layer = layers.as_layer(store, layer, where)
        part.done()
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        config = {
            "created": now, "architecture": OURS.architecture, "os": OURS.os, "config": changes,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": now, "created_by": "int80 import", "comment": message or f"imported from {where}"}],
        }  # fmt: skip
        return keep(store, config, [layer], name)


def keep(store: Store, config: dict, parts: list[Descriptor], name: str | None) -> Image:
    """Make an image of a config and layers that are in the store; for who holds it shared."""
    described = store.add(documents.encode(config), documents.CONFIG)
    plain = [Descriptor(layer.media_type, layer.digest, layer.size) for layer in parts]
    manifest = documents.Manifest(described, plain, 2, documents.MANIFEST)
    data = documents.encode(manifest)
    entry = store.add(data, documents.MANIFEST)
    parsed = documents.decode(documents.encode(config), ImageConfig, "config")
    entry.platform = parsed.platform
    now = time.time()
    store.tag(entry, name, now)
    return Image(entry, manifest, parsed, [name] if name else [], int(now))


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]


def use(store: Store, image: Image, limits: Limits, progress: Quiet) -> tuple[list[str], list[int]]:
    """The directories of an image's layers, the bottom one first, and descriptors that keep them.  `ImageError`."""
    with store.shared():
        where = image.shown()
        places = [
            unpack_layer(store, layer, diff_id, limits, where, progress)
            for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
        ]
        return [os.fspath(place) for place in places], [layers.use(place) for place in places]
