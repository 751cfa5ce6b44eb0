"""/proc and /dev as a guest finds them: its own processes under its own numbers, nothing of the host's."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import subprocess

import pytest
from fakes import AT_FDCWD, Guest, Out
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abi.errors import Kind, SysError
from abi.procview import ProcView
from procs.tree import Task
from tracer.files import GuestFiles
from vfs.devfs import DevFs
from vfs.hostfs import HostFs
from vfs.namespace import Location
from vfs.procfs import ProcFs

ME = os.getpid()


@pytest.fixture
def call(tmp_path):
    """init is this very process, whose descriptors are the guest's."""
    with Guest(tmp_path / "root") as guest:
        for name in ("proc", "dev", "bin", "tmp"):
            (guest.root / name).mkdir()
        (guest.root / "bin/program").write_text("program")
        guest.mount(ProcFs(ProcView(guest.sandbox)), "proc")
        guest.mount(DevFs(), "dev")
        guest.process.exe = walk(guest, b"/bin/program")
        yield guest


@pytest.fixture
def member(call):
    """Another process of the sandbox."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
    yield call.join(process.pid)
    process.kill()
    process.communicate()


def walk(call: Guest, path: bytes, follow: bool = True):
    return call.namespace.walk(call.process.fs, call.process.fs.cwd, path, follow)


def readlink(call: Guest, path: bytes) -> bytes:
    out = Out(256)
    size = call("readlink", path, out, 256)
    assert size >= 0, os.strerror(-size)
    return out.guest[:size]


def listing(call: Guest, path: bytes) -> dict[bytes, int]:
    """name -> d_type of a directory, in small portions."""
    fd, found = call.open(path, os.O_DIRECTORY), {}
    while size := call("getdents64", fd, out := Out(300), 300):
        assert size > 0, os.strerror(-size)
        position = 0
        while position < size:
            length, kind = struct.unpack_from("<HB", out.guest, position + 16)
            found[out.guest[position + 19 : position + length].split(b"\0")[0]] = kind
            position += length
    return found


def status(call: Guest, path: bytes) -> dict[bytes, bytes]:
    lines = call.read(path).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(b":") for line in lines)}


# -- who is there -----------------------------------------------------------------------------------


def test_members_are_listed_by_the_guests_numbers(call, member):
    names = listing(call, b"/proc")
    assert {int(name) for name in names if name.isdigit()} == {1, member.pid}


def test_what_a_directory_lists_is_there(call):
    for directory in (b"/proc", b"/proc/1", b"/proc/1/task/1", b"/proc/sys", b"/proc/sys/kernel", b"/dev", b"/dev/pts"):
        for name, kind in listing(call, directory).items():
            if name not in (b".", b".."):
                found = walk(call, directory + b"/" + name, follow=False)
                assert found.node.mode >> 12 == kind, directory + b"/" + name


@pytest.mark.parametrize(
    "path",
    [b"/proc/2", b"/proc/%d" % os.getppid(), b"/proc/1/task/2", b"/proc/01", b"/proc/99999999999", b"/proc/-1",
     b"/proc/none",
     b"/proc/1/none", b"/proc/1/task/1/task", b"/proc/1/fd/9999", b"/proc/1/fd/x", b"/proc/1/fd/00", b"/proc/kcore",
     b"/proc/1/mem", b"/proc/1/root/none", b"/proc/sysrq-trigger", b"/proc/keys", b"/proc/sys/kernel/core_pattern",
     b"/proc/1/environ/x", b"/proc/1/map_files", b"/proc/1/pagemap", b"/proc/1/stack", b"/proc/1/syscall"],
)  # fmt: skip
def test_what_is_the_hosts_alone_does_not_exist(call, path):
    assert call("access", path, os.F_OK) in (-errno.ENOENT, -errno.ENOTDIR)


def test_a_thread_is_found_below_its_process(call, member):
    call.tree.add(Task(4242, member))
    assert set(listing(call, b"/proc/%d/task" % member.pid)) == {b".", b"..", b"%d" % member.pid, b"4242"}
    assert call("access", b"/proc/1/task/%d" % member.pid, os.F_OK) == -errno.ENOENT


def test_a_process_that_ended_is_gone(call):
    child = subprocess.Popen(["true"])
    call.join(child.pid)
    fd = call.open(b"/proc/%d" % child.pid)
    child.wait()
    call.tree.remove(child.pid)
    assert call("access", b"/proc/%d" % child.pid, os.F_OK) == -errno.ENOENT
    assert call("openat", fd, b"stat", 0) in (-errno.ENOENT, -errno.ESRCH, -errno.ENOTDIR)


def test_a_member_whose_host_process_is_gone_already_is_an_errno(call):
    child = subprocess.Popen(["true"])
    call.join(child.pid)
    child.wait()
    for name in (b"stat", b"status", b"maps", b"cmdline", b"fd", b"statm"):
        result = call("open", b"/proc/%d/%s" % (child.pid, name), os.O_RDONLY)
        assert result >= 0 or result in (-errno.ENOENT, -errno.ESRCH)


# -- links ------------------------------------------------------------------------------------------


def test_self_is_who_asks(call, member):
    assert readlink(call, b"/proc/self") == b"1"
    call.sandbox.caller = member.tasks[member.pid]
    assert readlink(call, b"/proc/self") == b"%d" % member.pid
    assert readlink(call, b"/proc/thread-self") == b"%d/task/%d" % (member.pid, member.pid)


@pytest.mark.parametrize("name, target", [(b"exe", b"/bin/program"), (b"cwd", b"/tmp"), (b"root", b"/")])
def test_the_links_of_a_process_are_the_guests_paths(call, name, target):
    call("chdir", b"/tmp")
    assert readlink(call, b"/proc/self/" + name) == target
    assert walk(call, b"/proc/self/" + name).name() == target


def test_following_exe_opens_the_program(call):
    assert call.read(b"/proc/self/exe") == b"program"


def test_following_root_stays_in_the_guest(call):
    assert walk(call, b"/proc/self/root/../../bin").name() == b"/bin"
    assert walk(call, b"/proc/1/root/proc/self/root").name() == b"/"


def test_a_working_directory_that_was_removed_is_told_as_deleted(call):
    (call.root / "gone").mkdir()
    call("chdir", b"/gone")
    (call.root / "gone").rmdir()
    assert readlink(call, b"/proc/self/cwd") == b"/gone (deleted)"


def test_a_working_directory_that_was_renamed_is_told_by_its_new_name(call):
    call("chdir", b"/tmp")
    call("rename", b"/tmp", b"/new")
    assert readlink(call, b"/proc/self/cwd") == b"/new"


def test_a_descriptor_of_the_tree_is_told_by_the_guests_path(call):
    fd = call.open(b"/bin/program")
    assert readlink(call, b"/proc/self/fd/%d" % fd) == b"/bin/program"


def test_a_descriptor_of_the_hosts_shows_no_host_path(call, tmp_path):
    (tmp_path / "secret").write_text("")
    fd = call.files.add(os.open(tmp_path / "secret", os.O_RDONLY))
    assert readlink(call, b"/proc/self/fd/%d" % fd) == b"/secret"


def test_a_descriptor_of_the_hosts_read_only_is_not_opened_for_writing(call, tmp_path):
    (tmp_path / "secret").write_text("kept")
    fd = call.files.add(os.open(tmp_path / "secret", os.O_RDONLY))
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC):
        assert call("open", b"/proc/self/fd/%d" % fd, flags) == -errno.EACCES, oct(flags)
    assert (tmp_path / "secret").read_text() == "kept"


def test_a_file_of_the_hosts_read_only_does_not_become_writable_by_a_name(call, tmp_path):
    (tmp_path / "secret").write_text("kept")
    fd = call.files.add(os.open(tmp_path / "secret", os.O_RDONLY))
    call("linkat", fd, b"", AT_FDCWD, b"/tmp/one", 0x1000)
    call("linkat", AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, b"/tmp/two", 0x400)
    for name in (b"/tmp/one", b"/tmp/two"):
        assert call("open", name, os.O_RDWR | os.O_TRUNC) < 0
    assert (tmp_path / "secret").read_text() == "kept"


@pytest.mark.parametrize(
    "name, args",
    [("truncate", (0,)), ("chmod", (0o777,)), ("utimes", (bytearray(32),)), ("setxattr", (b"user.a", bytearray(b"b"),
     1, 0))],
)  # fmt: skip
def test_a_file_of_the_hosts_read_only_is_not_changed_through_its_link(call, tmp_path, name, args):
    secret = tmp_path / "secret"
    secret.write_text("kept")
    before = secret.stat()
    fd = call.files.add(os.open(secret, os.O_RDONLY))
    assert call(name, b"/proc/self/fd/%d" % fd, *args) < 0
    after = secret.stat()
    assert (after.st_size, after.st_mode, after.st_mtime_ns) == (before.st_size, before.st_mode, before.st_mtime_ns)


def test_a_directory_of_the_hosts_is_no_way_out(call, tmp_path):
    fd = call.files.add(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    assert call("open", b"/proc/self/fd/%d/root" % fd, 0) == -errno.ENOTDIR
    assert call("openat", fd, b"root", 0) == -errno.ENOTDIR
    assert call("fchdir", fd) == -errno.ENOTDIR


def test_a_pipe_is_told_and_opened_by_its_descriptor(call):
    reader, writer = os.pipe()
    call.files.add(reader), call.files.add(writer)
    assert readlink(call, b"/proc/self/fd/%d" % reader).startswith(b"pipe:[")
    again = call.open(b"/proc/self/fd/%d" % writer, os.O_WRONLY)
    os.write(again, b"through")
    assert os.read(reader, 16) == b"through"
    assert os.get_blocking(again)


def test_a_socket_cannot_be_opened_by_its_descriptor(call):
    import socket

    one, two = socket.socketpair()
    fd = call.files.add(one.detach())
    two.close()
    assert call("open", b"/proc/self/fd/%d" % fd, os.O_RDWR) == -errno.ENXIO


def test_a_descriptor_shows_in_its_link_what_it_may_do(call):
    fd = call.open(b"/bin/program", os.O_RDONLY)
    out = Out(144)
    assert call("lstat", b"/proc/self/fd/%d" % fd, out) == 0
    assert int.from_bytes(out.guest[24:28], "little") == stat.S_IFLNK | 0o500


def test_fdinfo_tells_the_offset(call):
    fd = call.open(b"/bin/program")
    os.lseek(fd, 3, os.SEEK_SET)
    assert b"pos:\t3\n" in call.read(b"/proc/self/fdinfo/%d" % fd)


def test_fd_lists_the_callers_descriptors(call):
    fd = call.open(b"/bin/program")
    assert b"%d" % fd in listing(call, b"/proc/self/fd")


# -- files of a process -----------------------------------------------------------------------------


def test_stat_tells_the_guests_numbers(call):
    call.task.comm = b"a) (b"
    text = call.read(b"/proc/1/stat")
    head, _, rest = text.rpartition(b") ")
    assert head == b"1 (a) (b"
    fields = rest.split()
    assert len(fields) == 50
    assert fields[1] == b"0", "the parent is outside"


def test_status_tells_the_guests_numbers_and_rights(call):
    told = status(call, b"/proc/self/status")
    assert told[b"Pid"] == told[b"Tgid"] == told[b"NSpid"] == b"1"
    assert told[b"PPid"] == b"0"
    assert told[b"TracerPid"] == b"0"
    assert told[b"Uid"] == b"0\t0\t0\t0"
    assert told[b"Umask"] == b"0022"
    assert told[b"Seccomp"] == b"0"


def test_status_follows_the_credentials(call):
    call("setgroups", 2, bytearray(struct.pack("<2I", 7, 8)))
    call("setresuid", 1, 2, 3)
    told = status(call, b"/proc/self/status")
    assert told[b"Uid"] == b"1\t2\t3\t2"
    assert told[b"Groups"] == b"7 8"
    assert told[b"CapEff"] == b"0" * 16


def test_no_line_of_status_names_the_host_process(call):
    import re

    assert re.search(rb"\b%d\b" % ME, call.read(b"/proc/self/status")) is None


def test_comm_is_what_was_set(call):
    call("prctl", 15, b"renamed")
    assert call.read(b"/proc/self/comm") == b"renamed\n"


def test_maps_show_no_host_path(call):
    import sys

    text = call.read(b"/proc/self/maps")
    assert os.fsencode(os.path.dirname(sys.executable)) not in text
    assert b"[stack]" in text
    assert all(len(line.split(None, 5)) >= 5 for line in text.splitlines())


def test_maps_name_files_of_the_tree_by_the_guests_path(call):
    import mmap

    with open(call.root / "bin/program", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        text = call.read(b"/proc/self/maps")
    assert any(line.endswith(b" /bin/program") for line in text.splitlines())


@pytest.mark.parametrize("name", [b"cmdline", b"statm", b"limits", b"io"])
def test_figures_of_a_process_are_the_hosts_own(call, name):
    fd = call.open(b"/proc/self/" + name)
    assert os.readlink(f"/proc/self/fd/{fd}") == f"/proc/{ME}/{name.decode()}"


@pytest.mark.parametrize("name, text", [(b"cgroup", b"0::/\n"), (b"setgroups", b"allow\n")])
def test_what_is_always_the_same(call, name, text):
    assert call.read(b"/proc/self/" + name) == text


def test_mounts_are_the_guests(call, tmp_path):
    (tmp_path / "with blank").mkdir()
    call.mount(HostFs(os.fsencode(tmp_path / "with blank"), b"bind"), "mnt/a b", read_only=True)
    lines = [line.split() for line in call.read(b"/proc/mounts").splitlines()]
    assert [line[1] for line in lines] == [b"/", b"/proc", b"/dev", b"/mnt/a\\040b"]
    assert lines[3][3].split(b",")[0] == b"ro"
    assert all(len(line) == 6 for line in lines)


def test_mountinfo_is_a_tree(call):
    lines = [line.split() for line in call.read(b"/proc/self/mountinfo").splitlines()]
    numbers = {line[0] for line in lines}
    assert len(numbers) == len(lines)
    assert all(line[1] in numbers and b"-" in line for line in lines)


def test_a_told_file_cannot_be_written(call):
    for name in (b"status", b"maps", b"stat"):
        assert call("open", b"/proc/self/" + name, os.O_RDWR) == -errno.EACCES
    fd = call.open(b"/proc/self/status")
    with pytest.raises(OSError):
        os.write(fd, b"x")


def test_nobody_writes_the_hosts_figures(call):
    for path in (b"/proc/meminfo", b"/proc/self/oom_score_adj", b"/proc/sys/kernel/hostname"):
        assert call("open", path, os.O_WRONLY) == -errno.EACCES


# -- general files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"meminfo", b"uptime", b"loadavg", b"cpuinfo", b"version", b"stat"])
def test_general_figures_can_be_read(call, name):
    assert call.read(b"/proc/" + name)


def test_the_name_of_the_machine_is_the_sandboxs(call):
    assert call.read(b"/proc/sys/kernel/hostname") == b"int80\n"
    call("sethostname", b"box", 3)
    assert call.read(b"/proc/sys/kernel/hostname") == b"box\n"


def test_the_kernels_release_is_the_hosts(call):
    assert call.read(b"/proc/sys/kernel/osrelease").decode() == os.uname().release + "\n"


def test_the_kernels_command_line_is_not_the_hosts(call):
    assert call.read(b"/proc/cmdline") == b"int80\n"


# -- as a file system -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, args",
    [("mkdir", (b"/proc/new", 0o755)), ("open", (b"/proc/new", os.O_CREAT | os.O_WRONLY, 0o644)), ("unlink",
     (b"/proc/self",)),
     ("rmdir", (b"/proc/1",)), ("rename", (b"/proc/self", b"/proc/other")), ("symlink", (b"x", b"/proc/new")),
     ("chmod", (b"/proc/1", 0o777)), ("setxattr", (b"/proc/1", b"user.a", bytearray(b"b"), 1, 0))],
)  # fmt: skip
def test_nothing_is_changed_in_proc(call, name, args):
    assert call(name, *args) in (-errno.EPERM, -errno.EACCES, -errno.EOPNOTSUPP, -errno.ENOENT)


def test_the_file_system_says_what_it_is(call):
    out = Out(120)
    assert call("statfs", b"/proc/self", out) == 0
    assert int.from_bytes(out.guest[:8], "little") == 0x9FA0
    fd = call.open(b"/proc/self/status")
    assert call("fstatfs", fd, out) == 0
    assert int.from_bytes(out.guest[:8], "little") == 0x9FA0


def test_a_descriptor_has_the_status_of_its_path(call):
    by_path, by_fd = Out(144), Out(144)
    for path in (b"/proc/self/status", b"/proc/self", b"/proc/sys/kernel/hostname"):
        assert call("stat", path, by_path) == 0
        assert call("fstat", call.open(path), by_fd) == 0
        assert by_path.guest == by_fd.guest, path


def test_an_inode_number_is_the_same_in_a_listing_and_in_the_status(call):
    fd, out = call.open(b"/proc/sys"), Out(512)
    size = call("getdents64", fd, out, 512)
    position = 0
    while position < size:
        inode, _, length, _ = struct.unpack_from("<QqHB", out.guest, position)
        name = out.guest[position + 19 : position + length].split(b"\0")[0]
        if name not in (b".", b".."):
            told = Out(144)
            call("stat", b"/proc/sys/" + name, told)
            assert int.from_bytes(told.guest[8:16], "little") == inode
        position += length


def test_a_walk_can_start_at_a_descriptor_in_proc(call):
    fd = call.open(b"/proc/sys/kernel", os.O_DIRECTORY)
    assert call("openat", fd, b"hostname", 0) >= 0
    assert call("openat", fd, b"../../self/status", 0) >= 0
    assert call("fchdir", fd) == 0
    out = Out(64)
    call("getcwd", out, 64)
    assert out.guest.startswith(b"/proc/sys/kernel\0")


def test_a_made_up_directory_lists_again_after_a_rewind(call):
    fd = call.open(b"/proc/sys", os.O_DIRECTORY)
    first = call("getdents64", fd, Out(512), 512)
    assert call("getdents64", fd, Out(512), 512) == 0
    os.lseek(fd, 0, os.SEEK_SET)
    assert call("getdents64", fd, Out(512), 512) == first


def test_a_made_up_directory_fails_as_a_real_one(call):
    fd = call.open(b"/proc/sys", os.O_DIRECTORY)
    assert call("getdents64", fd, Out(8), 8) == -errno.EINVAL
    assert call("open", b"/proc/sys", os.O_RDWR) == -errno.EISDIR
    assert call("open", b"/proc/self", os.O_NOFOLLOW) == -errno.ELOOP
    assert call("getdents64", call.open(b"/proc/self/status"), Out(512), 512) == -errno.ENOTDIR
    assert call("open", b"/proc/self/status", os.O_DIRECTORY) == -errno.ENOTDIR


def test_a_link_jumps_to_a_location_not_to_a_name(call):
    fd = call.open(b"/bin/program")
    call("rename", b"/bin/program", b"/bin/renamed")
    (call.root / "bin/program").write_text("another")
    assert call.read(b"/proc/self/fd/%d" % fd) == b"program"
    assert isinstance(walk(call, b"/proc/self/fd/%d" % fd), Location)


def test_an_unlinked_file_is_reached_through_its_descriptor(call):
    fd = call.open(b"/bin/program")
    call("unlink", b"/bin/program")
    assert call.read(b"/proc/self/fd/%d" % fd) == b"program"


_PARTS = st.sampled_from(["", "1", "self", "fd", "0", "task", "sys", "kernel", "hostname", "..", "status", "exe", "pts", "ptmx"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["int80-proc:", "int80-dev:", "int80-program"]), st.lists(_PARTS, max_size=4))
def test_a_guests_own_memory_file_may_have_any_name(call, tag, parts):
    """What it looks like then is its own affair, but no call on it breaks and none leads out."""
    fd = call.files.add(os.memfd_create(tag + "/".join(parts), os.MFD_CLOEXEC))
    path = b"/proc/self/fd/%d" % fd
    call("fstat", fd, Out(144))
    call("fchmod", fd, 0o600)
    call("getdents64", fd, Out(512), 512)
    call("stat", path, Out(144))
    call("readlink", path, Out(64), 64)
    call("openat", fd, b"..", 0)
    call("open", path, os.O_RDWR)
    call("fstatfs", fd, Out(120))
    call("fchdir", fd)
    call("getcwd", Out(256), 256)
    call("chdir", b"/")


# -- descriptors of another process -----------------------------------------------------------------


def test_a_copy_of_another_processs_descriptor_is_the_same_file():
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer):
        copy = GuestFiles(ME, None).get(writer)
        os.write(copy, b"x")
        os.close(copy)
        assert os.read(reader, 1) == b"x"


@pytest.mark.parametrize("fd", [-1, 99999, 1 << 31, 1 << 32, (1 << 32) + 1])
def test_a_number_that_is_no_descriptor_is_ebadf(fd):
    with pytest.raises((OSError, SysError)) as caught:
        GuestFiles(ME, None).check(fd)
    assert getattr(caught.value, "errno", None) == errno.EBADF or caught.value.kind is Kind.EBADF


# -- /dev -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, data", [(b"null", b""), (b"zero", bytes(4))])
def test_the_safe_devices_are_there(call, name, data):
    fd = call.open(b"/dev/" + name, os.O_RDWR)
    assert os.read(fd, 4) == data
    assert os.write(fd, b"x") == 1


@pytest.mark.parametrize("name", [b"full", b"random", b"urandom"])
def test_a_devices_status_is_the_hosts(call, name):
    out = Out(144)
    assert call("stat", b"/dev/" + name, out) == 0
    assert int.from_bytes(out.guest[40:48], "little") == os.stat(b"/dev/" + name).st_rdev


@pytest.mark.parametrize("name", [b"mem", b"kmsg", b"sda", b"vda", b"console", b"kvm", b"fuse", b"pts/0", b"tty1", b"loop0"])
def test_no_other_device_is_there(call, name):
    assert call("access", b"/dev/" + name, os.F_OK) == -errno.ENOENT


def test_devices_cannot_be_made_or_removed(call):
    assert call("unlink", b"/dev/null") == -errno.EPERM
    assert call("mknod", b"/dev/mem", 0o020666, 0x101) == -errno.EPERM


def test_a_device_node_in_the_tree_of_the_host_is_not_opened(call):
    if os.geteuid() != 0:
        pytest.skip("an ordinary user has no such tree")
    os.mknod(call.root / "device", 0o020666, os.makedev(1, 3))
    assert call("open", b"/device", os.O_RDWR) == -errno.EACCES


@pytest.mark.parametrize("name, target", [(b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"), (b"ptmx", b"pts/ptmx")])
def test_the_usual_links_are_there(call, name, target):
    assert readlink(call, b"/dev/" + name) == target


@pytest.fixture
def terminals():
    if not os.path.exists("/dev/ptmx") or not os.access("/dev/ptmx", os.R_OK | os.W_OK):
        pytest.skip("no pseudo-terminals here")


def test_a_terminal_the_guest_makes_gets_a_name(call, terminals):
    master = call.open(b"/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    number = int.from_bytes(fcntl.ioctl(master, 0x80045430, bytes(4)), "little")
    fcntl.ioctl(master, 0x40045431, bytes(4))  # unlock
    path = b"/dev/pts/%d" % number
    assert b"%d" % number in listing(call, b"/dev/pts")
    slave = call.open(path, os.O_RDWR | os.O_NOCTTY)
    assert os.isatty(slave)
    assert readlink(call, b"/proc/self/fd/%d" % slave) == path
    assert call("chmod", path, 0o620) == 0


def test_a_terminal_that_was_handed_in_has_its_name(tmp_path, terminals):
    master, slave = os.openpty()
    try:
        with Guest(tmp_path / "root") as call:
            (call.root / "dev").mkdir()
            call.mount(DevFs((slave,)), "dev")
            name = os.fsencode(os.ttyname(slave))
            assert call("access", name, os.F_OK) == 0
            assert os.isatty(call.open(name, os.O_RDWR | os.O_NOCTTY))
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_of_somebody_elses_has_no_name(call, terminals):
    master, slave = os.openpty()
    try:
        assert call("access", os.fsencode(os.ttyname(slave)), os.F_OK) == -errno.ENOENT
    finally:
        os.close(master)
        os.close(slave)
