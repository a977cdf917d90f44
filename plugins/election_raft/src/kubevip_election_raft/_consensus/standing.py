"""When this member stands for leader.

The leader names its heirs in every heartbeat. Each stands a little later than the one before it, so that there is one
candidate at a time and no split vote; random times are for the rounds after one that failed (Raft thesis 3.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from kubevip_election_raft._consensus.messages import NOT_STANDING, PreVoteRequest
from kubevip_election_raft._consensus.timing import Timing

Claim = tuple[bool, int, int]

#: A voter that stands for no group stands for leader when nobody led for so many promises longer: it may be the only
#: one left whose log has everything that was agreed (Raft thesis 3.6.1). So long, because a node that starts has no
#: candidacy yet, and whoever can hold something should lead.
RESERVE_PROMISES = 10


class Standing:
    """This member's place in the order of succession, and the time at which it stands.

    `fitness` is 0 (unfit) to 100, or NOT_STANDING. `position` is its place in the list of all members. `is_voter` is
    whether it is one of them, and has a vote.
    """

    def __init__(self, name: str, position: int, timing: Timing, rng: Random) -> None:
        self._name, self.position, self._timing, self._rng = name, position, timing, rng
        self.fitness = NOT_STANDING
        self.is_voter = True
        self.rank = 0
        self.at = math.inf
        self._heirs: tuple[str, ...] = ()
        self._has_deferred = False

    @property
    def is_candidate(self) -> bool:
        """Whether it stands for a group, and so for leader as soon as its turn comes."""
        return self.fitness != NOT_STANDING

    @property
    def due(self) -> float:
        """When it stands for leader: later if it stands for no group, never if it has no vote."""
        if not self.is_voter:
            return math.inf
        return self.at if self.is_candidate else self.at + RESERVE_PROMISES * self._timing.promise_seconds

    @property
    def first_heir(self) -> str | None:
        """Whom the leader named first."""
        return next(iter(self._heirs), None)

    def form(self, moment: float, *, stands_first: bool) -> None:
        """Stand after `moment` in the order of the configuration: nobody was heard yet."""
        self.rank = 0 if stands_first else self.position + 1
        self.wait(moment)

    def follow(self, heirs: Sequence[str], moment: float) -> None:
        """Stand after `moment` as one of `heirs`, which the leader named."""
        self._heirs, self.rank = tuple(heirs), rank_of(self._name, heirs)
        self._has_deferred = False
        self.wait(moment)

    def lead(self) -> None:
        """It leads itself: what the leader before it said of its heirs was of that time."""
        self._heirs = ()

    def succeed(self, heir: str | None, now: float) -> None:
        """The leader went and named `heir`, who stands now; the others stand after it."""
        heirs = self._heirs if heir is None else (heir, *(name for name in self._heirs if name != heir))
        self.wait(now, rank_of(self._name, heirs))

    def wait(self, moment: float, rank: int | None = None) -> None:
        """Stand after `moment`, later by its own rank or `rank`, and by a little chance."""
        places = self.rank if rank is None else rank
        self.at = moment + places * self._timing.rank_seconds + self._rng.uniform(0.0, self._timing.jitter_seconds)

    def retry(self, now: float) -> None:
        """Stand again after a round that failed."""
        self.at = now + self._rng.uniform(self._timing.rank_seconds, self._timing.promise_seconds)

    def hint(self, now: float, free_at: float) -> None:
        """The leader may have died. The first heir asks at once, to learn when the voters will be free.

        The others stand as soon as they are free themselves, in their order.
        """
        at = now if self.rank == 0 else max(now, free_at) + self.rank * self._timing.rank_seconds
        self.at = min(self.at, at)

    def defers(self, now: float) -> bool:
        """Return whether it lets the fit go first, being unfit; once, so that somebody stands if nobody is fit.

        The leader has named the fit before the unfit, so among its heirs that is so already: were another one fit, its
        turn would have come before.
        """
        if self.fitness > 0 or self._has_deferred or self._name in self._heirs:
            return False
        self._has_deferred = True
        self.at = now + self._timing.promise_seconds
        return True

    def goes_after(self, rival: PreVoteRequest, position: int) -> bool:
        """Return whether a rival that stands at the same time goes first; of two nodes exactly one says yes."""
        return claim(rival.fitness, rival.rank, position) < claim(self.fitness, self.rank, self.position)


def rank_of(name: str, heirs: Sequence[str]) -> int:
    """Return the place of `name` in the order of succession: 0 = first heir; one who is not named comes last."""
    return heirs.index(name) if name in heirs else len(heirs)


def claim(fitness: int, rank: int, position: int) -> Claim:
    """Return how two that stand at the same time compare; the smaller one goes first, on every node the same."""
    return (fitness <= 0, rank, position)
