"""A member of a raft group, without input or output: messages and the time go in, what is to be done comes out.

It reads no clock, opens no socket, draws chance from the `rng` that it is given, and never waits. The caller

1. calls `step` for each message, `tick` at `deadline`, and the other methods when what they name happens, always with
   the `now` of one clock that never stops while the machine sleeps (CLOCK_BOOTTIME), read right before the call;
2. writes `Ready.hard_state`, if there is one, to stable storage before anything else, and one Ready after the other;
3. sends `Ready.messages` only then, in any order, each at most once; any of them may be lost;
4. looks at `state` after each Ready: it holds while `lease_until` lies ahead and `yielding_to` is None;
5. calls `release` only when nothing of what it held is up any more.

Roles: FOLLOWER -> PRE_CANDIDATE (asks whether it would be elected; Raft thesis 9.6) -> CANDIDATE -> LEADER. A leader
whose lease is over is one no more (CheckQuorum, 6.2): there is no leader without the promises of a majority.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from random import Random
from typing import assert_never

from attrs import frozen

from kubevip_election_raft._ballot import Ballot
from kubevip_election_raft._messages import (
    NOT_STANDING,
    Grant,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    Process,
    PromiseRequest,
    Release,
    TransferRequest,
    TransferResponse,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._peers import Peers
from kubevip_election_raft._promise import Lease
from kubevip_election_raft._succession import claim, rank_of
from kubevip_election_raft._timing import Timing
from kubevip_election_raft._voter import Voter

#: A leader that is unfit hands over at most this often.
UNFIT_HAND_OVER_SECONDS = 10.0


class Role(enum.Enum):
    """What a member is at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@frozen(kw_only=True)
class SoftState:
    """What a member is and knows; nothing of it is kept on disk.

    `lease_until`: nobody else can hold before; minus infinity without a lease. `yielding_to`: the leader is to withdraw
    what it holds and call `release`, so that this member can take over.
    """

    role: Role
    term: int
    leader: str | None
    lease_until: float
    yielding_to: str | None


@frozen(kw_only=True)
class Outgoing:
    """A message and the name of the member that it is for."""

    to: str
    message: Message


@frozen(kw_only=True)
class Ready:
    """What the caller is to do: persist, then send."""

    hard_state: HardState | None
    messages: tuple[Outgoing, ...]


