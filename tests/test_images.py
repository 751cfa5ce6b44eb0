"""Images from made-up layouts and archives: into the store, run, listed, removed, committed and exported."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard
from image_made_up import OCI, Layout, busybox_layer, digest, directory, entry, symlink, tar

from containers.images import layers, sources
from containers.images.errors import ImageError, NotFound
from containers.images.progress import Quiet
from containers.images.pull import pull
from containers.images.reference import Reference, looks_like_one
from containers.images.store import Store
from containers.images.unpack import Limits


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store of this test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)  # many busyboxes


@pytest.fixture
def command(int80: list[str], home: Path):
    """`int80 WORDS`: a CompletedProcess with text."""

    def run(*words: str, stdin: str = "", status: int | None = 0):
        done = subprocess.run([*int80, *words], input=stdin, capture_output=True, text=True, timeout=60)
        assert status is None or done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture
def layout(home: Path) -> Layout:
    return Layout(home / "layout")


@pytest.fixture
def image(layout: Layout, busybox: Path):
    """Make the layout's image: layers over busybox, and a config."""

    def make(config: dict | None = None, *more: bytes, entries=(), **settings) -> str:
        layout.image([busybox_layer(busybox, *entries), *more], {"Cmd": ["sh"]} | (config or {}), **settings)
        return "oci:layout"

    return make


def refused(done: subprocess.CompletedProcess, *parts: str) -> None:
    """One line that begins with our name and holds all parts."""
    assert done.returncode == 125
    assert done.stderr.startswith("int80: ")
    line = done.stderr.splitlines()[-1]
    assert all(part in line for part in parts), line
    assert "Traceback" not in done.stderr


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("me/x", "docker.io/me/x:latest"),
        ("quay.io/a/b:c", "quay.io/a/b:c"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("x@sha256:" + "a" * 64, "docker.io/library/x@sha256:" + "a" * 64),
        ("x:t@sha256:" + "a" * 64, "docker.io/library/x:t@sha256:" + "a" * 64),
        ("index.docker.io/x/y", "docker.io/x/y:latest"),
    ],
)
def test_a_name_is_completed_as_docker_does(text: str, name: str):
    assert Reference.parse(text).name == name


@pytest.mark.parametrize("text", ["", "UPPER", "a//b", "a:", "a:b:c", "-x", "x@sha256:12", "a b", "../x", "x:" + "t" * 129, "é"])
def test_what_can_be_no_name_is_refused(text: str):
    with pytest.raises(ImageError):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("oci:dir", True),
        ("docker://x", True),
        ("docker-archive:f", True),
        ("quay.io/a/b", True),
        ("localhost:5000/x", True),
        ("a:b", True),
        ("ls", False),
        ("./x:y", False),
        ("/bin/x:y", False),
        ("bin/ls", False),
        ("docker:x", True),
        ("A=b:c", False),
        ("a:b c", False),
    ],
)
def test_what_can_only_be_meant_as_an_image(word: str, is_one: bool):
    assert looks_like_one(word) is is_one


# -- run ------------------------------------------------------------------------------------------


def test_an_image_runs_with_its_entry_point_command_and_variables(command, image):
    name = image(
        {"Entrypoint": ["sh", "-c"], "Cmd": ['echo "$A $PATH $HOME $(pwd)"'], "Env": ["A=a b", "PATH=/bin"], "WorkingDir": "/w/d"}
    )
    assert command("run", name).stdout == "a b /bin /root /w/d\n"
    assert command("run", name, "echo $0").stdout == "sh\n"
    assert command("run", "--entrypoint", "echo", name, "x", "y").stdout == "x y\n"
    assert command("run", "--entrypoint", "", name, "echo", "z").stdout == "z\n"
    assert command("run", "-e", "A=2", "-w", "/etc", name).stdout == "2 /bin /root /etc\n"
    refused(command("run", "--entrypoint", "", name, status=125), "says no command")


def test_an_entry_point_may_be_a_list(command, image):
    name = image({"Entrypoint": ["false"]})
    assert command("run", "--entrypoint", '["echo", "a b"]', name, "c").stdout == "a b c\n"
    assert command("run", "--entrypoint", "[", name, status=127).stderr.endswith("[: not found in the root\n")


def test_variables_come_from_a_file_too(command, image, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE", "here")
    (home / "env").write_text("# a comment\n\nA=1\nB= x y \nMINE\nNONE\nC=1\n")
    name = image({"Env": ["A=0"]})
    assert (
        command("run", "--env-file", "env", "-e", "C=2", name, "sh", "-c", 'echo "$A,$B,$MINE,$C,${NONE-no}"').stdout
        == "1, x y ,here,2,no\n"
    )
    refused(command("run", "--env-file", "nowhere", name, status=125), "--env-file nowhere", "no such file")


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("www", "33 33 33 50 /srv"),
        ("33", "33 33 33 50 /srv"),
        ("www:staff", "33 50 50 /srv"),
        ("7:8", "7 8 8 /"),
        ("7", "7 0 0 /"),
        ("0:staff", "0 50 50 /root"),
        ("", "0 0 0 /root"),
    ],
)
def test_a_user_is_looked_up_in_the_image(command, image, user: str, ids: str):
    name = image({"User": user})
    assert command("run", name, "sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME").stdout == ids + "\n"
    assert command("run", "-u", user, name, "sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME").stdout == ids + "\n"


