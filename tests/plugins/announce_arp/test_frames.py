from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from kubevip_announce_arp._frames import MARK_BYTES, MARK_OFFSETS, Claim, announcement, mark_of, question, read_claim
from kubevip_announce_arp._templates import load_templates

if TYPE_CHECKING:
    from kubevip import IPAddress

MAC, RIVAL = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")
A4, A6 = ip_address("192.0.2.77"), ip_address("2001:db8:1:2::77:abcd")
MACS = st.binary(min_size=6, max_size=6)


def arp(**fields: Any) -> bytes:
    return bytes(Ether(src=RIVAL.hex(":"), dst="ff:ff:ff:ff:ff:ff") / ARP(**{"hwsrc": RIVAL.hex(":"), **fields}))


def ndp(body: object, *, source: str = "fe80::1", hops: int = 255) -> bytes:
    return bytes(Ether(src=RIVAL.hex(":"), dst="33:33:00:00:00:01") / IPv6(src=source, dst="ff02::1", hlim=hops) / body)


@given(MACS)
def test_gratuitous_arp_has_both_forms(mac: bytes) -> None:
    text = mac.hex(":")
    common: dict[str, Any] = {"hwsrc": text, "psrc": str(A4), "pdst": str(A4)}
    ether = Ether(src=text, dst="ff:ff:ff:ff:ff:ff")
    assert announcement(load_templates(), A4, mac) == (
        bytes(ether / ARP(op=1, hwdst="00:00:00:00:00:00", **common)),
        bytes(ether / ARP(op=2, hwdst=text, **common)),
    )


@given(MACS, st.ip_addresses(v=6), st.booleans())
def test_an_advertisement_is_what_a_protocol_library_builds(mac: bytes, address: object, is_router: bool) -> None:
    text = mac.hex(":")
    expected = (
        Ether(src=text, dst="33:33:00:00:00:01")
        / IPv6(src=str(address), dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=str(address), R=int(is_router), S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=text)
    )
    frames = announcement(load_templates(), address, mac, is_router=is_router)  # type: ignore[arg-type]
    assert frames == (bytes(expected),)


def test_a_probe_names_no_sender() -> None:
    expected = Ether(src=MAC.hex(":"), dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=MAC.hex(":"), psrc="0.0.0.0", hwdst="00:00:00:00:00:00", pdst=str(A4)
    )
    assert question(load_templates(), A4, MAC) == bytes(expected)


def test_a_solicitation_goes_to_the_solicited_node_group_from_nobody() -> None:
    expected = (
        Ether(src=MAC.hex(":"), dst="33:33:ff:77:ab:cd")
        / IPv6(src="::", dst="ff02::1:ff77:abcd", hlim=255)
        / ICMPv6ND_NS(tgt=str(A6))
    )
    assert question(load_templates(), A6, MAC) == bytes(expected)


@pytest.mark.parametrize(
    ("frame", "claim"),
    [
        (arp(op=1, psrc=str(A4), pdst=str(A4)), Claim(A4, RIVAL, False)),
        (arp(op=2, psrc=str(A4), pdst="192.0.2.1"), Claim(A4, RIVAL, False)),
        (arp(op=1, psrc=str(A4), pdst="192.0.2.1"), Claim(A4, RIVAL, False)),
        (arp(op=1, psrc="0.0.0.0", pdst=str(A4)), Claim(A4, RIVAL, True)),
        (arp(op=2, psrc="0.0.0.0", pdst=str(A4)), None),
        (arp(op=1, psrc="0.0.0.0", pdst="0.0.0.0"), None),
        (arp(op=3, psrc=str(A4), pdst=str(A4)), None),
        (arp(op=1, psrc=str(A4), pdst=str(A4), hwtype=6), None),
        (arp(op=1, psrc=str(A4), pdst=str(A4), hwlen=8), None),
        (arp(op=1, psrc=str(A4), pdst=str(A4), ptype=0x86DD), None),
        (ndp(ICMPv6ND_NA(tgt=str(A6)) / ICMPv6NDOptDstLLAddr(lladdr=MAC.hex(":"))), Claim(A6, MAC, False)),
        (ndp(ICMPv6ND_NA(tgt=str(A6))), Claim(A6, RIVAL, False)),
        (ndp(ICMPv6ND_NA(tgt=str(A6)), hops=64), None),
        (ndp(ICMPv6ND_NA(tgt=str(A6), code=1)), None),
        (ndp(ICMPv6ND_NA(tgt="ff02::1")), None),
        (ndp(ICMPv6ND_NS(tgt=str(A6)), source="::"), Claim(A6, RIVAL, True)),
        (
            ndp(ICMPv6ND_NS(tgt="2001:db8::1") / ICMPv6NDOptSrcLLAddr(lladdr=MAC.hex(":")), source=str(A6)),
            Claim(A6, MAC, False),
        ),
        (b"", None),
        (b"\0" * 60, None),
    ],
)
def test_only_what_is_well_formed_claims_something(frame: bytes, claim: Claim | None) -> None:
    assert read_claim(frame) == claim


@given(st.binary(max_size=300))
def test_noise_never_raises(frame: bytes) -> None:
    read_claim(frame)


@given(st.sampled_from([b"\x08\x06", b"\x86\xdd"]), st.binary(max_size=300))
def test_noise_of_the_right_type_never_raises(ethertype: bytes, rest: bytes) -> None:
    read_claim(bytes(12) + ethertype + rest)


@given(st.integers(0, 200), st.integers(0, 255), st.data())
def test_a_damaged_advertisement_never_raises(position: int, value: int, data: st.DataObject) -> None:
    frame = bytearray(ndp(ICMPv6ND_NA(tgt=str(A6)) / ICMPv6NDOptDstLLAddr(lladdr=MAC.hex(":"))))
    frame[position % len(frame)] = value
    read_claim(bytes(frame[: data.draw(st.integers(0, len(frame)))]))


@pytest.mark.parametrize("address", [A4, A6])
def test_an_announcement_bears_the_mark_of_its_group_after_the_packet(address: IPAddress) -> None:
    mark = mark_of("default", "api")
    assert len(mark) == MARK_BYTES
    assert len({mark, mark_of("default", "web"), mark_of("svc", "api")}) == 3
    plain = announcement(load_templates(), address, MAC)
    marked = announcement(load_templates(), address, MAC, mark=mark)
    assert [frame[:-MARK_BYTES] for frame in marked] == list(plain)
    assert {read_claim(frame) for frame in marked} == {Claim(address, MAC, False, mark)}
    assert {frame.index(mark) for frame in marked} == {MARK_OFFSETS[int.from_bytes(plain[0][12:14], "big")]}
    padded = {read_claim(frame.ljust(60, b"\0")) for frame in plain}
    assert padded == {Claim(address, MAC, False)}
