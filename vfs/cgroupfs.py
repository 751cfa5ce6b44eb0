"""/sys/fs/cgroup: the one control group a sandbox sees, with the limits it is held to, read-only.

The C library, Go, the JVM and others ask here how much memory and how many processors there are for them.  cgroups(7)
"""

from __future__ import annotations

from vfs.madeup import Entry, TableFs, Told, each

CGROUP2_SUPER_MAGIC = 0x63677270


def _limit(name: str) -> Told:
    return Told(lambda view: b"%s\n" % view.limit(name))


_TABLE: dict[bytes, Entry] = {
    b"cgroup.controllers": Told(b"cpu memory pids\n"),
    b"cgroup.events": Told(b"populated 1\nfrozen 0\n"),
    **each(b"cgroup.max.depth cgroup.max.descendants memory.high memory.swap.max", Told(b"max\n", 0o644)),
    **each(b"memory.low memory.min", Told(b"0\n", 0o644)),
    b"cgroup.procs": Told(lambda view: b"".join(b"%d\n" % pid for pid in view.pids()), 0o644),
    b"cgroup.stat": Told(b"nr_descendants 0\nnr_dying_descendants 0\n"),
    b"cgroup.subtree_control": Told(b"", 0o644),
    b"cgroup.type": Told(b"domain\n", 0o644),
    b"cpu.max": _limit("cpu.max"),
    b"cpu.weight": _limit("cpu.weight"),
    b"memory.current": Told(lambda view: b"%d\n" % view.resident()),
    b"memory.max": _limit("memory.max"),
    b"pids.current": Told(lambda view: b"%d\n" % view.population()),
    b"pids.max": _limit("pids.max"),
}


class CgroupFs(TableFs):
    """The tree at /sys/fs/cgroup; `view` (`abi.procview.ProcView`) tells the limits."""

    type = b"cgroup2"
    source = b"cgroup"
    tag = b"int80-cgroup:"
    dev = 0x19
    magic = CGROUP2_SUPER_MAGIC
    table = _TABLE

    def __init__(self, view) -> None:
        super().__init__()
        self.view = view
