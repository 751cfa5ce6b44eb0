"""Signals.  Dispositions, masks and delivery are the kernel's; who may be signalled is asked here."""

from __future__ import annotations

import os

from abi.dispatch import OK, Call, Native, Plane, When
from abi.errors import Kind, SysError
from abi.linux import linux

for _number, _name in (
    (13, "rt_sigaction"), (14, "rt_sigprocmask"), (15, "rt_sigreturn"), (127, "rt_sigpending"),
    (128, "rt_sigtimedwait"), (130, "rt_sigsuspend"), (131, "sigaltstack"), (219, "restart_syscall"),
    (282, "signalfd"), (289, "signalfd4"), (424, "pidfd_send_signal"),
):  # fmt: skip
    linux.native(_number, _name)


@linux.steer(62, "kill", when=[When(0, (0,), Plane.NATIVE)])
def kill(call: Call):
    tree, who, number = call.sandbox.tree, call.int(0), call.int(1)
    if who > 0:
        return Native({0: tree.host(who)})
    if who < -1:
        return Native({0: -tree.host_group(-who)})
    if not 0 <= number <= 64:
        raise SysError(Kind.EINVAL)
    others = [pid for pid in tree.processes if pid not in (tree.init_pid, call.process.pid)]
    if not others:
        raise SysError(Kind.ESRCH)
    for pid in others:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it has just ended
    return OK


@linux.steer(200, "tkill")
def tkill(call: Call):
    return Native({0: call.sandbox.tree.host(_positive(call.int(0)))})


@linux.steer(234, "tgkill")
def tgkill(call: Call):
    tree = call.sandbox.tree
    return Native({0: tree.host(_positive(call.int(0))), 1: tree.host(_positive(call.int(1)))})


@linux.steer(129, "rt_sigqueueinfo")
def rt_sigqueueinfo(call: Call):
    return Native({0: call.sandbox.tree.host(call.int(0))})


@linux.steer(297, "rt_tgsigqueueinfo")
def rt_tgsigqueueinfo(call: Call):
    tree = call.sandbox.tree
    return Native({0: tree.host(_positive(call.int(0))), 1: tree.host(_positive(call.int(1)))})


def _positive(number: int) -> int:
    if number <= 0:
        raise SysError(Kind.EINVAL)
    return number


