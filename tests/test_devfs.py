"""/dev as a guest finds it: the safe devices, the terminals it was given or made, and no other."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

import pytest
from fakes import Guest, Out

from abi.procview import ProcView
from vfs.devfs import DevFs
from vfs.procfs import ProcFs


@pytest.fixture
def call(tmp_path):
    """init is this very process, whose descriptors are the guest's."""
    with Guest(tmp_path / "root") as guest:
        for name in ("proc", "dev"):
            (guest.root / name).mkdir()
        view = ProcView(guest.sandbox)
        guest.mount(ProcFs(view), "proc")
        guest.mount(DevFs(view=view), "dev")
        yield guest


def readlink(call: Guest, path: bytes) -> bytes:
    out = Out(256)
    size = call("readlink", path, out, 256)
    assert size >= 0, os.strerror(-size)
    return out.guest[:size]


def listing(call: Guest, path: bytes) -> set[bytes]:
    found = call.namespace.walk(call.process.fs, call.process.fs.cwd, path)
    return {name for name, _, _ in found.fs.entries(found.node)}


@pytest.mark.parametrize("name, data", [(b"null", b""), (b"zero", bytes(4))])
def test_the_safe_devices_are_there(call, name, data):
    fd = call.open(b"/dev/" + name, os.O_RDWR)
    assert os.read(fd, 4) == data
    assert os.write(fd, b"x") == 1


@pytest.mark.parametrize(
    "name, number",
    [(b"null", (1, 3)), (b"zero", (1, 5)), (b"full", (1, 7)), (b"random", (1, 8)), (b"urandom", (1, 9)), (b"tty", (5, 0))],
)
def test_a_device_has_its_number_and_is_roots_and_for_all(call, name, number):
    out = Out(144)
    assert call("stat", b"/dev/" + name, out) == 0
    assert int.from_bytes(out.guest[40:48], "little") == os.makedev(*number)
    assert int.from_bytes(out.guest[24:28], "little") == stat.S_IFCHR | 0o666
    assert out.guest[28:36] == bytes(8)


@pytest.mark.parametrize("name", [b"mem", b"kmsg", b"sda", b"vda", b"console", b"kvm", b"fuse", b"pts/0", b"tty1", b"loop0"])
def test_no_other_device_is_there(call, name):
    assert call("access", b"/dev/" + name, os.F_OK) == -errno.ENOENT


def test_devices_cannot_be_made_or_removed(call):
    assert call("unlink", b"/dev/null") == -errno.EPERM
    assert call("mknod", b"/dev/mem", 0o020666, 0x101) == -errno.EPERM


def test_a_device_node_in_the_tree_of_the_host_is_not_opened(call):
    if os.geteuid() != 0:
        pytest.skip("an ordinary user has no such tree")
    os.mknod(call.root / "device", 0o020666, os.makedev(1, 1))  # /dev/mem
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


def test_a_terminal_that_is_closed_has_no_name_any_more(call, terminals):
    master = call.open(b"/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    name = b"%d" % int.from_bytes(fcntl.ioctl(master, 0x80045430, bytes(4)), "little")
    os.close(call.files.table.pop(master))
    assert name not in listing(call, b"/dev/pts")
    assert call("access", b"/dev/pts/" + name, os.F_OK) == -errno.ENOENT


def test_mode_and_owner_of_a_terminal_are_the_guests_affair_and_end_with_it(call, terminals):
    def status(path: bytes) -> tuple[int, int, int]:
        out = Out(144)
        assert call("stat", path, out) == 0
        return struct.unpack_from("<III", out.guest, 24)

    master = call.open(b"/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    path = b"/dev/pts/%d" % int.from_bytes(fcntl.ioctl(master, 0x80045430, bytes(4)), "little")
    first = status(path)
    assert call("chmod", path, 0o622) == call("chown", path, 33, 0xFFFFFFFF) == 0
    assert status(path) == (0o020622, 33, first[2])
    assert call("chown", path, 0xFFFFFFFF, 44) == 0
    assert status(path) == (0o020622, 33, 44)
    assert os.stat(path).st_mode == first[0]
    os.close(call.files.table.pop(master))
    assert call("stat", path, Out(144)) == -errno.ENOENT
    again = call.open(b"/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    assert status(b"/dev/pts/%d" % int.from_bytes(fcntl.ioctl(again, 0x80045430, bytes(4)), "little")) == first


def test_dev_tty_is_the_callers_terminal_if_the_sandbox_has_it(tmp_path, terminals):
    master, slave = os.openpty()
    others, strange = os.openpty()

    class View:
        number = os.fstat(slave).st_rdev

        def callers_terminal(self):
            return self.number

    try:
        with Guest(tmp_path / "root") as call:
            (call.root / "dev").mkdir()
            view = View()
            call.mount(DevFs((slave,), view), "dev")
            assert os.fstat(call.open(b"/dev/tty", os.O_RDWR)).st_rdev == view.number
            for view.number in (0, os.fstat(strange).st_rdev):
                assert call("open", b"/dev/tty", os.O_RDWR, 0) == -errno.ENXIO
    finally:
        for fd in (master, slave, others, strange):
            os.close(fd)


@pytest.mark.parametrize("path", [b"/dev/null", b"/dev/pts", b"/proc/self", b"/proc/version"])
def test_nothing_is_made_where_something_is_already(call, path):
    assert call("mkdir", path, 0o755) == call("mknod", path, 0o644, 0) == call("symlink", b"x", path) == -errno.EEXIST


def test_nothing_is_made_where_nothing_can_be(call):
    assert call("mkdir", b"/dev/new", 0o755) == -errno.EPERM
    assert call("mkdir", b"/proc/new", 0o755) == -errno.ENOENT
