"""Leadership: the tenure that is made of an election's reports, and the campaign that keeps the order.

Promise: work that is guarded by a tenure has unwound before the election releases, whatever ended it: cancellation, a
lapse of the lease, a loss, an error of the guarded work. An error of the election itself is the exception that the
Election contract names: it raises without releasing, and the core unwinds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from anyio import CancelScope, create_task_group, current_time

from kubevip._contract import Candidacy, Following, Leading
from kubevip._latest import Latest
from kubevip._slot import Slot
from kubevip.errors import ElectionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubevip._contract import Cause, Leadership
    from kubevip._model import Placement
    from kubevip.abc import Election


class Tenure:
    """One leadership of one group, shared by everything that is guarded by it; plugins only read it.

    It ends by itself at `valid_until`. Ask `remaining_seconds > 0` right before anything that touches the wire or the
    kernel for an address: a process that was frozen and thawed runs on for a moment before its cancellation arrives.
    """

    def __init__(self, group: str, term: int, valid_until: float, cause: Cause | None = None) -> None:
        self._group, self._term, self._valid_until, self._cause = group, term, valid_until, cause
        self._began_at = current_time()
        self._timer: CancelScope | None = None
        self._followers: list[Callable[[float], None]] = []

    def __repr__(self) -> str:
        return f"<Tenure {self._group} term={self._term} valid_until={self._valid_until:.3f}>"

    @property
    def group(self) -> str:
        """The group that is led."""
        return self._group

    @property
    def term(self) -> int:
        """The election's term, as it reported it."""
        return self._term

    @property
    def cause(self) -> Cause | None:
        """Why this node leads, if the election said."""
        return self._cause

    @property
    def began_at(self) -> float:
        """When leadership was reported, in `anyio.current_time()`."""
        return self._began_at

    @property
    def valid_until(self) -> float:
        """The end as known now, in `anyio.current_time()`. May be read from any thread.

        Once leadership has ended it moves no more: minus infinity, or until when what hangs on it may be withdrawn.
        """
        return self._valid_until

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the end; zero or less means over. Only in the event-loop thread."""
        return self._valid_until - current_time()

    def follow(self, moved: Callable[[float], None]) -> Callable[[], None]:
        """Call `moved(valid_until)` at each renewal and once at the end, in the event-loop thread; return how to stop.

        `moved` must not block or raise. It is for holders of a kernel lease, who pass the news to a thread.
        """
        self._followers.append(moved)
        return lambda: self._followers.remove(moved) if moved in self._followers else None

    def _move(self, valid_until: float) -> None:
        self._valid_until = valid_until
        if self._timer is not None:
            self._timer.deadline = valid_until
        for moved in tuple(self._followers):
            moved(valid_until)


class Campaign:
    """The standing of this node in one group; outlives restarts of the work that it guards and of the election.

    `tenure` changes when leadership begins or ends, never on a renewal. `leadership` is what the election last
    reported.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._tenures: Slot[Tenure] = Slot()
        self.leadership: Latest[Leadership] = Latest(Following())

    @property
    def tenure(self) -> Latest[Tenure | None]:
        """The tenure of now, if this node leads."""
        return self._tenures.content

    async def run(
        self,
        election: Election,
        *,
        fitness: Latest[int],
        placement: Placement,
        grace_seconds: float,
        soonest_takeover: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Stand in `election` until cancelled; unwind all guarded work, then let the election release. One at a time.

        :param fitness: how fit this node is for the group, 0 (unfit) to 100; followed by the election.
        :param grace_seconds: how long the election may take to release.
        :param soonest_takeover: as in `Candidacy`.
        :raises ElectionError: when the election ends by itself; whatever it raises passes through.
        """
        scope, standing = CancelScope(shield=True), True

        def report(now: Leadership) -> None:
            if standing:  # a late report starts nothing
                self._report(now)

        candidacy = Candidacy(
            group=self._group,
            report=report,
            fitness=fitness,
            placement=placement,
            grace_seconds=grace_seconds,
            withdrawn=self._tenures.unwound,
            soonest_takeover=soonest_takeover,
        )

        async def stand() -> None:
            with scope:
                await election.campaign(candidacy)
            if not scope.cancel_called:
                raise ElectionError(
                    f"the election gave up its candidacy for group {self._group!r} without being asked to"
                )

        async with create_task_group() as tg:
            tg.start_soon(stand)
            try:
                await self._expire()  # until cancelled, or stand() fails
            finally:
                standing = False
                self._end()  # every guarded body unwinds, bounded by the announcers' own grace
                await self._tenures.unwound()
                self.leadership.set(Following())
                scope.cancel()  # addresses are gone: release

    async def while_leading(self, guarded: Callable[[Tenure], Awaitable[None]]) -> None:
        """Run `guarded(tenure)` in each tenure; cancel it when the tenure ends.

        Returns only by cancellation, or by an error of `guarded`, which comes in an ExceptionGroup.

        :raises RuntimeError: when `guarded` returns although the tenure goes on.
        """
        await self._tenures.while_filled(guarded, test=lambda tenure: tenure.remaining_seconds > 0)

    def _report(self, now: Leadership) -> None:
        held = self.tenure.value
        if isinstance(now, Leading) and held is not None and held.term == now.term and held.remaining_seconds > 0:
            held._move(now.valid_until)  # renewed, shortened, or (in the past) ended
            return  # one that ran out is over although the timer has not come to it: who asked it has given up by now
        self._end(now.valid_until if isinstance(now, Following) else -math.inf)
        if isinstance(now, Leading) and now.valid_until > current_time():
            self.tenure.set(Tenure(self._group, now.term, now.valid_until, now.cause))
        self.leadership.set(now)

    def _end(self, valid_until: float = -math.inf) -> None:
        """End the tenure for good: a late renewal makes a new one. What it guards unwinds, by `valid_until` at best."""
        if (held := self.tenure.value) is not None:
            self.tenure.set(None)
            held._move(min(held.valid_until, valid_until))

    async def _expire(self) -> None:
        """End a tenure at its time: the only timer, however many virtual IPs hang on it."""
        while True:
            held = await self.tenure.wait_until(lambda tenure: tenure is not None)
            assert held is not None  # the test above, which the type checker cannot see
            with CancelScope(deadline=held.valid_until) as held._timer:
                await self.tenure.wait_for_change(held)
            held._timer = None
            if self.tenure.value is held:
                self._end()
