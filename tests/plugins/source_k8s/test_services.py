from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.plugins.source_k8s.objects import service

from kubevip import Severity
from kubevip_source_k8s._endpoints import ServicePort
from kubevip_source_k8s._services import KUBE_VIP_CLASS, Rules, is_ours, wish_of


def wish(value: dict[str, Any], **rules: Any) -> Any:
    return wish_of(value, Rules(**rules))


def test_addresses_come_from_the_annotation_then_from_the_specification() -> None:
    both = service(ip="192.168.0.1", annotations={"loadbalancerIPs": "192.168.0.80, 2001:db8::80,192.168.0.80"})
    assert wish(both).addresses == (ip_address("192.168.0.80"), ip_address("2001:db8::80"))
    assert wish(service(ip="192.168.0.1")).addresses == (ip_address("192.168.0.1"),)


def test_addresses_in_the_status_are_never_taken() -> None:
    value = service(ip="")
    value["status"] = {"loadBalancer": {"ingress": [{"ip": "192.168.0.11"}]}}
    assert wish(value).addresses == ()
    assert wish(value).problems == ()  # it waits for whoever gives it an address


def test_ports_keep_number_protocol_and_name() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    assert wish(service(ports=ports)).ports == (
        ServicePort(number=80, name="http"),
        ServicePort(number=53, protocol="UDP", name="dns"),
    )


def test_a_protocol_that_is_not_balanced_is_told() -> None:
    found = wish(service(ports=[{"port": 80, "protocol": "SCTP"}]))
    assert found.ports == ()
    assert str(found.problems[0]) == "Service shop/web: spec.ports: port 0: SCTP is not balanced, only TCP and UDP"


@pytest.mark.parametrize(
    ("change", "rules", "ours"),
    [
        ({}, {}, True),
        ({}, {"only_class": True}, False),
        ({"loadBalancerClass": KUBE_VIP_CLASS}, {}, True),
        ({"loadBalancerClass": KUBE_VIP_CLASS}, {"only_class": True}, True),
        ({"loadBalancerClass": "other"}, {}, False),
        ({"loadBalancerClass": "other"}, {"load_balancer_class": "other"}, True),
        ({"type": "ClusterIP"}, {}, False),
        ({"type": None}, {}, False),
    ],
)
def test_type_and_class_say_whether_a_service_is_ours(
    change: dict[str, Any], rules: dict[str, Any], ours: bool
) -> None:
    value = service()
    value["spec"].update(change)
    assert is_ours(value, Rules(**rules)) is ours


def test_a_service_that_is_ignored_or_being_deleted_is_not_ours() -> None:
    assert wish(service(annotations={"ignore": "true"})) is None
    assert wish(service(annotations={"ignore": "false"})) is not None
    going = service()
    going["metadata"]["deletionTimestamp"] = "2026-11-22T10:15:02Z"
    assert wish(going) is None


def test_the_interface_is_the_annotation_s() -> None:
    assert wish(service(annotations={"serviceInterface": "eth1"})).interface == "eth1"
    assert wish(service(annotations={"serviceInterface": "auto"})).interface == "auto"


@pytest.mark.parametrize("name", ["a/b", "sixteen-letters-", "eth0; reboot", "-o"])
def test_what_is_no_device_is_refused_as_interface(name: str) -> None:
    found = wish(service(annotations={"serviceInterface": name}))
    assert found.interface == "auto"
    assert "expected the name of a network device" in found.problems[0].message


def test_addresses_that_are_not_permitted_are_refused_and_named() -> None:
    found = wish(service(ip="10.0.0.1"), permitted=(ip_network("192.168.0.0/24"),))
    assert found.addresses == ()
    assert str(found.problems[0]) == (
        "Service shop/web: spec.loadBalancerIP: 10.0.0.1 is outside of what this source may use (192.168.0.0/24); "
        "see its `addresses`"
    )


def test_a_list_that_is_far_too_long_is_refused() -> None:
    found = wish(service(annotations={"loadbalancerIPs": ",".join(f"192.168.0.{n}" for n in range(1, 18))}))
    assert found.addresses == ()
    assert "at most 16" in found.problems[0].message


def test_only_nodes_with_an_endpoint_stand_under_the_policy_local() -> None:
    assert wish(service(policy="Local")).only_local
    assert not wish(service(policy="Cluster")).only_local


def test_annotations_that_are_not_understood_are_warned_about() -> None:
    found = wish(service(annotations={"egress": "true", "ddns": "false"}))
    assert [(problem.place.path[-1], problem.severity) for problem in found.problems] == [
        ("kube-vip.io/egress", Severity.WARNING)
    ]


def test_session_affinity_is_kube_proxy_s_to_keep() -> None:
    value = service()
    value["spec"]["sessionAffinity"] = "ClientIP"
    assert wish(value).problems == ()
    assert "ClientIP" in wish(value, balances=True).problems[0].message


@pytest.mark.parametrize("spoilt", [{"spec": None}, {"spec": []}, {"metadata": 5}, {}])
def test_what_is_no_service_asks_for_nothing(spoilt: dict[str, Any]) -> None:
    assert wish(spoilt) is None
