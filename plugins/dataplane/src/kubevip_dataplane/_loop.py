"""The event loop of a worker: one epoll instance, edge-triggered where its users say so, with timers.

Within one batch of events no descriptor is closed before the batch is over (`discard`): its number could otherwise be
given to a new connection, which would then get the old one's events.
"""

from __future__ import annotations

import select
from collections import deque
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: Events taken per turn; bounds how late timers and messages are at full load.
BATCH = 256


class Source(Protocol):
    """Something with a descriptor that the loop watches."""

    def on_events(self, events: int) -> None:
        """Deal with `events`, a mask of `select.EPOLL...`; must not block."""


class Closable(Protocol):
    """A socket or another thing with a descriptor."""

    def close(self) -> None:
        """Close it."""


class Loop:
    """Calls sources on their events, callbacks soon or at a time, until `stop`.

    :param clock: what tells the time, in seconds; must not go back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.now = clock()
        """The clock, read once per turn."""
        self._epoll = select.epoll()
        self._sources: dict[int, Source] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self._discarded: list[Closable] = []
        self._is_in_batch = self._is_stopped = False

    def add(self, fd: int, source: Source, mask: int) -> None:
        """Watch `fd` for the events in `mask`."""
        self._sources[fd] = source
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Watch `fd` for other events; with EPOLLET, what is already there is reported again."""
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Watch `fd` no more; needed before a close only where another process shares what is open."""
        if self._sources.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def discard(self, fd: int, thing: Closable) -> None:
        """Close `thing`, whose descriptor is `fd`, as soon as no event in hand can be about it."""
        self._sources.pop(fd, None)
        if self._is_in_batch:
            self._discarded.append(thing)
        else:
            thing.close()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` after the events in hand."""
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call `callback` once the clock reads `when`. There is no way back: the callback asks if it still applies."""
        heappush(self._timers, (when, next(self._ticket), callback))

    def stop(self) -> None:
        """Return from `run` after what is in hand."""
        self._is_stopped = True

    def run(self) -> None:
        """Run until stopped."""
        while not self._is_stopped:
            self.turn(self._patience())

    def turn(self, patience: float | None) -> None:
        """Wait up to `patience` seconds (None: for ever) for events, and deal with all that is due then."""
        batch = self._epoll.poll(patience, BATCH)
        self.now = self._clock()
        sources = self._sources
        self._is_in_batch = True
        for fd, events in batch:
            if (source := sources.get(fd)) is not None:
                source.on_events(events)
        self._is_in_batch = False
        if self._discarded:
            for thing in self._discarded:
                thing.close()
            self._discarded.clear()
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        while self._timers and self._timers[0][0] <= self.now:
            heappop(self._timers)[2]()

    def _patience(self) -> float | None:
        if self._soon:
            return 0
        return max(0.0, self._timers[0][0] - self._clock()) if self._timers else None
