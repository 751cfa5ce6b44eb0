"""The process tree of a sandbox: which ids exist, and what int80 keeps about each process.

Parents, groups, sessions, zombies and waiting are the kernel's and are asked of the kernel; ids are its
numbers too, except that init is 1.  What is not in the tree does not exist for a guest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from procs.credentials import Credentials
from vfs.kernel import error

_DEPARTED_MAX = 4096


class Process:
    """A thread group.  `pid` is the kernel's number; `table` is its ABI's."""

    __slots__ = (
        "abi", "credentials", "dumpable", "exe", "fs", "no_new_privs", "pid", "program", "reads", "tasks",
        "vector",
    )  # fmt: skip

    def __init__(self, pid: int, abi, fs, credentials) -> None:
        self.pid = pid
        self.abi = abi
        self.fs = fs  # vfs.namespace.FsContext, maybe shared
        self.credentials = credentials  # those of the first thread
        self.exe = None  # vfs.namespace.Location of the program
        self.program: tuple[int, int] | None = None  # st_dev and st_ino of its file on the host
        self.dumpable = 1
        self.no_new_privs = 0
        self.tasks: dict[int, Task] = {}
        self.vector: dict[int, int] = {}  # of the auxiliary vector, what differs from the kernel's
        self.reads: frozenset[int] = frozenset()  # descriptors whose read(2) a filter of ours has stopped since

    def fork(self, pid: int, share_fs: bool, credentials=None) -> Process:
        """What a child process starts with; the kernel has already made it.  `credentials` are the forking thread's."""
        credentials = (credentials or self.credentials).copy()
        child = type(self)(pid, self.abi, self.fs if share_fs else self.fs.copy(), credentials)
        child.exe = self.exe
        child.program = self.program
        child.dumpable = self.dumpable
        child.no_new_privs = self.no_new_privs
        child.vector = self.vector
        child.reads = self.reads
        return child


class Task:
    """A thread; `comm` is its name where int80 knows better than the kernel (else None)."""

    __slots__ = ("comm", "credentials", "process", "tid", "wake")

    def __init__(self, tid: int, process: Process) -> None:
        self.tid = tid
        self.process = process
        self.credentials = process.credentials  # of the first thread; another gets a copy of its maker's
        self.comm: bytes | None = None
        self.wake: Callable[[], None] = lambda: None  # has a call that waits made again


