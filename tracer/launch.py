"""Starting a command: from a fork of the supervisor to a traced task about to execute its program.

The child gives up every privilege, waits to be seized, installs the filter and hands its listener over;
from then on it makes native calls only, until the execve that everything else begins with.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
from collections.abc import Callable

from tracer import ptrace
from tracer.notify import install_filter, install_plain_filter
from vfs import kernel
from vfs.kernel import libc

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 1, 38, 36
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 47, 4
_CLOSE_RANGE_CLOEXEC = 4
_CAP_HEADER = ctypes.c_uint32 * 2
_TIOCSCTTY = 0x540E
_STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class LaunchError(Exception):
    """The child could not be brought to its execve; the message says which step failed."""


def drop_capabilities() -> None:
    """Give up all capabilities of the calling thread for good; not an error where there are none."""
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    header = _CAP_HEADER(0x20080522, 0)
    kernel.raw(126, header, (ctypes.c_uint32 * 6)())


class Command:
    """What is to be executed: `path` in the guest, with `argv` and `env`.

    `tty` is a terminal that becomes its standard streams and the one of a session of its own; else `stdio` are descriptors to
    become those (None: int80's own), and `session` tells whether it gets a session of its own; in int80's session it
    has its own process group, and `started(pid)` is called once it has.  `more` are descriptors to become 3 and those after.
    `attributes` (tracer.attributes.Attributes) is what the kernel is told of it, `profile` a seccomp program that it gets
    beside the sandbox's own; `ready(pid)` is called before it runs.
    """

    __slots__ = (
        "argv", "attributes", "env", "more", "no_new_privs", "path", "profile", "ready", "reaps", "session", "started", "stdio",
        "tty",
    )  # fmt: skip

    def __init__(self, path: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
        self.path = path
        self.argv = argv
        self.env = env
        self.tty: int | None = None
        self.stdio: tuple[int, int, int] | None = None
        self.more: tuple[int, ...] = ()
        self.session = False
        self.started: Callable[[int], None] = lambda pid: None
        self.attributes = None
        self.profile: bytes | None = None
        self.no_new_privs = False  # whether set-id bits of programs do not count for it; prctl(2)
        self.ready: Callable[[int], None] = lambda pid: None
        self.reaps = True  # whether orphans become its children: it is an init


_nofile: tuple[int, int] | None = None  # the limit that int80 came with


def start(program: bytes, command: Command, signals: int) -> tuple[int, int]:
    """Fork and bring the child to its execve; (pid, the listener's descriptor).

    `program` is the seccomp program; `signals` a signalfd(2) that reports SIGCHLD: the program may stop even the calls
    made here.  The child is seized and runs; its execve will stop it.  LaunchError.
    """
    global _nofile
    _nofile = _nofile or resource.getrlimit(resource.RLIMIT_NOFILE)
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += os.pipe()
        pid = os.fork()
    except OSError as problem:
        for fd in ends:
            os.close(fd)
        raise LaunchError(f"cannot start a process: {problem.strerror.lower()}") from None
    go_read, go_write, listener_read, listener_write = ends
    if pid == 0:
        _child(go_read, listener_write, program, command)
    os.close(go_read)
    os.close(listener_write)
    # More descriptors for the supervisor than for its guests, which keep the limit they came with.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_nofile[1], _nofile[1]))
    try:
        ptrace.request(ptrace.SEIZE, pid, 0, ptrace.OPTIONS)
        if command.tty is None and not command.session:
            os.setpgid(pid, pid)
            command.started(pid)
        os.write(go_write, b"1")
        _pass_stops(pid, listener_read, signals)
        reported = os.read(listener_read, 256)
        if not reported.isdigit():
            raise LaunchError(reported.decode(errors="replace") or "the child died before it was ready")
        pidfd = kernel.pidfd_open(pid)
        try:
            listener = kernel.pidfd_getfd(pidfd, int(reported))
        finally:
            os.close(pidfd)
        command.ready(pid)
        if command.attributes is not None:
            command.attributes.give(pid)
        os.write(go_write, b"2")
    except OSError as problem:
        _kill(pid)
        raise LaunchError(f"cannot trace the child: {problem.strerror}; `int80 check` says what is missing") from None
    except LaunchError:
        _kill(pid)
        raise
    finally:
        os.close(go_write)
        os.close(listener_read)
    return pid, listener


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it is dead, and was waited for
        os.kill(pid, signal.SIGKILL)


def _pass_stops(pid: int, until: int, signals: int) -> None:
    """Let the child go on from each stop, until there is something to read from `until`.

    Other signals that come meanwhile are kept: they are for the program.  So is a stop, which the terminal may have sent to
    the child already.
    """
    poll = select.poll()
    poll.register(until, select.POLLIN)
    poll.register(signals, select.POLLIN)
    kept: set[int] = set()
    while until not in [fd for fd, _ in poll.poll()]:
        try:
            number = int.from_bytes(os.read(signals, 128)[:4], "little")
        except BlockingIOError:
            continue
        if number != signal.SIGCHLD:
            kept.add(number)
        found, status = os.waitpid(pid, os.WNOHANG | ptrace.WALL)
        if found and not os.WIFSTOPPED(status):
            break  # its end of the pipe is closed, which tells the rest
        if found:
            number, event = status >> 8 & 0xFF, status >> 16
            if number in _STOP_SIGNALS:
                kept.add(signal.SIGTSTP)
                number = 0
            ptrace.request(ptrace.CONT, pid, 0, 0 if event else number)
    for number in kept:
        os.kill(os.getpid(), number)


def _close_all_but(first: int, *kept: int) -> None:
    """Close all descriptors from `first` on now, not at the exec: guests that run already could ask for them."""
    for fd in sorted(kept):
        if first < fd:
            kernel.raw(436, first, fd - 1, 0)
        first = fd + 1
    kernel.raw(436, first, ctypes.c_uint(0xFFFFFFFF), 0)


def _child(go: int, report: int, program: bytes, command: Command) -> None:
    """The child's side; never returns."""
    step = "setting up the child"
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # until the seizure's EXITKILL takes over
        streams: tuple[int, ...] = command.stdio or (0, 1, 2)
        if command.tty is not None:
            step = "giving the terminal to the child"
            os.setsid()
            fcntl.ioctl(command.tty, _TIOCSCTTY, 0)
            streams = (command.tty,) * 3
            step = "setting up the child"
        elif command.session:
            os.setsid()
        else:
            os.setpgid(0, 0)
        given = 3 + len(command.more)
        if given > 3 or streams != (0, 1, 2):
            # All out of the way first: where one is to go another may be.
            go, report, *sources = (fcntl.fcntl(fd, fcntl.F_DUPFD, given) for fd in (go, report, *streams, *command.more))
            for fd, source in enumerate(sources):
                os.dup2(source, fd)
        # Python ignores SIGPIPE and SIGXFSZ; what its caller had ignored stays so, as nohup(1) wants it.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if number in (signal.SIGPIPE, signal.SIGXFSZ) or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if os.read(go, 1) != b"1":
            os._exit(125)
        kernel.raw(436, given, ctypes.c_uint(0xFFFFFFFF), _CLOSE_RANGE_CLOEXEC)
        _close_all_but(given, go, report)
        resource.setrlimit(resource.RLIMIT_NOFILE, _nofile)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would land in a host directory
        step = "PR_SET_NO_NEW_PRIVS"
        kernel.raw(157, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, command.reaps, 0, 0, 0)
        step = "giving up capabilities"
        drop_capabilities()
        libc.prctl(_PR_SET_PDEATHSIG, 0)
        if command.attributes is not None:
            step = "setting its personality"
            command.attributes.take()
        step = "installing the seccomp filter"
        listener = install_filter(program)
        # Native calls only from here on.
        os.write(report, b"%d" % listener)
        if os.read(go, 1) == b"2":
            try:
                if command.profile is not None:
                    install_plain_filter(command.profile)
                os.execve(command.path, command.argv, command.env)
            except OSError as problem:
                os.write(2, b"int80: %s: cannot be run: %s\n" % (command.path, problem.strerror.lower().encode()))
                os._exit(126)
    except OSError as problem:
        try:
            os.write(report, f"{step}: {problem.strerror}".encode())
        except OSError:
            pass
    finally:
        os._exit(125)
