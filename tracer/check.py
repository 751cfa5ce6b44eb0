"""`int80 check`: what this machine offers, each thing tried rather than guessed, and what follows from it."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
from collections.abc import Callable

from tracer import notify, ptrace
from tracer.bpf import RET_ALLOW
from vfs import kernel

_GOOD, _NOTE, _BAD = "green", "yellow", "red"
_ALLOW_ALL = (0x06).to_bytes(2, "little") + bytes(2) + RET_ALLOW.to_bytes(4, "little")


class Finding:
    """One line: what was looked at, what was found, what follows; `colour` is how good that is."""

    __slots__ = ("colour", "follows", "found", "subject")

    def __init__(self, subject: str, found: str, follows: str, colour: str) -> None:
        self.subject = subject
        self.found = found
        self.follows = follows
        self.colour = colour


def _kernel_version() -> Finding:
    release = os.uname().release
    numbers = tuple(int(part) for part in release.replace("-", ".").split(".")[:2])
    machine = os.uname().machine
    if machine != "x86_64":
        return Finding("kernel", f"Linux {release} on {machine}", "int80 runs on x86-64 only", _BAD)
    if numbers < (5, 14):
        return Finding("kernel", f"Linux {release}", "5.14 or later is needed", _BAD)
    return Finding("kernel", f"Linux {release}", "recent enough (5.14)", _GOOD)


def _yama() -> Finding:
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            scope = int(file.read())
    except OSError:
        return Finding("Yama", "not there", "nothing restricts ptrace", _GOOD)
    match scope:
        case 0 | 1:
            return Finding("Yama", f"ptrace_scope {scope}", "a parent may trace its children, which is all int80 does", _GOOD)
        case 2:
            return Finding("Yama", "ptrace_scope 2", "only root may trace: run int80 as root, or set it to 1", _BAD)
    return Finding("Yama", f"ptrace_scope {scope}", "nobody may trace until the next boot: int80 cannot work", _BAD)


class _Child:
    """A forked child that waits to be looked at, or does one thing and ends."""

    def __init__(self, action: Callable[[], int] | None = None) -> None:
        self._pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if action is None:
                    os.close(self._pipe[1])
                    os.read(self._pipe[0], 1)
                    status = 0
                else:
                    status = action()
            finally:
                os._exit(status)

    def status(self) -> int:
        """Let it end; its exit status, or minus the signal."""
        for end in self._pipe:
            os.close(end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, ptrace.WALL)[1])


def _tracing() -> list[Finding]:
    """ptrace and the ways to a traced child's memory and descriptors, tried on a child."""
    findings = []
    subject = ctypes.create_string_buffer(b"a string in the child")
    child = _Child()
    pid = child.pid
    try:
        try:
            ptrace.request(ptrace.SEIZE, pid, 0, ptrace.OPTIONS)
            findings.append(Finding("ptrace", "a child can be seized", "processes can be steered", _GOOD))
        except OSError as problem:
            findings.append(Finding("ptrace", problem.strerror, "int80 cannot work: is it being traced itself?", _BAD))
            return findings
        from tracer.memory import GuestMemory

        text = GuestMemory(pid).read_some(ctypes.addressof(subject), len(subject.value))
        good = text == subject.value
        findings.append(
            Finding("guest memory", "process_vm_readv works" if good else "process_vm_readv is refused",
                    "arguments can be read" if good else "int80 cannot work", _GOOD if good else _BAD)
        )  # fmt: skip
        findings.append(_text_writes(pid))
        try:
            pidfd = kernel.pidfd_open(pid)
            os.close(kernel.pidfd_getfd(pidfd, child._pipe[0]))
            os.close(pidfd)
            findings.append(Finding("descriptors", "pidfd_getfd works", "a guest's descriptors can be asked", _GOOD))
        except OSError as problem:
            findings.append(Finding("descriptors", f"pidfd_getfd: {problem.strerror}", "int80 cannot work", _BAD))
    finally:
        os.kill(pid, signal.SIGKILL)
        child.status()
    return findings


