"""A registry's client: the pulling half of the distribution specification 1.1.

Blobs are taken up where a cut connection, or an earlier run, left off (Range, RFC 9110 section 14).  Logins go to the
registry and to the token server it names, over TLS but for this machine's own, and never on to where a blob is redirected.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
import urllib.request
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3

from containers.images import auth, documents
from containers.images.documents import Descriptor
from containers.images.errors import ImageError, NotFound, shown
from containers.images.reference import Reference
from containers.images.store import Receiver, digest_of

_ACCEPT = ", ".join((documents.MANIFEST, documents.INDEX, documents.DOCKER_MANIFEST, documents.DOCKER_LIST))
_ATTEMPTS = 6  # in a row, without a byte more
_PAUSE, _LONGEST_PAUSE = 0.2, 20.0  # seconds before another attempt, doubled each time
_REDIRECTS = 5
_CHUNK = 1 << 16
_TIMEOUT = urllib3.Timeout(connect=30, read=60)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_CUT = (
    urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError, urllib3.exceptions.DecodeError,
    urllib3.exceptions.NewConnectionError,
)  # fmt: skip
_CHALLENGE = re.compile(r'([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class _Token(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None


class Registry:
    """One repository of a registry."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.name = reference.familiar()
        host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        self._local = is_loopback(host)
        self._base = f"{'http' if self._local else 'https'}://{host}/v2/{reference.path}/"
        self._pools: dict[bool, urllib3.PoolManager] = {}
        self._authorization: str | None = None
        self._login: auth.Login | None = None
        self._login_known = False

    def use(self, login: auth.Login) -> None:
        """Be this one, whatever is kept."""
        self._login, self._login_known = login, True

    def ask(self) -> None:
        """Look whether the registry is one, and lets us in.  `ImageError`."""
        response = self._with_attempts(urljoin(self._base, "/v2/"), {}, "the registry")
        if response.status != 200:
            raise self._failed(response, "the registry")
        _drop(response)

    # -- requests -----------------------------------------------------------------------------

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Connections, by way of the proxy that the environment names for a host."""
        parts = urlsplit(url)
        proxy = None
        if not is_loopback(parts.netloc) and not urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = urllib.request.getproxies().get(parts.scheme)
        if bool(proxy) not in self._pools:
            more = {"timeout": _TIMEOUT, "retries": False, "maxsize": 4}
            self._pools[bool(proxy)] = urllib3.ProxyManager(proxy, **more) if proxy else urllib3.PoolManager(**more)
        return self._pools[bool(proxy)]

    def _send(self, method: str, url: str, headers: dict[str, str], **more) -> urllib3.BaseHTTPResponse:
        headers = {"User-Agent": "int80"} | headers
        return self._pool(url).request(method, url, headers=headers, redirect=False, preload_content=False, **more)

    def _get(self, path: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """A response that is no challenge and no redirection; one attempt."""
        url = urljoin(self._base, path)
        asked = False
        for _ in range(_REDIRECTS + 2):
            own = _origin(url) == _origin(self._base)
            given = {"Authorization": self._authorization} if own and self._authorization else {}
            response = self._send("GET", url, headers | given)
            if response.status == 401 and own and not asked:
                challenge = response.headers.getlist("WWW-Authenticate")
                _drop(response)
                self._authorize(challenge)
                asked = True
                continue
            if response.status in (301, 302, 303, 307, 308):
                there = urljoin(url, response.headers.get("Location", ""))
                _drop(response)
                if urlsplit(there).scheme not in ("http", "https") or (
                    url.startswith("https:") and not there.startswith("https:")
                ):
                    raise ImageError(f"{self.name}: the registry redirects to {shown(there)}, which is not safe to follow")
                url = there
                continue
            return response
        raise ImageError(f"{self.name}: the registry redirects without end")

    def _with_attempts(self, path: str, headers: dict[str, str], what: str) -> urllib3.BaseHTTPResponse:
        """A response with a status that says something.  `ImageError`."""
        attempt = 0
        while True:
            try:
                response = self._get(path, headers)
                if response.status not in _AGAIN:
                    return response
                problem: object = f"HTTP status {response.status}"
                pause = _retry_after(response)
                if attempt + 1 >= _ATTEMPTS:
                    raise self._failed(response, what)
                _drop(response)
            except _CUT as failure:
                problem, pause = failure, None
            except urllib3.exceptions.HTTPError as failure:
                raise ImageError(f"{self.name}: {_reason(failure)}") from None
            attempt += 1
            self._pause(attempt, pause, problem)

    def _pause(self, attempt: int, asked: float | None, problem: object) -> None:
        """Wait before another attempt.  `ImageError` after too many."""
        if attempt >= _ATTEMPTS or (attempt >= 2 and _is_refused(problem)):
            raise ImageError(f"{self.name}: {_reason(problem)}; tried {attempt} times")
        time.sleep(min(asked if asked is not None else _PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))

    def _failed(self, response: urllib3.BaseHTTPResponse, what: str) -> ImageError:
        """The line for a status that is an error."""
        said = ""
        try:
            errors = msgspec.json.decode(response.read(1 << 16), type=_Errors).errors or []
            said = ": " + "; ".join(shown(error.message or error.code) for error in errors[:2]) if errors else ""
        except (msgspec.MsgspecError, urllib3.exceptions.HTTPError, UnicodeDecodeError):
            pass
        finally:
            response.close()
            response.release_conn()
        match response.status:
            case 401 | 403:
                how = (
                    "the login is not accepted for it"
                    if self._login is not None
                    else f"`int80 login {self.reference.host}` keeps one, as do docker and podman, or set REGISTRY_AUTH_FILE"
                )
                return ImageError(f"{self.name}: unauthorized{said}; {how}")
            case 404:
                return NotFound(f"{self.name}: {what} not found in the registry{said}")
            case 429:
                return ImageError(f"{self.name}: the registry allows no more requests just now{said}; log in, or wait")
            case status:
                return ImageError(f"{self.name}: the registry answers with HTTP status {status}{said}")

    # -- logins -------------------------------------------------------------------------------

    def _authorize(self, challenges: list[str]) -> None:
        """Get what a challenge asks for.  `ImageError`.  (distribution: docs/spec/auth/token.md)"""
        if not self._login_known:
            self._login = auth.login(self.reference.host, self.reference.path)
            self._login_known = True
        for challenge in challenges:
            scheme, _, rest = challenge.strip().partition(" ")
            values = {key.lower(): quoted or plain for key, quoted, plain in _CHALLENGE.findall(rest)}
            if scheme.lower() == "bearer" and "realm" in values:
                self._authorization = f"Bearer {self._token(values)}"
                return
            if scheme.lower() == "basic" and self._login is not None and self._login.username:
                self._authorization = self._login.basic()
                return
        self._authorization = None

    def _token(self, values: dict[str, str]) -> str:
        realm = values["realm"]
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._local):
            raise ImageError(f"{self.name}: the registry's token server is {shown(realm)}, where no login is safe")
        fields = {"service": values.get("service", "")}
        if scope := values.get("scope") or (self.reference.path and f"repository:{self.reference.path}:pull"):
            fields["scope"] = scope
        if self._login is not None and self._login.refresh_token:
            fields |= {"grant_type": "refresh_token", "refresh_token": self._login.refresh_token, "client_id": "int80"}
            response = self._send("POST", realm, {}, fields=fields, encode_multipart=False)
        else:
            headers = {"Authorization": self._login.basic()} if self._login is not None else {}
            response = self._send("GET", realm, headers, fields=fields)
        if response.status != 200:
            raise self._failed(response, "its token")
        try:
            told = msgspec.json.decode(response.read(1 << 20), type=_Token)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            told = _Token()
        finally:
            response.release_conn()
        token = told.token or told.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise ImageError(f"{self.name}: the token server {shown(realm)} gives no token")
        return token

    # -- what is fetched ----------------------------------------------------------------------

    def manifest(self, name: str) -> tuple[Descriptor, bytes]:
        """A manifest or an index, by tag or digest.  `NotFound`, `ImageError`."""
        response = self._with_attempts(f"manifests/{name}", {"Accept": _ACCEPT}, "the image" if ":" not in name else name)
        if response.status != 200:
            raise self._failed(response, "the image" if ":" not in name else name)
        try:
            data = b""
            for piece in response.stream(_CHUNK):  # its length need not be said, nor true
                data += piece
                if len(data) > documents.DOCUMENT_MAX:
                    response.close()
                    raise ImageError(f"{self.name}: a manifest of more than {documents.DOCUMENT_MAX} bytes")
        except urllib3.exceptions.HTTPError as problem:
            raise ImageError(f"{self.name}: {_reason(problem)}") from None
        finally:
            response.release_conn()
        digest = digest_of(data, name if ":" in name else "sha256:")
        if ":" in name and digest != name:
            raise ImageError(f"{self.name}: digest mismatch: what came for {name} is {digest}")
        media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip()
        return Descriptor(media_type, digest, len(data)), data

    def blob(self, descriptor: Descriptor, receiver: Receiver, part) -> None:
        """Fetch a blob, from where an earlier attempt left off, until it is whole.  `ImageError`."""
        attempt = 0
        digest = descriptor.digest
        furthest = receiver.resume()
        part(furthest)
        while receiver.size < descriptor.size or (descriptor.size == 0 and not attempt):
            try:
                self._stream(descriptor, receiver, part)
                if receiver.size >= descriptor.size:
                    break
                problem: object = "the connection ends too early"
            except _CUT as failure:
                problem = failure
            except urllib3.exceptions.HTTPError as failure:
                raise ImageError(f"{self.name}: {digest}: {_reason(failure)}") from None
            attempt = 1 if receiver.size > furthest else attempt + 1  # a registry that starts over and over ends it too
            furthest = max(furthest, receiver.size)
            self._pause(attempt, None, problem)
        receiver.finish(self.name)

    def _stream(self, descriptor: Descriptor, receiver: Receiver, part) -> None:
        start = receiver.size
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        response = self._with_attempts(f"blobs/{descriptor.digest}", headers, descriptor.digest)
        try:
            if response.status == 416 or (response.status == 206 and not _begins_at(response, start)):
                receiver.restart()
                part.restart()
                return
            if response.status not in (200, 206):
                raise self._failed(response, descriptor.digest)
            if start and response.status == 200:  # no ranges there
                receiver.restart()
                part.restart()
            for data in response.stream(_CHUNK, decode_content=False):
                receiver.take(data, self.name)
                part(len(data))
        finally:
            if receiver.size < descriptor.size:
                response.close()
            response.release_conn()


def check_login(host: str, login: auth.Login) -> None:
    """Ask a registry whether it takes a login.  `ImageError`."""
    registry = Registry(Reference("docker.io" if host == "index.docker.io" else host, "", None, None))
    registry.name = host
    registry.use(login)
    registry.ask()


def is_loopback(netloc: str) -> bool:
    """Whether a host, perhaps with a port, is this machine, where plain HTTP is safe."""
    host = urlsplit(f"//{netloc}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _drop(response: urllib3.BaseHTTPResponse) -> None:
    """Have done with a response; its connection serves again if what is left of it is short."""
    if "Content-Length" in response.headers and _length(response) <= _CHUNK:
        response.drain_conn()
    else:
        response.close()
    response.release_conn()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _length(response: urllib3.BaseHTTPResponse) -> int:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _begins_at(response: urllib3.BaseHTTPResponse, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").replace("=", " ").startswith(f"bytes {start}-")


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else None


def _is_refused(problem: object) -> bool:
    return isinstance(problem, urllib3.exceptions.NewConnectionError)


def _reason(problem: object) -> str:
    """What went wrong on the way, in a few words."""
    inner = problem
    while isinstance(inner, urllib3.exceptions.HTTPError) and isinstance(inner.__context__ or inner.__cause__, Exception):
        inner = inner.__cause__ or inner.__context__
    if isinstance(problem, urllib3.exceptions.TimeoutError) and not _is_refused(problem):
        return "the registry does not answer"
    if isinstance(inner, OSError):
        if type(inner).__name__ == "gaierror":
            return "the registry's host cannot be found; is the name right, and is there a network?"
        return shown(os.strerror(inner.errno).lower() if inner.errno is not None and inner.errno > 0 else str(inner))
    return shown(str(inner)) or type(inner).__name__
