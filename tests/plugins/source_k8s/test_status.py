from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from tests.plugins.source_k8s.objects import service

from kubevip_source_k8s._events import BURST, Register, Said, event_of
from kubevip_source_k8s._status import has_lost_its_addresses, knows_ip_mode, status_patch

ADDRESSES = (ip_address("192.168.0.80"), ip_address("2001:db8::80"))


def with_ingress(*ingress: dict[str, Any]) -> dict[str, Any]:
    value = service()
    value["metadata"]["resourceVersion"] = "7"
    value["status"] = {"loadBalancer": {"ingress": list(ingress)}}
    return value


def test_the_patch_names_the_version_that_it_was_made_from() -> None:
    assert status_patch(with_ingress(), ADDRESSES[:1], "VIP") == {
        "metadata": {"resourceVersion": "7"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.80", "ipMode": "VIP"}]}},
    }


@pytest.mark.parametrize("mode", ["VIP", "Proxy"])
def test_nothing_is_written_that_is_there(mode: str) -> None:
    there = [{"ip": str(address), "ipMode": mode, "ports": [{"port": 80}]} for address in ADDRESSES[::-1]]
    assert status_patch(with_ingress(*there), ADDRESSES, mode) is None


def test_a_server_that_drops_the_mode_is_not_written_to_again_and_again() -> None:
    there = with_ingress({"ip": "192.168.0.80"})
    assert status_patch(there, ADDRESSES[:1], "VIP") is not None
    assert not knows_ip_mode(there)
    assert status_patch(there, ADDRESSES[:1], "") is None
    assert knows_ip_mode(with_ingress({"ip": "192.168.0.80", "ipMode": "VIP"}))


def test_what_another_wrote_is_replaced() -> None:
    patch: Any = status_patch(with_ingress({"ip": "192.168.0.11"}, {"hostname": "n1"}), ADDRESSES[:1], "")
    assert patch["status"] == {"loadBalancer": {"ingress": [{"ip": "192.168.0.80"}]}}


def test_no_addresses_remove_the_list() -> None:
    patch: Any = status_patch(with_ingress({"ip": "192.168.0.80"}), (), "VIP")
    assert patch["status"] == {"loadBalancer": {"ingress": None}}
    assert status_patch(with_ingress(), (), "VIP") is None


def test_only_what_was_written_here_is_cleared() -> None:
    assert has_lost_its_addresses(with_ingress({"ip": "192.168.0.80"}), ADDRESSES[:1])
    assert not has_lost_its_addresses(with_ingress({"ip": "192.168.0.99"}), ADDRESSES[:1])
    assert not has_lost_its_addresses(with_ingress(), ())


def said(note: str = "192.168.0.80 is held by n1", name: str = "web") -> Said:
    return Said(about=service(name), kind="Service", reason="AddressHeld", note=note, is_warning=False)


def test_an_event_is_about_its_object() -> None:
    event: Any = event_of(said(), node="n1", now="2026-11-22T10:15:02.123456Z")
    assert event["regarding"] == {
        "apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "uid-shop-web",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["note"]) == ("Normal", "AddressHeld", "192.168.0.80 is held by n1")


def test_nodes_that_see_the_same_name_the_event_the_same() -> None:
    one: Any = event_of(said(), node="n1", now="2026-11-22T10:15:02.123456Z")
    two: Any = event_of(said(), node="n2", now="2026-11-22T10:15:03.123456Z")
    other: Any = event_of(said("something else"), node="n1", now="2026-11-22T10:15:02.123456Z")
    assert one["metadata"]["name"] == two["metadata"]["name"] != other["metadata"]["name"]


def test_a_note_that_is_too_long_is_cut() -> None:
    event: Any = event_of(said("x" * 5000), node="n1", now="")
    assert len(event["note"]) == 1000


def test_the_same_is_said_once() -> None:
    register = Register()
    assert register.permits(said(), 0.0)
    assert not register.permits(said(), 1000.0)
    assert register.permits(said("something else"), 1000.0)


def test_a_thousand_events_in_one_moment_are_not_sent() -> None:
    register = Register()
    told = [register.permits(said(name=f"web{n}"), 100.0) for n in range(1000)]
    assert sum(told) == BURST
    assert register.dropped == 1000 - BURST
    assert register.permits(said(name="later"), 101.0)
