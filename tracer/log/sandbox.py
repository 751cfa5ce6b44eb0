"""The log of a sandbox: what its supervisor sees, with the guest's numbers and the guest's names.

The supervisor tells who carried each call out: the kernel, the kernel with arguments that were changed (``steered``),
the supervisor itself, or nobody (``refused``).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

from abi.decoding.values import AT_FDCWD, quoted
from abi.errors import HostErrno, SysError
from abi.procview import ProcView
from tracer import ptrace
from tracer.log.inject import Injected
from tracer.log.names import linux_numbers
from tracer.log.recorder import Recorder, Subject
from tracer.placement import STOPPED, Place, Placement
from vfs.kernel import error, quick, raw
from vfs.namespace import Location

_TICK = 100  # milliseconds
_ERESTARTSYS = 512
_TIMERFD_CREATE, _TIMERFD_SETTIME = 283, 286
_NOTHING = Injected()
_RT_SIGRETURN = 15  # without arguments: what it goes back to lies where the stack pointer says


class SandboxLog:
    """Between a supervisor, which speaks of its tasks, and a recorder."""

    def __init__(self, sandbox, recorder: Recorder, injector=None) -> None:
        self._sandbox = sandbox
        self._tree = sandbox.tree
        self._view = ProcView(sandbox)
        self._recorder = recorder
        self._injector = injector
        self._placement: Placement | None = None  # none before `waiting`: what is started until then runs where it likes
        self._places: dict[int, Place] = {}
        self._under_way: dict[int, Injected] = {}  # what is done to the call at hand, by task
        self._delays: dict[int, float] = {}  # seconds for which a task is to wait where it is now
        self._waiting: dict[int, tuple[float, Callable[[], None]]] = {}  # when it goes on, by time.monotonic, and how
        self._timer = -1  # a timerfd(2) that wakes the loop for these
        self._loop = None
        for sink in recorder.sinks:
            if hasattr(sink, "files"):  # what names mean is for the sandbox to say
                sink.files = _SandboxFiles(sandbox, self._view)

    def watched(self) -> frozenset[int]:
        """The numbers of the calls that are wanted; -1 where those without a name are."""
        choice = self._recorder.choice
        numbers = {number for name, number in linux_numbers().items() if name in choice} | STOPPED
        return frozenset(numbers | {-1} if self._recorder.name("linux", -1) in choice else numbers)

    def attend(self, loop) -> None:
        """Begin to show what the log holds while `loop` waits, and to keep tasks near.

        Not by a timer's signal, which the supervisor would pass on to the guest.
        """
        self._loop = loop
        poll, recorder = loop.wait, self._recorder
        placement = self._placement = Placement(keeps=True)
        for place in self._places.values():
            placement.born(place)
        self._sandbox.before_status = placement.release_all
        due = 0.0

        def wait(timeout: int | None = None):
            nonlocal due
            ready = poll(_TICK if timeout is None else min(timeout, _TICK))
            now = time.monotonic()
            if not ready or now >= due:
                due = now + _TICK / 1000
                recorder.tick()
                placement.tick()
            return ready

        loop.wait = wait
        if self._injector is not None:
            self._timer = raw(_TIMERFD_CREATE, time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
            loop.watch(self._timer, lambda events: self._time_is_up())

    def go_on(self, how: int, task, number: int) -> None:
        """A task that is stopped goes on by the ptrace request `how`, with a signal or none.  ``OSError``: ESRCH."""
        if self._delays and self.postponed(task, lambda: self.go_on(how, task, number)):
            return
        if self._placement is None or self._placement.here is None:
            ptrace.request(how, task.tid, 0, number)
        elif self._placement.go_on(how, self._places[task.tid], number) == -1:
            raise error(ctypes.get_errno())

    # -- delays -------------------------------------------------------------------------------

    def postponed(self, task, act: Callable[[], None]) -> bool:
        """Whether the task is to wait now, as ``-e inject=`` has it; `act` is then called when it has waited."""
        delay = self._delays.pop(task.tid, 0.0)
        if not delay or self._timer < 0:
            return False
        self._waiting[task.tid] = time.monotonic() + delay, act
        self._set_timer()
        return True

    def is_late(self, task) -> bool:
        """Whether the task is to wait after the call at hand."""
        return self._under_way.get(task.tid, _NOTHING).delay_exit is not None

    def _set_timer(self) -> None:
        nearest = min((when for when, _ in self._waiting.values()), default=None)
        if nearest is None or self._timer < 0:
            return
        nanoseconds = max(1, int((nearest - time.monotonic()) * 1e9))
        value = (ctypes.c_int64 * 4)(0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)  # struct itimerspec
        raw(_TIMERFD_SETTIME, self._timer, 0, value, None)

    def _time_is_up(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return
        now = time.monotonic()
        for tid, (when, act) in list(self._waiting.items()):
            if when <= now and self._waiting.pop(tid, None) is not None:
                try:
                    act()
                except ProcessLookupError:
                    pass  # killed meanwhile, and its end is on the way
        self._set_timer()

    def close(self) -> None:
        """The end: int80 itself runs where it likes again."""
        if self._placement is not None:
            self._placement.close()
        if self._timer >= 0:
            self._loop.unwatch(self._timer)
            os.close(self._timer)
            self._timer = -1

    # -- calls --------------------------------------------------------------------------------

    def begin(
        self, task, number: int, arguments: tuple[int, ...], plane: str, abi: str = "linux", again: bool = False
    ) -> bool:  # fmt: skip
        """A call is about to be made; whether its end is wanted.

        `again`: with its answer at hand, as it was left open; after a signal in between it is logged again, as the kernel
        would make it again.
        """
        if again and task.subject.open is not None:
            return False
        if number in STOPPED and abi == "linux" and self._placement is not None:
            self._placement.calls(self._places[task.tid], abi, number, arguments[0], task.memory)
        if number == _RT_SIGRETURN and abi == "linux":
            arguments = (ptrace.getregs(task.tid)[ptrace.RSP], *arguments[1:])
        return self._recorder.begin(task.subject, number, arguments, abi, plane) and not again

    def end(self, task, value: int) -> None:
        """The call under way returns `value`, a negative errno for failure."""
        what = self._under_way.pop(task.tid, None) if self._under_way else None
        if what is not None and what.delay_exit is not None:
            self._delays[task.tid] = self._delays.get(task.tid, 0.0) + what.delay_exit
        self._recorder.end(task.subject, value)

    def interrupted(self, task) -> None:
        """A signal reaches the program: a call that waited for its answer is over, or will be made again."""
        self.end(task, -_ERESTARTSYS)

    def host_end(self, task, value: int, failed: bool) -> None:
        """A call of the host ABI returns a value, or one of that ABI's codes."""
        if failed:
            self._recorder.fail(task.subject, value, HostErrno(value).name)
        else:
            self.end(task, value)

    def injected(self, task, number: int) -> int | None:
        """The result that a call is to have instead of being made, by ``-e inject=``; None to let it be."""
        call = task.subject.open
        if self._injector is None or call is None:
            return None
        what = self._injector.decide(task.tid, call.name)
        if what is None:
            return None
        call.injected = what.marks
        self._under_way[task.tid] = what
        if what.delay_enter is not None:
            self._delays[task.tid] = what.delay_enter
        if what.signal:
            quick.tgkill(task.process.pid, task.tid, what.signal)
        return what.value

    # -- everything else ----------------------------------------------------------------------

    def born(self, task, parent, kind: str) -> None:
        pid = self._tree.guest(task.process.pid)
        task.subject = Subject(self._tree.guest(task.tid), pid, task.memory, lambda fd: self._descriptor(pid, fd))
        self._recorder.born(task.subject, parent.subject.tid if parent is not None else 0, kind)
        place = self._places[task.tid] = Place(task.tid)
        if self._placement is not None and parent is not None:
            self._placement.born(place, self._places.get(parent.tid))
        elif self._placement is not None:
            self._placement.started(place)

    def executed(self, task, caller, former: int) -> None:
        """Another program runs in `task`; `caller`, whose number was `former`, made the call."""
        if caller is not task:
            self._recorder.abandon(task.subject)
            task.subject.take_over(caller.subject)
            if self._placement is not None and former in self._places:
                self._placement.passed_on(self._places[former], self._places[task.tid])
        for tid in self._places.keys() - self._tree.tasks.keys() if len(self._places) > len(self._tree.tasks) else ():
            self._forget(tid)
        exe = task.process.exe
        self._recorder.executed(task.subject, self._tree.guest(former) or former, os.fsdecode(exe.name()) if exe else "")
        self.end(task, 0)

    def signal(self, task, number: int, info: bytes) -> None:
        self._recorder.signal(task.subject, number, info)

    def stopped(self, task, number: int) -> None:
        self._recorder.stopped(task.subject, number)

    def ended(self, task, status: int) -> None:
        self._forget(task.tid)
        if self._injector is not None:
            self._injector.gone(task.tid)
        self._recorder.ended(task.subject, status)

    def _forget(self, tid: int) -> None:
        for held in (self._under_way, self._delays, self._waiting):
            held.pop(tid, None)
        place = self._places.pop(tid, None)
        if place is not None and self._placement is not None:
            self._placement.forget(place)

    def _descriptor(self, pid: int, fd: int) -> str | None:
        """What a guest's descriptor is of, by the guest's own names."""
        try:
            name = self._view.link_name(pid, b"cwd") if fd == AT_FDCWD else self._view.fd_name(pid, fd)
        except (OSError, SysError):
            return None
        return quoted(name)[1:-1]


