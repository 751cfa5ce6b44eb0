"""Clocks, timers and sleeping: the kernel's, except that nobody sets the host's clock."""

from __future__ import annotations

import struct

from abi.dispatch import Call, Native, Plane, Support, When
from abi.errors import Kind
from abi.linux import linux

for _number, _name in (
    (35, "nanosleep"), (36, "getitimer"), (37, "alarm"), (38, "setitimer"), (96, "gettimeofday"), (100, "times"),
    (201, "time"), (223, "timer_settime"), (224, "timer_gettime"), (225, "timer_getoverrun"),
    (226, "timer_delete"), (228, "clock_gettime"), (229, "clock_getres"), (230, "clock_nanosleep"),
    (283, "timerfd_create"), (286, "timerfd_settime"), (287, "timerfd_gettime"),
):  # fmt: skip
    linux.native(_number, _name)

_SIGEV_THREAD_ID = 4
_NOTIFY, _THREAD = 12, 16  # offsets in struct sigevent


@linux.steer(222, "timer_create", when=[When(1, (0,), Plane.NATIVE)])
def timer_create(call: Call):
    """SIGEV_THREAD_ID names a thread of the caller's own process; for init's first one, 1, the kernel is told its number."""
    event = call.args[1]
    if not event or call.process.pid != call.sandbox.tree.init_pid:
        return Native()
    notify, thread = struct.unpack("<ii", call.memory.read(event + _NOTIFY, 8))
    if notify != _SIGEV_THREAD_ID or thread != 1:
        return Native()
    call.memory.write(event + _THREAD, call.process.pid.to_bytes(4, "little"))

    def after(value: int) -> int:
        call.memory.write(event + _THREAD, (1).to_bytes(4, "little"))
        return value

    return Native(after=after)


linux.native(159, "adjtimex", "reads only: the guest has no right to set the clock", Support.PARTIAL)
linux.native(305, "clock_adjtime", "reads only: the guest has no right to set the clock", Support.PARTIAL)
linux.refuse(164, "settimeofday", Kind.EPERM, "as without the capability: the clock is the host's", Support.PARTIAL)
linux.refuse(227, "clock_settime", Kind.EPERM, "as without the capability: the clock is the host's", Support.PARTIAL)
