"""kubevip itself as the subject: the real `kubevip run` on every node, with a configuration file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

from attrs import define, field

from kubevip.control import Client
from kubevip.errors import ControlError, KubevipError, NoDaemonError
from kubevip_lab._daemon import Daemon, command_line
from kubevip_lab._host import DEVICE
from kubevip_lab._lab import BACKEND_PORT, VIP_PORT

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network

Format = Literal["original", "native"]

LEASE = "kube-system/plndr-svcs-lock"

_STATUS_SECONDS = 2.0


@define
class Kubevip:
    """One `kubevip run` a node; its file, log and state directory are `NODE.yaml`, `NODE.log` and `NODE/`."""

    daemons: dict[str, Daemon] = field(factory=dict[str, Daemon])
    state: dict[str, Path] = field(factory=dict[str, "Path"])
    name: str = "kubevip"

    def control_process(self, node: str) -> int | None:
        """Return the keeper's child that runs kubevip; others are orphans that it adopted."""
        return next((pid for pid in self.daemons[node].children() if b"kubevip\0run\0" in command_line(pid)), None)

    def move(self, node: str, to: str) -> None:
        """Have the node's daemon move the first group to another node, as `kubevip move` does.

        :raises KubevipError: it does not answer, or refuses.
        """
        client = Client(self.state[node])
        answer: Any = client.request("status")  # JSON
        for group in answer["groups"][:1]:
            client.request("move", {"group": group["name"], "to": to})

    def move_command(self, node: str, to: str, number: int) -> tuple[str, ...]:
        """Return the command `kubevip move` for a group."""
        place = str(self.state[node])
        return (sys.executable, "-P", "-m", "kubevip", "move", group_name(number), to, "--state-dir", place)

    def revive(self) -> None:
        """Do nothing: its first process never ends by itself."""

    def trouble(self) -> str:
        """Return which node does not follow or lead, or "" when all do and agree on who holds each group."""
        leaders: dict[str, set[str]] = {}
        for node, place in self.state.items():
            try:
                answer: Any = Client(place, timeout_seconds=_STATUS_SECONDS).request("status")  # JSON
            except (NoDaemonError, ControlError) as error:
                return f"{node}: {error}"
            for election in answer["elections"]:
                heard, _, members = str(election["quorum"] or "").partition("/")
                if heard != members and members:
                    return f"{node} hears {heard} of {members} members of {election['name']}"
            if not answer["groups"]:
                return f"{node} has no group yet"
            for group in answer["groups"]:
                if not group["leader"]:
                    return f"{node} knows no leader of {group['name']}: {group['problem'] or 'waiting'}"
                leaders.setdefault(group["name"], set()).add(group["leader"])
            led = {group["name"] for group in answer["groups"] if group["is_leading"]}
            for vip in answer["vips"]:
                if vip["group"] in led and not vip["is_held"]:
                    return f"{node} leads {vip['group']} and does not hold {vip['name']}: {vip['health']['reason']}"
        split = [f"{', '.join(sorted(names))} in {group}" for group, names in leaders.items() if len(names) > 1]
        return f"the nodes follow different leaders: {split[0]}" if split else ""


def prepare_kubevip(
    network: Network,
    plan: Plan,
    directory: Path,
    form: Format = "original",
    config: Path | None = None,
    timing: str = "default",
    *,
    is_insecure: bool = False,
    kubeconfig: Path | None = None,
) -> Kubevip:
    """Write the nodes' files below `directory` and return the subject, not started.

    With a `kubeconfig` the nodes elect by a Lease of the Kubernetes API to which it leads, else by raft.

    `timing` is raft's, for the native format: the original one has no word for it. `config` is a file to be used by
    all nodes instead of generated ones; it says itself where its keys are. The generated ones use keys that are made
    for this run, unless `is_insecure`.

    :raises KubevipError: when no keys can be made.
    """
    subject = Kubevip()
    speaks_raft = config is None and kubeconfig is None and len(plan.nodes) > 1
    keys = make_keys(plan, directory / "keys") if speaks_raft and not is_insecure else None
    plugins = "raft,arp,tcp" if kubeconfig is None else "k8s,arp,tcp"
    # Unbuffered, so that the log of a killed process is whole.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for node in plan.nodes:
        file = config or directory / f"{node}.yaml"
        if config is None:
            pki = None if keys is None else keys / node
            is_original = form == "original" and kubeconfig is None  # which has no word for a kubeconfig
            text = original_file(plan, node, pki) if is_original else native_file(plan, timing, pki, kubeconfig)
            file.write_text(text)
        place = subject.state[node] = directory / node
        place.mkdir(mode=0o700, exist_ok=True)
        arguments = [sys.executable, "-m", "kubevip_keeper", "run", "--config", str(file)]
        arguments += ["--plugins", plugins, "--state-dir", str(place), "--node", node]
        if keys is None and kubeconfig is None:
            arguments.append("--insecure")
        subject.daemons[node] = Daemon(
            host=network.hosts[node], arguments=arguments, log=directory / f"{node}.log", environment=environment
        )
    return subject


