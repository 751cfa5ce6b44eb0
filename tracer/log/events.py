"""What a log is made of.  Times are seconds since the epoch, as floats; durations are seconds.

A sink is an object with these methods, all optional but `close` (see `Sink`):  `begun(call)` when a call is about to be
made, `ended(call)` when it has returned, `happened(event)` for everything else, `tick()` now and then, `close()`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Call:
    """One system call of task `tid`.

    `args` are the arguments as text, those known at entry first; more are added at the end.  `split` is how many were
    there at entry, `partial` whether more were still to come, `joins` whether those go on where the entry stopped: one that
    begins with `` => `` belongs to the argument before it.  `value` is the raw signed result (negative errno), None
    while the call is under way and for one that never returned; `result` its text, ``-1 ENOENT (No such file or
    directory)``, and `error` the errno's name.  `plane`: in a sandbox who carried it out, ``kernel``, ``supervisor``
    or ``refused``.  `injected`: ``INJECTED`` (its result was changed), ``DELAYED``, or both with a space between.
    """

    time: float
    tid: int
    pid: int
    name: str
    number: int
    abi: str = "linux"
    args: list[str] = field(default_factory=list)
    split: int = 0
    partial: bool = False
    joins: bool = False
    value: int | None = None
    result: str = "?"
    error: str | None = None
    duration: float | None = None
    plane: str | None = None
    injected: str | None = None
    unfinished: bool = False  # its task ended, or was let go, in the middle of it
    detached: bool = False  # it was let go


@dataclass(slots=True)
class Signal:
    """A signal is delivered; `info` is its siginfo as text."""

    time: float
    tid: int
    name: str
    info: str


@dataclass(slots=True)
class Stopped:
    """A task was stopped by job control."""

    time: float
    tid: int
    name: str


@dataclass(slots=True)
class Born:
    """A task appeared; `parent` is the task that made it, 0 when it was there before; `kind` is fork, vfork, clone,
    thread, attach or command."""

    time: float
    tid: int
    pid: int
    parent: int
    kind: str


@dataclass(slots=True)
class Executed:
    """A process runs another program, `path`; `former` is the thread that called execve."""

    time: float
    tid: int
    former: int
    path: str


@dataclass(slots=True)
class Ended:
    """A task is gone: with an exit `status`, or killed by `signal` (a name)."""

    time: float
    tid: int
    pid: int
    status: int | None
    signal: str | None
    core: bool = False


@dataclass(slots=True)
class Detached:
    """The tracer let a task go on alone."""

    time: float
    tid: int


class Sink:
    """A form of output; what a sink does not care for it leaves out.

    One that is `raw` is also told ``entered(subject, call, view)`` and ``returned(subject, call, view)`` of each call,
    whatever its outcome: the view has what the registers said.
    """

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
