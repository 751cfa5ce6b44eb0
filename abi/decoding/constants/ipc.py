"""Names in the arguments of System V and POSIX ipc (linux/ipc.h, shm.h, sem.h, msg.h), in the order they are told."""

from __future__ import annotations

GET = {0x200: "IPC_CREAT", 0x400: "IPC_EXCL", 0x800: "IPC_NOWAIT"}

SHM_GET = {0x200: "IPC_CREAT", 0x400: "IPC_EXCL", 0x800: "SHM_HUGETLB", 0x1000: "SHM_NORESERVE"}

SHM_AT = {0x1000: "SHM_RDONLY", 0x2000: "SHM_RND", 0x4000: "SHM_REMAP", 0x8000: "SHM_EXEC"}

SEM_OPERATION = {0x1000: "SEM_UNDO", 0x800: "IPC_NOWAIT"}

MESSAGE = {0x1000: "MSG_NOERROR", 0x2000: "MSG_EXCEPT", 0x4000: "MSG_COPY", 0x800: "IPC_NOWAIT"}

QUEUE_FLAGS = {0x800: "O_NONBLOCK"}

CONTROL = {0: "IPC_RMID", 1: "IPC_SET", 2: "IPC_STAT", 3: "IPC_INFO"}

SHM_CONTROL = CONTROL | {
    11: "SHM_LOCK", 12: "SHM_UNLOCK", 13: "SHM_STAT", 14: "SHM_INFO", 15: "SHM_STAT_ANY",
}  # fmt: skip

SEM_CONTROL = CONTROL | {
    11: "GETPID", 12: "GETVAL", 13: "GETALL", 14: "GETNCNT", 15: "GETZCNT", 16: "SETVAL", 17: "SETALL", 18: "SEM_STAT",
    19: "SEM_INFO", 20: "SEM_STAT_ANY",
}  # fmt: skip

MSG_CONTROL = CONTROL | {11: "MSG_STAT", 12: "MSG_INFO", 13: "MSG_STAT_ANY"}
