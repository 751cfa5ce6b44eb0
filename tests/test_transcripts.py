"""Programs that print what every form of a call comes to say the same inside as by the kernel alone.

Each prints no number that differs from run to run: what is compared is the whole transcript.
"""

from __future__ import annotations

import ctypes
import difflib
import subprocess

import pytest


@pytest.fixture
def same(guest, int80, tmp_path):
    """Run a guest in an empty directory, by the kernel and inside, and insist on one transcript."""

    def compare(name: str, *options: str) -> None:
        program, said = str(guest(name)), []
        for side, command in (("kernel", []), ("inside", [*int80, "run", *options, "--"])):
            place = tmp_path / side / "place"
            place.mkdir(parents=True)
            done = subprocess.run([*command, program], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            said.append([*done.stdout.decode().splitlines(), f"stderr {done.stderr.decode()!r}", f"status {done.returncode}"])
        if said[0] != said[1]:
            pytest.fail("\n".join(difflib.unified_diff(*said, "kernel", "inside", lineterm="", n=2)), pytrace=False)

    return compare


def test_exec_in_every_form(same):
    same("exec_forms")


def test_signals_in_every_form(same):
    same("signal_forms")


def test_threads_in_every_form(same):
    same("thread_forms")


def test_landlock_in_every_form(same):
    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 2:
        pytest.skip("the kernel has no landlock to compare with")
    same("landlock_forms")
