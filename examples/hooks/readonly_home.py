"""Fail: a program may read below /root, and write nothing there.  int80 run --hook readonly_home.py -- COMMAND"""

import os

from abi.hooks import fail, on

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@on("open", "openat")
def look_only(call):
    first = 0 if call.name == "open" else 1
    if call.path(first).startswith(b"/root/") and call.int(first + 1) & _WRITES:
        return fail("EROFS")
    return None
