"""The containers of a host program: what stands behind the container calls of the host ABI (`abi.host`).

A container is a sandbox of its own, served by the loop that serves the host program, over the same files: its root and what it
has mounted are places in the tree that the host program sees.  A host program is a guest like any other, so nothing in a
bundle of its making may do what it could not do itself: reach the machine's files or network, run something on the machine as
a hook, or be favoured by the scheduler.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal

from abi.dispatch import AT_FDCWD, Call
from abi.errors import Kind, SysError
from abi.host import Status
from abi.messages import say
from containers.sandbox import Running
from containers.status import CannotRun, exit_status
from containers.view import View
from vfs.namespace import Location

_MOST = 1024
_TIDY = 32  # containers made between two collections
_CONFIG_MAX = 16 << 20


class _Container:
    """One container, from its creation until it is deleted."""

    __slots__ = ("bundle", "running", "status", "stdio", "wait_status", "waiting")

    def __init__(self, running: Running, bundle: bytes, stdio: tuple[int, ...]) -> None:
        self.running = running
        self.bundle = bundle
        self.stdio = stdio
        self.status = Status.CREATED
        self.wait_status = 0
        self.waiting: list = []  # tasks that wait for its end

    def close(self) -> None:
        self.running.close()
        for fd in self.stdio:
            os.close(fd)
        self.stdio = ()


class Containers:
    """Those of one host program's sandbox, which `above` runs."""

    def __init__(self, above: Running) -> None:
        self._above = above
        self._found: dict[int, _Container] = {}
        self._last = 0

    # -- calls --------------------------------------------------------------------------------

    def create(self, call: Call, path: bytes) -> int:
        if call.rights is not None:  # in its container it would be root, over the same files
            raise SysError(Kind.EPERM)
        settings = self._above.settings
        if settings.policing is not None or settings.hooks is not None:
            say("container_create: not with --policy or --hook, which see the calls of one sandbox only")
            raise SysError(Kind.EPERM)
        if len(self._found) >= _MOST:
            raise SysError(Kind.EMFILE)
        bundle = call.find(AT_FDCWD, path)
        if not isinstance(bundle, Location) or not bundle.node.is_dir:
            raise SysError(Kind.ENOTDIR)
        context = call.fs.copy()
        context.cwd = bundle
        running = Running(self._settings(View(call.sandbox.namespace, context)), self._above.loop)
        container = _Container(running, path, ())
        try:
            container.stdio = tuple(_stream(call, fd) for fd in (0, 1, 2))
            running.settings.stdio = container.stdio
            running.prepare()
        except CannotRun as problem:
            container.close()
            say(f"container_create: {problem}")
            raise SysError({127: Kind.ENOENT, 126: Kind.EACCES}.get(problem.status, Kind.EINVAL)) from None
        except BaseException:
            container.close()
            raise
        call.sandbox.adopt(running.sandbox)
        self._last += 1
        if self._last % _TIDY == 0:
            gc.collect()  # those that are gone have descriptors in cycles of objects
        self._found[self._last] = container
        return self._last

    def start(self, number: int) -> None:
        container = self._get(number)
        if container.status is not Status.CREATED:
            raise SysError(Kind.ECHILD)
        if self._above.sandbox.is_full():
            raise SysError(Kind.EAGAIN)
        running = container.running
        try:
            running.launch()
        except CannotRun as problem:
            say(f"container_start: {problem}")
            raise SysError(Kind.EIO) from None
        container.status = Status.RUNNING
        running.supervisor.over = lambda: self._ended(container)

    def state(self, number: int) -> tuple[Status, int, int, bytes]:
        """(status, exit status, the machine's pid of process 1 or 0, bundle)."""
        container = self._get(number)
        runs = container.status is Status.RUNNING
        pid = container.running.sandbox.tree.init_pid if runs else 0
        return container.status, exit_status(container.wait_status), pid, container.bundle

    def kill(self, number: int, wanted: int) -> None:
        container = self._get(number)
        if container.status is not Status.RUNNING:
            raise SysError(Kind.ECHILD)
        with contextlib.suppress(ProcessLookupError):  # it has ended a moment ago
            os.kill(container.running.sandbox.tree.init_pid, wanted)

    def wait(self, number: int, task) -> int | None:
        """The exit status; None where `task` is to sleep until it is woken."""
        container = self._get(number)
        match container.status:
            case Status.CREATED:
                raise SysError(Kind.ECHILD)
            case Status.RUNNING:
                container.waiting.append(task)
                return None
        return exit_status(container.wait_status)

    def delete(self, number: int) -> None:
        container = self._get(number)
        if container.status is Status.RUNNING:
            raise SysError(Kind.ECHILD)
        if container.status is Status.CREATED:
            self._release(container)
        del self._found[number]

    def list(self) -> list[int]:
        return list(self._found)

    # -- life ---------------------------------------------------------------------------------

    def _get(self, number: int) -> _Container:
        found = self._found.get(number)
        if found is None:
            raise SysError(Kind.ESRCH)
        return found

    def _ended(self, container: _Container) -> None:
        container.wait_status = container.running.supervisor.status
        container.status = Status.STOPPED
        self._release(container)
        waiting, container.waiting = container.waiting, []
        for task in waiting:
            task.wake()

    def _release(self, container: _Container) -> None:
        self._above.sandbox.disown(container.running.sandbox)
        container.close()

    def close(self) -> None:
        """The host program has ended: so do its containers."""
        for container in self._found.values():
            if container.status is Status.RUNNING:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(container.running.sandbox.tree.init_pid, signal.SIGKILL)
        for container in list(self._found.values()):
            if container.status is Status.RUNNING:
                self._above.loop.run(container.running.sandbox.tree.tasks)
            elif container.status is Status.CREATED:
                self._release(container)
        self._found.clear()

    # -- settings -----------------------------------------------------------------------------

    def _settings(self, view: View):
        """What the config.json in the working directory of `view` comes to for a guest's container."""
        from containers.oci.config import ConfigError, parse
        from containers.oci.settings import outcome

        try:
            config = parse(view.read(b"config.json", _CONFIG_MAX))
            settings = outcome(config, "", view).settings
        except ConfigError as problem:
            say(f"container_create: {problem}")
            raise SysError(Kind.EINVAL) from None
        except OSError as problem:
            if problem.errno == errno.EFBIG:
                raise SysError(Kind.EINVAL) from None
            raise
        return self._held(config, settings)

    def _held(self, config, settings):
        """`settings`, with nothing in them that the host program could not do itself."""
        above = self._above.settings
        hooks = config.hooks
        if hooks is not None and any(getattr(hooks, name) for name in hooks.__struct_fields__):
            say("container_create: config.json: hooks would run on the machine, where a host program runs nothing")
            raise SysError(Kind.EPERM)
        if settings.netns is not None:
            say("container_create: config.json: linux.namespaces: a network namespace of the machine cannot be joined")
            raise SysError(Kind.EPERM)
        if above.net != "host":
            settings.net = "none"
        settings.allowed, settings.published = above.allowed, above.published
        attributes = settings.attributes
        attributes.scheduling = attributes.io = attributes.oom_score_adj = attributes.processors = None
        attributes.nice = max(attributes.nice, 0) if attributes.nice is not None else None
        attributes.rlimits = {number: _lowered(number, limit) for number, limit in attributes.rlimits.items()}
        limits = [limit for limit in (settings.limits.pids, above.limits.pids) if limit is not None]
        settings.limits.pids = min(limits, default=None)
        settings.group = None
        settings.patch, settings.force_segv, settings.verbose = above.patch, above.force_segv, above.verbose
        return settings


def _lowered(number: int, limit: tuple[int, int]) -> tuple[int, int]:
    """A resource limit, no higher than int80's own."""
    import resource

    most = resource.getrlimit(number)[1]
    most = most if most != resource.RLIM_INFINITY else (1 << 64) - 1
    return min(limit[0], most), min(limit[1], most)


def _stream(call: Call, fd: int) -> int:
    """One of the caller's standard streams, a copy; /dev/null where it has none."""
    try:
        return call.files.get(fd)
    except SysError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
