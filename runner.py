"""The command line of int80, and nothing else.

Only what a subcommand needs is imported when it runs: starting a guest must stay quick.
"""

from __future__ import annotations

import argparse
import os
import sys

EXIT_FAILURE = 125  # our own failure, as env(1), chroot(1) and docker(1) have it

_COMMANDS = {
    "run": "run a command in a sandbox",
    "retarget": "turn the syscall instructions of a static program into int 0x80",
    "check": "say what this machine offers and what follows",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit with 125."""

    def error(self, message: str):
        self.exit(EXIT_FAILURE, f"int80: {message}; see `{self.prog} --help`\n")


def main(arguments: list[str] | None = None) -> None:
    """The `int80` command; exits with the guest's status, or 125 for a failure of ours."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in _COMMANDS:
        command = {"run": _run, "retarget": _retarget, "check": _check}[arguments[0]]
        sys.exit(command(arguments[1:]))
    if arguments and arguments[0] in ("--version", "-V"):
        from abi import __version__

        print(f"int80 {__version__}")
        sys.exit(0)
    text = "int80 COMMAND [options]: Linux programs in a sandbox of an ordinary user's rights\n\n"
    text += "".join(f"  {name:<10} {about}\n" for name, about in _COMMANDS.items())
    text += "\n  int80 COMMAND --help says more.\n"
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        (sys.stdout if arguments else sys.stderr).write(text)
        sys.exit(0 if arguments else EXIT_FAILURE)
    sys.stderr.write(f"int80: unknown command {arguments[0]!r}; there are {', '.join(_COMMANDS)}\n")
    sys.exit(EXIT_FAILURE)


# -- run --------------------------------------------------------------------------------------------


def _run_parser() -> _Parser:
    parser = _Parser(
        "int80 run",
        usage="int80 run [options] [--] COMMAND [ARG...]",
        description="Run a command in a sandbox. Exit status: the command's, 128+N after signal N, 125 when int80 "
        "itself fails, 126 when the command cannot be run, 127 when it is not found.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--rootfs", metavar="DIR", help="the directory that is to be / (default: a busybox root, kept in the cache)")
    add("--busybox", metavar="FILE", help="the static busybox to make the default root from")
    add("--read-only", action="store_true", help="nothing in the root can be changed; /tmp is in memory")
    add("-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="set, or pass on, a variable")
    add("-w", "--workdir", metavar="DIR", default="/", help="where to start (default: /)")
    add("--hostname", metavar="NAME", default="int80", help="what uname says (default: int80)")
    add("-u", "--user", metavar="UID[:GID]", default="0:0", help="who the command believes it is (default: 0:0)")
    add("--pids-limit", metavar="N", type=int, help="at most N tasks at once")
    add("--no-patch", action="store_true", help="never rewrite int 0x80 sites: every one of them traps, every time")
    add("--no-ia32", action="store_true", help="take the gate's path for hosts without IA32 emulation (for tests)")
    add("-v", "--verbose", action="store_true", help="report guest crashes and calls that are not supported")
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _run(arguments: list[str]) -> int:
    parser = _run_parser()
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command given")
    if options.rootfs is not None and options.busybox is not None:
        parser.error("--rootfs and --busybox exclude each other: --busybox is what the default root is made from")
    from containers.sandbox import CannotRun, Settings, run

    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # else a file of ours would take the number, and the guest's output
            os.set_inheritable(fd, True)
    try:
        settings = Settings(options.rootfs or "", [os.fsencode(word) for word in command])
        settings.uid_gid = _user(parser, options.user)
        settings.env = _environment(parser, options.env, settings.uid_gid[0])
        settings.workdir = os.fsencode(options.workdir)
        settings.hostname = _hostname(parser, options.hostname)
        settings.read_only = options.read_only
        settings.patch = not options.no_patch
        settings.force_segv = options.no_ia32
        settings.verbose = options.verbose
        settings.pids_limit = options.pids_limit
        if options.pids_limit is not None and options.pids_limit < 1:
            parser.error(f"--pids-limit {options.pids_limit}: at least 1 is needed, for the command itself")
        if options.rootfs is None:
            from containers.rootfs import default_root

            settings.rootfs = default_root(options.busybox)
        return run(settings)
    except CannotRun as problem:
        sys.stderr.write(f"int80: {problem}\n")
        return problem.status


def _user(parser: _Parser, text: str) -> tuple[int, int]:
    uid, colon, gid = text.partition(":")
    if not uid.isdecimal() or (colon and not gid.isdecimal()) or int(uid) >= 2**32 - 1 or int(gid or 0) >= 2**32 - 1:
        parser.error(f"--user {text}: give numbers, as in 1000 or 1000:1000")
    return int(uid), int(gid or 0)


def _environment(parser: _Parser, given: list[str], uid: int) -> dict[bytes, bytes]:
    """What the command's environment holds: a PATH, a HOME, the terminal's kind, and what was asked for."""
    from containers.sandbox import DEFAULT_PATH

    env = {b"PATH": DEFAULT_PATH, b"HOME": b"/root" if uid == 0 else b"/"}
    if "TERM" in os.environ:
        env[b"TERM"] = os.fsencode(os.environ["TERM"])
    for item in given:
        name, equals, value = item.partition("=")
        if not name:
            parser.error(f"--env {item}: give NAME=VALUE, or NAME to pass yours on")
        if equals:
            env[os.fsencode(name)] = os.fsencode(value)
        elif name in os.environ:
            env[os.fsencode(name)] = os.fsencode(os.environ[name])
    return env


def _hostname(parser: _Parser, name: str) -> bytes:
    encoded = os.fsencode(name)
    if not 0 < len(encoded) <= 64:
        parser.error(f"--hostname {name}: 1 to 64 bytes")
    return encoded


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
