"""Directories of a host tree that calls keep coming back to, remembered by their names.

To follow a path anew costs as much as what is then asked of the file.  But a directory may be moved, removed or closed to
us meanwhile, by the guest or by anybody on the host, and a guest must not reach it by a name it no longer has.  So each
remembered directory, and each one above it, is watched with inotify(7): the kernel queues a change before the call that
made it returns, whoever keeps this asks for it before the next call is served (`changed`), and then everything is
forgotten.
"""

from __future__ import annotations

import ctypes
import os

from vfs import kernel

_IN_ATTRIB, _IN_DELETE_SELF, _IN_MOVE_SELF, _IN_ONLYDIR = 0x4, 0x400, 0x800, 0x01000000
_MASK = _IN_ATTRIB | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_ONLYDIR
_DIRECTORY = kernel.how(
    os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, 0,
    kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS,
)  # fmt: skip
_MOST, _PATHS = 64, 1024  # directories remembered, and paths that end in them
_OFTEN = 4  # times a directory is asked for before it is remembered; twice as many after each change

_inotify_init1 = kernel.libc.inotify_init1
_inotify_rm_watch = kernel.libc.inotify_rm_watch


class Near:
    """The remembered directories below `root`, an ``O_PATH`` descriptor.  ``OSError`` where inotify cannot be had.

    `fd` becomes readable when something has changed.
    """

    def __init__(self, root: int) -> None:
        self._known: dict[tuple[bytes, ...], int] = {}
        self.fd = _inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise kernel.error(ctypes.get_errno())
        self._root = root
        #: What `way` has found: whole paths, so that they need not be taken apart.
        self.ways: dict[tuple[bytes, ...], tuple[int, bytes]] = {}
        self._asked: dict[tuple[bytes, ...], int] = {}
        self._watches: set[int] = set()
        self._often = _OFTEN

    def way(self, names: tuple[bytes, ...]) -> tuple[int, bytes] | None:
        """A descriptor, not to be closed, of the directory in which plain names end, and the last of them.

        None where the directory has to be looked for.
        """
        found = self.ways.get(names)
        if found is None:
            fd = self._directory(names[:-1])
            if fd is not None:
                if len(self.ways) > _PATHS:
                    self.ways.clear()
                found = self.ways[names] = fd, names[-1]
        return found

    def _directory(self, names: tuple[bytes, ...]) -> int | None:
        fd = self._known.get(names)
        if fd is not None:
            return fd
        asked = self._asked.get(names, 0) + 1
        if asked < self._often:
            if len(self._asked) > 16 * _MOST:
                self._asked.clear()
            self._asked[names] = asked
            return None
        return self._remember(names) if len(self._known) < _MOST else None

    def _remember(self, names: tuple[bytes, ...]) -> int | None:
        """Watch every directory on the way, and then look again: nothing has changed on the way before that, or it is told."""
        try:
            for length in range(1, len(names) + 1):
                fd = kernel.openat2(self._root, b"/".join(names[:length]), _DIRECTORY)
                try:
                    self._watches.add(kernel.inotify_add_watch(self.fd, kernel.self_path(fd), _MASK))
                finally:
                    os.close(fd)
            fd = kernel.openat2(self._root, b"/".join(names), _DIRECTORY)
        except OSError:
            self._asked.pop(names, None)
            return None  # the caller will find out what is wrong
        self._known[names] = fd
        return fd

    def changed(self) -> None:
        """Something was moved, removed or changed: forget everything."""
        try:
            while os.read(self.fd, 1 << 16):
                pass
        except BlockingIOError:
            pass
        for watch in self._watches:
            _inotify_rm_watch(self.fd, watch)
        self._watches.clear()
        for fd in self._known.values():
            os.close(fd)
        self._known.clear()
        self.ways.clear()
        self._asked.clear()
        self._often = min(2 * self._often, 1 << 12)
        try:
            os.read(self.fd, 1 << 16)  # that the watches are gone
        except BlockingIOError:
            pass

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        for fd in self._known.values():
            os.close(fd)
