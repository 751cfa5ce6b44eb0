"""The ids and capabilities a guest process believes it has.

They are the sandbox's own: the kernel's credentials of every task are those of the user who ran int80,
with no capability at all.  The rules are those of setuid(2), setresuid(2), capset(2), capabilities(7).
"""

from __future__ import annotations

import errno

from vfs.kernel import error

CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
CAP_SYS_PTRACE = 19
CAP_SYS_NICE = 23
CAP_SYS_RESOURCE = 24
CAP_LAST = 40
ALL_CAPABILITIES = (1 << (CAP_LAST + 1)) - 1
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE
_FILE_CAPABILITIES = sum(1 << bit for bit in (0, 1, 2, 3, 4, 9, 27, 32))
KEEP = 0xFFFFFFFF  # the id -1: leave as it is
SECURE_NOROOT, SECURE_NO_SETUID_FIXUP, SECURE_KEEP_CAPS, SECURE_NO_CAP_AMBIENT_RAISE = 1, 4, 16, 64
_SECURE_LOCKS = 0xAA  # each the bit after the one that it locks


class Credentials:
    """Real, effective, saved and file-system ids, supplementary groups, capability sets."""

    __slots__ = (
        "ambient", "bounding", "domain", "effective", "egid", "euid", "fsgid", "fsuid", "gid", "groups",
        "inheritable", "permitted", "securebits", "sgid", "suid", "uid",
    )  # fmt: skip

    def __init__(self, uid: int = 0, gid: int = 0, groups: tuple[int, ...] = ()) -> None:
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups = groups
        self.permitted = self.effective = ALL_CAPABILITIES if uid == 0 else 0
        self.inheritable = self.ambient = 0
        self.bounding = ALL_CAPABILITIES
        self.securebits = 0
        self.domain = None  # vfs.landlock.Domain of a task that put itself under one

    def copy(self) -> Credentials:
        new = Credentials.__new__(Credentials)
        for name in Credentials.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def capable(self, capability: int) -> bool:
        return bool(self.effective >> capability & 1)

    @property
    def keep_caps(self) -> bool:
        return bool(self.securebits & SECURE_KEEP_CAPS)

    def as_real(self) -> Credentials:
        """Whom access(2) asks for: the real ids, and with them root's capabilities or none."""
        new = self.copy()
        new.fsuid, new.fsgid = self.uid, self.gid
        if not self.securebits & SECURE_NO_SETUID_FIXUP:
            new.effective = self.permitted if self.uid == 0 else 0
        return new

    # -- other processes ------------------------------------------------------------------------

    def may_signal(self, other: Credentials) -> bool:
        """Whether kill(2) may send a signal to a process of `other`."""
        return self.capable(CAP_KILL) or not {self.euid, self.uid}.isdisjoint((other.suid, other.uid))

    def may_trace(self, other: Credentials, dumpable: bool, real: bool) -> bool:
        """Whether ptrace(2)'s access check passes, for the real ids or for those that files are opened by."""
        if self.domain is not None and not self.domain.covers(other.domain):
            return False
        if self.capable(CAP_SYS_PTRACE):
            return True
        uid, gid = (self.uid, self.gid) if real else (self.fsuid, self.fsgid)
        same = {other.uid, other.euid, other.suid} == {uid} and {other.gid, other.egid, other.sgid} == {gid}
        caps = self.permitted if real else self.effective
        return dumpable and same and not other.permitted & ~caps

    def may_limit(self, other: Credentials) -> bool:
        """Whether prlimit(2) may look at the limits of a process of `other`, or change them."""
        same = {other.uid, other.euid, other.suid} == {self.uid} and {other.gid, other.egid, other.sgid} == {self.gid}
        return same or self.capable(CAP_SYS_RESOURCE)

    def may_schedule(self, other: Credentials) -> bool:
        """Whether the priority of a process of `other` may be set; sched_setscheduler(2)."""
        return self.euid in (other.uid, other.euid) or self.capable(CAP_SYS_NICE)

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
            if self.securebits & SECURE_NO_SETUID_FIXUP:
                return former
            if former == 0 != uid:
                self.effective &= ~_FILE_CAPABILITIES
            elif uid == 0 != former:
                self.effective |= self.permitted & _FILE_CAPABILITIES
        return former

    def _follow_root(self, before: tuple[int, int, int]) -> None:
        """What capabilities(7) says of the sets when ids change from or to 0."""
        if self.securebits & SECURE_NO_SETUID_FIXUP:
            return
        had_root = 0 in before
        if had_root and 0 not in (self.uid, self.euid, self.suid):
            if not self.keep_caps:
                self.permitted = self.effective = 0
            self.ambient = 0
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
        self.groups = tuple(sorted(groups))

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

    def set_securebits(self, bits: int) -> None:
        """PR_SET_SECUREBITS of prctl(2).  EPERM."""
        before = self.securebits
        if bits & ~0xFF or (before >> 1 & 0x55) & (before ^ bits) or before & _SECURE_LOCKS & ~bits:
            raise error(errno.EPERM)
        if not self.capable(CAP_SETPCAP):
            raise error(errno.EPERM)
        self.securebits = bits

    def on_exec(
        self,
        owner: int | None = None,
        group: int | None = None,
        file: FileCapabilities | None = None,
        no_new_privs: bool = False,
    ) -> bool:
        """The ids and sets after execve(2); whether the program is to be careful (AT_SECURE).

        `owner` and `group` are those of a program with a set-id bit, `file` the capabilities it has.  EPERM is not had
        here: a file's capabilities that the bounding set lacks are `FileCapabilities.check`'s.
        """
        before = self.permitted
        groups = (self.fsgid, *self.groups)
        changed = owner not in (None, self.euid) or not (group is None or group in groups)
        self.euid = self.euid if owner is None else owner
        self.egid = self.egid if group is None else group
        permitted, effective = 0, False
        if file is not None:
            permitted = (file.permitted & self.bounding) | (file.inheritable & self.inheritable)
            effective = file.effective
        if not self.securebits & SECURE_NOROOT and not (file is not None and self.uid and self.euid == 0):
            if 0 in (self.uid, self.euid):
                permitted = self.inheritable | self.bounding
            effective = effective or self.euid == 0
        if no_new_privs and (changed or permitted & ~before):
            self.euid, self.egid = self.uid, self.gid
            permitted &= before
        if file is not None or changed:
            self.ambient = 0
        self.permitted = permitted | self.ambient
        self.effective = self.permitted if effective else self.ambient
        self.suid, self.sgid = self.euid, self.egid
        self.fsuid, self.fsgid = self.euid, self.egid
        self.securebits &= ~SECURE_KEEP_CAPS
        ids_differ = self.euid != self.uid or self.egid != self.gid
        return changed or ids_differ or (self.uid != 0 and (effective or bool(self.permitted & ~self.ambient)))

    def dumpable_after(self, before: Credentials) -> bool:
        """Whether a process that had the ids and sets of `before` when it called execve(2) may be dumped; prctl(2)."""
        ids = [(each.euid, each.egid, each.fsuid, each.fsgid) for each in (before, self)]
        same = before.euid == before.uid and before.egid == before.gid
        return same and ids[0] == ids[1] and not self.permitted & ~before.permitted


