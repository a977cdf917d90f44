"""The tenures that held addresses hang on, and until when the fence is open for the group of each."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from anyio import current_time
from attrs import frozen

from kubevip_announce_arp._fence import LONGEST_SECONDS
from kubevip_announce_arp._held import Leader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from kubevip import Tenure
    from kubevip_announce_arp._kernel_thread import KernelThread


@frozen(kw_only=True)
class Turn:
    """What is to be done for groups now: `until` when each may pass, which to `renew`, which to `close`."""

    until: Mapping[str, float]
    renew: set[str]
    close: frozenset[str]


class Leaders:
    """Follows tenures. Plain renewals go straight to the thread; of everything else it wakes whoever plans.

    :param is_fenced: whether there is a fence to renew.
    :param offset: what a reading of time.monotonic() is ahead of the event loop's time.
    :param wake: called when there is something to plan.
    """

    def __init__(self, thread: KernelThread, *, is_fenced: bool, offset: float, wake: Callable[[], None]) -> None:
        self._thread, self._is_fenced, self._offset, self._wake = thread, is_fenced, offset, wake
        self._leaders: dict[str, Leader] = {}
        self._moved: set[str] = set()

    def join(self, tenure: Tenure) -> None:
        """Follow a tenure, for one more address."""
        leader = self._leaders.get(tenure.group)
        if leader is None or leader.tenure is not tenure:
            if leader is not None:
                leader.stop()
            self._thread.stop_renewing(tenure.group)  # or it would close for the old tenure what opens for this one
            leader = self._leaders[tenure.group] = Leader(tenure, tenure.follow(partial(self._move, tenure.group)))
        leader.users += 1

    def leave(self, tenure: Tenure) -> None:
        """Follow a tenure for one address less."""
        if (leader := self._of(tenure)) is not None:
            leader.users -= 1

    def lower(self, tenure: Tenure) -> None:
        """Have the group closed, unless other addresses need it open: one of them is to be taken off."""
        leader = self._of(tenure)
        if leader is not None and (tenure.remaining_seconds <= 0 or leader.users == 0):
            self._moved.add(tenure.group)
            leader.open_until = -math.inf

    def plan(self, now: float, wanted: Iterable[str]) -> Turn:
        """Return what is to be done; `wanted` are groups to renew in any case, if they are led."""
        live = {name: one for name, one in self._leaders.items() if one.users and one.tenure.remaining_seconds > 0}
        moved, self._moved = self._moved, set()
        renew = (moved | set(wanted)) & live.keys()
        renew.update(name for name, leader in live.items() if self._needs_renewal(leader, now))
        for name in [name for name in self._leaders if not self._leaders[name].users]:
            self._leaders.pop(name).stop()
        return Turn(
            until={name: self._until(leader.tenure) for name, leader in live.items()},
            renew=renew,
            close=frozenset(moved - live.keys()),
        )

    def take(self, asked: Iterable[str], opened: Collection[str], until: Mapping[str, float]) -> None:
        """Take note of what became of groups that were `asked` for, or that `opened` unasked.

        What is open, `until` when, is from now on renewed by the thread alone; what is shut comes with the next turn.
        """
        now = current_time()
        for name in {*asked, *opened} & self._leaders.keys():
            leader = self._leaders[name]
            leader.is_shut = name not in opened
            leader.open_until = -math.inf if leader.is_shut else min(until[name] - self._offset, now + LONGEST_SECONDS)
        self._renew_what_is_open(now)

    @property
    def shut(self) -> frozenset[str]:
        """Groups that are led and that the fence keeps silent all the same: it could not be opened in time."""
        return frozenset(filter(self.is_shut, self._leaders))

    def is_shut(self, group: str) -> bool:
        """Return whether `group` is one of `shut`."""
        leader = self._leaders.get(group)
        return leader is not None and leader.is_shut and leader.users > 0 and leader.tenure.remaining_seconds > 0

    def reopen(self, still_open: Collection[str]) -> None:
        """Have every group renewed with the next turn: some are closed, or all are."""
        for name, leader in self._leaders.items():
            if name not in still_open:
                leader.open_until = -math.inf
        self._renew_what_is_open(current_time())
        self._moved.update(self._leaders)
        self._wake()

    def stop(self) -> None:
        """Follow none any more."""
        for leader in self._leaders.values():
            leader.stop()

    def _of(self, tenure: Tenure) -> Leader | None:
        leader = self._leaders.get(tenure.group)
        return leader if leader is not None and leader.tenure is tenure else None

    def _move(self, group: str, valid_until: float) -> None:
        if valid_until > current_time() and self._thread.renews(group):
            self._thread.renew()
            return
        self._thread.stop_renewing(group)
        self._moved.add(group)
        self._wake()

    def _needs_renewal(self, leader: Leader, now: float) -> bool:
        """Whether the fence opens for less time than it might: it never does for longer than LONGEST_SECONDS."""
        return self._is_fenced and leader.open_until < min(leader.tenure.valid_until, now + LONGEST_SECONDS / 2)

    def _renew_what_is_open(self, now: float) -> None:
        self._thread.set_renewing(
            {
                name: partial(self._until, leader.tenure)
                for name, leader in self._leaders.items()
                if leader.users and leader.open_until > now
            }
        )

    def _until(self, tenure: Tenure) -> float:
        """Return until when a tenure lasts, by time.monotonic(). May be called from any thread."""
        return tenure.valid_until + self._offset
