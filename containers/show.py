"""What people look at of a try: the tree of its changes, a stat, a patch, and JSON for programs.

Names and texts come from a guest: a control character in them reaches a terminal only escaped.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from containers.changes import Change, Kind, Look, Tree, Upper, join

_MARKS = {Kind.ADDED: ("+", "green"), Kind.CHANGED: ("~", "yellow"), Kind.REMOVED: ("-", "red")}
_COLLAPSE = 20  # a directory that is new with more below it than this is one line
_CHILDREN = 50  # lines below one directory, at most
_LINES = 400  # lines altogether, at most
_HEAD = 8192  # where a NUL makes a file binary
_LARGEST = 16 << 20  # bytes of text that are still compared line by line
_MATCHING = 4_000_000  # lines times lines beyond which two texts are not matched
_CONTEXT = 3


def printable(path: bytes) -> str:
    """A name for a terminal: what is no text, and what would steer the terminal, is escaped."""
    return printable_text(path.decode("utf-8", "surrogateescape"))


def printable_text(text: str) -> str:
    """The same for a str; surrogates stand for bytes, as `os.fsdecode` makes them."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return f"\\x{ord(char) - 0xDC00:02x}" if 0xDC80 <= ord(char) <= 0xDCFF else ascii(char)[1:-1]


def human(size: int) -> str:
    """A number of bytes in three or four characters and a unit of 1000."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{size} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def summary_line(changes: list[Change]) -> str:
    """As in ``3 added, 1 changed, 2 removed, +12.3 kB``."""
    if not changes:
        return "no changes"
    counts = [f"{sum(change.kind is kind for change in changes)} {kind.value}" for kind in Kind]
    growth = sum(change.growth for change in changes)
    counts = [count for count in counts if not count.startswith("0 ")]
    return ", ".join([*counts, ("-" if growth < 0 else "+") + human(abs(growth))])


# -- the tree ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Branch:
    change: Change | None = None
    inner: dict[bytes, _Branch] = field(default_factory=dict)

    def below(self) -> Iterator[Change]:
        """All changes below, in no order that matters."""
        pending = list(self.inner.values())
        while pending:
            branch = pending.pop()
            if branch.change is not None:
                yield branch.change
            pending += branch.inner.values()


def tree(changes: list[Change], limited: bool = True, console=None) -> None:
    """Print the changes as a tree with sizes and a line that sums them up; everything, unless `limited`."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False, soft_wrap=True)
    top = _Branch()
    for change in changes:
        branch = top
        for name in change.path.split(b"/"):
            branch = branch.inner.setdefault(name, _Branch())
        branch.change = change
    lines = _lines(top, limited)
    for count, line in enumerate(lines):
        if limited and count == _LINES:
            console.print(Text(f"… and {sum(1 for _ in lines) + 1} more lines", style="dim"))
            break
        console.print(line)
    console.print(Text(summary_line(changes), style="bold"))


def _lines(top: _Branch, limited: bool) -> Iterator[object]:
    """The lines as rich texts, from an explicit stack: the guest decides how deep its tree is."""
    from rich.text import Text

    pending: list[tuple[bytes, _Branch, int] | int] = _children(top, -1, limited)
    while pending:
        match pending.pop():
            case (name, branch, depth):
                while branch.change is None and len(branch.inner) == 1:
                    (last, branch), = branch.inner.items()
                    name = join(name, last)
                folded = limited and _is_folded(branch)
                yield _line(name, branch, depth, folded)
                if not folded:
                    pending += _children(branch, depth, limited)
            case int(left):
                yield Text(f"… and {left} more", style="dim")


def _children(branch: _Branch, depth: int, limited: bool) -> list[tuple[bytes, _Branch, int] | int]:
    """The last first, as a stack wants them."""
    inner = [(b"/" + name if depth < 0 else name, one, depth + 1) for name, one in branch.inner.items()]
    left = len(inner) - _CHILDREN
    shown: list = inner[:_CHILDREN] if limited and left > 0 else inner
    return ([left] if limited and left > 0 else []) + shown[::-1]


def _is_folded(branch: _Branch) -> bool:
    change = branch.change
    if change is None or change.kind is not Kind.ADDED or not change.after.is_dir:
        return False
    return sum(1 for _ in branch.below()) > _COLLAPSE