class ProcessTree:
    """All tasks of one sandbox by the kernel's number."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, Process] = {}
        self.forking: set[int] = set()  # tasks let into fork whose child is not seen yet
        self.zombies: set[int] = set()  # processes that ended; some are gone by now
        self.departed: dict[int, Credentials] = {}  # of processes that ended, for who learns of them later
        self.init_pid = 0
        self.commands: set[int] = set()  # processes launched from outside beside init
        self.launching: set[int] = set()  # those that have not executed their program yet: a copy of the supervisor each

    def add(self, task: Task) -> None:
        self.tasks[task.tid] = task
        task.process.tasks[task.tid] = task
        self.processes[task.process.pid] = task.process

    def remove(self, tid: int) -> Task | None:
        task = self.tasks.pop(tid, None)
        if task is not None:
            task.process.tasks.pop(tid, None)
            if not task.process.tasks and self.processes.get(task.process.pid) is task.process:
                del self.processes[task.process.pid]
                self._departs(task.process)
        return task

    def _departs(self, process: Process) -> None:
        self.departed.pop(process.pid, None)
        self.departed[process.pid] = process.credentials
        if len(self.departed) > _DEPARTED_MAX:
            del self.departed[next(iter(self.departed))]

    def uid(self, number: int) -> int | None:
        """The real uid of a task by the kernel's number, or of a process that has ended; None when nobody knows."""
        task = self.tasks.get(number)
        ids = task.process.credentials if task is not None else self.departed.get(number)
        return None if ids is None else ids.uid

    def parent(self, pid: int, number: int) -> int:
        """The parent of process `pid`, which the kernel calls `number`, as the guest sees it.

        0 for who was launched from outside; whoever else is outside is an orphan's reaper, which for a guest is init.
        """
        return self.guest(number) or (0 if pid == self.init_pid or pid in self.commands else 1)

    def runs(self, program: tuple[int, int]) -> bool:
        """Whether a process runs the program in a file of the host's, by its st_dev and st_ino."""
        return any(process.program == program for process in self.processes.values())

    # -- numbers ------------------------------------------------------------------------------

    def inside(self) -> list[Process]:
        """The processes that guests may know of: not those that are being launched, whose memory is the supervisor's."""
        return [process for pid, process in self.processes.items() if pid not in self.launching]

    def guest(self, number: int) -> int:
        """A kernel id as the guest sees it: 1 for init, 0 for what is outside."""
        if number == self.init_pid:
            return 1
        return number if number in self.tasks else 0

    def host(self, number: int) -> int:
        """The kernel's number of a task the guest names.  ESRCH."""
        host = self.init_pid if number == 1 else number
        if host in self.launching or (number != 1 and host not in self.tasks):
            raise error(errno.ESRCH)
        return host

    def task(self, number: int) -> Task:
        """The task that a guest's number names.  ESRCH, also for init when it has just ended."""
        return self.known(self.host(number))

    def known(self, number: int) -> Task:
        """The task with a number of the kernel's.  ESRCH."""
        found = self.tasks.get(number)
        if found is None:
            raise error(errno.ESRCH)
        return found

    def process(self, number: int) -> Process:
        """The process that a guest's number names.  ESRCH."""
        found = self.processes.get(self.init_pid if number == 1 else number)
        if found is None or found.pid in self.launching:
            raise error(errno.ESRCH)
        return found

    def guest_group(self, number: int) -> int:
        """A process group as the guest sees it; 0 when none of its processes is inside."""
        if number == self.init_pid:
            return 1
        return number if number in self.tasks or self._has_group(number) else 0

    def guest_session(self, number: int) -> int:
        """A session as the guest sees it; 0 for the one init was started in, which is the host's."""
        if number == self.init_pid:
            return 1
        return 0 if number == os.getsid(0) else number

    def host_group(self, number: int) -> int:
        """The kernel's number of a process group that has members here.  ESRCH.

        Groups alone count, not sessions: init's session is the host's, and so is the group of its leader.
        """
        number = self.init_pid if number == 1 else number
        if not self._has_group(number):
            raise error(errno.ESRCH)
        return number

    def group(self, number: int) -> list[Process]:
        """The processes of a group, by the kernel's number."""
        found = []
        for process in self.inside():
            try:
                if os.getpgid(process.pid) == number and process.tasks:
                    found.append(process)
            except ProcessLookupError:
                continue
        return found

    def _has_group(self, number: int) -> bool:
        for pid in self.processes:
            try:
                if number == os.getpgid(pid) and pid not in self.launching:
                    return True
            except ProcessLookupError:
                continue
        return False

    # -- the limit ----------------------------------------------------------------------------

    def population(self) -> int:
        """Tasks, zombies that nobody has waited for yet, and forks under way."""
        self.zombies = {pid for pid in self.zombies if pid not in self.tasks and os.path.exists(f"/proc/{pid}")}
        return len(self.tasks) + len(self.zombies) + len(self.forking)


def seccomp_filters(task: Task) -> int:
    """How many seccomp(2) filters a guest's task has installed: those it has beside the sandbox's, and the supervisor's own."""

    def count(path: str) -> int:
        with open(path, "rb") as file:
            for line in file:
                if line.startswith(b"Seccomp_filters:"):
                    return int(line.split()[1])
        return 0

    ours = count("/proc/self/status") + 1 + len(task.process.reads)
    return max(0, count(f"/proc/{task.tid}/status") - ours)


def controlling_terminal(pid: int) -> int:
    """The device number of a process's controlling terminal, 0 for none; proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[4])
