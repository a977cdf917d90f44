"""What is written into a Service's status, and when there is nothing to write.

Pure. The patch names the version of the object that it was made from: if anybody has changed it since, the server
refuses with 409, and the next version is looked at. With the addresses it writes an annotation that says which source
wrote them: so they can be told from those of another load balancer when the Service is not ours any more, by another
node and after a restart, too. (The right to write the status permits that; no other one is needed.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_source_k8s._fields import objects, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip import IPAddress
    from kubevip_k8s import JsonObject

#: The annotation; its value is the addresses that were written, separated by commas, a space and the source.
WRITTEN = "kubevip.io/status-written"


def ingress_of(service: JsonObject) -> list[JsonObject]:
    """Return what the status says now."""
    return objects(service, "status", "loadBalancer", "ingress")


def wanted_ingress(addresses: Sequence[IPAddress], ip_mode: str) -> list[JsonObject]:
    """Return what the status should say.

    :param ip_mode: "VIP" (packets arrive with the address: nodes may short-cut), "Proxy" (they go through a proxy,
        nodes may not); "" for a server that does not know the field.
    """
    return [{"ip": str(address), **({"ipMode": ip_mode} if ip_mode else {})} for address in addresses]


def status_patch(service: JsonObject, addresses: Sequence[IPAddress], ip_mode: str, source: str) -> JsonObject | None:
    """Return the merge patch that makes the status say `addresses`; None when it says so already.

    :param source: which one writes it, unlike any other source of the cluster; the same on all nodes.
    """
    ingress = wanted_ingress(addresses, ip_mode)
    now = [
        {key: value for key, value in item.items() if key in ("ip", "ipMode", "hostname")}
        for item in ingress_of(service)
    ]
    if not ip_mode:
        now = [{key: value for key, value in item.items() if key != "ipMode"} for item in now]
    mark = f"{','.join(sorted(map(str, addresses)))} {source}"
    if sorted(map(repr, now)) == sorted(map(repr, ingress)) and _mark_of(service) == mark:
        return None
    return _patch(service, ingress, mark)


def clearing_patch(service: JsonObject, source: str) -> JsonObject | None:
    """Return the merge patch that takes back what `source` wrote; None where it wrote nothing.

    Addresses that somebody else has written since are left alone.
    """
    written, _, writer = _mark_of(service).partition(" ")
    if writer != source:
        return None
    ingress = ingress_of(service)
    is_as_written = all("ip" in item for item in ingress) and written == ",".join(
        sorted(text(item, "ip") for item in ingress)
    )
    return _patch(service, None if is_as_written else ingress, None)


def knows_ip_mode(answer: JsonObject) -> bool:
    """Say whether a server that was sent `ipMode` kept it; older ones than 1.29 drop it silently."""
    return any("ipMode" in item for item in ingress_of(answer))


def _mark_of(service: JsonObject) -> str:
    return text(service, "metadata", "annotations", WRITTEN)


def _patch(service: JsonObject, ingress: list[JsonObject] | None, mark: str | None) -> JsonObject:
    version = text(service, "metadata", "resourceVersion")
    return {
        "metadata": {"resourceVersion": version, "annotations": {WRITTEN: mark}},
        "status": {"loadBalancer": {"ingress": ingress or None}},
    }
