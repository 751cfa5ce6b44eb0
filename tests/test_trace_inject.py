"""Tampering with calls: what expressions mean, at which invocations they apply, and the same outcome as strace's."""

from __future__ import annotations

import errno
import shutil
import subprocess

import pytest

from tracer.log.inject import Injected, Injection, InjectionError, Injector, parse


def names(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def read(text: str, fault: bool = False) -> Injection:
    return parse(text, names, fault)


def applied(when: str) -> list[int]:
    """The invocations, of twelve, that are meant."""
    injection = read(f"chdir:error=EPERM:when={when}")
    return [count for count in range(1, 13) if injection.applies(count)]


# -- expressions ------------------------------------------------------------------------------------


def test_an_error_is_named_or_numbered_in_any_case():
    assert read("chdir:error=ENOENT").what == read("chdir:error=enoent").what == read("chdir:error=2").what
    assert read("chdir:error=ENOENT").what == Injected(value=-errno.ENOENT)


def test_a_fault_is_enosys_if_nothing_else_is_said():
    assert read("chdir", fault=True).what == Injected(value=-errno.ENOSYS)
    assert read("chdir:error=EIO:when=2", fault=True) == Injection(names("chdir"), Injected(value=-errno.EIO), 2, None, 0)


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("0x10", 16), ("-13", -13), ("0xffffffffffffffff", -1)])
def test_a_result_is_a_signed_number_of_64_bits(text, value):
    assert read(f"chdir:retval={text}").what.value == value


@pytest.mark.parametrize(("text", "number"), [("USR1", 10), ("sigusr1", 10), ("10", 10), ("64", 64)])
def test_a_signal_is_named_with_or_without_sig_or_numbered(text, number):
    assert read(f"chdir:signal={text}").what.signal == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500", 0.0015), ("2ms", 0.002), ("1.5us", 1.5e-6), ("3s", 3.0), ("5ns", 5e-9), ("9" * 30 + "s", 1e9)],
)
def test_a_delay_is_microseconds_unless_it_has_a_unit(text, seconds):
    assert read(f"chdir:delay_enter={text}").what.delay_enter == pytest.approx(seconds)


def test_everything_may_be_said_at_once():
    said = read("open,chdir:retval=1:signal=TERM:syscall=getpid:delay_enter=1:delay_exit=2:when=4..9+2")
    assert said == Injection(names("open,chdir"), Injected(1, 15, "getpid", 1e-6, 2e-6), 4, 9, 2)


def test_the_last_when_counts():
    assert read("chdir:error=1:when=1:when=2").first == 2


