"""Programs of the host's that run at points of a container's life, given its state; runtime-spec, "POSIX-platform Hooks".

What a hook prints goes into the message of its failure, and nowhere else.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    import subprocess
    from typing import Any

_KEPT = 4096  # bytes of a hook's output that a message may have


class HookError(Exception):
    """A hook that failed; one line."""


def run(hooks: Sequence[Any], phase: str, state: dict) -> None:
    """Run the hooks of a phase, in their order, until one fails: `HookError`."""
    for index, hook in enumerate(hooks):
        try:
            _run(hook, state)
        except HookError as problem:
            raise HookError(f"error running {phase} hook #{index}: {problem}") from None


def run_all(hooks: Sequence[Any], phase: str, state: dict, warn: Callable[[str], None]) -> None:
    """Run all hooks of a phase whose failures are only told."""
    for index, hook in enumerate(hooks):
        try:
            _run(hook, state)
        except HookError as problem:
            warn(f"error running {phase} hook #{index}: {problem}")


def _run(hook: Any, state: dict) -> None:
    """Run one hook to its end.  `HookError`."""
    import subprocess

    try:
        process = subprocess.Popen(
            [os.fsencode(word) for word in hook.args or [hook.path]], executable=os.fsencode(hook.path),
            env=environment(hook), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=_unblock,
        )  # fmt: skip
    except (OSError, ValueError) as problem:
        reason = problem.strerror.lower() if isinstance(problem, OSError) else str(problem)
        raise HookError(f"{hook.path}: {reason}") from None
    try:
        output, _ = process.communicate(json.dumps(state).encode(), hook.timeout)
    except subprocess.TimeoutExpired:
        _kill_session(process)
        raise HookError(f"{hook.path} ran past timeout of {hook.timeout} s") from None
    except BaseException:
        _kill_session(process)
        raise
    if process.returncode:
        how = f"exit status {process.returncode}" if process.returncode > 0 else f"signal: {_name(-process.returncode)}"
        said = output[-_KEPT:].decode(errors="replace").strip().replace("\n", "; ")
        raise HookError(f"{hook.path}: {how}{', output: ' + said if said else ''}")


def _unblock() -> None:
    """A command that has signals wait for later does not want its hooks to."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def environment(hook: Any) -> dict[bytes, bytes]:
    """A hook's environment: what it names, and nothing else."""
    pairs = (os.fsencode(item).partition(b"=") for item in hook.env)
    return {name: value for name, _, value in pairs if name}


def _kill_session(process: subprocess.Popen) -> None:
    """End a hook and what it has started in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.stdout.close()  # somebody of another session may have it too, and is not waited for
    process.stdin.close()
    process.wait()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
