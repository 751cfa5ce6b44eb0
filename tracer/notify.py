"""seccomp user notification: the listener's side.  seccomp_unotify(2)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from vfs.kernel import libc, raw

NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
NOTIF_ADDFD = 0x40182103
NOTIF_SET_FLAGS = 0x40082104
_SYNC_WAKE_UP = 1
_PR_SET_NO_NEW_PRIVS = 38
_ADDFD_SEND = 2

FILTER_NEW_LISTENER = 1 << 3
FILTER_SPEC_ALLOW = 1 << 2
FILTER_WAIT_KILLABLE_RECV = 1 << 5

_NOTIF = struct.Struct("<QI4xi4x8x6Q")  # id, tid, number, arguments
_RESPONSE = struct.Struct("<QqiI")
_ADDFD = struct.Struct("<QIIII")
_BLANK = bytes(80)


class Listener:
    """The supervisor's end of the notifications of one sandbox."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        # Both are handed to the kernel as they are: ioctl(2) with a buffer that may change is twice as fast in Python.
        self._buffer = bytearray(80)
        self._response = bytearray(_RESPONSE.size)
        self._addfd = bytearray(_ADDFD.size)
        try:
            fcntl.ioctl(fd, NOTIF_SET_FLAGS, _SYNC_WAKE_UP)  # Linux 6.6
            self.sync_wake_up = True
        except OSError:
            self.sync_wake_up = False

    def receive(self) -> tuple[int, int, int, tuple[int, ...]] | None:
        """(id, tid, number, arguments) of the next call; None when its caller has died meanwhile."""
        buffer = self._buffer
        buffer[:] = _BLANK
        try:
            fcntl.ioctl(self.fd, NOTIF_RECV, buffer, True)
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        fields = _NOTIF.unpack(buffer)
        return fields[0], fields[1], fields[2], fields[3:]

    def reply(self, notification: int, value: int) -> None:
        """Let the call return `value`, a negative errno for failure."""
        response = self._response
        if value < 0:
            _RESPONSE.pack_into(response, 0, notification, 0, value, 0)
        else:
            _RESPONSE.pack_into(response, 0, notification, value, 0, 0)
        try:
            fcntl.ioctl(self.fd, NOTIF_SEND, response, True)
        except OSError as problem:
            if problem.errno != errno.ENOENT:  # the caller was killed: nobody waits
                raise

    def install(self, notification: int, tid: int, fd: int, flags: int) -> int:
        """Give the caller a copy of `fd`, and let the call return its number.

        That number; a negative errno when it fails (EMFILE), of which ENOENT and EINPROGRESS mean that nobody waits any
        more.  The kernel wakes the caller without regard to SYNC_WAKE_UP to have it take the descriptor, and would take it
        to an idle processor, which costs more than all the rest; so for that moment it may run on this one only.  Its
        own processors are given back while it waits for the reply, so that it never sees that, and hands it on to no child.
        A caller that is not held, or that a signal could take from its wait in between, gets both in one step.
        """
        # Linux 6.6, where only death ends the wait (WAIT_KILLABLE_RECV, 5.19)
        allowed = self._hold(tid) if self.sync_wake_up else None
        try:
            _ADDFD.pack_into(self._addfd, 0, notification, 0 if allowed is not None else _ADDFD_SEND, fd, 0, flags)
            number = fcntl.ioctl(self.fd, NOTIF_ADDFD, self._addfd, True)
        except OSError as problem:
            return -problem.errno
        finally:
            if allowed is not None:
                try:
                    os.sched_setaffinity(tid, allowed)
                except OSError:
                    pass  # it has ended
        if allowed is not None:
            self.reply(notification, number)
        return number

    @staticmethod
    def _hold(tid: int) -> set[int] | None:
        """Keep a task on this processor; the processors it is to have back, None where nothing was done."""
        here = libc.sched_getcpu()
        try:
            allowed = os.sched_getaffinity(tid)
            if here not in allowed or len(allowed) == 1:
                return None
            os.sched_setaffinity(tid, (here,))
        except OSError:
            return None
        return allowed


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install_plain_filter(program: bytes) -> None:
    """Put the calling thread under `program`, without a listener; with the right to, no_new_privs is not set for it."""
    prog = _Program(len(program) // 8, program)
    try:
        raw(317, 1, FILTER_SPEC_ALLOW, ctypes.byref(prog))
    except OSError as problem:
        if problem.errno != errno.EACCES:
            raise
        raw(157, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        raw(317, 1, FILTER_SPEC_ALLOW, ctypes.byref(prog))


def install_filter(program: bytes) -> int:
    """Put the calling thread under `program`; the listener's descriptor.

    PR_SET_NO_NEW_PRIVS must be set.  Before 5.19 a signal can interrupt a call that is being answered.
    """
    prog = _Program(len(program) // 8, program)
    flags = FILTER_NEW_LISTENER | FILTER_SPEC_ALLOW
    for extra in (FILTER_WAIT_KILLABLE_RECV, 0):
        try:
            return raw(317, 1, flags | extra, ctypes.byref(prog))
        except OSError as problem:
            if problem.errno != errno.EINVAL or not extra:
                raise
    raise AssertionError


