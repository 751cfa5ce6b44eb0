"""su, sudo, newgrp, passwd, setpriv, capsh and their kin say and do inside what they do natively.

Natively is in an overlay over this machine's root, in name spaces of its own; inside in a layer over the same root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "guests/users.sh"
OVERLAY = """
mount -t overlay -o lowerdir=/,upperdir=$1/upper,workdir=$1/work none $1/root && mount -t proc proc $1/root/proc || exit 99
mount --bind /dev $1/root/dev; cp $2 $1/root/users.sh; exec chroot $1/root sh /users.sh
"""
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="the comparison needs root"),
    pytest.mark.skipif(not all(map(shutil.which, ("sudo", "capsh", "newgrp", "visudo"))), reason="needs sudo and libcap2-bin"),
]


def said(output: str) -> list[str]:
    """The lines, but not that a host without a resolver cannot find its own name."""
    return [line for line in output.splitlines() if "unable to resolve host" not in line]


@pytest.mark.slow
def test_programs_that_change_users_do_as_natively(int80, tmp_path):
    for name in ("upper", "work", "root", "layer"):
        (tmp_path / name).mkdir()
    natively = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", OVERLAY, "sh", tmp_path, SCRIPT],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV,
    )  # fmt: skip
    shutil.copy(SCRIPT, tmp_path / "layer/users.sh")
    inside = subprocess.run(
        [*int80, "run", "--lower", "/", "--upper", tmp_path / "layer", "-e", f"PATH={ENV['PATH']}", "--", "sh", "/users.sh"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=ENV,
    )  # fmt: skip
    out, err = natively.communicate()
    if natively.returncode == 99:
        pytest.skip("needs an overlay over this machine's root: " + err)
    assert said(inside.stdout) == said(out)
    assert "uid=0(root) gid=0(root) groups=0(root)" in inside.stdout  # sudo id, by alice
