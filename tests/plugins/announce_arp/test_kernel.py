"""What is done to the kernel while time passes: the process may be frozen between any two sends."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from kubevip_announce_arp import _kernel
from kubevip_announce_arp._kernel import Kernel, Place, Work
from kubevip_announce_arp._rtnetlink_socket import MESSAGES_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COUNT = MESSAGES_AT_ONCE + 6
PLACES = tuple(
    Place(address=ip_address(f"10.9.1.{number}"), group="api", index=4, device="e0") for number in range(COUNT)
)
FREEZE = 60.0


class Slow:
    """A clock, and a socket whose sends each take `seconds`."""

    def __init__(self) -> None:
        self.now, self.seconds, self.delete_seconds = 100.0, 0.0, 0.0
        self.error = 0
        self.sent: list[int] = []
        self.is_unrouted = False

    def clock(self) -> float:
        return self.now

    def add(self, places: Sequence[Place], lifetime_seconds: int) -> list[int]:
        self.sent.append(len(places))
        self.now += self.seconds
        return [self.error] * len(places)

    renew = add

    def unrouted(self, places: Sequence[Place]) -> list[bool]:
        return [self.is_unrouted] * len(places)

    def delete(self, places: Sequence[Place]) -> list[int]:
        self.now += self.delete_seconds
        return [self.error] * len(places)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(_kernel, "time", SimpleNamespace(monotonic=slow.clock))
    return slow


def make(slow: Slow, state_dir: Path) -> Kernel:
    return Kernel(cast("Any", slow), None, 2, state_dir)


def test_nothing_is_put_up_after_a_freeze_between_two_sends(slow: Slow, tmp_path: Path) -> None:
    slow.seconds = FREEZE
    outcome = make(slow, tmp_path).carry_out(Work(until={"api": 101.0}, put=PLACES))
    assert slow.sent == [MESSAGES_AT_ONCE]
    assert outcome.failed == {place.address: "the leadership ended meanwhile" for place in PLACES[MESSAGES_AT_ONCE:]}


@pytest.mark.parametrize("how", ["put", "refresh"])
def test_nothing_is_renewed_after_a_freeze_between_two_sends(slow: Slow, tmp_path: Path, how: str) -> None:
    kernel = make(slow, tmp_path)
    assert kernel.carry_out(Work(until={"api": 101.0}, put=PLACES)).failed == {}
    slow.sent.clear()
    slow.seconds = FREEZE
    kernel.carry_out(Work(until={"api": 101.0}, put=PLACES if how == "put" else (), refresh=PLACES))
    assert slow.sent == [MESSAGES_AT_ONCE]


@pytest.mark.parametrize(("freeze", "sent"), [(0.0, [1, 1]), (FREEZE, [1])])
def test_an_unrouted_address_is_not_put_up_anew_after_a_freeze_since_it_was_taken_off(
    slow: Slow, tmp_path: Path, freeze: float, sent: list[int]
) -> None:
    kernel, place = make(slow, tmp_path), PLACES[0]
    kernel.carry_out(Work(until={"api": 200.0}, put=(place,)))
    slow.sent.clear()
    slow.is_unrouted, slow.delete_seconds = True, freeze
    kernel.carry_out(Work(until={"api": 200.0}, refresh=(place,)))
    assert slow.sent == sent


def test_an_address_lives_for_its_lifetime_from_the_last_renewal_on(slow: Slow, tmp_path: Path) -> None:
    kernel, place = make(slow, tmp_path), PLACES[0]
    assert kernel.lives_until(place) == float("-inf")
    kernel.carry_out(Work(until={"api": 200.0}, put=(place,)))
    assert kernel.lives_until(place) == 102.0
    slow.now = 101.0
    kernel.carry_out(Work(until={"api": 200.0}, refresh=(place,)))
    assert kernel.lives_until(place) == 103.0
    slow.error = errno.EBUSY
    kernel.carry_out(Work(lower=(place,)))
    assert kernel.lives_until(place) == 103.0
    slow.error = 0
    kernel.carry_out(Work(lower=(place,)))
    assert kernel.lives_until(place) == float("-inf")
