"""A member of a raft group, without input or output: messages and the time go in, what is to be done comes out.

It reads no clock, opens no socket, draws chance from the `rng` that it is given, and never waits. The caller

1. calls `step` for each message, `tick` at `deadline`, and the other methods when what they name happens, always with
   the `now` of one clock that goes on while the machine sleeps (CLOCK_BOOTTIME), read right before the call;
2. writes `Ready.hard_state`, if there is one, to stable storage before anything else, and one Ready after the other;
3. sends `Ready.messages` only then, in any order, each at most once; any of them may be lost;
4. looks at `state` after each Ready: it holds while `lease_until` lies ahead and `yielding_to` is None;
5. calls `release` only when nothing of what it held is up any more.
"""

from __future__ import annotations

import math
from typing import assert_never

from kubevip_election_raft._ballot import Ballot
from kubevip_election_raft._leader import Leader
from kubevip_election_raft._member import Member
from kubevip_election_raft._messages import (
    NOT_STANDING,
    Grant,
    Heartbeat,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    Process,
    Release,
    TransferRequest,
    TransferResponse,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._promise import Lease
from kubevip_election_raft._ready import Ready, Rise, Role


class Node(Member):
    """A member to which things happen. Not thread-safe."""

    # What happens

    def tick(self, now: float) -> Ready:
        """Do what is due."""
        self._notice(now)
        if self._leader is not None:
            if now >= self._leader.beat_at:
                self._beat(self._leader, now)
        elif self._role is Role.FOLLOWER:
            if now >= self._standing.at:
                self._stand(now)
        elif now >= self._give_up_at:
            self._fail(now)
        else:
            self._ask(now)
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
        """Take the hint that a connection with `peer` ended. It may have died, or not: no promise gets shorter."""
        self._notice(now)
        if peer == self._leader_name and self._role is Role.FOLLOWER:
            self._standing.hint(now, self._free_at)
            if now >= self._standing.at:
                self._stand(now)
        return self._ready()

    def set_fitness(self, fitness: int, now: float) -> Ready:
        """Say how fit this member is to hold: 0 (unfit) to 100, or NOT_STANDING: it votes only."""
        self._notice(now)
        self._standing.fitness = fitness
        if self._leader is not None:
            self._yield_if_unfit(self._leader, now)
        elif fitness == NOT_STANDING and self._role is not Role.FOLLOWER:
            self._fail(now)
        return self._ready()

    def transfer(self, to: str, now: float) -> str:
        """Begin to hand leadership over (Raft thesis 3.10); return why not, or "" when `state.yielding_to` is `to`.

        To this leader itself it is complete at once.
        """
        if self._leader is None:
            return f"{self.process.name} does not lead" + (f"; {self._leader_name} does" if self._leader_name else "")
        if to == self.process.name:
            return ""
        if to not in self.peers:
            return f"{to} is not a member (members: {', '.join(self.members)})"
        refusal = self._leader.refusal(to, now)
        if not refusal:
            self._leader.yield_to(to, "moved")
        return refusal

    def request(self, to: str, request: TransferRequest) -> Ready:
        """Pass a request to `to`, which is believed to lead."""
        self._send(to, request)
        return self._ready()

    def release(self, now: float) -> Ready:
        """Give leadership and all promises back, naming the heir. The caller has nothing up any more."""
        self._notice(now)
        leader = self._leader
        if leader is None:
            return self._ready()
        heirs = leader.heirs(now)
        heir = leader.yielding_to if leader.yielding_to in heirs else next(iter(heirs), None)
        why = leader.yields_because or f"{self.process.name} stopped"
        release = Release(grant=leader.lease.grant, heir=heir, why=why)
        for name in sorted(self.peers, key=lambda name: name == heir):  # voters are free before the heir asks them
            self._send(name, release)
        self._voter.promises.release(self.process, leader.lease.grant)
        self._lease, self._bound_until, self._released_term = None, -math.inf, self.term
        self._last_word = (why, now)
        self._follow(None, now)
        self._standing.wait(now + self.timing.promise_seconds, len(self.members))
        return self._ready()

    def suspended(self, now: float) -> Ready:
        """End leadership because the machine slept: what was up may have answered without being watched."""
        self._notice(now)
        if self._leader is not None:
            self._follow(None, now)
            self._standing.wait(now, 0)
        return self._ready()

    # Messages

    def _on_pre_vote(self, sender: Process, request: PreVoteRequest, now: float) -> None:
        response = self._voter.pre_vote(sender, request, now)
        if response.is_granted and self._role is Role.PRE_CANDIDATE:
            if self._standing.goes_after(request, self.members.index(sender.name)):
                self._follow(None, now)
                self._standing.wait(now, self._standing.rank + 1)
            else:
                response = self._voter.put_off(request, self.timing.rank_seconds)
        self._send(sender.name, response)

    def _on_vote(self, sender: Process, request: VoteRequest, now: float) -> None:
        if request.term > self.term and self._voter.wait_seconds(sender, now) == 0:
            self._adopt(request.term, None, now)
        response = self._voter.vote(sender, request, now)
        if response.is_granted:  # 3.4: only this and a leader's word postpone one's own standing
            self._follow(None, now)
            self._standing.wait(now + request.promise.seconds)
        self._send(sender.name, response)

    def _on_answer(self, sender: Process, response: PreVoteResponse | VoteResponse, now: float) -> None:
        was_asking = self._role is Role.PRE_CANDIDATE
        if response.term > self.term:
            self._adopt(response.term, None, now)
            if was_asking:
                self._stand(now)  # the same question with the newer term
        elif isinstance(response, PreVoteResponse):
            if was_asking and response.asked == self.term + 1:
                self._count(sender.name, response, now)
        elif response.asked == self.term and self._lease is not None:
            self._learn_promise(sender.name, response.promise, now)
            if self._role is Role.CANDIDATE:
                self._count(sender.name, response, now)

    def _on_heartbeat(self, sender: Process, message: Heartbeat, now: float) -> None:
        if message.term < self.term or message.term == self._released_term:
            # An answer with the newer term frees a member that is stuck with it (thesis 9.6 and etcd's CheckQuorum).
            self._send(sender.name, HeartbeatResponse(term=self.term, fitness=self._standing.fitness))
            return
        if message.term > self.term:
            self._adopt(message.term, sender.name, now)
        elif self._leader is not None:
            return  # 3.4: one leader a term; whoever says this is not one of us
        elif self._role is not Role.FOLLOWER or self._leader_name != sender.name:
            self._follow(sender.name, now)
        promise = self._voter.promise(sender, message.promise, now)
        self._voter.hear(sender.name, message.promise.seconds, now)
        self._last_word = (f"{sender.name} is silent", now)
        self._standing.follow(message.heirs, now + message.promise.seconds)
        self._send(sender.name, HeartbeatResponse(term=self.term, fitness=self._standing.fitness, promise=promise))

    def _on_heartbeat_response(self, sender: Process, response: HeartbeatResponse, now: float) -> None:
        if response.term > self.term:
            self._adopt(response.term, None, now)
        elif self._leader is not None and response.term == self.term:
            peer = self.peers[sender.name]
            peer.fitness = response.fitness
            peer.is_silent = response.promise is not None and not response.promise.is_given
            self._learn_promise(sender.name, response.promise, now)

    def _on_release(self, sender: Process, message: Release, now: float) -> None:
        self._voter.promises.release(sender, message.grant)
        if self._leader_name != sender.name or message.grant.term != self.term:
            return
        self._released_term, self._last_word = self.term, (message.why, now)
        self._voter.forget_leader()
        self._follow(None, now)
        if message.heir == self.process.name and self._standing.is_candidate:
            self._stood_at = now
            self._campaign(now)  # its leader said so; no need to ask beforehand
        else:
            self._standing.succeed(message.heir, now)

    # Standing

    def _stand(self, now: float) -> None:
        """Begin a round of pre-votes."""
        if not self._standing.is_candidate or (self.peers and self._standing.defers(now)):
            return
        self._role, self._stood_at = Role.PRE_CANDIDATE, now
        if self._free_at <= now:
            self._leader_name = None
        self._ballot = Ballot(self.peers, now)
        self._give_up_at = max(now, self._free_at) + self.timing.promise_seconds
        self._ask(now)

    def _campaign(self, now: float) -> None:
        """Enter a new term as candidate, with one's own vote and promise."""
        if self._free_at > now:
            self._standing.at = self._free_at
            return
        self._voter.forget_leader()
        self._voter.vote_for_self(self.process, self.timing.promise_seconds)
        self._role, self._leader_name = Role.CANDIDATE, None
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
        due = self._ballot.due(now, self.timing.ask_seconds, self.timing.heartbeat_seconds)
        if self._lease is None:
            question = PreVoteRequest(term=self.term + 1, fitness=self._standing.fitness, rank=self._standing.rank)
            self._send_all(due, question)
            if self._has_won and self._free_at <= now:
                self._campaign(now)
        else:
            if due:
                self._send_all(due, VoteRequest(term=self.term, promise=self._new_round(self._lease, now)))
            if self._has_won:
                self._lead(self._lease, now)

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
        """End a round that was not won; the next one begins after a random time."""
        self._follow(None, now)
        self._standing.retry(now)

    # Leading

    def _lead(self, lease: Lease, now: float) -> None:
        why, since = self._last_word or ("first", None)
        rise = Rise(why=why, silent_since=since, stood_at=self._stood_at)
        self._role, self._leader_name = Role.LEADER, self.process.name
        self._leader = Leader(lease, self.peers, self.timing, rise, now)
        self.peers.assume_fit(self._ballot.granted)
        self._beat(self._leader, now)

    def _beat(self, leader: Leader, now: float) -> None:
        """Send a heartbeat, which is also the request for the next promise."""
        request, heirs = self._new_round(leader.lease, now), leader.heirs(now)
        self._send_all(tuple(self.peers), Heartbeat(term=self.term, promise=request, heirs=heirs))
        leader.plan_beat(now)
        self._yield_if_unfit(leader, now)

    def _yield_if_unfit(self, leader: Leader, now: float) -> None:
        heir = next(iter(leader.heirs(now)), None)
        if heir is None or leader.yielding_to is not None:
            return
        if self._standing.hands_over(self.peers[heir].fitness, now):
            leader.yield_to(heir, f"{self.process.name} is unfit")

    def _notice(self, now: float) -> None:
        """Before anything else: a leader whose lease is over is none, however long the process did not run."""
        if self._leader is None or now < self._leader.ends_at:
            return
        if self._leader.lease.is_held:
            self._last_word = (f"{self.process.name} lost its majority", now)
            self._follow(None, now)
            self._standing.at = now  # its voters are still bound to it: nobody could be elected sooner
        else:
            self._fail(now)
