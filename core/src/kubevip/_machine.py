"""What this machine has: its devices and their addresses. Read for checks and plans; nothing here changes anything."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import sys
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from kubevip._model import IPAddress


@frozen(kw_only=True)
class Interface:
    """A network device with the addresses that are on it, each with its prefix."""

    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    is_up: bool = True


@frozen(kw_only=True)
class Machine:
    """The devices of a machine, and the device of its default route per family ("" if there is none)."""

    host_name: str = ""
    interfaces: tuple[Interface, ...] = ()
    default_device4: str = ""
    default_device6: str = ""

    def interface(self, name: str) -> Interface | None:
        """Return the device called `name`, if there is one."""
        return next((device for device in self.interfaces if device.name == name), None)

    def device_of(self, address: IPAddress) -> str:
        """Return the device that has `address`; "" if none has."""
        for device in self.interfaces:
            if any(own.ip == address for own in device.addresses):
                return device.name
        return ""

    def is_own(self, address: IPAddress) -> bool:
        """Say whether the machine has `address` together with a subnet, as virtual IPs never are on a device."""
        own = (each for device in self.interfaces for each in device.addresses)
        return any(each.ip == address and each.network.prefixlen < each.max_prefixlen for each in own)

    def device_for(self, address: IPAddress, interface: str = "auto") -> str:
        """Return the device that a virtual IP belongs on; "" if there is none.

        "auto" is the device whose subnet holds the address (the longest prefix wins; host routes do not count), then
        the device of the default route of that family.
        """
        if interface != "auto":
            return interface if self.interface(interface) is not None else ""
        best, length = "", -1
        for device in self.interfaces:
            for own in device.addresses:
                network = own.network
                if network.version != address.version or network.prefixlen == network.max_prefixlen:
                    continue
                if address in network and network.prefixlen > length:
                    best, length = device.name, network.prefixlen
        return best or (self.default_device4 if address.version == 4 else self.default_device6)

    def broadcast_on(self, address: IPAddress) -> str:
        """Return the device of whose subnet this is the broadcast address; "" if of none. IPv6 has no such address."""
        for device in self.interfaces:
            for own in device.addresses:
                net = own.network
                if isinstance(net, IPv4Network) and net.prefixlen <= 30 and address == net.broadcast_address:
                    return device.name
        return ""


def read_machine() -> Machine:
    """Return what the machine has now: on Linux by ioctl and /proc, elsewhere the names of its devices only."""
    names = [name for _, name in socket.if_nameindex()]
    if sys.platform == "linux":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            addresses4, addresses6 = _addresses4(asking), _addresses6()
            interfaces = tuple(
                Interface(
                    name=name,
                    addresses=(*addresses4.get(name, ()), *addresses6.get(name, ())),
                    is_up=_is_up(asking, name),
                )
                for name in names
            )
        return Machine(
            host_name=socket.gethostname(),
            interfaces=interfaces,
            default_device4=_default_device("/proc/net/route", destination=1, mask=7, device=0),
            default_device6=_default_device("/proc/net/ipv6_route", destination=0, mask=1, device=9),
        )
    else:
        return Machine(host_name=socket.gethostname(), interfaces=tuple(Interface(name=name) for name in names))


# linux/sockios.h; struct ifreq (netdevice(7)) is a name of 16 bytes and a union of 24
_SIOCGIFCONF, _SIOCGIFFLAGS, _SIOCGIFNETMASK = 0x8912, 0x8913, 0x891B
_IFREQ_BYTES, _MOST_ADDRESSES = 40, 4096
_IFF_UP = 0x1


def _addresses4(asking: socket.socket) -> dict[str, tuple[IPv4Interface, ...]]:
    """Ask for every IPv4 address; a labelled one comes under its label ("eth0:web"), which belongs to the device."""
    table = array.array("B", bytes(_IFREQ_BYTES * _MOST_ADDRESSES))
    where, _ = table.buffer_info()
    used, _ = struct.unpack("iP", fcntl.ioctl(asking, _SIOCGIFCONF, struct.pack("iP", len(table), where)))
    found: dict[str, tuple[IPv4Interface, ...]] = {}
    for start in range(0, used, _IFREQ_BYTES):
        entry = table[start : start + _IFREQ_BYTES].tobytes()
        label = entry[:16].rstrip(b"\0").decode()
        try:
            mask = fcntl.ioctl(asking, _SIOCGIFNETMASK, entry)  # of this label and this address
        except OSError:  # gone meanwhile
            continue
        name = label.partition(":")[0]
        own = IPv4Interface(f"{socket.inet_ntoa(entry[20:24])}/{socket.inet_ntoa(mask[20:24])}")
        found[name] = (*found.get(name, ()), own)
    return found


def _is_up(asking: socket.socket, name: str) -> bool:
    try:
        answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
    except OSError:  # gone meanwhile
        return False
    return bool(struct.unpack_from("=H", answer, 16)[0] & _IFF_UP)


def _addresses6() -> dict[str, tuple[IPv6Interface, ...]]:
    """Read /proc/net/if_inet6: address, index, prefix length, scope, flags, device."""
    found: dict[str, tuple[IPv6Interface, ...]] = {}
    for line in _lines("/proc/net/if_inet6"):
        packed, _, length, _, _, name = line.split()
        address = IPv6Interface((bytes.fromhex(packed), int(length, 16)))
        found[name] = (*found.get(name, ()), address)
    return found


def _default_device(path: str, *, destination: int, mask: int, device: int) -> str:
    """Return the device of the first default route in a table of the kernel; the columns are given by number."""
    for line in _lines(path):
        columns = line.split()
        if set(columns[destination]) <= {"0"} and set(columns[mask]) <= {"0"} and columns[device] != "lo":
            return columns[device]
    return ""


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:  # this kernel lacks the protocol
        return []
