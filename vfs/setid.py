"""Set-id bits that the next write takes away.

Whoever writes to a program and may not keep its set-id bits takes them away: whom it made others believe it was, it does
no longer (write(2), chmod(2)).  But the bits are not on the host's file, and what is written goes past us.  So such a file
that is opened to be written is watched with inotify(7), whose event is queued before the write returns, and who
reads kept bits asks for it first (`vfs.owners`).  A write by another, who may keep them, takes them too.

To drop them when the file is opened was simpler, and is done where it cannot be watched; but many open what they never write.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

from vfs import kernel
from vfs.namespace import OpenFile

_IN_MODIFY, _IN_ATTRIB, _IN_Q_OVERFLOW, _IN_IGNORED = 0x2, 0x4, 0x4000, 0x8000
_EVENT = struct.Struct("<iIII")
_MOST = 64  # files awaited: each is held open


class Writes:
    """The files whose bits go with the next write; `fd` becomes readable when `look` has something to do."""

    def __init__(self) -> None:
        self.fd = -1
        self._awaited: dict[int, tuple[OpenFile, Callable[[], None]]] = {}  # by watch

    @property
    def awaits(self) -> int:
        """How many files are awaited."""
        return len(self._awaited)

    def wait(self, file: OpenFile, drop: Callable[[], None]) -> bool:
        """Have ``drop()`` called once a file has been written to.  False where it cannot be waited for."""
        if self.fd < 0:
            self.fd = kernel.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0 or len(self._awaited) >= _MOST:
            return False
        try:
            watch = kernel.inotify_add_watch(self.fd, kernel.self_path(file.fd), _IN_MODIFY | _IN_ATTRIB)
        except OSError:
            return False
        self._awaited[watch] = file, drop
        return True

    def look(self) -> bool:
        """Drop the bits of what has been written to, let go what has no name left; True, as the loop wants it."""
        while self._awaited:
            try:
                data = os.read(self.fd, 1 << 12)
            except BlockingIOError:
                break
            position = 0
            while position < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size + length
                if mask & _IN_Q_OVERFLOW:
                    for each in list(self._awaited):  # nobody knows which
                        self._take(each, _IN_MODIFY)
                self._take(watch, mask)
        return True

    def _take(self, watch: int, mask: int) -> None:
        found = self._awaited.get(watch)
        if found is None:
            return
        file, drop = found
        if not mask & (_IN_MODIFY | _IN_IGNORED) and os.fstat(file.fd).st_nlink:
            return
        del self._awaited[watch]
        kernel.libc.inotify_rm_watch(self.fd, ctypes.c_int(watch))
        if mask & _IN_MODIFY:
            drop()

    def close(self) -> None:
        """Forget everything."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self._awaited.clear()


#: Of all trees: few files are ever in it.
writes = Writes()
