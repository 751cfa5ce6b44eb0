"""docs/syscalls.md from the tables: ``python -m abi.catalogue > docs/syscalls.md``."""

from __future__ import annotations

import sys

from abi.dispatch import Abi, Entry, Plane, Support
from abi.tables import host, linux

_HEAD = """\
# The calls

Made from the tables by `python -m abi.catalogue`; a test fails when this page is stale.

The **plane** says who carries a call out: *native* is the kernel, untouched and at full speed; *answer* the
supervisor; *steer* the kernel, with arguments or a result that the supervisor changed; *refuse* a fixed errno. A second
plane in brackets is that of some values of an argument. **Support** is *full*, *partial* (the note says what is
missing) or *none* (the entry is there to say why). A number that is not listed is ENOSYS, as are all x32 and 32-bit
calls.
"""


def _planes(entry: Entry) -> str:
    name = entry.plane.value
    others = {rule.plane.value for rule in entry.when} - {name}
    if entry.plane is Plane.REFUSE:
        name += f" {entry.error.name}"
    return name + (f" ({', '.join(sorted(others))})" if others else "")


def _table(abi: Abi) -> str:
    lines = ["| number | name | plane | support | note |", "| ---: | --- | --- | --- | --- |"]
    for entry in abi.table:
        if entry is not None:
            note = entry.note.replace("|", "\\|")
            lines.append(f"| {entry.number} | {entry.name} | {_planes(entry)} | {entry.support.value} | {note} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    table = linux.table
    entries = [entry for entry in table if entry is not None]
    full = sum(entry.support is Support.FULL for entry in entries)
    partial = sum(entry.support is Support.PARTIAL for entry in entries)
    counts = f"{full} calls fully, {partial} partly; {len(entries) - full - partial} listed as absent."
    return f"{_HEAD}\n## linux\n\n{counts}\n\n{_table(linux)}\n\n## host\n\n{sys.modules['abi.host'].__doc__}\n{_table(host)}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
