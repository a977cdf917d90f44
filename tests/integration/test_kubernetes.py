"""`kubevip run` beside an API server, as its manifests and docs/kubernetes.md say: what is written there is served.

The API server is a process on a host of the lab: a real one where its programs are found, else that of
`kubevip_k8s.testing`. Both know rights, and kubevip has there those that `kubevip manifest` gives to it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration import looking

from kubevip.control import Client
from kubevip_k8s import CONFIG_MAPS, ENDPOINT_SLICES, EVENTS, LEASES, NAMESPACES, SERVICES, Resource
from kubevip_k8s.testing import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from kubevip_k8s.testing.http import write_kubeconfig
from kubevip_lab import _kernel, _sandbox
from kubevip_lab._api_server import ADDRESS, PORT, ApiServer, open_api_server
from kubevip_lab._daemon import Daemon
from kubevip_lab._host import Host
from kubevip_lab._kubevip import Kubevip, prepare_kubevip
from kubevip_lab._lab import BACKEND_PORT, Lab, open_lab
from kubevip_lab._lab import plan as lab_plan

pytestmark = [pytest.mark.netns, pytest.mark.slow]

VIP, OTHER_VIP = "10.77.0.100", "10.77.0.101"
BACKENDS = {"b1": "10.77.0.21", "b2": "10.77.0.22"}
DEADLINE_SECONDS = 30.0
eventually = partial(looking.eventually, seconds=DEADLINE_SECONDS)
NOTHING: dict[str, object] = {"addresses": [], "sockets": "", "tables": ""}
GRANTED = (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)


class Kubectl:
    """The administrator of the cluster, at the host `client`."""

    def __init__(self, host: Host, server: ApiServer) -> None:
        self._host = host
        self.authority = server.kubeconfig.with_name("ca.crt")
        settings = yaml.safe_load(server.kubeconfig.read_text())
        self._token = settings["users"][0]["user"]["token"]
        self._context = ssl.create_default_context(cafile=str(self.authority))

    def ask(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        with self._host.entered():
            connection = http.client.HTTPSConnection(str(ADDRESS), PORT, timeout=5, context=self._context)
            connection.connect()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        assert response.status < 400, text
        return json.loads(text)

    def create(self, resource: Resource, namespace: str, value: dict[str, Any]) -> None:
        self.ask("POST", resource.path(namespace), {"kind": resource.kind, "apiVersion": resource.api_version, **value})

    def change(self, resource: Resource, namespace: str, name: str, change: object) -> None:
        self.ask("PATCH", resource.path(namespace, name), change, "application/merge-patch+json")

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        self.ask("DELETE", resource.path(namespace, name))

    def get(self, resource: Resource, namespace: str, name: str) -> Any:
        return self.ask("GET", resource.path(namespace, name))

    def apply(self, manifests: list[Any]) -> None:
        """Create those that give rights."""
        resources = {resource.kind: resource for resource in GRANTED}
        for each in manifests:
            if (resource := resources.get(each["kind"])) is not None:
                self.create(resource, each["metadata"].get("namespace", ""), each)

    def token(self, namespace: str, service_account: str) -> str:
        answer = self.ask("POST", SERVICE_ACCOUNTS.path(namespace, service_account, "token"), {})
        return str(answer["status"]["token"])

    def ingress(self, name: str) -> Any:
        """Return what the status of a Service of the namespace `shop` says of its addresses."""
        return self.get(SERVICES, "shop", name).get("status", {}).get("loadBalancer", {}).get("ingress")

    def told(self, reason: str, word: str = "") -> list[str]:
        """Return the notes of the Events of this reason that have `word` in them."""
        notes = [it["note"] for it in self.ask("GET", EVENTS.path())["items"] if it["reason"] == reason]
        return [note for note in notes if word in note]


def manifests(*arguments: str) -> list[Any]:
    """Return what `kubevip manifest` prints."""
    command = [sys.executable, "-m", "kubevip", "manifest", *arguments]
    return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True).stdout))


@contextmanager
def cluster_of(
    nodes: int, directory: Path, make: Callable[[Any, Any, Kubectl], Kubevip]
) -> Generator[tuple[Lab, Kubevip, Kubectl]]:
    """Run an API server with the namespace `shop`, then what `make` prepares."""
    made: list[tuple[Kubevip, Kubectl]] = []

    with ExitStack() as stack:

        def prepare(network: Any, plan: Any) -> Kubevip:
            kubectl = Kubectl(network.hosts["client"], stack.enter_context(open_api_server(network, directory)))
            kubectl.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
            subject = make(network, plan, kubectl)
            made.append((subject, kubectl))
            return subject

        with open_lab(lab_plan(nodes=nodes, backends=2), prepare) as lab:
            yield lab, *made[0]


def service(name: str, *ports: tuple[str, int], **more: Any) -> dict[str, Any]:
    listed = [{"name": port, "port": number, "protocol": "TCP", "targetPort": "http"} for port, number in ports]
    metadata = {"name": name, **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"ports": listed, **more}}


def slice_of(name: str, port: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-x1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": BACKEND_PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def entries(*listed: dict[str, Any]) -> dict[str, Any]:
    """Return the data of the ConfigMap."""
    return {"data": {"plndr-services": json.dumps({"services": listed})}}


def entry(port: int, name: str = "web", vip: str = VIP) -> dict[str, Any]:
    return {"vip": vip, "port": port, "type": "TCP", "uid": f"uid-of-{name}", "serviceName": name}


def get(host: Host, port: int, address: str = VIP) -> str:
    """Ask over a new connection and return the body of the answer."""
    with host.entered(), socket.create_connection((address, port), timeout=2) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := connection.recv(4096):
            answer += data
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def addresses(host: Host) -> list[str]:
    devices = json.loads(looking.output(host, "ip", "-j", "address", "show"))
    found = [each["local"] for device in devices for each in device["addr_info"]]
    return [address for address in found if address in (VIP, OTHER_VIP)]


def left_behind(host: Host) -> dict[str, object]:
    """Return what a node has of what kubevip makes on it; all of it false when nothing is left."""
    sockets = looking.output(host, "ss", "-Hltn")
    return {"addresses": addresses(host), "sockets": sockets, "tables": looking.output(host, "nft", "list", "ruleset")}


def bad(line: str) -> bool:
    """Say whether a line of the log tells of a failure or of a right that is missing."""
    return any(word in line for word in ("Traceback", "failed", "forbidden", "cannot be"))


def stop(daemon: Daemon) -> int:
    assert daemon.pid is not None
    os.kill(daemon.pid, signal.SIGTERM)
    return daemon.wait(10)


def status(subject: Kubevip, node: str = "n1") -> Any:
    return Client(subject.state[node]).request("status")


def run_pods(
    network: Any, plan: Any, directory: Path, kubectl: Kubectl, controller: Any, account: str, **more: str
) -> Kubevip:
    """Prepare a daemon on each node as a DaemonSet or a Deployment describes its Pods, as the account that it names."""
    namespace, spec = controller["metadata"]["namespace"], controller["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == account
    _kernel.mount("tmpfs", str(Path("/var/run").resolve()))  # in the sandbox only
    place = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    place.mkdir(parents=True)
    (place / "token").write_text(kubectl.token(namespace, account))
    (place / "ca.crt").write_bytes(kubectl.authority.read_bytes())
    (place / "namespace").write_text(namespace)

    (container,) = spec["containers"]
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    subject = Kubevip()
    for node in plan.nodes:
        state = subject.state[node] = directory / node
        variables |= {"NODE_NAME": node, "KUBEVIP_STATE_DIR": str(state), **more}
        variables |= {"KUBERNETES_SERVICE_HOST": str(ADDRESS), "KUBERNETES_SERVICE_PORT": str(PORT)}
        subject.daemons[node] = Daemon(
            host=network.hosts[node],
            arguments=[sys.executable, "-m", "kubevip_keeper", *container["args"]],
            log=directory / f"{node}.log",
            environment={**os.environ, **variables},
        )
    return subject


def make_pod(directory: Path) -> Callable[[Any, Any, Kubectl], Kubevip]:
    """Do what `kubevip manifest deployment --namespace shop` says: rights, arguments, variables, no file."""

    def make(network: Any, plan: Any, kubectl: Kubectl) -> Kubevip:
        printed = manifests("deployment", "--namespace", "shop")
        kubectl.apply(printed)
        return run_pods(network, plan, directory, kubectl, printed[-1], "kubevip-configmap")

    return make


def test_the_entries_of_a_config_map_are_served_as_they_come_change_and_go(tmp_path: Path) -> None:
    """Scenario 78: the Deployment of the manifest, with its rights and without a file; nothing is left of what goes."""

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with cluster_of(1, tmp_path, make_pod(tmp_path)) as (lab, subject, kubectl):
            node = lab.network.hosts["n1"]
            seen["instance"] = eventually(lambda: status(subject)["instance"], "the daemon")
            seen["nothing yet"] = addresses(node)
            kubectl.create(SERVICES, "shop", service("web", ("http", 80), ("admin", 81)))
            web = slice_of("web", "http", BACKENDS["b1"])
            web["ports"].append({"name": "admin", "port": 1, "protocol": "TCP"})
            kubectl.create(ENDPOINT_SLICES, "shop", web)
            kubectl.create(CONFIG_MAPS, "shop", {"metadata": {"name": "plndr"}, **entries(entry(80))})
            seen["balanced"] = eventually(lambda: get(lab.client, 80), "an answer")
            seen["lease"] = kubectl.get(LEASES, "shop", "plunder-lock")["spec"]["holderIdentity"].startswith("n1")

            ready = [{"addresses": [BACKENDS["b2"]], "conditions": {"ready": True}}]
            kubectl.change(ENDPOINT_SLICES, "shop", "web-x1", {"endpoints": ready})
            seen["another backend"] = eventually(lambda: (now := get(lab.client, 80)) != "b1" and now, "b2")
            seen["held"] = addresses(node)

            kubectl.change(SERVICES, "shop", "web", {"spec": service("web", ("http", 8000))["spec"]})
            kubectl.change(CONFIG_MAPS, "shop", "plndr", entries(entry(8000)))
            seen["another port"] = eventually(lambda: get(lab.client, 8000), "an answer at the new port")
            eventually(lambda: len(status(subject)["listeners"]) == 1, "one listener")

            kubectl.change(CONFIG_MAPS, "shop", "plndr", {"data": {"plndr-services": "{"}})
            seen["no JSON"] = eventually(lambda: kubectl.told("Refused", "JSON"), "an Event")
            seen["still"] = get(lab.client, 8000)

            kubectl.change(CONFIG_MAPS, "shop", "plndr", entries())
            eventually(lambda: left_behind(node) == NOTHING, "nothing left of an entry that went")
            seen["refused"] = status(subject)["config"]["refused"]

            kubectl.change(CONFIG_MAPS, "shop", "plndr", entries(entry(8000), entry(8000, "shop", OTHER_VIP)))
            eventually(lambda: sorted(addresses(node)) == [VIP, OTHER_VIP], "both addresses")
            kubectl.delete(CONFIG_MAPS, "shop", "plndr")
            eventually(lambda: left_behind(node) == NOTHING, "nothing left of a ConfigMap that is deleted")

            kubectl.create(CONFIG_MAPS, "shop", {"metadata": {"name": "plndr"}, **entries(entry(8000))})
            seen["again"] = eventually(lambda: get(lab.client, 8000), "an answer")
            daemon = subject.daemons["n1"]
            seen["exit"] = stop(daemon)
            seen["of a daemon that stopped"] = left_behind(node)
            seen["released"] = kubectl.get(LEASES, "shop", "plunder-lock")["spec"].get("holderIdentity", "")
            seen["trouble"] = [line for line in daemon.last_lines(1000) if bad(line)]
        return seen

    seen = _sandbox.call(body)
    assert "data.plndr-services: is not JSON" in seen.pop("no JSON")[0]
    assert seen == {
        "instance": "shop",
        "nothing yet": [],
        "balanced": "b1",
        "lease": True,
        "another backend": "b2",
        "held": [VIP],
        "another port": "b2",
        "still": "b2",
        "refused": None,
        "again": "b2",
        "exit": 0,
        "of a daemon that stopped": NOTHING,
        "released": "",
        "trouble": [],
    }


def make_services(directory: Path, more: str = "") -> Callable[[Any, Any, Kubectl], Kubevip]:
    """Write the file of docs/kubernetes.md, and a kubeconfig with the rights of `kubevip manifest rbac`."""

    def make(network: Any, plan: Any, kubectl: Kubectl) -> Kubevip:
        kubectl.apply(manifests("rbac"))
        kubeconfig = directory / "services.conf"
        token = kubectl.token("kube-system", "kubevip")
        write_kubeconfig(kubeconfig, f"https://{ADDRESS}:{PORT}", token, authority=kubectl.authority.read_bytes())
        file = directory / "config.yaml"
        file.write_text(f"""\
