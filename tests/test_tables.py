"""The tables and the numbers in them, held against python-ptrace's."""

from __future__ import annotations

import ptrace.binding.func as bindings
import pytest
from ptrace.binding.linux_struct import user_regs_struct
from ptrace.syscall.linux.x86_64 import SYSCALL_NAMES

from abi import host as host_abi
from abi.decoding.constants import calls as names
from abi.dispatch import Abi, Plane, Support, When
from abi.errors import HostErrno, Kind, LinuxErrno, SysError, host_number, linux_number
from abi.tables import linux as LINUX
from tracer import ptrace

TABLES = [LINUX, host_abi.host]
ENTRIES = [entry for abi in TABLES for entry in abi.table if entry is not None]
LINUX_ENTRIES = [entry for entry in LINUX.table if entry is not None]


def named(entry) -> str:
    return entry.name


# -- entries ----------------------------------------------------------------------------------------


def test_an_entry_stands_at_its_number():
    assert all(abi.table[e.number] is e for abi in TABLES for e in abi.table if e is not None)


def test_a_number_cannot_be_taken_twice():
    abi = Abi("test", linux_number, 8)
    abi.native(1, "one")
    with pytest.raises(ValueError, match="call 1 is in the table twice"):
        abi.native(1, "again")


@pytest.mark.parametrize("abi", TABLES, ids=lambda abi: abi.name)
def test_no_two_entries_have_one_name(abi):
    names = [entry.name for entry in abi.table if entry is not None]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("entry", [e for e in LINUX_ENTRIES if e.number in SYSCALL_NAMES], ids=named)
def test_a_number_has_the_name_that_python_ptrace_gives_it(entry):
    name = SYSCALL_NAMES[entry.number]
    assert entry.name == {"timerfd": "timerfd_create"}.get(name, name)  # the one it writes in its own way


def test_the_numbers_without_an_entry_are_those_that_linux_gave_up():
    missing = {SYSCALL_NAMES[number] for number in SYSCALL_NAMES if number < 512 and LINUX.entry(number) is None}
    assert missing == {
        "uselib", "sysfs", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl", "getpmsg",
        "putpmsg", "afs_syscall", "tuxcall", "security", "set_thread_area", "get_thread_area", "epoll_ctl_old",
        "epoll_wait_old", "vserver",
    }  # fmt: skip


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.support is not Support.FULL], ids=named)
def test_what_is_not_wholly_there_says_what_is_missing(entry):
    assert entry.note


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.plane in (Plane.ANSWER, Plane.STEER)], ids=named)
def test_what_the_supervisor_carries_out_has_a_handler(entry):
    assert callable(entry.handler)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.when], ids=named)
def test_a_rule_that_leads_to_the_supervisor_has_a_handler_behind_it(entry):
    leads = any(rule.plane in (Plane.ANSWER, Plane.STEER) for rule in entry.when)
    assert entry.handler is not None or not leads


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.when], ids=named)
def test_a_rule_asks_for_values_its_mask_lets_through_and_for_each_once(entry):
    for rule in entry.when:
        assert 0 <= rule.arg < 6
        assert all(value & rule.mask == value for value in rule.values)
        assert len(set(rule.values)) == len(rule.values)


def test_more_than_260_linux_calls_are_supported():
    assert sum(entry.support is not Support.NONE for entry in LINUX_ENTRIES) > 260


def test_a_number_beyond_the_table_has_no_entry():
    assert LINUX.entry(512) is None
    assert LINUX.entry(-1) is None


def test_values_of_a_rule_are_compared_as_32_bits():
    assert When(0, (-1,), Plane.NATIVE).values == (0xFFFFFFFF,)


# -- errors -----------------------------------------------------------------------------------------


def test_every_kind_has_its_linux_number():
    import errno

    assert all(linux_number(kind) == getattr(errno, kind.name) for kind in Kind)
    assert LinuxErrno.EAGAIN == errno.EAGAIN


def test_every_kind_has_a_small_positive_host_number():
    assert all(0 < host_number(kind) < 100 for kind in Kind)


def test_every_host_code_is_the_number_of_some_kind():
    assert {host_number(kind) for kind in Kind} == set(HostErrno)


def test_a_host_errno_nobody_defines_is_an_io_error():
    assert SysError.of_errno(9999).kind is Kind.EIO
    assert SysError.of_errno(None).kind is Kind.EIO


def test_a_log_knows_the_names_that_the_tables_have_and_python_ptraces():
    ours = {entry.number: entry.name for entry in LINUX.table if entry is not None}
    theirs = {number: name for number, name in SYSCALL_NAMES.items() if number < 512}  # x32 has those above
    assert {number: names.LINUX[number] for number in ours} == ours
    assert {number: names.LINUX[number] for number in theirs.keys() - ours.keys()}.items() <= theirs.items()
    assert max(names.LINUX) < 512 and len(set(names.LINUX.values())) == len(names.LINUX)
    assert {entry.number: entry.name for entry in host_abi.host.table if entry is not None} == names.HOST


# -- ptrace -----------------------------------------------------------------------------------------

_REQUESTS = [
    name
    for name, value in vars(ptrace).items()
    if name.isupper() and isinstance(value, int) and hasattr(bindings, f"PTRACE_{name}")
]


def test_python_ptrace_knows_most_of_the_requests():
    assert len(_REQUESTS) > 15


@pytest.mark.parametrize("name", _REQUESTS)
def test_a_ptrace_constant_is_python_ptraces(name):
    assert getattr(ptrace, name) == getattr(bindings, f"PTRACE_{name}")


def test_the_registers_stand_in_the_order_of_user_regs_struct():
    names = [name for name, _ in user_regs_struct._fields_]
    assert [getattr(ptrace, name.upper()) for name in names] == list(range(len(names)))
    assert ptrace.REGISTERS._length_ == len(names)


def test_the_arguments_stand_where_the_64_bit_layout_has_them():
    names = [name for name, _ in user_regs_struct._fields_]
    assert [names[index] for index in ptrace.ARGUMENTS] == ["rdi", "rsi", "rdx", "r10", "r8", "r9"]
