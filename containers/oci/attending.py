"""Standing for a process that is somebody else's child: waiting for its end, passing signals on, and ending as it did."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
from collections.abc import Callable

from tracer.loop import FORWARDED, signalfd

_OWN = frozenset((signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH))  # what is about the terminal of whoever attends


def take_signals(relaying: bool) -> int:
    """Have the signals that are to be passed on wait from now on, before there is who could be told; a signalfd(2) of them."""
    return signalfd(set(FORWARDED if relaying else FORWARDED - _OWN))


def attend(signals: int, ended: int, forward: Callable[[int], None], pair: tuple[int, int] | None) -> None:
    """Pass signals on with `forward` until `ended` can be read; `pair` is a terminal to relay meanwhile, which is closed then."""
    relay = None
    if pair is not None:
        from tracer.relay import Relay

        relay = Relay(pair)
        relay.start()
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(signals, select.POLLIN)
    while ended not in dict(poll.poll()):
        number = int.from_bytes(os.read(signals, 128)[:4], "little")
        match number:
            case signal.SIGTSTP if relay is not None:
                relay.suspend()
            case signal.SIGCONT if relay is not None:
                relay.resume()
            case signal.SIGWINCH if relay is not None:
                relay.resize()
            case _:
                with contextlib.suppress(ProcessLookupError):
                    forward(number)
    if relay is not None:
        relay.close(signals)


def close_streams() -> None:
    """Have the standard streams lead nowhere: what they led to is somebody else's."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd, inheritable=False)
    os.close(null)


def exit_as(status: int):
    """End the calling process as another has ended, by its wait status; never returns."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler to reset
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(os.WEXITSTATUS(status))
