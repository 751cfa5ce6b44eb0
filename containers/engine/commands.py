"""What the everyday commands do with containers; how they are written is `containers.engine.commandline`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

from containers.engine import listing
from containers.engine.attachment import Attachment, Left
from containers.engine.client import Link, Start, ask
from containers.engine.record import Record, Store, now
from containers.oci import control
from containers.oci.attending import attend, take_signals
from containers.status import CannotRun, exit_status

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    from containers.sandbox import Settings

Build = Callable[[list[str], str | None], "Settings"]  # from the words of `int80 run`, and the digest of an image's manifest
_ENDING = 10.0  # seconds that a monitor whose container has ended may take to be gone


class Wanted:
    """A container as `int80 run` describes it beside its `Settings`."""

    __slots__ = (
        "auto_remove", "detach", "given", "host", "id_file", "image", "interactive", "labels", "name", "replace", "restart",
        "stop_timeout", "words",
    )  # fmt: skip

    def __init__(
        self, words: list[str], name: str | None, image: str, detach: bool, interactive: bool, auto_remove: bool, restart: dict,
        labels: dict[str, str], given: list[str], stop_timeout: float, host: dict, id_file: str | None, replace: bool,
    ) -> None:  # fmt: skip
        self.words = words
        self.name = name
        self.image = image  # what people are shown
        self.detach = detach
        self.interactive = interactive
        self.auto_remove = auto_remove
        self.restart = restart
        self.labels = labels
        self.given = given  # the names of variables that were asked for
        self.stop_timeout = stop_timeout
        self.host = host  # limits, rights and the like, as `inspect` shows them
        self.id_file = id_file
        self.replace = replace


def settings_of(record: Record, build: Build) -> Settings:
    """The settings of a container, anew from the words it was made from.  `CannotRun`."""
    data = record.data
    try:
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        here = -1  # the directory is gone
    try:
        with contextlib.suppress(OSError):  # what is given by whole paths can be had all the same
            os.chdir(data["cwd"])
        settings = build(data["words"], data["digest"])
        _fix(settings, os.path.join(Store().registry.root, record.id))
    finally:
        if here >= 0:
            with contextlib.suppress(OSError):
                os.fchdir(here)
            os.close(here)
    if data["env"] is not None:
        settings.env = {os.fsencode(name): os.fsencode(value) for name, value in data["env"].items()}
    return settings


def _fix(settings: Settings, place: str) -> None:
    """Have paths that do not depend on where a command is given, and the changes kept in the container's directory."""
    if settings.rootfs is not None:
        settings.rootfs = os.path.abspath(settings.rootfs)
    elif settings.upper is not None:
        settings.upper = os.path.abspath(settings.upper)
    else:
        settings.upper = os.path.join(place, "upper")
        os.makedirs(settings.upper, 0o700, exist_ok=True)
    settings.lowers = [os.path.abspath(lower) for lower in settings.lowers]
    for volume in settings.volumes:
        volume.source = os.path.abspath(volume.source)


def create(store: Store, wanted: Wanted, build: Build) -> tuple[Record, Settings]:
    """A new container, locked, and its settings.  `CannotRun`; then nothing of it is left."""
    settings = build(wanted.words, None)
    image = settings.image.image if settings.image is not None else None
    stop_signal = settings.stop_signal if settings.stop_signal is not None else signal.SIGTERM
    data = {
        "created": now(), "status": "created", "pid": 0, "started": "", "finished": "", "exit_code": 0, "error": "",
        "stopped": False, "restarts": 0,
        "words": wanted.words, "cwd": _here(), "image": image.shown() if image is not None else wanted.image,
        "image_id": image.id if image is not None else "", "digest": image.descriptor.digest if image is not None else None,
        "command": [os.fsdecode(word) for word in settings.argv],
        "env": {os.fsdecode(name): os.fsdecode(value) for name, value in settings.env.items()},
        "tty": settings.tty, "open_stdin": wanted.interactive, "stdin_once": wanted.interactive and not wanted.detach,
        "auto_remove": wanted.auto_remove, "restart": wanted.restart, "labels": wanted.labels,
        "given": [name for name in wanted.given if os.fsencode(name) in settings.env],
        "stop_signal": int(stop_signal),
        "stop_timeout": wanted.stop_timeout,
        "hostname": os.fsdecode(settings.hostname),
        "user": settings.image.user if settings.image is not None else "{}:{}".format(*settings.uid_gid),
        "workdir": os.fsdecode(settings.workdir), "network": settings.net,
        "ports": {str(guest): host for guest, host in settings.published.items()},
        "read_only": settings.read_only, "pids_limit": settings.limits.pids,
        "mounts": [
            {"Type": "bind", "Source": os.path.abspath(volume.source), "Destination": os.fsdecode(volume.target),
             "RW": not volume.read_only}
            for volume in settings.volumes
        ] + [
            {"Type": "tmpfs", "Source": "", "Destination": os.fsdecode(memory.target), "RW": "ro" not in memory.options}
            for memory in settings.tmpfs
        ],
        "host": wanted.host,
    }  # fmt: skip
    if settings.rootfs is not None:
        data["root"] = os.path.abspath(settings.rootfs)
    else:
        data["root"] = [os.path.abspath(lower) for lower in settings.lowers]
    record = store.create(wanted.name, data | {"upper": None})
    place = os.path.join(store.registry.root, record.id)
    try:
        if image is not None:
            from containers.images.store import Store as Images

            images = Images()
            for holder in os.listdir(images.path / "holders"):  # of containers whose removal was killed
                if record.id != holder and not os.path.isdir(os.path.join(store.registry.root, holder)):
                    images.let_go(holder)
            images.hold(record.id, image)
        _fix(settings, place)
        if settings.rootfs is None:
            record.container.write(upper=settings.upper)
    except BaseException:
        store.registry.withdraw(record.container)
        raise
    return record, settings


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


