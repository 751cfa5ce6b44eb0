"""What the runtime commands do, from the side of whoever gives them; the container's own side is `containers.oci.monitor`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import signal
import socket
import struct
import termios
import time

from containers import cgroup
from containers.oci import control, hooks
from containers.oci.attending import attend, close_streams, exit_as, take_signals
from containers.oci.log import Log
from containers.oci.state import Container, ContainerError, NotThere, Over, Registry, new_record
from containers.status import exit_status
from vfs import kernel

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    from containers.oci import config

_LISTEN = "LISTEN_FDS"
_PATIENCE = 2  # seconds in which what was killed is gone


class Streams:
    """What a process gets beside its three streams, by the options that `create`, `run` and `exec` share."""

    __slots__ = ("console_socket", "detach", "pid_file", "preserved")

    def __init__(
        self, console_socket: str | None = None, preserved: int = 0, detach: bool = True, pid_file: str | None = None
    ) -> None:
        self.console_socket = console_socket
        self.preserved = preserved
        self.detach = detach
        self.pid_file = pid_file


class Runtime:
    """Where containers are, and where messages go."""

    __slots__ = ("log", "registry")

    def __init__(self, registry: Registry, log: Log) -> None:
        self.registry = registry
        self.log = log


# -- create and run ---------------------------------------------------------------------------------


class Made:
    """A container that has been created: its monitor, our child, and what `run` needs to go on with it."""

    __slots__ = ("container", "monitor", "terminal")

    def __init__(self, container: Container, monitor: int, terminal: tuple[int, int] | None) -> None:
        self.container = container
        self.monitor = monitor
        self.terminal = terminal  # master and slave, where it is ours to relay


def create(runtime: Runtime, name: str, bundle: str, streams: Streams) -> Made:
    """Create a container, which waits for `start`.  `ContainerError`; then nothing of it is left."""
    from containers.oci import config
    from containers.oci.settings import outcome

    bundle = _bundle(bundle)
    configuration = config.load(bundle)
    terminal = configuration.process.terminal
    if streams.detach and terminal and streams.console_socket is None:
        raise ContainerError("cannot allocate tty if runc will detach without setting console socket")
    if streams.console_socket is not None and not (streams.detach and terminal):
        raise ContainerError("cannot use console socket if runc will not detach or allocate tty")
    result = outcome(configuration, bundle)
    settings = result.settings
    settings.counted = True  # `update` may limit the tasks of any
    for warning in result.warnings:
        runtime.log.warning(warning)
    more = preserved(streams.preserved)
    if listening():
        settings.env[_LISTEN.encode()] = os.fsencode(os.environ[_LISTEN])
        settings.env[b"LISTEN_PID"] = b"1"
    phases = configuration.hooks or config.Hooks()
    record = new_record(
        bundle, os.path.join(bundle, configuration.root.path), configuration.annotations,
        {"poststart": _encoded(phases.poststart), "poststop": _encoded(phases.poststop)}, _owner(),
    )  # fmt: skip
    claimed = runtime.registry.claim(name, record)
    pair = tty = None
    try:
        if terminal:
            pair, tty = _terminal(streams.console_socket, configuration.process)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        monitor = os.fork()
    except BaseException:
        runtime.registry.withdraw(claimed)
        raise
    if monitor == 0:
        from containers.oci.monitor import become

        ours.close()
        if pair is not None:
            os.close(pair[0])
        become(claimed, runtime.registry, settings, phases.start_container, runtime.log, theirs, tty, more)
    theirs.close()
    if tty is not None and pair is None:
        os.close(tty)
    made = None
    try:
        _hear(ours, "prepared")
        claimed.close()  # the monitor has its own lock now
        container = runtime.registry.find(name)
        made = Made(container, monitor, pair)
        state = container.state("creating")
        hooks.run(phases.prestart, "prestart", state)
        hooks.run(phases.create_runtime, "createRuntime", state)
        hooks.run(phases.create_container, "createContainer", state)
        with contextlib.suppress(OSError):  # it was killed, which is heard next
            ours.send(b"go")
        _hear(ours, "created")
        if streams.pid_file is not None:
            write_pid_file(streams.pid_file, monitor)
    except BaseException as problem:
        claimed.close()
        if _undo(runtime, name, monitor) and made is not None:
            _poststop(runtime, made.container)
        if isinstance(problem, hooks.HookError):
            raise ContainerError(str(problem)) from None
        raise
    finally:
        ours.close()  # not earlier: a monitor that is left alone withdraws its container, and no hook would run after it
    return made


def _undo(runtime: Runtime, name: str, monitor: int) -> bool:
    """End the monitor of a container that is not to be, and forget the container; whether there was one to forget."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(monitor, signal.SIGKILL)
    os.waitpid(monitor, 0)
    with contextlib.suppress(ContainerError):
        container = runtime.registry.find(name)
        if container.pid in (0, monitor):
            runtime.registry.remove(container)
            return True
    return False