@pytest.mark.parametrize(
    ("when", "counts"),
    [
        ("3", [3]),
        ("9+", [9, 10, 11, 12]),
        ("2+4", [2, 6, 10]),
        ("2..4", [2, 3, 4]),
        ("2..4+", [2, 3, 4]),
        ("1..5+3", [1, 4]),
        ("2..2", [2]),
    ],
)
def test_when_says_first_last_and_step(when, counts):
    assert applied(when) == counts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chdir", "say what to do: error, retval, signal, delay_enter or delay_exit"),
        ("chdir:when=1", "say what to do: error, retval, signal, delay_enter or delay_exit"),
        ("chdir:error", "error needs a value"),
        ("chdir:error=EFOO", "error=EFOO: not an error's name, such as ENOENT"),
        ("chdir:error=0", "error=0: errors are 1 to 4095"),
        ("chdir:error=4096", "error=4096: errors are 1 to 4095"),
        ("chdir:error=1:error=2", "error is given twice"),
        ("chdir:error=1:retval=1", "error and retval exclude each other"),
        ("chdir:retval=x", "retval=x: not a number"),
        ("chdir:retval=99999999999999999999", "retval=99999999999999999999: more than 64 bits"),
        ("chdir:signal=0", "signal=0: signals are 1 to 64"),
        ("chdir:signal=SIGFOO", "signal=SIGFOO: not a signal's name, such as SIGUSR1"),
        ("chdir:syscall=getpid", "say what to do: error, retval, signal, delay_enter or delay_exit"),
        ("chdir:signal=1:syscall=getpid", "syscall goes with error or retval"),
        ("chdir:delay_enter=1h", "a delay is a number of microseconds, or one with s, ms, us or ns behind it"),
        ("chdir:poke_enter=@arg1=00", "poke_enter=@arg1=00: changing memory is not supported"),
        ("chdir:error=1:when=0", "when=0: numbers are 1 to 65535"),
        ("chdir:error=1:when=1+0", "when=1+0: numbers are 1 to 65535"),
        ("chdir:error=1:when=65536", "when=65536: numbers are 1 to 65535"),
        ("chdir:error=1:when=3..2", "when=3..2: the last is before the first"),
        ("chdir:error=1:when=2..", "when=2..: it is FIRST, FIRST+, FIRST+STEP, FIRST..LAST or FIRST..LAST+STEP"),
        ("chdir:foo=1", "foo is not known, only error, retval, signal"),
    ],
)
def test_what_cannot_be_understood_is_said_in_one_line(text, said):
    with pytest.raises(InjectionError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith(f"-e inject={text}: ")
    assert said in message
    assert "\n" not in message


def test_a_fault_takes_an_error_and_no_more():
    with pytest.raises(InjectionError, match="-e fault=chdir:signal=9: signal is not known, only error, when"):
        read("chdir:signal=9", fault=True)


# -- deciding ---------------------------------------------------------------------------------------


def test_calls_are_counted_for_each_task_and_each_call():
    injector = Injector([read("chdir,open:error=EPERM:when=2")])
    told = [injector.decide(tid, name) is not None for tid, name in [(1, "chdir"), (1, "open"), (2, "chdir"), (1, "chdir")]]
    assert told == [False, False, False, True]


def test_a_call_that_is_not_meant_is_left_alone():
    assert Injector([read("chdir:error=EPERM")]).decide(1, "open") is None


def test_of_two_injections_for_a_call_the_last_counts():
    injector = Injector([read("chdir:error=EPERM:when=1"), read("chdir:error=EIO:when=2")])
    assert [injector.decide(1, "chdir") for _ in range(2)] == [None, Injected(value=-errno.EIO)]


def test_another_task_with_the_same_number_is_counted_anew():
    injector = Injector([read("chdir:error=EPERM:when=2")])
    injector.decide(1, "chdir")
    injector.gone(1)
    assert injector.decide(1, "chdir") is None


# -- doing ------------------------------------------------------------------------------------------


def lines(log: str) -> list[str]:
    return [" ".join(line.split(None, 1)[1].split()) for line in log.splitlines()]


def both(int80, tmp_path, program, *options: str) -> tuple[list[str], str, int]:
    """The log, the output and the status under int80, after checking that strace gives the same."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    seen = []
    for command in ([strace, "-f"], [*int80, "trace"]):
        log = tmp_path / "log"
        words = [*command, "-o", str(log), *options, str(program)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        seen.append((lines(log.read_text()), done.stdout, done.returncode))
    assert seen[1] == seen[0]
    return seen[1]


@pytest.fixture(scope="module")
def program(guest):
    return guest("inject")


def test_chosen_invocations_fail_as_they_do_under_strace(int80, tmp_path, program):
    log, output, status = both(int80, tmp_path, program, "-e", "trace=chdir", "-e", "inject=chdir:error=ENOENT:when=2..5+2")
    assert log[1] == 'chdir("/tmp") = -1 ENOENT (No such file or directory) (INJECTED)'
    assert [line.split()[2] for line in output.splitlines()[:6]] == ["0", "-1", "0", "-1", "0", "0"]
    assert status == 3


def test_a_fault_is_that_the_call_does_not_exist(int80, tmp_path, program):
    log, *_ = both(int80, tmp_path, program, "-e", "trace=chdir,getpgrp", "-e", "fault=all:when=3+2")
    assert log[2] == 'chdir("/tmp") = -1 ENOSYS (Function not implemented) (INJECTED)'


def test_a_signal_comes_as_the_call_is_entered(int80, tmp_path, program):
    log, output, _ = both(int80, tmp_path, program, "-e", "trace=getpgrp", "-e", "inject=getpgrp:signal=USR1")
    assert "signal 10 code 128\n" in output
    assert any(line.startswith("--- SIGUSR1") for line in log)


def test_a_result_and_delays_are_marked(int80, tmp_path, program):
    options = ("-e", "trace=chdir", "-e", "inject=chdir:retval=7:delay_enter=100:delay_exit=0.1ms:when=1")
    log, output, _ = both(int80, tmp_path, program, *options)
    assert log[:2] == ['chdir("/tmp") = 7 (INJECTED) (DELAYED)', 'chdir("/tmp") = 0']
    assert output.startswith("chdir 1: 7 errno 0\n")


def test_a_delay_alone_changes_nothing_else(int80, tmp_path, program):
    log, *_ = both(int80, tmp_path, program, "-e", "trace=chdir", "-e", "inject=chdir:delay_exit=10")
    assert log[0] == 'chdir("/tmp") = 0 (DELAYED)'


def test_another_call_is_made_in_its_place(int80, tmp_path, program):
    log, *_ = both(int80, tmp_path, program, "-e", "trace=chdir", "-e", "inject=chdir:error=EPERM:syscall=getpid:when=6")
    assert log[5] == 'chdir("/tmp") = -1 EPERM (Operation not permitted) (INJECTED)'


def test_what_is_not_logged_is_not_tampered_with(int80, tmp_path, program):
    _, output, _ = both(int80, tmp_path, program, "-e", "trace=getpgrp", "-e", "inject=chdir:error=ENOENT")
    assert "chdir 1: 0 errno 0\n" in output


def test_the_execve_that_starts_the_command_is_not_counted(int80, tmp_path):
    shell = ("sh", "-c", "/bin/true; exec /bin/true")
    done = [
        subprocess.run([*command, "-o", "/dev/null", "-e", "trace=execve", "-e", "inject=execve:error=EACCES:when=1", *shell])
        for command in ([*int80, "trace"], ["strace", "-f"])
    ]
    assert [one.returncode for one in done] == [126, 126]


def test_even_exit_may_fail(int80, tmp_path, program):
    log = tmp_path / "log"
    options = ("-e", "trace=/^exit", "-e", "inject=exit_group:error=EPERM:when=1")
    assert subprocess.run([*int80, "trace", "-o", str(log), *options, str(program)], capture_output=True).returncode == 3
    seen = lines(log.read_text())
    assert seen[1].endswith("= -1 EPERM (Operation not permitted) (INJECTED)")
    assert seen[2:] == ["exit(3) = ?", "+++ exited with 3 +++"]


def test_a_task_that_is_held_does_not_hold_the_others(int80, tmp_path):
    # The child's chdir is held until its parent, which has work of its own, kills it: an hour is never waited for.
    script = "(cd /; echo no) & child=$!; mkdir d; rmdir d; kill -9 $child; wait; echo done"
    options = ("-o", "/dev/null", "-e", "trace=chdir", "-e", "inject=chdir:delay_enter=3600s")
    words = [*int80, "trace", *options, "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout == "done\n"


def test_bad_expressions_end_with_one_line_and_125(int80):
    done = subprocess.run([*int80, "trace", "-e", "inject=chdir:error=EFOO", "true"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("int80: -e inject=chdir:error=EFOO: error=EFOO: not an error's name, such as ENOENT")
    assert done.stderr.count("\n") == 1
