from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from kubevip_announce_arp import _segment
from kubevip_announce_arp._device import Device
from kubevip_announce_arp._frames import ETHERTYPE_ARP
from kubevip_announce_arp._packet_socket import claims_filter
from kubevip_announce_arp._segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from kubevip import IPAddress
    from kubevip_announce_arp._packet_socket import Instruction

pytestmark = pytest.mark.anyio

ADDRESS, OTHER = IPv4Address("192.0.2.7"), IPv4Address("192.0.2.8")


class Kernel:
    """Packet sockets that only keep their filter; `refuses` has it take no other one."""

    def __init__(self) -> None:
        self.filters: list[tuple[Instruction, ...]] = []
        self.refuses = False

    def open(self, device: str, ethertype: int, addresses: Collection[IPAddress], *, with_marked: bool) -> Kernel:
        return self

    def fileno(self) -> int:
        return 0

    def attach(self, opened: Kernel, program: Iterable[Instruction]) -> None:
        if self.refuses:
            raise OSError(12, "Cannot allocate memory")
        self.filters.append(tuple(program))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(_segment, "open_packet_socket", kernel.open)
    monkeypatch.setattr(_segment, "attach", kernel.attach)
    return kernel


@pytest.fixture
async def segment(kernel: Kernel) -> Segment:
    def keep_open(fd: int) -> Callable[[], None]:
        return lambda: None

    segment = Segment(Device(index=2, name="e0"), 100.0, lambda claim: None, keep_open)
    segment.open()
    return segment


def arp(*addresses: IPv4Address) -> tuple[Instruction, ...]:
    return claims_filter(ETHERTYPE_ARP, addresses)


async def test_an_address_that_was_prepared_costs_no_new_filter_in_a_takeover(kernel: Kernel, segment: Segment) -> None:
    segment.watch(ADDRESS)  # prepared
    kernel.filters.clear()

    segment.watch(ADDRESS)  # taken over
    segment.unwatch(ADDRESS)  # given away

    assert kernel.filters == []


async def test_an_address_is_heard_of_until_it_was_unwatched_as_often_as_it_was_watched(
    kernel: Kernel, segment: Segment
) -> None:
    segment.watch(ADDRESS)
    segment.watch(OTHER)
    segment.watch(OTHER)
    segment.unwatch(OTHER)
    assert kernel.filters == [arp(ADDRESS), arp(ADDRESS, OTHER)]

    segment.unwatch(OTHER)
    assert kernel.filters[2:] == [arp(ADDRESS)]


async def test_what_the_kernel_refused_to_watch_is_asked_for_again(kernel: Kernel, segment: Segment) -> None:
    kernel.refuses = True
    with pytest.raises(OSError, match="Cannot allocate memory"):
        segment.watch(ADDRESS)
    kernel.refuses = False

    segment.watch(ADDRESS)

    assert kernel.filters == [arp(ADDRESS)]


async def test_another_sort_of_address_has_a_filter_of_its_own(kernel: Kernel, segment: Segment) -> None:
    segment.watch(ADDRESS)
    segment.watch(IPv6Address("2001:db8::7"))

    assert len(kernel.filters) == 2
    assert kernel.filters[1] != arp(ADDRESS)
