"""One group: stands for it, and makes room for others while this node cannot serve it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import CancelScope, create_task_group, current_time, move_on_after, sleep

from kubevip._contract import Following, Leading
from kubevip._fitness import Fitness
from kubevip._leadership import Campaign
from kubevip._status import GroupStatus
from kubevip._supervise import describe_error, supervise
from kubevip.abc import SupportsFitness, SupportsTakeover

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip._context import Context
    from kubevip._contract import Leadership
    from kubevip._model import Group
    from kubevip._slot import Slot
    from kubevip.abc import Announcer, Election

logger = logging.getLogger("kubevip.leadership")

#: How long an election may take to release after its addresses are gone.
GRACE_SECONDS = 1.0

#: How long an unfit leader stands aside so that somebody else can take over.
ASIDE_SECONDS = 2.0

#: An unfit leader that got the group back, because nobody took it, holds it for so long before it offers it again: four
#: times as long each time, because somebody must hold when nobody is fit, and each offer is a silence.
FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 10.0, 600.0


class Standing:
    """What outlives every restart around a group: its campaign and this node's fitness for it."""

    def __init__(self, name: str) -> None:
        self.campaign = Campaign(name)
        self.fitness = Fitness()


class GroupTask:
    """Stand for one group until cancelled."""

    def __init__(
        self,
        group: Group,
        standing: Standing,
        election: Slot[Election],
        announcers: Iterable[Slot[Announcer]],
        context: Context,
    ) -> None:
        self._group, self._standing, self._election, self._announcers = group, standing, election, tuple(announcers)
        self._board, self._observers, self._rng = context.board, context.observers, context.rng
        self._problem = ""
        self._board.groups[group.name] = self._status

    async def run(self) -> None:
        """Stand until cancelled; leaves with everything withdrawn, then released."""
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._standing.fitness.run)
                tg.start_soon(self._tell)
                try:
                    for announcer in self._announcers:  # each has removed what an earlier process left
                        await announcer.content.wait_until(lambda service: service is not None)
                    await supervise(
                        f"group {self._group.name}",
                        lambda: self._election.while_filled(self._stand),
                        failed=self._failed,
                        rng=self._rng,
                    )
                finally:
                    tg.cancel_scope.cancel()
        finally:
            self._board.groups.pop(self._group.name, None)
            self._board.touch()

    async def _stand(self, election: Election) -> None:
        """Stand; where the election does not look after fitness itself, stand aside while unfit."""
        self._problem = ""
        hold = 0.0
        while True:
            candidacy, began = CancelScope(), current_time()
            async with create_task_group() as tg:
                if not isinstance(election, SupportsFitness):
                    tg.start_soon(self._offer_when_unfit, candidacy, hold)
                with candidacy:
                    await self._standing.campaign.run(
                        election,
                        fitness=self._standing.fitness.value,
                        placement=self._group.placement,
                        grace_seconds=GRACE_SECONDS,
                        soonest_takeover=self._soonest_takeover,
                    )
                tg.cancel_scope.cancel()
            was_well = current_time() - began > hold + LONGEST_HOLD_SECONDS
            hold = FIRST_HOLD_SECONDS if was_well else min(max(4 * hold, FIRST_HOLD_SECONDS), LONGEST_HOLD_SECONDS)
            logger.warning(
                "standing aside group=%s seconds=%.0f reason=%r",
                self._group.name,
                ASIDE_SECONDS,
                self._standing.fitness.reason,
            )
            await sleep(ASIDE_SECONDS)

    def _soonest_takeover(self) -> float:
        """Return what the slowest of the group's announcers needs."""
        services: list[object] = [announcer.content.value for announcer in self._announcers]
        return max((one.soonest_takeover_seconds for one in services if isinstance(one, SupportsTakeover)), default=0.0)

    async def _offer_when_unfit(self, candidacy: CancelScope, hold_seconds: float) -> None:
        """End the candidacy of a leader that has been unfit for `hold_seconds` without a break."""
        await self._standing.campaign.tenure.wait_until(lambda tenure: tenure is not None)
        fitness = self._standing.fitness.value
        while True:
            await fitness.wait_until(lambda fitness: fitness == 0)
            with move_on_after(hold_seconds) as holding:
                await fitness.wait_until(lambda fitness: fitness > 0)
            if holding.cancelled_caught:
                candidacy.cancel()
                return

    async def _tell(self) -> None:
        """Log each change of leadership once, for people."""
        seen: Leadership | None = None
        told: Leadership = Following()
        while True:
            seen = now = await self._standing.campaign.leadership.wait_for_change(seen)
            match now:
                case _ if now == told:
                    continue
                case Leading(term=term):
                    logger.info("leading group=%s term=%d", self._group.name, term)
                    self._observers.notify("leading", f"leads {self._group.name}", group=self._group.name, term=term)
                case Following(leader=leader):
                    logger.info("following group=%s leader=%s", self._group.name, leader or "unknown")
                    self._observers.notify("following", f"follows {leader}", group=self._group.name, leader=leader)
            told = now
            self._board.touch()

    def _failed(self, error: BaseException) -> None:
        self._problem = describe_error(error)
        self._board.touch()

    def _status(self) -> GroupStatus:
        tenure, now = self._standing.campaign.tenure.value, self._standing.campaign.leadership.value
        return GroupStatus(
            name=self._group.name,
            election=self._group.election,
            is_leading=tenure is not None,
            leader=now.leader if isinstance(now, Following) else None,
            term=tenure.term if tenure is not None else 0,
            lease_seconds_left=tenure.remaining_seconds if tenure is not None else None,
            fitness=self._standing.fitness.value.value,
            problem=self._problem or self._standing.fitness.reason,
        )
