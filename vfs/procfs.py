"""/proc as the sandbox sees it: its own processes, the host's general figures.

Three kinds of file: *real* ones are the host's own (`/proc/meminfo`, a task's `statm`), handed out as they are,
so a program that keeps one open reads it anew as on any Linux; *told* ones are written here from the host's,
with numbers and names translated, and are a snapshot of the moment they were opened; links are computed.
What is known about processes comes from a `view`, which `abi.procview` gives.
"""

from __future__ import annotations

import errno
import os

from vfs.filesystem import PROC_SUPER_MAGIC
from vfs.kernel import error
from vfs.madeup import S_IFDIR, S_IFLNK, S_IFREG, MadeUpFs, MadeUpNode

_REAL = frozenset(
    b"meminfo uptime stat loadavg cpuinfo version filesystems vmstat diskstats devices partitions swaps "
    b"interrupts softirqs buddyinfo zoneinfo misc".split()
)
_TOP_LINKS = {b"mounts": b"self/mounts", b"net": b"self/net"}
_TASK_REAL = frozenset(
    b"cmdline environ statm io limits schedstat oom_score oom_score_adj auxv personality wchan "
    b"clear_refs timers timerslack_ns coredump_filter autogroup smaps_rollup numa_maps".split()
)
_TASK_TOLD = frozenset(b"stat status comm maps smaps mounts mountinfo mountstats cgroup uid_map gid_map setgroups".split())
_TASK_DIRS = frozenset((b"fd", b"fdinfo", b"task", b"net"))
_TASK_LINKS = frozenset((b"exe", b"cwd", b"root"))
_PROCESS_ONLY = frozenset((b"task", b"autogroup", b"timers", b"coredump_filter", b"timerslack_ns", b"mountstats"))

_SYS = {
    (b"kernel", b"hostname"): None,
    (b"kernel", b"domainname"): None,
    (b"kernel", b"ostype"): b"/proc/sys/kernel/ostype",
    (b"kernel", b"osrelease"): b"/proc/sys/kernel/osrelease",
    (b"kernel", b"version"): b"/proc/sys/kernel/version",
    (b"kernel", b"pid_max"): b"/proc/sys/kernel/pid_max",
    (b"kernel", b"threads-max"): b"/proc/sys/kernel/threads-max",
    (b"kernel", b"cap_last_cap"): b"/proc/sys/kernel/cap_last_cap",
    (b"kernel", b"ngroups_max"): b"/proc/sys/kernel/ngroups_max",
    (b"kernel", b"randomize_va_space"): b"/proc/sys/kernel/randomize_va_space",
    (b"kernel", b"random", b"boot_id"): b"/proc/sys/kernel/random/boot_id",
    (b"kernel", b"random", b"uuid"): b"/proc/sys/kernel/random/uuid",
    (b"fs", b"file-max"): b"/proc/sys/fs/file-max",
    (b"fs", b"nr_open"): b"/proc/sys/fs/nr_open",
    (b"fs", b"pipe-max-size"): b"/proc/sys/fs/pipe-max-size",
    (b"vm", b"overcommit_memory"): b"/proc/sys/vm/overcommit_memory",
    (b"vm", b"max_map_count"): b"/proc/sys/vm/max_map_count",
    (b"net", b"core", b"somaxconn"): b"/proc/sys/net/core/somaxconn",
}
_SYS_DIRS = {names[:length] for names in _SYS for length in range(len(names))}


