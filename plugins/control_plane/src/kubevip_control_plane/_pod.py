"""The Pod that runs kubevip: on the node's own network, with what the node has to remember kept on the node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kubevip_control_plane._parts import CONFIG_MAP, CONTROL_PLANE, SERVICES, STATIC_POD, Part
from kubevip_control_plane._wanted import Wanted, Ways

#: The same as in the systemd unit; root without any other capability can do what the files of root allow.
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE")

CONFIG_FOLDER = "/etc/kubevip"
STATE_FOLDER = "/var/lib/kubevip"

#: Objects of the Kubernetes API, as they are written in YAML. Any: their shape is the API's.
Json = dict[str, Any]


def static_spec(wanted: Wanted) -> Json:
    """Return the spec of a static Pod on a node of the control plane, which can refer to no object of the API."""
    volumes = [_state(), _host("config", CONFIG_FOLDER, "Directory")]
    folder = wanted.way.kubeconfigs if wanted.election is Ways.K8S else None
    if folder is not None:  # whoever may use these may do everything, and so needs no protection from what is beside
        volumes.append(_host("kubeconfigs", folder, "Directory"))
    spec = _spec(wanted, STATIC_POD, [*volumes, *_check_files(wanted, besides=folder)])
    spec["automountServiceAccountToken"] = False
    return spec


def control_plane_spec(wanted: Wanted) -> Json:
    """Return the spec of a Pod of the API on a node of the control plane."""
    volumes = [_state()]
    if wanted.has_configuration:
        volumes.append(_configuration(CONTROL_PLANE))
        if wanted.election is Ways.RAFT:
            volumes.append(_host("keys", f"{CONFIG_FOLDER}/pki", "Directory", at="/etc/kubevip-keys"))
    else:
        volumes.append(_host("config", CONFIG_FOLDER, "Directory"))
    spec = _spec(wanted, CONTROL_PLANE, [*volumes, *_check_files(wanted)])
    spec["automountServiceAccountToken"] = wanted.needs_account
    spec["affinity"] = {"nodeAffinity": _on_control_plane()}
    if wanted.needs_account:
        spec["serviceAccountName"] = CONTROL_PLANE.name
    return spec


def services_spec(wanted: Wanted) -> Json:
    """Return the spec of a Pod, on whatever node, that holds the addresses of the cluster's Services."""
    spec = _spec(wanted, SERVICES, [_state(SERVICES.instance), _configuration(SERVICES)])
    spec["serviceAccountName"] = SERVICES.name
    return spec


def config_map_spec(wanted: Wanted) -> Json:
    """Return the spec of a Pod that holds the addresses of one namespace's services."""
    environment = {"vip_configmap": wanted.config_map, "vip_arp": "true"}
    if wanted.interface != "auto":
        environment["vip_interface"] = wanted.interface
    arguments = ("--plugins", "k8s,arp,tcp")
    # the instance is named after the namespace, so two namespaces on a node keep apart
    volumes = [_state(wanted.namespace)]
    spec = _spec(wanted, CONFIG_MAP, volumes, arguments=arguments, environment=environment)
    spec["serviceAccountName"] = CONFIG_MAP.name
    spec["affinity"] = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": CONFIG_MAP.labels}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    return spec


def _spec(
    wanted: Wanted,
    part: Part,
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
            *([{"name": "KUBEVIP_INSTANCE", "value": part.instance}] if part.instance else []),
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
        # For those who look, and for a roll-out, which waits here rather than take a second node away. Nothing is sent
        # to the Pod for it, so that an answer that is late costs nothing.
        "readinessProbe": {
            "exec": {"command": ["kubevip", "status", "--ready"]},
            "periodSeconds": 60,  # each takes 0.3 s of a processor
            "timeoutSeconds": 10,
            "failureThreshold": 2,
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


def _state(instance: str = "") -> tuple[Json, Json]:
    """Return the volume of what the node has to remember for an instance."""
    path = f"{STATE_FOLDER}-{instance}" if instance else STATE_FOLDER
    return _host("state", path, "DirectoryOrCreate", at=STATE_FOLDER, is_writable=True)


def _configuration(part: Part) -> tuple[Json, Json]:
    return {"name": "config", "configMap": {"name": part.name}}, _mount("config", CONFIG_FOLDER)


def _check_files(wanted: Wanted, *, besides: str | None = None) -> Iterator[tuple[Json, Json]]:
    """Yield a volume for each file that the check of the API server reads, but for those in a folder that is there."""
    for file in wanted.way.check_files:
        if besides is None or not file.startswith(f"{besides}/"):
            yield _host(file.rpartition("/")[2].replace(".", "-"), file, "File")


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
