"""The last will of an instance: what the parent process does about its addresses when it died.

Standard library only, and no more of this package than the pure encoders: whoever calls it may have nothing else.
"""

from __future__ import annotations

import errno
import json
import socket
import time
from ipaddress import ip_address

from kubevip_announce_arp import _nftables as nft
from kubevip_announce_arp import _rtnetlink as rt
from kubevip_announce_arp._fence_tables import FenceTables

FUNCTION = "kubevip_announce_arp._will:withdraw"
ORDER = 10  # before any election's, which lets another node take over


def make(table: str, addresses: dict[str, int]) -> bytes:
    """Write a will: the fence's tables ("" = none), and the index of the device that each address may be on."""
    return json.dumps({"table": table, "addresses": addresses}).encode()


def withdraw(payload: bytes) -> None:
    """Close the fence, then remove the addresses; return when the kernel has acknowledged both.

    :raises OSError: when the kernel refuses: something of the instance may still be up.
    """
    will = json.loads(payload)
    if will["table"]:
        _close(will["table"])
    if will["addresses"]:
        _delete(will["addresses"])


def _close(table: str) -> None:
    data, last = nft.batch(FenceTables(table).close_all(), 1)
    error = _ask(nft.NETLINK_NETFILTER, data, last)
    if error not in (0, errno.ENOENT):  # no tables: nothing to close
        raise OSError(error, f"the fence {table} cannot be closed")


def _delete(addresses: dict[str, int]) -> None:
    for sequence, (address, index) in enumerate(addresses.items(), 1):
        data = rt.delete_address(ip_address(address), index, sequence=sequence)
        error = _ask(rt.NETLINK_ROUTE, data, sequence)
        if error not in (0, errno.EADDRNOTAVAIL, errno.ENODEV):
            raise OSError(error, f"{address} cannot be removed from device number {index}")


def _ask(protocol: int, data: bytes, sequence: int) -> int:
    """Send a message to the kernel and return the first error that it names, or 0 for its acknowledgement."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        netlink.send(data)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for answered, error in rt.acknowledgements(netlink.recv(1 << 16)):
                if error or answered == sequence:
                    return error
    raise TimeoutError("the kernel did not answer")
