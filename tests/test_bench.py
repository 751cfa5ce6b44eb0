"""The benchmarks build, run and say what they measured. Nothing here depends on how long anything takes."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench import measure, report, runners, scratch

_REPOSITORY = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not (shutil.which("gcc") or shutil.which("cc")), reason="no C compiler")


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, Path]:
    return scratch.build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def place(tmp_path, programs) -> scratch.Scratch:
    """A root with the programs and no busybox: what the rows of calls need."""
    root = tmp_path / "root"
    (root / "bench").mkdir(parents=True)
    for name in ("calls", "calls-int80"):
        shutil.copy(programs[name], root / "bench" / name)
    (root / "bench/file").touch()
    return scratch.Scratch(root, programs["notify"], programs["filter"], tmp_path / "cache", files=200)


@pytest.fixture
def wooded(place) -> scratch.Scratch:
    """The same with busybox and a small tree: what the rows of trees need."""
    try:
        busybox = scratch.static_busybox()
    except scratch.ScratchError as error:
        pytest.skip(str(error))
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (place.root / name).mkdir()
    shutil.copy(busybox, place.root / "bin/busybox")
    scratch.make_tree(place)
    return place


def _contents(top: Path) -> dict[str, tuple]:
    """Everything below a directory: kind and mode, time, and what is in it; of symlinks and directories no time."""
    found = {}
    for path in top.rglob("*"):
        status = path.lstat()
        if path.is_symlink():
            what = status.st_mode, os.readlink(path)
        else:
            what = status.st_mode, None if path.is_dir() else (int(status.st_mtime), path.read_bytes())
        found[str(path.relative_to(top))] = what
    return found


def _figures(**rows: dict[str, list[float]]) -> measure.Figures:
    return measure.Figures(rows)


def _target(figures: measure.Figures, beginning: str, pinned: int | None = None) -> report.Target:
    return next(target for target in report.targets(figures, pinned) if target.text.startswith(beginning))


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


@pytest.mark.parametrize("row", report.NATIVE_PLANE)
def test_a_row_runs_under_the_bare_filter(row, place):
    assert measure.time_call(row, runners.bare_filter(place.filter), place, 3) > 0


def test_the_bare_filter_is_one_and_gives_no_rights(place):
    shown = measure.launch([str(place.filter), "/bin/cat", "/proc/self/status"]).output.split("\n")
    assert {"NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t1"} <= set(shown)


def test_the_tree_has_its_files_and_links_that_lead_somewhere(wooded):
    top = wooded.root / "tree"
    paths = list(top.rglob("*"))
    links = [path for path in paths if path.is_symlink()]
    assert sum(path.is_file() and not path.is_symlink() for path in paths) == wooded.files
    assert links and all(path.resolve(strict=True).is_relative_to(top) for path in links)


def test_the_tree_is_the_same_one_each_time(wooded):
    first = _contents(wooded.root / "tree")
    shutil.rmtree(wooded.root / "tree")
    scratch.make_tree(wooded)
    assert _contents(wooded.root / "tree") == first


@pytest.mark.parametrize("row", measure.TREES)
def test_every_row_of_trees_does_its_work_natively(row, wooded):
    figures = measure.measure(wooded, [runners.native()], [row], 1, sys.executable)
    assert not figures.failed and figures.median(row, "native") > 0


def test_untar_makes_the_tree_again_each_time_in_an_empty_directory(wooded):
    (wooded.root / "fresh").mkdir()
    (wooded.root / "fresh/left").touch()
    figures = measure.measure(wooded, [runners.native()], ["untar"], 2, sys.executable)
    assert not figures.failed
    assert os.listdir(wooded.root / "fresh") == ["tree"]
    assert _contents(wooded.root / "fresh/tree") == _contents(wooded.root / "tree")


@pytest.mark.parametrize("row", ["find", "ls -lR"])
def test_a_listing_that_lacks_a_file_is_no_measurement(row, wooded):
    next(path for path in (wooded.root / "tree").rglob("*.c")).unlink()
    figures = measure.measure(wooded, [runners.native()], [row], 1, sys.executable)
    assert "did not do its work" in figures.failed[row, "native"]


def test_layers_take_what_untar_makes_and_leave_the_root_alone(wooded, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(wooded.cache))
    layered = runners.int80_runners([sys.executable, str(_REPOSITORY / "runner.py")], wooded.root)[-1]
    figures = measure.measure(wooded, [layered], ["find", "untar"], 1, sys.executable)
    assert not figures.failed
    assert os.listdir(wooded.root / "fresh") == []
    assert os.listdir(wooded.cache / "int80/scratch") == []


def test_each_kind_of_row_is_run_by_those_it_says_something_about():
    command = [sys.executable, str(_REPOSITORY / "runner.py")]
    strace = runners.Runner("strace", "strace", ("strace",))
    everybody = [runners.native(), runners.bare_filter(Path("filter")), *runners.int80_runners(command, Path("/root")), strace]

    def names(row: str) -> set[str]:
        cells = measure.runners_of(row, everybody)
        return {runner.name for runner in cells}

    assert names("read") == {"native", "filter", "int80", "int0x80", "strace"}
    assert names("true") == {"native", "int80", "layered", "strace"}
    assert names("untar") == {"native", "int80", "layered"}
    assert names("notification") == names("python3") == {"native"}


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


def test_the_native_plane_is_held_against_native_and_against_the_bare_filter():
    figures = _figures(read={"native": [1.0], "filter": [1.2], "int80": [1.2]})
    assert _target(figures, "native-plane rows within 1.1 times native").ratios == {"read": 1.2}
    assert _target(figures, "native-plane rows within 1.1 times a bare filter").ratios == {"read": 1.0}


def test_trees_are_held_against_proot_on_one_cpu_only():
    figures = _figures(find={"int80": [1.0], "proot": [2.0]})
    assert _target(figures, "trees level with proot").met is None
    assert _target(figures, "trees level with proot", pinned=0).ratios == {"find": 0.5}


def test_layers_are_held_against_the_plain_root():
    figures = _figures(tar={"int80": [10.0], "layered": [12.0]}, untar={"int80": [10.0], "layered": [14.0]})
    target = _target(figures, "trees on layers")
    assert target.ratios == {"tar": 1.2, "untar": 1.4} and target.met is False


def test_start_up_is_shown_beside_the_trees_but_makes_no_table_of_trees():
    def shown(rows: dict) -> str:
        console = Console(width=200, record=True, file=io.StringIO())
        report.show(console, measure.Figures(rows), [runners.native()], {})
        return console.export_text()

    start = {"true": {"native": [500.0]}}
    assert "Trees" not in shown(start)
    assert shown(start | {"find": {"native": [9000.0]}}).count("│ true") == 2


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
