"""What ioctl, fcntl, prctl and arch_prctl look like in the trace; the expected words are strace 6.1's own."""

from __future__ import annotations

import random
from struct import pack

import pytest
from fakes import BAD, Memory

from abi.decoding import architecture, control
from abi.decoding.constants.ioctls import REQUESTS
from abi.decoding.requests import ARGUMENTS, request_name
from abi.decoding.values import U64, Style, View, result_of

CALLS = architecture.CALLS | control.CALLS
EBADF, EFAULT, EINVAL, ENOTTY = 9, 14, 22, 25
TCGETS, TCSETS, TIOCGWINSZ, TIOCSWINSZ, FIONREAD, FIONBIO = 0x5401, 0x5402, 0x5413, 0x5414, 0x541B, 0x5421


class Task:
    """A task with a memory of its own; `split` gives what is known at entry and what at the end."""

    def __init__(self, **style) -> None:
        self.memory = Memory()
        self.style = Style(**style)

    def split(self, name: str, *args: int | bytes, value: int = 0, error: int = 0, meanwhile=None):
        numbers = [self.memory.put(arg) if isinstance(arg, bytes) else arg & U64 for arg in args]
        view = View(0, (*numbers, *[0] * (6 - len(numbers))), self.memory, self.style, {3: "/etc/passwd"}.get)
        signature = CALLS[name]
        early = signature.early(view)
        if meanwhile is not None:
            meanwhile(view)
        view.value, view.error = (-error, error) if error else (value, 0)
        return early, signature.late(view), result_of(signature, view)

    def show(self, name: str, *args: int | bytes, **outcome) -> str:
        early, late, result = self.split(name, *args, **outcome)
        return f"{name}({', '.join(early + late)}) = {result}"


@pytest.fixture
def show():
    return Task().show


# -- requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (TCGETS, "TCGETS"),
        (TCSETS, "SNDCTL_TMR_START or TCSETS"),
        (0xAE80, "KVM_RUN"),
        (0x80045401, "_IOC(_IOC_READ, 0x54, 0x1, 0x4)"),
        (0xC0045499, "_IOC(_IOC_READ|_IOC_WRITE, 0x54, 0x99, 0x4)"),
        (0x5499, "_IOC(_IOC_NONE, 0x54, 0x99, 0)"),
        (0x81004506, "EVIOCGNAME(256)"),
        (0x80104521, "EVIOCGBIT(EV_KEY, 16)"),
        (0x80184540, "EVIOCGABS(ABS_X)"),
        (0x80044DFE, "MIXER_READ(254)"),
        (TCGETS | 1 << 40, "TCGETS"),
    ],
)
def test_a_request_has_its_name_or_its_parts(request_, name):
    assert request_name(request_) == name


def test_every_request_has_one_plausible_name():
    assert len(REQUESTS) > 2000
    assert all(number < 1 << 32 and name.replace(" or ", "").isidentifier() for number, name in REQUESTS.items())


def test_every_request_whose_argument_is_known_has_a_name():
    assert [hex(number) for number in ARGUMENTS if request_name(number).startswith("_IOC(")] == []


def test_an_argument_of_an_unknown_request_is_an_address(show):
    assert show("ioctl", 3, 0x5499, 0x7777, error=ENOTTY).startswith("ioctl(3, _IOC(_IOC_NONE, 0x54, 0x99, 0), 0x7777) = -1")
    assert show("ioctl", 3, 0x5499, 0, error=ENOTTY).startswith("ioctl(3, _IOC(_IOC_NONE, 0x54, 0x99, 0), 0) = -1")


def test_what_the_kernel_fills_is_read_at_the_end():
    early, late, _ = Task().split("ioctl", 3, FIONREAD, bytes(4), meanwhile=lambda view: view.memory.write(view.args[2], b"\7"))
    assert (early, late) == (["3", "FIONREAD"], ["[7]"])


