"""The mounts, devices and covered paths of config.json as what a sandbox is to have mounted."""

from __future__ import annotations

import os
import stat

from containers.mounts import Mounting, Node, Table
from containers.oci.checks import absolute
from containers.oci.config import Config, Linux, Mount, Problems
from vfs.namespace import Flags

#: Options of mount(8) that set something (the name of what, and to what), or that say what is so anyhow (None).
OPTIONS: dict[str, tuple[str, object] | None] = {
    "ro": ("read_only", True), "rw": ("read_only", False), "rro": ("read_only", True), "rrw": ("read_only", False),
    "nosuid": ("nosuid", True), "suid": ("nosuid", False), "rnosuid": ("nosuid", True), "rsuid": ("nosuid", False),
    "nodev": ("nodev", True), "dev": ("nodev", False), "rnodev": ("nodev", True), "rdev": ("nodev", False),
    "noexec": ("noexec", True), "exec": ("noexec", False), "rnoexec": ("noexec", True), "rexec": ("noexec", False),
    "relatime": ("atime", b"relatime"), "norelatime": ("atime", b"relatime"), "noatime": ("atime", b"noatime"),
    "atime": ("atime", b"relatime"), "strictatime": ("atime", b""), "nostrictatime": ("atime", b"relatime"),
    "rrelatime": ("atime", b"relatime"), "rnorelatime": ("atime", b"relatime"), "rnoatime": ("atime", b"noatime"),
    "ratime": ("atime", b"relatime"), "rstrictatime": ("atime", b""), "rnostrictatime": ("atime", b"relatime"),
    "nodiratime": ("diratime", False), "diratime": ("diratime", True), "rnodiratime": ("diratime", False),
    "rdiratime": ("diratime", True),
    "bind": ("bind", True), "rbind": ("bind", True), "tmpcopyup": ("copy", True),
    "private": None, "rprivate": None, "unbindable": None, "runbindable": None, "defaults": None, "remount": None, "async": None,
    "nomand": None, "noiversion": None, "loud": None, "silent": None, "symfollow": None, "rsymfollow": None,
    "noacl": None, "lazytime": None, "nolazytime": None,
}  # fmt: skip
#: Options that are not kept, and why.
SPOKEN = {
    "acl": "there are no access control lists",
    "shared": "nothing is passed on", "rshared": "nothing is passed on", "slave": "nothing is passed on",
    "rslave": "nothing is passed on", "sync": "writes are not waited for", "dirsync": "writes are not waited for",
    "mand": "there are no mandatory locks", "iversion": "there are no versions", "idmap": "owners are not mapped",
    "ridmap": "owners are not mapped", "nosymfollow": "symlinks are followed", "rnosymfollow": "symlinks are followed",
}  # fmt: skip
_KINDS = {
    "tmpfs": "tmpfs", "proc": "proc", "sysfs": "sysfs", "devpts": "devpts", "mqueue": "mqueue", "cgroup": "cgroup",
    "cgroup2": "cgroup", "bind": "bind",
}  # fmt: skip
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}
#: Devices that a guest may have, by number.
DEVICES = {
    "/dev/null": (1, 3), "/dev/random": (1, 8), "/dev/full": (1, 7), "/dev/tty": (5, 0), "/dev/zero": (1, 5),
    "/dev/urandom": (1, 9),
}  # fmt: skip
_DEVICE_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "p": stat.S_IFIFO}


def table(config: Config, bundle: str, problems: Problems, warn, view=None) -> Table:
    """What is to be mounted; `warn(path, reason)` is told what cannot be as it is asked for.  `ConfigError`."""
    linux = config.linux or Linux()
    result = Table()
    for index, mount in enumerate(config.mounts):
        result.mounts.append(_mounting(mount, bundle, f"mounts[{index}]", problems, warn, view))
    result.nodes = [Node(path.encode(), os.makedev(*number)) for path, number in DEVICES.items()]
    for index, device in enumerate(linux.devices):
        kind, number = _DEVICE_TYPES.get(device.type, 0), (device.major, device.minor)
        if kind == stat.S_IFIFO:
            number = (0, 0)
        elif kind != stat.S_IFCHR or number not in DEVICES.values():
            shown = f"{device.type} {device.major}:{device.minor}"
            raise problems.error(f"linux.devices[{index}].path", f"cannot be had: {shown} is the host's; {_HARMLESS} can")
        mode = kind | (0o666 if device.file_mode is None else device.file_mode & 0o777)
        node = Node(os.fsencode(device.path), os.makedev(*number), mode, device.uid or 0, device.gid or 0, True)
        result.nodes = [*(other for other in result.nodes if other.path != node.path), node]
    result.read_only = [os.fsencode(path) for path in linux.readonly_paths]
    result.masked = [os.fsencode(path) for path in linux.masked_paths]
    return result


