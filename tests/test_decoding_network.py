"""What the socket calls look like in the trace; the expected words are strace 6.1's own."""

from __future__ import annotations

import os
import random
import socket
from struct import pack

import pytest
from fakes import BAD, Memory

from abi.decoding import endpoints, netlink
from abi.decoding.network import CALLS
from abi.decoding.values import U64, Style, View, result_of
from tracer.log.descriptors import describe_more

EAGAIN, EBADF, EFAULT = 11, 9, 14
PORT_80 = b"\0\x50"
LOCALHOST = b"\x7f\0\0\1"
INET = pack("<H", 2) + PORT_80 + LOCALHOST + bytes(8)
SHOWN_INET = '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}'


class Task:
    """A task with a memory of its own: `show` gives a call's line, `lines` do what the kernel does meanwhile."""

    def __init__(self, **style) -> None:
        self.memory = Memory()
        self.style = Style(**style)
        self.files: dict[int, str] = {}

    def put(self, data: bytes) -> int:
        return self.memory.put(data)

    def show(self, name: str, *args: int | bytes, value: int = 0, error: int = 0, meanwhile=None) -> str:
        numbers = [self.put(arg) if isinstance(arg, bytes) else arg & U64 for arg in args]
        view = View(0, (*numbers, *[0] * (6 - len(numbers))), self.memory, self.style, self.files.get)
        signature = CALLS[name]
        words = signature.early(view)
        if meanwhile is not None:
            meanwhile(view)
        view.value, view.error = (-error, error) if error else (value, 0)
        words += signature.late(view)
        return f"{name}({', '.join(words)}) = {result_of(signature, view)}"

    def message(self, name: bytes = b"", parts: tuple[bytes, ...] = (), control: bytes = b"", flags: int = 0) -> bytes:
        """A struct msghdr over copies of its parts."""
        vectors = b"".join(pack("<QQ", self.put(part), len(part)) for part in parts)
        return pack("<QI4xQQQQI4x", self.put(name) if name else 0, len(name), self.put(vectors) if vectors else 0, len(parts),
                    self.put(control) if control else 0, len(control), flags)  # fmt: skip


@pytest.fixture
def task():
    return Task()


@pytest.fixture
def show(task):
    return task.show


def control(level: int, kind: int, data: bytes) -> bytes:
    return pack("<Qii", 16 + len(data), level, kind) + data + bytes(-len(data) % 8)


# -- sockets and addresses ------------------------------------------------------------------------------


def test_a_socket_names_its_protocol_by_its_family(show):
    assert show("socket", 2, 0x80801, 6, value=3) == "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_TCP) = 3"
    assert show("socket", 16, 3, 15, value=3) == "socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT) = 3"
    assert show("socket", 17, 3, 0x300, value=3) == "socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) = 3"
    assert show("socket", 1, 5, 7, value=3) == "socket(AF_UNIX, SOCK_SEQPACKET, 7) = 3"


