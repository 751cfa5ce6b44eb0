"""What a guest that is not root may do with files: the judgement, and the calls that ask for it."""

from __future__ import annotations

import errno
import os

import pytest
from fakes import AT_FDCWD, Guest, Out

from procs.credentials import KEEP, Credentials, FileCapabilities
from vfs.hostfs import KeptStat
from vfs.rights import EXECUTE, READ, WRITE, Rights
from vfs.setid import writes

_DIRECTORY, _FILE = 0o040000, 0o100000


def _rights(uid: int = 1000, groups: tuple[int, ...] = (), capabilities: int = 0) -> Rights:
    credentials = Credentials(uid, uid, groups)
    credentials.effective = capabilities
    return Rights(credentials, os.geteuid(), os.getegid())


def _status(mode: int, uid: int = 1000, gid: int = 1000) -> KeptStat:
    return KeptStat(os.stat("/"), uid, gid, mode)


@pytest.mark.parametrize(
    ("status", "want", "allowed"),
    [
        (_status(_FILE | 0o400), READ, True),
        (_status(_FILE | 0o477), WRITE, False),  # the owner's bits count for the owner, and no others
        (_status(_FILE | 0o070, 1, 60), READ | WRITE | EXECUTE, True),
        (_status(_FILE | 0o707, 1, 60), READ, False),
        (_status(_FILE | 0o007, 1, 1), READ | EXECUTE, True),
        (_status(_FILE | 0o770, 1, 1), READ, False),
    ],
)
def test_the_first_class_that_fits_decides(status, want, allowed):
    assert _rights(groups=(60,)).allow(status, want) is allowed


@pytest.mark.parametrize(
    ("capability", "mode", "want", "allowed"),
    [
        (1, _FILE, READ | WRITE, True),
        (1, _FILE, EXECUTE, False),
        (1, _FILE | 0o001, EXECUTE, True),
        (1, _DIRECTORY, WRITE | EXECUTE, True),
        (2, _FILE, READ, True),
        (2, _FILE, WRITE, False),
        (2, _DIRECTORY, READ | EXECUTE, True),
        (2, _DIRECTORY, WRITE, False),
        (3, _FILE, READ, False),
    ],
)
def test_capabilities_override_as_they_should(capability, mode, want, allowed):
    assert _rights(capabilities=1 << capability).allow(_status(mode, 1, 1), want) is allowed


@pytest.fixture
def user(tmp_path):
    """A user inside, over a tree with a directory of root's, one of the user's own and a sticky one."""
    with Guest(tmp_path / "root") as call:
        for name, mode in ((b"/roots", 0o755), (b"/closed", 0o700), (b"/own", 0o700), (b"/tmp", 0o1777)):
            call("mkdir", name, mode)
            call("chmod", name, mode)
            call("open", name + b"/file", os.O_CREAT | os.O_WRONLY, 0o644)
        call("chown", b"/own", 1000, 1000)
        call("chown", b"/own/file", 1000, 1000)
        call.task.credentials = Credentials(1000, 1000)
        yield call


def test_a_user_makes_and_removes_names_only_where_they_may(user):
    assert user("mkdir", b"/roots/new", 0o777) == -errno.EACCES
    assert user("mkdir", b"/roots/file", 0o777) == -errno.EEXIST
    assert user("unlink", b"/roots/file") == -errno.EACCES
    assert user("unlink", b"/tmp/file") == -errno.EPERM
    assert user("rename", b"/tmp/file", b"/own/new") == -errno.EPERM
    assert user("rename", b"/own/file", b"/tmp/new") == 0
    assert user("unlink", b"/tmp/new") == 0


def test_a_directory_must_let_a_user_through(user):
    status = Out(144)
    assert user("stat", b"/closed/file", status) == -errno.EACCES
    assert user("stat", b"/roots/file", status) == 0
    assert user("stat", b"/closed/../roots/file", status) == -errno.EACCES
    assert user("chdir", b"/closed") == -errno.EACCES
    assert user("chdir", b"/own") == 0
    assert user("stat", b"file", status) == 0


def test_a_way_is_judged_at_once_where_that_is_plain(user):
    user.task.credentials = Credentials()
    assert user("mkdir", b"/own/inner", 0o755) == 0
    assert user("symlink", b"own", b"/link") == 0
    fs, root = user.sandbox.namespace.root.fs, user.sandbox.namespace.root.node

    def passes(*names: bytes, uid: int = 1000) -> bool:
        return fs.lets_through(root, names, _rights(uid))

    assert passes(b"own", b"inner", b"file") and passes(b"roots", b"file") and passes(b"tmp", b"file") and passes(b"nothing")
    assert passes(b"closed", b"file", uid=0) and not passes(b"closed", b"file")  # own is kept beside: root gave it away
    assert not passes(b"own", b"inner", b"file", uid=1001)
    assert not passes(b"link", b"inner") and not passes(b"roots", b"file", b"x") and not passes(b"nothing", b"x")


