"""The simulator finds nothing wrong with the protocol, and finds what is wrong with each broken variant of it.

KUBEVIP_SEEDS=5000 plays more schedules. Scenarios A 5 (repeated partitions, also of five), A 9 (slow links), A 10
(asymmetric links), A 11 (pauses), A 13 (clocks at different rates) and A 19 (crashes around a save) are part of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from random import Random

import pytest
from attrs import evolve

from kubevip_election_raft import _promise
from kubevip_election_raft._messages import Grant, PreVoteResponse, Process, PromiseRequest, PromiseResponse
from kubevip_election_raft._node import Node

from .simulator import Weather, World, draw_weather, failures

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


# Broken variants. Each takes one rule out of a sound node; `World(prepare=...)` calls it with every node that starts.


def counts_the_lease_from_receipt(node: Node) -> None:
    def learn(voter: str, promise: PromiseResponse | None, now: float) -> None:
        if node._lease is not None and promise is not None:
            asked_at = node._lease.answer(voter, promise)
            if asked_at is not None and promise.is_given:
                node._lease._promised[voter] = now

    node._learn_promise = learn  # type: ignore[method-assign]


def ignores_the_round_of_an_answer(node: Node) -> None:
    def learn(voter: str, promise: PromiseResponse | None, now: float) -> None:
        if node._lease is not None and promise is not None:
            node._lease.answer(voter, evolve(promise, round=max(node._lease._asked, default=0)))

    node._learn_promise = learn  # type: ignore[method-assign]


def forgets_its_promises_at_a_restart(node: Node) -> None:
    node._voter.promises._silent_until = -math.inf


def does_not_bind_itself(node: Node) -> None:
    promises = node._voter.promises
    free_at = promises.free_at

    def without_own(process: Process) -> float:
        if promises._given is not None and promises._given.to == node.process:
            return promises._silent_until
        return free_at(process)

    promises.free_at = without_own  # type: ignore[method-assign]


def promises_for_its_own_time(node: Node) -> None:
    """As if a leader had other timings than its voters, and they did not heed its."""
    promises = node._voter.promises
    ask = promises.ask

    def own(process: Process, request: PromiseRequest, now: float) -> PromiseResponse:
        return ask(process, evolve(request, seconds=node.timing.promise_seconds), now)

    promises.ask = own  # type: ignore[method-assign]


def lets_anybody_release(node: Node) -> None:
    """As if a promise did not name the process that it was given to."""

    def release(process: Process, grant: Grant) -> None:
        node._voter.promises._given = None

    node._voter.promises.release = release  # type: ignore[method-assign]


def lets_an_old_release_count(node: Node) -> None:
    """As if a promise did not name the grant that it was given for."""
    promises = node._voter.promises

    def release(process: Process, grant: Grant) -> None:
        if promises._given is not None and promises._given.to.name == process.name:
            promises._given = None

    promises.release = release  # type: ignore[method-assign]


def gives_back_what_an_earlier_lease_needs(node: Node) -> None:
    follow = node._follow

    def hasty(leader: str | None, now: float) -> None:
        node._bound_until = -math.inf
        follow(leader, now)
        node._bound_until = -math.inf

    node._follow = hasty  # type: ignore[method-assign]


RECKLESS = Weather(is_reckless=True, faults_per_second=8.0)
LATE_ANSWERS = evolve(RECKLESS, slow=0.5, slowest=0.3, harms=("mute", "mute", "stand", "stand", "mend"))
LATE_RELEASES = evolve(RECKLESS, duplication=0.5, slow=0.3, slowest=1.0, harms=("transfer", "stand", "cut_off", "mend"))
FAILED_CANDIDATES = evolve(RECKLESS, slow=0.1, slowest=1.0, harms=("stand", "stand", "cut", "mend"))


@pytest.mark.parametrize(
    ("broken", "weather"),
    [
        (counts_the_lease_from_receipt, LATE_ANSWERS),
        (ignores_the_round_of_an_answer, LATE_ANSWERS),
        (forgets_its_promises_at_a_restart, None),
        (does_not_bind_itself, None),
        (promises_for_its_own_time, evolve(RECKLESS, mixed_timing=True)),
        (lets_anybody_release, None),
        (lets_an_old_release_count, LATE_RELEASES),
        (gives_back_what_an_earlier_lease_needs, FAILED_CANDIDATES),
    ],
)
def test_the_simulator_finds_a_node_that(broken: Callable[[Node], None], weather: Weather | None) -> None:
    found = next(iter(failures(range(600), weather=weather, prepare=broken)), None)
    assert found is not None
    assert "before the lease of" in str(found)


def test_the_simulator_finds_a_lease_as_long_as_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_promise, "CLOCK_RATIO", 1.0)  # with clocks 8.3 % off on each side
    found = next(iter(failures(range(300))), None)
    assert found is not None
    assert "before the lease of" in str(found)


def test_the_simulator_finds_a_vote_that_is_not_synced() -> None:
    found = next(iter(failures(range(300), syncs=False)), None)
    assert found is not None
    assert "both lead in term" in str(found)


def test_the_simulator_finds_a_group_that_never_elects() -> None:
    def stubborn(node: Node) -> None:
        node._voter.pre_vote = lambda process, request, now: PreVoteResponse(  # type: ignore[method-assign]
            term=node.term, asked=request.term, is_granted=False
        )

    found = next(iter(failures(range(20), prepare=stubborn)), None)
    assert found is not None
    assert "nobody holds although the network is good" in str(found)
