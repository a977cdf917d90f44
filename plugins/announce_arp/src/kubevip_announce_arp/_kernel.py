"""What `address` does to the kernel, as work that a thread carries out in one go.

Everything that may wait in the kernel is here: a transaction waits while another program loads its rules (500 ms were
seen), an address waits for whoever changes a device. So none of it runs on the event loop.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from kubevip import IPAddress
from kubevip_announce_arp import _records as records
from kubevip_announce_arp._rtnetlink_socket import MESSAGES_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kubevip_announce_arp._fence import Fence
    from kubevip_announce_arp._rtnetlink_socket import AddressSocket

_logger = logging.getLogger("kubevip.address")


@frozen(kw_only=True)
class Place:
    """Where an address is to be: the device (index and name), and the group that it goes with."""

    address: IPAddress
    group: str
    index: int
    device: str


#: Why an address is not put up that may be the next time, if it is still to be: it took too long.
OVER, SHUT = "the leadership ended meanwhile", "the fence did not open in time"
#: An address as the fence knows it: its group and its bytes.
Guarded = tuple[str, bytes]


@frozen(kw_only=True)
class Work:
    """What to do, in this order. Times are readings of time.monotonic()."""

    close: frozenset[str] = frozenset()
    """Groups that may no longer pass the fence."""
    guard: tuple[Guarded, ...] = ()
    """Addresses to fence, whether they are up or not, until they are in `unguard`."""
    unguard: tuple[Guarded, ...] = ()
    """Addresses that need no fence any more, because they will not be put up here."""
    lower: tuple[Place, ...] = ()
    """Addresses to take off."""
    owned: frozenset[records.Ownership] | None = None
    """What to record before an address is put up; None: nothing new."""
    until: Mapping[str, float] = field(factory=dict[str, float])
    """Until when each group that is held may pass, whether it is to be renewed now or not."""
    renew: frozenset[str] = frozenset()
    """Groups to renew in the fence now."""
    put: tuple[Place, ...] = ()
    """Addresses to put up. One that this process had put there before is only renewed."""
    refresh: tuple[Place, ...] = ()
    """Addresses whose lifetime is to be renewed."""
    check: bool = False
    """Whether to see to it that nobody removed the fence."""

    def __bool__(self) -> bool:
        return bool(
            self.close
            or self.guard
            or self.unguard
            or self.lower
            or self.renew
            or self.put
            or self.refresh
            or self.check
        )


@frozen(kw_only=True)
class Outcome:
    """What became of it. Errors are texts, by address."""

    failed: Mapping[IPAddress, str] = field(factory=dict[IPAddress, str])
    still_up: Mapping[IPAddress, str] = field(factory=dict[IPAddress, str])
    """Addresses that could not be taken off, and why."""
    opened: frozenset[str] = frozenset()
    """Groups among the renewed ones that pass now."""
    lapsed: frozenset[str] = frozenset()
    """Groups that were silent for a while, because their renewal came late."""
    was_removed: bool = False
    """Whether somebody had removed the fence; it is back."""
    fence_error: str = ""


class Kernel:
    """Carries out work. One thread at a time.

    :param fence: None: there is none.
    """

    def __init__(self, addresses: AddressSocket, fence: Fence | None, lifetime_seconds: int, state_dir: Path) -> None:
        self._addresses, self._fence, self._lifetime, self._state_dir = addresses, fence, lifetime_seconds, state_dir
        self._known: dict[tuple[IPAddress, int], Place] = {}  # put up by this process and not taken off since
        self._lives_until: dict[tuple[IPAddress, int], float] = {}  # for those, by time.monotonic()
        self._oddly_routed: set[Place] = set()
        self._guarded: set[Guarded] = set()  # fenced also while they are not up

    def carry_out(self, work: Work) -> Outcome:
        """Carry out `work`; never raises for what the kernel refuses."""
        failed: dict[IPAddress, str] = {}
        fence_errors: list[str] = []
        fence, installs = self._fence, 0
        opened, lapsed = frozenset(work.renew), frozenset[str]()
        if fence is not None:
            installs = fence.installs
            try:
                if work.close:
                    fence.close(work.close)
            except OSError as error:
                fence_errors.append(f"the fence cannot be closed: {error.strerror}")
        still_up = self._lower(work.lower)
        if fence is not None and (work.guard or work.unguard):
            try:
                self._guard(fence, work)
            except OSError as error:
                fence_errors.append(f"the fence cannot take an address in: {error.strerror}")
        if work.owned is not None:
            try:
                records.write_owned(self._state_dir, work.owned)
            except OSError as error:
                failed = {place.address: f"{error.filename}: {error.strerror}" for place in work.put}
        if fence is not None:
            try:
                opened, lapsed = self._open(fence, work, installs)
            except OSError as error:
                opened = frozenset[str]()
                fence_errors.append(f"the fence cannot be renewed: {error.strerror}")
        failed |= self._put([place for place in work.put if place.address not in failed], work.until, opened)
        failed |= self._refresh(work)
        return Outcome(
            failed=failed,
            still_up=still_up,
            opened=opened,
            lapsed=lapsed,
            was_removed=fence is not None and fence.installs != installs,
            fence_error="; ".join(fence_errors),
        )

    def renew(self, until: Mapping[str, float]) -> Outcome | None:
        """Renew groups that are open in the fence; return None when that is all there is to say.

        :param until: as `Work.until`, of what is to be renewed alone.
        """
        fence = self._fence
        if fence is None or not until:
            return None
        installs = fence.installs
        try:
            renewal = fence.renew(until)
            if fence.installs != installs:  # new tables are closed for everybody
                renewal = fence.renew(until)
        except OSError as error:
            return Outcome(fence_error=f"the fence cannot be renewed: {error.strerror}")
        if fence.installs == installs and not renewal.lapsed and len(renewal.opened) == len(until):
            return None
        return Outcome(opened=renewal.opened, lapsed=renewal.lapsed, was_removed=fence.installs != installs)

    def clear(self) -> list[str]:
        """Take everything off that this process put up, and remove the fence; return what went wrong."""
        places = list(self._known.values())
        errors = self._addresses.delete(places)
        problems = [
            f"{place.address}: {os.strerror(error)}" for place, error in zip(places, errors, strict=True) if error
        ]
        self._known.clear()
        self._lives_until.clear()
        if self._fence is not None:
            try:
                self._fence.remove()
            except OSError as error:
                problems.append(f"the fence: {error.strerror}")
        if not problems:
            records.write_owned(self._state_dir, ())
        return problems

    def _lower(self, places: Iterable[Place]) -> dict[IPAddress, str]:
        """Take addresses off, but none that this process did not put up."""
        todo = list(places)
        known = [place for place in todo if (place.address, place.index) in self._known]
        still_up: dict[IPAddress, str] = {}
        for place, error in zip(known, self._addresses.delete(known), strict=True):
            if error:
                still_up[place.address] = f"it cannot be taken off {place.device}: {os.strerror(error)}"
            else:
                del self._known[place.address, place.index]
                self._lives_until.pop((place.address, place.index), None)
        if self._fence is not None:
            gone = {(place.group, place.address.packed) for place in todo if place.address not in still_up}
            try:
                self._fence.discard(gone - self._guarded)
            except OSError as error:  # they stay fenced, with nothing to fence
                _logger.debug("fence: addresses cannot be taken out: %s", error)
        return still_up

    def _guard(self, fence: Fence, work: Work) -> None:
        self._guarded.update(work.guard)
        self._guarded.difference_update(work.unguard)
        fence.add(work.guard)
        up = {(place.group, place.address.packed) for place in self._known.values()}
        fence.discard(guarded for guarded in work.unguard if guarded not in up)

    def _open(self, fence: Fence, work: Work, installs: int) -> tuple[frozenset[str], frozenset[str]]:
        if work.put:
            fence.add((place.group, place.address.packed) for place in work.put)
        if work.check:
            fence.check()
        renew = set(work.renew)
        renewal = fence.renew({name: work.until[name] for name in renew if name in work.until})
        if fence.installs != installs:  # new tables are closed for everybody
            renewal = fence.renew(work.until)
        return renewal.opened, renewal.lapsed

    def lives_until(self, place: Place) -> float:
        """Return when an address that this process put up is gone by itself, by time.monotonic(), unless renewed.

        -inf: there is none. The kernel may need a second more. May be called from any thread.
        """
        return self._lives_until.get((place.address, place.index), -math.inf)

    def _put(self, places: list[Place], until: Mapping[str, float], opened: frozenset[str]) -> dict[IPAddress, str]:
        """Put addresses up; return why that failed for some."""
        failed: dict[IPAddress, str] = {}
        again = [place for place in places if (place.address, place.index) in self._known]
        new = [place for place in places if (place.address, place.index) not in self._known]
        for chunk in self._in_time(new, until, opened, failed):
            # known before they are sent: should this be cut short, they are taken off all the same
            self._known |= {(place.address, place.index): place for place in chunk}
            for place, error in zip(chunk, self._addresses.add(chunk, self._lifetime), strict=True):
                if error:
                    del self._known[place.address, place.index]
                    failed[place.address] = (
                        f"somebody else has just put it on {place.device}"
                        if error == errno.EEXIST
                        else f"it cannot be put on {place.device}: {os.strerror(error)}{_remedy(error)}"
                    )
            self._note_lifetime(chunk)
        for place, error in self._renew(again, until, opened, failed):
            failed[place.address] = f"it cannot be put back on {place.device}: {os.strerror(error)}"
        return failed

    def _refresh(self, work: Work) -> dict[IPAddress, str]:
        errors = self._renew(list(work.refresh), work.until, None, {})  # not renewed because it is over: no failure
        failed = {place.address: f"its lifetime cannot be renewed: {os.strerror(error)}" for place, error in errors}
        self._put_unrouted_anew(work)
        return failed

    def _put_unrouted_anew(self, work: Work) -> None:
        """Take addresses off and put them on again whose local route somebody has removed, so that it is back.

        Once only: where that does not help, routes are not where they are looked for, and nothing is amiss.
        """
        places = [place for place in work.refresh if place not in self._oddly_routed]
        lost = [place for place, is_lost in zip(places, self._addresses.unrouted(places), strict=True) if is_lost]
        for chunk in self._in_time(lost, work.until, None, {}):
            for place in chunk:
                _logger.warning("unrouted address=%s device=%s: putting it up anew", place.address, place.device)
            self._addresses.delete(chunk)
            for gone in self._in_time(chunk, work.until, None, {}):
                self._addresses.add(gone, self._lifetime)  # where it is refused, the event of its end has it put back
                self._note_lifetime(gone)
                again = zip(gone, self._addresses.unrouted(gone), strict=True)
                self._oddly_routed.update(place for place, is_lost in again if is_lost)

    def _renew(
        self,
        places: list[Place],
        until: Mapping[str, float],
        opened: frozenset[str] | None,
        failed: dict[IPAddress, str],
    ) -> Iterator[tuple[Place, int]]:
        """Renew lifetimes; yield each place that the kernel refused, and the errno."""
        for chunk in self._in_time(places, until, opened, failed):
            errors = self._addresses.renew(chunk, self._lifetime)
            self._note_lifetime(chunk)
            yield from ((place, error) for place, error in zip(chunk, errors, strict=True) if error)

    def _in_time(
        self,
        places: list[Place],
        until: Mapping[str, float],
        opened: frozenset[str] | None,
        failed: dict[IPAddress, str],
    ) -> Iterator[list[Place]]:
        """Yield what may be put up or renewed, as many at once as one send takes; note in `failed` what may not.

        The clock is read for each send: the process may have been frozen since the one before.

        :param opened: the groups that pass the fence; None: that does not matter.
        """
        for start in range(0, len(places), MESSAGES_AT_ONCE):
            chunk: list[Place] = []
            now = time.monotonic()
            for place in places[start : start + MESSAGES_AT_ONCE]:
                if until.get(place.group, -math.inf) <= now:
                    failed[place.address] = OVER
                elif self._fence is not None and opened is not None and place.group not in opened:
                    failed[place.address] = SHUT
                else:
                    chunk.append(place)
            if chunk:
                yield chunk

    def _note_lifetime(self, places: Iterable[Place]) -> None:
        """Note until when addresses live that were put up or renewed just now; also if it is not known whether."""
        end = time.monotonic() + self._lifetime
        for place in places:
            if (place.address, place.index) in self._known:
                self._lives_until[place.address, place.index] = end


def _remedy(error: int) -> str:
    if error == errno.EPERM:
        return " (CAP_NET_ADMIN is needed)"
    if error == errno.EACCES:  # what the kernel says of a device without IPv6
        return " (IPv6 is switched off there: sysctl disable_ipv6)"
    return ""
