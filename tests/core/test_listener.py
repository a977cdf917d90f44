"""One listener: it comes back, drains when it is told to leave, and says how it does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, current_time, sleep
from attrs import evolve

from kubevip import Backend, Health, Level, Listener, ListenerHealth, LoadBalancer, Serving
from kubevip._board import Board
from kubevip._context import Context
from kubevip._listener import ListenerTask
from kubevip._observe import Observers
from kubevip._slot import Slot
from kubevip.abc import Proxy
from kubevip.errors import ProxyError
from kubevip.testing import FakeProxy, Recorder, make_tenure

pytestmark = pytest.mark.anyio

SHOP = LoadBalancer(name="shop", protocol="tcp", proxy="tcp", port=80, backends=(Backend(address="192.0.2.8", port=1),))
PROBLEM = ListenerHealth(problem="no backend answers")


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class DrainingProxy:
    """Drains for as long as it was told, as a real one does while a connection stays open."""

    def __init__(self, record: Recorder) -> None:
        self.fake = FakeProxy(record)
        self.first_report: ListenerHealth | None = None
        self.served: list[Listener] = []
        self.reports: list[Callable[[ListenerHealth], None]] = []

    @asynccontextmanager
    async def serve(self, listener: Listener, report: Callable[[ListenerHealth], None]) -> AsyncGenerator[Serving]:
        self.served.append(listener)
        self.reports.append(report)
        drain_seconds = 0.0 if listener.is_bound else listener.drain_seconds

        if self.first_report is not None:
            report(self.first_report)
        async with self.fake.serve(listener, report) as serving:

            class Draining:
                def set_backends(self, backends: Sequence[Backend]) -> None:
                    serving.set_backends(backends)

                def set_drain(self, seconds: float) -> None:
                    nonlocal drain_seconds
                    drain_seconds = seconds
                    serving.set_drain(seconds)

            try:
                yield Draining()
            finally:
                with CancelScope(shield=True):
                    await sleep(drain_seconds)


class Rig:
    def __init__(self) -> None:
        self.record = Recorder()
        self.proxy = DrainingProxy(self.record)
        self.slot = Slot[Proxy]()
        self.slot.content.set(self.proxy)
        self.board = Board(node="n1", instance="test")
        self.context = Context(board=self.board, observers=Observers(), rng=Random(1))
        self.health: list[Health] = []

    def task(self, balancer: LoadBalancer = SHOP, **more: Any) -> ListenerTask:
        address, tenure = more.pop("address", None), more.pop("tenure", None)
        task = ListenerTask(balancer, address, self.slot, self.context, report=self.health.append, **more)
        if tenure is not None:
            task.listen(tenure)
        return task

    @property
    def shown(self) -> list[tuple[str, str, bool, str]]:
        return [
            (status.name, status.on, status.is_listening, status.health.problem)
            for status in self.board.snapshot().listeners
        ]


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_it_listens_says_so_and_takes_backends_while_it_runs(rig: Rig) -> None:
    task = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await task.settled.wait()
        assert rig.shown == [("shop", "*:80", True, "")]
        task.backends.set(())
        await sleep(1)
        assert rig.record.words == ["listen shop", "backends shop 0"]
        tg.cancel_scope.cancel()
    assert rig.shown == []


@pytest.mark.parametrize(
    ("address", "on"),
    [(None, "*:80"), (IPv4Address("192.0.2.1"), "192.0.2.1:80"), (IPv6Address("2001:db8::1"), "[2001:db8::1]:80")],
)
async def test_status_shows_where_it_listens(rig: Rig, address: Any, on: str) -> None:
    async with create_task_group() as tg:
        tg.start_soon(rig.task(address=address, tenure=None if address is None else make_tenure()).run)
        await sleep(1)
        assert [shown[1] for shown in rig.shown] == [on]
        tg.cancel_scope.cancel()


async def test_the_proxy_gets_what_the_item_says(rig: Rig) -> None:
    tenure, options = make_tenure(), object()
    balancer = evolve(SHOP, options={"tcp": options, "other": object()}, drain_seconds=7.0)
    async with create_task_group() as tg:
        tg.start_soon(rig.task(balancer, address=IPv4Address("192.0.2.1"), tenure=tenure).run)
        await sleep(1)
        (listener,) = rig.proxy.served
        assert (listener.options, listener.tenure, listener.drain_seconds) == (options, tenure, 7.0)
        assert (listener.address, listener.port, listener.backends) == (IPv4Address("192.0.2.1"), 80, SHOP.backends)
        tg.cancel_scope.cancel()


async def test_a_listener_that_is_told_to_leave_drains_and_a_cancelled_bound_one_does_not(rig: Rig) -> None:
    for leave, seconds in ((True, 10.0), (False, 0.0)):
        task = rig.task(address=IPv4Address("192.0.2.1"), tenure=make_tenure())
        async with create_task_group() as tg:
            tg.start_soon(task.run)
            await sleep(1)
            began = current_time()
            if leave:
                task.leave()
            else:
                tg.cancel_scope.cancel()
        assert current_time() - began == pytest.approx(seconds)


async def test_a_drain_can_be_bounded_by_whoever_ends_it(rig: Rig) -> None:
    task = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await sleep(1)
        task.leave(4)
        began = current_time()
    assert current_time() - began == pytest.approx(4)
    assert rig.record.words == ["listen shop", "drain shop 4", "close shop"]


async def test_a_listener_that_is_told_to_leave_before_it_listens_just_ends(rig: Rig) -> None:
    rig.proxy.fake._enter = 5.0
    task = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await sleep(1)
        task.leave()
    assert rig.record.words == []
    assert rig.shown == []


async def test_a_port_that_is_taken_is_told_and_tried_again(rig: Rig) -> None:
    """Scenario 106."""
    rig.proxy.fake.refusal = ProxyError("*:80 is taken by process 42")
    task = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await task.settled.wait()
        assert rig.shown == [("shop", "*:80", False, "*:80 is taken by process 42")]
        assert rig.health == [Health(level=Level.DEGRADED, reason="*:80 is taken by process 42")]
        rig.proxy.fake.refusal = None
        await sleep(2)
        assert rig.shown == [("shop", "*:80", True, "")]
        assert rig.health[-1] == Health()
        tg.cancel_scope.cancel()


async def test_a_problem_that_the_proxy_reports_counts_and_goes(rig: Rig) -> None:
    async with create_task_group() as tg:
        tg.start_soon(rig.task().run)
        await sleep(1)
        rig.proxy.reports[0](PROBLEM)
        assert rig.shown == [("shop", "*:80", True, "no backend answers")]
        rig.proxy.reports[0](ListenerHealth(connections=3))
        assert rig.health[-2:] == [Health(level=Level.DEGRADED, reason="no backend answers"), Health()]
        tg.cancel_scope.cancel()


async def test_what_the_proxy_says_while_it_is_entered_is_not_lost(rig: Rig) -> None:
    rig.proxy.first_report = PROBLEM
    async with create_task_group() as tg:
        tg.start_soon(rig.task().run)
        await sleep(1)
        assert rig.shown == [("shop", "*:80", True, "no backend answers")]
        assert rig.health[-1].level is Level.DEGRADED
        tg.cancel_scope.cancel()


async def test_a_proxy_that_goes_away_is_not_shown_as_listening_and_is_used_again_when_it_is_back(rig: Rig) -> None:
    async with create_task_group() as tg:
        tg.start_soon(rig.task().run)
        await sleep(1)
        await rig.slot.empty()
        assert [shown[2] for shown in rig.shown] == [False]
        rig.slot.content.set(rig.proxy)
        await sleep(1)
        assert [shown[2] for shown in rig.shown] == [True]
        assert rig.record.words == ["listen shop", "close shop", "listen shop"]
        tg.cancel_scope.cancel()


async def test_what_a_draining_listener_says_no_longer_counts(rig: Rig) -> None:
    task = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await sleep(1)
        task.leave()
        await sleep(1)
        told = len(rig.health)
        rig.proxy.reports[0](PROBLEM)
        assert len(rig.health) == told
        assert rig.shown == []


async def test_the_end_of_a_drain_does_not_take_the_successor_off_the_board(rig: Rig) -> None:
    old = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(old.run)
        await sleep(1)
        old.leave()
        await sleep(1)
        new = rig.task(evolve(SHOP, drain_seconds=20.0))
        tg.start_soon(new.run)
        await sleep(30)
        assert rig.shown == [("shop", "*:80", True, "")]
        tg.cancel_scope.cancel()


async def test_the_socket_of_a_listener_that_leaves_is_closed_before_its_successor_opens_one(rig: Rig) -> None:
    rig.slot.content.set(FakeProxy(rig.record))  # a port can be had once
    old = rig.task()
    async with create_task_group() as tg:
        tg.start_soon(old.run)
        await sleep(1)
        old.leave()
        tg.start_soon(rig.task(evolve(SHOP, drain_seconds=20.0)).run)
        await sleep(1)
        assert rig.record.words == ["listen shop", "drain shop 10", "close shop", "listen shop"]
        tg.cancel_scope.cancel()
