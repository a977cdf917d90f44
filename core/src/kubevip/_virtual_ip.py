"""One virtual IP: while this node leads its group, its listeners listen and its announcers make it reachable.

Order in: the listeners listen, then the address, then the announcement, so that nobody who finds the address finds a
closed port. Order out, also under hard cancellation: the listeners reset their connections and close, because clients
must hear that while the address is still there to say it; then the announcers withdraw, last first; only then does
the election release (`_leadership`).
"""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep_forever
from attrs import evolve, frozen

from kubevip._contract import Health, Level
from kubevip._listener import ListenerTask
from kubevip._status import Outage, VipStatus
from kubevip._supervise import describe_error, supervise
from kubevip.abc import SupportsPreparation
from kubevip.errors import AnnounceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip._context import Context
    from kubevip._fitness import Fitness
    from kubevip._latest import Latest
    from kubevip._leadership import Campaign, Tenure
    from kubevip._model import LoadBalancer, VirtualIP
    from kubevip._slot import Slot
    from kubevip.abc import Announcer, Proxy

logger = logging.getLogger("kubevip.vip")

#: A listener that has neither opened nor failed by then does not hold the address up any longer.
LISTEN_SECONDS = 1.0


@frozen(kw_only=True)
class BoundListener:
    """A load balancer that is bound to a virtual IP, and the slot of its proxy."""

    balancer: LoadBalancer
    proxy: Slot[Proxy]


class VirtualIPTask:
    """Hold one virtual IP in every tenure of its group, until cancelled.

    `listeners` may change while it is held. `settled` is set when it was raised or failed for the first time in a
    tenure.
    """

    def __init__(
        self,
        vip: VirtualIP,
        campaign: Campaign,
        announcers: Sequence[Slot[Announcer]],
        listeners: Latest[tuple[BoundListener, ...]],
        fitness: Fitness,
        context: Context,
    ) -> None:
        self.settled = Event()
        self.listeners = listeners
        self._vip, self._campaign, self._announcers = vip, campaign, tuple(announcers)
        self._fitness, self._context = fitness, context
        self._board, self._observers = context.board, context.observers
        self._part = f"vip {vip.name}"
        self._listener_parts: set[str] = set()
        self._is_held = self._is_retired = False
        self._show(is_held=False)

    async def run(self) -> None:
        """Hold it whenever this node leads, until cancelled; leaves it withdrawn."""
        try:
            await supervise(
                self._part,
                lambda: self._with_announcers(self._announcers, ()),
                failed=self._failed,
                rng=self._context.rng,
            )
        finally:
            if not self._is_retired:
                for part in (self._part, *self._listener_parts):
                    self._fitness.forget(part)

    def retire(self) -> None:
        """Leave the board and the group's fitness to the successor of the same name, from now on."""
        self._is_retired = True

    def forget(self) -> None:
        """Take it off the board: it is no longer wanted."""
        self._board.vips.pop(self._vip.name, None)
        self._board.touch()

    async def _with_announcers(self, closed: tuple[Slot[Announcer], ...], opened: tuple[Announcer, ...]) -> None:
        """Wait until all announcers are open and ready for the address, first to last, then follow the campaign."""

        async def with_next(announcer: Announcer) -> None:
            ready = announcer.prepare(self._vip) if isinstance(announcer, SupportsPreparation) else nullcontext()
            async with ready:
                await self._with_announcers(closed[1:], (*opened, announcer))

        if closed:
            await closed[0].while_filled(with_next)
        self._report(Health())
        await self._campaign.while_leading(partial(self._hold, opened))

    async def _hold(self, announcers: tuple[Announcer, ...], tenure: Tenure) -> None:
        announcing, raised = CancelScope(shield=True), Event()
        entered: list[float] = []

        async def announce() -> None:
            with announcing:
                async with AsyncExitStack() as stack:  # one task enters and leaves it, so the order is fixed
                    for announcer in announcers:
                        await stack.enter_async_context(announcer.announce(self._vip, tenure, self._report))
                        entered.append(current_time())
                    raised.set()
                    await sleep_forever()

        try:
            async with create_task_group() as outer:
                try:
                    async with create_task_group() as inner:
                        listeners = _BoundListeners(self, tenure)
                        inner.start_soon(listeners.run)
                        await listeners.settled.wait()
                        outer.start_soon(announce)
                        await raised.wait()
                        self._raised(tenure, entered)
                        await sleep_forever()
                finally:
                    announcing.cancel()  # the listeners are closed: withdraw
        except* AnnounceError:
            if tenure.remaining_seconds > 0 and self._campaign.tenure.value is tenure:
                raise
            # it was not raised because the tenure ended meanwhile, which is nobody's fault
        finally:
            if self._is_held:
                logger.info("withdrawn vip=%s address=%s", self._vip.name, self._vip.address)
                self._observers.notify("withdrawn", f"{self._vip.address} withdrawn", vip=self._vip.name)
            self._show(is_held=False)
            self._report(Health())  # what was wrong while it was up here says nothing of the next time
        await sleep_forever()  # the campaign is about to take the tenure away

    def _raised(self, tenure: Tenure, entered: Sequence[float]) -> None:
        if not self._is_retired:
            why = tenure.cause.why if tenure.cause is not None else ""
            shown = self._board.vips[self._vip.name]
            outage = _outage(tenure, entered) or shown.last_outage
            self._board.vips[self._vip.name] = evolve(shown, why=why, last_outage=outage)
        logger.info(
            "announced vip=%s address=%s group=%s term=%d", self._vip.name, self._vip.address, tenure.group, tenure.term
        )
        self._observers.notify("announced", f"{self._vip.address} announced", vip=self._vip.name, group=tenure.group)
        self._show(is_held=True)
        self.settled.set()

    def _report(self, health: Health) -> None:
        if self._is_retired:
            return
        self._fitness.report(self._part, health)
        if (shown := self._board.vips.get(self._vip.name)) is not None and shown.health != health:
            self._board.vips[self._vip.name] = evolve(shown, health=health)
            self._board.touch()

    def _failed(self, error: BaseException) -> None:
        self._report(Health(level=Level.FAILED, reason=describe_error(error)))
        self.settled.set()

    def _show(self, *, is_held: bool) -> None:
        self._is_held = is_held
        if self._is_retired:
            return
        shown = self._board.vips.get(self._vip.name)
        self._board.vips[self._vip.name] = VipStatus(
            name=self._vip.name,
            address=self._vip.address,
            group=self._vip.group,
            is_held=is_held,
            held_since=time.time() if is_held else None,  # noqa: TID251 -- shown to people, decides nothing
            why=shown.why if shown is not None and is_held else "",
            last_outage=shown.last_outage if shown is not None else None,
            health=shown.health if shown is not None else Health(),
        )
        self._board.touch()

    def listener_task(self, bound: BoundListener, tenure: Tenure) -> ListenerTask:
        """Make the task of one bound listener for one tenure; how it does counts for the group."""
        part = self._listener_part(bound.balancer.name)
        self._listener_parts.add(part)

        def report(health: Health) -> None:
            if not self._is_retired:
                self._fitness.report(part, health)

        return ListenerTask(bound.balancer, self._vip.address, bound.proxy, self._context, tenure=tenure, report=report)

    def forget_listener(self, name: str) -> None:
        """Let a listener that is gone no longer count."""
        part = self._listener_part(name)
        self._listener_parts.discard(part)
        self._fitness.forget(part)

    def _listener_part(self, name: str) -> str:
        return f"listener {name} of {self._part}"  # the load balancer may be bound to a sibling, too


