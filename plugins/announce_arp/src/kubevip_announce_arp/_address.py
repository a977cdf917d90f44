"""The announcer "address": virtual IPs on devices, behind a fence, for as long as their tenure lasts."""

from __future__ import annotations

import logging
import math
import time
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    move_on_at,
    sleep,
)

from kubevip.errors import AnnounceError
from kubevip_announce_arp._belongings import Belongings
from kubevip_announce_arp._carrier import CarrierFilter
from kubevip_announce_arp._config import UNFENCED_TAKEOVER_SECONDS
from kubevip_announce_arp._fence_state import FenceState
from kubevip_announce_arp._guards import Guards
from kubevip_announce_arp._held import Held
from kubevip_announce_arp._kernel import OVER, SHUT, Kernel, Outcome, Place, Work
from kubevip_announce_arp._kernel_thread import KernelThread
from kubevip_announce_arp._leaders import Leaders
from kubevip_announce_arp._occupants import Occupants
from kubevip_announce_arp._rtnetlink import AddressEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping

    from kubevip import Health, Host, IPAddress, Tenure, VirtualIP
    from kubevip_announce_arp._devices import Devices
    from kubevip_announce_arp._inquiry import Inquiry
    from kubevip_announce_arp._other_instances import OtherInstances
    from kubevip_announce_arp._rtnetlink import LinkEvent

_logger = logging.getLogger("kubevip.address")

CHECK_SECONDS = 0.5  # how often to look whether the fence is there, and to try again what failed
_LOWER_SECONDS, _FIRST_PAUSE_SECONDS = 1.0, 0.01  # how long to try to take an address off; pauses double
_RAISE_SECONDS = 1.0  # how long to try to put an address up that came too late each time
_EXPIRY_SECONDS = 2.0  # by how much the kernel may be late to remove an address: it looks about once a second


