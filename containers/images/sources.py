"""Where images come from: registries, OCI layouts (a directory or an archive), what `docker save` writes, root tarballs.

A source says what its manifest is and brings blobs into the store, checked; `pull` makes an image of them.
"""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from pathlib import Path

import msgspec

from containers.images import documents, unpack
from containers.images.documents import Descriptor, Index, Manifest, Platform
from containers.images.errors import ImageError, NotFound, of_system, shown
from containers.images.reference import DIGEST, Reference, path_and_tag
from containers.images.store import Store, digest_of, name_of

_CONTAINERD_NAME = "io.containerd.image.name"  # the whole name, where the other annotation has the tag alone
_MEMBERS_MAX = 100_000
_DEPTH = 4  # indexes in indexes
_TYPES = {"gzip": documents.LAYER_GZIP, "zstd": documents.LAYER_ZSTD}


class Source:
    """One image somewhere."""

    name: str  # for messages

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest, an index or a config, checked against its digest.  `ImageError`."""
        raise NotImplementedError

    def top(self, platform: Platform) -> tuple[Descriptor, bytes]:
        """The manifest, or the index, that the name leads to."""
        raise NotImplementedError

    def bring(self, descriptor: Descriptor, store: Store, part) -> None:
        """Put a blob into the store, checked.  `ImageError`."""
        raise NotImplementedError

    def manifest(self, platform: Platform) -> tuple[Descriptor, bytes]:
        """The manifest for a platform.  `NotFound`, `ImageError`."""
        descriptor, data = self.top(platform)
        for _ in range(_DEPTH):
            if not documents.is_index(descriptor.media_type, data):
                media_type = descriptor.media_type if descriptor.media_type == documents.DOCKER_MANIFEST else documents.MANIFEST
                self._check_kind(data)
                return Descriptor(media_type, descriptor.digest, descriptor.size), data
            descriptor = documents.choose(documents.decode(data, Index, self.name), platform, self.name)
            data = self.document(descriptor)
        raise ImageError(f"{self.name}: its index leads to indexes without end")

    def _check_kind(self, data: bytes) -> None:
        try:
            head = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if bytes(head.get("schemaVersion", b"2")) == b"1":
            raise ImageError(
                f"{self.name}: a manifest of schema 1, which has been out of use since 2017; have the image pushed anew"
            )

    def close(self) -> None:
        pass


class FromRegistry(Source):
    def __init__(self, reference: Reference) -> None:
        from containers.images.registry import Registry

        self.name = reference.familiar()
        self._reference = reference
        self._registry = Registry(reference)

    def top(self, platform: Platform) -> tuple[Descriptor, bytes]:
        return self._registry.manifest(self._reference.digest or self._reference.tag)

    def document(self, descriptor: Descriptor) -> bytes:
        _, data = self._registry.manifest(descriptor.digest)
        return _checked(data, descriptor, self.name)

    def bring(self, descriptor: Descriptor, store: Store, part) -> None:
        if store.has(descriptor):
            return
        with store.receive(descriptor) as receiver:
            if receiver is not None:
                self._registry.blob(descriptor, receiver, part)


class _Layout(Source):
    """An OCI image layout, wherever its files are."""

    def __init__(self, name: str, tag: str | None) -> None:
        self.name = name
        self._tag = tag

    def _open(self, path: str):
        """A file of the layout, for reading.  `NotFound`."""
        raise NotImplementedError

    def _file(self, path: str) -> bytes:
        with self._open(path) as file:
            try:
                return file.read(documents.DOCUMENT_MAX + 1)
            except OSError as problem:
                raise of_system(self.name, problem) from None

    def top(self, platform: Platform) -> tuple[Descriptor, bytes]:
        entry = self._entry(documents.decode(self._file("index.json"), Index, f"{self.name}: index.json"))
        return entry, self.document(entry)

    def _entry(self, index: Index) -> Descriptor:
        entries = index.manifests or []
        if self._tag is not None:
            wanted = [entry for entry in entries if self._tag in (name_of(entry), entry.digest)]
            if not wanted:  # a layout of ours has whole names
                wanted = [entry for entry in entries if (name := name_of(entry)) and _same_name(name, self._tag)]
            if not wanted:
                raise NotFound(f"{self.name}: there is no image {shown(self._tag)} in it; {_names(entries)}")
            return documents.check_descriptor(wanted[-1], self.name)
        if len(entries) == 1:
            return documents.check_descriptor(entries[0], self.name)
        if entries and all(entry.platform is not None for entry in entries) and len({name_of(entry) for entry in entries}) == 1:
            return self._whole(index)
        if not entries:
            raise NotFound(f"{self.name}: there is no image in it")
        raise ImageError(f"{self.name}: there are {len(entries)} images in it; {_names(entries)}")

    def _whole(self, index: Index) -> Descriptor:
        data = self._file("index.json")
        self._outer = data
        return Descriptor(documents.INDEX, digest_of(data), len(data))

    def document(self, descriptor: Descriptor) -> bytes:
        if getattr(self, "_outer", None) is not None and digest_of(self._outer) == descriptor.digest:
            return self._outer
        return _checked(self._file(_blob_path(descriptor)), descriptor, self.name)

    def bring(self, descriptor: Descriptor, store: Store, part) -> None:
        if not store.has(descriptor):
            with self._open(_blob_path(descriptor)) as file:
                store.add_stream(file, descriptor, self.name, part)


class FromLayout(_Layout):
    """`oci:DIR[:TAG]`."""

    def __init__(self, rest: str) -> None:
        path, tag = path_and_tag(rest)
        super().__init__(f"oci:{path}", tag)
        try:
            self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise of_system(self.name, problem) from None

    def _open(self, path: str):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._directory)
            if not stat.S_ISREG(os.fstat(fd).st_mode):  # nor is a pipe waited for
                os.close(fd)
                raise ImageError(f"{self.name}: {path} is no file")
            return open(fd, "rb")
        except OSError as problem:
            if path == "index.json" and isinstance(problem, FileNotFoundError):
                raise NotFound(f"{self.name}: no OCI image layout; there is no index.json in it") from None
            raise of_system(f"{self.name}: {path}", problem) from None

    def close(self) -> None:
        os.close(self._directory)


class Archive:
    """A tar whose members are read in any order; one that is compressed is unpacked to a temporary file first."""

    def __init__(self, name: str, path: str, store: Store) -> None:
        self.name = name
        try:
            self._file = self._plain(open(path, "rb"), store)
        except OSError as problem:
            raise of_system(name, problem) from None
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._tar = tarfile.open(
                fileobj=self._file, mode="r:", tarinfo=unpack.Member, encoding="utf-8", errors="surrogateescape"
            )
            for count, member in enumerate(self._tar):
                if count >= _MEMBERS_MAX:
                    raise ImageError(f"more than {_MEMBERS_MAX} files; an archive of images has fewer")
                self._members[os.path.normpath(member.name).lstrip("/")] = member
        except (tarfile.TarError, OSError) as problem:
            raise ImageError(f"{name}: not a tar archive: {shown(str(problem))}") from None
        except ImageError as problem:
            raise ImageError(f"{name}: {problem}") from None

    def _plain(self, file, store: Store):
        reader = unpack.Tar(file, unpack.Limits(), self.name, None)
        if not reader.compressed:
            return file
        plain = tempfile.TemporaryFile(dir=store.path / "partial")
        with file:
            while data := reader.read(1 << 18):
                plain.write(data)
        plain.seek(0)
        return plain

    def has(self, path: str) -> bool:
        return path in self._members

    def open(self, path: str):
        """A member as a file; `docker save` links layers that are the same to each other.  `NotFound`."""
        for _ in range(8):
            member = self._members.get(os.path.normpath(path).lstrip("/"))
            if member is None:
                raise NotFound(f"{self.name}: {shown(path)} is missing from it")
            if member.isreg():
                return self._tar.extractfile(member)
            if member.issym():
                path = os.path.join(os.path.dirname(path), member.linkname)
            elif member.islnk():
                path = member.linkname
            else:
                break
        raise ImageError(f"{self.name}: {shown(path)} is no file")

    def close(self) -> None:
        self._tar.close()
        self._file.close()


class FromArchive(_Layout):
    """`oci-archive:FILE[:TAG]`."""

    def __init__(self, rest: str, store: Store) -> None:
        path, tag = path_and_tag(rest)
        super().__init__(f"oci-archive:{path}", tag)
        self._archive = Archive(self.name, path, store)

    @classmethod
    def every(cls, archive: Archive) -> list[tuple[Source, str | None]]:
        """All images of an archive that somebody else closes, each with the whole name it says it has.  `ImageError`."""
        with archive.open("index.json") as file:
            where = f"{archive.name}: index.json"
            index = documents.decode(file.read(documents.DOCUMENT_MAX + 1), Index, where)
        found: list[tuple[Source, str | None]] = []
        for entry in index.manifests or []:
            source = cls.__new__(cls)
            _Layout.__init__(source, archive.name, documents.check_descriptor(entry, where).digest)
            source._archive = archive
            said = (entry.annotations or {}).get(_CONTAINERD_NAME) or name_of(entry)
            named = said is not None and ("/" in said or ":" in said)
            found.append((source, _whole_name(said) if named else said and _whole_name(f"localhost/loaded:{said}")))
        return found

    def _open(self, path: str):
        return self._archive.open(path)

    def close(self) -> None:
        self._archive.close()


class _Saved(msgspec.Struct, rename="pascal"):
    """An entry of the manifest.json that `docker save` writes."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


