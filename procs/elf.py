"""What execve(2) must know of an ELF file before the kernel is asked to run it.

Three fixed fields, the interpreter and int80's own note are all it needs, on every exec, so they are read
here from the first page with ``struct``; pyelftools, which takes longer to import than a small program
takes to run, serves `int80 retarget`.
"""

from __future__ import annotations

import errno
import os
import struct

from vfs.kernel import error

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_EM_X86_64 = 62
_ET_EXEC, _ET_DYN = 2, 3
_PT_INTERP, _PT_NOTE = 3, 4
_PROGRAM_HEADERS_MAX = 65536  # bytes, as the kernel's load_elf_phdrs has it
_NOTES_MAX = 65536

NOTE_OWNER = b"int80"
NOTE_ABI = 1
ABI_LINUX, ABI_HOST = 0, 1

_MACHINES = {3: "i386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S390", 40: "ARM", 183: "AArch64", 243: "RISC-V"}


class WrongMachine(OSError):
    """An ELF file for another machine; `machine` names it."""

    def __init__(self, machine: str) -> None:
        super().__init__(errno.ENOEXEC, f"ELF for {machine}")
        self.machine = machine


class Elf:
    """`interpreter` is PT_INTERP's path or None; `abi` is ABI_LINUX or ABI_HOST."""

    __slots__ = ("abi", "interpreter")

    def __init__(self, interpreter: bytes | None, abi: int) -> None:
        self.interpreter = interpreter
        self.abi = abi


def read(fd: int, head: bytes) -> Elf:
    """Read the ELF file `fd`, whose first bytes are `head`.  ENOEXEC, EIO; elf(5)."""
    if len(head) < 64:
        raise error(errno.ENOEXEC)
    ident, kind, machine, _, _, offset, _, _, _, entry_size, count, *_ = _HEADER.unpack_from(head)
    if ident[4] != 2 or ident[5] != 1 or machine != _EM_X86_64:
        raise WrongMachine(_MACHINES.get(machine, f"machine {machine}"))
    if kind not in (_ET_EXEC, _ET_DYN) or entry_size != _PROGRAM.size:
        raise error(errno.ENOEXEC)
    if not 1 <= count * entry_size <= _PROGRAM_HEADERS_MAX:
        raise error(errno.ENOEXEC)
    end = offset + count * entry_size
    table = head[offset:end] if end <= len(head) else _read(fd, count * entry_size, offset)
    interpreter, abi = None, ABI_LINUX
    for kind, _, start, _, _, size, _, alignment in _PROGRAM.iter_unpack(table):
        if kind == _PT_INTERP and interpreter is None:
            if not 2 <= size <= 4096:
                raise error(errno.ENOEXEC)
            text = _read(fd, size, start)
            if text[-1]:
                raise error(errno.ENOEXEC)
            interpreter = text.split(b"\0", 1)[0]
        elif kind == _PT_NOTE and abi == ABI_LINUX:
            abi = _abi_note(_read(fd, min(size, _NOTES_MAX), start), 8 if alignment == 8 else 4)
    return Elf(interpreter, abi)


def _read(fd: int, size: int, offset: int) -> bytes:
    data = os.pread(fd, size, offset) if offset < 1 << 63 else b""
    if len(data) < size:
        raise error(errno.ENOEXEC)
    return data


def _abi_note(notes: bytes, alignment: int) -> int:
    """The ABI that int80's note names, ABI_LINUX where there is no such note.  ENOEXEC: an unknown one."""
    position = 0
    while position + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, position)
        name = position + _NOTE.size
        value = name + (name_size + alignment - 1 & -alignment)
        if notes[name : name + name_size] == NOTE_OWNER + b"\0" and kind == NOTE_ABI:
            abi = int.from_bytes(notes[value : value + 4], "little")
            if size != 4 or value + 4 > len(notes) or abi not in (ABI_LINUX, ABI_HOST):
                raise error(errno.ENOEXEC)
            return abi
        position = value + (size + alignment - 1 & -alignment)
    return ABI_LINUX
