"""The watch of Leases: what a silence means."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from anyio import current_time, move_on_after, sleep

from kubevip_election_k8s._timing import Timing
from kubevip_election_k8s._watching import LeaseWatch
from kubevip_k8s import JsonObject, TimedOut, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from kubevip_k8s import Api

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Quiet:
    """An API without a Lease, whose watches say nothing; from `dead_at` on nobody answers."""

    def __init__(self, dead_at: float) -> None:
        self.dead_at, self.lists = dead_at, 0

    def now(self) -> float:
        return current_time()

    async def request(self, method: str, path: str, **_: object) -> JsonObject:
        self.lists += 1
        if current_time() >= self.dead_at:
            raise Unreachable("no route to host")
        return {"metadata": {"resourceVersion": "1"}, "items": []}

    @asynccontextmanager
    async def watch(self, path: str, *, idle_seconds: float, **_: object) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        events = self._events(idle_seconds)
        try:
            yield events
        finally:
            await events.aclose()

    async def _events(self, idle_seconds: float) -> AsyncGenerator[JsonObject]:
        await sleep(idle_seconds)
        if idle_seconds > 0:
            raise TimedOut(f"nothing for {idle_seconds} s")
        yield {}


async def follow(api: Quiet, seconds: float) -> LeaseWatch:
    timing = Timing(lease_seconds=5, renew_seconds=3, retry_seconds=1)
    watch = LeaseWatch(
        cast("Api", api),
        "kube-system",
        {},
        lambda name, lease, version, since: None,
        lambda names, version: None,
        timing=timing,
        clock=cast("Any", api),
        rng=Random(1),
    )
    with move_on_after(seconds):
        await watch.run()
    return watch


async def test_leases_that_nobody_holds_are_no_trouble_and_listed_again(caplog: pytest.LogCaptureFixture) -> None:
    api = Quiet(dead_at=current_time() + 1e9)
    watch = await follow(api, 105)
    assert (watch.problem, caplog.messages, api.lists) == ("", [], 11)


async def test_a_watch_that_is_dead_is_told_by_the_list_that_follows() -> None:
    watch = await follow(Quiet(dead_at=current_time() + 5), 12)
    assert watch.problem == "no route to host"
