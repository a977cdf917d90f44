"""What a member is, and how it changes its role; what makes it change is in `elector`, `replicator` and `node`.

FOLLOWER -> PRE_CANDIDATE (asks whether it would be elected; Raft thesis 9.6) -> CANDIDATE -> LEADER. A leader that a
majority does not answer is one no more (CheckQuorum, 6.2). What a member holds is none of this: it goes on with it
whoever leads, for as long as a majority promises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random

from attrs import evolve

from kubevip_election_raft._consensus.ballot import Ballot
from kubevip_election_raft._consensus.entries import Entry, GroupState, MemberRecord, Place, Process, Saved
from kubevip_election_raft._consensus.holder import Holder
from kubevip_election_raft._consensus.introductions import Introductions, Membership, Met
from kubevip_election_raft._consensus.leader import Leader
from kubevip_election_raft._consensus.log import Log
from kubevip_election_raft._consensus.messages import NOT_STANDING, Claim, Message, Offers, Release
from kubevip_election_raft._consensus.peers import Peers, fitness_of
from kubevip_election_raft._consensus.placement import Placer
from kubevip_election_raft._consensus.promise import Answer
from kubevip_election_raft._consensus.ready import Outgoing, Ready, Rise, Role, SoftState
from kubevip_election_raft._consensus.standing import Standing
from kubevip_election_raft._consensus.timing import Timing
from kubevip_election_raft._consensus.voter import Voter


class Member:
    """One member's state. Not thread-safe."""

    def __init__(
        self,
        *,
        process: Process,
        members: Sequence[str],
        timing: Timing,
        saved: Saved,
        rng: Random,
        now: float,
        stands_first: bool = False,
        seeds: Sequence[MemberRecord] = (),
        asks: bool = False,
    ) -> None:
        """Start as a follower that keeps silent for one longest promise.

        :param members: names of all voters in the order that all of them share, while the log names none.
        :param saved: what the last run of this member left on its disk.
        :param stands_first: stand before the others when the group forms; nothing more.
        :param seeds: what is known of `members` beyond their names.
        :param asks: without state, vote only when it is known that no group exists (see `introductions`).
        """
        self.process, self.members, self.timing = process, tuple(members), timing
        self.records = tuple(seeds) or tuple(MemberRecord(name=name) for name in self.members)
        self._seeds, self._asks = self.records, asks
        self.introductions = Introductions(process, self.records)
        self._is_founder = any(
            record.name == process.name and record.birth == process.birth for record in saved.snapshot.state.members
        )
        self.removed_by: str | None = None
        self.peers = Peers(name for name in self.members if name != process.name)
        self.offers = Offers(version=0)
        self._quorum = len(self.members) // 2 + 1
        hard_state = evolve(saved.hard_state, birth=process.birth)
        self._persisted = saved.hard_state  # a new birth is on the disk before anybody hears of it
        self._early: list[Outgoing] = []
        self._outgoing: list[Outgoing] = []
        self._log = Log(saved.snapshot, saved.entries)
        self._agreed = saved.snapshot.state
        self._voter = Voter(hard_state=hard_state, log=self._log, promise_seconds=timing.promise_seconds, now=now)
        self._holder = Holder(process, timing)
        self._standing = Standing(process.name, _position_of(process.name, self.members), timing, rng)
        self._standing.form(self._voter.silent_until, stands_first=stands_first)

        self._role = Role.FOLLOWER
        self._leader_name: str | None = None
        self._resigned_term = -1  # the leader of this term said that it leads no more
        self._is_succession = False  # whether this candidate stands because the leader is known to be gone
        self._ballot = Ballot((), now)
        self._stood_at = self._give_up_at = now
        self._leader: Leader | None = None  # of leaders
        self._placer: Placer | None = None  # of leaders
        self._configure()

    @property
    def state(self) -> SoftState:
        """What this member is now."""
        return SoftState(
            role=self._role,
            term=self.term,
            leader=self._leader_name,
            holdings=self._holder.holdings,
            leaving=self._holder.leaving,
            agreed=self._agreed,
        )

    @property
    def term(self) -> int:
        """The current term."""
        return self._voter.hard_state.term

    # Changes of role

    def _adopt(self, term: int, leader: str | None, now: float) -> None:
        """Enter a newer term as follower."""
        self._follow(leader, now)
        self._voter.adopt(term)

    def _follow(self, leader: str | None, now: float) -> None:
        """Become a follower. What is held is held on; what was decided and is not committed is asked for no more."""
        if self._leader is not None:
            self._holder.forget_uncommitted(now)
        self._role, self._leader_name, self._leader, self._placer = Role.FOLLOWER, leader, None, None
        self._is_succession = False
        self._standing.wait(now + self.timing.promise_seconds)

    # Members

    @property
    def is_member(self) -> bool:
        """Whether this member is one, as far as it knows."""
        return self.process.name in self.members

    @property
    def membership(self) -> Membership:
        """What this member is to its group."""
        own = self._own_record
        if self.removed_by is not None:
            return Membership.REMOVED
        if self._is_new and self.introductions.group is None:
            return Membership.ASKS
        if own is None:
            return Membership.STRANGER
        if own.birth == self.process.birth or (own.birth == 0 and self._is_founder):
            return Membership.MEMBER
        return Membership.REPLACED if own.birth else Membership.UNBORN

    @property
    def _own_record(self) -> MemberRecord | None:
        return next((record for record in self.records if record.name == self.process.name), None)

    @property
    def _is_new(self) -> bool:
        """Whether it has no state, and nothing of a leader's log."""
        return self._asks and not self._log.members()[1]

    def _configure(self) -> None:
        """Let the members be those that the log names last, committed or not (4.1)."""
        index, records = self._log.members()
        self.records = records or self._seeds
        before, self.members = self.members, tuple(record.name for record in self.records)
        if not self._is_new:
            self.introductions.forget(set(before) - set(self.members))  # they were those of members
        self._quorum = len(self.members) // 2 + 1
        others = [name for name in self.members if name != self.process.name]
        self.peers.set_names(others)
        self._holder.set_voters(self.members, index)
        self._voter.promises.members_index = index
        # Who begins anew in a later epoch votes for those that were kept: it has given no vote in that one.
        begins_anew = self.membership is Membership.STRANGER and not self._is_new and index == 0
        self._voter.is_entitled = self.membership is Membership.MEMBER or begins_anew
        self._standing.is_voter = self._voter.is_entitled and self.is_member
        if self.is_member:
            self._standing.position = self.members.index(self.process.name)
            self._standing.fitness = fitness_of(self.offers)
        else:
            self._standing.fitness = NOT_STANDING
        if self._leader is not None:
            self._leader.set_followers(others)
        if self._placer is not None:
            self._placer.order = self.members

    def _is_known(self, sender: Process) -> bool:
        """Return whether `sender` is the member of its name, and not one that lost its disk (or another machine)."""
        record = next((record for record in self.records if record.name == sender.name), None)
        return record is not None and record.birth in (0, sender.birth)

    def _is_born(self, sender: Process) -> bool:
        """Return whether the log names this very `sender`, so that what is on its disk counts."""
        return any(record.name == sender.name and record.birth == sender.birth for record in self.records)

    # Newcomers, and those that were removed

    def _found(self, now: float) -> None:
        """Found the group, if this member is new and nobody of a majority has state: from now on it votes.

        All that are listed are waited for as long as it is silent anyway, so that everybody knows the births of all.
        """
        if not self._is_new or (now < self._voter.silent_until and not self.introductions.is_complete):
            return
        founders = self.introductions.founders
        if founders is None:
            return
        self._agreed = GroupState(members=founders)
        self._log.found(self._agreed)
        self._is_founder = True
        self._configure()
        if self._standing.at < now:
            self._standing.wait(now)

    @property
    def _found_at(self) -> float:
        """When this newcomer founds the group if nothing happens before; infinity if that is not to be expected."""
        is_able = self._is_new and not self._voter.is_entitled and self.introductions.founders is not None
        return self._voter.silent_until if is_able else math.inf

    def _take_introduction(self, met: Met, now: float) -> None:
        """Learn from how a member introduced itself: whether there is a group, and whether this member is in it."""
        introduction, own = met.introduction, self.process.name
        if self._is_new:
            group = self.introductions.group
            if group is None:
                self._found(now)
            elif group.members:
                # Others may have been replaced since, so they are heard whatever their birth.
                seeds = tuple(record if record.name == own else evolve(record, birth=0) for record in group.members)
                if seeds != self._seeds:
                    self._seeds = seeds
                    self._configure()
            return
        is_later = introduction.has_state and introduction.members_index > self._log.members()[0]
        is_left_out = own not in {record.name for record in introduction.members}
        if is_later and is_left_out and self.is_member and self._is_known(met.process):
            self.removed_by = met.process.name
            self._standing.is_voter = False
            self._follow(None, now)

    # What is agreed

    def _commit(self, index: int, now: float) -> bool:
        """Take everything up to `index` as agreed; return whether anything is new."""
        newly = self._log.commit_to(index)
        if newly:
            self._agree(self._agreed.after(newly), _groups_of(newly), now)
        return bool(newly)

    def _agree(self, agreed: GroupState, groups: Iterable[str], now: float) -> None:
        """Do what follows from a new state in which `groups` may be placed differently."""
        before, self._agreed = self._agreed, agreed
        for group in groups:
            old = before.placements.get(group)
            self._obey(group, now, old.process if old is not None else None)

    def _obey(self, group: str, now: float, before: Process | None) -> None:
        """Hold `group`, or hold it no more, as is agreed. `before` is who was to hold it until now."""
        placement = self._agreed.placements.get(group)
        if placement is not None and placement.process == self.process:
            self._claim(group, now, before, is_committed=True)
            return
        claim = self._holder.withdraw(group, now)
        if claim is not None:
            self._give_back((claim,), now)

    def _claim(self, group: str, now: float, before: Process | None, *, is_committed: bool) -> None:
        """Ask for `group`, which is placed here by the agreed state or by this leader's newest decision."""
        wanted = self._placer.wanted if self._placer is not None and not is_committed else self._agreed.placements
        placement = wanted[group]
        peer = self.peers.get(before.name) if before is not None else None
        silent_since = peer.heard_at if peer is not None and peer.heard_at > -math.inf else None
        stood_at = self._stood_at if self._leader is not None and silent_since is not None else now
        if silent_since is not None and stood_at < silent_since:
            stood_at = now
        rise = Rise(why=placement.why, silent_since=silent_since, stood_at=stood_at)
        self._holder.place(group, placement.grant, rise, is_committed=is_committed, now=now)

    def _give_back(self, claims: tuple[Claim, ...], now: float) -> None:
        """Tell every voter that nothing is up under `claims`."""
        self._send_early(tuple(self.peers), Release(claims=claims))
        self._answer(self._voter.release(self.process, claims, self._agreed.placements, now), now)

    def _answer(self, answers: Iterable[Answer], now: float) -> None:
        """Tell those whose requests waited."""
        for process, response in answers:
            if process == self.process:
                self._holder.answer(self.process.name, response, now)
            else:
                self._send(process.name, response)

    # Small things

    def _send(self, to: str, message: Message) -> None:
        """Send when everything that this member decided is on its disk."""
        self._outgoing.append(Outgoing(to=to, message=message))

    def _send_early(self, names: Iterable[str], message: Message) -> None:
        """Send what does not depend on this member's disk."""
        self._early.extend(Outgoing(to=name, message=message) for name in names)

    def _ready(self) -> Ready:
        hard_state = self._voter.hard_state
        changed = hard_state if hard_state != self._persisted else None
        self._persisted = hard_state
        snapshot, entries = self._log.take_unsaved()
        early, self._early = tuple(self._early), []
        messages, self._outgoing = tuple(self._outgoing), []
        return Ready(early=early, hard_state=changed, snapshot=snapshot, entries=entries, messages=messages)


def _groups_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the groups that entries decide about, each once."""
    commands = [entry.command for entry in entries]
    return tuple(
        dict.fromkeys(placed.group for command in commands if isinstance(command, Place) for placed in command.placed)
    )


def _position_of(name: str, members: Sequence[str]) -> int:
    return members.index(name) if name in members else len(members)