def test_what_is_no_family_or_type_is_a_number_with_a_comment(show):
    assert show("socket", 99, 15, 0, error=22).startswith("socket(0x63 /* AF_??? */, 0xf /* SOCK_??? */, 0) = -1 EINVAL")
    assert "SOCK_CLOEXEC|SOCK_NONBLOCK|0xfff7f7ff" in show("socket", 99, -1, 0, error=22)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (INET, SHOWN_INET),
        (INET[:8], '{sa_family=AF_INET, sa_data="\\0P\\177\\0\\0\\1"}'),
        (pack("<H", 1) + b"/x\0more", '{sa_family=AF_UNIX, sun_path="/x"}'),
        (pack("<H", 1) + b"\0a\0b", '{sa_family=AF_UNIX, sun_path=@"a\\0b"}'),
        (pack("<H", 1), "{sa_family=AF_UNIX}"),
        (pack("<H", 10) + PORT_80 + pack("!I", 5) + socket.inet_pton(10, "::1") + pack("<I", 3),
         '{sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(5), inet_pton(AF_INET6, "::1", &sin6_addr), '
         "sin6_scope_id=3}"),
        (pack("<HHiI", 16, 5, -77, 0x11), "{sa_family=AF_NETLINK, nl_pad=0x5, nl_pid=-77, nl_groups=0x000011}"),
        (pack("<HHIIB3x", 40, 0, 1234, 2, 0), "{sa_family=AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=0x4d2, svm_flags=0}"),
        (pack("<HH", 31, 1), "{sa_family=AF_BLUETOOTH, hci_dev=htobs(1)}"),
        (pack("<H", 99) + b"hello", '{sa_family=0x63 /* AF_??? */, sa_data="hello"}'),
    ],
)  # fmt: skip
def test_an_address_reads_as_its_family_has_it(show, data, shown):
    assert show("bind", 3, data, len(data)) == f"bind(3, {shown}, {len(data)}) = 0"


def test_an_interface_of_an_address_is_named_where_it_exists(show):
    lo = pack("<HHiHBB", 17, 0x0300, socket.if_nametoindex("lo"), 772, 0, 6) + b"\1\2\3\4\5\6\0\0"
    assert 'sll_ifindex=if_nametoindex("lo"), sll_hatype=ARPHRD_LOOPBACK' in show("bind", 3, lo, 20)
    assert "sll_ifindex=-1" not in show("bind", 3, pack("<HHiHBB", 17, 0, -1, 1, 0, 0) + bytes(8), 20)


def test_an_address_that_cannot_be_read_is_a_number(show):
    assert show("connect", 3, 0, 16, error=EFAULT).startswith("connect(3, NULL, 16)")
    assert show("connect", 3, BAD, 16, error=EFAULT).startswith("connect(3, 0x10, 16)")
    assert "(3, 0x" in show("connect", 3, INET, 1, error=22)
    assert "(3, 0x" in show("connect", 3, INET, -1, error=22)


# -- lengths that go both ways ----------------------------------------------------------------------------


def answer(address: bytes, length: int, at: int = 1):
    """What a kernel does that fills an address of so many bytes."""

    def fill(view: View) -> None:
        room = view.integer(view.args[at + 1], 4)
        view.memory.write(view.args[at], address[:room])
        view.memory.write(view.args[at + 1], pack("<i", length))

    return fill


def test_a_length_that_the_kernel_changed_is_shown_twice(show):
    same = show("getsockname", 3, bytes(16), pack("<i", 16), meanwhile=answer(INET, 16))
    more = show("accept", 3, bytes(128), pack("<i", 128), value=4, meanwhile=answer(INET, 16))
    less = show("getsockname", 3, bytes(4), pack("<i", 4), meanwhile=answer(INET, 16))
    assert same == f"getsockname(3, {SHOWN_INET}, [16]) = 0"
    assert more == f"accept(3, {SHOWN_INET}, [128 => 16]) = 4"
    assert less == 'getsockname(3, {sa_family=AF_INET, sa_data="\\0P"}, [4 => 16]) = 0'


def test_a_failure_shows_where_the_address_would_have_gone(show):
    assert show("accept", 3, 0x7000, pack("<i", 16), error=EAGAIN).startswith("accept(3, 0x7000, [16]) = -1 EAGAIN")
    assert show("accept4", 3, 0, 0, 0x80000, value=4) == "accept4(3, NULL, NULL, SOCK_CLOEXEC) = 4"


def test_an_options_length_is_that_of_the_answer(show):
    def fill(view: View) -> None:
        view.memory.write(view.args[3], pack("<ii", 1, 5))
        view.memory.write(view.args[4], pack("<i", 8))

    assert show("getsockopt", 3, 1, 13, bytes(16), pack("<i", 16), meanwhile=fill) == (
        "getsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, [16 => 8]) = 0"
    )
    assert "SO_LINGER, 0x" in show("getsockopt", 3, 1, 13, bytes(16), pack("<i", 16), error=EBADF)


