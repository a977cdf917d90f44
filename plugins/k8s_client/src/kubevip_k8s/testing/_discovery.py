"""What a client asks before it asks for objects: health, version, and which resources there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_k8s.testing._kinds import KINDS, Kind
from kubevip_k8s.testing._requests import Answer

if TYPE_CHECKING:
    from kubevip_k8s.testing._document import Document
    from kubevip_k8s.testing._requests import Request

#: The version whose behaviour is imitated: the one that the real server is tested in.
VERSION = "v1.34.4"

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def discovered(request: Request) -> Answer | None:
    """Return the answer, None if the request is not of this sort."""
    if request.method != "GET":
        return None
    path = request.path
    if path.split("/")[1] in ("healthz", "livez", "readyz"):
        return Answer(body="ok")
    if path == "/version":
        major, minor, _ = VERSION.removeprefix("v").split(".")
        return Answer(body={"major": major, "minor": minor, "gitVersion": VERSION, "platform": "linux/amd64"})
    if path == "/api":
        return Answer(body={"kind": "APIVersions", "versions": ["v1"]})
    if path == "/apis":
        groups = sorted({kind.resource.group for kind in KINDS.values()} - {""})
        return Answer(body={"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]})
    version = path.removeprefix("/apis/").removeprefix("/api/")
    kinds = [kind for kind in KINDS.values() if kind.resource.api_version == version]
    if not kinds:
        return None
    resources = [_resource(kind) for kind in kinds] + [_status(kind) for kind in kinds if kind.has_status]
    return Answer(body={"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})


def _group(name: str) -> Document:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resource(kind: Kind) -> Document:
    resource = kind.resource
    return {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.is_namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
        "shortNames": list(kind.short),
    }


def _status(kind: Kind) -> Document:
    return _resource(kind) | {
        "name": f"{kind.resource.plural}/status",
        "singularName": "",
        "verbs": ["get", "patch", "update"],
        "shortNames": [],
    }
