"""What `kubevip manifest` prints: objects that fit one another, and no more rights than are used."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubevip import Desired, Kind, NodeCheck, structure
from kubevip._cli import main
from kubevip_control_plane import _credentials
from kubevip_control_plane._installers import INSTALLERS
from kubevip_control_plane._manifest_command import _wanted, configure
from kubevip_control_plane._pod import CAPABILITIES
from kubevip_control_plane._rights import SERVICE_RIGHTS, config_map_rights, election_rights
from kubevip_election_k8s._config import LeaseConfig
from kubevip_source_file._reading import read_configuration

ROOT = Path(__file__).parents[3]

K8S = ("daemonset", "--election", "k8s", "--vip", "192.168.0.75", "--vip", "2001:db8::75", "--interface", "eth0")
RAFT = ("daemonset", "--vip", "192.168.0.75", "--members", "n1=192.168.0.70,n2=192.168.0.71, n3=192.168.0.72")
EVERY = [
    ("pod",),
    ("pod", "--election", "k8s"),
    ("pod", "--election", "k8s", "--installer", "k3s"),
    ("daemonset",),
    K8S,
    RAFT,
    ("deployment", "--namespace", "shop", "--interface", "eth0"),
    ("rbac",),
    ("rbac", "--local-policy"),
]


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


WITH_POD = [arguments for arguments in EVERY if arguments[0] != "rbac"]


def words(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments)


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
            assert it["subjects"] == [{"kind": "ServiceAccount", "name": "kubevip", "namespace": namespace}]
            role = objects[it["roleRef"]["kind"]]
            assert role["metadata"]["name"] == it["roleRef"]["name"]
    if arguments[0] != "rbac":
        named = pod_of(objects).get("serviceAccountName")
        assert (named is not None) == ("ServiceAccount" in objects)


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