# -- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "option", "data", "shown"),
    [
        (1, 2, pack("<i", 1), "SOL_SOCKET, SO_REUSEADDR, [1], 4"),
        (6, 1, pack("<i", 1), "SOL_TCP, TCP_NODELAY, [1], 4"),
        (6, 13, b"reno", "SOL_TCP, TCP_CONGESTION, [1869505906], 4"),
        (6, 13, b"cubic", 'SOL_TCP, TCP_CONGESTION, "cubic", 5'),
        (1, 13, pack("<ii", 1, 5), "SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, 8"),
        (0, 35, b"\xe0\0\0\1" + LOCALHOST,
         'SOL_IP, IP_ADD_MEMBERSHIP, {imr_multiaddr=inet_addr("224.0.0.1"), imr_interface=inet_addr("127.0.0.1")}, 8'),
        (255, 1, pack("<I", 0x101), "SOL_RAW, ICMP_FILTER, [ICMP_ECHOREPLY ICMP_ECHO], 4"),
        (255, 1, pack("<I", 0xFFFFFFFE), "SOL_RAW, ICMP_FILTER, ~[ICMP_ECHOREPLY], 4"),
        (1, 99, pack("<i", 1), "SOL_SOCKET, 0x63 /* SO_??? */, [1], 4"),
        (300, 1, pack("<i", 1), "0x12c /* SOL_?? */, 1, [1], 4"),
        (0, 64, b"abc", 'SOL_IP, IPT_SO_SET_REPLACE, "abc", 3'),
    ],
)  # fmt: skip
def test_an_option_reads_as_its_level_has_it(show, level, option, data, shown):
    assert show("setsockopt", 3, level, option, data, len(data)) == f"setsockopt(3, {shown}) = 0"


def test_a_structure_that_is_too_short_is_an_address(show):
    assert "SO_LINGER, 0x" in show("setsockopt", 3, 1, 13, pack("<ii", 1, 5), 7)
    assert "SO_REUSEADDR, 0x" in show("setsockopt", 3, 1, 2, pack("<i", 1), 3)


def test_a_pending_error_has_its_name(show):
    def fill(view: View) -> None:
        view.memory.write(view.args[3], pack("<i", 111))

    assert "SO_ERROR, [ECONNREFUSED], [4])" in show("getsockopt", 3, 1, 4, bytes(4), pack("<i", 4), meanwhile=fill)


# -- messages -------------------------------------------------------------------------------------------------


def test_a_message_has_its_parts_and_what_is_sent_beside_them(task):
    head = task.message(b"\1\0/x\0", (b"abc", b"d" * 40), control(1, 1, pack("<ii", 5, 6)), 0x40)
    assert task.show("sendmsg", 3, head, 0x4000, value=43) == (
        'sendmsg(3, {msg_name={sa_family=AF_UNIX, sun_path="/x"}, msg_namelen=5, msg_iov=[{iov_base="abc", iov_len=3}, '
        '{iov_base="dddddddddddddddddddddddddddddddd"..., iov_len=40}], msg_iovlen=2, msg_control=[{cmsg_len=24, '
        "cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[5, 6]}], msg_controllen=24, msg_flags=MSG_DONTWAIT}, "
        "MSG_NOSIGNAL) = 43"
    )


