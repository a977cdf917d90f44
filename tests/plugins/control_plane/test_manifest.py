"""What `kubevip manifest` prints: objects that fit one another, and no more rights than are used."""

from __future__ import annotations

import argparse
import re
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubevip import Desired, Kind, NodeCheck, structure
from kubevip._cli import main
from kubevip._plugins import PluginRegistry
from kubevip._resolve import resolve
from kubevip_control_plane import _credentials
from kubevip_control_plane._installers import INSTALLERS
from kubevip_control_plane._manifest_command import _wanted, configure
from kubevip_control_plane._pod import CAPABILITIES
from kubevip_control_plane._rights import SERVICE_RIGHTS, config_map_rights, election_rights
from kubevip_election_k8s._config import LeaseConfig
from kubevip_keeper._place import instance_name
from kubevip_source_file._reading import read_configuration
from kubevip_source_k8s._config import K8sSourceConfig, Mode

ROOT = Path(__file__).parents[3]

K8S = ("daemonset", "--election", "k8s", "--vip", "192.168.0.75", "--vip", "2001:db8::75", "--interface", "eth0")
RAFT = ("daemonset", "--vip", "192.168.0.75", "--members", "n1=192.168.0.70,n2=192.168.0.71, n3=192.168.0.72")
SERVICES = ("--services", "--addresses", "192.168.0.96/27,2001:db8:1::/64")
EVERY = [
    ("pod",),
    ("pod", "--election", "k8s"),
    ("pod", "--election", "k8s", "--installer", "k3s"),
    ("daemonset",),
    K8S,
    RAFT,
    ("daemonset", *SERVICES),
    ("daemonset", *SERVICES, "--local-policy", "--namespace", "shop"),
    (*K8S, *SERVICES),
    (*RAFT, *SERVICES),
    ("deployment", "--namespace", "shop", "--interface", "eth0"),
    ("rbac",),
    ("rbac", "--local-policy"),
]
WITH_POD = [arguments for arguments in EVERY if arguments[0] != "rbac"]


def words(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments)


def manifest(*arguments: str) -> dict[str, Any]:
    """Return the objects by kind; there is at most one of each."""
    parser = argparse.ArgumentParser()
    configure(parser)
    args = parser.parse_args(arguments)
    from kubevip_control_plane import _objects

    made: list[dict[str, Any]] = getattr(_objects, args.kind)(_wanted(args))
    found = {it["kind"]: it for it in made}
    assert len(found) == len(made)
    return found


def pod_of(objects: dict[str, Any]) -> dict[str, Any]:
    for kind in ("DaemonSet", "Deployment"):
        if kind in objects:
            spec: dict[str, Any] = objects[kind]["spec"]["template"]["spec"]
            return spec
    pod: dict[str, Any] = objects["Pod"]["spec"]
    return pod


