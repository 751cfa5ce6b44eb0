"""The terminal int80 was started on, which it lends to its guests: whose turn it is, and stopping and going on with them.

init has a process group of its own in the session of whoever started int80, so that the kernel does job control
for guests as for anybody: Ctrl-C and Ctrl-Z go to the group in the foreground, and who reads from the background is
stopped.  What is left to do is what the shell that started int80 does for int80's own group: hand the terminal on,
and stop when the job stops.

Where int80 stands in a pipeline, others of its group may want the terminal (`int80 run ... | less`); it is then lent only when
a guest asks for it, by being stopped for its use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

_ASKING = (signal.SIGTTIN, signal.SIGTTOU)


class Terminal:
    """The controlling terminal, open as `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lent: int | None = None  # the guests' group that has it
        self._last: int | None = None  # ... or had it last

    @classmethod
    def of(cls, fds: tuple[int, ...]) -> Terminal | None:
        """The first of `fds` that is int80's controlling terminal, None when none is."""
        for fd in fds:
            with contextlib.suppress(OSError):
                os.tcgetpgrp(fd)
                return cls(fd)
        return None

    def is_ours(self) -> bool:
        """Whether int80's own group is in the foreground."""
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return False  # it is gone

    def wants_no_asking(self) -> bool:
        """Whether the guests may have it from the start, as nobody of a pipeline is there to want it."""
        return os.isatty(0) and os.isatty(1) and self.is_ours()

    def lend(self, group: int) -> None:
        """Put a group of guests into the foreground."""
        os.tcsetpgrp(self.fd, group)
        self._lent = self._last = group

    def take_back(self) -> None:
        """Put int80's group into the foreground again, unless the guests are not there: somebody else may be."""
        lent, self._lent = self._lent, None
        with contextlib.suppress(OSError):  # the terminal is gone
            if lent is not None and os.tcgetpgrp(self.fd) == lent:
                os.tcsetpgrp(self.fd, os.getpgrp())

    def set_foreground(self, fd: int, group: int) -> int:
        """tcsetpgrp(3) for a guest whose `fd` may be this terminal; 0 or a negative errno.

        EPERM where it is neither lent nor int80's to lend: it is somebody else's who has int80 in the background.
        """
        try:
            if os.tcgetpgrp(self.fd) not in (self._lent, os.getpgrp()):
                return -errno.EPERM
            os.tcsetpgrp(fd, group)
        except OSError as problem:
            return -problem.errno
        self._lent = self._last = group
        return 0

    def stopped(self, number: int, init: int) -> None:
        """init was stopped by a signal: int80 stops too, or lends the terminal if that is what is asked for; then both go on."""
        if not (number in _ASKING and self.is_ours()):
            self.take_back()
            stop(number)
        if self.is_ours():
            with contextlib.suppress(OSError):
                self.lend(init)
        elif number in _ASKING and _orphaned():
            # Nobody is left who could bring it into the foreground; the kernel treats stopped orphans so.
            os.killpg(init, signal.SIGHUP)
        os.killpg(init, signal.SIGCONT)

    def continued(self, init: int) -> None:
        """int80 goes on after somebody has stopped it, not the guests: they get the terminal if they had it and int80 has it."""
        if self._last is None:
            return
        if not self.is_ours():
            with contextlib.suppress(OSError):
                self._lent = self._lent if os.tcgetpgrp(self.fd) == self._lent else None
            return
        for group in (self._last, init):
            with contextlib.suppress(OSError):
                self.lend(group)
                return


def stop(number: int) -> None:
    """Stop int80 with all its group, as the terminal would, until somebody lets it go on.

    The kernel does not stop a group of which nobody in the session takes care.
    """
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    if number == signal.SIGSTOP:
        os.kill(os.getpid(), number)
    else:
        os.killpg(os.getpgrp(), number)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _orphaned() -> bool:
    """Whether no ancestor in the session, and out of int80's group, could continue it; setpgid(2)."""
    from abi.processes import parent_of

    pid, group = os.getpid(), os.getpgrp()
    while pid and os.getpgid(pid) == group:
        pid = parent_of(pid)
    return not pid or os.getsid(pid) != os.getsid(0)
