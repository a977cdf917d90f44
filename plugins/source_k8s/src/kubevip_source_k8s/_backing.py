"""The endpoints of all Services, as they are told piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_source_k8s._endpoints import SERVICE_NAME, endpoints_of_endpoints, endpoints_of_slices
from kubevip_source_k8s._fields import Key, key_of, text

if TYPE_CHECKING:
    from kubevip_k8s import JsonObject
    from kubevip_source_k8s._endpoints import Endpoint


class Backing:
    """Which objects say where the endpoints of a Service are: EndpointSlices, or an Endpoints object of its name."""

    def __init__(self, *, of_slices: bool = True) -> None:
        self._of_slices = of_slices
        self._parts: dict[Key, dict[Key, JsonObject]] = {}

    def put(self, part: JsonObject, *, is_gone: bool = False) -> Key:
        """Take over an object; return the Service that it belongs to."""
        namespace, name = key = key_of(part)
        service = (namespace, text(part, "metadata", "labels", SERVICE_NAME) if self._of_slices else name)
        if is_gone:
            parts = self._parts.get(service, {})
            parts.pop(key, None)
            if not parts:
                self._parts.pop(service, None)
        else:
            self._parts.setdefault(service, {})[key] = part
        return service

    def endpoints(self, service: Key) -> tuple[Endpoint, ...]:
        """Return the endpoints of a Service."""
        parts = self._parts.get(service, {})
        if self._of_slices:
            return endpoints_of_slices(parts.values())
        return tuple(endpoint for part in parts.values() for endpoint in endpoints_of_endpoints(part))
