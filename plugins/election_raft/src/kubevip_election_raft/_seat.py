"""One candidacy of the core: what it is told of its group."""

from __future__ import annotations

import math

from anyio import sleep
from attrs import define

from kubevip import Candidacy, Cause, Following, Leading
from kubevip_election_raft._consensus.messages import Offer
from kubevip_election_raft._consensus.ready import Holding, Rise, SoftState


@define(kw_only=True, eq=False)
class Seat:
    """A candidacy, and what it was told last.

    `own` is the name of this member. The terms of the candidacy lie above `term`, the last one that the group had
    before, in this process. They are the indices of the decisions in the log, but for a group that is held anew under
    the same decision: then they are ahead of these.
    """

    candidacy: Candidacy
    term: int
    own: str
    _tenure: int = 0
    _until: float = -math.inf
    _cause: Cause | None = None
    _following: Following | None = None

    def tell(
        self, state: SoftState, holding: Holding | None, valid_until: float, offset: float, *, is_in_touch: bool
    ) -> None:
        """Report what is so for the group: each renewal, and each change of the holder.

        :param valid_until: the end of `holding` in the time of the event loop, which is `offset` ahead of the node's.
        :param is_in_touch: with the group; without it, who held something last says nothing of who does now.
        """
        if holding is not None and valid_until > -math.inf:
            if (holding.tenure, holding.until) == (self._tenure, self._until):
                return
            self._until = holding.until
            if holding.tenure != self._tenure:
                self._tenure, self._following = holding.tenure, None
                self.term = max(self.term + 1, holding.grant.index)
                self._cause = _cause_of(holding.rise, offset)
            self.candidacy.report(Leading(term=self.term, valid_until=valid_until, cause=self._cause))
            return
        leaving = state.leaving.get(self.candidacy.group)
        placement = state.agreed.placements.get(self.candidacy.group)
        is_elsewhere = placement is not None and placement.process.name != self.own
        following = Following(
            leader=placement.process.name if placement is not None and is_elsewhere and is_in_touch else None,
            valid_until=leaving.until + offset if leaving is not None else -math.inf,
        )
        if following != self._following:
            self._tenure, self._following = 0, following
            self.candidacy.report(following)

    def offer(self) -> Offer:
        """Return what this member would do for the group."""
        placement = self.candidacy.placement
        return Offer(
            group=self.candidacy.group,
            fitness=min(max(self.candidacy.fitness.value, 0), 100),
            weight=placement.weight,
            prefer=placement.prefer,
            fail_back_seconds=placement.fail_back_seconds,
        )

    async def withdrawn(self, seconds_left: float) -> None:
        """Return when nothing is up any more that an earlier report allowed; at the latest in `seconds_left`."""
        if self.candidacy.withdrawn is not None:
            await self.candidacy.withdrawn()
        else:
            await sleep(max(0.0, seconds_left))


def _cause_of(rise: Rise, offset: float) -> Cause:
    """Return the same in the time of the event loop, which is `offset` ahead of the node's clock."""
    silent_since = None if rise.silent_since is None else rise.silent_since + offset
    return Cause(why=rise.why, silent_since=silent_since, stood_at=rise.stood_at + offset)
