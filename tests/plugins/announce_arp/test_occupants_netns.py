"""Whose address it is, against a real kernel: what somebody else on this machine has is neither fenced nor raised."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from anyio import create_task_group, fail_after, sleep, sleep_forever
from anyio.to_thread import run_sync

from kubevip import VirtualIP
from kubevip.errors import AnnounceError
from kubevip.testing import make_host, make_tenure
from kubevip_announce_arp._config import AddressConfig
from kubevip_announce_arp.plugin import ADDRESS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from kubevip import Health
    from kubevip.abc import Announcer

pytestmark = [pytest.mark.netns, pytest.mark.anyio]

VIP4 = VirtualIP(name="api4", address=ip_address("10.9.0.100"), group="api")
VIP6 = VirtualIP(name="api6", address=ip_address("2001:db8:9::100"), group="api")
BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])
ALL = {4: {"arp", "ping"}, 6: {"ndp", "ping"}}
Shell = Any  # the function `run` of conftest
Wire = Any  # the class of conftest


@asynccontextmanager
async def instance(directory: Path, name: str = "test") -> AsyncGenerator[Any]:
    (directory / name).mkdir()
    host = attrs.evolve(make_host(directory / name), instance=name)
    async with ADDRESS.open(AddressConfig(probes=0), host) as announcer:
        yield announcer


def tell(health: Health) -> None:
    pass


def answered(wire: Wire, vip: VirtualIP) -> Callable[[], bool]:
    return lambda: bool(wire.answers(str(vip.address)) == ALL[vip.address.version])


async def standing_by(announcer: Any, vip: VirtualIP, *, task_status: Any) -> None:
    """Be a follower; says what refused it."""
    try:
        async with announcer.prepare(vip):
            task_status.started()
            await sleep_forever()
    except AnnounceError as error:
        announcer.refusal = str(error)


async def follow(announcer: Any, vip: VirtualIP, seconds: float = 0.2) -> str:
    """Stand by for a while; the refusal, if there is one."""
    try:
        async with announcer.prepare(vip):
            await sleep(seconds)
    except AnnounceError as error:
        return str(error)
    return ""


async def hold(announcer: Announcer, vip: VirtualIP, *, task_status: Any) -> None:
    async with announcer.prepare(vip), announcer.announce(vip, make_tenure(group="api"), tell):  # type: ignore[attr-defined]
        task_status.started()
        await sleep_forever()


@BOTH
async def test_an_address_of_the_machine_is_reachable_whoever_wants_it(
    wire: Wire, shell: Shell, tmp_path: Path, vip: VirtualIP
) -> None:
    own = attrs.evolve(vip, address=ip_address("10.9.0.1" if vip.address.version == 4 else "2001:db8:9::1"))
    async with instance(tmp_path) as announcer:
        for _ in range(3):
            refusal = await follow(announcer, own)
            assert f"{own.address} is already on e0, as an address of this machine" in refusal
            assert await run_sync(answered(wire, own))
        assert own.address.packed.hex() not in await run_sync(shell, "nft -a list ruleset")
        assert str(own.address) not in await run_sync(shell, "nft list ruleset")


async def test_an_address_on_any_device_is_the_machines(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell("ip address add 10.9.0.100/32 dev lo")
    async with instance(tmp_path) as announcer:
        assert "10.9.0.100 is already on lo, as an address of this machine" in await follow(announcer, VIP4)
        assert await run_sync(answered(wire, VIP4))


async def test_it_is_stood_by_for_when_it_has_gone_from_the_machine(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell("ip address add 10.9.0.100/24 dev e0")
    async with instance(tmp_path) as announcer:
        assert await follow(announcer, VIP4) != ""
        shell("ip address del 10.9.0.100/24 dev e0")
        with fail_after(2):
            while await follow(announcer, VIP4) != "":
                await sleep(0.01)


@BOTH
@pytest.mark.parametrize("device", ["e0", "lo"])
async def test_a_follower_lets_go_of_what_the_machine_gets_later(
    wire: Wire, shell: Shell, tmp_path: Path, vip: VirtualIP, device: str
) -> None:
    length = (24 if vip.address.version == 4 else 64) if device == "e0" else vip.address.max_prefixlen
    async with instance(tmp_path) as announcer, create_task_group() as tg:
        await tg.start(standing_by, announcer, vip)
        await sleep(0.1)
        assert str(vip.address) in await run_sync(shell, "nft list ruleset")
        shell(f"ip address add {vip.address}/{length} dev {device} {'nodad' if vip.address.version == 6 else ''}")
        with fail_after(2):  # what is on lo is not in the group to which a neighbour solicitation goes
            while "ping" not in await run_sync(wire.answers, str(vip.address)):
                await sleep(0.01)
        assert f"{vip.address} is already on {device}" in announcer.refusal
        assert str(vip.address) not in await run_sync(shell, "nft list ruleset")
        assert f"{vip.address} is already on {device}" in await follow(announcer, vip)


async def test_a_holder_lets_go_of_what_the_machine_gets_later(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    ended = list[str]()

    async def held(*, task_status: Any) -> None:
        try:
            await hold(announcer, VIP4, task_status=task_status)
        except AnnounceError as error:
            ended.append(str(error))

    async with instance(tmp_path) as announcer, create_task_group() as tg:
        await tg.start(held)
        assert "10.9.0.100/32" in await run_sync(shell, "ip address show dev e0")
        shell("ip address add 10.9.0.100/24 dev e0")
        with fail_after(2):
            while not ended:
                await sleep(0.01)
        shown = await run_sync(shell, "ip address show dev e0")
        assert "10.9.0.100/24" in shown
        assert "10.9.0.100/32" not in shown
        with fail_after(2):
            while not await run_sync(answered(wire, VIP4)):
                await sleep(0.01)


async def test_what_was_held_and_given_up_is_still_stood_by_for(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    """What the kernel tells of one's own address comes late, and is nobody else's doing."""
    async with instance(tmp_path) as announcer, announcer.prepare(VIP4):
        for _ in range(5):
            async with announcer.announce(VIP4, make_tenure(group="api"), tell):
                pass
        await sleep(0.2)
        assert "10.9.0.100" in await run_sync(shell, "nft list ruleset")


async def test_a_held_address_that_somebody_made_permanent_is_still_held(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    async with instance(tmp_path) as announcer, create_task_group() as tg:
        await tg.start(hold, announcer, VIP4)
        shell("ip address replace 10.9.0.100/32 dev e0 valid_lft forever preferred_lft forever")
        await sleep(0.3)
        assert await run_sync(answered(wire, VIP4))
        tg.cancel_scope.cancel()
    assert "10.9.0.100" not in await run_sync(shell, "ip address show dev e0")


@BOTH
async def test_what_another_instance_holds_stays_reachable_and_is_refused_by_its_name(
    wire: Wire, shell: Shell, tmp_path: Path, vip: VirtualIP
) -> None:
    async with instance(tmp_path, "team-a") as first, create_task_group() as tg:
        await tg.start(hold, first, vip)
        async with instance(tmp_path, "team-b") as second:
            until = time.monotonic() + 1
            while time.monotonic() < until:
                refusal = await follow(second, vip, 0)
                assert f"{vip.name}: {vip.address} is a virtual IP of instance 'team-a' on this machine" in refusal
                assert "kubevip cleanup --instance team-a" in refusal
                assert await run_sync(answered(wire, vip))
        tg.cancel_scope.cancel()


async def test_what_another_instance_stands_by_for_is_refused_until_it_does_no_more(wire: Wire, tmp_path: Path) -> None:
    async with instance(tmp_path, "team-a") as first, instance(tmp_path, "team-b") as second:
        async with create_task_group() as tg:
            await tg.start(standing_by, first, VIP4)
            await sleep(0.1)
            assert "instance 'team-a'" in await follow(second, VIP4)
            tg.cancel_scope.cancel()
        with fail_after(2):
            while await follow(second, VIP4) != "":
                await sleep(0.01)


async def test_two_instances_that_want_it_at_once_do_not_both_get_it(wire: Wire, tmp_path: Path) -> None:
    async with instance(tmp_path, "team-a") as first, instance(tmp_path, "team-b") as second:
        for _ in range(10):
            refusals = list[str]()

            async def want(announcer: Any, refusals: list[str] = refusals) -> None:
                refusals.append(await follow(announcer, VIP4))

            async with create_task_group() as tg:
                tg.start_soon(want, first)
                tg.start_soon(want, second)
            assert any(refusals)


async def test_other_addresses_of_another_instance_matter_to_nobody(wire: Wire, tmp_path: Path) -> None:
    other = attrs.evolve(VIP4, name="other", address=ip_address("10.9.0.101"))
    async with instance(tmp_path, "team-a") as first, instance(tmp_path, "team-b") as second:
        async with create_task_group() as tg:
            await tg.start(hold, first, VIP4)
            await tg.start(hold, second, other)
            assert await run_sync(answered(wire, VIP4))
            assert await run_sync(answered(wire, other))
            tg.cancel_scope.cancel()
