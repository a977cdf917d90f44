"""The fence of one instance: which groups it lets through, until when. Synchronous; runs in a thread of its own.

Guarantee: an element that counts never outlives the `valid_until` it was made for, whatever stops the process and for
how long; `_fence_tables` says how. Not guaranteed: that it lives until then. It ends early by up to `MARGIN_SECONDS`.
When somebody removes the tables nothing is fenced until `check` or the next renewal has put them back.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from kubevip_announce_arp._fence_tables import FAMILIES, FenceTables, Key, base_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kubevip_announce_arp._nftables import Change
    from kubevip_announce_arp._nftables_socket import NftablesSocket

#: One jiffy of the kernel in seconds: 1, 4 or 10 ms. Lifetimes are counted in it.
TICK_SECONDS = time.clock_getres(6)  # CLOCK_MONOTONIC_COARSE, which the time module does not name
#: How much earlier than asked an element ends: the kernel's rounding, and room for a commit that takes its time.
MARGIN_SECONDS = 2 * TICK_SECONDS + 0.002
#: No element lives longer, so that a tenure without an end is renewed as well.
LONGEST_SECONDS = 5.0
_SHORTEST_SECONDS = 2 * TICK_SECONDS  # kernels before 6.12 take less than a tick for "without end"
_TRIES = 3
_PROBE = "probe"
_PROBE_SECONDS = (0.022, 0.1, 0.5, 2.0)


@define
class _FencedGroup:
    """A group: its number, its addresses, the slot that counts (None: closed), the slots that may have an element.

    `is_settled` is false while it is not known what the kernel made of the last switch.
    """

    number: int
    addresses: set[bytes] = field(factory=set[bytes])
    slot: int | None = None
    dirty: set[int] = field(factory=set[int])
    is_settled: bool = True

    @property
    def spare(self) -> int:
        """The slot that does not count."""
        return 0 if self.slot is None else self.slot ^ 1

    @property
    def spare_key(self) -> Key:
        """The key that does not count."""
        return self.number, self.spare


@frozen(kw_only=True)
class Renewal:
    """Which groups are open after a renewal, and which of them had run out before it reached the kernel."""

    opened: frozenset[str]
    lapsed: frozenset[str] = frozenset()


class FenceError(Exception):
    """The kernel does not do what a fence needs."""


class Fence:
    """The fence of one instance of kubevip. Groups and addresses are closed until they are renewed.

    :param clock: a reading in seconds of the clock that `valid_until` is given in; time.monotonic but in tests.
    """

    def __init__(
        self, tables: FenceTables, netlink: NftablesSocket, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tables, self._netlink, self._clock = tables, netlink, clock
        self._groups: dict[str, _FencedGroup] = {}
        self._generation = 0
        self.installs = 0
        """How often the tables were put in place; grows when somebody removed them."""

    def install(self) -> None:
        """Replace the tables by new ones with all known groups and addresses, all closed, in one transaction.

        :raises OSError: when the kernel refuses.
        """
        changes = self._tables.install()
        for group in self._groups.values():
            changes += self._tables.add_group(group.number)
        members = [(group.number, packed) for group in self._groups.values() for packed in group.addresses]
        changes += self._tables.add_addresses(members)
        generation = self._netlink.generation() - self._netlink.commits
        self._netlink.commit(changes)
        self._generation = generation  # read before, so that a change in between is not overlooked
        for group in self._groups.values():
            group.slot, group.is_settled = None, True
            group.dirty.clear()
        self.installs += 1

    def probe(self, sleep: Callable[[float], None] = time.sleep) -> None:  # noqa: TID251 at start, in its own thread
        """Open a dummy group, let it run out, and see the kernel refuse to renew it.

        :raises FenceError: when the kernel renews it all the same.
        :raises OSError: when the kernel lacks something.
        """
        self.add([(_PROBE, b"")])
        group = self._groups[_PROBE]
        for seconds in _PROBE_SECONDS:  # on a busy machine a short one may be over before it is open
            if _PROBE in self.renew({_PROBE: self._clock() + seconds + MARGIN_SECONDS}).opened:
                break
        else:
            raise FenceError("an element of a timed set cannot be renewed")
        sleep(seconds + 3 * TICK_SECONDS + 0.01)
        self._begin({_PROBE: 1000})
        try:
            self._netlink.commit(self._tables.switch([group.spare_key], [(group.number, group.spare ^ 1)]))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        else:
            raise FenceError("an element of a timed set does not run out")
        finally:
            self._close([_PROBE])
            self._groups.clear()

    def add(self, members: Iterable[tuple[str, bytes]]) -> None:
        """Fence addresses (4 or 16 bytes; empty: none yet), each with a group. Nothing passes until it is renewed.

        :raises OSError: when the kernel refuses.
        """
        changes: list[Change] = []
        new: list[tuple[int, bytes]] = []
        for name, packed in members:
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = _FencedGroup(number=len(self._groups))
                changes += self._tables.add_group(group.number)
            if packed and packed not in group.addresses:
                group.addresses.add(packed)
                new.append((group.number, packed))
        changes += self._tables.add_addresses(new)
        if changes:
            self._commit_or_install(changes)

    def discard(self, members: Iterable[tuple[str, bytes]]) -> None:
        """Take addresses out of the fence, because they are no longer on this machine.

        :raises OSError: when the kernel refuses.
        """
        old: list[tuple[int, bytes]] = []
        for name, packed in members:
            group = self._groups.get(name)
            if group is not None and packed in group.addresses:
                group.addresses.discard(packed)
                old.append((group.number, packed))
        if old:
            self._commit_or_install(self._tables.remove_addresses(old))

    def renew(self, until: Mapping[str, float]) -> Renewal:
        """Let each group through until its time; a time that is too near, or past, closes it.

        :param until: the time for each group by name; unknown groups are ignored.
        :raises OSError: when the kernel refuses for another reason than that something ran out or is gone.
        """
        names = [name for name in until if name in self._groups]
        opened: set[str] = set()
        lapsed: set[str] = set()
        slack = 0.0
        for _ in range(_TRIES):
            self._close(name for name in names if not self._groups[name].is_settled)
            began = self._clock()
            left = {name: until[name] - began - slack for name in names if name not in opened}
            lifetimes = {name: ms for name, seconds in left.items() if (ms := _lifetime_ms(seconds))}
            if not lifetimes:
                break
            if not self._begin(lifetimes):
                continue
            now = self._clock()  # what began lives at most from now for its lifetime; a tick for the kernel's rounding
            slack = 2 * (now - began)  # should this have taken too long, the next try expects it
            sound = [name for name, ms in lifetimes.items() if now + ms / 1000 + TICK_SECONDS <= until[name]]
            switched = self._switch(sound)
            opened.update(switched)
            lapsed.update(name for name in sound if name not in switched)
        self._close(name for name in names if name not in opened and self._groups[name].slot is not None)
        return Renewal(opened=frozenset(opened), lapsed=frozenset(lapsed))

    def close(self, names: Iterable[str]) -> None:
        """Let nothing through for these groups any more.

        :raises OSError: when the kernel refuses.
        """
        self._close(name for name in names if name in self._groups)

    def check(self) -> None:
        """Put the tables back, closed, if somebody removed or emptied them. Cheap otherwise.

        :raises OSError: when the kernel refuses.
        """
        generation = self._netlink.generation() - self._netlink.commits
        if generation == self._generation:
            return  # nobody but this process changed any rule
        if self._is_whole():
            self._generation = generation
        else:
            self.install()

    def remove(self) -> None:
        """Remove the tables.

        :raises OSError: when the kernel refuses.
        """
        self._netlink.commit(self._tables.remove())

    def fileno(self) -> int:
        """Return the descriptor of its socket."""
        return self._netlink.fileno()

    def close_socket(self) -> None:
        """Let go of the kernel; the tables stay."""
        self._netlink.close()

    def _begin(self, lifetimes: Mapping[str, int]) -> bool:
        """Let the spare keys live; return False if the tables had to be put back instead."""
        groups = {self._groups[name].spare_key: self._groups[name] for name in lifetimes}
        dirty = [key for key, group in groups.items() if group.spare in group.dirty]
        for group in groups.values():
            group.dirty.add(group.spare)
        changes = self._tables.begin(dict(zip(groups, lifetimes.values(), strict=True)))
        return self._commit_or_install(self._tables.discard(dirty) + changes if dirty else changes)

    def _switch(self, names: list[str]) -> list[str]:
        """Make the spare keys count; return whose did. One transaction for all, singly where one of them ran out."""
        if not names:
            return []
        groups = [self._groups[name] for name in names]
        counting = [(group.number, group.slot) for group in groups if group.slot is not None]
        for group in groups:
            group.is_settled = False
        try:
            self._netlink.commit(self._tables.switch([group.spare_key for group in groups], counting))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            for group in groups:
                group.is_settled = True
            if not self._is_whole():
                self.install()
                return []
            if len(names) > 1:
                return [done for name in names for done in self._switch([name])]
            self._close(names)
            return []
        for group in groups:
            if group.slot is not None:
                group.dirty.discard(group.slot)
            group.slot, group.is_settled = group.spare, True
        return names

    def _close(self, names: Iterable[str]) -> None:
        groups = [self._groups[name] for name in names]
        if groups and self._commit_or_install(self._tables.close(group.number for group in groups)):
            for group in groups:
                group.slot, group.is_settled = None, True

    def _commit_or_install(self, changes: list[Change]) -> bool:
        """Commit; where the tables are gone put all of them back, closed, and return False."""
        try:
            self._netlink.commit(changes)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EEXIST) or self._is_whole():
                raise
            self.install()
            return False
        return True

    def _is_whole(self) -> bool:
        return all(
            self._netlink.rules_in_chain(family, self._tables.name, chain) == count
            for family in FAMILIES
            for chain, count in base_rules(family).items()
        )


def _lifetime_ms(seconds: float) -> int:
    """Return for how long an element may live when so much is left; 0 when it is not worth it."""
    seconds = min(seconds - MARGIN_SECONDS, LONGEST_SECONDS)
    return int(seconds * 1000) if seconds >= _SHORTEST_SECONDS else 0
