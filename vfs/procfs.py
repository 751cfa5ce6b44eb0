"""/proc as the sandbox sees it: its own processes, the host's general figures.

Three kinds of file: *live* ones are the host's own (`/proc/meminfo`, a task's `statm`), handed out as they are,
so a program that keeps one open reads it anew as on any Linux; *told* ones are written here from the host's,
with numbers and names translated, and are a snapshot of the moment they were opened; links are computed.
What is known about processes comes from a `view`, which `abi.procview` gives; what is no process's is in
`vfs.proctables`.

A told file that Linux lets its owner write can be opened for it, and the write is EPERM, as it is for whoever
lacks the capability.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable

from vfs.filesystem import PROC_SUPER_MAGIC
from vfs.kernel import error
from vfs.madeup import S_IFDIR, S_IFLNK, S_IFREG, MadeUpNode, TableFs, Told, find
from vfs.namespace import OpenFile
from vfs.proctables import GENERAL, NET, with_sysctl

# -- what a task's told files say -------------------------------------------------------------------


class _Task:
    """A process, or a `thread` below its process, by the guest's numbers; reads what the host says of it."""

    __slots__ = ("pid", "thread", "tid", "view")

    def __init__(self, view, pid: int, tid: int, thread: bool) -> None:
        self.view = view
        self.pid = pid
        self.tid = tid
        self.thread = thread

    def path(self, name: bytes) -> bytes:
        host = self.view.host_pid(self.pid)
        if not self.thread:
            return b"/proc/%d/%s" % (host, name)
        return b"/proc/%d/task/%d/%s" % (host, self.view.host_pid(self.tid), name)

    def read(self, name: bytes) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    @property
    def calls(self) -> bool:
        """Whether this is the task that asks, which runs then, though it waits for the answer."""
        return self.view.caller()[1] == self.tid


def _stat(task: _Task) -> bytes:
    """proc_pid_stat(5): ids, name, parent, group, session and the terminal's group are the guest's."""
    view = task.view
    fields = task.read(b"stat").rpartition(b")")[2].split()
    state, parent, group, session, terminal, foreground = fields[:6]
    terminal = view.terminal(int(terminal))
    numbers = (
        view.parent(task.pid, int(parent)), view.guest_group(int(group)), view.guest_session(int(session)), terminal,
        view.guest_group(int(foreground)) if terminal else -1,
    )  # fmt: skip
    state = b"R" if task.calls else _STATES.get(state, state)
    head = b"%d (%s) %s %d %d %d %d %d " % (task.tid, view.comm(task.pid, task.tid), state, *numbers)
    return head + b" ".join(fields[6:]) + b"\n"


_STATES = {b"t": b"T"}  # the stop of a group is a stop of the tracer's to the kernel


def _status(task: _Task) -> bytes:
    """proc_pid_status(5), as far as the host's is not the guest's business."""
    view = task.view
    told = view.status(task.pid, task.tid)
    if task.calls:
        told[b"State"] = b"R (running)"
    lines = []
    for line in task.read(b"status").split(b"\n"):
        key = line.partition(b":")[0]
        if key in told:
            line = key + b":\t" + told[key]
        elif key == b"PPid":
            line = b"PPid:\t%d" % view.parent(task.pid, int(line.split()[1]))
        elif key in (b"NSpgid", b"NSsid"):
            translate = view.guest_group if key == b"NSpgid" else view.guest_session
            line = key + b":\t%d" % translate(int(line.split()[1]))
        elif line == b"State:\tt (tracing stop)":
            line = b"State:\tT (stopped)"
        lines.append(line)
    return b"\n".join(lines)


def _sched(task: _Task) -> bytes:
    """The heading names the task: ``cat (4711, #threads: 1)``."""
    count = task.read(b"sched").rpartition(b", #threads: ")[2]
    return b"%s (%d, #threads: %s" % (task.view.comm(task.pid, task.tid), task.tid, count)


def _maps(name: bytes) -> Callable[[_Task], bytes]:
    return lambda task: task.view.rename_maps(task.pid, task.read(name))


def _numa_maps(task: _Task) -> bytes:
    return re.sub(rb"(?<= file=)\S+", lambda found: task.view.file_name(found[0], task.pid), task.read(b"numa_maps"))


