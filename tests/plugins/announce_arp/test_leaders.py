"""The tenures that addresses hang on: what is renewed at once, what is planned, what is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from anyio import current_time

from kubevip.testing import make_tenure
from kubevip_announce_arp._leaders import Leaders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubevip_announce_arp._kernel_thread import KernelThread

pytestmark = pytest.mark.anyio

OFFSET = 1000.0


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class FakeThread:
    """Takes note of what is to be renewed, and how often that was asked for."""

    def __init__(self) -> None:
        self.renewing: Mapping[str, Callable[[], float]] = {}
        self.asked = 0

    def set_renewing(self, until: Mapping[str, Callable[[], float]]) -> None:
        self.renewing = dict(until)

    def stop_renewing(self, group: str) -> None:
        self.renewing = {name: until for name, until in self.renewing.items() if name != group}

    def renews(self, group: str) -> bool:
        return group in self.renewing

    def renew(self) -> None:
        self.asked += 1


class Rig:
    def __init__(self) -> None:
        self.thread, self.woken = FakeThread(), 0
        self.leaders = Leaders(cast("KernelThread", self.thread), is_fenced=True, offset=OFFSET, wake=self.wake)

    def wake(self) -> None:
        self.woken += 1

    def open(self) -> set[str]:
        """Carry out the next turn; return what was renewed."""
        turn = self.leaders.plan(current_time(), ())
        self.leaders.take(turn.renew, turn.renew, turn.until)
        return turn.renew


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_plain_renewal_of_what_is_open_wakes_the_thread_alone_which_reads_the_newest_end(rig: Rig) -> None:
    tenure = make_tenure(group="g", seconds=0.15)
    rig.leaders.join(tenure)
    assert rig.open() == {"g"}
    tenure.renew(0.2)
    assert (rig.thread.asked, rig.woken) == (1, 0)
    assert rig.thread.renewing["g"]() == pytest.approx(current_time() + 0.2 + OFFSET)


async def test_what_is_not_open_yet_is_planned(rig: Rig) -> None:
    tenure = make_tenure(group="g", seconds=0.15)
    rig.leaders.join(tenure)
    tenure.renew(0.2)
    assert (rig.thread.asked, rig.woken) == (0, 1)


async def test_the_end_of_a_tenure_is_planned_at_once_and_renews_nothing_any_more(rig: Rig) -> None:
    tenure = make_tenure(group="g", seconds=0.15)
    rig.leaders.join(tenure)
    rig.open()
    tenure.end()
    assert (rig.thread.asked, rig.woken, rig.thread.renewing) == (0, 1, {})
    assert rig.leaders.plan(current_time(), ()).close == {"g"}


async def test_a_renewal_for_others_never_closes_a_group_for_its_tenure_before(rig: Rig) -> None:
    """The thread may still know the old end when the next tenure opens the group: so it is made to forget it."""
    old, new, other = (make_tenure(group=group, seconds=0.15) for group in ("g", "g", "other"))
    rig.leaders.join(old)
    rig.leaders.join(other)
    rig.open()
    rig.leaders.join(new)
    assert set(rig.thread.renewing) == {"other"}
    rig.open()
    old.end()
    assert set(rig.thread.renewing) == {"g", "other"}
    assert rig.thread.renewing["g"]() == new.valid_until + OFFSET


async def test_a_group_is_closed_with_its_last_address(rig: Rig) -> None:
    tenure = make_tenure(group="g", seconds=0.15)
    for _ in range(2):
        rig.leaders.join(tenure)
    rig.open()
    rig.leaders.leave(tenure)
    rig.leaders.lower(tenure)
    assert rig.leaders.plan(current_time(), ()).close == frozenset()
    rig.leaders.leave(tenure)
    rig.leaders.lower(tenure)
    assert rig.leaders.plan(current_time(), ()).close == {"g"}
    tenure.renew(0.2)
    assert (rig.thread.asked, rig.woken) == (0, 0)  # nobody follows it any more


async def test_a_group_that_did_not_open_with_its_turn_is_silent_and_planned_anew_until_it_does(rig: Rig) -> None:
    """The thread renews what is open; it would be asked in vain to renew what nobody knows to be shut."""
    tenure = make_tenure(group="g", seconds=60)
    rig.leaders.join(tenure)
    assert rig.open() == {"g"}
    turn = rig.leaders.plan(current_time(), {"g"})
    rig.leaders.take(turn.renew, (), turn.until)
    assert (rig.leaders.shut, dict(rig.thread.renewing)) == (frozenset("g"), {})
    assert rig.open() == {"g"}
    assert (rig.leaders.shut, set(rig.thread.renewing)) == (frozenset(), {"g"})


async def test_a_group_whose_tenure_is_over_is_not_said_to_be_silent(rig: Rig) -> None:
    tenure = make_tenure(group="g", seconds=60)
    rig.leaders.join(tenure)
    turn = rig.leaders.plan(current_time(), {"g"})
    rig.leaders.take(turn.renew, (), turn.until)
    tenure.end()
    assert rig.leaders.shut == frozenset()


async def test_after_a_renewal_that_failed_all_groups_are_planned_anew(rig: Rig) -> None:
    for group in "gh":
        rig.leaders.join(make_tenure(group=group, seconds=0.15))
    rig.open()
    rig.leaders.reopen({"h"})
    assert (rig.woken, set(rig.thread.renewing)) == (1, {"h"})
    assert rig.open() == {"g", "h"}
    assert set(rig.thread.renewing) == {"g", "h"}
