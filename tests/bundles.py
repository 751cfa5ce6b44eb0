"""OCI bundles for the tests: made in a directory, and run by int80, runc or crun side by side.

As a program, ``bundles.py DIRECTORY`` runs a bundle by int80 as its settings have it.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

#: What `runc spec` writes, but for a terminal and a read-only root.
CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            name: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"] for name in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "bundle",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys"],
    },
}  # fmt: skip


class Bundle:
    """A bundle directory with a busybox root; `config` is written before each run."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config = copy.deepcopy(CONFIG)

    @property
    def root(self) -> Path:
        return self.place / "rootfs"

    def script(self, text: str) -> Bundle:
        """Have a shell script for a command."""
        self.config["process"]["args"] = ["sh", "-c", text]
        return self

    def write(self) -> Path:
        """Write the configuration; the bundle's directory."""
        (self.place / "config.json").write_text(json.dumps(self.config))
        return self.place

    def _run(self, *command: str) -> subprocess.CompletedProcess:
        self.write()
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def int80(self) -> subprocess.CompletedProcess:
        return self._run(sys.executable, __file__, str(self.place))

    def of(self, runtime: str) -> subprocess.CompletedProcess:
        """Run it by runc or crun, whose state is kept in the bundle's directory."""
        name = f"int80-test-{uuid.uuid4().hex[:12]}"
        return self._run(runtime, "--root", str(self.place / runtime), "run", "--bundle", str(self.place), name)


def works(runtime: str, bundle: Bundle) -> bool:
    """Whether a runtime is there and runs a bundle here."""
    if os.geteuid() or shutil.which(runtime) is None:
        return False
    bundle.script("true")
    return bundle.of(runtime).returncode == 0


def main() -> int:
    sys.path.insert(0, str(REPO))
    from containers.oci.config import ConfigError, load
    from containers.oci.settings import command_error, outcome
    from containers.sandbox import CannotExecute, CannotRun, run

    try:
        result = outcome(load(sys.argv[1]), sys.argv[1])
        for warning in result.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return run(result.settings)
    except ConfigError as problem:
        print(problem, file=sys.stderr)
        return 125
    except CannotExecute as problem:
        print(command_error(problem), file=sys.stderr)
        return problem.status
    except CannotRun as problem:
        print(problem, file=sys.stderr)
        return problem.status


if __name__ == "__main__":
    sys.exit(main())
