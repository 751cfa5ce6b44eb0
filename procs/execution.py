"""From a path to the file the kernel will run: ``#!`` chains, ELF, and the arguments they add."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Callable

from procs import elf
from procs.credentials import FileCapabilities
from vfs.filesystem import CAPABILITY
from vfs.kernel import check_not_written, error, names_programs_by_file
from vfs.namespace import FsContext, Location, Namespace, OpenFile

_HEAD = 4096  # one page holds the ELF header, its program headers and any #! line
_SCRIPT_LINE = 256  # BINPRM_BUF_SIZE
_SCRIPTS_MAX = 5


class ExecPlan:
    """What to run.

    `fd` is the program, opened (owned); `name` is what AT_EXECFN will say; `location` where it lies, None for
    a file without a name; `comm` is the task's name to be; `arguments`, where a script is in play, replace
    argv[0].  `uid` and `gid` are what the program's set-id bits give (None: nothing), `capabilities` what its attribute
    does; `context` is by whose rights it was found.
    """

    __slots__ = (
        "abi", "arguments", "capabilities", "comm", "context", "fd", "gid", "interpreter", "location", "name", "stat", "uid",
    )  # fmt: skip

    def __init__(self, fd: int, location: Location | None, name: bytes, comm: bytes) -> None:
        self.fd = fd
        self.location = location
        self.name = name
        self.comm = comm
        self.arguments: list[bytes] | None = None
        self.abi = elf.ABI_LINUX
        self.interpreter: bytes | None = None
        self.stat = os.fstat(fd)
        self.uid: int | None = None
        self.gid: int | None = None
        self.capabilities: FileCapabilities | None = None
        self.context: FsContext | None = None

    def take_rights(self, credentials, owner) -> None:
        """Find out what the program gives: `owner(status)` are a file's ids for the guest (None: ids do not count).  EPERM."""
        where = self.location
        if where is None:
            return
        status = where.fs.stat(where.node)
        mode = status.st_mode if owner is not None else 0
        if mode & stat.S_ISUID:
            self.uid = owner(status)[0]
        if mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP:
            self.gid = owner(status)[1]
        try:
            self.capabilities = FileCapabilities.parse(where.fs.getxattr(where.node, CAPABILITY))
        except OSError:
            return  # it has none
        if self.capabilities is not None:
            self.capabilities.check(credentials.bounding, credentials.inheritable)

    def __del__(self) -> None:
        os.close(self.fd)


def changed_vector(raw: bytes, vector: dict[int, int]) -> bytes:
    """The auxiliary vector with other values for some of its entries."""
    entries = struct.iter_unpack("<QQ", raw[: len(raw) & -16])
    return b"".join(struct.pack("<QQ", kind, vector.get(kind, value)) for kind, value in entries)


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
        fd, location = _open(target, context)
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
        result.context = context
        return result
    raise error(errno.ELOOP)


def _open(target: Location | OpenFile, context: FsContext) -> tuple[int, Location | None]:
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
        if target.mount.flags.noexec:
            raise error(errno.EACCES)
        if context.rights is not None:
            context.rights.check_run(target)
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
