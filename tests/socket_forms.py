"""Says how sockets of the loopback behave, a line for each thing tried: run natively and inside, the same must be said."""

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import tempfile
import threading

_EXECUTED = """
import socket, sys
s = socket.socket(fileno=int(sys.argv[1]))
print("executed", s.family, s.type, s.proto, s.getpeername()[0], flush=True)
s.sendall(b"executed")
"""
FOUR, SIX = "127.0.0.1", "::1"


def say(what, *values):
    print(what, *values, flush=True)


def tried(call, *args):
    """The result of a call, or the name of its error."""
    try:
        return call(*args)
    except OSError as problem:
        return errno.errorcode.get(problem.errno, problem)


def listening(host=FOUR, family=socket.AF_INET, **options):
    server = socket.socket(family)
    server.bind((host, 0))
    server.listen(options.get("backlog", 5))
    return server


def connected(family=socket.AF_INET, host=FOUR):
    with listening(host, family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        return client, server.accept()[0]


def bound(family=socket.AF_INET, host=FOUR):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def addresses():
    for family, host in ((socket.AF_INET, FOUR), (socket.AF_INET6, SIX)):
        one, two = connected(family, host)
        say(
            "addresses",
            one.getpeername() == two.getsockname(),
            two.getpeername() == one.getsockname(),
            one.getsockname()[0],
            one.getsockname()[2:],
        )
    server = listening("::", socket.AF_INET6)
    port = server.getsockname()[1]
    client = socket.create_connection((FOUR, port))
    say("dual stack", server.accept()[1][0], client.getpeername()[0])
    say("taken", tried(socket.socket().bind, (FOUR, port)), tried(socket.socket().bind, ("", port)))
    only = socket.socket(socket.AF_INET6)
    only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    only.bind(("::", 0))
    only.listen()
    say(
        "v6 only",
        tried(socket.create_connection, (FOUR, only.getsockname()[1])),
        tried(socket.socket().bind, (FOUR, only.getsockname()[1])),
    )
    mapped = socket.socket(socket.AF_INET6)
    four = listening()
    mapped.connect(("::ffff:127.0.0.1", four.getsockname()[1]))
    say("mapped", mapped.getpeername()[0], mapped.getsockname()[0], four.accept()[1][0])
    other = listening("127.0.0.5")
    client = socket.create_connection(other.getsockname())
    say("another address", client.getpeername()[0], client.getsockname()[0])
    say("zero", socket.create_connection(("0.0.0.0", four.getsockname()[1])).getpeername()[0])
    say("names", sorted({info[4][0] for info in socket.getaddrinfo("localhost", 80, socket.AF_INET)}))
    say("bad addresses", tried(socket.socket().bind, ("192.0.2.1", 0)), tried(socket.socket().connect, (FOUR, 1)))


def ports():
    def two(*options):
        one, other = socket.socket(), socket.socket()
        for sock in (one, other):
            for option in options:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
        one.bind((FOUR, 0))
        result = tried(other.bind, one.getsockname())
        result = result, tried(one.listen), tried(other.listen)
        return result

    say("sharing", two(), two(socket.SO_REUSEPORT))
    one = bound()
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    say("datagrams share", tried(again.bind, one.getsockname()))
    server = listening()
    port = server.getsockname()[1]
    client = socket.create_connection((FOUR, port))
    peer = server.accept()[0]
    server.close()
    again = socket.socket()
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.close()
    peer.close()
    again.bind((FOUR, 0))
    again.listen()
    fresh = socket.socket()
    fresh.listen()
    say("listens unbound", fresh.getsockname()[0], fresh.getsockname()[1] > 0)
    mine = socket.socket()
    mine.bind((FOUR, 0))
    name = mine.getsockname()
    mine.connect(again.getsockname())
    say("bound before", again.accept()[1] == name, tried(mine.bind, (FOUR, 0)), tried(mine.connect, again.getsockname()))


def messages():
    one, two = bound(), bound()
    one.sendto(b"0123456789", two.getsockname())
    say(
        "peek",
        two.recv(4, socket.MSG_PEEK),
        two.recv_into(bytearray(4), 4, socket.MSG_PEEK | socket.MSG_TRUNC),
        two.recvmsg(4)[2] == socket.MSG_TRUNC,
    )
    say("empty", one.sendto(b"", two.getsockname()), two.recvfrom(10)[0])
    say("none there", tried(two.recv, 10, socket.MSG_DONTWAIT))
    say(
        "big",
        tried(one.sendto, bytes(65508), two.getsockname()),
        one.sendto(bytes(65507), two.getsockname()),
        len(two.recv(70000)),
    )
    for number in range(100):
        one.sendto(b"%d" % number, two.getsockname())
    two.settimeout(20)
    come = [two.recvfrom(10) for _ in range(100)]
    expected = [(b"%d" % number, one.getsockname()) for number in range(100)]
    say("many", come == expected)
    say("port 0", tried(one.sendto, b"x", (FOUR, 0)))
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 1))])
    pair[0].send(b"y")
    say("from a socket without a name", pair[1].recvmsg(1)[3], pair[1].recvfrom(1))
    one, two = connected()
    done = []
    reader = threading.Thread(target=lambda: done.append(two.recv(6, socket.MSG_WAITALL)))
    reader.start()
    one.sendall(b"abc")
    one.sendall(b"defg")
    reader.join()
    say("all", done, two.recv(5))
    one.sendall(b"stream")
    say("peek", two.recv(3, socket.MSG_PEEK), two.recv(10), tried(two.recv, 1, socket.MSG_DONTWAIT))


