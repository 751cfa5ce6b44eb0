"""Events as a tracer would make them, for tests of sinks: a shell that runs cat, which fails, and a program with a thread."""

from __future__ import annotations

from tracer.log.events import Born, Call, Detached, Ended, Executed, Signal, Sink, Stopped

BEGIN = 1_700_000_000.0


def call(name: str, *args: str, at: float = 0.0, took: float | None = 0.001, tid: int = 10, pid: int | None = None,
         value: int | None = 0, error: str | None = None, **more) -> Call:  # fmt: skip
    """A call that began `at` seconds after `BEGIN`."""
    result = f"-1 {error} (text)" if error else "?" if value is None else str(value)
    return Call(BEGIN + at, tid, pid or tid, name, 1, args=list(args), split=len(args), value=value, result=result, error=error,
                duration=took, **more)  # fmt: skip


def tell(sink: Sink, *events) -> None:
    """The events to a sink, which is closed then."""
    for event in events:
        if isinstance(event, Call):
            if not getattr(sink, "bare", False):
                sink.begun(event)
            sink.ended(event)
        else:
            sink.happened(event)
    sink.close()


SHELL = (
    Born(BEGIN, 10, 10, 0, "command"),
    Executed(BEGIN + 0.002, 10, 10, "/bin/sh"),
    call("execve", '"/bin/sh"', '["sh"]', "0x7ff /* 3 vars */", at=0.001, took=0.002),
    Born(BEGIN + 0.011, 11, 11, 10, "fork"),
    call("clone", "child_stack=NULL", "flags=SIGCHLD", at=0.01, took=0.002, value=11),
    Executed(BEGIN + 0.021, 11, 11, "/bin/cat"),
    call("execve", '"/bin/cat"', '["cat", "/none"]', "0x7ff /* 3 vars */", at=0.02, took=0.002, tid=11),
    call("openat", "AT_FDCWD", '"/none"', "O_RDONLY", at=0.03, took=0.0005, tid=11, value=-2, error="ENOENT"),
    call("exit_group", "1", at=0.04, took=None, tid=11, value=None),
    Ended(BEGIN + 0.041, 11, 11, 1, None),
    Signal(BEGIN + 0.042, 10, "SIGCHLD", "{si_signo=SIGCHLD}"),
    call("wait4", "-1", "[{WIFEXITED(s)}]", "0", "NULL", at=0.013, took=0.03, value=11),
    Born(BEGIN + 0.051, 12, 10, 10, "thread"),
    call("clone3", "{flags=CLONE_THREAD}", "88", at=0.05, took=0.002, value=12),
    call("read", "0", '"</script><b>"', "64", at=0.06, took=0.01, tid=12, pid=10, value=13),
    call("futex", "0x7f", "FUTEX_WAIT", at=0.08, took=None, tid=12, pid=10, value=None, unfinished=True),
    Ended(BEGIN + 0.1, 12, 10, 3, None),
    call("exit_group", "3", at=0.09, took=None, value=None),
    Ended(BEGIN + 0.101, 10, 10, 3, None),
)  # fmt: skip

LOOSE = (
    Born(BEGIN, 20, 20, 0, "attach"),
    Stopped(BEGIN + 0.1, 20, "SIGTSTP"),
    Executed(BEGIN + 0.15, 20, 20, "/srv/n\udcffme"),
    call("pause", at=0.2, took=None, tid=20, value=None, unfinished=True),
    Detached(BEGIN + 0.3, 20),
)
