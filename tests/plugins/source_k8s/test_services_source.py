from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from anyio import sleep
from tests.plugins.source_k8s.following import following
from tests.plugins.source_k8s.objects import endpoint_slice, service

from kubevip import Snapshot
from kubevip_k8s import ENDPOINT_SLICES, EVENTS, NAMESPACES, SERVICES
from kubevip_k8s.testing import Fail, FakeCluster
from kubevip_source_k8s._config import Balance

if TYPE_CHECKING:
    from kubevip_k8s.testing import Request

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(NAMESPACES, {"metadata": {"name": "shop"}})
    return cluster


def ingress(cluster: FakeCluster, name: str = "web") -> list[dict[str, Any]]:
    found: Any = cluster.get(SERVICES, "shop", name)
    return (found.get("status", {}).get("loadBalancer") or {}).get("ingress") or []


def notes(cluster: FakeCluster) -> dict[str, str]:
    """The events by their notes: reason and object."""
    found: Any = cluster.list(EVENTS)
    return {it["note"]: f"{it['reason']} {it['regarding']['kind']} {it['regarding']['name']}" for it in found}


def is_status_patch(request: Request) -> bool:
    return request.method == "PATCH" and request.path.endswith("/status")


async def test_services_come_change_and_go(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        cluster.put(SERVICES, service("other", ip="192.168.0.81"))
        await running.until_addresses("192.168.0.80", "192.168.0.81")
        cluster.put(SERVICES, service(ip="192.168.0.90"))
        await running.until_addresses("192.168.0.81", "192.168.0.90")
        cluster.delete(SERVICES, "shop", "other")
        await running.until_addresses("192.168.0.90")


async def test_a_cluster_without_services_wants_nothing_and_says_so(cluster: FakeCluster) -> None:
    async with following(cluster) as running:
        await running.until_addresses()
        assert running.now.groups[0].election == running.now.instances[0].name


async def test_only_the_namespaces_that_are_named_are_looked_at(cluster: FakeCluster) -> None:
    for namespace, ip in (("shop", "192.168.0.1"), ("bank", "192.168.0.2"), ("kitchen", "192.168.0.3")):
        cluster.put(SERVICES, service(namespace=namespace, ip=ip))
    async with following(cluster, namespaces=("shop", "bank")) as running:
        await running.until(lambda: sorted(running.addresses) == ["192.168.0.1", "192.168.0.2"])


async def test_endpoints_are_followed_where_kubevip_balances(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1"))
    async with following(cluster, balance=Balance.KUBEVIP) as running:
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]})
        cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1", "10.0.0.2"))
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080", "10.0.0.2:8080"]})
        cluster.delete(ENDPOINT_SLICES, "shop", "web-abc")
        await running.until(lambda: running.balancers == {"shop/web:80/tcp": []})


async def test_the_first_snapshot_has_the_endpoints_already(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1"))
    async with following(cluster, balance=Balance.KUBEVIP) as running:
        await running.until(lambda: True)
        assert running.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]}


async def test_endpoints_are_not_asked_for_until_something_depends_on_them(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        await sleep(5)
        assert [watch.selection.resource for watch in cluster.watches] == [SERVICES]
        cluster.put(ENDPOINT_SLICES, endpoint_slice("local", "10.0.0.1"))
        cluster.put(SERVICES, service("local", ip="192.168.0.81", policy="Local"))
        await running.until_addresses("192.168.0.80", "192.168.0.81")


async def test_a_node_stands_for_a_local_service_while_it_has_an_endpoint(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service(policy="Local"))
    cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1", node="n2"))
    async with following(cluster, node="n1") as one, following(cluster, node="n2") as two:
        await one.until_addresses()
        await two.until_addresses("192.168.0.80")
        cluster.put(ENDPOINT_SLICES, endpoint_slice("web", "10.0.0.1", node="n1"))
        await one.until_addresses("192.168.0.80")
        await two.until_addresses()


async def test_while_the_api_is_away_everything_stays(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        cluster.fail(Fail(status=500))
        cluster.drop_watches()
        await sleep(300)
        assert running.addresses == ["192.168.0.80"]
        assert running.source.status()["api"]
        cluster.put(SERVICES, service("other", ip="192.168.0.81"))
        cluster.delete(SERVICES, "shop", "web")
        cluster.heal()
        await running.until_addresses("192.168.0.81")


async def test_a_change_without_consequence_publishes_nothing(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        cluster.put(SERVICES, {**service(), "metadata": {**service()["metadata"], "labels": {"new": "label"}}})
        await sleep(5)
        assert len(running.published.value) == 1


async def test_a_thousand_changes_in_one_moment_are_few_snapshots(cluster: FakeCluster) -> None:
    async with following(cluster) as running:
        await running.until_addresses()
        for number in range(1000):
            cluster.put(SERVICES, service(f"s{number}", ip=f"10.1.{number // 250}.{number % 250 + 1}"))
        await running.until(lambda: len(running.addresses) == 1000)
        assert len(running.published.value) < 10


async def test_the_holder_writes_the_status_and_nobody_else(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster, node="n1") as one, following(cluster, node="n2") as two:
        await one.until_addresses("192.168.0.80")
        await two.until_addresses("192.168.0.80")
        await sleep(5)
        assert ingress(cluster) == []
        one.hold("192.168.0.80")
        await sleep(5)
        assert ingress(cluster) == [{"ip": "192.168.0.80", "ipMode": "VIP"}]
        assert notes(cluster) == {"192.168.0.80 is held by node n1": "AddressHeld Service web"}
        two_requests = two.source.status()["requests"]
        await sleep(5)
        assert two.source.status()["requests"] == two_requests


async def test_where_kubevip_balances_nodes_may_not_short_cut(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster, balance=Balance.KUBEVIP) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        assert ingress(cluster) == [{"ip": "192.168.0.80", "ipMode": "Proxy"}]


async def test_status_of_another_is_mended_and_a_new_address_written(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, {**service(), "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.11"}]}}})
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        assert [it["ip"] for it in ingress(cluster)] == ["192.168.0.80"]
        cluster.put(
            SERVICES, {**service(ip="192.168.0.90"), "status": (cluster.get(SERVICES, "shop", "web") or {})["status"]}
        )
        await running.until_addresses("192.168.0.90")
        running.hold("192.168.0.90")
        await sleep(5)
        assert [it["ip"] for it in ingress(cluster)] == ["192.168.0.90"]


SHOWN = {"loadBalancer": {"ingress": [{"ip": "192.168.0.80", "ipMode": "VIP"}]}}


def marked(status: Any = SHOWN, *, source: str = "kube-system/plndr-svcs-lock", **more: Any) -> dict[str, Any]:
    """Return a Service whose status a node of `source` has written, before or elsewhere."""
    value = {**service(**more), "status": status}
    value["metadata"]["annotations"]["kubevip.io/status-written"] = f"192.168.0.80 {source}"
    return value


def mark(cluster: FakeCluster) -> str | None:
    found: Any = cluster.get(SERVICES, "shop", "web")
    return cast("str | None", found["metadata"].get("annotations", {}).get("kubevip.io/status-written"))


NOT_OURS: dict[str, Any] = {"annotations": {"ignore": "true"}}


async def test_a_service_that_is_not_ours_any_more_loses_what_was_written(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        assert mark(cluster) == "192.168.0.80 kube-system/plndr-svcs-lock"
        cluster.put(SERVICES, marked(**NOT_OURS))
        await running.until_addresses()
        running.hold(leads=True)
        await sleep(5)
        assert ingress(cluster) == []
        assert mark(cluster) is None


async def test_the_leader_takes_back_what_was_written_before_it_was_started(cluster: FakeCluster) -> None:
    """Nobody holds the address, and nobody here has ever held it."""
    cluster.put(SERVICES, marked(**NOT_OURS))
    cluster.put(SERVICES, service("other", ip="192.168.0.81"))
    async with following(cluster, node="n1") as one, following(cluster, node="n2") as two:
        await one.until_addresses("192.168.0.81")
        await two.until_addresses("192.168.0.81")
        one.hold(leads=False)
        two.hold(leads=False)
        await sleep(60)
        assert ingress(cluster) != []
        one.hold("192.168.0.81")
        await sleep(5)
        assert ingress(cluster) == []


async def test_a_service_that_is_refused_its_address_loses_what_was_written(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, marked(ip="127.0.0.1"))
    async with following(cluster) as running:
        await running.until_addresses()
        running.hold(leads=True)
        await sleep(5)
        assert ingress(cluster) == []


async def test_a_local_service_without_endpoints_keeps_its_status(cluster: FakeCluster) -> None:
    """The address is its own still, and answers as soon as a node has an endpoint."""
    cluster.put(SERVICES, marked(policy="Local"))
    async with following(cluster) as running:
        await running.until_addresses()
        running.hold(leads=True)
        await sleep(60)
        assert [it["ip"] for it in ingress(cluster)] == ["192.168.0.80"]


@pytest.mark.parametrize("source", ["kube-system/another", ""])
async def test_what_another_load_balancer_wrote_is_never_taken_back(cluster: FakeCluster, source: str) -> None:
    cluster.put(SERVICES, marked(source=source, **NOT_OURS))
    async with following(cluster) as running:
        await running.until_addresses()
        running.hold(leads=True)
        await sleep(60)
        assert [it["ip"] for it in ingress(cluster)] == ["192.168.0.80"]


async def test_where_nobody_leads_each_node_takes_back_once_what_is_left(cluster: FakeCluster) -> None:
    """Twice could be for ever, against a node that is configured otherwise."""
    cluster.put(SERVICES, marked(**NOT_OURS))
    async with following(cluster) as running:
        await running.until_addresses()
        await sleep(5)
        assert ingress(cluster) != []  # a leader elsewhere would have been first
        await sleep(10)
        assert ingress(cluster) == []
        cluster.put(SERVICES, marked(**NOT_OURS))
        await sleep(60)
        assert ingress(cluster) != []


async def test_a_service_that_is_ours_again_keeps_its_status_all_the_time(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, marked(**NOT_OURS))
    for number in range(200):
        cluster.put(SERVICES, service(f"s{number}", ip=f"10.1.0.{number + 1}"))
    async with following(cluster) as running:
        await running.until(lambda: len(running.addresses) == 200)
        running.hold("10.1.0.1", leads=False)
        cluster.put(SERVICES, marked())
        running.hold("10.1.0.1", leads=True)
        before = len(cluster.requests)
        await running.until(lambda: len(running.addresses) == 201)
        await sleep(5)
        patched = [it.path for it in list(cluster.requests)[before:] if is_status_patch(it)]
        assert [path for path in patched if "/web/" in path] == []


async def test_a_status_that_cannot_be_cleared_for_a_conflict_is_cleared_from_the_next_version(
    cluster: FakeCluster,
) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        cluster.fail(Fail(status=409, reason="Conflict"), when=is_status_patch, times=1)
        value = marked(**NOT_OURS)
        cluster.put(SERVICES, value)
        await running.until_addresses()
        running.hold(leads=True)
        await sleep(5)
        assert [it["ip"] for it in ingress(cluster)] == ["192.168.0.80"]
        value["metadata"]["labels"] = {"a": "b"}
        cluster.put(SERVICES, value)
        await sleep(5)
        assert ingress(cluster) == []


async def test_a_status_that_was_changed_meanwhile_is_written_from_the_new_version(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    cluster.fail(Fail(status=409, reason="Conflict"), when=is_status_patch, times=1)
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        assert ingress(cluster) == []
        value = service()
        value["metadata"]["labels"] = {"a": "b"}
        cluster.put(SERVICES, value)
        await sleep(5)
        assert [it["ip"] for it in ingress(cluster)] == ["192.168.0.80"]


async def test_without_the_right_to_write_it_is_tried_seldom_and_the_address_stays(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    cluster.fail(Fail(status=403, reason="Forbidden"), when=is_status_patch)
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        before: Any = running.source.status()["requests"]
        await sleep(600)
        after: Any = running.source.status()["requests"]
        assert after - before < 30
        assert running.addresses == ["192.168.0.80"]


async def test_status_and_events_can_be_left_alone(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service(annotations={"egress": "true"}))
    async with following(cluster, write_status=False, events=False) as running:
        await running.until_addresses("192.168.0.80")
        running.hold("192.168.0.80")
        await sleep(5)
        assert ingress(cluster) == []
        assert notes(cluster) == {}


async def test_one_bad_service_is_told_and_disturbs_no_other(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service("bad", ip="127.0.0.1"))
    cluster.put(SERVICES, service())
    async with following(cluster, node="n1") as one, following(cluster, node="n2") as two:
        await one.until_addresses("192.168.0.80")
        await two.until_addresses("192.168.0.80")
        await sleep(5)
        note = "spec.loadBalancerIP: 127.0.0.1 is a loopback address, which no other machine can reach"
        assert notes(cluster) == {note: "Refused Service bad"}
        assert one.source.status()["problems"] == [f"Service shop/bad: {note}"]
        cluster.put(SERVICES, service("bad", ip="192.168.0.81"))
        await one.until_addresses("192.168.0.80", "192.168.0.81")
        assert one.source.status()["problems"] == []


async def test_what_the_core_leaves_out_is_told_of_its_service(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, service())
    async with following(cluster) as running:
        await running.until_addresses("192.168.0.80")
        running.status.set(Snapshot(problems=("Service shop/web: load balancer 'x' is left out: no proxy", "a: b")))
        await sleep(5)
        assert notes(cluster) == {"load balancer 'x' is left out: no proxy": "LeftOut Service web"}


async def test_an_hour_at_rest_costs_few_requests(cluster: FakeCluster) -> None:
    for number in range(100):
        cluster.put(SERVICES, service(f"s{number}", ip=f"10.1.0.{number + 1}"))
    async with following(cluster, balance=Balance.KUBEVIP) as running:
        await running.until(lambda: len(running.addresses) == 100)
        await sleep(60)
        before: Any = running.source.status()["requests"]
        await sleep(3600)
        after: Any = running.source.status()["requests"]
        assert after - before <= 2 * 3600 / 300
