"""What the options of `run` that say what a container may use, have and do come to as settings: docker's and podman's words.

docker-run(1), podman-run(1).  An option that asks for what no sandbox has is refused with the reason (`refusal`).
"""

from __future__ import annotations

import os
import re

from containers.sandbox import Memory, Settings, Volume
from containers.status import CannotRun
from procs.credentials import ALL_CAPABILITIES, Credentials
from procs.limits import PERIOD
from tracer.attributes import Attributes
from vfs.namespace import Namespace

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s?([bkmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_LEAST_QUOTA, _LONGEST_PERIOD = 1000, 1_000_000  # microseconds, as the kernel has them
_USUAL_SHARES = 1024
_UNLIMITED = (1 << 64) - 1
_PROFILE_MAX = 4 << 20  # bytes of a seccomp profile

_NAMESPACES = "what a container has of it is its own"
_CGROUP = "that takes a control group; a bundle (`int80 run --bundle`) may have one"
_REFUSED = {
    "--privileged": "no container has this machine's devices or rights",
    "--device": "no container has this machine's devices",
    "--device-cgroup-rule": "no container has this machine's devices",
    "--gpus": "no container has this machine's devices",
    "--pid": _NAMESPACES, "--ipc": _NAMESPACES, "--uts": _NAMESPACES, "--cgroupns": _NAMESPACES,
    "--userns": "there is no user namespace: who a guest is (--user) is known inside alone",
    "--cgroup-parent": _CGROUP, "--memory-swap": "swap is not limited", "--memory-reservation": _CGROUP,
    "--memory-swappiness": _CGROUP, "--kernel-memory": _CGROUP, "--blkio-weight": _CGROUP, "--cpuset-mems": _CGROUP,
    "--cpu-rt-runtime": _CGROUP, "--cpu-rt-period": _CGROUP, "--oom-kill-disable": "who takes too much is killed",
    "--device-read-bps": _CGROUP, "--device-write-bps": _CGROUP, "--device-read-iops": _CGROUP, "--device-write-iops": _CGROUP,
    "--publish-all": "publish the ports by number, with --net host and -p HOST:GUEST",
    "-P": "publish the ports by number, with --net host and -p HOST:GUEST",
    "--link": "there are no networks between containers", "--network-alias": "there are no networks between containers",
    "--ip": "there are no networks between containers", "--ip6": "there are no networks between containers",
    "--mac-address": "there are no networks between containers", "--pod": "there are no pods",
    "--volumes-from": "give the volumes themselves, with -v SRC:DST",
    "--volume-driver": "there are no volumes by name; -v SRC:DST shows a directory of this machine",
    "--log-driver": "what a container writes is kept in docker's json-file format",
    "--log-opt": "what a container writes is kept whole",
    "--runtime": "int80 is the runtime", "--isolation": "that is for Windows",
    "--health-cmd": "there are no health checks", "--health-interval": "there are no health checks",
    "--health-retries": "there are no health checks", "--health-timeout": "there are no health checks",
    "--health-start-period": "there are no health checks",
    "--attach": "a container without -d has all three streams; -i says whether it reads",
    "-a": "a container without -d has all three streams; -i says whether it reads",
    "--tz": "set TZ with -e", "--timezone": "set TZ with -e", "--secret": "show the file with -v FILE:/run/secrets/NAME:ro",
    "--rmi": "remove the image with `int80 rmi`", "--systemd": "nothing that takes a machine of its own runs inside",
}  # fmt: skip


def refusal(message: str) -> str:
    """A parser's message of unrecognized arguments with the reason why there is no such option, where it is docker's."""
    words = message.removeprefix("unrecognized arguments: ").split()
    for word in words if message.startswith("unrecognized") else ():
        name = word.partition("=")[0]
        if name in _REFUSED:
            return f"{name}: {_REFUSED[name]}; leave it out"
    return message


class Rights:
    """What of root's rights there is, and groups beside those of the user."""

    def __init__(self, bounding: int, added: int, groups: list[str]) -> None:
        self._bounding = bounding
        self._added = added
        self._groups = groups

    def give(self, credentials: Credentials, namespace: Namespace) -> None:
        """Have them as they are asked for.  `CannotRun` for a group that the root does not know.

        What is added by name a user other than root has too, as podman has it: ambient(7).
        """
        credentials.bounding = self._bounding
        if credentials.uid == 0:
            credentials.permitted = credentials.effective = self._bounding
        else:
            sets = self._added & self._bounding
            credentials.permitted = credentials.effective = credentials.inheritable = credentials.ambient = sets
        if self._groups:
            from containers.images.run import find_group

            found = {find_group(namespace, name) for name in self._groups}
            credentials.groups = tuple(sorted(found.union(credentials.groups)))


def apply(options, settings: Settings) -> None:
    """Have settings be as the options of `run` say.  `CannotRun`."""
    _limits(options, settings)
    _rights(options, settings)
    for text in options.mount:
        _mount(text, settings)
    if options.shm_size is not None:
        settings.shm_size = size("--shm-size", options.shm_size)
    for text in options.sysctl:
        _sysctl(text, settings)
    if options.umask is not None:
        if not re.fullmatch("[0-7]{1,4}", options.umask) or int(options.umask, 8) > 0o777:
            raise CannotRun(f"--umask {options.umask}: give an octal number up to 0777")
        settings.umask = int(options.umask, 8)
    if options.init:
        settings.init = _init()
    if options.domainname is not None:
        settings.domainname = os.fsencode(options.domainname)


# -- limits -----------------------------------------------------------------------------------------


def size(option: str, text: str) -> int:
    """Bytes of a size as 512m, 1.5g or 64MiB.  `CannotRun`."""
    match = _SIZE.fullmatch(text.strip())
    number = int(float(match[1]) * (1 << _UNITS[match[2].lower()])) if match else 0
    if not 0 < number < 1 << 63:
        raise CannotRun(f"{option} {text}: give a size, as in 512m or 2g")
    return number


def _attributes(settings: Settings) -> Attributes:
    if settings.attributes is None:
        settings.attributes = Attributes()
    return settings.attributes


def _limits(options, settings: Settings) -> None:
    limits = settings.limits
    if options.memory is not None:
        limits.memory = size("--memory", options.memory)
    if options.cpus is not None:
        if options.cpu_quota is not None or options.cpu_period is not None:
            raise CannotRun("--cpus: says what --cpu-quota and --cpu-period say too; leave one of them out")
        if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?|\.\d{1,9}", options.cpus, re.ASCII) or float(options.cpus) < 0.01:
            raise CannotRun(f"--cpus {options.cpus}: give how many, at least 0.01, as in 1.5")
        limits.quota = int(float(options.cpus) * PERIOD)
    if options.cpu_period is not None:
        limits.period = _number("--cpu-period", options.cpu_period, _LEAST_QUOTA, _LONGEST_PERIOD)
    if options.cpu_quota is not None and options.cpu_quota != "-1":
        limits.quota = _number("--cpu-quota", options.cpu_quota, _LEAST_QUOTA, 1 << 40)
    if options.cpu_shares is not None:
        limits.shares = _number("--cpu-shares", options.cpu_shares, 0, 262144) or None
        if limits.shares is not None and limits.shares < _USUAL_SHARES:
            from containers.oci.settings import niceness

            _attributes(settings).nice = niceness(limits.shares)
    if options.cpuset_cpus:
        from containers.oci.checks import processors

        try:
            _attributes(settings).processors = processors(options.cpuset_cpus)
        except ValueError as problem:
            raise CannotRun(
                f"--cpuset-cpus {options.cpuset_cpus}: {problem}; there are 0 to {os.sysconf('SC_NPROCESSORS_CONF') - 1}"
            ) from None
    if options.oom_score_adj is not None:
        _attributes(settings).oom_score_adj = _number("--oom-score-adj", options.oom_score_adj, -1000, 1000)
    for text in options.ulimit:
        _ulimit(text, _attributes(settings))


def _number(option: str, text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII) or not least <= int(text) <= most:
        raise CannotRun(f"{option} {text}: give a number from {least} to {most}")
    return int(text)


def _ulimit(text: str, attributes: Attributes) -> None:
    """NAME=SOFT[:HARD], in the units of setrlimit(2); -1 and `unlimited` are no limit."""
    from containers.oci.checks import RLIMITS

    name, _, value = text.partition("=")
    kind = f"RLIMIT_{name.upper()}"
    parts = value.split(":")
    if kind not in RLIMITS:
        known = ", ".join(sorted(limit.removeprefix("RLIMIT_").lower() for limit in RLIMITS))
        raise CannotRun(f"--ulimit {text}: there is no such limit; there are {known}")
    if len(parts) > 2 or not all(re.fullmatch(r"-1|unlimited|\d{1,19}", part, re.ASCII) for part in parts):
        raise CannotRun(f"--ulimit {text}: give NAME=SOFT or NAME=SOFT:HARD, as in nofile=1024:4096")
    soft, hard = (_UNLIMITED if part in ("-1", "unlimited") else int(part) for part in (parts[0], parts[-1]))
    if soft > hard:
        raise CannotRun(f"--ulimit {text}: the soft limit is above the hard one")
    if kind == "RLIMIT_CORE":
        if soft:
            raise CannotRun(f"--ulimit {text}: guests leave no core files, which would lie on this machine; leave it out")
        return
    number = RLIMITS.index(kind)
    attributes.rlimits[number] = (soft, hard)
    attributes.names[number] = f"--ulimit {text}"


# -- rights -----------------------------------------------------------------------------------------


def _rights(options, settings: Settings) -> None:
    added = _capabilities("--cap-add", options.cap_add)
    bounding = ALL_CAPABILITIES & ~_capabilities("--cap-drop", options.cap_drop) | added
    if options.cap_add or options.cap_drop or options.group_add:
        # All are there anyway: what a user other than root is to have is only what is asked for by its name.
        by_name = _capabilities("--cap-add", [name for name in options.cap_add if name.upper() != "ALL"])
        settings.rights = Rights(bounding, by_name, options.group_add)
    for text in options.security_opt:
        name, _, value = text.partition("=" if "=" in text else ":")
        match name, value:
            case "no-new-privileges", "" | "true":
                settings.no_new_privs = True
            case "no-new-privileges", "false":
                settings.no_new_privs = False
            case "seccomp", "unconfined":
                settings.profile = None
            case "seccomp", value if value:
                settings.profile = _profile(value, bounding)
            case ("label", _) | ("apparmor", "unconfined"):
                pass  # nothing of the kind is put on anybody
            case "apparmor", _:
                raise CannotRun(f"--security-opt {text}: int80 puts no process under a profile of AppArmor; leave it out")
            case _:
                raise CannotRun(
                    f"--security-opt {text}: there are no-new-privileges, seccomp=FILE, seccomp=unconfined, apparmor=unconfined "
                    "and label=disable"
                )


def _capabilities(option: str, names: list[str]) -> int:
    from abi.decoding.constants.security import CAPABILITIES

    known = {name: number for number, name in CAPABILITIES.items()}
    bits = 0
    for text in (part for name in names for part in name.split(",")):
        name = text.upper()
        if name == "ALL":
            bits |= ALL_CAPABILITIES
            continue
        number = known.get(name if name.startswith("CAP_") else f"CAP_{name}")
        if number is None:
            raise CannotRun(f"{option} {text}: there is no such capability; capabilities(7) names them, and ALL is all of them")
        bits |= 1 << number
    return bits


def _profile(path: str, bounding: int):
    """The filter of a seccomp profile as docker writes it, or of linux.seccomp of a config.json.  `CannotRun`."""
    import json

    import msgspec

    from containers.oci import checks, filters
    from containers.oci.config import ConfigError, Problems, Seccomp

    where = f"--security-opt seccomp={path}"
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(_PROFILE_MAX))
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        rules = [rule for rule in document.get("syscalls") or [] if _counts(rule, bounding)]
        for rule in rules:  # an older form had one name for each
            rule["names"] = rule.get("names") or [rule.get("name", "")]
            rule["args"] = rule.get("args") or []
        plain = {key: value for key, value in document.items() if key in ("defaultAction", "defaultErrnoRet", "flags") and value}
        profile = msgspec.convert(plain | {"syscalls": rules}, Seccomp)
        problems = Problems(where, {"linux": {"seccomp": document | {"syscalls": rules}}})
        checks.check_seccomp(profile, problems)
        return filters.compiled(profile, problems)
    except OSError as problem:
        raise CannotRun(f"{where}: {problem.strerror.lower()}") from None
    except (ValueError, msgspec.MsgspecError, TypeError, AttributeError, RecursionError) as problem:
        raise CannotRun(f"{where}: no seccomp profile: {str(problem).splitlines()[0]}") from None
    except ConfigError as problem:
        raise CannotRun(str(problem)) from None


def _counts(rule: dict, bounding: int) -> bool:
    """Whether a rule is for this machine and for what capabilities there are: `includes` and `excludes` of docker's profiles."""
    kernel = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}

    def has(name: str) -> bool:
        try:
            return bool(bounding & _capabilities("", [name]))
        except CannotRun:
            return False

    def new_enough(text: str | None) -> bool:
        return not text or kernel >= tuple(int(part) for part in text.split(".")[:2])

    if not all(map(has, wanted.get("caps") or [])) or not new_enough(wanted.get("minKernel")):
        return False
    if wanted.get("arches") and "amd64" not in wanted["arches"]:
        return False
    unwanted_kernel = unwanted.get("minKernel")
    return not (
        any(map(has, unwanted.get("caps") or []))
        or "amd64" in (unwanted.get("arches") or [])
        or (unwanted_kernel and new_enough(unwanted_kernel))
    )


