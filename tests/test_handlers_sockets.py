"""Handlers of `abi.sockets`, `abi.socketmessages` and `abi.socketoptions`, with real sockets and no guest."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import struct

import pytest
from fakes import BAD, Guest, Out

from abi.dispatch import Later, Native, dispatch
from abi.errors import SysError
from abi.net import netlink, options
from abi.net.addresses import Inet, unix_name
from abi.net.host import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, NETLINK_SOCK_DIAG
from abi.net.network import Allowed, Network
from abi.sandbox import Sandbox
from abi.tables import linux as LINUX
from vfs.devfs import DevFs

STREAM, DGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
SOL_SOCKET, TCP = 1, 6


@pytest.fixture
def call(tmp_path):
    place = tmp_path / "names"
    place.mkdir()
    with Guest(tmp_path / "root") as guest:
        guest.sandbox.network = Network(make_directory=lambda: os.fsencode(place))
        guest.served = []
        guest.sandbox.network.serve = lambda fd, answer: guest.served.append((fd, answer))
        yield guest
        for fd, _ in guest.served:
            os.close(fd)
    assert os.listdir(place) == [], "names that anybody could see"


def un(name: bytes) -> bytearray:
    return bytearray(struct.pack("<H", AF_UNIX) + name)


def inet(host: str, port: int) -> bytearray:
    return bytearray(struct.pack("<H", AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8))


def made(call: Guest, family: int, kind: int, protocol: int = 0) -> int:
    """A socket of the guest's, as it would make one."""
    result = call.result("socket", family, kind, protocol)
    if isinstance(result, Native):
        return call.files.add(socket.socket(family, kind, protocol).detach())
    return call.value(result)


def name_of(call: Guest, fd: int, which: str = "getsockname", room: int = 128) -> bytes | int:
    """The whole address that a socket tells."""
    length = bytearray(struct.pack("<I", room))
    out = Out(room)
    made_call = call.make(which, fd, out, length)
    value = call.value(dispatch(LINUX.entry(made_call.number), made_call))
    if value < 0:
        return value
    size = int.from_bytes(call.memory.read(made_call.args[2], 4), "little")
    return call.memory.read(made_call.args[1], min(size, room))


def bind(call: Guest, fd: int, address: bytearray) -> int:
    return call("bind", fd, address, len(address))


def connect(call: Guest, fd: int, address: bytearray) -> int:
    return call("connect", fd, address, len(address))


def message(call: Guest, parts: list[bytes], name: bytes = b"", control: bytes = b"") -> bytearray:
    """A ``struct msghdr`` in the guest's memory."""
    vector = b"".join(struct.pack("<QQ", call.memory.put(part), len(part)) for part in parts)
    return bytearray(
        struct.pack(
            "<QI4xQQQQi4x",
            call.memory.put(name) if name else 0, len(name), call.memory.put(vector) if vector else 0, len(parts),
            call.memory.put(control) if control else 0, len(control), 0,
        )
    )  # fmt: skip


def rights(*fds: int) -> bytes:
    contents = array.array("i", fds).tobytes()
    return struct.pack("<Qii", 16 + len(contents), SOL_SOCKET, 1) + contents


# -- names ------------------------------------------------------------------------------------------


def test_a_path_is_made_where_the_guest_wants_it_and_found_by_every_name(call):
    server, client = made(call, AF_UNIX, STREAM), made(call, AF_UNIX, STREAM)
    (call.root / "link").symlink_to("socket")
    assert bind(call, server, un(b"/socket\0")) == 0
    assert (call.root / "socket").is_socket()
    assert name_of(call, server) == bytes(un(b"/socket\0"))
    assert connect(call, client, un(b"/socket\0")) == -errno.ECONNREFUSED
    assert call("listen", server, 5) == 0
    assert connect(call, client, un(b"link")) == 0
    assert name_of(call, client, "getpeername") == bytes(un(b"/socket\0"))


def test_a_socket_bound_outside_is_seen_and_not_reached(call):
    with socket.socket(AF_UNIX) as outside:
        outside.bind(str(call.root / "theirs"))
        outside.listen()
        assert connect(call, made(call, AF_UNIX, STREAM), un(b"/theirs\0")) == -errno.ECONNREFUSED


