"""One network device, as the kernel describes it."""

from __future__ import annotations

from attrs import frozen

_UP, _LOOPBACK, _POINT_TO_POINT, _NOARP, _LOWER_UP = 0x1, 0x8, 0x10, 0x80, 0x10000  # IFF_*
_ETHERNET = 1  # ARPHRD_ETHER


@frozen(kw_only=True)
class Device:
    """A network device. `hardware_address` has 6 bytes on Ethernet; `flags` are IFF_*; `master` is an index or 0."""

    index: int
    name: str
    hardware_address: bytes = b""
    flags: int = _UP | _LOWER_UP
    hardware_type: int = _ETHERNET
    master: int = 0
    kind: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it is switched on."""
        return bool(self.flags & _UP)

    @property
    def trouble(self) -> str:
        """Why nothing gets through it at the moment; "" when it works."""
        if not self.is_up:
            return f"link {self.name} is down"
        return "" if self.flags & _LOWER_UP else f"link {self.name} has no carrier"

    @property
    def unfit_for_arp(self) -> str:
        """Why neither ARP nor NDP can announce an address on it; "" when they can."""
        for flag, what in ((_LOOPBACK, "a loopback"), (_POINT_TO_POINT, "a point-to-point"), (_NOARP, "a NOARP")):
            if self.flags & flag:
                return f"{self.name} is {what} device, on which nobody asks for an address by ARP or NDP"
        if self.hardware_type != _ETHERNET or len(self.hardware_address) != 6:
            return f"{self.name} is not an Ethernet device (hardware type {self.hardware_type})"
        return ""
