"""The announcer "arp" on a real wire."""

from __future__ import annotations

import os
import socket
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest
from anyio import sleep

from kubevip import Duration, Health, Level, VirtualIP
from kubevip.errors import AnnounceError
from kubevip.testing import make_host, make_tenure
from kubevip_announce_arp._config import ArpConfig, OnConflict
from kubevip_announce_arp.plugin import ARP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.netns, pytest.mark.anyio]

VIP4 = VirtualIP(name="api4", address=ip_address("10.9.0.100"), group="api")
VIP6 = VirtualIP(name="api6", address=ip_address("2001:db8:9::100"), group="api")
Shell = Any  # the function `run` of conftest
Wire = Any  # the class of conftest


def gratuitous(frame: bytes) -> str:
    """Which announcement of one of the addresses a frame is, with all its fields as they must be; "" for none."""
    if frame[12:14] == b"\x08\x06" and frame[28:32] == VIP4.address.packed:
        assert frame[:6] == b"\xff" * 6
        assert frame[6:12] == frame[22:28]
        assert frame[38:42] == VIP4.address.packed
        return {1: "request", 2: "reply"}[frame[21]]
    if frame[12:14] == b"\x86\xdd" and frame[54] == 136 and frame[62:78] == VIP6.address.packed:
        assert frame[:6] == bytes.fromhex("333300000001")  # ff02::1
        assert frame[38:54] == ip_address("ff02::1").packed
        assert frame[21] == 255  # hop limit
        assert frame[22:38] == VIP6.address.packed
        assert frame[78:80] == b"\x02\x01"
        assert frame[80:86] == frame[6:12]
        return f"advertisement {frame[58]:02x}"
    return ""


def taken(wire: Wire) -> list[str]:
    return [kind for frame in wire.heard() if (kind := gratuitous(frame))]


