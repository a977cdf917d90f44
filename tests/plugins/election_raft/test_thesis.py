"""One test for each rule of the Raft thesis (Ongaro 2014) that applies while there is no log; sections in the names."""

from __future__ import annotations

from random import Random

import pytest

from kubevip_election_raft._messages import (
    Grant,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    PreVoteRequest,
    PreVoteResponse,
    Process,
    PromiseRequest,
    Release,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._ready import Ready, Role
from kubevip_election_raft._timing import DEFAULT, FAST, RELAXED, Timing

from .group import Group

P = DEFAULT.promise_seconds


def promise(term: int, round_: int = 1) -> PromiseRequest:
    return PromiseRequest(round=round_, seconds=P, grant=Grant(term=term))


def heartbeat(term: int, heirs: tuple[str, ...] = ()) -> Heartbeat:
    return Heartbeat(term=term, promise=promise(term), heirs=heirs)


def vote_request(term: int) -> VoteRequest:
    return VoteRequest(term=term, promise=promise(term))


def free_group(size: int = 3) -> Group:
    """A group in term 1 in which nobody is bound, hears a leader, or is about to stand."""
    group = Group(size, disks={f"n{number + 1}": HardState(term=1, promise_seconds=P) for number in range(size)})
    group.now = P + 0.001
    return group


def stand(group: Group, name: str) -> None:
    """Let `name` win a pre-vote, so that it is a candidate whose vote requests are in flight."""
    node = group[name]
    node._standing.at = group.now
    group.do(name, lambda node, now: node.tick(now))
    for peer in list(node.peers)[: len(group.names) // 2]:
        group.say(peer, name, PreVoteResponse(term=node.term, asked=node.term + 1, is_granted=True))
    group.take(sender=name)
    assert node.state.role is Role.CANDIDATE


# 3.3 Terms


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_3_3_a_larger_term_is_adopted_and_makes_a_follower(role: Role) -> None:
    group = free_group()
    if role is not Role.FOLLOWER:
        stand(group, "n1")
    if role is Role.LEADER:
        group.say("n2", "n1", VoteResponse(term=2, asked=2, is_granted=True))
    assert group["n1"].state.role is role
    group.say("n3", "n1", heartbeat(9))
    assert (group["n1"].state.role, group["n1"].state.term, group["n1"].state.leader) == (Role.FOLLOWER, 9, "n3")
    assert group.members["n1"].disk.term == 9


def test_3_3_a_stale_term_is_rejected_with_the_newer_one() -> None:
    group = free_group()
    group.say("n2", "n1", heartbeat(5))
    group.take()
    group.say("n3", "n1", heartbeat(4))
    (answer,) = group.take(sender="n1")
    assert answer.message == HeartbeatResponse(term=5, fitness=100, promise=None)
    assert group["n1"].state.leader == "n2"


def test_3_3_a_stale_answer_changes_nothing() -> None:
    group = free_group()
    stand(group, "n1")
    group.say("n2", "n1", VoteResponse(term=1, asked=1, is_granted=True))
    assert group["n1"].state.role is Role.CANDIDATE


# 3.4 Leader election


def test_3_4_all_start_as_followers() -> None:
    group = Group(3)
    assert {group[name].state.role for name in group.names} == {Role.FOLLOWER}


def test_3_4_a_follower_stays_one_while_it_hears_the_leader() -> None:
    group = Group(3)
    group.elect()
    group.advance(5.0)
    assert [group[name].state.role for name in group.names] == [Role.LEADER, Role.FOLLOWER, Role.FOLLOWER]
    assert group["n1"].term == 1


def test_3_4_a_follower_that_hears_nothing_stands_in_the_next_term_and_votes_for_itself() -> None:
    group = free_group()
    stand(group, "n1")
    assert group.members["n1"].disk == HardState(term=2, vote="n1", promise_seconds=P)


def test_3_4_a_candidate_asks_all_others_for_their_votes() -> None:
    group = free_group(5)
    node = group["n1"]
    node._standing.at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    group.take()
    for peer in ("n2", "n3"):
        group.say(peer, "n1", PreVoteResponse(term=1, asked=2, is_granted=True))
    assert [flying.to for flying in group.take() if isinstance(flying.message, VoteRequest)] == ["n2", "n3", "n4", "n5"]


@pytest.mark.parametrize(
    ("size", "votes", "wins"), [(1, 0, True), (3, 0, False), (3, 1, True), (5, 1, False), (5, 2, True), (5, 4, True)]
)
def test_3_4_a_majority_of_votes_wins(size: int, votes: int, wins: bool) -> None:
    group = free_group(size)
    if size > 1:
        stand(group, "n1")
        for peer in group.names[1 : votes + 1]:
            group.say(peer, "n1", VoteResponse(term=2, asked=2, is_granted=True))
    else:
        group.advance(1.0)
    assert (group["n1"].state.role is Role.LEADER) == wins


def test_3_4_the_same_vote_counts_once() -> None:
    group = free_group(5)
    stand(group, "n1")
    for _ in range(3):
        group.say("n2", "n1", VoteResponse(term=2, asked=2, is_granted=True))
    assert group["n1"].state.role is Role.CANDIDATE


def test_3_4_a_voter_votes_once_a_term_first_come_first_served() -> None:
    group = free_group()
    group.say("n2", "n1", vote_request(2))
    group.now += 2 * P  # the promise that went with the vote has run out: only the vote itself refuses now
    group.say("n3", "n1", vote_request(2))
    first, second = (flying.message for flying in group.take(sender="n1"))
    assert isinstance(first, VoteResponse)
    assert isinstance(second, VoteResponse)
    assert (first.is_granted, second.is_granted) == (True, False)


def test_3_4_the_same_candidate_gets_the_same_vote_again() -> None:
    group = free_group()
    group.say("n2", "n1", vote_request(2))
    group.say("n2", "n1", vote_request(2))
    assert [flying.message.is_granted for flying in group.take() if isinstance(flying.message, VoteResponse)] == [
        True,
        True,
    ]


def test_3_4_a_new_leader_sends_heartbeats_at_once() -> None:
    group = free_group()
    stand(group, "n1")
    group.say("n2", "n1", VoteResponse(term=2, asked=2, is_granted=True))
    assert [flying.to for flying in group.take() if isinstance(flying.message, Heartbeat)] == ["n2", "n3"]


def test_3_4_a_candidate_that_hears_a_leader_of_its_term_follows_it() -> None:
    group = free_group()
    stand(group, "n1")
    group.say("n2", "n1", heartbeat(2))
    assert (group["n1"].state.role, group["n1"].state.leader) == (Role.FOLLOWER, "n2")


def test_3_4_a_candidate_that_hears_a_leader_of_an_older_term_stays_one() -> None:
    group = free_group()
    stand(group, "n1")
    group.say("n2", "n1", heartbeat(1))
    assert group["n1"].state.role is Role.CANDIDATE


def test_3_4_a_split_vote_ends_and_is_tried_again_after_a_random_time() -> None:
    waits = set[float]()
    for seed in range(20):
        group = Group(3, rng=lambda name, seed=seed: Random(seed))  # type: ignore[misc]
        group.now = 2 * P
        stand(group, "n1")
        for peer in ("n2", "n3"):
            group.say(peer, "n1", VoteResponse(term=1, asked=1, is_granted=False))
        assert group["n1"].state.role is Role.FOLLOWER
        waits.add(group["n1"].deadline - group.now)
    assert len(waits) == 20
    assert min(waits) >= DEFAULT.rank_seconds
    assert max(waits) <= P


def test_3_4_a_split_vote_gives_back_what_was_promised() -> None:
    """Ours: a candidate's own voter, and those that voted for it, are free for the next one at once."""
    group = free_group(5)
    stand(group, "n1")
    group.deliver([])
    for peer in ("n3", "n4", "n5"):
        group.say(peer, "n1", VoteResponse(term=2, asked=2, is_granted=False))
    releases = [flying.message for flying in group.take(sender="n1")]
    assert releases == [Release(grant=Grant(term=2))] * 4
    assert group["n1"]._voter.wait_seconds(Process(name="n3", incarnation=1), group.now) == 0


def test_3_4_a_second_leader_of_a_term_is_not_believed() -> None:
    group = Group(3)
    group.elect()
    ready = group.say("n2", "n1", heartbeat(group["n1"].term))
    assert ready == Ready()
    assert group["n1"].state.role is Role.LEADER


# 3.8 Persisted state


def test_3_8_the_vote_is_handed_out_for_saving_together_with_the_answer() -> None:
    group = free_group()
    ready = group.say("n2", "n1", vote_request(2))
    assert ready.hard_state == HardState(term=2, vote="n2", promise_seconds=P)
    assert [type(outgoing.message) for outgoing in ready.messages] == [VoteResponse]


def test_3_8_a_restarted_voter_remembers_its_vote() -> None:
    group = free_group()
    group.say("n2", "n1", vote_request(2))
    group.crash("n1")
    group.restart("n1")
    group.now += 2 * P
    group.take()
    group.say("n3", "n1", vote_request(2))
    (answer,) = group.take(sender="n1")
    assert isinstance(answer.message, VoteResponse)
    assert not answer.message.is_granted


def test_3_8_nothing_is_saved_at_rest() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.persisted.clear()
    group.advance(10.0)
    assert group.persisted == []


# 3.9 Timing


@pytest.mark.parametrize("timing", [DEFAULT, FAST, RELAXED])
def test_3_9_a_promise_outlasts_several_heartbeats(timing: Timing) -> None:
    assert timing.promise_seconds >= 3 * timing.heartbeat_seconds
    assert timing.lease_seconds > 2 * timing.heartbeat_seconds


# 3.10 Leadership transfer


def test_3_10_the_target_stands_at_once_without_a_pre_vote() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    assert group["n1"].transfer("n3", group.now) == ""
    group.do("n1", lambda node, now: node.release(now))
    group.deliver(group.take(to="n3"))
    assert group["n3"].state.role is Role.CANDIDATE


def test_3_10_a_transfer_takes_no_time_but_that_of_its_messages() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group["n1"].transfer("n3", group.now)
    group.do("n1", lambda node, now: node.release(now))
    group.stabilize()
    assert group.leaders == ["n3"]


def test_3_10_a_late_request_to_stand_does_nothing() -> None:
    group = Group(3)
    group.elect()
    late = Release(grant=Grant(term=1), heir="n2", why="moved")
    group.cut_off("n1")
    group.elect("n2")
    group.heal()
    group.advance(0.2)
    group.elect("n2")
    term = group["n2"].term
    assert group.say("n1", "n3", late) == Ready()
    group.advance(1.0)
    assert (group.leaders, group["n2"].term) == (["n2"], term)


def test_3_10_a_target_that_dies_is_succeeded_by_the_next_heir() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group["n1"].transfer("n3", group.now)
    group.crash("n3")
    group.do("n1", lambda node, now: node.release(now))
    group.advance(0.2)
    assert group.leaders == ["n2"]


def test_3_10_a_target_that_just_started_is_refused_because_it_could_not_stand() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.3)
    group.crash("n3")
    group.restart("n3")
    group.advance(0.06)
    assert group["n1"].transfer("n3", group.now) == "n3 started a moment ago and keeps silent; try again"
    group.advance(P)
    assert group["n1"].transfer("n3", group.now) == ""


# 4.2.3 Disruptive servers


def test_4_2_3_a_vote_is_refused_while_a_leader_is_heard_and_the_term_stays() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.2)
    ready = group.say("n3", "n2", vote_request(7))
    assert ready.hard_state is None
    (outgoing,) = ready.messages
    assert isinstance(outgoing.message, VoteResponse)
    assert not outgoing.message.is_granted
    assert 0 < outgoing.message.wait_seconds <= P
    assert group["n2"].term == 1


