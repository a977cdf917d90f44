"""When a packet arrived, as the kernel noted it: who reads it late takes no wrong time. Standard library.

The kernel stamps what a socket receives with the wall clock; here it becomes a reading of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import struct
from time import CLOCK_REALTIME, clock_gettime, monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

ANCILLARY_BYTES = 64
"""Room for a stamp in `recvmsg`."""

_SOL_SOCKET = 1
_SO_TIMESTAMPNS = 35  # socket(7); not in the socket module
_STAMP = struct.Struct("qq")


def ask_for_stamps(receiver: socket.socket) -> None:
    """Have the kernel stamp what `receiver` receives from now on."""
    receiver.setsockopt(_SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def wall_clock_ahead() -> float:
    """Return by how many seconds the wall clock is ahead of CLOCK_MONOTONIC now; it changes when somebody sets it."""
    return clock_gettime(CLOCK_REALTIME) - monotonic()


def wall_time(ancillary: list[tuple[int, int, bytes]]) -> float | None:
    """Return the wall-clock time of a packet from what `recvmsg` gave beside it; None when it bears no stamp."""
    for level, kind, data in ancillary:
        if level == _SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack(data[: _STAMP.size])
            return float(seconds + nanoseconds / 1e9)
    return None
