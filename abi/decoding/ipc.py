"""How System V's shared memory, semaphores and messages read, and POSIX message queues."""

from __future__ import annotations

import struct

from abi.decoding.clocks import sigevent, timeout
from abi.decoding.constants import ipc as names
from abi.decoding.files import CALLS as FILE_CALLS
from abi.decoding.shapes import octal, permissions
from abi.decoding.values import (
    Printer,
    Signature,
    View,
    address,
    array,
    at_end,
    buffer,
    call,
    decimal,
    descriptor,
    fields,
    filled,
    flags,
    flags_of,
    from_kernel,
    hexadecimal,
    identity,
    long,
    memory,
    name_of,
    new_descriptor,
    out,
    path,
    pointer,
    size,
    to,
    unsigned,
)

_O_CREAT = 0o100
_IPC_64 = 0x100  # which x86-64 never needed: its structures always had 64 bits
_MOST = 1 << 16  # elements of an array that are looked at, whatever count the caller gives
_MESSAGE_HEAD = 16  # sizeof(struct msgbuf): a long, and a char with what pads it
_HUGE_SHIFT = 26

# -- System V ---------------------------------------------------------------------------------------


def _key(view: View, value: int) -> str:
    value &= 0xFFFFFFFF
    return hex(value) if value else "IPC_PRIVATE"


def _get_flags(table: dict[int, str], shift_name: str = "") -> Printer:
    """Flags of ...get, permissions last; with a `shift_name` the size of huge pages before them, as its logarithm."""

    def printer(view: View, value: int) -> str:
        value &= 0xFFFFFFFF
        words = []
        rest, huge = value & ~0o777, 0
        if shift_name:
            rest, huge = rest & (1 << _HUGE_SHIFT) - 1, rest >> _HUGE_SHIFT
        for bit, name in table.items():
            if rest & bit:
                words.append(name)
                rest &= ~bit
        if rest:
            words.append(hex(rest))
        if huge:
            words.append(f"{huge}<<{shift_name}")
        words.append(octal(value & 0o777))
        return "|".join(words)

    return printer


def _command(table: dict[int, str], unknown: str) -> Printer:
    def printer(view: View, value: int) -> str:
        value &= 0xFFFFFFFF
        name = name_of(table, value & ~_IPC_64, unknown)
        return f"IPC_64|{name}" if value & _IPC_64 else name

    return printer


_PERMISSIONS = struct.Struct("<iIIIII")


def _owner(view: View, data: bytes, is_whole: bool) -> str:
    """struct ipc64_perm, or of it what IPC_SET sets."""
    key, uid, gid, creator, creator_group, mode = _PERMISSIONS.unpack_from(data)
    shown: list[tuple[str, object]] = [("uid", identity(view, uid)), ("gid", identity(view, gid)), ("mode", octal(mode))]
    if is_whole:
        shown += [("key", key), ("cuid", identity(view, creator)), ("cgid", identity(view, creator_group))]
    return fields(*shown)


def _segment(view: View, data: bytes) -> str:
    length, attached, detached, changed, creator, last, count = struct.unpack_from("<QQQQiiQ", data, 48)
    return fields(
        ("shm_perm", _owner(view, data, is_whole=True)), ("shm_segsz", length), ("shm_cpid", creator), ("shm_lpid", last),
        ("shm_nattch", count), ("shm_atime", attached), ("shm_dtime", detached), ("shm_ctime", changed),
    )  # fmt: skip


def _semaphores(view: View, data: bytes) -> str:
    operated, changed, count = struct.unpack_from("<Q8xQ8xQ", data, 48)
    return fields(
        ("sem_perm", _owner(view, data, is_whole=True)), ("sem_otime", operated), ("sem_ctime", changed), ("sem_nsems", count)
    )


def _queue(view: View, data: bytes) -> str:
    sent, received, changed, count, most, sender, receiver = struct.unpack_from("<QQQ8xQQii", data, 48)
    return fields(
        ("msg_perm", _owner(view, data, is_whole=True)), ("msg_stime", sent), ("msg_rtime", received), ("msg_ctime", changed),
        ("msg_qnum", count), ("msg_qbytes", most), ("msg_lspid", sender), ("msg_lrpid", receiver),
    )  # fmt: skip


def _set_segment(view: View, data: bytes) -> str:
    return fields(("shm_perm", _owner(view, data, is_whole=False)))


def _set_semaphores(view: View, data: bytes) -> str:
    return fields(("sem_perm", _owner(view, data, is_whole=False)))


def _set_queue(view: View, data: bytes) -> str:
    return fields(("msg_perm", _owner(view, data, is_whole=False)), ("msg_qbytes", int.from_bytes(data[88:96], "little")))


def _numbers(format: str, *labels: str):
    """A structure of nothing but numbers."""
    return lambda view, data: fields(*zip(labels, struct.unpack_from(format, data), strict=True))


