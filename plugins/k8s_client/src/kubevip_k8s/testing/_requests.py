"""What the fake cluster is asked and what it answers, whatever carried it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import frozen

from kubevip_k8s.testing._kinds import KINDS, Kind
from kubevip_k8s.testing._status import Refusal

if TYPE_CHECKING:
    from kubevip_k8s.testing._document import Document

_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+(?:/[^/]+){0,2}$)(?!/(?:status|finalize)$))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?"
)
_BY_PLACE = {(kind.resource.group, kind.resource.version, kind.resource.plural): kind for kind in KINDS.values()}
_TRUE = ("true", "True", "1")


@frozen(kw_only=True)
class Request:
    """One request. `token` is what the client showed; None is nobody."""

    method: str
    path: str
    query: Mapping[str, str] = MappingProxyType({})
    content_type: str = "application/json"
    body: object = None
    token: str | None = None

    @property
    def is_watch(self) -> bool:
        """Whether it asks for a watch."""
        return self.method == "GET" and self.query.get("watch") in _TRUE

    def has(self, flag: str) -> bool:
        """Return whether a boolean of the query is set."""
        return self.query.get(flag) in _TRUE


@frozen(kw_only=True)
class Answer:
    """One answer."""

    status: int = 200
    body: Document | str


@frozen(kw_only=True)
class Target:
    """What of the API a path names."""

    kind: Kind
    namespace: str
    name: str
    part: str


def target_of(path: str) -> Target:
    """Return what a path names.

    :raises Refusal: 404: no resource that is served.
    """
    found = _PATH.fullmatch(path)
    kind = found and _BY_PLACE.get((found["group"] or "", found["core"] or found["version"], found["plural"]))
    if not found or not kind:
        raise Refusal(404, "NotFound", "the server could not find the requested resource")
    namespace, name, part = (unquote(found[group] or "") for group in ("namespace", "name", "part"))
    if (namespace and not kind.resource.is_namespaced) or (name and kind.resource.is_namespaced and not namespace):
        raise Refusal(404, "NotFound", "the server could not find the requested resource")
    return Target(kind=kind, namespace=namespace, name=name, part=part)
