"""The lab put together: nodes, backends, a client and a watcher on one switch, and a subject on the nodes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from attrs import define

from kubevip_lab._network import SUBNET, Network, open_network

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kubevip_lab._host import Host
    from kubevip_lab._subject import Subject

VIP = SUBNET[100]
VIP_PORT = 80
BACKEND_PORT = 8080
CLIENT, WATCHER = "client", "watch"
_FIRST_NODE, _FIRST_BACKEND = 11, 21
MOST_NODES = _FIRST_BACKEND - _FIRST_NODE


@define
class Plan:
    """What is to be built: names and addresses of the hosts.

    `more_vips` are for the native format: a group of its own each, nothing balanced.
    `serves_on_nodes`: a web server runs on every node, for a subject that balances nothing. `is_load`: the backends are
    a part of the load and run at ordinary priority.
    """

    nodes: dict[str, IPv4Address]
    backends: dict[str, IPv4Address]
    vip: IPv4Address = VIP
    more_vips: tuple[IPv4Address, ...] = ()
    serves_on_nodes: bool = False
    is_load: bool = False


def plan(
    nodes: int = 3, backends: int = 3, *, vips: int = 1, serves_on_nodes: bool = False, is_load: bool = False
) -> Plan:
    """Return the lab's plan: nodes n1.. at .11.., backends b1.. at .21.., VIPs at .100... At most 10 each."""
    return Plan(
        nodes={f"n{index + 1}": SUBNET[_FIRST_NODE + index] for index in range(nodes)},
        backends={f"b{index + 1}": SUBNET[_FIRST_BACKEND + index] for index in range(backends)},
        more_vips=tuple(VIP + index for index in range(1, vips)),
        serves_on_nodes=serves_on_nodes,
        is_load=is_load,
    )


@define
class Lab:
    """A network with a subject on its nodes. Made by `open_lab`."""

    network: Network
    nodes: tuple[str, ...]
    backends: tuple[str, ...]
    subject: Subject

    @property
    def client(self) -> Host:
        """The host that uses the virtual IP."""
        return self.network.hosts[CLIENT]

    @property
    def watcher(self) -> Host:
        """The host that asks who has the virtual IP; the client's own questions would refresh its neighbour table."""
        return self.network.hosts[WATCHER]

    def node_of(self, mac: str) -> str | None:
        """Return the host whose hardware address, in hex without colons, is `mac`."""
        return self.network.host_of(":".join(mac[start : start + 2] for start in range(0, 12, 2)))


@contextmanager
def open_lab(what: Plan, make_subject: Callable[[Network, Plan], Subject]) -> Generator[Lab]:
    """Build the network, start backends, then the subject on every node. Everything is killed when left.

    Only inside a sandbox (`_sandbox.call`).
    """
    with open_network() as network:
        for name, address in what.nodes.items():
            network.add_host(name, address)
        for name, address in {CLIENT: SUBNET[2], WATCHER: SUBNET[3], **what.backends}.items():
            network.add_host(name, address)
        subject = make_subject(network, what)
        backends: list[subprocess.Popen[bytes]] = []
        try:
            servers = [(name, str(address), BACKEND_PORT) for name, address in what.backends.items()]
            servers += [(name, "0.0.0.0", VIP_PORT) for name in what.nodes if what.serves_on_nodes]
            for name, listens, port in servers:
                arguments = [sys.executable, "-P", "-m", "kubevip_lab._backend", name, listens, str(port)]
                arguments += ["load"] if what.is_load else []
                backends.append(network.hosts[name].start(arguments))
            for daemon in subject.daemons.values():
                daemon.start()
            yield Lab(network=network, nodes=tuple(what.nodes), backends=tuple(what.backends), subject=subject)
        finally:
            for backend in backends:
                backend.kill()
                backend.wait()
            for daemon in subject.daemons.values():
                daemon.kill()
