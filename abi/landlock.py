"""landlock(7): what a task forbids itself and its children to do with files.

The kernel's own rules would not hold the supervisor, which opens a guest's files; so the calls that take names ask here.
A ruleset is kept in the memory file that its descriptor is of: whoever writes there changes its own ruleset.
"""

from __future__ import annotations

import errno
import os
import struct

from abi.dispatch import OK, Call, InstallFile, Return, Support
from abi.errors import Kind, SysError
from abi.linux import linux
from vfs.kernel import error, self_path
from vfs.landlock import KNOWN, LAYERS_MAX, OF_FILES, VERSION, Domain, Layer
from vfs.namespace import Location, OpenFile

_NOTE = "version 2 of the interface: no rules for truncation, ports, devices and scopes"
_CREATE_VERSION, _PATH_BENEATH = 1, 1
_NAME = b"landlock-ruleset"
_HANDLED, _RULE = struct.Struct("<Q"), struct.Struct("<QQQ")  # then for each rule st_dev, st_ino and what is granted
_RULES_MAX = 1 << 14
_CAP_SYS_ADMIN = 21
_PAGE = 4096


@linux.answer(444, "landlock_create_ruleset", _NOTE, Support.PARTIAL)
def landlock_create_ruleset(call: Call):
    address, size, flags = call.args[0], call.args[1], call.args[2] & 0xFFFFFFFF
    if flags:
        if flags != _CREATE_VERSION or address or size:
            raise SysError(Kind.EINVAL)
        return Return(VERSION)
    if not address:
        raise SysError(Kind.EFAULT)
    if size < _HANDLED.size:
        raise SysError(Kind.EINVAL)
    if size > _PAGE:
        raise SysError(Kind.E2BIG)
    raw = call.memory.read(address, size)
    if any(raw[_HANDLED.size :]):
        raise SysError(Kind.E2BIG)  # kinds of uses that this version has not
    (handled,) = _HANDLED.unpack_from(raw)
    if handled & ~KNOWN:
        raise SysError(Kind.EINVAL)
    if not handled:
        raise SysError(Kind.ENOMSG)
    fd = os.memfd_create(os.fsdecode(_NAME), os.MFD_CLOEXEC)
    os.write(fd, _HANDLED.pack(handled))
    return InstallFile(fd, True)


def _ruleset(call: Call) -> tuple[OpenFile, int, bytes]:
    """The ruleset that the first argument is a descriptor of: its file, what it handles, its rules.  EBADF, EBADFD."""
    file = OpenFile(call.files.get(call.int(0)))
    if not os.readlink(self_path(file.fd)).startswith(b"/memfd:" + _NAME + b" "):
        raise error(errno.EBADFD)
    raw = os.pread(file.fd, _HANDLED.size + _RULES_MAX * _RULE.size, 0)
    if len(raw) < _HANDLED.size:
        raise error(errno.EBADFD)  # cut short by the guest
    rules = raw[_HANDLED.size :]
    return file, *_HANDLED.unpack_from(raw), rules[: len(rules) // _RULE.size * _RULE.size]


@linux.answer(445, "landlock_add_rule", _NOTE, Support.PARTIAL)
def landlock_add_rule(call: Call):
    if call.args[3] & 0xFFFFFFFF:
        raise SysError(Kind.EINVAL)
    ruleset, handled, rules = _ruleset(call)
    if call.int(1) != _PATH_BENEATH:
        raise SysError(Kind.EINVAL)
    allowed, parent = struct.unpack("<Qi", call.memory.read(call.args[2], 12))
    if not allowed:
        raise SysError(Kind.ENOMSG)
    if allowed & ~handled:
        raise SysError(Kind.EINVAL)
    file = OpenFile(call.files.get(parent))
    found = call.sandbox.namespace.reach(file)
    if not isinstance(found, Location):
        raise error(errno.EBADFD)  # a pipe, a ruleset: nothing is beneath it
    if allowed & ~OF_FILES and not found.node.is_dir:
        raise SysError(Kind.EINVAL)
    status = found.fs.stat(found.node)
    if len(rules) >= _RULES_MAX * _RULE.size:
        raise SysError(Kind.E2BIG)
    os.pwrite(ruleset.fd, _RULE.pack(status.st_dev, status.st_ino, allowed), _HANDLED.size + len(rules))
    return OK


@linux.answer(446, "landlock_restrict_self", _NOTE, Support.PARTIAL)
def landlock_restrict_self(call: Call):
    ids = call.credentials
    if not call.process.no_new_privs and not ids.capable(_CAP_SYS_ADMIN):
        raise SysError(Kind.EPERM)
    if call.args[1] & 0xFFFFFFFF:
        raise SysError(Kind.EINVAL)
    _, handled, rules = _ruleset(call)
    layers = ids.domain.layers if ids.domain is not None else ()
    if len(layers) >= LAYERS_MAX:
        raise SysError(Kind.E2BIG)
    granted: dict[tuple[int, int], int] = {}
    for dev, ino, allowed in _RULE.iter_unpack(rules):
        granted[dev, ino] = granted.get((dev, ino), 0) | allowed
    ids.domain = Domain((*layers, Layer(handled, granted)))
    return OK
