"""Steering an execve to the file the supervisor chose, and making the new image tell the guest's story.

The kernel is pointed at ``/proc/SUPERVISOR/fd/N``.  The string stands in guest memory, where another thread
may change it before the kernel reads it; so at PTRACE_EVENT_EXEC the file that was run is compared with
the file that was chosen, and the sandbox is ended if they differ.

The string is padded with slashes to leave room for the guest's own name of the program: the kernel copies
it to the top of the new stack, where AT_EXECFN finds it, and there it is overwritten in place.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

from abi.errors import Kind, SysError
from procs.execution import ExecPlan, changed_vector
from vfs import kernel
from vfs.namespace import Location

_AT_BASE, _AT_ENTRY, _AT_EXECFN, _AT_SYSINFO_EHDR = 7, 9, 31, 33
_RED_ZONE = 128
_SCRATCH = 64  # bytes behind the name at the top of every stack: room for the next image's path
_ARGUMENTS_MAX = 1 << 18  # pointers; more than the kernel's own limit on their strings lets through
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_COPIES_MAX = 8
_PROGRAMS_MAX = 512  # whose sites are remembered
_COPY_MAX = 1 << 29  # bytes of a program that is copied into memory
_PATH_MAX = 4096
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Program:
    """The file to run and its interpreter (None: static), by descriptors that live as long as this does."""

    __slots__ = ("fd", "interpreter")

    def __init__(self, fd: int, interpreter: int | None) -> None:
        self.fd = fd
        self.interpreter = interpreter

    def __del__(self) -> None:
        os.close(self.fd)
        if self.interpreter is not None:
            os.close(self.interpreter)


class Image:
    """What is known of a process's present program image.

    `vdso_call` is the address of a ``syscall`` instruction in the vDSO (0: none); `scratch` that of writable bytes
    nobody uses; `entry` the program's entry point; `program` tells its file from others (None: a copy);
    `kept` counts the verdicts on int 0x80 sites that must keep their trap; `patched` are those rewritten;
    `sites` the offsets from `entry` of those safe in every run of the file, shared by all its images.
    """

    __slots__ = ("entry", "kept", "patched", "program", "scratch", "scratch_size", "sites", "vdso_call")

    def __init__(self) -> None:
        self.vdso_call = 0
        self.scratch = 0
        self.scratch_size = 0
        self.entry = 0
        self.program: tuple[int, int, int, int] | None = None
        self.kept: dict[int, int] = {}
        self.patched: set[int] = set()
        self.sites: set[int] = set()

    def copy(self) -> Image:
        """The image of a forked child, which goes its own way from here."""
        new = Image()
        new.vdso_call, new.scratch, new.scratch_size = self.vdso_call, self.scratch, self.scratch_size
        new.entry, new.program, new.sites = self.entry, self.program, self.sites
        new.kept, new.patched = dict(self.kept), set(self.patched)
        return new


class Programs:
    """Turns plans into paths the kernel can run, and checks what it ran.

    `directory` is the /proc directory whose fd/ shows the supervisor's descriptors to a guest.
    """

    def __init__(self, directory: bytes) -> None:
        self.directory = directory
        self._vdso_offset: int | None = None
        self._copies: dict[tuple, Program] = {}
        self._sites: dict[tuple, set[int]] = {}

    # -- before -------------------------------------------------------------------------------

    def prepare(self, namespace, context, plan: ExecPlan) -> Program:
        """What to run: the program itself, or a copy of it that names the guest's interpreter.

        The kernel takes PT_INTERP from the host's root.  Where that is not the file the guest's root has, the
        program is run from a memfd whose PT_INTERP leads to the guest's; so is one that we may run and a guest, which has
        no capabilities, may not.  Errors of finding it.
        """
        runs = executable(plan.fd) or not os.access(b"/proc/self/fd/%d" % plan.fd, os.X_OK)
        if plan.interpreter is None:
            return Program(os.dup(plan.fd), None) if runs else self._kept_copy(plan, None)
        found = namespace.walk(context, context.root, plan.interpreter)
        if not isinstance(found, Location) or not found.node.is_file or not found.node.mode & 0o111:
            raise SysError(Kind.EACCES)
        if found.mount.flags.noexec:
            raise SysError(Kind.EACCES)
        if context.rights is not None:
            context.rights.check_run(found)
        mine = found.fs.stat(found.node)
        interpreter = found.fs.open(found.node, os.O_RDONLY)
        try:
            hosts = os.stat(plan.interpreter)
            if runs and (mine.st_dev, mine.st_ino) == (hosts.st_dev, hosts.st_ino):
                return Program(os.dup(plan.fd), interpreter)
        except OSError:
            pass  # the host has no such file
        return self._kept_copy(plan, interpreter)

    def _kept_copy(self, plan: ExecPlan, interpreter: int | None) -> Program:
        """A copy of a program, maybe made before; takes over `interpreter`."""
        which = (0, 0)
        try:
            kernel.check_not_written(plan.fd)  # of a copy the kernel could not say it
            if interpreter is not None:
                status = os.fstat(interpreter)
                which = status.st_dev, status.st_ino
        except OSError:
            if interpreter is not None:
                os.close(interpreter)
            raise
        key = (plan.stat.st_dev, plan.stat.st_ino, plan.stat.st_size, plan.stat.st_mtime_ns, *which)
        copy = self._copies.pop(key, None)
        if copy is None:
            copy = self._copy(plan, interpreter)
        elif interpreter is not None:
            os.close(interpreter)
        self._copies[key] = copy
        while len(self._copies) > _COPIES_MAX:
            del self._copies[next(iter(self._copies))]
        return copy

    def _copy(self, plan: ExecPlan, interpreter: int | None) -> Program:
        """A sealed memfd of the program whose PT_INTERP, if it has one, is `interpreter`.  ENOMEM."""
        if plan.stat.st_size > _COPY_MAX:
            if interpreter is not None:
                os.close(interpreter)
            raise SysError(Kind.ENOMEM)
        copy = os.memfd_create("int80-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        offset = 0
        while sent := os.sendfile(copy, plan.fd, offset, 1 << 30):
            offset += sent
        if interpreter is not None:
            self._name_interpreter(copy, offset, interpreter)
        os.fchmod(copy, 0o500)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        readable = os.open(b"/proc/self/fd/%d" % copy, os.O_RDONLY | os.O_CLOEXEC)
        os.close(copy)  # an open writer would be ETXTBSY
        return Program(readable, interpreter)

    def _name_interpreter(self, copy: int, offset: int, interpreter: int) -> None:
        """Have the PT_INTERP of a program in `copy` lead to `interpreter`, by a path at `offset`, its end."""
        header = os.pread(copy, 64, 0)
        table, entry_size, count = (int.from_bytes(header[at : at + size], "little") for at, size in
                                    ((32, 8), (54, 2), (56, 2)))  # fmt: skip
        path = b"%s/fd/%d\0" % (self.directory, interpreter)
        os.pwrite(copy, path, offset)
        for index in range(count):
            where = table + index * entry_size
            raw = os.pread(copy, _PROGRAM_HEADER.size, where)
            if len(raw) < _PROGRAM_HEADER.size:
                break  # cut short since it was planned: the kernel will say so
            fields = list(_PROGRAM_HEADER.unpack(raw))
            if fields[0] == 3:
                fields[2], fields[5], fields[6] = offset, len(path), len(path)
                os.pwrite(copy, _PROGRAM_HEADER.pack(*fields), where)

    def path(self, fd: int, name: bytes) -> bytes:
        """A path to `fd` that takes up at least as much room as `name` and the scratch bytes."""
        plain = len(self.directory) + 4 + len(b"%d" % fd)
        slashes = max(1, min(len(name) + _SCRATCH, _PATH_MAX - 1) - plain)
        return self.directory + b"/fd" + b"/" * slashes + b"%d" % fd

    def place(self, memory, stack_pointer: int, image: Image, path: bytes, argv: int, plan: ExecPlan):
        """Write path and, for a script, arguments into the guest; (address of path, of argv).  EFAULT, E2BIG.

        Below the red zone of the stack nothing is lost, whoever shares this memory.
        """
        block = path + b"\0"
        if plan.arguments is None:
            try:
                address = _below(stack_pointer, len(block))
                memory.write(address, block)
                return address, argv
            except SysError:
                if image.scratch_size < len(block):
                    raise
                memory.write(image.scratch, block)
                return image.scratch, argv
        strings = []
        for argument in plan.arguments:
            strings.append(len(block))
            block += argument + b"\0"
        block = block.ljust(len(block) + 15 & -16, b"\0")
        pointers = self._pointers(memory, argv)[1:]
        size = len(block) + 8 * (len(strings) + len(pointers) + 1)
        address = _below(stack_pointer, size)
        values = [address + offset for offset in strings] + pointers + [0]
        memory.write(address, block + struct.pack(f"<{len(values)}Q", *values))
        return address, address + len(block)

    @staticmethod
    def _pointers(memory, argv: int) -> list[int]:
        """The guest's argv without the NULL at its end.  EFAULT, E2BIG."""
        pointers: list[int] = []
        while argv and len(pointers) < _ARGUMENTS_MAX:
            here = argv + 8 * len(pointers)
            data = memory.read_some(here, 4096 - (here & 0xFF8))
            if len(data) < 8:
                raise SysError(Kind.EFAULT)
            for (pointer,) in struct.iter_unpack("<Q", data[: len(data) & -8]):
                if not pointer:
                    return pointers
                pointers.append(pointer)
        if argv:
            raise SysError(Kind.E2BIG)
        return pointers

    # -- after --------------------------------------------------------------------------------

    def settle(
        self, pid: int, memory, plan: ExecPlan, program: Program, path: bytes, vector: dict[int, int] | None = None
    ) -> Image | None:
        """Check what was run and put the guest's name where AT_EXECFN points; what is to be known of the image.

        `vector` are values of the auxiliary vector that are to be others for the guest than for the kernel.

        None when the program, or the interpreter mapped with it, is not the file that was chosen.
        """
        if not _same_file(os.fstat(program.fd), os.stat(b"/proc/%d/exe" % pid)):
            return None
        image = Image()
        with open(b"/proc/%d/auxv" % pid, "rb") as file:
            raw = file.read()
        base = 0
        for kind, value in struct.iter_unpack("<QQ", raw[: len(raw) & -16]):
            if kind == _AT_EXECFN:
                room = len(path) + 1
                try:
                    memory.write(value, (plan.name[: room - 1] + b"\0").ljust(room, b"\0"))
                except SysError:
                    continue
                used = min(len(plan.name), room - 1) + 1
                image.scratch, image.scratch_size = value + used, room - used
            elif kind == _AT_SYSINFO_EHDR:
                image.vdso_call = self._vdso_call(memory, value)
            elif kind == _AT_ENTRY:
                image.entry = value
            elif kind == _AT_BASE:
                base = value
        if bool(base) != (program.interpreter is not None) or not _maps_only(pid, program.fd, program.interpreter):
            return None
        if vector and any(vector.get(kind, value) != value for kind, value in struct.iter_unpack("<QQ", raw[: len(raw) & -16])):
            with contextlib.suppress(SysError):  # of a stack that is gone: the task was killed
                _change_vector(pid, memory, raw, vector)
        st = plan.stat
        image.program = (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns)
        image.sites = self._sites.pop(image.program, set())
        self._sites[image.program] = image.sites
        if len(self._sites) > _PROGRAMS_MAX:
            del self._sites[next(iter(self._sites))]
        return image

    def _vdso_call(self, memory, base: int) -> int:
        """The address of a ``syscall`` instruction in a vDSO mapped at `base`; 0 where there is none.

        The same object is mapped into every process, so it is looked at once.
        """
        if self._vdso_offset is None:
            data = memory.read_some(base, 16384)
            self._vdso_offset = _find_syscall(data)
        return base + self._vdso_offset if self._vdso_offset else 0


