"""The board: what items write is in the next snapshot, and waiters hear of changes in bundles."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import pytest
from anyio import create_task_group, current_time, sleep

from kubevip import Snapshot
from kubevip._board import PUBLISH_SECONDS, Board
from kubevip._status import GroupStatus, ServiceStatus, VipStatus

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


def make_board() -> Board:
    return Board(node="n1", instance="test")


async def test_changes_that_come_together_are_published_once() -> None:
    board, published = make_board(), list[tuple[float, Snapshot]]()

    async def watch() -> None:
        seen: Snapshot | None = None
        while True:
            seen = await board.published.wait_for_change(seen)
            published.append((current_time(), seen))

    async with create_task_group() as tg:
        tg.start_soon(board.run)
        tg.start_soon(watch)
        await sleep(1)
        published.clear()
        for number in range(50):
            board.config_digest = f"{number}"
            board.touch()
        await sleep(1)
        assert [snapshot.config_digest for _, snapshot in published] == ["49"]
        tg.cancel_scope.cancel()


async def test_the_last_change_of_a_burst_is_published_and_no_two_within_the_pause() -> None:
    board, times, digests = make_board(), list[float](), list[str]()

    async def watch() -> None:
        seen: Snapshot | None = None
        while True:
            seen = await board.published.wait_for_change(seen)
            times.append(current_time())
            digests.append(seen.config_digest)

    async with create_task_group() as tg:
        tg.start_soon(board.run)
        await sleep(1)
        tg.start_soon(watch)
        for number in range(100):
            board.config_digest = f"{number}"
            board.touch()
            await sleep(0.017)
        await sleep(1)
        tg.cancel_scope.cancel()
    assert digests[-1] == "99"
    gaps = [after - before for before, after in pairwise(times[1:])]
    assert min(gaps) >= PUBLISH_SECONDS - 1e-6
    assert len(times) < 25


async def test_an_address_that_is_not_held_here_is_held_by_who_leads_its_group() -> None:
    board = make_board()
    board.groups["api"] = lambda: GroupStatus(name="api", election="raft", leader="n3")
    address = IPv4Address("192.0.2.1")
    board.vips["api4"] = VipStatus(name="api4", address=address, group="api")
    board.vips["web"] = VipStatus(name="web", address=address, group="web", is_held=True)
    board.vips["old"] = VipStatus(name="old", address=address, group="unknown")
    assert [(vip.name, vip.holder) for vip in board.snapshot().vips] == [("api4", "n3"), ("web", "n1"), ("old", None)]


async def test_a_snapshot_says_what_differs_from_one_before_without_a_look_at_the_rest() -> None:
    board, address = make_board(), IPv4Address("192.0.2.1")
    for number in range(100):
        board.vips[f"v{number}"] = VipStatus(name=f"v{number}", address=address, group="all")
    before = board.snapshot()
    board.vips["v7"] = held = VipStatus(name="v7", address=address, group="all", is_held=True)
    board.vips.remove("v9")
    after = board.snapshot()
    assert after.vips_since(before) == {"v7": held, "v9": None}
    assert [vip.is_held for vip in before.vips] == [False] * 100  # what was said then still stands
    assert [vip.name for vip in after.vips] == [f"v{number}" for number in range(100) if number != 9]
    assert len(after.vips_since(Snapshot())) == 99


async def test_agents_are_listed_apart_from_other_services() -> None:
    board = make_board()
    for kind in ("agent", "proxy"):
        board.services[kind, "x"] = ServiceStatus(kind=kind, name="x", provider="x", state="open")
    snapshot = board.snapshot()
    assert [service.kind for service in snapshot.services] == ["proxy"]
    assert [agent.kind for agent in snapshot.agents] == ["agent"]
