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

from anyio import CancelScope, Event, create_task_group, current_time, sleep_forever
from attrs import evolve

from kubevip._bound_listeners import BoundListeners
from kubevip._contract import Health, Level
from kubevip._status import Outage, VipStatus
from kubevip._supervise import describe_error, supervise
from kubevip.abc import SupportsPreparation
from kubevip.errors import AnnounceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip._bound_listeners import BoundListener
    from kubevip._context import Context
    from kubevip._fitness import Fitness
    from kubevip._latest import Latest
    from kubevip._leadership import Campaign, Tenure
    from kubevip._model import VirtualIP
    from kubevip._slot import Slot
    from kubevip.abc import Announcer

logger = logging.getLogger("kubevip.vip")


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
        self._bound = BoundListeners(vip, listeners, context, self._report_listener)
        self._vip, self._campaign, self._announcers = vip, campaign, tuple(announcers)
        self._fitness, self._context = fitness, context
        self._board, self._observers = context.board, context.observers
        self._part = f"vip {vip.name}"
        self._is_held = self._is_retired = False
        self._known_since = current_time()
        self._last_raised_in: Tenure | None = None
        self._is_ready = False  # every announcer is open and got ready for it
        fitness.expect(self._part)
        self._show(is_held=False)

    async def run(self) -> None:
        """Hold it whenever this node leads, until cancelled; leaves it withdrawn."""
        listening = CancelScope(shield=True)  # listeners close before the announcers withdraw, see `_hold`

        async def listen() -> None:
            with listening:
                await self._bound.run()

        try:
            async with create_task_group() as tg:
                tg.start_soon(listen)
                try:
                    await supervise(
                        self._part,
                        lambda: self._with_announcers(self._announcers, ()),
                        failed=self._failed,
                        rng=self._context.rng,
                    )
                finally:
                    listening.cancel()
        finally:
            if not self._is_retired:
                self._fitness.forget(self._part)

    def retire(self) -> None:
        """Leave the board and the group's fitness to the successor of the same name, from now on."""
        self._is_retired = True

    def forget(self) -> None:
        """Take it off the board: it is no longer wanted."""
        self._board.vips.remove(self._vip.name)
        self._board.touch()

    async def _with_announcers(self, closed: tuple[Slot[Announcer], ...], opened: tuple[Announcer, ...]) -> None:
        """Wait until all announcers are open and ready for the address, first to last, then follow the campaign."""

        async def with_next(announcer: Announcer) -> None:
            self._is_ready = False
            ready = announcer.prepare(self._vip) if isinstance(announcer, SupportsPreparation) else nullcontext()
            async with ready:
                await self._with_announcers(closed[1:], (*opened, announcer))

        if closed:
            await closed[0].while_filled(with_next)
        self._is_ready = True
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
            async with create_task_group() as tg:
                try:
                    await self._bound.listen(tenure)
                    tg.start_soon(announce)
                    await raised.wait()
                    self._bound.relay()
                    self._raised(tenure, entered)
                    await sleep_forever()
                finally:
                    try:
                        await self._bound.close()
                    finally:
                        announcing.cancel()  # the listeners are closed, or never will be: withdraw
        except* AnnounceError:
            if tenure.remaining_seconds > 0 and self._campaign.tenure.value is tenure:
                raise
            # it was not raised because the tenure ended meanwhile, which is nobody's fault
        finally:
            if self._is_held:
                logger.info("withdrawn vip=%s address=%s", self._vip.name, self._vip.address)
                self._observers.notify("withdrawn", f"{self._vip.address} withdrawn", vip=self._vip.name)
            self._show(is_held=False)
            if not self._is_retired:
                self._fitness.lowered(self._part)
            self._report(Health())  # what was wrong while it was up here says nothing of the next time
        await sleep_forever()  # the campaign is about to take the tenure away

    def _raised(self, tenure: Tenure, entered: Sequence[float]) -> None:
        if not self._is_retired:
            why = tenure.cause.why if tenure.cause is not None else ""
            shown = self._board.vips[self._vip.name]
            outage = None if self._is_late(tenure) else _outage(tenure, entered)
            self._board.vips[self._vip.name] = evolve(shown, why=why, last_outage=outage or shown.last_outage)
            self._fitness.raised(self._part)
        self._last_raised_in = tenure
        logger.info(
            "announced vip=%s address=%s group=%s term=%d", self._vip.name, self._vip.address, tenure.group, tenure.term
        )
        self._observers.notify("announced", f"{self._vip.address} announced", vip=self._vip.name, group=tenure.group)
        self._show(is_held=True)
        self.settled.set()

    def _is_late(self, tenure: Tenure) -> bool:
        """Return whether it is younger than the tenure, or was up in it before: then it is no takeover that ended."""
        return self._known_since > tenure.began_at or self._last_raised_in is tenure

    def _report(self, health: Health) -> None:
        if not self._is_retired:
            self._fitness.report(self._part, health)
            self._show_health(health)

    def _failed(self, error: BaseException) -> None:
        health = Health(level=Level.FAILED, reason=describe_error(error))
        if not self._is_retired:
            self._fitness.refuse(self._part, health.reason, is_foreseen=not self._is_ready)
            self._show_health(health)
        self.settled.set()

    def _show_health(self, health: Health) -> None:
        if (shown := self._board.vips.get(self._vip.name)) is not None and shown.health != health:
            self._board.vips[self._vip.name] = evolve(shown, health=health)
            self._board.touch()

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

    def _report_listener(self, name: str, health: Health | None) -> None:
        """Let a listener count for the group by how it does; no longer, when it is gone."""
        part = f"listener {name} of {self._part}"  # the load balancer may be bound to a sibling, too
        if self._is_retired:
            return
        if health is None:
            self._fitness.forget(part)
        else:
            self._fitness.report(part, health)


def _outage(tenure: Tenure, entered: Sequence[float]) -> Outage | None:
    """Return how long the address had no holder, if the election knows since when, and what took so long."""
    if tenure.cause is None or tenure.cause.silent_since is None or not entered:
        return None
    stood_at = tenure.cause.silent_since if tenure.cause.stood_at is None else tenure.cause.stood_at
    times = (tenure.cause.silent_since, stood_at, tenure.began_at, entered[0], entered[-1])
    parts = tuple(1000 * max(after - before, 0.0) for before, after in pairwise(times))
    return Outage(milliseconds=sum(parts), parts=parts, how="")
