"""What values of a configuration may be, beyond their type: addresses that can be used, names that can be said."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubevip import Backend

if TYPE_CHECKING:
    from attrs import Attribute

    from kubevip import IPAddress

#: The kernel's limit is 15 bytes and forbids "/" and white space (dev_valid_name); shells and rules forbid the rest.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123 2.1
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_BROADCAST = IPv4Address("255.255.255.255")
_IPV4_RESERVED = IPv4Network("240.0.0.0/4")
DEFAULT_PORTS = {"http": 80, "https": 443}


def is_for_one_host(address: IPAddress) -> str:
    """Return why `address` cannot be that of one machine; "" if it can."""
    if address.is_unspecified:
        return f"{address} means any address; name one"
    if address.is_multicast:
        return f"{address} is a multicast address"
    if address == _BROADCAST:
        return f"{address} is the broadcast address"
    return ""


def virtual_address(_: object, attribute: Attribute[Any], address: IPAddress) -> None:
    """Validate the address of a virtual IP."""
    why = is_for_one_host(address)
    if not why and address.is_loopback:
        why = f"{address} is a loopback address, which no other machine can reach"
    if not why and isinstance(address, IPv4Address) and address in _IPV4_RESERVED:
        why = f"{address} is reserved and cannot be used"
    if why:
        raise ValueError(why)


def host_address(_: object, attribute: Attribute[Any], address: IPAddress | None) -> None:
    """Validate the address of a member or backend: one machine, which may be this one."""
    if address is not None and (why := is_for_one_host(address)):
        raise ValueError(why)


def interface_name(_: object, attribute: Attribute[Any], name: str) -> None:
    """Validate the name of a network device, or "auto"."""
    if not _INTERFACE.fullmatch(name):
        raise ValueError(f'expected the name of a network device (1-15 of a-z, 0-9, ".", "_", "-"), got "{name[:40]}"')


def object_name_problem(name: str) -> str:
    """Return why `name` cannot be that of a virtual IP, a group, a member, an instance; "" if it can.

    Such names are typed in commands, shown in tables and sent to peers.
    """
    if _NAME.fullmatch(name):
        return ""
    return f'expected a name (1-63 of a-z, 0-9, ".", "_", "-"), got "{name[:80]}"'


def object_name(_: object, attribute: Attribute[Any], name: str) -> None:
    """Validate such a name."""
    if message := object_name_problem(name):
        raise ValueError(message)


def free_text_problem(name: str) -> str:
    """Return why `name` cannot be that of a load balancer, which is anything that prints on a line; "" if it can."""
    if name.strip() and name.isprintable() and len(name) <= 200:
        return ""
    return f"expected a name of up to 200 characters that print, got {name[:80]!r}"


def free_text(_: object, attribute: Attribute[Any], name: str) -> None:
    """Validate such a name."""
    if message := free_text_problem(name):
        raise ValueError(message)


def backend_url(text: str) -> Backend:
    """Return the backend that a URL names; its port is the scheme's where none is written.

    :raises ValueError: for anything but http(s)://HOST[:PORT][/PATH].
    """
    expected = "expected a URL like http://192.168.0.81:8080"
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f'{expected}, got "{text[:80]}" ({error})') from None
    if url.scheme not in DEFAULT_PORTS or not host or not text.isascii() or any(character <= " " for character in text):
        raise ValueError(f'{expected}, got "{text[:80]}"')
    if "@" in url.netloc:
        raise ValueError(f"{expected}, without a user and password")
    if url.query or url.fragment:
        raise ValueError(f'{expected}, without a query or fragment, got "{text[:80]}"')
    if port == 0:
        raise ValueError(f'{expected}, got "{text[:80]}" (port 0)')
    _check_host(host, text)
    return Backend(address=host, port=port or DEFAULT_PORTS[url.scheme], url=text)


def _check_host(host: str, text: str) -> None:
    try:
        address: IPAddress = IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        if not _HOST_NAME.fullmatch(host) or host.replace(".", "").isdigit():
            raise ValueError(f'expected a host in the URL, got "{text[:80]}"') from None
        return
    if why := is_for_one_host(address):
        raise ValueError(why)