def test_what_the_caller_hands_in_is_read_at_entry():
    early, late, _ = Task().split("ioctl", 3, FIONBIO, pack("<i", 1))
    assert (early, late) == (["3", "FIONBIO", "[1]"], [])


def test_a_request_says_for_each_call_whether_more_is_to_come():
    signature = CALLS["ioctl"]
    for request_, is_partial in ((FIONREAD, True), (FIONBIO, False), (FIONREAD, True)):
        view = View(0, (3, request_, 0x1000, 0, 0, 0), Memory(), Style(), {}.get)
        signature.early(view)
        assert view.partial is is_partial


def test_a_request_without_an_argument_shows_none(show):
    assert show("ioctl", 3, 0x5451, 0x1234) == "ioctl(3, FIOCLEX) = 0"


def test_a_terminals_settings_are_in_words(show):
    settings = pack("<IIII", 0x500, 5, 0xBF, 0x8A3B) + bytes([0, 3, 0x1C, 0x7F]) + bytes(16)
    words = ("{c_iflag=ICRNL|IXON, c_oflag=NL0|CR0|TAB0|BS0|VT0|FF0|OPOST|ONLCR, c_cflag=B38400|CS8|CREAD, "
             "c_lflag=ISIG|ICANON|ECHO|ECHOE|ECHOK|IEXTEN|ECHOCTL|ECHOKE")  # fmt: skip
    assert show("ioctl", 0, TCSETS, settings) == f"ioctl(0, SNDCTL_TMR_START or TCSETS, {words}, ...}}) = 0"
    assert f"{words}, c_line=N_TTY, c_cc=[[VINTR]=0x3, [VQUIT]=0x1c" in Task(verbose=True).show("ioctl", 0, TCSETS, settings)


def test_a_window_has_its_size(show):
    assert show("ioctl", 0, TIOCSWINSZ, pack("<4H", 24, 80, 1, 2)) == (
        "ioctl(0, TIOCSWINSZ, {ws_row=24, ws_col=80, ws_xpixel=1, ws_ypixel=2}) = 0"
    )
    assert show("ioctl", 0, TIOCGWINSZ, BAD, error=EFAULT).startswith("ioctl(0, TIOCGWINSZ, 0x10) = -1 EFAULT")


def test_an_interface_is_asked_for_by_name_and_answered_on_success(show):
    asked = b"lo".ljust(16, b"\0") + pack("<i", 65536) + bytes(20)
    assert show("ioctl", 3, 0x8921, asked) == 'ioctl(3, SIOCGIFMTU, {ifr_name="lo", ifr_mtu=65536}) = 0'
    assert show("ioctl", 3, 0x8921, asked, error=19).startswith('ioctl(3, SIOCGIFMTU, {ifr_name="lo"}) = -1 ENODEV')
    flags = b"lo".ljust(16, b"\0") + pack("<H", 0x49) + bytes(22)
    assert 'ifr_name="lo", ifr_flags=IFF_UP|IFF_LOOPBACK|IFF_RUNNING}' in show("ioctl", 3, 0x8914, flags)


def test_a_list_of_interfaces_shows_the_room_before_and_after():
    task = Task()
    one = b"lo".ljust(16, b"\0") + pack("<H", 2) + b"\0\0\x7f\0\0\1" + bytes(16)
    buffer = task.memory.put(one + bytes(40))
    line = task.show("ioctl", 3, 0x8912, pack("<i4xQ", 80, buffer), meanwhile=lambda v: v.memory.write(v.args[2], pack("<i", 40)))
    assert line == ("ioctl(3, SIOCGIFCONF, {ifc_len=80 /* 2 * sizeof(struct ifreq) */ => 40 /* 1 * sizeof(struct ifreq) */, "
                    'ifc_buf=[{ifr_name="lo", ifr_addr={sa_family=AF_INET, sin_port=htons(0), '
                    'sin_addr=inet_addr("127.0.0.1")}}]}) = 0')  # fmt: skip


