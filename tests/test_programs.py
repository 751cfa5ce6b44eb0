"""Large programs start and work on this machine's own root; one that is not there is skipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_COMPILE = """
printf '#include <stdio.h>\\n#include <pthread.h>\\nint main(void) { puts("hello"); }\\n' >hello.c
gcc -O2 -pthread -o hello hello.c && ./hello
"""
_MAKE = """
printf 'all: one two\\none two:\\n\\t@echo $@ >$@.made\\n.PHONY: one two\\n' >Makefile
make -s -j2 && cat one.made two.made
"""
_GIT = """
git init -q work && cd work && git config user.name N && git config user.email n@example.org
echo one >file && git add file && git commit -qm first && echo two >file && git commit -qam second
git clone -q . ../clone && cd ../clone && git fsck 2>&1 && git log --format=%s
"""
_NODE = """
const {execSync} = require("child_process"), {Worker, isMainThread, parentPort} = require("worker_threads");
if (isMainThread) new Worker(__filename).on("message", m => console.log(m, execSync("echo child").toString().trim()));
else parentPort.postMessage("worker");
"""
_JAVA = """
printf 'public class Hello { public static void main(String[] a) throws Exception {
  var t = new Thread(() -> System.out.println("thread")); t.start(); t.join();
  System.out.write(new ProcessBuilder("echo", "child").start().getInputStream().readAllBytes());
  System.out.flush(); } }' >Hello.java
java Hello.java
"""
_BASH = """
exec 3< <(echo substituted); read -r word <&3; coproc cat; echo "$word" >&"${COPROC[1]}"
read -r back <&"${COPROC[0]}"; echo "$back"
trap 'echo trapped' USR1; kill -USR1 $$; (exit 3) & wait $!; echo $?; [[ ab =~ a(.) ]] && echo "${BASH_REMATCH[1]}"
"""
_PERL = """
use threads; my $t = threads->create(sub { 6 * 7 }); print $t->join, "\\n";
my $pid = open(my $p, "-|") // die; if (!$pid) { print "piped\\n"; exit } print <$p>;
local $SIG{ALRM} = sub { die "alarm\\n" }; eval { alarm 1; sleep 9 }; print $@;
"""

PROGRAMS = {
    "bash": (["bash", "-c", _BASH], "substituted\ntrapped\n3\nb\n"),
    "gcc": (["sh", "-c", _COMPILE], "hello\n"),
    "make": (["sh", "-c", _MAKE], "one\ntwo\n"),
    "git": (["sh", "-c", _GIT], "second\nfirst\n"),
    "perl": (["perl", "-e", _PERL], "42\npiped\nalarm\n"),
    "node": (["sh", "-c", f"cat >a.js <<'END'\n{_NODE}\nEND\nnode a.js"], "worker child\n"),
    "java": (["sh", "-c", _JAVA], "thread\nchild\n"),
    "lsns": (["sh", "-c", "lsns -n -o TYPE,PID -p 1 | sort | head -3 | xargs"], "cgroup 1 ipc 1 mnt 1\n"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_works(int80, tmp_path, name):
    if shutil.which(name) is None:
        pytest.skip(f"no {name} on this machine")
    command, expected = PROGRAMS[name]
    if name == "java" and b"jdk.compiler" not in subprocess.run(["java", "--list-modules"], capture_output=True).stdout:
        pytest.skip("a Java without its compiler")
    run = [*int80, "run", "--", *command]
    done = subprocess.run(run, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


def test_a_guests_own_filters_hold_whoever_carries_a_call_out(int80):
    filters = ["/usr/bin/python3", str(Path(__file__).with_name("own_filters.py"))]
    native = subprocess.run(filters, capture_output=True, text=True, timeout=60, check=True)
    done = subprocess.run([*int80, "run", "--", *filters], capture_output=True, text=True, timeout=120)
    assert (done.stdout.splitlines(), done.stderr) == (native.stdout.splitlines(), "")


@pytest.mark.parametrize("options", [(), ("--rootfs",)])
def test_a_program_that_runs_is_not_written_to(int80, run, tmp_path, options):
    """Neither one of a layer below, of which the writer would get a copy, nor one in a root of its own."""
    script = (
        "./busybox-copy sleep 9 & n=0; until readlink /proc/$!/exe | grep -q copy || [ $((n += 1)) -gt 999 ]; do :; done; "
        "(echo x >>busybox-copy) 2>&1; (: >busybox-copy) 2>&1; kill $!; wait $!; echo y >>busybox-copy && echo written"
    )
    if options:
        shutil.copy(run.root / "bin/busybox", run.root / "busybox-copy")
        done = run("sh", "-c", script)
    else:
        shutil.copy(run.root / "bin/busybox", tmp_path / "busybox-copy")
        done = subprocess.run([*int80, "run", "--", "sh", "-c", script], cwd=tmp_path, capture_output=True, timeout=60)
    lines = done.stdout.decode().splitlines()
    assert [line.endswith("Text file busy") for line in lines] == [True, True, False], done
    assert lines[-1] == "written"