# -- run and start ----------------------------------------------------------------------------------


def run(store: Store, wanted: Wanted, build: Build, keys: bytes) -> int:
    """Make a container and start it; attended to its end unless detached.  `CannotRun`."""
    if wanted.id_file is not None and os.path.lexists(wanted.id_file):
        raise CannotRun(f"--cidfile {wanted.id_file}: it is there already, as if of another container; remove it first")
    if wanted.replace and wanted.name is not None:
        remove(store, wanted.name, True)
    record, settings = create(store, wanted, build)
    if wanted.id_file is not None:
        try:
            with open(wanted.id_file, "x") as file:
                file.write(record.id)
        except OSError as problem:
            _discard(store, record)
            raise CannotRun(f"--cidfile {wanted.id_file}: {problem.strerror.lower()}") from None
    try:
        start = Start(record, settings, lambda: settings_of(record, build))
    except CannotRun:
        if wanted.auto_remove or wanted.name is None:
            _discard(store, record)
        raise
    if wanted.detach:
        try:
            start.go()
        except CannotRun:
            _discard(store, record)
            raise
        print(record.id)
        return 0
    return _attend(record, start, wanted.interactive, keys, True)


def _discard(store: Store, record: Record) -> None:
    with contextlib.suppress(CannotRun):
        control.wait(record.container)
        store.remove(record)


def _attend(record: Record, start: Start, interactive: bool, keys: bytes, owned: bool) -> int:
    """Have a container that is ready begin, with this command's streams; its exit status.  `CannotRun`.

    `owned`: the container was made for this command, so it does not go on writing when nobody reads.
    """
    attachment = Attachment(record, interactive, keys, lambda number: _pass_on(record, number))
    link = Link(record)
    link.send({"do": "wait", "last": True})
    start.go()
    left = attachment.run()
    if left is Left.KEYS:
        return 0
    if left is Left.DEAF:
        if owned:
            with contextlib.suppress(CannotRun):
                ask(record, {"do": "kill", "signal": int(signal.SIGKILL)})
            link.exit_code()
        return 128 + signal.SIGPIPE
    status = link.exit_code()
    link.close()
    if record.data["auto_remove"]:
        control.wait(record.container)
    return status


def _pass_on(record: Record, number: int) -> None:
    with contextlib.suppress(CannotRun):
        ask(record, {"do": "kill", "signal": number})


def start(store: Store, name: str, build: Build, attach: bool, interactive: bool, keys: bytes) -> int:
    """Start a container that does not run; its exit status if attached.  `CannotRun`."""
    record = store.find(name)
    if record.is_live():
        if not attach:
            return 0
        return attach_to(store, name, not interactive, keys, True)
    control.wait(record.container, _ENDING)
    record.lock()
    beginning = Start(record, settings_of(record, build), lambda: settings_of(record, build))
    if attach:
        return _attend(record, beginning, interactive and record.data["open_stdin"], keys, False)
    beginning.go()
    return 0


def attach_to(store: Store, name: str, no_input: bool, keys: bytes, proxy: bool) -> int:
    """Have a running container's streams; its exit status, or 0 where it was left.  `CannotRun`."""
    record = store.find(name)
    if record.status() == "paused":
        raise CannotRun(f"{name}: it is paused; `int80 unpause {name}` lets it go on")
    wants_input = record.data["open_stdin"] and not no_input
    link = Link(record)
    link.send({"do": "wait", "last": True})
    left = Attachment(record, wants_input, keys, (lambda number: _pass_on(record, number)) if proxy else None).run()
    match left:
        case Left.KEYS:
            return 0
        case Left.DEAF:
            return 128 + signal.SIGPIPE
    return link.exit_code()


# -- the end ----------------------------------------------------------------------------------------


def stop(store: Store, name: str, seconds: float | None, number: int | None) -> None:
    """Ask a container to end, and have it end; one that has is no failure.  `CannotRun`."""
    record = store.find(name)
    if not record.is_live():
        return
    data = record.data
    request = {
        "do": "stop", "signal": data["stop_signal"] if number is None else number,
        "seconds": data["stop_timeout"] if seconds is None else seconds,
    }  # fmt: skip
    try:
        link = Link(record)
        link.send(request)
        link.exit_code()
    except CannotRun:
        if record.is_live():
            raise
    control.wait(record.container, _ENDING)