@pytest.mark.parametrize(
    ("level", "kind", "data", "shown"),
    [
        (1, 2, pack("<iII", 1, 2, 0xFFFFFFFF),
         "cmsg_level=SOL_SOCKET, cmsg_type=SCM_CREDENTIALS, cmsg_data={pid=1, uid=2, gid=-1}"),
        (1, 29, pack("<qq", 1, 5), "cmsg_level=SOL_SOCKET, cmsg_type=SO_TIMESTAMP_OLD, cmsg_data={tv_sec=1, tv_usec=5}"),
        (1, 29, b"abc", "cmsg_level=SOL_SOCKET, cmsg_type=SO_TIMESTAMP_OLD, cmsg_data=???"),
        (0, 2, pack("<i", 64), "cmsg_level=SOL_IP, cmsg_type=IP_TTL, cmsg_data=[64]"),
        (0, 8, pack("<I", 0) + LOCALHOST + LOCALHOST, "cmsg_level=SOL_IP, cmsg_type=IP_PKTINFO, cmsg_data={ipi_ifindex=0, "
         'ipi_spec_dst=inet_addr("127.0.0.1"), ipi_addr=inet_addr("127.0.0.1")}'),
        (41, 50, bytes(20), "cmsg_level=SOL_IPV6, cmsg_type=0x32"),
    ],
)  # fmt: skip
def test_a_control_message_reads_by_level_and_type(task, level, kind, data, shown):
    line = task.show("sendmsg", 3, task.message(control=control(level, kind, data)), 0)
    assert f"msg_control=[{{cmsg_len={16 + len(data)}, {shown}}}]" in line


def test_control_messages_end_where_the_buffer_does(task):
    two = control(1, 1, pack("<i", 5)) + control(1, 2, pack("<iII", 1, 2, 3))
    assert task.show("sendmsg", 3, task.message(control=two), 0).count("cmsg_len=") == 2
    assert "}, ... /* 0x" in task.show("sendmsg", 3, task.message(control=two[:27]), 0)
    assert task.show("sendmsg", 3, task.message(control=pack("<Qii", 1 << 60, 1, 1)), 0).count("cmsg_len=") == 1


def test_a_received_message_shows_what_came_and_no_more(task):
    def fill(view: View) -> None:
        view.memory.write(view.args[1] + 8, pack("<i", 0))

    line = task.show("recvmsg", 3, task.message(b"n" * 20, (b"helloXXXXX", b"YYY")), 0, value=5, meanwhile=fill)
    assert 'msg_namelen=20 => 0, msg_iov=[{iov_base="hello", iov_len=10}, {iov_base="", iov_len=3}]' in line
    assert task.show("recvmsg", 3, task.message(b"n" * 20), 0, error=EAGAIN).startswith("recvmsg(3, {msg_namelen=20}, 0) = -1")


def test_many_messages_say_how_long_each_was(task):
    heads = b"".join(task.message(parts=(b"abc",)) + pack("<I4x", 3) for _ in range(2))
    assert task.show("sendmmsg", 3, heads, 2, 0, value=1).count("msg_len=3") == 1
    assert "msg_len" not in task.show("sendmmsg", 3, heads, 2, 0, error=EBADF)
    assert task.show("recvmmsg", 3, heads, 2, 0, pack("<qq", 1, 2), value=2).endswith("{tv_sec=1, tv_nsec=2}) = 2 (left "
                                                                                      "{tv_sec=1, tv_nsec=2})")  # fmt: skip
    assert task.show("recvmmsg", 3, heads, 2, 0, pack("<qq", 0, 0), value=0).endswith("= 0 (Timeout)")


def test_received_bytes_are_no_more_than_the_buffer_holds(show):
    assert show("recvfrom", 3, b"hel", 3, 0x20, 0, 0, value=5) == 'recvfrom(3, "hel", 3, MSG_TRUNC, NULL, NULL) = 5'


# -- netlink --------------------------------------------------------------------------------------------------


def link(attributes: bytes = b"") -> bytes:
    body = pack("<BxHiII", 0, 1, 0, 1, 0) + attributes
    return pack("<IHHII", 16 + len(body), 18, 0x301, 7, 0) + body


