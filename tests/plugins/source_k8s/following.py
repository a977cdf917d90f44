"""A source that follows a cluster in memory, and what it told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, Any

from anyio import create_task_group, fail_after

from kubevip import Desired, Feed, Latest, Problem, Snapshot
from kubevip._status import GroupStatus, VipStatus
from kubevip_source_k8s._config import K8sSourceConfig, Mode
from kubevip_source_k8s._config_map_source import ConfigMapSource
from kubevip_source_k8s._services_source import ServicesSource

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from kubevip_k8s import Api
    from kubevip_k8s.testing import FakeCluster


class Following:
    """What the source told, and what it is told of the node."""

    def __init__(self, source: ServicesSource | ConfigMapSource) -> None:
        self.source = source
        self.published: Latest[tuple[Desired, ...]] = Latest(())
        self.refused: list[str] = []
        self.status = Latest(Snapshot())
        self.feed = Feed(publish=self._publish, reject=self._reject, status=self.status, reload=Latest(0))

    def _publish(self, desired: Desired) -> None:
        self.published.set((*self.published.value, desired))

    def _reject(self, problems: Sequence[Problem]) -> None:
        self.refused += map(str, problems)

    @property
    def now(self) -> Desired:
        return self.published.value[-1]

    @property
    def addresses(self) -> list[str]:
        return [vip.name for part in self.now.parts.values() for vip in part.vips]

    @property
    def balancers(self) -> dict[str, list[str]]:
        found = [balancer for part in self.now.parts.values() for balancer in part.load_balancers]
        return {it.name: [str(backend) for backend in it.backends] for it in found}

    async def until(self, test: Callable[[], bool], seconds: float = 60.0) -> None:
        with fail_after(seconds):
            await self.published.wait_until(lambda published: bool(published) and test())

    async def until_addresses(self, *addresses: str) -> None:
        await self.until(lambda: self.addresses == list(addresses))

    def hold(self, *addresses: str, leads: bool | None = None) -> None:
        """Let the node hold these addresses; `leads` the group of the source or not; None: nobody wants it to stand."""
        vips = tuple(VipStatus(name=it, address=ip_address(it), group="services", is_held=True) for it in addresses)
        stands = bool(addresses) if leads is None else leads
        group = GroupStatus(name="services", election="services", is_leading=stands)
        self.status.set(Snapshot(vips=vips, groups=(group,) if addresses or leads is not None else ()))


@asynccontextmanager
async def following(cluster: FakeCluster | Api, *, node: str = "n1", **config: Any) -> AsyncGenerator[Following]:
    """Run a source; a configuration with `mode: configmap` looks in the namespace "shop"."""
    settings = K8sSourceConfig(**config)
    api = cluster.api() if hasattr(cluster, "api") else cluster
    made = ServicesSource if settings.mode is Mode.SERVICES else ConfigMapSource
    running = Following(made(api, settings, node=node, rng=Random(1)))
    async with create_task_group() as tg:
        tg.start_soon(running.source.run, running.feed)
        yield running
        tg.cancel_scope.cancel()
