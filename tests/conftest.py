"""What the tests share: the command, a busybox root, and C guests built by the suite."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
GUESTS = REPO / "tests/guests/c"
TRIES = 5 if "INT80_CAMPAIGN" in os.environ else 1  # how many times the usual number what is random is tried
sys.path.insert(0, str(REPO))

for _number in (signal.SIGINT, signal.SIGQUIT):  # a shell's background job ignores them, and so would guests of the tests
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def few_descriptors():
    """What one test leaves in cycles of objects does not lack another: descriptors are few, and select(2) knows 1024."""
    yield
    if len(os.listdir("/proc/self/fd")) > 200:
        gc.collect()


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback, to compare with."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def int80() -> list[str]:
    """The command, as a list to put in front of arguments."""
    from runtimes import INT80

    return INT80


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A static busybox: the host's, or Debian's fetched by the suite's own script."""
    host = shutil.which("busybox")
    if host is not None and b"statically" in subprocess.run(["file", "-L", host], capture_output=True).stdout:
        return Path(host)
    sys.path.insert(0, str(REPO / "tests/guests"))
    import build_busybox

    return build_busybox.stock(build_busybox.default_cache())


@functools.cache
def applets(busybox: str | Path) -> list[str]:
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name != "busybox"]


_made: list[Path] = []  # where applets' symlinks are already: another name for one is made in a tenth of the time of a new one


def make_root(place: Path, busybox: Path) -> Path:
    """A root directory with busybox under all its names."""
    for name in ("bin", "tmp", "etc"):
        (place / name).mkdir(parents=True)
    (place / "tmp").chmod(0o1777)
    (place / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (place / "etc/group").write_text("root:x:0:\n")
    shutil.copyfile(busybox, place / "bin/busybox")
    (place / "bin/busybox").chmod(0o755)
    for applet in applets(shutil.which("busybox") or busybox):
        name = f"{place}/bin/{applet}"
        try:
            os.link(f"{_made[-1]}/{applet}", name, follow_symlinks=False)
        except (IndexError, OSError):
            os.symlink("busybox", name)
    _made[:] = [place / "bin"]
    return place


@pytest.fixture
def root(tmp_path: Path, busybox: Path) -> Path:
    """A fresh root for one test."""
    return make_root(tmp_path / "root", busybox)


@pytest.fixture(scope="session")
def guest(tmp_path_factory):
    """Build tests/guests/c/NAME.c statically; `guest("NAME", gate="int80")` defines GATE_INT80."""
    place = tmp_path_factory.mktemp("guests")
    built: dict[tuple[str, str], Path] = {}

    def build(name: str, gate: str = "syscall", flags: tuple[str, ...] = ()) -> Path:
        key = (name, gate)
        if key not in built:
            target = place / f"{name}-{gate}"
            command = ["gcc", "-O2", "-static", "-w", "-pthread", *flags, "-o", str(target), str(GUESTS / f"{name}.c")]
            if gate == "int80":
                command.insert(1, "-DGATE_INT80")
            subprocess.run(command, check=True, capture_output=True, text=True)
            built[key] = target
        return built[key]

    return build


class Run:
    """Runs commands in one root and gives what they did."""

    def __init__(self, command: list[str], root: Path) -> None:
        self._command = command
        self.root = root

    def __call__(self, *words: str, options: tuple[str, ...] = (), stdin: bytes = b"", timeout: float = 60):
        """`int80 run OPTIONS --rootfs ROOT -- WORDS`; a CompletedProcess with bytes."""
        command = [*self._command, "run", "--rootfs", str(self.root), *options, "--", *words]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout)

    def sh(self, script: str, **more):
        """Run a busybox shell script; its standard output as text, after checking that nothing was said on stderr."""
        done = self("sh", "-c", script, **more)
        assert done.stderr == b"", done.stderr.decode()
        return done.stdout.decode()

    def put(self, program: Path, name: str | None = None) -> str:
        """Copy a program into the root; its guest path."""
        target = self.root / "bin" / (name or program.name)
        shutil.copyfile(program, target)
        target.chmod(0o755)
        return f"/bin/{target.name}"


@pytest.fixture
def run(int80: list[str], root: Path) -> Run:
    return Run(int80, root)


def pids_with(marker: str) -> list[int]:
    """Processes of this machine whose command line holds `marker`."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if marker.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found


@pytest.fixture
def engine(int80: list[str], tmp_path: Path, root: Path):
    """Containers in a store of the test's own, none of which is left at the end."""
    from engine import Engine

    (tmp_path / "data").mkdir()
    made = Engine(int80, tmp_path / "data", root)
    yield made
    made.close()


@pytest.fixture
def runtime(tmp_path: Path):
    """The OCI runtime's command, with containers of this test's own, which end with it."""
    from runtimes import Runtime

    made = Runtime(tmp_path)
    yield made
    made.clear()


@pytest.fixture
def bundle(tmp_path: Path, root: Path):
    """A bundle with a busybox root."""
    from runtimes import Bundle

    return Bundle(tmp_path / "bundle", root)
