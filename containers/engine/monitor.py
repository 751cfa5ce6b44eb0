"""The process that stands for a running container: it holds the sandbox, starts it again by policy, and takes requests.

It is a fork of the command that starts the container, has the lock of the container's directory for life, and writes the
record. Requests come as `containers.oci.control` has them, served from the loop that serves the guests.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

from abi import messages
from containers.engine.files import Files
from containers.engine.record import Record, Store, let_image_go, now
from containers.engine.streams import Keeper, Streams
from containers.oci.attending import close_streams, exit_as
from containers.oci.control import Control, Peer, document
from containers.sandbox import Running, Settings
from containers.status import CannotRun, exit_status
from procs.credentials import Credentials
from tracer.loop import FORWARDED, Loop

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # seconds before a container is started again: twice as many each time ...
_LONG = 10.0  # ... unless it ran for so many


class Refused(Exception):
    """A request that the container's state does not allow; one line."""


class Timer:
    """Has something called once after a while, unless it is stopped."""

    def __init__(self, loop: Loop, seconds: float, call: Callable[[], None]) -> None:
        self._loop = loop
        self._until = time.monotonic() + seconds
        self._call = call
        loop.patient.append(self._patience)

    def _patience(self) -> int | None:
        left = self._until - time.monotonic()
        if left > 0:
            return min(int(left * 1000) + 1, 1 << 30)
        self.stop()
        self._call()
        return 0  # what it has done may be for the loop to look at

    def stop(self) -> None:
        if self._patience in self._loop.patient:
            self._loop.patient.remove(self._patience)


