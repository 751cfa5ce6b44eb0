"""What an image comes to as a sandbox: its layers as the root, and its config as what to run.

image-spec 1.1, config.md; users are looked up as moby and runc do it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec

from containers.images import layers, pull
from containers.images.documents import Execution, parse_platform
from containers.images.errors import ImageError, interrupted, of_system, shown
from containers.images.progress import Quiet
from containers.images.progress import shown as shown_progress
from containers.images.reference import looks_like_one
from containers.images.store import Image, Store
from containers.images.unpack import Limits
from containers.roots import mount_point
from containers.sandbox import DEFAULT_PATH, Settings
from procs.credentials import Credentials
from vfs.journal import unescape
from vfs.namespace import Location, Namespace
from vfs.owners import Beside
from vfs.subtree import subtree

BASE = "image"  # in int80's own directory of an upper one: the digest of the image below, and its name
_FILE_MAX = 1 << 20  # bytes of /etc/passwd that are read
_ID_MAX = (1 << 32) - 2
_STOP = signal.SIGTERM


def is_image(word: str) -> bool:
    """Whether the first word of a command line names an image: one of the store's, or what can be nothing else."""
    return looks_like_one(word) or Store().knows(word)


class ImageRoot:
    """An image that a sandbox is to run: its layers, held from now on, and what its config says."""

    def __init__(self, store: Store, image: Image, limits: Limits, progress: Quiet) -> None:
        self._store = store
        self.image = image
        self.execution: Execution = image.config.execution
        self.layers, self._held = pull.use(store, image, limits, progress)
        self.user: str = self.execution.user or ""
        self._fds: list[int] = []

    # -- the root -----------------------------------------------------------------------------

    def open(self) -> list[int]:
        """Descriptors of the layers' trees, the bottom one first.  `ImageError`."""
        places = [Path(layer) / layers.ROOT for layer in self.layers]
        if not places:  # an image of nothing
            places = [self._store.path / "empty"]
            places[0].mkdir(mode=0o755, exist_ok=True)
        try:
            self._fds = [os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for place in places]
        except OSError as problem:
            raise of_system(self._store.path, problem) from None
        return self._fds

    def attach(self, fs) -> None:
        """Tell the layered root what is kept beside the layers."""
        implied: dict[int, set[tuple[bytes, ...]]] = {}
        for layer, fd in zip(self.layers, self._fds, strict=False):
            directory = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fs.take_owners(Beside(directory, moves=True))
            finally:
                os.close(directory)
            file = Path(layer) / layers.IMPLIED
            if file.exists():
                implied[fd] = {tuple(unescape(line).split(b"/")) for line in file.read_bytes().splitlines()}
        if implied:
            fs.settle_implied(implied)

    def note(self, place: str) -> None:
        """Remember in an upper directory's own place what lies below it.  `ImageError` where that is another image."""
        file = Path(place) / BASE
        digest = self.image.descriptor.digest
        if file.exists():
            before, _, name = file.read_text().partition(" ")
            if before != digest:
                raise ImageError(
                    f"--upper {Path(place).parent}: its changes are to another image, {shown(name.strip())} ({before}); "
                    "give that, or another directory"
                )
            return
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as new:
            new.write(f"{digest} {self.image.shown()}\n")

    # -- what to run --------------------------------------------------------------------------

    def command(self, entrypoint: str | None, words: list[str]) -> list[str]:
        """The words to run: another entry point leaves the image's own command out.  `ImageError`."""
        if entrypoint is not None:
            result = _entry_words(entrypoint) + words
        else:
            result = (self.execution.entrypoint or []) + (words or self.execution.cmd or [])
        if not result:
            raise ImageError(f"{self.image.shown()}: the image says no command; give one after its name")
        for word in result:
            self._check(word, "command")
        return result

    def environment(self) -> dict[bytes, bytes]:
        """The image's variables, with a PATH in any case."""
        env = {b"PATH": DEFAULT_PATH}
        for item in self.execution.env or []:
            name, _, value = item.partition("=")
            if name and "\0" not in item:
                env[os.fsencode(name)] = os.fsencode(value)
        return env

    def _check(self, text: str, what: str) -> None:
        """`ImageError` where what the config says can be no argument of a call."""
        if "\0" in text:
            raise ImageError(f"{self.image.shown()}: there is a zero byte in its {what}")

    @property
    def workdir(self) -> str:
        path = self.execution.working_dir or "/"
        self._check(path, "WorkingDir")
        return path if path.startswith("/") else "/" + path

    @property
    def stop_signal(self) -> int:
        """The number of the signal that asks the command to end.  `ImageError`."""
        try:
            return signal_number(self.execution.stop_signal) if self.execution.stop_signal else _STOP
        except ImageError as problem:
            raise ImageError(f"{self.image.shown()}: StopSignal {problem}; give another with --stop-signal") from None

    @property
    def volumes(self) -> list[bytes]:
        """Where the image wants data to be that is none of its own.  `ImageError`."""
        paths = [os.fsencode(path) for path in self.execution.volumes or {}]
        for path in paths:
            if not path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/"):
                raise ImageError(f"{self.image.shown()}: {shown(path)} is no place for a volume")
        return paths

    def settle(self, namespace: Namespace, settings: Settings) -> None:
        """What only the root itself can say: who the user is, and that directories are there.  `CannotRun`."""
        uid, gid, groups, home = find_user(namespace, self.user)
        settings.credentials = Credentials(uid, gid, groups)
        settings.env.setdefault(b"HOME", home)
        for path in self.volumes:
            place = self._made(namespace, path)
            if settings.read_only and place and place not in namespace.mounts:  # data may go there all the same
                found = namespace.at(place)
                namespace.mount(subtree(found.fs, found.node), place)
        self._made(namespace, settings.workdir)

    @staticmethod
    def _made(namespace: Namespace, path: bytes) -> tuple[bytes, ...]:
        names = tuple(name for name in path.split(b"/") if name and name != b".")
        return mount_point(namespace, names, True, False) if b".." not in names else ()