def test_flags_of_files_and_ranges_are_in_words(show):
    assert show("ioctl", 3, 0x40086602, pack("<I", 0x30)) == "ioctl(3, FS_IOC_SETFLAGS, [FS_IMMUTABLE_FL|FS_APPEND_FL]) = 0"
    cloned = show("ioctl", 3, 0x4020940D, pack("<4Q", 5, 0, 4096, 8192))
    assert "{src_fd=5, src_offset=0, src_length=4096, dest_offset=8192}" in cloned


# -- fcntl ----------------------------------------------------------------------------------------------------


def flock(kind: int, whence: int, start: int, length: int, pid: int = 0) -> bytes:
    return pack("<hh4xqqi4x", kind, whence, start, length, pid)


def test_a_lock_is_read_at_entry_so_that_one_who_waits_shows_it():
    early, late, _ = Task().split("fcntl", 3, 7, flock(1, 2, -1, 5))
    assert early == ["3", "F_SETLKW", "{l_type=F_WRLCK, l_whence=SEEK_END, l_start=-1, l_len=5}"]
    assert late == []


def test_whose_lock_it_is_only_the_kernel_says(show):
    assert show("fcntl", 3, 5, flock(1, 0, 0, 0, 77)) == (
        "fcntl(3, F_GETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=0, l_len=0, l_pid=77}) = 0"
    )
    assert "F_GETLK, 0x" in show("fcntl", 3, 5, flock(1, 0, 0, 0), error=EINVAL)


@pytest.mark.parametrize(
    ("args", "value", "line"),
    [
        ((3, 1, 5), 1, "fcntl(3, F_GETFD) = 0x1 (flags FD_CLOEXEC)"),
        ((3, 1, 5), 0, "fcntl(3, F_GETFD) = 0"),
        ((3, 3, 0), 0x8C02, "fcntl(3, F_GETFL) = 0x8c02 (flags O_RDWR|O_APPEND|O_NONBLOCK|O_LARGEFILE)"),
        ((3, 4, 0x800), 0, "fcntl(3, F_SETFL, O_RDONLY|O_NONBLOCK) = 0"),
        ((3, 1030, 10), 11, "fcntl(3, F_DUPFD_CLOEXEC, 10) = 11"),
        ((3, 10, 34), 0, "fcntl(3, F_SETSIG, SIGRT_2) = 0"),
        ((3, 11, 0), 17, "fcntl(3, F_GETSIG) = 17 (SIGCHLD)"),
        ((3, 1034, 0), 7, "fcntl(3, F_GET_SEALS) = 0x7 (seals F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW)"),
        ((3, 1025, 0), 2, "fcntl(3, F_GETLEASE) = 0x2 (F_UNLCK)"),
        ((3, 1026, 0x80000001), 0, "fcntl(3, F_NOTIFY, DN_ACCESS|DN_MULTISHOT) = 0"),
        ((3, 15, pack("<ii", 1, 77)), 0, "fcntl(3, F_SETOWN_EX, {type=F_OWNER_PID, pid=77}) = 0"),
        ((3, 99, 1), 0, "fcntl(3, 0x63 /* F_??? */, 0x1) = 0"),
    ],
)
def test_a_command_says_what_its_argument_and_its_answer_are(show, args, value, line):
    assert show("fcntl", *args, value=value) == line


def test_descriptors_have_their_paths_where_they_are_asked_for():
    assert Task(paths=1).show("fcntl", 3, 0, 10, value=3) == "fcntl(3</etc/passwd>, F_DUPFD, 10) = 3</etc/passwd>"


