"""A past that the server has forgotten: a reflector lists again and tells the difference."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from anyio import create_task_group, fail_after
from tests.apiserver.servers import missing

from kubevip import Latest
from kubevip_k8s import CONFIG_MAPS, Access, Api, Reflector, Unreachable, open_api
from kubevip_k8s.testing import FakeCluster
from kubevip_k8s.testing.real import run_real_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from pathlib import Path

    from kubevip_k8s import Change, JsonObject

pytestmark = pytest.mark.anyio

SECONDS = 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the client's only one


class Interrupted:
    """An Api whose watches break, and are refused, while `is_cut`. Counts the lists and watches that were answered."""

    def __init__(self, api: Api) -> None:
        self._api, self.is_cut = api, Latest(False)
        self.watches, self.lists = 0, 0

    async def request(self, method: str, path: str, **more: Any) -> JsonObject:
        answer = await self._api.request(method, path, **more)
        self.lists += method == "GET"
        return answer

    @asynccontextmanager
    async def watch(self, path: str, **more: Any) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        if self.is_cut.value:
            raise Unreachable("cut")
        async with self._api.watch(path, **more) as events:
            self.watches += 1
            yield _Cut(events, self.is_cut)


class _Cut:
    """Events, until they are cut off: with the next one."""

    def __init__(self, events: AsyncIterator[JsonObject], is_cut: Latest[bool]) -> None:
        self._events, self._is_cut = events, is_cut

    def __aiter__(self) -> _Cut:
        return self

    async def __anext__(self) -> JsonObject:
        event = await anext(self._events)
        if self._is_cut.value:
            raise Unreachable("cut")
        return event


def text_of(found: JsonObject) -> str:
    return str(found.get("data"))


async def follow_through_a_compaction(api: Api, compact: Callable[[], object]) -> list[str]:
    """Change things while the watch is cut off and forgotten; return what the reflector tells then."""
    path, told = CONFIG_MAPS.path("default"), Latest(0)
    spoilt, log = Interrupted(api), list[str]()

    def on_changes(changes: Sequence[Change[str]]) -> None:
        log.extend(f"{change.kind.value} {change.key[1]} {change.object}" for change in changes)
        told.set(told.value + 1)

    async def put(name: str, text: str) -> None:
        body = {"metadata": {"name": name}, "data": {"text": text}}
        await api.request("POST", path, body=body, timeout_seconds=SECONDS)

    reflector = Reflector(spoilt, CONFIG_MAPS, keep=text_of, namespace="default", rng=Random(1))
    await put("gone", "1")
    await put("stays", "1")
    async with create_task_group() as tg:
        tg.start_soon(reflector.run, on_changes)
        with fail_after(SECONDS):
            await reflector.synced.wait_until(bool)
            listed = told.value
            await put("heard", "1")
            await told.wait_for_change(listed)
            assert spoilt.watches == 1
            log.clear()
            spoilt.is_cut.set(True)
            await put("unheard", "1")  # with it the watch is cut off
            await api.request("DELETE", CONFIG_MAPS.path("default", "gone"), timeout_seconds=SECONDS)
            await put("new", "1")
            compact()
            lists = spoilt.lists
            spoilt.is_cut.set(False)
            while len(log) < 3:
                await told.wait_for_change(told.value)
        assert spoilt.lists > lists  # it was told that the version is gone, and listed
        tg.cancel_scope.cancel()
    return sorted(line.partition(" {")[0] for line in log)


EXPECTED = ["added new", "added unheard", "deleted gone"]


async def test_the_fake_server_forgets_and_the_difference_is_told() -> None:
    cluster = FakeCluster()
    assert await follow_through_a_compaction(cluster.api(), cluster.compact) == EXPECTED


@pytest.mark.apiserver
async def test_the_real_server_forgets_and_the_difference_is_told(tmp_path: Path) -> None:
    """Without its watch cache: what the server's memory has, it still knows when etcd has forgotten it."""
    if why := missing():
        pytest.skip(why)
    with run_real_server(tmp_path, has_watch_cache=False) as server:
        async with open_api(Access(kubeconfig=server.kubeconfig)) as api:
            assert await follow_through_a_compaction(api, server.compact) == EXPECTED
