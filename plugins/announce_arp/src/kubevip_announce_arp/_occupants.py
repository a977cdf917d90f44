"""Who on this machine has an address already: the machine itself, another program, another instance of kubevip.

What somebody else has is neither fenced nor raised here: the fence would silence it. The same holds for an address
that somebody gets later, while it is only stood by for: nobody on this machine is to be cut off by kubevip, and that
two machines have an address which a human or another program gave them is theirs to know.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, CapacityLimiter, Lock, to_thread
from attrs import define

from kubevip.errors import AnnounceError
from kubevip_announce_arp._rtnetlink import AddressEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

    from kubevip import IPAddress, VirtualIP
    from kubevip_announce_arp._belongings import Belongings
    from kubevip_announce_arp._devices import Devices
    from kubevip_announce_arp._other_instances import OtherInstances
    from kubevip_announce_arp._rtnetlink import LinkEvent


@define(eq=False)
class _Wanted:
    """A virtual IP that is fenced or raised here as long as nobody else has its address."""

    vip: VirtualIP
    scope: CancelScope
    refusal: AnnounceError | None = None


@define(eq=False)
class _Question:
    """Which other instance has an address; "" for none, None while it is not known."""

    address: IPAddress
    instance: str | None = None


class Occupants:
    """Refuses virtual IPs that are somebody else's on this machine, now or later. In the event-loop thread only.

    :param look: tells which other instances there are, and which have one of the addresses it is given; may block.
    """

    def __init__(
        self,
        devices: Devices,
        belongings: Belongings,
        look: Callable[[Collection[IPAddress]], OtherInstances],
    ) -> None:
        self._devices, self._belongings, self._look = devices, belongings, look
        self._wanted: dict[IPAddress, list[_Wanted]] = {}
        self._questions: list[_Question] = []
        self._limiter, self._looking = CapacityLimiter(1), Lock()
        self.has_neighbours = False
        """Whether there was another instance on this machine when it was looked at last."""

    def refuse_on_devices(self, vip: VirtualIP) -> None:
        """Refuse a virtual IP that is on a device of this machine, unless this instance put it there.

        :raises AnnounceError: naming the device and the remedy.
        """
        for entry in self._devices.where(vip.address):
            if self._belongings.owns(entry):
                continue
            device = self._devices.device(entry.ifindex)
            name = device.name if device is not None else f"device {entry.ifindex}"
            is_machines = entry.is_permanent or entry.prefix_length < vip.address.max_prefixlen
            whose = "as an address of this machine" if is_machines else "put there by another program"
            raise AnnounceError(
                f"virtual IP {vip.name}: {vip.address} is already on {name}, {whose}; remove it there, or choose "
                "another virtual IP"
            )

    async def refuse_of_instances(self, vip: VirtualIP) -> None:
        """Refuse a virtual IP that another instance on this machine holds or stands by for.

        :raises AnnounceError: naming the instance and the remedy.
        """
        question = _Question(vip.address)
        self._questions.append(question)
        try:
            async with self._looking:
                if question.instance is None:  # else whoever was here before asked for all that waited
                    asked = tuple(self._questions)
                    addresses = {each.address for each in asked}
                    found = await to_thread.run_sync(self._look, addresses, limiter=self._limiter)
                    for each in asked:
                        each.instance = found.having.get(each.address, "")
                    self.has_neighbours = bool(found.names)
        finally:
            self._questions.remove(question)
        if question.instance:
            raise AnnounceError(
                f"virtual IP {vip.name}: {vip.address} is a virtual IP of instance {question.instance!r} on this "
                "machine; take it out of the configuration of one of them. Should that instance run no more: `kubevip "
                f"cleanup --instance {question.instance}`"
            )

    @asynccontextmanager
    async def give_way(self, vip: VirtualIP) -> AsyncGenerator[None]:
        """Run the body unless somebody else on this machine has the address; cancel it when somebody gets it.

        :raises AnnounceError: then; naming who has it, and the remedy.
        """
        wanted = _Wanted(vip, CancelScope())
        self._wanted.setdefault(vip.address, []).append(wanted)  # first, so that nothing is missed while asking
        try:
            with wanted.scope:
                await self.refuse_of_instances(vip)
                self.refuse_on_devices(vip)
                yield
        finally:
            self._wanted[vip.address].remove(wanted)
            if not self._wanted[vip.address]:
                del self._wanted[vip.address]
        if wanted.scope.cancelled_caught and wanted.refusal is not None:
            raise wanted.refusal

    def see(self, event: AddressEvent | LinkEvent | None) -> None:
        """Take note of what the kernel told of addresses, after `Devices` did; None: anything may have changed."""
        if event is None:
            for address in self._wanted:
                self._see_on_devices(address)
        elif isinstance(event, AddressEvent) and not event.is_gone and event.address in self._wanted:
            self._see_on_devices(event.address)

    def _see_on_devices(self, address: IPAddress) -> None:
        for wanted in self._wanted[address]:
            try:
                self.refuse_on_devices(wanted.vip)
            except AnnounceError as error:
                if wanted.refusal is None:
                    wanted.refusal = error
                    wanted.scope.cancel()
