"""Decide whether a guest's `int 0x80` may be rewritten to `syscall`.

A rewritten site costs one trap less for each later call, but `syscall` destroys rcx and r11, which `int 0x80` keeps. So
the code behind the site is walked: each of the two registers must be overwritten before it is read, on every path.

Past the end of the function that has the site the two are dead by the ABI (System V AMD64 psABI 3.2.1), and what a
function's callers do with them is its compiler's business. Yet gcc's -fipa-ra and hand-written assembly do rely on a
callee that keeps them, so the walk goes on in the actual callers for a while, and believes what it sees there. Another
caller may give another answer: one that is False need not be the last word on a site.

Compilers store registers that hold nothing and test a canary that never changes; where the walk would take that for a
use, hardly a site were left to rewrite. `_only_saves` and `_checks_canary` know those habits.

Not done: tracking of values (a jump through a table stays unproven), and of the guest's stores to its own stack, but
for one that replaces the return address of a call that is followed.

The bytes are the guest's and may be anything: the work is bounded, and a wrong answer hurts that guest only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iced_x86 import Instruction

INT80 = b"\xcd\x80"
SYSCALL = b"\x0f\x05"

# Instructions, in all: about 5 ms.
_OWN_STEPS = 400  # in the function that has the site, and in what it calls
_CALLERS_STEPS = 200  # in the callers
# On one path.
_CALLER_STEPS = 60
_FRAMES = 3

_NEVER_RETURN = frozenset({15, 60, 231})  # rt_sigreturn, exit, exit_group

_CHUNK = 256  # divides the page size, so that a chunk is readable as a whole or not at all
_LONGEST = 15  # bytes of one x86 instruction
_ADDRESSES = 1 << 64  # where addresses wrap around

# The parts of a register that are written apart: bits 0-7, 8-15, and the rest.
_RCX, _R11 = 0b000111, 0b111000


def rewritable(address: int, number: int, read: Callable[[int, int], bytes], stack_pointer: int) -> bool:
    """Say whether the `int 0x80` at `address` may become `syscall`.

    `number` is rax and `stack_pointer` rsp at the trap. `read(address, size)` gives up to `size` bytes of the guest's
    memory, fewer or none where it is not mapped; it must not raise. False means: not proved, keep the trap.
    """
    memory = _Memory(read)
    if memory.fetch(address, 2) != INT80:
        return False
    if number in _NEVER_RETURN and _number_loaded(memory, address) == number:
        return True
    return _Walk(memory, stack_pointer).proves((address + 2) % _ADDRESSES)


class _Live(Exception):
    """A register is read before it is written, or the bytes are not code: never rewrite."""


class _Unproven(Exception):
    """The path goes where it cannot be followed."""


class _Memory:
    """The guest's memory, each chunk read once."""

    __slots__ = ("_chunks", "_read")

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        self._chunks: dict[int, bytes] = {}

    def fetch(self, address: int, size: int) -> bytes:
        """Up to `size` bytes, which is at most a chunk."""
        start = address % _CHUNK
        found = self._chunk(address - start)[start : start + size]
        if start + size > _CHUNK and len(found) == _CHUNK - start:
            found += self._chunk(address - start + _CHUNK)[: size - len(found)]
        return found

    def _chunk(self, address: int) -> bytes:
        address %= _ADDRESSES
        chunk = self._chunks.get(address)
        if chunk is None:
            chunk = self._chunks[address] = self._read(address, _CHUNK)[:_CHUNK]
        return chunk


def _number_loaded(memory: _Memory, address: int) -> int | None:
    """The constant that the instruction before `address` loads into rax, if it does."""
    before = memory.fetch(address - 8, 8)
    if len(before) < 8:
        return None
    if before[1:4] == b"\x48\xc7\xc0":  # mov rax, imm32
        return int.from_bytes(before[4:], "little", signed=True)
    if before[3] == 0xB8 and before[2] & 0xF1 != 0x41:  # mov eax, imm32; behind such a prefix it is r8d
        return int.from_bytes(before[4:], "little")
    if before[5] == 0x6A and before[7] == 0x58:  # push imm8; pop rax
        return int.from_bytes(before[6:7], "little", signed=True)
    return None


