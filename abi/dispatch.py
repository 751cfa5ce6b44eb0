"""`Abi`, `Call`, the results, and the one place where a handler is run.

A table is a list: number -> `Entry` or None.  Each process carries its own ABI's table, so dispatch is
one index.  An entry names its plane; `When` moves single values of an argument to another plane, which
the seccomp program decides without a switch.
"""

from __future__ import annotations

from enum import Enum

from abi.errors import Kind, SysError
from abi.messages import say
from vfs.filesystem import TakesTime
from vfs.namespace import FsContext, Judged, OpenFile, is_removed_directory
from vfs.rights import EVERYTHING, Rights

AT_FDCWD = -100
_RED_ZONE = 128  # below the stack, of the x86-64 ABI


class Plane(Enum):
    """Who carries a call out."""

    NATIVE = "native"
    ANSWER = "answer"
    STEER = "steer"
    REFUSE = "refuse"


class Support(Enum):
    """How much of a call's Linux meaning is there."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class When:
    """A plane of its own for calls whose argument `arg`, masked with `mask`, is one of `values`.

    Only the low 32 bits count: every argument ruled on is an int, or a flag word the kernel truncates.  A pointer has
    more; with `whole` the upper ones must be 0 too.
    """

    __slots__ = ("arg", "error", "mask", "plane", "values", "whole")

    def __init__(
        self, arg: int, values: tuple[int, ...], plane: Plane, error: Kind = Kind.EPERM, mask: int = 0xFFFFFFFF,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self.arg = arg
        self.values = tuple(value & 0xFFFFFFFF for value in values)
        self.plane = plane
        self.error = error
        self.mask = mask
        self.whole = whole

    def holds(self, args: tuple[int, ...]) -> bool:
        """Whether a call with these arguments is meant."""
        value = args[self.arg]
        return value & self.mask in self.values and not (self.whole and value >> 32)


class Entry:
    """One row of a table."""

    __slots__ = ("error", "handler", "name", "note", "number", "plane", "support", "when")

    def __init__(self, number, name, plane, handler, support, note, when, error) -> None:
        self.number: int = number
        self.name: str = name
        self.plane: Plane = plane
        self.handler = handler
        self.support: Support = support
        self.note: str = note
        self.when: tuple[When, ...] = when
        self.error: Kind = error

    def plane_for(self, args: tuple[int, ...]) -> tuple[Plane, Kind]:
        """Who carries out a call with these arguments, and the errno if nobody does: what the filter decides."""
        for rule in self.when:
            if rule.holds(args):
                return rule.plane, rule.error
        return self.plane, self.error


class Abi:
    """A named table and the decorators that fill it."""

    def __init__(self, name: str, error_number, size: int) -> None:
        self.name = name
        self.error_number = error_number  # Kind -> the positive number of this ABI
        self.table: list[Entry | None] = [None] * size

    def _add(self, number, name, plane, handler=None, support=Support.FULL, note="", when=(), error=Kind.ENOSYS):
        if self.table[number] is not None:
            raise ValueError(f"{self.name} call {number} is in the table twice")
        self.table[number] = Entry(number, name, plane, handler, support, note, tuple(when), error)

    def native(
        self, number: int, name: str, note: str = "", support: Support = Support.FULL, handler=None, when=()
    ) -> None:
        """The kernel does it, untouched; `handler` is for the sandboxes that move it to another plane."""
        self._add(number, name, Plane.NATIVE, handler, support, note, when)

    def refuse(self, number: int, name: str, error: Kind, note: str, support: Support = Support.NONE, when=()) -> None:
        """A fixed errno, given by the kernel without a switch."""
        self._add(number, name, Plane.REFUSE, None, support, note, when, error)

    def answer(self, number: int, name: str, note: str = "", support: Support = Support.FULL, when=()):
        """Decorate the handler that answers the call."""
        return self._decorator(number, name, Plane.ANSWER, note, support, when)

    def steer(self, number: int, name: str, note: str = "", support: Support = Support.FULL, when=()):
        """Decorate the handler that says what the kernel is to do."""
        return self._decorator(number, name, Plane.STEER, note, support, when)

    def _decorator(self, number, name, plane, note, support, when):
        def put(handler):
            self._add(number, name, plane, handler, support, note, when)
            return handler

        return put

    def entry(self, number: int) -> Entry | None:
        """The entry of a number, or None: the call does not exist."""
        return self.table[number] if 0 <= number < len(self.table) else None


# -- results ----------------------------------------------------------------------------------------


class DispatchResult:
    """What is to happen with a call; one of the classes below."""

    __slots__ = ()


class Return(DispatchResult):
    """The call succeeds with `value`."""

    __slots__ = ("value",)

    def __init__(self, value: int = 0) -> None:
        self.value = value


class Fail(DispatchResult):
    """The call fails."""

    __slots__ = ("error",)

    def __init__(self, error: SysError) -> None:
        self.error = error


class InstallFile(DispatchResult):
    """Give the caller the host descriptor `fd` (owned by the result); its new number is the value.

    `path`: an ``O_PATH`` descriptor of the same file is wanted, whatever `fd` is.  `claims`: it is a terminal, and becomes
    the one of the caller's session.
    """

    __slots__ = ("claims", "cloexec", "fd", "path")

    def __init__(self, fd: int, cloexec: bool, path: bool = False, claims: bool = False) -> None:
        self.fd = fd
        self.cloexec = cloexec
        self.path = path
        self.claims = claims


class Native(DispatchResult):
    """The kernel carries it out, with `changed` arguments (index -> value), maybe as another call.

    `after(value)` is called with the kernel's raw result (negative errno) and gives the one to return.  `placed` (index ->
    bytes) is put below the caller's stack, and the argument points there: other threads can change it meanwhile.
    """

    __slots__ = ("after", "changed", "number", "placed")

    def __init__(
        self,
        changed: dict[int, int] | None = None,
        number: int | None = None,
        after=None,
        placed: dict[int, bytes] | None = None,
    ) -> None:
        self.changed = changed or {}
        self.number = number
        self.after = after
        self.placed = placed or {}


class Execute(DispatchResult):
    """The kernel is to run the program of an `ExecPlan` (`procs.execution`)."""

    __slots__ = ("plan",)

    def __init__(self, plan) -> None:
        self.plan = plan


class Terminate(DispatchResult):
    """The calling process ends with an exit status."""

    __slots__ = ("status",)

    def __init__(self, status: int) -> None:
        self.status = status


class Later(DispatchResult):
    """`work` may block: it is run aside, and its result is the call's; the caller can be interrupted.

    It is called with a function that says whether nobody wants the result any more.
    """

    __slots__ = ("work",)

    def __init__(self, work) -> None:
        self.work = work


class Wait(DispatchResult):
    """The caller sleeps, until it is woken (`Task.wake`) to make the call again, or a signal ends it; of host programs alone."""

    __slots__ = ()


class Again(DispatchResult):
    """The result of work aside after which the handler is to be run once more."""

    __slots__ = ()


OK = Return(0)


# -- calls ------------------------------------------------------------------------------------------


def signed(value: int) -> int:
    """The C int in a register's low 32 bits."""
    value &= 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


