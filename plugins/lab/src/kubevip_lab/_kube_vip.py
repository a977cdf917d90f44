"""kube-vip as the subject: its control-plane mode with ARP, elected by a Lease, with the timings it comes with.

It balances nothing here; a small web server on every node (`Plan.serves_on_nodes`) answers at the address's port.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._daemon import Daemon
from kubevip_lab._host import DEVICE

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network


@define
class KubeVip:
    """One `kube-vip manager` a node; its log is `NODE.log`."""

    daemons: dict[str, Daemon] = field(factory=dict[str, Daemon])
    name: str = "kube-vip"

    def control_process(self, node: str) -> int | None:
        """Return its one process."""
        return self.daemons[node].pid

    def move(self, node: str, to: str) -> None:
        """Refuse: there is no such request.

        :raises KubevipError: always.
        """
        raise KubevipError("kube-vip cannot be told to hand over to a certain node")

    def move_command(self, node: str, to: str, number: int) -> tuple[str, ...]:
        """Return (): as above."""
        return ()

    def revive(self) -> None:
        """Start again what ended, as the kubelet does: kube-vip ends when it finds that it leads no more."""
        for daemon in self.daemons.values():
            daemon.start()

    def trouble(self) -> str:
        """Return which node runs none, or ""; it cannot be asked for more."""
        missing = [node for node in self.daemons if self.control_process(node) is None]
        return f"kube-vip does not run on {missing[0]}" if missing else ""


def find_kube_vip() -> str:
    """Return the program's path.

    :raises NotPermittedError: it is not installed.
    """
    program = shutil.which("kube-vip")
    if program is None:
        raise NotPermittedError("kube-vip is not on PATH: build it from its source with `go build`")
    return program


def prepare_kube_vip(network: Network, plan: Plan, directory: Path, kubeconfig: Path | None) -> KubeVip:
    """Return the subject, not started. The nodes reach the API as the `kubeconfig` says.

    :raises NotPermittedError: it is not installed.
    """
    program, subject = find_kube_vip(), KubeVip()
    for node in plan.nodes:
        environment = {**os.environ, **kube_vip_environment(plan, node), "k8s_config_file": str(kubeconfig)}
        subject.daemons[node] = Daemon(
            host=network.hosts[node],
            arguments=[program, "manager"],
            log=directory / f"{node}.log",
            environment=environment,
        )
    return subject


def kube_vip_environment(plan: Plan, node: str) -> dict[str, str]:
    """Return the settings of a node, as its documentation has them for a control plane; all others are its defaults."""
    return {
        "vip_arp": "true",
        "vip_interface": DEVICE,
        "address": str(plan.vip),
        "vip_subnet": "32",
        "port": "6443",
        "cp_enable": "true",
        "cp_namespace": "kube-system",
        "vip_leaderelection": "true",
        "vip_leasename": "plndr-cp-lock",
        "vip_nodename": node,
    }
