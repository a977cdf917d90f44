"""Large snapshots are merged beside the event loop, in real time and real threads."""

from __future__ import annotations

import threading  # noqa: TID251 a thread is to wait until the event loop has gone on
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from anyio import create_task_group, fail_after, sleep, sleep_forever

from kubevip import Desired, Feed, Instance, Kind, Latest, Section
from kubevip import _resolution as resolution
from kubevip._board import Board
from kubevip._plugin import built_in, load_plugin
from kubevip._plugins import PluginRegistry
from kubevip._resolve import resolve_frame
from kubevip._sources import Sources

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from kubevip._resolve import Frame

pytestmark = pytest.mark.anyio

BASE = Desired(instances=(Instance(kind=Kind.SOURCE, name="told", section=Section(provider="static")),))


class Slow:
    """Resolving that begins, and goes on only when the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self._resolve = resolve_frame
        monkeypatch.setattr(resolution, "resolve_frame", self)
        monkeypatch.setattr(resolution, "MOST_ITEMS_AT_ONCE", -1)  # whatever is published is large

    def __call__(self, *args: object) -> Frame:
        self.began.set()
        assert self.may_go_on.wait(5), "the event loop stood still meanwhile"
        return self._resolve(*args)  # type: ignore[arg-type]


@asynccontextmanager
async def followed() -> AsyncGenerator[tuple[Sources, Feed]]:
    merged = Sources(BASE, PluginRegistry([load_plugin(built_in())]), Board(node="n1", instance="test"))
    feeds: Latest[Feed | None] = Latest(None)

    class Source:
        async def run(self, feed: Feed) -> None:
            feeds.set(feed)
            await sleep_forever()

    with fail_after(10):
        async with create_task_group() as tg:
            tg.start_soon(merged.run)
            tg.start_soon(merged.follow, "told", Source())
            feed = await feeds.wait_until(lambda feed: feed is not None)
            assert feed is not None
            yield merged, feed
            tg.cancel_scope.cancel()


async def test_the_event_loop_goes_on_while_a_configuration_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    async with followed() as (merged, feed):
        slow = Slow(monkeypatch)
        feed.publish(Desired(digest="first"))
        while not slow.began.is_set():
            await sleep(0.001)
        feed.publish(Desired(digest="second"))
        assert merged.wanted.value is not None
        assert merged.wanted.value.digest == ""
        slow.may_go_on.set()
        await merged.wanted.wait_until(lambda resolved: resolved is not None and resolved.digest == "second")


async def test_a_stop_does_not_wait_until_a_configuration_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    async with followed() as (_, feed):
        slow = Slow(monkeypatch)
        feed.publish(Desired(digest="first"))
        while not slow.began.is_set():
            await sleep(0.001)
    slow.may_go_on.set()
