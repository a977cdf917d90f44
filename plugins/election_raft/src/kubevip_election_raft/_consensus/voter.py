"""What a member owes to the others: its vote, once a term, and its promises, to one process a group at a time.

A voter refuses votes and pre-votes without looking at terms while it hears a leader (stickiness, Raft thesis 4.2.3),
and for one longest promise after its start. What it promised does not matter for a vote: leading is not holding.

Whoever is not `is_entitled` gives no vote at all: it may have given one before that it lost with its disk.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from attrs import evolve

from kubevip_election_raft._consensus.entries import HardState, Placement, Process
from kubevip_election_raft._consensus.log import Log
from kubevip_election_raft._consensus.messages import (
    Claim,
    Offers,
    PreVoteRequest,
    PreVoteResponse,
    PromiseRequest,
    PromiseResponse,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._consensus.promise import Answer, Promises


class Voter:
    """The voter in a member: its hard state, its promises, and whom it hears as leader."""

    def __init__(self, *, hard_state: HardState, log: Log, promise_seconds: float, now: float) -> None:
        self.hard_state = hard_state
        self._promise_seconds = promise_seconds
        self.silent_until = now + max(hard_state.promise_seconds, promise_seconds)
        self.is_entitled = True
        self._is_settled = False  # see `settle`
        self.promises = Promises(silent_until=self.silent_until)
        self._log = log
        self._leader: str | None = None
        self._leader_heard_until = -math.inf

    def free_at(self, name: str) -> float:
        """Return until when this voter gives `name` no vote; a time in the past if it may now."""
        if self._leader is None or self._leader == name:
            return self.silent_until
        return max(self.silent_until, self._leader_heard_until)

    def wait_seconds(self, name: str, now: float) -> float:
        """Return for how long this voter gives `name` no vote; 0 = it may now."""
        return max(self.free_at(name) - now, 0.0)

    def hear(self, leader: str, seconds: float, now: float) -> None:
        """Note that `leader` was heard; others are refused for `seconds`."""
        self._leader, self._leader_heard_until = leader, now + seconds

    def forget_leader(self) -> None:
        """Note that there is no leader to stick to any more."""
        self._leader = None

    def adopt(self, term: int) -> None:
        """Enter a newer term, in which no vote is given yet."""
        self.hard_state = evolve(self.hard_state, term=term, vote=None)

    @property
    def longest_seconds(self) -> float:
        """The longest promise, with those that follow a vote: saved with it, they need no save of their own."""
        return max(self.hard_state.promise_seconds, self._promise_seconds)

    def settle(self, now: float) -> None:
        """When the silence after the start is over, so is whatever an earlier run promised: forget how long that was.

        No sooner: whoever starts again before that has to keep silent as long once more.
        """
        if self._is_settled or now < self.silent_until:
            return
        self._is_settled = True
        if self.hard_state.promise_seconds > self._promise_seconds:
            self.hard_state = evolve(self.hard_state, promise_seconds=self._promise_seconds)

    def vote_for_self(self, name: str) -> None:
        """Enter the next term with the vote for `name`, which is this member."""
        self.hard_state = evolve(
            self.hard_state, term=self.hard_state.term + 1, vote=name, promise_seconds=self.longest_seconds
        )

    def pre_vote(self, request: PreVoteRequest, wait: float) -> PreVoteResponse:
        """Say whether a vote would be given; nothing changes.

        :param wait: for how long no vote is given to the candidate.
        """
        is_current = self._log.is_behind(request.last_index, request.last_term)
        return PreVoteResponse(
            term=self.hard_state.term,
            asked=request.term,
            is_granted=self.is_entitled and wait == 0 and request.term > self.hard_state.term and is_current,
            wait_seconds=wait,
        )

    def put_off(self, request: PreVoteRequest, seconds: float) -> PreVoteResponse:
        """Refuse a pre-vote that could be given, because this member stands itself and goes first."""
        return PreVoteResponse(term=self.hard_state.term, asked=request.term, is_granted=False, wait_seconds=seconds)

    def vote(self, name: str, request: VoteRequest, wait: float, offers: Offers) -> VoteResponse:
        """Give or refuse the vote in the current term: first come, first served (3.4), to a log that has all (3.6.1).

        :param wait: for how long no vote is given to `name`.
        """
        is_granted = (
            self.is_entitled
            and wait == 0
            and request.term == self.hard_state.term
            and self.hard_state.vote in (None, name)
            and self._log.is_behind(request.last_index, request.last_term)
        )
        if is_granted:
            self.hard_state = evolve(self.hard_state, vote=name, promise_seconds=self.longest_seconds)
        return VoteResponse(
            term=self.hard_state.term,
            asked=request.term,
            is_granted=is_granted,
            wait_seconds=wait,
            offers=offers if is_granted else None,
        )

    # Promises. A longer one than any before is noted in the hard state.

    def promise(
        self, process: Process, request: PromiseRequest, agreed: Mapping[str, Placement], now: float
    ) -> PromiseResponse | None:
        """Give or refuse promises; None for a request that is out of date."""
        if request.seconds > self.hard_state.promise_seconds:
            self.hard_state = evolve(self.hard_state, promise_seconds=request.seconds)
        return self.promises.ask(process, request, agreed, now)

    def release(
        self, process: Process, claims: Collection[Claim], agreed: Mapping[str, Placement], now: float
    ) -> list[Answer]:
        """Take promises back that `process` needs no more; return answers to others that waited for it."""
        return self.promises.release(process, claims, agreed, now)
