# SPDX-License-Identifier: GPL-2.0-only
"""busybox inside does what it does natively: a long script byte for byte, and its own testsuite."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import suite
from suite import build_busybox

LONG = Path(__file__).with_name("long.sh")


@pytest.fixture(scope="session")
def guests(int80: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """The busybox to run inside, and the one whose native run says what is right."""

    def find(name: str) -> tuple[Path, Path]:
        try:
            match name:
                case "stock":
                    return build_busybox.stock(), build_busybox.stock()
                case "int80":
                    return build_busybox.int80(), build_busybox.plain()
                case "retargeted":
                    changed = tmp_path_factory.mktemp("retargeted") / "busybox"
                    subprocess.run([*int80, "retarget", build_busybox.stock(), changed], check=True)
                    changed.chmod(0o755)
                    return changed, build_busybox.stock()
        except build_busybox.Unavailable as why:
            pytest.skip(str(why))

    return find


@pytest.fixture(scope="session")
def natively() -> Callable[[Path, Callable[[suite.Tree], object]], object]:
    """Do something in a native tree of a busybox, once for each busybox and thing to do."""
    done: dict[tuple[Path, str], object] = {}

    def do(busybox: Path, thing: Callable[[suite.Tree], object]) -> object:
        key = (busybox, thing.__name__)
        if key not in done:
            with suite.scratch_tree(busybox) as tree:
                done[key] = thing(tree)
        return done[key]

    return do


def runner(int80: list[str], *options: str) -> list[str]:
    return [*int80, "run", *options, "--rootfs", "{root}", "--"]


def long_script(tree: suite.Tree) -> list[str]:
    """What the long script prints, by lines."""
    place = tree.root / "scratch"
    place.mkdir()
    shutil.copy(LONG, place)
    env = {"PATH": tree.path("bin"), "HOME": tree.path("tmp")}
    command = tree.argv_env(env, "sh", "-c", f"cd {tree.path('scratch')} && sh long.sh here; exit $?")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.stderr == b"", done.stderr.decode(errors="replace")
    assert done.returncode == 0
    return done.stdout.decode(errors="backslashreplace").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("stock", ()), ("retargeted", ()), ("int80", ()), ("int80", ("--no-patch",)), ("int80", ("--no-patch", "--no-ia32"))],
    ids=lambda value: value if isinstance(value, str) else "".join(value),
)
def test_the_long_script_prints_what_it_prints_natively(name, options, int80, guests, natively):
    busybox, partner = guests(name)
    with suite.scratch_tree(busybox, runner(int80, *options)) as tree:
        inside = long_script(tree)
    native = natively(partner, long_script)
    assert native[-1] == "== end"
    assert inside == native


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stock", "int80"])
def test_what_passes_of_busyboxs_testsuite_natively_passes_inside(name, int80, guests):
    busybox, partner = guests(name)
    def results(program: Path, prefix: list[str] | None) -> suite.Results:
        with suite.scratch_tree(program, prefix) as tree:
            return suite.run_suite(tree, suite.config_of(program))

    with ThreadPoolExecutor() as pool:  # most of either is sleeping
        natively = pool.submit(results, partner, None)
        inside = results(busybox, runner(int80))
    native = natively.result()
    assert list(native.values()).count("PASS") > 1000
    assert suite.compare(native, inside) == []


def test_a_test_that_only_passes_natively_is_reported_unless_it_is_expected(tmp_path):
    expected = tmp_path / "expected.txt"
    expected.write_text("# a comment\ncat: known\tno such device inside\n")
    native = {"cat: a": "PASS", "cat: b": "PASS", "cat: c": "FAIL", "cat: d": "SKIPPED", "cat: known": "PASS"}
    inside = {"cat: a": "FAIL", "cat: known": "FAIL", "cat: new": "FAIL"}
    assert suite.compare(native, inside, expected) == ["cat: a: FAIL", "cat: b: not reached"]


def test_units_that_were_not_run_inside_are_not_missed(tmp_path):
    native = {"cat: a": "PASS", "tar: b": "PASS"}
    assert suite.compare(native, {"cat: a": "PASS"}) == []
