# SPDX-License-Identifier: GPL-2.0-only
"""Get the busybox guests that the tests run.

    python3 tests/guests/build_busybox.py [--cache DIR] stock|int80|plain|source|cc

prints the path of the result; the functions `stock`, `int80`, `plain`, `source`, `musl_int80_cc` and
`musl_plain_cc` return it.

    stock    Debian's busybox-static: glibc, enters the kernel by `syscall`
    int80    musl and busybox built from Debian's sources, with every `syscall` of musl turned into `int $0x80`
    plain    the same build without that one change; it runs natively, so it is what `int80` is compared with
    source   Debian's busybox source, patched: its testsuite directory is the reason
    cc       the gcc wrapper of the musl in `int80`, for small static C guests

Nothing here needs root. apt is asked through lists and caches of our own, because an ordinary user may not write
the machine's and because most machines have no deb-src lines. Debian's patches are applied with the patch applet of
`stock`, so that the source can be had without dpkg-dev. A binary of ours is never kept in the repository: a
reader can check where each byte came from.

Results stay in --cache (else $XDG_CACHE_HOME/int80/guests, else ~/.cache/int80/guests), one directory for each
release of Debian. Fetching takes a few seconds; each of the two builds about a minute on two cores. A result is
built beside its place and renamed into it, under a lock, so any number of runs may start at once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Where this build leaves `make defconfig`.
_CONFIG = {
    "CONFIG_STATIC": True,
    "CONFIG_TC": False,  # its headers left the kernel with CBQ
}
_LISTS_LAST = 3600  # seconds that downloaded package lists are good for


class Unavailable(Exception):
    """A guest that cannot be had on this machine; the text says why and what would help."""


def stock(cache: Path | None = None) -> Path:
    """Debian's static busybox."""

    def make(out: Path) -> None:
        with _apt(cache) as apt, tempfile.TemporaryDirectory(dir=out.parent) as tmp:
            apt("download", "busybox-static", cwd=Path(tmp))
            (deb,) = Path(tmp).glob("*.deb")
            _run(["dpkg-deb", "-x", str(deb), "tree"], Path(tmp))
            (busybox,) = (p for p in Path(tmp, "tree").glob("**/bin/busybox") if not p.is_symlink())
            shutil.copy2(busybox, out / "busybox")

    return _entry(cache, "stock", make) / "busybox"


def source(cache: Path | None = None) -> Path:
    """The top of Debian's busybox source, with Debian's patches applied."""
    return _source(cache, "busybox")


def int80(cache: Path | None = None) -> Path:
    """busybox with the `int $0x80` gate. It does not run natively."""
    return _busybox(cache, "int80")


def plain(cache: Path | None = None) -> Path:
    """What `int80` would be with the `syscall` gate."""
    return _busybox(cache, "plain")


def musl_int80_cc(cache: Path | None = None) -> Path:
    """A gcc wrapper for C guests with the `int $0x80` gate; give it -static. Only libc's own gates are changed."""
    return _musl(cache, "int80") / "bin" / "musl-gcc"


def musl_plain_cc(cache: Path | None = None) -> Path:
    """The same wrapper for guests with the `syscall` gate."""
    return _musl(cache, "plain") / "bin" / "musl-gcc"


def _source(cache: Path | None, package: str) -> Path:
    patcher = stock(cache)

    def make(out: Path) -> None:
        with _apt(cache) as apt, tempfile.TemporaryDirectory(dir=out.parent) as tmp:
            apt("source", "--download-only", package, cwd=Path(tmp))
            (orig,) = (p for p in Path(tmp).glob("*.orig.tar.*") if p.suffix != ".asc")
            (debian,) = Path(tmp).glob("*.debian.tar.*")
            _untar(orig, out, strip=1)
            _untar(debian, out, strip=0)
        series = out / "debian/patches/series"
        for line in series.read_text().splitlines() if series.exists() else ():
            if name := line.split("#")[0].strip():
                with open(series.parent / name) as patch:
                    _run([str(patcher), "patch", "-p1"], out, stdin=patch)

    return _entry(cache, f"source-{package}", make)


def _untar(archive: Path, out: Path, strip: int) -> None:
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # an early 3.11 has no filters
        members = []
        for member in tar:
            if parts := Path(member.name).parts[strip:]:
                member.name = str(Path(*parts))
                members.append(member)
        tar.extractall(out, members)


