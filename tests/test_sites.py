"""The rule that settles where `int 0x80` may become `syscall`: rcx and r11 must be dead behind the site."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.sites import rewritable

pytestmark = pytest.mark.skipif(not shutil.which("as"), reason="needs the GNU assembler")

CODE = 0x401000
STACK = 0x7FFD_0000_1000
WRITE, RT_SIGRETURN, EXIT, EXIT_GROUP = 1, 15, 60, 231


@cache
def assemble(source: str) -> tuple[bytes, dict[str, int]]:
    """Machine code for Intel syntax, and the offsets of its labels."""
    return build(["as", "--64"], f".intel_syntax noprefix; {source}")


def build(command: list[str], source: str) -> tuple[bytes, dict[str, int]]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "out.o")
        subprocess.run([*command, "-o", out, "-"], input=f"{source}\n".encode(), check=True)
        elf = ELFFile(io.BytesIO(out.read_bytes()))
    labels = {
        symbol.name: symbol["st_value"]
        for section in elf.iter_sections("SHT_SYMTAB")
        for symbol in section.iter_symbols()
    }
    return elf.get_section_by_name(".text").data(), labels


class Guest:
    """Memory with code at CODE and a stack at STACK, nothing else mapped; counts what is read of it."""

    def __init__(self, code: bytes, stack: bytes = b"") -> None:
        self.areas = ((CODE, code), (STACK, stack))
        self.reads = 0

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        for start, data in self.areas:
            if start <= address + size and address < start + len(data):
                # As from real pages, what lies before an area is readable as zeros.
                padded = bytes(0x1000) + data
                return padded[address - start + 0x1000 :][:size]
        return b""


def judge(source: str, *stack: str | int, number: int = WRITE) -> bool:
    """The verdict on the first int 0x80 in `source`; `stack` are the values at rsp, a str is a label's address."""
    code, labels = assemble(source)
    words = [CODE + labels[word] if isinstance(word, str) else word for word in stack]
    guest = Guest(code, struct.pack(f"<{len(words)}Q", *words))
    return rewritable(CODE + code.index(b"\xcd\x80"), number, guest.read, STACK)


BOTH_DIE = "mov ecx, 1; mov r11d, 1; ret;"
# What most callers look like: nothing of what the callee left over is used.
CALLER = "nop; caller: mov rcx, [rdi]; mov r11, rax; ret;"


def test_both_registers_overwritten_at_once_can_be_rewritten():
    assert judge("int 0x80; mov rcx, rdi; mov r11, rsi; ret")


def test_a_32_bit_write_overwrites_the_whole_register():
    assert judge("int 0x80; mov ecx, 5; xor r11d, r11d; ret")


@pytest.mark.parametrize(
    "use",
    [
        "mov rdx, rcx",
        "add rax, r11",
        "mov rax, [rcx + 8]",
        "mov [rdi + r11 * 8], rax",
        "push rcx",
        "xchg rcx, rax",
        "movzx ecx, cl",
        "shl eax, cl",
        "rep movsb",
        "repne scasb",
        "loop again",
        "jrcxz again",
        "bsf rcx, rax; test rcx, rcx",
        "or rcx, 1",
        "or qword ptr [rcx], -1",
        "sbb ecx, eax",
    ],
)
def test_a_read_behind_the_site_keeps_the_trap(use):
    assert not judge(f"again: int 0x80; {use}; {BOTH_DIE}")


@pytest.mark.parametrize("write", ["mov cl, 1", "mov cx, 1", "cmovz rcx, rax", "mov r11b, 1", "bsf rcx, rax"])
def test_a_partial_or_conditional_write_leaves_the_register_alive(write):
    assert not judge(f"int 0x80; {write}; mov rax, rcx; mov rax, r11; ret")


def test_parts_that_are_overwritten_may_be_read():
    assert judge(f"int 0x80; test eax, eax; setne cl; movzx ecx, cl; mov eax, ecx; {BOTH_DIE}")


@pytest.mark.parametrize("load", ["or rcx, -1", "or ecx, -1", "sbb ecx, ecx", "sub ecx, ecx", "xor ecx, ecx"])
def test_loading_a_constant_with_arithmetic_is_a_write(load):
    assert judge(f"int 0x80; {load}; mov r11d, ecx; ret")


def test_both_branches_of_a_jump_count():
    source = "int 0x80; test rax, rax; js bad; {0}; ret; bad: {1}; ret"
    die, read = "mov ecx, 1; mov r11d, 1", "mov rdx, r11"
    assert judge(source.format(die, die))
    assert not judge(source.format(die, read))
    assert not judge(source.format(read, die))


