"""From a path to the file the kernel will run: ``#!`` chains, ELF, and the arguments they add."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from procs import elf
from vfs.kernel import check_not_written, error, names_programs_by_file
from vfs.namespace import FsContext, Location, Namespace, OpenFile

_HEAD = 4096  # one page holds the ELF header, its program headers and any #! line
_SCRIPT_LINE = 256  # BINPRM_BUF_SIZE
_SCRIPTS_MAX = 5


class ExecPlan:
    """What to run.

    `fd` is the program, opened (owned); `name` is what AT_EXECFN will say; `location` where it lies, None for
    a file without a name; `comm` is the task's name to be; `arguments`, where a script is in play, replace
    argv[0].
    """

    __slots__ = ("abi", "arguments", "comm", "fd", "interpreter", "location", "name", "stat")

    def __init__(self, fd: int, location: Location | None, name: bytes, comm: bytes) -> None:
        self.fd = fd
        self.location = location
        self.name = name
        self.comm = comm
        self.arguments: list[bytes] | None = None
        self.abi = elf.ABI_LINUX
        self.interpreter: bytes | None = None
        self.stat = os.fstat(fd)

    def __del__(self) -> None:
        os.close(self.fd)


def plan(
    namespace: Namespace,
    context: FsContext,
    target: Location | OpenFile,
    name: bytes,
    *,
    unnamed: bool = False,
    closing: Callable[[], bool] | None = None,
) -> ExecPlan:
    """What execve(2) of `target`, called `name` by the guest, comes to.

    `unnamed`: it was given by descriptor alone; `closing` tells whether the descriptor it was given by is closed by
    then, so that no interpreter could open it.  EACCES (not a file, or no execute permission), ENOEXEC, ELOOP (too many ``#!``),
    ETXTBSY (a script that somebody writes), ENOENT (`closing`), and the errors of finding the interpreter.
    """
    comm = name.rpartition(b"/")[2][:15]
    path = name  # of the file at hand; `name` stays what the guest said, as AT_EXECFN and comm do
    arguments: list[bytes] | None = None
    for _ in range(_SCRIPTS_MAX + 1):
        fd, location = _open(target)
        # Owned by the plan from here on, so that any failure below closes it.
        result = ExecPlan(fd, location, name, comm)
        head = os.pread(fd, _HEAD, 0)
        if head[:2] == b"#!":
            check_not_written(fd)  # of a program the kernel asks itself
            interpreter, argument = _script(head)
            if closing is not None and closing():
                raise error(errno.ENOENT)
            arguments = [interpreter, *([argument] if argument else []), path, *(arguments or [b""])[1:]]
            path = interpreter
            target = namespace.walk(context, context.cwd, interpreter)
            continue
        if head[:4] != b"\x7fELF":
            raise error(errno.ENOEXEC)
        binary = elf.read(fd, head)
        result.abi = binary.abi
        result.interpreter = binary.interpreter
        result.arguments = arguments
        if unnamed and names_programs_by_file():
            result.comm = _file_name(fd)[:15]
        return result
    raise error(errno.ELOOP)


def _open(target: Location | OpenFile) -> tuple[int, Location | None]:
    """A readable descriptor of the program.  EACCES."""
    if isinstance(target, OpenFile):
        path, location = b"/proc/self/fd/%d" % target.fd, None
        mode = os.fstat(target.fd).st_mode
    else:
        location = target
        mode = target.node.mode
        path = None
    if mode & 0o170000 != 0o100000 or not mode & 0o111:
        raise error(errno.EACCES)
    if path is None:
        return target.fs.open(target.node, os.O_RDONLY), location
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC), location


def _file_name(fd: int) -> bytes:
    """The last name of an open file, whether or not it still has it."""
    return os.readlink(b"/proc/self/fd/%d" % fd).removesuffix(b" (deleted)").rpartition(b"/")[2]


def _script(head: bytes) -> tuple[bytes, bytes]:
    """Interpreter and argument (maybe empty) of a ``#!`` line, cut where the kernel cuts it.  ENOEXEC."""
    line, newline, _ = head[2:_SCRIPT_LINE].partition(b"\n")
    line = line if newline else line[: _SCRIPT_LINE - 3]
    words = re.split(rb"[ \t]+", line.split(b"\0", 1)[0].strip(b" \t"), maxsplit=1)
    if not words[0] or (len(words) == 1 and not newline and len(head) >= _SCRIPT_LINE):
        raise error(errno.ENOEXEC)  # no interpreter, or one whose name may be cut off
    return words[0], words[1] if len(words) > 1 else b""
