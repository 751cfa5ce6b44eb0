"""config.json: what is read, and each way in which it can be wrong."""

from __future__ import annotations

import copy
import json
import os
import re

import pytest
from bundles import CONFIG, REPO
from hypothesis import given
from hypothesis import strategies as some

from containers.oci import fields
from containers.oci.config import Config, ConfigError, load, load_process, parse

SMALLEST = {"ociVersion": "1.2.0", "process": {"cwd": "/", "args": ["sh"]}, "root": {"path": "rootfs"}}


def changed(**changes) -> bytes:
    """The smallest configuration with other values; two underscores part the names on the way to one."""
    config = copy.deepcopy(SMALLEST)
    for path, value in changes.items():
        *above, last = path.split("__")
        here = config
        for name in above:
            here = here.setdefault(name, {})
        here[last] = value
    return json.dumps(config).encode()


def wrong(data: bytes) -> str:
    """What is said of a configuration, which is one line."""
    with pytest.raises(ConfigError) as caught:
        parse(data)
    message = str(caught.value)
    assert message.startswith("config.json: ") and "\n" not in message
    return message.removeprefix("config.json: ")


def test_what_runc_spec_writes_is_read():
    config = parse(json.dumps(CONFIG).encode())
    assert config.process.args == ["true"] and config.mounts[1].options[0] == "nosuid"
    assert [namespace.type for namespace in config.linux.namespaces] == ["pid", "network", "ipc", "uts", "mount"]


def test_nothing_but_version_process_and_root_is_needed():
    config = parse(changed())
    assert isinstance(config, Config) and config.process.user.uid == 0 and config.linux is None


def test_what_the_specification_does_not_know_is_ignored():
    assert parse(changed(windows={"servicing": True}, process__later={"new": [1]}, linux={"memoryPolicy": 3})) is not None


def test_null_is_absent():
    assert parse(changed(process__capabilities=None, linux=None, mounts=None, process__env=None)).mounts == []


