"""The log for a person at a terminal: the lines of `tracer.log.text`, painted, and wrapped to the terminal's width.

The colours are of the 256 that look the same on every terminal, none so light or so dark that it goes under on a light or
dark background; rich turns them into what a terminal with fewer of them has.  Without the colours and the wrapping the
lines are those of Text, byte for byte.  rich makes the styles; painting a line with it would cost more than the call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import zip_longest

from abi.decoding.classes import class_of
from abi.decoding.values import View
from tracer.log.events import Call, Ended, Executed
from tracer.log.looks import STYLES
from tracer.log.text import COLUMN, FINAL, Text, Times, resumer

_MARKS = {
    "string": "color(64)", "number": "color(31)", "flag": "color(133)", "address": "color(244)", "comment": "italic color(244)",
    "path": "color(64)", "time": "color(244)", "slow": "bold color(166)", "error": "bold color(196)", "reason": "color(196)",
    "signal": "bold color(166)", "information": "color(166)", "exit": "color(244)", "killed": "bold color(196)",
    "unfinished": "italic color(244)", "supervisor": "color(31)", "steered": "color(136)", "refused": "bold color(196)",
    "injected": "bold color(170)",
}  # fmt: skip
_TASKS = ("color(33)", "color(170)", "color(34)", "color(166)", "color(37)", "color(99)", "color(136)", "color(205)")
_SLOW = 0.1  # seconds from which on -T stands out
_INDENT = 2
_NARROW = 20  # columns; with fewer left of a line, what does not fit begins on the next one

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"(?:\.\.\.)?)
    |(?P<comment>/\*.*?\*/)
    |(?P<path><(?:->|[^<>]|<[^<>]*>)*>)
    |(?P<address>0x[0-9a-f]+\b|\bNULL\b)
    |(?P<number>(?<![\w.])-?\d+(?:\.\d+)?\b)
    |(?P<flag>\b[A-Z][A-Z0-9_]+\b)
    |(?P<gap>\ +)
    |(?P<plain>\w+=?|[^\w\s"/<-]+|.)""",
    re.VERBOSE | re.DOTALL,
)
_BREAKS = (",", "|")  # behind these a line may be broken


class Styles:
    """Words for looks, as the codes of one terminal: `of["string"]` is what to write before and behind."""

    def __init__(self, system: str) -> None:
        from rich.color import ColorSystem
        from rich.style import Style

        systems = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}
        looks = _MARKS | {f"class {kind}": f"bold {colour}" for kind, colour in STYLES.items()}
        looks |= {f"task {number}": colour for number, colour in enumerate(_TASKS)}
        self.of: dict[str, tuple[str, str]] = {}
        for name, look in looks.items():
            style = Style.parse(look)
            colour = style.color.downgrade(systems[system]) if style.color else None
            style = Style(color=colour, bold=style.bold, italic=style.italic)
            before, _, behind = style.render("\0", color_system=systems[system]).partition("\0")
            self.of[name] = before, behind


def system_of(fd: int) -> str:
    """How many colours a terminal has, in rich's words; 256 where it cannot be asked."""
    from rich.console import Console

    with open(os.dup(fd), "w") as file:
        return Console(file=file).color_system or "256"


