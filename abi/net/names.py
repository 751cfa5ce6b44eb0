"""The names under which the sandbox's sockets are known to the host's kernel, and what they are to the guest.

Every socket that has a name, be it a path, an abstract name or an internet address of the loopback inside, is really a
unix socket bound in a directory of the supervisor's own, under a name that stands there for a moment only: what is
kept is an ``O_PATH`` descriptor, through which the supervisor, and nobody else, connects to it.  The guest's name is looked
up here and nowhere else.  So a socket that was not bound inside cannot be named by any guest, also where its inode can
be seen, as on this machine's own root; and nobody outside finds a socket of the sandbox's by a name.

The alternatives were the guest's paths themselves, which would need a check that a socket was bound inside, and abstract
names, which every user of the host can connect to.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable

from abi.net import host
from abi.net.addresses import LOOPBACK4, LOOPBACK6, UNNAMED, Inet, unix
from vfs.kernel import error, self_path
from vfs.namespace import OpenFile

_ENOUGH = 64  # names that may have died before anybody looks


class Held(OpenFile):
    """A name's descriptor of one's own: nothing else can come to stand for its number."""

    __slots__ = ()

    @property
    def address(self) -> bytes:
        return unix(self_path(self.fd))


class Name:
    """One name given: to the kernel `host`, to the guest `shown` or, of an internet socket, `inet`.

    `creds` are host pid, uid and gid of whoever connected or listened with it, `sent` of whoever sent with it last, for those
    at the other end.
    """

    __slots__ = (
        "creds", "fd", "host", "inet", "inode", "keys", "kind", "place", "queue", "reuse", "sent", "shown", "socket", "v6only",
    )  # fmt: skip

    def __init__(self, given: bytes, fd: int, kind: int) -> None:
        self.host = given
        self.fd = fd
        self.kind = kind
        self.socket = 0  # the inode of the socket itself
        self.shown = UNNAMED
        self.creds: tuple[int, int, int] | None = None
        self.sent: tuple[int, int, int] | None = None
        self.inode: tuple[int, int] | None = None
        self.place: int | None = None  # a descriptor of the guest's socket file, lest its inode number be used again
        self.inet: Inet | None = None
        self.keys: tuple[int, int] | None = None  # in `Names.ports`
        self.reuse = False
        self.v6only = False
        self.queue = None  # the `abi.net.queues.Queue` of datagrams for it, while some wait

    @property
    def address(self) -> bytes:
        """The ``sockaddr`` that leads to the socket, to be used at once: the descriptor in it may be closed.  ECONNREFUSED."""
        if self.fd < 0:
            raise error(errno.ECONNREFUSED)
        return unix(self_path(self.fd))

    def hold(self) -> Held:
        """The same for a worker, who may use it later."""
        if self.fd < 0:
            raise error(errno.ECONNREFUSED)
        return Held(os.dup(self.fd))

    def close(self) -> None:
        for fd in (self.fd, self.place):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.place = None
        self.fd = -1

    __del__ = close


class Marks:
    """What an IP header says of a datagram: hop limit and traffic class, as IPv6 calls them."""

    __slots__ = ("hops", "tclass")

    def __init__(self, hops: int = 64, tclass: int = 0) -> None:
        self.hops = hops
        self.tclass = tclass

    @property
    def usual(self) -> bool:
        return (self.hops, self.tclass) == (64, 0)


class InetName:
    """An internet socket as its name tells it.

    `to` is the address it connected or sent to, if not the usual one, `marks` what a datagram from it is marked with.
    """

    __slots__ = ("address", "family", "marks", "to")

    def __init__(self, family: int, address: Inet, to: Inet | None, marks: Marks) -> None:
        self.family = family
        self.address = address
        self.to = to
        self.marks = marks


def _inet_words(family: int, inet: Inet, to: Inet | None, marks: Marks | None = None) -> bytes:
    """What of an internet socket stands in its name."""
    words = b",%d,%s,%d" % (family, inet.ip.hex().encode(), inet.port)
    if (to is not None and to.ip not in (LOOPBACK4, LOOPBACK6)) or marks is not None:
        words += b"," + (to.ip.hex().encode() if to is not None else b"")
    if marks is not None:
        words += b",%d,%d" % (marks.hops, marks.tclass)
    return words


class Names:
    """All names of one sandbox."""

    def __init__(self, make_directory: Callable[[], bytes]) -> None:
        self._make_directory = make_directory
        self._directory: int | None = None
        self._prefix = b""
        self._numbers = itertools.count(1)
        self._sweep_at = _ENOUGH
        self.given: dict[bytes, Name] = {}  # by the kernel's name
        self.files: dict[tuple[int, int], Name] = {}  # by the inode of the guest's socket file
        self.abstract: dict[bytes, Name] = {}
        self.ports: dict[tuple[int, int], list[Name]] = {}  # by protocol and port
        self.queues = 0  # how many names have one

    def give(self, fd: int, kind: int, inet: Inet | None = None, family: int = 0, to: Inet | None = None) -> Name:
        """Name the socket `fd`.

        `inet` and `to` are its own internet address and, if that is known, its peer's; `family` is the socket's.
        """
        if len(self.given) >= self._sweep_at:
            self.sweep()
        if self._directory is None:
            self._directory = os.open(self._make_directory(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._prefix = b"/proc/self/fd/%d/" % self._directory
        short = b"%d" % next(self._numbers)
        if inet is not None:
            # An accepted socket has its listener's name, and may outlive it: its address must be told from the name.
            short += _inet_words(family, inet, to)
        given = self._prefix + short
        host.bind(fd, unix(given))
        try:
            handle = os.open(short, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        finally:
            os.unlink(short, dir_fd=self._directory)
        name = self.given[given] = Name(given, handle, kind)
        name.inet = inet
        name.socket = os.fstat(fd).st_ino
        return name

    def send_marked(self, data: bytes, target: bytes, name: Name, family: int, to: Inet, marks: Marks, flags: int) -> int:
        """Send a datagram from a socket of the name's internet address, but marked: the marks stand in the kernel's name.

        EPERM where the receiver takes datagrams of the socket `name` alone.
        """
        fd = host.socket(host.AF_UNIX, host.SOCK_DGRAM | host.SOCK_CLOEXEC)
        try:
            short = b"0" + _inet_words(family, name.inet, to, marks)
            host.bind(fd, unix(self._prefix + short))
            os.unlink(short, dir_fd=self._directory)
            return host.sendmsg(fd, data, target, b"", flags)
        finally:
            os.close(fd)

    def find(self, raw: bytes) -> Name | None:
        """The name that a kernel's ``sockaddr`` holds, if it is one of these."""
        return self.given.get(raw[2:].split(b"\0", 1)[0])

    def inet(self, raw: bytes) -> InetName | None:
        """What a kernel's name says of an internet socket, dead or alive; None where it is none's."""
        given = raw[2:].split(b"\0", 1)[0]
        if not self._prefix or not given.startswith(self._prefix):
            return None
        words = given[len(self._prefix) :].decode().split(",")
        if len(words) < 4:
            return None
        to = Inet(bytes.fromhex(words[4]), 0) if len(words) > 4 and words[4] else None
        marks = Marks(int(words[5]), int(words[6])) if len(words) > 6 else Marks()
        return InetName(int(words[1]), Inet(bytes.fromhex(words[2]), int(words[3])), to, marks)

    # -- what leads to a name -----------------------------------------------------------------

    def at_file(self, name: Name, fd: int, shown: bytes) -> None:
        """The guest's socket file `fd` (owned) is this name's."""
        status = os.fstat(fd)
        name.place, name.inode, name.shown = fd, (status.st_dev, status.st_ino), shown
        self.files[name.inode] = name

    def at_inode(self, fd: int) -> Name | None:
        """The living socket whose file `fd` is."""
        status = os.fstat(fd)
        return self.living(self.files.get((status.st_dev, status.st_ino)))

    def at_abstract(self, name: Name, abstract: bytes) -> None:
        name.shown = UNNAMED + abstract
        self.abstract[abstract] = name

    def at_port(self, name: Name, space: int, reuse: bool, v6only: bool) -> None:
        name.reuse, name.v6only = reuse, v6only
        name.keys = (space, name.inet.port)
        self.ports.setdefault(name.keys, []).append(name)

    def living(self, name: Name | None) -> Name | None:
        """The name if its socket is still there."""
        if name is None or name.fd < 0:
            return None
        if self._is_alive(name):
            return name
        self._bury(name)
        return None

    def at(self, space: int, port: int) -> list[Name]:
        """The sockets bound to a port of one protocol, whatever their addresses."""
        return [name for name in list(self.ports.get((space, port), ())) if self.living(name)]

    @staticmethod
    def _is_alive(name: Name) -> bool:
        """A socket of another type cannot connect (EPROTOTYPE) to one that is there, and never disturbs it."""
        other = host.SOCK_STREAM if name.kind == host.SOCK_DGRAM else host.SOCK_DGRAM
        probe = host.socket(host.AF_UNIX, other | host.SOCK_CLOEXEC)
        try:
            host.connect_now(probe, name.address)
        except OSError as problem:
            return problem.errno == errno.EPROTOTYPE
        finally:
            os.close(probe)
        return True

    def _bury(self, name: Name) -> None:
        """Nothing leads to a dead socket; its name may still be an accepted one's."""
        if name.inode is not None and self.files.get(name.inode) is name:
            del self.files[name.inode]
        abstract = name.shown[2:]
        if self.abstract.get(abstract) is name:
            del self.abstract[abstract]
        if name.keys is not None:
            here = self.ports[name.keys]
            here.remove(name)
            if not here:
                del self.ports[name.keys]
            name.keys = None
        name.close()

    def sweep(self) -> None:
        """Forget the names of which no socket is left."""
        for name in list(self.given.values()):
            if name.fd >= 0 and not self._is_alive(name):
                self._bury(name)
        with open("/proc/net/unix", "rb") as table:
            listed = {line.split(b" ", 7)[-1].strip() for line in table}
        self.given = {given: name for given, name in self.given.items() if name.fd >= 0 or given in listed}
        self._sweep_at = 2 * len(self.given) + _ENOUGH

    def __del__(self) -> None:
        if self._directory is not None:
            os.close(self._directory)
