"""Virtual time for asyncio: when nothing is ready, the clock jumps to the next timer, so an hour passes at once.

trio has `trio.testing.MockClock(autojump_threshold=0)` for the same. Both jump as well while a worker thread runs.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 -- an event loop of asyncio's own kind has to be made of asyncio
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


class _JumpingSelector(selectors.BaseSelector):
    """Asks the real selector without waiting, and moves the clock instead of waiting."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> object:  # type: ignore[override] # typeshed's Mapping type is the real selector's own
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # nothing is timed: wait for the world, but not for ever
            if not (events := self._real.select(5.0)):
                raise RuntimeError("virtual time: every task waits for something that cannot happen")
            return events
        if not (events := self._real.select(0)) and timeout > 0:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on virtual time; pass it as `loop_factory`."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now
