"""What a member knows of the others from what they sent: when, how quickly, and how fit they are."""

from __future__ import annotations

import math
from collections.abc import Iterable

from attrs import define

from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._consensus.messages import NOT_STANDING, Offers


@define(kw_only=True)
class Peer:
    """One other member; times in seconds, minus infinity and NaN for never.

    `alive_at`: when it was known last, by the leader, to hear as well as to speak: when it answered.

    `process` is the newest run of it that was heard. `offers` is what that one stands for, as far as it said so;
    `offers_version` is the version that it has by now.
    """

    heard_at: float = -math.inf
    alive_at: float = -math.inf
    round_trip_seconds: float = math.nan
    process: Process | None = None
    offers: Offers | None = None
    offers_version: int = 0

    @property
    def fitness(self) -> int:
        """How fit it is for everything that it stands for, or NOT_STANDING."""
        return fitness_of(self.offers)

    def hear(self, process: Process, now: float) -> bool:
        """Note that something of `process` was received now; return whether it is a new run."""
        self.heard_at = now
        is_new = process != self.process
        if is_new:
            self.process, self.offers, self.offers_version, self.alive_at = process, None, 0, now
        return is_new

    def learn(self, offers: Offers) -> bool:
        """Take what it stands for, unless that is older than what is known; return whether it is new."""
        if self.offers is not None and offers.version <= self.offers.version:
            return False
        self.offers, self.offers_version = offers, max(offers.version, self.offers_version)
        return True


def fitness_of(offers: Offers | None) -> int:
    """Return how fit a member is for the least of what it stands for; NOT_STANDING if it is to lead nothing."""
    if offers is None or offers.is_leaving:
        return NOT_STANDING
    return min((offer.fitness for offer in offers.offers), default=NOT_STANDING)


class Peers(dict[str, Peer]):
    """The other members, in configured order. A dict as it is: every heartbeat goes through it several times."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__((name, Peer()) for name in names)

    def set_names(self, names: Iterable[str]) -> None:
        """Have these from now on; what is known of those that stay is kept."""
        kept = {name: self.get(name) or Peer() for name in names}
        self.clear()
        self.update(kept)

    def order_heirs(self, heard_since: float) -> tuple[str, ...]:
        """Return those that can succeed, best first: fitter before less fit, then in configured order.

        Those that stand for nothing and those that were not heard since are none.
        """
        heirs = [name for name, peer in self.items() if peer.fitness >= 0 and peer.heard_at >= heard_since]
        return tuple(sorted(heirs, key=lambda name: -self[name].fitness))
