"""Whose a new object is, and how a caller's rights over names are asked for."""

from __future__ import annotations

from abi.dispatch import Call
from abi.status import owner
from vfs.namespace import Location

_IFMT, _IFDIR, _ISGID, _SET_ID, _IXGRP = 0o170000, 0o040000, 0o2000, 0o6000, 0o010


def check_add(call: Call, directory: Location) -> None:
    """EACCES unless the caller may make names in a directory."""
    rights = call.rights
    if rights is not None:
        rights.check_add(directory)


def confine(call: Call, path: tuple[bytes, ...], uses: int) -> None:
    """EACCES where the caller put itself under a landlock(7) domain that does not let it use an object so."""
    if call.credentials.domain is not None:
        call.credentials.domain.check(call.sandbox.namespace, path, uses)


def mode_for(call: Call, directory: Location, mode: int) -> int:
    """The mode of a new file: without a set-gid bit for a directory's group that its maker is not in."""
    rights = call.rights
    if rights is None or mode & (_ISGID | _IXGRP) != _ISGID | _IXGRP or rights.effective & 1 << 4:
        return mode
    around = directory.fs.stat(directory.node)
    if around.st_mode & _ISGID and not rights.in_group(rights.owner(around)[1]):
        mode &= ~_ISGID
    return mode


def give(call: Call, directory: Location, name: bytes) -> None:
    """Make a new object its maker's: of its user, and of its group or that of a set-gid directory.

    No other guest has seen it yet: names are ours to answer, one call after the other.
    """
    rights = call.rights
    around = directory.fs.stat(directory.node)
    if rights is None and not around.st_mode & _ISGID:
        return
    fs = directory.fs
    _own(call, directory, fs, fs.lookup(directory.node, name), rights, around)


def give_node(call: Call, directory: Location, found: Location) -> None:
    """As `give`, for an object without a name."""
    rights = call.rights
    around = directory.fs.stat(directory.node)
    if rights is not None or around.st_mode & _ISGID:
        _own(call, directory, found.fs, found.node, rights, around)


def _own(call: Call, directory: Location, fs, node, rights, around) -> None:
    uid, gid = (rights.fsuid, rights.fsgid) if rights is not None else (0, 0)
    if around.st_mode & _ISGID:
        gid = owner(call.sandbox, around)[1]
    status = fs.stat(node)
    if owner(call.sandbox, status) == (uid, gid):
        return
    mode = status.st_mode
    fs.chown(node, uid, gid)
    if mode & _SET_ID and mode & _IFMT != _IFDIR:
        node.refresh()
        fs.chmod(node, mode & 0o7777)
