"""A person's own functions before the handlers: ``int80 run --hook FILE.py``.

A hook sees a `Call` and says what is to become of it: nothing (the call goes its way), a `Return` or a number (it is
answered), a `Fail` or an error that it raises (it fails), a `Change` (it goes its way with other arguments).  The table of
the sandbox is a copy in which a hooked call stops for its hooks first, on whichever plane they can be asked: a native
call is steered, an answered one stays answered.  A call that nobody hooks costs what it did.

    @on("openat", "open")
    def quiet(call):
        if call.path(1 if call.name == "openat" else 0).endswith(b".secret"):
            return fail("ENOENT")
"""

from __future__ import annotations

from collections.abc import Callable

from abi.dispatch import Abi, Call, DispatchResult, Entry, Fail, Native, Plane, Return, Support, When
from abi.errors import Kind, SysError
from abi.messages import say

__all__ = ["Change", "HookError", "Hooks", "Return", "fail", "on"]

_ERRNO_MAX = 4095


class HookError(Exception):
    """A hook file that cannot be used; the message is one line for a person."""


class Change(DispatchResult):
    """The call is to go on with other arguments: numbers by index, and paths (bytes) by index.

    A path is what the handler is to read in the guest's memory's stead; it can be changed for calls that the supervisor
    answers or steers, not for those the kernel carries out, since the kernel reads the guest's memory itself.
    """

    __slots__ = ("arguments", "paths")

    def __init__(self, arguments: dict[int, int] | None = None, paths: dict[int, bytes] | None = None) -> None:
        self.arguments = arguments or {}
        self.paths = paths or {}


class HookedCall(Call):
    """A call as hooks see it: with the `name` it was made by, and paths that may have been changed."""

    __slots__ = ("_paths", "name")

    def __init__(self, call: Call, name: str) -> None:
        super().__init__(call.sandbox, call.task, call.number, call.args, call.memory, call.files)
        self.name = name
        self._paths: dict[int, bytes] = {}

    def path(self, index: int) -> bytes:
        """The path that argument `index` points to, read once: another thread of the guest may change it.  EFAULT."""
        found = self._paths.get(index)
        if found is None:
            found = self._paths[index] = super().path(index)
        return found

    def change(self, change: Change) -> None:
        """Take over what a hook changed."""
        if change.arguments:
            args = list(self.args)
            for index, value in change.arguments.items():
                args[index] = value & 0xFFFFFFFFFFFFFFFF
            self.args = tuple(args)
        self._paths.update(change.paths)


def fail(name: str) -> Fail:
    """The call fails with an errno, by its name: ``fail("ENOENT")``."""
    return Fail(SysError(Kind[name]))


