"""The announcer "address" against a real kernel."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest
from anyio import create_task_group, sleep
from anyio.to_thread import run_sync

from kubevip import Duration, Health, Host, Level, Place, Places, VirtualIP
from kubevip.abc import SupportsPreparation, SupportsTakeover
from kubevip.errors import AnnounceError
from kubevip.testing import ManualTenure, make_host, make_tenure
from kubevip_announce_arp import _will
from kubevip_announce_arp._config import AddressConfig, FencePolicy
from kubevip_announce_arp._records import Ownership, read_owned
from kubevip_announce_arp.plugin import ADDRESS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from kubevip_announce_arp._rtnetlink_socket import OnDevice

pytestmark = [pytest.mark.netns, pytest.mark.anyio]

VIP4 = VirtualIP(name="api4", address=ip_address("10.9.0.100"), group="api")
VIP6 = VirtualIP(name="api6", address=ip_address("2001:db8:9::100"), group="api")
QUIET = AddressConfig(probes=0)
Shell = Any  # the function `run` of conftest
Wire = Any  # the class of conftest


class Recorded:
    """A host whose wills and a report whose health the test can look at."""

    def __init__(self, state_dir: Path, instance: str = "test") -> None:
        self.wills: list[bytes | None] = []
        self.healths: list[Health] = []
        self.host: Host = attrs.evolve(
            make_host(state_dir), instance=instance, will=lambda order, function, payload: self.wills.append(payload)
        )

    def report(self, health: Health) -> None:
        self.healths.append(health)

    async def has_reported(self, test: Callable[[Health], bool], seconds: float = 3.0) -> Health:
        with anyio.fail_after(seconds):
            while not (self.healths and test(self.healths[-1])):
                await sleep(0.01)
        return self.healths[-1]


async def keep(tenure: ManualTenure) -> None:
    """Renew like an election whose lease outlives a busy machine."""
    while True:
        tenure.renew(0.6)
        await sleep(0.05)


@asynccontextmanager
async def leading(recorded: Recorded, *vips: VirtualIP, config: AddressConfig = QUIET) -> AsyncGenerator[ManualTenure]:
    async with ADDRESS.open(config, recorded.host) as announcer, create_task_group() as tg:
        tenure = make_tenure(group="api", seconds=0.6)
        tg.start_soon(keep, tenure)
        if len(vips) == 1:
            async with announcer.announce(vips[0], tenure, recorded.report):
                yield tenure
        else:
            first, second = vips
            async with (
                announcer.announce(first, tenure, recorded.report),
                announcer.announce(second, tenure, recorded.report),
            ):
                yield tenure
        tg.cancel_scope.cancel()


async def addresses(shell: Shell) -> dict[str, dict[str, Any]]:
    text = await run_sync(shell, "ip -j address show dev e0")
    return {entry["local"]: entry for entry in json.loads(text)[0]["addr_info"]}


async def test_an_address_has_a_lifetime_a_label_and_is_never_a_source(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    async with leading(Recorded(tmp_path), VIP4, VIP6):
        found = await addresses(shell)
        four, six = found["10.9.0.100"], found["2001:db8:9::100"]
        assert (four["prefixlen"], four["label"], four["deprecated"], four["preferred_life_time"]) == (
            32,
            "e0:kv",
            True,
            0,
        )
        assert 8 <= four["valid_life_time"] <= 10
        assert (six["prefixlen"], six["nodad"], six["noprefixroute"], six["deprecated"]) == (128, True, True, True)
        assert "tentative" not in six
        assert 8 <= six["valid_life_time"] <= 10
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
        assert await run_sync(wire.answers, "2001:db8:9::100") == {"ndp", "ping"}
    assert set(await addresses(shell)) & {"10.9.0.100", "2001:db8:9::100"} == set()


async def test_an_address_bears_the_protocol_number_of_kubevip(wire: Wire, tmp_path: Path) -> None:
    from kubevip_announce_arp._inventory import read_devices

    async with leading(Recorded(tmp_path), VIP4):
        _, entries = await run_sync(read_devices)
        assert [entry.protocol for entry in entries if entry.address == VIP4.address] == [107]


async def test_an_address_whose_local_route_is_removed_is_put_up_anew(
    wire: Wire, shell: Shell, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = AddressConfig(probes=0, lifetime=Duration(2), renew=Duration(0.2))
    async with leading(Recorded(tmp_path), VIP4, VIP6, config=config):
        with anyio.fail_after(5):  # for IPv6 the kernel adds it a moment after the address
            while "2001:db8:9::100" not in await run_sync(shell, "ip -6 route show table local"):
                await sleep(0.01)
        await run_sync(shell, "ip route del local 10.9.0.100 table local")
        await run_sync(shell, "ip -6 route del local 2001:db8:9::100 table local")
        with anyio.fail_after(5):
            for address, answers in (("10.9.0.100", {"arp", "ping"}), ("2001:db8:9::100", {"ndp", "ping"})):
                while await run_sync(wire.answers, address) != answers:
                    await sleep(0.05)
        told = [message for message in caplog.messages if message.startswith("unrouted")]
        await sleep(0.5)  # renewed twice more, and nothing else
        assert sorted(told) == [
            "unrouted address=10.9.0.100 device=e0: putting it up anew",
            "unrouted address=2001:db8:9::100 device=e0: putting it up anew",
        ]
        assert len([message for message in caplog.messages if message.startswith("unrouted")]) == 2


async def test_where_local_routes_are_elsewhere_an_address_stays_as_it_is(
    wire: Wire, shell: Shell, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule before that of the table `local` hides it from every question."""
    await run_sync(shell, "ip route add 10.9.0.100/32 dev e0 table 77; ip rule add pref 10 lookup local")
    await run_sync(shell, "ip rule add pref 5 to 10.9.0.100 lookup 77; ip rule del pref 0")
    config = AddressConfig(probes=0, lifetime=Duration(2), renew=Duration(0.1))
    async with leading(Recorded(tmp_path), VIP4, config=config):
        await sleep(1)
        assert len([message for message in caplog.messages if message.startswith("unrouted")]) == 1
        assert "10.9.0.100" in await addresses(shell)


