"""A terminal of the sandbox's own (``-t``): a pair whose master int80 relays from and to its standard streams.

Two threads copy, one each way, so that neither a reader who does not read nor a guest who does not holds up the other
way or the supervisor.  They touch nothing but the descriptors.  The streams themselves are left as they are: others may
share them, so they are never made non-blocking; the master is int80's alone, and is.

The end of the input has no end in a terminal, only a character that means it to whoever reads lines.  It is given
again as long as nothing is left to read, for the next reader is to find the end too.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import tty

from tracer.terminal import stop
from vfs import kernel

_SIZE = struct.Struct("<HHHH")  # struct winsize
_USUAL_SIZE = _SIZE.pack(24, 80, 0, 0)
_EOF_CHARACTER = b"\x04"
_AGAIN = (100,) * 10 + (1000,)  # milliseconds before the end of the input is looked after again


class Relay:
    """One pair, a new one or one that is there; `slave` is what init gets.  ``OSError`` where there are no pseudo-terminals."""

    def __init__(self, pair: tuple[int, int] | None = None) -> None:
        self.master, self.slave = pair or os.openpty()
        os.set_blocking(self.master, False)
        self._outer = 0 if os.isatty(0) else None
        self._saved = None  # the modes of the terminal outside, while it is in raw mode
        self._started = self._ending = False
        self._modes = _thread.allocate_lock()
        self._woken, self._wake = os.pipe()  # becomes readable when the threads are to come to their end
        self._drained, self._drain = os.pipe()  # ... when the last output is out
        if self._outer is not None:
            termios.tcsetattr(self.slave, termios.TCSANOW, termios.tcgetattr(self._outer))
        self.resize()

    def start(self) -> None:
        """Begin to copy; the terminal outside is raw from now on."""
        self._started = True
        self.resume()
        _thread.start_new_thread(self._relay_output, ())
        _thread.start_new_thread(self._relay_input, ())

    # -- the terminal outside -----------------------------------------------------------------

    def resize(self) -> None:
        """Give the pair the size of the terminal outside; guests get SIGWINCH where it has changed."""
        size = _USUAL_SIZE
        for fd in (0, 1, 2):
            try:
                size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size))
                break
            except OSError:
                continue  # not a terminal
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)

    def resume(self) -> None:
        """Put the terminal outside into raw mode, if int80 has it."""
        if self._outer is None or self._saved is not None:
            return
        with self._modes, contextlib.suppress(OSError, termios.error):
            if not self._ending and os.tcgetpgrp(self._outer) == os.getpgrp():
                self._saved = termios.tcgetattr(self._outer)
                tty.setraw(self._outer, termios.TCSADRAIN)
        self.resize()

    def restore(self) -> None:
        """Give the terminal outside its modes back."""
        with self._modes, contextlib.suppress(OSError, termios.error):
            if self._saved is not None:
                saved, self._saved = self._saved, None
                termios.tcsetattr(self._outer, termios.TCSADRAIN, saved)

    def suspend(self) -> None:
        """SIGTSTP for int80 itself: leave the terminal as it was found, stop, and take it up again."""
        self.restore()
        stop(signal.SIGTSTP)
        self.resume()

    # -- copying ------------------------------------------------------------------------------

    def _relay_output(self) -> None:
        try:
            poll = select.poll()
            poll.register(self.master, select.POLLIN)
            poll.register(self._woken, select.POLLIN)
            while True:
                events = dict(poll.poll())
                if events.get(self.master, 0) & select.POLLIN:
                    try:
                        data = os.read(self.master, 1 << 16)
                    except BlockingIOError:
                        continue
                    if not data or not _write_all(1, data):
                        break
                else:  # nothing is left, and nobody is who could write more
                    return
        except OSError:
            return  # the last to have it open is gone
        finally:
            os.close(self._drain)
        self.hang_up()

    def _relay_input(self) -> None:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while self._woken not in dict(poll.poll()):
            self.resume()  # a job that runs already is not told that it is in the foreground now
            try:
                data = os.read(0, 4096)
            except BlockingIOError:
                continue  # somebody else was quicker
            except OSError:
                data = b""
            if not data:
                self._end_of_input()
                return
            if not self._feed(data):
                return

    def _feed(self, data: bytes) -> bool:
        """Write to the master as the guests make room; whether they have taken it all."""
        poll = select.poll()
        poll.register(self.master, select.POLLOUT)
        poll.register(self._woken, select.POLLIN)
        view = memoryview(data)
        while view:
            if self._woken in dict(poll.poll()):
                return False
            try:
                view = view[os.write(self.master, view) :]
            except BlockingIOError:
                continue
            except OSError:
                return False
        return True

    def _end_of_input(self) -> None:
        if self._outer is not None:  # in raw mode there is no other end: it is gone
            self.hang_up()
            return
        ended, waiting = select.poll(), select.poll()
        ended.register(self._woken, select.POLLIN)
        waiting.register(self.slave, select.POLLIN)
        again = iter(_AGAIN)
        patience = next(again)
        while True:
            try:
                if not waiting.poll(0):
                    os.write(self.master, self._end_character())
            except OSError:
                pass  # there is no room, or it has ended
            if ended.poll(patience):
                return
            patience = next(again, _AGAIN[-1])

    def _end_character(self) -> bytes:
        attributes = termios.tcgetattr(self.master)
        return attributes[6][termios.VEOF] if attributes[3] & termios.ICANON else _EOF_CHARACTER

    # -- ends ---------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """The far end is gone: the kernel tells the guests when the master closes, which nobody else has."""
        os.write(self._wake, b"1")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self.master, False)
        os.close(null)

    def close(self, signals: int | None) -> None:
        """After the last guest, if there was one: let the output out, unless one of `signals` (a signalfd) puts an end to it."""
        os.close(self.slave)
        if self._started:
            os.write(self._wake, b"1")
            poll = select.poll()
            poll.register(self._drained, select.POLLIN)
            poll.register(signals, select.POLLIN)
            while self._drained not in dict(poll.poll()):
                if _is_told_to_end(signals):
                    break
        self._ending = True
        self.restore()


def _write_all(fd: int, data: bytes) -> bool:
    """Write to a stream; whether anybody takes it."""
    try:
        kernel.write_all(fd, data)
    except OSError:
        return False
    return True


def _is_told_to_end(signals: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        number = int.from_bytes(os.read(signals, 128)[:4], "little")
        return number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    return False