LIMIT = netlink.Limit(32, 32)
SHOWN_LINK = ("{nlmsg_len=%d, nlmsg_type=RTM_GETLINK, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP, nlmsg_seq=7, nlmsg_pid=0}, "
              "{ifi_family=AF_UNSPEC, ifi_type=ARPHRD_ETHER, ifi_index=0, ifi_flags=IFF_UP, ifi_change=0}")  # fmt: skip


def test_netlink_shows_its_messages_and_their_attributes():
    name = pack("<HH", 7, 3) + b"lo\0\0"
    assert netlink.messages(0, link(), LIMIT) == f"[{SHOWN_LINK % 32}]"
    assert netlink.messages(0, link(name), LIMIT) == f'[{SHOWN_LINK % 40}, [{{nla_len=7, nla_type=IFLA_IFNAME}}, "lo"]]'
    assert netlink.messages(0, link() + link(), LIMIT) == f"[[{SHOWN_LINK % 32}], [{SHOWN_LINK % 32}]]"


def test_an_answer_of_netlink_names_the_error_and_the_question():
    error = pack("<IHHIIi", 36, 2, 0x100, 7, 5, -2) + link()[:16]
    assert "nlmsg_type=NLMSG_ERROR, nlmsg_flags=NLM_F_CAPPED" in netlink.messages(0, error, LIMIT)
    assert "{error=-ENOENT, msg={nlmsg_len=32, nlmsg_type=RTM_GETLINK" in netlink.messages(0, error, LIMIT)


def test_errors_within_errors_come_to_an_end():
    nested = b""
    for _ in range(200):
        nested = pack("<IHHIIi", 20 + len(nested), 2, 0, 0, 0, -1) + nested
    assert netlink.messages(0, nested, LIMIT).count("error=") <= 4


def test_a_netlink_socket_is_known_by_what_its_descriptor_is(task):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as own, socket.socket() as other:
        own.bind((0, 0))
        task.files = {3: os.readlink(f"/proc/self/fd/{own.fileno()}"), 4: os.readlink(f"/proc/self/fd/{other.fileno()}"),
                      5: "NETLINK:[ROUTE:7]", 6: "/etc/passwd"}  # fmt: skip
        message = link()
        for fd, is_netlink in ((3, True), (4, False), (5, True), (6, False), (7, False), (-1, False)):
            line = task.show("sendto", fd, message, len(message), 0, 0, 0, value=len(message))
            assert ("nlmsg_type=RTM_GETLINK" in line) is is_netlink


# -- endpoints ------------------------------------------------------------------------------------------------


def inode_of(sock: socket.socket) -> int:
    return int(os.readlink(f"/proc/self/fd/{sock.fileno()}")[8:-1])


def test_an_endpoint_has_both_ends_of_a_connection():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        here, there = client.getsockname()[1], server.getsockname()[1]
        assert endpoints.endpoint(inode_of(server)) == f"TCP:[127.0.0.1:{there}]"
        assert endpoints.endpoint(inode_of(client)) == f"TCP:[127.0.0.1:{here}->127.0.0.1:{there}]"


def test_an_endpoint_of_a_unix_socket_names_its_peer():
    one, other = socket.socketpair()
    with one, other:
        assert endpoints.endpoint(inode_of(one)) == f"UNIX-STREAM:[{inode_of(one)}->{inode_of(other)}]"


def test_a_name_of_a_unix_socket_may_have_spaces():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0int80 test {os.getpid()}")
        server.listen()
        assert endpoints.endpoint(inode_of(server)) == f'UNIX-STREAM:[{inode_of(server)},@"int80 test {os.getpid()}"]'


def test_a_socket_that_nothing_lists_has_its_protocol_through_a_link_only():
    with socket.socket() as fresh:
        number = inode_of(fresh)
        assert endpoints.endpoint(number) is None
        assert endpoints.endpoint(number, f"/proc/self/fd/{fresh.fileno()}") == f"TCP:[{number}]"


