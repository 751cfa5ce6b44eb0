"""What calls about processes, signals, scheduling, rights and the machine look like in the trace, as strace 6.1 has it."""

from __future__ import annotations

import random
import struct

import pytest
from fakes import BAD, Memory

from abi.decoding import probes, processes, scheduling, security, signals, system, tracing
from abi.decoding.processes import siginfo, signal_name, wait_status
from abi.decoding.values import U64, Style, View, result_of

CALLS = {}
for area in (processes, signals, scheduling, security, system, tracing, probes):
    CALLS |= area.CALLS

E2BIG, EFAULT, EINVAL, ESRCH = 7, 14, 22, 3


class Described:
    """Calls of a task with a memory of its own: `show` gives a call's arguments and result as the trace has them."""

    def __init__(self, **style) -> None:
        self.memory = Memory()
        self.style = Style(**style)
        self.files = {3: "/etc/passwd", 5: "anon_inode:[pidfd]"}

    def put(self, data: bytes) -> int:
        return self.memory.put(data)

    def view(self, *args: int | bytes) -> View:
        numbers = [self.put(arg) if isinstance(arg, bytes) else arg & U64 for arg in args]
        return View(0, (*numbers, *[0] * (6 - len(numbers))), self.memory, self.style, self.files.get)

    def show(self, name: str, *args: int | bytes, value: int = 0, error: int = 0, meanwhile=None) -> str:
        """Bytes are put into memory; `meanwhile` is what the kernel does between entry and end."""
        view = self.view(*args)
        signature = CALLS[name]
        words = signature.early(view)
        if meanwhile is not None:
            meanwhile(view)
        view.value, view.error = (-error, error) if error else (value, 0)
        words += signature.late(view)
        return f"{name}({', '.join(words).replace(',  =>', ' =>')}) = {result_of(signature, view)}"

    def strings(self, *words: bytes) -> int:
        """A null-terminated array of strings."""
        return self.put(struct.pack(f"<{len(words) + 1}Q", *(self.put(word + b"\0") for word in words), 0))


@pytest.fixture
def task():
    return Described()


@pytest.fixture
def call(task):
    return task.show


def info(signal: int, code: int, *words: int, errno: int = 0) -> bytes:
    """A siginfo_t whose union begins with 32-bit `words`."""
    return struct.pack("<iiii", signal, errno, code, 0) + struct.pack(f"<{len(words)}i", *words).ljust(112, b"\0")


# -- signals ----------------------------------------------------------------------------------------


