"""Calls that may block, such as opening a named pipe: worked on aside while their caller can be interrupted.

A task that waits for a notification's reply can only be killed; a signal does not reach it.  So the reply
is given at once, and before the task gets back to its program it is stopped and put into pause(2), which
every signal interrupts.  When the work is done the task is stopped again and makes its call anew, and this time
the result is there.  A signal before that ends the work, and the call fails with EINTR or is restarted as the
signal's disposition says, which the kernel decides, as if the call itself had been interrupted.
"""

from __future__ import annotations

import _thread
import os
import signal
import time

from abi.dispatch import Fail, InstallFile
from abi.errors import Kind, SysError
from tracer import ptrace
from tracer.ptrace import ORIG_RAX, RAX, RIP, U64
from vfs import kernel

_PAUSE, _TGKILL = 34, 234
_EINTR, _ENOMEM = 4, 12
_ERESTARTSYS, _ERESTARTNOINTR = 512, 513
_WAKE = signal.SIGRTMIN  # ends a worker's system call; its handler does nothing
_HALF_MILLISECOND = 0.0005
_HURRY = 100  # half milliseconds that the loop waits for a worker it has told to end
_PATIENCE = 50  # milliseconds between two tries to end a worker that was called off

_STOPPING, _SLEEPING, _RETURNING = range(3)


class Parked:
    """One call under way: its task, the registers to give back, and the worker's result when there is one."""

    __slots__ = ("_asides", "_saved", "_state", "arguments", "called_off", "collected", "number", "result", "task", "thread")

    def __init__(self, asides: Asides, task, number: int, arguments: tuple[int, ...]) -> None:
        self._asides = asides
        self._state = _STOPPING
        self._saved: list[int] = []
        self.task = task
        self.number = number
        self.arguments = arguments
        self.result = None
        self.called_off = False
        self.collected = False  # whether `done` has seen the result
        self.thread = 0  # the worker's kernel number, once it runs

    def matches(self, number: int, arguments: tuple[int, ...]) -> bool:
        """Whether a call is this one, made anew with its result at hand."""
        return self._state == _RETURNING and (number, arguments) == (self.number, self.arguments)

    @property
    def overdue(self) -> bool:
        """Whether the task is about to sleep for a result that is there."""
        return self._state == _SLEEPING and self.result is not None

    def at_stop(self) -> None:
        """The task stands at a PTRACE_EVENT_STOP."""
        tid = self.task.tid
        if self._state == _STOPPING:
            registers = ptrace.getregs(tid)
            self._saved = list(registers)
            if self.result is None:
                registers[RAX], registers[ORIG_RAX] = _PAUSE, U64
                self._asides.supervisor.mark_own(registers)
                registers[RIP] -= 2
                ptrace.setregs(tid, registers)
                self._state = _SLEEPING
                ptrace.request(ptrace.CONT, tid)
                return
        if self._state == _SLEEPING and not self._is_asleep():
            self._give_up()
            self._asides.supervisor.resume(self.task)
            return
        if self.result is not None and self._state != _RETURNING:
            registers = ptrace.REGISTERS(*self._saved)
            registers[RAX], registers[ORIG_RAX] = self.number, U64
            registers[RIP] -= 2
            ptrace.setregs(tid, registers)
            self._state = _RETURNING
        if self._state == _SLEEPING:
            ptrace.request(ptrace.CONT, tid)
        else:
            self._asides.supervisor.resume(self.task)

    def interrupted(self) -> bool:
        """The task stands at a signal's delivery: whether its call is interrupted by it.

        It is not when the work is done already, or ends well now that it is told to end: natively the call would
        have returned before the signal.  The call is then made again after the signal's handler, for its result.
        """
        if self._state == _RETURNING:
            return False
        if self._state == _SLEEPING and not self._is_asleep():
            self._give_up()
            return False
        self._asides.hurry(self)
        registers = ptrace.getregs(self.task.tid)
        if self._state == _SLEEPING:
            registers = ptrace.REGISTERS(*self._saved)
        done = self.result is not None and not self._was_cut_short()
        registers[RAX] = (-_ERESTARTNOINTR if done else -_ERESTARTSYS) & U64
        registers[ORIG_RAX] = self.number
        ptrace.setregs(self.task.tid, registers)
        if done:
            self._state = _RETURNING
            return False
        self.task.aside = None
        self.cancel()
        return True

    def _is_asleep(self) -> bool:
        """Whether the task is still where it was put to sleep: a filter of its own may have refused it that, and it goes on.

        A call through the gate sleeps in the vDSO.
        """
        here = ptrace.getregs(self.task.tid)[RIP]
        return self.task.trap is not None or here in (self._saved[RIP], self._saved[RIP] - 2)

    def _give_up(self) -> None:
        """The call has failed already, with what the guest's filter said."""
        self.task.aside = None
        self.cancel()

    def _was_cut_short(self) -> bool:
        return isinstance(self.result, Fail) and self.result.error.kind is Kind.EINTR

    def cancel(self) -> None:
        """Nobody wants the result any more."""
        self.called_off = True
        if self.collected:
            self._drop()
        elif self.result is None:
            self._asides.call_off(self)

    def _drop(self) -> None:
        if isinstance(self.result, InstallFile):
            os.close(self.result.fd)

    def wake(self) -> None:
        """Interrupt the worker's system call, if it is in one."""
        if self.thread:
            try:
                kernel.raw(_TGKILL, os.getpid(), self.thread, _WAKE)
            except ProcessLookupError:
                pass  # it has ended

    def done(self) -> None:
        """The worker has ended: fetch the task, or drop what it brought."""
        self.collected = True
        if self.called_off:
            self._drop()
            return
        if self._state == _SLEEPING:
            try:
                ptrace.request(ptrace.INTERRUPT, self.task.tid)
            except ProcessLookupError:
                pass


