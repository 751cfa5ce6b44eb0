"""The table of signatures: which area has which call, and what becomes of calls that none has."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from abi.decoding.calls import AREAS, SIGNATURES, UNKNOWN
from tracer.log.names import linux_numbers

#: (python-ptrace's, ours), where printers leave out what a command does not take, or the kernel has more by now.
OTHER_ARGUMENTS = {
    "fcntl": (3, 6), "ioctl": (3, 6), "prctl": (5, 6),  # as many as the command has
    "membarrier": (2, 3),  # a processor since 5.10
    "preadv": (5, 4), "pwritev": (5, 4),  # the offset is one number on x86-64
    "restart_syscall": (0, 1),  # the call that goes on
    "sched_setattr": (3, 4),  # the closing brace of a structure that the kernel may correct waits for the end
}  # fmt: skip


def test_the_index_names_what_the_areas_have():
    for area, names in AREAS.items():
        assert set(names.split()) == set(import_module(f"abi.decoding.{area}").CALLS), area


def test_every_call_of_the_machine_is_described_by_one_area():
    described = [name for names in AREAS.values() for name in names.split()]
    assert len(described) == len(set(described))
    assert set(linux_numbers()) == set(described)


def test_a_call_without_a_name_is_six_numbers():
    assert SIGNATURES["syscall_0x1ff"] is UNKNOWN


def test_signatures_have_the_arguments_that_python_ptrace_knows():
    from ptrace.syscall.prototypes import SYSCALL_PROTOTYPES

    other = {
        name: (len(arguments), len(SIGNATURES[name].arguments))
        for name, (_, arguments) in SYSCALL_PROTOTYPES.items()
        if SIGNATURES[name] is not UNKNOWN and len(arguments) != len(SIGNATURES[name].arguments)
    }
    assert other == OTHER_ARGUMENTS


def test_an_area_is_imported_when_one_of_its_calls_is_met():
    script = "import sys; from abi.decoding.calls import SIGNATURES; SIGNATURES['openat']; print(*sys.modules)"
    repository = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert "abi.decoding.files" in done.stdout.split()
    assert "abi.decoding.netlink" not in done.stdout.split()