def test_real_time_signals_count_from_the_kernel_s_sigrtmin():
    assert [signal_name(number) for number in (1, 31, 32, 33, 64, 65, 0, -1)] == [
        "SIGHUP", "SIGSYS", "SIGRTMIN", "SIGRT_1", "SIGRT_32", "65", "0", "-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            info(17, 1, 4, 0, 2, 0, 7, 0, 0, 0),
            "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=4, si_uid=0, si_status=2, si_utime=7 /* 0.07 s */, si_stime=0}",
        ),
        (
            info(17, 2, 4, 0, 9),
            "{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=4, si_uid=0, si_status=SIGKILL, si_utime=0, si_stime=0}",
        ),
        (info(11, 1, 16, 0), "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10}"),
        (info(11, 2, 0, 0), "{si_signo=SIGSEGV, si_code=SEGV_ACCERR, si_addr=NULL}"),
        (info(11, 4, 16, 0, 0, 0, 5), "{si_signo=SIGSEGV, si_code=SEGV_PKUERR, si_addr=0x10, si_pkey=5}"),
        (info(7, 4, 16, 0, 12), "{si_signo=SIGBUS, si_code=BUS_MCEERR_AR, si_addr=0x10, si_addr_lsb=0xc}"),
        (info(10, 0, 4, -1), "{si_signo=SIGUSR1, si_code=SI_USER, si_pid=4, si_uid=-1}"),
        (info(10, -1, 4, 0, 0, 0), "{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=4, si_uid=0}"),
        (info(10, -1, 4, 0, 42, 0), "{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=4, si_uid=0, si_int=42, si_ptr=0x2a}"),
        (info(14, -2, 1, 2), "{si_signo=SIGALRM, si_code=SI_TIMER, si_timerid=0x1, si_overrun=2, si_int=0, si_ptr=NULL}"),
        (info(29, 1, 1, 0, 3), "{si_signo=SIGIO, si_code=POLL_IN, si_band=1, si_fd=3}"),
        (info(29, 128, 1, 0, 3), "{si_signo=SIGIO, si_code=SI_KERNEL}"),
        (
            info(31, 1, 16, 0, 62, 0xC000003E - (1 << 32)),
            "{si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x10, si_syscall=__NR_kill, si_arch=AUDIT_ARCH_X86_64}",
        ),
        (info(10, 77, 4, 0, errno=2), "{si_signo=SIGUSR1, si_code=0x4d, si_errno=ENOENT, si_pid=4, si_uid=0}"),
        (info(10, 128), "{si_signo=SIGUSR1, si_code=SI_KERNEL}"),
        (info(10, -1), "{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=0, si_uid=0}"),
        (info(0, 0), "{}"),
    ],
)
def test_siginfo_shows_the_fields_that_its_signal_and_code_fill(task, data, text):
    assert siginfo(task.view(), data) == text


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (0, "[]"),
        (0x14000, "[TERM CHLD]"),
        (0x180000000, "[RTMIN RT_1]"),
        ((1 << 41) - 1, None),
        (U64, "~[]"),
        (0xFFFFFFFE7FFBFEFF, "~[KILL STOP RTMIN RT_1]"),
    ],
)
def test_a_set_with_most_signals_in_it_is_shown_by_those_that_are_not(mask, text):
    shown = signals.sigset(mask.to_bytes(8, "little"))
    assert shown == text if text else not shown.startswith("~")


def test_a_signal_s_action_has_a_restorer_where_its_flags_say_so(call):
    new, old = struct.pack("<QQQQ", 0x401000, 0x14000004, 0x401500, 1 << 9), struct.pack("<QQQQ", 1, 0, 0, U64)
    assert call("rt_sigaction", 10, new, old, 8) == (
        "rt_sigaction(SIGUSR1, {sa_handler=0x401000, sa_mask=[USR1], sa_flags=SA_RESTORER|SA_RESTART|SA_SIGINFO, "
        "sa_restorer=0x401500}, {sa_handler=SIG_IGN, sa_mask=~[], sa_flags=0}, 8) = 0"
    )


def test_what_a_failed_call_did_not_fill_is_an_address(task):
    address = task.put(bytes(32))
    assert task.show("rt_sigaction", 65, 0, address, 8, error=EINVAL) == (
        f"rt_sigaction(65, NULL, {address:#x}, 8) = -1 EINVAL (Invalid argument)"
    )


def test_a_set_of_another_size_than_the_kernel_s_is_not_read(task):
    address = task.put(bytes(8))
    assert task.show("rt_sigprocmask", 2, address, 0, 4, error=EINVAL) == (
        f"rt_sigprocmask(SIG_SETMASK, {address:#x}, NULL, 4) = -1 EINVAL (Invalid argument)"
    )


def test_waiting_for_a_signal_names_the_one_that_came(call):
    waited = call("rt_sigtimedwait", (1 << 9).to_bytes(8, "little"), info(10, -6, 4, 0), 0, 8, value=10)
    assert waited == "rt_sigtimedwait([USR1], {si_signo=SIGUSR1, si_code=SI_TKILL, si_pid=4, si_uid=0}, NULL, 8) = 10 (SIGUSR1)"


def test_the_end_of_a_handler_shows_the_mask_that_its_stack_brings_back(task):
    frame = bytes(296) + (1 << 9).to_bytes(8, "little")
    assert task.show("rt_sigreturn", frame) == "rt_sigreturn({mask=[USR1]}) = 0"


def test_a_restarted_call_is_told_by_the_one_before_it(task):
    view = task.view()
    view.former = "nanosleep"
    assert CALLS["restart_syscall"].early(view) == ["<... resuming interrupted nanosleep ...>"]


# -- processes --------------------------------------------------------------------------------------


