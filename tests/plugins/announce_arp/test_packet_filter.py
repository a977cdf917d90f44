"""The filter program, run by a small interpreter of classic BPF; the kernel runs it in test_arp_netns."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_announce_arp._frames import ETHERTYPE_ARP, ETHERTYPE_IPV6, mark_of
from kubevip_announce_arp._packet_socket import Instruction, claims_filter

OURS4, OURS6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1:2")


def takes(program: tuple[Instruction, ...], frame: bytes) -> bool:
    """Run it. A load beyond the frame drops the frame, as in the kernel."""
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == 0x06:
            return operand > 0
        if code == 0x15:
            position += if_true if accumulator == operand else if_false
            continue
        size = {0x20: 4, 0x30: 1}[code]
        if operand + size > len(frame):
            return False
        accumulator = int.from_bytes(frame[operand : operand + size], "big")


def arp(sender: str, target: str) -> bytes:
    packed = IPv4Address(sender).packed + bytes(6) + IPv4Address(target).packed
    return bytes(12) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + bytes(6) + packed


def icmp6(kind: int, target: str, following: int = 58) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, 24, following, 255) + bytes(32)
    return bytes(12) + b"\x86\xdd" + head + bytes([kind]) + bytes(7) + IPv6Address(target).packed


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (arp("192.0.2.1", "192.0.2.9"), True),
        (arp("192.0.2.9", "192.0.2.1"), False),
        (arp("0.0.0.0", "192.0.2.1"), True),
        (arp("0.0.0.0", "192.0.2.9"), False),
        (arp("192.0.2.1", "192.0.2.9")[:30], False),
    ],
)
def test_arp_is_taken_by_its_sender(frame: bytes, expected: bool) -> None:
    assert takes(claims_filter(ETHERTYPE_ARP, [OURS4, IPv4Address("192.0.2.7")]), frame) is expected


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (icmp6(136, "2001:db8::1:2"), True),
        (icmp6(135, "2001:db8::1:2"), True),
        (icmp6(134, "2001:db8::1:2"), False),
        (icmp6(136, "2001:db8::1:3"), False),
        (icmp6(136, "2001:db8::1:2", following=17), False),
        (icmp6(136, "2001:db8::1:2")[:70], False),
    ],
)
def test_ndp_is_taken_by_its_target(frame: bytes, expected: bool) -> None:
    assert takes(claims_filter(ETHERTYPE_IPV6, [OURS6]), frame) is expected


@given(st.sets(st.ip_addresses(v=4), max_size=30), st.ip_addresses(v=4))
def test_exactly_the_claims_of_the_given_addresses_are_taken(ours: set[IPv4Address], sender: IPv4Address) -> None:
    program = claims_filter(ETHERTYPE_ARP, ours)
    if int(sender):
        assert takes(program, arp(str(sender), "192.0.2.9")) is (sender in ours)
    for address in ours - {IPv4Address(0)}:
        assert takes(program, arp(str(address), "192.0.2.9"))


@pytest.mark.parametrize("ethertype", [ETHERTYPE_ARP, ETHERTYPE_IPV6])
def test_no_address_is_nothing(ethertype: int) -> None:
    program = claims_filter(ethertype, [])
    assert not takes(program, arp("192.0.2.1", "192.0.2.1"))
    assert not takes(program, icmp6(136, "2001:db8::1:2"))


def test_too_many_addresses_for_a_program_let_every_claim_through() -> None:
    many = [ip_address(n) for n in range(1, 2100)]
    program = claims_filter(ETHERTYPE_ARP, many)
    assert len(program) < 4096
    assert takes(program, arp("203.0.113.1", "192.0.2.9"))


@pytest.mark.parametrize("ethertype", [ETHERTYPE_ARP, ETHERTYPE_IPV6])
def test_what_kubevip_announces_is_taken_with_the_rest_where_that_is_asked_for(ethertype: int) -> None:
    frame = arp("192.0.2.7", "192.0.2.7") if ethertype == ETHERTYPE_ARP else icmp6(136, "2001:db8::7").ljust(86, b"\0")
    marked = frame + mark_of("default", "api")
    for addresses in ([], [OURS4 if ethertype == ETHERTYPE_ARP else OURS6]):
        program = claims_filter(ethertype, addresses, with_marked=True)
        assert [takes(program, it) for it in (marked, frame, frame + bytes(18))] == [True, False, False]
        assert not takes(claims_filter(ethertype, addresses), marked)