class ProcFs(MadeUpFs):
    """The tree at /proc; nodes of a process are named by the guest's numbers."""

    type = b"proc"
    source = b"proc"
    tag = b"int80-proc:"
    dev = 0x15
    magic = PROC_SUPER_MAGIC

    def __init__(self, view) -> None:
        super().__init__()
        self.view = view

    # -- names --------------------------------------------------------------------------------

    def lookup(self, parent: MadeUpNode, name: bytes) -> MadeUpNode:
        names = parent.names + (name,)
        kind = self._kind(names)
        if kind is None:
            raise error(errno.ENOENT)
        return MadeUpNode(names, kind)

    def _kind(self, names: tuple[bytes, ...]) -> int | None:
        """The st_mode of an object, None where there is none."""
        head = names[0]
        if head.isdigit():
            return self._task_kind(names)
        if len(names) == 1:
            if head in (b"self", b"thread-self") or head in _TOP_LINKS:
                return S_IFLNK | 0o777
            if head == b"sys":
                return S_IFDIR | 0o555
            if head == b"cmdline" or (head in _REAL and os.path.exists(b"/proc/" + head)):
                return S_IFREG | 0o444
        elif head == b"sys":
            if names[1:] in _SYS_DIRS:
                return S_IFDIR | 0o555
            if names[1:] in _SYS:
                return S_IFREG | 0o444
        return None

    def _task_kind(self, names: tuple[bytes, ...]) -> int | None:
        pid = self._number(names[0])
        if pid is None or not self.view.exists(pid):
            return None
        rest = names[1:]
        if rest[:1] == (b"task",) and len(rest) > 1:
            tid = self._number(rest[1])
            if tid is None or not self.view.has_thread(pid, tid):
                return None
            rest = rest[2:]
            if rest and rest[0] in _PROCESS_ONLY:
                return None
        if not rest:
            return S_IFDIR | 0o555
        if len(rest) == 1:
            if rest[0] in _TASK_DIRS:
                return S_IFDIR | (0o500 if rest[0] in (b"fd", b"fdinfo") else 0o555)
            if rest[0] in _TASK_LINKS:
                return S_IFLNK | 0o777
            if rest[0] in _TASK_TOLD or rest[0] in _TASK_REAL:
                return S_IFREG | (0o400 if rest[0] in (b"environ", b"auxv", b"io") else 0o444)
        elif len(rest) == 2 and rest[0] in (b"fd", b"fdinfo"):
            fd = self._number(rest[1])
            if fd is not None and self.view.has_fd(pid, fd):
                return S_IFLNK | self._fd_rights(pid, fd) if rest[0] == b"fd" else S_IFREG | 0o400
        return None

    def _fd_rights(self, pid: int, fd: int) -> int:
        try:
            return os.lstat(f"/proc/{self.view.host_pid(pid)}/fd/{fd}").st_mode & 0o777
        except OSError:
            return 0o700

    @staticmethod
    def _number(name: bytes) -> int | None:
        if not name.isdigit() or len(name) > 10 or (name[0] == 48 and len(name) > 1):
            return None
        return int(name)

    def entries(self, node: MadeUpNode) -> list[tuple[bytes, int, int]]:
        names = node.names
        listing: list[bytes] = []
        if not names:
            listing = [b"%d" % pid for pid in self.view.pids()]
            listing += [b"self", b"thread-self", b"sys", b"cmdline", *_TOP_LINKS, *sorted(_REAL)]
        elif names[0] == b"sys":
            inside = names[1:]
            deeper = {path[len(inside)] for path in _SYS if path[: len(inside)] == inside}
            listing = sorted(deeper)
        else:
            pid, rest = int(names[0]), names[1:]
            if rest and rest[0] == b"task" and len(rest) > 1:
                rest = rest[2:]
                only = _PROCESS_ONLY
            else:
                only = frozenset()
            if rest == (b"task",):
                listing = [b"%d" % tid for tid in self.view.threads(pid)]
            elif rest in ((b"fd",), (b"fdinfo",)):
                listing = [b"%d" % fd for fd in self.view.fds(pid)]
            elif not rest:
                listing = sorted((_TASK_DIRS | _TASK_LINKS | _TASK_TOLD | _TASK_REAL) - only)
        result = []
        for name in listing:
            mode = self._kind(names + (name,))
            if mode is not None:
                result.append((name, hash(names + (name,)) & 0x7FFFFFFF | 0x100, mode >> 12))
        return result

    # -- links --------------------------------------------------------------------------------

    def readlink(self, node: MadeUpNode) -> bytes:
        if not node.is_symlink:
            raise error(errno.EINVAL)
        names = node.names
        if names[0] == b"self":
            return b"%d" % self.view.caller()[0]
        if names[0] == b"thread-self":
            return b"%d/task/%d" % self.view.caller()
        if names[0] in _TOP_LINKS:
            return _TOP_LINKS[names[0]]
        pid = int(names[0])
        if names[-2] == b"fd":
            return self.view.fd_name(pid, int(names[-1]))
        return self.view.link_name(pid, names[-1])

    def follow(self, node: MadeUpNode):
        names = node.names
        if not names[0].isdigit():
            return None
        pid = int(names[0])
        if names[-2] == b"fd":
            return self.view.fd(pid, int(names[-1]))
        return self.view.link(pid, names[-1])

    # -- files --------------------------------------------------------------------------------

    def owner(self, node: MadeUpNode) -> tuple[int, int]:
        if node.names and node.names[0].isdigit():
            return self.view.owner(int(node.names[0]))
        return os.geteuid(), os.getegid()

    def open_file(self, node: MadeUpNode, flags: int) -> int:
        names = node.names
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if not names[0].isdigit():
            if writes:
                raise error(errno.EACCES)
            if len(names) == 1 and names[0] != b"cmdline":
                return os.open(b"/proc/" + names[0], os.O_RDONLY | os.O_CLOEXEC)
            return self.memfd(node, self._general(names))
        pid, tid, rest = self._split(names)
        if rest == (b"comm",) and writes:
            return self.view.open_comm(pid, tid, flags)
        if writes:
            raise error(errno.EACCES)
        if rest[0] in _TASK_REAL:
            return os.open(self._host_path(pid, tid, rest[0]), os.O_RDONLY | os.O_CLOEXEC)
        return self.memfd(node, self._told(pid, tid, rest))

    def _split(self, names: tuple[bytes, ...]) -> tuple[int, int, tuple[bytes, ...]]:
        """(pid, tid, what is below) of a path into a task."""
        pid = int(names[0])
        if names[1:2] == (b"task",) and len(names) > 2:
            return pid, int(names[2]), names[3:]
        return pid, pid, names[1:]

    def _host_path(self, pid: int, tid: int, name: bytes) -> bytes:
        host = self.view.host_pid(pid)
        if tid == pid:
            return b"/proc/%d/%s" % (host, name)
        return b"/proc/%d/task/%d/%s" % (host, self.view.host_pid(tid), name)

    def _read(self, pid: int, tid: int, name: bytes) -> bytes:
        with open(self._host_path(pid, tid, name), "rb") as file:
            return file.read()

    def _general(self, names: tuple[bytes, ...]) -> bytes:
        if names == (b"cmdline",):
            return b"int80\n"
        host = _SYS[names[1:]]
        if host is None:
            return self.view.system_name(names[-1]) + b"\n"
        with open(host, "rb") as file:
            return file.read()

    def _told(self, pid: int, tid: int, rest: tuple[bytes, ...]) -> bytes:
        view = self.view
        match rest[0]:
            case b"stat":
                return self._stat(pid, tid)
            case b"status":
                return self._status(pid, tid)
            case b"comm":
                return view.comm(pid, tid) + b"\n"
            case b"maps" | b"smaps":
                return view.rename_maps(pid, self._read(pid, tid, rest[0]))
            case b"mounts":
                return view.mounts()
            case b"mountinfo":
                return view.mountinfo()
            case b"mountstats":
                return b""
            case b"cgroup":
                return b"0::/\n"
            case b"uid_map" | b"gid_map":
                return b"         0          0 4294967295\n"
            case b"setgroups":
                return b"allow\n"
            case b"fdinfo":
                return self._read(pid, pid, b"fdinfo/" + rest[1])
        raise error(errno.ENOENT)

    def _stat(self, pid: int, tid: int) -> bytes:
        """proc_pid_stat(5): ids, name, parent, group, session and the terminal's group are the guest's."""
        view = self.view
        fields = self._read(pid, tid, b"stat").rpartition(b")")[2].split()
        state, parent, group, session, terminal, foreground = fields[:6]
        numbers = (
            view.guest(int(parent)), view.guest_group(int(group)), view.guest_session(int(session)), int(terminal),
            view.guest_group(int(foreground)) if int(foreground) > 0 else -1,
        )  # fmt: skip
        head = b"%d (%s) %s %d %d %d %d %d " % (tid, view.comm(pid, tid), state, *numbers)
        return head + b" ".join(fields[6:]) + b"\n"

    def _status(self, pid: int, tid: int) -> bytes:
        """proc_pid_status(5), as far as the host's is not the guest's business."""
        view = self.view
        told = view.status(pid, tid)
        lines = []
        for line in self._read(pid, tid, b"status").split(b"\n"):
            key = line.partition(b":")[0]
            if key == b"PPid":
                line = b"PPid:\t%d" % view.guest(int(line.split()[1]))
            elif key in told:
                line = key + b":\t" + told[key]
            elif key in (b"NSpgid", b"NSsid"):
                translate = view.guest_group if key == b"NSpgid" else view.guest_session
                line = key + b":\t%d" % translate(int(line.split()[1]))
            lines.append(line)
        return b"\n".join(lines)
