"""What is written into a Service's status, and when there is nothing to write.

Pure. The patch names the version of the object that it was made from: if anybody has changed it since, the server
refuses with 409, and the next version is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_source_k8s._fields import objects, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip import IPAddress
    from kubevip_k8s import JsonObject


def ingress_of(service: JsonObject) -> list[JsonObject]:
    """Return what the status says now."""
    return objects(service, "status", "loadBalancer", "ingress")


def wanted_ingress(addresses: Sequence[IPAddress], ip_mode: str) -> list[JsonObject]:
    """Return what the status should say.

    :param ip_mode: "VIP" (packets arrive with the address: nodes may short-cut), "Proxy" (they go through a proxy,
        nodes may not); "" for a server that does not know the field.
    """
    return [{"ip": str(address), **({"ipMode": ip_mode} if ip_mode else {})} for address in addresses]


def status_patch(service: JsonObject, addresses: Sequence[IPAddress], ip_mode: str) -> JsonObject | None:
    """Return the merge patch that makes the status say `addresses`; None when it says so already.

    Without addresses the ingress is removed.
    """
    ingress = wanted_ingress(addresses, ip_mode)
    now = [
        {key: value for key, value in item.items() if key in ("ip", "ipMode", "hostname")}
        for item in ingress_of(service)
    ]
    if not ip_mode:
        now = [{key: value for key, value in item.items() if key != "ipMode"} for item in now]
    if sorted(map(repr, now)) == sorted(map(repr, ingress)):
        return None
    return {
        "metadata": {"resourceVersion": text(service, "metadata", "resourceVersion")},
        "status": {"loadBalancer": {"ingress": ingress or None}},
    }


def knows_ip_mode(answer: JsonObject) -> bool:
    """Say whether a server that was sent `ipMode` kept it; older ones than 1.29 drop it silently."""
    return any("ipMode" in item for item in ingress_of(answer))


def has_lost_its_addresses(service: JsonObject, written: Sequence[IPAddress]) -> bool:
    """Say whether the status still says just what was `written`, and so may be cleared by who wrote it."""
    return bool(written) and {text(item, "ip") for item in ingress_of(service)} == {str(it) for it in written}
