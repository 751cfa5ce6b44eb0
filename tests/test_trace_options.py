"""What `int80 trace` makes of its options: which calls, which signals, which outcomes, which form."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess

import pytest

from abi.decoding import values
from abi.decoding.calls import SIGNATURES
from abi.decoding.classes import CLASSES, class_of
from abi.decoding.values import quoted, strings_in_hex
from tracer.log import choice
from tracer.log.events import Call
from tracer.log.names import linux_numbers, tables
from tracer.log.options import OptionError, add_options, open_log, wants_colour
from tracer.log.text import Times


@pytest.fixture(scope="module")
def names():
    return tables()


def log(names, *words):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return open_log(parser.parse_args(words), names)


def chosen(text, names):
    """The x86-64 calls that an expression chooses."""
    calls = choice.calls(text, names)
    return {name for name in linux_numbers() if calls is None or name in calls}


# -- calls ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("open,close", {"open", "close"}),
        ("open@64", {"open"}),
        ("12", {"brk"}),
        ("none", set()),
        ("?nosuch,open", {"open"}),
        ("%statfs", {"statfs"}),
        ("%%statfs", {"statfs", "fstatfs", "ustat"}),
        ("statfs", {"statfs"}),
        ("file", CLASSES["file"]),
        ("%net", CLASSES["network"]),
        ("/^exec", {"execve", "execveat"}),
        ("/^exec,close", {"execve", "execveat", "close"}),
        ("!all", set()),
    ],
)
def test_an_expression_chooses_calls(names, text, calls):
    assert chosen(text, names) == calls


def test_all_is_everything_and_no_set_at_all(names):
    assert choice.calls("all", names) is None
    assert choice.calls("!none", names) is None


def test_a_set_turned_round_keeps_calls_that_nobody_knows(names):
    calls = choice.calls("!%file,close", names)
    assert "syscall_0x1ff" in calls
    assert "read" in calls
    assert "open" not in calls
    assert "close" not in calls


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_classes_hold_only_calls_that_there_are(kind):
    assert CLASSES[kind] - linux_numbers().keys() == set()


def test_every_call_is_painted_as_one_class():
    kinds = {class_of(name) for name in linux_numbers()}
    assert kinds == {"process", "network", "signal", "memory", "ipc", "time", "file", "desc", "other"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("opne", "there is no call 'opne'; did you mean open"),
        ("%fiel", "there is no class %fiel; did you mean %file?"),
        ("%zzz", "there is no class %zzz; there are %file, %process"),
        ("/(", "/( is not a regular expression"),
        ("open,", "there is no call ''"),
        ("999", "there is no call '999'"),
    ],
)
def test_an_unknown_name_gets_one_line_with_what_may_be_meant(names, text, said):
    with pytest.raises(choice.ChoiceError, match=re.escape(said)) as caught:
        choice.calls(text, names)
    assert "\n" not in str(caught.value)


def test_the_filter_stops_the_chosen_calls_only(names):
    assert choice.Choice(choice.calls("open,close", names)).numbers(names["linux"]) == {2, 3}
    assert choice.Choice().numbers(names["linux"]) is None
    assert choice.Choice(frozenset()).numbers(names["linux"]) == frozenset()


def test_a_filter_turned_round_stops_numbers_without_a_name(names):
    numbers = choice.Choice(choice.calls("!open", names)).numbers(names["linux"])
    assert 2 not in numbers
    assert {0, 511} <= numbers


@pytest.fixture(scope="module")
def strace_of(guest, tmp_path_factory):
    """Which calls strace shows, of all that it knows, for one ``-e trace=``."""
    log = tmp_path_factory.mktemp("strace") / "log"

    def show(option: str) -> set[str]:
        subprocess.run(["strace", "-o", str(log), "-e", f"trace={option}", str(guest("every_call"))], check=False)
        return set(re.findall(r"^(?!syscall_)(\w+)\(.*= -1 ENOSYS", log.read_text(), re.MULTILINE))

    return show


@pytest.mark.parametrize("kind", [*sorted(CLASSES), "!%desc", "/stat", "all", "none", "!open,read"])
def test_strace_chooses_the_same_calls(names, strace_of, kind):
    option = f"%{kind}" if kind in CLASSES else kind
    assert strace_of(option) == chosen(option, names) & strace_of("all")


# -- signals, outcomes, paths -----------------------------------------------------------------------


def test_signals_are_chosen_by_name_and_by_number():
    assert choice.signals("SIGUSR1,chld,9") == {"SIGUSR1", "SIGCHLD", "SIGKILL"}
    assert "SIGUSR1" not in choice.signals("!usr1")
    assert choice.signals("all") is None
    assert choice.signals("none") == frozenset()
    with pytest.raises(choice.ChoiceError, match="there is no signal 'SIGCLD1'; did you mean SIGCHLD"):
        choice.signals("SIGCLD1")


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (Call(0, 1, 1, "open", 2, value=3), "successful"),
        (Call(0, 1, 1, "open", 2, value=-2, error="ENOENT"), "failed"),
        (Call(0, 1, 1, "read", 0, unfinished=True), "unfinished"),
        (Call(0, 1, 1, "read", 0, unfinished=True, detached=True), "detached"),
        (Call(0, 1, 1, "exit_group", 231), "unfinished"),
    ],
)
def test_a_call_has_one_outcome(call, outcome):
    for text in choice.OUTCOMES:
        assert choice.Choice(outcomes=choice.outcomes(text)).wants_outcome(call) == (text == outcome)
        assert choice.Choice(outcomes=choice.outcomes(f"!{text}")).wants_outcome(call) == (text != outcome)


def test_a_path_means_where_it_leads_too(tmp_path):
    (tmp_path / "link").symlink_to("file")
    path = str(tmp_path / "link")
    assert choice.paths([path]) == {os.fsencode(path), os.fsencode(os.path.realpath(path))}


def test_only_calls_that_may_name_a_path_or_a_descriptor_are_stopped_for_a_path(names):
    printers = (values.path, values.descriptor, values.dirfd)
    able = {
        name for name in linux_numbers() for printer in SIGNATURES[name].arguments
        if getattr(printer, "shows", printer) in printers or getattr(printer, "holds", None)
    }  # fmt: skip
    chosen = log(names, "-P", "/etc/passwd", "-o", os.devnull).choice
    stopped = {names["linux"][number] for number in chosen.numbers(names["linux"])}
    assert able <= stopped
    assert not stopped & {"brk", "getpid", "rt_sigaction", "wait4", "exit_group"}
    fewer = log(names, "-P", "/etc/passwd", "-e", "trace=open,brk", "-o", os.devnull).choice
    assert fewer.numbers(names["linux"]) == {2}


# -- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-e", "colour=red"], "'colour' is none of trace, signal"),
        (["-e", "kvm=vcpu"], "int80 has no kvm="),
        (["-e", "status=odd"], "'odd' is none of successful, failed"),
        (["-e", "quiet=odd"], "'odd' is none of attach, exit"),
        (["-e", "read=x"], "'x' is not a descriptor's number"),
        (["-e", "abbrev=opne"], "there is no call 'opne'; did you mean open"),
        (["-e", "decode-fds=x"], "only none, path and all are known"),
        (["-e", "inject=open"], "say what to do"),
        (["-e", "inject=opne:error=EIO"], "there is no call 'opne'; did you mean open"),
        (["-s", "x"], "-s x: give a number"),
        (["-a", "-1"], "-a -1: give a number"),
        (["--color", "blue"], "--color blue: auto, always or never"),
        (["-c", "-S", "odd"], "-S odd: time, calls, errors"),
        (["-c", "-C"], "-c and -C exclude each other"),
        (["--tree", "--json"], "--tree and --json exclude each other"),
        (["-c", "-ff", "-o", "x"], "-c and -ff exclude each other"),
        (["-ff", "-o", "|cat"], "-ff writes files"),
        (["-o", ""], "-o '': give a file"),
        (["-o", "/nowhere/log"], "/nowhere/log: no such file or directory"),
        (["--timeline", "/nowhere/log"], "/nowhere/log: no such file or directory"),
    ],
)
def test_options_that_cannot_be_get_one_line(names, words, said):
    parser = argparse.ArgumentParser()
    add_options(parser)
    words = [f"{words[0]}{words[1]}"] if words[0] == "-a" else words
    options = parser.parse_args(words)
    with pytest.raises(OptionError, match=re.escape(said)):
        from tracer.log.options import injections

        injections(options, names)
        open_log(options, names)


def test_of_several_sets_of_one_kind_the_last_counts(names):
    recorder = log(names, "-e", "open", "-e", "trace=close", "-z", "-e", "status=failed", "-o", os.devnull)
    assert recorder.choice.calls == {"close"}
    assert recorder.choice.outcomes == {"failed"}


@pytest.mark.parametrize(
    ("words", "paths", "verbose"),
    [((), 0, False), (("-y",), 1, False), (("-yy", "-v"), 2, True), (("-e", "decode-fds=all", "-e", "abbrev=none"), 2, True)],
)
def test_the_style_is_what_was_asked_for(names, words, paths, verbose):
    style = log(names, "-s", "7", *words, "-o", os.devnull).style
    assert (style.strings, style.paths, style.verbose) == (7, paths, verbose)


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ((), ["Text"]),
        (("-c",), ["Summary"]),
        (("-C",), ["Text", "Summary"]),
        (("--tree",), ["Tree"]),
        (("--json",), ["JsonLines"]),
        (("-ff", "-o", "{place}/log"), ["Separate"]),
        (("-ff",), ["Text"]),
        (("--timeline", "{place}/t"), ["Timeline"]),
        (("--timeline", "{place}/t", "--html", "{place}/h"), ["Timeline", "Page"]),
        (("--html", "{place}/h", "-o", "{place}/log"), ["Text", "Page"]),
        (("--html", "{place}/h", "-c"), ["Summary", "Page"]),
    ],
)
def test_each_form_is_a_sink(names, tmp_path, words, kinds):
    recorder = log(names, "--color", "never", *(word.replace("{place}", str(tmp_path)) for word in words))
    assert [type(sink).__name__ for sink in recorder.sinks] == kinds
    recorder.close()


@pytest.mark.parametrize("way", ["raw=openat,close,read", "raw=all", "abbrev=!newfstatat", "verbose=none", "verbose=read"])
def test_calls_are_as_raw_or_as_whole_as_strace_has_them(int80, tmp_path, way):
    def lines(*command: str) -> list[str]:
        options = ("-o", str(tmp_path / "log"), "-e", "trace=openat,close,read,newfstatat,access,execve,prlimit64", "-e", way)
        subprocess.run(["setarch", "-R", *command, *options, "/bin/true"], check=True, timeout=60)
        # Memory of the C library is where the tracer's children have it, and a file may be read meanwhile.
        return [re.sub(r"^\d+ +|0x7[0-9a-f]{9,}|st_atime\w*=[^,]*|  +", "", line) for line in open(tmp_path / "log")]

    if shutil.which("strace") is None:
        pytest.skip("no strace")
    assert lines(*int80, "trace") == lines("strace", "-f")


def test_nobody_reads_arguments_for_a_table_unless_a_path_chooses(names):
    assert log(names, "-c").bare
    assert not log(names, "-c", "-P", "/etc/passwd").bare
    assert not log(names, "-C").bare


# -- times, strings, colours ------------------------------------------------------------------------


def test_times_are_written_as_strace_writes_them(monkeypatch):
    moment = 1_700_000_000.25
    assert Times().prefix(moment) == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d ", Times("t").prefix(moment))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.250000 ", Times("tt").prefix(moment))
    assert Times("ttt").prefix(moment) == "1700000000.250000 "
    relative = Times(relative=True)
    assert [relative.prefix(moment), relative.prefix(moment + 1.5)] == ["     0.000000 ", "     1.500000 "]
    assert Times("ttt", relative=True).prefix(moment) == "1700000000.250000 (+     0.000000) "


@pytest.mark.parametrize(
    ("degree", "data", "text"),
    [
        (0, b"a\n\1", '"a\\n\\1"'),
        (1, b"a\n", '"a\\n"'),
        (1, b"a\n\1", '"\\x61\\x0a\\x01"'),
        (1, "é".encode(), '"\\xc3\\xa9"'),
        (2, b"a", '"\\x61"'),
    ],
)
def test_strings_are_in_hex_when_asked_for(degree, data, text):
    strings_in_hex(degree)
    try:
        assert quoted(data) == text
    finally:
        strings_in_hex(0)


@pytest.mark.parametrize(
    ("when", "env", "coloured"),
    [
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("auto", {}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_follow_the_option_then_the_environment(monkeypatch, when, env, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    read, write = os.pipe()
    try:
        assert wants_colour(write, when) is coloured
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(("env", "coloured"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_is_coloured_unless_it_cannot_or_must_not_be(monkeypatch, env, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TERM", env.get("TERM", "xterm"))
    master, terminal = os.openpty()
    try:
        assert wants_colour(terminal, "auto") is coloured
    finally:
        os.close(master)
        os.close(terminal)
