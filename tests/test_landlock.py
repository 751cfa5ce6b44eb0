"""landlock(7) where a guest plays with what its ruleset is kept in; what it comes to otherwise, test_transcripts compares."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from fakes import AT_FDCWD, Guest

READ_FILE, READ_DIR = 4, 8


@pytest.fixture
def call(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with Guest(tmp_path) as guest:
        yield guest


def create(call, handled: int = READ_FILE | READ_DIR) -> int:
    return call("landlock_create_ruleset", bytearray(struct.pack("<Q", handled)), 8, 0)


def allow(call, ruleset: int, path: bytes, uses: int) -> int:
    parent = call("open", path, os.O_RDONLY)
    return call("landlock_add_rule", ruleset, 1, bytearray(struct.pack("<Qi", uses, parent)), 0)


def test_what_is_handled_and_not_granted_is_denied_also_to_root(call):
    ruleset = create(call)
    assert allow(call, ruleset, b"/file", READ_FILE) == 0
    assert call("landlock_restrict_self", ruleset, 0) == 0
    assert call("open", b"/file", os.O_RDONLY) >= 0
    assert call("open", b"/", os.O_RDONLY) == -errno.EACCES
    assert call("openat", AT_FDCWD, b"/new", os.O_WRONLY | os.O_CREAT, 0o600) >= 0


def test_a_child_is_under_it_and_whoever_was_there_is_not(call):
    before = call.process.credentials.copy()
    call("landlock_restrict_self", create(call), 0)
    assert call.process.credentials.copy().domain is not None
    assert before.domain is None


@pytest.mark.parametrize("size", [0, 7, 8, 20, 40])
def test_a_ruleset_that_was_cut_or_filled_by_hand_is_one_or_none(call, size):
    ruleset = create(call)
    allow(call, ruleset, b"/file", READ_FILE)
    os.ftruncate(call.files.table[ruleset], size)
    result = call("landlock_restrict_self", ruleset, 0)
    assert result == (0 if size >= 8 else -errno.EBADFD)
    assert allow(call, ruleset, b"/file", READ_FILE) in (0, -errno.EACCES, -errno.EBADF, -errno.EBADFD)


def test_rules_have_an_end(call):
    ruleset = create(call)
    os.ftruncate(call.files.table[ruleset], 1 << 30)
    assert allow(call, ruleset, b"/file", READ_FILE) == -errno.E2BIG
    assert call("landlock_restrict_self", ruleset, 0) == 0


def test_without_the_right_to_it_one_promises_first_to_gain_none(call):
    ruleset = create(call)
    call("setuid", 1000)
    assert call("landlock_restrict_self", ruleset, 0) == -errno.EPERM
    call("prctl", 38, 1, 0, 0, 0)
    assert call("landlock_restrict_self", ruleset, 0) == 0
