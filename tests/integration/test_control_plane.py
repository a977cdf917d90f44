"""A virtual IP in front of API servers, on hosts of the lab: the address goes where an API server is well.

Raft among the nodes, the check `apiserver` on each, and clients that know nothing but the address.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration import looking
from tests.plugins.control_plane.api_servers import Authority

from kubevip.control import Client
from kubevip_lab import _sandbox
from kubevip_lab._host import DEVICE, Host
from kubevip_lab._kubevip import Kubevip, prepare_kubevip
from kubevip_lab._lab import open_lab
from kubevip_lab._lab import plan as lab_plan

pytestmark = [pytest.mark.netns, pytest.mark.slow]

VIP = "10.77.0.100"
NODES = ("n1", "n2", "n3")
PROGRAM = Path(__file__).with_name("api_server.py")
DEADLINE_SECONDS = 40.0
eventually = partial(looking.eventually, seconds=DEADLINE_SECONDS)


class Rig:
    """Three nodes of a control plane. Their API servers come, go and fall ill as the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "pki" / "ca.crt"  # not there yet: the installer has not run
        self.subject = Kubevip()
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    def make(self, network: Any, plan: Any) -> Kubevip:
        members = ", ".join(f"{{name: {name}, address: {address}}}" for name, address in plan.nodes.items())
        config = self.folder / "config.yaml"
        config.write_text(f"""\
apiVersion: kubevip/v1
elections: {{raft: {{members: [{members}]}}}}
groups:
  api:
    election: raft
    healthCheck: {{type: apiserver, caFile: {self.ca}, interval: 500ms, timeout: 500ms}}
virtualIPs:
- {{name: api, address: {VIP}, interface: {DEVICE}, group: api}}
""")
        self.subject = prepare_kubevip(network, plan, self.folder, config=config)
        for daemon in self.subject.daemons.values():
            arguments = list(daemon.arguments)
            arguments[arguments.index("raft,arp,tcp")] = "raft,arp,apiserver"
            daemon.arguments = arguments
        return self.subject

    def install(self) -> None:
        """Do what an installer does: make the cluster's CA, and with it the servers' certificates."""
        self.certificate = Authority(self.ca.parent).issue("apiserver", "kube-apiserver", "kubernetes")

    def serve(self, host: Host) -> None:
        state = self.folder / f"{host.name}.state"
        state.write_text("200")
        arguments = (sys.executable, str(PROGRAM), host.name, *map(str, self.certificate), str(state))
        self.servers[host.name] = host.start(arguments)

    def set_state(self, name: str, status: int) -> None:
        (self.folder / f"{name}.state").write_text(str(status))

    def stop(self) -> None:
        for process in self.servers.values():
            process.kill()
            process.wait()

    def answering(self, client: Host) -> str:
        """Return which node's API server answers a client that knows the address and the CA."""
        context = ssl.create_default_context(cafile=str(self.ca))
        with client.entered(), socket.create_connection((VIP, 6443), timeout=2) as plain:
            with context.wrap_socket(plain, server_hostname="kubernetes") as connection:
                connection.sendall(b"GET /version HTTP/1.1\r\n\r\n")
                received = b""
                while data := connection.recv(4096):
                    received += data
        return received.partition(b"\r\n\r\n")[2].decode() if received.startswith(b"HTTP/1.1 200") else ""

    def leader(self) -> str:
        """Return the one node that all nodes hold to be the holder, or ""."""
        leaders = {self._group(node)["leader"] for node in NODES}
        return leaders.pop() or "" if len(leaders) == 1 else ""

    def problem(self, node: str) -> str:
        return str(self._group(node)["problem"])

    def _group(self, node: str) -> Any:
        answer: Any = Client(self.subject.state[node]).request("status")  # JSON
        return answer["groups"][0]


def test_a_cold_start_comes_up_and_the_address_stays_with_an_api_server_that_is_well(tmp_path: Path) -> None:
    """From nothing at all: nobody is fit, yet one holds; then the address is always where an API server is well."""
    rig = Rig(tmp_path)

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with open_lab(lab_plan(nodes=3, backends=1), rig.make) as lab:
            hosts = lab.network.hosts
            seen["held without any API server"] = bool(eventually(rig.leader, "a holder though nobody is fit"))
            seen["why nobody is fit"] = eventually(lambda: rig.problem("n1"), "a reason")

            rig.install()
            second = next(node for node in NODES if node != rig.leader())
            rig.serve(hosts[second])
            seen["the first to be well"] = eventually(lambda: rig.answering(lab.client), "an answer") == second

            for node in NODES:
                if node != second:
                    rig.serve(hosts[node])
            eventually(lambda: not any(rig.problem(node) for node in NODES), "three that are well")
            rig.set_state(second, 500)
            third = eventually(lambda: (now := rig.answering(lab.client)) != second and now, "another one's answer")
            seen["it went where one is well"] = third in NODES
            seen["why"] = rig.problem(second)

            rig.stop()
            eventually(lambda: all(rig.problem(node) for node in NODES), "three without an API server")
            seen["held through the outage"] = bool(eventually(rig.leader, "a holder"))
        return seen

    seen = _sandbox.call(body)
    assert seen.pop("why nobody is fit") == f"health check: {rig.ca}: not there yet"
    assert seen.pop("why") == "health check: https://127.0.0.1:6443/readyz: 500"
    assert seen == {
        "held without any API server": True,
        "the first to be well": True,
        "it went where one is well": True,
        "held through the outage": True,
    }