def test_what_may_be_read_opens_by_way_of_symlinks_too(user):
    user.task.credentials = Credentials()
    assert user("symlink", b"roots", b"/link") == 0
    assert user("symlink", b"closed", b"/shut") == 0
    assert user("chmod", b"/tmp/file", 0o600) == 0
    user.task.credentials = Credentials(1000, 1000)
    assert user("open", b"/link/file", os.O_RDONLY) >= 0
    assert user("open", b"/shut/file", os.O_RDONLY) == -errno.EACCES
    assert user("open", b"/tmp/file", os.O_RDONLY) == -errno.EACCES
    assert user("open", b"/roots", os.O_RDONLY | os.O_DIRECTORY) >= 0


def test_a_file_opens_by_its_mode(user):
    assert user("open", b"/roots/file", os.O_RDONLY) >= 0
    assert user("open", b"/roots/file", os.O_WRONLY) == -errno.EACCES
    assert user("open", b"/roots/file", os.O_RDONLY | os.O_TRUNC) == -errno.EACCES
    assert user("open", b"/roots/file", os.O_RDONLY | os.O_NOATIME) == -errno.EPERM
    assert user("truncate", b"/roots/file", 0) == -errno.EACCES
    assert user("access", b"/roots/file", 4) == 0
    assert user("access", b"/roots/file", 2) == -errno.EACCES


def test_mode_owner_and_times_are_the_owners(user):
    assert user("chmod", b"/roots/file", 0o777) == -errno.EPERM
    assert user("chmod", b"/own/file", 0o600) == 0
    assert user("chown", b"/own/file", 0, -1) == -errno.EPERM
    assert user("chown", b"/own/file", -1, 1000) == 0
    assert user("chown", b"/own/file", -1, 5) == -errno.EPERM
    assert user("utimensat", AT_FDCWD, b"/roots/file", None, 0) == -errno.EACCES
    assert user("utimensat", AT_FDCWD, b"/roots/file", bytearray(32), 0) == -errno.EPERM
    assert user("utimensat", AT_FDCWD, b"/own/file", bytearray(32), 0) == 0


def test_a_hard_link_to_what_one_may_not_write_is_refused(user):
    if not os.path.exists("/proc/sys/fs/protected_hardlinks") or open("/proc/sys/fs/protected_hardlinks").read(1) == "0":
        pytest.skip("protected_hardlinks is off")
    assert user("link", b"/roots/file", b"/own/link") == -errno.EPERM


def _mode(call, path: bytes) -> int:
    status = Out(144)
    assert call("stat", path, status) == 0
    return int.from_bytes(status.guest[24:28], "little") & 0o7777


@pytest.fixture
def program(user):
    """A set-id program of root's that anybody may write."""
    user.task.credentials = Credentials()
    assert user("chmod", b"/roots/file", 0o6777) == 0
    user.task.credentials = Credentials(1000, 1000)
    yield b"/roots/file"
    writes.close()


def test_set_id_bits_go_when_something_is_written_not_before(user, program):
    fd = user("open", program, os.O_RDWR)
    assert _mode(user, program) == 0o6777
    os.write(user.files.table[fd], b"other code")
    assert _mode(user, program) == 0o777


def test_a_file_without_a_name_is_not_awaited(user, program):
    user("open", program, os.O_RDWR)
    user.task.credentials = Credentials()
    assert user("unlink", program) == 0
    writes.look()
    assert not writes.awaits


def test_truncation_takes_set_id_bits_at_once(user, program):
    assert user("truncate", program, 0) == 0
    assert _mode(user, program) == 0o777


def test_one_who_may_keep_set_id_bits_does(user, program):
    user.task.credentials.effective = 1 << 4
    fd = user("open", program, os.O_RDWR | os.O_TRUNC)
    os.write(user.files.table[fd], b"other code")
    assert _mode(user, program) == 0o6777


def test_set_id_bits_that_cannot_be_awaited_go_at_once(user, program, monkeypatch):
    monkeypatch.setattr(writes, "wait", lambda file, drop: False)
    user("open", program, os.O_RDWR)
    assert _mode(user, program) == 0o777


@pytest.mark.parametrize(
    ("mode", "gid", "new", "left"),
    [
        (0o4755, 1000, None, 0o755),
        (0o2755, 60, None, 0o755),
        (0o2644, 60, None, 0o2644),  # of a group the user is in
        (0o2644, 70, None, 0o644),
        (0o6644, 60, 60, 0o2644),
        (0o755, 60, None, 0o755),
    ],
)
def test_a_file_that_is_given_away_loses_set_id_bits(mode, gid, new, left):
    assert _rights(groups=(60,)).mode_given_away(_status(_FILE | mode, 1000, gid), None, new) == _FILE | left


def test_who_gives_nothing_away_is_asked_only_for_bits_that_go():
    rights = _rights(groups=(60,))
    assert rights.mode_given_away(_status(_FILE | 0o2644, 3, 60), None, None) == _FILE | 0o2644
    with pytest.raises(PermissionError):
        rights.mode_given_away(_status(_FILE | 0o2755, 3, 60), None, None)
    assert rights.mode_given_away(_status(_DIRECTORY | 0o6755, 3, 60), None, None) == _DIRECTORY | 0o6755


