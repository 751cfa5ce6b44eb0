"""What a person writes of the network: places that may be reached."""

from __future__ import annotations

import socket

from abi.net.network import Allowed


def allowed(text: str) -> list[Allowed]:
    """The places of ``HOST:PORT``; either may be ``*``.  A name stands for the addresses it has now.  ``ValueError``."""
    name, colon, port = text.rpartition(":")
    host = name.removeprefix("[").removesuffix("]") if name.startswith("[") else name
    if not colon or not host or (":" in host and host is name):
        raise ValueError(f"--allow {text}: give HOST:PORT, as in example.org:443, 10.0.0.1:* or [::1]:8080")
    if port != "*" and not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ValueError(f"--allow {text}: the port must be a number from 1 to 65535, or *")
    number = None if port == "*" else int(port)
    if host == "*":
        return [Allowed(None, number)]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f"--allow {text}: no address is known for {host}") from None
    addresses = {socket.inet_pton(family, address[0].partition("%")[0]) for family, _, _, _, address in found}
    mapped = bytes(10) + b"\xff\xff"
    return [Allowed(ip[12:] if ip[:12] == mapped else ip, number) for ip in sorted(addresses)]