@pytest.mark.parametrize(
    "address, expected",
    [
        (un(b"/nowhere/x\0"), errno.ENOENT), (un(b"/file\0"), errno.EADDRINUSE), (un(b"/file/x\0"), errno.ENOTDIR),
        (un(b"x" * 109), errno.EINVAL), (inet("127.0.0.1", 1), errno.EINVAL), (bytearray(b"\1"), errno.EINVAL),
        (bytearray(), errno.EINVAL),
        (un(b"\0taken"), errno.EADDRINUSE),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_given_says_why(call, address, expected):
    (call.root / "file").write_text("")
    assert bind(call, made(call, AF_UNIX, STREAM), un(b"\0taken")) == 0
    assert bind(call, made(call, AF_UNIX, STREAM), address) == -expected


def test_bad_pointers_and_what_is_no_socket(call):
    fd, file = made(call, AF_UNIX, STREAM), call.open(b"/file", os.O_CREAT | os.O_RDWR, 0o600)
    assert [call("bind", fd, BAD, 10), call("connect", fd, BAD, 10), call("sendmsg", fd, BAD, 0)] == [-errno.EFAULT] * 3
    assert call("connect", fd, BAD, 129) == call("connect", fd, BAD, -1) == -errno.EINVAL
    for name in ("bind", "connect", "listen", "getsockname", "getpeername", "sendmsg", "sendmmsg", "recvmsg"):
        arguments = (bytearray(64), bytearray(struct.pack("<I", 16)))
        assert call(name, file, *arguments) == -errno.ENOTSOCK, name
        assert call(name, 999, *arguments) == -errno.EBADF, name


def test_a_socket_without_a_name_is_given_one_of_five_digits(call):
    one, two = made(call, AF_UNIX, DGRAM), made(call, AF_UNIX, DGRAM)
    assert bind(call, one, un(b"")) == bind(call, two, un(b"")) == 0
    assert [name_of(call, one), name_of(call, two)] == [bytes(un(b"\x0000000")), bytes(un(b"\x0000001"))]
    assert bind(call, one, un(b"")) == 0
    assert bind(call, one, un(b"\0other")) == -errno.EINVAL


def test_an_address_is_cut_to_the_room_there_is_and_its_length_is_told(call):
    fd = made(call, AF_UNIX, STREAM)
    bind(call, fd, un(b"\0a-long-name"))
    assert name_of(call, fd, room=4) == bytes(un(b"\0a"))
    assert name_of(call, fd, room=0) == b""


def test_names_of_closed_sockets_are_forgotten(call):
    names = call.sandbox.network.names
    for _ in range(300):
        fd = made(call, AF_INET, DGRAM)
        assert bind(call, fd, inet("127.0.0.1", 0)) == 0
        os.close(call.files.table.pop(fd))
    assert len(names.given) < 150
    names.sweep()
    assert (names.given, names.ports, names.files, names.abstract) == ({}, {}, {}, {})


def test_names_and_terminals_of_nobody_are_let_go_as_processes_end(call):
    devices = call.sandbox.devices = DevFs()
    (call.root / "dev").mkdir()
    call.mount(devices, "dev")
    for number in range(40):
        fd = made(call, AF_INET, STREAM if number % 2 else DGRAM)
        assert bind(call, fd, inet("127.0.0.1", 0)) == 0
        call.open(b"/dev/ptmx", os.O_RDWR)
    call.files.close()
    assert (len(call.sandbox.network.names.given), devices.terminals) == (40, 40)
    for _ in range(200):
        call.sandbox.ended()
    assert (len(call.sandbox.network.names.given), devices.terminals) == (0, 0)


# -- the loopback -----------------------------------------------------------------------------------


def test_a_stream_of_the_loopback_is_one_of_tcp_to_the_guest(call):
    server, client = made(call, AF_INET, STREAM), made(call, AF_INET, STREAM, TCP)
    assert bind(call, server, inet("0.0.0.0", 80)) == 0
    assert call("listen", server, 1) == 0
    assert connect(call, client, inet("127.0.0.1", 80)) == 0
    assert connect(call, client, inet("127.0.0.1", 80)) == -errno.EISCONN
    there = call.files.add(socket.socket(fileno=os.dup(server)).accept()[0].detach())
    assert name_of(call, there) == name_of(call, client, "getpeername") == bytes(inet("127.0.0.1", 80))
    assert name_of(call, there, "getpeername") == name_of(call, client)
    os.write(client, b"text")
    assert os.read(there, 10) == b"text"
    assert option(call, there, SOL_SOCKET, socket.SO_DOMAIN) == AF_INET


@pytest.mark.parametrize(
    "where, expected",
    [
        (inet("127.0.0.1", 9), errno.ECONNREFUSED), (inet("0.0.0.0", 9), errno.ECONNREFUSED),
        (inet("10.0.0.1", 9), errno.ENETUNREACH), (inet("255.255.255.255", 9), errno.ENETUNREACH),
        (bytearray(8), errno.EOPNOTSUPP), (un(b"/x"), errno.EINVAL),
        (un(b"/x" * 20), errno.EAFNOSUPPORT),
    ],
)  # fmt: skip
def test_a_stream_cannot_connect_anywhere_else(call, where, expected):
    assert connect(call, made(call, AF_INET, STREAM), where) == -expected


def test_a_stream_that_does_not_wait_is_told_to_look_again(call):
    server, client = made(call, AF_INET, STREAM), made(call, AF_INET, STREAM | os.O_NONBLOCK)
    bind(call, server, inet("127.0.0.1", 80))
    call("listen", server, 1)
    assert connect(call, client, inet("127.0.0.1", 80)) == -errno.EINPROGRESS
    assert option(call, client, SOL_SOCKET, socket.SO_ERROR) == 0
    assert connect(call, client, inet("127.0.0.1", 80)) == -errno.EISCONN


def test_a_port_is_shared_only_by_sockets_that_both_say_so(call):
    for kind, level, share in ((STREAM, SOL_SOCKET, socket.SO_REUSEPORT), (DGRAM, SOL_SOCKET, socket.SO_REUSEPORT)):
        fds = [made(call, AF_INET, kind) for _ in range(3)]
        for fd in fds[:2]:
            assert call("setsockopt", fd, level, share, bytearray(b"\1\0\0\0"), 4) == 0
        assert [bind(call, fd, inet("127.0.0.1", 70)) for fd in fds] == [0, 0, -errno.EADDRINUSE]


def test_a_datagram_to_nobody_is_lost_without_a_word(call):
    fd = made(call, AF_INET, DGRAM)
    to = inet("127.0.0.1", 9)
    assert call("sendto", fd, b"text", 4, 0, to, len(to)) == 4
    assert call("sendto", fd, b"text", 4, 0, inet("10.0.0.1", 9), 16) == -errno.ENETUNREACH
    assert connect(call, fd, to) == 0
    assert name_of(call, fd, "getpeername") == bytes(to)


def udp(call: Guest, port: int) -> int:
    fd = made(call, AF_INET, DGRAM)
    assert bind(call, fd, inet("127.0.0.1", port)) == 0
    return fd


def test_datagrams_wait_for_room_at_their_receiver(call):
    receiver, sender = udp(call, 70), udp(call, 71)
    sent = [b"%d" % number for number in range(150)]
    for data in sent:
        assert call("sendto", sender, data, len(data), 0, inet("127.0.0.1", 70), 16) == len(data)
    ((ready, deliver),) = call.served
    come = [os.read(receiver, 10)]
    while select.select([ready], [], [], 5)[0] and deliver():
        come.append(os.read(receiver, 10))
    os.set_blocking(receiver, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            come.append(os.read(receiver, 10))
    assert come == sent
    assert call("sendto", sender, b"last", 4, 0, inet("127.0.0.1", 70), 16) == 4
    assert os.read(receiver, 10) == b"last"


def test_no_more_datagrams_wait_than_a_buffer_holds_and_none_for_who_is_gone(call):
    receiver, sender = udp(call, 70), udp(call, 71)
    for _ in range(1000):
        assert call("sendto", sender, b"text", 4, 0, inet("127.0.0.1", 70), 16) == 4
    name = call.sandbox.network.names.at(17, 70)[0]
    assert 100 < len(name.queue._waiting) < 1000
    ((ready, deliver),) = call.served
    assert select.select([ready], [], [], 0)[0] == []
    os.close(call.files.table.pop(receiver))
    assert select.select([ready], [], [], 5)[0] == [ready]
    assert deliver() is False
    assert (name.queue, call.sandbox.network.names.queues) == (None, 0)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ((AF_INET, 3, 1), errno.EPERM), ((17, 3, 0), errno.EPERM), ((AF_INET, DGRAM, 1), errno.EACCES),
        ((AF_INET, STREAM, 262), errno.EPROTONOSUPPORT),
        ((40, 1, 0), errno.EAFNOSUPPORT), ((AF_INET, 0x100, 0), errno.EINVAL), ((AF_INET, 5, 0), errno.ESOCKTNOSUPPORT),
        ((AF_NETLINK, 3, 9), errno.EPROTONOSUPPORT), ((AF_NETLINK, 1, 0), errno.ESOCKTNOSUPPORT),
    ],
)  # fmt: skip
def test_what_an_empty_network_namespace_would_not_make_is_not_made(call, arguments, expected):
    assert call("socket", *arguments) == -expected


# -- options ----------------------------------------------------------------------------------------


def option(call: Guest, fd: int, level: int, number: int, size: int = 4):
    """The int, or bytes, of an option; a negative errno."""
    out = Out(size)
    value = call("getsockopt", fd, level, number, out, bytearray(struct.pack("<I", size)))
    return value if value < 0 else int.from_bytes(out.guest, "little", signed=True) if size == 4 else out.guest


def test_options_of_tcp_are_remembered_or_told_as_they_start(call):
    fd = made(call, AF_INET6, STREAM)
    on = bytearray(b"\1\0\0\0")
    for level, number in ((TCP, socket.TCP_NODELAY), (41, socket.IPV6_V6ONLY), (SOL_SOCKET, socket.SO_REUSEPORT)):
        assert option(call, fd, level, number) == 0
        assert call("setsockopt", fd, level, number, on, 4) == 0
        assert option(call, fd, level, number) == 1
    assert call("setsockopt", fd, TCP, socket.TCP_KEEPIDLE, on, 4) == 0
    assert option(call, fd, TCP, socket.TCP_KEEPIDLE) == 1
    assert option(call, fd, TCP, socket.TCP_KEEPINTVL) == 75
    assert option(call, fd, TCP, socket.TCP_INFO) & 0xFF == 7  # TCP_CLOSE
    assert option(call, fd, SOL_SOCKET, socket.SO_DOMAIN) == AF_INET6
    assert option(call, fd, SOL_SOCKET, socket.SO_PROTOCOL) == TCP


def test_udp_and_udplite_have_ports_of_their_own(call):
    udp, lite = made(call, AF_INET, DGRAM), made(call, AF_INET, DGRAM, socket.IPPROTO_UDPLITE)
    assert option(call, lite, SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_UDPLITE
    for fd in (udp, lite):
        assert bind(call, fd, inet("127.0.0.1", 5000)) == 0
    assert option(call, lite, socket.IPPROTO_UDPLITE, 10) == 0  # UDPLITE_SEND_CSCOV
    assert option(call, udp, socket.IPPROTO_UDPLITE, 10) == -errno.EOPNOTSUPP


def test_a_datagram_is_not_cut_into_segments(call):
    fd = made(call, AF_INET, DGRAM)
    assert call("setsockopt", fd, socket.IPPROTO_UDP, 103, bytearray(b"\1\0\0\0"), 4) == -errno.ENOPROTOOPT
    assert bind(call, fd, inet("127.0.0.1", 5000)) == 0
    segments = message(call, [b"text"], name=bytes(inet("127.0.0.1", 5000)), control=struct.pack("<QiiH6x", 18, 17, 103, 2))
    assert call("sendmsg", fd, segments, 0) == -errno.EINVAL


def test_options_of_sockets_spoken_of_long_ago_are_forgotten(call, monkeypatch):
    monkeypatch.setattr(options, "_MOST", 2)
    sockets = [made(call, AF_INET, STREAM) for _ in range(3)]
    for fd in sockets:
        assert call("setsockopt", fd, TCP, socket.TCP_KEEPIDLE, bytearray(b"\5\0\0\0"), 4) == 0
    assert [option(call, fd, TCP, socket.TCP_KEEPIDLE) for fd in sockets] == [7200, 5, 5]


def test_a_guest_cannot_change_what_a_socket_is_taken_for(call):
    for family in (AF_UNIX, AF_INET):
        fd = made(call, family, STREAM)
        assert call("setsockopt", fd, SOL_SOCKET, socket.SO_INCOMING_CPU, bytearray(b"\x10\0\0\0"), 4) == 0
        assert option(call, fd, SOL_SOCKET, socket.SO_DOMAIN) == family
        assert option(call, fd, SOL_SOCKET, socket.SO_INCOMING_CPU) == -1


@pytest.mark.parametrize("number, expected", [(50, "EPERM"), (52, "EPERM"), (36, "EPERM"), (76, "ENOPROTOOPT")])
def test_options_that_reach_past_the_addresses_are_refused(call, number, expected):
    for family in (AF_UNIX, AF_INET):
        assert call("setsockopt", made(call, family, STREAM), SOL_SOCKET, number, bytearray(16), 4) == -getattr(errno, expected)


def test_the_loopback_inside_is_a_device_to_be_bound_to(call):
    fd = made(call, AF_INET, DGRAM)
    for name, result, told in ((b"eth0", -errno.ENODEV, b""), (b"lo\0x", 0, b"lo\0"), (b"", 0, b"")):
        assert call("setsockopt", fd, SOL_SOCKET, socket.SO_BINDTODEVICE, bytearray(name), len(name)) == result
        assert option(call, fd, SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == told.rstrip(b"\0")


def test_a_device_of_the_hosts_is_bound_to_where_there_is_no_list(call):
    for allowed, expected in ((None, -errno.ENODEV), ([], -errno.EPERM)):
        call.sandbox.network = Network(True, allowed)
        fd = call.files.add(socket.socket().detach())
        assert call("setsockopt", fd, SOL_SOCKET, socket.SO_BINDTODEVICE, bytearray(b"nix0"), 4) == expected


def test_peercred_of_a_stream_is_who_listened_and_of_the_internet_nobody(call):
    server, client = made(call, AF_UNIX, STREAM), made(call, AF_UNIX, STREAM)
    bind(call, server, un(b"\0s"))
    call("listen", server, 1)
    connect(call, client, un(b"\0s"))
    assert struct.unpack("<iII", option(call, client, SOL_SOCKET, socket.SO_PEERCRED, 12)) == (1, 0, 0)
    assert struct.unpack("<iii", option(call, made(call, AF_INET, STREAM), SOL_SOCKET, socket.SO_PEERCRED, 12)) == (0, -1, -1)


SO_PEERGROUPS, SO_PEERPIDFD = 59, 77


def connected(call: Guest) -> int:
    """A unix socket that is connected to one of the same process."""
    server, client = made(call, AF_UNIX, STREAM), made(call, AF_UNIX, STREAM)
    bind(call, server, un(b"\0s"))
    call("listen", server, 1)
    connect(call, client, un(b"\0s"))
    return client


def test_a_pidfd_of_who_is_at_the_other_end_is_the_callers_to_open(call):
    client = connected(call)
    length = bytearray(struct.pack("<I", 8))
    made_call = call.make("getsockopt", client, SOL_SOCKET, SO_PEERPIDFD, Out(8), length)
    result = dispatch(LINUX.entry(made_call.number), made_call)
    assert (result.number, result.changed) == (434, {0: call.process.pid, 1: 0})
    assert result.after(-errno.EMFILE) == -errno.EMFILE
    assert result.after(9) == 0
    assert call.memory.read(made_call.args[3], 4) + call.memory.read(made_call.args[4], 4) == struct.pack("<II", 9, 4)
    del call.sandbox.tree.processes[call.process.pid]
    assert option(call, client, SOL_SOCKET, SO_PEERPIDFD) == -errno.ESRCH


@pytest.mark.parametrize("number", [SO_PEERGROUPS, SO_PEERPIDFD])
def test_nobody_is_at_the_other_end_of_a_socket_without_one(call, number):
    for fd in (made(call, AF_UNIX, STREAM), made(call, AF_INET, STREAM)):
        assert option(call, fd, SOL_SOCKET, number) == -errno.ENODATA
        assert call("setsockopt", fd, SOL_SOCKET, number, bytearray(4), 4) == -errno.ENOPROTOOPT


def test_the_groups_of_who_is_at_the_other_end(call):
    call.process.credentials.groups = (3, 4, 5)
    one = connected(call)
    assert option(call, one, SOL_SOCKET, SO_PEERGROUPS, 12) == struct.pack("<3I", 3, 4, 5)
    length = bytearray(struct.pack("<I", 8))
    made_call = call.make("getsockopt", one, SOL_SOCKET, SO_PEERGROUPS, Out(8), length)
    assert call.value(dispatch(LINUX.entry(made_call.number), made_call)) == -errno.ERANGE
    assert call.memory.read(made_call.args[4], 4) == struct.pack("<I", 12)


# -- messages ---------------------------------------------------------------------------------------


def pair(call: Guest, kind: int = STREAM) -> tuple[int, int]:
    one, two = socket.socketpair(AF_UNIX, kind)
    return call.files.add(one.detach()), call.files.add(two.detach())


def test_a_message_is_gathered_and_its_descriptors_are_copies(call):
    one, two = pair(call)
    read, write = os.pipe()
    given = call.files.add(write, 500)
    os.close(read)
    assert call("sendmsg", one, message(call, [b"ga", b"", b"thered"], control=rights(given)), 0) == 8
    text, files, _, _ = socket.recv_fds(socket.socket(fileno=os.dup(two)), 100, 4)
    assert text == b"gathered" and len(files) == 1
    assert os.path.sameopenfile(files[0], write)
    os.close(files[0])


def test_a_stream_that_is_full_is_waited_for_unless_the_guest_would_not(call):
    one, two = pair(call)
    large = message(call, [bytes(1 << 19)])
    assert call("sendmsg", one, large, socket.MSG_DONTWAIT) > 0
    result = call.result("sendmsg", one, message(call, [b"more"]), 0)
    assert isinstance(result, Later)
    assert call("sendmsg", one, large, socket.MSG_DONTWAIT) == -errno.EAGAIN
    os.set_blocking(two, False)
    with pytest.raises(BlockingIOError):
        while os.read(two, 1 << 20):
            pass
    assert call.value(result.work(lambda: False)) == 4
    assert os.read(two, 10) == b"more"


@pytest.mark.parametrize("kind, expected", [(STREAM, -errno.EISCONN), (SEQPACKET, 4), (DGRAM, -errno.ECONNREFUSED)])
def test_an_address_in_a_message_is_judged_by_the_kind_of_socket(call, kind, expected):
    one, _ = pair(call, kind)
    assert call("sendmsg", one, message(call, [b"text"], name=bytes(un(b"\0nobody"))), 0) == expected


@pytest.mark.parametrize(
    "control, expected",
    [
        (rights(77), errno.EBADF), (rights(*[0] * 254), errno.EINVAL), (struct.pack("<Qii", 99, 1, 1), errno.EINVAL),
        (struct.pack("<Qii", 16, 1, 77), errno.EINVAL), (struct.pack("<QiiiII", 28, 1, 2, 12345678, 0, 0), errno.ESRCH),
        (struct.pack("<QiiiII", 28, 1, 2, 1, 0xFFFFFFFF, 0), errno.EINVAL),
    ],
)  # fmt: skip
def test_control_messages_that_say_nothing_good_fail(call, control, expected):
    call.files.add(os.dup(0), 0)
    one, _ = pair(call)
    assert call("sendmsg", one, message(call, [b"x"], control=control), 0) == -expected


def test_many_messages_are_sent_until_one_fails(call):
    one, two = pair(call, SEQPACKET)
    headers = [bytes(message(call, [text])) + bytes(8) for text in (b"one", b"two")]
    broken = struct.pack("<QI4xQQQQi4x", 0, 0, BAD, 1, 0, 0, 0) + bytes(8)
    assert call("sendmmsg", one, bytearray(b"".join([*headers, broken])), 3, 0) == 2
    assert [os.read(two, 10), os.read(two, 10)] == [b"one", b"two"]
    assert call("sendmmsg", one, bytearray(broken), 1, 0) == -errno.EFAULT


def test_what_is_received_without_a_name_is_the_kernels_affair(call):
    one, _ = pair(call)
    result = call.result("recvmsg", one, message(call, [bytes(10)]), 0)
    assert isinstance(result, Native) and not result.changed and result.after is None


def test_there_is_a_queue_of_errors_and_nothing_in_it(call):
    fd = udp(call, 70)
    assert call("sendto", fd, b"text", 4, 0, inet("127.0.0.1", 70), 16) == 4
    for name, *rest in (("recvmsg", message(call, [bytes(10)])), ("recvmmsg", message(call, [bytes(10)]) + bytes(8), 1)):
        assert call(name, fd, *rest, 0x2000, 0) == -errno.EAGAIN
    assert call("recvfrom", fd, Out(10), 10, 0x2000, Out(16), bytearray(b"\x10\0\0\0")) == -errno.EAGAIN
    assert os.read(fd, 10) == b"text"


def test_who_never_asked_for_it_may_say_that_nothing_need_be_copied(call):
    one, two = pair(call)
    assert call("sendmsg", one, message(call, [b"text"]), 0x4000000) == 4
    assert os.read(two, 10) == b"text"
    call.sandbox.network = Network(True)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        fd = call.files.add(os.dup(client.fileno()))
        assert call("sendmsg", fd, message(call, [b"text"]), 0x4000000) == 4
        client.setsockopt(SOL_SOCKET, 60, 1)
        assert call("sendmsg", fd, message(call, [b"text"]), 0x4000000) == -errno.EOPNOTSUPP


# -- the host's network -----------------------------------------------------------------------------


def test_addresses_of_ipv4_in_ipv6_are_ipv4():
    mapped = struct.pack("<H", AF_INET6) + struct.pack(">HI", 80, 0) + bytes(10) + b"\xff\xff\x7f\0\0\1" + bytes(4)
    where = Inet.parse(mapped, AF_INET6)
    assert (where.ip, where.port, where.is_loopback) == (b"\x7f\0\0\1", 80, True)
    assert where.pack(AF_INET6) == mapped
    assert where.pack(AF_INET) == bytes(inet("127.0.0.1", 80))


@pytest.mark.parametrize(
    "host, port, allowed",
    [("10.0.0.1", 80, True), ("10.0.0.1", 81, False), ("10.0.0.2", 80, False), ("10.0.0.2", 53, True), ("0.0.0.0", 99, True)],
)
def test_the_list_is_asked_for_address_and_port(host, port, allowed):
    places = [Allowed(b"\x0a\0\0\1", 80), Allowed(None, 53), Allowed(b"\x7f\0\0\1", None)]
    network = Network(True, places)
    address = bytes(inet(host, port))
    if allowed:
        assert network.target(address, AF_INET) == address
    else:
        with pytest.raises(SysError, match="EACCES"):
            network.target(address, AF_INET)


def test_published_ports_are_swapped_both_ways():
    network = Network(True, None, {80: 8080})
    guest, real = bytes(inet("127.0.0.1", 80)), bytes(inet("127.0.0.1", 8080))
    assert network.place(guest, AF_INET) == (real, True)
    assert network.target(guest, AF_INET) == real
    assert network.target(bytes(inet("10.0.0.1", 80)), AF_INET) == bytes(inet("10.0.0.1", 80))
    assert network.shown(real) == guest
    with pytest.raises(SysError, match="EADDRINUSE"):
        network.place(real, AF_INET)


def test_a_real_socket_without_a_network_is_led_nowhere(call):
    with socket.create_server(("127.0.0.1", 0)) as server:
        fd = call.files.add(socket.socket().detach())
        assert connect(call, fd, inet("127.0.0.1", server.getsockname()[1])) == -errno.ENETUNREACH
        assert bind(call, fd, inet("127.0.0.1", 0)) == -errno.EADDRNOTAVAIL


def test_a_connection_that_takes_its_time_is_waited_for_aside(call):
    call.sandbox.network = Network(True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = inet("127.0.0.1", server.getsockname()[1])
        result = call.result("connect", made(call, AF_INET, STREAM), where, len(where))
        assert isinstance(result, Later)
        assert call.value(result.work(lambda: False)) == 0


# -- netlink ----------------------------------------------------------------------------------------


def request(kind: int, flags: int = 0x301, body: bytes = b"\0") -> bytes:
    body = body.ljust(-(-len(body) // 4) * 4, b"\0")
    return struct.pack("<IHHII", 16 + len(body), kind, flags, 7, 0) + body


def headers(data: bytes):
    while len(data) >= 16:
        length, kind, flags, sequence, port = struct.unpack_from("<IHHII", data)
        yield kind, flags, sequence, port, data[16:length]
        data = data[(length + 3) & -4 :]


def test_the_loopback_and_its_addresses_are_told_by_netlink():
    links = [part for message in netlink.replies(request(18), 5) for part in headers(message)]
    assert [(kind, sequence, port) for kind, _, sequence, port, _ in links] == [(16, 7, 5), (3, 7, 5)]
    assert b"lo\0" in links[0][4]
    for family, address in ((0, 2), (AF_INET, 1), (AF_INET6, 1), (99, 0)):
        found = [part for message in netlink.replies(request(22, body=bytes([family])), 5) for part in headers(message)]
        assert [kind for kind, *_ in found] == [20] * address + [3]


@pytest.mark.parametrize("kind, expected", [(16, errno.EPERM), (20, errno.EPERM), (24, errno.EPERM), (94, errno.EOPNOTSUPP)])
def test_nothing_of_the_network_is_changed_by_netlink(kind, expected):
    (answer,) = netlink.replies(request(kind, 5), 1)
    ((told, _, _, _, body),) = headers(answer)
    assert (told, struct.unpack_from("<i", body)[0]) == (2, -expected)


def test_sock_diag_knows_no_family_so_that_ss_reads_proc(call):
    fd = made(call, AF_NETLINK, 3, NETLINK_SOCK_DIAG)
    os.write(fd, request(20))
    ((_, answer),) = call.served
    assert answer() is True
    ((told, _, _, _, body),) = headers(os.read(fd, 4096))
    assert (told, struct.unpack_from("<i", body)[0]) == (2, -errno.ENOENT)


def test_netlink_that_makes_no_sense_is_not_answered():
    assert netlink.replies(b"x", 1) == netlink.replies(struct.pack("<IHHII", 99, 18, 1, 1, 1), 1) == []


def test_a_netlink_socket_has_a_number_and_answers_what_is_written_to_it(call):
    fd = made(call, AF_NETLINK, 3)
    assert bind(call, fd, bytearray(struct.pack("<HHII", AF_NETLINK, 0, 0, 0))) == 0
    assert name_of(call, fd) == struct.pack("<HHII", AF_NETLINK, 0, 1, 0)
    assert option(call, fd, SOL_SOCKET, socket.SO_TYPE) == 3
    os.write(fd, request(18))
    ((_, answer),) = call.served
    assert answer() is True
    assert [kind for kind, *_ in headers(os.read(fd, 4096))] == [16]
    os.close(call.files.table.pop(fd))
    assert answer() is False


# -- addresses --------------------------------------------------------------------------------------


def test_a_path_ends_at_its_nul_and_an_abstract_name_with_its_length():
    assert unix_name(bytes(un(b"/a\0b"))) == b"/a"
    assert unix_name(bytes(un(b"/a"))) == b"/a"
    assert unix_name(bytes(un(b"\0a\0"))) == b"\0a\0"
    assert unix_name(bytes(un(b""))) == b""


def test_a_sandbox_has_no_network_unless_told():
    assert not Sandbox(None, None).network.on_host