def _text_writes(pid: int) -> Finding:
    """Whether a tracer may write a read-only page of its tracee (CONFIG_PROC_MEM_*)."""
    with open(f"/proc/{pid}/maps") as maps:
        line = next(line for line in maps if " r-xp " in line and "/" in line)
    address = int(line.split("-")[0], 16)
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.pwrite(fd, os.pread(fd, 1, address), address)
        finally:
            os.close(fd)
        return Finding("program text", "can be rewritten", "int 0x80 sites are rewritten to syscall: full speed", _GOOD)
    except OSError:
        return Finding("program text", "cannot be rewritten", "every int 0x80 traps: slower, but right", _NOTE)


def _notification() -> list[Finding]:
    """User notification and the flags later kernels have."""

    def install(flags: int) -> Callable[[], int]:
        def action() -> int:
            kernel.raw(157, 38, 1, 0, 0, 0)
            program = notify._Program(1, _ALLOW_ALL)
            try:
                listener = kernel.raw(317, 1, flags, ctypes.byref(program))
            except OSError:
                return 1
            return 0 if notify.Listener(listener).sync_wake_up else 2

        return action

    plain = _Child(install(notify.FILTER_NEW_LISTENER)).status()
    if plain not in (0, 2):
        reason = "a seccomp listener cannot be made"
        return [Finding("user notification", reason, "int80 cannot work (a filter of a container's?)", _BAD)]
    killable = _Child(install(notify.FILTER_NEW_LISTENER | notify.FILTER_WAIT_KILLABLE_RECV)).status() in (0, 2)
    return [
        Finding("user notification", "works", "calls are answered without a ptrace stop", _GOOD),
        Finding("WAIT_KILLABLE_RECV", "there", "a signal cannot cut an answered call in two", _GOOD) if killable else
        Finding("WAIT_KILLABLE_RECV", "not there (Linux 5.19)", "a signal may make an answered call happen twice", _NOTE),
        Finding("SYNC_WAKE_UP", "there", "an answer costs one switch on the same processor", _GOOD) if plain == 0 else
        Finding("SYNC_WAKE_UP", "not there (Linux 6.6)", "answers are slower across processors", _NOTE),
    ]  # fmt: skip


def _ia32() -> Finding:
    """Execute ``mov eax, 20; int 0x80; ret`` (getpid of the 32-bit table) in a child."""

    def action() -> int:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        return 0 if function() == os.getpid() else 1

    if _Child(action).status() == 0:
        return Finding("IA32 emulation", "on", "int 0x80 enters through the kernel's 32-bit door, and is stopped there", _GOOD)
    return Finding("IA32 emulation", "off", "int 0x80 enters through its fault: as good", _GOOD)


def _namespaces() -> Finding:
    def action() -> int:
        return 0 if kernel.libc.unshare(0x10000000) == 0 else 1

    allowed = _Child(action).status() == 0
    return Finding("user namespaces", "allowed" if allowed else "not allowed", "not needed", _GOOD)


def _machine() -> Finding:
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    return Finding("machine", f"{psutil.cpu_count()} processors, {memory:.1f} GiB", "guests use all of it", _GOOD)


def findings() -> list[Finding]:
    """Everything that is looked at, in the order it is shown."""
    result = [_machine(), _kernel_version(), _yama()]
    result += _tracing()
    result += _notification()
    result += [_ia32(), _namespaces()]
    return result


def report() -> int:
    """Print the findings; 0 if int80 can work here, 125 if not."""
    from rich.console import Console
    from rich.table import Table

    found = findings()
    table = Table.grid(padding=(0, 2))
    marks = {_GOOD: "✓", _NOTE: "!", _BAD: "✗"}
    for finding in found:
        table.add_row(
            f"[{finding.colour}]{marks[finding.colour]}[/]", finding.subject, f"[{finding.colour}]{finding.found}[/]",
            f"[dim]{finding.follows}[/]",
        )  # fmt: skip
    console = Console()
    console.print(table)
    works = all(finding.colour != _BAD for finding in found)
    console.print("int80 works here." if works else "int80 cannot work here: see the lines marked ✗.")
    return 0 if works else 125
