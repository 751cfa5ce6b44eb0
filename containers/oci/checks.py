"""What makes a config.json wrong in itself, whoever is to run it: the specification's rules, and runc's where it has none."""

from __future__ import annotations

import os
import posixpath
import re

from containers.oci.config import Config, Hooks, Linux, Mount, Problems, Process, Seccomp

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


def _names(prefix: str, words: str) -> list[str]:
    return [prefix + word for word in words.split()]


#: Resource limits of getrlimit(2), by number.
RLIMITS = _names(
    "RLIMIT_", "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
)
#: Policies of sched(7), and the I/O classes of ioprio_set(2).
SCHEDULERS = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4, "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32, "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
PROPAGATIONS = ("", "shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")
#: Actions and operators of seccomp profiles.
ACTIONS = _names("SCMP_ACT_", "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY")
OPERATORS = _names("SCMP_CMP_", "NE LT LE EQ GE GT MASKED_EQ")
ARCHITECTURES = _names(
    "SCMP_ARCH_",
    "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC "
    "PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB",
)
SECCOMP_FLAGS = _names("SECCOMP_FILTER_FLAG_", "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV")
_MAX_ERRNO = 4095
_NO_ID = 0xFFFFFFFF
_IPC_SYSCTLS = _names("kernel.", "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced")


def check(config: Config, problems: Problems) -> None:
    """Raise what is wrong with a configuration.  `ConfigError`."""
    version = _VERSION.fullmatch(config.oci_version)
    if not version:
        raise problems.error("ociVersion", "is not a version; this is 1.2.0's runtime")
    if version[1] != "1":
        raise problems.error("ociVersion", "is not supported; versions 1.x are")
    if config.root is None:
        raise problems.missing("root")
    if not config.root.path:
        raise problems.error("root.path", "is not a directory's name")
    _text(problems, "root.path", config.root.path)
    if config.process is None:
        raise problems.missing("process")
    check_process(config.process, problems, "process.")
    for name in ("hostname", "domainname"):
        _text(problems, name, getattr(config, name))
        if len(getattr(config, name).encode(errors="surrogatepass")) > 64:
            raise problems.error(name, "is longer than the 64 bytes that the kernel takes")
    for index, mount in enumerate(config.mounts):
        _check_mount(mount, problems, f"mounts[{index}].")
    if config.hooks is not None:
        _check_hooks(config.hooks, problems)
    if "" in config.annotations:
        raise problems.error("annotations", "has an empty key")
    check_linux(config, config.linux or Linux(), problems)


def _text(problems: Problems, path: str, value: str) -> None:
    if "\0" in value:
        raise problems.error(path, "has a NUL character")


def check_process(process: Process, problems: Problems, prefix: str) -> None:
    """The rules of `process`, which stands at `prefix` (with its dot) in the file."""

    def each(name: str, values: list[str]) -> None:
        for index, value in enumerate(values):
            _text(problems, f"{prefix}{name}[{index}]", value)

    if not process.cwd:
        raise problems.missing(prefix + "cwd", "is missing; it is to be an absolute path")
    _text(problems, prefix + "cwd", process.cwd)
    if not process.cwd.startswith("/"):
        raise problems.error(prefix + "cwd", "is not an absolute path")
    if not process.args:
        raise problems.missing(prefix + "args", "is missing or empty; it is to be the command")
    each("args", process.args)
    each("env", process.env)
    for index, variable in enumerate(process.env):
        if "=" not in variable:
            raise problems.error(f"{prefix}env[{index}]", "is not NAME=VALUE")
    groups = ((f"additionalGids[{index}]", gid) for index, gid in enumerate(process.user.additional_gids))
    for name, number in (("uid", process.user.uid), ("gid", process.user.gid), *groups):
        if number == _NO_ID:
            raise problems.error(f"{prefix}user.{name}", "is nobody's: calls take it for no change")
    if process.user.umask is not None and process.user.umask > 0o777:
        raise problems.error(prefix + "user.umask", "is not a umask, which is at most 511 (octal 777)")
    seen: set[str] = set()
    for index, limit in enumerate(process.rlimits):
        path = f"{prefix}rlimits[{index}]."
        _check_type(limit.type, RLIMITS, "a resource limit of Linux", seen, path, problems)
        if limit.soft > limit.hard:
            raise problems.error(path + "soft", f"is above the hard limit, {limit.hard}")
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        raise problems.error(prefix + "oomScoreAdj", "is not from -1000 to 1000")
    if process.scheduler is not None:
        _check_scheduler(process, problems, prefix + "scheduler.")
    if process.io_priority is not None:
        if process.io_priority.class_ not in IO_CLASSES:
            raise problems.error(prefix + "ioPriority.class", "is not an I/O scheduling class")
        if not 0 <= process.io_priority.priority <= 7:
            raise problems.error(prefix + "ioPriority.priority", "is not from 0 to 7")


