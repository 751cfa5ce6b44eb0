"""What calls about memory and ipc look like in the trace, as strace 6.1 has it."""

from __future__ import annotations

import struct

import pytest
from decoded import Decoded, random_calls
from fakes import BAD

from abi.decoding import ipc, memory

CALLS = memory.CALLS | ipc.CALLS
EFAULT, EINVAL = 14, 22


@pytest.fixture
def task():
    return Decoded(CALLS)


@pytest.fixture
def show(task):
    return task.show


# -- mappings ---------------------------------------------------------------------------------------


def test_a_mapping_has_a_type_and_flags_and_its_offset_and_result_are_in_hex(show):
    assert (
        show("mmap", 0, 4096, 1, 0x12, 3, 0x1000, value=0x7F0000000000)
        == "mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_FIXED, 3, 0x1000) = 0x7f0000000000"
    )


def test_a_mapping_of_no_type_is_of_a_file_and_an_unknown_type_stands_before_the_flags(show):
    assert show("mmap", 0, 1, 0, 0x20, -1, 0, error=EINVAL).startswith("mmap(NULL, 1, PROT_NONE, MAP_FILE|MAP_ANONYMOUS, -1, 0)")
    assert "0x5 /* MAP_??? */|MAP_FIXED|0x80, " in show("mmap", 0, 1, 0, 0x95, -1, 0, error=EINVAL)


def test_the_size_of_huge_pages_is_a_logarithm_in_the_highest_bits(show):
    assert "MAP_PRIVATE|MAP_HUGETLB|21<<MAP_HUGE_SHIFT" in show("mmap", 0, 1, 3, 0x40002 | 21 << 26, -1, 0)


def test_a_mapping_shows_what_its_descriptor_is_of():
    task = Decoded(CALLS, paths=1)
    task.files[3] = "/lib/libc.so.6"
    assert ", 3</lib/libc.so.6>, 0) = " in task.show("mmap", 0, 1, 1, 2, 3, 0)


def test_protection_has_all_64_bits(show):
    assert show("mprotect", BAD, 1, 0x100000001) == "mprotect(0x10, 1, PROT_READ|0x100000000) = 0"


@pytest.mark.parametrize(
    ("bits", "text"),
    [(1, "MREMAP_MAYMOVE"), (2, "MREMAP_FIXED"), (3, "MREMAP_MAYMOVE|MREMAP_FIXED, 0x10"), (4, "MREMAP_DONTUNMAP")],
)
def test_a_new_address_of_mremap_is_shown_where_it_counts(show, bits, text):
    assert show("mremap", BAD, 1, 2, bits, BAD, value=BAD) == f"mremap(0x10, 1, 2, {text}) = 0x10"


def test_mincore_shows_a_bit_for_every_page_begun(show):
    assert show("mincore", 0, 4097, b"\x01\xfe\x01") == "mincore(NULL, 4097, [1, 0]) = 0"


def test_newer_calls_than_strace_6_1_knows_are_told_too(show):
    assert show("mseal", BAD, 4096, 0) == "mseal(0x10, 4096, 0) = 0"
    assert show("map_shadow_stack", 0, 4096, 3, value=BAD).endswith("SHADOW_STACK_SET_TOKEN|SHADOW_STACK_SET_MARKER) = 0x10")
    assert show("madvise", BAD, 1, 102) == "madvise(0x10, 1, MADV_GUARD_INSTALL) = 0"


# -- NUMA -------------------------------------------------------------------------------------------


def test_a_set_of_nodes_has_one_bit_less_than_it_says(show):
    nodes = struct.pack("<QQ", 5, 0)
    assert show("set_mempolicy", 2, nodes, 65) == "set_mempolicy(MPOL_BIND, [0x00000000000005], 65) = 0"
    assert show("set_mempolicy", 2, nodes, 66) == "set_mempolicy(MPOL_BIND, [0x00000000000005, 0000000000000000], 66) = 0"


def test_a_set_of_no_nodes_is_an_address_unless_its_size_is_0(task):
    address = task.memory.put(bytes(8))
    assert task.show("set_mempolicy", 0, address, 1) == f"set_mempolicy(MPOL_DEFAULT, {address:#x}, 1) = 0"
    assert task.show("set_mempolicy", 0, address, -1) == f"set_mempolicy(MPOL_DEFAULT, {address:#x}, {2**64 - 1}) = 0"
    assert task.show("set_mempolicy", 0, address, 0) == "set_mempolicy(MPOL_DEFAULT, [], 0) = 0"


def test_a_policy_s_flags_stand_behind_its_mode_and_an_unknown_mode_behind_them(show):
    assert show("set_mempolicy", 0x8003, 0, 0) == "set_mempolicy(MPOL_INTERLEAVE|MPOL_F_STATIC_NODES, NULL, 0) = 0"
    assert show("set_mempolicy", 0x8009, 0, 0) == "set_mempolicy(MPOL_F_STATIC_NODES|0x9, NULL, 0) = 0"
    assert show("set_mempolicy", 9, 0, 0) == "set_mempolicy(0x9 /* MPOL_??? */, NULL, 0) = 0"


def test_what_became_of_pages_is_a_node_or_an_errno(show):
    pages, status = struct.pack("<QQ", BAD, 0), struct.pack("<ii", 1, -EFAULT)
    assert show("move_pages", 0, 2, pages, 0, status, 2) == "move_pages(0, 2, [0x10, NULL], NULL, [1, -EFAULT], MPOL_MF_MOVE) = 0"


