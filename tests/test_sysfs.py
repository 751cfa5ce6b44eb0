"""/sys as a guest finds it: processors, nodes and page sizes, and empty directories for what is the host's."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from fakes import Guest, Out

from vfs.sysfs import SysFs

CPU = "/sys/devices/system/cpu"


@pytest.fixture
def call(tmp_path):
    with Guest(tmp_path / "root") as guest:
        guest.mount(SysFs(), "sys")
        yield guest


def walk(call: Guest, path: str):
    return call.namespace.walk(call.process.fs, call.process.fs.cwd, os.fsencode(path), False)


def listing(call: Guest, path: str) -> list[str]:
    found = walk(call, path)
    return [os.fsdecode(name) for name, _, _ in found.fs.entries(found.node)]


@pytest.mark.parametrize(
    "path",
    [f"{CPU}/online", f"{CPU}/possible", f"{CPU}/cpu0/topology/core_id", "/sys/devices/system/node/node0/cpulist",
     "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"],
)  # fmt: skip
def test_the_machine_is_told_as_the_host_tells_it(call, path):
    if not os.path.exists(path):
        pytest.skip("not on this host")
    with open(path, "rb") as file:
        assert call.read(os.fsencode(path)) == file.read()


def test_there_are_as_many_processors_as_the_host_has(call):
    def processors(names) -> set[str]:
        return {name for name in names if name.startswith("cpu") and name[3:].isdigit()}

    assert processors(listing(call, CPU)) == processors(os.listdir(CPU))


@pytest.mark.parametrize("path", ["block", "bus", "module", "firmware", "fs/cgroup", "dev/block", "class/block"])
def test_what_is_the_hosts_to_administer_is_empty(call, path):
    assert walk(call, "/sys/" + path).node.is_dir
    assert listing(call, "/sys/" + path) == []


@pytest.mark.parametrize(
    "path",
    ["kernel/debug", "kernel/notes", "kernel/security", "devices/pci0000:00", "class/net/eth0", "devices/virtual/dmi",
     "devices/system/cpu/uevent", "devices/system/cpu/cpu9999", "devices/system/cpu/cpu[0-9]*", "fs/selinux",
     "devices/system/cpu/cpu0/topology/..."],
)  # fmt: skip
def test_nothing_else_is_there(call, path):
    assert call("access", b"/sys/" + os.fsencode(path), os.F_OK) == -errno.ENOENT


def test_the_only_network_device_is_the_loopback(call):
    assert listing(call, "/sys/class/net") == ["lo"]
    assert call.read(b"/sys/class/net/lo/operstate") == b"unknown\n"
    assert call.read(b"/sys/class/net/lo/flags") == b"0x9\n"
    assert call.read(b"/sys/class/net/lo/statistics/rx_bytes") == b"0\n"


def test_what_a_directory_lists_is_there(call):
    pending, files = ["/sys"], 0
    while pending:
        directory = pending.pop()
        found = walk(call, directory)
        for name, _, kind in found.fs.entries(found.node):
            inner = f"{directory}/{os.fsdecode(name)}"
            mode = walk(call, inner).node.mode
            assert mode >> 12 == kind, inner
            if stat.S_ISDIR(mode):
                pending.append(inner)
            files += stat.S_ISREG(mode)
    assert files > len(listing(call, "/sys/devices/virtual/net/lo"))


def test_nothing_can_be_written_or_made(call):
    assert call("open", b"/sys/kernel/mm/transparent_hugepage/enabled", os.O_WRONLY) in (-errno.EACCES, -errno.ENOENT)
    assert call("open", b"/sys/class/net/lo/mtu", os.O_RDWR) == -errno.EACCES
    assert call("access", b"/sys/class/net/lo/mtu", os.W_OK) == -errno.EACCES
    assert call("mkdir", b"/sys/fs/cgroup/mine", 0o755) == -errno.EPERM


def test_the_file_system_says_what_it_is(call):
    out = Out(120)
    assert call("statfs", b"/sys", out) == 0
    assert int.from_bytes(out.guest[:8], "little") == 0x62656572


def test_a_descriptor_has_the_status_of_its_path(call):
    by_path, by_fd = Out(144), Out(144)
    for path in (b"/sys/class/net/lo/mtu", b"/sys/fs/cgroup"):
        assert call("stat", path, by_path) == 0
        assert call("fstat", call.open(path), by_fd) == 0
        assert by_path.guest == by_fd.guest, path
