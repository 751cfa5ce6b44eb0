# SPDX-License-Identifier: GPL-2.0-only
"""Run BusyBox's own testsuite on one busybox, natively or behind a runner, and compare the two.

    suite.py --busybox FILE --json native.json
    suite.py --busybox FILE --runner 'int80 run --rootfs {root} --' --against native.json [UNIT...]

A unit is an applet (testsuite/APPLET.tests, testsuite/APPLET/*) or a directory of shell/ash_test (ash-signals ...).
A test is called `unit: name` and ends as PASS, FAIL, SKIPPED or UNTESTED. Every test that passes natively has to
pass behind the runner, except those that expected.txt names with a reason. What fails natively is of no interest: it
is busybox's business, or this machine's.

Both runs see the same tree with nothing but busybox in it: behind a runner it is `/`, natively a directory, where
the #! lines are changed to name its shell. No test is changed in what it checks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "guests"))
import build_busybox

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.txt"
TIMEOUT = 60  # seconds for one unit
_LONGER = {"bc": 300}  # 20 natively, on an idle machine
_NOBODY = 65534
_AT_ONCE = 4  # units

Results = dict[str, str]


class Tree:
    """A root directory with busybox, its applets and the testsuite in it, and a way to run commands there.

    `runner` is the argv that comes before the guest's own, with {root} where the directory belongs; None is native.
    """

    def __init__(self, root: Path, busybox: Path, runner: list[str] | None = None) -> None:
        self.root = root
        self._runner = None if runner is None else [arg.replace("{root}", str(root)) for arg in runner]
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "usr/bin"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        shutil.copy(busybox, root / "bin/busybox")
        self.applets = subprocess.run(
            self.argv("--list"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
        for applet in self.applets:
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")

    def path(self, name: str) -> str:
        """What a file of the tree is called by what runs in it."""
        return f"/{name}" if self._runner is not None else str(self.root / name)

    def argv(self, *args: str) -> list[str]:
        """The command that runs busybox with these arguments."""
        return [*(self._runner or ()), self.path("bin/busybox"), *args]

    def argv_env(self, env: dict[str, str], *args: str) -> list[str]:
        """The same with this environment and no other, whatever the runner does about it."""
        return self.argv("env", "-i", *(f"{k}={v}" for k, v in env.items()), self.path("bin/busybox"), *args)

    def credentials(self, place: Path) -> dict[str, object]:
        """Popen arguments for a command that writes in this directory.

        Natively root's rights are given up: the testsuite would mount and make device nodes with them, and what can
        be expected of a sandbox is what an ordinary user sees.
        """
        if self._runner is not None or os.geteuid() != 0:
            return {}
        for path in (place, *place.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
        return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}


@contextlib.contextmanager
def scratch_tree(busybox: Path, runner: list[str] | None = None) -> Iterator[Tree]:
    """A tree that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="int80-busybox-", ignore_cleanup_errors=True) as tmp:
        os.chmod(tmp, 0o755)  # the way in for a user who is not the one that made it
        yield Tree(Path(tmp, "root"), busybox, runner)


def unit_names(source: Path, applets: Iterable[str]) -> list[str]:
    suite = source / "testsuite"
    tests = {p.stem for p in suite.glob("*.tests")} | {p.name for p in suite.iterdir() if p.is_dir()}
    return sorted(tests & set(applets)) + sorted(p.name for p in (source / "shell/ash_test").glob("ash-*"))


def install(tree: Tree, source: Path, config: Path) -> None:
    """Put what all units share into the tree."""
    suite = tree.root / "suite"
    suite.mkdir()
    shutil.copy(config, suite / ".config")
    shutil.copy(HERE / "unit.sh", suite)
    shutil.copytree(source / "examples", suite / "examples")
    os.link(tree.root / "bin/busybox", suite / "busybox")
    tree.credentials(suite)


