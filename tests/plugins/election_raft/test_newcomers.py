"""Members without state: they ask first, and vote only with a disk that a log names, or that founds a group."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from attrs import evolve

from kubevip import Port
from kubevip_election_raft._consensus.entries import (
    Entry,
    GroupState,
    HardState,
    MemberRecord,
    Process,
    Saved,
    SetMembers,
    Snapshot,
)
from kubevip_election_raft._consensus.epoch import members_of
from kubevip_election_raft._consensus.introductions import (
    ASKING_SECONDS,
    MOST_STRANGERS,
    Introductions,
    Membership,
    Met,
)
from kubevip_election_raft._consensus.messages import (
    AppendEntries,
    AppendResponse,
    Introduction,
    Offer,
    PreVoteResponse,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Ready, Role
from kubevip_election_raft._consensus.timing import DEFAULT
from kubevip_election_raft._notices import of_others, waits
from kubevip_election_raft._wire.sockets import Endpoint

from .group import NoChance

P = DEFAULT.promise_seconds
BIRTHS = {"n1": 11, "n2": 12, "n3": 13, "n4": 14}


def listed(*names: str) -> tuple[MemberRecord, ...]:
    return tuple(MemberRecord(name=name, address=f"192.0.2.{name[1:]}", port=10000) for name in names)


def born(*names: str, **births: int) -> tuple[MemberRecord, ...]:
    return tuple(evolve(record, birth=births.get(record.name, BIRTHS[record.name])) for record in listed(*names))


THREE = listed("n1", "n2", "n3")
FRESH = Introduction(has_state=False, members=THREE)


def process(name: str, birth: int = 0) -> Process:
    return Process(name=name, incarnation=1, birth=birth or BIRTHS[name])


def newcomer(name: str = "n1", records: tuple[MemberRecord, ...] = THREE, saved: Saved | None = None) -> Node:
    """Return a node that stands for a group, at time 0, with what it has on its disk."""
    node = Node(
        process=process(name),
        members=tuple(record.name for record in records),
        timing=DEFAULT,
        saved=saved or Saved(hard_state=HardState(birth=BIRTHS[name])),
        rng=NoChance(),
        now=0.0,
        seeds=records,
        asks=True,
    )
    node.offer((Offer(group="g"),), 0.0)
    return node


def ask_for_vote(node: Node, sender: str, term: int, now: float) -> VoteResponse:
    ready = node.step(process(sender), VoteRequest(term=term, last_index=9, last_term=9), now)
    (outgoing,) = ready.messages
    assert isinstance(outgoing.message, VoteResponse)
    return outgoing.message


def after(node: Node, *readies: Ready) -> Saved:
    saved = Saved(hard_state=HardState(birth=node.process.birth))
    for ready in readies:
        saved = saved.after(ready.hard_state, ready.snapshot, ready.entries)
    return saved


# Asking


def test_who_has_met_nobody_neither_stands_nor_votes_however_long() -> None:
    node = newcomer()
    assert node.membership is Membership.ASKS
    assert node._standing.due == node._found_at == float("inf")
    node.tick(100.0)
    assert node.state.role is Role.FOLLOWER
    answer = ask_for_vote(node, "n2", 1, 100.0)
    assert (answer.is_granted, answer.wait_seconds) == (False, DEFAULT.heartbeat_seconds)
    assert node.term == 0  # who has no vote raises no term either


def test_a_majority_without_state_and_with_the_same_list_founds_a_group_when_its_silence_is_over() -> None:
    node = newcomer()
    assert not node.meet(process("n2"), FRESH, 0.01).needs_disk
    assert node.deadline == node._voter.silent_until
    founded = node.tick(P)
    assert members_of(after(node, founded)) == (*born("n1", "n2"), THREE[2])
    assert node.membership is Membership.MEMBER
    assert not node.introduction.members[2].birth
    node.tick(node.deadline)
    assert node.state.role is Role.PRE_CANDIDATE


def test_all_that_are_listed_found_a_group_at_once_so_that_nobody_loses_time() -> None:
    node = newcomer()
    due = node._standing.at
    node.meet(process("n2"), FRESH, 0.01)
    founded = node.meet(process("n3"), FRESH, 0.02)
    assert members_of(after(node, founded)) == born("n1", "n2", "n3")
    assert node._standing.due == due < 2 * P


def test_a_vote_that_is_asked_for_is_given_by_who_can_found_the_group() -> None:
    node = newcomer()
    node.meet(process("n2"), FRESH, 0.01)
    assert ask_for_vote(node, "n2", 1, 2 * P).is_granted


def test_who_meets_one_that_has_state_founds_nothing_whoever_else_has_none() -> None:
    node = newcomer()
    node.meet(process("n2"), FRESH, 0.01)
    node.meet(process("n3"), Introduction(members=born("n2", "n3")), 0.02)
    node.tick(100.0)
    assert node.membership is Membership.STRANGER
    assert not ask_for_vote(node, "n2", 1, 100.0).is_granted


def test_who_had_state_and_lost_it_is_taken_for_what_it_said_last() -> None:
    node = newcomer()
    node.meet(process("n3"), Introduction(members=THREE), 0.01)
    node.meet(process("n3", birth=99), FRESH, 0.02)
    founded = node.tick(P)
    assert members_of(after(node, founded)) == (*born("n1"), THREE[1], evolve(THREE[2], birth=99))


@pytest.mark.parametrize(
    ("theirs", "is_same"),
    [
        (THREE[::-1], True),
        (listed("n1", "n2", "n4"), False),
        (listed("n1", "n2", "n3", "n4"), False),
        ((*THREE[:2], evolve(THREE[2], address="192.0.2.33")), False),
        ((*THREE[:2], evolve(THREE[2], is_witness=True)), False),
        ((), False),
    ],
)
def test_only_those_that_list_the_same_members_found_a_group_together(
    theirs: tuple[MemberRecord, ...], is_same: bool
) -> None:
    node = newcomer()
    node.meet(process("n2"), Introduction(has_state=False, members=theirs), 0.01)
    assert node.tick(P).needs_disk == is_same
    assert ("n2" in node.introductions.differing) != is_same


def test_two_lists_that_differ_are_told_with_who_has_which() -> None:
    node = newcomer()
    node.meet(process("n2"), Introduction(has_state=False, members=listed("n2", "n3", "n4")), 0.0)
    moved = (*THREE[:2], evolve(THREE[2], address="192.0.2.9"))
    node.meet(process("n3"), Introduction(has_state=False, members=moved), 0.0)
    where = "n1 at 192.0.2.1:10000, n2 at 192.0.2.2:10000, n3 at 192.0.2"
    assert list(of_others(node, 0.0)) == [
        "n2 lists n2, n3, n4; n1 lists n1, n2, n3: members found a group if their lists agree",
        f"n3 lists {where}.9:10000; n1 lists {where}.3:10000: members found a group if their lists agree",
    ]


def test_a_member_that_was_started_before_it_founded_anything_is_the_same_afterwards() -> None:
    """Its birth was saved, and those that founded the group with it know it."""
    node = newcomer("n2")
    node.meet(process("n1"), Introduction(members=born("n1", "n2", "n3")), 0.01)
    assert node.membership is Membership.MEMBER
    assert ask_for_vote(node, "n1", 1, P).is_granted


def test_a_founder_remembers_the_others_and_does_not_ask_again() -> None:
    node = newcomer()
    node.meet(process("n2"), FRESH, 0.01)
    again = newcomer(saved=after(node, node.tick(P)))
    assert again.membership is Membership.MEMBER
    assert again.introduction == Introduction(members=(*born("n1", "n2"), THREE[2]))
    assert again.step(process("n2", birth=99), VoteRequest(term=5, last_index=0, last_term=0), 2 * P) == Ready()


# Joining


def test_who_is_taken_in_votes_as_soon_as_the_log_names_its_disk() -> None:
    """A disk that is lost before that is noticed: its next one is named by no log."""
    node = newcomer("n3")
    node.meet(process("n1"), Introduction(members=(*born("n1", "n2"), THREE[2])), 0.01)
    assert node.membership is Membership.UNBORN

    def append(index: int, records: tuple[MemberRecord, ...]) -> Ready:
        entry = Entry(term=1, index=index, command=SetMembers(members=records))
        message = AppendEntries(
            term=1,
            round=index,
            previous_index=index - 1,
            previous_term=index > 1,
            commit=0,
            seconds=P,
            entries=(entry,),
        )
        return node.step(process("n1"), message, 0.02)

    first = append(1, (*born("n1", "n2"), THREE[2]))
    assert (node.membership, ask_for_vote(node, "n1", 2, P).is_granted) == (Membership.UNBORN, False)
    second = append(2, born("n1", "n2", "n3"))
    assert (node.membership, ask_for_vote(node, "n1", 3, 2 * P).is_granted) == (Membership.MEMBER, True)
    again = newcomer("n3", saved=after(node, first, second))
    assert again.membership is Membership.MEMBER


def test_who_lost_its_disk_waits_to_be_replaced_and_says_how() -> None:
    node = newcomer("n3")
    node.meet(process("n1"), Introduction(members=born("n1", "n2", "n3", n3=7), members_index=4), 0.01)
    assert node.membership is Membership.REPLACED
    assert not ask_for_vote(node, "n1", 2, P).is_granted
    assert waits(node, endpoint("n3")) == (
        "waiting to be replaced: the group knows n3 with another disk, which was lost, or another machine: "
        "on a member, kubevip raft replace n3"
    )


def test_who_is_no_member_waits_to_be_added_and_hears_whoever_is_one() -> None:
    node = newcomer("n4", listed("n1", "n2", "n3", "n4"))
    node.meet(process("n1"), Introduction(members=born("n1", "n2"), members_index=4), 0.01)
    assert (node.membership, node.members) == (Membership.STRANGER, ("n1", "n2"))
    node.meet(process("n2"), Introduction(members=born("n2", "n3"), members_index=7), 0.01)
    assert node.members == ("n2", "n3")
    assert waits(node, endpoint("n4")) == ("waiting to be added: on a member, kubevip raft add n4 --address 192.0.2.4")


def test_what_a_member_has_on_its_disk_counts_only_when_the_log_names_that_disk() -> None:
    node = newcomer(saved=Saved(snapshot=Snapshot(state=GroupState(members=(*born("n1", "n2"), THREE[2])))))
    now = lead(node, "n2")
    assert node.records == (*born("n1", "n2"), THREE[2])

    def is_committed_with(sender: str) -> bool:
        last = node._log.last_index
        save(node, node.step(process(sender), AppendResponse(term=1, round=1, matched=last), now), now)
        return node._log.commit == last

    assert not is_committed_with("n3")
    assert is_committed_with("n2")
    for _ in range(2):  # the first heartbeat says where the group goes
        now += DEFAULT.heartbeat_seconds
        save(node, node.tick(now), now)
    assert node.records == born("n1", "n2", "n3")
    assert is_committed_with("n3")


def test_who_is_alone_adds_a_second_one_only_when_that_is_there() -> None:
    alone = newcomer(saved=Saved(snapshot=Snapshot(state=GroupState(members=born("n1")))))
    now = lead(alone)
    (second,) = listed("n2")
    answer = alone.change_members(second, is_removal=False, now=now + P)
    assert answer.refusal == "n2 was not heard yet, and the others would be no majority: start it first"
    assert 0 < answer.wait_seconds <= P  # the command asks again
    alone.meet(process("n2"), FRESH, now, "192.0.2.2")
    assert alone.change_members(second, is_removal=False, now=now + P).refusal == ""
    assert alone.records == born("n1", "n2")


# Leaving


def test_who_was_removed_is_told_and_stands_no_more() -> None:
    node = member("n3")
    node.meet(process("n1"), Introduction(members=born("n1", "n2"), members_index=3), 1.0)
    assert node.membership is Membership.MEMBER  # older than what it knows itself
    node.meet(process("n1", birth=99), Introduction(members=born("n1", "n2"), members_index=5), 1.0)
    assert node.membership is Membership.MEMBER  # nobody that it knows
    assert node._standing.due < float("inf")
    node.meet(process("n1"), Introduction(members=born("n1", "n2"), members_index=5), 1.0)
    assert node._standing.due == float("inf")
    assert waits(node, endpoint("n3")) == (
        "waiting in vain: n3 was removed from the group, as n1 says: stop this daemon, or take it in again: "
        "on a member, kubevip raft add n3 --address 192.0.2.3"
    )


def test_who_was_removed_and_is_added_again_is_a_member() -> None:
    node = member("n3")
    node.meet(process("n1"), Introduction(members=born("n1", "n2"), members_index=5), 1.0)
    heartbeat = AppendEntries(term=4, round=1, previous_index=9, previous_term=4, commit=9, seconds=P)
    node.step(process("n1"), heartbeat, 1.1)
    assert node.membership is Membership.MEMBER
    assert node._standing.due < 2.0


# What members know of others


def test_members_say_who_asks_and_whose_disk_is_another_one() -> None:
    node = member("n1")
    four = listed("n1", "n2", "n3", "n4")
    node.meet(process("n4"), Introduction(has_state=False, members=four), 1.0)
    node.meet(process("n3", birth=99), FRESH, 1.0)
    node.meet(Process(name="n9", incarnation=1, birth=19), Introduction(members=THREE), 1.0, "192.0.2.9")
    assert list(of_others(node, 2.0)) == [
        "n4 asks to be added: kubevip raft add n4 --address 192.0.2.4",
        "n9 is no member any more, and still runs: stop it, or kubevip raft add n9 --address 192.0.2.9",
        "n3 has another disk than before, or is another machine: kubevip raft replace n3",
    ]
    assert list(of_others(node, 2.0 + ASKING_SECONDS)) == [
        "n3 has another disk than before, or is another machine: kubevip raft replace n3"
    ]


@pytest.mark.parametrize(
    ("source", "seconds_ago", "birth"), [("", 1.0, 14), ("192.0.2.4", 1.0, 14), ("192.0.2.9", 1.0, 0), ("", 9.0, 0)]
)
def test_who_is_added_is_known_by_its_disk_if_it_asked_just_now_and_from_there(
    source: str, seconds_ago: float, birth: int
) -> None:
    met = Introductions(process("n1"), THREE)
    met.note(Met(process=process("n4"), introduction=FRESH, source=source, at=0.0))
    assert met.birth_of(listed("n4")[0], seconds_ago) == birth


def test_of_strangers_only_the_newest_are_remembered() -> None:
    met = Introductions(process("n1"), THREE)
    met.note(Met(process=process("n2"), introduction=FRESH, source="", at=0.0))
    for number in range(5, 100):
        stranger = Process(name=f"n{number}", incarnation=1)
        met.note(Met(process=stranger, introduction=FRESH, source="", at=0.0))
    names = [found.process.name for found in met.newest(0.0)]
    assert names == ["n2", *(f"n{number}" for number in range(100 - MOST_STRANGERS, 100))]


def member(name: str) -> Node:
    """Return a node of a group of three, whose log has its members at index 4."""
    entry = Entry(term=3, index=1, command=SetMembers(members=born("n1", "n2", "n3")))
    filling = tuple(evolve(entry, index=index) for index in range(1, 5))
    return newcomer(name, saved=Saved(hard_state=HardState(term=3, birth=BIRTHS[name]), entries=filling))


def save(node: Node, ready: Ready, now: float) -> None:
    """Let a node's disk do what it has to."""
    while ready.needs_disk:
        ready = node.saved(ready, now)


def lead(node: Node, *voters: str) -> float:
    """Have a node elected by `voters`; return when."""
    now = node.deadline
    save(node, node.tick(now), now)
    for voter in voters:
        save(node, node.step(process(voter), PreVoteResponse(term=0, asked=1, is_granted=True), now), now)
        save(node, node.step(process(voter), VoteResponse(term=1, asked=1, is_granted=True), now), now)
    assert node.state.role is Role.LEADER
    return now


def endpoint(name: str) -> Endpoint:
    return Endpoint(address=ip_address(f"192.0.2.{name[1:]}"), port=Port(10000))
