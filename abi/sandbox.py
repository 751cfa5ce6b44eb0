"""What all calls of one sandbox share: its mounts, its processes, its names, and its users."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from abi.net.network import Network
from procs.limits import Limits
from procs.sysv import Objects

_ENDS = 64  # ends of processes, at least, between two looks at what they may have left


class Sandbox:
    """The state behind the tables.

    `namespace` is the mount table, `tree` the processes; `caller` is the task whose call is being answered, for
    those objects (``/proc/self``) that differ by who looks; `network` is what its sockets may reach.  `terminal`
    (`tracer.terminal.Terminal`) is the one that int80 was started on and lends to the guests, `devices` the tree at /dev,
    which knows the terminals there are.
    """

    def __init__(
        self, namespace, tree, hostname: bytes = b"int80", verbose: bool = False, network: Network | None = None
    ) -> None:  # fmt: skip
        self.namespace = namespace
        self.tree = tree
        self.hostname = hostname
        self.domainname = b"(none)"
        self.verbose = verbose
        self.network = network if network is not None else Network()
        self.limits = Limits()
        self.filtered = False  # whether the guests were given a seccomp filter of their own to start with
        self.ended_by: int | None = None  # the signal that a reboot(2) makes init's end look like
        self.caller = None
        self.before_status: Callable[[], None] = lambda: None  # called before /proc shows what the kernel says of a task
        self.terminal = None
        self.devices = None
        self.objects = Objects()
        self._ends = 0  # of processes, since the last look at what they may have left
        self.queues: dict[bytes, object] = {}  # POSIX message queues by name
        self.containers = None  # containers.hosting.Containers, of a host program
        self._above: Sandbox | None = None  # the host program's, of a container
        self._below: list[Sandbox] = []  # those of its containers
        self.host_uid = os.geteuid()
        self.host_gid = os.getegid()

    @property
    def pids_limit(self) -> int | None:
        """How many tasks there may be at once."""
        return self.limits.pids

    @pids_limit.setter
    def pids_limit(self, number: int | None) -> None:
        self.limits.pids = number

    # A host program's containers count as its own tasks.

    def adopt(self, container: Sandbox) -> None:
        """A host program has made a container."""
        container._above = self
        self._below.append(container)

    def disown(self, container: Sandbox) -> None:
        """A container has ended."""
        self._below.remove(container)

    def population(self) -> int:
        """Tasks, those under way, and zombies."""
        return self.tree.population() + sum(container.population() for container in self._below)

    def is_full(self) -> bool:
        """Whether there may be no more tasks."""
        limit = self.limits.pids
        if limit is not None and self.population() >= limit:
            return True
        return self._above is not None and self._above.is_full()

    def ended(self) -> None:
        """A process has ended: now and then, see whether somebody is left for the names of sockets and for terminals.

        So rarely that the look, which is as long as there are many of them, costs little for each end.
        """
        self._ends += 1
        terminals = self.devices.terminals if self.devices is not None else 0
        if self._ends < _ENDS + (len(self.network.names.given) + terminals) // 4:
            return
        self._ends = 0
        with contextlib.suppress(OSError):  # out of descriptors: another time
            if self.network.names.given:
                self.network.names.sweep()
            if terminals:
                self.devices.prune()

    # To the guest, the user who runs the sandbox is root: what is theirs is root's.

    def guest_uid(self, uid: int) -> int:
        """The uid a guest sees for a host uid."""
        return 0 if uid == self.host_uid else uid

    def guest_gid(self, gid: int) -> int:
        """The gid a guest sees for a host gid."""
        return 0 if gid == self.host_gid else gid

    def report_bug(self, bug: Exception) -> None:
        """Show where a bug of ours arose, to a person who asked for details."""
        if not self.verbose:
            return
        try:
            import traceback

            os.write(2, "".join(traceback.format_exception(bug)).encode())
        except OSError:
            pass  # out of descriptors, maybe the very bug
