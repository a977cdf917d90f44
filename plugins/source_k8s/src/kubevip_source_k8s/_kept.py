"""What is kept of the objects of a cluster: what is read later, and nothing else.

Pure. An object of the API is ten times what is read of it: managed fields, labels, what other programs annotate, what
each endpoint refers to. With thousands of Services that is most of the memory of the process.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_k8s import ENDPOINT_SLICES, ENDPOINTS
from kubevip_source_k8s._config import EndpointsFrom
from kubevip_source_k8s._endpoints import SERVICE_NAME, endpoints_of_endpoints, endpoints_of_slice
from kubevip_source_k8s._entries import SERVICES_KEY
from kubevip_source_k8s._fields import inner, key_of, objects, text
from kubevip_source_k8s._services import PREFIX
from kubevip_source_k8s._status import WRITTEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kubevip_k8s import JsonObject, Resource
    from kubevip_source_k8s._endpoints import Endpoint
    from kubevip_source_k8s._fields import Key

#: What names an object, in its Events and in a patch of it.
_IDENTITY = ("namespace", "name", "uid", "resourceVersion")


@frozen(kw_only=True)
class Listed:
    """What one object says of the endpoints of `service`."""

    service: Key
    endpoints: tuple[Endpoint, ...]


def kept_service(value: JsonObject) -> JsonObject:
    """Return what is kept of a Service: what is asked for, its ports, and its addresses in the status."""
    metadata, spec = inner(value, "metadata"), inner(value, "spec")
    kept = _picked(metadata, (*_IDENTITY, "creationTimestamp", "deletionTimestamp"))
    annotations = inner(metadata, "annotations")
    if ours := {intern(name): annotations[name] for name in annotations if name.startswith((PREFIX, WRITTEN))}:
        kept["annotations"] = ours
    asked = _picked(spec, ("type", "loadBalancerClass", "loadBalancerIP", "externalTrafficPolicy", "sessionAffinity"))
    asked["ports"] = [_picked(port, ("name", "port", "protocol")) for port in objects(spec, "ports")]
    addresses = inner(value, "status").get("loadBalancer")
    return {"metadata": kept, "spec": asked, **({"status": {"loadBalancer": addresses}} if addresses else {})}


def kept_config_map(value: JsonObject) -> JsonObject:
    """Return what is kept of a ConfigMap: the text of the entries."""
    data = _picked(inner(value, "data"), (SERVICES_KEY,))
    return {"metadata": _picked(inner(value, "metadata"), _IDENTITY), "data": data}


def kept_slice(value: JsonObject) -> Listed:
    """Return what is kept of an EndpointSlice."""
    namespace, _ = key_of(value)
    service = text(value, "metadata", "labels", SERVICE_NAME)
    return Listed(service=(intern(namespace), service), endpoints=endpoints_of_slice(value))


def kept_endpoints(value: JsonObject) -> Listed:
    """Return what is kept of an Endpoints object, which has the name of its Service."""
    return Listed(service=key_of(value), endpoints=endpoints_of_endpoints(value))


ENDPOINTS_BY: Mapping[EndpointsFrom, tuple[Resource, Callable[[JsonObject], Listed]]] = {
    EndpointsFrom.SLICES: (ENDPOINT_SLICES, kept_slice),
    EndpointsFrom.ENDPOINTS: (ENDPOINTS, kept_endpoints),
}
"""Which objects tell where endpoints are, and what is kept of them, by what the configuration says."""


def _picked(value: JsonObject, names: Iterable[str]) -> dict[str, object]:
    """Return these fields of `value`; texts that many objects have are there once."""
    found = {name: value[name] for name in names if name in value}
    return {name: intern(it) if isinstance(it, str) else it for name, it in found.items()}
