"""Scenarios A 1-14, 16, 17, 19 and 20 that are not tested elsewhere in this folder.

4, 6, 7, 8, 11 and 16: test_thesis. 13: test_promise. 14 and 17: testdata/split_vote.txt and transfer.txt. 19 and 20:
test_storage. 5, 9, 10, 11, 13 and 19 together and at random: test_simulation. 12: test_clock.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from kubevip_election_raft._messages import HardState, VoteRequest, VoteResponse
from kubevip_election_raft._ready import Role
from kubevip_election_raft._timing import DEFAULT, FAST, RELAXED, Timing

from .group import Group, InFlight

P = DEFAULT.promise_seconds


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("timing", [DEFAULT, FAST, RELAXED])
def test_a_first_start_has_one_leader_within_two_promises(size: int, timing: Timing) -> None:
    """Scenario A 1."""
    for seed in range(10):
        group = Group(size, timing=timing, rng=lambda name, seed=seed: Random(f"{seed}{name}"))  # type: ignore[misc]
        group.advance(2 * timing.promise_seconds)
        assert group.leaders == ["n1"]
        assert {group[name].term for name in group.names} == {1}


@pytest.mark.parametrize("disk", [HardState(), HardState(term=41, vote="n1", promise_seconds=P)])
def test_a_single_member_elects_itself_after_one_promise(disk: HardState) -> None:
    """Scenario A 2."""
    group = Group(1, disks={"n1": disk})
    group.advance(P - 0.001)
    assert group.leaders == []
    group.advance(0.1)
    assert group.leaders == ["n1"]
    assert group["n1"].term == disk.term + 1


@pytest.mark.parametrize("knows", [True, False], ids=["connection reset", "silence"])
def test_a_killed_leader_is_succeeded_within_one_promise_and_a_little(knows: bool) -> None:
    """Scenario A 3."""
    for moment in (0.001, 0.025, 0.049):
        group = Group(3, rng=lambda name: Random(name))
        group.elect()
        group.advance(0.1 + moment)
        group.crash("n1")
        if knows:
            for name in ("n2", "n3"):
                group.do(name, lambda node, now: node.disconnected("n1", now))
        group.advance(P + DEFAULT.jitter_seconds)
        assert group.leaders == ["n2"]
        assert group["n2"].term == 2
        assert group["n2"].state.rise is not None
        assert group["n2"].state.rise.why == "n1 is silent"


def test_leaders_of_five_that_are_cut_off_one_after_another_are_succeeded_each_time() -> None:
    """Scenario A 5."""
    group = Group(5)
    led: list[str] = []
    for _ in range(8):
        group.advance(0.6)
        (leader,) = group.leaders
        led.append(leader)
        group.heal()
        group.cut_off(leader)
    group.heal()
    group.advance(0.6)
    assert len(group.leaders) == 1
    assert all(one != next_ for one, next_ in pairwise(led))
    assert len({group[name].term for name in group.names}) == 1


@pytest.mark.parametrize("slow", [VoteRequest, VoteResponse])
def test_slow_votes_still_end_in_a_leader(slow: type) -> None:
    """Scenario A 9: votes, or their answers, take 100 ms each."""
    group = Group(3)
    late: list[tuple[float, InFlight]] = []
    while group.now < 2.0 and not group.leaders:
        group.advance(0.005, delivers=False)
        while group.in_flight:
            taken = group.take()
            late += [(group.now + 0.1, flying) for flying in taken if isinstance(flying.message, slow)]
            group.deliver(flying for flying in taken if not isinstance(flying.message, slow))
        group.deliver([flying for due, flying in late if due <= group.now])
        late = [(due, flying) for due, flying in late if due > group.now]
    assert len(group.leaders) == 1


def test_a_follower_that_does_not_hear_the_leader_cannot_unseat_it() -> None:
    """Scenario A 10: n1 hears n3, n3 does not hear n1; n2 hears both, and sticks to n1."""
    group = Group(3)
    group.elect()
    group.blocked.add(("n1", "n3"))
    group.advance(5.0)
    assert group.leaders == ["n1"]
    assert group["n1"].term == 1


def test_a_leader_that_is_not_heard_by_anybody_is_succeeded_and_follows() -> None:
    """Scenario A 10: it hears all others, who do not hear it."""
    group = Group(3)
    group.elect()
    group.blocked |= {("n1", "n2"), ("n1", "n3")}
    group.advance(0.5)
    assert group.leaders == ["n2"]
    assert (group["n1"].state.role, group["n1"].state.leader) == (Role.FOLLOWER, "n2")


def test_a_leader_that_hears_nobody_is_succeeded_and_does_not_come_between() -> None:
    """Scenario A 10: all hear it, and it hears no answer; its term ends, the voters are free after their promise."""
    group = Group(3)
    group.elect()
    group.blocked |= {("n2", "n1"), ("n3", "n1")}
    group.advance(1.0)
    assert group.leaders == ["n2"]
    term = group["n2"].term
    group.advance(3.0)
    assert (group.leaders, group["n2"].term) == (["n2"], term)


def test_a_leader_that_was_frozen_for_longer_than_its_lease_finds_it_over() -> None:
    """Scenario A 11: the others have elected meanwhile; it follows without a word of its own lease."""
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.members["n1"].is_up = False  # frozen: it takes nothing and does nothing
    group.advance(0.5)
    assert group.leaders == ["n2"]
    group.members["n1"].is_up = True
    assert group["n1"].state.role is Role.LEADER  # it does not know yet, but its lease tells it
    assert group["n1"].state.lease_until < group.now
    group.advance(0.2)
    assert group.leaders == ["n2"]
    assert group["n1"].state.leader == "n2"
