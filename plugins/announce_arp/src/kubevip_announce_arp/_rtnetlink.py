"""rtnetlink messages of addresses and links as bytes. Pure, standard library only.

What the moment of failover needs is packed here (one message of some 60 bytes) and not by a library; what the kernel
tells of changes is read here, because each renewal of each address comes back as an event. Its lists consist of the
same messages. RFC 3549; numbers from include/uapi/linux/rtnetlink.h, if_addr.h and if_link.h.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from kubevip_announce_arp._netlink import ACK, DUMP, ERROR, REQUEST, attribute, attributes_of, message, messages

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_ROUTE = 0
NEWLINK, DELLINK, GETLINK, NEWADDR, DELADDR, GETADDR, NEWROUTE, GETROUTE = 16, 17, 18, 20, 21, 22, 24, 26
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS = 0x1, 0x10, 0x100

_ADDRESS, _LOCAL, _LABEL, _CACHEINFO, _FLAGS, _PROTO = 1, 2, 3, 6, 8, 11
_PERMANENT, _NODAD, _NOPREFIXROUTE = 0x80, 0x02, 0x200
PROTOCOL = 107  # what IFA_PROTO says of an address that kubevip put there (Linux 5.18)

_LINK_ADDRESS, _LINK_NAME, _LINK_MASTER, _LINK_INFO, _INFO_KIND = 1, 3, 10, 18, 1
_LABEL_BYTES = 15  # IFNAMSIZ less the zero byte
_LINK_FILTER, _SKIP_STATISTICS = 29, 0x8

_ROUTE_TO, _ROUTE_DEVICE, _ROUTE_PRIORITY, _ROUTE_PATHS, _ROUTE_TABLE = 1, 4, 6, 9, 15
_MAIN_TABLE, _UNICAST, _LOCAL_ROUTE = 254, 1, 2


class AddressEvent(NamedTuple):
    """An address that came, changed or went. `ifindex` numbers the device."""

    ifindex: int
    address: IPv4Address | IPv6Address
    prefix_length: int
    is_gone: bool
    is_permanent: bool
    protocol: int


class LinkEvent(NamedTuple):
    """A device that came, changed or went. `flags` are IFF_*, `hardware_type` is ARPHRD_*, `kind` is "bridge"..."""

    ifindex: int
    name: str
    flags: int
    hardware_type: int
    hardware_address: bytes
    master: int
    kind: str
    is_gone: bool


class DefaultRoute(NamedTuple):
    """A default route of the main table: its priority, of which the least wins, and the number of its device."""

    priority: int
    ifindex: int


def label(device: str) -> str:
    """Return the label that marks an IPv4 address as kubevip's, DEVICE:kv; "" where it does not fit."""
    marked = f"{device}:kv"
    return marked if len(marked.encode()) <= _LABEL_BYTES else ""


def set_address(
    address: IPv4Address | IPv6Address,
    index: int,
    device: str,
    *,
    lifetime_seconds: int,
    is_new: bool,
    sequence: int,
) -> bytes:
    """Encode the message that puts a host address on a device, or renews its lifetime.

    It is deprecated from the start (`preferred_lft` 0), so the machine never picks it as a source by itself. IPv6:
    no duplicate address detection, which would delay it by a second, and no route for the prefix.

    :param is_new: refuse (EEXIST) when it is there already; otherwise replace it.
    """
    is_ipv4 = address.version == 4
    flags = 0 if is_ipv4 else _NODAD | _NOPREFIXROUTE
    body = struct.pack("=BBBBi", address_family(address), address.max_prefixlen, flags & 0xFF, 0, index)
    body += attribute(_LOCAL, address.packed) + attribute(_ADDRESS, address.packed)
    body += attribute(_CACHEINFO, struct.pack("=IIII", 0, lifetime_seconds, 0, 0))
    body += attribute(_PROTO, bytes((PROTOCOL,)))
    if is_ipv4 and (marked := label(device)):
        body += attribute(_LABEL, marked.encode() + b"\0")
    if flags:
        body += attribute(_FLAGS, struct.pack("=I", flags))
    how = EXCLUSIVE if is_new else REPLACE
    return message(NEWADDR, REQUEST | ACK | CREATE | how, sequence, body)


def delete_address(address: IPv4Address | IPv6Address, index: int, *, sequence: int) -> bytes:
    """Encode the message that removes a host address from a device; the same address with a subnet stays.

    IPv4 compares the prefix length only when IFA_ADDRESS is given (inet_rtm_deladdr); IPv6 always does.
    """
    body = struct.pack("=BBBBi", address_family(address), address.max_prefixlen, 0, 0, index)
    body += attribute(_LOCAL, address.packed) + attribute(_ADDRESS, address.packed)
    return message(DELADDR, REQUEST | ACK, sequence, body)


def list_links(sequence: int) -> bytes:
    """Encode the request for all devices; `events` reads the answer."""
    body = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0) + attribute(_LINK_FILTER, struct.pack("=I", _SKIP_STATISTICS))
    return message(GETLINK, REQUEST | DUMP, sequence, body)


