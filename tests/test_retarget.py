"""Every `syscall` instruction of a static program becomes `int 0x80`, and no other two bytes do."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.retarget import RetargetError, retarget

BUSYBOX = Path("/bin/busybox")
SYSCALL, INT80 = b"\x0f\x05", b"\xcd\x80"
BASE = 0x400000
EXIT = "mov $60, %eax; syscall;"

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
needs_objdump = pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")


def compiled(directory: Path, source: str, *flags: str, language: str = "assembler") -> bytes:
    out = directory / "program"
    flags = flags or ("-nostdlib", "-static", "-Wl,--build-id=none")
    subprocess.run(["gcc", *flags, "-o", out, "-x", language, "-"], input=f"{source}\n".encode(), check=True)
    return out.read_bytes()


@pytest.fixture
def link(tmp_path):
    """Builds a static program from assembly, or from C with the flags given."""
    return partial(compiled, tmp_path)


def start(body: str) -> str:
    return f".globl _start; _start: {body}"


def turned(data: bytes) -> list[int]:
    """The file offsets of what retarget() changes; checks that it changes nothing else, and counts right."""
    new, count = retarget(data)
    offsets = [at for at in range(len(data) - 1) if data[at : at + 2] == SYSCALL and new[at : at + 2] == INT80]
    expected = bytearray(data)
    for at in offsets:
        expected[at : at + 2] = INT80
    assert new == bytes(expected)
    assert count == len(offsets)
    return offsets


def pairs(data: bytes) -> list[int]:
    return [match.start() for match in re.finditer(SYSCALL, data)]


def elf(
    code: bytes,
    *,
    type_: int = 2,
    machine: int = 62,
    class_: int = 2,
    order: int = 1,
    segment: int = 1,
    flags: int = 5,
    phentsize: int = 56,
    base: int = BASE,
) -> bytes:
    """A program with one segment and no section headers."""
    ident = b"\x7fELF" + bytes([class_, order, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", type_, machine, 1, base + 120, 64, 0, 0, 64, phentsize, 1, 64, 0, 0)
    size = 120 + len(code)
    return header + struct.pack("<IIQQQQQQ", segment, flags, 0, base, base, size, size, 4096) + code


EXIT_CODE = bytes.fromhex("b83c000000 0f05")  # mov eax, 60; syscall


def test_a_syscall_becomes_int_0x80():
    data = elf(EXIT_CODE)
    assert retarget(data) == (data[:-2] + INT80, 1)


def test_a_program_without_syscall_comes_back_unchanged():
    data = elf(bytes.fromhex("b83c000000 cd80"))
    assert retarget(data) == (data, 0)


def test_a_program_with_both_instructions_is_finished():
    data = elf(bytes.fromhex("b827000000 cd80") + EXIT_CODE)
    assert turned(data) == [len(data) - 2]


def test_the_pair_inside_another_instruction_is_left_alone():
    for inside in ("b80f050000", "48b80f05000000000f05", "8d050f050000", "e8ff000000 66b80f05", "384c0f05"):
        data = elf(bytes.fromhex(inside) + EXIT_CODE)
        assert turned(data) == [len(data) - 2], inside


def test_a_pair_that_two_instructions_share_is_left_alone():
    data = elf(bytes.fromhex("b00f 0500000000") + EXIT_CODE)  # mov al, 15; add eax, 0
    assert turned(data) == [len(data) - 2]


def test_a_pair_that_a_jump_cuts_in_two_is_left_alone():
    data = elf(bytes.fromhex("eb01 0f 0500000000") + EXIT_CODE)  # jmp 1f; .byte 15; 1: add eax, 0
    assert turned(data) == [len(data) - 2]


def test_a_prefix_before_syscall_stays():
    data = elf(bytes.fromhex("b83c000000 480f05"))
    assert retarget(data)[0].endswith(b"\x48" + INT80)


def test_both_sides_of_a_branch_are_followed():
    data = elf(bytes.fromhex("85c0 7407 b827000000 0f05") + EXIT_CODE)
    assert turned(data) == pairs(data)


def test_code_that_only_a_pointer_reaches_is_found():
    data = elf(EXIT_CODE + bytes.fromhex("0f1f4000 b827000000 0f05 c3"))  # nop; mov eax, 39; syscall; ret
    assert turned(data) == pairs(data)


def test_the_number_of_an_unreached_call_may_be_loaded_in_any_way():
    for load in ("4889f8", "6a0f58", "b00f", "31c0", "31c0 48"):
        for end in ("c3", "f4"):
            data = elf(EXIT_CODE + bytes.fromhex(load) + SYSCALL + bytes.fromhex(end))
            assert turned(data) == pairs(data), load


@pytest.mark.parametrize(
    "data_",
    ["0f05", "410f05", "06060f05", "06b801000000 0f05", "b80100000006 0f05", "ecb801000000 0f05", "b801000000 0f05 06"],
)
def test_unreached_bytes_that_may_be_data_are_refused_with_their_address(data_):
    data = elf(EXIT_CODE + bytes.fromhex(data_))
    address = BASE + pairs(data)[-1]
    with pytest.raises(RetargetError, match=f"0f 05 at {address:#x} may be"):
        retarget(data)


def test_a_string_behind_a_call_is_not_followed():
    # call next; .ascii "ab"; next: pop rsi
    data = elf(bytes.fromhex("e802000000 6162 5e") + EXIT_CODE)
    assert turned(data) == [len(data) - 2]
    with pytest.raises(RetargetError, match="may be"):
        retarget(elf(bytes.fromhex("e802000000 0f05 5e") + EXIT_CODE))


def test_two_flows_that_disagree_are_refused():
    # jz into the immediate of mov eax, 0x50f: a call for one path, a constant for the other
    data = elf(bytes.fromhex("7401 b80f05000000") + EXIT_CODE)
    with pytest.raises(RetargetError, match=f"{BASE + 123:#x} may be"):
        retarget(data)


@needs_gcc
def test_an_unwind_entry_settles_what_two_flows_disagree_about(link):
    source = start(f"jz f + 1; call f; {EXIT}") + "f: .cfi_startproc; mov $0x50f, %eax; ret; .cfi_endproc"
    data = link(source)
    assert len(turned(data)) == 1
    with pytest.raises(RetargetError):
        retarget(link(source.replace(".cfi_startproc;", "").replace(".cfi_endproc", "")))


@needs_gcc
def test_data_among_the_code_is_known_by_its_symbol(link):
    source = start("jmp over; table: .byte 0x0f, 0x05; {} over: " + EXIT)
    with pytest.raises(RetargetError, match="symbols"):
        retarget(link(source.format("")))
    assert len(turned(link(source.format(".type table, @object; .size table, 2;")))) == 1


@pytest.mark.parametrize("end", ["b83c000000 31ff 0f05", "48c7c0e7000000 0f05", "6a3c58 0f05", "7400 f4"])
def test_what_lies_behind_a_program_s_end_is_not_taken_for_code(end):
    with pytest.raises(RetargetError, match="may be"):
        retarget(elf(bytes.fromhex(end) + SYSCALL))


@needs_gcc
@pytest.mark.parametrize(
    "function", [".type f, @function; f: syscall; ret", "f: .cfi_startproc; syscall; ret; .cfi_endproc"]
)
def test_functions_start_where_a_symbol_or_an_unwind_entry_says(link, function):
    # Nothing calls f, no number is loaded in it, and the byte before it makes a sweep miss it.
    assert len(turned(link(start(f"{EXIT} .byte 0xe8; {function}")))) == 2


@needs_gcc
@pytest.mark.parametrize("call", ["call end", "call *%rax"])
def test_a_function_that_ends_in_a_call_does_not_run_on(link, call):
    # A compiler puts nothing behind a call that does not return: what follows may be data.
    source = start(f"call f; {EXIT}") + f"f: .cfi_startproc; {call}; .cfi_endproc; .byte 0x0f, 0x05; end: hlt"
    with pytest.raises(RetargetError, match="may be"):
        retarget(link(source))


@needs_gcc
@needs_objdump
@pytest.mark.parametrize("flags", [("-static",), ("-static-pie", "-fPIE"), ("-static", "-s"), ("-static-pie", "-s")])
def test_a_glibc_program_agrees_with_objdump(link, tmp_path, flags):
    data = link("int puts(const char *); int main(void) { return puts(0) < 0; }", "-O2", *flags, language="c")
    (tmp_path / "it").write_bytes(data)
    assert turned(data) == disassembled(tmp_path / "it")


@needs_objdump
@pytest.mark.skipif(not BUSYBOX.exists() or b"ld-linux" in BUSYBOX.read_bytes()[:4096], reason="needs busybox-static")
def test_busybox_agrees_with_objdump():
    assert turned(BUSYBOX.read_bytes()) == disassembled(BUSYBOX)


@pytest.mark.skipif(not BUSYBOX.exists() or b"ld-linux" in BUSYBOX.read_bytes()[:4096], reason="needs busybox-static")
def test_busybox_without_section_headers_gives_the_same():
    data = BUSYBOX.read_bytes()
    bare = bytearray(data)
    bare[40:48] = bytes(8)  # e_shoff
    bare[60:64] = bytes(4)  # e_shnum, e_shstrndx
    assert turned(bytes(bare)) == turned(data)


def disassembled(program: Path) -> list[int]:
    """The file offsets of the syscall instructions that a linear sweep sees."""
    headers = subprocess.run(["objdump", "-h", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    sections = [
        tuple(int(field, 16) for field in match.groups())
        for match in re.finditer(r"^ *\d+ \S+ +(\w+) +(\w+) +\w+ +(\w+) ", headers, re.M)
    ]
    listing = subprocess.run(["objdump", "-d", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = []
    for match in re.finditer(r"^ *([0-9a-f]+):\t([0-9a-f ]+)\t(?:\S+ )?syscall *$", listing, re.M):
        address = int(match[1], 16) + len(match[2].split()) - 2
        found += [offset + address - vma for size, vma, offset in sections if vma <= address < vma + size and vma]
    return sorted(found)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (elf(EXIT_CODE, class_=1), "not an x86-64 program"),
        (elf(EXIT_CODE, order=2), "not an x86-64 program"),
        (elf(EXIT_CODE, machine=183), "not an x86-64 program"),
        (elf(EXIT_CODE, machine=3), "not an x86-64 program"),
        (elf(EXIT_CODE, type_=1), "ET_REL"),
        (elf(EXIT_CODE, type_=4), "ET_CORE"),
        (elf(EXIT_CODE, segment=3), "dynamic program"),
        (elf(EXIT_CODE, flags=4), "no executable segment"),
        (elf(EXIT_CODE, phentsize=0), "program headers"),
        (elf(EXIT_CODE, base=2**64 - 124), "damaged"),
        (elf(EXIT_CODE)[:-3], "damaged"),
        (elf(EXIT_CODE)[:80], "damaged"),
        (elf(EXIT_CODE)[:20], "damaged"),
    ],
)
def test_a_file_that_is_no_static_program_is_refused_in_one_line(data, message):
    with pytest.raises(RetargetError, match=message) as caught:
        retarget(data)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def specimen(tmp_path_factory) -> bytes:
    """A small real program with sections, symbols and an unwind table."""
    source = start(f".cfi_startproc; call f; {EXIT} .cfi_endproc; f: .cfi_startproc; mov $39, %eax; syscall; ret;")
    source += ".cfi_endproc; .type f, @function; .size f, . - f"
    return compiled(tmp_path_factory.mktemp("specimen"), source)


@needs_gcc
@settings(max_examples=300, deadline=None, database=None)
@given(st.integers(0, 1 << 32))
def test_a_damaged_file_is_refused_or_read(specimen, seed):
    dice = random.Random(seed)
    data = bytearray(specimen)
    for _ in range(dice.randint(1, 8)):
        # Anywhere, or where little is padding.
        at = dice.choice([dice.randrange(len(data)), dice.randrange(0x200), len(data) - dice.randrange(1, 0x400)])
        data[at] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
    if dice.random() < 0.3:
        del data[dice.randrange(len(data)) :]
    try:
        new, count = retarget(bytes(data))
    except RetargetError:
        return
    assert len(new) == len(data)
    assert new.count(INT80) >= count
