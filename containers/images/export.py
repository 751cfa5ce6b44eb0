"""Images written for other tools: an OCI layout or its archive, what `docker load` reads, a root tarball."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from containers.images import commit, documents, pack, unpack
from containers.images.documents import Descriptor, Index
from containers.images.errors import ImageError, of_system, shown
from containers.images.progress import Quiet
from containers.images.reference import Reference, path_and_tag, transport
from containers.images.run import ImageRoot
from containers.images.store import Image, Store
from containers.images.unpack import Limits
from vfs.layers import LayerFs

_CHUNK = 1 << 18


def export(store: Store, what: str, to: str, progress: Quiet) -> None:
    """Write an image, or an upper directory with what lies below it, to where `to` says.  `ImageError`."""
    way = transport(to)
    if way is not None and way[0] == "docker":
        raise ImageError(f"{shown(to)}: int80 pushes to no registry; export to oci:DIR and copy that with skopeo")
    if os.path.isdir(what) and (os.path.isabs(what) or what.startswith(".") or not store.knows(what)):
        if way is not None:
            raise ImageError(f"{shown(what)}: `int80 commit` makes an image of it, which can be written as {way[0]}:")
        upper = commit.Upper(what)
        base = upper.base(store)
        if base is None:
            raise ImageError(f"{shown(what)}: does not lie over an image")
        with store.shared():
            _root(store, base, to, progress, upper)
        return
    image = store.find(what)
    with store.shared():
        match way:
            case None:
                _root(store, image, to, progress)
            case "oci", rest:
                _layout(store, image, rest, progress)
            case "oci-archive", rest:
                _oci_archive(store, image, rest, progress)
            case _, rest:
                _docker_archive(store, image, rest, progress)


@contextmanager
def _written(path: str) -> Iterator[io.BufferedIOBase]:
    """A file that is there whole or not at all; `-` is the standard output.  `ImageError`."""
    if path == "-":
        if sys.stdout.isatty():
            raise ImageError("-: an archive is nothing for a terminal; redirect the output, or name a file")
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise ImageError("standard output: whoever read it has ended") from None
        except OSError as problem:
            raise of_system("standard output", problem) from None
        return
    temporary = f"{path}.int80-{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            yield file
        os.rename(temporary, path)
    except OSError as problem:
        raise of_system(path, problem) from None
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _blobs(image: Image) -> list[Descriptor]:
    found = {part.digest: part for part in (image.descriptor, image.manifest.config, *image.manifest.layers)}
    return list(found.values())


def _open_blob(store: Store, descriptor: Descriptor):
    try:
        return open(store.blob(descriptor.digest), "rb")
    except FileNotFoundError:
        raise ImageError(f"{descriptor.digest}: missing from the store; pull the image again") from None


def _entry(image: Image, tag: str | None) -> Descriptor:
    notes = {documents.REF_NAME: tag} if tag else None
    return Descriptor(image.descriptor.media_type, image.descriptor.digest, image.descriptor.size, notes, image.config.platform)


def _default_tag(image: Image) -> str | None:
    return Reference.parse(image.names[0]).tag if image.names else None


def _layout(store: Store, image: Image, rest: str, progress: Quiet) -> None:
    """Into a layout, a new one or one that is there; other images of it stay."""
    path, tag = path_and_tag(rest)
    target = Path(path)
    try:
        (target / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        for part in _blobs(image):
            place = target / "blobs" / part.digest.replace(":", "/")
            if place.exists() and place.stat().st_size == part.size:
                continue
            place.parent.mkdir(exist_ok=True)
            shown_part = progress.part("write", part.digest.partition(":")[2][:12], part.size)
            temporary = place.with_name(f".new-{os.getpid()}-{place.name}")
            with _open_blob(store, part) as source, open(temporary, "xb") as file:
                _copy(source, file, shown_part)
            os.rename(temporary, place)
            shown_part.done()
        lock = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _add_to_index(target, _entry(image, tag or _default_tag(image)))
        finally:
            os.close(lock)
    except OSError as problem:
        raise of_system(f"oci:{path}", problem) from None


def _add_to_index(target: Path, entry: Descriptor) -> None:
    index = Index([], 2, documents.INDEX)
    if (target / "index.json").exists():
        index = documents.decode((target / "index.json").read_bytes(), Index, str(target / "index.json"))
    name = (entry.annotations or {}).get(documents.REF_NAME)
    kept = [
        other for other in index.manifests or []
        if ((other.annotations or {}).get(documents.REF_NAME) != name if name else other.digest != entry.digest)
    ]  # fmt: skip
    index.manifests = [*kept, entry]
    for file, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", documents.encode(index))):
        temporary = target / f".new-{os.getpid()}-{file}"
        temporary.write_bytes(data)
        os.rename(temporary, target / file)


def _copy(source, target, part) -> None:
    while data := source.read(_CHUNK):
        target.write(data)
        part(len(data))


def _add(tar: tarfile.TarFile, name: str, size: int, file) -> None:
    """A file of an archive or, without one, a directory: of whoever writes it, since other tools unpack owners too."""
    member = tarfile.TarInfo(name)
    member.uid, member.gid = os.geteuid(), os.getegid()
    member.size = size
    member.mode = 0o644
    if file is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(member, file)


def _oci_archive(store: Store, image: Image, rest: str, progress: Quiet) -> None:
    path, tag = path_and_tag(rest)
    index = documents.encode(Index([_entry(image, tag or _default_tag(image))], 2, documents.INDEX))
    with _written(path) as file, pack.tar_to(file) as tar:
        for name, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
            _add(tar, name, len(data), io.BytesIO(data))
        for name in ["blobs", *sorted({f"blobs/{part.digest.partition(':')[0]}" for part in _blobs(image)})]:
            _add(tar, name, 0, None)
        for part in _blobs(image):
            shown_part = progress.part("write", part.digest.partition(":")[2][:12], part.size)
            with _open_blob(store, part) as blob:
                _add(tar, f"blobs/{part.digest.replace(':', '/')}", part.size, blob)
            shown_part.done()


def _docker_archive(store: Store, image: Image, rest: str, progress: Quiet) -> None:
    """As `docker save` writes: layers are plain tars, called by the digest of that."""
    path, tag = path_and_tag(rest)
    name = Reference.parse(tag).name if tag else image.names[0] if image.names else None
    _save(store, [(image, [name] if name else [])], path, progress)


def save(store: Store, texts: list[str], path: str, progress: Quiet) -> None:
    """Write images to one file for `docker load`, each with the names it is called by here.  `ImageError`."""
    found: dict[str, tuple[Image, list[str]]] = {}
    for text in texts:
        image = store.find(text)
        try:
            wanted = Reference.parse(text).names()
        except ImageError:
            wanted = []  # a digest
        _, names = found.setdefault(image.id, (image, []))
        names += [name for name in image.names if name in wanted and name not in names]
    with store.shared():
        _save(store, list(found.values()), path, progress)


def _save(store: Store, images: list[tuple[Image, list[str]]], path: str, progress: Quiet) -> None:
    saved, layers, configs = [], {}, {}
    for image, names in images:
        configs[f"{image.id.partition(':')[2]}.json"] = store.read(image.manifest.config, image.shown())
        members = [f"{diff_id.partition(':')[2]}.tar" for diff_id in image.config.diff_ids]
        layers |= {member: (image, layer) for layer, member in _unique(image, members)}
        tags = [_tagged(name) for name in names if "@" not in name]
        saved.append({"Config": f"{image.id.partition(':')[2]}.json", "RepoTags": tags or None, "Layers": members})
    with _written(path) as file, pack.tar_to(file) as tar:
        for member, (image, layer) in layers.items():
            part = progress.part("write", member[:12], layer.size)
            with _open_blob(store, layer) as blob, tempfile.TemporaryFile(dir=store.path / "partial") as plain:
                reader = unpack.Tar(blob, Limits(), image.shown(), part)
                while data := reader.read(_CHUNK):
                    plain.write(data)
                size = plain.tell()
                plain.seek(0)
                _add(tar, member, size, plain)
            part.done()
        for name, config in configs.items():
            _add(tar, name, len(config), io.BytesIO(config))
        data = documents.encode(saved)
        _add(tar, "manifest.json", len(data), io.BytesIO(data))


def _unique(image: Image, names: list[str]) -> list[tuple[Descriptor, str]]:
    """Layers by name, each once: an image may have the same one several times."""
    return [(layer, name) for name, layer in dict(zip(names, image.manifest.layers, strict=True)).items()]


def _tagged(name: str) -> str:
    """As docker calls it: without docker.io."""
    return Reference.parse(name).familiar()


def _root(store: Store, image: Image, path: str, progress: Quiet, upper: commit.Upper | None = None) -> None:
    """A tarball of the root that a sandbox would see."""
    root = ImageRoot(store, image, Limits(), progress)
    lowers = root.open()
    scratch = tempfile.mkdtemp(dir=store.path / "partial", prefix=".new-")
    try:
        journal, above, work = None, os.path.join(scratch, "upper"), os.path.join(scratch, "work")
        if upper is not None:
            from vfs.journal import Journal

            journal, above, work = Journal(os.fsencode(upper.place / "journal")), str(upper.path), str(upper.work)
        for place in (above, work):
            os.makedirs(place, 0o700, exist_ok=True)
        fds = [os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for place in (above, work)]
        fs = LayerFs(lowers, *fds, journal)
        root.attach(fs)
        part = progress.part("write", shown(path), None)
        with _written(path) as file:
            pack.pack_root(file, fs)
        part.done()
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            raise ImageError(f"{image.shown()}: has names too long for one path") from None
        raise of_system(image.shown(), problem) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