class AddressAnnouncer:
    """Puts virtual IPs on devices. One thread does everything in the kernel; `announce` and `run` hand it over.

    :param kernel: its fence is the one that `fence_state` speaks of.
    :param table: the name of the fence's tables; "" without a fence.
    :param unfenced: why there is no fence; "" with one.
    :param renew_seconds: how often to renew the lifetime of addresses.
    :param inquiry: asks the network whether somebody has an address that is new; None: nobody is asked.
    :param look: as in `Occupants`.
    """

    def __init__(
        self,
        *,
        host: Host,
        devices: Devices,
        kernel: Kernel,
        table: str,
        unfenced: str,
        renew_seconds: float,
        inquiry: Inquiry | None,
        look: Callable[[Collection[IPAddress]], OtherInstances],
    ) -> None:
        self._devices, self._kernel, self._belongings = devices, kernel, Belongings(host, table)
        self._fence, self._renew_seconds = FenceState(table, unfenced), renew_seconds
        self._inquiry = inquiry
        self._offset = time.monotonic() - current_time()  # trio's clock has another origin
        self._held: dict[IPAddress, Held] = {}
        self._missing: set[Held] = set()  # held, entered, and not on their devices
        self._putting: list[Held] = []
        self._lowering: list[Held] = []
        self._carriers: dict[int, CarrierFilter] = {}
        self._guards = Guards(lambda: self._wake.set())
        self._occupants = Occupants(devices, self._belongings, look)
        self._thread = KernelThread(kernel, self._renewal_failed)
        self._leaders = Leaders(self._thread, is_fenced=bool(table), offset=self._offset, wake=lambda: self._wake.set())
        self._is_working, self._idle = False, Event()  # of the thread
        self._in_hand: tuple[Held, ...] = ()  # what it works on, or will never come to
        self._idle.set()
        self._wake = Event()
        self._is_over = False
        self._next_refresh = self._next_check = 0.0

    def status(self) -> Mapping[str, object]:
        """Return how the fence does."""
        return {"fence": str(self._fence)}

    @property
    def soonest_takeover_seconds(self) -> float:
        """How long after the last renewal nobody else may take over; see `kubevip.abc.SupportsTakeover`."""
        return UNFENCED_TAKEOVER_SECONDS if self._fence.unfenced else 0.0

    @asynccontextmanager
    async def prepare(self, vip: VirtualIP) -> AsyncGenerator[None]:
        """Fence the address, and record that this instance is to own it, so that a takeover has less to do.

        What somebody else on this machine has is not touched, and let go of when somebody gets it while it is prepared.

        :raises AnnounceError: when there is no device for it, somebody else has it, or nothing can be recorded.
        """
        device = await self._devices.find(vip)
        async with self._occupants.give_way(vip):
            try:
                await self._belongings.record(vip.address, device.name)
            except OSError as error:
                raise AnnounceError(f"virtual IP {vip.name}: {error.filename}: {error.strerror}") from error
            following = self._inquiry.following(vip, device) if self._inquiry is not None else nullcontext()
            with following, self._guards.guarding((vip.group, vip.address.packed)) as told:
                if self._occupants.has_neighbours:  # one of which may have begun to fence it at the same time
                    await told.wait()
                    await self._occupants.refuse_of_instances(vip)
                yield

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        """Hold the address on its device while the body runs; see `kubevip.abc.Announcer`.

        :raises AnnounceError: when there is no device for it, it is there already, or somebody else has it.
        """
        device = await self._devices.find(vip)
        self._occupants.refuse_on_devices(vip)
        if self._inquiry is not None:
            await self._inquiry.ask(vip, device)
        place = Place(address=vip.address, group=tenure.group, index=device.index, device=device.name)
        held = Held(vip=vip, tenure=tenure, report=report, place=place)
        self._leaders.join(tenure)
        self._held[vip.address] = held
        self._carriers.setdefault(device.index, CarrierFilter(device.trouble))
        try:
            await self._raise(held)
            if held.problem and self._carriers[device.index].told != held.problem:
                raise AnnounceError(f"virtual IP {vip.name}: {vip.address}: {held.problem}")
            held.is_entered = True
            if held.problem:
                self._missing.add(held)
            _logger.info(
                "raised vip=%s address=%s device=%s group=%s", vip.name, vip.address, device.name, tenure.group
            )
            if self._inquiry is not None:
                self._inquiry.note(vip.address)
            self._report(held)
            yield
        finally:
            await self._withdraw(held)

    async def run(self) -> None:
        """Have done in the kernel what is asked for, and repair it, until cancelled."""
        stop_listening = self._devices.listen(self._see)
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._thread.run)
                while True:
                    with move_on_at(self._due_at()):
                        await self._wake.wait()
                    self._wake = Event()
                    await self._idle.wait()
                    self._work()
        finally:
            stop_listening()
            self._is_over = True
            for held in (*self._in_hand, *self._putting, *self._lowering, *self._held.values()):
                held.problem = held.problem or "the announcer has ended"
                held.put.set()
                held.lowered.set()  # what is still up is taken off when the instance closes
            self._guards.stop()
            self._leaders.stop()

    def _work(self) -> None:
        """Hand over what there is to do, unless the thread is at work: then it comes after that."""
        if self._is_working:
            return
        now = current_time()
        before = self._troubles()
        for index, carrier in self._carriers.items():
            device = self._devices.device(index)
            carrier.step(now, device.trouble if device is not None else "gone")
        putting, self._putting = [held for held in self._putting if self._is_held(held)], []
        lowering, self._lowering = self._lowering, []
        work = self._plan(now, putting, lowering)
        if not work:
            self._guards.done()
            self._tell(before, is_new=bool(putting))
            return
        self._is_working, self._idle = True, Event()
        self._in_hand = (*putting, *lowering)

        def done(outcome: Outcome) -> None:
            self._is_working, self._in_hand = False, ()
            self._idle.set()
            self._guards.done()
            self._take(work, outcome, putting, lowering)
            self._tell(before, is_new=bool(putting))
            if self._putting or self._lowering:
                self._work()

        self._thread.carry_out(work, done)

    def _troubles(self) -> tuple[dict[int, str], str, frozenset[str]]:
        carriers = {index: carrier.told for index, carrier in self._carriers.items()}
        return carriers, self._fence.problem, self._leaders.shut

    def _tell(self, before: tuple[dict[int, str], str, frozenset[str]], *, is_new: bool) -> None:
        """Report how all held addresses do, if that may have changed: renewals change nothing, and are many."""
        for name in sorted(self._leaders.shut - before[2]):
            _logger.warning("fence: group=%s is silent, it could not be opened in time; tried again", name)
        if is_new or self._troubles() != before:
            for held in self._held.values():
                self._report(held)

    def _plan(self, now: float, putting: list[Held], lowering: list[Held]) -> Work:
        for held in lowering:
            self._leaders.lower(held.tenure)
        turn = self._leaders.plan(now, (held.place.group for held in putting))
        check = now >= self._next_check
        if check:
            turn.renew.update(held.place.group for held in self._missing if held.place.group in turn.until)
            self._next_check = now + CHECK_SECONDS
        putting += [held for held in self._missing if held not in putting and held.place.group in turn.renew]
        self._leave_out_downed(putting)
        refresh: tuple[Place, ...] = ()
        if now >= self._next_refresh:
            self._next_refresh = now + self._renew_seconds
            refresh = tuple(held.place for held in self._held.values() if not held.problem)
        guard, unguard = self._guards.take()
        return Work(
            guard=guard,
            unguard=unguard,
            close=turn.close,
            lower=tuple(held.place for held in lowering),
            owned=self._belongings.add(held.place for held in putting),
            until=turn.until,
            renew=frozenset(turn.renew),
            put=tuple(held.place for held in putting),
            refresh=refresh,
            check=check and not self._fence.unfenced,
        )

    def _take(self, work: Work, outcome: Outcome, putting: list[Held], lowering: list[Held]) -> None:
        self._leaders.take(work.renew, outcome.opened, work.until)
        self._fence.take(outcome, was_checked=work.check)
        for held in putting:
            problem = outcome.failed.get(held.place.address, "")
            if held.is_entered and problem and problem != held.problem:
                _logger.warning("missing vip=%s: %s", held.vip.name, problem)
            elif not problem and held in self._missing:
                _logger.info("restored vip=%s", held.vip.name)
            held.problem = problem
            held.put.set()
            if held.is_entered and self._is_held(held):
                (self._missing.add if problem else self._missing.discard)(held)
        for held in lowering:
            held.problem = outcome.still_up.get(held.place.address, "")
            held.lowered.set()
        self._belongings.remove((held.place.address for held in lowering if not held.problem), self._held)

    def _renewal_failed(self, outcome: Outcome) -> None:
        """Renew all groups once more, as work: one of them is closed, or all are."""
        before = self._troubles()
        self._fence.take(outcome, was_checked=False)
        self._tell(before, is_new=False)
        self._leaders.reopen(outcome.opened)

    async def _raise(self, held: Held) -> None:
        """Try to put an address up; again, for a while, when it took too long and this node leads on.

        That says nothing against this node: a busy machine is late once, and in time at the next renewal.
        """
        give_up_at = current_time() + _RAISE_SECONDS
        while True:
            held.put = Event()
            self._ask(self._putting, held)
            await held.put.wait()
            if held.problem not in (OVER, SHUT) or current_time() >= give_up_at or held.tenure.remaining_seconds <= 0:
                return
            await sleep(_FIRST_PAUSE_SECONDS)

    async def _withdraw(self, held: Held) -> None:
        """Close the fence if nothing else needs it, take the address off, and return when the kernel says so."""
        self._leaders.leave(held.tenure)
        self._missing.discard(held)
        if self._held.get(held.vip.address) is held:
            del self._held[held.vip.address]
        with CancelScope(shield=True):  # bounded: by _LOWER_SECONDS, without a fence by the address's lifetime
            await self._lower(held)
        if held.problem:  # fenced, and with a lifetime that nobody renews
            _logger.error("not withdrawn vip=%s address=%s: %s", held.vip.name, held.vip.address, held.problem)
        elif held.is_entered:
            _logger.info("withdrawn vip=%s address=%s device=%s", held.vip.name, held.vip.address, held.place.device)

    async def _lower(self, held: Held) -> None:
        """Try to take an address off until it is; give up after _LOWER_SECONDS if a fence keeps it silent.

        Where nothing does, give up only after its lifetime: who waits for this lets another node take over then.
        """
        give_up_at, pause, told, is_fenced = current_time() + _LOWER_SECONDS, _FIRST_PAUSE_SECONDS, "", True
        while True:
            held.lowered = Event()
            self._ask(self._lowering, held)
            await held.lowered.wait()
            is_fenced = is_fenced and not self._fence.problem  # as it was when it was to close
            dies_at = self._kernel.lives_until(held.place) - self._offset
            if held.problem and dies_at < current_time() and not self._devices.has(held.place.index, held.vip.address):
                held.problem = ""  # by itself
                self._belongings.remove([held.place.address], self._held)
            if held.problem and held.problem != told:
                told = held.problem
                _logger.warning("withdrawing vip=%s address=%s: %s", held.vip.name, held.vip.address, told)
            left = (give_up_at if is_fenced else max(give_up_at, dies_at + _EXPIRY_SECONDS)) - current_time()
            if not held.problem or left <= 0 or (self._is_over and is_fenced):
                return
            await sleep(min(pause, left))
            pause = min(2 * pause, CHECK_SECONDS)

    def _ask(self, where: list[Held], held: Held) -> None:
        if self._is_over:
            held.problem = held.problem or "the announcer has ended"
            held.put.set()
            held.lowered.set()
        elif held not in where:
            where.append(held)
            self._work()

    def _leave_out_downed(self, putting: list[Held]) -> None:
        """Put nothing on a device that is switched off: an IPv6 address would not work when it is switched on."""
        for held in tuple(putting):
            device = self._devices.device(held.place.index)
            if device is None or not device.is_up:
                putting.remove(held)
                held.problem = device.trouble if device is not None else f"the device {held.place.device} is gone"
                held.put.set()
                self._report(held)

    def _is_held(self, held: Held) -> bool:
        return self._held.get(held.vip.address) is held

    def _due_at(self) -> float:
        """Return when there is something to do although nothing was asked for."""
        return min(
            self._next_check,
            self._next_refresh if self._held else math.inf,
            *(carrier.due_at for carrier in self._carriers.values()),
        )

    def _see(self, event: AddressEvent | LinkEvent | None) -> None:
        """Take note of what happened to addresses and devices."""
        self._occupants.see(event)
        if isinstance(event, AddressEvent):
            held = self._held.get(event.address)
            if held is not None and held.is_entered and event.ifindex == held.place.index and event.is_gone:
                self._miss(held, "somebody removed it")
            return
        for held in self._held.values():
            if event is None or event.ifindex == held.place.index or event.name == held.place.device:
                self._look_again(held)
        self._wake.set()

    def _look_again(self, held: Held) -> None:
        """See whether the device of a held address is there, and whether the address is on it."""
        place = held.place
        device = self._devices.device(place.index) or self._devices.device_named(place.device)
        if device is None:
            held.problem = f"this machine has no device {place.device} any more"
            self._missing.add(held)
            return
        if device.index != place.index:
            self._carriers.pop(place.index, None)
            self._carriers.setdefault(device.index, CarrierFilter(device.trouble))
            held.place = Place(address=place.address, group=place.group, index=device.index, device=device.name)
        elif device.name != place.device:
            held.rename(device.name)
            self._ask(self._putting, held)  # which records where it is, for leftovers to be known
        if held.is_entered and not self._devices.has(device.index, held.place.address):
            self._miss(held, "it is gone from its device")

    def _miss(self, held: Held, why: str) -> None:
        """Put it back at once. Only if that fails is it a problem of this node's, which others may do better."""
        if held not in self._missing and held.tenure.remaining_seconds > 0:
            _logger.warning(
                "missing vip=%s address=%s device=%s: %s", held.vip.name, held.vip.address, held.place.device, why
            )
        self._missing.add(held)
        self._ask(self._putting, held)

    def _report(self, held: Held) -> None:
        carrier = self._carriers.get(held.place.index)
        held.tell(
            carrier.told if carrier is not None else "",
            self._fence.problem,
            is_shut=self._leaders.is_shut(held.tenure.group),
        )
