"""Guests with sockets: they find each other by the names they know, and nobody outside, whatever they try."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import has_ipv6

_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 to compare with")
CONNECTED = ("connect", "bind", "sendto", "sendmsg", "pointer")


@pytest.fixture
def sockets(run, guest):
    """Run `sockets HOW ...` in a root of its own; the lines it prints."""
    program = run.put(guest("sockets"), "sockets")

    def call(*words: str, options: tuple[str, ...] = (), stdin=subprocess.DEVNULL) -> list[str]:
        command = [*run._command, "run", "--rootfs", str(run.root), *options, "--", program, *words]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=60, start_new_session=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return call


class Outside:
    """Servers of the host's; `heard` is what came to any of them."""

    def __init__(self, place: Path) -> None:
        self.heard: list[str] = []
        self.tag = f"outside-{os.getpid()}"
        self.path = place / "outside.sock"
        self._sockets: list[socket.socket] = []
        for name in (str(self.path), f"\0{self.tag}"):
            for kind, end in ((socket.SOCK_STREAM, "s"), (socket.SOCK_DGRAM, "d"), (socket.SOCK_SEQPACKET, "q")):
                self._bind(socket.AF_UNIX, kind, name + end)

    def _bind(self, family: int, kind: int, name) -> socket.socket:
        server = socket.socket(family, kind)
        server.bind(name)
        if kind != socket.SOCK_DGRAM:
            server.listen(100)
        server.setblocking(False)
        self._sockets.append(server)
        return server

    def port(self, kind: int = socket.SOCK_STREAM) -> int:
        """A port of the host's loopback where a server listens."""
        return self._bind(socket.AF_INET, kind, ("127.0.0.1", 0)).getsockname()[1]

    def names(self) -> list[str]:
        """As `sockets` takes them."""
        return [str(self.path) + end for end in "sdq"] + [f"@{self.tag}{end}" for end in "sdq"]

    def close(self) -> None:
        for server in self._sockets:
            try:
                if server.type == socket.SOCK_DGRAM:
                    self.heard.append(f"{server.recv(100)!r}")
                else:
                    server.accept()[0].close()
                    self.heard.append("a connection")
            except BlockingIOError:
                pass
            server.close()


@pytest.fixture
def outside(tmp_path):
    """Servers outside, to which nothing must have come at the end."""
    place = tmp_path / "host"
    place.mkdir()
    servers = Outside(place)
    yield servers
    servers.close()
    assert servers.heard == []


# -- inside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--net", "host"), ("--no-patch",)], ids=["none", "host", "no-patch"])
def test_whoever_sent_or_connected_is_told_as_the_guest_knows_them(sockets, options):
    who = "pid mine, uid 0, gid 0"
    pair = [f"pair, write: 1 bytes, {who}", f"pair, sendmsg: 3 bytes, {who}", "pair, peer: pid mine, uid 0"]
    assert sockets("ids", options=options) == [
        f"sendto: 1 bytes, {who}", f"sendmsg: 3 bytes, {who}", f"send: 1 bytes, {who}", *pair * 3,
        "server: pid right, uid 0", "another's pid: EPERM", "another's uid: EPERM", "its own: done",
        "client: pid right, uid 8, gid 7", "message: 3 bytes, pid other, uid 8, gid 7",
    ]  # fmt: skip


def test_what_waits_is_interrupted_or_goes_on_as_natively(sockets, guest):
    native = subprocess.run([guest("sockets"), "waits"], capture_output=True, text=True, timeout=30, check=True)
    assert sockets("waits") == native.stdout.splitlines()
    assert native.stdout.splitlines()[-1] == "signal: PIPE"


