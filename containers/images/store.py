"""The store of images: `$XDG_DATA_HOME/int80/images`.

It is an OCI image layout, so that other tools can read it as it is, with two directories more:

    oci-layout, index.json     the images by name
    blobs/sha256/HEX           manifests, configs and layers, as they came
    layers/sha256/HEX/         a layer unpacked, by the digest of its tar: `root`, and owners beside it (`vfs.owners`)
    partial/sha256-HEX         a blob of which a part is there
    holders/NAME               the digest of an image that something is made of, which stays as long as that

Everything is made under another name and renamed when it is whole.  `lock` is held shared by whoever adds something or
starts to use it, and alone by whoever removes what nobody uses; a layer in use is held by a lock of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from containers.images import documents
from containers.images.documents import Descriptor, ImageConfig, Index, Manifest
from containers.images.errors import ImageError, NotFound, of_system, shown
from containers.images.reference import DIGEST, Reference, familiar
from vfs.removal import remove_below

CREATED = "org.int80.created"  # seconds since the epoch at which an image got its name here
_CHUNK = 1 << 18
_HEX = re.compile(r"[0-9a-f]{12,64}")
_SHORTEST = 12  # digits of a digest that may stand for an image


def directory() -> Path:
    """Where images are kept; it need not be there."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".local/share") / "int80/images"


class Image:
    """One image of the store: its names, its manifest and its config."""

    __slots__ = ("config", "created", "descriptor", "manifest", "names")

    def __init__(self, descriptor: Descriptor, manifest: Manifest, config: ImageConfig, names: list[str], created: int) -> None:
        self.descriptor = descriptor
        self.manifest = manifest
        self.config = config
        self.names = names
        self.created = created

    @property
    def id(self) -> str:
        """The digest of the config, by which docker and podman call an image too."""
        return self.manifest.config.digest

    @property
    def size(self) -> int:
        """Bytes of its blobs."""
        return self.descriptor.size + self.manifest.config.size + sum(layer.size for layer in self.manifest.layers)

    def shown(self) -> str:
        return familiar(self.names[0]) if self.names else self.id.partition(":")[2][:_SHORTEST]


