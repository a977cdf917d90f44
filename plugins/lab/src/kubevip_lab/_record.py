"""What probers write to their pipe: fixed-size records. Standard library only.

A record is `kind, number, sent, received, by`: the number of the question (questions are asked at `start + number *
interval`; a number is skipped where the prober was kept from asking in time), two readings of CLOCK_MONOTONIC in
seconds, which all processes of a machine share, and up to 16 bytes that say who or what.
"""

from __future__ import annotations

import struct

RECORD = struct.Struct("=cQdd16s")

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
