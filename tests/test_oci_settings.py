"""What a bundle's configuration comes to inside, beside what runc makes of the same bundle."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import bundles
import pytest
from bundles import Bundle, works
from conftest import make_root


@pytest.fixture
def bundle(tmp_path, busybox) -> Bundle:
    make_root(tmp_path / "rootfs", busybox)
    return Bundle(tmp_path)


@pytest.fixture(scope="session")
def runc(tmp_path_factory, busybox) -> str:
    place = tmp_path_factory.mktemp("runc")
    make_root(place / "rootfs", busybox)
    if not works("runc", Bundle(place)):
        pytest.skip("runc does not run bundles here")
    return "runc"


def output(done) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def same(bundle: Bundle, runc: str) -> str:
    """Run it by both; what both say."""
    theirs = output(bundle.of(runc))
    ours = output(bundle.int80())
    assert ours == theirs
    return ours


IDENTITY = r"""
id; pwd; umask; env | sort; hostname; uname -n; ulimit -a; cat /proc/self/oom_score_adj
grep -E '^(Umask|Uid|Gid|Groups|NSpid|NSpgid|NSsid|Cap.*|NoNewPrivs|Seccomp):' /proc/1/status
"""


def test_the_process_is_the_same_as_by_runc(bundle, runc):
    said = same(bundle.script(IDENTITY), runc)
    assert "CapEff:\t0000000020000420" in said and "HOME=/root" in said


def test_ids_groups_limits_and_a_directory_that_is_not_there_are_the_same_as_by_runc(bundle, runc):
    process = bundle.config["process"]
    process["user"] = {"uid": 1234, "gid": 77, "additionalGids": [9, 5], "umask": 0o027}
    process["cwd"] = "/made/on/the/way"
    process["env"] = ["PATH=/bin", "A=b=c", "EMPTY=", "A=d", "HOME=/elsewhere"]
    process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": (1 << 64) - 1},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 1 << 21},
    ]  # fmt: skip
    process["oomScoreAdj"] = 123
    said = same(bundle.script(IDENTITY + "touch /tmp/made; stat -c %a /tmp/made; stat -c '%u %a' /made /made/on/the/way"), runc)
    assert "A=d" in said and "Groups:\t5 9" in said and "0027" in said


@pytest.mark.parametrize("privileged", [False, True])
def test_all_five_sets_of_capabilities_are_the_same_as_by_runc(bundle, runc, privileged):
    process = bundle.config["process"]
    process["noNewPrivileges"] = not privileged
    names = ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_NET_RAW", "CAP_SYS_CHROOT"]
    process["capabilities"] = {
        "bounding": names, "permitted": names[:4], "effective": names[:3], "inheritable": names[:2], "ambient": names[:1],
    }  # fmt: skip
    process["user"] = {"uid": 0 if privileged else 1000, "gid": 1000}
    said = same(bundle.script(IDENTITY), runc)
    assert "CapBnd:\t00000000000420c1" in said


def test_without_capabilities_there_are_none(bundle, runc):
    del bundle.config["process"]["capabilities"]
    assert "CapBnd:\t0000000000000000" in same(bundle.script(IDENTITY), runc)


def put(bundle: Bundle, program: str) -> None:
    """Copy a dynamic program of this machine's into the root, with its libraries."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *re.findall(r"(/\S+) \(0x", listed)):
        target = bundle.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@pytest.mark.skipif(shutil.which("capsh") is None, reason="capsh is not here")
