"""The filled tables: importing this module is what puts every call in its place."""

from __future__ import annotations

from abi import (
    attributes,  # noqa: F401
    descriptors,  # noqa: F401
    directories,  # noqa: F401
    files,  # noqa: F401
    identity,  # noqa: F401
    ipc,  # noqa: F401
    landlock,  # noqa: F401
    memory,  # noqa: F401
    names,  # noqa: F401
    processes,  # noqa: F401
    signals,  # noqa: F401
    socketmessages,  # noqa: F401
    socketoptions,  # noqa: F401
    sockets,  # noqa: F401
    system,  # noqa: F401
    time,  # noqa: F401
)
from abi.host import host
from abi.linux import linux

__all__ = ["host", "linux"]