def _line(name: bytes, branch: _Branch, depth: int, folded: bool):
    from rich.text import Text

    change = branch.change
    mark, colour = _MARKS[change.kind] if change is not None else (" ", "dim")
    text = Text(f"{mark} {'  ' * depth}", style=colour)
    text.append(printable(name) + ("/" if change is None or _look(change).is_dir else ""))
    if change is None:
        return text
    remarks = ", ".join(_remarks(change, branch if folded else None))
    return text.append("  " + remarks, style="dim") if remarks else text


def _look(change: Change) -> Look:
    return change.after or change.before


def _remarks(change: Change, folded: _Branch | None) -> Iterator[str]:
    """What stands beside a name: sizes, and what of it changed."""
    if folded is not None:
        inside = list(folded.below())
        yield f"{len(inside)} inside"
        yield human(sum(one.growth for one in inside))
    elif change.kind is Kind.REMOVED:
        if change.before.is_dir:
            yield f"{change.files} file{'' if change.files == 1 else 's'}"
        yield human(change.before.size)
    elif change.kind is Kind.CHANGED:
        if "content" in change.what or "type" in change.what:
            yield f"{human(change.before.size)} → {human(change.after.size)}"
        yield from (_detail(change, what) for what in change.what if what != "content")
    elif change.after.is_file:
        yield human(change.after.size)
    elif not change.after.is_dir:
        yield _type(change.after)
    if change.after is not None and change.after.is_file and change.after.mode & (stat.S_ISUID | stat.S_ISGID):
        yield "set-id"


def _detail(change: Change, what: str) -> str:
    before, after = change.before, change.after
    match what:
        case "mode":
            return f"mode {stat.S_IMODE(before.mode):04o} → {stat.S_IMODE(after.mode):04o}"
        case "owner":
            return f"owner {before.uid}:{before.gid} → {after.uid}:{after.gid}"
        case "type":
            return f"{_type(before)} → {_type(after)}"
    return what


def _type(look: Look) -> str:
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
             stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device"}  # fmt: skip
    return names[stat.S_IFMT(look.mode)]


# -- JSON -------------------------------------------------------------------------------------------


def document(name: str, changes: list[Change]) -> str:
    """One JSON object: ``try``, ``changes`` and ``summary``.

    A change has ``path`` (absolute; with ``path_bytes`` in base64 where it is no UTF-8), ``kind`` (added, changed,
    removed), ``what`` (a list; see `Change`), ``before`` and ``after`` (null, or ``type``, ``mode`` in octal digits,
    ``uid``, ``gid`` as the guest sees them, ``size``), and ``files``, how many go with a directory that goes.
    """
    counts = {kind.value: sum(change.kind is kind for change in changes) for kind in Kind}
    summary = counts | {"growth": sum(change.growth for change in changes)}
    return json.dumps({"try": name, "changes": [_record(change) for change in changes], "summary": summary}, indent=2)


def _record(change: Change) -> dict:
    path = b"/" + change.path
    record: dict = {"path": path.decode("utf-8", "replace")}
    if record["path"].encode() != path:
        record["path_bytes"] = base64.b64encode(path).decode()
    record |= {"kind": change.kind.value, "what": list(change.what)}
    record |= {"before": _fields(change.before), "after": _fields(change.after), "files": change.files}
    return record


def _fields(look: Look | None) -> dict | None:
    if look is None:
        return None
    mode = f"{stat.S_IMODE(look.mode):04o}"
    return {"type": _type(look), "mode": mode, "uid": look.uid, "gid": look.gid, "size": look.size}


# -- lines and patches ------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class _Side:
    """One side of a comparison of texts: git's mode of the object, and its bytes, None where they are not compared."""

    mode: int
    data: bytes | None

    @property
    def lines(self) -> list[bytes]:
        """With their newlines; the last may have none."""
        *lines, last = self.data.split(b"\n")
        return [line + b"\n" for line in lines] + ([last] if last else [])


