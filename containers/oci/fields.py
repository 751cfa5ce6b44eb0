"""Which properties of config.json int80 keeps: the table of docs/oci.md.

``python -m containers.oci.fields`` writes it.
"""

from __future__ import annotations

import types
import typing

import msgspec

from containers.oci.config import Config, Part

#: What becomes of a property: kept as specified; kept in part, as the note says; warned of, and the container starts without;
#: refused, and it does not; of no account, since nothing hangs on it here.
KEPT, PARTLY, WARNED, REFUSED, NOTHING = "kept", "in part", "warned of", "refused", "of no account"

#: By the property's path; what is not here is as the property around it.
FIELDS: dict[str, tuple[str, str]] = {
    "ociVersion": (KEPT, "1.x; another is refused"),
    "process": (KEPT, ""),
    "process.cwd": (KEPT, "made where it is missing, as runc does"),
    "process.terminal": (KEPT, "a pseudo-terminal of the sandbox's own; `/dev/console` is it"),
    "process.env": (KEPT, "`HOME`, where it is missing, is what the root's `/etc/passwd` says"),
    "process.user.additionalGids": (KEPT, ""),
    "process.capabilities": (PARTLY, "what the sandbox judges follows the five sets; on the host a guest never has any"),
    "process.rlimits": (
        PARTLY,
        "as far as the host lets the user, else the start fails; `RLIMIT_CORE` is always 0, as a core would lie on the host",
    ),
    "process.noNewPrivileges": (KEPT, "set-id bits and file capabilities of programs do not count; on the host it always holds"),
    "process.apparmorProfile": (REFUSED, "unless it is `unconfined`"),
    "process.selinuxLabel": (REFUSED, ""),
    "process.oomScoreAdj": (PARTLY, "a user who may not lower it is warned"),
    "process.scheduler": (PARTLY, "as far as the host lets the user, else the start fails"),
    "process.ioPriority": (PARTLY, "as far as the host lets the user, else the start fails"),
    "process.execCPUAffinity": (NOTHING, "is for a command beside the first one"),
    "root": (KEPT, ""),
    "hostname": (KEPT, "the host's where it is missing"),
    "domainname": (KEPT, "the host's where it is missing"),
    "mounts": (PARTLY, "bind, tmpfs, proc, sysfs, devpts, mqueue, cgroup and cgroup2; another type is refused"),
    "mounts.destination": (KEPT, "made where it is missing; symlinks stay inside the root"),
    "mounts.source": (
        PARTLY,
        "from the bundle on; a bind takes what is mounted below along; `/proc` and `/sys` of the host are the sandbox's own; a "
        "device of the host is refused; nobody connects to a socket of the host's",
    ),
    "mounts.options": (
        PARTLY,
        "`ro`, `nosuid`, `nodev`, `noexec` (execve is EACCES; mapping is not seen), a tmpfs's `size`, "
        "`nr_blocks`, `mode`, `uid`, `gid`, `tmpcopyup`; times are the host's; propagation, `sync`, `idmap` and the like are "
        "warned of",
    ),
    "mounts.uidMappings": (WARNED, "owners are what the guest gave, kept beside the files"),
    "mounts.gidMappings": (WARNED, ""),
    "hooks": (KEPT, "in every phase, by the commands that begin and end a container"),
    "annotations": (KEPT, "shown in the state"),
    "linux": (KEPT, ""),
    "linux.namespaces": (
        PARTLY,
        "a sandbox has its own of every kind, asked for or not, but for the network: without a namespace of its own it is the "
        "host's, with a path that one (which takes the right to join it); one of the kernel's is made, where int80 may, if there "
        "are hooks that could fill it",
    ),
    "linux.namespaces.path": (PARTLY, "network: joined; mount: refused; others are warned of; no such namespace: refused"),
    "linux.uidMappings": (NOTHING, "ids inside are the sandbox's own and need no mapping"),
    "linux.gidMappings": (NOTHING, ""),
    "linux.devices": (PARTLY, "null, zero, full, random, urandom and tty, under any name, and FIFOs; every other is refused"),
    "linux.netDevices": (WARNED, ""),
    "linux.cgroupsPath": (
        PARTLY,
        "a group of version 2 is made where there is that tree, this user may write there, and the path is no service manager's "
        "(`slice:prefix:name`); else there is none, and the supervisor keeps what it can",
    ),
    "linux.resources": (PARTLY, "by that group, else by the supervisor, as follows"),
    "linux.resources.unified": (WARNED, "without a group"),
    "linux.resources.devices": (NOTHING, "no device but those above can be had, whatever is allowed"),
    "linux.resources.memory": (WARNED, "without a group; `kernel`, `kernelTCP`, `swappiness`, `disableOOMKiller` also with one"),
    "linux.resources.memory.limit": (
        PARTLY,
        "looked at ten times a second, what is shared counted once; the largest guest is killed; files of a tmpfs do not count",
    ),
    "linux.resources.memory.useHierarchy": (NOTHING, ""),
    "linux.resources.memory.checkBeforeUpdate": (NOTHING, ""),
    "linux.resources.cpu": (WARNED, "without a group; `realtimeRuntime` and `realtimePeriod` also with one"),
    "linux.resources.cpu.shares": (PARTLY, "fewer than 1024 are a nice value; more are warned of"),
    "linux.resources.cpu.quota": (PARTLY, "the guests stand still for the rest of a period, looked at a hundred times a second"),
    "linux.resources.cpu.period": (PARTLY, "one below some 20 ms is kept over several"),
    "linux.resources.cpu.cpus": (PARTLY, "where it starts; a guest may choose others, as sched_setaffinity(2) lets it"),
    "linux.resources.pids": (KEPT, ""),
    "linux.resources.blockIO": (WARNED, ""),
    "linux.resources.hugepageLimits": (WARNED, "without a group"),
    "linux.resources.network": (WARNED, ""),
    "linux.resources.rdma": (WARNED, ""),
    "linux.rootfsPropagation": (PARTLY, "nothing is ever passed on: shared and slave are warned of"),
    "linux.seccomp": (KEPT, "the kernel asks it before the sandbox's own filter, for both gates"),
    "linux.seccomp.architectures": (NOTHING, "guests make x86-64's calls only; others are ENOSYS"),
    "linux.seccomp.flags": (NOTHING, ""),
    "linux.seccomp.listenerPath": (REFUSED, "with `SCMP_ACT_NOTIFY`: nobody but int80 is told of a guest's calls"),
    "linux.seccomp.listenerMetadata": (REFUSED, ""),
    "linux.seccomp.syscalls.action": (PARTLY, "`SCMP_ACT_NOTIFY` is refused; `SCMP_ACT_TRACE` is ENOSYS, as where nobody traces"),
    "linux.sysctl": (
        PARTLY,
        "`kernel.hostname` and `kernel.domainname` are kept, and those of a network namespace that is joined or made; the others "
        "are what /proc/sys shows, no more",
    ),
    "linux.maskedPaths": (KEPT, ""),
    "linux.readonlyPaths": (KEPT, ""),
    "linux.mountLabel": (WARNED, ""),
    "linux.personality": (KEPT, ""),
    "linux.personality.flags": (NOTHING, "the specification has none yet"),
    "linux.intelRdt": (WARNED, ""),
    "linux.timeOffsets": (WARNED, ""),
}


def properties(kind: type = Config, path: str = "") -> list[str]:
    """The path of every property that config.json may have, those of lists and mappings without their index."""
    found = []
    for field in msgspec.structs.fields(kind):
        here = f"{path}.{field.encode_name}" if path else field.encode_name
        found.append(here)
        for inner in _parts(field.type):
            found += properties(inner, here)
    return found


def _parts(kind) -> list[type]:
    if isinstance(kind, type) and issubclass(kind, Part):
        return [kind]
    if typing.get_origin(kind) in (list, dict, types.UnionType, typing.Union):
        return [part for argument in typing.get_args(kind) for part in _parts(argument)]
    return []


def fate(path: str) -> tuple[str, str]:
    """What becomes of a property, and what is to be said of it."""
    if path in FIELDS:
        return FIELDS[path]
    return fate(path.rpartition(".")[0])[0], ""


def table() -> str:
    """The properties that have a word of their own, as Markdown."""
    lines = ["| property | is | how |", "|---|---|---|"]
    lines += [f"| `{path}` | {what} | {note} |" for path, (what, note) in FIELDS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
