"""How near the log of `int80 trace` comes to strace's own, line by line, and what is known to differ.

A program is traced by strace, by int80 and by strace again, in the same directory and at the same addresses (no address
randomisation).  Numbers and strings that differ between the two runs of strace (times, inodes, ports, random bytes) say
nothing and are not compared; neither are lines that strace itself does not repeat, and how many those are is counted.
Everything else is compared: names, spaces, numbers, strings, order, task by task.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_RESULT = re.compile(r"(?<=\)) += (?=\S+)")
# Values that change while somebody looks: what processes have used and what the machine has left.
_MEASURED = re.compile(
    r"(?<=si_utime=)(?:0|\d+ /\* \d+(?:\.\d+)? s \*/)|(?<=si_stime=)(?:0|\d+ /\* \d+(?:\.\d+)? s \*/)"
    r"|(?<=loads=)\[\d+, \d+, \d+\]|(?<=freeram=)\d+|(?<=sharedram=)\d+|(?<=bufferram=)\d+|(?<=procs=)\d+"
    r"|(?<=f_bfree=)\d+|(?<=f_bavail=)\d+|(?<=f_ffree=)\d+|(?<=tv_usec=)\d+|(?<=tv_nsec=)\d+"
    r"|(?<=ru_maxrss=)\d+|(?<=ru_minflt=)\d+|(?<=ru_majflt=)\d+|(?<=ru_inblock=)\d+|(?<=ru_oublock=)\d+"
    r"|(?<=ru_nvcsw=)\d+|(?<=ru_nivcsw=)\d+"
)
_ENVIRONMENT = re.compile(r"0x[0-9a-f]+(?= /\* \d+ vars \*/)")
_WHENEVER = re.compile(r"--- SIG|rt_sigreturn\(|wait(4|id)\(")  # comes when the scheduler has it so
_BIRTH = re.compile(r"(?:clone3?|v?fork)\(.* = (\d+)$", re.S)
_NUMBER = re.compile(r"(0x[0-9a-f]+|\d+)")
_PIECE = re.compile(r'("(?:[^"\\]|\\.)*"(?:\.\.\.)?|0x[0-9a-f]+|\d+)')
_NAME = re.compile(r"\w+\(|\S+ \S+")


@dataclass(frozen=True)
class Reason:
    """A difference there may be: what strace's line and ours match, and why they differ.  See docs/trace-differences.md."""

    theirs: str
    ours: str
    why: str

    def explains(self, theirs: str, ours: str) -> bool:
        return bool(re.search(self.theirs, theirs) and re.search(self.ours, ours))


#: Names of flags that strace 6.1 does not know.
_NEWER_FLAGS = (
    "FALLOC_FL_WRITE_ZEROES|MFD_NOEXEC_SEAL|MFD_EXEC|RWF_NOAPPEND|STATX_MNT_ID_UNIQUE|MOVE_MOUNT_BENEATH|MOUNT_ATTR_NOSYMFOLLOW|"
    "FAN_REPORT_FD_ERROR|FAN_PRE_ACCESS|AT_HANDLE_FID|IORING_ENTER_ABS_TIMER|IORING_FEAT_REG_REG_RING|IORING_OP_PIPE"
)

REASONS = (
    Reason(r"^syscall_0x1[c-f][0-9a-f]\(", r"^[a-z]\w+\(", "the call is newer than strace 6.1"),
    Reason(r"0x[0-9a-f]+|\?\?\?", rf"\b({_NEWER_FLAGS})\b", "the flag is newer than strace 6.1"),
    Reason(r'_NAME, "[^"\\]{15}"\.\.\.\)', r'_NAME, "[^"\\]{15}"\)', "a name of fifteen bytes is whole"),
    Reason(r"^socket\(AF_IRDA.*CAN_RAW", r"^socket\(AF_IRDA", "the protocol of another family"),
    Reason(r"<(TCP|UDP)[^>]*:\[", r"<(TCP|UDP)[^>]*:\[[^>]*->", "strace keeps what it saw first; int80 asks each time"),
    Reason(r"FICLONE, \d+\)", r"FICLONE, \d+<", "a descriptor has its path wherever it is printed"),
    Reason(r"^(futex\(.*)?$", r"^(futex\(.*)?$", "who meets whom at a lock is for the scheduler to say"),
    Reason(r"^exit(_group)?\(.* = -1", r"^exit(_group)?\(.* = \?$", "a line that says the end is not waited with"),
    Reason(r"^$", r"^\) = -1", "a line that says the end is not waited with"),
)


