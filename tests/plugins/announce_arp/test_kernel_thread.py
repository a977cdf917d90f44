"""The thread that works on the kernel: in order, told in the event-loop thread, and never left behind."""

from __future__ import annotations

import threading  # noqa: TID251 -- to see which thread runs what
import time
from typing import TYPE_CHECKING, cast

import pytest
from anyio import Event, create_task_group, fail_after, sleep

from kubevip_announce_arp._kernel import Outcome, Work
from kubevip_announce_arp._kernel_thread import KernelThread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubevip_announce_arp._kernel import Kernel

pytestmark = pytest.mark.anyio


class SlowKernel:
    """Takes a while for each piece of work and notes in which thread it was."""

    def __init__(self) -> None:
        self.closed: list[frozenset[str]] = []
        self.renewed: list[Mapping[str, float]] = []
        self.threads: set[int] = set()
        self.goes_wrong = False

    def carry_out(self, work: Work) -> Outcome:
        self.threads.add(threading.get_ident())
        time.sleep(0.01)  # noqa: TID251 -- a kernel that takes its time
        self.closed.append(work.close)
        return Outcome(opened=work.close)

    def renew(self, until: Mapping[str, float]) -> Outcome | None:
        self.renewed.append(until)
        return Outcome(lapsed=frozenset(until)) if self.goes_wrong else None


def fail(outcome: Outcome) -> None:
    raise AssertionError(outcome)


def work(name: str) -> Work:
    return Work(close=frozenset({name}))


async def test_work_is_carried_out_in_order_in_one_thread_and_told_in_the_event_loops() -> None:
    kernel, told, finished = SlowKernel(), list[tuple[frozenset[str], int]](), Event()
    thread = KernelThread(cast("Kernel", kernel), fail)

    def done(outcome: Outcome) -> None:
        told.append((outcome.opened, threading.get_ident()))
        if len(told) == 3:
            finished.set()

    async with create_task_group() as tg:
        tg.start_soon(thread.run)
        for name in "abc":
            thread.carry_out(work(name), done)
        with fail_after(10):
            await finished.wait()
        tg.cancel_scope.cancel()
    assert kernel.closed == [frozenset({name}) for name in "abc"]
    assert told == [(frozenset({name}), threading.get_ident()) for name in "abc"]
    assert len(kernel.threads) == 1
    assert threading.get_ident() not in kernel.threads


async def test_what_was_handed_over_is_done_and_told_also_when_it_is_cancelled() -> None:
    kernel, told, begun = SlowKernel(), list[frozenset[str]](), Event()
    thread = KernelThread(cast("Kernel", kernel), fail)

    def done(outcome: Outcome) -> None:
        told.append(outcome.opened)
        begun.set()

    async with create_task_group() as tg:
        tg.start_soon(thread.run)
        for name in "abc":
            thread.carry_out(work(name), done)
        with fail_after(10):
            await begun.wait()
        tg.cancel_scope.cancel()
    assert told == kernel.closed == [frozenset({name}) for name in "abc"]


async def test_renewals_that_wait_are_one_and_know_the_newest_end_of_each_group() -> None:
    kernel, finished = SlowKernel(), Event()
    thread = KernelThread(cast("Kernel", kernel), fail)
    until = {"a": 1.0}
    async with create_task_group() as tg:
        tg.start_soon(thread.run)
        thread.set_renewing({"a": lambda: until["a"], "b": lambda: 9.0})
        assert [thread.renews(group) for group in "abc"] == [True, True, False]
        thread.carry_out(work("a"), lambda outcome: None)
        for until["a"] in (2.0, 3.0, 4.0):
            thread.renew()
        thread.stop_renewing("b")
        thread.carry_out(work("b"), lambda outcome: finished.set())
        with fail_after(10):
            await finished.wait()
        tg.cancel_scope.cancel()
    assert kernel.renewed == [{"a": 4.0}]


async def test_a_renewal_is_told_of_only_when_it_was_not_the_whole_of_it() -> None:
    kernel, told, finished = SlowKernel(), list[Outcome](), Event()

    def failed(outcome: Outcome) -> None:
        assert threading.get_ident() == here
        told.append(outcome)
        finished.set()

    here = threading.get_ident()
    thread = KernelThread(cast("Kernel", kernel), failed)
    async with create_task_group() as tg:
        tg.start_soon(thread.run)
        thread.set_renewing({"a": lambda: 1.0})
        with fail_after(10):
            thread.renew()
            while not kernel.renewed:
                await sleep(0.001)
            kernel.goes_wrong = True
            thread.renew()
            await finished.wait()
        tg.cancel_scope.cancel()
    assert len(kernel.renewed) == 2
    assert told == [Outcome(lapsed=frozenset({"a"}))]
