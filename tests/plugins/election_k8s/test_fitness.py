"""Who holds when nodes are not well: whole groups of three nodes on one Lease, ten minutes each, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import create_task_group, current_time, sleep
from anyio.abc import TaskGroup
from tests.plugins.election_k8s.leases import Leases
from tests.plugins.election_k8s.nodes import Node, opened

from kubevip import Group, Health, Latest, Level, Tenure, VirtualIP
from kubevip._board import Board
from kubevip._bound_listeners import BoundListener
from kubevip._context import Context
from kubevip._group import GroupTask, Standing
from kubevip._observe import Observers
from kubevip._slot import Slot
from kubevip._virtual_ip import VirtualIPTask
from kubevip.abc import Announcer, Election
from kubevip.errors import AnnounceError
from kubevip_election_k8s._config import LeaseConfig

pytestmark = pytest.mark.anyio

LEASE = "lock"
TEN_MINUTES = 600.0
FAILED = Health(level=Level.FAILED, reason="as the test wants")
VIPS = tuple(
    VirtualIP(name=name, address=IPv4Address(f"192.0.2.{last}"), group="g", announcers=("fake",))
    for last, name in enumerate(("a", "b", "c"), 1)
)


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@pytest.fixture
def server() -> Leases:
    return Leases()


class Ground:
    """What the announcers of one node do: `unready` and `refused` name addresses that cannot be."""

    def __init__(self, name: str, told: Callable[[str, str, str], None]) -> None:
        self.unready: set[str] = set()
        self.refused: set[str] = set()
        self.reports: dict[str, Callable[[Health], None]] = {}
        self.link = Health()
        self.name, self._told = name, told

    @asynccontextmanager
    async def prepare(self, vip: VirtualIP) -> AsyncGenerator[None]:
        if vip.name in self.unready:
            raise AnnounceError(f"virtual IP {vip.name}: this machine has no device eth9")
        yield

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        if vip.name in self.refused:
            raise AnnounceError(f"virtual IP {vip.name}: {vip.address} is in use on the network")
        self._told("up", self.name, vip.name)
        self.reports[vip.name] = report
        if self.link.level is Level.FAILED:
            report(self.link)
        try:
            yield
        finally:
            self._told("down", self.name, vip.name)


class Machine:
    """A node as it is: its part of the core, between an election and announcers."""

    def __init__(self, node: Node, ground: Ground, tasks: TaskGroup) -> None:
        self.name, self.ground = node.name, ground
        self.standing = Standing("g")
        self.board = Board(node=node.name, instance="test")
        context = Context(board=self.board, observers=Observers(), rng=Random(1))
        election, announcer = Slot[Election](), Slot[Announcer]()
        election.content.set(node.election)
        announcer.content.set(ground)
        for vip in VIPS:
            none: Latest[tuple[BoundListener, ...]] = Latest(())
            fitness = self.standing.fitness
            task = VirtualIPTask(vip, self.standing.campaign, [announcer], none, fitness, context)
            tasks.start_soon(task.run)
        group = GroupTask(Group(name="g", election="k8s"), self.standing, election, [announcer], context)
        tasks.start_soon(group.run)

    @property
    def fitness(self) -> int:
        return self.standing.fitness.value.value

    def drain(self) -> None:
        self.standing.fitness.report("drain", FAILED)

    def check(self, health: Health) -> None:
        self.standing.fitness.report("health check", health)


class World:
    """Some machines, and what became of each address: (when, "up" or "down", on which machine, address)."""

    def __init__(self) -> None:
        self.log: list[tuple[float, str, str, str]] = []
        self.machines: dict[str, Machine] = {}

    def tell(self, what: str, node: str, vip: str) -> None:
        self.log.append((current_time(), what, node, vip))

    def ups(self, vip: str) -> list[str]:
        """Return who brought the address up, in order."""
        return [node for _, what, node, name in self.log if (what, name) == ("up", vip)]

    def silent_seconds(self, vip: str) -> float:
        """Return for how long the address was down in all, after it was up for the first time."""
        moments = [(at, what) for at, what, _, name in self.log if name == vip]
        return sum(later - at for (at, what), (later, _) in pairwise(moments) if what == "down")


@asynccontextmanager
async def world(
    server: Leases, folder: Path, names: tuple[str, ...] = ("n1", "n2", "n3"), ground: Callable[[Ground], object] = id
) -> AsyncGenerator[World]:
    made = World()
    async with AsyncExitStack() as stack:
        nodes = await opened(stack, server, folder, *names, config=LeaseConfig(lease=f"kube-system/{LEASE}"))
        async with create_task_group() as tg:
            for node in nodes:
                below = Ground(node.name, made.tell)
                ground(below)
                made.machines[node.name] = Machine(node, below, tg)
                await sleep(3)
            yield made
            tg.cancel_scope.cancel()


def holders(server: Leases) -> list[str]:
    """Return whose the Lease was, in order."""
    held = [lease["spec"]["holderIdentity"].partition("_")[0] for _, _, lease in server.writes]
    return [name for before, name in zip(["", *held], held, strict=False) if name and name != before]


async def test_an_address_that_no_node_is_ready_for_costs_its_siblings_nothing(server: Leases, tmp_path: Path) -> None:
    """Scenario 118: the interface that a Service names is nowhere."""
    async with world(server, tmp_path, ground=lambda ground: ground.unready.add("c")) as it:
        await sleep(TEN_MINUTES)
        assert holders(server) == ["n1"]
        assert (it.ups("a"), it.ups("b"), it.ups("c")) == (["n1"], ["n1"], [])
        it.machines["n1"].drain()
        await sleep(TEN_MINUTES)
        assert len(holders(server)) == 2  # it does not stand in the way of what another node does do better
        assert len(it.ups("a")) == 2
        assert it.silent_seconds("a") < 0.1


async def test_an_address_that_is_in_use_by_a_neighbour_costs_its_siblings_nothing(
    server: Leases, tmp_path: Path
) -> None:
    """Scenario 118: nobody knows before it is tried, and then it is known for the one who tried only."""
    async with world(server, tmp_path, ground=lambda ground: ground.refused.add("c")) as it:
        await sleep(TEN_MINUTES)
        assert holders(server) == ["n1"]
        assert (it.ups("a"), it.ups("b"), it.ups("c")) == (["n1"], ["n1"], [])
        it.machines["n1"].ground.refused.clear()
        await sleep(80)
        assert it.ups("c") == ["n1"]
        assert it.machines["n1"].fitness == 100


async def test_an_address_that_another_node_is_ready_for_goes_there_with_its_group(
    server: Leases, tmp_path: Path
) -> None:
    def lacks_a_device_on_n1(ground: Ground) -> None:
        if ground.name == "n1":
            ground.unready.add("c")

    async with world(server, tmp_path, ground=lacks_a_device_on_n1) as it:
        await sleep(TEN_MINUTES)
        assert holders(server) in (["n1", "n2"], ["n1", "n3"])
        assert it.ups("c") == holders(server)[1:]


async def test_addresses_that_nobody_can_hold_are_tried_ever_more_rarely(server: Leases, tmp_path: Path) -> None:
    async with world(server, tmp_path, ground=lambda ground: ground.refused.update("abc")) as it:
        await sleep(TEN_MINUTES)
        assert len(holders(server)) <= 20
        since = len(holders(server))
        await sleep(TEN_MINUTES)
        assert len(holders(server)) - since <= 8
        assert it.log == []


async def test_a_link_that_is_down_on_all_nodes_leaves_the_group_in_peace(server: Leases, tmp_path: Path) -> None:
    def has_no_carrier(ground: Ground) -> None:
        ground.link = FAILED

    async with world(server, tmp_path, ground=has_no_carrier):
        await sleep(TEN_MINUTES)
        assert len(holders(server)) <= 20


async def test_a_link_that_is_down_on_the_holder_moves_the_group_at_once(server: Leases, tmp_path: Path) -> None:
    async with world(server, tmp_path) as it:
        await sleep(60)
        began = current_time()
        for report in tuple(it.machines["n1"].ground.reports.values()):
            report(FAILED)
        await sleep(1)
        assert len(it.ups("a")) == 2
        assert max(at for at, what, _, _ in it.log if what == "up") - began < 0.3
        assert it.silent_seconds("a") < 0.1
        await sleep(TEN_MINUTES)
        assert len(holders(server)) == 2


async def test_an_only_node_that_is_drained_holds_on(server: Leases, tmp_path: Path) -> None:
    async with world(server, tmp_path, ("n1",)) as it:
        await sleep(10)
        it.machines["n1"].drain()
        await sleep(TEN_MINUTES)
        assert holders(server) == ["n1"]
        assert it.ups("a") == ["n1"]
        assert it.silent_seconds("a") == 0


async def test_a_node_that_is_drained_is_relieved_at_once_and_told_why(server: Leases, tmp_path: Path) -> None:
    async with world(server, tmp_path) as it:
        await sleep(60)
        it.machines["n1"].drain()
        await sleep(1)
        _, heir = holders(server)
        assert it.ups("a") == ["n1", heir]
        assert it.silent_seconds("a") < 0.1
        (vip, *_) = it.machines[heir].board.snapshot().vips
        assert vip.why == "n1 is unfit"
        assert (
            "annotations" not in server.objects[LEASE]["metadata"]
            or not server.objects[LEASE]["metadata"]["annotations"]
        )


async def test_a_health_check_that_fails_everywhere_leaves_it_where_it_is_until_one_node_is_well(
    server: Leases, tmp_path: Path
) -> None:
    async with world(server, tmp_path) as it:
        await sleep(60)
        for machine in it.machines.values():
            machine.check(FAILED)
        await sleep(TEN_MINUTES)
        first, *moved = holders(server)
        assert len(moved) <= 1  # until it was known that the others are no better
        assert it.silent_seconds("a") < 0.1
        well = next(name for name in it.machines if name != [first, *moved][-1])
        it.machines[well].check(Health())
        await sleep(4)
        assert holders(server) == [first, *moved, well]
        await sleep(TEN_MINUTES)
        assert holders(server) == [first, *moved, well]
        assert it.silent_seconds("a") < 0.1


async def test_a_holder_that_is_well_again_takes_its_offer_back(server: Leases, tmp_path: Path) -> None:
    async with world(server, tmp_path) as it:
        for name in ("n2", "n3"):
            it.machines[name].drain()
        await sleep(10)
        it.machines["n1"].drain()
        await sleep(10)
        assert server.objects[LEASE]["metadata"]["annotations"] == {"kubevip.io/move-to": "*1"}
        it.machines["n1"].standing.fitness.forget("drain")
        await sleep(0.1)
        assert server.objects[LEASE]["metadata"]["annotations"] == {}
        it.machines["n2"].standing.fitness.forget("drain")
        await sleep(60)
        assert holders(server) == ["n1"]


async def test_an_offer_that_does_not_stay_is_not_repeated_in_a_circle(server: Leases, tmp_path: Path) -> None:
    """Something takes every annotation away as soon as it is written."""
    put = server.put

    def bare(name: str, lease: dict[str, Any], kind: str = "MODIFIED") -> dict[str, Any]:
        lease.get("metadata", {}).pop("annotations", None)
        return put(name, lease, kind)

    server.put = bare  # type: ignore[method-assign]
    async with world(server, tmp_path) as it:
        it.machines["n1"].drain()
        before = len(server.writes)
        await sleep(60)
        assert len(server.writes) - before <= 265  # a renewal each second, an offer each 0.3 s
        assert it.silent_seconds("a") == 0


async def test_who_got_it_because_another_was_unfit_keeps_it_for_a_while(server: Leases, tmp_path: Path) -> None:
    async with world(server, tmp_path, ("n1", "n2")) as it:
        await sleep(60)
        it.machines["n1"].drain()
        await sleep(1)
        it.machines["n1"].standing.fitness.forget("drain")
        it.machines["n2"].drain()
        await sleep(8)
        assert holders(server) == ["n1", "n2"]
        await sleep(2)
        assert holders(server) == ["n1", "n2", "n1"]
