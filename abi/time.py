"""Clocks, timers and sleeping: the kernel's, except that nobody sets the host's clock."""

from __future__ import annotations

from abi.dispatch import Support
from abi.errors import Kind
from abi.linux import linux

for _number, _name in (
    (35, "nanosleep"), (36, "getitimer"), (37, "alarm"), (38, "setitimer"), (96, "gettimeofday"), (100, "times"),
    (201, "time"), (223, "timer_settime"), (224, "timer_gettime"), (225, "timer_getoverrun"),
    (226, "timer_delete"), (228, "clock_gettime"), (229, "clock_getres"), (230, "clock_nanosleep"),
    (283, "timerfd_create"), (286, "timerfd_settime"), (287, "timerfd_gettime"),
):  # fmt: skip
    linux.native(_number, _name)

linux.native(
    222,
    "timer_create",
    "SIGEV_THREAD_ID for init's main thread takes the kernel's number, not 1",
    Support.PARTIAL,
)
linux.native(159, "adjtimex", "reads only: the guest has no right to set the clock", Support.PARTIAL)
linux.native(305, "clock_adjtime", "reads only: the guest has no right to set the clock", Support.PARTIAL)
linux.refuse(164, "settimeofday", Kind.EPERM, "as without the capability: the clock is the host's", Support.PARTIAL)
linux.refuse(227, "clock_settime", Kind.EPERM, "as without the capability: the clock is the host's", Support.PARTIAL)
