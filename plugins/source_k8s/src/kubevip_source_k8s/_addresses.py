"""Which addresses a Service or an entry may ask for."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip import IPAddress

Network = IPv4Network | IPv6Network

_RESERVED = IPv4Network("240.0.0.0/4")


def read_address(text: str, permitted: Sequence[Network] = ()) -> IPAddress:
    """Return the virtual IP that `text` asks for.

    :param permitted: the networks that it may be of; none: all.
    :raises ValueError: when it is no address that one machine can hold, or not permitted; the message is for people.
    """
    text = text.strip()
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f'expected an IPv4 or IPv6 address, got "{text[:80]}"') from None
    if address.is_unspecified:
        raise ValueError(f"{address} asks for an address by DHCP, which is not supported; name one")
    if why := _unusable(address):
        raise ValueError(f"{address} {why}")
    if permitted and not any(address in network for network in permitted):
        listed = ", ".join(map(str, permitted))
        raise ValueError(f"{address} is outside of what this source may use ({listed}); see its `addresses`")
    return address


def _unusable(address: IPAddress) -> str:
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "has a zone; leave it out and name the interface"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return f"is an IPv4 address in IPv6 clothes; write {address.ipv4_mapped}"
    if address.is_loopback:
        return "is a loopback address, which no other machine can reach"
    if address.is_multicast:
        return "is a multicast address"
    if isinstance(address, IPv4Address) and address in _RESERVED:
        return "is reserved and cannot be used"
    return ""
