"""The file system that is a sandbox's root, and what is mounted into it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence

from containers.sandbox import Settings, Volume
from containers.scratch import Scratch
from containers.status import CannotRun
from vfs.filesystem import FileSystem
from vfs.hostfs import HostFs
from vfs.namespace import Flags, Location, Namespace
from vfs.tmpfs import TmpFs

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS_MAX = 40
_FORBIDDING = ("ro", "nosuid", "nodev", "noexec")
STORE = ".wh..wh.int80"  # in an upper directory: what is ours there; no layer shows such a name


def root(settings: Settings, scratch: Scratch) -> FileSystem:
    """The root file system that `settings` ask for.  `CannotRun`."""
    if settings.view is not None:
        return settings.view.tree(settings.view.find(os.fsencode(settings.rootfs)))
    if settings.rootfs is not None:
        return HostFs(_open(settings.rootfs, "--rootfs", "give the directory that is to be the guest's /"), source=b"int80")
    fs = _layered(settings, scratch)
    if settings.image is not None:
        settings.image.attach(fs)
    return fs


def _layered(settings: Settings, scratch: Scratch) -> FileSystem:
    from vfs.layers import LayerFs

    if settings.image is not None:
        lowers = settings.image.open()
    else:
        lowers = [_open(path, "--lower", "give a directory to lie below") for path in settings.lowers]
    if settings.store is not None:
        return _kept(lowers, settings.store, _hidden(settings, settings.store))
    if settings.upper is not None:
        fd = _open(settings.upper, "--upper", "give the directory that is to take the changes")
        os.close(fd)
        for lower in settings.lowers:
            if _below(lower, settings.upper) is not None:
                raise CannotRun(f"--upper {settings.upper}: --lower {lower} lies in it; choose another directory for the changes")
        store = os.path.join(settings.upper, STORE)
        os.makedirs(store, 0o700, exist_ok=True)
        scratch.hold(lock_upper(settings.upper))
        if settings.image is not None:
            settings.image.note(store)
        return _kept(lowers, store, _hidden(settings, settings.upper), settings.upper)
    place = scratch.disk()
    return LayerFs(lowers, _made(place, b"upper"), _made(place, b"work"), hidden=_hidden(settings, os.fsdecode(place)))


def _hidden(settings: Settings, own: str) -> list[bytes]:
    """What is hidden, and with it our own directory where it lies in a lower one: its files have another name inside."""
    places = (_below(own, lower) for lower in settings.lowers)
    return [*settings.hidden, *(b"/" + os.fsencode(place) for place in places if place)]


def _below(path: str, top: str) -> str | None:
    """The way from a directory to one that lies in it, empty for itself; None where it does not."""
    way = os.path.relpath(os.path.realpath(path), os.path.realpath(top))
    return None if way == ".." or way.startswith("../") else way.removeprefix(".")


def lock_upper(upper: str) -> int:
    """Have an upper layer for ourselves as long as the descriptor given is open.  `CannotRun`."""
    lock = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise CannotRun(f"--upper {upper}: another sandbox is using it; wait until that has ended") from None
    return lock


def _kept(lowers: Sequence[int], store: str, hidden, upper: str | None = None) -> FileSystem:
    """Layers whose upper one outlives the sandbox."""
    from vfs.journal import Journal
    from vfs.layers import LayerFs

    place = os.fsencode(store)
    journal = Journal(os.path.join(place, b"journal"))
    upper_fd = os.open(upper, _DIRECTORY) if upper is not None else _made(place, b"upper")
    return LayerFs(lowers, upper_fd, _made(place, b"work"), journal, hidden)


def _made(place: bytes, name: bytes) -> int:
    """A directory in a store, made if it is not there; its descriptor, which can be listed."""
    path = os.path.join(place, name)
    os.makedirs(path, 0o700, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _open(path: str, option: str, advice: str) -> int:
    """A descriptor of a directory that a person named.  `CannotRun`."""
    try:
        return os.open(path, _DIRECTORY)
    except OSError as problem:
        if problem.errno == errno.EACCES:
            raise CannotRun(f"{option} {path}: permission denied; the user who runs int80 must be able to read it") from None
        reason = {errno.ENOTDIR: "it is not a directory", errno.ENOENT: "there is no such directory"}
        raise CannotRun(f"{option} {path}: {reason.get(problem.errno, problem.strerror.lower())}; {advice}") from None


def mount(namespace: Namespace, settings: Settings, scratch: Scratch, made_up: Sequence[tuple[FileSystem, bytes]]) -> None:
    """Mount the made-up trees, memory for shared memory and, in a read-only root, for /tmp, and what a person asked for.

    `CannotRun`.
    """
    for fs, path in made_up:
        _mount(namespace, fs, path, settings.read_only)
    _mount(namespace, TmpFs(scratch.directory, size=settings.shm_size), b"/dev/shm", False)
    if settings.limits.any:
        from vfs.cgroupfs import CgroupFs

        _mount(namespace, CgroupFs(made_up[0][0].view), b"/sys/fs/cgroup", False, True)
    if settings.read_only:
        _mount(namespace, TmpFs(scratch.directory), b"/tmp", True)
    for path, text in settings.files:
        _lay_file(namespace, scratch, path, text, settings.read_only)
    for memory in settings.tmpfs:
        flags = Flags(*(name in memory.options for name in _FORBIDDING))
        shown = ["ro" if flags.read_only else "rw", *(name for name in _FORBIDDING[1:] if name in memory.options)]
        flags.shown = ",".join(shown).encode()
        _mount(namespace, TmpFs(scratch.directory, memory.mode, memory.size), memory.target, settings.read_only, flags)
    if settings.init is not None:
        _mount(namespace, _volume(Volume(settings.init, b"", True)), b"/dev/init", False, True)
    for volume in settings.volumes:
        namespace.root.fs.share(os.path.realpath(os.fsencode(volume.source)))
        _mount(namespace, _volume(volume), volume.target, settings.read_only, volume.read_only)


def _lay_file(namespace: Namespace, scratch: Scratch, path: bytes, text: bytes, read_only: bool) -> None:
    """Have a file of the sandbox's own at a path, whether or not one is there; nothing of the root changes by that."""
    directory, _, name = path.rpartition(b"/")
    context = namespace.context()
    try:
        place = namespace.walk(context, namespace.root, directory)
    except OSError:
        return  # a root without that directory has no use for it
    try:
        found = namespace.walk(context, place, name)
        if found.node.is_dir:
            return
        names = found.path
    except OSError:
        names = place.path + (name,)  # it can be reached, if not listed: the table of mounts is asked first
    file = os.path.join(scratch.directory(), name)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(fd, "wb") as new:
        new.write(text)
    namespace.mount(HostFs(os.open(file, os.O_PATH | os.O_CLOEXEC), b"int80"), names, read_only)