@dataclass(slots=True, frozen=True)
class _Pair:
    """One path before and after; a None side is not there."""

    path: bytes
    before: _Side | None
    after: _Side | None

    @property
    def binary(self) -> bool:
        return any(side is not None and side.data is None for side in (self.before, self.after))

    def opcodes(self) -> list[tuple[str, int, int, int, int]]:
        """How the lines of one become those of the other, as difflib gives it."""
        return _opcodes(self.before.lines if self.before else [], self.after.lines if self.after else [])


def _pairs(changes: list[Change], upper: Upper, host: Tree) -> Iterator[_Pair]:
    """Every file and symlink that a patch can speak of; a removed directory's one by one, a new type as two."""
    for change in changes:
        before, after = change.before, change.after
        if change.before is not None and before.is_dir and (after is None or not after.is_dir):
            yield from _removed_below(change.path, host)
        old = _side(host, change.path, before)
        new = _side(upper, change.path, after)
        if old and new and stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
            yield _Pair(change.path, old, None)
            old = None
        same = old and new and old.mode == new.mode and not {"content", "target"} & set(change.what)
        if (old or new) and not same:
            yield _Pair(change.path, old, new)


def _removed_below(path: bytes, host: Tree) -> Iterator[_Pair]:
    for inner in sorted(inner for inner, status in host.walk(path) if not stat.S_ISDIR(status.st_mode)):
        side = _side(host, inner, host.look(inner))
        if side is not None:
            yield _Pair(inner, side, None)


def _side(place: Tree, path: bytes, look: Look | None) -> _Side | None:
    if look is not None and look.is_symlink:
        return _Side(0o120000, place.readlink(path))
    if look is not None and look.is_file:
        return _Side(0o100755 if look.mode & 0o100 else 0o100644, _text(place, path))
    return None


def _text(place: Tree, path: bytes) -> bytes | None:
    """The bytes of a text file; None of a binary one, a huge one, and one that cannot be read."""
    try:
        fd = place.open_file(path)
    except OSError:
        return None
    with open(fd, "rb") as file:
        if b"\0" in file.read(_HEAD) or os.fstat(fd).st_size > _LARGEST:
            return None
        file.seek(0)
        return file.read(_LARGEST)


def _opcodes(old: list[bytes], new: list[bytes]) -> list[tuple[str, int, int, int, int]]:
    """difflib's, after what is the same at both ends is set aside; where too much is left, all of it is replaced."""
    from difflib import SequenceMatcher

    shorter = min(len(old), len(new))
    start = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    end = next((at for at in range(shorter - start) if old[-1 - at] != new[-1 - at]), shorter - start)
    one, other = old[start : len(old) - end], new[start : len(new) - end]
    if not one or not other or len(one) * len(other) > _MATCHING:
        tag = "replace" if one and other else "delete" if one else "insert"
        middle = [(tag, 0, len(one), 0, len(other))] if one or other else []
    else:
        middle = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    codes = [("equal", 0, start, 0, start)] if start else []
    codes += [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in middle]
    if end:
        codes.append(("equal", len(old) - end, len(old), len(new) - end, len(new)))
    return codes


def _counts(pair: _Pair) -> tuple[int, int]:
    """Lines added and removed."""
    codes = [code for code in pair.opcodes() if code[0] != "equal"]
    return sum(code[4] - code[3] for code in codes), sum(code[2] - code[1] for code in codes)


def statistics(changes: list[Change], upper: Upper, host: Tree) -> None:
    """Print lines added and removed, file by file, as ``git diff --stat`` does."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    pairs = _pairs(changes, upper, host)
    rows = [(printable(pair.path), None if pair.binary else _counts(pair)) for pair in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    most = max((sum(counts) for _, counts in rows if counts), default=0)
    plus = minus = 0
    for name, counts in rows:
        if counts is None:
            console.print(Text(f" {name:<{width}} | binary"))
            continue
        plus, minus = plus + counts[0], minus + counts[1]
        scale = min(1.0, 40 / most) if most else 1.0
        bars = [-(-int(count * scale * 1000) // 1000) for count in counts]
        line = Text(f" {name:<{width}} | {sum(counts):>5} ")
        console.print(line.append("+" * bars[0], style="green").append("-" * bars[1], style="red"))
    files = len({name for name, _ in rows})
    lines = f"{plus} line{'' if plus == 1 else 's'} added, {minus} removed"
    console.print(f" {files} file{'' if files == 1 else 's'}, {lines}")


def patch(changes: list[Change], upper: Upper, host: Tree) -> None:
    """Print a patch in git's form, for ``patch -p1`` and ``git apply``: raw into a pipe, escaped on a terminal."""
    if not sys.stdout.isatty():
        sys.stdout.flush()
        for line in patch_lines(changes, upper, host):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for raw in patch_lines(changes, upper, host):
        text = raw.rstrip(b"\n").decode("utf-8", "surrogateescape")
        style = "bold" if text.startswith(("diff ", "--- ", "+++ ")) else colours.get(text[:1], "")
        console.print(Text("\t".join(printable_text(part) for part in text.split("\t")), style=style))


