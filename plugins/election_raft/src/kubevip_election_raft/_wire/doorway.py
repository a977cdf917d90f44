"""How many may be at the door at once, and how often somebody may come: those of whom nothing is known yet."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from attrs import frozen

logger = logging.getLogger("kubevip.raft.transport")

#: Who has not greeted yet may be anybody; beyond this many at once they are closed unread. The address of each member
#: has places of its own, so that nobody elsewhere can keep a member out by connecting and saying nothing.
MOST_STRANGERS = 16

#: Each handshake costs about a millisecond of a processor, so addresses of no member share this many a second.
STRANGERS_PER_SECOND, MOST_STRANGERS_IN_A_ROW = 20.0, 64

#: The same refusal of the same address is logged again after this time; in between it is only counted.
QUIET_SECONDS = 60.0

_MOST_REMEMBERED = 256


@frozen
class Refusal:
    """Whom was refused, and why."""

    source: str
    why: str


class Doorway:
    """Admits connections, and counts those that were refused."""

    def __init__(self, addresses: Iterable[str], clock: Callable[[], float]) -> None:
        """Prepare.

        :param addresses: where members come from.
        """
        self._addresses, self._clock = set(addresses), clock
        self._inside: Counter[str] = Counter()  # by address; "" for all that no member has
        self._left, self._filled_at = float(MOST_STRANGERS_IN_A_ROW), clock()
        self._logged_at: dict[Refusal, float] = {}
        self.refused_count = 0

    def expect(self, addresses: Iterable[str]) -> None:
        """Take note that members come from these addresses."""
        self._addresses = set(addresses)

    def admit(self, address: str) -> str | None:
        """Return the place that somebody takes, to be given to `leave`; None when there is none."""
        place = address if address in self._addresses else ""
        if self._inside[place] >= MOST_STRANGERS or not (place or self._has_time()):
            self.refused_count += 1
            return None
        self._inside[place] += 1
        return place

    def leave(self, place: str) -> None:
        """Give back a place: it is known now who it was."""
        self._inside[place] -= 1
        if not self._inside[place]:
            del self._inside[place]

    def refuse(self, source: str, why: str) -> None:
        """Count a refusal, and log it unless the same was logged a short time ago."""
        self.refused_count += 1
        refusal, now = Refusal(source, why), self._clock()
        if now - self._logged_at.get(refusal, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        if len(self._logged_at) >= _MOST_REMEMBERED:
            self._logged_at.clear()
        self._logged_at[refusal] = now
        logger.warning("connection from %s refused: %s", source, why)

    def _has_time(self) -> bool:
        now = self._clock()
        gained = (now - self._filled_at) * STRANGERS_PER_SECOND
        self._left, self._filled_at = min(MOST_STRANGERS_IN_A_ROW, self._left + gained), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