def _entry_words(text: str) -> list[str]:
    """What stands for an entry point: a command, or a list of JSON, as podman takes it."""
    if text.startswith("["):
        try:
            return msgspec.json.decode(text.encode(errors="surrogateescape"), type=list[str])
        except msgspec.MsgspecError:
            pass  # a command of an odd name
    return [text] if text else []


def signal_number(text: str) -> int:
    """The number of a signal by name or number.  `ImageError`."""
    name = text.upper().removeprefix("SIG")
    if name.isascii() and name.isdecimal() and 0 < int(name) <= signal.SIGRTMAX:
        return int(name)
    for start in ("RTMIN", "RTMAX"):
        rest = name.removeprefix(start)
        if rest != name and (not rest or rest[1:].isdecimal()):
            number = int(signal.Signals[f"SIG{start}"]) + int(rest or 0)
            if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                return number
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise ImageError(f"{shown(text)}: no signal") from None


# -- users --------------------------------------------------------------------------------------


def find_user(namespace: Namespace, text: str) -> tuple[int, int, tuple[int, ...], bytes]:
    """USER[:GROUP], names or numbers, by the root's own passwd and group: uid, gid, groups, home.  `ImageError`."""
    user, _, group = text.partition(":")
    wanted = os.fsencode(user) or b"0"
    uid, gid, home, name = _number(wanted), 0, b"/", None
    for fields in _lines(namespace, b"/etc/passwd", 7):
        ids = _number(fields[2]), _number(fields[3])
        if None in ids:
            continue
        if fields[0] == wanted or (uid is not None and ids[0] == uid):
            uid, gid, home, name = *ids, fields[5] or b"/", fields[0]
            break
    if uid is None:
        raise ImageError(f"{shown(user)}: there is no such user in the image's /etc/passwd; give a number, or another name")
    if name is None and uid == 0:
        home = b"/root"
    groups = []
    found = _number(os.fsencode(group)) if group else None
    for fields in _lines(namespace, b"/etc/group", 4):
        number = _number(fields[2])
        if number is None:
            continue
        if group and fields[0] == os.fsencode(group):
            found = number
        if not group and name is not None and name in fields[3].split(b",") and number != gid:
            groups.append(number)
    if group and found is None:
        raise ImageError(f"{shown(group)}: there is no such group in the image's /etc/group; give a number, or another name")
    return uid, gid if found is None else found, tuple(groups), home


def find_group(namespace: Namespace, text: str) -> int:
    """The number of a group by name or number.  `ImageError`."""
    wanted = os.fsencode(text)
    number = _number(wanted)
    for fields in _lines(namespace, b"/etc/group", 4) if number is None else ():
        if fields[0] == wanted:
            number = _number(fields[2])
    if number is None:
        raise ImageError(f"{shown(text)}: there is no such group in the root's /etc/group; give a number, or another name")
    return number


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) < 11 and int(text) <= _ID_MAX else None


def _lines(namespace: Namespace, path: bytes, fields: int) -> list[list[bytes]]:
    """The lines of a table in the root; none where there is no such file."""
    try:
        found = namespace.walk(namespace.context(), namespace.root, path)
        if not isinstance(found, Location) or not found.node.is_file:
            return []
        with open(found.fs.open(found.node, os.O_RDONLY), "rb") as file:
            text = file.read(_FILE_MAX)
    except OSError:
        return []
    return [parts for line in text.split(b"\n") if len(parts := line.split(b":")) >= fields]


# -- the command line ---------------------------------------------------------------------------


def prepare(word: str, when: str, platform: str | None, quiet: bool = False) -> ImageRoot:
    """The image that `int80 run` names, pulled if need be.  `ImageError`."""
    store, limits = Store(), Limits()
    wanted = parse_platform(platform) if platform is not None else None
    try:
        with shown_progress(quiet) as progress:
            image = pull.get(store, word, when, wanted, limits, progress)
            return ImageRoot(store, image, limits, progress)
    except KeyboardInterrupt:
        interrupted()


def pinned(digest: str) -> ImageRoot:
    """The image of a manifest that somebody has held (`Store.hold`), whatever it is called by now.  `ImageError`."""
    store, limits = Store(), Limits()
    with shown_progress() as progress:
        return ImageRoot(store, store.by_digest(digest), limits, progress)