# -- files ------------------------------------------------------------------------------------------


def _mount(text: str, settings: Settings) -> None:
    """type=bind|tmpfs,src=...,dst=...,ro; values are as in a line of CSV."""
    import csv

    try:
        parts = next(csv.reader([text], strict=True), [])
    except csv.Error:
        raise CannotRun(f"--mount {text}: no list of KEY=VALUE") from None
    given: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        given[_MOUNT_KEYS.get(key.lower(), key.lower())] = value if equals else "true"
    kind = given.pop("type", "volume")
    target = given.pop("target", "")
    if kind not in ("bind", "tmpfs"):
        what = "no volumes by name" if kind == "volume" else f"no mounts of type {kind}"
        raise CannotRun(f"--mount {text}: there are {what}; give type=bind,src=PATH,dst=PATH or type=tmpfs,dst=PATH")
    if not target.startswith("/"):
        raise CannotRun(f"--mount {text}: give dst=PATH, a path that begins with /")
    allowed = _BIND_KEYS if kind == "bind" else _TMPFS_KEYS
    for key in given:
        if key not in allowed:
            raise CannotRun(f"--mount {text}: {key} is nothing that a {kind} mount has; there are {', '.join(sorted(allowed))}")
    if kind == "tmpfs":
        mode = given.get("tmpfs-mode", "1777")
        if not re.fullmatch("[0-7]{1,4}", mode):
            raise CannotRun(f"--mount {text}: tmpfs-mode is an octal number")
        limit = size("--mount tmpfs-size", given["tmpfs-size"]) if "tmpfs-size" in given else None
        settings.tmpfs.append(Memory(os.fsencode(target), limit, int(mode, 8)))
        return
    source = given.get("source", "")
    if not source:
        raise CannotRun(f"--mount {text}: give src=PATH, what of this machine is to be there")
    if given.get("readonly", "false") not in ("true", "false", "1", "0"):
        raise CannotRun(f"--mount {text}: readonly is true or false")
    settings.volumes.append(Volume(source, os.fsencode(target), given.get("readonly") in ("true", "1"), "--mount"))


