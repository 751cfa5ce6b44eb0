"""Names of images: `busybox`, `quay.io/some/thing:1.2`, `host:5000/name@sha256:...`, `oci:DIR:TAG`.

The grammar is that of distribution's references (github.com/distribution/reference) and of containers-transports(5).
"""

from __future__ import annotations

import os
import re

from containers.images.errors import ImageError, shown

#: Where an image may come from but the store; `docker` is a registry.
TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive")
_LATEST = "latest"
_HUB = "docker.io"

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class Reference:
    """An image by registry host, repository and tag or digest (either may be None, not both)."""

    __slots__ = ("_short", "digest", "host", "path", "tag")

    def __init__(self, host: str, path: str, tag: str | None, digest: str | None) -> None:
        self.host = host
        self.path = path
        self.tag = tag
        self.digest = digest

    @classmethod
    def parse(cls, text: str) -> Reference:
        """What a person wrote, completed as docker does: docker.io, library/, :latest.  `ImageError`."""
        rest, at, digest = text.partition("@")
        if at and not DIGEST.fullmatch(digest):
            raise ImageError(f"{shown(text)}: no digest follows the @; it looks like sha256: and 64 hexadecimal digits")
        tag = None
        if ":" in rest.rpartition("/")[2]:
            rest, _, tag = rest.rpartition(":")
            if not _TAG.fullmatch(tag):
                raise ImageError(f"{shown(text)}: {shown(tag) or 'nothing'} is no tag; use letters, digits, `_`, `.` and `-`")
        host, slash, path = rest.partition("/")
        if not slash or not is_host(host):
            host, path = _HUB, rest
        elif host == "index.docker.io":
            host = _HUB
        if host == _HUB and "/" not in path:
            path = "library/" + path
        if not _HOST.fullmatch(host) or not _PATH.fullmatch(path) or len(path) > 255:
            why = (
                "names are in lower case"
                if path.lower() != path and _PATH.fullmatch(path.lower())
                else "use NAME[:TAG] or HOST/NAME[:TAG]"
            )
            raise ImageError(f"{shown(text) or 'an empty word'}: no name of an image; {why}")
        result = cls(host, path, tag if tag or at else _LATEST, digest or None)
        result._short = not slash
        return result

    @property
    def name(self) -> str:
        """The whole name, as the store and other tools know it."""
        text = f"{self.host}/{self.path}"
        if self.tag is not None:
            text += f":{self.tag}"
        return text if self.digest is None else f"{text}@{self.digest}"

    def names(self) -> list[str]:
        """What the store may call it: what a person wrote as one word may also be an image that was made here."""
        if not self._short:
            return [self.name]
        return [self.name, Reference("localhost", self.path.removeprefix("library/"), self.tag, self.digest).name]

    def familiar(self) -> str:
        """The name as people write it."""
        return familiar(self.name)


def is_host(word: str) -> bool:
    """Whether the first part of a name is a registry's host, not a part of the repository's path."""
    return "." in word or ":" in word or word == "localhost" or word.lower() != word


def familiar(name: str) -> str:
    """A whole name without what is understood of itself."""
    return name.removeprefix(f"{_HUB}/library/").removeprefix(f"{_HUB}/")


def transport(text: str) -> tuple[str, str] | None:
    """(transport, the rest) where a word names one; None for a plain name."""
    name, colon, rest = text.partition(":")
    if not colon or name not in TRANSPORTS:
        return None
    if name == "docker":
        return (name, rest[2:]) if rest.startswith("//") else None
    return name, rest


def path_and_tag(rest: str) -> tuple[str, str | None]:
    """PATH[:TAG] of a transport: the path ends at the first colon, as in containers-transports(5)."""
    path, colon, tag = rest.partition(":")
    if not path:
        raise ImageError("oci:, oci-archive: and docker-archive: need a path, as in oci:DIR:TAG")
    return path, (tag or None) if colon else None


def looks_like_one(word: str) -> bool:
    """Whether a word that is in no store can only be meant as an image: a transport, a registry's host, or a tag."""
    if transport(word) is not None:
        return True
    if word.startswith(("/", ".")) or os.path.exists(word) or "=" in word:
        return False
    host, slash, _ = word.partition("/")
    if not ((slash and is_host(host)) or ":" in word or "@sha256:" in word):
        return False
    try:
        Reference.parse(word)
    except ImageError:
        return False
    return True
