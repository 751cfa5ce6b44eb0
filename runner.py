"""The command line of int80, and nothing else.

Only what a subcommand needs is imported when it runs: starting a guest must stay quick.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys

EXIT_FAILURE = 125  # our own failure, as env(1), chroot(1) and docker(1) have it

_COMMANDS = {
    "run": "run a command in a sandbox",
    "trace": "log the system calls of a command, without a sandbox",
    "try": "run a command on this machine's root and keep its changes apart",
    "diff": "show what a try would change, or a container has changed",
    "apply": "make a try's changes to this machine",
    "discard": "forget tries",
    "pull": "fetch images into the store",
    "images": "list the images of the store",
    "rmi": "remove images from the store",
    "tag": "give an image more names",
    "save": "write images to a file, as docker does",
    "load": "take up the images of such a file",
    "history": "show how an image was made",
    "login": "keep a name and a password for a registry",
    "logout": "forget the name and password",
    "import": "make an image of a root tarball",
    "export": "write an image, or the root of a container, for other tools",
    "commit": "make an image of what a sandbox or a container has changed",
    "retarget": "turn the syscall instructions of a static program into int 0x80",
    "check": "say what this machine offers and what follows",
}
_RUNTIME_COMMANDS = (
    "create", "start", "state", "kill", "delete", "exec", "list", "ps", "pause", "resume", "update", "events", "spec", "features",
)  # fmt: skip
_EVERYDAY_COMMANDS = (
    "ps", "start", "restart", "stop", "kill", "rm", "wait", "logs", "attach", "exec", "cp", "diff", "inspect", "stats", "top",
    "rename", "pause", "unpause", "port", "prune", "exists",
)  # fmt: skip
_GROUPS = {  # words that may stand before a command, and the commands
    "image": ("ls", "rm", "pull", "tag", "save", "load", "history", "import", "inspect", "exists", "prune"),
    "container": ("ls", "run", *(command for command in _EVERYDAY_COMMANDS if command != "ps"), "commit", "export"),
    "system": ("prune",),
}
_RUNTIME_OPTIONS = ("root", "log", "log-format", "criu", "rootless", "cgroup-manager", "debug", "systemd-cgroup")
_BUNDLE_RUN = {  # the options of an OCI `run`, and whether each takes a value
    "--console-socket": True, "--pid-file": True, "--preserve-fds": True, "--no-pivot": False, "--no-new-keyring": False,
    "--no-subreaper": False, "--detach": False, "-d": False, "--keep": False,
}  # fmt: skip


_ABOUT = ("--help", "-h", "help", "--version", "-V", "-v", "version")


def _columns() -> int:
    """How wide help is to be: as `COLUMNS` says, or the terminal, or 80."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and 0 < len(told) < 5:
        return int(told)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:
        return 80


class _Help(argparse.HelpFormatter):
    """Help as wide as the terminal; what argparse would ask for that costs more than all the rest of the parser."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=max(40, _columns() - 2))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit with 125, or with `failure`."""

    failure = EXIT_FAILURE
    explain = None  # what makes a better message of one

    def __init__(self, prog: str, **more) -> None:
        super().__init__(prog, formatter_class=_Help, **more)

    def error(self, message: str):
        message = _plain(message)
        if self.explain is not None:
            message = self.explain(message)
        self.exit(self.failure, f"int80: {message}; see `{self.prog} --help`\n")


def _plain(message: str) -> str:
    """What argparse says of an option's value, with the value first and what to give instead."""
    import re

    about, _, what = message.removeprefix("argument ").partition(": ")
    if about == message or not message.startswith("argument "):
        return message
    names = about.split("/")
    option = next((name for name in names if name.startswith("--")), names[0])
    if found := re.fullmatch(r"invalid int value: '(.*)'", what, re.DOTALL):
        return f"{option} {found[1]}: give a number"
    if found := re.fullmatch(r"invalid choice: '(.*)' \(choose from (.*)\)", what, re.DOTALL):
        return f"{option} {found[1]}: give one of {found[2].replace(chr(39), '')}"
    return f"{option}: a value is needed" if what == "expected one argument" else f"{option}: {what}"