def _check_scheduler(process: Process, problems: Problems, prefix: str) -> None:
    scheduler = process.scheduler
    policy = scheduler.policy
    if policy not in SCHEDULERS:
        raise problems.error(prefix + "policy", "is not a scheduling policy of Linux")
    for index, flag in enumerate(scheduler.flags):
        if flag not in SCHEDULER_FLAGS:
            raise problems.error(f"{prefix}flags[{index}]", "is not a flag of sched_setattr(2)")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.nice <= 19:
        raise problems.error(prefix + "nice", "is not from -20 to 19")
    if scheduler.priority and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise problems.error(prefix + "priority", f"can be set for SCHED_FIFO and SCHED_RR only, not for {policy}")
    if (scheduler.runtime or scheduler.deadline or scheduler.period) and policy != "SCHED_DEADLINE":
        raise problems.error(prefix + "policy", "has no runtime, deadline or period; SCHED_DEADLINE has")


def _check_mount(mount: Mount, problems: Problems, prefix: str) -> None:
    for name in ("destination", "source", "type"):
        _text(problems, prefix + name, getattr(mount, name))
    if not mount.destination:
        raise problems.error(prefix + "destination", "is not a path")
    binds = {"bind", "rbind"}.intersection(mount.options)
    if (binds or mount.type == "bind") and not mount.source:
        raise problems.missing(prefix + "source", "is missing; a bind mount has one")
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        other = "gidMappings" if mount.uid_mappings else "uidMappings"
        raise problems.missing(prefix + other, "is missing: one needs the other")


def _check_hooks(hooks: Hooks, problems: Problems) -> None:
    for field, phase in zip(hooks.__struct_fields__, hooks.__struct_encode_fields__, strict=True):
        for index, hook in enumerate(getattr(hooks, field)):
            path = f"hooks.{phase}[{index}]."
            if not hook.path.startswith("/"):
                raise problems.error(path + "path", "is not an absolute path")
            if hook.timeout is not None and hook.timeout <= 0:
                raise problems.error(path + "timeout", "is not a number of seconds above 0")


def _check_type(kind: str, known, what: str, seen: set[str], path: str, problems: Problems) -> None:
    """A type that is known, and stands in its list once; `seen` are those before it."""
    if kind not in known:
        raise problems.error(path + "type", f"is not {what}")
    if kind in seen:
        raise problems.error(path + "type", "stands there twice")
    seen.add(kind)


