"""Go's templates as people use them with `--format`, on what is shown as dicts and lists.

https://pkg.go.dev/text/template: fields, variables, pipes, ``if``, ``with``, ``range``, comparisons, and the functions that
docker and podman add (json, join, lower, upper, title, split, truncate, pad).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from containers.status import CannotRun

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<sign>:=|[(),|=])"""
    r"""|(?P<field>\$?\w*(?:\.\w+)+|\.)|(?P<variable>\$\w*)|(?P<word>\w+))"""
)
_ESCAPES = {r"\t": "\t", r"\n": "\n"}
_MAPS = frozenset(("Labels", "PortBindings", "Ports", "Sysctls", "Volumes", "ExposedPorts", "Annotations"))
_NO_VALUE = "<no value>"
_VERB = re.compile(r"%[-+# 0]*\d*(?:\.\d+)?[a-zA-Z%]")


class _Missing:
    """A key that a map has not."""

    def __bool__(self) -> bool:
        return False


_MISSING = _Missing()


def fill(template: str, data: dict) -> str:
    """The template with what it says of `data`.  `CannotRun`."""
    text = re.sub(r"\\[tn]", lambda match: _ESCAPES[match[0]], template)
    parser = _Parser(text)
    body, end = parser.body()
    if end:
        raise _problem(f"{end} has no beginning")
    return "".join(body(data, {"$": data}))


def titles(template: str, of: str = "CONTAINER") -> str:
    """The line above a table of rows that a template makes: the fields' names in capitals, as docker has it; `of` whose ids."""
    names = re.sub(r"\{\{[^}]*?\.(\w+)[^}]*\}\}", lambda match: f"{of} ID" if match[1] == "ID" else _title(match[1]), template)
    return re.sub(r"\\[tn]", lambda match: _ESCAPES[match[0]], names)


def _title(name: str) -> str:
    return _TITLES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).upper()


_TITLES = {
    "RunningFor": "CREATED", "CPUPerc": "CPU %", "MemPerc": "MEM %", "MemUsage": "MEM USAGE / LIMIT",
    "BlockIO": "BLOCK I/O", "PIDs": "PIDS", "CreatedSince": "CREATED",
}  # fmt: skip


def _problem(text: str) -> CannotRun:
    return CannotRun(f"--format: {text}")


# -- parsing ----------------------------------------------------------------------------------------

Body = Callable[[Any, dict], Iterator[str]]
Value = Callable[[Any, dict], Any]


class _Parser:
    """Makes functions of a template: each takes what `.` is and the variables."""

    def __init__(self, text: str) -> None:
        self._parts: list[tuple[bool, str]] = []  # (whether it is an action, its text)
        at, trims = 0, False
        for match in _ACTION.finditer(text):
            before = text[at : match.start()]
            before = before.lstrip() if trims else before
            self._parts.append((False, before.rstrip() if match[1] else before))
            self._parts.append((True, match[2].strip()))
            at, trims = match.end(), bool(match[3])
        rest = text[at:]
        if "{{" in rest:
            raise _problem(f"{rest[rest.index('{{') :]} does not end")
        self._parts.append((False, rest.lstrip() if trims else rest))
        self._parts.reverse()

    def body(self) -> tuple[Body, str]:
        """What comes up to an `end` or an `else`, and that."""
        steps: list[Body] = []
        end = ""
        while self._parts:
            is_action, text = self._parts.pop()
            if not is_action:
                steps.append(lambda dot, names, text=text: iter((text,)))
                continue
            word = text.split(None, 1)[0] if text else ""
            if word in ("end", "else"):
                end = text
                break
            if text.startswith("/*"):
                continue
            steps.append(self._block(word, text[len(word) :]) if word in ("if", "with", "range") else _action(text))

        def run(dot: Any, names: dict) -> Iterator[str]:
            for step in steps:
                yield from step(dot, names)

        return run, end

    def _block(self, word: str, rest: str) -> Body:
        names, value = _assigned(rest)
        then, end = self.body()
        otherwise: Body = lambda dot, known: iter(())  # noqa: E731
        if end.startswith("else"):
            inner = end[4:].strip()
            if inner:
                kind = inner.split(None, 1)[0]
                if kind not in ("if", "with"):
                    raise _problem(f"{end} is not understood")
                otherwise, end = self._block(kind, inner[len(kind) :]), "end"  # whose end is this one's too
            else:
                otherwise, end = self.body()
        if end != "end":
            raise _problem(f"{word}{rest} has no end")

        def choose(dot: Any, known: dict) -> Iterator[str]:
            found = value(dot, known)
            inner = known | dict.fromkeys(names[:1], found)
            return (then if _true(found) else otherwise)(found if word == "with" and _true(found) else dot, inner)

        def each(dot: Any, known: dict) -> Iterator[str]:
            found = value(dot, known)
            if isinstance(found, str | int):
                raise _problem(f"range{rest}: neither a list nor a map")
            pairs = sorted(found.items()) if isinstance(found, dict) else list(enumerate(found or ()))
            for key, one in pairs:
                given = dict(zip(names, (key, one) if len(names) > 1 else (one,), strict=False))
                yield from then(one, known | given)
            if not pairs:
                yield from otherwise(dot, known)

        return each if word == "range" else choose