def test_the_number_of_the_hosts_user_is_another_user_inside(user):
    uid = os.geteuid()
    if uid == 0:
        pytest.skip("root is root inside")
    user.task.credentials = Credentials()
    assert user("chown", b"/roots/file", uid, -1) == 0
    status = Out(144)
    user("stat", b"/roots/file", status)
    assert int.from_bytes(status.guest[28:32], "little") == uid


def test_file_capabilities_are_read_as_the_kernel_wrote_them():
    data = bytes.fromhex("0100000200200000000000000000000000000000")
    found = FileCapabilities.parse(data)
    assert (found.permitted, found.inheritable, found.effective) == (1 << 13, 0, True)
    assert FileCapabilities.parse(data[:-1]) is None
    assert FileCapabilities.parse(b"") is None


def test_file_capabilities_at_exec():
    credentials = Credentials(1000)
    assert credentials.on_exec(file=FileCapabilities(1 << 13, 0, True))
    assert credentials.permitted == credentials.effective == 1 << 13
    credentials.bounding = 0
    with pytest.raises(PermissionError):
        FileCapabilities(1 << 13, 0, True).check(credentials.bounding, 0)


_CAPABLE = FileCapabilities(1 << 13, 0, True)


def test_a_program_that_gives_an_effective_capability_is_careful_though_it_gives_none():
    """Its attribute makes it so, and nothing that anybody has; capabilities(7)."""
    credentials = Credentials(1000)
    assert credentials.on_exec(file=FileCapabilities(0, 1 << 13, True))
    assert credentials.permitted == 0


def test_no_new_privs_keeps_capabilities_from_users_and_from_root():
    credentials = Credentials(1000)
    assert credentials.on_exec(file=_CAPABLE, no_new_privs=True)
    assert credentials.permitted == 0
    root = Credentials(0)
    root.capset(0, 1, 0)
    root.on_exec(no_new_privs=True)
    assert root.permitted == root.effective == 1


@pytest.mark.parametrize(
    ("ids", "owner", "file", "careful", "dumpable"),
    [
        ((1000, 1000), None, None, False, True),
        ((1000, 1000), 1000, None, False, True),
        ((1000, 1000), 0, None, True, False),
        ((1000, 0), None, None, True, False),
        ((0, 1000), 0, None, True, False),  # back to root by a set-id program
        ((1000, 1000), None, _CAPABLE, True, False),
        ((0, 0), None, _CAPABLE, False, True),
    ],
)
def test_who_gained_something_by_exec_is_not_dumpable(ids, owner, file, careful, dumpable):
    credentials = Credentials(0)
    credentials.set_uids(*ids, 0)
    if 0 not in ids:
        credentials.set_uids(KEEP, KEEP, ids[0])
    before = credentials.copy()
    assert credentials.on_exec(owner, None, file) is careful
    assert credentials.dumpable_after(before) is dumpable


def test_root_that_regains_its_capabilities_is_not_dumpable():
    credentials = Credentials(0)
    credentials.capset(0, 0, 0)
    before = credentials.copy()
    credentials.on_exec()
    assert not credentials.dumpable_after(before)


_ATTRIBUTE = bytes.fromhex("0100000200200000000000000000000000000000")


@pytest.fixture
def capable(tmp_path):
    """A guest whose file is a program with a capability."""
    (tmp_path / "program").write_bytes(b"x")
    (tmp_path / "program").chmod(0o755)
    with Guest(tmp_path) as guest:
        assert guest("setxattr", b"/program", b"security.capability", bytearray(_ATTRIBUTE), 20, 0) == 0
        yield guest


def _capabilities(guest) -> int:
    return guest("getxattr", b"/program", b"security.capability", Out(64), 64)


def test_what_is_no_set_of_capabilities_is_einval(capable):
    for value in (b"", b"zz", _ATTRIBUTE[:-1], b"\x01\0\0\1" + _ATTRIBUTE[4:12]):
        assert capable("setxattr", b"/program", b"security.capability", bytearray(value), len(value), 0) == -errno.EINVAL
    assert _capabilities(capable) == 20


def test_who_writes_to_a_program_takes_its_capabilities(capable):
    fd = capable("open", b"/program", os.O_WRONLY)
    assert _capabilities(capable) == 20
    os.write(capable.files.table[fd], b"y")
    assert _capabilities(capable) == -errno.ENODATA


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("open", (b"/program", os.O_WRONLY | os.O_TRUNC)),
        ("open", (b"/program", os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o644)),
        ("truncate", (b"/program", 0)),
        ("chown", (b"/program", 5, 5)),
        ("chown", (b"/program", -1, -1)),
    ],
)
def test_a_program_that_is_emptied_or_given_away_has_no_capabilities(capable, name, arguments):
    assert capable(name, *arguments) >= 0
    assert _capabilities(capable) == -errno.ENODATA


def test_a_program_that_is_read_or_renamed_keeps_its_capabilities(capable):
    assert capable("open", b"/program", os.O_RDONLY) >= 0
    assert capable("chmod", b"/program", 0o711) == 0
    assert capable("rename", b"/program", b"/other") == 0
    assert capable("rename", b"/other", b"/program") == 0
    assert _capabilities(capable) == 20