def ends():
    one, two = connected()
    one.sendall(b"last")
    one.shutdown(socket.SHUT_WR)
    say("half closed", two.recv(10), two.recv(10), tried(one.send, b"x"))
    two.sendall(b"still")
    say("other half", one.recv(10))
    two.shutdown(socket.SHUT_RDWR)
    say("closed", one.recv(10), tried(two.send, b"x"))
    say("no peer", tried(socket.socket().shutdown, socket.SHUT_RD), tried(socket.socket().getpeername))
    one, two = connected()
    poll = select.poll()
    poll.register(two, select.POLLIN | select.POLLRDHUP | select.POLLOUT)
    say("open", poll.poll(0)[0][1])
    one.shutdown(socket.SHUT_WR)
    say("hung up", poll.poll(1000)[0][1])
    server = listening()
    server.shutdown(socket.SHUT_RDWR)
    say("server shut", tried(server.accept), tried(socket.create_connection, server.getsockname()))


def waits():
    server = listening()
    client = socket.socket()
    client.setblocking(False)
    say("under way", errno.errorcode[client.connect_ex(server.getsockname())])
    say("writable", select.select([], [client], [], 5)[1] == [client], client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    client.connect_ex(server.getsockname())
    say("once more", errno.errorcode[client.connect_ex(server.getsockname())])
    say("nobody waits", tried(socket.socket().accept), tried(client.listen))


def options():
    one, _ = connected()
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 7),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500),
        (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0),
        (socket.IPPROTO_TCP, socket.TCP_CORK, 1),
        (socket.IPPROTO_IP, socket.IP_TOS, 0x10),
        (socket.IPPROTO_IP, socket.IP_TTL, 33),
        (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0),
        (socket.IPPROTO_TCP, socket.TCP_SYNCNT, 4),
        (socket.IPPROTO_TCP, socket.TCP_LINGER2, 9),
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1000),
    ):
        before = tried(one.getsockopt, level, option)
        say("option", level, option, before, tried(one.setsockopt, level, option, value), tried(one.getsockopt, level, option))
    say(
        "kind",
        [
            one.getsockopt(socket.SOL_SOCKET, option)
            for option in (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ACCEPTCONN)
        ],
    )
    say(
        "info",
        len(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)),
        one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1),
    )
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    unknown = tried(one.setsockopt, socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"none")
    say("congestion", one.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0"), unknown)
    say(
        "linger",
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3)),
        one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8),
    )
    say(
        "bad",
        tried(one.setsockopt, socket.IPPROTO_TCP, 999, 1),
        tried(one.getsockopt, 12345, 1),
        tried(bound().setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    )
    say(
        "bad ttl",
        tried(one.setsockopt, socket.IPPROTO_IP, socket.IP_TTL, 256),
        tried(one.setsockopt, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 0),
    )
    six = connected(socket.AF_INET6, SIX)[0]
    say(
        "six",
        tried(six.getsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
        tried(six.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9),
        tried(six.getsockopt, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
        tried(six.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 8),
        tried(six.getsockopt, socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
    )
    say("four of six", tried(one.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 8))
    accepted = listening()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = socket.create_connection(accepted.getsockname())
    say(
        "inherited",
        accepted.accept()[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
    )


def datagrams():
    one, two = bound(), bound()
    one.connect(two.getsockname())
    one.send(b"to two")
    say("connected", two.recv(10), one.getpeername() == two.getsockname())
    third = bound()
    third.sendto(b"stranger", one.getsockname())
    say("strangers", tried(one.recv, 10, socket.MSG_DONTWAIT))
    libc = ctypes.CDLL(None, use_errno=True)
    say("disconnect", libc.connect(one.fileno(), struct.pack("<H14x", 0), 16), tried(one.getpeername))
    say("again", one.sendto(b"known", third.getsockname()), third.recv(10))
    one.connect(third.getsockname())
    say("reconnected", one.getpeername() == third.getsockname())
    say("elsewhere", one.sendto(b"by name", two.getsockname()), two.recv(10))
    gone = bound()
    address = gone.getsockname()
    gone.close()
    lost = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    say("to nobody", lost.sendto(b"x", address), tried(lost.connect, address))
    say("listen", tried(one.listen), tried(one.accept))
    six = bound(socket.AF_INET6, "::")
    bound().sendto(b"from four", (FOUR, six.getsockname()[1]))
    say("dual", six.recvfrom(20)[0], six.getsockname()[0])


def marks():
    """What a datagram's header says, told beside it."""

    def delivers(sock, *options):
        level = socket.IPPROTO_IP if sock.family == socket.AF_INET else socket.IPPROTO_IPV6
        for option in options:
            sock.setsockopt(level, option, 1)

    four, sender = bound(host=""), bound()
    delivers(four, 8, 12, 13)  # IP_PKTINFO, IP_RECVTTL, IP_RECVTOS
    port = four.getsockname()[1]
    sender.sendto(b"usual", (FOUR, port))
    say("usual", four.recvmsg(10, 200)[:3])
    sender.sendto(b"to another", ("127.0.0.5", port))
    say("another", four.recvmsg(20, 200)[:3])
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
    sender.sendto(b"by options", (FOUR, port))
    data, told, flags, who = four.recvmsg(20, 200)
    say("options", data, told, flags, who == sender.getsockname())
    one_call = [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 5)), (socket.IPPROTO_IP, socket.IP_TOS, b"\4")]
    sender.sendmsg([b"by ", b"messages"], one_call, 0, (FOUR, port))
    say("messages", four.recvmsg(20, 200)[:3])
    sender.connect((FOUR, port))
    sender.sendmsg([b"connected"], one_call)
    for room in (200, 60, 44, 20, 15, 0):
        say("room", room, four.recvmsg(20, room, socket.MSG_PEEK)[:3])
    say("without", four.recvfrom(20)[0])
    say("bad", tried(sender.sendmsg, [b"x"], [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 256))]))
    six, sender = bound(socket.AF_INET6, "::"), bound(socket.AF_INET6, SIX)
    delivers(six, socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS)
    port = six.getsockname()[1]
    sender.sendto(b"usual", (SIX, port))
    say("six", six.recvmsg(10, 200)[:3])
    marked = [(socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("i", 3))]
    marked += [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("i", 17))]
    sender.sendmsg([b"marked"], marked, 0, (SIX, port))
    say("six marked", six.recvmsg(10, 200)[:3])
    bound().sendto(b"from four", (FOUR, port))
    say("six from four", six.recvmsg(10, 200)[:3])
    friends = bound()
    friends.connect((FOUR, four.getsockname()[1]))
    four.connect(friends.getsockname())
    four.sendmsg([b"to a friend"], one_call)
    say("friend", friends.recv(20))


