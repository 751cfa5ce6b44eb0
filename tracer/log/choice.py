"""What is to be logged: which calls, by what outcome, on which paths, and which signals (strace's -e, -P, -z, -Z).

A call that is not chosen is not trapped: `Choice.numbers` is what the seccomp program is made from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable

from abi.decoding.values import U64, Signature, View, descriptor, dirfd, path, quoted, signed32
from tracer.log.events import Call

OUTCOMES = ("successful", "failed", "unfinished", "unavailable", "detached")
_NUMBERS = 512  # of the x86-64 table; what is above is x32's


class ChoiceError(ValueError):
    """An expression that cannot be understood; the text is one line for whoever wrote it."""


class Except:
    """Everything but `names`, those too that nobody knows yet."""

    __slots__ = ("names",)

    def __init__(self, names: frozenset) -> None:
        self.names = names

    def __contains__(self, name) -> bool:
        return name not in self.names

    def __eq__(self, other) -> bool:
        return isinstance(other, Except) and other.names == self.names

    __hash__ = None


class Choice:
    """`calls`: the names wanted, None for all.  `outcomes`: of `OUTCOMES`, None for all.  `paths`: only calls that name
    one of them, or a descriptor of it.  `signals`: names, None for all.  `read`, `written`: the descriptors whose data are
    shown whole.  `raw`: calls that are shown as numbers.  `brief`: those whose structures are abbreviated, None to leave that
    to the style; `followed`: those whose structures are more than addresses, None for all.
    """

    __slots__ = ("_names", "brief", "calls", "followed", "outcomes", "paths", "raw", "read", "signals", "written")

    def __init__(
        self, calls: Container[str] | None = None, outcomes: Container[str] | None = None,
        paths: frozenset[bytes] = frozenset(), signals: Container[str] | None = None,
        read: Container[int] = (), written: Container[int] = (), raw: Container[str] = (), brief: Container[str] | None = None,
        followed: Container[str] | None = None,
    ) -> None:  # fmt: skip
        self.calls = _on_paths(calls) if paths else calls
        self.outcomes = outcomes
        self.paths = paths
        self.signals = signals
        self.read = read
        self.written = written
        self.raw = raw
        self.brief = brief
        self.followed = followed
        self._names = frozenset(quoted(name)[1:-1] for name in paths)  # as descriptors are described

    def __contains__(self, name: str) -> bool:
        return self.calls is None or name in self.calls

    @property
    def by_outcome(self) -> bool:
        """Whether a call can only be judged at its end."""
        return self.outcomes is not None

    def numbers(self, names: dict[int, str]) -> frozenset[int] | None:
        """The calls of x86-64 that are to be stopped, by number; None where all are.  `names` is ``tables()["linux"]``."""
        if self.calls is None:
            return None
        return frozenset(number for number in range(_NUMBERS) if _name(names, number) in self.calls)

    def wants_outcome(self, call: Call) -> bool:
        if call.value is None:
            outcome = "detached" if call.detached else "unfinished"
        else:
            outcome = "failed" if call.error is not None else "successful"
        return outcome in self.outcomes

    def wants_signal(self, name: str) -> bool:
        return self.signals is None or name in self.signals

    def touches(self, signature: Signature, view: View) -> bool:
        """Whether a call names one of the paths, or a descriptor that is open on one."""
        for index, printer in enumerate(signature.arguments):
            value = view.args[index]
            printer = getattr(printer, "shows", printer)
            if printer is path:
                if view.string(value) in self.paths:
                    return True
            elif printer is descriptor or printer is dirfd:
                if self._is_on_one(view, signed32(value & U64)):
                    return True
            elif (holds := getattr(printer, "holds", None)) and any(self._is_on_one(view, fd) for fd in holds(view, value)):
                return True
        return False

    def _is_on_one(self, view: View, fd: int) -> bool:
        name = view.descriptor(fd)
        return name is not None and (name in self._names or name.partition("<")[0] in self._names)


EVERYTHING = Choice()


def _on_paths(calls: Container[str] | None) -> frozenset[str]:
    """Those of the calls that may name a path or a descriptor; a test holds this against their signatures."""
    from abi.decoding.classes import CLASSES

    able = CLASSES["file"] | CLASSES["desc"] | CLASSES["network"] | {"mq_unlink"}
    return able if calls is None else frozenset(name for name in able if name in calls)


# -- reading expressions ----------------------------------------------------------------------------


def _set(text: str, expand: Callable[[str], Iterable]) -> Container | None:
    """``[!]ITEM,ITEM``, where ``all`` and ``none`` stand for themselves; None is everything."""
    without = text.startswith("!")
    names: set = set()
    everything = False
    for item in text[without:].split(","):
        if item == "all":
            everything = True
        elif item != "none":
            names.update(expand(item))
    if everything:
        return frozenset() if without else None
    if without:
        return Except(frozenset(names)) if names else None
    return frozenset(names)


def calls(text: str, names: dict[str, dict[int, str]], option: str = "trace") -> Container[str] | None:
    """What ``-e trace=TEXT`` chooses: names, numbers, ``%class``, ``/regex``, ``?name``; `names` as for a recorder.

    None is all of them.  `ChoiceError`.
    """

    def expand(item: str) -> Iterable[str]:
        from abi.decoding.classes import CLASSES, SYNONYMS

        wanted = item.removeprefix("?")
        name = wanted.removesuffix("@64")
        kind = name.removeprefix("%")
        kind = SYNONYMS.get(kind, kind)
        if name in names["linux"].values() or name in names["host"].values():
            return (name,)
        if kind in CLASSES:
            return CLASSES[kind]
        known = _known(names["linux"])
        if name.startswith("/"):
            try:
                return [other for other in (*known, *names["host"].values()) if re.search(name[1:], other)]
            except re.error as problem:
                raise ChoiceError(f"-e {option}={text}: {name} is not a regular expression: {problem}") from None
        if name.isdecimal() and int(name) < _NUMBERS:
            return (_name(names["linux"], int(name)),)
        if item.startswith("?") or name in known or name in _known(names["i386"]):
            return (name,)
        if name.startswith("%"):
            others = [f"%{other}" for other in (*CLASSES, *SYNONYMS)]
            raise ChoiceError(f"-e {option}={text}: there is no class {name}{_meant(name, others, others)}")
        raise ChoiceError(f"-e {option}={text}: there is no call {name!r}{_meant(name, known)}")

    return _set(text, expand)


def every(chosen: Container | None) -> Container:
    """A set that may be None for everything, as one that may not."""
    return Except(frozenset()) if chosen is None else chosen


def call_names(text: str, names: dict[str, dict[int, str]], option: str = "inject") -> frozenset[str]:
    """As `calls`, spelt out, for whoever needs each of them."""
    chosen = calls(text, names, option)
    if isinstance(chosen, frozenset):
        return chosen
    return frozenset(name for name in _known(names["linux"]) if chosen is None or name in chosen)


def _name(table: dict[int, str], number: int) -> str:
    known = number in table and table[number]  # not `get`, which would have it look further
    return known or f"syscall_{number:#x}"


def _known(table: dict[int, str]) -> list[str]:
    """Every name of a table, which fills itself when it is asked for what it lacks."""
    table.get(-1)
    return [name for name in table.values() if name is not None]


def _meant(name: str, known: Iterable[str], otherwise: Iterable[str] = ()) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 3, 0.7)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(otherwise)}" if otherwise else ""


def signals(text: str) -> Container[str] | None:
    """What ``-e signal=TEXT`` chooses: names with or without SIG, or numbers.  `ChoiceError`."""
    from abi.decoding.processes import signal_name

    known = [signal_name(number) for number in range(1, 65)]

    def expand(item: str) -> Iterable[str]:
        if item.isdecimal() and 1 <= int(item) <= 64:
            return (signal_name(int(item)),)
        name = item.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        if name in known:
            return (name,)
        raise ChoiceError(f"-e signal={text}: there is no signal {item!r}{_meant(name, known)}")

    return _set(text, expand)


def outcomes(text: str) -> Container[str] | None:
    """What ``-e status=TEXT`` chooses.  `ChoiceError`."""
    return _set(text, lambda item: _one_of(item, OUTCOMES, f"-e status={text}"))


def _one_of(item: str, known: Iterable[str], where: str) -> tuple[str]:
    if item in known:
        return (item,)
    raise ChoiceError(f"{where}: {item!r} is none of {', '.join(known)}")


def quiet(text: str) -> Container[str]:
    """What ``-e quiet=TEXT`` leaves unsaid.  `ChoiceError`."""
    known = ("attach", "exit", "path-resolution", "personality", "thread-execve")
    chosen = _set(text, lambda item: _one_of(item, known, f"-e quiet={text}"))
    return every(chosen)


def descriptors(text: str, option: str) -> Container[int]:
    """What ``-e read=TEXT`` and ``-e write=TEXT`` choose.  `ChoiceError`."""

    def expand(item: str) -> Iterable[int]:
        if item.isdecimal():
            return (int(item),)
        raise ChoiceError(f"-e {option}={text}: {item!r} is not a descriptor's number")

    return every(_set(text, expand))


def paths(given: Iterable[str]) -> frozenset[bytes]:
    """What -P means: each path as it is given, and where it leads."""
    return frozenset(os.fsencode(name) for path in given for name in (path, os.path.realpath(path)))
