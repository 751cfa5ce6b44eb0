"""The JSON documents of images, read and checked: descriptors, manifests, indexes, image configs.

image-spec 1.1 (descriptor.md, manifest.md, image-index.md, config.md) and Docker's Image Manifest Version 2, Schema 2,
which has the same shape under other media types.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from containers.images.errors import ImageError, NotFound, shown
from containers.images.reference import DIGEST

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution.manifest."
MANIFEST, INDEX = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json"
DOCKER_MANIFEST, DOCKER_LIST = f"{DOCKER}v2+json", f"{DOCKER}list.v2+json"
CONFIG = f"{OCI}config.v1+json"
LAYER, LAYER_GZIP, LAYER_ZSTD = (f"{OCI}layer.v1.tar{suffix}" for suffix in ("", "+gzip", "+zstd"))
DOCKER_LAYER, DOCKER_LAYER_TAR = (f"application/vnd.docker.image.rootfs.diff.tar{suffix}" for suffix in (".gzip", ""))
LAYERS = (
    LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_TAR, "application/vnd.docker.image.rootfs.diff.tar.zstd",
    f"{OCI}layer.nondistributable.v1.tar", f"{OCI}layer.nondistributable.v1.tar+gzip", f"{OCI}layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
)  # fmt: skip
REF_NAME = "org.opencontainers.image.ref.name"
DOCUMENT_MAX = 4 << 20  # bytes of a manifest, an index or a config; registries have the same limit
LAYERS_MAX = 512


class Platform(msgspec.Struct, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = msgspec.field(default=None, name="os.version")

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True):
    """A blob by media type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Index(msgspec.Struct, rename="camel", omit_defaults=True):
    manifests: list[Descriptor] | None
    schema_version: int = 0
    media_type: str | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, rename="camel", omit_defaults=True):
    config: Descriptor
    layers: list[Descriptor] | None
    schema_version: int = 0
    media_type: str | None = None
    annotations: dict[str, str] | None = None


class Execution(msgspec.Struct, rename="pascal", omit_defaults=True):
    """`config` of an image config: what to run, unless a person says otherwise."""

    user: str | None = None
    exposed_ports: dict[str, object] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, object] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class RootFs(msgspec.Struct, omit_defaults=True):
    type: str = "layers"
    diff_ids: list[str] | None = None


class History(msgspec.Struct, omit_defaults=True):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class ImageConfig(msgspec.Struct, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    rootfs: RootFs | None = None
    config: Execution | None = None
    history: list[History] | None = None
    created: str | None = None
    author: str | None = None
    variant: str | None = None

    @property
    def diff_ids(self) -> list[str]:
        return (self.rootfs.diff_ids if self.rootfs is not None else None) or []

    @property
    def execution(self) -> Execution:
        return self.config if self.config is not None else Execution()

    @property
    def platform(self) -> Platform:
        return Platform(self.architecture, self.os, self.variant)


_Document = TypeVar("_Document")


def decode(data: bytes, kind: type[_Document], where: str) -> _Document:
    """A document of a kind.  `ImageError` naming the field that is wrong."""
    if len(data) > DOCUMENT_MAX:
        raise ImageError(f"{where}: {len(data)} bytes; no document of an image has more than {DOCUMENT_MAX}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise ImageError(f"{where}: damaged: {shown(str(problem))}") from None


def encode(document: msgspec.Struct | dict | list) -> bytes:
    return msgspec.json.encode(document)


def check_descriptor(descriptor: Descriptor, where: str) -> Descriptor:
    """`ImageError` where a digest or a size can be none."""
    if not DIGEST.fullmatch(descriptor.digest):
        raise ImageError(f"{where}: {shown(descriptor.digest)} is no digest")
    if descriptor.size < 0:
        raise ImageError(f"{where}: a size of {descriptor.size} bytes")
    return descriptor


def manifest(data: bytes, where: str) -> Manifest:
    """A manifest with its descriptors checked.  `ImageError`."""
    result = decode(data, Manifest, where)
    check_descriptor(result.config, where)
    layers = result.layers = result.layers or []
    if len(layers) > LAYERS_MAX:
        raise ImageError(f"{where}: {len(layers)} layers; {LAYERS_MAX} at most")
    if result.config.size > DOCUMENT_MAX:
        raise ImageError(f"{where}: a config of {result.config.size} bytes; {DOCUMENT_MAX} at most")
    for layer in layers:
        check_descriptor(layer, where)
        if layer.media_type not in LAYERS:
            raise ImageError(f"{where}: {shown(layer.media_type)} is no layer of a container image")
    return result


def is_index(media_type: str | None, data: bytes) -> bool:
    """Whether a document lists manifests of several platforms."""
    if media_type in (INDEX, DOCKER_LIST):
        return True
    if media_type in (MANIFEST, DOCKER_MANIFEST):
        return False
    try:
        head = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return "manifests" in head and "config" not in head


def parse_platform(text: str) -> Platform:
    """OS/ARCH[/VARIANT].  `ImageError`."""
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise ImageError(f"--platform {shown(text)}: give OS/ARCH or OS/ARCH/VARIANT, as in linux/amd64")
    return Platform(parts[1], parts[0], parts[2] if len(parts) > 2 else None)


def choose(index: Index, wanted: Platform, where: str) -> Descriptor:
    """The manifest of a platform; of several, the one that asks least of the machine.  `NotFound`."""
    listed = [entry for entry in index.manifests or [] if entry.media_type in (MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_LIST)]
    found = [entry for entry in listed if matches(entry.platform, wanted)]
    if not found and len(listed) == 1 and listed[0].platform is None:
        found = listed  # of what platform, its config says
    if not found:
        there = sorted({str(entry.platform) for entry in listed if entry.platform is not None and entry.platform.os != "unknown"})
        what = f"; there are {', '.join(map(shown, there))}" if there else ""
        raise NotFound(f"{where}: no such platform as {wanted} in it{what}")
    return check_descriptor(min(found, key=lambda entry: (entry.platform.variant or "") if entry.platform else ""), where)


def matches(platform: Platform | None, wanted: Platform) -> bool:
    if platform is None or (platform.os, platform.architecture) != (wanted.os, wanted.architecture):
        return False
    return wanted.variant is None or (platform.variant or "") == wanted.variant
