"""A guest's memory, through process_vm_readv(2) and process_vm_writev(2).

Those keep the guest's own page protections, as the kernel's copy_from_user does: a handler that meets a bad
pointer fails with EFAULT exactly where the kernel would.  Every read is a copy; nothing is read twice.
"""

from __future__ import annotations

import ctypes
import os
import struct

from vfs.kernel import quick

TYPE_CHECKING = False  # what typing has, without the time that importing it takes
if TYPE_CHECKING:
    from abi.errors import Kind, SysError

_PAGE = 4096
_FIRST_READ = 256  # bytes of a path fetched at once, if the page has them: most paths are shorter
_BUFFER = 1 << 16
_U64 = 0xFFFFFFFFFFFFFFFF

_readv = quick.process_vm_readv
_writev = quick.process_vm_writev
_readv.restype = _writev.restype = ctypes.c_long
_buffer = ctypes.create_string_buffer(_BUFFER)
_view = memoryview(_buffer).cast("B")
_vectors = (ctypes.c_uint64 * 4)(ctypes.addressof(_buffer))  # two struct iovec, ours and the guest's
_local = ctypes.c_void_p(ctypes.addressof(_vectors))
_remote = ctypes.c_void_p(ctypes.addressof(_vectors) + 16)
_span = struct.Struct("<QQQ").pack_into  # from our length on: that, the guest's address, its length


def _failure(kind: str = "EFAULT") -> SysError:
    """Not imported at the top: a log of programs on the host never fails so, and starts sooner without."""
    from abi.errors import Kind, SysError

    return SysError(Kind[kind])


class GuestMemory:
    """The memory of one task, by any of its threads' numbers."""

    __slots__ = ("tid",)

    def __init__(self, tid: int) -> None:
        self.tid = tid

    def read_some(self, address: int, size: int) -> bytes:
        """Up to `size` bytes (at most 64 KiB), ending where the memory does; empty if it starts there."""
        if size > _BUFFER:
            size = _BUFFER
        _span(_vectors, 8, size, address & _U64, size)
        count = _readv(self.tid, _local, 1, _remote, 1, 0)
        return _view[:count].tobytes() if count > 0 else b""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes.  EFAULT."""
        if size <= _BUFFER:
            data = self.read_some(address, size)
        else:
            parts = []
            for offset in range(0, size, _BUFFER):
                parts.append(self.read_some(address + offset, min(_BUFFER, size - offset)))
                if not parts[-1]:
                    break
            data = b"".join(parts)
        if len(data) != size:
            raise _failure()
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write all of `data`.  EFAULT, after which a part may be written, as with copy_to_user."""
        size = len(data)
        if size > _BUFFER:
            for offset in range(0, size, _BUFFER):
                self.write(address + offset, data[offset : offset + _BUFFER])
            return
        _view[:size] = data
        _span(_vectors, 8, size, address & _U64, size)
        if _writev(self.tid, _local, 1, _remote, 1, 0) != size:
            raise _failure()

    def cstring(self, address: int, limit: int = _PAGE, too_long: Kind | None = None) -> bytes:
        """The bytes up to NUL, which must come within `limit` bytes.  EFAULT, `too_long`."""
        # As `read_some`, written out: this is on the way of every path.
        first = _PAGE - (address & 0xFFF)
        if first > _FIRST_READ:
            first = _FIRST_READ
        if first > limit:
            first = limit
        _span(_vectors, 8, first, address, first)
        count = _readv(self.tid, _local, 1, _remote, 1, 0)
        data = _buffer.value  # up to NUL, which may be one of an earlier string behind this one
        if len(data) < count:
            return data
        data = data[:count] if count > 0 else b""
        while len(data) < limit:
            here = address + len(data)
            more = self.read_some(here, min(limit - len(data), _PAGE - (here & _PAGE - 1)))
            if not more:
                raise _failure()
            end = more.find(b"\0")
            if end >= 0:
                return data + more[:end]
            data += more
        raise _failure("ENAMETOOLONG") if too_long is None else _failure(too_long.name)

    def cstring_cut(self, address: int, limit: int) -> bytes:
        """The bytes up to NUL, cut at `limit`.  EFAULT."""
        data = self.read_some(address, limit)
        end = data.find(b"\0")
        if end >= 0:
            return data[:end]
        if len(data) < limit:
            raise _failure()
        return data


class Text:
    """Instruction bytes of a task: read and written past page protections, as a debugger does."""

    __slots__ = ("fd",)

    def __init__(self, tid: int) -> None:
        self.fd = os.open(b"/proc/%d/mem" % tid, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes; empty where nothing is mapped."""
        try:
            return os.pread(self.fd, size, address)
        except (OSError, OverflowError):
            return b""

    def write(self, address: int, data: bytes) -> bool:
        """Whether the bytes could be written."""
        try:
            return os.pwrite(self.fd, data, address) == len(data)
        except (OSError, OverflowError):
            return False

