from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_announce_arp import _netlink as netlink
from kubevip_announce_arp import _nftables as nft
from kubevip_announce_arp._fence_tables import FenceTables, table_name


def test_attributes_are_padded_and_their_length_is_not() -> None:
    assert netlink.attribute(1, b"abc") == struct.pack("=HH", 7, 1) + b"abc\0"
    assert nft.text(2, "alive") == struct.pack("=HH", 10, 2) + b"alive\0\0\0"
    assert nft.number(3, -4) == struct.pack("=HH", 8, 3) + b"\xff\xff\xff\xfc"
    assert nft.nested(4, netlink.attribute(1, b"abcd")) == struct.pack("=HH", 12, 0x8004) + netlink.attribute(
        1, b"abcd"
    )


def test_a_batch_numbers_its_messages_and_asks_for_one_answer() -> None:
    changes = [nft.Change(nft.ARP, nft.NEWTABLE, nft.CREATE, b""), nft.Change(nft.INET, nft.DELTABLE, 0, b"")]
    data, last = nft.batch(changes, 40)
    heads: list[tuple[int, int, int, int, int]] = []
    while data:
        length, kind, flags, sequence, port = struct.unpack_from("=IHHII", data)
        heads.append((length, kind, flags, sequence, port))
        data = data[length:]
    assert heads == [
        (20, 0x10, netlink.REQUEST, 40, 0),
        (20, 0x0A00, netlink.REQUEST | nft.CREATE, 41, 0),
        (20, 0x0A02, netlink.REQUEST | netlink.ACK, 42, 0),
        (20, 0x11, netlink.REQUEST, 43, 0),
    ]
    assert last == 42


def test_an_element_bears_its_key_and_verdict() -> None:
    found = netlink.attributes_of(nft.element(b"\x0a\x00\x00\x05", goto="g7")[4:], 0)
    assert netlink.attributes_of(found[1], 0) == {1: b"\x0a\x00\x00\x05"}
    verdict = netlink.attributes_of(found[2], 0)
    assert netlink.attributes_of(verdict[2], 0) == {1: b"\xff\xff\xff\xfc", 2: b"g7\0"}


def test_answers_are_told_apart_by_number() -> None:
    good = struct.pack("=IHHII", 20, 2, 0, 7, 0) + struct.pack("=i", 0)
    bad = struct.pack("=IHHII", 20, 2, 0, 8, 0) + struct.pack("=i", -2)
    assert [(answer.sequence, answer.error) for answer in netlink.messages(good + bad)] == [(7, 0), (8, 2)]


@given(st.binary(max_size=200))
def test_noise_never_raises(data: bytes) -> None:
    for answer in netlink.messages(data):
        netlink.attributes_of(answer.body, 4)


@pytest.mark.parametrize(("instance", "name"), [("default", "kubevip_fence_default"), ("svc-2", "kubevip_fence_svc_2")])
def test_the_tables_bear_the_name_of_the_instance(instance: str, name: str) -> None:
    assert table_name(instance) == name


def keys(changes: list[nft.Change]) -> list[tuple[int, int, str, int]]:
    """Family, message, set and key of changes of elements."""
    found: list[tuple[int, int, str, int]] = []
    for change in changes:
        attributes = netlink.attributes_of(change.attributes, 0)
        element = netlink.attributes_of(attributes[3], 0)[1]
        key = netlink.attributes_of(netlink.attributes_of(element, 0)[1], 0)[1]
        found.append((change.family, change.kind, attributes[2].decode().rstrip("\0"), struct.unpack("=I", key)[0]))
    return found


def test_a_switch_deletes_the_old_key_while_it_lives_and_makes_the_new_one_count() -> None:
    changes = keys(FenceTables("t").switch([(3, 1)], [(3, 0)]))
    assert [change[1:] for change in changes if change[0] == nft.ARP] == [
        (nft.DELSETELEM, "alive", 6),
        (nft.DELSETELEM, "active", 6),
        (nft.NEWSETELEM, "active", 7),
    ]
    assert [change[1:] for change in changes if change[0] == nft.INET] == [
        change[1:] for change in changes if change[0] == nft.ARP
    ]


def test_the_first_opening_has_no_old_key() -> None:
    assert [change[1:] for change in keys(FenceTables("t").switch([(3, 0)], []))] == [(nft.NEWSETELEM, "active", 6)] * 2


def test_many_addresses_are_few_messages_that_fit() -> None:
    changes = FenceTables("t").add_addresses([(7, n.to_bytes(4, "big")) for n in range(1200)])
    assert len(changes) == 9
    assert all(len(change.attributes) < 1 << 16 for change in changes)


def test_what_begins_has_its_lifetime_and_does_not_count_yet() -> None:
    change = FenceTables("t").begin({(3, 0): 150})[0]
    element = netlink.attributes_of(netlink.attributes_of(change.attributes, 0)[3], 0)[1]
    assert netlink.attributes_of(element, 0)[4] == struct.pack("!Q", 150)
    assert {change[2] for change in keys(FenceTables("t").begin({(3, 0): 150}))} == {"alive"}


def test_an_installation_removes_before_it_adds_in_one_transaction() -> None:
    kinds = [(change.family, change.kind) for change in FenceTables("t").install()]
    assert kinds[:4] == [
        (nft.ARP, nft.NEWTABLE),
        (nft.ARP, nft.DELTABLE),
        (nft.INET, nft.NEWTABLE),
        (nft.INET, nft.DELTABLE),
    ]
    assert kinds.count((nft.ARP, nft.NEWTABLE)) == kinds.count((nft.INET, nft.NEWTABLE)) == 2
