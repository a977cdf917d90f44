"""Creating, replacing, patching and deleting: what the server does with an object before it stores it."""

from __future__ import annotations

import copy
import uuid
from typing import TYPE_CHECKING, cast

from attrs import evolve

from kubevip_k8s._resources import NAMESPACES
from kubevip_k8s.testing._defaults import complete
from kubevip_k8s.testing._document import Document, mapping, metadata_of
from kubevip_k8s.testing._kinds import KINDS, full_name
from kubevip_k8s.testing._patches import APPLY_PATCH, patched
from kubevip_k8s.testing._status import Refusal, bad_request
from kubevip_k8s.testing._store import Change, Key, Store
from kubevip_k8s.testing._validation import check, check_shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from kubevip_k8s._resources import Resource
    from kubevip_k8s.testing._kinds import Kind
    from kubevip_k8s.testing._requests import Request, Target

_KEPT = (
    "uid",
    "creationTimestamp",
    "name",
    "namespace",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


def _ignore(change: Change) -> None:
    del change


def _key(target: Target) -> Key:
    return Key(resource=target.kind.resource, namespace=target.namespace, name=target.name)


def _details(resource: Resource, name: str) -> Document:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def _not_found(resource: Resource, name: str) -> Refusal:
    text = f'{full_name(resource)} "{name}" not found'
    return Refusal(404, "NotFound", text, details=_details(resource, name))


def _stale(resource: Resource, name: str) -> Refusal:
    return Refusal(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {full_name(resource)} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again",
        details=_details(resource, name),
    )


class Objects:
    """The objects of a store, as the API changes them; `on_change` is called with every write."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._allotted = 0
        self.on_change: Callable[[Change], None] = _ignore

    def write(self, key: Key, document: Document | None) -> None:
        """Store it, or delete it, and tell."""
        self.on_change(self._store.write(key, document))

    def put(self, resource: Resource, document: Document) -> Document:
        """Create or replace without asking anything."""
        metadata = metadata_of(document)
        if resource.is_namespaced:
            metadata.setdefault("namespace", "default")
        key = Key(resource=resource, namespace=metadata.get("namespace", ""), name=metadata["name"])
        old = self._store.get(key)
        self._dress(KINDS[resource], document, old)
        self.write(key, document)
        return document

    def read(self, target: Target) -> Document:
        """Return a copy of an object.

        :raises Refusal: 404.
        """
        return copy.deepcopy(self._there(target))

    def create(self, target: Target, request: Request) -> Document:
        """Store a new object.

        :raises Refusal: 400, 404 (namespace), 409 (AlreadyExists), 422.
        """
        document, resource = self._decoded(target, request.body), target.kind.resource
        metadata = metadata_of(document)
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and (prefix := metadata.get("generateName")):
            metadata["name"] = f"{prefix}{uuid.uuid4().hex[:5]}"
        if target.namespace:
            metadata["namespace"] = target.namespace
            if self._store.get(Key(resource=NAMESPACES, name=target.namespace)) is None:
                raise _not_found(NAMESPACES, target.namespace)
        key = Key(resource=resource, namespace=target.namespace, name=metadata.get("name") or "")
        if target.kind.has_status and not target.kind.is_born_with_status:
            document.pop("status", None)
        check(resource, document, None)
        if self._store.get(key) is not None:
            text = f'{full_name(resource)} "{key.name}" already exists'
            raise Refusal(409, "AlreadyExists", text, details=_details(resource, key.name))
        self._dress(target.kind, document, None)
        if not request.query.get("dryRun"):
            self.write(key, document)
        return copy.deepcopy(document)

    def replace(self, target: Target, request: Request) -> tuple[Document, bool]:
        """Store a whole object, or its status; return it and whether it is new.

        :raises Refusal: 400, 404, 409 (Conflict), 422.
        """
        document = self._decoded(target, request.body)
        if (name := metadata_of(document).get("name")) != target.name:
            raise bad_request(
                f"the name of the object ({name or ''}) does not match the name on the URL ({target.name})"
            )
        old = self._store.get(_key(target))
        if old is None:
            if not target.kind.is_made_by_put or target.part or metadata_of(document).get("resourceVersion"):
                raise _not_found(target.kind.resource, target.name)
            return self.create(target, request), True
        return self._update(target, request, old, document), False

    def patch(self, target: Target, request: Request) -> tuple[Document, bool]:
        """Change a part of an object; return it and whether it is new (apply alone makes objects).

        :raises Refusal: 400, 404, 409, 415, 422.
        """
        kind, old = target.kind, self._store.get(_key(target))
        is_apply = request.content_type == APPLY_PATCH
        if is_apply and not request.query.get("fieldManager"):
            raise Refusal(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
            )
        if old is None:
            if not is_apply:
                raise _not_found(kind.resource, target.name)
            names = {"name": target.name} | ({"namespace": target.namespace} if target.namespace else {})
            document = copy.deepcopy(mapping(request.body))
            document["metadata"] = {**(document.get("metadata") or {}), **names}
            return self.create(target, _with_body(request, document)), True
        changed = patched(request.content_type, old, request.body)
        metadata_of(changed).setdefault("resourceVersion", old["metadata"]["resourceVersion"])
        return self._update(target, request, old, self._decoded(target, changed)), False

    def remove(self, target: Target, request: Request) -> Document:
        """Delete an object, or mark it for deletion while it has finalizers; return the Status or what is left.

        :raises Refusal: 404, or 409 when a precondition does not hold.
        """
        old, key = self._there(target), _key(target)
        wanted = mapping(mapping(request.body).get("preconditions"))
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) not in (None, old["metadata"][name]):
                raise Refusal(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on {full_name(key.resource)} "{key.name}": the {name} in the '
                    f"precondition ({wanted[name]}) does not match the {name} in record ({old['metadata'][name]})",
                    details=_details(key.resource, key.name),
                )
        if request.query.get("dryRun"):
            return copy.deepcopy(old)
        if old["metadata"].get("finalizers"):
            if "deletionTimestamp" not in old["metadata"]:
                document = copy.deepcopy(old)
                document["metadata"] |= {"deletionTimestamp": self._time(), "deletionGracePeriodSeconds": 0}
                self.write(key, document)
            return self.read(target)
        self.write(key, None)
        if key.resource == NAMESPACES:
            for other in self._store.all_keys():
                if other.namespace == key.name:
                    self.write(other, None)
        details = _details(key.resource, key.name) | {"uid": old["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    # -- within

    def _there(self, target: Target) -> Document:
        if (document := self._store.get(_key(target))) is None:
            raise _not_found(target.kind.resource, target.name)
        return document

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _decoded(self, target: Target, body: object) -> Document:
        """Return a body as an object of the right kind and place."""
        resource = target.kind.resource
        if not isinstance(body, dict):
            raise bad_request("the object provided is unrecognized (must be of type object)")
        document = copy.deepcopy(mapping(cast("object", body)))
        said = (document.get("apiVersion", resource.api_version), document.get("kind", resource.kind))
        if said != (resource.api_version, resource.kind):
            raise bad_request(f"{said[1]} in version {said[0]} cannot be handled as a {resource.kind}")
        document |= {"apiVersion": resource.api_version, "kind": resource.kind}
        namespace = metadata_of(document).get("namespace")
        if target.namespace and namespace and namespace != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        check_shape(resource, document)
        return document

    def _update(self, target: Target, request: Request, old: Document, document: Document) -> Document:
        kind, resource = target.kind, target.kind.resource
        version = metadata_of(document).get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise _stale(resource, target.name)
        if not version and kind.needs_version:
            raise Refusal(
                422,
                "Invalid",
                f'{full_name(resource)} "{target.name}" is invalid: metadata.resourceVersion: Invalid value: 0: '
                "must be specified for an update",
                details=_details(resource, target.name),
            )
        if kind.has_status:  # each write keeps the other's half
            kept = old if target.part != "status" else None
            halves = (
                {"status": old.get("status")}
                if kept
                else {n: v for n, v in old.items() if n not in ("status", "metadata")}
            )
            document |= copy.deepcopy(halves)
            if document.get("status") is None:
                document.pop("status", None)
        check(resource, document, old)
        self._dress(kind, document, old)
        if _same(document, old):  # a write that changes nothing has no version
            return copy.deepcopy(old)
        if not request.query.get("dryRun"):
            if "deletionTimestamp" in document["metadata"] and not document["metadata"].get("finalizers"):
                self.write(_key(target), None)
            else:
                self.write(_key(target), document)
        return copy.deepcopy(document)

    def _dress(self, kind: Kind, document: Document, old: Document | None) -> None:
        """Write what only the server writes."""
        resource, metadata = kind.resource, metadata_of(document)
        document |= {"apiVersion": resource.api_version, "kind": resource.kind}
        if old is None:
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._time()}
            if kind.counts_generations:
                metadata["generation"] = 1
        else:
            metadata.update({name: old["metadata"][name] for name in _KEPT if name in old["metadata"]})
            if kind.counts_generations and _without_metadata(document) != _without_metadata(old):
                metadata["generation"] = old["metadata"].get("generation", 1) + 1
            if resource.kind == "Service":  # allotted once
                for name in ("clusterIP", "clusterIPs"):
                    if name in old.get("spec", {}):
                        document.setdefault("spec", {}).setdefault(name, old["spec"][name])
        self._allotted += 1
        complete(resource, document, self._allotted)


def _with_body(request: Request, body: Document) -> Request:

    return evolve(request, body=body)


def _without_metadata(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in ("metadata", "status")}


def _same(document: Document, old: Document) -> bool:
    version = {"resourceVersion": old["metadata"]["resourceVersion"]}
    return document | {"metadata": document["metadata"] | version} == old
