"""The thread that works on the kernel: in order, told in the event-loop thread, and never left behind."""

from __future__ import annotations

import threading  # noqa: TID251 -- to see which thread runs what
import time
from typing import TYPE_CHECKING, cast

import pytest
from anyio import Event, create_task_group, fail_after

from kubevip_announce_arp._kernel import Outcome, Work
from kubevip_announce_arp._kernel_thread import KernelThread

if TYPE_CHECKING:
    from kubevip_announce_arp._kernel import Kernel

pytestmark = pytest.mark.anyio


class SlowKernel:
    """Takes a while for each piece of work and notes in which thread it was."""

    def __init__(self) -> None:
        self.closed: list[frozenset[str]] = []
        self.threads: set[int] = set()

    def carry_out(self, work: Work) -> Outcome:
        self.threads.add(threading.get_ident())
        time.sleep(0.01)  # noqa: TID251 -- a kernel that takes its time
        self.closed.append(work.close)
        return Outcome(opened=work.close)


def work(name: str) -> Work:
    return Work(close=frozenset({name}))


async def test_work_is_carried_out_in_order_in_one_thread_and_told_in_the_event_loops() -> None:
    kernel, told, finished = SlowKernel(), list[tuple[frozenset[str], int]](), Event()
    thread = KernelThread(cast("Kernel", kernel))

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
    thread = KernelThread(cast("Kernel", kernel))

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
