"""Calls that have a number and a name but no kernel of x86-64 behind them: only how many arguments they had is left."""

from __future__ import annotations

from abi.decoding.values import Signature, call, hexadecimal

_ARGUMENTS = {
    "afs_syscall": 5, "create_module": 2, "epoll_ctl_old": 4, "epoll_wait_old": 4, "get_kernel_syms": 1, "getpmsg": 5,
    "nfsservctl": 3, "putpmsg": 5, "query_module": 5, "security": 3, "tuxcall": 3, "vserver": 5,
}  # fmt: skip

CALLS: dict[str, Signature] = {name: call(*[hexadecimal] * count) for name, count in _ARGUMENTS.items()}