async def test_both_arp_forms_are_on_the_wire_when_it_is_entered_and_are_repeated(wire: Wire, tmp_path: Path) -> None:
    config = ArpConfig(count=3, interval=Duration(0.2), refresh=Duration(1))
    async with ARP.open(config, make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            await sleep(0.02)
            assert taken(wire) == ["request", "reply"]
            await sleep(0.5)
            assert taken(wire) == ["request", "reply"] * 2
            await sleep(0.3)
            assert taken(wire) == []
            await sleep(0.8)
            assert taken(wire) == ["request", "reply"]
        await sleep(1.2)
        assert taken(wire) == []


@pytest.mark.parametrize(("forwarding", "flags"), [("0", "20"), ("1", "a0")])
async def test_an_advertisement_overrides_and_names_a_router_where_the_node_is_one(
    wire: Wire, shell: Shell, tmp_path: Path, forwarding: str, flags: str
) -> None:
    shell(f"sysctl -q -w net.ipv6.conf.e0.forwarding={forwarding}")
    async with ARP.open(ArpConfig(), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP6, make_tenure(group="api"), lambda health: None):
            await sleep(0.05)
            assert taken(wire) == [f"advertisement {flags}"]


async def test_the_kernel_of_a_neighbour_takes_it(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell(
        "ip address add 10.9.0.5/24 dev e1; ip neighbour replace 10.9.0.100 lladdr 02:00:00:00:00:99 dev e1 nud stale"
    )
    await sleep(1.1)  # the lock time of an entry
    async with ARP.open(ArpConfig(), make_host(tmp_path)) as announcer:
        async with announcer.announce(
            attrs.evolve(VIP4, interface="e0"), make_tenure(group="api"), lambda health: None
        ):
            await sleep(0.05)
            assert "02:00:00:00:aa:01" in shell("ip neighbour show 10.9.0.100 dev e1")


async def test_nothing_is_sent_once_the_tenure_is_over(wire: Wire, tmp_path: Path) -> None:
    config = ArpConfig(count=20, interval=Duration(0.05))
    async with ARP.open(config, make_host(tmp_path)) as announcer:
        tenure = make_tenure(group="api")
        async with announcer.announce(VIP4, tenure, lambda health: None):
            await sleep(0.1)
            tenure.end()
            taken(wire)
            await sleep(0.3)
            assert taken(wire) == []


async def test_it_is_announced_again_when_the_link_is_back(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    healths: list[Health] = []
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), healths.append):
            await sleep(0.05)
            taken(wire)
            shell("ip link set e1 down")
            await sleep(0.1)
            shell("ip link set e1 up")
            await sleep(0.2)
            assert taken(wire)[:2] == ["request", "reply"]


async def test_it_is_announced_again_with_a_new_hardware_address(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            await sleep(0.05)
            wire.heard()
            shell("ip link set e0 address 02:00:00:00:aa:77")
            await sleep(0.2)
            frames = [frame for frame in wire.heard() if gratuitous(frame)]
            assert {frame[22:28].hex(":") for frame in frames} == {"02:00:00:00:aa:77"}


async def test_it_is_announced_again_when_the_address_was_put_back(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell("ip address add 10.9.0.100/32 dev e0")
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            await sleep(0.05)
            taken(wire)
            shell("ip address del 10.9.0.100/32 dev e0")
            await sleep(0.1)
            assert taken(wire) == []
            shell("ip address add 10.9.0.100/32 dev e0")
            await sleep(0.1)
            assert taken(wire) == ["request", "reply"]


async def test_it_is_announced_on_a_device_that_came_back(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            shell("ip link del e0")
            await sleep(0.1)
            shell("ip link add e0 type veth peer name e1; ip link set e1 up")
            again = type(wire)()
            shell("ip link set e0 up")
            await sleep(0.3)
            assert taken(again)[:2] == ["request", "reply"]


async def test_it_is_announced_again_on_a_device_that_was_renamed(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    """Scenario 48."""
    shell("sysctl -q -w net.ipv6.conf.e0.forwarding=1")
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP6, make_tenure(group="api"), lambda health: None):
            await sleep(0.05)
            assert taken(wire) == ["advertisement a0"]
            shell("ip link set e0 name lan0")
            shell("ip link set e1 down")
            await sleep(0.1)
            shell("ip link set e1 up")
            await sleep(0.2)
            assert taken(wire)[:1] == ["advertisement a0"]  # and it is still said that this is a router


@pytest.mark.parametrize(
    ("policy", "defences"),
    [(OnConflict.DEFEND, ["request", "reply"]), (OnConflict.IGNORE, [])],
    ids=["defend", "ignore"],
)
async def test_a_rival_is_told_of_and_answered_once(
    wire: Wire, tmp_path: Path, policy: OnConflict, defences: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    healths: list[Health] = []
    async with ARP.open(ArpConfig(count=1, on_conflict=policy), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), healths.append):
            await sleep(0.05)
            taken(wire)
            for operation in (1, 2, 1, 2):
                wire.send(wire.arp(operation, "10.9.0.100", "10.9.0.100"))
                await sleep(0.05)
            assert taken(wire) == defences
            assert healths[-1] == Health(level=Level.GOOD, reason="10.9.0.100 is claimed by 02:00:00:00:aa:02 too")
    warnings = [
        record.getMessage() for record in caplog.records if record.name == "kubevip.arp" and record.levelno > 20
    ]
    assert warnings == ["conflict vip=api4 address=10.9.0.100 device=e0: 02:00:00:00:aa:02 claims it too"]


async def test_a_rival_by_ndp_is_heard_too(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    healths: list[Health] = []
    shell("ip address add 2001:db8:9::100/128 dev e0 nodad")
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP6, make_tenure(group="api"), healths.append):
            await sleep(0.05)
            mine = next(frame for frame in wire.heard() if gratuitous(frame))
            forged = bytearray(mine)
            forged[6:12] = forged[80:86] = wire.peer_mac
            wire.send(bytes(forged))
            await sleep(0.1)
            assert "02:00:00:00:aa:02" in healths[-1].reason


async def test_noise_is_survived(wire: Wire, tmp_path: Path) -> None:
    healths: list[Health] = []
    async with ARP.open(ArpConfig(count=1), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), healths.append):
            whole = wire.arp(2, "10.9.0.100", "10.9.0.100")
            for length in range(14, 42):
                wire.send(whole[:length])
            wire.send(whole[:18] + b"\x14\x04" + whole[20:] + bytes(1400))  # hardware addresses of 20 bytes
            wire.send(wire.arp(1, "10.9.0.2", "10.9.0.100"))  # a question, which claims nothing
            wire.send(wire.arp(9, "10.9.0.100", "10.9.0.100"))
            await sleep(0.1)
            assert healths == [Health()]
            wire.send(whole)
            await sleep(0.1)
            assert healths[-1].reason


@pytest.mark.parametrize(
    ("setup", "device", "message"),
    [("true", "lo", "lo is a loopback device"), ("ip link set e0 arp off", "e0", "e0 is a NOARP device")],
    ids=["loopback", "noarp"],
)
async def test_a_device_without_neighbours_is_refused(
    wire: Wire, shell: Shell, tmp_path: Path, setup: str, device: str, message: str
) -> None:
    shell(setup)
    async with ARP.open(ArpConfig(), make_host(tmp_path)) as announcer:
        vip = attrs.evolve(VIP4, interface=device)
        with pytest.raises(AnnounceError, match=message):
            async with announcer.announce(vip, make_tenure(group="api"), lambda health: None):
                raise AssertionError("entered")


async def test_many_addresses_are_paced(wire: Wire, tmp_path: Path) -> None:
    vips = [VirtualIP(name=f"v{n}", address=ip_address(f"10.9.0.{n}"), group="api") for n in range(10, 160)]
    async with ARP.open(ArpConfig(count=1, rate=256), make_host(tmp_path)) as announcer:
        tenure = make_tenure(group="api")

        async def hold(vip: VirtualIP) -> None:
            async with announcer.announce(vip, tenure, lambda health: None):
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tg:
            started = time.monotonic()
            for vip in vips:
                tg.start_soon(hold, vip)
            seen: set[bytes] = set()
            with anyio.fail_after(5):
                while len(seen) < len(vips):
                    seen.update(
                        frame[28:32] for frame in wire.heard() if frame[12:14] == b"\x08\x06" and frame[21] == 2
                    )
                    await sleep(0.01)
            assert time.monotonic() - started >= 0.1  # 300 frames: 256 at once, the others at 256 a second
            tg.cancel_scope.cancel()


async def test_leaving_does_not_wait_for_the_kernel_to_close_sockets(wire: Wire, tmp_path: Path) -> None:
    async with ARP.open(ArpConfig(), make_host(tmp_path)) as announcer:
        took: list[float] = []
        for _ in range(10):
            async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
                await sleep(0.01)
                started = time.monotonic()
            took.append(time.monotonic() - started)
        assert sorted(took)[5] < 0.005


async def test_the_keeper_holds_raw_sockets_until_they_are_to_be_closed(wire: Wire, tmp_path: Path) -> None:
    """Their release takes the kernel 10 to 30 ms each, and a process that was killed is not dead before it."""
    held: dict[int, str] = {}

    def keep_open(fd: int) -> Callable[[], None]:
        with socket.socket(fileno=os.dup(fd)) as copy:
            held[fd] = copy.family.name

        def let_go() -> None:
            os.fstat(fd)  # it is not closed yet
            del held[fd]

        return let_go

    host = attrs.evolve(make_host(tmp_path), keep_open=keep_open)
    async with ARP.open(ArpConfig(), host) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            assert list(held.values()) == ["AF_PACKET"] * 2
    assert held == {}


async def test_an_address_that_is_gone_is_reported_and_not_announced_until_it_is_back(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    healths: list[Health] = []
    shell("ip address add 10.9.0.100/32 dev e0")
    config = ArpConfig(count=2, interval=Duration(0.3), refresh=Duration(1))
    async with ARP.open(config, make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), healths.append):
            await sleep(0.05)
            assert taken(wire) == ["request", "reply"]
            shell("ip address del 10.9.0.100/32 dev e0")
            await sleep(1.5)
            assert taken(wire) == []
            assert healths == [
                Health(),
                Health(level=Level.DEGRADED, reason="10.9.0.100 is gone from its device"),
            ]
            shell("ip address add 10.9.0.100/32 dev e0")
            await sleep(0.1)
            assert taken(wire) == ["request", "reply"]
            await sleep(0.4)
            assert taken(wire) == ["request", "reply"]  # the schedule began again
            assert healths[2:] == [Health()]


async def test_an_address_that_goes_from_another_device_is_not_gone(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    healths: list[Health] = []
    shell("ip address add 10.9.0.100/32 dev e0; ip address add 10.9.0.100/32 dev e1")
    config = ArpConfig(count=3, interval=Duration(0.1))
    async with ARP.open(config, make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), healths.append):
            shell("ip address del 10.9.0.100/32 dev e1")
            await sleep(0.4)
            assert taken(wire) == ["request", "reply"] * 3
            assert healths == [Health()]


async def test_the_end_of_an_earlier_tenure_is_not_reported_in_a_new_one(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    healths: list[Health] = []
    shell("ip address add 10.9.0.100/32 dev e0")
    async with ARP.open(ArpConfig(), make_host(tmp_path)) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            await sleep(0.05)
        shell("ip address del 10.9.0.100/32 dev e0; ip address add 10.9.0.100/32 dev e0")  # not read before the next
        async with announcer.announce(VIP4, make_tenure(group="api", term=2), healths.append):
            await sleep(0.4)
            assert healths == [Health()]
            wire.heard()
            await sleep(1)
            assert taken(wire) == ["request", "reply"]
