"""The host ABI: calls of a program that manages containers rather than being one.

An ELF note (owner ``int80``, type 1, one u32 of value 1) makes a program a host program.  Its calls enter
by the same gates and registers; success is the raw value in rax with the carry flag clear, failure a
`HostErrno` in rax with the carry flag set.  Numbers are int80's own, and none of them means what it means
to Linux.  docs/host-abi.md says it to those who write such programs, examples/host/int80.h in C.

What the container calls do is up to `Sandbox.containers`; they only read and write the caller's memory.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from abi.dispatch import OK, Abi, Call, Native, Return, Terminate, Wait
from abi.errors import Kind, SysError, host_number

host = Abi("host", host_number, 64)
_LINUX_WRITE = 1
_LAST_SIGNAL = 64
_MOST_LISTED = 1 << 16

_STATE = struct.Struct("<IIiI240s")  # number, status, exit status, process id, bundle


class Status(IntEnum):
    """Where a container is in its life, as the OCI runtime specification has it."""

    CREATED = 1
    RUNNING = 2
    STOPPED = 3


@host.steer(0, "exit")
def exit_(call: Call):
    """exit(status): ends the process, all threads; only the low eight bits are kept."""
    return Terminate(call.args[0] & 0xFF)


@host.steer(1, "write")
def write(call: Call):
    """write(fd, address, size) -> bytes written; the kernel moves them, as write(2)."""
    return Native(number=_LINUX_WRITE)


@host.steer(2, "container_create")
def container_create(call: Call):
    """container_create(path) -> number: a container from the bundle at `path`, which is read as the caller sees it.

    Its command is found, and does not run yet.  NOT_FOUND without bundle, config.json, root or command; BAD_ARGUMENT for a
    config.json that cannot be followed; NOT_ALLOWED for a command that cannot be run; TOO_MANY.
    """
    return Return(call.sandbox.containers.create(call, call.path(0)))


@host.steer(3, "container_start")
def container_start(call: Call):
    """container_start(number): runs the container's command as its process 1.

    NOT_FOUND; WRONG_STATE if it was started before.
    """
    call.sandbox.containers.start(call.int(0))
    return OK


@host.steer(4, "container_state")
def container_state(call: Call):
    """container_state(number, address, size) -> bytes of the state, of which at most `size` are written.

    ``struct int80_container``.  NOT_FOUND, BAD_ADDRESS.
    """
    number = call.int(0)
    status, exit_status, pid, bundle = call.sandbox.containers.state(number)
    data = _STATE.pack(number, status, exit_status, pid, bundle[:239])
    call.memory.write(call.args[1], data[: min(call.args[2], len(data))])
    return Return(len(data))


@host.steer(5, "container_kill")
def container_kill(call: Call):
    """container_kill(number, signal): sends a signal (signal(7)) to process 1 of a running container.

    NOT_FOUND; WRONG_STATE if it does not run; BAD_ARGUMENT if there is no such signal.
    """
    signal = call.int(1)
    if not 1 <= signal <= _LAST_SIGNAL:
        raise SysError(Kind.EINVAL)
    call.sandbox.containers.kill(call.int(0), signal)
    return OK


@host.steer(6, "container_wait")
def container_wait(call: Call):
    """container_wait(number) -> exit status, 128+N after signal N; waits until a container that was started has stopped.

    NOT_FOUND; WRONG_STATE if it was never started.
    """
    status = call.sandbox.containers.wait(call.int(0), call.task)
    return Wait() if status is None else Return(status)


@host.steer(7, "container_delete")
def container_delete(call: Call):
    """container_delete(number): forgets a container that does not run.

    NOT_FOUND; WRONG_STATE if it runs.
    """
    call.sandbox.containers.delete(call.int(0))
    return OK


@host.steer(8, "container_list")
def container_list(call: Call):
    """container_list(address, count) -> how many containers there are; the first `count` of their numbers (u32) are written."""
    numbers = call.sandbox.containers.list()
    wanted = numbers[: min(call.args[1], _MOST_LISTED)]
    if wanted:
        call.memory.write(call.args[0], struct.pack(f"<{len(wanted)}I", *wanted))
    return Return(len(numbers))
