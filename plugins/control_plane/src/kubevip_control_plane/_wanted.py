"""What a user asks `kubevip manifest` for."""

from __future__ import annotations

import re
from enum import Enum

from attrs import field, frozen

from kubevip import IPAddress
from kubevip_control_plane._installers import INSTALLERS, Installer

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Ways(Enum):
    """How the nodes agree on who holds an address."""

    RAFT = "raft"
    K8S = "k8s"


@frozen(kw_only=True)
class Wanted:
    """One order. Without `vips` the nodes read /etc/kubevip/config.yaml, each its own.

    `members` are names of nodes and their addresses. `config_map` is what the Pods of a Deployment follow.
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
    is_local_policy: bool = False

    def __attrs_post_init__(self) -> None:
        """Check what the parts have to do with each other.

        :raises ValueError: naming the option and the remedy.
        """
        for option, name in (("--namespace", self.namespace), ("--configmap", self.config_map)):
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{option}: expected up to 63 of a-z, 0-9 and dashes, got {name!r}")
        if not re.fullmatch(r"[\w.:/@-]{1,255}", self.image, re.ASCII):
            raise ValueError(f"--image: expected a reference such as kubevip:0.1.0, got {self.image!r}")
        if not re.fullmatch(r"[^\s/]{1,15}", self.interface):
            raise ValueError(f"--interface: expected the name of a device, or auto, got {self.interface!r}")
        if self.vips and self.election is Ways.RAFT and not self.members:
            raise ValueError("--vip: raft has to know its members, too: --members n1=192.168.0.70,n2=...")
        if self.members and (self.election is Ways.K8S or not self.vips):
            raise ValueError("--members: belongs to --election raft together with --vip")
        if not 1 <= self.replicas <= 100:
            raise ValueError(f"--replicas: expected 1-100, got {self.replicas}")

    @property
    def way(self) -> Installer:
        """Where things are on the nodes."""
        return INSTALLERS[self.installer]
