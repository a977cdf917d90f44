"""One test for each rule of the Raft thesis (Ongaro 2014) that applies; sections in the names."""

from __future__ import annotations

from random import Random

import pytest
from attrs import evolve

from kubevip_election_raft._consensus.entries import (
    Entry,
    GroupState,
    HardState,
    MemberRecord,
    NoOp,
    Place,
    Placed,
    Process,
    Saved,
    SetMembers,
    Snapshot,
)
from kubevip_election_raft._consensus.messages import (
    NOT_STANDING,
    AppendEntries,
    AppendResponse,
    Goodbye,
    InstallSnapshot,
    Offer,
    PreVoteRequest,
    PreVoteResponse,
    PromiseRequest,
    PromiseResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Ready, Role
from kubevip_election_raft._consensus.replicator import MOST_COMMITTED_ENTRIES
from kubevip_election_raft._consensus.timing import CLOCK_RATIO, DEFAULT, FAST, RELAXED, Timing

from .group import Group, fresh

P = DEFAULT.promise_seconds


def entry(term: int, index: int, group: str | None = None) -> Entry:
    """A decision: nothing, or that n1 is to hold `group`."""
    place = Placed(group=group or "", process=Process(name="n1", incarnation=1))
    return Entry(term=term, index=index, command=NoOp() if group is None else Place(placed=(place,)))


def append(
    term: int,
    *entries: Entry,
    after: tuple[int, int] = (0, 0),
    commit: int = 0,
    heirs: tuple[str, ...] = (),
) -> AppendEntries:
    """What a leader says; `after` is term and index of the entry before."""
    return AppendEntries(
        term=term,
        round=1,
        previous_index=after[1],
        previous_term=after[0],
        commit=commit,
        seconds=P,
        entries=entries,
        heirs=heirs,
    )


def vote_request(term: int, last: tuple[int, int] = (0, 0)) -> VoteRequest:
    """`last` is term and index of the last entry of the candidate."""
    return VoteRequest(term=term, last_term=last[0], last_index=last[1])


def with_log(*terms: int, term: int = 1) -> Saved:
    """What a member has on its disk whose entries are of these terms."""
    entries = tuple(entry(of, index) for index, of in enumerate(terms, 1))
    return Saved(hard_state=HardState(term=term, promise_seconds=P), entries=entries)


def logs(group: Group) -> list[tuple[int, ...]]:
    """The terms of the entries of each member."""
    return [tuple(e.term for e in group[name]._log.between(0, 10**6)) for name in group.names]


def free_group(size: int = 3) -> Group:
    """A group in term 1 in which nobody is bound, hears a leader, or is about to stand."""
    group = Group(size, disks={f"n{number + 1}": fresh(1, promise_seconds=P) for number in range(size)})
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


def lead(group: Group, name: str = "n1") -> None:
    """Let `name` lead, with all that it says in flight."""
    stand(group, name)
    for peer in list(group[name].peers)[: len(group.names) // 2]:
        group.say(peer, name, VoteResponse(term=group[name].term, asked=group[name].term, is_granted=True))
    assert group[name].state.role is Role.LEADER


# 3.3 Terms


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_3_3_a_larger_term_is_adopted_and_makes_a_follower(role: Role) -> None:
    group = free_group()
    if role is not Role.FOLLOWER:
        stand(group, "n1")
    if role is Role.LEADER:
        group.say("n2", "n1", VoteResponse(term=2, asked=2, is_granted=True))
    assert group["n1"].state.role is role
    group.say("n3", "n1", append(9))
    assert (group["n1"].state.role, group["n1"].state.term, group["n1"].state.leader) == (Role.FOLLOWER, 9, "n3")
    assert group.members["n1"].disk.hard_state.term == 9


@pytest.mark.parametrize(
    "message",
    [
        append(2**53),
        AppendResponse(term=2**53, round=1),
        VoteRequest(term=2**53, last_index=9, last_term=9, is_succession=True),
        VoteResponse(term=2**53, asked=1, is_granted=False),
    ],
    ids=lambda message: type(message).__name__,
)
def test_3_3_a_term_that_leaves_room_for_no_other_is_not_adopted(
    message: AppendEntries | AppendResponse | VoteRequest | VoteResponse,
) -> None:
    group = free_group()
    term = group["n1"].state.term
    group.say("n3", "n1", message)
    assert group["n1"].state.term == term
    stand(group, "n1")
    assert group["n1"].state.role is Role.CANDIDATE


def test_3_3_a_stale_term_is_rejected_with_the_newer_one() -> None:
    group = free_group()
    group.say("n2", "n1", append(5))
    group.take()
    group.say("n3", "n1", append(4))
    (answer,) = group.take(sender="n1")
    assert answer.message == AppendResponse(term=5, round=1)
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
    assert group.members["n1"].disk.hard_state == HardState(term=2, vote="n1", promise_seconds=P)


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
    group.now += 2 * P
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
    assert [flying.to for flying in group.take() if isinstance(flying.message, AppendEntries)] == ["n2", "n3"]


def test_3_4_a_candidate_that_hears_a_leader_of_its_term_follows_it() -> None:
    group = free_group()
    stand(group, "n1")
    group.say("n2", "n1", append(2))
    assert (group["n1"].state.role, group["n1"].state.leader) == (Role.FOLLOWER, "n2")


def test_3_4_a_candidate_that_hears_a_leader_of_an_older_term_stays_one() -> None:
    group = free_group()
    stand(group, "n1")
    group.say("n2", "n1", append(1))
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


def test_3_4_a_second_leader_of_a_term_is_not_believed() -> None:
    group = Group(3)
    group.elect()
    ready = group.say("n2", "n1", append(group["n1"].term))
    assert ready == Ready()
    assert group["n1"].state.role is Role.LEADER


# 3.5 Log replication


def test_3_5_a_leader_appends_and_sends_before_it_has_saved() -> None:
    """10.2.1: its own disk works while its followers do."""
    group = free_group()
    stand(group, "n1")
    early: list[Ready] = []
    group.do("n1", lambda node, now: node.tick(now))
    ready = group.say("n2", "n1", VoteResponse(term=2, asked=2, is_granted=True))
    early.append(ready)
    assert ready.entries == group["n1"]._log.between(0, 9)
    sent = [outgoing.message for outgoing in ready.early if isinstance(outgoing.message, AppendEntries)]
    assert [message.entries for message in sent] == [ready.entries] * 2
    assert not [outgoing for outgoing in ready.messages if isinstance(outgoing.message, AppendEntries)]


def test_3_5_entries_after_one_that_is_missing_are_refused_with_where_to_go_on() -> None:
    group = free_group()
    group.say("n2", "n1", append(1, entry(1, 5), after=(1, 4)))
    (answer,) = group.take(sender="n1")
    assert answer.message == AppendResponse(term=1, round=1, hint_index=1, hint_term=0, offers_version=1)
    assert logs(group)[0] == ()


def test_3_5_a_conflict_is_refused_with_the_first_index_of_its_term() -> None:
    group = Group(3, disks={"n1": with_log(1, 1, 2, 2, 2, term=2)})
    group.say("n2", "n1", append(4, entry(4, 6), after=(3, 5)))
    (answer,) = group.take(sender="n1", to="n2")
    assert answer.message == AppendResponse(term=4, round=1, hint_index=3, hint_term=2, offers_version=1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param((1, 1, 1), (1,), id="entries are missing"),
        pytest.param((1, 1, 3), (1, 1, 2, 2), id="others are there instead"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 5, 5, 6, 6), id="figure 3.6 a"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4), id="figure 3.6 b"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), id="figure 3.6 c"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), id="figure 3.6 d"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 4, 4, 4, 4), id="figure 3.6 e"),
        pytest.param((1, 1, 1, 4, 4, 5, 5, 6, 6, 6), (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), id="figure 3.6 f"),
    ],
)
def test_3_5_a_follower_gets_the_log_of_its_leader(ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    term = max(*ours, *theirs)
    disks = {"n1": with_log(*ours, term=term), "n2": with_log(*ours, term=term), "n3": with_log(*theirs, term=term)}
    group = Group(3, disks=disks)
    group.blocked |= {("n3", "n2"), ("n2", "n3")}
    group.now = P + 0.001
    lead(group)
    group.stabilize()
    group.advance(0.5)
    group.stabilize()
    assert len(set(logs(group))) == 1
    assert logs(group)[2][: len(ours)] == ours


def test_3_5_a_follower_that_was_away_is_brought_up_in_few_rounds() -> None:
    """The hints go back a whole term at once."""
    long = tuple(1 + index // 20 for index in range(200))
    disks = {"n1": with_log(*long, term=11), "n2": with_log(*long, term=11), "n3": with_log(*[1] * 5, *[12] * 100)}
    group = Group(3, disks=disks)
    group.now = P + 0.001
    lead(group)
    rounds = 0
    while len(set(logs(group))) > 1:
        rounds += 1
        group.deliver(group.take())
        if not group.in_flight:
            group.advance(0.05, delivers=False)
        assert rounds < 40


def test_3_5_a_repeated_or_late_append_changes_nothing() -> None:
    group = free_group()
    group.say("n2", "n1", append(1, entry(1, 1), entry(1, 2)))
    ready = group.say("n2", "n1", append(1, entry(1, 1)))
    assert not ready.needs_disk
    assert logs(group)[0] == (1, 1)


def test_3_5_a_committed_entry_is_never_removed_whoever_says_so() -> None:
    group = free_group()
    group.say("n2", "n1", append(1, entry(1, 1), entry(1, 2), commit=2))
    group.say("n3", "n1", append(2, entry(2, 2), after=(1, 1)))
    assert logs(group)[0] == (1, 1)


@pytest.mark.parametrize("entries", [(entry(1, 3),), (entry(1, 1), entry(1, 3)), (entry(1, 2), entry(1, 1))])
def test_3_5_entries_that_do_not_follow_one_another_are_not_taken(entries: tuple[Entry, ...]) -> None:
    group = free_group()
    ready = group.say("n2", "n1", append(1, *entries))
    assert logs(group)[0] == ()
    assert ready.entries == ()


# 3.6 Safety


def test_3_6_1_a_voter_refuses_a_candidate_whose_log_lacks_what_its_own_has() -> None:
    group = Group(3, disks={"n1": with_log(1, 1, 2, term=2)})
    group.now = 2 * P
    verdicts: list[bool] = []
    for number, last in enumerate([(1, 9), (2, 2), (2, 3), (3, 1)]):
        group.say("n2", "n1", vote_request(3 + number, last))
        verdicts += [f.message.is_granted for f in group.take(to="n2") if isinstance(f.message, VoteResponse)]
    assert verdicts == [False, False, True, True]


def test_3_6_1_a_pre_vote_is_refused_for_the_same_reason() -> None:
    group = Group(3, disks={"n1": with_log(1, 1, 2, term=2)})
    group.now = 2 * P
    group.say("n2", "n1", PreVoteRequest(term=9, last_index=9, last_term=1, fitness=100, rank=0))
    (answer,) = group.take(to="n2")
    assert answer.message == PreVoteResponse(term=2, asked=9, is_granted=False)


def test_3_6_2_an_entry_of_an_older_term_is_not_committed_by_counting() -> None:
    """Figure 3.7: only with an entry of the leader's own term, as everything before it."""
    group = Group(5, disks={name: with_log(1, 2, term=3) for name in ("n1", "n2")})
    group.now = P + 0.001
    lead(group)
    node = group["n1"]
    for name in ("n2", "n3"):
        group.say(name, "n1", AppendResponse(term=node.term, round=1, matched=2))
    assert node._log.commit == 0
    for name in ("n2", "n3"):
        group.say(name, "n1", AppendResponse(term=node.term, round=1, matched=3))
    assert node._log.commit == 3


def test_3_6_2_a_leaders_own_copy_counts_only_when_it_is_saved() -> None:
    node = free_group(3)["n1"]
    now = P + 1.0
    node.tick(now)
    for peer in ("n2", "n3"):
        node.step(Process(name=peer, incarnation=1), PreVoteResponse(term=1, asked=2, is_granted=True), now)
    assert node.state.role is Role.CANDIDATE
    node.step(Process(name="n2", incarnation=1), VoteResponse(term=2, asked=2, is_granted=True), now)
    assert node.state.role is Role.CANDIDATE  # its own vote is not on disk
    vote = Ready(hard_state=HardState(term=2, vote="n1", promise_seconds=P))
    ready = node.saved(vote, now)
    assert node._leader is not None
    node.step(Process(name="n2", incarnation=1), AppendResponse(term=2, round=1, matched=1), now)
    assert node._log.commit == 0  # one of three has it
    node.saved(ready, now)
    assert node._log.commit == 1


def test_3_6_4_a_leader_begins_with_an_entry_that_decides_nothing() -> None:
    """6.4 as well: without it a leader that decides nothing would not know what is committed."""
    group = free_group()
    lead(group)
    assert group["n1"]._log.between(0, 1) == (entry(2, 1),)


# 3.8 Persisted state


def test_3_8_the_vote_is_handed_out_for_saving_together_with_the_answer() -> None:
    group = free_group()
    ready = group.say("n2", "n1", vote_request(2))
    assert ready.hard_state == HardState(term=2, vote="n2", promise_seconds=P)
    assert [type(outgoing.message) for outgoing in ready.messages] == [VoteResponse]
    assert ready.early == ()


def test_3_8_entries_are_handed_out_for_saving_together_with_the_answer() -> None:
    group = free_group()
    ready = group.say("n2", "n1", append(1, entry(1, 1)))
    assert ready.entries == (entry(1, 1),)
    assert [outgoing.message for outgoing in ready.messages] == [
        AppendResponse(term=1, round=1, matched=1, offers_version=1)
    ]


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


def test_3_8_a_new_birth_is_handed_out_for_saving_before_anything_is_said() -> None:
    """Else a restart draws another one, and its peers take the member for a machine that lost its disk."""
    before = HardState(term=5, vote="n2", promise_seconds=0.18)

    def first(saved: HardState) -> Ready:
        process = Process(name="n1", incarnation=1, birth=7)
        members = ("n1", "n2", "n3")
        disk = Saved(hard_state=saved)
        node = Node(process=process, members=members, timing=DEFAULT, saved=disk, rng=Random(1), now=0.0)
        return node.offer((Offer(group="g"),), 0.0)

    assert first(before) == Ready(hard_state=evolve(before, birth=7))
    assert first(evolve(before, birth=7)) == Ready()


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


def test_3_10_the_heir_stands_at_once_without_a_pre_vote() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.do("n1", lambda node, now: node.resign(now))
    group.deliver(group.take(to="n2"))
    assert group["n2"].state.role is Role.CANDIDATE


def test_3_10_a_transfer_takes_no_time_but_that_of_its_messages_and_touches_no_holder() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    tenure = group["n1"].state.holdings["g"].tenure
    group.do("n1", lambda node, now: node.resign(now))
    group.stabilize()
    assert (group.leaders, group.holders) == (["n2"], ["n1"])
    group.advance(1.0)
    assert group["n1"].state.holdings["g"].tenure == tenure


def test_3_10_a_late_request_to_stand_does_nothing() -> None:
    group = Group(3)
    group.elect()
    late = TimeoutNow(term=1, heir="n3", why="stopped")
    group.cut_off("n1")
    group.elect("n2")
    group.heal()
    group.advance(0.2)
    term = group["n2"].term
    assert group.say("n1", "n3", late) == Ready()
    group.advance(1.0)
    assert (group.leaders, group["n2"].term) == (["n2"], term)


def test_3_10_an_heir_that_dies_is_succeeded_by_the_next() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.crash("n2")
    group.do("n1", lambda node, now: node.resign(now))
    group.advance(0.2)
    assert group.leaders == ["n3"]


# 4.1 Membership: one member at a time


def change(group: Group, name: str, *, is_removal: bool, at: str = "n1") -> str:
    """Ask the leader for a change; return its refusal."""
    member = MemberRecord(name=name)
    refusal = group[at].change_members(member, is_removal=is_removal, now=group.now).refusal
    group.do(at, lambda node, now: node.tick(now))
    return refusal


def test_4_1_a_member_is_in_effect_as_soon_as_it_is_in_the_log() -> None:
    """Scenario A 15."""
    group = Group(5)
    group.elect()
    group.advance(2 * P)
    assert change(group, "n5", is_removal=True) == "its groups go elsewhere first"
    assert change(group, "n5", is_removal=True) == ""
    assert [len(group[name].members) for name in ("n1", "n2")] == [4, 5]
    group.stabilize()
    assert [len(group[name].members) for name in ("n1", "n2")] == [4, 4]
    assert group["n2"]._quorum == 3
    group.advance(1.0)
    assert group.holders == ["n1"]


def test_4_1_the_next_change_waits_for_one_promise_after_the_last_was_committed() -> None:
    group = Group(5)
    group.elect()
    group.advance(2 * P)
    change(group, "n5", is_removal=True)
    change(group, "n5", is_removal=True)
    assert change(group, "n4", is_removal=True) == "another change is not over yet"
    group.stabilize()
    group.advance(P - 0.001)
    assert change(group, "n4", is_removal=True) == "another change is not over yet"
    group.advance(0.002)
    assert change(group, "n4", is_removal=True) == "its groups go elsewhere first"


def test_4_1_a_change_waits_for_the_longest_promise_that_anybody_asks_for() -> None:
    group = Group(5)
    group.elect()
    group.advance(2 * P)
    offers = group["n2"].offers.offers
    group.do("n2", lambda node, now: node.offer(offers, now, promise_seconds=0.5))
    group.advance(0.5)
    change(group, "n5", is_removal=True)
    change(group, "n5", is_removal=True)
    group.stabilize()
    group.advance(0.5 - 0.001)
    assert change(group, "n4", is_removal=True) == "another change is not over yet"
    group.advance(0.002)
    assert change(group, "n4", is_removal=True) == "its groups go elsewhere first"


def test_who_asks_for_a_longer_promise_is_succeeded_that_much_later() -> None:
    """Whatever else the timing says: a machine without a fence."""
    group = Group(3)
    group.elect()
    offers = group["n1"].offers.offers
    group.do("n1", lambda node, now: node.offer(offers, now, promise_seconds=0.5))
    group.advance(1.0)
    assert group.holders == ["n1"]
    end = group.lease("n1")
    group.members["n1"].is_up = False
    asked_at = end - 0.5 / CLOCK_RATIO
    group.advance(asked_at + 0.5 - 0.001 - group.now)
    assert (group.leaders, group.holders) == (["n2"], [])
    group.advance(0.100)
    assert group.holders == ["n2"]


def test_4_1_a_new_leader_changes_nothing_before_an_entry_of_its_own_term_is_committed_for_one_promise() -> None:
    group = Group(3)
    group.elect()
    assert change(group, "n3", is_removal=True) == "another change is not over yet"
    assert change(group, "n3", is_removal=True, at="n2") == "n2 does not lead"


def test_4_1_a_member_that_was_removed_can_be_added_and_catches_up() -> None:
    group = Group(3)
    group.elect()
    group.advance(2 * P)
    change(group, "n3", is_removal=True)
    change(group, "n3", is_removal=True)
    group.advance(2 * P)
    assert group.say("n3", "n1", vote_request(99)) == Ready()
    assert change(group, "n3", is_removal=False) == ""
    group.advance(2 * P)
    assert [group[name].members for name in group.names] == [("n1", "n2", "n3")] * 3
    assert group["n3"]._log.commit == group["n1"]._log.commit


def test_4_1_what_a_member_holds_goes_elsewhere_before_it_is_removed() -> None:
    group = Group(3)
    group.elect()
    group.advance(2 * P)
    group["n1"].move("g", "n3", group.now)
    group.advance(0.1)
    assert group.holders == ["n3"]
    change(group, "n3", is_removal=True)
    group.stabilize()
    assert group.holders == ["n1"]
    assert change(group, "n3", is_removal=True) == ""


def test_4_2_2_a_leader_that_is_to_be_removed_lets_another_lead_first() -> None:
    group = Group(3)
    group.elect()
    group.advance(2 * P)
    assert change(group, "n1", is_removal=True) == "another member leads first"
    group.advance(2 * P)
    assert group.leaders == ["n2"]
    change(group, "n1", is_removal=True, at="n2")
    assert change(group, "n1", is_removal=True, at="n2") == ""
    group.advance(1.0)
    assert group.holders == ["n2"]


def test_4_1_promises_of_voters_that_know_newer_members_do_not_count() -> None:
    group = Group(3)
    group.elect()
    group.advance(0.1)
    until = group.lease("n1")
    for voter in ("n2", "n3"):
        answer = PromiseResponse(round=group["n1"]._holder._round, incarnation=1, members_index=99)
        group.now = until - 0.001
        group.say(voter, "n1", answer)
    assert group.lease("n1") == until


def test_a_member_with_another_birth_is_another_member() -> None:
    """It lost its disk, and with it its votes and entries: it counts for nothing until it is replaced."""
    group = Group(3)
    group.elect()
    records = (MemberRecord(name="n1", birth=7), MemberRecord(name="n2", birth=7), MemberRecord(name="n3"))
    group.say("n2", "n3", append(9, Entry(term=9, index=3, command=SetMembers(members=records)), after=(1, 2)))
    stranger = Process(name="n1", incarnation=9, birth=8)
    known = Process(name="n1", incarnation=9, birth=7)
    group.now += 2 * P
    assert group.say(stranger, "n3", vote_request(12, (9, 9))) == Ready()
    assert group.say(known, "n3", vote_request(12, (9, 9))).hard_state is not None


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


def test_4_2_3_a_leader_refuses_votes_while_it_is_heard() -> None:
    group = Group(3)
    group.elect()
    ready = group.say("n3", "n1", vote_request(7))
    assert ready.hard_state is None
    assert group["n1"].state.role is Role.LEADER


def test_4_2_3_who_is_no_member_is_not_heard() -> None:
    """Scenario A 16."""
    group = free_group()
    question = PreVoteRequest(term=9, last_index=0, last_term=0, fitness=100, rank=0)
    for message in (vote_request(9), append(9), question, Goodbye()):
        assert group.say("n9", "n1", message) == Ready()
    assert group["n1"].term == 1


# 5 Log compaction


def much(group: Group) -> None:
    """Let the leader n1 decide so much that a snapshot is made."""
    for _ in range(MOST_COMMITTED_ENTRIES):
        group["n1"]._propose(NoOp(), group.now)
    group.advance(1.0)


def test_5_1_a_log_that_has_become_long_is_replaced_by_its_state() -> None:
    group = Group(3)
    group.elect()
    much(group)
    for name in group.names:
        log = group[name]._log
        assert log.snapshot.index >= MOST_COMMITTED_ENTRIES
        assert len(log.between(0, 10**6)) < MOST_COMMITTED_ENTRIES
        assert log.snapshot.state.placements["g"].process.name == "n1"
        assert group.members[name].disk.snapshot == log.snapshot
    assert group.holders == ["n1"]


def test_5_3_a_follower_that_is_behind_the_snapshot_gets_it_whole() -> None:
    """Scenario A 21: also when the first copy is lost on its way."""
    group = Group(3)
    group.elect()
    group.cut_off("n3")
    much(group)
    group.heal()
    while not [flying for flying in group.in_flight if isinstance(flying.message, InstallSnapshot)]:
        group.advance(0.01, delivers=False)
        group.deliver(flying for flying in group.take() if not isinstance(flying.message, InstallSnapshot))
        assert group.now < 5.0
        if group["n1"]._leader is not None and group["n1"]._leader.followers["n3"].next_index <= 2:
            break
    group.take()
    group.advance(1.0)
    assert group["n3"].state.agreed == group["n1"].state.agreed
    assert group.members["n3"].disk.snapshot.index >= MOST_COMMITTED_ENTRIES
    assert group.holders == ["n1"]


def test_5_3_a_snapshot_that_says_nothing_new_is_not_taken() -> None:
    group = Group(3)
    group.elect()
    old = Snapshot(index=1, term=1, state=GroupState())
    ready = group.say("n1", "n2", InstallSnapshot(term=1, round=9, seconds=P, snapshot=old))
    assert ready.snapshot is None
    assert "g" in group["n2"].state.agreed.placements


def test_5_3_a_snapshot_ends_what_it_places_elsewhere() -> None:
    group = Group(3)
    group.elect()
    placed = GroupState().after((entry(2, 9, "other"),))
    snapshot = Snapshot(index=9, term=2, state=placed)
    group.say("n2", "n1", InstallSnapshot(term=2, round=1, seconds=P, snapshot=snapshot))
    assert group["n1"].state.holdings == {}


# 6.2 A leader without a majority steps down


def test_6_2_a_leader_without_a_majority_steps_down_and_holds_no_more() -> None:
    """Scenarios A 4 and A 6: what it holds is over before a rival can hold, and the minority elects nobody."""
    group = Group(5)
    group.elect()
    group.advance(0.2)
    lease_until = group.lease("n1")
    for name in ("n1", "n2"):
        for other in ("n3", "n4", "n5"):
            group.blocked |= {(name, other), (other, name)}
    seen: list[list[str]] = []
    while group.now < lease_until + 1.0:
        group.advance(0.001)
        if not seen or seen[-1] != group.holders:
            seen.append(group.holders)
    assert seen == [["n1"], [], ["n3"]]
    assert group.leaders == ["n3"]
    assert group["n1"].term == group["n2"].term == 1  # their pre-votes raise no term


def test_6_2_a_leader_that_was_frozen_notices_before_anything_else() -> None:
    """Scenario A 11: the first thing that it does after it runs again is to step down."""
    group = Group(3)
    group.elect()
    group.advance(0.1)
    group.now += 5.0
    ready = group.say("n2", "n1", AppendResponse(term=1, round=1, matched=2))
    assert ready.messages == ()
    assert {type(outgoing.message) for outgoing in ready.early} == {PromiseRequest}
    assert group["n1"].state.role is Role.FOLLOWER
    assert group["n1"].state.holdings == {}


# 6.4.1 Leases; those of a holder, who need not lead


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
    assert group.lease("n1") == pytest.approx(sent_at + P / 1.2)


# 9.6 PreVote


def test_9_6_a_pre_vote_changes_no_term_on_either_side() -> None:
    group = free_group()
    group["n1"]._standing.at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    group.deliver(group.take(to="n2"))
    assert group["n1"].term == group["n2"].term == 1
    assert group.persisted == []


def test_9_6_of_two_that_ask_at_once_the_one_with_the_newer_log_goes_first_though_it_can_hold_nothing() -> None:
    group = free_group()
    group["n1"]._standing.at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    before = group["n1"].state.role
    group.take()
    group.say("n2", "n1", PreVoteRequest(term=2, last_index=3, last_term=1, fitness=NOT_STANDING, rank=2))
    assert (before, group["n1"].state.role) == (Role.PRE_CANDIDATE, Role.FOLLOWER)
    (answer,) = group.take(to="n2")
    assert answer.message == PreVoteResponse(term=1, asked=2, is_granted=True)


def test_9_6_a_follower_that_was_cut_off_does_not_unseat_the_leader() -> None:
    """Scenario A 7."""
    group = Group(3)
    group.elect()
    group.cut_off("n3")
    group.advance(5.0)
    group.heal()
    group.advance(1.0)
    assert group.leaders == group.holders == ["n1"]
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
    group.say("n2", "n1", append(5))
    group.now += 2 * P
    group.take()
    group.say("n3", "n1", PreVoteRequest(term=3, last_index=0, last_term=0, fitness=100, rank=0))
    (answer,) = group.take(sender="n1")
    assert answer.message == PreVoteResponse(term=5, asked=3, is_granted=False)


def test_9_6_a_refusal_with_a_newer_term_is_learned_and_the_question_repeated() -> None:
    group = free_group()
    group["n1"]._standing.at = group.now
    group.do("n1", lambda node, now: node.tick(now))
    group.take()
    group.say("n2", "n1", PreVoteResponse(term=5, asked=2, is_granted=False))
    asked = [flying.message for flying in group.take(sender="n1")]
    assert asked == [PreVoteRequest(term=6, last_index=0, last_term=0, fitness=100, rank=1)] * 2
    assert group["n1"].state.role is Role.PRE_CANDIDATE
