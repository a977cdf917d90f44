"""Checks of an election: one node that wins, and several that compete.

What cannot be seen from outside is not checked: that `valid_until` counts from before the request was sent (duty 3),
that an election which raises has released nothing (duty 5), that it promises nothing after a start (duty 7).
"""

from __future__ import annotations

import threading  # noqa: TID251 -- only to name the thread that a report came from
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep
from anyio.lowlevel import checkpoint
from attrs import frozen

from kubevip._contract import Candidacy, Leading
from kubevip._latest import Latest
from kubevip._model import Placement
from kubevip.testing._duty import SLACK_SECONDS, plain_failures, require

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from kubevip._contract import Leadership
    from kubevip.abc import Election

REPORTS = "Election duty 1 (reports each change and each renewal, from the event-loop thread)"
TERMS = "Election duty 2 (a term never repeats for a group within a process)"
VALIDITY = "Election duty 3 (valid_until is anyio time, before anybody else may take over)"
RELEASE = "Election duty 5 (releases when cancelled, within the grace)"
SILENCE = "Election duty 6 (never reports after returning)"


@frozen(kw_only=True)
class _Limits:
    lead_within_seconds: float
    longest_lease_seconds: float
    grace_seconds: float
    renewals: int


def _leads(now: Leadership | None) -> bool:
    return isinstance(now, Leading)


class _Stand:
    """One candidacy, observed. `terms` are those of the group on this node so far; new ones are added."""

    def __init__(
        self,
        name: str,
        group: str,
        terms: list[int],
        limits: _Limits,
        changed: Callable[[_Stand], None] = lambda stand: None,
    ) -> None:
        self.name, self.group = name, group
        self.last: Latest[Leadership | None] = Latest(None)
        self._terms, self._limits, self._changed = terms, limits, changed
        self._problems: list[tuple[str, str]] = []
        self._thread = threading.get_ident()
        self._scope, self._returned = CancelScope(), Event()
        self._term: int | None = None
        self._reported_at: float | None = None
        self._longest_interval = 0.0

    @property
    def is_holding(self) -> bool:
        """Whether its last report lets this node hold the group now, and the core has not let go."""
        now = self.last.value
        return isinstance(now, Leading) and now.valid_until > current_time() and not self._scope.cancel_called

    async def run(self, election: Election) -> None:
        """Stand until stopped; what the election raises passes through."""
        candidacy = Candidacy(
            group=self.group,
            report=self._report,
            fitness=Latest(100),
            placement=Placement(),
            grace_seconds=self._limits.grace_seconds,
            withdrawn=checkpoint,  # nothing is guarded here, so nothing has to be withdrawn
        )
        try:
            with self._scope:
                await election.campaign(candidacy)
        finally:
            self._returned.set()
        require(self._scope.cancel_called, RELEASE, f"campaign({self.group!r}) returned without being cancelled")

    def _report(self, now: Leadership) -> None:
        # the election must not find its own duties broken here: what is wrong is raised where the check waits
        if threading.get_ident() != self._thread:
            self._problems.append((REPORTS, f"{now} was reported from another thread"))
            return
        at = current_time()
        if self._returned.is_set():
            self._problems.append((SILENCE, f"{now} was reported after campaign({self.group!r}) had returned"))
        if isinstance(now, Leading) and not self._scope.cancel_called:
            left = now.valid_until - at
            if not 0 < left <= self._limits.longest_lease_seconds:
                seen = f"{now} was reported at {at:.3f}, {left:.3f} s before its end"
                self._problems.append((VALIDITY, seen))
            if now.term != self._term:
                if now.term in self._terms:
                    self._problems.append((TERMS, f"term {now.term} of {self.group!r} came back"))
                self._terms.append(now.term)
                self._term = now.term
        if self._reported_at is not None:
            self._longest_interval = max(self._longest_interval, at - self._reported_at)
        self._reported_at = at
        self.last.set(now)
        self._changed(self)

    def check(self) -> None:
        """Raise what was found wrong so far."""
        for duty, seen in self._problems:
            require(False, duty, seen)

    async def leads(self) -> Leading:
        """Wait until it leads."""
        with move_on_after(self._limits.lead_within_seconds):
            await self.last.wait_until(_leads)
        self.check()
        now = self.last.value
        seen = f"{self.name} did not lead {self.group!r} within {self._limits.lead_within_seconds:g} s"
        require(isinstance(now, Leading), REPORTS, f"{seen}; its last report was {now}")
        assert isinstance(now, Leading)  # for the type checker
        return now

    async def keeps_leading(self) -> None:
        """Wait for some renewals, each before the end of the one before it."""
        held = await self.leads()
        for _ in range(self._limits.renewals):
            now = await self._after(held)
            self.check()
            require(now is not None, REPORTS, f"{held} was not renewed before its end")
            kept = isinstance(now, Leading) and now.term == held.term
            require(kept, REPORTS, f"{held} of {self.group!r} was followed by {now}, although nothing had happened")
            assert isinstance(now, Leading)  # for the type checker
            held = now

    async def _after(self, held: Leading) -> Leadership | None:
        """Return what follows `held` before its end, if anything does."""

        def is_news(now: Leadership | None) -> bool:
            return not isinstance(now, Leading) or now.term != held.term or now.valid_until > held.valid_until

        with CancelScope(deadline=held.valid_until):
            return await self.last.wait_until(is_news)
        return None

    async def stop(self) -> None:
        """Cancel it, as the core does once everything is withdrawn; see that it lets go and falls silent."""
        asked = current_time()
        self._scope.cancel()
        await self._returned.wait()
        took, grace = current_time() - asked, self._limits.grace_seconds
        require(took <= grace + SLACK_SECONDS, RELEASE, f"it took {took:.2f} s, the grace was {grace:g} s")
        await sleep(max(self._longest_interval * 2, SLACK_SECONDS / 5))
        self.check()