def _assigned(text: str) -> tuple[list[str], Value]:
    """The variables and the value of ``$a, $b := pipeline``."""
    match = re.match(r"\s*(\$\w+)\s*(?:,\s*(\$\w+)\s*)?:?=", text)
    names = [name for name in match.groups() if name] if match else []
    return names, _pipeline(text[match.end() :] if match else text)


def _action(text: str) -> Body:
    names, value = _assigned(text)

    def show(dot: Any, known: dict) -> Iterator[str]:
        found = value(dot, known)
        if names:
            known[names[0]] = found
            return iter(())
        return iter((_shown(found),))

    return show


def _pipeline(text: str) -> Value:
    tokens = list(_tokens(text))
    tokens.reverse()
    result = _commands(tokens, text)
    if tokens:
        raise _problem(f"{text.strip()} is not understood")
    return result


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, whole = 0, text.rstrip()
    while at < len(whole):
        match = _TOKEN.match(whole, at)
        if match is None:
            raise _problem(f"{{{{{text}}}}} is not understood")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _commands(tokens: list[tuple[str, str]], text: str) -> Value:
    """Commands with ``|`` between them: each gets the result of the one before it as its last argument."""
    result: Value | None = None
    while True:
        words: list[Value] = []
        function = None
        while tokens and tokens[-1] not in (("sign", "|"), ("sign", ")")):
            kind, token = tokens.pop()
            if kind == "word" and token in _FUNCTIONS and not words and function is None:
                function = token
            else:
                words.append(_operand(kind, token, tokens, text))
        if function is None and (len(words) != 1 or result is not None):
            raise _problem(f"{{{{{text.strip()}}}}} is not understood")
        result = words[0] if function is None else _call(function, words, result)
        if not tokens or tokens[-1] != ("sign", "|"):
            return result
        tokens.pop()


def _call(name: str, words: list[Value], piped: Value | None) -> Value:
    every = words if piped is None else [*words, piped]

    def run(dot: Any, names: dict) -> Any:
        try:
            return _FUNCTIONS[name](*(word(dot, names) for word in every))
        except (TypeError, ValueError, IndexError, AttributeError):
            raise _problem(f"{name}: not for what it is given here") from None

    return run


