"""What `spec` writes: a config.json to begin with, and `features`: what a configuration may ask for (features.md)."""

from __future__ import annotations

import os

from containers.oci import checks, config
from containers.oci.state import VERSION

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mount(destination: str, kind: str, source: str, *options: str) -> dict:
    return {"destination": destination, "type": kind, "source": source} | ({"options": list(options)} if options else {})


def starter(rootless: bool) -> dict:
    """A configuration of a shell in the bundle's rootfs, as runc's `spec` writes it; `rootless`: for who is not root."""
    capabilities = {name: _CAPABILITIES for name in ("bounding", "effective", "permitted")}
    quiet = ("nosuid", "noexec", "nodev")
    sys = _mount("/sys", "none", "/sys", "rbind", *quiet, "ro") if rootless else _mount("/sys", "sysfs", "sysfs", *quiet, "ro")
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *([] if rootless else ["gid=5"])]
    linux: dict = {
        "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    if rootless:
        linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != "network"] + [{"type": "user"}]
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": capabilities,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "int80",
        "mounts": [
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", *terminals),
            _mount("/dev/shm", "tmpfs", "shm", *quiet, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", *quiet),
            sys,
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", *quiet, "relatime", "ro"),
        ],
        "linux": linux,
    }


def features() -> dict:
    """What this runtime understands in a config.json; features.md."""
    from abi import __version__
    from abi.decoding.constants.security import CAPABILITIES
    from containers.oci import filters, mountings

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(config.Hooks.__struct_encode_fields__),
        "mountOptions": sorted({*mountings.OPTIONS, *mountings.SPOKEN}),
        "linux": {
            "namespaces": sorted(checks.NAMESPACES),
            "capabilities": list(CAPABILITIES.values()),
            "cgroup": {"v1": False, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": sorted({*filters.RESULTS, "SCMP_ACT_ERRNO"}),
                "operators": sorted(checks.OPERATORS),
                "archs": ["SCMP_ARCH_X86_64"],
                "knownFlags": list(checks.SECCOMP_FLAGS),
                "supportedFlags": [],
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {"int80.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
