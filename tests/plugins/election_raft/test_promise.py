"""The promise rule: what a voter gives and refuses, and what a holder may conclude from it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_election_raft._consensus.entries import Grant, HardState, Placement, Process, Snapshot
from kubevip_election_raft._consensus.holder import Holder
from kubevip_election_raft._consensus.log import Log
from kubevip_election_raft._consensus.messages import Claim, PromiseRequest, PromiseResponse, Refusal
from kubevip_election_raft._consensus.promise import Promises
from kubevip_election_raft._consensus.ready import Rise
from kubevip_election_raft._consensus.timing import CLOCK_RATIO, Timing
from kubevip_election_raft._consensus.voter import Voter

A1, A2 = Process(name="a", incarnation=1), Process(name="a", incarnation=2)
B1 = Process(name="b", incarnation=1)
P = 0.18
RISE = Rise(why="first", silent_since=None, stood_at=0.0)


def grant(index: int) -> Grant:
    return Grant(term=1, index=index)


def ask(index: int, seconds: float = P, round_: int = 1, groups: tuple[str, ...] = ("g",)) -> PromiseRequest:
    claims = tuple(Claim(group=group, grant=grant(index)) for group in groups)
    return PromiseRequest(round=round_, seconds=seconds, claims=claims)


def is_given(promises: Promises, process: Process, request: PromiseRequest, now: float) -> bool:
    response = promises.ask(process, request, {}, now)
    return response is not None and response.refused == ()


def promised_to(process: Process, index: int, now: float = 0.0) -> Promises:
    promises = Promises(silent_until=-math.inf)
    assert is_given(promises, process, ask(index), now)
    return promises


@pytest.mark.parametrize(
    ("process", "index", "is_good"),
    [
        pytest.param(A1, 5, True, id="the same process and grant"),
        pytest.param(A1, 6, True, id="a newer grant of the same process"),
        pytest.param(A1, 4, False, id="an older grant of the same process"),
        pytest.param(A2, 6, False, id="another run of the same member"),
        pytest.param(B1, 6, False, id="another member"),
    ],
)
def test_while_a_promise_runs(process: Process, index: int, is_good: bool) -> None:
    response = promised_to(A1, 5).ask(process, ask(index), {}, 0.1)
    assert response is not None
    assert (response.refused == ()) == is_good
    if process != A1:
        assert response.refused[0].wait_seconds == pytest.approx(P - 0.1)


@pytest.mark.parametrize(("now", "is_over"), [(P - 1e-9, False), (P, True)])
def test_a_promise_ends_on_the_voters_own_clock(now: float, is_over: bool) -> None:
    assert is_given(promised_to(A1, 5), B1, ask(6), now) == is_over


def test_a_renewal_counts_from_its_receipt() -> None:
    promises = promised_to(A1, 5)
    promises.ask(A1, ask(5, round_=2), {}, 0.1)
    assert promises.holder("g", 0.1 + P - 1e-9) == A1
    assert promises.holder("g", 0.1 + P) is None


def test_a_shorter_promise_does_not_end_a_longer_one() -> None:
    promises = Promises(silent_until=-math.inf)
    promises.ask(A1, ask(5, seconds=1.0), {}, 0.0)
    promises.ask(A1, ask(6, seconds=0.1, round_=2), {}, 0.2)
    assert promises.holder("g", 0.99) == A1


def test_each_group_is_promised_for_itself() -> None:
    promises = promised_to(A1, 5)
    response = promises.ask(B1, ask(6, groups=("f", "g", "h")), {}, 0.08)
    assert response is not None
    (refusal,) = response.refused
    assert refusal.group == "g"
    assert refusal.wait_seconds == pytest.approx(0.1)
    assert [promises.holder(group, 0.1) for group in ("f", "g", "h")] == [B1, A1, B1]


def test_a_grant_older_than_what_is_agreed_is_refused_although_nobody_is_promised() -> None:
    promises = Promises(silent_until=-math.inf)
    agreed = {"g": Placement(process=B1, grant=grant(7))}
    assert promises.ask(A1, ask(6), agreed, 0.0) == PromiseResponse(
        round=1, incarnation=1, refused=(Refusal(group="g"),)
    )
    assert is_given(promises, B1, ask(7), 0.0)


def test_a_request_that_is_older_than_one_that_was_seen_is_not_answered() -> None:
    promises = Promises(silent_until=-math.inf)
    promises.ask(A1, ask(5, round_=9), {}, 0.0)
    assert promises.ask(A1, ask(5, round_=8), {}, 0.1) is None
    assert promises.ask(Process(name="a", incarnation=0), ask(5, round_=99), {}, 0.1) is None


@pytest.mark.parametrize(
    ("process", "index", "is_free"),
    [(A1, 5, True), (A1, 6, True), (A1, 4, False), (A2, 5, False), (B1, 5, False)],
)
def test_only_the_process_itself_releases_and_only_up_to_the_grant(process: Process, index: int, is_free: bool) -> None:
    promises = promised_to(A1, 5)
    promises.release(process, (Claim(group="g", grant=grant(index)),), {}, 0.0)
    assert is_given(promises, B1, ask(6), 0.01) == is_free


def test_what_was_released_is_not_promised_again() -> None:
    """A request that was under way when its sender released binds nobody."""
    promises = promised_to(A1, 5)
    promises.release(A1, (Claim(group="g", grant=grant(5)),), {}, 0.0)
    assert not is_given(promises, A1, ask(5, round_=2), 0.01)
    assert is_given(promises, A1, ask(6, round_=3), 0.01)


@pytest.mark.parametrize("ends", ["a release", "a goodbye", "its time"])
def test_a_refused_request_is_answered_when_what_stood_in_its_way_is_over(ends: str) -> None:
    promises = promised_to(A1, 5)
    promises.ask(B1, ask(6, round_=7), {}, 0.05)
    assert promises.look({}, P - 0.001) == []
    if ends == "a release":
        answers = promises.release(A1, (Claim(group="g", grant=grant(5)),), {}, 0.06)
    elif ends == "a goodbye":
        answers = promises.bury(A1, {}, 0.06)
    else:
        assert promises.free_at == pytest.approx(P)
        answers = promises.look({}, P)
    assert answers == [(B1, PromiseResponse(round=7, incarnation=1))]
    assert promises.free_at == math.inf


def test_of_a_process_only_the_newest_request_waits() -> None:
    promises = promised_to(A1, 5)
    promises.ask(B1, ask(6, round_=7), {}, 0.05)
    promises.ask(B1, ask(6, round_=8, groups=()), {}, 0.06)
    assert promises.bury(A1, {}, 0.07) == []


def test_a_request_that_was_released_waits_no_more() -> None:
    promises = promised_to(A1, 5)
    promises.ask(B1, ask(6), {}, 0.05)
    promises.release(B1, (Claim(group="g", grant=grant(6)),), {}, 0.06)
    assert promises.bury(A1, {}, 0.07) == []
    assert promises.holder("g", 0.07) is None


def test_a_goodbye_ends_the_promises_to_one_run_and_nothing_of_it_is_taken_any_more() -> None:
    promises = promised_to(A2, 5)
    promises.bury(A1, {}, 0.01)
    assert promises.holder("g", 0.02) == A2
    promises.bury(A2, {}, 0.03)
    assert promises.holder("g", 0.04) is None
    assert promises.ask(A2, ask(9, round_=99), {}, 0.05) is None
    assert is_given(promises, Process(name="a", incarnation=3), ask(9), 0.05)


def test_promises_that_are_over_are_forgotten() -> None:
    promises = Promises(silent_until=-math.inf)
    for number in range(1000):
        promises.ask(A1, ask(number, round_=number, groups=(f"g{number}",)), {}, float(number))
    assert len(promises._given) < 100


def voter_that_starts(hard_state: HardState, now: float) -> Voter:
    return Voter(hard_state=hard_state, log=Log(Snapshot(), ()), promise_seconds=P, now=now)


def test_a_voter_that_starts_keeps_silent_for_the_longest_promise_it_ever_gave() -> None:
    voter = voter_that_starts(HardState(promise_seconds=1.2), 100.0)
    assert voter.silent_until == 101.2
    refused = voter.promise(A1, ask(1), {}, 101.1)
    assert refused is not None
    assert refused.refused[0].wait_seconds == pytest.approx(0.1)
    given = voter.promise(A1, ask(1, round_=2), {}, 101.2)
    assert given is not None
    assert given.refused == ()


def test_a_longer_promise_than_ever_is_saved_with_it() -> None:
    voter = voter_that_starts(HardState(promise_seconds=P), 0.0)
    voter.promise(A1, ask(1), {}, 1.0)
    assert voter.hard_state.promise_seconds == P
    voter.promise(A1, ask(1, seconds=1.2, round_=2), {}, 1.0)
    assert voter.hard_state.promise_seconds == 1.2


def test_the_longest_promise_of_an_earlier_run_is_forgotten_when_it_is_certainly_over() -> None:
    """The profile was shortened: whoever starts again before that keeps silent for as long once more."""
    voter = voter_that_starts(HardState(promise_seconds=1.2), 100.0)
    voter.settle(101.199)
    assert voter.hard_state.promise_seconds == voter.longest_seconds == 1.2
    voter.settle(101.2)
    assert voter.hard_state.promise_seconds == voter.longest_seconds == P
    voter.promise(A1, PromiseRequest(round=1, seconds=2.0, claims=()), {}, 102.0)
    voter.settle(200.0)
    assert voter.hard_state.promise_seconds == 2.0  # this run may have given it


def holder_of_three(*, is_committed: bool = True) -> Holder:
    holder = Holder(A1, Timing(promise_seconds=P))
    holder.set_voters("abc", 0)
    holder.place("g", grant(5), RISE, is_committed=is_committed, now=10.0)
    return holder


def answer(round_: int, *, process: Process = A1, refused: tuple[str, ...] = ()) -> PromiseResponse:
    refusals = tuple(Refusal(group=group, wait_seconds=0.1) for group in refused)
    return PromiseResponse(round=round_, incarnation=process.incarnation, refused=refusals)


def until(holder: Holder) -> float | None:
    return holder.holdings["g"].until if "g" in holder.holdings else None


def test_a_majority_makes_a_lease_that_counts_from_the_oldest_question_it_needs() -> None:
    holder = holder_of_three()
    holder.ask(10.00)
    holder.ask(10.05)
    holder.answer("a", answer(2), 10.06)
    assert until(holder) is None
    holder.answer("b", answer(1), 10.06)
    assert until(holder) == 10.00 + P / CLOCK_RATIO
    holder.answer("c", answer(2), 10.06)
    assert until(holder) == 10.05 + P / CLOCK_RATIO


@pytest.mark.parametrize(
    ("voter", "useless"),
    [
        pytest.param("b", answer(1, refused=("g",)), id="a refusal"),
        pytest.param("b", answer(7), id="a round that was never asked"),
        pytest.param("b", answer(1, process=A2), id="another run"),
        pytest.param("d", answer(1), id="one who is no voter"),
        pytest.param("a", answer(1), id="the same voter twice"),
    ],
)
def test_what_is_no_promise_counts_for_nothing(voter: str, useless: PromiseResponse) -> None:
    holder = holder_of_three()
    holder.ask(10.0)
    holder.answer("a", answer(1), 10.01)
    holder.answer(voter, useless, 10.01)
    assert until(holder) is None


def test_what_is_promised_is_held_only_when_it_is_agreed_as_well() -> None:
    holder = holder_of_three(is_committed=False)
    holder.ask(10.0)
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.01)
    assert until(holder) is None
    holder.place("g", grant(5), RISE, is_committed=True, now=10.02)
    assert until(holder) == 10.0 + P / CLOCK_RATIO


def test_who_cannot_fall_silent_at_once_asks_for_a_longer_promise_and_counts_it() -> None:
    holder = holder_of_three()
    holder.ask_for_at_least(0.5, 10.0)
    asked = holder.ask(10.0)
    assert asked is not None
    assert asked.seconds == 0.5
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.01)
    assert until(holder) == 10.0 + 0.5 / CLOCK_RATIO


def test_what_was_promised_for_less_does_not_count_for_more() -> None:
    holder = holder_of_three()
    holder.ask(10.00)
    holder.ask(10.05)
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.06)
    holder.ask_for_at_least(0.5, 10.07)
    assert until(holder) is None
    for voter in ("a", "b"):
        holder.answer(voter, answer(2), 10.08)  # of a round that was asked for less
    assert until(holder) is None
    assert holder.beat_at == 10.07


def test_what_was_promised_for_more_counts_for_less() -> None:
    holder = holder_of_three()
    holder.ask_for_at_least(0.5, 10.0)
    holder.ask(10.0)
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.01)
    holder.ask_for_at_least(0.0, 10.02)
    holder.notice(10.02)
    holder.answer("c", answer(1), 10.02)
    assert until(holder) == 10.0 + P / CLOCK_RATIO


def test_an_answer_out_of_order_takes_nothing_back() -> None:
    holder = holder_of_three()
    holder.ask(10.00)
    holder.ask(10.05)
    for voter in ("a", "b"):
        holder.answer(voter, answer(2), 10.06)
        holder.answer(voter, answer(1), 10.06)
    assert until(holder) == 10.05 + P / CLOCK_RATIO


def test_a_lease_that_ran_out_and_comes_back_is_another_tenure() -> None:
    holder = holder_of_three()
    tenures: list[int] = []
    for round_, now in enumerate((10.0, 10.1, 10.5), 1):
        holder.notice(now)
        holder.ask(now)
        for voter in ("a", "b"):
            holder.answer(voter, answer(round_), now + 0.01)
        tenures.append(holder.holdings["g"].tenure)
    assert tenures == [1, 1, 2]


def test_a_new_decision_for_the_same_process_changes_nothing_that_is_up() -> None:
    holder = holder_of_three()
    holder.ask(10.0)
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.01)
    holder.place("g", grant(8), RISE, is_committed=True, now=10.02)
    assert (holder.holdings["g"].tenure, holder.holdings["g"].grant) == (1, grant(8))


def test_what_is_to_go_is_asked_for_no_more_and_released_only_when_it_is_down() -> None:
    holder = holder_of_three()
    holder.ask(10.0)
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.01)
    assert holder.withdraw("g", 10.02) is None
    assert holder.holdings == {}
    assert holder.leaving["g"].until == 10.0 + P / CLOCK_RATIO
    assert holder.ask(10.05) is None
    assert holder.release("g", 10.06) == Claim(group="g", grant=grant(5))
    assert holder.leaving == {}


def test_what_was_never_held_is_released_at_once() -> None:
    holder = holder_of_three()
    holder.ask(10.0)
    assert holder.withdraw("g", 10.02) == Claim(group="g", grant=grant(5))


def test_an_answer_to_what_was_asked_before_a_release_does_not_count_after_it() -> None:
    holder = holder_of_three()
    holder.ask(10.0)
    for voter in ("a", "b"):
        holder.answer(voter, answer(1), 10.01)
    holder.ask(10.05)
    holder.withdraw("g", 10.06)
    holder.release("g", 10.06)
    holder.place("g", grant(5), RISE, is_committed=True, now=10.07)
    assert holder.claims == ()  # a grant that was given back is spent
    holder.place("g", grant(9), RISE, is_committed=True, now=10.07)
    for voter in ("a", "b", "c"):
        holder.answer(voter, answer(2), 10.08)
    assert until(holder) is None


def test_rounds_are_forgotten_when_they_cannot_count_any_more() -> None:
    holder = holder_of_three()
    for number in range(1000):
        holder.ask(number * 0.05)
    assert len(holder._asked) < 6


@given(
    holder_rate=st.floats(1 - 0.083, 1 + 0.083),
    voter_rate=st.floats(1 - 0.083, 1 + 0.083),
    seconds=st.floats(0.16, 60.0),
    travel=st.floats(0.0, 5.0),
)
def test_a_lease_is_over_before_the_promise_whatever_the_clocks_do(
    holder_rate: float, voter_rate: float, seconds: float, travel: float
) -> None:
    """Scenario A 13: real times; asked at 0, received after `travel`."""
    holder = Holder(A1, Timing(promise_seconds=seconds))
    holder.set_voters("b", 0)
    holder.place("g", grant(1), RISE, is_committed=True, now=0.0)
    holder.ask(0.0)
    holder.answer("b", answer(1), 0.0)
    voter = Promises(silent_until=-math.inf)
    voter.ask(A1, ask(1, seconds=seconds), {}, travel * voter_rate)
    lease_end = holder.holdings["g"].until / holder_rate
    assert voter.holder("g", lease_end * voter_rate) == A1