LINUX = {"namespaces": [{"type": kind} for kind in ("mount", "uts", "ipc", "network")]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ociVersion": "2.0.0"}, 'ociVersion: "2.0.0" is not supported; versions 1.x are'),
        ({"ociVersion": "new"}, 'ociVersion: "new" is not a version; this is 1.2.0\'s runtime'),
        ({"process": None}, "process is missing"),
        ({"root": None}, "root is missing"),
        ({"process__cwd": "here"}, 'process.cwd: "here" is not an absolute path'),
        ({"process__args": []}, "process.args is missing or empty; it is to be the command"),
        ({"process__args": ["a", 1]}, "process.args[1]: 1 is not a string"),
        ({"process__args": ["a\0"]}, 'process.args[0]: "a\\u0000" has a NUL character'),
        ({"process__env": ["A"]}, 'process.env[0]: "A" is not NAME=VALUE'),
        ({"process__terminal": 1}, "process.terminal: 1 is not true or false"),
        ({"process__user": {"uid": "root"}}, 'process.user.uid: "root" is not a number'),
        ({"process__user": {"uid": 1 << 32}}, "process.user.uid: 4294967296 is too large"),
        ({"process__user": {"gid": -1}}, "process.user.gid: -1 is too small"),
        ({"process__user": {"umask": 512}}, "process.user.umask: 512 is not a umask, which is at most 511 (octal 777)"),
        ({"process__consoleSize": {"height": 1.5}}, "process.consoleSize.height: 1.5 is not a number"),
        (
            {"process__rlimits": [{"type": "RLIMIT_FOO", "hard": 1, "soft": 1}]},
            'process.rlimits[0].type: "RLIMIT_FOO" is not a resource limit of Linux',
        ),
        (
            {"process__rlimits": [{"type": "RLIMIT_CPU", "hard": 1, "soft": 2}]},
            "process.rlimits[0].soft: 2 is above the hard limit, 1",
        ),
        ({"process__rlimits": [{"type": "RLIMIT_CPU", "hard": 1}]}, "process.rlimits[0].soft is missing"),
        (
            {"process__rlimits": [{"type": "RLIMIT_CPU", "hard": 1, "soft": 1}] * 2},
            'process.rlimits[1].type: "RLIMIT_CPU" stands there twice',
        ),
        (
            {"process__rlimits": [{"type": "RLIMIT_CPU", "hard": 1 << 64, "soft": 1}]},
            f"process.rlimits[0].hard: {1 << 64} is too large",
        ),
        ({"process__oomScoreAdj": 1001}, "process.oomScoreAdj: 1001 is not from -1000 to 1000"),
        (
            {"process__scheduler": {"policy": "SCHED_BEST"}},
            'process.scheduler.policy: "SCHED_BEST" is not a scheduling policy of Linux',
        ),
        (
            {"process__scheduler": {"policy": "SCHED_OTHER", "priority": 3}},
            "process.scheduler.priority: 3 can be set for SCHED_FIFO and SCHED_RR only, not for SCHED_OTHER",
        ),
        (
            {"process__ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
            "process.ioPriority.priority: 8 is not from 0 to 7",
        ),
        ({"hostname": "x" * 65}, f'hostname: "{"x" * 65}" is longer than the 64 bytes that the kernel takes'),
        ({"hostname": "x"}, 'hostname: "x" cannot be set without a uts namespace'),
        ({"mounts": {}}, "mounts: {} is not a list"),
        ({"mounts": [{"type": "tmpfs"}]}, "mounts[0].destination is missing"),
        ({"mounts": [{"destination": "/x", "options": "ro"}]}, 'mounts[0].options: "ro" is not a list'),
        ({"mounts": [{"destination": "/x", "options": ["rbind"]}]}, "mounts[0].source is missing; a bind mount has one"),
        ({"hooks": {"prestart": [{"path": "hook"}]}}, 'hooks.prestart[0].path: "hook" is not an absolute path'),
        (
            {"hooks": {"createRuntime": [{"path": "/hook", "timeout": 0}]}},
            "hooks.createRuntime[0].timeout: 0 is not a number of seconds above 0",
        ),
        ({"annotations": {"a": 1}}, 'annotations["a"]: 1 is not a string'),
        ({"linux": {"namespaces": [{"type": "mnt"}]}}, 'linux.namespaces[0].type: "mnt" is not a kind of namespaces'),
        ({"linux": {"namespaces": [{"type": "pid"}] * 2}}, 'linux.namespaces[1].type: "pid" stands there twice'),
        ({"linux": {"maskedPaths": ["/x"]}}, 'linux.maskedPaths: ["/x"] needs a mount namespace'),
        ({"linux": {**LINUX, "readonlyPaths": ["x"]}}, 'linux.readonlyPaths[0]: "x" is not an absolute path'),
        ({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}},
         'linux.uidMappings: [{"containerID": 0, "hostID": 1, "size": 1}] needs a user namespace'),
        (
            {"linux": {"devices": [{"path": "/d", "type": "x"}]}},
            'linux.devices[0].type: "x" is not a type of device: c, b, u or p',
        ),
        (
            {"linux": {**LINUX, "sysctl": {"kernel.panic": "1"}}},
            'linux.sysctl["kernel.panic"]: "1" cannot be set for one container: it is no namespace\'s',
        ),
        ({"linux": {"sysctl": {"net.core.somaxconn": "1"}}}, 'linux.sysctl["net.core.somaxconn"]: "1" needs a network namespace'),
        ({"linux": {"rootfsPropagation": "open"}}, 'linux.rootfsPropagation: "open" is not a propagation of mounts'),
        ({"linux": {"personality": {"domain": "BSD"}}}, 'linux.personality.domain: "BSD" is not LINUX or LINUX32'),
        (
            {"linux": {"resources": {"cpu": {"cpus": "3-1"}}}},
            'linux.resources.cpu.cpus: "3-1" is not a list of numbers, as 0-3,7',
        ),
        (
            {"linux": {"resources": {"memory": {"limit": 5, "swap": 4}}}},
            "linux.resources.memory.swap: 4 is below linux.resources.memory.limit, 5",
        ),
        ({"linux": {"seccomp": {"defaultAction": "ALLOW"}}}, 'linux.seccomp.defaultAction: "ALLOW" is not an action'),
        (
            {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}}},
            "linux.seccomp.syscalls[0].args[0].index: 6 is not an argument's: 0 to 5 are",
        ),
        (
            {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}}},
            "linux.seccomp.listenerPath is missing; SCMP_ACT_NOTIFY needs it",
        ),
    ],
)  # fmt: skip
def test_an_error_names_property_and_value(changes, message):
    assert wrong(changed(**changes)) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not JSON: "), (b"[]", "the whole: [] is not an object"), (b"\xff\xfe", "not JSON: "), (b"", "not JSON: "),
        (b"[" * 100000, "not JSON that can be read: nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_at_all_is_said_in_a_line(data, message):
    assert wrong(data).startswith(message)


def test_a_bundle_without_a_config_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config.json: there is no such file; a bundle is a directory with a config.json$"):
        load(str(tmp_path))


def test_a_named_pipe_for_a_config_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"config.json: not a regular file$"):
        load(str(tmp_path))


def test_a_process_by_itself_is_read_and_checked_alike(tmp_path):
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"cwd": "/", "args": ["sh"], "user": {"uid": 5, "gid": 6}}))
    assert load_process(str(path)).user.gid == 6
    path.write_text(json.dumps({"cwd": "tmp", "args": ["sh"]}))
    with pytest.raises(ConfigError, match=f'^{re.escape(str(path))}: cwd: "tmp" is not an absolute path$'):
        load_process(str(path))


JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(1 << 70), 1 << 70) | some.floats(allow_nan=False) | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PATHS = [path for path in fields.properties() if path.count(".") < 4]


@given(path=some.sampled_from(PATHS), value=JSON)
def test_no_value_anywhere_is_more_than_a_line(path, value):
    config = copy.deepcopy({**SMALLEST, "linux": LINUX})
    *above, last = path.split(".")
    here = config
    for name in above:
        inside = here.get(name)
        here[name] = inside if isinstance(inside, dict) else {}
        here = here[name]
    here[last] = value
    try:
        parse(json.dumps(config).encode())
    except ConfigError as problem:
        assert "\n" not in str(problem)


# -- what is kept -----------------------------------------------------------------------------------


def test_each_property_has_a_fate_and_each_fate_a_property():
    known = set(fields.properties())
    assert set(fields.FIELDS) <= known
    assert all(fields.fate(path)[0] for path in known)
    assert {path for path in known if "." not in path} <= set(fields.FIELDS)


def test_the_documentation_has_the_table_of_the_code():
    assert f"<!-- fields -->\n{fields.table()}\n<!-- end of fields -->" in (REPO / "docs/oci.md").read_text()