@asynccontextmanager
async def _standing(election: Election, group: str, terms: list[int], limits: _Limits) -> AsyncGenerator[_Stand]:
    stand = _Stand("this node", group, terms, limits)
    async with create_task_group() as tg:
        tg.start_soon(stand.run, election)
        yield stand
        await stand.stop()


async def check_election(
    make: Callable[[], AbstractAsyncContextManager[Election]],
    *,
    groups: tuple[str, str] = ("check-a", "check-b"),
    lead_within_seconds: float = 10.0,
    longest_lease_seconds: float = 60.0,
    grace_seconds: float = 1.0,
    renewals: int = 3,
) -> None:
    """Check an election that this node wins, alone or as the only one that stands.

    Stands twice in each of two openings, then in two groups side by side. Run it on asyncio and on trio: their clocks
    differ, so a `valid_until` from another clock shows. It waits for `campaign` to return, so give the test a timeout.

    :param make: opens an instance; the second opening finds what the first has left.
    :param lead_within_seconds: how long this node may take to lead, also right after it released.
    :param longest_lease_seconds: no `valid_until` is further away than this.
    :param renewals: how many renewals to wait for.
    :raises AssertionError: naming the duty of `kubevip.abc.Election` that is broken.
    """
    limits = _Limits(
        lead_within_seconds=lead_within_seconds,
        longest_lease_seconds=longest_lease_seconds,
        grace_seconds=grace_seconds,
        renewals=renewals,
    )
    terms: dict[str, list[int]] = {group: [] for group in groups}
    with plain_failures():
        for _ in range(2):
            async with make() as election:
                for _ in range(2):
                    async with _standing(election, groups[0], terms[groups[0]], limits) as stand:
                        await stand.keeps_leading()
        async with make() as election:
            async with _standing(election, groups[0], terms[groups[0]], limits) as first:
                held = await first.leads()
                async with _standing(election, groups[1], terms[groups[1]], limits) as second:
                    await second.keeps_leading()
                now = await first.leads()
                seen = f"{held} of {groups[0]!r} became {now} when {groups[1]!r} came and went"
                require(now.term == held.term, "the core has any number of groups side by side", seen)
                await first.keeps_leading()


async def check_handover(
    makes: Sequence[Callable[[], AbstractAsyncContextManager[Election]]],
    *,
    group: str = "check",
    lead_within_seconds: float = 10.0,
    longest_lease_seconds: float = 60.0,
    grace_seconds: float = 1.0,
) -> None:
    """Check nodes that compete: one leads at a time, and a cancelled leader lets go so that another leads.

    The leader is cancelled, another leads, the first stands again: as often as there are nodes.

    :param makes: opens one node each; all run in this process and so on one clock.
    :param lead_within_seconds: how long a group may be without a leader.
    :raises AssertionError: naming the duty of `kubevip.abc.Election` that is broken.
    """
    limits = _Limits(
        lead_within_seconds=lead_within_seconds,
        longest_lease_seconds=longest_lease_seconds,
        grace_seconds=grace_seconds,
        renewals=1,
    )
    leader: Latest[_Stand | None] = Latest(None)
    both: list[str] = []
    stands: dict[str, _Stand] = {}
    terms: dict[str, list[int]] = {}

    def changed(stand: _Stand) -> None:
        if stand.is_holding:
            others = [other.name for other in stands.values() if other.is_holding and other is not stand]
            both.extend(f"{other} and {stand.name}" for other in others)
            leader.set(stand)

    async def led_by_another(than: _Stand | None) -> _Stand:
        found: _Stand | None = None
        with move_on_after(lead_within_seconds):
            found = await leader.wait_until(lambda stand: stand is not None and stand is not than and stand.is_holding)
        for stand in stands.values():
            stand.check()
        require(not both, VALIDITY, f"{', '.join(both)} held {group!r} at the same time")
        who = "nobody" if than is None else f"nobody but {than.name}"
        require(found is not None, RELEASE, f"{who} led {group!r} within {lead_within_seconds:g} s")
        assert found is not None  # for the type checker
        return found

    with plain_failures():
        async with AsyncExitStack() as opened:
            nodes = {f"node {n}": await opened.enter_async_context(make()) for n, make in enumerate(makes, 1)}
            async with create_task_group() as tg:

                def stand_again(name: str) -> None:
                    stands[name] = _Stand(name, group, terms.setdefault(name, []), limits, changed)
                    tg.start_soon(stands[name].run, nodes[name])

                for name in nodes:
                    stand_again(name)
                current = await led_by_another(None)
                for _ in nodes:
                    await current.keeps_leading()
                    await current.stop()
                    following = await led_by_another(current)
                    stand_again(current.name)
                    current = following
                for stand in stands.values():
                    await stand.stop()
                require(not both, VALIDITY, f"{', '.join(both)} held {group!r} at the same time")
