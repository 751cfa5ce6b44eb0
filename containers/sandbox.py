"""One sandbox from its options to its exit status."""

from __future__ import annotations

import errno
import os
import signal

from abi.net.network import Network
from abi.sandbox import Sandbox
from procs import elf, execution
from procs.credentials import Credentials
from procs.tree import ProcessTree
from vfs.devfs import DevFs
from vfs.namespace import FsContext, Location, Namespace

_SOCKET, _SETSOCKOPT, _GETSOCKOPT = 41, 54, 55
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotRun(Exception):
    """A sandbox that cannot start; the message is one line for a person, `status` the exit status."""

    def __init__(self, message: str, status: int = 125) -> None:
        super().__init__(message)
        self.status = status


class Volume:
    """A host file or directory that the guest sees at `target`."""

    __slots__ = ("read_only", "source", "target")

    def __init__(self, source: str, target: bytes, read_only: bool) -> None:
        self.source = source
        self.target = target
        self.read_only = read_only


class Settings:
    """What a person chose; see `int80 run --help`.

    The root is `rootfs` as it is, or else `lowers`, the bottom one first, under changes that go to `upper`, to the
    layer kept in `store`, or nowhere.
    """

    __slots__ = (
        "allowed", "argv", "env", "force_segv", "hidden", "hooks", "hostname", "lowers", "net", "patch", "pids_limit", "policing",
        "published", "read_only", "rootfs", "store", "tmpfs", "trace", "tty", "uid_gid", "upper", "verbose", "volumes",
        "workdir", "workdir_asked",
    )  # fmt: skip

    def __init__(self, rootfs: str | None, argv: list[bytes]) -> None:
        self.rootfs = rootfs
        self.lowers: list[str] = []
        self.upper: str | None = None
        self.store: str | None = None
        self.hidden: list[bytes] = []
        self.volumes: list[Volume] = []
        self.tmpfs: list[tuple[bytes, int | None]] = []  # where, and how many bytes
        self.argv = argv
        self.env: dict[bytes, bytes] = {}
        self.hostname = b"int80"
        self.uid_gid: tuple[int, int] = (0, 0)
        self.workdir = b"/"
        self.workdir_asked = True  # else / will do where it is not there
        self.read_only = False
        self.pids_limit: int | None = None
        self.tty = False  # whether it gets a terminal of its own
        self.net = "none"  # or "host"
        self.allowed = None  # abi.net.network.Allowed, what the host's network may be used for; None is everything
        self.published: dict[int, int] = {}  # a guest's port, and the host's that it stands for
        self.patch = True
        self.force_segv = False
        self.verbose = False
        self.policing = None  # containers.policing.Policing
        self.hooks = None  # abi.hooks.Hooks
        self.trace = None  # (tracer.log.recorder.Recorder, tracer.log.inject.Injector or None), where calls are to be logged


def run(settings: Settings) -> int:
    """Run the command; its exit status as a shell gives it (128+N after signal N).  `CannotRun`."""
    from containers.scratch import Scratch

    scratch = Scratch()
    try:
        return _run(settings, scratch)
    finally:
        scratch.close()
        if settings.trace is not None:
            settings.trace[0].close()
        if settings.policing is not None and settings.policing.reports:
            settings.policing.beyond.report()


def _run(settings: Settings, scratch) -> int:
    from containers import roots

    os.umask(0)  # the guest's own umask is applied where a file is made
    tree = ProcessTree()
    namespace = Namespace(roots.root(settings, scratch), settings.read_only)
    network = Network(settings.net == "host", settings.allowed, settings.published, scratch.directory)
    if settings.policing is not None:
        network.judge = settings.policing.judge_address
    sandbox = Sandbox(namespace, tree, settings.hostname, settings.verbose, network)
    sandbox.pids_limit = settings.pids_limit
    relay = _relay() if settings.tty else None
    roots.mount(namespace, settings, scratch, _made_up(sandbox, (0, 1, 2) if relay is None else (relay.slave,)))
    context = _context(namespace, settings)
    credentials = Credentials(*settings.uid_gid)
    name = _find(sandbox, context, settings)
    status = _supervise(sandbox, settings, context, credentials, name, relay)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _relay():
    from tracer.relay import Relay

    try:
        return Relay()
    except OSError as problem:
        raise CannotRun(f"--tty: no pseudo-terminal can be had: {problem.strerror.lower()}") from None


def _made_up(sandbox: Sandbox, stdio: tuple[int, ...]) -> list[tuple]:
    """The trees that show the sandbox itself, and where they go; `stdio` may be terminals."""
    from abi.procview import ProcView
    from vfs.procfs import ProcFs
    from vfs.sysfs import SysFs

    view = ProcView(sandbox)
    sandbox.devices = DevFs(stdio, view)
    return [(ProcFs(view), b"/proc"), (SysFs(), b"/sys"), (sandbox.devices, b"/dev")]


def _context(namespace: Namespace, settings: Settings) -> FsContext:
    context = namespace.context()
    try:
        found = namespace.walk(context, namespace.root, settings.workdir)
        if not isinstance(found, Location) or not found.node.is_dir:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
    except OSError as problem:
        if not settings.workdir_asked:
            return context
        name = os.fsdecode(settings.workdir)
        raise CannotRun(f"--workdir {name}: {problem.strerror.lower()} in the root") from None
    context.cwd = found
    return context


