"""One sandbox from its options to its exit status."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from abi.messages import say
from abi.net.network import Network
from abi.sandbox import Sandbox
from containers.status import CannotEnter, CannotExecute, CannotRun, exit_status
from procs import elf, execution
from procs.credentials import Credentials
from procs.limits import Limits
from procs.tree import ProcessTree
from vfs.devfs import DevFs
from vfs.namespace import Flags, FsContext, Location, Namespace
from vfs.setid import writes

_SOCKET, _SETSOCKOPT, _GETSOCKOPT = 41, 54, 55
_PASSWD_MAX = 4 << 20  # bytes of /etc/passwd that are looked through
_INIT = b"/dev/init"  # where the init of --init is
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Volume:
    """A host file or directory that the guest sees at `target`; `option` is what asked for it, for messages."""

    __slots__ = ("option", "read_only", "source", "target")

    def __init__(self, source: str, target: bytes, read_only: bool, option: str = "--volume") -> None:
        self.source = source
        self.target = target
        self.read_only = read_only
        self.option = option


class Memory:
    """A directory in memory at `target`, of `size` bytes at most; `options` are those of mount(8) that forbid something."""

    __slots__ = ("mode", "options", "size", "target")

    def __init__(self, target: bytes, size: int | None, mode: int = 0o1777, options: frozenset[str] = frozenset()) -> None:
        self.target = target
        self.size = size
        self.mode = mode
        self.options = options


class Settings:
    """What a person chose; see `int80 run --help`.

    The root is `rootfs` as it is, or else the layers of `image`, or `lowers`, the bottom one first, under changes that go
    to `upper`, to the layer kept in `store`, or nowhere.  What is mounted into it is `table`, or else the made-up trees,
    `tmpfs` and `volumes`.
    """

    __slots__ = (
        "allowed", "argv", "attributes", "counted", "credentials", "domainname", "env", "files", "force_segv", "group",
        "hidden", "home", "hooks", "hostname", "image", "init", "limits", "lowers", "net", "netns", "netns_made",
        "no_new_privs", "patch", "policing", "profile", "published", "read_only", "rights", "rootfs", "session", "shm_size",
        "stdio", "stop_signal", "store", "sysctl", "table", "tmpfs", "trace", "tty", "tty_size", "uid_gid", "umask", "upper",
        "verbose", "view", "volumes", "workdir", "workdir_asked", "workdir_made",
    )  # fmt: skip

    def __init__(self, rootfs: str | None, argv: list[bytes]) -> None:
        self.rootfs = rootfs
        self.image = None  # containers.images.run.ImageRoot
        self.lowers: list[str] = []
        self.upper: str | None = None
        self.store: str | None = None
        self.hidden: list[bytes] = []
        self.volumes: list[Volume] = []
        self.tmpfs: list[Memory] = []
        self.shm_size: int | None = None  # bytes of /dev/shm
        self.files: list[tuple[bytes, bytes]] = []  # files of its own that lie over those of the root, and what they hold
        self.argv = argv
        self.env: dict[bytes, bytes] = {}
        self.home = False  # whether a HOME that `env` has not is what the root's /etc/passwd says
        self.hostname = b"int80"
        self.domainname = b"(none)"
        self.uid_gid: tuple[int, int] = (0, 0)
        self.credentials: Credentials | None = None  # in place of `uid_gid`, with groups and capabilities
        self.rights = None  # containers.runoptions.Rights, in place of all that root may do
        self.umask = 0o022
        self.no_new_privs = False
        self.init: str | None = None  # a program of the host's that is to be process 1 and run the command
        self.stop_signal: int | None = None  # what the command gets where int80 gets SIGTERM
        self.workdir = b"/"
        self.workdir_asked = True  # else / will do where it is not there
        self.workdir_made = False  # whether it is made where it is not there
        self.read_only = False
        self.table = None  # containers.mounts.Table
        self.limits = Limits()
        self.counted = False  # whether a limit on tasks may be set, or set anew, while it runs
        self.group = None  # containers.cgroup.Group, to be made for it
        self.attributes = None  # tracer.attributes.Attributes, what the kernel is told of init
        self.profile = None  # tracer.profile.Profile, asked before the sandbox's own filter
        self.sysctl: dict[bytes, bytes] = {}  # of /proc/sys, by name with dots
        self.view = None  # containers.view.View, where paths are not the machine's but those of a host program
        self.stdio: tuple[int, int, int] | None = None  # its standard streams, where they are not int80's own
        self.tty = False  # whether it gets a terminal of its own
        self.session = False  # whether it gets a session of its own also without one
        self.tty_size: tuple[int, int] | None = None  # rows and columns, where it is not to be that of int80's
        self.net = "none"  # or "host"
        self.netns: str | None = None  # the network namespace that is the host's network in that case, by its file
        self.netns_made = False  # whether one is made, if int80 may, for somebody to fill who knows it by int80's pid
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
    running = Running(settings)
    try:
        running.prepare()
        running.launch()
        return exit_status(running.serve())
    finally:
        running.close()


class Running:
    """A sandbox from its settings to its end: `prepare`, `launch`, `serve`, and `close` in any case.

    `loop` (tracer.loop.Loop) is one that serves others too; None for one of its own.  `tty` is a terminal for the command
    that somebody else relays, `more` are descriptors that it gets beside the standard streams, from 3 on.
    """

    def __init__(self, settings: Settings, loop=None, tty: int | None = None, more: tuple[int, ...] = ()) -> None:
        from containers.scratch import Scratch

        self.settings = settings
        self.loop = loop
        self.sandbox: Sandbox | None = None
        self.supervisor = None  # tracer.supervisor.Supervisor
        self._scratch = Scratch()
        self._relay = None
        self._mounter = None  # containers.mounts.Mounter, where the settings say what is mounted
        self._keeper = None  # containers.keeper.Keeper, where there are limits to keep
        self._tty = tty
        self._more = more

    def prepare(self) -> None:
        """Make everything ready and find the command, which does not run yet.  `CannotRun`."""
        self.prepare_root()
        settings, namespace = self.settings, self.sandbox.namespace
        self._credentials = self.rightful(settings.credentials or Credentials(*settings.uid_gid))
        if settings.workdir_made:
            _make_directories(namespace, settings.workdir)
        self._context = _context(namespace, settings.workdir, settings.workdir_asked)
        self._context.umask = settings.umask
        if settings.home and b"HOME" not in settings.env:
            settings.env[b"HOME"] = home(namespace, self._credentials.uid)
        self._name = _find(self.sandbox, self._context, settings.argv[0], settings.env)
        if settings.init is not None:
            self._name = _INIT
            settings.argv = [_INIT, b"--", *settings.argv]

    @property
    def credentials(self) -> Credentials:
        """Who the command is when it begins."""
        return self._credentials

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether a guest has been killed because they all held too much; where a control group keeps that, nobody knows."""
        return self._keeper is not None and self._keeper.has_killed

    def rightful(self, credentials: Credentials) -> Credentials:
        """The same with what rights there are in this sandbox.  `CannotRun`."""
        if self.settings.rights is not None:
            self.settings.rights.give(credentials, self.sandbox.namespace)
        return credentials

    def prepare_root(self) -> None:
        """Make the root with all that is mounted in it ready, for a command or to be looked at.  `CannotRun`."""
        from containers import roots

        settings = self.settings
        os.umask(0)  # the guest's own umask is applied where a file is made
        if settings.netns is not None or settings.netns_made:
            from containers import netns

            if settings.netns is not None:
                netns.join(settings.netns, settings.sysctl)
            elif netns.make(settings.sysctl):
                settings.net = "host"
        tree = ProcessTree()
        flags = Flags(settings.read_only)
        if settings.table is not None:
            flags.shown, flags.super_shown = b"ro,relatime" if settings.read_only else b"rw,relatime", b"rw"
        namespace = Namespace(roots.root(settings, self._scratch), flags)
        network = Network(settings.net == "host", settings.allowed, settings.published, self._scratch.directory)
        if settings.policing is not None:
            network.judge = settings.policing.judge_address
        sandbox = self.sandbox = Sandbox(namespace, tree, settings.hostname, settings.verbose, network)
        sandbox.limits = settings.limits
        sandbox.domainname = settings.domainname
        sandbox.filtered = settings.profile is not None
        if settings.tty and self._tty is None:
            self._relay = _relay(settings.tty_size)
            self._tty = self._relay.slave
        made_up = _made_up(sandbox, settings.stdio or (0, 1, 2) if self._tty is None else (self._tty,), settings.sysctl)
        if settings.table is None:
            roots.mount(namespace, settings, self._scratch, made_up)
        else:
            from containers import mounts

            terminal = os.ttyname(self._tty) if self._tty is not None else None
            self._mounter = mounts.Mounter(namespace, self._scratch, sandbox, made_up, settings)
            self._mounter.mount(terminal)
        if settings.image is not None:
            settings.image.settle(namespace, settings)

    def launch(self, held: bool = False) -> int:
        """Start the command as init; its pid.  `CannotRun`.  `held`: the supervisor is yet to let it go."""
        from tracer.launch import Command, LaunchError
        from tracer.loop import Loop
        from tracer.terminal import Terminal

        settings, relay = self.settings, self._relay
        if self.loop is None:
            self.loop = Loop()
        supervisor = self.supervisor = _supervisor(self.loop, self.sandbox, settings)
        self.sandbox.containers = _Hosting(self)
        if settings.view is None:
            self.loop.told = supervisor.told if settings.stop_signal is None else self._told
        command = Command(self._name, settings.argv, settings.env)
        command.tty, command.stdio, command.more = self._tty, settings.stdio, self._more
        command.attributes, command.session = settings.attributes, settings.session
        command.no_new_privs = settings.no_new_privs
        if settings.group is not None:
            command.ready = self._grouped
        if command.tty is None and not command.session:
            terminal = self.sandbox.terminal = Terminal.of((0, 1, 2))
            if terminal is not None and terminal.wants_no_asking():
                command.started = terminal.lend
        try:
            init = supervisor.launch(command, self._context, self._credentials, held=held)
        except LaunchError as problem:
            raise CannotRun(str(problem)) from None
        if self._mounter is not None:
            self._cover(init)
        self.keep_limits()
        supervisor.relay = relay
        if relay is not None:
            relay.start()
        return init

    def _cover(self, init: int) -> None:
        """Cover what the settings say of init in /proc, where nobody inside finds it before it has executed its program."""
        launching = self.sandbox.tree.launching
        hidden = launching & {init}
        launching -= hidden
        try:
            self._mounter.cover_init()
        finally:
            launching |= hidden

    def _told(self, number: int, code: int) -> None:
        """Whoever asks int80 to end asks the command, in the way that it has for that."""
        self.supervisor.told(self.settings.stop_signal if number == signal.SIGTERM else number, code)

    def _grouped(self, pid: int) -> None:
        """Put a command into the control group of the sandbox; where that cannot be, the supervisor keeps the limits."""
        group = self.settings.group
        try:
            if not group.made:
                group.make()
                for name in sorted(group.files.keys() - group.kept):
                    say(f"control group {group.directory}: {name} is not there, or does not take {group.files[name]}")
            group.add(pid)
        except OSError as problem:
            say(f"control group {group.directory}: {problem.strerror.lower()}; the supervisor keeps what limits it can")
            self.settings.limits.by_kernel = set()
            return
        self.settings.limits.by_kernel = group.kept

    def keep_limits(self) -> None:
        """Have the limits kept that `settings.limits` holds now: they may change while the sandbox runs."""
        if self._keeper is not None:
            self._keeper.arm()
        elif self.settings.limits.supervised:
            from containers.keeper import Keeper

            self._keeper = Keeper(self.supervisor, self.settings.limits)

    def execute(
        self, argv: list[bytes], env: dict[bytes, bytes], workdir: bytes, credentials: Credentials,
        stdio: tuple[int, int, int] | None = None, tty: int | None = None, ended: Callable[[int], None] | None = None,
        attributes=None, umask: int = 0o022, no_new_privs: bool = False, more: tuple[int, ...] = (), program: bytes | None = None,
    ) -> int:  # fmt: skip
        """Start another command beside init, in a session of its own; its pid.  `CannotRun`.

        `tty` (a terminal) or `stdio` become its standard streams, `more` its descriptors from 3 on; `ended(wait status)` is
        called at its end.  `attributes` is as in `Settings`.  `program` is to be executed where that is not what `argv` begins
        with.
        """
        from tracer.launch import Command, LaunchError

        context = _context(self.sandbox.namespace, workdir, True)
        context.umask = umask
        if tty is not None:
            self.sandbox.devices.add(tty)
        command = Command(_find(self.sandbox, context, program or argv[0], env), argv, env)
        command.stdio, command.tty, command.more, command.session = stdio, tty, more, True
        command.attributes, command.no_new_privs = attributes, no_new_privs
        if self.settings.group is not None:
            command.ready = self._grouped
        try:
            return self.supervisor.launch(command, context, credentials, ended)
        except LaunchError as problem:
            raise CannotRun(str(problem)) from None

    def let_streams_go(self) -> None:
        """Close the terminal and the further descriptors that the command has by now."""
        for fd in (*self._more, *([] if self._tty is None else [self._tty])):
            os.close(fd)
        self._tty, self._more = None, ()

    def serve(self) -> int:
        """Serve the command to its end and everything with it; its wait status."""
        return self.supervisor.run()

    def close(self) -> None:
        """Leave nothing behind."""
        settings = self.settings
        if settings.group is not None:
            settings.group.remove()
        if self._keeper is not None:
            self._keeper.close()
        if self.sandbox is not None and self.sandbox.containers is not None:
            self.sandbox.containers.close()
        if self.sandbox is not None:
            if self.sandbox.terminal is not None:
                self.sandbox.terminal.take_back()
            if self._relay is not None:
                self._relay.close(self.loop.signals if self.loop is not None else None)
            self.sandbox.objects.close()
            writes.look()  # what was written last may have taken set-id bits away
        self._scratch.close()
        if settings.trace is not None:
            settings.trace[0].close()
        if settings.policing is not None and settings.policing.reports:
            settings.policing.beyond.report()


