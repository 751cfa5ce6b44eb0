"""/proc as a guest finds it: its own processes under its own numbers, nothing of the host's."""

from __future__ import annotations

import errno
import os
import signal
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
from vfs.sysfs import SysFs

ME = os.getpid()


@pytest.fixture
def call(tmp_path):
    """init is this very process, whose descriptors are the guest's."""
    with Guest(tmp_path / "root") as guest:
        for name in ("proc", "sys", "dev", "bin", "tmp"):
            (guest.root / name).mkdir()
        (guest.root / "bin/program").write_text("program")
        guest.mount(ProcFs(ProcView(guest.sandbox)), "proc")
        guest.mount(SysFs(), "sys")
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
    for directory in (
        b"/proc", b"/proc/1", b"/proc/1/task/1", b"/proc/1/net", b"/proc/1/ns", b"/proc/1/attr", b"/proc/sys",
        b"/proc/sys/kernel", b"/proc/pressure", b"/dev", b"/dev/pts",
    ):  # fmt: skip
        for name, kind in listing(call, directory).items():
            if name not in (b".", b".."):
                found = walk(call, directory + b"/" + name, follow=False)
                assert found.node.mode >> 12 == kind, directory + b"/" + name


@pytest.mark.parametrize(
    "path",
    [b"/proc/2", b"/proc/%d" % os.getppid(), b"/proc/1/task/2", b"/proc/01", b"/proc/99999999999", b"/proc/-1",
     b"/proc/none",
     b"/proc/1/none", b"/proc/1/task/1/task", b"/proc/1/fd/9999", b"/proc/1/fd/x", b"/proc/1/fd/00", b"/proc/kcore",
     b"/proc/1/root/none", b"/proc/sysrq-trigger", b"/proc/keys", b"/proc/kallsyms", b"/proc/iomem", b"/proc/slabinfo",
     b"/proc/sys/kernel/core_pipe_limit", b"/proc/1/environ/x", b"/proc/1/map_files", b"/proc/1/net/none",
     b"/proc/1/attr/none", b"/proc/1/ns/none", b"/proc/1/fdinfo/9999"],
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


def test_who_asks_is_running_and_a_stop_of_the_group_is_one(call, member):
    assert call.read(b"/proc/self/stat").rpartition(b") ")[2].startswith(b"R ")
    assert status(call, b"/proc/self/status")[b"State"] == b"R (running)"
    os.kill(member.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, member.pid, os.WSTOPPED | os.WNOWAIT)
    assert status(call, b"/proc/%d/status" % member.pid)[b"State"] == b"T (stopped)"


def test_a_threads_file_is_the_threads_own(call):
    assert call("access", b"/proc/1/children", os.F_OK) == -errno.ENOENT
    assert call("access", b"/proc/1/task/1/coredump_filter", os.F_OK) == -errno.ENOENT
    fd = call.open(b"/proc/1/task/1/schedstat")
    assert os.readlink(f"/proc/self/fd/{fd}") == f"/proc/{ME}/task/{ME}/schedstat"


def test_children_are_those_inside(call, member):
    outside = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        assert call.read(b"/proc/1/task/1/children") == b"%d " % member.pid
    finally:
        outside.communicate()


def test_sched_names_the_task_by_the_guests_number(call):
    assert call.read(b"/proc/self/sched").startswith(b"%s (1, #threads: " % call.read(b"/proc/self/comm").strip())


def test_numa_maps_show_no_host_path(call):
    import sys

    if call("access", b"/proc/self/numa_maps", os.F_OK):
        pytest.skip("this kernel has none")
    text = call.read(b"/proc/self/numa_maps")
    assert b" file=/" in text
    assert os.fsencode(os.path.dirname(sys.executable)) not in text


def test_a_namespace_is_told_and_followed(call):
    told = readlink(call, b"/proc/self/ns/pid")
    out = Out(144)
    assert call("stat", b"/proc/self/ns/pid", out) == 0
    assert told == b"pid:[%d]" % int.from_bytes(out.guest[8:16], "little")


def test_fdinfo_tells_the_mount_that_mountinfo_does(call):
    fd = call.open(b"/bin/program")
    numbers = {line.split()[4]: line.split()[0] for line in call.read(b"/proc/self/mountinfo").splitlines()}
    assert b"mnt_id:\t%s\n" % numbers[b"/"] in call.read(b"/proc/self/fdinfo/%d" % fd)


def test_fdinfo_of_a_pidfd_tells_the_guests_number(call):
    fd = call.files.add(os.pidfd_open(ME))
    assert b"\nPid:\t1\n" in call.read(b"/proc/self/fdinfo/%d" % fd)


@pytest.mark.parametrize(
    "name, text",
    [(b"cgroup", b"0::/\n"), (b"setgroups", b"allow\n"), (b"cpuset", b"/\n")],
)
def test_what_is_always_the_same(call, name, text):
    assert call.read(b"/proc/self/" + name) == text


def test_mounts_are_the_guests(call, tmp_path):
    (tmp_path / "with blank").mkdir()
    call.mount(HostFs(os.fsencode(tmp_path / "with blank"), b"bind"), "mnt/a b", read_only=True)
    lines = [line.split() for line in call.read(b"/proc/mounts").splitlines()]
    assert [line[1] for line in lines] == [b"/", b"/proc", b"/sys", b"/dev", b"/mnt/a\\040b"]
    assert lines[4][3].split(b",")[0] == b"ro"
    assert all(len(line) == 6 for line in lines)


def test_a_mounts_device_is_that_of_its_files(call):
    for line in call.read(b"/proc/self/mountinfo").splitlines():
        words, out = line.split(), Out(144)
        assert call("stat", words[4], out) == 0
        dev = int.from_bytes(out.guest[:8], "little")
        assert words[2] == b"%d:%d" % (os.major(dev), os.minor(dev)), words[4]


def test_mountstats_name_each_mount(call):
    assert call.read(b"/proc/self/mountstats").splitlines()[1] == b"device proc mounted on /proc with fstype proc"


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
    for path in (b"/proc/meminfo", b"/proc/loadavg", b"/proc/sys/kernel/hostname", b"/proc/sys/vm/swappiness"):
        assert call("open", path, os.O_WRONLY) == -errno.EACCES
        assert call("access", path, os.W_OK) == -errno.EACCES


@pytest.mark.parametrize("name", [b"mem", b"pagemap", b"stack", b"syscall"])
def test_what_shows_the_kernels_side_is_there_and_refused(call, name):
    assert call("access", b"/proc/self/" + name, os.F_OK) == 0
    assert call("open", b"/proc/self/" + name, os.O_RDONLY) == -errno.EACCES


@pytest.mark.parametrize("name", [b"uid_map", b"gid_map", b"setgroups", b"attr/exec", b"sched"])
def test_writing_what_takes_a_capability_is_eperm(call, name):
    fd = call.open(b"/proc/self/" + name, os.O_WRONLY | os.O_TRUNC)
    with pytest.raises(PermissionError):
        os.write(fd, b"0")


def test_there_is_no_auditing(call):
    for name in (b"loginuid", b"sessionid"):
        assert call("open", b"/proc/self/" + name, os.O_RDWR) == -errno.ENOENT


def test_a_process_makes_itself_likelier_to_be_killed(call, member):
    path = b"/proc/%d/oom_score_adj" % member.pid
    os.write(call.open(path, os.O_WRONLY | os.O_TRUNC), b"500")
    assert call.read(path) == b"500\n"


@pytest.mark.parametrize("name", [b"environ", b"maps", b"io", b"auxv", b"fdinfo/0"])
def test_another_users_process_is_not_looked_into(call, member, name):
    call.sandbox.caller = member.tasks[member.pid]
    member.credentials.uid = member.credentials.euid = member.credentials.suid = member.credentials.fsuid = 1
    member.credentials.permitted = member.credentials.effective = 0
    assert call("open", b"/proc/1/" + name, os.O_RDONLY) in (-errno.EACCES, -errno.ENOENT)
    assert call("readlink", b"/proc/1/exe", Out(64), 64) == -errno.EACCES
    assert call("open", b"/proc/1/status", os.O_RDONLY) >= 0


def test_a_live_file_is_still_procs_when_it_comes_back_as_a_descriptor(call):
    fd = call.open(b"/proc/self/statm")
    assert readlink(call, b"/proc/self/fd/%d" % fd) == b"/proc/1/statm"
    assert call("fchmod", fd, 0o777) == -errno.EPERM
    assert call("open", b"/proc/self/fd/%d" % fd, os.O_RDWR) == -errno.EACCES


def test_the_hosts_proc_handed_in_is_no_way_to_its_processes(call):
    fd = call.files.add(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY))
    assert call("getdents64", fd, Out(512), 512) == -errno.ENOTDIR
    fd = call.files.add(os.open(f"/proc/{os.getppid()}/status", os.O_RDONLY))
    assert readlink(call, b"/proc/self/fd/%d" % fd) == b"/status"


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