def test_clone_names_its_flags_the_signal_at_the_end_and_only_the_pointers_they_use(call):
    assert call("clone", 17, 0, BAD, BAD, BAD, value=7) == "clone(child_stack=NULL, flags=SIGCHLD) = 7"
    assert call("clone", 0x1200011, 0, BAD, 0x20, BAD, value=7) == (
        "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x20) = 7"
    )
    assert call("clone", 0x180100, 0x5000, struct.pack("<i", 7), 0, 0x30, value=7) == (
        "clone(child_stack=0x5000, flags=CLONE_VM|CLONE_SETTLS|CLONE_PARENT_SETTID, parent_tid=[7], tls=0x30) = 7"
    )


def clone_args(*fields: int) -> bytes:
    return struct.pack("<11Q", *fields, *[0] * (11 - len(fields)))


def test_clone3_tells_behind_an_arrow_what_the_kernel_stored(task):
    pidfd, parent = task.put(struct.pack("<i", 5)), task.put(struct.pack("<i", 77))
    task.style.paths = 1
    assert task.show("clone3", clone_args(0x101000, pidfd, 0, parent, 17), 88, value=77) == (
        f"clone3({{flags=CLONE_PIDFD|CLONE_PARENT_SETTID, pidfd={pidfd:#x}, parent_tid={parent:#x}, exit_signal=SIGCHLD, "
        "stack=NULL, stack_size=0} => {pidfd=[5<anon_inode:[pidfd]>], parent_tid=[77]}, 88) = 77"
    )


def test_clone3_is_whole_at_entry_when_the_kernel_stores_nothing(task):
    view = task.view(clone_args(0x4100, 0, 0, 0, 17), 88)
    signature = CALLS["clone3"]
    entry = signature.early(view)
    assert entry == ["{flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=NULL, stack_size=0}", "88"]
    view.value = 7
    assert signature.late(view) == []


def test_clone3_says_that_a_longer_structure_is_not_all_zero(call):
    assert call("clone3", clone_args(0x100, *[0] * 9, 3) + bytes([0] * 7 + [1]), 96, error=E2BIG) == (
        "clone3({flags=CLONE_VM, exit_signal=0, stack=NULL, stack_size=0, cgroup=3, "
        '/* bytes 88..95 */ "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01"}, 96) = -1 E2BIG (Argument list too long)'
    )


def test_exec_shows_arguments_and_counts_the_environment(task):
    environment = task.strings(b"A=1", b"B=2")
    assert task.show("execve", b"/bin/ls\0", task.strings(b"ls", b"a" * 40), environment) == (
        f'execve("/bin/ls", ["ls", "{"a" * 32}"...], {environment:#x} /* 2 vars */) = 0'
    )
    one = task.strings(b"A=1")
    assert f"{one:#x} /* 1 var */" in task.show("execve", b"/bin/ls\0", 0, one)


def test_exec_shows_the_environment_whole_when_all_is_wanted(task):
    task.style.verbose = True
    shown = task.show("execve", b"x\0", task.strings(*[b"y"] * 40), task.strings(b"A=1"))
    assert shown == 'execve("x", [' + ", ".join(['"y"'] * 40) + '], ["A=1"]) = 0'


def test_exec_with_arrays_that_end_nowhere_shows_how_far_they_go(task):
    word = task.put(b"word\0")
    array = task.put(struct.pack("<QQ", word, word))
    assert task.show("execve", BAD, array, array, error=EFAULT) == (
        f'execve(0x10, ["word", "word", ... /* {array + 16:#x} */], {array:#x} /* 2 vars, unterminated */) '
        "= -1 EFAULT (Bad address)"
    )


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x0200, "{WIFEXITED(s) && WEXITSTATUS(s) == 2}"),
        (9, "{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}"),
        (0x8B, "{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}"),
        (0x137F, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}"),
        (0xFFFF, "{WIFCONTINUED(s)}"),
        (0x857F, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGTRAP | 0x80}"),
        (0x4057F, "{WIFSTOPPED(s) && WSTOPSIG(s) == SIGTRAP} | PTRACE_EVENT_EXEC<<16"),
    ],
)
def test_a_wait_status_is_taken_apart_by_its_macros(status, text):
    assert wait_status(status) == text


