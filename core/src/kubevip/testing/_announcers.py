"""Checks of an announcer: what it leaves behind, at whatever moment it is stopped, and that it obeys its tenure."""

from __future__ import annotations

import threading  # noqa: TID251 -- only to name the thread that a report came from
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from attrs import frozen

from kubevip._contract import Health
from kubevip.errors import AnnounceError
from kubevip.testing._duty import SLACK_SECONDS, plain_failures, require
from kubevip.testing._tenures import make_tenure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from kubevip._model import VirtualIP
    from kubevip.abc import Announcer
    from kubevip.testing._tenures import ManualTenure

IN_AND_OUT = "Announcer duty 1 (enters announced, leaves withdrawn, also when cancelled, within its grace)"
REPAIR = "Announcer duty 2 (repairs what others break, and reports how it does)"
TENURE = "Announcer duty 3 (asks tenure.remaining_seconds > 0 before every frame and every renewal)"
REFUSAL = "Announcer duty 4 (raises AnnounceError naming the address when it cannot be raised)"


@frozen(kw_only=True)
class Wire:
    """What the network sees of the address, as the author of the test observes it.

    Where an announcer sends nothing itself (it only puts an address on a device), `count_sent` counts its renewals.
    """

    is_reachable: Callable[[], Awaitable[bool]]
    """Whether the address answers here now."""
    count_sent: Callable[[], int] | None = None
    """How many frames or renewals there were so far; None: that cannot be counted."""
    disturb: Callable[[], Awaitable[None]] | None = None
    """Take away what the announcer holds, as a network manager would; it has to put it back. None: nothing can."""


@frozen(kw_only=True)
class _Rig:
    announcer: Announcer
    vip: VirtualIP
    wire: Wire
    grace_seconds: float
    quiet_seconds: float
    repair_within_seconds: float

    async def gone(self, when: str) -> None:
        require(not await self.wire.is_reachable(), IN_AND_OUT, f"{self.vip.name} still answers {when}")

    async def quiet(self, when: str) -> None:
        if self.wire.count_sent is None:
            return
        before = self.wire.count_sent()
        await sleep(self.quiet_seconds)
        sent = self.wire.count_sent() - before
        require(
            sent == 0,
            TENURE,
            f"{sent} frames or renewals of {self.vip.name} within the {self.quiet_seconds:g} s {when}",
        )


class _Stay:
    """One time that the address is announced, in a task of its own; `cancel` stops it as the core does."""

    def __init__(self, rig: _Rig, tenure: ManualTenure) -> None:
        self.entered = Event()
        self.reports: list[Health] = []
        self._rig, self._tenure = rig, tenure
        self._scope, self._left = CancelScope(), Event()
        self._thread, self._foreign = threading.get_ident(), 0

    async def run(self) -> None:
        try:
            with self._scope:
                async with self._rig.announcer.announce(self._rig.vip, self._tenure, self._report):
                    self.entered.set()
                    await sleep_forever()
        finally:
            self._left.set()

    def _report(self, health: Health) -> None:
        if threading.get_ident() == self._thread:
            self.reports.append(health)
        else:
            self._foreign += 1

    async def cancel(self, when: str) -> None:
        asked = current_time()
        self._scope.cancel()
        await self._left.wait()
        took, grace = current_time() - asked, self._rig.grace_seconds
        require(
            took <= grace + SLACK_SECONDS, IN_AND_OUT, f"leaving took {took:.2f} s {when}, the grace is {grace:g} s"
        )
        require(self._foreign == 0, REPAIR, "it reported from a thread that is not the event loop's")
        require(all(isinstance(it, Health) for it in self.reports), REPAIR, f"it reported {self.reports!r}")
        await self._rig.gone(f"after it was cancelled {when}")


async def check_announcer(
    make: Callable[[], AbstractAsyncContextManager[Announcer]],
    vip: VirtualIP,
    wire: Wire,
    *,
    impossible: VirtualIP | None = None,
    enter_within_seconds: float = 5.0,
    grace_seconds: float = 1.0,
    quiet_seconds: float = 2.0,
    repair_within_seconds: float = 5.0,
    cuts: int = 8,
) -> None:
    """Check an announcer with one address.

    Enters, leaves and enters again; cancels it at `cuts` moments while it enters, and while it holds; ends the tenure
    behind its back; disturbs it. It waits for the announcer to leave, so give the test a timeout.

    :param make: opens an instance, once.
    :param wire: how the test sees what the announcer does.
    :param impossible: an address that cannot be raised here, say on a device that does not exist; None: skip that.
    :param grace_seconds: how long leaving may take.
    :param quiet_seconds: how long to listen for what must not be sent; longer than the announcer's own interval.
    :raises AssertionError: naming the duty of `kubevip.abc.Announcer` that is broken.
    """
    with plain_failures():
        async with make() as announcer:
            rig = _Rig(
                announcer=announcer,
                vip=vip,
                wire=wire,
                grace_seconds=grace_seconds,
                quiet_seconds=quiet_seconds,
                repair_within_seconds=repair_within_seconds,
            )
            await rig.gone("before it was announced")
            took = await _hold(rig, enter_within_seconds)
            await _hold(rig, enter_within_seconds)
            for cut in range(cuts):
                await _cancel_while_entering(rig, passes=cut)
                await _cancel_while_entering(rig, seconds=took * cut / cuts)
            await _outlive_tenure(rig, enter_within_seconds)
            await _enter_too_late(rig)
            if impossible is not None:
                await _refuse(rig, impossible)
            await _hold(rig, enter_within_seconds)
        await rig.gone("after the announcer was closed")