def test_a_direct_jump_is_followed():
    assert not judge(f"int 0x80; jmp on; {BOTH_DIE} on: mov rax, r11; ret")
    assert judge(f"int 0x80; jmp on; mov rax, r11; on: {BOTH_DIE}")


def test_a_loop_around_the_site_that_counts_in_rcx_keeps_the_trap():
    assert not judge("mov ecx, 10; again: int 0x80; dec rcx; jnz again; ret")


def test_a_loop_that_uses_neither_register_ends():
    assert judge(f"again: int 0x80; cmp eax, -4; je again; {BOTH_DIE}")


def test_a_loop_without_end_has_no_reader():
    assert judge("int 0x80; here: jmp here")


def test_a_callee_that_reads_its_fourth_argument_keeps_the_trap():
    assert not judge(f"int 0x80; call f; {BOTH_DIE} f: mov rax, rcx; ret")


def test_a_call_kills_r11_and_its_callee_may_kill_rcx():
    assert judge("int 0x80; call f; mov rax, r11; ret; f: xor ecx, ecx; mov rax, r11; ret")


def test_the_walk_goes_on_behind_a_callee_that_leaves_rcx_alone():
    source = "int 0x80; call f; {}; mov r11d, 1; ret; f: push rbp; mov rbp, rsp; and rsp, -16; leave; ret"
    assert not judge(source.format("mov rax, rcx"))
    assert judge(source.format("mov ecx, 1"))


def test_a_callee_that_pops_its_return_address_ends_the_call():
    assert not judge(f"int 0x80; call on; on: pop rax; mov rdx, rcx; {BOTH_DIE}")


@pytest.mark.parametrize("jump", ["push rbx; ret", "pop rax; push rbx; ret", "mov [rsp], rbx; ret"])
def test_a_callee_that_returns_elsewhere_proves_nothing(jump):
    assert not judge(f"int 0x80; call f; {BOTH_DIE} f: {jump}")


def test_an_argument_that_a_variadic_callee_only_saves_keeps_the_trap():
    assert not judge(
        f"int 0x80; call f; {BOTH_DIE}"
        "f: sub rsp, 64; mov [rsp + 24], rcx; mov [rsp + 32], r8; mov [rsp + 40], r9; add rsp, 64; ret"
    )


@pytest.mark.parametrize("jump", ["jmp rax", "jmp [rax * 8 + 0x402000]", "call rax", "call [rdi]", "push rax; ret"])
def test_an_indirect_jump_or_call_proves_nothing_while_rcx_is_alive(jump):
    assert not judge(f"int 0x80; {jump}; {BOTH_DIE}", 0)


def test_an_indirect_call_kills_r11():
    assert judge("int 0x80; mov ecx, 1; call rax; mov rax, r11; ret")


def test_an_indirect_jump_does_not_kill_r11():
    assert not judge("int 0x80; mov ecx, 1; jmp rax")


def test_a_retpoline_is_an_indirect_jump():
    assert not judge("int 0x80; call set; trap: pause; jmp trap; set: mov [rsp], rax; ret")


def test_a_syscall_instruction_kills_both():
    assert judge("int 0x80; mov eax, 39; syscall; mov rax, rcx; mov rax, r11; ret")


def test_another_int_0x80_kills_neither():
    assert not judge("int 0x80; mov eax, 39; int 0x80; mov rax, rcx; ret")
    assert judge(f"int 0x80; mov eax, 39; int 0x80; {BOTH_DIE}")


@pytest.mark.parametrize("end", ["ud2", "hlt", "int3", "mov eax, 60; int 0x80; mov rax, rcx", "mov eax, 60; syscall"])
def test_a_path_that_does_not_go_on_reads_nothing(end):
    assert judge(f"int 0x80; test eax, eax; jz child; {BOTH_DIE} child: {end}")


@pytest.mark.parametrize(
    ("load", "number"),
    [
        ("mov eax, 60", EXIT),
        ("mov rax, 231", EXIT_GROUP),
        ("mov rax, 15", RT_SIGRETURN),
        ("push 60; pop rax", EXIT),
    ],
)
def test_a_site_that_never_returns_can_be_rewritten_whatever_follows(load, number):
    source = f"nop; nop; nop; nop; {load}; int 0x80; mov rax, rcx"
    assert judge(source, number=number)
    assert not judge(source, number=WRITE), "the number that is loaded is not the one of this call"


@pytest.mark.parametrize("load", ["mov r8d, 60", "mov ebx, 60; nop", "push 60; pop r8"])
def test_an_exit_through_a_site_that_serves_other_calls_is_no_proof(load):
    assert not judge(f"nop; nop; nop; nop; {load}; int 0x80; mov rax, rcx; ret", number=EXIT)