def test_a_wait_that_found_nobody_shows_addresses(task):
    status, usage = task.put(bytes(4)), task.put(bytes(144))
    assert task.show("wait4", -1, status, 1, usage, value=0) == f"wait4(-1, {status:#x}, WNOHANG, {usage:#x}) = 0"
    assert task.show("wait4", -1, status, 1, usage, value=7) == (
        "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], WNOHANG, "
        "{ru_utime={tv_sec=0, tv_usec=0}, ru_stime={tv_sec=0, tv_usec=0}, ...}) = 7"
    )


def test_a_pidfd_is_a_descriptor_and_the_other_process_s_is_a_number():
    call = Described(paths=1).show
    assert call("pidfd_getfd", 5, 3, 0, value=3) == "pidfd_getfd(5<anon_inode:[pidfd]>, 3, 0) = 3</etc/passwd>"
    assert call("waitid", 3, 5, 0, 4, 0) == "waitid(P_PIDFD, 5<anon_inode:[pidfd]>, NULL, WEXITED, NULL) = 0"


def test_kcmp_has_the_arguments_that_its_kind_needs(call):
    assert call("kcmp", 7, 8, 1, 1, 2) == "kcmp(7, 8, KCMP_VM) = 0"
    assert call("kcmp", 7, 8, 0, 1, 2) == "kcmp(7, 8, KCMP_FILE, 1, 2) = 0"
    assert call("kcmp", 7, 8, 7, 1, struct.pack("<3I", 3, 4, 5)) == "kcmp(7, 8, KCMP_EPOLL_TFD, 1, {efd=3, tfd=4, toff=5}) = 0"


# -- scheduling -------------------------------------------------------------------------------------


def test_limits_that_are_whole_kibibytes_are_told_so(call):
    shown = call("prlimit64", 0, 3, 0, struct.pack("<QQ", 8192 * 1024, U64))
    assert shown == "prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0"
    assert "rlim_cur=1024, rlim_max=1025}" in call("setrlimit", 7, struct.pack("<QQ", 1024, 1025))


def test_a_processor_mask_is_read_as_far_as_the_kernel_wrote_it(call):
    assert call("sched_getaffinity", 0, 16, b"\5" + bytes(7) + b"\xff" * 8, value=8) == "sched_getaffinity(0, 16, [0 2]) = 8"
    assert call("sched_setaffinity", 0, 8, bytes(7) + b"\x80") == "sched_setaffinity(0, 8, [63]) = 0"


def test_attributes_that_are_kept_are_left_out(call):
    kept = struct.pack("<IIQiIQQQII", 56, 0, 0x18, 5, 0, 0, 0, 0, 1, 2)
    assert call("sched_setattr", 0, kept, 0) == (
        "sched_setattr(0, {size=56, sched_flags=SCHED_FLAG_KEEP_POLICY|SCHED_FLAG_KEEP_PARAMS, "
        "sched_util_min=1, sched_util_max=2}, 0) = 0"
    )


def test_the_kernel_s_own_size_of_the_attributes_stands_behind_an_arrow(task):
    def correct(view):
        task.memory.write(view.args[1], struct.pack("<I", 56))

    assert task.show("sched_setattr", 0, struct.pack("<I", 4), 0, error=E2BIG, meanwhile=correct) == (
        "sched_setattr(0, {size=4} => {size=56}, 0) = -1 E2BIG (Argument list too long)"
    )


def test_priorities_of_input_and_output_are_taken_apart_in_arguments_and_results(call):
    assert call("ioprio_set", 1, 0, 0x4005) == "ioprio_set(IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 5)) = 0"
    assert call("ioprio_get", 1, 0, value=0x4005).endswith(" = 16389 (IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 5))")


def test_usage_has_its_counters_when_all_is_wanted():
    data = struct.pack("<4q14q", 1, 2, 3, 4, *range(14))
    shown = Described(verbose=True).show("getrusage", -1, data)
    assert shown.startswith("getrusage(RUSAGE_CHILDREN, {ru_utime={tv_sec=1, tv_usec=2}, ru_stime={tv_sec=3, tv_usec=4}, ru_max")
    assert shown.endswith("ru_nivcsw=13}) = 0")


