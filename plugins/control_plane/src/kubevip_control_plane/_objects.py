"""The objects that `kubevip manifest` prints, in the order in which to apply them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_control_plane._pod import Json, control_plane_spec, labels, services_spec
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

#: kube-vip's names of the Leases, so that whoever replaces it does not get a second holder.
CONTROL_PLANE_LEASE, SERVICES_LEASE, NAMESPACE_LEASE = "plndr-cp-lock", "plndr-svcs-lock", "plunder-lock"


def pod(wanted: Wanted) -> list[Json]:
    """Return a static Pod for a node of the control plane; it needs no API server to start."""
    return [_object("v1", "Pod", wanted) | {"spec": control_plane_spec(wanted, is_static=True)}]


def daemonset(wanted: Wanted) -> list[Json]:
    """Return what runs kubevip on every node of the control plane."""
    objects: list[Json] = []
    if wanted.election is Ways.K8S:
        objects += [_account(wanted), *_role(wanted, election_rights(CONTROL_PLANE_LEASE))]
    if wanted.vips:
        data = {"config.yaml": render(_configuration(wanted))}
        objects.append(_object("v1", "ConfigMap", wanted) | {"data": data})
    spec: Json = {
        "selector": {"matchLabels": labels()},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": labels()}, "spec": control_plane_spec(wanted, is_static=False)},
    }
    return [*objects, _object("apps/v1", "DaemonSet", wanted) | {"spec": spec}]


def deployment(wanted: Wanted) -> list[Json]:
    """Return what holds the addresses of one namespace's services, as its ConfigMap lists them."""
    spec: Json = {
        "replicas": wanted.replicas,
        "selector": {"matchLabels": labels()},
        "template": {"metadata": {"labels": labels()}, "spec": services_spec(wanted)},
    }
    rights = (*election_rights(NAMESPACE_LEASE), *config_map_rights(wanted.config_map))
    return [
        _account(wanted),
        *_role(wanted, rights),
        _object("apps/v1", "Deployment", wanted) | {"spec": spec},
    ]


def rbac(wanted: Wanted) -> list[Json]:
    """Return the service account and its rights for a Lease election and for Services of the whole cluster."""
    named = (*election_rights(CONTROL_PLANE_LEASE), *election_rights(SERVICES_LEASE)[1:])
    return [
        _account(wanted),
        *_role(wanted, any_lease_rights() if wanted.is_local_policy else named),
        *_role(wanted, SERVICE_RIGHTS, is_cluster_wide=True),
    ]


def _account(wanted: Wanted) -> Json:
    return _object("v1", "ServiceAccount", wanted)


def _role(wanted: Wanted, rights: Sequence[Right], *, is_cluster_wide: bool = False) -> tuple[Json, Json]:
    kind = "ClusterRole" if is_cluster_wide else "Role"
    group = "rbac.authorization.k8s.io"
    role = _object(f"{group}/v1", kind, wanted) | {"rules": list(rules(rights))}
    binding = _object(f"{group}/v1", f"{kind}Binding", wanted) | {
        "roleRef": {"apiGroup": group, "kind": kind, "name": "kubevip"},
        "subjects": [{"kind": "ServiceAccount", "name": "kubevip", "namespace": wanted.namespace}],
    }
    return role, binding


def _object(version: str, kind: str, wanted: Wanted) -> Json:
    metadata: Json = {"name": "kubevip", "namespace": wanted.namespace, "labels": labels()}
    if kind.startswith("Cluster"):
        del metadata["namespace"]
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _configuration(wanted: Wanted) -> Json:
    """Return the configuration of a virtual IP in front of the API servers, without a balancer: each has the port."""
    if wanted.election is Ways.RAFT:
        members = [{"name": name, "address": str(address)} for name, address in wanted.members]
        election: Json = {"raft": {"members": members, "pki": "/etc/kubevip-keys"}}
    else:
        # controlPlane: not through the virtual IP that this is about, nor the cluster IP, which comes after it
        election = {"k8s": {"lease": f"{wanted.namespace}/{CONTROL_PLANE_LEASE}", "controlPlane": True}}
    names = [f"api{index or ''}" for index in range(len(wanted.vips))]
    return {
        "apiVersion": "kubevip/v1",
        "elections": election,
        "groups": {"api": {"election": wanted.election.value, "healthCheck": {"type": "apiserver"}}},
        "virtualIPs": [
            {"name": name, "address": str(vip), "interface": wanted.interface, "group": "api"}
            for name, vip in zip(names, wanted.vips, strict=True)
        ],
    }
