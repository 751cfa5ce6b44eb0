"""A sandbox held to a policy: what it refuses, whichever way it is asked, what it says of that, and that nothing gets by."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from errno import EACCES, ENOENT, ENOSYS, EPERM
from pathlib import Path

import pytest
from fakes import AT_FDCWD, LINUX, NUMBERS, Guest, Out

from abi.dispatch import Plane
from containers.policing import Policing
from tracer import seccomp
from tracer.log.policy import Policy

AT_EMPTY_PATH, RENAME_EXCHANGE, O_TMPFILE = 0x1000, 2, 0o20200000
ALL_CALLS = sorted(NUMBERS)


def document(read=(), write=(), execute=(), calls=ALL_CALLS) -> dict:
    return {
        "version": 1,
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": list(calls), "action": "SCMP_ACT_ALLOW"}]},
        "files": {"read": list(read), "write": list(write), "execute": list(execute)},
        "network": {},
    }


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A fake guest held to a policy, in a root with /open/file and /secret/file; `guest.beyond` is what was refused."""
    for name in ("open", "secret"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "file").write_text(name)
    guests = []

    def make(**policy) -> Guest:
        policing = Policing(Policy(document(**policy)))
        monkeypatch.setattr("fakes.LINUX", policing.applied_to(LINUX))
        guest = Guest(tmp_path / "root").__enter__()
        guest.beyond = policing.beyond.counts
        guests.append(guest)
        return guest

    yield make
    for guest in guests:
        guest.__exit__(None, None, None)


OPEN = {"read": ["/open/**", "/proc/**"], "write": ["/open/**"]}


# -- calls ------------------------------------------------------------------------------------------


def test_a_call_that_is_not_named_fails_with_the_errno_of_the_policy(held):
    guest = held(calls=["stat"])
    assert guest("mkdir", b"/open/d", 0o755) == -EPERM
    assert guest.beyond == {("call", "mkdir"): 1}


def test_the_filter_stops_a_native_call_that_is_not_named_whatever_its_arguments():
    table = Policing(Policy(document(calls=["stat"]))).applied_to(LINUX)
    program = seccomp.build(table)
    for name, entry in ((entry.name, entry) for entry in LINUX.table if entry and entry.name != "stat"):
        if entry.plane is Plane.NATIVE or entry.when:
            for value in (0, 1, 5, 0x5401):
                verdict = seccomp.simulate(program, entry.number, seccomp.AUDIT_ARCH_X86_64, (value,) * 6)
                assert verdict != seccomp.RET_ALLOW, name


def test_openat2_is_not_there_since_its_flags_can_change_behind_the_judge_and_that_is_nothing_beyond(held):
    guest = held(**OPEN)
    assert guest("openat2", AT_FDCWD, b"/open/file", bytearray(24), 24) == -ENOSYS
    assert guest.beyond == {}


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("open", (b"/secret/file", os.O_RDONLY)),
        ("openat", (AT_FDCWD, b"/open/../secret/file", os.O_RDONLY)),
        ("openat", (AT_FDCWD, b"/secret", os.O_RDONLY | os.O_DIRECTORY)),
        ("openat", (AT_FDCWD, b"/secret", O_TMPFILE | os.O_RDWR, 0o600)),
        ("open", (b"/open/link", os.O_RDONLY)),
        ("open", (b"/open/up/secret/file", os.O_RDONLY)),
        ("open", (b"/secret/new", os.O_RDWR | os.O_CREAT, 0o600)),
        ("open", (b"/open/dangling", os.O_WRONLY | os.O_CREAT, 0o600)),
        ("creat", (b"/open/dangling", 0o600)),
        ("stat", (b"/secret/file", Out(144))),
        ("access", (b"/open/link", 0)),
        ("readlink", (b"/secret/own", Out(100), 100)),
        ("chdir", (b"/secret",)),
        ("truncate", (b"/open/link", 0)),
        ("chmod", (b"/open/link", 0o777)),
        ("utimensat", (AT_FDCWD, b"/open/link", None, 0)),
        ("setxattr", (b"/open/link", b"user.a", b"v", 1, 0)),
        ("unlink", (b"/secret/file",)),
        ("mkdir", (b"/open/up/secret/d", 0o755)),
        ("symlink", (b"x", b"/secret/l")),
        ("link", (b"/secret/file", b"/open/hard")),
        ("link", (b"/open/file", b"/secret/hard")),
        ("linkat", (AT_FDCWD, b"/open/link", AT_FDCWD, b"/open/hard", 0x400)),
        ("rename", (b"/secret/file", b"/open/moved")),
        ("rename", (b"/open/file", b"/secret/file")),
        ("renameat2", (AT_FDCWD, b"/open/file", AT_FDCWD, b"/secret/file", RENAME_EXCHANGE)),
        ("rename", (b"/secret", b"/open/moved")),
        ("rename", (b"/open", b"/secret/moved")),
    ],
)
def test_a_file_that_is_not_listed_is_out_of_reach(held, tmp_path, name, args):
    guest = held(**OPEN)
    (guest.root / "open/link").symlink_to("/secret/file")
    (guest.root / "open/up").symlink_to("..")
    (guest.root / "open/dangling").symlink_to("../secret/made")
    (guest.root / "secret/own").symlink_to("file")
    before = sorted(path for path in guest.root.rglob("*"))
    assert guest(name, *args) == -EACCES
    assert sorted(path for path in guest.root.rglob("*")) == before
    assert (guest.root / "secret/file").read_text() == "secret"
    assert guest.beyond and all(what.startswith("/secret") for _, what in guest.beyond)


