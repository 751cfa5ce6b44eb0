"""What `vfs.procfs` is told about a sandbox's processes: the bridge from the tree to the tree of files."""

from __future__ import annotations

import os

from abi.errors import SysError
from abi.processes import comm
from vfs.namespace import OpenFile


class ProcView:
    """The processes of one sandbox, by the numbers the guest knows.  ESRCH and ENOENT when one is gone."""

    def __init__(self, sandbox) -> None:
        self._sandbox = sandbox

    @property
    def _tree(self):
        return self._sandbox.tree

    # -- numbers ------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        return sorted(self._tree.guest(pid) for pid in self._tree.processes)

    def exists(self, pid: int) -> bool:
        return (self._tree.init_pid if pid == 1 else pid) in self._tree.tasks

    def threads(self, pid: int) -> list[int]:
        return sorted(self._tree.guest(tid) for tid in self._process(pid).tasks)

    def has_thread(self, pid: int, tid: int) -> bool:
        return self.host_pid(tid) in self._process(pid).tasks if self.exists(tid) else False

    def host_pid(self, pid: int) -> int:
        return self._tree.host(pid)

    def guest(self, number: int) -> int:
        return self._tree.guest(number)

    def guest_group(self, number: int) -> int:
        return self._tree.guest_group(number)

    def guest_session(self, number: int) -> int:
        return self._tree.guest_session(number)

    def caller(self) -> tuple[int, int]:
        task = self._sandbox.caller
        return self._tree.guest(task.process.pid), self._tree.guest(task.tid)

    def _process(self, pid: int):
        """The process of a pid, or of a thread's number, as /proc allows."""
        return self._tree.tasks[self._tree.host(pid)].process

    def owner(self, pid: int) -> tuple[int, int]:
        credentials = self._process(pid).credentials
        sandbox = self._sandbox
        return (
            sandbox.host_uid if credentials.euid == 0 else credentials.euid,
            sandbox.host_gid if credentials.egid == 0 else credentials.egid,
        )

    # -- what a task is -----------------------------------------------------------------------

    def comm(self, pid: int, tid: int) -> bytes:
        return comm(self._tree.tasks[self._tree.host(tid)])

    def open_comm(self, pid: int, tid: int, flags: int) -> int:
        """The kernel's own file, which lets only the same process write; its name then counts."""
        host, thread = self._tree.host(pid), self._tree.host(tid)
        path = b"/proc/%d/task/%d/comm" % (host, thread)
        fd = os.open(path, flags & os.O_ACCMODE | os.O_CLOEXEC)
        self._tree.tasks[thread].comm = None
        return fd

    def status(self, pid: int, tid: int) -> dict[bytes, bytes]:
        process = self._process(pid)
        ids = process.credentials
        number = b"%d" % tid
        return {
            b"Name": self.comm(pid, tid),
            b"Umask": b"%04o" % process.fs.umask,
            b"Tgid": b"%d" % pid,
            b"Ngid": b"0",
            b"Pid": number,
            b"TracerPid": b"0",
            b"Uid": b"%d\t%d\t%d\t%d" % (ids.uid, ids.euid, ids.suid, ids.fsuid),
            b"Gid": b"%d\t%d\t%d\t%d" % (ids.gid, ids.egid, ids.sgid, ids.fsgid),
            b"Groups": b" ".join(b"%d" % group for group in ids.groups) + b" ",
            b"NStgid": b"%d" % pid,
            b"NSpid": number,
            b"CapInh": b"%016x" % ids.inheritable,
            b"CapPrm": b"%016x" % ids.permitted,
            b"CapEff": b"%016x" % ids.effective,
            b"CapBnd": b"%016x" % ids.bounding,
            b"CapAmb": b"%016x" % ids.ambient,
            b"NoNewPrivs": b"%d" % process.no_new_privs,
            b"Seccomp": b"0",
            b"Seccomp_filters": b"0",
        }

    # -- descriptors and links ----------------------------------------------------------------

    def fds(self, pid: int) -> list[int]:
        return sorted(int(name) for name in os.listdir(b"/proc/%d/fd" % self._process(pid).pid))

    def has_fd(self, pid: int, fd: int) -> bool:
        try:
            self._process(pid).files.check(fd)
        except (OSError, SysError):
            return False
        return True

    def fd(self, pid: int, fd: int) -> OpenFile:
        return OpenFile(self._process(pid).files.get(fd))

    def fd_name(self, pid: int, fd: int) -> bytes:
        target = self.fd(pid, fd)
        host = os.readlink(b"/proc/self/fd/%d" % target.fd)
        if not host.startswith(b"/"):
            return host  # pipe:[N], anon_inode:...
        found = self._sandbox.namespace.locate(target.fd, host)
        if found is not None:
            return found.name()
        return host if host.startswith(b"/memfd:") else b"/" + host.rpartition(b"/")[2]

    def link(self, pid: int, name: bytes):
        """Where exe, cwd or root leads, as a location."""
        process = self._process(pid)
        match name:
            case b"cwd":
                return process.fs.cwd
            case b"root":
                return process.fs.root
        if process.exe is not None:
            return process.exe
        return OpenFile(os.open(b"/proc/%d/exe" % process.pid, os.O_PATH | os.O_CLOEXEC))

    def link_name(self, pid: int, name: bytes) -> bytes:
        where = self.link(pid, name)
        if isinstance(where, OpenFile):
            return os.readlink(b"/proc/self/fd/%d" % where.fd)
        if name == b"exe":
            return where.name()
        try:
            return b"/" + b"/".join(where.current_path())
        except FileNotFoundError:
            return where.name() + b" (deleted)"

    def rename_maps(self, pid: int, text: bytes) -> bytes:
        """proc_pid_maps(5) with the guest's names for files."""
        process = self._process(pid)
        exe = process.exe.name() if process.exe is not None else b"/"
        lines = []
        for line in text.split(b"\n"):
            head, slash, path = line.partition(b" /")
            if slash and b":" not in head.rpartition(b" ")[2]:
                line = head + b" " + self._guest_name(b"/" + path, exe)
            lines.append(line)
        return b"\n".join(lines)

    def _guest_name(self, host: bytes, exe: bytes) -> bytes:
        if host.startswith(b"/memfd:int80-program"):
            return exe
        if host.startswith((b"/memfd:", b"/dev/zero")):
            return host
        deleted = b" (deleted)" if host.endswith(b" (deleted)") else b""
        for mount in self._sandbox.namespace.mounts.values():
            try:
                names = mount.fs.components(host.removesuffix(b" (deleted)"))
            except OSError:
                continue
            return b"/" + b"/".join(mount.path + names) + deleted
        return b"/" + host.rpartition(b"/")[2]

    # -- mounts and names ---------------------------------------------------------------------

    def mounts(self) -> bytes:
        """proc_pid_mounts(5)."""
        lines = []
        for mount in self._sandbox.namespace.mounts.values():
            where = _escape(b"/" + b"/".join(mount.path))
            options = b"ro" if mount.read_only else b"rw"
            lines.append(b"%s %s %s %s,nosuid 0 0\n" % (mount.fs.source, where, mount.fs.type, options))
        return b"".join(lines)

    def mountinfo(self) -> bytes:
        """proc_pid_mountinfo(5)."""
        lines = []
        for mount in self._sandbox.namespace.mounts.values():
            where = _escape(b"/" + b"/".join(mount.path))
            options = b"ro" if mount.read_only else b"rw"
            lines.append(
                b"%d %d 0:%d / %s %s,nosuid - %s %s %s\n"
                % (mount.id, mount.parent_id, mount.id, where, options, mount.fs.type, mount.fs.source, options)
            )
        return b"".join(lines)

    def system_name(self, name: bytes) -> bytes:
        return self._sandbox.hostname if name == b"hostname" else self._sandbox.domainname


def _escape(path: bytes) -> bytes:
    """Blanks and backslashes as getmntent(3) reads them."""
    for raw, octal in ((b"\\", b"\\134"), (b" ", b"\\040"), (b"\t", b"\\011"), (b"\n", b"\\012")):
        path = path.replace(raw, octal)
    return path