class _Hosting:
    """`containers.hosting.Containers`, imported when a host program first asks for something."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def __getattr__(self, name: str):
        from containers.hosting import Containers

        self._running.sandbox.containers = containers = Containers(self._running)
        return getattr(containers, name)

    def close(self) -> None:
        pass


def _relay(size: tuple[int, int] | None):
    from termios import tcsetwinsize

    from tracer.relay import Relay

    try:
        relay = Relay()
        if size is not None:
            tcsetwinsize(relay.slave, size)
        return relay
    except OSError as problem:
        raise CannotRun(f"--tty: no pseudo-terminal can be had: {problem.strerror.lower()}") from None


def _made_up(sandbox: Sandbox, stdio: tuple[int, ...], sysctl: dict[bytes, bytes]) -> list[tuple]:
    """The trees that show the sandbox itself, and where they go; `stdio` may be terminals."""
    from abi.procview import ProcView
    from vfs.procfs import ProcFs
    from vfs.sysfs import SysFs

    view = ProcView(sandbox)
    sandbox.devices = DevFs(stdio, view)
    return [(ProcFs(view, sysctl), b"/proc"), (SysFs(), b"/sys"), (sandbox.devices, b"/dev")]


def _context(namespace: Namespace, workdir: bytes, asked: bool) -> FsContext:
    context = namespace.context()
    try:
        found = namespace.walk(context, namespace.root, workdir)
        if not isinstance(found, Location) or not found.node.is_dir:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
    except OSError as problem:
        if not asked:
            return context
        raise CannotEnter(workdir, problem.strerror.lower()) from None
    context.cwd = found
    return context


def home(namespace: Namespace, uid: int) -> bytes:
    """The home of a user by the root's /etc/passwd, / where it says none; passwd(5)."""
    try:
        found = namespace.walk(namespace.context(), namespace.root, b"/etc/passwd")
        if not isinstance(found, Location) or not found.node.is_file:
            return b"/"
        with open(found.fs.open(found.node, os.O_RDONLY), "rb") as file:
            for line in file.read(_PASSWD_MAX).splitlines():
                fields = line.split(b":")
                if len(fields) >= 6 and fields[2] == b"%d" % uid:
                    return fields[5] or b"/"
    except OSError:
        pass  # there is none
    return b"/"


