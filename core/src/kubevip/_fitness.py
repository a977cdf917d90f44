"""How fit this node is for one group: the least of what its parts report, with hysteresis.

A fall counts at once, because somebody else may do better. A rise counts only after it has lasted, so that a part
that flaps does not drag the addresses back and forth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import current_time, move_on_after

from kubevip._contract import Level
from kubevip._latest import Latest

if TYPE_CHECKING:
    from kubevip._contract import Health

#: A part that was unwell must be well for this long before the node counts as fit again.
RISE_SECONDS = 3.0


class Fitness:
    """The fitness of one group, 0 (unfit) to 100, in `value`; `reason` says what keeps it down."""

    def __init__(self) -> None:
        self.value: Latest[int] = Latest(int(Level.GOOD))
        self.reason = ""
        self._counted: dict[str, Health] = {}
        self._unwell: dict[str, Health] = {}  # those of them that keep it down: thousands of parts may be well
        self._rising: dict[str, list[tuple[float, Health]]] = {}  # since when a part is at least so well, upwards
        self._reported = Latest(0)

    def report(self, part: str, health: Health) -> None:
        """Take note of how `part` does."""
        counted = self._counted.get(part)
        if counted is None or health.level <= counted.level:
            self._count(part, health)
            self._rising.pop(part, None)
            self._sum_up()
            return
        steps, since = self._rising.setdefault(part, []), current_time()
        while steps and steps[-1][1].level >= health.level:
            since, _ = steps.pop()  # it fell back, and was at least as well as now all the while
        steps.append((since, health))
        self._reported.set(self._reported.value + 1)

    def forget(self, part: str) -> None:
        """Leave `part` out from now on: it is no longer wanted here."""
        self._counted.pop(part, None)
        self._unwell.pop(part, None)
        self._rising.pop(part, None)
        self._sum_up()

    async def run(self) -> None:
        """Let rises count when they have lasted; runs until cancelled."""
        while True:
            seen = self._reported.value
            due = min((steps[0][0] + RISE_SECONDS for steps in self._rising.values()), default=None)
            with move_on_after(None if due is None else max(0.0, due - current_time())):
                await self._reported.wait_for_change(seen)
            for part, steps in tuple(self._rising.items()):
                while steps and steps[0][0] + RISE_SECONDS <= current_time():
                    self._count(part, steps.pop(0)[1])
                if not steps:
                    del self._rising[part]
            self._sum_up()

    def _count(self, part: str, health: Health) -> None:
        self._counted[part] = health
        if health.level < Level.GOOD or health.reason:
            self._unwell[part] = health
        else:
            self._unwell.pop(part, None)

    def _sum_up(self) -> None:
        worst = min(self._unwell.items(), key=lambda item: item[1].level, default=None)
        self.reason = f"{worst[0]}: {worst[1].reason}" if worst is not None and worst[1].reason else ""
        level = int(worst[1].level) if worst is not None else int(Level.GOOD)
        if level != self.value.value:
            self.value.set(level)
