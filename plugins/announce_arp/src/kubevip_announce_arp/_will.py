"""The last will of an instance: what the parent process does about its addresses when it died.

Standard library only, and no more of this package than the pure encoders: whoever calls it may have nothing else.
"""

from __future__ import annotations

import errno
import json
import socket
from ipaddress import ip_address

from kubevip_announce_arp import _nftables as nft
from kubevip_announce_arp import _rtnetlink as rt
from kubevip_announce_arp._fence_tables import FenceTables

FUNCTION = "kubevip_announce_arp._will:withdraw"
ORDER = 10  # before any election's, which lets another node take over


#: To close such a socket takes 25 ms: the kernel waits until everything that was deleted is gone. The change itself has
#: been in force since its acknowledgement, so the process reports first and then ends.
_left_open: list[socket.socket] = []


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
    netlink = _open(nft.NETLINK_NETFILTER)
    _left_open.append(netlink)
    for number, change in enumerate(FenceTables(table).close_all()):  # one by one: a table may have been removed
        data, last = nft.batch([change], 10 * number + 1)
        error = _ask(netlink, data, last)
        if error not in (0, errno.ENOENT):
            raise OSError(error, f"the fence {table} cannot be closed")


def _delete(addresses: dict[str, int]) -> None:
    with _open(rt.NETLINK_ROUTE) as netlink:
        for sequence, (address, index) in enumerate(addresses.items(), 1):
            error = _ask(netlink, rt.delete_address(ip_address(address), index, sequence=sequence), sequence)
            if error not in (0, errno.EADDRNOTAVAIL, errno.ENODEV):
                raise OSError(error, f"{address} cannot be removed from device number {index}")


def _open(protocol: int) -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    netlink.settimeout(5)
    netlink.bind((0, 0))
    return netlink


def _ask(netlink: socket.socket, data: bytes, sequence: int) -> int:
    """Send a message to the kernel and return the first error that it names, or 0 for its acknowledgement.

    :raises TimeoutError: after 5 s without an answer.
    """
    netlink.send(data)
    while True:
        for answered, error in rt.acknowledgements(netlink.recv(1 << 16)):
            if error or answered == sequence:
                return error
