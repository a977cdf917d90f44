"""Netlink messages and attributes as bytes: what all its protocols have in common. Pure, standard library only.

RFC 3549 2.2 and 2.3; the layouts are those of include/uapi/linux/netlink.h, in the machine's byte order.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
INTERRUPTED = 0x10  # of an answer to DUMP: something changed while the kernel was listing
ERROR, DONE = 0x2, 0x3

_HEADER = struct.Struct("=IHHII")
_KIND_BITS = 0x3FFF  # without the flags "nested" and "network byte order"


class Message(NamedTuple):
    """One message: its kind, its sequence number, what follows the header, and its flags."""

    kind: int
    sequence: int
    body: bytes
    flags: int = 0

    @property
    def error(self) -> int:
        """The errno that an acknowledgement or the end of a list bears; 0 = done, or neither of them."""
        if self.kind in (ERROR, DONE) and len(self.body) >= 4:
            return -int(struct.unpack_from("=i", self.body)[0])
        return 0


def attribute(kind: int, data: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Encode one message."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """Decode what the kernel sent; stops at the first message that is cut short."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield Message(kind, sequence, data[offset + _HEADER.size : offset + length], flags)
        offset += (length + 3) & ~3


def attributes_of(body: bytes, offset: int) -> dict[int, bytes]:
    """Decode the attributes of a message behind its fixed header of `offset` bytes; the last of each kind wins."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4 or offset + length > len(body):
            break
        found[kind & _KIND_BITS] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found
