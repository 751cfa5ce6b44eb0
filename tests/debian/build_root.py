"""Make a Debian root: debootstrap, both its stages, inside int80 and with whatever rights the caller has.

    python tests/debian/build_root.py DIR [--suite bookworm] [--mirror http://deb.debian.org/debian]

debootstrap runs on this machine's own root, of which the sandbox gets a private layer, and is installed there first where this
machine has none.  Owners, set-id bits and device nodes are kept beside the files, so the root is to be run by int80.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

MIRROR, SUITE = "http://deb.debian.org/debian", "bookworm"
REPO = Path(__file__).resolve().parent.parent.parent
_SCRIPT = """
command -v debootstrap >/dev/null || { apt-get -q update && apt-get -q install -y --no-install-recommends debootstrap; } || exit
debootstrap --variant=minbase "$1" /srv "$2"
"""


def build(int80: list[str], root: Path, suite: str = SUITE, mirror: str = MIRROR, timeout: float | None = None) -> str:
    """Fill `root`, an empty directory; what was said.  CalledProcessError, TimeoutExpired."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    options = ["--net", "host", "-v", f"{root}:/srv", "-e", path, "-e", "DEBIAN_FRONTEND=noninteractive", "-w", "/"]
    command = [*int80, "run", *options, "--", "sh", "-c", _SCRIPT, "sh", suite, mirror]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=True, timeout=timeout,
    ).stdout  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a Debian root with debootstrap inside int80.")
    parser.add_argument("root", type=Path, help="a directory that is empty or not there yet")
    parser.add_argument("--suite", default=SUITE)
    parser.add_argument("--mirror", default=MIRROR)
    args = parser.parse_args()
    args.root.mkdir(parents=True, exist_ok=True)
    if any(args.root.iterdir()):
        sys.exit(f"build_root: {args.root} is not empty: name a directory that is")
    try:
        build([sys.executable, str(REPO / "runner.py")], args.root.resolve(), args.suite, args.mirror)
    except subprocess.CalledProcessError as failure:
        sys.exit(f"{failure.stdout[-2000:]}build_root: debootstrap ended with status {failure.returncode}")


if __name__ == "__main__":
    main()
