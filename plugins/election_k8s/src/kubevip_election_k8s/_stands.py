"""The groups that a Lease elects a holder for: what each is told, and what they want of this node together."""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping

from anyio import current_time, sleep
from attrs import define

from kubevip import Candidacy, Cause, Following, Leading, Placement
from kubevip_election_k8s._candidate import Candidate
from kubevip_election_k8s._clock import Clock, in_loop_time

#: The end of a tenure is told again when the clocks have parted by more: the machine slept.
SLEEP_SECONDS = 0.010


@define(eq=False)
class Stand:
    """One group's candidacy; `term` while it leads. `until` and `leader` are what was reported last."""

    candidacy: Candidacy
    term: int | None = None
    until: float = -math.inf
    leader: str | None = None


class Stands:
    """All that stand for one Lease on `node`.

    :param last_terms: by group, the last term that this process has reported.
    """

    def __init__(self, candidate: Candidate, node: str, clock: Clock, last_terms: MutableMapping[str, int]) -> None:
        self._candidate, self._node, self._clock, self._last_terms = candidate, node, clock, last_terms
        self._stands: list[Stand] = []

    def __len__(self) -> int:
        return len(self._stands)

    def add(self, stand: Stand, cause: Cause | None) -> None:
        """Let a group stand, and tell it how things are."""
        self._stands.append(stand)
        self._tell_one(stand, self._clock.now(), cause)

    def remove(self, stand: Stand) -> None:
        """Let a group stand no more."""
        self._stands.remove(stand)

    @property
    def fitness(self) -> int:
        """How fit the node is for the group that it is fittest for."""
        return max((stand.candidacy.fitness.value for stand in self._stands), default=0)

    @property
    def term(self) -> int | None:
        """The newest term that is reported now; None while nothing is held."""
        return max((stand.term for stand in self._stands if stand.term is not None), default=None)

    @property
    def rank(self) -> int:
        """How many nodes would be rather held on, by the group that prefers this one most."""
        return min((_rank(self._node, placement) for placement in self._placements()), default=0)

    def fail_back_seconds(self, holder: str | None) -> float | None:
        """Return after how long this node is to take the Lease from `holder`; None: never.

        The groups that share a Lease have one holder: it goes back when some prefer this node and none the other.
        """
        spans: list[float] = []
        for placement in self._placements():
            mine, theirs = _rank(self._node, placement), _rank(holder or "", placement)
            if mine > theirs:
                return None
            if mine < theirs and placement.fail_back_seconds is not None:
                spans.append(placement.fail_back_seconds)
        return max(spans, default=None)

    def tell(self, now: float, cause: Cause | None) -> None:
        """Report to every group what has changed."""
        for stand in tuple(self._stands):
            self._tell_one(stand, now, cause)

    async def withdraw(self, until: float) -> None:
        """Report that this node leads no more; return when nothing is up.

        :param until: before then nobody else can hold; a reading of `anyio.current_time()`.
        """
        for stand in tuple(self._stands):
            stand.term, stand.leader = None, None
            stand.candidacy.report(Following(valid_until=until))
        for stand in tuple(self._stands):
            if stand.candidacy.withdrawn is None:
                await sleep(max(until - current_time(), 0.0))
            else:
                await stand.candidacy.withdrawn()

    def _placements(self) -> Iterator[Placement]:
        return (stand.candidacy.placement for stand in self._stands)

    def _tell_one(self, stand: Stand, now: float, cause: Cause | None) -> None:
        if self._candidate.holds(now):
            until = in_loop_time(self._candidate.valid_until, self._clock)
            if stand.term is None:
                group = stand.candidacy.group
                stand.term = max(self._last_terms.get(group, 0), self._candidate.transitions) + 1
                self._last_terms[group] = stand.term
            elif abs(until - stand.until) < SLEEP_SECONDS:
                return
            stand.until = until
            stand.candidacy.report(Leading(term=stand.term, valid_until=until, cause=cause))
            return
        leader = None if self._candidate.is_ours else self._candidate.shown_holder
        if stand.term is not None or leader != stand.leader:
            stand.term, stand.leader = None, leader
            stand.candidacy.report(Following(leader=leader))


def _rank(node: str, placement: Placement) -> int:
    return placement.prefer.index(node) if node in placement.prefer else len(placement.prefer)
