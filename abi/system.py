"""The machine: names, figures, randomness, and the calls that would administer the host."""

from __future__ import annotations

import os
import signal

from abi.dispatch import OK, Call, Support
from abi.errors import Kind, SysError
from abi.linux import linux

linux.native(99, "sysinfo", "the host's figures")
linux.native(318, "getrandom")
_CAP_SYS_ADMIN = 21
_NAME_MAX = 64
_PER_LINUX32 = 8
_ADMIN = "as without the capability: the host is not the guest's to administer"


@linux.answer(63, "uname")
def uname(call: Call):
    host = os.uname()
    fields = (
        b"Linux", call.sandbox.hostname, host.release.encode(), host.version.encode(), _machine(call.process.pid),
        call.sandbox.domainname,
    )  # fmt: skip
    call.memory.write(call.args[0], b"".join(field[:_NAME_MAX].ljust(65, b"\0") for field in fields))
    return OK


def _machine(pid: int) -> bytes:
    """What the kernel calls its machine to a process of one or the other personality(2)."""
    try:
        with open(f"/proc/{pid}/personality", "rb") as file:
            return b"i686" if int(file.read(), 16) & 0xFF == _PER_LINUX32 else b"x86_64"
    except OSError:
        return b"x86_64"


def _new_name(call: Call) -> bytes:
    if not call.credentials.capable(_CAP_SYS_ADMIN):
        raise SysError(Kind.EPERM)
    if not 0 <= call.int(1) <= _NAME_MAX:
        raise SysError(Kind.EINVAL)
    return call.memory.read(call.args[0], call.int(1)) if call.int(1) else b""


@linux.answer(170, "sethostname")
def sethostname(call: Call):
    call.sandbox.hostname = _new_name(call)
    return OK


@linux.answer(171, "setdomainname")
def setdomainname(call: Call):
    call.sandbox.domainname = _new_name(call)
    return OK


_CAP_SYS_BOOT = 22
_REBOOT_MAGIC, _REBOOT_MAGICS = 0xFEE1DEAD, frozenset((672274793, 85072278, 369367448, 537993216))
_ENDS = {  # LINUX_REBOOT_CMD_: RESTART, RESTART2, HALT, POWER_OFF
    0x01234567: signal.SIGHUP, 0xA1B2C3D4: signal.SIGHUP, 0xCDEF0123: signal.SIGINT, 0x4321FEDC: signal.SIGINT,
}  # fmt: skip


@linux.answer(169, "reboot", "ends the sandbox, as it does in a PID namespace")
def reboot(call: Call):
    """init ends, as if by SIGHUP for a restart, by SIGINT for a halt.  EPERM, EINVAL; reboot(2)."""
    if not call.credentials.capable(_CAP_SYS_BOOT):
        raise SysError(Kind.EPERM)
    magic, other, command = (call.args[index] & 0xFFFFFFFF for index in range(3))
    if magic != _REBOOT_MAGIC or other not in _REBOOT_MAGICS or command not in _ENDS:
        raise SysError(Kind.EINVAL)
    call.sandbox.ended_by = _ENDS[command]
    os.kill(call.sandbox.tree.init_pid, signal.SIGKILL)
    return OK


for _number, _name in (
    (103, "syslog"), (153, "vhangup"), (163, "acct"), (167, "swapon"), (168, "swapoff"),
    (175, "init_module"), (176, "delete_module"), (179, "quotactl"), (246, "kexec_load"), (313, "finit_module"),
    (320, "kexec_file_load"), (443, "quotactl_fd"),
):  # fmt: skip
    linux.refuse(_number, _name, Kind.EPERM, _ADMIN, Support.PARTIAL)
for _number, _name in (
    (298, "perf_event_open"), (321, "bpf"), (459, "lsm_get_self_attr"), (460, "lsm_set_self_attr"),
    (461, "lsm_list_modules"),
):  # fmt: skip
    linux.refuse(_number, _name, Kind.ENOSYS, "absent", Support.NONE)