def _musl(cache: Path | None, gate: str) -> Path:
    origin = _source(cache, "musl")

    def make(out: Path) -> None:
        _need("gcc", "make", "ar")
        prefix = _place(cache, _built(f"musl-{gate}"))  # baked into the wrapper, so it must be the final one
        with tempfile.TemporaryDirectory(dir=out.parent) as tmp:
            tree = Path(tmp, "musl")
            shutil.copytree(origin, tree, symlinks=True)
            if gate == "int80":
                _change_gate(tree)
            _run(["./configure", f"--prefix={prefix}", "--disable-shared", "--enable-wrapper=gcc"], tree)
            _make(tree)
            _make(tree, "install", f"DESTDIR={tmp}/install")
            shutil.copytree(f"{tmp}/install{prefix}", out, symlinks=True, dirs_exist_ok=True)
        # The kernel's headers and nothing else of the machine's: beside them are those of another libc.
        for name in ("linux", "asm", "asm-generic", "mtd"):
            (out / "include" / name).symlink_to(_kernel_headers(name))

    return _entry(cache, _built(f"musl-{gate}"), make)


def _change_gate(tree: Path) -> None:
    """Turn every `syscall` instruction in the musl source into `int $0x80`; both are two bytes long."""
    header = tree / "arch/x86_64/syscall_arch.h"
    places = [(header, r'"syscall"', '"int $0x80"')]
    places += [(asm, r"(?m)^(\s*)syscall\b", r"\1int $0x80") for asm in sorted(tree.glob("src/*/x86_64/*.s"))]
    for path, pattern, replacement in places:
        text, count = re.subn(pattern, replacement, path.read_text())
        if path == header and not count:
            raise Unavailable(f"{path.name} of this musl has no gate where one is expected")
        if count:
            path.write_text(text)


def _kernel_headers(name: str) -> Path:
    for base in ("/usr/include", "/usr/include/x86_64-linux-gnu"):
        if Path(base, name).is_dir():
            return Path(base, name)
    raise Unavailable(f"no kernel headers <{name}/...> on this machine: install linux-libc-dev")


def _busybox(cache: Path | None, gate: str) -> Path:
    origin = source(cache)
    cc = _musl(cache, gate) / "bin" / "musl-gcc"

    def make(out: Path) -> None:
        with tempfile.TemporaryDirectory(dir=out.parent) as tmp:
            tree = Path(tmp, "busybox")
            shutil.copytree(origin, tree, symlinks=True)
            _make(tree, "defconfig")
            config = tree / ".config"
            text = config.read_text()
            for name, value in _CONFIG.items():
                line = f"{name}=y" if value else f"# {name} is not set"
                text = re.sub(rf"(?m)^(# {name} is not set|{name}=.*)$", line, text)
            config.write_text(text)
            _run(["sh", "-c", "yes '' | make oldconfig"], tree)
            _make(tree, f"CC={cc}")
            shutil.copy2(tree / "busybox", out)
            shutil.copy2(config, out)
        if gate == "int80":
            _check_gate(out / "busybox")

    return _entry(cache, _built(f"busybox-{gate}"), make) / "busybox"


def _check_gate(busybox: Path) -> None:
    if not shutil.which("objdump"):
        return _say("objdump is not installed, so the int80 busybox was not looked through")
    listing = _run(["objdump", "-d", "--no-show-raw-insn", str(busybox)], busybox.parent)
    instructions = [line.partition("\t")[2].split() for line in listing.splitlines()]
    if left := instructions.count(["syscall"]):
        raise Unavailable(f"{left} syscall instructions are left in the int80 busybox")
    _say(f"{instructions.count(['int', '$0x80'])} int $0x80 sites, no syscall instruction")


# The cache


