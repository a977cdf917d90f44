"""Which addresses belong together: those that an object has in common, and so all objects that share any of them.

Pure. Such a part of what is wanted depends on no other part, and is handed on by itself; nearly always it is one
Service with its address. A change costs its part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip import Desired, PersistentMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kubevip import IPAddress


class Parts:
    """The parts, by their first address, in `now`.

    :param neighbours: returns the addresses that an address has an object in common with, perhaps itself among them.
    :param desired: returns what is wanted of addresses that belong together; of those that nobody has, nothing.
    """

    def __init__(
        self,
        neighbours: Callable[[IPAddress], Iterable[IPAddress]],
        desired: Callable[[tuple[IPAddress, ...]], Desired],
    ) -> None:
        self.now: PersistentMap[str, Desired] = PersistentMap()
        self.with_groups = 0
        """How many of them have a group of their own."""
        self._neighbours, self._desired = neighbours, desired
        self._loose: dict[IPAddress, None] = {}
        self._together: dict[IPAddress, tuple[IPAddress, ...]] = {}

    def touch(self, addresses: Iterable[IPAddress]) -> None:
        """Put together anew what these addresses are parts of."""
        self._loose.update(dict.fromkeys(addresses))

    def work(self, most: int) -> bool:
        """Put up to `most` parts together anew; return whether there is more to do."""
        for _ in range(most):
            if not self._loose:
                return False
            self._rebuild(next(iter(self._loose)))
        return bool(self._loose)

    def _rebuild(self, address: IPAddress) -> None:
        found = {address}
        waiting = [address]
        while waiting:
            new = found.symmetric_difference({*found, *self._neighbours(waiting.pop())})
            found |= new
            waiting += new
        before = {each for one in found for each in self._together.get(one, ())}
        for each in before | found:
            self._together.pop(each, None)
            self._loose.pop(each, None)
        self.touch(_in_order(before - found))  # what was together with them stands for itself now
        addresses = tuple(_in_order(found))
        desired = self._desired(addresses)
        name = str(addresses[0])
        for each in before | found:
            if str(each) != name:
                self._set(str(each), None)
        self._set(name, desired if desired.vips else None)
        if desired.vips:
            self._together.update(dict.fromkeys(addresses, addresses))

    def _set(self, name: str, desired: Desired | None) -> None:
        before = self.now.get(name)
        if desired == before:
            return
        self.with_groups += bool(desired is not None and desired.groups) - bool(before is not None and before.groups)
        self.now = self.now.without(name) if desired is None else self.now.with_item(name, desired)


def _in_order(addresses: Iterable[IPAddress]) -> list[IPAddress]:
    return sorted(addresses, key=lambda each: (each.version, int(each)))