_MOUNT_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BIND_KEYS = frozenset(("source", "readonly", "bind-propagation", "consistency", "relabel", "bind-nonrecursive"))
_TMPFS_KEYS = frozenset(("tmpfs-size", "tmpfs-mode"))


def _sysctl(text: str, settings: Settings) -> None:
    from containers.oci.checks import namespace_of, sysctl_name

    name, equals, value = text.partition("=")
    plain = sysctl_name(name)
    if not equals or not name:
        raise CannotRun(f"--sysctl {text}: give NAME=VALUE, as in net.core.somaxconn=1024")
    if namespace_of(plain) is None:
        raise CannotRun(f"--sysctl {text}: cannot be set for one container: it is this machine's")
    if plain == "kernel.hostname":
        settings.hostname = os.fsencode(value)
    elif plain == "kernel.domainname":
        settings.domainname = os.fsencode(value)
    else:
        settings.sysctl[os.fsencode(plain)] = os.fsencode(value)


def _init() -> str:
    """A small init of this machine's that a sandbox of any root can run.  `CannotRun`."""
    for name in ("catatonit", "tini-static", "docker-init", "tini"):
        for directory in (*os.environ.get("PATH", "").split(":"), "/usr/bin", "/usr/libexec/podman", "/usr/libexec/docker"):
            path = os.path.join(directory or ".", name)
            if os.access(path, os.X_OK) and _is_static(path):
                return os.path.abspath(path)
    raise CannotRun("--init: needs a static catatonit, tini or docker-init on this machine; Debian's package is called catatonit")


