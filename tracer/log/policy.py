"""Policies: what a program was seen to need, written as one JSON document, and the judge that holds a program to it.

`PolicyOut` watches a trace and writes the document; `Policy` reads one and answers questions, and knows nothing of
tasks.  docs/trace.md has the format and its rules.
"""

from __future__ import annotations

import os
import re

from tracer.log.events import Call, Executed, Sink
from tracer.log.output import Output
from tracer.log.touched import EXECUTE, READ, WRITE, HostFiles, addresses_of, files_of

VERSION = 1
_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_ARCHITECTURES = {"linux": "SCMP_ARCH_X86_64", "i386": "SCMP_ARCH_X86"}
# What runc itself calls, before the program, once the profile is in force and noNewPrivileges is set.
_RUNTIME = frozenset((
    "close", "epoll_ctl", "epoll_pwait", "execve", "fcntl", "fstatfs", "futex", "getdents64", "getpid", "gettid", "madvise",
    "mmap", "munmap", "nanosleep", "newfstatat", "openat", "prctl", "read", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    "sched_yield", "sigaltstack", "tgkill", "write",
))  # fmt: skip
_EXECS = ("execve", "execveat")
_OPENS = ("open", "openat", "openat2", "creat")
_SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # where names are made up anew in every run
_NUMBERED = re.compile(r"/proc/\d+(?=/|$)")
_NUMBERS_BELOW = re.compile(r"(/proc/(?:self|\*)/(?:fd|fdinfo|task|map_files)/|/dev/pts/)[^/]+")


def general(path: str, pid: int | None = None) -> str:
    """A path without the numbers of one run: ``/proc/self`` for process `pid`'s own, ``/proc/*`` for another's.

    ``*`` stands also for a descriptor or a thread below these, and for a terminal (``/dev/pts/*``).
    """
    if pid is not None and (path == f"/proc/{pid}" or path.startswith(f"/proc/{pid}/")):
        path = "/proc/self" + path[len(f"/proc/{pid}") :]
    elif path.startswith("/proc/"):
        path = _NUMBERED.sub("/proc/*", path, count=1)
    return _NUMBERS_BELOW.sub(r"\1*", path) if path.startswith(("/proc/", "/dev/pts/")) else path


# -- writing ----------------------------------------------------------------------------------------


class PolicyOut(Sink):
    """Writes, at the end, to the file `path` what `command` was seen to need.  ``OSError`` where it cannot be opened.

    `files` says what the names of a task mean: `tracer.log.touched.HostFiles` for programs on the host.
    """

    raw = True

    def __init__(self, path: str, command: list[str], files=None) -> None:
        self._output = Output(path)
        self._written = False
        self._command = command
        self.files = files if files is not None else HostFiles()
        self._calls: set[str] = set()
        self._abis = {"linux"}
        self._seen: set[tuple[str, bytes, bool, int]] = set()
        self._paths: dict[str, set[str]] = {READ: set(), WRITE: set(), EXECUTE: set()}
        self._addresses: dict[str, set[str]] = {"connect": set(), "listen": set()}
        self._made: set[str] = set()  # names the program made up in a shared directory
        self._programs: dict[int, list[tuple[str, bytes]]] = {}

    def entered(self, subject, call: Call, view) -> None:
        """A call is about to be made."""
        if call.abi not in _ARCHITECTURES or call.name.startswith("syscall_"):
            return
        self._calls.add(call.name)
        self._abis.add(call.abi)
        if call.name in _EXECS:  # what it names cannot be read once it has succeeded
            tid, pid, files = subject.tid, subject.pid, self.files
            named = files_of(call.name, view, tid, files)
            self._programs[tid] = [(use, files.resolve(tid, pid, path, follow)) for use, path, follow, _ in named]

    def returned(self, subject, call: Call, view) -> None:
        """A call has returned, and was not answered by an injection."""
        name = call.name
        if call.abi not in _ARCHITECTURES or name in _EXECS or (call.injected or "").startswith("INJECTED"):
            return
        tid, pid, files = subject.tid, subject.pid, self.files
        for use, address in addresses_of(name, view, tid, pid, files):
            self._addresses[use].add(address)
        if view.error:
            return
        for use, path, follow, fresh in files_of(name, view, tid, files):
            key = (use, path, follow, pid)
            if key in self._seen and not fresh:
                continue
            self._seen.add(key)
            found = files.descriptor(tid, view.value) if name in _OPENS else None
            self._add(use, found or files.resolve(tid, pid, path, follow), pid, fresh)

    def happened(self, event) -> None:
        if isinstance(event, Executed):
            tid = event.tid
            for use, path in self._programs.pop(event.former, ()):
                self._add(use, path, tid)
            for path in self.files.programs(tid):
                self._add(EXECUTE, path, tid)

    def _add(self, use: str, path: bytes, pid: int, fresh: bool = False) -> None:
        name = os.fsdecode(path)
        for shared in _SHARED:
            if name.startswith(shared + "/"):
                first, slash, rest = name[len(shared) + 1 :].partition("/")
                if fresh and not slash:
                    self._made.add(name)
                if f"{shared}/{first}" in self._made:
                    name = f"{shared}/*{slash}{rest}"
        self._paths[use].add(general(name, pid))

    def close(self) -> None:
        """Write the document."""
        import json

        if self._written:
            return
        self._written = True
        document = {
            "version": VERSION,
            "command": self._command,
            "seccomp": {
                "defaultAction": _ERRNO,
                "defaultErrnoRet": 1,
                "architectures": [name for abi, name in _ARCHITECTURES.items() if abi in self._abis],
                "syscalls": [{"names": sorted(self._calls | _RUNTIME), "action": _ALLOW}],
            },
            "files": {use: sorted(paths) for use, paths in self._paths.items()},
            "network": {use: sorted(addresses) for use, addresses in self._addresses.items()},
        }
        self._output.write(json.dumps(document, indent=2).encode("ascii") + b"\n")
        self._output.close()