def check_linux(config: Config, linux: Linux, problems: Problems) -> None:
    """The rules of `linux`, and those of other sections that hang on its namespaces."""
    seen: set[str] = set()
    for index, namespace in enumerate(linux.namespaces):
        path = f"linux.namespaces[{index}]."
        _check_type(namespace.type, NAMESPACES, "a kind of namespaces", seen, path, problems)
        if namespace.path and not namespace.path.startswith("/"):
            raise problems.error(path + "path", "is not an absolute path")
    for name in ("hostname", "domainname"):
        if getattr(config, name) and "uts" not in seen:
            raise problems.error(name, "cannot be set without a uts namespace")
    for name in ("uid_mappings", "gid_mappings"):
        if getattr(linux, name) and "user" not in seen:
            raise problems.error(f"linux.{name[0]}idMappings", "needs a user namespace")
    for name, value in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        if value and "mount" not in seen:
            raise problems.error(f"linux.{name}", "needs a mount namespace")
        for index, path in enumerate(value):
            _text(problems, f"linux.{name}[{index}]", path)
            if not path.startswith("/"):
                raise problems.error(f"linux.{name}[{index}]", "is not an absolute path")
    if linux.time_offsets and "time" not in seen:
        raise problems.error("linux.timeOffsets", "needs a time namespace")
    for clock in linux.time_offsets:
        if clock not in ("monotonic", "boottime"):
            raise problems.error("linux.timeOffsets", f"has a clock {clock!r}; there are monotonic and boottime")
    if linux.rootfs_propagation not in PROPAGATIONS:
        raise problems.error("linux.rootfsPropagation", "is not a propagation of mounts")
    if linux.personality is not None and linux.personality.domain not in ("LINUX", "LINUX32"):
        raise problems.error("linux.personality.domain", "is not LINUX or LINUX32")
    _check_devices(linux, problems)
    for name, value in linux.sysctl.items():
        _check_sysctl(config, seen, name, value, problems)
    if linux.resources is not None:
        _check_resources(linux, problems)
    if linux.seccomp is not None:
        check_seccomp(linux.seccomp, problems)


def _check_devices(linux: Linux, problems: Problems) -> None:
    for index, device in enumerate(linux.devices):
        path = f"linux.devices[{index}]."
        _text(problems, path + "path", device.path)
        if not device.path.startswith("/"):
            raise problems.error(path + "path", "is not an absolute path")
        if device.type not in ("c", "b", "u", "p"):
            raise problems.error(path + "type", "is not a type of device: c, b, u or p")


def _check_sysctl(config: Config, namespaces: set[str], name: str, value: str, problems: Problems) -> None:
    path = f'linux.sysctl["{name}"]'
    _text(problems, path, value)
    plain = sysctl_name(name)
    needed = namespace_of(plain)
    if needed is None:
        raise problems.error(path, "cannot be set for one container: it is no namespace's")
    for other in ("hostname", "domainname"):
        if plain == f"kernel.{other}" and getattr(config, other):
            raise problems.error(path, f"says what {other} says too")
    if needed not in namespaces:
        raise problems.error(path, f"needs a {needed} namespace")


def namespace_of(sysctl: str) -> str | None:
    """The kind of namespace that a variable is of, by its name with dots; None for one that is the whole machine's."""
    if sysctl in _IPC_SYSCTLS or sysctl.startswith("fs.mqueue."):
        return "ipc"
    if sysctl.startswith("net."):
        return "network"
    return "uts" if sysctl in ("kernel.hostname", "kernel.domainname") else None


