"""The tables of a fence and every change of them, as nf_tables transactions. Pure, standard library only.

A fence is two tables of one name, `arp NAME` and `inet NAME`. In each

    map  group4, group6, target6   address -> goto the chain of its group
    set  alive                     keys of groups; every element times out
    set  active                    which of a group's two keys counts
    chain g<N>                     passes when a key of group N is both alive and active, else drops

Opening and renewing take two steps, which alternate between the two keys of a group (its slots):

    1. `begin`: the other key becomes alive for so many milliseconds. It does not count yet. The clock is read after
       the commit, so how long the element can live at most is known before it has any effect.
    2. `switch`: the other key counts, the old one does not; the old element must still be alive, or the kernel
       refuses the whole.

Whatever stops the process between any two instructions, an element that counts ends when it was meant to: a `switch`
that comes late makes a key count that has run out. A single step could not promise that, since the lifetime would be
computed before the kernel takes it; nor could a permit that the renewal deletes, since the kernel (6.8 and later)
judges every element of a transaction by the time at which the transaction began.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

from kubevip_announce_arp import _nftables as nft
from kubevip_announce_arp._netlink import attribute
from kubevip_announce_arp._nftables import ARP, INET, Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Key = tuple[int, int]  # the number of a group, and a slot: 0 or 1

FAMILIES = (ARP, INET)
PRIORITY = -400  # before raw, defragmentation, connection tracking and any destination NAT
_CHUNK = 500
DEFAULT_LIFETIME_MS = 1000  # of an element added without one, by whomever: none is ever permanent

ARP_REQUEST = b"\0\1"
ARP_SENDER, ARP_TARGET, ARP_OPERATION = 14, 24, 6  # offsets for Ethernet and IPv4 (RFC 826)
IPV4, IPV6, ICMPV6 = b"\x02", b"\x0a", b"\x3a"
SOLICITATION, ADVERTISEMENT = b"\x87", b"\x88"  # RFC 4861 4.3, 4.4

_RULES_IN = {
    # A claim (the sender is a VIP) passes, or a follower that is a client never learns who the new holder is.
    ARP: (
        nft.load(nft.NETWORK, ARP_SENDER, 4) + nft.is_in("claims") + nft.verdict(nft.ACCEPT),
        nft.load(nft.NETWORK, ARP_OPERATION, 2)
        + nft.equals(ARP_REQUEST)
        + nft.load(nft.NETWORK, ARP_TARGET, 4)
        + nft.goes_by("group4"),
    ),
    INET: (
        nft.meta_is(nft.META_NFPROTO, IPV4) + nft.load(nft.NETWORK, 16, 4) + nft.goes_by("group4"),
        nft.meta_is(nft.META_NFPROTO, IPV6) + nft.load(nft.NETWORK, 24, 16) + nft.goes_by("group6"),
        nft.meta_is(nft.META_NFPROTO, IPV6)
        + nft.meta_is(nft.META_L4PROTO, ICMPV6)
        + nft.load(nft.TRANSPORT, 0, 1)
        + nft.equals(SOLICITATION)
        + nft.load(nft.TRANSPORT, 8, 16)
        + nft.goes_by("target6"),
    ),
}
_MEMBERSHIPS = {  # by the size of an address: family, map or set, and the first letter of the chain it leads to
    4: ((ARP, "claims", ""), (ARP, "group4", "g"), (INET, "group4", "g")),
    16: ((INET, "group6", "g"), (INET, "target6", "n")),
}
# What a host with the address says of its own accord would win back its neighbours: an ARP request that names the VIP
# as its sender (a retransmission on an open connection is enough to send one), a solicitation or advertisement.
_RULES_OUT = {
    ARP: (nft.load(nft.NETWORK, ARP_SENDER, 4) + nft.goes_by("group4"),),
    INET: (
        nft.meta_is(nft.META_NFPROTO, IPV6)
        + nft.meta_is(nft.META_L4PROTO, ICMPV6)
        + nft.load(nft.TRANSPORT, 0, 1)
        + nft.equals(ADVERTISEMENT)
        + nft.load(nft.TRANSPORT, 8, 16)
        + nft.goes_by("target6"),
        nft.meta_is(nft.META_NFPROTO, IPV6)
        + nft.meta_is(nft.META_L4PROTO, ICMPV6)
        + nft.load(nft.TRANSPORT, 0, 1)
        + nft.equals(SOLICITATION)
        + nft.load(nft.NETWORK, 8, 16)
        + nft.goes_by("target6"),
    ),
}
_BASE_CHAINS = {ARP: (("input", 0, _RULES_IN[ARP]), ("output", 1, _RULES_OUT[ARP]))}
_BASE_CHAINS[INET] = (("prerouting", 0, _RULES_IN[INET]), ("output", 3, _RULES_OUT[INET]))


_NAME = "kubevip_fence_"


def table_name(instance: str) -> str:
    """Return the name of both tables of an instance of kubevip."""
    return _NAME + instance.replace("-", "_")


def instance_of(table: str) -> str:
    """Return the instance whose tables have that name; "" if it is no fence's."""
    return table.removeprefix(_NAME).replace("_", "-") if table.startswith(_NAME) else ""


def map_of(packed: bytes) -> str:
    """Return the map of the `inet` table that has all fenced addresses of the size of this one, 4 or 16 bytes."""
    return "group4" if len(packed) == 4 else "group6"


def base_rules(family: int) -> dict[str, int]:
    """Return how many rules each base chain has: how a table that somebody emptied is told from a whole one."""
    return {name: len(rules) for name, _, rules in _BASE_CHAINS[family]}


class FenceTables:
    """The changes of the two tables called `name`. Groups are numbered from 0."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._table = nft.text(1, name)

    def install(self) -> list[Change]:
        """Replace what there is by empty tables, in one transaction: never a moment without a fence."""
        changes = self.remove()
        for family in FAMILIES:
            changes.append(Change(family, nft.NEWTABLE, nft.CREATE, self._table))
            changes.append(self._set(family, 1, "alive", nft.SET_TIMEOUT, nft.TYPE_MARK, 4, DEFAULT_LIFETIME_MS))
            changes.append(self._set(family, 2, "active", 0, nft.TYPE_MARK, 4))
            changes.append(self._set(family, 3, "group4", nft.SET_MAP, nft.TYPE_IPV4, 4))
        changes.append(self._set(ARP, 4, "claims", 0, nft.TYPE_IPV4, 4))
        changes.append(self._set(INET, 4, "group6", nft.SET_MAP, nft.TYPE_IPV6, 16))
        changes.append(self._set(INET, 5, "target6", nft.SET_MAP, nft.TYPE_IPV6, 16))
        for family in FAMILIES:
            for name, hook, rules in _BASE_CHAINS[family]:
                hooked = nft.nested(4, nft.number(1, hook), nft.number(2, PRIORITY)) + nft.text(7, "filter")
                changes += self._chain(family, name, rules, hooked)
        return changes

    def remove(self) -> list[Change]:
        """Remove both tables, whether they are there or not."""
        return [
            Change(family, kind, flags, self._table)
            for family in FAMILIES
            for kind, flags in ((nft.NEWTABLE, nft.CREATE), (nft.DELTABLE, 0))
        ]

    def add_group(self, group: int) -> list[Change]:
        """Add the chains of a group, closed."""
        passes = tuple(
            nft.constant(group << 1 | slot) + nft.is_in("alive") + nft.is_in("active") + nft.verdict(nft.ACCEPT)
            for slot in (0, 1)
        )
        drops = nft.verdict(nft.DROP)
        return [
            *self._chain(ARP, f"g{group}", (*passes, drops)),
            # without `fib` a follower that routes traffic for the address would drop it
            *self._chain(INET, f"g{group}", (*passes, nft.is_for_this_host() + drops)),
            *self._chain(INET, f"n{group}", (*passes, drops)),
        ]

    def add_addresses(self, members: Iterable[tuple[int, bytes]]) -> list[Change]:
        """Fence addresses, given in their 4 or 16 bytes, each with its group."""
        return self._members(nft.NEWSETELEM, nft.CREATE, members)

    def remove_addresses(self, members: Iterable[tuple[int, bytes]]) -> list[Change]:
        """Take addresses out of the fence; refused (ENOENT) when one is not in it."""
        return self._members(nft.DELSETELEM, 0, members)

    def begin(self, lifetimes_ms: Mapping[Key, int]) -> list[Change]:
        """Let keys live for so many milliseconds, without effect until `switch`."""
        elements = [_timed(key, lifetime) for key, lifetime in lifetimes_ms.items()]
        return self._elements(nft.NEWSETELEM, "alive", elements)

    def discard(self, keys: Iterable[Key]) -> list[Change]:
        """Delete the elements of keys, whether they live or not."""
        dirty = list(keys)
        lasting = [_timed(key, DEFAULT_LIFETIME_MS) for key in dirty]
        return self._elements(nft.NEWSETELEM, "alive", lasting) + self._keys(nft.DELSETELEM, "alive", dirty)

    def switch(self, keys: Iterable[Key], instead_of: Iterable[Key]) -> list[Change]:
        """Make `keys` count, and `instead_of`, all of which must still be alive, not any more."""
        old = list(instead_of)
        return [
            *self._keys(nft.DELSETELEM, "alive", old),
            *self._keys(nft.DELSETELEM, "active", old),
            *self._keys(nft.NEWSETELEM, "active", keys),
        ]

    def close(self, groups: Iterable[int]) -> list[Change]:
        """Make no key of these groups count, whatever did."""
        keys = [(group, slot) for group in groups for slot in (0, 1)]
        return self._keys(nft.NEWSETELEM, "active", keys) + self._keys(nft.DELSETELEM, "active", keys)

    def close_all(self) -> list[Change]:
        """Make no key of any group count."""
        return [Change(family, nft.DELSETELEM, 0, self._table + nft.text(2, "active")) for family in FAMILIES]

    def _set(
        self, family: int, identity: int, name: str, flags: int, key_type: int, key_size: int, lifetime_ms: int = 0
    ) -> Change:
        body = self._table + nft.text(2, name) + nft.number(3, flags) + nft.number(4, key_type)
        body += nft.number(5, key_size)
        if flags & nft.SET_MAP:
            body += nft.number(6, nft.TYPE_VERDICT)
        if lifetime_ms:
            body += attribute(11, struct.pack("!Q", lifetime_ms))
        return Change(family, nft.NEWSET, nft.CREATE, body + nft.number(10, identity))

    def _chain(self, family: int, name: str, rules: tuple[bytes, ...], hooked: bytes = b"") -> list[Change]:
        body = self._table + nft.text(2, name)
        return [
            Change(family, nft.NEWCHAIN, nft.CREATE, self._table + nft.text(3, name) + hooked),
            *(Change(family, nft.NEWRULE, nft.CREATE | nft.APPEND, body + nft.nested(4, rule)) for rule in rules),
        ]

    def _members(self, kind: int, flags: int, members: Iterable[tuple[int, bytes]]) -> list[Change]:
        sorted_out: dict[tuple[int, str], list[bytes]] = {}
        for group, packed in members:
            for family, name, goto in _MEMBERSHIPS[len(packed)]:
                chain = f"{goto}{group}" if goto and kind == nft.NEWSETELEM else None
                sorted_out.setdefault((family, name), []).append(nft.element(packed, goto=chain))
        return [
            Change(family, kind, flags, self._table + nft.text(2, name) + nft.nested(3, *chunk))
            for (family, name), elements in sorted_out.items()
            for chunk in _chunks(elements)
        ]

    def _keys(self, kind: int, name: str, keys: Iterable[Key]) -> list[Change]:
        return self._elements(kind, name, [_element(key) for key in keys])

    def _elements(self, kind: int, name: str, elements: list[bytes]) -> list[Change]:
        flags = nft.CREATE if kind == nft.NEWSETELEM else 0
        where = self._table + nft.text(2, name)
        bodies = [where + nft.nested(3, *chunk) for chunk in _chunks(elements)]
        return [Change(family, kind, flags, body) for body in bodies for family in FAMILIES]


# What a renewal is made of is encoded once for each group: twenty renewals a second are the rule.


@cache
def _key_attribute(key: Key) -> bytes:
    group, slot = key
    return nft.nested(1, attribute(1, struct.pack("=I", group << 1 | slot)))


@cache
def _element(key: Key) -> bytes:
    return nft.nested(1, _key_attribute(key))


def _timed(key: Key, lifetime_ms: int) -> bytes:
    return nft.nested(1, _key_attribute(key), attribute(4, struct.pack("!Q", lifetime_ms)))


def _chunks(elements: list[bytes]) -> Iterator[list[bytes]]:
    """Divide what does not fit an attribute, which holds 64 KB."""
    for start in range(0, len(elements), _CHUNK):
        yield elements[start : start + _CHUNK]