# -- prctl and arch_prctl -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "value", "line"),
    [
        ((15, b"name\0"), 0, 'prctl(PR_SET_NAME, "name") = 0'),
        ((15, b"a" * 20 + b"\0"), 0, 'prctl(PR_SET_NAME, "aaaaaaaaaaaaaaa"...) = 0'),
        ((1, 9), 0, "prctl(PR_SET_PDEATHSIG, SIGKILL) = 0"),
        ((2, pack("<i", 15)), 0, "prctl(PR_GET_PDEATHSIG, [SIGTERM]) = 0"),
        ((3,), 1, "prctl(PR_GET_DUMPABLE) = 1 (SUID_DUMP_USER)"),
        ((23, 21), 1, "prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) = 1"),
        ((27,), 0x10, "prctl(PR_GET_SECUREBITS) = 0x10 (SECBIT_KEEP_CAPS)"),
        ((38, 1, 0, 0, 0), 0, "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) = 0"),
        ((47, 2, 12, 0, 0), 0, "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) = 0"),
        ((47, 4, 0, 0, 0), 0, "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) = 0"),
        ((22, 1), 0, "prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) = 0"),
        ((0x59616D61, -1), 0, "prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY) = 0"),
        ((0x53564D41, 0, 0x10000, 4096, b"heap\0"), 0, 'prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, 0x10000, 4096, "heap") = 0'),
        ((9999, 1, 2, 3, 4), 0, "prctl(0x270f /* PR_??? */, 0x1, 0x2, 0x3, 0x4) = 0"),
    ],
)
def test_an_option_says_how_many_arguments_it_has_and_what_they_are(show, args, value, line):
    assert show("prctl", *args, value=value) == line


def test_arch_prctl_shows_what_it_set_and_what_it_got(show):
    assert show("arch_prctl", 0x1002, 0x7000) == "arch_prctl(ARCH_SET_FS, 0x7000) = 0"
    assert show("arch_prctl", 0x1003, pack("<Q", 0x7000)) == "arch_prctl(ARCH_GET_FS, [0x7000]) = 0"
    assert show("arch_prctl", 0x1003, BAD, error=EFAULT).startswith("arch_prctl(ARCH_GET_FS, 0x10) = -1 EFAULT")
    assert show("arch_prctl", 0x1021, pack("<Q", 7)) == (
        "arch_prctl(ARCH_GET_XCOMP_SUPP, [0x7 /* XFEATURE_MASK_FPSSE|XFEATURE_MASK_YMM */]) = 0"
    )


# -- hostile guests -------------------------------------------------------------------------------------------


def test_no_registers_and_no_memory_make_a_printer_raise():
    chance = random.Random(80)
    memory = Memory()
    pages = [memory.room(4096) for _ in range(6)]
    for page in pages:
        memory.write(page, chance.randbytes(4096) if page is not pages[0] else b"\xff" * 4096)
    pointers = [page + offset for page in pages for offset in (0, 8, 2048, 4080, 4095)] + [0, BAD, U64, U64 - 7, 1 << 63]
    numbers = [0, 1, 2, 3, 16, 24, 33, 100, 4096, 70000, 1 << 31, 1 << 32, (1 << 63) - 1, U64 - 99, U64]
    styles = [Style(), Style(strings=0), Style(strings=200, verbose=True), Style(paths=2, verbose=True)]
    commands = {"ioctl": [*ARGUMENTS, *list(REQUESTS)[::40]], "fcntl": [*range(40), *range(1020, 1042)],
                "prctl": [*range(80), 0x59616D61, 0x53564D41], "arch_prctl": [*range(0x1000, 0x1030), 0x2001]}  # fmt: skip

    def register() -> int:
        match chance.randrange(3):
            case 0:
                return chance.choice(pointers)
            case 1:
                return chance.choice(numbers)
        return chance.getrandbits(chance.choice((4, 16, 32, 64)))

    for name, signature in CALLS.items():
        for command in (*commands[name], *[register() for _ in range(40)]):
            for _ in range(4):
                args = [register() for _ in range(6)]
                args[1 if name in ("ioctl", "fcntl") else 0] = command
                view = View(0, tuple(args), memory, chance.choice(styles), {3: "x"}.get)
                words = signature.early(view)
                error = chance.choice((0, 0, EFAULT, EBADF, 512))
                view.value, view.error = (-error, error) if error else (chance.choice(numbers[:14]), 0)
                words += signature.late(view)
                words.append(result_of(signature, view))
                assert all(isinstance(word, str) for word in words), (name, hex(command))
