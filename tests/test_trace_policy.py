"""Policies: what is written of a program that was traced, what the judge says, and what it says of documents that are wrong."""

from __future__ import annotations

import copy
import json
import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import has_ipv6

from tracer.log.policy import Policy, PolicyError, general
from tracer.log.touched import address_text

DOCUMENT = {
    "version": 1,
    "command": ["program"],
    "seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["openat", "read"], "action": "SCMP_ACT_ALLOW"}],
    },
    "files": {
        "read": ["/etc/hosts", "/usr/**", "/proc/self/status", "/proc/*/stat", "/home/*/file"],
        "write": ["/var/log/one"],
        "execute": ["/bin/sh"],
    },
    "network": {
        "connect": ["127.0.0.1:80", "*:443", "10.0.0.1:*", "[::1]:53", "unix:/run/one", "unix:/srv/**", "unix:@name"],
        "listen": ["127.0.0.1:0"],
    },
}


@pytest.fixture(scope="module")
def policy():
    return Policy(DOCUMENT)


# -- what is seen -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(int80, guest, tmp_path_factory):
    """The directory where a program ran, and the document that was made of it."""
    place = tmp_path_factory.mktemp("needs").resolve()
    (place / "here").mkdir()
    document = place / "policy.json"
    program = guest("needs")
    done = subprocess.run(
        [*int80, "trace", "--policy-out", str(document), str(program)], cwd=place / "here", capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return place / "here", json.loads(document.read_text()), program


def names(seen, use: str) -> set[str]:
    """The paths below the directory where the program ran, from there."""
    place, document, _ = seen
    return {os.path.relpath(path, place) for path in document["files"][use] if path.startswith(f"{place}")}


def test_what_is_opened_for_reading_or_looked_at_is_read_without_its_symlinks(seen):
    assert names(seen, "read") == {".", "written", "looked", "both", "made", "script"}


def test_what_is_made_changed_renamed_or_removed_is_written(seen):
    made = {"written", "link", "looked", "both", "made", "made/below", "made/inside", "renamed", "script"}
    assert names(seen, "write") == made


def test_programs_scripts_and_their_interpreters_are_executed(seen):
    place, document, program = seen
    wanted = {str(program), f"{place}/script", os.path.realpath("/bin/sh")}
    loaders = {path for path in document["files"]["execute"] if "/ld-" in path}
    assert set(document["files"]["execute"]) == wanted | loaders


def test_numbers_of_processes_are_no_part_of_a_path(seen):
    read = seen[1]["files"]["read"]
    assert {"/proc/self/status", "/proc/self/fd", "/proc/*/stat"} <= set(read)
    assert not any(part.isdecimal() for path in read if path.startswith("/proc/") for part in path.split("/"))


def test_names_made_up_in_a_shared_directory_become_a_star(seen):
    assert "/tmp/*" in seen[1]["files"]["write"]
    assert not any("needs-" in path.rpartition("/")[2] for path in seen[1]["files"]["write"])


def test_addresses_that_are_reached_or_taken_are_listed(seen):
    place, document, _ = seen
    assert document["network"] == {
        "connect": ["127.0.0.1:9", *(["[::1]:9"] if has_ipv6() else []), f"unix:{place}/socket"],
        "listen": ["127.0.0.1:0", f"unix:{place}/socket"],
    }


def test_the_calls_are_a_seccomp_profile_with_every_call_that_was_made(seen):
    profile = seen[1]["seccomp"]
    assert {key: profile[key] for key in ("defaultAction", "defaultErrnoRet", "architectures")} == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
    }
    (rule,) = profile["syscalls"]
    assert rule["action"] == "SCMP_ACT_ALLOW"
    assert rule["names"] == sorted(rule["names"])
    assert {"execve", "renameat", "connect", "exit_group"} <= set(rule["names"])
    assert "ptrace" not in rule["names"]


def test_what_was_seen_is_allowed_by_the_policy_that_is_made_of_it(seen):
    place, document, program = seen
    policy = Policy(document)
    assert document["command"] == [str(program)]
    assert policy.allows_read(f"{place}/written")
    assert policy.allows_write(f"{place}/made/below")
    assert policy.allows_execute(str(program))
    assert policy.allows_connect("127.0.0.1:9")
    assert not policy.allows_read(f"{place}/absent")


def test_a_call_that_was_answered_by_an_injection_touched_nothing(int80, tmp_path):
    document = tmp_path / "policy.json"
    words = ["trace", "--policy-out", str(document), "-e", "inject=mkdir:retval=0", "mkdir", str(tmp_path / "no")]
    subprocess.run([*int80, *words], check=True)
    assert str(tmp_path / "no") not in json.loads(document.read_text())["files"]["write"]


