from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from tests.plugins.source_k8s.objects import service

from kubevip_source_k8s._events import BURST, Register, Said, event_of
from kubevip_source_k8s._status import WRITTEN, clearing_patch, knows_ip_mode, status_patch

ADDRESSES = (ip_address("192.168.0.80"), ip_address("2001:db8::80"))


SOURCE = "kube-system/plndr-svcs-lock"
MARK = f"192.168.0.80 {SOURCE}"


def with_ingress(*ingress: dict[str, Any], mark: str = "") -> dict[str, Any]:
    value = service()
    if mark:
        value["metadata"]["annotations"][WRITTEN] = mark
    value["metadata"]["resourceVersion"] = "7"
    value["status"] = {"loadBalancer": {"ingress": list(ingress)}}
    return value


def test_the_patch_names_the_version_that_it_was_made_from() -> None:
    assert status_patch(with_ingress(), ADDRESSES[:1], "VIP", SOURCE) == {
        "metadata": {"resourceVersion": "7", "annotations": {WRITTEN: MARK}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.168.0.80", "ipMode": "VIP"}]}},
    }


@pytest.mark.parametrize("mode", ["VIP", "Proxy"])
def test_nothing_is_written_that_is_there(mode: str) -> None:
    there = [{"ip": str(address), "ipMode": mode, "ports": [{"port": 80}]} for address in ADDRESSES[::-1]]
    mark = f"192.168.0.80,2001:db8::80 {SOURCE}"
    assert status_patch(with_ingress(*there, mark=mark), ADDRESSES, mode, SOURCE) is None


def test_what_another_wrote_the_same_is_marked_as_ours() -> None:
    patch: Any = status_patch(with_ingress({"ip": "192.168.0.80"}), ADDRESSES[:1], "", SOURCE)
    assert patch["metadata"]["annotations"] == {WRITTEN: MARK}


def test_a_server_that_drops_the_mode_is_not_written_to_again_and_again() -> None:
    there = with_ingress({"ip": "192.168.0.80"}, mark=MARK)
    assert status_patch(there, ADDRESSES[:1], "VIP", SOURCE) is not None
    assert not knows_ip_mode(there)
    assert status_patch(there, ADDRESSES[:1], "", SOURCE) is None
    assert knows_ip_mode(with_ingress({"ip": "192.168.0.80", "ipMode": "VIP"}))


def test_what_another_wrote_is_replaced() -> None:
    patch: Any = status_patch(with_ingress({"ip": "192.168.0.11"}, {"hostname": "n1"}), ADDRESSES[:1], "", SOURCE)
    assert patch["status"] == {"loadBalancer": {"ingress": [{"ip": "192.168.0.80"}]}}


def test_what_was_written_is_taken_back_with_its_mark() -> None:
    assert clearing_patch(with_ingress({"ip": "192.168.0.80", "ipMode": "VIP"}, mark=MARK), SOURCE) == {
        "metadata": {"resourceVersion": "7", "annotations": {WRITTEN: None}},
        "status": {"loadBalancer": {"ingress": None}},
    }


@pytest.mark.parametrize("mark", ["", "192.168.0.80 kube-system/other", "192.168.0.80"])
def test_a_status_without_our_mark_is_left_alone(mark: str) -> None:
    assert clearing_patch(with_ingress({"ip": "192.168.0.80"}, mark=mark), SOURCE) is None


@pytest.mark.parametrize(
    "ingress",
    [[{"ip": "192.168.0.99"}], [{"ip": "192.168.0.80"}, {"ip": "192.168.0.99"}], [{"hostname": "lb.example"}]],
    ids=str,
)
def test_addresses_that_another_has_written_since_stay_and_lose_our_mark(ingress: list[dict[str, str]]) -> None:
    patch: Any = clearing_patch(with_ingress(*ingress, mark=MARK), SOURCE)
    assert patch["metadata"]["annotations"] == {WRITTEN: None}
    assert patch["status"] == {"loadBalancer": {"ingress": ingress}}


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