def _operand(kind: str, token: str, tokens: list, text: str) -> Value:
    match kind:
        case "string":
            plain = token[1:-1] if token[0] == "`" else json.loads(token.replace("\t", "\\t").replace("\n", "\\n"))
            return lambda dot, names: plain
        case "number":
            number = float(token) if "." in token else int(token)
            return lambda dot, names: number
        case "field":
            first, *path = token.split(".")
            return lambda dot, names: _follow(dot if not first else _variable(first, names), path, token)
        case "variable":
            return lambda dot, names: _variable(token, names)
        case "word" if token in ("true", "false", "nil"):
            return lambda dot, names: {"true": True, "false": False, "nil": None}[token]
        case "word" if token in _FUNCTIONS:
            return _call(token, [], None)
        case "sign" if token == "(":
            inner = _commands(tokens, text)
            if not tokens or tokens.pop() != ("sign", ")"):
                raise _problem(f"{text.strip()}: a parenthesis is not closed")
            if tokens and tokens[-1][0] == "field" and tokens[-1][1].startswith("."):
                token = tokens.pop()[1]
                return lambda dot, names: _follow(inner(dot, names), token.split(".")[1:], token)
            return inner
    raise _problem(f"{token} in {{{{{text.strip()}}}}} is not understood")


def _variable(name: str, names: dict) -> Any:
    if name not in names:
        raise _problem(f"there is no variable {name}")
    return names[name]


def _follow(found: Any, path: list[str], whole: str) -> Any:
    above = ""
    for name in filter(None, path):
        if isinstance(found, dict) and name not in found and above in _MAPS:
            return _MISSING
        if not isinstance(found, dict) or name not in found:
            there = f"; there are {', '.join(found)}" if isinstance(found, dict) else ""
            raise _problem(f"there is no {whole}{there}")
        found, above = found[name], name
    return found


# -- values -----------------------------------------------------------------------------------------


def _true(value: Any) -> bool:
    return bool(value)


def _shown(value: Any) -> str:
    """A value as Go's ``%v`` has it."""
    match value:
        case None:
            return "<nil>"
        case _Missing():
            return _NO_VALUE
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case list() | tuple():
            return f"[{' '.join(_shown(one) for one in value)}]"
        case dict():
            return f"map[{' '.join(f'{key}:{_shown(one)}' for key, one in sorted(value.items()))}]"
    return str(value)


def _index(found: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(found, dict):
            found = found.get(key, "")
        elif isinstance(key, int) and isinstance(found, list | str) and 0 <= key < len(found):
            found = found[key]
        else:
            raise _problem(f"index: there is no {key} in {_shown(found)}")
    return found


def _printf(form: str, *values: Any) -> str:
    rest = list(values)

    def one(match: re.Match) -> str:
        verb = match[0]
        if verb == "%%":
            return "%"
        if not rest:
            return f"%!{verb[-1]}(MISSING)"
        value = rest.pop(0)
        if verb[-1] in "vs":
            return f"{verb[:-1]}s" % _shown(value)
        if verb[-1] == "q":
            return json.dumps(_shown(value))
        return verb % value

    return _VERB.sub(one, form)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    return lambda one, other: test(one, other)


def _last(wanted: bool) -> Callable[..., Any]:
    """`and` (False) and `or` (True): the first value that decides it, else the last."""
    return lambda *values: next((value for value in values if _true(value) is wanted), values[-1])


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(None if value is _MISSING else value),
    "join": lambda parts, between: between.join(_shown(part) for part in parts or ()),
    "lower": lambda text: text.lower(), "upper": lambda text: text.upper(), "title": lambda text: text.title(),
    "split": lambda text, between: text.split(between),
    "truncate": lambda text, length: text[:length],
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "len": len, "index": _index, "slice": lambda found, *bounds: found[slice(*bounds)],
    "print": lambda *values: "".join(_shown(value) for value in values),
    "println": lambda *values: " ".join(_shown(value) for value in values) + "\n",
    "printf": _printf,
    "eq": lambda one, *others: any(one == other for other in others),
    "ne": _compare(lambda one, other: one != other), "lt": _compare(lambda one, other: one < other),
    "le": _compare(lambda one, other: one <= other), "gt": _compare(lambda one, other: one > other),
    "ge": _compare(lambda one, other: one >= other),
    "and": _last(False), "or": _last(True), "not": lambda value: not _true(value),
}  # fmt: skip