class Monitor:
    """One container for as long as it is started and started again; true until that is over.

    `make` gives its settings anew for each run but the first, which has `settings`.
    """

    def __init__(self, record: Record, settings: Settings, make: Callable[[], Settings], channel: socket.socket) -> None:
        self._record = record
        self._settings: Settings | None = settings
        self._make = make
        self._channel: socket.socket | None = channel
        self._loop = Loop()
        self._running: Running | None = None
        self._init = 0
        self._status: int | None = None  # exit status of the last run
        self._began = 0.0
        self._pause = _FIRST_PAUSE
        self._stopping = False  # somebody wants it to end for good
        self._timers: list[Timer] = []
        self._commands: dict[Peer, int] = {}  # who waits for the end of which process launched beside init
        self._waiting: dict[Peer, bool] = {}  # who waits for the end of the container; for the last one, or any
        self._files: dict[Peer, Files] = {}
        self._going = True

    def __bool__(self) -> bool:
        return self._going

    @property
    def _state(self) -> str:
        return self._record.data["status"]

    def run(self) -> None:
        """Run the container, and again if it is to be, and serve until that is over."""
        data, loop = self._record.data, self._loop
        self._record.container.live()
        self._record.container.write(pid=os.getpid())
        loop.told = self._told
        self._streams = Streams(data["tty"], data["open_stdin"], data["stdin_once"])
        self._keeper = Keeper(loop, self._record.container, self._streams, self._drained)
        close_streams()
        # What goes to the standard error by itself, a trace say, is among what the container writes.
        os.dup2(self._streams.tty if self._streams.inner is None else self._streams.inner[2], 2, inheritable=False)
        messages.tell(self._keeper.say)
        try:
            try:
                self._prepare()
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._record.container.path("control"))  # of the one before
                self._control = Control(loop, self._record.container, self._request, self._gone)
            except (CannotRun, OSError) as problem:
                self._fail(problem)
                return
            self._report({"prepared": os.getpid()})
            loop.watch(self._channel.fileno(), self._let_go)
            loop.run(self)
            self._control.close()
        finally:
            if self._running is not None:
                self._running.close()
            self._keeper.close()

    # -- being started ------------------------------------------------------------------------

    def _prepare(self) -> None:
        settings = self._settings if self._settings is not None else self._make()
        self._settings = None
        settings.stdio = self._streams.inner
        self._running = Running(settings, self._loop, self._streams.tty)
        self._running.prepare()
        self._user = self._running.credentials.copy()  # which init may change for itself

    def _report(self, message: dict) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(json.dumps(message).encode())

    def _fail(self, problem: Exception) -> None:
        """It cannot be started; whoever wanted it to is told."""
        text = str(problem) if isinstance(problem, CannotRun) else _words(problem)
        status = getattr(problem, "status", 125)
        self._record.container.write(status="exited", pid=0, exit_code=status, error=text, finished=now())
        self._report({"error": text, "status": status})
        self._going = False

    def _let_go(self, events: int) -> None:
        """The command is ready for it to run, or is gone: then it is not to."""
        self._loop.unwatch(self._channel.fileno())
        try:
            told = self._channel.recv(16)
        except OSError:
            told = b""
        if not told or self._stopping:
            self._report({"error": "it was ended before it had begun", "status": 125})
            self._record.container.write(pid=0)
            self._give_up()
            return
        try:
            self._record.container.write(restarts=0)
            self._launch()
            self._report({"started": os.getpid()})
        except (CannotRun, OSError) as problem:
            self._fail(problem)
        self._channel.close()

    def _launch(self) -> None:
        # First what it is about to be: a monitor that is killed now has a container that runs no more, not one never started.
        self._record.container.write(
            status="running", pid=os.getpid(), started=now(), finished="", exit_code=0, error="", stopped=False
        )
        self._init = self._running.launch()
        self._loop.told = self._told
        self._running.supervisor.over = self._over
        self._began = time.monotonic()

    # -- the end, and another beginning -------------------------------------------------------

    def _over(self) -> None:
        """The last task has ended."""
        status = self._running.supervisor.status
        self._status = exit_status(status if status is not None else signal.SIGKILL)
        self._init = 0
        for timer in self._timers:
            timer.stop()
        self._timers.clear()
        for peer in list(self._commands):
            self._command_ended(peer, signal.SIGKILL)
        for files in self._files.values():
            files.end()
        self._keeper.over()

    def _drained(self) -> None:
        """All that it has written is in the log."""
        out_of_memory = self._running.ran_out_of_memory
        self._running.close()
        self._running = None
        gc.collect()  # descriptors of its root
        if time.monotonic() - self._began >= _LONG:
            self._pause = _FIRST_PAUSE
        again = self._is_to_go_on()
        data = self._record.data
        self._record.container.write(
            status="restarting" if again else "exited", pid=os.getpid() if again else 0, exit_code=self._status,
            finished=now(), stopped=self._stopping, restarts=data["restarts"] + again,
            out_of_memory=out_of_memory,
        )  # fmt: skip
        for peer, last in list(self._waiting.items()):
            if not (last and again):
                self._answer_waiting(peer)
        if again:
            self._timers.append(Timer(self._loop, self._pause, self._begin_again))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        else:
            self._going = False

    def _answer_waiting(self, peer: Peer) -> None:
        self._waiting.pop(peer, None)
        peer.send({"exit_code": self._record.data["exit_code"]})

    def _is_to_go_on(self) -> bool:
        data = self._record.data
        policy = data["restart"]
        if self._stopping:
            return False
        match policy["name"]:
            case "always" | "unless-stopped":
                return True
            case "on-failure":
                return self._status != 0 and (not policy["most"] or data["restarts"] < policy["most"])
        return False

    def _begin_again(self) -> None:
        self._timers.clear()
        self._streams.renew()
        try:
            self._prepare()
            self._launch()
        except (CannotRun, OSError) as problem:
            self._status = getattr(problem, "status", 125)
            text = str(problem) if isinstance(problem, CannotRun) else _words(problem)
            self._record.container.write(status="exited", pid=0, exit_code=self._status, error=text, finished=now())
            messages.say(text)
            self._give_up()

    def _give_up(self) -> None:
        """It is not started again after all."""
        for peer in list(self._waiting):
            self._answer_waiting(peer)
        self._going = False

    # -- requests -----------------------------------------------------------------------------

    def _request(self, peer: Peer, request: dict, descriptors: list[int]) -> None:
        try:
            match request.get("do"):
                case "kill":
                    self._kill(request["signal"])
                    peer.send({})
                case "stop":
                    self._stop(peer, request["signal"], request["seconds"])
                case "wait":
                    self._waiting[peer] = request.get("last", False)
                case "pause":
                    self._freeze(True)
                    peer.send({})
                case "resume":
                    self._freeze(False)
                    peer.send({})
                case "processes":
                    peer.send({"processes": self._processes()})
                case "exec":
                    self._execute(peer, document(descriptors.pop()), descriptors)
                case "signal":
                    self._signal(self._commands.get(peer, 0), request["signal"])
                case "files":
                    self._handle_files(peer, request)
                case other:
                    peer.send({"error": f"unknown request {other!r}"})
        except Refused as refusal:
            peer.send({"error": f"{self._record.name}: {refusal}"})
        except CannotRun as problem:
            peer.send({"error": str(problem), "status": problem.status})
        finally:
            for fd in descriptors:
                os.close(fd)

    def _gone(self, peer: Peer) -> None:
        """A command hung up. Who ran a process beside init takes it along, as a process dies with its terminal."""
        self._waiting.pop(peer, None)
        self._files.pop(peer, None)
        pid = self._commands.pop(peer, 0)
        if pid:
            self._signal(pid, signal.SIGKILL)

    # -- signals ------------------------------------------------------------------------------

    def _told(self, number: int, code: int) -> None:
        """A signal sent to the monitor: whoever ends it means the container."""
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            with contextlib.suppress(Refused):
                self._end(self._record.data["stop_signal"], self._record.data["stop_timeout"])

    def _kill(self, number: int) -> None:
        if number == signal.SIGKILL:
            self._stopping = True
        if not self._init:
            if number == signal.SIGKILL and self._going:
                self._cancel()
                return
            raise Refused(f"it is {self._state}, not running")
        if number == self._record.data["stop_signal"]:
            self._stopping = True
        self._signal(self._init, number)

    def _cancel(self) -> None:
        """End a container that is not running just now: before it has begun, or between two runs."""
        self._stopping = True
        if self._state == "restarting":
            for timer in self._timers:
                timer.stop()
            self._timers.clear()
            self._record.container.write(status="exited", pid=0, stopped=True)
            self._give_up()

    def _stop(self, peer: Peer, number: int, seconds: float) -> None:
        self._waiting[peer] = True
        self._end(number, seconds)

    def _end(self, number: int, seconds: float) -> None:
        """Ask the container to end, and have it end if it has not after a while (never, if that is less than 0)."""
        self._stopping = True
        if not self._init:
            self._cancel()
            return
        self._running.supervisor.thaw()
        self._signal(self._init, number)
        if seconds >= 0:
            self._timers.append(Timer(self._loop, seconds, lambda: self._signal(self._init, signal.SIGKILL)))

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    # -- pause and ps -------------------------------------------------------------------------

    def _freeze(self, pausing: bool) -> None:
        if self._state != ("running" if pausing else "paused") or not self._init:
            raise Refused(f"it is {self._state}, not {'running' if pausing else 'paused'}")
        if pausing:
            self._running.supervisor.freeze()
        else:
            self._running.supervisor.thaw()
        self._record.container.write(status="paused" if pausing else "running")

    def _processes(self) -> list[dict]:
        """Its processes by the host's numbers and by its own."""
        if not self._init:
            return []
        tree = self._running.sandbox.tree
        return [
            {"host": pid, "pid": tree.guest(pid), "uid": process.credentials.uid, "threads": len(process.tasks)}
            for pid, process in sorted(tree.processes.items(), key=lambda item: tree.guest(item[0]))
        ]

    # -- exec ---------------------------------------------------------------------------------

    def _execute(self, peer: Peer, wanted: dict, descriptors: list[int]) -> None:
        """Launch a process beside init; its end is told to whoever asked for it, unless that is detached."""
        if not self._init or self._state != "running":
            raise Refused(f"it is {self._state}; a command needs it running")
        settings = self._running.settings
        if wanted["user"] is None:
            who = self._user.copy()
        else:
            from containers.images.run import find_user

            uid, gid, groups, _ = find_user(self._running.sandbox.namespace, wanted["user"])
            who = self._running.rightful(Credentials(uid, gid, groups))
        tty = descriptors[0] if wanted["terminal"] else None
        stdio = None if tty is not None else tuple(descriptors[:3])
        env = settings.env | {os.fsencode(name): os.fsencode(value) for name, value in wanted["env"].items()}
        if tty is not None:
            env.setdefault(b"TERM", b"xterm")
        workdir = settings.workdir if wanted["workdir"] is None else os.fsencode(wanted["workdir"])
        argv = [os.fsencode(word) for word in wanted["argv"]]
        ended = None if wanted["detach"] else partial(self._command_ended, peer)
        pid = self._running.execute(
            argv, env, workdir, who, stdio, tty, ended, settings.attributes, settings.umask, settings.no_new_privs
        )
        if ended is not None:
            self._commands[peer] = pid
        peer.send({"pid": pid})

    def _command_ended(self, peer: Peer, status: int) -> None:
        if self._commands.pop(peer, None) is not None:
            peer.send({"ended": status})

    # -- files --------------------------------------------------------------------------------

    def _handle_files(self, peer: Peer, request: dict) -> None:
        if not self._init:
            raise Refused(f"it is {self._state}")
        files = self._files.get(peer)
        if files is None:
            files = self._files[peer] = Files(self._running.sandbox.namespace)
        answer, fd = files.serve(request)
        with contextlib.suppress(OSError):
            socket.send_fds(peer.socket, [json.dumps(answer).encode()], [] if fd is None else [fd])
        if fd is not None:
            os.close(fd)


def _words(problem: OSError) -> str:
    where = f"{os.fsdecode(problem.filename)}: " if isinstance(problem.filename, str | bytes) else ""
    return f"{where}{(problem.strerror or str(problem)).lower()}"


def become(record: Record, settings: Settings, make: Callable[[], Settings], channel: socket.socket):
    """The calling process, a fork of a command, is the monitor from now on; it never returns."""
    try:
        os.setsid()
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        os.chdir("/")
        Monitor(record, settings, make, channel).run()
        if record.data["auto_remove"]:
            Store().registry.withdraw(record.container)
            let_image_go(record)
    except BaseException as bug:
        with contextlib.suppress(OSError):
            channel.send(json.dumps({"error": f"bug in the monitor: {bug!r}", "status": 125}).encode())
        if os.environ.get("INT80_DEBUG"):
            import traceback

            with open(record.container.path("bug"), "w") as file:
                traceback.print_exception(bug, file=file)
    finally:
        exit_as(0)