# -- judging ----------------------------------------------------------------------------------------


class PolicyError(ValueError):
    """A document that is no policy: the text names the field and what is wrong with it."""


class Policy:
    """What a program may do.  Nothing that is not listed is allowed.

    `errno` is what a call that is not allowed fails with.  Paths are absolute and without symlinks; a task's `pid` makes
    ``/proc/self`` of what is its own.
    """

    def __init__(self, document: object) -> None:
        needed = {"version", "seccomp", "files", "network"}
        top = _object(document, "", needed | {"command"}, needed)
        if top["version"] != VERSION:
            raise PolicyError(f"version: {_shown(top['version'])} is not known, only {VERSION}")
        _strings(top.get("command", []), "command")
        self._read_seccomp(top["seccomp"])
        files = _object(top["files"], "files", {READ, WRITE, EXECUTE})
        self._files = {use: _patterns(files.get(use, []), f"files.{use}") for use in (READ, WRITE, EXECUTE)}
        network = _object(top["network"], "network", {"connect", "listen"})
        self._network = {use: _endpoints(network.get(use, []), f"network.{use}") for use in ("connect", "listen")}

    @classmethod
    def load(cls, path: str) -> Policy:
        """Read a file.  ``OSError``; `PolicyError`, which begins with the file's name."""
        import json

        with open(path, encoding="utf-8") as file:
            try:
                return cls(json.load(file))
            except PolicyError as problem:
                raise PolicyError(f"{path}: {problem}") from None
            except ValueError as problem:
                raise PolicyError(f"{path}: not JSON: {problem}") from None
            except RecursionError:
                raise PolicyError(f"{path}: nested too deeply") from None

    def _read_seccomp(self, value: object) -> None:
        seccomp = _object(value, "seccomp", {"defaultAction", "defaultErrnoRet", "architectures", "syscalls"}, {"defaultAction"})
        self._by_default = _action(seccomp["defaultAction"], "seccomp.defaultAction")
        self.errno = seccomp.get("defaultErrnoRet", 1)
        if type(self.errno) is not int or not 1 <= self.errno <= 4095:
            raise PolicyError(f"seccomp.defaultErrnoRet: {_shown(self.errno)} is not an errno, 1 to 4095")
        _strings(seccomp.get("architectures", []), "seccomp.architectures")
        rules = seccomp.get("syscalls", [])
        if not isinstance(rules, list):
            raise PolicyError(f"seccomp.syscalls: {_shown(rules)} is not a list")
        self._calls: dict[str, bool] = {}
        for index, rule in enumerate(rules):
            field = f"seccomp.syscalls[{index}]"
            rule = _object(rule, field, {"names", "action"}, {"names", "action"})
            allowed = _action(rule["action"], f"{field}.action")
            for name in _strings(rule["names"], f"{field}.names"):
                self._calls[name] = allowed

    def allows_call(self, name: str) -> bool:
        """Whether a call may be made, by its name."""
        return self._calls.get(name, self._by_default)

    def allows_read(self, path: str, pid: int | None = None) -> bool:
        """Whether a file may be read or looked at, a directory listed."""
        return self._allows(READ, path, pid)

    def allows_write(self, path: str, pid: int | None = None) -> bool:
        """Whether a file may be written, made, changed, renamed or removed."""
        return self._allows(WRITE, path, pid)

    def allows_execute(self, path: str, pid: int | None = None) -> bool:
        """Whether a file may be run: as a program, a script, or a program's loader."""
        return self._allows(EXECUTE, path, pid)

    def allows_connect(self, address: str) -> bool:
        """Whether an address may be reached; written as `tracer.log.touched.address_text` does."""
        return self._network["connect"](address)

    def allows_listen(self, address: str) -> bool:
        """Whether an address may be taken."""
        return self._network["listen"](address)

    def _allows(self, use: str, path: str, pid: int | None) -> bool:
        return self._files[use](path) or self._files[use](general(path, pid))