def test_a_user_who_is_not_in_the_image_is_said(command, image):
    name = image({"User": "nobody-here"})
    refused(command("run", name, status=125), "nobody-here", "no such user")
    refused(command("run", "-u", "www:nogroup", name, status=125), "nogroup", "no such group")


def test_an_images_users_are_those_that_its_layers_show_together(command, image):
    name = image(
        {"User": "late"}, tar(symlink("etc/passwd", "../other/passwd"), entry("other/passwd", data=b"late:x:5:6::/:/bin/sh\n"))
    )
    assert command("run", name, "id", "-u").stdout == "5\n"


def test_a_guest_sees_the_images_owners_modes_and_devices(command, image):
    name = image(
        {},
        entries=[
            entry("bin/su", mode=0o4755, data=b"x"),
            directory("srv", uid=33, gid=50, mode=0o2770),
            symlink("srv/l", "x", uid=33, gid=33),
            entry("srv/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        ],
    )
    script = "stat -c '%u:%g %a %F %t:%T' /bin/su /srv /srv/l /srv/null; echo gone > /srv/null; cat /srv/null; id -u; cat /srv/x"
    done = command("run", name, "sh", "-c", script, status=1)
    assert done.stdout.splitlines() == [
        "0:0 4755 regular file 0:0",
        "33:50 2770 directory 0:0",
        "33:33 777 symbolic link 0:0",
        "0:0 666 character special file 1:3",
        "0",
    ]
    moved = command("run", name, "sh", "-c", "mv /srv/null /srv/n; chown -h 5 /srv/l; stat -c '%u %t:%T' /srv/n /srv/l")
    assert moved.stdout == "0 1:3\n5 0:0\n"


def test_a_volume_and_a_working_directory_are_made(command, image):
    name = image({"Volumes": {"/data/deep": {}}, "WorkingDir": "w"})
    assert command("run", name, "sh", "-c", "ls -d /data/deep; touch /data/deep/x; pwd").stdout == "/data/deep\n/w\n"


def test_a_volume_can_be_written_to_where_the_root_cannot(command, image):
    name = image({"Volumes": {"/data": {}}}, entries=[directory("data"), entry("data/there", data=b"there")])
    script = "cat /data/there; echo new > /data/new && cat /data/new; rm /data/there; ls /data; touch /x 2>&1"
    done = command("run", "--read-only", name, "sh", "-c", script, status=1)
    assert done.stdout == "therenew\nnew\ntouch: /x: Read-only file system\n"


def test_layers_lie_over_each_other_with_their_whiteouts(command, image):
    base = tar(
        directory("d"), entry("d/a", data=b"a"), entry("d/b", data=b"b"), directory("e"), entry("e/old"), entry("f", data=b"1")
    )
    above = tar(directory("d"), entry("d/.wh.a"), directory("e"), entry("e/.wh..wh..opq"), entry("e/new"), entry("f", data=b"2"))
    name = image({}, base, above)
    assert command("run", name, "sh", "-c", "ls d e; cat f").stdout == "d:\nb\n\ne:\nnew\n2"


def test_what_the_guest_changes_is_gone_at_the_end(command, image):
    name = image()
    command("run", name, "sh", "-c", "rm -rf /etc/passwd; echo x > /new")
    assert command("run", name, "sh", "-c", "ls /etc/passwd; test -e /new || echo none").stdout == "/etc/passwd\nnone\n"


def test_a_directory_that_a_layer_only_mentions_keeps_the_looks_it_has_below(command, image):
    base = tar(directory("srv", uid=33, gid=50, mode=0o2775, mtime=1000), directory("t", mode=0o1777))
    name = image({}, base, tar(entry("srv/new", data=b"1"), entry("t/new"), entry("other/new")))
    script = "stat -c '%u:%g %a' /srv /t /other; cat /srv/new"
    assert command("run", name, "sh", "-c", script).stdout == "33:50 2775\n0:0 1777\n0:0 755\n1"


def test_an_image_without_layers_is_an_empty_root(command, layout: Layout):
    layout.image([], {"Cmd": ["/none"]})
    assert command("run", "oci:layout", status=127).stderr == "int80: /none: not found in the root\n"


def test_a_word_after_two_dashes_is_a_command(command, image, layout: Layout):
    layout.path.rename(layout.path.with_name("true"))
    layout.path = layout.path.with_name("true")
    image()
    command("pull", "oci:true")
    assert command("run", "true", "echo", "image").stdout == "image\n"
    assert command("run", "--", "true", "echo", "image").stdout == ""


def test_options_of_images_need_one(command):
    refused(command("run", "--platform", "linux/arm64", "--", "ls", status=125), "--platform", "about an image")


def test_without_an_image_an_entry_point_comes_before_the_command(command):
    assert command("run", "--entrypoint", "echo", "--", "said").stdout == "said\n"


def test_never_pulls_nothing(command):
    refused(command("run", "--pull", "never", "localhost:1/none:1", status=125), "localhost:1/none:1", "no such image here")


# -- layouts --------------------------------------------------------------------------------------


def test_newer_takes_what_is_here_where_there_is_nothing_newer(command, image, layout: Layout):
    command("pull", image({"Cmd": ["echo", "here"]}))
    command("tag", "layout", "127.0.0.1:1/layout")
    assert command("run", "--pull", "newer", "127.0.0.1:1/layout").stdout == "here\n"
    refused(command("run", "--pull", "newer", "127.0.0.1:1/other", status=None), "127.0.0.1:1/other")


def test_a_word_that_is_nowhere_may_have_been_an_image(command):
    done = command("run", "nosuchimage", status=127)
    assert done.stderr.endswith("; if an image is meant, `int80 pull nosuchimage` fetches it\n")
    assert "image" not in command("run", "--", "/nosuch", status=127).stderr


def test_an_image_that_is_here_leaves_the_terminal_alone(int80: list[str], command, image):
    command("pull", image({"Cmd": ["echo", "plain"]}))
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as screen:
        done = subprocess.run([*int80, "run", "layout"], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
        os.write(theirs, b"end")
        os.close(theirs)
        assert (done.stdout, screen.read(100)) == (b"plain\n", b"end")


def test_of_an_index_the_platform_is_taken(command, layout: Layout, busybox: Path):
    for architecture, text in (("arm64", b"arm"), ("amd64", b"amd")):
        described = layout.manifest([busybox_layer(busybox, entry("which", data=text))], {}, architecture=architecture)
        described["platform"] = {"os": "linux", "architecture": architecture}
        layout.entries.append(described)
    index = layout.blob(json.dumps({"schemaVersion": 2, "manifests": layout.entries}).encode(), f"{OCI}index.v1+json")
    layout.entries = []
    layout.add(index, "multi")
    assert command("run", "oci:layout:multi", "cat", "/which").stdout == "amd"
    assert "linux/arm64" in str(
        json.loads((command("pull", "--platform", "linux/arm64", "oci:layout"), command("images", "--json"))[1].stdout)
    )
    refused(
        command("pull", "--platform", "linux/s390x", "oci:layout", status=125),
        "no such platform as linux/s390x",
        "linux/amd64, linux/arm64",
    )
    refused(command("pull", "--platform", "amd64", "oci:layout", status=125), "give OS/ARCH")


def test_an_image_of_another_machine_is_said(command, layout: Layout):
    layout.image([tar()], {}, architecture="riscv64")
    refused(command("run", "oci:layout", "ls", status=125), "no such platform as linux/amd64", "linux/riscv64")


@pytest.mark.parametrize(("pack", "kind"), [(gzip.compress, "+gzip"), (zstandard.compress, "+zstd"), (bytes, "")])
def test_layers_may_be_packed_in_three_ways(command, image, pack, kind: str):
    assert command("run", image({}, pack=pack, kind=kind), "echo", "ran").stdout == "ran\n"


def test_several_images_in_a_layout_go_by_their_tags(command, layout: Layout, busybox: Path):
    for tag in ("one", "two"):
        layout.image([busybox_layer(busybox, entry("which", data=tag.encode()))], {}, tag=tag)
    assert command("run", "oci:layout:two", "cat", "which").stdout == "two"
    refused(command("pull", "oci:layout", status=125), "2 images in it", "one, two")
    refused(command("pull", "oci:layout:three", status=125), "no image three in it", "one, two")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"manifests": 3}',
        b'{"manifests": [{"mediaType": "x", "digest": "../x", "size": 1}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_index_is_one_line(command, layout: Layout, damage: bytes):
    (layout.path / "index.json").write_bytes(damage)
    refused(command("pull", "oci:layout", status=125), "oci:layout")


@pytest.mark.parametrize("which", ["index.json", "blob"])
def test_a_pipe_in_a_layout_is_not_waited_for(command, image, layout: Layout, home: Path, which: str):
    image()
    blobs = (layout.path / "blobs/sha256").iterdir()
    file = layout.path / which if which != "blob" else max(blobs, key=lambda blob: blob.stat().st_size)
    file.unlink()
    os.mkfifo(file)
    refused(command("pull", "oci:layout", status=None), "is no file")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"WorkingDir": "/a\0b"}, "zero byte in its WorkingDir"),
        ({"WorkingDir": "/proc/self/fd"}, "/proc/self/fd: no such file or directory"),
        ({"Cmd": ["echo", "a\0b"]}, "zero byte in its command"),
        ({"StopSignal": "NONE"}, "StopSignal NONE: no signal"),
    ],
)
def test_a_config_that_nobody_could_keep_is_one_line(command, image, config: dict, said: str):
    refused(command("run", image(config), status=None), said)


