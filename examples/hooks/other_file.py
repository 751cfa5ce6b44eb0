"""Change: whoever opens /etc/hostname gets /etc/os-release.  int80 run --hook other_file.py -- cat /etc/hostname"""

from abi.hooks import Change, on


@on("open", "openat")
def another(call):
    index = 0 if call.name == "open" else 1
    if call.path(index) == b"/etc/hostname":
        return Change(paths={index: b"/etc/os-release"})
    return None