def test_capsh_prints_what_it_prints_by_runc(bundle, runc):
    put(bundle, shutil.which("capsh"))
    bundle.config["process"]["args"] = [shutil.which("capsh"), "--print"]
    bundle.config["process"]["capabilities"]["ambient"] = bundle.config["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
    assert "cap_kill" in same(bundle, runc)


MOUNTS = "mount | grep -v -e ' on / ' -e /sys/fs/cgroup -e /proc/acpi -e /proc/keys"


def test_mounts_are_listed_as_by_runc(bundle, runc):
    (bundle.place / "data").mkdir()
    bundle.config["mounts"] += [
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro", "nosuid"]},
        {"destination": "/mem", "type": "tmpfs", "source": "mem", "options": ["size=1m", "mode=700", "noexec", "noatime"]},
        {"destination": "/plain", "type": "tmpfs", "source": "tmpfs", "options": ["nodiratime"]},
    ]  # fmt: skip
    done = bundle.script(MOUNTS)
    theirs, ours = output(done.of(runc)), output(done.int80())
    strip = re.compile(r"^\S+ (on /data type )\S+ |(,inode64|,huge=\w+|,discard|,resv_\S+|,errors=[\w-]+)", re.M)
    bind = re.compile(r"\((ro,nosuid,relatime)[^)]*\)")
    assert strip.sub(r"\1", bind.sub(r"(\1)", ours)) == strip.sub(r"\1", bind.sub(r"(\1)", theirs))
    assert "mem on /mem type tmpfs (rw,noexec,noatime,size=1024k,mode=700)" in ours


def test_dev_is_as_runc_makes_it(bundle, runc):
    said = same(bundle.script("cd /dev; for f in *; do stat -c '%n %F %a %t %T' $f; readlink $f; done; echo x > /dev/null"), runc)
    assert "null character special file 666 1 3" in said
    assert "ptmx symbolic link" in said


# -- mounts -----------------------------------------------------------------------------------------


def test_a_bind_of_the_bundles_is_changed_unless_it_is_read_only(bundle):
    (bundle.place / "rw").mkdir()
    (bundle.place / "ro").mkdir()
    (bundle.place / "file").write_text("from the host\n")
    bundle.config["mounts"] += [
        {"destination": "/rw", "type": "bind", "source": "rw", "options": ["bind"]},
        {"destination": "/ro", "source": "ro", "options": ["rbind", "ro"]},
        {"destination": "/deep/er/file", "type": "bind", "source": "file", "options": ["ro"]},
    ]
    done = bundle.script("echo inside > /rw/new; cat /deep/er/file; echo no > /deep/er/file; echo no > /ro/new").int80()
    assert (bundle.place / "rw/new").read_text() == "inside\n"
    assert done.stdout == "from the host\n"
    assert done.stderr.count("Read-only file system") == 2
    assert not list((bundle.place / "ro").iterdir()) and (bundle.place / "file").read_text() == "from the host\n"


def test_a_program_on_a_noexec_mount_is_not_run_and_not_executable(bundle):
    (bundle.place / "bin").mkdir()
    shutil.copy(bundle.root / "bin/busybox", bundle.place / "bin/true")
    for name, options in (("/yes", ["bind"]), ("/no", ["bind", "noexec"])):
        bundle.config["mounts"].append({"destination": name, "source": "bin", "options": options})
    done = bundle.script("/yes/true; echo $?; /no/true; echo $?; find /yes/true /no/true -executable").int80()
    assert done.stdout.split() == ["0", "126", "/yes/true"]


def test_set_id_bits_count_neither_on_a_nosuid_mount_nor_with_no_new_privileges(bundle, guest):
    process = bundle.config["process"]
    process["user"] = {"uid": 1000, "gid": 1000}
    (bundle.place / "bin").mkdir()
    shutil.copy(guest("secure"), bundle.place / "bin/ids")  # real, effective, saved
    os.chmod(bundle.place / "bin/ids", 0o4755)
    for name, options in (("/suid", ["bind"]), ("/nosuid", ["bind", "nosuid"])):
        bundle.config["mounts"].append({"destination": name, "source": "bin", "options": options})
    script = bundle.script("for how in suid nosuid; do /$how/ids | cut -d ' ' -f 1-3; done; grep NoNewPrivs /proc/self/status")
    process["noNewPrivileges"] = False
    assert output(script.int80()).split() == ["1000", "0", "0", "1000", "1000", "1000", "NoNewPrivs:", "0"]
    process["noNewPrivileges"] = True
    assert output(script.int80()).split() == ["1000", "1000", "1000"] * 2 + ["NoNewPrivs:", "1"]


def test_a_later_mount_covers_what_was_mounted_below(bundle):
    bundle.config["mounts"] += [
        {"destination": "/a/b", "type": "tmpfs", "source": "first"}, {"destination": "/a", "type": "tmpfs", "source": "second"},
    ]  # fmt: skip
    assert output(bundle.script("ls -a /a; touch /a/x; ls /a").int80()) == ".\n..\nx\n"


def test_masked_paths_are_empty_and_read_only_paths_are_not_written(bundle):
    (bundle.root / "secret").mkdir()
    (bundle.root / "secret/key").write_text("key")
    (bundle.root / "password").write_text("password")
    (bundle.root / "fixed").mkdir()
    (bundle.root / "fixed/old").write_text("old\n")
    linux = bundle.config["linux"]
    linux["maskedPaths"] += ["/secret", "/password", "/not/there"]
    linux["readonlyPaths"] += ["/fixed", "/not/there/either"]
    done = bundle.script("ls -A /secret; cat /password; echo x > /secret/new; cat /fixed/old; echo x > /fixed/old; rm /fixed/old")
    done = done.int80()
    assert done.stdout == "old\n"
    assert done.stderr.count("Read-only file system") == 3
    assert (bundle.root / "secret/key").read_text() == "key" and (bundle.root / "fixed/old").read_text() == "old\n"


def test_what_is_covered_of_process_1_is_covered_once_it_is_there(bundle, runc):
    linux = bundle.config["linux"]
    linux["maskedPaths"] = ["/proc/1/status", "/proc/self/environ", "/proc/1/fdinfo"]
    linux["readonlyPaths"] = ["/proc/self/oom_score_adj"]
    script = (
        "wc -c </proc/1/status; wc -c </proc/1/environ; ls /proc/1/fdinfo; (grep -c Name: /proc/self/status);"
        "echo 5 2>/dev/null >/proc/1/oom_score_adj || echo kept"
    )
    assert same(bundle.script(script), runc) == "0\n0\n1\nkept\n"
    linux["readonlyPaths"] = ["/proc/self"]
    script = "cat /proc/1/comm; echo 5 2>/dev/null >/proc/self/oom_score_adj || echo kept"
    assert same(bundle.script(script), runc) == "sh\nkept\n"


def test_a_read_only_root_still_takes_the_mounts_that_are_not(bundle):
    bundle.config["root"]["readonly"] = True
    bundle.config["mounts"].append({"destination": "/run/made", "type": "tmpfs", "source": "run"})
    done = bundle.script("echo x > /run/made/y; cat /run/made/y; echo x > /y; mkdir /z").int80()
    assert done.stdout == "x\n"
    assert done.stderr.count("Read-only file system") == 2


def test_a_tmpfs_begins_with_what_lies_below_where_that_is_asked_for(bundle):
    (bundle.root / "seed").mkdir()
    (bundle.root / "seed/file").write_text("seed\n")
    (bundle.root / "seed/link").symlink_to("file")
    os.mkfifo(bundle.root / "seed/pipe")
    bundle.config["mounts"].append({"destination": "/seed", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]})
    assert output(bundle.script("cat /seed/link; rm /seed/file; ls /seed").int80()) == "seed\nlink\n"
    assert (bundle.root / "seed/file").exists()