def test_a_count_that_no_memory_has_shows_as_far_as_memory_goes(task):
    address = task.memory.put(struct.pack("<Q", 7))
    assert task.show("move_pages", 0, 2**63, address, 0, 0, 0, error=EFAULT).startswith(
        f"move_pages(0, {2**63}, [0x7, ... /* {address + 8:#x} */], NULL, NULL, 0) = -1 EFAULT"
    )


# -- System V ---------------------------------------------------------------------------------------

OWNER = struct.pack("<iIIIII24x", 0x1234, 1000, 0xFFFFFFFF, 0, 5, 0o640)


def test_the_key_of_nobody_is_private_and_permissions_are_always_told(show):
    assert show("shmget", 0, 4096, 0x200 | 0o600, value=3) == "shmget(IPC_PRIVATE, 4096, IPC_CREAT|0600) = 3"
    assert show("semget", 0x1234, 1, 0) == "semget(0x1234, 1, 000) = 0"
    assert show("msgget", -1, 0x10017) == "msgget(0xffffffff, 0x10000|027) = 0"


def test_a_segment_of_huge_pages_says_how_huge(show):
    assert show("shmget", 5, 1, 0xA00 | 21 << 26) == "shmget(0x5, 1, IPC_CREAT|SHM_HUGETLB|21<<SHM_HUGE_SHIFT|000) = 0"


def test_a_segment_s_state_is_read_after_success_and_is_an_address_after_failure(task):
    address = task.memory.put(OWNER + struct.pack("<QQQQiiQ16x", 4096, 1, 2, 3, 10, 11, 1))
    assert task.show("shmctl", 7, 2, address) == (
        "shmctl(7, IPC_STAT, {shm_perm={uid=1000, gid=-1, mode=0640, key=4660, cuid=0, cgid=5}, shm_segsz=4096, "
        "shm_cpid=10, shm_lpid=11, shm_nattch=1, shm_atime=1, shm_dtime=2, shm_ctime=3}) = 0"
    )
    assert task.show("shmctl", 7, 2, address, error=EINVAL).startswith(f"shmctl(7, IPC_STAT, {address:#x}) = -1 EINVAL")


def test_what_ipc_set_sets_is_shown_though_it_fails_and_whichever_form_is_named(show):
    assert show("shmctl", 7, 0x101, OWNER + bytes(64), error=EINVAL).startswith(
        "shmctl(7, IPC_64|IPC_SET, {shm_perm={uid=1000, gid=-1, mode=0640}}) = -1"
    )


def test_an_unknown_command_is_told_without_the_bit_for_64_bits(show):
    assert show("msgctl", 0, -1, 0) == "msgctl(0, IPC_64|0xfffffeff /* MSG_??? */, NULL) = 0"


def test_semaphore_operations_are_an_array(show):
    operations = struct.pack("<HhhHhh", 0, -1, 0x1800, 65535, 1, 5)
    assert show("semop", 3, operations, 2) == (
        "semop(3, [{sem_num=0, sem_op=-1, sem_flg=SEM_UNDO|IPC_NOWAIT}, "
        "{sem_num=65535, sem_op=1, sem_flg=0x5 /* SEM_??? */}], 2) = 0"
    )


def test_a_message_is_its_type_and_as_many_bytes_as_are_sent(show):
    message = struct.pack("<q16s", -5, b"hello\1")
    assert show("msgsnd", 0, message, 5, 0x800) == 'msgsnd(0, {mtype=-5, mtext="hello"}, 5, IPC_NOWAIT) = 0'


def test_a_message_whose_text_cannot_be_read_has_an_address_for_it(task):
    address = task.memory.put(struct.pack("<q8s", 1, b"12345678"))
    assert task.show("msgsnd", 0, address, 9, 0) == f"msgsnd(0, {{mtype=1, mtext={address + 8:#x}}}, 9, 0) = 0"


# -- POSIX message queues ---------------------------------------------------------------------------

ATTRIBUTES = struct.pack("<qqqq32x", 0x800, 4, 64, 2)


def test_a_queue_that_is_only_opened_has_neither_mode_nor_attributes(show):
    assert show("mq_open", b"q\0", 2, 0o644, ATTRIBUTES, value=3) == 'mq_open("q", O_RDWR) = 3'
    assert show("mq_open", b"q\0", 0o102, 0o200644, ATTRIBUTES, value=3) == (
        'mq_open("q", O_RDWR|O_CREAT, 0644, {mq_flags=0x800, mq_maxmsg=4, mq_msgsize=64, mq_curmsgs=2}) = 3'
    )


def test_attributes_of_an_open_queue_name_their_flags(show):
    assert show("mq_getsetattr", 3, 0, ATTRIBUTES) == (
        "mq_getsetattr(3, NULL, {mq_flags=O_NONBLOCK, mq_maxmsg=4, mq_msgsize=64, mq_curmsgs=2}) = 0"
    )


def test_a_received_message_is_as_long_as_the_result(show):
    assert show("mq_timedreceive", 3, b"hello, world", 12, b"\7\0\0\0", 0, value=5) == (
        'mq_timedreceive(3, "hello", 12, [7], NULL) = 5'
    )


def test_no_value_of_any_register_and_no_memory_makes_a_printer_fail():
    random_calls(CALLS, seed=1, times=60)
