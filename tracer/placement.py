"""Tracer and traced task on one processor for the moment of their switch.

The kernel wakes a task on an idle processor where it finds one, and waking an idle processor costs ten times what the
call does.  So a task is held on the tracer's processor while it is woken.  To hold and to release it costs a quarter of a
call, so one that makes call after call stays held until it does not, or until it has run for a while; but it is never
held in calls that would show which processors it has.  What it starts begins held as it is.
"""

from __future__ import annotations

import ctypes
import os
import time

from vfs.kernel import quick

_RAPID, _LONG = 0.0005, 0.05  # seconds between two stops: so soon that a task stays held, so late that it is let go
_CLONE_UNTRACED = 0x00800000
_CLONE, _CLONE3, _SET_AFFINITY, _GET_AFFINITY = 56, 435, 203, 204
_SETS, _GETS = {"linux": _SET_AFFINITY, "i386": 241}, {"linux": _GET_AFFINITY, "i386": 242}
#: Calls that a task is to make with processors of its own, where the tracer does not see who has them then: those that show
#: or set somebody's, and the start of a task that is not to be traced.
FREE = {"linux": frozenset((_CLONE, _CLONE3, _SET_AFFINITY, _GET_AFFINITY)), "i386": frozenset((120, _CLONE3, 241, 242))}
#: Those that a filter is to stop in any case, by x86-64 number; and one where its first argument has one of these bits.
STOPPED = frozenset((_CLONE3, _SET_AFFINITY, _GET_AFFINITY))
STOPPED_WITH = (_CLONE, _CLONE_UNTRACED)

_ptrace = quick["ptrace"]
_ptrace.restype = ctypes.c_long
_set_affinity = quick["sched_setaffinity"]
_get_affinity = quick["sched_getaffinity"]
_clock = time.perf_counter


class Place:
    """A task as `Placement` knows it.

    `mask`: the processors it had before it was held, None where it is not; `own`: those it had the last time.  `free`: how
    often more it is not to be held when it goes on.  `resumed`: when it went on, by `_clock`.
    """

    __slots__ = ("free", "mask", "own", "resumed", "tid")

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.mask = self.own = None
        self.free = 0
        self.resumed = 0.0


class Placement:
    """`keeps`: the tasks end with the tracer.  Only then are they held for longer than the moment: others must have their
    processors back if it is killed.  The tracer itself is kept where it started, unless it was told where to be."""

    def __init__(self, keeps: bool) -> None:
        self.here: int | None = None  # the tracer's processor, None where there is no other
        self._keeps = keeps
        self._places: dict[int, Place] = {}
        self._allowed = os.sched_getaffinity(0)
        if len(self._allowed) > 1:
            self.here = here = quick.sched_getcpu()
            os.sched_setaffinity(0, (here,))
            words = max(os.cpu_count() or 1, max(self._allowed) + 1) // 64 + 1
            self._size = 8 * words
            self._masks = ctypes.c_ulong * words
            self._one = self._masks()
            self._one[here // 64] = 1 << here % 64
            self._only = bytes(self._one)

    def go_on(self, how: int, place: Place, number: int = 0) -> int:
        """ptrace(2) with the request `how` to a stopped task, which goes on with a signal, or none; what it returns."""
        now = _clock()
        keeps = now - place.resumed < _RAPID and self._keeps
        place.resumed = now
        if place.free:
            place.free -= 1
            if place.mask is not None:
                self.release(place)
            return _ptrace(how, place.tid, 0, number)
        if place.mask is None:
            self._hold(place)
        result = _ptrace(how, place.tid, 0, number)
        if not keeps and place.mask is not None:
            self.release(place)
        return result

    def calls(self, place: Place, abi: str, number: int, flags: int, memory) -> None:
        """A stopped task is about to make a call that is in `FREE`; `flags` is its first argument."""
        if number in (_SETS[abi], _GETS[abi]):  # of any task
            self.release_all()
            if number == _SETS[abi]:
                for other in self._places.values():
                    other.own = None
        else:
            if number == _CLONE3:
                flags = int.from_bytes(memory.read_some(flags, 8), "little")
            if not flags & _CLONE_UNTRACED:
                return
        place.free = max(place.free, 1)

    def _hold(self, place: Place) -> None:
        mask = self._masks()
        here = self.here
        if _get_affinity(place.tid, self._size, mask) < 0 or not mask[here // 64] >> here % 64 & 1:
            return
        if bytes(mask) != self._only and _set_affinity(place.tid, self._size, self._one) == 0:
            place.mask = place.own = mask

    def release(self, place: Place) -> None:
        """A task that is held has its own processors back, unless somebody has given it others meanwhile."""
        mask, place.mask = place.mask, None
        if self._is_here(place.tid):
            _set_affinity(place.tid, self._size, mask)

    def release_all(self) -> None:
        """Until they go on the next time."""
        for place in self._places.values():
            if place.mask is not None:
                self.release(place)

    def _is_here(self, tid: int) -> bool:
        now = self._masks()
        return _get_affinity(tid, self._size, now) >= 0 and bytes(now) == self._only

    def tick(self) -> None:
        """Now and then, while the tracer waits: a task that runs on is no longer held."""
        late = _clock() - _LONG
        for place in self._places.values():
            if place.mask is not None and place.resumed < late:
                self.release(place)

    def born(self, place: Place, parent: Place | None = None) -> None:
        """A task that is stopped for the first time.  It began with the processors that its parent had just then."""
        self._places[place.tid] = place
        if parent is not None and parent.own is not None and self._is_here(place.tid):
            place.mask = place.own = parent.own
            place.resumed = _clock()

    def started(self, place: Place) -> None:
        """A task that the tracer itself has started just now, and that began with the tracer's processor."""
        self._places[place.tid] = place
        if self.here is not None:
            os.sched_setaffinity(place.tid, self._allowed)

    def passed_on(self, former: Place, place: Place) -> None:
        """A thread has taken the place of its process's first one, with its own processors."""
        place.mask, place.own = former.mask, former.own
        former.mask = former.own = None

    def forget(self, place: Place) -> None:
        """A task is gone."""
        self._places.pop(place.tid, None)

    def close(self) -> None:
        """The end: all have their own processors back, the tracer too."""
        if self.here is not None:
            self.release_all()
            os.sched_setaffinity(0, self._allowed)
