"""Names, directories and programs that change while a call is about to use them: never does one lead outside."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def foreign(tmp_path_factory) -> Path:
    """A program of the host's: it exits with 42."""
    place = tmp_path_factory.mktemp("foreign")
    (place / "program.c").write_text("int main(void) { return 42; }\n")
    subprocess.run(["gcc", "-static", "-o", place / "program", place / "program.c"], check=True)
    return place / "program"


class Races:
    """Runs the guest, in a session of its own, in a root whose surroundings hold canaries of 100 bytes."""

    def __init__(self, run, command: list[str], outside: Path) -> None:
        self.root = run.root
        self.outside = outside
        self._command = command

    def __call__(self, *words: str, options: tuple[str, ...] = ()):
        command = [*self._command, "run", "--rootfs", str(self.root), *options, "--", "/bin/races", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, start_new_session=True, stdin=subprocess.DEVNULL
        )
        assert "Traceback" not in done.stderr and "bug" not in done.stderr, done.stderr
        return done


@pytest.fixture
def races(run, int80, guest, foreign, tmp_path) -> Races:
    outside = tmp_path / "outside"
    outside.mkdir()
    program = guest("races")
    run.put(program, "races")
    inside = run.root / "tmp/x"
    inside.mkdir()
    for place in (inside, run.root, run.root / "tmp"):
        (place / "canary").write_text("inside\n")
        shutil.copyfile(program, place / "program")
        (place / "program").chmod(0o755)
    for place in (tmp_path, outside):  # the root's parent, and somewhere else
        (place / "canary").write_text("o" * 100)
        shutil.copyfile(foreign, place / "program")
        (place / "program").chmod(0o755)
    return Races(run, int80, outside)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["swap", "exchange"])
@pytest.mark.parametrize("target", ["parents", "absolute"])
def test_a_component_that_becomes_a_symlink_never_leads_outside(races, how, target):
    links = {
        "parents": ("/", "../..", "../../..", "x/../../.."),
        "absolute": (str(races.outside), str(races.root.parent), f"../../{races.outside.name}"),
    }[target]
    done = races(how, *links)
    assert (done.returncode, done.stderr) == (0, "")
    inside, outside, failed = (int(word) for word in done.stdout.splitlines()[-1].split())
    assert outside == 0, done.stdout
    assert inside > 100, done.stdout
    assert inside + failed > 600, done.stdout
    assert "status" not in done.stdout


@pytest.mark.slow
def test_a_directory_moved_up_while_its_parents_are_walked_never_leads_outside(races):
    done = races("moving")
    assert (done.returncode, done.stderr) == (0, "")
    inside, outside, failed = (int(word) for word in done.stdout.split())
    assert outside == 0
    assert inside > 100
    assert inside + failed > 600


@pytest.mark.parametrize("options", [(), ("--no-patch",)], ids=["patch", "no-patch"])
def test_a_thread_that_is_not_the_leader_executes_while_others_run(races, options):
    done = races("chain", "20", options=options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_thread_forks_while_another_executes(races):
    done = races("fork")
    assert (done.returncode, done.stdout, done.stderr) == (0, "20 right\n", "")


@pytest.mark.parametrize("how", ["path", "below"])
@pytest.mark.parametrize("target", ["host", "relative", "proc", "descriptor"])
def test_a_path_swapped_under_execve_runs_the_right_program_or_ends_the_sandbox(races, foreign, how, target):
    handed = {
        "host": str(foreign),
        "relative": "../" * 12 + str(foreign).lstrip("/"),
        "proc": f"/proc/{os.getpid()}/root{foreign}",
        "descriptor": "/proc/self/fd/3",
    }[target]
    done = races(how, handed)
    if done.returncode == 0:
        # What is written below the stack may be a frame of the program's own, which then sees that.
        assert set(done.stderr.splitlines()) <= {"*** stack smashing detected ***: terminated"}
        assert " 0 of the host" in done.stdout, done.stdout
    else:
        assert "changed the program under exec; the sandbox ends" in done.stderr
        assert done.returncode == 137


def test_a_guest_never_sees_the_processor_it_is_held_on_while_it_is_woken(run, guest):
    assert run(run.put(guest("processors"))).stdout == b"0 of 1000, 0 of 100 children\n"
