"""A sandbox without a guest: the handlers run over a directory, a made-up memory and real descriptors.

`Guest` makes calls through the linux table and gives what the program would find in rax.  `Twin` makes each call a
second time, by the kernel in a directory that started alike, and insists that both come to the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from pathlib import Path

from abi.dispatch import Call, DispatchResult, Fail, InstallFile, Return, dispatch
from abi.errors import Kind, SysError, linux_number
from abi.sandbox import Sandbox
from abi.tables import linux as LINUX
from procs.credentials import Credentials
from procs.tree import Process, ProcessTree, Task
from tracer.files import GuestFiles
from tracer.memory import GuestMemory
from vfs.hostfs import HostFs
from vfs.namespace import FsContext, Namespace

PAGE = 4096
U64 = 0xFFFFFFFFFFFFFFFF
BAD = 0x10  # an address with nothing behind it
AT_FDCWD = -100

NUMBERS = {entry.name: entry.number for entry in LINUX.table if entry is not None}
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class Memory(GuestMemory):
    """Pages of bytes with holes between; what is put into it ends at a page's end, so that reading on is EFAULT."""

    __slots__ = ("_next", "pages")

    def __init__(self) -> None:
        super().__init__(0)
        self.pages: dict[int, bytearray] = {}
        self._next = 0x100

    def room(self, size: int) -> int:
        """The address of `size` fresh zero bytes."""
        count = max(1, -(-size // PAGE))
        for page in range(self._next, self._next + count):
            self.pages[page] = bytearray(PAGE)
        self._next += count + 1
        return (self._next - 1) * PAGE - size

    def put(self, data: bytes) -> int:
        """The address of a fresh copy of `data`."""
        address = self.room(len(data))
        self.write(address, data)
        return address

    def read_some(self, address: int, size: int) -> bytes:
        result = b""
        while len(result) < size:
            page, offset = divmod(address + len(result), PAGE)
            if page not in self.pages:
                break
            result += self.pages[page][offset : offset + size - len(result)]
        return result

    def write(self, address: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            page, offset = divmod(address + done, PAGE)
            if page not in self.pages:
                raise SysError(Kind.EFAULT)
            part = data[done : done + PAGE - offset]
            self.pages[page][offset : offset + len(part)] = part
            done += len(part)


class Files(GuestFiles):
    """Guest descriptors that are this process's own, under the same numbers unless said otherwise."""

    __slots__ = ("table",)

    def __init__(self) -> None:
        super().__init__(0, None)
        self.table: dict[int, int] = {}

    def add(self, fd: int, number: int | None = None) -> int:
        """Take over host descriptor `fd`; its guest number."""
        number = fd if number is None else number
        self.table[number] = fd
        return number

    def get(self, fd: int) -> int:
        if fd not in self.table:
            raise SysError(Kind.EBADF)
        return os.dup(self.table[fd])

    def closes_on_exec(self, fd: int) -> bool:
        return not os.get_inheritable(self.table[fd])

    def close(self) -> None:
        while self.table:
            os.close(self.table.popitem()[1])


class StrictSandbox(Sandbox):
    """A handler that raises what it should not fails the test."""

    def report_bug(self, bug: Exception) -> None:
        raise AssertionError(bug)


class FakeProcess(Process):
    """A process whose descriptors are the test's own."""

    __slots__ = ("files",)


class Out:
    """An argument that points to `size` zero bytes; `guest` and `native` are what the call left there."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.guest = self.native = b""


class Pair:
    """A descriptor of each side of a `Twin`."""

    def __init__(self, guest: int, native: int) -> None:
        self.guest = guest
        self.native = native


class Guest:
    """One process over the directory `root`; calling it makes a system call.

    An argument is a number, bytes (a pointer to a C string), a bytearray (a pointer to those bytes), an `Out`, or
    None (a null pointer).  Use as a context manager: the supervisor's umask is 0, its descriptors are closed.
    """

    def __init__(
        self,
        root: Path,
        *,
        uid: int = 0,
        gid: int = 0,
        pid: int | None = None,
        read_only: bool = False,
    ) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.namespace = Namespace(HostFs(os.fsencode(root), b"test"), read_only)
        self.tree = ProcessTree()
        self.sandbox = StrictSandbox(self.namespace, self.tree)
        pid = os.getpid() if pid is None else pid
        self.memory = Memory()
        self.files = Files()
        self.process = FakeProcess(pid, LINUX, FsContext(self.namespace.root, self.namespace.root, 0o022), Credentials(uid, gid))
        self.process.files = self.files
        self.task = Task(pid, self.process)
        self.tree.init_pid = pid
        self.tree.add(self.task)
        self.sandbox.caller = self.task

    def __enter__(self) -> Guest:
        self._umask = os.umask(0)
        return self

    def __exit__(self, *exception) -> None:
        os.umask(self._umask)
        self.files.close()

    def join(self, pid: int) -> Process:
        """Let an existing process be a member of the sandbox."""
        process = self.process.fork(pid, False)
        process.files = Files()
        self.tree.add(Task(pid, process))
        return process

    def mount(self, fs, path: str, read_only: bool = False):
        """Mount `fs` at a path from the root."""
        return self.namespace.mount(fs, tuple(os.fsencode(name) for name in path.split("/") if name), read_only)

    # -- calls --------------------------------------------------------------------------------

    def make(self, name: str | int, *args) -> Call:
        """The `Call` that a guest's registers would make."""
        number = NUMBERS[name] if isinstance(name, str) else name
        values = tuple(self._place(arg) for arg in args)
        return Call(self.sandbox, self.task, number, (values + (0,) * 6)[:6], self.memory, self.process.files)

    def _place(self, arg) -> int:
        match arg:
            case None:
                return 0
            case int():
                return arg & U64
            case bytes():
                return self.memory.put(arg + b"\0")
            case bytearray():
                return self.memory.put(bytes(arg))
        return self.memory.room(arg.size)

    def result(self, name: str | int, *args) -> DispatchResult:
        """What the handler comes to."""
        call = self.make(name, *args)
        result = dispatch(LINUX.entry(call.number), call)
        for index, arg in enumerate(args):
            if isinstance(arg, Out):
                arg.guest = self.memory.read(call.args[index], arg.size)
        return result

    def __call__(self, name: str | int, *args) -> int:
        """The value in rax: a result, a new descriptor's number, or a negative errno."""
        return self.value(self.result(name, *args))

    def value(self, result: DispatchResult) -> int:
        """What a finished result is to the guest."""
        match result:
            case Return(value=value):
                return value
            case Fail(error=failure):
                return -linux_number(failure.kind)
            case InstallFile(fd=fd, cloexec=cloexec):
                os.set_inheritable(fd, not cloexec)
                return self.files.add(fd)
        raise AssertionError(f"{type(result).__name__} is no result by itself")

    def open(self, path: bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
        """open(2) that must succeed; the descriptor."""
        fd = self("open", path, flags, mode)
        assert fd >= 0, os.strerror(-fd)
        return fd

    def read(self, path: bytes) -> bytes:
        """What is in a file of the guest's tree."""
        fd = self.open(path)
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)


class Twin:
    """The directory ``work`` of two roots; `twin(name, *args)` makes a call in both and compares.

    Paths must be relative, since the kernel's root is the host's.  A context manager.
    """

    def __init__(self, place: Path, fill=None, **options) -> None:
        self.guest = Guest(place / "guest", **options)
        self.native = place / "native"
        for root in (self.guest.root, self.native):
            (root / "work").mkdir(parents=True)
            (root / "work").chmod(0o755)
            if fill is not None:
                fill(root / "work")
        self._fds: list[int] = []

    def __enter__(self) -> Twin:
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self.guest)
        self._stack.callback(os.chdir, os.getcwd())
        os.chdir(self.native / "work")
        self.guest("chdir", b"/work")
        return self

    def __exit__(self, *exception) -> None:
        for fd in self._fds:
            os.close(fd)
        self._stack.close()

    def _native(self, name: str, args) -> int:
        values = []
        buffers = []
        for arg in args:
            match arg:
                case Pair():
                    values.append(ctypes.c_long(arg.native))
                case Out():
                    buffers.append((arg, ctypes.create_string_buffer(arg.size)))
                    values.append(buffers[-1][1])
                case int():
                    values.append(ctypes.c_ulong(arg & U64))
                case bytearray():
                    values.append(bytes(arg))
                case _:
                    values.append(arg)
        os.umask(self.guest.process.fs.umask)
        result = _syscall(NUMBERS[name], *values)
        number = ctypes.get_errno()
        os.umask(0)
        for out, buffer in buffers:
            out.native = buffer.raw
        return -number if result < 0 else result

    def __call__(self, name: str, *args):
        """The common result: a value, a negative errno, or a `Pair` of new descriptors."""
        native = self._native(name, args)
        result = self.guest.result(name, *[arg.guest if isinstance(arg, Pair) else arg for arg in args])
        value = self.guest.value(result)
        if isinstance(result, InstallFile) and native >= 0:
            self._fds.append(native)
            return Pair(value, native)
        assert value == native, f"{name}{args}: {_shown(value)} here, {_shown(native)} by the kernel"
        return value

    def same_tree(self) -> None:
        """The two directories are alike in names, modes, links and contents."""
        assert _snapshot(self.guest.root) == _snapshot(self.native)


def _shown(value: int) -> str:
    return str(value) if value >= 0 else os.strerror(-value)


def _snapshot(root: Path) -> dict:
    found = {}
    groups: dict[int, str] = {}  # inode -> its first name: which names are the same file
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            st = os.lstat(path)
            relative = os.path.relpath(path, root)
            content = None
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(st.st_mode) and os.access(path, os.R_OK):
                with open(path, "rb") as file:
                    content = file.read()
            found[relative] = (oct(st.st_mode), st.st_nlink, content, groups.setdefault(st.st_ino, relative))
    return found
