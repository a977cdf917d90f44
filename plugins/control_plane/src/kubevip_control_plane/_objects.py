"""The objects that `kubevip manifest` prints, in the order in which to apply them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_control_plane._configuration import CONTROL_PLANE_LEASE, SERVICES_LEASE, configuration
from kubevip_control_plane._parts import ACCOUNT, CONFIG_MAP, CONTROL_PLANE, SERVICES, STATIC_POD, Part
from kubevip_control_plane._pod import Json, config_map_spec, control_plane_spec, services_spec, static_spec
from kubevip_control_plane._rights import (
    SERVICE_RIGHTS,
    Right,
    any_lease_rights,
    config_map_rights,
    election_rights,
    rules,
)
from kubevip_control_plane._text import render
from kubevip_control_plane._wanted import Wanted, Ways

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What the source elects by in ConfigMap mode.
NAMESPACE_LEASE = "plunder-lock"


def pod(wanted: Wanted) -> list[Json]:
    """Return a static Pod for a node of the control plane; it needs no API server to start."""
    return [_object("v1", "Pod", wanted, STATIC_POD) | {"spec": static_spec(wanted)}]


def daemonset(wanted: Wanted) -> list[Json]:
    """Return what runs kubevip on every node of the control plane; for Services alone, on every node."""
    part = SERVICES if wanted.is_services and not wanted.vips else CONTROL_PLANE
    objects: list[Json] = []
    if wanted.needs_account:
        objects += [_account(wanted, part), *_roles(wanted, part)]
    if wanted.has_configuration:
        data = {"config.yaml": render(configuration(wanted))}
        objects.append(_object("v1", "ConfigMap", wanted, part) | {"data": data})
    spec: Json = {
        "selector": {"matchLabels": part.labels},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {
            "metadata": {"labels": part.labels},
            "spec": services_spec(wanted) if part is SERVICES else control_plane_spec(wanted),
        },
    }
    return [*objects, _object("apps/v1", "DaemonSet", wanted, part) | {"spec": spec}]


def deployment(wanted: Wanted) -> list[Json]:
    """Return what holds the addresses of one namespace's services, as its ConfigMap lists them."""
    spec: Json = {
        "replicas": wanted.replicas,
        "selector": {"matchLabels": CONFIG_MAP.labels},
        # No Pod more than before: where each node has one there is no place for it.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": {"metadata": {"labels": CONFIG_MAP.labels}, "spec": config_map_spec(wanted)},
    }
    rights = (*election_rights(NAMESPACE_LEASE), *config_map_rights(wanted.config_map))
    return [
        _account(wanted, CONFIG_MAP),
        *_role(wanted, CONFIG_MAP, rights),
        _object("apps/v1", "Deployment", wanted, CONFIG_MAP) | {"spec": spec},
    ]


def rbac(wanted: Wanted) -> list[Json]:
    """Return the service account and its rights for a Lease election and for Services of the whole cluster."""
    leases = (CONTROL_PLANE_LEASE, SERVICES_LEASE)
    return [_account(wanted, ACCOUNT), *_service_roles(wanted, ACCOUNT, leases)]


def _account(wanted: Wanted, part: Part) -> Json:
    return _object("v1", "ServiceAccount", wanted, part)


def _roles(wanted: Wanted, part: Part) -> tuple[Json, ...]:
    """Return the rights of a DaemonSet: for the Leases that it elects by, and for Services where it serves them."""
    leases = (CONTROL_PLANE_LEASE,) if part is CONTROL_PLANE and wanted.election is Ways.K8S else ()
    if wanted.is_services:
        return _service_roles(wanted, part, (*leases, SERVICES_LEASE))
    return _role(wanted, part, election_rights(*leases))


def _service_roles(wanted: Wanted, part: Part, leases: Sequence[str]) -> tuple[Json, ...]:
    of_leases = any_lease_rights() if wanted.is_local_policy else election_rights(*leases)
    return (*_role(wanted, part, of_leases), *_role(wanted, part, SERVICE_RIGHTS, is_cluster_wide=True))


def _role(wanted: Wanted, part: Part, rights: Sequence[Right], *, is_cluster_wide: bool = False) -> tuple[Json, Json]:
    kind = "ClusterRole" if is_cluster_wide else "Role"
    group = "rbac.authorization.k8s.io"
    role: Json = _object(f"{group}/v1", kind, wanted, part) | {"rules": list(rules(rights))}
    binding = _object(f"{group}/v1", f"{kind}Binding", wanted, part) | {
        "roleRef": {"apiGroup": group, "kind": kind, "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": part.name, "namespace": wanted.namespace}],
    }
    return role, binding


def _object(version: str, kind: str, wanted: Wanted, part: Part) -> Json:
    metadata: Json = {"name": part.name, "namespace": wanted.namespace, "labels": part.labels}
    if kind.startswith("Cluster"):
        metadata = {"name": part.cluster_wide(wanted.namespace), "labels": part.labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
