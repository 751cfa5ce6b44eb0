"""The trace as lines of JSON (--json)."""

from __future__ import annotations

import json
import os
import subprocess

from conftest import REPO
from made_up import BEGIN, LOOSE, SHELL, call, tell

from tracer.log.jsonlines import JsonLines


def lines(tmp_path, *events) -> list[dict]:
    tell(JsonLines(tmp_path / "out"), *events)
    return [json.loads(line) for line in (tmp_path / "out").read_text("utf-8").splitlines()]


def test_a_call_has_all_its_fields(tmp_path):
    assert lines(tmp_path, call("openat", "AT_FDCWD", '"/none"', at=1.5, value=-2, error="ENOENT")) == [
        {"type": "call", "time": BEGIN + 1.5, "pid": 10, "tid": 10, "call": "openat", "number": 1, "abi": "linux",
         "class": "file", "args": ["AT_FDCWD", '"/none"'], "result": "-1 ENOENT (text)", "value": -2, "error": "ENOENT",
         "duration": 0.001},
    ]  # fmt: skip


def test_plane_injection_and_a_cut_call_are_told_where_there_are_any(tmp_path):
    cut = call("pause", took=None, value=None, unfinished=True)
    shown = lines(tmp_path, call("read", plane="kernel"), call("getpid", injected="INJECTED"), cut)
    extra = [{key: line[key] for key in ("plane", "injected", "unfinished") if key in line} for line in shown]
    assert extra == [{"plane": "kernel"}, {"injected": "INJECTED"}, {"unfinished": True}]
    assert shown[2]["value"] is None and shown[2]["duration"] is None


def test_what_happens_between_calls_is_told(tmp_path):
    shown = [line for line in lines(tmp_path, *SHELL, *LOOSE) if line["type"] != "call"]
    assert {line["type"] for line in shown} == {"start", "exec", "exit", "signal", "stop", "detach"}
    assert shown[0] == {"type": "start", "time": BEGIN, "pid": 10, "tid": 10, "parent": None, "kind": "command"}
    thread = next(line for line in shown if line["type"] == "exit" and line["tid"] == 12)
    assert thread == {
        "type": "exit", "time": BEGIN + 0.1, "pid": 10, "tid": 12, "status": 3, "signal": None, "core": False,
    }  # fmt: skip


def test_every_line_is_utf_8_whatever_names_are_made_of(tmp_path):
    assert [line["path"] for line in lines(tmp_path, *LOOSE) if line["type"] == "exec"] == ["/srv/n\\xffme"]
    assert lines(tmp_path, call("open", '"é\udcff"'))[0]["args"] == ['"é\\xff"']


def test_a_reader_of_a_live_log_sees_each_line_at_once():
    ours, theirs = os.pipe()
    sink = JsonLines(theirs, live=True)
    sink.ended(call("getpid"))
    assert json.loads(os.read(ours, 4096))["call"] == "getpid"
    sink.close()
    os.write(theirs, b"still open")
    os.close(ours)
    os.close(theirs)


def test_the_manual_names_every_field(tmp_path):
    manual = (REPO / "docs/trace.md").read_text("utf-8")
    events = (*SHELL, *LOOSE, call("getpid", plane="kernel", injected="INJECTED", unfinished=True))
    fields = {name for line in lines(tmp_path, *events) for name in line}
    assert not {name for name in fields if f"`{name}`" not in manual}


def test_the_command_writes_them(int80, tmp_path):
    subprocess.run([*int80, "trace", "--json", "-o", str(tmp_path / "out"), "sh", "-c", "exit 3"], timeout=60)
    shown = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert shown[0]["type"] == "start"
    assert shown[-1]["type"] == "exit" and shown[-1]["status"] == 3
    assert any(line.get("call") == "execve" and line["class"] == "process" for line in shown)


def test_a_log_that_cannot_be_written_is_told_once_and_the_program_goes_on(int80):
    done = subprocess.run([*int80, "trace", "--json", "-o", "/dev/full", "sh", "-c", "exit 3"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (3, b"int80: the log ends here: no space left on device\n")
