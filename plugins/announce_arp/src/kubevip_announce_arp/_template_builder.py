"""A program that builds the templates of all frames with scapy and writes them to stdout, one in hex on each line.

See `_templates` for why it is one. Nothing else of this project is imported but the names of the frames.
"""

from __future__ import annotations

from scapy.layers.inet6 import (  # pyright: ignore[reportMissingTypeStubs]
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from kubevip_announce_arp._frames import Templates

_MAC, _BROADCAST = "02:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"
_ADDRESS4, _ADDRESS6 = "192.0.2.1", "2001:db8::1"  # documentation; everything of them is filled in later
_ALL_NODES, _ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
_SOLICITED_NODE, _SOLICITED_NODE_MAC = "ff02::1:ff00:1", "33:33:ff:00:00:01"


def build_templates() -> Templates:
    """Build them."""

    def arp(op: int, psrc: str, hwdst: str) -> bytes:
        return bytes(Ether(src=_MAC, dst=_BROADCAST) / ARP(hwsrc=_MAC, pdst=_ADDRESS4, op=op, psrc=psrc, hwdst=hwdst))

    advertisement = (
        Ether(src=_MAC, dst=_ALL_NODES_MAC)
        / IPv6(src=_ADDRESS6, dst=_ALL_NODES, hlim=255)
        / ICMPv6ND_NA(tgt=_ADDRESS6, R=0, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=_MAC)
    )
    solicitation = (
        Ether(src=_MAC, dst=_SOLICITED_NODE_MAC)
        / IPv6(src="::", dst=_SOLICITED_NODE, hlim=255)
        / ICMPv6ND_NS(tgt=_ADDRESS6)
    )
    return Templates(
        arp_request=arp(op=1, psrc=_ADDRESS4, hwdst="00:00:00:00:00:00"),
        arp_reply=arp(op=2, psrc=_ADDRESS4, hwdst=_MAC),
        arp_probe=arp(op=1, psrc="0.0.0.0", hwdst="00:00:00:00:00:00"),
        advertisement=bytes(advertisement),
        solicitation=bytes(solicitation),
    )


if __name__ == "__main__":
    print(*(frame.hex() for frame in build_templates()), sep="\n")