def sysctl_name(name: str) -> str:
    """The name of a variable with dots between its parts; sysctl(8) takes slashes, and then a dot is an interface's."""
    first = next((letter for letter in name if letter in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def _check_resources(linux: Linux, problems: Problems) -> None:
    resources = linux.resources
    if resources.cpu is not None:
        for name in ("cpus", "mems"):
            try:
                (processors if name == "cpus" else numbers)(getattr(resources.cpu, name))
            except ValueError as problem:
                raise problems.error(f"linux.resources.cpu.{name}", str(problem)) from None
        if resources.cpu.period == 0 and resources.cpu.quota:
            raise problems.error("linux.resources.cpu.period", "is not a time")
    memory = resources.memory
    if memory is not None:
        for name in ("limit", "reservation", "swap"):
            value = getattr(memory, name)
            if value is not None and value < -1:
                raise problems.error(f"linux.resources.memory.{name}", "is neither a number of bytes nor -1")
        if memory.swap is not None and memory.swap > 0 and memory.limit is not None and memory.limit > memory.swap:
            raise problems.error("linux.resources.memory.swap", f"is below linux.resources.memory.limit, {memory.limit}")
        if memory.swappiness is not None and memory.swappiness > 100:
            raise problems.error("linux.resources.memory.swappiness", "is not from 0 to 100")
    for index, rule in enumerate(resources.devices):
        path = f"linux.resources.devices[{index}]."
        if rule.type not in ("", "a", "b", "c"):
            raise problems.error(path + "type", "is not a type of device: a, b or c")
        if set(rule.access) - set("rwm"):
            raise problems.error(path + "access", "is not made of r, w and m")
    for name in resources.unified:
        if "/" in name or name in (".", "..") or "\0" in name:
            raise problems.error(f'linux.resources.unified["{name}"]', "is not for a file of a control group")


def processors(text: str) -> set[int]:
    """The processors of a list as ``0-3,7``, of which this machine has one at least, or none.  ValueError."""
    found = numbers(text)
    if found and not found.intersection(range(os.sysconf("SC_NPROCESSORS_CONF"))):
        raise ValueError("names no processor of this machine")
    return found


def numbers(text: str) -> set[int]:
    """The numbers of a list as ``0-3,7``; cpuset(7).  ValueError."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        if not re.fullmatch(r"\d{1,6}(-\d{1,6})?", part) or int(last or first) < int(first):
            raise ValueError("is not a list of numbers, as 0-3,7")
        found.update(range(int(first), int(last or first) + 1))
    return found


def check_seccomp(seccomp: Seccomp, problems: Problems) -> None:
    """The rules of a seccomp profile."""
    path = "linux.seccomp."
    if seccomp.default_action not in ACTIONS:
        raise problems.error(path + "defaultAction", "is not an action")
    _check_errno(problems, path + "defaultErrnoRet", seccomp.default_action, seccomp.default_errno_ret)
    for index, architecture in enumerate(seccomp.architectures):
        if architecture not in ARCHITECTURES:
            raise problems.error(f"{path}architectures[{index}]", "is not an architecture")
    for index, flag in enumerate(seccomp.flags):
        if flag not in SECCOMP_FLAGS:
            raise problems.error(f"{path}flags[{index}]", "is not a flag of seccomp(2)")
    notifies = seccomp.default_action == "SCMP_ACT_NOTIFY"
    if notifies:
        raise problems.error(path + "defaultAction", "cannot be the default: nobody would be left to take the notification up")
    for position, rule in enumerate(seccomp.syscalls):
        here = f"{path}syscalls[{position}]."
        if rule.action not in ACTIONS:
            raise problems.error(here + "action", "is not an action")
        if not rule.names:
            raise problems.missing(here + "names", "is empty")
        notifies = notifies or rule.action == "SCMP_ACT_NOTIFY"
        if rule.action == "SCMP_ACT_NOTIFY" and "write" in rule.names:
            raise problems.error(here + "action", "cannot be for write, by which the notification itself is handed over")
        _check_errno(problems, here + "errnoRet", rule.action, rule.errno_ret)
        for number, condition in enumerate(rule.args):
            if condition.index > 5:
                raise problems.error(f"{here}args[{number}].index", "is not an argument's: 0 to 5 are")
            if condition.op not in OPERATORS:
                raise problems.error(f"{here}args[{number}].op", "is not an operator")
    if notifies and not seccomp.listener_path:
        raise problems.missing(path + "listenerPath", "is missing; SCMP_ACT_NOTIFY needs it")


def _check_errno(problems: Problems, path: str, action: str, number: int | None) -> None:
    if number is None:
        return
    if action not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        raise problems.error(path, f"means nothing for {action}")
    if number > _MAX_ERRNO:
        raise problems.error(path, f"is not an error's number, which is at most {_MAX_ERRNO}")


def absolute(destination: str) -> str:
    """Where a mount goes: a destination that is not absolute is taken from / on, as runc takes it."""
    return posixpath.normpath("/" + destination.lstrip("/"))
