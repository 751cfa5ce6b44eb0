"""Answer: uname tells of a kernel that is not there, and every program is process 42.

int80 run --hook answers.py -- sh -c 'uname -r; echo $$'
"""

import sys

from abi.hooks import on

_FIELD = 65  # bytes of each of the six fields of struct utsname


@on("uname")
def older_kernel(call):
    fields = [b"Linux", b"past", b"2.6.0", b"#1", b"x86_64", b""]
    call.memory.write(call.args[0], b"".join(field.ljust(_FIELD, b"\0") for field in fields))
    return 0


@on("getpid")
def forty_two(call):
    return 42


@on("execve")
def tell(call):
    sys.stderr.write(f"runs {call.path(0).decode(errors='replace')}\n")
