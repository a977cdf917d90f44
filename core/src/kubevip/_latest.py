"""A cell that holds the latest value of something.

Readers see the newest value, never a queue of old ones: between two looks any number of values may have been
replaced. A reader's first value is the value of now, not the next change, so nothing is missed between looking and
waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import Event
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Latest(Generic[T]):
    """The latest value of something, with waiting. Set and read in the event-loop thread only."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._waiting: dict[Event, Callable[[T], bool]] = {}

    @property
    def value(self) -> T:
        """The value of now."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake the readers that wait for it; never blocks. An equal value is a change as well."""
        self._value = value
        for accepted, test in self._waiting.items():
            if test(value):
                accepted.set()

    async def wait_until(self, test: Callable[[T], bool]) -> T:
        """Return the value as soon as `test` accepts it.

        A checkpoint comes first and nothing is awaited after the accepted test, so the value returned is still the
        value of the cell when the caller goes on. Values that are replaced before the reader runs are not seen.

        :param test: must not raise, wait, or change anything: it is asked by whoever sets a value, so that a value
            that nobody waits for wakes nobody.
        """
        await checkpoint()
        while not test(self._value):
            accepted = Event()
            self._waiting[accepted] = test
            try:
                await accepted.wait()
            finally:
                del self._waiting[accepted]
        return self._value

    async def wait_for_change(self, seen: object) -> T:
        """Return the value as soon as it is another object than `seen`; at once for a reader that has seen nothing."""
        return await self.wait_until(lambda value: value is not seen)
