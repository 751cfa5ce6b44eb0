"""config.json, the description of a container: what may stand in it, read and checked.

https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md.  Properties that the specification does not know are
ignored, as it asks; so are the sections of other platforms.  A property that is null is taken for absent, as engines
written in Go mean it.  What a runtime then does with all of this is `containers.oci.settings`.
"""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from containers.oci.errors import ConfigError

U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
U64 = Annotated[int, Meta(ge=0)]  # nothing in the file is larger, see `_plain`
I32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
I64 = Annotated[int, Meta(le=(1 << 63) - 1)]

_LARGEST = 64 << 20  # bytes of a config.json that are read
_SHOWN = 80  # characters of a value in a message


class Part(msgspec.Struct, rename="camel", omit_defaults=True):
    """An object of config.json; its properties have the names that the specification gives them, in Python's spelling."""


# -- process ----------------------------------------------------------------------------------------


class Box(Part):
    """The size of a terminal, in characters."""

    height: U32 = 0
    width: U32 = 0


class User(Part):
    """Whom the process runs as."""

    uid: U32 = 0
    gid: U32 = 0
    umask: U32 | None = None
    additional_gids: list[U32] = []


class Capabilities(Part):
    """The five sets of capabilities(7), by name; None is a set that nothing is said of, which is empty."""

    bounding: list[str] | None = None
    effective: list[str] | None = None
    inheritable: list[str] | None = None
    permitted: list[str] | None = None
    ambient: list[str] | None = None


class Rlimit(Part):
    """A limit of getrlimit(2)."""

    type: str
    soft: U64
    hard: U64


class Scheduler(Part):
    """What sched_setattr(2) is to set; times in nanoseconds."""

    policy: str
    nice: I32 = 0
    priority: I32 = 0
    flags: list[str] = []
    runtime: U64 = 0
    deadline: U64 = 0
    period: U64 = 0


class IOPriority(Part):
    """What ioprio_set(2) is to set."""

    class_: str = field(name="class")
    priority: int = 0


class CPUAffinity(Part):
    """The processors of a process that joins the container, as lists of numbers; of no account to its first one."""

    initial: str = ""
    final: str = ""


class Process(Part):
    """The container's process; also what `exec --process` reads."""

    cwd: str = ""
    terminal: bool = False
    console_size: Box | None = None
    user: User = field(default_factory=User)
    args: list[str] = []
    env: list[str] = []
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = field(name="execCPUAffinity", default=None)


# -- the file system, and hooks ---------------------------------------------------------------------


class Root(Part):
    """The directory that is to be /, from the bundle on."""

    path: str
    readonly: bool = False


class IDMapping(Part):
    """A run of ids inside and the host's that they stand for."""

    container_id: U32 = field(name="containerID")
    host_id: U32 = field(name="hostID")
    size: U32


class Mount(Part):
    """Something mounted into the container; `options` are those of mount(8) and a few of the specification's own."""

    destination: str
    source: str = ""
    type: str = ""
    options: list[str] = []
    uid_mappings: list[IDMapping] = []
    gid_mappings: list[IDMapping] = []


class Hook(Part):
    """A program of the host's to run at a point of the container's life; `timeout` in seconds."""

    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class Hooks(Part):
    """The hooks of each phase, in the order to run them in."""

    prestart: list[Hook] = []
    create_runtime: list[Hook] = []
    create_container: list[Hook] = []
    start_container: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []


# -- linux ------------------------------------------------------------------------------------------


class Namespace(Part):
    """A kind of namespaces(7) that the container has of its own, or the one at `path` that it is to share."""

    type: str
    path: str = ""


class Device(Part):
    """A device node in the container."""

    path: str
    type: str
    major: I64 = 0
    minor: I64 = 0
    file_mode: U32 | None = None
    uid: U32 | None = None
    gid: U32 | None = None


class DeviceRule(Part):
    """What the devices controller of cgroups allows."""

    allow: bool
    type: str = ""
    major: I64 | None = None
    minor: I64 | None = None
    access: str = ""


class Memory(Part):
    """The memory controller; bytes, -1 for no limit."""

    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    kernel: I64 | None = None
    kernel_tcp: I64 | None = field(name="kernelTCP", default=None)
    swappiness: U64 | None = None
    disable_oom_killer: bool | None = field(name="disableOOMKiller", default=None)
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class CPU(Part):
    """The cpu and cpuset controllers; quota, burst and period in microseconds."""

    shares: U64 | None = None
    quota: I64 | None = None
    burst: U64 | None = None
    period: U64 | None = None
    realtime_runtime: I64 | None = None
    realtime_period: U64 | None = None
    cpus: str = ""
    mems: str = ""
    idle: I64 | None = None


