"""What is recorded about addresses before they are put up: without it a leftover would not be known for one's own."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, cast

import pytest
from anyio import Event, create_task_group, fail_after

from kubevip import VirtualIP
from kubevip.errors import AnnounceError
from kubevip.testing import make_host
from kubevip_announce_arp._address import AddressAnnouncer
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._other_instances import OtherInstances
from kubevip_announce_arp._records import Ownership, read_owned

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_announce_arp._devices import Devices
    from kubevip_announce_arp._kernel import Kernel
    from kubevip_announce_arp._rtnetlink import AddressEvent

pytestmark = pytest.mark.anyio

COUNT = 20


class OneDevice:
    async def find(self, vip: VirtualIP) -> Device:
        return Device(index=2, name="e0")

    def where(self, address: object) -> tuple[AddressEvent, ...]:
        return ()


def announcer(state_dir: Path) -> AddressAnnouncer:
    return AddressAnnouncer(
        host=make_host(state_dir),
        devices=cast("Devices", OneDevice()),
        kernel=cast("Kernel", None),  # nothing is put up
        table="",
        unfenced="not needed here",
        renew_seconds=1.0,
        inquiry=None,
        look=lambda addresses: OtherInstances(frozenset(), {}),
    )


def vip(number: int) -> VirtualIP:
    return VirtualIP(name=f"v{number}", address=IPv4Address("192.0.2.0") + number, group=f"g{number}", interface="e0")


async def test_addresses_that_are_prepared_at_once_are_all_recorded(tmp_path: Path) -> None:
    address, done, prepared = announcer(tmp_path), Event(), list[int]()

    async def prepare(number: int) -> None:
        async with address.prepare(vip(number)):
            prepared.append(number)
            if len(prepared) == COUNT:
                done.set()
            await done.wait()

    with fail_after(10):
        async with create_task_group() as tg:
            for number in range(COUNT):
                tg.start_soon(prepare, number)

    assert read_owned(tmp_path) == {Ownership(str(vip(number).address), "e0") for number in range(COUNT)}


async def test_what_could_not_be_recorded_is_recorded_the_next_time(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    address = announcer(directory)

    with pytest.raises(AnnounceError, match=r"v1: .*No such file"):
        async with address.prepare(vip(1)):
            pass
    directory.mkdir()
    async with address.prepare(vip(1)):
        pass

    assert read_owned(directory) == {Ownership(str(vip(1).address), "e0")}
