"""/sys: what run-time systems ask of the machine, its processors, nodes and page sizes, and nothing that names a device.

The C library counts processors here, Go and the JVM look for page sizes and cgroups, lscpu(1) reads the caches.
Block devices, buses, modules and cgroups are the host's to administer: their directories are there and empty.
"""

from __future__ import annotations

from vfs.madeup import Entry, Host, Link, TableFs, Told, each

SYSFS_MAGIC = 0x62656572

_CPU = {
    **each(b"online cpu_capacity", Host.COPY),
    b"topology": {b"*": Host.COPY},
    b"cache": {
        b"index[0-9]*": each(
            b"coherency_line_size id level number_of_sets physical_line_partition shared_cpu_list shared_cpu_map size "
            b"type ways_of_associativity",
            Host.COPY,
        )
    },
    b"cpufreq": each(b"cpuinfo_max_freq cpuinfo_min_freq scaling_cur_freq scaling_max_freq scaling_min_freq", Host.COPY),
}

_NODE = each(b"cpulist cpumap distance meminfo numastat vmstat", Host.COPY)

_HUGEPAGES = {
    b"hugepages-*": each(
        b"free_hugepages nr_hugepages nr_hugepages_mempolicy nr_overcommit_hugepages resv_hugepages surplus_hugepages",
        Host.COPY,
    )
}

# A loopback that is up, as that inside is, and has carried nothing.
_LOOPBACK: dict[bytes, Entry] = {
    b"addr_assign_type": Told(b"0\n"),
    b"addr_len": Told(b"6\n"),
    b"address": Told(b"00:00:00:00:00:00\n"),
    b"broadcast": Told(b"00:00:00:00:00:00\n"),
    b"carrier": Told(b"1\n"),
    **each(b"carrier_changes carrier_down_count carrier_up_count", Told(b"0\n")),
    b"dev_id": Told(b"0x0\n"),
    b"dormant": Told(b"0\n"),
    b"flags": Told(b"0x9\n"),
    b"ifindex": Told(b"1\n"),
    b"iflink": Told(b"1\n"),
    b"link_mode": Told(b"0\n"),
    b"mtu": Told(b"65536\n"),
    b"operstate": Told(b"unknown\n"),
    b"tx_queue_len": Told(b"1000\n"),
    b"type": Told(b"772\n"),
    b"statistics": each(
        b"collisions multicast rx_bytes rx_compressed rx_crc_errors rx_dropped rx_errors rx_fifo_errors rx_frame_errors "
        b"rx_length_errors rx_missed_errors rx_nohandler rx_over_errors rx_packets tx_aborted_errors tx_bytes "
        b"tx_carrier_errors tx_compressed tx_dropped tx_errors tx_fifo_errors tx_heartbeat_errors tx_packets "
        b"tx_window_errors",
        Told(b"0\n"),
    ),
}

_TABLE: dict[bytes, Entry] = {
    **each(b"block bus firmware module power", {}),
    b"class": {**each(b"block tty", {}), b"net": {b"lo": Link(b"../../devices/virtual/net/lo")}},
    b"dev": each(b"block char", {}),
    b"devices": {
        b"system": {
            b"cpu": {
                **each(b"isolated kernel_max offline online possible present", Host.COPY),
                b"smt": each(b"active control", Host.COPY),
                b"vulnerabilities": {b"*": Host.COPY},
                b"cpu[0-9]*": _CPU,
            },
            b"node": {
                **each(b"has_cpu has_memory has_normal_memory online possible", Host.COPY),
                b"node[0-9]*": {**_NODE, b"hugepages": _HUGEPAGES},
            },
        },
        b"virtual": {b"net": {b"lo": _LOOPBACK}},
    },
    b"fs": {b"cgroup": {}},
    b"kernel": {
        **each(b"address_bits cpu_byteorder", Host.COPY),
        b"mm": {
            b"hugepages": _HUGEPAGES,
            b"transparent_hugepage": each(b"defrag enabled hpage_pmd_size shmem_enabled use_zero_page", Host.COPY),
        },
    },
}


class SysFs(TableFs):
    """The tree at /sys."""

    type = b"sysfs"
    source = b"sysfs"
    tag = b"int80-sys:"
    dev = 0x16
    magic = SYSFS_MAGIC
    host = b"/sys"
    table = _TABLE
