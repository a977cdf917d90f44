"""What other instances of kubevip on this machine fence: what they hold, and what they stand by for. Blocks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from kubevip_announce_arp._fence_tables import instance_of, map_of
from kubevip_announce_arp._nftables import INET
from kubevip_announce_arp._nftables_socket import NftablesSocket

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kubevip import IPAddress

_logger = logging.getLogger("kubevip.address")


class OtherInstances(NamedTuple):
    """The instances with a fence on this machine besides one's own, and which of them has an address that was asked."""

    names: frozenset[str]
    having: Mapping[IPAddress, str]


def other_instances(own_table: str, addresses: Collection[IPAddress]) -> OtherInstances:
    """Return which other instances there are, and which of them fence one of the addresses.

    An instance without a fence is found only by what it has on devices. Where the kernel answers no such question
    nobody has a fence, or it is older than Linux 4.15.

    :param own_table: the name of this instance's tables.
    """
    others: dict[str, str] = {}
    having: dict[IPAddress, str] = {}
    try:
        with NftablesSocket() as netlink:
            others = {name: instance for name in netlink.tables(INET) if (instance := instance_of(name))}
            others.pop(own_table, None)
            for table, instance in others.items():
                for address in addresses:
                    if netlink.has_element(INET, table, map_of(address.packed), address.packed):
                        having[address] = instance
    except OSError as error:
        _logger.debug("fences of other instances cannot be read: %s", error)
    return OtherInstances(frozenset(others.values()), having)
