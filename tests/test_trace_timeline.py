"""The trace as a file for Perfetto and chrome://tracing (--timeline)."""

from __future__ import annotations

import json
import subprocess

import pytest
from made_up import BEGIN, LOOSE, SHELL, call, tell

from tracer.log.events import Born, Executed
from tracer.log.timeline import Timeline


def timeline(tmp_path, *events) -> list[dict]:
    tell(Timeline(tmp_path / "out"), *events)
    return json.loads((tmp_path / "out").read_text("utf-8"))


def of(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["ph"] == kind]


def test_a_call_is_a_complete_event_in_microseconds(tmp_path):
    openat = next(event for event in of(timeline(tmp_path, *SHELL), "X") if event["name"] == "openat")
    assert (openat["pid"], openat["tid"], openat["cat"]) == (11, 11, "file")
    assert (openat["ts"], openat["dur"]) == pytest.approx((30000, 500), abs=1)  # what a float of seconds can hold
    assert openat["args"] == {"args": 'AT_FDCWD, "/none", O_RDONLY', "result": "-1 ENOENT (text)", "error": "ENOENT"}


def test_every_begin_has_its_end_and_nothing_overlaps(tmp_path):
    for events in (SHELL, LOOSE, SHELL[:-4]):
        edges: dict[int, list[tuple]] = {}
        for event in timeline(tmp_path, *events):
            if event["ph"] == "B":
                edges.setdefault(event["tid"], []).append((event["ts"], 1))
            elif event["ph"] == "E":
                edges[event["tid"]].append((event["ts"], -1))
        for track in edges.values():
            assert sum(step for _, step in track) == 0
        assert edges


def test_an_execve_lies_on_the_program_that_made_it(tmp_path):
    events = timeline(tmp_path, *SHELL)
    execve = next(event for event in of(events, "X") if event["name"] == "execve" and event["tid"] == 11)
    cat = next(event for event in of(events, "B") if event["name"] == "cat")
    assert cat["ts"] == execve["ts"] + execve["dur"]


def test_a_program_whose_execve_was_not_logged_begins_where_it_was_executed(tmp_path):
    events = timeline(tmp_path, Born(BEGIN, 10, 10, 0, "command"), Executed(BEGIN + 1, 10, 10, "/bin/sh"), call("getpid", at=2))
    assert [(event["name"], event["ts"]) for event in of(events, "B")] == [("start", 0.0), ("sh", 1e6)]


def test_processes_and_threads_have_names(tmp_path):
    told = [event for event in of(timeline(tmp_path, *SHELL), "M") if "name" in event["args"]]
    names = [(event["name"], event["tid"], event["args"]["name"]) for event in told]
    assert ("process_name", 11, "cat") in names
    assert ("thread_name", 12, "sh thread") in names


def test_signals_and_ends_are_instants(tmp_path):
    names = [event["name"] for event in of(timeline(tmp_path, *SHELL, *LOOSE), "i")]
    assert names == ["exited with 1", "SIGCHLD", "exited with 3", "exited with 3", "stopped by SIGTSTP", "detached"]


def test_a_birth_is_an_arrow_from_parent_to_child(tmp_path):
    events = timeline(tmp_path, *SHELL)
    assert [(event["tid"], event["id"]) for event in of(events, "s")] == [(10, 1), (10, 2)]
    assert [(event["tid"], event["id"]) for event in of(events, "f")] == [(11, 1), (12, 2)]


def test_the_begin_is_told_as_seconds_since_the_epoch(tmp_path):
    assert next(event for event in timeline(tmp_path, *SHELL) if event["name"] == "trace_begin")["args"] == {"epoch": BEGIN}


def test_what_is_written_before_the_end_only_lacks_the_bracket(tmp_path):
    sink = Timeline(tmp_path / "out")
    for event in SHELL[:6]:
        (sink.ended if hasattr(event, "args") else sink.happened)(event)
    sink.tick()
    assert len(json.loads((tmp_path / "out").read_text() + "]")) > 6
    sink.close()


def test_no_events_make_an_empty_array(tmp_path):
    assert timeline(tmp_path) == []


def test_the_command_writes_it(int80, tmp_path):
    done = subprocess.run([*int80, "trace", "--timeline", str(tmp_path / "out"), "sh", "-c", "/bin/true; exit 3"], timeout=60)
    assert done.returncode == 3
    events = json.loads((tmp_path / "out").read_text())
    assert {"X", "B", "E", "M", "i", "s", "f"} <= {event["ph"] for event in events}
