"""The three time spans of a Lease election, and what must hold between them."""

from __future__ import annotations

from attrs import frozen

#: client-go's JitterFactor: a period is stretched by up to this factor, and the deadline has to leave room for it.
JITTER_FACTOR = 1.2

#: An answer that takes a larger part of what is left of the deadline is given up, so that there is time to ask again.
PATIENCE = 0.75


@frozen(kw_only=True)
class Timing:
    """How long a Lease is valid after a renewal, when its holder stops without one, and how often it renews.

    Others take over `lease_seconds` after they have *seen* a renewal. The holder stops `renew_seconds` after it has
    *sent* it. The difference is the time to withdraw, and holds whatever the network does in between, on clocks that
    are only as fast as one another.
    """

    lease_seconds: int = 5
    renew_seconds: float = 3.0
    retry_seconds: float = 1.0

    def __attrs_post_init__(self) -> None:
        if self.lease_seconds < 1:
            raise ValueError("leaseDuration: a Lease counts whole seconds, at least one")
        if self.retry_seconds <= 0:
            raise ValueError("retryPeriod: expected more than nothing")
        if self.lease_seconds <= self.renew_seconds:
            raise ValueError(
                f"leaseDuration: {self.lease_seconds:g} s must be more than renewDeadline, {self.renew_seconds:g} s: "
                "the holder needs the time in between to withdraw"
            )
        if self.renew_seconds <= self.retry_seconds * JITTER_FACTOR:
            raise ValueError(
                f"renewDeadline: {self.renew_seconds:g} s must be more than {JITTER_FACTOR:g} times retryPeriod, "
                f"{self.retry_seconds:g} s: or one lost request costs the address"
            )

    @property
    def longest_takeover_seconds(self) -> float:
        """How long clients wait at most when the holder is lost."""
        return self.lease_seconds + self.retry_seconds

    def attempt_seconds(self, remaining_seconds: float) -> float:
        """Return how long one attempt to renew may take when the deadline is so far away.

        What a server holds up for less than the deadline must not cost the address: so an attempt is given up while
        there is time for another, and the last one has all the time there is.
        """
        if remaining_seconds <= self.retry_seconds:
            return remaining_seconds
        return PATIENCE * remaining_seconds

    @property
    def acquire_seconds(self) -> float:
        """How long an attempt to acquire may take: a leadership that is half over before it begins is none."""
        return self.renew_seconds / 2
