from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip.errors import ConfigError
from kubevip_source_k8s._endpoints import ServicePort
from kubevip_source_k8s._entries import read_entries, with_names

WEB = {"vip": "192.168.0.80", "port": 80, "type": "TCP", "uid": "u1", "serviceName": "web"}


def config_map(services: object) -> dict[str, object]:
    return raw(json.dumps({"services": services}))


def raw(written: object) -> dict[str, object]:
    return {"metadata": {"namespace": "shop", "name": "plndr"}, "data": {"plndr-services": written}}


def test_an_entry_asks_for_its_address_and_port() -> None:
    entries = read_entries(config_map([WEB]))
    (wish,) = entries.wishes.values()
    assert entries.problems == ()
    assert (wish.service, wish.addresses, wish.ports) == (
        ("shop", "web"),
        (ip_address("192.168.0.80"),),
        (ServicePort(number=80),),
    )


def test_the_original_keys_without_a_type_mean_tcp_and_unknown_keys_are_passed_over() -> None:
    (wish,) = read_entries(
        config_map([{"vip": "192.168.0.80", "port": 80, "serviceName": "web", "new": [1]}])
    ).wishes.values()
    assert wish.ports == (ServicePort(number=80, protocol="TCP"),)


def test_an_entry_without_a_uid_is_keyed_by_name_and_port() -> None:
    entries = [{**WEB, "uid": ""}, {**WEB, "uid": "", "port": 443}]
    assert list(read_entries(config_map(entries)).wishes) == ["web:80", "web:443"]


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}, {"data": {"plndr-services": ""}}])
def test_a_config_map_without_the_key_asks_for_nothing(data: dict[str, object]) -> None:
    assert read_entries({"metadata": {"namespace": "shop", "name": "plndr"}, **data}).wishes == {}


@pytest.mark.parametrize("services", [[], None])
def test_a_list_that_became_empty_asks_for_nothing(services: object) -> None:
    assert read_entries(config_map(services)).wishes == {}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (7, "is not JSON"),
        ("[]", "expected {"),
        ('"a"', "expected {"),
        ('{"services": {}}', "expected {"),
        (json.dumps({"services": [{}] * 5001}), "at most 5000"),
    ],
)
def test_what_is_no_list_of_services_is_refused_whole(written: object, message: str) -> None:
    if written == 7:
        message = "expected {"
    with pytest.raises(ConfigError) as raised:
        read_entries(raw(written))
    (problem,) = raised.value.problems
    assert str(problem).startswith("ConfigMap shop/plndr: data.plndr-services: ")
    assert message in problem.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serviceName": ""}, 'missing "serviceName"'),
        ({"port": 0}, 'web: expected a "port" of 1-65535, got 0'),
        ({"port": 65536}, 'web: expected a "port" of 1-65535, got 65536'),
        ({"port": "80"}, 'web: expected a "port" of 1-65535, got "80"'),
        ({"port": True}, 'web: expected a "port" of 1-65535, got true'),
        ({"type": "SCTP"}, 'web: expected a "type" of TCP or UDP, got "SCTP"'),
        ({"vip": ""}, 'web: vip: expected an IPv4 or IPv6 address, got ""'),
        ({"vip": "192.168.0.080"}, 'web: vip: expected an IPv4 or IPv6 address, got "192.168.0.080"'),
        ({"vip": "192.168.0.80/24"}, 'web: vip: expected an IPv4 or IPv6 address, got "192.168.0.80/24"'),
        ({"vip": "0.0.0.0"}, "web: vip: 0.0.0.0 asks for an address by DHCP, which is not supported; name one"),
        ({"vip": "127.0.0.1"}, "web: vip: 127.0.0.1 is a loopback address, which no other machine can reach"),
        ({"vip": "224.0.0.1"}, "web: vip: 224.0.0.1 is a multicast address"),
        ({"vip": "255.255.255.255"}, "web: vip: 255.255.255.255 is reserved and cannot be used"),
        ({"vip": "fe80::1%eth0"}, "web: vip: fe80::1%eth0 has a zone; leave it out and name the interface"),
        ({"vip": "::ffff:10.0.0.1"}, "is an IPv4 address in IPv6 clothes; write 10.0.0.1"),
        ({"vip": "10.1.0.1"}, "outside of what this source may use"),
    ],
)
def test_an_entry_that_is_not_right_is_refused_alone(change: dict[str, object], message: str) -> None:
    other = {**WEB, "vip": "192.168.0.81", "uid": "u2", "serviceName": "other"}
    entries = read_entries(
        config_map([{**WEB, **change}, other]),
        (ip_network("192.168.0.0/24"), ip_network("::/0"), ip_network("127.0.0.0/8"), ip_network("224.0.0.0/3")),
    )
    assert list(entries.wishes) == ["u2"]
    (problem,) = entries.problems
    assert str(problem).startswith("ConfigMap shop/plndr: data.plndr-services.services[0]: ")
    assert message in problem.message
    assert entries.refused == {"u1"}


def test_of_two_entries_with_one_uid_the_first_counts() -> None:
    entries = read_entries(config_map([WEB, {**WEB, "port": 443}]))
    assert [wish.ports[0].number for wish in entries.wishes.values()] == [80]
    (problem,) = entries.problems
    assert str(problem) == (
        'ConfigMap shop/plndr: data.plndr-services.services[1]: services[0] (shop/web) has the uid "u1" already; this '
        "one, for port 443/TCP, is left out: remove one of them, or give it a uid of its own"
    )


@pytest.mark.parametrize("uid", ["u1", "u2", ""])
def test_of_two_entries_for_one_port_of_a_service_the_first_goes_on_and_both_are_named(uid: str) -> None:
    entries = read_entries(config_map([WEB, {**WEB, "uid": uid, "vip": "192.168.0.81"}]))
    assert [str(wish.addresses[0]) for wish in entries.wishes.values()] == ["192.168.0.80"]
    (problem,) = entries.problems
    assert str(problem) == (
        "ConfigMap shop/plndr: data.plndr-services.services[1]: services[0] (shop/web) leads 192.168.0.80 to port "
        "80/TCP of this Service already; this one, for 192.168.0.81, is left out: remove one of them, or give it "
        "another port"
    )


def test_a_service_may_have_an_entry_of_each_family_for_a_port() -> None:
    entries = read_entries(config_map([WEB, {**WEB, "uid": "u2", "vip": "2001:db8::80"}]))
    assert (list(entries.wishes), entries.problems) == (["u1", "u2"], ())


def test_the_service_tells_the_name_of_the_port() -> None:
    (wish,) = read_entries(config_map([WEB])).wishes.values()
    ports = [{"name": "tls", "port": 443}, {"name": "dns", "port": 80, "protocol": "UDP"}, {"name": "http", "port": 80}]
    assert with_names(wish, {"spec": {"ports": ports}}).ports[0].name == "http"
    assert with_names(wish, {"spec": {"ports": [{"port": 80}]}}).ports[0].name == ""
    assert with_names(wish, {"spec": {}}) == with_names(wish, None) == wish


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["vip", "port", "type", "uid", "serviceName"]), _JSON, max_size=5) | _JSON,
        max_size=4,
    )
)
def test_whatever_is_listed_raises_nothing_but_refusals(services: list[object]) -> None:
    entries = read_entries(config_map(services))
    assert len(entries.wishes) + len(entries.problems) == len(services)
