"""An API that is away, late or deaf, to a holder and to its followers. In virtual time."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio import current_time, fail_after, move_on_after, sleep
from tests.plugins.election_k8s.leases import Leases
from tests.plugins.election_k8s.nodes import held_and_followed, led, opened, running

from kubevip import Following

pytestmark = pytest.mark.anyio

LEASE = "lock"


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@pytest.mark.parametrize("seconds", [0.5, 1.5, 1.9])
async def test_a_stall_shorter_than_the_deadline_never_ends_the_tenure(
    server: Leases, tmp_path: Path, seconds: float
) -> None:
    """What is sent right before the stall has to be renewed one deadline later, at the latest."""
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        await stand.leads()
        for offset in range(20):
            await sleep(5 + 0.05 * offset)
            n1.way.stall()
            await sleep(seconds)
            n1.way.flow()
            await sleep(1)
            assert stand.holds
        assert stand.terms == {1}


async def test_a_stall_just_under_the_deadline_after_a_renewal_is_survived(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        held = await stand.leads()
        n1.way.stall()
        await sleep(held.valid_until - current_time() - 0.05)
        n1.way.flow()
        await sleep(1)
        assert stand.holds
        assert stand.terms == {1}


async def test_answers_that_are_lost_after_the_deed_cost_nothing(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        await stand.leads()
        for _ in range(10):
            await sleep(4)
            n1.way.is_deaf = True
            await sleep(1.6)
            n1.way.is_deaf = False
            await sleep(1)
            assert stand.holds


async def test_a_holder_that_comes_back_after_its_deadline_leads_in_another_term(
    server: Leases, tmp_path: Path
) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        first = await stand.leads()
        n1.way.is_failing = True
        await sleep(10)
        assert not stand.holds
        assert stand.last.value == Following()
        n1.way.is_failing = False
        second = await stand.leads()
        assert second.term > first.term
        assert server.objects[LEASE]["spec"]["leaseTransitions"] == 0


async def test_an_api_that_is_away_for_five_minutes_leaves_nobody_holding_and_then_one(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await opened(stack, server, tmp_path, "n1", "n2", "n3")
        stands = [node.stand() for node in nodes]
        await led(*stands)
        for node in nodes:
            node.way.is_cut = True
        await sleep(3)
        for _ in range(3000):
            assert not any(stand.holds for stand in stands)
            await sleep(0.1)
        for node in nodes:
            node.way.is_cut = False
        await led(*stands)
        await sleep(10)
        assert sum(stand.holds for stand in stands) == 1


async def test_a_node_whose_watch_is_dead_takes_over_in_time_all_the_same(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        second.node.way.watch_is_deaf = True
        await sleep(30)
        assert first.holds
        first.node.way.is_cut = True
        with fail_after(12):
            await second.leads()
        assert not first.holds


async def test_an_api_that_is_away_is_asked_a_few_times_a_second_at_most(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        await stand.leads()
        n1.way.is_cut = True
        await sleep(10)
        n1.way.requests.clear()
        await sleep(60)
        assert len(n1.way.requests) < 60 * 6
        status = n1.election.status()
        assert status["waiting"] == "waiting for the API: refused"


async def test_stopping_while_the_api_is_away_returns_within_the_grace(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        await stand.leads()
        n1.way.stall()
        with move_on_after(1.1) as late:
            await stand.stop()
        assert not late.cancelled_caught
