"""What a config.json comes to: the settings of a sandbox, and what of it cannot be kept.

What cannot be kept and is a promise of safety (a profile of AppArmor, a device of the host) is refused; the rest is warned of.
docs/oci.md says which is which, property by property, from `containers.oci.fields`.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os

import msgspec

from containers import cgroup
from containers.oci import checks, filters, mountings
from containers.oci.config import CPU, Config, Hooks, Linux, Memory, Problems, Process, Resources
from containers.sandbox import Settings
from containers.status import CannotExecute
from procs.credentials import ALL_CAPABILITIES, Credentials
from procs.limits import PERIOD, Limits
from tracer.attributes import Attributes, Scheduling

_CORE = "RLIMIT_CORE"
_SETS = ("effective", "permitted", "inheritable", "bounding", "ambient")
_PER_LINUX, _PER_LINUX32 = 0, 8
_USUAL_SHARES = 1024
_NS_GET_NSTYPE = 0xB703
_NAMESPACES = {  # clone(2)
    "time": 0x00000080, "mount": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000,
    "pid": 0x20000000, "network": 0x40000000,
}  # fmt: skip


class Outcome:
    """`settings` for the sandbox, and `warnings`, a line each, of what of the configuration is not kept."""

    __slots__ = ("settings", "warnings")

    def __init__(self, settings: Settings, warnings: list[str]) -> None:
        self.settings = settings
        self.warnings = warnings


class Command:
    """What `process` of a config.json comes to, for init or for a command beside it: the arguments of `Running.execute`."""

    __slots__ = ("argv", "attributes", "credentials", "env", "no_new_privs", "tty", "tty_size", "umask", "warnings", "workdir")

    def __init__(self) -> None:
        self.argv: list[bytes] = []
        self.env: dict[bytes, bytes] = {}
        self.workdir = b"/"
        self.credentials = Credentials()
        self.umask = 0o022
        self.no_new_privs = False
        self.attributes = Attributes()
        self.tty = False
        self.tty_size: tuple[int, int] | None = None
        self.warnings: list[str] = []


def outcome(config: Config, bundle: str, view=None) -> Outcome:
    """What a checked configuration comes to for the bundle in a directory.  `ConfigError` for what cannot be kept.

    With a `view` (containers.view.View) paths are what a host program sees at them.
    """
    bundle = os.path.abspath(bundle) if view is None else bundle
    problems = Problems("config.json", msgspec.to_builtins(config))
    warnings: list[str] = []

    def warn(path: str, reason: str) -> None:
        warnings.append(str(problems.error(path, f"is not kept: {reason}")))

    rootfs = os.path.join(bundle, config.root.path)
    if not (os.path.isdir(rootfs) if view is None else view.is_directory(rootfs)):
        raise problems.error("root.path", "is not a directory of the bundle's")
    command = command_of(config.process, problems, "process.")
    warnings += command.warnings
    settings = Settings(rootfs, command.argv)
    settings.read_only = config.root.readonly
    for name in ("env", "workdir", "credentials", "umask", "no_new_privs", "attributes", "tty", "tty_size"):
        setattr(settings, name, getattr(command, name))
    settings.workdir_made = settings.session = settings.home = True
    linux = config.linux or Linux()
    _names(config, linux, settings)
    _namespaces(linux, config.hooks, settings, problems, warn)
    settings.view = view
    settings.table = mountings.table(config, bundle, problems, warn, view)
    for name, value in linux.sysctl.items():
        _sysctl(checks.sysctl_name(name), value, settings)
    if linux.personality is not None:
        settings.attributes.personality = _PER_LINUX32 if linux.personality.domain == "LINUX32" else _PER_LINUX
    if linux.seccomp is not None:
        settings.profile = filters.compiled(linux.seccomp, problems)
    if linux.resources is not None:
        place = cgroup.place(linux.cgroups_path) if view is None else None
        files = resources(linux.resources, settings, warn, place is not None)
        if place is not None and files:
            settings.group = cgroup.Group(place, files)
    for path, value, reason in (
        ("linux.mountLabel", linux.mount_label, "there are no labels of SELinux inside"),
        ("linux.intelRdt", linux.intel_rdt, "the processors' caches are the host's to part"),
        ("linux.timeOffsets", linux.time_offsets, "the clocks are the host's"),
        ("linux.netDevices", linux.net_devices, "interfaces stay where they are"),
    ):
        if value:
            warn(path, reason)
    if linux.rootfs_propagation.removeprefix("r") in ("shared", "slave"):
        warn("linux.rootfsPropagation", "nothing is passed on")
    return Outcome(settings, warnings)


# -- process ----------------------------------------------------------------------------------------


def process_of(process: Process, name: str = "process") -> Command:
    """The same of a process by itself, for `exec`; `name` is what messages call its file.  `ConfigError`."""
    return command_of(process, Problems(name, msgspec.to_builtins(process)), "")


def command_of(process: Process, problems: Problems, prefix: str) -> Command:
    """What a checked process comes to; `prefix` is where it stands in its file."""
    for name, value in (("apparmorProfile", process.apparmor_profile), ("selinuxLabel", process.selinux_label)):
        if value and value != "unconfined":
            raise problems.error(prefix + name, "cannot be kept: int80 puts no process under it; leave it out")
    result = Command()

    def warn(path: str, reason: str) -> None:
        result.warnings.append(str(problems.error(prefix + path, f"is not kept: {reason}")))

    result.argv = [os.fsencode(argument) for argument in process.args]
    for variable in process.env:
        name, _, value = variable.partition("=")
        result.env[os.fsencode(name)] = os.fsencode(value)
    result.workdir = os.fsencode(process.cwd)
    result.credentials = _credentials(process, warn)
    if process.user.umask is not None:
        result.umask = process.user.umask
    result.no_new_privs = process.no_new_privileges
    result.tty = process.terminal
    size = process.console_size
    if process.terminal and size is not None and (size.height or size.width):
        result.tty_size = size.height, size.width
    _attributes(process, result.attributes, warn)
    return result


def _credentials(process: Process, warn) -> Credentials:
    user = process.user
    credentials = Credentials(user.uid, user.gid, tuple(sorted(user.additional_gids)))
    credentials.permitted = credentials.effective = credentials.bounding = 0
    for name in _SETS if process.capabilities is not None else ():
        bits = 0
        for index, capability in enumerate(getattr(process.capabilities, name) or ()):
            number = _capabilities().get(capability)
            if number is None:
                warn(f"capabilities.{name}[{index}]", "there is no such capability")
            else:
                bits |= 1 << number
        setattr(credentials, name, bits & ALL_CAPABILITIES)
    credentials.effective &= credentials.permitted
    credentials.ambient &= credentials.permitted & credentials.inheritable
    return credentials


_known: dict[str, int] = {}


def _capabilities() -> dict[str, int]:
    if not _known:
        from abi.decoding.constants.security import CAPABILITIES

        _known.update({name: number for number, name in CAPABILITIES.items()})
    return _known


def _attributes(process: Process, attributes: Attributes, warn) -> None:
    for index, limit in enumerate(process.rlimits):
        number = checks.RLIMITS.index(limit.type)
        if limit.type == _CORE:
            if limit.soft:
                warn(f"rlimits[{index}].type", "guests leave no core files, which would lie on the host")
            continue
        attributes.rlimits[number] = (limit.soft, limit.hard)
        attributes.names[number] = limit.type
    attributes.oom_score_adj = process.oom_score_adj
    if process.scheduler is not None:
        scheduler = process.scheduler
        flags = sum({checks.SCHEDULER_FLAGS[flag] for flag in scheduler.flags})
        wanted = Scheduling(checks.SCHEDULERS[scheduler.policy], flags, scheduler.nice, scheduler.priority)
        wanted.runtime, wanted.deadline, wanted.period = scheduler.runtime, scheduler.deadline, scheduler.period
        attributes.scheduling = wanted
    if process.io_priority is not None:
        attributes.io = checks.IO_CLASSES[process.io_priority.class_], process.io_priority.priority


# -- names and namespaces ---------------------------------------------------------------------------


def _names(config: Config, linux: Linux, settings: Settings) -> None:
    settings.hostname = os.fsencode(config.hostname or os.uname().nodename)
    settings.domainname = os.fsencode(config.domainname) or _host_domainname()


def _host_domainname() -> bytes:
    try:
        with open("/proc/sys/kernel/domainname", "rb") as file:
            return file.read().strip()
    except OSError:
        return b"(none)"


def _sysctl(name: str, value: str, settings: Settings) -> None:
    text = os.fsencode(value)
    if name == "kernel.hostname":
        settings.hostname = text
    elif name == "kernel.domainname":
        settings.domainname = text
    else:
        settings.sysctl[os.fsencode(name)] = text


def _namespaces(linux: Linux, hooks: Hooks | None, settings: Settings, problems: Problems, warn) -> None:
    """One that is missing is the host's, and one with a path another's; a sandbox has its own of all but the network.

    A hook that is told of the container before it starts may set up the network namespace of its pid, as docker's does: there
    has to be one, or that would be the machine's.
    """
    found = {namespace.type: (index, namespace.path) for index, namespace in enumerate(linux.namespaces)}
    for kind, (index, path) in found.items():
        here = f"linux.namespaces[{index}].path"
        if not path:
            continue
        _check_namespace(path, kind, here, problems)
        if kind == "network":
            settings.net = "host"
            settings.netns = path
        elif kind == "mount":
            raise problems.error(here, "cannot be joined: the mounts are this sandbox's own")
        else:
            warn(here, f"the {kind} namespace is this sandbox's own")
    if "network" not in found:
        settings.net = "host"
    elif not found["network"][1] and hooks is not None:
        settings.netns_made = bool(hooks.prestart or hooks.create_runtime or hooks.create_container)


def _check_namespace(path: str, kind: str, where: str, problems: Problems) -> None:
    """See that a file is a namespace of a kind, as far as this user may look; ioctl_ns(2)."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = fcntl.ioctl(file, _NS_GET_NSTYPE)
    except PermissionError:
        if kind == "network":
            raise problems.error(where, "cannot be joined: permission denied") from None
    except FileNotFoundError:
        raise problems.error(where, "is not there") from None
    except OSError:
        raise problems.error(where, "is not a namespace") from None
    else:
        if found != _NAMESPACES[kind]:
            raise problems.error(where, f"is not a {kind} namespace")


