"""The linux ABI: its table, which the area modules imported below fill.

``x86-64`` numbers, arguments in rdi rsi rdx r10 r8 r9, a negative errno in rax.  A number without an entry
is ENOSYS.
"""

from __future__ import annotations

from abi.dispatch import Abi
from abi.errors import linux_number

linux = Abi("linux", linux_number, 512)


def load() -> Abi:
    """The filled table."""
    from abi import (  # noqa: F401
        attributes,
        descriptors,
        directories,
        files,
        identity,
        ipc,
        memory,
        names,
        processes,
        signals,
        sockets,
        system,
        time,
    )

    return linux
