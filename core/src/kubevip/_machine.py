"""What this machine has: its devices and their addresses. Read for checks and plans; nothing here changes anything."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
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