def _make_directories(namespace: Namespace, path: bytes) -> None:
    """Make what is missing of a directory and those above it, as root.  `CannotRun`."""
    here, context = namespace.root, namespace.context()
    try:
        for name in filter(None, path.split(b"/")):
            try:
                here = namespace.walk(context, here, name)
            except FileNotFoundError:
                here.fs.mkdir(here.node, name, 0o755)
                here = namespace.walk(context, here, name)
    except OSError as problem:
        raise CannotRun(f"{os.fsdecode(path)}: cannot be made in the root: {problem.strerror.lower()}") from None


def _find(sandbox: Sandbox, context: FsContext, command: bytes, env: dict[bytes, bytes]) -> bytes:
    """The guest path of the command, looked up as a shell does; 127 and 126 as shells have them."""
    if b"/" in command:
        candidates = [command]
    elif not command:
        candidates = []
    else:
        path = env.get(b"PATH", DEFAULT_PATH)
        candidates = [(directory or b".") + b"/" + command for directory in path.split(b":")]
    denied: OSError | None = None
    for candidate in candidates:
        try:
            target = sandbox.namespace.walk(context, context.cwd, candidate)
            execution.plan(sandbox.namespace, context, target, candidate)
            return candidate
        except elf.WrongMachine as problem:
            message = f"{os.fsdecode(candidate)}: ELF for {problem.machine}; this machine runs x86-64"
            raise CannotExecute(message, 126, command, errno.ENOEXEC) from None
        except (FileNotFoundError, NotADirectoryError) as problem:
            if b"/" in command and _is_there(sandbox, context, candidate):
                message = f"{os.fsdecode(candidate)}: its interpreter is not in the root"
                raise CannotExecute(message, 127, command, errno.ENOENT) from problem
        except OSError as problem:
            denied = denied or problem
    shown = os.fsdecode(command)
    if denied is not None:
        reason = "not a program" if denied.errno == errno.ENOEXEC else denied.strerror.lower()
        raise CannotExecute(f"{shown}: cannot be run: {reason}", 126, command, denied.errno)
    raise CannotExecute(f"{shown}: not found in the root", 127, command, errno.ENOENT)


