"""Datagrams of the loopback inside that wait for room at their receiver.

A unix socket takes no more than some ten datagrams (`net.unix.max_dgram_qlen`) before somebody reads, where UDP takes as
many as its buffer holds.  What a socket has no room for is kept here, as far as UDP would keep it, and delivered in its order
as soon as there is some: a socket connected to the receiver can be written to then, which is all that is done with it.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque

from abi.net import host
from abi.net.addresses import Inet
from abi.net.names import Marks, Name, Names

_BUFFER = 212992  # net.core.rmem_default
_OVERHEAD = 832  # bytes of that which go with each datagram beside its own
_MOST = 256  # queues of one sandbox, each of which has a descriptor or two of the supervisor's


class Queue:
    """What waits for one receiver, `name`.  ``OSError`` where it takes nothing from others."""

    def __init__(self, names: Names, name: Name) -> None:
        self._names = names
        self._name = name
        self._waiting: deque[tuple[bytes, Name, int, Inet, Marks]] = deque()
        self._room = _BUFFER
        self._probe = host.socket(host.AF_UNIX, host.SOCK_DGRAM | host.SOCK_CLOEXEC)
        try:
            host.connect_now(self._probe, name.address)
            with select.epoll() as ready:
                ready.register(self._probe, select.EPOLLOUT)
                self.ready = os.dup(ready.fileno())  # can be read when the probe can be written to
        except BaseException:
            os.close(self._probe)
            raise

    def put(self, data: bytes, sender: Name, family: int, to: Inet, marks: Marks) -> None:
        """One more datagram, which is lost if there is no room; arguments as of `Names.send_marked`."""
        if len(data) + _OVERHEAD <= self._room:
            self._room -= len(data) + _OVERHEAD
            self._waiting.append((data, sender, family, to, marks))

    def deliver(self) -> bool:
        """Send what there is room for; whether something is left."""
        try:
            while self._waiting:
                data, sender, family, to, marks = self._waiting[0]
                flags = host.MSG_DONTWAIT | host.MSG_NOSIGNAL
                self._names.send_marked(data, self._name.address, sender, family, to, marks, flags)
                self._waiting.popleft()
                self._room += len(data) + _OVERHEAD
        except OSError as problem:
            if problem.errno == errno.EAGAIN:
                return True
            # It is gone, or is connected to one alone by now.
        self._name.queue = None
        self._names.queues -= 1
        os.close(self._probe)
        return False


def wait(network, receiver: Name, data: bytes, sender: Name, family: int, to: Inet, marks: Marks) -> None:
    """Have a datagram that finds no room delivered later, if that can be."""
    names = network.names
    if receiver.queue is None:
        if names.queues == _MOST or network.serve is None:
            return
        try:
            receiver.queue = Queue(names, receiver)
        except OSError:
            return
        names.queues += 1
        network.serve(receiver.queue.ready, receiver.queue.deliver)
    receiver.queue.put(data, sender, family, to, marks)