def _hear(channel: socket.socket, wanted: str) -> None:
    """Wait until the monitor says that it has come so far.  `ContainerError`."""
    try:
        data = channel.recv(1 << 16)
    except ConnectionError:
        data = b""
    answer = json.loads(data) if data else {"error": "the container's monitor was killed"}
    if wanted not in answer:
        raise ContainerError(answer["error"])


def _bundle(bundle: str) -> str:
    """A bundle's directory as an absolute path.  `ContainerError`."""
    try:
        if not os.path.isdir(bundle):
            os.chdir(bundle)  # for its reason
        return os.path.realpath(bundle)
    except OSError as problem:
        raise ContainerError(f"chdir {bundle}: {problem.strerror.lower()}") from None


def _owner() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _encoded(found: list[config.Hook]) -> list[dict]:
    import msgspec

    return msgspec.to_builtins(found)


def listening() -> int:
    """How many descriptors a manager passes by sd_listen_fds(3)."""
    number = os.environ.get(_LISTEN, "0")
    return int(number) if number.isascii() and number.isdecimal() else 0


def preserved(number: int) -> tuple[int, ...]:
    """The descriptors from 3 on that a process is to have too.  `ContainerError`."""
    found = tuple(range(3, 3 + number + listening()))
    for fd in found:
        try:
            os.fstat(fd)
        except OSError:
            raise ContainerError(f"unable to stat preserved-fd {fd - 3 + 1} (of {len(found)}): it is not open") from None
    return found


def write_pid_file(path: str, pid: int) -> None:
    """Write a process id where a manager looks for it, in one step.  `ContainerError`."""
    import tempfile

    path = os.path.abspath(path)
    try:
        fd, draft = tempfile.mkstemp(prefix=f".{os.path.basename(path)}", dir=os.path.dirname(path))
        with open(fd, "w") as file:
            file.write(str(pid))
            os.fchmod(fd, 0o644)
        os.rename(draft, path)
    except OSError as problem:
        raise ContainerError(f"--pid-file {path}: {problem.strerror.lower()}") from None


def run(runtime: Runtime, name: str, bundle: str, streams: Streams, keep: bool) -> int:
    """Create a container and start it; unless detached, wait for its end: its exit status.  `ContainerError`."""
    made = create(runtime, name, bundle, streams)
    signals = take_signals(made.terminal is not None)
    try:
        start(runtime, name)
    except ContainerError:
        with contextlib.suppress(ContainerError):
            delete(runtime, name, True)
        _wait(made.monitor)
        raise
    if streams.detach:
        return 0
    ended = kernel.pidfd_open(made.monitor)
    attend(signals, ended, lambda number: signal.pidfd_send_signal(ended, number), made.terminal)
    status = _wait(made.monitor)
    if not keep:
        delete(runtime, name, True)
    return exit_status(status)


