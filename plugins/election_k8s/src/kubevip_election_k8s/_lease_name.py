"""Names of Leases: as users write them, and derived from a group's."""

from __future__ import annotations

import hashlib
import re

from attrs import frozen

#: RFC 1123, as the API server checks it: a name of an object is a subdomain, that of a namespace a label.
LONGEST_NAME, LONGEST_NAMESPACE = 253, 63
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DIGEST_DIGITS = 10


@frozen
class LeaseName:
    """Where a Lease is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse_lease_name(text: str) -> LeaseName:
    """Read "NAMESPACE/NAME".

    :raises ValueError: naming what is wrong with it.
    """
    namespace, slash, name = text.partition("/")
    if not slash:
        raise ValueError(f'lease: expected "NAMESPACE/NAME", such as kube-system/plndr-svcs-lock, got "{text[:80]}"')
    if len(namespace) > LONGEST_NAMESPACE or not _LABEL.fullmatch(namespace):
        raise ValueError(f'lease: "{namespace[:80]}" is no name of a namespace: a-z, 0-9 and dashes, at most 63')
    if len(name) > LONGEST_NAME or not _SUBDOMAIN.fullmatch(name):
        raise ValueError(f'lease: "{name[:80]}" is no name of a Lease: a-z, 0-9, dashes and dots, at most 253')
    return LeaseName(namespace, name)


def lease_of_group(base: LeaseName, group: str) -> LeaseName:
    """Return the Lease that elects for `group` alone: `base`, a dash and the group, as far as that is a name.

    Two groups never get the same: where something of a group's name had to go, a digest of it takes its place.
    """
    derived = f"{base.name}-{group}"
    if len(derived) <= LONGEST_NAME and _SUBDOMAIN.fullmatch(derived):
        return LeaseName(base.namespace, derived)
    digest = hashlib.sha256(group.encode()).hexdigest()[:_DIGEST_DIGITS]
    kept = re.sub(r"[^a-z0-9]+", "-", derived.lower())[: LONGEST_NAME - 1 - _DIGEST_DIGITS]
    return LeaseName(base.namespace, f"{kept.rstrip('-')}-{digest}")
