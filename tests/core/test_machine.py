"""What the machine has, and on which device an address belongs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest

from kubevip import Interface, Machine
from kubevip._machine import read_machine

MACHINE = Machine(
    host_name="n1",
    interfaces=(
        Interface(name="lo", addresses=(IPv4Interface("127.0.0.1/8"),)),
        Interface(name="eth0", addresses=(IPv4Interface("192.0.2.10/24"), IPv6Interface("2001:db8::10/64"))),
        Interface(name="eth1", addresses=(IPv4Interface("192.0.2.130/28"), IPv4Interface("198.51.100.1/32"))),
    ),
    default_device4="eth0",
)


@pytest.mark.parametrize(
    ("address", "interface", "device"),
    [
        ("192.0.2.75", "auto", "eth0"),
        ("192.0.2.140", "auto", "eth1"),  # the longer prefix
        ("203.0.113.1", "auto", "eth0"),  # the default route's
        ("198.51.100.1", "auto", "eth0"),  # a host route is no subnet
        ("2001:db8::75", "auto", "eth0"),
        ("2001:db8:1::75", "auto", ""),  # there is no default route for IPv6
        ("192.0.2.75", "eth1", "eth1"),
        ("192.0.2.75", "ens18", ""),
    ],
)
def test_the_device_of_a_virtual_ip(address: str, interface: str, device: str) -> None:
    parsed = IPv6Address(address) if ":" in address else IPv4Address(address)
    assert MACHINE.device_for(parsed, interface) == device


@pytest.mark.parametrize(
    ("address", "device"),
    [
        ("192.0.2.255", "eth0"),
        ("192.0.2.143", "eth1"),
        ("192.0.2.254", ""),
        ("198.51.100.1", ""),  # a host address has no subnet
        ("2001:db8::ffff:ffff:ffff:ffff", ""),
    ],
)
def test_the_broadcast_address_of_a_subnet_is_known(address: str, device: str) -> None:
    assert MACHINE.broadcast_on(IPv6Address(address) if ":" in address else IPv4Address(address)) == device


def test_who_has_an_address() -> None:
    assert MACHINE.device_of(IPv4Address("192.0.2.130")) == "eth1"
    assert MACHINE.device_of(IPv4Address("192.0.2.131")) == ""


def test_this_machine_has_a_loopback() -> None:
    loopback = read_machine().interface("lo")
    assert loopback is not None
    assert loopback.is_up
    assert IPv4Interface("127.0.0.1/8") in loopback.addresses


def test_a_machines_own_address_has_a_subnet() -> None:
    assert MACHINE.is_own(IPv4Address("192.0.2.10"))
    assert MACHINE.is_own(IPv6Address("2001:db8::10"))
    assert not MACHINE.is_own(IPv4Address("198.51.100.1"))
    assert not MACHINE.is_own(IPv4Address("192.0.2.11"))
