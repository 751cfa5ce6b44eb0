"""From a name to the program the kernel is to run: scripts, interpreters, rights, names."""

from __future__ import annotations

import errno
import gc
import os

import pytest
from fakes import AT_FDCWD, BAD, Guest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_elf import LOAD, PT_INTERP, PT_NOTE, abi_note, build, header

from abi.dispatch import Execute
from procs import elf, execution
from vfs.namespace import OpenFile

AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = 0x1000, 0x100
PROGRAM = build(LOAD)


@pytest.fixture
def call(tmp_path):
    with Guest(tmp_path / "root") as guest:
        (guest.root / "bin").mkdir()
        put(guest, "bin/sh", PROGRAM)
        yield guest


def put(call: Guest, name: str, data: bytes, mode: int = 0o755) -> bytes:
    path = call.root / name
    path.write_bytes(data)
    path.chmod(mode)
    return b"/" + name.encode()


def plan(call: Guest, path: bytes):
    """The plan that execve of `path` comes to, or its errno."""
    result = call.result("execve", path, None, None)
    return result.plan if isinstance(result, Execute) else call.value(result)


def script(call: Guest, first: bytes, name: str = "script") -> bytes:
    return put(call, name, first)


# -- programs ---------------------------------------------------------------------------------------


def test_a_program_is_run_from_a_descriptor_of_itself(call):
    chosen = plan(call, b"/bin/sh")
    assert os.fstat(chosen.fd).st_ino == os.stat(call.root / "bin/sh").st_ino
    assert chosen.location.name() == b"/bin/sh"
    assert chosen.arguments is None
    assert chosen.abi == elf.ABI_LINUX


def test_a_plan_closes_its_descriptor(call):
    chosen = plan(call, b"/bin/sh")
    fd = chosen.fd
    del chosen
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.parametrize("first", [b"\x7fELF", b"#!/none", b"#!/bin/sh", b"", header(machine=40)])
def test_no_descriptor_is_left_whatever_the_end(call, first):
    path = put(call, "it", first)
    gc.collect()  # what earlier tests have left must not go just now
    before = len(os.listdir("/proc/self/fd"))
    plan(call, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_are_what_the_guest_said(call):
    (call.root / "link").symlink_to("bin/sh")
    call("chdir", b"/bin")
    chosen = plan(call, b"../link")
    assert chosen.name == b"../link"
    assert chosen.comm == b"link"
    assert chosen.location.name() == b"/bin/sh"


def test_a_task_name_has_at_most_15_bytes(call):
    assert plan(call, put(call, "a" * 40, PROGRAM)).comm == b"a" * 15


def test_the_interpreter_and_the_abi_of_an_elf_file_are_told(call):
    path = put(call, "dynamic", build((PT_INTERP, b"/lib/ld.so\0"), LOAD, (PT_NOTE, abi_note(1))))
    chosen = plan(call, path)
    assert chosen.interpreter == b"/lib/ld.so"
    assert chosen.abi == elf.ABI_HOST


def test_a_program_for_another_machine_is_enoexec(call):
    assert plan(call, put(call, "arm", header(machine=183, count=1))) == -errno.ENOEXEC


@pytest.mark.parametrize("data", [b"", b"\n", b"MZ", b"echo hello\n", b"\x7fEL", b"\x7fELF", b"#"])
def test_what_is_neither_elf_nor_script_is_enoexec(call, data):
    assert plan(call, put(call, "it", data)) == -errno.ENOEXEC


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o000])
def test_a_file_without_execute_permission_is_eacces(call, mode):
    assert plan(call, put(call, "it", PROGRAM, mode)) == -errno.EACCES


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket"])
def test_what_is_no_file_is_eacces(call, kind):
    if kind == "directory":
        (call.root / "it").mkdir(mode=0o755)
    else:
        os.mknod(call.root / "it", 0o755 | (0o010000 if kind == "pipe" else 0o140000))
    assert plan(call, b"/it") == -errno.EACCES


