"""Several process trees under one loop: commands launched beside init, and whole sandboxes stopped and let go on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import pytest
from conftest import REPO, make_root

PRELUDE = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from containers.sandbox import CannotRun, Running, Settings
from containers.status import exit_status
from procs.credentials import Credentials

ENV = {b"PATH": b"/bin"}

def settings(*argv):
    made = Settings(sys.argv[2], [os.fsencode(word) for word in argv])
    made.env = dict(ENV)
    return made

def execute(running, *argv, ended=None, **more):
    words = [os.fsencode(word) for word in argv]
    return running.execute(words, dict(ENV), b"/", Credentials(0, 0), ended=ended, **more)

def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
"""


@pytest.fixture
def script(tmp_path, busybox):
    """Run Python code that drives sandboxes in a process of its own; what it wrote."""
    root = make_root(tmp_path / "root", busybox)

    def run(code: str) -> str:
        whole = PRELUDE + textwrap.dedent(code)
        done = subprocess.run([sys.executable, "-c", whole, str(REPO), str(root)], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


BESIDE = """
running = Running(settings("sh", "-c", "read end < /tmp/end; echo init ends; exit 5"))
try:
    running.prepare()
    os.mkfifo(sys.argv[2] + "/tmp/end")
    end = os.open(sys.argv[2] + "/tmp/end", os.O_RDWR)
    running.launch()
    told = []

    def then_init(status):
        told.append(exit_status(status))
        os.write(end, b"x\\n")

    {body}
    print(exit_status(running.serve()), *told, flush=True)
finally:
    running.close()
"""


def beside(body: str) -> str:
    return BESIDE.replace("{body}", textwrap.indent(textwrap.dedent(body), "    ").strip())


def test_a_command_beside_init_sees_it_and_has_its_own_status(script):
    out = script(beside("""
        execute(running, "sh", "-c", "ps -o pid,ppid,args; kill -0 1 && echo found; exit 3", ended=then_init)
    """))  # fmt: skip
    lines = out.splitlines()
    assert lines[0].split() == ["PID", "PPID", "COMMAND"]
    assert lines[1].split()[:3] == ["1", "0", "sh"]
    assert lines[2].split()[1:3] == ["0", "sh"]
    assert "found" in lines
    assert lines[-1] == "5 3" and lines[-2] == "init ends"


def test_what_stands_beside_init_ends_with_it(script):
    out = script(beside("""
        pid = execute(running, "sh", "-c", "sleep 1000 & echo > /tmp/end; wait", ended=lambda status: told.append(status))
    """))  # fmt: skip
    assert out.splitlines()[-1] == "5 9"


ORPHAN = """
while read pid comm state parent rest < /proc/$$/stat && [ $parent != 1 ]; do :; done
grep PPid /proc/$$/status
echo > /tmp/end
"""


def test_an_orphan_of_a_command_beside_init_is_inits_child(script, tmp_path):
    (tmp_path / "root/tmp/orphan").write_text(ORPHAN)
    out = script(beside("""execute(running, "sh", "-c", "sh /tmp/orphan &")"""))
    assert out.splitlines() == ["PPid:\t1", "init ends", "5"]


def test_streams_of_a_command_beside_init_are_those_it_was_given(script):
    out = script(beside("""
        there, here = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        execute(running, "sh", "-c", "cat; echo to the pipe; echo also >&2", stdio=(null, here, here), ended=then_init)
        os.close(here)
        close, running.close = running.close, lambda: (print(os.read(there, 100)), close())
    """))  # fmt: skip
    assert out.splitlines()[-2:] == ["5 0", "b'to the pipe\\nalso\\n'"]


def test_a_command_beside_init_that_is_not_there(script):
    out = script(beside("""
        try:
            execute(running, "nothing")
        except CannotRun as problem:
            told.append((problem.status, str(problem)))
        execute(running, "sh", "-c", "echo > /tmp/end")
    """))  # fmt: skip
    assert out.splitlines()[-1] == "5 (127, 'nothing: not found in the root')"


def test_a_command_that_has_not_executed_its_program_yet_is_not_there_and_has_nothing(script):
    """Till then it is a copy of the supervisor, with all that one knows and, natively, has open."""
    out = script(beside("""
        supervisor = running.supervisor
        tree = supervisor.tree
        supervisor.freeze()
        pid = execute(running, "true", ended=then_init)
        names = {os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")}
        print(names <= {"/dev/null", "pipe", "anon_inode"}, len(os.listdir(f"/proc/{pid}/fd")) <= 6, flush=True)
        print(pid in [process.pid for process in tree.inside()], tree.group(os.getpgid(pid)), flush=True)
        try:
            tree.host(pid)
        except ProcessLookupError:
            print("ESRCH", flush=True)
        supervisor.thaw()
    """))  # fmt: skip
    assert out.splitlines() == ["True True", "False []", "ESRCH", "init ends", "5 0"]


def test_a_frozen_sandbox_stands_until_it_is_let_go(script):
    out = script("""
        running = Running(settings("sh", "-c", "sh -c 'while :; do :; done' & while :; do cat /etc/passwd > /dev/null; done"))
        running.prepare()
        running.launch()
        supervisor, loop = running.supervisor, running.loop
        tree = supervisor.tree
        turn, turns = os.pipe2(os.O_NONBLOCK)
        os.write(turns, b"x")
        phase, seen = ["started"], []

        def look(events):
            if phase[0] == "started" and len(tree.processes) >= 2:
                supervisor.freeze()
                phase[0] = "frozen"
            elif phase[0] == "frozen" and all(state(tid) in "tSD" for tid in tree.tasks):
                seen.append(dict.fromkeys(tree.tasks))
                phase[0], phase[1:] = "thaw", [sorted(tree.tasks)]
                supervisor.thaw()
            elif phase[0] == "thaw" and sorted(tree.tasks) != phase[1]:  # one more cat has come or gone
                print("goes on", flush=True)
                loop.unwatch(turn)
                supervisor.freeze()
                os.kill(tree.init_pid, signal.SIGKILL)  # reaches it even so

        loop.watch(turn, look)
        print(exit_status(running.serve()), len(tree.tasks), flush=True)
        running.close()
    """)
    assert out.splitlines() == ["goes on", "137 0"]


def test_a_program_executed_by_a_thread_while_all_stand_is_seen(script, guest, tmp_path):
    """The stop of the first thread, whose number the other has from then on, is not taken for the one at the new program."""
    shutil.copy(guest("races"), tmp_path / "root/bin/races")
    out = script("""
        from tracer import ptrace
        from tracer.supervisor import Supervisor
        running = Running(settings("/bin/races", "chain", "1"))
        running.prepare()
        running.launch()
        supervisor, loop = running.supervisor, running.loop
        tree = supervisor.tree
        steer, event, executed = Supervisor._steer_exec, supervisor.event, supervisor._executed
        seen = []

        def steered(task, registers, plan):
            steer(supervisor, task, registers, plan)
            if task.tid != task.process.pid:
                supervisor.freeze()
                first = task.process.pid
                while first in tree.tasks and tree.tasks[first] not in supervisor._held and state(first) != "Z":
                    loop.reap()

        def noted(task, status):
            event(task, status)
            if status >> 16 == ptrace.EVENT_EXEC:
                supervisor.thaw()

        supervisor._steer_exec, supervisor.event = steered, noted
        supervisor._executed = lambda task, former: (seen.append(former != task.tid), executed(task, former))
        print(exit_status(running.serve()), seen[-1], flush=True)
        running.close()
    """)
    assert out.splitlines() == ["done", "0 True"]


def test_two_sandboxes_in_one_loop_know_nothing_of_each_other(script):
    out = script("""
        from tracer.loop import Loop
        loop = Loop()
        both = [Running(settings("sh", "-c", f"echo $$ $(ps | wc -l); exit {number}"), loop) for number in (3, 4)]
        for running in both:
            running.prepare()
            running.launch()
        for running in both:
            print(exit_status(running.serve()), flush=True)
            running.close()
        print(loop.supervisors)
    """)
    assert sorted(out.splitlines()) == sorted(["1 5", "1 5", "3", "4", "[]"])


def test_a_bug_at_a_stop_ends_the_process_and_nothing_waits_for_ever(script):
    """Whatever it raises: also the error that a task killed under our hands has."""
    out = script("""
    from tracer.supervisor import Supervisor
    os.dup2(1, 2)
    for bug in (ProcessLookupError(3, "about somebody else"), RuntimeError("a bug")):
        running = Running(settings("sh", "-c", "sh -c : ; echo $?; exit 6"))
        forked = Supervisor._forked
        def fails(*arguments):
            Supervisor._forked = forked
            raise bug
        try:
            running.prepare()
            running.launch()
            Supervisor._forked = fails
            print(exit_status(running.serve()), flush=True)
        finally:
            running.close()
    """)
    lines = out.splitlines()
    assert [line for line in lines if line.isdigit()] == ["137", "137"], out
    assert sum("bug at a stop of process 1, which is killed" in line for line in lines) == 2
