"""The log of a sandbox: what its supervisor sees, with the guest's numbers and the guest's names.

The supervisor tells who carried each call out: the kernel, the kernel with arguments that were changed (``steered``),
the supervisor itself, or nobody (``refused``).
"""

from __future__ import annotations

import os

from abi.decoding.values import AT_FDCWD, quoted
from abi.errors import HostErrno, SysError
from abi.procview import ProcView
from tracer.log.names import linux_numbers
from tracer.log.recorder import Recorder, Subject

_EXECVE = 59


class SandboxLog:
    """Between a supervisor, which speaks of its tasks, and a recorder."""

    def __init__(self, sandbox, recorder: Recorder) -> None:
        self._tree = sandbox.tree
        self._view = ProcView(sandbox)
        self._recorder = recorder
        self._begun = False  # whether init's first execve is behind us; before it, init is int80 itself

    def watched(self) -> frozenset[int]:
        """The numbers of the calls that are wanted."""
        return frozenset(number for name, number in linux_numbers().items() if name in self._recorder.choice)

    def waiting(self, poll):
        """`poll`, as the supervisor is to call it: while it waits, the log may show what it holds."""
        recorder = self._recorder
        recorder.start_ticking()

        def wait(timeout=None):
            recorder.idle = True
            try:
                return poll(timeout)
            finally:
                recorder.idle = False

        return wait

    # -- calls --------------------------------------------------------------------------------

    def begin(self, task, number: int, arguments: tuple[int, ...], plane: str, abi: str = "linux") -> bool:
        """A call is about to be made; whether its end is wanted.  One made again with its answer at hand goes on."""
        if not self._begun:
            if number != _EXECVE:
                return False
            self._begun = True
        if task.subject.open is not None:
            return True
        return self._recorder.begin(task.subject, number, arguments, abi, plane)

    def end(self, task, value: int) -> None:
        """The call under way returns `value`, a negative errno for failure."""
        self._recorder.end(task.subject, value)

    def host_end(self, task, value: int, failed: bool) -> None:
        """A call of the host ABI returns a value, or one of that ABI's codes."""
        if failed:
            self._recorder.fail(task.subject, value, HostErrno(value).name)
        else:
            self._recorder.end(task.subject, value)

    # -- everything else ----------------------------------------------------------------------

    def born(self, task, parent, kind: str) -> None:
        pid = self._tree.guest(task.process.pid)
        task.subject = Subject(self._tree.guest(task.tid), pid, task.memory, lambda fd: self._descriptor(pid, fd))
        self._recorder.born(task.subject, parent.subject.tid if parent is not None else 0, kind)

    def executed(self, task, caller, former: int) -> None:
        """Another program runs in `task`; `caller`, whose number was `former`, made the call."""
        if caller is not task:
            self._recorder.abandon(task.subject)
            task.subject, caller.subject.tid = caller.subject, task.subject.tid
            task.subject.memory = task.memory
        exe = task.process.exe
        self._recorder.executed(task.subject, self._tree.guest(former) or former, os.fsdecode(exe.name()) if exe else "")
        self._recorder.end(task.subject, 0)

    def signal(self, task, number: int, info: bytes) -> None:
        if self._begun:
            self._recorder.signal(task.subject, number, info)

    def stopped(self, task, number: int) -> None:
        self._recorder.stopped(task.subject, number)

    def ended(self, task, status: int) -> None:
        self._recorder.ended(task.subject, status)

    def close(self) -> None:
        self._recorder.close()

    def _descriptor(self, pid: int, fd: int) -> str | None:
        """What a guest's descriptor is of, by the guest's own names."""
        try:
            name = self._view.link_name(pid, b"cwd") if fd == AT_FDCWD else self._view.fd_name(pid, fd)
        except (OSError, SysError):
            return None
        return quoted(name)[1:-1]
