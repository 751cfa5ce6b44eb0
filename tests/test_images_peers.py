"""Images between int80 and what else makes, serves and reads them: umoci, skopeo, buildah, podman, docker-registry."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from containers.images import registry
from containers.images.errors import ImageError
from containers.images.progress import Quiet
from containers.images.pull import pull
from containers.images.store import Store
from containers.images.unpack import Limits

pytestmark = pytest.mark.slow


def needs(*tools: str):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def done(*words: object, **more) -> str:
    """Run a peer's command, which must succeed; its standard output."""
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, **more)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))  # else skopeo looks in /run/containers, closed by root's podman
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def umoci_layout(home: Path, root: Path) -> Path:
    """A layout with a busybox image, tagged bb, that umoci has made: two layers, a user, an entry point."""
    for words in (["init", "--layout", "made"], ["new", "--image", "made:bb"]):
        done("umoci", *words)
    rootless = ["--rootless"] if os.geteuid() else []
    done("umoci", "unpack", *rootless, "--image", "made:bb", "bundle")
    shutil.copytree(root, "bundle/rootfs", symlinks=True, dirs_exist_ok=True)
    Path("bundle/rootfs/bin/su").unlink(missing_ok=True)  # a symlink to busybox
    Path("bundle/rootfs/bin/su").write_text("x")
    Path("bundle/rootfs/bin/su").chmod(0o4755)
    Path("bundle/rootfs/etc/gone").write_text("x")
    Path("bundle/rootfs/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/tmp:/bin/sh\n")
    done("umoci", "repack", "--refresh-bundle", "--image", "made:bb", "bundle")
    Path("bundle/rootfs/etc/gone").unlink()
    done("umoci", "repack", "--image", "made:bb", "bundle")
    entry = "cat /proc/self/comm; id -u; ls /etc; stat -c %a /bin/su; echo $A"
    words = [
        "--config.entrypoint",
        "sh",
        "--config.entrypoint",
        "-c",
        "--config.cmd",
        entry,
        "--config.user",
        "u",
        "--config.env",
        "A=b",
    ]
    done("umoci", "config", "--image", "made:bb", *words)
    return home / "made"


EXPECTED = "cat\n1000\ngroup\npasswd\n4755\nb\n"


@needs("umoci")
def test_an_image_made_by_umoci_runs(int80, umoci_layout: Path):
    assert done(*int80, "run", f"oci:{umoci_layout}:bb") == EXPECTED


@needs("umoci", "skopeo")
@pytest.mark.parametrize("target", ["oci:copy:x", "oci-archive:copy.tar:x", "docker-archive:copy.tar:me/x:1"])
def test_what_skopeo_copies_runs_and_what_int80_exports_skopeo_copies(int80, umoci_layout: Path, home: Path, target: str):
    done("skopeo", "copy", "-q", f"oci:{umoci_layout}:bb", target)
    assert done(*int80, "run", target) == EXPECTED
    name = json.loads(done(*int80, "images", "--json"))[0]["names"][0]
    exported = target.replace("copy", "exported")
    done(*int80, "export", name, exported)
    back = "dir:back"
    done("skopeo", "copy", "-q", exported, back)
    config = json.loads(done("skopeo", "inspect", "--config", "dir:back"))
    assert config["config"]["User"] == "u"
    done("skopeo", "copy", "-q", f"oci:{home}/data/int80/images:{name}", "dir:store")  # the store is a layout itself


@needs("umoci")
@pytest.mark.skipif(os.geteuid() != 0, reason="owners that umoci sets need root")
def test_what_int80_commits_umoci_unpacks_with_owners_and_set_id_bits(int80, umoci_layout: Path):
    Path("up").mkdir()
    script = "echo x > /new; chown 5:6 /new; chmod 6755 /new; ln -s x /l; chown -h 7:8 /l; rm /etc/group; mkfifo /p"
    done(*int80, "run", "--upper", "up", "-u", "0", f"oci:{umoci_layout}:bb", script)
    done(*int80, "commit", "up", "mine:1")
    done(*int80, "export", "mine:1", "oci:out:mine")
    done("umoci", "unpack", "--image", "out:mine", "seen")
    new, link = os.lstat("seen/rootfs/new"), os.lstat("seen/rootfs/l")
    assert (new.st_uid, new.st_gid, new.st_mode & 0o7777) == (5, 6, 0o6755)
    assert (link.st_uid, link.st_gid) == (7, 8)
    assert sorted(os.listdir("seen/rootfs/etc")) == ["passwd"]
    assert Path("seen/rootfs/p").is_fifo()


@needs("buildah")
@pytest.mark.skipif(os.geteuid() != 0, reason="buildah without user namespaces needs root")
def test_an_image_made_by_buildah_runs(int80, home: Path, root: Path):
    kept = ["--root", str(home / "b"), "--runroot", str(home / "br"), "--storage-driver", "vfs"]
    name = done("buildah", *kept, "from", "scratch").strip()
    done("buildah", *kept, "copy", name, str(root), "/")
    done("buildah", *kept, "config", "--cmd", '["sh","-c","echo from $WHO"]', "--env", "WHO=buildah", "--workingdir", "/w", name)
    done("buildah", *kept, "commit", "--format", "docker", name, "docker-archive:b.tar:by/buildah:1")
    done("buildah", *kept, "commit", name, "oci:b-oci:1")
    assert done(*int80, "run", "docker-archive:b.tar") == "from buildah\n"
    assert done(*int80, "run", "oci:b-oci:1") == "from buildah\n"