async def test_an_address_outlives_its_lifetime_while_it_is_held(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    async with leading(
        Recorded(tmp_path), VIP4, config=AddressConfig(probes=0, lifetime=Duration(2), renew=Duration(0.5))
    ):
        await sleep(3)
        assert "10.9.0.100" in await addresses(shell)


async def test_a_stop_leaves_no_table_no_address_and_no_will(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    before = await run_sync(shell, "ip -j address; ip -j route show table all; nft list ruleset")
    async with leading(recorded, VIP4, VIP6):
        assert "kubevip_fence_test" in await run_sync(shell, "nft list ruleset")
        assert None not in recorded.wills
    after = await run_sync(shell, "ip -j address; ip -j route show table all; nft list ruleset")
    assert recorded.wills[-1] is None
    assert sorted(strip(after)) == sorted(strip(before))


def strip(text: str) -> list[str]:
    """Without what changes by itself: the lifetimes, the order."""
    return [part for part in text.replace("{", "\n").split("\n") if "fe80" not in part]


async def test_a_cancelled_holder_withdraws_first(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:

        async def hold() -> None:
            async with announcer.announce(VIP4, make_tenure(group="api"), recorded.report):
                await anyio.sleep_forever()

        async with create_task_group() as tg:
            tg.start_soon(hold)
            await recorded.has_reported(lambda health: health == Health())
            tg.cancel_scope.cancel()
        assert "10.9.0.100" not in await addresses(shell)
        assert "elements" not in await run_sync(shell, "nft list set inet kubevip_fence_test active")


async def test_an_address_of_the_machine_is_refused_by_name(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell("ip address add 10.9.0.100/24 dev e0")
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        with pytest.raises(AnnounceError, match=r"api4: 10\.9\.0\.100 is already on e0, as an address of this machine"):
            async with announcer.announce(VIP4, make_tenure(group="api"), recorded.report):
                raise AssertionError("entered")
    assert (await addresses(shell))["10.9.0.100"]["prefixlen"] == 24


async def test_the_keeper_holds_the_socket_of_the_fence_until_it_is_to_be_closed(wire: Wire, tmp_path: Path) -> None:
    """After a renewal its release takes the kernel 10 to 30 ms, and a process that was killed is not dead before it."""
    held: list[int] = []

    def keep_open(fd: int) -> Callable[[], None]:
        held.append(fd)

        def let_go() -> None:
            os.fstat(fd)  # it is not closed yet
            held.remove(fd)

        return let_go

    async with ADDRESS.open(QUIET, attrs.evolve(make_host(tmp_path), keep_open=keep_open)):
        assert len(held) == 1
    assert held == []


async def test_an_address_of_another_program_is_refused_and_left_alone(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    shell("ip address add 10.9.0.100/32 dev e0 valid_lft 100 preferred_lft 0")
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        with pytest.raises(AnnounceError, match="put there by another program"):
            async with announcer.announce(VIP4, make_tenure(group="api"), recorded.report):
                raise AssertionError("entered")
    assert "10.9.0.100" in await addresses(shell)


@pytest.mark.parametrize(
    ("setup", "interface", "message"),
    [
        ("true", "e7", "api4: this machine has no device e7"),
        ("ip link add br0 type bridge; ip link set e0 master br0", "e0", "e0 is a member of the bridge br0"),
    ],
)
async def test_a_device_that_cannot_bear_it_is_named(
    wire: Wire, shell: Shell, tmp_path: Path, setup: str, interface: str, message: str
) -> None:
    shell(setup)
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        vip = attrs.evolve(VIP4, interface=interface)
        with pytest.raises(AnnounceError, match=message):
            async with announcer.announce(vip, make_tenure(group="api"), recorded.report):
                raise AssertionError("entered")


async def test_the_broadcast_address_of_a_subnet_is_refused(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    async with ADDRESS.open(QUIET, Recorded(tmp_path).host) as announcer:
        vip = attrs.evolve(VIP4, address=ip_address("10.9.0.255"))
        assert isinstance(announcer, SupportsPreparation)
        with pytest.raises(AnnounceError, match=r"api4: 10\.9\.0\.255 is the broadcast address of the subnet of e0"):
            async with announcer.prepare(vip):
                raise AssertionError("entered")


async def test_a_device_without_ipv6_is_named_with_the_remedy(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell("sysctl -qw net.ipv6.conf.e0.disable_ipv6=1")
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        vip = attrs.evolve(VIP6, interface="e0")
        with pytest.raises(AnnounceError, match=r"cannot be put on e0: .* \(IPv6 is switched off there"):
            async with announcer.announce(vip, make_tenure(group="api", seconds=5.0), recorded.report):
                raise AssertionError("entered")


async def test_without_a_subnet_it_goes_where_the_default_route_goes(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    shell("ip route add default via 10.9.0.2")
    vip = VirtualIP(name="far", address=ip_address("172.31.0.9"), group="api")
    async with leading(Recorded(tmp_path), vip):
        assert "172.31.0.9" in await addresses(shell)


async def test_an_address_that_was_deleted_by_hand_is_put_back(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4):
        shell("ip address del 10.9.0.100/32 dev e0")
        await sleep(0.3)
        assert "10.9.0.100" in await addresses(shell)
        assert recorded.healths[-1] == Health()


async def test_an_ended_tenure_puts_nothing_back(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        tenure = make_tenure(group="api", seconds=5)
        async with announcer.announce(VIP4, tenure, recorded.report):
            tenure.end()
            shell("ip address del 10.9.0.100/32 dev e0")
            await sleep(0.8)
            assert "10.9.0.100" not in await addresses(shell)


async def test_the_end_of_a_tenure_silences_it_before_anybody_withdraws(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        tenure = make_tenure(group="api", seconds=5)
        async with announcer.announce(VIP4, tenure, recorded.report):
            assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
            tenure.end()
            await sleep(0.1)
            assert "10.9.0.100" in await addresses(shell)
            assert await run_sync(wire.answers, "10.9.0.100") == set()


async def test_a_link_without_carrier_is_a_failure_until_it_is_back(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4, VIP6):
        shell("ip link set e1 down")
        health = await recorded.has_reported(lambda health: health.level is Level.FAILED)
        assert health.reason == "link e0 has no carrier"
        shell("ip link set e1 up")
        await recorded.has_reported(lambda health: health.level is Level.GOOD)


async def test_a_flap_is_not_reported(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4):
        shell("ip link set e1 down; ip link set e1 up")
        await sleep(0.4)
        assert recorded.healths == [Health()]


async def test_addresses_come_back_when_the_link_is_switched_on_again(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4, VIP6):
        shell("ip link set e0 down")
        await recorded.has_reported(lambda health: "is down" in health.reason)
        shell("ip link set e0 up; ip address add 2001:db8:9::1/64 dev e0 nodad")
        shell("ip neighbour replace 2001:db8:9::2 lladdr 02:00:00:00:aa:02 dev e0")
        shell("ip neighbour replace 10.9.0.2 lladdr 02:00:00:00:aa:02 dev e0")
        await recorded.has_reported(lambda health: health.level is Level.GOOD)
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
        assert await run_sync(wire.answers, "2001:db8:9::100") == {"ndp", "ping"}


async def test_a_device_that_vanishes_and_comes_back_gets_its_address_again(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4):
        shell("ip link del e0")
        health = await recorded.has_reported(lambda health: health.level is Level.FAILED)
        assert "e0" in health.reason
        shell("ip link add e0 type veth peer name e1; ip link set e1 up; ip link set e0 up")
        await recorded.has_reported(lambda health: health.level is Level.GOOD)
        assert "10.9.0.100" in await addresses(shell)


async def test_a_device_that_is_renamed_keeps_its_address_and_what_to_change_is_said(
    wire: Wire, shell: Shell, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 48."""
    places = Places(root=Place(file="config.yaml", line=7, path=("virtualIPs", 0)))
    recorded, vip = Recorded(tmp_path), attrs.evolve(VIP4, interface="e0", places=places)
    caplog.set_level(logging.INFO, "kubevip.address")
    async with leading(recorded, vip):
        shell("ip link set e0 name lan0")
        health = await recorded.has_reported(lambda health: bool(health.reason))
        assert health == Health(
            reason="10.9.0.100 stays on lan0, as e0 is called now, but cannot be put there again: write lan0 at "
            "config.yaml:7: virtualIPs[0].interface, or call it e0 again"
        )
        assert caplog.messages[-1] == f"renamed vip=api4 device=e0: {health.reason}"
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
        assert Ownership("10.9.0.100", "lan0") in read_owned(tmp_path)

        shell("ip address del 10.9.0.100/32 dev lan0")  # it is repaired there, too
        with anyio.fail_after(3):
            while await run_sync(wire.answers, "10.9.0.100") != {"arp", "ping"}:
                await sleep(0.05)

        shell("ip link set lan0 name e0")
        await recorded.has_reported(lambda health: health == Health())
        assert caplog.messages[-1] == "renamed vip=api4 device=lan0: it is called e0 now"
        shell("ip link set e0 name lan0")
        await recorded.has_reported(lambda health: bool(health.reason))
    assert "10.9.0.100" not in await run_sync(shell, "ip address")
    assert [health.level for health in recorded.healths] == [Level.GOOD] * len(recorded.healths)


async def test_a_device_that_is_renamed_is_still_fenced(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    """Scenario 48."""
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        tenure = make_tenure(group="api", seconds=5)
        async with announcer.announce(attrs.evolve(VIP4, interface="e0"), tenure, recorded.report):
            shell("ip link set e0 name lan0")
            await recorded.has_reported(lambda health: bool(health.reason))
            assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
            tenure.end()
            await sleep(0.1)
            assert "10.9.0.100" in await run_sync(shell, "ip address")
            assert await run_sync(wire.answers, "10.9.0.100") == set()


async def test_a_device_that_takes_the_name_of_a_renamed_one_gets_nothing_of_it(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, attrs.evolve(VIP4, interface="e0")):
        shell("ip link set e0 name lan0; ip link add e0 type veth peer name e9; ip link set e0 up")
        await recorded.has_reported(lambda health: bool(health.reason))
        await sleep(0.2)
        assert "10.9.0.100" not in await run_sync(shell, "ip address show dev e0")
        assert "10.9.0.100" in await run_sync(shell, "ip address show dev lan0")
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}


async def test_a_flushed_ruleset_is_back_within_a_second(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4):
        shell("nft add table ip other; nft flush ruleset")
        health = await recorded.has_reported(lambda health: health.level is Level.DEGRADED, 1.0)
        assert health.reason.startswith("unfenced")
        assert "drop" in await run_sync(shell, "nft list chain inet kubevip_fence_test g0")
        await recorded.has_reported(lambda health: health == Health())
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}


async def test_a_flushed_ruleset_is_back_within_a_second_where_nothing_is_held(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    async with ADDRESS.open(QUIET, Recorded(tmp_path).host):
        for command in (
            "nft flush ruleset",
            "nft delete table arp kubevip_fence_test",
            "nft flush table inet kubevip_fence_test",
        ):
            shell(command)
            await sleep(0.9)
            assert "vmap @group6" in await run_sync(shell, "nft list chain inet kubevip_fence_test prerouting")
            assert "@claims" in await run_sync(shell, "nft list chain arp kubevip_fence_test input")


async def test_leftovers_of_this_instance_are_removed_at_open_and_no_others(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    from kubevip_announce_arp._kernel import Place
    from kubevip_announce_arp._records import Ownership, write_owned
    from kubevip_announce_arp._rtnetlink_socket import AddressSocket

    sockets = AddressSocket()
    index = socket.if_nametoindex("e0")
    leftovers = [
        Place(address=ip_address(address), group="", index=index, device="e0")
        for address in ("10.9.0.100", "10.9.0.101", "2001:db8:9::100")
    ]
    assert sockets.add(leftovers, 100) == [0, 0, 0]
    sockets.close()
    shell("ip address add 10.9.0.102/32 dev e0")
    names = ("10.9.0.100", "2001:db8:9::100", "10.9.0.102", "10.9.0.200")
    write_owned(tmp_path, [Ownership(name, "e0") for name in names])
    async with ADDRESS.open(QUIET, Recorded(tmp_path).host):
        left = set(await addresses(shell))
    assert left & {"10.9.0.100", "2001:db8:9::100"} == set()  # its own
    assert {"10.9.0.1", "10.9.0.101", "10.9.0.102"} <= left  # the machine's, another instance's, a permanent one


async def test_two_instances_on_one_machine_do_not_touch_each_other(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = VirtualIP(name="web", address=ip_address("10.9.0.200"), group="api")
    async with leading(Recorded(tmp_path / "a", "a"), VIP4):
        async with leading(Recorded(tmp_path / "b", "b-2"), other):
            assert {"10.9.0.100", "10.9.0.200"} <= set(await addresses(shell))
            assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
            assert await run_sync(wire.answers, "10.9.0.200") == {"arp", "ping"}
        assert "10.9.0.100" in await addresses(shell)
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
        assert await run_sync(wire.answers, "10.9.0.200") == set()
        tables = await run_sync(shell, "nft list tables")
        assert tables == "table arp kubevip_fence_a\ntable inet kubevip_fence_a\n"


async def test_an_instance_runs_once_in_a_network_namespace_whatever_its_state_directory(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    from kubevip_announce_arp._address_instance import cleanup

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with leading(Recorded(tmp_path / "a", "a"), VIP4):
        for _ in range(5):  # however often somebody tries
            with pytest.raises(AnnounceError, match=rf"'a' already runs .*\(pid {os.getpid()}\).* --instance"):
                async with ADDRESS.open(QUIET, Recorded(tmp_path / "b", "a").host):
                    pass
            await sleep(0.02)
        with pytest.raises(AnnounceError, match="'a' already runs"):
            await run_sync(cleanup, "a", tmp_path / "b")
        assert "kubevip_fence_a" in await run_sync(shell, "nft list tables")
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}
    async with leading(Recorded(tmp_path / "b", "a"), VIP4):  # the first one went
        assert await run_sync(wire.answers, "10.9.0.100") == {"arp", "ping"}


async def test_the_will_closes_the_fence_and_removes_the_addresses(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        tenure = make_tenure(group="api")
        async with (
            announcer.announce(VIP4, tenure, recorded.report),
            announcer.announce(VIP6, tenure, recorded.report),
        ):
            will = recorded.wills[-1]
            assert will is not None
            _will.withdraw(will)  # without the loop running: what is up is what the kernel has
            text = shell("ip address show dev e0; nft list set inet kubevip_fence_test active")
            assert "10.9.0.100" not in text
            assert "2001:db8:9::100" not in text
            assert "elements" not in text
    shell("nft add table inet kubevip_fence_test")
    _will.withdraw(will)  # once more, when nothing of it is there


async def test_the_will_is_not_about_an_address_that_was_taken_off(wire: Wire, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)

    def left() -> set[str]:
        assert recorded.wills[-1] is not None
        return set(json.loads(recorded.wills[-1])["addresses"])

    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        tenure = make_tenure(group="api")
        async with announcer.announce(VIP4, tenure, recorded.report):
            async with announcer.announce(VIP6, tenure, recorded.report):
                assert left() == {"10.9.0.100", "2001:db8:9::100"}
            assert left() == {"10.9.0.100"}
        assert left() == set()
        async with announcer.announce(VIP6, tenure, recorded.report):
            assert left() == {"2001:db8:9::100"}


async def test_the_will_leaves_the_same_address_with_a_subnet(wire: Wire, shell: Shell) -> None:
    await run_sync(shell, "ip address add 10.9.0.100/24 dev e0")
    await run_sync(_will.withdraw, _will.make("", {"10.9.0.100": socket.if_nametoindex("e0")}))
    assert "10.9.0.100/24" in await run_sync(shell, "ip address show dev e0")


async def test_cleanup_removes_what_a_dead_instance_left(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    from kubevip_announce_arp._address_instance import cleanup, open_fence
    from kubevip_announce_arp._records import Ownership, write_owned

    fence, _ = open_fence("dead-1", FencePolicy.REQUIRED)
    assert fence is not None
    fence.close_socket()
    shell("ip address add 10.9.0.100/32 dev e0 valid_lft 100 preferred_lft 0")
    write_owned(tmp_path, [Ownership("10.9.0.100", "e0")])
    assert list(await run_sync(cleanup, "dead-1", tmp_path)) == [
        "address 10.9.0.100 on e0",
        "nftables tables arp and inet kubevip_fence_dead_1",
    ]
    assert await run_sync(shell, "nft list ruleset") == ""
    assert await run_sync(cleanup, "dead-1", tmp_path) == []


async def test_status_tells_whether_there_is_a_fence(wire: Wire, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        assert announcer.status() == {"fence": "nft"}  # type: ignore[attr-defined]
        assert isinstance(announcer, SupportsTakeover)
        assert announcer.soonest_takeover_seconds == 0
    async with ADDRESS.open(AddressConfig(probes=0, fence=FencePolicy.OFF), recorded.host) as announcer:
        assert announcer.status() == {"fence": "unfenced: switched off by the configuration"}  # type: ignore[attr-defined]
        assert isinstance(announcer, SupportsTakeover)
        assert announcer.soonest_takeover_seconds == 0.5


async def test_without_a_fence_the_address_lives_two_seconds_and_says_so(
    wire: Wire, shell: Shell, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path)
    async with leading(recorded, VIP4, config=AddressConfig(probes=0, fence=FencePolicy.OFF)):
        assert recorded.healths[-1].level is Level.DEGRADED
        assert recorded.healths[-1].reason.startswith("unfenced")
        assert (await addresses(shell))["10.9.0.100"]["valid_life_time"] <= 2
        await sleep(2.5)
        assert "10.9.0.100" in await addresses(shell)


async def test_a_follower_that_is_a_client_learns_the_new_holder(wire: Wire, shell: Shell, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    shell("ip neighbour replace 10.9.0.100 lladdr 02:00:00:00:00:99 dev e0 nud reachable")
    async with ADDRESS.open(QUIET, recorded.host) as announcer:
        tenure = make_tenure(group="api", seconds=5)
        async with announcer.announce(VIP4, tenure, recorded.report):
            tenure.end()  # still fenced, and no longer the holder
            await sleep(1.1)  # the lock time of a neighbour entry
            shell("ip address del 10.9.0.100/32 dev e0")
            shell("ip neighbour replace 10.9.0.100 lladdr 02:00:00:00:00:99 dev e0 nud stale")
            await sleep(1.1)
            wire.send(wire.arp(1, "10.9.0.100", "10.9.0.100"))
            await sleep(0.1)
            assert "02:00:00:00:aa:02" in await run_sync(shell, "ip neighbour show 10.9.0.100")


async def test_an_address_that_cannot_be_taken_off_at_once_is_tried_again_after_a_pause(
    wire: Wire, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubevip_announce_arp._rtnetlink_socket import AddressSocket

    delete, tries, left = AddressSocket.delete, list[float](), list[float]()

    def busy(addresses: AddressSocket, items: Sequence[OnDevice]) -> list[int]:
        if not items:
            return []
        tries.append(time.monotonic())
        return delete(addresses, items) if len(tries) > 6 else [errno.EBUSY] * len(items)

    async with ADDRESS.open(QUIET, Recorded(tmp_path).host) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            monkeypatch.setattr(AddressSocket, "delete", busy)
        left.append(time.monotonic())
        assert "10.9.0.100" not in await addresses(shell)
    assert tries[6] - tries[0] >= 0.01 + 0.02 + 0.04 + 0.08 + 0.16 + 0.32
    assert left[0] - tries[0] < 2


async def test_a_fenced_address_that_cannot_be_taken_off_delays_nobody_for_long(
    wire: Wire, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubevip_announce_arp._rtnetlink_socket import AddressSocket

    async with ADDRESS.open(QUIET, Recorded(tmp_path).host) as announcer:
        async with announcer.announce(VIP4, make_tenure(group="api"), lambda health: None):
            monkeypatch.setattr(AddressSocket, "delete", lambda addresses, items: [errno.EPERM] * len(items))
            started = time.monotonic()
        assert 0.9 <= time.monotonic() - started < 3  # of a lifetime of 10 s
        assert "10.9.0.100" in await addresses(shell)
        assert await run_sync(wire.answers, "10.9.0.100") == set()


@pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])
async def test_without_a_fence_an_address_that_cannot_be_taken_off_is_gone_before_anybody_may_take_over(
    wire: Wire, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vip: VirtualIP
) -> None:
    from kubevip_announce_arp._rtnetlink_socket import AddressSocket

    recorded = Recorded(tmp_path)
    async with ADDRESS.open(AddressConfig(probes=0, fence=FencePolicy.OFF), recorded.host) as announcer:
        async with announcer.announce(vip, make_tenure(group="api"), recorded.report):
            monkeypatch.setattr(AddressSocket, "delete", lambda addresses, items: [errno.EPERM] * len(items))
            started = time.monotonic()
        assert 1 <= time.monotonic() - started < 6
        assert str(vip.address) not in await addresses(shell)
        assert recorded.wills[-1] is not None
        assert json.loads(recorded.wills[-1])["addresses"] == {}
