"""Observers are told one by one; a failure stays with its observer."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import create_task_group, sleep

from kubevip import Event
from kubevip._observe import Observers

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Ear:
    def __init__(self, failure: Exception | None = None) -> None:
        self.heard: list[Event] = []
        self._failure = failure

    def notify(self, event: Event) -> None:
        self.heard.append(event)
        if self._failure is not None:
            raise self._failure


async def test_one_that_fails_is_logged_and_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    observers, bad, good = Observers(), Ear(OSError("disk full")), Ear()
    async with create_task_group() as tg:
        tg.start_soon(observers.follow, "bad", bad)
        await sleep(0.1)
        tg.start_soon(observers.follow, "good", good)
        await sleep(0.1)
        observers.notify("leading", "leads api", group="api", term=7)
        observers.notify("withdrawn", "gone", vip="api")
        tg.cancel_scope.cancel()
    expected = [
        Event(name="leading", message="leads api", fields={"group": "api", "term": 7}),
        Event(name="withdrawn", message="gone", fields={"vip": "api"}),
    ]
    assert good.heard == bad.heard == expected
    assert [record.getMessage() for record in caplog.records] == [
        "observer bad failed on event leading",
        "observer bad failed on event withdrawn",
    ]


async def test_one_that_is_closed_hears_nothing_more() -> None:
    observers, ear = Observers(), Ear()
    async with create_task_group() as tg:
        tg.start_soon(observers.follow, "ear", ear)
        await sleep(0.1)
        tg.cancel_scope.cancel()
    observers.notify("leading", "leads api")
    assert ear.heard == []


async def test_one_that_leaves_while_the_others_are_told_disturbs_nobody() -> None:
    observers, last = Observers(), Ear()

    async with create_task_group() as tg, create_task_group() as inner:

        class Leaving:
            def notify(self, event: Event) -> None:
                inner.cancel_scope.cancel()

        inner.start_soon(observers.follow, "leaving", Leaving())
        await sleep(0.1)
        tg.start_soon(observers.follow, "last", last)
        await sleep(0.1)
        observers.notify("leading", "leads api")
        assert [event.name for event in last.heard] == ["leading"]
        tg.cancel_scope.cancel()