def list_addresses(sequence: int) -> bytes:
    """Encode the request for all addresses; `events` reads the answer."""
    return message(GETADDR, REQUEST | DUMP, sequence, struct.pack("=BBBBi", 0, 0, 0, 0, 0))


def list_routes(family: int, sequence: int) -> bytes:
    """Encode the request for all routes of a family; `default_routes` reads the answer."""
    return message(GETROUTE, REQUEST | DUMP, sequence, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0))


def find_route(address: IPv4Address | IPv6Address, index: int, *, sequence: int) -> bytes:
    """Encode the question which way a packet to `address` goes that is to use the device; `routes` reads it.

    The device is named so that a VRF which it belongs to is asked as well.
    """
    body = struct.pack("=BBBBBBBBI", address_family(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_ROUTE_TO, address.packed) + attribute(_ROUTE_DEVICE, struct.pack("=I", index))
    return message(GETROUTE, REQUEST, sequence, body)


def routes(data: bytes) -> Iterator[tuple[int, bool]]:
    """Decode answers to `find_route`: (sequence, whether the packet leaves this machine); False also for a refusal."""
    for answer in messages(data):
        if answer.kind == NEWROUTE and len(answer.body) >= 12:
            yield answer.sequence, answer.body[7] != _LOCAL_ROUTE
        elif answer.kind == ERROR:
            yield answer.sequence, False


def address_family(address: IPv4Address | IPv6Address) -> int:
    """Return AF_INET or AF_INET6."""
    return int(socket.AF_INET if address.version == 4 else socket.AF_INET6)


def acknowledgements(data: bytes) -> Iterator[tuple[int, int]]:
    """Decode the kernel's answers: (sequence, errno), errno 0 for success."""
    for answer in messages(data):
        if answer.kind == ERROR and len(answer.body) >= 4:
            yield answer.sequence, answer.error


def events(data: bytes) -> Iterator[AddressEvent | LinkEvent]:
    """Decode what the kernel tells of links and addresses; what is cut short or of another kind is left out."""
    for kind, _, body, _ in messages(data):
        event: AddressEvent | LinkEvent | None = None
        if kind in (NEWADDR, DELADDR):
            event = _address_event(body, is_gone=kind == DELADDR)
        elif kind in (NEWLINK, DELLINK):
            event = _link_event(body, is_gone=kind == DELLINK)
        if event is not None:
            yield event


def default_routes(data: bytes) -> Iterator[DefaultRoute]:
    """Decode a list of routes: the default ones of the main table that lead to a device."""
    for answer in messages(data):
        if answer.kind != NEWROUTE or len(answer.body) < 12:
            continue
        _, prefix_length, _, _, table, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", answer.body)
        found = attributes_of(answer.body, 12)
        number = _number(found.get(_ROUTE_TABLE))  # the header has room for small ones only
        if prefix_length != 0 or kind != _UNICAST or (table if number is None else number) != _MAIN_TABLE:
            continue
        device = _number(found.get(_ROUTE_DEVICE))
        if device is None and len(paths := found.get(_ROUTE_PATHS, b"")) >= 8:
            (device,) = struct.unpack_from("=i", paths, 4)  # struct rtnexthop: the first of several
        if device:
            yield DefaultRoute(_number(found.get(_ROUTE_PRIORITY)) or 0, device)


def _number(data: bytes | None) -> int | None:
    return int(struct.unpack("=I", data)[0]) if data is not None and len(data) == 4 else None


def _address_event(body: bytes, *, is_gone: bool) -> AddressEvent | None:
    if len(body) < 8:
        return None
    family, prefix_length, flags, _, index = struct.unpack_from("=BBBBi", body)
    found = attributes_of(body, 8)
    packed = found.get(_LOCAL, found.get(_ADDRESS, b""))
    address: IPv4Address | IPv6Address
    if family == socket.AF_INET and len(packed) == 4:
        address = IPv4Address(packed)
    elif family == socket.AF_INET6 and len(packed) == 16:
        address = IPv6Address(packed)
    else:
        return None
    flags = flags if (wide := _number(found.get(_FLAGS))) is None else wide
    protocol = found.get(_PROTO, b"\0")
    return AddressEvent(
        index, address, prefix_length, is_gone, bool(flags & _PERMANENT), protocol[0] if protocol else 0
    )


def _link_event(body: bytes, *, is_gone: bool) -> LinkEvent | None:
    if len(body) < 16:
        return None
    family, _, hardware_type, index, flags, _ = struct.unpack_from("=BBHiII", body)
    if family != 0:  # a bridge speaking of its port: not the device itself
        return None
    found = attributes_of(body, 16)
    name = _text(found.get(_LINK_NAME, b""))
    kind = _text(attributes_of(found.get(_LINK_INFO, b""), 0).get(_INFO_KIND, b""))
    master = _number(found.get(_LINK_MASTER)) or 0
    return LinkEvent(index, name, flags, hardware_type, found.get(_LINK_ADDRESS, b""), master, kind, is_gone)


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode(errors="replace")
