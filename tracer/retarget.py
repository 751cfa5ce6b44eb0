"""Turn the `syscall` instructions of a static program into `int 0x80`.

Any static program becomes a guest for the `int 0x80` gate, because both instructions are two bytes long. The work is
to tell the instruction `0f 05` from the same two bytes inside another instruction, or in data that lies among the
code. Three kinds of evidence, the strongest first:

1. control flow: what is reached from the entry point, the function symbols and the unwind table is code;
2. the unwind table (`.eh_frame`): each entry bounds one function, and a decode of that function alone settles a
   disagreement;
3. a linear sweep of the bytes that no flow reaches (functions called by pointer in a stripped program). Data reads as
   code too, so here a call must also have its number loaded not long before it.

What stays open is refused, with its address. A plain linear sweep, as objdump does it, was not taken: it believes
data. One mistake is left: without an unwind table, data right behind a call that never returns passes for code.

Left alone: `sysenter`, `int 0x80` that is there already, and the vsyscall page, which is not in the file.
`int 0x80` keeps rcx and r11, which `syscall` destroys, so code that was right stays right.

References: Intel SDM vol. 2 (SYSCALL, INT n), elf(5), LSB core 5.0 10.6 (.eh_frame).
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from elftools.dwarf.callframe import FDE, CallFrameInfo
from elftools.dwarf.structs import DWARFStructs
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection
from iced_x86 import Code, Decoder, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register

from tracer.sites import INT80, SYSCALL

_LONGEST = 15  # bytes of one x86 instruction
_LOOK_BACK = 64  # instructions in which a call's number is looked for; musl's syscall() loads it 25 before
_CLEAN = 16  # valid instructions in a row that data does not show

_START, _BODY = 1, 2  # marks of a decoded instruction's bytes
_NEVER_RETURN = frozenset({15, 60, 231})  # rt_sigreturn, exit, exit_group
_CALLS = frozenset({Code.SYSCALL, Code.INT_IMM8})
_GOES_ON = frozenset(
    {
        FlowControl.NEXT,
        FlowControl.CONDITIONAL_BRANCH,
        FlowControl.CALL,
        FlowControl.INDIRECT_CALL,
        FlowControl.INTERRUPT,
    }
)
_RAX = frozenset({Register.RAX, Register.EAX, Register.AX, Register.AL})
_WRITES = frozenset({OpAccess.WRITE, OpAccess.READ_WRITE})
_NUMBER_LOADS = frozenset({Code.MOV_R32_IMM32, Code.MOV_RM32_IMM32, Code.MOV_RM64_IMM32})
_INFO = InstructionInfoFactory()


class RetargetError(ValueError):
    """A file that cannot be retargeted; the message is one line: what is wrong, and what to do."""


class _View(Enum):
    """What a byte pair `0f 05` is."""

    CALL = "a syscall instruction"
    OTHER = "part of other instructions, or data"
    UNCLEAR = "either"


@dataclass(slots=True)
class _Region:
    """Code that is contiguous in memory and in the file. `reached` and `swept` have one mark for each byte of it."""

    address: int
    offset: int
    code: bytes
    reached: bytearray = field(init=False)
    swept: bytearray = field(init=False, default_factory=bytearray)

    def __post_init__(self) -> None:
        self.reached = bytearray(len(self.code))

    @property
    def end(self) -> int:
        return self.address + len(self.code)


@dataclass(slots=True)
class _Program:
    """What the file says of its code: addresses where functions start, and (start, end) ranges, end exclusive."""

    regions: list[_Region]
    starts: set[int]
    functions: list[tuple[int, int]]  # from the unwind table
    objects: list[tuple[int, int]]  # data, from the symbols


def retarget(data: bytes) -> tuple[bytes, int]:
    """Return `data`, a static x86-64 ELF program, with each `syscall` made `int 0x80`, and how many there were.

    A file that has none comes back unchanged with 0. Raises RetargetError for a file that is not such a program, or
    when a byte pair cannot be told from data.
    """
    program = _parse(data)
    _follow(program.regions, program.functions, program.starts)
    out = bytearray(data)
    turned = 0
    for region in program.regions:
        for pair in _pairs(region):
            match _judge(program, region, pair):
                case _View.CALL:
                    at = region.offset + pair - region.address
                    out[at : at + 2] = INT80
                    turned += 1
                case _View.UNCLEAR:
                    raise RetargetError(
                        f"0f 05 at {pair:#x} may be a syscall or data: give the program with its symbols, "
                        "or build it with -fasynchronous-unwind-tables"
                    )
    return bytes(out), turned


# The file.


def _parse(data: bytes) -> _Program:
    """Read the layout. This is the one place where a malformed file can make the ELF parser fail."""
    if data[:4] != b"\x7fELF":
        raise RetargetError("not an ELF file: give a static x86-64 program")
    try:
        return _layout(data)
    except RetargetError:
        raise
    except Exception as error:  # the parser trusts its input and fails in many ways when that is damaged
        detail = " ".join(str(error).split()) or type(error).__name__
        raise RetargetError(f"damaged ELF file ({detail}): give a whole one") from error


def _layout(data: bytes) -> _Program:
    elf = ELFFile(io.BytesIO(data))
    if elf.elfclass != 64 or not elf.little_endian or elf["e_machine"] != "EM_X86_64":
        raise RetargetError("not an x86-64 program (64-bit, little endian): give one built for x86-64")
    if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise RetargetError(f"not a program but {elf['e_type']}: link it with -static first")
    if elf["e_phentsize"] != 56 or not 0 < elf.num_segments() < 0x10000:
        raise RetargetError("damaged ELF file (program headers): give a whole one")
    segments = list(elf.iter_segments())
    if any(segment["p_type"] == "PT_INTERP" for segment in segments):
        raise RetargetError("a dynamic program, its calls are in shared libraries: link it with -static")
    loads = [s.header for s in segments if s["p_type"] == "PT_LOAD" and s["p_flags"] & P_FLAGS.PF_X and s["p_filesz"]]
    if not loads:
        raise RetargetError("no executable segment: nothing in this file can run")
    sections = _sections(elf)
    program = _Program(_regions(data, loads, sections), {elf["e_entry"]}, [], [])
    for section in sections:
        if isinstance(section, SymbolTableSection):
            _read_symbols(data, section, program)
        elif section.name == ".eh_frame":
            _read_unwind_table(data, section, program)
    program.starts.update(start for start, _ in program.functions)
    return program


def _sections(elf: ELFFile) -> list[Section]:
    if not elf["e_shoff"] or not elf.num_sections():
        return []
    if elf["e_shentsize"] != 64 or elf.num_sections() >= 0x10000:
        raise RetargetError("damaged ELF file (section headers): give a whole one")
    return list(elf.iter_sections())


def _regions(data: bytes, loads: list, sections: list[Section]) -> list[_Region]:
    """The executable sections; without section headers, the executable segments."""
    code = [
        (s["sh_addr"], s["sh_offset"], s["sh_size"])
        for s in sections
        if s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and s["sh_type"] == "SHT_PROGBITS" and s["sh_size"]
    ]
    regions = []
    last = 0
    for address, offset, size in sorted(code or [(p["p_vaddr"], p["p_offset"], p["p_filesz"]) for p in loads]):
        # The kernel maps segments and never looks at sections, so a section that says otherwise is a lie.
        inside = any(
            p["p_vaddr"] <= address
            and address + size <= p["p_vaddr"] + p["p_filesz"]
            and address - p["p_vaddr"] == offset - p["p_offset"]
            for p in loads
        )
        if not inside or address < last or address + size > 1 << 64 or offset + size > len(data):
            raise RetargetError(f"damaged ELF file (code at {address:#x} is not where it says): give a whole one")
        regions.append(_Region(address, offset, data[offset : offset + size]))
        last = address + size
    return regions


def _read_symbols(data: bytes, section: SymbolTableSection, program: _Program) -> None:
    if section["sh_entsize"] != 24 or section["sh_offset"] + section["sh_size"] > len(data):
        raise RetargetError("damaged ELF file (symbol table): give a whole one, or strip it")
    for symbol in section.iter_symbols():
        if symbol["st_shndx"] == "SHN_UNDEF":
            continue
        start, size = symbol["st_value"], symbol["st_size"]
        match symbol["st_info"]["type"]:
            case "STT_FUNC" | "STT_LOOS":  # STT_LOOS is STT_GNU_IFUNC
                program.starts.add(start)
            case "STT_OBJECT" if size:
                program.objects.append((start, start + size))


def _read_unwind_table(data: bytes, section: Section, program: _Program) -> None:
    start, size = section["sh_offset"], section["sh_size"]
    if start + size > len(data):
        raise RetargetError("damaged ELF file (.eh_frame): give a whole one")
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    stream = io.BytesIO(data[start : start + size])
    for entry in CallFrameInfo(stream, size, section["sh_addr"], structs, for_eh_frame=True).get_entries():
        if isinstance(entry, FDE) and entry["address_range"]:
            begin = entry["initial_location"]
            program.functions.append((begin, begin + entry["address_range"]))


# The code.


def _judge(program: _Program, region: _Region, pair: int) -> _View:
    """What the byte pair at address `pair` is, by the strongest evidence there is."""
    views = _views(region, region.reached, pair)
    if len(views) == 1:
        return views.pop()
    if views:
        return _settle(program, region, pair)
    if any(start <= pair < end for start, end in program.objects):
        return _View.OTHER
    return _guess(region, pair)


def _settle(program: _Program, region: _Region, pair: int) -> _View:
    """Two flows decode the pair in two ways: decode the functions that the unwind table puts there, each alone."""
    views = set()
    for start, end in program.functions:
        if region.address <= start <= pair and pair + 2 <= end <= region.end:
            alone = _Region(start, 0, region.code[start - region.address : end - region.address])
            _follow([alone], [], {start})
            views |= _views(alone, alone.reached, pair) or {_guess(alone, pair)}
    return views.pop() if len(views) == 1 else _View.UNCLEAR


def _guess(region: _Region, pair: int) -> _View:
    """No flow reaches the pair. A linear sweep puts it inside an instruction, or at one that must look like a call."""
    if not region.swept:
        _sweep(region)
    if _views(region, region.swept, pair) != {_View.CALL}:
        return _View.OTHER
    before, known = _before(region, pair)
    after = _after(region, pair + 2)
    looks_like_code = not any(map(_never_in_programs, before + after)) and (known or len(before) >= _CLEAN)
    return _View.CALL if looks_like_code and _number(before) is not None else _View.UNCLEAR


def _views(region: _Region, marks: bytearray, pair: int) -> set[_View]:
    """How the instructions in `marks` that touch the byte pair at address `pair` see it."""
    at = pair - region.address
    views = set()
    for start in range(max(0, at - _LONGEST + 1), at + 2):
        if marks[start] & _START:
            instruction = _decode(region, start)
            # The pair is the end of the call: prefixes that change nothing may stand before it.
            if instruction.code == Code.SYSCALL and instruction.next_ip - 2 == pair:
                views.add(_View.CALL)
            elif instruction.next_ip > pair:
                views.add(_View.OTHER)
    return views


def _follow(regions: list[_Region], functions: list[tuple[int, int]], starts: set[int]) -> None:
    """Mark in `reached` everything that runs from `starts` get to without an indirect jump or call."""
    addresses = [region.address for region in regions]
    decoders = [Decoder(64, region.code) for region in regions]
    ends = {end for _, end in functions}
    work = list(starts)
    while work:
        ip = work.pop()
        index = bisect_right(addresses, ip) - 1
        if index >= 0 and ip < regions[index].end:
            _follow_run(regions[index], decoders[index], ip, ends, work)


def _follow_run(region: _Region, decoder: Decoder, ip: int, ends: set[int], work: list[int]) -> None:
    """Mark the straight run of instructions at `ip`; add the targets of its branches to `work`."""
    marks, base = region.reached, region.address
    recent: deque[Instruction] = deque(maxlen=_LOOK_BACK)
    decoder.position = ip - base
    decoder.ip = ip
    while decoder.can_decode:
        instruction = decoder.decode()
        code = instruction.code
        at = instruction.ip - base
        if marks[at] & _START or code == Code.INVALID:
            return
        _mark(marks, at, instruction.len)
        match instruction.flow_control:
            case FlowControl.NEXT if code != Code.HLT:
                pass
            case FlowControl.CONDITIONAL_BRANCH | FlowControl.XBEGIN_XABORT_XEND:
                work.append(instruction.near_branch_target)
            case FlowControl.UNCONDITIONAL_BRANCH:
                work.append(instruction.near_branch_target)
                return
            case FlowControl.CALL if code == Code.CALL_REL32_64:
                target = instruction.near_branch_target
                work.append(target)
                # A function ends behind its call to one that does not return; and what follows
                # `call 1f; .ascii ...; 1: pop` is data.
                if instruction.next_ip in ends or _starts_with_pop(region, target):
                    return
            case FlowControl.CALL | FlowControl.INTERRUPT if code in _CALLS:
                if _number(recent) in _NEVER_RETURN:
                    return
            case FlowControl.INDIRECT_CALL:
                if instruction.next_ip in ends:
                    return
            case _:
                return
        recent.append(instruction)


def _pairs(region: _Region) -> Iterator[int]:
    """The addresses of the bytes 0f 05."""
    at = -1
    while (at := region.code.find(SYSCALL, at + 1)) >= 0:
        yield region.address + at


def _decode(region: _Region, at: int) -> Instruction:
    return Decoder(64, region.code[at : at + _LONGEST], ip=region.address + at).decode()


def _mark(marks: bytearray, at: int, length: int) -> None:
    marks[at] |= _START
    for byte in range(at + 1, at + length):
        marks[byte] |= _BODY


def _never_in_programs(instruction: Instruction) -> bool:
    # hlt is how a C library ends a program that must not go on.
    return instruction.code == Code.INVALID or (instruction.is_privileged and instruction.code != Code.HLT)


def _starts_with_pop(region: _Region, target: int) -> bool:
    return region.address <= target < region.end and 0x58 <= region.code[target - region.address] <= 0x5F


def _sweep(region: _Region) -> None:
    """Mark in `swept` the bytes that no flow reaches, decoded in a row; flow resynchronises it."""
    reached = region.reached
    region.swept = bytearray(len(reached))
    decoder = Decoder(64, region.code, ip=region.address)
    at = 0
    while (at := reached.find(0, at)) >= 0:
        decoder.position = at
        decoder.ip = region.address + at
        while decoder.can_decode and not reached[at]:
            instruction = decoder.decode()
            if instruction.code == Code.INVALID:
                at += 1
                break
            _mark(region.swept, at, instruction.len)
            at += instruction.len


def _before(region: _Region, pair: int) -> tuple[list[Instruction], bool]:
    """The swept instructions up to the call at `pair`, and whether they start where known code ends."""
    found: list[Instruction] = []
    at = pair - region.address
    while not region.swept[at] & _START:
        at -= 1  # a prefix of the call
    while at and len(found) < _LOOK_BACK:
        start = region.swept.rfind(_START, max(0, at - _LONGEST), at)
        if start < 0 or (instruction := _decode(region, start)).len != at - start:
            break
        found.append(instruction)
        at = start
    return found[::-1], at == 0 or bool(region.reached[at - 1])


def _after(region: _Region, address: int) -> list[Instruction]:
    """The instructions from `address` to the end of the run, or _CLEAN of them."""
    found: list[Instruction] = []
    at = address - region.address
    while len(found) < _CLEAN and at < len(region.code) and not region.reached[at]:
        instruction = _decode(region, at)
        found.append(instruction)
        if instruction.flow_control not in _GOES_ON:
            break
        at += instruction.len
    return found


def _number(before: Iterable[Instruction]) -> int | None:
    """The call number that instructions before a call load: -1 if it is not a constant, None if none is loaded."""
    popped = False
    for instruction in reversed(list(before)):
        if popped:
            return instruction.immediate(0) if instruction.code == Code.PUSHQ_IMM8 else -1
        if any(used.register in _RAX and used.access in _WRITES for used in _INFO.info(instruction).used_registers()):
            if instruction.code in _NUMBER_LOADS:
                return instruction.immediate(1)
            if instruction.code != Code.POP_R64:
                return -1
            popped = True
    return -1 if popped else None