_SEMAPHORE_LIMITS = from_kernel(40, _numbers(
    "<10i", "semmap", "semmni", "semmns", "semmnu", "semmsl", "semopm", "semume", "semusz", "semvmx", "semaem"
))  # fmt: skip
_MESSAGE_LIMITS = from_kernel(32, _numbers(
    "<7iH", "msgpool", "msgmap", "msgmax", "msgmnb", "msgmni", "msgssz", "msgtql", "msgseg"
))  # fmt: skip
_SHARED_LIMITS = from_kernel(72, _numbers("<5Q", "shmmax", "shmmin", "shmmni", "shmseg", "shmall"))
_SHARED_USE = from_kernel(48, _numbers(
    "<i4x5Q", "used_ids", "shm_tot", "shm_rss", "shm_swp", "swap_attempts", "swap_successes"
))  # fmt: skip


def _controlled(command_at: int, by_command: dict[int, Printer]) -> Printer:
    """The last argument of ...ctl, by its command; the kernel refuses IPC_64, but what IPC_SET was given can be seen."""

    def printer(view: View, value: int) -> str:
        command = view.args[command_at] & 0xFFFFFFFF
        return by_command.get(command & ~_IPC_64, pointer)(view, value)

    return at_end(printer)


def _operation(view: View, data: bytes) -> str:
    number, operation, bits = struct.unpack("<Hhh", data)
    bits &= 0xFFFF
    return fields(("sem_num", number), ("sem_op", operation), ("sem_flg", flags_of(names.SEM_OPERATION, bits, "SEM_???")))


def _operations(view: View, value: int) -> str:
    return array(view, value, min(view.args[2] & 0xFFFFFFFF, _MOST), 6, _operation)


def _message(view: View, value: int) -> str:
    """struct msgbuf: a type, and as many bytes as argument 2 says."""
    head = view.bytes(value, _MESSAGE_HEAD)
    if head is None:
        return pointer(view, value)
    kind = int.from_bytes(head[:8], "little", signed=True)
    return fields(("mtype", kind), ("mtext", memory(view, value + 8, view.args[2])))


# -- POSIX message queues ---------------------------------------------------------------------------


def _queue_attributes(show_flags: Printer):
    def show(view: View, data: bytes) -> str:
        bits, most, length, count = struct.unpack("<Qqqq", data)
        return fields(("mq_flags", show_flags(view, bits)), ("mq_maxmsg", most), ("mq_msgsize", length), ("mq_curmsgs", count))

    return show


_attributes = _queue_attributes(flags(names.QUEUE_FLAGS, "O_???", 64))


def _if_made(printer: Printer) -> Printer:
    """For the arguments of mq_open that count only where it makes a queue."""
    return lambda view, value: printer(view, value) if view.args[1] & _O_CREAT else None


_open_flags = FILE_CALLS["open"].arguments[1]  # they are mq_open's too
_priority = from_kernel(4, lambda view, data: f"[{int.from_bytes(data, 'little')}]")
_message_flags = flags(names.MESSAGE, "MSG_???")

# ---------------------------------------------------------------------------------------------------

CALLS: dict[str, Signature] = {
    "shmget": call(_key, size, _get_flags(names.SHM_GET, "SHM_HUGE_SHIFT")),
    "shmat": call(decimal, pointer, flags(names.SHM_AT, "SHM_???"), result=address),
    "shmdt": call(pointer),
    "shmctl": call(
        decimal,
        _command(names.SHM_CONTROL, "SHM_???"),
        _controlled(1, {
            1: to(112, _set_segment), 2: from_kernel(112, _segment), 3: _SHARED_LIMITS, 13: from_kernel(112, _segment),
            14: _SHARED_USE, 15: from_kernel(112, _segment),
        }),
    ),
    "semget": call(_key, decimal, _get_flags(names.GET)),
    "semop": call(decimal, _operations, unsigned),
    "semtimedop": call(decimal, _operations, unsigned, timeout),
    "semctl": call(
        decimal,
        decimal,
        _command(names.SEM_CONTROL, "SEM_???"),
        _controlled(2, {
            1: to(104, _set_semaphores), 2: from_kernel(104, _semaphores), 3: _SEMAPHORE_LIMITS,
            18: from_kernel(104, _semaphores), 19: _SEMAPHORE_LIMITS, 20: from_kernel(104, _semaphores),
        }),
    ),
    "msgget": call(_key, _get_flags(names.GET)),
    "msgsnd": call(decimal, _message, size, _message_flags),
    "msgrcv": call(decimal, out(_message), size, long, _message_flags),
    "msgctl": call(
        decimal,
        _command(names.MSG_CONTROL, "MSG_???"),
        _controlled(1, {
            1: to(120, _set_queue), 2: from_kernel(120, _queue), 3: _MESSAGE_LIMITS, 11: from_kernel(120, _queue),
            12: _MESSAGE_LIMITS, 13: from_kernel(120, _queue),
        }),
    ),
    "mq_open": call(
        path, _open_flags, _if_made(permissions), _if_made(to(32, _queue_attributes(hexadecimal))), result=new_descriptor
    ),
    "mq_unlink": call(path),
    "mq_timedsend": call(descriptor, buffer(2), size, unsigned, timeout),
    "mq_timedreceive": call(descriptor, filled(), size, _priority, timeout),
    "mq_notify": call(descriptor, to(64, sigevent)),
    "mq_getsetattr": call(descriptor, to(32, _attributes), from_kernel(32, _attributes)),
}  # fmt: skip