class _SandboxFiles:
    """What names mean in a sandbox, as `tracer.log.touched.HostFiles` says it of the host."""

    def __init__(self, sandbox, view: ProcView) -> None:
        self._sandbox = sandbox
        self._view = view

    def _process(self, tid: int):
        tree = self._sandbox.tree
        return tree.known(tree.init_pid if tid == 1 else tid).process  # also one that is being launched, for its first execve

    def descriptor(self, tid: int, fd: int) -> bytes | None:
        try:
            pid = self._sandbox.tree.guest(self._process(tid).pid)
            name = self._view.link_name(pid, b"cwd") if fd == AT_FDCWD else self._view.fd_name(pid, fd)
        except (OSError, SysError):
            return None
        return name if name.startswith(b"/") and not name.endswith(b" (deleted)") else None

    def resolve(self, tid: int, pid: int, path: bytes, follow: bool) -> bytes:
        try:
            fs = self._process(tid).fs
            found = self._sandbox.namespace.walk(fs, fs.cwd, path, follow)
        except OSError:
            return os.path.normpath(path)
        return found.name() if isinstance(found, Location) else os.path.normpath(path)

    def programs(self, tid: int) -> set[bytes]:
        pid = self._process(tid).pid
        try:
            with open(b"/proc/%d/maps" % pid, "rb") as file:
                text = self._view.rename_maps(self._sandbox.tree.guest(pid), file.read())
        except OSError:
            return set()
        names = {words[5] for words in (line.split(maxsplit=5) for line in text.splitlines()) if len(words) == 6}
        return {name for name in names if name.startswith(b"/") and not name.endswith(b" (deleted)")}
