"""The configuration that a DaemonSet brings along: addresses in front of the API servers, and those of Services."""

from __future__ import annotations

from kubevip_control_plane._pod import Json
from kubevip_control_plane._wanted import Wanted, Ways

#: kube-vip's names of the Leases, so that whoever replaces it does not get a second holder.
CONTROL_PLANE_LEASE, SERVICES_LEASE = "plndr-cp-lock", "plndr-svcs-lock"


def configuration(wanted: Wanted) -> Json:
    """Return the file, of the native format."""
    written: Json = {"apiVersion": "kubevip/v1"}
    if wanted.vips:
        written |= _control_plane(wanted)
    if wanted.is_services:
        written["sources"] = {"k8s": _services(wanted)}
    return written


def _control_plane(wanted: Wanted) -> Json:
    """Write virtual IPs in front of the API servers, without a balancer: each has the port on all its addresses."""
    if wanted.election is Ways.RAFT:
        members = [{"name": name, "address": str(address)} for name, address in wanted.members]
        election: Json = {"raft": {"members": members, "pki": "/etc/kubevip-keys"}}
    else:
        # controlPlane: not through the virtual IP that this is about, nor the cluster IP, which comes after it
        election = {"k8s": {"lease": f"{wanted.namespace}/{CONTROL_PLANE_LEASE}", "controlPlane": True}}
    names = [f"api{index or ''}" for index in range(len(wanted.vips))]
    return {
        "elections": election,
        "groups": {"api": {"election": wanted.election.value, "healthCheck": {"type": "apiserver"}}},
        "virtualIPs": [
            {"name": name, "address": str(vip), "interface": wanted.interface, "group": "api"}
            for name, vip in zip(names, wanted.vips, strict=True)
        ],
    }


def _services(wanted: Wanted) -> Json:
    source: Json = {"mode": "services"}
    if wanted.addresses:
        source["addresses"] = [str(it) for it in wanted.addresses]
    if wanted.interface != "auto":
        source["interface"] = wanted.interface
    source["lease"] = f"{wanted.namespace}/{SERVICES_LEASE}"
    if wanted.vips:  # on a node of the control plane: its own API server, which needs neither kube-proxy nor the VIP
        source |= {"server": "https://127.0.0.1:6443", "tlsServerName": "kubernetes"}
    return source
