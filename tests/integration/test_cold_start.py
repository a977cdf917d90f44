"""A cluster that starts cold, with clients that know the virtual IP alone: the static Pods of `kubevip manifest pod`.

Each node's disk is a folder, its Pod a process that sees of the disk what the Pod mounts. The one API server is real.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.apiserver.servers import missing
from tests.integration import looking

from kubevip.control import Client
from kubevip_k8s.testing.http import write_kubeconfig
from kubevip_lab import _sandbox
from kubevip_lab._daemon import Daemon, command_line, descendants
from kubevip_lab._host import Host
from kubevip_lab._kubevip import Kubevip
from kubevip_lab._lab import open_lab
from kubevip_lab._lab import plan as lab_plan

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.apiserver,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

VIP = "10.77.0.100"
NODES = ("n1", "n2", "n3")
POD = Path(__file__).with_name("pod.py")
DOCUMENTED = Path(__file__).parents[2] / "docs" / "kubernetes.md"
DEADLINE_SECONDS = 60.0
eventually = partial(looking.eventually, seconds=DEADLINE_SECONDS)

BY_LEASE = f"""\
apiVersion: kubevip/v1
elections:
  k8s: {{lease: kube-system/plndr-cp-lock, controlPlane: true}}
groups:
  api:
    election: k8s
    healthCheck: {{type: apiserver}}
