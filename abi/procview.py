"""What `vfs.procfs` is told about a sandbox's processes: the bridge from the tree to the tree of files."""

from __future__ import annotations

import os

from abi.errors import SysError
from abi.ipc import rows
from abi.net.addresses import UNNAMED
from abi.processes import comm
from procs.execution import changed_vector
from procs.limits import resident
from procs.tree import controlling_terminal, seccomp_filters
from vfs.hostfs import SAFE_DEVICES, HostFs
from vfs.namespace import FsContext, OpenFile


class ProcView:
    """The processes of one sandbox, by the numbers the guest knows.  ESRCH and ENOENT when one is gone."""

    def __init__(self, sandbox) -> None:
        self._sandbox = sandbox

    @property
    def _tree(self):
        return self._sandbox.tree

    # -- numbers ------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        return sorted(self._tree.guest(process.pid) for process in self._tree.inside())

    def exists(self, pid: int) -> bool:
        host = self._tree.init_pid if pid == 1 else pid
        return host in self._tree.tasks and host not in self._tree.launching

    def threads(self, pid: int) -> list[int]:
        return sorted(self._tree.guest(tid) for tid in self._process(pid).tasks)

    def has_thread(self, pid: int, tid: int) -> bool:
        return self.host_pid(tid) in self._process(pid).tasks if self.exists(tid) else False

    def host_pid(self, pid: int) -> int:
        return self._tree.host(pid)

    def guest(self, number: int) -> int:
        return self._tree.guest(number)

    def parent(self, pid: int, number: int) -> int:
        """The parent of a process, which the kernel calls `number`."""
        return self._tree.parent(self._tree.host(pid), number)

    def guest_group(self, number: int) -> int:
        return self._tree.guest_group(number)

    def guest_session(self, number: int) -> int:
        return self._tree.guest_session(number)

    def terminal(self, number: int) -> int:
        """A controlling terminal's device number; 0 for one that was not handed in."""
        devices = self._sandbox.devices
        return number if devices is not None and devices.terminal(number) is not None else 0

    def callers_terminal(self) -> int:
        """The device number of the caller's controlling terminal, 0 for none."""
        return controlling_terminal(self._sandbox.caller.process.pid)

    def caller(self) -> tuple[int, int]:
        """The process and the thread that ask; where nobody has yet, init, for whom a container is made ready."""
        task = self._sandbox.caller
        if task is None:
            return 1, 1
        return self._tree.guest(task.process.pid), self._tree.guest(task.tid)

    def population(self) -> int:
        """How many tasks there are."""
        return len(self._tree.tasks)

    def limit(self, name: str) -> bytes:
        """What the sandbox is held to, as the file of that name of a control group says it."""
        return self._sandbox.limits.told(name)

    def resident(self) -> int:
        """How many bytes of memory the processes hold, what they share counted for each."""
        return sum(resident(pid) for pid in self._tree.processes)

    def last(self) -> int:
        """The highest number of a task."""
        return max((self._tree.guest(tid) for tid in self._tree.tasks), default=0)

    def uid(self, uid: int) -> int:
        return self._sandbox.guest_uid(uid)

    def gid(self, gid: int) -> int:
        return self._sandbox.guest_gid(gid)

    def may_trace(self, pid: int) -> bool:
        """Whether the caller may look into a process: ptrace(2) on PTRACE_MODE_READ_FSCREDS."""
        process = self._process(pid)
        caller = self._sandbox.caller
        if caller is None or caller.process is process:
            return True
        return caller.credentials.may_trace(process.credentials, bool(process.dumpable), real=False)

    def _process(self, pid: int):
        """The process of a pid, or of a thread's number, as /proc allows."""
        return self._tree.task(pid).process

    def owner(self, pid: int, entry: bool = False) -> tuple[int, int]:
        """Whose the files of a process are: root's, where it is not dumpable, but for the directory itself (`entry`)."""
        process = self._process(pid)
        if not process.dumpable and not entry:
            return 0, 0
        return process.credentials.euid, process.credentials.egid

    # -- what a task is -----------------------------------------------------------------------

    def comm(self, pid: int, tid: int) -> bytes:
        return comm(self._tree.task(tid))

    def open_comm(self, pid: int, tid: int, flags: int) -> int:
        """The kernel's own file, which lets only the same process write; its name then counts."""
        host, thread = self._tree.host(pid), self._tree.host(tid)
        path = b"/proc/%d/task/%d/comm" % (host, thread)
        fd = os.open(path, flags & os.O_ACCMODE | os.O_CLOEXEC)
        self._tree.known(thread).comm = None
        return fd

    def auxiliary(self, pid: int) -> bytes:
        """The auxiliary vector with the ids that the guest believes in, as they were at its exec."""
        process = self._process(pid)
        with open(b"/proc/%d/auxv" % process.pid, "rb") as file:
            return changed_vector(file.read(), process.vector)

    def status(self, pid: int, tid: int) -> dict[bytes, bytes]:
        """What /proc/PID/status says other than the kernel, which is to be asked after this."""
        self._sandbox.before_status()
        process = self._process(pid)
        ids = self._tree.task(tid).credentials
        number = b"%d" % tid
        group = b"%d" % self._tree.guest(process.pid)
        filters = self._sandbox.filtered + seccomp_filters(self._tree.task(tid))
        return {
            b"Name": self.comm(pid, tid),
            b"Umask": b"%04o" % process.fs.umask,
            b"Tgid": group,
            b"Ngid": b"0",
            b"Pid": number,
            b"TracerPid": b"0",
            b"Uid": b"%d\t%d\t%d\t%d" % (ids.uid, ids.euid, ids.suid, ids.fsuid),
            b"Gid": b"%d\t%d\t%d\t%d" % (ids.gid, ids.egid, ids.sgid, ids.fsgid),
            b"Groups": b" ".join(b"%d" % group for group in ids.groups) + b" ",
            b"NStgid": group,
            b"NSpid": number,
            b"CapInh": b"%016x" % ids.inheritable,
            b"CapPrm": b"%016x" % ids.permitted,
            b"CapEff": b"%016x" % ids.effective,
            b"CapBnd": b"%016x" % ids.bounding,
            b"CapAmb": b"%016x" % ids.ambient,
            b"NoNewPrivs": b"%d" % process.no_new_privs,
            b"Seccomp": b"2" if filters else b"0",
            b"Seccomp_filters": b"%d" % filters,
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
        return host if host.startswith(b"/memfd:") or host in SAFE_DEVICES else b"/" + host.rpartition(b"/")[2]

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
            return where.name() if self._is_at_its_name(where) else where.name() + b" (deleted)"
        try:
            return b"/" + b"/".join(where.current_path())
        except FileNotFoundError:
            return where.name() + b" (deleted)"

    def _is_at_its_name(self, where) -> bool:
        namespace = self._sandbox.namespace
        try:
            found = namespace.walk(FsContext(namespace.root, namespace.root, 0), namespace.root, where.name(), False)
            there, here = found.fs.stat(found.node), where.fs.stat(where.node)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def fdinfo(self, pid: int, fd: int) -> bytes:
        """proc_pid_fdinfo(5) with the guest's mounts and processes."""
        process = self._process(pid)
        with open(b"/proc/%d/fdinfo/%d" % (process.pid, fd), "rb") as file:
            lines = file.read().splitlines()
        for index, line in enumerate(lines):
            key, _, value = line.partition(b":")
            match key:
                case b"mnt_id":
                    where = self._sandbox.namespace.reach(self.fd(pid, fd))
                    lines[index] = b"mnt_id:\t%d" % (0 if isinstance(where, OpenFile) else where.mount.id)
                case b"Pid" | b"NSpid":  # of a pidfd; -1 once the process was waited for
                    number = int(value.split()[0])
                    lines[index] = b"%s:\t%d" % (key, self._tree.guest(number) if number > 0 else number)
                case b"lock":
                    words = line.split()
                    words[5] = b"%d" % self._tree.guest(int(words[5]))
                    lines[index] = b" ".join(words)
        return b"".join(line + b"\n" for line in lines)

    def sockets(self) -> set[bytes]:
        """The inode numbers of all sockets that the sandbox's processes have open."""
        found = set()
        for process in self._tree.inside():
            directory = b"/proc/%d/fd/" % process.pid
            try:
                names = os.listdir(directory)
            except OSError:
                continue  # it has ended
            for name in names:
                try:
                    target = os.readlink(directory + name)
                except OSError:
                    continue  # closed meanwhile
                if target.startswith(b"socket:["):
                    found.add(target[8:-1])
        return found

    @property
    def on_host(self) -> bool:
        """Whether the network is this machine's."""
        return self._sandbox.network.on_host

    def loopback(self, name: bytes) -> bytes:
        """proc_net(5) of the sockets on the loopback inside, without its heading; `name` is tcp, udp6 and so on."""
        if self.on_host:
            return b""
        from abi.net import listing

        return listing.rows(self._sandbox, name)

    def socket_name(self, host: bytes) -> bytes | None:
        """The guest's name of a unix socket, as proc_net(5) writes it; empty where it has none, None where it is no such."""
        names = self._sandbox.network.names
        raw = UNNAMED + host + b"\0"
        if names.inet(raw) is not None:
            return None
        found = names.find(raw)
        return b"" if found is None else found.shown[2:].replace(b"\0", b"@") if found.shown[2:3] == b"\0" else found.shown[2:-1]

    def rename_maps(self, pid: int, text: bytes) -> bytes:
        """proc_pid_maps(5) with the guest's names for files."""
        lines = []
        for line in text.split(b"\n"):
            head, slash, path = line.partition(b" /")
            if slash and b":" not in head.rpartition(b" ")[2]:
                line = head + b" " + self.file_name(b"/" + path, pid)
            lines.append(line)
        return b"\n".join(lines)

    def file_name(self, host: bytes, pid: int | None = None) -> bytes:
        """The guest's name of a host file; the program of process `pid` may be a copy that only that one has."""
        if host.startswith(b"/memfd:int80-program"):
            process = None if pid is None else self._process(pid)
            return process.exe.name() if process is not None and process.exe is not None else b"/"
        if host in SAFE_DEVICES:
            return host
        if host.startswith((b"/memfd:", b"/dev/zero", b"/SYSV", b"/anon_hugepage")):
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

    def _mounts(self):
        """(mount, its path as getmntent(3) reads it, its options) of each."""
        for mount in self._sandbox.namespace.mounts.values():
            if not mount.flags.listed:
                continue
            if mount.flags.shown is not None:
                yield mount, _escape(b"/" + b"/".join(mount.path)), mount.flags.shown
                continue
            options = b"ro" if mount.read_only else b"rw"
            nodev = b"" if mount.path == (b"dev",) else b",nodev"
            nosuid = b"" if isinstance(mount.fs, HostFs) else b",nosuid"
            yield mount, _escape(b"/" + b"/".join(mount.path)), options + nosuid + nodev

    def mounts(self) -> bytes:
        """proc_pid_mounts(5)."""
        return b"".join(
            b"%s %s %s %s 0 0\n" % (_escape(mount.fs.source), where, mount.fs.type, options + _beyond(mount))
            for mount, where, options in self._mounts()
        )

    def mountinfo(self) -> bytes:
        """proc_pid_mountinfo(5); the device is the one that stat(2) tells of the files there."""
        lines = []
        for mount, where, options in self._mounts():
            dev = mount.fs.stat(mount.fs.root).st_dev
            lines.append(
                b"%d %d %d:%d / %s %s - %s %s %s\n"
                % (mount.id, mount.parent_id, os.major(dev), os.minor(dev), where, options, mount.fs.type,
                   _escape(mount.fs.source), mount.flags.super_shown or options[:2])
            )  # fmt: skip
        return b"".join(lines)

    def mountstats(self) -> bytes:
        """proc_pid_mountstats(5)."""
        return b"".join(
            b"device %s mounted on %s with fstype %s\n" % (_escape(mount.fs.source), where, mount.fs.type)
            for mount, where, _ in self._mounts()
        )

    def objects(self, name: bytes) -> bytes:
        """proc_sysvipc(5) without its heading; `name` is msg, sem or shm."""
        return rows(self._sandbox, (b"msg", b"sem", b"shm").index(name))

    def system_name(self, name: bytes) -> bytes:
        return self._sandbox.hostname if name == b"hostname" else self._sandbox.domainname


def _beyond(mount) -> bytes:
    """The options of a mount's file system that come behind its own: all but ro and rw."""
    return (mount.flags.super_shown or b"")[2:]


def _escape(path: bytes) -> bytes:
    """Blanks and backslashes as getmntent(3) reads them."""
    for raw, octal in ((b"\\", b"\\134"), (b" ", b"\\040"), (b"\t", b"\\011"), (b"\n", b"\\012")):
        path = path.replace(raw, octal)
    return path
