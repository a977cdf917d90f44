"""A Lease that goes to a node that is named: because somebody asked for it, or because the node is preferred."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, current_time, sleep
from attrs import evolve
from tests.plugins.election_k8s.leases import Leases
from tests.plugins.election_k8s.nodes import CONFIG, Node, Stand, opened

from kubevip import Following, Leading, Placement
from kubevip.abc import SupportsPlacement
from kubevip.errors import ElectionError
from kubevip_election_k8s._config import Scope

pytestmark = pytest.mark.anyio

LEASE = "lock"


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def three(stack: AsyncExitStack, server: Leases, folder: Path, **more: Any) -> tuple[list[Node], list[Stand]]:
    """Run n1, which holds, and n2 and n3, which follow it."""
    nodes = await opened(stack, server, folder, "n1", "n2", "n3", **more)
    stands = [nodes[0].stand()]
    await stands[0].leads()
    stands += [node.stand() for node in nodes[1:]]
    for stand in stands[1:]:
        await stand.follows()
    return nodes, stands


def annotations_of(server: Leases) -> dict[str, str]:
    return dict(server.objects[LEASE]["metadata"].get("annotations", {}))


@pytest.mark.parametrize("asked", ["n1", "n2", "n3"])
async def test_it_is_moved_by_whoever_is_asked(server: Leases, tmp_path: Path, asked: str) -> None:
    async with AsyncExitStack() as stack:
        nodes, stands = await three(stack, server, tmp_path)
        for at, to in ((2, "n3"), (1, "n2")):
            election = next(node for node in nodes if node.name == asked).election
            assert isinstance(election, SupportsPlacement)
            began = current_time()
            await election.move("g", to)
            assert current_time() - began < 0.1
            assert (await stands[at].leads()).cause is not None
            assert [stand.holds for stand in stands] == [stand is stands[at] for stand in stands]
            assert annotations_of(server) == {}
            await sleep(20)
            assert stands[at].holds


async def test_a_move_to_the_holder_is_done_already(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes, stands = await three(stack, server, tmp_path)
        await nodes[1].election.move("g", "n1")
        assert stands[0].holds


async def test_it_is_released_when_everything_is_withdrawn_and_no_sooner(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes = await opened(stack, server, tmp_path, "n1", "n2")
        withdrawn_at: list[float] = []

        async def withdrawn() -> None:
            server.put(LEASE, server.objects[LEASE])  # news of a Lease that is still ours must not bring it back
            await sleep(0.7)
            withdrawn_at.append(current_time())

        first = nodes[0].stand(withdrawn=withdrawn)
        await first.leads()
        second = nodes[1].stand()
        await second.follows()
        await nodes[0].election.move("g", "n2")
        released_at = next(at for at, _, lease in server.writes if not lease["spec"]["holderIdentity"])
        assert released_at >= withdrawn_at[0]
        (ended,) = [now for now in first.reports if isinstance(now, Following) and now.leader is None]
        assert ended.valid_until > withdrawn_at[0]
        assert not any(isinstance(now, Leading) for now in first.reports[first.reports.index(ended) :])


@pytest.mark.parametrize("why", ["it does not run", "it is unfit"])
async def test_a_node_that_does_not_come_forward_costs_nothing(server: Leases, tmp_path: Path, why: str) -> None:
    async with AsyncExitStack() as stack:
        nodes, stands = await three(stack, server, tmp_path)
        stands[2].fitness.set(0)
        to = "n9" if why == "it does not run" else "n3"
        with pytest.raises(ElectionError, match=f"{to} has not come forward, n1 holds it"):
            await nodes[1].election.move("g", to)
        await sleep(10)
        assert stands[0].holds
        assert {now.term for now in stands[0].reports if isinstance(now, Leading)} == {1}
        assert annotations_of(server) == {}


async def test_a_wish_that_nobody_remembers_is_not_granted_later(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        (n1,) = await opened(stack, server, tmp_path, "n1")
        first = n1.stand()
        await first.leads()
        lease = server.objects[LEASE]
        lease["metadata"]["annotations"] = {"kubevip.io/move-to": "n2", "somebody": "else"}
        server.put(LEASE, lease)
        await sleep(10)
        assert annotations_of(server) == {"somebody": "else"}
        (n2,) = await opened(stack, server, tmp_path, "n2")
        second = n2.stand()
        await second.follows()
        await sleep(10)
        assert first.holds


async def test_an_heir_that_is_lost_in_that_moment_is_not_waited_for_long(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes, stands = await three(stack, server, tmp_path)
        lease = server.objects[LEASE]
        identity = str(nodes[2].election.status()["identity"])
        nodes[2].way.is_cut = True
        lease["metadata"]["annotations"] = {"kubevip.io/move-to": "n3", "kubevip.io/heir": identity}
        asked = current_time()
        server.put(LEASE, lease)
        while stands[0].holds:
            await sleep(0.01)
        while not any(stand.holds for stand in stands):
            await sleep(0.01)
        assert 1.0 < current_time() - asked < 1.2
        assert annotations_of(server) == {}


async def test_a_foreign_elector_that_is_faster_is_named(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes, stands = await three(stack, server, tmp_path)
        nodes[2].way.latency = 0.2  # from here on the heir is slow
        async with create_task_group() as tg:

            @tg.start_soon
            async def foreign() -> None:
                while server.holder(LEASE):
                    await sleep(0.001)
                server.edit(LEASE, holderIdentity="foreign", leaseDurationSeconds=15, renewTime="now")

            with pytest.raises(ElectionError, match="n3 has not come forward, foreign holds it"):
                await nodes[0].election.move("g", "n3")
        assert not any(stand.holds for stand in stands)


async def test_a_lease_for_each_group_moves_that_group_alone(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=evolve(CONFIG, scope=Scope.SERVICE))
        mine = [n1.stand(group) for group in ("a", "b")]
        for stand in mine:
            await stand.leads()
        theirs = [n2.stand(group) for group in ("a", "b")]
        for stand in theirs:
            await stand.follows()
        await n1.election.move("b", "n2")
        assert [stand.holds for stand in (*mine, *theirs)] == [True, False, False, True]
        with pytest.raises(ElectionError, match="does not stand for Lease kube-system/lock-c"):
            await n1.election.move("c", "n2")


@pytest.mark.parametrize("seconds", [30.0, None])
async def test_a_preferred_node_takes_it_back_after_its_time_or_never(
    server: Leases, tmp_path: Path, seconds: float | None
) -> None:
    placement = Placement(prefer=("n1", "n2"), fail_back_seconds=seconds)
    async with AsyncExitStack() as stack:
        nodes = await opened(stack, server, tmp_path, "n1", "n2", "n3")
        third = nodes[2].stand(placement=placement)
        await third.leads()
        back_at = current_time()
        first = nodes[0].stand(placement=placement)
        await sleep(25)
        assert third.holds
        await sleep(10)
        assert (first.holds, third.holds) == (seconds is not None, seconds is None)
        if seconds is not None:
            led_at = next(at for at, _, lease in server.writes if lease["spec"]["holderIdentity"].startswith("n1"))
            assert back_at + 30 <= led_at < back_at + 30.2
            second = nodes[1].stand(placement=placement)
            await sleep(100)
            assert first.holds
            assert not second.holds


async def test_an_unfit_node_does_not_take_it_back(server: Leases, tmp_path: Path) -> None:
    placement = Placement(prefer=("n1",), fail_back_seconds=5.0)
    async with AsyncExitStack() as stack:
        nodes = await opened(stack, server, tmp_path, "n1", "n2")
        second = nodes[1].stand(placement=placement)
        await second.leads()
        first = nodes[0].stand(placement=placement)
        first.fitness.set(0)
        await sleep(60)
        assert second.holds
        first.fitness.set(100)
        await sleep(7)
        assert first.holds
