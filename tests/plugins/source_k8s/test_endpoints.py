from __future__ import annotations

import pytest

from kubevip import Backend
from kubevip_source_k8s._endpoints import (
    ServicePort,
    active,
    all_of,
    backends_of,
    endpoints_of_endpoints,
    endpoints_of_slice,
)


def slice_of(
    *endpoints: object, ports: object = ({"name": "http", "protocol": "TCP", "port": 8080},)
) -> dict[str, object]:
    return {"endpoints": list(endpoints), "ports": list(ports) if isinstance(ports, tuple) else ports}


def endpoint(address: str, **conditions: bool | None) -> dict[str, object]:
    return {"addresses": [address], "conditions": conditions, "nodeName": "n1"}


HTTP = ServicePort(number=80, name="http")


def backends(*slices: dict[str, object], port: ServicePort = HTTP, version: int = 4) -> list[str]:
    found, _ = backends_of(all_of([endpoints_of_slice(each) for each in slices]), port, version)
    return [str(backend) for backend in found]


def test_ready_endpoints_are_backends_at_the_target_port() -> None:
    assert backends(slice_of(endpoint("10.0.0.2", ready=True), endpoint("10.0.0.1"))) == [
        "10.0.0.1:8080",
        "10.0.0.2:8080",
    ]


def test_an_endpoint_that_is_not_ready_is_none() -> None:
    assert backends(slice_of(endpoint("10.0.0.1", ready=False), endpoint("10.0.0.2", ready=None))) == ["10.0.0.2:8080"]


def test_a_terminating_endpoint_is_none_while_another_is_ready() -> None:
    terminating = endpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    assert backends(slice_of(terminating, endpoint("10.0.0.2", ready=True))) == ["10.0.0.2:8080"]


def test_terminating_endpoints_that_answer_serve_while_none_is_ready() -> None:
    terminating = endpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    dead = endpoint("10.0.0.2", ready=False, serving=False, terminating=True)
    assert backends(slice_of(terminating, dead)) == ["10.0.0.1:8080"]


def test_of_several_ports_the_one_of_that_name_is_taken() -> None:
    ports = (
        {"name": "metrics", "port": 9090},
        {"name": "http", "port": 8080},
        {"name": "http", "protocol": "UDP", "port": 53},
    )
    assert backends(slice_of(endpoint("10.0.0.1"), ports=ports)) == ["10.0.0.1:8080"]
    assert backends(
        slice_of(endpoint("10.0.0.1"), ports=ports), port=ServicePort(number=53, protocol="UDP", name="http")
    ) == ["10.0.0.1:53"]


def test_endpoints_of_one_service_may_differ_in_the_number_of_a_named_port() -> None:
    old = slice_of(endpoint("10.0.0.1"), ports=({"name": "http", "port": 8080},))
    new = slice_of(endpoint("10.0.0.2"), ports=({"name": "http", "port": 9090},))
    assert backends(old, new) == ["10.0.0.1:8080", "10.0.0.2:9090"]


def test_without_the_service_the_only_port_is_taken_then_the_one_of_that_number() -> None:
    unnamed = ServicePort(number=80)
    several = ({"name": "a", "port": 80}, {"name": "b", "port": 81})
    assert backends(slice_of(endpoint("10.0.0.1")), port=unnamed) == ["10.0.0.1:8080"]
    assert backends(slice_of(endpoint("10.0.0.1"), ports=several), port=unnamed) == ["10.0.0.1:80"]
    assert backends(slice_of(endpoint("10.0.0.1"), ports=several), port=ServicePort(number=443)) == []


def test_a_port_that_no_endpoint_has_is_told_with_those_that_they_have() -> None:
    found, why = backends_of(endpoints_of_slice(slice_of(endpoint("10.0.0.1"))), ServicePort(number=443, name="https"))
    assert found == ()
    assert why == "no endpoint has port https 443/TCP; they have http 8080/TCP"


@pytest.mark.parametrize(
    "slices", [[], [slice_of()], [slice_of(endpoint("10.0.0.1", ready=False))], [slice_of({"addresses": []})]]
)
def test_no_endpoints_are_no_backends_and_no_problem(slices: list[dict[str, object]]) -> None:
    assert backends_of(all_of([endpoints_of_slice(each) for each in slices]), HTTP) == ((), "")


def test_addresses_of_the_other_family_serve_only_where_there_are_none_of_the_same() -> None:
    four, six = slice_of(endpoint("10.0.0.1")), slice_of(endpoint("2001:db8::1"))
    assert backends(four, six) == ["10.0.0.1:8080"]
    assert backends(four, six, version=6) == ["[2001:db8::1]:8080"]
    assert backends(four, version=6) == ["10.0.0.1:8080"]


@pytest.mark.parametrize(
    "nonsense",
    [
        {"endpoints": None, "ports": None},
        {"endpoints": "abc", "ports": [1]},
        {"endpoints": [{"addresses": ["no.address", 5, "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"]}]},
        {
            "endpoints": [{"addresses": ["10.0.0.1"]}],
            "ports": [{"name": "http", "port": 0}, {"name": "http", "port": "8080"}],
        },
    ],
)
def test_what_is_no_endpoint_that_a_service_can_have_is_passed_over(nonsense: dict[str, object]) -> None:
    assert backends_of(endpoints_of_slice(nonsense), HTTP)[0] == ()


def test_an_endpoint_that_is_in_two_slices_is_one() -> None:
    moved = [slice_of(endpoint("10.0.0.1", ready=False)), slice_of(endpoint("10.0.0.1", ready=True))]
    assert backends(*moved) == ["10.0.0.1:8080"]
    assert len(all_of([endpoints_of_slice(each) for each in moved])) == 1


def test_endpoints_objects_say_the_same() -> None:
    value = {
        "subsets": [
            {
                "addresses": [{"ip": "10.0.0.2", "nodeName": "n2"}, {"ip": "10.0.0.1"}],
                "notReadyAddresses": [{"ip": "10.0.0.3"}],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "metrics", "port": 9090}],
            }
        ]
    }
    endpoints = endpoints_of_endpoints(value)
    assert [it.node for it in endpoints] == ["", "n2", ""]
    assert backends_of(endpoints, HTTP)[0] == (
        Backend(address="10.0.0.1", port=8080),
        Backend(address="10.0.0.2", port=8080),
    )
    assert [it.address for it in active(endpoints)] == ["10.0.0.1", "10.0.0.2"]
