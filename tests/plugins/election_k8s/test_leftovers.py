"""Leases of groups that are gone are deleted, and no other is, whatever happens meanwhile. In virtual time."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio import sleep
from attrs import evolve
from tests.plugins.election_k8s.leases import Leases, Way
from tests.plugins.election_k8s.nodes import CONFIG, opened, running

from kubevip_election_k8s._config import Scope
from kubevip_election_k8s._leftovers import FORGOTTEN_SECONDS
from kubevip_k8s import Forbidden

pytestmark = pytest.mark.anyio

EACH = evolve(CONFIG, scope=Scope.SERVICE)
A_WHILE = FORGOTTEN_SECONDS + 150


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def test_what_a_group_left_is_deleted_by_whoever_stands_for_another(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=EACH)
        kept = [n1.stand("kept"), n2.stand("kept")]
        going = [n1.stand("going"), n2.stand("going")]
        await sleep(20)
        for stand in going:
            await stand.stop()
        await sleep(FORGOTTEN_SECONDS / 2)
        assert sorted(server.objects) == ["lock-going", "lock-kept"]
        await sleep(A_WHILE)
        assert sorted(server.objects) == ["lock-kept"]
        assert sum(stand.holds for stand in kept) == 1


async def test_what_a_dead_node_left_is_deleted_and_what_is_not_ours_never(server: Leases, tmp_path: Path) -> None:
    labels = {"kubevip.io/election": "lock"}
    held = {"holderIdentity": "n9_1-gone", "leaseDurationSeconds": 5, "leaseTransitions": 1}
    server.put("lock-dead", {"metadata": {"labels": labels, "uid": "u1"}, "spec": held}, "ADDED")
    server.put("somebody-elses", {"metadata": {}, "spec": held}, "ADDED")
    server.put("another-one-s", {"metadata": {"labels": {"kubevip.io/election": "other"}}, "spec": held}, "ADDED")
    async with running(server, "n1", tmp_path, config=EACH) as n1:
        await n1.stand("g").leads()
        await sleep(A_WHILE)
        assert sorted(server.objects) == ["another-one-s", "lock-g", "somebody-elses"]


async def test_a_group_that_nobody_can_serve_keeps_its_lease(server: Leases, tmp_path: Path) -> None:
    """Somebody holds it all the same, and renews."""
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=EACH)
        stand = n1.stand("unfit")
        stand.fitness.set(0)
        n2.stand("other")
        await sleep(A_WHILE)
        assert stand.holds
        assert "lock-unfit" in server.objects


async def test_a_group_that_comes_back_in_that_moment_keeps_its_lease(server: Leases, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        n1, n2 = await opened(stack, server, tmp_path, "n1", "n2", config=EACH)
        n1.stand("other")
        going = n2.stand("going")
        await going.leads()
        await going.stop()
        n1.way.watch_is_deaf = True  # so it does not know that somebody stands again, and asks
        for _ in range(60):
            again = n2.stand("going")
            await sleep(14)
            assert again.holds
            await again.stop()
        deleted = [lease for _, kind, lease in server.writes if kind == "DELETED"]
        assert deleted == []


async def test_without_the_right_they_stay_and_that_is_said_once(
    server: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    honest = Way.request

    async def request(self: Way, method: str, path: str, **more: Any) -> Any:
        if method == "DELETE":
            raise Forbidden(403, "Forbidden", "may not delete")
        return await honest(self, method, path, **more)

    monkeypatch.setattr(Way, "request", request)
    async with running(server, "n1", tmp_path, config=EACH) as n1:
        n1.stand("other")
        going = n1.stand("going")
        await going.leads()
        await going.stop()
        with caplog.at_level(logging.WARNING):
            await sleep(3 * A_WHILE)
        assert "lock-going" in server.objects
        assert [line for line in caplog.messages if "stays" in line] == [
            "lease=lock-going is of a group that is gone and stays: 403 Forbidden: may not delete"
        ]