class FromDockerArchive(Source):
    """`docker-archive:FILE[:NAME:TAG]`, of any docker since 1.10: its manifest.json, which newer ones write beside an index."""

    def __init__(self, rest: str, store: Store) -> None:
        path, self._tag = path_and_tag(rest)
        self.name = f"docker-archive:{path}"
        self._begin(Archive(self.name, path, store))

    def _begin(self, archive: Archive) -> None:
        self._archive = archive
        self._position: int | None = None  # of the image, where it is to be no other
        self._where: dict[str, str] = {}  # digest -> member
        self.names: list[str] = []

    @classmethod
    def every(cls, archive: Archive) -> list[tuple[Source, str | None]]:
        """All images of an archive that somebody else closes; they say their names themselves.  `ImageError`."""
        found: list[tuple[Source, str | None]] = []
        with archive.open("manifest.json") as file:
            entries = documents.decode(
                file.read(documents.DOCUMENT_MAX + 1), list[_Saved], f"{archive.name}: manifest.json"
            )
        for position in range(len(entries)):
            source = cls.__new__(cls)
            source.name, source._tag = archive.name, None
            source._begin(archive)
            source._position = position
            found.append((source, None))
        return found

    def top(self, platform: Platform) -> tuple[Descriptor, bytes]:
        if not self._archive.has("manifest.json"):
            hint = (
                "; it is of a docker before 1.10: load and save it with a newer one" if self._archive.has("repositories") else ""
            )
            raise NotFound(f"{self.name}: not written by `docker save`: there is no manifest.json in it{hint}")
        with self._archive.open("manifest.json") as file:
            entries = documents.decode(file.read(documents.DOCUMENT_MAX + 1), list[_Saved], f"{self.name}: manifest.json")
        entry = self._entry(entries)
        self.names = entry.repo_tags or []
        if len(entry.layers or []) > documents.LAYERS_MAX:
            raise ImageError(f"{self.name}: {len(entry.layers)} layers; {documents.LAYERS_MAX} at most")
        with self._archive.open(entry.config) as file:
            config = file.read(documents.DOCUMENT_MAX + 1)
        described = Descriptor(documents.CONFIG, digest_of(config), len(config))
        self._where[described.digest] = entry.config
        known = {path: self._layer(path) for path in set(entry.layers or [])}
        layers = [known[path] for path in entry.layers or []]
        data = documents.encode(Manifest(described, layers, 2, documents.MANIFEST))
        return Descriptor(documents.MANIFEST, digest_of(data), len(data)), data

    def _entry(self, entries: list[_Saved]) -> _Saved:
        if not entries:
            raise NotFound(f"{self.name}: there is no image in it")
        if self._position is not None:
            return entries[self._position]
        if self._tag is None:
            if len(entries) > 1:
                names = ", ".join(shown(name) for entry in entries for name in entry.repo_tags or [])
                raise ImageError(f"{self.name}: there are {len(entries)} images in it; give one of {names} after a colon")
            return entries[0]
        wanted = Reference.parse(self._tag).name
        for entry in entries:
            if any(_whole_name(name) == wanted for name in entry.repo_tags or []):
                self._tag = None
                return entry
        raise NotFound(f"{self.name}: there is no image {shown(self._tag)} in it")

    def _layer(self, path: str) -> Descriptor:
        """A layer, digested: nothing in the archive says what that is."""
        import hashlib

        with self._archive.open(path) as file:
            head = file.read(6)
            media_type = _TYPES.get(unpack.compression(head), documents.LAYER)
            hashed, size = hashlib.sha256(head), len(head)
            while data := file.read(1 << 18):
                hashed.update(data)
                size += len(data)
        digest = f"sha256:{hashed.hexdigest()}"
        self._where[digest] = path
        return Descriptor(media_type, digest, size)

    def document(self, descriptor: Descriptor) -> bytes:
        with self._archive.open(self._where.get(descriptor.digest, descriptor.digest)) as file:
            return _checked(file.read(documents.DOCUMENT_MAX + 1), descriptor, self.name)

    def bring(self, descriptor: Descriptor, store: Store, part) -> None:
        if not store.has(descriptor):
            with self._archive.open(self._where[descriptor.digest]) as file:
                store.add_stream(file, descriptor, self.name, part)

    def close(self) -> None:
        self._archive.close()


