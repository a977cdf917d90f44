"""The devices and addresses of this machine, kept up to date by what the kernel tells."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread, wait_readable
from anyio.lowlevel import checkpoint

from kubevip import Interface, Machine
from kubevip.errors import AnnounceError
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._inventory import read_default_devices, read_devices
from kubevip_announce_arp._rtnetlink import AddressEvent, LinkEvent, events
from kubevip_announce_arp._rtnetlink_socket import open_event_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubevip import IPAddress, VirtualIP

_READS = 64  # messages in a row before others get a turn

_MASTERS_THAT_ANSWER = ("bridge", "bond", "team")  # a member of one has no traffic of its own


class Devices:
    """What the kernel said last of devices and addresses. Event-loop thread only, but for `read`.

    Every event is handed to those who listen when it was taken in, and all that came with it; None stands for "anything
    may have changed".
    """

    def __init__(self) -> None:
        self._links: dict[int, Device] = {}
        self._addresses: dict[IPAddress, dict[tuple[int, int], AddressEvent]] = {}  # by device and prefix length
        self._defaults = ("", "")
        self._machine: Machine | None = None  # made when asked for, forgotten when a device or subnet changes
        self._listeners: set[Callable[[AddressEvent | LinkEvent | None], None]] = set()
        self._limiter = CapacityLimiter(1)
        self._told: socket.socket | None = None

    async def open(self) -> None:
        """Begin to listen to the kernel, then read how things are.

        :raises AnnounceError: where netlink does not work.
        """
        try:
            self._told = open_event_socket()  # first, so that nothing is missed while reading
            await self._read()
        except OSError as error:
            raise AnnounceError(f"the devices of this machine cannot be read: {error.strerror}") from error

    def close(self) -> None:
        """Close the socket."""
        if self._told is not None:
            self._told.close()

    async def run(self) -> None:
        """Take in what the kernel tells, until cancelled."""
        assert self._told is not None, "open() comes first"
        while True:
            await wait_readable(self._told)
            # What this process asked the kernel for is answered and told of in the same moment: whoever waits for the
            # answer, in a takeover, goes first.
            await checkpoint()
            told = self._receive(self._told)
            if told is None:
                await self._read()  # more was told than the socket could hold
                self._tell(None)
                continue
            for event in told:  # all of them first: an older one is not to be judged by what a newer one has ended
                self.take(event)
            for event in told:
                self._tell(event)

    def listen(self, listener: Callable[[AddressEvent | LinkEvent | None], None]) -> Callable[[], None]:
        """Call `listener` for every event; return how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def take(self, event: AddressEvent | LinkEvent) -> None:
        """Take in one event."""
        if not isinstance(event, AddressEvent) or event.prefix_length < event.address.max_prefixlen:
            self._machine, self._defaults = None, ("", "")
        if isinstance(event, AddressEvent):
            self._take_address(event)
        elif event.is_gone:
            self._links.pop(event.ifindex, None)
            for entry in [entry for entry in self._all_addresses() if entry.ifindex == event.ifindex]:
                self._take_address(entry._replace(is_gone=True))
        else:
            self._links[event.ifindex] = _device(event)

    def device(self, index: int) -> Device | None:
        """Return the device of that index."""
        return self._links.get(index)

    def device_named(self, name: str) -> Device | None:
        """Return the device of that name."""
        return next((device for device in self._links.values() if device.name == name), None)

    def where(self, address: IPAddress) -> tuple[AddressEvent, ...]:
        """Return all places where the machine has `address`."""
        return tuple(self._addresses.get(address, {}).values())

    def has(self, index: int, address: IPAddress) -> bool:
        """Return whether `address` is on the device of that index, as a host address."""
        return (index, address.max_prefixlen) in self._addresses.get(address, {})

    def machine(self) -> Machine:
        """Return the devices with their subnets as a value; host addresses, which may be many, are left out."""
        if self._machine is None:
            found: dict[int, list[IPv4Interface | IPv6Interface]] = {index: [] for index in self._links}
            for entry in self._all_addresses():
                if entry.ifindex in found and entry.prefix_length < entry.address.max_prefixlen:
                    found[entry.ifindex].append(ip_interface(f"{entry.address}/{entry.prefix_length}"))
            self._machine = Machine(
                host_name=socket.gethostname(),
                interfaces=tuple(
                    Interface(name=device.name, addresses=tuple(found[index]), is_up=device.is_up)
                    for index, device in self._links.items()
                ),
                default_device4=self._defaults[0],
                default_device6=self._defaults[1],
            )
        return self._machine

    async def find(self, vip: VirtualIP) -> Device:
        """Return the device that a virtual IP belongs on.

        :raises AnnounceError: when there is none, it is a member of a bridge or bond, or the address is a subnet's
            broadcast address.
        """
        if broadcasts := self.machine().broadcast_on(vip.address):
            raise AnnounceError(
                f"virtual IP {vip.name}: {vip.address} is the broadcast address of the subnet of {broadcasts}; choose "
                "another one"
            )
        name = self.machine().device_for(vip.address, vip.interface)
        if not name and vip.interface == "auto":  # read only where needed: routes can be many, and come and go
            self._defaults = await to_thread.run_sync(read_default_devices, limiter=self._limiter)
            self._machine = None
            name = self.machine().device_for(vip.address)
        device = self.device_named(name) if name else None
        if device is None:
            if vip.interface == "auto":
                raise AnnounceError(
                    f"virtual IP {vip.name}: no device has a subnet that holds {vip.address}, and there is no default "
                    f"route; set its `interface`"
                )
            raise AnnounceError(f"virtual IP {vip.name}: this machine has no device {vip.interface}")
        master = self._links.get(device.master)
        if master is not None and master.kind in _MASTERS_THAT_ANSWER:
            raise AnnounceError(
                f"virtual IP {vip.name}: {device.name} is a member of the {master.kind} {master.name}; set its "
                f"`interface` to {master.name}"
            )
        return device

    @staticmethod
    def _receive(told: socket.socket) -> list[AddressEvent | LinkEvent] | None:
        """Return what the kernel told, a turn's worth at most; None if some of it is lost."""
        received: list[AddressEvent | LinkEvent] = []
        for _ in range(_READS):
            try:
                received += events(told.recv(1 << 16))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return None
        return received

    def _tell(self, event: AddressEvent | LinkEvent | None) -> None:
        for listener in tuple(self._listeners):
            listener(event)

    async def _read(self) -> None:
        links, addresses = await to_thread.run_sync(read_devices, limiter=self._limiter)
        self._links = {link.ifindex: _device(link) for link in links}
        self._addresses = {}
        for entry in addresses:
            self._take_address(entry)
        self._machine, self._defaults = None, ("", "")

    def _take_address(self, event: AddressEvent) -> None:
        entries = self._addresses.setdefault(event.address, {})
        if event.is_gone:
            entries.pop((event.ifindex, event.prefix_length), None)
        else:
            entries[event.ifindex, event.prefix_length] = event
        if not entries:
            del self._addresses[event.address]

    def _all_addresses(self) -> Iterator[AddressEvent]:
        for entries in self._addresses.values():
            yield from entries.values()


def _device(event: LinkEvent) -> Device:
    return Device(
        index=event.ifindex,
        name=event.name,
        hardware_address=event.hardware_address,
        flags=event.flags,
        hardware_type=event.hardware_type,
        master=event.master,
        kind=event.kind,
    )
