"""A Lease that hands have deleted, emptied or edited, and one that was never there: at no time do two nodes hold."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio import current_time, fail_after, sleep
from attrs import evolve
from tests.plugins.election_k8s.leases import Leases
from tests.plugins.election_k8s.nodes import CONFIG, held_and_followed, opened, running

from kubevip import Following
from kubevip_election_k8s._config import Scope

pytestmark = pytest.mark.anyio

LEASE = "lock"


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def test_a_deleted_lease_is_written_again_by_its_holder_and_nobody_else(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        for _ in range(5):
            await sleep(1.37)
            server.delete(LEASE)
            await sleep(0.01)
            assert server.holder(LEASE).startswith("n1_")
        assert first.holds
        assert not second.tenures
        assert first.terms == {1}


async def test_a_lease_deleted_behind_a_holder_that_is_cut_off_is_taken_when_it_must_have_stopped(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        first.node.way.is_cut = True
        await sleep(0.5)
        server.delete(LEASE)
        await second.leads()
        assert not first.holds
        ended = first.held_until
        assert current_time() >= ended + 1.9


async def test_a_process_that_never_saw_a_deleted_lease_holds_only_when_its_holder_must_have_stopped(
    server: Leases, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        (n1,) = await opened(stack, server, tmp_path, "n1")
        first = n1.stand()
        await first.leads()
        await sleep(3.2)
        n1.way.is_cut = True
        server.delete(LEASE)
        (n2,) = await opened(stack, server, tmp_path, "n2")
        began, second = current_time(), n2.stand()
        await second.leads()
        assert not first.holds
        ended = first.held_until
        assert current_time() >= ended + 2
        assert current_time() - began <= 6.1  # one retry period for the holder to write it again, one duration


async def test_a_process_that_never_saw_a_deleted_lease_leaves_it_to_its_holder(server: Leases, tmp_path: Path) -> None:
    """Also when the holder's watch is deaf: it finds out with its next renewal."""
    async with AsyncExitStack() as stack:
        (n1,) = await opened(stack, server, tmp_path, "n1")
        first = n1.stand()
        await first.leads()
        n1.way.watch_is_deaf = True
        await sleep(1.01)
        server.delete(LEASE)
        (n2,) = await opened(stack, server, tmp_path, "n2")
        second = n2.stand()
        assert await second.follows() == Following(leader="n1")
        await sleep(10)
        assert first.holds
        assert first.terms == {1}


async def test_who_stops_before_it_held_a_lease_that_it_made_leaves_the_next_one_as_careful(
    server: Leases, tmp_path: Path
) -> None:
    wills: list[bytes | None] = []
    async with AsyncExitStack() as stack:
        (n1,) = await opened(stack, server, tmp_path, "n1", will=lambda *will: wills.append(will[2]))
        first = n1.stand()
        while not server.holder(LEASE):
            await sleep(0.1)
        assert re.match(r"waiting (3.9|4.0) s: nothing says who held", str(n1.election.status()["waiting"]))
        await sleep(1)
        assert set(wills) <= {None}  # nor may a parent release what was never held
        await first.stop()
        assert server.holder(LEASE) == ""
        (n2,) = await opened(stack, server, tmp_path, "n2")
        began, second = current_time(), n2.stand()
        await second.leads()
        assert current_time() - began > 5


async def test_a_lease_emptied_by_hand_stays_with_its_holder(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first, second = await held_and_followed(stack, server, tmp_path)
        server.edit(LEASE, holderIdentity="")
        await sleep(0.05)
        assert first.holds
        assert server.holder(LEASE).startswith("n1_")
        assert not second.tenures


async def test_a_holder_that_finds_another_identity_stops_at_once(server: Leases, tmp_path: Path) -> None:
    async with running(server, "n1", tmp_path) as n1:
        stand = n1.stand()
        await stand.leads()
        server.edit(LEASE, holderIdentity="n9_1", renewTime="2026-01-01T00:00:00.000000Z")
        with fail_after(0.01):
            assert await stand.follows() == Following(leader="n9_1 (foreign)")


async def test_a_group_that_comes_later_is_held_at_once_on_a_lease_that_the_watch_never_showed(
    server: Leases, tmp_path: Path
) -> None:
    """A Lease for each group: the first one waits, and those of groups that come when it is held do not."""
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=evolve(CONFIG, scope=Scope.SERVICE))
        began = current_time()
        for node in (n1, n2):
            node.stand("first")
        while not server.holder("lock-first"):
            await sleep(0.1)
        await sleep(10)
        assert current_time() - began > 5
        for number in range(5):
            stands = [node.stand(f"g{number}") for node in (n1, n2)]
            asked = current_time()
            while not any(stand.holds for stand in stands):
                assert current_time() - asked < 0.1
                await sleep(0.01)


async def test_a_lease_of_a_group_that_was_deleted_a_moment_ago_is_waited_for(server: Leases, tmp_path: Path) -> None:
    """The watch has shown it: so whoever held it may do so still."""
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=evolve(CONFIG, scope=Scope.SERVICE))
        n2.stand("other")
        first = n1.stand("g")
        await first.leads()
        await sleep(10)
        n1.way.is_cut = True
        server.delete("lock-g")
        await sleep(1)
        second = n2.stand("g")
        await second.leads()
        assert not first.holds
        ended = first.held_until
        assert current_time() >= ended + 2


async def test_a_lease_that_was_made_by_hand_gets_the_label_by_which_it_is_watched(
    server: Leases, tmp_path: Path
) -> None:
    server.put("lock-g", {"spec": {}}, "ADDED")
    async with running(server, "n1", tmp_path, config=evolve(CONFIG, scope=Scope.SERVICE)) as n1:
        await n1.stand("g").leads()
        assert server.objects["lock-g"]["metadata"]["labels"] == {"kubevip.io/election": "lock"}