def _children(task: _Task) -> bytes:
    inside = (task.view.guest(int(pid)) for pid in task.read(b"children").split())
    return b"".join(b"%d " % pid for pid in inside if pid)


# -- which files a task has -------------------------------------------------------------------------

_LIVE = object()  # the host's own
_READ = object()  # the host's own to read; writing takes a capability that guests lack
_REFUSED = object()  # there, as Linux has it, and opened by nobody
_WHOLE_MAP = b"         0          0 4294967295\n"


class _File:
    """A file of a task: its rights, what is in it, and whether only who may trace the task may look."""

    __slots__ = ("mode", "text", "traced")

    def __init__(self, mode: int, text, traced: bool = False) -> None:
        self.mode = mode
        self.text = text  # bytes, a function from a `_Task`, or one of the above
        self.traced = traced


# No loginuid and sessionid, as in a kernel that does not audit: whoever logs somebody in (pam_loginuid(8)) would write the one.
_TASK_FILES = {
    b"arch_status": _File(0o444, _LIVE),
    b"autogroup": _File(0o644, _READ),
    b"auxv": _File(0o400, lambda task: task.view.auxiliary(task.pid), True),
    b"cgroup": _File(0o444, b"0::/\n"),
    b"children": _File(0o444, _children),
    b"clear_refs": _File(0o200, _LIVE, True),
    b"cmdline": _File(0o444, _LIVE),
    b"comm": _File(0o644, lambda task: task.view.comm(task.pid, task.tid) + b"\n"),
    b"coredump_filter": _File(0o644, _LIVE),
    b"cpuset": _File(0o444, b"/\n"),
    b"environ": _File(0o400, _LIVE, True),
    b"gid_map": _File(0o644, _WHOLE_MAP),
    b"io": _File(0o400, _LIVE, True),
    b"ksm_merging_pages": _File(0o400, _LIVE, True),
    b"ksm_stat": _File(0o400, _LIVE, True),
    b"limits": _File(0o444, _LIVE),
    b"maps": _File(0o444, _maps(b"maps"), True),
    b"mem": _File(0o600, _REFUSED),
    b"mountinfo": _File(0o444, lambda task: task.view.mountinfo()),
    b"mounts": _File(0o444, lambda task: task.view.mounts()),
    b"mountstats": _File(0o400, lambda task: task.view.mountstats()),
    b"numa_maps": _File(0o444, _numa_maps, True),
    b"oom_adj": _File(0o644, _LIVE),
    b"oom_score": _File(0o444, _LIVE),
    b"oom_score_adj": _File(0o644, _LIVE),
    b"pagemap": _File(0o400, _REFUSED),
    b"personality": _File(0o400, _LIVE, True),
    b"projid_map": _File(0o644, _WHOLE_MAP),
    b"sched": _File(0o644, _sched),
    b"schedstat": _File(0o444, _LIVE),
    b"setgroups": _File(0o644, b"allow\n"),
    b"smaps": _File(0o444, _maps(b"smaps"), True),
    b"smaps_rollup": _File(0o444, _LIVE, True),
    b"stack": _File(0o400, _REFUSED),
    b"stat": _File(0o444, _stat),
    b"statm": _File(0o444, _LIVE),
    b"status": _File(0o444, _status),
    b"syscall": _File(0o400, _REFUSED),
    b"timens_offsets": _File(0o644, _READ),
    b"timers": _File(0o444, _LIVE),
    b"timerslack_ns": _File(0o666, _LIVE),
    b"uid_map": _File(0o644, _WHOLE_MAP),
    b"wchan": _File(0o444, _LIVE),
}
_TASK_DIRS = {b"attr": 0o555, b"fd": 0o500, b"fdinfo": 0o555, b"net": 0o555, b"ns": 0o511, b"task": 0o555}
_TASK_LINKS = frozenset((b"cwd", b"exe", b"root"))
_ATTRIBUTES = {name: _File(0o666, _READ) for name in b"current exec fscreate keycreate sockcreate".split()}
_ATTRIBUTES[b"prev"] = _File(0o444, _READ)
_FDINFO = _File(0o400, None, True)


@functools.cache
def _host_has(directory: bytes) -> frozenset[bytes]:
    """What this kernel, as it was built, gives a process, a thread, or a directory of theirs."""
    try:
        return frozenset(os.listdir(b"/proc/" + directory))
    except OSError:
        return frozenset()


