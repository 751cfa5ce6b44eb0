"""The process that stands for a container: made by `create`, it holds the sandbox, and ends as the container's init ends.

It is what engines are given as the container's pid: reparented to their subreaper, it exits as init exits, or by the same
signal, and whoever kills it kills the container. It serves requests (`containers.oci.control`) from the loop that also
serves the guests. Once init runs the streams it came with are the guest's alone, and what it has to say goes to the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from functools import partial

import msgspec

from abi import messages
from containers.oci import hooks, joining
from containers.oci.attending import close_streams, exit_as
from containers.oci.config import ConfigError, Process, Resources
from containers.oci.control import Control, Peer, document
from containers.oci.log import Log
from containers.oci.settings import command_error, resources
from containers.oci.state import Container, Registry
from containers.sandbox import Running, Settings
from containers.status import CannotEnter, CannotExecute, CannotRun
from procs.credentials import Credentials
from tracer.loop import FORWARDED, Loop

_KEPT = 4096  # bytes of a hook's output that a message may have
_LOST = 255  # exit status of a container that came to its end without its init ever having run
_HARMLESS = frozenset(
    (0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP,
     signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
)  # what does not end a process that does not ask for it


class Monitor:
    """One container from its creation to its end; true for as long as that has not come.

    `channel` leads to the command that creates it, `start_hooks` are those to run inside before init's program.
    """

    def __init__(
        self, container: Container, registry: Registry, settings: Settings, start_hooks, log: Log, channel: socket.socket
    ) -> None:
        self.container = container
        self.registry = registry
        self.log = log
        self.status: int | None = None  # wait status of init
        self.running: Running | None = None
        self._settings = settings
        self._hooks = start_hooks
        self._channel = channel
        self._loop = Loop()
        self._control: Control | None = None
        self._init = 0
        self._starting: Peer | None = None  # who waits for `start`
        self._commands: dict[Peer, int] = {}  # who waits for the end of which process launched beside init

    def __bool__(self) -> bool:
        return self.status is None or self._is_populated()

    def _is_populated(self) -> bool:
        return self.running is not None and self.running.supervisor is not None and bool(self.running.sandbox.tree.tasks)

    def run(self, tty: int | None, more: tuple[int, ...]) -> int:
        """Create the container, tell the channel, and serve to the end; init's wait status."""
        messages.tell(self.log.warning)
        self.container.live()
        self.container.write(pid=os.getpid())
        loop = self._loop
        loop.told = self._told
        running = self.running = Running(self._settings, loop, tty, more)
        apart = joining.leave()
        try:
            try:
                running.prepare()
                self._control = Control(loop, self.container, self._request, self._gone)
            except (CannotRun, OSError) as problem:
                self._report({"error": why(problem)})
                return _LOST << 8
            if apart:
                self._show_root()
            self._report({"prepared": os.getpid()})
            loop.watch(self._channel.fileno(), self._created)
            loop.run(self)
            return self.status
        finally:
            if self._control is not None:
                self._control.close()
            running.close()

    def _show_root(self) -> None:
        try:
            joining.show(self.running.sandbox.namespace)
        except OSError as problem:
            reason = problem.strerror.lower()
            self.log.warning(f"who joins the mount namespace of {os.getpid()} is not in the container: {reason}")

    # -- being created ------------------------------------------------------------------------

    def _report(self, message: dict) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(json.dumps(message).encode())

    def _created(self, events: int) -> None:
        """The command has run its hooks, and so lets the container be; or it is gone."""
        try:
            told = self._channel.recv(16)
        except OSError:
            told = b""
        self._loop.unwatch(self._channel.fileno())
        if told and self.status is None:
            self.container.write(status="created")
            self._report({"created": os.getpid()})
            if self._settings.tty:  # the container has its terminal, and whoever called waits for the end of these
                self._hush()
        elif not told:
            self._end(_LOST << 8)
            self.registry.withdraw(self.container)
        self._channel.close()

    # -- requests -----------------------------------------------------------------------------

    def _request(self, peer: Peer, request: dict, descriptors: list[int]) -> None:
        try:
            match request.get("do"):
                case "start":
                    self._start(peer)
                case "kill":
                    self._kill(request["signal"], request.get("all", False))
                    peer.send({})
                case "pause":
                    self._pause(True)
                    peer.send({})
                case "resume":
                    self._pause(False)
                    peer.send({})
                case "processes":
                    peer.send({"pids": self._processes()})
                case "update":
                    peer.send(self._update(document(descriptors.pop())))
                case "exec":
                    self._execute(peer, document(descriptors.pop()), descriptors, request["ignorePaused"])
                case "signal":
                    self._signal(self._commands.get(peer, 0), request["signal"])
                case other:
                    peer.send({"error": f"unknown request {other!r}"})
        except _Refused as refusal:
            peer.send({"error": str(refusal)})
        except (CannotRun, ConfigError, OSError) as problem:
            self._refuse(peer, why(problem))
        except Exception as bug:  # of ours, which is not to end the container
            self.tell_bug(bug)
            self._refuse(peer, f"bug in the monitor: {bug!r}")
        finally:
            for fd in descriptors:
                os.close(fd)

    def _refuse(self, peer: Peer, message: str) -> None:
        """Something went wrong on the way to what was asked for; a container that was half started is no container."""
        if self._starting is peer:
            self._fail(message)
        else:
            peer.send({"error": message})

    def tell_bug(self, bug: BaseException) -> None:
        self.log.error(f"bug in the monitor: {bug!r}")
        if self.log.debugs:
            import traceback

            for line in traceback.format_exception(bug):
                self.log.debug(line.rstrip())

    def _gone(self, peer: Peer) -> None:
        """A command hung up. Who ran a process beside init takes it along, as a process dies with its own terminal."""
        pid = self._commands.pop(peer, 0)
        if pid:
            self._signal(pid, signal.SIGKILL)

    @property
    def _state(self) -> str:
        return self.container.record["status"] if self.status is None else "stopped"

    # -- start --------------------------------------------------------------------------------

    def _start(self, peer: Peer) -> None:
        match self._state:
            case "created" if self._starting is None:
                pass
            case "stopped":
                raise _Refused("cannot start a container that has stopped")
            case "running" | "created":
                raise _Refused("cannot start an already running container")
            case other:
                raise _Refused(f"cannot start a container in the {other} state")
        self._starting = peer
        try:
            self._init = self.running.launch(held=bool(self._hooks))
        except (CannotRun, OSError) as problem:
            self._fail(why(problem))
            return
        self._loop.told = self._told
        self.running.supervisor.over = self._over
        self._let_streams_go()
        if self._hooks:
            self._run_hook(0)
        else:
            self._started()

    def _let_streams_go(self) -> None:
        """The streams that `create` came with are the guest's now: their ends are to be seen by whoever has the others."""
        self._hush()
        self.running.let_streams_go()

    def _hush(self) -> None:
        """Let go of the standard streams: what there is to be said goes to the log."""
        self.log.quiet = True
        close_streams()

    def _started(self) -> None:
        group = self._settings.group
        self.container.write(status="running", groups=group.directories if group is not None else [])
        peer, self._starting = self._starting, None
        peer.send({})

    def _fail(self, message: str) -> None:
        """The container cannot start: whoever wanted it to is told, and it ends."""
        peer, self._starting = self._starting, None
        if peer is not None:
            peer.send({"error": message, "over": True})
        self._end(_LOST << 8)

    # -- hooks inside -------------------------------------------------------------------------

    def _run_hook(self, index: int) -> None:
        """Run startContainer hook `index` in the container, then the others, then let init go."""
        if index == len(self._hooks):
            self.running.supervisor.let_go(self._init)
            self._started()
            return
        _Inside(self, self._hooks[index], partial(self._hook_ended, index)).run()

    def _hook_ended(self, index: int, problem: str | None) -> None:
        if self.running.supervisor.status is not None:
            return  # init was killed, and its hook with it
        if problem is not None:
            self._fail(f"error running startContainer hook #{index}: {problem}")
        elif self._starting is not None:
            self._run_hook(index + 1)

    # -- signals ------------------------------------------------------------------------------

    def _told(self, number: int, code: int) -> None:
        """A signal sent to the monitor is meant for init."""
        with contextlib.suppress(_Refused):
            self._kill(number, False)

    def _kill(self, number: int, everybody: bool) -> None:
        if self.status is not None:
            raise _Refused("container not running")
        if not self._init:
            if number not in _HARMLESS:
                self._end(number)
            return
        for pid in list(self.running.sandbox.tree.processes) if everybody else [self._init]:
            self._signal(pid, number)

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    # -- pause, ps, update --------------------------------------------------------------------

    def _pause(self, pausing: bool) -> None:
        if pausing and (self._state not in ("created", "running") or self._starting is not None):
            raise _Refused("container not running")
        if not pausing and self._state != "paused":
            raise _Refused("container not paused")
        if self._init:
            if pausing:
                self.running.supervisor.freeze()
            else:
                self.running.supervisor.thaw()
        self.container.write(status="paused" if pausing else "running" if self._init else "created")

    def _processes(self) -> list[int]:
        if not self._init:
            return [os.getpid()] if self.status is None else []
        return sorted(self.running.sandbox.tree.processes)

    def _update(self, wanted: dict) -> dict:
        """Change the limits that the sandbox is held to; warnings of those that are not kept."""
        if self.status is not None:
            raise _Refused("container not running")
        try:
            asked = msgspec.convert(wanted, Resources)
        except msgspec.ValidationError as problem:
            raise _Refused(f"resources: {str(problem)[0].lower()}{str(problem)[1:]}") from None
        limits = self._settings.limits
        if asked.memory is not None and asked.memory.limit is None:
            asked.memory.limit = limits.memory
        if asked.cpu is not None:
            asked.cpu.quota = limits.quota if asked.cpu.quota is None else asked.cpu.quota
            asked.cpu.period = asked.cpu.period or limits.period
        warnings: list[str] = []
        group = self._settings.group
        try:
            files = resources(
                asked, self._settings, lambda path, reason: warnings.append(f"{path} is not kept: {reason}"), group is not None
            )  # fmt: skip
        except ValueError as problem:
            raise _Refused(f"resources: cpu.cpus: {json.dumps(asked.cpu.cpus)} {problem}") from None
        if group is not None and group.made:
            group.tell(files)
            limits.by_kernel = group.kept
        elif group is not None:
            group.files.update(files)
        if self._init:
            self.running.keep_limits()
            if asked.cpu is not None and asked.cpu.cpus:
                self._place(self._settings.attributes.processors)
        return {"warnings": warnings}

    def _place(self, processors: set[int]) -> None:
        """Have every task run on these processors."""
        for tid in self.running.sandbox.tree.tasks:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(tid, processors)

    # -- exec ---------------------------------------------------------------------------------

    def _execute(self, peer: Peer, wanted: dict, descriptors: list[int], ignore_paused: bool) -> None:
        """Launch a process beside init, and tell its end to who asked for it."""
        match self._state:
            case "running":
                pass
            case "paused" if ignore_paused:
                pass
            case "paused":
                raise _Refused("cannot exec in a paused container (use --ignore-paused to override)")
            case "stopped":
                raise _Refused("cannot exec in a stopped container")
            case other:
                raise _Refused(f"cannot exec in a container in the {other} state")
        from containers.oci.process import launch

        process = msgspec.convert(wanted, Process)
        tty = descriptors[0] if process.terminal else None
        streams = None if tty is not None else tuple(descriptors[:3])
        more = tuple(descriptors[1 if tty is not None else 3 :])
        pid = launch(self.running, process, streams, tty, more, partial(self._command_ended, peer))
        self._commands[peer] = pid
        peer.send({"pid": pid})

    def _command_ended(self, peer: Peer, status: int) -> None:
        if self._commands.pop(peer, None) is not None:
            peer.send({"ended": status})

    # -- the end ------------------------------------------------------------------------------

    def _end(self, status: int) -> None:
        """End the container by our own decision: init, if it is there, takes everything with it."""
        if self._init:
            self._signal(self._init, signal.SIGKILL)
        else:
            self.status = status
            self._stopped()

    def _over(self) -> None:
        """The last task has ended."""
        status = self.running.supervisor.status
        self.status = status if status is not None else signal.SIGKILL
        for peer in list(self._commands):
            self._command_ended(peer, signal.SIGKILL)
        self._stopped()

    def _stopped(self) -> None:
        peer, self._starting = self._starting, None
        if peer is not None:
            peer.send({"error": "the container was killed before it had started"})
        self.container.write(status="stopped")