class Call:
    """One system call: its number, six raw arguments, the task that made it, and what it may touch.

    `memory` reads and writes the caller's memory (EFAULT), `files` gives copies of its descriptors
    (EBADF), `sandbox` is everything shared, `credentials` are the task's own.  `stack` is the stack pointer of a steered call.
    """

    __slots__ = ("args", "credentials", "files", "memory", "number", "process", "sandbox", "stack", "task")

    def __init__(self, sandbox, task, number: int, args: tuple[int, ...], memory, files, stack: int = 0) -> None:
        self.sandbox = sandbox
        self.task = task
        self.process = task.process
        self.credentials = task.credentials
        self.number = number
        self.args = args
        self.memory = memory
        self.files = files
        self.stack = stack

    def below(self, size: int) -> int:
        """The address of `size` bytes below the caller's stack that nobody uses before the call has returned.

        Of none, where nothing is below: they cannot be written.
        """
        return (self.stack - _RED_ZONE - size) & 0xFFFFFFFFFFFFFFF0

    def int(self, index: int) -> int:
        """Argument `index` as a C int."""
        return signed(self.args[index])

    def path(self, index: int) -> bytes:
        """The path that argument `index` points to.  EFAULT, ENAMETOOLONG."""
        return self.memory.cstring(self.args[index])

    @property
    def rights(self) -> Rights | None:
        """What the caller's use of files is judged by; None where it may do everything."""
        ids = self.credentials
        if ids.domain is not None:
            from vfs.landlock import Confined

            return Confined(ids, self.sandbox.host_uid, self.sandbox.host_gid, self.sandbox.namespace)
        if ids.fsuid or ids.fsgid or ids.effective & EVERYTHING != EVERYTHING:
            return Rights(ids, self.sandbox.host_uid, self.sandbox.host_gid)
        return None

    @property
    def fs(self) -> FsContext:
        """Where the caller's paths start, and how they are judged."""
        rights = self.rights
        return self.process.fs if rights is None else Judged(self.process.fs, rights)

    def start(self, fd: int):
        """The location that a dirfd names: where a relative path starts.  EBADF, ENOTDIR."""
        if fd == AT_FDCWD:
            return self.process.fs.cwd
        found = self.sandbox.namespace.directory(OpenFile(self.files.get(fd)))
        if isinstance(found, OpenFile):
            raise SysError(Kind.ENOENT if is_removed_directory(found.fd) else Kind.ENOTDIR)
        if not found.node.is_dir:
            raise SysError(Kind.ENOTDIR)
        return found

    def find(self, dirfd: int, path: bytes, follow: bool = True):
        """`Namespace.walk` from a dirfd; the dirfd is not looked at when the path is absolute."""
        if not path:
            raise SysError(Kind.ENOENT)
        fs = self.fs
        start = fs.cwd if path[:1] == b"/" else self.start(dirfd)
        return self.sandbox.namespace.walk(fs, start, path, follow)

    def parent(self, dirfd: int, path: bytes):
        """`Namespace.parent` from a dirfd."""
        if not path:
            raise SysError(Kind.ENOENT)
        fs = self.fs
        start = fs.cwd if path[:1] == b"/" else self.start(dirfd)
        return self.sandbox.namespace.parent(fs, start, path)


def _then_again(work):
    def run(cancelled=lambda: False) -> Again:
        work(cancelled)
        return Again()

    return run


def dispatch(entry: Entry | None, call: Call) -> DispatchResult:
    """Run the handler of `entry`; whatever it raises becomes a `Fail`.

    A handler that raises anything but `SysError` or ``OSError`` is a bug of ours: it is reported with its
    call and the caller gets EIO, but the sandbox goes on.
    """
    if entry is None or entry.handler is None:
        plane, error = entry.plane_for(call.args) if entry is not None else (Plane.REFUSE, Kind.ENOSYS)
        return Fail(SysError(error if plane is Plane.REFUSE else entry.error))
    try:
        return entry.handler(call)
    except SysError as failure:
        return Fail(failure.with_traceback(None))  # whose frames hold files open
    except OSError as failure:
        return Fail(SysError.of_errno(failure.errno))
    except TakesTime as pause:
        return Later(_then_again(pause.work))
    except Exception as bug:
        arguments = ", ".join(hex(argument) for argument in call.args)
        say(f"bug in {entry.name}({arguments}): {bug!r}; the guest gets EIO")
        call.sandbox.report_bug(bug)
        return Fail(SysError(Kind.EIO))