def patch_lines(changes: list[Change], upper: Upper, host: Tree) -> Iterator[bytes]:
    """The patch, line by line, each with its newline."""
    for pair in _pairs(changes, upper, host):
        yield from _heading(pair)
        if pair.binary:
            old = _quoted(b"a/", pair) if pair.before else b"/dev/null"
            new = _quoted(b"b/", pair) if pair.after else b"/dev/null"
            yield b"Binary files %s and %s differ\n" % (old, new)
            continue
        codes = pair.opcodes()
        if all(code[0] == "equal" for code in codes):
            continue
        yield b"--- %s\n" % (_quoted(b"a/", pair, b"\t") if pair.before else b"/dev/null")
        yield b"+++ %s\n" % (_quoted(b"b/", pair, b"\t") if pair.after else b"/dev/null")
        yield from _hunks(pair, codes)


def _heading(pair: _Pair) -> Iterator[bytes]:
    yield b"diff --git %s %s\n" % (_quoted(b"a/", pair), _quoted(b"b/", pair))
    if pair.before is None:
        yield b"new file mode %o\n" % pair.after.mode
    elif pair.after is None:
        yield b"deleted file mode %o\n" % pair.before.mode
    elif pair.before.mode != pair.after.mode:
        yield b"old mode %o\n" % pair.before.mode
        yield b"new mode %o\n" % pair.after.mode


def _quoted(prefix: bytes, pair: _Pair, end: bytes = b"") -> bytes:
    """A name as git writes it: in quotes and escaped where it is not plain; a TAB ends one that has blanks."""
    name = prefix + pair.path
    if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in name):
        return name + (end if b" " in name else b"")
    return b'"' + b"".join(map(_escaped_byte, name)) + b'"'


def _escaped_byte(byte: int) -> bytes:
    if byte in b'"\\':
        return b"\\%c" % byte
    return b"%c" % byte if 0x20 <= byte < 0x7F else b"\\%03o" % byte


def _hunks(pair: _Pair, codes: list[tuple[str, int, int, int, int]]) -> Iterator[bytes]:
    old = pair.before.lines if pair.before else []
    new = pair.after.lines if pair.after else []
    for group in _groups(codes):
        first, last = group[0], group[-1]
        yield b"@@ -%s +%s @@\n" % (_range(first[1], last[2]), _range(first[3], last[4]))
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (_body(b" ", line) for line in old[a:b])
                continue
            yield from (_body(b"-", line) for line in old[a:b])
            yield from (_body(b"+", line) for line in new[c:d])


def _groups(codes: list[tuple[str, int, int, int, int]]) -> Iterator[list[tuple[str, int, int, int, int]]]:
    """Changes with the lines around them; those that are near each other together."""
    group: list[tuple[str, int, int, int, int]] = []
    for at, (tag, a, b, c, d) in enumerate(codes):
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        far = b - a > 2 * _CONTEXT or at == len(codes) - 1
        if group and far:
            kept = min(_CONTEXT, b - a)
            yield [*group, (tag, a, a + kept, c, c + kept)]
            group = []
        if at < len(codes) - 1:
            kept = min(_CONTEXT, b - a) if not group else b - a
            group.append((tag, b - kept, b, d - kept, d))
    if group:
        yield group


def _range(start: int, end: int) -> bytes:
    count = end - start
    return b"%d,%d" % (start + 1 if count else start, count)


def _body(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"