def files():
    one, two = connected()
    with tempfile.TemporaryFile() as file:
        file.write(b"from a file" * 100)
        file.flush()
        say(
            "sendfile",
            os.sendfile(one.fileno(), file.fileno(), 0, 2000),
            len(two.recv(2000)),
        )
    read, write = os.pipe()
    os.write(write, b"spliced")
    say("splice", os.splice(read, one.fileno(), 100), two.recv(100))
    say("stat", oct(os.fstat(one.fileno()).st_mode), os.readlink(f"/proc/self/fd/{one.fileno()}").partition(":")[0])
    one.sendall(b"four")
    say("count", struct.unpack("i", fcntl.ioctl(two, 0x541B, bytes(4))))
    child = os.fork()
    if not child:
        os._exit(0 if two.recv(4) == b"four" and two.send(b"from the child") else 1)
    say("child", os.waitpid(child, 0)[1], one.recv(20))
    os.set_inheritable(two.fileno(), True)
    os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", _EXECUTED, str(two.fileno())])
    say("exec", one.recv(20))
    parts = [b"a", b"bc"]
    say("vectors", os.writev(one.fileno(), parts), two.recv(10))


def listed():
    """Its own sockets in /proc/net: where they are, to whom, their state, owner and number."""
    one, two = listening(), listening("::", socket.AF_INET6)
    clients = [socket.create_connection((FOUR, server.getsockname()[1])) for server in (one, two)]
    accepted = [one.accept()[0], two.accept()[0]]
    udp, udp6, to = bound(host=""), bound(socket.AF_INET6, SIX), bound()
    to.connect((FOUR, udp.getsockname()[1]))
    unbound = [socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    known = [one, two, *clients, *accepted, udp, udp6, to, *unbound]
    ports = {f"{sock.getsockname()[1]:04X}": index for index, sock in enumerate(known) if sock.getsockname()[1]}
    numbers = {str(os.fstat(sock.fileno()).st_ino): index for index, sock in enumerate(known)}
    accepted[0].close()

    def place(word):
        address, port = word.split(":")
        return address, ports.get(port, port)

    for table in ("tcp", "tcp6", "udp", "udp6"):
        with open(f"/proc/net/{table}") as file:
            heading, *lines = file.read().splitlines()
        rows = [(line.split(), len(line)) for line in lines]
        rows = [(numbers[row[9]], row, size) for row, size in rows if row[9] in numbers]
        ours = [(index, place(row[1]), place(row[2]), row[3], int(row[7]) == os.getuid(), size) for index, row, size in rows]
        say(table, heading.split()[1:4], *sorted(ours))


def interfaces():
    sock = bound()
    hold = ctypes.create_string_buffer(400)
    data = fcntl.ioctl(sock, 0x8912, struct.pack("iP", 400, ctypes.addressof(hold)))
    found = struct.unpack("iP", data)[0]
    say(
        "interfaces",
        "lo" in [hold.raw[at : at + 16].rstrip(b"\0").decode() for at in range(0, found, 40)],
        "lo" in dict(map(reversed, socket.if_nameindex())),
    )
    say(
        "lo",
        fcntl.ioctl(sock, 0x8915, struct.pack("16s24x", b"lo"))[20:24],
        fcntl.ioctl(sock, 0x8933, struct.pack("16s24x", b"lo"))[16:20],
        socket.if_nametoindex("lo"),
    )
    say("absent", tried(fcntl.ioctl, sock, 0x8915, struct.pack("16s24x", b"nix0")))


def raw():
    say(
        "families",
        tried(socket.socket, 99),
        tried(socket.socket, socket.AF_INET, socket.SOCK_SEQPACKET),
        tried(socket.socket, socket.AF_INET, socket.SOCK_STREAM, 17),
        tried(socket.socket, socket.AF_INET, 77),
    )


for part in (addresses, ports, messages, ends, waits, options, datagrams, marks, files, listed, interfaces, raw):
    part()