def _find(sandbox: Sandbox, context: FsContext, settings: Settings) -> bytes:
    """The guest path of the command, looked up as a shell does; 127 and 126 as shells have them."""
    command = settings.argv[0]
    if b"/" in command:
        candidates = [command]
    else:
        path = settings.env.get(b"PATH", DEFAULT_PATH)
        candidates = [(directory or b".") + b"/" + command for directory in path.split(b":")]
    denied: OSError | None = None
    for candidate in candidates:
        try:
            target = sandbox.namespace.walk(context, context.cwd, candidate)
            execution.plan(sandbox.namespace, context, target, candidate)
            return candidate
        except elf.WrongMachine as problem:
            raise CannotRun(f"{os.fsdecode(candidate)}: ELF for {problem.machine}; this machine runs x86-64", 126) from None
        except (FileNotFoundError, NotADirectoryError) as problem:
            if b"/" in command and _is_there(sandbox, context, candidate):
                raise CannotRun(f"{os.fsdecode(candidate)}: its interpreter is not in the root", 127) from problem
        except OSError as problem:
            denied = denied or problem
    shown = os.fsdecode(command)
    if denied is not None:
        reason = "not a program" if denied.errno == errno.ENOEXEC else denied.strerror.lower()
        raise CannotRun(f"{shown}: cannot be run: {reason}", 126)
    raise CannotRun(f"{shown}: not found in the root", 127)


def _is_there(sandbox: Sandbox, context: FsContext, path: bytes) -> bool:
    try:
        sandbox.namespace.walk(context, context.cwd, path)
    except OSError:
        return False
    return True


def _supervise(sandbox: Sandbox, settings: Settings, context, credentials, name: bytes, relay) -> int:
    """Start init, serve it to its end, and leave nothing behind; init's wait status."""
    from abi.dispatch import Plane
    from abi.tables import host, linux
    from tracer import launch, seccomp
    from tracer.execution import Programs
    from tracer.supervisor import Options, Supervisor
    from tracer.terminal import Terminal

    planes = {number: Plane.STEER for number in (56, 57, 58)} if settings.pids_limit is not None else {}
    if sandbox.network.on_host:  # a guest makes its sockets itself, and their options are the kernel's
        planes |= {_SOCKET: Plane.STEER, _SETSOCKOPT: Plane.NATIVE, _GETSOCKOPT: Plane.NATIVE}
    if settings.policing is not None:
        linux = settings.policing.applied_to(linux)
    if settings.hooks is not None:
        linux = settings.hooks.applied_to(linux)
    log = _log(sandbox, settings)
    watch = log.watched() if log is not None else frozenset()
    program = seccomp.build(linux, planes, settings.verbose, watch)
    options = Options(settings.patch, settings.force_segv, settings.verbose)
    supervisor = Supervisor(sandbox, linux, host, options, Programs(_descriptors()), log)
    supervisor.steered = frozenset(number for number, plane in planes.items() if plane is Plane.STEER)
    terminal = sandbox.terminal = Terminal.of((0, 1, 2)) if relay is None else None
    tty = relay.slave if relay is not None else None

    def started(init: int) -> None:
        if terminal is not None and terminal.wants_no_asking():
            terminal.lend(init)

    try:
        try:
            pid, listener = launch.start(program, name, settings.argv, settings.env, supervisor.signals, tty, started)
        except launch.LaunchError as problem:
            raise CannotRun(str(problem)) from None
        supervisor.begin(pid, listener, context, credentials)
        supervisor.relay = relay
        if relay is not None:
            relay.start()
        return supervisor.run()
    finally:
        if terminal is not None:
            terminal.take_back()
        if relay is not None:
            relay.close(supervisor.signals)
        sandbox.objects.close()


def _log(sandbox: Sandbox, settings: Settings):
    """The log of the sandbox's calls, None where nobody asked for one."""
    if settings.trace is None:
        return None
    from tracer.log.sandbox import SandboxLog

    return SandboxLog(sandbox, *settings.trace)


def _descriptors() -> bytes:
    """The /proc directory through whose fd/ a guest's execve reaches the supervisor's files.

    The kernel lets a task follow another's descriptors only if it has that other's capabilities.  Where the
    supervisor has some (root), a thread that has given them up shows the same descriptors.
    """
    with open("/proc/self/status", "rb") as file:
        permitted = next(int(line.split()[1], 16) for line in file if line.startswith(b"CapPrm"))
    if not permitted:
        return b"/proc/%d" % os.getpid()
    import _thread

    from tracer.launch import drop_capabilities

    ready = _thread.allocate_lock()
    ready.acquire()
    tids: list[int] = []

    def show() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        drop_capabilities()
        tids.append(_thread.get_native_id())
        ready.release()
        while True:
            signal.sigwait({signal.SIGUSR2})

    _thread.start_new_thread(show, ())
    ready.acquire()
    return b"/proc/%d/task/%d" % (os.getpid(), tids[0])