def _volume(volume: Volume) -> HostFs:
    try:
        return HostFs(os.open(volume.source, os.O_PATH | os.O_CLOEXEC), os.fsencode(os.path.abspath(volume.source)))
    except OSError as problem:
        hint = "; there are no volumes by name: give a path" if "/" not in volume.source else ""
        raise CannotRun(f"{volume.option} {volume.source}: {problem.strerror.lower()}{hint}") from None


def _mount(namespace: Namespace, fs: FileSystem, path: bytes, root_read_only: bool, flags: bool | Flags = False) -> None:
    names = tuple(name for name in path.split(b"/") if name and name != b".")
    if not names or b".." in names:
        raise CannotRun(f"{os.fsdecode(path)}: not a place to mount at; give an absolute path below /")
    place = mount_point(namespace, names, fs.is_directory(), root_read_only)
    namespace.mount(fs, place, flags)


def mount_point(namespace: Namespace, names: tuple[bytes, ...], directory: bool, root_read_only: bool) -> tuple[bytes, ...]:
    """Follow symlinks to where something is to be mounted; what is missing on the way is made, if it can be."""
    here = namespace.root
    context = namespace.context()
    ahead, links = list(reversed(names)), 0
    while ahead:
        name = ahead.pop()
        last = not ahead
        try:
            here = namespace.walk(context, here, name)
        except FileNotFoundError:
            target = _dangling(namespace, here, name)
            if target is not None and links < _LINKS_MAX:  # what it leads to is made
                links += 1
                ahead += [step for step in reversed(target.split(b"/")) if step and step != b"."]
                here = namespace.root if target[:1] == b"/" else here
                continue
            if root_read_only and here.fs.type != b"overlay":
                if not last:
                    shown = os.fsdecode(b"/" + b"/".join(names))
                    raise CannotRun(f"{shown}: nothing there to mount on, and the root is read-only") from None
                return here.path + (name,)  # it can be reached, if not listed: the table of mounts is asked first
            try:
                if last and not directory:
                    os.close(here.fs.create(here.node, name, os.O_WRONLY, 0o644))
                else:
                    here.fs.mkdir(here.node, name, 0o755)
                here = namespace.walk(context, here, name)
            except OSError as problem:
                if last:
                    return here.path + (name,)
                raise CannotRun(f"/{os.fsdecode(b'/'.join(names))}: {problem.strerror.lower()}; choose another place") from None
        except OSError as problem:
            raise CannotRun(f"/{os.fsdecode(b'/'.join(names))}: {problem.strerror.lower()}; choose another place") from None
        if last and here.node.is_dir != directory:
            kind = "a directory onto a file" if directory else "a file onto a directory"
            raise CannotRun(f"/{os.fsdecode(b'/'.join(names))}: {kind} cannot be mounted")
    return here.path


def _dangling(namespace: Namespace, here: Location, name: bytes) -> bytes | None:
    """Where a symlink leads that nothing stands behind; None where there is none."""
    try:
        found = namespace.walk(namespace.context(), here, name, False)
        return found.fs.readlink(found.node) if isinstance(found, Location) and found.node.is_symlink else None
    except OSError:
        return None
