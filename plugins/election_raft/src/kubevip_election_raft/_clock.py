"""The clock of the protocol: one that goes on while the machine sleeps, and that nobody can set."""

from __future__ import annotations

import time

#: Two readings of different clocks are never simultaneous; a longer difference than this is sleep.
SLEEP_SECONDS = 0.010


class Clock:
    """CLOCK_BOOTTIME, and whether the machine slept since the last look."""

    def __init__(self) -> None:
        self._offset = self._read_offset()

    def now(self) -> float:
        """Return seconds since boot, time asleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def has_slept(self) -> bool:
        """Return whether the machine was suspended since the last call: only then do the two clocks part."""
        offset = self._read_offset()
        has_slept = offset - self._offset > SLEEP_SECONDS
        self._offset = max(offset, self._offset)
        return has_slept

    def _read_offset(self) -> float:
        before = self.now()  # read first: a stall between the readings makes the difference smaller, never larger
        return before - time.clock_gettime(time.CLOCK_MONOTONIC)