def test_4_2_3_a_leader_refuses_votes_while_it_holds() -> None:
    group = Group(3)
    group.elect()
    ready = group.say("n3", "n1", vote_request(7))
    assert ready.hard_state is None
    assert group["n1"].state.role is Role.LEADER


def test_4_2_3_who_is_no_member_is_not_heard() -> None:
    """Scenario A 16."""
    group = free_group()
    for message in (vote_request(9), heartbeat(9), PreVoteRequest(term=9, fitness=100, rank=0)):
        assert group.say("n9", "n1", message) == Ready()
    assert group["n1"].term == 1


# 6.2 A leader without a majority steps down


def test_6_2_a_leader_without_a_majority_steps_down_within_its_lease() -> None:
    """Scenarios A 4 and A 6: before a rival can win, and the minority elects nobody."""
    group = Group(5)
    group.elect()
    group.advance(0.2)
    lease_until = group["n1"].state.lease_until
    for name in ("n1", "n2"):
        for other in ("n3", "n4", "n5"):
            group.blocked |= {(name, other), (other, name)}
    seen: list[list[str]] = []
    while group.now < lease_until + 1.0:
        group.advance(0.001)
        if not seen or seen[-1] != group.leaders:
            seen.append(group.leaders)
    assert seen == [["n1"], [], ["n3"]]
    assert group["n1"].term == group["n2"].term == 1  # their pre-votes raise no term