apiVersion: kubevip/v1
sources:
  k8s: {{mode: services, addresses: [10.77.0.96/28], kubeconfig: {kubeconfig}{more}}}
""")
        subject = prepare_kubevip(network, plan, directory, config=file)
        for daemon in subject.daemons.values():
            daemon.arguments = ["k8s,arp,tcp" if it == "raft,arp,tcp" else it for it in daemon.arguments]
            daemon.arguments.remove("--insecure")
        return subject

    return make


def test_a_service_gets_its_address_and_status_and_keeps_both_when_its_holder_stops(tmp_path: Path) -> None:
    """Two nodes with the file of the documentation; kubevip balances."""

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with cluster_of(2, tmp_path, make_services(tmp_path, ", balance: kubevip")) as (lab, subject, kubectl):
            hosts = [lab.network.hosts[name] for name in lab.nodes]

            def holders() -> list[str]:
                return [host.name for host in hosts if VIP in addresses(host)]

            def are_clean() -> bool:
                return all(left_behind(host) == NOTHING for host in hosts)

            asked = {"annotations": {"kube-vip.io/loadbalancerIPs": VIP}}
            kubectl.create(SERVICES, "shop", service("web", ("http", 80), type="LoadBalancer", metadata=asked))
            kubectl.create(ENDPOINT_SLICES, "shop", slice_of("web", "http", BACKENDS["b1"]))
            seen["balanced"] = eventually(lambda: get(lab.client, 80), "an answer")
            seen["status"] = eventually(lambda: kubectl.ingress("web"), "a status")
            (before,) = holders()
            (first,) = (node for node in lab.nodes if node != before)
            Client(subject.state[before]).request("move", {"group": "services", "to": first})
            seen["moved"] = eventually(lambda: holders() != [before] and holders(), "another holder") == [first]
            seen["goes on there"] = eventually(lambda: get(lab.client, 80), "an answer of the other")
            eventually(lambda: kubectl.told("AddressHeld", f"by node {first}"), "an Event of the other")

            seen["exit"] = stop(subject.daemons[first])
            seen["the other holds"] = eventually(lambda: holders() != [first] and holders(), "a holder") != [first]
            seen["goes on"] = eventually(lambda: get(lab.client, 80), "an answer of the other")
            seen["status goes on"] = kubectl.ingress("web")
            seen["of the first"] = left_behind(lab.network.hosts[first])

            kubectl.create(
                SERVICES, "shop", service("far", ("http", 80), type="LoadBalancer", loadBalancerIP="10.1.1.1")
            )
            seen["not permitted"] = eventually(lambda: kubectl.told("Refused"), "an Event")
            seen["its status"] = kubectl.ingress("far")

            kubectl.change(SERVICES, "shop", "web", {"spec": {"type": "ClusterIP"}})
            eventually(lambda: not kubectl.ingress("web"), "an empty status")
            eventually(are_clean, "nothing left of a Service that went")
            kubectl.change(SERVICES, "shop", "web", {"spec": {"type": "LoadBalancer"}})
            seen["again"] = eventually(lambda: get(lab.client, 80), "an answer")
            eventually(lambda: kubectl.ingress("web"), "a status")
            kubectl.delete(SERVICES, "shop", "web")
            eventually(are_clean, "nothing left of a Service that is deleted")
            held = kubectl.told("AddressHeld")
            seen["told"] = all(f"{VIP} is held by node {node}" in held for node in lab.nodes)
            seen["trouble"] = [line for it in subject.daemons.values() for line in it.last_lines(1000) if bad(line)]
        return seen

    seen = _sandbox.call(body)
    (refusal,) = seen.pop("not permitted")
    assert "10.1.1.1 is outside of what this source may use (10.77.0.96/28)" in refusal
    shown = [{"ip": VIP, "ipMode": "Proxy"}]
    assert seen == {
        "balanced": "b1",
        "status": shown,
        "moved": True,
        "goes on there": "b1",
        "exit": 0,
        "the other holds": True,
        "goes on": "b1",
        "status goes on": shown,
        "of the first": NOTHING,
        "its status": None,
        "again": "b1",
        "told": True,
        "trouble": [],
    }


def test_a_service_whose_address_a_neighbour_has_is_claimed_by_no_node_until_it_is_free(tmp_path: Path) -> None:
    """It came after the first takeover, and the second node leads in a later term."""

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with cluster_of(2, tmp_path, make_services(tmp_path, ", balance: kubevip")) as (lab, subject, kubectl):
            hosts = [lab.network.hosts[name] for name in lab.nodes]

            def holders(address: str) -> list[str]:
                return [host.name for host in hosts if address in addresses(host)]

            def refusals(node: str) -> int:
                lines = subject.daemons[node].last_lines(100_000)
                return sum(f"{OTHER_VIP} is in use on the network of e0 by" in line for line in lines)

            def create(name: str, address: str) -> None:
                asked = {"annotations": {"kube-vip.io/loadbalancerIPs": address}}
                kubectl.create(SERVICES, "shop", service(name, ("http", 80), type="LoadBalancer", metadata=asked))
                kubectl.create(ENDPOINT_SLICES, "shop", slice_of(name, "http", BACKENDS["b1"]))

            create("web", VIP)
            eventually(lambda: get(lab.client, 80), "an answer")
            looking.output(lab.client, "ip", "address", "add", f"{OTHER_VIP}/32", "dev", "e0")
            create("taken", OTHER_VIP)
            eventually(lambda: any(map(refusals, lab.nodes)), "a refusal")
            seen["claimed"] = holders(OTHER_VIP)
            (first,) = eventually(lambda: holders(VIP), "a holder of the other address")
            (second,) = (node for node in lab.nodes if node != first)
            stop(subject.daemons[first])
            eventually(lambda: refusals(second), "a refusal of the second node")
            seen["claimed by the second"] = holders(OTHER_VIP)
            eventually(lambda: holders(VIP) == [second], "the other address at the second node")
            looking.output(lab.client, "ip", "address", "del", f"{OTHER_VIP}/32", "dev", "e0")
            # it is tried again after a pause that doubles
            looking.eventually(lambda: holders(OTHER_VIP) == [second], "an address that is free now", 60)
        return seen

    assert _sandbox.call(body) == {"claimed": [], "claimed by the second": []}


def make_daemonset(directory: Path) -> Callable[[Any, Any, Kubectl], Kubevip]:
    """Do what `kubevip manifest daemonset --services` says: rights, configuration, variables."""

    def make(network: Any, plan: Any, kubectl: Kubectl) -> Kubevip:
        printed = manifests("daemonset", "--services", "--addresses", "10.77.0.96/28", "--local-policy")
        kubectl.apply(printed)
        (configuration,) = (it["data"]["config.yaml"] for it in printed if it["kind"] == "ConfigMap")
        file = directory / "config.yaml"  # mounted at its usual place
        file.write_text(configuration)
        return run_pods(network, plan, directory, kubectl, printed[-1], "kubevip-services", KUBEVIP_CONFIG=str(file))

    return make


def test_a_service_of_the_policy_local_follows_its_endpoints_from_node_to_node(tmp_path: Path) -> None:
    """The DaemonSet of the manifest, with its rights. Nobody holds an address before a node has an endpoint of it."""

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with cluster_of(2, tmp_path, make_daemonset(tmp_path)) as (lab, subject, kubectl):
            hosts = [lab.network.hosts[name] for name in lab.nodes]

            def holders(vip: str) -> list[str]:
                return [host.name for host in hosts if vip in addresses(host)]

            local = {"loadBalancerIP": VIP, "externalTrafficPolicy": "Local"}
            kubectl.create(SERVICES, "shop", service("web", ("http", 80), type="LoadBalancer", **local))
            other = service("other", ("http", 80), type="LoadBalancer", loadBalancerIP=OTHER_VIP)
            kubectl.create(SERVICES, "shop", other)
            eventually(lambda: holders(OTHER_VIP), "a holder of the other Service")
            seen["without endpoints"] = holders(VIP)

            web = slice_of("web", "http", BACKENDS["b1"])
            web["endpoints"][0]["nodeName"] = "n2"
            kubectl.create(ENDPOINT_SLICES, "shop", web)
            seen["on its node"] = eventually(lambda: holders(VIP), "a holder")
            eventually(lambda: kubectl.ingress("web"), "a status")
            web["endpoints"][0]["nodeName"] = "n1"
            kubectl.change(ENDPOINT_SLICES, "shop", "web-x1", {"endpoints": web["endpoints"]})
            seen["on its new node"] = eventually(lambda: (now := holders(VIP)) != ["n2"] and now, "another holder")
            seen["status"] = kubectl.ingress("web")
            seen["lease"] = kubectl.get(LEASES, "kube-system", f"plndr-svcs-lock-{VIP}")["spec"]["holderIdentity"][:2]
            seen["instance"] = status(subject)["instance"]
            seen["trouble"] = [line for it in subject.daemons.values() for line in it.last_lines(1000) if bad(line)]
        return seen

    assert _sandbox.call(body) == {
        "without endpoints": [],
        "on its node": ["n2"],
        "on its new node": ["n1"],
        "status": [{"ip": VIP, "ipMode": "VIP"}],
        "lease": "n1",
        "instance": "kube-svc",
        "trouble": [],
    }
