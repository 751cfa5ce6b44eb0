"""Tracing programs on the host as they are: no sandbox, nothing changed.  strace(1)'s place.

Every task is seized, and stopped at the begin and the end of the calls that are wanted: by PTRACE_SYSCALL where all
are, else by a seccomp filter that stops only those.  What costs most is the switch between task and tracer, above all
to another processor (`tracer.placement`), and then what Python does at a stop: two of them are each call's, so what
lies on their way is written out.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from abi.decoding.values import quoted
from tracer import ptrace
from tracer.bpf import TRACE_STEER
from tracer.log.recorder import Recorder, Subject
from tracer.memory import GuestMemory
from tracer.placement import FREE, Place, Placement
from vfs.kernel import error, quick

_GET_SYSCALL_INFO = 0x420E
_EXIT, _SECCOMP = 2, 3  # PTRACE_SYSCALL_INFO_
_INFO = ctypes.create_string_buffer(88)  # struct ptrace_syscall_info
_INFO_AT = ctypes.c_void_p(ctypes.addressof(_INFO))
_info = memoryview(_INFO).cast("B")
_call = struct.Struct("<4xI8xQQ6Q").unpack_from  # from its begin on: architecture, stack pointer, number, arguments
_result = struct.Struct("<24xq").unpack_from
_filter_data = struct.Struct("<80xI").unpack_from
_ARCHITECTURES = {0xC000003E: "linux", 0x40000003: "i386"}
_STOPS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_CALL_STOP = (signal.SIGTRAP | 0x80) << 8 | 0x7F  # wait statuses
_FILTER_STOP = ptrace.EVENT_SECCOMP << 16 | signal.SIGTRAP << 8 | 0x7F
_EVENTS = {ptrace.EVENT_FORK: "fork", ptrace.EVENT_VFORK: "vfork", ptrace.EVENT_CLONE: "clone"}
_DETACH = 17
_OPENS, _SHY = {2: 0, 257: 1, 437: 1}, 40  # open, openat, openat2: where their path is; stops until what was opened is read
_RESTARTS = (-512, -513, -514, -516)  # ERESTART*: a signal, or the tracer, came while it waited
_RT_SIGRETURN = 15  # has no arguments; what it goes back to lies where the stack pointer says, so that is shown
_SPECIAL = {"linux": FREE["linux"] | {_RT_SIGRETURN, *_OPENS}, "i386": FREE["i386"], "unknown": frozenset()}
_OPTIONS = (
    ptrace.O_TRACESYSGOOD | ptrace.O_TRACEFORK | ptrace.O_TRACEVFORK | ptrace.O_TRACECLONE | ptrace.O_TRACEEXEC
)  # fmt: skip

_ptrace = quick["ptrace"]
_ptrace.restype = ctypes.c_long


class Traced(Subject):
    """A traced task.  `begun`: it stands between the begin and the end of a call that is wanted."""

    __slots__ = ("begun", "command", "place", "started")

    def __init__(self, tid: int, pid: int, describe) -> None:
        super().__init__(tid, pid, GuestMemory(tid), lambda fd: describe(tid, fd))
        self.begun = False
        self.place = Place(tid)
        self.started = False
        self.command = False  # the command given, before its execve: its calls are still ours


class HostTracer:
    """Runs a command, or attaches to tasks, and records what they do.

    `filtered`: a seccomp filter chooses the calls, so tasks are stopped at those only.  `injector` may change calls
    (`tracer.log.inject`).
    """

    def __init__(self, recorder: Recorder, describe, filtered: bool = False, injector=None) -> None:
        self.recorder = recorder
        self.injector = injector
        self._describe = describe
        self._filtered = filtered
        self._tasks: dict[int, Traced] = {}
        self._early: dict[int, int] = {}  # stopped tasks whose parent has not announced them yet
        self._main: int | None = None
        self._running = False  # the command's execve is behind us
        self._status: int | None = None
        self._leaving = False
        self.left: dict[int, None] = {}  # the processes that were let go, in this order
        self._go: int | None = None
        self._placement: Placement | None = None
        self._proc = quoted(b"/proc/")[:-1]

    # -- beginning ----------------------------------------------------------------------------

    def start(self, path: bytes, argv: list[bytes], env: dict[bytes, bytes], program: bytes | None) -> None:
        """Fork the command and stop it at its execve; `program` is the seccomp filter where there is one."""
        go_read, self._go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(self._go)
            _child(go_read, path, argv, env, program)
        os.close(go_read)
        try:
            # A program's own filter may ask for a tracer too (SECCOMP_RET_TRACE), and is to find none if it can be helped.
            options = _OPTIONS | ptrace.O_EXITKILL | (ptrace.O_TRACESECCOMP if program is not None else 0)
            ptrace.request(ptrace.SEIZE, pid, 0, options)
            ptrace.request(ptrace.INTERRUPT, pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._main = pid
        task = self._add(pid, pid)
        task.command = True
        self.recorder.born(task, 0, "command")

    def attach(self, pid: int) -> None:
        """Seize a process with all its threads.  ``OSError``: ESRCH, EPERM."""
        pending = [tid for tid in map(int, os.listdir(f"/proc/{pid}/task")) if tid not in self._tasks]
        while pending:  # threads may be born meanwhile; those of seized threads are ours by themselves
            for tid in pending:
                try:
                    ptrace.request(ptrace.SEIZE, tid, 0, _OPTIONS)
                    ptrace.request(ptrace.INTERRUPT, tid)
                except ProcessLookupError:
                    if tid == pid:
                        raise
                    continue
                self.recorder.born(self._add(tid, pid), 0, "attach")
            seen = [tid for tid in map(int, os.listdir(f"/proc/{pid}/task")) if tid not in self._tasks]
            pending = [tid for tid in seen if not _traced(tid)]

    def _add(self, tid: int, pid: int) -> Traced:
        task = self._tasks[tid] = Traced(tid, pid, self._describe)
        return task

    # -- the loop -----------------------------------------------------------------------------

    def run(self) -> int | None:
        """Trace until no task is left, or `leave` was called; the command's wait status, None if there was none."""
        recorder, tasks = self.recorder, self._tasks
        # Not before the command was forked, which runs where it likes.
        self._placement = Placement(self._main is not None and self._sees_opens())
        for task in tasks.values():
            self._placement.born(task.place)
        recorder.start_ticking(self._placement.tick)
        wait = os.waitpid if self.injector is None else self._wait
        try:
            while tasks:
                recorder.idle = True
                try:
                    tid, status = wait(-1, ptrace.WALL)
                except ChildProcessError:
                    break
                finally:
                    recorder.idle = False
                try:
                    if status in (_CALL_STOP, _FILTER_STOP) and (task := tasks.get(tid)) is not None:
                        self._call(task)
                    else:
                        self._event(tid, status)
                except ProcessLookupError:
                    pass  # it was killed meanwhile, and its end is on the way
        finally:
            self._placement.close()
            recorder.close()
        return self._status

    def _sees_opens(self) -> bool:
        """Whether tasks stop when they open a file: it may be one of those that show which processors they have."""
        return not self._filtered or all(self.recorder.name("linux", call) in self.recorder.choice for call in _OPENS)

    @property
    def command(self) -> int | None:
        """The process that was started, None when it has ended."""
        return self._main if self._status is None else None

    def processes(self) -> set[int]:
        """The processes that are traced."""
        return {task.pid for task in list(self._tasks.values())}

    def tasks(self, pid: int) -> list[int]:
        """The threads of a process that are traced."""
        return [task.tid for task in self._tasks.values() if task.pid == pid]

    def leave(self) -> None:
        """Detach from everything, as soon as that is safe; callable from a signal handler.

        Not where a filter chooses the calls: without a tracer those would fail.
        """
        self._leaving = True
        for tid in list(self._tasks):
            try:
                ptrace.request(ptrace.INTERRUPT, tid)
            except OSError:
                pass
        if self.injector is not None:
            for task in self.injector.release(everything=True):
                self._go_on(task)

    def _wait(self, pid: int, options: int) -> tuple[int, int]:
        """As waitpid(2), while tasks that were held go on in time.  SIGCHLD is blocked meanwhile, so none is missed."""
        injector = self.injector
        while (patience := injector.patience()) is not None:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
            found = os.waitpid(pid, options | os.WNOHANG)
            if found[0]:
                return found
            if patience:
                signal.sigtimedwait((signal.SIGCHLD,), patience)
            for task in injector.release():
                self._go_on(task)
        return os.waitpid(pid, options)

    def _go_on(self, task: Traced) -> None:
        try:
            self._resume(task)
        except ProcessLookupError:
            pass  # it was killed meanwhile, and its end is on the way

    def _event(self, tid: int, status: int) -> None:
        task = self._tasks.get(tid)
        if not os.WIFSTOPPED(status):
            self._early.pop(tid, None)
            if task is not None:
                self._ended(task, status)
            elif tid == self._main:
                self._status = status
            return
        if task is None:
            self._early[tid] = status
            return
        number, event = status >> 8 & 0xFF, status >> 16
        if number == signal.SIGTRAP | 0x80 or event == ptrace.EVENT_SECCOMP:
            self._call(task)
        elif event == ptrace.EVENT_STOP:
            self._event_stop(task, number)
        elif event in _EVENTS:
            self._born(task, _EVENTS[event])
            self._resume(task)
        elif event == ptrace.EVENT_EXEC:
            self._executed(task)
            self._resume(task)
        elif event:
            self._resume(task)
        else:
            try:
                info = ptrace.siginfo(tid)
            except OSError:
                info = bytes(128)
            if self.injector is not None:
                info = self.injector.at_signal(task, info)
            if not task.command:
                self.recorder.signal(task, number, info)
            self._resume(task, number)

    def _event_stop(self, task: Traced, number: int) -> None:
        """A first stop, an interruption of ours, or a group-stop."""
        if not task.started:
            task.started = True
            if task.command and self._go is not None:
                os.write(self._go, b"1")
                os.close(self._go)
                self._go = None
        if number in _STOPS and not self._leaving:
            self.recorder.stopped(task, number)
            ptrace.request(ptrace.LISTEN, task.tid)
            if self._leaving:  # since a moment ago, and it does not say by itself that it was interrupted before
                ptrace.request(ptrace.INTERRUPT, task.tid)
            if task.tid == self._main and number != signal.SIGSTOP:
                self._stop_with_command()
            return
        self._resume(task)

    def _stop_with_command(self) -> None:
        """The terminal stopped the command: so does the tracer, for the shell that waits for it; both go on together.

        One that was sent SIGSTOP may be waiting for a task of its own to wake it, which the tracer must carry.
        """
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(self._main, signal.SIGCONT)

    def _detach(self, task: Traced, number: int) -> None:
        if task.place.mask is not None:
            self._placement.release(task.place)
        ptrace.request(_DETACH, task.tid, 0, number)
        self.recorder.detached(task)
        self._forget(task)
        self.left[task.pid] = None

    def _resume(self, task: Traced, number: int = 0) -> None:
        if self._leaving:
            self._detach(task, number)
            return
        how = ptrace.SYSCALL if task.begun or not self._filtered else ptrace.CONT
        if self._placement.here is None:
            result = _ptrace(how, task.tid, 0, number)
        else:
            result = self._placement.go_on(how, task.place, number)
        if result == -1:
            raise error(ctypes.get_errno())

    # -- calls --------------------------------------------------------------------------------

    def _call(self, task: Traced) -> None:
        """The begin or the end of a call."""
        if _ptrace(_GET_SYSCALL_INFO, task.tid, 88, _INFO_AT) < 0:
            raise error(ctypes.get_errno())
        kind = _info[0]
        injector = self.injector
        if kind == _EXIT:
            task.begun = False
            (value,) = _result(_info)
            if injector is not None:
                value = injector.at_end(task, value)
            if not (self._leaving and value in _RESTARTS):  # it was the tracer that interrupted it, and it goes on
                self.recorder.end(task, value)
            if value < 0 and not self._running and task.tid == self._main:
                task.command = True  # its execve failed, and what it does now is say so
        elif not task.command:
            entry = _call(_info)
            abi = _ARCHITECTURES.get(entry[0], "unknown")
            call, args = entry[2] & 0xFFFFFFFF, entry[3:]
            special = call in _SPECIAL[abi]
            if special and call == _RT_SIGRETURN:
                args = entry[1], *args[1:]
            wanted = self.recorder.begin(task, call, args, abi)
            if wanted and injector is not None:
                injector.at_begin(task, self.recorder, call, abi)
            task.begun = wanted or not self._filtered
            if special and self._placement.here is not None:
                if call in FREE[abi]:
                    self._placement.calls(task.place, abi, call, args[0], task.memory)
                elif call in _OPENS and self._opens_proc(task, args[_OPENS[call]], _OPENS[call]):
                    task.place.free = _SHY  # maybe of a status, which says what processors a task has
            if kind == _SECCOMP and _filter_data(_info)[0] != TRACE_STEER:
                self._without_tracer(task)
        else:
            task.begun = True
            if (call := _call(_info)[2]) in (59, 322) and task.started and self._go is None:
                self._first_execve(task, call, _call(_info)[3:])
        if injector is None or not injector.holds(task):
            self._resume(task)

    def _opens_proc(self, task: Traced, address: int, index: int) -> bool:
        """Whether a path begins with ``/proc/``.  Where it is logged, that says so."""
        if task.open is not None and len(task.open.args) > index:
            return task.open.args[index].startswith(self._proc)
        return task.memory.read_some(address, 6) == b"/proc/"

    @staticmethod
    def _without_tracer(task: Traced) -> None:
        """A filter of the program's own asked for a tracer: as it would without one, the call fails with ENOSYS."""
        registers = ptrace.getregs(task.tid)
        registers[ptrace.ORIG_RAX] = ptrace.U64
        registers[ptrace.RAX] = -errno.ENOSYS & ptrace.U64
        ptrace.setregs(task.tid, registers)

    def _first_execve(self, task: Traced, number: int, args: tuple[int, ...]) -> None:
        """The execve that becomes the command: from here on its calls are its own."""
        task.command = False
        self.recorder.begin(task, number, args)

    # -- births and ends ----------------------------------------------------------------------

    def _born(self, parent: Traced, kind: str) -> None:
        tid = ptrace.event_message(parent.tid)
        if tid in self._tasks:
            return
        # There is no asking what kind of clone it was; but a signal, or none, can be sent to a thread as one of its process.
        pid = parent.pid if quick.tgkill(parent.pid, tid, 0) == 0 or ctypes.get_errno() != errno.ESRCH else tid
        task = self._add(tid, pid)
        self._placement.born(task.place, parent.place)
        self.recorder.born(task, parent.tid, "thread" if pid != tid else kind)
        status = self._early.pop(tid, None)
        if status is not None:
            self._event(tid, status)

    def _executed(self, task: Traced) -> None:
        task.command = False
        self._running = True
        former = ptrace.event_message(task.tid)
        caller = self._tasks.get(former)
        if caller is not None and caller is not task:
            self.recorder.abandon(task)
            task.take_over(caller)
            task.begun = caller.begun
            self._placement.passed_on(caller.place, task.place)
            self._forget(caller)
        for other in list(self._tasks.values()):
            if other.pid == task.pid and other is not task:
                self.recorder.abandon(other)
                self._forget(other)
        path = ""
        if self.recorder.programs:
            try:
                path = os.readlink(f"/proc/{task.pid}/exe")
            except OSError:
                pass
        self.recorder.executed(task, former, path)

    def _forget(self, task: Traced) -> None:
        del self._tasks[task.tid]
        self._placement.forget(task.place)
        if self.injector is not None:
            self.injector.forget(task)

    def _ended(self, task: Traced, status: int) -> None:
        self._forget(task)
        if task.tid == self._main:
            self._status = status
        self.recorder.ended(task, status)


def _traced(tid: int) -> bool:
    try:
        with open(f"/proc/{tid}/status", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"TracerPid")) == os.getpid()
    except (OSError, StopIteration):
        return True  # it has ended


def _child(go: int, path: bytes, argv: list[bytes], env: dict[bytes, bytes], program: bytes | None) -> None:
    """The child's side; never returns.  It is seized and stopped while it waits for the word to go."""
    try:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if number in (signal.SIGPIPE, signal.SIGXFSZ) or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        if os.read(go, 1) != b"1":
            os._exit(125)
        os.close(go)
        if program is not None:
            from tracer.notify import install_plain_filter

            install_plain_filter(program)
        os.execve(path, argv, env)
    except OSError as problem:
        os.write(2, b"int80: %s: cannot be run: %s\n" % (path, problem.strerror.lower().encode()))
        os._exit(126)
    finally:
        os._exit(125)
