"""Checks this node for one group, again and again, and tells the group's fitness what comes of it.

A task of its own: however long an answer takes, no renewal waits for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import current_time, move_on_after, sleep_until

from kubevip._contract import CheckResult, Health, Level, Target
from kubevip._supervise import describe_error, supervise

if TYPE_CHECKING:
    from kubevip._context import Context
    from kubevip._fitness import Fitness
    from kubevip._model import NodeCheck
    from kubevip._slot import Slot
    from kubevip.abc import Check

logger = logging.getLogger("kubevip.health")

#: How the reason in the status begins.
PART = "health check"

#: The node itself; what to ask there is configured for the check.
HERE = Target(address="127.0.0.1", port=0)


class Tally:
    """Counts answers. `verdict` is what holds: None before the first answer, which counts by itself.

    After that `fall` bad answers in a row turn it, and `rise` good ones turn it back.
    """

    def __init__(self, *, rise: int, fall: int) -> None:
        self.verdict: bool | None = None
        self._rise, self._fall, self._against = rise, fall, 0

    def count(self, is_good: bool) -> bool:
        """Take note of an answer; say whether the verdict changed."""
        if is_good == self.verdict:
            self._against = 0
            return False
        self._against += 1
        if self.verdict is not None and self._against < (self._rise if is_good else self._fall):
            return False
        self.verdict, self._against = is_good, 0
        return True


class NodeCheckTask:
    """Check the node for `group` until cancelled.

    A check that is being opened again, or set otherwise, changes nothing until it has an answer.
    """

    def __init__(self, group: str, check: NodeCheck, slot: Slot[Check], fitness: Fitness, context: Context) -> None:
        self._group, self._check, self._slot, self._fitness = group, check, slot, fitness
        self._tally = Tally(rise=check.rise, fall=check.fall)
        self._board, self._observers, self._rng = context.board, context.observers, context.rng

    async def run(self) -> None:
        """Check it until cancelled. A check that raises has failed, and is tried again after a pause."""
        await supervise(
            f"health check of group {self._group}",
            lambda: self._slot.while_filled(self._watch),
            failed=lambda error: self._count(CheckResult(is_good=False, reason=describe_error(error))),
            rng=self._rng,
        )

    def forget(self) -> None:
        """Leave the check out of the group's fitness: it is no longer wanted."""
        self._fitness.forget(PART)
        self._board.touch()

    async def _watch(self, check: Check) -> None:
        while True:
            due = current_time() + self._check.interval_seconds
            self._count(await self._ask(check))
            await sleep_until(due)

    async def _ask(self, check: Check) -> CheckResult:
        with move_on_after(self._check.timeout_seconds):
            return await check.probe(HERE)
        return CheckResult(is_good=False, reason=f"no answer within {self._check.timeout_seconds:g} s")

    def _count(self, result: CheckResult) -> None:
        if not self._tally.count(result.is_good):
            return
        if result.is_good:
            logger.info("fit group=%s", self._group)
            self._observers.notify("fit", f"passes the health check of {self._group}", group=self._group)
        else:
            logger.warning("unfit group=%s reason=%r", self._group, result.reason)
            self._observers.notify("unfit", result.reason, group=self._group)
        level = Level.GOOD if result.is_good else Level.FAILED
        self._fitness.report(PART, Health(level=level, reason="" if result.is_good else result.reason))
        self._board.touch()
