"""The promise rule: what a voter gives and refuses, and what a holder may conclude from it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_election_raft._messages import Grant, HardState, Process, PromiseRequest, PromiseResponse
from kubevip_election_raft._promise import Lease, Promises
from kubevip_election_raft._timing import CLOCK_RATIO
from kubevip_election_raft._voter import Voter

A1, A2 = Process(name="a", incarnation=1), Process(name="a", incarnation=2)
B1 = Process(name="b", incarnation=1)
P = 0.18


def ask(term: int, seconds: float = P, round_: int = 1) -> PromiseRequest:
    return PromiseRequest(round=round_, seconds=seconds, grant=Grant(term=term))


def promised_to(process: Process, term: int, now: float = 0.0) -> Promises:
    promises = Promises(silent_until=-math.inf)
    assert promises.ask(process, ask(term), now).is_given
    return promises


@pytest.mark.parametrize(
    ("process", "term", "is_given"),
    [
        pytest.param(A1, 5, True, id="the same process and grant"),
        pytest.param(A1, 6, True, id="a newer grant of the same process"),
        pytest.param(A1, 4, False, id="an older grant of the same process"),
        pytest.param(A2, 6, False, id="another incarnation of the same node"),
        pytest.param(B1, 6, False, id="another node"),
    ],
)
def test_while_a_promise_runs(process: Process, term: int, is_given: bool) -> None:
    response = promised_to(A1, 5).ask(process, ask(term), 0.1)
    assert response.is_given == is_given
    assert response.wait_seconds == pytest.approx(0.0 if process == A1 else P - 0.1)


@pytest.mark.parametrize(("now", "is_given"), [(P - 1e-9, False), (P, True)])
def test_a_promise_ends_on_the_voters_own_clock(now: float, is_given: bool) -> None:
    assert promised_to(A1, 5).ask(B1, ask(6), now).is_given == is_given


def test_a_renewal_counts_from_its_receipt() -> None:
    promises = promised_to(A1, 5)
    promises.ask(A1, ask(5), 0.1)
    assert promises.free_at(B1) == pytest.approx(0.1 + P)


def test_a_shorter_promise_does_not_end_a_longer_one() -> None:
    promises = Promises(silent_until=-math.inf)
    promises.ask(A1, ask(5, seconds=1.0), 0.0)
    promises.ask(A1, ask(6, seconds=0.1), 0.2)
    assert promises.free_at(B1) == 1.0


@pytest.mark.parametrize(
    ("process", "term", "is_free"),
    [(A1, 5, True), (A1, 6, True), (A1, 4, False), (A2, 5, False), (B1, 5, False)],
)
def test_only_the_process_itself_releases_and_only_up_to_the_grant(process: Process, term: int, is_free: bool) -> None:
    promises = promised_to(A1, 5)
    promises.release(process, Grant(term=term))
    assert promises.ask(B1, ask(6), 0.01).is_given == is_free


def test_a_voter_that_starts_keeps_silent_for_the_longest_promise_it_ever_gave() -> None:
    voter = Voter(hard_state=HardState(promise_seconds=1.2), promise_seconds=P, now=100.0)
    assert voter.silent_until == 101.2
    assert not voter.promise(A1, ask(1), 101.1).is_given
    assert voter.promise(A1, ask(1), 101.2).is_given


def test_a_longer_promise_than_ever_is_saved_with_it() -> None:
    voter = Voter(hard_state=HardState(promise_seconds=P), promise_seconds=P, now=0.0)
    voter.promise(A1, ask(1), 1.0)
    assert voter.hard_state.promise_seconds == P
    voter.promise(A1, ask(1, seconds=1.2), 1.0)
    assert voter.hard_state.promise_seconds == 1.2


def lease_of_three() -> Lease:
    return Lease(process=A1, grant=Grant(term=5), quorum=2, promise_seconds=P)


def answer(round_: int, *, process: Process = A1, term: int = 5, is_given: bool = True) -> PromiseResponse:
    return PromiseResponse(round=round_, incarnation=process.incarnation, grant=Grant(term=term), is_given=is_given)


def test_a_majority_makes_a_lease_that_counts_from_the_oldest_question_it_needs() -> None:
    lease = lease_of_three()
    lease.ask(1, 10.00)
    lease.ask(2, 10.05)
    lease.answer("a", answer(2))
    assert (lease.is_held, lease.until) == (False, -math.inf)
    lease.answer("b", answer(1))
    assert (lease.is_held, lease.until) == (True, 10.00 + P / CLOCK_RATIO)
    lease.answer("c", answer(2))
    assert lease.until == 10.05 + P / CLOCK_RATIO


@pytest.mark.parametrize(
    "useless",
    [
        pytest.param(answer(1, is_given=False), id="a refusal"),
        pytest.param(answer(7), id="a round that was never asked"),
        pytest.param(answer(1, term=4), id="another grant"),
        pytest.param(answer(1, process=A2), id="another incarnation"),
    ],
)
def test_what_is_no_promise_for_this_lease_counts_for_nothing(useless: PromiseResponse) -> None:
    lease = lease_of_three()
    lease.ask(1, 10.0)
    lease.answer("a", answer(1))
    lease.answer("b", useless)
    assert not lease.is_held


def test_an_answer_out_of_order_takes_nothing_back() -> None:
    lease = lease_of_three()
    lease.ask(1, 10.00)
    lease.ask(2, 10.05)
    for voter in ("a", "b"):
        lease.answer(voter, answer(2))
        lease.answer(voter, answer(1))
    assert lease.until == 10.05 + P / CLOCK_RATIO


def test_rounds_are_forgotten_when_they_cannot_count_any_more() -> None:
    lease = lease_of_three()
    for number in range(1000):
        lease.ask(number, number * 0.05)
    assert len(lease._asked) < 6


@given(
    holder_rate=st.floats(1 - 0.083, 1 + 0.083),
    voter_rate=st.floats(1 - 0.083, 1 + 0.083),
    seconds=st.floats(0.01, 60.0),
    travel=st.floats(0.0, 5.0),
)
def test_a_lease_is_over_before_the_promise_whatever_the_clocks_do(
    holder_rate: float, voter_rate: float, seconds: float, travel: float
) -> None:
    """Scenario A 13: real times; asked at 0, received after `travel`."""
    lease = Lease(process=A1, grant=Grant(term=1), quorum=1, promise_seconds=seconds)
    lease.ask(1, 0.0)
    lease.answer("b", answer(1, term=1))
    voter = Promises(silent_until=-math.inf)
    voter.ask(A1, ask(1, seconds=seconds), travel * voter_rate)
    assert lease.until / holder_rate < voter.free_at(B1) / voter_rate
