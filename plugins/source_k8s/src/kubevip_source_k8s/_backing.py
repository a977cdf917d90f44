"""The endpoints of all Services, as they are told piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_k8s import ChangeKind
from kubevip_source_k8s._endpoints import all_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip_k8s import Change
    from kubevip_source_k8s._endpoints import Endpoint
    from kubevip_source_k8s._fields import Key
    from kubevip_source_k8s._kept import Listed


class Backing:
    """Which objects say where the endpoints of a Service are: EndpointSlices, or an Endpoints object of its name."""

    def __init__(self) -> None:
        self._parts: dict[Key, dict[Key, Listed]] = {}

    def put(self, key: Key, part: Listed, *, before: Listed | None = None, is_gone: bool = False) -> tuple[Key, ...]:
        """Take over an object, which was `before`; return the Services that it is or was about."""
        moved = before is not None and before.service != part.service
        if before is not None and (is_gone or moved):
            parts = self._parts.get(before.service, {})
            parts.pop(key, None)
            if not parts:
                self._parts.pop(before.service, None)
        if not is_gone:
            self._parts.setdefault(part.service, {})[key] = part
        return (part.service, before.service) if before is not None and moved else (part.service,)

    def take(self, changes: Iterable[Change[Listed]]) -> list[Key]:
        """Take over what has changed; return the Services that it is or was about, in order, each once."""
        services: dict[Key, None] = {}
        for it in changes:
            is_gone = it.kind is ChangeKind.DELETED
            services |= dict.fromkeys(self.put(it.key, it.object, before=it.old, is_gone=is_gone))
        return list(services)

    def endpoints(self, service: Key) -> tuple[Endpoint, ...]:
        """Return the endpoints of a Service."""
        parts = self._parts.get(service)
        return all_of([part.endpoints for part in parts.values()]) if parts else ()
