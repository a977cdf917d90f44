"""Calls that the event loop makes itself: when there is something to read, and at a time.

A heartbeat is little work, done often, on a machine that otherwise sleeps. A task that waits for it is woken in a
further turn of the loop, and anyio tells the kernel anew of the socket for each wait; both together cost more than the
work. So on asyncio, which a daemon runs on, the loop is asked for the call as it is; elsewhere anyio's means do it.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 -- see above
import math
import socket
from collections.abc import Callable
from typing import NoReturn

from anyio import CancelScope, current_time, sleep_forever, wait_readable


async def call_when_readable(source: socket.socket, take: Callable[[], bool]) -> None:
    """Call `take` whenever `source` has something to read, until it returns true.

    Whatever `take` raises, this raises. When it returns, raises or is cancelled, `take` is called no more. Nobody else
    may wait for the same socket to be readable meanwhile.
    """
    if (loop := _asyncio_loop()) is None:
        while True:
            await wait_readable(source)
            if take():
                return
    outcome = loop.create_future()
    loop.add_reader(source, _settle, outcome, take)
    try:
        await outcome
    finally:
        loop.remove_reader(source)


class Alarm:
    """Calls `ring` once, at the time that it was set to last, while `run` runs.

    `ring` may set it again. It may ring a little early or late: who has to know looks at a clock.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring, self._at = ring, math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outcome: asyncio.Future[None] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._scope = CancelScope()

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, and not when it was to before; zero or less: in the next turn of the event loop."""
        loop = self._loop
        self._at = (current_time() if loop is None else loop.time()) + max(seconds, 0.0)
        if loop is None:
            self._scope.deadline = self._at
        else:
            self._arm(loop)

    async def run(self) -> None:
        """Ring when it is due, until cancelled; whatever `ring` raises, this raises."""
        if (loop := _asyncio_loop()) is None:
            await self._run_as_task()
        self._loop, self._outcome = loop, loop.create_future()
        self._arm(loop)
        try:
            await self._outcome
        finally:
            self._disarm()
            self._loop = None

    async def _run_as_task(self) -> NoReturn:
        while True:
            with CancelScope(deadline=self._at) as self._scope:
                await sleep_forever()
            self._at = math.inf
            self._ring()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._disarm()
        if self._at < math.inf:
            self._handle = loop.call_at(self._at, self._go_off)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _go_off(self) -> None:
        self._at, self._handle = math.inf, None
        assert self._outcome is not None  # `run` runs
        _settle(self._outcome, self._rings_on)

    def _rings_on(self) -> bool:
        self._ring()
        return False


def _asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that the caller runs on, if it is one of asyncio's."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _settle(outcome: asyncio.Future[None], call: Callable[[], bool]) -> None:
    """Call; end `outcome` when that returns true, or raises. The loop itself would only write an error down."""
    if outcome.done():
        return
    try:
        is_over = call()
    except Exception as error:
        outcome.set_exception(error)
    else:
        if is_over:
            outcome.set_result(None)
