"""What a member owes to the others: its vote, once a term, and its promise, to one process at a time.

A voter refuses votes and pre-votes without looking at terms while it is bound (leader stickiness, Raft thesis 4.2.3):
while a promise to another process runs, while it hears a leader, and for one longest promise after its start.
"""

from __future__ import annotations

import math

from attrs import evolve

from kubevip_election_raft._messages import (
    HardState,
    PreVoteRequest,
    PreVoteResponse,
    Process,
    PromiseRequest,
    PromiseResponse,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._promise import Promises


class Voter:
    """The voter in a member: its hard state, its promises, and whom it hears as leader."""

    def __init__(self, *, hard_state: HardState, promise_seconds: float, now: float) -> None:
        self.hard_state = hard_state
        self.silent_until = now + max(hard_state.promise_seconds, promise_seconds)
        self.promises = Promises(silent_until=self.silent_until)
        self._leader: str | None = None
        self._leader_heard_until = -math.inf

    def free_at(self, process: Process) -> float:
        """Return until when this voter is bound to somebody else than `process`; a time in the past if it is free."""
        free_at = self.promises.free_at(process)
        if self._leader is None or self._leader == process.name:
            return free_at
        return max(free_at, self._leader_heard_until)

    def wait_seconds(self, process: Process, now: float) -> float:
        """Return for how long this voter is bound to somebody else than `process`; 0 = it is free for it."""
        return max(self.free_at(process) - now, 0.0)

    def hear(self, leader: str, seconds: float, now: float) -> None:
        """Note that `leader` was heard; others are refused for `seconds`."""
        self._leader, self._leader_heard_until = leader, now + seconds

    def forget_leader(self) -> None:
        """Note that there is no leader to stick to any more."""
        self._leader = None

    def adopt(self, term: int) -> None:
        """Enter a newer term, in which no vote is given yet."""
        self.hard_state = evolve(self.hard_state, term=term, vote=None)

    def vote_for_self(self, process: Process, promise_seconds: float) -> None:
        """Enter the next term with the vote for `process`, which is this member."""
        self.hard_state = HardState(
            term=self.hard_state.term + 1,
            vote=process.name,
            promise_seconds=max(self.hard_state.promise_seconds, promise_seconds),
        )

    def pre_vote(self, process: Process, request: PreVoteRequest, now: float) -> PreVoteResponse:
        """Say whether a vote would be given; nothing changes."""
        wait = self.wait_seconds(process, now)
        return PreVoteResponse(
            term=self.hard_state.term,
            asked=request.term,
            is_granted=wait == 0 and request.term > self.hard_state.term,
            wait_seconds=wait,
        )

    def put_off(self, request: PreVoteRequest, seconds: float) -> PreVoteResponse:
        """Refuse a pre-vote that could be given, because this member stands itself and goes first."""
        return PreVoteResponse(term=self.hard_state.term, asked=request.term, is_granted=False, wait_seconds=seconds)

    def vote(self, process: Process, request: VoteRequest, now: float) -> VoteResponse:
        """Give or refuse the vote in the current term, and with it the promise: first come, first served (3.4)."""
        wait = self.wait_seconds(process, now)
        is_granted = wait == 0 and request.term == self.hard_state.term and self.hard_state.vote in (None, process.name)
        if is_granted:
            self.hard_state = evolve(self.hard_state, vote=process.name)
        return VoteResponse(
            term=self.hard_state.term,
            asked=request.term,
            is_granted=is_granted,
            wait_seconds=wait,
            promise=self.promise(process, request.promise, now) if is_granted else None,
        )

    def promise(self, process: Process, request: PromiseRequest, now: float) -> PromiseResponse:
        """Give or refuse the promise; a longer one than ever before is noted in the hard state."""
        response = self.promises.ask(process, request, now)
        if response.is_given and request.seconds > self.hard_state.promise_seconds:
            self.hard_state = evolve(self.hard_state, promise_seconds=request.seconds)
        return response