def _wait(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


# -- terminals --------------------------------------------------------------------------------------


def _terminal(console_socket: str | None, process: config.Process) -> tuple[tuple[int, int] | None, int]:
    """(the pair or None, the slave): a terminal that this command is to relay, or whose master goes to the console socket."""
    try:
        master, slave = os.openpty()
    except OSError as problem:
        raise ContainerError(f"no pseudo-terminal can be had: {problem.strerror.lower()}") from None
    if console_socket is None:
        return (master, slave), slave
    try:
        if process.console_size is not None:
            size = struct.pack("<HHHH", process.console_size.height, process.console_size.width, 0, 0)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        send_console(console_socket, master, os.ttyname(slave))
    except BaseException:
        os.close(slave)
        raise
    finally:
        os.close(master)
    return None, slave


def send_console(path: str, master: int, name: str) -> None:
    """Send a terminal's master to whoever listens at the console socket.  `ContainerError`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.connect(path)
            socket.send_fds(console, [name.encode()], [master])
    except OSError as problem:
        raise ContainerError(f"--console-socket {path}: {(problem.strerror or str(problem)).lower()}") from None


# -- the rest of its life ---------------------------------------------------------------------------


def start(runtime: Runtime, name: str) -> None:
    """Have a created container's process run.  `ContainerError`."""
    container = runtime.registry.find(name)
    configured = _hooks_of(container, "poststart")
    try:
        control.ask(container, {"do": "start"})
    except control.Gone:
        raise ContainerError("cannot start a container that has stopped") from None
    except Over:
        control.wait(container)
        _forget(runtime, container)
        raise
    container.read()
    hooks.run_all(configured, "poststart", container.state(), runtime.log.warning)


def _hooks_of(container: Container, phase: str) -> list[config.Hook]:
    found = container.record["hooks"].get(phase)
    if not found:
        return []
    import msgspec

    from containers.oci import config

    return msgspec.convert(found, list[config.Hook])


def shown(container: Container) -> dict:
    """A container's state with what runc's `state` and `list` show beside what the specification names."""
    state = container.state()
    annotations = state.pop("annotations", None)
    state |= {"rootfs": container.record["rootfs"], "created": container.record["created"], "owner": ""}
    return state | ({"annotations": annotations} if annotations else {})


def kill(runtime: Runtime, name: str, number: int, everybody: bool) -> None:
    """Send a signal to a container's process, or to all of its processes.  `ContainerError`."""
    container = runtime.registry.find(name)
    try:
        control.ask(container, {"do": "kill", "signal": number, "all": everybody})
    except control.Gone:
        if not everybody:  # there is nobody left to reach, which is no failure for who would reach all
            raise ContainerError("container not running") from None
    except ContainerError:
        if not everybody:
            raise


def delete(runtime: Runtime, name: str, force: bool) -> None:
    """Forget a container that has stopped or was never started; with `force` any, and none is no failure.  `ContainerError`."""
    try:
        container = runtime.registry.find(name, damaged=force)
    except NotThere:
        if force:
            return
        raise
    status = container.status()
    if status == "created" or (force and status != "stopped"):
        control.end(container)
    elif status != "stopped":
        raise ContainerError(f"cannot delete container {name} that is not stopped: {status}")
    elif not control.wait(container):
        control.end(container)
    try:
        _forget(runtime, container)
    except NotThere:
        if not force:
            raise


def _forget(runtime: Runtime, container: Container) -> None:
    """Remove a stopped container, and run the hooks that follow."""
    runtime.registry.remove(container)
    groups = list(container.record["groups"])
    until = time.monotonic() + _PATIENCE
    while not cgroup.remove(groups) and time.monotonic() < until:
        time.sleep(0.01)  # its monitor was killed, and the last of its processes are about to be gone
    _poststop(runtime, container)


def _poststop(runtime: Runtime, container: Container) -> None:
    hooks.run_all(_hooks_of(container, "poststop"), "poststop", container.state("stopped"), runtime.log.warning)


def pause(runtime: Runtime, name: str, pausing: bool) -> None:
    """Stop all processes of a container without their noticing, or let them go on.  `ContainerError`."""
    container = runtime.registry.find(name)
    try:
        control.ask(container, {"do": "pause" if pausing else "resume"})
    except control.Gone:
        raise ContainerError("container not running" if pausing else "container not paused") from None


def processes(runtime: Runtime, name: str) -> list[int]:
    """The host's pids of a container's processes.  `ContainerError`."""
    container = runtime.registry.find(name)
    try:
        return control.ask(container, {"do": "processes"})["pids"]
    except control.Gone:
        return []


def execute(runtime: Runtime, name: str, process: config.Process, streams: Streams, ignore_paused: bool) -> int:
    """Run another process in a container; its exit status, or 0 once it runs detached.  `ContainerError`."""
    import msgspec

    from containers.oci.settings import process_of

    container = runtime.registry.find(name)
    if container.status() == "stopped":
        raise ContainerError("cannot exec in a stopped container")
    for warning in process_of(process).warnings:
        runtime.log.warning(warning)
    if streams.detach and process.terminal and streams.console_socket is None:
        raise ContainerError("cannot allocate tty if runc will detach without setting console socket")
    if streams.console_socket is not None and not (streams.detach and process.terminal):
        raise ContainerError("cannot use console socket if runc will not detach or allocate tty")
    more = preserved(streams.preserved)
    pair = tty = None
    if process.terminal:
        pair, tty = _terminal(streams.console_socket, process)
    if listening():
        process.env += [f"{_LISTEN}={os.environ[_LISTEN]}"]
    descriptors = ((0, 1, 2) if tty is None else (tty,)) + more
    request = {"do": "exec", "ignorePaused": ignore_paused}
    signals = take_signals(pair is not None)
    try:
        connection = control.Connection(container)
        connection.ask(request, descriptors, msgspec.json.encode(process))
    except control.Gone:
        raise ContainerError("cannot exec in a stopped container") from None
    if streams.detach:
        waiter = os.fork()
        if waiter == 0:
            _wait_detached(connection, signals)
        if streams.pid_file is not None:
            write_pid_file(streams.pid_file, waiter)
        return 0
    if streams.pid_file is not None:
        write_pid_file(streams.pid_file, os.getpid())
    return exit_status(_wait_for(connection, signals, pair))


def _wait_for(connection: control.Connection, signals: int, pair: tuple[int, int] | None) -> int:
    """Attend to a process that the monitor has launched, until it ends; its wait status."""
    attend(signals, connection.socket.fileno(), lambda number: connection.tell({"do": "signal", "signal": number}), pair)
    answer = connection.receive()
    return answer["ended"] if answer is not None else signal.SIGKILL


def _wait_detached(connection: control.Connection, signals: int):
    """Stand for a process in the container, for whoever waits for a pid outside; never returns."""
    status = int(signal.SIGKILL)
    try:
        os.setsid()
        os.chdir("/")
        first, last = sorted((connection.socket.fileno(), signals))
        os.closerange(3, first)
        os.closerange(first + 1, last)
        os.closerange(last + 1, 1 << 16)
        close_streams()
        status = _wait_for(connection, signals, None)
    finally:
        exit_as(status)


def update(runtime: Runtime, name: str, resources: dict) -> None:
    """Change a container's limits.  `ContainerError`."""
    container = runtime.registry.find(name)
    try:
        connection = control.Connection(container)
        try:
            answer = connection.ask({"do": "update"}, document=json.dumps(resources).encode())
        finally:
            connection.close()
    except control.Gone:
        raise ContainerError("container not running") from None
    for warning in answer["warnings"]:
        runtime.log.warning(warning)
