"""The clocks of the election: one that goes on while the machine sleeps, and one for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from anyio import current_time

from kubevip_election_k8s._record import micro_time


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> float:
        """Return seconds on a clock that never stops and that nobody can set."""
        ...

    def stamp(self) -> str:
        """Return the wall clock's time as a MicroTime."""
        ...


class BootClock:
    """CLOCK_BOOTTIME, time asleep included."""

    def now(self) -> float:
        """Return seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def stamp(self) -> str:
        """Return the wall clock's time as a MicroTime."""
        return micro_time(datetime.now(UTC))


def in_loop_time(moment: float, clock: Clock) -> float:
    """Return a reading of `clock` as one of `anyio.current_time()`: as far from now."""
    current = current_time()  # read first: a stall between the readings makes the result earlier, never later
    return current + (moment - clock.now())
