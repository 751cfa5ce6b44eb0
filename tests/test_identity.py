"""Who a guest believes it is: users, groups and capabilities after the rules of credentials(7) and capabilities(7)."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import struct

import pytest
from fakes import BAD, NUMBERS, Guest, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from procs.credentials import ALL_CAPABILITIES, KEEP, Credentials

SETGID, SETUID, SETPCAP, SYS_ADMIN, SYS_CHROOT = 6, 7, 8, 21, 18
V1, V2, V3 = 0x19980330, 0x20071026, 0x20080522
GET_KEEPCAPS, SET_KEEPCAPS, CAPBSET_READ, CAPBSET_DROP, AMBIENT = 7, 8, 23, 24, 47
GET_NO_NEW_PRIVS, SET_NO_NEW_PRIVS, GET_DUMPABLE, SET_DUMPABLE, SET_NAME, GET_NAME = 39, 38, 3, 4, 15, 16


@pytest.fixture
def call(tmp_path):
    """A process that believes it is root."""
    with Guest(tmp_path / "root") as guest:
        yield guest


@pytest.fixture
def user(tmp_path):
    """A process that believes it is user 1000 of group 100."""
    with Guest(tmp_path / "root", uid=1000, gid=100) as guest:
        yield guest


def ids(guest: Guest, name: str) -> tuple[int, int, int]:
    """getresuid or getresgid, through memory."""
    outs = [Out(4), Out(4), Out(4)]
    assert guest(name, *outs) == 0
    return tuple(int.from_bytes(out.guest, "little") for out in outs)


# -- asking -----------------------------------------------------------------------------------------


def test_the_four_plain_questions(user):
    assert [user(name) for name in ("getuid", "geteuid", "getgid", "getegid")] == [1000, 1000, 100, 100]


def test_the_saved_ids_are_told_too(user):
    assert ids(user, "getresuid") == (1000, 1000, 1000)
    assert ids(user, "getresgid") == (100, 100, 100)


@pytest.mark.parametrize("name", ["getresuid", "getresgid"])
def test_ids_to_nowhere_are_efault(call, name):
    assert call(name, Out(4), BAD, Out(4)) == -errno.EFAULT


# -- users ------------------------------------------------------------------------------------------


def test_setuid_of_root_sets_all_three(call):
    assert call("setuid", 1000) == 0
    assert ids(call, "getresuid") == (1000, 1000, 1000)
    assert call("setuid", 0) == -errno.EPERM


def test_setuid_of_a_user_sets_the_effective_one(call):
    call("setresuid", 1000, 1000, 2000)
    assert call("setuid", 2000) == 0
    assert ids(call, "getresuid") == (1000, 2000, 2000)


def test_setuid_of_a_user_to_another_is_eperm(user):
    assert user("setuid", 1001) == -errno.EPERM
    assert user("setuid", 1000) == 0


@pytest.mark.parametrize("name", ["setuid", "setgid"])
def test_no_id_is_minus_one(call, name):
    assert call(name, -1) == -errno.EINVAL


def test_setreuid_takes_the_saved_id_along(call):
    assert call("setreuid", -1, 1000) == 0
    assert ids(call, "getresuid") == (0, 1000, 1000)
    assert call("setreuid", 5, -1) == -errno.EPERM
    assert call("setreuid", 1000, 0) == 0, "what was real may be effective again"


def test_setreuid_may_swap(user):
    user.process.credentials.euid = user.process.credentials.suid = 2000
    assert user("setreuid", 2000, 1000) == 0
    assert ids(user, "getresuid") == (2000, 1000, 1000)


def test_setresuid_leaves_what_is_minus_one(call):
    assert call("setresuid", -1, 5, -1) == 0
    assert ids(call, "getresuid") == (0, 5, 0)


def test_setresuid_of_a_user_takes_only_ids_it_has(user):
    assert user("setresuid", 1000, 1000, 1000) == 0
    assert user("setresuid", -1, 0, -1) == -errno.EPERM


def test_setfsuid_gives_the_former_id_whatever_happens(user):
    assert user("setfsuid", 1000) == 1000
    assert user("setfsuid", 0) == 1000
    assert user("setfsuid", -1) == 1000


@pytest.mark.parametrize("name", ["setfsuid", "setfsgid"])
def test_asking_for_the_file_system_id_changes_nothing_even_for_root(call, name):
    assert call(name, -1) == 0
    assert call(name, -1) == 0


def test_the_file_system_id_follows_the_effective_one(call):
    call("setresuid", -1, 7, -1)
    assert call.process.credentials.fsuid == 7


# -- groups -----------------------------------------------------------------------------------------


def test_setgid_of_root_sets_all_three(call):
    assert call("setgid", 5) == 0
    assert ids(call, "getresgid") == (5, 5, 5)


def test_setgid_of_a_user_to_another_is_eperm(user):
    assert user("setgid", 5) == -errno.EPERM
    assert user("setgid", 100) == 0


def test_setregid_and_setresgid_follow_the_same_rules(call):
    assert call("setregid", -1, 5) == 0
    assert ids(call, "getresgid") == (0, 5, 5)
    assert call("setresgid", 1, 2, 3) == 0
    assert ids(call, "getresgid") == (1, 2, 3)


def test_setresgid_of_a_user_takes_only_ids_it_has(user):
    assert user("setresgid", -1, 0, -1) == -errno.EPERM
    assert user("setregid", 0, -1) == -errno.EPERM


def test_setfsgid_gives_the_former_id(user):
    assert user("setfsgid", 5) == 100
    assert user.process.credentials.fsgid == 100


def test_groups_are_set_and_told(call):
    assert call("setgroups", 3, bytearray(struct.pack("<3I", 1, 2, 3))) == 0
    out = Out(12)
    assert call("getgroups", 3, out) == 3
    assert struct.unpack("<3I", out.guest) == (1, 2, 3)
    assert call("getgroups", 0, None) == 3
    assert call("setgroups", 0, None) == 0
    assert call("getgroups", 0, None) == 0


def test_groups_fail_as_in_the_manual(call):
    call("setgroups", 2, bytearray(8))
    assert call("getgroups", 1, Out(4)) == -errno.EINVAL
    assert call("getgroups", -1, Out(4)) == -errno.EINVAL
    assert call("getgroups", 2, BAD) == -errno.EFAULT
    assert call("setgroups", 65537, bytearray(4)) == -errno.EINVAL
    assert call("setgroups", 1, BAD) == -errno.EFAULT


def test_setgroups_needs_its_capability(user):
    assert user("setgroups", 0, None) == -errno.EPERM


# -- capabilities -----------------------------------------------------------------------------------


def sets(guest: Guest, version: int = V3, pid: int = 0) -> tuple[int, int, int]:
    """(effective, permitted, inheritable) as capget tells them."""
    words = 1 if version == V1 else 2
    out = Out(12 * words)
    assert guest("capget", bytearray(struct.pack("<Ii", version, pid)), out) == 0
    raw = struct.unpack(f"<{3 * words}I", out.guest)
    return tuple(sum(raw[3 * word + index] << 32 * word for word in range(words)) for index in range(3))


def capset(guest: Guest, effective: int, permitted: int, inheritable: int, pid: int = 0) -> int:
    words = [value >> 32 * word & 0xFFFFFFFF for word in range(2) for value in (effective, permitted, inheritable)]
    return guest("capset", bytearray(struct.pack("<Ii", V3, pid)), bytearray(struct.pack("<6I", *words)))


def test_root_has_every_capability_and_a_user_none(call, tmp_path):
    assert sets(call) == (ALL_CAPABILITIES, ALL_CAPABILITIES, 0)
    with Guest(tmp_path / "other", uid=1) as user:
        assert sets(user) == (0, 0, 0)


def test_the_first_version_tells_the_low_words(call):
    assert sets(call, V1) == (0xFFFFFFFF, 0xFFFFFFFF, 0)


def test_an_unknown_version_is_corrected(call):
    address = call.memory.put(struct.pack("<Ii", 1, 0))
    assert call("capget", address, Out(24)) == -errno.EINVAL
    assert int.from_bytes(call.memory.read(address, 4), "little") == V3
    address = call.memory.put(struct.pack("<Ii", 1, 0))
    assert call("capget", address, None) == 0, "a probe for the version"


def test_capabilities_of_another_member_are_told_by_number(call):
    assert sets(call, pid=1) == sets(call)
    assert call("capget", bytearray(struct.pack("<Ii", V3, 99999)), Out(24)) == -errno.ESRCH
    assert call("capget", bytearray(struct.pack("<Ii", V3, -1)), Out(24)) == -errno.EINVAL


@pytest.mark.parametrize("name", ["capget", "capset"])
def test_capabilities_at_a_bad_address_are_efault(call, name):
    assert call(name, BAD, Out(24)) == -errno.EFAULT
    assert call(name, bytearray(struct.pack("<Ii", V3, 0)), BAD) == -errno.EFAULT


def test_capabilities_are_given_up_for_good(call):
    assert capset(call, 0, 1 << SETUID, 0) == 0
    assert sets(call) == (0, 1 << SETUID, 0)
    assert capset(call, 1 << SETUID, 1 << SETUID, 0) == 0
    assert capset(call, 0, ALL_CAPABILITIES, 0) == -errno.EPERM


def test_nothing_is_effective_that_is_not_permitted(call):
    assert capset(call, 3, 1, 0) == -errno.EPERM


def test_another_processs_capabilities_cannot_be_set(call):
    call.join(os.getppid())
    assert capset(call, 0, 0, 0, pid=os.getppid()) == -errno.EPERM


def test_leaving_root_takes_the_capabilities(call):
    call("setuid", 1000)
    assert sets(call) == (0, 0, 0)


def test_keepcaps_keeps_what_is_permitted(call):
    assert call("prctl", SET_KEEPCAPS, 1) == 0
    assert call("prctl", GET_KEEPCAPS) == 1
    call("setuid", 1000)
    assert sets(call) == (0, ALL_CAPABILITIES, 0)


def test_an_effective_user_that_comes_and_goes_takes_the_effective_set_along(call):
    call("setresuid", -1, 1000, -1)
    assert sets(call) == (0, ALL_CAPABILITIES, 0)
    call("setresuid", -1, 0, -1)
    assert sets(call) == (ALL_CAPABILITIES, ALL_CAPABILITIES, 0)


def test_the_bounding_set_only_shrinks(call):
    assert call("prctl", CAPBSET_READ, SYS_CHROOT) == 1
    assert call("prctl", CAPBSET_DROP, SYS_CHROOT) == 0
    assert call("prctl", CAPBSET_READ, SYS_CHROOT) == 0
    assert call("prctl", CAPBSET_READ, 41) == -errno.EINVAL
    assert call("prctl", CAPBSET_DROP, 41) == -errno.EINVAL


def test_dropping_from_the_bounding_set_needs_its_capability(user):
    assert user("prctl", CAPBSET_DROP, 1) == -errno.EPERM


def test_ambient_capabilities_must_be_permitted_and_inheritable(call):
    assert call("prctl", AMBIENT, 2, SETUID) == -errno.EPERM
    capset(call, ALL_CAPABILITIES, ALL_CAPABILITIES, 1 << SETUID)
    assert call("prctl", AMBIENT, 2, SETUID) == 0
    assert call("prctl", AMBIENT, 1, SETUID) == 1
    assert call("prctl", AMBIENT, 3, SETUID) == 0
    assert call("prctl", AMBIENT, 1, SETUID) == 0
    assert call("prctl", AMBIENT, 4, 0) == 0
    assert call("prctl", AMBIENT, 5, 0) == -errno.EINVAL
    assert call("prctl", AMBIENT, 2, 41) == -errno.EINVAL
    assert call("prctl", AMBIENT, 2, SETUID, 1) == -errno.EINVAL


def test_ambient_capabilities_survive_exec(call):
    capset(call, ALL_CAPABILITIES, ALL_CAPABILITIES, 1 << SETUID)
    call("prctl", AMBIENT, 2, SETUID)
    call("prctl", SET_KEEPCAPS, 1)
    credentials = call.process.credentials
    credentials.uid = credentials.euid = credentials.suid = 1000
    credentials.on_exec()
    assert credentials.permitted == credentials.effective == 1 << SETUID
    assert not credentials.keep_caps


def test_exec_gives_root_what_the_bounding_set_leaves(call):
    call("prctl", CAPBSET_DROP, SYS_ADMIN)
    call.process.credentials.on_exec()
    assert call.process.credentials.permitted == ALL_CAPABILITIES & ~(1 << SYS_ADMIN)


def test_exec_saves_the_effective_ids(call):
    call("setresuid", 1, 2, 3)
    call.process.credentials.on_exec()
    assert ids(call, "getresuid") == (1, 2, 2)


def test_a_copy_goes_its_own_way(call):
    child = call.process.credentials.copy()
    child.set_uids(5, 5, 5)
    assert call("getuid") == 0


_ID = st.sampled_from([0, 1, 2, KEEP])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set_uids"), _ID, _ID, _ID),
            st.tuples(st.just("setreuid"), _ID, _ID),
            st.tuples(st.just("setuid"), st.sampled_from([0, 1, 2])),
            st.tuples(st.just("setfsuid"), _ID),
        ),
        max_size=8,
    )
)
def test_whatever_is_tried_nobody_gains_a_capability_or_an_id_from_nowhere(calls):
    credentials = Credentials(1)
    for name, *args in calls:
        try:
            getattr(credentials, name)(*args)
        except PermissionError:
            pass
        assert {credentials.uid, credentials.euid, credentials.suid, credentials.fsuid} == {1}
        assert credentials.permitted == credentials.effective == 0


def native(calls) -> list[tuple]:
    """What the kernel answers to a list of calls in a process of root's, and the ids and capabilities after each."""
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        with open(reader, "rb") as file:
            told = file.read()
        os.waitpid(pid, 0)
        return pickle.loads(told)
    try:  # the child: nothing may come back from here into the test
        found = []
        for name, *args in calls:
            value = libc.syscall(NUMBERS[name], *(ctypes.c_long(arg) for arg in args))
            header, data = struct.pack("<Ii", V3, 0), ctypes.create_string_buffer(24)
            libc.syscall(NUMBERS["capget"], header, data)
            effective, permitted = struct.unpack_from("<II", data.raw)
            state = (os.getresuid(), os.getresgid(), bool(effective), bool(permitted))
            found.append((-ctypes.get_errno() if value < 0 else value, *state))
        with open(writer, "wb") as file:
            pickle.dump(found, file)
    finally:
        os._exit(0)