def _checks_canary(memory: _Memory, address: int) -> bool:
    """Say whether the instruction before `address` is the stack protector's: sub, xor or cmp reg, fs:[0x28].

    When that finds the canary changed the program ends, but only after much code that reads any register.
    """
    before = memory.fetch(address - 9, 9)
    return before[:1] == b"\x64" and before[2:3] in (b"\x2b", b"\x33", b"\x3b") and before[4:] == b"\x25\x28\0\0\0"


class _Path:
    """A place that the walk has come to.

    `live` are the parts of rcx and r11 that are not overwritten yet. `offset` is rsp, counted from the stack pointer at
    the trap if `anchored`, else from some unknown place. `calls` are the calls that are followed: where on the stack
    the return address is (None: before the last unknown place) and what it is (None: replaced by the callee). Below
    `dirty` the stack was written to on the way. `frame` is 0 in the function that has the site, then counts callers.
    `saved` says that a callee put rcx on the stack. `left` are the steps left in callers.
    """

    __slots__ = ("anchored", "calls", "dirty", "frame", "ip", "left", "live", "offset", "saved")

    def __init__(
        self,
        ip: int,
        live: int = _RCX | _R11,
        offset: int = 0,
        anchored: bool = True,
        calls: tuple[tuple[int | None, int | None], ...] = (),
        dirty: int = 0,
        frame: int = 0,
        left: int = _CALLER_STEPS,
        saved: bool = False,
    ) -> None:
        self.ip = ip
        self.live = live
        self.offset = offset
        self.anchored = anchored
        self.calls = calls
        self.dirty = dirty
        self.frame = frame
        self.left = left
        self.saved = saved

    def key(self) -> tuple:
        return (self.ip, self.live, self.offset, self.anchored, self.calls, self.dirty, self.frame, self.saved)

    def at(self, ip: int) -> _Path:
        return _Path(
            ip, self.live, self.offset, self.anchored, self.calls, self.dirty, self.frame, self.left, self.saved
        )

    def move(self, size: int) -> None:
        """rsp changes by `size` bytes."""
        if size < 0:
            self.dirty = max(self.dirty, self.offset)
        self.offset += size
        # What is popped is gone: a later push may put anything there.
        while self.calls and self.calls[-1][0] is not None and self.calls[-1][0] < self.offset:
            self.calls = self.calls[:-1]

    def lose(self) -> None:
        """rsp takes an unknown value."""
        self.offset = self.dirty = 0
        self.anchored = False
        self.calls = tuple((None, back) for _, back in self.calls)


