"""The options of a log, in strace's words, and the recorder that they ask for.

`int80 trace` has them as its own, `int80 run --trace` takes them as one text.
"""

from __future__ import annotations

import argparse
import os

from abi.decoding.values import Style, strings_in_hex
from tracer.log import choice
from tracer.log.events import Sink
from tracer.log.recorder import Recorder
from tracer.log.text import COLUMN, Text, Times

_QUALIFIERS = {
    "trace": "trace", "t": "trace", "signal": "signal", "signals": "signal", "s": "signal", "status": "status",
    "read": "read", "reads": "read", "r": "read", "write": "write", "writes": "write", "w": "write", "inject": "inject",
    "fault": "fault", "quiet": "quiet", "silent": "quiet", "silence": "quiet", "q": "quiet", "abbrev": "abbrev", "a": "abbrev",
    "decode-fds": "decode-fds", "raw": "raw", "x": "raw",
    "verbose": "verbose", "v": "verbose",
}  # fmt: skip
_NOT_HERE = ("kvm",)


class OptionError(ValueError):
    """Options that cannot be: one line for whoever gave them.  `file`: it is one that cannot be written."""

    def __init__(self, text: str, file: str | None = None) -> None:
        super().__init__(text)
        self.file = file


# -- the parser -------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    """Everything that says what is logged, and how; not which tasks."""
    add = parser.add_argument_group("what is logged").add_argument
    add("-e", dest="expressions", metavar="EXPR", action="append", default=[],
        help="trace=SET (or SET alone): these calls; signal=SET, status=SET, read=SET, write=SET, quiet=SET, "
        "raw=SET, verbose=SET, abbrev=SET, inject=SET:WHAT, fault=SET. "
        "A SET is [!]ITEM[,ITEM]: a name, %%CLASS, /REGEX, ?NAME, all, none")  # fmt: skip
    add("-P", "--trace-path", dest="only_paths", metavar="PATH", action="append", default=[],
        help="only calls that name PATH, or a descriptor open on it")  # fmt: skip
    add("-z", "--successful-only", dest="outcome", action="store_const", const="successful", help="only calls that succeeded")
    add("-Z", "--failed-only", dest="outcome", action="store_const", const="failed", help="only calls that failed")
    add("-f", "--follow-forks", dest="follow", action="count", default=0,
        help="all tasks are followed, with it or without; -ff writes a file for each, FILE.TID")  # fmt: skip
    add("-q", "--quiet", dest="quiet", action="count", default=0, help="say nothing of attaching; -qq nor of exits")

    add = parser.add_argument_group("how a call reads").add_argument
    add("-s", "--string-limit", dest="strings", metavar="N", default="32", help="at most N bytes of a string (default: 32)")
    add("-v", "--no-abbrev", dest="whole", action="store_true", help="structures whole")
    add("-x", "--strings-in-hex", dest="hexadecimal", action="count", default=0,
        help="strings that hold more than ASCII text in hex; -xx all of them")  # fmt: skip
    add("-y", "--decode-fds", dest="descriptors", action="count", default=0,
        help="descriptors with their paths; -yy also with addresses of sockets and numbers of devices")  # fmt: skip
    add("-a", "--columns", dest="column", metavar="COLUMN", help=f"the column of results (default: {COLUMN}, more if wide)")
    add("-t", dest="clock", action="count", default=0, help="the time; -tt with microseconds, -ttt as seconds since the epoch")
    add("-r", "--relative-timestamps", dest="relative", action="store_true", help="the time since the line before")
    add("-T", "--syscall-times", dest="spent", action="store_true", help="how long each call took")
    add("--color", metavar="WHEN", default="auto", help="auto (at a terminal, without NO_COLOR), always or never")

    add = parser.add_argument_group("where it goes").add_argument
    add("-o", "--output", metavar="FILE", help="to FILE, or to a command: '|COMMAND' (default: the standard error)")
    add("-c", "--summary-only", action="store_true", help="a table of calls, errors and times instead of the calls")
    add("-C", "--summary", action="store_true", help="the calls, and then the table")
    add("-S", "--summary-sort-by", dest="sort", metavar="KEY", default="time", help="sort it by time, calls, errors, name, ...")
    add("--tree", action="store_true", help="the tree of processes, with their times, instead of the calls")
    add("--json", action="store_true", help="one JSON object a line (docs/trace.md)")
    add("--timeline", metavar="FILE", help="a file for Perfetto or chrome://tracing; the calls go where -o says, if it does")
    add("--html", metavar="FILE", help="a page to look at in a browser; the calls go where -o says, if it does")
    add("--policy-out", metavar="FILE", help="what the program was seen to need, as a policy; the calls as with --html")


