"""Nodes that stand for groups, and what each of them holds when."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import CancelScope, create_task_group, current_time, fail_after, sleep
from anyio.lowlevel import checkpoint
from attrs import evolve
from tests.plugins.election_k8s.leases import Leases, LoopClock, Way

from kubevip import Candidacy, Following, Latest, Leading, Placement
from kubevip.testing import make_host
from kubevip_election_k8s._config import LeaseConfig
from kubevip_election_k8s._election import LeaseElection
from kubevip_election_k8s._instance import open_election

GRACE_SECONDS = 1.0
CONFIG = LeaseConfig(lease="kube-system/lock")


class Stand:
    """One candidacy of a node: what was reported, and whether the node holds the group now."""

    def __init__(self, node: Node, group: str, **candidacy: Any) -> None:
        self.node, self.group, self.fitness = node, group, Latest(100)
        self.reports: list[Leading | Following] = []
        self.last: Latest[Leading | Following] = Latest(Following())
        self.scope = CancelScope()
        self.returned = Latest(False)
        self._more = candidacy

    @property
    def holds(self) -> bool:
        now = self.last.value
        return isinstance(now, Leading) and current_time() < now.valid_until and not self.scope.cancel_called

    @property
    def tenures(self) -> list[Leading]:
        """All that it was told of leading."""
        return [now for now in self.reports if isinstance(now, Leading)]

    @property
    def terms(self) -> set[int]:
        return {now.term for now in self.tenures}

    @property
    def held_until(self) -> float:
        """The end of the tenure that was reported last."""
        return self.tenures[-1].valid_until

    async def run(self) -> None:
        try:
            with self.scope:
                await self.node.election.campaign(
                    Candidacy(
                        group=self.group,
                        report=self._report,
                        fitness=self.fitness,
                        placement=self._more.get("placement", Placement()),
                        grace_seconds=GRACE_SECONDS,
                        withdrawn=self._more.get("withdrawn", checkpoint),
                    )
                )
        finally:
            self.returned.set(True)

    def _report(self, now: Leading | Following) -> None:
        self.reports.append(now)
        self.last.set(now)

    async def leads(self) -> Leading:
        found = await self.last.wait_until(lambda now: isinstance(now, Leading))
        assert isinstance(found, Leading)
        return found

    async def follows(self) -> Following:
        found = await self.last.wait_until(lambda now: isinstance(now, Following) and now.leader is not None)
        assert isinstance(found, Following)
        return found

    async def stop(self) -> None:
        self.scope.cancel()
        await self.returned.wait_until(bool)


class Node:
    """A process of a node, with its way to the API."""

    def __init__(self, name: str, election: LeaseElection, way: Way, clock: LoopClock, tasks: Any) -> None:
        self.name, self.election, self.way, self.clock, self._tasks = name, election, way, clock, tasks

    def stand(self, group: str = "g", **candidacy: Any) -> Stand:
        stand = Stand(self, group, **candidacy)
        self._tasks.start_soon(stand.run)
        return stand


@asynccontextmanager
async def running(
    server: Leases, name: str, folder: Path, *, seed: int = 1, config: LeaseConfig = CONFIG, will: Any = None
) -> AsyncGenerator[Node]:
    """Run a node; it is left as if it were killed: nothing is released."""
    way, clock = Way(server), LoopClock()
    host = make_host(folder, node_name=name, seed=seed)
    if will is not None:
        host = evolve(host, will=will)
    access = {"host": "192.0.2.1", "port": 6443}
    async with open_election(config, host, way, clock, lambda: access) as election:
        async with create_task_group() as tg:
            yield Node(name, election, way, clock, tg)
            way.is_cut = True
            tg.cancel_scope.cancel()


async def opened(stack: AsyncExitStack, server: Leases, folder: Path, *names: str, **more: Any) -> list[Node]:
    return [
        await stack.enter_async_context(running(server, name, folder, seed=seed, **more))
        for seed, name in enumerate(names, 1)
    ]


async def held_and_followed(stack: AsyncExitStack, server: Leases, folder: Path) -> tuple[Stand, Stand]:
    """Run n1, which holds, and n2, which follows it."""
    n1, n2 = await opened(stack, server, folder, "n1", "n2")
    first = n1.stand()
    await first.leads()
    second = n2.stand()
    await second.follows()
    return first, second


async def led(*stands: Stand) -> Stand:
    """Wait until one of them holds."""
    with fail_after(60):
        while not (holding := [stand for stand in stands if stand.holds]):
            await sleep(0.005)
    assert len(holding) == 1
    return holding[0]