def test_a_symlink_in_the_root_leads_a_mount_nowhere_outside(bundle, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.root / "link").symlink_to(outside)
    bundle.config["mounts"].append({"destination": "/link/new", "type": "tmpfs", "source": "tmpfs"})
    output(bundle.script("touch /link/new/x").int80())
    assert not list(outside.iterdir())
    assert (bundle.root / str(outside)[1:] / "new").is_dir()


def test_proc_and_sys_of_the_host_are_the_sandboxs_own_wherever_they_are_bound(bundle):
    bundle.config["mounts"].append({"destination": "/host", "source": "/proc", "options": ["rbind"]})
    assert output(bundle.script("ls /host | grep -c '^[0-9]'").int80()).strip() in "2345"


def test_the_control_group_tells_the_limits(bundle):
    bundle.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
    bundle.config["linux"]["resources"] = {
        "memory": {"limit": 1 << 30}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 42},
    }  # fmt: skip
    said = output(bundle.script("cd /sys/fs/cgroup; cat memory.max cpu.max pids.max memory.current").int80()).split()
    assert said[:4] == [str(1 << 30), "50000", "100000", "42"] and int(said[4]) > 0


# -- names ------------------------------------------------------------------------------------------


def test_names_and_variables_are_the_containers_own(bundle, runc):
    bundle.config["linux"]["sysctl"] = {"kernel.shmmni": "77", "net.ipv4.ping_group_range": "1 2", "fs.mqueue.msg_max": "12"}
    script = "cat /proc/sys/kernel/hostname /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max"
    assert same(bundle.script(script + " /proc/sys/net/ipv4/ping_group_range"), runc) == "bundle\n77\n12\n1\t2\n"