class _BoundListeners:
    """The listeners of one virtual IP in one tenure; they come and go with the configuration."""

    def __init__(self, owner: VirtualIPTask, tenure: Tenure) -> None:
        self.settled = Event()
        self._owner, self._tenure = owner, tenure

    async def run(self) -> None:
        """Keep what runs equal to what is wanted, until cancelled."""
        running: dict[str, tuple[BoundListener, ListenerTask]] = {}
        async with create_task_group() as tg:
            wanted: tuple[BoundListener, ...] | None = None
            while True:
                wanted = await self._owner.listeners.wait_for_change(wanted)
                by_name = {bound.balancer.name: bound for bound in wanted}
                for name, (bound, task) in tuple(running.items()):
                    if name not in by_name or not _same_socket(by_name[name], bound):
                        task.leave()
                        del running[name]
                        self._owner.forget_listener(name)
                for name, bound in by_name.items():
                    if name in running:
                        running[name][1].backends.set(bound.balancer.backends)
                        running[name] = (bound, running[name][1])
                    else:
                        running[name] = (bound, self._owner.listener_task(bound, self._tenure))
                        tg.start_soon(running[name][1].run)
                if not self.settled.is_set():
                    with move_on_after(LISTEN_SECONDS):
                        for _, task in running.values():
                            await task.settled.wait()
                    self.settled.set()


def _outage(tenure: Tenure, entered: Sequence[float]) -> Outage | None:
    """Return how long the address had no holder, if the election knows since when, and what took so long."""
    if tenure.cause is None or tenure.cause.silent_since is None or not entered:
        return None
    stood_at = tenure.cause.silent_since if tenure.cause.stood_at is None else tenure.cause.stood_at
    times = (tenure.cause.silent_since, stood_at, tenure.began_at, entered[0], entered[-1])
    parts = tuple(1000 * max(after - before, 0.0) for before, after in pairwise(times))
    return Outage(milliseconds=sum(parts), parts=parts, how="")


def _same_socket(one: BoundListener, other: BoundListener) -> bool:
    """Say whether only the backends differ, which go into the running listener."""
    return evolve(one.balancer, backends=()) == evolve(other.balancer, backends=()) and one.proxy is other.proxy
