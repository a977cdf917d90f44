"""How fit this node is for one group, from what its parts report, with hysteresis.

A fall counts at once, because somebody else may do better. A rise counts only after it has lasted, so that a part
that flaps does not drag the addresses back and forth.

What ails one address says little of the node: as a rule it would ail it everywhere. So a part of the node itself that
fails makes the node unfit, and an address makes it less fit as long as another of its group can be held. An address
that failed here while it was up, or was to go up, is believed to be well again ever more slowly: nobody can know before
it is tried once more, and each trial moves the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import current_time, move_on_after
from attrs import frozen

from kubevip._contract import Level
from kubevip._latest import Latest

if TYPE_CHECKING:
    from kubevip._contract import Health

#: A part that was unwell must be well for this long before the node counts as fit again.
RISE_SECONDS = 3.0

#: An address that fails again soon after it was believed to be well must be so many times longer, up to a limit; not
#: any more when it has been up for a while.
GROWTH, LONGEST_RISE_SECONDS, STEADY_SECONDS = 4.0, 600.0, 60.0

#: How fit a node is that cannot hold one address of several: whoever can hold them all is to have them.
PARTLY_FIT = 25


@frozen(kw_only=True)
class _Part:
    """What is known of a part: the fitness that it leaves the node, why, and whether it is an address that is down."""

    level: int
    reason: str
    is_down: bool = False

    @property
    def rank(self) -> tuple[int, bool]:
        """How well it is, to be compared."""
        return self.level, not self.is_down


class Fitness:
    """The fitness of one group, 0 (unfit) to 100, in `value`; `reason` says what keeps it down."""

    def __init__(self) -> None:
        self.value: Latest[int] = Latest(int(Level.GOOD))
        self.reason = ""
        self._addresses: set[str] = set()
        self._down: set[str] = set()  # those that count as down
        self._counted: dict[str, _Part] = {}
        self._unwell: dict[str, _Part] = {}  # those that keep it down: thousands may be well
        self._rising: dict[str, list[tuple[float, _Part]]] = {}  # since when a part is at least so well, upwards
        self._reported = Latest(0)
        self._up: set[str] = set()
        self._well_since: dict[str, float] = {}  # of addresses that are up
        self._patience: dict[str, float] = {}  # for how long an address that is not up must have been well to count so

    def expect(self, address: str) -> None:
        """Say that the part `address` is an address of the group."""
        self._addresses.add(address)
        self._sum_up()

    def report(self, part: str, health: Health) -> None:
        """Take note of how `part` does."""
        is_down = health.level is Level.FAILED and part in self._addresses
        if is_down:
            self._lose_patience(part)
        elif part in self._up:
            self._well_since.setdefault(part, current_time())
        level = PARTLY_FIT if is_down else int(health.level)
        self._note(part, _Part(level=level, reason=health.reason, is_down=is_down))

    def refuse(self, address: str, reason: str, *, is_foreseen: bool) -> None:
        """Take note that an address cannot be held here.

        :param is_foreseen: known before it was tried, as it is to every other node of itself. Else nobody can know
            whether another one fares better, and what else is held here stays.
        """
        if not is_foreseen:
            self._lose_patience(address)
        level = PARTLY_FIT if is_foreseen else int(Level.DEGRADED)
        self._note(address, _Part(level=level, reason=reason, is_down=True))

    def raised(self, address: str) -> None:
        """Take note that an address is up: how well it is need not be believed any more."""
        self._up.add(address)
        self._well_since[address] = current_time()
        if address in self._rising:
            self._reported.set(self._reported.value + 1)

    def lowered(self, address: str) -> None:
        """Take note that an address is up no more."""
        self._up.discard(address)
        self._forgive(address)
        self._well_since.pop(address, None)

    def forget(self, part: str) -> None:
        """Leave `part` out from now on: it is no longer wanted here."""
        for names in (self._addresses, self._down, self._up):
            names.discard(part)
        self._counted.pop(part, None)
        self._unwell.pop(part, None)
        self._rising.pop(part, None)
        self._patience.pop(part, None)
        self._well_since.pop(part, None)
        self._sum_up()

    async def run(self) -> None:
        """Let rises count when they have lasted; runs until cancelled."""
        while True:
            seen = self._reported.value
            due = min((steps[0][0] + self._rise_seconds(part) for part, steps in self._rising.items()), default=None)
            with move_on_after(None if due is None else max(0.0, due - current_time())):
                await self._reported.wait_for_change(seen)
            for part, steps in tuple(self._rising.items()):
                while steps and steps[0][0] + self._rise_seconds(part) <= current_time():
                    self._count(part, steps.pop(0)[1])
                if not steps:
                    del self._rising[part]
            self._sum_up()

    def _note(self, part: str, now: _Part) -> None:
        counted = self._counted.get(part)
        if counted is None or now.rank <= counted.rank:
            self._count(part, now)
            self._rising.pop(part, None)
            self._sum_up()
            return
        steps, since = self._rising.setdefault(part, []), current_time()
        while steps and steps[-1][1].rank >= now.rank:
            since, _ = steps.pop()  # it fell back, and was at least as well as now all the while
        steps.append((since, now))
        self._reported.set(self._reported.value + 1)

    def _count(self, part: str, now: _Part) -> None:
        self._counted[part] = now
        if now.level < Level.GOOD or now.reason:
            self._unwell[part] = now
        else:
            self._unwell.pop(part, None)
        (self._down.add if now.is_down else self._down.discard)(part)

    def _sum_up(self) -> None:
        worst = min(self._unwell.items(), key=lambda item: item[1].rank, default=None)
        self.reason = f"{worst[0]}: {worst[1].reason}" if worst is not None and worst[1].reason else ""
        level = worst[1].level if worst is not None else int(Level.GOOD)
        if self._addresses and len(self._down) == len(self._addresses):
            level = int(Level.FAILED)  # none can be held here, so there is nothing to lose by going elsewhere
        if level != self.value.value:
            self.value.set(level)

    def _rise_seconds(self, part: str) -> float:
        return RISE_SECONDS if part in self._up else self._patience.get(part, RISE_SECONDS)

    def _lose_patience(self, address: str) -> None:
        self._forgive(address)
        self._well_since.pop(address, None)
        if address not in self._down:
            before = self._patience.get(address)
            self._patience[address] = RISE_SECONDS if before is None else min(before * GROWTH, LONGEST_RISE_SECONDS)

    def _forgive(self, address: str) -> None:
        since = self._well_since.get(address)
        if since is not None and current_time() - since >= STEADY_SECONDS:
            self._patience.pop(address, None)