class Pids(Part):
    """The pids controller: how many tasks at once; nothing above zero is no limit."""

    limit: I64 = 0


class WeightDevice(Part):
    major: I64
    minor: I64
    weight: U16 | None = None
    leaf_weight: U16 | None = None


class ThrottleDevice(Part):
    major: I64
    minor: I64
    rate: U64


class BlockIO(Part):
    """The io controller."""

    weight: U16 | None = None
    leaf_weight: U16 | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = field(name="throttleReadIOPSDevice", default_factory=list)
    throttle_write_iops_device: list[ThrottleDevice] = field(name="throttleWriteIOPSDevice", default_factory=list)


class HugepageLimit(Part):
    page_size: str
    limit: U64


class InterfacePriority(Part):
    name: str
    priority: U32


class NetworkClass(Part):
    """The controllers net_cls and net_prio."""

    class_id: U32 | None = field(name="classID", default=None)
    priorities: list[InterfacePriority] = []


class Rdma(Part):
    hca_handles: U32 | None = None
    hca_objects: U32 | None = None


class Resources(Part):
    """What control groups hold a container to; cgroups(7)."""

    unified: dict[str, str] = {}
    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = field(name="blockIO", default=None)
    hugepage_limits: list[HugepageLimit] = []
    network: NetworkClass | None = None
    rdma: dict[str, Rdma] = {}


class SyscallArg(Part):
    """A condition on argument number `index` of a call."""

    index: U32
    value: U64
    op: str
    value_two: U64 = 0


class Syscalls(Part):
    """What is done on calls of these names whose arguments meet all conditions."""

    names: list[str]
    action: str
    errno_ret: U32 | None = None
    args: list[SyscallArg] = []


class Seccomp(Part):
    """A filter of system calls."""

    default_action: str
    default_errno_ret: U32 | None = None
    architectures: list[str] = []
    flags: list[str] = []
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[Syscalls] = []


class IntelRdt(Part):
    clos_id: str = field(name="closID", default="")
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_cmt: bool = field(name="enableCMT", default=False)
    enable_mbm: bool = field(name="enableMBM", default=False)


class Personality(Part):
    """personality(2): LINUX or LINUX32."""

    domain: str
    flags: list[str] = []


class TimeOffset(Part):
    """How far a clock of the container is from the host's; time_namespaces(7)."""

    secs: I64 = 0
    nanosecs: U32 = 0


class NetDevice(Part):
    """A network interface of the host's that moves into the container, and its name there."""

    name: str = ""


class Linux(Part):
    """What only Linux has."""

    namespaces: list[Namespace] = []
    uid_mappings: list[IDMapping] = []
    gid_mappings: list[IDMapping] = []
    devices: list[Device] = []
    net_devices: dict[str, NetDevice] = {}
    cgroups_path: str = ""
    resources: Resources | None = None
    rootfs_propagation: str = ""
    seccomp: Seccomp | None = None
    sysctl: dict[str, str] = {}
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""
    personality: Personality | None = None
    intel_rdt: IntelRdt | None = None
    time_offsets: dict[str, TimeOffset] = {}


class Config(Part):
    """The whole of config.json."""

    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


# -- reading ----------------------------------------------------------------------------------------


def load(bundle: str) -> Config:
    """The config.json of a bundle directory, checked.  `ConfigError`."""
    path = os.path.join(bundle, "config.json")
    if os.path.exists(path) and not os.path.isfile(path):  # a named pipe would hold us up
        raise ConfigError(f"{path}: not a regular file")
    return parse(_read(path, "config.json"), "config.json")


def load_process(path: str) -> Process:
    """The process that a file describes, checked as that of a config.json is; for `exec --process`.  `ConfigError`."""
    return parse_process(_read(path, path), path)


def parse_process(data: bytes, name: str) -> Process:
    """The text of a process by itself, checked; `name` is what messages call it.  `ConfigError`."""
    from containers.oci.checks import check_process

    process, raw = _parse(data, Process, name)
    check_process(process, Problems(name, raw), "")
    return process


def parse(data: bytes, name: str = "config.json") -> Config:
    """The text of a config.json, checked; `name` is what messages call it.  `ConfigError`."""
    from containers.oci.checks import check

    config, raw = _parse(data, Config, name)
    check(config, Problems(name, raw))
    return config