_HARMLESS = ", ".join(path.removeprefix("/dev/") for path in DEVICES)


def _mounting(mount: Mount, bundle: str, path: str, problems: Problems, warn, view) -> Mounting:
    found: dict[str, object] = {"atime": b"relatime", "diratime": True}
    data: list[str] = []
    for index, option in enumerate(mount.options):
        here = f"{path}.options[{index}]"
        if option in SPOKEN:
            warn(here, SPOKEN[option])
        elif option not in OPTIONS:
            data.append(option)
        elif (setting := OPTIONS[option]) is not None:
            found[setting[0]] = setting[1]
    kind = "bind" if found.get("bind") else _KINDS.get(mount.type)
    if kind is None:
        raise problems.error(f"{path}.type", "is not a file system that int80 can mount")
    if mount.uid_mappings:
        warn(f"{path}.uidMappings", "owners are not mapped")
    flags = Flags(bool(found.get("read_only")), bool(found.get("nosuid")), bool(found.get("nodev")), bool(found.get("noexec")))
    flags.shown = _shown(flags, found)
    source = mount.source
    if kind == "bind":
        source = os.path.join(bundle, source)
        if not (os.path.lexists(source) if view is None else view.exists(source)):
            raise problems.error(f"{path}.source", "is not there")
        if view is None and stat.S_ISSOCK(os.stat(source).st_mode if os.path.exists(source) else 0):
            warn(f"{path}.source", "is a socket of the host's, which nobody inside connects to")
    result = Mounting(kind, os.fsencode(absolute(mount.destination)), os.fsencode(source), flags)
    result.copy = bool(found.get("copy"))
    if kind == "tmpfs":
        _tmpfs(result, data, path, mount, problems, warn)
    flags.super_shown = b",".join([b"rw", *(os.fsencode(option) for option in _super_data(kind, data, result.size))])
    if kind in ("proc", "sysfs") and found.get("read_only"):
        flags.super_shown = b"ro" + flags.super_shown[2:]
    return result


def _super_data(kind: str, data: list[str], size: int | None) -> list[str]:
    """The options of a file system as the kernel shows them."""
    if kind == "tmpfs":
        order = ("size", "nr_inodes", "mode", "uid", "gid")
        shown = {option.partition("=")[0]: option for option in data}
        if size is not None:
            shown["size"] = f"size={size >> 10}k"
        return [shown[name] for name in order if name in shown and shown[name] != "mode=1777"]
    if kind == "devpts":
        given = dict(option.partition("=")[::2] for option in data)
        names = [f"gid={given['gid']}"] if "gid" in given else []
        names.append(f"mode={given.get('mode', '600').lstrip('0')}")
        return [*names, f"ptmxmode={given.get('ptmxmode', '000').lstrip('0') or '000'}"]
    return []


def _shown(flags: Flags, found: dict[str, object]) -> bytes:
    words = [b"ro" if flags.read_only else b"rw"]
    words += [name.encode() for name in ("nosuid", "nodev", "noexec") if getattr(flags, name)]
    times = [b"noatime", b"nodiratime", b"relatime"]
    words += [word for word in times if word == found["atime"] or (word == b"nodiratime" and not found["diratime"])]
    return b",".join(words)


def _tmpfs(result: Mounting, data: list[str], path: str, mount: Mount, problems: Problems, warn) -> None:
    for option in data:
        name, _, value = option.partition("=")
        here = f"{path}.options[{mount.options.index(option)}]"
        try:
            match name:
                case "size":
                    result.size = _size(value)
                case "mode":
                    result.mode = int(value, 8)
                case "uid":
                    result.uid = int(value)
                case "gid":
                    result.gid = int(value)
                case "nr_blocks":
                    result.size = _size(value) and _size(value) * _PAGE
                case "nr_inodes":
                    warn(here, "only bytes are counted")
                case "huge" | "mpol" | "inode32" | "inode64" | "noswap":
                    continue
                case _:
                    raise problems.error(here, "is not an option of tmpfs")
        except ValueError:
            raise problems.error(here, "has no value that tmpfs takes") from None


def _size(text: str) -> int:
    """Bytes of a size as tmpfs(5) takes it: with a unit, or in percents of the memory there is."""
    if text.endswith("%"):
        return int(text[:-1]) * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 100
    shift = _UNITS.get(text[-1:].lower(), 0)
    size = int(text[:-1] if shift else text) << shift
    if size < 0:
        raise ValueError(text)
    return size or None