def test_what_is_listed_is_there(held):
    guest = held(**OPEN)
    assert guest.read(b"/open/file") == b"open"
    assert guest("mkdir", b"/open/d", 0o755) == 0
    assert guest("rename", b"/open/file", b"/open/d/file") == 0
    assert guest("rename", b"/open/d", b"/open/e") == 0
    assert guest("chdir", b"/open/e") == 0
    assert guest("unlink", b"file") == 0
    assert guest.beyond == {}


def test_what_is_not_there_is_not_there(held):
    assert held(**OPEN)("open", b"/secret/none", os.O_RDONLY) == -ENOENT


def test_what_may_only_be_read_is_not_written_and_the_other_way_round(held):
    guest = held(read=["/open/file"], write=["/secret/file"])
    assert guest("open", b"/open/file", os.O_RDWR) == -EACCES
    assert guest("open", b"/open/file", os.O_RDONLY | os.O_TRUNC) == -EACCES
    assert guest("open", b"/secret/file", os.O_RDWR) == -EACCES
    assert guest("open", b"/secret/file", os.O_RDWR | os.O_CREAT, 0o600) == -EACCES
    assert guest("open", b"/open/file", os.O_RDONLY) >= 0
    assert guest("open", b"/secret/file", os.O_WRONLY) >= 0


def test_a_new_file_that_may_only_be_written_cannot_be_opened_for_reading_too(held):
    assert held(write=["/secret/**"])("open", b"/secret/new", os.O_RDWR | os.O_CREAT, 0o600) == -EACCES


def test_a_symlink_to_what_is_not_there_is_judged_by_where_it_leads_in_a_root_of_the_guests_own(held):
    guest = held(read=["/**"], write=["/open/jail/tmp/**"])
    (guest.root / "open/jail/tmp").mkdir(parents=True)
    (guest.root / "open/jail/etc").mkdir()
    (guest.root / "open/jail/tmp/relative").symlink_to("../etc/made")
    (guest.root / "open/jail/tmp/absolute").symlink_to("/etc/made")
    assert guest("chroot", b"/open/jail") == 0
    for name in (b"/tmp/relative", b"/tmp/absolute"):
        assert guest("open", name, os.O_WRONLY | os.O_CREAT, 0o600) == -EACCES
    assert guest.beyond == {("write", "/open/jail/etc/made"): 2}


# -- descriptors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("fchmod", (0o777,)),
        ("fchown", (0, 0)),
        ("fsetxattr", (b"user.a", b"v", 1, 0)),
        ("fchownat", (b"", 0, 0, AT_EMPTY_PATH)),
        ("utimensat", (b"", None, AT_EMPTY_PATH)),
        ("utimensat", (None, None, 0)),
        ("futimesat", (None, None)),
        ("linkat", (b"", AT_FDCWD, b"/open/hard", AT_EMPTY_PATH)),
    ],
)
def test_a_descriptor_opened_for_reading_does_not_change_its_file(held, name, args):
    guest = held(read=["/secret/file"], write=["/open/**"])
    fd = guest.open(b"/secret/file")
    before = os.stat(guest.root / "secret/file")
    assert guest(name, fd, *args) == -EACCES
    after = os.stat(guest.root / "secret/file")
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, before.st_nlink)


def test_the_working_directory_is_changed_by_no_empty_name(held):
    guest = held(read=["/secret"])
    assert guest("chdir", b"/secret") == 0
    assert guest("fchownat", AT_FDCWD, b"", 0, 0, AT_EMPTY_PATH) == -EACCES
    assert guest("utimensat", AT_FDCWD, b"", None, AT_EMPTY_PATH) == -EACCES
    assert guest("newfstatat", AT_FDCWD, b"", Out(144), AT_EMPTY_PATH) == 0


