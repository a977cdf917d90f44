"""Objects of the API as the tests need them."""

from __future__ import annotations

from typing import Any


def service(
    name: str = "web",
    *,
    namespace: str = "shop",
    ip: str = "192.168.0.80",
    ports: list[dict[str, Any]] | None = None,
    annotations: dict[str, str] | None = None,
    policy: str = "Cluster",
    created: str = "2026-11-22T10:15:02Z",
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{namespace}-{name}",
            "creationTimestamp": created,
            "annotations": {f"kube-vip.io/{key}": value for key, value in (annotations or {}).items()},
        },
        "spec": {
            "type": "LoadBalancer",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}] if ports is None else ports,
            "externalTrafficPolicy": policy,
            **({"loadBalancerIP": ip} if ip else {}),
        },
    }


def endpoint_slice(
    service_name: str = "web",
    *addresses: str,
    namespace: str = "shop",
    name: str = "",
    node: str = "n1",
    port: int = 8080,
    port_name: str = "http",
) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name or f"{service_name}-abc",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}, "nodeName": node} for address in addresses
        ],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }
