"""What a guest that is not its root may do with files, by the owners and modes that the guest sees.

The host's kernel judges the supervisor, whose rights have nothing to do with those of a guest's user: so whoever is not
all-powerful inside is judged here, name by name.  For a guest that may do everything no `Rights` are made at all, and its
paths are followed in one step as ever.  capabilities(7), path_resolution(7).
"""

from __future__ import annotations

import errno
import os

from vfs.kernel import error

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 4
#: The capabilities of one whose calls need not be judged.
EVERYTHING = CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID
READ, WRITE, EXECUTE = 4, 2, 1

_IFMT, _IFDIR, _IFREG, _IFLNK = 0o170000, 0o040000, 0o100000, 0o120000
_ISUID, _ISGID, _ISVTX, _IXGRP = 0o4000, 0o2000, 0o1000, 0o010


def protected_hardlinks() -> bool:
    """Whether one links only what one owns or may write; proc_sys_fs(5)."""
    try:
        with open("/proc/sys/fs/protected_hardlinks", "rb") as file:
            return file.read(1) != b"0"
    except OSError:
        return True


class Rights:
    """The ids and capabilities that a call on files is judged by; `host_uid`, `host_gid` are root's on the host."""

    __slots__ = ("effective", "fsgid", "fsuid", "groups", "host_gid", "host_uid")
    confined = False  # whether there is more to judge a name by than owners and modes

    def __init__(self, credentials, host_uid: int, host_gid: int) -> None:
        self.fsuid: int = credentials.fsuid
        self.fsgid: int = credentials.fsgid
        self.groups: tuple[int, ...] = credentials.groups
        self.effective: int = credentials.effective
        self.host_uid = host_uid
        self.host_gid = host_gid

    def owner(self, status) -> tuple[int, int]:
        """Uid and gid of a status as the guest sees them."""
        uid, gid = status.st_uid, status.st_gid
        if type(status) is not os.stat_result:
            return uid, gid
        return 0 if uid == self.host_uid else uid, 0 if gid == self.host_gid else gid

    def in_group(self, gid: int) -> bool:
        return gid == self.fsgid or gid in self.groups

    def allow(self, status, want: int) -> bool:
        """Whether an object may be read, written, executed or searched, as `want` says."""
        return self._allow(status.st_mode, *self.owner(status), want)

    def allow_host(self, data: bytes, want: int) -> bool:
        """The same by the ``struct stat`` of a host file that shows its own owner and mode."""
        mode = data[24] | data[25] << 8
        if want & ~(mode >> 6 & mode >> 3 & mode) & 7 == 0:
            return True  # everybody may
        uid, gid = int.from_bytes(data[28:32], "little"), int.from_bytes(data[32:36], "little")
        return self._allow(mode, 0 if uid == self.host_uid else uid, 0 if gid == self.host_gid else gid, want)

    def _allow(self, mode: int, uid: int, gid: int, want: int) -> bool:
        if uid == self.fsuid:
            granted = mode >> 6
        elif self.in_group(gid):
            granted = mode >> 3
        else:
            granted = mode
        if want & ~granted & 7 == 0:
            return True
        if mode & _IFMT == _IFDIR:
            return bool(self.effective & DAC_OVERRIDE or (not want & WRITE and self.effective & DAC_READ_SEARCH))
        if want == READ and self.effective & DAC_READ_SEARCH:
            return True
        return bool(self.effective & DAC_OVERRIDE and (not want & EXECUTE or mode & 0o111))

    def check(self, where, want: int) -> None:
        """EACCES unless the object at a location may be used so."""
        where.node.refresh()
        if not self.allow(where.fs.stat(where.node), want):
            raise error(errno.EACCES)

    def search(self, where) -> None:
        """ENOTDIR or EACCES unless names may be looked up in a directory."""
        if not where.node.is_dir:
            raise error(errno.ENOTDIR)
        if not self.effective & (DAC_OVERRIDE | DAC_READ_SEARCH):
            self.check(where, EXECUTE)

    def check_run(self, where) -> None:
        """EACCES unless a program may be executed."""
        self.check(where, EXECUTE)

    def check_add(self, directory) -> None:
        """EACCES unless names may be made in a directory."""
        self.check(directory, WRITE | EXECUTE)

    def check_remove(self, directory, status) -> None:
        """EACCES, EPERM unless an object's name may be taken out of a directory, which may be sticky."""
        self.check_add(directory)
        around = directory.fs.stat(directory.node)
        if around.st_mode & _ISVTX and self.fsuid not in (self.owner(status)[0], self.owner(around)[0]):
            self._need(FOWNER)

    def _need(self, capability: int) -> None:
        if not self.effective & capability:
            raise error(errno.EPERM)

    def is_owner(self, status) -> bool:
        """Whether mode and times are this user's to change."""
        return bool(self.owner(status)[0] == self.fsuid or self.effective & FOWNER)

    def check_owner(self, status) -> None:
        """EPERM unless mode and times are this user's to change."""
        if not self.is_owner(status):
            raise error(errno.EPERM)

    def check_open(self, where, flags: int) -> None:
        """EACCES, and EPERM for O_NOATIME, where open(2) has them."""
        if flags & os.O_PATH or where.node.is_symlink:
            return
        want = (READ, WRITE, READ | WRITE, READ | WRITE)[flags & os.O_ACCMODE]
        if flags & os.O_TRUNC:
            want |= WRITE
        self.check(where, want)
        if flags & os.O_NOATIME:
            self.check_owner(where.fs.stat(where.node))

    def check_times(self, where, now: bool) -> None:
        """EACCES, EPERM: who may write may set the times to now, to others only the owner."""
        status = where.fs.stat(where.node)
        if self.is_owner(status):
            return
        if not now:
            raise error(errno.EPERM)
        self.check(where, WRITE)

    def mode_given_away(self, status, uid: int | None, gid: int | None) -> int:
        """The mode of a file after an owner or a group (None: the one there is) was given to it.  EPERM; chown(2)."""
        owner, group = self.owner(status)
        if not self.effective & CHOWN:
            mine = owner == self.fsuid
            if (uid is not None and not (mine and uid == owner)) or (
                gid is not None and not (mine and (gid == group or self.in_group(gid)))
            ):
                raise error(errno.EPERM)
        mode = status.st_mode
        left = mode if mode & _IFMT == _IFDIR else self._without_set_id(mode, group)
        if left != mode:  # which is a change of mode as chmod(2) makes one
            self.check_owner(status)
            if not self._may_set_gid_bit(group if gid is None else gid):
                left &= ~_ISGID
        return left

    def mode_written(self, status) -> int:
        """The mode of a file that this user has written to.  write(2)."""
        if self.effective & FSETID:
            return status.st_mode
        return self._without_set_id(status.st_mode, self.owner(status)[1])

    def _without_set_id(self, mode: int, gid: int) -> int:
        """A set-gid bit without the group's execute bit says nothing of programs, and stays with the group's own."""
        if mode & _IXGRP or not self._may_set_gid_bit(gid):
            mode &= ~_ISGID
        return mode & ~_ISUID

    def _may_set_gid_bit(self, gid: int) -> bool:
        return bool(self.effective & FSETID or self.in_group(gid))

    def mode_kept(self, status, mode: int) -> int:
        """What is left of a mode that is set: no set-gid bit for a group the user is not in.  EPERM; chmod(2)."""
        self.check_owner(status)
        if not self._may_set_gid_bit(self.owner(status)[1]):
            mode &= ~_ISGID
        return mode

    def check_link(self, status) -> None:
        """EPERM where protected_hardlinks keeps a user from linking the file of another."""
        if self.is_owner(status) or not protected_hardlinks():
            return
        mode = status.st_mode
        program = mode & _ISUID or mode & (_ISGID | _IXGRP) == _ISGID | _IXGRP
        if mode & _IFMT != _IFREG or program or not self.allow(status, READ | WRITE):
            raise error(errno.EPERM)
