"""Reading devices, addresses and default routes with pyroute2. All of it blocks for some milliseconds."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from kubevip_announce_arp._device import Device
from kubevip_announce_arp._rtnetlink import AddressEvent

_PERMANENT = 0x80  # IFA_F_PERMANENT


def read_devices() -> tuple[tuple[Device, ...], tuple[AddressEvent, ...]]:
    """Read all devices and addresses.

    :raises OSError: where netlink does not work.
    """
    with _open() as route:
        links = tuple(_device(link) for link in route.get_links())
        addresses = tuple(_address(entry) for entry in route.get_addr())
    return links, addresses


def read_default_devices() -> tuple[str, str]:
    """Return the devices of the default routes of IPv4 and IPv6; "" for none.

    :raises OSError: where netlink does not work.
    """
    names: list[str] = []
    with _open() as route:
        for family in (socket.AF_INET, socket.AF_INET6):
            routes: list[Any] = list(route.get_default_routes(family=family))
            best = min(routes, key=lambda found: found.get_attr("RTA_PRIORITY") or 0, default=None)
            index = best.get_attr("RTA_OIF") if best is not None else None
            link: Any = next(iter(route.get_links(index)), None) if index else None
            names.append(str(link.get_attr("IFLA_IFNAME")) if link is not None else "")
    return names[0], names[1]


def _open() -> Any:  # Any: pyroute2 has no types
    from pyroute2 import IPRoute

    return IPRoute()


def _device(link: Any) -> Device:  # Any: a message of pyroute2, which has no types
    info = link.get_attr("IFLA_LINKINFO")
    mac = str(link.get_attr("IFLA_ADDRESS") or "")
    return Device(
        index=int(link["index"]),
        name=str(link.get_attr("IFLA_IFNAME")),
        hardware_address=bytes.fromhex(mac.replace(":", "")) if mac.count(":") == 5 else b"",
        flags=int(link["flags"]),
        hardware_type=int(link["ifi_type"]),
        master=int(link.get_attr("IFLA_MASTER") or 0),
        kind=str(info.get_attr("IFLA_INFO_KIND") or "") if info is not None else "",
    )


def _address(entry: Any) -> AddressEvent:  # Any: as above
    text = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
    flags = entry.get_attr("IFA_FLAGS")
    protocol = entry.get_attr("IFA_PROTO")
    return AddressEvent(
        int(entry["index"]),
        ip_address(str(text)),
        int(entry["prefixlen"]),
        False,
        bool(int(entry["flags"] if flags is None else flags) & _PERMANENT),
        int(protocol or 0),
    )