def main(arguments: list[str] | None = None) -> None:
    """The `int80` command; exits with the guest's status, or 125 for a failure of ours, which it is that nobody reads on."""
    try:
        try:
            _main(sys.argv[1:] if arguments is None else arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        from containers.status import silence_unread

        if not silence_unread():
            raise
        sys.exit(EXIT_FAILURE)


def _main(arguments: list[str]) -> None:
    given = arguments
    if arguments and arguments[0] in _GROUPS:
        if len(arguments) == 1 or arguments[1] in _ABOUT:
            of_it = f"int80 {arguments[0]} COMMAND: {', '.join(_GROUPS[arguments[0]])}; each has a --help"
            (sys.stdout if len(arguments) > 1 else sys.stderr).write(_filled(of_it))
            sys.exit(0 if len(arguments) > 1 else EXIT_FAILURE)
        from containers.words import without_group

        arguments = without_group(arguments)
    if arguments and _is_for_runtime(arguments):
        from containers.oci.commandline import main as runtime

        _open_standard_streams()
        sys.exit(runtime(_Parser, arguments, _ABOUT, _about))
    if arguments and _is_everyday(arguments):
        from containers.engine.commandline import main as everyday

        _open_standard_streams()
        sys.exit(everyday(_Parser, arguments[0], arguments[1:], _build))
    if arguments and arguments[0] in _COMMANDS:
        command = {
            "run": _run, "trace": _trace,
            "try": _try, "diff": _diff, "apply": _apply, "discard": _discard, "retarget": _retarget, "check": _check,
        }.get(arguments[0]) or functools.partial(_images, arguments[0])  # fmt: skip
        sys.exit(command(arguments[1:]))
    if arguments and arguments[0] in _ABOUT:
        sys.exit(_about(arguments[0]))
    if not arguments:
        sys.stderr.write(_overview())
    else:
        sys.stderr.write(f"int80: {_unknown(given)}\n")
    sys.exit(EXIT_FAILURE)


def _about(word: str) -> int:
    """Answer one of `_ABOUT`."""
    if word not in ("--version", "-V", "-v", "version"):
        sys.stdout.write(_overview())
        return 0
    from abi import __version__

    print(f"int80 {__version__}")
    return 0


def _unknown(words: list[str]) -> str:
    """What to say of a command that there is not."""
    if words[0] in _GROUPS:
        return f"unknown command {' '.join(words[:2])!r}; `int80 {words[0]} --help` lists those there are"
    import difflib

    every = [*dict.fromkeys((*_COMMANDS, *_EVERYDAY_COMMANDS, *_RUNTIME_COMMANDS))]
    near = difflib.get_close_matches(words[0], every, 1)
    meant = f"is {near[0]} meant? " if near else ""
    return f"unknown command {words[0]!r}; {meant}`int80 --help` lists those there are"


def _filled(paragraph: str, indent: str = "") -> str:
    import textwrap

    return textwrap.fill(paragraph, max(40, _columns() - 2), initial_indent=indent, subsequent_indent=indent) + "\n"


def _overview() -> str:
    text = "int80 COMMAND [options]: programs in a sandbox of an ordinary user's rights\n\n"
    text += "".join(f"  {name:<10} {about}\n" for name, about in _COMMANDS.items())
    everyday, runtime = ", ".join(_EVERYDAY_COMMANDS), ", ".join(_RUNTIME_COMMANDS)
    for paragraph in (
        f"For containers that run -d or run --name has made: {everyday}.",
        "The same by what they are about: image ls, container rm, system prune ...",
        f"The commands of an OCI runtime, as runc has them: {runtime}, and run with --bundle.",
        "int80 COMMAND --help says more.",
    ):
        text += "\n" + _filled(paragraph, "  ")
    return text


def _is_for_runtime(arguments: list[str]) -> bool:
    """Whether these are words for an OCI runtime: a command of one, its global options, or `run` with a bundle."""
    first = arguments[0]
    if first in _RUNTIME_COMMANDS and first in _EVERYDAY_COMMANDS:
        from containers.words import name_bundle_container

        return name_bundle_container(first, arguments[1:])
    if first in _RUNTIME_COMMANDS or (first.startswith("-") and first.lstrip("-").partition("=")[0] in _RUNTIME_OPTIONS):
        return True
    if first != "run":
        return False
    words = iter(arguments[1:])
    for word in words:
        if word in ("-b", "--bundle") or word.startswith("--bundle="):
            return True
        name, equals, _ = word.partition("=")
        if name not in _BUNDLE_RUN:
            return False
        if _BUNDLE_RUN[name] and not equals:
            next(words, None)
    return False


def _is_everyday(arguments: list[str]) -> bool:
    """Whether these are words for a container that is kept; some may be about a try, an image or a directory."""
    if arguments[0] not in ("diff", "commit", "export"):
        return arguments[0] in _EVERYDAY_COMMANDS
    from containers.words import name_kept_container

    return name_kept_container(arguments[0], arguments[1:])


# -- run --------------------------------------------------------------------------------------------


def _run_parser() -> _Parser:
    parser = _Parser(
        "int80 run",
        usage="int80 run [options] [--] COMMAND [ARG...]\n       int80 run [options] IMAGE [COMMAND [ARG...]]",
        description="Run a command in a sandbox: by default on this machine's own root, of which it sees everything but "
        "secrets, and whose every change is its own and gone at the end; or in the root of an image (docs/images.md). Exit "
        "status: the command's, 128+N after signal N, 125 when int80 itself fails, 126 when the command cannot be run, 127 when "
        "it is not found.",
        allow_abbrev=False,
        add_help=False,  # -h is the hostname, as for docker
    )
    parser.explain = _explained
    add = parser.add_argument
    add("--help", action="help", help="this text")
    add("--rootfs", metavar="DIR", help="the directory that is to be /, as it is: changes stay in it")
    add("--busybox", metavar="FILE", help="a root made from a static busybox, kept in the cache; 'auto' finds or fetches one")
    add("--lower", metavar="DIR", action="append", default=[], help="a directory to lie under the changes, over those before it")
    add("--upper", metavar="DIR", help="the directory that takes the changes and keeps them, as OCI layers store them")
    add("--read-only", action="store_true", help="nothing in the root can be changed; /tmp is in memory")
    add("-d", "--detach", action="store_true", help="a container that runs on its own; its id is printed (docs/containers.md)")
    add("--name", metavar="NAME", help="a container of that name, which is kept when it has ended")
    add("--rm", action="store_true", help="a container is removed at its end; what has no name is in any case")
    add("--restart", metavar="POLICY", help="start it again at its end: no, on-failure[:N], always or unless-stopped")
    add("-l", "--label", metavar="NAME=VALUE", action="append", default=[], help="what a container is to be found by")
    add("--label-file", metavar="FILE", action="append", default=[], help="the same for the lines of a file")
    add("--cidfile", metavar="FILE", help="write a container's id to a file that is not there yet")
    add("--replace", action="store_true", help="remove the container that has the --name first")
    add("--stop-signal", metavar="SIGNAL", help="what asks a container to end (default: its image's, or TERM)")
    add("--stop-timeout", metavar="SECONDS", help="how long it has for that (default: 10)")
    add("--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", help="what to type to leave it (default: ctrl-p,ctrl-q)")
    add("--entrypoint", metavar="COMMAND", help="what to run instead of an image's own entry point ('' for none), or before it")
    about = "whether to fetch an image (default: missing)"
    add("--pull", choices=("never", "missing", "newer", "always"), default="missing", help=about)
    add("--platform", metavar="OS/ARCH", help="of an image that is there for several (default: linux/amd64)")
    add("-q", "--quiet", action="store_true", help="say nothing of fetching an image")
    for words, metavar, about in _CONTAINER_OPTIONS:
        add(*words, metavar=metavar, action="append", default=[], help=about)
    for words, metavar, about in _CONTAINER_SETTINGS:
        add(*words, metavar=metavar, help=about)
    add("--init", action="store_true", help="have a small init as process 1, which passes signals on and waits for orphans")
    _add_sandbox_options(parser, "-h")
    return parser


_CONTAINER_OPTIONS = (  # which may be given more than once
    (("--cap-add",), "CAP", "a capability to have in any case"),
    (("--cap-drop",), "CAP", "a capability that nobody inside is to have, or ALL"),
    (("--group-add",), "GROUP", "a group more for the user, by number or by name"),
    (("--security-opt",), "OPTION", "no-new-privileges, or seccomp=FILE, a profile"),
    (("--ulimit",), "NAME=SOFT[:HARD]", "a limit of setrlimit(2), as nofile=1024:4096"),
    (("--sysctl",), "NAME=VALUE", "what /proc/sys says, of what is a container's own"),
    (("--mount",), "KEY=VALUE,...", "type=bind,src=PATH,dst=PATH[,ro] or type=tmpfs,dst=PATH[,tmpfs-size=N]"),
    (("--add-host",), "NAME:ADDRESS", "a line of /etc/hosts"),
    (("--dns",), "ADDRESS", "a name server, in place of this machine's"),
    (("--dns-search",), "DOMAIN", "a domain to look names up in"),
)
_CONTAINER_SETTINGS = (
    (("-m", "--memory"), "N", "how much memory all processes may hold together, as 512m"),
    (("--cpus",), "N", "how many processors' time they may use, as 1.5"),
    (("--cpu-quota",), "US", "the same, in microseconds of each period"),
    (("--cpu-period",), "US", "how long a period is (default: 100000)"),
    (("-c", "--cpu-shares"), "N", "their part where others want the processors too (default: 1024)"),
    (("--cpuset-cpus",), "LIST", "which processors they run on, as 0-3,7"),
    (("--oom-score-adj",), "N", "how gladly the kernel kills them when memory is short, -1000 to 1000"),
    (("--shm-size",), "N", "how much /dev/shm holds"),
    (("--umask",), "MODE", "the umask to begin with (default: 022)"),
    (("--domainname",), "NAME", "the NIS domain that uname says"),
)


_FURTHER = (
    "init",
    *(words[-1].removeprefix("--").replace("-", "_") for words, _, _ in (*_CONTAINER_OPTIONS, *_CONTAINER_SETTINGS)),
)


def _explained(message: str) -> str:
    from containers.runoptions import refusal

    return refusal(message)


def _add_sandbox_options(parser: _Parser, *of_hostname: str) -> None:
    """What `run` and `try` have in common; `of_hostname`: another word for --hostname."""
    add = parser.add_argument
    add("-v", "--volume", metavar="SRC:DST[:ro]", action="append", default=[], help="show a file or directory of the host at DST")
    add("--tmpfs", metavar="DST[:size=N]", action="append", default=[], help="an empty directory in memory at DST")
    add("--hide", metavar="PATH", action="append", default=[], help="one more path of this machine that is not to be seen")
    add("--expose", metavar="PATH", action="append", default=[], help="a path to be seen although it is on the list of secrets")
    add("-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="set, or pass on, a variable")
    add("--env-file", metavar="FILE", action="append", default=[], help="the same for the lines of a file")
    add("-w", "--workdir", metavar="DIR", help="where to start (default: here on this machine's root, else /)")
    add(*of_hostname, "--hostname", metavar="NAME", default="int80", help="what uname says (default: int80)")
    add("-u", "--user", metavar="UID[:GID]", help="who the command believes it is (default: 0:0; of an image also by name)")
    add("-t", "--tty", action="store_true", help="give the command a terminal of its own, relayed from and to int80's streams")
    add("-i", "--interactive", action="store_true", help="have a container read the standard input; one without a name does")
    about = "none but a loopback of its own (default), or this machine's"
    add("--net", "--network", dest="net", choices=("none", "host"), default="none", help=about)
    add("--allow", metavar="HOST:PORT", action="append", default=[], help="with --net host: let connect there, and nowhere else")
    add("-p", "--publish", metavar="HOST:GUEST", action="append", default=[], help="with --net host: port GUEST is HOST out here")
    add("--pids-limit", metavar="N", type=int, help="at most N tasks at once")
    add("--no-patch", action="store_true", help="never rewrite int 0x80 sites: every one of them traps, every time")
    add("--no-ia32", action="store_true", help="take the gate's path for hosts without IA32 emulation (for tests)")
    add("--trace", metavar="FILE", help="log the calls to the standard error, or with --trace=FILE to FILE")
    add("--trace-options", metavar="OPTIONS", help="how, in the words of `int80 trace`, as one argument: '-e trace=%%file -T'")
    add("--policy", metavar="FILE", help="hold the command to what FILE allows (`int80 trace --policy-out` writes one)")
    add("--policy-report", action="store_true", help="say at the end what it asked for beyond that")
    add("--hook", metavar="FILE.py", action="append", default=[], help="functions of yours that see calls first (docs/hooks.md)")
    add("--verbose", action="store_true", help="report guest crashes and calls that are not supported")
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _signal(parser: _Parser, text: str) -> int:
    from containers.images.errors import ImageError
    from containers.images.run import signal_number

    try:
        return signal_number(text)
    except ImageError:
        parser.error(f"--stop-signal {text}: no signal; give a name or a number, as in INT or 2")


def _parsed(parser: _Parser, arguments: list[str]) -> argparse.Namespace:
    """The options, up to the first word that is none: a bare ``--trace`` takes no file, a value may begin with a dash, and
    what takes no value takes ``true`` and ``false``, as docker's flags do.  ``-h`` alone is no name of a host."""
    result: list[str] = []
    words = iter(["--help"] if arguments == ["-h"] else arguments)
    known = parser._option_string_actions
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            result.append(word)
            break
        name, equals, value = word.partition("=")
        action = known.get(name)
        if word == "--trace":
            word = "--trace="
        elif action is not None and action.nargs == 0 and value in ("true", "false"):
            if value == "false":
                continue
            word = name
        elif word.startswith("--"):
            if action is not None and action.nargs != 0 and not equals and (value := next(words, None)) is not None:
                word = f"{word}={value}"
        else:  # a cluster of letters: the first that takes a value has what follows it, or the next word
            letters = [known.get(f"-{letter}") for letter in word[1:]]
            taking = next((index for index, found in enumerate(letters) if found is None or found.nargs != 0), None)
            if taking == len(letters) - 1 and letters[taking] is not None and (value := next(words, None)) is not None:
                if taking:
                    result.append(word[:-1])
                word = f"{letters[taking].option_strings[-1]}={value}"
        result.append(word)
    return parser.parse_args([*result, *words])


def _run(arguments: list[str]) -> int:
    parser = _run_parser()
    options = _parsed(parser, arguments)
    from containers.sandbox import CannotRun, run

    _open_standard_streams()
    try:
        named = options.name is not None or options.label or options.label_file or options.cidfile is not None
        if options.detach or named or options.restart is not None:
            from containers.engine.commandline import run as run_container

            return run_container(parser, options, arguments, _build)
        return run(_run_settings(parser, options, arguments))
    except CannotRun as problem:
        sys.stderr.write(f"int80: {problem}{_hint(problem, options)}\n")
        return problem.status


def _hint(problem: Exception, options: argparse.Namespace) -> str:
    """What else may have been meant by a command that is not there: an image that nobody has pulled."""
    word = options.command[0] if options.command else ""
    if problem.status != 127 or options.rootfs or options.busybox or options.lower or not word.islower() or not word.isalnum():
        return ""
    is_it = os.fsencode(word) == getattr(problem, "command", None)
    return f"; if an image is meant, `int80 pull {word}` fetches it" if is_it else ""


def _build(arguments: list[str], digest: str | None = None):
    """The `Settings` of a container that is kept, from the words of `run`; `digest`: the manifest of its image."""
    parser = _run_parser()
    options = _parsed(parser, arguments)
    settings = _run_settings(parser, options, arguments, digest)
    if options.busybox is not None:  # which is everybody's: what a container changes there is its own
        settings.rootfs, settings.lowers = None, [settings.rootfs]
    return settings


def _run_settings(parser: _Parser, options: argparse.Namespace, arguments: list[str], digest: str | None = None):
    """The `Settings` that `run` is given.  `CannotRun`."""
    given = [name for name in ("rootfs", "busybox", "lower") if getattr(options, name)]
    if len(given) > 1:
        parser.error(f"--{given[0]} and --{given[1]} exclude each other: each says what the root is")
    if options.upper is not None and given and given != ["lower"]:
        parser.error(f"--upper takes changes to layers, and --{given[0]} has none; leave one of them out")
    image = None
    if digest or (not given and _names_image(arguments, options)):
        from containers.images.run import pinned, prepare

        image = pinned(digest) if digest else prepare(options.command[0], options.pull, options.platform, options.quiet)
        options.command = ["--", *image.command(options.entrypoint, options.command[1:])]
    elif options.platform is not None:
        parser.error("--platform: is about an image; name one")
    elif options.entrypoint:
        options.command = ["--", options.entrypoint, *options.command[options.command[:1] == ["--"] :]]
    settings = _settings(parser, options, not given and image is None, image)
    settings.read_only = options.read_only
    settings.upper = options.upper
    settings.lowers = options.lower or ([] if given or image is not None else ["/"])
    settings.rootfs = options.rootfs
    if options.busybox is not None:
        from containers.rootfs import default_root

        settings.rootfs = default_root(None if options.busybox == "auto" else options.busybox)
    if options.stop_signal is not None:
        settings.stop_signal = _signal(parser, options.stop_signal)
    elif image is not None and image.stop_signal != signal.SIGTERM:
        settings.stop_signal = image.stop_signal
    if image is not None or any(getattr(options, name) for name in _FURTHER):
        from containers import runoptions

        runoptions.apply(options, settings)
        settings.files = runoptions.name_files(settings, options.add_host, options.dns, options.dns_search)
    return settings


def _names_image(arguments: list[str], options: argparse.Namespace) -> bool:
    """Whether the first word is an image; what is plainly a command costs a look at the store's index at most."""
    word = options.command[0] if options.command else ""
    if not word or word == "--" or arguments[-len(options.command) - 1 : -len(options.command)] == ["--"]:
        return False
    if ":" not in word and "/" not in word:
        base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        try:
            with open(os.path.join(base, "int80/images/index.json"), "rb") as file:
                if os.fsencode(word) not in file.read() and not (len(word) >= 12 and set(word) <= set("0123456789abcdef")):
                    return False  # neither a name nor the beginning of an id
        except OSError:
            return False
    elif word.startswith(("/", "./", "../")) or os.path.exists(word):
        return False
    from containers.images.run import is_image

    return is_image(word)


def _open_standard_streams() -> None:
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # else a file of ours would take the number, and the guest's output
            os.set_inheritable(fd, True)


def _settings(parser: _Parser, options: argparse.Namespace, on_host: bool, image=None):
    """The `Settings` of a sandbox; `on_host`: its root is this machine's; `image`: containers.images.run.ImageRoot."""
    from containers.sandbox import Settings

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command given")
    settings = Settings(None, [os.fsencode(word) for word in command])
    settings.workdir = os.fsencode(options.workdir or (_here() if on_host else "/"))
    settings.workdir_asked = options.workdir is not None
    if image is None:
        settings.uid_gid = _user(parser, options.user or "0:0")
        settings.env = _environment(settings.uid_gid[0], on_host)
    else:
        settings.image = image
        image.user = image.user if options.user is None else options.user
        settings.env = image.environment() | _terminal()
        settings.workdir = os.fsencode(options.workdir or image.workdir)
    if options.env or options.env_file:
        from containers.variables import variables

        given = variables(options.env_file, options.env)
        settings.env |= {os.fsencode(name): os.fsencode(value) for name, value in given.items()}
    settings.hostname = _hostname(parser, options.hostname)
    if image is not None:
        settings.env.setdefault(b"HOSTNAME", settings.hostname)
    settings.tty = options.tty
    if options.tty:
        settings.env.setdefault(b"TERM", b"xterm")
    settings.patch = not options.no_patch
    settings.force_segv = options.no_ia32
    settings.verbose = options.verbose
    settings.limits.pids = options.pids_limit
    settings.volumes = [_volume(parser, text) for text in options.volume]
    settings.tmpfs = [_tmpfs(parser, text) for text in options.tmpfs]
    if options.pids_limit is not None and options.pids_limit < 1:
        parser.error(f"--pids-limit {options.pids_limit}: at least 1 is needed, for the command itself")
    _set_network(parser, settings, options)
    settings.hooks = _hooks(options.hook)
    settings.policing = _policing(parser, options)
    settings.trace = _log(parser, options, command)
    if on_host:
        from containers.secrets import hidden

        settings.hidden = hidden(options.hide, options.expose)
    return settings


def _set_network(parser: _Parser, settings, options: argparse.Namespace) -> None:
    """--net, --allow and --publish."""
    settings.net = options.net
    for name, given in (("allow", options.allow), ("publish", options.publish)):
        if given and options.net != "host":
            parser.error(f"--{name} {given[0]}: is about this machine's network; add --net host")
    if options.allow:
        from containers.netoptions import allowed

        try:
            settings.allowed = [place for text in options.allow for place in allowed(text)]
        except ValueError as problem:
            parser.error(str(problem))
    for text in options.publish:
        theirs, _, ours = text.removesuffix("/tcp").partition(":")
        if not _is_port(theirs) or not _is_port(ours):
            parser.error(f"--publish {text}: give two port numbers, as in 8080:80")
        if int(ours) in settings.published or int(theirs) in settings.published.values():
            parser.error(f"--publish {text}: that port is published already")
        settings.published[int(ours)] = int(theirs)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16


def _policing(parser: _Parser, options: argparse.Namespace):
    if options.policy is None:
        if options.policy_report:
            parser.error("--policy-report: give the --policy too that it is about")
        return None
    from containers.policing import Policing
    from containers.sandbox import CannotRun
    from tracer.log.policy import Policy, PolicyError

    try:
        return Policing(Policy.load(options.policy), options.policy_report)
    except PolicyError as problem:
        raise CannotRun(f"--policy {problem}") from None
    except OSError as problem:
        raise CannotRun(f"--policy {options.policy}: {problem.strerror.lower()}") from None


def _log(parser: _Parser, options: argparse.Namespace, command: list[str]):
    """The recorder and the injector of a traced sandbox, None where no trace is wanted."""
    if options.trace is None and options.trace_options is None:
        return None
    import shlex

    from tracer.log.inject import Injector
    from tracer.log.names import tables
    from tracer.log.options import add_options, injections, open_log

    words = _Parser("int80 run --trace-options", add_help=False, allow_abbrev=False)
    add_options(words)
    try:
        chosen = words.parse_args(shlex.split(options.trace_options or ""))
        if options.trace:
            chosen.output = options.trace
        chosen.command = command
        found = injections(chosen, tables())
        return open_log(chosen, tables()), Injector(found) if found else None
    except ValueError as problem:
        of_trace = options.trace and getattr(problem, "file", None) == options.trace
        parser.error(f"--trace={problem}" if of_trace else f"--trace-options: {problem}")


def _hooks(paths: list[str]):
    if not paths:
        return None
    from abi.hooks import HookError, Hooks
    from containers.sandbox import CannotRun
    from tracer.log.names import linux_numbers

    hooks = Hooks()
    try:
        for path in paths:
            hooks.load(path, linux_numbers())
    except HookError as problem:
        raise CannotRun(str(problem)) from None
    return hooks


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"  # the directory is gone


def _volume(parser: _Parser, text: str):
    from containers.sandbox import Volume

    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    options = set(filter(None, mode.split(",")))
    if not source or not target.startswith("/") or options - _VOLUME_OPTIONS or options >= {"ro", "rw"}:
        parser.error(f"--volume {text}: give SRC:DST or SRC:DST:ro, DST beginning with /")
    return Volume(source, os.fsencode(target), "ro" in options)


_VOLUME_OPTIONS = {  # the rest is about labels and about mounts that are passed on, of which there are none here
    "ro", "rw", "z", "Z", "private", "rprivate", "slave", "rslave", "shared", "rshared", "bind", "rbind", "cached", "delegated",
    "consistent", "nocopy",
}  # fmt: skip
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _tmpfs(parser: _Parser, text: str):
    from containers.sandbox import Memory

    target, _, rest = text.partition(":")
    size, mode, words = None, 0o1777, set()
    for option in filter(None, rest.split(",")):
        name, equals, value = option.partition("=")
        number, unit = (value[:-1], value[-1:].lower()) if value[-1:].lower() in ("k", "m", "g") else (value, "")
        if name == "size" and number.isascii() and number.isdecimal():
            size = int(number) * _UNITS[unit]
        elif name == "mode" and value and not set(value) - set("01234567") and int(value, 8) <= 0o7777:
            mode = int(value, 8)
        elif not equals and name in ("ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec"):
            words.add(name)
        else:
            parser.error(f"--tmpfs {text}: {option} is not understood; give DST or DST:size=N, as in /scratch:size=64m")
    if not target.startswith("/"):
        parser.error(f"--tmpfs {text}: give DST or DST:size=N, as in /scratch:size=64m")
    return Memory(os.fsencode(target), size, mode, frozenset(words))


def _user(parser: _Parser, text: str) -> tuple[int, int]:
    uid, colon, gid = text.partition(":")
    if not uid.isdecimal() or (colon and not gid.isdecimal()) or int(uid) >= 2**32 - 1 or int(gid or 0) >= 2**32 - 1:
        parser.error(f"--user {text}: give numbers, as in 1000 or 1000:1000")
    return int(uid), int(gid or 0)


def _environment(uid: int, on_host: bool) -> dict[bytes, bytes]:
    """What the command's environment holds unless told otherwise: a PATH, a HOME, the terminal's kind.

    On this machine's root it is this machine's environment, but for secrets.
    """
    from containers.sandbox import DEFAULT_PATH

    env = {b"PATH": DEFAULT_PATH, b"HOME": b"/root" if uid == 0 else b"/"}
    if on_host:
        from containers.secrets import harmless_environment

        return env | harmless_environment()
    return env | _terminal()


def _terminal() -> dict[bytes, bytes]:
    return {b"TERM": os.fsencode(os.environ["TERM"])} if "TERM" in os.environ else {}


def _hostname(parser: _Parser, name: str) -> bytes:
    encoded = os.fsencode(name)
    if not 0 < len(encoded) <= 64:
        parser.error(f"--hostname {name}: 1 to 64 bytes")
    return encoded


# -- try --------------------------------------------------------------------------------------------


def _try(arguments: list[str]) -> int:
    parser = _Parser(
        "int80 try",
        usage="int80 try [-n NAME] [options] [--] COMMAND [ARG...]\n       int80 try --list",
        description="Run a command on this machine's root, keep what it changes apart, and show that at the end: "
        "`int80 diff` shows it again, `int80 apply` makes it so on this machine, `int80 discard` forgets it.",
        allow_abbrev=False,
    )
    parser.add_argument("-n", "--name", metavar="NAME", help="what to call it (default: a new name); one that is there is run on")
    parser.add_argument("--list", action="store_true", help="list what has been tried and not discarded")
    _add_sandbox_options(parser)
    options = _parsed(parser, arguments)
    from containers import tries, trying
    from containers.sandbox import CannotRun, run

    if options.list:
        return trying.list_tries()
    _open_standard_streams()
    try:
        settings = _settings(parser, options, on_host=True)
        settings.lowers = ["/"]
        attempt = tries.begin(options.name, [os.fsdecode(word) for word in settings.argv])
        settings.store = str(attempt.path)
        status = EXIT_FAILURE
        try:
            status = run(settings)
            attempt.update(status=status)
        finally:
            attempt.unlock()
    except CannotRun as problem:
        sys.stderr.write(f"int80: {problem}\n")
        return problem.status
    return status if trying.summary(attempt.name) == 0 else EXIT_FAILURE


def _diff(arguments: list[str]) -> int:
    about = "Show what a try would change, or what a container has changed."
    parser = _Parser("int80 diff", description=about, allow_abbrev=False)
    parser.add_argument("name", metavar="NAME")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--stat", action="store_true", help="lines added and removed, file by file")
    how.add_argument("--patch", action="store_true", help="a patch of the text files, for `patch -p1`")
    how.add_argument("--json", action="store_true", help="one JSON document (docs/guide.md)")
    options = parser.parse_args(arguments)
    from containers.trying import diff

    return diff(options.name, options.stat, options.patch, options.json)


def _apply(arguments: list[str]) -> int:
    parser = _Parser(
        "int80 apply",
        description="Make a try's changes to this machine, file by file; what has changed here since is left alone, and said. "
        "Exit status: 1 when something was.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="only these, and what is below them")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    options = parser.parse_intermixed_args(arguments)
    from containers.trying import apply

    return apply(options.name, options.paths, options.yes)


def _discard(arguments: list[str]) -> int:
    parser = _Parser("int80 discard", description="Forget tries and what they changed.", allow_abbrev=False)
    parser.add_argument("names", metavar="NAME", nargs="+")
    from containers.trying import discard

    return discard(parser.parse_args(arguments).names)


# -- images ---------------------------------------------------------------------------------------


def _images(command: str, arguments: list[str]) -> int:
    from containers.images import commandline
    from containers.sandbox import CannotRun

    try:
        return commandline.run(command, arguments, _Parser)
    except CannotRun as problem:
        sys.stderr.write(f"int80: {problem}\n")
        return problem.status


# -- trace ------------------------------------------------------------------------------------------


def _trace(arguments: list[str]) -> int:
    import gc

    gc.disable()  # until there is something to trace: what is imported stays, and looking for what does not takes a while
    parser = _Parser(
        "int80 trace",
        usage="int80 trace [options] [--] COMMAND [ARG...]\n       int80 trace [options] -p PID",
        description="Log the system calls of a command and of everything it starts, as strace does. Exit status: the "
        "command's, 128+N after signal N, 125 when int80 itself fails, 126 when the command cannot be run, 127 when it is "
        "not found.",
        allow_abbrev=False,
    )
    from tracer.log.command import trace

    _open_standard_streams()
    status = trace(parser, arguments)
    # The log is written and closed. What Python would tidy up now takes a tenth of what a small program is traced in, and
    # the kernel frees it as well.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return status
    os._exit(status)


# -- retarget ---------------------------------------------------------------------------------------


def _retarget(arguments: list[str]) -> int:
    parser = _Parser(
        "int80 retarget",
        description="Write a copy of a static x86-64 program whose every syscall instruction is int 0x80.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="IN")
    parser.add_argument("target", metavar="OUT")
    options = parser.parse_args(arguments)
    from tracer.retarget import RetargetError, retarget

    try:
        with open(options.source, "rb") as file:
            data = file.read()
            mode = os.fstat(file.fileno()).st_mode & 0o777
        changed, count = retarget(data)
        temporary = f"{options.target}.int80-{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(changed)
                os.fchmod(file.fileno(), mode)
            os.replace(temporary, options.target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
    except RetargetError as problem:
        sys.stderr.write(f"int80: {options.source}: {problem}\n")
        return EXIT_FAILURE
    except OSError as problem:
        sys.stderr.write(f"int80: {problem.filename}: {problem.strerror.lower()}\n")
        return EXIT_FAILURE
    print(f"{options.target}: {count} syscall instruction{'' if count == 1 else 's'} turned into int 0x80")
    return 0


# -- check ------------------------------------------------------------------------------------------


def _check(arguments: list[str]) -> int:
    parser = _Parser("int80 check", description="Say what this machine offers and what follows.", allow_abbrev=False)
    parser.parse_args(arguments)
    from tracer.check import report

    return report()


if __name__ == "__main__":
    main()
