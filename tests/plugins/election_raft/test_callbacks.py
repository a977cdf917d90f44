"""Calls that the event loop makes itself, on either event loop: nothing of raft is in them."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest
from anyio import create_task_group, current_time, fail_after, sleep
from anyio.lowlevel import checkpoint

from kubevip_election_raft._callbacks import Alarm, call_when_readable

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair() -> Generator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


async def test_each_thing_to_read_is_one_call_until_one_returns_true(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    read: list[bytes] = []

    def take() -> bool:
        read.append(ours.recv(1))
        return read[-1] == b"3"

    theirs.send(b"1234")
    with fail_after(5):
        await call_when_readable(ours, take)
    assert read == [b"1", b"2", b"3"]
    assert ours.recv(2) == b"4"


async def test_what_a_call_raises_is_raised_where_it_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    calls: list[None] = []

    def take() -> bool:
        calls.append(None)
        raise LookupError("a bug")

    theirs.send(b"1")
    with fail_after(5), pytest.raises(LookupError, match="a bug"):
        await call_when_readable(ours, take)
    await checkpoint()
    assert calls == [None]


async def test_a_socket_is_free_again_when_waiting_was_cancelled(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    async with create_task_group() as tg:
        tg.start_soon(call_when_readable, ours, lambda: pytest.fail("nothing was sent"))
        await sleep(0.01)
        tg.cancel_scope.cancel()
    theirs.send(b"1")
    with fail_after(5):
        await call_when_readable(ours, lambda: ours.recv(1) == b"1")


async def test_an_alarm_rings_once_at_the_time_that_it_was_set_to_last() -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(current_time()))
    alarm.set(60)
    async with create_task_group() as tg:
        tg.start_soon(alarm.run)
        await sleep(0.01)
        alarm.set(0.02)
        alarm.set(0.05)
        due = current_time() + 0.05
        with fail_after(5):
            while not rung:
                await sleep(0.005)
        await sleep(0.05)
        tg.cancel_scope.cancel()
    assert len(rung) == 1
    assert rung[0] >= due - 0.02  # event loops round


async def test_an_alarm_may_be_set_again_while_it_rings() -> None:
    rung: list[None] = []

    def ring() -> None:
        rung.append(None)
        if len(rung) < 3:
            alarm.set(0)

    alarm = Alarm(ring)
    async with create_task_group() as tg:
        tg.start_soon(alarm.run)
        alarm.set(-1)
        with fail_after(5):
            while len(rung) < 3:
                await sleep(0.001)
        await sleep(0.02)
        tg.cancel_scope.cancel()
    assert len(rung) == 3


async def test_what_ringing_raises_ends_the_alarm() -> None:
    def ring() -> None:
        raise LookupError("a bug")

    alarm = Alarm(ring)
    alarm.set(0)
    with fail_after(5), pytest.raises(LookupError, match="a bug"):
        await alarm.run()


async def test_an_alarm_that_ran_no_longer_does_not_ring() -> None:
    alarm = Alarm(lambda: pytest.fail("it was cancelled"))
    async with create_task_group() as tg:
        tg.start_soon(alarm.run)
        await sleep(0.01)
        alarm.set(0.01)
        tg.cancel_scope.cancel()
    await sleep(0.03)
