"""What probers write to their pipe: fixed-size records. Standard library only.

A record is `kind, asker, number, sent, received, by`: which of the process's askers it is about (0 where there is one),
the number of the question (questions are counted as they are asked, an interval apart unless the prober was kept from
asking in time), two readings of CLOCK_MONOTONIC in seconds, which all processes of a machine share, and up to 16 bytes
that say who or what.
"""

from __future__ import annotations

import os
import struct

RECORD = struct.Struct("=cBQdd16s")

_FLUSH_SECONDS = 0.02

ANSWERED = b"a"
"""`by` answered the question: the name of a backend (http), a hardware address in hex (arp), nothing (icmp)."""

REFUSED = b"r"
"""A connection was refused or reset; `by` is "refused" or "reset"."""

OPENED = b"o"
"""A connection that is to be held open is open and was answered by the backend `by`."""

CLOSED = b"c"
"""A held connection ended: opened at `sent`, heard of its end at `received`, `by` "fin" or "reset"."""

LATE = b"l"
"""The prober itself was late: question due at `sent`, asked at `received`."""


class Records:
    """Records on their way to standard output, a few at a time."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._flushed = 0.0

    def add(self, kind: bytes, asker: int, number: int, sent: float, received: float, by: bytes = b"") -> None:
        """Put one record down."""
        self._waiting += RECORD.pack(kind, asker, number, sent, received, by)

    def flush(self, now: float) -> None:
        """Write what waits, at most every 20 ms: a reader is woken less often.

        :raises BrokenPipeError: the reader has gone.
        """
        if self._waiting and now - self._flushed > _FLUSH_SECONDS:
            os.write(1, self._waiting)
            self._waiting.clear()
            self._flushed = now