def run_unit(tree: Tree, source: Path, unit: str, verbose: bool = False) -> Results:
    """Run one unit; a test that it does not come to is not in the result, and a unit that does not end is a FAIL."""
    work = tree.root / f"suite/{unit}.dir"  # beside ../busybox, which the tests know
    _copy_unit(tree, source, unit, work)
    env = {
        "PATH": tree.path("bin"),
        "LINKS": tree.path("bin"),
        "bindir": tree.path("suite"),
        "HOME": tree.path("tmp"),
        "SHELL": tree.path("bin/sh"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ECHO": "echo",  # some tests take it from testing.sh and do not read that
        "TZ": "UTC0",
        "SKIP_KNOWN_BUGS": "1",
        "SKIP_INTERNET_TESTS": "1",
        "VERBOSE": "1" if verbose else "",
    }
    script = f'cd "{tree.path("suite")}/{unit}.dir" && exec sh ../unit.sh {unit}'
    with tempfile.TemporaryFile() as log:  # a pipe would be held open by what a test leaves running
        process = subprocess.Popen(
            tree.argv_env(env, "sh", "-c", script),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if verbose else subprocess.DEVNULL,
            start_new_session=True,
            **tree.credentials(work),
        )
        try:
            process.wait(_LONGER.get(unit, TIMEOUT))
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace")
    if verbose:
        sys.stderr.write(output)
    _remove(work)

    results: Results = {}
    for status, name in re.findall(r"(?m)^(PASS|FAIL|SKIPPED|UNTESTED): (.*)$", output):
        test, copies = f"{unit}: {name}", 1
        while test in results:
            copies += 1
            test = f"{unit}: {name} ({copies})"
        results[test] = status
    results[f"{unit}: (ended)"] = "PASS" if output.endswith(f"DONE: {unit}\n") else "FAIL"
    return results


def _copy_unit(tree: Tree, source: Path, unit: str, work: Path) -> None:
    if unit.startswith("ash-"):
        shutil.copytree(source / "shell/ash_test" / unit, work)
    else:
        suite = source / "testsuite"
        others = {p.name for p in suite.iterdir() if p.is_dir()} - {unit}
        shutil.copytree(suite, work, ignore=lambda folder, names: others if folder == str(suite) else ())
    shell = f"#!{tree.path('bin/sh')}"
    for script in (p for p in work.rglob("*") if p.is_file()):
        text = script.read_bytes()
        if text.startswith(b"#!/bin/sh"):
            script.write_bytes(shell.encode() + text.removeprefix(b"#!/bin/sh"))


def _remove(work: Path) -> None:
    for folder, _, _ in os.walk(work):  # some tests make directories that their owner may not read
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry, stat.S_IRWXU)
    shutil.rmtree(work)


def run_suite(tree: Tree, config: Path, units: Iterable[str] = (), verbose: bool = False) -> Results:
    """Run these units, or all."""
    source = build_busybox.source()
    install(tree, source, config)

    def run(unit: str) -> Results:
        start = time.monotonic()
        part = run_unit(tree, source, unit, verbose)
        print(f"{time.monotonic() - start:6.1f} s  {unit}: {_counts(part)}", file=sys.stderr)
        return part

    results: Results = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # much of a unit is sleeping
        for part in pool.map(run, list(units) or unit_names(source, tree.applets)):
            results |= part
    return results


def compare(native: Results, inside: Results, expected: Path = EXPECTED) -> list[str]:
    """The tests that pass natively and not inside, each with how it ended, without the expected ones."""
    excused = {line.split("\t")[0] for line in expected.read_text().splitlines() if not line.startswith("#")}
    units = {test.split(":")[0] for test in inside}
    return [
        f"{test}: {inside.get(test, 'not reached')}"
        for test, status in native.items()
        if status == "PASS" and inside.get(test) != "PASS" and test not in excused and test.split(":")[0] in units
    ]


def config_of(busybox: Path) -> Path:
    """The .config that a busybox was built from: ours lie beside it, Debian's is in its source."""
    beside = busybox.parent / ".config"
    return beside if beside.exists() else build_busybox.source() / "debian/config/pkg/static"


def _counts(results: Results) -> str:
    kinds = [kind for test, kind in results.items() if not test.endswith(": (ended)")]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("PASS", "FAIL", "SKIPPED", "UNTESTED") if kind in kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run BusyBox's testsuite.")
    parser.add_argument("--busybox", type=Path, required=True, metavar="FILE")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: .config beside it, else Debian's")
    parser.add_argument("--runner", type=shlex.split, metavar="COMMAND", help="{root} in it is the guest's root")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result of each test there")
    parser.add_argument("--against", type=Path, metavar="NATIVE", help="compare with an earlier --json")
    parser.add_argument("--verbose", action="store_true", help="show what the tests print")
    parser.add_argument("unit", nargs="*", help="default: all")
    args = parser.parse_args()

    with scratch_tree(args.busybox, args.runner) as tree:
        results = run_suite(tree, args.config or config_of(args.busybox), args.unit, args.verbose)
    print(_counts(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=0) + "\n")
    if args.against:
        worse = compare(json.loads(args.against.read_text()), results)
        sys.exit("\n".join(worse))
    for test, status in results.items():
        if status == "FAIL":
            print(f"FAIL: {test}")


if __name__ == "__main__":
    main()