def of(transport: str, rest: str, store: Store) -> Source:
    """The source that a transport and what follows it name.  `ImageError`."""
    match transport:
        case "docker":
            return FromRegistry(Reference.parse(rest))
        case "oci":
            return FromLayout(rest)
        case "oci-archive":
            return FromArchive(rest, store)
        case _:
            return FromDockerArchive(rest, store)


def name_for(transport: str, rest: str) -> str | None:
    """The name that an image gets in the store; None where its source says it, or nobody does."""
    if transport == "docker":
        return Reference.parse(rest).name
    path, tag = path_and_tag(rest)
    if transport == "docker-archive":
        return _whole_name(tag) if tag else None
    for text in ([tag] if tag and "/" in tag else []) + [f"{Path(path).name.split('.')[0].lower()}:{tag or 'latest'}"]:
        try:
            reference = Reference.parse(text)
        except ImageError:
            continue
        return reference.name if "/" in text else f"localhost/{reference.path.removeprefix('library/')}:{reference.tag}"
    return None


def _whole_name(text: str) -> str | None:
    try:
        return Reference.parse(text).name
    except ImageError:
        return None


def _same_name(name: str, tag: str) -> bool:
    return _whole_name(tag) == name


def _names(entries: list[Descriptor]) -> str:
    names = [shown(name) for entry in entries if (name := name_of(entry))]
    return f"give one of {', '.join(names)} after a colon" if names else "they have no names; give a digest after a colon"


def _blob_path(descriptor: Descriptor) -> str:
    if not DIGEST.fullmatch(descriptor.digest):
        raise ImageError(f"{shown(descriptor.digest)} is no digest")
    return f"blobs/{descriptor.digest.replace(':', '/')}"


def _checked(data: bytes, descriptor: Descriptor, where: str) -> bytes:
    found = digest_of(data, descriptor.digest)
    if len(data) != descriptor.size and len(data) <= documents.DOCUMENT_MAX:
        raise ImageError(f"{where}: {descriptor.digest} has {len(data)} bytes instead of {descriptor.size}")
    if found != descriptor.digest:
        raise ImageError(f"{where}: digest mismatch: what came for {descriptor.digest} is {found}")
    return data
