"""A control group of version 2 for the tasks of one sandbox, where somebody has given int80 a place to make one; cgroups(7).

That place is a directory of the group tree that this user may write to, as a service manager delegates it.  What the kernel
then holds the tasks to, the supervisor need not (`containers.keeper`).
"""

from __future__ import annotations

import os

_CONTROLLERS = ("+memory", "+cpu", "+pids", "+cpuset", "+io", "+hugetlb")


def place(path: str, mounts: str = "/proc/self/mountinfo") -> str | None:
    """The directory of the group that is called `path`, None where it is none that this user may make."""
    if not path or ":" in path:  # the words of a service manager, which is not asked
        return None
    top = _mounted(mounts)
    if top is None:
        return None
    directory = os.path.normpath(os.path.join(top, path.lstrip("/")))
    if directory != top and not directory.startswith(top + "/"):
        return None
    above = directory
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    return directory if directory != top and os.access(above, os.W_OK) else None


def _mounted(mounts: str) -> str | None:
    """Where the tree is; None also where trees of version 1 have the controllers."""
    top = None
    with open(mounts) as file:
        for line in file:
            words, _, kind = line.partition(" - ")
            if kind.startswith("cgroup "):
                return None
            if kind.startswith("cgroup2 "):
                top = top or words.split()[4]
    return top


def remove(directories: list[str]) -> bool:
    """Remove groups that were made, the last first, from the list too; whether all are gone: one that still has tasks stays."""
    while directories:
        try:
            os.rmdir(directories[-1])
        except FileNotFoundError:
            pass
        except OSError:
            return False
        directories.pop()
    return True


class Group:
    """One group: `files` are what is written to it, by name; `kept` those of them that the kernel has taken."""

    def __init__(self, directory: str, files: dict[str, str]) -> None:
        self.directory = directory
        self.files = files
        self.kept: set[str] = set()
        self.made = False
        self.directories: list[str] = []  # those that were made for it

    def make(self) -> None:
        """Make it and write its files, as far as its controllers are there.  ``OSError``."""
        missing = []
        here = self.directory
        while not os.path.isdir(here):
            missing.append(here)
            here = os.path.dirname(here)
        for directory in reversed(missing):
            for controller in _CONTROLLERS:
                self._write(os.path.dirname(directory), "cgroup.subtree_control", controller)
            os.mkdir(directory)
            self.directories.append(directory)
        self.made = True
        self.tell(self.files)

    def tell(self, files: dict[str, str]) -> None:
        """Write files of the group; `kept` says afterwards which it has taken."""
        self.files = {**self.files, **files}
        for name, value in files.items():
            if self._write(self.directory, name, value):
                self.kept.add(name)
            else:
                self.kept.discard(name)

    def add(self, pid: int) -> None:
        """Put a process there, whose children are born into it.  ``OSError``."""
        with open(os.path.join(self.directory, "cgroup.procs"), "w") as file:
            file.write(str(pid))

    def remove(self) -> None:
        """Remove what was made; a group that still has tasks stays."""
        remove(self.directories)

    @staticmethod
    def _write(directory: str, name: str, value: str) -> bool:
        try:
            with open(os.path.join(directory, name), "w") as file:
                file.write(value)
            return True
        except OSError:
            return False