# -- resources --------------------------------------------------------------------------------------


def resources(wanted: Resources, settings: Settings, warn, grouped: bool = False) -> dict[str, str]:
    """Set the limits that the supervisor keeps; what a control group would be told, by file.

    `warn(path, reason)` is told of what neither keeps: `grouped` says whether there is a group.
    """
    limits = settings.limits
    files = dict(wanted.unified)
    where = "linux.resources."

    def group_only(path: str, name: str, value) -> None:
        if grouped and name:
            files[name] = str(value)
        else:
            warn(where + path, "that takes a control group")

    if wanted.unified and not grouped:
        warn(where + "unified", "that takes a control group")
    if wanted.pids is not None:
        limits.pids = wanted.pids.limit if wanted.pids.limit > 0 else None
        files["pids.max"] = _most(limits.pids)
    if wanted.memory is not None:
        _memory(wanted.memory, limits, files, group_only, warn)
    if wanted.cpu is not None:
        _cpu(wanted.cpu, settings, files, group_only)
    for limit in wanted.hugepage_limits:
        group_only("hugepageLimits", f"hugetlb.{limit.page_size}.max", limit.limit)
    for name, value in (("blockIO", wanted.block_io), ("network", wanted.network), ("rdma", wanted.rdma)):
        if value:
            warn(where + name, "int80 tells no control group of it")
    return files


