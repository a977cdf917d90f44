"""The announcer keeps the duties of announcers, and works inside a running core."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import kubevip_announce_example.plugin
import pytest
from attrs import frozen
from kubevip import Desired, Duration, Group, Instance, Kind, Section, VirtualIP
from kubevip.testing import Wire, check_announcer, check_plugin, make_host, running_app
from kubevip_announce_example._config import ExampleConfig
from kubevip_announce_example.plugin import EXAMPLE

pytestmark = pytest.mark.anyio

VIP = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api", announcers=("example",))
REFUSED = VirtualIP(name="web", address=IPv4Address("192.0.2.99"), group="api", announcers=("example",))

#: Keeps a file for each address that is up, and a line for each `up`.
PROGRAM = """\
#!/bin/sh
set -e
cd "$(dirname "$0")"
case "$1 $2" in
"up 192.0.2.99") echo "this address is somebody else's"; exit 1 ;;
"up "*) echo "$2" >> calls; touch "$2" ;;
"down "*) rm -f "$2" ;;
esac
"""


@frozen
class Site:
    """What the program moves."""

    folder: Path

    @property
    def program(self) -> Path:
        return self.folder / "program"

    async def is_up(self) -> bool:
        return (self.folder / str(VIP.address)).exists()

    def calls(self) -> int:
        calls = self.folder / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    async def undo(self) -> None:
        (self.folder / str(VIP.address)).unlink()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.program.write_text(PROGRAM)
    found.program.chmod(0o755)
    return found


def test_the_entry_module_keeps_the_rules() -> None:
    check_plugin(kubevip_announce_example.plugin)


async def test_the_announcer_keeps_its_duties(site: Site) -> None:
    config = ExampleConfig(program=site.program, repeat=Duration(0.2))
    await check_announcer(
        lambda: EXAMPLE.open(config, make_host(site.folder)),
        VIP,
        Wire(is_reachable=site.is_up, count_sent=site.calls, disturb=site.undo),
        impossible=REFUSED,
        quiet_seconds=0.5,
    )


async def test_an_address_of_a_running_node_is_up_and_goes_down_with_it(site: Site) -> None:
    section = Section(provider="example", data={"program": str(site.program)})
    desired = Desired(
        instances=(Instance(kind=Kind.ANNOUNCER, name="example", section=section),),
        groups=(Group(name="api", election="single"),),
        vips=(VIP, REFUSED),
    )
    async with running_app(desired, state_dir=site.folder, announcers=[EXAMPLE]) as app:
        status = await app.wait_until(
            lambda status: any(vip.is_held for vip in status.vips) and any(vip.health.reason for vip in status.vips)
        )
        told = {vip.name: vip.health.reason for vip in status.vips}
        assert told["api"] == ""
        assert told["web"].endswith("ended with status 1: this address is somebody else's")
        assert await site.is_up()
    assert not await site.is_up()