def test_a_file_that_cannot_be_written_is_said_before_anything_runs(int80, tmp_path):
    words = ["trace", "--policy-out", str(tmp_path / "no/policy"), "touch", str(tmp_path / "ran")]
    done = subprocess.run([*int80, *words], capture_output=True, text=True)
    assert done.returncode == 125
    assert done.stderr.startswith(f"int80: {tmp_path}/no/policy: no such file or directory")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/proc/7", "/proc/self"),
        ("/proc/7/status", "/proc/self/status"),
        ("/proc/77/status", "/proc/*/status"),
        ("/proc/7/fd/3", "/proc/self/fd/*"),
        ("/proc/7/task/8/stat", "/proc/self/task/*/stat"),
        ("/proc/uptime", "/proc/uptime"),
        ("/dev/pts/4", "/dev/pts/*"),
        ("/home/proc/7", "/home/proc/7"),
    ],
)
def test_a_path_is_made_general(path, what):
    assert general(path, 7) == what


# -- addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack("<H", socket.AF_INET) + struct.pack(">H4B", 80, 127, 0, 0, 1) + bytes(8), "127.0.0.1:80"),
        (struct.pack("<H", socket.AF_INET6) + struct.pack(">HI", 53, 0) + bytes(15) + b"\1" + bytes(4), "[::1]:53"),
        (
            struct.pack("<H", socket.AF_INET6) + struct.pack(">HI", 53, 0) + bytes(10) + b"\xff\xff\x7f\0\0\1" + bytes(4),
            "127.0.0.1:53",
        ),
        (struct.pack("<H", socket.AF_UNIX) + b"/run/x\0rest", "unix:/run/x"),
        (struct.pack("<H", socket.AF_UNIX) + b"\0name", "unix:@name"),
        (struct.pack("<H", socket.AF_UNIX), None),
        (struct.pack("<H", socket.AF_INET) + b"\0", None),
        (struct.pack("<H", socket.AF_NETLINK) + bytes(10), None),
        (b"", None),
    ],
)
def test_an_address_is_written_as_people_write_it(data, text):
    assert address_text(data) == text


# -- the judge --------------------------------------------------------------------------------------


def test_a_call_that_is_not_listed_is_not_allowed(policy):
    assert policy.allows_call("read")
    assert not policy.allows_call("write")
    assert policy.errno == 1


def test_a_path_is_allowed_for_what_it_is_listed(policy):
    assert policy.allows_read("/etc/hosts")
    assert not policy.allows_write("/etc/hosts")
    assert not policy.allows_execute("/etc/hosts")
    assert policy.allows_write("/var/log/one")
    assert not policy.allows_read("/var/log/one")
    assert policy.allows_execute("/bin/sh")


def test_two_stars_at_the_end_are_the_directory_and_everything_below(policy):
    assert policy.allows_read("/usr")
    assert policy.allows_read("/usr/lib/a/b\n c")
    assert not policy.allows_read("/usrlocal")
    assert Policy({**DOCUMENT, "files": {"read": ["/**"]}}).allows_read("/")


def test_a_star_is_one_component(policy):
    assert policy.allows_read("/home/me/file")
    assert not policy.allows_read("/home/me/too/file")
    assert not policy.allows_read("/home/file")


def test_other_characters_of_a_pattern_are_themselves():
    policy = Policy({**DOCUMENT, "files": {"read": ["/a.b/*", "/x[1]/**"]}})
    assert policy.allows_read("/a.b/c")
    assert not policy.allows_read("/aXb/c")
    assert policy.allows_read("/x[1]/y")
    assert not policy.allows_read("/x1/y")


def test_what_is_below_a_process_is_judged_by_whose_it_is(policy):
    assert policy.allows_read("/proc/7/status", pid=7)
    assert not policy.allows_read("/proc/8/status", pid=7)
    assert policy.allows_read("/proc/8/stat", pid=7)


def test_an_address_may_have_a_star_for_its_host_or_its_port(policy):
    told = {
        address: policy.allows_connect(address)
        for address in ("127.0.0.1:80", "127.0.0.1:81", "1.2.3.4:443", "[::2]:443", "10.0.0.1:5", "[::1]:53", "[::1]:54")
    }
    assert told == {
        "127.0.0.1:80": True,
        "127.0.0.1:81": False,
        "1.2.3.4:443": True,
        "[::2]:443": True,
        "10.0.0.1:5": True,
        "[::1]:53": True,
        "[::1]:54": False,
    }