def test_loadavg_counts_the_sandboxs_tasks(call, member):
    words = call.read(b"/proc/loadavg").split()
    assert words[3:] == [b"1/2", b"%d" % member.pid]


@pytest.mark.parametrize("name", [b"partitions", b"swaps", b"sysvipc/shm", b"net/route", b"net/arp"])
def test_a_table_of_what_the_sandbox_has_none_of_is_its_heading(call, name):
    lines = call.read(b"/proc/" + name).splitlines()
    assert len([line for line in lines if line]) == 1


@pytest.mark.parametrize("name", [b"modules", b"diskstats", b"net/dev_mcast", b"net/igmp6"])
def test_a_table_without_a_heading_is_empty(call, name):
    assert call.read(b"/proc/" + name) == b""


def test_the_network_is_a_loopback_that_carried_nothing(call):
    lines = call.read(b"/proc/net/dev").splitlines()
    assert len(lines) == 3
    assert lines[2].split() == [b"lo:"] + [b"0"] * 16
    assert call.read(b"/proc/net/if_inet6").split() == [b"1".zfill(32), b"01", b"80", b"10", b"80", b"lo"]
    assert [line.split()[:2] for line in call.read(b"/proc/net/ipv6_route").splitlines()] == [
        [b"0" * 32, b"00"], [b"1".zfill(32), b"80"], [b"0" * 32, b"00"]]  # fmt: skip


