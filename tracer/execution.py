"""Steering an execve to the file the supervisor chose, and making the new image tell the guest's story.

The kernel is pointed at ``/proc/SUPERVISOR/fd/N``.  The string stands in guest memory, where another thread
may change it before the kernel reads it; so at PTRACE_EVENT_EXEC the file that was run is compared with
the file that was chosen, and the sandbox is ended if they differ.

The string is padded with slashes to leave room for the guest's own name of the program: the kernel copies
it to the top of the new stack, where AT_EXECFN finds it, and there it is overwritten in place.
"""

from __future__ import annotations

import os
import struct

from abi.errors import Kind, SysError
from procs.execution import ExecPlan
from vfs.namespace import Location

_AT_ENTRY, _AT_EXECFN, _AT_SYSINFO_EHDR = 9, 31, 33
_RED_ZONE = 128
_SCRATCH = 64  # bytes behind the name at the top of every stack: room for the next image's path
_ARGUMENTS_MAX = 1 << 18  # pointers; more than the kernel's own limit on their strings lets through
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_COPIES_MAX = 8


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
        self._copies: dict[tuple, int] = {}
        self._sites: dict[tuple, set[int]] = {}

    # -- before -------------------------------------------------------------------------------

    def prepare(self, namespace, context, plan: ExecPlan) -> int:
        """The descriptor to run: the program itself, or a copy of it that names the guest's interpreter.

        The kernel takes PT_INTERP from the host's root.  Where that is not the file the guest's root has, the
        program is run from a memfd whose PT_INTERP leads to the guest's.  Errors of finding it.
        """
        if plan.interpreter is None:
            return plan.fd
        found = namespace.walk(context, context.root, plan.interpreter)
        if not isinstance(found, Location) or not found.node.is_file or not found.node.mode & 0o111:
            raise SysError(Kind.EACCES)
        mine = found.fs.stat(found.node)
        try:
            hosts = os.stat(plan.interpreter)
            if (mine.st_dev, mine.st_ino) == (hosts.st_dev, hosts.st_ino):
                return plan.fd
        except OSError:
            pass  # the host has no such file
        key = (plan.stat.st_dev, plan.stat.st_ino, plan.stat.st_size, plan.stat.st_mtime_ns, mine.st_dev, mine.st_ino)
        copy = self._copies.pop(key, None)
        if copy is None:
            copy = self._copy(plan, found.fs.open(found.node, os.O_RDONLY))
        self._copies[key] = copy
        while len(self._copies) > _COPIES_MAX:
            oldest = self._copies.pop(next(iter(self._copies)))
            os.close(oldest)
        return copy

    def _copy(self, plan: ExecPlan, interpreter: int) -> int:
        """A memfd of the program whose PT_INTERP is `interpreter` (kept open as long as the supervisor lives)."""
        copy = os.memfd_create("int80-program", os.MFD_CLOEXEC)
        offset = 0
        while sent := os.sendfile(copy, plan.fd, offset, 1 << 30):
            offset += sent
        header = os.pread(copy, 64, 0)
        table, entry_size, count = (int.from_bytes(header[at : at + size], "little") for at, size in
                                    ((32, 8), (54, 2), (56, 2)))  # fmt: skip
        path = b"%s/fd/%d\0" % (self.directory, interpreter)
        os.pwrite(copy, path, offset)
        for index in range(count):
            where = table + index * entry_size
            fields = list(_PROGRAM_HEADER.unpack(os.pread(copy, _PROGRAM_HEADER.size, where)))
            if fields[0] == 3:
                fields[2], fields[5], fields[6] = offset, len(path), len(path)
                os.pwrite(copy, _PROGRAM_HEADER.pack(*fields), where)
        os.chmod(b"/proc/self/fd/%d" % copy, 0o500)
        readable = os.open(b"/proc/self/fd/%d" % copy, os.O_RDONLY | os.O_CLOEXEC)
        os.close(copy)  # an open writer would be ETXTBSY
        return readable

    def path(self, fd: int, name: bytes) -> bytes:
        """A path to `fd` that takes up at least as much room as `name` and the scratch bytes."""
        plain = len(self.directory) + 4 + len(b"%d" % fd)
        slashes = max(1, len(name) + _SCRATCH - plain)
        return self.directory + b"/fd" + b"/" * slashes + b"%d" % fd

    def place(self, memory, stack_pointer: int, image: Image, path: bytes, argv: int, plan: ExecPlan):
        """Write path and, for a script, arguments into the guest; (address of path, of argv).  EFAULT, E2BIG.

        Below the red zone of the stack nothing is lost, whoever shares this memory.
        """
        block = path + b"\0"
        if plan.arguments is None:
            try:
                address = stack_pointer - _RED_ZONE - len(block) & -16
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
        address = stack_pointer - _RED_ZONE - size & -16
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

    def ran(self, pid: int, fd: int) -> bool:
        """Whether the program now running is the file behind `fd`."""
        chosen, running = os.fstat(fd), os.stat(b"/proc/%d/exe" % pid)
        return (chosen.st_dev, chosen.st_ino) == (running.st_dev, running.st_ino)

    def settle(self, pid: int, memory, plan: ExecPlan, path: bytes) -> Image:
        """Put the guest's name where AT_EXECFN points; what else is to be known of the image."""
        image = Image()
        with open(b"/proc/%d/auxv" % pid, "rb") as file:
            raw = file.read()
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
        st = plan.stat
        image.program = (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns)
        image.sites = self._sites.setdefault(image.program, set())
        return image

    def _vdso_call(self, memory, base: int) -> int:
        """The address of a ``syscall`` instruction in a vDSO mapped at `base`; 0 where there is none.

        The same object is mapped into every process, so it is looked at once.
        """
        if self._vdso_offset is None:
            data = memory.read_some(base, 16384)
            self._vdso_offset = _find_syscall(data)
        return base + self._vdso_offset if self._vdso_offset else 0


def _find_syscall(data: bytes) -> int:
    """The offset of a ``syscall`` among the bytes of a vDSO, 0 for none.

    Any two such bytes will do, true instruction or not: the task is only ever put on them and taken off
    again one step later.
    """
    return max(data.find(b"\x0f\x05"), 0)


