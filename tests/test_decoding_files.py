"""What calls about files, directories and descriptors look like in the trace; the expected words are strace 6.1's own."""

from __future__ import annotations

import random
import struct
import time

import pytest
from fakes import BAD, Memory

from abi.decoding.files import CALLS
from abi.decoding.values import U64, Style, View, result_of

AT_FDCWD = -100
EBADF, EFAULT, EINVAL, EOVERFLOW = 9, 14, 22, 75


@pytest.fixture(autouse=True)
def greenwich(monkeypatch):
    """Times are told in the local time zone."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Described:
    """A call of a task with a memory of its own: `show` gives its line, first as entered, then as ended."""

    def __init__(self, **style) -> None:
        self.memory = Memory()
        self.style = Style(**style)
        self.files = {3: "/etc/passwd", AT_FDCWD: "/tmp"}

    def put(self, data: bytes) -> int:
        return self.memory.put(data)

    def show(self, name: str, *args: int | bytes, value: int = 0, error: int = 0, meanwhile=None) -> str:
        """The line; bytes are put into memory, `meanwhile` is what the kernel does between entry and end."""
        numbers = [self.put(arg) if isinstance(arg, bytes) else arg & U64 for arg in args]
        view = View(0, (*numbers, *[0] * (6 - len(numbers))), self.memory, self.style, self.files.get)
        signature = CALLS[name]
        words = signature.early(view)
        if meanwhile is not None:
            meanwhile(view)
        view.value, view.error = (-error, error) if error else (value, 0)
        words += signature.late(view)
        return f"{name}({', '.join(words)}) = {result_of(signature, view)}"


@pytest.fixture
def call():
    return Described().show


def status(mode: int, rdev: int = 0, size: int = 0) -> bytes:
    """A struct stat."""
    times = (5, 0, 1, 999999999, -1, 5)
    return struct.pack("<QQQIII4xQqqq6q24x", 0x1234567, 5, 6, mode, 7, 8, rdev, size, 9, 10, *times)


def entry64(inode: int, offset: int, kind: int, name: bytes) -> bytes:
    length = -(-(20 + len(name)) // 8) * 8
    return (struct.pack("<QqHB", inode, offset, length, kind) + name).ljust(length, b"\0")


def vector(*parts: tuple[int, int]) -> bytes:
    return b"".join([struct.pack("<2Q", *part) for part in parts])


# -- opening ----------------------------------------------------------------------------------------


def test_open_has_a_mode_where_it_makes_a_file(call):
    assert call("open", b"x\0", 0o2000000, value=3) == 'open("x", O_RDONLY|O_CLOEXEC) = 3'
    assert call("openat", AT_FDCWD, b"x\0", 0o1101, 0o644, value=3) == 'openat(AT_FDCWD, "x", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 3'
    assert call("open", b"x\0", 0o20200002, 0o600, value=3) == 'open("x", O_RDWR|O_TMPFILE, 0600) = 3'
    assert call("open", b"x\0", 0o20000000, 7, error=EINVAL).startswith('open("x", O_RDONLY|__O_TMPFILE, 007) = -1 EINVAL')


def test_flags_of_several_bits_stand_before_their_parts(call):
    assert call("open", b"x\0", 0o4010002, value=3) == 'open("x", O_RDWR|O_SYNC) = 3'
    assert call("open", b"x\0", 0o4000000, value=3) == 'open("x", O_RDONLY|__O_SYNC) = 3'
    assert call("open", b"x\0", 0o10000000 | 0o20200000, 0, value=3) == 'open("x", O_RDONLY|O_PATH|O_TMPFILE, 000) = 3'


def test_flags_that_nobody_knows_are_shown_in_hex(call):
    assert call("open", b"x\0", 0x800003, value=3) == 'open("x", O_ACCMODE|0x800000) = 3'
    assert call("dup3", 1, 50, 2, error=EINVAL) == "dup3(1, 50, 0x2 /* O_??? */) = -1 EINVAL (Invalid argument)"
    assert call("memfd_secret", 0x100, value=3) == "memfd_secret(0x100) = 3"


def test_openat2_shows_its_mode_if_there_is_one(call):
    def line(*how: int, size: int = 24, more: bytes = b"") -> str:
        text = call("openat2", AT_FDCWD, b"x\0", struct.pack("<3Q", *how) + more, size, value=3)
        return text.removeprefix('openat2(AT_FDCWD, "x", ').removesuffix(" = 3")

    assert line(0o2000000, 0, 0) == "{flags=O_RDONLY|O_CLOEXEC, resolve=0}, 24)"
    assert line(0o101, 0, 8) == "{flags=O_WRONLY|O_CREAT, mode=000, resolve=RESOLVE_BENEATH}, 24)"
    assert line(0, 0o644, 0x40) == "{flags=O_RDONLY, mode=0644, resolve=0x40 /* RESOLVE_??? */}, 24)"


def test_bytes_behind_a_structure_are_shown_if_they_say_something(call):
    how = struct.pack("<3Q", 0, 0, 0)
    head = 'openat2(AT_FDCWD, "x", {flags=O_RDONLY, resolve=0'
    assert call("openat2", AT_FDCWD, b"x\0", how + bytes(8), 32, value=3) == head + "}, 32) = 3"
    said = ', /* bytes 24..31 */ "\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00"}, 32) = 3'
    assert call("openat2", AT_FDCWD, b"x\0", how + b"\7" + bytes(7), 32, value=3) == head + said
    assert call("openat2", AT_FDCWD, b"x\0", how, 32, value=3) == head + ", ???}, 32) = 3"


def test_a_structure_that_is_too_short_is_an_address(call):
    assert call("openat2", AT_FDCWD, b"x\0", BAD, 23, error=EINVAL).startswith('openat2(AT_FDCWD, "x", 0x10, 23) = -1')
    assert call("openat2", AT_FDCWD, b"x\0", 0, 24, error=EFAULT).startswith('openat2(AT_FDCWD, "x", NULL, 24) = -1')


def test_pipe_shows_the_descriptors_that_it_made(call):
    assert call("pipe2", struct.pack("2i", 3, 4), 0o2004000) == "pipe2([3, 4], O_NONBLOCK|O_CLOEXEC) = 0"
    assert call("pipe", BAD, error=EFAULT) == "pipe(0x10) = -1 EFAULT (Bad address)"


def test_the_size_of_huge_pages_is_a_number_among_the_flags(call):
    assert call("memfd_create", b"x\0", 21 << 26 | 4, value=3) == 'memfd_create("x", MFD_HUGETLB|21<<MFD_HUGE_SHIFT) = 3'
    assert call("memfd_create", b"x\0", 34 << 26, value=3) == 'memfd_create("x", 34<<MFD_HUGE_SHIFT) = 3'
    assert call("memfd_create", b"x\0", 0, value=3) == 'memfd_create("x", 0) = 3'


# -- contents ---------------------------------------------------------------------------------------


def test_what_was_read_is_as_long_as_the_result(call):
    assert call("read", 3, b"hello, world", 100, value=5) == 'read(3, "hello", 100) = 5'
    assert call("read", 3, BAD, 100, value=0) == 'read(3, "", 100) = 0'
    assert call("read", 3, BAD, 100, error=EBADF) == "read(3, 0x10, 100) = -1 EBADF (Bad file descriptor)"


def test_offsets_have_a_sign_and_lengths_have_none(call):
    assert call("pwrite64", 3, b"abc", 3, -5, error=EINVAL).startswith('pwrite64(3, "abc", 3, -5) = -1')
    assert call("lseek", 3, -3, 2, value=259) == "lseek(3, -3, SEEK_END) = 259"
    assert call("ftruncate", 3, -1, error=EINVAL).startswith("ftruncate(3, 18446744073709551615) = -1")


def test_parts_that_were_read_share_the_result_between_them():
    here = Described()
    parts = vector((here.put(b"q"), 1), (here.put(b"rsstutuvw" + bytes(9)), 50), (BAD, 3))
    line = here.show("readv", 3, parts, 3, value=10)
    assert line == 'readv(3, [{iov_base="q", iov_len=1}, {iov_base="rsstutuvw", iov_len=50}, {iov_base="", iov_len=3}], 3) = 10'


def test_parts_of_a_failed_read_are_addresses(call):
    line = call("preadv", 99, vector((0x1000, 4), (0, 5)), 2, -1, error=EBADF)
    assert line.startswith("preadv(99, [{iov_base=0x1000, iov_len=4}, {iov_base=NULL, iov_len=5}], 2, -1) = -1 EBADF")


def test_parts_that_are_written_show_what_can_be_read():
    here = Described()
    parts = vector((here.put(b"a"), 1), (BAD, 2), (0, 3))
    line = here.show("writev", 3, parts, 3, error=EFAULT)
    assert line.startswith('writev(3, [{iov_base="a", iov_len=1}, {iov_base=0x10, iov_len=2}, {iov_base=NULL, iov_len=3}], 3)')


def test_parts_end_where_memory_does():
    here = Described()
    parts = here.put(vector((0, 0)))
    assert here.show("writev", 3, parts, 2, error=EFAULT).startswith(
        f"writev(3, [{{iov_base=NULL, iov_len=0}}, ... /* {parts + 16:#x} */], 2) = -1"
    )
    assert here.show("writev", 3, BAD, 2, error=EFAULT).startswith("writev(3, 0x10, 2) = -1")
    assert here.show("writev", 3, BAD, 0) == "writev(3, [], 0) = 0"
    assert here.show("writev", 3, parts, -1, error=EINVAL).startswith(f"writev(3, {parts:#x}, 18446744073709551615) = -1")


def test_more_parts_than_are_shown_leave_dots():
    many = vector(*[(0, 0)] * 33)
    assert Described().show("writev", 3, many, 33).endswith("{iov_base=NULL, iov_len=0}, ...], 33) = 0")
    assert "..." not in Described().show("writev", 3, many[:512], 32)
    assert "..." not in Described(verbose=True).show("writev", 3, many, 33)


def test_sendfile_shows_the_offset_before_and_after():
    here = Described()

    def kernel(view: View) -> None:
        here.memory.write(view.args[2], struct.pack("<q", 13))

    offset = struct.pack("<q", 3)
    assert here.show("sendfile", 4, 3, offset, 10, value=10, meanwhile=kernel) == "sendfile(4, 3, [3] => [13], 10) = 10"
    assert here.show("sendfile", 4, 3, offset, 0, value=0) == "sendfile(4, 3, [3], 0) = 0"
    assert here.show("sendfile", 4, 3, BAD, 1, error=EFAULT).startswith("sendfile(4, 3, 0x10, 1) = -1")
    assert here.show("sendfile", 4, 3, 0, 1, value=1) == "sendfile(4, 3, NULL, 1) = 1"


def test_a_write_says_all_that_it_can_at_entry():
    here = Described()
    view = View(0, (3, here.put(b"abc"), 3, 0, 0, 0), here.memory, here.style, here.files.get)
    assert CALLS["write"].early(view) == ["3", '"abc"', "3"]
    assert CALLS["read"].early(view) == ["3"]


# -- what a file is ---------------------------------------------------------------------------------


def test_stat_is_short_unless_asked_for_whole():
    short = Described().show
    assert short("stat", b"x\0", status(0o100644, size=1294)) == 'stat("x", {st_mode=S_IFREG|0644, st_size=1294, ...}) = 0'
    line = "fstat(3, {st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}) = 0"
    assert short("fstat", 3, status(0o020666, rdev=0x103)) == line
    whole = Described(verbose=True).show("stat", b"x\0", status(0o100644, size=11))
    assert whole == (
        'stat("x", {st_dev=makedev(0x345, 0x1267), st_ino=5, st_mode=S_IFREG|0644, st_nlink=6, st_uid=7, st_gid=8, st_blksize=9, '
        "st_blocks=10, st_size=11, st_atime=5 /* 1970-01-01T00:00:05+0000 */, st_atime_nsec=0, "
        "st_mtime=1 /* 1970-01-01T00:00:01.999999999+0000 */, st_mtime_nsec=999999999, "
        "st_ctime=-1 /* 1969-12-31T23:59:59.000000005+0000 */, st_ctime_nsec=5}) = 0"
    )


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o041777, "S_IFDIR|S_ISVTX|0777"),
        (0o104755, "S_IFREG|S_ISUID|0755"),
        (0o010000, "S_IFIFO|000"),
        (0o777, "0777"),
        (0o030777, "030777"),
        (0o01200777, "01200777"),
        (0xFFFFFFFF, "037777777777"),
    ],
)
def test_a_mode_is_its_type_and_its_bits(call, mode, words):
    assert call("lstat", b"x\0", status(mode)) == f'lstat("x", {{st_mode={words}, st_size=0, ...}}) = 0'


def test_mknod_has_a_device_where_a_device_is_made(call):
    assert call("mknod", b"x\0", 0o020640, 0x103) == 'mknod("x", S_IFCHR|0640, makedev(0x1, 0x3)) = 0'
    assert call("mknodat", AT_FDCWD, b"x\0", 0o010644, 0x103) == 'mknodat(AT_FDCWD, "x", S_IFIFO|0644) = 0'
    assert call("mknod", b"x\0", 0o060000, 0x7ABCDEF123) == 'mknod("x", S_IFBLK|000, makedev(0xef1, 0xbcd23)) = 0'


def test_statx_shows_the_fields_that_its_mask_has():
    moments = struct.pack("<qIi", 10**9, 5, 0) + struct.pack("<qIi", 0, 0, 0) * 3
    data = struct.pack("<IIQIIIH2x4Q", 0x221, 512, 0x2010, 1, 2, 3, 0o100644, 77, 88, 99, 0x10) + moments
    data = (data + struct.pack("<4IQ", 1, 2, 3, 4, 0x55)).ljust(256, b"\0")
    head = 'statx(AT_FDCWD, "x", AT_STATX_SYNC_AS_STAT|AT_EMPTY_PATH, STATX_ALL, {stx_mask=STATX_TYPE|STATX_ATIME|STATX_SIZE, '
    attributes = "stx_attributes=STATX_ATTR_IMMUTABLE|STATX_ATTR_MOUNT_ROOT, stx_mode=S_IFREG|0644, stx_size=88, "
    call = Described().show
    assert call("statx", AT_FDCWD, b"x\0", 0x1000, 0xFFF, data) == head + attributes + "...}) = 0"
    call = Described(verbose=True).show
    assert call("statx", AT_FDCWD, b"x\0", 0x1000, 0xFFF, data) == (
        head + "stx_blksize=512, " + attributes + "stx_attributes_mask=STATX_ATTR_IMMUTABLE, "
        "stx_atime={tv_sec=1000000000, tv_nsec=5} /* 2001-09-09T01:46:40.000000005+0000 */, "
        "stx_rdev_major=1, stx_rdev_minor=2, stx_dev_major=3, stx_dev_minor=4}) = 0"
    )


def test_rights_and_ids_and_masks(call):
    assert call("access", b"x\0", 5) == 'access("x", R_OK|X_OK) = 0'
    assert call("access", b"x\0", 0) == 'access("x", F_OK) = 0'
    assert call("chown", b"x\0", -1, 0xFFFFFFFE) == 'chown("x", -1, 4294967294) = 0'
    assert call("umask", 0o7, value=0o22) == "umask(007) = 022"


def test_times_are_told_in_words_where_they_can_be(call):
    line = call("utimensat", AT_FDCWD, b"x\0", struct.pack("<4q", 10**9, 123456789, -5, 0), 0x100)
    assert line == (
        'utimensat(AT_FDCWD, "x", [{tv_sec=1000000000, tv_nsec=123456789} /* 2001-09-09T01:46:40.123456789+0000 */, '
        "{tv_sec=-5, tv_nsec=0} /* 1969-12-31T23:59:55+0000 */], AT_SYMLINK_NOFOLLOW) = 0"
    )
    line = call("utimensat", AT_FDCWD, b"x\0", struct.pack("<4q", 1, 0x3FFFFFFF, 1, 0x3FFFFFFE), 0)
    assert line == 'utimensat(AT_FDCWD, "x", [UTIME_NOW, UTIME_OMIT], 0) = 0'
    line = call("utimes", b"x\0", struct.pack("<4q", 5, 10**6, 1 << 60, 0), error=EINVAL)
    assert line.startswith('utimes("x", [{tv_sec=5, tv_usec=1000000}, {tv_sec=1152921504606846976, tv_usec=0}]) = -1')
    assert (
        call("utime", b"x\0", struct.pack("<2q", 0, 5)) == 'utime("x", {actime=0, modtime=5 /* 1970-01-01T00:00:05+0000 */}) = 0'
    )


def test_times_are_told_in_the_local_time_zone(call, monkeypatch):
    monkeypatch.setenv("TZ", "XYZ+3:30")
    time.tzset()
    assert call("utime", b"x\0", struct.pack("<2q", 0, 5)).endswith("modtime=5 /* 1969-12-31T20:30:05-0330 */}) = 0")


# -- directories ------------------------------------------------------------------------------------


def test_a_listing_is_counted_or_told():
    data = entry64(7, 1, 4, b".") + entry64(8, 1 << 62, 8, b"file") + entry64(9, -1, 3, b"odd")
    here = Described()
    address = here.put(data)
    line = here.show("getdents64", 3, address, 4096, value=len(data))
    assert line == f"getdents64(3, {address:#x} /* 3 entries */, 4096) = {len(data)}"
    line = Described(verbose=True).show("getdents64", 3, data, 4096, value=len(data))
    assert line == (
        'getdents64(3, [{d_ino=7, d_off=1, d_reclen=24, d_type=DT_DIR, d_name="."}, '
        '{d_ino=8, d_off=4611686018427387904, d_reclen=24, d_type=DT_REG, d_name="file"}, '
        '{d_ino=9, d_off=-1, d_reclen=24, d_type=0x3 /* DT_??? */, d_name="odd"}], 4096) = 72'
    )


def test_the_older_listing_has_the_type_at_its_end():
    record = struct.pack("<QQH", 7, 1, 24) + b"ab\0\0\0\x0a"
    line = Described(verbose=True).show("getdents", 3, record, 4096, value=24)
    assert line == 'getdents(3, [{d_ino=7, d_off=1, d_reclen=24, d_name="ab", d_type=DT_LNK}], 4096) = 24'


@pytest.mark.parametrize("length", [0, 18, 25, 0xFFFF])
def test_a_record_of_no_length_ends_a_listing(length):
    record = struct.pack("<QqHB5x", 7, 1, length, 4)
    here = Described()
    address = here.put(record)
    assert here.show("getdents64", 3, address, 4096, value=24) == f"getdents64(3, {address:#x} /* 0 entries */, 4096) = 24"


# -- extended attributes and handles ----------------------------------------------------------------


def test_attributes_are_strings_with_a_length(call):
    line = call("setxattr", b"x\0", b"user.a\0", b"v\0", 2, 1)
    assert line == 'setxattr("x", "user.a", "v\\0", 2, XATTR_CREATE) = 0'
    assert call("getxattr", b"x\0", b"user.a\0", b"value", 0, value=5) == 'getxattr("x", "user.a", "value", 0) = 5'
    assert call("listxattr", b"x\0", b"user.a\0", 100, value=7) == 'listxattr("x", "user.a\\0", 100) = 7'
    assert call("listxattr", b"x\0", BAD, 0, value=7) == 'listxattr("x", 0x10, 0) = 7'


def test_a_value_that_the_kernel_would_not_take_is_an_address(call):
    assert call("fsetxattr", 3, b"user.a\0", BAD, 65537, 0, error=7).startswith('fsetxattr(3, "user.a", 0x10, 65537, 0) = -1')


def test_a_handle_shows_its_room_and_what_was_needed():
    here = Described()

    def kernel(view: View) -> None:
        here.memory.write(view.args[2], struct.pack("<Ii", 2, 1) + b"\1\2")

    room = struct.pack("<Ii", 128, 0) + bytes(128)
    line = here.show("name_to_handle_at", AT_FDCWD, b"x\0", room, struct.pack("<i", 27), 0, meanwhile=kernel)
    assert line == (
        'name_to_handle_at(AT_FDCWD, "x", {handle_bytes=128 => 2, handle_type=1, f_handle="\\x01\\x02"}, [27], 0) = 0'
    )
    line = here.show("name_to_handle_at", AT_FDCWD, b"x\0", room, BAD, 0x400, error=EOVERFLOW, meanwhile=kernel)
    assert line.startswith('name_to_handle_at(AT_FDCWD, "x", {handle_bytes=128 => 2}, 0x10, AT_SYMLINK_FOLLOW) = -1')
    line = here.show("open_by_handle_at", 3, struct.pack("<Ii", 8, -5), 0o2, error=EBADF)
    assert line.startswith("open_by_handle_at(3, {handle_bytes=8, handle_type=-5, f_handle=???}, O_RDWR) = -1")


# -- file systems -----------------------------------------------------------------------------------


def test_statfs_names_the_file_system(call):
    figures = struct.pack("<7Q2I3Q", 0x9FA0, 4096, 1, 2, 3, 4, 5, 0x15, 0, 255, 4096, 0x1020).ljust(120, b"\0")
    assert call("statfs", b"x\0", figures) == (
        'statfs("x", {f_type=PROC_SUPER_MAGIC, f_bsize=4096, f_blocks=1, f_bfree=2, f_bavail=3, f_files=4, f_ffree=5, '
        "f_fsid={val=[0x15, 0]}, f_namelen=255, f_frsize=4096, f_flags=ST_VALID|ST_RELATIME}) = 0"
    )


def test_mount_shows_what_the_kernel_looks_at():
    here = Described()
    kind, data = here.put(b"ext4\0"), here.put(b"ro\0")

    def line(how: int) -> str:
        return here.show("mount", b"a\0", b"b\0", kind, how, data).removeprefix('mount("a", "b", ').removesuffix(") = 0")

    assert line(1) == '"ext4", MS_RDONLY, "ro"'
    assert line(0xC0ED0000) == '"ext4", MS_MGC_VAL, "ro"'
    assert line(0x1000 | 0x4000) == f"{kind:#x}, MS_BIND|MS_REC, {data:#x}"
    assert line(0x1020) == f'{kind:#x}, MS_REMOUNT|MS_BIND, "ro"'


def test_fsconfig_reads_as_its_command_says(call):
    assert call("fsconfig", 3, 0, b"ro\0", 0, 0) == 'fsconfig(3, FSCONFIG_SET_FLAG, "ro", NULL, 0) = 0'
    assert call("fsconfig", 3, 1, b"size\0", b"1m\0", 0) == 'fsconfig(3, FSCONFIG_SET_STRING, "size", "1m", 0) = 0'
    assert call("fsconfig", 3, 2, b"k\0", b"\0\1", 2) == 'fsconfig(3, FSCONFIG_SET_BINARY, "k", "\\x00\\x01", 2) = 0'
    assert call("fsconfig", 3, 3, b"k\0", b"p\0", AT_FDCWD) == 'fsconfig(3, FSCONFIG_SET_PATH, "k", "p", AT_FDCWD) = 0'
    assert call("fsconfig", 3, 6, BAD, 0, -1) == "fsconfig(3, FSCONFIG_CMD_CREATE, 0x10, NULL, -1) = 0"


def test_mount_setattr_shows_what_is_set_and_cleared(call):
    change = struct.pack("<4Q", 1, 2, 1 << 18, 99)
    assert call("mount_setattr", AT_FDCWD, b"x\0", 0x8000, change, 32) == (
        'mount_setattr(AT_FDCWD, "x", AT_RECURSIVE, '
        "{attr_set=MOUNT_ATTR_RDONLY, attr_clr=MOUNT_ATTR_NOSUID, propagation=MS_PRIVATE, userns_fd=99}, 32) = 0"
    )


def test_a_swap_priority_stands_behind_its_flags(call):
    assert call("swapon", b"x\0", 0x8005) == 'swapon("x", SWAP_FLAG_PREFER|5) = 0'
    assert call("swapon", b"x\0", 5) == 'swapon("x", 5) = 0'


def test_quotas_have_the_arguments_of_their_command():
    limits = struct.pack("<8QII", 1, 2, 3, 4, 5, 6, 7, 8, 9, 0)
    call = Described().show
    assert call("quotactl", 0x80000101, b"x\0", 5, 0) == 'quotactl(QCMD(Q_SYNC, GRPQUOTA), "x") = 0'
    assert call("quotactl", 0x80000200, b"x\0", 2, b"f\0") == 'quotactl(QCMD(Q_QUOTAON, USRQUOTA), "x", QFMT_VFS_V0, "f") = 0'
    assert call("quotactl_fd", 3, 0x80000700, -1, limits) == (
        "quotactl_fd(3, QCMD(Q_GETQUOTA, USRQUOTA), -1, {dqb_bhardlimit=1, dqb_bsoftlimit=2, dqb_curspace=3, "
        "dqb_ihardlimit=4, dqb_isoftlimit=5, dqb_curinodes=6, ...}) = 0"
    )
    whole = Described(verbose=True).show("quotactl_fd", 3, 0x80000700, -1, limits)
    assert whole.endswith("dqb_curinodes=6, dqb_btime=7, dqb_itime=8, dqb_valid=QIF_BLIMITS|QIF_INODES}) = 0")


# -- watching ---------------------------------------------------------------------------------------


def test_what_is_watched_is_named(call):
    assert call("inotify_add_watch", 3, b".\0", 0x102, value=1) == 'inotify_add_watch(3, ".", IN_MODIFY|IN_CREATE) = 1'
    assert call("fanotify_init", 0x80000004, 2, error=EINVAL).startswith(
        "fanotify_init(FAN_CLASS_CONTENT|0x80000000 /* FAN_??? */, O_RDWR)"
    )
    assert call("fanotify_mark", 3, 9, 0x22, -1, 0) == (
        "fanotify_mark(3, FAN_MARK_ADD|FAN_MARK_ONLYDIR, FAN_MODIFY|FAN_OPEN, FAN_NOFD, NULL) = 0"
    )


# -- all of them ------------------------------------------------------------------------------------


def test_descriptors_tell_what_they_are_of():
    call = Described(paths=1).show
    assert call("openat", AT_FDCWD, b"x\0", 0, value=3) == 'openat(AT_FDCWD</tmp>, "x", O_RDONLY) = 3</etc/passwd>'
    assert call("dup2", 3, 4, value=4) == "dup2(3</etc/passwd>, 4) = 4"
    assert call("pipe", struct.pack("2i", 3, 4)) == "pipe([3</etc/passwd>, 4]) = 0"


def test_nothing_that_a_task_does_makes_a_printer_fail():
    """Any registers over any memory, at entry and at the end, of calls that succeed and that fail."""
    chance = random.Random(80)
    memory = Memory()
    pages = [memory.room(4096) for _ in range(6)]
    for page in pages:
        memory.write(page, chance.randbytes(4096) if page is not pages[0] else b"\xff" * 4096)
    pointers = [page + offset for page in pages for offset in (0, 8, 2048, 4080, 4095)] + [0, BAD, U64, U64 - 7, 1 << 63]
    numbers = [0, 1, 2, 3, 16, 24, 33, 100, 4096, 70000, 1 << 31, 1 << 32, (1 << 63) - 1, U64 - 99, U64]
    styles = [Style(), Style(strings=0), Style(strings=100000, verbose=True), Style(paths=2, verbose=True)]

    def register() -> int:
        match chance.randrange(3):
            case 0:
                return chance.choice(pointers)
            case 1:
                return chance.choice(numbers)
        return chance.getrandbits(chance.choice((4, 16, 32, 64)))

    for name, signature in CALLS.items():
        for _ in range(40):
            args = tuple([register() for _ in range(6)])
            view = View(0, args, memory, chance.choice(styles), {3: "x"}.get)
            words = signature.early(view)
            error = chance.choice((0, 0, EFAULT, EOVERFLOW, 512))
            view.value, view.error = (-error, error) if error else (chance.choice(numbers[:14]), 0)
            words += signature.late(view)
            words.append(result_of(signature, view))
            assert all(isinstance(word, str) and word for word in words), (name, args, words)