@needs("umoci", "podman")
@pytest.mark.skipif(os.geteuid() != 0, reason="podman without user namespaces needs root")
@pytest.mark.parametrize("target", ["docker-archive:exported.tar:me/x:1", "oci-archive:exported.tar:x"])
def test_podman_loads_what_int80_exports(int80, umoci_layout: Path, home: Path, target: str):
    done(*int80, "pull", f"oci:{umoci_layout}:bb")
    done(*int80, "export", "made:bb", target)
    with tempfile.TemporaryDirectory() as short:  # podman takes no longer name
        kept = ["--root", str(home / "p"), "--runroot", short, "--storage-driver", "vfs"]
        assert "Loaded image" in done("podman", *kept, "load", "-i", "exported.tar")


# -- a registry -----------------------------------------------------------------------------------


class Cutting:
    """A proxy in front of a registry that cuts the connection after some bytes of large answers, as often as it is told."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.cuts: list[int] = []
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.passed = 0  # bytes of answers to requests for blobs
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request of a connection, and no more: the next comes on a connection of its own."""
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            path = head.split()[1].decode()
            found = re.search(rb"\r\nRange: (.*?)\r\n", head)
            self.asked.append((path, found[1].decode() if found else None))
            with socket.create_connection(("127.0.0.1", self._to)) as server:
                server.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                self._pass_on(server, client, "/blobs/" in path)

    def _pass_on(self, server: socket.socket, client: socket.socket, blob: bool) -> None:
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += server.recv(4096) or b"\r\n\r\n"
        header, _, body = answer.partition(b"\r\n\r\n")
        length = int((re.search(rb"\r\nContent-Length: (\d+)", header) or [0, b"0"])[1])
        left = self.cuts.pop(0) if self.cuts and blob and length > 10_000 else 1 << 40
        client.sendall(header + b"\r\n\r\n")
        while body and left:
            piece = body[:left]
            left -= len(piece)
            self.passed += len(piece) if blob and length > 10_000 else 0
            client.sendall(piece)
            body = server.recv(65536) if left else b""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def served(home: Path):
    """Debian's docker-registry on this machine's loopback, and a proxy before it that can cut connections."""
    port = free_port()
    config = home / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {home}/registry\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    server = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None, server.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        proxy = Cutting(port)
        proxy.registry = f"127.0.0.1:{port}"
        yield proxy
        proxy.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


@pytest.fixture
def pushed(served: Cutting, umoci_layout: Path) -> Cutting:
    """The registry with umoci's image in it."""
    done("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{umoci_layout}:bb", f"docker://{served.registry}/bb:1")
    return served


@needs("umoci", "skopeo", "docker-registry")
def test_a_registry_is_pulled_from_and_its_image_runs(int80, pushed: Cutting):
    assert done(*int80, "run", f"{pushed.registry}/bb:1") == EXPECTED
    digest = json.loads(done(*int80, "images", "--json"))[0]["digest"]
    assert (
        digest
        == done("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{pushed.registry}/bb:1").strip()
    )
    assert done(*int80, "run", f"docker://{pushed.registry}/bb@{digest}") == EXPECTED


@needs("umoci", "skopeo", "docker-registry")
def test_a_connection_cut_in_the_middle_is_taken_up_and_nothing_is_fetched_twice(int80, pushed: Cutting):
    pushed.cuts = [200_000, 100_000]
    name = f"127.0.0.1:{pushed.port}/bb:1"
    assert done(*int80, "run", name) == EXPECTED
    layer = Store().find(name).manifest.layers[0]
    ranges = [asked for path, asked in pushed.asked if layer.digest in path]
    assert ranges == [None, "bytes=200000-", "bytes=300000-"]
    assert pushed.passed == layer.size


@needs("umoci", "skopeo", "docker-registry")
def test_a_pull_that_ended_is_taken_up_by_the_next_run(int80, pushed: Cutting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_ATTEMPTS", 1)
    pushed.cuts = [150_000]
    name = f"127.0.0.1:{pushed.port}/bb:1"
    with pytest.raises(ImageError, match="tried 1 times"):
        pull(Store(), name, None, Limits(), Quiet())
    assert done(*int80, "run", name) == EXPECTED
    layer = Store().find(name).manifest.layers[0]
    assert [asked for path, asked in pushed.asked if layer.digest in path] == [None, "bytes=150000-"]
    assert pushed.passed == layer.size


@needs("umoci", "skopeo", "docker-registry")
def test_a_registry_has_manifest_lists_and_layers_of_zstd(int80, pushed: Cutting, umoci_layout: Path):
    words = ["--dest-compress-format", "zstd", "--dest-compress"]
    target = f"docker://{pushed.registry}/zstd:1"
    done("skopeo", "copy", "-q", "--dest-tls-verify=false", "--format", "oci", *words, f"oci:{umoci_layout}:bb", "dir:z")
    done("skopeo", "copy", "-q", "--dest-tls-verify=false", "dir:z", target)
    assert done(*int80, "run", f"{pushed.registry}/zstd:1") == EXPECTED


@needs("umoci", "skopeo", "docker-registry")
def test_pulls_killed_at_any_moment_end_well_at_last(int80, pushed: Cutting):
    name = f"{pushed.registry}/bb:1"
    for tenths in range(1, 8):
        pulling = subprocess.Popen([*int80, "pull", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            pulling.wait(timeout=tenths / 10)
        except subprocess.TimeoutExpired:
            pulling.kill()
            pulling.wait()
    assert done(*int80, "run", name) == EXPECTED
    done(*int80, "rmi", name)
    left = Store().path
    assert [str(path) for pattern in ("blobs/*/*", "layers/*/*", "partial/*") for path in left.glob(pattern)] == []