@pytest.mark.parametrize(
    "path, number",
    [(b"/none", errno.ENOENT), (b"", errno.ENOENT), (b"/bin/sh/x", errno.ENOTDIR), (BAD, errno.EFAULT),
     (b"/" + b"a" * 256, errno.ENAMETOOLONG)],
)  # fmt: skip
def test_a_name_that_leads_nowhere_has_its_errno(call, path, number):
    assert plan(call, path) == -number


# -- scripts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, words",
    [
        (b"#!/bin/sh\n", [b"/bin/sh"]),
        (b"#!/bin/sh", [b"/bin/sh"]),
        (b"#! \t /bin/sh \t\n", [b"/bin/sh"]),
        (b"#!/bin/sh -e\n", [b"/bin/sh", b"-e"]),
        (b"#!/bin/sh -e -x  -u \n", [b"/bin/sh", b"-e -x  -u"]),
        (b"#!/bin/sh\t-e\n", [b"/bin/sh", b"-e"]),
        (b"#!/bin/sh -e\0more\n", [b"/bin/sh", b"-e"]),
        (b"#!/bin/sh \xff\xfe\n", [b"/bin/sh", b"\xff\xfe"]),
        (b"#!/bin/sh -a\r\n", [b"/bin/sh", b"-a\r"]),
    ],
    ids=repr,
)
def test_a_script_line_is_interpreter_and_one_argument(call, line, words):
    path = script(call, line)
    chosen = plan(call, path)
    assert chosen.arguments == [*words, path]
    assert chosen.location.name() == b"/bin/sh"


def test_only_blanks_and_tabs_part_the_words_of_a_script_line(call):
    put(call, "bin/s\vh", PROGRAM)
    assert plan(call, script(call, b"#!/bin/s\vh\n")).arguments[0] == b"/bin/s\vh"


def test_a_carriage_return_belongs_to_the_interpreters_name(call):
    put(call, "bin/sh\r", PROGRAM)
    assert plan(call, script(call, b"#!/bin/sh\r\n")).arguments[0] == b"/bin/sh\r"


def test_a_script_keeps_the_name_it_was_called_by(call):
    path = script(call, b"#!/bin/sh\n")
    chosen = plan(call, path)
    assert chosen.name == path
    assert chosen.comm == b"script"


@pytest.mark.parametrize("line", [b"#!", b"#!\n", b"#!   \n", b"#! \t", b"#!\0/bin/sh\n"], ids=repr)
def test_a_script_line_without_interpreter_is_enoexec(call, line):
    assert plan(call, script(call, line)) == -errno.ENOEXEC


def test_a_long_argument_is_cut_where_the_kernel_cuts_it(call):
    chosen = plan(call, script(call, b"#!/bin/sh " + b"a" * 300 + b"\n"))
    assert chosen.arguments[1] == b"a" * (255 - len(b"#!/bin/sh "))


def test_an_interpreter_whose_name_may_be_cut_off_is_enoexec(call):
    assert plan(call, script(call, b"#!/" + b"a" * 300 + b"\n")) == -errno.ENOEXEC


def test_a_missing_interpreter_is_enoent(call):
    assert plan(call, script(call, b"#!/bin/none\n")) == -errno.ENOENT


def test_an_interpreter_that_may_not_be_executed_is_eacces(call):
    put(call, "plain", PROGRAM, 0o644)
    assert plan(call, script(call, b"#!/plain\n")) == -errno.EACCES


def test_an_interpreter_is_looked_up_from_the_working_directory(call):
    path = script(call, b"#!sh\n")
    assert plan(call, path) == -errno.ENOENT
    call("chdir", b"/bin")
    assert plan(call, path).arguments == [b"sh", path]


def test_an_interpreter_is_looked_up_in_the_guests_root(call):
    path = script(call, b"#!/proc/self/exe\n")  # which the host has
    assert plan(call, path) == -errno.ENOENT


def test_a_script_may_be_the_interpreter_of_another(call):
    inner = script(call, b"#!/bin/sh -i\n", "inner")
    outer = script(call, b"#!/inner -o\n", "outer")
    assert plan(call, outer).arguments == [b"/bin/sh", b"-i", inner, b"-o", outer]