def test_a_file_without_a_name_is_the_guests_own(held):
    guest = held(write=["/open/**"], read=["/open/**"])
    fd = guest.open(b"/open/gone", os.O_RDWR | os.O_CREAT, 0o600)
    assert guest("unlink", b"/open/gone") == 0
    assert guest("fchmod", fd, 0o644) == 0


# -- directories that move --------------------------------------------------------------------------


def moved(guest: Guest) -> None:
    (guest.root / "open/data/private").mkdir(parents=True)
    (guest.root / "open/data/private/key").write_text("key")
    (guest.root / "open/place").mkdir()


def test_a_directory_does_not_take_to_an_open_place_what_may_not_be_read(held):
    guest = held(read=["/open/place/**"], write=["/open/data", "/open/place/**"])
    moved(guest)
    assert guest("rename", b"/open/data", b"/open/place/data") == -EACCES
    assert ("write", "/open/data/private/key") in guest.beyond


def test_nor_when_it_is_exchanged_for_another(held):
    guest = held(read=["/open/place/**"], write=["/open/data", "/open/place/**"])
    moved(guest)
    (guest.root / "open/place/empty").mkdir()
    for one, other in ((b"/open/data", b"/open/place/empty"), (b"/open/place/empty", b"/open/data")):
        assert guest("renameat2", AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == -EACCES


def test_a_directory_whose_files_were_written_may_move_where_they_can_be_read(held):
    names = ["/open/data", "/open/data/private", "/open/data/private/key"]
    guest = held(read=["/open/place/**"], write=[*names, "/open/place/**"])
    moved(guest)
    assert guest("rename", b"/open/data", b"/open/place/data") == 0


def test_a_working_directory_that_moved_is_called_by_its_new_name(held):
    guest = held(read=["/open/from", "/open/from/**"], write=["/open/from", "/open/to"])
    (guest.root / "open/from").mkdir()
    assert guest("chdir", b"/open/from") == 0
    assert guest("rename", b"/open/from", b"/open/to") == 0
    (guest.root / "open/to/file").write_text("new")
    assert guest("open", b"file", os.O_RDONLY) == -EACCES


# -- real guests ------------------------------------------------------------------------------------


@pytest.fixture
def bound(run, tmp_path):
    """Run words under a policy: (exit status, output, what int80 said of what was beyond it)."""

    def bind(*words: str, options: tuple[str, ...] = (), **policy):
        file = tmp_path / "policy.json"
        policy.setdefault("execute", ["/bin/busybox"])
        file.write_text(json.dumps(document(**policy)))
        done = run(*words, options=("--policy", str(file), "--policy-report", *options))
        said = done.stderr.decode().splitlines()
        assert not any("bug" in line or "Traceback" in line for line in said), said
        beyond = [line.removeprefix("int80: beyond the policy: ") for line in said if line.startswith("int80: beyond")]
        return done.returncode, done.stdout.decode(), beyond

    return bind


def test_a_program_that_is_not_listed_does_not_run(bound, run):
    shutil.copy(run.root / "bin/busybox", run.root / "tmp/true")
    status, _, beyond = bound("sh", "-c", "/tmp/true; echo $?", read=["/**"])
    assert status == 0
    assert beyond == ["execute /tmp/true"]


def test_a_first_program_that_is_not_listed_is_said_and_126(bound):
    status, _, beyond = bound("true", execute=[])
    assert (status, beyond) == (126, ["execute /bin/busybox"])


def test_a_script_is_run_only_where_its_interpreter_is(bound, run):
    script = run.root / "tmp/script"
    script.write_text("#!/bin/cat\nline\n")
    script.chmod(0o755)
    (run.root / "bin/cat").unlink()
    shutil.copy(run.root / "bin/busybox", run.root / "bin/cat")
    status, output, beyond = bound("sh", "-c", "/tmp/script", read=["/**"], execute=["/bin/busybox", "/tmp/script"])
    assert (status, output, beyond) == (126, "", ["execute /bin/cat"])


def test_proc_leads_nowhere_else(bound, run):
    (run.root / "etc/secret").write_text("secret")
    ways = ("self/root", "1/root", "self/cwd", "self/cwd/tmp/..")
    script = "".join(f"cat /proc/{way}/etc/secret 2>&-;" for way in ways)
    status, output, beyond = bound("sh", "-c", script + "exit 0", read=["/proc/**", "/tmp/**", "/bin/*", "/dev/**"])
    assert (status, output) == (0, "")
    assert beyond == ["read /etc/secret (4 times)"]


def test_a_descriptor_reopened_by_its_link_has_no_more_rights(bound):
    script = "exec 3</etc/passwd; echo x >/proc/self/fd/3; echo x >/dev/fd/3; exit 0"
    _, _, beyond = bound("sh", "-c", script, read=["/**"], write=["/tmp/**"])
    assert beyond == ["write /etc/passwd (2 times)"]


def test_nothing_beyond_is_said_too(run, tmp_path):
    (tmp_path / "policy.json").write_text(json.dumps(document(read=["/**"], execute=["/bin/busybox"])))
    done = run("true", options=("--policy", str(tmp_path / "policy.json"), "--policy-report"))
    assert (done.returncode, done.stderr) == (0, b"int80: the program asked for nothing beyond its policy\n")


def test_a_policy_that_is_none_is_one_line_and_125(run, tmp_path):
    (tmp_path / "policy.json").write_text("{}")
    for name in ("policy.json", "missing.json"):
        done = run("true", options=("--policy", str(tmp_path / name)))
        assert done.returncode == 125
        assert done.stderr.startswith(b"int80: --policy ") and done.stderr.count(b"\n") == 1


RUNS = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
extern char **environ;
int main(int count, char **words) {
    if (count == 1) { puts("ran"); return 0; }
    int in = open(words[2], O_RDONLY), out = -1;
    struct stat st;
    char name[64];
    char *const none[] = {"again", 0};
    fstat(in, &st);
    if (!strcmp(words[1], "descriptor")) out = in;
    if (!strcmp(words[1], "memfd")) out = memfd_create("m", 0);
    if (!strcmp(words[1], "tmpfile")) out = open("/tmp", O_TMPFILE | O_RDWR, 0700);
    if (out != in) {
        sendfile(out, in, 0, st.st_size);
        sprintf(name, "/proc/self/fd/%d", out);
        int again = open(name, O_RDONLY);
        fchmod(out, 0700), close(out), out = again;
    }
    syscall(322, out, "", none, environ, 0x1000);
    printf("execveat %d\\n", errno);
    sprintf(name, "/proc/self/fd/%d", out);
    execve(name, none, environ);
    printf("execve %d\\n", errno);
}
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    (place / "runs.c").write_text(RUNS)
    subprocess.run(["gcc", "-static", "-w", "-o", place / "runs", place / "runs.c"], check=True)
    return place / "runs"


@pytest.mark.parametrize("how", ["descriptor", "memfd", "tmpfile"])
def test_a_program_behind_a_descriptor_is_run_only_where_its_file_is(bound, run, runs, how):
    run.put(runs, "runs")
    shutil.copy(runs, run.root / "tmp/other")
    policy = {"read": ["/**"], "write": ["/tmp/**"], "execute": ["/bin/runs"]}
    _, output, beyond = bound("runs", how, "/tmp/other", **policy)
    assert output == f"execveat {EACCES}\nexecve {EACCES}\n"
    assert len(beyond) == 1 and beyond[0].startswith("execute /")


def test_a_loader_named_from_nowhere_is_found_from_the_root_and_judged(bound, run, runs, tmp_path):
    source = tmp_path / "dynamic.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-Wl,--dynamic-linker=tmp/loader", "-o", run.root / "bin/dynamic", source], check=True)
    shutil.copy(runs, run.root / "tmp/loader")
    policy = {"read": ["/**"], "execute": ["/bin/busybox", "/bin/dynamic"]}
    _, output, beyond = bound("sh", "-c", "cd /bin; ./dynamic; exit 0", **policy)
    assert output == ""
    assert beyond == ["execute /tmp/loader"]


# -- the network ------------------------------------------------------------------------------------


def test_with_the_hosts_network_only_addresses_of_the_policy_are_reached(int80, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [server.getsockname()[1] for server in (one, other)]
        policy = document(read=["/**"], write=["/**"], execute=["/**"]) | {"network": {"connect": [f"127.0.0.1:{ports[0]}"]}}
        (tmp_path / "policy.json").write_text(json.dumps(policy))
        script = "import socket, sys\nfor port in sys.argv[1:]: print(socket.socket().connect_ex(('127.0.0.1', int(port))))"
        done = subprocess.run(
            [*int80, "run", "--net", "host", "--policy", str(tmp_path / "policy.json"), "--policy-report", "--",
             "/usr/bin/python3", "-c", script, *map(str, ports)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.stdout == f"0\n{EACCES}\n"
    assert f"beyond the policy: connect 127.0.0.1:{ports[1]}\n" in done.stderr