@pytest.mark.parametrize("arguments", EVERY, ids=words)
def test_what_is_printed_is_yaml_of_the_same_objects(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", *arguments]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {it["kind"]: it for it in printed} == manifest(*arguments)


@pytest.mark.parametrize("arguments", EVERY, ids=words)
def test_all_objects_are_of_the_namespace_and_the_account_is_there_that_they_name(arguments: tuple[str, ...]) -> None:
    objects = manifest(*arguments)
    namespace = "shop" if "shop" in arguments else "kube-system"
    for kind, it in objects.items():
        assert it["metadata"].get("namespace") == (None if kind.startswith("Cluster") else namespace)
        if kind.endswith("Binding"):
            account = objects["ServiceAccount"]["metadata"]["name"]
            assert it["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
            role = objects[it["roleRef"]["kind"]]
            assert role["metadata"]["name"] == it["roleRef"]["name"]
    if arguments[0] != "rbac":
        account = objects.get("ServiceAccount", {"metadata": {"name": None}})
        assert pod_of(objects).get("serviceAccountName") == account["metadata"]["name"]


#: What a cluster may run side by side; of each, every way to order it that makes other objects.
SIDE_BY_SIDE: dict[str, list[tuple[str, ...]]] = {
    "pod": [("pod",)],
    "daemonset": [K8S, RAFT, (*RAFT, "--services")],
    "services": [("daemonset", "--services"), ("daemonset", "--services", "--local-policy")],
    "deployment": [("deployment",)],
    "rbac": [("rbac",), ("rbac", "--local-policy")],
}
NAMESPACES = ("default", "kube-system", "services", "shop")


def names(kind: str) -> set[tuple[str, str, str]]:
    """Return kind, namespace and name of all objects that a manifest makes in any of the namespaces."""
    made = [
        it
        for arguments in SIDE_BY_SIDE[kind]
        for namespace in NAMESPACES
        for it in manifest(*arguments, "--namespace", namespace).values()
    ]
    return {(it["kind"], it["metadata"].get("namespace", ""), it["metadata"]["name"]) for it in made}


def test_no_manifest_overwrites_what_another_has_made_in_whatever_namespaces() -> None:
    for one, other in combinations(SIDE_BY_SIDE, 2):
        assert names(one) & names(other) == set()


def test_what_is_in_no_namespace_is_another_one_for_each_namespace() -> None:
    named = {manifest("rbac", "--namespace", it)["ClusterRoleBinding"]["metadata"]["name"] for it in NAMESPACES}
    assert len(named) == len(NAMESPACES)


def selector(objects: dict[str, Any]) -> dict[str, str]:
    (it,) = (it for kind, it in objects.items() if kind in ("DaemonSet", "Deployment"))
    selected: dict[str, str] = it["spec"]["selector"]["matchLabels"]
    assert selected == it["spec"]["template"]["metadata"]["labels"]
    return selected


def test_no_controller_selects_the_pods_of_another_manifest() -> None:
    of_namespace = selector(manifest("deployment"))
    static = manifest("pod")["Pod"]["metadata"]["labels"]
    selected = (selector(manifest(*K8S)), selector(manifest("daemonset", "--services")), of_namespace, static)
    assert len({labels["app.kubernetes.io/instance"] for labels in selected}) == 4
    (apart,) = pod_of(manifest("deployment"))["affinity"]["podAntiAffinity"].values()
    assert apart[0]["labelSelector"]["matchLabels"] == of_namespace


def instance(arguments: tuple[str, ...], namespace: str) -> str:
    """Return what the Pod is called on its node, in a namespace."""
    (container,) = pod_of(manifest(*arguments, "--namespace", namespace))["containers"]
    environment = {it["name"]: it["value"] for it in container["env"] if "value" in it}
    return namespace if "vip_configmap" in environment else instance_name(None, environment)


@pytest.mark.parametrize("namespace", ["default", "kube-system", "shop"])
def test_an_instance_of_the_control_plane_shares_its_name_with_no_namespace(namespace: str) -> None:
    """On one node two instances of one name, and with two state directories, would refuse one another."""
    assert instance(("deployment",), namespace) == namespace
    assert instance(("pod",), namespace) == instance(K8S, namespace) == "kube-api"
    assert instance(("daemonset", "--services"), namespace) == "kube-svc"
    for taken in ("kube-api", "kube-svc"):
        assert main(["manifest", "deployment", "--namespace", taken]) == 2


@pytest.mark.parametrize("arguments", WITH_POD, ids=words)
def test_a_pod_whose_instance_cannot_serve_is_not_ready_and_holds_a_roll_out_up(arguments: tuple[str, ...]) -> None:
    objects = manifest(*arguments)
    (container,) = pod_of(objects)["containers"]
    assert container["readinessProbe"]["exec"]["command"] == ["kubevip", "status", "--ready"]
    assert "livenessProbe" not in container
    for kind, strategy in (("DaemonSet", "updateStrategy"), ("Deployment", "strategy")):
        if kind in objects:
            assert objects[kind]["spec"][strategy]["rollingUpdate"]["maxUnavailable"] == 1


@pytest.mark.parametrize("arguments", WITH_POD, ids=words)
def test_a_pod_may_touch_the_network_and_nothing_else(arguments: tuple[str, ...]) -> None:
    spec = pod_of(manifest(*arguments))
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": list(CAPABILITIES)}
    assert (security["readOnlyRootFilesystem"], security["allowPrivilegeEscalation"]) == (True, False)
    assert "privileged" not in security
    assert spec["hostNetwork"] is True
    assert not {"hostPID", "hostIPC"} & spec.keys()
    assert [it["name"] for it in container["volumeMounts"] if not it.get("readOnly")] == ["state"]


def test_the_capabilities_are_those_of_the_systemd_unit() -> None:
    (unit,) = ROOT.glob("examples/**/*.service")
    bounded = re.search(r"^CapabilityBoundingSet=(.*)$", unit.read_text(), re.MULTILINE)
    assert bounded is not None
    assert {f"CAP_{name}" for name in CAPABILITIES} <= set(bounded[1].split())


@pytest.mark.parametrize("arguments", WITH_POD, ids=words)
def test_a_pod_remembers_on_the_node_knows_its_node_and_is_told_nothing_else(arguments: tuple[str, ...]) -> None:
    spec = pod_of(manifest(*arguments))
    (container,) = spec["containers"]
    environment = {it["name"]: it.get("value") or it["valueFrom"]["fieldRef"]["fieldPath"] for it in container["env"]}
    assert environment["NODE_NAME"] == "spec.nodeName"
    volumes = {it["name"]: it for it in spec["volumes"]}
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    assert mounts["state"] == environment["KUBEVIP_STATE_DIR"]
    assert volumes["state"]["hostPath"]["type"] == "DirectoryOrCreate"
    assert spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] >= 20  # what the keeper gives a stop, and a little


def test_a_static_pod_refers_to_no_object_of_the_api() -> None:
    for arguments in (it for it in EVERY if it[0] == "pod"):
        objects = manifest(*arguments)
        assert list(objects) == ["Pod"]
        spec = pod_of(objects)
        assert "serviceAccountName" not in spec
        assert spec["automountServiceAccountToken"] is False
        assert all("hostPath" in volume for volume in spec["volumes"])


@pytest.mark.parametrize("installer", list(INSTALLERS))
def test_what_the_check_of_the_api_server_reads_is_there_file_by_file(installer: str) -> None:
    spec = pod_of(manifest("pod", "--installer", installer))
    mounted = {it["mountPath"] for it in spec["containers"][0]["volumeMounts"]}
    (files,) = (it for it in _credentials.INSTALLERS if str(it.ca) in mounted)
    assert {str(path) for path in files.paths} <= mounted
    paths = {it["hostPath"]["path"]: it["hostPath"]["type"] for it in spec["volumes"]}
    assert {paths[str(path)] for path in files.paths} == {"File"}  # a folder made for want of it would break kubeadm


@pytest.mark.parametrize(("installer", "folder"), [("kubeadm", "/etc/kubernetes"), ("k3s", "/etc/rancher/k3s")])
def test_a_static_pod_sees_every_kubeconfig_that_may_come(installer: str, folder: str) -> None:
    spec = pod_of(manifest("pod", "--election", "k8s", "--installer", installer))
    mounted = [it["mountPath"] for it in spec["containers"][0]["volumeMounts"]]
    assert folder in mounted
    assert ("/etc/kubernetes/pki/ca.crt" in mounted) is False  # it is in that folder, or of another installer


def configuration(*arguments: str) -> Desired:
    text = manifest(*arguments)["ConfigMap"]["data"]["config.yaml"]
    desired, warnings = read_configuration(text.encode(), "config.yaml", {})
    assert warnings == ()
    return desired


def test_the_lease_is_reached_at_the_node_itself_and_never_through_the_virtual_ip() -> None:
    desired = configuration(*K8S)
    (election,) = (it for it in desired.instances if it.kind is Kind.ELECTION)
    assert election.section.provider == "k8s"
    assert election.section.data == {"lease": "kube-system/plndr-cp-lock", "controlPlane": True}
    assert structure(election.section, LeaseConfig).control_plane
    assert [(str(it.address), it.interface, it.group) for it in desired.vips] == [
        ("192.168.0.75", "eth0", "api"),
        ("2001:db8::75", "eth0", "api"),
    ]


@pytest.mark.parametrize("arguments", [("daemonset",), K8S, RAFT], ids=words)
def test_services_are_served_alone_or_beside_virtual_ips_by_a_lease_of_their_own(arguments: tuple[str, ...]) -> None:
    desired = configuration(*arguments, *SERVICES, "--namespace", "kube-system")
    resolved = resolve((desired,), PluginRegistry.load(None))
    assert resolved.problems == ()
    (source,) = resolved.of_kind(Kind.SOURCE)
    assert isinstance(source.config, K8sSourceConfig)
    assert source.config.mode is Mode.SERVICES
    assert source.config.addresses == (ip_network("192.168.0.96/27"), ip_network("2001:db8:1::/64"))
    assert source.config.own_lease == "kube-system/plndr-svcs-lock"
    # on the control plane by way of the node's own API server: the cluster IP may come after the virtual IP
    own_server = {"server": "https://127.0.0.1:6443", "tlsServerName": "kubernetes"}
    assert source.config.access == ({} if arguments == ("daemonset",) else own_server)
    assert len(resolved.vips) == arguments.count("--vip")


def test_services_alone_are_served_on_every_node_from_a_folder_of_their_own() -> None:
    spec = pod_of(manifest("daemonset", "--services"))
    assert "affinity" not in spec
    paths = {it["name"]: it.get("hostPath", {}).get("path") for it in spec["volumes"]}
    assert paths == {"state": "/var/lib/kubevip-kube-svc", "config": None}


def test_the_members_are_those_that_were_given_and_every_node_checks_its_own_api_server() -> None:
    desired = configuration(*RAFT)
    assert [(it.name, str(it.address)) for it in desired.members] == [
        ("n1", "192.168.0.70"),
        ("n2", "192.168.0.71"),
        ("n3", "192.168.0.72"),
    ]
    (group,) = desired.groups
    assert group.health_check == NodeCheck(check="api")
    assert desired.load_balancers == ()


def test_a_daemonset_finds_control_plane_nodes_by_the_key_of_their_label() -> None:
    affinity = pod_of(manifest("daemonset"))["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]


def test_raft_needs_no_right_at_all() -> None:
    assert set(manifest(*RAFT)) == {"ConfigMap", "DaemonSet"}
    assert pod_of(manifest(*RAFT))["automountServiceAccountToken"] is False


def test_rights_are_to_the_lease_and_the_config_map_by_name() -> None:
    rules = manifest("deployment", "--namespace", "shop")["Role"]["rules"]
    granted = {(rule["resources"][0], verb): rule.get("resourceNames") for rule in rules for verb in rule["verbs"]}
    assert granted["leases", "update"] == ["plunder-lock"]
    assert granted["configmaps", "watch"] == ["plndr"]
    assert granted["leases", "create"] is None
    resources = {"leases", "configmaps", "services", "endpoints", "endpointslices", "events"}
    assert {resource for resource, _ in granted} == resources


def test_no_right_is_to_everything_or_to_secrets_and_each_says_why() -> None:
    for right in (*election_rights("x"), *config_map_rights("x"), *SERVICE_RIGHTS):
        assert "*" not in (right.group, right.resource, *right.verbs)
        assert right.resource not in ("secrets", "pods", "nodes")
        assert right.why


def test_the_seeds_deployment_has_one_pod_a_node_and_what_the_environment_says() -> None:
    objects = manifest("deployment", "--namespace", "shop", "--configmap", "lb", "--replicas", "5")
    spec = pod_of(objects)
    (container,) = spec["containers"]
    assert container["args"] == ["run", "--plugins", "k8s,arp,tcp"]
    environment = {it["name"]: it.get("value") for it in container["env"]}
    assert (environment["vip_configmap"], environment["vip_arp"]) == ("lb", "true")
    assert "vip_interface" not in environment
    assert objects["Deployment"]["spec"]["replicas"] == 5
    (apart,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    paths = {it["name"]: it["hostPath"]["path"] for it in spec["volumes"]}
    assert paths == {"state": "/var/lib/kubevip-shop"}  # beside that of a control plane on the same node


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("daemonset", "--vip", "192.168.0.75"), "--vip: raft has to know its members, too"),
        (("daemonset", "--vip", "vip.example", "--election", "k8s"), "--vip: expected an IPv4 or IPv6 address"),
        (
            ("daemonset", "--vip", "10.0.0.9", "--vip", "10.0.0.9", "--election", "k8s"),
            "--vip: 10.0.0.9 is given twice",
        ),
        (("daemonset", "--vip", "10.0.0.9", "--members", "a=10.0.0.1,b=10.0.0.2"), "--members: two cannot outvote"),
        (("daemonset", "--vip", "10.0.0.9", "--members", "a=10.0.0.1,a=10.0.0.2,b=10.0.0.3"), "--members: a is given"),
        (
            ("daemonset", "--vip", "10.0.0.9", "--members", "a=10.0.0.1,b=10.0.0.1,c=10.0.0.3"),
            "10.0.0.1 is given twice",
        ),
        (("daemonset", "--vip", "10.0.0.1", "--members", "a=10.0.0.1"), "--vip: 10.0.0.1 is the address of a member"),
        (("daemonset", "--vip", "10.0.0.9", "--members", "a=10.0.0.1,b=fd00::2,c=fd00::3"), "of one family"),
        (("daemonset", "--services", "--addresses", "192.168.0.80/27"), "--addresses: expected NETWORK,..."),
        (("daemonset", "--addresses", "192.168.0.64/27"), "--addresses: are those of Services"),
        (("daemonset", "--local-policy"), "--local-policy: is about Services"),
        (("daemonset", "--members", "n1=10.0.0.1"), "--members: belongs to --election raft together with --vip"),
        (("daemonset", "--vip", "10.0.0.9", "--members", "n1"), "--members: expected NAME=ADDRESS,..., got 'n1'"),
        (("pod", "--namespace", "Kube System"), "--namespace: expected up to 63"),
        (("pod", "--image", "a b"), "--image: expected a reference"),
        (("deployment", "--configmap", "../x"), "--configmap: expected up to 63"),
        (("deployment", "--replicas", "0"), "--replicas: expected 1-100"),
        (("deployment", "--interface", "a/b"), "--interface: expected the name of a device"),
    ],
)
def test_an_order_that_cannot_be_is_refused_with_the_option_and_prints_nothing(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert problem in said.err
