"""The gate: ``int 0x80`` with the 64-bit register layout.

The filter stops every such trap before the kernel reads it as a 32-bit call.  Where the instruction may
become ``syscall`` for good it is rewritten and run again, and from then on costs what any call costs.  Where it
may not, the call is made from the vDSO's own ``syscall`` instruction, and the registers that instruction
clobbers are put back.  The detour is followed from syscall stop to syscall stop, not by single steps: a step's
SIGTRAP would undo what the guest has said about that signal.
"""

from __future__ import annotations

from tracer import ptrace
from tracer.memory import Text
from tracer.ptrace import CS, ORIG_RAX, R11, RAX, RCX, RIP, RSP, U64
from tracer.sites import INT80, SYSCALL

_USER_CS = 0x33  # 64-bit code
INSTRUCTION = len(INT80)  # bytes, of either instruction
_INT3 = b"\xcc"
_ENOSYS = -38 & U64
_SITES_MAX = 4096  # of one image that are remembered: a guest can make as many as it has memory, and every fork copies them
_TRIES = 3  # how often a site is judged: the verdict hangs on its caller, and the next one may do


class Trap:
    """A gate call on its way through the vDSO: where to return to, and the registers to put back.

    `entered` once its own call has begun; `host` for a call of the host ABI, whose result has a convention of
    its own; `woken` when there is nothing left that such a call would wait for.
    """

    __slots__ = ("back", "entered", "host", "number", "r11", "rcx", "woken")

    def __init__(self, back: int, number: int, rcx: int, r11: int, host: bool = False) -> None:
        self.back = back
        self.entered = False
        self.number = number
        self.rcx = rcx
        self.r11 = r11
        self.host = host
        self.woken = False


def enter(task, registers, at: int, in_call: bool, patch: bool) -> bool:
    """Let the call at site `at` happen; False when it is no gate of ours but true 32-bit code.

    `in_call`: the task is stopped inside the kernel's 32-bit entry (which is then skipped), else at the
    instruction's own fault.  Sets the registers; the caller resumes the task, from stop to stop if `task.trap` is set.
    """
    if registers[CS] != _USER_CS:
        return False
    image = task.process.image
    found = task.memory.read_some(at, INSTRUCTION)
    if found == SYSCALL and (in_call or at in image.patched):
        rewritten = True  # another task that has this memory came here a moment ago
    elif found != INT80:
        return False
    else:
        number = registers[ORIG_RAX] if in_call else registers[RAX]
        tries = image.kept.get(at, 0)
        rewritten = patch and tries < _TRIES and _rewrite(task, at, number & 0xFFFFFFFF, registers[RSP])
        if rewritten:
            if len(image.patched) >= _SITES_MAX:
                image.patched.clear()  # which counts for those that are being rewritten
            image.patched.add(at)
        else:
            if len(image.kept) >= _SITES_MAX:
                image.kept.clear()  # they are judged anew
            image.kept[at] = tries + 1
    if in_call:
        registers[RAX] = registers[ORIG_RAX]
        registers[ORIG_RAX] = U64  # no call: the kernel's 32-bit entry does nothing
    if rewritten:
        registers[RIP] = at
    elif image.vdso_call:
        task.trap = Trap(at + INSTRUCTION, registers[RAX], registers[RCX], registers[R11])
        registers[RIP] = image.vdso_call
    else:  # no vDSO, so nowhere to make the call from
        registers[RAX] = _ENOSYS
        registers[RIP] = at + INSTRUCTION
    ptrace.setregs(task.tid, registers)
    return True


def _rewrite(task, at: int, number: int, stack_pointer: int) -> bool:
    """Turn the site into ``syscall`` if rcx and r11 are dead there and the page is the process's alone."""
    from tracer.sites import rewritable

    image = task.process.image
    try:
        inode = _private(task.process.pid, at)
        text = Text(task.tid)
    except OSError:
        return False  # out of descriptors, or the task is dying
    try:
        if inode is None or not rewritable(at, number, text.read, stack_pointer):
            return False
        if image.program is not None and inode == image.program[1] and len(image.sites) < _SITES_MAX:
            image.sites.add(at - image.entry)
        if len(task.process.tasks) == 1:
            return text.write(at, SYSCALL)
        # Others may be executing these very bytes: one byte at a time, behind a breakpoint that
        # `breakpoint_of_ours` sends back once the new instruction is whole.
        image.patched.add(at)
        return text.write(at, _INT3) and text.write(at + 1, SYSCALL[1:]) and text.write(at, SYSCALL[:1])
    finally:
        text.close()


def rewrite_known(tid: int, image) -> None:
    """At exec: rewrite the sites that an earlier run of the same file has shown to be safe."""
    try:
        text = Text(tid)
    except OSError:
        return
    try:
        for offset in image.sites:
            at = image.entry + offset
            if text.read(at, INSTRUCTION) == INT80 and text.write(at, SYSCALL):
                image.patched.add(at)
    finally:
        text.close()


def _private(pid: int, address: int) -> int | None:
    """The inode (0: no file) of the mapping at `address` if it is private, else None.

    Writing to a shared one would change the file, or other processes.
    """
    with open(b"/proc/%d/maps" % pid, "rb") as maps:
        for line in maps:
            span, rights, _, _, inode, *_ = line.split(None, 5)
            low, high = (int(end, 16) for end in span.split(b"-"))
            if low <= address and address + INSTRUCTION <= high:
                return int(inode) if rights[3:4] == b"p" else None
    return None


def breakpoint_of_ours(task, registers) -> bool:
    """Whether a SIGTRAP came from a site that was half rewritten; it is then put back to run again."""
    at = registers[RIP] - 1
    if at not in task.process.image.patched or task.memory.read_some(at, INSTRUCTION) != SYSCALL:
        return False
    registers[RIP] = at
    ptrace.setregs(task.tid, registers)
    return True


def leave(task, registers) -> Trap | None:
    """At a stop of a task with a trap: undo the detour if its call is over, and give the trap back.

    Registers are changed, not yet written.  A call that a signal is to restart starts again from the site.
    """
    trap = task.trap
    place = registers[RIP]
    vdso = task.process.image.vdso_call
    if place == vdso:
        return None  # the skipped 32-bit call is over, ours has not begun
    task.trap = None
    if place != vdso + INSTRUCTION:
        return None  # rt_sigreturn: the registers are the signal frame's
    registers[RIP] = trap.back
    registers[RCX] = trap.rcx
    registers[R11] = trap.r11
    return trap


def abandon(task, registers) -> None:
    """A signal arrives before the detour's call was made: make it look as if the site were next."""
    trap, task.trap = task.trap, None
    registers[RIP] = trap.back - INSTRUCTION
    registers[RAX] = trap.number
    registers[RCX] = trap.rcx
    registers[R11] = trap.r11
