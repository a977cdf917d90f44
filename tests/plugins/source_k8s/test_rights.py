"""The rights that `kubevip manifest` grants are enough for the source, and each of them is used."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from anyio import sleep
from attrs import evolve
from tests.plugins.source_k8s.following import following
from tests.plugins.source_k8s.objects import endpoint_slice, service

from kubevip_control_plane._rights import SERVICE_RIGHTS, Right, config_map_rights, rules
from kubevip_k8s import CONFIG_MAPS, ENDPOINT_SLICES, EVENTS, NAMESPACES, SERVICES, Forbidden
from kubevip_k8s.testing import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, FakeCluster
from kubevip_source_k8s._config import Balance, EndpointsFrom, Mode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from kubevip_k8s import Api, JsonObject

pytestmark = pytest.mark.anyio

CONFIG_MAP_RIGHTS = config_map_rights("plndr")


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Noting:
    """An Api that notes what was forbidden."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.forbidden: set[str] = set()

    async def request(self, method: str, path: str, **more: Any) -> JsonObject:
        try:
            return await self._api.request(method, path, **more)
        except Forbidden:
            self.forbidden.add(f"{method} {path}")
            raise

    @asynccontextmanager
    async def watch(self, path: str, **more: Any) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        try:
            async with self._api.watch(path, **more) as events:
                yield events
        except Forbidden:
            self.forbidden.add(f"WATCH {path}")
            raise


async def what_is_forbidden(rights: Sequence[Right], **config: Any) -> set[str]:
    """Let a source with these rights do all that it ever does."""
    cluster = FakeCluster()
    cluster.put(NAMESPACES, {"metadata": {"name": "shop"}})
    cluster.put(CLUSTER_ROLES, {"metadata": {"name": "r"}, "rules": list(rules(rights))})
    subject = {"kind": "ServiceAccount", "name": "kubevip", "namespace": "shop"}
    role = {"kind": "ClusterRole", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    cluster.put(CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "b"}, "roleRef": role, "subjects": [subject]})
    entry = {"vip": "192.168.0.80", "port": 80, "type": "TCP", "uid": "u1", "serviceName": "web"}
    text = json.dumps({"services": [entry]})
    cluster.put(CONFIG_MAPS, {"metadata": {"namespace": "shop", "name": "plndr"}, "data": {"plndr-services": text}})
    cluster.put(SERVICES, service())
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1"))
    api = Noting(cluster.api(cluster.service_account_token("shop", "kubevip")))
    async with following(api, **config) as running:
        await sleep(10)
        running.hold("192.168.0.80")
        await sleep(10)
        if not api.forbidden:
            assert running.addresses == ["192.168.0.80"]
            assert len(cluster.list(EVENTS)) == 1
    return api.forbidden


SERVICES_MODE = {"mode": Mode.SERVICES, "balance": Balance.KUBEVIP}
CONFIG_MAP_MODE = {"mode": Mode.CONFIG_MAP, "namespaces": ("shop",)}
OLD_CLUSTER = {**CONFIG_MAP_MODE, "endpoints": EndpointsFrom.ENDPOINTS}


@pytest.mark.parametrize(
    ("rights", "config"),
    [(SERVICE_RIGHTS, SERVICES_MODE), (CONFIG_MAP_RIGHTS, CONFIG_MAP_MODE), (CONFIG_MAP_RIGHTS, OLD_CLUSTER)],
)
async def test_the_rights_are_enough(rights: Sequence[Right], config: dict[str, Any]) -> None:
    assert await what_is_forbidden(rights, **config) == set()


def each_verb(rights: Sequence[Right], config: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(rights, index, verb, OLD_CLUSTER if right.resource == "endpoints" else config)
        for index, right in enumerate(rights)
        for verb in right.verbs
    ]


@pytest.mark.parametrize(
    ("rights", "index", "verb", "config"),
    [*each_verb(SERVICE_RIGHTS, SERVICES_MODE), *each_verb(CONFIG_MAP_RIGHTS, CONFIG_MAP_MODE)],
)
async def test_each_right_is_used(rights: Sequence[Right], index: int, verb: str, config: dict[str, Any]) -> None:
    fewer = [
        evolve(right, verbs=tuple(it for it in right.verbs if (at, it) != (index, verb)))
        for at, right in enumerate(rights)
    ]
    assert await what_is_forbidden(fewer, **config) != set()
