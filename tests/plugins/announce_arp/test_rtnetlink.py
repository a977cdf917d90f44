from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from kubevip_announce_arp import _rtnetlink as rt
from kubevip_announce_arp._rtnetlink import AddressEvent, LinkEvent


def decoded(data: bytes) -> ifaddrmsg:
    message = ifaddrmsg(data)
    message.decode()
    return message


def test_an_ipv4_address_is_encoded_as_a_library_reads_it() -> None:
    data = rt.set_address(ip_address("192.0.2.1"), 7, "ens18", lifetime_seconds=10, is_new=True, sequence=9)
    message = decoded(data)
    assert (message["family"], message["prefixlen"], message["index"]) == (2, 32, 7)
    assert message["header"]["type"] == 20
    assert message["header"]["sequence_number"] == 9
    assert message["header"]["flags"] == 0x1 | 0x4 | 0x400 | 0x200  # request, ack, create, exclusive
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == "192.0.2.1"
    assert message.get_attr("IFA_LABEL") == "ens18:kv"
    assert message.get_attr("IFA_PROTO") == 107
    cache = message.get_attr("IFA_CACHEINFO")
    assert (cache["ifa_preferred"], cache["ifa_valid"]) == (0, 10)
    assert message.get_attr("IFA_FLAGS") is None


def test_an_ipv6_address_skips_duplicate_detection_and_its_prefix_route() -> None:
    data = rt.set_address(ip_address("2001:db8::1"), 7, "ens18", lifetime_seconds=2, is_new=False, sequence=1)
    message = decoded(data)
    assert (message["family"], message["prefixlen"]) == (10, 128)
    assert message["header"]["flags"] == 0x1 | 0x4 | 0x400 | 0x100  # replace
    assert message.get_attr("IFA_FLAGS") == 0x02 | 0x200
    assert message.get_attr("IFA_LABEL") is None


def test_a_deletion_names_the_host_address_and_nothing_else() -> None:
    message = decoded(rt.delete_address(ip_address("192.0.2.1"), 7, sequence=3))
    assert message["header"]["type"] == 21
    assert message["prefixlen"] == 32
    assert [(slot[0], slot[1]) for slot in message["attrs"]] == [
        ("IFA_LOCAL", "192.0.2.1"),
        ("IFA_ADDRESS", "192.0.2.1"),
    ]


@pytest.mark.parametrize(
    ("device", "label"), [("e0", "e0:kv"), ("enp0s31f6abc", "enp0s31f6abc:kv"), ("enp0s31f6abcd", "")]
)
def test_a_label_has_at_most_fifteen_characters(device: str, label: str) -> None:
    assert rt.label(device) == label


def test_an_address_is_read_back_from_what_the_kernel_tells() -> None:
    data = rt.set_address(ip_address("2001:db8::1"), 7, "e0", lifetime_seconds=2, is_new=True, sequence=1)
    gone = rt.delete_address(ip_address("192.0.2.1"), 3, sequence=1)
    assert list(rt.events(data + gone)) == [
        AddressEvent(7, ip_address("2001:db8::1"), 128, False, False, 107),
        AddressEvent(3, ip_address("192.0.2.1"), 32, True, False, 0),
    ]


def link(family: int = 0, kind: bytes = b"") -> bytes:
    def attribute(number: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)

    body = struct.pack("=BBHiII", family, 0, 1, 4, 0x11043, 0) + attribute(3, b"e0\0")
    body += attribute(1, bytes.fromhex("020000000001")) + attribute(10, struct.pack("=I", 9))
    body += attribute(18, attribute(1, kind)) if kind else b""
    return struct.pack("=IHHII", 16 + len(body), 16, 0, 0, 0) + body


def test_a_link_is_read_with_its_master_and_kind() -> None:
    expected = LinkEvent(4, "e0", 0x11043, 1, bytes.fromhex("020000000001"), 9, "bond", False)
    assert list(rt.events(link(kind=b"bond\0"))) == [expected]


def test_what_a_bridge_says_of_its_port_is_not_about_the_device() -> None:
    assert list(rt.events(link(family=7))) == []


def route(*attributes: tuple[int, bytes], prefix_length: int = 0, table: int = 254, kind: int = 1) -> bytes:
    body = struct.pack("=BBBBBBBBI", 2, prefix_length, 0, 0, table, 3, 0, kind, 0)
    for number, data in attributes:
        body += struct.pack("=HH", 4 + len(data), number) + data
    return struct.pack("=IHHII", 16 + len(body), 24, 2, 1, 0) + body


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def test_default_routes_are_those_of_the_main_table_that_lead_to_a_device() -> None:
    two_paths = struct.pack("=HBBi", 8, 0, 0, 5) + struct.pack("=HBBi", 8, 0, 0, 6)
    listed = (
        route((4, number(7)), (6, number(100))),
        route((4, number(7)), prefix_length=24),
        route((4, number(7)), table=255),
        route((4, number(7)), (15, number(1000)), table=0),  # a table whose number the header has no room for
        route((4, number(7)), kind=7),  # unreachable
        route((6, number(5))),
        route((9, two_paths), (15, number(254))),
    )
    assert list(rt.default_routes(b"".join(listed))) == [rt.DefaultRoute(100, 7), rt.DefaultRoute(0, 5)]


def test_an_address_of_this_machine_is_told_from_one_that_is_elsewhere_and_from_a_refusal() -> None:
    refusal = struct.pack("=IHHIIi", 20, 2, 0, 9, 0, -101)
    assert list(rt.routes(route(kind=2) + route(kind=1) + refusal)) == [(1, False), (1, True), (9, False)]


@given(st.binary(max_size=200))
def test_noise_never_raises(data: bytes) -> None:
    list(rt.events(data))
    list(rt.default_routes(data))
    list(rt.default_routes(route()[:16] + data))
    list(rt.routes(data))
    list(rt.acknowledgements(data))


@given(st.data())
def test_a_message_that_is_cut_short_or_damaged_never_raises(data: st.DataObject) -> None:
    whole = bytearray(
        rt.set_address(ip_address("192.0.2.1"), 7, "e0", lifetime_seconds=2, is_new=True, sequence=1) + link()
    )
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    list(rt.events(bytes(whole[: data.draw(st.integers(0, len(whole)))])))
