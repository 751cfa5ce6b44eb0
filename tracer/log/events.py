"""What a log is made of.  Times are seconds since the epoch, as floats; durations are seconds.

A sink is an object with these methods, all optional but `close` (see `Sink`):  `begun(call)` when a call is about to be
made, `ended(call)` when it has returned, `happened(event)` for everything else, `tick()` now and then, `close()`.
"""

from __future__ import annotations


class Call:
    """One system call of task `tid`.

    `args` are the arguments as text, those known at entry first; more are added at the end.  `split` is how many were
    there at entry, `partial` whether more were still to come, `joins` whether those go on where the entry stopped: one that
    begins with `` => `` belongs to the argument before it.  `value` is the raw signed result (negative errno), None
    while the call is under way and for one that never returned; `result` its text, ``-1 ENOENT (No such file or
    directory)``, and `error` the errno's name.  `plane`: in a sandbox who carried it out, ``kernel``, ``supervisor``
    or ``refused``.  `injected`: ``INJECTED`` (its result was changed), ``DELAYED``, or both with a space between.
    """

    __slots__ = (
        "abi", "args", "detached", "duration", "error", "injected", "joins", "name", "number", "partial", "pid", "plane",
        "result", "split", "tid", "time", "unfinished", "value",
    )  # fmt: skip

    def __init__(
        self, time: float, tid: int, pid: int, name: str, number: int, abi: str = "linux", args: list[str] | None = None,
        split: int = 0, partial: bool = False, joins: bool = False, value: int | None = None, result: str = "?",
        error: str | None = None, duration: float | None = None, plane: str | None = None, injected: str | None = None,
        unfinished: bool = False, detached: bool = False,
    ) -> None:  # fmt: skip
        self.time = time
        self.tid = tid
        self.pid = pid
        self.name = name
        self.number = number
        self.abi = abi
        self.args = [] if args is None else args
        self.split = split
        self.partial = partial
        self.joins = joins
        self.value = value
        self.result = result
        self.error = error
        self.duration = duration
        self.plane = plane
        self.injected = injected
        self.unfinished = unfinished  # its task ended, or was let go, in the middle of it
        self.detached = detached  # it was let go


class _Event:
    """Not a dataclass: importing those takes a tenth of the time that a small program is traced in."""

    __slots__ = ("tid", "time")

    def __init__(self, time: float, tid: int) -> None:
        self.time = time
        self.tid = tid

    def __repr__(self) -> str:
        names = ("time", "tid", *(name for name in self.__slots__ if name not in ("time", "tid")))
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class Signal(_Event):
    """A signal is delivered; `info` is its siginfo as text."""

    __slots__ = ("info", "name")

    def __init__(self, time: float, tid: int, name: str, info: str) -> None:
        self.time = time
        self.tid = tid
        self.name = name
        self.info = info


class Stopped(_Event):
    """A task was stopped by job control."""

    __slots__ = ("name",)

    def __init__(self, time: float, tid: int, name: str) -> None:
        super().__init__(time, tid)
        self.name = name


class Born(_Event):
    """A task appeared; `parent` is the task that made it, 0 when it was there before; `kind` is fork, vfork, clone,
    thread, attach or command."""

    __slots__ = ("kind", "parent", "pid")

    def __init__(self, time: float, tid: int, pid: int, parent: int, kind: str) -> None:
        self.time = time
        self.tid = tid
        self.pid = pid
        self.parent = parent
        self.kind = kind


class Executed(_Event):
    """A process runs another program, `path`; `former` is the thread that called execve."""

    __slots__ = ("former", "path")

    def __init__(self, time: float, tid: int, former: int, path: str) -> None:
        super().__init__(time, tid)
        self.former = former
        self.path = path


class Ended(_Event):
    """A task is gone: with an exit `status`, or killed by `signal` (a name), maybe with a `core` dump."""

    __slots__ = ("core", "pid", "signal", "status")

    def __init__(self, time: float, tid: int, pid: int, status: int | None, signal: str | None, core: bool = False) -> None:
        self.time = time
        self.tid = tid
        self.pid = pid
        self.status = status
        self.signal = signal
        self.core = core


class Detached(_Event):
    """The tracer let a task go on alone."""

    __slots__ = ()


class Sink:
    """A form of output; what a sink does not care for it leaves out.

    `programs`: it reads the path of `Executed`, which is else left empty on the host, as finding it out takes time.

    One that is `raw` is also told ``entered(subject, call, view)`` and ``returned(subject, call, view)`` of each call,
    whatever its outcome: the view has what the registers said.
    """

    programs = True

    def begun(self, call: Call) -> None:
        """A call is about to be made."""

    def ended(self, call: Call) -> None:
        """A call has returned."""

    def happened(self, event) -> None:
        """Anything else."""

    def tick(self) -> None:
        """A quarter of a second has passed: what waits in a buffer is to be seen."""

    def close(self) -> None:
        """The end: nothing comes after it."""
