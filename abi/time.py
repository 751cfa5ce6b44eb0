"""Clocks, timers and sleeping: the kernel's, but nobody sets the host's clock, or names another's process by a clock."""

from __future__ import annotations

import struct

from abi.dispatch import Call, Native, Plane, Support, When
from abi.errors import Kind, SysError
from abi.linux import linux

for _number, _name in (
    (35, "nanosleep"), (36, "getitimer"), (37, "alarm"), (38, "setitimer"), (96, "gettimeofday"), (100, "times"),
    (201, "time"), (223, "timer_settime"), (224, "timer_gettime"), (225, "timer_getoverrun"),
    (226, "timer_delete"), (283, "timerfd_create"), (286, "timerfd_settime"), (287, "timerfd_gettime"),
):  # fmt: skip
    linux.native(_number, _name)

# -- clocks of processes ----------------------------------------------------------------------------

_SIGN = 0x80000000  # set in the clocks that stand for a process, a thread or a descriptor; clock_getcpuclockid(3)
_WHOSE, _CLOCKFD = 7, 3


def _clock(call: Call) -> dict[int, int]:
    """The first argument as the kernel is to have it, if otherwise than the guest has.  EINVAL where nobody inside has it."""
    clock = call.int(0)
    number = ~(clock >> 3)
    if clock >= 0 or clock & _CLOCKFD == _CLOCKFD or not number:
        return {}
    try:
        host = call.sandbox.tree.host(number)
    except ProcessLookupError:
        raise SysError(Kind.EINVAL) from None
    return {} if host == number else {0: ~host << 3 | clock & _WHOSE}


for _number, _name in ((228, "clock_gettime"), (229, "clock_getres"), (230, "clock_nanosleep")):
    linux.steer(_number, _name, when=[When(0, (0,), Plane.NATIVE, mask=_SIGN)])(lambda call: Native(_clock(call)))

_SIGEV_THREAD_ID = 4
_NOTIFY, _THREAD = 12, 16  # offsets in struct sigevent


@linux.steer(222, "timer_create", when=[When(0, (_SIGN,), Plane.STEER, mask=_SIGN), When(1, (0,), Plane.NATIVE)])
def timer_create(call: Call):
    """SIGEV_THREAD_ID names a thread of the caller's own process; for init's first one, 1, the kernel is told its number."""
    event, clock = call.args[1], _clock(call)
    if not event or call.process.pid != call.sandbox.tree.init_pid:
        return Native(clock)
    notify, thread = struct.unpack("<ii", call.memory.read(event + _NOTIFY, 8))
    if notify != _SIGEV_THREAD_ID or thread != 1:
        return Native(clock)
    call.memory.write(event + _THREAD, call.process.pid.to_bytes(4, "little"))

    def after(value: int) -> int:
        call.memory.write(event + _THREAD, (1).to_bytes(4, "little"))
        return value

    return Native(clock, after=after)


linux.native(159, "adjtimex", "reads only: the guest has no right to set the clock", Support.PARTIAL)
linux.native(305, "clock_adjtime", "reads only: the guest has no right to set the clock", Support.PARTIAL)
linux.refuse(164, "settimeofday", Kind.EPERM, "as without the capability: the clock is the host's", Support.PARTIAL)
linux.refuse(227, "clock_settime", Kind.EPERM, "as without the capability: the clock is the host's", Support.PARTIAL)
