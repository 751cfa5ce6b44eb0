"""The runtime commands as engines give them: runc's words, with runc's options, errors and exit statuses."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from containers.oci.errors import ConfigError
from containers.oci.log import Log
from containers.oci.state import ContainerError, Registry, default_root
from containers.status import CannotRun, silence_unread

FAILURE, EXEC_FAILURE = 1, 255  # as runc has them, which engines go by

COMMANDS = {
    "create": "create a container from a bundle, to be started",
    "start": "run the process of a created container",
    "state": "show the state of a container",
    "kill": "send a signal to a container's process",
    "delete": "forget a container that has stopped",
    "run": "create and start a container, and wait for it (with --bundle)",
    "exec": "run another process in a container",
    "list": "list the containers",
    "ps": "list the processes of a container",
    "pause": "stop all processes of a container for a while",
    "resume": "let the processes of a paused container go on",
    "update": "change the limits of a container",
    "events": "show what a container uses",
    "spec": "write a config.json to begin with",
    "features": "show what a config.json may ask for",
}
_GLOBALS = {  # whether each takes a value
    "root": True, "log": True, "log-format": True, "criu": True, "rootless": True, "cgroup-manager": True,
    "debug": False, "systemd-cgroup": False,
}  # fmt: skip


class _Usage(Exception):
    """A command line that cannot be read."""


def main(parser_type, arguments: list[str], asking: Sequence[str] = (), about: Callable[[str], int] | None = None) -> int:
    """Run one command; its exit status.

    `parser_type` makes the parsers (`runner._Parser`); `about(word)` answers the words `asking` about int80 as a whole, which
    may stand behind global options.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it would lose the status of what it runs
    log = Log()
    try:
        given, words = _global_options(arguments, asking)
        if given["log-format"] not in ("text", "json"):
            raise _Usage(f"invalid log-format: {given['log-format']}; there are text and json")
        log = Log(None if given["log"] == "/dev/stderr" else given["log"], given["log-format"] == "json", given["debug"])
        if words and words[0] in asking:
            return about(words[0])
        if not words or words[0] not in COMMANDS:
            raise _Usage(f"{words[0]!r} is no command of a runtime's" if words else "no command given")
    except (_Usage, ValueError) as problem:
        log.error(str(problem))
        return FAILURE
    name = words[0]
    parser = parser_type(f"int80 {name}", description=COMMANDS[name].capitalize() + ".", allow_abbrev=False)
    parser.failure = EXEC_FAILURE if name == "exec" else FAILURE
    return _run(name, parser, words[1:], given["root"] or default_root(), log)