# -- rights -----------------------------------------------------------------------------------------


def test_groups_are_abbreviated_and_minus_one_is_none(call):
    assert call("setgroups", 2, struct.pack("<II", 5, 0xFFFFFFFF)) == "setgroups(2, [5, -1]) = 0"
    assert call("setgroups", 40, bytes(160)).count(" 0,") == 31
    assert call("getresuid", bytes(4), bytes(4), bytes(4)) == "getresuid([0], [0], [0]) = 0"


def test_capabilities_are_one_bit_each_of_two_words(call):
    header, data = struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", 1, 0x80, 0, 1 << 8, 1 << 30, 0)
    assert call("capset", header, data) == (
        "capset({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=1<<CAP_CHOWN|1<<CAP_CHECKPOINT_RESTORE, "
        "permitted=1<<CAP_SETUID|0x40000000 /* CAP_??? */, inheritable=0}) = 0"
    )


def test_a_filter_s_instructions_are_shown_when_all_is_wanted(task):
    code = ((0x20, 0, 0, 4), (0x15, 1, 0, 0xC000003E), (6, 0, 0, 0x50026))
    address = task.put(b"".join(struct.pack("<HBBI", *instruction) for instruction in code))
    program = struct.pack("<HxxxxxxQ", 3, address)
    assert f"{{len=3, filter={address:#x}}}" in task.show("seccomp", 1, 0, program)
    task.style.verbose = True
    assert task.show("seccomp", 1, 1, program) == (
        "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, {len=3, filter=[BPF_STMT(BPF_LD|BPF_W|BPF_ABS, 0x4), "
        "BPF_JUMP(BPF_JMP|BPF_K|BPF_JEQ, 0xc000003e, 0x1, 0), BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ERRNO|0x26)]}) = 0"
    )


def test_a_key_operation_has_arguments_of_its_own(call):
    assert call("keyctl", 6, -3, b"user;0", 6, value=6) == 'keyctl(KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, "user;0", 6) = 6'
    assert call("keyctl", 3, 9, 1, 2, 3) == "keyctl(KEYCTL_REVOKE, 9) = 0"
    assert call("keyctl", 99, 9, 1, 2, 3) == "keyctl(0x63 /* KEYCTL_??? */, 0x9, 0x1, 0x2, 0x3) = 0"


def test_random_bytes_are_in_hex(call):
    assert call("getrandom", b"ab\0", 3, 1, value=3) == 'getrandom("\\x61\\x62\\x00", 3, GRND_NONBLOCK) = 3'


# -- the machine ------------------------------------------------------------------------------------


def test_uname_is_cut_unless_all_is_wanted():
    words = (b"Linux", b"vm", b"6.1", b"#1", b"x86_64", b"(none)")
    data = b"".join(word.ljust(65, b"\0") for word in words)
    assert Described().show("uname", data) == 'uname({sysname="Linux", nodename="vm", ...}) = 0'
    assert 'release="6.1", version="#1", machine="x86_64", domainname="(none)"}' in Described(verbose=True).show("uname", data)


def test_sysinfo_is_always_whole(call):
    data = struct.pack("<q9QHxxxxxx2QIxxxx", 5, *range(1, 10), 95, 0, 0, 1)
    assert call("sysinfo", data) == (
        "sysinfo({uptime=5, loads=[1, 2, 3], totalram=4, freeram=5, sharedram=6, bufferram=7, totalswap=8, freeswap=9, "
        "procs=95, totalhigh=0, freehigh=0, mem_unit=1}) = 0"
    )


def test_personality_is_a_name_and_flags_before_and_after(call):
    assert call("personality", 0xFFFFFFFF, value=0x40000) == "personality(0xffffffff) = 0x40000 (PER_LINUX|ADDR_NO_RANDOMIZE)"
    assert call("personality", 0x20008) == "personality(PER_LINUX32|UNAME26) = 0 (PER_LINUX)"