class Hooks:
    """Hooks by the name of their call, in the order in which they were declared."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[Callable]] = {}
        self.numbers: dict[str, int] = {}

    def load(self, path: str, numbers: dict[str, int]) -> None:
        """Run a file of hooks; `numbers` are the calls there are.  `HookError`."""
        global _collecting
        try:
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec")
        except OSError as problem:
            raise HookError(f"--hook {path}: {problem.strerror.lower()}") from None
        except (SyntaxError, ValueError) as problem:
            line = f":{problem.lineno}" if isinstance(problem, SyntaxError) and problem.lineno else ""
            raise HookError(f"--hook {path}{line}: {getattr(problem, 'msg', problem)}") from None
        self.numbers = numbers
        before = sum(map(len, self.by_name.values()))
        _collecting = self
        try:
            exec(code, {"__name__": "int80_hooks", "__file__": path, "on": on, "fail": fail, "Return": Return, "Change": Change})
        except HookError as problem:
            raise HookError(f"--hook {path}: {problem}") from None
        except (Exception, SystemExit) as problem:
            raise HookError(f"--hook {path}: {type(problem).__name__}: {problem}") from None
        finally:
            _collecting = None
        if sum(map(len, self.by_name.values())) == before:
            raise HookError(f'--hook {path}: no function in it is marked with @on("CALL")')

    def add(self, name: str, function: Callable) -> None:
        if name not in self.numbers:
            import difflib

            near = difflib.get_close_matches(name, self.numbers, 1)
            raise HookError(f"no call is named {name!r}" + (f"; do you mean {near[0]!r}?" if near else ""))
        self.by_name.setdefault(name, []).append(function)

    def applied_to(self, abi: Abi) -> Abi:
        """A copy of a table whose hooked calls ask their hooks first."""
        hooked = Abi(abi.name, abi.error_number, len(abi.table))
        hooked.table = list(abi.table)
        for name, functions in self.by_name.items():
            number = self.numbers[name]
            hooked.table[number] = _hooked(name, number, abi.table[number], functions)
        return hooked


_collecting: Hooks | None = None


def on(*names: str):
    """Mark a function as a hook of these calls, by their kernel names."""
    if not names or not all(isinstance(name, str) for name in names):
        raise HookError('@on takes the names of calls: @on("openat", "open")')

    def mark(function: Callable) -> Callable:
        if _collecting is None:
            raise HookError("@on works in a file that is given to --hook")
        for name in names:
            _collecting.add(name, function)
        return function

    return mark


def stopping(entry: Entry, handler) -> Entry:
    """An entry like another, with a handler that is asked whoever would carry the call out."""

    def stops(plane: Plane) -> Plane:
        return Plane.STEER if plane in (Plane.NATIVE, Plane.REFUSE) else plane

    when = tuple(When(rule.arg, rule.values, stops(rule.plane), rule.error, rule.mask, rule.whole) for rule in entry.when)
    return Entry(entry.number, entry.name, stops(entry.plane), handler, entry.support, entry.note, when, entry.error)


def _hooked(name: str, number: int, entry: Entry | None, functions: list[Callable]) -> Entry:
    """An entry that asks the hooks, then does what the one before it would have done."""

    def handler(call: Call) -> DispatchResult:
        seen = HookedCall(call, name)
        for function in functions:
            result = _ask(function, seen)
            if type(result) is Change:
                seen.change(result)
            elif result is not None:
                return result
        return go_on(entry, call, seen)

    if entry is None:
        return Entry(number, name, Plane.STEER, handler, Support.NONE, "", (), Kind.ENOSYS)
    return stopping(entry, handler)


def _ask(function: Callable, call: HookedCall) -> DispatchResult | None:
    """What a hook says; one that raises anything but an errno is reported, and has said nothing."""
    try:
        result = function(call)
    except SysError as failure:
        return Fail(failure)
    except (Exception, SystemExit) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            return Fail(SysError.of_errno(problem.errno))
        _report(function, f"{type(problem).__name__}: {problem}", problem)
        return None
    if isinstance(result, int):
        result = Return(int(result))
    if result is None or _makes_sense(result):
        return result
    _report(function, f"gave {_shown(result)}, which is no result", None)
    return None


def _shown(result: object) -> str:
    match result:
        case Return(value=value):
            return f"Return({value!r})"
        case Fail(error=error):
            return f"Fail({error!r})"
        case Change(arguments=arguments, paths=paths):
            return f"Change({arguments!r}, {paths!r})"
    return repr(result)


def _makes_sense(result: object) -> bool:
    """Whether what a hook gave can be carried out."""
    match result:
        case Return(value=int(value)):
            return -_ERRNO_MAX <= value < 1 << 63
        case Fail(error=SysError()):
            return True
        case Change(arguments=dict(arguments), paths=dict(paths)):
            return all(index in range(6) and isinstance(value, int) for index, value in arguments.items()) and all(
                index in range(6) and isinstance(path, bytes) for index, path in paths.items()
            )
    return False


_reported: set[tuple[str, str]] = set()


def _report(function: Callable, what: str, problem: Exception | None) -> None:
    """Say once for each hook and problem that it went wrong, and where."""
    key = (function.__name__, what)
    if key in _reported:
        return
    _reported.add(key)
    where = ""
    trace = problem.__traceback__ if problem is not None else None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "int80_hooks":
            where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    say(f"hook {function.__name__}{where}: {what}; the call goes on")


def go_on(entry: Entry | None, call: Call, seen: HookedCall) -> DispatchResult:
    """What the call comes to without hooks, with the arguments they left it."""
    if entry is None:
        return fail("ENOSYS")
    plane, error = entry.plane_for(seen.args)
    if plane is Plane.REFUSE:
        return Fail(SysError(error))
    changed = {index: value for index, value in enumerate(seen.args) if value != call.args[index]}
    if plane is Plane.NATIVE and entry.handler is None:  # one with a handler may have been moved, as by a limit
        return Native(changed)
    result = entry.handler(seen)
    if type(result) is Native and result.number is None:
        result.changed = changed | result.changed
    return result