def test_the_domain_is_what_uname_says(bundle):
    bundle.config["domainname"] = "example.org"
    assert output(bundle.script("cat /proc/sys/kernel/domainname").int80()) == "example.org\n"
    bundle.config["linux"]["sysctl"] = {"kernel.domainname": "other.org"}
    assert "linux.sysctl" in refused(bundle)
    del bundle.config["domainname"]
    assert output(bundle.int80()) == "other.org\n"


def test_a_personality_changes_what_the_machine_is_called(bundle):
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    assert output(bundle.script("uname -m").int80()) == "i686\n"


def test_a_terminal_has_the_size_that_was_asked_for(bundle):
    bundle.config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 99}}
    said = output(bundle.script("stty size; tty; stat -c %F /dev/console; mount | grep console").int80()).splitlines()
    assert said[0] == "33 99" and re.fullmatch(r"/dev/pts/\d+", said[1]) and said[2] == "character special file"
    assert said[3] == "devpts on /dev/console type devpts (rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666)"


# -- network ----------------------------------------------------------------------------------------

LISTEN = """
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
    fcntl.ioctl(asks, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
with socket.create_server(("127.0.0.1", 4242)) as server:
    print("ready", flush=True)
    server.accept()[0].sendall(b"joined\\n")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the right to make a network namespace")
def test_the_network_is_the_namespace_whose_path_is_given(bundle):
    listener = subprocess.Popen(["unshare", "--net", sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True)
    try:
        if listener.stdout.readline() != "ready\n":
            pytest.skip("no network namespace can be made here")
        namespaces = bundle.config["linux"]["namespaces"]
        next(one for one in namespaces if one["type"] == "network")["path"] = f"/proc/{listener.pid}/ns/net"
        assert output(bundle.script("nc 127.0.0.1 4242").int80()) == "joined\n"
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()


@pytest.mark.parametrize("kind", ["network", "ipc"])
def test_a_path_that_is_no_such_namespace_is_refused(bundle, kind):
    at = next(index for index, one in enumerate(bundle.config["linux"]["namespaces"]) if one["type"] == kind)
    for path, reason in (
        ("/nowhere", "is not there"),
        ("/proc/self/ns/uts", f"is not a {kind} namespace"),
        ("/etc/passwd", "is not a namespace"),
    ):
        bundle.config["linux"]["namespaces"][at]["path"] = path
        assert refused(bundle) == f'config.json: linux.namespaces[{at}].path: "{path}" {reason}'


def test_without_a_network_namespace_it_is_the_hosts(bundle):
    bundle.config["linux"]["namespaces"] = [one for one in bundle.config["linux"]["namespaces"] if one["type"] != "network"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        place = bundle.script(f"nc 127.0.0.1 {server.getsockname()[1]}").write()
        command = [sys.executable, bundles.__file__, str(place)]
        done = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        peer = server.accept()[0]
        peer.sendall(b"from the host\n")
        peer.close()
        assert done.communicate(timeout=60)[0] == "from the host\n"


# -- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("nothing", 127, 'exec: "nothing": executable file not found in $PATH'),
        ("/nothing", 127, 'exec: "/nothing": stat /nothing: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/tmp", 126, 'exec: "/tmp": permission denied'),
    ],
)
def test_a_command_that_cannot_be_run_is_told_in_runcs_words(bundle, command, status, words):
    bundle.config["process"]["args"] = [command]
    done = bundle.int80()
    assert (done.returncode, done.stderr.strip()) == (status, words)


def refused(bundle: Bundle) -> str:
    done = bundle.int80()
    assert done.returncode == 125 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_what_is_a_promise_of_safety_and_cannot_be_kept_is_refused(bundle):
    bundle.config["process"]["apparmorProfile"] = "strict"
    assert refused(bundle).startswith('config.json: process.apparmorProfile: "strict" cannot be kept')
    del bundle.config["process"]["apparmorProfile"]
    bundle.config["linux"]["devices"] = [{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]
    assert refused(bundle).startswith('config.json: linux.devices[0].path: "/dev/sda" cannot be had: b 8:0 is the host\'s')
    del bundle.config["linux"]["devices"]
    if Path("/dev/kmsg").exists():
        bundle.config["mounts"].append({"destination": "/kmsg", "source": "/dev/kmsg", "options": ["bind"]})
        assert refused(bundle) == "mount /kmsg: /dev/kmsg: a device of the host cannot be had"


def test_what_is_no_such_promise_is_warned_of(bundle):
    bundle.config["linux"]["intelRdt"] = {"closID": "guaranteed"}
    bundle.config["linux"]["resources"] = {"memory": {"swap": 1 << 30}}
    done = bundle.script("true").int80()
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: config.json: linux.resources.memory.swap: 1073741824 is not kept: that takes a control group",
        'warning: config.json: linux.intelRdt: {"closID": "guaranteed"} is not kept: '
        "the processors' caches are the host's to part",
    ]


def test_a_limit_above_the_hosts_is_refused_where_the_user_may_not_have_it(bundle):
    if not os.geteuid():
        pytest.skip("root may have any")
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]
    assert refused(bundle).startswith("RLIMIT_NOFILE: ")


def test_devices_that_harm_nobody_can_be_had_under_any_name(bundle):
    bundle.config["linux"]["devices"] = [
        {"path": "/dev/deep/nothing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o646, "uid": 5, "gid": 6}
    ]
    said = output(bundle.script("cd /dev/deep; stat -c '%F %a %u %g' nothing; echo x > nothing; cat nothing").int80())
    assert said == "character special file 646 5 6\n"


def test_a_fifo_can_be_had(bundle, runc):
    bundle.config["linux"]["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o620, "gid": 6}]
    said = same(bundle.script("stat -c '%F %a %u %g' /dev/pipe; echo through >/dev/pipe & cat /dev/pipe"), runc)
    assert said == "fifo 620 0 6\nthrough\n"


def test_something_else_in_the_place_of_a_device_is_an_error(bundle):
    (bundle.root / "nothing").write_text("something")
    bundle.config["linux"]["devices"] = [{"path": "/nothing", "type": "c", "major": 1, "minor": 3}]
    assert refused(bundle) == "device /nothing: something else has that name in the root"
    (bundle.root / "nothing").unlink()
    for _ in range(2):  # the second time it is there
        assert output(bundle.script("stat -c %F /nothing").int80()) == "character special file\n"


def test_the_size_of_a_tmpfs_may_be_told_in_pages(bundle):
    options = ["nr_blocks=16", "nr_inodes=10"]
    bundle.config["mounts"].append({"destination": "/few", "type": "tmpfs", "source": "few", "options": options})
    done = bundle.script("stat -f -c %b /few").int80()
    assert done.stdout == "16\n"
    at = len(bundle.config["mounts"]) - 1
    assert f'config.json: mounts[{at}].options[1]: "nr_inodes=10" is not kept: only bytes are counted\n' in done.stderr