def test_a_wrapper_whose_caller_uses_neither_can_be_rewritten():
    assert judge(f"int 0x80; ret; {CALLER}", "caller")


@pytest.mark.parametrize("use", ["mov rax, rcx", "mov rax, r11", "call g; ret; g: mov rax, rcx; ret"])
def test_a_wrapper_whose_caller_relies_on_a_kept_register_keeps_the_trap(use):
    assert not judge(f"int 0x80; ret; nop; caller: {use}; ret", "caller")


def test_a_musl_wrapper_is_followed_into_its_tail():
    source = "int 0x80; mov rdi, rax; jmp tail; nop; tail: cmp rdi, -4096; ja error; mov rax, rdi; ret; "
    source += "error: neg edi; push rdi; call errno; pop rdi; mov [rax], edi; or rax, -1; ret; "
    source += "errno: mov rax, fs:[0]; add rax, 60; ret; "
    assert judge(source + CALLER, "caller")
    assert not judge(source + "caller: mov rdx, rcx; ret", "caller")


def test_the_return_address_is_found_behind_saved_registers_and_locals():
    source = "sub rsp, 40; int 0x80; add rsp, 24; lea rsp, [rsp + 16]; pop rbx; pop rbp; ret 16; caller: {}; ret"
    stack = (0, 0, 0, 0, 0, 0, 0, "caller")
    assert judge(source.format("mov ecx, 1; mov r11d, 1"), *stack)
    assert not judge(source.format("mov rax, rcx"), *stack)


def test_the_caller_of_the_caller_is_looked_at():
    source = "int 0x80; ret; caller: pop rbx; ret; grandcaller: {}; mov r11d, 1; ret"
    assert judge(source.format("mov ecx, 1"), "caller", 0, "grandcaller")
    assert not judge(source.format("mov rax, rcx"), "caller", 0, "grandcaller")


def test_a_callee_that_drops_its_arguments_is_followed():
    source = "int 0x80; ret 16; caller: ret; grandcaller: {}; mov r11d, 1; ret"
    assert judge(source.format("mov ecx, 1"), "caller", 0, 0, "grandcaller")
    assert not judge(source.format("mov rax, rcx"), "caller", 0, 0, "grandcaller")


def test_far_frames_are_left_to_the_abi():
    source = "int 0x80; one: two: three: ret; nop; four: mov rax, rcx; ret"
    assert not judge(source, "one", "two", "four")
    assert judge(source, "one", "two", "three", "four")


def test_a_caller_that_shows_nothing_within_the_budget_is_left_to_the_abi():
    filler = "add rax, 1;" * 100
    assert judge(f"int 0x80; ret; caller: {filler} mov rax, rcx; ret", "caller")


def test_a_caller_that_jumps_through_a_table_is_left_to_the_abi():
    assert judge("int 0x80; ret; caller: jmp [rax * 8 + 0x402000]", "caller")


def test_the_site_s_own_function_gets_no_such_trust():
    assert not judge(f"int 0x80; {'add rax, 1;' * 500} {BOTH_DIE}")


def test_a_frame_pointer_from_before_the_site_leaves_the_caller_to_the_abi():
    assert judge("int 0x80; leave; ret; caller: mov rax, rcx; ret", "caller", "caller")


def test_a_return_address_that_was_pushed_again_is_unknown():
    assert not judge("int 0x80; pop rdx; push rdx; ret; caller: mov ecx, 1; mov r11d, 1; ret", "caller")


def test_a_callee_of_a_caller_may_save_rcx_for_no_reason():
    # gcc -Os aligns with push rcx; a variadic function stores what may be arguments.
    prologue = "sub rsp, 72; mov [rsp + 24], rcx; test al, al; mov [rsp + 32], r8; mov [rsp + 40], r9; add rsp, 72"
    for saves in ("push rcx; pop rdx", prologue):
        assert judge(f"int 0x80; ret; caller: call f; mov ecx, 1; ret; f: {saves}; ret", "caller")


def test_what_such_a_callee_saved_may_come_back():
    assert not judge("int 0x80; ret; caller: call f; mov rax, rcx; ret; f: push rcx; pop rcx; ret", "caller")


def test_a_spilled_argument_is_not_such_a_save():
    assert not judge(
        "int 0x80; ret; caller: call f; mov ecx, 1; ret; f: mov [rsp - 8], rcx; mov [rsp - 16], r8; ret", "caller"
    )