_STACK_POINTERS = 1 << 20  # of arguments and variables that are looked through for the vector behind them


def _change_vector(pid: int, memory, raw: bytes, vector: dict[int, int]) -> None:
    """Change the vector on the stack of a fresh image, behind its arguments and variables.  getauxval(3)."""
    with open(b"/proc/%d/stat" % pid, "rb") as file:
        here = int(file.read().rpartition(b")")[2].split()[25])  # startstack
    here += 8 * (int.from_bytes(memory.read(here, 8), "little") + 2)
    for _ in range(_STACK_POINTERS // 512):
        block = memory.read_some(here, 4096 - (here & 0xFFF))
        block = block[: len(block) & -8]
        for at in range(0, len(block), 8):
            if block[at : at + 8] == bytes(8):
                here += at + 8
                size = raw.index(struct.pack("<QQ", 0, 0)) + 16
                if memory.read(here, size) == raw[:size]:
                    memory.write(here, changed_vector(raw[:size], vector))
                return
        if not block:
            return
        here += len(block)


def _below(stack_pointer: int, size: int) -> int:
    """Where `size` bytes fit below the red zone.  EFAULT where there is no below."""
    address = stack_pointer - _RED_ZONE - size & -16
    if address <= 0:
        raise SysError(Kind.EFAULT)
    return address


def executable(fd: int) -> bool:
    """Whether a task of this user without capabilities may execute a file; the supervisor may have some."""
    status = os.fstat(fd)
    shared = status.st_gid in (os.getegid(), *os.getgroups())
    right = 0o100 if status.st_uid == os.geteuid() else 0o010 if shared else 0o001
    return bool(status.st_mode & right) and os.access(b"/proc/self/fd/%d" % fd, os.X_OK)


def _same_file(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _maps_only(pid: int, *fds: int | None) -> bool:
    """Whether the files mapped into a fresh image are among `fds`.

    AT_BASE alone would not tell: it is 0 also for an interpreter with a fixed address.  Files are told by inode
    and device, or by inode and name where the device that proc_pid_maps(5) shows is not the one stat(2) does.
    """
    known: list[tuple[int, bytes, bytes]] = []
    for fd in fds:
        if fd is not None:
            status = os.fstat(fd)
            device = b"%02x:%02x" % (os.major(status.st_dev), os.minor(status.st_dev))
            known.append((status.st_ino, device, os.readlink(b"/proc/self/fd/%d" % fd)))
    with open(b"/proc/%d/maps" % pid, "rb") as maps:
        for line in maps:
            _, _, _, device, number, *name = line.rstrip(b"\n").split(None, 5)
            if number != b"0" and not any(
                int(number) == inode and (device == where or name == [path]) for inode, where, path in known
            ):
                return False
    return True


def _find_syscall(data: bytes) -> int:
    """The offset of a ``syscall`` among the bytes of a vDSO, 0 for none.

    Any two such bytes will do, true instruction or not: the task is only ever put on them and taken off
    again one step later.
    """
    return max(data.find(b"\x0f\x05"), 0)


