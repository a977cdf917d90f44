"""How long core, announcers and TCP proxy take from "you lead" to "announced", and back to "withdrawn".

Runs in a network namespace of its own, on one node, with an election that the benchmark decides: what is left of a
takeover when the election is taken away. `make bench-takeover`; needs root.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import anyio
from attrs import frozen
from report import Row, arguments, enter_network_namespace, publish, row

from kubevip import Backend, Desired, Event, Group, Host, Instance, Kind, LoadBalancer, Provider, Section, VirtualIP
from kubevip.abc import Election, Observer
from kubevip.testing import ManualElection, running_app
from kubevip_announce_arp.plugin import ADDRESS, ARP
from kubevip_proxy_tcp.plugin import TCP

GROUP = "g"


@frozen
class NoConfig:
    pass


def desired(addresses: int) -> Desired:
    vips = tuple(
        VirtualIP(name=f"v{number}", address=IPv4Address("10.99.1.0") + number, group=GROUP, interface="v0")
        for number in range(1, addresses + 1)
    )
    backends = (Backend(address="10.99.0.2", port=80),)
    balancer = LoadBalancer(name="b", protocol="tcp", proxy="tcp", port=80, bind_to=("v1",), backends=backends)
    counting = Instance(kind=Kind.OBSERVER, name="counting", section=Section(provider="counting"))
    return Desired(
        instances=(counting,),
        groups=(Group(name=GROUP, election="manual"),),
        vips=vips,
        load_balancers=(balancer,),
    )


class Counter:
    """Counts announcements and withdrawals as they happen; polling the status would take turns from the work itself."""

    def __init__(self) -> None:
        self.held = 0
        self.changed = anyio.Event()

    def notify(self, event: Event) -> None:
        self.held += {"announced": 1, "withdrawn": -1}.get(event.name, 0)
        self.changed.set()
        self.changed = anyio.Event()


async def measure(addresses: int, rounds: int, state_dir: Path) -> list[Row]:
    election = ManualElection()

    @asynccontextmanager
    async def open_manual(config: NoConfig, host: Host) -> AsyncGenerator[Election]:
        yield election

    manual = Provider(name="manual", summary="Decided by the benchmark", config=NoConfig, open=open_manual)
    counter = Counter()

    @asynccontextmanager
    async def open_counter(config: NoConfig, host: Host) -> AsyncGenerator[Observer]:
        yield counter

    counting = Provider(name="counting", summary="Counts", config=NoConfig, open=open_counter)
    took: dict[str, list[float]] = {"raise": [], "withdraw": []}
    async with running_app(
        desired(addresses),
        state_dir=state_dir,
        elections=[manual],
        announcers=[ADDRESS, ARP],
        proxies=[TCP],
        observers=[counting],
    ):
        while GROUP not in election.candidacies:
            await anyio.sleep(0.05)
        for number in range(rounds + 1):
            for what, held in (("raise", addresses), ("withdraw", 0)):
                started = time.perf_counter()
                if held:
                    election.lead(GROUP, 30)
                else:
                    election.follow(GROUP, "n2")
                while counter.held != held:
                    await counter.changed.wait()
                if number:  # the first takeover probes the addresses and opens what stays open
                    took[what].append((time.perf_counter() - started) * 1000)
                await anyio.sleep(0.05)
    return [row(f"{what} {addresses} address(es) and a listener", values, "ms") for what, values in took.items()]


def main(rounds: int) -> Sequence[Row]:
    for command in (
        "ip link set lo up",
        "ip link add v0 type veth peer name v1",
        "ip link set v0 up",
        "ip link set v1 up",
        "ip address add 10.99.0.1/16 dev v0",
    ):
        subprocess.run(command.split(), check=True)
    rows: list[Row] = []
    for addresses in (1, 100):
        with tempfile.TemporaryDirectory() as state_dir:
            rows += anyio.run(measure, addresses, rounds, Path(state_dir))
    return rows


if __name__ == "__main__":
    options = arguments(__doc__, rounds=50)
    enter_network_namespace()
    publish(main(options.rounds), options.json)
    sys.exit(0)
