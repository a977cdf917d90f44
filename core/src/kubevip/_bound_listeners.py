"""The listeners of one virtual IP: there for as long as it is wanted, listening while it is held here.

In a takeover nothing is opened and no other process is woken before the address is announced, where a proxy can stand
by: then all there is to do is to listen, and clients wait in the socket's queue for the moment until they are relayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, move_on_after
from attrs import evolve, frozen

from kubevip._listener import ListenerTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from kubevip._context import Context
    from kubevip._contract import Health
    from kubevip._latest import Latest
    from kubevip._leadership import Tenure
    from kubevip._model import LoadBalancer, VirtualIP
    from kubevip._slot import Slot
    from kubevip.abc import Proxy

#: A listener that has neither opened nor failed by then does not hold the address up any longer.
LISTEN_SECONDS = 1.0


@frozen(kw_only=True)
class BoundListener:
    """A load balancer that is bound to a virtual IP, and the slot of its proxy."""

    balancer: LoadBalancer
    proxy: Slot[Proxy]


class BoundListeners:
    """Keeps a task for each of `wanted`, which may change at any time.

    :param report: told how the listener of a name does; None: it is gone, or no longer wanted.
    """

    def __init__(
        self,
        vip: VirtualIP,
        wanted: Latest[tuple[BoundListener, ...]],
        context: Context,
        report: Callable[[str, Health | None], None],
    ) -> None:
        self.wanted = wanted
        self._vip, self._context, self._report = vip, context, report
        self._running: dict[str, tuple[BoundListener, ListenerTask]] = {}
        self._leaving: dict[ListenerTask, Event] = {}  # which drain, and what is set when one has ended
        self._tenure: Tenure | None = None
        self._is_relaying = False
        self._is_running = Event()

    async def run(self) -> None:
        """Keep what runs equal to what is wanted, until cancelled; nothing listens nor drains then."""
        try:
            async with create_task_group() as tg:
                wanted: tuple[BoundListener, ...] | None = None
                try:
                    while True:
                        wanted = await self.wanted.wait_for_change(wanted)
                        self._apply(tg, wanted)
                        self._is_running.set()
                finally:
                    self._cut()
        finally:
            for name in tuple(self._running):
                del self._running[name]
                self._report(name, None)
            for ended in self._leaving.values():
                ended.set()

    async def listen(self, tenure: Tenure) -> None:
        """Have all listen; return when they do, or have failed to, or have had their time."""
        if not self._is_running.is_set():
            await self._is_running.wait()
        self._tenure = tenure
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.listen(tenure)
        if not all(task.settled.is_set() for task in tasks):
            with move_on_after(LISTEN_SECONDS):
                for task in tasks:
                    await task.settled.wait()

    def relay(self) -> None:
        """Serve the clients that come: the address is there."""
        self._is_relaying = True
        for _, task in self._running.values():
            task.relay()

    async def close(self) -> None:
        """Have none listen any more, and nothing be relayed; returns when it is so, also when cancelled.

        What drains is cut and waited for as well: clients must hear of it while the address is there to say it.
        """
        self._tenure, self._is_relaying = None, False
        self._cut()
        with CancelScope(shield=True):  # bounded by each proxy, which kills what does not obey
            async with create_task_group() as tg:
                for _, task in self._running.values():
                    tg.start_soon(task.close)
                for ended in self._leaving.values():
                    tg.start_soon(ended.wait)

    def _apply(self, tg: TaskGroup, wanted: tuple[BoundListener, ...]) -> None:
        by_name = {bound.balancer.name: bound for bound in wanted}
        for name, (bound, task) in tuple(self._running.items()):
            if name not in by_name or not _same_socket(by_name[name], bound):
                del self._running[name]
                self._leaving[task] = Event()
                task.leave()
                self._report(name, None)
        for name, bound in by_name.items():
            if name in self._running:
                task = self._running[name][1]
                task.backends.set(bound.balancer.backends)
            else:
                task = self._task(bound)
                tg.start_soon(self._run, task)
                if self._tenure is not None:
                    task.listen(self._tenure)
                    if self._is_relaying:
                        task.relay()
            self._running[name] = (bound, task)

    def _task(self, bound: BoundListener) -> ListenerTask:
        def report(health: Health) -> None:
            self._report(bound.balancer.name, health)

        return ListenerTask(bound.balancer, self._vip.address, bound.proxy, self._context, report=report)

    async def _run(self, task: ListenerTask) -> None:
        try:
            await task.run()
        finally:
            if (ended := self._leaving.pop(task, None)) is not None:
                ended.set()

    def _cut(self) -> None:
        for task in self._leaving:
            task.cut()


def _same_socket(one: BoundListener, other: BoundListener) -> bool:
    """Say whether only the backends differ, which go into the running listener."""
    return evolve(one.balancer, backends=()) == evolve(other.balancer, backends=()) and one.proxy is other.proxy