@pytest.mark.parametrize("name", ["route", "if_inet6", "dev_mcast"])
def test_the_hosts_network_has_the_hosts_tables(call, name):
    call.sandbox.network.on_host = True
    with open(f"/proc/net/{name}", "rb") as table:
        assert call.read(b"/proc/net/" + name.encode()) == table.read()


def test_sockets_are_those_the_sandbox_has_open(call):
    import socket
    import sys

    before = call.read(b"/proc/net/tcp").splitlines()
    with socket.create_server(("127.0.0.1", 0)) as inside:
        code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
        outside = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            other = int(outside.stdout.readline())
            lines = call.read(b"/proc/net/tcp").splitlines()
        finally:
            outside.communicate(b"\n")
        ports = {int(line.split()[1].partition(b":")[2], 16): line for line in lines[1:]}
        ours = inside.getsockname()[1]
    assert len(lines) == len(before) + 1
    assert ours in ports and other not in ports
    assert ports[ours].split()[11] == b"0" * 16, "a kernel address"


def test_locks_are_the_sandboxs(call, tmp_path):
    import fcntl

    with open(tmp_path / "locked", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        numbers = [line.split()[4] for line in call.read(b"/proc/locks").splitlines()]
    assert set(numbers) == {b"1"}


def test_all_controllers_are_in_one_hierarchy(call):
    lines = [line.split() for line in call.read(b"/proc/cgroups").splitlines()]
    assert all(line[1:3] == [b"0", b"1"] for line in lines[1:])


def test_no_namespace_can_be_made(call):
    assert call.read(b"/proc/sys/user/max_user_namespaces") == b"0\n"


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


_PARTS = st.sampled_from(
    [
        "",
        "1",
        "self",
        "fd",
        "0",
        "task",
        "sys",
        "kernel",
        "hostname",
        "..",
        "status",
        "exe",
        "pts",
        "ptmx",
        "devices",
        "cpu",
        "topology",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["int80-proc:", "int80-sys:", "int80-dev:", "int80-program"]), st.lists(_PARTS, max_size=4))
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
