"""A seccomp profile of config.json as the filter that the kernel runs: what libseccomp makes of it for runc."""

from __future__ import annotations

from abi.tables import linux
from containers.oci.config import Problems, Seccomp, Syscalls
from tracer.bpf import RET_ALLOW
from tracer.profile import (
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_KILL_THREAD,
    RET_LOG,
    RET_TRAP,
    Condition,
    Profile,
)

_EPERM, _ENOSYS = 1, 38
RESULTS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD, "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD, "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": RET_TRAP, "SCMP_ACT_LOG": RET_LOG, "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_TRACE": RET_ERRNO | _ENOSYS,  # what the kernel answers where nobody traces
}  # fmt: skip
#: Calls that Linux has given up, or never had for 64-bit programs but in name.
_GONE = {
    "uselib": 134, "sysfs": 139, "_sysctl": 156, "create_module": 174, "get_kernel_syms": 177, "query_module": 178,
    "nfsservctl": 180, "getpmsg": 181, "putpmsg": 182, "afs_syscall": 183, "tuxcall": 184, "security": 185,
    "set_thread_area": 205, "get_thread_area": 211, "epoll_ctl_old": 214, "epoll_wait_old": 215, "vserver": 236,
}  # fmt: skip


def numbers() -> dict[str, int]:
    """The number of each call by its name."""
    return {**_GONE, **{entry.name: entry.number for entry in linux.table if entry is not None}}


def compiled(seccomp: Seccomp, problems: Problems) -> Profile:
    """The filter of a profile that `containers.oci.checks` has passed.  `ConfigError` for what cannot be kept.

    A name that is no call's here is another architecture's, and passed over.
    """
    default = _result(seccomp.default_action, seccomp.default_errno_ret)
    profile = Profile(default)
    known = numbers()
    highest = 0
    for position, rule in enumerate(seccomp.syscalls):
        if rule.action == "SCMP_ACT_NOTIFY":
            raise problems.error(
                f"linux.seccomp.syscalls[{position}].action", "cannot be kept: nobody but int80 is told of a guest's calls"
            )
        result = _result(rule.action, rule.errno_ret)
        for name in rule.names:
            number = known.get(name)
            if number is None:
                continue
            highest = max(highest, number)
            if result != default:
                for conditions in _conditions(rule):
                    profile.add(number, conditions, result)
    if default not in (RET_ALLOW, RET_LOG) and seccomp.default_action != "SCMP_ACT_TRACE":
        profile.highest = highest
    return profile


def _result(action: str, number: int | None) -> int:
    if action == "SCMP_ACT_ERRNO":
        return RET_ERRNO | (_EPERM if number is None else number)
    return RESULTS[action]


def _conditions(rule: Syscalls) -> list[list[Condition]]:
    """The conditions of a rule; where two are on one argument, each stands for a rule of its own, as runc has it."""
    conditions = [
        Condition(wanted.index, wanted.op.removeprefix("SCMP_CMP_"), wanted.value, wanted.value_two) for wanted in rule.args
    ]
    indices = [condition.index for condition in conditions]
    if len(set(indices)) < len(indices):
        return [[condition] for condition in conditions]
    return [conditions]
