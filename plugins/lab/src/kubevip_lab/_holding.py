"""Who held an address from when to when, told from answers alone, and whether two ever did. Pure.

Times are readings of one clock in seconds at which the kernel received an answer. A host holds from the first answer of
an unbroken row of them to the last: every question in between was answered. So a stretch is never longer than the host
held, and two stretches of an address that overlap are two holders at one instant, without any allowance.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kubevip_lab._measure import Answer


_AT_ONCE_SECONDS = 0.01  # two questions on one way within so much are lost, or not, together


@frozen(kw_only=True)
class Stretch:
    """`host` answered every question about `address` from `start` to `end`."""

    address: str
    host: str
    start: float
    end: float


@frozen(kw_only=True)
class Overlap:
    """Two hosts held `address` at once from `start` to `end`."""

    address: str
    hosts: tuple[str, str]
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length; 0.0 is an instant, and counts."""
        return self.end - self.start


@define
class Tracker:
    """Makes stretches of answers, which come in the order of their questions for each address and host."""

    _done: list[Stretch] = field(factory=list[Stretch])
    _open: dict[tuple[str, str], tuple[int, float, float]] = field(
        factory=dict[tuple[str, str], tuple[int, float, float]]
    )

    def add(self, address: str, host: str, answer: Answer) -> None:
        """Take one answer of `host` about `address`."""
        before = self._open.get((address, host))
        if before is not None and answer.number - before[0] <= 1:
            self._open[address, host] = answer.number, before[1], answer.received
            return
        if before is not None:
            self._done.append(Stretch(address=address, host=host, start=before[1], end=before[2]))
        self._open[address, host] = answer.number, answer.received, answer.received

    def stretches(self) -> list[Stretch]:
        """Return all so far, those that go on included, by their beginning."""
        going_on = (
            Stretch(address=address, host=host, start=start, end=end)
            for (address, host), (_, start, end) in self._open.items()
        )
        return sorted((*self._done, *going_on), key=lambda each: (each.start, each.end))


def overlaps(stretches: Iterable[Stretch], tolerance: float = 0.0) -> list[Overlap]:
    """Return where two hosts held one address at once, for longer than `tolerance` seconds where that is above 0."""
    found: list[Overlap] = []
    going_on: dict[str, list[Stretch]] = {}
    for each in sorted(stretches, key=lambda stretch: stretch.start):
        others = [other for other in going_on.get(each.address, []) if other.end >= each.start]
        for other in others:
            end = min(each.end, other.end)
            if other.host != each.host and (not tolerance or end - each.start > tolerance):
                hosts = (other.host, each.host)
                found.append(Overlap(address=each.address, hosts=hosts, start=each.start, end=end))
        going_on[each.address] = [*others, each]
    return found


def without_blind_moments(stretches: Iterable[Stretch], references: Iterable[Stretch]) -> tuple[list[Stretch], int]:
    """Join two stretches of a host between which it did not answer for an address that it surely had, either.

    Then it was the network, or who asks, that lost the questions or the answers. Returns how often that was so, too.

    :param references: when each host answered for such an address.
    """
    answered, found = sorted(references, key=lambda it: it.start), list(stretches)
    silences = [
        evolve(one, start=one.end, end=other.start)
        for host in {each.host for each in answered}
        for one, other in _pairs(answered, host)
    ]
    joined: list[Stretch] = []
    for each in sorted(found, key=lambda it: (it.address, it.start)):
        before = joined[-1] if joined else None
        if before is None or (before.address, before.host) != (each.address, each.host):
            joined.append(each)
        elif any(
            it.host == each.host
            and it.start <= before.end + _AT_ONCE_SECONDS
            and it.end >= each.start - _AT_ONCE_SECONDS
            for it in silences
        ):
            joined[-1] = evolve(before, end=each.end)
        else:
            joined.append(each)
    return joined, len(found) - len(joined)


def _pairs(stretches: Iterable[Stretch], host: str) -> Iterator[tuple[Stretch, Stretch]]:
    """Return each stretch of a host with the one that follows."""
    return pairwise(each for each in stretches if each.host == host)


def longest_gap(stretches: Iterable[Stretch], address: str, start: float, end: float) -> tuple[float, float]:
    """Return for how long nobody held `address` between two moments: the longest time, and the sum."""
    longest = total = 0.0
    until = start
    for each in sorted((it for it in stretches if it.address == address), key=lambda it: it.start):
        gap = min(each.start, end) - until
        if gap > 0:
            longest, total = max(longest, gap), total + gap
        until = max(until, each.end)
    last = max(end - until, 0.0)
    return max(longest, last), total + last
