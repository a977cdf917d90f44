"""nf_tables messages as bytes: attributes, expressions, batches. Pure, standard library only.

Layouts and numbers are those of include/uapi/linux/netlink.h, netfilter/nfnetlink.h and netfilter/nf_tables.h. What
is not needed for a fence is not here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from kubevip_announce_arp._netlink import ACK, DUMP, REQUEST, attribute, message

if TYPE_CHECKING:
    from collections.abc import Iterable

NETLINK_NETFILTER = 12
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES

INET, ARP = 1, 3  # NFPROTO_INET, NFPROTO_ARP

NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, NEWRULE = 0, 1, 2, 3, 4, 6
NEWSET, NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN = 9, 12, 13, 14, 15, 16

CREATE, APPEND = 0x400, 0x800
BATCH_BEGIN, BATCH_END = 0x10, 0x11

SET_MAP, SET_TIMEOUT = 0x8, 0x10
TYPE_IPV4, TYPE_IPV6, TYPE_MARK, TYPE_VERDICT = 7, 8, 19, 0xFFFFFF00  # as nft(8) numbers them, so that it can print
GOTO, ACCEPT, DROP = -4, 1, 0
NETWORK, TRANSPORT = 1, 2  # bases of a payload expression
META_MARK, META_NFPROTO, META_L4PROTO = 3, 15, 16


class Change(NamedTuple):
    """One change of a transaction: the protocol family, a message of nf_tables, its flags and attributes."""

    family: int
    kind: int
    flags: int
    attributes: bytes


def nested(kind: int, *inner: bytes) -> bytes:
    """Encode an attribute that holds attributes."""
    return attribute(kind | 0x8000, b"".join(inner))


def text(kind: int, value: str) -> bytes:
    """Encode a name, which ends in a zero byte."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Encode a 32-bit number in network order; negative ones as two's complement."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def expression(name: str, *attributes: bytes) -> bytes:
    """Encode one expression of a rule."""
    return nested(1, text(1, name), nested(2, *attributes))


def load(base: int, offset: int, length: int) -> bytes:
    """Load `length` bytes of the packet into register 1."""
    return expression("payload", number(1, 1), number(2, base), number(3, offset), number(4, length))


def equals(value: bytes) -> bytes:
    """End the rule unless register 1 is `value`."""
    return expression("cmp", number(1, 1), number(2, 0), nested(3, attribute(1, value)))


def meta_is(key: int, value: bytes) -> bytes:
    """End the rule unless the packet's meta `key` is `value`."""
    return expression("meta", number(1, 1), number(2, key)) + equals(value)


def constant(value: int) -> bytes:
    """Put a constant into register 1, as (mark & 0) ^ value.

    An immediate would be simpler, but makes nft 1.0.6 abort when it lists the rule.
    """
    mask, xor = attribute(1, struct.pack("=I", 0)), attribute(1, struct.pack("=I", value))
    return expression("meta", number(1, 1), number(2, META_MARK)) + expression(
        "bitwise", number(1, 1), number(2, 1), number(3, 4), nested(4, mask), nested(5, xor)
    )


def is_in(name: str) -> bytes:
    """End the rule unless register 1 is in set `name`."""
    return expression("lookup", text(1, name), number(2, 1))


def goes_by(name: str) -> bytes:
    """Take the verdict that map `name` has for register 1; end the rule if there is none."""
    return expression("lookup", text(1, name), number(2, 1), number(3, 0))


def is_for_this_host() -> bytes:
    """End the rule unless the destination is a local address (`fib daddr type local`)."""
    return expression("fib", number(1, 1), number(2, 3), number(3, 2)) + equals(struct.pack("=I", 2))


def verdict(code: int) -> bytes:
    """End with `code`."""
    return expression("immediate", number(1, 0), nested(2, nested(2, number(1, code))))


def element(key: bytes, *, goto: str | None = None) -> bytes:
    """Encode one element of a set or map: its key, and the chain it leads to."""
    data = b"" if goto is None else nested(2, nested(2, number(1, GOTO), text(2, goto)))
    return nested(1, nested(1, attribute(1, key)), data)


def query(kind: int, family: int, sequence: int, attributes: bytes = b"", *, is_list: bool = False) -> bytes:
    """Encode one question: about one thing, or for a list of all of its kind."""
    flags = REQUEST | DUMP if is_list else REQUEST
    return message(SUBSYSTEM << 8 | kind, flags, sequence, struct.pack("!BBH", family, 0, 0) + attributes)


def batch(changes: Iterable[Change], first: int) -> tuple[bytes, int]:
    """Encode a transaction whose messages are numbered from `first`; return it and the number of its last change.

    Only the last change asks for an acknowledgement: errors are reported anyway, and one success tells of all.
    """
    parts = [message(BATCH_BEGIN, REQUEST, first, struct.pack("!BBH", 0, 0, SUBSYSTEM))]
    todo = list(changes)
    sequence = first
    for position, change in enumerate(todo, 1):
        sequence = first + position
        flags = REQUEST | change.flags | (ACK if position == len(todo) else 0)
        body = struct.pack("!BBH", change.family, 0, 0) + change.attributes
        parts.append(message(SUBSYSTEM << 8 | change.kind, flags, sequence, body))
    parts.append(message(BATCH_END, REQUEST, sequence + 1, struct.pack("!BBH", 0, 0, SUBSYSTEM)))
    return b"".join(parts), sequence