def qualify(expression: str) -> tuple[str, str]:
    """The two parts of what stands behind -e: ``trace=%file``, or ``%file`` alone.  `OptionError`."""
    name, equals, value = expression.partition("=")
    if not equals:
        return "trace", expression
    if name in _NOT_HERE:
        raise OptionError(f"-e {expression}: int80 has no {name}=")
    if name not in _QUALIFIERS:
        raise OptionError(f"-e {expression}: {name!r} is none of {', '.join(dict.fromkeys(_QUALIFIERS.values()))}")
    return _QUALIFIERS[name], value


def injections(options: argparse.Namespace, names: dict[str, dict[int, str]]) -> list:
    """What ``-e inject=`` and ``-e fault=`` ask for, as `tracer.log.inject` has it.  `OptionError`."""
    found = []
    for kind, value in map(qualify, options.expressions):
        if kind in ("inject", "fault"):
            from tracer.log.inject import parse

            try:
                found.append(parse(value, lambda text, kind=kind: choice.call_names(text, names, kind), kind == "fault"))
            except ValueError as problem:
                raise OptionError(str(problem)) from None
    return found


# -- the recorder -----------------------------------------------------------------------------------


def open_log(options: argparse.Namespace, names: dict[str, dict[int, str]]) -> Recorder:
    """The recorder that the options ask for, its files open; `names` is `tracer.log.names.tables()`.  `OptionError`."""
    settings = _Settings(options, names)
    strings_in_hex(min(options.hexadecimal, 2))
    try:
        sinks = _sinks(options, settings)
    except OSError as problem:
        file = problem.filename or options.output
        raise OptionError(f"{file}: {problem.strerror.lower()}", file) from None
    return Recorder(settings.choice, settings.style, sinks, names)


class _Settings:
    """The options read: what can be wrong with them is found before a file is touched."""

    def __init__(self, options: argparse.Namespace, names: dict[str, dict[int, str]]) -> None:
        self.unsaid = ((), ("attach",), ("attach", "exit"), ("attach", "exit", "thread-execve"))[min(options.quiet, 3)]
        paths = min(options.descriptors, 2)
        whole = options.whole
        calls = signals = outcomes = None
        read = written = raw = ()
        brief = followed = None
        if options.outcome is not None:
            outcomes = frozenset((options.outcome,))
        try:
            for kind, value in map(qualify, options.expressions):
                match kind:
                    case "trace":
                        calls = choice.calls(value, names)
                    case "signal":
                        signals = choice.signals(value)
                    case "status":
                        outcomes = choice.outcomes(value)
                    case "read":
                        read = choice.descriptors(value, "read")
                    case "write":
                        written = choice.descriptors(value, "write")
                    case "quiet":
                        self.unsaid = choice.quiet(value)
                    case "raw":
                        raw = choice.every(choice.calls(value, names, "raw"))
                    case "verbose":
                        followed = choice.calls(value, names, "verbose")
                    case "abbrev" if value in ("none", "all"):
                        whole, brief = value == "none", None
                    case "abbrev":
                        brief = choice.every(choice.calls(value, names, "abbrev"))
                    case "decode-fds" if value in ("none", "path", "all"):
                        paths = ("none", "path", "all").index(value)
                    case "decode-fds":
                        raise OptionError(f"-e decode-fds={value}: only none, path and all are known")
        except choice.ChoiceError as problem:
            raise OptionError(str(problem)) from None
        paths_only = choice.paths(options.only_paths)
        self.choice = choice.Choice(calls, outcomes, paths_only, signals, read, written, raw, brief, followed)
        self.dump = None
        if read != () or written != ():
            from functools import partial

            from tracer.log.dump import dump

            self.dump = partial(dump, self.choice)
        self.style = Style(_number(options.strings, "-s"), paths, whole)
        self.column = _number(options.column, "-a") if options.column is not None else None
        self.times = Times((None, "t", "tt", "ttt")[min(options.clock, 3)], options.spent, options.relative)
        if options.color not in ("auto", "always", "never"):
            raise OptionError(f"--color {options.color}: auto, always or never")
        self._check(options)

    @staticmethod
    def _check(options: argparse.Namespace) -> None:
        forms = [name for name, given in (
            ("-c", options.summary_only), ("-C", options.summary), ("--tree", options.tree), ("--json", options.json),
        ) if given]  # fmt: skip
        if len(forms) > 1:
            raise OptionError(f"{forms[0]} and {forms[1]} exclude each other")
        if options.follow > 1 and options.output is not None:
            if forms:
                raise OptionError(f"{forms[0]} and -ff exclude each other")
            if options.output[:1] in "|!":
                raise OptionError("-ff writes files, not to a command: give -o FILE")
        if options.output == "" or options.output in ("|", "!"):
            raise OptionError(f"-o '{options.output}': give a file, or a command behind |")
        if options.summary_only or options.summary:
            from tracer.log.summary import SORTS, SYNONYMS

            if options.sort not in SORTS and options.sort not in SYNONYMS:
                raise OptionError(f"-S {options.sort}: {', '.join(SORTS)}")