@pytest.mark.parametrize(
    ("family", "host", "shown"),
    [(socket.AF_INET, "127.0.0.1", "TCP:[127.0.0.1:"), (socket.AF_INET6, "::1", "TCPv6:[[::1]:")],
)
def test_a_socket_that_is_bound_and_no_more_has_its_address(family, host, shown):
    with socket.socket(family) as bound:
        try:
            bound.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is not there")
        number, link = inode_of(bound), f"/proc/self/fd/{bound.fileno()}"
        since_6_8, before = f"{shown}{bound.getsockname()[1]}]", f"{shown.partition(':')[0]}:[{number}]"
        assert endpoints.endpoint(number, link) in (since_6_8, before)


def test_a_unix_socket_remembers_a_peer_that_has_left():
    one, other = socket.socketpair()
    with one:
        with other:
            together = endpoints.endpoint(inode_of(one))
        assert endpoints.endpoint(inode_of(one)) == together


def test_a_pidfd_is_of_a_process():
    fd = os.pidfd_open(os.getpid())
    try:
        assert describe_more(os.getpid(), fd) == f"pid:{os.getpid()}"
    finally:
        os.close(fd)


# -- hostile guests -------------------------------------------------------------------------------------------


def test_no_registers_and_no_memory_make_a_printer_raise(monkeypatch):
    monkeypatch.setattr(netlink, "netlink_protocol", lambda inode, is_likely: inode)
    chance = random.Random(80)
    memory = Memory()
    pages = [memory.room(4096) for _ in range(6)]
    for page in pages:
        memory.write(page, chance.randbytes(4096) if page is not pages[0] else b"\xff" * 4096)
    pointers = [page + offset for page in pages for offset in (0, 8, 2048, 4080, 4095)] + [0, BAD, U64, U64 - 7, 1 << 63]
    for page in pages[2:]:  # structures that lead on to others
        memory.write(page, b"".join(pack("<Q", chance.choice((*pointers, 5, 40))) for _ in range(256)))
    numbers = [0, 1, 2, 3, 4, 8, 16, 17, 24, 41, 56, 100, 136, 263, 4096, 70000, 1 << 31, 1 << 32, (1 << 63) - 1, U64 - 99, U64]
    styles = [Style(), Style(strings=0), Style(strings=200, verbose=True), Style(paths=2, verbose=True)]
    files = {3: "socket:[0]", 4: "socket:[4]", 16: "NETLINK:[XFRM:7]"}

    def register() -> int:
        match chance.randrange(3):
            case 0:
                return chance.choice(pointers)
            case 1:
                return chance.choice(numbers)
        return chance.getrandbits(chance.choice((4, 16, 32, 64)))

    for name, signature in CALLS.items():
        for _ in range(60):
            view = View(0, tuple([register() for _ in range(6)]), memory, chance.choice(styles), files.get)
            words = signature.early(view)
            error = chance.choice((0, 0, EFAULT, 512))
            view.value, view.error = (-error, error) if error else (chance.choice(numbers[:15]), 0)
            words += signature.late(view)
            words.append(result_of(signature, view))
            assert all(isinstance(word, str) for word in words), name


def test_no_datagram_makes_netlink_raise():
    chance = random.Random(80)
    for _ in range(1500):
        kind = chance.choice((2, 3, 16, 18, 20, 24, 28, 32, 36, 80, 84, 999))
        body = chance.randbytes(chance.randrange(120))
        if chance.randrange(2):
            attribute = pack("<HH", chance.randrange(40), chance.randrange(70))
            body = pack("<B", chance.choice((0, 1, 2, 10))) + body[1:19] + attribute + body
        data = pack("<IHHII", chance.choice((0, 15, 17, 16 + len(body), U64 >> 32)), kind, chance.getrandbits(12), 0, 0) + body
        assert isinstance(netlink.messages(chance.choice((0, 4, 6, 9, 12, 16, 99)), data * chance.randrange(1, 3), LIMIT), str)