def test_a_command_without_a_name_is_not_found(command, image):
    done = command("run", image({"Cmd": [""]}), status=127)
    assert done.stderr.splitlines()[-1] == "int80: : not found in the root"


def test_a_sandbox_of_an_image_knows_its_own_name(command, image, layout: Layout):
    name = image(entries=(directory("etc/x"),))
    done = command("run", "-h", "me", "--rm", name, "cat", "/etc/hosts", "/etc/hostname")
    assert command("run", "-h", "me", name, "sh", "-c", "echo $HOSTNAME").stdout == "me\n"
    assert "127.0.0.1\tlocalhost\n" in done.stdout and "127.0.1.1\tme\n" in done.stdout and done.stdout.endswith("\nme\n")
    if os.path.exists("/etc/resolv.conf"):
        done = command("run", "--net", "host", name, "cat", "/etc/resolv.conf")
        assert done.stdout == Path("/etc/resolv.conf").read_text()


def test_a_blob_that_is_not_what_its_digest_says_is_refused(command, image, layout: Layout, home: Path):
    name = image()
    for blob in (layout.path / "blobs/sha256").iterdir():
        data = blob.read_bytes()
        if data[:2] == b"\x1f\x8b":
            blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(command("pull", name, status=125), "digest mismatch")
    assert command("images", "-q").stdout == ""
    assert not os.listdir(home / "data/int80/images/partial")


