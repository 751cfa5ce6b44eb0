"""The default root: a busybox tree in the user's cache directory, made once per busybox.

The busybox is the one given, the host's if it is static, or Debian's ``busybox-static``, which an ordinary user
can fetch with ``apt-get download``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from containers.status import CannotRun
from procs import elf

_HOW = "give one with --busybox FILE, or a whole root with --rootfs DIR (Debian, Ubuntu: apt install busybox-static)"
_DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sbin", "tmp", "usr/bin", "usr/sbin", "var/tmp")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/profile": "export PS1='\\u@\\h:\\w\\$ '\n",
}


def default_root(busybox: str | None) -> str:
    """The directory to use as the guest's root.  `CannotRun` where no busybox can be had."""
    cache = _cache()
    known = cache / "default-busybox"
    if busybox is None and known.is_file():
        file = known
    else:
        file = Path(busybox) if busybox is not None else _find(cache, known)
        _check(file, "--busybox " + str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    root = cache / f"busybox-{digest}"
    if not root.is_dir():
        _make(root, file)
    return str(root)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    path = (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "int80"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise CannotRun(f"{path}: {problem.strerror.lower()}; set XDG_CACHE_HOME, or give --rootfs DIR") from None
    return path


def _check(file: Path, name: str) -> None:
    """A static program for this machine.  `CannotRun`."""
    try:
        with open(file, "rb") as program:
            head = program.read(4096)
            if head[:4] != b"\x7fELF":
                raise CannotRun(f"{name}: not an ELF program; {_HOW}")
            if elf.read(program.fileno(), head).interpreter is not None:
                raise CannotRun(f"{name}: a dynamic program; a static busybox is needed: {_HOW}")
    except elf.WrongMachine as problem:
        raise CannotRun(f"{name}: ELF for {problem.machine}; this machine runs x86-64") from None
    except OSError as problem:
        raise CannotRun(f"{name}: {problem.strerror.lower()}") from None


def _find(cache: Path, known: Path) -> Path:
    host = shutil.which("busybox")
    if host is not None:
        try:
            _check(Path(host), host)
            return Path(host)
        except CannotRun:
            pass  # dynamic: Debian's `busybox` package; the static one can still be fetched
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise CannotRun(f"no static busybox found; {_HOW}")
    with tempfile.TemporaryDirectory(dir=cache) as place:
        print("int80: fetching busybox-static with apt-get download", file=sys.stderr)
        for command in (["apt-get", "-q", "download", "busybox-static"], ["sh", "-c", "dpkg-deb -x *.deb ."]):
            done = subprocess.run(command, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["it failed"])[-1]
                raise CannotRun(f"{' '.join(command[:3])}: {reason}; {_HOW}")
        found = next((path for path in Path(place).glob("**/bin/busybox") if path.is_file()), None)
        if found is None:
            raise CannotRun(f"busybox-static holds no bin/busybox; {_HOW}")
        os.replace(found, known)
    return known


def _make(root: Path, busybox: Path) -> None:
    """Build the tree beside its place and move it there whole."""
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=root.parent))
    try:
        for name in _DIRECTORIES:
            (building / name).mkdir(parents=True, exist_ok=True)
        for name, text in _FILES.items():
            (building / name).write_text(text)
        shutil.copyfile(busybox, building / "bin/busybox")
        (building / "bin/busybox").chmod(0o755)
        building.chmod(0o755)
        for name in ("tmp", "var/tmp"):
            (building / name).chmod(0o1777)
        for name in _applets(building):
            link = building / name
            if not os.path.lexists(link):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.relpath(building / "bin/busybox", link.parent))
        try:
            os.rename(building, root)
        except OSError:
            if not root.is_dir():  # else another int80 was quicker
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _applets(root: Path) -> list[str]:
    """What the busybox calls itself by; asked inside a sandbox, as one built for int 0x80 must be."""
    runner = Path(__file__).resolve().parent.parent / "runner.py"
    command = [sys.executable, str(runner), "run", "--rootfs", str(root), "--", "/bin/busybox", "--list-full"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    names = [name for name in done.stdout.split() if name != "bin/busybox" and ".." not in name]
    if done.returncode or not names:
        reason = (done.stderr.strip().splitlines() or ["it lists no applets"])[-1]
        raise CannotRun(f"the busybox does not work in the sandbox: {reason.removeprefix('int80: ')}")
    return names
