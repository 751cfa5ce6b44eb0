"""Images as tests make them up: tars of any entries, layouts of any layers."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

OCI = "application/vnd.oci.image."


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more) -> tuple[tarfile.TarInfo, bytes]:
    """An entry of a tar; `more` are fields of a TarInfo."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    member.size = len(data)
    for field, value in more.items():
        setattr(member, field, value)
    return member, data


def directory(name: str, **more):
    return entry(name, tarfile.DIRTYPE, **more)


def symlink(name: str, target: str, **more):
    return entry(name, tarfile.SYMTYPE, linkname=target, **more)


def hardlink(name: str, target: str, **more):
    return entry(name, tarfile.LNKTYPE, linkname=target, **more)


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for member, data in entries:
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layout:
    """An OCI image layout being made in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.entries: list[dict] = []
        self._write()

    def _write(self) -> None:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.entries}))

    def blob(self, data: bytes, media_type: str) -> dict:
        (self.path / "blobs" / digest(data).replace(":", "/")).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def manifest(self, layers: list[bytes], config: dict | None = None, pack=gzip.compress, kind: str = "+gzip", **more) -> dict:
        """Blobs of an image of some tars; the descriptor of its manifest."""
        document = {"architecture": "amd64", "os": "linux", "config": config or {}} | more
        document.setdefault("rootfs", {"type": "layers", "diff_ids": [digest(layer) for layer in layers]})
        parts = [self.blob(pack(layer), f"{OCI}layer.v1.tar{kind}") for layer in layers]
        described = self.blob(json.dumps(document).encode(), f"{OCI}config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "config": described, "layers": parts}
        return self.blob(json.dumps(manifest).encode(), f"{OCI}manifest.v1+json")

    def add(self, descriptor: dict, tag: str | None = None) -> None:
        """List a manifest or an index in the layout's own index."""
        self.entries.append(descriptor | ({"annotations": {"org.opencontainers.image.ref.name": tag}} if tag else {}))
        self._write()

    def image(self, layers: list[bytes], config: dict | None = None, tag: str | None = "latest", **more) -> dict:
        descriptor = self.manifest(layers, config, **more)
        self.add(descriptor, tag)
        return descriptor


def busybox_layer(busybox: Path, *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar of a small root with busybox, and of other entries."""
    applets = ("sh", "ls", "cat", "id", "stat", "echo", "mkdir", "mknod", "rm", "mv", "touch", "test", "chown", "chmod", "ln")
    return tar(
        directory("bin"),
        entry("bin/busybox", data=busybox.read_bytes(), mode=0o755),
        *(symlink(f"bin/{name}", "busybox") for name in applets),
        directory("etc"),
        entry("etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/srv:/bin/sh\n"),
        entry("etc/group", data=b"root:x:0:\nwww:x:33:\nstaff:x:50:www,other\n"),
        directory("tmp", mode=0o1777),
        *more,
    )
