"""What is read of a real kernel, beside what a library reads of it."""

from __future__ import annotations

from typing import Any

import pytest
from pyroute2 import IPRoute

from kubevip_announce_arp._inventory import read_default_devices, read_devices

pytestmark = pytest.mark.netns

Shell = Any  # the function `run` of conftest
Wire = Any  # the class of conftest

WORLD = """
ip link add br0 type bridge
ip link add d0 type veth peer name d1
ip link set d0 master br0
ip link set d0 up
ip address add 10.9.0.100/32 dev e0 valid_lft 60 preferred_lft 0
ip address add 10.10.0.1/30 peer 10.10.0.2 dev br0
"""


def test_devices_and_addresses_are_those_that_a_library_reads(wire: Wire, shell: Shell) -> None:
    for line in WORLD.strip().splitlines():
        shell(line)
    links, addresses = read_devices()
    with IPRoute() as route:
        expected_links: list[Any] = list(route.get_links())
        expected_addresses: list[Any] = list(route.get_addr())
    assert {link.name for link in links} >= {"lo", "e0", "e1", "br0", "d0", "d1"}
    assert [
        (link.ifindex, link.name, link.flags, link.hardware_type, link.hardware_address.hex(":"), link.master)
        for link in links
        if len(link.hardware_address) == 6
    ] == [
        (
            link["index"],
            link.get_attr("IFLA_IFNAME"),
            link["flags"],
            link["ifi_type"],
            link.get_attr("IFLA_ADDRESS"),
            link.get_attr("IFLA_MASTER") or 0,
        )
        for link in expected_links
        if link.get_attr("IFLA_ADDRESS").count(":") == 5
    ]
    assert {link.name: link.kind for link in links if link.name in ("br0", "d0", "lo")} == {
        "br0": "bridge",
        "d0": "veth",
        "lo": "",
    }
    assert [(entry.ifindex, str(entry.address), entry.prefix_length) for entry in addresses] == [
        (entry["index"], entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"), entry["prefixlen"])
        for entry in expected_addresses
    ]
    assert [entry.is_permanent for entry in addresses if str(entry.address) == "10.9.0.100"] == [False]


def test_a_default_device_is_that_of_the_main_table_with_the_least_priority(wire: Wire, shell: Shell) -> None:
    assert read_default_devices() == ("", "")
    shell("ip link add d0 type bridge")
    shell("ip link set d0 up")
    shell("ip route add default dev d0 metric 50")
    shell("ip route add default via 10.9.0.2 dev e0 metric 10")
    shell("ip route add default dev d0 table 1000")
    shell("ip -6 route add default via 2001:db8:9::2 dev e0 metric 10")
    shell("ip -6 route add default dev d0 metric 50")
    assert read_default_devices() == ("e0", "e0")
    shell("ip route replace default metric 5 nexthop dev d0 nexthop via 10.9.0.2 dev e0")
    assert read_default_devices() == ("d0", "e0")


def test_what_does_not_fit_one_answer_comes_in_several(wire: Wire) -> None:
    with IPRoute() as route:
        for number in range(100):
            route.link("add", ifname=f"d{number}", kind="bridge")
    links, _ = read_devices()
    assert sum(link.kind == "bridge" for link in links) == 100