def _run(name: str, parser, words: list[str], root: str, log: Log) -> int:
    from containers.oci.lifecycle import Runtime

    runtime = Runtime(Registry(root), log)
    try:
        return _ACTIONS[name](parser, words, runtime)
    except (ContainerError, ConfigError, CannotRun) as problem:
        log.error(f"{name} failed: {problem}" if name in ("create", "run", "exec") else str(problem))
    except OSError as problem:
        if isinstance(problem, BrokenPipeError) and silence_unread():
            return FAILURE
        log.error(f"{name} failed: {problem.filename or root}: {(problem.strerror or str(problem)).lower()}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return EXEC_FAILURE if name == "exec" else FAILURE


def _global_options(arguments: list[str], asking: Sequence[str]) -> tuple[dict, list[str]]:
    """The options before the command, and the rest; with one dash or two, as Go's programs take them.  `_Usage`."""
    given: dict = {name: None if takes else False for name, takes in _GLOBALS.items()}
    given["log-format"] = "text"
    words = list(arguments)
    while words and words[0].startswith("-") and words[0] not in asking:
        word = words.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if name not in _GLOBALS:
            raise _Usage(f"unrecognized option {word}; see `int80 --help`")
        if not _GLOBALS[name]:
            if equals and value not in ("true", "false"):
                raise _Usage(f"--{name} {value}: true or false")
            given[name] = value != "false"
        elif equals:
            given[name] = value
        elif words:
            given[name] = words.pop(0)
        else:
            raise _Usage(f"--{name}: a value is needed")
    return given, words


# -- create, start, run, exec -----------------------------------------------------------------------


def _add_stream_options(parser) -> None:
    add = parser.add_argument
    add("--console-socket", metavar="PATH", help="the unix socket that receives the master of the container's terminal")
    add("--pid-file", metavar="FILE", help="where to write the process id that stands for it outside")
    add("--preserve-fds", metavar="N", type=int, default=0, help="pass the N descriptors from 3 on, too")


def _add_bundle_options(parser) -> None:
    add = parser.add_argument
    add("-b", "--bundle", metavar="DIR", default=".", help="the directory with config.json (default: here)")
    _add_stream_options(parser)
    add("--no-pivot", action="store_true", help="nothing: there is no root to pivot")
    add("--no-new-keyring", action="store_true", help="nothing: guests have no keyrings")
    add("--no-subreaper", action="store_true", help="nothing: orphans are init's in any case")


def _streams(options, detach: bool):
    from containers.oci.lifecycle import Streams

    if options.preserve_fds < 0:
        raise ContainerError(f"--preserve-fds {options.preserve_fds}: not a number of descriptors")
    return Streams(options.console_socket, options.preserve_fds, detach, options.pid_file)


def _create(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import create

    _add_bundle_options(parser)
    options = _with_id(parser, words)
    create(runtime, options.id, options.bundle, _streams(options, True))
    return 0


def _bundle_run(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import run

    _add_bundle_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for its end")
    parser.add_argument("--keep", action="store_true", help="do not forget the container when it has ended")
    options = _with_id(parser, words)
    return run(runtime, options.id, options.bundle, _streams(options, options.detach), options.keep)


def _start(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import start

    start(runtime, _with_id(parser, words).id)
    return 0


def _exec(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import execute

    add = parser.add_argument
    parser.usage = "int80 exec [options] ID COMMAND [ARG...]\n       int80 exec [options] --process FILE ID"
    add("-p", "--process", metavar="FILE", help="a file with the process, as config.json has it")
    add("-d", "--detach", action="store_true", help="do not wait for its end")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("--cwd", metavar="DIR", help="where it starts")
    add("-e", "--env", metavar="NAME=VALUE", action="append", default=[], help="set a variable")
    add("-u", "--user", metavar="UID[:GID]", help="who it is")
    add("-g", "--additional-gids", metavar="GID", type=int, action="append", default=[], help="a group it is in, too")
    add("-c", "--cap", metavar="CAP", action="append", default=[], help="a capability it has, too")
    add("--no-new-privs", action="store_true", help="set-id programs give it nothing")
    add("--process-label", metavar="LABEL", help="nothing: labels are not kept")
    add("--apparmor", metavar="PROFILE", help="nothing: profiles are not kept")
    add("--cgroup", metavar="PATH", help="nothing: it is where the container is")
    add("--ignore-paused", action="store_true", help="also in a paused container; it runs when that is resumed")
    _add_stream_options(parser)
    options, rest = _with_rest(parser, words)
    if not rest:
        parser.error("the id of a container is needed")
    process = _process(parser, options, rest[0], rest[1:], runtime)
    return execute(runtime, rest[0], process, _streams(options, options.detach), options.ignore_paused)


def _process(parser, options, name: str, command: list[str], runtime):
    """The process that `exec` is to run: that of the file, or the container's own with what the options change.

    Capabilities that a file says nothing of are the container's, too.
    """
    import msgspec

    from containers.oci import config

    wanted = config.load_process(options.process) if options.process is not None else None
    if wanted is not None and wanted.capabilities is not None:
        return wanted
    if wanted is None and not command:
        parser.error("no command given")
    process = config.load(runtime.registry.find(name).record["bundle"]).process
    if wanted is not None:
        wanted.capabilities = process.capabilities
        return wanted
    process.args = command
    process.terminal = options.tty
    process.console_size = None
    process.env = process.env + options.env
    process.cwd = options.cwd or process.cwd
    process.no_new_privileges = process.no_new_privileges or options.no_new_privs
    if options.user is not None:
        uid, colon, gid = options.user.partition(":")
        if not uid.isdecimal() or (colon and not gid.isdecimal()):
            parser.error(f"--user {options.user}: give numbers, as in 1000 or 1000:1000")
        process.user.uid, process.user.gid = int(uid), int(gid) if colon else process.user.gid
    process.user.additional_gids = process.user.additional_gids + options.additional_gids
    if options.cap:
        capabilities = process.capabilities = process.capabilities or config.Capabilities()
        for which in ("bounding", "effective", "permitted"):
            setattr(capabilities, which, [*(getattr(capabilities, which) or []), *options.cap])
    return config.parse_process(msgspec.json.encode(process), "process")


# -- state, kill, delete ----------------------------------------------------------------------------


def _state(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import shown

    _print_json(shown(runtime.registry.find(_with_id(parser, words).id)))
    return 0


def _kill(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import kill

    parser.add_argument("-a", "--all", action="store_true", help="send it to all processes of the container")
    parser.add_argument("id", metavar="ID")
    parser.add_argument("signal", metavar="SIGNAL", nargs="?", default="TERM", help="a name or a number (default: TERM)")
    options = parser.parse_intermixed_args(words)
    runtime.registry.find(options.id).close()
    kill(runtime, options.id, signal_number(options.signal), options.all)
    return 0


def signal_number(text: str) -> int:
    """A signal by number, or by name with or without SIG, or 0, which only asks; signal(7).  `ContainerError`."""
    name = text.upper().removeprefix("SIG")
    if name.isascii() and name.isdecimal():
        number = int(name)
    else:
        base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
        found = signal.Signals.__members__.get(f"SIG{base}")
        if found is None or (sign and not (base in ("RTMIN", "RTMAX") and offset.isdecimal())):
            raise ContainerError(f"unknown signal {json.dumps(text)}")
        number = int(found) + int(f"{sign}{offset}" or 0)
    if not 0 <= number <= 64:
        raise ContainerError(f"unknown signal {json.dumps(text)}")
    return number


def _delete(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import delete

    parser.add_argument("-f", "--force", action="store_true", help="kill it first if it runs; none such is no failure")
    options = _with_id(parser, words)
    delete(runtime, options.id, options.force)
    return 0


# -- list, ps, pause, resume ------------------------------------------------------------------------


def _list(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import shown

    parser.add_argument("-f", "--format", metavar="FORMAT", default="table", help="table or json")
    parser.add_argument("-q", "--quiet", action="store_true", help="the ids only")
    options = parser.parse_args(words)
    if options.format not in ("table", "json"):
        raise ContainerError(f"invalid format option: {options.format}; there are table and json")
    found = [shown(container) | {"owner": container.record["owner"]} for container in runtime.registry.all()]
    if options.quiet:
        for state in found:
            print(state["id"])
    elif options.format == "json":
        print(json.dumps(found) if found else "null")
    else:
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        _print_table([tuple(name.upper() for name in columns), *(tuple(str(state[name]) for name in columns) for state in found)])
    return 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as runc aligns them: twelve characters wide at least, three between."""
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1])


def _ps(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import processes

    parser.usage = "int80 ps [-f table|json] ID [ps options]"
    parser.add_argument("-f", "--format", metavar="FORMAT", default="table", help="table (ps(1) writes it) or json")
    options, rest = _with_rest(parser, words)
    if not rest:
        parser.error("the id of a container is needed")
    pids = processes(runtime, rest[0])
    if options.format == "json":
        print(json.dumps(pids))
        return 0
    if options.format != "table":
        raise ContainerError(f"invalid format option: {options.format}; there are table and json")
    return _ps_table(pids, rest[1:] or ["-ef"])


def _ps_table(pids: list[int], options: list[str]) -> int:
    """What ps(1) says, but of these processes only."""
    import subprocess

    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True)
    except FileNotFoundError:
        raise ContainerError("ps: executable file not found in $PATH; use --format json, or install procps") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or ["failed"]
        raise ContainerError(f"ps {' '.join(options)}: {said[0]}")
    titles = lines[0].split()
    if "PID" not in titles:
        raise ContainerError("couldn't find PID field in ps output")
    column = titles.index("PID")
    print(lines[0])
    for line in lines[1:]:
        fields = line.split()
        if len(fields) > column and fields[column].isdecimal() and int(fields[column]) in pids:
            print(line)
    return 0


def _pause(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import pause

    pause(runtime, _with_id(parser, words).id, True)
    return 0


def _resume(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import pause

    pause(runtime, _with_id(parser, words).id, False)
    return 0


# -- update, events ---------------------------------------------------------------------------------



def _bytes(text: str) -> int:
    """A number of bytes as runc's `update` takes it: with a unit (of 1024), or -1 for no limit."""
    import re
    from argparse import ArgumentTypeError

    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", text.strip(), re.IGNORECASE)
    if text.strip() == "-1":
        return -1
    if not found:
        raise ArgumentTypeError(f"{text!r} is no number of bytes, as 1048576, 512k or 2G")
    return int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " "))


_LIMITS = {  # option: (where in resources, its type)
    "blkio-weight": ("blockIO", "weight", int),
    "cpu-burst": ("cpu", "burst", int),
    "cpu-period": ("cpu", "period", int),
    "cpu-quota": ("cpu", "quota", int),
    "cpu-share": ("cpu", "shares", int),
    "cpu-rt-period": ("cpu", "realtimePeriod", int),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", int),
    "cpu-idle": ("cpu", "idle", int),
    "cpuset-cpus": ("cpu", "cpus", str),
    "cpuset-mems": ("cpu", "mems", str),
    "memory": ("memory", "limit", _bytes),
    "memory-reservation": ("memory", "reservation", _bytes),
    "memory-swap": ("memory", "swap", _bytes),
    "kernel-memory": ("memory", "kernel", _bytes),
    "kernel-memory-tcp": ("memory", "kernelTCP", _bytes),
    "pids-limit": ("pids", "limit", int),
}
_METAVARS = {int: "N", _bytes: "BYTES", str: "LIST"}


def _update(parser, words: list[str], runtime) -> int:
    from containers.oci.lifecycle import update

    parser.add_argument("-r", "--resources", metavar="FILE", help="a file with them, as config.json has them; - is the input")
    for name, (section, key, kind) in _LIMITS.items():
        parser.add_argument(f"--{name}", metavar=_METAVARS[kind], type=kind, help=f"{section}.{key}")
    options = _with_id(parser, words)
    resources: dict = {}
    if options.resources is not None:
        resources = _read_json(options.resources)
    else:
        for name, (section, key, _) in _LIMITS.items():
            value = getattr(options, name.replace("-", "_"))
            if value is not None:
                resources.setdefault(section, {})[key] = value
    update(runtime, options.id, resources)
    return 0


def _read_json(path: str) -> dict:
    try:
        if path == "-":
            found = json.load(sys.stdin)
        else:
            with open(path, "rb") as file:
                found = json.load(file)
    except OSError as problem:
        raise ContainerError(f"--resources {path}: {problem.strerror.lower()}") from None
    except ValueError as problem:
        raise ContainerError(f"--resources {path}: not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise ContainerError(f"--resources {path}: not resources as config.json has them")
    return found


def _events(parser, words: list[str], runtime) -> int:
    from containers.oci.statistics import events

    parser.add_argument("--stats", action="store_true", help="show it once")
    parser.add_argument("--interval", metavar="TIME", default="5s", help="how often to show it, as 500ms, 5s, 1m (default: 5s)")
    options = _with_id(parser, words)
    seconds = _duration(options.interval)
    if seconds is None or seconds <= 0:
        raise ContainerError(f"--interval {options.interval}: a time above zero, as 500ms, 5s or 1m")
    return events(runtime, options.id, None if options.stats else seconds)


def _duration(text: str) -> float | None:
    """Seconds, as Go's programs write them: 1m30s."""
    import re

    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        return None
    return sum(float(number) * units[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h)", text))


# -- spec, features ---------------------------------------------------------------------------------


def _spec(parser, words: list[str], runtime) -> int:
    from containers.oci.specification import starter

    parser.add_argument("-b", "--bundle", metavar="DIR", default=".", help="where to write it (default: here)")
    parser.add_argument("--rootless", action="store_true", help="one for who is not root")
    options = parser.parse_args(words)
    path = os.path.join(options.bundle, "config.json")
    try:
        with open(path, "x") as file:
            json.dump(starter(options.rootless), file, indent="\t")
            file.write("\n")
    except FileExistsError:
        raise ContainerError(f"File {path} exists. Remove it first") from None
    except OSError as problem:
        raise ContainerError(f"{path}: {problem.strerror.lower()}") from None
    return 0


def _features(parser, words: list[str], runtime) -> int:
    from containers.oci.specification import features

    parser.parse_args(words)
    _print_json(features())
    return 0


# -- what they share --------------------------------------------------------------------------------


def _with_id(parser, words: list[str]):
    parser.add_argument("id", metavar="ID")
    return parser.parse_args(words) if "--" in words else parser.parse_intermixed_args(words)


def _with_rest(parser, words: list[str]):
    """(options, the words from the first that is none on), which may look like options and are not."""
    from argparse import REMAINDER, SUPPRESS

    parser.add_argument("rest", nargs=REMAINDER, help=SUPPRESS)
    options = parser.parse_args(words)
    return options, options.rest[1:] if options.rest[:1] == ["--"] else options.rest


def _print_json(value) -> None:
    print(json.dumps(value, indent=2))


_ACTIONS: dict[str, Callable] = {
    "create": _create, "start": _start, "state": _state, "kill": _kill, "delete": _delete, "run": _bundle_run, "exec": _exec,
    "list": _list, "ps": _ps, "pause": _pause, "resume": _resume, "update": _update, "events": _events, "spec": _spec,
    "features": _features,
}  # fmt: skip