def _most(limit: int | None) -> str:
    return "max" if limit is None else str(limit)


def _memory(memory: Memory, limits: Limits, files: dict[str, str], group_only, warn) -> None:
    if memory.limit:
        limits.memory = memory.limit if memory.limit > 0 else None
        files["memory.max"] = _most(limits.memory)
    if memory.reservation and memory.reservation > 0:
        group_only("memory.reservation", "memory.low", memory.reservation)
    if memory.swap and memory.swap > 0:
        group_only("memory.swap", "memory.swap.max", memory.swap - (memory.limit or 0))
    for name, value in (("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp), ("swappiness", memory.swappiness)):
        if value is not None and value > 0:
            group_only(f"memory.{name}", "", value)
    if memory.disable_oom_killer:
        warn("linux.resources.memory.disableOOMKiller", "who takes too much is killed")


def _cpu(cpu: CPU, settings: Settings, files: dict[str, str], group_only) -> None:
    limits = settings.limits
    limits.quota = cpu.quota if cpu.quota is not None and cpu.quota > 0 else None
    limits.period = cpu.period or PERIOD
    if cpu.quota or cpu.period:
        files["cpu.max"] = f"{_most(limits.quota)} {limits.period}"
    if cpu.shares:
        limits.shares = cpu.shares
        files["cpu.weight"] = str(limits.weight)
        if cpu.shares < _USUAL_SHARES:
            settings.attributes.nice = niceness(cpu.shares)
        elif cpu.shares > _USUAL_SHARES:
            group_only("cpu.shares", "cpu.weight", limits.weight)
    if cpu.cpus:
        settings.attributes.processors = checks.processors(cpu.cpus)
        files["cpuset.cpus"] = cpu.cpus
    for name, file, value in (
        ("burst", "cpu.max.burst", cpu.burst), ("idle", "cpu.idle", cpu.idle), ("mems", "cpuset.mems", cpu.mems),
        ("realtimeRuntime", "", cpu.realtime_runtime), ("realtimePeriod", "", cpu.realtime_period),
    ):  # fmt: skip
        if value:
            group_only(f"cpu.{name}", file, value)


def niceness(shares: int) -> int:
    """Steps of nice(2) that leave others as much more of a processor as fewer shares than usual would."""
    return max(0, min(19, round(math.log(_USUAL_SHARES / max(shares, 2), 1.25))))


# -- errors -----------------------------------------------------------------------------------------


def command_error(problem: CannotExecute) -> str:
    """Why a command cannot be run, in the words that runc has for it and engines look for."""
    command = os.fsdecode(problem.command)
    name = f'exec: "{command}"'
    if problem.number == errno.ENOENT and "/" in command:
        return f"{name}: stat {command}: no such file or directory"
    if problem.number == errno.ENOENT:
        return f"{name}: executable file not found in $PATH"
    if problem.number == errno.ENOEXEC:
        return f"exec {command}: exec format error"
    return f"{name}: {os.strerror(problem.number).lower()}"
