"""Who a registry is told one is: the files that docker and podman keep logins in, and their helpers.

containers-auth.json(5), and docker's config.json.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from containers.images.errors import ImageError, of_system, shown

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


class Login(msgspec.Struct):
    """A user's name and password, or a refresh token for the registry's token server."""

    username: str = ""
    password: str = ""
    refresh_token: str | None = None

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class _Entry(msgspec.Struct, rename="lower"):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identity_token: str | None = msgspec.field(default=None, name="identitytoken")


class _File(msgspec.Struct):
    auths: dict[str, _Entry] | None = None
    helpers: dict[str, str] | None = msgspec.field(default=None, name="credHelpers")
    helper: str | None = msgspec.field(default=None, name="credsStore")


class _Told(msgspec.Struct, rename="pascal"):
    """What a credential helper says."""

    username: str = ""
    secret: str = ""


def login(host: str, path: str) -> Login | None:
    """The login for a repository of a registry, from the first file that has one.  `ImageError` where a file is damaged."""
    for file in _files():
        try:
            data = file.read_bytes()
        except OSError:
            continue
        try:
            found = _in_file(msgspec.json.decode(data, type=_File), host, path)
        except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError) as problem:
            raise ImageError(
                f"{file}: damaged: {shown(str(problem))}; log in again with docker or podman, or remove it"
            ) from None
        if found is not None:
            return found
    return None


def _files() -> list[Path]:
    given = os.environ.get("REGISTRY_AUTH_FILE")
    if given:
        return [Path(given)]
    files = []
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime) / "containers/auth.json")
    home = Path(os.path.expanduser("~"))
    files.append(Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json")
    files.append(Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json")
    return files


def _keys(host: str, path: str) -> list[str]:
    """What a file may call a repository, the narrowest first."""
    parts = path.split("/")
    keys = [f"{host}/{'/'.join(parts[:length])}" for length in range(len(parts), 0, -1)]
    return keys + (list(_HUB_KEYS) if host == "docker.io" else [host, f"https://{host}", f"http://{host}", f"https://{host}/v1/"])


def _in_file(file: _File, host: str, path: str) -> Login | None:
    keys = _keys(host, path)
    for key in keys:
        if file.helpers and key in file.helpers and (found := _ask(file.helpers[key], key)) is not None:
            return found
    entries = {name.rstrip("/") if name not in _HUB_KEYS else name: entry for name, entry in (file.auths or {}).items()}
    for key in keys:
        entry = entries.get(key)
        if entry is None:
            continue
        if file.helper and not entry.auth and (found := _ask(file.helper, key)) is not None:
            return found
        username, password = entry.username or "", entry.password or ""
        if entry.auth:
            username, _, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
        if username or entry.identity_token:
            return Login(username, password.rstrip("\0"), entry.identity_token)
    return None


def _ask(helper: str, key: str) -> Login | None:
    """What docker-credential-HELPER says; None where it knows nothing or is not there."""
    if "/" in helper:
        return None
    try:
        done = subprocess.run([f"docker-credential-{helper}", "get"], input=key.encode(), capture_output=True, timeout=60)
        told = msgspec.json.decode(done.stdout, type=_Told) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, msgspec.MsgspecError):
        return None
    if told is None:
        return None
    if told.username == "<token>":
        return Login(refresh_token=told.secret)
    return Login(told.username, told.secret)


# -- keeping logins -----------------------------------------------------------------------------------


def words(host: str, username: str | None, password: str | None, from_input: bool) -> Login:
    """A login as a person gives it, asked for where it is not given.  `ImageError`."""
    if not is_registry(host):
        raise ImageError(f"{shown(host)}: no registry; give its host, as in quay.io or localhost:5000")
    if from_input and password is not None:
        raise ImageError("--password and --password-stdin: give one of them")
    asks = sys.stdin.isatty()
    if username is None:
        if not asks or from_input:
            raise ImageError("--username: give the name to log in with")
        username = input("Username: ")
    if from_input:
        password = sys.stdin.read().rstrip("\r\n")
    elif password is None:
        if not asks:
            raise ImageError("--password-stdin: the password is not typed here; give it so, or with --password")
        from getpass import getpass

        password = getpass()
    if not username or not password or ":" in username:
        raise ImageError("a login is a name, without a colon, and a password; neither is empty")
    return Login(username, password)


def is_registry(host: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?", host))


def keep(host: str, login: Login, file: str | None) -> None:
    """Write a login to `file`, or to where podman keeps them.  `ImageError`."""
    auth = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    _change(_kept_in(file), lambda auths: auths.__setitem__(host, {"auth": auth}))


def forget(host: str, file: str | None) -> None:
    """Take a login away.  `ImageError` where there is none."""
    place = _kept_in(file)

    def remove(auths: dict) -> None:
        names = [name for name in auths if name in (_HUB_KEYS if host == "docker.io" else (host,))]
        if not names:
            raise ImageError(f"{shown(host)}: {place} has no login for it")
        for name in names:
            del auths[name]

    _change(place, remove)


def _kept_in(file: str | None) -> Path:
    return Path(file) if file is not None else _files()[0]


def _change(place: Path, change: Callable[[dict], None]) -> None:
    """Change the logins of a file, all at once; what else it holds stays."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            document = json.loads(place.read_bytes() or b"{}")
            auths = document.setdefault("auths", {})
            change(auths)
        except FileNotFoundError:
            document = {"auths": {}}
            change(document["auths"])
        except (ValueError, AttributeError, TypeError):
            raise ImageError(f"{place}: damaged; log in again with docker or podman, or remove it") from None
        draft = place.with_name(f".{place.name}.int80-{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(document, file, indent="\t")
        os.rename(draft, place)
    except OSError as problem:
        raise of_system(place, problem) from None
