"""Pulls from registries: one of the tests' own that misbehaves as it is told to, and Debian's docker-registry."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from image_made_up import OCI, Layout, digest, entry, tar

from containers.images import registry
from containers.images.errors import ImageError, NotFound
from containers.images.progress import Quiet
from containers.images.pull import get, pull
from containers.images.reference import Reference
from containers.images.store import Store
from containers.images.unpack import Limits


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store and logins of this test's own, and no waiting between attempts."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setattr(registry, "_PAUSE", 0.0)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


class Served:
    """A registry of one repository, `some/thing`, made of a layout's blobs; what it is to do wrong is set."""

    def __init__(self, layout: Layout, tag: dict) -> None:
        self.layout = layout
        self.tags = {"latest": tag}
        self.requests: list[tuple[str, str, dict]] = []  # method, path, headers
        self.sent: dict[str, int] = {}  # bytes of each blob
        self.cuts: list[int] = []  # after so many bytes of a blob the connection is cut, once for each
        self.ranges = True
        self.statuses: list[int] = []  # answers to the next requests for blobs
        self.basic: str | None = None  # "user:password" that is asked for
        self.bearer: str | None = None  # the token that is
        self.token_login: str | None = None  # "user:password" that the token server asks for
        self.elsewhere: str | None = None  # where blobs are redirected
        self.lies: dict[str, bytes] = {}  # other bytes for a digest
        self.hold: threading.Event | None = None  # what answers to requests for blobs wait for
        self.asked = threading.Event()  # a blob was
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_) -> None:
                pass

            def do_GET(self) -> None:
                served.requests.append((self.command, self.path, dict(self.headers)))
                with contextlib.suppress(ConnectionError):
                    served.answer(self)

            def do_POST(self) -> None:
                served.requests.append((self.command, self.path, dict(self.headers)))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                served.token(self, parse_qs(body.decode()))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.name = f"{self.host}/some/thing"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def blobs(self) -> list[tuple[str, dict]]:
        return [(path, headers) for _, path, headers in self.requests if "/blobs/" in path]

    @staticmethod
    def reply(handler, status: int, data: bytes = b"", **headers: str) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def answer(self, handler) -> None:
        parts = urlsplit(handler.path)
        if parts.path == "/token":
            self.token(handler, parse_qs(parts.query))
            return
        given = handler.headers.get("Authorization")
        if parts.path.startswith("/elsewhere/"):
            self.blob(handler, parts.path.rpartition("/")[2])
            return
        if self.basic is not None and given != "Basic " + base64.b64encode(self.basic.encode()).decode():
            self.reply(
                handler, 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}', WWW_Authenticate='Basic realm="it"'
            )
            return
        if self.bearer is not None and given != f"Bearer {self.bearer}":
            challenge = f'Bearer realm="http://{self.host}/token",service="it, really"'
            challenge += ',scope="repository:some/thing:pull"' if parts.path != "/v2/" else ""
            self.reply(handler, 401, b"{}", WWW_Authenticate=challenge)
            return
        found = re.fullmatch(r"/v2/some/thing/(manifests|blobs)/(.+)", parts.path)
        if parts.path == "/v2/":
            self.reply(handler, 200, b"{}")
        elif found is None:
            self.reply(handler, 404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}')
        elif found[1] == "blobs":
            self.asked.set()
            if self.hold is not None:
                self.hold.wait()
            if self.statuses:
                self.reply(handler, self.statuses.pop(0))
            elif self.elsewhere is not None:
                self.reply(handler, 307, Location=f"{self.elsewhere}/{found[2]}")
            else:
                self.blob(handler, found[2])
        else:
            self.manifest(handler, found[2])

    def manifest(self, handler, name: str) -> None:
        if name == "endless":
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            while True:  # until nobody listens
                handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        described = self.tags.get(name)
        data = self.data(described["digest"] if described else name)
        if data is None:
            self.reply(handler, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            return
        kind = json.loads(data).get("mediaType", f"{OCI}manifest.v1+json")
        self.reply(handler, 200, data, Content_Type=kind)

    def data(self, name: str) -> bytes | None:
        if name in self.lies:
            return self.lies[name]
        path = self.layout.path / "blobs" / name.replace(":", "/")
        return path.read_bytes() if path.exists() else None

    def blob(self, handler, name: str) -> None:
        data = self.data(name)
        if data is None:
            self.reply(handler, 404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.ranges else 0
        if start >= len(data) and start:
            self.reply(handler, 416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts and len(data) > 1000 else None
        piece = data[start:] if cut is None else data[start : start + cut]
        self.sent[name] = self.sent.get(name, 0) + len(piece)
        handler.wfile.write(piece)
        if cut is not None:
            handler.wfile.flush()
            handler.close_connection = True

    def token(self, handler, fields: dict) -> None:
        given = handler.headers.get("Authorization")
        wanted = None if self.token_login is None else "Basic " + base64.b64encode(self.token_login.encode()).decode()
        if fields.get("grant_type") == ["refresh_token"]:
            wanted, given = "refresh", *fields["refresh_token"]
        if wanted is not None and given != wanted:
            self.reply(handler, 401, b'{"errors":[{"message":"wrong password"}]}')
            return
        assert fields.get("scope") in (["repository:some/thing:pull"], None)
        assert fields["service"] == ["it, really"]
        self.reply(handler, 200, json.dumps({"token": self.bearer}).encode())


LAYER = tar(entry("big", data=os.urandom(300_000)))


@pytest.fixture
def served(home: Path):
    layout = Layout(home / "layout")
    served = Served(layout, layout.manifest([LAYER], {"Cmd": ["x"]}))
    yield served
    served.close()


def fetch(name: str, platform=None):
    return pull(Store(), name, platform, Limits(), Quiet())


def layer_of(image) -> str:
    return image.manifest.layers[0].digest


def test_an_image_is_pulled_by_tag_and_by_digest(served: Served):
    image = fetch(served.name)
    assert Store().find(served.name).id == image.id
    by_digest = f"{served.name}@{image.descriptor.digest}"
    assert fetch(by_digest).id == image.id
    assert Store().find(by_digest).id == image.id
    assert len(served.blobs()) == 2  # the second time everything was here


def test_what_is_here_is_not_asked_for_again_unless_always(served: Served):
    fetch(served.name)
    before = len(served.requests)
    get(Store(), served.name, "missing", None, Limits(), Quiet())
    assert len(served.requests) == before
    get(Store(), served.name, "always", None, Limits(), Quiet())
    assert len(served.requests) == before + 1


def test_a_cut_connection_is_taken_up_where_it_ended(served: Served):
    served.cuts = [100_000, 50_000, 1, 0, 0, 0]
    image = fetch(served.name)
    asked = [headers.get("Range") for path, headers in served.blobs() if layer_of(image) in path]
    assert asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-", "bytes=150001-", "bytes=150001-", "bytes=150001-"]
    assert served.sent[layer_of(image)] == image.manifest.layers[0].size  # no byte twice


def test_a_pull_that_was_given_up_is_taken_up_by_the_next(served: Served):
    served.cuts = [120_000] + [0] * 10
    with pytest.raises(ImageError, match=r"the connection ends too early|tried 6 times"):
        fetch(served.name)
    served.cuts, served.requests = [], []
    image = fetch(served.name)
    assert [headers.get("Range") for path, headers in served.blobs() if layer_of(image) in path] == ["bytes=120000-"]
    assert served.sent[layer_of(image)] == image.manifest.layers[0].size


def test_a_registry_without_ranges_is_asked_for_all_of_it(served: Served):
    served.ranges = False
    served.cuts = [100_000]
    image = fetch(served.name)
    assert served.sent[layer_of(image)] == image.manifest.layers[0].size + 100_000


def test_a_part_that_was_damaged_is_not_believed(served: Served):
    store = Store()
    layer = json.loads(served.data(served.tags["latest"]["digest"]))["layers"][0]
    store.partial(layer["digest"]).write_bytes(b"wrong")
    with pytest.raises(ImageError, match="digest mismatch"):
        fetch(served.name)
    assert not store.partial(layer["digest"]).exists()
    fetch(served.name)


def test_a_part_that_is_too_long_is_thrown_away(served: Served):
    layer = json.loads(served.data(served.tags["latest"]["digest"]))["layers"][0]
    Store().partial(layer["digest"]).write_bytes(bytes(layer["size"] + 1))
    fetch(served.name)


def test_other_bytes_than_the_digest_says_are_refused(served: Served):
    manifest = json.loads(served.data(served.tags["latest"]["digest"]))
    layer = manifest["layers"][0]["digest"]
    right = served.data(layer)
    for lie, problem in ((right[:-1] + b"?", "digest mismatch"), (right + b"more", "more than the"), (right[:-1], "too early")):
        served.lies = {layer: lie}
        with pytest.raises(ImageError, match=problem):
            fetch(served.name)
        shutil.rmtree(Store().path / "partial")
    served.lies = {served.tags["latest"]["digest"]: b"{}"}
    with pytest.raises(ImageError, match="digest mismatch"):
        fetch(f"{served.name}@{served.tags['latest']['digest']}")
    assert Store().images() == []


def test_a_manifest_without_an_end_is_refused(served: Served):
    with pytest.raises(ImageError, match="a manifest of more than 4194304 bytes"):
        fetch(f"{served.name}:endless")


def test_a_busy_registry_is_asked_again(served: Served):
    served.statuses = [503, 429, 500]
    fetch(served.name)
    served.statuses = [503] * 20
    shutil.rmtree(Store().path)
    with pytest.raises(ImageError, match="HTTP status 503"):
        fetch(served.name)


def test_what_a_registry_has_not_is_said(served: Served):
    with pytest.raises(NotFound, match=r"some/thing:none: the image not found in the registry: manifest unknown"):
        fetch(f"{served.name}:none")
    with pytest.raises(NotFound, match="repository name not known"):
        fetch(f"{served.host}/other")


def test_a_registry_that_is_not_there_is_said(home: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ImageError, match=f"{host}/x:latest: connection refused"):
            fetch(f"{host}/x")


def login(home: Path, host: str, text: str = "me:secret", **more) -> None:
    (home / "DOCKER_CONFIG").mkdir(exist_ok=True)
    auth = {"auth": base64.b64encode(text.encode()).decode()} | more
    (home / "DOCKER_CONFIG/config.json").write_text(json.dumps({"auths": {host: auth}}))


def test_basic_logins_come_from_dockers_file(served: Served, home: Path):
    served.basic = "me:secret"
    with pytest.raises(ImageError, match=r"unauthorized: who are you; `int80 login 127.0.0.1:"):
        fetch(served.name)
    login(home, served.host, "me:wrong")
    with pytest.raises(ImageError, match="the login is not accepted"):
        fetch(served.name)
    login(home, served.host)
    fetch(served.name)


@pytest.mark.parametrize("by_token", [False, True])
def test_a_login_is_kept_once_the_registry_takes_it(served: Served, home: Path, int80: list[str], by_token: bool):
    if by_token:
        served.bearer, served.token_login = "secret-token", "me:secret"
    else:
        served.basic = "me:secret"

    def command(*words: str, typed: str = ""):
        return subprocess.run([*int80, *words], input=typed, capture_output=True, text=True)

    done = command("login", "-u", "me", "--password-stdin", served.host, typed="wrong\n")
    assert done.returncode == 125 and "unauthorized" in done.stderr and done.stderr.count("\n") == 1
    file = home / "XDG_RUNTIME_DIR/containers/auth.json"
    assert not file.exists()
    file.parent.mkdir(parents=True)
    file.write_text('{"auths": {"other.example": {"auth": "eDp5"}}, "credHelpers": {}}')
    assert command("login", "-u", "me", "--password-stdin", served.host, typed="secret\n").stdout == "Login Succeeded!\n"
    assert file.stat().st_mode & 0o777 == 0o600 and set(json.loads(file.read_text())["auths"]) == {"other.example", served.host}
    fetch(served.name)
    assert command("logout", served.host).returncode == 0
    assert set(json.loads(file.read_text())["auths"]) == {"other.example"}
    assert command("logout", served.host).returncode == 125


@pytest.mark.parametrize(
    "words",
    [("-u", "me", "a/b"), ("-u", "me", "here"), ("here",), ("-u", "a:b", "-p", "x", "here"), ("-u", "", "-p", "x", "here")],
)
def test_a_login_that_can_be_none_is_one_line(home: Path, int80: list[str], words: tuple[str, ...]):
    done = subprocess.run([*int80, "login", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)


def test_the_narrowest_login_of_the_file_that_is_named_counts(served: Served, home: Path, monkeypatch: pytest.MonkeyPatch):
    served.basic = "me:secret"
    login(home, served.host, "me:wrong")
    entries = {served.host: "me:wrong", f"{served.host}/some": "me:secret"}
    auths = {name: {"auth": base64.b64encode(text.encode()).decode()} for name, text in entries.items()}
    (home / "auth.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    fetch(served.name)


def test_a_helper_is_asked_for_the_login(served: Served, home: Path, monkeypatch: pytest.MonkeyPatch):
    served.basic = "me:secret"
    helper = home / "docker-credential-tests"
    helper.write_text(f'#!/bin/sh\nread x; [ "$x" = {served.host} ] && echo \'{{"Username":"me","Secret":"secret"}}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    (home / "DOCKER_CONFIG").mkdir()
    (home / "DOCKER_CONFIG/config.json").write_text(json.dumps({"credHelpers": {served.host: "tests"}}))
    fetch(served.name)


def test_a_damaged_file_of_logins_is_said(served: Served, home: Path):
    served.basic = "me:secret"
    login(home, served.host, auth="%%%")
    with pytest.raises(ImageError, match=r"config\.json: damaged"):
        fetch(served.name)


def test_a_token_is_fetched_and_given(served: Served, home: Path):
    served.bearer = "token-1"
    fetch(served.name)
    assert [path for _, path, _ in served.requests][1].startswith("/token?")
    shutil.rmtree(Store().path)
    served.token_login = "me:secret"
    with pytest.raises(ImageError, match="unauthorized: wrong password"):
        fetch(served.name)
    login(home, served.host)
    fetch(served.name)


def test_a_refresh_token_is_posted(served: Served, home: Path):
    served.bearer = "token-2"
    login(home, served.host, "x:", identitytoken="refresh")
    fetch(served.name)
    assert ("POST", "/token") in [(method, path) for method, path, _ in served.requests]


def test_no_login_goes_to_where_a_blob_is_redirected(served: Served, home: Path):
    served.basic = "me:secret"
    login(home, served.host)
    port = served.host.rpartition(":")[2]
    served.elsewhere = f"http://localhost:{port}/elsewhere"
    image = fetch(served.name)
    redirected = [headers for _, path, headers in served.requests if path.startswith("/elsewhere/")]
    assert len(redirected) == 1 + len(image.manifest.layers)
    assert all("Authorization" not in headers for headers in redirected)


def test_a_redirection_to_another_kind_of_address_is_not_followed(served: Served):
    served.elsewhere = "file:///etc"
    with pytest.raises(ImageError, match=r"redirects to file:///etc"):
        fetch(served.name)


def test_a_token_server_without_tls_gets_no_login():
    far = registry.Registry(Reference.parse("registry.example/x"))
    with pytest.raises(ImageError, match="no login is safe"):
        far._token({"realm": "http://auth.example/token"})


def test_an_index_of_the_registry_is_followed(served: Served):
    entries = []
    for architecture in ("arm64", "amd64"):
        described = served.layout.manifest([LAYER], {"Labels": {"is": architecture}}, architecture=architecture)
        entries.append(described | {"platform": {"os": "linux", "architecture": architecture}})
    index = json.dumps({"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": entries}).encode()
    served.tags["multi"] = served.layout.blob(index, f"{OCI}index.v1+json")
    assert fetch(f"{served.name}:multi").config.execution.labels == {"is": "amd64"}
    by_digest = fetch(f"{served.name}@{digest(index)}")
    assert by_digest.config.execution.labels == {"is": "amd64"}
    assert Store().find(f"{served.name}@{digest(index)}").id == by_digest.id


@pytest.mark.parametrize(
    "manifest",
    [
        {"schemaVersion": 1, "fsLayers": [], "name": "x"},
        {"schemaVersion": 2},
        {"schemaVersion": 2, "config": 3, "layers": []},
        {"schemaVersion": 2, "layers": [], "config": {"mediaType": "x", "digest": "sha256:../../x", "size": 3}},
        {"schemaVersion": 2, "layers": [], "config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1 << 40}},
        {"schemaVersion": 2, "layers": [], "config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": -1}},
        [],
        3,
    ],
)
def test_a_manifest_that_can_be_none_is_one_line(served: Served, manifest):
    data = json.dumps(manifest).encode()
    served.tags["bad"] = served.layout.blob(data, "x")
    served.manifest = lambda handler, name: served.reply(handler, 200, data, Content_Type=f"{OCI}manifest.v1+json")
    with pytest.raises(ImageError) as problem:
        fetch(f"{served.name}:bad")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("words", [["pull"], ["run"]])
def test_an_interrupt_ends_a_pull_at_once(served: Served, int80, words: list[str]):
    served.hold = threading.Event()
    pulling = subprocess.Popen([*int80, *words, f"{served.name}:latest"], stderr=subprocess.PIPE, text=True)
    assert served.asked.wait(60)
    pulling.send_signal(signal.SIGINT)
    _, said = pulling.communicate(timeout=60)
    served.hold.set()
    assert (pulling.returncode, said) == (130, "int80: interrupted; what has come so far is kept for the next time\n")


def test_when_one_layer_cannot_be_had_its_own_reason_is_said(served: Served):
    other = tar(entry("other", data=os.urandom(200_000)))
    served.tags["two"] = served.layout.manifest([LAYER, other], {})
    manifest = json.loads(served.data(served.tags["two"]["digest"]))
    served.lies = {manifest["layers"][1]["digest"]: b"short"}
    with pytest.raises(ImageError, match="the connection ends too early"):
        fetch(f"{served.name}:two")
