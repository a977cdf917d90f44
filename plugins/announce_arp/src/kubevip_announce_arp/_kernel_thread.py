"""The one thread that works on the kernel: handed work it wakes at once, and tells the event loop when it is done.

A thread that is there already is nearer by several turns of the event loop than one that is asked for each time, and
those turns would be a part of every takeover and of every renewal.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, create_task_group, from_thread, sleep_forever, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip_announce_arp._kernel import Kernel, Outcome, Work


class KernelThread:
    """Has the kernel's work carried out, one after the other, while `run` runs. Event-loop thread only."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._queue: SimpleQueue[tuple[Work, Callable[[Outcome], None]] | None] = SimpleQueue()

    def carry_out(self, work: Work, done: Callable[[Outcome], None]) -> None:
        """Have `work` carried out, after what was handed over before; `done` is called in the event-loop thread."""
        self._queue.put((work, done))

    async def run(self) -> None:
        """Be there until cancelled; what was handed over is carried out, and told, before this returns."""
        async with create_task_group() as tg:
            tg.start_soon(self._live)
            try:
                await sleep_forever()
            finally:
                self._queue.put(None)

    async def _live(self) -> None:
        await to_thread.run_sync(self._work, limiter=CapacityLimiter(1))

    def _work(self) -> None:
        while (order := self._queue.get()) is not None:
            work, done = order
            from_thread.run_sync(done, self._kernel.carry_out(work))