_NUMBER = st.sampled_from([0, 1, 2, KEEP])
_CHANGES = st.one_of(
    st.tuples(st.sampled_from(["setuid", "setgid", "setfsuid", "setfsgid"]), _NUMBER),
    st.tuples(st.sampled_from(["setreuid", "setregid"]), _NUMBER, _NUMBER),
    st.tuples(st.sampled_from(["setresuid", "setresgid"]), _NUMBER, _NUMBER, _NUMBER),
    st.tuples(st.just("prctl"), st.just(SET_KEEPCAPS), st.sampled_from([0, 1, 2])),
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it natively")
@settings(max_examples=40, deadline=None)
@given(st.lists(_CHANGES, min_size=1, max_size=12))
def test_any_changes_of_ids_come_to_what_they_come_to_natively(tmp_path_factory, calls):
    with Guest(tmp_path_factory.mktemp("any")) as call:
        found = []
        for name, *args in calls:
            value = call(name, *args)
            effective, permitted, _ = sets(call)
            found.append((value, ids(call, "getresuid"), ids(call, "getresgid"), bool(effective), bool(permitted)))
    assert found == native(calls)


# -- the rest of prctl ------------------------------------------------------------------------------


def test_no_new_privs_is_set_once_and_for_all(call):
    assert call("prctl", GET_NO_NEW_PRIVS) == 0
    assert call("prctl", SET_NO_NEW_PRIVS, 0) == -errno.EINVAL
    assert call("prctl", SET_NO_NEW_PRIVS, 1, 1) == -errno.EINVAL
    assert call("prctl", SET_NO_NEW_PRIVS, 1) == 0
    assert call("prctl", GET_NO_NEW_PRIVS) == 1


def test_dumpable_is_remembered(call):
    assert call("prctl", GET_DUMPABLE) == 1
    assert call("prctl", SET_DUMPABLE, 0) == 0
    assert call("prctl", GET_DUMPABLE) == 0
    assert call("prctl", SET_DUMPABLE, 2) == -errno.EINVAL


def test_a_name_is_cut_at_15_bytes(call):
    assert call("prctl", SET_NAME, b"a-name-that-is-too-long") == 0
    out = Out(16)
    assert call("prctl", GET_NAME, out) == 0
    assert out.guest == b"a-name-that-is-\0"


def test_a_name_nobody_set_is_the_kernels(call):
    out = Out(16)
    assert call("prctl", GET_NAME, out) == 0
    with open("/proc/self/comm", "rb") as file:
        assert out.guest.rstrip(b"\0") == file.read().rstrip(b"\n")


def test_a_name_at_a_bad_address_is_efault(call):
    assert call("prctl", SET_NAME, BAD) == -errno.EFAULT
    assert call("prctl", GET_NAME, BAD) == -errno.EFAULT


@pytest.mark.parametrize("option", [0, 5, 35, 59, 9999, -1])
def test_what_prctl_does_not_know_is_einval(call, option):
    assert call("prctl", option, 0) == -errno.EINVAL


@pytest.mark.parametrize("option", [21, 27], ids=["seccomp", "securebits"])
def test_what_a_guest_never_has_is_0(call, option):
    assert call("prctl", option) == 0


# -- names of the machine ---------------------------------------------------------------------------


def uname(guest: Guest) -> list[bytes]:
    out = Out(390)
    assert guest("uname", out) == 0
    return [out.guest[i : i + 65].rstrip(b"\0") for i in range(0, 390, 65)]


def test_uname_tells_the_hosts_release_and_the_sandboxs_name(call):
    names = uname(call)
    assert names[0] == b"Linux"
    assert names[1] == b"int80"
    assert names[2].decode() == os.uname().release
    assert names[4] == b"x86_64"


def test_names_are_set_and_told(call):
    assert call("sethostname", b"box", 3) == 0
    assert call("setdomainname", b"example", 7) == 0
    assert uname(call)[1] == b"box"
    assert uname(call)[5] == b"example"


def test_names_fail_as_in_the_manual(call):
    for name in ("sethostname", "setdomainname"):
        assert call(name, b"x" * 65, 65) == -errno.EINVAL
        assert call(name, b"x", -1) == -errno.EINVAL
        assert call(name, BAD, 3) == -errno.EFAULT
    assert call("uname", BAD) == -errno.EFAULT
    assert call("uname", Out(100)) == -errno.EFAULT


def test_the_name_of_the_machine_is_roots_to_give(user):
    assert user("sethostname", b"x", 1) == -errno.EPERM
    assert user("setdomainname", b"x", 1) == -errno.EPERM


def test_only_an_administrator_reboots_and_only_with_the_magic_numbers(call, user):
    assert user("reboot", 0xFEE1DEAD, 672274793, 0x01234567) == -errno.EPERM
    assert call("reboot", 0xFEE1DEAD, 1, 0x01234567) == -errno.EINVAL
    assert call("reboot", 1, 672274793, 0x01234567) == -errno.EINVAL
    assert call("reboot", 0xFEE1DEAD, 672274793, 0x89ABCDEF) == -errno.EINVAL  # Ctrl-Alt-Del is the host's
