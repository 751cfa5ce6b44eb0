"""Users inside: set-id programs, and what one user's process may do to another's."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

_ALICE = ("--user", "1000:1000")


@pytest.fixture
def secure(run, guest):
    """Run the guest that tells what an exec made of its ids, with a mode and as whoever is asked for."""
    shutil.copy(guest("secure"), run.root / "bin/secure")

    def tell(mode: str, *words: str, options: tuple[str, ...] = _ALICE, owner: str = "0:0") -> list[str]:
        assert run("sh", "-c", f"chown {owner} /bin/secure && chmod {mode} /bin/secure").returncode == 0
        return run(*(words or ("secure",)), options=options).stdout.decode().splitlines()

    return tell


def test_a_program_without_set_id_bits_changes_nobody(secure):
    assert secure("755") == ["1000 1000 1000 1000 1000 1000 secure 0 auxv 1000 1000 dumpable 1"]


def test_a_set_user_id_program_runs_as_its_owner_and_carefully(secure):
    assert secure("4755") == ["1000 0 0 1000 1000 1000 secure 1 auxv 1000 0 dumpable 0"]


def test_a_set_group_id_program_has_its_group(secure):
    assert secure("2755", owner="0:7") == ["1000 1000 1000 1000 7 7 secure 1 auxv 1000 1000 dumpable 0"]


def test_a_set_group_id_bit_without_execution_by_the_group_says_nothing(secure):
    assert secure("2705", owner="0:7") == ["1000 1000 1000 1000 1000 1000 secure 0 auxv 1000 1000 dumpable 1"]


def test_a_program_that_may_not_be_executed_is_not_run(run, secure):
    assert secure("700", "sh", "-c", "secure; echo $?") == ["126"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away on the host")
def test_a_program_that_the_hosts_root_may_run_by_capability_alone_is_run(run, secure):
    """Its owner and the sandbox's root may, though no task has the host's capabilities."""
    assert secure("700", owner="1000:1000")[0].startswith("1000 1000 1000 ")
    assert run("secure").stdout.startswith(b"0 0 0 ")


def test_set_id_bits_are_gone_for_good_once_a_user_has_written(run, secure):
    """The last thing that happens in a sandbox counts too."""
    assert secure("6777", "sh", "-c", "exec 3<>/bin/secure; stat -c %a /bin/secure") == ["6777"]
    assert secure("6777", "sh", "-c", "exec echo >>/bin/secure") == []
    assert run("stat", "-c", "%a", "/bin/secure").stdout == b"777\n"


def test_root_has_every_capability(run):
    assert b"CapEff:\t000001ffffffffff" in run("cat", "/proc/self/status").stdout
    assert b"CapEff:\t0000000000000000" in run("cat", "/proc/self/status", options=_ALICE).stdout


def test_a_user_may_not_touch_another_users_process(secure):
    lines = secure("755", "sh", "-c", "secure others; :", options=())
    told = dict(line.rsplit(" ", 1) for line in lines[1:])
    assert told == {
        "dumpable": "0",
        "kill": "EPERM", "kill all": "ESRCH", "queue": "EPERM", "pidfd": "EPERM", "getfd": "EPERM", "readv": "EPERM",
        "prlimit": "EPERM", "priority": "EPERM", "environ": "EACCES", "mem": "EACCES",
    }  # fmt: skip


def test_a_filter_of_the_guests_own_acts_on_top(secure):
    assert secure("755", "secure", "filter", options=())[1:] == [
        "mkdir 0", "no new privileges 0", "filter 0", "mkdir EXDEV", "rmdir 0", "mount EPERM",
    ]  # fmt: skip


def test_what_watches_a_signalfd_is_no_filter_of_the_guests(int80):
    script = """
import ctypes, os
read, write = os.pipe()
mask = ctypes.create_string_buffer(128)
fd = ctypes.CDLL(None).signalfd(-1, mask, 0)
print(fd >= 0, [line.split()[1] for line in open("/proc/self/status") if line.startswith("Seccomp")])
os.dup2(read, fd)
os.write(write, b"as it was")
print(os.read(fd, 128))
"""
    inside = subprocess.run([*int80, "run", "--", "python3", "-c", script], capture_output=True, timeout=60)
    assert inside.stdout.decode().splitlines() == ["True ['0', '0']", "b'as it was'"], inside


def test_a_file_does_not_grow_by_its_name_beyond_what_may_be_written(int80, tmp_path):
    script = """
import os, resource, signal
told = []
signal.signal(signal.SIGXFSZ, lambda number, frame: told.append(number))
open("file", "wb").write(bytes(300))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
os.truncate("file", 200)
try:
    os.truncate("file", 400)
except OSError as problem:
    os.getpid()  # a handler runs after it
    print(problem.strerror, told == [signal.SIGXFSZ], os.stat("file").st_size)
"""
    said = [
        subprocess.run([*command, "python3", "-c", script], cwd=tmp_path, capture_output=True, timeout=60).stdout
        for command in ([], [*int80, "run", "--"])
    ]
    assert said == [b"File too large True 200\n"] * 2


def test_what_a_user_makes_is_theirs(run):
    script = "umask 0; cd /tmp; echo a > f; mkdir d; ln -s f l; mkfifo p; stat -c '%n %u:%g %a' f d l p"
    lines = run("sh", "-c", script, options=("--user", "1000:100")).stdout.decode().splitlines()
    assert lines == ["f 1000:100 666", "d 1000:100 777", "l 1000:100 777", "p 1000:100 666"]


def test_what_is_made_in_a_set_gid_directory_is_its_groups(run):
    script = "mkdir /tmp/d; chown 5:6 /tmp/d; chmod 2777 /tmp/d; cd /tmp/d; echo a > f; mkdir e; stat -c '%n %u:%g %a' f e"
    assert run("sh", "-c", script).stdout.decode().splitlines() == ["f 0:6 644", "e 0:6 2755"]


ACLS = """cd $(mktemp -d); echo x >f; chmod 640 f; getfacl -c f; setfacl -m u:1:r f; echo $?
cp -a f g; mv f /dev/shm/f$$ && rm /dev/shm/f$$; ls -l | cut -c1-11
"""


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="needs setfacl (acl)")
def test_a_guest_is_told_that_there_are_no_acls(int80):
    done = subprocess.run([*int80, "run", "--", "bash", "-c", ACLS], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["user::rw-", "group::r--", "other::---", "1", "total", "4", "-rw-r-----"]
    assert done.stderr == "setfacl: f: Operation not supported\n"