def test_6_2_a_leader_that_was_frozen_notices_before_anything_else() -> None:
    """Scenario A 11: the first thing that it does after it runs again is to step down."""
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.now += 5.0
    ready = group.say("n2", "n1", HeartbeatResponse(term=1, fitness=100))
    assert ready.messages == ()
    assert group["n1"].state.role is Role.FOLLOWER
    assert group["n1"].state.lease_until < group.now


# 6.4.1 Leases


def test_6_4_1_a_lease_counts_from_before_the_round_was_sent() -> None:
    group = Group(3)
    group.elect()
    group.take()
    node = group["n1"]
    group.now = node.deadline
    sent_at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    group.now += 0.049
    group.deliver(group.take(to="n2"))
    group.deliver(group.take(to="n1"))
    assert node.state.lease_until == pytest.approx(sent_at + P / 1.2)


# 9.6 PreVote


def test_9_6_a_pre_vote_changes_no_term_on_either_side() -> None:
    group = free_group()
    group["n1"]._standing.at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    group.deliver(group.take(to="n2"))
    assert group["n1"].term == group["n2"].term == 1
    assert group.persisted == []


def test_9_6_a_follower_that_was_cut_off_does_not_unseat_the_leader() -> None:
    """Scenario A 7."""
    group = Group(3)
    group.elect()
    group.cut_off("n3")
    group.advance(5.0)
    group.heal()
    group.advance(1.0)
    assert group.leaders == ["n1"]
    assert {group[name].term for name in group.names} == {1}


