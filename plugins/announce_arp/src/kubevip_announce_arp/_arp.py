"""The announcer "arp": tells the neighbours at which device an address is, and notices who else says so."""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, current_time, move_on_at, sleep, to_thread
from attrs import define, field

from kubevip import Health, Level
from kubevip.errors import AnnounceError
from kubevip_announce_arp._config import OnConflict
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._devices import Devices
from kubevip_announce_arp._frames import announcement, mark_of, show
from kubevip_announce_arp._rtnetlink import AddressEvent
from kubevip_announce_arp._schedule import AnnouncementSchedule, ConflictPolicy
from kubevip_announce_arp._segment import Segment, Segments
from kubevip_announce_arp._templates import load_templates

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from anyio.abc import TaskGroup

    from kubevip import Host, IPAddress, Tenure, VirtualIP
    from kubevip_announce_arp._config import ArpConfig
    from kubevip_announce_arp._frames import Claim, Templates
    from kubevip_announce_arp._rtnetlink import LinkEvent

_logger = logging.getLogger("kubevip.arp")

# An address that is put back sooner is not reported: its owner does so at once, and what is told at the beginning of
# a tenure may still be about the end of the one before.
_GONE_SECONDS = 0.1


@define(eq=False)
class _Announced:
    """An address that is announced: when next, and what is known of rivals."""

    vip: VirtualIP
    tenure: Tenure
    report: Callable[[Health], None]
    segment: Segment
    schedule: AnnouncementSchedule
    conflict: ConflictPolicy
    rival: bytes = b""
    trouble: str = ""
    """Why the last frames could not be sent; "" when they could."""
    is_gone: bool = False
    """Whether the address went from its device and has not come back."""
    tell_gone_at: float = math.inf
    """When to report that it is gone; infinite when that is done."""
    health: Health | None = None
    changed: Event = field(factory=Event)
    scope: CancelScope = field(factory=CancelScope)
    """Of the task that repeats the announcement; nobody waits for its end, as it sends nothing after that."""

    def due_at(self) -> float:
        """Return when there is something to send or to report."""
        send_at = math.inf if self.is_gone else self.schedule.due_at
        settled_at = self.conflict.settled_at if self.rival else math.inf
        return min(send_at, settled_at, self.tell_gone_at)


@asynccontextmanager
async def open_instance(config: ArpConfig, host: Host) -> AsyncGenerator[ArpAnnouncer]:
    """Open the announcer; the library that builds frames is loaded here, never at a takeover."""
    devices = Devices()
    with closing(devices):
        await devices.open()
        templates = await to_thread.run_sync(load_templates)
        async with create_task_group() as tg:
            announcer = ArpAnnouncer(config, devices, templates, tg, host)
            tg.start_soon(devices.run)
            try:
                yield announcer
            finally:
                announcer.close()
                tg.cancel_scope.cancel()


