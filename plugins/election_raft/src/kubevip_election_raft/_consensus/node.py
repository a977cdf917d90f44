"""A member of a raft group, without input or output: messages and the time go in, what is to be done comes out.

It reads no clock, opens no socket, draws chance from the `rng` that it is given, and never waits. The caller

1. calls `step` for each message, `tick` at `deadline`, and the other methods when what they name happens, always with
   the `now` of one clock that goes on while the machine sleeps (CLOCK_BOOTTIME), read right before the call;
2. may send `Ready.early` at once; writes what a Ready wants to persist to stable storage, one Ready after the other and
   nothing else in between, then sends `Ready.messages`, then calls `saved` if there was anything to persist. Messages
   go in any order, each at most once; any of them may be lost;
3. looks at `state` after each Ready: it holds each of `holdings` while its `until` lies ahead;
4. withdraws what is in `leaving`, and calls `release` only when nothing of it is up any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import assert_never

from attrs import evolve

from kubevip_election_raft._consensus.entries import Place, Placed, Process
from kubevip_election_raft._consensus.introductions import Met
from kubevip_election_raft._consensus.messages import (
    NOT_STANDING,
    AppendEntries,
    AppendResponse,
    Goodbye,
    InstallSnapshot,
    Introduction,
    MembersRequest,
    MembersResponse,
    Message,
    MoveRequest,
    MoveResponse,
    Offer,
    Offers,
    OffersResponse,
    PreVoteRequest,
    PreVoteResponse,
    PromiseRequest,
    PromiseResponse,
    Release,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._consensus.peers import fitness_of
from kubevip_election_raft._consensus.ready import Ready, Role
from kubevip_election_raft._consensus.replicator import Replicator

#: Nobody can have missed so many terms: at one a millisecond they take a month and a half.
MOST_TERMS_AHEAD = 2**32


class Node(Replicator):
    """A member to which things happen. Not thread-safe."""

    @property
    def deadline(self) -> float:
        """When `tick` wants to be called, if nothing else happens before."""
        moment = min(self._holder.beat_at, self._voter.promises.free_at, self._found_at)
        if self._leader is not None:
            return min(moment, self._leader.beat_at, self._leader.ends_at, self._place_at)
        if self._role is Role.FOLLOWER:
            return min(moment, self._standing.due)
        is_waiting = self._role is Role.PRE_CANDIDATE and len(self._ballot.granted) + 1 >= self._quorum
        return min(moment, self._ballot.ask_at, self._give_up_at, self._free_at if is_waiting else math.inf)

    @property
    def epoch(self) -> int:
        """The epoch that this member is of."""
        return self._voter.hard_state.epoch

    @property
    def held_by_me(self) -> int:
        """How many groups this leader has placed on itself."""
        return self._placer.held[self.process.name] if self._placer is not None else 0

    def has_heir(self, now: float) -> bool:
        """Return whether this member leads and somebody can succeed it."""
        return self._leader is not None and bool(self._heirs(now))

    def promised_to(self, group: str, now: float) -> str | None:
        """Return the member to which this one has promised `group`."""
        process = self._voter.promises.holder(group, now)
        return process.name if process is not None else None

    # What happens

    def tick(self, now: float) -> Ready:
        """Do what is due."""
        self._notice(now)
        self._found(now)
        if self._leader is not None:
            if now >= self._place_at or (self._placer is not None and self._gone(now) != self._placer.gone):
                self._place_and_tell(now)
            if now >= self._leader.beat_at:
                self._note_births(now)
                self._beat(self._leader, now)
                if self._holder.claims:  # both in one go, so that the machine wakes up once
                    self._holder.beat_at = min(self._holder.beat_at, now)
                self._compact()
                self._hand_over(now)
        elif self._role is Role.FOLLOWER:
            if now >= self._standing.due:
                self._stand(now)
        elif now >= self._give_up_at:
            self._fail(now)
        else:
            self._ask(now)
        return self._finish(now)

    def step(self, sender: Process, message: Message, now: float) -> Ready:
        """Take a message of `sender` that was received now; of others than members nothing is taken."""
        self._notice(now)
        peer = self.peers.get(sender.name)
        if peer is None or not self._is_known(sender) or self._voter.promises.is_dead(sender):
            return self._finish(now)
        if isinstance(message, Goodbye):
            self._on_goodbye(sender, now)
            return self._finish(now)
        if peer.process is not None and sender.incarnation < peer.process.incarnation:
            return self._finish(now)  # of a run that is over
        if getattr(message, "term", 0) > self.term + MOST_TERMS_AHEAD:
            return self._finish(now)  # whoever says this is broken; there would be no term left for anybody
        if peer.hear(sender, now) and self._placer is not None and self._placer.held[sender.name] > 0:
            self._place_and_tell(now)  # it was restarted
        match message:
            case AppendEntries() | InstallSnapshot():
                self._on_append(sender, message, now)
            case AppendResponse():
                self._on_append_response(sender, message, now)
            case PromiseRequest():
                self._on_promise_request(sender, message, now)
            case PromiseResponse():
                asked_at = self._holder.answer(sender.name, message, now)
                if asked_at is not None and self._leader is None:
                    peer.round_trip_seconds = now - asked_at
            case Release():
                self._on_release(sender, message, now)
            case PreVoteRequest():
                self._on_pre_vote(sender, message, now)
            case VoteRequest():
                self._on_vote(sender, message, now)
            case PreVoteResponse() | VoteResponse():
                self._on_answer(sender, message, now)
            case TimeoutNow():
                self._on_timeout_now(sender, message, now)
            case Offers():
                self._on_offers(sender, message, now)
            case MoveRequest():
                refusal = self.move(message.group, message.to, now)
                self._send(sender.name, MoveResponse(request=message.request, refusal=refusal))
            case MembersRequest():
                answer = self.change_members(message.member, is_removal=message.is_removal, now=now)
                self._send(sender.name, evolve(answer, request=message.request))
            case OffersResponse() | MoveResponse() | MembersResponse():
                pass  # for the caller, who asked
            case _:
                assert_never(message)
        return self._finish(now)

    @property
    def introduction(self) -> Introduction:
        """How this member introduces itself now, to each that it meets."""
        if self._is_new:
            return Introduction(has_state=False, members=self.introductions.listed)
        return Introduction(members=self.records, members_index=self._agreed.members_index)

    def meet(self, process: Process, introduction: Introduction, now: float, source: str = "") -> Ready:
        """Take how a member introduced itself, or somebody who wants to be one.

        :param source: the address that it came from, unless its name was proven.
        """
        self._notice(now)
        met = Met(process=process, introduction=introduction, source=source, at=now)
        self.introductions.note(met)
        self._take_introduction(met, now)
        return self._finish(now)

    def saved(self, ready: Ready, now: float) -> Ready:
        """Take note that what `ready` wanted to persist is on disk: only now it counts for a majority."""
        self._notice(now)
        if ready.entries:
            self._log.note_saved(ready.entries[-1].index, ready.entries[-1].term)
        elif ready.snapshot is not None:
            self._log.note_saved(ready.snapshot.index, ready.snapshot.term)
        self._count_own(ready, now)
        if self._leader is not None:
            self._advance(self._leader, now)
        return self._finish(now)

    def disconnected(self, peer: str, now: float) -> Ready:
        """Take the hint that a connection with `peer` ended. It may have died, or not: no promise gets shorter."""
        self._notice(now)
        if peer == self._leader_name and self._role is Role.FOLLOWER:
            self._standing.hint(now, self._free_at)
            if now >= self._standing.due:
                self._stand(now)
        return self._finish(now)

    def suspended(self, now: float) -> Ready:
        """End everything that is held because the machine slept: what was up may have answered without being watched.

        Leadership ends as well.
        """
        self._notice(now)
        self._holder.end_all(now)
        if self._leader is not None:
            self._follow(None, now)
            self._standing.wait(now, 0)
        return self._finish(now)

    # What the owner wants

    def offer(
        self,
        offers: Iterable[Offer],
        now: float,
        *,
        is_leaving: bool = False,
        request: int = 0,
        promise_seconds: float = 0.0,
    ) -> Ready:
        """Say what this member would hold, and how fit it is for each.

        :param is_leaving: it is to keep only what nobody else takes.
        :param promise_seconds: how long promises to it are to be at least. What it holds ends when that gets longer.
        :param request: not 0: the leader answers with an OffersResponse that repeats it.
        """
        self._notice(now)
        marked = tuple(self._mark_spent(offer) for offer in offers)
        new = Offers(version=self.offers.version, offers=marked, is_leaving=is_leaving, promise_seconds=promise_seconds)
        self._holder.ask_for_at_least(promise_seconds, now)
        if new != self.offers:
            self.offers = evolve(new, version=self.offers.version + 1)
        was_candidate = self._standing.is_candidate
        self._standing.fitness = fitness_of(self.offers) if self.is_member else NOT_STANDING
        if self._leader is not None:
            self._place_and_tell(now)
        elif was_candidate and not self._standing.is_candidate and self._role is not Role.FOLLOWER:
            self._fail(now)
        if self._leader_name is not None and self._leader is None:
            self._send(self._leader_name, evolve(self.offers, request=request))
        return self._finish(now)

    def move(self, group: str, to: str, now: float) -> str:
        """Place `group` on the member `to`; return why not, or "" when it is decided.

        What there is to send comes with the next Ready.
        """
        if self._leader is None or self._placer is None:
            return f"{self.process.name} does not lead" + (f"; {self._leader_name} does" if self._leader_name else "")
        if to not in self.members:
            return f"{to} is not a member (members: {', '.join(self.members)})"
        if any(record.is_witness for record in self.records if record.name == to):
            return f"{to} is a witness: it votes, and holds nothing"
        stands = self._stands(now)
        if to not in stands:
            return f"{to} does not answer; it {self._last_heard(to, now)}"
        refusal = self._placer.refusal(group, to, stands)
        if not refusal and ((wanted := self._placer.wanted.get(group)) is None or wanted.process != stands[to].process):
            self._propose(Place(placed=(Placed(group=group, process=stands[to].process, why="moved"),)), now)
            self._beat(self._leader, now)
        return refusal

    def request(self, to: str, request: MoveRequest | MembersRequest, now: float) -> Ready:
        """Pass a request to `to`, which is believed to lead."""
        self._send(to, request)
        return self._finish(now)

    def release(self, groups: Iterable[str], now: float) -> Ready:
        """Give back the promises for `groups`: nothing of them is up any more."""
        self._notice(now)
        claims = tuple(claim for group in groups if (claim := self._holder.release(group, now)) is not None)
        if claims:
            self._give_back(claims, now)
            for claim in claims:  # it may have been placed here again meanwhile
                self._obey(claim.group, now, None)
            offered = tuple(evolve(offer, spent=None) for offer in self.offers.offers)
            if any(self._mark_spent(offer).spent is not None for offer in offered):
                return self.offer(
                    offered,
                    now,
                    is_leaving=self.offers.is_leaving,
                    promise_seconds=self.offers.promise_seconds,
                )
        return self._finish(now)

    def release_leaving(self, groups: Iterable[str], now: float) -> Ready:
        """The same for those of `groups` that are in `state.leaving` still; others are held again by now."""
        return self.release([group for group in groups if group in self._holder.leaving], now)

    def resign(self, now: float) -> Ready:
        """Give leadership away, if this member leads; what it holds stays where it is."""
        self._notice(now)
        if self._leader is not None:
            self._resign(self._heirs(now), f"{self.process.name} stopped", now)
        return self._finish(now)

    # Messages

    def _on_promise_request(self, sender: Process, request: PromiseRequest, now: float) -> None:
        response = self._voter.promise(sender, request, self._agreed.placements, now)
        if response is not None:
            self._send(sender.name, response)

    def _on_release(self, sender: Process, message: Release, now: float) -> None:
        for claim in message.claims:
            self._holder.note_let_go(claim.group, now)
        self._answer(self._voter.release(sender, message.claims, self._agreed.placements, now), now)

    def _on_goodbye(self, sender: Process, now: float) -> None:
        """Whoever held something as `sender` holds it no more, and will not again: its keeper made sure."""
        peer = self.peers[sender.name]
        is_newest = peer.process is None or sender.incarnation >= peer.process.incarnation
        if is_newest:
            peer.hear(sender, now)
        self._answer(self._voter.promises.bury(sender, self._agreed.placements, now), now)
        if self._leader is not None:
            self._place_and_tell(now)
        elif is_newest and sender.name == self._leader_name:
            self._succeed(self._standing.first_heir, now)

    # Small things

    def _notice(self, now: float) -> None:
        """Before anything else: what is over is over, however long the process did not run."""
        self._holder.notice(now)
        self._voter.settle(now)
        if self._leader is not None and now >= self._leader.ends_at:
            if self._leader.has_quorum:
                self._follow(None, now)
                self._standing.at = now
            else:
                self._fail(now)

    def _finish(self, now: float) -> Ready:
        """Do what became due meanwhile, and hand out what there is to do."""
        if self._holder.beat_at <= now and (request := self._holder.ask(now)) is not None:
            self._send_early(tuple(self.peers), request)
            own = self._voter.promise(self.process, request, self._agreed.placements, now)
            if own is not None:
                self._holder.answer(self.process.name, own, now)
        self._answer(self._voter.promises.look(self._agreed.placements, now), now)
        return self._ready()

    def _mark_spent(self, offer: Offer) -> Offer:
        """Add to an offer that its group is placed here by a grant that was given back."""
        placement = self._agreed.placements.get(offer.group)
        if placement is None or placement.process != self.process:
            return offer
        is_spent = self._holder.is_spent(offer.group, placement.grant)
        return evolve(offer, spent=placement.grant) if is_spent else offer

    def _last_heard(self, name: str, now: float) -> str:
        heard_at = self.peers[name].heard_at
        return "was never heard" if heard_at == -math.inf else f"was last heard {now - heard_at:.1f} s ago"