def test_9_6_without_pre_vote_it_would() -> None:
    """That the test above can fail; scenario A 8 (a member without PreVote among others) is safe and loses a term."""
    group = Group(3)
    group.elect()
    group.cut_off("n3")

    group["n3"]._stand = group["n3"]._campaign  # type: ignore[method-assign]
    group.advance(2.0)
    assert group["n3"].term > 1
    group.heal()
    group.advance(1.0)
    assert group["n1"].term > 1
    assert len(group.leaders) == 1


def test_9_6_a_pre_vote_is_refused_by_who_knows_a_newer_term() -> None:
    group = free_group()
    group.say("n2", "n1", heartbeat(5))
    group.now += 2 * P
    group.take()
    group.say("n3", "n1", PreVoteRequest(term=3, fitness=100, rank=0))
    (answer,) = group.take(sender="n1")
    assert answer.message == PreVoteResponse(term=5, asked=3, is_granted=False)


def test_9_6_a_refusal_with_a_newer_term_is_learned_and_the_question_repeated() -> None:
    group = free_group()
    group["n1"]._standing.at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    group.take()
    group.say("n2", "n1", PreVoteResponse(term=5, asked=2, is_granted=False))
    asked = [flying.message for flying in group.take(sender="n1")]
    assert asked == [PreVoteRequest(term=6, fitness=100, rank=1)] * 2
    assert group["n1"].state.role is Role.PRE_CANDIDATE
