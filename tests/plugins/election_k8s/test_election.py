"""Electors on one Lease, in virtual time: who holds when, what is written, what is asked."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio import current_time, fail_after, sleep
from attrs import evolve
from tests.plugins.election_k8s.leases import COLLECTION, Leases
from tests.plugins.election_k8s.nodes import CONFIG, held_and_followed, led, opened, running

from kubevip import Cause, Following, Leading, Placement
from kubevip_election_k8s._config import LeaseConfig, Scope

pytestmark = pytest.mark.anyio

LEASE = "lock"


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def test_the_first_node_creates_the_lease_as_client_go_would(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        leading = await stand.leads()
        spec = server.objects[LEASE]["spec"]
        assert re.fullmatch(r"n1_1-[0-9a-f]{10}", spec["holderIdentity"])
        assert (spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (5, 0)
        for time in (spec["acquireTime"], spec["renewTime"]):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
        sent_at = [at for at, method, _ in n1.way.requests if method == "PUT"][-1]
        assert leading.valid_until == pytest.approx(sent_at + 3)
        assert leading.cause is not None
        assert leading.cause.why == "first"


async def test_a_holder_renews_each_retry_period_and_its_followers_ask_for_nothing(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        await sleep(1)
        first.node.way.requests.clear()
        second.node.way.requests.clear()
        await sleep(60)
        assert 59 <= len(first.node.way.requests) <= 61
        assert second.node.way.requests == []
        assert first.holds
        assert second.last.value == Following(leader="n1")
        assert first.terms == {1}
        spec = server.objects[LEASE]["spec"]
        assert spec["leaseTransitions"] == 0
        assert spec["acquireTime"] < spec["renewTime"]


async def test_a_release_is_followed_within_a_few_milliseconds(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        n1, n2, n3 = await opened(stack, server, tmp_path, "n1", "n2", "n3")
        first = n1.stand()
        await first.leads()
        others = [n2.stand(), n3.stand()]
        for other in others:
            await other.follows()
        await sleep(2.5)
        asked = current_time()
        await first.stop()
        released = server.writes[-1][2]["spec"]
        assert (released["holderIdentity"], released["leaseDurationSeconds"]) == ("", 1)
        holding = await led(*others)
        assert current_time() - asked < 0.05
        assert server.objects[LEASE]["spec"]["leaseTransitions"] == 1
        cause = (await holding.leads()).cause
        assert cause is not None
        assert cause.why == "n1 let go"


async def test_who_gets_back_what_it_let_go_does_not_say_that_another_did(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        first = n1.stand()
        await first.leads()
        await first.stop()
        await sleep(2)
        cause = (await n1.stand().leads()).cause
        assert cause is not None
        assert cause.why == "nobody else took it"


async def test_who_was_started_again_does_not_call_itself_silent(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        await n1.stand().leads()
    async with running(server, "n1", tmp_path, seed=2) as n1:
        cause = (await n1.stand().leads()).cause
        assert cause is not None
        assert cause.why == "restarted"


async def test_a_holder_whose_lease_ran_out_counts_from_then_and_not_from_its_takeover(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2")
        await n2.stand().leads()
        first = n1.stand()
        await first.follows()
        n2.way.is_cut = True
        await first.leads()
        await sleep(100)
        n1.way.is_cut = True
        ended = first.held_until
        await sleep(ended - current_time() + 1.3)
        assert not first.holds
        n1.way.is_cut = False
        again = await first.leads()
        assert again.term == 3
        assert again.cause is not None
        assert again.cause.why == "its lease had run out"
        assert again.cause.silent_since == pytest.approx(ended)
        assert again.cause.stood_at == pytest.approx(current_time(), abs=0.1)


async def test_a_group_that_comes_while_the_lease_is_held_had_no_outage(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        await first.stop()
        held = await second.leads()
        await sleep(100)
        later = (await second.node.stand("later").leads()).cause
        assert held.cause is not None
        assert later == Cause(why=held.cause.why)
        assert held.cause.silent_since is not None


async def test_status_and_reports_count_terms_alike(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2")
        assert "term" not in n1.election.status()
        stands = [n1.stand(), n2.stand()]
        for _ in range(3):
            holding = await led(*stands)
            await sleep(1)
            term = (await holding.leads()).term
            assert [node.election.status()["term"] for node in (n1, n2)] == [term, term]
            await holding.stop()
            stands[stands.index(holding)] = holding.node.stand()
        assert term == 3


async def test_a_lost_holder_has_stopped_before_another_takes_over_within_six_seconds(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        await sleep(10.3)
        cut_at, first.node.way.is_cut = current_time(), True
        with fail_after(7):
            taken = await second.leads()
        assert current_time() - cut_at <= 6
        assert not first.holds
        silent_since = first.held_until
        assert current_time() - silent_since >= 1.9  # the time to withdraw
        assert taken.cause is not None
        assert taken.cause.why == "n1 is silent"
        first.node.way.is_cut = False
        assert await first.follows() == Following(leader="n2")


async def test_a_process_waits_for_its_predecessor_on_the_same_node_to_run_out(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path, seed=1) as before:
        stand = before.stand()
        await stand.leads()
    killed_at, identity = current_time(), server.holder(LEASE)
    async with running(server, "n1", tmp_path, seed=2) as after:
        again = after.stand()
        await again.leads()
        assert 4.9 < current_time() - killed_at < 5.1
        assert server.holder(LEASE) != identity
        assert server.holder(LEASE).startswith("n1_")


async def test_a_thousand_groups_cost_one_renewal(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stands = [n1.stand(f"group-{number}") for number in range(1000)]
        for stand in stands:
            await stand.leads()
        n1.way.requests.clear()
        await sleep(10)
        assert 9 <= len(n1.way.requests) <= 11
        assert all(stand.holds for stand in stands)
        await stands[0].stop()
        assert server.holder(LEASE)
        again = n1.stand("group-0")
        assert (await again.leads()).term > (
            stands[0].reports[0].term if isinstance(stands[0].reports[0], Leading) else 0
        )


async def test_with_a_lease_for_each_group_groups_are_held_by_different_nodes(server: Leases, tmp_path: Path) -> None:
    config = evolve(CONFIG, scope=Scope.SERVICE)
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=config)
        a1, b2 = n1.stand("a"), n2.stand("b")
        await a1.leads()
        await b2.leads()
        a2, b1 = n2.stand("a"), n1.stand("b")
        await sleep(20)
        assert [stand.holds for stand in (a1, a2, b1, b2)] == [True, False, False, True]
        assert sorted(server.objects) == ["lock-a", "lock-b"]
        assert server.objects["lock-a"]["metadata"]["labels"] == {"kubevip.io/election": "lock"}
        asked = current_time()
        await a1.stop()
        await a2.leads()
        assert current_time() - asked < 0.05
        assert b2.holds


async def test_each_of_many_leases_costs_its_holder_a_renewal_and_the_others_one_watch(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=evolve(CONFIG, scope=Scope.SERVICE))
        mine = [n1.stand(f"g{number}") for number in range(50)]
        for stand in mine:
            await stand.leads()
        theirs = [n2.stand(f"g{number}") for number in range(50)]
        for stand in theirs:
            await stand.follows()
        await sleep(5)
        n1.way.requests.clear()
        n2.way.requests.clear()
        await sleep(20)
        assert 50 * 19 <= len(n1.way.requests) <= 50 * 21
        assert n2.way.requests == []


async def test_a_lease_of_a_name_that_does_not_exist_any_more_is_taken_when_it_has_run_out(
    server: Leases, tmp_path: Path
) -> None:
    spec = {"holderIdentity": "n9_1-gone", "leaseDurationSeconds": 15, "leaseTransitions": 3}
    server.put(LEASE, {"spec": spec}, "ADDED")
    async with running(server, "n1", tmp_path) as n1:
        began, stand = current_time(), n1.stand()
        await stand.leads()
        assert 15 <= current_time() - began < 15.1
        assert server.objects[LEASE]["spec"]["leaseTransitions"] == 4


async def test_a_node_that_is_unfit_lets_others_go_first_and_holds_when_there_is_nobody(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        n1, n2, n3 = await opened(stack, server, tmp_path, "n1", "n2", "n3")
        first = n1.stand()
        await first.leads()
        unfit, fit = n2.stand(), n3.stand()
        unfit.fitness.set(0)
        await unfit.follows()
        await fit.follows()
        await first.stop()
        assert await led(unfit, fit) is fit
        await fit.stop()
        began = current_time()
        await unfit.leads()
        assert 1.9 < current_time() - began < 2.5


async def test_a_preferred_node_goes_first(server: Leases, tmp_path: Path) -> None:
    placement = Placement(prefer=("n3", "n2"))
    async with AsyncExitStack() as stack:
        n1, n2, n3 = await opened(stack, server, tmp_path, "n1", "n2", "n3")
        first = n1.stand(placement=placement)
        await first.leads()
        others = [n2.stand(placement=placement), n3.stand(placement=placement)]
        for other in others:
            await other.follows()
        await first.stop()
        assert (await led(*others)).node.name == "n3"


async def test_a_clock_that_is_wrong_by_hours_changes_nothing(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2")
        n1.clock.skew, n2.clock.skew = -7200, 7200
        first = n1.stand()
        await first.leads()
        second = n2.stand()
        await second.follows()
        await sleep(20)
        assert first.holds
        assert not second.holds


async def test_a_machine_that_slept_finds_its_tenure_over(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        first = await stand.leads()
        n1.way.stall()
        n1.clock.offset += 10
        await sleep(1.1)
        assert not stand.holds
        n1.way.flow()
        assert (await stand.leads()).term > first.term


async def test_a_release_follows_a_renewal_that_is_still_under_way(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        await stand.leads()
        n1.way.latency = 0.1
        await sleep(1.05)  # the renewal is on its way
        await stand.stop()
        assert server.holder(LEASE) == ""


async def test_status_tells_leader_term_and_what_is_left(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        held, followed = dict(first.node.election.status()), dict(second.node.election.status())
        assert 0 < held.pop("lease_seconds_left") <= 3  # type: ignore[operator]
        assert held == {"lease": "kube-system/lock", "identity": server.holder(LEASE), "leases": 1, "warnings": [],
                        "leader": "n1", "term": 1}  # fmt: skip
        assert (followed["leader"], followed["term"], followed["lease_seconds_left"]) == ("n1", 1, None)


async def test_the_will_says_who_holds_before_the_lease_is_asked_for(server: Leases, tmp_path: Path) -> None:
    wills: list[tuple[int, str, bytes | None]] = []
    async with running(server, "n1", tmp_path, will=lambda *will: wills.append(will)) as n1:
        stand = n1.stand()
        await stand.leads()
        await sleep(0.1)
        order, function, payload = wills[-1]
        assert (order, function) == (120, "kubevip_election_k8s._goodbye:say")
        assert payload is not None
        assert f"{COLLECTION}/{LEASE}" in payload.decode()
        assert server.holder(LEASE) in payload.decode()
        await stand.stop()
        await sleep(0.1)
        assert wills[-1][2] is None


def test_a_config_of_one_lease_is_the_default() -> None:
    assert LeaseConfig().scope is Scope.LEASE