@_IPV6
def test_many_messages_of_one_call_are_those_the_kernel_gives(run, guest):
    program = run.put(guest("many_messages"), "many")
    native = subprocess.run([guest("many_messages")], capture_output=True, text=True, timeout=30, check=True)
    done = subprocess.run(
        [*run._command, "run", "--rootfs", str(run.root), "--", program], capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert (done.stdout.splitlines(), done.stderr) == (native.stdout.splitlines(), "")
    assert "sent 5: 300000 300000 300000 300000 300000" in done.stdout


@_IPV6
def test_the_loopback_inside_is_as_the_kernels(int80):
    forms = ["/usr/bin/python3", "-W", "ignore", str(Path(__file__).with_name("socket_forms.py"))]
    native = subprocess.run(forms, capture_output=True, text=True, timeout=60, check=True)
    done = subprocess.run([*int80, "run", "--", *forms], capture_output=True, text=True, timeout=120)
    assert (done.stdout.splitlines(), done.stderr) == (native.stdout.splitlines(), "")


def test_sockets_sent_over_themselves_are_the_kernels_to_collect(sockets):
    assert sockets("cycles") == ["900 sent; a closed one: EBADF", "a closed descriptor: EBADF"]


PYTHON = """
import errno, os, socket, stat, struct
def fails(function, *arguments):
    try:
        function(*arguments)
    except OSError as problem:
        return errno.errorcode[problem.errno].replace("ENOTSUP", "EOPNOTSUPP")
os.chdir("/tmp")
"""


@pytest.fixture
def script(int80):
    """Run lines of Python on this machine's root; what they print."""

    def call(text: str, *options: str, stdin=subprocess.DEVNULL, user: str = "0:0") -> list[str]:
        command = [*int80, "run", "-u", user, *options, "--", "/usr/bin/python3", "-c", PYTHON + text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return call


def test_a_socket_file_has_the_name_and_mode_that_the_guest_gave_it(script):
    assert script("""
os.umask(0o027)
os.mkdir("there")
server = socket.socket(socket.AF_UNIX)
server.bind("there/../there/it")
print(server.getsockname(), oct(os.stat("there/it").st_mode))
print(fails(socket.socket(socket.AF_UNIX).bind, "there/it"), fails(socket.socket(socket.AF_UNIX).bind, "nowhere/it"))
print(fails(socket.socket(socket.AF_UNIX).connect, "there/it"))
server.listen()
os.rename("there/it", "moved"); os.symlink("moved", "link"); os.link("moved", "linked")
for name in ("moved", "link", "linked", "/proc/self/cwd/moved"):
    client = socket.socket(socket.AF_UNIX)
    client.connect(name)
    print(client.getpeername(), server.accept()[0].getsockname())
os.unlink("linked"); os.unlink("moved")
print(fails(client.connect, "link"), fails(socket.socket(socket.AF_UNIX).connect, "link"))
open("file", "w").close()
print(fails(socket.socket(socket.AF_UNIX).connect, "file"), fails(socket.socket(socket.AF_UNIX).bind, "file"))
""") == [
        "there/../there/it 0o140750",
        "EADDRINUSE ENOENT",
        "ECONNREFUSED",
        *["there/../there/it there/../there/it"] * 4,
        "ENOENT ENOENT",
        "ECONNREFUSED EADDRINUSE",
    ]


def test_the_mode_of_a_socket_without_a_name_is_its_files(script):
    assert script("""
os.umask(0o027)
server = socket.socket(socket.AF_UNIX)
os.fchmod(server.fileno(), 0o717)
server.bind("it")
os.fchmod(server.fileno(), 0o4444)
print(oct(os.stat("it").st_mode), oct(os.fstat(server.fileno()).st_mode))
server.listen()
os.chmod("it", 0)
print(fails(socket.socket(socket.AF_UNIX).connect, "it"))
os.seteuid(5)
print(fails(socket.socket(socket.AF_UNIX).connect, "it"))
""") == ["0o140710 0o140444", "None", "EACCES"]


def test_messages_tell_real_ids_and_a_connection_the_effective_ones_it_was_made_with(script):
    assert script("""
def ids(data):
    return struct.unpack("3i", data)[1:]
server, heard = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind("/tmp/server"); heard.bind("/tmp/heard"); server.listen()
heard.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
os.chmod("/tmp/server", 0o777); os.chmod("/tmp/heard", 0o777)
if not os.fork():
    os.setresgid(4, 5, 6); os.setresuid(1, 2, 3)
    client, pair = socket.socket(socket.AF_UNIX), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.connect("/tmp/server")
    speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    speaker.sendto(b"by name", "/tmp/heard")
    speaker.connect("/tmp/heard")
    speaker.send(b"connected")
    os.seteuid(3)
    client.sendmsg([b"later"])
    client.recv(1)
    os._exit(0)
there = server.accept()[0]
print(there.recv(10), ids(there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
for _ in range(2):
    text, control, *_ = heard.recvmsg(20, 100)
    print(text, ids(control[0][2]))
""") == ["b'later' (2, 5)", "b'by name' (1, 4)", "b'connected' (1, 4)"]


def test_messages_of_the_ended_are_still_theirs(script):
    assert script("""
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
child = os.fork()
if not child:
    os.setresgid(4, 5, 6); os.setresuid(1, 2, 3)
    there.send(b"by number")
    there.sendmsg([b"and answered"])
    os._exit(0)
os.wait()
for _ in range(2):
    text, control, *_ = here.recvmsg(20, 100)
    print(text, control[0][2] == struct.pack("3i", child, 1, 4))
""") == ["b'by number' True", "b'and answered' True"]


def test_a_pidfd_of_who_connected_reaches_them(script):
    assert script("""
import signal
server = socket.socket(socket.AF_UNIX)
server.bind("/tmp/server"); server.listen()
child = os.fork()
if not child:
    client = socket.socket(socket.AF_UNIX)
    client.connect("/tmp/server")
    client.recv(1)
there = server.accept()[0]
number = there.getsockopt(socket.SOL_SOCKET, 77)
print(f"Pid:\\t{child}\\n" in open(f"/proc/self/fdinfo/{number}").read(), os.get_inheritable(number))
signal.pidfd_send_signal(number, signal.SIGTERM)
print(os.waitpid(child, 0)[1])
""") == ["True False", "15"]


def test_a_name_is_free_again_when_its_socket_is_closed(script):
    assert script("""
for turn in range(3):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        one, two = socket.socket(socket.AF_UNIX, kind), socket.socket(socket.AF_UNIX, kind)
        one.bind("\\0name")
        assert fails(two.bind, "\\0name") == "EADDRINUSE", kind
        one.close()
        two.bind("\\0name")
        two.close()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one, two = socket.socket(socket.AF_INET, kind), socket.socket(socket.AF_INET, kind)
        one.bind(("127.0.0.1", 99))
        assert fails(two.bind, ("0.0.0.0", 99)) == "EADDRINUSE", kind
        one.close()
        two.bind(("127.0.0.2", 99))
        two.close()
print("done")
""") == ["done"]


def test_datagrams_tell_their_sender_and_answers_come_back(script):
    assert script("""
for family, here, there in ((socket.AF_UNIX, "\\0here", "there"), (socket.AF_INET, ("127.0.0.1", 5), ("127.0.0.1", 6)),
                            (socket.AF_INET6, ("::1", 5, 0, 0), ("::1", 6, 0, 0))):
    one, two = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    one.bind(here); two.bind(there)
    two.sendto(b"question", here)
    text, sender = one.recvfrom(100)
    assert sender == two.getsockname() and text == b"question", sender
    one.sendmsg([b"ans", b"wer"], [], 0, sender)
    text, control, flags, sender = two.recvmsg(3)
    assert (text, flags, sender) == (b"ans", socket.MSG_TRUNC, one.getsockname()), (text, flags, sender)
    two.connect(here)
    two.send(b"connected")
    assert one.recv(100) == b"connected"
print("done")
""") == ["done"]


def test_descriptors_and_data_go_over_every_kind_of_pair(script):
    assert script("""
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    read, write = os.pipe()
    socket.send_fds(one, [b"text"], [write, 0])
    text, files, flags, address = socket.recv_fds(two, 10, 5)
    os.write(files[0], b"through")
    print(text, len(files), os.read(read, 10), len(text))
""") == ["b'text' 2 b'through' 4"] * 3


# -- the loopback inside ----------------------------------------------------------------------------


def test_a_connection_inside_has_the_addresses_of_tcp(script):
    assert script("""
server = socket.create_server(("", 80))
client = socket.create_connection(("127.0.0.1", 80))
there, sender = server.accept()
print(server.getsockname(), client.getpeername(), there.getsockname(), sender == client.getsockname() == there.getpeername())
options = (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)
print([s.getsockopt(socket.SOL_SOCKET, option) for s in (client, there) for option in options])
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print([s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in (client, there)])
server.close(); there.sendall(b"still"); there.close()
print(client.recv(10), client.recv(10), fails(socket.create_connection, ("127.0.0.1", 80)))
server = socket.create_server(("::", 81), family=socket.AF_INET6, dualstack_ipv6=True)
for address in ("127.0.0.1", "::1"):
    client = socket.create_connection((address, 81))
    print(server.accept()[0].getpeername()[0], client.getpeername()[0])
""") == [
        "('0.0.0.0', 80) ('127.0.0.1', 80) ('127.0.0.1', 80) True",
        "[2, 1, 6, 2, 1, 6]",
        "[1, 0]",
        "b'still' b'' ECONNREFUSED",
        "::ffff:127.0.0.1 127.0.0.1",
        "::1 ::1",
    ]


def test_without_a_network_nothing_else_can_be_reached(script, outside):
    port, dgram = outside.port(), outside.port(socket.SOCK_DGRAM)
    assert script(f"""
print(fails(socket.create_connection, ("127.0.0.1", {port})), fails(socket.create_connection, ("198.51.100.1", 80)))
print(fails(socket.create_connection, ("2001:db8::1", 80)), fails(socket.create_server, ("198.51.100.1", 80)))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(sender.sendto(b"out", ("127.0.0.1", {dgram})), fails(sender.sendto, b"out", ("198.51.100.1", 53)))
sender.connect(("127.0.0.1", {dgram}))
print(sender.getpeername() == ("127.0.0.1", {dgram}), fails(sender.send, b"out"))
""") == ["ECONNREFUSED ENETUNREACH", "ENETUNREACH EADDRNOTAVAIL", "3 ENETUNREACH", "True ECONNREFUSED"]


def test_a_low_port_takes_the_capability_that_the_guest_believes_in(script):
    text = "print(fails(socket.create_server, ('127.0.0.1', 80)))"
    assert script(text) == ["None"]
    assert script(text, user="1000:1000") == ["EACCES"]


def test_the_loopback_is_the_only_interface(script):
    assert script("""
import fcntl
print(socket.if_nameindex(), {a[4][0] for a in socket.getaddrinfo(None, 80)} <= {"127.0.0.1", "::1"})
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answer = fcntl.ioctl(ask, 0x8915, struct.pack("16s24x", b"lo"))
print(socket.inet_ntoa(answer[20:24]), fails(fcntl.ioctl, ask, 0x8915, struct.pack("16s24x", b"eth0")))
print(fails(fcntl.ioctl, ask, 0x8914, struct.pack("16sh22x", b"lo", 0)), fails(fcntl.ioctl, 0, 0x8915, bytes(40)))
import ctypes
print(ctypes.CDLL(None).getifaddrs(ctypes.byref(ctypes.c_void_p())))
lines = open("/proc/net/unix").read().splitlines() + open("/proc/net/tcp").read().splitlines()
print(len(lines))
""") == ["[(1, 'lo')] True", "127.0.0.1 ENODEV", "EPERM ENOTTY", "0", "3"]


def test_sockets_that_reach_past_the_addresses_are_not_made(script):
    assert script("""
for arguments in ((socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_RAW, 0),
                  (socket.AF_INET, socket.SOCK_DGRAM, 1), (socket.AF_INET, socket.SOCK_STREAM, 132),
                  (socket.AF_VSOCK, socket.SOCK_STREAM), (socket.AF_ALG, socket.SOCK_SEQPACKET),
                  (socket.AF_NETLINK, socket.SOCK_RAW, 9), (socket.AF_INET, 77)):
    print(fails(socket.socket, *arguments))
print(fails(socket.socketpair, socket.AF_INET))
""") == ["EPERM", "EPERM", "EACCES", "EPROTONOSUPPORT", "EAFNOSUPPORT", "EAFNOSUPPORT", "EPROTONOSUPPORT", "EINVAL", "EOPNOTSUPP"]


def test_names_of_many_dead_sockets_are_forgotten(script):
    """More than a supervisor may have open, all at once."""
    assert script("""
server = socket.create_server(("127.0.0.1", 80))
for turn in range(1500):
    client = socket.create_connection(("127.0.0.1", 80))
    server.accept()[0].close()
    client.close()
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind(f"\\0{turn}")
    one.close()
print("done")
""") == ["done"]


# -- the host's network -----------------------------------------------------------------------------


def _serve(server: socket.socket) -> None:
    with server:
        while True:
            connection, _ = server.accept()
            connection.sendall(b"host")
            connection.close()
            return


def test_the_hosts_network_is_there_if_asked_for(script):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    thread = threading.Thread(target=_serve, args=(server,), daemon=True)
    thread.start()
    assert script(f"print(socket.create_connection(('127.0.0.1', {port})).recv(10))", "--net", "host") == ["b'host'"]
    thread.join(10)


def test_only_what_is_on_the_list_is_reached(script, outside):
    server = socket.create_server(("127.0.0.1", 0))
    port, other, dgram = server.getsockname()[1], outside.port(), outside.port(socket.SOCK_DGRAM)
    thread = threading.Thread(target=_serve, args=(server,), daemon=True)
    thread.start()
    text = f"""
print(socket.create_connection(("127.0.0.1", {port})).recv(10))
for where in (("127.0.0.1", {other}), ("0.0.0.0", {other}), ("127.0.0.2", {port})):
    print(fails(socket.create_connection, where))
print(fails(socket.create_connection, ("::ffff:127.0.0.1", {other})))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
where = ("127.0.0.1", {dgram})
print(fails(sender.sendto, b"out", where), fails(sender.sendmsg, [b"out"], [], 0, where), fails(sender.connect, where))
print(fails(socket.socket().sendto, b"out", socket.MSG_FASTOPEN, ("127.0.0.1", {other})))
print(fails(sender.setsockopt, socket.IPPROTO_IP, socket.IP_OPTIONS, b"\\0" * 4))
print(fails(sender.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo"))
print(fails(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1), fails(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, 1))
"""
    assert script(text, "--net", "host", "--allow", f"127.0.0.1:{port}") == [
        "b'host'", *["EACCES"] * 4, "EACCES EACCES EACCES", "EOPNOTSUPP", "EPERM", "EPERM", "EPERM EACCES",
    ]  # fmt: skip
    thread.join(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_published_port_is_the_hosts_outside_and_the_guests_inside(int80):
    port = _free_port()
    text = """
server = socket.create_server(("127.0.0.1", 80))
print(server.getsockname(), flush=True)
there, _ = server.accept()
there.sendall(repr(there.getsockname()).encode())
there.close()
client = socket.create_connection(("127.0.0.1", 80))
there, _ = server.accept()
there.sendall(b"inside")
print(client.recv(10), client.getpeername()[1])
"""
    options = ("--net", "host", "--allow", "127.0.0.1:1", "-p", f"{port}:80")
    command = [*int80, "run", *options, "--", "/usr/bin/python3", "-c", PYTHON + text]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "('127.0.0.1', 80)\n"
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(100) == b"('127.0.0.1', 80)"
        assert process.stdout.read() == "b'inside' 80\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "options, says",
    [
        (("--allow", "a:1"), "add --net host"),
        (("-p", "1:2"), "add --net host"),
        (("--net", "host", "--allow", "a"), "give HOST:PORT"),
        (("--net", "host", "--allow", "::1:80"), "give HOST:PORT"),
        (("--net", "host", "--allow", "127.0.0.1:0"), "a number from 1 to 65535"),
        (("--net", "host", "--allow", "no-such-name.invalid:1"), "no address is known"),
        (("--net", "host", "-p", "80"), "two port numbers"),
        (("--net", "host", "-p", "0:80"), "two port numbers"),
        (("--net", "host", "-p", "8080:80", "-p", "8081:80"), "published already"),
        (("--net", "some"), "--net some: give one of none, host"),
    ],
)
def test_bad_options_are_said_in_one_line(int80, options, says):
    done = subprocess.run([*int80, "run", *options, "--", "true"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 125
    assert says in done.stderr and done.stderr.count("\n") == 1


# -- who wants out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--net", "host")], ids=["none", "host"])
def test_no_socket_of_the_hosts_is_reached_by_its_name(sockets, outside, run, options):
    """By an abstract name, and by a path that leads outside the root or to an inode of the host's in a volume."""
    parents = "../" * 9
    names = [*outside.names(), *(parents + name.lstrip("/") for name in outside.names()[:3])]
    names += [f"/host/{Path(name).name}" for name in outside.names()[:3]] + ["/proc/self/fd/0", "/proc/self/cwd/../host/x"]
    said = sockets("reach", *names, options=("-v", f"{outside.path.parent}:/host", *options), stdin=subprocess.DEVNULL)
    assert not [line for line in said if line.endswith("done")], said


def test_no_socket_of_the_hosts_is_reached_on_its_own_root(int80, guest, outside):
    command = [*int80, "run", "-v", f"{guest('sockets')}:/bin/sk", "--", "/bin/sk", "reach", *outside.names()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "connect ECONNREFUSED" in done.stdout
    assert "done" not in done.stdout


def test_a_socket_that_was_handed_in_leads_nowhere_else(sockets, outside):
    """A datagram socket of each family, which would heed an address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stdin:
        said = sockets("reach", *outside.names(), stdin=stdin)
    assert not [line for line in said if line.endswith("done")], said
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        port = outside.port(kind)
        with socket.socket(socket.AF_INET, kind) as stdin:
            said = sockets("handed", str(port), stdin=stdin)
        assert said[0] == "connect ENETUNREACH" and not [line for line in said if line.endswith("done")], said


def test_what_was_handed_in_works_as_it_is(script):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert script("""
there = socket.socket(fileno=0)
there.sendmsg([b"out"])
there.detach()
""", stdin=theirs) == []
        assert ours.recv(10) == b"out"
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        assert script("""
server = socket.socket(fileno=0)
there, address = server.accept()
there.sendall(b"served")
print(address[0])
server.detach()
""", stdin=server) == ["127.0.0.1"]
        assert client.recv(10) == b"served"
        client.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", CONNECTED)
@pytest.mark.parametrize("kind", ["abstract", "path"])
def test_a_name_changed_while_it_is_used_is_never_one_of_the_hosts(sockets, outside, run, how, kind):
    end = "s" if how in ("connect", "bind") else "d"
    bound = how == "bind"
    if kind == "abstract":
        there = f"@{outside.tag}{'-new' if bound else end}"
        here = "@" + "i" * (len(there) - 1)
    else:
        there = f"/host/outside.{'new' if bound else 'sock' + end}"
        here = "/tmp/" + "i" * (len(there) - 5)
    options = () if bound else ("-v", f"{outside.path.parent}:/host")
    inside, refused = (int(part.split()[0]) for part in sockets("race", how, here, there, options=options)[0].split(", "))
    assert inside > 20
    assert refused > 0 or (bound and kind == "abstract")  # which is then a name inside
    if bound:
        assert sorted(os.listdir(outside.path.parent)) == [f"outside.sock{end}" for end in "dqs"]
        assert f"@{outside.tag}-new" not in Path("/proc/net/unix").read_text()


@pytest.mark.parametrize("which", ["abstract", "path"])
def test_a_descriptor_swapped_for_a_socket_that_heeds_the_address_reaches_nobody(sockets, outside, which):
    name = f"@{outside.tag}d" if which == "abstract" else str(outside.path) + "d"
    assert int(sockets("race-descriptor", name)[0].split()[0]) > 20


@pytest.mark.parametrize("how", ["stream", "dgram"])
def test_a_port_changed_while_it_is_used_is_one_on_the_list(sockets, outside, how):
    kind = socket.SOCK_STREAM if how == "stream" else socket.SOCK_DGRAM
    forbidden = outside.port(kind)
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if how == "stream":
            server.listen(4096)
        allowed = server.getsockname()[1]
        options = ("--net", "host", "--allow", f"127.0.0.1:{allowed}")
        said = sockets("race-inet", how, str(allowed), str(forbidden), options=options)[0]
    reached, refused = (int(part.split()[0]) for part in said.split(", "))
    assert reached > 20 and refused > 20
