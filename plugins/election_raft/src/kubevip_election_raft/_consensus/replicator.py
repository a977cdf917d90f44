"""How a leader makes its log everybody's (Raft thesis 3.5, 3.6, 5), and decides in it who is to hold what."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import evolve

from kubevip_election_raft._consensus.elector import Elector
from kubevip_election_raft._consensus.entries import (
    Command,
    Entry,
    MemberRecord,
    NoOp,
    Place,
    Placed,
    Process,
    SetMembers,
)
from kubevip_election_raft._consensus.leader import Leader
from kubevip_election_raft._consensus.messages import (
    AppendEntries,
    AppendResponse,
    InstallSnapshot,
    MembersResponse,
    Offers,
    OffersResponse,
)
from kubevip_election_raft._consensus.placement import Placer, Stand, split
from kubevip_election_raft._consensus.ready import Role

#: Entries in one message; more follow when they are answered.
ENTRIES_PER_MESSAGE = 32

#: For so long a group that is placed for the first time waits for a preferred member.
PREFER_HEARTBEATS = 10

#: So many committed entries become a snapshot.
MOST_COMMITTED_ENTRIES = 256


class Replicator(Elector):
    """A member that appends to its log, as leader or as follower."""

    _members_since = math.inf  # when the leader learned that its newest members are committed
    _leaving_members: set[str]  # that are to be removed

    # Leading

    def _lead(self, now: float) -> None:
        self._role, self._leader_name = Role.LEADER, self.process.name
        self._leader = Leader(self.term, self.peers, self._log, self.timing, now)
        self._placer = Placer(
            own=self.process.name,
            order=self.members,
            settle_seconds=self.timing.heartbeat_seconds,
            prefer_seconds=PREFER_HEARTBEATS * self.timing.heartbeat_seconds,
        )
        for group, placement in self._agreed.placements.items():
            placed = Placed(group=group, process=placement.process, why=placement.why)
            self._placer.note(placed, placement.grant)
        for entry in self._log.between(self._log.commit, self._log.last_index):
            self._note_decided(entry)
        for peer in self.peers.values():  # who was never heard gets some time to be heard
            peer.alive_at = now if peer.heard_at == -math.inf else peer.heard_at
        self._members_since, self._leaving_members = math.inf, set()
        records = self._with_births()
        is_first = self._log.members()[0] == 0 and any(record.birth for record in records)  # whoever joins has to know
        self._propose(SetMembers(members=records) if is_first or records != self.records else NoOp(), now)
        self._place(now)
        self._beat(self._leader, now)

    def _propose(self, command: Command, now: float) -> None:
        """Append a decision; it is sent with the next round."""
        entry = self._log.append(self.term, command)
        self._note_decided(entry)
        if isinstance(command, SetMembers):
            self._configure()
        if isinstance(command, Place):
            for placed in command.placed:
                if placed.process == self.process:
                    # asked for at once, in the same moment as the entries leave; held only when both came back
                    before = self._agreed.placements.get(placed.group)
                    self._claim(placed.group, now, before.process if before is not None else None, is_committed=False)

    def _note_decided(self, entry: Entry) -> None:
        assert self._placer is not None
        if isinstance(entry.command, Place):
            for placed in entry.command.placed:
                self._placer.note(placed, entry.grant)

    def _beat(self, leader: Leader, now: float) -> None:
        """Send a heartbeat, with whatever each follower lacks; ask for promises in the same moment."""
        round_ = leader.begin_round(now)
        heirs, unknown = self._heirs(now), self._unknown()
        alike: dict[int, AppendEntries] = {}  # followers that are equally far get the same message
        for name, follower in leader.followers.items():
            if follower.next_index <= self._log.snapshot.index:
                self._send_early((name,), self._snapshot(round_, heirs))
                continue
            message = alike.get(follower.next_index)
            if message is None:
                message = self._entries_from(follower.next_index, round_, heirs, unknown)
                alike[follower.next_index] = message
            self._send_early((name,), message)
            follower.next_index += len(message.entries)
        leader.plan_beat(now)

    def _entries_from(self, index: int, round_: int, heirs: tuple[str, ...], unknown: tuple[str, ...]) -> AppendEntries:
        term = self._log.term_at(index - 1)
        assert term is not None
        return AppendEntries(
            term=self.term,
            round=round_,
            previous_index=index - 1,
            previous_term=term,
            commit=self._log.commit,
            seconds=self.timing.promise_seconds,
            entries=self._log.between(index - 1, index - 1 + ENTRIES_PER_MESSAGE),
            heirs=heirs,
            unknown=unknown,
        )

    def _snapshot(self, round_: int, heirs: tuple[str, ...]) -> InstallSnapshot:
        return InstallSnapshot(
            term=self.term,
            round=round_,
            seconds=self.timing.promise_seconds,
            snapshot=self._log.snapshot,
            heirs=heirs,
        )

    def _send_more(self, leader: Leader, name: str, now: float) -> None:
        """Send one follower what it lacks, without waiting for the next heartbeat."""
        follower = leader.followers[name]
        if follower.next_index > self._log.last_index:
            return
        round_, heirs = leader.begin_round(now), self._heirs(now)
        if follower.next_index <= self._log.snapshot.index:
            self._send_early((name,), self._snapshot(round_, heirs))
            return
        message = self._entries_from(follower.next_index, round_, heirs, ())
        follower.next_index += len(message.entries)
        self._send_early((name,), message)

    def _heirs(self, now: float) -> tuple[str, ...]:
        return self.peers.order_heirs(heard_since=now - self.timing.promise_seconds)

    def _unknown(self) -> tuple[str, ...]:
        """Return the members whose offers this leader does not know, or not the newest of."""
        return tuple(
            name
            for name, peer in self.peers.items()
            if peer.offers is None or peer.offers.version != peer.offers_version
        )

    def _on_append_response(self, sender: Process, response: AppendResponse, now: float) -> None:
        if response.term > self.term:
            self._adopt(response.term, None, now)
            return
        leader = self._leader
        if leader is None or response.term != self.term:
            return
        peer = self.peers[sender.name]
        peer.alive_at = now
        peer.offers_version = max(peer.offers_version, response.offers_version)
        sent_at = leader.answered(sender.name, response, counts=self._is_born(sender))
        if sent_at is not None:
            peer.round_trip_seconds = now - sent_at
        if not self._advance(leader, now):
            self._send_more(leader, sender.name, now)

    def _advance(self, leader: Leader, now: float) -> bool:
        """Commit what a majority has, and tell everybody at once: somebody may wait for it."""
        before = self._log.commit
        if not self._commit(leader.committed(), now):
            return False
        newly = self._log.between(before, self._log.commit)
        if self._members_since == math.inf or any(isinstance(entry.command, SetMembers) for entry in newly):
            self._members_since = now
        self._beat(leader, now)
        return True

    def _compact(self) -> None:
        """Put what is committed into a snapshot, when it has become much."""
        commit = self._log.commit
        if commit - self._log.snapshot.index >= MOST_COMMITTED_ENTRIES and self._log.saved >= commit:
            self._log.compact(commit, self._agreed)

    def _hand_over(self, now: float) -> None:
        """Let somebody else lead, if this leader stands for nothing and another member stands, and lacks nothing."""
        if self.offers.offers or self._leader is None or self._log.commit < self._log.last_index:
            return
        followers = self._leader.followers
        heirs = tuple(name for name in self._heirs(now) if followers[name].matched == self._log.last_index)
        if heirs:
            self._resign(heirs, f"{self.process.name} stands for nothing", now)

    # Placing

    def _place(self, now: float) -> bool:
        """Decide where groups go; return whether anything was decided."""
        placer = self._placer
        assert placer is not None
        placer.gone = self._gone(now)
        decided = placer.decide(self._stands(now), lambda process: self._why_gone(process, now), now)
        for part in split(decided):
            self._propose(Place(placed=part), now)
        return bool(decided)

    def _place_and_tell(self, now: float) -> None:
        """The same, and tell the followers if anything was decided."""
        if self._leader is not None and self._place(now):
            self._beat(self._leader, now)

    def _stands(self, now: float) -> Mapping[str, Stand]:
        """Return who is there, by name, of those that said what they stand for; this leader first."""
        stands = {self.process.name: Stand.of(self.process, self.offers)}
        for name, peer in self.peers.items():
            if peer.process is not None and peer.offers is not None and not self._why_gone(peer.process, now):
                stands[name] = Stand.of(peer.process, peer.offers)
        for name in self._leaving_members & stands.keys():
            stands[name] = evolve(stands[name], is_leaving=True)
        return stands

    # Members

    def change_members(self, member: MemberRecord, *, is_removal: bool, now: float) -> MembersResponse:
        """Add or remove one member, as leader (Raft thesis 4.1); the answer says why not, and whether to ask again.

        One change at a time: the next one is appended no sooner than one promise after the last was committed, so that
        no lease is left that counts on the members before it.
        """
        leader = self._leader
        if leader is None:
            return MembersResponse(request=0, refusal=f"{self.process.name} does not lead")
        if is_removal == (member.name not in self.members):
            return MembersResponse(request=0, refusal=f"{member.name} is {'no' if is_removal else 'a'} member already")
        if is_removal and len(self.members) == 1:
            return MembersResponse(request=0, refusal=f"{member.name} is the last member")
        due = self._members_since + self._longest_promise
        if now < due or self._log.members()[0] > self._log.commit:
            wait = min(max(due - now, self.timing.ask_seconds), self._longest_promise)
            return MembersResponse(request=0, refusal="another change is not over yet", wait_seconds=wait)
        if is_removal and member.name == self.process.name:
            self._resign(self._heirs(now), f"{member.name} is removed", now)
            return MembersResponse(
                request=0, refusal="another member leads first", wait_seconds=self.timing.promise_seconds
            )
        if is_removal and member.name not in self._leaving_members:
            self._leaving_members.add(member.name)  # what it holds goes elsewhere first
            self._place_and_tell(now)
            return MembersResponse(
                request=0, refusal="its groups go elsewhere first", wait_seconds=self.timing.promise_seconds
            )
        members = tuple(record for record in self.records if record.name != member.name)
        if not is_removal:
            birth = member.birth or self.introductions.birth_of(member, now)
            members = (*members, evolve(member, birth=birth))
        unborn = [record.name for record in members if not record.birth]
        if self.process.birth and len(members) - len(unborn) <= len(members) // 2:
            return MembersResponse(
                request=0,
                refusal=f"{', '.join(unborn)} was not heard yet, and the others would be no majority: start it first",
                wait_seconds=self.timing.promise_seconds,
            )
        self._leaving_members.discard(member.name)
        self._propose(SetMembers(members=members), now)
        self._place(now)
        self._beat(leader, now)
        return MembersResponse(request=0)

    @property
    def _longest_promise(self) -> float:
        """The longest promise that anybody may have: by this member's timing, given by it, or for one who stands."""
        offers = [self.offers, *(peer.offers for peer in self.peers.values() if peer.offers is not None)]
        return max(self._voter.longest_seconds, *(offer.promise_seconds for offer in offers))

    def _note_births(self, now: float) -> None:
        """Write down which machine a member is, when it is heard for the first time."""
        is_settled = self._members_since < math.inf and self._log.members()[0] <= self._log.commit
        if self._leader is None or not is_settled:
            return
        records = self._with_births()
        if records != self.records:
            self._propose(SetMembers(members=records), now)

    def _with_births(self) -> tuple[MemberRecord, ...]:
        """Return the members with the births of those that were heard."""
        births = {name: peer.process.birth for name, peer in self.peers.items() if peer.process is not None}
        births[self.process.name] = self.process.birth
        return tuple(
            evolve(record, birth=births.get(record.name, 0)) if record.birth == 0 else record for record in self.records
        )

    def _why_gone(self, process: Process, now: float) -> str:
        """Say why `process` is not there; "" when it is, or may be."""
        if process.name == self.process.name:
            return "" if process == self.process else f"{process.name} was restarted"
        peer = self.peers.get(process.name)
        if peer is None:
            return f"{process.name} was removed"
        if self._voter.promises.is_dead(process):
            return f"{process.name} died"
        if peer.process is not None and peer.process.incarnation > process.incarnation:
            return f"{process.name} was restarted"
        return f"{process.name} is silent" if now >= peer.alive_at + self._silence_seconds else ""

    @property
    def _silence_seconds(self) -> float:
        """After so long a holder is taken for dead: its lease is over, and its promises will be in a moment.

        So its group is placed elsewhere, and asked for, by the time at which the voters are free.
        """
        return (self.timing.lease_seconds + self.timing.promise_seconds) / 2

    def _gone(self, now: float) -> frozenset[str]:
        """Return the members that are not there."""
        silent_since = now - self._silence_seconds
        return frozenset(
            name
            for name, peer in self.peers.items()
            if peer.alive_at <= silent_since
            or (peer.process is not None and self._voter.promises.is_dead(peer.process))
        )

    @property
    def _place_at(self) -> float:
        """When the leader has to look again where groups are: a holder may be dead then."""
        placer = self._placer
        if placer is None:
            return math.inf
        silent_at = (
            peer.alive_at + self._silence_seconds
            for name, peer in self.peers.items()
            if placer.held[name] > 0 and name not in placer.gone
        )
        return min(placer.look_at, min(silent_at, default=math.inf))

    def _on_offers(self, sender: Process, offers: Offers, now: float) -> None:
        is_new = self.peers[sender.name].learn(offers)
        if self._leader is None:
            return
        if is_new:
            self._place_and_tell(now)
        if offers.request:
            assert self._placer is not None
            kept = self._placer.held[sender.name]
            self._send(sender.name, OffersResponse(request=offers.request, kept=kept))

    # Following

    def _on_append(self, sender: Process, message: AppendEntries | InstallSnapshot, now: float) -> None:
        if message.term < self.term or message.term == self._resigned_term:
            # An answer with the newer term frees a member that is stuck with it (thesis 9.6 and etcd's CheckQuorum).
            self._send(sender.name, AppendResponse(term=self.term, round=message.round))
            return
        if message.term > self.term:
            self._adopt(message.term, sender.name, now)
        elif self._leader is not None:
            return  # 3.4: one leader a term; whoever says this is not one of us
        elif self._role is not Role.FOLLOWER or self._leader_name != sender.name:
            self._follow(sender.name, now)
        self._voter.hear(sender.name, message.seconds, now)
        if self.removed_by is not None:  # it was added again
            self.removed_by = None
            self._configure()
        self._standing.follow(message.heirs, now + message.seconds)
        if isinstance(message, InstallSnapshot):
            self._restore(message, now)
            matched: int | None = message.snapshot.index
        else:
            matched = self._merge(message, now)
            if not message.entries:  # at rest
                self._compact()
            if self.process.name in message.unknown:
                self._send(sender.name, self.offers)
        hint = (0, 0) if matched is not None or isinstance(message, InstallSnapshot) else self._hint(message)
        self._send(
            sender.name,
            AppendResponse(
                term=self.term,
                round=message.round,
                matched=matched,
                hint_index=hint[0],
                hint_term=hint[1],
                offers_version=self.offers.version,
            ),
        )

    def _hint(self, message: AppendEntries) -> tuple[int, int]:
        return self._log.hint(message.previous_index)

    def _merge(self, message: AppendEntries, now: float) -> int | None:
        """Append; return up to where this log is now known to be the leader's."""
        if not self._log.merge(message.previous_index, message.previous_term, message.entries):
            return None
        if message.entries:
            self._configure()
        matched = message.previous_index + len(message.entries)
        self._commit(min(message.commit, matched), now)
        return matched

    def _restore(self, message: InstallSnapshot, now: float) -> None:
        if self._log.restore(message.snapshot):
            state = message.snapshot.state
            self._configure()
            self._agree(state, {**self._agreed.placements, **state.placements}, now)