class Colour(Text):
    """As `Text`, painted.  `column` None fits it to the width.  `width` None asks the terminal, 0 is without end."""

    def __init__(
        self, fd: int, times: Times, who: str = "always", live: bool = False, column: int | None = None,
        unsaid: Container[str] = (), dump: Callable[[str, View], str] | None = None, width: int | None = None,
        system: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(fd, times, who, live, COLUMN if column is None else column, unsaid, dump)
        self._of = Styles(system or system_of(fd)).of
        self._fits = column is None
        self._fixed = width
        self._width = 0
        self._at = 0  # columns of the line so far
        self._gap = 0  # blanks that are only written if something follows on the same line
        self._indent = 0
        self._whole = 0  # characters of the line, had it not been wrapped
        self._tasks_seen: dict[int, str] = {}

    # -- lines --------------------------------------------------------------------------------

    def begun(self, call: Call) -> None:
        self._break_off()
        self._begin(call.tid, call.time)
        self._name(call)
        self._put([("", "(")])
        self._words(_tokens(", ".join(call.args)), 1)
        if call.name in FINAL:
            self._put([("", ")")])
            self._result(call)
            self._end()
            return
        self._line = call
        if self.live:
            self.flush()

    def ended(self, call: Call) -> None:
        if call.name in FINAL and call.value is None:
            return
        if self._line is call:
            self._line = None
            rest = self._rest(call, call.split > 0) + (self._comma(call) if call.unfinished else "")
        else:
            rest = self._rest(call, call.joins)
            self._break_off()
            self._begin(resumer(call), call.time + (call.duration or 0))
            self._put([("unfinished", "<... ")])
            self._name(call)
            self._put([("unfinished", " resumed>")])
        self._words([*_tokens(rest), *self._closing(call)])
        if not call.detached:
            self._result(call)
        self._end(self._dumped(call))

    @staticmethod
    def _closing(call: Call) -> list[tuple[str, str]]:
        if call.detached:
            return [("gap", " "), ("unfinished", "<detached ...>")]
        return [*([("gap", " "), ("unfinished", "<unfinished ...>")] if call.unfinished and call.partial else []), ("", ")")]

    def _name(self, call: Call) -> None:
        self._put([(f"class {class_of(call.name)}", call.name)])

    def _result(self, call: Call) -> None:
        self._blank(max(1, self.column - self._whole))
        text = call.result
        if call.error is None:
            words = list(_tokens(text))
        else:
            head, paren, tail = text.partition(" (")
            words = [("error", head), *([("gap", " "), ("reason", paren[1:] + tail)] if paren else [])]
        if 2 + len(text) <= self._width - self._indent:
            self._put([("", "= "), *words], column=self.column)
        else:
            self._words([("", "="), ("gap", " "), *words])
        for mark in self.marks(call).split(" ")[1:]:
            self._blank(1)
            self._put([(self._mark(mark, call), mark)])

    @staticmethod
    def _mark(mark: str, call: Call) -> str:
        match mark[0]:
            case "(":
                return "injected"
            case "[":
                return call.plane if call.plane in ("refused", "steered") else "supervisor"
        return "slow" if call.duration >= _SLOW else "time"

    def _say(self, event, text: str) -> None:
        self._break_off()
        self._begin(event.tid, event.time)
        match event:
            case Ended(status=0) | Executed():
                self._put([("exit", text)])
            case Ended():
                self._put([("killed", text)])
            case _:
                fence, name, rest = text.split(" ", 2)
                self._put([("signal", f"{fence} {name}")])
                for word in rest.split(" "):
                    self._blank(1)
                    self._put([("information", word)])
        self._end()

    def _break_off(self) -> None:
        if self._line is not None:
            self._words(_tokens(self._comma(self._line)))
            self._line = None
            self._blank(1)
            self._put([("unfinished", "<unfinished ...>")])
            self._end()

    def tick(self) -> None:
        self.flush()

    # -- painting -----------------------------------------------------------------------------

    def _begin(self, tid: int, moment: float) -> None:
        """A new line, with the task's number and the time."""
        self._measure()
        prefix = self.prefix(tid, moment)
        self._at = self._whole = len(prefix)
        self._gap = 0
        self._indent = min(len(prefix) + _INDENT, self._width // 2) if self._width else 0
        if not prefix:
            return
        who, bracket, when = prefix.partition("] ") if prefix[0] == "[" else prefix.partition(" ")
        task = self._tasks_seen.setdefault(tid, f"task {len(self._tasks_seen) % len(_TASKS)}")
        if self.who == "never" or (self.who == "many" and prefix[0] != "["):
            self._write(self._painted("time", prefix))
        else:
            self._write(self._painted(task, who + bracket) + self._painted("time", when))

    def _measure(self) -> None:
        if self._fixed is not None:
            self._width = self._fixed
        else:
            try:
                self._width = os.get_terminal_size(self.fd).columns
            except OSError:
                self._width = 0  # no terminal: nothing is wrapped
        if self._fits:
            self.column = min(max(COLUMN, self._width * 2 // 5), 72)

    def _painted(self, style: str, text: str) -> str:
        look = self._of.get(style)
        return f"{look[0]}{text}{look[1]}" if look and text else text

    def _blank(self, count: int) -> None:
        self._gap += count
        self._whole += count

    def _words(self, tokens: Iterable[tuple[str, str]], spare: int = 0) -> None:
        """Write tokens, unit by unit: what lies between two places where a line may be broken.

        `spare` columns are left for what is to stand right behind the last one.
        """
        unit: list[tuple[str, str]] = []
        for token in tokens:
            if token[0] == "gap":
                self._put(unit)
                unit = []
                self._blank(len(token[1]))
                continue
            unit.append(token)
            if token[1].endswith(_BREAKS):
                self._put(unit)
                unit = []
        self._put(unit, spare)

    def _put(self, unit: list[tuple[str, str]], spare: int = 0, column: int = 0) -> None:
        """Write a unit: here, or on the next line where it does not fit, from `column` on if that leaves room for it."""
        if not unit:
            return
        length = sum(len(text) for _, text in unit)
        self._whole += length
        length += spare
        room = self._width - self._at - self._gap
        if self._width and length > room and self._at > self._indent and (length <= self._width - self._indent or room < _NARROW):
            self._at = max(self._indent, min(column, self._width - length))
            self._write("\n" + " " * self._at)
        elif self._gap:
            self._write(" " * self._gap)
            self._at += self._gap
        self._gap = 0
        for style, text in unit:
            while self._width and self._at + len(text) > self._width:
                here = self._width - self._at
                self._write(self._painted(style, text[:here]) + "\n" + " " * self._indent)
                text, self._at = text[here:], self._indent
            self._write(self._painted(style, text))
            self._at += len(text)

    def _end(self, below: str = "") -> None:
        self._write("\n" + below)
        if self.live:
            self.flush()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    return ((match.lastgroup, match[0]) for match in _TOKEN.finditer(text))


# -- the legend -------------------------------------------------------------------------------------


def legend() -> None:
    """What the colours mean, below the help."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Rich

    console = Console(highlight=False, soft_wrap=False)
    kinds = {
        "file": "names of files", "desc": "open descriptors", "process": "processes and identities", "memory": "memory",
        "network": "network", "signal": "signals", "ipc": "futexes, System V IPC", "time": "clocks and timers",
        "other": "everything else",
    }  # fmt: skip
    marks = [
        ("string", '"string"'), ("number", "number"), ("flag", "FLAG"), ("address", "address"), ("error", "-1 ENOENT"),
        ("signal", "--- SIGCHLD"), ("killed", "+++ killed"), ("supervisor", "[supervisor]"), ("refused", "[refused]"),
        ("injected", "(INJECTED)"), ("slow", f"<{_SLOW} s or more>"),
    ]  # fmt: skip
    console.print("\ncolours, by the class of a call and by what stands in a line:")
    table = Table.grid(padding=(0, 2))
    looks = [Rich(example, _MARKS[look]) for look, example in marks]
    names = [(Rich(kind, f"bold {STYLES[kind]}"), meaning) for kind, meaning in kinds.items()]
    for name, look in zip_longest(names, looks, fillvalue=("", "")):
        table.add_row("", *name, look or "")
    console.print(table)
