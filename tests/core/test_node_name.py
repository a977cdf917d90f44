"""Six rules by which a machine knows its name."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from kubevip import Interface, Machine, Member
from kubevip._node_name import node_name
from kubevip._options import Options
from kubevip.errors import ConfigError

MEMBERS = tuple(Member(name=f"n{number}", address=IPv4Address(f"192.0.2.{number}")) for number in (1, 2, 3))


def machine(host_name: str, *addresses: str) -> Machine:
    return Machine(
        host_name=host_name,
        interfaces=(Interface(name="eth0", addresses=tuple(IPv4Interface(address) for address in addresses)),),
    )


@pytest.mark.parametrize(
    ("options", "in_file", "here", "expected"),
    [
        (Options(node="n9"), "n8", machine("n1", "192.0.2.2/24"), "n9"),
        (Options(), "n8", machine("n1", "192.0.2.2/24"), "n8"),
        (Options(), None, machine("N1", "192.0.2.2/24"), "n1"),
        (Options(), None, machine("n3.example.org", "192.0.2.2/24"), "n3"),
        (Options(), None, machine("host", "192.0.2.2/24"), "n2"),
    ],
)
def test_the_first_rule_that_tells_wins(options: Options, in_file: str | None, here: Machine, expected: str) -> None:
    assert node_name(options, node_name=in_file, members=MEMBERS, machine=here) == expected


def test_without_members_the_host_name_will_do() -> None:
    assert node_name(Options(), node_name=None, members=(), machine=machine("Alone")) == "alone"


@pytest.mark.parametrize("addresses", [(), ("203.0.113.5/24",), ("192.0.2.1/24", "192.0.2.2/24")])
def test_a_machine_that_is_none_of_them_or_several_is_refused_with_both_lists(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        node_name(Options(), node_name=None, members=MEMBERS, machine=machine("host", *addresses))
    text = str(caught.value)
    assert "n1 192.0.2.1, n2 192.0.2.2, n3 192.0.2.3" in text
    assert "--node" in text
    for address in addresses:
        assert address.partition("/")[0] in text
