"""How a member is elected, and elects: standing, asking, voting, and giving leadership away (Raft thesis 3.4, 9.6)."""

from __future__ import annotations

import math

from kubevip_election_raft._consensus.ballot import Ballot
from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._consensus.member import Member
from kubevip_election_raft._consensus.messages import (
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._consensus.ready import Ready, Role


class Elector(Member):
    """A member that votes and stands."""

    def _lead(self, now: float) -> None:
        raise NotImplementedError

    # Messages

    def _on_pre_vote(self, sender: Process, request: PreVoteRequest, now: float) -> None:
        self._found(now)
        response = self._voter.pre_vote(request, self._wait_of(sender, now))
        if response.is_granted and self._role is Role.PRE_CANDIDATE:
            # Who has a newer log would refuse this member for ever (3.6.1), so there is nothing to be first in.
            is_behind = (request.last_term, request.last_index) > (self._log.last_term, self._log.last_index)
            if is_behind or self._standing.goes_after(request, self.members.index(sender.name)):
                self._follow(None, now)
                self._standing.wait(now, self._standing.rank + 1)
            else:
                response = self._voter.put_off(request, self.timing.rank_seconds)
        self._send(sender.name, response)

    def _on_vote(self, sender: Process, request: VoteRequest, now: float) -> None:
        self._found(now)
        wait = self._wait_of(sender, now)
        if request.is_succession and self._voter.is_entitled:
            # Nobody sticks to a leader that is gone; only the silence after a start counts.
            wait = max(self._voter.silent_until - now, 0.0)
        if request.term > self.term and wait == 0:
            self._adopt(request.term, None, now)
        response = self._voter.vote(sender.name, request, wait, self.offers)
        if response.is_granted:  # 3.4: only this and a leader's word postpone one's own standing
            self._follow(None, now)
            self._standing.wait(now + self.timing.promise_seconds)
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
        elif response.asked == self.term:
            if response.offers is not None:
                self.peers[sender.name].learn(response.offers)
            if self._role is Role.CANDIDATE:
                self._count(sender.name, response, now)

    def _on_timeout_now(self, sender: Process, message: TimeoutNow, now: float) -> None:
        if message.term != self.term or self._leader_name not in (None, sender.name) or self._role is Role.LEADER:
            return
        self._resigned_term = self.term
        self._succeed(message.heir, now)

    def _succeed(self, heir: str | None, now: float) -> None:
        """The leader is gone by its own word, or its keeper's: `heir` stands at once, without asking beforehand."""
        self._voter.forget_leader()
        self._follow(None, now)
        if heir == self.process.name and self._standing.is_candidate:
            self._stood_at = now
            self._campaign(now, is_succession=True)
        else:
            self._standing.succeed(heir, now)

    # Standing

    def _stand(self, now: float) -> None:
        """Begin a round of pre-votes."""
        if not self._standing.is_voter:
            return
        if self._standing.is_candidate and self.peers and self._standing.defers(now):
            return
        self._role, self._stood_at = Role.PRE_CANDIDATE, now
        if self._free_at <= now:
            self._leader_name = None
        self._ballot = Ballot(self.peers, now)
        self._give_up_at = max(now, self._free_at) + self.timing.promise_seconds
        self._ask(now)

    def _campaign(self, now: float, *, is_succession: bool = False) -> None:
        """Enter a new term as candidate, with one's own vote, which counts when it is on disk."""
        if not self._standing.is_voter:
            return
        if self._free_at > now:
            self._standing.at = self._free_at
            return
        self._voter.forget_leader()
        self._voter.vote_for_self(self.process.name)
        self._role, self._leader_name, self._is_succession = Role.CANDIDATE, None, is_succession
        self._ballot = Ballot((self.process.name, *self.peers), now)
        self._ballot.postpone(self.process.name, math.inf)
        self._give_up_at = now + self.timing.promise_seconds
        self._ask(now)

    def _ask(self, now: float) -> None:
        """Ask whoever is due, and go on when a majority agreed."""
        due = self._ballot.due(now, self.timing.ask_seconds, self.timing.heartbeat_seconds)
        log = self._log
        if self._role is Role.PRE_CANDIDATE:
            if due:
                question = PreVoteRequest(
                    term=self.term + 1,
                    last_index=log.last_index,
                    last_term=log.last_term,
                    fitness=self._standing.fitness,
                    rank=self._standing.rank,
                )
                self._send_early(due, question)
            if len(self._ballot.granted) + 1 >= self._quorum and self._free_at <= now:
                self._campaign(now)
            return
        if due:
            request = VoteRequest(
                term=self.term,
                last_index=log.last_index,
                last_term=log.last_term,
                is_succession=self._is_succession,
            )
            self._send_early(due, request)
        if len(self._ballot.granted) >= self._quorum and self.process.name in self._ballot.granted:
            self._standing.lead()
            self._lead(now)

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

    def _count_own(self, ready: Ready, now: float) -> None:
        """Count one's own vote, if it is what was saved: before that, a restart could give it to somebody else."""
        saved = ready.hard_state
        if saved is None or self._role is not Role.CANDIDATE:
            return
        if saved.term == self.term and saved.vote == self.process.name:
            self._ballot.grant(self.process.name)
            self._ask(now)

    def _fail(self, now: float) -> None:
        """End a round that was not won; the next one begins after a random time."""
        self._follow(None, now)
        self._standing.retry(now)

    # Leaving

    def _resign(self, heirs: tuple[str, ...], why: str, now: float) -> None:
        """Lead no more, and name the heir, who stands at once."""
        heir = next(iter(heirs), None)
        message = TimeoutNow(term=self.term, heir=heir, why=why)
        self._send_early(sorted(self.peers, key=lambda name: name == heir), message)  # the heir last
        self._resigned_term = self.term
        self._follow(None, now)
        self._standing.wait(now + self.timing.promise_seconds, len(self.members))

    def _wait_of(self, candidate: Process, now: float) -> float:
        """Return for how long `candidate` gets no vote: while a leader is heard, which this member may be itself.

        Whoever has no vote to give yet is asked again soon.
        """
        if not self._voter.is_entitled:
            return self.timing.heartbeat_seconds
        wait = self._voter.wait_seconds(candidate.name, now)
        if self._leader is None:
            return wait
        return max(wait, min(self._leader.ends_at - now, self.timing.promise_seconds))

    @property
    def _free_at(self) -> float:
        """When this member's own voter is free to vote for it; a time in the past if it is."""
        return self._voter.free_at(self.process.name)
