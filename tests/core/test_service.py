"""One instance of a provider: what it says of itself, and who waits for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, sleep, sleep_forever
from attrs import frozen

from kubevip import Host, Kind, Provider
from kubevip._board import Board
from kubevip._context import Context
from kubevip._observe import Observers
from kubevip._resolved import ResolvedInstance
from kubevip._service import ServiceTask
from kubevip._slot import Slot
from kubevip.testing import Recorder, make_host

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@frozen
class NoConfig:
    pass


Opening = Callable[[NoConfig, Host], AbstractAsyncContextManager[Any]]


def service_task(tmp_path: Path, opening: Opening, slot: Slot[Any] | None = None) -> ServiceTask:
    provider = Provider(name="fake", summary="", config=NoConfig, open=opening)
    instance = ResolvedInstance(kind=Kind.ELECTION, name="fake", provider=provider, config=NoConfig())
    context = Context(board=Board(node="n1", instance="test"), observers=Observers(), rng=Random(1))
    return ServiceTask(instance, slot or Slot(), make_host(tmp_path), context)


class Broken:
    def status(self) -> Mapping[str, object]:
        raise LookupError("no such member")


@asynccontextmanager
async def open_broken(config: NoConfig, host: Host) -> AsyncGenerator[Any]:
    yield Broken()


@asynccontextmanager
async def never_open(config: NoConfig, host: Host) -> AsyncGenerator[Any]:
    await sleep_forever()
    yield


async def test_a_service_that_cannot_say_how_it_does_is_shown_with_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = service_task(tmp_path, open_broken)
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await task.settled.wait()
        with caplog.at_level(logging.ERROR, "kubevip.service"):
            assert task.status() == {"problem": "LookupError: no such member"}
        tg.cancel_scope.cancel()
    assert "election fake cannot say how it does" in caplog.text


async def test_nobody_waits_for_a_service_that_is_stopped_before_it_opened(tmp_path: Path) -> None:
    task = service_task(tmp_path, never_open)
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await sleep(1)
        assert not task.settled.is_set()
        tg.cancel_scope.cancel()
    assert task.settled.is_set()


async def test_what_a_service_runs_goes_on_until_its_users_have_let_go(tmp_path: Path) -> None:
    record = Recorder()

    async def work() -> None:
        try:
            await sleep_forever()
        finally:
            record("service's own task ends")

    @asynccontextmanager
    async def open_it(config: NoConfig, host: Host) -> AsyncGenerator[object]:
        async with create_task_group() as tg:
            tg.start_soon(work)
            yield object()
            tg.cancel_scope.cancel()

    async def use(service: object) -> None:
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await sleep(1)
            record("user lets go")

    slot = Slot[object]()
    task = service_task(tmp_path, open_it, slot)
    async with create_task_group() as users:
        users.start_soon(slot.while_filled, use)
        async with create_task_group() as tg:
            tg.start_soon(task.run)
            await sleep(1)
            tg.cancel_scope.cancel()
        users.cancel_scope.cancel()
    assert record.words == ["user lets go", "service's own task ends"]
