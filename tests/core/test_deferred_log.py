"""Records wait for a moment and are written in order, with the time of what they tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from anyio import create_task_group, sleep, to_thread

from kubevip._deferred_log import DEFER_SECONDS, MOST_WAITING, DeferredHandler, defer_log

pytestmark = pytest.mark.anyio

LOGGER = logging.getLogger("kubevip.test_deferred_log")


class Written(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def words(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@pytest.fixture
def written() -> Iterator[Written]:
    target = Written()
    root = logging.getLogger()
    before = root.handlers[:], LOGGER.level
    root.handlers[:] = [DeferredHandler(target)]
    LOGGER.setLevel(logging.INFO)
    yield target
    root.handlers[:] = before[0]
    LOGGER.setLevel(before[1])


def test_before_and_after_the_event_loop_nothing_waits(written: Written) -> None:
    LOGGER.info("a")
    assert written.words == ["a"]


async def test_records_wait_for_a_moment_and_keep_their_order_and_time(written: Written) -> None:
    async with create_task_group() as tg:
        tg.start_soon(defer_log)
        await sleep(0.001)
        for _ in range(2):
            written.records.clear()
            LOGGER.info("a")
            await sleep(DEFER_SECONDS / 2)
            LOGGER.info("b")
            assert written.words == []
            await sleep(DEFER_SECONDS)
            assert written.words == ["a", "b"]
            assert written.records[0].created <= written.records[1].created
        tg.cancel_scope.cancel()
    LOGGER.info("c")
    assert written.words == ["a", "b", "c"]


async def test_a_warning_is_written_at_once_with_all_that_waited(written: Written) -> None:
    async with create_task_group() as tg:
        tg.start_soon(defer_log)
        await sleep(0.001)
        LOGGER.info("a")
        LOGGER.warning("b")
        assert written.words == ["a", "b"]
        tg.cancel_scope.cancel()


async def test_what_waits_when_the_event_loop_ends_is_written(written: Written) -> None:
    async with create_task_group() as tg:
        tg.start_soon(defer_log)
        await sleep(0.001)
        LOGGER.info("a")
        tg.cancel_scope.cancel()
    assert written.words == ["a"]


async def test_another_thread_does_not_wait(written: Written) -> None:
    async with create_task_group() as tg:
        tg.start_soon(defer_log)
        await sleep(0.001)
        LOGGER.info("a")
        await to_thread.run_sync(LOGGER.info, "b")
        assert written.words[:2] == ["a", "b"]
        tg.cancel_scope.cancel()


async def test_no_more_than_a_bounded_number_waits(written: Written) -> None:
    async with create_task_group() as tg:
        tg.start_soon(defer_log)
        await sleep(0.001)
        for number in range(MOST_WAITING + 1):
            LOGGER.info("%d", number)
        assert len(written.records) == MOST_WAITING + 1
        tg.cancel_scope.cancel()
