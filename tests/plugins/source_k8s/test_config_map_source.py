from __future__ import annotations

import json
from typing import Any

import pytest
from anyio import sleep
from tests.plugins.source_k8s.following import Following, following
from tests.plugins.source_k8s.objects import endpoint_slice, service

from kubevip_k8s import CONFIG_MAPS, ENDPOINT_SLICES, EVENTS, NAMESPACES, SERVICES
from kubevip_k8s.testing import Fail, FakeCluster
from kubevip_source_k8s._config import Mode

pytestmark = pytest.mark.anyio

WEB = {"vip": "192.168.0.80", "port": 80, "type": "TCP", "uid": "u1", "serviceName": "web"}
OTHER = {"vip": "192.168.0.81", "port": 80, "type": "TCP", "uid": "u2", "serviceName": "other"}


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(NAMESPACES, {"metadata": {"name": "shop"}})
    return cluster


def put(cluster: FakeCluster, *entries: dict[str, Any], written: str | None = None) -> None:
    text = json.dumps({"services": list(entries)}) if written is None else written
    cluster.put(
        CONFIG_MAPS,
        {"metadata": {"namespace": "shop", "name": "plndr"}, "data": {"plndr-services": text}},
    )


def follow(cluster: FakeCluster, **config: Any) -> Any:
    return following(cluster, mode=Mode.CONFIG_MAP, namespaces=("shop",), **config)


def reasons(cluster: FakeCluster) -> list[str]:
    found: Any = cluster.list(EVENTS)
    return [f"{it['reason']} {it['regarding']['kind']} {it['note']}" for it in found]


async def test_entries_come_change_and_go(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        put(cluster, WEB, OTHER)
        await running.until_addresses("192.168.0.80", "192.168.0.81")
        put(cluster, {**WEB, "vip": "192.168.0.90"}, OTHER)
        await running.until_addresses("192.168.0.81", "192.168.0.90")
        put(cluster, OTHER)
        await running.until_addresses("192.168.0.81")


async def test_the_namespace_elects_on_a_lease_of_its_own(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        (election,) = running.now.instances
        assert (election.section.provider, election.section.data) == ("k8s", {"lease": "shop/plunder-lock"})
        assert [group.election for group in running.now.groups] == [election.name]


async def test_without_the_config_map_nothing_is_wanted_until_it_is_there(cluster: FakeCluster) -> None:
    async with follow(cluster) as running:
        await running.until_addresses()
        put(cluster, WEB)
        await running.until_addresses("192.168.0.80")


async def test_a_config_map_that_is_deleted_withdraws(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        cluster.delete(CONFIG_MAPS, "shop", "plndr")
        await running.until_addresses()


async def test_a_config_map_that_was_deleted_while_nobody_looked_withdraws(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        cluster.fail(Fail(status=500))
        cluster.drop_watches()
        cluster.delete(CONFIG_MAPS, "shop", "plndr")
        await sleep(120)
        assert running.addresses == ["192.168.0.80"]
        cluster.heal()
        await running.until_addresses()


async def test_other_config_maps_and_namespaces_are_nothing_to_it(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    data = {"plndr-services": json.dumps({"services": [OTHER]})}
    cluster.put(CONFIG_MAPS, {"metadata": {"namespace": "shop", "name": "else"}, "data": data})
    cluster.put(CONFIG_MAPS, {"metadata": {"namespace": "bank", "name": "plndr"}, "data": data})
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")


async def test_backends_are_those_of_the_port_that_the_service_names(cluster: FakeCluster) -> None:
    ports = [{"name": "metrics", "port": 9090}, {"name": "http", "port": 80}]
    cluster.put(SERVICES, service(ports=ports))
    slices = endpoint_slice("web", "10.0.0.1")
    slices["ports"].append({"name": "metrics", "port": 9100, "protocol": "TCP"})
    cluster.put(ENDPOINT_SLICES, slices)
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]})


async def test_backends_that_all_go_come_back(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1"))
    async with follow(cluster) as running:
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]})
        cluster.delete(ENDPOINT_SLICES, "shop", "web-abc")
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": []})
        assert running.addresses == ["192.168.0.80"]
        cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.2"))
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": ["10.0.0.2:8080"]})


async def test_without_the_right_to_read_services_the_endpoints_have_to_do(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1"))
    refused = Fail(status=403, reason="Forbidden")
    cluster.fail(refused, when=lambda request: "/services" in request.path)
    async with follow(cluster) as running:
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]})


async def test_bad_json_keeps_the_last_good_one_and_says_so(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        put(cluster, written='{"services": [')
        await sleep(5)
        assert running.addresses == ["192.168.0.80"]
        (refused,) = running.refused
        assert refused.startswith("ConfigMap shop/plndr: data.plndr-services: is not JSON: ")
        (told,) = reasons(cluster)
        assert told.startswith("Refused ConfigMap data.plndr-services: is not JSON: ")
        before = len(running.published.value)
        put(cluster, WEB)
        await running.until(lambda: len(running.published.value) == before + 1)
        assert running.addresses == ["192.168.0.80"]  # the same again, so that the refusal is over


async def test_of_a_bad_entry_the_last_good_one_stays_and_the_others_follow(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        put(cluster, {**WEB, "vip": "nonsense"}, OTHER)
        await running.until(lambda: sorted(running.addresses) == ["192.168.0.80", "192.168.0.81"])
        assert running.refused == []
        (problem,) = running.source.status()["problems"]
        assert problem.startswith("ConfigMap shop/plndr: data.plndr-services.services[0]: web: vip: expected")
        await sleep(5)
        assert [told.split()[:2] for told in reasons(cluster)] == [["Refused", "ConfigMap"]]


async def test_who_holds_an_address_is_told_of_the_config_map(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    async with follow(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        assert reasons(cluster) == ["AddressHeld ConfigMap 192.168.0.80 is held by node n1"]


async def test_the_first_snapshot_is_whole(cluster: FakeCluster) -> None:
    put(cluster, WEB)
    cluster.put(SERVICES, service())
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1"))
    running: Following
    async with follow(cluster) as running:
        await running.until(lambda: True)
        assert running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]}
