"""The commands about tries that are kept: diff, apply, discard, the list, and what is printed after ``int80 try``.

Each gives an exit status: 0, 1 where some changes were refused, 125 for a failure of ours.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from containers import tries
from containers.status import CannotRun

_REFUSED = 1


def diff(name: str, stat: bool = False, patch: bool = False, json: bool = False) -> int:
    """Show what a try would change, as a tree unless told otherwise."""
    from containers import show

    with _failures(name):
        attempt = tries.find(name, ", and `int80 ps -a` containers")
        with _opened(attempt) as (upper, host, changes):
            if json:
                print(show.document(name, changes))
            elif patch:
                show.patch(changes, upper, host)
            elif stat:
                show.statistics(changes, upper, host)
            else:
                show.tree(changes, limited=sys.stdout.isatty())
        return 0
    return 125


def apply(name: str, paths: list[str], yes: bool) -> int:
    """Write a try's changes to the host, or those at and below `paths`; asks first unless `yes`."""
    from containers.apply import Application, read_journal

    with _failures(name):
        attempt = tries.find(name)
        with attempt.locked():
            root = attempt.meta()["root"]
            bases = read_journal(os.fsencode(attempt.journal))
            upper, work = os.fsencode(attempt.upper), os.fsencode(attempt.work)
            with Application(upper, os.fsencode(root), bases, name, work) as application:
                changes = application.plan(_beneath(path, root) for path in paths)
                _say(application.notes)
                if not changes:
                    print(f"{name}: nothing to apply{' there' if paths else ''}")
                    return 0
                if not yes and not _asked(changes):
                    return 0
                outcome = application.run(changes)
                _note(attempt.journal, application.host, outcome.applied)
                return _report(outcome)
    return 125


def discard(names: list[str]) -> int:
    """Remove tries; those that can be, where some cannot."""
    status = 0
    for name in names:
        failed = True
        with _failures(name):
            tries.find(name).discard()
            failed = False
        status = 125 if failed else status
    return status


def list_tries() -> int:
    """Print all tries and what they are about."""
    with _failures("tries"):
        kept = tries.every()
        if not kept:
            print("no tries")
            return 0
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in ("NAME", "CREATED", "COMMAND", "CHANGES", "SIZE", ""):
            numbers = title in ("CHANGES", "SIZE")
            table.add_column(title, justify="right" if numbers else "left", no_wrap=title != "COMMAND")
        for attempt in kept:
            table.add_row(*_row(attempt))
        Console().print(table)
        return 0
    return 125


def summary(name: str) -> int:
    """Print what a try has changed and what can be done with it."""
    from containers import show

    with _failures(name):
        with _opened(tries.find(name)) as (_, _, changes):
            show.tree(changes)
            if changes:
                print(f"int80 diff {name}, int80 apply {name}, int80 discard {name}")
        return 0
    return 125


@contextmanager
def _failures(name: str):
    """One line to stderr for what fails, and on after the block."""
    try:
        yield
    except CannotRun as problem:
        sys.stderr.write(f"int80: {problem}\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on; what is buffered has nowhere to go
    except OSError as problem:
        from containers.show import printable_text

        named = isinstance(problem.filename, (str, bytes))
        where = f"{printable_text(os.fsdecode(problem.filename))}: " if named else ""
        sys.stderr.write(f"int80: {name}: {where}{(problem.strerror or str(problem)).lower()}\n")


@contextmanager
def _opened(attempt: tries.Try):
    """The layer, the host's root, and the changes between them."""
    from containers.changes import Tree, Upper, compare

    root = attempt.meta()["root"]
    layer = Upper(os.fsencode(attempt.upper), os.fsencode(attempt.work))
    with layer as upper, Tree(os.fsencode(root)) as host:
        yield upper, host, compare(upper, host)


def _beneath(path: str, root: str) -> bytes:
    """A path of the host as changes have it: symlinks above the last name are followed, as by any command."""
    directory, name = os.path.split(os.path.abspath(path))
    whole = os.path.join(os.path.realpath(directory), name)
    inside = os.path.relpath(whole, os.path.realpath(root))
    if inside == ".." or inside.startswith("../"):
        raise CannotRun(f"{path}: not below {root}, which the try is of")
    return b"" if inside == "." else os.fsencode(inside)


def _asked(changes: list) -> bool:
    """Whether a person at the terminal says yes.  `CannotRun` where there is none."""
    from containers import show

    if not sys.stdin.isatty():
        raise CannotRun("apply: nobody to ask, since standard input is no terminal; -y applies without asking")
    show.tree(changes)
    print(f"Apply {len(changes)} change{'' if len(changes) == 1 else 's'} to this machine? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(notes: list[str]) -> None:
    for note in notes:
        sys.stderr.write(f"int80: {note}\n")


def _note(path, host, applied: list) -> None:
    """Let the journal start anew from what the host has now: the try may be run on, and applied again."""
    from vfs.journal import Journal

    journal = Journal(os.fsencode(path))
    for change in applied:
        now = host.look(change.path)
        journal.applied(change.path, None if now is None else now.status)
    os.close(journal.fd)


def _report(outcome) -> int:
    from containers import show

    for refusal in outcome.refused:
        sys.stderr.write(f"int80: /{show.printable(refusal.path)}: refused: {show.printable_text(refusal.reason)}\n")
    refused = f"; {len(outcome.refused)} refused" if outcome.refused else ""
    print(f"applied: {show.summary_line(outcome.applied)}{refused}")
    return _REFUSED if outcome.refused else 0


def _row(attempt: tries.Try) -> list[str]:
    import shlex

    from rich.markup import escape

    from containers.show import human, printable_text

    used = "in use" if attempt.in_use() else ""
    try:
        meta = attempt.meta()
        command = escape(printable_text(shlex.join(map(str, meta.get("argv", [])))))
        created = escape(printable_text(str(meta.get("created", ""))[:16].replace("T", " ")))
        with _opened(attempt) as (upper, _, changes):
            size = sum(status.st_blocks * 512 for _, status in upper.walk(b""))
            return [attempt.name, created, command, str(len(changes)), human(size), used]
    except CannotRun:
        return [attempt.name, "", "(damaged)", "", "", used]
    except OSError as problem:
        return [attempt.name, created, command, f"({problem.strerror.lower()})", "", used]