def test_a_chain_ends_where_the_kernel_ends_it(call):
    previous = b"/bin/sh"
    results = []
    for number in range(7):
        previous = script(call, b"#!" + previous + b"\n", f"s{number}")
        result = plan(call, previous)
        results.append(result if isinstance(result, int) else len(result.arguments))
    assert results == native_chain(call.root)


def native_chain(place) -> list[int]:
    """What the host's kernel does with chains of 1, 2, ... 7 scripts."""
    import subprocess

    previous = "/bin/true"
    found = []
    for number in range(7):
        path = place / f"native{number}"
        path.write_text(f"#!{previous}\n")
        path.chmod(0o755)
        previous = str(path)
        try:
            subprocess.run([previous], check=True)
            found.append(number + 2)
        except OSError as failure:
            found.append(-failure.errno)
    return found


def test_a_script_that_interprets_itself_is_eloop(call):
    assert plan(call, script(call, b"#!/script\n")) == -errno.ELOOP


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_script_line_only_fails_with_an_errno(tmp_path_factory, rest):
    with Guest(tmp_path_factory.mktemp("any")) as call:
        result = plan(call, put(call, "it", b"#!" + rest))
        assert not isinstance(result, int) or result < 0


# -- execveat ---------------------------------------------------------------------------------------


def planned_at(call: Guest, *args):
    result = call.result("execveat", args[0], args[1], None, None, args[2])
    return result.plan if isinstance(result, Execute) else call.value(result)


def test_execveat_starts_at_the_dirfd_and_names_it(call):
    dirfd = call.open(b"/bin", os.O_PATH)
    chosen = planned_at(call, dirfd, b"sh", 0)
    assert chosen.name == b"/dev/fd/%d/sh" % dirfd
    assert chosen.location.name() == b"/bin/sh"


@pytest.mark.parametrize("dirfd, path", [(AT_FDCWD, b"bin/sh"), (999, b"/bin/sh")])
def test_execveat_keeps_a_name_that_needs_no_dirfd(call, dirfd, path):
    assert planned_at(call, dirfd, path, 0).name == path


def test_execveat_runs_an_open_file(call):
    fd = call.open(b"/bin/sh", os.O_PATH)
    chosen = planned_at(call, fd, b"", AT_EMPTY_PATH)
    assert chosen.name == b"/dev/fd/%d" % fd
    assert chosen.location.name() == b"/bin/sh"


def test_execveat_runs_a_file_without_a_name(call):
    fd = os.memfd_create("program", os.MFD_CLOEXEC)
    os.write(fd, PROGRAM)
    os.fchmod(fd, 0o755)
    chosen = planned_at(call, call.files.add(fd), b"", AT_EMPTY_PATH)
    assert chosen.location is None
    assert os.pread(chosen.fd, 4, 0) == b"\x7fELF"


@pytest.mark.parametrize(
    "args, number",
    [
        ((AT_FDCWD, b"", 0), errno.ENOENT), ((999, b"", AT_EMPTY_PATH), errno.EBADF), ((999, b"sh", 0), errno.EBADF),
        ((AT_FDCWD, b"/bin/sh", 1), errno.EINVAL), ((AT_FDCWD, b"/bin", 0), errno.EACCES),
        ((AT_FDCWD, BAD, 0), errno.EFAULT), ((AT_FDCWD, b"/link", AT_SYMLINK_NOFOLLOW), errno.ELOOP),
        ((AT_FDCWD, b"", AT_EMPTY_PATH), errno.EACCES),
    ],
)  # fmt: skip
def test_execveat_fails_with_the_kernels_errno(call, args, number):
    (call.root / "link").symlink_to("bin/sh")
    assert planned_at(call, *args) == -number


def test_a_plan_can_be_made_of_an_open_file(call):
    target = OpenFile(os.open(call.root / "bin/sh", os.O_PATH | os.O_CLOEXEC))
    assert execution.plan(call.namespace, call.process.fs, target, b"x").location is None
