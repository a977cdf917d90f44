"""The time spans of the protocol and what must hold between them.

Everything follows from two: how often the leader speaks, and for how long a voter promises.
"""

from __future__ import annotations

from attrs import evolve, frozen

from kubevip_election_raft._consensus.messages import LONGEST_PROMISE_SECONDS

#: A voter's clock may run up to 8.3 % fast and a holder's 8.3 % slow (what adjtimex may slew): 1.083 / 0.917 < 1.2.
CLOCK_RATIO = 1.2

#: A promise spans at least so many heartbeats, so that one that is lost does not cost the lease.
HEARTBEATS_PER_PROMISE = 3.0

SHORTEST_HEARTBEAT_SECONDS = 0.005

#: A vote is synced before it is answered; with a shorter promise a slow disk alone would end terms.
PROMISE_PER_SYNC = 4.0


@frozen(kw_only=True)
class Timing:
    """Heartbeat interval and promise length; all in seconds. Raises ValueError for spans that do not fit together."""

    heartbeat_seconds: float = 0.050
    promise_seconds: float = 0.180

    def __attrs_post_init__(self) -> None:
        if not self.heartbeat_seconds >= SHORTEST_HEARTBEAT_SECONDS:
            raise ValueError(
                f"heartbeat {_ms(self.heartbeat_seconds)} is too short: at least {_ms(SHORTEST_HEARTBEAT_SECONDS)}"
            )
        if self.promise_seconds < HEARTBEATS_PER_PROMISE * self.heartbeat_seconds:
            raise ValueError(
                f"promise {_ms(self.promise_seconds)} is too short for a heartbeat of {_ms(self.heartbeat_seconds)}: "
                f"at least {_ms(HEARTBEATS_PER_PROMISE * self.heartbeat_seconds)}, so that a lost one is survived"
            )
        if self.promise_seconds > LONGEST_PROMISE_SECONDS:
            raise ValueError(f"promise {_ms(self.promise_seconds)} is too long: at most {_ms(LONGEST_PROMISE_SECONDS)}")

    @property
    def lease_seconds(self) -> float:
        """How long a holder may hold, counted from before it asked."""
        return self.promise_seconds / CLOCK_RATIO

    @property
    def slack_seconds(self) -> float:
        """By how much a heartbeat and its answer may be late together before a lease lapses, if one more is lost."""
        return self.lease_seconds - 2 * self.heartbeat_seconds

    @property
    def rank_seconds(self) -> float:
        """How much later each further heir stands: 40 ms at the default promise of 180 ms, 10 ms at 45 ms."""
        return self.promise_seconds * 2 / 9

    @property
    def jitter_seconds(self) -> float:
        """Longest random delay on top of it."""
        return self.promise_seconds / 9

    @property
    def ask_seconds(self) -> float:
        """After so long without an answer a candidate asks again: 10 ms at the default."""
        return self.promise_seconds / 18

    def for_disk(self, sync_seconds: float) -> Timing:
        """Return the timing that a disk allows whose sync takes `sync_seconds` (99th percentile)."""
        needed = min(PROMISE_PER_SYNC * sync_seconds, LONGEST_PROMISE_SECONDS)
        return self if needed <= self.promise_seconds else evolve(self, promise_seconds=needed)


DEFAULT = Timing()
FAST = Timing(heartbeat_seconds=0.010, promise_seconds=0.045)
RELAXED = Timing(heartbeat_seconds=0.250, promise_seconds=1.200)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