class Node:
    """One member. Not thread-safe; every method that takes `now` returns what is to be done."""

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
        self._position = self.members.index(process.name)
        self._quorum = len(self.members) // 2 + 1
        self._rng = rng
        self._persisted = hard_state
        self._outgoing: list[Outgoing] = []
        self._round = 0

        self._voter = Voter(hard_state=hard_state, promise_seconds=timing.promise_seconds, now=now)
        self.peers = Peers(name for name in self.members if name != process.name)
        self._role = Role.FOLLOWER
        self._leader: str | None = None
        self._released_term = -1  # the leader of this term said that it holds and leads no more
        self._fitness = NOT_STANDING
        self._has_deferred = False  # has let the fit go first, being unfit

        self._heirs: tuple[str, ...] = self.members
        self._rank = 0 if stands_first else self._position + 1
        self._stand_at = self._after(self._voter.silent_until, self._rank)
        self._ballot = Ballot((), now)
        self._give_up_at = math.inf
        self._lease: Lease | None = None
        self._bound_until = -math.inf  # promises to an earlier lease of this process may run until then
        self._beat_at = math.inf
        self._yielding_to: str | None = None
        self._unfit_hand_over_at = -math.inf

    # What the caller sees

    @property
    def state(self) -> SoftState:
        """What this member is now."""
        return SoftState(
            role=self._role,
            term=self.term,
            leader=self._leader,
            lease_until=self._lease.until if self._lease is not None and self._role is Role.LEADER else -math.inf,
            yielding_to=self._yielding_to,
        )

    @property
    def term(self) -> int:
        """The current term."""
        return self._voter.hard_state.term

    @property
    def fitness(self) -> int:
        """This member's own fitness: 0 (unfit) to 100, or NOT_STANDING."""
        return self._fitness

    @property
    def deadline(self) -> float:
        """When `tick` wants to be called, if nothing else happens before."""
        match self._role:
            case Role.FOLLOWER:
                return self._stand_at if self._fitness != NOT_STANDING else math.inf
            case Role.PRE_CANDIDATE:
                ready_at = self._free_at if self._has_won else math.inf
                return min(self._ballot.ask_at, self._give_up_at, ready_at)
            case Role.CANDIDATE:
                return min(self._ballot.ask_at, self._give_up_at)
            case Role.LEADER:
                return min(self._beat_at, self._lease_ends_at)
            case _:
                assert_never(self._role)

    # What happens

    def tick(self, now: float) -> Ready:
        """Do what is due."""
        self._notice(now)
        match self._role:
            case Role.FOLLOWER if now >= self._stand_at:
                self._stand(now)
            case Role.PRE_CANDIDATE | Role.CANDIDATE if now >= self._give_up_at:
                self._fail(now)
            case Role.PRE_CANDIDATE | Role.CANDIDATE:
                self._ask(now)
            case Role.LEADER if now >= self._beat_at:
                self._beat(now)
            case _:
                pass
        return self._ready()

    def step(self, sender: Process, message: Message, now: float) -> Ready:
        """Take a message of `sender` that was received now; of others than members nothing is taken."""
        if sender.name not in self.peers:
            return self._ready()
        self._notice(now)
        self.peers[sender.name].heard_at = now
        match message:
            case PreVoteRequest():
                self._on_pre_vote(sender, message, now)
            case VoteRequest():
                self._on_vote(sender, message, now)
            case PreVoteResponse() | VoteResponse():
                self._on_answer(sender, message, now)
            case Heartbeat():
                self._on_heartbeat(sender, message, now)
            case HeartbeatResponse():
                self._on_heartbeat_response(sender, message, now)
            case Release():
                self._on_release(sender, message, now)
            case TransferRequest():
                refusal = self.transfer(message.to, now)
                self._send(sender.name, TransferResponse(request=message.request, refusal=refusal))
            case TransferResponse():
                pass  # for the caller, who asked
            case _:
                assert_never(message)
        return self._ready()

    def disconnected(self, peer: str, now: float) -> Ready:
        """Take the hint that the connection from `peer` ended. It may have died, or not: no promise gets shorter.

        The first heir asks at once, to learn when the voters will be free; the others stand as soon as they are free
        themselves, in their order.
        """
        self._notice(now)
        if peer == self._leader and self._role is Role.FOLLOWER:
            at_once = now if self._rank == 0 else max(now, self._free_at) + self._rank * self.timing.rank_seconds
            self._stand_at = min(self._stand_at, at_once)
            if now >= self._stand_at:
                self._stand(now)
        return self._ready()

    def set_fitness(self, fitness: int, now: float) -> Ready:
        """Say how fit this member is to hold: 0 (unfit) to 100, or NOT_STANDING: it votes only."""
        self._notice(now)
        self._fitness = fitness
        if fitness == NOT_STANDING and self._role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
            self._fail(now)
        return self._ready()

    def transfer(self, to: str, now: float) -> str:
        """Begin to hand leadership over to `to`; return why not, or "" when `state.yielding_to` names it.

        Raft thesis 3.10. `to` being this leader already is a transfer that is complete.
        """
        if self._role is not Role.LEADER:
            return f"{self.process.name} does not lead" + (f"; {self._leader} does" if self._leader else "")
        if to == self.process.name:
            return ""
        if to not in self.peers:
            return f"{to} is not a member (members: {', '.join(self.members)})"
        if self._yielding_to not in (None, to):
            return f"leadership is being handed over to {self._yielding_to} at the moment"
        if self.peers[to].heard_at < now - self.timing.promise_seconds:
            return f"{to} does not answer"
        if self.peers[to].fitness == NOT_STANDING:
            return f"{to} stands for no group"
        self._yielding_to = to
        return ""

    def request(self, to: str, request: TransferRequest) -> Ready:
        """Pass a request to `to`, which is believed to lead."""
        self._send(to, request)
        return self._ready()

    def release(self, now: float) -> Ready:
        """Give leadership and all promises back, naming the heir. The caller has nothing up any more."""
        self._notice(now)
        lease, heirs = self._lease, self._order_heirs(now)
        if self._role is not Role.LEADER or lease is None:
            return self._ready()
        heir = self._yielding_to if self._yielding_to in heirs else next(iter(heirs), None)
        for name in sorted(self.peers, key=lambda name: name == heir):  # voters are free before the heir asks them
            self._send(name, Release(grant=lease.grant, heir=heir))
        self._voter.promises.release(self.process, lease.grant)
        self._lease, self._bound_until, self._released_term = None, -math.inf, self.term
        self._follow(None, now)
        self._stand_at = self._after(now + self.timing.promise_seconds, len(self.members))
        return self._ready()

    def suspended(self, now: float) -> Ready:
        """End leadership because the machine slept: what was up may have answered without being watched."""
        self._notice(now)
        if self._role is Role.LEADER:
            self._follow(None, now)
            self._stand_at = self._after(now, 0)
        return self._ready()

    # Messages

    def _on_pre_vote(self, sender: Process, request: PreVoteRequest, now: float) -> None:
        response = self._voter.pre_vote(sender, request, now)
        if response.is_granted and self._role is Role.PRE_CANDIDATE:
            theirs = claim(fitness=request.fitness, rank=request.rank, position=self.members.index(sender.name))
            if theirs < claim(fitness=self._fitness, rank=self._rank, position=self._position):
                self._follow(None, now)
                self._stand_at = self._after(now, self._rank + 1)
            else:  # the better claim goes first, so that two that stand together do not split the votes
                response = PreVoteResponse(
                    term=self.term, asked=request.term, is_granted=False, wait_seconds=self.timing.rank_seconds
                )
        self._send(sender.name, response)

    def _on_vote(self, sender: Process, request: VoteRequest, now: float) -> None:
        if request.term > self.term and self._voter.wait_seconds(sender, now) == 0:
            self._adopt(request.term, None, now)
        response = self._voter.vote(sender, request, now)
        if response.is_granted:  # thesis 3.4: only this and a leader's word postpone one's own standing
            self._follow(None, now)
            self._stand_at = self._after(now + request.promise.seconds, self._rank)
            self._has_deferred = False
        self._send(sender.name, response)

    def _on_answer(self, sender: Process, response: PreVoteResponse | VoteResponse, now: float) -> None:
        was_asking = self._role is Role.PRE_CANDIDATE
        if response.term > self.term:
            self._adopt(response.term, None, now)
            if was_asking:
                self._stand(now)  # the same question with the newer term
            return
        if isinstance(response, PreVoteResponse):
            if self._role is Role.PRE_CANDIDATE and response.asked == self.term + 1:
                self._count(sender.name, response, now)
        elif response.asked == self.term and self._role in (Role.CANDIDATE, Role.LEADER):
            self._learn_promise(sender.name, response, now)
            if self._role is Role.CANDIDATE:
                self._count(sender.name, response, now)

    def _on_heartbeat(self, sender: Process, message: Heartbeat, now: float) -> None:
        if message.term < self.term or message.term == self._released_term:
            # An answer with the newer term frees a member that is stuck with it (etcd-io/raft, CheckQuorum).
            self._send(sender.name, HeartbeatResponse(term=self.term, fitness=self._fitness))
            return
        if message.term > self.term:
            self._adopt(message.term, sender.name, now)
        elif self._role is Role.LEADER:
            return  # thesis 3.4: one leader a term; whoever says this is not one of us
        elif self._role is not Role.FOLLOWER or self._leader != sender.name:
            self._follow(sender.name, now)
        promise = self._voter.promise(sender, message.promise, now)
        self._voter.hear(sender.name, message.promise.seconds, now)
        self._heirs, self._rank = message.heirs, rank_of(self.process.name, message.heirs)
        self._stand_at = self._after(now + message.promise.seconds, self._rank)
        self._has_deferred = False
        self._send(sender.name, HeartbeatResponse(term=self.term, fitness=self._fitness, promise=promise))

    def _on_heartbeat_response(self, sender: Process, response: HeartbeatResponse, now: float) -> None:
        if response.term > self.term:
            self._adopt(response.term, None, now)
        elif self._role is Role.LEADER and response.term == self.term:
            self.peers[sender.name].fitness = response.fitness
            self._learn_promise(sender.name, response, now)

    def _on_release(self, sender: Process, message: Release, now: float) -> None:
        self._voter.promises.release(sender, message.grant)
        if self._leader != sender.name or message.grant.term != self.term:
            return
        self._released_term = self.term
        self._voter.forget_leader()
        self._follow(None, now)
        heirs = self._heirs if message.heir is None else (message.heir, *self._heirs)
        if message.heir == self.process.name and self._fitness != NOT_STANDING:
            self._campaign(now)  # its leader said so; no need to ask beforehand
        else:
            self._stand_at = self._after(now, rank_of(self.process.name, heirs))

    # Standing

    def _stand(self, now: float) -> None:
        """Begin a round of pre-votes."""
        if self._fitness == NOT_STANDING:
            return
        if self._fitness == 0 and not self._has_deferred and self.peers:
            self._has_deferred = True
            self._stand_at = now + self.timing.promise_seconds
            return
        self._role = Role.PRE_CANDIDATE
        if self._free_at <= now:
            self._leader = None
        self._ballot = Ballot(self.peers, now)
        self._give_up_at = max(now, self._free_at) + self.timing.promise_seconds
        self._ask(now)

    def _campaign(self, now: float) -> None:
        """Enter a new term as candidate, with one's own vote and promise."""
        if self._free_at > now:
            self._stand_at = self._free_at
            return
        self._voter.forget_leader()
        self._voter.vote_for_self(self.process, self.timing.promise_seconds)
        self._role, self._leader = Role.CANDIDATE, None
        self._lease = Lease(
            process=self.process,
            grant=Grant(term=self.term),
            quorum=self._quorum,
            promise_seconds=self.timing.promise_seconds,
        )
        self._ballot = Ballot(self.peers, now)
        self._give_up_at = now + self.timing.promise_seconds
        self._ask(now)

    def _ask(self, now: float) -> None:
        """Ask whoever is due, and go on when a majority agreed."""
        due = self._ballot.due(now, self.timing.ask_seconds)
        if self._role is Role.CANDIDATE:
            vote = VoteRequest(term=self.term, promise=self._new_round(now)) if due else None
            for name in due:
                assert vote is not None  # there is somebody to ask
                self._send(name, vote)
            if self._has_won:
                self._lead(now)
        else:
            for name in due:
                self._send(name, PreVoteRequest(term=self.term + 1, fitness=self._fitness, rank=self._rank))
            if self._has_won and self._free_at <= now:
                self._campaign(now)

    def _count(self, voter: str, response: PreVoteResponse | VoteResponse, now: float) -> None:
        if response.is_granted:
            self._ballot.grant(voter)
        elif response.wait_seconds > 0:
            self._ballot.postpone(voter, now + response.wait_seconds)
        else:
            self._ballot.refuse(voter)
        if len(self._ballot.refused) > len(self.members) - self._quorum:
            self._fail(now)
        else:
            self._ask(now)

    def _fail(self, now: float) -> None:
        """End a round that was not won; the next one begins after a random time (thesis 3.4)."""
        self._follow(None, now)
        self._stand_at = now + self._rng.uniform(self.timing.rank_seconds, self.timing.promise_seconds)

    # Leading

    def _lead(self, now: float) -> None:
        self._role, self._leader = Role.LEADER, self.process.name
        self._give_up_at = now + 2 * self.timing.promise_seconds
        self.peers.assume_fit(self._ballot.granted)
        self._beat(now)

    def _beat(self, now: float) -> None:
        """Send a heartbeat, which is also the request for the next promise."""
        request, heirs = self._new_round(now), self._order_heirs(now)
        for name in self.peers:
            self._send(name, Heartbeat(term=self.term, promise=request, heirs=heirs))
        self._beat_at = self._next_beat(now)
        has_fit_heir = bool(heirs) and self.peers[heirs[0]].fitness > 0
        if self._fitness <= 0 and has_fit_heir and self._yielding_to is None and now >= self._unfit_hand_over_at:
            self._unfit_hand_over_at = now + UNFIT_HAND_OVER_SECONDS
            self._yielding_to = heirs[0]

    def _next_beat(self, now: float) -> float:
        if self._lease is None or self._lease.until == -math.inf:
            return now + self.timing.ask_seconds
        due = self._beat_at if self._beat_at <= now else now
        return max(due, now - self.timing.heartbeat_seconds / 2) + self.timing.heartbeat_seconds

    def _new_round(self, now: float) -> PromiseRequest:
        """Begin a round of promises with one's own; nobody else's was asked for before `now`."""
        assert self._lease is not None  # candidates and leaders have one
        self._round += 1
        request = self._lease.ask(self._round, now)
        self._lease.answer(self.process.name, self._voter.promise(self.process, request, now))
        return request

    def _learn_promise(self, voter: str, response: VoteResponse | HeartbeatResponse, now: float) -> None:
        if self._lease is None or response.promise is None:
            return
        asked_at = self._lease.answer(voter, response.promise)
        if asked_at is not None:
            self.peers[voter].round_trip_seconds = now - asked_at
        if not response.promise.is_given and self._lease.until == -math.inf:
            self._beat_at = min(self._beat_at, now + response.promise.wait_seconds)  # not a moment later

    def _notice(self, now: float) -> None:
        """Before anything else: a leader whose lease is over is none, however long the process did not run."""
        if self._role is Role.LEADER and now >= self._lease_ends_at:
            had_lease = self._lease is not None and self._lease.until > -math.inf
            if had_lease:
                self._follow(None, now)
                self._stand_at = now  # its voters are still bound to it: nobody could be elected sooner
            else:
                self._fail(now)

    # Changes of role

    def _adopt(self, term: int, leader: str | None, now: float) -> None:
        """Enter a newer term as follower."""
        self._follow(leader, now)
        self._voter.adopt(term)

    def _follow(self, leader: str | None, now: float) -> None:
        """Become a follower. What an own lease promised is left to run out; a grant that never held is given back."""
        if self._lease is not None:
            grant, until = self._lease.grant, self._lease.until
            if until > -math.inf:
                self._bound_until = max(self._bound_until, self._lease.voters_bound_until)
            elif now >= self._bound_until:
                self._voter.promises.release(self.process, grant)
                for name in self.peers:
                    self._send(name, Release(grant=grant))
        self._role, self._leader, self._lease, self._yielding_to = Role.FOLLOWER, leader, None, None
        self._beat_at = math.inf
        self._stand_at = self._after(now + self.timing.promise_seconds, self._rank)

    # Small things

    @property
    def _free_at(self) -> float:
        """When this member's own voter is free for it; a time in the past if it is."""
        return self._voter.free_at(self.process)

    @property
    def _has_won(self) -> bool:
        return len(self._ballot.granted) + 1 >= self._quorum

    @property
    def _lease_ends_at(self) -> float:
        lease_until = self._lease.until if self._lease is not None else -math.inf
        return lease_until if lease_until > -math.inf else self._give_up_at

    def _after(self, moment: float, rank: int) -> float:
        return moment + rank * self.timing.rank_seconds + self._rng.uniform(0.0, self.timing.jitter_seconds)

    def _order_heirs(self, now: float) -> tuple[str, ...]:
        return self.peers.order_heirs(heard_since=now - self.timing.promise_seconds)

    def _send(self, to: str, message: Message) -> None:
        self._outgoing.append(Outgoing(to=to, message=message))

    def _ready(self) -> Ready:
        hard_state = self._voter.hard_state
        changed = hard_state if hard_state != self._persisted else None
        self._persisted = hard_state
        messages, self._outgoing = tuple(self._outgoing), []
        return Ready(hard_state=changed, messages=messages)
