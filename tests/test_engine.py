"""Containers that are kept: run -d, ps, logs, stop, start, restart, exec, and the truth after whatever has been killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import pytest

# -- their lives ------------------------------------------------------------------------------------


def test_a_detached_container_is_listed_and_logged_until_it_is_removed(engine):
    identity = engine.run("sh", "-c", "echo out; echo err >&2; exec sleep 1000", options=("-d", "--name", "one")).stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", identity)
    engine.until_logs("one", "out")
    done = engine.until(lambda: (done := engine("logs", "one")).stderr and done)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    shown = json.loads(engine("ps", "--format", "json").stdout)
    assert (shown["ID"], shown["Names"], shown["State"]) == (identity[:12], "one", "running")
    assert engine("ps", "-q", "--no-trunc").stdout.strip() == identity
    assert engine("stop", "-t", "30", identity[:6]).stdout == f"{identity[:6]}\n"
    assert engine.names() == [] and engine.names("-a") == ["one"]
    assert engine.state("one")["ExitCode"] == 128 + signal.SIGTERM
    assert engine("rm", "one").stdout == "one\n"
    assert engine.names("-a") == []


def test_the_exit_status_is_kept_and_waited_for(engine):
    engine.run("sh", "-c", "exit 7", options=("-d", "--name", "seven"))
    assert engine("wait", "seven").stdout == "7\n"
    state = engine.state("seven")
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 7, 0)
    assert state["StartedAt"] < state["FinishedAt"]
    assert engine("wait", "seven").stdout == "7\n"


def test_changes_are_there_when_it_is_started_again(engine):
    engine.run("sh", "-c", "cat /count; echo x >> /count", options=("-d", "--name", "counter"))
    engine("wait", "counter")
    engine("start", "counter")
    engine("wait", "counter")
    assert engine.logs("counter") == "x\n"
    assert not (engine.root / "count").exists()


def test_in_the_foreground_it_has_the_streams_and_the_status(engine):
    done = engine.run("sh", "-c", "cat; echo err >&2; exit 3", options=("-i", "--name", "fore"), stdin=b"given\n", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "given\n", "err\n")
    assert engine.logs("fore") == "given\n"


def test_without_interactive_there_is_nothing_to_read(engine):
    done = engine.run("cat", options=("--name", "deaf", "--rm"), stdin=b"not seen")
    assert done.stdout == ""
    assert engine.names("-a") == []


def test_much_goes_through_in_both_directions(engine):
    data = os.urandom(1 << 16) * 40
    command = [*engine.command, "run", "-i", "--rm", "--name", "pipe", "--lower", str(engine.root), "--", "cat"]
    done = subprocess.run(command, input=data, capture_output=True, env=engine.env, timeout=60)
    assert done.returncode == 0 and done.stdout == data


def test_nobody_to_read_ends_it(engine):
    command = " ".join([*engine.command, "run", "--rm", "--name", "yes", "--lower", str(engine.root), "--", "yes"])
    done = subprocess.run(["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, env=engine.env)
    assert done.stdout == b"y\n141\n"
    assert engine.names("-a") == []


def test_rm_leaves_nothing(engine):
    engine.run("true", options=("-d", "--rm", "--name", "gone"))
    engine.until(lambda: engine.names("-a") == [])
    engine.until(lambda: engine.directories == [])


def test_a_command_that_is_not_there_is_said_and_leaves_nothing(engine):
    done = engine.run("nosuch", options=("-d",), check=False)
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "int80: nosuch: not found in the root\n"
    assert engine.directories == []


def test_names_are_unique_and_can_be_changed(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    done = engine.run("true", options=("-d", "--name", "one"), check=False)
    assert done.returncode == 125 and "has that name" in done.stderr
    engine("rename", "one", "two")
    engine.run("true", options=("-d", "--name", "one"))
    assert sorted(engine.names("-a")) == ["one", "two"]
    assert engine("rename", "two", "one", check=False).returncode == 125
    for name in ("-x", "a/b", "", "x" * 129, "e" * 64):
        assert engine.run("true", options=("-d", f"--name={name}"), check=False).returncode == 125


_MISTAKES = [
    ("stop", "nosuch"), ("kill", "nosuch"), ("rm", "nosuch"), ("logs", "nosuch"), ("exec", "nosuch", "true"),
    ("inspect", "nosuch"), ("start", "nosuch"), ("cp", "nosuch:/x", "."), ("wait", "nosuch"), ("attach", "nosuch"),
    ("top", "nosuch"), ("port", "nosuch"), ("stats", "nosuch"), ("rename", "nosuch", "x"), ("pause", "nosuch"),
    ("cp", "a", "b"), ("rm",), ("exec", "x"),
    ("logs", "--since", "yore", "x"), ("logs", "--tail", "x", "x"), ("ps", "--format", "x"), ("ps", "--filter", "x=y"),
    ("stop", "-t", "x", "x"), ("kill", "-s", "NOSUCH", "x"), ("attach", "--detach-keys", "ctrl-", "x"),
]  # fmt: skip


@pytest.mark.slow
def test_mistakes_are_one_line_and_125(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "x"))
    for words in _MISTAKES:
        done = engine(*words, check=False)
        assert done.returncode == 125, (words, done.stderr)
        assert done.stderr.startswith("int80: ") and done.stderr.count("\n") == 1, (words, done.stderr)


def test_run_with_a_mistake_leaves_nothing(engine):
    for option in (
        "--restart=sometimes", "--restart=on-failure:x", "--restart=always:3", "--stop-signal=NO", "--stop-timeout=x", "--name=/",
        "--user=x", "--env-file=/nosuch", "--detach-keys=ctrl-",
    ):  # fmt: skip
        done = engine.run("true", options=("-d", option), check=False)
        assert done.returncode == 125 and done.stderr.count("\n") == 1, (option, done.stderr)
        assert engine.directories == []


# -- signals and the end ----------------------------------------------------------------------------


def test_stop_asks_with_its_own_signal_and_kills_in_the_end(engine):
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.01; done"
    engine.run("sh", "-c", deaf, options=("-d", "--name", "deaf"))
    engine.until_logs("deaf", "ready")
    engine("stop", "-t", "0", "deaf")
    assert engine.state("deaf")["ExitCode"] == 137
    asked = "trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.01; done"
    engine.run("sh", "-c", asked, options=("-d", "--name", "polite", "--stop-signal", "SIGUSR1", "--stop-timeout", "50"))
    engine.until_logs("polite", "ready")
    engine("stop", "polite")
    assert engine.state("polite")["ExitCode"] == 4
    assert engine.logs("polite") == "ready\nusr1\n"
    engine("stop", "polite")  # which it is


def test_kill_sends_any_signal(engine):
    engine.run("sh", "-c", "trap 'echo got' HUP; echo ready; while :; do sleep 0.01; done", options=("-d", "--name", "one"))
    engine.until_logs("one", "ready")
    engine("kill", "-s", "HUP", "one")
    engine.until_logs("one", "got")
    engine("kill", "one")
    assert engine("wait", "one").stdout == "137\n"
    assert engine("kill", "one", check=False).stderr == "int80: one: it is exited, not running\n"


def test_signals_of_the_command_are_passed_on(engine):
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"
    words = ("run", "--name", "one", "--lower", str(engine.root), "--", "sh", "-c", script)
    process = engine.start(*words, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait() == 9
    process.stdout.close()


def test_a_paused_container_does_nothing_and_can_be_stopped(engine):
    engine.run("sh", "-c", "while :; do echo x >> /ticks; sleep 0.01; done", options=("-d", "--name", "one"))
    ticks = engine.until(lambda: engine("exec", "one", "cat", "/ticks", check=False).stdout)
    engine("pause", "one")
    assert engine.state("one")["Status"] == "paused"
    upper = engine.inspect("one")["Upper"] + "/ticks"
    before = os.path.getsize(upper)
    assert before >= len(ticks)
    assert engine("exec", "one", "true", check=False).stderr == "int80: one: it is paused; a command needs it running\n"
    assert engine("pause", "one", check=False).returncode == 125
    time.sleep(0.1)
    assert os.path.getsize(upper) == before
    engine("unpause", "one")
    engine.until(lambda: os.path.getsize(upper) > before)
    engine("pause", "one")
    engine("stop", "-t", "30", "one")
    assert engine.state("one")["ExitCode"] == 128 + signal.SIGTERM


# -- restart ----------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_as_often_as_wanted(engine):
    engine.run("sh", "-c", "echo try; exit 5", options=("-d", "--name", "one", "--restart", "on-failure:2"))
    engine.until(lambda: engine.state("one")["Status"] == "exited")
    assert engine.logs("one") == "try\n" * 3
    assert engine.inspect("one")["RestartCount"] == 2
    assert engine.state("one")["ExitCode"] == 5


def test_always_goes_on_until_it_is_stopped(engine):
    engine.run("sh", "-c", "echo x >> /runs; cat /runs | wc -l", options=("-d", "--name", "one", "--restart", "always"))
    engine.until(lambda: len(engine.logs("one").split()) >= 3)
    engine("stop", "one")
    assert engine.state("one")["Status"] == "exited"
    logged = engine.logs("one").split()
    assert logged == [str(number) for number in range(1, len(logged) + 1)]
    engine("start", "one")
    engine.until(lambda: len(engine.logs("one").split()) > len(logged))
    engine("rm", "-f", "one")


def test_restart_keeps_the_files(engine):
    engine.run("sh", "-c", "echo x >> /runs; wc -l < /runs; exec sleep 1000", options=("-d", "--name", "one"))
    engine.until_logs("one", "1\n")
    engine("restart", "-t", "30", "one")
    engine.until_logs("one", "1\n2\n")


# -- exec -------------------------------------------------------------------------------------------


def test_exec_runs_beside_init_with_the_containers_environment(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one", "-e", "A=1", "-e", "B=2", "-w", "/tmp"))
    done = engine("exec", "-e", "B=3", "one", "sh", "-c", 'echo $A $B $(pwd) $(id -u); tr "\\0" " " < /proc/1/cmdline')
    assert done.stdout == "1 3 /tmp 0\nsleep 1000 "
    assert engine("exec", "-i", "one", "cat", stdin=b"given").stdout == "given"
    assert engine("exec", "one", "cat", stdin=b"not given").stdout == ""
    assert engine("exec", "-w", "/etc", "-u", "7:8", "one", "sh", "-c", "pwd; id -u; id -g").stdout == "/etc\n7\n8\n"
    assert engine("exec", "one", "sh", "-c", "exit 5", check=False).returncode == 5
    assert engine("exec", "one", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert engine("exec", "one", "nosuch", check=False).returncode == 127
    assert engine("exec", "one", "/etc/passwd", check=False).returncode == 126
    assert engine("exec", "-u", "nobody", "one", "id", check=False).returncode == 125
    engine("exec", "-d", "one", "sh", "-c", "echo done > /tmp/done")
    engine.until(lambda: engine("exec", "one", "cat", "/tmp/done", check=False).stdout == "done\n")


def test_users_of_exec_are_the_roots_own(engine):
    (engine.root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\ntom:x:12:34::/:/bin/sh\n")
    (engine.root / "etc/group").write_text("root:x:0:\nfew:x:56:tom\n")
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    assert engine("exec", "-u", "tom", "one", "id").stdout == "uid=12(tom) gid=34 groups=56(few)\n"
    assert engine("exec", "-u", "tom:few", "one", "id", "-g").stdout == "56\n"


def test_a_command_in_a_container_ends_with_whoever_ran_it(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    process = engine.start("exec", "one", "sh", "-c", "echo ready; exec sleep 2000", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    engine.until(lambda: "2000" not in engine("top", "one").stdout)


# -- lists ------------------------------------------------------------------------------------------


def test_top_and_ps_of_one_list_its_processes_by_their_own_numbers(engine):
    engine.run("sh", "-c", "sleep 1234 & exec sleep 1000", options=("-d", "--name", "one"))
    engine.until(lambda: "1234" in engine("top", "one").stdout)
    for words in (("top", "one"), ("ps", "one")):
        header, *rows = engine(*words).stdout.splitlines()
        assert header.split() == ["UID", "PID", "PPID", "S", "STIME", "TIME", "CMD"]
        assert [row.split()[:3] for row in rows if "sleep 1000" in row] == [["0", "1", "0"]]
        assert [row.split()[2] for row in rows if "sleep 1234" in row] == ["1"]


def test_stats_tell_what_is_used(engine):
    engine.run("sh", "-c", "while :; do :; done", options=("-d", "--name", "busy"))
    engine.run("sleep", "1000", options=("-d", "--name", "idle"))
    rows = [json.loads(line) for line in engine("stats", "--no-stream", "--format", "json").stdout.splitlines()]
    found = {row["Name"]: row for row in rows}
    assert float(found["busy"]["CPUPerc"].rstrip("%")) > 1 > float(found["idle"]["CPUPerc"].rstrip("%"))
    assert found["idle"]["PIDs"] == "1"
    assert not found["idle"]["MemUsage"].startswith("0 B")
    assert "busy" in engine("stats", "--no-stream", "busy").stdout


def test_filters_labels_and_templates(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one", "--label", "kind=a", "-l", "bare"))
    engine.run("true", options=("-d", "--name", "two", "--label", "kind=b"))
    engine("wait", "two")
    assert engine.names("-a", "--filter", "label=kind=a") == ["one"]
    assert engine.names("-a", "--filter", "label=kind") == ["two", "one"]
    assert engine.names("--filter", "status=exited") == ["two"]
    assert engine.names("-a", "--filter", "label=bare", "--filter", "name=on") == ["one"]
    assert engine.names("-l") == ["two"]
    assert engine("inspect", "--format", "{{.State.Status}} {{json .Config.Labels}}", "one").stdout == (
        'running {"kind": "a", "bare": ""}\n'
    )
    assert engine("inspect", "--format", "{{range .X}}", "one", check=False).returncode == 125
    assert engine("inspect", "--format", "{{.Nosuch}}", "one", check=False).returncode == 125


def test_inspect_says_what_it_was_made_of(engine, tmp_path):
    (tmp_path / "shared").mkdir()
    options = (
        "-d", "--name", "one", "-v", f"{tmp_path}/shared:/mnt:ro", "--tmpfs", "/scratch", "-e", "A=b", "--hostname", "inner",
        "-u", "5:6", "--restart", "on-failure:4", "--pids-limit", "9", "--net", "host", "-p", "8080:80",
    )  # fmt: skip
    engine.run("sleep", "1000", options=options)
    found = engine.inspect("one")
    assert found["Path"] == "sleep" and found["Args"] == ["1000"]
    assert {"Type": "bind", "Source": f"{tmp_path}/shared", "Destination": "/mnt", "RW": False} in found["Mounts"]
    assert "A=b" in found["Config"]["Env"] and found["Config"]["Hostname"] == "inner" and found["Config"]["User"] == "5:6"
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 4}
    assert found["HostConfig"]["PidsLimit"] == 9 and found["HostConfig"]["NetworkMode"] == "host"
    assert engine("port", "one").stdout == "80/tcp -> 0.0.0.0:8080\n"


# -- logs -------------------------------------------------------------------------------------------


def test_logs_by_number_time_and_stream(engine):
    script = "for i in 1 2 3 4 5; do echo line $i; done; echo bad >&2; printf 'no end'"
    engine.run("sh", "-c", script, options=("-d", "--name", "one"))
    engine("wait", "one")
    done = engine("logs", "one")
    assert done.stdout == "".join(f"line {number}\n" for number in range(1, 6)) + "no end"
    assert done.stderr == "bad\n"
    both = subprocess.run([*engine.command, "logs", "--tail", "3", "one"], stdout=-1, stderr=-2, env=engine.env).stdout.decode()
    assert sum(both.count(text) for text in ("line 5\n", "bad\n", "no end")) >= 2 and "line 1" not in both
    assert engine("logs", "--tail", "0", "one").stdout == ""
    stamped = engine("logs", "-t", "one").stdout.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", line) for line in stamped)
    first = stamped[0].split()[0]
    assert engine("logs", "--since", first, "one").stdout == done.stdout
    assert engine("logs", "--since", "0s", "one").stdout == engine("logs", "--until", "2h", "one").stdout == ""
    assert engine("logs", "--since", "1h30m", "--until", "2100-01-01", "one").stdout == done.stdout


def test_what_is_followed_comes_until_the_end(engine):
    engine.run("sh", "-c", "echo first; while [ ! -e /go ]; do sleep 0.01; done; echo last", options=("-d", "--name", "one"))
    follower = engine.start("logs", "-f", "one", stdout=subprocess.PIPE)
    assert follower.stdout.readline() == b"first\n"
    engine("exec", "one", "touch", "/go")
    assert follower.communicate(timeout=60)[0] == b"last\n"
    assert follower.returncode == 0


def test_bytes_that_are_no_text_come_to_those_attached_as_they_are(engine):
    script = "while [ ! -e /go ]; do sleep 0.01; done; printf '\\377\\000x\\n'"
    engine.run("sh", "-c", script, options=("-d", "--name", "one"))
    attached = engine.start("attach", "one", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    engine.until(lambda: _is_attached(engine, attached.pid))
    engine("exec", "one", "touch", "/go")
    assert attached.communicate(timeout=60)[0] == b"\xff\0x\n"
    assert attached.returncode == 0
    assert engine.logs("one") == "\ufffd\0x\n"


def _is_attached(engine, pid: int) -> bool:
    """Whether a command waits for what a container writes: it has put its signals aside."""
    with open(f"/proc/{pid}/status") as file:
        blocked = next(line.split()[1] for line in file if line.startswith("SigBlk"))
    return bool(int(blocked, 16) >> signal.SIGUSR1 - 1 & 1)


# -- several at once, and what is killed -------------------------------------------------------------


def _monitor(engine, name: str) -> int:
    return int(engine("inspect", "--format", "{{.State.Pid}}", name).stdout)


def test_the_truth_is_told_of_a_container_whose_monitor_was_killed(engine):
    engine.run("sh", "-c", "echo kept > /file; echo written; exec sleep 4321", options=("-d", "--name", "one"))
    engine.until_logs("one", "written")
    os.kill(_monitor(engine, "one"), signal.SIGKILL)
    state = engine.until(lambda: (state := engine.state("one"))["Status"] == "exited" and state)
    assert (state["ExitCode"], state["Error"]) == (137, "its monitor was killed, and so was all of it")
    assert engine.names() == []
    assert engine.logs("one") == "written\n"
    assert engine("wait", "one").stdout == "137\n"
    assert "kept" in engine("cp", "one:/file", "-").stdout
    engine("start", "one")
    engine.until(lambda: engine.logs("one") == "written\n" * 2)
    assert engine("exec", "one", "cat", "/file").stdout == "kept\n"


def test_a_container_to_be_removed_goes_even_if_its_monitor_was_killed(engine):
    engine.run("sleep", "1000", options=("-d", "--rm", "--name", "one"))
    os.kill(_monitor(engine, "one"), signal.SIGKILL)
    engine.until(lambda: engine.names("-a") == [])
    assert engine.directories == []


def test_a_killed_attendant_is_replaced(engine):
    script = "trap 'echo after' HUP; echo before; while :; do sleep 0.01; done"
    engine.run("sh", "-c", script, options=("-d", "--name", "one"))
    engine.until_logs("one", "before")
    monitor = _monitor(engine, "one")
    with open(f"/proc/{monitor}/task/{monitor}/children") as file:
        children = file.read().split()
    attendant = next(int(pid) for pid in children if any("/log" in link for link in _links(pid)))
    os.kill(attendant, signal.SIGKILL)
    engine("kill", "-s", "HUP", "one")
    engine.until_logs("one", "after")


def _links(pid: str) -> list[str]:
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
    return links


@pytest.mark.slow
def test_commands_on_one_container_at_once_leave_it_whole(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    for _ in range(3):
        commands = [
            ("stop", "-t", "0", "one"), ("start", "one"), ("kill", "one"), ("restart", "-t", "0", "one"), ("start", "one"),
            ("inspect", "one"),
        ]  # fmt: skip
        running = [engine.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for words in commands]
        for process in running:
            said = process.communicate(timeout=60)[1]
            assert process.returncode in (0, 125) and b"Traceback" not in said and said.count(b"\n") <= 1
    engine("restart", "-t", "0", "one")
    assert engine.state("one")["Running"] is True
    assert engine("exec", "one", "echo", "whole").stdout == "whole\n"


def test_of_several_of_one_name_one_is_made(engine):
    words = ("run", "-d", "--name", "one", "--lower", str(engine.root), "--", "sleep", "1000")
    running = [engine.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(5)]
    assert sorted(process.wait() for process in running) == [0, 125, 125, 125, 125]
    assert engine.names("-a") == ["one"]


@pytest.mark.slow
def test_a_hundred_at_once_leave_nothing_behind(engine):
    words = ("run", "-d", "--rm", "--lower", str(engine.root), "--", "sh", "-c", "echo x > /file")
    before = set(os.listdir("/dev/shm"))
    running = [engine.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(100)]
    for process in running:
        assert process.communicate(timeout=600)[1] == b"" and process.returncode == 0
    deadline = time.monotonic() + 300
    while engine.directories:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert engine.names("-a") == []
    engine.until(lambda: not engine.processes())
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("int80-")}
    assert not [name for name in left if not os.path.exists(f"/proc/{name.split('-')[1]}")]


@pytest.mark.slow
def test_killing_whatever_runs_at_any_moment_loses_no_file(engine):
    """Commands and monitors are killed a little later each time; the file that was there stays, and the list is true."""
    engine.run("sh", "-c", "echo precious > /file", options=("-d", "--name", "one"))
    engine("wait", "one")
    for step in range(30):
        process = engine.start("start", "one", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(step * 0.01)
        process.kill()
        process.wait()
        if step % 2 and (pid := _monitor(engine, "one")):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        assert engine.names("-a") == ["one"]
    engine.until(lambda: engine.state("one")["Status"] in ("exited", "created"))
    assert "precious" in engine("cp", "one:/file", "-").stdout
    engine("start", "one")
    assert engine("wait", "one").stdout == "0\n"


def test_containers_are_listed_by_what_they_are_of_and_pruned(engine):
    engine.run("true", options=("--name", "first", "-l", "x=1"))
    engine.run("sleep", "1000", options=("-d", "--name", "second", "-v", f"{engine.root}:/seen:ro"))
    assert engine.names("-a", "--filter", "since=first") == ["second"]
    assert engine.names("-a", "--filter", "name=^f") == ["first"]
    assert engine.names("-a", "--filter", "volume=/seen") == ["second"]
    assert engine.names("-a", "--filter", f"ancestor={engine.root}") == ["second", "first"]
    table = engine("container", "ls", "--format", "table {{.Names}}\\t{{.Mounts}}").stdout
    assert [line.split() for line in table.splitlines()] == [["NAMES", "MOUNTS"], ["second", "/seen"]]
    assert engine("inspect", "-f", "{{range .Mounts}}{{.Destination}}={{.RW}}{{end}}", "second").stdout == "/seen=false\n"
    first = engine.inspect("first")["Id"]
    assert engine("container", "prune", "-f").stdout == f"{first}\n"
    assert engine("container", "exists", "first", check=False).returncode == 1
    assert engine.names("-a") == ["second"]


def test_all_containers_and_the_latest_are_meant_by_options(engine):
    for name in ("one", "two", "three"):
        engine.run("sleep", "1000", options=("-d", "--name", name))
    latest = engine.inspect("three")["Id"]
    assert engine("pause", "--latest").stdout == f"{latest}\n"
    assert engine("unpause", "-a").stdout == f"{latest}\n"
    assert len(engine("stop", "-a", "-t", "0").stdout.split()) == 3
    assert engine("stop", "--all").stdout == ""
    assert engine("rm", "-fv", "one").stdout == "one\n"
    assert len(engine("rm", "--all").stdout.split()) == 2
    for words in ((), ("-a", "one"), ("-a", "-l")):
        assert engine("rm", *words, check=False).returncode == 125


def test_an_option_of_dockers_that_cannot_be_is_refused_by_its_reason(engine):
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    done = engine("exec", "--privileged", "one", "true", check=False)
    assert done.returncode == 125 and "rights" in done.stderr