def default_cache() -> Path:
    """Where results go if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "int80", "guests")


def _place(cache: Path | None, name: str) -> Path:
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text()))
    version = release.get("VERSION_ID") or release.get("VERSION_CODENAME") or "rolling"
    return (cache or default_cache()).resolve() / f"{release.get('ID', 'linux')}-{version}" / name


def _built(name: str) -> str:
    """The name of what is built by this very file: a change of the recipe is a new entry."""
    return f"{name}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"


def _entry(cache: Path | None, name: str, make: Callable[[Path], None]) -> Path:
    """The directory `name` of the cache, filled by `make` if it is not there.

    `make` must have its ingredients already: a lock is held while it works, and an entry asked for inside would
    take a second one.
    """
    place = _place(cache, name)
    if place.exists():
        return place
    with _locked(place):
        if not place.exists():  # nobody was quicker
            _say(f"making {place}")
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{name}-") as tmp:
                out = Path(tmp, "out")
                out.mkdir()
                make(out)
                out.rename(place)
    return place


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = open(place.parent / f".{place.name}.lock", "w")
    except OSError as e:
        raise Unavailable(f"the cache cannot be written ({e}): name another with --cache") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# apt, asked privately


@contextlib.contextmanager
def _apt(cache: Path | None) -> Iterator[Callable[..., None]]:
    """A function that runs apt-get with fresh lists of our own, which have the sources too."""
    _need("apt-get", "dpkg-deb")
    home = _place(cache, "apt")
    conf = home / "apt.conf"

    update_failed = ""

    def apt(*args: str, cwd: Path = home) -> None:
        try:
            _run(["apt-get", "-c", str(conf), *args], cwd)
        except Unavailable as e:
            hint = "A Debian or Ubuntu mirror must be within reach once; after that the cache has everything."
            raise Unavailable("\n".join(filter(None, (str(e), update_failed, hint)))) from None

    with _locked(home):
        for name in ("lists/partial", "archives/partial", "sources"):
            (home / name).mkdir(parents=True, exist_ok=True)
        _write_sources(home / "sources")
        # -c reads this last. The hooks after an update talk to daemons of the desktop and are not ours to run.
        conf.write_text(
            f'Dir::State "{home}"; Dir::Cache "{home}"; Dir::Etc::sourcelist "/dev/null";'
            f' Dir::Etc::sourceparts "{home}/sources";\n'
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
            '#clear APT::Architectures; APT::Architectures { "amd64"; };\n'
            'APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::http::Timeout "20";\n'
        )
        stamp = home / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > _LISTS_LAST:
            try:
                _run(["apt-get", "-c", str(conf), "update", "--error-on=any"], home)
                stamp.touch()
            except Unavailable as e:  # perhaps a third party's list only: the caller's own request will tell
                update_failed = str(e)
        yield apt


def _write_sources(out: Path, etc: Path = Path("/etc/apt")) -> None:
    """Copy the machine's apt sources, with each binary one made to name its sources too."""
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not os.access(path, os.R_OK):
            continue
        text = path.read_text()
        if path.suffix == ".sources":
            text = re.sub(r"(?mi)^Types:(.*[ \t])?deb([ \t].*)?$", "Types: deb deb-src", text)
        else:
            lines = re.findall(r"(?m)^\s*deb\s+(?!cdrom:)(.*)$", text)
            text = "".join(f"deb {line}\ndeb-src {line}\n" for line in lines)
        (out / path.name).write_text(text)


# Commands


def _need(*tools: str) -> None:
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        raise Unavailable(f"not on this machine: {', '.join(missing)}")


def _make(tree: Path, *args: str) -> None:
    _run(["make", f"-j{os.cpu_count()}", *args], tree)


def _run(argv: list[str], cwd: Path, stdin=subprocess.DEVNULL) -> str:
    """Run a command and return what it printed; a failure is told with its last lines."""
    # A build must not depend on the CFLAGS, or apt on the language, of whoever runs it.
    keep = ("PATH", "HOME", "http_proxy", "https_proxy", "no_proxy")
    env = {k: v for k, v in os.environ.items() if k in keep} | {"LC_ALL": "C", "KCONFIG_NOTIMESTAMP": "1"}
    done = subprocess.run(argv, cwd=cwd, env=env, stdin=stdin, text=True, errors="replace", capture_output=True)
    if done.returncode:
        tail = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise Unavailable(f"{' '.join(argv)} failed in {cwd}:\n  {tail}")
    return done.stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    kinds = {"stock": stock, "int80": int80, "plain": plain, "source": source, "cc": musl_int80_cc}
    parser = argparse.ArgumentParser(description="Get a busybox guest and print its path.")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="default: ~/.cache/int80/guests")
    parser.add_argument("kind", choices=kinds)
    args = parser.parse_args()
    try:
        print(kinds[args.kind](args.cache))
    except Unavailable as e:
        sys.exit(f"build_busybox: {e}")


if __name__ == "__main__":
    main()
