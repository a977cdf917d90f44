from __future__ import annotations

import socket
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from anyio import Event, create_task_group, fail_after

from kubevip_announce_arp import _devices
from kubevip_announce_arp._devices import Devices
from kubevip_announce_arp._rtnetlink import AddressEvent

if TYPE_CHECKING:
    from collections.abc import Generator

    from kubevip_announce_arp._rtnetlink import LinkEvent

pytestmark = pytest.mark.anyio

INDEX, BASE = 2, IPv4Address("192.0.2.0")
GONE = 128


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Generator[socket.socket]:
    """Speaks to the devices: a message of one byte is that address, plus GONE where it went."""

    def events(data: bytes) -> list[AddressEvent]:
        return [
            AddressEvent(
                ifindex=INDEX,
                address=BASE + data[0] % GONE,
                prefix_length=32,
                is_gone=data[0] >= GONE,
                is_permanent=False,
                protocol=0,
            )
        ]

    speaks, hears = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    hears.setblocking(False)
    monkeypatch.setattr(_devices, "open_event_socket", lambda: hears)
    monkeypatch.setattr(_devices, "read_devices", lambda: ((), ()))
    monkeypatch.setattr(_devices, "events", events)
    with speaks, hears:
        yield speaks


async def test_what_was_told_at_once_is_taken_in_before_anybody_hears_of_it(kernel: socket.socket) -> None:
    devices, heard = Devices(), list[tuple[bool, bool]]()
    done = Event()

    def hear(event: AddressEvent | LinkEvent | None) -> None:
        assert isinstance(event, AddressEvent)
        heard.append((event.is_gone, devices.has(INDEX, event.address)))
        if len(heard) == 3:
            done.set()

    await devices.open()
    devices.listen(hear)
    for byte in (7, GONE + 7, 7):
        kernel.send(bytes((byte,)))
    with fail_after(5):
        async with create_task_group() as tg:
            tg.start_soon(devices.run)
            await done.wait()
            tg.cancel_scope.cancel()

    assert heard == [(False, True), (True, True), (False, True)]
