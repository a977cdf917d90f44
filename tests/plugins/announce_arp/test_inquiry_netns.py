"""Before the first claim the network is asked, by whichever node and in whatever term; before a takeover it is not."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from anyio import create_task_group, fail_after, sleep
from anyio.to_thread import run_sync

from kubevip import Duration, VirtualIP
from kubevip.errors import AnnounceError
from kubevip.testing import make_host, make_tenure
from kubevip_announce_arp._config import AddressConfig
from kubevip_announce_arp._frames import announcement, mark_of
from kubevip_announce_arp._records import read_announced
from kubevip_announce_arp._templates import load_templates
from kubevip_announce_arp.plugin import ADDRESS

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip import Health

pytestmark = [pytest.mark.netns, pytest.mark.anyio]

VIP4 = VirtualIP(name="api4", address=ip_address("10.9.0.100"), group="api")
VIP6 = VirtualIP(name="api6", address=ip_address("2001:db8:9::100"), group="api")
BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["arp", "ndp"])
SHORT = AddressConfig(probe_interval=Duration(0.05))
Shell = Any  # the function `run` of conftest
Wire = Any  # the class of conftest


@pytest.fixture(autouse=True, scope="module")
def templates() -> None:
    """Built before a test begins, in the process that those of the namespaces are forked from."""
    load_templates()


def tell(health: Health) -> None:
    pass


async def claim(announcer: Any, vip: VirtualIP, term: int = 1) -> float:
    """Hold it for a moment; the seconds that it took to get it."""
    async with announcer.prepare(vip):
        started = time.monotonic()
        async with announcer.announce(vip, make_tenure(group="api", term=term), tell):
            return time.monotonic() - started


def probes(wire: Wire, vip: VirtualIP) -> int:
    frames = [frame for frame in wire.heard() if vip.address.packed in frame]
    return sum(
        frame[28:32] == bytes(4) if frame[12:14] == b"\x08\x06" else frame[54] == 135 and frame[22:38] == bytes(16)
        for frame in frames
    )


async def squat(wire: Wire, vip: VirtualIP) -> None:
    """Be a neighbour that has the address, and says so whenever it is asked for."""
    frames = announcement(load_templates(), vip.address, wire.peer_mac)
    while True:
        if await wire.hears(vip.address.packed, 5):
            wire.send(frames[-1])


@BOTH
@pytest.mark.parametrize("term", [1, 2, 7])
async def test_what_a_neighbour_has_is_not_claimed_in_any_term(
    wire: Wire, shell: Shell, tmp_path: Path, vip: VirtualIP, term: int
) -> None:
    """So the node that leads after another was refused is refused as well."""
    async with ADDRESS.open(AddressConfig(), make_host(tmp_path)) as announcer, create_task_group() as tg:
        tg.start_soon(squat, wire, vip)
        for _ in range(2):  # it is asked again each time, as the neighbour may have gone
            with pytest.raises(AnnounceError, match=r"in use on the network of e0 by 02:00:00:00:aa:02; free it there"):
                await claim(announcer, vip, term)
            assert str(vip.address) not in await run_sync(shell, "ip address show dev e0")
        tg.cancel_scope.cancel()
    assert read_announced(tmp_path) == frozenset()


@BOTH
async def test_it_is_claimed_when_the_neighbour_has_gone(wire: Wire, tmp_path: Path, vip: VirtualIP) -> None:
    async with ADDRESS.open(AddressConfig(), make_host(tmp_path)) as announcer:
        async with create_task_group() as tg:
            tg.start_soon(squat, wire, vip)
            with pytest.raises(AnnounceError):
                await claim(announcer, vip, 2)
            tg.cancel_scope.cancel()
        assert await claim(announcer, vip, 2) >= 0.8


@BOTH
async def test_three_probes_come_before_the_first_claim_and_never_again(
    wire: Wire, tmp_path: Path, vip: VirtualIP
) -> None:
    for expected, term in ((3, 5), (0, 6)):
        async with ADDRESS.open(SHORT, make_host(tmp_path)) as announcer:
            await claim(announcer, vip, term)
            assert probes(wire, vip) == expected
            await claim(announcer, vip, term + 10)
            assert probes(wire, vip) == 0


@BOTH
async def test_what_a_member_announced_is_taken_over_without_a_question(
    wire: Wire, tmp_path: Path, vip: VirtualIP
) -> None:
    marked = announcement(load_templates(), vip.address, wire.peer_mac, mark=mark_of("test", "api"))
    host = attrs.evolve(make_host(tmp_path), instance="test")
    async with ADDRESS.open(AddressConfig(), host) as announcer:
        async with announcer.prepare(vip):  # type: ignore[attr-defined]
            wire.send(marked[-1])
            with fail_after(3):
                while read_announced(tmp_path) != {str(vip.address)}:
                    await sleep(0.01)
        assert await claim(announcer, vip, 7) < 0.5
        assert probes(wire, vip) == 0
    async with ADDRESS.open(AddressConfig(), host) as announcer:  # nor after a restart
        assert await claim(announcer, vip, 8) < 0.5


@BOTH
@pytest.mark.parametrize("mark", [b"", mark_of("test", "other"), mark_of("svc", "api")])
async def test_who_else_announces_it_is_no_member(wire: Wire, tmp_path: Path, vip: VirtualIP, mark: bytes) -> None:
    frames = announcement(load_templates(), vip.address, wire.peer_mac, mark=mark)
    host = attrs.evolve(make_host(tmp_path), instance="test")
    async with ADDRESS.open(SHORT, host) as announcer:
        async with announcer.prepare(vip):  # type: ignore[attr-defined]
            for frame in frames:
                wire.send(frame)
            await sleep(0.1)
        await claim(announcer, vip, 7)
        assert probes(wire, vip) == 3


async def test_an_address_that_comes_after_a_takeover_is_asked_for(wire: Wire, tmp_path: Path) -> None:
    new = attrs.evolve(VIP4, name="new", address=ip_address("10.9.0.101"))
    async with ADDRESS.open(SHORT, make_host(tmp_path)) as announcer:
        tenure = make_tenure(group="api", term=9)
        async with announcer.prepare(VIP4), announcer.announce(VIP4, tenure, tell):  # type: ignore[attr-defined]
            assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
            wire.heard()
            async with announcer.prepare(new), announcer.announce(new, tenure, tell):  # type: ignore[attr-defined]
                assert probes(wire, new) == 3


async def test_many_first_claims_share_the_sockets_of_a_device(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    vips = [attrs.evolve(VIP4, name=f"v{number}", address=ip_address("10.9.0.100") + number) for number in range(100)]
    most = [0]

    async with ADDRESS.open(SHORT, make_host(tmp_path)) as announcer, create_task_group() as tg:
        for vip in vips:
            tg.start_soon(claim, announcer, vip)
        with fail_after(20):
            while len(read_announced(tmp_path)) < len(vips):
                most[0] = max(most[0], int(await run_sync(shell, "wc -l < /proc/net/packet")) - 1)
                await sleep(0.01)
    assert most[0] == 3  # with the test's own
