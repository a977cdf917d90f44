"""The end of the announcer "address": nobody waits for what will never be done."""

from __future__ import annotations

import math
import threading  # noqa: TID251 -- a kernel that answers when the test lets it
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, cast

import pytest
from anyio import Event, create_task_group, fail_after, sleep

from kubevip import Health, Tenure, VirtualIP
from kubevip.testing import make_host
from kubevip_announce_arp._address import AddressAnnouncer
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._kernel import Outcome, Work
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

    def renew(self, until: object) -> None:
        return None

    def lives_until(self, place: Place) -> float:
        return -math.inf


class BrokenKernel(StuckKernel):
    """Breaks when an address is to be taken off."""

    def carry_out(self, work: Work) -> Outcome:
        if work.lower:
            raise RuntimeError("a mistake")
        return super().carry_out(work)


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
