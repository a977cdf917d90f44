"""Scenarios A 1-14, 16, 17, 19 and 20 that are not tested elsewhere in this folder.

4, 6, 7, 8, 11 and 16: test_thesis. 13: test_promise. 14 and 17: testdata/split_vote.txt and transfer.txt. 19 and 20:
test_storage. 5, 9, 10, 11, 13 and 19 together and at random: test_simulation. 12: test_clock.
"""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest

from kubevip_election_raft._consensus.entries import Entry, HardState, MemberRecord, NoOp, Saved, SetMembers
from kubevip_election_raft._consensus.messages import Offer, VoteRequest, VoteResponse
from kubevip_election_raft._consensus.ready import Role
from kubevip_election_raft._consensus.timing import DEFAULT, FAST, RELAXED, Timing

from .group import Group, InFlight, fresh

P = DEFAULT.promise_seconds


def no_op(term: int) -> Entry:
    """The first entry of a log, of `term`."""
    return Entry(term=term, index=1, command=NoOp())


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("timing", [DEFAULT, FAST, RELAXED])
def test_a_first_start_has_one_leader_within_two_promises(size: int, timing: Timing) -> None:
    """Scenario A 1."""
    for seed in range(10):
        group = Group(size, timing=timing, rng=lambda name, seed=seed: Random(f"{seed}{name}"))  # type: ignore[misc]
        group.advance(2 * timing.promise_seconds)
        assert group.leaders == group.holders == ["n1"]
        assert {group[name].term for name in group.names} == {1}


@pytest.mark.parametrize("disk", [Saved(), fresh(41, vote="n1", promise_seconds=P)])
def test_a_single_member_elects_itself_after_one_promise(disk: Saved) -> None:
    """Scenario A 2."""
    group = Group(1, disks={"n1": disk})
    group.advance(P - 0.001)
    assert group.holders == []
    group.advance(0.1)
    assert group.leaders == group.holders == ["n1"]
    assert group["n1"].term == disk.hard_state.term + 1


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
        assert group.leaders == group.holders == ["n2"]
        assert group["n2"].term == 2
        rise = group["n2"].state.holdings["g"].rise
        assert rise.why == "n1 is silent"
        assert rise.silent_since is not None
        assert rise.silent_since <= rise.stood_at <= group.now


def test_leaders_of_five_that_are_cut_off_one_after_another_are_succeeded_each_time() -> None:
    """Scenario A 5."""
    group = Group(5)
    led: list[str] = []
    for _ in range(8):
        group.advance(0.6)
        (leader,) = group.holders
        led.append(leader)
        group.heal()
        group.cut_off(leader)
    group.heal()
    group.advance(0.6)
    assert len(group.holders) == 1
    assert all(one != next_ for one, next_ in pairwise(led))
    assert len({group[name].term for name in group.names}) == 1


@pytest.mark.parametrize("slow", [VoteRequest, VoteResponse])
def test_slow_votes_still_end_in_a_leader(slow: type) -> None:
    """Scenario A 9: votes, or their answers, take 100 ms each."""
    group = Group(3)
    late: list[tuple[float, InFlight]] = []
    while group.now < 2.0 and not group.holders:
        group.advance(0.005, delivers=False)
        while group.in_flight:
            taken = group.take()
            late += [(group.now + 0.1, flying) for flying in taken if isinstance(flying.message, slow)]
            group.deliver(flying for flying in taken if not isinstance(flying.message, slow))
        group.deliver([flying for due, flying in late if due <= group.now])
        late = [(due, flying) for due, flying in late if due > group.now]
    assert len(group.holders) == 1


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
    assert group.leaders == group.holders == ["n2"]
    assert (group["n1"].state.role, group["n1"].state.leader) == (Role.FOLLOWER, "n2")


def test_a_leader_that_hears_nobody_is_succeeded_and_does_not_come_between() -> None:
    """Scenario A 10: all hear it, and it hears no answer; its term ends, and what it holds; others can hold then."""
    group = Group(3)
    group.elect()
    group.blocked |= {("n2", "n1"), ("n3", "n1")}
    group.advance(1.0)
    assert group.leaders == ["n2"]
    term = group["n2"].term
    group.advance(3.0)
    assert (group.leaders, group["n2"].term) == (["n2"], term)
    assert group.holders == ["n2"]


def test_a_leader_that_was_frozen_for_longer_than_its_lease_finds_it_over() -> None:
    """Scenario A 11: the others have elected meanwhile; it follows without a word of its own lease."""
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.members["n1"].is_up = False  # frozen: it takes nothing and does nothing
    group.advance(0.5)
    assert group.holders == ["n2"]
    group.members["n1"].is_up = True
    assert group["n1"].state.role is Role.LEADER  # it does not know yet, but its lease tells it
    assert group.lease("n1") < group.now
    group.advance(0.2)
    assert group.leaders == group.holders == ["n2"]
    assert group["n1"].state.leader == "n2"


