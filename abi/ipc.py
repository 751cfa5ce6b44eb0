"""System V and POSIX message queues, semaphores, shared memory, keys: the host's are out of reach."""

from __future__ import annotations

from abi.errors import Kind
from abi.linux import linux

_SYSV = "absent for now: the host's are shared by all its users"
for _number, _name in (
    (29, "shmget"), (30, "shmat"), (31, "shmctl"), (64, "semget"), (65, "semop"), (66, "semctl"), (67, "shmdt"),
    (68, "msgget"), (69, "msgsnd"), (70, "msgrcv"), (71, "msgctl"), (220, "semtimedop"), (240, "mq_open"),
    (241, "mq_unlink"), (242, "mq_timedsend"), (243, "mq_timedreceive"), (244, "mq_notify"), (245, "mq_getsetattr"),
):  # fmt: skip
    linux.refuse(_number, _name, Kind.ENOSYS, _SYSV)
for _number, _name in ((248, "add_key"), (249, "request_key"), (250, "keyctl")):
    linux.refuse(_number, _name, Kind.ENOSYS, "absent: the keys are the host user's")
