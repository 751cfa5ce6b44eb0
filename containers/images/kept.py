"""What the commands about images of the store do beside fetching them: lists, inspect, history, tags, save, load, prune.

docker-image-ls(1), podman-images(1), docker-save(1), docker-load(1).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time

from containers.images import pull, sources
from containers.images.errors import ImageError, of_system, shown
from containers.images.progress import Quiet, size_text
from containers.images.reference import Reference, familiar
from containers.images.store import Image, Store
from containers.images.unpack import Limits

_CHUNK = 1 << 18
_CONTAINERD_NAME = "io.containerd.image.name"


# -- lists ------------------------------------------------------------------------------------------


def parts_of(name: str | None) -> tuple[str, str]:
    """Repository and tag of a name of the store, as lists show them."""
    if name is None:
        return "<none>", "<none>"
    reference = Reference.parse(name)
    return familiar(f"{reference.host}/{reference.path}"), reference.tag or "<none>"


def rows(images: list[Image], whole: bool) -> list[dict[str, str]]:
    """A row for each name of each image, in docker's words."""
    from containers.engine.listing import duration

    found = []
    for image in images:
        for name in image.names or [None]:
            repository, tag = parts_of(name)
            found.append({
                "Name": familiar(name) if name is not None else "<none>",
                "ID": image.id if whole else image.id.partition(":")[2][:12], "Repository": repository, "Tag": tag,
                "Digest": image.descriptor.digest, "Created": time.strftime("%Y-%m-%d %H:%M", time.localtime(image.created)),
                "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(image.created)),
                "CreatedSince": f"{duration(time.time() - image.created)} ago", "Size": size_text(image.size),
            })  # fmt: skip
    return found


def chosen(store: Store, images: list[Image], pattern: str | None, filters: list[str]) -> list[Image]:
    """The images that a name or a pattern and filters leave, each with the names that the pattern leaves.  `ImageError`."""
    for text in filters:
        key, equals, value = text.partition("=")
        match key if equals else "":
            case "dangling":
                images = [image for image in images if (not image.names) is (value.lower() in ("true", "1"))]
            case "label":
                name, has_value, wanted = value.partition("=")
                images = [
                    image for image in images
                    if name in (labels := image.config.execution.labels or {}) and (not has_value or labels[name] == wanted)
                ]  # fmt: skip
            case "reference":
                images = _named(images, value)
            case "before" | "since":
                other = store.find(value)
                images = [
                    image for image in images
                    if (image.created < other.created if key == "before" else image.created > other.created)
                ]  # fmt: skip
            case _:
                raise ImageError(f"--filter {shown(text)}: there are dangling=, label=, reference=, before= and since=")
    return images if pattern is None else _named(images, pattern)


def _named(images: list[Image], pattern: str) -> list[Image]:
    import fnmatch

    found = []
    for image in images:
        kept = []
        for name in image.names:
            repository, tag = parts_of(name)
            forms = {repository, repository.removeprefix("localhost/"), repository.rpartition("/")[2]}
            forms |= {f"{form}:{tag}" for form in forms} | {name}
            if any(fnmatch.fnmatchcase(form, pattern) for form in forms):
                kept.append(name)
        if kept:
            image.names = kept
            found.append(image)
    return found


def inspected(store: Store, image: Image) -> dict:
    """An image as docker's and podman's `inspect` show it."""
    config = json.loads(store.read(image.manifest.config, image.shown()))
    return {
        "Id": image.id,
        "Digest": image.descriptor.digest,
        "RepoTags": [familiar(name) for name in image.names if "@" not in name],
        "RepoDigests": [f"{parts_of(name)[0]}@{image.descriptor.digest}" for name in image.names],
        "Created": config.get("created") or "",
        "Author": config.get("author") or "",
        "Architecture": config.get("architecture") or "",
        "Variant": config.get("variant") or "",
        "Os": config.get("os") or "",
        "Size": image.size,
        "Config": {"Env": None, "Cmd": None, "Entrypoint": None, "Labels": None} | (config.get("config") or {}),
        "RootFS": {"Type": "layers", "Layers": image.config.diff_ids},
        "Labels": image.config.execution.labels,
    }


def history(image: Image) -> list[dict[str, str]]:
    """How an image was made, the last step first."""
    sizes = [layer.size for layer in image.manifest.layers]
    steps = image.config.history or []
    if sum(not step.empty_layer for step in steps) != len(sizes):  # it does not say
        sizes = []
    found = []
    for step in steps:
        size = 0 if step.empty_layer or not sizes else sizes.pop(0)
        found.append({
            "ID": "<missing>", "CreatedAt": step.created or "", "CreatedBy": step.created_by or "", "Size": size_text(size),
            "Comment": step.comment or "",
        })  # fmt: skip
    if found:
        found[-1]["ID"] = image.id.partition(":")[2][:12]
    return found[::-1]


def table(titles: list[str], lines: list[list[str]]) -> None:
    """Print columns, those of what is not for people included."""
    from containers.show import printable_text

    whole = [titles, *([printable_text(cell) for cell in line] for line in lines)]
    widths = [max(len(line[column]) for line in whole) for column in range(len(titles))]
    for line in whole:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


# -- names ------------------------------------------------------------------------------------------


def tag(store: Store, source: str, names: list[str]) -> None:
    """Give an image more names.  `ImageError`."""
    image = store.find(source)
    wanted = []
    for text in names:
        reference = Reference.parse(text)
        if reference.digest is not None:
            raise ImageError(f"{shown(text)}: a digest follows from what an image is; give NAME[:TAG]")
        wanted.append(reference.name)
    with store.shared():
        for name in wanted:
            store.tag(image.descriptor, name, image.created)


def unused(store: Store, every: bool) -> list[Image]:
    """The images without a name, or all, but for those that a container is made of."""
    held = store.held()
    return [image for image in store.images() if image.descriptor.digest not in held and (every or not image.names)]


# -- archives ---------------------------------------------------------------------------------------


def load(store: Store, path: str | None, limits: Limits, progress: Quiet) -> list[Image]:
    """Take up all images of what `docker save` or `skopeo copy ... oci-archive:` wrote; None is the standard input.
    `ImageError`.
    """
    if path is None:
        if sys.stdin.isatty():
            raise ImageError("load: an archive is not typed; give -i FILE, or <")
        with tempfile.NamedTemporaryFile(dir=store.path / "partial", prefix=".new-") as spool:
            try:
                shutil.copyfileobj(sys.stdin.buffer, spool, _CHUNK)
                spool.flush()
            except OSError as problem:
                raise of_system("standard input", problem) from None
            return _load(store, spool.name, "standard input", limits, progress)
    return _load(store, path, path, limits, progress)


def _load(store: Store, path: str, where: str, limits: Limits, progress: Quiet) -> list[Image]:
    with store.shared():
        archive = sources.Archive(shown(where), path, store)
        try:
            if archive.has("manifest.json"):
                every = sources.FromDockerArchive.every(archive)
            elif archive.has("index.json"):
                every = sources.FromArchive.every(archive)
            else:
                raise ImageError(f"{shown(where)}: neither `docker save` nor an OCI layout wrote it")
            return [pull.take(store, source, name, None, limits, progress) for source, name in every]
        finally:
            archive.close()

