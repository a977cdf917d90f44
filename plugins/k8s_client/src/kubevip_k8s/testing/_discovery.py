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
    if path == "/openapi/v3":
        places = {_place(kind.resource.api_version) for kind in KINDS.values()}
        return Answer(body={"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}"} for place in places}})
    if path.startswith("/openapi/v3/"):
        return _schema(path.removeprefix("/openapi/v3/"))
    version = path.removeprefix("/apis/").removeprefix("/api/")
    kinds = [kind for kind in KINDS.values() if kind.resource.api_version == version]
    if not kinds:
        return None
    resources = [_resource(kind) for kind in kinds] + [_status(kind) for kind in kinds if kind.has_status]
    return Answer(body={"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})


def _place(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"


def _schema(place: str) -> Answer:
    """No schema of anything: only that PATCH takes `fieldValidation`, without which `kubectl apply` asks for more."""
    kinds = [kind.resource for kind in KINDS.values() if _place(kind.resource.api_version) == place]
    parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldManager", "fieldValidation", "force")]
    paths = {
        resource.path("{namespace}", "{name}").replace("%7B", "{").replace("%7D", "}"): {
            "patch": {
                "parameters": parameters,
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": {
                    "group": resource.group,
                    "version": resource.version,
                    "kind": resource.kind,
                },
            }
        }
        for resource in kinds
    }
    return Answer(body={"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths})


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
