"""``int80 trace``: from its options to its exit status."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import signal
import sys

from tracer.log.descriptors import describe, describe_more
from tracer.log.host import HostTracer
from tracer.log.names import tables
from tracer.log.options import OptionError, add_options, injections, open_log

_FAILURE, _CANNOT_RUN, _NOT_FOUND = 125, 126, 127
_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)  # what the terminal sends to the command as well
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class CannotTrace(Exception):
    """The one line that says why, and int80's exit status."""

    def __init__(self, text: str, status: int = _FAILURE) -> None:
        super().__init__(text)
        self.status = status


def trace(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Trace a command, or tasks that run already; the exit status."""
    add = parser.add_argument_group("which tasks").add_argument
    add("-p", "--attach", dest="pids", metavar="PID", action="append", default=[],
        help="processes that run already, with all their threads: PID[,PID]; Ctrl-C lets them go on alone")  # fmt: skip
    add("-E", "--env", dest="environment", metavar="NAME[=VALUE]", action="append", default=[],
        help="set a variable for the command, or leave it out")  # fmt: skip
    add_options(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    plain_help = parser.print_help
    parser.print_help = lambda file=None: (plain_help(file), _legend())
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if bool(command) == bool(options.pids):
        parser.error("-p and a command exclude each other" if command else "no command given, and no -p")
    try:
        return _attach(options) if options.pids else _run(options, command)
    except OptionError as problem:
        parser.error(str(problem))
    except CannotTrace as problem:
        sys.stderr.write(f"int80: {problem}\n")
        return problem.status


def _legend() -> None:
    from tracer.log.colour import legend

    legend()


def _tracer(options: argparse.Namespace, names: dict[str, dict[int, str]], recorder, filtered: bool) -> HostTracer:
    injector = None
    if found := injections(options, names):
        from tracer.log.inject import HostInjector

        injector = HostInjector(found)
    return HostTracer(recorder, describe_more if recorder.style.paths > 1 else describe, filtered, injector)


# -- a command --------------------------------------------------------------------------------------


def _run(options: argparse.Namespace, command: list[str]) -> int:
    env = _environment(options.environment)
    path = _find(command[0], env.get(b"PATH"))
    names = tables()
    found = injections(options, names)
    recorder = open_log(options, names)
    numbers = recorder.choice.numbers(names["linux"])
    program = None
    if numbers is not None:
        from tracer.bpf import build_stops
        from tracer.placement import STOPPED, STOPPED_WITH

        injected = frozenset().union(*(injection.calls for injection in found))
        injected_numbers = {number for number, name in names["linux"].items() if name in injected}
        program = build_stops(numbers | injected_numbers | STOPPED, STOPPED_WITH)
    tracer = _tracer(options, names, recorder, program is not None)
    with _Signals(tracer, program is not None):
        try:
            tracer.start(path, [os.fsencode(word) for word in command], env, program)
        except OSError as problem:
            raise CannotTrace(f"this machine does not let int80 trace: {problem.strerror.lower()}{_yama()}") from None
        status = _traced(tracer)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _traced(tracer: HostTracer) -> int | None:
    """Trace to the end; what was made until now is not looked through for garbage again and again."""
    gc.freeze()
    gc.enable()
    return tracer.run()


class _Signals:
    """What comes to the tracer while a command runs is for the command.

    The terminal's signals reach that by themselves, and the tracer lives on until it ends, or stops when it stops; others
    are passed on.  Once it has ended they mean the tracer, which lets the tasks that are left go on alone; or, where a
    filter chooses their calls and they cannot go on without it, these tasks.
    """

    def __init__(self, tracer: HostTracer, filtered: bool) -> None:
        self._tracer = tracer
        self._filtered = filtered
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (*_TERMINAL, *_ENDINGS):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._arrived)

    def _arrived(self, number: int, frame) -> None:
        command = self._tracer.command
        if command is None and not self._filtered:
            self._tracer.leave()
        elif command is None or number in _ENDINGS:
            for pid in self._tracer.processes() if command is None else (command,):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _environment(changes: list[str]) -> dict[bytes, bytes]:
    env = dict(os.environb)
    for change in changes:
        name, equals, value = os.fsencode(change).partition(b"=")
        if not name:
            raise CannotTrace(f"-E {change}: give NAME=VALUE, or NAME to leave it out")
        if equals:
            env[name] = value
        else:
            env.pop(name, None)
    return env


def _find(name: str, search: bytes | None) -> bytes:
    """The file of a command, as execvp(3) looks for it."""
    encoded = os.fsencode(name)
    if b"/" in encoded:
        candidates = [encoded]
    else:
        directories = os.defpath.encode() if search is None else search
        candidates = [os.path.join(place or b".", encoded) for place in directories.split(b":")] if encoded else []
    refused = None
    for candidate in candidates:
        if not os.path.exists(candidate):
            continue
        if os.path.isdir(candidate):
            refused = refused or "is a directory"
        elif os.access(candidate, os.X_OK):
            return candidate
        else:
            refused = "permission denied"
    if refused is not None and (b"/" in encoded or refused != "is a directory"):
        raise CannotTrace(f"{name}: cannot be run: {refused}", _CANNOT_RUN)
    raise CannotTrace(f"{name}: not found", _NOT_FOUND)


# -- tasks that run already -------------------------------------------------------------------------


def _attach(options: argparse.Namespace) -> int:
    pids = [_pid(word) for text in options.pids for word in text.replace(",", " ").split()]
    names = tables()
    injections(options, names)
    recorder = open_log(options, names)
    tracer = _tracer(options, names, recorder, filtered=False)
    for number in (signal.SIGINT, signal.SIGQUIT, *_ENDINGS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: tracer.leave())
    say = (lambda text: None) if options.quiet else sys.stderr.write
    try:
        for pid in dict.fromkeys(pids):
            tracer.attach(pid)
            threads = len(tracer.tasks(pid))
            say(f"int80: process {pid} attached{f' with {threads} threads' if threads > 1 else ''}\n")
    except OSError as problem:
        tracer.leave()
        tracer.run()
        raise CannotTrace(f"-p {pid}: {_why_not(pid, problem)}") from None
    _traced(tracer)
    for pid in tracer.left:
        say(f"int80: process {pid} detached\n")
    return 0


def _pid(word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) < 1 << 22:
        raise CannotTrace(f"-p {word}: give the number of a process")
    if int(word) == os.getpid():
        raise CannotTrace(f"-p {word}: int80 cannot trace itself")
    return int(word)


def _why_not(pid: int, problem: OSError) -> str:
    """Why ptrace(2) refused, as far as /proc tells."""
    status = {}
    try:
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        pass
    if problem.errno in (errno.ESRCH, errno.ENOENT) or not status:
        return "there is no such process"
    if problem.errno != errno.EPERM:
        return problem.strerror.lower()
    tracer = status["TracerPid"]
    if tracer != "0":
        return f"process {tracer} traces it already"
    owner = int(status["Uid"].split()[0])
    if os.geteuid() not in (0, owner):
        return f"it belongs to user {owner}; only root may trace it"
    return f"this machine does not permit it{_yama()}"


def _yama() -> str:
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            scope = file.read().strip()
    except OSError:
        return ""
    if scope == "1" and os.geteuid() != 0:
        return ": kernel.yama.ptrace_scope is 1, so start the command under int80 trace, or be root"
    if scope == "2" and os.geteuid() != 0:
        return ": kernel.yama.ptrace_scope is 2, so only root may trace"
    return ": kernel.yama.ptrace_scope is 3, so nobody may trace" if scope == "3" else ""