def _shown(value: object) -> str:
    """A value of the document, in a message."""
    import json

    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _object(value: object, field: str, known: set[str], needed: set[str] = frozenset()) -> dict:
    if not isinstance(value, dict):
        raise PolicyError(f"{field or 'the document'}: {_shown(value)} is not an object")
    where = f"{field}." if field else ""
    for key in value:
        if key not in known:
            raise PolicyError(f"{where}{key}: not known, only {', '.join(sorted(known))}")
    for key in sorted(needed - value.keys()):
        raise PolicyError(f"{where}{key}: missing")
    return value


def _strings(value: object, field: str) -> list[str]:
    if not isinstance(value, list):
        raise PolicyError(f"{field}: {_shown(value)} is not a list")
    for index, word in enumerate(value):
        if not isinstance(word, str):
            raise PolicyError(f"{field}[{index}]: {_shown(word)} is not a string")
    return value


def _action(value: object, field: str) -> bool:
    if value not in (_ALLOW, _ERRNO):
        raise PolicyError(f"{field}: {_shown(value)} is not {_ALLOW} or {_ERRNO}")
    return value == _ALLOW


class _Paths:
    """Matches paths: those listed, ``*`` for any one component, and all below a trailing ``/**``."""

    def __init__(self, patterns: list[str]) -> None:
        self._plain = frozenset(pattern for pattern in patterns if "*" not in pattern)
        wild = [pattern for pattern in patterns if "*" in pattern]
        self._wild = re.compile("|".join(map(_expression, wild)), re.DOTALL) if wild else None

    def __call__(self, path: str) -> bool:
        return path in self._plain or (self._wild is not None and self._wild.fullmatch(path) is not None)


def _expression(pattern: str) -> str:
    below = pattern.endswith("/**")
    parts = (pattern[:-3] if below else pattern).split("/")
    return "/".join("[^/]+" if part == "*" else re.escape(part) for part in parts) + ("(?:/.*)?" if below else "")


def _patterns(value: object, field: str) -> _Paths:
    for index, pattern in enumerate(_strings(value, field)):
        problem = _path_problem(pattern)
        if problem is not None:
            raise PolicyError(f"{field}[{index}]: {_shown(pattern)} {problem}")
    return _Paths(value)


def _path_problem(pattern: str) -> str | None:
    """What is wrong with a path, None if nothing."""
    if not pattern.startswith("/"):
        return "is not an absolute path"
    parts = pattern.split("/")[1:]
    if pattern != "/" and not all(parts):
        return "has an empty component"
    if "." in parts or ".." in parts:
        return "has a component . or .."
    if "**" in parts[:-1]:
        return "has ** elsewhere than at the end"
    return None


class _Addresses:
    """Matches addresses; ``*`` for any host or any port, unix sockets by their paths."""

    def __init__(self, addresses: list[str]) -> None:
        self._known = frozenset(addresses)
        self._sockets = _Paths([address[5:] for address in addresses if address.startswith("unix:")])

    def __call__(self, address: str) -> bool:
        if address in self._known:
            return True
        if address.startswith("unix:"):
            return self._sockets(address[5:])
        host, _, port = address.rpartition(":")
        return not self._known.isdisjoint((f"*:{port}", f"{host}:*", "*:*"))


def _endpoints(value: object, field: str) -> _Addresses:
    for index, address in enumerate(_strings(value, field)):
        problem = _address_problem(address)
        if problem is not None:
            raise PolicyError(f"{field}[{index}]: {_shown(address)} {problem}")
    return _Addresses(value)


def _address_problem(address: str) -> str | None:
    import socket

    if address.startswith("unix:"):
        path = address[5:]
        return None if path.startswith("@") else _path_problem(path)
    host, colon, port = address.rpartition(":")
    if not colon:
        return "is not HOST:PORT, [HOST]:PORT or unix:PATH"
    if port != "*" and not (re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535):
        return "has no port, 0 to 65535 or *"
    if host == "*":
        return None
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        socket.inet_pton(socket.AF_INET6 if bracketed else socket.AF_INET, host[1:-1] if bracketed else host)
    except OSError:
        return "has no numeric address"
    return None
