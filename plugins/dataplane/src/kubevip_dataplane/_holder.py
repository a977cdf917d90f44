"""Who has a TCP port: for the message of a listener that cannot have it."""

from __future__ import annotations

import contextlib
import os
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip import IPAddress

_LISTEN = "0A"  # include/net/tcp_states.h


@frozen(kw_only=True)
class ListeningSocket:
    """One line of /proc/net/tcp or tcp6 that listens."""

    address: IPAddress
    port: int
    inode: int

    def stands_in_the_way_of(self, address: IPAddress | None, port: int) -> bool:
        """Whether nobody else can listen on `address` (None: all) and `port`."""
        if self.port != port:
            return False
        if address is None or self.address == address:
            return True
        return self.address.is_unspecified and (self.address.version == address.version or self.address.version == 6)

    def __str__(self) -> str:
        if self.address.is_unspecified:
            return f"*:{self.port}"
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def parse_sockets(table: str) -> Iterator[ListeningSocket]:
    """Read /proc/net/tcp or /proc/net/tcp6: what listens there."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        address, _, port = fields[1].partition(":")
        words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
        raw = struct.pack(f"={len(words)}I", *words)  # each word as the machine has it in memory
        parsed = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = ip_address(parsed.ipv4_mapped)
        yield ListeningSocket(address=parsed, port=int(port, 16), inode=int(fields[9]))


def find_holder(address: IPAddress | None, port: int) -> str:
    """Describe who listens in the way of `address` (None: all) and `port`; "" when that cannot be found out.

    Reads all of /proc: a matter of milliseconds, so not in the event loop.
    """
    for family in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for found in parse_sockets(Path("/proc/thread-self/net", family).read_text()):
                if found.stands_in_the_way_of(address, port):
                    process = _process_with(found.inode)
                    return f"{process} listens on {found}" if process else f"another process listens on {found}"
    return ""


def _process_with(inode: int) -> str:
    if _has(Path("/proc/self"), inode):
        return "another load balancer of this kubevip"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _has(entry, inode):
            with contextlib.suppress(OSError):
                return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
    return ""


def _has(process: Path, inode: int) -> bool:
    """Whether a process has the socket `inode` open; False if it ended, or is somebody else's."""
    wanted = f"socket:[{inode}]"
    with contextlib.suppress(OSError), os.scandir(process / "fd") as descriptors:
        for fd in descriptors:
            with contextlib.suppress(OSError):
                if os.readlink(fd) == wanted:
                    return True
    return False
