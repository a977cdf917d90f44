"""How long to wait before the next control process is started."""

from __future__ import annotations


class Backoff:
    """At once after a run of ten seconds or more; else 1 s, doubling to 60 s.

    Each pause is shortened by up to half at random, so that nodes that broke together do not come back together.
    """

    LONG_RUN_SECONDS = 10.0
    FIRST_SECONDS = 1.0
    LONGEST_SECONDS = 60.0

    def __init__(self) -> None:
        self._next = self.FIRST_SECONDS

    def after(self, ran_seconds: float, chance: float) -> float:
        """Return the seconds to wait after a run of `ran_seconds`; `chance` is a random number from 0 to 1."""
        if ran_seconds >= self.LONG_RUN_SECONDS:
            self._next = self.FIRST_SECONDS
            return 0.0
        seconds, self._next = self._next, min(self._next * 2, self.LONGEST_SECONDS)
        return seconds * (1 - chance / 2)
