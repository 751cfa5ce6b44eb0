"""/dev/mqueue: the POSIX message queues of a sandbox, by name; mq_overview(7)."""

from __future__ import annotations

import errno

from vfs.kernel import error
from vfs.madeup import S_IFDIR, MadeUpFs, MadeUpNode, inode

MQUEUE_MAGIC = 0x19800202


class MqueueFs(MadeUpFs):
    """A flat directory; `queues` are the sandbox's, objects with ``st_mode``, ``st_uid``, ``st_gid`` and `fd`.

    A queue is read as the kernel shows it, and removed here as by mq_unlink(3); made it is by mq_open(3) alone.
    """

    type = b"mqueue"
    source = b"mqueue"
    tag = b"int80-mqueue:"
    dev = 0x1A
    magic = MQUEUE_MAGIC

    def __init__(self, queues: dict) -> None:
        super().__init__()
        self.root.mode = S_IFDIR | 0o1777
        self._queues = queues

    def lookup(self, parent: MadeUpNode, name: bytes) -> MadeUpNode:
        found = self._queues.get(name)
        if parent.names or found is None:
            raise error(errno.ENOENT)
        return MadeUpNode((name,), found.st_mode)

    def entries(self, node: MadeUpNode) -> list[tuple[bytes, int, int]]:
        return [(name, inode((name,)), 8) for name in self._queues]

    def owner(self, node: MadeUpNode) -> tuple[int, int]:
        found = self._queues.get(node.names[0]) if node.names else None
        return (found.st_uid, found.st_gid) if found is not None else (0, 0)

    def open_file(self, node: MadeUpNode, flags: int) -> int:
        found = self._queues.get(node.names[0])
        if found is None:
            raise error(errno.ENOENT)
        with open(f"/proc/self/fd/{found.fd}", "rb") as file:
            return self.memfd(node, file.read(256))

    def unlink(self, parent: MadeUpNode, name: bytes) -> None:
        if self._queues.pop(name, None) is None:
            raise error(errno.ENOENT)
