"""What is read of an ELF file, and that no bytes whatever make reading it do anything but fail with an errno."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procs import elf

PT_LOAD, PT_INTERP, PT_NOTE = 1, 3, 4
HEADER = "<16sHHIQQQIHHHHHH"


def header(kind: int = 2, machine: int = 62, offset: int = 64, entry_size: int = 56, count: int = 0, **ident) -> bytes:
    magic = b"\x7fELF" + bytes([ident.get("bits", 2), ident.get("data", 1), 1]) + bytes(9)
    return struct.pack(HEADER, magic, kind, machine, 1, 0x400000, offset, 0, 0, 64, entry_size, count, 0, 0, 0)


def build(*segments: tuple[int, bytes], alignment: int = 4, kind: int = 2, far: int = 0) -> bytes:
    """An ELF file with these (type, contents) segments; `far` bytes of padding stand before its header table."""
    offset = 64 + far
    position = offset + 56 * len(segments)
    table = contents = b""
    for segment, data in segments:
        table += struct.pack("<IIQQQQQQ", segment, 4, position, 0, 0, len(data), len(data), alignment)
        contents += data
        position += len(data)
    return header(kind, offset=offset, count=len(segments)) + bytes(far) + table + contents


def note(owner: bytes, kind: int, value: bytes, alignment: int = 4) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % alignment)

    return struct.pack("<III", len(owner), len(value), kind) + padded(owner) + padded(value)


def abi_note(abi: int) -> bytes:
    return note(b"int80\0", 1, struct.pack("<I", abi))


def read(data: bytes) -> elf.Elf:
    fd = os.memfd_create("program", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        return elf.read(fd, os.pread(fd, 4096, 0))
    finally:
        os.close(fd)


def fails(data: bytes) -> int:
    with pytest.raises(OSError) as caught:
        read(data)
    return caught.value.errno


LOAD = (PT_LOAD, b"\x90" * 16)


# -- good files -------------------------------------------------------------------------------------


def test_a_static_program_has_no_interpreter_and_the_linux_abi():
    program = read(build(LOAD))
    assert program.interpreter is None
    assert program.abi == elf.ABI_LINUX


@pytest.mark.parametrize("kind", [2, 3], ids=["fixed", "position-independent"])
def test_a_dynamic_program_names_its_interpreter(kind):
    program = read(build((PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0"), LOAD, kind=kind))
    assert program.interpreter == b"/lib64/ld-linux-x86-64.so.2"


def test_a_header_table_beyond_the_first_page_is_read_too():
    assert read(build((PT_INTERP, b"/ld\0"), LOAD, far=8192)).interpreter == b"/ld"


def test_this_python_is_read_as_readelf_reads_it():
    from elftools.elf.elffile import ELFFile

    with open("/proc/self/exe", "rb") as file:
        program = elf.read(file.fileno(), os.pread(file.fileno(), 4096, 0))
        names = [s.get_interp_name() for s in ELFFile(file).iter_segments() if s.header.p_type == "PT_INTERP"]
    assert program.interpreter == (names[0].encode() if names else None)


# -- notes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", [elf.ABI_LINUX, elf.ABI_HOST])
def test_the_note_names_the_abi(abi):
    assert read(build(LOAD, (PT_NOTE, abi_note(abi)))).abi == abi


def test_the_note_is_found_behind_others():
    notes = note(b"GNU\0", 1, bytes(16)) + note(b"stapsdt\0", 3, b"abc") + abi_note(elf.ABI_HOST)
    assert read(build((PT_NOTE, notes))).abi == elf.ABI_HOST


def test_the_note_is_found_in_any_note_segment():
    segments = ((PT_NOTE, note(b"GNU\0", 3, bytes(20))), (PT_NOTE, abi_note(elf.ABI_HOST)))
    assert read(build(*segments)).abi == elf.ABI_HOST


def test_notes_aligned_to_8_bytes_are_read():
    notes = note(b"GNU\0", 5, bytes(20), 8) + note(b"int80\0", 1, struct.pack("<I", 1), 8)
    assert read(build((PT_NOTE, notes), alignment=8)).abi == elf.ABI_HOST


@pytest.mark.parametrize("owner, kind", [(b"int80\0", 2), (b"int8\0\0", 1), (b"INT80\0", 1), (b"int80", 1)])
def test_a_note_of_another_owner_or_type_says_nothing(owner, kind):
    assert read(build((PT_NOTE, note(owner, kind, struct.pack("<I", 1))))).abi == elf.ABI_LINUX


@pytest.mark.parametrize("value", [struct.pack("<I", 2), b"\1", bytes(8), b""], ids=["unknown", "short", "long", "empty"])
def test_a_note_that_names_no_abi_makes_the_program_unusable(value):
    assert fails(build((PT_NOTE, note(b"int80\0", 1, value)))) == errno.ENOEXEC


def test_a_note_cut_off_by_the_end_of_its_segment_does_not_count_as_an_abi():
    assert fails(build((PT_NOTE, abi_note(1)[:-2]))) == errno.ENOEXEC


# -- files that are none ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 16, 20, 63])
def test_a_file_cut_off_in_its_header_is_enoexec(size):
    assert fails(build(LOAD)[:size]) == errno.ENOEXEC


@pytest.mark.parametrize("missing", [1, 16, 17, 60])
def test_a_file_cut_off_in_its_header_table_or_in_what_is_read_is_enoexec(missing):
    assert fails(build((PT_INTERP, b"/lib/ld-12345.so\0"))[:-missing]) == errno.ENOEXEC


@pytest.mark.parametrize(
    "data",
    [
        header(kind=1, count=1), header(kind=4, count=1), header(kind=0, count=1), header(count=0),
        header(entry_size=55, count=1), header(entry_size=32, count=1), header(entry_size=0, count=1),
        header(count=1171), header(count=65535), header(offset=1 << 63, count=1), header(offset=(1 << 64) - 8, count=1),
    ],
)  # fmt: skip
def test_a_header_that_the_kernel_would_not_take_is_enoexec(data):
    assert fails(data + bytes(200)) == errno.ENOEXEC


@pytest.mark.parametrize("path", [b"", b"\0", b"/ld", b"/" * 4096 + b"\0"], ids=["none", "empty", "no end", "too long"])
def test_an_interpreter_that_is_no_path_is_enoexec(path):
    assert fails(build((PT_INTERP, path))) == errno.ENOEXEC


def test_a_segment_of_absurd_size_is_enoexec():
    program = bytearray(build((PT_NOTE, abi_note(1))))
    struct.pack_into("<Q", program, 64 + 32, 1 << 62)
    assert fails(bytes(program)) == errno.ENOEXEC


@pytest.mark.parametrize("machine, name", [(183, "AArch64"), (40, "ARM"), (243, "RISC-V"), (9999, "machine 9999")])
def test_a_program_for_another_machine_is_told_apart_by_name(machine, name):
    with pytest.raises(elf.WrongMachine) as caught:
        read(header(machine=machine, count=1))
    assert caught.value.machine == name
    assert caught.value.errno == errno.ENOEXEC


def test_a_32_bit_program_is_one_for_another_machine():
    with pytest.raises(elf.WrongMachine, match="i386"):
        read(header(machine=3, bits=1, count=1))


def test_a_program_of_the_other_byte_order_is_one_for_another_machine():
    with pytest.raises(elf.WrongMachine):
        read(header(data=2, count=1))


# -- any bytes --------------------------------------------------------------------------------------

GOOD = build((PT_INTERP, b"/ld\0"), LOAD, (PT_NOTE, note(b"GNU\0", 1, bytes(16)) + abi_note(1)))


def judged(data: bytes) -> None:
    try:
        program = read(data)
    except OSError as failure:
        assert failure.errno in (errno.ENOEXEC, errno.EIO, errno.EINVAL)
    else:
        assert program.abi in (elf.ABI_LINUX, elf.ABI_HOST)
        assert program.interpreter is None or b"\0" not in program.interpreter


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_only_fail_with_an_errno(changes):
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    judged(bytes(data))


_WORDS = st.sampled_from([0, 1, 2, 55, 64, 1 << 16, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, (len(GOOD) - 8) // 8), _WORDS, st.integers(0, len(GOOD)))
def test_extreme_words_and_cut_files_only_fail_with_an_errno(word, value, cut):
    data = bytearray(GOOD)
    struct.pack_into("<Q", data, 8 * word, value)
    judged(bytes(data))
    judged(bytes(data[:cut]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_notes_only_fail_with_an_errno(notes):
    judged(build((PT_NOTE, notes)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_behind_the_magic_only_fail_with_an_errno(data):
    judged(b"\x7fELF" + data)
