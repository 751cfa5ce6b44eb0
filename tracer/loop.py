"""The loop of one process of int80's: descriptors, signals and stops, for the supervisors of one or more sandboxes.

Everything happens on one thread, so no state needs a lock; work that may block is done aside (`tracer.aside`) and comes
back through the loop.  poll(2), not epoll, because only it passes on the kernel's hint to wake the supervisor on the caller's
own processor (SYNC_WAKE_UP).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Callable

from tracer import ptrace
from vfs import kernel

FORWARDED = frozenset(
    (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
     signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
)  # fmt: skip


class Loop:
    """Waits for all that its supervisors serve.

    `signals` is a signalfd(2) of SIGCHLD and of the signals that are passed on: `told(number, code)` is called with those.
    `wait` is poll(2) on everything that is watched, in milliseconds; who wants to look in between wraps it.
    """

    def __init__(self) -> None:
        self.signals = signalfd({signal.SIGCHLD} | FORWARDED)
        self.told: Callable[[int, int], None] = lambda number, code: None
        self.supervisors: list = []  # those whose tasks are known here
        self.ending: list = []  # those whose init has ended
        self.patient: list[Callable[[], int | None]] = []  # who may want to be called again after some milliseconds
        self.stillborn: set[int] = set()  # dead tasks nobody has announced yet
        self._strangers: dict[int, int] = {}  # stopped tasks nobody has announced yet
        self._poll = select.poll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self.wait = self._poll.poll

    def watch(self, fd: int, call: Callable[[int], None]) -> None:
        """Have `call(events)` called whenever `fd` can be read or has been hung up; those first watched come first."""
        self._calls[fd] = call
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        if self._calls.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def watch_signals(self) -> None:
        """Ask for signals and stops after all that is watched already."""
        self.unwatch(self.signals)
        self.watch(self.signals, self._signalled)

    def run(self, going) -> None:
        """Serve for as long as `going` is true: tasks, say, of which some are left."""
        calls, patient = self._calls, self.patient
        if self.signals not in calls:
            self.watch_signals()
        self._end()
        while going:
            for fd, events in self.wait(self._patience() if patient else None):
                call = calls.get(fd)  # None: one before it in the list has ended it
                if call is not None:
                    call(events)
            if self.ending:
                self._end()

    def _end(self) -> None:
        for supervisor in list(self.ending):
            supervisor.end_all()
            if not supervisor.tree.tasks:
                self.ending.remove(supervisor)
                self.supervisors.remove(supervisor)
                supervisor.is_over()

    def _patience(self) -> int | None:
        return min((wanted for wants in self.patient if (wanted := wants()) is not None), default=None)

    # -- signals and stops --------------------------------------------------------------------

    def _signalled(self, events: int) -> None:
        while True:
            try:
                data = os.read(self.signals, 128 * 16)
            except BlockingIOError:
                break
            for position in range(0, len(data), 128):
                number = int.from_bytes(data[position : position + 4], "little")
                if number != signal.SIGCHLD:
                    self.told(number, int.from_bytes(data[position + 8 : position + 12], "little", signed=True))
            if len(data) < 128 * 16:
                break
        self.reap()

    def reap(self) -> None:
        """Take up every task that has stopped or ended."""
        while (event := ptrace.wait_any()) is not None:
            self._event(*event)
        if self._strangers:
            self._adopt_strangers()

    def _event(self, tid: int, status: int) -> None:
        for supervisor in self.supervisors:
            task = supervisor.tree.tasks.get(tid)
            if task is not None:
                self._strangers.pop(tid, None)
                supervisor.event(task, status)
                return
        if os.WIFSTOPPED(status):
            self.stillborn.discard(tid)
            self._strangers[tid] = status
        else:
            self._strangers.pop(tid, None)
            self.stillborn.add(tid)

    def stranger(self, tid: int) -> int | None:
        """The wait status of a task that has been announced now, if it has stopped already."""
        return self._strangers.pop(tid, None)

    def _adopt_strangers(self) -> None:
        """Tasks stopped at birth whose parent's event has not come, or never will: it may have been killed.

        Their parent is read from /proc; once adopted, a late event finds them known.
        """
        for tid in list(self._strangers):
            status = self._strangers.pop(tid)
            for supervisor in self.supervisors:
                if supervisor.adopt_stranger(tid, status):
                    break
            else:
                kill(tid)


def kill(pid: int) -> None:
    """SIGKILL for who may be dead already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def signalfd(numbers: set[int]) -> int:
    """Block `numbers` and give a descriptor that reports them; signalfd(2)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers | {signal.SIGTTOU})
    mask = ctypes.c_uint64(sum(1 << number - 1 for number in numbers))
    return kernel.raw(289, -1, ctypes.byref(mask), 8, os.O_CLOEXEC | os.O_NONBLOCK)