def test_a_layer_of_another_size_is_refused(command, image, layout: Layout):
    name = image()
    for blob in (layout.path / "blobs/sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.write_bytes(blob.read_bytes() + b"more")
    refused(command("pull", name, status=125), "more than the")


def test_a_config_that_speaks_of_other_layers_is_refused(command, image):
    name = image({}, rootfs={"type": "layers", "diff_ids": [digest(b"x")]})
    refused(command("pull", name, status=125), "digest mismatch: unpacked it is")


def test_what_is_nowhere_is_one_line(command, home: Path):
    refused(command("pull", "oci:nowhere", status=125), "oci:nowhere", "no such file or directory")
    refused(command("pull", "oci-archive:nowhere", status=125), "no such file or directory")
    (home / "empty").mkdir()
    refused(command("pull", "oci:empty", status=125), "no OCI image layout")
    (home / "text").write_text("text")
    refused(command("pull", "docker-archive:text", status=125), "not a tar archive")
    refused(command("pull", "oci:", status=125), "need a path")


# -- docker archives ------------------------------------------------------------------------------


def docker_archive(path: Path, layer: bytes, old: bool) -> None:
    """As `docker save` wrote it before docker 25 (a directory for each layer, doubles as symlinks) and since (an OCI layout)."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["cat", "/which"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)] * 2},
        }
    ).encode()
    names = ["aaa/layer.tar", "bbb/layer.tar"] if old else [f"blobs/sha256/{digest(layer)[7:]}"] * 2
    at = f"{digest(config)[7:]}.json" if old else f"blobs/sha256/{digest(config)[7:]}"
    manifest = json.dumps([{"Config": at, "RepoTags": ["me/it:1"], "Layers": names}]).encode()
    first = [directory("aaa"), entry(names[0], data=layer), directory("bbb"), symlink(names[1], "../aaa/layer.tar")]
    entries = [*(first if old else [entry(names[0], data=layer)]), entry(at, data=config), entry("manifest.json", data=manifest)]
    path.write_bytes(tar(*entries))


@pytest.mark.parametrize("old", [True, False], ids=["old", "new"])
def test_what_docker_saves_is_run(command, home: Path, busybox: Path, old: bool):
    docker_archive(home / "saved.tar", busybox_layer(busybox, entry("which", data=b"saved")), old)
    assert command("run", "docker-archive:saved.tar").stdout == "saved"
    assert json.loads(command("images", "--json").stdout)[0]["names"] == ["docker.io/me/it:1"]
    assert command("run", "me/it:1").stdout == "saved"
    (home / "saved.tar.gz").write_bytes(gzip.compress((home / "saved.tar").read_bytes()))
    assert command("run", "docker-archive:saved.tar.gz:me/it:1").stdout == "saved"
    refused(command("pull", "docker-archive:saved.tar:me/other", status=125), "no image me/other in it")


# -- the store ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("members", "said"), [(0, "600 layers; 512 at most"), (101, "more than 100 files")])
def test_an_archive_made_to_keep_int80_busy_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, members: int, said: str):
    layer = tar(entry("x"))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(layer)] * 600}}
    saved = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l.tar"] * 600}]
    files = [entry(name, data=json.dumps(data).encode()) for name, data in (("manifest.json", saved), ("c.json", config))]
    (home / "x.tar").write_bytes(tar(*files, entry("l.tar", data=layer), *[entry("same")] * members))
    monkeypatch.setattr(sources, "_MEMBERS_MAX", 100)
    with pytest.raises(ImageError, match=said):
        pull(Store(), "docker-archive:x.tar", None, Limits(), Quiet())


def test_a_layer_is_kept_once_for_all_images(command, layout: Layout, busybox: Path, home: Path):
    base = busybox_layer(busybox)
    for tag in ("one", "two"):
        layout.image([base, tar(entry(tag))], {}, tag=tag)
        command("pull", f"oci:layout:{tag}")
    kept = home / "data/int80/images/layers/sha256"
    assert len(os.listdir(kept)) == 3
    assert command("rmi", "layout:one").stdout.startswith("untagged localhost/layout:one\nremoved sha256:")
    assert len(os.listdir(kept)) == 2
    assert command("run", "layout:two", "ls", "/two").stdout == "/two\n"
    command("rmi", "layout:two")
    assert os.listdir(kept) == []
    assert list((home / "data/int80/images").glob("blobs/*/*")) == []


def test_an_image_goes_by_its_id_and_loses_all_names_by_it(command, image):
    command("pull", image())
    (listed,) = json.loads(command("images", "--json").stdout)
    short = listed["id"][7:19]
    assert command("images", "-q").stdout == short + "\n"
    assert command("run", short, "echo", "by id").stdout == "by id\n"
    assert command("rmi", short).stdout.startswith("untagged localhost/layout:latest\nremoved ")
    refused(command("rmi", short, status=125), "no such image here")


def test_a_name_goes_to_the_newer_image_and_the_older_stays_by_its_id(command, layout: Layout, busybox: Path):
    layout.image([busybox_layer(busybox)], {})
    command("pull", "oci:layout")
    layout.entries = []
    layout.image([busybox_layer(busybox, entry("newer"))], {})
    command("pull", "oci:layout")
    assert [one["names"] for one in json.loads(command("images", "--json").stdout)].count([]) == 1
    assert command("run", "layout", "ls", "/newer").stdout == "/newer\n"


def test_layers_that_a_sandbox_uses_outlive_the_image(command, image, home: Path, int80: list[str]):
    name = image()
    running = subprocess.Popen(
        [*int80, "run", name, "sh", "-c", "echo on; read x; ls /etc/passwd"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert running.stdout.readline() == b"on\n"
    command("rmi", "layout")
    assert running.communicate(b"go\n", timeout=60)[0] == b"/etc/passwd\n"
    assert len(os.listdir(home / "data/int80/images/layers/sha256")) == 1
    Store().collect()
    assert os.listdir(home / "data/int80/images/layers/sha256") == []


def test_what_is_held_is_not_removed(command, image, home: Path):
    command("pull", image())
    store = Store()
    store.hold("someone", store.find("layout"))
    command("rmi", "layout")
    assert len(os.listdir(home / "data/int80/images/layers/sha256")) == 1
    store.let_go("someone")
    store.collect()
    assert os.listdir(home / "data/int80/images/layers/sha256") == []


def test_pulls_of_one_image_at_once_end_well(image, home: Path):
    name, problems = image(), []

    def one() -> None:
        try:
            pull(Store(), name, None, Limits(), Quiet())
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(Store().images()) == 1
    assert [path.name[0] for path in (home / "data/int80/images/layers/sha256").iterdir()].count(".") == 0
    assert os.listdir(home / "data/int80/images/partial") == []


def test_what_a_killed_pull_has_left_is_taken_up_or_removed(command, image, home: Path):
    command("pull", image())
    images = home / "data/int80/images"
    (layer,) = (images / "layers/sha256").iterdir()
    half = layer.with_name(f".new-{layer.name}")
    layer.rename(half)  # as if it had been killed before the last step
    (half / "root/etc/passwd").write_text("half")
    (images / "partial/sha256-left").write_text("half")
    assert command("run", "layout", "cat", "/etc/group").stdout.startswith("root:")
    assert (layer / "root/etc/passwd").read_text().startswith("root:")
    assert not half.exists()
    command("rmi", "layout")
    assert os.listdir(images / "partial") == []


def test_an_unpack_that_fails_leaves_nothing(command, layout: Layout, home: Path):
    layout.image([tar(entry("a"), entry("../b"))])
    refused(command("pull", "oci:layout", status=125), "../b: leads out of the layer")
    assert os.listdir(home / "data/int80/images/layers/sha256") == []


def test_the_limits_of_layers_are_options(command, layout: Layout):
    layout.image([tar(entry("f", data=bytes(2 << 20)))])
    refused(command("pull", "--max-size", "1m", "oci:layout", status=125), "more than 1048576 bytes; --max-size")
    refused(command("pull", "--max-size", "x", "oci:layout", status=125), "--max-size x")
    refused(command("pull", "--max-ratio", "0", "oci:layout", status=125), "--max-ratio 0")
    command("pull", "oci:layout")


def test_a_full_disk_is_one_line(image, monkeypatch: pytest.MonkeyPatch, home: Path):
    name = image()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(ImageError, match="the disk is full; free some space"):
        pull(Store(), name, None, Limits(), Quiet())


def test_a_store_that_cannot_be_made_is_one_line(command, home: Path):
    (home / "data").write_text("in the way")
    refused(command("images", status=125), "not a directory")


def test_an_image_that_is_not_there_is_said_by_everybody(command):
    for words in (["rmi", "none"], ["export", "none", "oci:x"], ["run", "--pull", "never", "x.y/none"]):
        refused(command(*words, status=125), "none: there is no such image here")


def test_a_lock_that_a_pull_holds_keeps_everything(command, image, home: Path):
    command("pull", image())
    with open(home / "data/int80/images/lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        command("rmi", "layout")
        assert len(os.listdir(home / "data/int80/images/layers/sha256")) == 1
    Store().collect()
    assert os.listdir(home / "data/int80/images/layers/sha256") == []


def test_progress_is_plain_lines_where_nobody_looks(command, image):
    lines = command("pull", image()).stderr.splitlines()
    assert [line.split()[:2] for line in lines] == [["int80:", "fetch"], ["int80:", "unpack"]]
    assert command("pull", "-q", "oci:layout").stderr == ""


# -- import, commit, export -----------------------------------------------------------------------


def test_a_root_tarball_becomes_an_image(command, home: Path, busybox: Path):
    (home / "root.tar.xz").write_bytes(lzma.compress(busybox_layer(busybox, directory("srv", uid=33))))
    words = (
        "-c",
        'CMD ["sh", "-c", "id -u; echo $A; pwd"]',
        "-c",
        "ENV A=1 B='x y'",
        "-c",
        "USER www",
        "-c",
        "WORKDIR /srv",
        "-m",
        "made",
    )
    command("import", "root.tar.xz", "me/root:1", *words)
    assert command("run", "me/root:1").stdout == "33\n1\n/srv\n"
    config = Store().find("me/root:1").config
    assert config.history[0].comment == "made"
    refused(command("import", "nowhere", status=125), "nowhere: no such file")
    refused(command("import", "root.tar.xz", "-c", "RUN x", status=125), "--change RUN x")


def test_the_standard_input_is_imported(int80: list[str], home: Path, busybox: Path):
    done = subprocess.run([*int80, "import", "-"], input=busybox_layer(busybox), capture_output=True, timeout=60)
    assert done.stdout.startswith(b"sha256:"), done.stderr
    empty = subprocess.run([*int80, "import", "-"], input=b"", capture_output=True, timeout=60)
    assert empty.returncode == 125
    assert empty.stderr.splitlines()[-1] == b"int80: standard input: empty; a tar archive ends with blocks of zeros"


def test_changes_become_a_layer(command, image, home: Path):
    name = image(
        {"Env": ["A=1"], "Entrypoint": ["cat"], "Cmd": ["x"]}, entries=[directory("old"), entry("old/f"), symlink("l", "x")]
    )
    (home / "up").mkdir()
    script = "rm -r old; echo new > new; chown 5:6 new; chmod 4755 new; chown -h 7 l; mknod n c 1 3 2>&1; mkdir -m 2775 d"
    command("run", "--upper", "up", "--entrypoint", "sh", name, "-c", script)
    command("commit", "up", "changed:1", "-c", "ENV B=2", "-c", 'CMD ["/new"]', "-m", "why", "-a", "who")
    assert command("run", "changed:1").stdout == "new\n"
    script = "stat -c '%u:%g %a' new l d; echo $A$B; ls old 2>/dev/null || echo gone; ls -d .wh* 2>/dev/null"
    shown = command("run", "--entrypoint", "sh", "changed:1", "-c", script, status=None).stdout
    assert shown == "5:6 4755\n7:0 777\n0:0 2775\n12\ngone\n"
    committed = Store().find("changed:1")
    assert committed.manifest.layers[0] == Store().find("layout").manifest.layers[0]
    assert (committed.config.history[-1].comment, committed.config.author) == ("why", "who")


def test_an_upper_directory_belongs_to_its_image(command, image, layout: Layout, home: Path, busybox: Path):
    name = image()
    (home / "up").mkdir()
    command("run", "--upper", "up", name, "touch", "/x")
    assert command("run", "--upper", "up", name, "ls", "/x").stdout == "/x\n"
    layout.entries = []
    layout.image([busybox_layer(busybox, entry("newer"))], {})
    refused(command("run", "--upper", "up", name, "ls", status=125), "--upper", "another image")
    refused(command("commit", "layout", status=125), "no directory that `int80 run --upper` has kept changes in")


def test_directories_below_become_layers_too(command, home: Path, root: Path):
    (home / "up").mkdir()
    command("run", "--lower", str(root), "--upper", "up", "--", "sh", "-c", "echo mine > /mine")
    command("commit", "--lower", str(root), "up", "both")
    assert len(Store().find("both").config.diff_ids) == 2
    assert command("run", "both", "cat", "/mine").stdout == "mine\n"


def members(data: bytes) -> dict[str, tuple]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: (one.type, oct(one.mode), one.uid, one.gid, one.linkname) for one in archive}


def test_a_root_is_exported_as_its_sandbox_sees_it(command, image, home: Path, int80: list[str]):
    name = image({}, tar(directory("etc"), entry("etc/.wh.group"), entry("su", mode=0o4755, uid=3), entry("one", data=b"1")))
    (home / "up").mkdir()
    command("run", "--upper", "up", name, "sh", "-c", "rm /etc/passwd; ln /one /two; mkdir -m 700 /d; touch /d/f")
    flat = subprocess.run([*int80, "export", "layout"], capture_output=True, timeout=60).stdout
    found = members(flat)
    assert found["su"] == (tarfile.REGTYPE, "0o4755", 3, 0, "")
    assert "etc/group" not in found
    assert not any(".wh." in member for member in found)
    assert found["bin/sh"][4] == "busybox"
    command("export", "up", "changed.tar")
    changed = members((home / "changed.tar").read_bytes())
    assert "etc/passwd" not in changed
    assert changed["d/f"][0] == tarfile.REGTYPE
    assert sorted((changed["one"][0], changed["two"][0])) == [tarfile.REGTYPE, tarfile.LNKTYPE]
    assert "etc/passwd" in found


@pytest.mark.parametrize("target", ["oci:out", "oci-archive:out.tar", "docker-archive:out.tar:out:1"])
def test_what_is_exported_comes_back(command, image, home: Path, target: str):
    name = image({"Cmd": ["cat", "/w"]}, tar(entry("w", data=b"back")), tar(entry("x")), tar(entry("w", data=b"back")))
    command("pull", name)
    before = Store().find("layout").id
    command("export", "layout", target)
    command("rmi", "layout")
    assert command("run", target).stdout == "back"
    assert [image.id for image in Store().images()] == [before]


def test_a_layout_takes_more_than_one_export(command, layout: Layout, busybox: Path, home: Path):
    for tag in ("one", "two"):
        layout.image([busybox_layer(busybox, entry(tag))], {}, tag=tag)
        command("pull", f"oci:layout:{tag}")
        command("export", f"layout:{tag}", f"oci:out:{tag}")
        command("export", f"layout:{tag}", f"oci:out:{tag}")
    index = json.loads((home / "out/index.json").read_text())
    assert [one["annotations"]["org.opencontainers.image.ref.name"] for one in index["manifests"]] == ["one", "two"]


def test_an_export_to_where_nothing_can_be_written_is_one_line(command, image, home: Path):
    command("pull", image())
    refused(command("export", "layout", "nowhere/x.tar", status=125), "nowhere/x.tar", "no such file")
    refused(command("export", "layout", "docker://x", status=125), "pushes to no registry")
    assert [name for name in os.listdir(home) if "int80-" in name] == []


# -- what is damaged in the store -----------------------------------------------------------------


def test_a_damaged_store_is_said_and_can_be_removed(command, image, home: Path):
    command("pull", image())
    stored = Store().find("layout")
    Store().blob(stored.id).write_bytes(b"damaged")
    refused(command("run", "layout", status=125), "damaged in the store; `int80 rmi` the image")
    assert command("images", "-q").stdout == ""
    command("rmi", "layout")
    with pytest.raises(NotFound):
        Store().find("layout")


def test_a_layer_directory_is_never_outside_the_store():
    with pytest.raises(ImageError):
        layers.place_of("sha256:../../../../etc")


# -- lists, names, archives of several --------------------------------------------------------------


def test_images_are_listed_by_name_filter_and_template(command, layout: Layout, busybox: Path):
    layout.image([busybox_layer(busybox)], {"Labels": {"kind": "a"}}, tag="a")
    layout.image([busybox_layer(busybox)], {"Labels": {"kind": "b"}}, tag="b")
    command("pull", "oci:layout:a", "oci:layout:b")
    command("tag", "layout:a", "quay.io/some/thing", "other:1")

    def listed(*words: str) -> set[str]:
        return set(command("images", "--format", "{{.Repository}}:{{.Tag}}", *words).stdout.split())

    assert listed() == {"localhost/layout:a", "localhost/layout:b", "quay.io/some/thing:latest", "other:1"}
    assert listed("layout") == {"localhost/layout:a", "localhost/layout:b"}
    assert listed("quay.io/*/*") == {"quay.io/some/thing:latest"}
    assert listed("--filter", "label=kind=b") == {"localhost/layout:b"}
    assert listed("--filter", "dangling=true") == set()
    table = command("images", "--format", r"table {{.Repository}}\t{{.ID}}", "other").stdout
    assert table.split()[:4] == ["REPOSITORY", "IMAGE", "ID", "other"]
    whole = command("images", "-q", "--no-trunc").stdout.split()
    assert len(whole) == 2 and all(line.startswith("sha256:") for line in whole)
    assert "sha256:" in command("images", "--digests", "other").stdout
    refused(command("images", "--filter", "colour=red", status=None), "dangling=")


def test_an_image_is_inspected_and_its_history_told(command, layout: Layout, busybox: Path):
    history = [{"created_by": "COPY root /", "created": "2026-01-01T00:00:00Z"}, {"created_by": "CMD sh", "empty_layer": True}]
    layout.image([busybox_layer(busybox)], {"Cmd": ["sh"], "Healthcheck": {"Test": ["NONE"]}}, history=history, author="me")
    command("pull", "oci:layout")
    (found,) = json.loads(command("image", "inspect", "layout").stdout)
    assert (found["RepoTags"], found["Author"]) == (["localhost/layout:latest"], "me")
    assert found["Config"]["Healthcheck"] == {"Test": ["NONE"]}
    form = '{{.Os}} {{join .Config.Cmd ","}} {{len .RootFS.Layers}}'
    assert command("inspect", "--format", form, "layout").stdout == "linux sh 1\n"
    assert command("history", "--format", "{{.CreatedBy}}", "layout").stdout == "CMD sh\nCOPY root /\n"
    assert command("image", "exists", "layout").returncode == 0
    assert command("image", "exists", "nothing", status=1).returncode == 1
    refused(command("inspect", "nothing", status=None), "nothing")


@pytest.mark.parametrize("compressed", [False, True])
def test_several_images_are_saved_and_loaded(command, layout: Layout, busybox: Path, home: Path, compressed: bool):
    layout.image([busybox_layer(busybox)], {"Cmd": ["echo", "one"]}, tag="a")
    layout.image([busybox_layer(busybox), tar(entry("more"))], {"Cmd": ["echo", "two"]}, tag="b")
    command("pull", "oci:layout:a", "oci:layout:b")
    command("tag", "layout:a", "second:name")
    command("save", "-o", "saved.tar", "layout:a", "layout:b", "second:name")
    if compressed:
        (home / "saved.tar").write_bytes(gzip.compress((home / "saved.tar").read_bytes()))
    command("rmi", "--all")
    assert command("images", "-q").stdout == ""
    done = command("load", "-i", "saved.tar")
    assert done.stdout == "Loaded image: localhost/layout:a, second:name\nLoaded image: localhost/layout:b\n"
    assert command("run", "second:name").stdout == "one\n"
    assert command("run", "layout:b").stdout == "two\n"


def test_an_oci_archive_is_loaded_from_the_standard_input(int80: list[str], command, image, home: Path):
    command("pull", image())
    command("save", "--format", "oci-archive", "-o", "saved.tar", "layout")
    with open(home / "saved.tar", "rb") as file:
        done = subprocess.run([*int80, "load", "-q"], stdin=file, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Loaded image: localhost/loaded:latest\n", "")
    (home / "saved.tar").write_bytes(b"nothing of the kind" * 99)
    refused(command("load", "-i", "saved.tar", status=None), "saved.tar: not a tar archive")


def test_one_image_packed_in_two_ways_goes_by_its_id(command, image):
    command("pull", image())
    command("save", "-o", "saved.tar", "layout")
    command("tag", "layout", "first:1")
    command("load", "-i", "saved.tar")
    identity = command("images", "-q").stdout.strip()
    assert command("run", identity, "echo", "runs").stdout == "runs\n"
    command("rmi", identity)
    assert command("images", "-q").stdout == ""


def test_images_without_a_name_are_pruned_and_others_with_all(command, layout: Layout, busybox: Path):
    layout.image([busybox_layer(busybox)], {"Cmd": ["a"]}, tag="x")
    command("pull", "oci:layout:x")
    layout.image([busybox_layer(busybox)], {"Cmd": ["b"]}, tag="x")
    command("pull", "oci:layout:x")
    assert len(command("images", "-q").stdout.split()) == 2
    assert "Go on?" in command("image", "prune", stdin="n\n").stdout
    assert len(command("images", "-q").stdout.split()) == 2
    command("image", "prune", "--force")
    assert len(command("images", "-q").stdout.split()) == 1
    command("image", "prune", "-af")
    assert command("images", "-q").stdout == ""


def test_an_image_that_is_not_there_is_no_failure_with_force(command):
    assert command("rmi", "-f", "nothing").stdout == ""
    refused(command("rmi", status=None), "--all")
