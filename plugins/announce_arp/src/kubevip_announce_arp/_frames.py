"""ARP and NDP frames on Ethernet: what a received one claims, and finished bytes made of templates. Pure.

Whatever arrives is parsed within fixed bounds and never raises: what is not well formed claims nothing.
"""

from __future__ import annotations

import hashlib
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0806, 0x86DD
_ARP_FIXED = struct.pack("!HHBB", 1, 0x0800, 6, 4)  # Ethernet, IPv4 (RFC 826)
_NOBODY4, _NOBODY6 = bytes(4), bytes(16)
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_SOURCE_OPTION, _TARGET_OPTION = 1, 2
_ROUTER, _OVERRIDE = 0x80, 0x20  # flags of an advertisement (RFC 4861 4.4)

#: How the mark begins that follows a packet of kubevip's in its frame, where nobody else looks: after an ARP packet
#: there is padding in any case, and IP has a length of its own.
MARK_BEGIN, MARK_BYTES = b"kvip", 16
#: Where in a frame of `announcement` the mark begins.
MARK_OFFSETS = {ETHERTYPE_ARP: 42, ETHERTYPE_IPV6: 86}


class Claim(NamedTuple):
    """Somebody at a hardware address says that an address is his, or (a probe) asks whether he may have it."""

    address: IPv4Address | IPv6Address
    hardware_address: bytes
    is_probe: bool
    mark: bytes = b""


def mark_of(instance: str, group: str) -> bytes:
    """Return the mark of what a group's holder announces, by which its other members know it. It proves nothing."""
    digest = hashlib.blake2s(f"{instance}/{group}".encode(), digest_size=MARK_BYTES - len(MARK_BEGIN)).digest()
    return MARK_BEGIN + digest


class Templates(NamedTuple):
    """A frame of each kind, as a library of protocols built it, into which addresses are filled."""

    arp_request: bytes
    arp_reply: bytes
    arp_probe: bytes
    advertisement: bytes
    solicitation: bytes


def show(hardware_address: bytes) -> str:
    """Write a hardware address as 02:00:00:00:00:01."""
    return hardware_address.hex(":")


def read_claim(frame: bytes) -> Claim | None:
    """Return what a received frame claims, if anything."""
    if len(frame) < 42:
        return None
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype == ETHERTYPE_ARP:
        return _read_arp(frame[14:])
    if ethertype == ETHERTYPE_IPV6:
        return _read_ndp(frame[6:12], frame[14:])
    return None


def _read_arp(packet: bytes) -> Claim | None:
    operation = int.from_bytes(packet[6:8], "big")
    mark = _mark(packet[28:])
    if packet[:6] != _ARP_FIXED or operation not in (1, 2):
        return None
    hardware, sender, target = packet[8:14], packet[14:18], packet[24:28]
    if sender != _NOBODY4:  # RFC 5227 2.4: any packet with that sender address, request or reply
        return Claim(IPv4Address(sender), hardware, False, mark)
    if operation == 1 and target != _NOBODY4:  # RFC 5227 1.1: an ARP Probe
        return Claim(IPv4Address(target), hardware, True, mark)
    return None


def _read_ndp(source_hardware: bytes, packet: bytes) -> Claim | None:
    # IPv6 without extension headers; the hop limit proves that no router passed it on (RFC 4861 7.1)
    if len(packet) < 64 or packet[0] >> 4 != 6 or packet[6] != _ICMPV6 or packet[7] != 255 or packet[41] != 0:
        return None
    packet, mark = packet[: (end := 40 + int.from_bytes(packet[4:6], "big"))], _mark(packet[end:])
    if len(packet) < 64:
        return None
    kind, source, target = packet[40], packet[8:24], packet[48:64]
    if target[0] == 0xFF:
        return None
    if kind == _ADVERTISEMENT:
        return Claim(IPv6Address(target), _option(packet, _TARGET_OPTION) or source_hardware, False, mark)
    if kind != _SOLICITATION:
        return None
    if source == _NOBODY6:  # RFC 4862 5.4.3: duplicate address detection
        return Claim(IPv6Address(target), source_hardware, True)
    return Claim(IPv6Address(source), _option(packet, _SOURCE_OPTION) or source_hardware, False)


def _mark(trailer: bytes) -> bytes:
    """Return the mark with which a trailer begins; b"" where there is none."""
    return trailer[:MARK_BYTES] if trailer.startswith(MARK_BEGIN) and len(trailer) >= MARK_BYTES else b""


def _option(packet: bytes, wanted: int) -> bytes:
    """Return the hardware address of an option; b"" when there is none (RFC 4861 4.6: lengths in units of 8)."""
    offset = 64
    while offset + 8 <= len(packet):
        kind, length = packet[offset], packet[offset + 1] * 8
        if length == 0:
            return b""
        if kind == wanted and length == 8:
            return packet[offset + 2 : offset + 8]
        offset += length
    return b""


def announcement(
    templates: Templates,
    address: IPv4Address | IPv6Address,
    hardware_address: bytes,
    *,
    is_router: bool = False,
    mark: bytes = b"",
) -> tuple[bytes, ...]:
    """Return the frames that announce an address.

    IPv4: the request form (RFC 5227 3) and the reply form, since some stacks learn from only one of them. IPv6: an
    unsolicited advertisement with Override (RFC 4861 7.2.6), Router as the node forwards. A mark follows the packet.
    """
    if address.version == 4:
        request = _fill_arp(templates.arp_request, hardware_address, address.packed, address.packed, bytes(6))
        reply = _fill_arp(templates.arp_reply, hardware_address, address.packed, address.packed, hardware_address)
        return request + mark, reply + mark
    frame = bytearray(templates.advertisement)
    frame[6:12] = frame[80:86] = hardware_address
    frame[22:38] = frame[62:78] = address.packed
    frame[58] = _OVERRIDE | (_ROUTER if is_router else 0)
    return (_with_checksum(frame) + mark,)


def question(templates: Templates, address: IPv4Address | IPv6Address, hardware_address: bytes) -> bytes:
    """Return the frame that asks whether anybody has an address, from nobody: RFC 5227 2.1.1, RFC 4862 5.4.2."""
    if address.version == 4:
        return _fill_arp(templates.arp_probe, hardware_address, _NOBODY4, address.packed, bytes(6))
    frame = bytearray(templates.solicitation)
    frame[3:6] = frame[51:54] = address.packed[-3:]  # the solicited-node group (RFC 4291 2.7.1)
    frame[6:12] = hardware_address
    frame[62:78] = address.packed
    return _with_checksum(frame)


def _fill_arp(template: bytes, hardware: bytes, sender: bytes, target: bytes, target_hardware: bytes) -> bytes:
    return template[:6] + hardware + template[12:22] + hardware + sender + target_hardware + target


def _with_checksum(frame: bytearray) -> bytes:
    """Compute the ICMPv6 checksum, over the pseudo-header of RFC 8200 8.1 as well."""
    frame[56:58] = b"\0\0"
    message = bytes(frame[54:])
    data = bytes(frame[22:54]) + struct.pack("!II", len(message), _ICMPV6) + message
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    frame[56:58] = struct.pack("!H", ~total & 0xFFFF)
    return bytes(frame)