def test_a_socket_is_judged_by_its_path(policy):
    assert policy.allows_connect("unix:/run/one")
    assert policy.allows_connect("unix:/srv/a/b")
    assert policy.allows_connect("unix:@name")
    assert not policy.allows_connect("unix:@other")
    assert not policy.allows_connect("unix:/run/two")


def test_to_listen_is_not_to_connect(policy):
    assert policy.allows_listen("127.0.0.1:0")
    assert not policy.allows_connect("127.0.0.1:0")
    assert not policy.allows_listen("127.0.0.1:80")


def test_a_policy_may_allow_by_default_and_refuse_some_calls():
    seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "defaultErrnoRet": 38,
        "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}],
    }
    policy = Policy({**DOCUMENT, "seccomp": seccomp})
    assert policy.allows_call("read")
    assert not policy.allows_call("ptrace")
    assert policy.errno == 38


# -- documents that are wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("version",), 2, "version: 2 is not known, only 1"),
        (("reads",), [], "reads: not known, only command, files, network, seccomp, version"),
        (("command",), "sh", 'command: "sh" is not a list'),
        (("seccomp",), None, "seccomp: null is not an object"),
        (
            ("seccomp", "defaultAction"),
            "SCMP_ACT_KILL",
            'seccomp.defaultAction: "SCMP_ACT_KILL" is not SCMP_ACT_ALLOW or SCMP_ACT_ERRNO',
        ),
        (("seccomp", "defaultErrnoRet"), "EPERM", 'seccomp.defaultErrnoRet: "EPERM" is not an errno, 1 to 4095'),
        (("seccomp", "defaultErrnoRet"), True, "seccomp.defaultErrnoRet: true is not an errno, 1 to 4095"),
        (("seccomp", "syscalls"), {}, "seccomp.syscalls: {} is not a list"),
        (("seccomp", "syscalls", 0, "names"), ["read", 3], "seccomp.syscalls[0].names[1]: 3 is not a string"),
        (("seccomp", "syscalls", 0, "args"), [], "seccomp.syscalls[0].args: not known, only action, names"),
        (("files", "reed"), [], "files.reed: not known, only execute, read, write"),
        (("files", "read", 1), "etc/passwd", 'files.read[1]: "etc/passwd" is not an absolute path'),
        (("files", "read", 1), "/etc//passwd", 'files.read[1]: "/etc//passwd" has an empty component'),
        (("files", "read", 1), "/etc/", 'files.read[1]: "/etc/" has an empty component'),
        (("files", "write", 0), "/etc/../passwd", 'files.write[0]: "/etc/../passwd" has a component . or ..'),
        (("files", "write", 0), "/a/**/b", 'files.write[0]: "/a/**/b" has ** elsewhere than at the end'),
        (("network", "connect", 0), "example", 'network.connect[0]: "example" is not HOST:PORT, [HOST]:PORT or unix:PATH'),
        (("network", "connect", 0), "example.org:80", 'network.connect[0]: "example.org:80" has no numeric address'),
        (("network", "connect", 0), "127.0.0.1:http", 'network.connect[0]: "127.0.0.1:http" has no port, 0 to 65535 or *'),
        (("network", "connect", 0), "127.0.0.1:70000", 'network.connect[0]: "127.0.0.1:70000" has no port, 0 to 65535 or *'),
        (("network", "connect", 0), "unix:run/x", 'network.connect[0]: "unix:run/x" is not an absolute path'),
    ],
)
def test_a_wrong_document_is_named_by_field_and_value(where, value, said):
    document = copy.deepcopy(DOCUMENT)
    place = document
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    with pytest.raises(PolicyError) as caught:
        Policy(document)
    assert str(caught.value) == said


@pytest.mark.parametrize("field", ["version", "seccomp", "files", "network"])
def test_no_section_may_be_missing(field):
    with pytest.raises(PolicyError, match=f"^{field}: missing$"):
        Policy({key: value for key, value in DOCUMENT.items() if key != field})


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, text: str):
    file = tmp_path / "policy.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(PolicyError, match=f"^{file}: (not JSON|nested too deeply)"):
        Policy.load(str(file))


def test_a_path_that_is_not_utf_8_goes_through_the_document(tmp_path: Path):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({**DOCUMENT, "files": {"read": [os.fsdecode(b"/a\xff")]}}))
    assert Policy.load(str(file)).allows_read(os.fsdecode(b"/a\xff"))