def kill(store: Store, name: str, number: int) -> None:
    """Send a signal to a container's init.  `CannotRun`."""
    ask(store.find(name), {"do": "kill", "signal": number})


def restart(store: Store, name: str, seconds: float | None, build: Build) -> None:
    stop(store, name, seconds, None)
    start(store, name, build, False, False, b"")


def wait(store: Store, name: str) -> int:
    """Wait until a container ends; its exit status.  `CannotRun`."""
    record = store.find(name)
    if record.is_live():
        with contextlib.suppress(CannotRun):
            link = Link(record)
            link.send({"do": "wait"})
            return link.exit_code()
        control.wait(record.container, _ENDING)
        record.settle()
    return record.data["exit_code"]


def remove(store: Store, name: str, force: bool) -> None:
    """Forget a container.  `CannotRun`; with `force`, none is no failure."""
    record = store.lookup(name)
    if record is None:
        if force:
            return
        store.find(name)
    record.settle()
    store.remove(record, force)


def pause(store: Store, name: str, pausing: bool) -> None:
    ask(store.find(name), {"do": "pause" if pausing else "resume"})


# -- exec -------------------------------------------------------------------------------------------


def execute(store: Store, name: str, wanted: dict, interactive: bool, keys: bytes) -> int:
    """Run a command in a running container; its exit status, or 0 where it is detached.  `CannotRun`."""
    record = store.find(name)
    link = Link(record)
    pair = None
    if wanted["terminal"] and not wanted["detach"]:
        try:
            pair = os.openpty()
        except OSError as problem:
            raise CannotRun(f"--tty: no pseudo-terminal can be had: {problem.strerror.lower()}") from None
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    if wanted["detach"]:
        streams: tuple[int, ...] = (null, null, null)
        wanted["terminal"] = False
    elif pair is not None:
        streams = (pair[1],)
    else:
        streams = (0 if interactive else null, 1, 2)
    signals = take_signals(pair is not None)
    link.ask({"do": "exec"}, streams, wanted)
    os.close(null)
    if wanted["detach"]:
        return 0
    attend(signals, link.socket.fileno(), lambda number: link.send({"do": "signal", "signal": number}), pair)
    return exit_status(link.ended())


# -- files ------------------------------------------------------------------------------------------


def copy(store: Store, source: str, target: str, follow: bool, archive: bool, build: Build) -> None:
    """`cp`: one of the two is NAME:PATH.  `CannotRun`."""
    from containers.engine import copying

    inner, outer = _side(store, source), _side(store, target)
    if (inner is None) == (outer is None):
        raise CannotRun("cp: one of the two must be in a container, as NAME:PATH, and the other a path of this machine")
    record, path = inner or outer

    def make() -> Settings:
        settings = settings_of(record, build)
        settings.tty = False
        return settings

    with failures("cp"), copying.opened(record, make) as inside:
        if inner is not None:
            copying.out_of(inside, os.fsencode(path), target, follow, archive)
        else:
            copying.into(inside, source, os.fsencode(path), follow, archive)


def _side(store: Store, text: str) -> tuple[Record, str] | None:
    """The container and the path that NAME:PATH names; None for a path of this machine."""
    name, colon, path = text.partition(":")
    if not colon or not name or "/" in name or name.startswith("."):
        return None
    return store.find(name), path or "/"


@contextlib.contextmanager
def failures(what: str):
    try:
        yield
    except BrokenPipeError:
        raise CannotRun(f"{what}: nobody reads what is written") from None
    except OSError as problem:
        from containers.show import printable_text

        where = f"{printable_text(os.fsdecode(problem.filename))}: " if isinstance(problem.filename, str | bytes) else ""
        raise CannotRun(f"{what}: {where}{(problem.strerror or str(problem)).lower()}") from None


# -- stats ------------------------------------------------------------------------------------------


def stats(store: Store, names: list[str], once: bool, form: str, whole: bool = False) -> None:
    """Show what containers use, anew every second unless `once`.  `CannotRun`."""
    import json

    def chosen() -> list[Record]:
        found = [store.find(name) for name in names] if names else store.all()
        if not names:
            found = [record for record in found if record.is_live()]
        return found

    usage = listing.Usage(whole)
    records = chosen()
    usage.rows(records)
    time.sleep(1 if once else 0.2)  # what is used is known from two looks
    if once or form != "table" or not sys.stdout.isatty():
        while True:
            rows = usage.rows(records)
            if form == "table":
                listing.show(listing.stats_table(rows))
            elif form == "json":
                for row in rows:
                    print(json.dumps(row), flush=True)
            else:
                listing.print_rows(form, rows)
                sys.stdout.flush()
            if once or (names and not rows):
                return
            time.sleep(1)
            records = chosen()
    from rich.live import Live

    with Live(listing.stats_table(usage.rows(records)), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(1)
            live.update(listing.stats_table(usage.rows(chosen())), refresh=True)
