"""Hooks: a person's functions that see a call first, and what a sandbox makes of what they say."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fakes import LINUX, NUMBERS, Guest

from abi.dispatch import Plane
from abi.hooks import HookError, Hooks
from tracer.log.names import linux_numbers

EXAMPLES = Path(__file__).resolve().parent.parent / "examples/hooks"


def hooks(tmp_path, text: str) -> Hooks:
    file = tmp_path / "hooks.py"
    file.write_text(text)
    loaded = Hooks()
    loaded.load(str(file), linux_numbers())
    return loaded


def entry(tmp_path, text: str, name: str):
    return hooks(tmp_path, text).applied_to(LINUX).table[NUMBERS[name]]


@pytest.fixture
def hooked(tmp_path, monkeypatch):
    """A fake guest whose table has the hooks of a text."""
    (tmp_path / "root").mkdir()
    guests = []

    def make(text: str) -> Guest:
        table = hooks(tmp_path, text).applied_to(LINUX)
        monkeypatch.setattr("fakes.LINUX", table)
        guest = Guest(tmp_path / "root").__enter__()
        guests.append(guest)
        return guest

    yield make
    for guest in guests:
        guest.__exit__(None, None, None)


# -- where they stand -------------------------------------------------------------------------------


def test_a_native_call_is_steered_to_its_hook_and_an_answered_one_stays_answered(tmp_path):
    text = '@on("read", "stat")\ndef see(call): pass'
    assert entry(tmp_path, text, "read").plane is Plane.STEER
    assert entry(tmp_path, text, "stat").plane is Plane.ANSWER


def test_a_call_that_nobody_hooks_keeps_its_entry(tmp_path):
    table = hooks(tmp_path, '@on("read")\ndef see(call): pass').applied_to(LINUX)
    assert table.table[NUMBERS["write"]] is LINUX.table[NUMBERS["write"]]
    assert LINUX.table[NUMBERS["read"]].plane is Plane.NATIVE


def test_values_of_an_argument_that_were_native_or_refused_meet_the_hook_too(tmp_path):
    rules = entry(tmp_path, '@on("socketpair")\ndef see(call): pass', "socketpair").when
    assert {rule.plane for rule in rules} == {Plane.STEER}


# -- what they may say ------------------------------------------------------------------------------


def test_nothing_said_lets_the_call_go_its_way(hooked):
    call = hooked('@on("mkdir")\ndef see(call): pass')
    assert call("mkdir", b"/made", 0o755) == 0
    assert call("stat", b"/made", bytearray(144)) == 0


def test_a_number_or_a_return_answers(hooked):
    call = hooked('@on("getpid")\ndef n(call): return 7\n@on("getppid")\ndef r(call): return Return(8)')
    assert (call("getpid"), call("getppid")) == (7, 8)


def test_an_errno_by_name_or_as_an_error_fails(hooked):
    call = hooked(
        '@on("mkdir")\ndef a(call): return fail("EROFS")\n'
        '@on("rmdir")\ndef b(call): raise FileNotFoundError(2, "no")\n'
    )
    assert call("mkdir", b"/x", 0o755) == -errno.EROFS
    assert call("rmdir", b"/x") == -errno.ENOENT


def test_a_changed_path_is_what_the_handler_reads(hooked, tmp_path):
    call = hooked('@on("mkdir")\ndef other(call): return Change(paths={0: call.path(0) + b"-2"})')
    assert call("mkdir", b"/made", 0o755) == 0
    assert (tmp_path / "root/made-2").is_dir()
    assert not (tmp_path / "root/made").exists()


def test_a_changed_number_is_what_the_handler_gets(hooked, tmp_path):
    call = hooked('@on("mkdir")\ndef mode(call): return Change({1: 0o700})')
    call("mkdir", b"/made", 0o755)
    assert (tmp_path / "root/made").stat().st_mode & 0o777 == 0o700


def test_hooks_of_one_call_are_asked_in_their_order_until_one_has_an_answer(hooked):
    call = hooked(
        '@on("getpid")\ndef first(call): return None\n'
        '@on("getpid")\ndef second(call): return 2\n'
        '@on("getpid")\ndef third(call): return 3\n'
    )
    assert call("getpid") == 2


def test_a_hook_that_raises_is_reported_once_and_the_call_goes_on(hooked, capfd):
    call = hooked('@on("getuid")\ndef broken(call):\n    raise ValueError("no such luck")')
    assert call("getuid") == call("getuid") == 0
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "hook broken at" in said and "hooks.py:3: ValueError: no such luck" in said


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ('"seven"', "'seven'"),
        ('Return("seven")', "Return('seven')"),
        ("1 << 63", "Return(9223372036854775808)"),
        ("-5000", "Return(-5000)"),
        ('Fail("ENOENT")', "Fail('ENOENT')"),
        ('Change({0: "seven"})', "Change({0: 'seven'}, {})"),
        ("Change({6: 1})", "Change({6: 1}, {})"),
        ('Change(paths={0: "text"})', "Change({}, {0: 'text'})"),
        ("Change([1])", "Change([1], {})"),
    ],
)
def test_a_hook_that_gives_nonsense_is_reported_and_the_call_goes_on(hooked, capfd, result, shown):
    call = hooked(f'from abi.dispatch import Fail\n@on("getgid")\ndef strange_{abs(hash(result))}(call): return {result}')
    assert call("getgid") == 0
    assert f"gave {shown}, which is no result; the call goes on\n" in capfd.readouterr().err


@pytest.mark.parametrize("raises", ["SystemExit(3)", "OSError('no errno')", "RecursionError", "MemoryError"])
def test_whatever_a_hook_raises_the_call_goes_on(hooked, capfd, raises):
    call = hooked(f'@on("getgid")\ndef bad_{abs(hash(raises))}(call): raise {raises}')
    assert call("getgid") == 0
    assert capfd.readouterr().err.count("the call goes on") == 1


# -- files that cannot be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def (", r"hooks\.py:1: "),
        ("x = 1", "no function in it is marked"),
        ("@on('opne')\ndef f(call): pass", "no call is named 'opne'; do you mean 'open'"),
        ("@on()\ndef f(call): pass", "@on takes the names of calls"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_in_one_line(tmp_path, text, why):
    with pytest.raises(HookError, match=why) as failure:
        hooks(tmp_path, text)
    assert "\n" not in str(failure.value)


# -- with a guest -----------------------------------------------------------------------------------


def test_a_hook_fails_a_native_call_of_a_real_guest(run, tmp_path):
    (tmp_path / "full.py").write_text('@on("write")\ndef full(call): return fail("ENOSPC") if call.int(0) == 1 else None')
    done = run("sh", "-c", "echo lost", options=("--hook", str(tmp_path / "full.py")))
    assert (done.stdout, done.returncode) == (b"", 1)
    assert b"No space left on device" in done.stderr


def test_a_hook_is_not_asked_about_what_int80_does_before_the_command(run, tmp_path):
    (tmp_path / "tell.py").write_text(
        'import os\n@on("read", "write", "execve")\ndef tell(call):\n    os.write(2, call.name.encode() + b"\\n")\n'
    )
    done = run("true", options=("--hook", str(tmp_path / "tell.py")))
    assert done.stderr.split()[0] == b"execve"


def test_the_examples_do_what_they_say(run):
    def said(example: str, script: str) -> bytes:
        done = run("sh", "-c", script, options=("--hook", str(EXAMPLES / f"{example}.py")))
        return done.stdout + done.stderr

    assert said("answers", "uname -r; echo $$").endswith(b"runs /bin/sh\n")
    assert said("answers", "uname -r; echo $$").startswith(b"2.6.0\n42\n")
    (run.root / "etc/hostname").write_text("here\n")
    (run.root / "etc/os-release").write_text("NAME=there\n")
    assert said("other_file", "cat /etc/hostname") == b"NAME=there\n"
    assert b"Read-only file system" in said("readonly_home", "mkdir -p /root; echo x > /root/x")


def test_a_missing_hook_file_is_one_line_and_125(run):
    done = run("true", options=("--hook", "/does/not/exist.py"))
    assert (done.returncode, done.stderr) == (125, b"int80: --hook /does/not/exist.py: no such file or directory\n")
