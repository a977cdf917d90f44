"""What an instance has on this machine: what its record names, so that a leftover is known, and what its will is about.

The record comes before an address is put up, and stays: what it does not name is never taken for a leftover. The will
follows what may be up now, as the machine or another program may have an address once it was taken off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CapacityLimiter, Lock, to_thread

from kubevip_announce_arp import _will
from kubevip_announce_arp._records import Ownership, write_owned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from kubevip import Host, IPAddress
    from kubevip_announce_arp._kernel import Place
    from kubevip_announce_arp._rtnetlink import AddressEvent


class Belongings:
    """The addresses of one instance. In the event-loop thread only.

    :param table: the name of the fence's tables; "" without a fence.
    """

    def __init__(self, host: Host, table: str) -> None:
        self._host, self._table = host, table
        self._limiter, self._recording = CapacityLimiter(1), Lock()
        self._owned: frozenset[Ownership] = frozenset()
        self._willed: dict[IPAddress, int] = {}
        self._places: dict[IPAddress, frozenset[int]] = {}

    def owns(self, entry: AddressEvent) -> bool:
        """Whether this process put an address where the kernel says that it is.

        It may have been taken off again: of that there may be news that was not read yet. While it is up it is ours
        also when somebody made it one without an end, since the next renewal takes that back.
        """
        if entry.prefix_length < entry.address.max_prefixlen:
            return False
        if self._willed.get(entry.address) == entry.ifindex:
            return True
        return not entry.is_permanent and entry.ifindex in self._places.get(entry.address, ())

    async def record(self, address: IPAddress, device: str) -> None:
        """Record that this instance is to own an address.

        Several are recorded at once, and each record replaces the one before: so each holds all that came until then.

        :raises OSError: when it cannot be written.
        """
        new = Ownership(str(address), device)
        if new in self._owned:
            return
        self._owned |= {new}
        try:
            async with self._recording:
                await to_thread.run_sync(write_owned, self._host.state_dir, self._owned, limiter=self._limiter)
        except BaseException:
            self._owned -= {new}
            raise

    def add(self, places: Iterable[Place]) -> frozenset[Ownership] | None:
        """Take note of what is to be put up, in the will; return what has to be recorded before, None for nothing."""
        placed = {place.address: place for place in places}
        if not placed:
            return None
        indexes = {address: place.index for address, place in placed.items()}
        for address, index in indexes.items():
            self._places[address] = self._places.get(address, frozenset()) | {index}
        self._leave_will(self._willed | indexes)
        owned = self._owned | {Ownership(str(place.address), place.device) for place in placed.values()}
        if owned == self._owned:
            return None
        self._owned = owned
        return owned

    def remove(self, lowered: Iterable[IPAddress], held: Collection[IPAddress]) -> None:
        """Take what the kernel took off out of the will, but for what is held again."""
        gone = set(lowered).difference(held)
        self._leave_will({address: index for address, index in self._willed.items() if address not in gone})

    def _leave_will(self, addresses: Mapping[IPAddress, int]) -> None:
        if addresses != self._willed:
            self._willed = dict(addresses)
            will = _will.make(self._table, {str(address): index for address, index in addresses.items()})
            self._host.will(_will.ORDER, _will.FUNCTION, will)
