"""The core as plugin authors run it in their tests: from sources over the plan to what is held."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from anyio import sleep
from attrs import evolve, frozen

from kubevip import Desired, Event, Group, Host, Instance, Kind, PersistentMap, Provider, Section, VirtualIP
from kubevip.testing import FakeAnnouncer, Recorder, running_app

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@frozen
class NoConfig:
    pass


def providing(name: str, service: Any) -> Provider[NoConfig, Any]:
    @asynccontextmanager
    async def open_it(config: NoConfig, host: Host) -> AsyncGenerator[Any]:
        yield service

    opening: Callable[[NoConfig, Host], AbstractAsyncContextManager[Any]] = open_it
    return Provider(name=name, summary="A fake", config=NoConfig, open=opening)


API = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api", announcers=("bgp",))
DESIRED = Desired(groups=(Group(name="api", election="single"),), vips=(API,))


async def test_what_is_desired_is_held_and_can_change(tmp_path: Path) -> None:
    record = Recorder()
    announcers = [providing("bgp", FakeAnnouncer(record))]
    async with running_app(DESIRED, state_dir=tmp_path, announcers=announcers) as app:
        await app.wait_until(lambda status: [vip.name for vip in status.vips if vip.is_held] == ["api"])
        app.set(evolve(DESIRED, vips=(API, evolve(API, name="web", address=IPv4Address("192.0.2.2")))))
        await app.wait_until(lambda status: [vip.name for vip in status.vips if vip.is_held] == ["api", "web"])
        assert record.words == ["announce api", "announce web"]
    assert sorted(record.words[2:]) == ["withdraw api", "withdraw web"]


async def test_a_part_that_changes_disturbs_no_other(tmp_path: Path) -> None:
    def part(number: int, interface: str = "auto") -> Desired:
        address = IPv4Address(f"192.0.2.{number}")
        return Desired(vips=(evolve(API, name=f"v{number}", address=address, interface=interface),))

    record = Recorder()
    parts = PersistentMap[str, Desired]()
    for number in range(1, 41):  # more than are started in one go
        parts = parts.with_item(f"p{number}", part(number))
    desired = evolve(DESIRED, vips=(), parts=parts)
    announcers = [providing("bgp", FakeAnnouncer(record))]
    async with running_app(desired, state_dir=tmp_path, announcers=announcers) as app:
        await app.wait_until(lambda status: sum(vip.is_held for vip in status.vips) == 40)
        app.set(evolve(desired, parts=parts.with_item("p7", part(7, "eth1")).without("p9")))
        await sleep(1)
        assert record.words[40:] == ["withdraw v9", "withdraw v7", "announce v7"]
        app.set(evolve(desired, parts=PersistentMap()))
        await app.wait_until(lambda status: not status.vips)
        assert app.status().groups == ()  # nobody needs it any more


async def test_a_stop_while_an_address_is_replaced_takes_both_away(tmp_path: Path) -> None:
    record = Recorder()
    announcers = [providing("bgp", FakeAnnouncer(record, enter_seconds=2))]
    async with running_app(DESIRED, state_dir=tmp_path, announcers=announcers) as app:
        await app.wait_until(lambda status: any(vip.is_held for vip in status.vips))
        app.set(evolve(DESIRED, vips=(evolve(API, address=IPv4Address("192.0.2.7")),)))
        await sleep(1)  # the new one is on its way up, the old one still there
    assert record.words == ["announce api", "withdraw api"]


async def test_an_instance_can_ask_which_configuration_runs_now(tmp_path: Path) -> None:
    hosts: list[Host] = []

    @asynccontextmanager
    async def open_it(config: NoConfig, host: Host) -> AsyncGenerator[Any]:
        hosts.append(host)
        yield FakeAnnouncer(Recorder())

    bgp: Provider[NoConfig, Any] = Provider(name="bgp", summary="A fake", config=NoConfig, open=open_it)
    first, second = evolve(DESIRED, digest="5f0c1a9e"), evolve(DESIRED, digest="9b77e310")
    async with running_app(first, state_dir=tmp_path, announcers=[bgp]) as app:
        await app.wait_until(lambda status: any(vip.is_held for vip in status.vips))
        assert [host.config_digest() for host in hosts] == ["5f0c1a9e"]
        app.set(second)
        await app.wait_until(lambda status: status.config_digest == "9b77e310")
        assert [host.config_digest() for host in hosts] == ["9b77e310"]


async def test_what_does_not_come_true_is_told_with_the_status(tmp_path: Path) -> None:
    async with running_app(Desired(), state_dir=tmp_path) as app:
        with pytest.raises(AssertionError, match=r"not within 1 s: Snapshot\(node='n1'"):
            await app.wait_until(lambda status: bool(status.vips), seconds=1)


async def test_an_announcer_that_nobody_provides_is_a_problem_of_its_virtual_ip(tmp_path: Path) -> None:
    async with running_app(DESIRED, state_dir=tmp_path) as app:
        assert app.status().vips == ()
        assert any("bgp" in problem for problem in app.status().problems)


class Listening:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def notify(self, event: Event) -> None:
        self.heard.append(event.name)


async def test_observers_hear_what_happens(tmp_path: Path) -> None:
    ear = Listening()
    observer = Instance(kind=Kind.OBSERVER, name="ear", section=Section(provider="ear"))
    async with running_app(
        evolve(DESIRED, instances=(observer,)),
        state_dir=tmp_path,
        announcers=[providing("bgp", FakeAnnouncer(Recorder()))],
        observers=[providing("ear", ear)],
    ):
        await sleep(5)
    assert ear.heard[:2] == ["leading", "announced"]
    assert "withdrawn" in ear.heard


class Silent:
    async def run(self, feed: Any) -> None:
        feed.publish(DESIRED)
        await sleep(1000)


async def test_a_source_that_is_no_longer_wanted_takes_what_it_wanted_along(tmp_path: Path) -> None:
    source = Instance(kind=Kind.SOURCE, name="extra", section=Section(provider="extra"))
    async with running_app(
        Desired(instances=(source,)),
        state_dir=tmp_path,
        announcers=[providing("bgp", FakeAnnouncer(Recorder()))],
        sources=[providing("extra", Silent())],
    ) as app:
        await app.wait_until(lambda status: any(vip.is_held for vip in status.vips))
        app.set(Desired())
        await app.wait_until(lambda status: not status.vips)