@pytest.mark.parametrize("branch", ["jne fail; jmp well", "je well; jmp fail"])
def test_the_stack_protector_s_failure_path_is_not_followed(branch):
    assert judge(f"int 0x80; sub rdx, fs:[0x28]; {branch}; well: {BOTH_DIE} fail: mov rax, rcx; ud2")


def test_an_address_that_holds_no_int_0x80_is_not_a_site():
    guest = Guest(b"\x0f\x05" + assemble(BOTH_DIE)[0])
    assert not rewritable(CODE, WRITE, guest.read, STACK)


def test_unmapped_memory_proves_nothing():
    assert not rewritable(CODE, WRITE, lambda address, size: b"", STACK)
    assert not judge("int 0x80"), "the code ends behind the site"
    assert not judge("int 0x80; ret"), "no stack"
    assert not judge("int 0x80; ret", 0xDEAD_0000), "no caller"
    assert not judge("int 0x80; jmp . + 0x100000"), "no target"


def test_bytes_that_are_no_instruction_prove_nothing():
    assert not judge("int 0x80; .byte 0x06")
    assert not judge("int 0x80; ret; caller: .byte 0x06", "caller")


def test_an_instruction_may_cross_pages():
    head = b"\x90" * 0xFF8 + b"\xcd\x80" + b"\x90" * 4
    code = head + bytes.fromhex("48b9 1122334455667788 41bb 01000000 c3")  # mov rcx, imm64 over the border
    assert rewritable(CODE + 0xFF8, WRITE, Guest(code, struct.pack("<Q", CODE)).read, STACK)


@pytest.mark.parametrize("site", [0, (1 << 64) - 256, (1 << 64) - 2])
def test_addresses_at_the_ends_of_memory_are_harmless(site):
    code = {site: 0xCD, site + 1: 0x80, site + 2: 0xC3}

    def read(address: int, size: int) -> bytes:
        assert 0 <= address <= (1 << 64) - size
        return bytes(code.get(at, 0) for at in range(address, address + size))

    assert rewritable(site, EXIT, read, (1 << 64) - 4) in (True, False)


@settings(max_examples=150, deadline=None, database=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 320), max_size=8), st.sampled_from([WRITE, EXIT, 15]))
def test_random_bytes_give_an_answer(code, stack, number):
    guest = Guest(b"\xcd\x80" + code, struct.pack(f"<{len(stack)}Q", *(CODE + at for at in stack)))
    assert rewritable(CODE, number, guest.read, STACK) in (True, False)


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(0, 1 << 32))
def test_memory_full_of_garbage_is_read_a_bounded_number_of_times(seed):
    reads = []

    def read(address: int, size: int) -> bytes:
        reads.append(address)
        if address == CODE:
            return (b"\xcd\x80" + random.Random(seed).randbytes(size))[:size]
        return random.Random(address ^ seed).randbytes(size)

    assert rewritable(CODE, WRITE, read, STACK) in (True, False)
    assert len(reads) <= 2 * 600 + 10


@pytest.mark.parametrize(
    "source",
    [
        "int 0x80; again: call again",
        "int 0x80; again: push rax; jmp again",
        "int 0x80; again: jz . + 3; nop; jz again; call again; ret",
        "int 0x80; again: sub rsp, 8; call . + 5; jnz again; call again",
        "int 0x80; again: ret 0xffff",
    ],
)
def test_code_that_grows_its_stack_without_end_is_given_up(source):
    code, _ = assemble(source)
    guest = Guest(code, struct.pack("<512Q", *[CODE + 2] * 512))
    rewritable(CODE, WRITE, guest.read, STACK)
    assert guest.reads < 600


def test_importing_the_module_does_not_import_the_decoder():
    script = "import sys, tracer.sites; print(*{'iced_x86', 'typing', 'dataclasses', 're'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-E", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_a_value_that_gcc_keeps_in_rcx_across_a_wrapper_is_seen():
    """With -fipa-ra, gcc knows that the wrapper destroys nothing but rax, and keeps d in rcx across it."""
    source = """
        static long __attribute__((noinline)) wrapper(long a) {
            long result;
            asm volatile("int $0x80" : "=a"(result) : "a"(39), "D"(a) : "memory");
            return result;
        }
        long caller(long a, long b, long c, long d) { long r = wrapper(a); asm("caller_goes_on:"); return r + d; }
        void _start(void) { caller(1, 2, 3, 4); }
    """
    command = "gcc -O2 -fno-inline -fno-ipa-cp -fno-asynchronous-unwind-tables -x c -c"
    code, labels = build(command.split(), source)
    guest = Guest(code, struct.pack("<4Q", *[CODE + labels["caller_goes_on"]] * 4))
    assert not rewritable(CODE + code.index(b"\xcd\x80"), 39, guest.read, STACK)
