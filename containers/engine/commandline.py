"""The everyday commands as they are written: docker's and podman's words, options and exit statuses."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable

from containers.engine import commands, listing
from containers.engine.attachment import DETACH_KEYS, detach_keys
from containers.engine.record import Record, Store
from containers.images.reference import familiar
from containers.oci.commandline import signal_number
from containers.oci.state import ContainerError
from containers.status import CannotRun, silence_unread
from containers.variables import variables

FAILURE = 125
STOP_TIMEOUT = 10.0  # seconds

_FILTERS = "status, name, id, label, exited, ancestor, before, since, volume or publish"

COMMANDS = {
    "ps": "list containers; with a name, the processes of one",
    "start": "start containers that have ended",
    "restart": "stop containers and start them again",
    "stop": "ask containers to end, and kill those that do not",
    "kill": "send a signal to containers",
    "rm": "remove containers that have ended",
    "wait": "wait until containers end, and print how they have",
    "logs": "show what a container has written",
    "attach": "have a running container's streams",
    "exec": "run another command in a container",
    "cp": "copy files from or to a container",
    "diff": "show what a container has changed",
    "commit": "make an image of a container",
    "export": "write a container's root as a tar",
    "inspect": "show all that is known of containers and images",
    "stats": "show what containers use",
    "top": "list the processes of a container",
    "rename": "call a container something else",
    "pause": "stop all processes of containers for a while",
    "unpause": "let the processes of paused containers go on",
    "port": "list the ports that a container publishes",
    "prune": "remove what nobody uses: containers that have ended, images without a name",
    "exists": "say by the exit status whether there is a container or an image of a name",
}


def main(parser_type, name: str, words: list[str], build: commands.Build) -> int:
    """Run one command; its exit status.  `parser_type` makes parsers, `build` settings of `run`'s words (`runner`)."""
    parser = parser_type(f"int80 {name}", description=COMMANDS[name].capitalize() + ".", allow_abbrev=False)
    parser.explain = _explained
    try:
        return _ACTIONS[name](parser, words, build)
    except (CannotRun, ContainerError) as problem:
        sys.stderr.write(f"int80: {problem}\n")
        return getattr(problem, "status", FAILURE)
    except BrokenPipeError:
        if not silence_unread():
            sys.stderr.write(f"int80: {name}: broken pipe\n")
        return FAILURE
    except KeyboardInterrupt:
        return 130


def _explained(message: str) -> str:
    from containers.runoptions import refusal

    return refusal(message)


def run(parser, options, words: list[str], build: commands.Build) -> int:
    """`int80 run` of a container; `options` are what `words` were parsed as.  `CannotRun`."""
    store = Store()
    if options.replace and options.name is None:
        parser.error("--replace: give the --name of the container that is to be replaced")
    if options.restart is not None and options.rm:
        parser.error("--rm and --restart exclude each other: what is removed cannot be started again")
    wanted = commands.Wanted(
        words, options.name, _shown_root(options), options.detach, options.interactive, options.rm,
        _policy(parser, options.restart), _labels(options),
        [text.partition("=")[0] for text in options.env],
        _seconds(parser, "--stop-timeout", options.stop_timeout, STOP_TIMEOUT),
        _host(options), options.cidfile, options.replace,
    )  # fmt: skip
    return commands.run(store, wanted, build, detach_keys(options.detach_keys))


def _shown_root(options) -> str:
    """What a list shows as the image of a container without one."""
    if options.busybox is not None:
        return "busybox"
    return options.rootfs or (options.lower[-1] if options.lower else "/")


def _policy(parser, text: str | None) -> dict:
    name, colon, most = (text or "no").partition(":")
    if name not in ("no", "on-failure", "always", "unless-stopped") or (colon and (name != "on-failure" or not most.isdecimal())):
        parser.error(f"--restart {text}: give no, on-failure, on-failure:N, always or unless-stopped")
    return {"name": name, "most": int(most) if colon else 0}