@dataclass
class Comparison:
    """`equal` of `total` lines; `explained` of those that differ have a reason; `left_out` lines strace did not repeat."""

    equal: int = 0
    total: int = 0
    left_out: int = 0
    explained: int = 0
    pairs: list[tuple[str, str]] = field(default_factory=list)  # those that differ, strace's and ours, "" for none

    @property
    def share(self) -> float:
        """Lines in 100 that are equal, or differ for a known reason."""
        return 100 * (self.equal + self.explained) / self.total if self.total else 100.0

    def __iadd__(self, other: Comparison) -> Comparison:
        for name in ("equal", "total", "left_out", "explained", "pairs"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def __str__(self) -> str:
        shown = "".join(f"\n- {theirs}\n+ {ours}" for theirs, ours in self.pairs[:40])
        return (
            f"{self.equal} of {self.total} lines equal, {self.explained} differ for a known reason ({self.share:.1f} %), "
            f"{self.left_out} left out{shown}"
        )


# -- reading a log ----------------------------------------------------------------------------------


def tasks(log: str) -> dict[str, list[str]]:
    """The lines of each task of a log (``-f -o``), parts of a call joined; tasks are named by birth: ``1``, ``1.2``, ..."""
    lines: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    pid = ""
    for line in log.splitlines():
        if line[0].isdigit():
            pid = line.split()[0]
            text = line[max(5, len(pid)) + 1 :]
        else:  # strace -z breaks the lines of several tasks
            text = parts.pop(pid, "") + line
        mine = lines.setdefault(pid, [])
        if resumed := _RESUMED.match(text):
            text = parts.pop(pid, "") + text[resumed.end() :]
        if text.endswith(_UNFINISHED):
            parts[pid] = text.removesuffix(_UNFINISHED)
        else:
            mine.append(_MEASURED.sub("MEASURED", _RESULT.sub(" = ", text)))
    for pid, text in parts.items():
        lines[pid].append(text + _UNFINISHED)
    if lines:  # the first execve is the tracer's own child's, whose memory is the tracer's
        first = next(iter(lines.values()))
        first[0] = _ENVIRONMENT.sub("ENVIRONMENT", first[0])
    return _named(lines)


def _named(lines: dict[str, list[str]]) -> dict[str, list[str]]:
    names: dict[str, str] = {}

    def name(pid: str, as_name: str) -> None:
        names[pid] = as_name
        children = [birth[1] for text in lines[pid] if (birth := _BIRTH.match(text)) and birth[1] in lines]
        for number, child in enumerate((child for child in children if child not in names), 1):
            name(child, f"{as_name}.{number}")

    for pid in lines:
        if pid not in names:
            name(pid, str(len({word.partition(".")[0] for word in names.values()}) + 1))
    telling = "|".join(pid for pid in lines if len(pid) > 2)  # a sandbox's small ones are the same each time
    numbers = re.compile(rf"(?<![\w.])({telling or '(?!)'})(?![\w.])")
    return {
        names[pid]: [numbers.sub(lambda match: f"task-{names[match[1]].replace('.', '-')}", text) for text in lines[pid]]
        for pid in sorted(lines, key=lambda pid: [int(word) for word in names[pid].split(".")])
    }


# -- comparing --------------------------------------------------------------------------------------


def _pieces(line: str) -> list[str]:
    """Words, and what may change from run to run (strings and numbers), by turns."""
    return _PIECE.split(line)


def _shape(line: str) -> str:
    return _NUMBER.sub("0", line)


def _bare_shape(line: str) -> str:
    return _PIECE.sub("0", line)


def _name(line: str) -> str:
    match = _NAME.match(line)
    return match[0] if match else line


def _aligned(
    first: list[str], second: list[str], keys: Iterable[Callable[[str], str]]
) -> Iterator[tuple[int | None, int | None]]:
    """Pairs of positions; what is not paired by the first key is tried with the next, and in the end by its place."""
    key, *others = keys
    matcher = SequenceMatcher(None, [key(line) for line in first], [key(line) for line in second], autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            yield from zip(range(i, i_end), range(j, j_end), strict=True)
        elif others:
            for one, other in _aligned(first[i:i_end], second[j:j_end], others):
                yield (None if one is None else one + i, None if other is None else other + j)
        else:
            yield from zip_longest(range(i, i_end), range(j, j_end))


_KEYS = (str, _shape, _bare_shape, _name)


def _compare_task(first: list[str], again: list[str], ours: list[str]) -> Comparison:
    moving: dict[int, set[int]] = {}  # line: its pieces that differ from run to run
    loose: set[int] = set(range(len(first)))  # lines that are not there, or quite different, the next time
    gaps: set[int] = set()  # before these lines something may come in
    at = 0
    for one, other in _aligned(first, again, _KEYS):
        if one is None:
            gaps.add(at)
            continue
        at = one + 1
        if other is not None and _bare_shape(first[one]) == _bare_shape(again[other]):
            loose.discard(one)
            pairs = zip(_pieces(first[one]), _pieces(again[other]), strict=True)
            moving[one] = {index for index, (here, there) in enumerate(pairs) if here != there}
    gaps |= loose | {one + 1 for one in loose}
    found = Comparison()
    at = 0
    for one, other in _aligned(first, ours, _KEYS):
        if one is not None:
            at = one + 1
        if one in loose or (one is None and at in gaps):
            found.left_out += one is not None
            continue
        found.total += 1
        theirs, mine = first[one] if one is not None else "", ours[other] if other is not None else ""
        if theirs == mine or _same(theirs, mine, moving.get(one, set())):
            found.equal += 1
        else:
            found.pairs.append((theirs, mine))
            found.explained += any(reason.explains(theirs, mine) for reason in REASONS)
    found.explained += _moved(found.pairs)
    return found


def _moved(pairs: list[tuple[str, str]]) -> int:
    """How many of these differences are signals that came at another moment: that is for the scheduler to say."""
    here, there = (
        Counter(_NUMBER.sub("0", pair[side]) for pair in pairs if not pair[1 - side] and _WHENEVER.match(pair[side]))
        for side in (0, 1)
    )
    return 2 * (here & there).total()


def _same(theirs: str, ours: str, moving: set[int]) -> bool:
    here, there = _pieces(theirs), _pieces(ours)
    return len(here) == len(there) and all(
        one == other or index in moving for index, (one, other) in enumerate(zip(here, there, strict=True))
    )


def compare(first: str, again: str, ours: str) -> Comparison:
    """Two logs of strace, and ours."""
    one, two, mine = tasks(first), tasks(again), tasks(ours)
    found = Comparison()
    for name in dict.fromkeys((*one, *mine)):
        if name in one and name not in two:
            found.left_out += len(one[name])
        elif name in one or name not in two:
            found += _compare_task(one.get(name, []), two.get(name, []), mine.get(name, []))
    return found


# -- running ----------------------------------------------------------------------------------------


def log_of(tracer: list[str], command: list[str], place: Path, env: dict[str, str] | None = None, timeout: float = 60) -> str:
    """What a tracer writes of a command, run in an empty directory of its own that always has the same name."""
    here, log = place / "here", place / "log"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    log.unlink(missing_ok=True)
    null = subprocess.DEVNULL
    words = ["setarch", "-R", *tracer, "-o", str(log), *command]
    with subprocess.Popen(words, cwd=here, env=env, stdin=null, stdout=null, stderr=null, start_new_session=True) as run:
        try:
            run.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # strace's end is not its tasks' end
            raise
    return log.read_text(errors="surrogateescape")


def compared(
    int80: list[str], command: list[str], place: Path, options: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Comparison:
    """Trace a command with both."""
    theirs, ours = ["strace", "-f", *options], [*int80, "trace", *options]
    logs = [log_of(tracer, command, place, env) for tracer in (theirs, ours, theirs)]
    return compare(logs[0], logs[2], logs[1])
