"""What a member is, and how it changes its role; what happens to it is in `_node`.

FOLLOWER -> PRE_CANDIDATE (asks whether it would be elected; Raft thesis 9.6) -> CANDIDATE -> LEADER. A leader whose
lease is over is one no more (CheckQuorum, 6.2): there is no leader without the promises of a majority.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from kubevip_election_raft._ballot import Ballot
from kubevip_election_raft._leader import Leader
from kubevip_election_raft._messages import HardState, Message, Process, PromiseRequest, PromiseResponse, Release
from kubevip_election_raft._peers import Peers
from kubevip_election_raft._promise import Lease
from kubevip_election_raft._ready import Outgoing, Ready, Role, SoftState
from kubevip_election_raft._standing import Standing
from kubevip_election_raft._timing import Timing
from kubevip_election_raft._voter import Voter


class Member:
    """One member's state. Not thread-safe."""

    def __init__(
        self,
        *,
        process: Process,
        members: Sequence[str],
        timing: Timing,
        hard_state: HardState,
        rng: Random,
        now: float,
        stands_first: bool = False,
    ) -> None:
        """Start as a follower that keeps silent for one longest promise.

        :param members: names of all voters in the order that all of them share; `process.name` is one of them.
        :param hard_state: what the last run of this member left on its disk.
        :param stands_first: stand before the others when the group forms; nothing more.
        """
        self.process, self.members, self.timing = process, tuple(members), timing
        self.peers = Peers(name for name in self.members if name != process.name)
        self._quorum = len(self.members) // 2 + 1
        self._persisted = hard_state
        self._outgoing: list[Outgoing] = []
        self._round = 0
        self._voter = Voter(hard_state=hard_state, promise_seconds=timing.promise_seconds, now=now)
        self._standing = Standing(process.name, self.members.index(process.name), timing, rng)
        self._standing.form(self._voter.silent_until, stands_first=stands_first)

        self._role = Role.FOLLOWER
        self._leader_name: str | None = None
        self._last_word: tuple[str, float] | None = None  # why there is no leader any more, and since when
        self._released_term = -1  # the leader of this term said that it holds and leads no more
        self._bound_until = -math.inf  # promises to an earlier lease of this process may run until then
        self._ballot = Ballot((), now)
        self._stood_at = self._give_up_at = now
        self._lease: Lease | None = None  # of candidates and leaders
        self._leader: Leader | None = None  # of leaders

    @property
    def state(self) -> SoftState:
        """What this member is now."""
        leader = self._leader
        if leader is None:
            return SoftState(role=self._role, term=self.term, leader=self._leader_name, lease_until=-math.inf)
        return SoftState(
            role=self._role,
            term=self.term,
            leader=self._leader_name,
            lease_until=leader.lease.until,
            yielding_to=leader.yielding_to,
            rise=leader.rise,
        )

    @property
    def term(self) -> int:
        """The current term."""
        return self._voter.hard_state.term

    @property
    def deadline(self) -> float:
        """When `tick` wants to be called, if nothing else happens before."""
        if self._leader is not None:
            return min(self._leader.beat_at, self._leader.ends_at)
        if self._role is Role.FOLLOWER:
            return self._standing.at if self._standing.is_candidate else math.inf
        campaign_at = self._free_at if self._role is Role.PRE_CANDIDATE and self._has_won else math.inf
        return min(self._ballot.ask_at, self._give_up_at, campaign_at)

    # Changes of role

    def _adopt(self, term: int, leader: str | None, now: float) -> None:
        """Enter a newer term as follower."""
        self._follow(leader, now)
        self._voter.adopt(term)

    def _follow(self, leader: str | None, now: float) -> None:
        """Become a follower. What a lease promised is left to run out; a grant that never held is given back."""
        lease = self._lease
        if lease is not None and lease.is_held:
            self._bound_until = max(self._bound_until, lease.voters_bound_until)
        elif lease is not None and now >= self._bound_until:
            self._voter.promises.release(self.process, lease.grant)
            self._send_all(tuple(self.peers), Release(grant=lease.grant))
        self._role, self._leader_name, self._lease, self._leader = Role.FOLLOWER, leader, None, None
        self._standing.wait(now + self.timing.promise_seconds)

    # Promises to this member

    def _new_round(self, lease: Lease, now: float) -> PromiseRequest:
        """Begin a round of promises with one's own; nobody else is asked before `now`."""
        self._round += 1
        request = lease.ask(self._round, now)
        lease.answer(self.process.name, self._voter.promise(self.process, request, now))
        return request

    def _learn_promise(self, voter: str, promise: PromiseResponse | None, now: float) -> None:
        if self._lease is None or promise is None:
            return
        asked_at = self._lease.answer(voter, promise)
        if asked_at is not None:
            self.peers[voter].round_trip_seconds = now - asked_at
        if self._leader is not None and not promise.is_given:
            self._leader.refused(promise.wait_seconds, now)

    # Small things

    @property
    def _free_at(self) -> float:
        """When this member's own voter is free for it; a time in the past if it is."""
        return self._voter.free_at(self.process)

    @property
    def _has_won(self) -> bool:
        return len(self._ballot.granted) + 1 >= self._quorum

    def _send(self, to: str, message: Message) -> None:
        self._outgoing.append(Outgoing(to=to, message=message))

    def _send_all(self, names: Sequence[str], message: Message) -> None:
        self._outgoing.extend(Outgoing(to=name, message=message) for name in names)

    def _ready(self) -> Ready:
        hard_state = self._voter.hard_state
        changed = hard_state if hard_state != self._persisted else None
        self._persisted = hard_state
        messages, self._outgoing = tuple(self._outgoing), []
        return Ready(hard_state=changed, messages=messages)
