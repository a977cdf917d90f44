"""What a member knows of the others from what they sent: when, how quickly, and how fit they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from attrs import define

from kubevip_election_raft._messages import NOT_STANDING


@define(kw_only=True)
class Peer:
    """One other member; times in seconds, minus infinity and NaN for never.

    `is_silent`: it gives no promise, because it started a moment ago; so it cannot stand either.
    """

    heard_at: float = -math.inf
    round_trip_seconds: float = math.nan
    fitness: int = NOT_STANDING
    is_silent: bool = False


class Peers(Mapping[str, Peer]):
    """The other members, in configured order."""

    def __init__(self, names: Iterable[str]) -> None:
        self._peers = {name: Peer() for name in names}

    def __getitem__(self, name: str) -> Peer:
        return self._peers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._peers)

    def __len__(self) -> int:
        return len(self._peers)

    def assume_fit(self, names: Iterable[str]) -> None:
        """Take those who just voted for fit until they say how fit they are."""
        for name in names:
            self._peers[name].fitness, self._peers[name].is_silent = 100, False

    def order_heirs(self, heard_since: float) -> tuple[str, ...]:
        """Return those that can succeed, best first: fitter before less fit, then in configured order.

        Those that stand for nothing and those that were not heard since are none; those that are silent come last.
        """
        heirs = [name for name, peer in self._peers.items() if peer.fitness >= 0 and peer.heard_at >= heard_since]
        return tuple(sorted(heirs, key=lambda name: (self._peers[name].is_silent, -self._peers[name].fitness)))
