"""The latest-value cell: nothing is missed, nothing is queued."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import create_task_group, move_on_after, sleep
from anyio.lowlevel import checkpoint

from kubevip import Latest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def test_a_reader_that_has_seen_nothing_gets_the_value_of_now() -> None:
    assert await Latest("now").wait_for_change(None) == "now"


async def test_values_that_are_replaced_before_the_reader_runs_are_not_seen() -> None:
    cell, seen = Latest(0), list[int]()

    async def read() -> None:
        last: int | None = None
        while True:
            last = await cell.wait_for_change(last)
            seen.append(last)

    async with create_task_group() as tg:
        tg.start_soon(read)
        await sleep(1)
        for value in range(1000, 1100):
            cell.set(value)
        await sleep(1)
        tg.cancel_scope.cancel()
    assert seen == [0, 1099]


async def test_a_value_that_is_equal_but_another_object_is_a_change() -> None:
    first, second = (1, "x"), tuple([1, "x"])
    cell = Latest(first)
    async with create_task_group() as tg:
        tg.start_soon(_set_later, cell, second)
        assert await cell.wait_for_change(first) is second


async def _set_later(cell: Latest[Any], value: object) -> None:
    await sleep(1)
    cell.set(value)


async def test_setting_the_same_object_wakes_nobody_who_has_seen_it() -> None:
    value = object()
    cell = Latest(value)
    with move_on_after(1) as limit:
        async with create_task_group() as tg:
            tg.start_soon(_set_later, cell, value)
            await cell.wait_for_change(value)
    assert limit.cancelled_caught


async def test_the_value_that_was_accepted_is_still_the_value_when_the_reader_goes_on() -> None:
    cell, held = Latest(0), list[bool]()

    async def read() -> None:
        for _ in range(20):
            value = await cell.wait_until(lambda value: value % 2 == 1)
            held.append(cell.value == value)
            await checkpoint()

    async def write() -> None:
        for value in range(200):
            cell.set(value)
            await checkpoint()
        cell.set(201)

    async with create_task_group() as tg:
        tg.start_soon(read)
        tg.start_soon(write)
    assert held == [True] * 20


async def test_waiting_is_a_checkpoint_also_when_the_value_is_there() -> None:
    cell = Latest(1)
    with move_on_after(0) as limit:
        await cell.wait_until(lambda value: value == 1)
    assert limit.cancelled_caught


async def test_all_readers_are_woken() -> None:
    cell, woken = Latest(0), list[int]()

    async def read(number: int) -> None:
        await cell.wait_until(lambda value: value == 1)
        woken.append(number)

    async with create_task_group() as tg:
        for number in range(5):
            tg.start_soon(read, number)
        await sleep(1)
        cell.set(1)
    assert sorted(woken) == [0, 1, 2, 3, 4]


async def test_a_value_that_nobody_waits_for_wakes_nobody() -> None:
    cell, asked = Latest(0), list[int]()

    def test(value: int) -> bool:
        asked.append(value)
        return value == 2

    async with create_task_group() as tg:
        tg.start_soon(cell.wait_until, test)
        await sleep(1)
        cell.set(1)
        await sleep(1)
        assert asked == [0, 1]  # by whoever set it, and not again by a reader that was woken in vain
        cell.set(2)
