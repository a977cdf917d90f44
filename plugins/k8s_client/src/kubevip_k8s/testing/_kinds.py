"""The kinds that the fake cluster serves, and in what the server treats them differently."""

from __future__ import annotations

from attrs import frozen

from kubevip_k8s._resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Resource,
)

_RBAC = "rbac.authorization.k8s.io"

CORE_EVENTS = Resource(plural="events", kind="Event")
SECRETS = Resource(plural="secrets", kind="Secret")
SERVICE_ACCOUNTS = Resource(plural="serviceaccounts", kind="ServiceAccount")
DAEMON_SETS = Resource(group="apps", plural="daemonsets", kind="DaemonSet")
DEPLOYMENTS = Resource(group="apps", plural="deployments", kind="Deployment")
ROLES = Resource(group=_RBAC, plural="roles", kind="Role")
ROLE_BINDINGS = Resource(group=_RBAC, plural="rolebindings", kind="RoleBinding")
CLUSTER_ROLES = Resource(group=_RBAC, plural="clusterroles", kind="ClusterRole", is_namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    group=_RBAC, plural="clusterrolebindings", kind="ClusterRoleBinding", is_namespaced=False
)


@frozen(kw_only=True)
class Kind:
    """What the server's strategy for a resource says.

    `has_status`: `/status` is a part of its own, and a write of the object does not touch it. `is_born_with_status`:
    except when it is created. `is_made_by_put`: PUT of an object that is not there makes it. `needs_version`: PUT
    without a resourceVersion is refused. `counts_generations`: metadata.generation rises with the spec.
    """

    resource: Resource
    short: tuple[str, ...] = ()
    has_status: bool = False
    is_born_with_status: bool = False
    is_made_by_put: bool = False
    needs_version: bool = False
    counts_generations: bool = False


KINDS = {
    kind.resource: kind
    for kind in (
        Kind(resource=CONFIG_MAPS, short=("cm",)),
        Kind(resource=ENDPOINTS, short=("ep",), is_made_by_put=True),
        Kind(resource=ENDPOINT_SLICES, counts_generations=True),
        Kind(resource=CORE_EVENTS, short=("ev",), is_made_by_put=True),
        Kind(resource=EVENTS, short=("ev",), is_made_by_put=True),
        Kind(resource=LEASES, is_made_by_put=True, needs_version=True),
        Kind(resource=NAMESPACES, short=("ns",), has_status=True),
        Kind(resource=NODES, short=("no",), has_status=True, is_born_with_status=True),
        Kind(resource=PODS, short=("po",), has_status=True, counts_generations=True),
        Kind(resource=SECRETS),
        Kind(resource=SERVICES, short=("svc",), has_status=True, is_made_by_put=True),
        Kind(resource=SERVICE_ACCOUNTS, short=("sa",)),
        Kind(resource=DAEMON_SETS, short=("ds",), has_status=True, counts_generations=True),
        Kind(resource=DEPLOYMENTS, short=("deploy",), has_status=True, counts_generations=True),
        Kind(resource=ROLES, is_made_by_put=True),
        Kind(resource=ROLE_BINDINGS, is_made_by_put=True),
        Kind(resource=CLUSTER_ROLES, is_made_by_put=True),
        Kind(resource=CLUSTER_ROLE_BINDINGS, is_made_by_put=True),
    )
}


def full_name(resource: Resource) -> str:
    """Return a resource's name in the server's messages: "services", "leases.coordination.k8s.io"."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural
