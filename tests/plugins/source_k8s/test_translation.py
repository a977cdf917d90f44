from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from tests.plugins.source_k8s.objects import endpoint_slice, service

from kubevip import Backend, Group, Instance, Kind, LoadBalancer, Section, VirtualIP
from kubevip_source_k8s._endpoints import all_of, endpoints_of_slice
from kubevip_source_k8s._entries import read_entries
from kubevip_source_k8s._services import Rules, wish_of
from kubevip_source_k8s._translation import Terms, Translation, Translator

LOCAL = Instance(kind=Kind.ELECTION, name="services-local", section=Section(provider="k8s"))
TERMS = Terms(node="n1", group="services", balances=True, local_election="services-local", local_instances=(LOCAL,))


class Cluster:
    def __init__(self, *services: dict[str, Any], terms: Terms = TERMS) -> None:
        self.translator = Translator(terms)
        for value in services:
            self.put(value)

    def put(self, value: dict[str, Any]) -> bool:
        key = value["metadata"]["namespace"], value["metadata"]["name"]
        return self.translator.set_wish(key, wish_of(value, Rules(balances=True)))

    def remove(self, name: str, namespace: str = "shop") -> bool:
        return self.translator.set_wish((namespace, name), None)

    def endpoints(self, *slices: dict[str, Any], name: str = "web") -> bool:
        return self.translator.set_endpoints(("shop", name), all_of([endpoints_of_slice(each) for each in slices]))

    @property
    def now(self) -> Translation:
        while self.translator.work(1):
            pass
        return self.translator.now

    @property
    def vips(self) -> list[VirtualIP]:
        return [vip for part in self.now.desired.parts.values() for vip in part.vips]

    @property
    def load_balancers(self) -> list[LoadBalancer]:
        return [balancer for part in self.now.desired.parts.values() for balancer in part.load_balancers]

    @property
    def addresses(self) -> list[str]:
        return [vip.name for vip in self.vips]

    @property
    def balancers(self) -> dict[str, list[str]]:
        return {it.name: [str(backend) for backend in it.backends] for it in self.load_balancers}

    @property
    def problems(self) -> list[str]:
        return [str(problem) for problems in self.now.problems.values() for problem in problems]


def test_a_service_is_a_virtual_ip_and_a_load_balancer_for_each_port() -> None:
    cluster = Cluster(service(ports=[{"name": "http", "port": 80}, {"name": "tls", "port": 443}]))
    cluster.endpoints(endpoint_slice("web", "10.0.0.1", "10.0.0.2"))
    (vip,) = cluster.vips
    assert (vip.name, vip.group, vip.interface) == ("192.168.0.80", "services", "auto")
    first, second = cluster.load_balancers
    assert (first.name, first.protocol, first.proxy, first.port, first.bind_to) == (
        "shop/web:80/tcp", "tcp", "tcp", 80, ("192.168.0.80",),
    )  # fmt: skip
    assert first.backends == (Backend(address="10.0.0.1", port=8080), Backend(address="10.0.0.2", port=8080))
    assert second.backends == ()
    assert cluster.problems == [
        "Service shop/web: spec.ports: no endpoint has port tls 443/TCP; they have http 8080/TCP"
    ]


def test_where_kube_proxy_balances_there_is_the_address_alone() -> None:
    cluster = Cluster(service(), terms=Terms(node="n1", group="services", balances=False))
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    assert cluster.addresses == ["192.168.0.80"]
    assert cluster.balancers == {}
    assert not cluster.translator.needs_endpoints


def test_a_service_that_goes_takes_its_address_along() -> None:
    cluster = Cluster(service(), service("other", ip="192.168.0.81"))
    assert cluster.addresses == ["192.168.0.80", "192.168.0.81"]
    assert cluster.remove("web")
    assert cluster.addresses == ["192.168.0.81"]
    assert list(cluster.balancers) == ["shop/other:80/tcp"]


def test_a_change_of_address_leaves_nothing_of_the_old_one() -> None:
    cluster = Cluster(service())
    assert cluster.put(service(ip="192.168.0.90"))
    assert cluster.addresses == ["192.168.0.90"]
    assert cluster.load_balancers[0].bind_to == ("192.168.0.90",)


def test_backends_that_all_go_leave_the_address_and_come_back() -> None:
    cluster = Cluster(service())
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    cluster.endpoints()
    assert (cluster.addresses, cluster.balancers) == (["192.168.0.80"], {"shop/web:80/tcp": []})
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    assert cluster.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]}


def test_both_families_have_a_listener_with_backends_of_their_own() -> None:
    cluster = Cluster(service(annotations={"loadbalancerIPs": "192.168.0.80,2001:db8::80"}))
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"), endpoint_slice("web", "2001:db8::1"))
    assert cluster.addresses == ["192.168.0.80", "2001:db8::80"]
    assert cluster.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"], "shop/web:80/tcp6": ["[2001:db8::1]:8080"]}


def test_services_of_one_namespace_share_an_address_on_different_ports() -> None:
    cluster = Cluster(service(), service("tls", ports=[{"port": 443}]))
    assert cluster.addresses == ["192.168.0.80"]
    assert sorted(cluster.balancers) == ["shop/tls:443/tcp", "shop/web:80/tcp"]
    cluster.remove("web")
    assert cluster.addresses == ["192.168.0.80"]


def test_a_port_that_is_taken_is_refused_to_the_younger_service() -> None:
    cluster = Cluster(service("young", created="2026-11-23T00:00:00Z"), service())
    assert list(cluster.balancers) == ["shop/web:80/tcp"]
    assert cluster.problems == [
        "Service shop/young: 192.168.0.80: shop/web has port 80/TCP of it; choose another port or address"
    ]
    cluster.remove("web")
    assert list(cluster.balancers) == ["shop/young:80/tcp"]
    assert cluster.problems == []


def test_the_group_of_an_address_is_the_sources_setting_and_not_the_services() -> None:
    (vip,) = Cluster(service()).vips
    assert str(vip.places.at("group")) == "source k8s: group"
    assert str(vip.places.at("address")) == "Service shop/web: address"


def test_an_entry_of_a_config_map_that_is_refused_is_named_and_so_is_who_has_what_it_wants() -> None:
    entries = [
        {"vip": "192.168.0.80", "port": 80, "uid": uid, "serviceName": name} for uid, name in (("u1", "a"), ("u2", "b"))
    ]
    data = {"plndr-services": json.dumps({"services": entries})}
    cluster = Cluster()
    read = read_entries({"metadata": {"namespace": "shop", "name": "plndr"}, "data": data})
    cluster.translator.set_wishes({key: wish for key, wish in read.wishes.items()})
    assert list(cluster.balancers) == ["shop/a:80/tcp"]
    assert cluster.problems == [
        "ConfigMap shop/plndr: data.plndr-services.services[1]: 192.168.0.80: services[0] (shop/a) has port 80/TCP of "
        "it; choose another port or address"
    ]


def test_a_namespace_cannot_take_an_address_of_another() -> None:
    thief = service("thief", namespace="evil", created="2026-11-23T00:00:00Z", ports=[{"port": 443}])
    cluster = Cluster(service(), thief)
    assert cluster.problems == ["Service evil/thief: 192.168.0.80: shop/web has it, of another namespace"]
    assert list(cluster.balancers) == ["shop/web:80/tcp"]
    assert cluster.now.granted == {("shop", "web"): cluster.now.granted["shop", "web"]}


def test_namespaces_that_look_like_keys_are_kept_apart() -> None:
    one, other = service("b-c", namespace="a", ip="192.168.0.1"), service("c", namespace="a-b", ip="192.168.0.2")
    assert list(Cluster(one, other).balancers) == ["a/b-c:80/tcp", "a-b/c:80/tcp"]


def test_services_that_share_an_address_share_its_interface() -> None:
    cluster = Cluster(
        service(annotations={"serviceInterface": "eth1"}),
        service("tls", ports=[{"port": 443}], created="2026-11-23T00:00:00Z"),
    )
    assert cluster.vips[0].interface == "eth1"
    assert "has it on interface eth1" in cluster.problems[0]


def test_under_the_policy_local_only_a_node_with_an_endpoint_stands_in_a_group_of_the_address() -> None:
    cluster = Cluster(service(policy="Local"), service("other", ip="192.168.0.81"))
    assert cluster.addresses == ["192.168.0.81"]
    cluster.endpoints(endpoint_slice("web", "10.0.0.9", node="n2"))
    assert cluster.addresses == ["192.168.0.81"]
    cluster.endpoints(endpoint_slice("web", "10.0.0.9", node="n2"), endpoint_slice("web", "10.0.0.1", node="n1"))
    desired = cluster.now.desired
    assert sorted((vip.name, vip.group) for vip in cluster.vips) == [
        ("192.168.0.80", "192.168.0.80"),
        ("192.168.0.81", "services"),
    ]
    assert desired.parts["192.168.0.80"].groups == (Group(name="192.168.0.80", election="services-local"),)
    assert desired.instances == (LOCAL,)
    assert cluster.balancers["shop/web:80/tcp"] == ["10.0.0.1:8080"]


def test_what_did_not_change_is_the_same_object() -> None:
    cluster = Cluster(service(), service("other", ip="192.168.0.81"))
    before = cluster.now
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    after = cluster.now
    assert list(after.desired.parts.changed_since(before.desired.parts)) == ["192.168.0.80"]
    assert before.desired.parts["192.168.0.80"].vips[0] is after.desired.parts["192.168.0.80"].vips[0]
    assert after.granted is before.granted


def test_addresses_that_a_service_shares_are_one_part_for_as_long_as_it_does() -> None:
    cluster = Cluster(
        service("web", ip="192.168.0.81"),
        service("tls", ip="192.168.0.82", ports=[{"port": 443}]),
        service("both", ip="", annotations={"loadbalancerIPs": "192.168.0.80,192.168.0.81,192.168.0.82"}, ports=[]),
    )
    assert list(cluster.now.desired.parts) == ["192.168.0.80"]
    assert cluster.addresses == ["192.168.0.80", "192.168.0.81", "192.168.0.82"]
    cluster.remove("both")
    assert sorted(cluster.now.desired.parts) == cluster.addresses == ["192.168.0.81", "192.168.0.82"]
    assert [len(part.load_balancers) for part in cluster.now.desired.parts.values()] == [1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_it_comes_to_the_same_whatever_was_before(seed: int) -> None:
    """All that changes is told piece by piece; who is told the end of it alone says the same."""
    rng, cluster, services = Random(seed), Cluster(), dict[str, dict[str, Any]]()
    for _ in range(60):
        name, ips = rng.choice("abcdef"), rng.sample([f"192.168.0.{last}" for last in range(1, 6)], rng.randint(1, 3))
        if rng.random() < 0.2:
            services.pop(name, None)
            cluster.remove(name)
        else:
            services[name] = service(
                name,
                ip="",
                annotations={"loadbalancerIPs": ",".join(ips)},
                ports=[{"port": rng.choice([80, 443])}],
                policy=rng.choice(["Cluster", "Cluster", "Local"]),
            )
            cluster.put(services[name])
        if rng.random() < 0.5:
            cluster.endpoints(*([endpoint_slice("a", "10.0.0.1")] if rng.random() < 0.5 else []), name="a")
        if rng.random() < 0.5:
            assert cluster.addresses is not None  # worked out in between
    fresh = Cluster(*services.values())
    fresh.translator.set_endpoints(("shop", "a"), cluster.translator.endpoints(("shop", "a")))
    assert {name: part for name, part in cluster.now.desired.parts.items()} == dict(fresh.now.desired.parts)
    assert dict(cluster.now.granted) == dict(fresh.now.granted)
    assert sorted(cluster.problems) == sorted(fresh.problems)
    assert cluster.now.desired.instances == fresh.now.desired.instances


@pytest.mark.parametrize("count", [10, 1000])
def test_a_change_is_as_much_work_among_a_thousand_services_as_among_ten(count: int) -> None:
    cluster = Cluster(
        *(service(f"s{number}", ip=f"10.1.{number // 250}.{number % 250 + 1}") for number in range(count))
    )
    before = cluster.now.desired.parts
    cluster.endpoints(endpoint_slice("s7", "10.0.0.1"), name="s7")
    steps = 1
    while cluster.translator.work(1):
        steps += 1
    assert steps <= 3
    assert list(cluster.translator.now.desired.parts.changed_since(before)) == ["10.1.0.8"]


def test_what_says_nothing_new_is_no_news() -> None:
    cluster = Cluster(service())
    assert not cluster.put(service())
    assert cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    assert not cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    assert not cluster.endpoints(endpoint_slice("stranger", "10.0.0.1"), name="stranger")
    assert not cluster.remove("stranger")


def test_endpoints_that_were_there_first_are_used() -> None:
    cluster = Cluster()
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    cluster.put(service())
    assert cluster.balancers == {"shop/web:80/tcp": ["10.0.0.1:8080"]}


def test_what_is_not_wanted_any_more_is_not_remembered() -> None:
    cluster = Cluster(service())
    cluster.endpoints(endpoint_slice("web", "10.0.0.1"))
    assert cluster.addresses
    cluster.endpoints()
    cluster.remove("web")
    assert cluster.addresses == []
    kept = {name: value for name, value in vars(cluster.translator).items() if name not in ("_terms", "_together")}
    assert not any(kept.values())
    together = vars(cluster.translator._together)
    assert not any(value for name, value in together.items() if name not in ("_neighbours", "_desired"))
