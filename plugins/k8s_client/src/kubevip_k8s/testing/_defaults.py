"""What the server writes into an object that does not say it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubevip_k8s._resources import Resource
    from kubevip_k8s.testing._document import Document

_CLUSTER_ADDRESSES = ipaddress.ip_network("10.96.0.0/12")


def complete(resource: Resource, document: Document, number: int) -> None:
    """Fill in what is left out; `number` is one that no other object has had, for what has to be allotted."""
    if resource.kind == "Service":
        _complete_service(document, number)
    elif resource.kind == "Namespace":
        document.setdefault("status", {}).setdefault("phase", "Active")
        name = document["metadata"]["name"]
        document["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    elif resource.kind in ("RoleBinding", "ClusterRoleBinding"):
        document["roleRef"].setdefault("apiGroup", "rbac.authorization.k8s.io")


def _complete_service(document: Document, number: int) -> None:
    spec: Document = document.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
        if kind in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
            port.setdefault("nodePort", 30000 + (number * 7 + port.get("port", 0)) % 2768)
    if kind != "ExternalName":
        spec.setdefault("clusterIP", str(_CLUSTER_ADDRESSES[number % _CLUSTER_ADDRESSES.num_addresses]))
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv6" if ":" in spec["clusterIP"] else "IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    balancer: Document = document.setdefault("status", {}).setdefault("loadBalancer", {})
    for ingress in balancer.get("ingress") or ():
        if ingress.get("ip"):
            ingress.setdefault("ipMode", "VIP")
