"""The one thread that works on the kernel: handed work it wakes at once, and tells the event loop when it is done.

A thread that is there already is nearer by several turns of the event loop than one that is asked for each time, and
those turns would be a part of every takeover.

Renewals of the fence, twenty a second, have a shorter way. What there is to renew is told once; from then on it is
enough to wake the thread, which asks each group itself until when it may pass. Only what did not go as it always does
is told. It is woken when the event loop has done what else is to be done now, and is about to wait: sooner, the two
would contend for the interpreter's lock, which takes more of a processor than the renewal.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, Event, create_task_group, from_thread, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubevip_announce_arp._kernel import Kernel, Outcome, Work

    Order = tuple[Work | None, Callable[[Outcome], None]]


class KernelThread:
    """Has the kernel's work carried out, one after the other, while `run` runs. Event-loop thread only.

    :param failed: told, in the event-loop thread, when renewing was not the whole of it.
    """

    def __init__(self, kernel: Kernel, failed: Callable[[Outcome], None]) -> None:
        self._kernel, self._failed = kernel, failed
        self._queue: SimpleQueue[Order | None] = SimpleQueue()
        self._renewing: Mapping[str, Callable[[], float]] = {}  # replaced, never changed: the thread reads it
        self._is_asked = False  # whether a renewal is in the queue, that will find the newest of everything
        self._is_due = Event()

    def carry_out(self, work: Work, done: Callable[[Outcome], None]) -> None:
        """Have `work` carried out, after what was handed over before; `done` is called in the event-loop thread."""
        self._queue.put((work, done))

    def set_renewing(self, until: Mapping[str, Callable[[], float]]) -> None:
        """Say what `renew` renews: groups that are open, each with what tells until when, by time.monotonic().

        That is called in the other thread, at the last moment.
        """
        self._renewing = dict(until)

    def stop_renewing(self, group: str) -> None:
        """Leave a group out from now on."""
        if group in self._renewing:
            self._renewing = {name: until for name, until in self._renewing.items() if name != group}

    def renews(self, group: str) -> bool:
        """Return whether `renew` is enough for that group."""
        return group in self._renewing

    def renew(self) -> None:
        """Have the fence renewed for all groups that are open; however often that is said, until it is done."""
        self._is_due.set()

    async def run(self) -> None:
        """Be there until cancelled; what was handed over is carried out, and told, before this returns."""
        async with create_task_group() as tg:
            tg.start_soon(self._live)
            try:
                await self._ask()
            finally:
                self._queue.put(None)

    async def _ask(self) -> None:
        """Have the fence renewed in the turn of the event loop that follows the one in which it was asked for."""
        while True:
            await self._is_due.wait()
            self._is_due = Event()
            if not self._is_asked:
                self._is_asked = True
                self._queue.put((None, self._failed))

    async def _live(self) -> None:
        await to_thread.run_sync(self._work, limiter=CapacityLimiter(1))

    def _work(self) -> None:
        while (order := self._queue.get()) is not None:
            work, told = order
            if work is not None:
                from_thread.run_sync(told, self._kernel.carry_out(work))
            elif (outcome := self._renew()) is not None:
                from_thread.run_sync(told, outcome)

    def _renew(self) -> Outcome | None:
        self._is_asked = False  # first: what is renewed from now on may be missed
        return self._kernel.renew({group: until() for group, until in self._renewing.items()})
