"""What /proc holds beside the processes: figures of the machine, /proc/sys, and one network, the sandbox's.

A figure of the kernel's is the host's own.  What lists things, be they locks, sockets, devices, or modules, lists
those of the sandbox, and so is often empty: a table is then its heading alone.
"""

from __future__ import annotations

import re

from vfs.madeup import Entry, Host, Link, Told, each


def _host(name: bytes) -> bytes:
    """What a file of the host's holds; nothing where a kernel was built without it."""
    try:
        with open(b"/proc/" + name, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _heading(name: bytes, lines: int = 1, rest: bytes = b"") -> Told:
    """The first lines of a table of the host's, and `rest` for what follows."""
    return Told(lambda view: b"".join(_host(name).splitlines(keepends=True)[:lines]) + rest)


def _objects(name: bytes) -> Told:
    """A table of the sandbox's System V objects, under the host's heading."""
    return Told(lambda view: b"".join(_host(b"sysvipc/" + name).splitlines(keepends=True)[:1]) + view.objects(name))


# -- figures ----------------------------------------------------------------------------------------


def _loadavg(view) -> bytes:
    """The host's load; the tasks and the last number are the sandbox's."""
    return b"%s 1/%d %d\n" % (b" ".join(_host(b"loadavg").split()[:3]), view.population(), view.last())


def _cgroups(view) -> bytes:
    """The host's controllers, all of them in the one hierarchy (of version 2) that /proc/PID/cgroup tells."""
    lines = _host(b"cgroups").splitlines()
    for index, line in enumerate(lines[1:], 1):
        name, _, _, enabled = line.split()
        lines[index] = b"%s\t0\t1\t%s" % (name, enabled)
    return b"".join(line + b"\n" for line in lines)


def _locks(view) -> bytes:
    """Locks that a process of the sandbox holds or, after ``->``, waits for."""
    lines = []
    for line in _host(b"locks").splitlines():
        words = line.split()
        at = 5 if words[1] == b"->" else 4
        pid = view.guest(int(words[at])) if int(words[at]) > 0 else 0
        if pid:
            words[at] = b"%d" % pid
            lines.append(b" ".join(words))
    return b"".join(line + b"\n" for line in lines)


# -- network ----------------------------------------------------------------------------------------

_POINTER = re.compile(rb"\b[0-9a-f]{16}\b")
_COUNT = re.compile(rb"(?<=[ \t])-?\d+")


def _sockets(name: bytes, inode: int, uid: int | None = None) -> Told:
    """A table of sockets, those the sandbox has open; `inode` and `uid` say in which columns these are."""

    def tell(view) -> bytes:
        lines = _host(b"net/" + name).splitlines(keepends=True)
        ours = view.sockets() if len(lines) > 1 else ()
        told = lines[:1]
        for line in lines[1:]:
            words = line.split()
            if words[inode] not in ours:
                continue
            line = _POINTER.sub(b"0" * 16, line, 1)
            if uid is not None and view.uid(int(words[uid])) != int(words[uid]):
                line = re.sub(rb"((?:\s*\S+){%d}\s+)\d+" % uid, rb"\g<1>%d" % view.uid(int(words[uid])), line, count=1)
            told.append(line)
        return b"".join(told)

    return Told(tell)


def _internet(name: bytes) -> Told:
    """A table of sockets of the host's network, or of the loopback inside."""
    table = _sockets(name, 9, 7)
    return Told(lambda view: table.read(view) + view.loopback(name))


def _unix(view) -> bytes:
    """As other sockets, and their names are the guest's; one that plays an internet socket is not there."""
    lines = []
    for line in _sockets(b"unix", 6).read(view).splitlines():
        head, slash, path = line.partition(b" /")
        if slash:
            name = view.socket_name(b"/" + path)
            if name is None:
                continue
            line = head + b" " + name if name else head
        lines.append(line)
    return b"".join(line + b"\n" for line in lines)


def _counters(name: bytes) -> Told:
    """Counters of a network where nothing has been sent."""
    return Told(lambda view: _COUNT.sub(b"0", _host(b"net/" + name)))


def _network(name: bytes, rest: bytes = b"", heading: int = 0) -> Told:
    """A table of the host's network, or the first lines of it and `rest` for the loopback inside."""

    def tell(view) -> bytes:
        text = _host(b"net/" + name)
        return text if view.on_host else b"".join(text.splitlines(keepends=True)[:heading]) + rest

    return Told(tell)


_LO = (
    b"    lo:       0       0    0    0    0     0          0         0"
    b"        0       0    0    0    0     0       0          0\n"
)
_NONE, _ONE, _MASK = b"0" * 32, b"1".zfill(32), b"f" * 8
_NOWHERE = b" ".join([_NONE, b"00", _NONE, b"00", _NONE, _MASK, b"00000001 00000000 00200200       lo\n"])
_TO_ONE = b" ".join([_ONE, b"80", _NONE, b"00", _NONE, b"00000000 00000002 00000000 80200001       lo\n"])

NET: dict[bytes, Entry] = {
    b"dev": _network(b"dev", _LO, 2),
    **{name: _network(name, heading=1) for name in b"arp igmp route rt_cache".split()},
    **{name: _network(name) for name in b"dev_mcast igmp6 mcfilter6".split()},
    b"if_inet6": _network(b"if_inet6", _ONE + b" 01 80 10 80       lo\n"),
    b"ipv6_route": _network(b"ipv6_route", _NOWHERE + _TO_ONE + _NOWHERE),
    **{name: _sockets(name, 9, 7) for name in b"icmp icmp6 raw raw6".split()},
    **{name: _internet(name) for name in b"tcp tcp6 udp udp6 udplite udplite6".split()},
    b"netlink": _sockets(b"netlink", 9),
    b"packet": _sockets(b"packet", 8),
    b"unix": Told(_unix),
    **{name: _counters(name) for name in b"netstat snmp snmp6 sockstat sockstat6".split()},
    b"psched": _heading(b"net/psched"),
}


# -- /proc/sys --------------------------------------------------------------------------------------

_SYS: dict[bytes, Entry] = {
    b"crypto": each(b"fips_enabled", Host.COPY),
    b"fs": {
        **each(
            b"aio-max-nr aio-nr file-max file-nr lease-break-time leases-enable mount-max nr_open overflowgid overflowuid "
            b"pipe-max-size pipe-user-pages-hard pipe-user-pages-soft protected_fifos protected_hardlinks "
            b"protected_regular protected_symlinks",
            Host.COPY,
        ),
        b"epoll": each(b"max_user_watches", Host.COPY),
        b"inotify": each(b"max_queued_events max_user_instances max_user_watches", Host.COPY),
        b"suid_dumpable": Told(b"0\n", 0o644),
    },
    b"kernel": {
        **each(
            b"arch cap_last_cap io_uring_disabled kptr_restrict msgmax msgmnb msgmni ngroups_max osrelease ostype overflowgid "
            b"overflowuid panic perf_event_paranoid pid_max printk randomize_va_space sched_rr_timeslice_ms "
            b"sched_rt_period_us sched_rt_runtime_us sem shmall shmmax shmmni threads-max unprivileged_bpf_disabled version",
            Host.COPY,
        ),
        b"core_pattern": Told(b"core\n", 0o644),
        b"core_uses_pid": Told(b"0\n", 0o644),
        b"domainname": Told(lambda view: view.system_name(b"domainname") + b"\n", 0o644),
        b"hostname": Told(lambda view: view.system_name(b"hostname") + b"\n", 0o644),
        b"pty": each(b"max reserve", Host.COPY),
        b"random": each(b"boot_id entropy_avail poolsize uuid", Host.COPY),
        b"seccomp": each(b"actions_avail", Host.COPY),
        b"yama": each(b"ptrace_scope", Host.COPY),
    },
    b"net": {
        b"core": each(b"netdev_max_backlog optmem_max rmem_default rmem_max somaxconn wmem_default wmem_max", Host.COPY),
        b"ipv4": each(
            b"ip_default_ttl ip_forward ip_local_port_range ip_unprivileged_port_start ping_group_range "
            b"tcp_available_congestion_control tcp_congestion_control tcp_fin_timeout tcp_keepalive_intvl "
            b"tcp_keepalive_probes tcp_keepalive_time tcp_max_syn_backlog tcp_rmem tcp_sack tcp_syncookies "
            b"tcp_timestamps tcp_tw_reuse tcp_window_scaling tcp_wmem",
            Host.COPY,
        ),
        b"ipv6": {
            b"bindv6only": Host.COPY,
            b"conf": each(b"all default lo", each(b"disable_ipv6", Host.COPY)),
        },
        b"unix": each(b"max_dgram_qlen", Host.COPY),
    },
    b"user": each(
        b"max_cgroup_namespaces max_ipc_namespaces max_mnt_namespaces max_net_namespaces max_pid_namespaces "
        b"max_time_namespaces max_user_namespaces max_uts_namespaces",
        Told(b"0\n", 0o644),
    ),
    b"vm": each(
        b"admin_reserve_kbytes dirty_background_ratio dirty_ratio legacy_va_layout max_map_count min_free_kbytes "
        b"mmap_min_addr nr_hugepages nr_overcommit_hugepages oom_kill_allocating_task overcommit_kbytes "
        b"overcommit_memory overcommit_ratio page-cluster swappiness user_reserve_kbytes vfs_cache_pressure",
        Host.COPY,
    ),
}


# -- the whole --------------------------------------------------------------------------------------

GENERAL: dict[bytes, Entry] = {
    **each(
        b"buddyinfo cpuinfo devices execdomains filesystems interrupts meminfo misc softirqs stat uptime version vmstat zoneinfo",
        Host.LIVE,
    ),
    b"cgroups": Told(_cgroups),
    b"cmdline": Told(b"int80\n"),
    b"diskstats": Told(b""),
    b"loadavg": Told(_loadavg),
    b"locks": Told(_locks),
    b"modules": Told(b""),
    b"mounts": Link(b"self/mounts"),
    b"net": Link(b"self/net"),
    b"partitions": Told(b"major minor  #blocks  name\n\n"),
    b"pressure": each(b"cpu io memory", Host.COPY),
    b"self": Link(),
    b"swaps": _heading(b"swaps"),
    b"sys": _SYS,
    b"sysvipc": {name: _objects(name) for name in b"msg sem shm".split()},
    b"thread-self": Link(),
    b"tty": each(b"drivers", Host.COPY),
}


def with_sysctl(values: dict[bytes, bytes]) -> dict[bytes, Entry]:
    """The table with these values in /proc/sys, where the host's would be; a value's words are parted by tabs, as there."""
    table = {**GENERAL, b"sys": _copy(_SYS)}
    for name, value in values.items():
        *above, last = name.split(b".")
        here = table[b"sys"]
        for part in above:
            here = here.setdefault(part, {})
        here[last] = Told(b"\t".join(value.split()) + b"\n", 0o644)
    return table


def _copy(table: dict[bytes, Entry]) -> dict[bytes, Entry]:
    return {name: _copy(entry) if isinstance(entry, dict) else entry for name, entry in table.items()}
