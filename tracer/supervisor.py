"""The supervisor of one sandbox: it answers notifications, handles ptrace stops, and ends with init.

`tracer.loop` tells it when there is something to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import struct
from collections.abc import Callable
from functools import partial

from abi.dispatch import (
    Again,
    Call,
    Entry,
    Execute,
    Fail,
    InstallFile,
    Later,
    Native,
    Plane,
    Return,
    Support,
    Terminate,
    Wait,
    dispatch,
)
from abi.errors import Kind, SysError
from abi.messages import say
from abi.signals import read_signals, siginfo
from procs.tree import Process, Task, seccomp_filters
from tracer import gate, launch, ptrace
from tracer.bpf import TRACE_GATE, TRACE_READ, TRACE_STEER, build_reads
from tracer.execution import Image, Programs, executable
from tracer.files import GuestFiles
from tracer.loop import Loop, kill
from tracer.memory import GuestMemory
from tracer.notify import Listener
from tracer.ptrace import ARGUMENTS, EFLAGS, ORIG_RAX, RAX, RDI, RIP, RSI, RSP, U64
from tracer.terminal import stop
from vfs import kernel
from vfs.namespace import OpenFile

_STOP_SIGNALS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_KCMP_FS = 3
_CARRY = 1
_EXEC_ERRORS = frozenset(
    (errno.ENOMEM, errno.E2BIG, errno.EFAULT, errno.EAGAIN, errno.ETXTBSY, errno.EINTR, errno.ENOEXEC, errno.EINVAL, errno.EPERM)
)
_NOBODY_WAITS = (errno.ENOENT, errno.EINPROGRESS)  # SECCOMP_IOCTL_NOTIF_ADDFD: the caller was killed, or interrupted
_PAUSE = 34
#: Who carried a call out, as the log says it.
_CARRIED = {Plane.NATIVE: "kernel", Plane.STEER: "steered", Plane.ANSWER: "supervisor", Plane.REFUSE: "refused"}
_RESERVE = 3  # descriptors kept back
_SI_KERNEL, _SI_TKILL = 0x80, -6
_USER_CS = 0x33  # 64-bit code
_IOCTL, _EXECVE, _EXIT_GROUP, _OPENAT, _SECCOMP = 16, 59, 231, 257, 317
_SIGNALFDS = (282, 289)
_SET_MODE_FILTER, _TSYNC = 1, 1
_FD_MAX, _READS_MAX = 1 << 20, 16
_TIOCSTI, _TIOCSCTTY = 0x5412, 0x540E
_AT_FDCWD = -100
_BELOW_STACK = 128  # the red zone of the x86-64 ABI
_OPEN_ERRORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR))
_ERESTARTSYS, _ERESTARTNOINTR = -512 & U64, -513 & U64
_RESTARTS = frozenset(-number & U64 for number in (512, 513, 514, 516))  # ERESTART*, never seen by a program
_SKIPPED = U64  # orig_rax of a call that is not to be made
_VSYSCALL = 0xFFFFFFFFFF600000  # the page of the calls that the kernel emulates


#: read(2) where it stopped for `Supervisor._watch_reads`.
_READING = Entry(0, "read", Plane.STEER, read_signals, Support.FULL, "", (), Kind.ENOSYS)


class Errand:
    """A call that a task makes for us, instead of one of its own: `registers` to give back, and who is told what came of it."""

    __slots__ = ("after", "arguments", "begun", "number", "registers")

    def __init__(self, registers: list[int], number: int, arguments: tuple[int, ...], after) -> None:
        self.registers = registers
        self.number = number
        self.arguments = arguments
        self.after = after
        self.begun = False  # whether the task has come to the call that stops it


class TracedTask(Task):
    """A task with what the tracer keeps between two of its stops."""

    __slots__ = (
        "aside", "birth", "claim", "errand", "files", "logged", "memory", "plan", "restore", "started", "subject", "trap",
    )  # fmt: skip

    def __init__(self, tid: int, process: Process) -> None:
        super().__init__(tid, process)
        self.memory = GuestMemory(tid)
        self.files = GuestFiles(tid, process)
        self.restore = None  # (registers before steering, after) of the call under way
        self.trap: gate.Trap | None = None
        self.plan = None  # (ExecPlan, fd, path) of the execve under way
        self.aside = None  # tracer.aside.Parked, of a call answered later
        self.claim: int | None = None  # the terminal that is to become its session's: a descriptor, -1 until that is known
        self.errand: Errand | None = None
        self.birth: list[int] | None = None  # the registers its parent's call had before it was steered
        self.started = False  # whether its first stop is behind it
        self.logged = False  # the end of the call under way is to be logged
        self.subject = None  # tracer.log.recorder.Subject, where there is a log


class TracedProcess(Process):
    """A process with its program image."""

    __slots__ = ("image",)

    @property
    def files(self) -> GuestFiles:
        """The descriptors of whichever thread is there."""
        return next(iter(self.tasks.values())).files

    def fork(self, pid: int, share_fs: bool, credentials=None) -> TracedProcess:
        child = super().fork(pid, share_fs, credentials)
        child.image = self.image.copy()
        return child


class Options:
    """How one sandbox is run: `patch` int 0x80 sites; `force_segv` plays a host without IA32 emulation."""

    __slots__ = ("force_segv", "patch", "verbose")

    def __init__(self, patch: bool = True, force_segv: bool = False, verbose: bool = False) -> None:
        self.patch = patch
        self.force_segv = force_segv
        self.verbose = verbose


class Supervisor:
    """Runs one sandbox from its first execve to the end of its last task; `program` is its seccomp program.

    Further commands may be launched beside init while it runs.
    """

    def __init__(self, loop: Loop, sandbox, linux, host, program: bytes, options: Options, programs: Programs, log=None) -> None:
        self.loop = loop
        self.sandbox = sandbox
        self.tree = sandbox.tree
        self.linux = linux
        self.host = host
        self.program = program
        self.options = options
        self.programs = programs
        self.steered = frozenset()  # numbers that this sandbox moved to the steer plane
        self.profile: bytes | None = None  # a seccomp program that every command gets beside the sandbox's own
        self.mark = 0  # what tells that one, in the sixth argument, that a call is the supervisor's; 0 where there is none
        self.log = log  # tracer.log.sandbox.SandboxLog or None
        self.status: int | None = None  # wait status of init
        self.relay = None  # tracer.relay.Relay of a sandbox with a terminal of its own
        self.over: Callable[[], None] = lambda: None  # called when the last task has ended
        self._launching: set[int] = set()  # tasks that have not left int80's own program behind
        self._listeners: list[Listener] = []
        self._commands: dict[int, Callable[[int], None]] = {}  # who was launched beside init, and who waits for its status
        self._frozen: set[str] = set()  # who wants the tasks to stand still
        self._waiting: set[int] = set()  # who was launched and is not to execute its program yet
        self._held: dict[TracedTask, int] = {}  # stops to be handled when it thaws, or is let go
        self._stands = False  # whether init is stopped
        self._stops = False  # whether int80 was told to stop, and waits for init to
        self._early: set[int] = set()  # tasks adopted before they were announced
        self._reported: set[int] = set()  # numbers of unsupported calls already spoken of
        self._reserve: list[int] = []
        self._keep_reserve()
        self._asides = None
        self._nears = sandbox.namespace.near()
        for near in self._nears:  # the first to be polled, so that no call is answered by what has changed
            loop.watch(near.fd, lambda events, near=near: near.changed())
        loop.watch_signals()
        loop.supervisors.append(self)
        sandbox.network.serve = self._serve

    # -- launching ----------------------------------------------------------------------------

    def launch(
        self, command: launch.Command, context, credentials, ended: Callable[[int], None] | None = None, held: bool = False
    ) -> int:  # fmt: skip
        """Fork a process and have it execute `command`; its pid.  The first is init.  `held`: it waits for `let_go` first.

        `context` (vfs.namespace.FsContext) and `credentials` are what it starts with; `ended(wait status)` is called at the
        end of one beside init.  `launch.LaunchError`.
        """
        command.reaps = not self.tree.init_pid
        command.profile = self.profile
        try:
            pid, fd = launch.start(self.program, command, self.loop.signals)
        except launch.LaunchError:
            if command.reaps:
                self._withdraw()
            self.loop.reap()
            raise
        process = TracedProcess(pid, self.linux, context, credentials)
        process.image = Image()
        process.no_new_privs = int(command.no_new_privs)
        task = TracedTask(pid, process)
        task.started = True
        self._launching.add(pid)
        self.tree.launching.add(pid)
        if held:
            self._waiting.add(pid)
        if command.reaps:
            self.tree.init_pid = pid
        else:
            self.tree.commands.add(pid)
            if ended is not None:
                self._commands[pid] = ended
        self.tree.add(task)
        if self.log is not None:
            self.log.born(task, None, "command")
        listener = Listener(fd)
        self._listeners.append(listener)
        self._watch(listener)
        self.loop.reap()  # what stopped meanwhile was heard of, and not looked after
        return pid

    def _watch(self, listener: Listener) -> None:
        self.loop.watch(listener.fd, partial(self._answer, listener))

    def _forget(self, listener: Listener) -> None:
        """No task is left under its filter."""
        self.loop.unwatch(listener.fd)
        self._listeners.remove(listener)
        os.close(listener.fd)

    def run(self) -> int:
        """Serve until init ends and everything with it; init's wait status."""
        if self.log is not None:
            self.log.attend(self.loop)
        self.loop.run(self.tree.tasks)
        return self.status if self.status is not None else signal.SIGKILL

    def _withdraw(self) -> None:
        """There is nothing to look after: init could not be started."""
        self.loop.supervisors.remove(self)
        self._let_go()

    def _let_go(self) -> None:
        for near in self._nears:
            self.loop.unwatch(near.fd)
        while self._reserve:
            os.close(self._reserve.pop())

    def is_over(self) -> None:
        """The last task has ended."""
        self._held.clear()
        for listener in list(self._listeners):
            self._forget(listener)
        self._let_go()
        if self._asides is not None:
            self.loop.patient.remove(self._asides.patience)
            self.loop.unwatch(self._asides.ready)
            self._asides.close()
            self._asides = None
        if self.log is not None:
            self.log.close()
        self.over()

    def _serve(self, fd: int, answer) -> None:
        """Have `answer()` called whenever `fd` (owned) can be read, until it gives False."""

        def call(events: int) -> None:
            if not answer():
                self.loop.unwatch(fd)
                os.close(fd)

        self.loop.watch(fd, call)

    # -- all at once --------------------------------------------------------------------------

    def freeze(self, who: str = "") -> None:
        """Stop every task, without its noticing, until all who froze thaw; only SIGKILL reaches one meanwhile."""
        if self._frozen:
            self._frozen.add(who)
            return
        self._frozen.add(who)
        for listener in self._listeners:
            self.loop.unwatch(listener.fd)  # whoever makes a call that is answered waits
        for tid in self.tree.tasks:
            with contextlib.suppress(ProcessLookupError):
                ptrace.request(ptrace.INTERRUPT, tid)

    def thaw(self, who: str = "") -> None:
        """Let them go on, as far as `who` is concerned."""
        if who not in self._frozen:
            return
        self._frozen.discard(who)
        if self._frozen:
            return
        for listener in self._listeners:
            self._watch(listener)
        self._handle_held()

    def let_go(self, pid: int) -> None:
        """Let a process execute its program that was launched `held`."""
        self._waiting.discard(pid)
        self._handle_held()

    def _handle_held(self) -> None:
        held, self._held = self._held, {}
        for task, status in held.items():
            if self.tree.tasks.get(task.tid) is task:
                self.event(task, status)

    def end_all(self) -> None:
        """init is gone: so is everything else."""
        for pid in list(self.tree.processes):
            kill(pid)

    # -- signals of int80's own ---------------------------------------------------------------

    def told(self, number: int, code: int) -> None:
        """A signal sent to int80 is meant for what it runs: to init's group if the terminal sent it to int80's.  signalfd(2)."""
        init, terminal = self.tree.init_pid, self.sandbox.terminal
        try:
            if self.relay is not None and number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
                match number:
                    case signal.SIGTSTP:
                        self.relay.suspend()
                    case signal.SIGCONT:
                        self.relay.resume()
                    case signal.SIGWINCH:
                        self.relay.resize()
            elif number == signal.SIGCONT:
                self._stops = False
                if terminal is not None:
                    terminal.continued(init)
                if self._stands:
                    os.killpg(init, number)
            elif number == signal.SIGTSTP:
                self._stops = True
                os.killpg(init, number)
            elif code == _SI_KERNEL or (number == signal.SIGINT and terminal is not None):
                os.killpg(init, number)
            else:
                os.kill(init, number)
        except ProcessLookupError:
            pass

    # -- answering ----------------------------------------------------------------------------

    def _answer(self, listener: Listener, events: int, late=None) -> None:
        """Take one notification, run its handler, reply.

        `late`: one that was taken before, and was to wait; with the result it is to have, if any.
        """
        if not events & select.POLLIN:  # POLLHUP
            self._forget(listener)
            return
        notice, result = (listener.receive(), None) if late is None else late
        if notice is None:
            return
        notification, tid, number, arguments = notice
        task = self.tree.tasks.get(tid)
        if task is None:
            listener.reply(notification, -_ENOSYS)
            return
        sandbox = self.sandbox
        sandbox.caller = task
        process = task.process
        log = self.log
        again = late is None and task.aside is not None and task.aside.matches(number, arguments)
        if log is not None and late is None and log.begin(task, number, arguments, "supervisor", again=again):
            value = log.injected(task, number)
            result = Return(value) if value is not None else None
            if log.postponed(task, lambda: self._answer(listener, events, (notice, result))):
                return
        if again:
            result, task.aside = task.aside.result, None
        if result is None or type(result) is Again:
            entry = process.abi.entry(number)
            result = dispatch(entry, Call(sandbox, task, number, arguments, task.memory, task.files))
        kind = type(result)
        if kind is Later:
            self._asides_of().park(task, listener, notification, number, arguments, result.work)
            return
        if kind is InstallFile:
            if result.claims and task.trap is None:
                self._interrupt_for_claim(task)
            elif log is not None and log.is_late(task):  # this answers it, so it waits at a stop
                with contextlib.suppress(ProcessLookupError):
                    ptrace.request(ptrace.INTERRUPT, tid)
            value = listener.install(notification, tid, result.fd, os.O_CLOEXEC if result.cloexec else 0)
            os.close(result.fd)
            if task.claim is not None:
                task.claim = value if value >= 0 else None
            if -value in _NOBODY_WAITS:
                return
            if log is not None:
                log.end(task, value)
            if value < 0:
                listener.reply(notification, value)
            return
        value = -_ENOSYS
        if kind is Return:
            value = result.value
        elif kind is Fail:
            value = -process.abi.error_number(result.error.kind)
        if log is not None:
            log.end(task, value)
            if log.postponed(task, lambda: listener.reply(notification, value)):
                return
        listener.reply(notification, value)

    def _asides_of(self):
        if self._asides is None:
            from tracer.aside import Asides

            self._asides = Asides(self)
            self.loop.watch(self._asides.ready, lambda events: self._asides.finish())
            self.loop.patient.append(self._asides.patience)
        return self._asides

    # -- stops --------------------------------------------------------------------------------

    def event(self, task: TracedTask, status: int) -> None:
        """Handle one wait status; a task killed under our hands raises ESRCH, which means nothing more.

        Unless the task is still there, and nobody would ever let it go: then ESRCH was about something else.
        """
        if not os.WIFSTOPPED(status):
            self._ended(task, status)
            return
        if self._frozen or task.tid in self._waiting:
            # Its last stop is the one it stands at: it left an earlier one when a thread that executes a program took its place.
            self._held.pop(task, None)
            self._held[task] = status
            return
        try:
            self._stopped(task, status >> 8 & 0xFF, status >> 16)
        except ProcessLookupError as bug:
            if _stands(task.tid):
                self._give_up(task, bug)
        except Exception as bug:
            self._give_up(task, bug)

    def _give_up(self, task: TracedTask, bug: Exception) -> None:
        """A bug of ours at a stop: nobody knows what the process would do next, so it ends; the sandbox goes on.

        Unless it was killed meanwhile, and its files in /proc went from under the handler.
        """
        if isinstance(bug, OSError) and not _alive(task.tid):
            return
        say(f"bug at a stop of process {self.tree.guest(task.process.pid)}, which is killed: {bug!r}")
        self.sandbox.report_bug(bug)
        try:
            os.kill(task.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _spare(self, function, *arguments):
        """Call what must not fail for want of a descriptor: a few are kept back for it."""
        try:
            return function(*arguments)
        except OSError as problem:
            if problem.errno not in (errno.EMFILE, errno.ENFILE) or not self._reserve:
                raise
        while self._reserve:
            os.close(self._reserve.pop())
        try:
            return function(*arguments)
        finally:
            self._keep_reserve()

    def _keep_reserve(self) -> None:
        try:
            while len(self._reserve) < _RESERVE:
                self._reserve.append(os.dup(self.loop.signals))
        except OSError:
            pass  # the next call that wants them is given what there is

    def _ended(self, task: TracedTask, status: int) -> None:
        if task.tid == task.process.pid:
            # The first of a process is the last whose end is told.  Who is left executed a program, had that one's number
            # already, and was killed before it could say so.
            for left in [left for left in task.process.tasks.values() if left is not task]:
                self._ended(left, status)
        self.tree.forking.discard(task.tid)
        self.tree.launching.discard(task.tid)
        if self.log is not None:
            self.log.ended(task, status)
        self.tree.remove(task.tid)
        if task.tid in self._early:  # its announcement may still come, and must not bring it back
            self._early.discard(task.tid)
            self.loop.stillborn.add(task.tid)
        if self.sandbox.pids_limit is not None and task.tid == task.process.pid:
            self.tree.zombies.add(task.tid)
        if task.aside is not None:
            task.aside.cancel()
        if task.tid == task.process.pid:
            self.sandbox.ended()
        if task.tid == self.tree.init_pid:
            self.status = status if self.sandbox.ended_by is None else self.sandbox.ended_by
            self.loop.ending.append(self)
        elif task.tid in self.tree.commands:
            self.tree.commands.discard(task.tid)
            self._launching.discard(task.tid)
            told = self._commands.pop(task.tid, None)
            if told is not None:
                told(status)

    def _stopped(self, task: TracedTask, number: int, event: int) -> None:
        if number == _SYSCALL_STOP:
            self._syscall_stop(task)
        elif event == ptrace.EVENT_SECCOMP:
            self._seccomp_stop(task)
        elif event == ptrace.EVENT_STOP:
            self._event_stop(task, number)
        elif event in (ptrace.EVENT_FORK, ptrace.EVENT_VFORK, ptrace.EVENT_CLONE):
            self._forked(task, ptrace.event_message(task.tid), event == ptrace.EVENT_CLONE)
            self.resume(task)
        elif event == ptrace.EVENT_EXEC:
            self._executed(task, ptrace.event_message(task.tid))
        elif event:
            self.resume(task)
        else:
            self._signal_stop(task, number)

    def resume(self, task: TracedTask, signal_number: int = 0) -> None:
        """Let a stopped task go on, to be stopped again where its present call needs it."""
        if task.restore is not None or task.trap is not None or task.logged or task.errand is not None:
            how = ptrace.SYSCALL
        elif task.process.abi is self.host:
            how = ptrace.SYSEMU
        else:
            how = ptrace.CONT
        if self.log is None:
            ptrace.request(how, task.tid, 0, signal_number)
        else:
            self.log.go_on(how, task, signal_number)

    def _event_stop(self, task: TracedTask, number: int) -> None:
        """PTRACE_EVENT_STOP: a new task's first stop, an interruption of ours, or a group-stop."""
        if not task.started:
            task.started = True
            self._first_stop(task)
        if number in _STOP_SIGNALS:
            if self.log is not None:
                self.log.stopped(task, number)
            ptrace.request(ptrace.LISTEN, task.tid)
            if task.tid == self.tree.init_pid:
                self._init_stopped(number)
            return
        if task.tid == self.tree.init_pid:
            self._stands = False
        if isinstance(task.claim, int):
            self._begin_claim(task)
        elif task.aside is not None:
            task.aside.at_stop()
            return
        elif task.trap is not None and task.trap.host:
            self._make_again(task)
        self.resume(task)

    def _first_stop(self, task: TracedTask) -> None:
        """A child returns from its parent's call too: give it the registers its program expects."""
        if task.birth is None and task.trap is None:
            return
        registers = ptrace.getregs(task.tid)
        if task.birth is not None:
            for index in ARGUMENTS:
                registers[index] = task.birth[index]
            task.birth = None
        if task.trap is None or not self._leave_gate(task, registers):
            ptrace.setregs(task.tid, registers)

    def _signal_stop(self, task: TracedTask, number: int) -> None:
        """A signal is about to be delivered."""
        if number == signal.SIGTRAP and gate.breakpoint_of_ours(task, ptrace.getregs(task.tid)):
            self.resume(task)
            return
        if number == signal.SIGSEGV and self._gate_fault(task):
            return
        self._drop_errand(task)
        interrupted = task.aside is not None and task.aside.interrupted()
        if self.log is not None:
            self.log.interrupted(task)
        registers = ptrace.getregs(task.tid)
        if not interrupted and registers[RAX] == _ERESTARTSYS and self._is_answered(task, registers):
            registers[RAX] = _ERESTARTNOINTR
            ptrace.setregs(task.tid, registers)
        if task.trap is not None:
            if registers[RIP] == task.process.image.vdso_call:
                gate.abandon(task, registers)
                ptrace.setregs(task.tid, registers)
            else:
                self._leave_gate(task, registers)
        if self.options.verbose and number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
            self._say_crash(task, number)
        self._translate_siginfo(task)
        if self.log is not None:
            self.log.signal(task, number, ptrace.siginfo(task.tid))
        self.resume(task, number)

    @staticmethod
    def _is_answered(task: TracedTask, registers) -> bool:
        """Whether a call interrupted before anybody saw it is one that no signal interrupts natively.

        The kernel takes the notification back and would report EINTR; it is to be made again instead.
        """
        entry = task.process.abi.entry(registers[ORIG_RAX])
        return entry is not None and entry.plane_for(tuple(registers[index] for index in ARGUMENTS))[0] is Plane.ANSWER

    def _translate_siginfo(self, task: TracedTask) -> None:
        """The sender as the guest knows it; sigaction(2)."""
        info = ptrace.siginfo(task.tid)
        told = siginfo(self.sandbox, info)
        if told != info:
            ptrace.set_siginfo(task.tid, told)

    def _say_crash(self, task: TracedTask, number: int) -> None:
        """Speak of a fault that ends a process; those that it handles are its own way to work, as Java's is."""
        if _has_signal(task, b"SigCgt", number) or _has_signal(task, b"SigIgn", number):
            return
        registers = ptrace.getregs(task.tid)
        name = signal.Signals(number).name
        say(f"process {self.tree.guest(task.process.pid)}: {name} at {registers[RIP]:#x}")

    def _leave_gate(self, task: TracedTask, registers) -> bool:
        """End a detour if its call is over, writing the registers; whether it was."""
        trap = gate.leave(task, registers)
        if trap is None:
            return False
        if trap.host:
            value = registers[RAX]
            if trap.woken or value in _RESTARTS:
                registers[RIP], registers[RAX] = trap.back - 2, trap.number
            elif value > U64 - 4095:
                kind = SysError.of_errno((1 << 64) - value).kind
                self._host_result(task, registers, self.host.error_number(kind), True)
            else:
                self._host_result(task, registers, value, False)
        ptrace.setregs(task.tid, registers)
        return True

    # -- the gate -----------------------------------------------------------------------------

    def _gate_stop(self, task: TracedTask, registers) -> None:
        """A 32-bit entry: ours if it came from ``int 0x80`` in 64-bit code, else no call at all."""
        at = registers[RIP] - 2
        if self.options.force_segv and registers[ptrace.CS] == _USER_CS:
            self._play_fault(task, registers, at)
            return
        if not gate.enter(task, registers, at, True, self.options.patch):
            self._report_unsupported(task, -1, None)
            registers[ORIG_RAX] = _SKIPPED
            registers[RAX] = -_ENOSYS & U64
            ptrace.setregs(task.tid, registers)
        self.resume(task)

    def _play_fault(self, task: TracedTask, registers, at: int) -> None:
        """Play a host that has no 32-bit entry: the instruction faults, and nothing has happened."""
        registers[RAX] = registers[ORIG_RAX]
        registers[ORIG_RAX] = _SKIPPED
        registers[RIP] = at
        ptrace.setregs(task.tid, registers)
        if _has_signal(task, b"SigBlk", signal.SIGSEGV):  # a true fault is not held up by that, ours would be
            gate.enter(task, registers, at, False, self.options.patch)
            self.resume(task)
            return
        kernel.raw(234, task.process.pid, task.tid, signal.SIGSEGV)
        self.resume(task)

    def _gate_fault(self, task: TracedTask) -> bool:
        """Whether a SIGSEGV is the gate on a host without IA32 emulation; the call is then under way."""
        code = int.from_bytes(ptrace.siginfo(task.tid)[8:12], "little", signed=True)
        if code != (_SI_TKILL if self.options.force_segv else _SI_KERNEL):
            return False  # a fault of another kind, or a signal that somebody sent
        registers = ptrace.getregs(task.tid)
        if task.trap is not None or not gate.enter(task, registers, registers[RIP], False, self.options.patch):
            return False
        self.resume(task)
        return True

    # -- steering -----------------------------------------------------------------------------

    def _seccomp_stop(self, task: TracedTask) -> None:
        registers = ptrace.getregs(task.tid)
        message = ptrace.event_message(task.tid)
        if message == TRACE_GATE:
            task.errand = None  # another thread has changed the instruction
            self._gate_stop(task, registers)
            return
        if message not in (TRACE_STEER, TRACE_READ):  # a filter of the guest's own wants its tracer asked, and it has none
            self._skip(task, registers, -_ENOSYS)
            self.resume(task)
            return
        if task.trap is not None and task.trap.host:  # a call that its host program made already, by another name
            self.resume(task)
            return
        number = registers[ORIG_RAX]
        if task.errand is not None:
            if _is_errand(registers):
                self._run_errand(task, registers)
                return
            task.errand = None  # another thread has changed the instruction: the call is the guest's own
        if self._launching and task.tid in self._launching:
            if number != _EXECVE:  # of `tracer.launch`, and the kernel's whatever the table says
                self.resume(task)
                return
            self._launching.discard(task.tid)
        arguments = tuple(registers[index] for index in ARGUMENTS)
        self.sandbox.caller = task
        process = task.process
        entry = process.abi.entry(number) if message != TRACE_READ or number else _READING
        if self.log is not None:
            if number == _PAUSE and task.aside is not None and task.aside.overdue:
                task.aside.at_stop()  # this stop took the interruption along that was to end this pause
                return
            if self._log_stop(task, entry, number, arguments, registers[RIP]):
                self.resume(task)
                return
        if entry is None or entry.handler is None:
            self._report_unsupported(task, number, entry)
        result = dispatch(entry, Call(self.sandbox, task, number, arguments, task.memory, task.files, registers[RSP]))
        match result:
            case Native(placed=placed) if placed and not self._place(task, registers, result):
                self._skip(task, registers, -errno.EFAULT)
            case Native(changed=changed, number=other, after=after):
                # What stays as it is needs no stop at the call's end, in which a signal to the caller itself could be lost.
                changed = {
                    index: value & U64 for index, value in changed.items() if registers[ARGUMENTS[index]] != value & U64
                }
                if changed or other is not None or after is not None:
                    task.restore = (list(registers), after)
                    for index, value in changed.items():
                        registers[ARGUMENTS[index]] = value
                    if other is not None:
                        registers[ORIG_RAX] = other
                        self.mark_own(registers)
                    ptrace.setregs(task.tid, registers)
            case Execute(plan=plan):
                self._steer_exec(task, registers, plan)
            case Terminate(status=status):
                registers[ORIG_RAX], registers[RDI] = _EXIT_GROUP, status
                self.mark_own(registers)
                ptrace.setregs(task.tid, registers)
            case Return(value=value):
                self._skip(task, registers, value)
            case Fail(error=failure):
                self._skip(task, registers, -process.abi.error_number(failure.kind))
            case InstallFile(fd=fd, cloexec=cloexec, path=path):
                file = OpenFile(fd)
                if path:
                    self._steer_open(task, registers, file, cloexec)
                else:  # a guest's own filter sent an answered call here
                    self._skip(task, registers, -_ENOSYS)
            case _:
                self._skip(task, registers, -_ENOSYS)
        self.resume(task)

    @staticmethod
    def _place(task: TracedTask, registers, result: Native) -> bool:
        """Put what a handler wants the kernel to read below the task's stack; whether there is room."""
        address = registers[RSP] - _BELOW_STACK
        try:
            for index, data in result.placed.items():
                address = (address - len(data)) & -16
                task.memory.write(address, data)
                result.changed[index] = address
        except SysError:
            return False
        return True

    def _log_stop(self, task: TracedTask, entry, number: int, arguments: tuple[int, ...], at: int) -> bool:
        """Log the begin of a call that stopped at `at`; whether that was all: the kernel is to carry it out, or nobody is."""
        plane = entry.plane_for(arguments)[0] if entry is not None else Plane.REFUSE
        native = plane is Plane.NATIVE and number not in self.steered
        if native and number == _PAUSE and task.aside is not None:
            return True  # not the guest's own: it waits for an answer there
        if native and at >= _VSYSCALL:
            return True  # emulated by the kernel: it has no end to stop at
        task.logged = self.log.begin(task, number, arguments, _CARRIED[plane])
        if task.logged and (value := self.log.injected(task, number)) is not None:
            self._skip(task, ptrace.getregs(task.tid), value)
            return True
        return native

    def _log_end(self, task: TracedTask, value: int) -> None:
        if task.logged:
            task.logged = False
            self.log.end(task, value)

    def _steer_open(self, task: TracedTask, registers, file: OpenFile, cloexec: bool) -> None:
        """Have the kernel open an ``O_PATH`` descriptor for the task, by the name the supervisor's has in /proc.

        Another thread may change that name under the kernel's eyes: with these flags, which stand in registers, nothing
        comes of that but a descriptor, and it is looked at before the task goes on.
        """
        name = self.programs.path(file.fd, b"") + b"\0"
        address = (registers[RSP] - _BELOW_STACK - len(name)) & -16
        try:
            task.memory.write(address, name)
        except SysError:
            self._skip(task, registers, -errno.EFAULT)
            return

        def check(value: int) -> int:
            if value >= 0:
                with contextlib.suppress(SysError, OSError):
                    opened = OpenFile(task.files.get(value))
                    if os.path.samestat(os.fstat(opened.fd), os.fstat(file.fd)):
                        return value
            elif -value in _OPEN_ERRORS:
                return value
            self._end_for_change(task, "name under open")
            return value

        task.restore = (list(registers), check)
        flags = os.O_PATH | (os.O_CLOEXEC if cloexec else 0)
        registers[ORIG_RAX] = _OPENAT
        self.mark_own(registers)
        for index, value in zip(ARGUMENTS, (_AT_FDCWD, address, flags, 0), strict=False):
            registers[index] = value & U64
        ptrace.setregs(task.tid, registers)

    def mark_own(self, registers) -> None:
        """A call of at most five arguments is made in the place of a guest's: the profile is not to judge it again."""
        if self.mark:
            registers[ARGUMENTS[5]] = self.mark

    def _skip(self, task: TracedTask, registers, value: int) -> None:
        """Make no call; it returns `value`."""
        self._log_end(task, value)
        registers[ORIG_RAX] = _SKIPPED
        registers[RAX] = value & U64
        ptrace.setregs(task.tid, registers)

    def _syscall_stop(self, task: TracedTask) -> None:
        """A step of a detour or of an errand, the end of a steered call, or any call of a host process."""
        if task.restore is None and task.errand is not None:
            self._errand_stop(task)
            return
        if task.restore is None:
            if task.trap is not None:
                self._detour_stop(task)
            elif task.process.abi is self.host:
                self._host_call(task)
            else:
                if task.logged:
                    self._log_end(task, ptrace.getregs(task.tid)[RAX])
                self.resume(task)
            return
        registers = ptrace.getregs(task.tid)
        before, after = task.restore
        if task.plan is not None and not self._failed_honestly(task, registers[RAX]):
            self._end_for_exec(task)
            return
        task.restore = task.plan = None
        self.tree.forking.discard(task.tid)
        value = registers[RAX]
        for index in ARGUMENTS:
            registers[index] = before[index]
        if value in _RESTARTS:
            registers[ORIG_RAX] = before[ORIG_RAX]
        elif after is not None:
            registers[RAX] = self._after(task, after, value)
        self._log_end(task, registers[RAX])
        if task.trap is not None and self._leave_gate(task, registers):
            self.resume(task)
            return
        ptrace.setregs(task.tid, registers)
        if before[ORIG_RAX] in _SIGNALFDS and task.trap is None:
            self._watch_reads(task, registers)
        self.resume(task)

    def _detour_stop(self, task: TracedTask) -> None:
        """The end of the 32-bit call that was skipped, the beginning of the detour's own call, or its end."""
        registers = ptrace.getregs(task.tid)
        if task.trap.entered:
            self._log_end(task, registers[RAX])
            self._leave_gate(task, registers)
            if task.aside is not None:  # this stop was also the one that parking asked for: a task has only one
                task.aside.at_stop()
                return
        elif registers[RIP] != task.process.image.vdso_call:
            task.trap.entered = True
            if task.trap.woken or (task.aside is not None and task.aside.overdue):
                # The interruption that was to end this pause is lost: every stop on the way takes it along.
                registers[ORIG_RAX] = _SKIPPED
                ptrace.setregs(task.tid, registers)
        self.resume(task)

    def _after(self, task: TracedTask, after, value: int) -> int:
        try:
            return after(value - (1 << 64) if value >> 63 else value) & U64
        except SysError as failure:
            return -task.process.abi.error_number(failure.kind) & U64
        except OSError as failure:
            return -task.process.abi.error_number(SysError.of_errno(failure.errno).kind) & U64

    # -- exec ---------------------------------------------------------------------------------

    def _steer_exec(self, task: TracedTask, registers, plan) -> None:
        process = task.process
        try:
            program = self.programs.prepare(self.sandbox.namespace, plan.context or process.fs, plan)
            path = self.programs.path(program.fd, plan.name)
            at = registers[ORIG_RAX] == 322  # execveat: arguments stand one further
            argv_index = 2 if at else 1
            argv = registers[ARGUMENTS[argv_index]]
            address, argv = self.programs.place(task.memory, registers[RSP], process.image, path, argv, plan)
        except SysError as failure:
            self._skip(task, registers, -process.abi.error_number(failure.kind))
            return
        except OSError as failure:
            self._skip(task, registers, -process.abi.error_number(SysError.of_errno(failure.errno).kind))
            return
        task.restore = (list(registers), None)
        task.plan = (plan, program, path)
        envp = registers[ARGUMENTS[argv_index + 1]]
        registers[ORIG_RAX] = _EXECVE
        self.mark_own(registers)
        registers[ARGUMENTS[0]], registers[ARGUMENTS[1]], registers[ARGUMENTS[2]] = address, argv, envp
        ptrace.setregs(task.tid, registers)

    def _executed(self, task: TracedTask, former: int) -> None:
        """PTRACE_EVENT_EXEC: a new image, in the leader's place whichever thread it was."""
        process = task.process
        self.tree.launching.discard(process.pid)
        caller = self.tree.tasks.get(former, task)
        planned, caller.plan = caller.plan, None
        for tid in list(process.tasks):
            gone = self.tree.remove(tid) if tid != task.tid else task  # whose number it has from now on
            if gone.aside is not None:
                gone.aside.cancel()
        if self.log is not None:
            self.log.executed(task, caller, former)
        task.restore = task.trap = task.aside = task.claim = task.errand = None
        task.started = True
        task.logged = False
        image = None
        if planned is not None:
            plan, program, path = planned
            process.credentials = task.credentials = caller.credentials
            before = task.credentials.copy()
            careful = task.credentials.on_exec(plan.uid, plan.gid, plan.capabilities, bool(process.no_new_privs))
            process.vector = _vector(task.credentials, careful)
            image = self._spare(self.programs.settle, process.pid, task.memory, plan, program, path, process.vector)
        if image is None:
            self._end_for_exec(task)
            return
        process.image = image
        process.exe = plan.location
        process.program = (plan.stat.st_dev, plan.stat.st_ino)
        process.abi = self.host if plan.abi else self.linux
        process.dumpable = int(task.credentials.dumpable_after(before))
        task.comm = plan.comm
        if self.options.patch and process.image.sites:
            gate.rewrite_known(task.tid, process.image)
        self.resume(task)

    def _end_for_exec(self, task: TracedTask) -> None:
        """The path given to the kernel was changed under it, which only an attack does."""
        self._end_for_change(task, "program under exec")

    def _end_for_change(self, task: TracedTask, what: str) -> None:
        say(f"process {self.tree.guest(task.process.pid)} changed the {what}; the sandbox ends")
        for pid in (self.tree.init_pid, task.process.pid):
            os.kill(pid, signal.SIGKILL)

    @staticmethod
    def _failed_honestly(task: TracedTask, value: int) -> bool:
        """Whether an execve can have failed so on the chosen file; another path's errno would tell what the host has."""
        if value in _RESTARTS:
            return True
        number = (1 << 64) - value
        if number == errno.EACCES:
            return not executable(task.plan[1].fd)
        return number in _EXEC_ERRORS

    # -- births -------------------------------------------------------------------------------

    def _forked(self, parent: TracedTask, tid: int, maybe_thread: bool) -> None:
        """The kernel made task `tid` for `parent`, which stands at the event."""
        self.tree.forking.discard(parent.tid)
        if tid in self.loop.stillborn:  # killed before it was announced
            self.loop.stillborn.discard(tid)
            return
        if tid in self.tree.tasks:
            self._early.discard(tid)  # adopted before its parent's event came
            return
        self._adopt(parent, tid, maybe_thread)
        status = self.loop.stranger(tid)
        if status is not None:
            self.event(self.tree.tasks[tid], status)

    def _adopt(self, parent: TracedTask, tid: int, maybe_thread: bool) -> None:
        """Enter a new task into the tree, as a thread of its parent's process or a process of its own."""
        process = parent.process
        if not maybe_thread or not os.path.exists(f"/proc/{process.pid}/task/{tid}"):
            try:
                share = kernel.kcmp(process.pid, tid, _KCMP_FS) == 0
            except OSError:
                share = False
            process = process.fork(tid, share, parent.credentials)
        task = TracedTask(tid, process)
        if process is parent.process:
            task.credentials = parent.credentials.copy()
        task.comm = parent.comm
        if parent.restore is not None:
            task.birth = parent.restore[0]
        if parent.trap is not None:
            trap = parent.trap
            task.trap = gate.Trap(trap.back, trap.number, trap.rcx, trap.r11)
            task.trap.entered = True
        self.tree.add(task)
        if self.log is not None:
            self.log.born(task, parent, "fork" if process is not parent.process else "thread")

    def adopt_stranger(self, tid: int, status: int) -> bool:
        """Whether a task stopped at birth, whose parent's event has not come and maybe never will, is of this sandbox.

        Its parent is read from /proc.
        """
        parent = self._spare(self._parent_of_stranger, tid)
        if parent is None:
            return False
        self._adopt(parent, tid, True)
        self._early.add(tid)
        self.event(self.tree.tasks[tid], status)
        return True

    def _parent_of_stranger(self, tid: int) -> TracedTask | None:
        try:
            with open(f"/proc/{tid}/status", "rb") as file:
                lines = dict(line.split(b":\t", 1) for line in file if b":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            return None
        for key in (b"Tgid", b"PPid"):
            process = self.tree.processes.get(int(lines[key]))
            if process is not None and process.tasks and int(lines[key]) != tid:
                return next(iter(process.tasks.values()))
        return self.tree.tasks.get(self.tree.init_pid) if len(self.loop.supervisors) == 1 else None

    # -- the host ABI -------------------------------------------------------------------------

    def _host_call(self, task: TracedTask) -> None:
        """A host program's call, stopped and not made (PTRACE_SYSEMU)."""
        registers = ptrace.getregs(task.tid)
        number = registers[ORIG_RAX]
        arguments = tuple(registers[index] for index in ARGUMENTS)
        self.sandbox.caller = task
        abi = task.process.abi
        if self.log is not None:
            self.log.begin(task, number, arguments, "supervisor", "host")
        result = dispatch(
            abi.entry(number), Call(self.sandbox, task, number, arguments, task.memory, task.files)
        )
        match result:
            case Return(value=value):
                self._host_result(task, registers, value, False)
            case Native(number=linux_number, changed=changed) if linux_number is not None:
                for index, value in changed.items():
                    registers[ARGUMENTS[index]] = value & U64
                self._detour(task, registers, linux_number, number)
            case Terminate(status=status):
                registers[RDI] = status
                self._detour(task, registers, _EXIT_GROUP, number)
            case Wait():
                # A signal or `_wake` interrupts it, and the host call is made again.
                self._detour(task, registers, _PAUSE, number)
                task.wake = partial(self._wake, task, task.trap)
            case Fail(error=failure):
                self._host_result(task, registers, abi.error_number(failure.kind), True)
            case _:
                self._host_result(task, registers, abi.error_number(Kind.ENOSYS), True)
        ptrace.setregs(task.tid, registers)
        self.resume(task)

    def _wake(self, task: TracedTask, trap: gate.Trap) -> None:
        """End a host call's wait, unless something else has."""
        task.wake = lambda: None
        if task.trap is trap:
            trap.woken = True
            with contextlib.suppress(ProcessLookupError):
                ptrace.request(ptrace.INTERRUPT, task.tid)

    def _make_again(self, task: TracedTask) -> None:
        """A host program was interrupted on a detour: if it is about to pause, the call is made again instead."""
        registers = ptrace.getregs(task.tid)
        if registers[RIP] == task.process.image.vdso_call and registers[RAX] == _PAUSE:
            gate.abandon(task, registers)
            ptrace.setregs(task.tid, registers)

    @staticmethod
    def _detour(task: TracedTask, registers, number: int, host_number: int) -> None:
        """Have the kernel make linux call `number` for a host program, from the vDSO."""
        trap = gate.Trap(registers[RIP], host_number, registers[ptrace.RCX], registers[ptrace.R11], host=True)
        task.trap = trap
        registers[RAX] = number
        registers[RIP] = task.process.image.vdso_call

    def _host_result(self, task: TracedTask, registers, value: int, failed: bool) -> None:
        if self.log is not None:
            self.log.host_end(task, value, failed)
        registers[RAX] = value & U64
        registers[EFLAGS] = registers[EFLAGS] & ~_CARRY | (_CARRY if failed else 0)


    # -- errands ------------------------------------------------------------------------------

    # Some things only the task itself can do: on its way back from a call it has the kernel make another one for us, beginning
    # with a request that stops it once more.

    def _send(self, task: TracedTask, registers, number: int, arguments: tuple[int, ...], after=None) -> None:
        """Have a stopped task make a call before it goes on from `registers`; `after(value)` is told what came of it."""
        task.errand = Errand(list(registers), number, arguments, after)
        registers[RAX], registers[ORIG_RAX] = _IOCTL, U64
        self.mark_own(registers)
        registers[RDI], registers[RSI] = U64, _TIOCSTI
        registers[RIP] -= 2
        ptrace.setregs(task.tid, registers)

    def _errand_stop(self, task: TracedTask) -> None:
        """The call that is to stop begins, or has ended: a filter of the guest's own refused it, so that there is no errand."""
        if task.errand.begun:
            self._drop_errand(task)
        elif _is_errand(ptrace.getregs(task.tid)):
            task.errand.begun = True
        else:
            task.errand = None
        self.resume(task)

    def _run_errand(self, task: TracedTask, registers) -> None:
        errand, task.errand = task.errand, None
        before = errand.registers

        def end(value: int) -> int:
            if errand.after is not None:
                errand.after(value)
            return before[RAX]

        task.restore = (before, end)
        registers[ORIG_RAX] = errand.number
        for index, value in zip(ARGUMENTS, errand.arguments, strict=False):
            registers[index] = value
        ptrace.setregs(task.tid, registers)
        self.resume(task)

    @staticmethod
    def _drop_errand(task: TracedTask) -> None:
        """A signal came first, whose handler is to find the registers as they were; or nothing comes of it."""
        if task.errand is not None:
            ptrace.setregs(task.tid, ptrace.REGISTERS(*task.errand.registers))
        task.claim = task.errand = None

    # A terminal that a leader of a session opens becomes the session's, which only the leader itself can make it.

    @staticmethod
    def _interrupt_for_claim(task: TracedTask) -> None:
        with contextlib.suppress(ProcessLookupError):
            ptrace.request(ptrace.INTERRUPT, task.tid)
            task.claim = -1

    def _begin_claim(self, task: TracedTask) -> None:
        fd, task.claim = task.claim, None
        self._send(task, ptrace.getregs(task.tid), _IOCTL, (fd, _TIOCSCTTY, 0))

    def _watch_reads(self, task: TracedTask, registers) -> None:
        """Have what is read of a signalfd(2) stop: what the kernel says in it of init and of users is not the guest's truth.

        A filter on top of the sandbox's does it, so that nobody else's read(2) is slower; not beside filters of the guest's own,
        which may say anything of seccomp(2).
        """
        fd, process = registers[RAX], task.process
        if fd > _FD_MAX or fd in process.reads or len(process.reads) >= _READS_MAX or seccomp_filters(task):
            return
        program = build_reads(fd)
        block = registers[RSP] - _BELOW_STACK - len(program) - 16 & -16
        try:
            task.memory.write(block, struct.pack("<QQ", len(program) // 8, block + 16) + program)
        except SysError:
            return

        def installed(value: int) -> None:
            if value == 0:
                process.reads |= {fd}

        self._send(task, registers, _SECCOMP, (_SET_MODE_FILTER, _TSYNC, block), installed)

    # -- stopping -----------------------------------------------------------------------------

    def _init_stopped(self, number: int) -> None:
        """init was stopped: so is int80, for the shell that started it to see, and both go on together."""
        self._stands = True
        terminal, init = self.sandbox.terminal, self.tree.init_pid
        try:
            if terminal is not None:
                terminal.stopped(number, init)
            elif self._stops:
                stop(number)
        except ProcessLookupError:
            pass
        self._stops = False

    # -- messages -----------------------------------------------------------------------------

    def _report_unsupported(self, task: TracedTask, number: int, entry) -> None:
        """Say once per number, if asked to, that a call is not there; -1 stands for all 32-bit calls."""
        if not self.options.verbose or number in self._reported:
            return
        self._reported.add(number)
        what = "32-bit call" if number == -1 else f"call {number}" + (f" ({entry.name})" if entry is not None else "")
        why = f"{entry.error.name}, {entry.note}" if entry is not None else "ENOSYS, not supported"
        say(f"process {self.tree.guest(task.process.pid)} made {what}: {why}")


def _vector(ids, careful: bool) -> dict[int, int]:
    """What getauxval(3) is to tell of the ids: AT_UID, AT_EUID, AT_GID, AT_EGID, AT_SECURE."""
    return {11: ids.uid, 12: ids.euid, 13: ids.gid, 14: ids.egid, 23: int(careful)}


def _is_errand(registers) -> bool:
    return registers[ORIG_RAX] == _IOCTL and registers[RSI] == _TIOCSTI


def _has_signal(task: TracedTask, mask: bytes, number: int) -> bool:
    """Whether a signal is in one of the masks of proc_pid_status(5)."""
    with open(f"/proc/{task.process.pid}/task/{task.tid}/status", "rb") as status:
        return bool(next(int(line.split()[1], 16) for line in status if line.startswith(mask)) >> number - 1 & 1)


def _state(tid: int) -> bytes:
    """What proc_pid_stat(5) calls the state of a task.  OSError."""
    with open(f"/proc/{tid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0]


def _alive(tid: int) -> bool:
    try:
        return _state(tid) not in (b"Z", b"X", b"x")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True  # out of descriptors: nobody can tell


def _stands(tid: int) -> bool:
    """Whether a task is at a ptrace stop that was waited for already."""
    try:
        if _state(tid) != b"t":
            return False
        return os.waitid(os.P_PID, tid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT | ptrace.WALL) is None
    except OSError:
        return False  # it has ended


_ENOSYS = 38
