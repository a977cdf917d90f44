"""What all machines of a cluster have to want alike, under a short name that they compare.

Files may well differ: in kube-vip's own format each says which machine it is on, and keys, devices and health checks
may be elsewhere on every one. The order in which things are listed means nothing either.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from kubevip import Kind

if TYPE_CHECKING:
    from kubevip import Desired, Group, LoadBalancer, VirtualIP

#: Hexadecimal digits; it is shown in a table and told to peers every second.
LENGTH = 8


def digest_of_agreement(desired: Desired) -> str:
    """Return eight hexadecimal digits that name the members, groups, virtual IPs and load balancers of a file."""
    providers = {it.name: it.section.provider for it in desired.instances if it.kind is Kind.ELECTION}
    agreed = {
        "cluster": desired.cluster,
        "members": sorted([member.name, str(member.address)] for member in desired.members),
        "groups": sorted(_group(group, providers.get(group.election, "")) for group in desired.groups),
        "vips": sorted(_virtual_ip(vip) for vip in desired.vips),
        "load_balancers": sorted(_load_balancer(balancer) for balancer in desired.load_balancers),
    }
    return hashlib.sha256(json.dumps(agreed).encode()).hexdigest()[:LENGTH]


def _group(group: Group, provider: str) -> list[str]:
    placement = group.placement
    wish = [",".join(placement.prefer), str(placement.fail_back_seconds), str(placement.weight)]
    return [group.name, group.election, provider, *wish]


def _virtual_ip(vip: VirtualIP) -> list[str]:
    return [vip.name, str(vip.address), vip.group]


def _load_balancer(balancer: LoadBalancer) -> list[str]:
    backends = sorted(f"{backend} {backend.weight}" for backend in balancer.backends)
    return [balancer.name, balancer.protocol, str(balancer.port), ",".join(sorted(balancer.bind_to)), *backends]
