"""Names of what can be waited for: poll(2), epoll(7), eventfd(2), futex(2), in the order they are told."""

from __future__ import annotations

_EVENTS = {
    0x1: "IN", 0x2: "PRI", 0x4: "OUT", 0x8: "ERR", 0x10: "HUP", 0x20: "NVAL", 0x40: "RDNORM", 0x80: "RDBAND",
    0x100: "WRNORM", 0x200: "WRBAND", 0x400: "MSG",
}  # fmt: skip

POLL = {bit: f"POLL{name}" for bit, name in _EVENTS.items()} | {
    0x1000: "POLLREMOVE", 0x2000: "POLLRDHUP", 0x8000: "POLL_BUSY_LOOP",
}  # fmt: skip

EPOLL = {bit: f"EPOLL{name}" for bit, name in _EVENTS.items()} | {
    0x2000: "EPOLLRDHUP", 1 << 28: "EPOLLEXCLUSIVE", 1 << 29: "EPOLLWAKEUP", 1 << 30: "EPOLLONESHOT", 1 << 31: "EPOLLET",
}  # fmt: skip

EPOLL_CONTROL = {1: "EPOLL_CTL_ADD", 2: "EPOLL_CTL_DEL", 3: "EPOLL_CTL_MOD"}

EPOLL_CREATE = {0x80000: "EPOLL_CLOEXEC"}

EVENTFD = {1: "EFD_SEMAPHORE", 0x80000: "EFD_CLOEXEC", 0x800: "EFD_NONBLOCK"}

_FUTEX = {
    0: "FUTEX_WAIT", 1: "FUTEX_WAKE", 2: "FUTEX_FD", 3: "FUTEX_REQUEUE", 4: "FUTEX_CMP_REQUEUE", 5: "FUTEX_WAKE_OP",
    6: "FUTEX_LOCK_PI", 7: "FUTEX_UNLOCK_PI", 8: "FUTEX_TRYLOCK_PI", 9: "FUTEX_WAIT_BITSET", 10: "FUTEX_WAKE_BITSET",
    11: "FUTEX_WAIT_REQUEUE_PI", 12: "FUTEX_CMP_REQUEUE_PI", 13: "FUTEX_LOCK_PI2",
}  # fmt: skip

_PRIVATE = {value | 0x80: f"{name}_PRIVATE" for value, name in _FUTEX.items()} | {0x82: "FUTEX_FD|FUTEX_PRIVATE_FLAG"}

#: Operations with their flags; a clock can be chosen for three of them only.
FUTEX = _FUTEX | _PRIVATE | {
    value | 0x100: f"{name}|FUTEX_CLOCK_REALTIME"
    for value, name in (_FUTEX | _PRIVATE).items()
    if value & 0x7F in (0, 9, 11)
}  # fmt: skip

FUTEX_WAKE_OPERATIONS = {
    0: "FUTEX_OP_SET", 1: "FUTEX_OP_ADD", 2: "FUTEX_OP_OR", 3: "FUTEX_OP_ANDN", 4: "FUTEX_OP_XOR",
}  # fmt: skip

FUTEX_COMPARISONS = {
    0: "FUTEX_OP_CMP_EQ", 1: "FUTEX_OP_CMP_NE", 2: "FUTEX_OP_CMP_LT", 3: "FUTEX_OP_CMP_LE", 4: "FUTEX_OP_CMP_GT",
    5: "FUTEX_OP_CMP_GE",
}  # fmt: skip

FUTEX_WAITER = {2: "FUTEX_32", 0x80: "FUTEX_PRIVATE_FLAG"}

FUTEX2_SIZES = {0: "FUTEX2_SIZE_U8", 1: "FUTEX2_SIZE_U16", 2: "FUTEX2_SIZE_U32", 3: "FUTEX2_SIZE_U64"}

FUTEX2_FLAGS = {4: "FUTEX2_NUMA", 8: "FUTEX2_MPOL", 0x80: "FUTEX2_PRIVATE"}
