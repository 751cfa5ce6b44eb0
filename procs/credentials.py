"""The ids and capabilities a guest process believes it has.

They are the sandbox's own: the kernel's credentials of every task are those of the user who ran int80,
with no capability at all.  The rules are those of setuid(2), setresuid(2), capset(2), capabilities(7).
"""

from __future__ import annotations

import errno

from vfs.kernel import error

CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
CAP_LAST = 40
ALL_CAPABILITIES = (1 << (CAP_LAST + 1)) - 1
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE
_FILE_CAPABILITIES = sum(1 << bit for bit in (0, 1, 2, 3, 4, 9, 27, 32))
KEEP = 0xFFFFFFFF  # the id -1: leave as it is


class Credentials:
    """Real, effective, saved and file-system ids, supplementary groups, capability sets."""

    __slots__ = (
        "ambient", "bounding", "effective", "egid", "euid", "fsgid", "fsuid", "gid", "groups",
        "inheritable", "keep_caps", "permitted", "sgid", "suid", "uid",
    )  # fmt: skip

    def __init__(self, uid: int = 0, gid: int = 0, groups: tuple[int, ...] = ()) -> None:
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups = groups
        self.permitted = self.effective = ALL_CAPABILITIES if uid == 0 else 0
        self.inheritable = self.ambient = 0
        self.bounding = ALL_CAPABILITIES
        self.keep_caps = False

    def copy(self) -> Credentials:
        new = Credentials.__new__(Credentials)
        for name in Credentials.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def capable(self, capability: int) -> bool:
        return bool(self.effective >> capability & 1)

    # -- users --------------------------------------------------------------------------------

    def set_uids(self, real: int, effective: int, saved: int) -> None:
        """setresuid(2); `KEEP` leaves one alone.  EPERM."""
        own = (self.uid, self.euid, self.suid)
        same = effective == KEEP or effective == self.euid == self.fsuid
        if same and real in (KEEP, self.uid) and saved in (KEEP, self.suid):
            return  # nothing changes, not even the file-system id
        if not self.capable(CAP_SETUID):
            for wanted in (real, effective, saved):
                if wanted != KEEP and wanted not in own:
                    raise error(errno.EPERM)
        self.uid = self.uid if real == KEEP else real
        self.euid = self.euid if effective == KEEP else effective
        self.suid = self.suid if saved == KEEP else saved
        self.fsuid = self.euid
        self._follow_root(own)

    def setuid(self, uid: int) -> None:
        """setuid(2).  EPERM."""
        if self.capable(CAP_SETUID):
            self.set_uids(uid, uid, uid)
        elif uid in (self.uid, self.suid):
            self.set_uids(KEEP, uid, KEEP)
        else:
            raise error(errno.EPERM)

    def setreuid(self, real: int, effective: int) -> None:
        """setreuid(2): the saved id follows when the real one is set or leaves the old real one."""
        if not self.capable(CAP_SETUID):
            if real not in (KEEP, self.uid, self.euid):
                raise error(errno.EPERM)
            if effective not in (KEEP, self.uid, self.euid, self.suid):
                raise error(errno.EPERM)
        own = (self.uid, self.euid, self.suid)
        old_real = self.uid
        self.uid = old_real if real == KEEP else real
        self.euid = self.euid if effective == KEEP else effective
        if real != KEEP or (effective != KEEP and effective != old_real):
            self.suid = self.euid
        self.fsuid = self.euid
        self._follow_root(own)

    def setfsuid(self, uid: int) -> int:
        """setfsuid(2): the former id, whether or not it changed."""
        former = self.fsuid
        if uid != KEEP and (uid in (self.uid, self.euid, self.suid, self.fsuid) or self.capable(CAP_SETUID)):
            self.fsuid = uid
            if former == 0 != uid:
                self.effective &= ~_FILE_CAPABILITIES
            elif uid == 0 != former:
                self.effective |= self.permitted & _FILE_CAPABILITIES
        return former

    def _follow_root(self, before: tuple[int, int, int]) -> None:
        """What capabilities(7) says of the sets when ids change from or to 0."""
        had_root = 0 in before
        if had_root and 0 not in (self.uid, self.euid, self.suid):
            if not self.keep_caps:
                self.permitted = 0
            self.effective = self.ambient = 0
        if before[1] == 0 and self.euid != 0:
            self.effective = 0
        elif before[1] != 0 and self.euid == 0:
            self.effective = self.permitted

    # -- groups -------------------------------------------------------------------------------

    def set_gids(self, real: int, effective: int, saved: int) -> None:
        """setresgid(2).  EPERM."""
        same = effective == KEEP or effective == self.egid == self.fsgid
        if same and real in (KEEP, self.gid) and saved in (KEEP, self.sgid):
            return
        if not self.capable(CAP_SETGID):
            for wanted in (real, effective, saved):
                if wanted != KEEP and wanted not in (self.gid, self.egid, self.sgid):
                    raise error(errno.EPERM)
        self.gid = self.gid if real == KEEP else real
        self.egid = self.egid if effective == KEEP else effective
        self.sgid = self.sgid if saved == KEEP else saved
        self.fsgid = self.egid

    def setgid(self, gid: int) -> None:
        """setgid(2).  EPERM."""
        if self.capable(CAP_SETGID):
            self.set_gids(gid, gid, gid)
        elif gid in (self.gid, self.sgid):
            self.set_gids(KEEP, gid, KEEP)
        else:
            raise error(errno.EPERM)

    def setregid(self, real: int, effective: int) -> None:
        """setregid(2).  EPERM."""
        if not self.capable(CAP_SETGID):
            if real not in (KEEP, self.gid, self.egid):
                raise error(errno.EPERM)
            if effective not in (KEEP, self.gid, self.egid, self.sgid):
                raise error(errno.EPERM)
        old_real = self.gid
        self.gid = old_real if real == KEEP else real
        self.egid = self.egid if effective == KEEP else effective
        if real != KEEP or (effective != KEEP and effective != old_real):
            self.sgid = self.egid
        self.fsgid = self.egid

    def setfsgid(self, gid: int) -> int:
        """setfsgid(2): the former id."""
        former = self.fsgid
        if gid != KEEP and (gid in (self.gid, self.egid, self.sgid, self.fsgid) or self.capable(CAP_SETGID)):
            self.fsgid = gid
        return former

    def setgroups(self, groups: tuple[int, ...]) -> None:
        """setgroups(2).  EPERM."""
        if not self.capable(CAP_SETGID):
            raise error(errno.EPERM)
        self.groups = groups

    # -- capabilities -------------------------------------------------------------------------

    def capset(self, effective: int, permitted: int, inheritable: int) -> None:
        """capset(2).  EPERM."""
        if permitted & ~self.permitted or effective & ~permitted:
            raise error(errno.EPERM)
        if inheritable & ~(self.inheritable | self.permitted) and not self.capable(CAP_SETPCAP):
            raise error(errno.EPERM)
        if inheritable & ~(self.inheritable | self.bounding):
            raise error(errno.EPERM)
        self.effective, self.permitted, self.inheritable = effective, permitted, inheritable
        self.ambient &= permitted & inheritable

    def on_exec(self) -> None:
        """The sets after execve(2) of a program without set-id bits or file capabilities."""
        self.keep_caps = False
        self.suid, self.sgid = self.euid, self.egid
        self.fsuid, self.fsgid = self.euid, self.egid
        root = 0 in (self.uid, self.euid)
        self.permitted = (self.inheritable | self.bounding) if root else self.ambient
        self.effective = self.permitted if self.euid == 0 else self.ambient