class _Refused(Exception):
    """A request that the container's state does not allow."""


class _Inside:
    """A hook that runs in the container; `ended(problem or None)` is called once, at its end or when its time is over."""

    def __init__(self, monitor: Monitor, hook, ended) -> None:
        self._monitor = monitor
        self._hook = hook
        self._ended = ended
        self._pid = 0
        self._output = b""
        self._until = time.monotonic() + hook.timeout if hook.timeout is not None else None

    def run(self) -> None:
        monitor, hook = self._monitor, self._hook
        state = os.memfd_create("state")
        with open(state, "wb", closefd=False) as file:
            file.write(json.dumps(monitor.container.state("created")).encode())
        os.lseek(state, 0, os.SEEK_SET)
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        path = os.fsencode(hook.path)
        try:
            self._pid = monitor.running.execute(
                [os.fsencode(word) for word in hook.args] or [path], hooks.environment(hook), b"/", Credentials(),
                (state, write, write), ended=self._exited, program=path,
            )  # fmt: skip
        except (CannotRun, OSError) as problem:
            os.close(self._read)
            self._ended(f"{hook.path}: {why(problem)}")
            return
        finally:
            os.close(state)
            os.close(write)
        monitor._loop.watch(self._read, lambda events: self._take_output())
        monitor._loop.patient.append(self._patience)

    def _take_output(self) -> bool:
        """Keep the end of what it prints; whether there may be more."""
        try:
            part = os.read(self._read, 1 << 16)
        except BlockingIOError:
            return False
        self._output = (self._output + part)[-_KEPT:]
        if not part:
            self._monitor._loop.unwatch(self._read)
        return bool(part)

    def _patience(self) -> int | None:
        """How many milliseconds it has left; who has none is killed."""
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left > 0:
            return int(left * 1000) + 1
        self._until = None
        self._finish(f"{self._hook.path} ran past timeout of {self._hook.timeout} s")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        return None

    def _exited(self, status: int) -> None:
        if status == 0:
            self._finish(None)
            return
        while self._pid and self._take_output():
            pass
        said = self._output.decode(errors="replace").strip().replace("\n", "; ")
        how = f"exit status {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal: {os.WTERMSIG(status)}"
        self._finish(f"{self._hook.path}: {how}{', output: ' + said if said else ''}")

    def _finish(self, problem: str | None) -> None:
        if self._ended is None:
            return
        ended, self._ended = self._ended, None
        loop = self._monitor._loop
        if self._patience in loop.patient:
            loop.patient.remove(self._patience)
        loop.unwatch(self._read)
        os.close(self._read)
        ended(problem)