def make_keys(plan: Plan, folder: Path) -> Path:
    """Make the nodes' keys as a user does, unless they are there; return `folder`, with one folder a node.

    :raises KubevipError: when that fails.
    """
    if folder.exists():
        return folder
    arguments = [sys.executable, "-m", "kubevip", "raft", "keys", "init"]
    arguments += ["--members", ",".join(plan.nodes), "--out", str(folder)]
    made = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if made.returncode:
        raise KubevipError(f"no keys for the nodes: {made.stderr.strip()}; `--insecure` does without")
    return folder


def original_file(plan: Plan, node: str, pki: Path | None = None) -> str:
    """Return a node's file in the original format; one node alone is a `singleNode`. `pki`: where its keys are."""
    others = [name for name in plan.nodes if name != node]
    lines = [
        "localPeer:",
        f"  id: {node}",
        f"  address: {plan.nodes[node]}",
        "  port: 10000",
        "remotePeers:" if others else "remotePeers: []",
    ]
    for name in others:
        lines += [f"- id: {name}", f"  address: {plan.nodes[name]}", "  port: 10000"]
    lines += [
        f"vip: {plan.vip}",
        "gratuitousARP: true",
        f"singleNode: {str(not others).lower()}",
        f"startAsLeader: {str(node == next(iter(plan.nodes))).lower()}",
        f"interface: {DEVICE}",
        "loadBalancers:",
        "- name: Lab HTTP service",
        "  type: tcp",
        f"  port: {VIP_PORT}",
        "  bindToVip: true",
        "  backends:",
    ]
    for address in plan.backends.values():
        lines += [f"  - port: {BACKEND_PORT}", f"    address: {address}"]
    if pki is not None:
        lines.append(f"pki: {pki}")
    return "\n".join(lines) + "\n"


def group_name(number: int) -> str:
    """Return the name, in the native format, of the virtual IP with this number from 0 and of its group."""
    return "web" if number == 0 else f"vip{number + 1}"


def native_file(plan: Plan, timing: str = "default", pki: Path | None = None, kubeconfig: Path | None = None) -> str:
    """Return a node's file in the native format; all nodes' are the same but for `pki`, where their keys are.

    With a `kubeconfig` they elect by a Lease.
    """
    election = "k8s" if kubeconfig is not None else "raft" if len(plan.nodes) > 1 else "single"
    members = ", ".join(f"{{name: {name}, address: {address}}}" for name, address in plan.nodes.items())
    lines = ["apiVersion: kubevip/v1", "cluster: lab"]
    if election == "raft":
        lines += ["elections:", "  raft:", f"    members: [{members}]", f"    timing: {timing}"]
        if pki is not None:
            lines.append(f"    pki: {pki}")
    if kubeconfig is not None:
        lines += ["elections:", f"  k8s: {{lease: {LEASE}, kubeconfig: {kubeconfig}}}"]
    vips = {group_name(number): vip for number, vip in enumerate((plan.vip, *plan.more_vips))}
    lines += [
        "groups:",
        *(f"  {name}: {{election: {election}}}" for name in vips),
        "virtualIPs:",
        *(f"- {{name: {name}, address: {vip}, interface: {DEVICE}, group: {name}}}" for name, vip in vips.items()),
        "loadBalancers:",
        "- name: web",
        "  type: tcp",
        f"  port: {VIP_PORT}",
        "  bindTo: [web]",
        "  backends:",
        *(f"  - {{address: {address}, port: {BACKEND_PORT}}}" for address in plan.backends.values()),
    ]
    return "\n".join(lines) + "\n"