class FileCapabilities:
    """What the attribute ``security.capability`` of a program gives; capabilities(7)."""

    __slots__ = ("effective", "inheritable", "permitted")

    def __init__(self, permitted: int, inheritable: int, effective: bool) -> None:
        self.permitted = permitted
        self.inheritable = inheritable
        self.effective = effective

    @staticmethod
    def is_whole(data: bytes) -> bool:
        """Whether ``struct vfs_cap_data`` is one that the kernel takes from setxattr(2): of version 2 or 3."""
        return {20: 2 << 24, 24: 3 << 24}.get(len(data)) == int.from_bytes(data[:4], "little") & ~1

    @classmethod
    def parse(cls, data: bytes) -> FileCapabilities | None:
        """From ``struct vfs_cap_data``; None for one that says nothing to this kernel."""
        words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        revision = words[0] >> 24 if words else 0
        size = {1: 3, 2: 5, 3: 6}.get(revision)
        if size is None or len(data) != 4 * size or (revision == 3 and words[5]):
            return None  # of another user namespace's root
        if revision == 1:
            words += [0, 0]
        permitted, inheritable = (words[1 + index] | words[3 + index] << 32 for index in (0, 1))
        return cls(permitted & ALL_CAPABILITIES, inheritable & ALL_CAPABILITIES, bool(words[0] & 1))

    def check(self, bounding: int, inheritable: int) -> None:
        """EPERM where a program that counts on capabilities (effective) would not get them all."""
        if self.effective and self.permitted & ~(self.permitted & bounding | self.inheritable & inheritable):
            raise error(errno.EPERM)