def _is_there(sandbox: Sandbox, context: FsContext, path: bytes) -> bool:
    try:
        sandbox.namespace.walk(context, context.cwd, path)
    except OSError:
        return False
    return True


def _supervisor(loop, sandbox: Sandbox, settings: Settings):
    """The supervisor of a sandbox, by what its settings ask for."""
    from abi.dispatch import Plane
    from abi.tables import host, linux
    from tracer import seccomp
    from tracer.execution import Programs
    from tracer.supervisor import Options, Supervisor

    counted = settings.counted or settings.limits.pids is not None
    planes = {number: Plane.STEER for number in (56, 57, 58)} if counted else {}
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
    supervisor = Supervisor(loop, sandbox, linux, host, program, options, Programs(_descriptors()), log)
    supervisor.steered = frozenset(number for number, plane in planes.items() if plane is Plane.STEER)
    if settings.profile is not None:
        supervisor.mark = int.from_bytes(os.urandom(8), "little") | 1
        supervisor.profile = settings.profile.program(supervisor.mark)
    return supervisor


def _log(sandbox: Sandbox, settings: Settings):
    """The log of the sandbox's calls, None where nobody asked for one."""
    if settings.trace is None:
        return None
    from tracer.log.sandbox import SandboxLog

    return SandboxLog(sandbox, *settings.trace)


_shows: dict[int, bytes] = {}  # by the pid of the process: its children have descriptors of their own


def _descriptors() -> bytes:
    """The /proc directory through whose fd/ a guest's execve reaches the supervisor's files, one for all supervisors here."""
    pid = os.getpid()
    if pid not in _shows:
        _shows[pid] = _show_descriptors()
    return _shows[pid]


def _show_descriptors() -> bytes:
    """Have the descriptors shown to guests.

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