def test_a_holder_that_does_not_lead_is_succeeded_when_its_promises_end() -> None:
    """The leader places its group anew in time: the new holder has asked before the voters are free."""
    for moment in (0.001, 0.025, 0.049):
        group = Group(3)
        group.elect()
        group["n1"].move("g", "n3", group.now)
        group.advance(0.2 + moment)
        assert group.holders == ["n3"]
        died_at = group.now
        group.crash("n3")
        while group.holders != ["n1"]:
            group.advance(0.001)
            assert group.now < died_at + P + 0.002
        assert group["n1"].term == 1


def test_a_move_takes_no_time_but_that_of_its_messages() -> None:
    """No disk, no election and no question lies between the withdrawal and the take-over."""
    group = Group(3)
    group.elect()
    group.advance(0.1)
    assert group["n1"].move("g", "n3", group.now) == ""
    group.do("n1", lambda node, now: node.tick(now))
    group.stabilize()
    assert (group.holders, group.leaders) == (["n3"], ["n1"])
    assert group["n3"].state.holdings["g"].rise.why == "moved"


def test_a_group_that_nobody_takes_is_kept_and_one_that_is_given_back_is_taken_again() -> None:
    group = Group(3)
    group.elect()
    for name in ("n2", "n3"):
        group.offer(name, None)
    group.advance(0.1)
    group.offer("n1", is_leaving=True)
    group.advance(0.3)
    assert group.holders == ["n1"]
    group.do("n1", lambda node, now: node.release(("g",), now))
    assert group.holders == []
    group.offer("n1")
    group.advance(0.1)
    assert group.holders == ["n1"]


def test_a_preferred_member_gets_its_group_back_when_it_has_been_there_for_long_enough() -> None:
    group = Group(3)
    wish = Offer(group="g", prefer=("n3", "n2"), fail_back_seconds=2.0)
    for name in group.names:
        group.do(name, lambda node, now: node.offer((wish,), now))
    group.advance(3.0)
    assert group.holders == ["n3"]
    group.crash("n3")
    group.advance(0.5)
    assert group.holders == ["n2"]
    group.restart("n3")
    group.do("n3", lambda node, now: node.offer((wish,), now))
    group.advance(1.9)
    assert group.holders == ["n2"]
    group.advance(0.3)
    assert group.holders == ["n3"]
    assert group["n3"].state.holdings["g"].rise.why == "preferred"


def test_a_witness_that_alone_has_what_was_agreed_leads_until_the_others_have_it() -> None:
    """Raft thesis 3.6.1: whoever lacks it cannot be elected, and who held it with the witness may be gone for good."""
    newest, older = (Saved(hard_state=HardState(term=2), entries=(no_op(term),)) for term in (2, 1))
    disks = {"n1": newest, "n2": older, "n3": newest}
    group = Group(disks=disks)
    group.crash("n1")
    group.offer("n3", None)
    group.advance(4.0)
    assert group["n2"]._log.term_at(1) == 2
    assert group.holders == ["n2"]
    assert group.leaders == ["n2"]  # it hands leading over as soon as somebody lacks nothing


def test_a_leader_that_stands_for_nothing_any_more_hands_leading_to_one_that_lacks_nothing() -> None:
    group = Group()
    group.elect()
    group.cut_off("n2")
    group.offer("n1", None)
    group.advance(0.1)
    assert group.leaders == ["n3"]
    group.advance(5.0)
    assert (group.leaders, group.holders) == (["n3"], ["n3"])


def test_a_member_that_stands_for_nothing_leaves_leading_to_those_that_stand() -> None:
    group = Group()
    group.offer("n1", None)
    group.elect("n2")
    group.crash("n2")
    group.advance(1.0)
    assert group.leaders == ["n3"]


def test_a_node_without_a_vote_never_stands() -> None:
    members = SetMembers(members=(MemberRecord(name="n1"), MemberRecord(name="n2")))
    removed = Saved(hard_state=HardState(term=1), entries=(Entry(term=1, index=1, command=members),))
    group = Group(disks={"n3": removed})
    group.crash("n1")
    group.crash("n2")
    group.advance(10.0)
    assert group["n3"].term == 1
    assert group["n3"].deadline == math.inf


def test_groups_go_where_the_least_is_held() -> None:
    group = Group(3, groups=("a", "b", "c", "d", "e", "f"))
    group.advance(0.5)
    held = [holder for each in group.groups for holder in group.holders_of(each)]
    assert sorted(held) == ["n1", "n1", "n2", "n2", "n3", "n3"]


def test_thousands_of_groups_are_held_and_cost_no_entry_at_rest() -> None:
    group = Group(3, groups=tuple(f"g{number}" for number in range(500)))
    group.advance(0.6)
    assert all(len(group.holders_of(each)) == 1 for each in group.groups)
    group.persisted.clear()
    group.advance(0.5)
    assert group.persisted == []