def _labels(options) -> dict[str, str]:
    """Those of --label-file, then those of --label.  `CannotRun`."""
    lines = []
    for path in options.label_file:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines += [line.strip() for line in file]
        except OSError as problem:
            raise CannotRun(f"--label-file {path}: {problem.strerror.lower()}") from None
    texts = [line for line in lines if line and not line.startswith("#")] + options.label
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _host(options) -> dict:
    """What `inspect` shows of a container's limits and rights, in docker's words."""
    from containers.runoptions import size

    lists = {
        "CapAdd": options.cap_add, "CapDrop": options.cap_drop, "GroupAdd": options.group_add, "Dns": options.dns,
        "DnsSearch": options.dns_search, "ExtraHosts": options.add_host, "SecurityOpt": options.security_opt,
    }  # fmt: skip
    return {name: value for name, value in lists.items()} | {
        "Memory": size("--memory", options.memory) if options.memory is not None else 0,
        "NanoCpus": round(float(options.cpus) * 1e9) if options.cpus is not None else 0,
        "CpuShares": int(options.cpu_shares or 0), "CpuPeriod": int(options.cpu_period or 0),
        "CpuQuota": int(options.cpu_quota or 0), "CpusetCpus": options.cpuset_cpus or "",
        "OomScoreAdj": int(options.oom_score_adj or 0), "Init": options.init,
        "ShmSize": size("--shm-size", options.shm_size) if options.shm_size is not None else 0,
        "Sysctls": dict(text.partition("=")[::2] for text in options.sysctl),
        "Ulimits": [
            {"Name": name, "Soft": _limit(value.partition(":")[0]), "Hard": _limit(value.rpartition(":")[2])}
            for name, _, value in (text.partition("=") for text in options.ulimit)
        ],
    }  # fmt: skip