async def _enter(rig: _Rig, stay: _Stay, seconds: float) -> None:
    with move_on_after(seconds):
        await stay.entered.wait()
    require(stay.entered.is_set(), IN_AND_OUT, f"{rig.vip.name} was not announced within {seconds:g} s")
    require(await rig.wire.is_reachable(), IN_AND_OUT, f"{rig.vip.name} does not answer although it was entered")


async def _hold(rig: _Rig, enter_within_seconds: float) -> float:
    """Announce, disturb, withdraw; return how long entering took."""
    stay = _Stay(rig, make_tenure(group=rig.vip.group, seconds=3600))
    took = 0.0
    async with create_task_group() as tg:
        began = current_time()
        tg.start_soon(stay.run)
        await _enter(rig, stay, enter_within_seconds)
        took = current_time() - began
        if rig.wire.disturb is not None:
            await rig.wire.disturb()
            with move_on_after(rig.repair_within_seconds) as limit:
                while not await rig.wire.is_reachable():
                    await sleep(rig.repair_within_seconds / 100)  # polls, because it watches from outside
            require(not limit.cancelled_caught, REPAIR, f"{rig.vip.name} was taken away and did not come back")
        await stay.cancel("while it was held")
        await rig.quiet("after it was withdrawn")
    return took


async def _cancel_while_entering(rig: _Rig, *, passes: int = 0, seconds: float = 0.0) -> None:
    stay = _Stay(rig, make_tenure(group=rig.vip.group))
    async with create_task_group() as tg:
        tg.start_soon(stay.run)
        for _ in range(passes):
            await checkpoint()
        if seconds:
            await sleep(seconds)
        await stay.cancel(f"after {passes} scheduler passes and {seconds * 1000:.1f} ms")


async def _outlive_tenure(rig: _Rig, enter_within_seconds: float) -> None:
    """End the tenure and cancel nobody, as for a process that was frozen meanwhile."""
    tenure = make_tenure(group=rig.vip.group, seconds=3600)
    stay = _Stay(rig, tenure)
    async with create_task_group() as tg:
        tg.start_soon(stay.run)
        await _enter(rig, stay, enter_within_seconds)
        tenure.end()
        await rig.quiet("after its tenure ended")
        await stay.cancel("after its tenure ended")


async def _enter_too_late(rig: _Rig) -> None:
    """Enter with a tenure that is over: refuse, or do nothing; but send nothing."""
    tenure = make_tenure(group=rig.vip.group)
    tenure.end()
    stay = _Stay(rig, tenure)
    before = rig.wire.count_sent() if rig.wire.count_sent is not None else 0

    async def run() -> None:
        try:
            await stay.run()
        except AnnounceError:
            pass  # a good answer, too

    async with create_task_group() as tg:
        tg.start_soon(run)
        await sleep(rig.quiet_seconds)
        seen = f"{rig.vip.name} was made reachable in a tenure that was over"
        require(not await rig.wire.is_reachable(), TENURE, seen)
        await stay.cancel("in a tenure that was over")
    if rig.wire.count_sent is not None:
        require(rig.wire.count_sent() == before, TENURE, f"{rig.vip.name} was announced in a tenure that was over")


async def _refuse(rig: _Rig, impossible: VirtualIP) -> None:
    refusal: Exception | None = None
    with move_on_after(rig.repair_within_seconds):
        try:
            async with rig.announcer.announce(impossible, make_tenure(group=impossible.group), lambda health: None):
                pass
        except AnnounceError as error:
            refusal = error
        except ExceptionGroup as group:
            raise AssertionError(f"{REFUSAL}: it raised {group!r}, not an AnnounceError by itself") from group
    require(refusal is not None, REFUSAL, f"{impossible.name} on {impossible.interface!r} was accepted")
    told = str(refusal)
    named = any(word in told for word in (impossible.name, str(impossible.address)))
    require(named, REFUSAL, f"{told!r} names neither {impossible.name} nor {impossible.address}")
