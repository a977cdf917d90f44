"""The simulator finds nothing wrong with the protocol, and finds what is wrong with each broken variant of it.

KUBEVIP_SEEDS=5000 plays more schedules. Scenarios A 5 (repeated partitions, also of five), A 9 (slow links), A 10
(asymmetric links), A 11 (pauses), A 13 (clocks at different rates) and A 19 (crashes around a save) are part of them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random

import pytest
from attrs import evolve

from kubevip_election_raft._consensus import holder
from kubevip_election_raft._consensus.entries import Entry, MemberRecord, Placement, Process
from kubevip_election_raft._consensus.introductions import Introductions
from kubevip_election_raft._consensus.messages import (
    Claim,
    Goodbye,
    MembersResponse,
    PreVoteResponse,
    PromiseRequest,
    PromiseResponse,
    TimeoutNow,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.promise import Answer
from kubevip_election_raft._consensus.ready import Role

from .simulator import Machine, ViolationError, Weather, World, draw_weather, failures

SEEDS = int(os.environ.get("KUBEVIP_SEEDS", "320"))
CHUNKS = 16


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_schedule_breaks_an_invariant(chunk: int) -> None:
    assert [str(violation) for violation in failures(range(chunk, SEEDS, CHUNKS))] == []


def test_a_schedule_can_be_replayed() -> None:
    def play() -> list[str]:
        world = World(7, trace=True)
        world.run()
        return world.trace or []

    first = play()
    assert first == play()
    assert len(first) > 100


def test_schedules_are_of_every_kind() -> None:
    drawn = [draw_weather(Random(seed)) for seed in range(200)]
    assert {weather.members for weather in drawn} == {3, 5}
    assert {weather.is_reckless for weather in drawn} == {True, False}
    assert {weather.skew for weather in drawn} == {0.0, 0.083}
    assert {weather.latest_start for weather in drawn} == {0.0, 1.5}
    assert {"wipe" in weather.harms for weather in drawn} == {True, False}
    assert {(weather.bystanders, weather.loses_one) for weather in drawn} == {(0, False), (1, False), (1, True)}


# Broken variants. Each takes one rule out of a sound node; `World(prepare=...)` calls it with every node that starts.


def counts_the_lease_from_receipt(node: Node) -> None:
    answer = node._holder.answer

    def from_receipt(voter: str, response: PromiseResponse, now: float) -> float | None:
        asked = dict(node._holder._asked)
        if response.round in asked:
            node._holder._asked[response.round] = now, asked[response.round][1]
        found = answer(voter, response, now)
        node._holder._asked = asked
        return found

    node._holder.answer = from_receipt  # type: ignore[method-assign]


def ignores_the_round_of_an_answer(node: Node) -> None:
    answer = node._holder.answer

    def newest(voter: str, response: PromiseResponse, now: float) -> float | None:
        return answer(voter, evolve(response, round=max(node._holder._asked, default=0)), now)

    node._holder.answer = newest  # type: ignore[method-assign]


def counts_a_refusal(node: Node) -> None:
    answer = node._holder.answer
    node._holder.answer = lambda voter, response, now: answer(  # type: ignore[method-assign]
        voter, evolve(response, refused=()), now
    )


def forgets_its_promises_at_a_restart(node: Node) -> None:
    node._voter.promises.silent_until = -math.inf


def keeps_silent_for_its_own_promise_only(node: Node) -> None:
    """As if it did not save how long a promise others had of it."""
    voter = node._voter
    silent_until = voter.silent_until - max(0.0, voter.hard_state.promise_seconds - node.timing.promise_seconds)
    voter.silent_until = voter.promises.silent_until = silent_until


def forgets_long_promises_before_they_are_over(node: Node) -> None:
    """As if only the next start had to know how long a promise there was before this one."""
    voter = node._voter
    voter.hard_state = evolve(voter.hard_state, promise_seconds=node.timing.promise_seconds)


def lets_others_be_released_with_its_own(node: Node) -> None:
    """As if a parked request were answered whatever else stands in its way."""
    promises = node._voter.promises
    ask = promises.ask

    def without_others(
        process: Process, request: PromiseRequest, agreed: Mapping[str, Placement], now: float
    ) -> PromiseResponse | None:
        if (parked := promises._parked.get(process.name)) is not None and parked.request is request:
            for claim in request.claims:
                promises._given.pop(claim.group, None)
        return ask(process, request, agreed, now)

    promises.ask = without_others  # type: ignore[method-assign]


def does_not_bind_itself(node: Node) -> None:
    promises = node._voter.promises
    ask = promises.ask

    def without_own(
        process: Process, request: PromiseRequest, agreed: Mapping[str, Placement], now: float
    ) -> PromiseResponse | None:
        if process != node.process:
            for group in [group for group, given in promises._given.items() if given.to == node.process]:
                del promises._given[group]
        return ask(process, request, agreed, now)

    promises.ask = without_own  # type: ignore[method-assign]


def promises_for_its_own_time(node: Node) -> None:
    """As if a holder had other timings than its voters, and they did not heed its."""
    promises = node._voter.promises
    ask = promises.ask

    def own(
        process: Process, request: PromiseRequest, agreed: Mapping[str, Placement], now: float
    ) -> PromiseResponse | None:
        return ask(process, evolve(request, seconds=node.timing.promise_seconds), agreed, now)

    promises.ask = own  # type: ignore[method-assign]


def lets_anybody_release(node: Node) -> None:
    """As if a promise did not name the process that it was given to."""
    promises = node._voter.promises
    release = promises.release

    def anybody(
        process: Process, claims: Collection[Claim], agreed: Mapping[str, Placement], now: float
    ) -> list[Answer]:
        for claim in claims:
            if (given := promises._given.get(claim.group)) is not None:
                promises._given[claim.group] = evolve(given, to=process, grant=claim.grant)
        return release(process, claims, agreed, now)

    promises.release = anybody  # type: ignore[method-assign]


def lets_an_old_release_count(node: Node) -> None:
    """As if a promise did not name the grant that it was given for."""
    promises = node._voter.promises
    release = promises.release

    def any_grant(
        process: Process, claims: Collection[Claim], agreed: Mapping[str, Placement], now: float
    ) -> list[Answer]:
        for claim in claims:
            given = promises._given.get(claim.group)
            if given is not None and given.to == process:
                promises._given[claim.group] = evolve(given, grant=claim.grant)
        return release(process, claims, agreed, now)

    promises.release = any_grant  # type: ignore[method-assign]


def ignores_the_grant_of_an_answer(node: Node) -> None:
    """As if a late answer for what was given back counted for what was placed here since."""
    holder = node._holder
    holder._forget_asked = lambda group: None  # type: ignore[method-assign]
    answer = holder.answer

    def any_grant(voter: str, response: PromiseResponse, now: float) -> float | None:
        if response.round in holder._asked:
            at, claims = holder._asked[response.round]
            newest = tuple(
                claimed.claim
                for claim in claims
                if (claimed := holder._claimed.get(claim.group)) is not None and not claimed.is_leaving
            )
            holder._asked[response.round] = at, newest
        return answer(voter, response, now)

    holder.answer = any_grant  # type: ignore[method-assign]


def releases_what_is_still_up(node: Node) -> None:
    """As if it gave back what it was told to withdraw before that has happened."""
    withdraw = node._holder.withdraw

    def hasty(group: str, now: float) -> Claim | None:
        claimed = node._holder._claimed.get(group)
        if claimed is not None and claimed.is_committed:
            return withdraw(group, now) or node._holder.release(group, now)
        return None

    node._holder.withdraw = hasty  # type: ignore[method-assign]


def believes_a_goodbye_for_every_run(node: Node) -> None:
    promises = node._voter.promises
    bury = promises.bury

    def any_run(process: Process, agreed: Mapping[str, Placement], now: float) -> list[Answer]:
        for group, given in promises._given.items():
            if given.to.name == process.name:
                promises._given[group] = evolve(given, to=process)
        return bury(process, agreed, now)

    promises.bury = any_run  # type: ignore[method-assign]


def votes_for_a_log_that_lacks_entries(node: Node) -> None:
    node._log.is_behind = lambda index, term: True  # type: ignore[method-assign]


def appends_without_looking_at_what_is_before(node: Node) -> None:
    merge = node._log.merge

    def blindly(previous_index: int, previous_term: int, entries: Sequence[Entry]) -> bool:
        known = node._log.term_at(previous_index)
        return merge(previous_index, previous_term if known is None else known, entries)

    node._log.merge = blindly  # type: ignore[method-assign]


def stands_without_a_pre_vote(node: Node) -> None:
    node._stand = node._campaign  # type: ignore[method-assign]


def stands_when_a_leader_of_long_ago_says_so(node: Node) -> None:
    on_timeout_now = node._on_timeout_now

    def late(sender: Process, message: TimeoutNow, now: float) -> None:
        if node.state.role is not Role.LEADER:
            node._leader_name = sender.name
        on_timeout_now(sender, evolve(message, term=node.term), now)

    node._on_timeout_now = late  # type: ignore[method-assign]


def leads_on_without_answers(node: Node) -> None:
    lead = node._lead

    def forever(now: float) -> None:
        lead(now)
        leader = node._leader
        assert leader is not None
        leader.ends_at = math.inf
        leader._when_it_ends = lambda: math.inf  # type: ignore[method-assign]

    node._lead = forever  # type: ignore[method-assign]


def changes_members_twice_within_a_promise(node: Node) -> None:
    """And counts whatever is promised, by voters that know newer members as well."""
    change, answer = node.change_members, node._holder.answer

    def at_once(member: MemberRecord, *, is_removal: bool, now: float) -> MembersResponse:
        if node._leader is not None:
            node._members_since = -math.inf
            node._leaving_members.add(member.name)
        return change(member, is_removal=is_removal, now=now)

    node.change_members = at_once  # type: ignore[method-assign]
    node._holder.answer = lambda voter, response, now: answer(  # type: ignore[method-assign]
        voter, evolve(response, members_index=0), now
    )


class _Hasty(Introductions):
    """What a newcomer would know that asked nobody."""

    group = None
    is_complete = True

    @property
    def founders(self) -> tuple[MemberRecord, ...]:
        return tuple(
            evolve(record, birth=self._own.birth if record.name == self._own.name else 0) for record in self.listed
        )


def founds_a_group_without_asking(node: Node) -> None:
    node.introductions.__class__ = _Hasty


def stands_only_for_what_it_can_hold(node: Node) -> None:
    """As if a witness never led, not even when it alone is left with all that was agreed."""
    stand = node._stand

    def hold_back(now: float) -> None:
        if node._standing.is_candidate:
            stand(now)
        else:
            node._standing.wait(now)

    node._stand = hold_back  # type: ignore[method-assign]


#: The disk of one of three is lost before all know all: only that it asks keeps it from voting twice.
LOST_DISK = Weather(
    is_reckless=True,
    loss=0.1,
    faults_per_second=20.0,
    seconds=1.2,
    groups=1,
    harms=("wipe", "cut_off", "mend", "stand"),
)

RECKLESS = Weather(is_reckless=True, faults_per_second=8.0, groups=1)
CRASHES = evolve(RECKLESS, harms=("crash_quickly", "crash_quickly", "cut_off", "mute", "stand", "move", "mend"))
LATE_ANSWERS = evolve(RECKLESS, slow=0.5, slowest=0.3, harms=("mute", "mute", "move", "stand", "mend"))
LATE_RELEASES = evolve(
    RECKLESS, duplication=0.5, slow=0.3, slowest=1.0, harms=("move", "move", "stand", "pause", "mend")
)
BACK_AND_FORTH = Weather(
    slow=0.3, slowest=0.3, loss=0.0, duplication=0.5, faults_per_second=25.0, harms=("move",), groups=1, skew=0.0
)
LOST_ENTRIES = Weather(loss=0.2, faults_per_second=16.0, harms=("crash_quickly", "move", "resign", "cut_off", "mend"))
LATE_WORDS = Weather(slow=0.3, slowest=1.0, duplication=0.3, harms=("resign", "resign", "cut_off", "mend"))
LATE_GOODBYES = Weather(
    slow=0.3,
    slowest=1.5,
    loss=0.0,
    duplication=1.0,
    faults_per_second=20.0,
    harms=("die", "move", "move", "move", "move"),
    groups=1,
)

RESHAPED = Weather(
    members=5,
    loss=0.1,
    slow=0.3,
    faults_per_second=20.0,
    groups=1,
    harms=("reshape", "reshape", "reshape", "mute", "cut_off", "mend", "move"),
)

WITNESSED = Weather(
    loss=0.0,
    faults_per_second=12.0,
    groups=1,
    bystanders=1,
    loses_one=True,
    harms=("cut_off", "crash", "mend", "move", "pause"),
)

#: What one schedule in hundreds shows is looked for where it was found.
FIRST_SEEDS: Mapping[Callable[[Node], None], int] = {believes_a_goodbye_for_every_run: 320}

TWO_HOLDERS = "before the lease of"
LOG_DIFFERS = "leads without the committed|as committed, and others|and .* elsewhere"


@pytest.mark.parametrize(
    ("broken", "weather", "finding"),
    [
        (counts_the_lease_from_receipt, LATE_ANSWERS, TWO_HOLDERS),
        (ignores_the_round_of_an_answer, LATE_ANSWERS, TWO_HOLDERS),
        (counts_a_refusal, None, TWO_HOLDERS),
        (forgets_its_promises_at_a_restart, None, TWO_HOLDERS),
        (keeps_silent_for_its_own_promise_only, evolve(CRASHES, mixed_timing=True), TWO_HOLDERS),
        (forgets_long_promises_before_they_are_over, evolve(CRASHES, mixed_timing=True), TWO_HOLDERS),
        (lets_others_be_released_with_its_own, LATE_RELEASES, TWO_HOLDERS),
        (does_not_bind_itself, None, TWO_HOLDERS),
        (promises_for_its_own_time, evolve(RECKLESS, mixed_timing=True), TWO_HOLDERS),
        (lets_anybody_release, LATE_RELEASES, TWO_HOLDERS),
        (lets_an_old_release_count, BACK_AND_FORTH, TWO_HOLDERS),
        (ignores_the_grant_of_an_answer, BACK_AND_FORTH, TWO_HOLDERS),
        (releases_what_is_still_up, None, TWO_HOLDERS),
        (believes_a_goodbye_for_every_run, LATE_GOODBYES, TWO_HOLDERS),
        (changes_members_twice_within_a_promise, RESHAPED, TWO_HOLDERS),
        (founds_a_group_without_asking, LOST_DISK, LOG_DIFFERS),
        (votes_for_a_log_that_lacks_entries, LOST_ENTRIES, LOG_DIFFERS),
        (appends_without_looking_at_what_is_before, LOST_ENTRIES, LOG_DIFFERS),
        (stands_without_a_pre_vote, Weather(), "although no majority would vote"),
        (stands_when_a_leader_of_long_ago_says_so, LATE_WORDS, "that is not gone"),
        (stands_only_for_what_it_can_hold, WITNESSED, "although the network is good"),
        (leads_on_without_answers, Weather(), "although no majority answers"),
    ],
)
def test_the_simulator_finds_a_node_that(broken: Callable[[Node], None], weather: Weather | None, finding: str) -> None:
    first = FIRST_SEEDS.get(broken, 0)
    found = failures(range(first, first + 600), weather=weather, prepare=broken)
    assert next((violation for violation in found if re.search(finding, str(violation))), None) is not None


def test_the_simulator_finds_a_lease_as_long_as_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder, "CLOCK_RATIO", 1.0)  # with clocks 8.3 % off on each side
    found = next(iter(failures(range(300))), None)
    assert found is not None
    assert "before the lease of" in str(found)


def test_the_simulator_finds_a_vote_that_is_not_synced() -> None:
    weather = Weather(faults_per_second=12.0, harms=("crash_quickly", "crash_quickly", "stand", "cut_off", "mend"))
    found = next(iter(failures(range(300), weather=weather, syncs=False)), None)
    assert found is not None
    assert re.search(f"both lead in term|{LOG_DIFFERS}", str(found))


class _HastyKeepers(World):
    """Keepers speak when a process is dead, before its addresses are down."""

    def _say_goodbye(self, machine: Machine, process: Process) -> None:
        up, machine.holds_until = machine.holds_until, {}
        super()._say_goodbye(machine, process)
        machine.holds_until = up


class _KeepersThatGuess(World):
    """Keepers speak for a process that still runs, and was only silent for a while."""

    def _die(self, machine: Machine) -> None:
        if machine.node is not None:
            self._freeze(machine, self.rng.uniform(0.05, 0.3))
            for name in self.machines:
                if name != machine.name:
                    self._send(machine.node.process, name, Goodbye())


@pytest.mark.parametrize("world", [_HastyKeepers, _KeepersThatGuess])
def test_the_simulator_finds_keepers_that_speak_too_early(world: type[World]) -> None:
    weather = evolve(RECKLESS, harms=("die",))
    with pytest.raises(ViolationError, match=TWO_HOLDERS):
        for seed in range(300):
            world(seed, weather=weather).run()


def test_the_simulator_finds_a_group_that_never_elects() -> None:
    def stubborn(node: Node) -> None:
        node._voter.pre_vote = lambda request, wait: PreVoteResponse(  # type: ignore[method-assign]
            term=node.term, asked=request.term, is_granted=False
        )

    found = next(iter(failures(range(20), prepare=stubborn)), None)
    assert found is not None
    assert "nobody holds g1 although the network is good" in str(found)