def _is_static(path: str) -> bool:
    from procs import elf

    try:
        with open(path, "rb") as file:
            return elf.read(file.fileno(), file.read(64)).interpreter is None
    except OSError:
        return False


# -- names of machines ------------------------------------------------------------------------------


def name_files(settings: Settings, hosts: list[str], servers: list[str], searched: list[str]) -> list[tuple[bytes, bytes]]:
    """What /etc/hosts, /etc/hostname and /etc/resolv.conf hold, for the root of an image or where somebody says it: path,
    text.  `CannotRun`.
    """
    files = []
    whole = settings.image is not None
    shared = settings.net == "host"
    if whole or hosts:
        text = _read("/etc/hosts") if shared or not whole else b""
        text = text or b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        known = {name for line in text.splitlines() for name in line.partition(b"#")[0].split()[1:]}
        if settings.hostname not in known:
            text = text.rstrip(b"\n") + b"\n127.0.1.1\t" + settings.hostname + b"\n"
        files.append((b"/etc/hosts", text + b"".join(_host_line(item) for item in hosts)))
    if whole:
        files.append((b"/etc/hostname", settings.hostname + b"\n"))
    if servers or searched or (whole and shared):
        text = b"" if servers else _read("/etc/resolv.conf")
        text += b"".join(b"nameserver %s\n" % os.fsencode(_address("--dns", server)) for server in servers)
        if searched:
            text += b"search " + os.fsencode(" ".join(searched)) + b"\n"
        files.append((b"/etc/resolv.conf", text))
    return files


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""


def _host_line(text: str) -> bytes:
    """A line of /etc/hosts from NAME:ADDRESS (or NAME=ADDRESS); the address may be in brackets."""
    name, separator, address = text.partition("=" if "=" in text else ":")
    address = "127.0.0.1" if address == "host-gateway" else address.removeprefix("[").removesuffix("]")
    if not separator or not name or any(char.isspace() for char in name):
        raise CannotRun(f"--add-host {text}: give NAME:ADDRESS, as in db:10.0.0.5")
    return os.fsencode(f"{_address('--add-host', address)}\t{name}\n")


def _address(option: str, text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise CannotRun(f"{option} {text}: no address; give one as 10.0.0.5 or fd00::5") from None
