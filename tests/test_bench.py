"""The benchmarks build, run and say what they measured. Nothing here depends on how long anything takes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import measure, report, runners, scratch

_REPOSITORY = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not (shutil.which("gcc") or shutil.which("cc")), reason="no C compiler")


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, Path]:
    return scratch.build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def place(tmp_path, programs) -> scratch.Scratch:
    """A root with the programs and no busybox: what the rows of calls need."""
    (tmp_path / "bench").mkdir()
    for name in ("calls", "calls-int80"):
        shutil.copy(programs[name], tmp_path / "bench" / name)
    (tmp_path / "bench/file").touch()
    return scratch.Scratch(tmp_path, programs["notify"])


def _figures(**rows: dict[str, list[float]]) -> measure.Figures:
    return measure.Figures(rows)


def _target(figures: measure.Figures, beginning: str) -> report.Target:
    return next(target for target in report.targets(figures) if target.text.startswith(beginning))


def test_the_two_builds_of_calls_differ_in_their_gate_only(programs):
    syscall, int80 = programs["calls"].read_bytes(), programs["calls-int80"].read_bytes()
    assert b"\x0f\x05" in syscall and b"\xcd\x80" not in syscall
    assert b"\xcd\x80" in int80 and b"\x0f\x05" not in int80


def test_a_program_is_not_built_again_when_nothing_has_changed(programs):
    before = programs["calls"].stat()
    again = scratch.build(programs["calls"].parent)["calls"]
    assert again == programs["calls"] and again.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("row", measure.CALLS)
def test_every_row_prints_a_number_natively(row, place):
    assert measure.time_call(row, runners.native(), place, 3) > 0


def test_an_unknown_row_is_an_error_with_its_reason(place):
    with pytest.raises(measure.MeasureError, match="no such row"):
        measure.time_call("nothing", runners.native(), place, 3)


def test_the_bare_notification_prints_a_number_and_whether_the_kernel_wakes_synchronously(place):
    figures = measure.Figures()
    assert measure.time_notification(place, 10, figures) > 0
    assert figures.sync_wake_up in (True, False)


def test_a_runner_that_fails_is_left_out_with_its_last_words(place):
    broken = runners.Runner("broken", "broken", ("sh", "-c", "echo first >&2; echo cannot do it >&2; exit 3"))
    assert measure.probe(broken, place) == "cannot do it"


def test_a_runner_that_cannot_start_is_left_out_with_the_reason(place):
    missing = runners.Runner("missing", "missing", ("/no/such/program",))
    assert measure.probe(missing, place) == "/no/such/program: No such file or directory"


def test_a_command_that_does_not_end_is_ended():
    with pytest.raises(measure.MeasureError, match="no end after"):
        measure.launch(["sleep", "1000"], patience=0.05)


def test_a_command_that_leaves_a_child_with_its_output_has_still_ended():
    assert measure.launch(["sh", "-c", "echo done; sleep 1 2>/dev/null &"], patience=2).output == "done\n"


def test_a_ratio_is_taken_within_its_round():
    figures = _figures(stat={"int80": [10.0, 200.0, 30.0], "proot": [20.0, 100.0, 60.0]})
    assert figures.ratio("stat", "int80", "proot") == 0.5


def test_a_target_is_met_when_every_row_of_it_is():
    rows = {"read": {"native": [1.0], "int80": [1.05]}, "write": {"native": [1.0], "int80": [1.0]}}
    assert _target(measure.Figures(rows), "native-plane").met is True
    rows["write"]["int80"] = [1.2]
    assert _target(measure.Figures(rows), "native-plane").met is False


def test_a_target_with_nothing_to_measure_it_by_is_neither_met_nor_missed():
    assert _target(_figures(stat={"native": [1.0]}), "stat").met is None


def test_a_row_that_int80_fails_misses_its_target():
    figures = _figures(read={"native": [1.0]})
    figures.failed["read", "int80"] = "no such call"
    target = _target(figures, "native-plane")
    assert target.ratios == {"read": math.inf} and target.met is False


def test_stat_is_held_against_the_bare_notification_and_start_up_against_python():
    figures = _figures(
        stat={"native": [1.0], "int80": [16.0]}, notification={"native": [5.0]},
        true={"native": [500.0], "int80": [30000.0]}, python3={"native": [10000.0]},
    )  # fmt: skip
    assert _target(figures, "stat").ratios == {"stat": 3.2}
    assert _target(figures, "start-up").ratios == {"true": 3.0}


def test_the_interpreter_is_read_from_the_command(tmp_path):
    script = tmp_path / "int80"
    script.write_text(f"#!{sys.executable}\n")
    assert runners.interpreter([str(script), "-x"]) == sys.executable
    assert runners.interpreter(["/opt/python3.12", "runner.py"]) == "/opt/python3.12"


def test_json_holds_every_figure_and_can_be_read_back():
    figures = _figures(stat={"native": [1.0, 2.0], "proot": [20.0, 60.0]})
    figures.failed["stat", "int80"] = "no such call"
    facts = json.loads(json.dumps(report.as_json(figures, [runners.native()], {"bwrap": "not installed"}, 1)))
    assert facts["rows"]["stat"]["proot"] == {"us": [20.0, 60.0], "median_us": 40.0, "times_native": 25.0}
    assert facts["failed"] == [{"row": "stat", "runner": "int80", "why": "no such call"}]
    assert facts["left_out"] == {"bwrap": "not installed"}
    assert facts["machine"].keys() >= {"kernel", "processor", "cpus", "pinned_to", "python", "sync_wake_up"}
    assert facts["runners"]["native"]["command"] == ""
    assert all(target.keys() == {"target", "limit", "met", "ratios"} for target in facts["targets"])


def test_the_script_measures_shows_and_writes(tmp_path):
    try:
        scratch.static_busybox()
    except scratch.ScratchError as error:
        pytest.skip(str(error))
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, str(_REPOSITORY / "bench/run"), "--runs", "1", "--rows", "getpid,true", "--peers", "",
         "--int80", "false", "--json", str(out)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "getpid" in done.stdout and "Left out: int80: ended with status 1" in done.stdout
    assert len(json.loads(out.read_text())["rows"]["getpid"]["native"]["us"]) == 1