def _number(text: str, option: str) -> int:
    if not text.isdecimal() or int(text) > 1 << 24:
        raise OptionError(f"{option} {text}: give a number, 0 to {1 << 24}")
    return int(text)


def _sinks(options: argparse.Namespace, settings: _Settings) -> list:
    """The sinks, those that write lines first.  ``OSError``."""
    sinks: list = []
    lines = not (options.summary_only or options.tree or options.json or options.timeline or options.html or options.policy_out)
    lines |= options.output is not None and not (options.summary_only or options.tree or options.json)
    if options.follow > 1 and options.output is not None:
        from tracer.log.separate import Separate

        sinks.append(Separate(options.output, lambda fd: _text(fd, options, settings, "never"), bool(settings.dump)))
    elif lines or options.summary_only or options.tree or options.json:
        reader = None
        if options.output is None:
            fd = os.dup(2)
        elif options.output[0] in "|!":
            reader = _Reader(options.output[1:])
            fd = reader.fd
        else:
            fd = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        pretty = wants_colour(fd, options.color)
        if lines:
            sinks.append(_text(fd, options, settings, "always" if options.output else "many", pretty))
        if options.summary_only or options.summary:
            from tracer.log.summary import Summary

            sinks.append(Summary(fd, options.sort, pretty))
        if options.tree:
            from tracer.log.treeview import Tree

            sinks.append(Tree(fd, pretty))
        if options.json:
            from tracer.log.jsonlines import JsonLines

            sinks.append(JsonLines(fd, live=options.output is None))
        if reader is not None:
            sinks.append(reader)
    if options.timeline is not None:
        from tracer.log.timeline import Timeline

        sinks.append(Timeline(options.timeline))
    if options.html is not None:
        from tracer.log.page import Page

        sinks.append(Page(options.html, _command(options)))
    if options.policy_out is not None:
        from tracer.log.policy import PolicyOut

        sinks.append(PolicyOut(options.policy_out, _command(options)))
    return sinks


def _command(options: argparse.Namespace) -> list[str]:
    """What is traced, as it was given."""
    command = getattr(options, "command", [])
    return command[1:] if command[:1] == ["--"] else command


def _text(fd: int, options: argparse.Namespace, settings: _Settings, who: str, pretty: bool = False) -> Text:
    live = options.output is None
    if pretty:
        from tracer.log.colour import Colour

        return Colour(fd, settings.times, who, live, settings.column, settings.unsaid, settings.dump)
    column = COLUMN if settings.column is None else settings.column
    return Text(fd, settings.times, who, live, column, settings.unsaid, settings.dump)


class _Reader(Sink):
    """A command that reads the log: after everything is written it may finish."""

    bare = True

    def __init__(self, command: str) -> None:
        import subprocess

        # Ctrl-C is for the traced program: what reads the log is to read it to its end.
        self._process = subprocess.Popen(["/bin/sh", "-c", f"trap '' INT QUIT\n{command}"], stdin=subprocess.PIPE)
        self.fd = self._process.stdin.fileno()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def wants_colour(fd: int, when: str) -> bool:
    """Whether what is written to `fd` is to be coloured.  https://no-color.org, https://force-color.org"""
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (os.isatty(fd) and os.environ.get("TERM", "dumb") != "dumb")
