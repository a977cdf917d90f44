"""The end of the announcer "address": nobody waits for what will never be done."""

from __future__ import annotations

import math
import threading  # noqa: TID251 -- a kernel that answers when the test lets it
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, cast

import pytest
from anyio import Event, create_task_group, fail_after, sleep

from kubevip import Health, Level, Tenure, VirtualIP
from kubevip.errors import AnnounceError
from kubevip.testing import make_host, make_tenure
from kubevip_announce_arp._address import AddressAnnouncer
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._kernel import SHUT, Outcome, Work
from kubevip_announce_arp._other_instances import OtherInstances

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubevip_announce_arp._devices import Devices
    from kubevip_announce_arp._kernel import Kernel, Place
    from kubevip_announce_arp._rtnetlink import AddressEvent

pytestmark = pytest.mark.anyio

API = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api", interface="e0")
E0 = Device(index=2, name="e0", flags=0x10041)  # up and running


class OneDevice:
    async def find(self, vip: VirtualIP) -> Device:
        return E0

    def where(self, address: object) -> tuple[AddressEvent, ...]:
        return ()

    def device(self, index: int) -> Device:
        return E0

    def has(self, index: int, address: object) -> bool:
        return True

    def listen(self, see: object) -> Callable[[], None]:
        return lambda: None


class StuckKernel:
    """Does everything, but takes an address off only when `go` is set."""

    def __init__(self) -> None:
        self.go, self.lowers = threading.Event(), threading.Event()

    def carry_out(self, work: Work) -> Outcome:
        if work.lower:
            self.lowers.set()
            assert self.go.wait(10)
        return Outcome(opened=work.renew)

    def renew(self, until: object) -> Outcome | None:
        return None

    def lives_until(self, place: Place) -> float:
        return -math.inf


class BrokenKernel(StuckKernel):
    """Breaks when an address is to be taken off."""

    def carry_out(self, work: Work) -> Outcome:
        if work.lower:
            raise RuntimeError("a mistake")
        return super().carry_out(work)


class LateKernel(StuckKernel):
    """Is too late for so many turns of putting up, then for so many of renewing."""

    def __init__(self, *, puts: int = 0, renewals: int = 0) -> None:
        super().__init__()
        self.puts, self.renewals = puts, renewals
        self.go.set()

    def carry_out(self, work: Work) -> Outcome:
        if work.put and self.puts:
            self.puts -= 1
            return Outcome(failed={place.address: SHUT for place in work.put})
        if work.renew and not work.put and self.renewals:
            self.renewals -= 1
            return Outcome()
        return super().carry_out(work)

    def renew(self, until: object) -> Outcome | None:
        return Outcome() if self.renewals else None


def announcer(state_dir: Path, kernel: StuckKernel) -> AddressAnnouncer:
    return AddressAnnouncer(
        host=make_host(state_dir),
        devices=cast("Devices", OneDevice()),
        kernel=cast("Kernel", kernel),
        table="t",
        unfenced="",
        renew_seconds=1.0,
        inquiry=None,
        look=lambda addresses: OtherInstances(frozenset(), {}),
    )


def tell(health: Health) -> None:
    pass


async def test_a_withdrawal_that_comes_while_the_announcer_ends_is_not_waited_for_forever(tmp_path: Path) -> None:
    kernel = StuckKernel()
    address, held, end, ended = announcer(tmp_path, kernel), Event(), [Event(), Event()], list[int]()

    async def hold(number: int) -> None:
        vip = VirtualIP(name=f"v{number}", address=API.address + number, group="api", interface="e0")
        async with address.announce(vip, Tenure("api", 1, math.inf), tell):
            if number:
                held.set()
            await end[number].wait()
        ended.append(number)

    with fail_after(10):
        async with create_task_group() as tg:
            async with create_task_group() as running:
                running.start_soon(address.run)
                tg.start_soon(hold, 0)
                tg.start_soon(hold, 1)
                await held.wait()
                end[0].set()
                while not kernel.lowers.is_set():
                    await sleep(0.001)
                end[1].set()
                await sleep(0.01)  # waits for its turn
                running.cancel_scope.cancel()
                kernel.go.set()
    assert sorted(ended) == [0, 1]


async def test_a_withdrawal_at_which_the_kernel_thread_breaks_is_not_waited_for_forever(tmp_path: Path) -> None:
    address, held, end, ended = announcer(tmp_path, BrokenKernel()), Event(), Event(), list[str]()

    async def hold() -> None:
        async with address.announce(API, Tenure("api", 1, math.inf), tell):
            held.set()
            await end.wait()
        ended.append("api")

    async def run() -> None:
        with pytest.raises(ExceptionGroup):
            await address.run()

    with fail_after(10):
        async with create_task_group() as tg:
            tg.start_soon(run)
            tg.start_soon(hold)
            await held.wait()
            end.set()
    assert ended == ["api"]


async def test_an_address_that_comes_too_late_once_is_tried_again_while_this_node_leads(tmp_path: Path) -> None:
    """Else a busy machine leads and holds nothing, for a pause that grows with each time."""
    kernel = LateKernel(puts=3)
    address, healths = announcer(tmp_path, kernel), list[Health]()
    with fail_after(10):
        async with create_task_group() as running:
            running.start_soon(address.run)
            async with address.announce(API, Tenure("api", 1, math.inf), healths.append):
                running.cancel_scope.cancel()
    assert (kernel.puts, healths) == (0, [Health()])


async def test_an_address_is_not_tried_again_when_this_node_leads_no_more(tmp_path: Path) -> None:
    kernel = LateKernel(puts=3)
    address = announcer(tmp_path, kernel)
    async with create_task_group() as running:
        running.start_soon(address.run)
        with fail_after(10), pytest.raises(AnnounceError, match=SHUT):
            async with address.announce(API, Tenure("api", 1, -math.inf), tell):
                pass
        running.cancel_scope.cancel()
    assert kernel.puts == 2


async def test_a_held_address_that_its_fence_keeps_silent_is_told_until_it_passes_again(tmp_path: Path) -> None:
    kernel = LateKernel(renewals=1)
    address, healths, changed = announcer(tmp_path, kernel), list[Health](), Event()

    def report(health: Health) -> None:
        healths.append(health)
        if len(healths) == 3:
            changed.set()

    tenure = make_tenure(group="api", seconds=60)
    with fail_after(10):
        async with create_task_group() as running:
            running.start_soon(address.run)
            async with address.announce(API, tenure, report):
                tenure.renew(61)
                await changed.wait()
                running.cancel_scope.cancel()
    reason = "192.0.2.1 is silent: its fence could not be opened in time; is this machine overloaded?"
    assert healths == [Health(), Health(level=Level.DEGRADED, reason=reason), Health()]
