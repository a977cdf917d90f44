"""What a user asks `kubevip manifest` for."""

from __future__ import annotations

import re
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from attrs import field, frozen

from kubevip import IPAddress
from kubevip_control_plane._installers import INSTALLERS, Installer
from kubevip_control_plane._parts import INSTANCES

Network = IPv4Network | IPv6Network

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Ways(Enum):
    """How the nodes agree on who holds an address."""

    RAFT = "raft"
    K8S = "k8s"


@frozen(kw_only=True)
class Wanted:
    """One order. Without `vips` the nodes read /etc/kubevip/config.yaml, each its own.

    `members` are names of nodes and their addresses. `config_map` is what the Pods of a Deployment follow.
    `is_services`: hold the addresses of the Services of the cluster, of `addresses` only where there are some.
    `is_local_policy`: some Services are of externalTrafficPolicy Local, each of which has a Lease of its own.
    """

    election: Ways = Ways.RAFT
    namespace: str = "kube-system"
    image: str
    installer: str = "kubeadm"
    vips: tuple[IPAddress, ...] = ()
    interface: str = "auto"
    members: tuple[tuple[str, IPAddress], ...] = ()
    config_map: str = "plndr"
    replicas: int = field(default=3)
    is_services: bool = False
    addresses: tuple[Network, ...] = ()
    is_local_policy: bool = False

    def __attrs_post_init__(self) -> None:
        """Check what the parts have to do with each other.

        :raises ValueError: naming the option and the remedy.
        """
        for option, name in (("--namespace", self.namespace), ("--configmap", self.config_map)):
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{option}: expected up to 63 of a-z, 0-9 and dashes, got {name!r}")
        if self.namespace in INSTANCES:
            raise ValueError(f"--namespace: {self.namespace} is what an instance of kubevip is called; name another")
        if not re.fullmatch(r"[\w.:/@-]{1,255}", self.image, re.ASCII):
            raise ValueError(f"--image: expected a reference such as kubevip:0.1.0, got {self.image!r}")
        if not re.fullmatch(r"[^\s/]{1,15}", self.interface):
            raise ValueError(f"--interface: expected the name of a device, or auto, got {self.interface!r}")
        if self.vips and self.election is Ways.RAFT and not self.members:
            raise ValueError("--vip: raft has to know its members, too: --members n1=192.168.0.70,n2=...")
        if self.members and (self.election is Ways.K8S or not self.vips):
            raise ValueError("--members: belongs to --election raft together with --vip")
        self._check_members()
        if self.addresses and not self.is_services:
            raise ValueError("--addresses: are those of Services; they need --services")
        if not 1 <= self.replicas <= 100:
            raise ValueError(f"--replicas: expected 1-100, got {self.replicas}")

    def _check_members(self) -> None:
        """Check what raft would refuse, and what would leave out an address or a member.

        :raises ValueError: naming the option and the remedy.
        """
        if len(self.members) == 2:
            raise ValueError("--members: two cannot outvote each other: name one, or three and more")
        names, addresses = [name for name, _ in self.members], [address for _, address in self.members]
        for option, values in (("--members", names), ("--members", addresses), ("--vip", self.vips)):
            if twice := [str(it) for at, it in enumerate(values) if it in values[:at]]:
                raise ValueError(f"{option}: {twice[0]} is given twice; leave one out")
        if len({address.version for address in addresses}) > 1:
            raise ValueError("--members: their addresses are of one family, IPv4 or IPv6")
        if both := [str(vip) for vip in self.vips if vip in addresses]:
            raise ValueError(f"--vip: {both[0]} is the address of a member; a virtual IP is nobody's own")

    @property
    def has_configuration(self) -> bool:
        """Whether a DaemonSet brings its configuration along."""
        return bool(self.vips) or self.is_services

    @property
    def needs_account(self) -> bool:
        """Whether a DaemonSet asks anything of the API."""
        return self.election is Ways.K8S or self.is_services

    @property
    def way(self) -> Installer:
        """Where things are on the nodes."""
        return INSTALLERS[self.installer]
