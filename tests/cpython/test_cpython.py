"""CPython's own tests (Debian's libpython3.11-testsuite) pass inside, on this machine's root, where they pass outside.

Outside is bubblewrap where that can be had, whose network is a loopback too, else this machine as it is.

Those that cannot are in expected.txt, a pattern and the reason in each line; they are not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"
BWRAP = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--unshare-pid", "--proc", "/proc", "--die-with-parent"]
EXPECTED = Path(__file__).parent / "expected.txt"
#: Seconds that a module may take; some sleep a lot.
MODULES = {
    "test_os": 120, "test_posix": 60, "test_subprocess": 240, "test_signal": 240, "test_threading": 120, "test_select": 60,
    "test_selectors": 120, "test_mmap": 60, "test_pty": 60, "test_tempfile": 60, "test_shutil": 60, "test_pathlib": 60,
    "test_fcntl": 60, "test_resource": 60, "test_multiprocessing_fork": 400, "test_socket": 120, "test_socketserver": 60,
    "test_asyncio": 300, "test_ssl": 120,
}  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif("INT80_CAMPAIGN" not in os.environ, reason="takes many minutes: set INT80_CAMPAIGN=1"),
    pytest.mark.skipif(
        subprocess.run([PYTHON, "-c", "import test.test_os"], capture_output=True).returncode != 0,
        reason="needs Debian's libpython3.11-testsuite",
    ),
]


def outside() -> list[str]:
    """What a command is put behind to run outside."""
    works = shutil.which("bwrap") and subprocess.run([*BWRAP, "true"], capture_output=True).returncode == 0
    return BWRAP if works else []


def failures(command: list[str], module: str, ignored: Path) -> tuple[set[str], str]:
    """The tests of a module that fail, the module itself where it ends before they are told, and what was said."""
    # By way of a shell: the program is not to be init, which has duties of its own.
    tests = f"{PYTHON} -m test -v -u network --timeout {MODULES[module]} --ignorefile {ignored} {module}; exit $?"
    done = subprocess.run(
        [*command, "sh", "-c", tests],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ignored.parent,
        timeout=MODULES[module] + 60,
    )
    said = done.stdout.decode(errors="replace")
    found = set(re.findall(r"^(?:ERROR|FAIL): .*\((.*)\)", said, re.MULTILINE))
    if done.returncode and not found:
        found.add(module)
    return found, said


@pytest.mark.parametrize("module", MODULES)
def test_a_module_passes_inside_where_it_passes_outside(int80, tmp_path, module):
    ignored = tmp_path / "ignored"
    ignored.write_text("".join(f"{line.split()[0]}\n" for line in EXPECTED.read_text().splitlines()))
    failed, said = failures([*int80, "run", "--"], module, ignored)
    if failed:
        failed -= failures(outside(), module, ignored)[0]
    assert not failed, f"{sorted(failed)}\n{said[-6000:]}"
    assert "int80: bug" not in said
