"""File operations come to the same inside as by the kernel: results, errors, and the tree that is left.

Random scripts (`fileops`) run on both sides for each kind of mount.  A failure shows the smallest script that differs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TRIES
from fileops import KINDS, Sides, available, build, draw_scripts


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("fileops") / "fileops")


@pytest.fixture(params=KINDS.values(), ids=lambda kind: kind.name)
def sides(request, int80, program, tmp_path) -> Sides:
    kind = request.param
    if not available(int80, kind):
        pytest.skip(f"int80 run has no {kind.needs}")
    if kind.native is not None and not Path(kind.native).is_dir():
        pytest.skip(f"no {kind.native} to compare with")
    return Sides(int80, kind, program, tmp_path)


def _check(sides: Sides, seed: int, count: int) -> None:
    found = sides.differences(draw_scripts(seed, count))
    if found:
        smallest = sides.smallest(min(found, key=lambda difference: len(difference.script)))
        pytest.fail(f"{len(found)} of {count} scripts differ; the smallest:\n{smallest}", pytrace=False)


def test_thirty_scripts_of_file_operations(sides):
    _check(sides, 1, 30)


@pytest.mark.slow
def test_many_scripts_of_file_operations(sides):
    _check(sides, 2, 150 * TRIES)