class Problems:
    """How a check says what is wrong with a file: by property, with the value that stands there."""

    __slots__ = ("_name", "_raw")

    def __init__(self, name: str, raw: Any) -> None:
        self._name = name
        self._raw = raw

    def error(self, path: str, reason: str) -> ConfigError:
        """What is wrong with the property at `path` (as ``process.rlimits[0].type``); a value goes before the reason."""
        return ConfigError(f"{self._name}: {path}: {_show(_value(self._raw, path))} {reason}")

    def missing(self, path: str, reason: str = "is missing") -> ConfigError:
        """The same for a property that is not there."""
        return ConfigError(f"{self._name}: {path} {reason}")


def _read(path: str, name: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; a bundle is a directory with a config.json") from None
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror.lower()}") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"{name}: larger than {_LARGEST >> 20} MiB")
    return data


def _parse(data: bytes, kind: type, name: str):
    """(the object, what the JSON holds); `ConfigError`."""
    try:
        raw = _plain(msgspec.json.decode(data), "", name)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{name}: not JSON: {str(problem).removeprefix('JSON is malformed: ')}") from None
    except RecursionError:
        raise ConfigError(f"{name}: not JSON that can be read: nested too deeply") from None
    try:
        return msgspec.convert(raw, kind), raw
    except msgspec.ValidationError as problem:
        raise ConfigError(f"{name}: {_explain(str(problem), raw)}") from None


def _plain(value: Any, path: str, name: str) -> Any:
    """What the JSON holds, without the properties that are null.  `ConfigError` for numbers that fit nothing."""
    if isinstance(value, dict):
        return {key: _plain(inner, f"{path}.{key}", name) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner, f"{path}[{index}]", name) for index, inner in enumerate(value)]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise ConfigError(f"{name}: {path[1:]}: {_show(value)} is too {'large' if value > 0 else 'small'}")
    return value


_KINDS = {"int": "a number", "str": "a string", "bool": "true or false", "array": "a list", "object": "an object"}


def _explain(message: str, raw: Any) -> str:
    """A message of msgspec's in words that name property and value."""
    message, _, place = message.partition(" - at `")
    path = place.rstrip("`").removeprefix("$").lstrip(".")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"{path}{'.' if path else ''}{missing[1]} is missing"
    if wrong := re.fullmatch(r"Expected `([a-z]+)(?: \| null)?`(?:, got .*)?", message):
        shown, path = _found(raw, path, wrong[1])
        reason = f"is not {_KINDS.get(wrong[1], wrong[1])}"
    elif wrong := re.fullmatch(r"Expected `int(?: \| null)?` ([<>]=?) (-?\d+)", message):
        shown, path = _found(raw, path, "int")
        reason = f"is too {'large' if wrong[1][0] == '<' else 'small'}"
    else:
        shown, path = _found(raw, path, "")
        reason = message[:1].lower() + message[1:]
    return f"{path or 'the whole'}: {shown} {reason}"


_PYTHON = {"int": int, "str": str, "bool": bool, "array": list, "object": dict}


def _found(raw: Any, path: str, kind: str) -> tuple[str, str]:
    """What stands at a path, and the path; where it leads to some value of a mapping, the key of the one that is wrong."""
    while "[...]" in path:
        before, _, after = path.partition("[...]")
        inside = _value(raw, before)
        items = inside.items() if isinstance(inside, dict) else enumerate(inside) if isinstance(inside, list) else ()
        wanted = _PYTHON.get(kind, object)
        for key, value in items:
            candidate = _value(value, after.lstrip("."))
            if candidate is not _NOTHING and not isinstance(candidate, wanted):
                path = f'{before}["{key}"]{after}' if isinstance(key, str) else f"{before}[{key}]{after}"
                break
        else:
            return "a value in it", before
    return _show(_value(raw, path)), path


_NOTHING = object()


def _value(raw: Any, path: str) -> Any:
    """What stands at a path like ``mounts[2].options["a"]``; `_NOTHING` where there is nothing."""
    for name, index, key in re.findall(r'([^.\[\]"]+)|\[(\d+)\]|\["([^"]*)"\]', re.sub(r"(?<=\])\.", "", path)):
        try:
            raw = raw[int(index)] if index else raw[name or key]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return raw


def _show(value: Any) -> str:
    if value is _NOTHING:
        return "the default"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