def _limit(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def _seconds(parser, option: str, text: str | None, otherwise):
    if text is None:
        return otherwise
    try:
        return float(int(text))
    except ValueError:
        parser.error(f"{option} {text}: give a number of seconds, or -1 to wait for ever")


def _each(names: list[str], action: Callable[[str], object], tell: bool = True) -> int:
    """Do something with each of several containers, also where it fails with some; names are printed as it is done."""
    status = 0
    for name in names:
        try:
            action(name)
            if tell:
                print(name, flush=True)
        except (CannotRun, ContainerError) as problem:
            sys.stderr.write(f"int80: {problem}\n")
            status = getattr(problem, "status", FAILURE)
    return status


def _names(parser, words: list[str], every: bool = False) -> tuple[argparse.Namespace, list[str]]:
    parser.add_argument("names", metavar="NAME", nargs="*" if every else "+")
    options = parser.parse_intermixed_args(words)
    return options, options.names


def _chosen(parser, words: list[str], all_of: tuple[str, ...], letter: str = "-a") -> tuple[argparse.Namespace, list[str]]:
    """As `_names`, with `--all`, which is all containers in one of some states, and `--latest`."""
    about = "all containers" if len(all_of) > 3 else f"all that are {' or '.join(all_of)}"
    parser.add_argument(*filter(None, (letter,)), "--all", action="store_true", help=about)
    parser.add_argument("-l", "--latest", action="store_true", help="the one made last")
    options, names = _names(parser, words, True)
    if options.all + options.latest + bool(names) != 1:
        parser.error("give the names of containers, or --all, or --latest")
    if names:
        return options, names
    records = Store().all()
    if options.latest:
        if not records:
            raise CannotRun("--latest: there is no container")
        return options, [records[0].id]
    return options, [record.id for record in records if record.status() in all_of]


_RUNNING = ("running", "paused", "restarting")
_ANY = (*_RUNNING, "created", "exited")


# -- lists ------------------------------------------------------------------------------------------


def _ps(parser, words: list[str], build) -> int:
    add = parser.add_argument
    parser.usage = "int80 ps [options]\n       int80 ps NAME"
    add("-a", "--all", action="store_true", help="also those that have ended")
    add("-q", "--quiet", action="store_true", help="ids alone")
    add("-n", "--last", metavar="N", type=int, help="the N made last, also those that have ended")
    add("-l", "--latest", action="store_true", help="the one made last")
    add("-f", "--filter", metavar="KEY=VALUE", action="append", default=[], help=f"those with this {_FILTERS}")
    add("--no-trunc", action="store_true", help="cut nothing short")
    add("--format", metavar="FORM", default="table", help="table, json, or a template as '{{.Names}}'")
    options, names = _names(parser, words, True)
    store = Store()
    if names:
        for name in names:
            listing.top(store.find(name))
        return 0
    form = listing.check_format(options.format)
    records = [record for record in store.all() if all(_matches(parser, record, text) for text in options.filter)]
    last = 1 if options.latest else options.last
    if last is not None:
        records = records[:last]
    elif not options.all and not any(text.startswith("status=") for text in options.filter):
        records = [record for record in records if record.is_live()]
    listing.ps(records, options.quiet, options.no_trunc, form)
    return 0


def _pattern(text: str, value: str) -> re.Pattern:
    try:
        return re.compile(value)
    except re.error as problem:
        raise CannotRun(f"--filter {text}: no regular expression: {problem}") from None


def _matches(parser, record: Record, text: str) -> bool:
    key, _, value = text.partition("=")
    match key:
        case "status":
            return record.status() == value
        case "name":
            return bool(_pattern(text, value).search(record.name))
        case "id":
            return record.id.startswith(value)
        case "label":
            name, equals, wanted = value.partition("=")
            labels = record.data["labels"]
            return name in labels and (not equals or labels[name] == wanted)
        case "exited":
            return record.status() == "exited" and str(record.data["exit_code"]) == value
        case "ancestor":
            data = record.data
            known = {data["image"], data["image_id"], familiar(data["image"]), familiar(data["image"]).rpartition(":")[0]}
            names = {familiar(data["image"]).removeprefix("localhost/"), data["image"].removeprefix("localhost/")}
            names |= {name.rpartition(":")[0] for name in names}
            digits = data["image_id"].partition(":")[2]
            return value in known | names or (len(value) >= 12 and digits.startswith(value.removeprefix("sha256:")))
        case "before" | "since":
            moment = Store().find(value).data["created"]
            return record.data["created"] < moment if key == "before" else record.data["created"] > moment
        case "volume":
            return any(value in (mount["Source"], mount["Destination"]) for mount in record.data["mounts"])
        case "publish":
            return any(value.partition("/")[0] in (guest, str(host)) for guest, host in record.data["ports"].items())
    parser.error(f"--filter {text}: give KEY=VALUE, KEY one of {_FILTERS}")


def _top(parser, words: list[str], build) -> int:
    parser.add_argument("name", metavar="NAME")
    listing.top(Store().find(parser.parse_args(words).name))
    return 0


def _stats(parser, words: list[str], build) -> int:
    parser.add_argument("-a", "--all", action="store_true", help="nothing: who does not run uses nothing")
    parser.add_argument("--no-stream", action="store_true", help="once")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("--format", metavar="FORM", default="table", help="table, json, or a template as '{{.Name}}'")
    options, names = _names(parser, words, True)
    commands.stats(Store(), names, options.no_stream, listing.check_format(options.format), options.no_trunc)
    return 0


def _inspect(parser, words: list[str], build) -> int:
    from containers.engine.template import fill

    parser.add_argument("-f", "--format", metavar="FORM", default="json", help="json, or a template as '{{.State.Pid}}'")
    parser.add_argument("--type", choices=("container", "image", "all"), default="all", help="look among these alone")
    options, names = _names(parser, words)
    found: list[dict] = []
    status = _each(names, lambda name: found.append(_inspected(name, options.type)), False)
    if options.format == "json":
        print(json.dumps(found, indent=4))
    else:
        for one in found:
            print(fill(options.format, one))
    return status


def _inspected(name: str, kind: str) -> dict:
    """A container, or the image of a name that no container has.  `CannotRun`."""
    store = Store()
    if kind == "container" or (kind == "all" and store.lookup(name) is not None):
        return listing.inspected(store.find(name))
    from containers.images.kept import inspected
    from containers.images.store import Store as Images

    images = Images()
    if kind == "all" and not images.knows(name):
        return listing.inspected(store.find(name))
    return inspected(images, images.find(name))


def _exists(parser, words: list[str], build) -> int:
    parser.add_argument("kind", choices=("container", "image"), metavar="container|image")
    parser.add_argument("name", metavar="NAME")
    options = parser.parse_args(words)
    if options.kind == "container":
        return int(Store().lookup(options.name) is None)
    from containers.images.store import Store as Images

    return int(not Images().knows(options.name))


def _prune(parser, words: list[str], build) -> int:
    parser.add_argument("kind", choices=("container", "image", "system"), metavar="container|image|system")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument("-a", "--all", action="store_true", help="all images that no container is made of")
    options = parser.parse_args(words)
    what = ["containers that have ended"] if options.kind != "image" else []
    if options.kind != "container":
        what.append("images that no container is made of" if options.all else "images without a name")
    if not options.force:
        sys.stdout.write(f"This removes all {' and all '.join(what)}. Go on? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 0
    status = 0
    if options.kind != "image":
        store = Store()
        names = [record.id for record in store.all() if not record.is_live()]
        status = _each(names, lambda name: commands.remove(store, name, False))
    if options.kind != "container":
        from containers.images.kept import unused
        from containers.images.store import Store as Images

        images = Images()
        if ids := [image.descriptor.digest for image in unused(images, options.all)]:
            for digest in images.remove(ids)[1]:
                print(digest)
    return status


def _port(parser, words: list[str], build) -> int:
    parser.add_argument("name", metavar="NAME")
    for guest, host in Store().find(parser.parse_args(words).name).data["ports"].items():
        print(f"{guest}/tcp -> 0.0.0.0:{host}")
    return 0


# -- lives ------------------------------------------------------------------------------------------


def _add_keys(parser) -> None:
    about = f"what to type to leave it (default: {DETACH_KEYS})"
    parser.add_argument("--detach-keys", metavar="KEYS", default=DETACH_KEYS, help=about)


def _start(parser, words: list[str], build) -> int:
    parser.add_argument("-a", "--attach", action="store_true", help="have its streams, until it ends")
    parser.add_argument("-i", "--interactive", action="store_true", help="its standard input too")
    _add_keys(parser)
    options, names = _names(parser, words)
    keys = detach_keys(options.detach_keys)
    store = Store()
    if options.attach or options.interactive:
        if len(names) > 1:
            parser.error("--attach: to one container at a time")
        return commands.start(store, names[0], build, True, options.interactive, keys)
    return _each(names, lambda name: commands.start(store, name, build, False, False, keys))


def _add_time(parser) -> None:
    parser.add_argument("-t", "--time", metavar="SECONDS", help="how long to wait before it is killed (default: 10, or its own)")


def _stop(parser, words: list[str], build) -> int:
    _add_time(parser)
    parser.add_argument("-s", "--signal", metavar="SIGNAL", help="another signal than its own")
    options, names = _chosen(parser, words, _RUNNING)
    seconds = _seconds(parser, "--time", options.time, None)
    number = None if options.signal is None else signal_number(options.signal)
    return _each(names, lambda name: commands.stop(Store(), name, seconds, number))


def _restart(parser, words: list[str], build) -> int:
    _add_time(parser)
    options, names = _chosen(parser, words, _ANY)
    seconds = _seconds(parser, "--time", options.time, None)
    return _each(names, lambda name: commands.restart(Store(), name, seconds, build))


def _kill(parser, words: list[str], build) -> int:
    parser.add_argument("-s", "--signal", metavar="SIGNAL", default="KILL", help="which (default: KILL)")
    options, names = _chosen(parser, words, ("running", "paused"))
    try:
        number = signal_number(options.signal)
    except ContainerError as problem:
        raise CannotRun(f"{problem}; give a name or a number, as in INT or 2") from None
    for name in names:  # all first: in the words of an OCI runtime what follows the id is a signal, and no container
        Store().find(name).close()
    return _each(names, lambda name: commands.kill(Store(), name, number))


def _rm(parser, words: list[str], build) -> int:
    parser.add_argument("-f", "--force", action="store_true", help="also what runs; what is not there is no failure")
    parser.add_argument("-v", "--volumes", action="store_true", help="nothing: no volume is a container's own")
    options, names = _chosen(parser, words, _ANY)
    return _each(names, lambda name: commands.remove(Store(), name, options.force))


def _wait(parser, words: list[str], build) -> int:
    _, names = _names(parser, words)
    return _each(names, lambda name: print(commands.wait(Store(), name), flush=True), False)


def _pause(parser, words: list[str], build) -> int:
    return _each(_chosen(parser, words, ("running",))[1], lambda name: commands.pause(Store(), name, True))


def _unpause(parser, words: list[str], build) -> int:
    return _each(_chosen(parser, words, ("paused",))[1], lambda name: commands.pause(Store(), name, False))


def _rename(parser, words: list[str], build) -> int:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("new", metavar="NEW")
    options = parser.parse_args(words)
    store = Store()
    store.rename(store.find(options.name), options.new)
    return 0


# -- streams, files ---------------------------------------------------------------------------------


def _attach(parser, words: list[str], build) -> int:
    parser.add_argument("--no-stdin", action="store_true", help="not its standard input")
    parser.add_argument("--sig-proxy", choices=("true", "false"), default="true", help="pass signals on (default: true)")
    _add_keys(parser)
    parser.add_argument("name", metavar="NAME")
    options = parser.parse_intermixed_args(words)
    keys = detach_keys(options.detach_keys)
    return commands.attach_to(Store(), options.name, options.no_stdin, keys, options.sig_proxy == "true")


def _logs(parser, words: list[str], build) -> int:
    from containers.engine import logs

    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on with what it writes, until it ends")
    add("-n", "--tail", metavar="N", default="all", help="the last N lines")
    add("--since", metavar="TIME", help="what is not older than TIME: 2026-01-31T12:00:00Z, or 1h30m ago")
    add("--until", metavar="TIME", help="what is not newer")
    add("-t", "--timestamps", action="store_true", help="with the time of each line")
    add("name", metavar="NAME")
    options = parser.parse_intermixed_args(words)
    tail = None
    if options.tail not in ("all", "-1"):
        if not options.tail.isdecimal():
            parser.error(f"--tail {options.tail}: give a number of lines, or all")
        tail = int(options.tail)
    since = None if options.since is None else logs.when("since", options.since)
    until = None if options.until is None else logs.when("until", options.until)
    logs.show(Store().find(options.name), tail, since, until, options.timestamps, options.follow)
    return 0


def _exec(parser, words: list[str], build) -> int:
    add = parser.add_argument
    parser.usage = "int80 exec [options] NAME COMMAND [ARG...]"
    add("-i", "--interactive", action="store_true", help="hand the standard input on")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-d", "--detach", action="store_true", help="do not wait for its end")
    add("-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="set, or pass on, a variable")
    add("--env-file", metavar="FILE", action="append", default=[], help="variables from a file, a line for each")
    add("-u", "--user", metavar="USER[:GROUP]", help="who it is, by number or name (default: as the container)")
    add("-w", "--workdir", metavar="DIR", help="where it starts (default: as the container)")
    _add_keys(parser)
    add("name", metavar="NAME", help=argparse.SUPPRESS)
    add("command", metavar="COMMAND", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command given")
    env = variables(options.env_file, options.env)
    if options.tty and "TERM" in os.environ:
        env.setdefault("TERM", os.environ["TERM"])
    wanted = {
        "argv": command, "env": env, "user": options.user, "workdir": options.workdir, "terminal": options.tty,
        "detach": options.detach,
    }  # fmt: skip
    return commands.execute(Store(), options.name, wanted, options.interactive, detach_keys(options.detach_keys))


def _cp(parser, words: list[str], build) -> int:
    parser.usage = "int80 cp [options] NAME:PATH PATH|-\n       int80 cp [options] PATH|- NAME:PATH"
    parser.add_argument("-a", "--archive", action="store_true", help="with owners")
    parser.add_argument("-L", "--follow-link", action="store_true", help="what a symlink at the source leads to, not itself")
    parser.add_argument("-q", "--quiet", action="store_true", help="nothing: it says nothing")
    parser.add_argument("source", metavar="SOURCE", help=argparse.SUPPRESS)
    parser.add_argument("target", metavar="TARGET", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(words)
    commands.copy(Store(), options.source, options.target, options.follow_link, options.archive, build)
    return 0


def _commit(parser, words: list[str], build) -> int:
    from containers.engine.imaging import commit
    from containers.images.commit import changes_of
    from containers.images.reference import Reference

    add = parser.add_argument
    add("-c", "--change", metavar="TEXT", action="append", default=[], help="a line of a Dockerfile: 'CMD [\"sh\"]'")
    add("-m", "--message", metavar="TEXT", help="a comment in its history")
    add("-a", "--author", metavar="NAME")
    add("-p", "--pause", action="store_true", help="nothing: it is paused meanwhile in any case, unless --no-pause")
    add("--no-pause", action="store_true", help="let it run on")
    add("name", metavar="NAME")
    add("image", metavar="IMAGE", nargs="?")
    options = parser.parse_intermixed_args(words)
    name = None if options.image is None else Reference.parse(options.image).name
    changes = changes_of(options.change)
    print(commit(Store().find(options.name), name, changes, options.message, options.author, not options.no_pause))
    return 0


def _export(parser, words: list[str], build) -> int:
    from containers.engine.imaging import export

    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="where to (default: the standard output)")
    parser.add_argument("name", metavar="NAME")
    options = parser.parse_intermixed_args(words)
    export(Store().find(options.name), options.output, build)
    return 0


def _diff(parser, words: list[str], build) -> int:
    from containers.engine.changed import show

    parser.add_argument("name", metavar="NAME")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--stat", action="store_true", help="lines added and removed, file by file")
    how.add_argument("--patch", action="store_true", help="a patch of the text files")
    how.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(words)
    show(Store().find(options.name), options.stat, options.patch, options.json, build)
    return 0


_ACTIONS = {
    "ps": _ps, "start": _start, "restart": _restart, "stop": _stop, "kill": _kill, "rm": _rm, "wait": _wait, "logs": _logs,
    "attach": _attach, "exec": _exec, "cp": _cp, "diff": _diff, "inspect": _inspect, "stats": _stats, "top": _top,
    "rename": _rename, "commit": _commit, "export": _export, "pause": _pause, "unpause": _unpause, "port": _port,
    "prune": _prune, "exists": _exists,
}  # fmt: skip
