"""Every announcer of the repository keeps the duties of `kubevip.abc.Announcer`, against a real kernel and a real wire.

Each check runs in a process of its own, in a network namespace with one cable: e0 belongs to the announcer, e1 to the
test. What this module does as a program is that process.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from kubevip import Duration, Health, Tenure, VirtualIP
from kubevip.abc import Announcer
from kubevip.testing import FakeAnnouncer, Recorder, Wire, check_announcer, make_host
from kubevip_announce_arp._config import AddressConfig, ArpConfig
from kubevip_announce_arp.plugin import ADDRESS, ARP

CLONE_NEWNET = 0x40000000
MAC, PEER_MAC = bytes.fromhex("02000000aa01"), bytes.fromhex("02000000aa02")
PEER = IPv4Address("10.9.0.2")
VIP = VirtualIP(name="api", address=IPv4Address("10.9.0.75"), group="api", interface="e0")
ARP_PROTOCOL, ARP_REQUEST, ARP_REPLY = 0x0806, 1, 2
RTMGRP_IPV4_IFADDR, RTM_NEWADDR = 0x10, 20

SETUP = f"""
ip link set lo up
ip link add e0 address {MAC.hex(":")} type veth peer name e1 address {PEER_MAC.hex(":")}
ip link set e1 up
ip address add 10.9.0.1/24 dev e0
ip link set e0 up
ip neighbour replace {PEER} lladdr {PEER_MAC.hex(":")} dev e0
"""


class Cable:
    """What can be seen from the other end: answers, gratuitous ARP; and the kernel's news of renewed addresses."""

    def __init__(self) -> None:
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ARP_PROTOCOL))
        self._wire.bind(("e1", ARP_PROTOCOL))
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._news.bind((0, RTMGRP_IPV4_IFADDR))
        self._gratuitous = self._answers = self._renewals = 0

    def sent(self) -> int:
        self._look()
        return self._gratuitous + self._renewals

    async def is_reachable(self) -> bool:
        self._look()
        before = self._answers
        head = b"\xff" * 6 + PEER_MAC + struct.pack("!H", ARP_PROTOCOL)
        packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, ARP_REQUEST) + PEER_MAC + PEER.packed
        self._wire.send(head + packet + bytes(6) + VIP.address.packed)
        with anyio.move_on_after(0.1):
            while self._answers == before:
                await anyio.wait_readable(self._wire)
                self._look()
        return self._answers > before

    def _look(self) -> None:
        for frame in _drain(self._wire):
            sender, target = frame[28:32], frame[38:42]
            if frame[6:12] == MAC and sender == VIP.address.packed:
                if sender == target:
                    self._gratuitous += 1
                elif frame[20:22] == struct.pack("!H", ARP_REPLY):
                    self._answers += 1
        for message in _drain(self._news):
            (kind,) = struct.unpack_from("=H", message, 4)
            self._renewals += kind == RTM_NEWADDR and VIP.address.packed in message


def _drain(sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found.append(sock.recv(65536))
        except BlockingIOError:
            return found


class Stack:
    """Announcers one inside the other, as the core stacks them."""

    def __init__(self, *announcers: Announcer) -> None:
        self._announcers = announcers

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for announcer in self._announcers:
                await stack.enter_async_context(announcer.announce(vip, tenure, report))
            yield


@asynccontextmanager
async def open_address(folder: Path) -> AsyncGenerator[Announcer]:
    config = AddressConfig(lifetime=Duration(2.0), renew=Duration(0.3))
    async with ADDRESS.open(config, make_host(folder)) as address:
        yield address


@asynccontextmanager
async def open_both(folder: Path) -> AsyncGenerator[Announcer]:
    config = ArpConfig(interval=Duration(0.3))
    async with open_address(folder) as address, ARP.open(config, make_host(folder)) as arp:
        yield Stack(address, arp)


RIGS: dict[str, Callable[[Path], AbstractAsyncContextManager[Announcer]]] = {
    "address": open_address,
    "address+arp": open_both,
}


async def inside(name: str) -> None:
    cable = Cable()

    async def disturb() -> None:
        await anyio.run_process(["ip", "address", "del", f"{VIP.address}/32", "dev", "e0"])

    wire = Wire(is_reachable=cable.is_reachable, count_sent=cable.sent, disturb=disturb)
    with tempfile.TemporaryDirectory() as folder:
        await check_announcer(
            lambda: RIGS[name](Path(folder)),
            VIP,
            wire,
            impossible=evolve(VIP, name="web", interface="nosuch0"),
            quiet_seconds=1.0,
            cuts=5,
        )


@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.parametrize("name", RIGS)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_announcer_keeps_its_duties(name: str, backend: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__, name, backend], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.anyio
async def test_the_fake_announcer_keeps_its_duties(anyio_backend: str) -> None:
    record = Recorder()

    async def is_reachable() -> bool:
        return record.words.count("announce api") > record.words.count("withdraw api")

    @asynccontextmanager
    async def make() -> AsyncGenerator[Announcer]:
        yield FakeAnnouncer(record)

    await check_announcer(make, VIP, Wire(is_reachable=is_reachable), quiet_seconds=0.01)


if __name__ == "__main__":
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise SystemExit("a network namespace is refused")
    for line in SETUP.strip().splitlines():
        subprocess.run(line.split(), check=True)
    anyio.run(inside, sys.argv[1], backend=sys.argv[2])
