"""The gate seen by programs: int 0x80 with the 64-bit layout, in each way that a host or an option has it done."""

from __future__ import annotations

import subprocess

import pytest

MODES = {
    "patch": (),
    "no-patch": ("--no-patch",),
    "no-ia32": ("--no-ia32",),
    "no-patch-no-ia32": ("--no-patch", "--no-ia32"),
}


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def mode(request) -> tuple[str, ...]:
    return request.param


@pytest.fixture
def say(run, guest, int80):
    """What a guest prints, after checking that it ended well and nobody complained."""

    def lines(name: str, *words: str, options: tuple[str, ...] = (), status: int = 0) -> list[str]:
        program = run.put(guest(name), name)
        command = [*int80, "run", "--rootfs", str(run.root), *options, "--", program, *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, start_new_session=True, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, done.stderr) == (status, ""), done
        return done.stdout.splitlines()

    return lines


# -- registers and code -----------------------------------------------------------------------------


def test_no_register_but_rax_changes(say, mode):
    assert say("registers", "all", options=mode) == ["cd 80"]


def test_a_site_behind_which_rcx_and_r11_are_dead_is_rewritten(say, mode):
    assert say("registers", "rewritten", options=mode) == ["cd 80" if "--no-patch" in mode else "0f 05"]


def test_both_gates_in_one_program(say, mode):
    assert say("registers", "mixed", options=mode) == ["20 right"]


def test_a_file_never_changes_because_code_in_it_is_run(say, mode):
    private = "cd 80" if "--no-patch" in mode else "0f 05"
    assert say("registers", "mapped", options=mode) == [
        "shared: 5 right, memory cd 80, file cd 80",
        f"private: 5 right, memory {private}, file cd 80",
    ]


def test_eight_threads_come_to_the_same_site_at_once(say, mode):
    rewritten = 0 if "--no-patch" in mode else 60
    assert say("threads80", options=mode) == [f"0 wrong, {rewritten} rewritten, {60 - rewritten} kept"]


# -- signals, births --------------------------------------------------------------------------------


def test_a_signal_interrupts_or_restarts_a_call_and_sigreturn_goes_through_the_gate(say, mode):
    assert say("registers", "interrupted", options=mode) == ["interrupted after signals", "restarted after signals"]


def test_registers_and_results_are_right_in_a_storm_of_signals(say, mode):
    assert say("registers", "stormy", options=mode) == ["25 forks, signals many"]


def test_a_sleeper_stopped_and_continued_sleeps_on(say, mode):
    assert say("registers", "stopped", options=mode) == ["ended with 0x600"]


def test_fork_vfork_clone_and_execve(say, mode):
    said = say("registers", "births", "/bin/registers", options=mode, status=13)
    assert said == ["fork 11", "vfork 12", "vfork and execve 13", "thread right"]


@pytest.mark.parametrize("number", ["trap", "segv"])
def test_the_gates_own_signals_leave_the_programs_mask_and_handlers_alone(say, mode, number):
    said = say("registers", number, options=mode)
    assert said == ["handled 0", "handled 1", "blocked 1, handler kept", "ignored still"]


def test_a_breakpoint_of_the_program_is_its_own(say, mode):
    assert say("registers", "int3", options=mode) == ["handled 1"]


# -- other kinds of call ----------------------------------------------------------------------------


def test_calls_of_32_bit_code_and_of_x32_are_not_there(say, mode):
    said = say("ia32", options=mode)
    assert said[:7] == [f"32-bit {number}: -38" for number in (1, 5, 20, 24, 39, 120, 499)]
    assert said[7:11] == ["code cd 80", "x32 by syscall: -38", "x32 by int 0x80: -38", "x32's own execve: -38"]
    assert said[11:13] == ["from above", "11 bytes from above 4 GiB"]
    assert "sysenter exits" not in said[13:]