class Asides:
    """The workers of one supervisor; `ready` becomes readable when one has ended."""

    def __init__(self, supervisor) -> None:
        self.supervisor = supervisor
        self.ready, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._finished: list[Parked] = []
        self._called_off: list[Parked] = []
        self._working: set[Parked] = set()  # those whose workers have not let go of this object yet
        signal.signal(_WAKE, lambda number, frame: None)
        signal.siginterrupt(_WAKE, True)

    def park(self, task, listener, notification: int, number: int, arguments: tuple[int, ...], work) -> None:
        """Begin `work` for the call that `notification` announced."""
        if task.aside is not None:
            task.aside.cancel()
        parked = Parked(self, task, number, arguments)
        self._working.add(parked)
        try:
            _thread.start_new_thread(self._work, (parked, work))
        except RuntimeError:  # no more threads
            self._working.discard(parked)
            listener.reply(notification, -_ENOMEM)
            return
        task.aside = parked
        try:
            ptrace.request(ptrace.INTERRUPT, task.tid)
        except ProcessLookupError:
            pass
        listener.reply(notification, -_EINTR)

    def _work(self, parked: Parked, work) -> None:
        """On a thread of its own: touches nothing but `parked` and the list, both atomically."""
        parked.thread = _thread.get_native_id()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {_WAKE})
        result = None
        while result is None:
            try:
                result = work(lambda: parked.called_off)
            except OSError as problem:
                # A wake-up may be meant for a worker whose thread number this one was given.
                if problem.errno != _EINTR or parked.called_off:
                    result = Fail(SysError.of_errno(problem.errno))
            except SysError as failure:
                result = Fail(failure)
            except Exception as bug:  # as in a handler: the caller must not wait for ever
                self.supervisor.sandbox.report_bug(bug)
                result = Fail(SysError(Kind.EIO))
        signal.pthread_sigmask(signal.SIG_BLOCK, {_WAKE})  # one still on its way must not outlive the handler
        parked.result = result
        self._finished.append(parked)
        os.write(self._tell, b"1")
        self._working.discard(parked)

    def finish(self) -> None:
        """Take up what workers have ended."""
        try:
            os.read(self.ready, 4096)
        except BlockingIOError:
            pass
        while self._finished:
            parked = self._finished.pop()
            if parked in self._called_off:
                self._called_off.remove(parked)
            parked.done()

    def hurry(self, parked: Parked) -> None:
        """Have a worker end now, and wait for it: a moment, since a signal ends its system call."""
        parked.called_off = True
        for _ in range(_HURRY):
            if parked.result is not None:
                break
            parked.wake()
            time.sleep(_HALF_MILLISECOND)
        parked.called_off = False

    def close(self) -> None:
        """Wait for the workers, whose callers have all ended: past the interpreter's end a wake-up would kill."""
        while self._working:
            for parked in list(self._working):
                parked.called_off = True
                parked.wake()
            time.sleep(_HALF_MILLISECOND)
        self.finish()
        os.close(self.ready)
        os.close(self._tell)

    def call_off(self, parked: Parked) -> None:
        self._called_off.append(parked)
        self.patience()

    def patience(self) -> int | None:
        """Milliseconds the loop may sleep; workers called off are told again until they have heard.

        A signal that comes a moment before the system call it is to interrupt is lost.
        """
        for parked in self._called_off:
            if parked.result is None:
                parked.wake()
        return _PATIENCE if self._called_off else None