def why(problem: Exception) -> str:
    """Why a container's process cannot be, in the words that engines look for."""
    if isinstance(problem, CannotExecute):
        return f"unable to start container process: {command_error(problem)}"
    if isinstance(problem, CannotEnter):
        place = os.fsdecode(problem.directory)
        return f'unable to start container process: chdir to cwd ("{place}") set in config.json failed: {problem.reason}'
    return (problem.strerror or str(problem)).lower() if isinstance(problem, OSError) else str(problem)


def _keep(wanted: set[int]) -> None:
    """Close what somebody has left open for the command, as a shell does: it was not meant for a process that stays."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in wanted:
            with contextlib.suppress(OSError):  # the directory that is being read
                os.close(int(name))


def become(container: Container, registry: Registry, settings: Settings, start_hooks, log: Log, channel: socket.socket,
           tty: int | None, more: tuple[int, ...]):  # fmt: skip
    """The calling process, a fork of `create`, is the monitor from now on; it never returns."""
    status = _LOST << 8
    _keep({channel.fileno(), container.directory, *more, *([] if tty is None else [tty]), *log.descriptors})
    monitor = Monitor(container, registry, settings, start_hooks, log, channel)
    try:
        os.setsid()
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        os.chdir("/")
        status = monitor.run(tty, more)
    except BaseException as bug:
        with contextlib.suppress(OSError):
            channel.send(json.dumps({"error": f"bug in the monitor: {bug!r}"}).encode())
        monitor.tell_bug(bug)
    finally:
        exit_as(status)
