"""What is to be in the fence whether it is up or not, between the wish and the kernel's doing it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kubevip_announce_arp._kernel import Guarded


class Guards:
    """Collects what to fence and what no more, for the next turn of the work.

    :param wake: called when there is something.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._wanted: Counter[Guarded] = Counter()
        self._adding: list[tuple[Guarded, Event]] = []
        self._removing: list[Guarded] = []
        self._in_hand: list[tuple[Guarded, Event]] = []

    @contextmanager
    def guarding(self, guarded: Guarded) -> Generator[Event]:
        """Have an address fenced while the body runs; yields what is set when the kernel was told."""
        told = Event()
        self._wanted[guarded] += 1  # more than one while a virtual IP is replaced
        self._adding.append((guarded, told))
        self._wake()
        try:
            yield told
        finally:
            self._wanted[guarded] -= 1
            if not self._wanted[guarded]:
                del self._wanted[guarded]
                self._removing.append(guarded)
                self._wake()

    def take(self) -> tuple[tuple[Guarded, ...], tuple[Guarded, ...]]:
        """Return what to fence and what no more; it is in hand until `done`."""
        adding, self._adding = self._adding, []
        removing, self._removing = self._removing, []
        self._in_hand += adding
        return (
            tuple(guarded for guarded, _ in adding if guarded in self._wanted),
            tuple(guarded for guarded in removing if guarded not in self._wanted),
        )

    def done(self) -> None:
        """Tell those who wait for what was in hand."""
        for _, told in self._in_hand:
            told.set()
        self._in_hand.clear()

    def stop(self) -> None:
        """Tell everybody: nothing is carried out any more."""
        self._in_hand += self._adding
        self._adding = []
        self.done()
