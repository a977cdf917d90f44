"""A thing that comes and goes: whoever takes it away waits for its users."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import CancelScope, create_task_group, current_time, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint

from kubevip._slot import Slot
from kubevip.testing import Recorder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class User:
    """Records "use THING" and "let go THING", and takes a while for the latter."""

    def __init__(self, *, unwind_seconds: float = 0.5) -> None:
        self.record = Recorder()
        self._unwind_seconds = unwind_seconds

    async def use(self, thing: str) -> None:
        self.record(f"use {thing}")
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await sleep(self._unwind_seconds)
            self.record(f"let go {thing}")


async def test_emptying_waits_until_every_user_has_let_go() -> None:
    slot, user, slow = Slot[str](), User(), User(unwind_seconds=2.0)
    async with create_task_group() as tg:
        tg.start_soon(slot.while_filled, user.use)
        tg.start_soon(slot.while_filled, slow.use)
        slot.content.set("one")
        await sleep(1)
        began = current_time()
        await slot.empty()
        assert current_time() - began == pytest.approx(2.0)
        assert user.record.words == slow.record.words == ["use one", "let go one"]
        tg.cancel_scope.cancel()


async def test_emptying_waits_also_when_it_is_cancelled() -> None:
    slot, user = Slot[str](), User()
    async with create_task_group() as tg:
        tg.start_soon(slot.while_filled, user.use)
        slot.content.set("one")
        await sleep(1)
        with move_on_after(0.1):
            await slot.empty()
        assert user.record.words == ["use one", "let go one"]
        tg.cancel_scope.cancel()


async def test_a_successor_is_used_only_after_the_predecessor_was_let_go() -> None:
    slot, user = Slot[str](), User()
    async with create_task_group() as tg:
        tg.start_soon(slot.while_filled, user.use)
        slot.content.set("one")
        await sleep(1)
        slot.content.set("two")
        await sleep(1)
        assert user.record.words == ["use one", "let go one", "use two"]
        tg.cancel_scope.cancel()


async def test_a_thing_that_does_not_pass_the_test_is_not_used() -> None:
    slot, user = Slot[str](), User()
    async with create_task_group() as tg:
        tg.start_soon(slot.while_filled, user.use, lambda thing: thing != "spoilt")
        slot.content.set("spoilt")
        await sleep(1)
        assert user.record.words == []
        slot.content.set("good")
        await sleep(1)
        assert user.record.words == ["use good"]
        tg.cancel_scope.cancel()


async def test_a_thing_that_goes_before_its_user_has_run_is_let_go() -> None:
    slot, user = Slot[str](), User()
    async with create_task_group() as tg:
        tg.start_soon(slot.while_filled, user.use)
        await sleep(1)
        slot.content.set("one")
        await slot.empty()
        await sleep(1)
        assert user.record.words in ([], ["use one", "let go one"])
        tg.cancel_scope.cancel()


async def test_an_error_of_the_user_passes_and_leaves_nobody_to_wait_for() -> None:
    slot = Slot[str]()

    async def fail(thing: str) -> None:
        await checkpoint()
        raise OSError(thing)

    slot.content.set("one")
    with pytest.raises(ExceptionGroup) as caught:
        await slot.while_filled(fail)
    assert caught.group_contains(OSError, match="one")
    await slot.empty()


async def test_an_error_while_letting_go_does_not_hold_up_who_waits() -> None:
    slot = Slot[str]()

    async def use(thing: str) -> None:
        try:
            await sleep_forever()
        finally:
            raise OSError(f"{thing} stuck")

    async def ignoring() -> None:
        with pytest.raises(ExceptionGroup):
            await slot.while_filled(use)

    async with create_task_group() as tg:
        tg.start_soon(ignoring)
        slot.content.set("one")
        await sleep(1)
        await slot.empty()


async def test_work_that_returns_while_the_thing_is_there_is_an_error() -> None:
    slot = Slot[str]()
    slot.content.set("one")

    async def returns(thing: str) -> None:
        await checkpoint()

    with pytest.raises(ExceptionGroup) as caught:
        await slot.while_filled(returns)
    assert caught.group_contains(RuntimeError, match="ended although")
