"""The log of `int80 trace` is strace's own: real programs and the suite's guests, traced by both and compared line by line."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import strace

LEAST = 98.0  # lines in 100
ENOUGH = 100  # lines that say something about a program by themselves
GUESTS = [*sorted(path.stem for path in Path(__file__).parent.glob("guests/c/trace_*.c")), "every_call"]

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

PYTHON = """
import mmap, os, select, signal, socket, subprocess, tempfile, threading
print(subprocess.run(["true"]).returncode, subprocess.check_output("echo hello | cat", shell=True))
server = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = server.accept()
    connection.sendall(connection.recv(100))
    connection.close()
thread = threading.Thread(target=serve)
thread.start()
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
print(client.recv(100))
thread.join()
with tempfile.TemporaryDirectory(dir=".") as place:
    open(place + "/one", "w").write("text")
    os.rename(place + "/one", place + "/two")
    os.symlink("two", place + "/three")
    print(os.listdir(place), os.stat(place + "/three").st_size, os.utime(place + "/two", (1, 2)))
reader, writer = os.pipe()
if not (child := os.fork()):
    os.write(writer, b"child")
    os._exit(3)
print(os.read(reader, 10), os.waitpid(child, 0))
poll = select.poll()
poll.register(reader)
poll.poll(0)
signal.signal(signal.SIGUSR1, lambda *about: print("signal"))
os.kill(os.getpid(), signal.SIGUSR1)
memory = mmap.mmap(-1, 8192)
memory[:3] = b"abc"
print(os.uname(), os.sched_getaffinity(0))
"""

GIT = """
export HOME=. GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE=2024-01-01T00:00:00Z GIT_COMMITTER_DATE=2024-01-01T00:00:00Z
git init -q repository && cd repository
for name in one two; do echo $name >$name; git add $name; git commit -qm "add $name"; done
git log --oneline; git gc -q; git status; git diff HEAD~1
"""

BUSYBOX = """
mkdir -p a/b; echo text >a/one; ln -s one a/two; cp a/two a/b/three; ls -lR a; cat a/* | sort | uniq -c | wc
for n in 1 2 3; do echo $n; done | sed s/2/two/ | grep -v 3; find a -type f -exec md5sum {} +; tar cf a.tar a; tar tvf a.tar
(exit 3) || echo failed; trap 'echo asked' USR1; kill -USR1 $$; date -u -d @0; stat a/one; rm -r a; gzip a.tar; ls
"""

COMMANDS = {
    "ls": ["ls", "-la", "/etc"],
    "busybox": ["busybox", "sh", "-c", BUSYBOX],
    "python": ["/usr/bin/python3", "-c", PYTHON],
    "git": ["sh", "-c", GIT],
    "gcc": ["sh", "-c", "echo 'int puts(const char *); int main(void) { puts(\"hello\"); }' >a.c; gcc -O1 -o a a.c && ./a"],
    "find": ["find", "/etc", "-name", "*.conf", "-newer", "/etc/passwd"],
    "tar": ["tar", "czf", "a.tar.gz", "/etc/default"],
    "perl": ["perl", "-e", 'print 1; open F, "</etc/passwd"; print <F>; print `echo hello`; print stat(".")'],
    "sort": ["bash", "-c", "sort /etc/services | uniq -c | head -n 5 > out; cat < out; wait; ulimit -a"],
    "dpkg": ["dpkg", "-l"],
    "mount": ["sh", "-c", "mount; df; id; uname -a; hostname; nproc"],
}
NEEDS = {"ls": "ls", "python": "/usr/bin/python3", "mount": "mount", "sort": "bash"}
QUICK = ("ls", "busybox", "perl", "mount")

_seen: dict[str, strace.Comparison] = {}


def near(name: str, int80, command, place, options=(), **more) -> strace.Comparison:
    """The comparison of a command's logs, after checking that it is near enough.

    Scheduling decides who meets whom at a lock, and when a signal comes; where that made the difference, it is tried again.
    """
    for _ in range(3):
        found = strace.compared(int80, command, place, tuple(options), **more)
        if found.share >= LEAST:
            break
    assert found.total >= ENOUGH or found.total - found.equal - found.explained <= 1, str(found)
    assert found.share >= LEAST or found.total < ENOUGH, str(found)
    assert found.left_out <= max(5, found.total // 10), str(found)
    _seen[name] = found
    return found


def command_named(name: str) -> list[str]:
    command = COMMANDS[name]
    needed = NEEDS.get(name, name)
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    return command


# -- the comparison itself --------------------------------------------------------------------------

LOG = """\
1000  execve("/bin/a", ["a"], 0x7ff0 /* 9 vars */) = 0
1000  clone(child_stack=NULL, flags=SIGCHLD) = 2000
1000  wait4(-1,  <unfinished ...>
2000  getpid()                          = 2000
2000  exit_group(3)                     = ?
2000  +++ exited with 3 +++
1000  <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 2000
1000  +++ exited with 0 +++
"""


def test_parts_of_a_call_are_joined_and_tasks_named_by_birth():
    assert strace.tasks(LOG) == {
        "1": [
            'execve("/bin/a", ["a"], ENVIRONMENT /* 9 vars */) = 0',
            "clone(child_stack=NULL, flags=SIGCHLD) = task-1-1",
            "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = task-1-1",
            "+++ exited with 0 +++",
        ],
        "1.1": ["getpid() = task-1-1", "exit_group(3) = ?", "+++ exited with 3 +++"],
    }


def test_a_log_equals_itself_with_other_numbers_of_tasks():
    other = LOG.replace("1000", "7123").replace("2000 ", "71234").replace("2000", "71234")
    found = strace.compare(LOG, LOG, other)
    assert (found.equal, found.total, found.pairs) == (7, 7, [])


def test_what_strace_repeats_must_be_equal():
    found = strace.compare(LOG, LOG, LOG.replace("NULL, flags=SIGCHLD", "NULL, flags=0"))
    assert (found.equal, found.total, len(found.pairs)) == (6, 7, 1)


def test_numbers_that_move_are_not_compared_but_their_line_is():
    first, again, ours = (f"9     stat({{ino={number}, n=1}}) = 0\n9     +++ exited with 0 +++\n" for number in (5, 6, 7))
    assert strace.compare(first, again, ours).equal == 2
    assert strace.compare(first, again, ours.replace("n=1", "n=2")).equal == 1


def test_lines_that_strace_does_not_repeat_are_left_out_and_counted():
    first = "9     a() = 0\n9     b() = 0\n9     c() = 0\n"
    found = strace.compare(first, first.replace("9     b() = 0\n", ""), first.replace("b", "other"))
    assert (found.equal, found.total, found.left_out) == (2, 2, 1)


def test_lines_only_one_of_them_has_are_differences():
    missing = "".join(LOG.splitlines(keepends=True)[:4])
    assert strace.compare(LOG, LOG, missing).equal < strace.compare(LOG, LOG, missing).total == 7
    assert strace.compare(LOG, LOG, LOG + "1000  more() = 0\n").pairs == [("", "more() = 0")]


def test_every_difference_that_is_let_pass_is_explained_to_the_reader():
    page = " ".join((strace.REPO / "docs/trace-differences.md").read_text().split())
    assert [reason.why for reason in strace.REASONS if reason.why not in page] == []


# -- programs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GUESTS)
def test_every_shape_of_argument_reads_as_in_strace(name, int80, guest, tmp_path):
    near(name, int80, [str(guest(name))], tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_small_program_reads_as_in_strace(name, int80, tmp_path):
    near(name, int80, command_named(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in QUICK])
def test_a_large_program_reads_as_in_strace(name, int80, tmp_path):
    near(name, int80, command_named(name), tmp_path)


@pytest.fixture
def server():
    """The address of a server on the loopback interface that answers every request alike."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, *words):
            """Nothing: the tests' output is not the place."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_client_of_the_network_reads_as_in_strace(int80, tmp_path, server):
    near("curl", int80, ["curl", "-sS", "-o", "page", server], tmp_path)


@pytest.mark.slow
def test_threads_read_as_in_strace(int80, guest, tmp_path):
    near("threads", int80, [str(guest("threads"))], tmp_path)


@pytest.mark.slow
def test_the_whole_set_is_as_near_as_each_of_it():
    if len(_seen) < len(COMMANDS):
        pytest.skip("not all programs were traced")
    whole = strace.Comparison()
    for found in _seen.values():
        whole += found
    assert 100 * whole.equal >= LEAST * whole.total, str(whole)


def test_a_thread_that_executes_a_program_reads_as_in_strace(int80, guest, tmp_path):
    near("superseded", int80, [str(guest("superseded"))], tmp_path)


# -- options ----------------------------------------------------------------------------------------

SHAPES = {
    "whole structures": ("-v",),
    "descriptors": ("-y",),
    "sockets": ("-yy",),
    "long strings": ("-s", "200"),
    "hex": ("-xx",),
    "files": ("-e", "trace=%file"),
    "processes": ("-e", "trace=%process,%signal"),
    "all but memory": ("-e", "trace=!%memory"),
    "failures": ("-Z",),
    "successes": ("-z",),
    "a path": ("-P", "/etc/passwd"),
    "quiet": ("-qq", "-e", "signal=none"),
    "a column": ("-a", "60"),
}


SERIAL = """
mkdir -p a/b; echo text >a/one; ln -s one a/two; cp a/two a/b/three; ls -lR a; cat /etc/passwd; cat /nowhere; grep root /etc/group
stat a/one; md5sum a/b/three; chmod 600 a/one; mv a/one a/four; find a; date -u -d @0; (exit 3) || echo failed; rm -r a; pwd; id
"""


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_an_option_does_as_in_strace(shape, int80, tmp_path):
    near(f"busybox {shape}", int80, ["busybox", "sh", "-c", SERIAL], tmp_path, SHAPES[shape])


def lines_as_they_are(log: str) -> list[str]:
    """Lines with their spaces, without the task's number; numbers of as many nines, addresses all alike."""
    lines = [line[max(5, len(line.split()[0])) + 1 :] for line in log.splitlines()]
    bare = [re.sub(r"\\x..", "BYTE", re.sub(r"0x[0-9a-f]+", "ADDRESS", line)) for line in lines]
    return [re.sub(r"\d", "9", line) for line in bare]


def test_calls_that_name_a_path_are_found_as_strace_finds_them(int80, guest, tmp_path):
    options = ("-P", str(tmp_path / "here/file"))
    found = near("paths", int80, [str(guest("trace_paths"))], tmp_path, options)
    assert found.equal == found.total, str(found)


@pytest.mark.parametrize("option", ["-a40", "-t", "-tt", "-ttt", "-r", "-T", "-rT", "-a8"])
def test_lines_are_set_and_dated_as_strace_does(option, int80, tmp_path):
    command = ["busybox", "true"]
    theirs = strace.log_of(["strace", "-f", option], command, tmp_path)
    ours = strace.log_of([*int80, "trace", option], command, tmp_path)
    assert lines_as_they_are(ours) == lines_as_they_are(theirs)


# -- both builds ------------------------------------------------------------------------------------

SCRIPT = f"""
mkdir /tmp/int80-{os.getpid()}; cd /tmp/int80-{os.getpid()}
echo one >one; wc -c <one; (exit 3); ls -l .; trap 'echo asked' USR1; kill -USR1 $$; nosuch
cd /; rm -r /tmp/int80-{os.getpid()}
"""


def log_in_a_sandbox(int80, build: Path, log: Path) -> str:
    options = [f"--trace={log}", "--busybox", str(build)]
    command = ["setarch", "-R", *int80, "run", *options, "--", "sh", "-c", SCRIPT]
    subprocess.run(command, check=False, capture_output=True, timeout=60)
    return log.read_text()


def test_both_builds_of_a_program_give_one_log(int80, busybox, tmp_path):
    rewritten = tmp_path / "busybox80"
    subprocess.run([*int80, "retarget", str(busybox), str(rewritten)], check=True, capture_output=True)
    for _ in range(3):  # a child may end before or after its parent waits for it
        first, ours, again = (log_in_a_sandbox(int80, build, tmp_path / "log") for build in (busybox, rewritten, busybox))
        found = strace.compare(first, again, ours)
        if found.equal + found.explained == found.total:
            break
    assert found.total > ENOUGH
    assert found.equal + found.explained == found.total, str(found)