class ArpAnnouncer:
    """Announces addresses on the devices that they are on.

    :param tasks: where the sockets are listened to; belongs to the instance.
    """

    def __init__(
        self,
        config: ArpConfig,
        devices: Devices,
        templates: Templates,
        tasks: TaskGroup,
        host: Host,
    ) -> None:
        self._config, self._devices, self._templates, self._tasks = config, devices, templates, tasks
        self._instance = host.instance
        self._announced: dict[IPAddress, _Announced] = {}
        self._segments = Segments(tasks, lambda device: Segment(device, config.rate, self._heard, host.keep_open))
        self._frames: dict[tuple[IPAddress, bytes, bool, str], tuple[bytes, ...]] = {}
        self._stop_listening = devices.listen(self._see)

    def close(self) -> None:
        """Close all sockets."""
        self._stop_listening()
        for segment in self._segments.values():
            segment.close()

    @asynccontextmanager
    async def prepare(self, vip: VirtualIP) -> AsyncGenerator[None]:
        """Open the socket, watch the address and build the frames, so that a takeover only sends finished bytes.

        :raises AnnounceError: when its device cannot be used for that.
        """
        device = await self._usable_device(vip)
        segment = self._segment(vip, device)
        try:
            is_router = vip.address.version == 6 and _is_forwarding(device.name)
            self._frames_for(vip, device.hardware_address, is_router=is_router)
            yield
        finally:
            segment.unwatch(vip.address)

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        """Announce the address while the body runs; see `kubevip.abc.Announcer`.

        There is no message that takes an announcement back: leaving it only ends the repeats.

        :raises AnnounceError: when its device cannot be used for that.
        """
        device = await self._usable_device(vip)
        announced = _Announced(
            vip=vip,
            tenure=tenure,
            report=report,
            segment=self._segment(vip, device),
            schedule=AnnouncementSchedule(
                self._config.count, self._config.interval, self._config.refresh, current_time()
            ),
            conflict=ConflictPolicy(may_defend=self._config.on_conflict is OnConflict.DEFEND),
        )
        self._announced[vip.address] = announced
        try:
            await self._send(announced)
            _logger.info("announced vip=%s address=%s device=%s", vip.name, vip.address, device.name)
            self._tasks.start_soon(self._repeat, announced)
            self._tell(announced)
            yield
        finally:
            announced.scope.cancel()
            announced.segment.unwatch(vip.address)
            if self._announced.get(vip.address) is announced:
                del self._announced[vip.address]

    async def _usable_device(self, vip: VirtualIP) -> Device:
        device = await self._devices.find(vip)
        if problem := device.unfit_for_arp:
            raise AnnounceError(f"virtual IP {vip.name}: {problem}; set its `interface`, or do not announce it by arp")
        return device

    async def _repeat(self, announced: _Announced) -> None:
        with announced.scope:
            while True:
                with move_on_at(announced.due_at()):
                    await announced.changed.wait()
                announced.changed = Event()
                await self._do_what_is_due(announced)

    async def _do_what_is_due(self, announced: _Announced) -> None:
        now = current_time()
        if announced.rival and now >= announced.conflict.settled_at:
            announced.rival = b""
        if now >= announced.tell_gone_at:
            announced.tell_gone_at = math.inf
            _logger.info("gone vip=%s address=%s: not announced meanwhile", announced.vip.name, announced.vip.address)
        if now >= announced.schedule.due_at and not announced.is_gone:
            await self._send(announced)
        self._tell(announced)

    async def _send(self, announced: _Announced) -> None:
        """Send the frames of one announcement, when the pace allows; none once the tenure is over."""
        vip, segment = announced.vip, announced.segment
        is_router = vip.address.version == 6 and _is_forwarding(segment.device.name)
        frames = self._frames_for(vip, segment.device.hardware_address, is_router=is_router)
        if (delay := segment.delay(len(frames))) > 0:
            await sleep(delay)
        if announced.is_gone:  # meanwhile; the schedule begins again when it is back
            return
        announced.trouble = ""
        for frame in frames:
            if announced.tenure.remaining_seconds <= 0:
                break
            try:
                segment.send(vip.address, frame)
            except OSError as error:
                if announced.trouble == "":
                    _logger.debug("not announced vip=%s device=%s: %s", vip.name, segment.device.name, error)
                announced.trouble = f"{vip.address} cannot be announced on {segment.device.name}: {error.strerror}"
        announced.schedule.sent(current_time())

    def _frames_for(self, vip: VirtualIP, hardware_address: bytes, *, is_router: bool) -> tuple[bytes, ...]:
        key = vip.address, hardware_address, is_router, vip.group
        if key not in self._frames:
            mark = mark_of(self._instance, vip.group)
            self._frames[key] = announcement(
                self._templates, vip.address, hardware_address, is_router=is_router, mark=mark
            )
        return self._frames[key]

    def _segment(self, vip: VirtualIP, device: Device) -> Segment:
        """Return the segment that a device leads to, opened, with the address watched."""
        try:
            segment = self._segments.opened(device)
            segment.watch(vip.address)
        except OSError as error:
            raise AnnounceError(
                f"virtual IP {vip.name}: no raw socket on {device.name}: {error.strerror} (CAP_NET_RAW is needed)"
            ) from error
        return segment

    def _heard(self, claim: Claim) -> None:
        """Take note of another machine that claims a held address (RFC 5227 2.4)."""
        announced = self._announced.get(claim.address)
        if announced is None or claim.is_probe or announced.tenure.remaining_seconds <= 0:
            return
        now = current_time()
        announced.rival = claim.hardware_address
        tell, defend = announced.conflict.saw(now)
        if tell:
            _logger.warning(
                "conflict vip=%s address=%s device=%s: %s claims it too",
                announced.vip.name,
                announced.vip.address,
                announced.segment.device.name,
                show(claim.hardware_address),
            )
        if defend:
            announced.schedule.restart(now)
        announced.changed.set()

    def _see(self, event: AddressEvent | LinkEvent | None) -> None:
        """Announce again what came back: a link, an address; or what has another hardware address now."""
        if isinstance(event, AddressEvent):
            announced = self._announced.get(event.address)
            if announced is not None and event.ifindex == announced.segment.device.index:
                self._look(announced)
            return
        for segment in tuple(self._segments.values()):
            led = segment.device
            if event is not None and event.ifindex != led.index and event.name != led.name:
                continue
            device = self._devices.device(led.index) or self._devices.device_named(led.name)
            if device is not None:
                self._follow(segment, device)
        for announced in self._announced.values():
            if announced.is_gone:
                self._look(announced)

    def _look(self, announced: _Announced) -> None:
        """See whether an address that was on its device still is, or is again."""
        if not self._devices.has(announced.segment.device.index, announced.vip.address):
            if not announced.is_gone:
                announced.is_gone, announced.tell_gone_at = True, current_time() + _GONE_SECONDS
                announced.changed.set()
        elif announced.is_gone or announced.trouble:
            announced.is_gone, announced.tell_gone_at = False, math.inf
            self._again(announced)

    def _follow(self, segment: Segment, device: Device) -> None:
        old = segment.device
        mine = [announced for announced in self._announced.values() if announced.segment is segment]
        if old.index == device.index:
            segment.device = device
        else:  # another device of that name
            for announced in mine:
                try:
                    announced.segment = self._segment(announced.vip, device)
                except AnnounceError as error:
                    announced.trouble = str(error)
        if device.trouble:
            return
        if old.trouble or old.hardware_address != device.hardware_address or old.index != device.index:
            for announced in mine:
                self._again(announced)

    def _again(self, announced: _Announced) -> None:
        announced.schedule.restart(current_time())
        announced.changed.set()

    def _tell(self, announced: _Announced) -> None:
        if announced.is_gone and announced.tell_gone_at == math.inf:
            reason = f"{announced.vip.address} is gone from its device"
            health = Health(level=Level.DEGRADED, reason=reason)
        elif announced.trouble:
            health = Health(level=Level.DEGRADED, reason=announced.trouble)
        elif announced.rival:
            # not a reason to leave: it would be claimed from the next node just the same
            reason = f"{announced.vip.address} is claimed by {show(announced.rival)} too"
            health = Health(level=Level.GOOD, reason=reason)
        else:
            health = Health()
        if health != announced.health:
            announced.health = health
            announced.report(health)


def _is_forwarding(device: str) -> bool:
    """Return whether the machine is an IPv6 router on that device: what an advertisement's Router flag must say."""
    try:
        return Path("/proc/sys/net/ipv6/conf", device, "forwarding").read_text(encoding="ascii").strip() != "0"
    except OSError:
        return False
