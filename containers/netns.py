"""The network namespace of int80's own process, which a guest on the host's network has: another's, or one made for it.

All of this takes rights that an ordinary user has not.  network_namespaces(7)
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

from abi.messages import say
from containers.status import CannotRun
from vfs import kernel

_UNSHARE, _SETNS, _CLONE_NEWNET = 272, 308, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_SWAP = bytes.maketrans(b"./", b"/.")
#: What root of a container does with capabilities that no guest has: serve at low ports, and ping.
_VARIABLES = {b"net.ipv4.ip_unprivileged_port_start": b"0", b"net.ipv4.ping_group_range": b"0 2147483647"}


def join(path: str, variables: dict[bytes, bytes]) -> None:
    """Have this process, and so what it starts, in the namespace whose file is at `path`.  `CannotRun`.

    Of `variables`, which are of /proc/sys by name with dots, those of the network are set there, unless it is where the
    process was before.
    """
    before = os.stat("/proc/self/ns/net")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.raw(_SETNS, fd, _CLONE_NEWNET)
        finally:
            os.close(fd)
    except OSError as problem:
        raise CannotRun(f"network namespace {path}: cannot be joined: {problem.strerror.lower()}") from None
    if not os.path.samestat(before, os.stat("/proc/self/ns/net")):
        _set(variables)


def make(variables: dict[bytes, bytes]) -> bool:
    """Have this process in a namespace of its own with a loopback; False where int80 may not.  `CannotRun`."""
    try:
        kernel.raw(_UNSHARE, _CLONE_NEWNET)
    except OSError as problem:
        if problem.errno != errno.EPERM:
            raise CannotRun(f"no network namespace can be made: {problem.strerror.lower()}") from None
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as device:
        fcntl.ioctl(device, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
    _set(_VARIABLES | variables)
    return True


def _set(variables: dict[bytes, bytes]) -> None:
    for name, value in variables.items():
        parts = name.translate(_SWAP).split(b"/")  # in a name a slash stands for the dot of an interface's
        if parts[0] != b"net" or b".." in parts:
            continue
        try:
            with open(b"/proc/sys/" + b"/".join(parts), "wb") as file:
                file.write(value)
        except OSError as problem:
            say(f"{os.fsdecode(name)} cannot be {os.fsdecode(value)}: {problem.strerror.lower()}")
