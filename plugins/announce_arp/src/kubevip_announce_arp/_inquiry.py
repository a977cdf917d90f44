"""Asking the network whether somebody has an address, before it is claimed for the first time (RFC 5227 2.1).

It is the first time until a member of the group has announced the address: this node, as its record says, or another
one, whose announcements bear the mark of the group and are heard by all who stand by. Which node claims it, and in
which term, says nothing: whoever led before may have been refused. So an ordinary takeover asks nothing and waits for
nothing; and a holder that is dead, and whose machine still answers, is not in its way.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, CapacityLimiter, Event, move_on_after, sleep, to_thread
from attrs import define, field

from kubevip.errors import AnnounceError
from kubevip_announce_arp import _records as records
from kubevip_announce_arp._frames import Claim, mark_of, question, show
from kubevip_announce_arp._segment import Segment, Segments
from kubevip_announce_arp._templates import load_templates

if TYPE_CHECKING:
    from collections.abc import Generator

    from anyio.abc import TaskGroup

    from kubevip import Host, IPAddress, VirtualIP
    from kubevip_announce_arp._config import AddressConfig
    from kubevip_announce_arp._device import Device

_logger = logging.getLogger("kubevip.address")

_RATE_HZ = 2000  # of questions, when many addresses are claimed at once


@define(eq=False)
class _Asked:
    """An address that is asked for, and who claims it."""

    claim: Claim | None = None
    answered: Event = field(factory=Event)


class Inquiry:
    """Knows which addresses were announced before, and asks for others. In the event-loop thread only.

    :param tasks: where the sockets are listened to; belongs to the instance.
    :param known: the addresses that were announced at some time, as the record has them.
    """

    def __init__(self, config: AddressConfig, host: Host, tasks: TaskGroup, known: frozenset[str]) -> None:
        self._count, self._wait_seconds = config.probes, float(config.probe_interval)
        self._host, self._known = host, set(known)
        self._segments = Segments(
            tasks, lambda device: Segment(device, _RATE_HZ, self._heard, host.keep_open, with_marked=True)
        )
        self._followed: dict[IPAddress, Counter[bytes]] = {}  # the marks by which members are known
        self._asked: dict[IPAddress, _Asked] = {}
        self._changed, self._limiter = Event(), CapacityLimiter(1)
        self._is_recorded = True

    def note(self, address: IPAddress) -> None:
        """Take note that a member of the group has announced an address."""
        if str(address) not in self._known:
            self._known.add(str(address))
            self._is_recorded = False
            self._changed.set()

    @contextmanager
    def following(self, vip: VirtualIP, device: Device) -> Generator[None]:
        """Hear while the body runs whether another member of the group announces the address."""
        mark = mark_of(self._host.instance, vip.group)
        marks = self._followed.setdefault(vip.address, Counter())
        marks[mark] += 1
        if not device.unfit_for_arp:
            try:
                self._segments.opened(device)
            except OSError as error:  # asking says so, should it come to that
                _logger.debug("device=%s: no raw socket: %s", device.name, error)
        try:
            yield
        finally:
            marks[mark] -= 1
            if not +marks:
                self._followed.pop(vip.address, None)

    async def ask(self, vip: VirtualIP, device: Device) -> None:
        """Ask whether anybody has an address that was not announced before; takes (probes + 1) x probeInterval.

        :raises AnnounceError: when somebody has it, or wants it at the same time; names his hardware address.
        """
        if self._count == 0 or str(vip.address) in self._known or device.trouble or device.unfit_for_arp:
            return
        frame = question(await to_thread.run_sync(load_templates), vip.address, device.hardware_address)
        asked = self._asked[vip.address] = _Asked()
        try:
            segment = self._segments.opened(device)
            segment.watch(vip.address)
            try:
                for _ in range(self._count):
                    await sleep(max(0.0, segment.delay(1)))
                    segment.send(vip.address, frame)
                    await self._listen(asked, vip, device)
                await self._listen(asked, vip, device)
            finally:
                segment.unwatch(vip.address)
        except OSError as error:
            remedy = " (CAP_NET_RAW is needed)" if error.errno == errno.EPERM else ""
            raise AnnounceError(
                f"virtual IP {vip.name}: {device.name} cannot be asked whether {vip.address} is free: "
                f"{error.strerror}{remedy}"
            ) from error
        finally:
            if self._asked.get(vip.address) is asked:
                del self._asked[vip.address]
        _logger.info(
            "free vip=%s address=%s device=%s: nobody answered %d probes",
            vip.name,
            vip.address,
            device.name,
            self._count,
        )

    async def run(self) -> None:
        """Record what is known, until cancelled; leaves everything recorded."""
        try:
            while True:
                await self._changed.wait()
                await self._record()
        finally:
            with CancelScope(shield=True):  # bounded: one small file
                await self._record()

    async def _record(self) -> None:
        if self._is_recorded:
            return
        self._changed, self._is_recorded = Event(), True
        try:
            known = frozenset(self._known)
            await to_thread.run_sync(records.write_announced, self._host.state_dir, known, limiter=self._limiter)
        except OSError as error:  # the next first claim asks once more
            _logger.warning("record=%s cannot be written: %s", error.filename, error.strerror)

    async def _listen(self, asked: _Asked, vip: VirtualIP, device: Device) -> None:
        with move_on_after(self._wait_seconds):
            await asked.answered.wait()
        if asked.claim is not None:
            raise AnnounceError(
                f"virtual IP {vip.name}: {vip.address} is in use on the network of {device.name} by "
                f"{show(asked.claim.hardware_address)}; free it there, or choose another virtual IP"
            )

    def _heard(self, claim: Claim) -> None:
        asked = self._asked.get(claim.address)
        if asked is not None:  # who asks leads the group, so nobody of it has the address
            asked.claim = claim
            asked.answered.set()
        elif not claim.is_probe and claim.mark in self._followed.get(claim.address, ()):
            self.note(claim.address)