class Store:
    """The store in one directory, made if need be.  `ImageError`."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = directory() if path is None else path
        try:
            for name in ("blobs/sha256", "blobs/sha512", "layers/sha256", "partial", "holders"):
                (self.path / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (self.path / "oci-layout").exists():
                self._write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        except OSError as problem:
            raise of_system(self.path, problem) from None

    # -- locks --------------------------------------------------------------------------------

    @contextmanager
    def shared(self) -> Iterator[None]:
        """While this is held nothing is removed from the store."""
        with _flock(self.path / "lock", fcntl.LOCK_SH):
            yield

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file, all at once."""
        target = self.path / name
        temporary = target.with_name(f".new-{os.getpid()}-{os.urandom(4).hex()}-{target.name}")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except OSError as problem:
            temporary.unlink(missing_ok=True)
            raise of_system(target, problem) from None

    # -- blobs --------------------------------------------------------------------------------

    def blob(self, digest: str) -> Path:
        """Where a blob is, if it is there."""
        if not DIGEST.fullmatch(digest):
            raise ImageError(f"{shown(digest)}: no digest")
        return self.path / "blobs" / digest.replace(":", "/")

    def partial(self, digest: str) -> Path:
        return self.path / "partial" / digest.replace(":", "-")

    def has(self, descriptor: Descriptor) -> bool:
        try:
            return self.blob(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    def read(self, descriptor: Descriptor, where: str) -> bytes:
        """A document.  `ImageError` where it is not there or not what its digest says."""
        try:
            with open(self.blob(descriptor.digest), "rb") as file:
                data = file.read(documents.DOCUMENT_MAX + 1)
        except FileNotFoundError:
            raise ImageError(f"{where}: {descriptor.digest} is missing from the store; pull the image again") from None
        except OSError as problem:
            raise of_system(self.path, problem) from None
        if digest_of(data, descriptor.digest) != descriptor.digest:
            raise ImageError(f"{where}: {descriptor.digest} is damaged in the store; `int80 rmi` the image and pull it again")
        return data

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a document; its descriptor."""
        digest = digest_of(data)
        if not self.has(Descriptor(media_type, digest, len(data))):
            self._write(f"blobs/{digest.replace(':', '/')}", data)
        return Descriptor(media_type, digest, len(data))

    def add_stream(self, stream, descriptor: Descriptor, where: str, progress=None) -> None:
        """Keep a blob that comes from a local file, checked on its way.  `ImageError`."""
        if self.has(descriptor):
            return
        with self.receive(descriptor) as receiver:
            if receiver is None:
                return
            receiver.restart()
            while data := _read(stream, _CHUNK, where):
                receiver.take(data, where)
                if progress is not None:
                    progress(len(data))
            receiver.finish(where)

    def add_unknown(self, stream, media_type: str, where: str, progress=None) -> Descriptor:
        """Keep a blob whose digest nobody has said; its descriptor."""
        temporary = self.path / "partial" / f".new-{os.getpid()}-{os.urandom(4).hex()}"
        hashed, size = hashlib.sha256(), 0
        try:
            with open(temporary, "xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                while data := _read(stream, _CHUNK, where):
                    file.write(data)
                    hashed.update(data)
                    size += len(data)
                    if progress is not None:
                        progress(len(data))
                file.flush()
                os.fsync(file.fileno())
                digest = f"sha256:{hashed.hexdigest()}"
                os.rename(temporary, self.blob(digest))
            return Descriptor(media_type, digest, size)
        except OSError as problem:
            raise of_system(self.path, problem) from None
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def receive(self, descriptor: Descriptor) -> Iterator[Receiver | None]:
        """What takes in a blob, part by part; None where another pull has brought it meanwhile."""
        path = self.partial(descriptor.digest)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as problem:
            raise of_system(path, problem) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            while os.fstat(fd).st_nlink == 0:  # another pull had it, and failed for good
                os.close(fd)
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
            if self.has(descriptor):  # and was done: what is locked is the blob, or a new file for nothing
                if path.exists() and os.path.samestat(os.fstat(fd), os.stat(path)):
                    path.unlink()
                yield None
                return
            yield Receiver(fd, path, self.blob(descriptor.digest), descriptor)
        finally:
            os.close(fd)

    # -- names --------------------------------------------------------------------------------

    def _index(self) -> Index:
        try:
            data = (self.path / "index.json").read_bytes()
        except FileNotFoundError:
            return Index([], 2, documents.INDEX)
        except OSError as problem:
            raise of_system(self.path / "index.json", problem) from None
        result = documents.decode(data, Index, str(self.path / "index.json"))
        result.manifests = result.manifests or []
        return result

    def tag(self, descriptor: Descriptor, name: str | None, created: float) -> None:
        """Give an image of the store a name (None: none but its digests), which another may lose by that."""
        with _flock(self.path / "index.lock", fcntl.LOCK_EX):
            index = self._index()
            kept = [entry for entry in index.manifests if not (name is not None and name_of(entry) == name)]
            if name is None and any(entry.digest == descriptor.digest for entry in kept):
                return
            if name is not None:  # an entry without a name is of no more use
                kept = [entry for entry in kept if entry.digest != descriptor.digest or name_of(entry) is not None]
            lost = [entry for entry in index.manifests if entry not in kept and entry.digest != descriptor.digest]
            for entry in lost:  # an image that loses its last name can still be reached by its id
                if all(other.digest != entry.digest for other in kept):
                    kept.append(Descriptor(entry.media_type, entry.digest, entry.size, {CREATED: str(_created(entry))}))
            notes = {CREATED: str(int(created))} | ({documents.REF_NAME: name} if name is not None else {})
            kept.append(Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, notes, descriptor.platform))
            index.manifests = kept
            self._write("index.json", documents.encode(index))

    def images(self) -> list[Image]:
        """Every image, the newest first.  One that is damaged is left out, and rmi takes it by its name."""
        found: dict[str, Image] = {}
        for entry in self._index().manifests:
            image = found.get(entry.digest)
            if image is None:
                try:
                    image = found[entry.digest] = self._load(entry, name_of(entry) or entry.digest)
                except ImageError:
                    continue
            if (name := name_of(entry)) is not None:
                image.names.append(name)
            image.created = max(image.created, _created(entry))
        return sorted(found.values(), key=lambda image: -image.created)

    def _load(self, entry: Descriptor, where: str) -> Image:
        manifest = documents.manifest(self.read(entry, where), where)
        config = documents.decode(self.read(manifest.config, where), ImageConfig, where)
        return Image(entry, manifest, config, [], _created(entry))

    def find(self, text: str) -> Image:
        """The image of a name or of the beginning of an id.  `NotFound`, `ImageError`."""
        entry = self._entry(text)
        image = self._load(entry, shown(text))
        image.names = [name for other in self._index().manifests if other.digest == entry.digest and (name := name_of(other))]
        return image

    def knows(self, text: str) -> bool:
        """Whether there is an image of that name or id, damaged or not."""
        try:
            self._entry(text)
        except ImageError:
            return False
        return True

    def by_digest(self, digest: str) -> Image:
        """The image of a manifest, named or not."""
        path = self.blob(digest)
        if not path.exists():
            raise NotFound(f"{digest}: there is no such image in the store")
        return self._load(Descriptor(documents.MANIFEST, digest, path.stat().st_size), digest)

    def _entry(self, text: str) -> Descriptor:
        entries = self._index().manifests
        try:
            reference = Reference.parse(text)
        except ImageError:
            if not DIGEST.fullmatch(text):
                raise
        else:
            for name in reference.names():
                for entry in entries:
                    if name_of(entry) == name:
                        return entry
            if reference.digest is not None:
                for entry in entries:
                    name = name_of(entry)
                    if (
                        entry.digest == reference.digest
                        and name is not None
                        and name.startswith(f"{reference.host}/{reference.path}")
                    ):
                        return entry
        digits = text.removeprefix("sha256:")
        if _HEX.fullmatch(digits):
            found: dict[str, Descriptor] = {}
            for entry in entries:
                ids = {entry.digest, self._id_of(entry)}
                if any(one.partition(":")[2].startswith(digits) for one in ids):
                    found[entry.digest] = entry
            if len(found) > 1 and len({self._id_of(entry) for entry in found.values()}) > 1:  # else one image, packed in two ways
                raise ImageError(f"{text}: {len(found)} images begin so; give more digits")
            if found:
                return next(iter(found.values()))
        raise NotFound(
            f"{shown(text)}: there is no such image here; `int80 pull` fetches one, `int80 images` shows those there are"
        )

    def _id_of(self, entry: Descriptor) -> str:
        try:
            return documents.manifest(self.read(entry, entry.digest), entry.digest).config.digest
        except ImageError:
            return ""

    # -- what is used -------------------------------------------------------------------------

    def hold(self, name: str, image: Image) -> None:
        """Keep an image's layers for something that is called `name`, whatever becomes of the image's names."""
        self._write(f"holders/{name}", image.descriptor.digest.encode())

    def let_go(self, name: str) -> None:
        (self.path / "holders" / name).unlink(missing_ok=True)

    def held(self) -> set[str]:
        """The digests of the manifests that somebody holds."""
        held = set()
        for file in (self.path / "holders").iterdir():
            try:
                held.add(file.read_text().strip())
            except (OSError, ValueError):
                continue
        return held

    def remove(self, texts: list[str]) -> tuple[list[str], list[str]]:
        """Take names from images, and remove what nobody uses then; the names taken, and the digests of manifests gone.

        An id takes all names of its image.  `NotFound`, before anything is changed.
        """
        with _flock(self.path / "index.lock", fcntl.LOCK_EX):
            index = self._index()
            gone: list[Descriptor] = []
            for text in texts:
                entry = self._entry(text)
                try:
                    by_name = name_of(entry) in Reference.parse(text).names()
                except ImageError:
                    by_name = False
                digits = text.removeprefix("sha256:")
                by_id = not by_name and _HEX.fullmatch(digits) and self._id_of(entry).startswith(f"sha256:{digits}")
                gone += [
                    other for other in index.manifests
                    if (other == entry if by_name else other.digest == entry.digest)
                    or (by_id and self._id_of(other) == self._id_of(entry))
                ]  # fmt: skip
            index.manifests = [entry for entry in index.manifests if entry not in gone]
            self._write("index.json", documents.encode(index))
        left = {entry.digest for entry in index.manifests}
        names = [name for entry in gone if (name := name_of(entry)) is not None]
        self.collect()
        return list(dict.fromkeys(names)), list(dict.fromkeys(entry.digest for entry in gone if entry.digest not in left))

    def collect(self) -> None:
        """Remove the blobs, layers and unfinished parts that no image needs; what is in use just now stays.

        Nothing is removed while anybody adds something: the next one to remove an image sees to it.
        """
        try:
            with _flock(self.path / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._collect()
        except BlockingIOError:
            pass

    def _collect(self) -> None:
        from containers.images.layers import remove_unused

        blobs: set[str] = set()
        layers: set[str] = set()
        for digest in {entry.digest for entry in self._index().manifests} | self.held():
            try:
                image = self.by_digest(digest)
            except ImageError:
                continue  # damaged, or gone: it keeps nothing
            blobs |= {digest, image.id} | {layer.digest for layer in image.manifest.layers}
            layers |= set(image.config.diff_ids)
        for path in self.path.glob("blobs/*/*"):
            if f"{path.parent.name}:{path.name}" not in blobs:
                path.unlink(missing_ok=True)
        for path in (self.path / "partial").iterdir():
            _remove_dead(path)
        remove_unused(self.path / "layers/sha256", {digest.partition(":")[2] for digest in layers})


class Receiver:
    """A blob that comes in: appended to what is there, hashed, and moved to its place when it is whole."""

    def __init__(self, fd: int, partial: Path, target: Path, descriptor: Descriptor) -> None:
        self._fd = fd
        self._partial = partial
        self._target = target
        self._descriptor = descriptor
        self.size = 0
        self._hash = hashlib.new(descriptor.digest.partition(":")[0])

    def resume(self) -> int:
        """Read what an earlier attempt has left; how many bytes that is."""
        size = os.fstat(self._fd).st_size
        if size > self._descriptor.size:
            self.restart()
            return 0
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(self._hash.name)
        self.size = 0
        while data := os.read(self._fd, _CHUNK):
            self._hash.update(data)
            self.size += len(data)
        return self.size

    def restart(self) -> None:
        """Forget everything."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(self._hash.name)
        self.size = 0

    def take(self, data: bytes, where: str) -> None:
        """`ImageError` where there is more of it than was said, or no room."""
        if self.size + len(data) > self._descriptor.size:
            self._partial.unlink(missing_ok=True)
            raise ImageError(f"{where}: {self._descriptor.digest} has more than the {self._descriptor.size} bytes it should have")
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as problem:
            raise of_system(self._target, problem) from None
        self._hash.update(data)
        self.size += len(data)

    def finish(self, where: str) -> None:
        """Check it and put it in its place.  `ImageError`; nothing of it is kept then."""
        name = self._descriptor.digest
        if self.size != self._descriptor.size:
            self._partial.unlink(missing_ok=True)
            raise ImageError(f"{where}: {name} has {self.size} bytes instead of {self._descriptor.size}")
        found = f"{name.partition(':')[0]}:{self._hash.hexdigest()}"
        if found != name:
            self._partial.unlink(missing_ok=True)
            raise ImageError(f"{where}: digest mismatch: what came for {name} is {found}; the source is damaged or changed")
        try:
            os.fsync(self._fd)
            os.rename(self._partial, self._target)
        except OSError as problem:
            raise of_system(self._target, problem) from None


def digest_of(data: bytes, like: str = "sha256:") -> str:
    """The digest of some bytes, by the algorithm that another digest has."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def name_of(entry: Descriptor) -> str | None:
    return (entry.annotations or {}).get(documents.REF_NAME)


def _created(entry: Descriptor) -> int:
    text = (entry.annotations or {}).get(CREATED, "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0


def _read(stream, size: int, where: str) -> bytes:
    """Read from a source.  `ImageError`."""
    try:
        return stream.read(size)
    except OSError as problem:
        raise of_system(where, problem) from None


def _remove_dead(path: Path) -> None:
    """Remove something unfinished unless somebody is at it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            remove_below(fd)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(fd)


@contextmanager
def _flock(path: Path, how: int) -> Iterator[None]:
    """A lock that ends with its holder."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise of_system(path, problem) from None
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)
