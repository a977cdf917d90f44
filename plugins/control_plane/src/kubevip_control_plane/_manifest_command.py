"""`kubevip manifest ...`: prints YAML for kubectl, or for the folder of static Pods; asks nobody."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from kubevip_control_plane._installers import INSTALLERS
from kubevip_control_plane._wanted import Network, Wanted, Ways

if TYPE_CHECKING:
    from kubevip import IPAddress
    from kubevip.control import Client

USAGE_STATUS = 2

_PURPOSES: Mapping[str, str] = {
    "pod": "a static Pod for a node of the control plane; it needs no API server to start",
    "daemonset": "kubevip on every node of the control plane, or for Services on every node",
    "deployment": "the addresses of one namespace's services, as its ConfigMap lists them",
    "rbac": "the service account, and its rights for Leases and Services",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what can be printed and how."""
    version = metadata.version("kubevip-control-plane")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, purpose in _PURPOSES.items():
        it = kinds.add_parser(kind, help=purpose)
        default = "default" if kind == "deployment" else "kube-system"
        it.add_argument("--namespace", metavar="NAME", default=default, help=f"default: {default}")
        if kind == "rbac":
            _add_local_policy(it)
            continue
        it.add_argument("--image", default=f"kubevip:{version}", help=f"default: kubevip:{version}")
        if kind == "deployment":
            it.add_argument("--configmap", metavar="NAME", default="plndr", help="default: plndr")
            it.add_argument("--replicas", metavar="N", type=int, default=3, help="default: 3")
            it.add_argument("--interface", metavar="DEVICE", default="auto", help="default: auto")
            continue
        it.add_argument("--election", choices=[way.value for way in Ways], default="raft", help="default: raft")
        it.add_argument("--installer", choices=list(INSTALLERS), default="kubeadm", help="default: kubeadm")
        if kind == "daemonset":
            it.add_argument("--vip", action="append", metavar="ADDRESS", help="without: /etc/kubevip of each node")
            it.add_argument("--interface", metavar="DEVICE", default="auto", help="default: auto")
            it.add_argument("--members", metavar="NAME=ADDRESS,...", help="the nodes, for raft")
            purpose = "hold the addresses of Services, too; without --vip: alone, and on every node"
            it.add_argument("--services", action="store_true", help=purpose)
            it.add_argument("--addresses", metavar="NETWORK,...", help="those that Services may ask for; default: all")
            _add_local_policy(it)


def _add_local_policy(parser: argparse.ArgumentParser) -> None:
    purpose = "for Services of externalTrafficPolicy Local, too: all Leases of the namespace"
    parser.add_argument("--local-policy", action="store_true", help=purpose)


def run(args: argparse.Namespace, client: Client) -> int:
    """Print the objects."""
    from kubevip_control_plane import _objects
    from kubevip_control_plane._text import render

    make: Mapping[str, Callable[[Wanted], list[dict[str, object]]]] = {
        "pod": _objects.pod,
        "daemonset": _objects.daemonset,
        "deployment": _objects.deployment,
        "rbac": _objects.rbac,
    }
    try:
        wanted = _wanted(args)
    except ValueError as error:
        print(f"kubevip manifest {args.kind}: {error}", file=sys.stderr)
        return USAGE_STATUS
    if args.kind == "pod":
        print(f"# Belongs into {wanted.way.static_pods} of each node, beside its /etc/kubevip/config.yaml.")
    print(render(*make[args.kind](wanted)), end="")
    return 0


def _wanted(args: argparse.Namespace) -> Wanted:
    if args.kind == "daemonset" and args.local_policy and not args.services:
        raise ValueError("--local-policy: is about Services; it needs --services")
    return Wanted(
        election=Ways(getattr(args, "election", "k8s")),
        namespace=args.namespace,
        image=getattr(args, "image", "kubevip"),
        installer=getattr(args, "installer", "kubeadm"),
        vips=tuple(_address("--vip", text) for text in getattr(args, "vip", None) or ()),
        interface=getattr(args, "interface", "auto"),
        members=tuple(_members(getattr(args, "members", None) or "")),
        config_map=getattr(args, "configmap", "plndr"),
        replicas=getattr(args, "replicas", 3),
        is_services=getattr(args, "services", False),
        addresses=tuple(_networks(getattr(args, "addresses", None) or "")),
        is_local_policy=getattr(args, "local_policy", False),
    )


def _members(text: str) -> list[tuple[str, IPAddress]]:
    members: list[tuple[str, IPAddress]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, found, address = part.partition("=")
        if not found or not name:
            raise ValueError(f"--members: expected NAME=ADDRESS,..., got {part!r}")
        members.append((name, _address("--members", address)))
    return members


def _networks(text: str) -> list[Network]:
    networks: list[Network] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ip_network(part))
        except ValueError as error:
            raise ValueError(f"--addresses: expected NETWORK,... such as 192.168.0.64/27: {error}") from None
    return networks


def _address(option: str, text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{option}: expected an IPv4 or IPv6 address, got {text!r}") from None