virtualIPs:
- {{name: api, address: {VIP}, group: api}}
"""


def by_raft(addresses: dict[str, Any]) -> str:
    """Return the file of the documentation, for the lab's nodes."""
    found = re.search(r"```yaml\n(apiVersion.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert found is not None
    text = found.group(1).replace("192.168.0.75", VIP)
    for number, (node, address) in enumerate(addresses.items(), 1):
        text = text.replace(f"name: cp{number}, address: 192.168.0.{69 + number}", f"name: {node}, address: {address}")
    return text


class ApiServer:
    """kube-apiserver and etcd on one node, at all its addresses. Made once; then the server stops and starts."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        arguments = [sys.executable, "-P", "-m", "kubevip_k8s.testing", "--server", "real"]
        arguments += ["--listen", "0.0.0.0:6443", "--name", VIP, "--directory", str(folder)]
        with (folder.parent / "api.log").open("wb") as log:
            self._process = host.start(arguments, output=subprocess.PIPE, errors=log)
        assert self._process.stdout is not None
        self.token = self._token(json.loads(self._process.stdout.readline())["kubeconfig"])
        self._server = next(pid for pid in descendants(self._process.pid) if b"kube-apiserver" in command_line(pid))
        self._command = command_line(self._server).decode().strip("\0").split("\0")
        self._again: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _token(file: str) -> str:
        return str(json.loads(Path(file).read_text())["users"][0]["user"]["token"])

    def stop(self) -> None:
        if self._again is None:
            os.kill(self._server, signal.SIGKILL)
        else:
            self._again.kill()
            self._again.wait()

    def start(self) -> None:
        self._again = self.host.start(self._command)

    def end(self) -> None:
        if self._again is not None:
            self.stop()
        self._process.terminate()
        self._process.wait()


class Rig:
    """Three nodes whose disks have all that an installer and the documentation put there."""

    def __init__(self, folder: Path, election: str) -> None:
        self.folder, self.election = folder, election
        self.subject = Kubevip()
        self.pod = folder / "pod.yaml"
        self.pod.write_bytes(self._printed("manifest", "pod", "--election", election))

    def _printed(self, *arguments: str) -> bytes:
        command = [sys.executable, "-m", "kubevip", *arguments]
        return subprocess.run(command, capture_output=True, check=True, cwd=self.folder).stdout

    def disk(self, node: str) -> Path:
        return self.folder / "disks" / node

    def make(self, network: Any, plan: Any) -> Kubevip:
        text = by_raft(plan.nodes) if self.election == "raft" else BY_LEASE
        if self.election == "raft":
            self._printed("raft", "keys", "init", "--members", ",".join(NODES))
        for node in plan.nodes:
            place = self.disk(node) / "etc/kubevip"
            place.mkdir(parents=True)
            (place / "config.yaml").write_text(text)
            (self.disk(node) / "etc/kubernetes/pki").mkdir(parents=True)
            if self.election == "raft":
                (self.folder / "keys" / node).rename(place / "pki")
            self.subject.state[node] = self.disk(node) / "var/lib/kubevip"
            self.subject.daemons[node] = Daemon(
                host=network.hosts[node],
                arguments=[sys.executable, str(POD), str(self.pod), str(self.disk(node)), node],
                log=self.folder / f"{node}.log",
            )
        self.server = ApiServer(network.hosts["n1"], self._made("api"))
        self.server.stop()
        for node in plan.nodes:
            place = self.disk(node) / "etc/kubernetes"
            (place / "pki/ca.crt").write_bytes((self.folder / "api/ca.crt").read_bytes())
            authority = (self.folder / "api/ca.crt").read_bytes()
            write_kubeconfig(place / "admin.conf", f"https://{VIP}:6443", self.server.token, authority=authority)
        return self.subject

    def _made(self, name: str) -> Path:
        (place := self.folder / name).mkdir()
        return place

    def status(self, node: str) -> Any:
        return Client(self.subject.state[node]).request("status")

    def holder(self) -> str:
        """Return the one node that leads, "" for none."""
        leading = [node for node in NODES if self.status(node)["groups"][0]["is_leading"]]
        return leading[0] if len(leading) == 1 else ""

    def answer(self, client: Host) -> str:
        """Ask the API server as a client that knows the virtual IP and the cluster's CA."""
        context = ssl.create_default_context(cafile=str(self.folder / "api/ca.crt"))
        with client.entered(), urllib.request.urlopen(f"https://{VIP}:6443/readyz", timeout=3, context=context) as it:
            return str(it.read().decode())


@contextmanager
def cold(folder: Path, election: str) -> Generator[tuple[Rig, Host]]:
    rig = Rig(folder, election)
    with open_lab(lab_plan(nodes=3, backends=1), rig.make) as lab:
        try:
            yield rig, lab.client
        finally:
            rig.server.end()


def test_by_raft_the_address_is_there_before_any_api_server_and_leads_to_it(tmp_path: Path) -> None:
    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with cold(tmp_path, "raft") as (rig, client):
            seen["held without an API server"] = bool(eventually(rig.holder, "a holder"))
            rig.server.start()
            seen["answer"] = eventually(lambda: rig.answer(client), "an answer")
            seen["where the API server is"] = eventually(lambda: rig.holder() == "n1", "the node that is well")
            rig.server.stop()
            eventually(lambda: rig.status("n1")["groups"][0]["problem"], "an API server that is ill")
            seen["held through the outage"] = bool(eventually(rig.holder, "a holder"))
            rig.server.start()
            seen["answer again"] = eventually(lambda: rig.answer(client), "an answer")
            seen["starts"] = looking.starts(rig.subject)
        return seen

    assert _sandbox.call(body) == {
        "held without an API server": True,
        "answer": "ok",
        "where the API server is": True,
        "held through the outage": True,
        "answer again": "ok",
        "starts": 3,
    }


def test_by_a_lease_the_address_comes_with_the_api_server_though_the_kubeconfig_leads_to_the_address(
    tmp_path: Path,
) -> None:
    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with cold(tmp_path, "k8s") as (rig, client):
            waits = eventually(lambda: rig.status("n2")["elections"][0].get("waiting"), "a reason to wait")
            seen["waits for"] = "waiting for the API: " in waits and "127.0.0.1:6443" in waits
            seen["holds nothing"] = rig.holder()
            rig.server.start()
            seen["answer"] = eventually(lambda: rig.answer(client), "an answer")
            seen["where the API server is"] = rig.holder()
            rig.server.stop()
            eventually(lambda: not rig.holder(), "nobody who cannot renew the Lease")
            rig.server.start()
            seen["answer again"] = eventually(lambda: rig.answer(client), "an answer")
            seen["starts"] = looking.starts(rig.subject)
        return seen

    assert _sandbox.call(body) == {
        "waits for": True,
        "holds nothing": "",
        "answer": "ok",
        "where the API server is": "n1",
        "answer again": "ok",
        "starts": 3,
    }