def test_modify_ldt_fails_with_an_int(call):
    shown = call("modify_ldt", 99, 0, 5, value=(1 << 32) - 38)
    assert shown == "modify_ldt(99, NULL, 5) = 4294967258 ENOSYS (Function not implemented)"


# -- looking into others ----------------------------------------------------------------------------


def test_ptrace_has_the_arguments_that_its_request_needs(call):
    assert call("ptrace", 7, 9, 1, 17) == "ptrace(PTRACE_CONT, 9, 0x1, SIGCHLD) = 0"
    assert call("ptrace", 16, 9, 1, 17) == "ptrace(PTRACE_ATTACH, 9) = 0"
    assert call("ptrace", 3, 9, 120, b"*" + bytes(7)) == "ptrace(PTRACE_PEEKUSER, 9, 8*ORIG_RAX, [0x2a]) = 0"
    assert call("ptrace", 6, 9, 849, 0) == "ptrace(PTRACE_POKEUSER, 9, offsetof(struct user, u_debugreg)+1, 0) = 0"


def test_memory_of_another_process_is_not_ours_to_read(task):
    here = task.put(struct.pack("<QQ", task.put(b"abcdef"), 6))
    there = task.put(struct.pack("<QQ", 0x1000, 6))
    assert task.show("process_vm_readv", 9, here, 1, there, 1, 0, value=3) == (
        'process_vm_readv(9, [{iov_base="abc", iov_len=6}], 1, [{iov_base=0x1000, iov_len=6}], 1, 0) = 3'
    )


def test_a_bpf_command_sees_the_union_s_fields_of_its_own(call):
    made = struct.pack("<5I", 1, 4, 8, 10, 1)
    assert call("bpf", 0, made, 20, value=9) == (
        "bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_HASH, key_size=4, value_size=8, max_entries=10, "
        "map_flags=BPF_F_NO_PREALLOC}, 20) = 9"
    )
    assert call("bpf", 22, struct.pack("<3I", 3, 0, 1), 12) == "bpf(BPF_MAP_FREEZE, {map_fd=3, ...}, 12) = 0"


def test_a_perf_event_is_as_long_as_it_says(task):
    event = struct.pack("<IIQQQQQ", 1, 64, 3, 1000, 3, 4, 1).ljust(64, b"\0")
    assert task.show("perf_event_open", event, 0, -1, -1, 8, value=9) == (
        "perf_event_open({type=PERF_TYPE_SOFTWARE, size=PERF_ATTR_SIZE_VER0, config=PERF_COUNT_SW_CONTEXT_SWITCHES, "
        "sample_period=1000, sample_type=PERF_SAMPLE_IP|PERF_SAMPLE_TID, read_format=PERF_FORMAT_ID, disabled=1, "
        "precise_ip=0 /* arbitrary skid */, ...}, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) = 9"
    )


# -- any registers, any memory ----------------------------------------------------------------------


def test_no_registers_and_no_memory_make_a_printer_fail():
    chance = random.Random(4)
    task = Described()
    near = [task.put(chance.randbytes(size)) for size in (1, 7, 8, 16, 31, 64, 88, 128, 400, 4096)]
    near += [task.put(bytes(size)) for size in (8, 128)]
    near.append(task.put(b"".join(chance.choice(near).to_bytes(8, "little") for _ in range(64))))
    few = [0, 1, 2, 3, 7, 8, 16, 48, 64, 88, 128, BAD, U64, U64 - 1, 1 << 31, (1 << 32) - 1, 1 << 63]
    for verbose, paths in ((False, 0), (True, 1)):
        task.style.verbose, task.style.paths = verbose, paths
        for name, signature in CALLS.items():
            for _ in range(60):
                args = [chance.choice((chance.choice(near), chance.choice(few), chance.randrange(40))) for _ in range(6)]
                view = task.view(*args)
                words = signature.early(view)
                view.value = chance.choice((0, 1, 8, 1 << 40, (1 << 63) - 1))
                view.error = chance.choice((0, 0, E2BIG, ESRCH, 512, 4095))
                if view.error:
                    view.value = -view.error
                words += signature.late(view)
                assert all(isinstance(word, str) for word in words), name
                assert isinstance(result_of(signature, view), str), name