class ProcFs(TableFs):
    """The tree at /proc; nodes of a process are named by the guest's numbers."""

    type = b"proc"
    source = b"proc"
    tag = b"int80-proc:"
    dev = 0x15
    magic = PROC_SUPER_MAGIC
    host = b"/proc"
    table = GENERAL
    not_made = errno.ENOENT

    def __init__(self, view, sysctl: dict[bytes, bytes] | None = None) -> None:
        """`sysctl` are values that /proc/sys shows in place of the host's, by name with dots."""
        super().__init__()
        self.view = view
        if sysctl:
            self.table = with_sysctl(sysctl)

    def create(self, parent: MadeUpNode, name: bytes, flags: int, mode: int) -> int:
        raise error(errno.ENOENT)  # whoever asks

    # -- names --------------------------------------------------------------------------------

    def mode_of(self, names: tuple[bytes, ...]) -> int | None:
        if not names[0].isdigit():
            return super().mode_of(names)
        task, rest = self._task(names)
        if task is None:
            return None
        match rest:
            case ():
                return S_IFDIR | 0o555
            case (b"fd", name):
                return S_IFLNK | self._fd_rights(task.pid, int(name)) if self._has_fd(task, name) else None
            case (b"fdinfo", name):
                return S_IFREG | _FDINFO.mode if self._has_fd(task, name) else None
            case (b"ns", name):
                return S_IFLNK | 0o777 if name in _host_has(b"thread-self/ns") else None
            case (b"net", *inner):
                entry = find(NET, tuple(inner))
                return S_IFREG | entry.mode if isinstance(entry, Told) else S_IFDIR | 0o555 if entry else None
            case (name,) if name not in _host_has(b"thread-self" if _is_thread(names) else b"self"):
                return None
            case (name,) if name in _TASK_DIRS:
                return S_IFDIR | _TASK_DIRS[name]
            case (name,) if name in _TASK_LINKS:
                return S_IFLNK | 0o777
        file = self._file(rest)
        return None if file is None else S_IFREG | file.mode

    @staticmethod
    def _file(rest: tuple[bytes, ...]) -> _File | None:
        """The entry of a file of a task, by its names below the task."""
        match rest:
            case (name,):
                return _TASK_FILES.get(name)
            case (b"attr", name) if name in _host_has(b"thread-self/attr"):
                return _ATTRIBUTES.get(name)
            case (b"fdinfo", _):
                return _FDINFO
        return None

    def _task(self, names: tuple[bytes, ...]) -> tuple[_Task | None, tuple[bytes, ...]]:
        """The task that a path leads into, None where there is none, and the names below."""
        pid = tid = _number(names[0])
        rest = names[1:]
        if pid is None or not self.view.exists(pid):
            return None, rest
        thread = _is_thread(names)
        if thread:
            tid = _number(names[2])
            rest = names[3:]
            if tid is None or not self.view.has_thread(pid, tid):
                return None, rest
        return _Task(self.view, pid, tid, thread), rest

    def _has_fd(self, task: _Task, name: bytes) -> bool:
        fd = _number(name)
        return fd is not None and self.view.may_trace(task.pid) and self.view.has_fd(task.pid, fd)

    def _fd_rights(self, pid: int, fd: int) -> int:
        try:
            return os.lstat(f"/proc/{self.view.host_pid(pid)}/fd/{fd}").st_mode & 0o777
        except OSError:
            return 0o700

    def names_in(self, names: tuple[bytes, ...]) -> list[bytes]:
        if not names:
            return [b"%d" % pid for pid in self.view.pids()] + super().names_in(names)
        if not names[0].isdigit():
            return super().names_in(names)
        task, rest = self._task(names)
        if task is None:
            raise error(errno.ENOENT)
        match rest:
            case ():
                return sorted({*_TASK_DIRS, *_TASK_LINKS, *_TASK_FILES})
            case (b"task",):
                return [b"%d" % tid for tid in self.view.threads(task.pid)]
            case (b"fd",) | (b"fdinfo",):
                self._check_traced(task)
                return [b"%d" % fd for fd in self.view.fds(task.pid)]
            case (b"net", *inner):
                return list(find(NET, tuple(inner)))
        return sorted(_host_has(b"thread-self/" + rest[0]))

    def components(self, host_path: bytes) -> tuple[bytes, ...]:
        """A live file is the host's, and comes back under the host's name."""
        if not host_path.startswith(b"/proc/"):
            return super().components(host_path)
        names = tuple(self._guest_number(name) if name.isdigit() else name for name in host_path[6:].split(b"/"))
        mode = self.mode_of(names)
        if mode is None or mode & 0o170000 != S_IFREG:
            raise error(errno.ENOENT)
        return names

    def _guest_number(self, name: bytes) -> bytes:
        return b"%d" % self.view.guest(int(name))

    # -- links --------------------------------------------------------------------------------

    def readlink(self, node: MadeUpNode) -> bytes:
        if not node.is_symlink:
            raise error(errno.EINVAL)
        names = node.names
        if names[0] == b"self":
            return b"%d" % self.view.caller()[0]
        if names[0] == b"thread-self":
            return b"%d/task/%d" % self.view.caller()
        if not names[0].isdigit():
            return super().readlink(node)
        task = self._traceable(names)
        match names[-2]:
            case b"fd":
                return self.view.fd_name(task.pid, int(names[-1]))
            case b"ns":
                return os.readlink(task.path(b"ns/" + names[-1]))
        return self.view.link_name(task.pid, names[-1])

    def follow(self, node: MadeUpNode):
        names = node.names
        if not names[0].isdigit():
            return None
        task = self._traceable(names)
        match names[-2]:
            case b"fd":
                return self.view.fd(task.pid, int(names[-1]))
            case b"ns":
                return OpenFile(os.open(task.path(b"ns/" + names[-1]), os.O_RDONLY | os.O_CLOEXEC))
        return self.view.link(task.pid, names[-1])

    def _traceable(self, names: tuple[bytes, ...]) -> _Task:
        task, _ = self._task(names)
        if task is None:
            raise error(errno.ENOENT)
        self._check_traced(task)
        return task

    def _check_traced(self, task: _Task) -> None:
        if not self.view.may_trace(task.pid):
            raise error(errno.EACCES)

    # -- files --------------------------------------------------------------------------------

    def owner(self, node: MadeUpNode) -> tuple[int, int]:
        if node.names and node.names[0].isdigit():
            return self.view.owner(int(node.names[0]), node.is_dir and node.mode & 0o777 == 0o555)
        return 0, 0

    def access(self, node: MadeUpNode, mode: int) -> bool:
        """Nothing is ever written but files of a task."""
        if node.is_file and node.names[0].isdigit() and node.mode & 0o222:
            mode &= ~os.W_OK
        return super().access(node, mode)

    def open_file(self, node: MadeUpNode, flags: int) -> int:
        names = node.names
        if not names[0].isdigit():
            return super().open_file(node, flags)
        access = flags & os.O_ACCMODE
        task, rest = self._task(names)
        if task is None:
            raise error(errno.ENOENT)
        if rest[0] == b"net":
            if access != os.O_RDONLY:
                raise error(errno.EACCES)
            return self.memfd(node, find(NET, rest[1:]).read(self.view))
        file = self._file(rest)
        if file is None:
            raise error(errno.ENOENT)
        if file.text is _REFUSED or (access != os.O_RDONLY and not file.mode & 0o222):
            raise error(errno.EACCES)
        if file.traced or access != os.O_RDONLY:
            self._check_traced(task)
        if rest == (b"comm",) and access != os.O_RDONLY:
            return self.view.open_comm(task.pid, task.tid, flags)
        if file.text is _READ and access != os.O_RDONLY:
            return self.memfd(node, b"", access)
        if file.text is _LIVE or file.text is _READ:
            return os.open(task.path(b"/".join(rest)), access | os.O_CLOEXEC)
        if file is _FDINFO:
            return self.memfd(node, self.view.fdinfo(task.pid, int(rest[1])))
        return self.memfd(node, file.text(task) if callable(file.text) else file.text, access)


def _is_thread(names: tuple[bytes, ...]) -> bool:
    """Whether a path leads below ``/proc/PID/task/TID``."""
    return len(names) > 2 and names[1] == b"task"


def _number(name: bytes) -> int | None:
    if not name.isdigit() or len(name) > 10 or (name[0] == 48 and len(name) > 1):
        return None
    return int(name)