class _Walk:
    """One walk through the code behind a site."""

    __slots__ = ("_immediates", "_info", "_memory", "_parts", "_reads", "_stack", "_stack_pointer", "_writes", "_x86")

    def __init__(self, memory: _Memory, stack_pointer: int) -> None:
        import iced_x86 as x86  # here, because it takes 30 ms and most sandboxes have no int 0x80

        self._memory = memory
        self._stack_pointer = stack_pointer
        self._x86 = x86
        self._info = x86.InstructionInfoFactory()
        reg, access = x86.Register, x86.OpAccess
        self._parts = {
            reg.CL: 0b001, reg.CH: 0b010, reg.CX: 0b011, reg.ECX: _RCX, reg.RCX: _RCX,
            reg.R11L: 0b001_000, reg.R11W: 0b011_000, reg.R11D: _R11, reg.R11: _R11,
        }  # fmt: skip
        self._stack = {reg.SPL, reg.SP, reg.ESP, reg.RSP}
        kind = x86.OpKind
        self._immediates = {kind.IMMEDIATE8TO64, kind.IMMEDIATE32TO64}
        self._reads = {access.READ, access.COND_READ, access.READ_WRITE, access.READ_COND_WRITE}
        self._writes = {access.WRITE, access.READ_WRITE}

    def proves(self, ip: int) -> bool:
        """Say whether rcx and r11 are dead at `ip`."""
        own = [_Path(ip)]
        callers: list[_Path] = []
        seen = {own[0].key()}
        steps = 0
        try:
            while own:
                if steps == _OWN_STEPS:
                    return False
                steps += 1
                for path in self._step(own.pop()):
                    if path.key() not in seen:
                        seen.add(path.key())
                        (callers if path.frame else own).append(path)
        except (_Live, _Unproven):
            return False
        # First in, first out: a place is seen first by the path that has the most steps left.
        for path in callers:
            if steps == _OWN_STEPS + _CALLERS_STEPS:
                break
            steps += 1
            try:
                after = self._step(path)
            except _Live:
                return False
            except _Unproven:
                continue  # the ABI's word stands
            for follower in after:
                follower.left -= 1
                if follower.left and follower.key() not in seen:
                    seen.add(follower.key())
                    callers.append(follower)
        return True

    def _step(self, path: _Path) -> Iterable[_Path]:
        """The paths after the instruction at `path`, which changes; none when the path ends well."""
        x86 = self._x86
        instruction = x86.Decoder(64, self._memory.fetch(path.ip, _LONGEST), ip=path.ip).decode()
        code, flow = instruction.code, x86.FlowControl
        if code == x86.Code.INVALID:
            raise _Live
        moved = self._use_registers(path, instruction)
        if instruction.flow_control in (flow.CALL, flow.INDIRECT_CALL):
            path.live &= ~_R11  # scratch at a call
        if not path.live:
            return ()
        following = instruction.next_ip
        match instruction.flow_control:
            case flow.NEXT if code == x86.Code.HLT:
                return ()
            case flow.NEXT:
                if moved:
                    self._move_stack(path, instruction)
                self._note_store(path, instruction)
                return (path.at(following),)
            case flow.CONDITIONAL_BRANCH:
                branches = (path.at(following), path.at(instruction.near_branch_target))
                if _checks_canary(self._memory, path.ip):
                    match instruction.condition_code:
                        case x86.ConditionCode.NE:
                            return branches[:1]
                        case x86.ConditionCode.E:
                            return branches[1:]
                return branches
            case flow.UNCONDITIONAL_BRANCH:
                return (path.at(instruction.near_branch_target),)
            case flow.CALL if code == x86.Code.CALL_REL32_64:
                path.move(-8)
                path.calls += ((path.offset, following),)
                return (path.at(instruction.near_branch_target),)
            case flow.RETURN if code == x86.Code.RETNQ:
                return self._return(path, 8)
            case flow.RETURN if code == x86.Code.RETNQ_IMM16:
                return self._return(path, 8 + instruction.immediate(0))
            case flow.INTERRUPT if code == x86.Code.INT_IMM8 and instruction.immediate(0) == 0x80:
                if _number_loaded(self._memory, path.ip) in _NEVER_RETURN:
                    return ()
                return (path.at(following),)
            case flow.INTERRUPT | flow.EXCEPTION:
                return ()  # a signal, which the guest does not survive
            case _:
                raise _Unproven

    def _use_registers(self, path: _Path, instruction: Instruction) -> bool:
        """Account for what the instruction reads and writes; say whether it changes rsp."""
        reads = writes = 0
        moved = False
        for used in self._info.info(instruction).used_registers():
            register, access = used.register, used.access
            parts = self._parts.get(register, 0)
            if access in self._reads:
                reads |= parts
            if access in self._writes:
                writes |= parts
            moved = moved or (register in self._stack and access != self._x86.OpAccess.READ)
        if reads & path.live and not self._forgets(instruction):
            if not self._only_saves(path, instruction):
                raise _Live
            path.saved = True
        if path.saved and instruction.code == self._x86.Code.POP_R64:
            writes &= ~_RCX  # the value may be back
        path.live &= ~writes
        return moved

    def _forgets(self, instruction: Instruction) -> bool:
        """Say whether the result does not depend on the register that is read: gcc's short ways to load -1."""
        x86 = self._x86
        register = x86.OpKind.REGISTER
        match instruction.mnemonic:
            case x86.Mnemonic.OR if instruction.code in (x86.Code.OR_RM32_IMM8, x86.Code.OR_RM64_IMM8):
                return instruction.op0_kind == register and _signed(instruction.immediate(1)) == -1
            case x86.Mnemonic.SBB if instruction.op0_kind == instruction.op1_kind == register:
                return instruction.op0_register == instruction.op1_register
        return False

    def _only_saves(self, path: _Path, instruction: Instruction) -> bool:
        """Say whether rcx is stored as compilers do it, used or not.

        gcc -Os aligns the stack with `push rcx`, and a variadic function stores rcx, r8 and r9. A direct callee of the
        site's function may well get an argument in rcx; two functions away from it nothing speaks for that.
        """
        x86 = self._x86
        if not path.calls or path.frame + len(path.calls) < 2:
            return False
        if instruction.code == x86.Code.PUSH_R64:
            return True
        if not self._stores(instruction, x86.Register.RCX):
            return False
        wanted = {x86.Register.R8: 8, x86.Register.R9: 16}
        ip = instruction.next_ip
        for _ in range(4):  # gcc puts the test of al between
            store = x86.Decoder(64, self._memory.fetch(ip, _LONGEST), ip=ip).decode()
            offset = _signed(store.memory_displacement) - _signed(instruction.memory_displacement)
            for register in tuple(wanted):
                if (
                    self._stores(store, register)
                    and store.memory_base == instruction.memory_base
                    and offset == wanted[register]
                ):
                    del wanted[register]
            ip = store.next_ip
        return not wanted

    def _stores(self, instruction: Instruction, register: int) -> bool:
        """Say whether this is `mov [rsp + n], register`, or the same with rbp."""
        x86 = self._x86
        return (
            instruction.code == x86.Code.MOV_RM64_R64
            and instruction.op0_kind == x86.OpKind.MEMORY
            and instruction.op1_register == register
            and instruction.memory_base in (x86.Register.RSP, x86.Register.RBP)
            and instruction.memory_index == x86.Register.NONE
        )

    def _move_stack(self, path: _Path, instruction: Instruction) -> None:
        """Follow rsp through an instruction that changes it."""
        x86, rsp = self._x86, self._x86.Register.RSP
        to_rsp = instruction.op0_kind == x86.OpKind.REGISTER and instruction.op0_register == rsp
        match instruction.mnemonic:
            case x86.Mnemonic.ADD if to_rsp and instruction.op1_kind in self._immediates:
                path.move(_signed(instruction.immediate(1)))
            case x86.Mnemonic.SUB if to_rsp and instruction.op1_kind in self._immediates:
                path.move(-_signed(instruction.immediate(1)))
            case x86.Mnemonic.LEA if (
                to_rsp and instruction.memory_base == rsp and instruction.memory_index == x86.Register.NONE
            ):
                path.move(_signed(instruction.memory_displacement))
            case x86.Mnemonic.PUSH | x86.Mnemonic.PUSHFQ | x86.Mnemonic.POPFQ:
                path.move(instruction.stack_pointer_increment)
            case x86.Mnemonic.POP if not to_rsp:
                path.move(instruction.stack_pointer_increment)
            case _:
                path.lose()

    def _note_store(self, path: _Path, instruction: Instruction) -> None:
        """See a callee replace its return address, which is how a retpoline jumps."""
        x86 = self._x86
        if (
            path.calls
            and instruction.op0_kind == x86.OpKind.MEMORY
            and instruction.memory_base == x86.Register.RSP
            and instruction.mnemonic not in (x86.Mnemonic.PUSH, x86.Mnemonic.CMP, x86.Mnemonic.TEST)
        ):
            slot, _ = path.calls[-1]
            if slot == path.offset + _signed(instruction.memory_displacement):
                path.calls = (*path.calls[:-1], (slot, None))

    def _return(self, path: _Path, size: int) -> Iterable[_Path]:
        """The path after a `ret` that takes `size` bytes off the stack."""
        if path.calls:
            slot, back = path.calls[-1]
            # None is a slot from before rsp was lost: that the callee found it again is the ABI's word.
            if back is None or slot not in (None, path.offset):
                raise _Unproven  # to an address that the callee made
            path.calls = path.calls[:-1]
            path.move(size)
            return (path.at(back),)
        if not path.anchored:
            return ()  # the caller is not known: the ABI's word stands
        if path.offset < path.dirty:
            raise _Unproven
        address = self._memory.fetch(self._stack_pointer + path.offset, 8)
        if len(address) < 8:
            raise _Live
        if path.frame == _FRAMES:
            return ()
        path.move(size)
        path.frame += 1
        return (path.at(int.from_bytes(address, "little")),)


def _signed(value: int) -> int:
    """A 64-bit value as two's complement."""
    return value - _ADDRESSES if value >> 63 else value
