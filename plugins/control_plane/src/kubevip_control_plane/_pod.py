"""The Pod that runs kubevip: on the node's own network, with what the node has to remember kept on the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubevip_control_plane._wanted import Wanted, Ways

#: The same as in the systemd unit; root without any other capability can do what the files of root allow.
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE")

CONFIG_FOLDER = "/etc/kubevip"
STATE_FOLDER = "/var/lib/kubevip"

#: Objects of the Kubernetes API, as they are written in YAML. Any: their shape is the API's.
Json = dict[str, Any]


def control_plane_spec(wanted: Wanted, *, is_static: bool) -> Json:
    """Return the spec of a Pod on a node of the control plane. A static one can refer to no object of the API."""
    needs_api = wanted.election is Ways.K8S
    volumes = [_host("state", STATE_FOLDER, "DirectoryOrCreate", is_writable=True)]
    if wanted.vips and not is_static:
        volumes.append(({"name": "config", "configMap": {"name": "kubevip"}}, _mount("config", CONFIG_FOLDER)))
        if wanted.election is Ways.RAFT:
            volumes.append(_host("keys", f"{CONFIG_FOLDER}/pki", "Directory", at="/etc/kubevip-keys"))
    else:
        volumes.append(_host("config", CONFIG_FOLDER, "Directory"))
    folder = wanted.way.kubeconfigs if needs_api and is_static else None
    if folder is not None:  # whoever may use these may do everything, and so needs no protection from what is beside
        volumes.append(_host("kubeconfigs", folder, "Directory"))
    for file in wanted.way.check_files:
        if folder is None or not file.startswith(f"{folder}/"):
            volumes.append(_host(file.rpartition("/")[2].replace(".", "-"), file, "File"))
    spec = _spec(wanted, volumes)
    spec["automountServiceAccountToken"] = needs_api and not is_static
    if not is_static:
        spec["affinity"] = {"nodeAffinity": _on_control_plane()}
        if needs_api:
            spec["serviceAccountName"] = "kubevip"
    return spec


def services_spec(wanted: Wanted) -> Json:
    """Return the spec of a Pod that holds the addresses of one namespace's services."""
    volumes = [
        # the instance is named after the namespace, so two namespaces on a node keep apart
        _host("state", f"{STATE_FOLDER}-{wanted.namespace}", "DirectoryOrCreate", at=STATE_FOLDER, is_writable=True)
    ]
    environment = {"vip_configmap": wanted.config_map, "vip_arp": "true"}
    if wanted.interface != "auto":
        environment["vip_interface"] = wanted.interface
    spec = _spec(wanted, volumes, arguments=("--plugins", "k8s,arp,tcp"), environment=environment)
    spec["serviceAccountName"] = "kubevip"
    spec["affinity"] = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": labels()}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    return spec


def labels() -> dict[str, str]:
    """Return what all Pods of kubevip bear."""
    return {"app.kubernetes.io/name": "kubevip"}


def _spec(
    wanted: Wanted,
    volumes: Sequence[tuple[Json, Json]],
    *,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Json:
    container: Json = {
        "name": "kubevip",
        "image": wanted.image,
        "args": ["run", *arguments],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "KUBEVIP_STATE_DIR", "value": STATE_FOLDER},
            *({"name": name, "value": value} for name, value in (environment or {}).items()),
        ],
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Whether it answers at all, once. No liveness probe: the parent process replaces a child that hangs, and a
        # probe that a busy node answers late would take the address away from it.
        "startupProbe": {
            "exec": {"command": ["kubevip", "status"]},
            "periodSeconds": 3,
            "timeoutSeconds": 3,
            "failureThreshold": 40,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": [mount for _, mount in volumes],
    }
    return {
        "hostNetwork": True,
        "dnsPolicy": "Default",  # the cluster's own names may need the virtual IP that this Pod is to bring up
        "enableServiceLinks": False,
        "priorityClassName": "system-node-critical",
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 20,
        "containers": [container],
        "volumes": [volume for volume, _ in volumes],
    }


def _host(name: str, path: str, kind: str, *, at: str | None = None, is_writable: bool = False) -> tuple[Json, Json]:
    """Return a volume of the node's own disk and how it is mounted."""
    volume = {"name": name, "hostPath": {"path": path, "type": kind}}
    return volume, _mount(name, at or path, is_writable=is_writable)


def _mount(name: str, path: str, *, is_writable: bool = False) -> Json:
    return {"name": name, "mountPath": path} | ({} if is_writable else {"readOnly": True})


def _on_control_plane() -> Json:
    """Require the label by its key: k3s gives it a value, kubeadm none."""
    term = {"matchExpressions": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
