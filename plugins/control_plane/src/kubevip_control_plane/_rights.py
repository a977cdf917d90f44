"""What kubevip may do in a cluster: no more than it does, each right with the reason for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen


@frozen(kw_only=True)
class Right:
    """Some verbs on one kind of object; `names`: on those objects only. Creating cannot be limited to a name."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()

    def rule(self) -> dict[str, object]:
        """Return it as a rule of a Role or ClusterRole."""
        rule: dict[str, object] = {
            "apiGroups": [self.group],
            "resources": [self.resource],
            "verbs": list(self.verbs),
        }
        if self.names:
            rule["resourceNames"] = list(self.names)
        return rule


_LEASES = "coordination.k8s.io"
_EVENTS = Right(
    group="events.k8s.io",
    resource="events",
    verbs=("create",),
    why="say what happened to an object",
)


def election_rights(*leases: str) -> tuple[Right, ...]:
    """Return the rights in the Leases' namespace that standing for them takes."""
    return (
        Right(group=_LEASES, resource="leases", verbs=("create",), why="make the Lease where there is none"),
        Right(
            group=_LEASES,
            resource="leases",
            verbs=("get", "list", "watch", "update", "patch"),
            why="follow who holds it, take and renew it; patch: the last will of a dead process releases it",
            names=leases,
        ),
    )


def any_lease_rights() -> tuple[Right, ...]:
    """Return the rights in a namespace that standing for Leases takes whose names nobody knows beforehand."""
    return (
        Right(
            group=_LEASES,
            resource="leases",
            verbs=("create", "get", "list", "watch", "update", "patch", "delete"),
            why="elect for each Service of the policy Local by a Lease named after its address; delete those left over",
        ),
    )


def config_map_rights(name: str) -> tuple[Right, ...]:
    """Return the rights in a namespace that following the ConfigMap `name` and its services' endpoints takes."""
    return (
        Right(
            group="",
            resource="configmaps",
            verbs=("list", "watch"),
            why="read which services want an address",
            names=(name,),
        ),
        Right(group="", resource="services", verbs=("list", "watch"), why="know how the ports of a service are called"),
        Right(group="", resource="endpoints", verbs=("list", "watch"), why="know the backends of old clusters"),
        Right(
            group="discovery.k8s.io",
            resource="endpointslices",
            verbs=("list", "watch"),
            why="know the backends of each service",
        ),
        _EVENTS,
    )


SERVICE_RIGHTS: tuple[Right, ...] = (
    Right(group="", resource="services", verbs=("list", "watch"), why="know which services want an address"),
    Right(group="", resource="services/status", verbs=("patch",), why="write down the address of a service"),
    Right(
        group="discovery.k8s.io",
        resource="endpointslices",
        verbs=("list", "watch"),
        why="know the backends of each service, and whether one of them is on this node",
    ),
    _EVENTS,
)
"""Across the cluster: following Services of type LoadBalancer."""


def rules(rights: Iterable[Right]) -> Sequence[dict[str, object]]:
    """Return rights as the rules of a Role or ClusterRole."""
    return [right.rule() for right in rights]
